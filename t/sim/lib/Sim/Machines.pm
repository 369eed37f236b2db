package Sim::Machines;

# Reads of the machine resource.

use strict;
use warnings;

use Digest::SHA qw(sha1_hex);
use List::Util  qw(shuffle);
use Sim::Clock  qw(iso parse_iso SECOND);
use Sim::Json   qw(decode encode envelope @MACHINE_KEYS);
use Sim::OData  qw(compile_filter compile_order);

# The fields that may be filtered on, with their types.
our %FIELDS = (
    (map { $_ => 'string' } qw(computerDnsName id version deviceValue
        aadDeviceId exposureLevel onboardingStatus lastIpAddress healthStatus
        osPlatform riskScore)),
    machineTags => 'list',
    lastSeen    => 'time',
    rbacGroupId => 'number',
);

my %OPTION = map { $_ => 1 }
    qw($top $skip $count $select $filter $orderby $expand);


# GET /machines
sub list {
    my ($state, $request) = @_;

    my $ask = eval { options($state, $request->{params}) };
    return Sim::Api::error($state, 400, 'ODataError', $@ =~ s/\n\z//r)
        if !$ask;

    my $scripted = page_status($state, $ask->{page});
    return $scripted if $scripted;

    if (defined(my $to = $state->knob('location'))) {
        return {status => 302, headers => {Location => $to}};
    }

    my $matching = matching($state, $ask);
    my ($rows, $more) = page($state, $ask, $matching);

    return Sim::Api::error($state, 404, 'ResourceNotFound',
        'No recent machines were found')
        if !@$rows && !$ask->{skip} && $state->knob('empty_as') eq '404';

    my $answer = Sim::Api::odata(envelope(
        Sim::Api::context($state, 'Machines'),
        $ask->{count}
            ? $matching ? scalar @$matching : $state->{fleet}->count : undef,
        $rows, next_link($state, $request, $ask, $more)));

    $answer->{page} = $ask->{page};
    $answer->{rows} = @$rows;

    return $answer;
}


# Query options -> {top, skip, size, page, count, select, filter, order}; dies
# with the text of an ODataError.
sub options {
    my ($state, $params) = @_;

    my %ask;
    my @pairs = @$params;

    while (my ($name, $value) = splice @pairs, 0, 2) {
        next if $name !~ /^\$/;
        die "The query option '$name' is not supported.\n" if !$OPTION{$name};
        die "The query option '\$expand' is not allowed.\n"
            if $name eq '$expand';
        $ask{substr $name, 1} = $value;
    }

    # Its links carry a filter that is none.
    delete @ask{qw(filter skip)} if $state->knob('next_link') eq 'broken';

    for my $name (qw(top skip)) {
        die "Invalid value '$ask{$name}' for \$$name query option found. The "
            . "\$$name query option requires a non-negative integer value.\n"
            if defined $ask{$name} && $ask{$name} !~ /^\d{1,15}$/;
    }

    my $most = $state->knob('max_top');
    die "The limit of '$most' for Top query has been exceeded. The value from "
        . "the incoming request is '$ask{top}'.\n"
        if defined $ask{top} && $ask{top} > $most
        && $state->knob('over_max') eq 'error';

    my $size = $ask{top} // $state->knob('page_size');
    $size = $most if defined $ask{top} && $size > $most;

    my $rows = $state->knob('max_rows');
    $size = $rows if defined $rows && $size > $rows;

    $ask{size} = $size;
    $ask{skip} //= 0;
    $ask{page} = $size ? int($ask{skip} / $size) + 1 : 1;
    $ask{count} = lc($ask{count} // '') eq 'true';

    compile(\%ask);

    return \%ask;
}


sub compile {
    my ($ask) = @_;

    if (defined $ask->{filter}) {
        $ask->{uses} = [grep { index($ask->{filter}, $_) >= 0 } keys %FIELDS];
        $ask->{filter} = compile_filter($ask->{filter}, \%FIELDS);
    }

    if (defined $ask->{orderby}) {
        $ask->{order} = compile_order($ask->{orderby}, \%FIELDS);
        $ask->{uses} = [keys %FIELDS];
    }

    if (defined $ask->{select}) {
        my %known = map { $_ => 1 } @MACHINE_KEYS;
        $ask->{select} = [split /\s*,\s*/, $ask->{select}];
        for my $name (@{$ask->{select}}) {
            die "Could not find a property named '$name' on type "
                . "'microsoft.windowsDefenderATP.api.Machine'.\n"
                if !$known{$name};
        }
    }
}


# Knob page_status: {"2": {"status", "headers", "body", "times"}}
sub page_status {
    my ($state, $page) = @_;

    my $one = $state->knob('page_status')->{$page} or return undef;

    return undef if !$state->take($one, 'times');

    my $answer = Sim::Api::scripted($one);
    $answer->{page} = $page;

    return $answer;
}


# Positions of the devices that $filter leaves, or undef for all of them.
sub matching {
    my ($state, $ask) = @_;

    return undef if !$ask->{filter} && !$ask->{order};

    my $fleet = $state->{fleet};
    my @found = map { [$_, view($fleet, $_, $ask->{uses})] }
        0 .. $fleet->count - 1;

    @found = grep { $ask->{filter}->($_->[1]) } @found if $ask->{filter};
    @found = sort { $ask->{order}->($a->[1], $b->[1]) } @found
        if $ask->{order};

    return [map { $_->[0] } @found];
}


# Only the members in use, cut out of the text: decoding 100,000 whole devices
# for a filter takes half a minute.
sub view {
    my ($fleet, $at, $names) = @_;

    my $text = $fleet->text($at);
    my %view;

    for my $name (@$names) {
        my ($value) = $text
            =~ /"\Q$name\E":("(?:[^"\\]|\\.)*"|\[[^]]*\]|[^,}\]]+)/ or next;
        $view{$name} = $value =~ /^"([^"\\]*)"$/ ? $1
            : decode("[$value]")->[0];
    }

    return \%view;
}


