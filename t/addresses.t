#!/usr/bin/perl

# Which address is which device: however Defender and the detections spell it,
# whoever else has it or had it, and what names nobody. Each answer is asked
# for in three places: the API, a page that passes through, and the key that
# other services read in Redis.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Agent qw(poll ask_poll status machine id_of meta
    wait_ip_keys);
use Test::Defender::Enrich qw(strip insertions matches);

use constant {
    BEHIND_NAT => 200,
    LOOPBACK   => 300,
};

my $OFFICE = '203.0.113.7';

# As Defender delivers it, and the address that it is.
my @SPELLED = (
    ['10.21.0.1'                               => '10.21.0.1'],
    ['::ffff:10.21.0.2'                        => '10.21.0.2'],
    ['::FFFF:0A15:0003'                        => '10.21.0.3'],
    ['0:0:0:0:0:ffff:10.21.0.4'                => '10.21.0.4'],
    ['0000:0000:0000:0000:0000:FFFF:0A15:0005' => '10.21.0.5'],
    ['2001:DB8:0:0:0:0:21:6'                   => '2001:db8::21:6'],
    ['2001:0db8:0000:0000:0000:0000:0021:0007' => '2001:db8::21:7'],
    ['2001:db8::21:8%12'                       => '2001:db8::21:8'],
    ['2001:db8::21:9%eth0'                     => '2001:db8::21:9'],
    ['FD00:21::A'                              => 'fd00:21::a'],
    ['2001:db8:0:0:1:0:0:b'                    => '2001:db8::1:0:0:b'],
    ['2001:db8:21:0:0:0:0:0'                   => '2001:db8:21::'],
    ['2001:db8:0:2:3:4:5:d'                    => '2001:db8:0:2:3:4:5:d'],

    # An IPv4 address is inside of these, but they are not it.
    ['64:ff9b::10.21.9.1'                      => '64:ff9b::a15:901'],
    ['::10.21.9.2'                             => '::a15:902'],
    ['2002:0a15:0903::1'                       => '2002:a15:903::1'],
);

# What stands in address fields and is no address, or none that names a device;
# as JSON.
my @NOTHING = (
    (map { qq("$_") }
        '', '-', 'unknown', 'N/A', 'none', 'localhost',
        '010.021.001.001', '10.21.1.001', '10.21.1.08', '0x0a.21.1.1',
        '10.21.267', '10.21.1', '169148673', '10.21.1.256', '10.21.1.1.',
        '.10.21.1.1', '10.21.1.1.1', '10,21,1,1', '+10.21.1.1',
        '10.21.1.1:443', '[10.21.1.1]', '[2001:db8::21:1]',
        '[2001:db8::21:1]:443', ' 10.21.1.1', '10.21.1.1 ', '10.21.1.1\n',
        '\u000010.21.1.1', '10.21.1.1\u0000', '10.21.1.1/32', '10.21.1.0/24',
        '2001:db8::21:1/128', '10.21.1.1%eth0', '10.21.1.1;10.21.1.2',
        '10.21.1.1, 10.21.1.2', '10.21.1.1-10.21.1.9', '2001:db8::21::1',
        '2001:db8:21', ':::', '2001:db8::12345', '2001:db8::g',
        '::ffff:10.21.1.001', '::ffff:10.21.1.256', 'tcp://10.21.1.1',
        '127.0.0.1', '127.255.21.1', '::1', '::ffff:127.0.0.1',
        '169.254.10.20', '::ffff:169.254.10.20', 'fe80::1', 'FE80::21',
        'fe80::1%3', 'fe80::1%25eth0', 'febf::1', '0.0.0.0', '0.21.1.1',
        '::', '224.0.0.251', '239.255.255.250', 'ff02::fb', 'ff0e::1',
        '255.255.255.255'),
    qw(null true 0 169148673 10.21 [] {}), '["10.21.1.1"]',
    '{"address":"10.21.1.1"}',
);

