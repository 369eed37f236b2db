#!/usr/bin/perl

# Settings: read, save, and what never comes out.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use Test::Defender;
use Test::Defender::Answer qw(outcome_field secret_is_inside);
use POSIX qw(strftime);
use Test::More;

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

my @viewer = (role => 'viewer');
my @admin  = (role => 'admin', user => 'kim');
my @json   = ('Content-Type' => 'application/json');
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


sub stored { return {$t->redis->hash(HGETALL => 'defender:config')} }


my $connection = {
    tenantId  => $t->sim->tenant,
    appId     => $t->sim->app,
    appSecret => $SECRET,
};

subtest 'nothing is configured' => sub {
    my $r = get_config();

    is($r->status, 200, 'status');
    is($r->header('ETag'), '"0"', 'ETag');
    is_deeply($r->json, {
        enabled       => FALSE,
        isolateEntity => FALSE,
        cloud         => 'commercial',
        pollMinutes   => 5,
        hasSecret     => FALSE,
        warnings      => [],
        revision      => 0,
    }, 'the defaults');

    is(outcome(put_config({})), '400 invalid_settings tenantId',
        'nothing to save');
    is(outcome(put_config({%$connection, appSecret => undef})),
        '400 invalid_settings appSecret', 'null is no secret');

    for my $missing (qw(tenantId appId appSecret)) {
        my %less = %$connection;
        delete $less{$missing};
        is(outcome(put_config(\%less)), "400 invalid_settings $missing",
            "the first time $missing is needed");
        is(outcome(verify(\%less)), "400 invalid_settings $missing",
            "... also to verify");
    }

    is(outcome(put_config($connection)), '409 not_verified verifyTicket',
        'not verified');
    is_deeply(stored(), {}, 'nothing was saved');
};

