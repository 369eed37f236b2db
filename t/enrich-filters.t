#!/usr/bin/perl

# How the enriching filter gets on with the filters, redirects and subrequests
# of nginx around it.

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

my $ONE = '{"src_ip":"10.20.1.11"}';
my $TWO = '{"src_ip":"10.20.1.12","dest_ip":"10.20.1.11","n":1.50}';

mkdir $t->dir . "/$_" for qw(www proxy_cache);
$t->write_file('www/one.json', $ONE);
$t->write_file('www/page.txt', 'src_ip 10.20.1.11');
$t->write_file('www/large.json', '[' . join(",\n", map {
    sprintf '{"i":%d,"src_ip":"10.20.1.%d"}', $_, 11 + $_ % 5
} 1 .. 8000) . ']');
$t->write_file('www/page.html',
    '<p><!--# include virtual="/inc/one.json" --></p>'
    . '<!--# include virtual="/inc/page.txt" -->');
$t->write_file('www/off.html', '<!--# include virtual="/noinc/one.json" -->');

$t->conf($t->standard_conf(
    http => <<"END_HTTP", server => <<"END_SERVER"))->run;
    $LOG_FORMAT
    proxy_cache_path %%DIR%%/proxy_cache keys_zone=raw:1m inactive=1h;
    types { application/json json; text/html html; text/plain txt; }
END_HTTP
        access_log %%DIR%%/enrich.log enrich;

        location /plain/ {
            proxy_pass $url/;
        }

        location /log/ {
            defender_enrich log;
            proxy_pass $url/;
        }

        location /gzip/ {
            defender_enrich on;
            gzip on;
            gzip_types application/json;
            gzip_min_length 0;
            proxy_pass $url/;
        }

        location /sub/ {
            defender_enrich on;
            sub_filter_types application/json;
            sub_filter_once off;
            sub_filter ws-ana ws-eva;
            sub_filter src_ip SRC;
            proxy_pass $url/;
        }

        location /file/ {
            defender_enrich on;
            sendfile on;
            alias %%DIR%%/www/;
        }

        location /direct/ {
            defender_enrich on;
            aio threads;
            directio 512;
            output_buffers 1 4k;
            alias %%DIR%%/www/;
        }

        location /cached/ {
            defender_enrich on;
            proxy_cache raw;
            proxy_cache_key \$uri;
            proxy_cache_valid 200 1h;
            add_header X-Cache \$upstream_cache_status;
            sendfile on;
            proxy_pass $url/;
        }

        location /slice/ {
            defender_enrich on;
            slice 4k;
            proxy_set_header Range \$slice_range;
            proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:%%PORT_0%%/noinc/;
        }

        location /ssi/ {
            ssi on;
            alias %%DIR%%/www/;
        }

        location /ssion/ {
            ssi on;
            ssi_types application/json;
            defender_enrich on;
            alias %%DIR%%/www/;
        }

        location /inc/ {
            defender_enrich on;
            alias %%DIR%%/www/;
        }

        location /noinc/ {
            alias %%DIR%%/www/;
        }

        location /error/on/ {
            error_page 404 =200 /inc/one.json;
            alias %%DIR%%/nowhere/;
        }

        location /error/off/ {
            defender_enrich on;
            error_page 404 =200 /noinc/one.json;
            alias %%DIR%%/nowhere/;
        }

        location /error/named/ {
            error_page 404 =200 \@json;
            alias %%DIR%%/nowhere/;
        }

        location \@json {
            defender_enrich on;
            default_type application/json;
            return 200 '$ONE';
        }

        location /accel/ {
            proxy_pass $url/;
        }

        location /sibling/ {
            proxy_pass $url/;
            location /sibling/nested/ {
                defender_enrich on;
                proxy_pass $url/;
            }
        }

        location /if/ {
            if (\$arg_enrich) {
                defender_enrich on;
            }
            proxy_pass $url/;
        }

        location /authorized/ {
            defender_enrich on;
            auth_request /auth;
            proxy_pass $url/;
        }

        location = /auth {
            internal;
            defender_enrich on;
            proxy_pass $url/one.json;
        }
END_SERVER

# The upstream's own files.
my $files = $upstream->dir;
$t->write_file("$files/one.json", $ONE);
$t->write_file("$files/two.json", $TWO);

$t->configure;
$t->wait_devices;
$t->wait_match('10.20.1.11', 'exact');


# Files, read in different ways.

for my $where (qw(file direct)) {
    my ($r, $line) = ask($t, "/$where/large.json");
    is(strip($r->body), $t->read_file('www/large.json'), "$where: large");
    is(scalar(matches($r->body)), 6400, "$where: devices");
    is($line, '200|enriched=6400', "$where: status");
}


# The client's encoding is nginx's business, the upstream's is ours.

