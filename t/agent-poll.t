#!/usr/bin/perl

# Polling: from the pages of machines to the devices in Redis, and what
# happens when settings or Redis change in the middle of it.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender::Agent qw(start_configured status last_poll poll ask_poll
    settle known unchanged machine fleet walks pages stored_ids meta
    generation wait_generation id_of);

my $TRUE = JSON::PP::true;
my $ISO  = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;

my $t     = start_configured(http => 'defender_page_size 3;');
my $sim   = $t->sim;
my $redis = $t->redis;

$sim->knobs(rate_minute => undef, rate_hour => undef);


subtest 'the first poll' => sub {
    my $status = status($t);
    my $meta   = meta($t);

    is($meta->{schema}, 1, 'schema');
    is($meta->{generation}, 1, 'generation');
    is($meta->{devices}, 59, 'devices: one id is there twice');
    is($redis->cmd(HLEN => 'defender:devices'), 59, 'devices in the hash');
    like($meta->{pollStarted}, $ISO, 'pollStarted');
    like($meta->{pollFinished}, $ISO, 'pollFinished');
    is($meta->{state}, 'healthy', 'state');

    is($status->{configured}, 'enabled', 'configured');
    is($status->{health}, 'healthy', 'health');
    is($status->{message}, undef, 'no message');
    is($status->{generation}, 1, 'generation');
    is($status->{lastPoll}{result}, 'ok', 'result');
    is($status->{lastPoll}{pages}, 21, 'pages: twenty full ones, one empty');
    is($status->{lastPoll}{devices}, 59, 'devices');
    is_deeply($status->{lastGoodPoll}, $status->{lastPoll}, 'last good poll');
    like($status->{nextPoll}, $ISO, 'next poll');
    is($status->{cache}{state}, 'ready', 'cache');
    ok($status->{leaseHolderIsThisHost}, 'the lease is here');
    like($status->{leaseHolder}, qr/^[^:]+:\d+$/, 'host and process');

    is_deeply([pages($t)], [map { $_ * 3 . ':200' } 0 .. 20], 'requests');
    is(scalar $sim->log(family => 'token'), 1, 'one token');
};


