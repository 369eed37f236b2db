package Sim::Fleet;

# The tenant's devices: records handed in as JSON, followed by any number of
# generated ones. A generated device is a function of its index, so a fleet of
# a million costs nothing until a page of it is asked for.

use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use Sim::Clock  qw(iso parse_iso SECOND);
use Sim::Json   qw(decode encode split_records);

# platform, version, build, architecture, agent, network type, managed by
my @PLATFORMS = (
    ['Windows11',         '23H2',  22631,  '64-bit', '10.8760.22631.4317', 'Ethernet',      'Intune'],
    ['Windows10',         '22H2',  19045,  '64-bit', '10.8790.19045.5608', 'Wireless80211', 'Intune'],
    ['WindowsServer2022', '21H2',  20348,  '64-bit', '10.8760.20348.2965', 'Ethernet',      'MicrosoftDefenderForEndpoint'],
    ['macOS',             '15.3',  'null', '64-bit', '101.25012.10',       'Wireless80211', 'Intune'],
    ['Ubuntu',            '24.4',  6,      '64-bit', '30.124092.2.0',      'Other',         'Unknown'],
    ['WindowsServer2019', '1809',  17763,  '64-bit', '10.8760.17763.6414', 'Ethernet',      'MicrosoftDefenderForEndpoint'],
    ['RedHatEnterpriseLinux', '9.5', 'null', '64-bit', '30.124092.2.0',    'Other',         'MicrosoftDefenderForEndpoint'],
);

my @RISK     = qw(None None Low Informational None Medium None High);
my @EXPOSURE = qw(Low Medium Low High None);
my @TAGS     = ('', '"finance"', '', '"lab","floor-3"', '', '"tier-0"');


sub new {
    my ($class, $clock) = @_;

    return bless {
        clock     => $clock,
        records   => [],
        generated => 0,
        live      => undef,
        overrides => {},
        base      => $clock->now,
    }, $class;
}


# Replaces the handed-in records; dies on malformed JSON, changing nothing.
sub load {
    my ($self, $json) = @_;

    my @records = map { $self->_record($_) }
        split_records($json, $self->{clock}->now);

    $self->{records} = \@records;
    delete $self->{by_id};
}


# Members whose name starts with "@" (such as "@history") are for the
# simulator only and are never sent.
sub _record {
    my ($self, $text) = @_;

    my $record = {text => $text};

    if ($text =~ /"\@[a-z]+":/) {
        my $data = decode($text);
        my @own = ref $data eq 'HASH' ? grep { /^\@/ } keys %$data : ();
        if (@own) {
            $record->{own}{$_} = delete $data->{$_} for @own;
            $record->{data} = $data;
            $record->{text} = encode($data);
        }
    }

    return $record;
}


# Sets how many devices are generated, all of them alive again and seen within
# the four hours before $base (ticks; default now).
sub generate {
    my ($self, $count, $base) = @_;

    $self->{generated} = $count;
    $self->{live}      = undef;
    $self->{overrides} = {};
    $self->{base}      = $base // $self->{clock}->now;
}


sub records { return scalar @{$_[0]{records}} }


sub count {
    my ($self) = @_;

    return @{$self->{records}}
        + ($self->{live} ? @{$self->{live}} : $self->{generated});
}


# The wire text of the device at position $at.
sub text {
    my ($self, $at) = @_;

    my $records = @{$self->{records}};

    return $self->{records}[$at]{text} if $at < $records;

    my $index = $self->_index($at);

    return $self->{overrides}{$index}{text} if $self->{overrides}{$index};
    return $self->generated_text($index);
}


# The same as data. A record that is no object gives an empty one: tests may
# put anything into a list.
sub data {
    my ($self, $at) = @_;

    if ($at < @{$self->{records}}) {
        my $record = $self->{records}[$at];
        $record->{data} //= eval { decode($record->{text}) };
        return ref $record->{data} eq 'HASH' ? $record->{data} : {};
    }

    return decode($self->text($at));
}


sub own {
    my ($self, $at) = @_;

    return $at < @{$self->{records}} ? $self->{records}[$at]{own} // {} : {};
}


sub _index {
    my ($self, $at) = @_;

    my $index = $at - @{$self->{records}};

    return $self->{live} ? $self->{live}[$index] : $index;
}


sub generated_id {
    my ($index) = @_;

    return substr(sha1_hex("device $index"), 0, 32) . sprintf '%08x', $index;
}


sub generated_ip {
    my ($index) = @_;

    my $n = $index + 1;

    return sprintf '10.%d.%d.%d',
        64 + ($n >> 16 & 63), $n >> 8 & 255, $n & 255;
}


