#!/usr/bin/perl

# The Defender simulator behaves as the service is documented to: what the
# module's tests are worth depends on it.

use strict;
use warnings;

use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender;
use Test::Defender::ApiClient qw(form_escape);

my $t   = Test::Defender->new(module => 0);
my $sim = $t->start_sim;

my $SCOPE = 'https://api.securitycenter.microsoft.com/.default';
my $GUID  = $Test::Defender::ApiClient::GUID;

my ($D1, $D2) = map { $_ x 20 } qw(d1 d2);
my $NOBODY = '0' x 40;

my $api = Test::Defender::ApiClient->new($sim);


sub ask_token { return $api->ask_token(@_) }
sub new_token { return $api->new_token(@_) }
sub call      { return $api->call(@_) }


sub refused {
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    $api->refused(@_);
}


subtest 'token: success' => sub {
    my $answer = ask_token();

    is($answer->status, 200, 'status');
    is($answer->header('content-type'), 'application/json; charset=utf-8',
        'content type');

    my $body = $answer->json;
    is_deeply([sort keys %$body],
        [qw(access_token expires_in ext_expires_in token_type)], 'members');
    is($body->{token_type}, 'Bearer', 'type');
    like($answer->body, qr/"expires_in":3599,/, 'expires_in is a number');

    my ($header, $claims, $signature) = map {
        decode_base64(tr{-_}{+/}r)
    } split /\./, $body->{access_token};
    is($t->json_decode($header)->{alg}, 'RS256', 'header of the JWT');
    is(length $signature, 256, 'a signature');

    $claims = $t->json_decode($claims);
    my $issuer = 'https://sts.windows.net/' . $sim->tenant . '/';
    is_deeply(
        {map { $_ => $claims->{$_} } qw(aud iss idp appid appidacr tid ver)},
        {aud => 'https://api.securitycenter.microsoft.com', iss => $issuer,
            idp => $issuer, appid => $sim->app, appidacr => '1',
            tid => $sim->tenant, ver => '1.0'}, 'claims');
    is_deeply($claims->{roles}, ['Machine.Read.All', 'Machine.Isolate',
        'User.Read.All', 'Alert.Read.All'], 'roles');
    is($claims->{nbf}, $claims->{iat}, 'nbf is iat');
    is($claims->{exp} - $claims->{iat}, 3900, 'lives 3900 seconds');
    cmp_ok(abs($claims->{iat} - time), '<', 5, 'issued now');
    is($claims->{sub}, $claims->{oid}, 'sub is oid');

    is(ask_token(-tenant => 'CONTOSO.onmicrosoft.com')->status, 200,
        'tenant by domain, in any case');

    my $v1 = ask_token(-path => 'oauth2/token', scope => undef,
        resource => 'https://api.securitycenter.windows.com');
    is($v1->status, 200, 'version 1 of the endpoint');
    is_deeply([sort keys %{$v1->json}], [qw(access_token expires_in expires_on
        ext_expires_in not_before resource token_type)], 'its members');
    like($v1->body, qr/"expires_in":"3599"/, 'its expires_in is a string');

    my $basic = encode_base64(
        $sim->app . ':' . form_escape($sim->secret), '');
    is(ask_token(client_id => undef, client_secret => undef, -headers => [
        'Content-Type' => 'application/x-www-form-urlencoded',
        Authorization => "Basic $basic"])->status, 200, 'HTTP Basic');
};


