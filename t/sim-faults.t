#!/usr/bin/perl

# The simulator's rate limits, machine actions, and its faults on the wire.

use strict;
use warnings;

use Compress::Zlib ();
use File::Path     qw(rmtree);
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender;
use Test::Defender::ApiClient qw(names);
use Test::Defender::HTTP   qw(connect_to);

my $t   = Test::Defender->new(module => 0);
my $sim = $t->start_sim;
my $api = Test::Defender::ApiClient->new($sim);

my ($D1, $D2, $D3, $D4) = map { $_ x 20 } qw(d1 d2 d3 d4);


# One list call on a connection of its own; (response, connection).
sub list_alone {
    my (%how) = @_;

    $api->{token} //= $api->new_token;
    my $connection = connect_to(
        port => $sim->port, tls => {ca => $sim->ca}, timeout => 3);
    $connection->send(Test::Defender::HTTP::request_bytes(
        uri => '/api/machines?$top=1000', host => 'localhost', keep => 1,
        headers => [Authorization => "Bearer $api->{token}",
            @{$how{headers} // []}]));

    return ($connection->response('GET', timeout => $how{timeout} // 3),
        $connection);
}


sub action_of {
    my ($id) = @_;

    return $api->get("/api/machineactions/$id")->json;
}


subtest 'rate limits' => sub {
    $sim->knobs(rate_minute => 3, rate_hour => 5);
    $sim->clock(set => '2026-11-25T01:00:00Z', freeze => \1);

    my $call = sub { return $api->get("/api/machines/$_[0]") };

    is(join(' ', map { $call->($D1)->status } 1 .. 4), '200 200 200 429',
        'three a minute');
    $sim->clock(advance => 20);
    my $limited = $call->($D1);
    $api->refused($limited, 429, '429', 'API calls quota exceeded! Maximum '
        . 'allowed 3 per 00:01:00 for the key Destination+TenantID+AppID. '
        . 'You can send requests again in 40 seconds.', 'limited');
    is($limited->header('retry-after'), 40, 'Retry-After');
    is($limited->json->{error}{target}, $sim->tenant, 'target is the tenant');
    is($api->get('/api/machines?$top=1')->status, 200,
        'another family is not limited');

    $sim->clock(advance => 39);
    is($call->($D1)->header('retry-after'), 1, 'a second before');
    $sim->clock(advance => 1);
    is(join(' ', map { $call->($D1)->status } 1 .. 3), '200 200 429',
        'then five in the hour');
    $limited = $call->($D1);
    like($limited->json->{error}{message},
        qr/ allowed 5 per 01:00:00 .* again in 3540 seconds\.$/, 'its text');
    is($limited->header('retry-after'), 3540, 'its header');

    $sim->knobs(retry_after => 'Wed, 25 Nov 2026 01:01:00 GMT');
    is($call->($D1)->header('retry-after'), 'Wed, 25 Nov 2026 01:01:00 GMT',
        'a date');
    $sim->knobs(retry_after => undef);
    is($call->($D1)->header('retry-after'), undef, 'none');

    $sim->clock(reset => \1);
    $sim->reset_knobs;
    $api->forget_token;
};


subtest 'isolate: refusals' => sub {
    $sim->knobs(rate_minute => undef);
    $sim->devices([
        {id => $D1, computerDnsName => 'ok', osPlatform => 'Windows11',
            onboardingStatus => 'Onboarded', healthStatus => 'Active',
            agentVersion => '10.8760.22631.4317'},
        {id => $D2, computerDnsName => 'phone', osPlatform => 'Android',
            onboardingStatus => 'Onboarded', healthStatus => 'Active'},
        {id => $D3, computerDnsName => 'found', osPlatform => 'Windows10',
            onboardingStatus => 'CanBeOnboarded', healthStatus => 'Active'},
        {id => $D4, computerDnsName => 'old', osPlatform => 'Windows10',
            onboardingStatus => 'Onboarded', healthStatus => 'Active',
            agentVersion => '10.3720.16299.97'},
        {id => 'd5' x 20, computerDnsName => 'linux', osPlatform => 'Ubuntu',
            onboardingStatus => 'Onboarded', healthStatus => 'Inactive'},
    ]);

    my $isolate = sub {
        my ($id, $body, @more) = @_;
        return $api->post("/api/machines/$id/isolate", body => $body, @more);
    };
    my $full = {Comment => 'x', IsolationType => 'Full'};

    $api->refused($isolate->($D1, '{'), 400, 'InvalidRequestBody',
        'Request body is incorrect', 'no JSON');
    $api->refused($isolate->($D1, {comment => 'x', IsolationType => 'Full'}),
        400, 'InvalidRequestBody', 'Request body is incorrect', 'wrong case');
    $api->refused($isolate->($D1, {IsolationType => 'Full'}), 400,
        'MissingRequiredParameter', "Required parameter 'Comment' is missing",
        'no comment');
    $api->refused($isolate->($D1, {Comment => 'x', IsolationType => 'full'}),
        400, 'InvalidInput', 'Invalid isolation type. Allowed values are '
        . 'Full, Selective and UnManagedDevice', 'unknown type');
    $api->refused($isolate->('0' x 40, $full), 404, 'ResourceNotFound',
        'Machine ' . '0' x 40 . ' was not found', 'no such device');
    $api->refused($isolate->($D2, $full), 400, 'OsPlatformNotSupported',
        'OS Platform Android is not supported for this action', 'platform');
    $api->refused($isolate->('d5' x 20,
        {Comment => 'x', IsolationType => 'Selective'}), 400,
        'OsPlatformNotSupported',
        'OS Platform Ubuntu is not supported for this action', 'selective');
    $api->refused($isolate->($D3, $full), 403, 'DisallowedOperation',
        'Full isolation is not allowed for this machine', 'not onboarded');
    is($isolate->($D3, {Comment => 'x', IsolationType => 'UnManagedDevice'})
        ->status, 201, 'which can be contained');
    $api->refused($isolate->($D4, $full), 400, 'ClientVersionNotSupported',
        'Isolate is supported on client version 10.3720.16299.98 and above',
        'sensor');

    $sim->knobs(roles => ['Machine.Read.All']);
    $api->refused($isolate->('0' x 40, '{', token => $api->new_token), 403,
        'Forbidden', 'Missing application roles. API required roles: '
        . 'Machine.Isolate, application roles: Machine.Read.All.',
        'the role comes first');

    $sim->reset_knobs;
};


subtest 'isolate and release' => sub {
    $sim->knobs(rate_minute => undef);
    $sim->clock(set => '2026-11-25T01:00:00Z', freeze => \1);

    my $answer = $api->post("/api/machines/$D1/isolate",
        body => {Comment => 'alert 7', IsolationType => 'Full'});
    is($answer->status, 201, 'created');
    is(join(' ', map { /^\@/ ? () : $_ } $answer->body =~ /"([\@\w.]+)":/g),
        'id type title requestor requestorComment status machineId '
        . 'computerDnsName creationDateTimeUtc lastUpdateDateTimeUtc '
        . 'cancellationRequestor cancellationComment cancellationDateTimeUtc '
        . 'errorHResult scope externalId requestSource relatedFileInfo '
        . 'commands troubleshootInfo', 'members in the order of the wire');

    my $action = $answer->json;
    my $id = delete $action->{id};
    like($id, $Test::Defender::ApiClient::GUID, 'id');
    is_deeply($action, {
        '@odata.context' => 'https://api.securitycenter.microsoft.com/api/'
            . '$metadata#MachineActions/$entity',
        type => 'Isolate', title => undef,
        requestor => '99999999-8888-4777-8666-555555555555',
        requestorComment => 'alert 7', status => 'Pending', machineId => $D1,
        computerDnsName => 'ok', creationDateTimeUtc => '2026-11-25T01:00:00Z',
        lastUpdateDateTimeUtc => '2026-11-25T01:00:00Z',
        cancellationRequestor => undef, cancellationComment => undef,
        cancellationDateTimeUtc => undef, errorHResult => 0, scope => 'Full',
        externalId => undef, requestSource => 'PublicApi',
        relatedFileInfo => undef, commands => [], troubleshootInfo => undef,
    }, 'the action');

    $api->refused($api->post("/api/machines/$D1/isolate",
        body => {Comment => 'again', IsolationType => 'Full'}), 400,
        'ActiveRequestAlreadyExists', 'Action is already in progress',
        'a second one');
    $sim->knobs(duplicate_action => '201');
    my $same = $api->post("/api/machines/$D1/isolate",
        body => {Comment => 'again', IsolationType => 'Full'});
    is_deeply([$same->status, $same->json->{id}], [201, $id],
        'or the open action');

    $sim->clock(advance => 5);
    is(action_of($id)->{status}, 'InProgress', 'after 5 seconds');
    $sim->clock(advance => 60);
    is(action_of($id)->{status}, 'InProgress', 'after 65');
    $sim->clock(advance => 1);
    is_deeply([@{action_of($id)}{qw(status lastUpdateDateTimeUtc)}],
        ['Succeeded', '2026-11-25T01:01:06Z'], 'after 66');

    my $release = $api->post("/api/machines/$D1/unisolate",
        body => {Comment => 'clean'})->json;
    is_deeply([@{$release}{qw(type scope status)}],
        ['Unisolate', undef, 'Pending'], 'release');
    $sim->clock(advance => 2);
    is(action_of($release->{id})->{status}, 'Succeeded', 'is quick');
    $api->refused($api->post("/api/machines/$D1/unisolate", body => {}), 400,
        'MissingRequiredParameter', "Required parameter 'Comment' is missing",
        'release without a comment');

    # A silent device never gets the command.
    my $linux = $api->post('/api/machines/' . 'd5' x 20 . '/isolate',
        body => {Comment => 'x', IsolationType => 'Full'})->json->{id};
    $sim->clock(advance => 3 * 86_400);
    $api->forget_token;
    is(action_of($linux)->{status}, 'Pending', 'pending for three days');
    $sim->clock(advance => 14 * 60);
    is_deeply([@{action_of($linux)}{qw(status errorHResult)}],
        ['TimeOut', -2145844840], 'then given up');

    for my $result (qw(Failed TimeOut Pending)) {
        $sim->knobs(action_result => $result);
        my $one = $api->post("/api/machines/$D1/isolate",
            body => {Comment => 'x', IsolationType => 'Full'})->json->{id};
        $sim->clock(advance => 66);
        is(action_of($one)->{status}, $result eq 'Failed' ? 'Failed'
            : 'Pending', "$result: after a minute");
        $sim->clock(advance => 4 * 86_400);
        $api->forget_token;
        is(action_of($one)->{status}, $result, "$result: in the end");
    }

    $sim->clock(reset => \1);
    $sim->reset_knobs;
};


subtest 'machine actions: list, get, cancel' => sub {
    $sim->knobs(rate_minute => undef);
    $api->forget_token;

    my $portal = $sim->portal_action(machineId => $D2, type => 'Isolate',
        status => 'Succeeded', creationDateTimeUtc => '2026-01-02T03:04:05Z',
        lastUpdateDateTimeUtc => '2026-01-02T03:05:00.5Z');
    is_deeply([@{$portal}{qw(requestSource requestor computerDnsName scope)}],
        ['Portal', 'analyst@corp.example', 'phone', 'Full'], 'portal action');

    my $list = sub {
        return $api->get('/api/machineactions' . $_[0] =~ s/ /%20/gr);
    };

    my $all = $list->('?$count=true')->json;
    is($all->{'@odata.context'}, 'https://api.securitycenter.microsoft.com/'
        . 'api/$metadata#MachineActions', 'context');
    is($all->{'@odata.count'}, scalar @{$all->{value}}, 'count');
    is($all->{value}[0]{id}, $portal->{id}, 'the newest first');

    is_deeply([map { $_->{id} } @{$list->('?$filter=machineId eq \'' . $D2
        . "' and type in ('Isolate','Unisolate') and status eq 'Succeeded'"
        . '&$orderby=lastUpdateDateTimeUtc desc&$top=1')->json->{value}}],
        [$portal->{id}], 'the question for the state of a device');
    is_deeply([map { $_->{id} } @{$list->('?$filter='
        . 'lastUpdateDateTimeUtc lt 2026-01-02T03:05:00.5000001Z')
        ->json->{value}}], [$portal->{id}], 'by time');
    my @times = map { $_->{creationDateTimeUtc} }
        @{$list->('?$orderby=creationDateTimeUtc')->json->{value}};
    is($times[0], '2026-01-02T03:04:05Z', 'in ascending order');
    is(scalar @{$list->('?$top=2&$skip=1')->json->{value}}, 2, 'a page');
    $api->refused($list->('?$filter=scope eq \'Full\''), 400, 'ODataError',
        "Could not find a property named 'scope'.", 'unknown field');

    $api->refused($api->get("/api/machineactions/$D1"), 400, 'BadRequest',
        "The key value ($D1) from request is not valid. The key value should "
        . "be format of type 'Edm.Guid'.", 'no GUID');
    $api->refused(
        $api->get('/api/machineactions/00000000-0000-4000-8000-000000000000'),
        404, 'ResourceNotFound', 'MachineAction '
        . '00000000-0000-4000-8000-000000000000 was not found', 'unknown');

    $sim->knobs(action_result => 'Pending');
    $sim->devices([{id => $D3, computerDnsName => 'three', osPlatform =>
        'macOS', onboardingStatus => 'Onboarded', healthStatus => 'Active'}]);
    my $id = $api->post("/api/machines/$D3/isolate",
        body => {Comment => 'x', IsolationType => 'Full'})->json->{id};
    $api->refused($api->post("/api/machineactions/$id/cancel", body => {}),
        400, 'MissingRequiredParameter',
        "Required parameter 'Comment' is missing", 'cancel without a comment');
    my $cancelled = $api->post("/api/machineactions/$id/cancel",
        body => {Comment => 'no'});
    is($cancelled->status, 200, 'cancelled');
    is_deeply([@{$cancelled->json}{qw(status cancellationComment errorHResult
        cancellationRequestor)}], ['Cancelled', 'no', -2147467260,
        '99999999-8888-4777-8666-555555555555'], 'the action');
    is($api->post("/api/machineactions/$id/cancel",
        body => {Comment => 'no'})->status, 400, 'only once');

    $sim->reset_knobs;
};


subtest 'a POST whose answer is lost' => sub {
    $api->{token} = $api->new_token;
    $sim->clear_log;

    for my $case (['before', 0], ['after', 1]) {
        my ($when, $made) = @$case;
        my $had = @{$sim->state->{actions}};
        $sim->knobs(post_drop => $when);

        my $connection = connect_to(port => $sim->port,
            tls => {ca => $sim->ca}, timeout => 3);
        my $body = '{"Comment":"x","IsolationType":"Full"}';
        $connection->send(Test::Defender::HTTP::request_bytes(
            method => 'POST', uri => "/api/machines/$D3/isolate",
            host => 'localhost', body => $body, headers =>
            ['Content-Type' => 'application/json',
            Authorization => "Bearer $api->{token}"]));
        my $answer = $connection->response('POST');

        is($answer->status, 0, "$when: no answer");
        ok($connection->{eof}, 'the connection is gone');
        $sim->reset_knobs;
        is(@{$sim->state->{actions}} - $had, $made, 'actions made');
    }

    is_deeply([map { $_->{status} } $sim->log(method => 'POST')],
        [undef, undef], 'no status in the log');
};


subtest 'faults on the wire' => sub {
    $sim->devices([]);
    $sim->generate(40);
    my ($whole) = list_alone();
    my $size = length $whole->body;

    $sim->knobs(truncate_body => 1000);
    my ($cut, $connection) = list_alone();
    is(length $cut->body, 1000, 'cut after 1000 bytes');
    ok(!$cut->complete, 'no proper end');
    ok($connection->{eof}, 'closed');
    is($cut->body, substr($whole->body, 0, 1000), 'the first ones');

    $sim->knobs(chunked => \0, fault_times => 1);
    ($cut) = list_alone();
    is($cut->header('content-length'), $size, 'with the full length');
    is(length $cut->body, 1000, 'and 1000 bytes');
    is((list_alone())[0]->complete, 1, 'once');

    $sim->knobs(reset => \1, truncate_body => 1000, fault_page => 2);
    is((list_alone())[0]->complete, 1, 'not on this page');
    $sim->knobs(fault_page => 1, reset_connection => \1);
    ok(!(list_alone())[0]->complete, 'on this one, with a reset');

    $sim->knobs(reset => \1, truncate_body => 10, fault_on => 'token');
    is((list_alone())[0]->complete, 1, 'not for this family');

    $sim->knobs(reset => \1, slow_body => $size * 2);
    my $start = time;
    ok((list_alone())[0]->body eq $whole->body, 'slow');
    cmp_ok(time - $start, '>', 0.3, 'half a second');

    $sim->knobs(reset => \1, hang => 'header');
    my ($nothing) = list_alone(timeout => 0.5);
    is($nothing->status, 0, 'no header');
    is(($sim->log(family => 'machines'))[-1]{status}, undef,
        'in the log without a status');

    $sim->knobs(reset => \1, hang => 'body');
    ($nothing, $connection) = list_alone(timeout => 0.5);
    is($nothing->status, 200, 'a header');
    cmp_ok(length $nothing->body, '>', 0, 'the beginning of a body');
    cmp_ok(length $nothing->body, '<', $size, 'and not its end');
    ok(!$connection->{eof}, 'the connection stays');

    $sim->knobs(reset => \1, trickle_ms => 1);
    $sim->generate(0);
    my ($drip) = list_alone();
    is($drip->json->{value}[0], undef, 'byte by byte');
    ok($drip->complete, 'to the end');

    $sim->generate(40);
    $sim->reset_knobs;
    ($whole) = list_alone();
    $size = length $whole->body;

    for my $kind (qw(spaces rows)) {
        $sim->knobs(reset => \1, endless => $kind);
        my ($much) = list_alone(timeout => 0.5);
        cmp_ok(length $much->body, '>', 500_000, "endless $kind");
        ok(!$much->complete, 'no end');
    }

    $sim->knobs(reset => \1, pad_mb => 3);
    my ($bomb) = list_alone(headers => ['Accept-Encoding' => 'gzip']);
    cmp_ok(length $bomb->body, '<', 50_000, 'small when compressed');
    is(length Compress::Zlib::memGunzip($bomb->body), $size + 3 * 1_048_576,
        'large when not');

    $sim->knobs(reset => \1, encoding => 'gzip');
    my ($forced) = list_alone();
    is($forced->header('content-encoding'), 'gzip', 'without being asked');
    ok(Compress::Zlib::memGunzip($forced->body) eq $whole->body, 'good data');

    $sim->knobs(encoding => {label => 'br', data => 'identity'});
    ($forced) = list_alone();
    is_deeply([$forced->header('content-encoding'),
        $forced->body eq $whole->body], ['br', 1], 'a wrong label');

    $sim->knobs(encoding => 'raw-deflate');
    ($forced) = list_alone();
    my $inflate = Compress::Zlib::inflateInit(
        -WindowBits => -Compress::Zlib::MAX_WBITS());
    my ($plain) = $inflate->inflate($forced->body);
    ok($plain eq $whole->body, 'deflate without its wrapping');

    $sim->knobs(reset => \1, chunk_size => 1000);
    is_deeply([@{(list_alone())[0]{chunks}}[0, 1]], [1000, 1000],
        'size of the chunks');

    $sim->knobs(reset => \1, api_latency_ms => 100,
        page_latency_ms => {1 => 200});
    $start = time;
    list_alone();
    cmp_ok(time - $start, '>=', 0.3, 'latency');

    $sim->reset_knobs;
};


subtest 'two ports, and the end' => sub {
    my $two = $t->start_sim(name => 'two', login_port => 1,
        generate => 3, devices => $t->write_file('none.json', '[]'),
        tenant => '22222222-2222-4333-8444-555555555555', secret => 'plain',
        san => ['api.corp.example']);

    isnt($two->login_url, $two->url, 'two addresses');
    is($two->state->{devices}, 3, 'its own fleet');

    my $other = Test::Defender::ApiClient->new($two);
    is($other->ask_token->status, 404, 'no token from the API host');

    my $form = join '&', 'grant_type=client_credentials', 'client_secret=plain',
        'client_id=' . $two->app,
        'scope=https://api.securitycenter.microsoft.com/.default';
    my $login = $t->curl('--cacert', $two->ca, '-d', $form,
        $two->login_url . '/' . $two->tenant . '/oauth2/v2.0/token');
    my $token = $t->json_decode($login->{out})->{access_token};
    is($other->get('/api/machines', token => $token)->status, 200,
        'but from the login host');
    is($t->curl('--cacert', $two->ca, '-w', '%{http_code}',
        $two->login_url . '/api/machines')->{out}, '404',
        'which has no machines');

    my $named = $t->curl('--cacert', $two->ca, '--resolve',
        'api.corp.example:' . $two->port . ':127.0.0.1',
        'https://api.corp.example:' . $two->port . '/sim/state');
    is($named->{exit}, 0, 'another name in the certificate');
    is($t->curl($two->url . '/sim/state')->{exit}, 60,
        'a CA that nobody else trusts');

    is($two->stop, 0, 'stops on TERM');
    ok(!-e $two->dir . '/ready', 'and is no longer ready');
};


subtest 'gone with its parent' => sub {
    pipe my $read, my $write;

    my $pid = fork // die;
    if ($pid == 0) {
        my $orphan = Test::Defender->new(module => 0);
        my $server = $orphan->start_sim(plain => 1);
        syswrite $write, $server->pid . ' ' . $orphan->dir . "\n";
        kill 'KILL', $$;
    }

    waitpid $pid, 0;
    my ($server, $dir) = split ' ', <$read>;
    ok($t->wait_for(sub { !kill 0, $server }, 5, 'the simulator ends'),
        'the simulator is gone');
    rmtree($dir);
};


$t->done;
