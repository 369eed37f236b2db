package Test::Defender::Servers;

# Handles of the helper programs: the Defender simulator and the upstream.

use strict;
use warnings;

use JSON::PP             ();
use Test::Defender::HTTP qw(connect_to);
use Test::Defender::Port qw(take_port);
use Test::Defender::Process
    qw(start_process stop_process freeze_process is_running wait_until);

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;


# Keys: root (of the project), dir (its own, made here), program, args, tls.
sub start {
    my ($class, %opt) = @_;

    mkdir $opt{dir};

    my $self = bless {
        %opt,
        port => $opt{port} // take_port(),
        out  => "$opt{dir}/output.log",
    }, $class;

    $self->launch;

    return $self;
}


sub launch {
    my ($self) = @_;

    my $ready = "$self->{dir}/ready";
    unlink $ready;

    $self->{pid} = start_process(
        argv => [$^X, "$self->{root}/t/sim/$self->{program}",
            '--port', $self->{port}, '--dir', $self->{dir},
            @{$self->{args} // []}],
        out => $self->{out});

    wait_until(sub { -e $ready || !is_running($self->{pid}) }, 20);
    die "$self->{program} does not start:\n" . $self->output if !-e $ready;
}


sub output {
    my ($self) = @_;

    open my $fh, '<', $self->{out} or return '';
    local $/;

    return scalar <$fh> // '';
}


sub port    { return $_[0]{port} }
sub pid     { return $_[0]{pid} }
sub dir     { return $_[0]{dir} }
sub url     { return ($_[0]{tls} ? 'https' : 'http') . "://127.0.0.1:$_[0]{port}" }
sub ca      { return "$_[0]{dir}/ca.pem" }
sub stop    { delete $_[0]{link}; stop_process($_[0]{pid}, 'TERM') }
sub kill    { delete $_[0]{link}; stop_process($_[0]{pid}, 'KILL') }
sub sigstop { freeze_process($_[0]{pid}) }
sub sigcont { CORE::kill('CONT', $_[0]{pid}) }


# Starts it again on the same port; a simulator has forgotten everything.
sub restart {
    my ($self) = @_;

    $self->stop;
    $self->launch;
}


# One exchange over a kept connection.
sub request {
    my ($self, %order) = @_;

    for my $try (1, 2) {
        $self->{link} //= connect_to(
            port => $self->{port}, timeout => 60,
            ($self->{tls} ? (tls => {ca => $self->ca}) : ()));

        my $response = $self->{link}->request(%order, keep => 1);
        return $response if $response->complete;

        delete $self->{link};
    }

    die "$self->{program}: no answer to $order{uri}\n" . $self->output;
}


sub DESTROY {
    my ($self) = @_;

    local ($@, $?);
    $self->sigcont if is_running($self->{pid});
    $self->stop;
}


package Test::Defender::Simulator;

our @ISA = ('Test::Defender::Servers');

use constant {
    TENANT => '11111111-2222-4333-8444-555555555555',
    DOMAIN => 'contoso.onmicrosoft.com',
    APP    => 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',

    # Every character that a form encoder can get wrong.
    SECRET => 'q~7+x/y=&%25.s_e-c#r?e t',
};


# Keys beside those of Servers: devices (file), generate, login_port (true for
# a port of its own), plain, tenant, domain, app, secret, san.
sub start {
    my ($class, %opt) = @_;

    my %own = (tenant => TENANT, domain => DOMAIN, app => APP,
        secret => SECRET);
    my @args;

    for my $name (qw(devices generate tenant domain app secret)) {
        $own{$name} = $opt{$name} if defined $opt{$name};
        push @args, "--$name", $own{$name} if defined $own{$name};
    }

    push @args, '--plain' if $opt{plain};
    push @args, map { ('--san', $_) } @{$opt{san} // []};

    my $login_port = $opt{login_port}
        ? Test::Defender::Port::take_port() : undef;
    push @args, '--login-port', $login_port if $login_port;

    return $class->SUPER::start(
        %opt, %own, program => 'defender.pl', tls => !$opt{plain},
        login_port => $login_port, args => \@args);
}


sub tenant { return $_[0]{tenant} }
sub domain { return $_[0]{domain} }
sub app    { return $_[0]{app} }
sub secret { return $_[0]{secret} }


sub login_url {
    my ($self) = @_;

    return ($self->{tls} ? 'https' : 'http') . '://127.0.0.1:'
        . ($self->{login_port} // $self->{port});
}


# A call of the control API; dies unless it is accepted.
sub control {
    my ($self, $method, $name, $body) = @_;

    $body = $JSON->encode($body) if ref $body;

    my $response = $self->request(
        method => $method, uri => "/sim/$name", body => $body,
        headers => ['Content-Type' => 'application/json']);

    die "simulator: $method $name: " . $response->status . ' '
        . $response->body . "\n" if $response->status != 200;

    return $response->json;
}


# Turns knobs; without any, returns them.
sub knobs {
    my ($self, %change) = @_;

    return %change ? $self->control(POST => 'knobs', \%change)
        : $self->control(GET => 'knobs');
}


sub reset_knobs { return $_[0]->knobs(reset => JSON::PP::true) }


# Requests so far, oldest first; with pairs, those whose entry has exactly
# these values: $sim->log(family => 'machines', status => 200).
sub log {
    my ($self, %want) = @_;

    return grep {
        my $entry = $_;
        !grep { ($entry->{$_} // '') ne ($want{$_} // '') } keys %want;
    } @{$self->control(GET => 'log')};
}


sub clear_log { return $_[0]->control(DELETE => 'log') }


# Replaces the fleet: a reference to an array, or JSON text whose exact bytes
# (number spellings, escapes, member order) are to be served.
sub devices {
    my ($self, $fleet) = @_;

    return $self->control(PUT => 'devices', $fleet);
}


sub patch_device {
    my ($self, $id, %change) = @_;

    return $self->control(PATCH => "devices/$id", \%change);
}


sub remove_device { return $_[0]->control(DELETE => "devices/$_[1]") }


sub generate {
    my ($self, $count) = @_;

    return $self->control(POST => 'generate', {count => $count + 0});
}


sub portal_action {
    my ($self, %action) = @_;

    return $self->control(POST => 'actions', \%action);
}


sub clock {
    my ($self, %order) = @_;

    return $self->control(POST => 'clock', \%order);
}


sub state { return $_[0]->control(GET => 'state') }

1;
