package Test::Defender::ApiClient;

# A plain client of the Defender simulator, for the tests of the simulator
# itself. It does what it is told and nothing of its own.

use strict;
use warnings;

use Exporter   qw(import);
use JSON::PP   ();
use Test::More ();

our @EXPORT_OK = qw(form_escape names);

my $SCOPE = 'https://api.securitycenter.microsoft.com/.default';

our $GUID =
    qr/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

my $JSON = JSON::PP->new->utf8->canonical;


sub new {
    my ($class, $sim) = @_;

    return bless {sim => $sim}, $class;
}


sub form_escape {
    return $_[0] =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger;
}


# Asks for a token. Pairs change the form, undef leaves a field out; -tenant,
# -path and -headers change the rest.
sub ask_token {
    my ($self, %change) = @_;

    my $sim     = $self->{sim};
    my $tenant  = delete $change{-tenant} // $sim->tenant;
    my $path    = delete $change{-path} // 'oauth2/v2.0/token';
    my $headers = delete $change{-headers}
        // ['Content-Type' => 'application/x-www-form-urlencoded'];

    my %form = (grant_type => 'client_credentials', client_id => $sim->app,
        client_secret => $sim->secret, scope => $SCOPE, %change);

    return $sim->request(
        method => 'POST', uri => '/' . form_escape($tenant) . "/$path",
        headers => $headers,
        body => join '&', map { "$_=" . form_escape($form{$_}) }
            grep { defined $form{$_} } sort keys %form);
}


sub new_token {
    my ($self, @change) = @_;

    return $self->ask_token(@change)->json->{access_token};
}


# A call of the API with a token that is taken once; token => undef sends none.
sub call {
    my ($self, $method, $uri, %opt) = @_;

    my $token = exists $opt{token} ? $opt{token}
        : ($self->{token} //= $self->new_token);
    my $body  = ref $opt{body} ? $JSON->encode($opt{body}) : $opt{body};
    my @type  = defined $body ? ('Content-Type' => 'application/json') : ();

    return ($opt{on} // $self->{sim})->request(
        method => $method, uri => $uri, body => $body,
        headers => [@type, @{$opt{headers} // []},
            defined $token ? (Authorization => "Bearer $token") : ()]);
}


sub get  { my ($self, @rest) = @_; return $self->call(GET  => @rest) }
sub post { my ($self, @rest) = @_; return $self->call(POST => @rest) }
sub forget_token { delete $_[0]{token} }


# Asserts status, code and message of an error envelope.
sub refused {
    my ($self, $response, $status, $code, $message, $name) = @_;

    local $Test::Builder::Level = $Test::Builder::Level + 1;

    my $error = eval { $response->json->{error} } // {};
    Test::More::is_deeply([$response->status, @{$error}{qw(code message)}],
        [$status, $code, $message], $name);
    Test::More::is($response->header('content-type'),
        'application/json; charset=utf-8', "$name: content type");
    Test::More::like($error->{target}, $GUID, "$name: target");
}


# The computer names in a list answer.
sub names {
    return map { $_->{computerDnsName} } @{$_[0]->json->{value}};
}

1;
