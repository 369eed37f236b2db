#!/usr/bin/perl

# The harness itself, on a plain nginx: what the other tests lean on.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender;
use Test::Defender::Checks  qw(log_problems);
use Test::Defender::Port    qw(take_port release_port port_is_free);
use Test::Defender::Process qw(is_running);

my $begin    = time;
my $t        = Test::Defender->new(module => 0);
my $redis    = $t->start_redis;
my $upstream = $t->start_upstream;

my $CONF = <<"END";
%%GLOBALS%%
worker_processes 2;
events { worker_connections 256; }
http {
    %%HTTP%%
    server {
        listen 127.0.0.1:%%PORT_0%%;
        listen 127.0.0.1:%%PORT_1%% http2;
        location /small { return 200 "hello"; }
        location /twice { add_header X-A 1; add_header X-A 2; return 200 ""; }
        location /teapot { return 418; }
        location /dir { alias %%DIR%%/files; }
        location /upload {
            client_body_in_file_only clean;
            proxy_pass ${\ $upstream->url}/upload;
        }
        location /d/ { proxy_pass ${\ $upstream->url}/; }
    }
}
END

mkdir $t->dir . '/files';
$t->write_file('files/big', 'x' x 300_000);
$t->conf($CONF)->run;

cmp_ok(time - $begin, '<', 10, 'nginx, redis and the upstream are up');
note sprintf 'start took %.2f s', time - $begin;


# Runs a test file of its own; (exit code, output).
sub run_file {
    my ($text) = @_;

    my $file = $t->write_file('inner.t', <<"END");
use strict; use warnings; use Test::More; use lib '${\ $t->root}/t/lib';
use Test::Defender;
my \$t = Test::Defender->new(module => 0);
\$t->conf(<<'CONF');
%%GLOBALS%%
events {}
http { %%HTTP%% server { listen 127.0.0.1:%%PORT_0%%; } }
CONF
$text
END

    my $out = `$^X $file 2>&1`;

    return ($? >> 8, $out);
}


subtest 'client' => sub {
    my $answer = $t->get('/small');
    is($answer->status, 200, 'status');
    is($answer->reason, 'OK', 'reason');
    is($answer->version, '1.1', 'version');
    is($answer->body, 'hello', 'body');
    is($answer->header('Content-Length'), 5, 'a header in any case');
    ok($answer->complete, 'complete');
    ok(!$answer->chunked, 'not chunked');

    is($t->get('/twice')->header('x-a'), '1, 2', 'a header that comes twice');
    is($t->get('/twice')->header_count('X-A'), 2, 'counted');
    is($t->get('/teapot')->status, 418, 'another status');

    my $head = $t->head('/dir/big');
    is_deeply([$head->body, $head->header('content-length'), $head->complete],
        ['', 300_000, 1], 'HEAD has no body');

    my $old = $t->get('/small', version => '1.0', host_header => undef);
    is_deeply([$old->body, $old->header('connection')], ['hello', 'close'],
        'HTTP/1.0');

    is($t->get('/small', headers => [Host => 'a', 'X-B' => 'c'])->status, 200,
        'own Host header');
    is($t->request('GET', '/small', port => $t->port(1))->status, 0,
        'nothing that is HTTP/1');

    my $big = $t->get('/d/05-suricata-eve-alerts.ndjson?chunk=7000');
    ok($big->chunked, 'chunked');
    is(length $big->body, 68_926, 'in one piece');
    is(scalar(my @lines = $big->json_lines), 60, 'NDJSON');

    is($t->post('/d/x.json', json => {a => [1, "\x{fc}"]})->body,
        "{\"a\":[1,\"\xc3\xbc\"]}", 'a JSON body');
    is($t->post('/d/x.json', body => 'abc', chunked => ['a', 'bc'])->body,
        'abc', 'a chunked body');
    is($t->post('/d/x.json', body => "\0\xff")->body, "\0\xff", 'bytes');
};


