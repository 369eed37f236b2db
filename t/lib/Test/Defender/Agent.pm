package Test::Defender::Agent;

# What tests of the polling agent share: a configured nginx, polls on demand,
# and what the agent has left in Redis.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use Test::Defender;
use Test::More ();

our @EXPORT_OK = qw(start_configured second_host status last_poll poll ask_poll
    settle known unchanged machine fleet walks pages stored_ids meta holder
    generation wait_generation wait_ip_keys agent_pid id_of);

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;


# Redis, simulator and nginx with saved settings; waits for the first devices
# unless -wait => 0. Keys that start with "-" are for the harness: -sim (for
# start_sim), -redis, -devices (a fleet), -knobs; -settings (changes); the
# others go to standard_conf.
sub start_configured {
    my (%opt) = @_;

    my %own = map { $_ => delete $opt{$_} } grep { /^-/ } keys %opt;
    my $t   = Test::Defender->new;

    $t->start_redis(%{$own{-redis} // {}});
    $t->start_sim(%{$own{-sim} // {}});
    $t->sim->devices($own{-devices}) if $own{-devices};
    $t->conf($t->standard_conf(%opt))->run;

    # Verifying asks for a token and a machine; the log begins after it.
    my $r = $t->configure(%{$own{-settings} // {}}, enabled => JSON::PP::false);
    die 'not saved: ' . $r->status . ' ' . $r->body . "\n"
        if $r->status !~ /^2/;
    $t->sim->clear_log;
    $t->sim->knobs(%{$own{-knobs}}) if $own{-knobs};

    $t->put('/defender/config', role => 'admin', user => 'kim',
        json => {enabled => JSON::PP::true});
    $t->wait_devices(undef, seconds => 30) if $own{-wait} // 1;

    return $t;
}


# Another nginx with the Redis, the simulator and the key of $t. It must end
# before $t does.
sub second_host {
    my ($t, %opt) = @_;

    my $other = Test::Defender->new;

    $other->write_file('key', $t->read_file('key'), 0600);
    $other->conf($other->standard_conf(
        redis    => 'unix:' . $t->redis->socket,
        endpoint => 'login=' . $t->sim->login_url . ' api=' . $t->sim->url,
        ca       => $t->sim->ca, %opt));

    return $other;
}


sub status {
    my ($t) = @_;

    my $r = $t->get('/defender/status', role => 'viewer');

    return $r->status == 200 ? $r->json : {};
}


sub last_poll { return status($_[0])->{lastPoll} }


# Asks for a poll the way POST /sync does, without its pause.
my $wish = 0;

sub ask_poll {
    my ($t, $redis) = @_;

    $wish++;
    ($redis // $t->redis)->cmd(SET => 'defender:sync', "test-$$-$wish", PX => 60_000);
}


# Asks for a poll and waits for its end; lastPoll of the status. Keys: seconds,
# redis (of a second host, which has none of its own).
sub poll {
    my ($t, %opt) = @_;

    my $before = $JSON->encode(last_poll($t));

    ask_poll($t, $opt{redis});

    return $t->wait_for(sub {
        my $status = status($t);
        return if $status->{polling} || !$status->{lastPoll};
        return $JSON->encode($status->{lastPoll}) ne $before
            ? $status->{lastPoll} : undef;
    }, $opt{seconds} // 20, 'a poll');
}


# Waits until the agent has looked at Redis twice more.
sub settle {
    my ($t) = @_;

    my $looks = sub {
        my ($n) = $t->redis->cmd(INFO => 'commandstats')
            =~ /cmdstat_mget:calls=(\d+)/;
        return $n // 0;
    };
    my $before = $looks->();

    $t->wait_for(sub { $looks->() >= $before + 2 }, 10,
        'the agent looks at Redis');
}


# Puts the simulator back to a fleet (see there) and polls it, so that a
# subtest starts from devices it knows, with an empty log.
sub known {
    my ($t, @numbers) = @_;

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef, rate_hour => undef);
    $t->sim->devices(fleet(@numbers));
    Test::More::is(poll($t)->{result}, 'ok', 'a good poll first');
    $t->sim->clear_log;
}


# After a poll that failed: Redis and look-ups are as they were at that
# generation, with the devices of fleet(@numbers).
sub unchanged {
    my ($t, $generation, @numbers) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    Test::More::is(generation($t), $generation, 'no new generation');
    Test::More::is_deeply([stored_ids($t)],
        [map { id_of(sprintf '%02x', $_) } @numbers],
        'the former devices are there, all of them');
    Test::More::is_deeply([$t->redis->keys('defender:stage:*')], [],
        'nothing is left over');
    Test::More::is($t->entity("10.20.7.$numbers[0]")->{match}, 'exact',
        'look-ups go on');
}


# Machines with the ids 01..., 02... (hex) and the addresses 10.20.7.1 and on.
sub fleet { return [map { machine(sprintf('%02x', $_), "10.20.7.$_") } @_] }


# A machine object; pairs change it, undef included.
sub machine {
    my ($id, $ip, %change) = @_;

    return {
        id               => id_of($id),
        computerDnsName  => "host-$id.corp.example",
        lastSeen         => '@now-10m',
        firstSeen        => '@now-90d',
        healthStatus     => 'Active',
        osPlatform       => 'Windows11',
        onboardingStatus => 'Onboarded',
        lastIpAddress    => $ip,
        lastExternalIpAddress => '203.0.113.7',
        ipAddresses      => defined $ip ? [{ipAddress => $ip,
            macAddress => '0A1B2C3D4E5F', type => 'Ethernet',
            operationalStatus => 'Up'}] : [],
        %change,
    };
}


sub id_of { return substr $_[0] x 40, 0, 40 }


# Successful first pages: how often the list of machines was begun.
sub walks {
    my ($t) = @_;

    return scalar grep { ($_->{query} // '') =~ /skip=0\b/ }
        $t->sim->log(family => 'machines');
}


# What was asked of the list of machines, in order: "skip:status".
sub pages {
    my ($t) = @_;

    return map {
        my ($skip) = ($_->{query} // '') =~ /skip=(\d+)/;
        ($skip // '') . ':' . ($_->{status} // '')
    } $t->sim->log(family => 'machines');
}


sub stored_ids { return sort @{$_[0]->redis->cmd(HKEYS => 'defender:devices')} }


sub meta { return {$_[0]->redis->hash(HGETALL => 'defender:meta')} }


sub generation { return meta($_[0])->{generation} // 0 }


# The token in the lease, or "".
sub holder { return $_[0]->redis->cmd(GET => 'defender:lease') // '' }


sub agent_pid { return (holder($_[0]) =~ /:(\d+):/)[0] // 0 }


sub wait_generation {
    my ($t, $at_least, $seconds) = @_;

    return $t->wait_for(sub { generation($t) >= $at_least },
        $seconds // 20, "generation $at_least");
}


# Waits until the keys of single addresses are of the newest generation.
sub wait_ip_keys {
    my ($t, $seconds) = @_;

    return $t->wait_for(sub {
        my $meta = meta($t);
        return ($meta->{ipGeneration} // '') eq ($meta->{generation} // '-');
    }, $seconds // 20, 'address keys of the generation');
}

1;