# The rows of one page as JSON texts, and whether more would follow.
sub page {
    my ($state, $ask, $matching) = @_;

    my $fleet = $state->{fleet};
    my $total = $matching ? @$matching : $fleet->count;
    my $size  = $ask->{size};
    my $skip  = $ask->{skip};

    $skip = 0
        if $state->knob('repeat_page') || $state->knob('next_link') eq 'broken';

    # Knob duplicate: the first row of a page repeats the last one of the page
    # before, which is what a fleet looks like that grows during a walk.
    my $place = $state->knob('duplicate') && $size > 1
        ? sub { $_[0] - int $_[0] / $size } : sub { $_[0] };

    my $order = ($state->knob('shuffle') // '') eq 'between'
        ? [shuffle 0 .. $total - 1] : undef;

    my @places;
    for my $row ($skip .. $skip + $size - 1) {
        my $at = $place->($row);
        last if $at >= $total;
        push @places, $order ? $order->[$at] : $at;
    }

    @places = shuffle @places if ($state->knob('shuffle') // '') eq 'within';

    my @rows = map { $fleet->text($matching ? $matching->[$_] : $_) } @places;
    @rows = map { selected($_, $ask->{select}) } @rows if $ask->{select};

    return (\@rows, $place->($skip + $size) < $total);
}


sub selected {
    my ($text, $names) = @_;

    my $data = decode($text);

    return encode({map { $_ => $data->{$_} }
        grep { exists $data->{$_} } @$names});
}


# The service leaves the link out when $top is given.
sub next_link {
    my ($state, $request, $ask, $more) = @_;

    my $mode = $state->knob('next_link');
    my $size = $ask->{size};

    return broken_link($request, $size) if $mode eq 'broken';
    return undef if $mode eq 'none' || !$more;
    return undef if $mode eq 'auto' && defined $ask->{top};

    my $base = $request->{base};
    $base = 'https://api.attacker.example' if $mode eq 'foreign';
    $base = $mode if $mode =~ m{^https?://};

    my @kept = grep { !/^(?:\$|%24)skip=/i } split /&/, $request->{query};

    return "$base$request->{path}?"
        . join('&', @kept, '$skip=' . ($ask->{skip} + $size));
}


# The defect reported from the field: each link loses the names of the options
# that it was asked with, and the offset never moves.
sub broken_link {
    my ($request, $size) = @_;

    my @options = split /&/, $request->{query};
    my @kept    = @options
        ? map { s/^[^=]*=//r } @options : ();

    my $query = @options
        ? join('&', map { "=$_" } @kept) : '$filter=x';

    return "$request->{base}$request->{path}?$query&\$skip=$size";
}


# GET /machines/{id or name}
sub get {
    my ($state, $request, $key) = @_;

    my $at = $state->{fleet}->find($key);
    return not_found($state, $key) if !defined $at;

    return Sim::Api::odata('{"@odata.context":'
        . encode(Sim::Api::context($state, 'Machines/$entity')) . ','
        . substr($state->{fleet}->text($at), 1));
}


sub not_found {
    my ($state, $key) = @_;

    return Sim::Api::error($state, 404, 'ResourceNotFound',
        "Machine $key was not found");
}


# GET /machines/findbyip(ip='10.0.0.1',timestamp=2019-09-22T08:44:05Z)
sub find_by_ip {
    my ($state, $request, $arguments) = @_;

    my ($ip, $time) = $arguments
        =~ /^\s*ip\s*=\s*'([^']*)'\s*,\s*timestamp\s*=\s*([^\s']+)\s*$/
        or return Sim::Api::error($state, 400, 'BadRequest',
            "The arguments '$arguments' are not valid.");

    return Sim::Api::error($state, 400, 'InvalidIpAddress',
        "The IP address '$ip' is not valid")
        if $ip !~ /^(?:\d{1,3}\.){3}\d{1,3}$/ && $ip !~ /^[0-9a-f:.]*:[0-9a-f:.]*$/i
        || grep { $_ > 255 } $ip =~ /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/;

    my $moment = parse_iso($time);
    return Sim::Api::error($state, 400, 'BadRequest',
        "The timestamp '$time' is not valid.") if !defined $moment;
    return Sim::Api::error($state, 400, 'InvalidInput',
        'The timestamp must be within the past 30 days.')
        if $moment < $state->now - 30 * 86_400 * SECOND
        || $moment > $state->now + 15 * 60 * SECOND;

    my $fleet = $state->{fleet};
    my @rows  = map { $fleet->text($_) }
        grep { $fleet->had_address($_, $ip, $moment) }
        candidates($fleet, $ip);

    my $answer = Sim::Api::odata(
        envelope(Sim::Api::context($state, 'Machines'), undef, \@rows));
    $answer->{rows} = @rows;

    return $answer;
}


