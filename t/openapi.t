#!/usr/bin/perl

# docs/openapi.yaml against the running module: each documented path, method
# and status happens, with the documented schema, and nothing else does.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use Test::Defender;
use Test::Defender::OpenApi;
use Test::More;

use constant TRUE => JSON::PP::true;

my $t   = Test::Defender->new;
my $api = Test::Defender::OpenApi->new($t->root . '/docs/openapi.yaml');
my $doc = $api->doc;

$t->start_redis;
$t->start_sim;
$t->sim->knobs(rate_minute => undef);
$t->conf($t->standard_conf(server => 'client_max_body_size 4m;'))->run;

my %seen;


# One call; its answer has to be as documented.
sub try {
    my ($what, $want, $method, $path, %more) = @_;

    my $query = delete $more{query} // '';
    my $r = $t->request($method, "/defender$path$query",
        role => $more{role} // 'admin', user => 'kim', %more);
    my @wrong = $api->check_answer($method, $path, $r);

    is($r->status, $want, "$method $path: $what: $want");
    is(join("\n", @wrong), '', '... as documented')
        or diag($r->body);
    $seen{"$method $path " . $r->status}++;

    return $r;
}

subtest 'the description itself' => sub {
    is($doc->{openapi}, '3.1.0', 'version');
    ok($doc->{info}{$_}, "info: $_") for qw(title version);

    for my $ref (Test::Defender::OpenApi::refs($doc)) {
        ok(eval { $api->resolve({'$ref' => $ref}) }, "$ref is there");
    }

    my %used = map { $_ => 1 } Test::Defender::OpenApi::refs($doc);
    for my $kind (qw(schemas responses)) {
        for my $name (sort keys %{$doc->{components}{$kind}}) {
            ok($used{"#/components/$kind/$name"}, "$name is used");
        }
    }

    my %ids;
    for my $operation ($api->operations) {
        my ($method, $path, $what) = @$operation;
        ok($what->{summary}, "$method $path: summary");
        is($ids{$what->{operationId}}++, 0, "$method $path: its own id");
        ok($what->{responses}{200}, "$method $path: 200");
        like($what->{'x-role'}, qr/^(?:viewer|admin)$/, "$method $path: role");
    }
};

subtest 'what is wrong is found' => sub {
    my $schema = {'$ref' => '#/components/schemas/Warning'};
    my %good   = (code => 'secret_expired', field => 'x', days => -1,
        message => 'm');
    my $wrong  = sub { join '; ', $api->check($schema, {%good, @_}, '') };

    is($wrong->(), '', 'nothing is wrong');
    is($wrong->(more => 1), '.more: not documented', 'one more member');
    is($wrong->(days => '1'), '.days: string, not integer', 'a type');
    is($wrong->(code => 'x'), '.code: none of the values: x', 'a value');
    is($wrong->(within => 7), '', 'a value that may be');
    is($wrong->(within => 8), '.within: none of the values: 8', 'another');
    is(join('; ', $api->check($schema, {code => 'secret_expired'}, '')),
        '.field: missing; .days: missing; .message: missing', 'less');
    is(join('; ', $api->check($schema, [], '')), ': array, not object',
        'no object');
};

subtest 'nothing undocumented' => sub {
    # The table is the whole truth: no other code looks at a path.
    my $source = $t->read_file($t->root . '/src/http/api.c');
    my ($table) = $source =~ /dfd_api_routes\[\] = \{(.*?)\n\};/s;
    my %routed = map { $_ => 1 } $table =~ /ngx_string\("([^"]+)"\)/g;

    is_deeply([sort keys %routed], [sort keys %{$doc->{paths}}], 'paths');

    for my $path (sort keys %{$doc->{paths}}) {
        my $r = $t->request(BREW => "/defender$path", role => 'admin');
        my @documented = sort map { uc } keys %{$doc->{paths}{$path}};
        my @allowed = sort grep { $_ ne 'HEAD' }
            split /, /, $r->header('Allow');

        is($r->status, 405, "$path: another method");
        is("@allowed", "@documented", '... and which are right');

        for my $more ('/', '/x', 's') {
            next if $doc->{paths}{"$path$more"};
            is($t->get("/defender$path$more", role => 'admin')->status, 404,
                "$path$more is none");
        }
    }

    my %known = map { $_ => 1 }
        @{$doc->{components}{schemas}{Problem}{properties}{code}{enum}};
    my %given;
    for my $file (glob $t->root . '/src/http/*.c') {
        my $text = $t->read_file($file);
        $given{$1}++ while $text =~ /dfd_(?:reply_problem|api_refuse)\(
            \s*\w+,\s*NGX_HTTP_\w+,\s*"(\w+)"/gx;
    }
    cmp_ok(keys %given, '>', 15, 'codes in the sources');
    is(join(' ', grep { !$known{$_} } sort keys %given), '',
        '... are documented');
};

subtest 'roles' => sub {
    for my $operation ($api->operations) {
        my ($method, $path, $what) = @$operation;

        for my $role ('', 'viewer', 'analyst') {
            next if $role ne '' && $what->{'x-role'} eq 'viewer';
            try("as '$role'", 403, $method, $path, role => $role,
                $method eq 'GET' ? () : (json => {}));
        }
    }
};

subtest 'not configured' => sub {
    try('the defaults', 200, GET => '/config');
    try('default hosts', 200, GET => '/egress');
    try('nothing to poll', 409, POST => '/sync', json => {});
    try('nothing to delete', 200, DELETE => '/config');
    try('no data', 200, GET => '/enrich', query => '?ip=10.20.1.11');
};

subtest 'look-ups and settings' => sub {
    my $settings = $t->settings(isolateEntity => TRUE);
    my $report = try('a good one', 200, POST => '/config/verify',
        json => $settings)->json;
    try('a wrong secret', 200, POST => '/config/verify',
        json => {%$settings, appSecret => 'wrong'});
    try('not verified', 409, PUT => '/config', json => $settings);
    try('verified', 200, PUT => '/config', json => {%$settings,
        verifyTicket => $report->{verifyTicket},
        secretExpiresAt => '2020-01-01'});
    $t->wait_devices(undef);
    $t->wait_match('10.20.1.11', 'exact');

    my $tag = try('what is stored', 200, GET => '/config')->header('ETag');
    try('the same', 304, GET => '/config', headers =>
        ['If-None-Match' => $tag]);
    try('an old tag', 412, PUT => '/config', json => {}, headers =>
        ['If-Match' => '"1"']);
    try('an old tag', 412, DELETE => '/config', headers =>
        ['If-Match' => '"1"']);

    for my $ip (qw(10.20.1.11 10.20.4.1 127.0.0.1 203.0.113.7 2001:db8::1)) {
        try($ip, 200, GET => '/enrich', query => "?ip=$ip");
    }
    try('many', 200, POST => '/enrich', json => ['10.20.1.11', 'x',
        {ip => '10.20.1.12', at => '2026-11-25T01:00:00Z'}]);
    try('many lines', 200, POST => '/enrich', headers =>
        ['Content-Type' => 'application/x-ndjson'],
        body => qq("10.20.1.11"\n{"ip":"10.20.1.12"}\n));
    try('enabled', 200, GET => '/status');
};

subtest 'wrong input' => sub {
    try('no address', 400, GET => '/enrich', query => '?ip=x');
    try('no time', 400, GET => '/enrich', query => '?ip=10.0.0.1&at=x');
    try('no array', 400, POST => '/enrich', json => {});
    try('no JSON', 400, PUT => '/config', body => '{', headers =>
        ['Content-Type' => 'application/json']);
    try('no boolean', 400, PUT => '/config', json => {enabled => 1});
    try('no cloud', 400, POST => '/config/verify', json =>
        {cloud => 'moon'});
    try('a member', 400, POST => '/sync', json => {now => TRUE});
    try('a member', 400, DELETE => '/config', json => {now => TRUE});
    try('no cloud', 400, GET => '/egress', query => '?cloud=moon');
    try('no number', 400, GET => '/audit', query => '?limit=x');
    try('no id', 400, GET => '/audit', query => '?before=x');

    for my $call ([POST => '/enrich'], [PUT => '/config'],
        [DELETE => '/config'], [POST => '/config/verify'], [POST => '/sync'])
    {
        try('a form', 415, @$call, body => 'a=b', headers =>
            ['Content-Type' => 'application/x-www-form-urlencoded']);
        try('too large', 413, @$call, body => ' ' x ((2 << 20) + 1), headers =>
            ['Content-Type' => 'application/json']);
    }
};

subtest 'polls' => sub {
    $t->sim->knobs(page_latency_ms => 3000);
    $t->redis->cmd(DEL => 'defender:sync');
    try('asked for', 202, POST => '/sync', json => {});
    $t->wait_for(sub { $t->get('/defender/status', role => 'viewer')
        ->json->{polling} }, 10, 'a poll runs');
    try('running', 200, POST => '/sync', json => {});
    $t->sim->knobs(page_latency_ms => 0);
    $t->wait_for(sub { !$t->get('/defender/status', role => 'viewer')
        ->json->{polling} }, 15, 'it ends');
    try('again', 429, POST => '/sync', json => {});
    try('after it', 200, GET => '/status');
};

subtest 'trouble with Redis' => sub {
    my %stored = $t->redis->hash(HGETALL => 'defender:config');
    $stored{secret} =~ s/.{20}$//;
    $t->redis->cmd(HSET => 'defender:config', secret => $stored{secret});
    try('a secret of another key', 200, GET => '/config');
    try('a secret of another key', 409, POST => '/config/verify', json => {});

    $t->redis->cmd(HSET => 'defender:config', revision => 'one');
    try('a record that is not ours', 500, GET => '/config');
    try('a record that is not ours', 500, PUT => '/config', json => {});
    try('a record that is not ours', 500, DELETE => '/config');

    $t->redis->cmd(DEL => 'defender:audit');
    $t->redis->cmd(HSET => 'defender:config', revision => 5);
    $t->put('/defender/config', role => 'admin', json => {pollMinutes => 7});
    $t->delete('/defender/config', role => 'viewer');
    $t->wait_for(sub { $t->redis->cmd(XLEN => 'defender:audit') >= 2 }, 5,
        'entries');
    try('two entries', 200, GET => '/audit');
    try('one of them', 200, GET => '/audit', query => '?limit=1');
    try('what there was', 200, DELETE => '/config');

    $t->redis->stop;
    for my $operation ($api->operations) {
        my ($method, $path, $what) = @$operation;
        next if !$what->{responses}{503} || $path eq '/sync';
        try('Redis is down', 503, $method, $path,
            $path eq '/config/verify' ? (json => $t->settings)
            : $method eq 'GET' ? () : (json => {}));
    }
    $t->redis->restart;
};

subtest 'a poll without Redis' => sub {
    $t->wait_for(sub { $t->get('/defender/config', role => 'viewer')->status
        == 200 }, 20, 'Redis is back');
    $t->configure;
    $t->wait_devices(undef);
    $t->redis->stop;
    try('Redis is down', 503, POST => '/sync', json => {});
    try('Redis is down', 200, GET => '/status');
    $t->redis->restart;
};

subtest 'all that is documented happens' => sub {
    for my $operation ($api->operations) {
        my ($method, $path, $what) = @$operation;

        for my $status (sort keys %{$what->{responses}}) {
            ok($seen{"$method $path $status"}, "$method $path: $status");
        }
    }
};

$t->done;
