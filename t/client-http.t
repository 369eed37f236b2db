#!/usr/bin/perl

# The way to Microsoft's hosts: TLS, proxy, names, redirects, limits, kept
# connections.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use IO::Socket::INET ();
use JSON::PP         ();
use Test::Defender;
use Test::More;

my $TRUE = JSON::PP::true;
my $JSON = JSON::PP->new->utf8->canonical;

my $t = Test::Defender->new;
$t->start_redis;
my $sim   = $t->start_sim(login_port => 1);
my $other = $t->start_sim(name => 'other');

# The port that is asked first, and what stands for it in messages.
my $login = '127\.0\.0\.1:' . ($sim->login_url =~ /(\d+)$/)[0];
my $api   = '127\.0\.0\.1:' . $sim->port;


# (Re)starts nginx with more in its configuration; keys of standard_conf.
sub with_conf {
    my (%conf) = @_;

    $t->stop if $t->pid;
    $t->conf($t->standard_conf(%conf))->run;

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    $sim->clear_log;
}


# The checks of one verification by name.
sub verify {
    return checks($t->post('/defender/config/verify', role => 'admin',
        json => $t->settings, timeout => 60));
}


sub checks {
    my ($answer) = @_;

    is($answer->status, 200, 'an answer') or diag($answer->body);

    return {map { $_->{name} => $_ } @{$answer->json->{checks}}};
}


sub passes {
    my ($checks, $title) = @_;

    is($checks->{'read-devices'}{result}, 'passed', $title)
        or diag($JSON->encode($checks));
}


sub fails {
    my ($checks, $name, $code, $words, $title) = @_;

    my $check = $checks->{$name};

    is($check->{result}, 'failed', "$title: $name failed");
    like($check->{detail}, qr/^\Q$code\E\b/, "$title: code");
    like($check->{message}, $words, "$title: words");
}


# A proxy that opens tunnels, or what $answer makes of the request.
sub proxy {
    my ($answer) = @_;

    return $t->raw_server($answer // sub {
        my ($c, $request) = @_;

        my $far = IO::Socket::INET->new($request->{uri})
            or return $c->reply(502, 'text/plain', '');
        $c->send("HTTP/1.1 200 Connection established\r\n\r\n");
        tunnel($c, $far);
    });
}


sub tunnel {
    my ($c, $far) = @_;

    my %peer = (fileno $c->{socket}, $far, fileno $far, $c->{socket});
    my $all  = '';
    vec($all, $_, 1) = 1 for keys %peer;

    while (select my $ready = $all, undef, undef, undef) {
        for my $from ($c->{socket}, $far) {
            next if !vec $ready, fileno $from, 1;
            my $n  = sysread $from, my $bytes, 65_536;
            my $to = $peer{fileno $from};
            return $c->close if !$n;
            $n = syswrite $to, $bytes, length $bytes, 0;
            substr $bytes, 0, $n, '';
            while (length $bytes) {
                $n = syswrite $to, $bytes or return $c->close;
                substr $bytes, 0, $n, '';
            }
        }
    }
}


subtest 'a certificate of an unknown CA' => sub {
    my @wrong = (['another CA', $other->ca],
        ["the system's CAs", '/etc/ssl/certs/ca-certificates.crt']);

    for my $case (grep { -e $_->[1] } @wrong) {
        with_conf(ca => $case->[1]);
        fails(verify(), 'sign-in', 'tls',
            qr/^The certificate of $login .*defender_ca_certificate/,
            $case->[0]);
        is(scalar($sim->log), 0, 'nothing was sent');
    }

    with_conf();
    passes(verify(), 'the right CA');
};


subtest 'a certificate for another name' => sub {
    my $plain = $t->raw_server(sub { $_[0]->wait_gone }, protocol => 'raw',
        tls => certificate('other.example'));

    with_conf(ca => $t->dir . '/other.example.pem',
        endpoint => 'login=' . $plain->url . ' api=' . $sim->url);
    fails(verify(), 'sign-in', 'tls', qr/^The certificate of 127.*other|name/,
        'wrong name');
};