# Handed-in devices, and the generated one that has this address.
sub candidates {
    my ($fleet, $ip) = @_;

    my @places = (0 .. $fleet->records - 1);

    if ($ip =~ /^10\.(\d+)\.(\d+)\.(\d+)$/ && $1 >= 64 && $1 < 128) {
        my $index = (($1 - 64) * 256 + $2) * 256 + $3 - 1;
        my $at = $index < 0 ? undef
            : $fleet->find(Sim::Fleet::generated_id($index));
        push @places, $at if defined $at;
    }

    return @places;
}


# GET /machines/{id}/logonusers
sub logon_users {
    my ($state, $request, $key) = @_;

    my $at = $state->{fleet}->find($key);
    return not_found($state, $key) if !defined $at;

    my $name = ($state->{fleet}->data($at)->{computerDnsName} // 'host');
    my ($host) = lc($name) =~ /^([^.]*)/;
    my $number = hex substr sha1_hex($host), 0, 4;
    my $seen   = iso($state->now - 3600 * SECOND, 0);

    my $user = '{"id":' . encode("$host\\user$number")
        . qq(,"accountName":"user$number","accountDomain":) . encode($host)
        . qq(,"accountSid":null,"firstSeen":"$seen","lastSeen":"$seen",)
        . '"mostPrevalentMachineId":null,"leastPrevalentMachineId":null,'
        . '"logonTypes":"Interactive","logOnMachinesCount":null,'
        . '"isDomainAdmin":false,"isOnlyNetworkUser":null}';

    return Sim::Api::odata(
        envelope(Sim::Api::context($state, 'Users'), undef, [$user]));
}


# GET /machines/{id}/alerts: this route refuses every OData option.
sub alerts {
    my ($state, $request, $key) = @_;

    return Sim::Api::error($state, 400, 'BadRequest',
        'The query parameters are not supported on this resource.')
        if grep { /^\$/ } @{$request->{params}};

    my $at = $state->{fleet}->find($key);
    return not_found($state, $key) if !defined $at;

    my $rows = $state->{fleet}->own($at)->{'@alerts'} // [];

    return Sim::Api::odata(envelope(Sim::Api::context($state, 'Alerts'),
        undef, [map { encode($_) } @$rows]));
}


# GET /alerts: what other clients use to see whether a token works.
sub all_alerts {
    my ($state) = @_;

    return Sim::Api::odata(
        envelope(Sim::Api::context($state, 'Alerts'), undef, []));
}

1;
