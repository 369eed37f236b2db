#!/usr/bin/perl

# Every directive's wrong values: "nginx -t" refuses each with a message that
# names the directive and says what would be right; and the right spellings.

use strict;
use warnings;

use Test::More;
use lib 't/lib';
use Test::Defender;

my $t   = Test::Defender->new;
my $dir = $t->dir;

my $key = $t->key_file;
mkdir "$dir/cache";

$t->write_file('password', "not so secret\n", 0600);
$t->write_file('empty', '', 0600);
$t->write_file('open-key', 'k' x 32, 0644);
$t->write_file('short-key', 'k' x 31, 0600);
$t->write_file('long-key', 'k' x 200, 0600);
$t->write_file('ca.pem', 'no certificate is looked at before it is used');


sub conf {
    my (%more) = @_;

    my $http = $more{http} // "defender_redis unix:$dir/redis.sock;";
    $http .= " defender_cache_path $dir/cache;" if $http =~ /defender_redis/;
    my $server = $more{server} // '';

    return <<"END";
%%GLOBALS%%
events {}
http {
    %%HTTP%%
    $http
    server {
        listen 127.0.0.1:%%PORT_0%%;
        $server
    }
}
END
}


sub refused {
    my ($name, $message, %more) = @_;

    $t->conf(conf(%more));
    my ($code, $out) = $t->nginx_test;

    isnt($code, 0, "$name: refused");
    like($out, $message, "$name: message");
}


sub accepted {
    my ($name, %more) = @_;

    $t->conf(conf(%more));
    my ($code, $out) = $t->nginx_test;

    is($code, 0, "$name: accepted") or diag $out;
    unlike($out, qr/\[(warn|error|emerg|alert|crit)\]/, "$name: silent");
}


my $redis = "defender_redis unix:$dir/redis.sock";

# defender_redis

accepted('a unix socket');
accepted("redis $_", http => "defender_redis $_;") for
    'redis://127.0.0.1', 'redis://127.0.0.1:6380/3', 'redis://127.0.0.1/',
    'redis://[::1]:6379', 'rediss://127.0.0.1/0', "unix:$dir/redis.sock?db=4",
    "redis://cache\@127.0.0.1 password_file=$dir/password",
    'redis://127.0.0.1 "prefix={defender}:" timeout=500ms';

