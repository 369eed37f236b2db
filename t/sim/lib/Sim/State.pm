package Sim::State;

# What the simulated tenant remembers: knobs, clock, fleet, tokens, machine
# actions, call counters and the log of requests. README.md lists the knobs.

use strict;
use warnings;

use Digest::SHA qw(sha256_hex);
use Mojo::JSON  qw(true false);
use Mojo::Util  qw(b64_encode);
use Sim::Clock  qw(SECOND);
use Sim::Fleet  ();
use Sim::Json   qw(encode);

my @ROLES = qw(Machine.Read.All Machine.Isolate User.Read.All Alert.Read.All);

my $APP_OBJECT = '99999999-8888-4777-8666-555555555555';


sub default_knobs {
    return {
        # token endpoint
        token_lifetime    => 3599,
        token_grace       => 301,
        expires_in_string => false,
        expires_in        => undef,
        roles             => [@ROLES],
        token_opaque      => false,
        token_latency_ms  => 0,
        token_status      => undef,
        token_body        => undef,
        token_headers     => {},
        token_type        => undef,
        token_times       => undef,
        token_error_style => 'spaces',
        token_calls       => undef,
        secret_expired    => false,
        app_disabled      => false,
        provisioned       => true,
        wrong_audience    => false,

        # API
        api_latency_ms    => 0,
        page_latency_ms   => 0,
        page_status       => {},
        api_raw           => undef,
        location          => undef,
        account_inactive  => false,
        unauthorized_body => 'envelope',
        context_host      => undef,
        rate_minute       => 100,
        rate_hour         => 1500,
        retry_after       => 'auto',

        # machines list
        page_size         => 10_000,
        max_top           => 10_000,
        over_max          => 'error',
        max_rows          => undef,
        next_link         => 'auto',
        repeat_page       => false,
        duplicate         => false,
        shuffle           => undef,
        empty_as          => 'list',

        # bytes on the wire
        fault_on          => 'machines',
        fault_page        => undef,
        fault_times       => undef,
        truncate_body     => undef,
        slow_body         => undef,
        trickle_ms        => undef,
        hang              => undef,
        endless           => undef,
        reset_connection  => false,
        encoding          => undef,
        pad_mb            => 0,
        chunked           => true,
        chunk_size        => 16_384,

        # machine actions
        action_result     => 'Succeeded',
        action_seconds    => {Isolate => [5, 66], Unisolate => [0.5, 1.7]},
        duplicate_action  => '400',
        post_drop         => undef,
    };
}


sub new {
    my ($class, %setup) = @_;

    my $clock = Sim::Clock->new;

    return bless {
        %setup,
        clock    => $clock,
        fleet    => Sim::Fleet->new($clock),
        knobs    => default_knobs(),
        log      => [],
        seq      => 0,
        tokens   => {},
        issued   => 0,
        calls_from => 0,
        calls    => {},
        actions  => [],
        machines => 0,
        app_oid  => $APP_OBJECT,
    }, $class;
}


sub knob { return $_[0]{knobs}{$_[1]} }


# Merges $change into the knobs; returns an error text or undef. Unknown names
# are refused: a misspelt knob would make a test assert nothing.
sub turn {
    my ($self, $change) = @_;

    my $known = default_knobs();
    my @odd = grep { !exists $known->{$_} && !/^(?:reset|revoke_tokens)$/ }
        sort keys %$change;
    return "unknown knob: @odd" if @odd;

    if (delete $change->{reset}) {
        $self->{knobs} = $known;
        $self->{calls} = {};
    }

    $self->{calls_from} = $self->{issued} if exists $change->{token_calls};

    if (delete $change->{revoke_tokens}) {
        $_->{revoked} = 1 for values %{$self->{tokens}};
    }

    $self->{knobs}{$_} = $change->{$_} for keys %$change;

    return undef;
}


# Uses up one of a fault's "times"; false when none is left.
sub take {
    my ($self, $holder, $key) = @_;

    return 1 if !defined $holder->{$key};
    return 0 if $holder->{$key} <= 0;

    $holder->{$key}--;

    return 1;
}


sub now { return $_[0]{clock}->now }


