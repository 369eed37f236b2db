#!/usr/bin/perl

# Bodies as they come in the field: which device is found in them, and that
# nothing else in them changes.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Enrich qw(strip insertions matches);

my $t = Test::Defender->new;

$t->start_redis;
my $sim = $t->start_sim;
$t->start_upstream;

$t->conf($t->standard_conf(
    http   => "log_format enrich '\$arg_id|\$defender_enrich_status';",
    server => 'access_log %%DIR%%/enrich.log enrich;'
        . 'client_max_body_size 8m;'))->run;
$t->configure;
$t->wait_devices;

my $id = 0;


# Sends a body through the proxy; (the answer's body, the logged status).
sub through {
    my ($body, $query) = @_;

    $id++;
    my $r = $t->post("/d/x?id=$id" . ($query ? "&$query" : ''), body => $body);

    my $line = $t->wait_for(sub {
        return $t->read_file('enrich.log') =~ /^$id\|(.*)$/m ? $1 : undef;
    }, 5, 'log line');

    return ($r->body, $line);
}


# A body in which these devices are found, and nothing else changes.
sub finds {
    my ($title, $body, $matches, $query, $status) = @_;

    my ($got, $line) = through($body, $query);

    is_deeply([matches($got)], $matches, "$title: devices");
    is(strip($got), $body, "$title: the rest is the upstream's");
    is($line, $status, "$title: status") if defined $status;
}


# A body that passes byte for byte.
sub passes {
    my ($title, $body, $query, $status) = @_;

    my ($got, $line) = through($body, $query);

    is($got, $body, "$title: as it came");
    is($line, $status, "$title: status") if defined $status;
}


# Addresses.

passes('loopback and link-local',
    '{"src_ip":"127.0.0.1","dest_ip":"169.254.10.20"}', '', 'enriched=0');
passes('the same of IPv6', '{"src_ip":"::1","dest_ip":"fe80::1"}');
passes('unspecified, multicast, broadcast',
    '["0.0.0.0","::","224.0.0.1","ff02::1","255.255.255.255",'
    . '{"a":"0.0.0.0"}]');
passes('an external address is nobody\'s', '{"dest_ip":"203.0.113.7"}');

finds('both ends known', '{"src_ip":"10.20.1.12","dest_ip":"10.20.1.11"}',
    ['dest_ip=exact:d1 src_ip=exact:d2']);

finds("IPv4 as IPv6: $_", "{\"src_ip\":\"$_\"}", ['src_ip=exact:d1'])
    for '::ffff:10.20.1.11', '::FFFF:0A14:010B',
        '0:0:0:0:0:ffff:10.20.1.11';

finds("IPv6 spelling $_", "{\"src_ip\":\"$_\"}", ['src_ip=exact:d2'])
    for '2001:DB8:0:0:0:0:0:2A', '2001:db8::2a', '2001:0db8::002a',
        '2001:db8::2a%eth0';

passes("link-local with a zone: $_", "{\"src_ip\":\"$_\"}")
    for 'fe80::1%3', 'fe80::1%25eth0';

passes("no address: $_", "{\"src_ip\":\"$_\"}")
    for '010.020.001.011', '10.20.1.011', '0x0a.20.1.11', '10.20.267',
        '169083147', '-', '', 'unknown', 'N/A', '0.0.0.0', '::';

passes("no address: $_", "{\"src_ip\":$_}")
    for qw(null 0 true [] {}), '169083147', '10.20';

passes("more than an address: $_", "{\"src_ip\":\"$_\"}")
    for '10.20.1.11:51514', '[2001:db8::2a]:443', '[2001:db8::2a]',
        ' 10.20.1.11 ', '10.20.1.11/24', 'http://10.20.1.11/';

finds('shared by several devices', '{"a":"172.17.0.1"}', ['a=ambiguous'],
    '', 'enriched=0 ambiguous=1' =~ s/enriched=0 //r);
{
    my ($got) = through('{"a":"172.17.0.1"}');
    my ($entity) = map { $_->{a} } insertions($got);
    is(scalar @{$entity->{candidates}}, 3, 'all candidates are told');
    ok(!exists $entity->{id}, 'but none is named');
}

passes('a merged record never answers', '{"a":"10.20.4.32"}');
finds('an old report', '{"a":"10.20.4.59"}', ['a=stale:31']);
finds('reinstalled: the living one', '{"a":"10.20.4.30"}', ['a=exact:1c']);


# Numbers, keys, layout: nothing is written anew.

finds('numbers keep their text', '{"ts":1588205198.89971,"duration":0.1,'
    . '"id.orig_h":"10.20.1.11"}', ['id.orig_h=exact:d1']);
finds('integers beyond 63 bits', '{"flow_id":18446744073709551615,'
    . '"n":9223372036854775808,"m":-9223372036854775809,'
    . '"src_ip":"10.20.1.11"}', ['src_ip=exact:d1']);
finds('numbers beyond a double', '{"a":1e400,"b":-1e400,"c":1e-400,'
    . '"d":2.23e-308,"e":1E+2,"f":-0,"g":0.10,"src_ip":"10.20.1.11"}',
    ['src_ip=exact:d1']);

{
    my $body = '{"src_ip":"10.20.1.11","src_ip":"10.20.1.12","tag":1,"tag":2}';
    my ($got) = through($body);
    is(strip($got), $body, 'repeated keys stay, in order');
    like($got, qr/^\Q@{[$body =~ s{\}$}{}r]},"defender":\E/,
        'repeated keys: one insertion at the end');
}

