#!/usr/bin/perl

# From the devices in Redis to each host's snapshot, and to the keys of single
# addresses that other services read.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender::Agent qw(start_configured second_host status poll machine
    walks stored_ids meta generation wait_generation wait_ip_keys agent_pid
    id_of);

my $t = start_configured(-devices => [machine('d8', '10.20.3.40')]);
my $sim   = $t->sim;
my $redis = $t->redis;

$sim->knobs(rate_minute => undef, rate_hour => undef);


# The entity that a service finds in Redis, or undef.
sub key {
    my ($ip) = @_;

    my $json = $redis->cmd(GET => "defender:ip:$ip");

    return defined $json ? $t->json_decode($json) : undef;
}


# Polls these machines and waits until host and keys have them.
sub publish {
    my (@machines) = @_;

    $sim->devices(\@machines);
    my $last = poll($t);
    is($last->{result}, 'ok', 'poll') or diag explain $last;
    wait_ip_keys($t);
}


subtest 'a key for each address' => sub {
    wait_ip_keys($t);

    my $entity = key('10.20.3.40');
    is($entity->{match}, 'exact', 'match');
    is($entity->{id}, id_of('d8'), 'id');
    is($entity->{ip}, '10.20.3.40', 'ip');
    is($entity->{asOf}, meta($t)->{pollStarted}, 'asOf');
    is_deeply([$redis->keys('defender:ip:*')], ['defender:ip:10.20.3.40'],
        'and no other');
    is(meta($t)->{addresses}, 1, 'counted');

    my $week = 7 * 86_400_000;
    my $ttl  = $redis->cmd(PTTL => 'defender:ip:10.20.3.40');
    cmp_ok($ttl, '>', $week - 60_000, 'expires when nobody confirms it');
    cmp_ok($ttl, '<=', $week, 'after defender_stale');
};


subtest 'the device has moved' => sub {
    publish(machine('d8', '10.20.3.41'));

    is(key('10.20.3.40'), undef, 'the former key is gone');
    is(key('10.20.3.41')->{id}, id_of('d8'), 'the new one is there');
    is($t->wait_match('10.20.3.41', 'exact')->{id}, id_of('d8'), 'look-up');
    is($t->entity('10.20.3.40')->{match}, 'none', 'former address');
};


subtest 'the address has a new owner' => sub {
    my @both = (machine('d7', '10.20.3.40', lastSeen => '@now-5d'),
        machine('d8', '10.20.3.40', lastSeen => '@now-10m'));

    for my $order ([@both], [reverse @both]) {
        publish(@$order);
        is(key('10.20.3.40')->{id}, id_of('d8'), 'in Redis');
        is($t->wait_match('10.20.3.40', 'exact')->{id}, id_of('d8'),
            'look-up');
    }
};


subtest 'a computer that was reinstalled' => sub {
    publish(
        machine('d5', '10.20.1.15', computerDnsName => 'ws-eve',
            healthStatus => 'Inactive', lastSeen => '@now-300d'),
        machine('d6', '10.20.1.15', computerDnsName => 'ws-eve'));

    is($t->wait_match('10.20.1.15', 'exact')->{id}, id_of('d6'), 'look-up');
    is(key('10.20.1.15')->{id}, id_of('d6'), 'in Redis');
};


subtest 'verdicts in the keys' => sub {
    publish(
        machine('a1', '10.20.4.1'),
        machine('a2', '10.20.4.2', lastSeen => '@now-30h'),
        machine('a3', '10.20.4.3', lastSeen => '@now-20d'),
        machine('a4', '10.20.4.4'), machine('a5', '10.20.4.4'),
        machine('a6', '10.20.4.6', mergedIntoMachineId => id_of('a1')));

    is_deeply({map { $_ => (key("10.20.4.$_") // {})->{match} } 1 .. 6}, {
        1 => 'exact', 2 => 'likely', 3 => 'stale', 4 => 'ambiguous',
        5 => undef, 6 => undef}, 'match');
    is(scalar @{key('10.20.4.4')->{candidates}}, 2, 'candidates');
    is(key('10.20.4.4')->{id}, undef, 'and no device');
    is(meta($t)->{addresses}, 4, 'addresses');
};


subtest 'addresses that name nobody have no key' => sub {
    publish(
        machine('b1', undef, ipAddresses => [map { {ipAddress => $_} } qw(
            127.0.0.1 ::1 169.254.10.20 fe80::1 0.0.0.0 - 224.0.0.1), '']),
        machine('b2', '', ipAddresses => undef),
        machine('b3', '::ffff:10.20.5.3'),
        machine('b4', '2001:DB8:0:0:0:0:0:2A'));

    is_deeply([$redis->keys('defender:ip:*')],
        ['defender:ip:10.20.5.3', 'defender:ip:2001:db8::2a'],
        'the others are canonical');
    is_deeply([stored_ids($t)], [map { id_of("b$_") } 1 .. 4],
        'the devices are all there');
    is($t->wait_match('2001:db8::2a', 'exact')->{id}, id_of('b4'), 'look-up');
};


subtest 'somebody else wrote into the set of addresses' => sub {
    $redis->cmd(SADD => 'defender:ips', 'no address', '192.0.2.9');
    $redis->cmd(SET => 'defender:ip:192.0.2.9', 'x');
    publish(machine('a1', '10.20.4.1'));

    is_deeply([sort @{$redis->cmd(SMEMBERS => 'defender:ips')}],
        ['10.20.4.1'], 'swept');
    is_deeply([$redis->keys('defender:ip:*')], ['defender:ip:10.20.4.1'],
        'keys, too');
};


subtest 'many devices' => sub {
    $sim->devices([machine('a1', '10.20.4.1')]);
    $sim->generate(5000);
    my $last = poll($t, seconds => 60);
    is($last->{devices}, 5001, 'devices');
    wait_ip_keys($t, 60);

    my $meta = meta($t);
    my @keys = $redis->keys('defender:ip:*');
    is(scalar @keys, $meta->{addresses}, 'keys as counted');
    is(scalar @keys, $redis->cmd(SCARD => 'defender:ips'), 'and in the set');
    cmp_ok(scalar @keys, '>=', 5001, 'one or more for each');

    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{snapshot}{generation} == $meta->{generation}
            ? $now : undef;
    }, 20, 'snapshot') // {};
    is($status->{snapshot}{devices}, 5001, 'snapshot');
    is($status->{snapshot}{asOf}, $meta->{pollStarted}, 'as of');

    # All of them are looked up as they are read.
    my $wrong = 0;
    for my $key (@keys[map { $_ * 50 } 0 .. 90]) {
        my ($ip) = $key =~ /^defender:ip:(.*)$/;
        $wrong++ if $t->entity($ip)->{match} ne key($ip)->{match};
    }
    is($wrong, 0, 'look-ups and keys agree');

    publish(machine('a1', '10.20.4.1'));
    is_deeply([$redis->keys('defender:ip:*')], ['defender:ip:10.20.4.1'],
        'all of them go with their devices');
};


