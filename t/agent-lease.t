#!/usr/bin/perl

# One poller in the whole fleet: the lease, who gets it after whom, and that a
# process without it writes nothing.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender::Agent qw(start_configured second_host status poll ask_poll
    fleet walks pages stored_ids meta holder generation wait_generation
    agent_pid id_of);
use Test::Defender::Process qw(children);

my $a = start_configured(-devices => fleet(1 .. 4), workers => 8,
    http => 'defender_page_size 2; '
        . 'proxy_cache_path %%DIR%%/proxy-cache keys_zone=c:1m;');
my $sim = $a->sim;

$sim->knobs(rate_minute => undef, rate_hour => undef);


subtest 'eight workers and the cache\'s helpers' => sub {
    is(scalar $a->worker_pids, 8, 'workers');
    is(walks($a), 1, 'one walk');
    is(scalar $sim->log(family => 'token'), 1, 'one token');
    ok(scalar(grep { $_ == agent_pid($a) } $a->worker_pids),
        'a worker holds the lease');
    like(holder($a), qr/^[^:]+:\d+:[0-9a-f]{24}$/, 'its token');
    my $ttl = $a->redis->cmd(PTTL => 'defender:lease');
    cmp_ok($ttl, '<=', 15_000, 'it expires');
    cmp_ok($ttl, '>', 5_000, 'but is renewed before');
};


subtest 'the poller is killed between two polls' => sub {
    my $first  = agent_pid($a);
    my $status = status($a);
    my $began  = time;

    $a->allow_log(qr/signal 9/);
    kill 'KILL', $first;

    $a->wait_for(sub { agent_pid($a) && agent_pid($a) != $first }, 5,
        'the next worker');
    cmp_ok(time - $began, '<', 4, 'takes over within seconds');
    $a->wait_for(sub { status($a)->{leaseHolderIsThisHost} }, 5, 'status');
    is(walks($a), 1, 'and does not poll before its time');
    is(status($a)->{nextPoll}, $status->{nextPoll}, 'which has not changed');
    is_deeply(status($a)->{lastGoodPoll}, $status->{lastGoodPoll},
        'nor has the last good poll');
};


subtest 'the poller is killed in the middle of a poll' => sub {
    my $before = generation($a);
    my $killed = agent_pid($a);

    $sim->devices(fleet(1 .. 8));
    $sim->clear_log;
    $sim->knobs(page_latency_ms => {3 => 60_000});
    ask_poll($a);
    $a->wait_for(sub { pages($a) >= 3 }, 10, 'in the middle');
    cmp_ok($a->redis->cmd(HLEN => ($a->redis->keys('defender:stage:*'))[0]),
        '>', 0, 'devices are staged');

    kill 'KILL', $killed;
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 1 .. 4],
        'readers see the former devices');

    $sim->knobs(page_latency_ms => 0);
    wait_generation($a, $before + 1, 10);
    is(generation($a), $before + 1, 'the next worker polls');
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 1 .. 8],
        'all devices');
    is($a->entity('10.20.7.1')->{match}, 'exact', 'look-ups');

    my @left = $a->redis->keys('defender:stage:*');
    cmp_ok($a->redis->cmd(PTTL => $_), '>', 0, 'what it left expires')
        for @left;
};


my $b = second_host($a, http => 'defender_page_size 2;')->run;

subtest 'a second host' => sub {
    my $walks = walks($a);

    $b->wait_devices(8);
    is($b->wait_match('10.20.7.8', 'exact')->{id}, id_of('08'), 'serves');
    $b->wait_for(sub { status($b)->{leaseHolder} }, 10, 'status');

    my ($on_a, $on_b) = (status($a), status($b));
    is($on_b->{leaseHolder}, $on_a->{leaseHolder}, 'knows the holder');
    ok(!$on_b->{leaseHolderIsThisHost}, 'is not it');
    is_deeply($on_b->{$_}, $on_a->{$_}, "same $_")
        for qw(lastPoll lastGoodPoll nextPoll health generation devices);
    is(walks($a), $walks, 'did not poll');
};


