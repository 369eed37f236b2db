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
    is(results($r), 'sign-in:passed read-devices:passed', 'checks');
    like(check($r, 'sign-in')->{detail}, qr/Machine\.Read\.All/,
        'what the token may do is told');
    like(check($r, 'read-devices')->{detail}, qr/\b1\b/, 'a count is told');
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
    is(results($r), 'sign-in:passed read-devices:passed isolate:passed',
        'with isolation');

    $t->sim->knobs(roles => ['Machine.Read.All', 'Machine.ReadWrite.All']);
    $r = verify({%$connection, isolateEntity => TRUE});
    is($r->json->{verified}, FALSE, 'isolation is not granted');
    is(results($r), 'sign-in:passed read-devices:passed isolate:failed',
        '... the check says so');
    like(check($r, 'isolate')->{message}, qr/lacks .*\bMachine\.Isolate\b/,
        '... and names the permission');
    is($r->json->{verifyTicket}, undef, '... without a ticket');
    is(verify($connection)->json->{verified}, TRUE,
        'which does not matter when it is off');

    $t->sim->knobs(roles => ['Machine.Isolate']);
    $r = verify($connection);
    is(results($r), 'sign-in:passed read-devices:failed',
        'reading is not granted');
    like(check($r, 'read-devices')->{message}, qr/Machine\.Read\.All/,
        '... and the permission is named');
    unlike(check($r, 'read-devices')->{message}, qr/secret/i,
        '... the secret is not blamed');
    is($r->json->{verifyTicket}, undef, '... without a ticket');

    $t->sim->knobs(roles => undef);
    $r = verify({%$connection, isolateEntity => TRUE});
    is(results($r), 'sign-in:passed read-devices:failed isolate:skipped',
        'no permission at all: sign-in works all the same');

    $t->sim->reset_knobs;
    $t->sim->knobs(rate_minute => undef);

    $t->sim->devices([]);
    $r = verify($connection);
    is($r->json->{verified}, TRUE, 'a tenant without devices is verified');
    like(check($r, 'read-devices')->{message}, qr/\bnone\b/,
        '... with a warning');
    like(check($r, 'read-devices')->{detail}, qr/\b0\b/, '... and the count');
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
        'https://api.securitycenter.microsoft.com/.default', $SECRET);
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
    is(results($r), 'sign-in:failed read-devices:skipped', 'checks');
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
