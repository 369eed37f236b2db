package Test::Defender::Response;

# One HTTP response as it came: the body's exact bytes, and whether it came to
# its proper end.

use strict;
use warnings;

use JSON::PP ();

my $JSON = JSON::PP->new->utf8->allow_nonref;


# Reads from a connection's buffer, calling $more for more bytes.
sub read_from {
    my ($connection, $method, $more) = @_;

    my $self = bless {
        status => 0, reason => '', version => '', header_list => [],
        headers => {}, body => '', raw_header => '', complete => 0,
        chunked => 0,
    }, __PACKAGE__;

    while (1) {
        while ($connection->{in} !~ /\r\n\r\n/) {
            return $self if !$more->();
        }

        $connection->{in} =~ s/^(.*?\r\n\r\n)//s;
        $self->parse_header($1);
        last if $self->{status} != 100;
    }

    $self->read_body($connection, $method, $more);

    return $self;
}


sub parse_header {
    my ($self, $text) = @_;

    $self->{raw_header}  = $text;
    $self->{header_list} = [];
    $self->{headers}     = {};

    my ($line, @lines) = split /\r\n/, $text;
    ($self->{version}, $self->{status}, $self->{reason}) =
        $line =~ m{^HTTP/([\d.]+) (\d{3}) ?(.*)$};
    $self->{status} //= 0;

    for my $header (@lines) {
        my ($name, $value) = $header =~ /^([^:]+):\s*(.*?)\s*$/ or next;
        push @{$self->{header_list}}, [$name, $value];
        $name = lc $name;
        $self->{headers}{$name} = exists $self->{headers}{$name}
            ? "$self->{headers}{$name}, $value" : $value;
    }
}


sub read_body {
    my ($self, $connection, $method, $more) = @_;

    my $headers = $self->{headers};

    if ($method eq 'HEAD' || $self->{status} =~ /^(?:1\d\d|204|304)$/) {
        $self->{complete} = 1;

    } elsif (($headers->{'transfer-encoding'} // '') =~ /chunked/i) {
        $self->{chunked}  = 1;
        $self->{complete} = $self->read_chunks($connection, $more);

    } elsif (defined $headers->{'content-length'}) {
        my $length = $headers->{'content-length'};
        1 while length $connection->{in} < $length && $more->();
        $self->{complete} = length $connection->{in} >= $length;
        $self->{body} = substr $connection->{in}, 0, $length, '';

    } else {
        1 while $more->();
        $self->{body} = $connection->{in};
        $connection->{in} = '';

        # Without a length, a reset is the only sign of a broken answer.
        $self->{complete} = $connection->{eof} && !$connection->{error};
    }
}


sub read_chunks {
    my ($self, $connection, $more) = @_;

    $self->{chunks} = [];

    while (1) {
        while ($connection->{in} !~ /\r\n/) {
            return 0 if !$more->();
        }

        $connection->{in} =~ s/^([0-9a-fA-F]+)[^\r\n]*\r\n// or return 0;
        my $length = hex $1;

        if ($length == 0) {
            1 while $connection->{in} !~ /^(?:[^\r\n]+\r\n)*\r\n/ && $more->();
            return $connection->{in} =~ s/^((?:[^\r\n]+\r\n)*)\r\n// ? 1 : 0;
        }

        1 while length $connection->{in} < $length + 2 && $more->();

        if (length $connection->{in} < $length + 2) {
            $self->{body} .= substr $connection->{in}, 0, $length, '';
            return 0;
        }

        $self->{body} .= substr $connection->{in}, 0, $length, '';
        push @{$self->{chunks}}, $length;
        return 0 if substr($connection->{in}, 0, 2, '') ne "\r\n";
    }
}


sub status     { return $_[0]{status} + 0 }
sub reason     { return $_[0]{reason} }
sub version    { return $_[0]{version} }
sub header     { return $_[0]{headers}{lc $_[1]} }
sub headers    { return $_[0]{headers} }
sub body       { return $_[0]{body} }
sub complete   { return $_[0]{complete} }
sub chunked    { return $_[0]{chunked} }
sub raw_header { return $_[0]{raw_header} }
sub header_list { return $_[0]{header_list} }


# How often a header came.
sub header_count {
    my ($self, $name) = @_;

    return scalar grep { lc $_->[0] eq lc $name } @{$self->{header_list}};
}


# The decoded body; dies when it is not JSON.
sub json { return $JSON->decode($_[0]{body}) }


# The decoded lines of an NDJSON body.
sub json_lines {
    return map { $JSON->decode($_) } grep { /\S/ } split /\n/, $_[0]{body};
}

1;
