#!/usr/bin/perl

# Devices, settings and workers change while bodies are under way; and what is
# counted of them.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time sleep);

use lib 't/lib';
use Test::Defender;
use Test::Defender::Enrich qw($LOG_FORMAT strip matches insertions ask);

my $t = Test::Defender->new;

$t->start_redis;
my $sim = $t->start_sim;
my $url = $t->start_upstream->url;

my $dir = $t->dir;
my $ONE = '{"src_ip":"10.20.1.11"}';
my $PAD = 'x' x 20_000;

mkdir "$dir/$_" for qw(www proxy_cache);
$t->write_file('www/tail.html', '<!-- tail -->');
$t->write_file($t->upstream->dir . '/one.json', $ONE);

# A line, then another when told.
my $raw = $t->raw_server(sub {
    my ($c, $request) = @_;

    my ($go) = $request->{uri} =~ /\?([\w-]+)/;
    $c->send("HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
        . "Transfer-Encoding: chunked\r\n\r\n");
    $c->chunk("$ONE\n");
    my $deadline = time + 20;
    sleep 0.01 while !-e "$dir/$go" && time < $deadline;
    $c->chunk("$ONE\n");
    $c->send("0\r\n\r\n");
})->url;

$t->conf($t->standard_conf(
    http => <<"END_HTTP", server => <<"END_SERVER"))->run;
    $LOG_FORMAT
    defender_sync_cooldown 1ms;
    proxy_cache_path %%DIR%%/proxy_cache keys_zone=raw:1m inactive=1h;
    types { text/html html; }
END_HTTP
        access_log %%DIR%%/enrich.log enrich;
        defender_enrich on;

        location /raw/ {
            proxy_buffering off;
            proxy_pass $raw/;
        }

        location /log/ {
            defender_enrich log;
            proxy_pass $url/;
        }

        location /unmatched/ {
            defender_enrich_unmatched on;
            proxy_pass $url/;
        }

        location /role/ {
            defender_role \$arg_role;
            proxy_pass $url/;
        }

        location /cached/ {
            proxy_cache raw;
            proxy_cache_key \$uri;
            proxy_cache_valid 200 1h;
            add_header X-Cache \$upstream_cache_status;
            proxy_pass $url/;
        }

        location /after/ {
            addition_types application/json;
            add_after_body /tail.html;
            proxy_pass $url/;
        }

        location = /tail.html {
            defender_enrich off;
            root %%DIR%%/www;
        }

        location /twice/ {
            proxy_pass http://127.0.0.1:%%PORT_0%%/d/;
        }

        location = /fast {
            defender_enrich off;
            default_type text/plain;
            return 200 ok;
        }
END_SERVER

$t->configure;
$t->wait_devices;
$t->wait_match('10.20.1.11', 'exact');


sub counters {
    return $t->get('/defender/status', role => 'viewer')->json->{counters};
}


# What a request adds to the counters; those that stay are left out.
sub counted {
    my ($request) = @_;

    my $before = counters();
    $request->();
    my $after = counters();
    my %more;

    for my $group (qw(responses entities)) {
        for my $name (keys %{$after->{$group}}) {
            my $n = $after->{$group}{$name} - $before->{$group}{$name};
            $more{"$group $name"} = $n if $n;
        }
    }

    for my $name (qw(malformed dropped)) {
        my $n = $after->{$name} - $before->{$name};
        $more{$name} = $n if $n;
    }

    return \%more;
}


# The names of the devices in a body.
sub names {
    my ($body) = @_;

    return map { $_->{src_ip}{computerDnsName} } insertions($body);
}


# Renames the device and waits until the host knows.
sub rename_device {
    my ($name) = @_;

    $sim->patch_device('d1' x 20, computerDnsName => $name);

    my $asked = $t->post('/defender/sync', role => 'admin', json => {});
    diag($asked->body) if $asked->status >= 300;

    ok($t->wait_for(sub {
        my $now = $t->entity('10.20.1.11')->{computerDnsName};
        return defined $now && $now eq $name;
    }, 20, "the name $name"), "the device is called $name now");
}


# The first line of an answer, enriched.
sub wait_line {
    my ($c) = @_;

    $t->wait_for(sub {
        $c->fill(time + 0.1);
        return $c->{in} =~ /\}\}\}\n/;
    }, 10, 'a line');
}


# What is counted.

is_deeply(counted(sub {
    $t->post('/d/x', body => '{"a":"10.20.1.11","b":"10.20.4.31","c":'
        . '"10.20.4.59","d":"10.99.9.9"}')
}), {'responses on' => 1, 'entities exact' => 1, 'entities ambiguous' => 1,
    'entities stale' => 1}, 'verdicts are counted');

is_deeply(counted(sub { $t->get('/log/one.json') }),
    {'responses log' => 1, 'entities exact' => 1}, 'log is counted');