my $t = Test::Defender->new;
$t->start_redis;
my $sim = $t->start_sim;
$t->start_upstream;

my @conf = (http => 'defender_page_size 100;');
$t->conf($t->standard_conf(@conf))->run;
$sim->knobs(rate_minute => undef, rate_hour => undef);

my $redis = $t->redis;
my $json  = JSON::PP->new->canonical->allow_nonref;


# "exact:d1", "ambiguous", or "" for none.
sub in_short {
    my ($entity) = @_;

    return '' if !$entity || $entity->{match} eq 'none';

    return $entity->{match}
        . (defined $entity->{id} ? ':' . substr $entity->{id}, 0, 6 : '');
}


sub from_redis {
    my ($ip) = @_;

    my $entity = $redis->cmd(GET => "defender:ip:$ip");

    return defined $entity ? $t->json_decode($entity) : undef;
}


# What a page with this address in it gets; nothing else in it changes.
sub from_page {
    my ($ip) = @_;

    my $body = $json->encode({src_ip => $ip, port => 443});
    my $got  = $t->post('/d/x', body => $body)->body;

    is(strip($got), $body, "$ip: the rest of the page is as it was")
        if strip($got) ne $body;

    my ($entity) = map { $_->{src_ip} } insertions($got);

    return $entity;
}


# One address in all places, by the canonical form in Redis.
sub everywhere {
    my ($asked, $canonical, $want) = @_;

    my $api = $t->get('/defender/enrich?ip='
        . $asked =~ s/%/%25/gr, role => 'viewer')->json;

    is_deeply([map { in_short($_) } $api, from_page($asked),
        from_redis($canonical)], [$want, $want, $want], $asked);

    return $api;
}


sub publish {
    my (@machines) = @_;

    $sim->devices(ref $machines[0] ? \@machines : $machines[0]);
    my $last = poll($t, seconds => 40);
    is($last->{result}, 'ok', 'poll') or diag explain $last;
    wait_ip_keys($t, 40);

    return $last;
}


# Six hex digits at the beginning of an id.
sub numbered { return sprintf '%02x%04x', @_ }


# The first poll: all spellings, and each thing that is no address beside a
# good one.

my (@fleet, @keys);

for my $i (0 .. $#SPELLED) {
    my ($delivered, $canonical) = @{$SPELLED[$i]};
    my $machine = machine('00', $delivered);
    $machine->{id} = substr numbered(0xaa, $i) x 7, 0, 40;
    push @fleet, $json->encode($machine);
    push @keys, $canonical;
}

for my $i (0 .. $#NOTHING) {
    my $good    = "10.21.2." . ($i + 1);
    my $machine = machine('00', undef, ipAddresses => ['here']);
    $machine->{id} = substr numbered(0xbb, $i) x 7, 0, 40;

    my $entries = join ',', $NOTHING[$i],
        map { "{\"ipAddress\":$_,\"operationalStatus\":\"Up\"}" }
            $NOTHING[$i], "\"$good\"";

    push @fleet, $json->encode($machine)
        =~ s/"lastIpAddress":null/"lastIpAddress":$NOTHING[$i]/r
        =~ s/\["here"\]/[$entries]/r;
    push @keys, $good;
}

for my $i (1 .. LOOPBACK) {
    my $own     = sprintf '10.22.%d.%d', int $i / 200, $i % 200 + 1;
    my $machine = machine('00', $own);
    $machine->{id} = substr numbered(0xcc, $i) x 7, 0, 40;
    $machine->{lastExternalIpAddress} =
        $i <= BEHIND_NAT ? $OFFICE : "198.51.100.$i" if $i < 250;
    push @{$machine->{ipAddresses}}, map {
        {ipAddress => $_, operationalStatus => 'Up'}
    } '127.0.0.1', '::1', '169.254.10.20', 'fe80::1', '0.0.0.0';
    push @fleet, $json->encode($machine);
    push @keys, $own;
}

