#!/usr/bin/perl

# Deleting the settings, and the audit: who changed what, and who was refused.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use Test::Defender;
use Test::Defender::Answer qw(outcome outcome_field secret_is_inside);
use Test::More;

use constant {
    TRUE  => JSON::PP::true,
    FALSE => JSON::PP::false,
};

my $SECRET = 'Zz~1+b/c=d&e%25.f_g-h#i?j k"l\\m' . 'canary1';

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim(secret => $SECRET);
$t->sim->knobs(rate_minute => undef);
$t->conf($t->standard_conf(workers => 2))->run;

my @admin  = (role => 'admin', user => 'kim');
my @answers;


sub config { return $t->get('/defender/config', role => 'viewer') }


sub stored { return {$t->redis->hash(HGETALL => 'defender:config')} }


sub remove {
    my (%more) = @_;

    my $r = $t->delete('/defender/config', @admin, %more);
    push @answers, $r->raw_header . $r->body;

    return $r;
}


sub audit {
    my ($query, %more) = @_;

    my $r = $t->get('/defender/audit' . ($query // ''), @admin, %more);
    push @answers, $r->raw_header . $r->body;

    return $r;
}


# Waits for it: what was refused is written without anybody waiting.
sub newest {
    my ($what, %want) = @_;

    my $entry;
    my $found = $t->wait_for(sub {
        $entry = audit('?limit=1')->json->{entries}[0];
        !grep { ($entry->{$_} // '') ne $want{$_} } keys %want;
    }, 5, "audit: $what");

    return $entry;
}


sub action {
    my (%of) = @_;

    my $id = sprintf '%08x-0000-4000-8000-000000000000', ++state_id();
    my %action = (id => $id, status => 'Succeeded', type => 'Isolate',
        requestor => 'kim', computerDnsName => 'laptop.corp.example', %of);
    $t->redis->cmd(HSET => 'defender:actions', $id,
        JSON::PP->new->canonical->encode(\%action));

    return $id;
}


{
    my $last = 0;
    sub state_id : lvalue { $last }
}

subtest 'nothing to delete' => sub {
    my $r = remove();
    is($r->status, 200, 'status');
    is($r->json->{deleted}, FALSE, 'nothing was there');
    is_deeply($r->json->{isolationsNotReleased}, [], 'nobody is isolated');
};

subtest 'delete' => sub {
    $t->configure(appSecret => $SECRET);
    $t->wait_devices(undef);
    my $revision = config()->json->{revision};

    is(outcome(remove(headers => ['If-Match' => '"1"'])), '412 stale',
        'an old If-Match');
    is(config()->json->{revision}, $revision, '... deletes nothing');

    my $r = remove(headers => ['If-Match' => qq("$revision")]);
    is($r->status, 200, 'status');
    is_deeply($r->json, {
        deleted               => TRUE,
        revision              => $revision + 1,
        gone                  => [qw(settings secret devices addresses
            snapshots)],
        stays                 => [qw(audit actions)],
        isolationsNotReleased => [],
    }, 'what is gone, and what stays');
    is($r->header('ETag'), '"' . ($revision + 1) . '"', 'ETag');

    is($t->entity('10.20.1.11')->{reason}, 'not-configured',
        'look-ups know at once');

    my $stored = stored();
    is(join(' ', sort keys %$stored), 'deleted revision', 'what is stored');
    is($stored->{revision}, $revision + 1, '... a new revision');

    $r = config();
    is($r->json->{hasSecret}, FALSE, 'no secret is left');
    is($r->json->{tenantId}, undef, 'no tenant is left');
    is($r->json->{revision}, $revision + 1, 'the revision is shown');

    $r = $t->put('/defender/config', role => 'admin', json => {},
        headers => ['If-Match' => qq("$revision")]);
    is(outcome($r), '412 stale', 'a save of what was deleted');
    is($r->json->{updatedBy}, 'kim', '... tells by whom');
    like($r->json->{updatedAt}, qr/^20.*Z$/, '... and when');
    is($r->json->{deleted}, TRUE, '... and what');

    is(outcome_field($t->put('/defender/config', @admin,
        json => {enabled => TRUE})), '400 invalid_settings tenantId',
        'it starts from nothing');

    $t->configure(appSecret => $SECRET);
    is(config()->json->{revision}, $revision + 2, 'configured again');
    is(join(' ', sort keys %{stored()}), 'revision secret settings',
        '... as before');
};

subtest 'what a delete must look like' => sub {
    my $revision = config()->json->{revision};
    my $type     = 'Content-Type';

    is(outcome(remove(headers => [Origin => 'https://evil.example'])),
        '403 cross_site', 'from another site');
    is(outcome(remove(headers => ['Sec-Fetch-Site' => 'cross-site'])),
        '403 cross_site', '... by Sec-Fetch-Site');
    is(outcome(remove(headers => [$type => 'text/plain'])),
        '415 unsupported_media_type', 'with a form\'s type');
    is(outcome(remove(headers => [$type => 'text/plain'], body => '{}')),
        '415 unsupported_media_type', '... and a body');
    is(outcome(remove(body => '{}')), '415 unsupported_media_type',
        'a body without a type');
    is(outcome(remove(json => {enabled => TRUE})), '400 invalid_body',
        'a body that says something');
    is(outcome(remove(headers => [$type => 'application/json'],
        body => 'x')), '400 invalid_json', 'a body that is no JSON');
    is(config()->json->{revision}, $revision, 'nothing was deleted');

    is(remove(json => {})->status, 200, 'an empty object');
    is(config()->json->{revision}, $revision + 1, 'deleted');
};

subtest 'isolations' => sub {
    my @time = map { "2026-11-2${_}T10:00:00.1234567Z" } 0 .. 9;
    my %open;

    $open{held} = action(machineId => 'held', creationDateTimeUtc => $time[1]);
    $open{$_} = action(machineId => $_, status => $_,
        creationDateTimeUtc => $time[1]) for qw(Pending InProgress);

    action(machineId => $_, status => $_, creationDateTimeUtc => $time[1])
        for qw(Failed Cancelled TimeOut);
    action(machineId => 'scan', type => 'RunAntiVirusScan',
        creationDateTimeUtc => $time[1]);

    action(machineId => 'released', creationDateTimeUtc => $time[1]);
    action(machineId => 'released', creationDateTimeUtc => $time[2],
        type => 'Unisolate');

    action(machineId => 'again', creationDateTimeUtc => $time[1]);
    action(machineId => 'again', creationDateTimeUtc => $time[2],
        type => 'Unisolate');
    $open{again} = action(machineId => 'again',
        creationDateTimeUtc => $time[3]);

    $open{kept} = action(machineId => 'kept',
        creationDateTimeUtc => $time[1]);
    action(machineId => 'kept', creationDateTimeUtc => $time[2],
        type => 'Unisolate', status => 'Failed');

    $t->redis->cmd(HSET => 'defender:actions', 'odd', '{"machineId":');
    $t->redis->cmd(HSET => 'defender:actions', 'other', '[]');
    $t->redis->cmd(HSET => 'defender:actions', 'none', '{}');

    my $list = remove()->json->{isolationsNotReleased};

    is_deeply({map { $_->{machineId} => $_->{id} } @$list}, \%open,
        'those that hold or may come to');
    my ($held) = grep { $_->{machineId} eq 'held' } @$list;
    is_deeply($held, {id => $open{held}, machineId => 'held',
        computerDnsName => 'laptop.corp.example', status => 'Succeeded',
        requestor => 'kim', creationDateTimeUtc => $time[1]},
        'which device, and by whom');
    is($t->redis->cmd(HLEN => 'defender:actions'), 15 + 2,
        'the actions stay');

    $t->redis->cmd(SET => 'defender:actions', 'not ours');
    is_deeply(remove()->json->{isolationsNotReleased}, [],
        'a key of another type');
    $t->redis->cmd(DEL => 'defender:actions');
};

subtest 'what was changed' => sub {
    $t->redis->cmd(DEL => 'defender:audit');
    is_deeply(audit()->json, {entries => []}, 'empty');

    $t->configure(appSecret => $SECRET);

    my $list = audit()->json->{entries};
    is(scalar @$list, 2, 'two entries');
    is(join(' ', map { "$_->{action}:$_->{outcome}" } @$list),
        'config.save:done config.verify:done', 'newest first');

    my ($id, $time) = map { delete $list->[0]{$_} } qw(id time);
    like($id, qr/^\d{13}-\d+$/, 'id');
    like($time, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'when');

    is_deeply([map { $_->{field} } @{$list->[0]{changes}}],
        [qw(enabled tenantId appId appSecret)], 'what');
    is_deeply($list->[0]{changes}[1],
        {field => 'tenantId', old => undef, new => $t->sim->tenant},
        'with its value');
    is_deeply($list->[0]{changes}[3], {field => 'appSecret'},
        'without that of the secret');
    is($list->[0]{revision}, config()->json->{revision}, 'as which revision');
    is($list->[0]{address}, '127.0.0.1', 'from where');

    $t->put('/defender/config', role => 'admin', user => 'J"\\ 1',
        json => {pollMinutes => 7});
    my $entry = newest('a save', user => 'J"\\ 1');
    is_deeply($entry->{changes},
        [{field => 'pollMinutes', old => 5, new => 7}], 'old and new');
    like($t->error_log, qr/\[notice\] .*audit: config\.save by "J"\\ 1" from 127\.0\.0\.1: done, revision \d+: pollMinutes$/m,
        'one line in the log');

    remove();
    is(newest('a delete')->{action}, 'config.delete', 'a delete');
    like($t->error_log, qr/audit: config\.delete by "kim" from 127\.0\.0\.1: done, revision \d+$/m,
        '... in the log');

    $t->configure(appSecret => $SECRET);
    my $r = $t->post('/defender/sync', @admin, json => {});
    if ($r->status == 202) {
        is(newest('a sync', action => 'sync')->{outcome}, 'done', 'a sync');
    }

    $t->post('/defender/config/verify', @admin, json =>
        {appSecret => 'wrong'});
    $entry = newest('a failed verify', outcome => 'failed');
    is($entry->{code}, 'AADSTS7000215', 'why a verify failed');
    is($entry->{action}, 'config.verify', '... which it was');
};

subtest 'who was refused' => sub {
    my $json = ['Content-Type' => 'application/json'];
    my @cases = (
        # method, path, what is wrong, code
        [PUT => '/config', [role => 'viewer', json => {}], 'forbidden'],
        [PUT => '/config', [role => 'analyst', json => {}], 'forbidden'],
        [PUT => '/config', [json => {}], 'role_missing'],
        [DELETE => '/config', [role => 'analyst'], 'forbidden'],
        [POST => '/config/verify', [role => 'viewer', json => {}],
            'forbidden'],
        [POST => '/sync', [role => 'viewer', json => {}], 'forbidden'],
        [PUT => '/config', [role => 'admin', json => {}, headers =>
            [Origin => 'https://evil.example']], 'cross_site'],
        [PUT => '/config', [role => 'admin', body => '{}', headers =>
            ['Content-Type' => 'text/plain']], 'unsupported_media_type'],
        [PUT => '/config', [role => 'admin', body => 'x' x 9000,
            headers => $json], 'too_large'],
        [PUT => '/config', [role => 'admin', body => '{', headers => $json],
            'invalid_json'],
        [PUT => '/config', [role => 'admin', json => {pollMinutes => 4}],
            'invalid_settings'],
        [PUT => '/config', [role => 'admin', json =>
            {isolateEntity => TRUE}], 'not_verified'],
        [PUT => '/config', [role => 'admin', json => {}, headers =>
            ['If-Match' => '"1"']], 'stale'],
        [DELETE => '/config', [role => 'admin', headers =>
            ['If-Match' => '"1"']], 'stale'],
    );
    my %action = ('PUT /config' => 'config.save',
        'DELETE /config' => 'config.delete',
        'POST /config/verify' => 'config.verify', 'POST /sync' => 'sync');

    my $n = 0;
    for my $case (@cases) {
        my ($method, $path, $how, $code) = @$case;
        my $user = 'mallory' . $n++;

        my $r = $t->request($method, "/defender$path", user => $user, @$how);
        is($r->json->{code}, $code, "$method $path: $code");

        my $entry = newest("$code", user => $user);
        is(join(' ', @$entry{qw(action outcome code address)}),
            "$action{qq($method $path)} refused $code 127.0.0.1",
            '... is recorded');
        like($t->error_log, qr/audit: \S+ by "$user" from 127\.0\.0\.1: refused, $code$/m,
            '... and logged');
    }

    $t->get('/defender/config');
    $t->post('/defender/enrich', user => 'reads', json => []);
    $t->put('/defender/enrich', user => 'lost', role => 'viewer',
        json => []);
    is(audit('?limit=1')->json->{entries}[0]{user}, 'mallory' . ($n - 1),
        'who only reads is not recorded');
};

subtest 'a flood of refused attempts' => sub {
    my $before = $t->redis->cmd(XLEN => 'defender:audit');
    my $flood  = sub {
        for (1 .. 200) {
            $t->put('/defender/config', user => 'flood', json => {});
        }
    };
    $flood->();
    my $n = $t->redis->cmd(XLEN => 'defender:audit') - $before;
    cmp_ok($n, '<=', 2 * 60, "recorded: $n of 200, by two workers");
    is($t->put('/defender/config', @admin, json => {pollMinutes => 8})->status,
        200, 'a change');
    is(newest('a change')->{changes}[0]{new}, 8,
        '... is recorded all the same');
};

subtest 'pages' => sub {
    $t->redis->cmd(DEL => 'defender:audit');
    for my $n (1 .. 250) {
        $t->redis->cmd(XADD => 'defender:audit',
            $n < 200 ? "$n-7" : "200-$n", user => "u$n");
    }

    my $all = audit('?limit=1000')->json;
    is(scalar @{$all->{entries}}, 250, 'all');
    is($all->{next}, undef, '... and no more');
    is(scalar @{audit()->json->{entries}}, 100, '100 unless asked for');

    my ($before, @users) = ('');
    for (1 .. 10) {
        my $page = audit("?limit=40$before")->json;
        push @users, map { $_->{user} } @{$page->{entries}};
        last if !$page->{next};
        $before = "&before=$page->{next}";
    }
    is_deeply(\@users, [map { "u$_" } reverse 1 .. 250],
        'page by page: each once');

    is(audit('?limit=1&before=200-0')->json->{entries}[0]{user}, 'u199',
        'before the first of a millisecond');
    is_deeply(audit('?before=1-0')->json, {entries => []}, 'before the first');

    for my $limit ('0', '1001', '-1', 'x', '', '1x', '9' x 30, '%31') {
        is(outcome_field(audit("?limit=$limit")), '400 invalid_limit limit',
            "limit=$limit");
    }
    for my $id ('x', '', '1', '0-0', '1-', '-1', '1-x', '1--1', '9' x 30,
        '+', '1-1-1')
    {
        is(outcome_field(audit("?before=$id")), '400 invalid_before before',
            "before=$id");
    }

    $t->redis->cmd(DEL => 'defender:audit');
    $t->redis->cmd(SET => 'defender:audit', 'not ours');
    is(outcome(audit()), '503 cache_error', 'not a stream');
    my $revision = config()->json->{revision};
    is(outcome($t->put('/defender/config', @admin, json =>
        {pollMinutes => 9})), '503 cache_error',
        'without an audit nothing is changed');
    is(config()->json->{revision}, $revision, '... nothing');
    is(outcome(remove()), '503 cache_error', '... nor deleted');
    is(config()->json->{revision}, $revision, '... nothing');
    $t->redis->cmd(DEL => 'defender:audit');
};

subtest 'bounded' => sub {
    $t->redis->cmd(EVAL => q{for i = 1, 20000 do
        redis.call('XADD', KEYS[1], '*', 'user', 'x') end}, 1,
        'defender:audit');
    $t->put('/defender/config', @admin, json => {pollMinutes => 6});
    my $len = $t->redis->cmd(XLEN => 'defender:audit');
    cmp_ok($len, '<=', 10_200, "at most about 10000 entries: $len");
    cmp_ok($len, '>=', 10_000, '... of which so many stay');
};

subtest 'Redis is down' => sub {
    $t->redis->stop;
    is(outcome(audit()), '503 cache_down', 'audit');
    is(outcome(remove()), '503 cache_down', 'delete');
    is(outcome($t->put('/defender/config', user => 'down', role => 'viewer',
        json => {})), '403 forbidden', 'a refusal does not wait for it');
    $t->redis->restart;
    $t->wait_for(sub { audit()->status == 200 }, 20, 'back again');
};

subtest 'the secret stays inside' => sub {
    secret_is_inside($t, qr/canary/, @answers);
};

$t->done;
