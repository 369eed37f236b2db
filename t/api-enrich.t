#!/usr/bin/perl

# Look-ups over HTTP: one address, and many at once.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use Test::Defender;
use Test::Defender::Answer qw(outcome_field);
use Test::More;
use Time::HiRes qw(sleep time);

use constant BATCH_MAX => 10_000;

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim;

my $server = <<'END';
        location /gzip/ {
            gzip on;
            gzip_types application/json;
            gzip_min_length 1;
            defender_api;
            defender_role viewer;
        }

        location /slow/ {
            limit_rate 4m;
            defender_api;
            defender_role viewer;
        }

        location = /stub {
            stub_status;
        }
END

$t->conf($t->standard_conf(server => $server))->run;

my @viewer = (role => 'viewer');
my @json   = ('Content-Type' => 'application/json');
my @ndjson = ('Content-Type' => 'application/x-ndjson');


sub ask { return $t->get("/defender/enrich?$_[0]", @viewer) }


sub batch {
    my ($body, %more) = @_;

    return $t->post('/defender/enrich', @viewer, headers => \@json,
        body => ref $body ? $t->json_encode($body) : $body, %more);
}


sub lines {
    my ($body, %more) = @_;

    return $t->post('/defender/enrich', @viewer, headers => \@ndjson,
        body => $body, %more);
}


# The verdicts of a long answer, in order: JSON::PP needs seconds for it.
sub matches { return $_[0]->body =~ /"match":"(\w+)"/g }


sub count_exact { return scalar grep { $_ eq 'exact' } matches($_[0]) }


# An entity without the moment of the question.
sub plain {
    my ($entity) = @_;

    my %plain = %$entity;
    delete @plain{qw(at asOf)};

    return \%plain;
}


subtest 'before there are data' => sub {
    my $r = ask('ip=10.20.1.11');

    is($r->status, 200, 'unavailable is an answer');
    is($r->json->{match}, 'unavailable', 'match');
    is($r->json->{ip}, '10.20.1.11', 'ip');
    like($r->json->{reason}, qr/^(?:no-data|not-configured)$/, 'reason');
    is(batch(['10.20.1.11'])->json->[0]{match}, 'unavailable', 'in a batch');
};

$t->configure;
$t->wait_match('10.20.1.11', 'exact') or BAIL_OUT('no devices');

subtest 'one address' => sub {
    my $r = ask('ip=10.20.1.11');

    is($r->status, 200, 'status');
    is($r->header('Content-Type'), 'application/json', 'type');
    is($r->header('Content-Length'), length $r->body, 'length');

    my $entity = $r->json;
    is($entity->{source}, 'Microsoft Defender', 'source');
    is($entity->{match}, 'exact', 'match');
    is($entity->{ip}, '10.20.1.11', 'ip');
    like($entity->{id}, qr/^[0-9a-f]{40}$/, 'id');
    like($entity->{at}, qr/^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, 'at');

    $r = ask('ip=10.99.99.99');
    is($r->status, 200, 'no device is an answer');
    is($r->json->{match}, 'none', 'none');
    is($r->json->{id}, undef, '... with no device in it');
};

