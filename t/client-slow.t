#!/usr/bin/perl

# Peers that do not answer, or far too slowly: the call ends in time and says
# what it waited for, and nobody else on the worker waits with it.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use IO::Socket::INET ();
use JSON::PP         ();
use Test::Defender;
use Test::More;
use Time::HiRes qw(time);

my $JSON = JSON::PP->new->utf8->canonical;

# Owner of the peers; each slow verification has an nginx of its own.
my $t = Test::Defender->new;


# getaddrinfo() as a resolver has it that does not answer, and a name whose
# first address lets nobody in.
my $SHIM = <<'END_C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <string.h>
#include <time.h>

typedef int (*lookup)(const char *, const char *, const struct addrinfo *,
                      struct addrinfo **);

int
getaddrinfo(const char *name, const char *service,
            const struct addrinfo *hints, struct addrinfo **found)
{
    struct timespec  pause = { 25, 0 };
    struct addrinfo *last;
    lookup           real = (lookup) dlsym(RTLD_NEXT, "getaddrinfo");

    if (name != NULL && strcmp(name, "silent.example") == 0) {
        nanosleep(&pause, NULL);
        return EAI_AGAIN;
    }

    if (name == NULL || strcmp(name, "two.example") != 0) {
        return real(name, service, hints, found);
    }

    if (real("127.0.0.9", service, hints, found) != 0) {
        return EAI_FAIL;
    }

    for (last = *found; last->ai_next != NULL; last = last->ai_next) {
    }

    return real("127.0.0.1", service, hints, &last->ai_next);
}


void
freeaddrinfo(struct addrinfo *found)
{
}
END_C


# Starts an nginx with this endpoint and a verification on it; returns a handle
# for the subs below.
sub start_slow {
    my ($endpoint, $ca) = @_;

    my $u = Test::Defender->new;
    $u->start_redis;
    $u->conf($u->standard_conf(endpoint => $endpoint, ca => $ca))->run;

    my $body = $JSON->encode($u->settings(
        tenantId  => Test::Defender::Simulator::TENANT,
        appId     => Test::Defender::Simulator::APP,
        appSecret => Test::Defender::Simulator::SECRET,
    ));

    my $c = $u->connect(timeout => 90);

    $c->send(join "\r\n", 'POST /defender/config/verify HTTP/1.1',
        'Host: localhost', 'X-Role: admin', 'Content-Type: application/json',
        'Content-Length: ' . length $body, 'Connection: close', '', $body);

    return {t => $u, connection => $c, started => time};
}


# Asserts that nobody else has to wait meanwhile.
sub serves {
    my ($slow, $title) = @_;

    my $from   = time;
    my $status = $slow->{t}->get('/defender/status', role => 'viewer');

    is($status->status, 200, "$title: others are served");
    cmp_ok(time - $from, '<', 1 * $t->slowness, "$title: at once");
}


# Waits for the answer; the checks by name.
sub verified {
    my ($slow) = @_;

    my $answer = $slow->{connection}->response('POST', timeout => 90);
    $slow->{took} = time - $slow->{started};
    $slow->{connection}->close;

    is($answer->status, 200, 'an answer') or diag($answer->body);

    return {map { $_->{name} => $_ } @{$answer->json->{checks}}};
}


sub fails {
    my ($checks, $name, $code, $words) = @_;

    my $check = $checks->{$name};

    is($check->{result}, 'failed', "$name failed");
    like($check->{detail}, qr/^\Q$code\E\b/, 'code');
    like($check->{message}, $words, 'words');
}


# Clock ticks that the worker has used.
sub ticks {
    my ($slow) = @_;

    my ($worker) = $slow->{t}->worker_pids;
    open my $fh, '<', "/proc/$worker/stat" or return 0;
    my @fields = split ' ', scalar <$fh>;

    return $fields[13] + $fields[14];
}


# A port of 127.0.0.9 at which connections neither succeed nor fail.
sub black_hole {
    my ($port) = @_;

    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.9',
        LocalPort => $port, Listen => 1, ReuseAddr => 1) or die "$!\n";
    my @waiting = map {
        IO::Socket::INET->new(PeerAddr => '127.0.0.9', PeerPort => $port,
            Blocking => 0)
    } 1 .. 4;

    return [$listener, @waiting];
}


my $named = $t->start_sim(name => 'named', san => ['two.example']);
my $drip  = $t->start_sim(name => 'drip');
my $deaf  = $t->raw_server(sub { $_[0]->wait_gone(60) }, protocol => 'raw');
my $hole  = black_hole($named->port);

$drip->knobs(trickle_ms => 1000);

# A sanitizer run has its own libraries to load first.
my $dir  = $t->dir;
my $shim = !$ENV{DFD_ASAN} && $t->write_file('shim.c', $SHIM) && !system 'cc',
    '-shared', '-fPIC', '-o', "$dir/shim.so", "$dir/shim.c", '-ldl';

# They wait for time limits of ten seconds and more: all at once.
my $deaf_port = $deaf->port;
my %slow = (
    drip => start_slow('login=' . $drip->url . ' api=' . $drip->url,
        $drip->ca),
    handshake => start_slow("login=https://127.0.0.1:$deaf_port "
        . 'api=https://127.0.0.1:1', $drip->ca),
);

if ($shim) {
    my $url = 'https://two.example:' . $named->port;

    local $ENV{LD_PRELOAD} = "$dir/shim.so";
    $slow{name} = start_slow(
        'login=https://silent.example api=https://silent.example',
        $drip->ca);
    $slow{address} = start_slow("login=$url api=$url", $named->ca);
}

subtest 'others do not wait' => sub {
    serves($slow{$_}, $_) for sort keys %slow;
};


subtest 'a TLS handshake that is not answered' => sub {
    fails(verified($slow{handshake}), 'sign-in', 'timeout',
        qr/^127\.0\.0\.1:$deaf_port accepted .*handshake within 10\.\d s/);
};


subtest 'a resolver that does not answer' => sub {
    plan skip_all => 'no room for another library' if !$shim;

    fails(verified($slow{name}), 'sign-in', 'dns',
        qr/^The name of silent\.example:443 .*within 10\.\d s/);

    # Its thread still sleeps: that must not hold the worker.
    my $from = time;
    $slow{name}{t}->stop;
    cmp_ok(time - $from, '<', 3, 'nginx stops all the same');
};


subtest 'a host whose first address lets nobody in' => sub {
    plan skip_all => 'no room for another library' if !$shim;

    is(verified($slow{address})->{'read-devices'}{result}, 'passed',
        'the second one is tried');

    # Half of the connect timeout for each of two connections, at most.
    cmp_ok($slow{address}{took}, '<', 20, 'in time');
};


subtest 'a byte a second' => sub {
    my $check = verified($slow{drip})->{'read-devices'};

    is($check->{result}, 'failed', 'is not enough');
    like($check->{message}, qr/within 30/, 'thirty seconds of it');
    cmp_ok($slow{drip}{took}, '<', 40, 'then it is over');

    # 100 ticks are a second.
    cmp_ok(ticks($slow{drip}), '<', 100 * $t->slowness,
        'and it cost hardly any CPU time');
};

$_->{t}->finish for map { $slow{$_} } sort keys %slow;
$t->done;
