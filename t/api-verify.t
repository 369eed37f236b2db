#!/usr/bin/perl

# Settings are tried against Microsoft, and the ticket that says they were.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use Digest::SHA qw(hmac_sha256);
use JSON::PP ();
use MIME::Base64 qw(encode_base64url decode_base64url);
use Test::Defender;
use Test::Defender::Answer qw(outcome_field secret_is_inside);
use Test::More;
use Time::HiRes qw(time);

use constant {
    TRUE  => JSON::PP::true,
    FALSE => JSON::PP::false,
};

# Every character that JSON, a form or a URL can get wrong; and found again
# wherever it should not be.
my $SECRET = 'Zz~1+b/c=d&e%25.f_g-h#i?j k"l\\m' . 'canary1';
my $OTHER  = 'another-canary-2';

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim(secret => $SECRET);
$t->sim->knobs(rate_minute => undef);

my $dir = $t->dir;

$t->conf($t->standard_conf)->run;

# A login host that answers too slowly to wait for, but not so slowly that
# libcurl gives up first, and somebody who waits while all else is tested.
my $slow = $t->start_sim(name => 'slow', secret => $SECRET);
$slow->knobs(fault_on => 'all', slow_body => 20);

my $patient = Test::Defender->new;
$patient->{sim} = $slow;
$patient->conf($patient->standard_conf(
    redis => "unix:$dir/redis.sock prefix=patient:"))->run;
my $since   = time;
my $waiting = $patient->connect(timeout => 60);
$waiting->send(Test::Defender::HTTP::request_bytes(
    method => 'POST', uri => '/defender/config/verify', host => 'h',
    headers => ['X-Role' => 'admin', 'Content-Type' => 'application/json'],
    body => $t->json_encode({tenantId => $t->sim->tenant,
        appId => $t->sim->app, appSecret => $SECRET})));

my @viewer = (role => 'viewer');
my @admin  = (role => 'admin', user => 'kim');
my @answers;


# As outcome_field(); the answer is looked through for the secret in the end.
sub outcome {
    my ($r) = @_;

    push @answers, $r->raw_header . $r->body;

    return outcome_field($r);
}


sub get_config { return $t->get('/defender/config', @viewer, @_) }


sub put_config {
    my ($settings, %more) = @_;

    return $t->put('/defender/config', @admin, json => $settings, %more);
}


sub verify {
    my ($settings, %more) = @_;

    my $r = $t->post('/defender/config/verify', @admin, json => $settings,
        %more);
    push @answers, $r->raw_header . $r->body;

    return $r;
}


sub ticket_for { return verify(@_)->json->{verifyTicket} }


# "sign-in:passed read-devices:failed"
sub results {
    my ($r) = @_;

    return join ' ', map { "$_->{name}:$_->{result}" } @{$r->json->{checks}};
}


sub check {
    my ($r, $name) = @_;

    my ($check) = grep { $_->{name} eq $name } @{$r->json->{checks}};

    return $check;
}


my $connection = {
    tenantId  => $t->sim->tenant,
    appId     => $t->sim->app,
    appSecret => $SECRET,
};