$sim->devices('[' . join(',', @fleet) . ']');
$t->configure;
$t->wait_devices(scalar @fleet, seconds => 30);
wait_ip_keys($t, 30);


subtest 'an address has a key when it names a device, and else none' => sub {
    is_deeply([$redis->keys('defender:ip:*')],
        [sort map { "defender:ip:$_" } @keys], 'keys');
    is(meta($t)->{addresses}, scalar @keys, 'their number');
    is(status($t)->{skipped}, 0, 'no device is lost for its addresses');
};


subtest 'as Defender spells it, as the detection spells it' => sub {
    for my $i (0 .. $#SPELLED) {
        my ($delivered, $canonical) = @{$SPELLED[$i]};
        my $want = 'exact:' . numbered(0xaa, $i);
        everywhere($_, $canonical, $want)
            for $delivered ne $canonical ? ($delivered, $canonical)
                : $delivered;
    }

    everywhere('::ffff:a15:1', '10.21.0.1', 'exact:aa0000');
    everywhere('0::FFFF:10.21.0.1', '10.21.0.1', 'exact:aa0000');
    everywhere('2001:db8:0::0:21:6%lo', '2001:db8::21:6', 'exact:aa0005');

    # The IPv4 address inside of another one.
    everywhere("10.21.9.$_", "10.21.9.$_", '') for 1 .. 3;
    everywhere('2001:db8::21:e', '2001:db8::21:e', '');
};


subtest 'what is no address hides no good one, and names nobody' => sub {
    for my $i (0 .. $#NOTHING) {
        my $good = '10.21.2.' . ($i + 1);
        is(in_short(from_redis($good)), 'exact:' . numbered(0xbb, $i),
            "beside $NOTHING[$i]");
    }

    for my $odd (@NOTHING) {
        my $body = "{\"src_ip\":$odd,\"n\":1}";
        is($t->post('/d/x', body => $body)->body, $body, "a page with $odd");
    }

    everywhere($_, $_, '') for '10.21.1.1', '10.21.1.0', '2001:db8::21:1';
};


subtest 'addresses that hundreds of devices have by nature' => sub {
    everywhere($_, $_, '') for '127.0.0.1', '::1', '169.254.10.20', 'fe80::1',
        '0.0.0.0';

    my $body = '{"src_ip":"127.0.0.1","dest_ip":"169.254.10.20",'
        . '"ips":["::1","fe80::1","0.0.0.0"]}';
    is($t->post('/d/x', body => $body)->body, $body,
        'a page with all of them');
};


subtest 'one public address, two hundred devices behind it' => sub {
    everywhere($OFFICE, $OFFICE, '');
    everywhere('198.51.100.201', '198.51.100.201', '');

    is(everywhere('10.22.0.8', '10.22.0.8', 'exact:cc0007')
        ->{lastExternalIpAddress}, $OFFICE, 'it is shown all the same');
};


