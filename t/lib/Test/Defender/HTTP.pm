package Test::Defender::HTTP;

# A raw HTTP/1 client: what comes over the socket is what a test sees. Keeps
# connections, pipelines, reads slowly, goes away early.

use strict;
use warnings;

use Exporter           qw(import);
use IO::Socket::INET   ();
use IO::Socket::UNIX   ();
use Socket qw(SOL_SOCKET SO_RCVBUF IPPROTO_TCP TCP_NODELAY);
use Test::Defender::Response ();

our @EXPORT_OK = qw(connect_to request_bytes);

use constant TIMEOUT => 20;


# Keys: host (127.0.0.1), port or unix, tls => {ca => file, name => host name},
# timeout, rcvbuf (a small one makes the peer feel a slow reader).
sub connect_to {
    my (%to) = @_;

    my $socket;

    if (defined $to{unix}) {
        $socket = IO::Socket::UNIX->new(Peer => $to{unix});
    } elsif ($to{tls}) {
        require IO::Socket::SSL;
        $socket = IO::Socket::SSL->new(
            PeerAddr => $to{host} // '127.0.0.1', PeerPort => $to{port},
            Timeout  => $to{timeout} // TIMEOUT,
            SSL_ca_file => $to{tls}{ca},
            SSL_verifycn_name => $to{tls}{name} // '127.0.0.1',
            SSL_verifycn_scheme => 'http',
            ($to{tls}{name} ? (SSL_hostname => $to{tls}{name}) : ()),
        );
    } else {
        $socket = IO::Socket::INET->new(
            PeerAddr => $to{host} // '127.0.0.1', PeerPort => $to{port},
            Proto => 'tcp', Timeout => $to{timeout} // TIMEOUT);
    }

    die 'cannot connect to ' . ($to{unix} // $to{port}) . ": $!\n"
        if !$socket;

    if (!defined $to{unix}) {
        setsockopt $socket, IPPROTO_TCP, TCP_NODELAY, pack 'i', 1;
        setsockopt $socket, SOL_SOCKET, SO_RCVBUF, pack 'i', $to{rcvbuf}
            if $to{rcvbuf};
    }

    binmode $socket;

    # In TLS a readable socket may hold no data at all, only a session ticket:
    # a blocking read would wait past every deadline.
    $socket->blocking(0) if $to{tls};

    return bless {
        socket  => $socket,
        in      => '',
        eof     => 0,
        timeout => $to{timeout} // TIMEOUT,
        name    => ($to{host} // '127.0.0.1')
            . (defined $to{port} ? ":$to{port}" : ''),
    }, 'Test::Defender::Connection';
}


# The bytes of a request. Keys: method, uri, headers (list of name => value
# pairs, in order), body, version ('1.1'), host (undef leaves the header out),
# keep (connection stays open), chunked (body in chunks, or a list of them).
sub request_bytes {
    my (%order) = @_;

    my $version = $order{version} // '1.1';
    my @headers = @{$order{headers} // []};
    my $body    = $order{body};
    my %given;

    for (my $i = 0; $i < @headers; $i += 2) {
        $given{lc $headers[$i]} = 1;
    }

    my $text = ($order{method} // 'GET') . " $order{uri} HTTP/$version\r\n";
    $text .= "Host: $order{host}\r\n" if defined $order{host} && !$given{host};
    $text .= "Connection: close\r\n"
        if !$order{keep} && !$given{connection} && $version eq '1.1';

    if ($order{chunked}) {
        my @parts = ref $order{chunked} ? @{$order{chunked}} : $body;
        $body = join '', map { sprintf "%x\r\n%s\r\n", length, $_ } @parts, '';
        $text .= "Transfer-Encoding: chunked\r\n";
    } elsif (defined $body && !$given{'content-length'}) {
        $text .= 'Content-Length: ' . length($body) . "\r\n";
    }

    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value\r\n";
    }

    return "$text\r\n" . ($body // '');
}


package Test::Defender::Connection;

use Socket      qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(sleep time);


sub socket { return $_[0]{socket} }


# Writes all of $bytes; with each => seconds one byte at a time.
sub send {
    my ($self, $bytes, %how) = @_;

    local $SIG{PIPE} = 'IGNORE';

    if (defined $how{each}) {
        for my $byte (split //, $bytes) {
            return 0 if !defined syswrite $self->{socket}, $byte;
            sleep $how{each};
        }
        return 1;
    }

    my $sent = 0;
    while ($sent < length $bytes) {
        my $n = syswrite $self->{socket}, $bytes, length($bytes) - $sent, $sent;
        if (!defined $n) {
            return 0 if !$!{EAGAIN};
            my $bits = '';
            vec($bits, fileno $self->{socket}, 1) = 1;
            select undef, $bits, undef, 0.1;
            next;
        }
        $sent += $n;
    }

    return 1;
}


sub request {
    my ($self, %order) = @_;

    $order{host} = $self->{name} if !exists $order{host};
    $self->send(Test::Defender::HTTP::request_bytes(%order));

    return $self->response($order{method});
}


# Reads more bytes into the buffer; false at the end or at the deadline.
sub fill {
    my ($self, $deadline, $most) = @_;

    return 0 if $self->{eof};

    my $socket = $self->{socket};

    if (!($socket->can('pending') && $socket->pending)) {
        my $left = $deadline - time;
        my $bits = '';
        vec($bits, fileno $socket, 1) = 1;
        if ($left <= 0 || !select $bits, undef, undef, $left) {
            $self->{timed_out} = 1;
            return 0;
        }
    }

    my $n = sysread $socket, my $piece, $most // 65_536;

    if (!defined $n) {
        return 1 if $!{EAGAIN} || $!{EINTR};    # the deadline still holds
        $self->{error} = "$!";
    }

    if (!$n) {
        $self->{eof} = 1;
        return 0;
    }

    $self->{in} .= $piece;

    return 1;
}


# One response; the method decides whether it has a body. With rate => bytes
# per second it is read slowly.
sub response {
    my ($self, $method, %how) = @_;

    my $start    = time;
    my $deadline = $start + ($how{timeout} // $self->{timeout});
    my $read     = 0;

    my $more = sub {
        return $self->fill($deadline) if !$how{rate};

        my $ahead = $read / $how{rate} - (time - $start);
        sleep $ahead if $ahead > 0;

        my $had = length $self->{in};
        my $ok  = $self->fill($deadline, int($how{rate} / 20) || 1);
        $read += length($self->{in}) - $had;
        return $ok;
    };

    return Test::Defender::Response::read_from($self, $method // 'GET', $more);
}


# Everything until the peer closes (or the deadline), as bytes.
sub read_all {
    my ($self, $seconds) = @_;

    my $deadline = time + ($seconds // $self->{timeout});
    1 while $self->fill($deadline);

    my $bytes = $self->{in};
    $self->{in} = '';

    return $bytes;
}


# At least $n bytes, fewer at the end or deadline.
sub read_some {
    my ($self, $n, $seconds) = @_;

    my $deadline = time + ($seconds // $self->{timeout});
    1 while length $self->{in} < $n && $self->fill($deadline);

    return substr $self->{in}, 0, $n, '';
}


sub closed_by_peer {
    my ($self, $seconds) = @_;

    $self->read_all($seconds // 5);

    return $self->{eof};
}


sub close {
    my ($self) = @_;

    close $self->{socket} if $self->{socket};
    $self->{eof} = 1;
}


# Goes away with a reset.
sub reset {
    my ($self) = @_;

    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $self->close;
}

1;