subtest 'verify' => sub {
    my $r = verify($connection);

    is($r->status, 200, 'status');
    is($r->json->{verified}, TRUE, 'verified');
    is(results($r), 'sign-in:passed read-devices:passed devices:passed '
        . 'redis:passed', 'checks');
    like(check($r, 'sign-in')->{detail}, qr/Machine\.Read\.All/,
        'what the token may do is told');
    like(check($r, 'devices')->{detail},
        qr/^devices in this answer: 1 .*newest report: 20\d\d-.*Z$/,
        'a count is told, and how fresh it is');
    is_deeply([grep { /verify/ } $t->redis->keys], [],
        'nothing is left in Redis');
    like($r->json->{verifyTicket}, qr/^[\w-]{20,}$/, 'a ticket');

    my ($token) = $t->sim->log(family => 'token');
    is($token->{form}{client_secret}, $SECRET,
        'the secret arrives as it was given');
    my ($machines) = $t->sim->log(family => 'machines');
    like($machines->{query}, qr/top=1(?:&|$)/, 'one machine is asked for');

    $t->sim->clear_log;
    $r = verify({%$connection, tenantId => ' ' . uc($t->sim->domain) . "\n",
        appId => uc($t->sim->app) . "\t"});
    is($r->json->{verified}, TRUE, 'ids are trimmed, in any case');
    ($token) = $t->sim->log(family => 'token');
    like($token->{path}, qr{^/\Q@{[$t->sim->domain]}\E/oauth2},
        '... before they are put into the URL');

    $r = verify({%$connection, isolateEntity => TRUE});
    is(results($r), 'sign-in:passed read-devices:passed devices:passed '
        . 'isolate:passed redis:passed', 'with isolation');
    my ($try) = $t->sim->log(family => 'isolate');
    like($try->{path}, qr{/machines/0{40}/isolate$},
        '... which was tried with an impossible id');
    is($try->{status}, 404, '... and did nothing');

    $t->sim->knobs(roles => ['Machine.Read.All', 'Machine.ReadWrite.All']);
    $r = verify({%$connection, isolateEntity => TRUE});
    is($r->json->{verified}, FALSE, 'isolation is not granted');
    is(results($r), 'sign-in:passed read-devices:passed devices:passed '
        . 'isolate:failed redis:passed', '... the check says so');
    like(check($r, 'isolate')->{message}, qr/lacks .*\bMachine\.Isolate\b/,
        '... and names the permission');
    is($r->json->{verifyTicket}, undef, '... without a ticket');
    is(verify($connection)->json->{verified}, TRUE,
        'which does not matter when it is off');

    $t->sim->knobs(roles => ['Machine.Isolate']);
    $r = verify($connection);
    is(results($r), 'sign-in:passed read-devices:failed devices:skipped '
        . 'redis:passed', 'reading is not granted');
    like(check($r, 'read-devices')->{message}, qr/Machine\.Read\.All/,
        '... and the permission is named');
    unlike(check($r, 'read-devices')->{message}, qr/secret/i,
        '... the secret is not blamed');
    is($r->json->{verifyTicket}, undef, '... without a ticket');

    $t->sim->knobs(roles => undef);
    $r = verify({%$connection, isolateEntity => TRUE});
    is(results($r), 'sign-in:passed read-devices:failed devices:skipped '
        . 'isolate:failed redis:passed',
        'no permission at all: sign-in works, and all that lacks is told');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);

    $t->sim->devices([]);
    $r = verify($connection);
    is($r->json->{verified}, TRUE, 'a tenant without devices is verified');
    like(check($r, 'devices')->{message}, qr/\bnone\b.*right tenant/,
        '... with a warning');
    is(check($r, 'devices')->{warning}, TRUE, '... that is marked');
    like(check($r, 'devices')->{detail}, qr/\b0\b/, '... and the count');
    $t->sim->knobs(empty_as => '404');
    $r = verify($connection);
    is($r->json->{verified}, TRUE, 'the same, told by a 404');
    is(check($r, 'devices')->{warning}, TRUE, '... is marked');
    $t->sim->knobs(empty_as => 'list');

    for my $case (['8 days', '@now-8d', TRUE], ['6 days', '@now-6d', undef])
    {
        my ($what, $seen, $warning) = @$case;
        $t->sim->devices([{id => 'a' x 40, lastSeen => $seen}]);
        is(check(verify($connection), 'devices')->{warning}, $warning,
            "a newest report of $what ago");
    }
    $t->sim->devices([{id => 'a' x 40}]);
    $r = verify($connection);
    is(check($r, 'devices')->{warning}, TRUE, 'a device without a report');
    is($r->json->{verified}, TRUE, '... is no failure');
    $t->sim->devices($t->read_file($t->root . '/t/sim/devices.json'));
};