subtest 'connections' => sub {
    my $c = $t->connect;
    is($t->get('/small', connection => $c)->body, 'hello', 'one');
    is($t->get('/small', connection => $c)->body, 'hello', 'two on the same');
    $c->close;

    $c = $t->connect;
    $c->send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n" x 3);
    is(join(' ', map { $c->response('GET')->body } 1 .. 3),
        'hello hello hello', 'pipelined');

    $c->send("GET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        each => 0.0005);
    is($c->response('GET')->body, 'hello', 'byte by byte');
    ok($c->closed_by_peer, 'closed by the peer');

    $c = $t->connect(rcvbuf => 32_768);
    $c->send("GET /dir/big HTTP/1.1\r\nHost: a\r\n\r\n");
    my $start = time;
    my $slow  = $c->response('GET', rate => 600_000);
    is(length $slow->body, 300_000, 'read slowly');
    cmp_ok(time - $start, '>', 0.3, 'in time');

    $c = $t->connect;
    $c->send("GET /dir/big HTTP/1.1\r\nHost: a\r\n\r\n");
    like($c->read_some(100), qr/^HTTP\/1\.1 200 OK\r\n/, 'the first bytes');
    $c->reset;

    $c = $t->connect(timeout => 0.2);
    is($c->response('GET')->status, 0, 'nothing comes');
    ok($c->{timed_out}, 'until the deadline');

    my $h2 = $t->curl('--http2-prior-knowledge', '-w', '%{http_version}',
        'http://127.0.0.1:' . $t->port(1) . '/small');
    is_deeply($h2, {exit => 0, out => 'hello2', err => ''}, 'HTTP/2');
    isnt($t->curl('http://127.0.0.1:' . $t->port(9) . '/')->{exit}, 0,
        'a port where nobody listens');
};


subtest 'nginx' => sub {
    is(scalar($t->worker_pids), 2, 'two workers');
    is_deeply([$t->nginx_test]->[0], 0, 'nginx -t');

    my @old = $t->worker_pids;
    ok($t->reload, 'reloaded');
    my @new = $t->worker_pids;
    is(scalar @new, 2, 'two new workers');
    is(scalar(grep { my $n = $_; grep { $n == $_ } @old } @new), 0,
        'other ones');
    is($t->get('/small')->body, 'hello', 'which serve');
    ok($t->wait_for(sub { $t->all_worker_pids == 2 }, 5, 'old ones leave'),
        'the old ones leave');

    $t->allow_log(qr/unknown directive "nonsense"/);
    $t->conf("%%GLOBALS%%\nnonsense;\n");
    my ($code, $output) = $t->nginx_test;
    isnt($code, 0, 'a bad configuration');
    like($output, qr/\[emerg\] .*unknown directive "nonsense"/, 'its output');
    ok(!$t->reload, 'is refused');
    is_deeply([$t->worker_pids], \@new, 'and changes nothing');

    ok(!eval { $t->conf('%%NOTHING%%'); 1 }, 'unknown placeholder');
    $t->conf($CONF);

    $t->stop;
    is($t->{exit_status}, 0, 'stopped');
    ok(port_is_free($t->port), 'its port is free');
    $t->run;
    is($t->get('/small')->body, 'hello', 'started again');
    like($t->access_log, qr{"GET /small HTTP/1\.1" 200 5}, 'access log');
    like($t->error_log, qr/\[debug\]/, 'error log of debug level');

    my $bad = Test::Defender->new(module => 0);
    $bad->conf("%%GLOBALS%%\nnonsense;\n");
    ok(!eval { $bad->run; 1 }, 'nginx that does not start');
    like($@, qr/unknown directive "nonsense"/, 'tells why');
};


subtest 'another user' => sub {
    plan skip_all => 'only root can give rights away' if $> != 0;

    my $other = Test::Defender->new(module => 0, user => 'nobody');
    mkdir $other->dir . '/files';
    $other->write_file('files/a', 'readable');
    $other->conf(<<'END')->run;
%%GLOBALS%%
events {}
http {
    %%HTTP%%
    server { listen 127.0.0.1:%%PORT_0%%; root %%DIR%%/files; }
}
END

    my ($worker) = $other->worker_pids;
    is((stat "/proc/$worker")[4], scalar getpwnam('nobody'), 'runs as nobody');
    is($other->get('/a')->body, 'readable', 'and enters the directory');
    $other->finish;
};


subtest 'ports' => sub {
    my ($one, $two) = (take_port(), take_port());
    isnt($one, $two, 'different');

    # Another test finds the lock even while nobody listens.
    my $udp = IO::Socket::INET->new(Proto => 'udp',
        LocalAddr => '127.0.0.1', LocalPort => $one);
    ok(!$udp, 'locked');
    release_port($_) for $one, $two;

    my $listener = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', Listen => 1, ReuseAddr => 1);
    ok(!port_is_free($listener->sockport), 'taken by a listener');
};


subtest 'redis' => sub {
    is($redis->cmd('SET', 'k', "a\r\nb\0"), 'OK', 'a status');
    is($redis->cmd('GET', 'k'), "a\r\nb\0", 'bytes');
    is($redis->cmd('GET', 'none'), undef, 'nil');
    is($redis->cmd('INCR', 'n'), 1, 'an integer');
    is_deeply($redis->cmd('MGET', 'n', 'none'), ['1', undef], 'an array');
    $redis->cmd('HSET', 'h', 'a', 1, 'b', 2);
    is_deeply({$redis->hash('HGETALL', 'h')}, {a => 1, b => 2}, 'a hash');
    is_deeply([$redis->keys('*')], ['h', 'k', 'n'], 'keys');
    ok(!eval { $redis->cmd('INCR', 'k'); 1 }, 'an error');
    like($@, qr/^redis: ERR value is not an integer/, 'its text');
    is($redis->cmd('PING'), 'PONG', 'the connection is still good');

    $redis->restart;
    is($redis->cmd('GET', 'k'), undef, 'restarted, empty');

    $redis->sigstop;
    my $stat = $t->read_file('/proc/' . $redis->pid . '/stat');
    like($stat, qr/\) T /, 'stopped');
    $redis->sigcont;
    is($redis->cmd('PING'), 'PONG', 'and on');

    $redis->kill;
    ok(!eval { $redis->cmd('PING'); 1 }, 'killed');
    $redis->start;

    my $tcp = $t->start_redis(name => 'tcp', unix => 0, tcp => 1,
        password => 'pw');
    is($tcp->cmd('PING'), 'PONG', 'TCP with a password');
    my $acl = $t->start_redis(name => 'acl', acl =>
        "user default on nopass ~* +\@all\nuser reader on >pw ~a* +get\n");
    is($acl->cmd('AUTH', 'reader', 'pw'), 'OK', 'a user of the ACL file');
    ok(!eval { $acl->cmd('SET', 'a', 1); 1 }, 'who may only read');
    my $tls = $t->start_redis(name => 'tls', unix => 0, tls => 1);
    is($tls->cmd('ECHO', 'x' x 100_000), 'x' x 100_000, 'TLS');
    ok(-s $tls->ca, 'with its CA');
    $_->stop for $tcp, $acl, $tls;
};


