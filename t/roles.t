#!/usr/bin/perl

# Who may do what: the role gate of the API, and where a role may come from.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use Test::Defender;
use Test::Defender::Answer qw(outcome);
use Test::More;

my $t = Test::Defender->new;
$t->start_redis;
$t->start_sim;

my $dir = $t->dir;

my $server = <<'END';
        underscores_in_headers on;

        location /untrusted/ {
            defender_api;
            defender_role $http_x_role;
            defender_role_from 10.0.0.0/8 192.0.2.7;
        }

        location /realip/ {
            set_real_ip_from 127.0.0.1;
            real_ip_header X-Forwarded-For;
            defender_api;
            defender_role $http_x_role;
            defender_role_from 10.0.0.0/8;
        }

        location /realip-true/ {
            set_real_ip_from 127.0.0.1;
            real_ip_header X-Forwarded-For;
            defender_api;
            defender_role $http_x_role;
            defender_role_from 127.0.0.1;
        }

        location /nobody/ {
            defender_api;
        }

        location /blank-before/ {
            set $role " admin";
            defender_api;
            defender_role $role;
        }

        location /blank-after/ {
            set $role "admin ";
            defender_api;
            defender_role $role;
        }

        location /list/ {
            set $role "viewer,admin";
            defender_api;
            defender_role $role;
        }

        location /constant/ {
            defender_api;
            defender_role analyst;
        }

        location = /auth {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%/?role=$auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }

        location /auth-request/ {
            set $auth $arg_auth;
            auth_request /auth;
            auth_request_set $role $upstream_http_x_role;
            defender_api;
            defender_role $role;
        }

        location /satisfy-any/ {
            set $auth $arg_auth;
            satisfy any;
            allow 127.0.0.1;
            deny all;
            auth_request /auth;
            auth_request_set $role $upstream_http_x_role;
            defender_api;
            defender_role $role;
        }

        location /guarded-by-status {
            auth_request /defender/status;
            auth_request_set $unused $upstream_status;
            root %%DIR%%/html;
        }

        location /guarded-by-config {
            auth_request /defender/config;
            root %%DIR%%/html;
        }

        location /mirrored/ {
            mirror /defender/sync;
            mirror_request_body off;
            proxy_pass http://127.0.0.1:%%PORT_1%%/;
        }

        location /rewritten {
            rewrite ^ /defender/status last;
        }

        error_page 418 = /defender/config;

        location /teapot {
            return 418;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        add_header X-Role $arg_role;

        location / {
            return 200 "auth";
        }
    }

    server {
        listen unix:%%DIR%%/nginx.sock;

        location /unix/ {
            defender_api;
            defender_role $http_x_role;
            defender_role_from unix:;
        }

        location /no-unix/ {
            defender_api;
            defender_role $http_x_role;
            defender_role_from 127.0.0.1 ::1;
        }
END

mkdir "$dir/html";
$t->write_file("html/guarded-by-$_", 'page') for qw(status config);
$t->conf($t->standard_conf(server => $server))->run;


subtest 'endpoint x role' => sub {
    my @endpoints = (
        # method, path, body, least role, outcome for a role that may
        [GET  => '/enrich?ip=10.20.1.11', undef, 'viewer', '200'],
        [HEAD => '/enrich?ip=10.20.1.11', undef, 'viewer', '200'],
        [POST => '/enrich', [], 'viewer', '200'],
        [GET  => '/status', undef, 'viewer', '200'],
        [HEAD => '/status', undef, 'viewer', '200'],
        [GET  => '/config', undef, 'viewer', '200'],
        [HEAD => '/config', undef, 'viewer', '200'],
        [PUT  => '/config', {}, 'admin', '400 invalid_settings'],
        [POST => '/config/verify', {}, 'admin', '400 invalid_settings'],
        [POST => '/sync', [], 'admin', '400 invalid_body'],
        [DELETE => '/config', [], 'admin', '400 invalid_body'],
        [GET  => '/egress', undef, 'viewer', '200'],
        [HEAD => '/egress', undef, 'viewer', '200'],
        [GET  => '/audit?limit=1', undef, 'admin', '200'],
        [HEAD => '/audit?limit=1', undef, 'admin', '200'],
        [GET  => '/no-such-path', undef, 'viewer', '404 not_found'],
        [DELETE => '/status', undef, 'viewer', '405 method_not_allowed'],
        [OPTIONS => '/config', undef, 'viewer', '405 method_not_allowed'],
    );

    my %rank = (viewer => 1, analyst => 2, admin => 3);

    for my $endpoint (@endpoints) {
        my ($method, $path, $body, $least, $good) = @$endpoint;

        for my $role (undef, '', 'viewer', 'analyst', 'admin', 'Admin',
            'ADMIN', 'root', 'adminx', 'admi', 'viewer,admin', 'viewer admin',
            '"admin"')
        {
            my $rank = $rank{$role // ''} // 0;
            my $want = !$rank ? '403 role_missing'
                : $rank < $rank{$least} ? '403 forbidden' : $good;

            my $r = $t->request($method, "/defender$path",
                defined $role ? (role => $role) : (),
                defined $body ? (json => $body) : ());

            # A HEAD has no body to tell the code.
            my $got = $method eq 'HEAD' ? $r->status : outcome($r);
            $want = substr $want, 0, 3 if $method eq 'HEAD';

            is($got, $want, "$method $path as " . ($role // 'nobody'));
        }
    }
};

subtest 'a role of exactly these letters' => sub {
    for my $place (qw(blank-before blank-after list nobody)) {
        is(outcome($t->get("/$place/status")), '403 role_missing', $place);
    }

    is(outcome($t->get('/constant/status')), '200', 'a constant role');
    is(outcome($t->put('/constant/config', json => {})), '403 forbidden',
        'a constant role is no more than it says');
};

subtest 'a role from a request header' => sub {
    my $ask = sub {
        my ($path, @headers) = @_;
        return outcome($t->put($path, headers => [@headers,
            'Content-Type' => 'application/json'], body => '{}'));
    };

    my $admin  = '400 invalid_settings';
    my $config = '/defender/config';

    is($ask->($config, 'X-Role' => 'admin'), $admin, 'once');
    is($ask->($config, 'x-rOLE' => 'admin'), $admin, 'in any case');
    is($ask->($config, 'X-Role' => 'admin', 'x-role' => 'admin'),
        '403 role_missing', 'twice the same');
    is($ask->($config, 'X-Role' => 'viewer', 'X-Role' => 'admin'),
        '403 role_missing', 'two different ones');
    is($ask->($config, 'X-ROLE' => 'admin', 'X-Role' => 'viewer'),
        '403 role_missing', 'two in different case');
    is($ask->($config, 'X-Role' => 'viewer', 'X_Role' => 'admin'),
        '403 role_missing', 'with an underscore twin behind it');
    is($ask->($config, 'X_Role' => 'admin', 'X-Role' => 'viewer'),
        '403 role_missing', 'with an underscore twin before it');
    is($ask->($config, 'X_Role' => 'admin'), '403 role_missing',
        'the underscore twin alone');
    is($ask->($config, 'X-Role' => ''), '403 role_missing', 'empty');
    is($ask->($config, 'X-Role' => 'a' x 9000), '400',
        '9 KB long: refused by nginx');

    my $raw = $t->connect;
    $raw->send("PUT $config HTTP/1.1\r\nHost: h\r\nX-Role: viewer\r\n"
        . " admin\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        . "Connection: close\r\n\r\n{}");
    is($raw->response('PUT')->status, 400, 'a folded line: refused by nginx');

    $raw = $t->connect;
    $raw->send("GET $config HTTP/1.1\r\nHost: h\r\nX-Role: ad\rmin\r\n"
        . "Connection: close\r\n\r\n");
    is($raw->response('GET')->status, 400, 'CR inside: refused by nginx');
};

subtest 'many headers around it' => sub {
    # More than one part of nginx's list of headers.
    my @filler = map { ("X-Filler-$_" => $_) } 1 .. 60;

    is(outcome($t->get('/defender/status', role => 'viewer',
        headers => \@filler)), '200', 'the role is found behind 60 others');
    is(outcome($t->get('/defender/status', role => 'viewer',
        headers => ['X-Role' => 'viewer', @filler])), '403 role_missing',
        'a repetition is found behind 60 others');
};

subtest 'whose header is believed' => sub {
    is(outcome($t->get('/untrusted/status', role => 'admin')),
        '403 role_missing', 'a peer outside of defender_role_from');

    my @forged = (headers => ['X-Forwarded-For' => '10.1.2.3']);

    is(outcome($t->get('/realip/status', role => 'admin', @forged)),
        '403 role_missing',
        'an address that the client names is not the peer');
    is(outcome($t->get('/realip-true/status', role => 'admin', @forged)),
        '200', 'the true peer counts also when realip has replaced it');

    my @unix = (unix => "$dir/nginx.sock", role => 'admin');

    is(outcome($t->get('/unix/status', @unix)), '200',
        'a unix socket when "unix:" is believed');
    is(outcome($t->get('/no-unix/status', @unix)), '403 role_missing',
        'a unix socket when it is not');
};

subtest 'a role from the auth service' => sub {
    my $ask = sub {
        my ($path, @headers) = @_;
        return outcome($t->put($path, headers => [@headers,
            'Content-Type' => 'application/json'], body => '{}'));
    };

    my $path = '/auth-request/config';

    is($ask->("$path?auth=admin"), '400 invalid_settings', 'admin');
    is($ask->("$path?auth=viewer"), '403 forbidden', 'viewer');
    is($ask->($path), '403 role_missing', 'no role');

    is($ask->("$path?auth=viewer", 'X-Role' => 'admin'), '403 forbidden',
        'the client\'s own header counts nothing');
    is($ask->("$path?auth=viewer", 'X-Role' => 'admin', 'x-rOLE' => 'admin'),
        '403 forbidden', 'nor does it when repeated');
    is($ask->($path, 'X-Role' => 'admin'), '403 role_missing',
        'nor does it take the place of a missing one');

    is($ask->('/satisfy-any/config?auth=admin'), '403 role_missing',
        '"satisfy any" has passed the auth service by: no role');
};

subtest 'ways around the front' => sub {
    for my $what (qw(status config)) {
        is($t->get("/guarded-by-$what")->status, 403,
            "a subrequest for $what needs a role");
        is($t->get("/guarded-by-$what", role => 'viewer')->body, 'page',
            "a subrequest for $what with a role");
    }

    is($t->post('/mirrored/', role => 'admin', json => {})->body, 'auth',
        'a mirrored write is answered by the one it was for');
    $t->wait_for(sub { $t->error_log =~ m{"/defender/sync\?"} }, 5,
        'the mirror request arrived');
    is($t->redis->cmd(EXISTS => 'defender:sync'), 0,
        '... and a subrequest has not written');

    is(outcome($t->get('/rewritten')), '403 role_missing',
        'an internal redirect into the API needs a role');
    is(outcome($t->get('/rewritten', role => 'viewer')), '200',
        'an internal redirect into the API with a role');

    is($t->get('/teapot')->status, 403, 'an error page in the API');
    is($t->get('/teapot', role => 'viewer')->json->{revision}, 0,
        'an error page in the API with a role');
};

subtest 'refused before the body is read' => sub {
    my $raw = $t->connect;
    $raw->send("PUT /defender/config HTTP/1.1\r\nHost: h\r\nX-Role: viewer\r\n"
        . "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{");
    my $r = $raw->response('PUT');
    is(outcome($r), '403 forbidden', 'the answer does not wait for the body');
    is($r->header('Connection'), 'keep-alive', 'the connection stays');

    $raw->send('x' x 499);
    $raw->send("GET /defender/status HTTP/1.1\r\nHost: h\r\n"
        . "X-Role: viewer\r\n\r\n");
    is(outcome($raw->response('GET')), '200',
        'the rest of the body is not taken for a request');
    $raw->close;
};

$t->done;