# A self-signed certificate; what raw_server wants to have.
sub certificate {
    my ($name, $alt) = @_;

    my $base = $t->dir . "/$name";
    $alt //= "DNS:$name";

    my $made = $t->{certificates}{$name} //= !system 'openssl req -x509'
        . ' -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'
        . " -keyout $base.key -out $base.pem -subj /CN=$name"
        . " -addext subjectAltName=$alt 2>/dev/null";
    die "no certificate\n" if !$made;

    return {cert => "$base.pem", key => "$base.key"};
}


subtest 'peers that do not speak TLS or HTTP' => sub {
    my $tls = certificate('front', 'IP:127.0.0.1');

    my @cases = (
        ['plain HTTP', undef, 'tls', qr/TLS connection to .* failed/,
            sub { $_[0]->send("HTTP/1.1 400 Bad\r\n\r\n"); $_[0]->close }],
        ['another protocol within TLS', $tls, 'broken', qr/not HTTP/,
            sub { $_[0]->send("SSH-2.0-x\r\n"); $_[0]->wait_gone(5) }],
        ['silence within TLS', $tls, 'broken', qr/without an answer/,
            sub { $_[0]->close }],
        ['half a header', $tls, '200', qr/is not JSON/,
            sub { $_[0]->send("HTTP/1.1 200 OK\r\nContent-"); $_[0]->close }],
        ['half a body', $tls, 'broken', qr/broke off/, sub {
            $_[0]->send("HTTP/1.1 200 OK\r\nContent-Type: application/json"
                . "\r\nContent-Length: 100\r\n\r\n{");
            $_[0]->close;
        }],
        ['a wrong compression label', $tls, 'broken', qr/unpacked/, sub {
            $_[0]->send("HTTP/1.1 200 OK\r\nContent-Type: application/json"
                . "\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd");
            $_[0]->wait_gone(5);
        }],
    );

    for my $case (@cases) {
        my ($title, $certificate, $code, $words, $handler) = @$case;

        my $peer = $t->raw_server(sub {
            eval { $_[0]->read_request } if $certificate;
            $handler->($_[0]);
        }, protocol => 'raw', $certificate ? (tls => $certificate) : ());

        my $port = $peer->port;
        with_conf(ca => $tls->{cert},
            endpoint => "login=https://127.0.0.1:$port api=" . $sim->url);
        fails(verify(), 'sign-in', $code, $words, $title);
        is(scalar($peer->log), 1, "$title: a POST is never sent twice");
    }
};