subtest 'a host that joins' => sub {
    my $other = second_host($t)->run;
    my $walks = walks($t);

    is($other->wait_match('10.20.4.1', 'exact')->{id}, id_of('a1'),
        'fills itself from Redis');
    is(walks($t), $walks, 'without a poll');
    is($other->wait_for(sub { status($other)->{snapshot} }, 5)->{generation},
        generation($t), 'generation');

    publish(machine('a1', '10.20.4.9'));
    is($other->wait_match('10.20.4.9', 'exact')->{id}, id_of('a1'),
        'follows');
    $other->finish;
};


subtest 'no room for the snapshot' => sub {
    rename $t->dir . '/cache', $t->dir . '/cache-away' or die "$!\n";
    $sim->devices([machine('a1', '10.20.4.10')]);
    is(poll($t)->{result}, 'ok', 'the poll is good');

    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{snapshot}{error} ? $now : undef;
    }, 10, 'the status says it') // {};
    like($status->{snapshot}{error}, qr/cache/, 'names the place');
    is($t->entity('10.20.4.9')->{match}, 'exact', 'the former one serves');

    rename $t->dir . '/cache-away', $t->dir . '/cache' or die "$!\n";
    is($t->wait_match('10.20.4.10', 'exact', 25)->{id}, id_of('a1'),
        'comes by itself when there is room');
    is(status($t)->{snapshot}{error}, undef, 'and the error goes');
};


subtest 'killed in the middle of a refresh' => sub {
    $sim->devices([machine('a1', '10.20.4.1')]);
    $sim->generate(20_000);
    my $before = generation($t);
    my $worker = agent_pid($t);

    $t->allow_log(qr/signal 9/);
    Test::Defender::Agent::ask_poll($t);
    wait_generation($t, $before + 1, 60);
    $t->wait_for(sub { glob $t->dir . '/cache/*.tmp*' }, 10, 'it builds');
    kill 'KILL', $worker;

    is($t->wait_match('10.20.4.1', 'exact', 30)->{id}, id_of('a1'),
        'the next worker builds it');
    $t->wait_for(sub {
        (status($t)->{snapshot}{devices} // 0) == 20_001;
    }, 30, 'whole');
    is_deeply([map { s{.*/}{}r } glob $t->dir . '/cache/*'],
        ['devices.snapshot'], 'nothing is left beside it');
};


subtest 'a stop and a reload in the middle of a refresh' => sub {
    for my $how (qw(HUP QUIT)) {
        my $before = generation($t);

        Test::Defender::Agent::ask_poll($t);
        wait_generation($t, $before + 1, 60);
        $t->wait_for(sub { glob $t->dir . '/cache/*.tmp*' }, 10, 'it builds');

        if ($how eq 'HUP') {
            my %old = map { $_ => 1 } $t->all_worker_pids;
            $t->reload;
            $t->wait_for(sub { !grep { $old{$_} } $t->all_worker_pids }, 5,
                'the old worker goes');
        } else {
            is($t->stop, 0, 'stops');
            $t->run;
        }

        $t->wait_for(sub {
            (status($t)->{snapshot}{generation} // 0) >= $before + 1;
        }, 40, "$how: snapshot of the generation");
        is($t->entity('10.20.4.1')->{match}, 'exact', "$how: look-ups");
    }
};


$t->done;
