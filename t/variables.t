#!/usr/bin/perl

# $defender_...: the device of an address in logs, maps, headers and rules.

use strict;
use warnings;

use Test::More;

use lib 't/lib';
use Test::Defender;

my $t = Test::Defender->new;

$t->start_redis;
$t->start_sim;
my $url = $t->start_upstream->url;

my @NAMES = qw(match device_id device_name os_platform health_status
    risk_score exposure_level last_seen isolation);

# One header for each variable, of the address in the query.
my $ALL = join '', map { "add_header X-$_ \$defender_$_ always;\n" } @NAMES;

mkdir $t->dir . '/www';
$t->write_file('www/page.html', '<!--# include virtual="/sub?$args" -->|'
    . '<!--# echo var="defender_device_name" -->');

$t->conf($t->standard_conf(
    http => <<'END_HTTP',

    log_format device '$arg_id|$arg_ip|$defender_match|$defender_device_id|'
        '$defender_device_name|$defender_isolation';

    map $defender_risk_score $risky {
        default no;
        Medium yes;
    }

    limit_req_zone $defender_device_id zone=device:1m rate=1r/m;
    types { text/html html; }

END_HTTP
    server => <<"END_SERVER"))->run;

        access_log %%DIR%%/device.log device;
        defender_address \$arg_ip;

        location = /all {
            $ALL
            return 200 "";
        }

        location = /map {
            return 200 \$risky;
        }

        location = /if {
            if (\$defender_match = exact) {
                return 200 yes;
            }
            return 403 no;
        }

        location = /limit {
            limit_req zone=device;
            limit_req_status 429;
            root %%DIR%%/www;
            try_files /page.html =404;
        }

        location = /proxy {
            proxy_set_header X-Device \$defender_device_name;
            proxy_set_header X-Match \$defender_match;
            proxy_pass $url/-/headers;
        }

        location = /page {
            ssi on;
            alias %%DIR%%/www/page.html;
            default_type text/html;
        }

        location = /sub {
            return 200 "\$defender_match \$defender_device_id";
        }

        location = /first {
            set \$seen \$defender_device_id;
            error_page 404 = /second?\$args;
            return 404;
        }

        location = /second {
            defender_address 10.20.1.12;
            return 200 "\$seen \$defender_device_id";
        }

    }

    server {
        listen 127.0.0.1:%%PORT_1%%;

        location = /client {
            return 200 \$defender_match;
        }

        location = /realip {
            set_real_ip_from 127.0.0.1;
            real_ip_header X-Real-IP;
            set \$early \$defender_match;
            root %%DIR%%/www;
            try_files /none \@realip;
        }

        location \@realip {
            add_header X-Early \$early;
            add_header X-Late \$defender_device_id;
            root %%DIR%%/www;
            try_files /page.html =404;
        }
END_SERVER

my $id = 0;


# The variables of an address, and its line in the log.
sub ask {
    my ($ip) = @_;

    $id++;
    my $r = $t->get("/all?ip=$ip&id=$id");
    my %value = map { $_ => $r->header("X-$_") } @NAMES;

    my $line = $t->wait_for(sub {
        return $t->read_file('device.log') =~ /^$id\|(.*)$/m ? $1 : undef;
    }, 5, 'log line');

    return (\%value, $line, $r);
}

my %nothing = map { $_ => undef } @NAMES;

{
    my ($value, $line) = ask('10.20.1.11');
    is_deeply($value, {%nothing, match => 'unavailable'},
        'before there are devices');
    is($line, '10.20.1.11|unavailable|-|-|-', 'and in the log');
}

$t->configure;
$t->wait_devices;
$t->wait_match('10.20.1.11', 'exact');

my $D1 = 'd1' x 20;
my $D2 = 'd2' x 20;

{
    my ($value, $line) = ask('10.20.1.11');
    my $entity = $t->entity('10.20.1.11');

    is_deeply($value, {
        match          => 'exact',
        device_id      => $D1,
        device_name    => 'ws-ana.corp.example',
        os_platform    => 'Windows11',
        health_status  => 'Active',
        risk_score     => 'Medium',
        exposure_level => 'Low',
        last_seen      => $entity->{lastSeen},
        isolation      => undef,
    }, 'a device');
    is($line, "10.20.1.11|exact|$D1|ws-ana.corp.example|-", 'in the log');
}

for my $case (
    ['10.20.4.31', 'ambiguous'], ['10.99.99.99', 'none'],
    ['127.0.0.1', 'none'], ['10.20.1.011', 'none'], ['', 'none'],
    ['unix:', 'none'], ['x' x 300, 'none'])
{
    my ($ip, $match) = @$case;
    my ($value, $line) = ask($ip);
    is_deeply($value, {%nothing, match => $match},
        "no device for \"" . substr($ip, 0, 20) . '"');
    like($line, qr/\|$match\|-\|-\|-$/, 'in the log');
}

{
    my ($value) = ask('10.20.4.59');
    is($value->{match}, 'stale', 'an old report');
    is($value->{device_name}, 'ws-away', 'names its device');

    ($value) = ask('::ffff:10.20.1.11');
    is($value->{device_id}, $D1, 'another spelling');

    ($value) = ask('10.20.4.15');
    is($value->{match}, 'exact', 'a record with few members');
    is($value->{device_name}, 'few-members', 'name');
    is($value->{os_platform}, undef, 'what is missing is not there');
}

{
    my ($value, $line, $r) = ask('10.20.4.62');
    like($r->raw_header, qr/^X-device_name: ws-[^\r\n]*control[^\r\n]*\r\n/m,
        'control characters in a name do not break a header');
    unlike($value->{device_name}, qr/[\x00-\x1f\x7f]/, 'they are gone');
    like($value->{device_name}, qr/^ws-_+-control/, 'each is an underscore');

    ($value) = ask('10.20.4.60');
    like($value->{device_name}, qr/\xc3\xbc/,
        'other scripts come as they are');
    ($value) = ask('10.20.4.61');
    like($value->{device_name}, qr/"quoted"/, 'quotes too');
    ($value) = ask('10.20.4.63');
    is($value->{device_name}, $t->entity('10.20.4.63')->{computerDnsName},
        'a long name is whole');
}

is($t->get('/map?ip=10.20.1.11')->body, 'yes', 'map');
is($t->get('/map?ip=10.99.99.99')->body, 'no', 'map without a device');
is($t->get('/if?ip=10.20.1.12')->body, 'yes', 'if');
is($t->get('/if?ip=10.99.99.99')->status, 403, 'if without a device');

is($t->get('/limit?ip=10.20.1.11')->status, 200, 'limit_req: first');
is($t->get('/limit?ip=10.20.1.11')->status, 429, 'limit_req: second');
is($t->get('/limit?ip=10.20.1.12')->status, 200, 'limit_req: another device');
is($t->get('/limit?ip=10.99.99.99')->status, 200,
    'limit_req: no device is not limited') for 1, 2;

{
    my $seen = $t->get('/proxy?ip=10.20.4.62')->json;
    like($seen->{'X-Device'}, qr/^ws-_+-control/, 'proxy_set_header');
    is($seen->{'X-Match'}, 'exact', 'proxy_set_header: match');

    $seen = $t->get('/proxy?ip=10.99.99.99')->json;
    ok(!exists $seen->{'X-Device'}, 'no header without a device');
    is($seen->{'X-Match'}, 'none', 'none');
}

is($t->get('/page?ip=10.20.1.11')->body,
    "exact $D1|ws-ana.corp.example", 'in a subrequest and beside it');

is($t->get('/first?ip=10.20.1.11')->body, "$D1 $D2",
    'after a redirect the new location\'s address counts');

is($t->get('/client', port => $t->port(1))->body, 'none',
    'the client\'s own address');

{
    my $r = $t->get('/realip', port => $t->port(1),
        headers => ['X-Real-IP' => '10.20.1.11']);
    is($r->header('X-Early'), 'none', 'before realip: the peer');
    is($r->header('X-Late'), $D1, 'after realip: the client');
}

$t->configure(enabled => JSON::PP::false);
$t->wait_for(sub {
    my ($value) = ask('10.20.1.11');
    return $value->{match} eq 'unavailable';
}, 10, 'disabled');

{
    my ($value) = ask('10.20.1.11');
    is_deeply($value, {%nothing, match => 'unavailable'}, 'disabled');
}

$t->done;
