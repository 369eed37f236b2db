package Bench::Report;

# The table on the screen, and results.json.

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP ();

our @EXPORT_OK = qw(report median);


sub median {
    my @sorted = sort { $a <=> $b } @_;

    return $sorted[@sorted / 2] if @sorted % 2;
    return ($sorted[@sorted / 2 - 1] + $sorted[@sorted / 2]) / 2;
}


# Prints the rows, writes them to $file when $save is true, and returns
# whether each ratio reaches its "at least".
sub report {
    my ($file, $save, @rows) = @_;

    my $good = 1;

    printf "\n%-22s %12s %12s %8s %9s %6s  %s\n",
        qw(name ours other ratio at-least aim unit);

    for my $row (@rows) {
        my $reached = $row->{ratio} >= $row->{least};
        $good &&= $reached;

        printf "%-22s %12.4g %12.4g %8.2f %9.2f %6.2f  %s%s%s\n",
            @$row{qw(name ours other ratio least aim unit)},
            $row->{note} ? "  $row->{note}" : '',
            $reached     ? ''               : '  MISSED';
    }

    if ($save) {
        my $json = JSON::PP->new->canonical->pretty->allow_nonref;

        open my $fh, '>', $file or die "$file: $!\n";
        print $fh $json->encode([map {
            my %row = %$_;
            +{map { $_ => $row{$_} } qw(name ours other ratio unit runs)}
        } @rows]);
        close $fh or die "$file: $!\n";
    }

    return $good;
}


1;
