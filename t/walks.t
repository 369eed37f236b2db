#!/usr/bin/perl

# The walk through the list of machines: what readers see while it is being
# read; lists that rot, shrink or come in odd pieces; tokens that are none or
# another API's; devices that Redis has lost.

use strict;
use warnings;

use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Agent qw(start_configured second_host status poll ask_poll
    known unchanged fleet pages stored_ids meta generation wait_ip_keys id_of);

my $TRUE = JSON::PP::true;


my $t     = start_configured(http => 'defender_page_size 3;');
my $sim   = $t->sim;
my $redis = $t->redis;
my $host  = '127\.0\.0\.1:' . $sim->port;


subtest 'what readers see while a list is being read' => sub {
    known($t, 1 .. 4);
    wait_ip_keys($t);
    my $before = generation($t);

    $sim->devices(fleet(11 .. 25));
    $sim->clear_log;
    $sim->knobs(revoke_tokens => $TRUE, token_calls => [2, 100],
        page_latency_ms => {3 => 400, 4 => 400, 5 => 400, 6 => 400});
    ask_poll($t);
    $t->wait_for(sub { pages($t) >= 2 }, 10, 'it has begun');

    # What is read between two looks at the same generation is of it.
    my (%seen, $rounds);

    $t->wait_for(sub {
        my %now = (
            devices => join(' ', map { substr $_, 0, 2 } stored_ids($t)),
            keys    => join(' ', map { /([^.]+)$/ }
                $redis->keys('defender:ip:*')),
            old     => $t->entity('10.20.7.1')->{match},
            new     => $t->entity('10.20.7.11')->{match},
        );

        return 1 if generation($t) > $before;

        $rounds++;
        $seen{$_}{$now{$_}}++ for keys %now;

        return 0;
    }, 20, 'the new generation');

    cmp_ok($rounds // 0, '>=', 1, 'they read meanwhile');
    is_deeply({map { $_ => [sort keys %{$seen{$_}}] } keys %seen}, {
        devices => ['01 02 03 04'],
        keys    => ['1 2 3 4'],
        old     => ['exact'],
        new     => ['none'],
    }, 'nothing but the former devices');
    is(join(' ', map { hex substr $_, 0, 2 } stored_ids($t)),
        join(' ', 11 .. 25), 'then all of the new ones');

    is_deeply([pages($t)], ['0:401', '0:200', '3:200', '6:401', '6:200',
        '9:200', '12:200', '15:200'], 'two tokens died: one page again each');
    is(scalar $sim->log(family => 'token'), 2, 'with a new one');
    is($t->wait_match('10.20.7.25', 'exact')->{id}, id_of('19'), 'look-up');
    wait_ip_keys($t);
    is(scalar(my @keys = $redis->keys('defender:ip:*')), 15, 'keys');
};


subtest 'links that rot or lead astray' => sub {
    my $elsewhere = $t->raw_server(sub { $_[0]->reply(200,
        'application/json', '{"value":[]}') });

    known($t, 1 .. 6);
    my $before = generation($t);

    $sim->knobs(next_link => 'broken');
    my $last = poll($t);
    is($last->{result}, 'incomplete', 'names of options are lost: result');
    cmp_ok(scalar pages($t), '<=', 3, 'a handful of requests');
    unchanged($t, $before, 1 .. 6);

    for my $link ('foreign', $elsewhere->url) {
        $sim->devices(fleet(1 .. 7));
        $sim->clear_log;
        $sim->knobs(next_link => $link);
        is(poll($t)->{devices}, 7, "$link: all devices");
        is(scalar(grep { !/:200/ } pages($t)), 0, "$link: of the right host");
    }

    is_deeply([$elsewhere->log], [], 'the other one was not asked');
};


subtest 'a list that shrinks, is empty, and grows again' => sub {
    known($t, 1 .. 8);

    for my $case ([1 .. 3], [3], [1 .. 9]) {
        $sim->devices(fleet(@$case));
        is(poll($t)->{devices}, scalar @$case, 'devices');
        is_deeply([stored_ids($t)], [map { id_of(sprintf '%02x', $_) } @$case],
            'those and no others');
    }

    my $before = generation($t);
    $sim->devices([]);
    is(poll($t)->{result}, 'empty', 'nothing at all');
    unchanged($t, $before, 1 .. 9);
    is(status($t)->{health}, 'delayed', 'health');

    $sim->devices(fleet(4 .. 5));
    is(poll($t)->{result}, 'ok', 'some again');
    is(status($t)->{health}, 'healthy', 'health');
    is_deeply([stored_ids($t)], [map { id_of("0$_") } 4, 5], 'devices');
};


subtest 'pages in pieces of any size, compressed or not' => sub {
    known($t, 1 .. 8);

    my $first = 1;

    for my $knobs ({chunk_size => 1}, {chunk_size => 7, encoding => 'gzip'},
        {chunked => JSON::PP::false, shuffle => 'within'},
        {trickle_ms => 1, fault_page => 2})
    {
        my $title = $t->json_encode($knobs);

        $first++;
        $sim->devices(fleet($first .. 9));
        $sim->reset_knobs;
        $sim->knobs(rate_minute => undef, %$knobs);
        my $last = poll($t, seconds => 40);
        is($last->{result}, 'ok', "$title: result") or diag explain $last;
        is_deeply([stored_ids($t)], [map { id_of("0$_") } $first .. 9],
            "$title: devices");
    }
};


subtest 'a page instead of a token, and a token for another API' => sub {
    known($t, 1 .. 4);
    my $before = generation($t);

    for my $case (
        [{token_status => 200, token_type => 'text/html; charset=utf-8',
            token_body => '<!DOCTYPE html><title>Sign in to us</title>'},
            qr{$host\b.*200.*text/html}],
        [{wrong_audience => $TRUE}, qr/scope/],
        [{wrong_audience => $TRUE, unauthorized_body => 'empty'}, qr/scope/],
        [{api_raw => {status => 403, body => ''}}, qr/scope/])
    {
        my ($knobs, $words) = @$case;
        my $title = join ' ', sort keys %$knobs;

        $sim->reset_knobs;
        $sim->knobs(%$knobs, rate_minute => undef, revoke_tokens => $TRUE);
        $sim->clear_log;
        my $last = poll($t);

        isnt($last->{result}, 'ok', "$title: result");
        like($last->{message}, $words, "$title: what to look at");
        unlike($last->{message}, qr/secret|DOCTYPE|Sign in to us/i,
            "$title: and nothing else");
        cmp_ok(scalar(my @asked = $sim->log(family => 'token')), '<=', 2,
            "$title: one more sign-in at most");
        unchanged($t, $before, 1 .. 4);
    }

    unlike($t->error_log, qr/Sign in to us/, 'a page is not logged');
};


subtest 'devices that Redis has lost are not unknown devices' => sub {
    known($t, 1 .. 6);
    wait_ip_keys($t);

    my $other = second_host($t);

    for my $case (['one of them', [HDEL => 'defender:devices', id_of('01')]],
        ['all of them', [DEL => 'defender:devices']])
    {
        my ($title, $command) = @$case;

        $redis->cmd(@$command);

        # Who has read them goes on; who has not can tell nothing.
        is($t->entity('10.20.7.1')->{match}, 'exact', "$title: this host");

        $other->run;
        ok($other->wait_for(sub {
            $other->error_log
                =~ /no new snapshot.* has lost some of the devices/
        }, 15, "$title: told"), "$title: by name");
        is($other->entity("10.20.7.$_")->{match}, 'unavailable',
            "$title: a host that joins") for 1, 2;
        $other->stop;
        unlink $other->dir . '/error.log';
    }

    is(poll($t)->{result}, 'ok', 'the next poll');
    $other->run;
    is(($other->wait_match('10.20.7.1', 'exact') // {})->{id}, id_of('01'),
        'brings them back');
    $other->finish;
};

$t->done;