subtest 'the second host is asked for a poll' => sub {
    my $before = generation($a);
    my $walks  = walks($a);

    ask_poll($b->{redis} ? $b : $a);
    wait_generation($a, $before + 1);
    is(walks($a), $walks + 1, 'one walk, by the holder');
    $b->wait_for(sub { status($b)->{snapshot}{generation} == $before + 1 }, 10,
        'and both have it');
};


subtest 'the holder goes' => sub {
    my $walks = walks($a);
    my $began = time;

    $a->stop;
    $b->wait_for(sub { status($b)->{leaseHolderIsThisHost} }, 5,
        'the other takes over');
    cmp_ok(time - $began, '<', 4, 'at once');
    is(walks($a), $walks, 'without a poll before its time');

    $a->run;
    $a->wait_match('10.20.7.1', 'exact');
    $a->wait_for(sub { status($a)->{leaseHolder} }, 10, 'status');
    ok(!status($a)->{leaseHolderIsThisHost}, 'who comes back waits');
    is(walks($a), $walks, 'and does not poll');
};


subtest 'the holder hangs past its lease' => sub {
    my $before = generation($a);
    my $hung   = agent_pid($a);

    # It stops in the middle of a walk through eight devices.
    $sim->clear_log;
    $sim->knobs(page_latency_ms => {3 => 2000});
    ask_poll($a);
    $a->wait_for(sub { pages($a) >= 3 }, 10, 'in the middle');
    kill 'STOP', $hung;
    $sim->knobs(page_latency_ms => 0);
    $sim->devices(fleet(2 .. 5));

    $a->wait_for(sub { holder($a) ne '' && agent_pid($a) != $hung }, 25,
        'the other takes over');
    wait_generation($a, $before + 1);
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 2 .. 5],
        'and publishes');

    kill 'CONT', $hung;
    $b->wait_for(sub {
        $b->error_log =~ /the lease is lost/ ? 1 : undef;
    }, 10, 'the former holder notices');

    $a->wait_for(sub {
        my $now = status($b);
        return $now->{leaseHolder} && !$now->{leaseHolderIsThisHost}
            && !$now->{polling};
    }, 10, 'and knows the new one');
    is(generation($a), $before + 1, 'it published nothing');
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 2 .. 5],
        'the devices are the other\'s');
    is(($b->wait_match('10.20.7.1', 'none') // {})->{match}, 'none',
        'it serves what the other published');
    is($b->entity('10.20.7.2')->{id}, id_of('02'), 'and that whole');
};


subtest 'a fenced script writes nothing without the lease' => sub {
    my $before = generation($a);

    # Somebody takes the lease by force in the middle of a poll.
    $sim->devices(fleet(1 .. 8));
    $sim->clear_log;
    $sim->knobs(page_latency_ms => {2 => 1500});
    ask_poll($a);
    $a->wait_for(sub { pages($a) >= 2 }, 10, 'in the middle');
    $a->redis->cmd(SET => 'defender:lease', 'other:1:x', PX => 4000);

    $a->wait_for(sub { $a->error_log =~ /the lease is lost/ }, 10,
        'the poller notices');
    is(generation($a), $before, 'nothing published');
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 2 .. 5],
        'the devices of before');

    $sim->knobs(page_latency_ms => 0);
    wait_generation($a, $before + 1, 20);
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } 1 .. 8],
        'polled when the lease is free again');
};


subtest 'a host dies whole' => sub {
    my $walks = walks($a);
    my ($dead, $alive) = status($a)->{leaseHolderIsThisHost}
        ? ($a, $b) : ($b, $a);
    my $victim = agent_pid($a);
    my @pids   = ($dead->pid, children($dead->pid));

    kill 'STOP', $dead->pid;
    kill 'KILL', @pids;

    $alive->wait_for(sub {
        agent_pid($a) && agent_pid($a) != $victim
            && status($alive)->{leaseHolderIsThisHost};
    }, 25, 'the other takes over when the lease is over');
    is(walks($a), $walks, 'without a poll before its time');
    is($alive->entity('10.20.7.8')->{match}, 'exact', 'and serves');

    $dead->stop('KILL');
    $dead->run;
    $dead->wait_match('10.20.7.8', 'exact');
};


$b->finish;
$a->done;
