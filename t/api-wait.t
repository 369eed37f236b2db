#!/usr/bin/perl

# Requests to the API that wait, while clients leave, nginx reloads and Redis
# stands still; and what is told and done without waiting.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use Test::Defender;
use Test::Defender::Answer qw(outcome);
use Test::More;
use Time::HiRes qw(time);

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim;
$t->sim->knobs(rate_minute => undef);

my $dir = $t->dir;

my $server = <<'END';
        location = /stub {
            stub_status;
        }
END

$t->conf($t->standard_conf(server => $server))->run;

my @viewer = (role => 'viewer');
my @admin  = (role => 'admin');
my @json   = ('Content-Type' => 'application/json');


sub wait_log {
    my ($pattern, $what) = @_;

    return $t->wait_for(sub { $t->error_log =~ $pattern }, 10, $what);
}


# nginx's own count of connections: active, and those in which it answers.
sub busy {
    my ($active, $writing) = $t->get('/stub')->body
        =~ /Active connections: (\d+).*Writing: (\d+)/s;

    return "$active $writing";
}


subtest 'clients that leave' => sub {
    is(busy(), '1 1', 'nobody else is there');

    my $verify = Test::Defender::HTTP::request_bytes(
        method => 'POST', uri => '/defender/config/verify', host => 'h',
        keep => 1, headers => ['X-Role' => 'admin', @json],
        body => $t->json_encode($t->settings));

    $t->sim->knobs(token_latency_ms => 400);
    $t->sim->clear_log;

    my $c = $t->connect;
    $c->send($verify);
    $t->wait_for(sub { $t->sim->log(family => 'token') }, 10, 'asked');
    $c->close;
    $t->wait_for(sub { busy() eq '1 1' }, 10, 'a closed connection is seen');

    $c = $t->connect;
    $c->send($verify);
    $t->wait_for(sub { 2 == $t->sim->log(family => 'token') }, 10, 'asked');
    $c->reset;
    $t->wait_for(sub { busy() eq '1 1' }, 10, 'a reset is seen');

    $c = $t->connect;
    $c->send($verify . "GET /defender/status HTTP/1.1\r\nHost: h\r\n"
        . "X-Role: viewer\r\n\r\n");
    is($c->response('POST')->json->{verified}, JSON::PP::true,
        'a request behind it is no sign of leaving');
    is($c->response('GET')->status, 200, '... and is answered');
    $c->close;

    is(scalar $t->sim->log(family => 'machines'), 1,
        'nobody asks Microsoft for those who have left');

    # Many at once, half of them leaving.
    $t->sim->knobs(token_latency_ms => 50);
    my @clients = map { $t->connect } 1 .. 100;
    my $config = Test::Defender::HTTP::request_bytes(
        method => 'GET', uri => '/defender/config', host => 'h', keep => 1,
        headers => ['X-Role' => 'viewer']);

    $t->redis->sigstop;
    $_->send($config) for @clients;
    $_->close for @clients[0 .. 49];
    $t->redis->sigcont;
    is(scalar(grep { $_->response('GET')->status == 200 } @clients[50 .. 99]),
        50, 'those who stay are answered');
    $_->close for @clients;
    $t->wait_for(sub { busy() eq '1 1' }, 10, 'nothing is left');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);
};

subtest 'a reload does not cut a wait' => sub {
    $t->sim->knobs(token_latency_ms => 1000);
    $t->sim->clear_log;

    my $c = $t->connect;
    $c->send(Test::Defender::HTTP::request_bytes(
        method => 'POST', uri => '/defender/config/verify', host => 'h',
        headers => ['X-Role' => 'admin', @json],
        body => $t->json_encode($t->settings)));

    # The old worker answers a batch in many steps, too.
    my $batch = $t->connect;
    $batch->send(Test::Defender::HTTP::request_bytes(
        method => 'POST', uri => '/defender/enrich', host => 'h',
        headers => ['X-Role' => 'viewer', @json],
        body => '[' . join(',', ('"10.0.0.1"') x 10_000) . ']'));

    $t->wait_for(sub { $t->sim->log(family => 'token') }, 10, 'asked');
    my ($old) = $t->worker_pids;

    ok($t->reload, 'a new worker serves');
    ok(kill(0, $old), 'the old one is still there');
    is($c->response('POST')->json->{verified}, JSON::PP::true,
        'it finishes what it has begun');

    my $r = $batch->response('POST');
    is($r->status . ' ' . $r->complete, '200 1', 'the batch is whole');
    is(scalar @{$r->json}, 10_000, '... to the last');

    $t->wait_for(sub { !kill 0, $old }, 10, 'then it goes');
    wait_log(qr/worker process $old exited with code 0/, 'in good order');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);
};

subtest 'Redis stands still' => sub {
    is($t->get('/defender/config', @viewer)->status, 200, 'it is there');

    $t->redis->sigstop;

    my $begin = time;
    my $r = $t->get('/defender/config', @viewer);
    my $took = time - $begin;

    is(outcome($r), '503 cache_down', 'no answer');
    like($r->json->{detail}, qr/^Redis does not answer: \S/, '... and why');
    is($r->header('Retry-After'), 5, '... and when to come back');
    cmp_ok($took, '<', 4 * $t->slowness, 'within the timeout');

    $t->redis->sigcont;
    $t->wait_for(sub {
        $t->get('/defender/config', @viewer)->status == 200;
    }, 15, 'it answers again');
};

