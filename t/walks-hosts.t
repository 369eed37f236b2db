#!/usr/bin/perl

# The way to Microsoft's hosts: what is sent there, which hosts belong to a
# cloud, certificates, and hosts that only a proxy reaches.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Agent qw(start_configured status poll known unchanged fleet
    walks meta generation wait_generation id_of);

# Every host that the clouds name; the simulator stands for all of them.
my %CLOUD = (
    commercial => ['login.microsoftonline.com', 'api.security.microsoft.com',
        'https://api.securitycenter.microsoft.com/.default',
        'https://security.microsoft.com'],
    eu         => ['login.microsoftonline.com',
        'eu.api.security.microsoft.com',
        'https://api.securitycenter.microsoft.com/.default',
        'https://security.microsoft.com'],
    gcc        => ['login.microsoftonline.com',
        'api-gcc.securitycenter.microsoft.us',
        'https://securitycenter.onmicrosoft.com/windowsatpservice/.default',
        'https://security.microsoft.com'],
    'gcc-high' => ['login.microsoftonline.us',
        'api-gov.securitycenter.microsoft.us',
        'https://securitycenter.onmicrosoft.us/windowsatpservice/.default',
        'https://security.microsoft.us'],
    dod        => ['login.microsoftonline.us',
        'api-gov.securitycenter.microsoft.us',
        'https://securitycenter.onmicrosoft.us/windowsatpservice/.default',
        'https://security.apps.mil'],
);

my %HOSTS = map { $_ => 1 } 'login.corp.invalid', 'api.corp.invalid',
    map { @{$_}[0, 1] } values %CLOUD;

my $t = start_configured(http => 'defender_page_size 3;',
    -sim => {san => [sort keys %HOSTS]});
my $sim   = $t->sim;
my $host  = '127\.0\.0\.1:' . $sim->port;

my $proxy = $t->start_proxy(only => 1,
    targets => {map { ("$_:443" => $sim->port) } keys %HOSTS});


sub with_conf {
    my (%opt) = @_;

    my $text = $t->standard_conf(%opt,
        http => 'defender_page_size 3; ' . ($opt{http} // ''));
    $text =~ s/^\s*defender_endpoint .*\n//m if $opt{clouds};
    $t->conf($text);
    $t->reload;
    $t->wait_for(sub { status($t)->{leaseHolder} }, 10, 'a poller');
}


subtest 'saved settings are what is sent, after a start, too' => sub {
    known($t, 1 .. 2);
    $sim->clear_log;
    is($t->stop, 0, 'stopped');
    $t->run;
    $t->wait_for(sub { walks($t) }, 10, 'polls');

    my ($token) = $sim->log(family => 'token');
    is_deeply($token->{form}, {
        grant_type    => 'client_credentials',
        client_id     => $sim->app,
        client_secret => 'q~7+x/y=&%25.s_e-c#r?e t',
        scope         => $CLOUD{commercial}[2],
    }, 'form');
    is($token->{content_type}, 'application/x-www-form-urlencoded', 'type');
    is($token->{path}, '/' . $sim->tenant . '/oauth2/v2.0/token', 'path');

    # A tenant by its name, as somebody pasted it; not the way out of the path.
    my $try = sub {
        my ($tenant) = @_;
        my $settings = $t->settings(tenantId => $tenant);
        return $t->post('/defender/config/verify', role => 'admin',
            json => $settings);
    };

    for my $pasted (' CONTOSO.onmicrosoft.com', uc $sim->tenant,
        $sim->tenant . "\r\n")
    {
        $sim->clear_log;
        my $shown = $pasted =~ s/\s/ /gr;
        ok($try->($pasted)->json->{verified}, "$shown: verified");
        like(($sim->log(family => 'token'))[0]{path},
            qr{^/[\w.-]+/oauth2/v2\.0/token$}, "$shown: path");
    }

    for my $wrong ('contoso.com/../common', 'contoso.com/x', '..', '.',
        'contoso.com%2f..', 'contoso.com\\x', 'common', "contoso.com\0x",
        'contoso.com:443', 'user@contoso.com', "contoso.com\nX: 1")
    {
        $sim->clear_log;
        is($try->($wrong)->status, 400,
            $wrong =~ s/([^ -~])/?/gr . ': refused');
        is(scalar(my @asked = $sim->log(family => 'token')), 0, '... unasked');
    }
};


subtest 'a certificate that is not trusted any more' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);
    my $other  = $t->start_sim(name => 'other');

    with_conf(ca => $other->ca);
    $sim->clear_log;
    my $last = poll($t);
    is($last->{result}, 'unreachable', 'result');
    is($last->{code}, 'tls', 'code');
    like($last->{message}, qr/certificate.*$host.*defender_ca_certificate/,
        'host and directive');
    is(scalar $sim->log, 0, 'nothing was sent');
    is(status($t)->{health}, 'unreachable', 'health');
    unchanged($t, $before, 1 .. 4);

    with_conf();
    is(poll($t)->{result}, 'ok', 'trusted again');
    is(status($t)->{health}, 'healthy', 'health');
};