subtest 'bad input' => sub {
    my @wrong = (
        ['enabled', 'yes'], ['enabled', 1], ['enabled', undef],
        ['enabled', []],
        ['isolateEntity', 'true'], ['isolateEntity', 0],
        ['tenantId', ''], ['tenantId', 7], ['tenantId', undef],
        ['tenantId', 'contoso.com/../common'], ['tenantId', 'contoso'],
        ['tenantId', 'a b.example'], ['tenantId', "contoso.com\n\nx"],
        ['tenantId', 'x' x 300 . '.example'],
        ['tenantId', 'contoso.com?x=1'], ['tenantId', 'contoso.com#x'],
        ['tenantId', '11111111-2222-4333-8444-55555555555'],
        ['appId', ''], ['appId', 'contoso.onmicrosoft.com'], ['appId', {}],
        ['appId', 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeeg'],
        ['appSecret', ''], ['appSecret', 42], ['appSecret', " $OTHER"],
        ['appSecret', "$OTHER\n"], ['appSecret', "a\tb"],
        ['appSecret', 'x' x 513],
        ['cloud', ''], ['cloud', 'moon'], ['cloud', 'Commercial'],
        ['cloud', 'https://evil.example'], ['cloud', undef],
        ['pollMinutes', 4], ['pollMinutes', 0], ['pollMinutes', -5],
        ['pollMinutes', 1441], ['pollMinutes', 5.5], ['pollMinutes', '5'],
        ['pollMinutes', undef], ['pollMinutes', TRUE],
        ['api', 'https://evil.example'], ['endpoint', 'x'],
        ['appsecret', $OTHER], ['TenantId', 'contoso.com'],
        ["\x{1F600}", 1], ['verifyticket', 'x'],
    );

    for my $case (@wrong) {
        my ($name, $value) = @$case;
        my %settings = (%$connection, $name => $value);
        my $shown = JSON::PP->new->ascii->allow_nonref->encode($value);
        $shown = substr($shown, 0, 40) . '...' if length $shown > 43;

        for my $r (put_config(\%settings), verify(\%settings)) {
            is(Test::Defender::Answer::outcome($r), '400 invalid_settings',
                ($name =~ /^\w+$/a ? $name : 'odd name') . ": $shown");
            is($r->json->{field}, $name, '... and the field is named');
            cmp_ok(length $r->json->{detail}, '>', 10, '... with a reason');
            push @answers, $r->raw_header . $r->body;
        }
    }

    my @bodies = (
        ['', 'invalid_json'],
        [' ', 'invalid_json'],
        ['{', 'invalid_json'],
        ['{"enabled":true', 'invalid_json'],
        ['{"enabled":true}}', 'invalid_json'],
        ['{"enabled":true} x', 'invalid_json'],
        ["{'enabled':true}", 'invalid_json'],
        ['{"enabled":True}', 'invalid_json'],
        ['{"enabled":true,}', 'invalid_json'],
        ['{"enabled":true,"enabled":false}', 'invalid_json'],
        ['{"pollMinutes":05}', 'invalid_json'],
        ['{"pollMinutes":1e999}', 'invalid_json'],
        ['{"pollMinutes":99999999999999999999}', 'invalid_json'],
        ["{\"appSecret\":\"$OTHER\"", 'invalid_json'],
        ["{\"appSecret\":\"$OTHER\n\"}", 'invalid_json'],
        ["{\"appSecret\":\"$OTHER\\u0000\"}", 'invalid_json'],
        ["{\"appSecret\":\"$OTHER\\ud800\"}", 'invalid_json'],
        ["{\"appSecret\":\"$OTHER\xff\"}", 'invalid_json'],
        ["\xef\xbb\xbf{}", 'invalid_json'],
        ['[]', 'invalid_settings'],
        ['[{"enabled":true}]', 'invalid_settings'],
        ['"enabled"', 'invalid_json'],
        ['true', 'invalid_json'],
        ['null', 'invalid_json'],
        ['enabled=true', 'invalid_json'],
        ['[' x 3000, 'invalid_json'],
        ['{"a":' x 1500, 'invalid_json'],
    );

    for my $case (@bodies) {
        my ($body, $want) = @$case;
        my $shown = $body =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
        $shown = substr($shown, 0, 40) . '...' if length $shown > 43;

        for my $r (
            $t->put('/defender/config', @admin, headers => \@json,
                body => $body),
            $t->post('/defender/config/verify', @admin, headers => \@json,
                body => $body))
        {
            is(Test::Defender::Answer::outcome($r), "400 $want",
                "body $shown");
            push @answers, $r->raw_header . $r->body;
        }
    }

    my $r = $t->put('/defender/config', @admin, headers => \@json,
        body => '{"enabled":tru}');
    is($r->json->{position}, 14, 'the position is told');

    is_deeply(stored(), {}, 'nothing was saved');
    is($t->sim->log(family => 'token'), 0, 'Microsoft was not asked');
};

subtest 'save' => sub {
    my $ticket = ticket_for($connection);
    my $r      = put_config({%$connection, enabled => TRUE,
        verifyTicket => $ticket});

    is($r->status, 200, 'status');
    is($r->header('ETag'), '"1"', 'ETag');

    my $config = $r->json;
    my ($print, $at) = map { delete $config->{$_} }
        qw(secretFingerprint updatedAt);

    is_deeply($config, {
        enabled       => TRUE,
        isolateEntity => FALSE,
        tenantId      => $t->sim->tenant,
        appId         => $t->sim->app,
        cloud         => 'commercial',
        pollMinutes   => 5,
        hasSecret     => TRUE,
        updatedBy     => 'kim',
        changedFields => [qw(enabled tenantId appId appSecret)],
        warnings      => [],
        revision      => 1,
    }, 'what was saved');
    like($print, qr/^[0-9a-f]{16}$/, 'fingerprint');
    like($at, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'when');

    is(get_config()->body, $r->body, 'and what is read');
    is(get_config()->header('ETag'), '"1"', 'with its ETag');

    my $stored = stored();
    is(join(' ', sort keys %$stored), 'revision secret settings', 'stored');
    is($stored->{revision}, 1, 'revision');
    unlike($stored->{settings}, qr/canary/, 'settings have no secret');
    unlike($stored->{secret}, qr/canary/, 'the secret is sealed');

    my $log = $t->error_log;
    like($log, qr/\[notice\] .*audit: config\.save by "kim" from 127\.0\.0\.1: done, revision 1: enabled, tenantId, appId, appSecret$/m,
        'one line tells who and what');

    # Devices come without anything else being done.
    $t->wait_devices(undef);
    is($t->wait_match('10.20.1.11', 'exact')->{ip}, '10.20.1.11',
        'and are looked up');

    # Back with all that GET gave.
    $r = put_config({%{get_config()->json}, pollMinutes => 7});
    is($r->status, 200, 'what was read can be sent back');
    is($r->json->{pollMinutes}, 7, '... changed');
    is($r->json->{secretFingerprint}, $print, '... with the same secret');
    is($r->json->{revision}, 2, '... as a new revision');

    $r = put_config({appSecret => $SECRET});
    is($r->status, 200, 'the same secret once more needs no ticket');
    is($r->json->{secretFingerprint}, $print, 'its fingerprint is the same');

    $r = put_config({pollMinutes => 5}, user => "a\x7fb");
    is($r->json->{updatedBy}, 'a?b', 'a name without control characters');
    $r = put_config({pollMinutes => 5}, user => "J\xc3\xb8rgen \"J\"");
    is($r->json->{updatedBy}, "J\x{f8}rgen \"J\"", 'a name as it is spelled');
    $r = put_config({pollMinutes => 5}, user => "J\xf8rgen");
    is($r->json->{updatedBy}, 'J?rgen', 'a name that is no UTF-8');
    $r = put_config({pollMinutes => 5}, user => "\xc3\xb8" x 100);
    is($r->json->{updatedBy}, "\x{f8}" x 64, 'a long name is cut');
    $r = $t->put('/defender/config', role => 'admin',
        json => {pollMinutes => 5});
    is($r->json->{updatedBy}, '', 'no name');
};

subtest 'If-Match' => sub {
    my $revision = get_config()->json->{revision};
    my $try = sub {
        my ($value, $want, $what) = @_;
        my $r = put_config({pollMinutes => 6},
            headers => ['If-Match' => $value]);
        is(outcome($r), $want, $what);
        $revision++ if $want eq '200';
        is(get_config()->json->{revision}, $revision, '... by the revision');
        return $r;
    };

    $try->(qq("$revision"), '200', 'this one');
    my $r = $try->('"1"', '412 stale', 'an old one');
    is($r->json->{revision}, $revision, 'the answer tells the current one');
    is($r->json->{updatedBy}, 'kim', '... and who');
    is_deeply($r->json->{changedFields}, ['pollMinutes'], '... and what');
    like($r->json->{updatedAt}, qr/^20.*Z$/, '... and when');
    is($r->header('ETag'), qq("$revision"), '... and its tag');

    $try->('*', '200', 'any');
    $try->(qq(W/"$revision"), '412 stale', 'a weak one never fits');
    $try->($revision, '412 stale', 'without quotes');
    $try->('', '412 stale', 'empty');
    $try->(qq("1", "$revision"), '200', 'one of a list');
    $try->(qq("1","$revision" , "x"), '200', 'in the middle of a list');
    $try->('"1", "2"', '412 stale', 'none of a list');
    $try->('"' . ($revision + 1) . '"', '412 stale', 'a coming one');
    $try->(qq("0$revision"), '412 stale', 'the same number, not the same tag');

    is(outcome(put_config({pollMinutes => 3},
        headers => ['If-Match' => '"1"'])), '412 stale',
        'it is judged before the values');

    is(get_config(headers => ['If-None-Match' => qq("$revision")])->status,
        304, 'GET: nothing new');
    is(get_config(headers => ['If-None-Match' => '"1"'])->status, 200,
        'GET: something new');
};

subtest 'two at the same time' => sub {
    my $revision = get_config()->json->{revision};
    my $put      = sub {
        my ($minutes, @headers) = @_;
        my $c = $t->connect;
        $c->send(Test::Defender::HTTP::request_bytes(
            method => 'PUT', uri => '/defender/config', host => 'h',
            body => qq({"pollMinutes":$minutes}),
            headers => ['X-Role' => 'admin', @json, @headers]));
        return $c;
    };

    # All read the same revision before the first one writes.
    $t->redis->sigstop;
    my @match = ('If-Match' => qq("$revision"));
    my @two   = map { $put->($_, @match) } 11, 12;
    $t->redis->sigcont;

    is(join(' | ', sort map { outcome($_->response('PUT')) } @two),
        '200 | 412 stale', 'with If-Match one of two wins');
    is(get_config()->json->{revision}, $revision + 1, '... and is saved');

    $t->redis->sigstop;
    @two = map { $put->($_) } 13, 14;
    $t->redis->sigcont;

    is(join(' | ', map { outcome($_->response('PUT')) } @two), '200 | 200',
        'without it both are saved');
    is(get_config()->json->{revision}, $revision + 3, '... one after the other');
};

subtest 'a stored record that is not ours' => sub {
    my %good = %{stored()};
    my $set  = sub {
        $t->redis->cmd(DEL => 'defender:config');
        my %fields = (%good, @_);
        delete @fields{grep { !defined $fields{$_} } keys %fields};
        $t->redis->cmd(HSET => 'defender:config', %fields);
    };

    my @broken = (
        ['no revision', revision => undef],
        ['revision 0', revision => 0],
        ['a negative revision', revision => -1],
        ['a word as revision', revision => 'one'],
        ['a huge revision', revision => '9' x 30],
        ['no settings', settings => undef],
        ['empty settings', settings => ''],
        ['settings that are no JSON', settings => '{"enabled":'],
        ['settings that are no object', settings => '[]'],
        ['settings of another kind', settings => '{"enabled":1}'],
        ['settings without a tenant', settings => '{"enabled":true}'],
        ['settings with a host', settings =>
            $good{settings} =~ s/\}$/,"api":"https:\/\/evil.example"}/r],
        ['settings of a megabyte', settings => $good{settings} . ' ' x 1e6],
    );

    for my $case (@broken) {
        my ($what, @change) = @$case;
        $set->(@change);
        is(outcome(get_config()), '500 config_broken', $what);
    }

    $set->(settings => '{"enabled":');
    is(outcome(put_config({enabled => TRUE})), '400 invalid_settings tenantId',
        'broken settings are not patched');
    is(outcome(put_config({%$connection, enabled => TRUE,
        verifyTicket => ticket_for($connection)})), '200',
        'but can be written anew');
    is(get_config()->json->{revision}, $good{revision} + 1,
        '... as the next revision');

    my $flipped = $good{secret};
    substr($flipped, -10, 1) =~ tr/A-Za-z0-9_-/B-ZAb-za1-90\-_/;

    for my $case (['changed', $flipped], ['cut', substr $good{secret}, 0, -5],
        ['nothing of ours', 'hello'], ['empty', ''], ['long', 'x' x 20_000])
    {
        my ($what, $secret) = @$case;
        $set->(secret => $secret);

        my $r = get_config();
        is($r->status, 200, "a secret that is $what: the settings are shown");
        is($r->json->{hasSecret}, TRUE, '... there is one');
        like($r->json->{secretError}, qr/./, '... and what is wrong with it');
        is(outcome(verify({})), '409 secret_unreadable appSecret',
            '... it cannot be tried');
        is(outcome(put_config({enabled => FALSE})), '200',
            '... the integration can be switched off');
        is(stored()->{secret}, $secret, '... which leaves it as it was');
    }

    my $ticket = ticket_for($connection);
    is(outcome(put_config({appSecret => $SECRET, verifyTicket => $ticket})),
        '200', 'the secret can be entered again');
    is(get_config()->json->{secretError}, undef, '... and all is well');

    $set->(settings => $good{settings} =~ s/\}$/,"appSecret":"$OTHER"}/r);
    is(outcome(get_config()), '200', 'a plain secret among the settings');
    unlike(get_config()->body, qr/canary/, '... is not shown');

    $set->();
};

