#!/usr/bin/perl

# Enriched bodies on the wire: how they come in pieces, how they leave, and
# what happens when one of the ends does not behave.

use strict;
use warnings;

use Compress::Zlib ();
use Test::More;
use Time::HiRes qw(time sleep);

use lib 't/lib';
use Test::Defender;
use Test::Defender::Enrich  qw(strip matches);
use Test::Defender::Process qw(start_process);

my $t = Test::Defender->new;

$t->start_redis;
$t->start_sim;

my $dir = $t->dir;

# A body in which every split hurts: escapes, more bytes to a character, an
# object that closes several at once.
my $TRICKY = '{"k\u00e9y\\\\":"\"10.20.1.12\" ' . "\xc3\xa9\xf0\x9f\x98\x80"
    . '","o":{"p":[{"src_ip":"10.20.1.11"}]},"n":-1.5e+3,"t":true,"a":'
    . '["10.20.1.13","x"]}';
my $TRICKY_MATCHES = ['src_ip=exact:d1', 'a=[exact:d3]'];

my $LINE  = '{"n":%d,"src_ip":"10.20.1.11","pad":"%s"}' . "\n";
my $LARGE = join '', map { sprintf $LINE, $_, 'x' x ($_ % 700) } 1 .. 5000;

# One object whose insertion is far larger than any buffer.
my $WIDE = '[' . join(',', map {
    '{"ips":[' . join(',', ('"10.20.1.11"') x $_) . ']}' } 1 .. 60) . ']';

# 60 MB of lines, every eighth with a device.
my $STREAM_LINES = 60_000;
my $STREAM_PAD   = 'y' x 960;


sub stream_line {
    my ($n) = @_;

    return sprintf '{"n":%d,"src_ip":"10.%d.1.11","pad":"%s"}' . "\n",
        $n, $n % 8 ? 99 : 20, $STREAM_PAD;
}


# Waits for a file that the test makes when the client has seen enough.
sub await {
    my ($name) = @_;

    my $deadline = time + 20;
    sleep 0.01 while !-e "$dir/$name" && time < $deadline;
}


sub head {
    my ($c, $type, @more) = @_;

    $c->send(join "\r\n", 'HTTP/1.1 200 OK', "Content-Type: $type", @more,
        '', '');
}