sub generated_text {
    my ($self, $index) = @_;

    my $p    = $PLATFORMS[$index % @PLATFORMS];
    my $id   = generated_id($index);
    my $ip   = generated_ip($index);
    my $name = sprintf 'gen-%06d.corp.example', $index;
    my $mac  = sprintf '00005E%06X', $index & 0xffffff;
    my $seen = $self->{base} - ($index * 7919 % 14_000) * SECOND
        - ($index * 104_729 % SECOND);

    my $tail = substr $id, 28, 12;
    my $hex  = sprintf '%x:%x', $index >> 16 & 0xffff, $index & 0xffff;

    return qq({"id":"$id","mergedIntoMachineId":null,)
        . qq("isPotentialDuplication":false,"isExcluded":false,)
        . qq("exclusionReason":null,"computerDnsName":"$name",)
        . qq("firstSeen":"2024-11-05T11:54:59.5717001Z",)
        . '"lastSeen":"' . iso($seen) . '",'
        . qq("osPlatform":"$p->[0]","osVersion":null,"osProcessor":"x64",)
        . qq("version":"$p->[1]","lastIpAddress":"$ip",)
        . '"lastExternalIpAddress":"203.0.113.' . ($index % 7 + 1) . '",'
        . qq("agentVersion":"$p->[4]","osBuild":$p->[2],)
        . qq("healthStatus":"Active","deviceValue":"Normal",)
        . qq("rbacGroupId":) . $index % 5 . ',"rbacGroupName":'
        . ($index % 5 ? '"Group-' . $index % 5 . '"' : 'null')
        . qq(,"riskScore":"$RISK[$index % @RISK]",)
        . qq("exposureLevel":"$EXPOSURE[$index % @EXPOSURE]",)
        . '"isAadJoined":true,"aadDeviceId":'
        . qq("00000000-0000-4000-8000-$tail",)
        . qq("machineTags":[$TAGS[$index % @TAGS]],)
        . qq("onboardingStatus":"Onboarded","osArchitecture":"$p->[3]",)
        . qq("managedBy":"$p->[6]","managedByStatus":"Success",)
        . qq("ipAddresses":[{"ipAddress":"$ip","macAddress":"$mac",)
        . qq("type":"$p->[5]","operationalStatus":"Up"},)
        . qq({"ipAddress":"2001:db8:64::$hex","macAddress":"$mac",)
        . qq("type":"$p->[5]","operationalStatus":"Up"},)
        . qq({"ipAddress":"fe80::200:5eff:fe00:1","macAddress":"$mac",)
        . qq("type":"$p->[5]","operationalStatus":"Up"},)
        . qq({"ipAddress":"127.0.0.1","macAddress":null,)
        . qq("type":"SoftwareLoopback","operationalStatus":"Up"},)
        . qq({"ipAddress":"::1","macAddress":null,)
        . qq("type":"SoftwareLoopback","operationalStatus":"Up"}],)
        . qq("vmMetadata":null});
}


# Position of a device by id or, as the service allows, by computer name; undef
# when there is none. Of several records with one id the last one counts.
sub find {
    my ($self, $key) = @_;

    if (!$self->{by_id}) {
        for my $at (0 .. $#{$self->{records}}) {
            my $data = $self->data($at);
            my ($id, $name) = @{$data}{qw(id computerDnsName)};
            $self->{by_id}{lc $name}    = $at if defined $name;
            $self->{by_id}{"id:$id"} = $at if defined $id;
        }
    }

    return $self->{by_id}{"id:$key"} if exists $self->{by_id}{"id:$key"};
    return $self->{by_id}{lc $key} if exists $self->{by_id}{lc $key};

    my $index = $key =~ /^[0-9a-f]{32}([0-9a-f]{8})$/ ? hex $1
        : $key =~ /^gen-(\d{6,})\.corp\.example$/i ? $1 + 0
        : return undef;

    return undef if $index >= $self->{generated};
    return undef if length $key == 40 && generated_id($index) ne $key;

    my $at = $index;
    if ($self->{live}) {
        ($at) = grep { $self->{live}[$_] == $index } 0 .. $#{$self->{live}};
        return undef if !defined $at;
    }

    return $at + @{$self->{records}};
}


# Changes members of one device; a member "@history" goes to the simulator.
sub patch {
    my ($self, $key, $json) = @_;

    my $at = $self->find($key) // return 0;

    my ($filled) = split_records("[$json]", $self->{clock}->now);
    my $change = decode($filled);
    my %data   = (%{$self->data($at)}, %{$self->own($at)}, %$change);
    my $record = $self->_record(encode(\%data));

    if ($at < @{$self->{records}}) {
        $self->{records}[$at] = $record;
        delete $self->{by_id};
    } else {
        $self->{overrides}{$self->_index($at)} = $record;
    }

    return 1;
}


sub remove {
    my ($self, $key) = @_;

    my $at = $self->find($key) // return 0;

    if ($at < @{$self->{records}}) {
        splice @{$self->{records}}, $at, 1;
        delete $self->{by_id};
    } else {
        $self->{live} //= [0 .. $self->{generated} - 1];
        splice @{$self->{live}}, $at - @{$self->{records}}, 1;
    }

    return 1;
}


# Did the device at $at have $ip within 15 minutes of $moment (ticks)? Known
# are its last report and the stretches of "@history": [{"ip","from","to"}].
sub had_address {
    my ($self, $at, $ip, $moment) = @_;

    my $near = 15 * 60 * SECOND;

    for my $stretch (@{$self->own($at)->{'@history'} // []}) {
        next if $stretch->{ip} ne $ip;

        my ($from, $to) = map { parse_iso($_) } @{$stretch}{qw(from to)};
        return 1 if $moment >= $from - $near && $moment <= $to + $near;
    }

    my $data = $self->data($at);
    my $seen = parse_iso($data->{lastSeen}) // return 0;

    return 0 if abs($moment - $seen) > $near;

    return scalar grep { defined && !ref && lc eq lc $ip }
        $data->{lastIpAddress},
        map { ref eq 'HASH' ? $_->{ipAddress} : undef }
        ref $data->{ipAddresses} eq 'ARRAY' ? @{$data->{ipAddresses}} : ();
}

1;
