package Test::Defender::Checks;

# What must be true of every nginx after every test, whatever it tested.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(log_problems leftover_files);

# Title => pattern of a line in the error log (or on stderr).
my @RULES = (
    ['no [alert] in the error log', qr/\[alert\]/],
    ['no [crit] or [emerg] in the error log', qr/\[(?:crit|emerg)\]/],
    ['no sanitizer report',
        qr/Sanitizer|runtime error:|^==\d+==ERROR|stack smashing/],
    ['no process killed by a signal',
        qr/exited on signal|exited with code [1-9]|exited with fatal code/],
);

# A worker that is killed is also an alert: allowing the signal allows both.
my $SIGNAL = qr/exited on signal/;


# Splits a log into what is wrong with it: a list of [title, [lines]]. Lines
# that match one of @allowed are no problem.
sub log_problems {
    my ($log, @allowed) = @_;

    my @found = map { [$_->[0], []] } @RULES;

    for my $line (split /\n/, $log) {
        for my $i (0 .. $#RULES) {
            next if $line !~ $RULES[$i][1];
            next if $i == 0 && $line =~ $SIGNAL;
            next if grep { $line =~ $_ } @allowed;
            push @{$found[$i][1]}, $line;
        }
    }

    return @found;
}


# Files in nginx's temporary directories. What is left after a proper stop was
# leaked by a request.
sub leftover_files {
    my ($dir) = @_;

    my @found;
    my @todo = grep { -d } map { "$dir/${_}_temp" }
        qw(client_body proxy fastcgi uwsgi scgi);

    while (defined(my $at = shift @todo)) {
        opendir my $dh, $at or next;
        for my $name (grep { !/^\.\.?$/ } readdir $dh) {
            -d "$at/$name" ? push @todo, "$at/$name"
                : push @found, "$at/$name";
        }
    }

    return @found;
}

1;