{
    my ($r, $line) = ask($t, '/gzip/two.json?encoding=',
        headers => ['Accept-Encoding' => 'gzip, br']);
    is($r->header('X-Upstream-Accept-Encoding'), 'identity',
        'the upstream is asked for identity');
    is($r->header('Content-Encoding'), 'gzip', 'the client gets gzip');
    my $plain = Compress::Zlib::memGunzip($r->body);
    is_deeply([matches($plain)], ['dest_ip=exact:d1 src_ip=exact:d2'],
        'of the enriched body');
    is(strip($plain), $TWO, 'the rest untouched');
    is($line, '200|enriched=2', 'status');

    ($r) = ask($t, '/gzip/two.json');
    is($r->header('X-Upstream-Accept-Encoding'), 'identity',
        'identity also when the client says nothing');
    is($r->header('Content-Encoding'), undef, 'and then no gzip');

    ($r) = ask($t, '/gzip/two.json', headers =>
        ['Accept-Encoding' => 'gzip', 'accept-encoding' => 'br']);
    is($r->header('X-Upstream-Accept-Encoding'), 'identity, identity',
        'repeated headers: all of them');
    is($r->header('Content-Encoding'), 'gzip', 'the client\'s first counts');

    ($r) = ask($t, '/log/two.json', headers => ['Accept-Encoding' => 'gzip']);
    is($r->header('X-Upstream-Accept-Encoding'), 'identity', 'log too');

    ($r) = ask($t, '/plain/two.json',
        headers => ['Accept-Encoding' => 'gzip']);
    is($r->header('X-Upstream-Accept-Encoding'), 'gzip', 'off: as it came');
}


# Filters after us.

{
    my ($r) = ask($t, '/sub/one.json');
    my $entity = $r->json->{defender}{SRC};
    is($entity->{computerDnsName}, 'ws-eva.corp.example',
        'sub_filter sees the enriched body');
    is($r->json->{SRC}, '10.20.1.11', 'and the rest');
}


# Cache: the raw body is stored, each answer is enriched anew.

for my $file (['one.json', $ONE], ['05-suricata-eve-alerts.ndjson']) {
    my $body = $file->[1]
        // $t->read_file($t->root . "/t/detections/$file->[0]");
    my @got;

    for my $want (qw(MISS HIT)) {
        my ($r) = ask($t, "/cached/$file->[0]");
        is($r->header('X-Cache'), $want, "$file->[0]: $want");
        is(strip($r->body), $body, "$file->[0]: $want: the rest untouched");
        push @got, join "\n", matches($r->body);
    }

    isnt($got[0], '', "$file->[0]: enriched");
    is($got[1], $got[0], "$file->[0]: the same from the cache");
}


# A body that is put together from parts of it passes, whole or in part.

{
    my $large = $t->read_file('www/large.json');
    my ($r) = ask($t, '/slice/large.json');
    is($r->status, 200, 'slices');
    ok($r->body eq $large, 'slices: as it came');
    is($r->header('Content-Length'), length $large, 'slices: length');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=status',
        'slices: reason');

    ($r) = ask($t, '/slice/large.json',
        headers => [Range => 'bytes=9000-9999']);
    is($r->status, 206, 'slices: range');
    is($r->body, substr($large, 9000, 1000), 'slices: range: as it came');
}


# Subrequests.

{
    my ($r) = ask($t, '/ssi/page.html');
    is($r->header('X-Defender-Enrich'), undef,
        'SSI: the page is not enriched');
    is_deeply([matches($r->body)], ['src_ip=exact:d1'],
        'SSI: an included enriched location is');
    is(strip($r->body), "<p>$ONE</p>src_ip 10.20.1.11", 'SSI: nothing else');

    ($r) = ask($t, '/ssi/off.html');
    is($r->body, $ONE, 'SSI: an included location that is off');

    ($r) = ask($t, '/ssion/one.json');
    is_deeply([matches($r->body)], ['src_ip=exact:d1'], 'SSI behind us');

    ($r) = ask($t, '/authorized/one.json');
    is($r->header_count('X-Defender-Enrich'), 1, 'auth_request adds nothing');
    is_deeply([matches($r->body)], ['src_ip=exact:d1'], 'auth_request: body');
}


# Redirects inside of nginx: the location that makes the body decides.

enriched($t, '/error/on/x', $ONE, ['src_ip=exact:d1'], 'enriched=1',
    title => 'error_page from off to on');
passed($t, '/error/off/x', $ONE, undef, title => 'error_page from on to off');
enriched($t, '/error/named/x', $ONE, ['src_ip=exact:d1'], 'enriched=1',
    title => 'error_page to a named location');
enriched($t, '/accel/x?header=X-Accel-Redirect:/inc/one.json', $ONE,
    ['src_ip=exact:d1'], 'enriched=1', method => 'POST', body => 'x',
    title => 'X-Accel-Redirect');
enriched($t, '/sibling/nested/one.json', $ONE, ['src_ip=exact:d1'],
    'enriched=1', title => 'a nested location');
passed($t, '/sibling/one.json', $ONE, undef, title => 'its parent');
enriched($t, '/if/one.json?enrich=1', $ONE, ['src_ip=exact:d1'], 'enriched=1',
    title => 'if');
passed($t, '/if/one.json', $ONE, undef, title => 'if not');

# The API's own answers are not enriched, whatever the server says.
{
    my $api = $t->get('/defender/enrich?ip=10.20.1.11', role => 'viewer');
    unlike($api->body, qr/"defender":/, 'the API is left alone');
}

$t->done;