subtest 'several addresses of one device, and rivals' => sub {
    my @list = map { {ipAddress => $_->[0], operationalStatus => $_->[1]} }
        ['10.23.0.2', 'Up'], ['10.23.0.3', 'Down'], ['2001:db8:23::1', 'Up'],
        ['10.23.0.9', 'Up'];

    publish(
        machine('a1', '10.23.0.1', ipAddresses => \@list),

        # the address of its report, where another one only lists it
        machine('a2', '10.23.0.9', lastSeen => '@now-5m'),
        machine('a3', '10.23.0.3', lastSeen => '@now-20m'),

        # equal evidence, less than a day apart
        machine('b1', '10.23.1.1', lastSeen => '@now-9h'),
        machine('b2', '10.23.1.1', lastSeen => '@now-1h'),
        machine('b3', '10.23.1.1', lastSeen => '@now-5h'),

        # and more than a day
        machine('b4', '10.23.1.2', lastSeen => '@now-30h'),
        machine('b5', '10.23.1.2', lastSeen => '@now-1h'),

        # reinstalled; silent; without a time; an older report
        machine('c1', '10.23.2.1', lastSeen => '@now-300d',
            healthStatus => 'Inactive', computerDnsName => 'ws-eve'),
        machine('c2', '10.23.2.1', computerDnsName => 'ws-eve'),
        machine('c3', '10.23.2.3', healthStatus => 'Inactive'),
        machine('c4', '10.23.2.4', lastSeen => undef),
        machine('c5', '10.23.2.5', lastSeen => 'yesterday'),
        machine('c6', '10.23.2.6', lastSeen => '@now-6h'),

        machine('d1', '10.23.3.1', mergedIntoMachineId => id_of('a1')),
        machine('d2', '10.23.3.1'),
        machine('d3', '10.23.3.3', mergedIntoMachineId => id_of('a1')),
        machine('d4', '10.23.3.4', mergedIntoMachineId => ''),
        machine('d5', '10.23.3.5', isExcluded => JSON::PP::true,
            isPotentialDuplication => JSON::PP::true),

        # the address that it has towards the internet is its own
        machine('e1', '203.0.113.99', lastExternalIpAddress => '203.0.113.99'),
    );

    everywhere($_->[0], $_->[0], $_->[1]) for
        ['10.23.0.1', 'exact:a1a1a1'], ['10.23.0.2', 'exact:a1a1a1'],
        ['2001:db8:23::1', 'exact:a1a1a1'], ['10.23.0.9', 'exact:a2a2a2'],
        ['10.23.0.3', 'likely:a3a3a3'], ['10.23.1.2', 'exact:b5b5b5'],
        ['10.23.2.1', 'exact:c2c2c2'], ['10.23.2.3', 'stale:c3c3c3'],
        ['10.23.2.4', 'stale:c4c4c4'], ['10.23.2.5', 'stale:c5c5c5'],
        ['10.23.2.6', 'likely:c6c6c6'], ['10.23.3.1', 'exact:d2d2d2'],
        ['10.23.3.3', ''], ['10.23.3.4', 'exact:d4d4d4'],
        ['10.23.3.5', 'exact:d5d5d5'], ['203.0.113.99', 'exact:e1e1e1'];

    my $entity = everywhere('10.23.1.1', '10.23.1.1', 'ambiguous');
    is(join(' ', map { substr $_->{id}, 0, 2 } @{$entity->{candidates}}),
        'b2 b3 b1', 'the candidates, newest first');
    is_deeply([grep { exists $entity->{$_} } qw(id computerDnsName osPlatform
        macAddress lastSeen healthStatus portalUrl)], [],
        'and nothing that names one of them as the device');
    is_deeply([sort keys %{$entity->{candidates}[0]}],
        [qw(computerDnsName id lastSeen)], 'what is told of each');
};


subtest 'both ends, each under its own name' => sub {
    for my $case (
        ['10.23.0.9', '10.23.0.1', 'dest_ip=exact:a1 src_ip=exact:a2'],
        ['10.23.0.1', '10.23.0.9', 'dest_ip=exact:a2 src_ip=exact:a1'],
        ['10.23.0.1', '10.23.0.1', 'dest_ip=exact:a1 src_ip=exact:a1'],
        ['10.23.0.1', '10.23.3.3', 'src_ip=exact:a1'],
        ['10.23.3.3', '10.23.0.1', 'dest_ip=exact:a1'],
        ['10.23.1.1', '10.23.0.1', 'dest_ip=exact:a1 src_ip=ambiguous'])
    {
        my ($src, $dest, $want) = @$case;
        my $body = "{\"src_ip\":\"$src\",\"dest_ip\":\"$dest\"}";
        my $got  = $t->post('/d/x', body => $body)->body;

        is_deeply([matches($got)], [$want], "$src to $dest");
        is(strip($got), $body, '... and nothing else');
    }
};


