#!/usr/bin/perl

# Machines as Defender delivers them, with every oddity: each is kept in Redis
# byte for byte, shown by the API and put into pages with the values that it
# came with, and reachable by its own addresses and by no others.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use JSON::PP ();
use Socket   qw(AF_INET AF_INET6 inet_ntop inet_pton);
use Test::More;

use lib 't/lib';
use lib 't/sim/lib';
use Sim::Json qw(split_records);
use Test::Defender;
use Test::Defender::Agent qw(poll status meta wait_ip_keys id_of);
use Test::Defender::Enrich qw(strip insertions);

my $t = Test::Defender->new;
$t->start_redis;
my $sim = $t->start_sim;
$t->start_upstream;
$t->conf($t->standard_conf)->run;
$sim->knobs(rate_minute => undef, rate_hour => undef);

my $redis = $t->redis;
my $json  = JSON::PP->new->utf8->canonical->allow_nonref;

# What an entity shows of a machine, beside the MAC of the address.
my @TEXTS = qw(id computerDnsName osPlatform version lastSeen firstSeen
    healthStatus riskScore exposureLevel onboardingStatus deviceValue
    rbacGroupName aadDeviceId managedBy agentVersion lastExternalIpAddress);


sub is_text {
    my ($value) = @_;

    return defined $value && !ref $value && length $value
        && $json->encode($value) =~ /^"/;
}


# The entity of a machine, written down anew from what is documented.
sub expected_entity {
    my ($machine) = @_;

    my %entity = map { $_ => $machine->{$_} }
        grep { is_text($machine->{$_}) } @TEXTS;

    my $build = $machine->{osBuild};
    $entity{osBuild} = $build
        if defined $build && $json->encode($build) =~ /^-?\d+$/;

    my $tags = $machine->{machineTags};
    my @tags = grep { is_text($_) } ref $tags eq 'ARRAY' ? @$tags : ();
    $entity{machineTags} = \@tags if @tags;

    my $vm = $machine->{vmMetadata};
    if (ref $vm eq 'HASH') {
        my %filled = map { $_ => $vm->{$_} }
            grep { defined $vm->{$_} } keys %$vm;
        $entity{vmMetadata} = \%filled if %filled;
    }

    $entity{portalUrl} = "https://security.microsoft.com/machines/$entity{id}"
        if $entity{id} =~ /^[0-9a-fA-F]{40}$/;

    return \%entity;
}


# The same part of an entity that was delivered.
sub device_part {
    my ($entity) = @_;

    my %device = %$entity;
    delete @device{qw(source match evidence ip at asOf macAddress)};

    return \%device;
}


# The system's own idea of an address: canonical text, or undef when it is
# none or can name no device.
sub canonical {
    my ($text) = @_;

    return if !is_text($text);
    $text =~ s/%.*//s if $text =~ /:/;

    my $v4 = $text =~ /^\d+\.\d+\.\d+\.\d+$/ && $text !~ /\b0\d/
        ? inet_pton(AF_INET, $text) : undef;
    my $v6 = !defined $v4 && $text =~ /:/ ? inet_pton(AF_INET6, $text) : undef;

    $v4 = $1 if defined $v6 && $v6 =~ /^\0{10}\xff\xff(....)$/s;

    if (defined $v4) {
        my ($first, $second) = unpack 'CC', $v4;
        return if $first == 0 || $first == 127 || $first >= 224
            || $first == 169 && $second == 254;
        return inet_ntop(AF_INET, $v4);
    }

    return if !defined $v6 || $v6 =~ /^\0{15}[\0\1]$/ || $v6 =~ /^\xff/
        || $v6 =~ /^\xfe[\x80-\xbf]/;

    return inet_ntop(AF_INET6, $v6);
}


sub addresses {
    my ($machine) = @_;

    return if is_text($machine->{mergedIntoMachineId});

    my $list = $machine->{ipAddresses};
    my %own  = map { $_ => 1 } grep { defined } map { canonical($_) }
        $machine->{lastIpAddress}, map { $_->{ipAddress} }
            grep { ref eq 'HASH' } ref $list eq 'ARRAY' ? @$list : ();

    return keys %own;
}


