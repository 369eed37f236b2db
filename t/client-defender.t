#!/usr/bin/perl

# What Microsoft's hosts answer, in plain words: each refusal of the login
# host and of the API as "verify" tells it to an administrator.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use POSIX    qw(strftime);
use Test::Defender;
use Test::More;

my $TRUE = JSON::PP::true;
my $JSON = JSON::PP->new->utf8->canonical;

my $t = Test::Defender->new;
$t->start_redis;
my $sim = $t->start_sim;
$t->conf($t->standard_conf)->run;


# The checks of one verification by name; each a hash of result, message,
# detail. %settings override those that fit the simulator.
sub verify {
    my (%settings) = @_;

    my $answer = $t->post('/defender/config/verify', role => 'admin',
        user => 'kim', json => $t->settings(%settings));

    is($answer->status, 200, 'an answer') or diag($answer->body);

    my $report = $answer->json;
    my %checks = map { $_->{name} => $_ } @{$report->{checks}};
    $checks{verified} = $report->{verified} ? 1 : 0;
    $checks{text}     = $answer->body;

    return \%checks;
}


# One turn of the simulator's knobs, one verification, and back.
sub with_knobs {
    my ($knobs, %settings) = @_;

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef, %$knobs);
    $sim->clear_log;

    return verify(%settings);
}


sub token_error {
    my ($status, $error, $description, @codes) = @_;

    return with_knobs({
        token_status => $status,
        token_body   => $JSON->encode({
            error => $error, error_description => $description,
            error_codes => [map { $_ + 0 } @codes],
        }),
    });
}


sub raw_api {
    my (%answer) = @_;

    return with_knobs({api_raw => {%answer}});
}


# Asserts that sign-in failed with this code, that the message has the words,
# and that nothing was asked of the API.
sub sign_in_fails {
    my ($checks, $code, $words, $title) = @_;

    my $check = $checks->{'sign-in'};

    is($checks->{verified}, 0, "$title: not verified");
    is($check->{result}, 'failed', "$title: sign-in failed");
    like($check->{detail}, qr/^\Q$code\E\b/, "$title: code");
    like($check->{message}, $words, "$title: words");
    is($checks->{'read-devices'}{result}, 'skipped', "$title: no further");
    is(scalar($sim->log(family => 'machines')), 0,
        "$title: the API was not asked");

    return $check->{message};
}


# The same for the second check; sign-in works.
sub reading_fails {
    my ($checks, $code, $words, $title) = @_;

    my $check = $checks->{'read-devices'};

    is($checks->{verified}, 0, "$title: not verified");
    is($checks->{'sign-in'}{result}, 'passed', "$title: sign-in works");
    is($check->{result}, 'failed', "$title: reading failed");
    like($check->{detail}, qr/^\Q$code\E\b/, "$title: code");
    like($check->{message}, $words, "$title: words");

    return $check->{message};
}


subtest 'all is well' => sub {
    my $checks = with_knobs({});

    is($checks->{verified}, 1, 'verified');
    is($checks->{'sign-in'}{result}, 'passed', 'sign-in');
    is($checks->{'read-devices'}{result}, 'passed', 'read-devices');

    my ($token)   = $sim->log(family => 'token');
    my ($machine) = $sim->log(family => 'machines');

    is($token->{method}, 'POST', 'the token is asked for with a POST');
    is($token->{path}, '/' . $sim->tenant . '/oauth2/v2.0/token', 'its path');
    is_deeply($token->{form}, {
        grant_type    => 'client_credentials',
        client_id     => $sim->app,
        client_secret => $sim->secret,
        scope         => 'https://api.securitycenter.microsoft.com/.default',
    }, 'the form: every value arrives as it was entered');
    is($token->{content_type}, 'application/x-www-form-urlencoded',
        'its content type, without a charset');
    is($token->{authorization}, 0, 'no Authorization with it');
    is($machine->{query}, '$top=1&$skip=0', 'one machine is asked for');
    is($machine->{authorization}, 1, 'with a token');
};


subtest 'a secret of characters that mean something in a form' => sub {
    my $other = $t->start_sim(name => 'other',
        secret => 'Zz~1+b/c=d&e%25.f_g-h#i?j k');

    is($other->secret, 'Zz~1+b/c=d&e%25.f_g-h#i?j k', 'the secret');
    my $u = Test::Defender->new;
    $u->start_redis;
    $u->{sim} = $other;
    $u->conf($u->standard_conf)->run;

    my $report = $u->post('/defender/config/verify', role => 'admin',
        json => $u->settings)->json;
    ok($report->{verified}, 'accepted');
    is(($other->log(family => 'token'))[0]{form}{client_secret},
        $other->secret, 'encoded once');

    $u->finish;
};