my %route = (

    # The tricky body, one byte for each chunk.
    bytes => sub {
        my ($c) = @_;
        head($c, 'application/json', 'Transfer-Encoding: chunked');
        $c->send(join '', (map { "1\r\n$_\r\n" } split //, $TRICKY),
            "0\r\n\r\n");
    },

    # The same in two chunks.
    split => sub {
        my ($c, $at) = @_;
        head($c, 'application/json', 'Transfer-Encoding: chunked');
        $c->chunk($_) for grep { length }
            substr($TRICKY, 0, $at), substr($TRICKY, $at);
        $c->send("0\r\n\r\n");
    },

    # With a length, and the connection stays.
    length => sub { $_[0]->reply(200, 'application/json', $TRICKY) },

    large => sub { $_[0]->reply(200, 'application/x-ndjson', $LARGE) },

    wide => sub { $_[0]->reply(200, 'application/json', $WIDE) },

    # Without a length, as HTTP/1.0 servers do.
    old => sub {
        my ($c) = @_;
        $c->send("HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n"
            . $TRICKY);
        $c->close;
    },

    trailer => sub {
        my ($c) = @_;
        head($c, 'application/json', 'Transfer-Encoding: chunked',
            'Trailer: X-T');
        $c->chunk($TRICKY);
        $c->send("0\r\nX-T: {\"src_ip\":\"10.20.1.11\"}\r\n\r\n");
    },

    # Breaks off.
    'half-length' => sub {
        my ($c) = @_;
        head($c, 'application/json', 'Content-Length: 1000');
        $c->send(substr $TRICKY, 0, 90);
        $c->close;
    },

    'half-chunked' => sub {
        my ($c) = @_;
        head($c, 'application/json', 'Transfer-Encoding: chunked');
        $c->chunk(substr $TRICKY, 0, 90);
        $c->close;
    },

    'half-reset' => sub {
        my ($c) = @_;
        head($c, 'application/json', 'Transfer-Encoding: chunked');
        $c->chunk(substr $TRICKY, 0, 90);
        $c->sleep(0.05);
        $c->reset;
    },

    # Line by line, each when the client has the one before.
    lines => sub {
        my ($c, $tag) = @_;
        head($c, 'application/x-ndjson', 'Transfer-Encoding: chunked',
            $tag =~ /^accel/ ? 'X-Accel-Buffering: no' : 'X-Plain: 1');
        for my $n (1 .. 3) {
            $c->chunk(sprintf $LINE, $n, 'p');
            await("$tag-$n");
        }
        $c->send("0\r\n\r\n");
    },

    events => sub {
        my ($c, $tag) = @_;
        head($c, 'text/event-stream', 'Transfer-Encoding: chunked');
        for my $n (1 .. 2) {
            $c->chunk("data: {\"src_ip\":\"10.20.1.11\"}\n\n");
            await("$tag-$n");
        }
        $c->send("0\r\n\r\n");
    },

    # Half of it, then the rest when told.
    pause => sub {
        my ($c, $tag) = @_;
        head($c, 'application/x-ndjson', 'Content-Length: ' . length $LARGE);
        $c->send(substr $LARGE, 0, 400_001);
        await($tag);
        $c->send(substr $LARGE, 400_001);
    },

    stream => sub {
        my ($c) = @_;
        head($c, 'application/x-ndjson', 'Transfer-Encoding: chunked');
        for (my $n = 0; $n < $STREAM_LINES; $n += 20) {
            $c->chunk(join '', map { stream_line($_) } $n .. $n + 19);
        }
        $c->send("0\r\n\r\n");
    },
);

my $raw = $t->raw_server(sub {
    my ($c, $request) = @_;

    my ($name, $more) = $request->{uri} =~ m{^/([\w-]+)(?:\?(.*))?$};
    $route{$name}->($c, $more);
})->url;

mkdir "$dir/www";
$t->write_file('www/large.ndjson', $LARGE);
$t->write_file('www/tricky.json', $TRICKY);
$t->write_file('www/page.html', join '|', map {
    "<!--# include virtual=\"/$_\" -->"
} qw(w/large.ndjson long/b/large small/large w/tricky.json b/bytes));

# The debug log of long bodies is too long; that of short ones is kept.
my $BRIEF = "error_log $dir/error.log info;";

my $LOCATIONS = <<"END_LOCATIONS";
        location /b/ {
            proxy_pass $raw/;
        }

        location /u/ {
            proxy_buffering off;
            proxy_pass $raw/;
        }

        location /small/ {
            $BRIEF
            proxy_buffers 2 4k;
            proxy_buffer_size 4k;
            proxy_busy_buffers_size 4k;
            proxy_pass $raw/;
        }

        location /long/b/ {
            $BRIEF
            proxy_pass $raw/;
        }

        location /long/u/ {
            $BRIEF
            proxy_buffering off;
            proxy_pass $raw/;
        }

        location /nofile/ {
            $BRIEF
            proxy_max_temp_file_size 0;
            proxy_pass $raw/;
        }

        location /postpone/ {
            $BRIEF
            postpone_output 300000;
            proxy_max_temp_file_size 0;
            proxy_pass $raw/;
        }

        location /rate/ {
            $BRIEF
            limit_rate 4m;
            proxy_pass $raw/;
        }

        location /gzip/ {
            $BRIEF
            gzip on;
            gzip_types *;
            gzip_comp_level 1;
            proxy_pass $raw/;
        }

        location /w/ {
            $BRIEF
            sendfile on;
            alias $dir/www/;
        }

        location /zip/ {
            $BRIEF
            gzip on;
            gzip_types *;
            gzip_comp_level 1;
            alias $dir/www/;
        }

        location /tiny/ {
            $BRIEF
            sendfile off;
            output_buffers 1 64;
            alias $dir/www/;
        }

        location /threads/ {
            $BRIEF
            aio threads;
            sendfile on;
            sendfile_max_chunk 16k;
            alias $dir/www/;
        }

        location /page {
            $BRIEF
            ssi on;
            alias $dir/www/;
        }
END_LOCATIONS

$t->conf($t->standard_conf(
    http   => "types { application/json json; application/x-ndjson ndjson;\n"
        . "text/html html; }\nlog_format enrich '\$uri|\$status|"
        . "\$defender_enrich_status';",
    server => "listen 127.0.0.1:%%PORT_1%% http2;\n defender_enrich on;\n"
        . "access_log %%DIR%%/enrich.log enrich;\n$LOCATIONS"))->run;
$t->configure;
$t->wait_devices;


# The tricky body, whole.
sub tricky {
    my ($r, $title) = @_;

    ok($r->complete, "$title: complete");
    is(strip($r->body), $TRICKY, "$title: the rest is the upstream's");
    is_deeply([matches($r->body)], $TRICKY_MATCHES, "$title: devices");
}


# Five thousand lines, each enriched.
sub large {
    my ($body, $title) = @_;

    ok(strip($body) eq $LARGE, "$title: the rest is the upstream's");
    is(scalar(() = $body =~ /,"defender":\{"src_ip":\{[^\n]*"match":"exact"/g),
        5000, "$title: devices");
}


# A client with a small window that stops for a moment again and again, so that
# the server cannot write.
sub get_slowly {
    my ($uri, @headers) = @_;

    my $deadline = time + 60;
    my $got      = 0;
    my $c        = $t->connect(rcvbuf => 32_768);

    $c->send(join "\r\n", "GET $uri HTTP/1.1", 'Host: localhost', @headers,
        '', '');

    my $r = Test::Defender::Response::read_from($c, 'GET', sub {
        my $before = length $c->{in};
        my $more = $c->fill($deadline);
        $got += length($c->{in}) - $before;
        if ($got > 300_000) {
            sleep 0.01;
            $got = 0;
        }
        return $more;
    });

    $c->close;

    return $r;
}


# How the bytes come in.

tricky($t->get("/$_/bytes"), "byte by byte: $_") for qw(b u small gzip);
tricky($t->get('/b/old'), 'an upstream without a length');
tricky($t->get('/tiny/tricky.json'), 'output buffers of 64 bytes');

{
    my @wrong = grep {
        my $r = $t->get("/u/split?$_");
        !$r->complete || strip($r->body) ne $TRICKY
            || "@{[matches($r->body)]}" ne "@$TRICKY_MATCHES";
    } 1 .. length($TRICKY) - 1;
    is("@wrong", '', 'split at every position');
}

{
    my $r = $t->get('/b/trailer');
    tricky($r, 'a trailer');
    unlike($r->body, qr/X-T/, 'a trailer is no part of the body');
}

large($t->get("/$_/large")->body, "large: $_")
    for qw(b long/b long/u small nofile postpone rate);
large($t->get('/w/large.ndjson')->body, 'large: file');
large($t->get('/tiny/large.ndjson')->body, 'large: tiny buffers');
large($t->get('/threads/large.ndjson')->body, 'large: threads');


# How they leave.

for my $where (qw(long/b long/u small nofile postpone gzip w zip)) {
    my $uri = $where =~ /^(?:w|zip)$/ ? "/$where/large.ndjson"
        : "/$where/large";
    my $r = get_slowly($uri, 'Accept-Encoding: gzip');
    ok($r->complete, "a slow reader: $where: complete");
    my $body = $r->header('Content-Encoding')
        ? Compress::Zlib::memGunzip($r->body) : $r->body;
    large($body, "a slow reader: $where");
}

for my $where (qw(long/b small nofile)) {
    my $r = get_slowly("/$where/wide");
    ok(strip($r->body) eq $WIDE, "insertions beyond a buffer: $where");
    is(scalar(matches($r->body)), 60, "insertions beyond a buffer: $where");
}

{
    my $c = $t->connect;
    $c->send("GET /b/bytes HTTP/1.0\r\n\r\n");
    my $r = $c->response('GET');
    tricky($r, 'HTTP/1.0');
    ok(!$r->chunked, 'HTTP/1.0: no chunks');
    is($r->header('Connection'), 'close', 'HTTP/1.0: the end is the close');

    $c = $t->connect;
    $c->send("GET /b/bytes HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    tricky($c->response('GET'), 'HTTP/1.0 that would keep the connection');
    ok($c->closed_by_peer, 'HTTP/1.0: it is closed all the same');
}

{
    my $c = $t->connect;
    my @uris = qw(/b/bytes /w/large.ndjson /b/length /u/length /long/b/large
        /u/bytes /w/tricky.json);

    $c->send(join '', map {
        "GET $_ HTTP/1.1\r\nHost: localhost\r\n"
            . ($_ eq $uris[-1] ? "Connection: close\r\n" : '') . "\r\n"
    } @uris);

    for my $uri (@uris) {
        my $r = $c->response('GET');
        $uri =~ /large/ ? large($r->body, "pipelined: $uri")
            : tricky($r, "pipelined: $uri");
    }

    is($c->read_all, '', 'pipelined: nothing after the last');
}

for my $path ('b/bytes', 'b/length', 'u/length', 'w/tricky.json') {
    my $got = $t->curl('--http2-prior-knowledge',
        'http://127.0.0.1:' . $t->port(1) . "/$path");
    is($got->{exit}, 0, "HTTP/2: $path: exit");
    is(strip($got->{out}), $TRICKY, "HTTP/2: $path");
    is_deeply([matches($got->{out})], $TRICKY_MATCHES, "HTTP/2: $path");
}

for my $path ('long/b/large', 'long/u/large', 'small/large',
    'w/large.ndjson', 'postpone/large')
{
    my $got = $t->curl('--http2-prior-knowledge', '--limit-rate', '30M',
        'http://127.0.0.1:' . $t->port(1) . "/$path");
    is($got->{exit}, 0, "HTTP/2: large: $path: exit");
    large($got->{out}, "HTTP/2: large: $path");
}

# nghttp prints the bodies of its streams as their parts come; all of them
# have the same length, and none may stop another.
{
    my $base = 'http://127.0.0.1:' . $t->port(1);
    my $whole = length $t->get('/long/b/large')->body;
    my $out = "$dir/nghttp.out";

    start_process(argv => ['nghttp', "$base/long/b/large",
        "$base/long/u/large", "$base/w/large.ndjson", "$base/small/large"], out => $out);
    ok($t->wait_for(sub { (-s $out // 0) >= 4 * $whole }, 20, 'four streams'),
        'HTTP/2: parallel streams');
    is(-s $out, 4 * $whole, 'HTTP/2: parallel streams: all of them');
}


# A page of several enriched subrequests, more than fits into our buffers
# before it is their turn.
{
    my $r = get_slowly('/page/page.html');
    ok($r->complete, 'SSI: complete');
    ok(strip($r->body) eq join('|', $LARGE, $LARGE, $LARGE, $TRICKY, $TRICKY),
        'SSI: all parts, in order');
    is(scalar(() = $r->body =~ /,"defender":/g), 15_004, 'SSI: devices');
}


# Streams: nothing waits for the end.

for my $case (['u', 'off'], ['b', 'accel']) {
    my ($where, $tag) = @$case;
    my $c = $t->connect;
    $c->send("GET /$where/lines?$tag HTTP/1.1\r\nHost: localhost\r\n\r\n");

    for my $n (1 .. 3) {
        my $seen = $t->wait_for(sub {
            $c->fill(time + 0.1);
            return $c->{in} =~ /"n":$n,.*"pad":"p","defender":\{.*\}\}\n/;
        }, 10, "line $n of $tag");
        ok($seen, "a stream, buffering $tag: line $n comes by itself");
        $t->write_file("$tag-$n", '');
    }

    ok($c->response('GET')->complete, "a stream, buffering $tag: complete");
}

{
    my $c = $t->connect;
    $c->send("GET /u/events?ev HTTP/1.1\r\nHost: localhost\r\n\r\n");
    ok($t->wait_for(sub {
        $c->fill(time + 0.1);
        return $c->{in} =~ /data: [^\n]*\n\n/;
    }, 10, 'an event'), 'events pass at once');
    $t->write_file("ev-$_", '') for 1, 2;
    my $r = $c->response('GET');
    is($r->body, "data: {\"src_ip\":\"10.20.1.11\"}\n\n" x 2, 'untouched');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=type', 'reason');
}


# The upstream breaks off.

for my $where (qw(b u)) {
    for my $how (qw(half-length half-chunked half-reset)) {
        my $r = $t->get("/$where/$how");
        is($r->status, 200, "$how, $where: status");
        ok(!$r->complete, "$how, $where: the client can tell");
        is(strip($r->body), substr($TRICKY, 0, 90),
            "$how, $where: what came is there");
    }
}


# The client goes away.

{
    my $pid = join ' ', $t->worker_pids;

    for my $n (1 .. 60) {
        my $c = $t->connect(rcvbuf => 32_768);
        my $uri = (qw(/long/b/large /long/u/large /small/large
            /w/large.ndjson /page/page.html /gzip/large))[$n % 6];
        $c->send("GET $uri HTTP/1.1\r\nHost: localhost\r\n"
            . "Connection: close\r\n"
            . "Accept-Encoding: gzip\r\n\r\n");
        $c->read_some(1 + ($n % 7) * 20_000, 5);
        $n % 2 ? $c->reset : $c->close;
    }

    for (1 .. 5) {
        $t->curl('--http2-prior-knowledge', '--limit-rate', '200k',
            '--max-time', '0.3',
            'http://127.0.0.1:' . $t->port(1) . '/long/b/large');
    }

    tricky($t->get('/b/bytes'), 'after aborts');
    is(join(' ', $t->worker_pids), $pid, 'aborts: the same worker');
}


# A reload in the middle of a body.

for my $where (qw(long/b long/u)) {
    my $c  = $t->connect;
    my $go = $where =~ s{/}{-}r;
    $c->send("GET /$where/pause?$go HTTP/1.1\r\nHost: localhost\r\n"
        . "Connection: close\r\n\r\n");
    my $first = $c->read_some(100_000, 10);
    is(length $first, 100_000, "reload: it began, $where");
    ok($t->reload, "reload: new workers, $where");
    $t->write_file($go, '');
    $c->{in} = $first . $c->{in};
    my $r = $c->response('GET');
    ok($r->complete, "reload: the old worker finishes, $where");
    large($r->body, "reload: $where");
}


# Memory does not grow with the body.

sub rss {
    my ($pid) = $t->worker_pids;
    open my $fh, '<', "/proc/$pid/status" or die "$pid: $!\n";
    my ($kb) = map { /^VmRSS:\s+(\d+)/ ? $1 : () } <$fh>;
    return $kb;
}

for my $where (qw(b u)) {
    my $c = $t->connect;
    $c->send("GET /long/$where/stream HTTP/1.0\r\n\r\n");
    $c->fill(time + 10) while $c->{in} !~ s/^.*?\r\n\r\n//s;

    my ($bytes, $seen, $bad, $n, $early) = (0, 0, 0, 0);

    while ($c->fill(time + 20)) {
        while ($c->{in} =~ s/^([^\n]*\n)//) {
            my $line = $1;
            $bytes += length $line;
            $seen++ if $line =~ s/,"defender":\{"src_ip":\{.*\}\}\}$/}/;
            $bad++ if $line ne stream_line($n++);
        }
        $early //= rss() if $bytes > 8_000_000;
    }

    is($n, $STREAM_LINES, "a stream of 60 MB, $where: all lines");
    is($bad, 0, "a stream of 60 MB, $where: the rest is the upstream's");
    is($seen, $STREAM_LINES / 8, "a stream of 60 MB, $where: devices");
    cmp_ok(rss() - $early, '<', 1500, "a stream of 60 MB, $where: memory, KB");
}

$t->done;
