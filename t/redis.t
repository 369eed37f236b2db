#!/usr/bin/perl

# Redis as the module meets it: every way to connect, and every way in which a
# server refuses, stops, lies or goes away. What is asked is the API: the
# cache's state in GET /status, and the settings, which live in Redis.

use strict;
use warnings;

use JSON::PP ();
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender;

my $TIMEOUT = 0.6;    # seconds, of defender_redis
my $PASSWORD = 'canary-p4ss word';

my $t = Test::Defender->new;
$t->start_sim;

my $redis = $t->start_redis(tcp => 1);
my $slow  = $t->slowness;


# Starts nginx with this URL and further parameters of defender_redis, and
# with /other, a location that has nothing to do with it. Returns where its
# part of the error log begins.
sub start {
    my ($url) = @_;

    $t->stop;
    my $from = length $t->error_log;

    $t->conf($t->standard_conf(
        redis  => sprintf('%s timeout=%dms', $url, $TIMEOUT * 1000),
        server => 'location /other { return 200 "other"; }',
    ))->run;

    return $from;
}


sub config { return $t->get('/defender/config', role => 'viewer') }

sub status { return $t->get('/defender/status', role => 'viewer')->json }


# Waits until the status tells this state; its cause.
sub wait_cache {
    my ($state, $cause) = @_;

    return $t->wait_for(sub {
        my $cache = status()->{cache} or return;
        return if $cache->{state} ne $state;
        return if defined $cause && ($cache->{cause} // '') !~ $cause;
        return $cache;
    }, 20 * $slow, "the cache is $state" . ($cause ? " ($cause)" : ''));
}


sub wait_config {
    return $t->wait_for(
        sub { config()->status == 200 }, 20 * $slow, 'settings are read');
}


# Lines of the log since $from that tell a state of Redis.
sub told {
    my ($from, $what) = @_;

    return grep { /\[(?:warn|notice)\].*defender: redis ".*" is \Q$what\E/ }
        split /\n/, substr $t->error_log, $from;
}


# The settings cannot be read, and the answer says why.
sub refused_ok {
    my ($cause, $name) = @_;

    my $began  = time;
    my $answer = config();
    my $took   = time - $began;

    is($answer->status, 503, "$name: 503");
    is($answer->header('Content-Type'), 'application/problem+json',
        "$name: a problem");
    like($answer->json->{code}, qr/^cache_(?:down|error)$/,
        "$name: its code");
    like($answer->json->{detail}, $cause, "$name: its cause");
    cmp_ok($took, '<', (2 * $TIMEOUT + 0.5) * $slow, "$name: in time");

    return;
}


# Saves settings through the API and finds them there and in Redis.
sub usable_ok {
    my ($server, $name, @select) = @_;

    my $put = $t->configure(enabled => JSON::PP::false, pollMinutes => 17);
    is($put->status, 200, "$name: settings are saved");
    is(config()->json->{pollMinutes}, 17, "$name: and read");

    $server->cmd(@select) if @select;
    my %stored = $server->hash('HGETALL', 'defender:config');
    is($t->json_decode($stored{settings})->{pollMinutes}, 17,
        "$name: they lie in Redis");
    unlike($stored{secret}, qr/\Q${\$t->sim->secret}\E/,
        "$name: the secret is sealed");
    $server->cmd('DEL', 'defender:config');
    $server->cmd(SELECT => 0) if @select;

    is(wait_cache('ready')->{state}, 'ready', "$name: the status says ready");

    return;
}


sub clients {
    my ($server) = @_;

    return grep { /name=defender/ } split /\n/, $server->cmd(qw(CLIENT LIST));
}


subtest 'unix socket' => sub {
    my $from = start('unix:' . $redis->socket);

    usable_ok($redis, 'unix');
    ok(!told($from, 'down'), 'nothing to warn of');

    my @clients = clients($redis);
    cmp_ok(scalar @clients, '>', 0, 'clients tell their name');
    $t->stop;
    $t->wait_for(sub { !clients($redis) }, 5, 'they are gone');
};


subtest 'TCP, and a database of its own' => sub {
    start('redis://127.0.0.1:' . $redis->port . '/3');
    usable_ok($redis, 'TCP', SELECT => 3);

    start('unix:' . $redis->socket . '?db=5');
    usable_ok($redis, 'unix', SELECT => 5);

    start('redis://127.0.0.1:' . $redis->port . '/999');
    refused_ok(qr/DB index is out of range/, 'no such database');
};


subtest 'password and user' => sub {
    my $acl = "user default on >$PASSWORD ~* &* +\@all\n"
        . "user app on >app-canary-7 ~defender:* +\@all -\@dangerous"
        . " -client +\@connection -client|setname +info\n"
        . "user nothing on >app-canary-7 ~x -\@all\n";
    $acl =~ s/>\Q$PASSWORD\E/'#' . sha256_hex($PASSWORD)/e;

    my $locked = $t->start_redis(name => 'locked', tcp => 1, acl => $acl);
    $locked->{password} = qq{default "$PASSWORD"};

    my $url  = '127.0.0.1:' . $locked->port;
    my $good = $t->write_file('good', "$PASSWORD\n", 0600);
    my $app  = $t->write_file('app', 'app-canary-7', 0600);
    my $bad  = $t->write_file('bad', 'wrong-canary-9', 0600);

    start("redis://$url password_file=$good");
    usable_ok($locked, 'password');

    start("redis://app\@$url password_file=$app");
    usable_ok($locked, 'user who may not set a name');

    my $from = start("redis://$url");
    refused_ok(qr/NOAUTH/, 'no password');
    wait_cache('down', qr/^NOAUTH /);
    is(scalar(() = told($from, 'down: NOAUTH')), 2,
        'one line each for the API and the agent');

    start("redis://app\@$url password_file=$bad");
    refused_ok(qr/WRONGPASS/, 'wrong password');
    wait_cache('down', qr/^WRONGPASS /);

    start("redis://nothing\@$url password_file=$app");
    refused_ok(qr/NOPERM/, 'a user without rights');

    start('redis://127.0.0.1:' . $redis->port . " password_file=$good");
    refused_ok(qr/ERR AUTH/, 'a password that nobody asked for');

    $t->stop;
    unlike($t->error_log, qr/canary/, 'no password in the log');
    $locked->stop;
};


subtest 'TLS' => sub {
    my $tls = $t->start_redis(name => 'tls', tls => 1);
    my $url = '127.0.0.1:' . $tls->port;
    my $ca  = $tls->ca;

    start("rediss://$url ca=$ca");
    usable_ok($tls, 'TLS to an address');

    start('rediss://localhost:' . $tls->port . " ca=$ca");
    usable_ok($tls, 'TLS to a name');

    my $from = length $t->error_log;
    $tls->restart;
    $t->wait_for(sub { told($from, 'ready') || config()->status == 200 },
        20 * $slow, 'TLS comes back');
    wait_config();

    start("rediss://$url ca=" . $t->sim->ca);
    refused_ok(qr/TLS certificate not trusted/, 'another CA');

    start("redis://$url");
    refused_ok(qr/Redis does not answer: /, 'no TLS to a TLS port');

    start('rediss://127.0.0.1:' . $redis->port . " ca=$ca");
    refused_ok(qr/TLS|no connection within/, 'TLS to a plain port');

    $t->stop;
    $tls->stop;
};


subtest 'killed and started again' => sub {
    my $from = start('redis://127.0.0.1:' . $redis->port);
    wait_config();
    wait_cache('ready');

    for my $how (qw(kill stop)) {
        $redis->$how;
        wait_cache('down', qr/^connection refused/);
        refused_ok(qr/connection refused|closed by Redis/, $how);
        is($t->get('/other')->body, 'other', "$how: other pages are served");

        my $began = time;
        $redis->start;
        wait_config();
        cmp_ok(time - $began, '<', 11, "$how: back within the longest pause");
        wait_cache('ready');
    }

    # a command that was under way adds "closed by Redis" before "refused"
    my $down = () = told($from, 'down');
    cmp_ok($down, '>=', 4, 'twice down, for the API and the agent');
    cmp_ok($down, '<=', 8, 'and not told with each attempt');
    is(scalar(() = told($from, 'ready')), 6, 'three times ready: six lines');
    is(scalar(() = clients($redis)), 2, 'no connection was left behind');
};


subtest 'Redis closes what is idle' => sub {
    my $from = start('unix:' . $redis->socket);
    wait_config();
    wait_cache('ready');

    my $made = sub {
        return $redis->cmd(qw(INFO stats))
            =~ /total_connections_received:(\d+)/ ? $1 : die 'no INFO';
    };

    my $before = $made->();
    $redis->cmd(qw(CONFIG SET timeout 1));
    $t->wait_for(sub { $made->() > $before + 1 }, 15, 'connections anew');

    is(config()->status, 200, 'the next request succeeds') for 1 .. 3;
    is(scalar(() = told($from, 'down')), 0, 'and nobody was told');
    is(wait_cache('ready')->{state}, 'ready', 'ready all the time');
    $redis->cmd(qw(CONFIG SET timeout 0));
};


subtest 'a primary becomes a replica' => sub {
    my $from = start('unix:' . $redis->socket);
    is($t->configure(enabled => JSON::PP::false)->status, 200, 'saved');

    $redis->cmd('REPLICAOF', '127.0.0.1', $t->port(7));

    my $put = $t->put('/defender/config', role => 'admin',
        json => {pollMinutes => 18});
    is($put->status, 503, 'a write fails');
    like($put->json->{detail}, qr/READONLY/, 'loudly');

    $t->wait_for(sub { told($from, 'down: READONLY') }, 10 * $slow,
        'the log tells the cause');
    wait_config();
    pass('reads go on');

    $redis->cmd(qw(REPLICAOF NO ONE));
    $t->wait_for(sub {
        $t->put('/defender/config', role => 'admin',
            json => {pollMinutes => 18})->status == 200;
    }, 20 * $slow, 'writes succeed again');
    is(config()->json->{pollMinutes}, 18, 'the value is there');
};


subtest 'stopped, not dead' => sub {
    my $from = start('unix:' . $redis->socket);
    wait_config();
    wait_cache('ready');

    $redis->sigstop;

    my $began = time;
    refused_ok(qr/no (?:reply|connection) within 600ms/, 'SIGSTOP');

    for (1 .. 20) {
        $began = time;
        is($t->get('/other')->body, 'other', 'another page');
        cmp_ok(time - $began, '<', $TIMEOUT / 2 * $slow, 'does not wait');
    }

    wait_cache('down', qr/^no reply within 600ms$/);
    cmp_ok(scalar(() = told($from, 'down')), '<=', 2, 'no flood');

    $redis->sigcont;
    wait_config();
    wait_cache('ready');

    $redis->sigstop;
    $began = time;
    $t->stop;
    cmp_ok(time - $began, '<', 3 * $slow, 'nginx stops all the same');
    $redis->sigcont;
};


# A server that does all that a client asks of it when it connects, and
# answers everything else with @replies in turn.
sub fake {
    my (%how) = @_;

    return $t->raw_server(sub {
        my ($c, $words, $n) = @_;
        my $word = uc $words->[0];

        return $c->send($how{ping} // "+PONG\r\n") if $word eq 'PING';
        return $c->send("+OK\r\n") if $word =~ /^(?:CLIENT|SELECT)$/;

        $c->send($how{reply});
        $c->close if $how{close};
    }, protocol => 'resp');
}


subtest 'servers that refuse' => sub {
    my @cases = (
        ['a node of a cluster', qr/MOVED 3999 198\.51\.100\.9:6379/,
            reply => "-MOVED 3999 198.51.100.9:6379\r\n"],
        ['one that loads', qr/LOADING Redis is loading/,
            ping => "-LOADING Redis is loading the dataset in memory\r\n"],
        ['a replica without its primary', qr/MASTERDOWN Link/,
            ping => "-MASTERDOWN Link with MASTER is down\r\n"],
        ['a cluster that is down', qr/CLUSTERDOWN/,
            reply => "-CLUSTERDOWN Hash slot not served\r\n"],
        ['one that is no Redis', qr/not a Redis server/, ping => ":1\r\n"],
        ['a reply that breaks off', qr/closed by Redis/,
            reply => "*7\r\n\$100\r\nabc", close => 1],
        ['half a reply', qr/no reply within 600ms/,
            reply => "*7\r\n\$100\r\nabc"],
        ['an array of two thousand million', qr/unreadable reply/,
            reply => "*2147483647\r\n"],
        ['nested too deep', qr/unreadable reply/,
            reply => ("*1\r\n" x 20) . ":1\r\n"],
        ['bytes that are no reply', qr/unreadable reply: Protocol error/,
            reply => "<html>\r\n"],
    );

    for my $case (@cases) {
        my ($name, $cause, %how) = @$case;
        my $server = fake(%how);

        start('redis://127.0.0.1:' . $server->port);
        refused_ok($cause, $name);
        wait_cache('down', $cause) if $name =~ /cluster$|loads/;
        $t->stop;
        $server->stop;
    }
};


subtest 'servers that speak first' => sub {
    my @cases = (
        ['SSH', "SSH-2.0-x\r\n", qr/unreadable reply: Protocol error, got "S"/],
        ['HTTP', "HTTP/1.1 400 Bad Request\r\n\r\n", qr/got "H"/],
        ['full', "-ERR max number of clients reached\r\n",
            qr/ERR max number of clients reached/],
        ['closed', '', qr/closed by Redis/],
    );

    for my $case (@cases) {
        my ($name, $bytes, $cause) = @$case;
        my $server = $t->raw_server(sub {
            my ($c) = @_;
            $c->send($bytes) if length $bytes;
            $c->wait_gone(5) if length $bytes && $name ne 'full';
        }, protocol => 'raw');

        my $from = start('redis://127.0.0.1:' . $server->port);
        refused_ok($cause, $name);
        $t->wait_for(sub { $server->log > 4 }, 15 * $slow, 'some attempts');
        cmp_ok(scalar(() = told($from, 'down')), '<=', 2,
            "$name: one line each for the API and the agent");
        $t->stop;
        $server->stop;
    }
};


subtest 'what others wrote under our key' => sub {
    start('unix:' . $redis->socket);
    wait_config();

    $redis->cmd('DEL', 'defender:config');
    $redis->cmd('RPUSH', 'defender:config', 'a', 'b');
    my $answer = config();
    is($answer->status, 503, 'a list is an error');
    like($answer->json->{detail}, qr/WRONGTYPE/, 'that says so');
    is(wait_cache('ready')->{state}, 'ready', 'the connection is fine');

    $redis->cmd('DEL', 'defender:config');
    is(config()->status, 200, 'gone with the list');
};


sub sha256_hex {
    my ($text) = @_;

    require Digest::SHA;

    return Digest::SHA::sha256_hex($text);
}


$t->stop;
unlike($t->error_log, qr/canary/, 'no password anywhere in the log');
$t->done;