subtest 'token: errors' => sub {
    my $app = $sim->app;

    # [change of the form, status, error, number, start of the description]
    my @cases = (
        [{-tenant => '00000000-0000-4000-8000-000000000000'}, 400,
            'invalid_request', 90002, 'Tenant '],
        [{-tenant => 'fabrikam.onmicrosoft.com'}, 400, 'invalid_request',
            90002, "Tenant 'fabrikam.onmicrosoft.com' not found."],
        [{-tenant => 'not_a_tenant'}, 400, 'invalid_request', 900023,
            "Specified tenant identifier 'not_a_tenant' is neither"],
        [{-tenant => 'common'}, 400, 'invalid_request', 9001023, 'The grant'],
        [{-headers => ['Content-Type' => 'application/json']}, 400,
            'invalid_request', 900144, 'The request body must contain the '
            . "following parameter: 'grant_type'."],
        [{grant_type => 'password'}, 400, 'unsupported_grant_type', 70003,
            'The app requested'],
        [{client_id => undef}, 400, 'invalid_request', 900144,
            'The request body must contain the following parameter: '
            . "'client_id'."],
        [{client_id => '00000000-0000-4000-8000-000000000000'}, 400,
            'unauthorized_client', 700016, 'Application with identifier '
            . "'00000000-0000-4000-8000-000000000000' was not found"],
        [{client_secret => undef}, 400, 'invalid_client', 7000218,
            'The request body must contain'],
        [{client_secret => 'wrong'}, 401, 'invalid_client', 7000215,
            'Invalid client secret provided. Ensure the secret being sent in '
            . 'the request is the client secret value, not the client secret '
            . "ID, for a secret added to app '$app'."],
        [{scope => undef}, 400, 'invalid_request', 900144,
            'The request body must contain the following parameter: '
            . "'scope'."],
        [{scope => 'https://api.securitycenter.microsoft.com'}, 400,
            'invalid_scope', 1002012, 'The provided value for scope'],
        [{scope => 'no scope at all'}, 400, 'invalid_scope', 700022,
            'The provided'],
        [{scope => 'nonsense'}, 400, 'invalid_scope', 70011,
            "The provided value for the input parameter 'scope' is not valid"],
        [{scope => 'https://api.unknown.example/.default'}, 400,
            'invalid_resource', 500011,
            'The resource principal named https://api.unknown.example was'],
        # The order of the checks: the first fault is the one that is told.
        [{-tenant => 'not_a_tenant', grant_type => 'x', client_id => 'x'}, 400,
            'invalid_request', 900023, 'Specified'],
        [{client_id => 'x', client_secret => 'x', scope => 'x'}, 400,
            'unauthorized_client', 700016, 'Application'],
        [{client_secret => 'x', scope => 'x'}, 401, 'invalid_client', 7000215,
            'Invalid client secret'],
    );

    for my $case (@cases) {
        my ($change, $status, $error, $number, $text) = @$case;
        my $answer = ask_token(%$change);
        my $body   = $answer->json;

        is_deeply([$answer->status, $body->{error}, $body->{error_codes},
            $body->{error_uri}], [$status, $error, [$number],
            "https://login.microsoftonline.com/error?code=$number"],
            "AADSTS$number");
        is(index($body->{error_description}, "AADSTS$number: $text"), 0,
            'its text') or diag $body->{error_description};
        like($body->{timestamp}, qr/^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$/,
            'time with a blank');
        like($body->{$_}, $GUID, $_) for qw(trace_id correlation_id);
        like($body->{error_description},
            qr/ Trace ID: \Q$body->{trace_id}\E Correlation ID: /, 'trailer');
    }

    my $get = $sim->request(uri => '/' . $sim->tenant . '/oauth2/v2.0/token');
    is_deeply([$get->status, $get->header('allow')], [405, 'POST'], 'GET');
};


subtest 'token: knobs' => sub {
    $sim->knobs(secret_expired => \1);
    is_deeply(ask_token()->json->{error_codes}, [7000222], 'expired secret');
    is(ask_token()->status, 401, 'its status');
    is_deeply(ask_token(client_secret => 'x')->json->{error_codes}, [7000215],
        'a wrong one is found first');

    $sim->reset_knobs;
    $sim->knobs(app_disabled => \1);
    is_deeply(ask_token()->json->{error_codes}, [7000112], 'disabled app');

    $sim->knobs(reset => \1, provisioned => \0);
    is_deeply(ask_token()->json->{error_codes}, [500011], 'no Defender');

    $sim->knobs(reset => \1, token_error_style => 'crlf');
    like(ask_token(scope => 'x')->json->{error_description},
        qr/ is not valid\.\r\nTrace ID: .*\r\nCorrelation ID: .*\r\nTimestamp: /,
        'CRLF inside of the description');

    $sim->knobs(reset => \1, token_lifetime => 20, expires_in_string => \1);
    like(ask_token()->body, qr/"expires_in":"20"/, 'lifetime as a string');

    $sim->knobs(reset => \1, expires_in => undef);
    like(ask_token()->body, qr/"expires_in":3599/, 'null is no override');
    $sim->knobs(expires_in => {});
    like(ask_token()->body, qr/"expires_in":\{\}/, 'any value instead');

    $sim->knobs(reset => \1, roles => undef);
    my $claims = decode_base64(
        (split /\./, new_token())[1] =~ tr{-_}{+/}r);
    unlike($claims, qr/roles/, 'no roles claim');

    $sim->knobs(reset => \1, token_opaque => \1);
    unlike(new_token(), qr/\./, 'opaque token');

    $sim->knobs(reset => \1, token_status => 429, token_times => 1,
        token_body => 'Too Many Requests', token_type => 'text/plain',
        token_headers => {'Retry-After' => '60'});
    my $raw = ask_token();
    is_deeply([$raw->status, $raw->body, $raw->header('content-type'),
        $raw->header('retry-after')],
        [429, 'Too Many Requests', 'text/plain', '60'], 'raw answer');
    is(ask_token()->status, 200, 'once');

    $sim->knobs(reset => \1, token_latency_ms => 300);
    my $start = time;
    ask_token();
    cmp_ok(time - $start, '>=', 0.3, 'latency');

    $sim->reset_knobs;
};