subtest 'verify fails' => sub {
    my $fails = sub {
        my ($settings, $name, $message, $what) = @_;
        my $r = verify($settings);
        is($r->status, 200, "$what: status");
        is($r->json->{verified}, FALSE, "$what: not verified");
        is($r->json->{verifyTicket}, undef, "$what: no ticket");
        is(check($r, $name)->{result}, 'failed', "$what: $name failed");
        like(check($r, $name)->{message}, $message, "$what: the reason");
        return check($r, $name);
    };

    my $check = $fails->({%$connection, appSecret => $OTHER}, 'sign-in',
        qr/\bvalue\b/i, 'wrong secret');
    like($check->{detail}, qr/AADSTS7000215/, 'wrong secret: the number');

    $t->sim->knobs(secret_expired => TRUE);
    $check = $fails->($connection, 'sign-in', qr/expired/, 'expired secret');
    like($check->{detail}, qr/AADSTS7000222/, 'expired secret: the number');
    $t->sim->knobs(secret_expired => FALSE);

    $fails->({%$connection, appId => 'aaaaaaaa-0000-4000-8000-000000000000'},
        'sign-in', qr/application/i, 'unknown application');
    $fails->({%$connection, tenantId => 'unknown.onmicrosoft.com'},
        'sign-in', qr/tenant/i, 'unknown tenant');

    $t->sim->knobs(provisioned => FALSE);
    $fails->($connection, 'sign-in', qr/Defender/, 'no Defender');
    $t->sim->knobs(provisioned => TRUE);

    $t->sim->knobs(wrong_audience => TRUE);
    $check = $fails->($connection, 'read-devices', qr/scope|audience/i,
        'token for another API');
    unlike($check->{message}, qr/secret/i,
        'token for another API: the secret is not blamed');
    $t->sim->knobs(wrong_audience => FALSE);

    $t->sim->knobs(account_inactive => TRUE);
    $fails->($connection, 'read-devices', qr/licen[cs]e|inactive/i,
        'no licence');
    $t->sim->knobs(account_inactive => FALSE);

    my $page = '<!DOCTYPE html><title>Sign in to the network</title>';
    for my $case (
        [{token_status => 200, token_body => $page, token_type => 'text/html'},
            'sign-in'],
        [{api_raw => {status => 200, body => $page,
            content_type => 'text/html'}}, 'read-devices'])
    {
        my ($knobs, $name) = @$case;
        $t->sim->knobs(%$knobs);
        $check = $fails->($connection, $name, qr{127\.0\.0\.1.*text/html}s,
            "a page of a proxy instead ($name)");
        unlike($check->{message}, qr/DOCTYPE|Sign in to/,
            '... is not shown');
        $t->sim->reset_knobs;
        $t->sim->knobs(rate_minute => undef);
    }

    $t->sim->knobs(page_status => {1 => {status => 429,
        headers => {'Retry-After' => 17}, body => '{}'}});
    $check = $fails->($connection, 'read-devices', qr/./, 'throttled');
    like($check->{detail}, qr/17 seconds/, 'throttled: when to come back');

    $t->sim->knobs(reset => TRUE, page_status => {1 => {status => 500,
        body => ''}});
    $fails->($connection, 'read-devices', qr/500/, 'trouble at Microsoft');

    $t->sim->knobs(reset => TRUE, api_raw => {status => 200,
        body => '{"error":"no list"}', content_type => 'application/json'});
    $fails->($connection, 'read-devices', qr/no list of devices/,
        'JSON without devices');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);
};

