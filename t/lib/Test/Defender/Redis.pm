package Test::Defender::Redis;

# A redis-server of the test's own, and a client that speaks RESP itself.

use strict;
use warnings;

use IO::Socket::INET ();
use IO::Socket::UNIX ();
use Test::Defender::Process
    qw(start_process stop_process freeze_process is_running wait_until);
use Test::Defender::Port qw(take_port);


# Keys: dir, name ('redis'), tcp (also listen on a port), unix (default yes),
# password, acl (text of an ACL file), tls (certificates are made; implies a
# port), args (more of the command line).
sub new {
    my ($class, %opt) = @_;

    my $name = $opt{name} // 'redis';
    my $self = bless {
        %opt,
        name   => $name,
        socket => "$opt{dir}/$name.sock",
        out    => "$opt{dir}/$name.log",
    }, $class;

    $self->{unix} = 1 if !defined $opt{unix};
    $self->{port} = take_port() if $opt{tcp} || $opt{tls};

    $self->make_files;
    $self->start;

    return $self;
}


sub make_files {
    my ($self) = @_;

    if (defined $self->{acl}) {
        open my $fh, '>', "$self->{dir}/$self->{name}.acl" or die "$!\n";
        print $fh $self->{acl};
        close $fh or die "$!\n";
    }

    if ($self->{tls}) {
        require Sim::Cert;
        my $dir = $self->{tls_dir} = "$self->{dir}/$self->{name}-tls";
        mkdir $dir;
        Sim::Cert::make_ca($dir);
        Sim::Cert::make_cert($dir, 'server', ['localhost', '127.0.0.1']);
    }
}


sub arguments {
    my ($self) = @_;

    my $dir  = $self->{dir};
    my $port = $self->{port} // 0;
    my @args = ('--save', '', '--appendonly', 'no', '--dir', $dir,
        '--daemonize', 'no', '--bind', '127.0.0.1');

    if ($self->{tls}) {
        my $tls = $self->{tls_dir};
        push @args, '--port', 0, '--tls-port', $port,
            '--tls-cert-file', "$tls/server.pem",
            '--tls-key-file', "$tls/server.key",
            '--tls-ca-cert-file', "$tls/ca.pem", '--tls-auth-clients', 'no';
    } else {
        push @args, '--port', $port;
    }

    push @args, '--unixsocket', $self->{socket}, '--unixsocketperm', '777'
        if $self->{unix};
    push @args, '--requirepass', $self->{password}
        if defined $self->{password};
    push @args, '--aclfile', "$dir/$self->{name}.acl" if defined $self->{acl};

    return (@args, @{$self->{args} // []});
}


sub start {
    my ($self) = @_;

    delete $self->{link};
    unlink $self->{socket};

    $self->{pid} = start_process(
        argv => ['redis-server', $self->arguments], out => $self->{out});

    wait_until(sub {
        !is_running($self->{pid}) || $self->connectable;
    }, 10);

    return if is_running($self->{pid}) && $self->connectable;

    open my $fh, '<', $self->{out};
    local $/;
    die "redis-server does not start:\n" . (<$fh> // '');
}


sub connectable {
    my ($self) = @_;

    my $socket = $self->{unix}
        ? IO::Socket::UNIX->new(Peer => $self->{socket})
        : IO::Socket::INET->new(
            PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    return 0 if !$socket;

    # It listens before it has read its files; then it answers, if only to
    # ask for a password.
    return 1 if $self->{tls} && !$self->{unix};
    print $socket "PING\r\n";
    my $line = <$socket> // '';

    return $line =~ /^(?:\+PONG|-NOAUTH)/;
}


sub socket   { return $_[0]{socket} }
sub port     { return $_[0]{port} }
sub pid      { return $_[0]{pid} }
sub ca       { return "$_[0]{tls_dir}/ca.pem" }
sub stop     { delete $_[0]{link}; stop_process($_[0]{pid}, 'TERM') }
sub kill     { delete $_[0]{link}; stop_process($_[0]{pid}, 'KILL') }
sub sigstop  { freeze_process($_[0]{pid}) }
sub sigcont  { CORE::kill('CONT', $_[0]{pid}) }


# Loses the data, as --save "" has it, unless seeded again.
sub restart {
    my ($self) = @_;

    $self->stop;
    $self->start;
}


# Sends one command and returns its reply: a string, undef for nil, a reference
# to an array. An error reply dies with its text.
sub cmd {
    my ($self, @words) = @_;

    my $link = $self->{link} //= $self->open_link;

    utf8::encode($_) for grep { utf8::is_utf8($_) } @words;
    print $link "*" . @words . "\r\n",
        map { '$' . length() . "\r\n$_\r\n" } @words;
    $link->flush;

    my $reply = eval { read_reply($link) };
    if ($@) {
        delete $self->{link} if $@ =~ /^redis: connection/;
        die $@;
    }

    return $reply;
}


# The reply of HGETALL, CONFIG GET and the like as a hash.
sub hash {
    my ($self, @words) = @_;

    return @{$self->cmd(@words) // []};
}


# All keys, sorted, with an optional pattern.
sub keys {
    my ($self, $pattern) = @_;

    return sort @{$self->cmd('KEYS', $pattern // '*')};
}


sub open_link {
    my ($self) = @_;

    my $link;

    if ($self->{unix}) {
        $link = IO::Socket::UNIX->new(Peer => $self->{socket});
    } elsif ($self->{tls}) {
        require IO::Socket::SSL;
        $link = IO::Socket::SSL->new(
            PeerAddr => '127.0.0.1', PeerPort => $self->{port},
            SSL_ca_file => $self->ca);
    } else {
        $link = IO::Socket::INET->new(
            PeerAddr => '127.0.0.1', PeerPort => $self->{port});
    }

    die "redis: connection refused: $!\n" if !$link;
    binmode $link;

    if (defined $self->{password}) {
        print $link "AUTH $self->{password}\r\n";
        $link->flush;
        read_reply($link);
    }

    return $link;
}


sub read_reply {
    my ($link) = @_;

    local $/ = "\r\n";
    my $line = <$link> // die "redis: connection lost\n";
    chomp $line;

    my ($kind, $rest) = (substr($line, 0, 1), substr $line, 1);

    return $rest if $kind eq '+' || $kind eq ':';
    die "redis: $rest\n" if $kind eq '-';

    if ($kind eq '$') {
        return undef if $rest < 0;
        my $bytes = '';
        while (length $bytes < $rest + 2) {
            read $link, $bytes, $rest + 2 - length $bytes, length $bytes
                or die "redis: connection lost\n";
        }
        return substr $bytes, 0, $rest;
    }

    if ($kind eq '*') {
        return undef if $rest < 0;
        my @items;
        for (1 .. $rest) {
            my $item = eval { read_reply($link) };
            die $@ if $@ =~ /connection lost/;
            push @items, $@ ne '' ? $@ : $item;
        }
        return \@items;
    }

    die "redis: connection speaks no RESP\n";
}


sub DESTROY {
    my ($self) = @_;

    local ($@, $?);
    $self->sigcont if is_running($self->{pid});
    $self->stop;
}

1;
