package Sim::Json;

# JSON with the member order of the wire. Records that a test hands in keep
# their exact text (number spellings, escapes, repeated keys): only white space
# outside of strings goes, and relative times are filled in.

use strict;
use warnings;

use Exporter   qw(import);
use Mojo::JSON ();
use Sim::Clock qw(resolve_relative);

our @EXPORT_OK = qw(decode encode split_records envelope @MACHINE_KEYS);

our @MACHINE_KEYS = qw(
    id mergedIntoMachineId isPotentialDuplication isExcluded exclusionReason
    computerDnsName firstSeen lastSeen osPlatform osVersion osProcessor version
    lastIpAddress lastExternalIpAddress agentVersion osBuild healthStatus
    deviceValue rbacGroupId rbacGroupName riskScore exposureLevel isAadJoined
    aadDeviceId machineTags defenderAvStatus onboardingStatus osArchitecture
    managedBy managedByStatus ipAddresses vmMetadata
);

my @ACTION_KEYS = qw(
    id type title requestor requestorComment status machineId computerDnsName
    creationDateTimeUtc lastUpdateDateTimeUtc cancellationRequestor
    cancellationComment cancellationDateTimeUtc errorHResult scope externalId
    requestSource relatedFileInfo commands troubleshootInfo
);

my %RANK = do {
    my $n = 0;
    map { $_ => ++$n } qw(@odata.context @odata.count value), @MACHINE_KEYS,
        qw(ipAddress macAddress operationalStatus
        vmId cloudProvider resourceId subscriptionId error code message target);
};

# "type" comes third in an address and second in an action.
my %ACTION_RANK = do {
    my $n = 0;
    map { $_ => ++$n } '@odata.context', @ACTION_KEYS;
};
$RANK{type} = $RANK{macAddress} + 0.5;


# Bytes -> Perl data; dies on malformed input.
sub decode { return Mojo::JSON::decode_json($_[0]) }


# Perl data -> bytes, members in wire order, unknown ones last by name.
sub encode {
    my ($data, $rank) = @_;

    if (ref $data eq 'HASH') {
        $rank //= exists $data->{requestor} ? \%ACTION_RANK : \%RANK;
        return '{' . join(',', map {
            scalar_text($_) . ':' . encode($data->{$_})
        } sort {
            ($rank->{$a} // 9999) <=> ($rank->{$b} // 9999) || $a cmp $b
        } keys %$data) . '}';
    }

    if (ref $data eq 'ARRAY') {
        return '[' . join(',', map { encode($_) } @$data) . ']';
    }

    return scalar_text($data);
}


# The framework writes every slash as "\/", Microsoft none.
sub scalar_text {
    my ($value) = @_;

    return Mojo::JSON::encode_json($value)
        =~ s{(\\.)}{$1 eq "\\/" ? "/" : $1}ger;
}


# One answer of the list kind; @rows are ready JSON texts.
sub envelope {
    my ($context, $count, $rows, $next) = @_;

    return '{"@odata.context":' . scalar_text($context)
        . (defined $count ? ",\"\@odata.count\":$count" : '')
        . ',"value":[' . join(',', @$rows) . ']'
        . (defined $next
        ? ',"@odata.nextLink":' . scalar_text($next) : '')
        . '}';
}


# The text of a JSON array -> list of the compact texts of its elements.
# Strings such as "@now-10m" become times counted from $now (ticks).
sub split_records {
    my ($text, $now) = @_;

    my @records;
    my $current = '';
    my $depth   = 0;

    pos($text) = 0;

    while (pos($text) < length $text) {

        if ($text =~ /\G[ \t\r\n]+/gc) {
            next;

        } elsif ($text =~ /\G("(?:[^"\\]++|\\.)*+")/gcs) {
            my $string = $1;
            if (substr($string, 1, 4) eq '@now') {
                my $time = resolve_relative(substr($string, 1, -1), $now);
                $string = "\"$time\"" if defined $time;
            }
            $current .= $string;

        } elsif ($text =~ /\G([\[{])/gc) {
            die "not an array\n" if $depth == 0 && $1 ne '[';
            $current .= $1 if $depth++;

        } elsif ($text =~ /\G([\]}])/gc) {
            die "unbalanced brackets\n" if $depth == 0;
            $depth--;
            $current .= $1 if $depth;

            if ($depth == 0) {
                push @records, $current if length $current;
                die "text after the array\n" if $text !~ /\G\s*\z/gc;
                return @records;
            }

        } elsif ($text =~ /\G,/gc) {
            if ($depth == 1) {
                push @records, $current;
                $current = '';
            } else {
                $current .= ',';
            }

        } elsif ($text =~ /\G([^\s"\[\]{},]+)/gc) {
            $current .= $1;

        } else {
            die 'malformed JSON at byte ' . pos($text) . "\n";
        }
    }

    die "unfinished JSON\n";
}

1;
