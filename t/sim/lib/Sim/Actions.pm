package Sim::Actions;

# Machine actions: isolation and release, driven by the simulator's clock.

use strict;
use warnings;

use Sim::Clock qw(iso SECOND);
use Sim::Json  qw(decode encode envelope);
use Sim::OData qw(compile_filter compile_order);

my $GUID = qr/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

my %FIELDS = (
    (map { $_ => 'string' } qw(id status machineId type requestor)),
    (map { $_ => 'time' } qw(creationDateTimeUtc lastUpdateDateTimeUtc)),
);

my %OPEN = (Pending => 1, InProgress => 1);

# Seconds after which an action that reaches no device is given up: three days
# and the quarter of an hour that public records show on top.
my $GIVE_UP = 3 * 86_400 + 14 * 60;

# 0x80190198 (HTTP 408) and 0x80004004 (E_ABORT) as signed numbers.
my %HRESULT = (TimeOut => -2145844840, Cancelled => -2147467260);

# Type -> platforms that can do it.
my %PLATFORM = (
    Full      => qr/^(?:Windows(?:10|11)|WindowsServer20(?:1[269]|22|25)|macOS|Ubuntu|RedHatEnterpriseLinux|CentOS|Debian|SLES|Linux)/i,
    Selective => qr/^(?:Windows(?:10|11)|WindowsServer20(?:1[269]|22|25)|macOS)/i,
);

# Windows 10 release 1703, the first one whose sensor can isolate.
my @OLDEST_WINDOWS = (10, 3720, 16299, 98);


sub isolate {
    my ($state, $request, $key) = @_;

    my ($body, $fault) = body($state, $request, 'IsolationType');
    return $fault if $fault;

    my $scope = $body->{IsolationType} // 'Full';
    return Sim::Api::error($state, 400, 'InvalidInput',
        'Invalid isolation type. Allowed values are Full, Selective and '
        . 'UnManagedDevice')
        if ref $scope || $scope !~ /^(?:Full|Selective|UnManagedDevice)$/;

    my $at = $state->{fleet}->find($key);
    return Sim::Machines::not_found($state, $key) if !defined $at;

    my $machine = $state->{fleet}->data($at);
    my $refusal = refusal($state, $machine, $scope);
    return $refusal if $refusal;

    return start($state, $machine, 'Isolate', $body->{Comment}, $scope);
}


sub unisolate {
    my ($state, $request, $key) = @_;

    my ($body, $fault) = body($state, $request);
    return $fault if $fault;

    my $at = $state->{fleet}->find($key);
    return Sim::Machines::not_found($state, $key) if !defined $at;

    return start($state, $state->{fleet}->data($at), 'Unisolate',
        $body->{Comment}, undef);
}


# The JSON body of a POST, or (undef, refusal). Names are case-sensitive.
sub body {
    my ($state, $request, @more) = @_;

    my $body = $request->{json};
    return (undef, Sim::Api::error($state, 400, 'InvalidRequestBody',
        'Request body is incorrect')) if ref $body ne 'HASH';

    my %known = map { $_ => 1 } 'Comment', @more;
    return (undef, Sim::Api::error($state, 400, 'InvalidRequestBody',
        'Request body is incorrect')) if grep { !$known{$_} } keys %$body;

    return (undef, Sim::Api::error($state, 400, 'MissingRequiredParameter',
        "Required parameter 'Comment' is missing"))
        if !defined $body->{Comment} || ref $body->{Comment}
        || $body->{Comment} eq '';

    return ($body, undef);
}


