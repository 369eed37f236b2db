#!/usr/bin/perl

# The rooms of the house: who may include whom, and how large a file may be.

use strict;
use warnings;

use Test::More;
use FindBin ();

my $src = "$FindBin::Bin/../src";

my %may = (
    core   => [qw(core)],
    client => [qw(client)],
    host   => [qw(host core client)],
    agent  => [qw(agent host core client)],
    http   => [qw(http host core client)],
);

my (@wrong, @long, $includes);

for my $file (glob "$src/*.[ch] $src/*/*.[ch]") {
    my ($name) = $file =~ m{src/(.*)};
    my ($room) = $name =~ m{^(\w+)/};

    open my $fh, '<', $file or die "$file: $!\n";
    my @lines = <$fh>;

    push @long, "$name: " . @lines if @lines > 600;

    for (@lines) {
        next if !m{^\s*#\s*include\s+"(\w+)/} || !defined $room;
        $includes++;
        my $other = $1;
        push @wrong, "$name includes $other"
            if !grep { $_ eq $other } @{$may{$room}};
    }

    next if !defined $room || $room ne 'core';

    push @wrong, "$name includes nginx"
        if grep { /^\s*#\s*include\s+<(?:ngx|nginx)/ } @lines;
}

ok($includes > 100, 'includes were looked at');
is_deeply(\@wrong, [], 'nothing includes upward');
is_deeply(\@long, [], 'no file is longer than 600 lines');

done_testing;
