package Sim::Wire;

# Puts an answer on the wire, with the faults that the knobs ask for. Answers
# of the service are chunked and compressed; a fault needs the connection
# itself, below what a web framework offers.

use strict;
use warnings;

use Compress::Zlib ();
use Mojo::IOLoop   ();
use Scalar::Util   qw(weaken);
use Socket         qw(SOL_SOCKET SO_LINGER);

my $STS = 'max-age=31536000; includeSubDomains';


# $done is called with the status once the answer is under way.
sub send_answer {
    my ($state, $c, $answer, $done) = @_;

    my $fault = fault($state, $answer);
    my $delay = delay($state, $answer);

    $c->render_later;
    my $tx = $c->tx;

    my $go = sub {
        return if $tx->is_finished;
        $done->(defined $fault->{hang} && $fault->{hang} eq 'header'
            ? undef : $answer->{status});
        write_answer($c, $tx, $answer, $fault);
    };

    if ($delay > 0) {
        Mojo::IOLoop->timer($delay / 1000 => $go);
    } else {
        $go->();
    }
}


sub delay {
    my ($state, $answer) = @_;

    my $family = $answer->{family};

    return $state->knob('token_latency_ms') if $family eq 'token';

    my $page = $state->knob('page_latency_ms');
    $page = ref $page ? $page->{$answer->{page} // ''} // 0 : $page;

    return $state->knob('api_latency_ms')
        + ($family eq 'machines' ? $page : 0);
}


# The knobs that bend this answer, or an empty hash.
sub fault {
    my ($state, $answer) = @_;

    my $knobs = $state->{knobs};
    my %fault = map { $_ => $knobs->{$_} } grep { $knobs->{$_} }
        qw(truncate_body slow_body trickle_ms hang endless reset_connection
        encoding pad_mb);

    my $on = $knobs->{fault_on};
    my $hit = %fault
        && ($on eq 'all' || $on eq $answer->{family})
        && (!defined $knobs->{fault_page}
            || $knobs->{fault_page} == ($answer->{page} // 0))
        && $state->take($knobs, 'fault_times');

    %fault = () if !$hit;
    $fault{chunked}    = $knobs->{chunked};
    $fault{chunk_size} = $knobs->{chunk_size};

    return \%fault;
}


sub write_answer {
    my ($c, $tx, $answer, $fault) = @_;

    return hold($tx) if defined $fault->{hang} && $fault->{hang} eq 'header';
    return drop($tx, 1) if $answer->{drop};

    my $res     = $tx->res;
    my $headers = $res->headers;

    $res->code($answer->{status});
    $headers->remove('Server');
    $headers->header('Strict-Transport-Security' => $STS);
    $headers->connection('keep-alive');
    $headers->header($_ => $answer->{headers}{$_})
        for sort keys %{$answer->{headers} // {}};

    if (!defined $answer->{body}) {
        $headers->content_length(0);
        return $c->rendered;
    }

    $headers->content_type($answer->{type});

    return send_endless($c, $tx, $fault) if $fault->{endless};

    my $body = $answer->{body};
    $body = padded($body, $fault->{pad_mb}) if $fault->{pad_mb};
    $body = encoded($c, $headers, $answer, $body, $fault->{encoding});

    my $fixed = !$fault->{chunked} || $answer->{plain};
    $headers->content_length(length $body) if $fixed;

    return $c->rendered if $fixed && $body eq '';

    if ($fault->{trickle_ms}) {
        return trickle($tx, $body, $fault);
    }

    pump($c, $tx, pieces($body, $fault), $fault, $fixed);
}


# White space is legal before the end of the document and shrinks to nothing
# when it is compressed.
sub padded {
    my ($body, $megabytes) = @_;

    my $end = substr $body, -1, 1, '';

    return $body . ' ' x ($megabytes * 1_048_576) . $end;
}


# Compresses as the client allows or as the knob says:
# deflate|raw-deflate|gzip|identity, or {"label", "data"} for a wrong label.
sub encoded {
    my ($c, $headers, $answer, $body, $forced) = @_;

    my $accepted = lc($c->req->headers->accept_encoding // '');
    my ($label, $data);

    if (defined $forced) {
        ($label, $data) = ref $forced
            ? @{$forced}{qw(label data)} : ($forced, $forced);
        $label = 'deflate' if $label eq 'raw-deflate';

    } elsif ($answer->{odata}) {
        ($label) = grep { $accepted =~ /\b$_\b(?!\s*;\s*q=0(?:\.0*)?(?:,|$))/ }
            qw(deflate gzip);
        $data = $label;
    }

    if (defined $label && $label ne 'identity') {
        $headers->content_encoding($label);
        $headers->vary('Accept-Encoding');
    }

    $data //= 'identity';

    return $data eq 'gzip' ? Compress::Zlib::memGzip($body)
        : $data eq 'deflate' ? Compress::Zlib::compress($body, 1)
        : $data eq 'raw-deflate' ? raw_deflate($body)
        : $body;
}


sub raw_deflate {
    my ($body) = @_;

    my ($deflate) = Compress::Zlib::deflateInit(
        -WindowBits => -Compress::Zlib::MAX_WBITS());
    my ($first) = $deflate->deflate($body);
    my ($last)  = $deflate->flush;

    return $first . $last;
}


# Cuts the body into what is written at once; a slow body comes in ten pieces
# a second.
sub pieces {
    my ($body, $fault) = @_;

    $body = substr $body, 0, $fault->{truncate_body}
        if defined $fault->{truncate_body};

    my $size = $fault->{chunk_size};
    $size = int($fault->{slow_body} / 10) || 1 if $fault->{slow_body};

    return [unpack "(a$size)*", $body];
}


# Writes the pieces one after the other, each when the one before is out.
sub pump {
    my ($c, $tx, $pieces, $fault, $fixed) = @_;

    return if $tx->is_finished;

    if (!@$pieces) {
        return hold($tx) if ($fault->{hang} // '') eq 'body';
        return drop($tx, $fault->{reset_connection})
            if defined $fault->{truncate_body};
        return $fixed ? undef : $c->write_chunk('');
    }

    my $piece = shift @$pieces;

    # Half of the body, and then silence.
    if (($fault->{hang} // '') eq 'body') {
        splice @$pieces, int(@$pieces / 2);
        $piece = substr $piece, 0, 1 + int(length($piece) / 2) if !@$pieces;
    }

    my $next = sub {
        return pump($c, $tx, $pieces, $fault, $fixed) if !$fault->{slow_body};
        Mojo::IOLoop->timer(
            0.1 => sub { pump($c, $tx, $pieces, $fault, $fixed) });
    };

    return $fixed ? $c->write($piece => $next)
        : $c->write_chunk($piece => $next);
}


# A body without an end: "spaces", or "rows" of ever new devices.
sub send_endless {
    my ($c, $tx, $fault) = @_;

    my $rows  = $fault->{endless} eq 'rows';
    my $index = 0;
    my $fleet = Sim::Fleet->new(Sim::Clock->new);
    my $write;

    $write = sub {
        return if $tx->is_finished;

        my $piece = $rows
            ? join '', map { $fleet->generated_text($index++) . ',' } 1 .. 50
            : ' ' x 65_536;

        $c->write_chunk($piece => $write);
    };

    $c->write_chunk('{"value":[' => $write);
}


# Header and body byte by byte, past the framework.
sub trickle {
    my ($tx, $body, $fault) = @_;

    my $res     = $tx->res;
    my $headers = $res->headers;

    if (!defined $headers->content_length) {
        $headers->transfer_encoding('chunked');
        $body = sprintf "%x\r\n%s\r\n0\r\n\r\n", length $body, $body;
    }

    my $head = 'HTTP/1.1 ' . $res->code . ' ' . $res->default_message
        . "\r\n" . $headers->to_string . "\r\n\r\n";

    my @bytes = split //, $head . $body;
    my $stream = Mojo::IOLoop->stream($tx->connection) or return;
    weaken $stream;

    my $timer;
    $timer = Mojo::IOLoop->recurring($fault->{trickle_ms} / 1000 => sub {
        if (!$stream || !@bytes) {
            Mojo::IOLoop->remove($timer);
            $stream->close_gracefully if $stream;
            return;
        }
        $stream->write(shift @bytes);
    });
}


# Says nothing more and keeps the connection.
sub hold {
    my ($tx) = @_;

    my $stream = Mojo::IOLoop->stream($tx->connection) or return;
    $stream->timeout(0);

    # The framework frees a transaction that nobody holds, and then answers.
    $stream->on(close => sub { undef $tx });
}


# Cuts the connection, with a reset instead of a proper end when asked to.
sub drop {
    my ($tx, $reset) = @_;

    my $stream = Mojo::IOLoop->stream($tx->connection) or return;

    setsockopt $stream->handle, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0
        if $reset;

    $stream->close;
}

1;
