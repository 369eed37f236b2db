package Bench::Scan;

# The scanner against parsers, in one process each: bench/scan.c measures them
# in turn over the same bytes.

use strict;
use warnings;

use FindBin ();
use Bench::Report qw(median);

my $root = "$FindBin::Bin/..";


sub measures {
    return (
        {name => 'scan_vs_jansson',  kind => 'scan', least => 12,
            aim => 40, other => 'jansson'},
        {name => 'scan_vs_simdjson', kind => 'scan', least => 0.3,
            aim => 1, other => 'simdjson'},
    );
}


# bytes/s: here more is better, so the ratio is ours / other
sub run {
    my (@measures) = @_;

    my $file = "$root/bench/work/suricata.ndjson";

    mkdir "$root/bench/work";

    open my $in, '<', "$root/t/detections/05-suricata-eve-alerts.ndjson"
        or die "sample: $!\n";
    my $sample = do { local $/; <$in> };

    open my $out, '>', $file or die "$file: $!\n";
    print $out $sample x 100;
    close $out or die "$file: $!\n";

    my %rate;

    for my $run (1 .. 5) {
        for my $line (`$root/build/bench/scan $file`) {
            my ($name, $value, $unit) = split ' ', $line;
            push @{$rate{$name}}, $value;
        }
    }

    return map {
        my $ours  = median(@{$rate{scanner}});
        my $other = median(@{$rate{$_->{other}}});

        +{%$_, ours => $ours / 1e9, other => $other / 1e9,
            ratio => $ours / $other, unit => 'GB/s', runs => 5}
    } @measures;
}


1;
