package Sim::OData;

# The part of OData that public clients are seen to use: $filter with eq ne gt
# ge lt le, in (...), and, or, not, startswith(), any(); $orderby; $select.

use strict;
use warnings;

use Exporter   qw(import);
use Sim::Clock qw(parse_iso);

our @EXPORT_OK = qw(compile_filter compile_order);

my %COMPARE = (
    eq => sub { $_[0] == 0 },
    ne => sub { $_[0] != 0 },
    gt => sub { $_[0] > 0 },
    ge => sub { $_[0] >= 0 },
    lt => sub { $_[0] < 0 },
    le => sub { $_[0] <= 0 },
);


# Compiles $text for records with the given fields: name => 'string', 'number',
# 'time' or 'list'. Returns a predicate on a record; dies with a message that
# belongs into an ODataError.
sub compile_filter {
    my ($text, $fields) = @_;

    my $in = {text => $text, fields => $fields};
    pos($in->{text}) = 0;

    my $test = _or($in);

    die "Syntax error at position " . (pos($in->{text}) // 0)
        . " in '$text'.\n" if $in->{text} !~ /\G\s*\z/gc;

    return $test;
}


# "creationDateTimeUtc desc, id" -> comparison of two records.
sub compile_order {
    my ($text, $fields) = @_;

    my @keys;

    for my $part (split /,/, $text) {
        my ($name, $way) = $part =~ /^\s*(\w+)(?:\s+(asc|desc))?\s*$/i
            or die "Syntax error in \$orderby '$text'.\n";
        _known($name, $fields);
        push @keys, [$name, $fields->{$name},
            lc($way // 'asc') eq 'desc' ? -1 : 1];
    }

    return sub {
        my ($left, $right) = @_;

        for my $key (@keys) {
            my ($name, $type, $way) = @$key;
            my $order = _compare(_value($left->{$name}, $type),
                _value($right->{$name}, $type), $type);
            return $order * $way if $order;
        }

        return 0;
    };
}


sub _known {
    my ($name, $fields) = @_;

    die "Could not find a property named '$name'.\n"
        if !exists $fields->{$name};
}


sub _or {
    my ($in) = @_;

    my $left = _and($in);

    while ($in->{text} =~ /\G\s*or\b/gci) {
        my ($a, $b) = ($left, _and($in));
        $left = sub { $a->($_[0]) || $b->($_[0]) };
    }

    return $left;
}


sub _and {
    my ($in) = @_;

    my $left = _term($in);

    while ($in->{text} =~ /\G\s*and\b/gci) {
        my ($a, $b) = ($left, _term($in));
        $left = sub { $a->($_[0]) && $b->($_[0]) };
    }

    return $left;
}


sub _term {
    my ($in) = @_;

    if ($in->{text} =~ /\G\s*not\b/gci) {
        my $inner = _term($in);
        return sub { !$inner->($_[0]) };
    }

    if ($in->{text} =~ /\G\s*\(/gc) {
        my $inner = _or($in);
        $in->{text} =~ /\G\s*\)/gc or die "Missing ')'.\n";
        return $inner;
    }

    if ($in->{text} =~ /\G\s*startswith\(\s*(\w+)\s*,/gci) {
        my $name = $1;
        _known($name, $in->{fields});
        my $start = _literal($in, 'string');
        $in->{text} =~ /\G\s*\)/gc or die "Missing ')'.\n";
        return sub {
            defined $_[0]{$name} && index($_[0]{$name}, $start) == 0;
        };
    }

    $in->{text} =~ /\G\s*(\w+)/gc or die "A property name is expected.\n";
    my $name = $1;
    _known($name, $in->{fields});

    return _any($in, $name) if $in->{text} =~ m{\G/any\(}gc;

    my $type = $in->{fields}{$name};

    if ($in->{text} =~ /\G\s+in\s*\(/gci) {
        my @set = _literal($in, $type);
        push @set, _literal($in, $type) while $in->{text} =~ /\G\s*,/gc;
        $in->{text} =~ /\G\s*\)/gc or die "Missing ')'.\n";
        return sub {
            my $value = _value($_[0]{$name}, $type);
            grep { _compare($value, $_, $type) == 0 } @set;
        };
    }

    $in->{text} =~ /\G\s+(eq|ne|gt|ge|lt|le)\b/gc
        or die "An operator is expected after '$name'.\n";
    my $operator = $COMPARE{$1};
    my $operand  = _literal($in, $type);

    return sub {
        $operator->(_compare(_value($_[0]{$name}, $type), $operand, $type));
    };
}


# machineTags/any(tag: tag eq 'x')
sub _any {
    my ($in, $name) = @_;

    die "'$name' is not a collection.\n" if $in->{fields}{$name} ne 'list';

    $in->{text} =~ /\G\s*(\w+)\s*:\s*\1\s+eq\b/gc
        or die "Only any(x: x eq 'value') is understood.\n";
    my $wanted = _literal($in, 'string');
    $in->{text} =~ /\G\s*\)/gc or die "Missing ')'.\n";

    return sub { grep { $_ eq $wanted } @{$_[0]{$name} // []} };
}


sub _literal {
    my ($in, $type) = @_;

    return undef if $in->{text} =~ /\G\s*null\b/gc;

    if ($in->{text} =~ /\G\s*'((?:[^']|'')*)'/gc) {
        my $text = $1;
        die "A string cannot be compared with a property of type $type.\n"
            if $type eq 'time' || $type eq 'number';
        $text =~ s/''/'/g;
        return $text;
    }

    if ($in->{text} =~ /\G\s*(\d{4}-\d\d-\d\d[\dT:.Z]*)/gc) {
        my $ticks = parse_iso($1);
        die "'$1' is not a time.\n" if !defined $ticks;
        die "A time cannot be compared with a property of type $type.\n"
            if $type ne 'time';
        return $ticks;
    }

    if ($in->{text} =~ /\G\s*(-?\d+)\b/gc) {
        die "A number cannot be compared with a property of type $type.\n"
            if $type ne 'number';
        return $1;
    }

    die "A value is expected at position " . (pos($in->{text}) // 0) . ".\n";
}


sub _value {
    my ($raw, $type) = @_;

    return $type eq 'time' ? parse_iso($raw) : $raw;
}


# Null comes before everything.
sub _compare {
    my ($left, $right, $type) = @_;

    return defined $left ? 1 : defined $right ? -1 : 0
        if !defined $left || !defined $right;

    return $type eq 'string' ? $left cmp $right : $left <=> $right;
}

1;
