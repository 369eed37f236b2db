package Test::Defender::OpenApi;

# Reads docs/openapi.yaml and holds answers against it. Knows the keywords of
# JSON Schema that the file uses, and refuses others.

use strict;
use warnings;

use B ();
use CPAN::Meta::YAML ();
use JSON::PP ();

my %KNOWN = map { $_ => 1 } qw(type properties required additionalProperties
    items enum const pattern minimum maximum oneOf description writeOnly $ref);


sub new {
    my ($class, $file) = @_;

    return bless {doc => CPAN::Meta::YAML->read($file)->[0]}, $class;
}


sub doc { return $_[0]{doc} }


# What a "$ref" points to; dies when it points nowhere.
sub resolve {
    my ($self, $node) = @_;

    while (ref $node eq 'HASH' && defined $node->{'$ref'}) {
        my $ref = $node->{'$ref'};
        my (undef, @way) = split m{/}, $ref;
        $node = $self->{doc};
        $node = $node->{$_} // die "$ref: no such thing\n" for @way;
    }

    return $node;
}


# All texts after "$ref", wherever they are.
sub refs {
    my ($node) = @_;

    return map { refs($_) } @$node if ref $node eq 'ARRAY';
    return if ref $node ne 'HASH';

    return map { $_ eq '$ref' && !ref $node->{$_} ? $node->{$_}
        : refs($node->{$_}) } sort keys %$node;
}


# [method, path, operation] of each operation.
sub operations {
    my ($self) = @_;

    my $paths = $self->{doc}{paths};

    return map {
        my $path = $_;
        map { [uc $_, $path, $paths->{$path}{$_}] } sort keys %{$paths->{$path}}
    } sort keys %$paths;
}


# What is wrong with the answer to this call, or an empty list.
sub check_answer {
    my ($self, $method, $path, $r) = @_;

    my $operation = $self->{doc}{paths}{$path}{lc $method}
        // return "no $method $path";
    my $answer = $operation->{responses}{$r->status}
        // return 'status ' . $r->status;
    $answer = $self->resolve($answer);

    my @wrong;
    push @wrong, map { "no header $_" }
        grep { !defined $r->header($_) } sort keys %{$answer->{headers} // {}};

    if (!$answer->{content}) {
        push @wrong, 'a body' if $r->body ne '';
        return @wrong;
    }

    my $type   = $r->header('Content-Type') // 'none';
    my $schema = $answer->{content}{$type}
        // return @wrong, "content type $type";
    $schema = $schema->{schema};

    my @values = $type =~ /ndjson/ ? $r->json_lines : $r->json;
    @values = @{$values[0]} if @values == 1 && $type =~ /ndjson/
        && ref $values[0] eq 'ARRAY';

    return @wrong, map { $self->check($schema, $_, '') } @values;
}


# What is wrong with a value, each with the place where.
sub check {
    my ($self, $schema, $value, $at) = @_;

    $schema = $self->resolve($schema);
    return "$at: not a schema" if ref $schema ne 'HASH';

    my @wrong = map { "$at: unknown keyword $_" }
        grep { !$KNOWN{$_} } sort keys %$schema;
    my $kind  = kind($value);

    if (defined(my $type = $schema->{type})) {
        my @types = ref $type ? @$type : $type;
        return @wrong, "$at: $kind, not @types"
            if !grep { $_ eq $kind || $_ eq 'number' && $kind eq 'integer' }
                @types;
    }

    my $text = $kind eq 'boolean' ? ($value ? 'true' : 'false') : $value;

    push @wrong, "$at: not $schema->{const}"
        if defined $schema->{const} && $schema->{const} ne ($text // 'null');
    push @wrong, "$at: none of the values: " . ($text // 'null')
        if $schema->{enum} && !grep { $_ eq ($text // 'null') }
            @{$schema->{enum}};
    push @wrong, "$at: does not match"
        if $schema->{pattern} && $value !~ /$schema->{pattern}/;
    push @wrong, "$at: out of range"
        if $kind eq 'integer'
        && ($value < ($schema->{minimum} // $value)
            || $value > ($schema->{maximum} // $value));

    if (my $choices = $schema->{oneOf}) {
        my $fit = grep { !$self->check($_, $value, $at) } @$choices;
        push @wrong, "$at: fits $fit of oneOf" if $fit != 1;
    }

    push @wrong, $self->check_object($schema, $value, $at)
        if $kind eq 'object';

    if ($kind eq 'array' && $schema->{items}) {
        push @wrong, map {
            $self->check($schema->{items}, $value->[$_], "$at\[$_]")
        } 0 .. $#$value;
    }

    return @wrong;
}


sub check_object {
    my ($self, $schema, $value, $at) = @_;

    my $properties = $schema->{properties} // {};
    my @wrong = map { "$at.$_: missing" }
        grep { !exists $value->{$_} } @{$schema->{required} // []};

    for my $name (sort keys %$value) {
        if (exists $properties->{$name}) {
            push @wrong,
                $self->check($properties->{$name}, $value->{$name},
                "$at.$name");
        } elsif (($schema->{additionalProperties} // '') eq 'false') {
            push @wrong, "$at.$name: not documented";
        }
    }

    return @wrong;
}


sub kind {
    my ($value) = @_;

    return 'null'    if !defined $value;
    return 'boolean' if JSON::PP::is_bool($value);
    return lc(ref $value) =~ s/hash/object/r if ref $value;

    my $flags = B::svref_2object(\$value)->FLAGS;

    return 'string'  if $flags & B::SVf_POK;
    return 'integer' if $flags & B::SVf_IOK;
    return 'number';
}

1;
