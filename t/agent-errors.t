#!/usr/bin/perl

# A Defender API that refuses, throttles, fails or lies: what the status says,
# when the agent asks again, and that the devices of before stay.

use strict;
use warnings;

use JSON::PP ();
use POSIX    qw(strftime);
use Test::More;
use Time::HiRes qw(time);
use Time::Local qw(timegm);

use lib 't/lib';
use Test::Defender::Agent qw(start_configured status poll ask_poll settle known
    unchanged fleet walks pages generation);

my $TRUE = JSON::PP::true;

my $t   = start_configured(http => 'defender_page_size 3;');
my $sim = $t->sim;


sub seconds_until {
    my ($iso) = @_;

    my @part = $iso =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):(\d+)Z$/
        or return -1;

    return timegm(@part[5, 4, 3, 2], $part[1] - 1, $part[0]) - time;
}


# Off and on again: a client that has forgotten Retry-After.
sub new_client {
    $t->put('/defender/config', role => 'admin',
        json => {enabled => JSON::PP::false});
    $t->wait_for(sub { !status($t)->{leaseHolder} }, 10, 'off');
    $t->put('/defender/config', role => 'admin', json => {enabled => $TRUE});
    $t->wait_for(sub { status($t)->{health} eq 'healthy' }, 20, 'on');
}


subtest 'throttled in the middle of the walk' => sub {
    known($t, 1 .. 7);
    $sim->knobs(page_status => {2 => {status => 429, times => 1,
        headers => {'Retry-After' => '3'}, body => '{"error":{"code":"429",'
        . '"message":"quota used up, 1500 per hour"}}'}});

    ask_poll($t);
    my $status = $t->wait_for(sub {
        my $now = status($t);
        return $now->{health} eq 'throttled' ? $now : undef;
    }, 10, 'throttled') // {};

    ok($status->{polling}, 'the walk is still on');
    is($status->{code}, '429', 'code');
    is($t->entity('10.20.7.1')->{match}, 'exact', 'look-ups meanwhile');

    $t->wait_for(sub { !status($t)->{polling} }, 15, 'end of the poll');
    is(status($t)->{health}, 'healthy', 'health');
    is_deeply([pages($t)], ['0:200', '3:429', '3:200', '6:200'],
        'goes on at the same page');

    my @log = $sim->log(family => 'machines');
    cmp_ok($log[2]{time} - $log[1]{time}, '>=', 2.9, 'not before its time');
};


subtest 'throttled at the first page' => sub {
    known($t, 1 .. 2);

    for my $case (
        ['seconds', '50', 45, 51],
        ['a date', strftime('%a, %d %b %Y %H:%M:%S GMT', gmtime time + 90),
            70, 92],
        ['no header', undef, 50, 62],
        ['an absurd time', '999999', 600, 86_400])
    {
        my ($name, $header, $least, $most) = @$case;
        my $before = generation($t);

        $sim->clear_log;
        $sim->knobs(page_status => {1 => {status => 429,
            headers => {defined $header ? ('Retry-After' => $header) : ()},
            body => '{"error":{"code":"429","message":"quota used up"}}'}});

        my $last = poll($t);
        is($last->{result}, 'throttled', "$name: result");

        my $status = status($t);
        is($status->{health}, 'throttled', "$name: health");
        my $wait = seconds_until($status->{nextPoll});
        cmp_ok($wait, '>=', $least, "$name: not too early");
        cmp_ok($wait, '<=', $most, "$name: not too late");
        unchanged($t, $before, 1 .. 2);

        # The client waits as a whole: nothing but new settings make it ask.
        if ($name eq 'seconds') {
            ask_poll($t);
            $sim->reset_knobs;
            settle($t);
            is(scalar(pages($t)), 1, "$name: no knocking");
        }

        $sim->reset_knobs;
        new_client();
    }
};


subtest 'secrets that Microsoft does not accept' => sub {
    for my $case (
        ['expired', {secret_expired => $TRUE}, 'AADSTS7000222', qr/expired/i],
        ['refused', {token_status => 401, token_body =>
            '{"error":"invalid_client","error_description":"AADSTS7000215: '
            . 'Invalid client secret provided. Trace ID: x",'
            . '"error_codes":[7000215]}'}, 'AADSTS7000215', qr/value/i])
    {
        my ($name, $knobs, $code, $message) = @$case;

        known($t, 1 .. 4);
        my $before = generation($t);

        $sim->knobs(%$knobs, revoke_tokens => $TRUE);
        my $last = poll($t);
        is($last->{result}, 'sign-in-failed', "$name: result");
        is($last->{code}, $code, "$name: code");
        like($last->{message}, $message, "$name: message");

        my $status = status($t);
        is($status->{health}, 'sign-in-failed', "$name: health");
        is($status->{code}, $code, "$name: code of the health");
        cmp_ok(seconds_until($status->{nextPoll}), '>', 250,
            "$name: the next try is far");
        unchanged($t, $before, 1 .. 4);

        settle($t);
        is(scalar $sim->log(family => 'token'), 1, "$name: no knocking");

        # The admin's next save is what it waits for.
        $sim->reset_knobs;
        $t->put('/defender/config', role => 'admin',
            json => {pollMinutes => 5 + length $name});
        $t->wait_for(sub { status($t)->{health} eq 'healthy' }, 10,
            "$name: a new try at once");
    }
};