subtest 'records are kept as they came' => sub {
    my $odd = '{"id" : "' . id_of('e1') . '",  "lastIpAddress":"10.20.7.9", '
        . '"lastSeen":"2026-01-01T00:00:00Z","n":1E+2,"big":'
        . '18446744073709551615123,"riskScore":"Brand New","x":{"y":[0.10]}}';

    $sim->reset_knobs;
    $sim->devices("[$odd]");
    is(poll($t)->{devices}, 1, 'stored') or diag explain status($t);

    my ($sent) = $sim->control(GET => 'devices');
    is($redis->cmd(HGET => 'defender:devices', id_of('e1')),
        $odd =~ s/("[^"]*")|\s+/$1 \/\/ ''/ger, 'byte for byte');
};


subtest 'what is no machine is counted and harms nothing' => sub {
    my $json = JSON::PP->new;
    my $good = $json->encode(machine('a1', '10.20.7.1'));

    my @fill = map { $json->encode(machine("b$_", undef)) } 1 .. 3;

    $sim->devices('[null,"x",' . $fill[0] . ',7,[],' . $fill[1] . ',{},'
        . '{"id":null},' . $fill[2] . ',{"id":""},{"id":7},' . $good . ',{"id":"'
        . ('f' x 300) . '"}]');
    my $last = poll($t);
    is($last->{result}, 'ok', 'result') or diag explain $last;
    is($last->{skipped}, 9, 'skipped');
    is(status($t)->{skipped}, 9, 'in the status');
    is_deeply([stored_ids($t)], [map { id_of($_) } qw(a1 b1 b2 b3)],
        'the machines are there');
};


subtest 'the newest report of one id stays, on whatever page' => sub {
    my %seen = (old => '2026-11-24T10:00:00Z', new => '2026-11-24T10:00:00.5Z',
        newer => '2026-11-24T10:00:00.51Z');

    # As text, "00Z" is after "00.5Z", and "00.5Z" after "00.51Z".
    for my $order ([qw(old new newer)], [qw(newer new old)],
        [qw(new newer old)])
    {
        my @fill = map { machine("c$_", undef) } 1 .. 6;

        $sim->devices([map { (machine('a1', undef, lastSeen => $seen{$_},
            computerDnsName => $_), splice @fill, 0, 2) } @$order]);
        my $last = poll($t);
        is($last->{result}, 'ok', "@$order: result");
        my $kept = $t->json_decode(
            $redis->cmd(HGET => 'defender:devices', id_of('a1')));
        is($kept->{computerDnsName}, 'newer', "@$order: record");
    }
};


subtest 'rows that moved to the next page' => sub {
    known($t, 1 .. 8);
    $sim->knobs(duplicate => $TRUE);
    my $last = poll($t);
    is($last->{result}, 'ok', 'result') or diag explain $last;
    is($last->{devices}, 8, 'each is counted once');
    is_deeply([stored_ids($t)], [map { id_of(sprintf '%02x', $_) } 1 .. 8],
        'devices');
};


subtest 'a token that dies in the middle of the walk' => sub {
    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    $sim->devices(fleet(1 .. 13));
    $sim->clear_log;
    $sim->knobs(revoke_tokens => $TRUE, token_calls => [2, 100]);

    is(poll($t)->{result}, 'ok', 'result') or diag explain status($t);
    is_deeply([grep { !/:401/ } pages($t)],
        ['0:200', '3:200', '6:200', '9:200', '12:200'],
        'each page is fetched once');
    is(scalar(grep { /^6:401/ } pages($t)), 1, 'page 3 once with the old one');
    is($redis->cmd(HLEN => 'defender:devices'), 13, 'all devices');
};


subtest 'a list that goes in a circle' => sub {
    known($t, 1 .. 6);
    my $before = generation($t);

    $sim->knobs(next_link => 'always', repeat_page => $TRUE);
    my $last = poll($t);
    is($last->{result}, 'incomplete', 'result');
    like($last->{message}, qr/no new device/, 'message');
    is(walks($t), 1, 'one walk');
    cmp_ok(scalar pages($t), '<=', 3, 'a handful of requests');
    unchanged($t, $before, 1 .. 6);
    is(status($t)->{health}, 'delayed', 'health');
    is(meta($t)->{state}, 'delayed', 'state for readers');
};


subtest 'a short page that says there is more' => sub {
    known($t, 1 .. 6);
    $sim->knobs(next_link => 'always', max_rows => 2);
    is(poll($t)->{devices}, 6, 'devices');
    is_deeply([pages($t)], ['0:200', '2:200', '4:200'],
        'skip goes by the rows that came');
};


subtest 'switched off in the middle of a poll' => sub {
    known($t, 1 .. 8);
    my $before = generation($t);

    $sim->knobs(page_latency_ms => {2 => 3000});
    ask_poll($t);
    $t->wait_for(sub { pages($t) >= 1 && status($t)->{polling} }, 10,
        'polling');
    $t->put('/defender/config', role => 'admin',
        json => {enabled => JSON::PP::false});
    $t->wait_for(sub {
        my $now = status($t);
        return $now->{configured} eq 'disabled' && !$now->{polling};
    }, 5, 'stopped');

    is($t->entity('10.20.7.1')->{match}, 'unavailable', 'look-ups');
    is($redis->cmd(EXISTS => 'defender:lease'), 0, 'the lease is given back');
    is(generation($t), $before, 'nothing published');
    is($redis->cmd(HLEN => 'defender:devices'), 8, 'everything is kept');

    my $asked = pages($t);
    settle($t);
    is(scalar pages($t), $asked, 'no request any more');

    $t->put('/defender/config', role => 'admin', json => {enabled => $TRUE});
    $t->wait_for(sub { generation($t) > $before }, 15, 'on again: a poll');
    is($t->wait_match('10.20.7.1', 'exact')->{id}, id_of('01'), 'look-ups');
};


subtest 'settings for another tenant' => sub {
    known($t, 1 .. 8);
    my $before = generation($t);

    $sim->devices(fleet(11 .. 18));
    $sim->knobs(page_latency_ms => {3 => 2500});
    like($t->configure(tenantId => $sim->domain)->status, qr/^2/, 'saved');

    # Another organisation's devices do not stay until the first poll ends.
    $t->wait_match('10.20.7.1', 'unavailable', 5);
    is($t->entity('10.20.7.1')->{reason}, 'no-data', 'not looked yet');
    is(generation($t), $before, 'no generation before it is polled');
    is($redis->cmd(EXISTS => 'defender:devices'), 0, 'without devices');
    $t->wait_for(sub { !(() = $redis->keys('defender:ip:*')) }, 5,
        'and without keys');

    $t->wait_match('10.20.7.11', 'exact', 10);
    is(generation($t), $before + 1, 'then the devices of this one');

    $sim->reset_knobs;
    $sim->devices([]);
    like($t->configure(tenantId => $sim->tenant)->status, qr/^2/, 'saved');
    $t->wait_match('10.20.7.11', 'none', 10);
    $t->wait_for(sub { (last_poll($t) // {})->{devices} == 0 }, 10, 'polled');
    is(last_poll($t)->{result}, 'ok', 'an empty tenant is believed');
    is(meta($t)->{devices}, 0, 'devices');
};


subtest 'Redis has become a replica' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $redis->cmd(REPLICAOF => '127.0.0.1', 1);
    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{health} eq 'cache-down' ? $now : undef;
    }, 25, 'told by name') // {};
    like($status->{message}, qr/READONLY/, 'message');
    is($status->{code}, 'READONLY', 'code');
    is($t->entity('10.20.7.1')->{match}, 'exact', 'look-ups go on');

    $redis->cmd(REPLICAOF => 'NO', 'ONE');
    $t->wait_for(sub { status($t)->{health} eq 'healthy' }, 30, 'recovers');
    is(poll($t)->{result}, 'ok', 'polls');
    is(generation($t), $before + 1, 'a new generation');
};


subtest 'Redis does not answer' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $sim->knobs(page_latency_ms => {2 => 1000});
    ask_poll($t);
    $t->wait_for(sub { status($t)->{polling} }, 10, 'polling');
    $redis->sigstop;
    $t->wait_for(sub { status($t)->{cache}{state} eq 'down' }, 10, 'noticed');
    is(status($t)->{health}, 'cache-down', 'health');
    is($t->entity('10.20.7.1')->{match}, 'exact', 'look-ups go on');

    $redis->sigcont;
    $t->wait_for(sub {
        my $now = status($t);
        return $now->{health} eq 'healthy' && $now->{generation} > $before;
    }, 40, 'polls again by itself');
    is($redis->cmd(HLEN => 'defender:devices'), 4, 'whole');
};