subtest 'raw servers' => sub {
    my $http = $t->raw_server(sub {
        my ($c, $request, $n) = @_;

        return $c->reply(201, 'text/plain', "$n $request->{body}",
            'X-Method' => $request->{method}) if $request->{uri} eq '/whole';
        $c->send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        return $c->reset if $request->{uri} eq '/reset';
        $c->close;
    });

    my @to = (port => $http->port);
    my $whole = $t->post('/whole', @to, body => "\xff");
    is_deeply([$whole->status, $whole->body, $whole->header('x-method')],
        [201, "1 \xff", 'POST'], 'a whole answer');
    for my $uri (qw(/half /reset)) {
        my $half = $t->get($uri, @to);
        is_deeply([$half->body, $half->complete ? 1 : 0], ['half', 0],
            "$uri: incomplete");
    }
    is_deeply([map { "$_->{n} $_->{uri}" } $http->log],
        ['1 /whole', '2 /half', '3 /reset'], 'log');
    is(($http->log)[0]{body}, "\xff", 'with the body');
    is(($http->log)[1]{headers}{host}, 'localhost', 'and headers');

    my $path = $t->dir . '/fake.sock';
    my $resp = $t->raw_server(sub {
        my ($c, $words) = @_;
        $c->send($words->[0] eq 'PING' ? "+PONG\r\n" : "-ERR no\r\n");
    }, protocol => 'resp', unix => $path);
    my $c = $t->connect(unix => $path);
    $c->send("*1\r\n\$4\r\nPING\r\n*2\r\n\$3\r\nGET\r\n\$1\r\nk\r\n");
    is($c->read_some(16), "+PONG\r\n-ERR no\r\n", 'RESP');
    is_deeply([map { $_->{command} } $resp->log], [['PING'], ['GET', 'k']],
        'commands');

    my $raw = $t->raw_server(sub {
        my ($c) = @_;
        $c->send('garbage');
        $c->wait_gone(5);
    }, protocol => 'raw');
    $c = $t->connect(port => $raw->port);
    is($c->read_some(7), 'garbage', 'raw');

    my $pid = $raw->pid;
    $raw->stop;
    ok(!is_running($pid), 'stopped');
    ok($c->closed_by_peer, 'with its connections');
};


