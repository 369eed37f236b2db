package Test::Defender::Enrich;

# What a test of enriched answers asks of them. The module only inserts: with
# its insertions taken out, a body is what the upstream sent. Here they are
# taken out of the text, without decoding it.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();
use Test::More;

our @EXPORT_OK = qw($LOG_FORMAT strip insertions matches ask enriched passed);

# For "ask": an access log %%DIR%%/enrich.log of this format.
our $LOG_FORMAT =
    "log_format enrich '\$request_uri|\$status|\$defender_enrich_status';";

my $JSON = JSON::PP->new->utf8;


# An object or array with what it holds; braces inside of strings do not count.
my $NESTED = qr/
    (?<any> [{\[] (?: [^{}\[\]"]++ | "(?:[^"\\]++|\\.)*+" | (?&any) )*+ [}\]] )
/xs;


# The body without the members that were inserted under this key.
sub strip {
    my ($body, $key) = @_;

    $key //= 'defender';
    $body =~ s/,"\Q$key\E":$NESTED//g;

    return $body;
}


# The decoded values of the inserted members, in order.
sub insertions {
    my ($body, $key) = @_;

    my @found;

    $key //= 'defender';
    push @found, $JSON->decode($1) while $body =~ /,"\Q$key\E":($NESTED)/g;

    return @found;
}


# In short: "src_ip=exact:d1d1... dest_ip=none" for each insertion, fields
# sorted; an array of entities is [a b].
sub matches {
    my ($body, $key) = @_;

    my $short = sub {
        my ($entity) = @_;
        return $entity->{match}
            . (defined $entity->{id} ? ':' . substr $entity->{id}, 0, 2 : '');
    };

    return map {
        my $member = $_;
        join ' ', map {
            my $value = $member->{$_};
            "$_=" . (ref $value eq 'ARRAY'
                ? '[' . join(' ', map { $short->($_) } @$value) . ']'
                : $short->($value));
        } sort keys %$member;
    } insertions($body, $key);
}

my $id = 0;


# One request with an id that the access log tells; (response, status text).
sub ask {
    my ($t, $uri, %opt) = @_;

    my $method = delete $opt{method} // 'GET';

    $id++;
    $uri .= ($uri =~ /\?/ ? '&' : '?') . "id=$id";
    my $response = $t->request($method, $uri, %opt);

    my $line = $t->wait_for(sub {
        return $t->read_file('enrich.log') =~ /[?&]id=$id\|(.*)$/m
            ? $1 : undef;
    }, 5, "log line of $uri");

    return ($response, $line);
}


# The whole of an enriched answer: what the header says, that it can be no
# other length than it is, which devices are in it, and the rest untouched.
sub enriched {
    my ($t, $uri, $body, $matches, $log, %opt) = @_;

    subtest $opt{title} // $uri => sub {
        my ($r, $line) = ask($t, $uri, %opt);

        is($r->status, $opt{status} // 200, 'status');
        is($r->header('X-Defender-Enrich'), 'on', 'header');
        is_deeply([map { $r->header($_) }
            qw(Content-Length ETag Last-Modified Accept-Ranges)],
            [undef, undef, undef, undef], 'nothing that no longer holds');
        ok($r->complete, 'complete');
        is_deeply([matches($r->body)], $matches, 'devices');
        is(strip($r->body), $body, 'the rest is the upstream\'s');
        is($line, ($opt{status} // 200) . "|$log", 'logged status');
    };
}


# An answer that is as the upstream made it, with a reason.
sub passed {
    my ($t, $uri, $body, $reason, %opt) = @_;

    subtest $opt{title} // $uri => sub {
        my ($r, $line) = ask($t, $uri, %opt);
        my $status = $opt{status} // 200;

        is($r->status, $status, 'status');
        is($r->header('X-Defender-Enrich'),
            defined $reason ? "skipped; reason=$reason" : undef, 'header');
        is($r->body, $body, 'the body is the upstream\'s');
        ok($r->complete, 'complete');
        is($line, "$status|"
            . ($opt{log} // (defined $reason ? "skipped=$reason" : '-')),
            'logged status');
        $opt{more}->($r) if $opt{more};
    };
}

1;
