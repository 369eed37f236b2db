#!/usr/bin/perl

# What the enriching filter decides about a response, and what it says of it.

use strict;
use warnings;

use Compress::Zlib ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Enrich qw($LOG_FORMAT strip matches ask enriched
    passed);

my $t = Test::Defender->new;

$t->start_redis;
$t->start_sim;
my $upstream = $t->start_upstream;
my $url      = $upstream->url;

my $ONE   = '{"src_ip":"10.20.1.11"}';
my $TWO   = '{"src_ip":"10.20.1.12","dest_ip":"10.20.1.11","n":1.50}';
my $OTHER = '{"src_ip":"10.99.99.99"}';

mkdir $t->dir . '/www';
$t->write_file('www/one.json', $ONE);
$t->write_file('www/empty.json', '');
$t->write_file('www/page.txt', 'src_ip 10.20.1.11');
$t->write_file('www/large.json', '[' . join(",\n", map {
    sprintf '{"i":%d,"src_ip":"10.20.1.%d"}', $_, 11 + $_ % 5
} 1 .. 8000) . ']');

$t->conf($t->standard_conf(
    http   => "$LOG_FORMAT\ntypes { application/json json; text/plain txt; }",
    server => <<"END_SERVER"))->run;
        access_log %%DIR%%/enrich.log enrich;

        location /log/ {
            defender_enrich log;
            proxy_pass $url/;
        }

        location /plain/ {
            proxy_pass $url/;
        }

        location /role/ {
            defender_enrich on;
            defender_role \$arg_role;
            proxy_pass $url/;
        }

        location /unmatched/ {
            defender_enrich on;
            defender_enrich_unmatched on;
            proxy_pass $url/;
        }

        location /key/ {
            defender_enrich on;
            defender_enrich_key device;
            defender_enrich_fields src_ip id.orig_h source.ip;
            proxy_pass $url/;
        }

        location /types/ {
            defender_enrich on;
            defender_enrich_types text/json application/jsonl;
            proxy_pass $url/;
        }

        location /status/ {
            defender_enrich on;
            add_header X-Early \$defender_enrich_status;
            proxy_pass $url/;
        }

        location /file/ {
            defender_enrich on;
            sendfile on;
            alias %%DIR%%/www/;
        }

        location /filelog/ {
            defender_enrich log;
            sendfile on;
            alias %%DIR%%/www/;
        }

        location = /return {
            defender_enrich on;
            default_type application/json;
            return 200 '$ONE';
        }

        location = /return-empty {
            defender_enrich on;
            default_type application/json;
            return 200;
        }

        location = /return-404 {
            defender_enrich on;
            default_type application/json;
            return 404 '$ONE';
        }

        location = /return-301 {
            defender_enrich on;
            return 301 /elsewhere;
        }

        location = /gif {
            defender_enrich on;
            empty_gif;
        }
END_SERVER

# The upstream's own files.
my $files = $upstream->dir;
$t->write_file("$files/one.json", $ONE);
$t->write_file("$files/two.json", $TWO);
$t->write_file("$files/other.json", $OTHER);
$t->write_file("$files/empty.json", '');


# Before there are any devices the page loads all the same.

passed($t, '/d/one.json', $ONE, 'no-data', title => 'before there are devices',
    more => sub {
        is($_[0]->header('Content-Length'), length $ONE, 'length');
    });

is($t->configure->status, 200, 'settings saved');
ok($t->wait_devices, 'devices are there');
$t->wait_match('10.20.1.11', 'exact');


# The main case.

enriched($t, '/d/one.json', $ONE, ['src_ip=exact:d1'], 'enriched=1');
enriched($t, '/d/two.json', $TWO, ['dest_ip=exact:d1 src_ip=exact:d2'],
    'enriched=2', title => 'both ends, each under its own name');
enriched($t, '/d/other.json', $OTHER, [], 'enriched=0',
    title => 'an address of no device');