refused("redis $$_[0]", $$_[1], http => "defender_redis $$_[0];") for
    ['127.0.0.1:6379', qr{invalid URL "127.0.0.1:6379" in "defender_redis": "redis://\[user\@\]host\[:port\]\[/db\]", "rediss://..." or "unix:/path\[\?db=N\]" is needed}],
    ['http://127.0.0.1', qr/invalid URL "http:.* in "defender_redis"/],
    ['redis://', qr/invalid URL "redis:\/\/" in "defender_redis"/],
    ['redis://127.0.0.1:99999', qr/invalid URL .* in "defender_redis": invalid port/],
    ['redis://127.0.0.1/x', qr/in "defender_redis": the database after "\/" must be a number/],
    ['redis://127.0.0.1/99999999', qr/in "defender_redis": the database/],
    ['redis://u:p@127.0.0.1', qr/in "defender_redis": before "\@" stands the user only; the password comes from "password_file="/],
    ['redis://@127.0.0.1', qr/in "defender_redis": before "\@"/],
    ['redis://u@127.0.0.1', qr/"defender_redis" directive names a user, so it needs "password_file="/],
    ["unix:$dir/s?x=1", qr/in "defender_redis": after "\?" only "db=N" is known/],
    ['redis://127.0.0.1 timeout=0', qr/"defender_redis" directive has an invalid "timeout=": 1ms to 60s are right/],
    ['redis://127.0.0.1 timeout=90s', qr/"timeout=": 1ms to 60s are right/],
    ['redis://127.0.0.1 prefix=', qr/"defender_redis" directive has a "prefix=" that is empty/],
    ['redis://127.0.0.1 wait=1', qr/invalid parameter "wait=1" in "defender_redis": password_file=, prefix=, timeout= and ca= are known/],
    ["redis://127.0.0.1 password_file=$dir/none", qr/"defender_redis" cannot open file ".*none"/],
    ["redis://127.0.0.1 password_file=$dir/empty", qr/"defender_redis" directive has an empty "password_file="/],
    ["redis://127.0.0.1 password_file=$dir/open-key", qr/"defender_redis" refuses file ".*open-key": others may use it/],
    ["redis://127.0.0.1 ca=$dir/ca.pem", qr/"defender_redis" directive has "ca=", which only "rediss:\/\/" uses/],
    ["rediss://127.0.0.1 ca=$dir/none.pem", qr/none\.pem/];

refused('redis twice', qr/"defender_redis" directive is duplicate/,
    http => "$redis; $redis;");

# defender_key

accepted('a key in base64', http => "$redis; defender_key $key;");
refused("key $$_[0]", $$_[1], http => "$redis; defender_key $dir/$$_[0];") for
    ['none', qr/"defender_key" cannot open file ".*none"/],
    ['cache', qr/"defender_key" needs a regular file, ".*cache" is none/],
    ['open-key', qr/"defender_key" refuses file ".*open-key": others may use it/],
    ['short-key', qr/"defender_key" file ".*short-key" must hold 32 random bytes, raw or in base64/],
    ['long-key', qr/"defender_key" file ".*long-key" is longer than 128 bytes/];

{
    $t->conf(conf(http => "$redis; defender_key $dir/short-key;"));
    my ($code, $out) = $t->nginx_test;
    unlike($out, qr/kkkk/, 'no byte of a bad key is shown');
}

# where Microsoft is

accepted('an endpoint', http => "$redis; defender_endpoint"
    . " login=https://login.example/ api=https://api.example:8443 scope=s;");
refused("endpoint $$_[0]", $$_[1], http => "$redis; defender_endpoint $$_[0];")
    for
    ['login=https://a.example', qr/"defender_endpoint" directive needs both "login=" and "api="/],
    ['login=http://a.example api=https://b.example', qr{invalid parameter "login=http://a.example" in "defender_endpoint": an URL like "https://host\[:port\]" without a path is needed}],
    ['login=https://a.example/x api=https://b.example', qr/in "defender_endpoint"/],
    ['login=https://a.example api=https://u@b.example', qr/in "defender_endpoint"/],
    ['login=https:// api=https://b.example', qr/in "defender_endpoint"/],
    ['host=https://a.example', qr/invalid parameter "host=https:\/\/a.example" in "defender_endpoint": login=, api= and scope= are known/],
    ['login=https://a.example api=https://b.example scope=', qr/"defender_endpoint" directive has an empty "scope="/];

accepted('a CA', http => "$redis; defender_ca_certificate $dir/ca.pem;");
refused('no CA', qr/"defender_ca_certificate" needs a file of certificates/,
    http => "$redis; defender_ca_certificate $dir/none.pem;");

accepted('a proxy', http => "$redis; defender_proxy http://proxy.example:3128;");
refused("proxy $_", qr/invalid proxy ".*" in "defender_proxy": an URL like "http:\/\/host:port" without user and path is needed/,
    http => "$redis; defender_proxy $_;")
    for 'proxy.example', 'socks5://proxy.example', 'http://u:p@proxy.example',
    'http://proxy.example/path', 'http://', 'http://proxy.example:0';

accepted("bind $_", http => "$redis; defender_bind $_;")
    for '192.0.2.1', '2001:db8::1';
refused("bind $_", qr/invalid address ".*" in "defender_bind": an IPv4 or IPv6 address of this host is needed/,
    http => "$redis; defender_bind $_;")
    for 'eth0', '192.0.2.1:80', '192.0.2.0/24', '192.0.2.01';

# times

for my $name (qw(exact ambiguous stale)) {
    accepted("$name 6h", http => "$redis; defender_$name 6h;");
    refused("$name $_", qr/invalid time "\Q$_\E" in "defender_$name": a span like "4h" or "7d"/,
        http => "$redis; defender_$name $_;") for 'soon', '0', '-1h', '2y';
    refused("$name twice", qr/"defender_$name" directive is duplicate/,
        http => "$redis; defender_$name 1h; defender_$name 2h;");
}

refused('exact longer than stale',
    qr/"defender_exact" must not be longer than "defender_stale"/,
    http => "$redis; defender_exact 8d;");

refused('cooldown', qr/"defender_sync_cooldown" directive invalid value/,
    http => "$redis; defender_sync_cooldown now;");
refused('page size 0', qr/value must be between 1 and 10000/,
    http => "$redis; defender_page_size 0;");
refused('page size 10001', qr/value must be between 1 and 10000/,
    http => "$redis; defender_page_size 10001;");

# networks

accepted('networks', http => "$redis; defender_networks 10.0.0.0/8 fd00::/8;"
    . ' defender_exclude 10.9.0.0/16; defender_exclude 10.8.8.8;');
refused("$$_[0] $$_[1]", qr/invalid network "\Q$$_[1]\E" in "defender_$$_[0]": an address or "address\/bits" with no bits set below the prefix is needed/,
    http => "$redis; defender_$$_[0] 10.0.0.0/8 $$_[1];")
    for ['exclude', '10.0.0.0/33'], ['exclude', '10.0.0.1/8'],
    ['networks', 'office'], ['networks', '010.0.0.0/8'];

# locations

accepted('an API', server => 'location /d/ { defender_api;'
    . ' defender_role $remote_user; }');

{
    $t->conf(conf(server => 'location /d/ { defender_api; }'));
    my ($code, $out) = $t->nginx_test;
    is($code, 0, 'an API without a role is no error');
    like($out, qr/\[warn\].*"defender_api" without "defender_role" answers 403 to everyone/,
        'but it is told');
}

refused("API in $_", qr/"defender_api" directive needs a prefix location/,
    server => "location $_ { defender_api; defender_role \$remote_user; }")
    for '= /d/', '~ ^/d/', '@d';
refused('API in server', qr/"defender_api" directive is not allowed here/,
    server => 'defender_api;');
refused('API twice', qr/"defender_api" directive is duplicate/,
    server => 'location /d/ { defender_api; defender_api; }');

refused("role $_", qr/"defender_role \Q$_\E" reads a request header, which any client can send: add "defender_role_from" .* "auth_request_set"/,
    server => "defender_role \"$_\"; location /d/ { defender_api; }")
    for '$http_x_role', '${http_x_role}', 'x$HTTP_X_ROLE';
refused('role from a header, deeper', qr/reads a request header/,
    server => 'location / { location /d/ { defender_role $http_x_role; } }');
accepted('a role from a header of known peers', server =>
    'defender_role $http_x_role; defender_role_from 127.0.0.1 ::1 unix:;'
    . ' location /d/ { defender_api; }');
refused("role_from $_", qr/invalid network "\Q$_\E" in "defender_role_from"/,
    server => "defender_role_from $_;") for 'localhost', '127.0.0.1/99';
{
    $t->conf(conf(server => 'defender_role_from 10.0.0.1/8;'));
    my ($code, $out) = $t->nginx_test;
    isnt($code, 0, 'role_from with low bits set: refused');
    like($out, qr/"10.0.0.1\/8" in "defender_role_from"/, 'and named');
}

accepted("enrich $_", server => "location / { defender_enrich $_; }")
    for qw(on off log);
refused('enrich yes', qr/invalid value "yes" in "?\S+\/nginx.conf|invalid value "yes"/,
    server => 'defender_enrich yes;');
accepted('enrich in if', server =>
    'location / { if ($arg_x) { defender_enrich on; } }');

accepted('fields', server =>
    'defender_enrich on; defender_enrich_fields src_ip id.orig_h source.ip;');
accepted('all fields', server => 'defender_enrich_fields *;');
refused("fields $$_[0]", $$_[1], server => "defender_enrich_fields $$_[2];")
    for
    ['star and name', qr/invalid field "\*" in "defender_enrich_fields": names of at most 256 bytes, or "\*" alone, are needed/, 'src_ip *'],
    ['empty', qr/invalid field "" in "defender_enrich_fields"/, '""'],
    ['long', qr/invalid field "x+" in "defender_enrich_fields"/, 'x' x 257],
    ['many', qr/"defender_enrich_fields" directive has more than 64 names/, join ' ', map { "f$_" } 1 .. 65];

accepted('key name', server => 'defender_enrich on; defender_enrich_key edr;');
refused("key name $$_[0]", $$_[1], server => "defender_enrich_key $$_[2];")
    for
    ['empty', qr/"defender_enrich_key" directive needs a name of 1 to 256 bytes/, '""'],
    ['long', qr/"defender_enrich_key" directive needs a name of 1 to 256 bytes/, 'x' x 257],
    ['control', qr/"defender_enrich_key" directive needs a name without control/, "\"a\tb\""],
    ['latin-1', qr/"defender_enrich_key" directive needs a name in UTF-8/, "ger\xe4t"],
    ['twice', qr/"defender_enrich_key" directive is duplicate/, 'a; defender_enrich_key b'];

accepted('types', server => 'defender_enrich on;'
    . ' defender_enrich_types application/json *+json text/json;');
refused("types $_", qr/invalid type "\Q$_\E" in "defender_enrich_types": a media type like "application\/json", or "\*\+json", is needed/,
    server => "defender_enrich_types \"$_\";")
    for 'json', '*', 'application/*', 'application/json;charset=utf-8';

refused('unmatched', qr/"defender_enrich_unmatched" directive, it must be "on" or "off"/,
    server => 'defender_enrich_unmatched maybe;');
refused('address', qr/unknown "nothing" variable/,
    server => 'defender_address $nothing; location / {'
    . ' return 200 $defender_match; }');

# without defender_redis

refused('enrich alone', qr/"defender_enrich" needs "defender_redis" in http\{\}/,
    http => '', server => 'defender_enrich on;');
refused('API alone', qr/"defender_api" needs "defender_redis" in http\{\}/,
    http => '', server => 'location /d/ { defender_api; }');
accepted('variables alone', http => '', server =>
    'location / { return 200 "$defender_match $defender_enrich_status"; }');

# nothing is connected to by a test of the configuration

{
    my $bad = $t->raw_server(sub { my ($c) = @_; $c->close },
        protocol => 'resp');
    my $port = $bad->port;
    $t->conf(conf(http => "defender_redis redis://127.0.0.1:$port;"));
    my ($code) = $t->nginx_test;
    is($code, 0, 'nginx -t with a Redis');
    is(scalar @{$bad->log // []}, 0, 'does not connect to it');
}

# variables without Redis in a running nginx

$t->conf(conf(http => '', server =>
    'location / { return 200 "[$defender_match][$defender_device_name]"; }'));
$t->run;
is($t->get('/')->body, '[unavailable][]', 'variables without defender_redis');

$t->done;
