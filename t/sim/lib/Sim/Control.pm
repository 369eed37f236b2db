package Sim::Control;

# The way in for tests: /sim/... is not part of Microsoft's API.

use strict;
use warnings;

use Sim::Actions ();
use Sim::Clock   qw(iso parse_iso);
use Sim::Json    qw(decode encode);

my %CALL = (
    'GET knobs'     => sub { ok($_[0]{knobs}) },
    'POST knobs'    => \&knobs,
    'GET log'       => sub { ok($_[0]{log}) },
    'DELETE log'    => sub { $_[0]{log} = []; ok({}) },
    'PUT devices'   => \&put_devices,
    'GET devices'   => \&get_devices,
    'POST generate' => \&generate,
    'POST actions'  => \&portal_action,
    'POST clock'    => \&clock,
    'GET state'     => \&show,
);


sub answer {
    my ($state, $method, $path, $body) = @_;

    if (my ($key) = $path =~ m{^/sim/devices/(.+)$}) {
        return one_device($state, $method, $key, $body);
    }

    my ($name) = $path =~ m{^/sim/(\w+)$};
    my $call = defined $name ? $CALL{"$method $name"} : undef;

    return refuse(404, 'no such control') if !$call;

    my $answer = eval { $call->($state, $body) };

    return $answer // refuse(400, $@);
}


sub ok { return {status => 200, body => encode($_[0])} }


sub refuse {
    my ($status, $text) = @_;

    chomp $text;

    return {status => $status, body => encode({error => $text})};
}


sub knobs {
    my ($state, $body) = @_;

    my $fault = $state->turn(decode($body));
    die "$fault\n" if defined $fault;

    return ok($state->{knobs});
}


sub put_devices {
    my ($state, $body) = @_;

    $state->{fleet}->load($body);
    $state->{fleet}->generate(0);

    return ok({devices => $state->{fleet}->count});
}


# The records handed in; generated ones are only counted in "state".
sub get_devices {
    my ($state) = @_;

    my $fleet = $state->{fleet};

    return {
        status => 200,
        body   => '['
            . join(',', map { $fleet->text($_) } 0 .. $fleet->records - 1)
            . ']',
    };
}


# {"count": N, "base": time}
sub generate {
    my ($state, $body) = @_;

    my $ask = decode($body);
    die "count: a number is needed\n" if ($ask->{count} // '') !~ /^\d+$/;

    $state->{fleet}->generate($ask->{count}, parse_iso($ask->{base}));

    return ok({devices => $state->{fleet}->count});
}


sub one_device {
    my ($state, $method, $key, $body) = @_;

    my $fleet = $state->{fleet};
    my $found = eval {
        $method eq 'PATCH' ? $fleet->patch($key, $body)
            : $method eq 'DELETE' ? $fleet->remove($key)
            : die "PATCH or DELETE\n";
    };

    return refuse(400, $@) if !defined $found;
    return refuse(404, 'no such device') if !$found;
    return ok({devices => $fleet->count});
}


# An action that an analyst starts in the portal.
sub portal_action {
    my ($state, $body) = @_;

    my $given = decode($body);
    my $at    = $state->{fleet}->find($given->{machineId} // '')
        // die "machineId: no such device\n";
    my $data  = $state->{fleet}->data($at);

    my $action = Sim::Actions::add($state, {
        requestSource   => 'Portal',
        machineId       => $data->{id},
        computerDnsName => $data->{computerDnsName},
        scope => ($given->{type} // 'Isolate') eq 'Isolate' ? 'Full' : undef,
        %$given,
    });

    my $moment = parse_iso($action->{creationDateTimeUtc});
    $action->{_created} = $moment if defined $moment;

    return ok(Sim::Actions::shown($action));
}


sub clock {
    my ($state, $body) = @_;

    my $fault = $state->{clock}->control(decode($body));
    die "$fault\n" if defined $fault;

    return ok({now => iso($state->now)});
}


sub show {
    my ($state) = @_;

    Sim::Actions::advance($state);

    return ok({
        now      => iso($state->now),
        devices  => $state->{fleet}->count,
        tokens   => $state->{issued},
        requests => scalar @{$state->{log}},
        actions  => [map { Sim::Actions::shown($_) } @{$state->{actions}}],
        tenant   => $state->{tenant},
        domain   => $state->{domain},
        app      => $state->{app},
    });
}

1;