{
    my ($r) = ask($t, '/d/one.json');
    like($r->body,
        qr/^\{"src_ip":"10\.20\.1\.11","defender":\{"src_ip":\{.*\}\}\}$/s,
        'the insertion is the last member');
    my $entity = $r->json->{defender}{src_ip};
    is($entity->{source}, 'Microsoft Defender', 'source');
    is($entity->{computerDnsName}, 'ws-ana.corp.example', 'device name');
    is($entity->{ip}, '10.20.1.11', 'address');
    is_deeply($t->entity('10.20.1.11')->{id}, $entity->{id},
        'the API gives the same device');
}

enriched($t, '/d/created.json?type=application/json&status=201', $ONE,
    ['src_ip=exact:d1'], 'enriched=1', status => 201, method => 'POST',
    body => $ONE, title => 'created');

enriched($t, '/d/x?type=application/json',
    '{"a":"10.20.1.11","b":"10.20.4.31",'
    . '"c":"10.20.4.59","d":"172.31.9.9","e":"8.8.8.8"}',
    ['a=exact:d1 b=ambiguous c=stale:31'],
    'enriched=2 ambiguous=1', method => 'POST',
    body => '{"a":"10.20.1.11","b":"10.20.4.31","c":"10.20.4.59",'
        . '"d":"172.31.9.9","e":"8.8.8.8"}', title => 'all verdicts');

enriched($t, '/unmatched/x',
    '{"a":"10.20.1.11","d":"172.31.9.9","e":"8.8.8.8",'
    . '"f":"127.0.0.1","g":"fe80::1","h":"fd00::9"}',
    ['a=exact:d1 d=none h=none'], 'enriched=1 none=2', method => 'POST',
    body => '{"a":"10.20.1.11","d":"172.31.9.9","e":"8.8.8.8",'
        . '"f":"127.0.0.1","g":"fe80::1","h":"fd00::9"}',
    title => 'private addresses without a device are marked when asked for');

{
    my $body = '{"src_ip":"10.20.1.11","x":"10.20.1.12","id.orig_h":'
        . '"10.20.1.13","source":{"ip":"10.20.1.14","name":"10.20.1.11"}}';
    my ($r) = ask($t, '/key/x', method => 'POST', body => $body);
    is_deeply([matches($r->body, 'device')],
        ['ip=exact:d4', 'id.orig_h=exact:d3 src_ip=exact:d1'],
        'only the wanted fields, under the wanted name');
    is(strip($r->body, 'device'), $body, 'and nothing else');
}


# What is passed on as it came.

for my $status (204, 205, 304) {
    my ($r, $line) = ask($t, "/d/one.json?status=$status");
    is($r->status, $status, "status $status");
    is($r->header('X-Defender-Enrich'), 'skipped; reason=status',
        "$status: header");
    is($line, "$status|skipped=status", "$status: log");
}

for my $status (206, 400, 401, 404, 500, 502, 203) {
    passed($t, "/d/one.json?status=$status&etag=v1", $ONE, 'status',
        status => $status, more => sub {
            is($_[0]->header('Content-Length'), length $ONE, 'length');
            is($_[0]->header('ETag'), '"v1"', 'validator');
        });
}

for my $type ('text/plain', 'text/json', 'text/html', 'application/jsonp',
    'text/event-stream', 'application/octet-stream', 'application/json2',
    'json', '+json', 'x' x 200 . '+json')
{
    passed($t, "/d/one.json?type=$type&etag=v1" =~ s/\+/%2B/gr, $ONE, 'type',
        title => "type $type", more => sub {
            is($_[0]->header('Content-Length'), length $ONE, 'length');
            is($_[0]->header('ETag'), '"v1"', 'validator');
        });
}

passed($t, '/d/one.json?type=none', $ONE, 'type', title => 'no type at all');

for my $type ('application/json', 'Application/JSON; Charset="utf-8"',
    'application/json;odata.metadata=minimal;charset=utf-8',
    'application/json ; x=y', 'application/vnd.api+json',
    'application/problem+JSON; x=y', 'application/x-ndjson')
{
    my $escaped = $type =~ s/([^\w.\/-])/sprintf '%%%02X', ord $1/ger;
    enriched($t, "/d/one.json?type=$escaped&etag=v1", $ONE,
        ['src_ip=exact:d1'], 'enriched=1', title => "type $type");
}

