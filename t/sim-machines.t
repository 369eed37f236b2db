#!/usr/bin/perl

# The simulator's machine lists, look-ups and machine actions.

use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender;
use Test::Defender::ApiClient qw(names);

my $t   = Test::Defender->new(module => 0);
my $sim = $t->start_sim;
my $api = Test::Defender::ApiClient->new($sim);

$sim->knobs(rate_minute => undef, rate_hour => undef);


sub small_fleet {
    my ($n) = @_;

    return [map { {
        id => sprintf('%040x', $_), computerDnsName => "pc-$_",
        lastIpAddress => "10.1.0.$_", lastSeen => '@now-' . $_ . 'm',
        healthStatus => $_ % 2 ? 'Active' : 'Inactive', riskScore => 'None',
        osPlatform => 'Windows11', onboardingStatus => 'Onboarded',
        agentVersion => '10.8760.22631.4317', rbacGroupId => $_,
        machineTags => $_ == 3 ? ['red', "it's"] : [],
    } } 1 .. $n];
}


# Own list calls: path below /api/machines.
sub list { return $api->get("/api/machines$_[0]") }


subtest 'default fleet' => sub {
    my $answer = list('');
    my $body   = $answer->json;
    my %ids;

    is_deeply([sort keys %$body], ['@odata.context', 'value'], 'members');
    is($body->{'@odata.context'},
        'https://api.securitycenter.microsoft.com/api/$metadata#Machines',
        'context');
    is(scalar @{$body->{value}}, 60, 'records');
    $ids{$_->{id}}++ for @{$body->{value}};
    is_deeply([map { "$_: $ids{$_}" } grep { $ids{$_} > 1 } keys %ids],
        ['72d63195dcd8aa0b1c2d3e4f5061728394a5b6c7: 2'], 'one id is there twice');
    is(scalar(grep { !/^[0-9a-f]{40}$/ } keys %ids), 0, 'ids');

    my %by_name = map { ($_->{computerDnsName} // '') => $_ }
        @{$body->{value}};

    # Addresses that the sample detections name have one owner each.
    for my $ip (qw(10.0.1.4 10.0.1.6 10.0.0.4 10.2.0.251 10.2.8.102
        10.128.0.78 10.20.1.11 10.20.1.12 10.20.1.13 10.20.1.14))
    {
        my @owners = grep {
            grep { ($_->{ipAddress} // '') eq $ip } @{$_->{ipAddresses} // []}
        } @{$body->{value}};
        is(scalar @owners, 1, "$ip has one owner");
        is($owners[0]{healthStatus}, 'Active', 'who is active');
    }

    is(length $by_name{"\x{fc}" x 300}{computerDnsName}, 300,
        'a name of 300 characters');
    is(scalar(grep { /^l+\.corp\.example$/ && length > 200 } keys %by_name), 1,
        'a name of more than 200 bytes');
    ok($by_name{'ws-"quoted"\\back/slash'}, 'quotes');
    ok($by_name{"ws-\x01\t\n\x1f\x7f-control"}, 'control characters');

    for my $digits (0 .. 7) {
        my ($fraction) = $by_name{"ws-frac-$digits"}{lastSeen}
            =~ /:\d\d(?:\.(\d+))?Z$/;
        cmp_ok(length($fraction // ''), '<=', $digits, "$digits digits");
    }

    is_deeply($by_name{'ws-noaddr-1'}{ipAddresses}, [{ipAddress => ''},
        {ipAddress => '-'}, {ipAddress => undef}, {}], 'no addresses');
    is($by_name{'ws-noaddr-2'}{ipAddresses}, undef, 'null addresses');
    is($by_name{'ws-future'}{postQuantum}{ready}, 1, 'unknown member');
    like($answer->body, qr/"osBuild":9007199254740993,/, 'large integer');
    like($answer->body, qr/"since":\[2031,1\.50,-0,1e5\]/,
        'numbers keep their spelling');
    is(scalar(grep { !exists $_->{defenderAvStatus} } @{$body->{value}}), 56,
        'most have no defenderAvStatus');
};


subtest 'records keep their text' => sub {
    $sim->devices(<<'END');
[ { "id" : "x", "n": 1.50, "e": 1E+2, "s": "a\/b \u00e9 \u0000",
    "dup": 1, "dup": 2 , "t": "@now-0s/0", "u": "@nowhere" },
  17, "text", null, {} ]
END

    like(list('')->body, qr/"value":\[\{"id":"x","n":1\.50,"e":1E\+2,"s":"a\\\/b \\u00e9 \\u0000","dup":1,"dup":2,"t":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","u":"\@nowhere"\},17,"text",null,\{\}\]\}$/,
        'byte for byte');
};


subtest 'paging' => sub {
    $sim->devices(small_fleet(7));

    is(join(' ', names(list('?$top=3'))), 'pc-1 pc-2 pc-3', 'first page');
    is(join(' ', names(list('?$top=3&$skip=3'))), 'pc-4 pc-5 pc-6', 'second');
    is(join(' ', names(list('?$top=3&$skip=6'))), 'pc-7', 'a short page');
    is(join(' ', names(list('?$top=3&$skip=9'))), '', 'an empty page');
    is(join(' ', names(list('?%24top=2&%24skip=2'))), 'pc-3 pc-4', 'escaped $');
    ok(!exists list('?$top=3')->json->{'@odata.nextLink'},
        'no link with $top');
    ok(!exists list('')->json->{'@odata.count'}, 'no count');
    is(list('?$count=true&$top=1')->json->{'@odata.count'}, 7, '$count');

    $sim->knobs(page_size => 3);
    my $first = list('');
    my $base  = $sim->url;
    is($first->json->{'@odata.nextLink'}, "$base/api/machines?\$skip=3",
        'a link without $top');
    like($first->body, qr/\],"\@odata\.nextLink":"[^"]+"\}$/, 'at the end');

    my ($uri, @seen) = '/api/machines?$count=true';
    while (defined $uri) {
        my $answer = $api->get($uri);
        push @seen, names($answer);
        $uri = $answer->json->{'@odata.nextLink'};
        $uri =~ s/^\Q$base\E// if defined $uri;
    }
    is(join(' ', @seen), join(' ', map { "pc-$_" } 1 .. 7), 'followed');

    $sim->knobs(max_rows => 2);
    is(scalar names(list('?$top=5')), 2, 'at most two rows');
    ok(!exists list('?$top=5')->json->{'@odata.nextLink'}, 'and no hint');

    $sim->knobs(max_rows => undef, max_top => 5);
    $api->refused(list('?$top=6'), 400, 'ODataError', "The limit of '5' for "
        . "Top query has been exceeded. The value from the incoming request "
        . "is '6'.", '$top too large');
    $sim->knobs(over_max => 'cap');
    is(scalar names(list('?$top=6')), 5, 'or capped');

    $api->refused(list('?$top=-1'), 400, 'ODataError', "Invalid value '-1' "
        . 'for $top query option found. The $top query option requires a '
        . 'non-negative integer value.', 'negative $top');
    $api->refused(list('?$skip=1e3'), 400, 'ODataError', "Invalid value "
        . "'1e3' for \$skip query option found. The \$skip query option "
        . 'requires a non-negative integer value.', 'exponent');
    $api->refused(list('?$expand=alerts'), 400, 'ODataError',
        "The query option '\$expand' is not allowed.", '$expand');
    $api->refused(list('?$what=1'), 400, 'ODataError',
        "The query option '\$what' is not supported.", 'unknown option');
};


subtest 'paging faults' => sub {
    $sim->knobs(reset => \1, rate_minute => undef, page_size => 2);
    my $base = $sim->url;

    $sim->knobs(next_link => 'always');
    is(list('?$top=2')->json->{'@odata.nextLink'},
        "$base/api/machines?\$top=2&\$skip=2", 'a link in spite of $top');
    $sim->knobs(next_link => 'none');
    ok(!exists list('')->json->{'@odata.nextLink'}, 'no link');
    $sim->knobs(next_link => 'foreign');
    is(list('')->json->{'@odata.nextLink'},
        'https://api.attacker.example/api/machines?$skip=2', 'a foreign host');
    $sim->knobs(next_link => 'https://127.0.0.1:9');
    is(list('')->json->{'@odata.nextLink'},
        'https://127.0.0.1:9/api/machines?$skip=2', 'a chosen base');

    # The link that loses its names and repeats the first page.
    $sim->knobs(next_link => 'broken');
    my @links;
    my $uri = '/api/machines';
    for (1 .. 3) {
        my $answer = $api->get($uri);
        is(join(' ', names($answer)), 'pc-1 pc-2', 'the same two devices');
        push @links, $answer->json->{'@odata.nextLink'};
        $uri = $links[-1] =~ s/^\Q$base\E//r;
    }
    is_deeply(\@links, ["$base/api/machines?\$filter=x&\$skip=2",
        "$base/api/machines?=x&=2&\$skip=2",
        "$base/api/machines?=x&=2&=2&\$skip=2"], 'links that rot');

    $sim->knobs(next_link => 'auto', repeat_page => \1);
    is(join(' ', names(list('?$top=3&$skip=6'))), 'pc-1 pc-2 pc-3',
        '$skip without effect');

    $sim->knobs(repeat_page => \0, duplicate => \1);
    is(join(' | ', map { join ' ', names(list("?\$top=3&\$skip=$_")) }
        0, 3, 6, 9), 'pc-1 pc-2 pc-3 | pc-3 pc-4 pc-5 | pc-5 pc-6 pc-7 | pc-7',
        'pages that overlap');

    $sim->knobs(duplicate => \0, shuffle => 'within');
    is(join(' ', sort(names(list('?$top=3&$skip=3')))), 'pc-4 pc-5 pc-6',
        'shuffled within the page');
    $sim->devices(small_fleet(200));
    $sim->knobs(shuffle => 'between');
    isnt(join(' ', names(list('?$top=9'))), join(' ', names(list('?$top=9'))),
        'another order for each request');

    $sim->knobs(reset => \1, rate_minute => undef, page_status => {2 => {
        status => 429, headers => {'Retry-After' => 40}, times => 1,
        body => '{"error":{"code":"429","message":"used up"}}'}});
    is(list('?$top=10')->status, 200, 'page 1');
    my $limited = list('?$top=10&$skip=10');
    is_deeply([$limited->status, $limited->header('retry-after'),
        $limited->body, $limited->header('content-type')],
        [429, 40, '{"error":{"code":"429","message":"used up"}}',
        'application/json; charset=utf-8'], 'page 2, first time');
    is(list('?$top=10&$skip=10')->status, 200, 'page 2, second time');

    $sim->knobs(reset => \1, rate_minute => undef,
        location => 'https://elsewhere.example/');
    my $moved = list('');
    is_deeply([$moved->status, $moved->header('location')],
        [302, 'https://elsewhere.example/'], 'redirect');

    $sim->knobs(reset => \1, rate_minute => undef, api_raw => {
        body => '<!DOCTYPE html>', content_type => 'text/html', times => 2});
    my $page = list('');
    is_deeply([$page->status, $page->header('content-type'), $page->body],
        [200, 'text/html', '<!DOCTYPE html>'], 'a page of a proxy');
    is($api->get('/api/machines', token => undef)->status, 200,
        'before any check');
    is(list('')->header('content-type') =~ /json/, 1, 'for two times');

    $sim->knobs(api_raw => [{on => 'isolate', status => 503},
        {on => 'machine', status => 502}]);
    is($api->post('/api/machines/x/isolate', body => {})->status, 503,
        'one family');
    is($api->get('/api/machines/x')->status, 502, 'another one');
    is(list('')->status, 200, 'not this one');

    $sim->knobs(reset => \1, rate_minute => undef,
        context_host => 'https://api-us3.securitycenter.microsoft.com');
    is(list('?$top=1')->json->{'@odata.context'},
        'https://api-us3.securitycenter.microsoft.com/api/$metadata#Machines',
        'context of a regional host');

    $sim->devices([]);
    is(list('')->body, '{"@odata.context":"https://api-us3.securitycenter.'
        . 'microsoft.com/api/$metadata#Machines","value":[]}', 'empty');
    $sim->knobs(empty_as => '404');
    $api->refused(list(''), 404, 'ResourceNotFound',
        'No recent machines were found', 'empty as 404');

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
};


subtest '$filter, $select, $orderby' => sub {
    $sim->devices(small_fleet(6));

    # [filter, names]
    my @cases = (
        ["computerDnsName eq 'pc-2'", 'pc-2'],
        ["computerDnsName ne 'pc-2'", 'pc-1 pc-3 pc-4 pc-5 pc-6'],
        ["computerDnsName in ('pc-1','pc-6','nobody')", 'pc-1 pc-6'],
        ["startswith(computerDnsName,'pc-')", 'pc-1 pc-2 pc-3 pc-4 pc-5 pc-6'],
        ["startswith(computerDnsName,'x')", ''],
        ["healthStatus eq 'Active' and rbacGroupId gt 1", 'pc-3 pc-5'],
        ["healthStatus eq 'Active' AND rbacGroupId le 3", 'pc-1 pc-3'],
        ["rbacGroupId lt 2 or rbacGroupId ge 6", 'pc-1 pc-6'],
        ["not (rbacGroupId lt 5)", 'pc-5 pc-6'],
        ["rbacGroupId eq 1 or rbacGroupId eq 2 and healthStatus eq 'x'",
            'pc-1'],
        ["(rbacGroupId eq 1 or rbacGroupId eq 2) and healthStatus eq 'x'", ''],
        ["machineTags/any(tag: tag eq 'it''s')", 'pc-3'],
        ["aadDeviceId eq null", 'pc-1 pc-2 pc-3 pc-4 pc-5 pc-6'],
        ["lastSeen gt 2018-08-01Z", 'pc-1 pc-2 pc-3 pc-4 pc-5 pc-6'],
        ["lastSeen lt 2019-11-22T00:00:00Z", ''],
        ["lastSeen ge 2019-11-22T00:00:00.1234567Z and rbacGroupId eq 4",
            'pc-4'],
    );

    for my $case (@cases) {
        my ($filter, $names) = @$case;
        my $uri = '?$filter=' . $filter =~ s/ /%20/gr;
        is(join(' ', names(list($uri))), $names, $filter);
    }

    is(list('?$filter=rbacGroupId+gt+4&$count=true&$top=1')
        ->json->{'@odata.count'}, 2, 'counted after the filter');

    for my $case (["ipAddresses eq 'x'",
            "Could not find a property named 'ipAddresses'."],
        ['rbacGroupId eq', 'A value is expected at position 14.'],
        ['rbacGroupId', "An operator is expected after 'rbacGroupId'."],
        ["lastSeen gt '2018-08-01'",
            'A string cannot be compared with a property of type time.'],
        ["computerDnsName eq 'a' or", 'A property name is expected.'],
        ["(riskScore eq 'a'", "Missing ')'."],
        ["riskScore eq 'a' riskScore",
            "Syntax error at position 16 in 'riskScore eq 'a' riskScore'."])
    {
        my ($filter, $message) = @$case;
        $api->refused(list('?$filter=' . $filter =~ s/ /%20/gr), 400,
            'ODataError', $message, $filter);
    }

    is(list('?$select=computerDnsName,id&$top=1')->body =~ /"value":(.*)\}$/
        ? $1 : '', '[{"id":"' . '0' x 39 . '1","computerDnsName":"pc-1"}]',
        '$select');
    is(list('?$select=nonsense')->status, 400, 'unknown name');
    is(join(' ', names(list('?$orderby=rbacGroupId%20desc&$top=2'))),
        'pc-6 pc-5', '$orderby');
};


subtest 'findbyip, logonusers, alerts' => sub {
    my $id = sprintf '%040x', 1;
    $sim->clock(set => '2026-11-25T01:00:00Z', freeze => \1);
    $sim->devices([
        {id => $id, computerDnsName => 'pc-1', lastIpAddress => '10.1.0.1',
            lastSeen => '2026-11-25T00:50:00Z', ipAddresses => [
                {ipAddress => '10.1.0.2'}, {ipAddress => '2001:db8::5'}],
            '@history' => [{ip => '10.1.0.9', from => '2026-11-20T00:00:00Z',
                to => '2026-11-21T00:00:00Z'}],
            '@alerts' => [{id => 'al1', severity => 'High'}]},
        {id => sprintf('%040x', 2), computerDnsName => 'pc-2',
            lastIpAddress => '10.1.0.1', lastSeen => '2026-11-24T00:00:00Z'},
    ]);

    my $find = sub {
        return $api->get("/api/machines/findbyip(ip='$_[0]',timestamp=$_[1])");
    };

    for my $case (['10.1.0.1', '2026-11-25T00:50:00Z', 'pc-1'],
        ['10.1.0.2', '2026-11-25T00:35:00Z', 'pc-1'],
        ['10.1.0.2', '2026-11-25T00:34:59Z', ''],
        ['10.1.0.1', '2026-11-25T01:05:00Z', 'pc-1'],
        ['10.1.0.1', '2026-11-24T00:10:00Z', 'pc-2'],
        ['2001:DB8::5', '2026-11-25T00:50:00Z', 'pc-1'],
        ['10.1.0.9', '2026-11-20T12:00:00Z', 'pc-1'],
        ['10.1.0.9', '2026-11-21T00:15:00Z', 'pc-1'],
        ['10.1.0.9', '2026-11-21T00:15:01Z', ''],
        ['10.1.0.77', '2026-11-25T00:50:00Z', ''])
    {
        my ($ip, $time, $names) = @$case;
        is(join(' ', names($find->($ip, $time))), $names, "$ip at $time");
    }

    is(join(' ', names($api->get('/api/machines/findbyip(ip=%2710.1.0.1%27,'
        . 'timestamp=2026-11-25T00%3A50%3A00Z)'))), 'pc-1', 'escaped');
    unlike($find->('10.1.0.1', '2026-11-25T00:50:00Z')->body, qr/\@history/,
        'notes for the simulator are not sent');

    $api->refused($find->('10.1.0.256', '2026-11-25T00:50:00Z'), 400,
        'InvalidIpAddress', "The IP address '10.1.0.256' is not valid",
        'no address');
    $api->refused($find->('10.1.0.1', '2026-10-26T00:59:59Z'), 400,
        'InvalidInput', 'The timestamp must be within the past 30 days.',
        'too long ago');
    is($find->('10.1.0.1', '2026-10-26T01:00:00Z')->status, 200, '30 days');
    is($find->('10.1.0.1', 'yesterday')->status, 400, 'no time');
    is($api->get("/api/machines/findbyip(ip='10.1.0.1')")->status, 400,
        'an argument is missing');

    $sim->generate(1000);
    $sim->clock(freeze => \0);
    my $generated = $api->get('/api/machines/gen-000500.corp.example')->json;
    is(join(' ', names($find->($generated->{lastIpAddress},
        $generated->{lastSeen}))), 'gen-000500.corp.example',
        'a generated device');

    my $users = $api->get("/api/machines/$id/logonusers")->json;
    is_deeply([sort keys %{$users->{value}[0]}], [qw(accountDomain accountName
        accountSid firstSeen id isDomainAdmin isOnlyNetworkUser lastSeen
        leastPrevalentMachineId logOnMachinesCount logonTypes
        mostPrevalentMachineId)], 'logon users');
    like($users->{value}[0]{id}, qr/^pc-1\\user\d+$/, 'their id');
    is($api->get('/api/machines/x/logonusers')->status, 404, 'unknown device');

    is_deeply($api->get("/api/machines/$id/alerts")->json->{value},
        [{id => 'al1', severity => 'High'}], 'alerts');
    is($api->get("/api/machines/$id/alerts?\$top=1")->status, 400,
        'which take no options');
    is($api->get('/api/machines/x/alerts')->status, 404, 'unknown device');
    is_deeply($api->get('/api/alerts?$top=1')->json->{value}, [],
        'alerts of all');

    $sim->clock(reset => \1);
};


subtest 'changes of the fleet' => sub {
    $sim->devices(small_fleet(3));
    my ($one, $two) = map { sprintf '%040x', $_ } 1, 2;

    $sim->patch_device($one, lastSeen => '@now-5s', riskScore => 'High');
    is($api->get("/api/machines/$one")->json->{riskScore}, 'High', 'patched');
    like($api->get("/api/machines/$one")->json->{lastSeen}, qr/^\d{4}-/,
        'with a relative time');
    $sim->remove_device($two);
    is(join(' ', names(list(''))), 'pc-1 pc-3', 'removed');
    ok(!eval { $sim->remove_device($two); 1 }, 'only once');

    $sim->generate(5);
    my $third = $api->get('/api/machines/gen-000003.corp.example')->json->{id};
    $sim->patch_device($third, riskScore => 'Low');
    $sim->remove_device('gen-000001.corp.example');
    is(join(' ', names(list(''))), 'pc-1 pc-3 gen-000000.corp.example '
        . 'gen-000002.corp.example gen-000003.corp.example '
        . 'gen-000004.corp.example', 'a generated one removed');
    is($api->get("/api/machines/$third")->json->{riskScore}, 'Low',
        'one patched');
};


subtest '100,000 devices' => sub {
    $sim->devices([]);
    $sim->generate(100_000);

    my (%ids, %ips);
    my ($slowest, $bytes, $start) = (0, 0, time);

    for my $page (0 .. 100) {
        my $begin  = time;
        my $answer = list('?$top=1000&$skip=' . $page * 1000);
        my $took   = time - $begin;
        $slowest = $took if $took > $slowest;
        $bytes += length $answer->body;

        my @ids = $answer->body =~ /\{"id":"([0-9a-f]{40})"/g;
        @ids{@ids} = ();
        @ips{$answer->body =~ /"lastIpAddress":"([\d.]+)"/g} = ();
        is(scalar @ids, $page < 100 ? 1000 : 0, "page $page")
            if $page % 25 == 0;
    }

    is(scalar keys %ids, 100_000, 'as many ids');
    is(scalar keys %ips, 100_000, 'as many addresses');
    cmp_ok($slowest, '<', 1, 'each page within a second');
    note sprintf '%.1f MB in %.1f s, slowest page %.3f s', $bytes / 1e6,
        time - $start, $slowest;

    my $one = $api->get('/api/machines/gen-099999.corp.example')->json;
    is($api->get("/api/machines/$one->{id}")->json->{computerDnsName},
        'gen-099999.corp.example', 'found by id');
    is($one->{id}, substr(sha1_hex('device 99999'), 0, 32) . '0001869f',
        'a fixed id');
    is(scalar names(list("?\$filter=computerDnsName%20eq%20"
        . "'gen-050000.corp.example'")), 1, 'filtered');
    is($api->get('/api/machines/gen-100000.corp.example')->status, 404,
        'no further one');
};


$t->done;
