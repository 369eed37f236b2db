package Sim::Api;

# The Defender API host: routes, the checks before each call, error envelopes.

use strict;
use warnings;

use Exporter      qw(import);
use Mojo::Util    qw(url_unescape);
use Sim::Actions  ();
use Sim::Json     qw(encode);
use Sim::Login    ();
use Sim::Machines ();

our @EXPORT_OK = qw(error odata context);

my @READ = qw(Machine.Read.All Machine.ReadWrite.All);

# family, method, path below /api, one of these roles, handler
my @ROUTES = (
    ['machines', 'GET', qr{^/machines$}, [@READ], \&Sim::Machines::list],
    ['findbyip', 'GET', qr{^/machines/findbyip\((.*)\)$}, [@READ],
        \&Sim::Machines::find_by_ip],
    ['machine', 'GET', qr{^/machines/([^/()]+)$}, [@READ],
        \&Sim::Machines::get],
    ['logonusers', 'GET', qr{^/machines/([^/]+)/logonusers$},
        ['User.Read.All'], \&Sim::Machines::logon_users],
    ['machine_alerts', 'GET', qr{^/machines/([^/]+)/alerts$},
        ['Alert.Read.All', 'Alert.ReadWrite.All'], \&Sim::Machines::alerts],
    ['alerts', 'GET', qr{^/alerts$},
        ['Alert.Read.All', 'Alert.ReadWrite.All'],
        \&Sim::Machines::all_alerts],
    ['isolate', 'POST', qr{^/machines/([^/]+)/isolate$},
        ['Machine.Isolate'], \&Sim::Actions::isolate],
    ['unisolate', 'POST', qr{^/machines/([^/]+)/unisolate$},
        ['Machine.Isolate'], \&Sim::Actions::unisolate],
    ['actions', 'GET', qr{^/machineactions$}, [@READ],
        \&Sim::Actions::list],
    ['action', 'GET', qr{^/machineactions/([^/]+)$}, [@READ],
        \&Sim::Actions::get],
    ['cancel', 'POST', qr{^/machineactions/([^/]+)/cancel$},
        ['Machine.Isolate'], \&Sim::Actions::cancel],
);


sub answer {
    my ($state, $request) = @_;

    my ($path) = $request->{path} =~ m{^/api(?:/v1\.0)?(/.*)$};
    my ($route, @captures) = defined $path ? route($path) : ();

    my $family = $route ? $route->[0] : 'unknown';
    my $answer = raw_answer($state, $family)
        // ($route ? call($state, $request, $route, @captures)
        : {status => 404});

    $answer->{family} = $family;

    return $answer;
}


sub route {
    my ($path) = @_;

    for my $route (@ROUTES) {
        my @captures = $path =~ $route->[2] or next;
        return ($route, map { url_unescape($_) } grep { defined } @captures);
    }

    return;
}


# Knob api_raw: what something that is not Microsoft would say.
sub raw_answer {
    my ($state, $family) = @_;

    my $raw = $state->knob('api_raw') or return undef;

    for my $one (ref $raw eq 'ARRAY' ? @$raw : $raw) {
        my $on = $one->{on} // 'machines';
        next if $on ne 'all' && $on ne $family;
        next if !$state->take($one, 'times');
        return scripted($one);
    }

    return undef;
}


sub scripted {
    my ($one) = @_;

    return {
        status  => $one->{status} // 200,
        type    => $one->{content_type} // 'application/json; charset=utf-8',
        headers => {%{$one->{headers} // {}}},
        body    => $one->{body} // '',
        plain   => 1,
    };
}


sub call {
    my ($state, $request, $route, @captures) = @_;

    my ($family, $method, undef, $roles, $handler) = @$route;

    return {status => 405, headers => {Allow => $method}}
        if $request->{method} ne $method;

    my $token = $state->check_token($request->{authorization});
    return unauthorized($state, 'Unauthorized') if !$token;
    return unauthorized($state, 'Unauthorized request - reason of failure: '
        . "Invalid audience $token->{aud}")
        if !$Sim::Login::DEFENDER{$token->{aud}};
    return error($state, 401, 'Unauthorized', 'Unauthorized request - '
        . 'reason of failure: Account mode is inactive')
        if $state->knob('account_inactive');

    my @over = $state->count_call($family);
    return over_limit($state, @over) if @over;

    my %held = map { $_ => 1 } @{$token->{roles}};
    return error($state, 403, 'Forbidden', 'Missing application roles. API '
        . 'required roles: ' . join(',', @$roles) . ', application roles: '
        . join(',', @{$token->{roles}}) . '.')
        if !grep { $held{$_} } @$roles;

    return $handler->($state, $request, @captures);
}


sub unauthorized {
    my ($state, $text) = @_;

    return {status => 401} if $state->knob('unauthorized_body') eq 'empty';
    return error($state, 401, 'Unauthorized', $text);
}


sub over_limit {
    my ($state, $most, $window, $wait) = @_;

    my $answer = error($state, 429, '429', 'API calls quota exceeded! Maximum '
        . "allowed $most per $window for the key Destination+TenantID+AppID. "
        . "You can send requests again in $wait seconds.", $state->{tenant});

    my $shown = $state->knob('retry_after');
    $answer->{headers}{'Retry-After'} = $shown eq 'auto' ? $wait : $shown
        if defined $shown;

    return $answer;
}


# The error envelope.
sub error {
    my ($state, $status, $code, $message, $target) = @_;

    return {
        status => $status,
        type   => 'application/json; charset=utf-8',
        body   => encode({error => {
            code => $code, message => $message,
            target => $target // $state->guid,
        }}),
    };
}


# A success with the headers of the service.
sub odata {
    my ($body, $status) = @_;

    return {
        status  => $status // 200,
        type    => 'application/json; odata.metadata=minimal; '
            . 'odata.streaming=true; charset=utf-8',
        headers => {'OData-Version' => '4.0'},
        body    => $body,
        odata   => 1,
    };
}


# "@odata.context" names a host of Microsoft whatever host was called.
sub context {
    my ($state, $what) = @_;

    my $host = $state->knob('context_host')
        // 'https://api.securitycenter.microsoft.com';

    return "$host/api/\$metadata#$what";
}

1;