subtest 'conditions of the host' => sub {
    # The same Redis, another key.
    my $other = Test::Defender->new;
    $other->{sim} = $t->sim;
    $other->conf($other->standard_conf(
        redis => "unix:$dir/redis.sock"))->run;

    my $r = $other->get('/defender/config', @viewer);
    is($r->status, 200, 'another key: settings are shown');
    like($r->json->{secretError}, qr/other key|another key/,
        'another key: and what is wrong');
    is($other->put('/defender/config', @admin, json => {pollMinutes => 9})
        ->status, 200, 'another key: what needs no secret can be saved');
    is(outcome($other->put('/defender/config', @admin,
        json => {%$connection, verifyTicket => ticket_for($connection)})),
        '409 not_verified verifyTicket',
        'another key: its tickets are not ours');
    $other->finish;

    my $keyless = Test::Defender->new;
    $keyless->{sim} = $t->sim;
    my $text = $keyless->standard_conf(redis => "unix:$dir/redis.sock");
    $text =~ s/^\s*defender_key .*$//m;
    $keyless->conf($text)->run;

    $r = $keyless->get('/defender/config', @viewer);
    is($r->status, 200, 'no key: settings are shown');
    like($r->json->{secretError}, qr/defender_key/,
        'no key: the directive is named');
    for my $r (
        $keyless->post('/defender/config/verify', @admin, json => $connection),
        $keyless->put('/defender/config', @admin,
            json => {%$connection, appSecret => $OTHER}))
    {
        is(outcome($r), '409 no_key', 'no key: nothing to seal with');
        like($r->json->{detail}, qr/defender_key/,
            'no key: the directive is named');
    }
    is($keyless->put('/defender/config', @admin, json => {enabled => FALSE})
        ->status, 200, 'no key: it can be switched off');
    $keyless->finish;
};