subtest 'authorization' => sub {
    my $uri = '/api/machines?$top=1';

    refused(call(GET => $uri, token => undef), 401, 'Unauthorized',
        'Unauthorized', 'no token');
    refused(call(GET => $uri, token => 'garbage'), 401, 'Unauthorized',
        'Unauthorized', 'garbage');

    $sim->knobs(unauthorized_body => 'empty');
    my $empty = call(GET => $uri, token => 'garbage');
    is_deeply([$empty->status, $empty->body, $empty->header('content-length'),
        $empty->header('content-type')], [401, '', '0', undef], 'empty 401');

    $sim->knobs(reset => \1, token_lifetime => 10);
    my $short = new_token();
    is(call(GET => $uri, token => $short)->status, 200, 'fresh');
    $sim->clock(advance => 310);
    is(call(GET => $uri, token => $short)->status, 200, 'within the grace');
    $sim->clock(advance => 2);
    is(call(GET => $uri, token => $short)->status, 401, 'expired');
    is(call(GET => $uri)->status, 200, 'another token lives on');
    $sim->clock(reset => \1);

    $sim->knobs(reset => \1, roles => ['Machine.Isolate', 'User.Read.All']);
    my $poor = new_token();
    $sim->reset_knobs;
    refused(call(GET => $uri, token => $poor), 403, 'Forbidden',
        'Missing application roles. API required roles: '
        . 'Machine.Read.All,Machine.ReadWrite.All, application roles: '
        . 'Machine.Isolate,User.Read.All.', 'role missing');
    refused(call(GET => "/api/machines/$NOBODY", token => $poor), 403,
        'Forbidden', 'Missing application roles. API required roles: '
        . 'Machine.Read.All,Machine.ReadWrite.All, application roles: '
        . 'Machine.Isolate,User.Read.All.', 'the role comes before the device');
    refused(call(POST => "/api/machines/$NOBODY/isolate", token => $poor,
        body => {Comment => 'x', IsolationType => 'Full'}), 404,
        'ResourceNotFound', "Machine $NOBODY was not found",
        'with the role: no such device');

    $sim->knobs(account_inactive => \1);
    refused(call(GET => $uri), 401, 'Unauthorized', 'Unauthorized request - '
        . 'reason of failure: Account mode is inactive', 'no licence');

    $sim->knobs(reset => \1, wrong_audience => \1);
    my $foreign = new_token();
    $sim->reset_knobs;
    is(call(GET => $uri, token => $foreign)->status, 401, 'wrong audience');
    is(call(GET => $uri, token => new_token(
        scope => 'https://security.microsoft.com/mtp/.default'))->status, 401,
        'a token of another product');

    $sim->knobs(token_calls => [2, undef]);
    my ($first, $second) = (new_token(), new_token());
    is(join(' ', map { call(GET => $uri, token => $first)->status } 1 .. 3),
        '200 200 401', 'a token for two calls');
    is(join(' ', map { call(GET => $uri, token => $second)->status } 1 .. 3),
        '200 200 200', 'and the next one without a limit');

    $sim->knobs(revoke_tokens => \1);
    is(call(GET => $uri)->status, 401, 'revoked');
    $sim->reset_knobs;
    $api->forget_token;
    is(call(GET => $uri)->status, 200, 'a new one is good');
};


subtest 'routes' => sub {
    for my $uri ('/', '/api', '/api/machine', '/api/v2.0/machines',
        '/api/machines/', "/api/machines/$D1/isolate/now", '/nothing/here')
    {
        my $answer = call(GET => $uri);
        is_deeply([$answer->status, $answer->body,
            $answer->header('content-length'), $answer->header('content-type'),
            $answer->header('strict-transport-security')],
            [404, '', '0', undef, 'max-age=31536000; includeSubDomains'],
            "$uri: 404 without a body");
    }

    for my $case (["/api/machines/$D1/isolate", 'GET', 'POST'],
        ["/api/machines/$D1/unisolate", 'PUT', 'POST'],
        ['/api/machines', 'POST', 'GET'], ["/api/machines/$D1", 'PATCH', 'GET'],
        ['/api/machineactions', 'DELETE', 'GET'])
    {
        my ($uri, $method, $allow) = @$case;
        my $answer = call($method => $uri);
        is_deeply([$answer->status, $answer->body, $answer->header('allow')],
            [405, '', $allow], "$method $uri: 405");
    }

    is(call(GET => '/api/v1.0/machines?$top=1')->status, 200, '/api/v1.0');
};