subtest 'a new owner, delivered before and after the former one' => sub {
    my @between = map {
        my $machine = machine('00', undef);
        $machine->{id} = substr numbered(0xdd, $_) x 7, 0, 40;
        $machine;
    } 1 .. 150;
    my @both = (machine('d7', '10.20.3.40', lastSeen => '@now-5d'),
        machine('d8', '10.20.3.40'));

    for my $order ([0, 1], [1, 0]) {
        my @owners = @both[@$order];
        my $last = publish($owners[0], @between, $owners[1]);
        is($last->{pages}, 2, 'on two pages');
        everywhere('10.20.3.40', '10.20.3.40', 'exact:d8d8d8');
    }
};


subtest 'an address that a device has left, read all the time' => sub {
    publish(machine('d8', '10.20.3.40'), machine('d9', '10.20.3.39'));

    my $before = $redis->cmd(PTTL => 'defender:ip:10.20.3.40');
    my (%seen, $reads, $returned);

    my $look = sub {
        my $key = in_short(from_redis('10.20.3.40'));
        my $api = in_short($t->entity('10.20.3.40'));

        $reads++;
        $returned++ if $key ne '' && $seen{''} || $api ne '' && $seen{api};
        $seen{$key}++;
        $seen{api}++ if $api eq '';

        return $key eq '' && $api eq '';
    };

    $look->() for 1 .. 200;
    cmp_ok($redis->cmd(PTTL => 'defender:ip:10.20.3.40'), '<', $before,
        'reading does not prolong a key');

    $sim->devices([machine('d8', '10.20.3.41'), machine('d9', '10.20.3.39')]);
    ask_poll($t);
    $t->wait_for($look, 20, 'it is nobody\'s');
    wait_ip_keys($t);
    $look->() for 1 .. 50;

    is_deeply([sort grep { !/api/ } keys %seen], ['', 'exact:d8d8d8'],
        'the former device, then none') or diag explain \%seen;
    ok(!$returned, "nothing came back in $reads reads");
    is_deeply([$redis->keys('defender:ip:*')],
        ['defender:ip:10.20.3.39', 'defender:ip:10.20.3.41'], 'keys');
    everywhere('10.20.3.41', '10.20.3.41', 'exact:d8d8d8');
};


subtest 'addresses that the administrator leaves out' => sub {
    $t->conf($t->standard_conf(http => <<'END'));
defender_exclude 10.24.1.0/24 10.24.2.7 2001:db8:24:1::/64;
defender_networks 10.24.0.0/16 2001:db8:24::/48;
defender_networks ::ffff:192.0.2.0/120;
END
    ok($t->reload, 'reload');

    publish(map { my $n = $_ + 1;
        machine(sprintf('%02x', $n), [qw(10.24.0.1 10.24.1.1 10.24.2.6
            10.24.2.7 10.25.0.1 2001:db8:24::1 2001:db8:24:1::1 2001:db8:25::1
            192.0.2.5 198.51.100.5)]->[$_])
    } 0 .. 9);

    everywhere($_->[0], $_->[0], $_->[1]) for
        ['10.24.0.1', 'exact:010101'], ['10.24.1.1', ''],
        ['10.24.2.6', 'exact:030303'], ['10.24.2.7', ''], ['10.25.0.1', ''],
        ['2001:db8:24::1', 'exact:060606'], ['2001:db8:24:1::1', ''],
        ['2001:db8:25::1', ''], ['192.0.2.5', 'exact:090909'],
        ['198.51.100.5', ''];
    everywhere('::ffff:10.24.1.1', '10.24.1.1', '');

    is_deeply([$redis->keys('defender:ip:*')], [map { "defender:ip:$_" }
        '10.24.0.1', '10.24.2.6', '192.0.2.5', '2001:db8:24::1'], 'keys');
    is($redis->cmd(HLEN => 'defender:devices'), 10, 'the devices are there');
};

$t->done;