subtest 'forward proxy' => sub {
    my $proxy = $t->start_proxy(only => 1, auth => 'u:p',
        targets => {'named.example:80' => $t->port});

    my $get = sub {
        return $t->curl('--proxy', $proxy->url, '--proxytunnel', @_);
    };

    is($get->('--proxy-user', 'u:p', 'http://named.example/small')->{out},
        'hello', 'takes a name to a port');
    like($get->('http://named.example/small')->{err},
        qr/CONNECT tunnel failed, response 407/, 'wants a password');
    like($get->('--proxy-user', 'u:p', 'http://other.example/small')->{err},
        qr/CONNECT tunnel failed, response 502/, 'and knows no other name');
    is_deeply([map { $_->{uri} } $proxy->log], ['named.example:80',
        'named.example:80', 'other.example:80'], 'log');
};


subtest 'upstream' => sub {
    for my $file (glob $t->root . '/t/detections/*.*json') {
        my ($name) = $file =~ m{([^/]+)$};
        my $answer = $t->get("/d/$name");
        ok($answer->body eq $t->read_file($file), "$name: byte for byte");
        is($answer->header('content-type'), $name =~ /ndjson$/
            ? 'application/x-ndjson' : 'application/json', 'its type');
    }

    my $up = sub { return $upstream->request(uri => $_[0]) };
    $t->write_file('upstream/own.json', '{"a":1}');

    is($up->('/own.json')->body, '{"a":1}', 'a file of the test');
    is($up->('/none.json')->status, 404, 'no such file');
    is($up->('/own.json?type=text/html')->header('content-type'), 'text/html',
        'type');
    is($up->('/own.json?type=none')->header('content-type'), undef, 'no type');
    is($up->('/own.json?status=206')->status, 206, 'status');
    is($up->('/own.json?header=X-A:b&header=X-C:d')->header('x-c'), 'd',
        'headers');
    is($up->('/own.json?label=br')->header('content-encoding'), 'br', 'label');
    is($up->('/own.json?etag=v1')->header('etag'), '"v1"', 'ETag');
    is($upstream->request(uri => '/own.json?etag=v1',
        headers => ['If-None-Match' => '"v1"'])->status, 304, 'not modified');
    is(length $up->('/own.json?encoding=gzip')->body > 7, 1, 'gzip');

    my $cut = $t->get('/own.json?cut=3', port => $upstream->port);
    is_deeply([$cut->body, $cut->complete ? 1 : 0], ['{"a', 0], 'cut');
    $cut = $t->get('/own.json?cut=3&chunk=2', port => $upstream->port);
    is_deeply([$cut->body, $cut->complete ? 1 : 0], ['{"a', 0], 'cut, chunked');

    is($t->post('/upload', body => 'y' x 50_000)->body, 'y' x 50_000,
        'a request body comes back');
    like($up->('/')->body, qr/^01-zeek-conn\.ndjson$/m, 'list of the files');
};