is_deeply(counted(sub {
    $t->post('/unmatched/x', body => '{"d":"10.99.9.9","e":"8.8.8.8"}')
}), {'responses on' => 1, 'entities none' => 1}, 'unmatched is counted');

is_deeply(counted(sub { $t->post('/d/x', body => "$ONE x $ONE") }),
    {'responses on' => 1, 'entities exact' => 1, malformed => 1},
    'a malformed body is counted');

is_deeply(counted(sub {
    $t->post('/d/x?type=application/x-ndjson', body => "x\n$ONE\ny\n$ONE")
}), {'responses on' => 1, 'entities exact' => 2, malformed => 2},
    'malformed lines are counted');

{
    my $many = '{' . join(',', map { "\"k$_\":\"10.20.1.11\"" } 1 .. 400)
        . '}';
    my $more = counted(sub { $t->post('/d/x', body => $many) });
    is(($more->{dropped} // 0) + ($more->{'entities exact'} // 0), 400,
        'each address is enriched or counted as dropped');
    cmp_ok($more->{dropped} // 0, '>', 0, 'one object has its bound');
}

for my $case (['/d/one.json?status=404', 'status'],
    ['/d/one.json?type=text/plain', 'type'],
    ['/d/one.json?label=br', 'encoding'], ['/role/one.json?role=x', 'role'])
{
    my ($uri, $reason) = @$case;
    is_deeply(counted(sub { $t->get($uri) }),
        {"responses skipped-$reason" => 1}, "skipped is counted: $reason");
}

is_deeply(counted(sub { $t->get('/fast') }), {}, 'off is not counted');


# A body that passes two nginxes, or one twice, is enriched once.
{
    my $r = $t->get('/twice/one.json');
    is_deeply([matches($r->body)], ['src_ip=exact:d1'], 'twice: once');
    is(strip($r->body), $ONE, 'twice: the rest is the upstream\'s');
}


# A filter behind us that makes the end itself.
for my $query ('', '?chunk=5') {
    my $c = $t->connect;
    for my $n (1, 2) {
        my $r = $t->get("/after/one.json$query", connection => $c);
        ok($r->complete, "a body that goes on after its end$query: complete");
        is(strip($r->body), "$ONE<!-- tail -->",
            "a body that goes on after its end$query: all of it");
    }
    $c->close;
}


# The device changes: cached bodies are enriched anew, and a body that is
# under way goes on with the new one.

is_deeply([names($t->get('/cached/one.json')->body)], ['ws-ana.corp.example'],
    'cached: first');

my $c = $t->connect;
$c->send("GET /raw/x?go-rename HTTP/1.1\r\nHost: localhost\r\n\r\n");
wait_line($c);

rename_device('ws-anna.corp.example');

$t->write_file('go-rename', '');
{
    my $r = $c->response('GET');
    ok($r->complete, 'a body under way: complete');
    is_deeply([names($r->body)],
        ['ws-ana.corp.example', 'ws-anna.corp.example'],
        'a body under way: each line has the device of its moment');

    $r = $t->get('/cached/one.json');
    is($r->header('X-Cache'), 'HIT', 'cached: hit');
    is_deeply([names($r->body)], ['ws-anna.corp.example'],
        'cached: the device of today');
}


# Switched off in the middle of a body: the rest passes.

$c->send("GET /raw/x?go-off HTTP/1.1\r\nHost: localhost\r\n\r\n");
wait_line($c);

$t->configure(enabled => JSON::PP::false);
$t->wait_for(sub {
    ($t->get('/d/one.json')->header('X-Defender-Enrich') // '') =~ /disabled/;
}, 10, 'disabled');

$t->write_file('go-off', '');
{
    my $r = $c->response('GET');
    ok($r->complete, 'switched off in a body: complete');
    is_deeply([names($r->body)], ['ws-anna.corp.example'],
        'switched off in a body: nothing more is inserted');
    is(strip($r->body), "$ONE\n$ONE\n", 'switched off in a body: untouched');
    is_deeply(counted(sub { $t->get('/d/one.json') }),
        {'responses skipped-disabled' => 1}, 'disabled is counted');
}
$c->close;

$t->configure;
$t->wait_for(sub {
    ($t->get('/d/one.json')->header('X-Defender-Enrich') // '') eq 'on';
}, 10, 'enabled');


# The snapshot is there from the first request on after a reload or a restart,
# with Redis away as well.

ok($t->reload, 'reload');
is_deeply([matches($t->get('/d/one.json')->body)], ['src_ip=exact:d1'],
    'enriched after a reload');

$t->redis->stop;
is_deeply([matches($t->get('/d/one.json')->body)], ['src_ip=exact:d1'],
    'enriched without Redis');

$t->stop;
$t->run;
is_deeply([matches($t->get('/d/one.json')->body)], ['src_ip=exact:d1'],
    'enriched after a restart without Redis');

$t->done;
