#!/usr/bin/perl

# The state told truly: what a poll changed and left out, how many calls it
# took, the last polls, the root cause beside what follows from it, and the
# four answers of POST /sync.

use strict;
use warnings;

use JSON::PP ();
use POSIX    qw(strftime);
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender::Agent qw(start_configured second_host status poll ask_poll
    known machine fleet walks pages generation agent_pid);

my ($TRUE, $FALSE) = (JSON::PP::true, JSON::PP::false);

my $t = start_configured(-devices => fleet(1 .. 4),
    http => 'defender_page_size 3; defender_sync_cooldown 5s;');
my $sim   = $t->sim;
my $redis = $t->redis;

$sim->knobs(rate_minute => undef, rate_hour => undef);


sub sync { return $t->post('/defender/sync', role => 'admin', json => {}) }


sub health { return status($_[0] // $t)->{health} }


sub wait_health {
    my ($want, $seconds) = @_;

    return $t->wait_for(sub {
        my $now = status($t);
        return $now->{health} eq $want ? $now : undef;
    }, $seconds // 15, "health $want") // {};
}


my $wrong_secret = {token_status => 401, token_body =>
    '{"error":"invalid_client","error_description":"AADSTS7000215: Invalid '
    . 'client secret provided.","error_codes":[7000215]}'};


subtest 'the first poll' => sub {
    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{lastPoll} && $now->{addresses} ? $now : undef;
    }, 10, 'status');
    my $last = $status->{lastPoll};

    is_deeply([@$last{qw(result new changed gone pages devices)}],
        ['ok', 4, 0, 0, 2, 4], 'all are new');
    is_deeply($last->{skippedReasons}, {}, 'nothing is left out');
    is_deeply($status->{polls}, [$last], 'the only one');
    is_deeply($status->{lastGoodPoll}, $last, 'and a good one');
    is($status->{addresses}, 4, 'addresses');
    is($status->{configured}, 'enabled', 'configured');
    is($status->{health}, 'healthy', 'health');
    is($status->{pollingSince}, undef, 'none runs');
    is($status->{throttledUntil}, undef, 'Defender wants calls');
    is($status->{secretExpiresAt}, undef, 'no expiry is known');
    cmp_ok($status->{ageSeconds}, '<', 60, 'age');
    like($status->{leaseHolder}, qr/:\d+$/, 'holder');
};


subtest 'what a poll changed' => sub {
    my $same = $t->json_decode($redis->cmd(HGET => 'defender:devices',
        (fleet(1))->[0]{id}));

    # 1 stays byte for byte, 2 has another name, 3 and 4 go, 5 to 7 come.
    my %moved = %{$t->json_decode($redis->cmd(HGET => 'defender:devices',
        fleet(2)->[0]{id}))};
    $sim->devices([$same, {%moved, computerDnsName => 'renamed'},
        @{fleet(5 .. 7)}]);

    my $last = poll($t);
    is_deeply([@$last{qw(result new changed gone devices)}],
        ['ok', 3, 1, 2, 5], 'new, changed, gone');

    $last = poll($t);
    is_deeply([@$last{qw(result new gone devices)}], ['ok', 0, 0, 5],
        'the next one: none comes, none goes');

    # Twice in the list, the second time newer: one device.
    $sim->devices([$same, {%$same, lastSeen => '@now-1m'}]);
    $last = poll($t);
    is_deeply([@$last{qw(result new changed gone devices)}],
        ['ok', 0, 1, 4, 1], 'a repeated id counts once');
};


subtest 'records that are left out' => sub {
    my $long = 'x' x 200;

    $sim->devices('[' . join(',', map { ref $_ ? $t->json_encode($_) : $_ }
        machine('01', '10.20.7.1'), 'null', '7',
        machine('02', '10.20.7.2'), '{"a":1}', '{"id":""}',
        machine('03', '10.20.7.3'), '{"id":null}', '{"id":5}',
        machine('04', '10.20.7.4'), qq({"id":"$long"})) . ']');

    my $last = poll($t);
    is($last->{result}, 'ok', 'result');
    is($last->{devices}, 4, 'four are machines');
    is($last->{skipped}, 7, 'the others are not');
    is_deeply($last->{skippedReasons}, {'not-an-object' => 2, 'no-id' => 3,
        'bad-id' => 2}, 'and why');
    is_deeply(status($t)->{skippedReasons}, $last->{skippedReasons},
        'also beside the number');
};


subtest 'calls to the API' => sub {
    my $before = status($t)->{apiCalls};

    known($t, 1 .. 7);
    $t->wait_for(sub { status($t)->{apiCalls}{lastHour}
        == $before->{lastHour} + 3 }, 5, 'three pages');
    my $calls = status($t)->{apiCalls};
    cmp_ok($calls->{lastMinute}, '>=', 3, 'in the last minute');
    cmp_ok($calls->{lastMinute}, '<=', $calls->{lastHour}, 'and hour');
};


subtest 'the last ten' => sub {
    my $last;

    $last = poll($t) for 1 .. 6;
    my $polls = status($t)->{polls};
    is(scalar @$polls, 10, 'ten are kept');
    is_deeply($polls->[0], $last, 'the newest first');
    my @began = map { $_->{started} } @$polls;
    is_deeply(\@began, [reverse sort @began], 'in order');

    # The next process goes on with the list.
    my $pid = agent_pid($t);
    $t->allow_log(qr/signal 9/);
    kill 'KILL', $pid;
    $t->wait_for(sub { agent_pid($t) && agent_pid($t) != $pid
        && status($t)->{leaseHolderIsThisHost} }, 10, 'another poller');
    is_deeply(status($t)->{polls}, $polls, 'has them as well');
};


subtest 'answers of POST /sync' => sub {
    $redis->cmd(DEL => 'defender:sync');
    known($t, 1 .. 4);
    $redis->cmd(DEL => 'defender:sync');
    $sim->knobs(page_latency_ms => 3000);

    my $r = sync();
    is($r->status, 202, 'started: status');
    is_deeply($r->json, {result => 'started'}, 'started');

    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{polling} ? $now : undef;
    }, 5, 'it runs');
    like($status->{pollingSince}, qr/^\d{4}-.*Z$/, 'since when');
    is($status->{nextPoll}, undef, 'no next one yet');

    $r = sync();
    is($r->status, 200, 'busy: status');
    is_deeply($r->json, {result => 'busy'}, 'busy');

    $sim->knobs(page_latency_ms => 0);
    $redis->cmd(SET => 'defender:sync', 'held', PX => 9000);
    $t->wait_for(sub { !status($t)->{polling} }, 15, 'it ends');
    $redis->cmd(SET => 'defender:sync', 'held', PX => 9000);
    $t->wait_for(sub { !status($t)->{polling} }, 15, 'and the wish, too');
    $r = sync();
    is($r->status, 429, 'cooling down: status');
    is($r->json->{result}, 'cooling-down', 'result');
    is($r->json->{code}, 'cooling_down', 'code');
    cmp_ok($r->header('Retry-After'), '<=', 9, 'Retry-After');

    # Defender's own pause comes first, and no call is made in it.
    $sim->knobs(page_status => {1 => {status => 429,
        headers => {'Retry-After' => '40'},
        body => '{"error":{"code":"429","message":"quota used up"}}'}});
    is(poll($t)->{result}, 'throttled', 'a throttled poll');
    $status = wait_health('throttled');
    ok($status->{throttledUntil}, 'until when');
    $sim->clear_log;
    $redis->cmd(DEL => 'defender:sync');
    $r = sync();
    is($r->status, 429, 'throttled: status');
    is($r->json->{result}, 'throttled', 'result');
    is($r->json->{code}, 'throttled', 'code');
    cmp_ok($r->header('Retry-After'), '>', 20, 'Retry-After');
    cmp_ok($r->header('Retry-After'), '<=', 41, 'is Defender\'s');
    is($redis->cmd(EXISTS => 'defender:sync'), 0, 'no wish is left');

    # The next process knows it, and asks nothing either.
    my $pid = agent_pid($t);
    kill 'KILL', $pid;
    $t->wait_for(sub { agent_pid($t) && agent_pid($t) != $pid
        && status($t)->{leaseHolderIsThisHost} }, 10, 'another poller');
    is(status($t)->{throttledUntil}, $status->{throttledUntil}, 'the same');
    is(sync()->json->{result}, 'throttled', 'throttled as before');
    is_deeply([pages($t)], [], 'no calls');

    # Other settings begin anew.
    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    $t->configure(tenantId => $sim->domain);
    $t->wait_for(sub { health() eq 'healthy' }, 20, 'healthy again');
    is(status($t)->{throttledUntil}, undef, 'not throttled');
};


