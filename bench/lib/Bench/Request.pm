package Bench::Request;

# Requests through nginx: CPU time of the worker for each answered request.

use strict;
use warnings;

use FindBin ();
use Bench::Bodies qw(write_bodies);
use Bench::Report qw(median);
use Test::Defender ();
use Test::Defender::Process qw(start_process stop_process);

my $root    = "$FindBin::Bin/..";
my $PAIRS   = 7;
my $SECONDS = 2;
my $DEVICES = 5000;

my $WORKER_CORE = 0;
my $LOAD_CORE   = 1;


# ours and other: paths of the nginx under test
sub measures {
    my @all = (
        ['lookup_vs_return', 0.85, 0.95,
            '/defender/enrich?ip=10.64.0.77', '/return'],
        ['lookup_vs_lua_redis', 6, 7.5,
            '/defender/enrich?ip=10.64.0.77', '/lua-redis?ip=10.64.0.77'],
        ['enrich_small_vs_plain', 0.75, 0.9,
            '/enrich/small.json', '/plain/small-enriched.json'],
        ['enrich_large_vs_plain', 0.55, 0.75,
            '/enrich/large.json', '/plain/large-enriched.json'],
        ['enrich_miss_vs_plain', 0.5, 0.75,
            '/enrich/miss.json', '/plain/miss.json'],
        ['enrich_vs_lua', 6, 10,
            '/enrich/small.json', '/lua/small.json'],
    );

    return map {
        my %m = (kind => 'request');
        @m{qw(name least aim ours_path other_path)} = @$_;
        \%m
    } @all;
}


sub start {
    my $t = Test::Defender->new;

    $t->start_redis(tcp => 1);
    $t->start_sim(generate => $DEVICES);

    my $dir = $t->dir;
    mkdir "$dir/www";

    $t->key_file;
    mkdir "$dir/cache";

    my $upstream = $t->port(9);

    $t->write_file('upstream.conf', <<"END");
daemon off;
pid $dir/upstream.pid;
error_log $dir/upstream.log warn;
worker_processes 1;
worker_cpu_affinity 10;
events { worker_connections 512; }
http {
    client_body_temp_path $dir/u1; proxy_temp_path $dir/u2;
    fastcgi_temp_path $dir/u3; uwsgi_temp_path $dir/u4; scgi_temp_path $dir/u5;
    access_log off;
    keepalive_requests 1000000000;
    types { application/json json; }
    server { listen 127.0.0.1:$upstream; root $dir/www; }
}
END

    my $pid = start_process(
        argv => ['taskset', '-c', $LOAD_CORE, '/usr/sbin/nginx', '-p', $dir,
            '-c', "$dir/upstream.conf"],
        out => "$dir/upstream.out");

    $t->conf(conf($t, $upstream));
    $t->run;
    $t->configure;
    $t->wait_match('10.64.0.77', 'exact');

    write_bodies($t, "$dir/www");

    return ($t, $pid);
}


sub conf {
    my ($t, $upstream) = @_;

    my $dir   = $t->dir;
    my $sim   = $t->{sim};
    my $login = $sim->login_url;
    my $api   = $sim->url;
    my $ca    = $sim->ca;
    my $redis = $t->redis->port;
    my $user  = $> == 0 ? 'user root;' : '';
    my $asan  = $ENV{DFD_MODULE} // "$root/build/ngx_http_defender_module.so";

    return <<"END";
daemon off;
pid $dir/nginx.pid;
error_log $dir/error.log notice;
$user
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
load_module $asan;
worker_processes 1;
worker_cpu_affinity 01;
thread_pool default threads=2;

events { worker_connections 512; }

http {
    %%HTTP%%
    access_log off;
    keepalive_requests 1000000000;

    defender_redis unix:$dir/redis.sock;
    defender_key $dir/key;
    defender_cache_path $dir/cache;
    defender_endpoint login=$login api=$api;
    defender_ca_certificate $ca;

    lua_shared_dict devices 64m;
    lua_package_path "$root/bench/lua/?.lua;/usr/share/lua/5.1/?.lua;;";
    init_by_lua_block { peer = require "peer" }

    upstream detections {
        server 127.0.0.1:$upstream;
        keepalive 32;
    }

    proxy_http_version 1.1;
    proxy_set_header Connection "";

    server {
        listen 127.0.0.1:%%PORT_0%%;

        location /defender/ {
            defender_api;
            defender_role admin;
        }

        location = /return {
            default_type application/json;
            include $dir/return[.]conf;
        }

        location = /lua-redis {
            default_type application/json;
            content_by_lua_block { peer.redis($redis) }
        }

        location = /lua-load {
            client_body_buffer_size 1m;
            content_by_lua_block { peer.load() }
        }

        location /plain/ {
            proxy_pass http://detections/;
        }

        location /enrich/ {
            defender_enrich on;
            proxy_pass http://detections/;
        }

        location /lua/ {
            proxy_pass http://detections/;
            header_filter_by_lua_block { ngx.header.content_length = nil }
            body_filter_by_lua_block { peer.enrich() }
        }
    }
}
END
}


# user + system of a process, in microseconds
sub cpu {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/schedstat" or die "/proc/$pid: $!\n";
    my ($ns) = split ' ', <$fh>;

    return $ns / 1000;
}


# (microseconds of worker CPU for each request, requests a second)
sub load {
    my ($t, $worker, $path, $seconds) = @_;

    my $url    = 'http://127.0.0.1:' . $t->port(0) . $path;
    my $before = cpu($worker);

    my @command = ('taskset', '-c', $LOAD_CORE, 'wrk', '-t1', '-c64',
        "-d${seconds}s", $url);
    my $out = `@command 2>&1`;

    my $used = cpu($worker) - $before;

    my ($requests) = $out =~ /^\s*(\d+) requests in/m;
    my ($rate)     = $out =~ m{^Requests/sec:\s*([\d.]+)}m;

    die "wrk said:\n$out" if !$requests || $out =~ /Non-2xx|Socket errors/;

    return ($used / $requests, $rate);
}


sub run {
    my (@measures) = @_;

    my ($t, $upstream) = start();
    my @workers;

    # the generation before the last reload has to be gone
    $t->wait_for(sub { @workers = $t->all_worker_pids; @workers == 1 }, 10,
        'one worker');

    my ($worker) = @workers;
    my @rows;

    for my $m (@measures) {
        load($t, $worker, $m->{$_}, 1) for qw(ours_path other_path);

        my (@ours, @other, @ratio, @rate, @other_rate);

        for my $pair (1 .. $PAIRS) {
            my ($a, $a_rate) = load($t, $worker, $m->{ours_path}, $SECONDS);
            my ($b, $b_rate) = load($t, $worker, $m->{other_path}, $SECONDS);

            push @ours,       $a;
            push @other,      $b;
            push @ratio,      $b / $a;
            push @rate,       $a_rate;
            push @other_rate, $b_rate;
        }

        push @rows, {%$m,
            ours  => median(@ours),
            other => median(@other),
            ratio => median(@ratio),
            unit  => 'us of worker CPU a request',
            note  => sprintf('(%.0f and %.0f requests/s)',
                median(@rate), median(@other_rate)),
            runs => $PAIRS};

        printf "%s: %.2f\n", $m->{name}, $rows[-1]{ratio};
    }

    stop_process($upstream, 'TERM');
    $t->done;

    return @rows;
}


1;
