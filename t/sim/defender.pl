#!/usr/bin/env perl

# Microsoft's login host and Defender API host in one program, for tests and
# for the demo. README.md beside this file tells the options and the knobs.

use strict;
use warnings;

use FindBin      ();
use Getopt::Long qw(GetOptions);
use Time::HiRes  ();

use lib "$FindBin::Bin/lib";

use Mojolicious::Lite;
use Mojo::Server::Daemon;

use Sim::Api     ();
use Sim::Cert    qw(make_ca make_cert);
use Sim::Control ();
use Sim::Json    qw(decode);
use Sim::Login   ();
use Sim::State   ();
use Sim::Wire    ();

my %option = (
    tenant  => '11111111-2222-4333-8444-555555555555',
    domain  => 'contoso.onmicrosoft.com',
    app     => 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
    secret  => 'q~7+x/y=&%25.s_e-c#r?e t',
    devices => "$FindBin::Bin/devices.json",
    address => '127.0.0.1',
    san     => [],
);

GetOptions(\%option, 'port=i', 'login-port=i', 'dir=s', 'tenant=s',
    'domain=s', 'app=s', 'secret=s', 'devices=s', 'generate=i', 'plain',
    'address=s', 'san=s@')
    && defined $option{port} && defined $option{dir}
    or die "usage: defender.pl --port N --dir DIR [--login-port N]\n"
    . "    [--tenant GUID] [--domain NAME] [--app GUID] [--secret S]\n"
    . "    [--devices FILE] [--generate N] [--plain] [--address A]\n"
    . "    [--san NAME]...\n";

# A launcher may die at any time: watch for it from the first moment.
my $parent = getppid;

my $state = Sim::State->new(
    map { $_ => $option{$_} } qw(tenant domain app secret));

$state->{fleet}->load(read_file($option{devices}));
$state->{fleet}->generate($option{generate} // 0);

my @listen = listen_urls();

app->log->level('error');
app->secrets(['not used']);
app->renderer->cache->max_keys(0);
app->max_request_size(512 * 1024 * 1024);

any '/*whatever' => {whatever => ''} => sub { serve($_[0]) };

my $daemon = Mojo::Server::Daemon->new(
    app                => app,
    listen             => \@listen,
    silent             => 1,
    backlog            => 1024,
    inactivity_timeout => 0,
    keep_alive_timeout => 300,
    max_requests       => 1_000_000_000,
    max_clients        => 10_000,
);

$SIG{INT} = $SIG{TERM} = sub { Mojo::IOLoop->stop };

Mojo::IOLoop->recurring(0.25 => sub {
    Mojo::IOLoop->stop if getppid != $parent;
});

$daemon->start;
write_file("$option{dir}/ready", "$$\n");
Mojo::IOLoop->start;
unlink "$option{dir}/ready";


sub listen_urls {
    my @ports = grep { defined } @option{qw(port login-port)};

    return map { "http://$option{address}:$_" } @ports if $option{plain};

    my $dir = $option{dir};
    make_ca($dir);
    make_cert($dir, 'server',
        ['localhost', '127.0.0.1', '::1', @{$option{san}}]);

    return map {
        "https://$option{address}:$_?cert=$dir/server.pem&key=$dir/server.key"
    } @ports;
}


sub serve {
    my ($c) = @_;

    my $req  = $c->req;
    my $path = $req->url->path->to_string;

    if ($path =~ m{^/sim/}) {
        my $answer =
            Sim::Control::answer($state, $req->method, $path, $req->body);
        $c->res->headers->content_type('application/json');
        $c->res->body($answer->{body});
        return $c->rendered($answer->{status});
    }

    my $request = describe($c, $path);
    my $entry   = file_request($c, $request);

    # A POST that is carried out although its sender never learns of it, or
    # that never arrives.
    my $drop = $request->{method} eq 'POST' && $request->{role} eq 'api'
        ? $state->knob('post_drop') // '' : '';

    my $answer = $drop eq 'before' ? {family => 'dropped', status => 0}
        : $request->{role} eq 'login'
        ? Sim::Login::answer($state, $request)
        : Sim::Api::answer($state, $request);
    $answer //= {family => 'unknown', status => 404};
    $answer->{drop} = 1 if $drop;

    $entry->{family} = $answer->{family};
    $entry->{page} = $answer->{page} if defined $answer->{page};
    $entry->{rows} = $answer->{rows} if defined $answer->{rows};

    Sim::Wire::send_answer($state, $c, $answer, sub {
        my ($status) = @_;
        $entry->{status} = $drop ? undef : $status;
    });
}


# The request in plain terms, free of the framework.
sub describe {
    my ($c, $path) = @_;

    my $req     = $c->req;
    my $headers = $req->headers;
    my $type    = $headers->content_type // '';
    my $url     = $req->url->to_abs;

    my $login = defined $option{'login-port'}
        ? $c->tx->local_port == $option{'login-port'}
        : $path =~ m{^/[^/]+/oauth2/};

    my $form = $type =~ m{^application/x-www-form-urlencoded\b}i
        ? $req->body_params->to_hash : undef;

    my $json = $type =~ m{^application/json\b}i
        ? eval { decode($req->body) } : undef;

    return {
        role   => $login ? 'login' : 'api',
        method => $req->method,
        path   => $path,
        query  => $req->url->query->to_string =~ s/%24/\$/gr,
        params => $req->query_params->pairs,
        base   => $url->scheme . '://' . $url->host_port,
        authorization => $headers->authorization,
        form   => $form,
        json   => $json,
    };
}


# Filed before it is answered, so that a request that hangs is seen as well;
# its status is null until then.
sub file_request {
    my ($c, $request) = @_;

    my $headers = $c->req->headers;
    my ($token) = ($request->{authorization} // '') =~ /^Bearer +(\S+)/i;

    my $entry = {
        seq    => ++$state->{seq},
        time   => Time::HiRes::time(),
        host   => $request->{role},
        (map { $_ => $request->{$_} } qw(method path query form json)),
        status => undef,
        authorization => $request->{authorization} ? 1 : 0,
        token  => defined $token ? $state->token_hash($token) : undef,
        token_number => defined $token && $state->{tokens}{$token}
            ? $state->{tokens}{$token}{number} : undef,
        content_type    => $headers->content_type,
        user_agent      => $headers->user_agent,
        accept          => $headers->accept,
        accept_encoding => $headers->accept_encoding,
        host_header     => $headers->host,
        peer_port       => $c->tx->remote_port,
    };

    push @{$state->{log}}, $entry;

    return $entry;
}


sub read_file {
    my ($file) = @_;

    open my $fh, '<:raw', $file or die "$file: $!\n";
    local $/;

    return scalar <$fh>;
}


sub write_file {
    my ($file, $text) = @_;

    open my $fh, '>', "$file.new" or die "$file: $!\n";
    print $fh $text;
    close $fh or die "$file: $!\n";
    rename "$file.new", $file or die "$file: $!\n";
}
