#!/usr/bin/perl

# Every endpoint, every role, with and without a body; and every way to spell
# a path: nobody gets more than the role says.

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
$t->start_upstream;

my $server = <<'END';
        location /auth/ {
            set $auth $arg_auth;
            auth_request /auth-service;
            auth_request_set $role $upstream_http_x_role;
            defender_api;
            defender_role $role;
        }

        location = /auth-service {
            internal;
            proxy_pass http://127.0.0.1:%%PORT_1%%/?role=$auth;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }

        location /outer/ {
            proxy_pass http://127.0.0.1:%%PORT_0%%/auth/;
        }

        location /x-accel/ {
            proxy_pass http://127.0.0.1:%%PORT_1%%/accel/;
        }

        location /try/ {
            try_files /nothing /defender/config;
        }
    }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        add_header X-Role $arg_role;

        location /accel/ {
            add_header X-Accel-Redirect /defender/config;
            return 200 "accel";
        }

        location / {
            return 200 "auth";
        }
    }

    server {
        listen 127.0.0.1:%%PORT_2%% http2;
        merge_slashes off;

        location /defender/ {
            defender_api;
            defender_role $http_x_role;
            defender_role_from 127.0.0.1;
        }
END

$t->conf($t->standard_conf(server => $server))->run;

my %RANK = (viewer => 1, analyst => 2, admin => 3);

# path: method => least role
my %ENDPOINT = (
    '/enrich'        => {GET => 'viewer', HEAD => 'viewer',
        POST => 'viewer'},
    '/status'        => {GET => 'viewer', HEAD => 'viewer'},
    '/config'        => {GET => 'viewer', HEAD => 'viewer', PUT => 'admin',
        DELETE => 'admin'},
    '/config/verify' => {POST => 'admin'},
    '/sync'          => {POST => 'admin'},
    '/egress'        => {GET => 'viewer', HEAD => 'viewer'},
    '/audit'         => {GET => 'admin', HEAD => 'admin'},
);

my @METHODS = qw(GET HEAD POST PUT DELETE PATCH OPTIONS TRACE PROPFIND LOCK
    BREW get CONNECT);


# A role of '' is none at all.
sub refused {
    my ($role, $method, $path) = @_;

    return 'role_missing' if !$RANK{$role};

    my $least = $ENDPOINT{$path}{$method};

    return 'method_not_allowed' if !$least;
    return 'forbidden' if $RANK{$role} < $RANK{$least};
    return;
}

subtest 'endpoint x method x role x body' => sub {
    my %status = (role_missing => 403, forbidden => 403,
        method_not_allowed => 405);
    my ($refused, $let_in) = (0, 0);

    for my $path (sort keys %ENDPOINT) {
        for my $method (@METHODS) {
            for my $role ('', 'viewer', 'analyst', 'admin') {
                for my $body (undef, '{}', '[]', '{') {
                    my $r = $t->request($method, "/defender$path",
                        ($role ne '' ? (role => $role) : ()),
                        (defined $body ? (body => $body, headers =>
                            ['Content-Type' => 'application/json']) : ()));
                    my $what = "$method $path as '$role' with "
                        . ($body // 'nothing');

                    # nginx itself answers these
                    if ($method =~ /^(?:TRACE|CONNECT|get)$/) {
                        like($r->status, qr/^(?:400|405)$/, $what);
                        next;
                    }

                    my $code = refused($role, $method, $path);

                    if (defined $code) {
                        $refused++;
                        my $got = $method eq 'HEAD' ? $r->status
                            : $r->status . ' ' . $r->json->{code};
                        is($got, $method eq 'HEAD' ? $status{$code}
                            : "$status{$code} $code", $what);
                        next;
                    }

                    $let_in++;
                    unlike($method eq 'HEAD' ? $r->status : outcome($r),
                        qr/^(?:403|404|405|5)/, $what);
                }
            }
        }
    }

    cmp_ok($refused, '>', 500, "refused: $refused");
    cmp_ok($let_in, '>', 60, "let in: $let_in");

    # Exactly the admins' deletes changed something.
    is($t->redis->cmd(HGET => 'defender:config', 'revision'), 2,
        'the deletes by an admin without a body and with {}');
    is($t->redis->cmd(HEXISTS => 'defender:config', 'settings'), 0,
        'nothing was saved');
};

# What nginx makes of these is the plain path, or one that there is not.
my @SPELLINGS = (
    '/defender//config', '//defender/config', '/defender/./config',
    '/./defender/config', '/defender/x/../config', '/defender/%63onfig',
    '/%64efender/config', '/defender/config?role=admin',
    '/defender/config?X-Role=admin', '/defender/status/../config',
    '/defender/config/.', '/defender/config/', '/defender/config//',
    '/defender/config/x', '/defender/config%2f', '/defender/config%2fverify',
    '/defender%2fconfig', '/defender/config%00', '/defender/config%20',
    '/defender/config;x=1', '/defender/config.json', '/defender/Config',
    '/DEFENDER/config', '/defender/%2e/config', '/defender/%2e%2e/config',
    '/defender/config%3frole=admin', '/defender/config%23', '/defender',
    '/defender/', '/defender/config/verify/', '/defender/../defender/config',
    '/defender\\config', '/defender/config%5c', '/defender/%c0%afconfig',
    '/defender/config/..%2fconfig', 'http://evil.example/defender/config',
);

subtest 'ways to spell a path' => sub {
    my $revision = $t->redis->cmd(HGET => 'defender:config', 'revision');

    for my $uri (@SPELLINGS) {
        for my $role ('', 'viewer', 'analyst') {
            my @role = $role ne '' ? (role => $role) : ();

            for my $method (qw(PUT DELETE POST)) {
                my $r = $t->request($method, $uri, @role, json => {});
                like($r->status, qr/^(?:30\d|40[0345])$/,
                    "$method $uri as '$role'");
            }

            next if $role ne '';
            my $r = $t->get($uri);
            unlike($r->body, qr/hasSecret/, "GET $uri as nobody");
            unlike($r->status, qr/^5/, '... and no trouble');
        }
    }

    is($t->redis->cmd(HGET => 'defender:config', 'revision'), $revision,
        'nothing was changed');

    # A role sees the same thing under each spelling, or nothing.
    for my $uri (@SPELLINGS) {
        my $r = $t->get($uri, role => 'viewer');
        like($r->status, qr/^(?:200|30\d|40[0345])$/, "GET $uri");
        ok($r->status != 200 || exists $r->json->{hasSecret},
            '... is the settings or nothing');
    }
    is(outcome($t->get('/defender//config', role => 'viewer')), '200',
        'as nginx joins slashes');
    is(outcome($t->get('/defender/config/', role => 'viewer')),
        '404 not_found', 'a slash at the end is another path');
};

subtest 'the auth service alone says who it is' => sub {
    # The client's own header, in every way to send it.
    my @own = (
        ['X-Role' => 'admin'], ['x-role' => 'admin'], ['X-ROLE' => 'admin'],
        ['X-Role' => 'admin', 'X-Role' => 'admin'],
        ['X_Role' => 'admin'], ['X-Role' => 'viewer,admin'],
        ['X-Role' => ' admin '], ['X-Role' => 'viewer, admin'],
        ['X-Upstream-Http-X-Role' => 'admin'],
        ['X-Role' => 'admin', 'X-Original-URI' => '/auth/config?auth=admin'],
        [Cookie => 'role=admin'], [Role => 'admin'],
        ['X-Accel-Redirect' => '/defender/config'],
        ['X-HTTP-Method-Override' => 'PUT'], ['X-Rewrite-URL' => '/auth'],
    );

    for my $headers (@own) {
        my $name = "@$headers";

        for my $path ('/auth/config?auth=viewer', '/outer/config?auth=viewer')
        {
            is(outcome($t->put($path, json => {}, headers => $headers)),
                '403 forbidden', "$path with $name");
        }
        is(outcome($t->put('/auth/config', json => {}, headers => $headers)),
            '403 role_missing', "no role, and $name");
    }

    # Twice in the query: nginx takes the first for $arg_auth, and what the
    # service answers counts.
    is(outcome($t->put('/auth/config?auth=viewer&auth=admin', json => {})),
        '403 forbidden', 'two arguments');
    is(outcome($t->put('/auth/config?auth=viewer,admin', json => {})),
        '403 role_missing', 'a list from the service');
};

subtest 'internal redirects' => sub {
    for my $path (qw(/x-accel/x /try/x)) {
        my $r = $t->get($path);
        is($r->status, 403, "$path as nobody");
        unlike($r->body, qr/hasSecret/, '... sees nothing');

        for my $method (qw(PUT DELETE)) {
            # X-Accel-Redirect makes a GET of it, which a viewer may
            my $want = $path =~ /accel/ ? 200 : 403;
            is($t->request($method, $path, role => 'viewer', json => {})
                ->status, $want, "$method $path as viewer");
        }
        like($t->get($path, role => 'viewer')->body, qr/hasSecret/,
            "$path as viewer");
    }

    is($t->redis->cmd(HGET => 'defender:config', 'revision'), 2,
        'nothing was changed');
};

subtest 'HTTP/2' => sub {
    my $url = 'http://127.0.0.1:' . $t->port(2);
    my @h2  = ('-s', '--http2-prior-knowledge', '-o', '/dev/null', '-w',
        '%{http_code}');

    # Without a body: nginx resets the stream of one that it does not want to
    # read, also in "return 403", and curl may take that for the answer.
    my @json = ('-H', 'Content-Type: application/json');

    my $status = sub {
        my ($path, @args) = @_;
        return $t->curl(@h2, @args, "$url$path")->{out};
    };

    is($status->('/defender/config'), 403, 'nobody');
    is($status->('/defender/config', '-H', 'X-Role: viewer'), 200, 'viewer');
    is($status->('/defender/config', '-X', 'PUT', @json, '-H',
        'X-Role: viewer'), 403, 'a viewer who saves');
    is($status->('/defender/config', '-X', 'PUT', @json, '-d', '{}', '-H',
        'X-Role: admin'), 400, 'an admin who saves nothing');
    is($status->('/defender/config', '-X', 'PUT', @json, '-H',
        'X-Role: viewer', '-H', 'x-role: admin'), 403, 'two headers');
    is($status->('/defender/config', '-X', 'PUT', @json, '-H',
        'X-Role: viewer,admin'), 403, 'a list');
    is($status->('/defender/audit', '-H', 'X-Role: analyst'), 403,
        'an analyst and the audit');

    # without merge_slashes these are other paths
    for my $path (qw(/defender//config /defender/config// )) {
        is($status->($path, '-H', 'X-Role: viewer'), 404, $path);
        is($status->($path), 403, "$path as nobody");
    }
};

$t->allow_log(qr/upstream/);
$t->done;