passed($t, '/types/one.json', $ONE, 'type',
    title => 'a list of types replaces the default');
passed($t, '/types/one.json?type=application/problem%2Bjson', $ONE, 'type',
    title => 'also that of suffixes');
enriched($t, '/types/one.json?type=text/json', $ONE, ['src_ip=exact:d1'],
    'enriched=1', title => 'and adds its own');

# In lines mode a broken line does not end the enrichment.
for my $case (['/d/', 'application/x-ndjson', 2],
    ['/d/', 'application/json', 0], ['/types/', 'application/jsonl', 2], ['/types/', 'text/json', 0])
{
    my ($where, $type, $n) = @$case;
    my $body = "{\"bad\n$ONE\n$ONE\n";
    my ($r) = ask($t, "${where}x?type=$type", method => 'POST', body => $body);
    is(scalar(matches($r->body)), $n, "$type: lines or one document");
    is(strip($r->body), $body, "$type: the rest untouched");
}

for my $encoding (qw(gzip br zstd GZIP)) {
    passed($t, "/d/one.json?label=$encoding&etag=v1", $ONE, 'encoding',
        title => "encoding $encoding", more => sub {
            is($_[0]->header('Content-Encoding'), $encoding, 'label');
            is($_[0]->header('ETag'), '"v1"', 'validator');
        });
}

enriched($t, '/d/one.json?label=Identity', $ONE, ['src_ip=exact:d1'],
    'enriched=1', title => 'the identity encoding is none');

{
    my ($r) = ask($t, '/d/one.json?encoding=gzip');
    is(Compress::Zlib::memGunzip($r->body), $ONE,
        'a compressed body that comes all the same is whole');
}

passed($t, '/d/empty.json', '', undef, log => 'enriched=0',
    title => 'an empty body', more => sub {
        is($_[0]->header('Content-Length'), 0, 'length');
    });
passed($t, '/return-empty', '', undef, log => 'enriched=0',
    title => 'an empty 200');

passed($t, '/plain/one.json?etag=v1', $ONE, undef, title => 'off',
    more => sub {
        is($_[0]->header('ETag'), '"v1"', 'validator');
        is($_[0]->header('X-Upstream-Accept-Encoding'), '(none)', 'encoding');
    });

enriched($t, '/role/two.json?role=viewer', $TWO,
    ['dest_ip=exact:d1 src_ip=exact:d2'], 'enriched=2', title => 'viewer');

for my $role ('', 'Viewer', 'viewer,admin', 'nobody') {
    passed($t, "/role/two.json?role=$role&etag=v1", $TWO, 'role',
        title => "role \"$role\"", more => sub {
            is($_[0]->header('ETag'), '"v1"', 'validator');
            is($_[0]->header('Content-Length'), length $TWO, 'length');
        });
}


# log: the same work, none of the bytes.

{
    my ($r, $line) = ask($t, '/log/two.json?etag=v1');
    is($r->header('X-Defender-Enrich'), 'log', 'log: header');
    is($r->body, $TWO, 'log: body');
    is($r->header('ETag'), '"v1"', 'log: validator');
    is($r->header('Content-Length'), length $TWO, 'log: length');
    is($line, '200|enriched=2', 'log: status');

    ($r, $line) = ask($t, '/filelog/large.json');
    is($r->body, $t->read_file('www/large.json'), 'log: a file');
    is($r->header('Accept-Ranges'), 'bytes', 'log: ranges are possible');
    ok($r->header('ETag'), 'log: a file\'s validator');
    is($line, '200|enriched=6400', 'log: counted');

    ($r, $line) = ask($t, '/filelog/large.json',
        headers => [Range => 'bytes=5-9']);
    is($r->status, 206, 'log: range');
    is($r->body, substr($t->read_file('www/large.json'), 5, 5), 'log: part');
    is($line, '206|skipped=status', 'log: a part is not looked at');
}


# HEAD says what GET says.

