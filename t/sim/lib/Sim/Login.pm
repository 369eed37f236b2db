package Sim::Login;

# login.microsoftonline.com: the token endpoint for client credentials.

use strict;
use warnings;

use Mojo::Util qw(b64_decode url_unescape);
use POSIX      qw(strftime);
use Sim::Clock qw(SECOND);
use Sim::Json  qw(encode);

my $GUID = qr/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

# Resources whose tokens the Defender API accepts.
our %DEFENDER = map { $_ => 1 } qw(
    https://api.securitycenter.microsoft.com
    https://api.securitycenter.windows.com
    https://securitycenter.onmicrosoft.com/windowsatpservice
    https://securitycenter.onmicrosoft.us/windowsatpservice
    https://api-gcc.securitycenter.microsoft.us
    https://api-gov.securitycenter.microsoft.us
    https://api.security.microsoft.com
    fc780465-2017-40d4-a0c5-307022471b92
);

# Other products, for which a token is issued all the same.
my %FOREIGN = map { $_ => 1 } qw(
    https://security.microsoft.com/mtp
    https://graph.microsoft.com
);

my $WRONG_AUDIENCE = 'https://userrequestsgraphapi-prd.trafficmanager.net';


# Answers a request whose path names a token endpoint, undef otherwise.
sub answer {
    my ($state, $request) = @_;

    my ($tenant, $version) =
        $request->{path} =~ m{^/([^/]+)/oauth2/(v2\.0/)?token$}
        or return undef;

    return {family => 'token', status => 405, headers => {Allow => 'POST'}}
        if $request->{method} ne 'POST';

    my $raw = raw_answer($state);
    return $raw if $raw;

    my $answer = exchange($state, $request, url_unescape($tenant),
        defined $version);

    $answer->{family}  = 'token';
    $answer->{type}    = 'application/json; charset=utf-8';
    $answer->{headers} = {
        'Cache-Control' => 'no-store, no-cache', Pragma => 'no-cache',
    };

    return $answer;
}


