#!/usr/bin/perl

# What a firewall must let through.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use JSON::PP ();
use Test::Defender;
use Test::Defender::Answer qw(outcome outcome_field);
use Test::More;

my @viewer = (role => 'viewer');

my %hosts = (
    commercial => 'login.microsoftonline.com api.security.microsoft.com',
    us         => 'login.microsoftonline.com us.api.security.microsoft.com',
    eu         => 'login.microsoftonline.com eu.api.security.microsoft.com',
    uk         => 'login.microsoftonline.com uk.api.security.microsoft.com',
    au         => 'login.microsoftonline.com au.api.security.microsoft.com',
    swa        => 'login.microsoftonline.com swa.api.security.microsoft.com',
    ina        => 'login.microsoftonline.com ina.api.security.microsoft.com',
    gcc => 'login.microsoftonline.com api-gcc.securitycenter.microsoft.us',
    'gcc-high' => 'login.microsoftonline.us api-gov.securitycenter.microsoft.us',
    dod        => 'login.microsoftonline.us api-gov.securitycenter.microsoft.us',
);


sub hosts {
    my ($r) = @_;

    return join ' ', map { "$_->{purpose}=$_->{host}:$_->{port}" }
        @{$r->json->{hosts}};
}

subtest 'Microsoft\'s hosts' => sub {
    my $t = Test::Defender->new;
    $t->start_redis;
    $t->conf($t->standard_conf)->run;

    my $r = $t->get('/defender/egress', @viewer);
    is($r->status, 200, 'status');
    is_deeply($r->json, {
        cloud         => 'commercial',
        replaced      => JSON::PP::false,
        hosts         => [
            {purpose => 'sign-in', host => 'login.microsoftonline.com',
                port => 443},
            {purpose => 'api', host => 'api.security.microsoft.com',
                port => 443},
        ],
        proxy         => undef,
        sourceAddress => undef,
    }, 'before anything is configured');

    for my $cloud (sort keys %hosts) {
        my ($login, $api) = split / /, $hosts{$cloud};
        is(hosts($t->get("/defender/egress?cloud=$cloud", @viewer)),
            "sign-in=$login:443 api=$api:443", $cloud);
    }

    for my $cloud ('moon', '', 'Commercial', 'x' x 100, 'gcc%00') {
        is(outcome_field($t->get("/defender/egress?cloud=$cloud", @viewer)),
            '400 invalid_cloud cloud', "cloud=$cloud");
    }

    is(outcome($t->get('/defender/egress')), '403 role_missing', 'nobody');

    # What was saved counts.
    $t->redis->cmd(HSET => 'defender:config', revision => 3, settings =>
        '{"enabled":false,"isolateEntity":false,"cloud":"gcc-high",'
        . '"pollMinutes":5,"tenantId":"contoso.example",'
        . '"appId":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"}');
    $r = $t->get('/defender/egress', @viewer);
    is($r->json->{cloud}, 'gcc-high', 'the stored cloud');
    like(hosts($r), qr/login\.microsoftonline\.us/, '... and its hosts');

    $t->redis->stop;
    is(outcome($t->get('/defender/egress', @viewer)), '503 cache_down',
        'Redis is down');
    $t->finish;
};

subtest 'other hosts, proxy and source address' => sub {
    my $t = Test::Defender->new;
    $t->start_redis;
    $t->conf($t->standard_conf(
        endpoint => 'login=https://login.private.example api=https://[2001:db8::7]:8443',
        http => 'defender_proxy http://proxy.corp.example:8080; defender_bind 127.0.0.1;',
    ))->run;

    my $r = $t->get('/defender/egress', @viewer);
    is(hosts($r), 'sign-in=login.private.example:443 api=2001:db8::7:8443',
        'hosts of defender_endpoint');
    is($r->json->{replaced}, JSON::PP::true, '... which are not Microsoft\'s');
    is_deeply($r->json->{proxy},
        {purpose => 'proxy', host => 'proxy.corp.example', port => 8080},
        'the proxy');
    is($r->json->{sourceAddress}, '127.0.0.1', 'the source address');
    $t->finish;
};

done_testing();