finds('layout stays',
    "{ \"b\" : 1 ,\n\t\"a\":2, \"src_ip\" : \"10.20.1.11\" }\r\n", ['src_ip=exact:d1']);
passes('layout of a body without a device',
    "{ \"b\" : 1 ,\n\t\"a\":2, \"src_ip\" : \"10.99.99.99\" }\r\n");

finds('nested, flattened and arrays in one document',
    '{"source":{"ip":"10.20.1.11"},"destination.ip":"10.20.1.12",'
    . '"host":{"ip":["10.20.1.13","fe80::9148:b822:a74a:c6f3","127.0.0.1",'
    . '"::1"]},"related":{"hosts":["a"]}}',
    ['ip=exact:d1', 'ip=[exact:d3]', 'destination.ip=exact:d2']);

finds("Zeek: $_->[0]", $_->[1], $_->[2]) for
    ['flattened', '{"id.orig_h":"10.20.1.11","id.resp_h":"10.20.1.12"}',
        ['id.orig_h=exact:d1 id.resp_h=exact:d2']],
    ['nested', '{"id":{"orig_h":"10.20.1.11","resp_h":"10.20.1.12"}}',
        ['orig_h=exact:d1 resp_h=exact:d2']],
    ['underscores', '{"id_orig_h":"10.20.1.11","id_resp_h":"10.20.1.12"}',
        ['id_orig_h=exact:d1 id_resp_h=exact:d2']],
    ['files', '{"tx_hosts":["10.20.1.12"],"rx_hosts":["10.20.1.11"]}',
        ['rx_hosts=[exact:d1] tx_hosts=[exact:d2]']],
    ['notice', '{"src":"10.20.1.11","dst":"10.20.1.12"}',
        ['dst=exact:d2 src=exact:d1']];

{
    my @lines = map { "{\"n\":$_,\"src_ip\":\"10.20.1.11\"}" } 1 .. 1000;
    $lines[499] = '{"src_ip":"10.20.1.11","x":';
    my $body = join "\n", @lines;

    my ($got, $line) = through($body, 'type=application/x-ndjson');
    my @got = split /\n/, $got, -1;

    is(scalar @got, 1000, 'a bad line among a thousand: lines stay');
    is($got[499], $lines[499], 'the bad one untouched');
    is(scalar(grep { /"defender":\{"src_ip":\{.*"match":"exact"/ } @got), 999,
        'all others enriched');
    is(strip($got), $body, 'nothing else changes, no line end is added');
    like($line, qr/^enriched=999 malformed at \d+$/, 'status');
}

finds('a lone surrogate', '{"s":"\ud800","src_ip":"10.20.1.11"}',
    ['src_ip=exact:d1']);
finds('an escaped NUL', '{"s":"a\u0000b","src_ip":"10.20.1.11"}',
    ['src_ip=exact:d1']);
finds('an escaped NUL in a key', '{"a\u0000b":1,"src_ip":"10.20.1.11"}',
    ['src_ip=exact:d1']);
finds('other escapes',
    '{"s":"\u00e9\/\ud83d\ude00\"}{","src_ip":"10.20.1.11"}', ['src_ip=exact:d1']);
finds('an escaped key', '{"src\u005fip":"10.20.1.11"}', ['src_ip=exact:d1']);

{
    my $body = "{\"issuer\":\"K\xf6zjegyz\x91\",\"src_ip\":\"10.20.1.11\"}";
    my ($got) = through($body);
    is($got =~ s/,"defender":.*\}\}/}/sr, $body,
        'bytes that are not UTF-8 stay');
}

{
    my $body = "\xef\xbb\xbf{\"src_ip\":\"10.20.1.11\"}";
    my ($got) = through($body);
    is(strip($got), $body, 'a byte-order mark stays first');
}

passes('blanks', "\n\n  ");
passes("a body of $_", $_) for 'null', '17', '[]', '{}', '"10.20.1.11"',
    '-1.5e3', '[[[]]]', "[\"10.20.1.11\"]";

passes('text in front of the JSON',
    'Apr 22 07:09:24 hp suricata: {"src_ip":"10.20.1.11"}');
passes('HTML under a JSON type', '<!DOCTYPE html><title>{"src_ip":'
    . '"10.20.1.11"}</title>');
passes('cut off in the middle', '{"src_ip":"10.20.1.11","x":[1,2');
passes('a JSON string is not looked into', '{"Entities":"[{\"$id\":\"3\",'
    . '\"Address\":\"10.20.1.11\",\"Type\":\"ip\"}]"}');

