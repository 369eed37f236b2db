package Test::Defender::Module;

# What a test of the module needs beside nginx: its configuration, and the
# settings as an admin makes them.

use strict;
use warnings;

use JSON::PP             ();
use Test::Defender::Conf ();


# The key that seals the App Secret; readable by its owner alone.
sub key_file {
    my ($self) = @_;

    my $path = "$self->{dir}/key";
    return $path if -e $path;

    open my $random, '<:raw', '/dev/urandom' or die "/dev/urandom: $!\n";
    read $random, my $bytes, 32;

    $self->write_file('key', '', 0600);
    $self->write_file('key', $bytes);

    return $path;
}


# Text for "conf": see Test::Defender::Conf::standard for the keys.
sub standard_conf {
    my ($self, %opt) = @_;

    return Test::Defender::Conf::standard($self, %opt);
}


# Settings that fit the simulator, overridden by %change.
sub settings {
    my ($self, %change) = @_;

    my $sim = $self->{sim};

    return {
        enabled       => JSON::PP::true,
        isolateEntity => JSON::PP::false,
        ($sim ? (tenantId => $sim->tenant, appId => $sim->app,
            appSecret => $sim->secret) : ()),
        cloud         => 'commercial',
        pollMinutes   => 5,
        %change,
    };
}


# Verifies and saves settings as an admin does in the dialog. Returns the
# answer of the PUT; dies when the candidate is not verified. Keys that start
# with "-" are no settings: -prefix ('/defender'), -user, -port.
sub configure {
    my ($self, %settings) = @_;

    my $prefix = delete $settings{-prefix} // '/defender';
    my %how    = (role => 'admin', user => delete $settings{-user} // 'kim');
    my $port   = delete $settings{-port};
    $how{port} = $port if defined $port;

    my $settings = $self->settings(%settings);
    my $verify   = $self->post(
        "$prefix/config/verify", %how, json => $settings);
    my $report = eval { $verify->json } // {};

    die 'not verified: ' . $verify->status . ' ' . $verify->body . "\n"
        if !$report->{verified};

    return $self->put("$prefix/config", %how,
        json => {%$settings, verifyTicket => $report->{verifyTicket}});
}


# Waits until the host serves the current generation from its snapshot, and it
# has $n devices (any number above 0 when $n is undefined). Returns the status.
sub wait_devices {
    my ($self, $n, %opt) = @_;

    my $prefix = $opt{prefix} // '/defender';

    return $self->wait_for(sub {
        my $answer = $self->get("$prefix/status", role => 'viewer',
            exists $opt{port} ? (port => $opt{port}) : ());
        return if $answer->status != 200;

        my $status   = $answer->json;
        my $snapshot = $status->{snapshot} // return;
        my $count    = $snapshot->{devices};

        return if $snapshot->{generation} != $status->{generation};
        return (defined $n ? $count == $n : $count > 0) ? $status : undef;
    }, $opt{seconds} // 15, 'devices are served');
}


# Asks for one address; the entity.
sub entity {
    my ($self, $ip, %opt) = @_;

    my $prefix = delete $opt{prefix} // '/defender';

    return $self->get("$prefix/enrich?ip=$ip", role => 'viewer', %opt)->json;
}


# Waits until the look-up of an address gives this verdict; returns the
# entity.
sub wait_match {
    my ($self, $ip, $match, $seconds, %opt) = @_;

    return $self->wait_for(sub {
        my $entity = eval { $self->entity($ip, %opt) } or return;
        return ($entity->{match} // '') eq $match ? $entity : undef;
    }, $seconds // 15, "$ip is $match");
}

1;