subtest 'what is wrong with the settings' => sub {
    my %said;

    my @cases = (
        ['wrong secret', {appSecret => 'wrong'}, {}, 7000215,
            qr/not accepted.*Value.*not its Secret ID/],
        ['expired secret', {}, {secret_expired => $TRUE}, 7000222,
            qr/expired/],
        ['unknown tenant',
            {tenantId => '22222222-2222-4333-8444-555555555555'}, {}, 90002,
            qr/tenant ID.*cloud/],
        ['unknown application',
            {appId => '22222222-2222-4333-8444-555555555555'}, {}, 700016,
            qr/App ID/],
        ['disabled application', {}, {app_disabled => $TRUE}, 7000112,
            qr/disabled/],
        ['no Defender in the tenant', {}, {provisioned => JSON::PP::false},
            500011, qr/not set up in this tenant/],
    );

    for my $case (@cases) {
        my ($title, $settings, $knobs, $number, $words) = @$case;

        for my $style (qw(spaces crlf)) {
            my $checks = with_knobs(
                {%$knobs, token_error_style => $style}, %$settings);
            my $message = sign_in_fails($checks, "AADSTS$number", $words,
                "$title ($style)");

            like($message, qr/AADSTS$number/, 'the number is in the words');
            unlike($message, qr/Trace ID|Correlation|[\r\n]/,
                'and nothing for a machine');
            $said{$message}++;
        }
    }

    is(scalar(keys %said), scalar(@cases), 'all say something else');
};


subtest 'refusals that the simulator does not make by itself' => sub {
    my @cases = (
        [400, 'invalid_scope', 1002012, qr{/\.default}],
        [400, 'invalid_scope', 70011, qr{scope}],
        [400, 'invalid_request', 900023, qr{neither a directory ID}],
        [400, 'invalid_request', 90038, qr{another national cloud}],
        [400, 'invalid_request', 900432, qr{another national cloud}],
        [400, 'access_denied', 53003, qr{Conditional Access}],
        [400, 'unauthorized_client', 70001, qr{not known.*or disabled}],
    );

    for my $case (@cases) {
        my ($status, $error, $number, $words) = @$case;

        sign_in_fails(token_error($status, $error,
            "AADSTS$number: Text. Trace ID: 1", $number), "AADSTS$number",
            $words, $number);
    }

    sign_in_fails(
        token_error(400, 'odd', 'AADSTS424242: Some new reason. Trace ID: 1'),
        'AADSTS424242', qr/Some new reason/, 'unknown number');
    sign_in_fails(token_error(401, 'invalid_client', ''), 'invalid_client',
        qr/App Secret/, 'no number');
    sign_in_fails(
        token_error(400, 'odd', "AADSTS1: a\x01b\x7fc\x{9b}d", 1),
        'AADSTS1', qr/a b c d/, 'control characters');
};


subtest 'the service is busy or broken' => sub {
    my $checks = with_knobs({
        token_status => 429, token_body => 'Too Many Requests',
        token_type   => 'text/plain', token_headers => {'Retry-After' => 60},
    });
    sign_in_fails($checks, '429', qr/too many requests/, 'throttled');
    like($checks->{'sign-in'}{detail}, qr/try again in 60 seconds/,
        'and when to come back');

    sign_in_fails(token_error(400, 'invalid_grant', 'AADSTS50196: loop',
        50196), 'AADSTS50196', qr/too many requests/, 'throttled with 400');
    sign_in_fails(token_error(503, 'temporarily_unavailable',
        'AADSTS90033: x', 90033), 'AADSTS90033', qr/trouble of its own/,
        'unavailable');
    sign_in_fails(with_knobs({token_status => 500, token_body => ''}), '500',
        qr/trouble of its own/, 'empty 500');

    reading_fails(raw_api(status => 503, body => '<html>',
        content_type => 'text/html'), '503', qr/trouble of its own/,
        'API 503 with a page');
    reading_fails(
        raw_api(status => 500, body =>
            '{"error":{"code":"InternalServerError"}}'),
        'InternalServerError', qr/trouble of its own/, 'API 500');
};