subtest 'hosts that only a proxy reaches' => sub {
    my @hosts = (endpoint =>
        'login=https://login.corp.invalid api=https://api.corp.invalid');

    my $asked = () = $proxy->log;

    with_conf(@hosts);
    my $last = poll($t);
    is($last->{result}, 'unreachable', 'without it: result');
    is($last->{code}, 'dns', 'without it: code');
    like($last->{message}, qr/login\.corp\.invalid/, 'without it: the host');
    cmp_ok($last->{durationSeconds}, '<', 20, 'without it: in time');

    $sim->devices(fleet(1 .. 5));
    with_conf(@hosts, http => 'defender_proxy ' . $proxy->url . ';');
    is(poll($t)->{devices}, 5, 'with it: devices');

    my @tunnels = $proxy->log;
    splice @tunnels, 0, $asked;
    is_deeply([sort map { "$_->{method} $_->{uri}" } @tunnels],
        ['CONNECT api.corp.invalid:443', 'CONNECT login.corp.invalid:443'],
        'a tunnel for each host');
    is(scalar(grep { $_->{headers}{authorization} } @tunnels), 0,
        'which hears no token');
};


subtest 'login host, API host and scope follow the cloud' => sub {
    for my $name (sort keys %CLOUD) {
        my ($login, $api, $scope, $portal) = @{$CLOUD{$name}};

        with_conf(clouds => 1, http => 'defender_proxy ' . $proxy->url . ';');
        $sim->reset_knobs;
        $sim->knobs(rate_minute => undef, rate_hour => undef);
        $sim->devices(fleet(1 .. 7));
        $sim->clear_log;
        my $asked = () = $proxy->log;
        my $before = generation($t);

        my $r = $t->configure(cloud => $name);
        is($r->status, 200, "$name: saved") or next;

        wait_generation($t, $before + 1);
        $t->wait_for(sub { walks($t) && !status($t)->{polling}
            && (meta($t)->{devices} // 0) == 7 }, 15, "$name: polled");

        my %hosts = map { $_->{uri} => 1 } splice @{[$proxy->log]}, $asked;
        is_deeply([sort keys %hosts], [sort "$login:443", "$api:443"],
            "$name: these hosts and no others");

        for my $entry ($sim->log) {
            my $is_token = $entry->{family} eq 'token';
            is($entry->{host_header}, $is_token ? $login : $api,
                "$name: Host of $entry->{family}");
            is($entry->{form}{scope}, $scope, "$name: scope") if $is_token;
        }

        my $entity = $t->wait_match('10.20.7.7', 'exact', 10) // {};
        is($entity->{portalUrl}, "$portal/machines/" . id_of('07'),
            "$name: link to the portal");
    }

    # Only clouds that belong together are offered.
    for my $half ({api => 'https://api-gov.securitycenter.microsoft.us'},
        {login => 'https://login.microsoftonline.us'}, {cloud => 'us-gov'},
        {cloud => 'https://api-gov.securitycenter.microsoft.us'})
    {
        is($t->put('/defender/config', role => 'admin', json => $half)->status,
            400, 'no half of a cloud: ' . $t->json_encode($half));
    }
};

$t->done;