# What the sign-in host says, and which words of the message tell it apart.
my @SIGN_IN = (
    [90002, 'invalid_request', 400, qr/tenant ID is not known.*cloud/],
    [900023, 'invalid_request', 400, qr/neither a directory ID nor a domain/],
    [9001023, 'invalid_request', 400, qr/"common" or "consumers"/],
    [700016, 'unauthorized_client', 400, qr/App ID is not known/],
    [7000112, 'unauthorized_client', 400, qr/disabled.*Enable it/],
    [70001, 'unauthorized_client', 400, qr/not known.*or disabled/],
    [7000215, 'invalid_client', 401, qr/secret's Value.*not its Secret ID/],
    [70002, 'invalid_client', 401, qr/App Secret was not accepted/],
    [7000222, 'invalid_client', 401, qr/has expired. Create a new/],
    [7000218, 'invalid_client', 401, qr/No App Secret reached/],
    [900144, 'invalid_request', 400, qr/did not understand/],
    [1002012, 'invalid_scope', 400, qr/scope is wrong.*\.default/],
    [70011, 'invalid_scope', 400, qr/scope is wrong/],
    [28002, 'invalid_scope', 400, qr/scope is wrong/],
    [700022, 'invalid_scope', 400, qr/scope is wrong/],
    [500011, 'invalid_resource', 400, qr/not set up in this tenant.*licence/],
    [650052, 'invalid_resource', 400, qr/not set up in this tenant/],
    [50001, 'invalid_resource', 400, qr/not set up in this tenant/],
    [70003, 'unsupported_grant_type', 400, qr/may not sign in by itself/],
    [53003, 'invalid_grant', 400, qr/Conditional Access policy/],
    [90038, 'invalid_request', 400, qr/another national cloud. Choose/],
    [900382, 'invalid_request', 400, qr/another national cloud/],
    [900432, 'invalid_request', 400, qr/another national cloud/],
    [50196, 'invalid_request', 400, qr/too many requests/],
    [90055, 'invalid_request', 400, qr/too many requests/],
    [90033, 'temporarily_unavailable', 503, qr/trouble of its own/],
    [90006, 'temporarily_unavailable', 503, qr/trouble of its own/],
    [50033, 'temporarily_unavailable', 503, qr/trouble of its own/],
    [90024, 'temporarily_unavailable', 503, qr/trouble of its own/],
    [99999, 'interaction_required', 400, qr/refused the sign-in.*words here/],
);

subtest 'every failure in its own words' => sub {
    for my $case (@SIGN_IN) {
        my ($number, $error, $status, $message) = @$case;

        $t->sim->knobs(reset => TRUE, token_status => $status,
            token_type => 'application/json', token_body => $t->json_encode({
                error => $error, error_codes => [$number],
                error_description => "AADSTS$number: Some words here.\r\n"
                    . 'Trace ID: 0'}));
        my $check = check(verify($connection), 'sign-in');
        is($check->{result}, 'failed', "AADSTS$number");
        like($check->{message}, $message, '... in words');
        like($check->{detail}, qr/^AADSTS$number, HTTP $status/,
            '... with the number');
    }

    $t->sim->knobs(reset => TRUE, token_status => 429,
        token_type => 'text/plain', token_body => 'Too Many Requests');
    my $check = check(verify($connection), 'sign-in');
    like($check->{message}, qr/too many requests.*nothing is sent for 60 s/,
        'throttled at sign-in, until when');

    my @api = (
        # check, answer, words
        ['read-devices', {status => 401}, qr/Sign-in works.*licence/],
        ['read-devices', {status => 403, body => '{"error":{"code":'
            . '"Forbidden","message":"x"}}'},
            qr/has the permission to read devices, but Defender refuses/],
        ['read-devices', {status => 403}, qr/refuses to list them/],
        ['read-devices', {status => 404, content_type => 'text/html'},
            qr/Is this the right host/],
        ['read-devices', {status => 400, body => '{"error":{"code":'
            . '"ODataError","message":"No such option."}}'},
            qr/status 400, ODataError: No such option/],
        ['read-devices', {status => 302, headers =>
            {Location => 'https://evil.example/'}}, qr/redirect.*not followed/],
        ['read-devices', {status => 503}, qr/trouble of its own/],
        ['read-devices', {status => 429, headers => {'Retry-After' => 40}},
            qr/nothing is sent for 40 s/],
        ['read-devices', {status => 200, body => '[]'}, qr/not JSON/],
        ['isolate', {status => 403, body => '{"error":{"code":"Forbidden",'
            . '"message":"x"}}', on => 'isolate'},
            qr/has the permission Machine\.Isolate, but Defender refuses/],
        ['isolate', {status => 503, on => 'isolate'}, qr/trouble of its own/],
        ['isolate', {status => 201, body => '{"id":"1"}', on => 'isolate'},
            qr/not Defender's/],
    );

    for my $case (@api) {
        my ($name, $answer, $message) = @$case;

        $t->sim->knobs(reset => TRUE, api_raw => $answer);
        my $r = verify({%$connection, isolateEntity => TRUE});
        $check = check($r, $name);
        is($check->{result}, 'failed', "$name: $answer->{status}");
        like($check->{message}, $message, '... in words');
        is($r->json->{verifyTicket}, undef, '... no ticket');
    }

    # Let in, but not as expected: the token's word stands.
    $t->sim->knobs(reset => TRUE, api_raw => {status => 400, on => 'isolate',
        body => '{"error":{"code":"InvalidInput","message":"No such id"}}'});
    my $r = verify({%$connection, isolateEntity => TRUE});
    is($r->json->{verified}, TRUE, 'isolate: 400 is a warning');
    is(check($r, 'isolate')->{warning}, TRUE, '... that is marked');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);
};

subtest 'Redis cannot be written' => sub {
    for my $how (['maxmemory', '1', '0', qr/OOM/],
        ['min-replicas-to-write', '1', '0', qr/NOREPLICAS/])
    {
        my ($name, $bad, $good, $code) = @$how;
        $t->redis->cmd(CONFIG => 'SET', $name, $bad);
        my $r = verify($connection);
        $t->redis->cmd(CONFIG => 'SET', $name, $good);

        is($r->json->{verified}, FALSE, "$name: not verified");
        is(results($r), 'sign-in:passed read-devices:passed devices:passed '
            . 'redis:failed', '... because of Redis alone');
        like(check($r, 'redis')->{message}, qr/refuses to write/,
            '... in words');
        like(check($r, 'redis')->{detail}, $code, '... and its own');
        is($r->json->{verifyTicket}, undef, '... no ticket');
    }

    is(verify($connection)->json->{verified}, TRUE, 'and again');
};

subtest 'no way to Microsoft' => sub {
    my @ways = (
        # what, options of the configuration, words
        ['DNS', {endpoint => 'login=https://no-such-host.invalid '
            . 'api=https://no-such-host.invalid'}, qr/no-such-host\.invalid/],
        ['nobody listens', {endpoint => 'login=https://127.0.0.1:1 '
            . 'api=https://127.0.0.1:1'}, qr/127\.0\.0\.1:1\b/],
        ['TLS', {ca => '/etc/ssl/certs/ca-certificates.crt'},
            qr/defender_ca_certificate/],
        ['proxy', {http => 'defender_proxy http://127.0.0.1:1;'},
            qr/proxy.*defender_proxy/],
    );

    for my $way (@ways) {
        my ($what, $option, $message) = @$way;
        my $other = Test::Defender->new;
        $other->{sim} = $t->sim;
        $other->conf($other->standard_conf(
            redis => "unix:$dir/redis.sock prefix=other:", %$option))->run;
        my $r = $other->post('/defender/config/verify', @admin,
            json => $connection);
        is(results($r), 'sign-in:failed read-devices:skipped devices:skipped '
            . 'redis:passed', $what);
        like(check($r, 'sign-in')->{message}, $message, '... in words');
        push @answers, $r->raw_header . $r->body;
        $other->finish;
    }
};

$t->configure;

subtest 'what needs a ticket' => sub {
    my $revision = get_config()->json->{revision};
    my $needs    = '409 not_verified verifyTicket';
    my $again    = '400 invalid_settings appSecret';

    is(outcome(put_config({enabled => FALSE})), '200', 'not: disabling');
    is(outcome(put_config({enabled => TRUE})), '200', 'not: enabling');
    is(outcome(put_config({pollMinutes => 10})), '200', 'not: the interval');
    $revision += 3;

    is(outcome(put_config({appSecret => $OTHER})), $needs, 'another secret');
    is(outcome(put_config({isolateEntity => TRUE})), $needs, 'isolation');

    is(outcome(put_config({tenantId => $t->sim->domain})), $again,
        'another tenant needs the secret again');
    is(outcome(verify({tenantId => $t->sim->domain})), $again,
        '... also to verify');
    is(outcome(put_config({cloud => 'gcc-high'})), $again,
        'so does another cloud');
    is(outcome(put_config({appId => 'aaaaaaaa-0000-4000-8000-000000000000'})),
        $again, 'and another application');
    is(outcome(put_config({tenantId => $t->sim->domain,
        appSecret => $SECRET})), $needs, 'with it, a ticket');
    is(outcome(put_config({cloud => 'gcc-high', appSecret => $SECRET})),
        $needs, 'the same for the cloud');

    is(get_config()->json->{revision}, $revision, 'nothing was saved');

    # The stored secret serves to verify.
    my $ticket = ticket_for({isolateEntity => TRUE});
    is(outcome(put_config({isolateEntity => TRUE, verifyTicket => $ticket})),
        '200', 'isolation with a ticket');
    is(outcome(put_config({isolateEntity => FALSE})), '200',
        'switching it off needs none');
};

subtest 'whose ticket' => sub {
    my $needs    = '409 not_verified verifyTicket';
    my $revision = get_config()->json->{revision};
    my $want     = {tenantId => $t->sim->domain, appSecret => $SECRET};
    my $ticket   = ticket_for($want);

    is(outcome(put_config({%$want, verifyTicket => ticket_for({})})), $needs,
        'a ticket for another tenant');
    is(outcome(put_config({%$want, isolateEntity => TRUE,
        verifyTicket => $ticket})), $needs, 'a ticket without isolation');
    is(outcome(put_config({%$want, appSecret => $OTHER,
        verifyTicket => $ticket})), $needs, 'a ticket for another secret');
    is(outcome(put_config({%$want, cloud => 'gcc',
        verifyTicket => $ticket})), $needs, 'a ticket for another cloud');
    is(outcome(put_config({%$want, verifyTicket => ''})), $needs, 'empty');
    is(outcome(put_config({%$want, verifyTicket => undef})), $needs, 'null');
    is(outcome(put_config({%$want, verifyTicket => 1})), $needs, 'a number');
    is(outcome(put_config({%$want, verifyTicket => 'x' x 5000})), $needs,
        'long');
    is(outcome(put_config({%$want, verifyTicket => "${ticket}A"})), $needs,
        'longer');
    is(outcome(put_config({%$want, verifyTicket => substr $ticket, 0, -1})),
        $needs, 'shorter');

    my $edited = 0;
    for my $at (0 .. length($ticket) - 1) {
        my $changed = $ticket;
        substr($changed, $at, 1) =~ tr/A-Za-z0-9_-/B-ZAb-za1-90\-_/;
        $edited++ if outcome(put_config(
            {%$want, verifyTicket => $changed})) eq $needs;
    }
    is($edited, length $ticket, 'edited anywhere');

    is(get_config()->json->{revision}, $revision, 'nothing was saved');
    is(outcome(put_config({%$want, verifyTicket => $ticket})), '200',
        'the right one');
    is(outcome(put_config({%$connection,
        verifyTicket => ticket_for($connection)})), '200', 'and back');
    is(outcome(put_config({%$want, verifyTicket => $ticket})), $needs,
        'a ticket that was used before');
};

# A ticket as the module makes it, good until then: with HKDF (RFC 5869) from
# the key file, over the connection's fields, each behind its length.
sub forge_ticket {
    my ($expires, $key, @fields) = @_;

    my $secret = hmac_sha256($key, "\0" x 32);
    my $sign   = hmac_sha256("defender ticket\x01", $secret);
    my $values = join('', map { pack 'N/a*', $_ } @fields) . "\0";
    my $head   = pack 'C Q>', 1, $expires;

    return encode_base64url($head . hmac_sha256($head . $values, $sign));
}


subtest 'a ticket gets old' => sub {
    my @fields = ($t->sim->domain, $t->sim->app, 'commercial',
        $t->sim->login_url, $t->sim->url,
        'https://api.securitycenter.microsoft.com/.default', $SECRET,
        get_config()->json->{revision});
    my $settings = {tenantId => $t->sim->domain, appSecret => $SECRET};
    my $key      = $t->read_file('key');
    my $now      = time;

    my $try = sub {
        return outcome(put_config({%$settings, verifyTicket => $_[0]}));
    };

    my $ticket  = ticket_for($settings);
    my $expires = unpack 'x Q>', decode_base64url($ticket);

    is(forge_ticket($expires, $key, @fields), $ticket, 'made as expected');
    cmp_ok(abs($expires - $now - 900), '<', 30, 'good for 15 minutes');

    is($try->(forge_ticket($now - 1, $key, @fields)),
        '409 not_verified verifyTicket', 'expired');
    is($try->(forge_ticket($now + 60, 'k' x 32, @fields)),
        '409 not_verified verifyTicket', 'signed with another key');
    is($try->(forge_ticket($now + 60, $key, @fields)), '200',
        'not expired: the same is good');
};

subtest 'Microsoft does not come to an end' => sub {
    my $r    = $waiting->response('POST');
    my $took = time - $since;

    is($r->status, 200, 'status');
    is($r->json->{verified}, FALSE, 'not verified');
    is(results($r), 'sign-in:failed read-devices:skipped devices:skipped '
        . 'redis:passed', 'checks');
    like(check($r, 'sign-in')->{message}, qr/within 45 seconds/,
        'the reason');
    cmp_ok($took, '>', 40, 'not before the deadline');
    cmp_ok($took, '<', 60, 'not long after it');

    unlike($patient->error_log, qr/canary/, 'no secret in its log');
    $waiting->close;
    $patient->finish;
};

subtest 'the secret stays inside' => sub {
    secret_is_inside($t, qr/canary/, @answers);
};

$t->done;
