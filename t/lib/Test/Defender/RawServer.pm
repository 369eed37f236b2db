package Test::Defender::RawServer;

# A server made of a test's own code, for peers that misbehave: half answers,
# delays, resets, wrong bytes. Each connection gets a process of its own, so a
# handler may block.

use strict;
use warnings;

use Fcntl            qw(:flock);
use IO::Socket::INET ();
use IO::Socket::UNIX ();
use JSON::PP         ();
use POSIX            ();
use Test::Defender::Port    qw(take_port);
use Test::Defender::Process qw(stop_process);

my $JSON = JSON::PP->new->utf8->canonical;


# Keys: dir, protocol ('http': the handler is called with (connection, request,
# number) per request; 'resp': the same with a reference to the words of the
# command; 'raw': with (connection, undef, number) per connection), unix (path
# instead of a port), tls => {cert, key}, port.
sub start {
    my ($class, $handler, %opt) = @_;

    my $self = bless {
        %opt,
        protocol => $opt{protocol} // 'http',
        handler  => $handler,
    }, $class;

    if (!defined $opt{unix}) {
        $self->{port} //= take_port();
    }

    $self->{log_file} = "$opt{dir}/raw-"
        . ($self->{port} // $opt{unix} =~ s{.*/}{}r) . '.log';

    $self->{listener} = defined $opt{unix}
        ? IO::Socket::UNIX->new(Local => $opt{unix}, Listen => 128)
        : IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $self->{port},
            Listen => 128, ReuseAddr => 1);
    die "raw server: $!\n" if !$self->{listener};
    chmod 0777, $opt{unix} if defined $opt{unix};

    $self->{pid} = fork // die "fork: $!\n";
    if ($self->{pid} == 0) {
        eval { $self->serve; 1 } or print STDERR "raw server: $@";
        POSIX::_exit(0);
    }

    close delete $self->{listener};

    return $self;
}


sub port { return $_[0]{port} }
sub pid  { return $_[0]{pid} }


sub url {
    my ($self) = @_;

    return ($self->{tls} ? 'https' : 'http') . "://127.0.0.1:$self->{port}";
}


# Everything received so far: {n, ...} as the protocol has it.
sub log {
    my ($self) = @_;

    open my $fh, '<', $self->{log_file} or return;

    return map { $JSON->decode($_) } <$fh>;
}


sub stop {
    my ($self) = @_;

    return if !$self->{pid};

    # Connections are children in the server's process group.
    kill 'TERM', -$self->{pid};
    stop_process(delete $self->{pid}, 'TERM', 3);
}


sub serve {
    my ($self) = @_;

    setpgrp 0, 0;
    $SIG{$_} = 'DEFAULT' for qw(INT TERM);
    $SIG{CHLD} = 'IGNORE';
    $SIG{PIPE} = 'IGNORE';

    my $parent   = getppid;
    my $listener = $self->{listener};
    $listener->blocking(0);

    while (getppid == $parent) {
        my $bits = '';
        vec($bits, fileno $listener, 1) = 1;
        select $bits, undef, undef, 0.5 or next;

        my $socket = $listener->accept or next;
        my $pid = fork;
        next if $pid;

        close $listener;
        $socket->blocking(1);
        eval { $self->talk($socket); 1 }
            or $@ =~ /^gone/ or print STDERR "raw server: $@";
        POSIX::_exit(0);
    }
}


sub talk {
    my ($self, $socket) = @_;

    if ($self->{tls}) {
        require IO::Socket::SSL;
        $socket = IO::Socket::SSL->start_SSL($socket,
            SSL_server    => 1,
            SSL_cert_file => $self->{tls}{cert},
            SSL_key_file  => $self->{tls}{key}) or return;
    }

    my $connection = bless {socket => $socket, in => ''},
        'Test::Defender::RawServer::Connection';

    if ($self->{protocol} eq 'raw') {
        my $n = $self->file({});
        return $self->{handler}->($connection, undef, $n);
    }

    my $read = $self->{protocol} eq 'http' ? 'read_request' : 'read_command';

    while (!$connection->{closed}) {
        my $request = $connection->$read // last;
        my $n = $self->file(
            ref $request eq 'HASH' ? $request : {command => $request});
        $self->{handler}->($connection, $request, $n);
    }
}