# Everything that is to be true after a poll of these records (JSON texts).
# Of several records with one id any may be the one that is kept.
sub all_there {
    my (@texts) = @_;

    my (%by_id, %owners);

    for my $text (@texts) {
        my $machine = $json->decode($text);
        utf8::encode(my $id = $machine->{id});
        push @{$by_id{$id}}, {text => $text, machine => $machine};
    }

    my $stored = {$redis->hash(HGETALL => 'defender:devices')};
    is_deeply([sort keys %$stored], [sort keys %by_id],
        'every machine is there, and no other');

    for my $id (sort keys %by_id) {
        my $kept = $stored->{$id} // '';
        my ($record) = grep { $_->{text} eq $kept } @{$by_id{$id}};
        if (!ok($record, "$id: byte for byte")) {
            diag($kept);
            next;
        }

        for my $ip (addresses($record->{machine})) {
            push @{$owners{$ip}}, $record->{machine};
        }
    }

    is_deeply([$redis->keys('defender:ip:*')],
        [sort map { "defender:ip:$_" } keys %owners],
        'the keys of their addresses, and no others');
    is(meta($t)->{addresses}, scalar keys %owners, 'which are counted');

    for my $ip (sort keys %owners) {
        next if @{$owners{$ip}} > 1;

        my $want = $json->encode(expected_entity($owners{$ip}[0]));
        my $key  = $json->decode($redis->cmd(GET => "defender:ip:$ip"));
        my $api  = $t->entity($ip);

        is($json->encode(device_part($key)), $want, "$ip: in Redis");
        is($json->encode(device_part($api)), $want, "$ip: look-up");

        my $page = "{\"ip\":\"$ip\"}";
        my $got  = $t->post('/d/x', body => $page)->body;
        my ($member) = insertions($got);
        is(strip($got), $page, "$ip: in a page, which is as it was");
        is($json->encode(device_part($member->{ip})), $want, "$ip: and named");
    }
}


subtest 'a fleet of everything that public records show' => sub {
    $t->configure;
    $t->wait_devices;
    wait_ip_keys($t);

    my @texts = split_records($sim->request(method => 'GET',
        uri => '/sim/devices')->body, 0);
    is(scalar @texts, 60, 'records');
    all_there(@texts);
    is(status($t)->{skipped}, 0, 'none is skipped');
};


# One more record for each line: members (as JSON text, without the braces).
my @odd = (
    # words that Microsoft does not document
    '"onboardingStatus":"InsufficientInfo","riskScore":"Informational",'
        . '"healthStatus":"NoSensorData","defenderAvStatus":"NotSupported",'
        . '"osPlatform":"RedHatEnterpriseLinux","managedBy":"Intune"',
    '"riskScore":"Brand New","healthStatus":"Half asleep","deviceValue":"",'
        . '"onboardingStatus":"?","exposureLevel":"none","managedBy":" "',
    '"healthStatus":"inactive2","osPlatform":"windows 13","version":"Other"',

    # nothing in them, or something else than documented
    (map { my $value = $_; join ',', map { "\"$_\":$value" } qw(computerDnsName
        osPlatform version firstSeen healthStatus riskScore exposureLevel
        onboardingStatus deviceValue rbacGroupName aadDeviceId managedBy
        agentVersion lastExternalIpAddress osBuild machineTags vmMetadata
        mergedIntoMachineId rbacGroupId isAadJoined) }
        'null', '""', '7', '0.5', 'true', '[]', '{}', '[null]', '{"x":null}',
        '["a",""]', '{"x":{"y":[1]}}'),
    '"ipAddresses":null', '"ipAddresses":{}', '"ipAddresses":"10.31.0.1"',
    '"ipAddresses":[null,7,"10.31.0.2",[],{},{"ipAddress":{}}]',
    '"ipAddresses":[{"ipAddress":"10.31.1.1","macAddress":7,"type":null,'
        . '"operationalStatus":[]}]',
    '"machineTags":["a","b","a","","\u00fc",null,7,["c"]],"osBuild":-1',
    '"vmMetadata":{"vmId":"","cloudProvider":"Azure","resourceId":null,'
        . '"subscriptionId":"s","new":{"n":[1,2]}}',
    '"osBuild":9223372036854775807', '"osBuild":"22631"', '"osBuild":22631.5',
    '',

    # names, and other texts
    '"computerDnsName":"ws-\"quoted\"\\\\\/<b>&amp;\'"',
    '"computerDnsName":"a\u0000b\u0001\b\t\n\f\r\u001f\u007fz",'
        . '"machineTags":["\u0000","\r\n"],'
        . '"rbacGroupName":"\u0085\u2028\u2029"',
    '"computerDnsName":"' . 'n' x 300 . '"',
    '"computerDnsName":"' . '\u00fc' x 300 . '","agentVersion":"' . 'v' x 5000
        . '"',
    '"computerDnsName":"\ud83d\ude00 \u65e5\u672c\u8a9e \u05e2\u05d1 e\u0301"',
    "\"computerDnsName\":\"B\xc3\xbcro \xf0\x9f\x98\x80 \xe6\x97\xa5\"",
    '"computerDnsName":"\uFFFF\uFEFF\ufffd \u00E9\u00e9"',
    '"computerDnsName":"%s%n%d $1 ${jndi:x} {{7*7}}",'
        . '"rbacGroupName":"\r\nX: 1"',
    '"computerDnsName":" leading and trailing "',
    '"machineTags":["' . join('","', map { "tag-$_" } 1 .. 2000) . '"]',

    # members that nobody knows, spelled in all ways
    '"new":{"deep":[[[[{"x":[1e5,1E-7,-0,0.10,1.0e+10]}]]]]},"":"empty",'
        . '"a b":1,"\u0061":2,"id2":"x","ID":"y","lastipaddress":"10.31.9.1"',
    '"n":12345678901234567890123,"osBuild":22631',
    '"@odata.type":"#x","value":[{"id":"inner","lastIpAddress":"10.31.9.2"}]',
    '"riskScore":"Low","riskScore":"High"',
);