subtest 'a proxy for both hosts' => sub {
    my $proxy = proxy();

    with_conf(http => 'defender_proxy http://127.0.0.1:' . $proxy->port . ';');
    passes(verify(), 'through the proxy');

    my @asked = map { "$_->{method} $_->{uri}" } $proxy->log;
    is_deeply(\@asked, ["CONNECT $login" =~ s/\\//gr,
        "CONNECT $api" =~ s/\\//gr], 'a tunnel to each of them');
    is(scalar(grep { $_->{headers}{authorization} } $proxy->log), 0,
        'the proxy sees no token');

    my @cases = (
        [sub { $_[0]->reply(407, 'text/html', '<html>',
            'Proxy-Authenticate' => 'Basic realm="x"') }, qr/it answered 407/],
        [sub { $_[0]->reply(403, 'text/html', '<html>') },
            qr/it answered 403/],
        [sub { $_[0]->close }, qr/did not connect to/],
        [sub { $_[0]->send("220 smtp\r\n\r\n"); $_[0]->wait_gone(5) },
            qr/did not connect to/],
    );

    for my $case (@cases) {
        $proxy = proxy($case->[0]);
        with_conf(http => 'defender_proxy http://127.0.0.1:' . $proxy->port
            . ';');
        fails(verify(), 'sign-in', 'proxy',
            qr/defender_proxy.* $login.*$case->[1]|$case->[1]/, 'refused');
        is(scalar($sim->log), 0, 'nobody was asked directly');
    }

    with_conf(http => 'defender_proxy http://127.0.0.1:1;');
    fails(verify(), 'sign-in', 'proxy',
        qr/^The proxy 127\.0\.0\.1:1 .*Connection refused.*$login/, 'dead');

    with_conf(http => 'defender_proxy http://no-such-host.invalid:3128;');
    fails(verify(), 'sign-in', 'proxy', qr/^The name of the proxy no-such/,
        'unknown');
};


subtest 'the environment has no say' => sub {
    local @ENV{qw(https_proxy ALL_PROXY)} = ('http://127.0.0.1:1') x 2;

    with_conf(main => 'env https_proxy; env ALL_PROXY;');
    passes(verify(), 'no proxy of the environment');
};


subtest 'source address' => sub {
    with_conf(http => 'defender_bind 127.0.0.3;');
    passes(verify(), 'an address of ours');

    with_conf(http => 'defender_bind 192.0.2.77;');
    fails(verify(), 'sign-in', 'connect',
        qr/192\.0\.2\.77 \(defender_bind\).*$login/, 'an address of others');
};


subtest 'hosts that are not there' => sub {
    with_conf(
        endpoint => 'login=https://127.0.0.1:1 api=https://127.0.0.1:1');
    fails(verify(), 'sign-in', 'connect',
        qr/^127\.0\.0\.1:1 could not be reached: Connection refused/,
        'nobody listens');

    with_conf(endpoint => 'login=https://no-such-host.invalid api='
        . $sim->url);
    fails(verify(), 'sign-in', 'dns', qr/no-such-host\.invalid/, 'no name');

    with_conf(endpoint => 'login=' . $sim->login_url
        . ' api=https://no-such-host.invalid');
    fails(verify(), 'read-devices', 'dns', qr/no-such-host\.invalid/,
        'no name for the API');
};


subtest 'redirects are not followed' => sub {
    with_conf();
    my $elsewhere = $t->raw_server(sub { $_[0]->reply(200, 'text/plain', '') });

    for my $to ($elsewhere->url . '/x', $other->url . '/api/machines',
        $sim->url . '/api/machines?$top=2')
    {
        $sim->reset_knobs;
        $sim->knobs(location => $to);
        $sim->clear_log;
        $other->clear_log;
        fails(verify(), 'read-devices', '302', qr/^$api .*redirect/,
            "machines to $to");
        is(scalar($sim->log(family => 'machines')), 1, 'asked once');

        $sim->reset_knobs;
        $sim->knobs(token_status => 307, token_body => '',
            token_headers => {Location => $to});
        fails(verify(), 'sign-in', '307', qr/^$login .*redirect/,
            "token to $to");
        is(scalar($other->log), 0, 'the other host was not asked');
    }

    is_deeply([$elsewhere->log], [], 'nor the one without TLS');
};


subtest 'bodies without an end' => sub {
    with_conf();
    my ($worker) = $t->worker_pids;
    my $before   = resident($worker);

    for my $knobs ({endless => 'spaces'}, {endless => 'rows'},
        {pad_mb => 50}, {pad_mb => 50, encoding => 'gzip'},
        {pad_mb => 5, encoding => 'identity', chunked => JSON::PP::false})
    {
        $sim->reset_knobs;
        $sim->knobs(%$knobs);
        fails(verify(), 'read-devices', 'too-large',
            qr/^The answer of $api is larger than 1048576 bytes/,
            $JSON->encode($knobs));
    }

    # Sanitizers keep freed memory in quarantine.
    cmp_ok(resident($worker) - $before, '<', $ENV{DFD_ASAN} ? 300 : 20,
        'the worker has not grown (MB)');
};


sub resident {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/status" or return 0;
    my ($kilobytes) = join('', <$fh>) =~ /^VmRSS:\s+(\d+)/m;

    return $kilobytes / 1024;
}


subtest 'whatever compression the API chooses' => sub {
    with_conf();

    for my $encoding (qw(deflate raw-deflate gzip identity)) {
        $sim->knobs(encoding => $encoding);
        passes(verify(), $encoding);
    }
};


# A plain nginx that speaks HTTP/2 and closes after three requests, in front
# of the simulator.
sub front {
    my ($port) = @_;

    my $dir   = $t->dir;
    my $tls   = certificate('front', 'IP:127.0.0.1');
    my $front = Test::Defender->new(module => 0);

    $front->conf(<<"END_CONF")->run;
%%GLOBALS%%
events {}

http {
    %%HTTP%%
    log_format front "\$connection \$server_protocol \$request_method \$status";
    client_body_buffer_size 64k;

    server {
        listen 127.0.0.1:%%PORT_0%% ssl http2;
        ssl_certificate $tls->{cert};
        ssl_certificate_key $tls->{key};
        keepalive_requests 3;
        access_log $dir/front.log front;

        location / {
            proxy_pass @{[$other->url]};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }
    }
}
END_CONF

    return $front;
}


subtest 'HTTP/2 connections that are closed on the way' => sub {
    my $front = front();
    my $url   = 'https://127.0.0.1:' . $front->port;

    $other->knobs(rate_minute => undef, rate_hour => undef);
    $other->clear_log;
    with_conf(ca => certificate('front')->{cert},
        endpoint => "login=$url api=$url", http => 'defender_page_size 3;');

    $t->configure;
    $t->wait_devices(59);

    my @lines = map { [split ' '] } split /\n/, $t->read_file('front.log');
    my @gets  = grep { $_->[2] eq 'GET' } @lines;
    my %used;
    $used{$_->[0]}++ for @gets;

    cmp_ok(scalar(@gets), '>=', 20, 'all pages came through');
    is(scalar(grep { $_->[1] ne 'HTTP/2.0' } @lines), 0, 'by HTTP/2');
    is(scalar(grep { $_->[3] != 200 } @lines), 0, 'at the first attempt');
    cmp_ok(scalar(keys %used), '<', @gets / 2, 'connections were kept');

    $front->finish;
};


subtest 'connections are kept between pages' => sub {
    with_conf(http => 'defender_page_size 10;');
    $t->redis->cmd('FLUSHALL');
    $t->configure;

    # Sixty records: six full pages and an empty one.
    my $pages = $t->wait_for(sub {
        my @pages = grep { $_->{query} =~ /top=10&/ }
            $sim->log(family => 'machines', status => 200);
        return @pages >= 7 ? \@pages : undef;
    }, 15, 'seven pages');

    my %ports = map { $_->{peer_port} => 1 } @$pages;
    is(scalar(keys %ports), 1, 'one connection for all of them');
};


# What is sent on a kept connection that is dead by then is sent again by
# libcurl; a POST may have been acted upon.
subtest 'a POST gets a connection of its own' => sub {
    my $tls  = certificate('front', 'IP:127.0.0.1');
    my $peer = $t->raw_server(sub {
        my ($c, $request) = @_;

        my $post = $request->{method} eq 'POST';
        return $c->close if $c->{used}++ && $post;

        $c->reply(200, 'application/json', $post
            ? '{"token_type":"Bearer","expires_in":60,"access_token":"abc"}'
            : '{"value":[]}');
    }, tls => $tls);

    my $url = $peer->url;
    with_conf(ca => $tls->{cert}, endpoint => "login=$url api=$url");

    passes(verify(), "verification $_") for 1 .. 3;

    my @methods = map { $_->{method} } $peer->log;
    is_deeply(\@methods, [('POST', 'GET') x 3], 'each is sent once');
};


# The peer closes whenever its connection is used again.
subtest 'a GET on a dead connection is sent again' => sub {
    my $tls  = certificate('front', 'IP:127.0.0.1');
    my $peer = $t->raw_server(sub {
        my ($c, $request) = @_;

        my $post = $request->{method} eq 'POST';
        return $c->close if $c->{used}++;

        $c->reply(200, 'application/json', $post
            ? '{"token_type":"Bearer","expires_in":60,"access_token":"abc"}'
            : '{"value":[]}');
    }, tls => $tls);

    my $url = $peer->url;
    with_conf(ca => $tls->{cert}, endpoint => "login=$url api=$url");

    passes(verify(), 'verification');
    is_deeply([map { $_->{method} } $peer->log], ['POST', 'GET', 'GET'],
        'once more, on another connection');
};

$t->done;