sub guid {
    my $hex = unpack 'H*', random_bytes(16);

    substr($hex, 12, 1) = '4';
    substr($hex, 16, 1) = '8';

    return join '-', unpack 'A8 A4 A4 A4 A12', $hex;
}


sub random_bytes {
    my ($n) = @_;

    return pack 'C*', map { int rand 256 } 1 .. $n;
}


sub base64url {
    my ($bytes) = @_;

    my $text = b64_encode($bytes, '');
    $text =~ tr{+/}{-_};
    $text =~ s/=+$//;

    return $text;
}


# Issues a token for $audience; returns (text, seconds it is announced for).
sub issue_token {
    my ($self, $audience) = @_;

    my $knobs    = $self->{knobs};
    my $iat      = int $self->now / SECOND;
    my $lifetime = $knobs->{token_lifetime};
    my $exp      = $iat + $lifetime + $knobs->{token_grace};
    my $issuer   = "https://sts.windows.net/$self->{tenant}/";
    my $roles    = $knobs->{roles};

    my $claims = encode({
        aud => $audience, iss => $issuer, idp => $issuer,
        iat => $iat, nbf => $iat, exp => $exp,
        aio => b64_encode(random_bytes(20), ''),
        app_displayname => 'Simulated connector',
        appid => $self->{app}, appidacr => '1',
        oid => $self->{app_oid}, sub => $self->{app_oid},
        rh => '0.' . base64url(random_bytes(30)) . '.',
        $roles && @$roles ? (roles => $roles) : (),
        tenant_region_scope => 'NA', tid => $self->{tenant},
        uti => base64url(random_bytes(16)), ver => '1.0',
    });

    my $header = '{"typ":"JWT","alg":"RS256",'
        . '"x5t":"c2ltdWxhdGVkIGtleSAwMQ","kid":"c2ltdWxhdGVkIGtleSAwMQ"}';

    my $token = $knobs->{token_opaque}
        ? base64url(random_bytes(48))
        : join '.', map { base64url($_) } $header, $claims, random_bytes(256);

    my $calls = $knobs->{token_calls};
    $calls = $calls->[$self->{issued} - $self->{calls_from}] if ref $calls;

    $self->{issued}++;
    $self->{tokens}{$token} = {
        number => $self->{issued},
        roles  => $roles || [],
        aud    => $audience,
        exp    => $exp * SECOND,
        calls  => $calls,
    };

    return ($token, $lifetime);
}


# Short name of a token for the log.
sub token_hash { return substr sha256_hex($_[1]), 0, 12 }


# The open token behind an Authorization header, or undef.
sub check_token {
    my ($self, $authorization) = @_;

    my ($text) = ($authorization // '') =~ /^Bearer +([\w.~+\/=-]+)$/i
        or return undef;

    my $token = $self->{tokens}{$text} or return undef;

    return undef if $token->{revoked} || $self->now >= $token->{exp};

    if (defined $token->{calls}) {
        return undef if $token->{calls} <= 0;
        $token->{calls}--;
    }

    return $token;
}


# Counts one call of a family of routes. Returns nothing when it is within the
# limits, else (limit, window as text, whole seconds to the next free slot).
sub count_call {
    my ($self, $family) = @_;

    my $now    = $self->now;
    my $past   = $self->{calls}{$family} //= [];
    my @limits = (
        [$self->knob('rate_minute'), 60,   '00:01:00'],
        [$self->knob('rate_hour'),   3600, '01:00:00'],
    );

    shift @$past while @$past && $past->[0] <= $now - 3600 * SECOND;

    for my $limit (@limits) {
        my ($most, $seconds, $text) = @$limit;
        next if !defined $most;

        my @within = grep { $_ > $now - $seconds * SECOND } @$past;
        next if @within < $most;

        # The slot frees when the call that is $most back leaves the window.
        my $frees = ($most > 0 ? $within[-$most] : $now) + $seconds * SECOND;
        my $wait  = int(($frees - $now + SECOND - 1) / SECOND);

        return ($most, $text, $wait < 1 ? 1 : $wait);
    }

    push @$past, $now;

    return;
}

1;