# Why this device cannot be isolated in this way, or undef.
sub refusal {
    my ($state, $machine, $scope) = @_;

    my $platform  = $machine->{osPlatform} // 'Unknown';
    my $onboarded = lc($machine->{onboardingStatus} // '') eq 'onboarded';

    return Sim::Api::error($state, 403, 'DisallowedOperation',
        "$scope isolation is not allowed for this machine")
        if $onboarded == ($scope eq 'UnManagedDevice');

    return undef if $scope eq 'UnManagedDevice';

    return Sim::Api::error($state, 400, 'OsPlatformNotSupported',
        "OS Platform $platform is not supported for this action")
        if $platform !~ $PLATFORM{$scope};

    return Sim::Api::error($state, 400, 'ClientVersionNotSupported',
        'Isolate is supported on client version '
        . join('.', @OLDEST_WINDOWS) . ' and above')
        if $platform =~ /^Windows/ && too_old($machine->{agentVersion});

    return undef;
}


sub too_old {
    my ($version) = @_;

    my @parts = ($version // '') =~ /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/
        or return 0;

    for my $i (0 .. 3) {
        return $parts[$i] < $OLDEST_WINDOWS[$i]
            if $parts[$i] != $OLDEST_WINDOWS[$i];
    }

    return 0;
}


sub start {
    my ($state, $machine, $type, $comment, $scope) = @_;

    advance($state);

    my ($open) = grep {
        $_->{type} eq $type && $_->{machineId} eq $machine->{id}
            && $OPEN{$_->{status}}
    } @{$state->{actions}};

    if ($open && $state->knob('duplicate_action') eq '201') {
        return entity($state, $open, 201);
    }

    return Sim::Api::error($state, 400, 'ActiveRequestAlreadyExists',
        'Action is already in progress') if $open;

    my $action = add($state, {
        type             => $type,
        requestor        => $state->{app_oid},
        requestorComment => $comment,
        machineId        => $machine->{id},
        computerDnsName  => $machine->{computerDnsName},
        scope            => $scope,
    });

    # A device that sends no signal takes no command either.
    $action->{_reachable} = ($machine->{healthStatus} // '') eq 'Active';
    $action->{_wanted} = $state->knob('action_result');

    return entity($state, $action, 201);
}


# Files an action with its defaults; $given overrides them.
sub add {
    my ($state, $given) = @_;

    my $now = $state->now;
    my $action = {
        id => $state->guid, type => 'Isolate', title => undef,
        requestor => 'analyst@corp.example', requestorComment => '',
        status => 'Pending', machineId => undef, computerDnsName => undef,
        creationDateTimeUtc => iso($now), lastUpdateDateTimeUtc => iso($now),
        cancellationRequestor => undef, cancellationComment => undef,
        cancellationDateTimeUtc => undef, errorHResult => 0, scope => undef,
        externalId => undef, requestSource => 'PublicApi',
        relatedFileInfo => undef, commands => [], troubleshootInfo => undef,
        %$given,
        _reachable => 1, _wanted => 'Succeeded', _created => $now,
    };

    push @{$state->{actions}}, $action;

    return $action;
}


# Moves every open action to where the clock says it is.
sub advance {
    my ($state) = @_;

    my $now = $state->now;

    for my $action (grep { $OPEN{$_->{status}} } @{$state->{actions}}) {

        my ($begin, $end) =
            @{$state->knob('action_seconds')->{$action->{type}} // [2, 23]};
        my $result = $action->{_wanted};

        if (!$action->{_reachable} || $result eq 'TimeOut') {
            move($action, 'TimeOut', $GIVE_UP, $now);

        } elsif ($result eq 'Pending') {
            next;

        } elsif ($now >= $action->{_created} + $end * SECOND) {
            move($action, $result, $end, $now);

        } elsif ($action->{status} eq 'Pending') {
            move($action, 'InProgress', $begin, $now);
        }
    }
}


sub move {
    my ($action, $status, $after, $now) = @_;

    my $moment = $action->{_created} + int($after * SECOND);
    return if $now < $moment;

    $action->{status} = $status;
    $action->{lastUpdateDateTimeUtc} = iso($moment);
    $action->{errorHResult} = $HRESULT{$status} // 0;
}


sub shown {
    my ($action) = @_;

    return {map { $_ => $action->{$_} } grep { !/^_/ } keys %$action};
}


sub entity {
    my ($state, $action, $status) = @_;

    return Sim::Api::odata(encode({
        '@odata.context' =>
            Sim::Api::context($state, 'MachineActions/$entity'),
        %{shown($action)},
    }), $status);
}


# GET /machineactions
sub list {
    my ($state, $request) = @_;

    advance($state);

    my %ask = @{$request->{params}};
    my ($top, $skip) = @ask{qw($top $skip)};

    my $rows = eval {
        for my $number (grep { defined } $top, $skip) {
            die "'$number' is not a non-negative integer.\n"
                if $number !~ /^\d{1,15}$/;
        }
        my $rows = [reverse map { shown($_) } @{$state->{actions}}];
        if (defined $ask{'$filter'}) {
            my $test = compile_filter($ask{'$filter'}, \%FIELDS);
            $rows = [grep { $test->($_) } @$rows];
        }
        if (defined $ask{'$orderby'}) {
            my $order = compile_order($ask{'$orderby'}, \%FIELDS);
            $rows = [sort { $order->($a, $b) } @$rows];
        }
        $rows;
    };
    return Sim::Api::error($state, 400, 'ODataError', $@ =~ s/\n\z//r)
        if !$rows;

    my $total = @$rows;
    splice @$rows, 0, $skip if $skip;
    $top //= 10_000;
    $#$rows = $top - 1 if @$rows > $top;

    my $answer = Sim::Api::odata(envelope(
        Sim::Api::context($state, 'MachineActions'),
        lc($ask{'$count'} // '') eq 'true' ? $total : undef,
        [map { encode($_) } @$rows]));
    $answer->{rows} = @$rows;

    return $answer;
}


# An action by its GUID, or (undef, refusal).
sub by_id {
    my ($state, $id) = @_;

    return (undef, Sim::Api::error($state, 400, 'BadRequest',
        "The key value ($id) from request is not valid. The key value should "
        . "be format of type 'Edm.Guid'.")) if $id !~ $GUID;

    advance($state);

    my ($action) = grep { $_->{id} eq lc $id } @{$state->{actions}};

    return $action ? ($action, undef)
        : (undef, Sim::Api::error($state, 404, 'ResourceNotFound',
            "MachineAction $id was not found"));
}


sub get {
    my ($state, $request, $id) = @_;

    my ($action, $fault) = by_id($state, $id);

    return $fault // entity($state, $action, 200);
}


sub cancel {
    my ($state, $request, $id) = @_;

    my ($action, $fault) = by_id($state, $id);
    return $fault if $fault;

    my ($body, $refusal) = body($state, $request);
    return $refusal if $refusal;

    return Sim::Api::error($state, 400, 'BadRequest',
        "Machine action $id cannot be cancelled in status "
        . "$action->{status}") if !$OPEN{$action->{status}};

    my $now = iso($state->now);

    @{$action}{qw(status cancellationRequestor cancellationComment
        cancellationDateTimeUtc lastUpdateDateTimeUtc errorHResult)} =
        ('Cancelled', $state->{app_oid}, $body->{Comment}, $now, $now,
        $HRESULT{Cancelled});

    return entity($state, $action, 200);
}

1;