subtest 'every oddity that a record can have' => sub {
    my @texts = map {
        my $own = sprintf '10.30.%d.%d', int $_ / 200, $_ % 200 + 1;
        '{"id":"' . substr(sprintf('%04x', $_) x 10, 0, 40)
            . "\",\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
            . "\"lastIpAddress\":\"$own\""
            . ($odd[$_] eq '' ? '' : ",$odd[$_]") . '}'
    } 0 .. $#odd;

    # ids that are not the usual forty hex digits
    push @texts, map { "{\"id\":$_->[0],\"lastIpAddress\":\"$_->[1]\"}" }
        ['"x"', '10.30.9.1'], ['"' . 'A' x 40 . '"', '10.30.9.2'],
        ['"' . 'g' x 40 . '"', '10.30.9.3'],
        ['"' . 'a' x 128 . '"', '10.30.9.4'],
        ['"\u00fc \"/\\\\"', '10.30.9.5'], ['"../../x"', '10.30.9.6'];

    $sim->devices('[' . join(',', @texts) . ']');
    my $last = poll($t);
    is($last->{result}, 'ok', 'poll') or diag explain $last;
    is($last->{skipped}, 0, 'nothing is dropped');
    wait_ip_keys($t);
    all_there(@texts);
};


# What strict readers of JSON refuse: the device is there with the rest of its
# values, and what the page gets is JSON and UTF-8.
my $NO = "\x{fffd}";

my @refused = (
    ['half a surrogate pair', '"computerDnsName":"ws-\ud83d!",'
        . '"machineTags":["\udc00","ok"]',
        {computerDnsName => "ws-$NO!", machineTags => [$NO, 'ok']}],
    ['a NUL in a name', '"x\u0000y":1,"computerDnsName":"a\u0000b"',
        {computerDnsName => "a\0b"}],
    ['bytes that are no UTF-8', "\"computerDnsName\":\"B\xfcro-\xed\xa0\x80\","
        . "\"rbacGroupName\":\"\xc3\xbc\"",
        {computerDnsName => 'B?ro-???', rbacGroupName => "\x{fc}"}],
    ['numbers beyond any range', '"n":[1e400,-1E+999,18446744073709551616],'
        . '"osBuild":22631', {osBuild => 22631}],
    ['such a number where one is shown', '"osBuild":1e400,"version":"23H2"',
        {version => '23H2'}],
);

