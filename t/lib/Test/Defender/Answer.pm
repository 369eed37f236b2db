package Test::Defender::Answer;

# What an answer of the API says, as one short text to compare with.

use strict;
use warnings;

use Exporter qw(import);
use Test::More ();

our @EXPORT_OK = qw(outcome outcome_field secret_is_inside);


# "200", or for a problem "409 not_verified".
sub outcome {
    my ($r) = @_;

    my $problem = problem($r);

    return join ' ', grep { defined } $r->status, $problem->{code};
}


# The same with the field that a problem names: "400 invalid_ip ip".
sub outcome_field {
    my ($r) = @_;

    my $problem = problem($r);

    return join ' ', grep { defined } $r->status, @$problem{qw(code field)};
}


sub problem {
    my ($r) = @_;

    return {} if ($r->header('Content-Type') // '')
        ne 'application/problem+json' || $r->body eq '';

    return $r->json;
}


# Looks for a secret wherever it must not be: in answers, logs (the error log
# at debug level), Redis, and what nginx -T prints.
sub secret_is_inside {
    my ($t, $secret, @answers) = @_;

    my $found = grep { /$secret/ } @answers;
    Test::More::is($found, 0, 'in none of ' . @answers . ' answers');

    for my $log (qw(error_log access_log)) {
        my @lines = grep { /$secret/ } split /\n/, $t->$log;
        Test::More::is(scalar @lines, 0, "not in the $log")
            or Test::More::diag(map { substr($_, 0, 200) . "\n" } @lines);
    }

    for my $key ($t->redis->keys) {
        my $dump = eval { $t->redis->cmd(DUMP => $key) } // '';
        Test::More::unlike($dump, $secret, "not in Redis: $key");
    }

    my (undef, $shown) = $t->nginx_test('-T');
    Test::More::unlike($shown, $secret, 'not in "nginx -T"');
}

1;