{
    my $body = '{"src_ip":"10.20.1.11","defender":{"x":{"ip":"10.20.1.12"}}}';
    my ($got, $line) = through($body);
    is($got, $body, 'an object that has such a member is left alone');

    my ($once) = through('{"src_ip":"10.20.1.11","d":{"ip":"10.20.1.12"}}');
    my ($twice) = through($once);
    is($twice, $once, 'a body that passes twice is enriched once');
}

{
    my $deep = '{"a":' x 20_000 . '{"src_ip":"10.20.1.11"}' . '}' x 20_000;
    my ($got) = through($deep);
    is(strip($got), $deep, 'nesting of any depth: nothing else changes');

    my $long = '{"s":"' . 'x' x 3_000_000 . '","src_ip":"10.20.1.11"}';
    my ($body) = through($long);
    is_deeply([matches($body)], ['src_ip=exact:d1'], 'a long string: device');
    ok(strip($body) eq $long, 'a long string: the rest untouched');

    my $many = '{' . join(',', map { "\"k$_\":\"10.20.1.11\"" } 1 .. 3000)
        . '}';
    ($body, my $line) = through($many);
    ok($body =~ s/,"defender":\{.*\}\}$/}/sr eq $many,
        'one object with thousands of addresses: the rest untouched');
    like($line, qr/^enriched=\d+( dropped=\d+)?$/, 'and counted');

    my $array = '{"a":[' . join(',', map {
        sprintf '"10.20.1.%d"', 11 + $_ % 4 } 1 .. 2000) . ']}';
    ($body, $line) = through($array);
    ok(strip($body) eq $array, 'a long array of addresses');
    like($line, qr/^enriched=\d+( dropped=\d+)?$/, 'and counted');
}


# Names of devices with everything in them are escaped into the body.

for my $ip (map { "10.20.4.$_" } 60 .. 65) {
    my $body = "{\"src_ip\":\"$ip\"}";
    my ($got) = through($body);
    is(strip($got), $body, "$ip: the rest untouched");
    my ($entity) = map { $_->{src_ip} } insertions($got);
    my $api = $t->entity($ip);
    is($entity->{computerDnsName}, $api->{computerDnsName}, "$ip: name");
}


# Public samples: Zeek, Corelight, Suricata, ECS and more. The API tells
# independently which device an address is.

my %verdict;


sub verdict {
    my ($ip) = @_;

    return $verdict{$ip} //= do {
        my $r = $t->get("/defender/enrich?ip=$ip", role => 'viewer');
        my $entity = $r->status == 200 ? $r->json : {match => 'none'};
        $entity->{match} eq 'none' ? ''
            : "$entity->{match}:" . ($entity->{id} // '');
    };
}


# What the inserted members of a decoded document must be: for each object, in
# any order, the addresses it holds itself.
sub expected {
    my ($data, $found) = @_;

    if (ref $data eq 'ARRAY') {
        expected($_, $found) for @$data;
        return;
    }

    return if ref $data ne 'HASH';

    my %own;

    for my $key (keys %$data) {
        next if $key eq 'defender';
        my $value = $data->{$key};

        if (ref $value eq 'ARRAY') {
            my @known = grep { $_ ne '' } map { verdict($_) }
                grep { defined && !ref && /^[0-9a-fA-F:.]+$/ && /[.:]/ }
                @$value;
            $own{$key} = "[@known]" if @known;
        } elsif (defined $value && !ref $value
            && $value =~ /^[0-9a-fA-F:.]+$/ && $value =~ /[.:]/)
        {
            my $known = verdict($value);
            $own{$key} = $known if $known ne '';
        }

        expected($value, $found);
    }

    push @$found, join ' ', map { "$_=$own{$_}" } sort keys %own if %own;
}


sub inserted {
    my ($body) = @_;

    my $short = sub {
        my ($entity) = @_;
        return "$entity->{match}:" . ($entity->{id} // '');
    };

    return map {
        my $member = $_;
        join ' ', map {
            my $value = $member->{$_};
            "$_=" . (ref $value eq 'ARRAY'
                ? '[' . join(' ', map { $short->($_) } @$value) . ']'
                : $short->($value));
        } sort keys %$member;
    } insertions($body);
}

my $json  = JSON::PP->new->utf8->allow_nonref;
my $total = 0;

for my $path (sort glob $t->root . '/t/detections/*.{json,ndjson}') {
    my ($name) = $path =~ m{([^/]+)$};
    my $body = $t->read_file($path);

    my @want;
    expected($_, \@want)
        for map { $json->decode($_) }
            $name =~ /\.ndjson$/ ? grep { /\S/ } split /\n/, $body : $body;

    for my $chunk ('', '&chunk=1000', '&chunk=37') {
        my $r = $t->get("/d/$name?id=$name$chunk");
        my @got = inserted($r->body);

        is($r->header('X-Defender-Enrich'), 'on', "$name$chunk: header");
        ok(strip($r->body) eq $body,
            "$name$chunk: the rest is the upstream's");
        is_deeply([sort @got], [sort @want], "$name$chunk: devices");
        $total += @got;
    }
}

cmp_ok($total, '>', 300, 'devices were found in the samples');

$t->done;
