package Sim::Clock;

# The simulator's clock and Microsoft's way of writing times.
#
# All times inside the simulator are whole numbers of 100 ns ticks since 1970:
# the service prints up to seven fraction digits, and a float cannot hold them.

use strict;
use warnings;

use Exporter   qw(import);
use POSIX      qw(strftime);
use Time::HiRes ();
use Time::Local qw(timegm);

our @EXPORT_OK = qw(iso parse_iso resolve_relative SECOND);

use constant SECOND => 10_000_000;

my %UNIT = (s => 1, m => 60, h => 3600, d => 86_400);


sub new {
    my ($class) = @_;

    return bless {offset => 0, frozen => undef}, $class;
}


# The present moment in ticks.
sub now {
    my ($self) = @_;

    return $self->{frozen} if defined $self->{frozen};

    my ($sec, $usec) = Time::HiRes::gettimeofday();

    return $sec * SECOND + $usec * 10 + $self->{offset};
}


# {"advance": seconds} | {"set": "2026-11-25T01:00:00Z"} | {"freeze": true}
# | {"reset": true}; returns an error text or undef.
sub control {
    my ($self, $order) = @_;

    if ($order->{reset}) {
        @{$self}{qw(offset frozen)} = (0, undef);
    }

    if (defined $order->{set}) {
        my $to = parse_iso($order->{set});
        return "set: not a time" if !defined $to;

        my $delta = $to - $self->now;
        $self->{offset} += $delta;
        $self->{frozen} += $delta if defined $self->{frozen};
    }

    if (defined $order->{advance}) {
        return "advance: not a number"
            if $order->{advance} !~ /^-?\d+(?:\.\d+)?$/;

        my $delta = int($order->{advance} * SECOND);
        $self->{offset} += $delta;
        $self->{frozen} += $delta if defined $self->{frozen};
    }

    if (exists $order->{freeze}) {
        $self->{frozen} = !$order->{freeze} ? undef
            : defined $order->{set} ? parse_iso($order->{set}) : $self->now;
    }

    return undef;
}


# Ticks -> "2026-11-25T00:50:00.1234567Z"; trailing zeros of the fraction are
# dropped, as the service does; $digits cuts the fraction shorter.
sub iso {
    my ($ticks, $digits) = @_;

    my $fraction = sprintf '%07d', $ticks % SECOND;
    $fraction = substr $fraction, 0, $digits if defined $digits;
    $fraction =~ s/0+$//;

    return strftime('%Y-%m-%dT%H:%M:%S', gmtime(($ticks - $ticks % SECOND) / SECOND))
        . (length $fraction ? ".$fraction" : '') . 'Z';
}


# "2018-08-01Z", "2019-11-22T00:00:00Z", 0 to 7 fraction digits -> ticks.
sub parse_iso {
    my ($text) = @_;

    return undef if !defined $text || ref $text;

    my ($y, $mo, $d, $h, $mi, $s, $f) = $text =~ m{
        ^ (\d{4})-(\d\d)-(\d\d)
        (?: T (\d\d):(\d\d) (?: :(\d\d) (?: \. (\d{1,7}) )? )? )? Z? $
    }x or return undef;

    my $epoch = eval {
        timegm($s // 0, $mi // 0, $h // 0, $d, $mo - 1, $y);
    };
    return undef if !defined $epoch;

    return $epoch * SECOND + substr(($f // '') . '0000000', 0, 7);
}


# "@now", "@now-10m", "@now+5s", with "/N" for N fraction digits -> the ISO
# text, or undef when the text is nothing of the kind.
sub resolve_relative {
    my ($text, $now) = @_;

    my ($sign, $amount, $unit, $digits) =
        $text =~ m{^\@now(?:([+-])(\d+)([smhd]))?(?:/([0-7]))?$}
        or return undef;

    my $ticks = $now;
    if (defined $sign) {
        my $delta = $amount * $UNIT{$unit} * SECOND;
        $ticks += $sign eq '+' ? $delta : -$delta;
    }

    # A clock of microseconds always leaves the seventh digit 0.
    $ticks += 7 if $ticks % 10 == 0;

    return iso($ticks, $digits);
}

1;
