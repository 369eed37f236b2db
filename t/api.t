#!/usr/bin/perl

# The API as a whole: paths, methods, and bodies of every kind.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use Test::Defender;
use Test::Defender::Answer qw(outcome);
use Test::More;

use constant {
    CONFIG_LIMIT => 8192,
    BATCH_LIMIT  => 2 * 1024 * 1024,
};

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim;
$t->sim->knobs(rate_minute => undef);

my $dir = $t->dir;

my $server = <<'END';
        location = /stub {
            stub_status;
        }

        location /no-slash {
            defender_api;
            defender_role viewer;
        }

        location /small-buffer/ {
            client_body_buffer_size 1k;
            defender_api;
            defender_role admin;
        }

        location /file-only/ {
            client_body_in_file_only on;
            defender_api;
            defender_role admin;
        }

        location /nginx-limit/ {
            client_max_body_size 1k;
            defender_api;
            defender_role admin;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_1%% http2;

        location /h2/ {
            defender_api;
            defender_role admin;
            client_max_body_size 4m;
        }
END

$t->conf($t->standard_conf(
    server => $server, api_location => 'client_max_body_size 4m;'))->run;

my @viewer = (role => 'viewer');
my @admin  = (role => 'admin');
my @json   = ('Content-Type' => 'application/json');


sub wait_log {
    my ($pattern, $what) = @_;

    return $t->wait_for(sub { $t->error_log =~ $pattern }, 10, $what);
}


# nginx's own count of connections: active, and those in which it answers.
sub busy {
    my ($active, $writing) = $t->get('/stub')->body
        =~ /Active connections: (\d+).*Writing: (\d+)/s;

    return "$active $writing";
}


subtest 'an answer as it should be' => sub {
    my $r = $t->get('/defender/status', @viewer);

    is($r->status, 200, 'status');
    is($r->header('Content-Type'), 'application/json', 'type');
    is($r->header('Cache-Control'), 'no-store', 'not to be stored');
    is($r->header('X-Content-Type-Options'), 'nosniff', 'not to be guessed');
    is($r->header('Content-Length'), length $r->body, 'length');

    $r = $t->get('/defender/nothing', @viewer);

    is($r->header('Content-Type'), 'application/problem+json', 'problem');
    is($r->header('Cache-Control'), 'no-store', 'not to be stored either');
    is_deeply($r->json, {
        type   => 'about:blank',
        title  => 'Not Found',
        status => 404,
        code   => 'not_found',
        detail => 'the API has no such path',
    }, 'members of a problem');
};

subtest 'HEAD is GET without a body' => sub {
    for my $path (qw(/enrich?ip=10.0.0.1&at=2026-11-25T00:00:00Z /config
        /enrich?ip=nothing /nothing))
    {
        my $get  = $t->get("/defender$path", @viewer);
        my $head = $t->head("/defender$path", @viewer);

        my %get  = %{$get->headers};
        my %head = %{$head->headers};
        delete $_->{date} for \%get, \%head;

        is($head->status, $get->status, "$path: status");
        is_deeply(\%head, \%get, "$path: headers");
    }

    my $c = $t->connect;
    my @request = (uri => '/defender/status', host => 'h', keep => 1,
        headers => ['X-Role' => 'viewer']);
    $c->send(Test::Defender::HTTP::request_bytes(method => 'HEAD', @request)
        . Test::Defender::HTTP::request_bytes(method => 'GET', @request));
    is($c->response('HEAD')->status, 200, 'HEAD in a pipeline');
    ok($c->response('GET')->json->{counters},
        'nothing of a body comes before the next answer');
    $c->close;
};

subtest 'methods' => sub {
    my %allow = (
        '/enrich'        => 'GET, HEAD, POST',
        '/status'        => 'GET, HEAD',
        '/sync'          => 'POST',
        '/config'        => 'GET, HEAD, PUT, DELETE',
        '/audit'         => 'GET, HEAD',
        '/egress'        => 'GET, HEAD',
        '/config/verify' => 'POST',
    );

    for my $path (sort keys %allow) {
        for my $method (qw(GET HEAD POST PUT DELETE PATCH OPTIONS PROPFIND
            BREW))
        {
            next if $allow{$path} =~ /\b$method\b/;

            my $r = $t->request($method, "/defender$path", @admin);
            is($r->status . ' ' . ($r->header('Allow') // ''),
                "405 $allow{$path}", "$method $path");
        }
    }

    is(outcome($t->request(OPTIONS => '/defender/nothing', @admin)),
        '404 not_found', 'the path is looked at first');
};

subtest 'paths' => sub {
    my %same = (
        '/defender/config'              => '200',
        '/defender/./config'            => '200',
        '//defender//config'            => '200',
        '/defender/x/../config'         => '200',
        '/defender/config/verify/..'    => '404 not_found',
        '/defender/%63onfig'            => '200',
        '/defender/%2e/config'          => '200',
        '/%64efender/config'            => '200',
        '/defender/config?x'            => '200',
        '/defender/config?/../status'   => '200',
        '/defender/config#x'            => '200',
        '/defender/config/'             => '404 not_found',
        '/defender/config//'            => '404 not_found',
        '/defender/config%2f'           => '404 not_found',
        '/defender/config%2Fverify'     => '405 method_not_allowed',
        '/defender/config;a=1'          => '404 not_found',
        '/defender/config.json'         => '404 not_found',
        '/defender/config%20'           => '404 not_found',
        '/defender/Config'              => '404 not_found',
        '/defender/'                    => '404 not_found',
        '/defender/configx'             => '404 not_found',
        '/defender/conf'                => '404 not_found',
        '/defender/defender/config'     => '404 not_found',
        '/defender/config%00'           => '400',
        '/defender/..%2f..%2fconfig'    => '400',
        '/Defender/config'              => '404',
        '/no-slash/config'              => '200',
        '/no-slash'                     => '404 not_found',
        '/no-slashx/config'             => '404 not_found',
    );

    for my $path (sort keys %same) {
        is(outcome($t->get($path, @viewer)), $same{$path}, "GET $path");
    }

    # However it is spelled, a viewer does not get what an admin gets.
    for my $path (qw(/defender/config /defender/./config //defender//config
        /defender/x/../config /defender/%63onfig /defender/config?x))
    {
        is(outcome($t->put($path, @viewer, json => {})), '403 forbidden',
            "PUT $path as viewer");
        is(outcome($t->put($path, @admin, json => {})),
            '400 invalid_settings', "PUT $path as admin");
    }
};

subtest 'types of bodies' => sub {
    my $post = sub {
        my ($path, @headers) = @_;
        return outcome($t->post("/defender$path", @admin,
            headers => \@headers, body => '[]'));
    };

    my $type = 'Content-Type';
    my $no   = '415 unsupported_media_type';

    is($post->('/enrich', $type => 'application/json'), '200', 'JSON');
    is($post->('/enrich', $type => 'Application/JSON ; charset=utf-8'), '200',
        'in any case, with a parameter');
    is($post->('/enrich', $type => 'application/x-ndjson'), '200', 'NDJSON');
    is($post->('/enrich'), $no, 'none');
    is($post->('/enrich', $type => ''), $no, 'empty');
    is($post->('/enrich', $type => 'text/plain'), $no, 'text');
    is($post->('/enrich', $type => 'application/x-www-form-urlencoded'), $no,
        'form');
    is($post->('/enrich', $type => 'application/json-patch+json'), $no,
        'longer');
    is($post->('/enrich', $type => 'application/jso'), $no, 'shorter');
    is($post->('/enrich', $type => 'text/plain, application/json'), $no,
        'a list');
    is($post->('/config/verify', $type => 'application/x-ndjson'), $no,
        'NDJSON where it has no meaning');
    is($post->('/sync', $type => 'text/plain'), $no, 'also for a wish');
    is($post->('/enrich', @json, 'Content-Encoding' => 'gzip'), $no,
        'packed');
    is($post->('/enrich', @json, 'Content-Encoding' => 'identity'), '200',
        'not packed, and saying so');
};

subtest 'pages of other sites' => sub {
    my $put = sub {
        my (@headers) = @_;
        return outcome($t->put('/defender/config', @admin,
            headers => [@json, @headers], body => '{}',
            host_header => 'soc.example'));
    };

    my $yes = '400 invalid_settings';
    my $no  = '403 cross_site';

    my @cases = (
        [$yes, 'no browser'],
        [$yes, 'same origin', 'Sec-Fetch-Site' => 'same-origin'],
        [$yes, 'typed by the user', 'Sec-Fetch-Site' => 'none'],
        [$no, 'another site', 'Sec-Fetch-Site' => 'cross-site'],
        [$no, 'another host of the domain', 'Sec-Fetch-Site' => 'same-site'],
        [$no, 'an unknown word', 'Sec-Fetch-Site' => 'friend'],
        [$no, 'an empty word', 'Sec-Fetch-Site' => ''],
        [$no, 'two words', 'Sec-Fetch-Site' => 'none',
            'Sec-Fetch-Site' => 'cross-site'],
        [$yes, 'the host itself', Origin => 'https://soc.example'],
        [$yes, 'TLS ends elsewhere', Origin => 'http://soc.example'],
        [$yes, 'in other case', Origin => 'https://SOC.example'],
        [$yes, 'with the usual port', Origin => 'https://soc.example:443'],
        [$no, 'another port', Origin => 'https://soc.example:8443'],
        [$no, 'another host', Origin => 'https://evil.example'],
        [$no, 'a longer host', Origin => 'https://soc.example.evil.example'],
        [$no, 'a longer name', Origin => 'https://xsoc.example'],
        [$no, 'a sandboxed page', Origin => 'null'],
        [$no, 'empty', Origin => ''],
        [$no, 'no web page', Origin => 'ftp://soc.example'],
        [$no, 'only the scheme', Origin => 'https://'],
        [$no, 'one of two', Origin => 'https://soc.example',
            Origin => 'https://evil.example'],
        [$no, 'the one fits, the other not', Origin => 'https://soc.example',
            'Sec-Fetch-Site' => 'cross-site'],
    );

    for my $case (@cases) {
        my ($want, $what, @headers) = @$case;
        is($put->(@headers), $want, $what);
    }

    is(outcome($t->put('/defender/config', @admin, body => '{}',
        headers => [@json, Origin => 'http://soc.example:8080'],
        host_header => 'soc.example:8080')), $yes, 'the same unusual port');

    is(outcome($t->get('/defender/status', @viewer,
        headers => ['Sec-Fetch-Site' => 'cross-site'])), '200',
        'reading is not refused');
};

# Valid settings as far as JSON goes, of exactly that length.
sub settings_of {
    my ($length) = @_;

    my $text = '{"pollMinutes":4}';

    return $text . ' ' x ($length - length $text);
}


sub batch_of {
    my ($length) = @_;

    return '[' . ' ' x ($length - 2) . ']';
}


subtest 'lengths of bodies' => sub {
    my $bad = '400 invalid_settings';
    my $put = sub {
        my ($body, %more) = @_;
        return outcome($t->put('/defender/config', @admin,
            headers => \@json, body => $body, %more));
    };

    is($put->(''), '400 invalid_json', 'empty');
    is(outcome($t->put('/defender/config', @admin, headers => \@json)),
        '400 invalid_json', 'none at all');
    is($put->('{'), '400 invalid_json', '1 byte');
    is($put->('{}'), $bad, '2 bytes');
    is($put->(settings_of(CONFIG_LIMIT)), $bad, 'exactly the limit');
    is($put->(settings_of(CONFIG_LIMIT + 1)), '413 too_large', 'one more');
    is($put->(settings_of(40_000)), '413 too_large', '40 KB');
    is($put->(settings_of(CONFIG_LIMIT), chunked => 1), $bad,
        'exactly the limit, chunked');
    is($put->(settings_of(CONFIG_LIMIT + 1), chunked => 1), '413 too_large',
        'one more, chunked');
    is($put->(settings_of(200), chunked => ['{"pollMinutes"', ':4', '}']),
        $bad, 'three chunks');
    is($put->('', chunked => []), '400 invalid_json', 'no chunk at all');

    my $r = $t->put('/defender/config', @admin, headers => \@json,
        body => settings_of(CONFIG_LIMIT + 1));
    is($r->json->{detail}, 'the body may have at most 8192 bytes',
        'the limit is told');

    my $post = sub {
        my ($body, %more) = @_;
        return outcome($t->post('/defender/enrich', @viewer,
            headers => \@json, body => $body, %more));
    };

    is($post->(batch_of(BATCH_LIMIT)), '200', 'batch of exactly the limit');
    is($post->(batch_of(BATCH_LIMIT + 1)), '413 too_large', 'one more');
    is($post->(batch_of(BATCH_LIMIT), chunked => 1), '200',
        'batch of exactly the limit, chunked');
    is($post->(batch_of(BATCH_LIMIT + 1), chunked => 1), '413 too_large',
        'one more, chunked');
};

subtest 'bodies in pieces' => sub {
    my $head = "POST /defender/enrich HTTP/1.1\r\nHost: h\r\nX-Role: viewer"
        . "\r\nContent-Type: application/json\r\nConnection: close\r\n";

    my $c = $t->connect;
    $c->send("${head}Content-Length: 12\r\n\r\n[\"10.");
    wait_log(qr/http client request body preread 5/, 'first part');
    $c->send('0.0.1"]');
    is($c->response('POST')->json->[0]{ip}, '10.0.0.1', 'in two packets');

    $c = $t->connect;
    $c->send("${head}Content-Length: 12\r\n\r\n[\"10.0.0.1\"]", each => 0.0005);
    is($c->response('POST')->json->[0]{ip}, '10.0.0.1', 'byte by byte');

    $c = $t->connect;
    $c->send("${head}Expect: 100-continue\r\nContent-Length: 12\r\n\r\n");
    like($c->read_some(25), qr{^HTTP/1\.1 100 Continue\r\n\r\n}, 'continue');
    $c->send('["10.0.0.1"]');
    is($c->response('POST')->json->[0]{ip}, '10.0.0.1', 'after "continue"');

    # Broken off: the request ends without an answer, and nothing is left.
    $c = $t->connect;
    $c->send("${head}Content-Length: 12\r\n\r\n[\"10.0");
    wait_log(qr/http client request body preread 6/, 'another first part');
    $c->reset;
    $t->wait_for(sub { busy() eq '1 1' }, 10, 'it is over');

    for my $place (qw(small-buffer file-only)) {
        my $long = settings_of(CONFIG_LIMIT);

        is(outcome($t->put("/$place/config", headers => \@json,
            body => $long)), '400 invalid_settings', "$place: 8 KB");
        is(outcome($t->put("/$place/config", headers => \@json,
            body => $long, chunked => [unpack '(A100)*', $long])),
            '400 invalid_settings', "$place: 8 KB in 82 chunks");
        is(outcome($t->put("/$place/config", headers => \@json,
            body => settings_of(40_000))), '413 too_large', "$place: 40 KB");
        is(outcome($t->put("/$place/config", headers => \@json,
            body => settings_of(40_000), chunked => 1)), '413 too_large',
            "$place: 40 KB chunked");

        # It would be left there: the harness looks for such files.
        next if $place eq 'file-only';

        my $batch = '[' . join(',', map { qq{"10.0.$_.1"} } 0 .. 255) . ']';
        my $r = $t->post("/$place/enrich", headers => \@json, body => $batch);
        is_deeply([map { $_->{ip} } @{$r->json}],
            [map { "10.0.$_.1" } 0 .. 255], "$place: a batch from a file");
    }

    is($t->put('/nginx-limit/config', headers => \@json,
        body => settings_of(2000))->status, 413, 'nginx has a limit, too');
};

subtest 'a body where none belongs' => sub {
    my $c = $t->connect;
    my @get = ("Host: h\r\nX-Role: viewer\r\nContent-Length: 20\r\n\r\n",
        'GET /nothing HTTP/1.', "Host: h\r\nX-Role: viewer\r\n\r\n");

    for my $path (qw(/enrich?ip=10.0.0.1 /status /config)) {
        $c->send("GET /defender$path HTTP/1.1\r\n$get[0]$get[1]");
        is($c->response('GET')->status, 200, "GET $path with a body");
    }

    $c->send("GET /defender/config HTTP/1.1\r\n$get[0]");
    my $r = $c->response('GET');
    is($r->status, 200, 'the answer does not wait for such a body');

    $c->send("$get[1]GET /defender/status HTTP/1.1\r\n$get[2]");
    ok($c->response('GET')->json->{counters},
        'what came late is not taken for a request');
    $c->close;
};

subtest 'several requests on one connection' => sub {
    my $c = $t->connect;
    my $request = sub {
        my ($method, $path, @more) = @_;
        return Test::Defender::HTTP::request_bytes(
            method => $method, uri => "/defender$path", host => 'h', keep => 1,
            headers => ['X-Role' => 'admin', @json], @more);
    };

    $c->send($request->(GET => '/config')
        . $request->(POST => '/enrich', body => '["10.0.0.1"]')
        . $request->(GET => '/config')
        . $request->(PUT => '/config', body => '{"pollMinutes":4}')
        . $request->(POST => '/enrich', body => '["10.0.0.2"]', chunked => 1)
        . $request->(GET => '/enrich?ip=10.0.0.3'));

    is($c->response('GET')->json->{revision}, 0, 'a waiting one first');
    is($c->response('POST')->json->[0]{ip}, '10.0.0.1', 'a batch');
    is($c->response('GET')->json->{revision}, 0, 'a waiting one');
    is(outcome($c->response('PUT')), '400 invalid_settings', 'a write');
    is($c->response('POST')->json->[0]{ip}, '10.0.0.2', 'a chunked batch');
    is($c->response('GET')->json->{ip}, '10.0.0.3', 'a look-up');
    $c->close;
};

subtest 'HTTP/1.0 and HTTP/2' => sub {
    my $r = $t->get('/defender/config', @viewer, version => '1.0');
    is($r->json->{revision}, 0, 'HTTP/1.0');

    my $url = 'http://127.0.0.1:' . $t->port(1) . '/h2';
    my @h2  = ('--http2-prior-knowledge', '-i');

    like($t->curl(@h2, "$url/config")->{out},
        qr/^HTTP\/2 200 .*"revision":0/s, 'HTTP/2: a waiting request');
    like($t->curl(@h2, "$url/enrich?ip=10.0.0.1")->{out},
        qr/^HTTP\/2 200 .*"ip":"10\.0\.0\.1"/s, 'HTTP/2: a look-up');
    like($t->curl(@h2, '-I', "$url/config")->{out},
        qr/^HTTP\/2 200 .*\r\n\r\n$/s, 'HTTP/2: HEAD');

    $t->write_file('body', batch_of(BATCH_LIMIT));
    my @post = (@h2, '-H', 'Content-Type: application/json', '--data-binary',
        "\@$dir/body");
    like($t->curl(@post, "$url/enrich")->{out}, qr/^HTTP\/2 200 .*\[\]$/s,
        'HTTP/2: a batch of exactly the limit');

    $t->write_file('body', settings_of(CONFIG_LIMIT + 1));
    # nginx resets the stream of a body that it does not read, as with its own
    # "return 413", and curl may take that (92) for the answer.
    my $large;
    $t->wait_for(sub {
        $large = $t->curl(@post, "$url/config/verify");
        $large->{exit} != 92;
    }, 10, 'curl takes the answer');
    like($large->{out},
        qr/^HTTP\/2 413 .*"too_large"/s, 'HTTP/2: one more than the limit');

    like($t->curl(@post, '-H', 'Content-Length:', "$url/config/verify")->{out},
        qr/^HTTP\/2 413 .*"too_large"/s, '... without telling its length');

    $t->write_file('body', $t->json_encode($t->settings));
    like($t->curl(@post, "$url/config/verify")->{out},
        qr/^HTTP\/2 200 .*"verified":true/s, 'HTTP/2: a long wait');
};

$t->done;