subtest 'switched off and on' => sub {
    put_config({enabled => TRUE});
    $t->wait_match('10.20.1.11', 'exact');

    is(put_config({enabled => FALSE})->status, 200, 'off');
    my $entity = $t->entity('10.20.1.11');
    is($entity->{match}, 'unavailable', 'the next look-up knows');
    is($entity->{reason}, 'disabled', '... and why');

    is(put_config({enabled => TRUE})->status, 200, 'on');
    is($t->entity('10.20.1.11')->{match}, 'exact', 'the data were kept');
};

subtest 'when the secret expires' => sub {
    my $day   = sub { strftime '%Y-%m-%d', gmtime(time + 86400 * $_[0]) };
    my $short = sub {
        return join ' ', map { "$_->{code}:$_->{days}"
            . ($_->{within} ? ":$_->{within}" : '') } @{$_[0]{warnings}};
    };

    for my $case (
        [31, ''], [30, 'secret_expires_soon:30:30'],
        [8, 'secret_expires_soon:8:30'], [7, 'secret_expires_soon:7:7'],
        [2, 'secret_expires_soon:2:7'], [1, 'secret_expires_soon:1:1'],
        [0, 'secret_expires_soon:0:1'], [-1, 'secret_expired:-1'])
    {
        my ($days, $want) = @$case;
        my $r = put_config({secretExpiresAt => $day->($days)});
        is($r->status, 200, "in $days days: needs no ticket");
        is($short->($r->json), $want, '... the warning');
        is($short->(get_config()->json), $want, '... also when read');
        is($r->json->{secretExpiresAt}, $day->($days), '... the date');
    }

    is_deeply(put_config({secretExpiresAt => undef})->json->{warnings}, [],
        'null takes it back');
    is(get_config()->json->{secretExpiresAt}, undef, '... it is gone');

    for my $wrong ('tomorrow', '2027-02-30', 20271125, TRUE, '') {
        is(outcome(put_config({secretExpiresAt => $wrong})),
            '400 invalid_settings secretExpiresAt', "no date: '$wrong'");
    }

    # A date is that of one secret.
    put_config({secretExpiresAt => $day->(5)});
    is(put_config({%{get_config()->json}, pollMinutes => 9})
        ->json->{secretExpiresAt}, $day->(5), 'it stays with the secret');
    $t->sim->knobs(reset => TRUE, rate_minute => undef);
    my $secret = $t->sim->secret;
    is(put_config({appSecret => $secret})->json->{secretExpiresAt},
        $day->(5), 'the same secret once more');
    $t->redis->cmd(HSET => 'defender:config', secret => 'broken');
    my $ticket = ticket_for({%$connection, appSecret => $secret});
    is(put_config({appSecret => $secret, verifyTicket => $ticket})
        ->json->{secretExpiresAt}, undef, 'a new one has none');

    ok($t->wait_for(sub {
        my $warnings = $t->get('/defender/status', @viewer)->json->{warnings};
        return ref $warnings eq 'ARRAY' && !@$warnings;
    }, 10, 'the status without warnings'), 'the status has a list of them');
};

subtest 'the secret stays inside' => sub {
    secret_is_inside($t, qr/canary/, @answers);
};

$t->done;
