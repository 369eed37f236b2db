#!/usr/bin/perl

# Deleted, paused, and changed settings on two hosts: what must be gone, where,
# and how soon; and that a Redis that was flushed costs nobody his devices.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender::Agent qw(start_configured second_host status ask_poll poll
    fleet pages stored_ids meta holder generation wait_generation wait_ip_keys
    settle id_of);

my ($TRUE, $FALSE) = (JSON::PP::true, JSON::PP::false);

my $a = start_configured(-devices => fleet(1 .. 6), workers => 2,
    http => 'defender_page_size 2;');
my $sim   = $a->sim;
my $redis = $a->redis;

$sim->knobs(rate_minute => undef, rate_hour => undef);

my $b = second_host($a, workers => 2, http => 'defender_page_size 2;')->run;

# One shared Redis, so both are asked the same way.
my %host = (a => $a, b => $b);


sub said {
    my ($t, $ip) = @_;

    my $entity = $t->entity($ip // '10.20.7.1');

    return join ' ', $entity->{match}, grep { defined } $entity->{reason};
}


sub wait_said {
    my ($what, $seconds, $name) = @_;

    my $began = time;

    for (sort keys %host) {
        $host{$_}->wait_for(sub { said($host{$_}) eq $what }, $seconds,
            "$name: host $_ says $what");
    }

    return time - $began;
}


sub snapshots {
    my ($t) = @_;

    return grep { -e } glob $t->dir . '/*/devices.snapshot* '
        . $t->dir . '/*/*/devices.snapshot*';
}


# Workers that have a snapshot mapped, its file removed or not.
sub mapped {
    my ($t) = @_;

    return grep {
        my $maps = '';
        if (open my $fh, '<', "/proc/$_/maps") {
            local $/;
            $maps = <$fh> // '';
        }
        $maps =~ /devices\.snapshot/;
    } $t->worker_pids;
}


sub keys_left {
    return grep { !/^defender:(?:audit|config|meta|lease)$/ }
        sort $redis->keys('defender:*');
}


# All is gone, within seconds from $began.
sub gone {
    my ($name, $began) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    for (sort keys %host) {
        my $t = $host{$_};
        next if !$t->pid;
        $t->wait_for(sub { !snapshots($t) && !mapped($t) }, 5,
            "$name: host $_ has no file and no mapping");
        is(said($t), 'unavailable not-configured', "$name: host $_");
    }
    $a->wait_for(sub { !keys_left() && holder($a) eq '' }, 5,
        "$name: Redis is empty") or diag(join ' ', keys_left());
    cmp_ok(time - $began, '<', 5, "$name: in time");
    is_deeply(meta($a), {schema => 1, devices => 0, addresses => 0,
        state => 'not-configured', wiped => revision(),
        map { $_ => meta($a)->{$_} } grep { meta($a)->{$_} } 'generation'},
        "$name: meta");
    ok($redis->cmd(HEXISTS => 'defender:config', 'deleted'),
        "$name: who did it stays");
    cmp_ok($redis->cmd(XLEN => 'defender:audit'), '>', 0, "$name: audit");
}


sub revision { return $redis->cmd(HGET => 'defender:config', 'revision') }


# Devices on all hosts that run.
sub configured {
    my ($name, @numbers) = @_;

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    $sim->devices(fleet(@numbers));
    like($a->configure->status, qr/^2/, "$name: saved");
    for (grep { $_->pid } values %host) {
        $_->wait_match("10.20.7.$numbers[0]", 'exact', 20);
    }
    wait_ip_keys($a);
    is_deeply([stored_ids($a)], [map { id_of(sprintf '%02x', $_) } @numbers],
        "$name: devices");
}


sub remove {
    my ($t) = @_;

    my $r = $t->delete('/defender/config', role => 'admin', user => 'kim');

    is($r->status, 200, 'deleted');

    return time;
}


$b->wait_match('10.20.7.1', 'exact', 20);
wait_ip_keys($a);


subtest 'paused' => sub {
    my $before = generation($a);

    $sim->clear_log;
    $sim->knobs(page_latency_ms => {2 => 60_000});
    ask_poll($a);
    $a->wait_for(sub { pages($a) >= 2 }, 10, 'in the middle of a poll');

    $b->put('/defender/config', role => 'admin', json => {enabled => $FALSE});
    is(said($b), 'unavailable disabled', 'at once on the host that was asked');
    cmp_ok(wait_said('unavailable disabled', 4, 'paused'), '<', 2.5,
        'and soon on the other');

    $a->wait_for(sub { holder($a) eq '' }, 5, 'nobody polls');
    is(generation($a), $before, 'no new generation');
    is_deeply([$redis->keys('defender:stage:*')], [], 'no stage');
    is($redis->cmd(HLEN => 'defender:devices'), 6, 'the devices are kept');
    ok(snapshots($a) && snapshots($b), 'so are the snapshots');
    is(status($a)->{configured}, 'disabled', 'status');
    is(status($a)->{health}, 'waiting', 'health');

    $sim->knobs(page_latency_ms => 0);
    $b->put('/defender/config', role => 'admin', json => {enabled => $TRUE});
    is(said($b), 'exact', 'on again: at once');
    $a->wait_for(sub { said($a) eq 'exact' }, 4, 'and on the other');
    wait_generation($a, $before + 1);
};


subtest 'deleted on a host that does not poll' => sub {
    $a->wait_for(sub { status($_)->{leaseHolder} }, 10, 'a poller')
        for $a, $b;
    my ($poller, $other) = status($a)->{leaseHolderIsThisHost}
        ? ($a, $b) : ($b, $a);
    wait_ip_keys($a);
    ok(snapshots($a) && snapshots($b) && mapped($a) == 2, 'there is data');

    # What a poller that died has left.
    $redis->cmd(HSET => 'defender:stage:dead:1', 'x', '{}');

    my $began = remove($other);
    is(said($other), 'unavailable not-configured', 'at once where asked');
    gone('deleted', $began);

    for my $t ($a, $b) {
        my $status = $t->wait_for(sub {
            my $now = status($t);
            return $now->{leaseHolder} ? undef : $now;
        }, 5, 'status');
        is($status->{configured}, 'not-configured', 'configured');
        is($status->{health}, 'waiting', 'health');
        is($status->{devices}, 0, 'devices');
        is($status->{snapshot}, undef, 'snapshot');
        is($status->{lastPoll}, undef, 'last poll');
    }
};


subtest 'set up again' => sub {
    configured('again', 2 .. 5);
    is(meta($a)->{wiped}, undef, 'meta as ever');
    is($a->entity('10.20.7.1')->{match}, 'none', 'the former ones are unknown');
};


subtest 'deleted in the middle of a poll' => sub {
    $sim->clear_log;
    $sim->knobs(page_latency_ms => {2 => 60_000});
    ask_poll($a);
    $a->wait_for(sub { pages($a) >= 2 }, 10, 'in the middle');

    my $asked = () = pages($a);
    gone('mid-poll', remove($a));
    is(scalar pages($a), $asked, 'no page after it');
};


subtest 'deleted while it is paused' => sub {
    configured('before', 1 .. 3);
    $a->put('/defender/config', role => 'admin', json => {enabled => $FALSE});
    $a->wait_for(sub { holder($a) eq '' }, 5, 'nobody holds the lease');
    is(scalar(() = $redis->keys('defender:ip:*')), 3, 'there are keys');

    gone('paused', remove($b));
};


subtest 'a host that was down meanwhile' => sub {
    configured('before', 1 .. 3);
    $b->stop;
    ok(snapshots($b), 'it has its file');

    gone('one host', remove($a));
    $b->run;
    $b->wait_for(sub { status($b)->{configured} eq 'not-configured' }, 5,
        'it comes back');
    gone('both', time);

    # Deleted and set up for others before it comes back.
    configured('before', 1 .. 3);
    $b->stop;
    gone('one host', remove($a));
    $sim->devices(fleet(21 .. 22));
    like($a->configure(tenantId => $sim->domain)->status, qr/^2/, 'saved');
    $a->wait_match('10.20.7.21', 'exact', 20);

    $b->run;
    $b->wait_match('10.20.7.21', 'exact', 10);
    is(said($b), 'none', 'it does not know the former ones');
};


subtest 'another tenant' => sub {
    configured('before', 1 .. 4);
    my $generation = generation($a);

    # The first poll of the new tenant takes its time.
    $sim->devices(fleet(31 .. 34));
    $sim->knobs(page_latency_ms => {2 => 3000});
    like($a->configure(tenantId => $sim->domain)->status, qr/^2/, 'saved');

    cmp_ok(wait_said('unavailable no-data', 5, 'changed'), '<', 4,
        'no devices in between');
    is_deeply([stored_ids($a)], [], 'nor in Redis');
    $a->wait_for(sub { !(() = $redis->keys('defender:ip:*')) }, 3, 'no addresses');
    is(meta($a)->{devices}, 0, 'meta: devices');
    is(generation($a), $generation, 'no generation yet');
    is($_->entity('10.20.7.31')->{match}, 'unavailable', 'nor a new one')
        for $a, $b;

    for my $t ($a, $b) {
        $t->wait_match('10.20.7.31', 'exact', 15);
        is(said($t), 'none', 'the former tenant\'s are unknown');
    }
    wait_ip_keys($a);
    is_deeply([sort $redis->keys('defender:ip:*')], [map { "defender:ip:10.20.7.$_" } 31 .. 34],
        'address keys');
    is(generation($a), $generation + 1, 'one generation');
};


subtest 'another tenant, and its poll fails' => sub {
    configured('before', 1 .. 2);
    my $ticket = $a->post('/defender/config/verify', role => 'admin',
        json => $a->settings(tenantId => $sim->domain))->json->{verifyTicket};
    ok($ticket, 'verified');
    $sim->knobs(token_status => 401, token_body =>
        '{"error":"invalid_client","error_description":"AADSTS7000215: '
        . 'Invalid client secret provided.","error_codes":[7000215]}');
    is($a->put('/defender/config', role => 'admin', json => {
        %{$a->settings(tenantId => $sim->domain)},
        verifyTicket => $ticket})->status, 200, 'saved');

    wait_said('unavailable no-data', 5, 'failing');
    $a->wait_for(sub { status($a)->{health} eq 'sign-in-failed' }, 10,
        'it fails');
    is(said($_), 'unavailable no-data', 'the former devices stay away')
        for $a, $b;
    is_deeply([$redis->keys('defender:ip:*')], [], 'also for readers');
    is_deeply([map { snapshots($_) } $a, $b], [], 'and on the disk');
};


subtest 'Redis was flushed' => sub {
    configured('before', 1 .. 3);
    $redis->cmd('FLUSHALL');
    wait_said('unavailable not-configured', 5, 'flushed');
    settle($a);
    ok(snapshots($_), 'the file stays') for $a, $b;

    # The same settings again: it is served before the first poll ends.
    $sim->knobs(page_latency_ms => 3000);
    like($a->configure->status, qr/^2/, 'saved');
    is(said($a), 'exact', 'and is good for the same tenant');
    $sim->knobs(page_latency_ms => 0);
    wait_generation($a, 1, 15);
};


$b->finish;
$a->done;