subtest 'spellings of addresses' => sub {
    my $device = ask('ip=10.20.1.11')->json->{id};

    for my $ip (qw(10.20.1.11 10%2e20%2e1%2e11 %31%30.20.1.11
        ::ffff:10.20.1.11 ::FFFF:0A14:010B 0:0:0:0:0:ffff:10.20.1.11
        ::ffff%3A10.20.1.11))
    {
        my $entity = ask("ip=$ip")->json;
        is("$entity->{match} $entity->{id} $entity->{ip}",
            "exact $device 10.20.1.11", $ip);
    }

    for my $ip ('2001:DB8:0:0:0:0:0:2A', '2001:db8::2a', '2001:0db8::002a',
        '2001:db8::2a%25eth0', '2001%3adb8%3a%3a2a')
    {
        is(ask("ip=$ip")->json->{ip}, '2001:db8::2a', $ip);
    }

    for my $ip ('fe80::1%253', 'fe80::1%2525eth0', '127.0.0.1', '::1',
        '224.0.0.1', '255.255.255.255', '0.0.0.0', '::')
    {
        is(ask("ip=$ip")->json->{match}, 'none', "$ip names no device");
    }

    for my $ip ('', '10.20.1', '10.20.1.011', '010.20.1.11', '10.20.1.256',
        '10.20.1.11:443', '10.20.1.11/32', '[::1]', '2001:db8::2a::1',
        '12345::', '0x0a.20.1.11', '169148683', '10.20.1.11%20',
        '%2010.20.1.11', '10.20.1.11%00', '10.20.1.11%0a', 'host.example',
        '10.20.1.11,10.20.1.12', '-', 'null', '1' x 500, '%31' x 100,
        '10.20.1.1%', '10.20.1.1%3', '10.20.1.%zz1', '+10.20.1.11',
        "10.20.1.11\xff", '1::2%' . 'x' x 200)
    {
        my $shown = $ip =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
        $shown = substr($shown, 0, 40) . '...' if length $shown > 43;
        is(outcome_field(ask("ip=$ip")), '400 invalid_ip ip', "ip=$shown");
    }

    is(outcome_field(ask('')), '400 invalid_ip ip', 'no ip');
    is(outcome_field(ask('ip')), '400 invalid_ip ip', 'ip without a value');
    is(outcome_field(ask('xip=10.20.1.11')), '400 invalid_ip ip', 'another name');
    is(ask('x=1&ip=10.20.1.11&y=2')->json->{match}, 'exact',
        'between others');
    is(outcome_field($t->get('/defender/enrich', @viewer)), '400 invalid_ip ip',
        'no arguments');
};

subtest 'a moment' => sub {
    my %same = (
        '2026-11-25T01:00:00Z'          => '2026-11-25T01:00:00Z',
        '2026-11-25T01:00:00.1234567Z'  => '2026-11-25T01:00:00Z',
        '2026-11-25T02:00:00+01:00'     => '2026-11-25T01:00:00Z',
        '2026-11-25T02:00:00%2B01:00'   => '2026-11-25T01:00:00Z',
        '2026-11-25T02%3A00%3A00%2B0100' => '2026-11-25T01:00:00Z',
        '2026-11-24T20:00:00-05:00'     => '2026-11-25T01:00:00Z',
        '1795568400'                    => '2026-11-25T01:00:00Z',
        '1795568400.75'                 => '2026-11-25T01:00:00Z',
        '1795568400.123456789'          => '2026-11-25T01:00:00Z',
        '1795568400123'                 => '2026-11-25T01:00:00Z',
        '0'                             => '1970-01-01T00:00:00Z',
        '99999999999'                   => '5138-11-16T09:46:39Z',
        '253402300799999'               => '9999-12-31T23:59:59Z',
    );

    for my $at (sort keys %same) {
        is(ask("ip=10.20.1.11&at=$at")->json->{at}, $same{$at}, "at=$at");
    }

    for my $at ('', 'now', 'yesterday', '2026-11-25', '2026-11-25T25:00:00Z',
        '2026-02-30T00:00:00Z', '2026-11-25T01:00:00', '-1', '1e9', '1795568400.',
        '.5', '1795568400.x', '1795568400123.5', '253402300800000',
        '999999999999999', '1' x 16, '1' x 400, '1795568400 ',
        '1795568400%00', '0x6b0000')
    {
        (my $query = $at) =~ s/ /%20/g;
        my $shown = length $at > 40 ? substr($at, 0, 20) . '...' : $at;
        is(outcome_field(ask("ip=10.20.1.11&at=$query")), '400 invalid_at at',
            "at=$shown");
    }

    my $now = ask('ip=10.20.1.11')->json;
    my $old = ask('ip=10.20.1.11&at=' . (int(time) - 20 * 86_400))->json;
    is($now->{match}, 'exact', 'the verdict now');
    isnt($old->{match}, 'exact', 'is not that of three weeks ago');
};

subtest 'a batch' => sub {
    my $r = batch(['10.20.1.11', '10.99.99.99', '2001:DB8::2A', '10.20.1.12']);

    is($r->status, 200, 'status');
    is($r->header('Content-Type'), 'application/json', 'type');
    is($r->header('Content-Length'), length $r->body, 'a short one has a length');
    is(join(' ', map { "$_->{ip}=$_->{match}" } @{$r->json}),
        '10.20.1.11=exact 10.99.99.99=none 2001:db8::2a=exact 10.20.1.12=exact',
        'in order');
    is_deeply(plain($r->json->[0]), plain(ask('ip=10.20.1.11')->json),
        'the same as one by one');

    is(batch('[]')->body, '[]', 'nothing asked');
    is(batch(" [\n]\t\r\n")->body, '[]', 'nothing asked, with blanks');
    is(scalar @{batch("\n[ \"10.0.0.1\" ,\t\"10.0.0.2\"\r\n]\n")->json}, 2,
        'blanks everywhere');
    is(scalar @{batch('["10.0.0.1","10.0.0.1"]')->json}, 2, 'one twice');
    is(batch('["10\u002e20.1.11"]')->json->[0]{match}, 'exact', 'an escape');
};