subtest 'records that strict readers refuse' => sub {
    my @texts = map {
        my $n = $_;
        '{"id":"' . id_of("e$n") . '","lastSeen":"@now-10m",'
            . "\"lastIpAddress\":\"10.32.0.$n\",$refused[$n][1]}"
    } 0 .. $#refused;

    $sim->devices('[' . join(',', @texts) . ']');
    my $last = poll($t);
    is($last->{result}, 'ok', 'poll') or diag explain $last;
    is($last->{skipped}, 0, 'nothing is dropped');
    wait_ip_keys($t);

    my @sent = split_records($sim->request(method => 'GET',
        uri => '/sim/devices')->body, 0);

    for my $n (0 .. $#refused) {
        my ($title, undef, $shown) = @{$refused[$n]};
        my $ip   = "10.32.0.$n";
        my $page = "{\"ip\":\"$ip\"}";
        my $got  = $t->post('/d/x', body => $page)->body;

        is($redis->cmd(HGET => 'defender:devices', id_of("e$n")), $sent[$n],
            "$title: byte for byte");

        for my $entity ($json->decode($redis->cmd(GET => "defender:ip:$ip")),
            $t->entity($ip), insertions($got))
        {
            $entity = $entity->{ip} if ref $entity->{ip};
            is($entity->{match}, 'exact', "$title: match");

            my $device = device_part($entity);
            delete @$device{qw(id lastSeen portalUrl)};
            is($json->encode($device), $json->encode($shown),
                "$title: its values");
        }

        is(strip($got), $page, "$title: the page");

        # The first device of a tenant decides nothing about the settings.
        $sim->devices("[$texts[$n]]");
        ok($t->post('/defender/config/verify', role => 'admin',
            json => $t->settings)->json->{verified}, "$title: verified");
    }
};


# The accounts that conf-examples/ has for Redis: the module's is enough to
# poll, the readers' for what they are promised and for nothing else.
subtest 'accounts of the module and of other services' => sub {
    my $u   = Test::Defender->new;
    my $acl = $t->read_file($t->root . '/conf-examples/redis-users.acl');

    like($acl, qr/^user default off$/m, 'nobody without a name');
    $acl =~ s/^#.*\n//mg;
    $acl =~ s/>change-this-one /'#' . sha256_hex('one') . ' '/e;
    $acl =~ s/>change-this-too /'#' . sha256_hex('too') . ' '/e;
    $acl .= "user test on nopass ~* &* +\@all\n";

    my $server = $u->start_redis(tcp => 1, unix => 0, acl => $acl);
    $u->write_file('password', 'one', 0600);
    $u->{sim} = $sim;
    $u->conf($u->standard_conf(redis => 'redis://defender@127.0.0.1:'
        . $server->port . ' password_file=%%DIR%%/password'))->run;

    $u->configure;
    $u->wait_devices;
    $server->cmd(AUTH => 'test', 'x');
    is(poll($u)->{result}, 'ok', 'the module polls');
    wait_ip_keys($u);
    is($u->entity('10.32.0.4')->{match}, 'exact', 'and looks up');

    my $ask = sub {
        my $reply = eval { $server->cmd(@_) };
        return defined $reply && !ref $reply ? $reply
            : ref $reply ? 'array' : $@ =~ /NOPERM/ ? 'refused' : "$@";
    };

    is($ask->(AUTH => 'reader', 'too'), 'OK', 'a reader');
    like($ask->(GET => 'defender:ip:10.32.0.4'), qr/^\{"source":/, 'address');
    like($ask->(HGET => 'defender:devices', id_of('e4')), qr/^\{"id":/,
        'device');
    is($ask->(HLEN => 'defender:devices'), 1, 'number of devices');
    is($ask->(HGET => 'defender:meta', 'schema'), 1, 'schema');
    is($ask->(HGETALL => 'defender:meta'), 'array', 'all of meta');
    is($ask->(@$_), 'refused', "@$_") for
        [GET => 'defender:lease'], [HGETALL => 'defender:config'],
        [GET => 'defender:status'], [SMEMBERS => 'defender:ips'],
        [SET => 'defender:ip:10.32.0.4', 'x'], [DEL => 'defender:devices'],
        [HSET => 'defender:meta', 'schema', 2], [KEYS => '*'], [SCAN => 0],
        [EVAL => 'return 1', 0], [CONFIG => GET => '*'], ['FLUSHALL'],
        [MGET => 'defender:ip:10.32.0.4', 'defender:config'];

    $u->finish;
};

$t->done;