subtest 'a permission that is missing' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $sim->knobs(roles => ['Machine.Isolate'], revoke_tokens => $TRUE);
    my $last = poll($t);
    is($last->{result}, 'permission-missing', 'result');
    like($last->{message}, qr/Machine\.Read\.All/, 'message');
    unlike($last->{message}, qr/secret/i, 'not the secret');
    is(status($t)->{health}, 'permission-missing', 'health');
    unchanged($t, $before, 1 .. 4);
};


subtest 'a tenant that lost its licence' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $sim->knobs(account_inactive => $TRUE);
    my $last = poll($t);
    is($last->{result}, 'account-refused', 'result');
    like($last->{message}, qr/inactive/i, 'message');
    cmp_ok(scalar $sim->log(family => 'token'), '<=', 1, 'one new sign-in');
    unchanged($t, $before, 1 .. 4);
};


subtest 'an empty list' => sub {
    for my $as (qw(list 404)) {
        known($t, 1 .. 4);
        my $before = generation($t);

        $sim->knobs(empty_as => $as);
        $sim->devices([]);
        my $last = poll($t);
        is($last->{result}, 'empty', "$as: result");
        is($last->{devices}, 0, "$as: devices received");
        like($last->{message}, qr/0 devices.*4 devices.*kept/,
            "$as: message");
        unchanged($t, $before, 1 .. 4);
    }

    unlike($t->error_log, qr/\[error\].*defender/, 'no errors logged');
};


subtest 'a proxy\'s page instead of the list' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $sim->knobs(api_raw => {status => 200, content_type => 'text/html',
        body => '<!DOCTYPE html><title>Sign in to the network</title>'});
    my $last = poll($t);
    is($last->{result}, 'bad-answer', 'result');
    like($last->{message}, qr/127\.0\.0\.1/, 'names the host');
    like($last->{message}, qr/html/, 'names the type');
    unlike($last->{message}, qr/Sign in to/, 'does not show the page');
    unchanged($t, $before, 1 .. 4);
};


subtest 'pages that fail and come at another try' => sub {
    known($t, 1 .. 20);
    $sim->knobs(fault_page => 6, fault_times => 1, truncate_body => 700,
        page_status => {
            2 => {status => 503, times => 2, body => 'busy'},
            3 => {status => 200, times => 1,
                content_type => 'application/json', body => '{"value":[{"id"'},
            4 => {status => 200, times => 1,
                content_type => 'application/json', body => '{"error":1}'},
            5 => {status => 404, times => 1, content_type => 'application/json',
                body => '{"error":{"code":"ResourceNotFound","message":"x"}}'},
        });

    my $last = poll($t, seconds => 30);
    is($last->{result}, 'ok', 'result') or diag explain $last;
    is($last->{devices}, 20, 'devices');
    is_deeply([map { s/:(?:200)?$//r } pages($t)],
        ['0', '3:503', '3:503', '3', '6', '6', '9', '9', '12:404', '12', '15',
            '15', '18'], 'each page again until it comes, in one walk');
};


subtest 'a page that never comes' => sub {
    known($t, 1 .. 8);
    my $before = generation($t);

    $sim->knobs(page_status => {2 => {status => 500, body => ''}});
    my $last = poll($t, seconds => 30);
    is($last->{result}, 'service-error', 'result');
    is(scalar(grep { $_ eq '3:500' } pages($t)), 4, 'tries');
    is(status($t)->{health}, 'unreachable', 'health');
    my $wait = seconds_until(status($t)->{nextPoll});
    cmp_ok($wait, '>', 5, 'tries again');
    cmp_ok($wait, '<', 25, 'soon');
    unchanged($t, $before, 1 .. 8);
};


subtest 'a list that breaks off as "not found"' => sub {
    known($t, 1 .. 8);
    my $before = generation($t);

    $sim->knobs(page_status => {2 => {status => 404,
        content_type => 'application/json',
        body => '{"error":{"code":"ResourceNotFound","message":"x"}}'}});
    my $last = poll($t, seconds => 30);
    is($last->{result}, 'bad-answer', 'result') or diag explain $last;
    unchanged($t, $before, 1 .. 8);
};


subtest 'no list at all' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    $sim->devices('[null,null]');
    my $last = poll($t);
    is($last->{result}, 'bad-answer', 'records without an id: result');
    unchanged($t, $before, 1 .. 4);
};


$t->done;