subtest 'the root cause stays' => sub {
    known($t, 1 .. 4);
    my $good = status($t)->{lastGoodPoll};

    # A token that is refused, so that the next poll signs in.
    $sim->knobs(%$wrong_secret, page_status => {1 => {status => 401}});
    is(poll($t)->{result}, 'sign-in-failed', 'sign-in fails');
    my $status = wait_health('sign-in-failed');
    is($status->{code}, 'AADSTS7000215', 'code');
    is_deeply($status->{lastGoodPoll}, $good, 'the last good one is known');
    is($status->{lastPoll}{new}, undef, 'a failed one changed nothing');

    # The data grow old.
    my $shared = $t->json_decode($redis->cmd(GET => 'defender:status'));
    $shared->{lastGoodPoll}{started} = '2026-01-01T00:00:00Z';
    $t->stop;
    $redis->cmd(SET => 'defender:status', $t->json_encode($shared));
    $redis->cmd(SET => 'defender:lease', 'other:1:x', PX => 2000);
    $t->run;
    $status = $t->wait_for(sub {
        my $now = status($t);
        return ($now->{health} // '') eq 'sign-in-failed' ? $now : undef;
    }, 10, 'after a start') // {};
    is($status->{code}, 'AADSTS7000215', 'the cause, not the age');

    # Redis goes away.
    $redis->cmd('SAVE');
    $redis->stop;
    $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{cache}{state} eq 'down' ? $now : undef;
    }, 10, 'Redis is away') // {};
    is($status->{health}, 'sign-in-failed', 'still the cause');
    is($status->{code}, 'AADSTS7000215', 'its code');
    ok($status->{cache}{cause}, 'and Redis beside it');
    $redis->restart;

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    $t->wait_for(sub { status($t)->{cache}{state} eq 'ready' }, 20, 'back');
    $t->wait_for(sub { status($t)->{leaseHolderIsThisHost} }, 20, 'polls');
    is(poll($t)->{result}, 'ok', 'a good poll');
    wait_health('healthy');

    # From a healthy state Redis is the cause.
    $redis->cmd('SAVE');
    $redis->stop;
    wait_health('cache-down');
    $redis->restart;
    $t->wait_for(sub { status($t)->{cache}{state} eq 'ready' }, 20, 'back');
    $t->wait_for(sub { status($t)->{configured} eq 'enabled' }, 20, 'set up');
};


subtest 'a secret that expires' => sub {
    for my $case ([40, undef], [30, 30], [8, 30], [7, 7], [2, 7], [1, 1],
        [0, 1], [-1, 'expired'])
    {
        my ($days, $step) = @$case;
        my $date = strftime('%Y-%m-%d', gmtime time + $days * 86_400);

        is($t->put('/defender/config', role => 'admin',
            json => {secretExpiresAt => $date})->status, 200, "$days: saved");
        my $status = $t->wait_for(sub {
            my $now = status($t);
            return ($now->{secretExpiresAt} // '') eq $date ? $now : undef;
        }, 5, 'status') // {};
        my @warnings = @{$status->{warnings}};

        if (!defined $step) {
            is_deeply(\@warnings, [], "$days days: no warning");
            next;
        }

        is(scalar @warnings, 1, "$days days: one warning");
        is($warnings[0]{code}, $step eq 'expired' ? 'secret_expired'
            : 'secret_expires_soon', 'code');
        is($warnings[0]{days}, $days, 'days');
        is($warnings[0]{within}, $step, 'within') if $step ne 'expired';
    }
};


$t->done;