subtest 'elements with a time' => sub {
    my $r = batch([
        {ip => '10.20.1.11'},
        {ip => '10.20.1.11', at => '2026-11-25T01:00:00Z'},
        {at => 1795568400, ip => '10.20.1.11'},
        {ip => '10.20.1.11', at => 1795568400123},
        {ip => '10.20.1.11', at => 1795568400.5},
        {ip => '10.20.1.11', at => '1795568400'},
        {ip => '10.20.1.11', at => undef},
    ]);

    is(join(' ', map { $_->{at} } @{$r->json}[1 .. 5]),
        join(' ', ('2026-11-25T01:00:00Z') x 5), 'any spelling');
    is($r->json->[0]{match}, 'exact', 'none is now');
    is($r->json->[6]{at}, $r->json->[0]{at}, 'null is now');

    for my $at ('soon', -1, 1e20, -0.5, JSON::PP::true, [], {}, '') {
        my $entity = batch([{ip => '10.20.1.11', at => $at}])->json->[0];
        is_deeply($entity, {
            source => 'Microsoft Defender',
            match  => 'unavailable',
            reason => 'not-a-time',
            ip     => '10.20.1.11',
        }, 'at ' . $t->json_encode($at));
    }
};

subtest 'elements that are no address' => sub {
    my @odd = ('', 'host.example', '10.20.1.11:80', '10.20.1.011', ' 10.0.0.1',
        "quote\" backslash\\ tab\t", "\x{e9}\x{1F600}", "\0", 'x' x 100_000);

    my $r = batch([map { ($_, '10.20.1.11') } @odd]);

    is(scalar @{$r->json}, 2 * @odd, 'each has an answer');

    for my $i (0 .. $#odd) {
        my $shown = length $odd[$i] > 40 ? 'long' :
            JSON::PP->new->ascii->allow_nonref->encode($odd[$i]);
        is_deeply($r->json->[2 * $i], {
            source => 'Microsoft Defender',
            match  => 'none',
            reason => 'not-an-address',
            ip     => $odd[$i],
        }, "$shown: given back");
        is($r->json->[2 * $i + 1]{match}, 'exact', '... and the next is right');
    }

    $r = batch('[1,null,true,1.5,[],["10.20.1.11"],{},{"ip":7},{"at":1},'
        . '{"ip":null},"10.20.1.11"]');
    is($r->status, 200, 'no strings');
    is_deeply([map { "$_->{match} " . ($_->{reason} // '-') . ' '
        . ($_->{ip} // '-') } @{$r->json}],
        [('none not-an-address -') x 10, 'exact - 10.20.1.11'],
        '... each at its place');
};

subtest 'bodies that are no batch' => sub {
    my @cases = (
        # body, code, position or element
        ['', 'invalid_json', 0],
        ['   ', 'invalid_json', 3],
        ['[', 'invalid_json', 1],
        ['["10.0.0.1"', 'invalid_json', 11],
        ['["10.0.0.1",', 'invalid_json', 12],
        ['["10.0.0.1",]', 'invalid_json', 13],
        ['[,"10.0.0.1"]', 'invalid_json', 2],
        ['["10.0.0.1""10.0.0.2"]', 'invalid_json', 11],
        ['["10.0.0.1"}', 'invalid_json', 11],
        ['["10.0.0.1"] x', 'invalid_json', 13],
        ['["10.0.0.1"][]', 'invalid_json', 12],
        ['[10.0.0.1]', 'invalid_json', 5],
        ["['10.0.0.1']", 'invalid_json', 2],
        ['["10.0.0.1]', 'invalid_json', 11],
        ["[\"10.0.0.1\n\"]", 'invalid_json', 10],
        ["[\"\xff\"]", 'invalid_json', 2],
        ['["\ud800"]', 'invalid_json', undef],
        ['[tru]', 'invalid_json', undef],
        ['[{"ip":"10.0.0.1","ip":"10.0.0.2"}]', 'invalid_json', undef],
        ["\xef\xbb\xbf[]", 'invalid_json', undef],
        ['10.0.0.1', 'invalid_json', undef],
        ['ip=10.0.0.1', 'invalid_json', undef],
        ['[' x 3000, 'invalid_json', undef],
        ['{"ip":"10.0.0.1"}', 'invalid_body', undef],
        ['"10.0.0.1"', 'invalid_body', undef],
        ['17', 'invalid_body', undef],
        ['null', 'invalid_body', undef],
        ['["10.0.0.1",{"ip":"10.0.0.1","when":1}]', 'invalid_element', 2],
        ['[{"IP":"10.0.0.1"}]', 'invalid_element', 1],
    );

    for my $case (@cases) {
        my ($body, $code, $where) = @$case;
        my $r = batch($body);
        my $shown = $body =~ s/([^ -~])/sprintf '\\x%02x', ord $1/ger;
        $shown = substr($shown, 0, 40) . '...' if length $shown > 43;

        is(outcome_field($r), "400 $code", "body $shown");
        is($r->json->{$code eq 'invalid_json' ? 'position' : 'element'},
            $where, '... where') if defined $where;
        cmp_ok($r->json->{position}, '<=', length $body,
            '... inside of the body') if $code eq 'invalid_json';
    }

    # Far behind the first step, when nothing was sent yet.
    my $many = '"10.0.0.1",' x 5000;
    my $r = batch("[$many oops]");
    is(outcome_field($r), '400 invalid_json', 'an error behind 5000 good ones');
    is(int($r->json->{position} / 10), int((length($many) + 3) / 10),
        '... at its place');
};

subtest 'NDJSON' => sub {
    my $r = lines(qq("10.20.1.11"\n{"ip":"10.20.1.12","at":1795568400}\n"x"\n));

    is($r->status, 200, 'status');
    is($r->header('Content-Type'), 'application/x-ndjson', 'type');
    my @lines = split /\n/, $r->body, -1;
    is(scalar @lines, 4, 'a line for each, with an end');
    is($lines[3], '', 'nothing behind the last line end');
    is_deeply([map { $_->{ip} } $r->json_lines],
        ['10.20.1.11', '10.20.1.12', 'x'], 'in order');

    is(scalar(() = lines(qq("10.20.1.11"\n"10.20.1.12"))->json_lines), 2,
        'the last line without an end');
    is(scalar(() = lines(qq(\n\n"10.20.1.11"\r\n \t \r\n"10.20.1.12"\r\n\n))
        ->json_lines), 2, 'blank lines, CRLF');

    for my $empty ('', "\n", "\n \r\n\n") {
        $r = lines($empty);
        is($r->status . ' ' . $r->header('Content-Length') . $r->body, '200 0',
            'no line: an empty answer');
    }

    my @cases = (
        [qq("10.0.0.1" "10.0.0.2"\n), 'invalid_json'],
        [qq("10.0.0.1"\n10.0.0.2\n), 'invalid_json'],
        [qq({"ip":\n"10.0.0.1"}\n), 'invalid_json'],
        [qq("10.0.0.1"\n{"ip":"10.0.0.1"\n), 'invalid_json'],
        [qq("10.0.0.1",\n), 'invalid_json'],
        [qq({"ip":"10.0.0.1","x":1}\n), 'invalid_element'],
    );

    for my $case (@cases) {
        my ($body, $code) = @$case;
        (my $shown = $body) =~ s/\n/\\n/g;
        is(outcome_field(lines($body)), "400 $code", $shown);
    }

    is(lines(qq("10.0.0.1"\n"10.0.0.2"\noops\n))->json->{position}, 26,
        'the position in the body');
    is(lines(qq(["10.20.1.11"]\n))->json->{reason}, 'not-an-address',
        'an array is one element');
};

subtest 'as many as allowed' => sub {
    my @ips  = map { $_ % 3 ? '10.20.1.11' : "10.9.$_" } 1 .. BATCH_MAX;
    my @want = map { /^10\.20/ ? 'exact' : 'none' } @ips;

    my $r = batch(\@ips);
    is($r->status, 200, '10,000');
    ok($r->complete, 'complete');
    is_deeply([matches($r)], \@want, 'all in order');
    like($r->body, qr/^\[\{[^\n]*\}\]$/, 'one array');

    $r = lines(join '', map { qq("$_"\n) } @ips);
    is_deeply([matches($r)], \@want, 'as lines');
    is(scalar(() = $r->body =~ /^\{.*\}$/mg), BATCH_MAX, 'one line for each');

    $r = batch([@ips, '10.20.1.11']);
    is(outcome_field($r), '413 too_many', 'one more');
    $r = lines(join '', map { qq("$_"\n) } @ips, '10.20.1.11');
    is(outcome_field($r), '413 too_many', 'one more line');

    for my $n (1, 2, 511, 512, 513, 1023, 1024, 1025) {
        $r = batch([('10.20.1.11') x $n]);
        is(count_exact($r), $n, "$n elements");
        is(scalar(() = $r->body =~ /\},\{"source"/g), $n - 1, '... in an array');
    }

    $r = batch(\@ips, version => '1.0');
    is(scalar(() = matches($r)), BATCH_MAX, 'HTTP/1.0');
};

subtest 'clients of all kinds' => sub {
    my $body = $t->json_encode([('10.20.1.11') x BATCH_MAX]);
    my $send = sub {
        my ($path, %to) = @_;
        my $c = $t->connect(%to);
        $c->send(Test::Defender::HTTP::request_bytes(
            method => 'POST', uri => "$path/enrich", host => 'h', keep => 1,
            headers => ['X-Role' => 'viewer', @json], body => $body));
        return $c;
    };

    my $c = $send->('/defender', rcvbuf => 65_536);
    sleep 0.3;    # the client is busy, the server's buffers are full
    my $r = $c->response('POST');
    ok($r->complete, 'a client that is late');
    is(count_exact($r), BATCH_MAX, '... gets all of it');
    $c->send("GET /defender/enrich?ip=10.20.1.11 HTTP/1.1\r\nHost: h\r\n"
        . "X-Role: viewer\r\n\r\n");
    is($c->response('GET')->json->{match}, 'exact',
        '... and can ask again on this connection');
    $c->close;

    $c = $send->('/slow');
    $r = $c->response('POST');
    ok($r->complete, 'limit_rate');
    is(count_exact($r), BATCH_MAX, '... gets all of it');
    $c->close;

    for my $how (qw(close reset)) {
        $c = $send->('/defender', rcvbuf => 4096);
        $c->read_some(20_000);
        $c->$how;
    }
    $t->wait_for(sub { $t->get('/stub')->body =~ /^Active connections: 1 /m },
        10, 'those who leave are let go');

    my $out = $t->curl('--compressed', '-H', $json[0] . ': ' . $json[1],
        '--data-binary', '@' . $t->write_file('body', $body),
        'http://127.0.0.1:' . $t->port . '/gzip/enrich')->{out};
    is(scalar(() = $out =~ /"match":"exact"/g), BATCH_MAX, 'packed');

    # Others are served between the steps of a batch.
    my @batches = map { $send->('/defender') } 1 .. 4;
    my $slowest = 0;
    for (1 .. 20) {
        my $begin = time;
        ask('ip=10.20.1.11');
        my $took = time - $begin;
        $slowest = $took if $took > $slowest;
    }
    cmp_ok($slowest, '<', 0.25 * $t->slowness, 'nobody waits for a batch');
    is(scalar(grep { $_->response('POST')->complete } @batches), 4,
        '... which come to their end');
    $_->close for @batches;
};

subtest 'what changes reaches the next look-up' => sub {
    my $id = ask('ip=10.20.1.12')->json->{id};

    $t->sim->patch_device($id, computerDnsName => 'renamed.corp.example');
    $t->redis->cmd(DEL => 'defender:sync');
    is($t->post('/defender/sync', role => 'admin', json => '')->status, 202,
        'a poll is asked for');
    ok($t->wait_for(sub {
        (ask('ip=10.20.1.12')->json->{computerDnsName} // '')
            eq 'renamed.corp.example';
    }, 20, 'the new name is served'), 'the new name is served');

    my %before = %{$t->get('/defender/status', @viewer)
        ->json->{counters}{lookups}};
    batch([('10.20.1.11') x 700, ('10.99.9.9') x 2, 'x',
        {ip => '10.20.1.11', at => 'x'}]);
    my %after = %{$t->get('/defender/status', @viewer)
        ->json->{counters}{lookups}};

    is($after{exact} - $before{exact}, 700, 'each is counted once');
    is($after{none} - $before{none}, 2, '... by its verdict');
    is($after{unavailable} - $before{unavailable}, 0,
        '... what was not looked up is not');
};

$t->done;
