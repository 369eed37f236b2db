package Test::Defender::Port;

# Free TCP ports for tests that run side by side. Binding the port and letting
# go again is a race; a UDP socket of the same number is the lock that is held
# for as long as the test lives.

use strict;
use warnings;

use Exporter         qw(import);
use IO::Socket::INET ();

our @EXPORT_OK = qw(take_port release_port port_is_free);

# Below Linux's range for outgoing connections, which would take them.
my ($FIRST, $LAST) = (12_000, 31_999);

my $next = $FIRST + ($$ * 37) % ($LAST - $FIRST);
my %lock;


sub take_port {
    for (1 .. $LAST - $FIRST) {
        my $port = $next;
        $next = $next >= $LAST ? $FIRST : $next + 1;

        my $udp = IO::Socket::INET->new(
            Proto => 'udp', LocalAddr => '127.0.0.1', LocalPort => $port)
            or next;
        next if !port_is_free($port);

        $lock{$port} = $udp;
        return $port;
    }

    die "no free port\n";
}


sub release_port { delete $lock{$_[0]} }


# Can it be bound? SO_REUSEADDR, as nginx sets it, so that connections in
# TIME_WAIT do not count.
sub port_is_free {
    my ($port) = @_;

    my $tcp = IO::Socket::INET->new(
        Proto => 'tcp', LocalAddr => '127.0.0.1', LocalPort => $port,
        Listen => 1, ReuseAddr => 1) or return 0;
    close $tcp;

    return 1;
}

1;
