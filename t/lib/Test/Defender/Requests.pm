package Test::Defender::Requests;

# The requests that a test makes of its nginx.

use strict;
use warnings;

use JSON::PP ();
use Test::Defender::HTTP    qw(connect_to request_bytes);
use Test::Defender::Process
    qw(start_process stop_process is_running reap wait_until);

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;


# A raw connection to PORT_0; keys of Test::Defender::HTTP::connect_to.
sub connect {
    my ($self, %to) = @_;

    $to{port} //= $self->port if !defined $to{unix};

    return connect_to(%to);
}


# One request on a connection of its own. Keys beside those of request_bytes:
# headers as a reference to a list or a hash, json (a body), role and user (the
# headers of the standard configuration), host_header, connection (one to use
# and keep), and the keys of connect and of response.
sub request {
    my ($self, $method, $uri, %opt) = @_;

    my $headers = $opt{headers} // [];
    my @headers = ref $headers eq 'HASH'
        ? map { $_ => $headers->{$_} } sort keys %$headers : @$headers;

    if (exists $opt{json}) {
        $opt{body} = ref $opt{json} ? $JSON->encode($opt{json}) : $opt{json};
        push @headers, 'Content-Type' => 'application/json';
    }

    push @headers, 'X-Role' => $opt{role} if defined $opt{role};
    push @headers, 'X-User' => $opt{user} if defined $opt{user};

    my $given = sub {
        return map { $_ => $opt{$_} } grep { exists $opt{$_} } @_;
    };

    my $connection = $opt{connection} // $self->connect(
        $given->(qw(port host unix tls timeout rcvbuf)));

    $connection->send(request_bytes(
        $given->(qw(body version chunked)),
        method => $method, uri => $uri, headers => \@headers,
        keep   => $opt{keep} // defined $opt{connection},
        host   => exists $opt{host_header} ? $opt{host_header} : 'localhost',
    ));

    my $response = $connection->response($method, $given->(qw(rate timeout)));
    $connection->close if !$opt{connection};

    return $response;
}


sub get    { my $t = shift; return $t->request(GET    => @_) }
sub head   { my $t = shift; return $t->request(HEAD   => @_) }
sub put    { my $t = shift; return $t->request(PUT    => @_) }
sub post   { my $t = shift; return $t->request(POST   => @_) }
sub delete { my $t = shift; return $t->request(DELETE => @_) }


# curl, for HTTP/2 and what else the raw client does not speak: {exit, out,
# err}.
sub curl {
    my ($self, @args) = @_;

    my ($out, $err) = map { "$self->{dir}/curl.$_" } qw(out err);
    unlink $out, $err;

    my $pid = start_process(argv => ['curl', '-sS', '--max-time', 30,
        '--stderr', $err, @args], out => $out);
    wait_until(sub { !is_running($pid) }, 40) or stop_process($pid, 'KILL');

    return {
        exit => (reap($pid) // 0) >> 8,
        out  => $self->read_file($out),
        err  => $self->read_file($err),
    };
}

1;
