package Test::Defender::Proxy;

# A forward proxy that understands CONNECT. It can take any host name to a
# local port, so that a test reaches the simulator by Microsoft's own names.

use strict;
use warnings;

use IO::Socket::INET ();
use MIME::Base64     qw(encode_base64);
use Test::Defender::RawServer ();


# Keys: dir, targets => {"host:port" => local port} (others are connected to as
# they are named; with only => 1 refused), auth => "user:password". The log of
# the server that is returned has an entry for each CONNECT.
sub start {
    my ($class, %opt) = @_;

    return Test::Defender::RawServer->start(sub {
        my ($connection, $request) = @_;
        serve(\%opt, $connection, $request);
        $connection->close;
    }, dir => $opt{dir});
}


sub serve {
    my ($opt, $connection, $request) = @_;

    return $connection->reply(405, 'text/plain', "CONNECT only\n")
        if $request->{method} ne 'CONNECT';

    if (defined $opt->{auth}) {
        my $wanted = 'Basic ' . encode_base64($opt->{auth}, '');
        return $connection->reply(407, 'text/plain', "who are you?\n",
            'Proxy-Authenticate' => 'Basic realm="proxy"')
            if ($request->{headers}{'proxy-authorization'} // '') ne $wanted;
    }

    my ($host, $port) = $request->{uri} =~ /^\[?(.*?)\]?:(\d+)$/;
    my $local = $opt->{targets}{$request->{uri}};

    return $connection->reply(502, 'text/plain', "no way there\n")
        if $opt->{only} && !defined $local;

    my $peer = IO::Socket::INET->new(
        PeerAddr => defined $local ? '127.0.0.1' : $host,
        PeerPort => $local // $port, Timeout => 5)
        or return $connection->reply(502, 'text/plain', "no answer\n");

    $connection->send("HTTP/1.1 200 Connection established\r\n\r\n");
    relay($connection->{socket}, $peer);
}


# Both ways until either side ends.
sub relay {
    my ($left, $right) = @_;

    my %other = (fileno $left, [$left, $right], fileno $right, [$right, $left]);

    while (1) {
        my $bits = '';
        vec($bits, $_, 1) = 1 for keys %other;
        select $bits, undef, undef, undef;

        for my $fd (grep { vec $bits, $_, 1 } keys %other) {
            my ($from, $to) = @{$other{$fd}};
            my $n = sysread $from, my $bytes, 65_536;
            return if !$n;

            while (length $bytes) {
                my $sent = syswrite $to, $bytes;
                return if !$sent;
                substr $bytes, 0, $sent, '';
            }
        }
    }
}

1;
