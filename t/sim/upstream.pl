#!/usr/bin/env perl

# A front end's back end for tests and the demo: serves detections from files.
#
#     perl t/sim/upstream.pl --port N --dir DIR [--files DIR]...
#
# GET /NAME serves DIR/NAME, or else NAME from a --files directory, as
# application/x-ndjson (.ndjson), application/json (.json) or text/plain.
# POST /NAME answers with the bytes that were sent, type application/json.
# GET / lists the files; GET /-/headers gives the request's headers as JSON.
#
# The query bends the answer:
#   type=T       Content-Type ("none": without one)
#   status=N     status code
#   header=N:V   one more header, may be given several times
#   encoding=E   gzip or deflate: compressed and labelled so
#   label=E      only the label: a Content-Encoding that may be a lie
#   chunk=N      chunked, N bytes at a time
#   delay=MS     pause between two chunks
#   cut=N        closes the connection after N bytes of the body
#   etag=V       ETag: "V", and 304 for a request that already has it
# The module asks for identity encoding; what it asked for is in the answer's
# X-Upstream-Accept-Encoding.

use strict;
use warnings;

use Getopt::Long qw(GetOptions);

use Compress::Zlib ();
use Mojolicious::Lite;
use Mojo::Server::Daemon;

my %option = (address => '127.0.0.1', files => []);

GetOptions(\%option, 'port=i', 'dir=s', 'files=s@', 'address=s')
    && defined $option{port} && defined $option{dir}
    or die "usage: upstream.pl --port N --dir DIR [--files DIR]...\n";

my $parent = getppid;

my @directories = ($option{dir}, @{$option{files}});

app->log->level('error');
app->secrets(['not used']);
app->max_request_size(256 * 1024 * 1024);

get '/-/headers' => sub {
    my ($c) = @_;
    $c->render(json => $c->req->headers->to_hash);
};

get '/' => sub {
    my ($c) = @_;
    my %seen;
    $c->render(text => join '', map { "$_\n" } sort grep { !$seen{$_}++ }
        map { map { m{([^/]+)$} } glob "$_/*.{ndjson,json}" } @directories);
};

any '/*name' => sub { serve($_[0]) };

my $daemon = Mojo::Server::Daemon->new(
    app                => app,
    listen             => ["http://$option{address}:$option{port}"],
    silent             => 1,
    backlog            => 1024,
    inactivity_timeout => 120,
    keep_alive_timeout => 120,
    max_requests       => 1_000_000_000,
    max_clients        => 10_000,
);

$SIG{INT} = $SIG{TERM} = sub { Mojo::IOLoop->stop };

Mojo::IOLoop->recurring(0.25 => sub {
    Mojo::IOLoop->stop if getppid != $parent;
});

$daemon->start;
open my $ready, '>', "$option{dir}/ready" or die "$option{dir}/ready: $!\n";
close $ready;
Mojo::IOLoop->start;


sub serve {
    my ($c) = @_;

    my $name = $c->param('name');
    my $body = $c->req->method eq 'POST' ? $c->req->body : read_named($name);
    return $c->render(text => "no such file\n", status => 404)
        if !defined $body;

    my $query   = $c->req->query_params;
    my $headers = $c->res->headers;
    my $type    = $query->param('type') // (
        $name =~ /\.ndjson$/ ? 'application/x-ndjson'
            : $name =~ /\.json$/ || $c->req->method eq 'POST'
            ? 'application/json' : 'text/plain');

    $headers->content_type($type) if $type ne 'none';
    $headers->header('X-Upstream-Accept-Encoding' =>
        $c->req->headers->accept_encoding // '(none)');
    $headers->add(split /:/, $_, 2) for @{$query->every_param('header')};

    if (defined(my $tag = $query->param('etag'))) {
        $headers->etag("\"$tag\"");
        return $c->rendered(304)
            if ($c->req->headers->if_none_match // '') eq "\"$tag\"";
    }

    my $encoding = $query->param('encoding') // '';
    $body = Compress::Zlib::memGzip($body)  if $encoding eq 'gzip';
    $body = Compress::Zlib::compress($body) if $encoding eq 'deflate';

    my $label = $query->param('label') // $encoding;
    $headers->content_encoding($label) if $label ne '';

    $c->res->code($query->param('status') // 200);
    send_body($c, $body, $query);
}


sub send_body {
    my ($c, $body, $query) = @_;

    my ($chunk, $delay, $cut) =
        map { $query->param($_) } qw(chunk delay cut);

    if (!$chunk && !defined $cut) {
        $c->res->body($body);
        return $c->rendered;
    }

    $c->render_later;
    my $tx = $c->tx;

    $c->res->headers->content_length(length $body) if !$chunk;
    my $rest = defined $cut ? substr $body, 0, $cut : $body;
    my $write;

    $write = sub {
        return if $tx->is_finished;

        if ($rest eq '') {
            undef $write;
            return $c->write_chunk('') if !defined $cut;
            my $stream = Mojo::IOLoop->stream($tx->connection);
            return $stream ? $stream->close : undef;
        }

        my $piece = substr $rest, 0, $chunk // length $rest, '';
        my $next  = sub {
            $delay ? Mojo::IOLoop->timer($delay / 1000 => $write)
                : $write->();
        };
        $chunk ? $c->write_chunk($piece => $next) : $c->write($piece => $next);
    };

    $write->();
}


sub read_named {
    my ($name) = @_;

    return undef if $name =~ m{(?:^|/)\.\.?(?:/|$)};

    for my $directory (@directories) {
        open my $fh, '<:raw', "$directory/$name" or next;
        next if -d $fh;
        local $/;
        return scalar <$fh> // '';
    }

    return undef;
}