sub raw_answer {
    my ($state) = @_;

    my $knobs = $state->{knobs};

    return undef
        if !defined $knobs->{token_status} && !defined $knobs->{token_body};
    return undef if !$state->take($knobs, 'token_times');

    return {
        family  => 'token',
        status  => $knobs->{token_status} // 200,
        type    => $knobs->{token_type} // 'application/json; charset=utf-8',
        headers => {%{$knobs->{token_headers} // {}}},
        body    => $knobs->{token_body} // '',
        plain   => 1,
    };
}


# The checks, in the order in which the service is believed to make them.
sub exchange {
    my ($state, $request, $tenant, $v2) = @_;

    my $form  = $request->{form} // {};
    my $knobs = $state->{knobs};

    my $fault = check_tenant($state, $tenant);
    return fail($state, @$fault) if $fault;

    my $grant = $form->{grant_type};
    return missing($state, 'grant_type') if !defined $grant || $grant eq '';
    return fail($state, 400, 'unsupported_grant_type', 70003,
        "The app requested an unsupported grant type '$grant'.")
        if $grant ne 'client_credentials';

    my ($id, $secret) = credentials($request, $form);
    return missing($state, 'client_id') if !defined $id || $id eq '';
    return fail($state, 400, 'unauthorized_client', 700016,
        "Application with identifier '$id' was not found in the directory "
        . "'Example Org'. This can happen if the application has not been "
        . 'installed by the administrator of the tenant or consented to by '
        . 'any user in the tenant. You may have sent your authentication '
        . 'request to the wrong tenant.')
        if lc $id ne lc $state->{app};
    return fail($state, 400, 'unauthorized_client', 7000112,
        "Application '$id'(Simulated connector) is disabled.")
        if $knobs->{app_disabled};

    return fail($state, 400, 'invalid_client', 7000218,
        'The request body must contain the following parameter: '
        . "'client_assertion' or 'client_secret'.")
        if !defined $secret || $secret eq '';
    return fail($state, 401, 'invalid_client', 7000215,
        'Invalid client secret provided. Ensure the secret being sent in the '
        . 'request is the client secret value, not the client secret ID, for '
        . "a secret added to app '$state->{app}'.")
        if $secret ne $state->{secret};
    return fail($state, 401, 'invalid_client', 7000222,
        "The provided client secret keys for app '$state->{app}' are expired.")
        if $knobs->{secret_expired};

    my ($resource, $refusal) = resource($state, $form, $v2);
    return $refusal if $refusal;

    return success($state, $resource, $v2);
}


sub check_tenant {
    my ($state, $tenant) = @_;

    return undef if lc $tenant eq lc $state->{tenant};
    return undef if lc $tenant eq lc $state->{domain};

    return [400, 'invalid_request', 9001023,
        'The grant type is not supported over the /common or /consumers '
        . 'endpoints. Please use the /organizations or tenant-specific '
        . 'endpoint.']
        if $tenant =~ /^(?:common|consumers)$/i;

    return [400, 'invalid_request', 90002,
        "Tenant '$tenant' not found. Check to make sure you have the correct "
        . 'tenant ID and are signing into the correct cloud. Check with your '
        . 'subscription administrator, this may happen if there are no '
        . 'active subscriptions for the tenant.']
        if $tenant =~ $GUID || $tenant =~ /^[a-z0-9-]+(?:\.[a-z0-9-]+)+$/i;

    return [400, 'invalid_request', 900023,
        "Specified tenant identifier '$tenant' is neither a valid DNS name, "
        . 'nor a valid external domain.'];
}


# From the form or, as the service also takes it, from HTTP Basic.
sub credentials {
    my ($request, $form) = @_;

    my ($basic) = ($request->{authorization} // '') =~ /^Basic +(\S+)$/i;

    return @{$form}{qw(client_id client_secret)} if !defined $basic;

    my ($id, $secret) = split /:/, b64_decode($basic), 2;

    return (url_unescape($id // ''), url_unescape($secret // ''));
}


# The resource asked for, or (undef, refusal).
sub resource {
    my ($state, $form, $v2) = @_;

    my $name  = $v2 ? 'scope' : 'resource';
    my $asked = $form->{$name};

    return (undef, missing($state, $name)) if !defined $asked || $asked eq '';

    my @scopes = split ' ', $asked;

    return (undef, fail($state, 400, 'invalid_scope', 700022,
        "The provided value for scope $asked is not valid because it "
        . 'contains more than one resource.'))
        if $v2 && @scopes > 1;

    return (undef, fail($state, 400, 'invalid_scope', 70011,
        "The provided value for the input parameter '$name' is not valid. "
        . "The scope $asked is not valid."))
        if $asked !~ m{^https?://[\w.-]+(?:/[\w./-]*)?$}
        && $asked !~ m{^[0-9a-f-]{36}(?:/\.default)?$}i;

    return (undef, fail($state, 400, 'invalid_scope', 1002012,
        "The provided value for scope $asked is not valid. Client credential "
        . 'flows must have a scope value with /.default suffixed to the '
        . 'resource identifier (application ID URI).'))
        if $v2 && $asked !~ m{/\.default$};

    my $resource = $asked;
    $resource =~ s{/\.default$}{} if $v2;
    $resource =~ s{/+$}{};

    return ($resource, undef) if $FOREIGN{$resource};
    return ($resource, undef)
        if $DEFENDER{$resource} && $state->knob('provisioned');

    return (undef, fail($state, 400, 'invalid_resource', 500011,
        "The resource principal named $resource was not found in the tenant "
        . 'named Example Org. This can happen if the application has not '
        . 'been installed by the administrator of the tenant or consented to '
        . 'by any user in the tenant. You might have sent your '
        . 'authentication request to the wrong tenant.'));
}


sub success {
    my ($state, $resource, $v2) = @_;

    my $knobs = $state->{knobs};
    my ($token, $lifetime) = $state->issue_token(
        $knobs->{wrong_audience} ? $WRONG_AUDIENCE : $resource);

    my $text    = !$v2 || $knobs->{expires_in_string};
    my $seconds = $text ? "\"$lifetime\"" : $lifetime;
    my $shown   = defined $knobs->{expires_in}
        ? encode($knobs->{expires_in}) : $seconds;

    my $now = int $state->now / SECOND;
    my $v1  = $v2 ? '' : ',"expires_on":"' . ($now + $lifetime)
        . "\",\"not_before\":\"$now\",\"resource\":" . encode($resource);

    return {
        status => 200,
        body   => qq({"token_type":"Bearer","expires_in":$shown,)
            . qq("ext_expires_in":$seconds$v1,"access_token":"$token"}),
    };
}


sub missing {
    my ($state, $name) = @_;

    return fail($state, 400, 'invalid_request', 900144,
        'The request body must contain the following parameter: '
        . "'$name'.");
}


sub fail {
    my ($state, $status, $error, $code, $text) = @_;

    my $time  = strftime('%Y-%m-%d %H:%M:%SZ', gmtime $state->now / SECOND);
    my $trace = $state->guid;
    my $correlation = $state->guid;
    my $break = $state->knob('token_error_style') eq 'crlf' ? "\r\n" : ' ';

    my @members = (
        error => $error,
        error_description => join($break, "AADSTS$code: $text",
            "Trace ID: $trace", "Correlation ID: $correlation",
            "Timestamp: $time"),
        error_codes    => [$code],
        timestamp      => $time,
        trace_id       => $trace,
        correlation_id => $correlation,
        error_uri => "https://login.microsoftonline.com/error?code=$code",
    );

    my @pairs;
    while (my ($name, $value) = splice @members, 0, 2) {
        push @pairs, encode($name) . ':' . encode($value);
    }

    return {status => $status, body => '{' . join(',', @pairs) . '}'};
}

1;