for my $uri (qw(/d/one.json?etag=v1 /d/one.json?type=text/plain
    /d/one.json?status=404 /d/one.json?label=br /log/one.json?etag=v1
    /file/one.json /return /role/one.json?role=x))
{
    my ($get)  = ask($t, $uri);
    my ($head) = ask($t, $uri, method => 'HEAD');
    my @hop = qw(date connection transfer-encoding);

    my %get  = %{$get->headers};
    my %head = %{$head->headers};
    delete @$_{@hop} for \%get, \%head;

    is_deeply(\%head, \%get, "HEAD as GET: $uri");
    is($head->body, '', "HEAD without a body: $uri");
}


# Ranges and conditions.

{
    my ($r) = ask($t, '/file/one.json', headers => [Range => 'bytes=0-9']);
    is($r->status, 200, 'range of an enriched body: all of it');
    is_deeply([matches($r->body)], ['src_ip=exact:d1'], 'enriched');

    ($r) = ask($t, '/d/one.json', headers => [Range => 'bytes=0-9']);
    is(strip($r->body), $ONE, 'a proxied one too');

    ($r) = ask($t, '/file/page.txt', headers => [Range => 'bytes=0-9']);
    is($r->status, 206, 'ranges of what is passed on remain');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=type', 'reason');

    ($r) = ask($t, '/d/one.json?etag=v1',
        headers => ['If-None-Match' => '"v1"']);
    is($r->status, 304, 'the upstream answers a condition itself');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=status', 'reason');
}


# Content that nginx makes itself.

enriched($t, '/return', $ONE, ['src_ip=exact:d1'], 'enriched=1');
passed($t, '/return-404', $ONE, 'status', status => 404);
enriched($t, '/file/one.json', $ONE, ['src_ip=exact:d1'], 'enriched=1',
    title => 'a file, with sendfile');

passed($t, '/file/empty.json', '', undef, log => 'enriched=0',
    title => 'an empty file');

{
    my ($r) = ask($t, '/return-301');
    is($r->status, 301, 'a redirect');
    ($r) = ask($t, '/gif');
    is($r->status, 200, 'empty_gif');
    is(length $r->body, 43, 'empty_gif: whole');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=type', 'reason');
}


# The status in a header is that of the header's moment, in the log that of
# the end.

{
    my ($r, $line) = ask($t, '/status/two.json');
    is($r->header('X-Early'), 'enriched=0', 'status at header time');
    is($line, '200|enriched=2', 'status at the end');

    ($r, $line) = ask($t, '/d/x', method => 'POST',
        body => "$ONE, {\"src_ip\":\"10.20.1.12\"}");
    is($line, '200|enriched=1 malformed at ' . length $ONE,
        'where a body stops being JSON');

    ($r, $line) = ask($t, '/d/x', method => 'POST', body => 'no JSON at all');
    is($line, '200|malformed at 1', 'nothing enriched, malformed');

    ($r, $line) = ask($t, '/d/x?type=application/x-ndjson', method => 'POST',
        body => "$ONE\n{\"src_ip\n$ONE\n");
    is($line, '200|enriched=2 malformed at ' . (length($ONE) + 9),
        'a malformed line');
}


# Switched off, the answers pass; switched on again, they are enriched.

is($t->configure(enabled => JSON::PP::false)->status, 200, 'disabled');
$t->wait_for(sub {
    my ($r) = ask($t, '/d/one.json');
    return ($r->header('X-Defender-Enrich') // '') =~ /disabled/;
}, 10, 'disabled');
passed($t, '/d/one.json?etag=v1', $ONE, 'disabled', title => 'disabled',
    more => sub { is($_[0]->header('ETag'), '"v1"', 'validator') });

is($t->configure->status, 200, 'enabled');
$t->wait_for(sub {
    my ($r) = ask($t, '/d/one.json');
    return ($r->header('X-Defender-Enrich') // '') eq 'on';
}, 10, 'enabled');
enriched($t, '/d/one.json', $ONE, ['src_ip=exact:d1'], 'enriched=1',
    title => 'enabled again');

$t->done;