subtest 'Retry-After in all its forms' => sub {
    my $soon = strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime(time + 90));
    my $body = '{"error":{"code":"429","message":"quota used up"}}';

    my @cases = (
        ['seconds', 40, 40, 40],
        ['none', undef, 60, 60],
        ['absurd', '999999', 3600, 3600],
        ['beyond any number', '99999999999999999999', 3600, 3600],
        ['zero', 0, 1, 1],
        ['a date', $soon, 80, 91],
        ['a date that has passed', 'Wed, 25 Nov 2020 01:01:00 GMT', 1, 1],
        ['words', 'later', 60, 60],
        ['negative', '-5', 60, 60],
    );

    for my $case (@cases) {
        my ($title, $value, $least, $most) = @$case;

        my $checks = raw_api(status => 429, body => $body,
            headers => defined $value ? {'Retry-After' => $value} : {});
        reading_fails($checks, '429', qr/too many requests/, $title);

        my ($wait) = $checks->{'read-devices'}{detail} =~ /in (\d+) seconds/;
        cmp_ok($wait, '>=', $least, "$title: $wait s");
        cmp_ok($wait, '<=', $most, "$title: not longer");
    }
};


subtest 'permissions' => sub {
    my $checks = with_knobs({roles => ['Machine.Isolate']});
    my $message = reading_fails($checks, 'Forbidden',
        qr/Machine\.Read\.All or Machine\.ReadWrite\.All.*admin consent/,
        'isolate alone is not enough');
    unlike($message, qr/secret/i, 'the secret is not blamed');
    unlike($message, qr/Machine\.Isolate/, 'nor what is there');

    $checks = raw_api(status => 403, body => $JSON->encode({error => {
        code => 'Forbidden', message =>
            'Roles needed: Machine.Read.All. Roles held: Machine.Isolate.'}}));
    $message = reading_fails($checks, 'Forbidden',
        qr/asks for Machine\.Read\.All\./, 'another wording');

    $checks = raw_api(status => 403, body => '');
    $message = reading_fails($checks, '403', qr/needs Machine\.Read\.All/,
        'no wording at all');
    like($message, qr{scope; the token is for https://api\.securitycenter},
        'and whom the token is for');

    is(scalar($sim->log(family => 'token')), 1, 'a 403 is not asked again');
};


subtest 'a token that the API does not take' => sub {
    my $checks = with_knobs({account_inactive => $TRUE});
    my $message = reading_fails($checks, 'Unauthorized',
        qr/Account mode is inactive.*licence/, 'no licence');
    unlike($message, qr/secret/i, 'the secret is not blamed');
    is(scalar($sim->log(family => 'token')), 2, 'one new token');
    is(scalar($sim->log(family => 'machines')), 2, 'one more try');

    $checks = with_knobs({wrong_audience => $TRUE});
    $message = reading_fails($checks, 'Unauthorized',
        qr/scope.*userrequestsgraphapi/, 'wrong audience');
    unlike($message, qr/secret/i, 'the secret is not blamed');
    is(scalar($sim->log(family => 'token')), 2, 'one new token');

    $checks = with_knobs(
        {wrong_audience => $TRUE, unauthorized_body => 'empty'});
    reading_fails($checks, '401', qr/scope/, '401 without a body');

    $checks = with_knobs({token_calls => [0]});
    is($checks->{verified}, 1, 'the second token is taken');
    is(scalar($sim->log(family => 'token')), 2, 'of two');
};


subtest 'pages and other things that are not JSON' => sub {
    my $page = '<!DOCTYPE html><title>Sign in to the network</title>';
    my $host = '127\.0\.0\.1:' . $sim->port;

    my $checks = with_knobs({token_status => 200, token_body => $page,
        token_type => 'text/html'});
    sign_in_fails($checks, '200', qr{^$host .*200.*text/html}, 'login page');
    unlike($checks->{text}, qr/network/, 'whose text is not passed on');

    for my $status (200, 403, 404, 400) {
        $checks = raw_api(status => $status, body => $page,
            content_type => 'text/html; charset=utf-8');
        reading_fails($checks, $status, qr{^$host .*$status.*text/html},
            "API page with $status");
        unlike($checks->{text}, qr/network/, 'whose text is not passed on');
    }

    for my $type ('text/plain', 'application/jsonp', 'application/xml',
        "text/\xff\x01<b>")
    {
        reading_fails(raw_api(status => 200, body => '{"value":[]}',
            content_type => $type), '200', qr/is not JSON/, 'foreign type');
    }

    for my $type ('Application/JSON; charset="utf-8"', 'text/json',
        'application/vnd.x+json')
    {
        is(raw_api(status => 200, body => '{"value":[]}',
            content_type => $type)->{verified}, 1, "$type is JSON");
    }

    for my $body ('', '{"value":', '[]', "\xef\xbb\xbf{}", 'null', "\xff") {
        reading_fails(raw_api(status => 200, body => $body), '200',
            qr/is not JSON/, 'JSON by its type only');
    }

    reading_fails(raw_api(status => 404, body => ''), '404',
        qr/right host/, 'a path that Defender does not have');
    my $none = raw_api(status => 404, body =>
        '{"error":{"code":"ResourceNotFound","message":"no"}}');
    is($none->{verified}, 1, "Defender's own 404: there are no devices");
    is($none->{'read-devices'}{detail}, 'ResourceNotFound', '... the code');
    reading_fails(
        raw_api(status => 400, body =>
            '{"error":{"code":"ODataError","message":"no such option"}}'),
        'ODataError', qr/400.*ODataError.*no such option/, '400');
    reading_fails(raw_api(status => 405, body => ''), '405', qr/405/, '405');
};


subtest 'answers of the token endpoint that hold no usable token' => sub {
    my %answer = (token_type => 'Bearer', expires_in => 3599);

    my @cases = (
        [{%answer}, qr/holds no token/],
        [{%answer, access_token => ''}, qr/holds no token/],
        [{%answer, access_token => 17}, qr/holds no token/],
        [{%answer, access_token => "a\r\nX-Evil: 1"}, qr/no usable token/],
        [{%answer, access_token => 'a b'}, qr/no usable token/],
        [{%answer, access_token => 'abc', token_type => 'pop'},
            qr/another type/],
    );

    for my $case (@cases) {
        sign_in_fails(with_knobs({token_status => 200,
            token_body => $JSON->encode($case->[0])}), '200', $case->[1],
            'token');
    }

    sign_in_fails(with_knobs({token_status => 200, token_body => '[]'}),
        '200', qr/is not JSON/, 'no object');
    sign_in_fails(with_knobs({token_status => 200, token_body => '{"acc'}),
        '200', qr/is not JSON/, 'broke off');
    sign_in_fails(with_knobs({token_status => 200,
        token_body => '{"x":"' . 'y' x 70_000 . '"}'}), 'too-large',
        qr/larger than 65536 bytes/, 'far too long');

    for my $knobs ({expires_in_string => $TRUE}, {expires_in => 0},
        {expires_in => -1}, {expires_in => 'soon'}, {expires_in => 1e300},
        {expires_in => {}}, {token_opaque => $TRUE})
    {
        is(with_knobs($knobs)->{verified}, 1, $JSON->encode($knobs));
        is(scalar($sim->log(family => 'token')), 1, 'one token is enough');
    }
};


subtest 'what was sent does not come back' => sub {
    my $secret  = $sim->secret;
    my $encoded = $secret =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;

    for my $echo ($secret, $encoded) {
        my $checks = token_error(400, 'odd', "AADSTS4711: secret $echo bad",
            4711);
        sign_in_fails($checks, 'AADSTS4711', qr/refused/, 'secret echoed');
        ok(index($JSON->decode($checks->{text})->{checks}[0]{message},
            $echo) < 0, 'not in the answer');
    }

    my $token  = 'canarytoken.' . 'e30' . '.x';
    my $checks = with_knobs({
        token_status => 200,
        token_body   => $JSON->encode({token_type => 'Bearer',
            expires_in => 3599, access_token => $token}),
        api_raw => {status => 400, body => $JSON->encode({error => {
            code => 'BadRequest', message => "bad token $token"}})},
    });
    reading_fails($checks, 'BadRequest', qr/400/, 'token echoed');
    unlike($checks->{text}, qr/canarytoken/, 'not in the answer');

    for my $log ($t->error_log, $t->access_log) {
        ok(index($log, $secret) < 0, 'no secret in a log');
        ok(index($log, $encoded) < 0, 'nor as it is in the form');
        unlike($log, qr/canarytoken/, 'and no token');
    }
};

$t->done;