subtest 'Redis is full in the middle of a poll' => sub {
    known($t, 1 .. 8);
    my $before = generation($t);

    $sim->generate(20_000);
    my ($used) = $redis->cmd(INFO => 'memory') =~ /^used_memory:(\d+)/m;
    $redis->cmd(CONFIG => SET => 'maxmemory-policy', 'noeviction');
    $redis->cmd(CONFIG => SET => maxmemory => $used + 2_000_000);

    my $last = poll($t, seconds => 60);
    is($last->{result}, 'cache-down', 'result') or diag explain $last;
    like($last->{message}, qr/OOM/, 'message');
    is(status($t)->{health}, 'cache-down', 'health');
    unchanged($t, $before, 1 .. 8);

    $redis->cmd(CONFIG => SET => maxmemory => 0);
};


subtest 'Redis is flushed in the middle of a poll' => sub {
    known($t, 1 .. 8);

    $sim->knobs(page_latency_ms => {2 => 2000});
    ask_poll($t);
    $t->wait_for(sub { status($t)->{polling} && pages($t) >= 1 }, 10,
        'polling');
    $redis->cmd('FLUSHALL');
    $t->wait_for(sub { status($t)->{configured} eq 'not-configured' }, 5,
        'not configured');
    settle($t);
    is($redis->cmd(EXISTS => 'defender:devices'), 0, 'nothing was published');
    is($redis->cmd(EXISTS => 'defender:lease'), 0, 'nobody polls');
    is($t->entity('10.20.7.1')->{match}, 'unavailable', 'look-ups');

    $sim->reset_knobs;
    is($t->configure->status =~ /^2/, 1, 'configured anew');
    $t->wait_devices(8);
    is($t->wait_match('10.20.7.1', 'exact')->{id}, id_of('01'), 'look-ups');
};


subtest 'Redis is restarted in the middle of a poll' => sub {
    my $dump = {map { $_ => $redis->cmd(DUMP => $_) }
        qw(defender:config defender:devices defender:meta)};

    $sim->reset_knobs;
    $sim->devices(fleet(1 .. 9));
    $sim->knobs(page_latency_ms => {2 => 1500}, rate_minute => undef);
    ask_poll($t);
    $t->wait_for(sub { status($t)->{polling} }, 10, 'polling');

    my $generation = generation($t);
    $redis->kill;
    $t->wait_for(sub { status($t)->{cache}{state} eq 'down' }, 10, 'down');
    is(status($t)->{health}, 'cache-down', 'health');
    is($t->entity('10.20.7.1')->{match}, 'exact', 'look-ups go on');

    $redis->start;
    $redis->cmd(RESTORE => $_, 0, $dump->{$_}) for sort keys %$dump;
    $t->wait_for(sub { generation($t) > $generation }, 60,
        'polls again by itself');
    is($redis->cmd(HLEN => 'defender:devices'), 9, 'all devices');
};


subtest 'every page, not only ten thousand rows' => sub {
    $sim->reset_knobs;
    $sim->knobs(max_rows => 10_000, rate_minute => undef, rate_hour => undef);
    $sim->devices([]);
    $sim->generate(10_002);
    $t->conf($t->standard_conf(http => 'defender_page_size 10000;'));
    $t->reload;

    $t->wait_for(sub { status($t)->{leaseHolder} }, 10, 'a poller');
    $sim->clear_log;
    my $last = poll($t, seconds => 60);
    is($last->{devices}, 10_002, 'devices') or diag explain $last;
    is_deeply([pages($t)], ['0:200', '10000:200'], 'pages');
    is($redis->cmd(HLEN => 'defender:devices'), 10_002, 'in Redis');
};


$t->done;