subtest 'Redis is down' => sub {
    $t->redis->stop;

    is(outcome($t->get('/defender/config', @viewer)), '503 cache_down',
        'GET /config');
    is(outcome($t->put('/defender/config', @admin, json => {})),
        '503 cache_down', 'PUT /config');
    is(outcome($t->post('/defender/config/verify', @admin,
        json => $t->settings)), '503 cache_down', 'POST /config/verify');

    is($t->get('/defender/status', @viewer)->status, 200, 'GET /status works');
    is($t->get('/defender/enrich?ip=10.0.0.1', @viewer)->status, 200,
        'GET /enrich works');
    is($t->post('/defender/enrich', @viewer, json => ['10.0.0.1'])->status,
        200, 'POST /enrich works');

    $t->redis->start;
    $t->wait_for(sub {
        $t->get('/defender/config', @viewer)->status == 200;
    }, 15, 'and back');
};

subtest 'Redis answers with an error' => sub {
    $t->redis->cmd(RPUSH => 'defender:config', 'somebody else wrote a list');

    my $r = $t->get('/defender/config', @viewer);
    is(outcome($r), '503 cache_error', 'a key of another type');
    like($r->json->{detail}, qr/^Redis answered: WRONGTYPE /, '... in its words');
    is(outcome($t->put('/defender/config', @admin, json => {})),
        '503 cache_error', 'nothing is written over it');

    $t->redis->cmd(DEL => 'defender:config');
};

subtest 'a poll is asked for' => sub {
    $t->redis->cmd(DEL => 'defender:sync');

    # Whether one may be asked for is what the agent says of this host.
    my $r = $t->post('/defender/sync', @admin, json => '');
    is(outcome($r), '409 not_configured', 'not configured');

    $t->configure(enabled => JSON::PP::false);
    is(outcome($t->post('/defender/sync', @admin, json => '')),
        '409 disabled', 'switched off');

    $t->put('/defender/config', @admin, json => {enabled => JSON::PP::true});
    $t->wait_devices(undef);
    $t->wait_for(sub {
        !$t->get('/defender/status', @viewer)->json->{polling};
    }, 15, 'the poll is over');

    my $polls = $t->sim->log(family => 'machines');

    $r = $t->post('/defender/sync', @admin, json => {});
    is($r->status, 202, 'accepted');
    is_deeply($r->json, {result => 'started'}, 'started');
    $t->wait_for(sub { $t->sim->log(family => 'machines') > $polls }, 10,
        'a poll comes');
    $t->wait_for(sub {
        !$t->get('/defender/status', @viewer)->json->{polling};
    }, 15, 'it is over');

    $r = $t->post('/defender/sync', @admin, json => '');
    is(outcome($r), '429 cooling_down', 'not again');
    is($r->json->{result}, 'cooling-down', 'result');
    like($r->json->{retryAfter}, qr/^(?:[1-5]\d|60)$/, 'seconds to wait');
    is($r->header('Retry-After'), $r->json->{retryAfter}, 'as a header');

    is(outcome($t->post('/defender/sync', @admin, json => '{"now":true}')),
        '400 invalid_body', 'the body says nothing');
    is(outcome($t->post('/defender/sync', @admin, json => '{')),
        '400 invalid_json', 'nor nonsense');

    # While one runs.
    $t->redis->cmd(DEL => 'defender:sync');
    $t->sim->knobs(page_latency_ms => 3000);
    $t->post('/defender/sync', @admin, json => '');
    $t->wait_for(sub {
        $t->get('/defender/status', @viewer)->json->{polling};
    }, 15, 'a poll runs');
    $r = $t->post('/defender/sync', @admin, json => '');
    is($r->status, 200, 'one runs');
    is_deeply($r->json, {result => 'busy'}, 'busy');
};

subtest 'nginx goes away in a wait' => sub {
    my $get = Test::Defender::HTTP::request_bytes(
        method => 'GET', uri => '/defender/config', host => 'h',
        headers => ['X-Role' => 'viewer']);
    my $verify = Test::Defender::HTTP::request_bytes(
        method => 'POST', uri => '/defender/config/verify', host => 'h',
        headers => ['X-Role' => 'admin', @json],
        body => $t->json_encode($t->settings));

    for my $signal (qw(TERM QUIT)) {
        my $n = Test::Defender->new;
        $n->{sim} = $t->sim;
        $n->conf($n->standard_conf(redis => "unix:$dir/redis.sock",
            main => 'worker_shutdown_timeout 1s;'))->run;
        is($n->get('/defender/config', @viewer)->status, 200, 'it serves');

        $t->sim->knobs(token_latency_ms => 20_000);
        $t->sim->clear_log;
        my $to_sim = $n->connect;
        $to_sim->send($verify);
        $t->wait_for(sub { $t->sim->log(family => 'token') }, 10, 'asked');

        $t->redis->sigstop;
        my $to_redis = $n->connect;
        $to_redis->send($get);
        $n->wait_for(sub {
            2 == (() = $n->error_log =~ m{uri: "/defender/config"}g);
        }, 10, 'asked');

        my $begin = time;
        is($n->stop($signal), 0, "$signal: an orderly end");
        cmp_ok(time - $begin, '<', 5 * $t->slowness, '... soon');
        $t->redis->sigcont;
        $n->finish;
        $t->sim->reset_knobs;
    }
};

subtest 'status' => sub {
    my $status = $t->get('/defender/status', @viewer)->json;

    is($status->{configured}, 'enabled', 'configured');
    cmp_ok($status->{ageSeconds}, '>=', 0, 'age');
    cmp_ok($status->{ageSeconds}, '<', 120, 'age is that of the poll');

    my %before = %{$status->{counters}{lookups}};
    $t->get('/defender/enrich?ip=10.99.99.99', @viewer) for 1 .. 3;
    my %after = %{$t->get('/defender/status', @viewer)
        ->json->{counters}{lookups}};

    is($after{none} - $before{none}, 3, 'look-ups are counted');
    is_deeply([sort keys %{$status->{counters}}],
        [qw(dropped entities lookups malformed responses)], 'groups');
};

$t->done;