subtest 'what a log may not hold' => sub {
    my @bad = (
        '2026/11/25 01:00:00 [alert] 1#1: something',
        '2026/11/25 01:00:00 [crit] 1#1: something',
        '2026/11/25 01:00:00 [emerg] 1#1: something',
        '==17==ERROR: AddressSanitizer: heap-use-after-free',
        'src/core/x.c:10:3: runtime error: signed integer overflow',
        '2026/11/25 01:00:00 [alert] 1#1: worker process 2 exited on signal 11',
        '2026/11/25 01:00:00 [notice] 1#1: worker process 2 exited with code 2',
    );
    my $good = join "\n", '2026/11/25 01:00:00 [error] 1#1: upstream gone',
        '2026/11/25 01:00:00 [notice] 1#1: worker process 2 exited with code 0';

    is_deeply([map { scalar @{$_->[1]} } log_problems($good)], [0, 0, 0, 0],
        'a clean log');
    is_deeply([map { scalar @{$_->[1]} } log_problems(
        join "\n", $good, @bad)], [1, 2, 2, 2], 'one that is not');
    is_deeply([map { scalar @{$_->[1]} } log_problems(
        join("\n", @bad), qr/\[crit\]/, qr/on signal/)], [1, 1, 2, 1],
        'allowed lines');
};


subtest 'a test fails when its nginx went wrong' => sub {
    my ($code, $out) = run_file('$t->run; ok 1; $t->done;');
    is($code, 0, 'a good one passes') or diag $out;
    like($out, qr/^1\.\.8$/m, 'with seven assertions of the harness');

    ($code, $out) = run_file(<<'END');
$t->run;
open my $log, '>>', $t->dir . '/error.log';
print $log "2026/11/25 01:00:00 [alert] 1#1: planted\n";
close $log;
$t->done;
END
    isnt($code, 0, 'an alert');
    like($out, qr/^not ok \d+ - no \[alert\] in the error log$/m, 'is told');
    like($out, qr/^# .*1#1: planted$/m, 'and shown');

    ($code, $out) = run_file(<<'END');
$t->allow_log(qr/planted/);
$t->run;
open my $log, '>>', $t->dir . '/error.log';
print $log "2026/11/25 01:00:00 [alert] 1#1: planted\n";
close $log;
$t->done;
END
    is($code, 0, 'unless it is allowed');

    ($code, $out) = run_file(<<'END');
$t->run;
kill 'SEGV', $t->worker_pids;
$t->wait_for(sub { $t->error_log =~ /exited on signal 11/ }, 10, 'signal');
$t->done;
END
    isnt($code, 0, 'a worker that is killed');
    like($out, qr/^not ok \d+ - no process killed by a signal$/m, 'is told');

    ($code, $out) = run_file(<<'END');
$t->run;
$t->write_file('proxy_temp/0000000001', 'x');
$t->done;
END
    isnt($code, 0, 'a file left behind');
    like($out, qr/^not ok \d+ - no temporary files are left$/m, 'is told');

    ($code, $out) = run_file('$t->run; ok 1; done_testing;');
    isnt($code, 0, 'a test without "done"');
    like($out, qr/end the test with \$t->done/, 'is told');

    ($code, $out) = run_file(<<'END');
$t->wait_for(sub { 0 }, 0.1, 'a miracle');
$t->done;
END
    isnt($code, 0, 'a condition that does not come true');
    like($out, qr/^not ok 1 - in time: a miracle$/m, 'is told');

    ($code, $out) = run_file('$t->run; die "broken\n";');
    isnt($code, 0, 'a test that dies');
    is(scalar(() = $out =~ /^broken$/mg), 1, 'tells why');
};


$t->done;