# Files what came in; returns its number, counted over all connections.
sub file {
    my ($self, $what) = @_;

    open my $fh, '+>>', $self->{log_file} or die "$self->{log_file}: $!\n";
    flock $fh, LOCK_EX;
    seek $fh, 0, 0;
    my $n = 1;
    $n++ while <$fh>;
    syswrite $fh, $JSON->encode({%$what, n => $n}) . "\n";
    close $fh;

    return $n;
}


sub DESTROY {
    my ($self) = @_;

    local ($@, $?);
    $self->stop if $self->{pid} && !$self->{listener};
}


package Test::Defender::RawServer::Connection;

use Socket      qw(SOL_SOCKET SO_LINGER);
use Time::HiRes ();


sub more {
    my ($self) = @_;

    my $n = sysread $self->{socket}, $self->{in}, 65_536, length $self->{in};
    die "gone\n" if !$n;
}


# {method, uri, version, headers (lower-cased), body}, or undef at the end.
sub read_request {
    my ($self) = @_;

    eval { $self->more while $self->{in} !~ /\r\n\r\n/; 1 } or return undef;

    $self->{in} =~ s/^(.*?)\r\n\r\n//s;
    my ($line, @lines) = split /\r\n/, $1;
    my %request;
    @request{qw(method uri version)} = split / /, $line;

    for (@lines) {
        my ($name, $value) = /^([^:]+):\s*(.*?)\s*$/ or next;
        $request{headers}{lc $name} = $value;
    }

    my $length = $request{headers}{'content-length'} // 0;
    $self->more while length $self->{in} < $length;
    $request{body} = substr $self->{in}, 0, $length, '';

    return \%request;
}


# The words of one RESP command, or undef at the end.
sub read_command {
    my ($self) = @_;

    my @words;

    eval {
        my $count = $self->read_line =~ s/^\*//r;
        for (1 .. $count) {
            my $length = $self->read_line =~ s/^\$//r;
            $self->more while length $self->{in} < $length + 2;
            push @words, substr $self->{in}, 0, $length, '';
            substr $self->{in}, 0, 2, '';
        }
        1;
    } or return undef;

    return \@words;
}


sub read_line {
    my ($self) = @_;

    $self->more while $self->{in} !~ /\r\n/;
    $self->{in} =~ s/^(.*?)\r\n//s;

    return $1;
}


sub send {
    my ($self, $bytes) = @_;

    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        die "gone\n" if !$n;
        substr $bytes, 0, $n, '';
    }
}


# A whole response; %headers in addition to Content-Length.
sub reply {
    my ($self, $status, $type, $body, %headers) = @_;

    my $text = "HTTP/1.1 $status X\r\n";
    $text .= "Content-Type: $type\r\n" if defined $type;
    $text .= "$_: $headers{$_}\r\n" for sort keys %headers;

    $self->send("${text}Content-Length: " . length($body) . "\r\n\r\n$body");
}


sub chunk {
    my ($self, $bytes) = @_;

    $self->send(sprintf "%x\r\n%s\r\n", length $bytes, $bytes);
}


sub sleep { Time::HiRes::sleep($_[1]) }


# Waits until the peer goes away (or the seconds are over).
sub wait_gone {
    my ($self, $seconds) = @_;

    my $deadline = Time::HiRes::time() + ($seconds // 30);

    while ((my $left = $deadline - Time::HiRes::time()) > 0) {
        my $bits = '';
        vec($bits, fileno $self->{socket}, 1) = 1;
        select $bits, undef, undef, $left or last;
        eval { $self->more; 1 } or last;
    }

    $self->{closed} = 1;
}


sub close {
    my ($self) = @_;

    close $self->{socket};
    $self->{closed} = 1;
}


sub reset {
    my ($self) = @_;

    setsockopt $self->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
    $self->close;
}

1;