subtest 'headers and encodings' => sub {
    my $plain = call(GET => "/api/machines/$D1");
    is_deeply([map { $plain->header($_) } qw(content-type odata-version
        content-encoding vary content-length server)],
        ['application/json; odata.metadata=minimal; odata.streaming=true; '
        . 'charset=utf-8', '4.0', undef, undef, undef, undef], 'plain');
    ok($plain->chunked, 'chunked');

    require Compress::Zlib;
    for my $case (['gzip, deflate, br', 'deflate'], ['gzip', 'gzip'],
        ['br', undef], ['deflate;q=0, gzip', 'gzip'])
    {
        my ($accept, $encoding) = @$case;
        my $answer = call(GET => "/api/machines/$D1",
            headers => ['Accept-Encoding' => $accept]);
        is($answer->header('content-encoding'), $encoding, $accept);
        is($answer->header('vary'), $encoding ? 'Accept-Encoding' : undef,
            'Vary');
        my $body = !$encoding ? $answer->body
            : $encoding eq 'gzip' ? Compress::Zlib::memGunzip($answer->body)
            : Compress::Zlib::uncompress($answer->body);
        is($body, $plain->body, 'the same text');
    }

    my $error = call(GET => "/api/machines/$NOBODY",
        headers => ['Accept-Encoding' => 'gzip, deflate']);
    is($error->header('content-encoding'), undef, 'errors are plain');
};


subtest 'machines: one, by id and by name' => sub {
    my $one = call(GET => "/api/machines/$D1");
    my @keys = $one->body =~ /"(\w+)":/g;

    is($one->json->{'@odata.context'},
        'https://api.securitycenter.microsoft.com/api/$metadata#Machines/$entity',
        'context');
    is(join(' ', @keys[0 .. 11]), 'id mergedIntoMachineId '
        . 'isPotentialDuplication isExcluded exclusionReason computerDnsName '
        . 'firstSeen lastSeen osPlatform osVersion osProcessor version',
        'members in the order of the wire');
    like($one->json->{lastSeen},
        qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z$/, 'seven digits');
    like(call(GET => "/api/machines/$D2")->json->{lastSeen},
        qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'no digit');

    is(call(GET => '/api/machines/WS-ANA.corp.example')->json->{id}, $D1,
        'by name');
    refused(call(GET => "/api/machines/$NOBODY"), 404, 'ResourceNotFound',
        "Machine $NOBODY was not found", 'unknown id');
};


subtest 'log and control' => sub {
    $sim->clear_log;
    is_deeply([$sim->log], [], 'empty');

    ask_token(client_secret => 'a+b c', -headers => ['Content-Type' =>
        'application/x-www-form-urlencoded', 'User-Agent' => 'probe/1']);
    call(GET => '/api/machines?$top=2&$skip=4');
    call(POST => "/api/machines/$NOBODY/isolate", body => {Comment => 'é'});

    my @log = $sim->log;
    is_deeply([map { "$_->{seq}" } @log],
        [map { $log[0]{seq} + $_ } 0 .. 2], 'in order');
    is_deeply({map { $_ => $log[0]{$_} } qw(host family method path query form
        status user_agent content_type authorization token)},
        {host => 'login', family => 'token', method => 'POST',
            path => '/' . $sim->tenant . '/oauth2/v2.0/token', query => '',
            form => {grant_type => 'client_credentials',
                client_id => $sim->app, client_secret => 'a+b c',
                scope => $SCOPE}, status => 401, user_agent => 'probe/1',
            content_type => 'application/x-www-form-urlencoded',
            authorization => 0, token => undef}, 'token request');
    is_deeply({map { $_ => $log[1]{$_} } qw(host family query page rows status
        authorization)},
        {host => 'api', family => 'machines', query => '$top=2&$skip=4',
            page => 3, rows => 2, status => 200, authorization => 1},
        'machines request');
    like($log[1]{token}, qr/^[0-9a-f]{12}$/, 'a hash of the token');
    is($log[2]{json}{Comment}, "\x{c3}\x{a9}", 'body of a POST');
    is(scalar(() = $sim->log(family => 'machines', status => 200)), 1,
        'picked');

    ok(!eval { $sim->knobs(no_such_knob => 1); 1 }, 'unknown knob');
    like($@, qr/unknown knob: no_such_knob/, 'is named');
    ok(!eval { $sim->devices('[{"id":'); 1 }, 'broken fleet');
    is($sim->state->{devices}, 60, 'changes nothing');
};


$t->done;
