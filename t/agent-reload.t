#!/usr/bin/perl

# Reloads, stops and crashes: old workers leave at once whatever the agent is
# doing, and polling goes on in its rhythm.

use strict;
use warnings;

use JSON::PP ();
use POSIX    qw(strftime);
use Test::More;
use Time::HiRes qw(time);

use lib 't/lib';
use Test::Defender::Agent qw(start_configured second_host status poll ask_poll
    settle fleet walks pages holder generation wait_generation agent_pid id_of);
use Test::Defender::Process qw(start_process);

my $t = start_configured(-devices => fleet(1 .. 6),
    http => 'defender_page_size 2;',
    server => 'location /slow/ { root %%DIR%%/files; limit_rate 20k; }');
my $sim = $t->sim;

$sim->knobs(rate_minute => undef, rate_hour => undef);


# Reloads and waits until the workers of before are gone; seconds it took.
sub reload_and_leave {
    my ($what, $seconds) = @_;

    my %old   = map { $_ => 1 } $t->all_worker_pids;
    my $began = time;

    $t->reload;
    $t->wait_for(sub { !grep { $old{$_} } $t->all_worker_pids },
        $seconds // 3, "$what: old workers are gone");

    return time - $began;
}


sub wait_holder {
    my %worker = map { $_ => 1 } $t->worker_pids;

    return $t->wait_for(sub {
        return $worker{agent_pid($t)} && status($t)->{leaseHolderIsThisHost};
    }, 10, 'a new worker holds the lease');
}


subtest 'a reload while idle' => sub {
    my $status = status($t);
    my $walks  = walks($t);

    cmp_ok(reload_and_leave('idle'), '<', 3, 'in time');
    wait_holder();
    is(walks($t), $walks, 'is no reason to poll');
    is(status($t)->{nextPoll}, $status->{nextPoll}, 'next poll as planned');
    is_deeply(status($t)->{lastGoodPoll}, $status->{lastGoodPoll},
        'last good poll');
    is($t->entity('10.20.7.1')->{match}, 'exact', 'look-ups');
};


subtest 'two reloads in a row' => sub {
    my $walks = walks($t);

    $t->reload;
    reload_and_leave('two');
    wait_holder();
    is(walks($t), $walks, 'no poll');
};


subtest 'the poll comes when it is due, after a reload' => sub {
    my $before = generation($t);
    my $walks  = walks($t);

    # The plan lies in Redis. The worker that leaves writes its own, so the
    # other one is put there when it is gone.
    $t->stop;
    my $plan = $t->json_decode($t->redis->cmd(GET => 'defender:status'));
    my $due  = time + 4;
    $plan->{nextPoll} = strftime('%Y-%m-%dT%H:%M:%SZ', gmtime $due);
    $t->redis->cmd(SET => 'defender:lease', 'other:1:x', PX => 1500);
    $t->redis->cmd(SET => 'defender:status', $t->json_encode($plan));
    $t->run;
    $t->reload;

    wait_generation($t, $before + 1, 15);
    is(walks($t), $walks + 1, 'one walk');
    my @log = $sim->log(family => 'machines');
    cmp_ok($log[-4]{time}, '>=', int $due, 'not before its time');
};


subtest 'a reload in the middle of a poll' => sub {
    my $before = generation($t);

    $sim->devices(fleet(1 .. 8));
    $sim->clear_log;
    $sim->knobs(page_latency_ms => {2 => 2500});
    ask_poll($t);
    $t->wait_for(sub { pages($t) >= 2 }, 10, 'in the middle');

    cmp_ok(reload_and_leave('poll'), '<', 3, 'the poll holds nobody');
    $sim->knobs(page_latency_ms => 0);
    wait_generation($t, $before + 1, 10);
    is($t->redis->cmd(HLEN => 'defender:devices'), 8, 'the next one polls');
    is(walks($t), 2, 'from the first page on');
    wait_holder();
    is(walks($t), 2, 'once');
    is_deeply([$t->redis->keys('defender:stage:*')], [], 'nothing is left');
};


# Each way in which the API can keep a poll waiting.
for my $case (
    ['before the header', {hang => 'header'}],
    ['in the body', {hang => 'body'}],
    ['at sign-in', {token_latency_ms => 60_000, revoke_tokens => 1}],
    ['byte by byte', {trickle_ms => 500}])
{
    my ($name, $knobs) = @$case;

    subtest "a reload while a poll hangs $name" => sub {
        my $before = generation($t);

        $sim->clear_log;
        $knobs->{revoke_tokens} = JSON::PP::true if $knobs->{revoke_tokens};
        $sim->knobs(%$knobs);
        ask_poll($t);
        $t->wait_for(sub { status($t)->{polling} && $sim->log }, 10, 'hangs');

        is($t->get('/defender/status', role => 'viewer')->status, 200,
            'requests are served');
        cmp_ok(reload_and_leave($name), '<', 3, 'old workers leave');

        $sim->reset_knobs;
        $sim->knobs(rate_minute => undef, rate_hour => undef);
        reload_and_leave('once more');
        wait_generation($t, $before + 1, 20);
    };
}


subtest 'twenty reloads' => sub {
    my $walks = walks($t);

    $t->reload for 1 .. 20;
    $t->wait_for(sub { $t->all_worker_pids == 1 }, 5, 'one worker is left');
    wait_holder();
    is(walks($t), $walks, 'no poll');
    is(poll($t)->{result}, 'ok', 'polling works');
    is($t->redis->cmd('INFO', 'clients') =~ /connected_clients:(\d+)/ && $1 <= 4,
        1, 'connections to Redis do not pile up');
};


subtest 'an old worker that must stay' => sub {
    mkdir $t->dir . '/files';
    mkdir $t->dir . '/files/slow';
    $t->write_file('files/slow/big', 'x' x 100_000);

    my $c = $t->connect;
    $c->send("GET /slow/big HTTP/1.1\r\nHost: x\r\n\r\n");
    $t->wait_for(sub {
        my $open = $t->error_log;
        return $open =~ m{http request line: "GET /slow/big};
    }, 5, 'the download is on');

    my ($old) = $t->worker_pids;
    my $walks = walks($t);

    $t->reload;
    wait_holder();
    ok(scalar(grep { $_ == $old } $t->all_worker_pids), 'it is still there');

    is(poll($t)->{result}, 'ok', 'the new one polls');
    is(walks($t), $walks + 1, 'and the old one does not');
    is($c->response('GET')->body, 'x' x 100_000, 'the download is whole');
    $t->wait_for(sub { $t->all_worker_pids == 1 }, 5, 'then it leaves');
};


subtest 'a stop while a poll hangs' => sub {
    $sim->knobs(hang => 'body');
    ask_poll($t);
    $t->wait_for(sub { status($t)->{polling} }, 10, 'hangs');

    my $began = time;
    is($t->stop, 0, 'exit status');
    cmp_ok(time - $began, '<', 3, 'at once');
    is($t->redis->cmd(EXISTS => 'defender:lease'), 0,
        'the lease is given back');
    $sim->reset_knobs;
};


subtest 'a started nginx polls at once' => sub {
    my $before = generation($t);

    $sim->clear_log;
    $t->run;
    wait_generation($t, $before + 1, 10);
    is(walks($t), 1, 'one walk');
};


subtest 'the snapshot serves before Redis does' => sub {
    $t->wait_match('10.20.7.8', 'exact');
    $t->stop;

    my $dump = {map { $_ => $t->redis->cmd(DUMP => $_) }
        $t->redis->keys('defender:*')};
    $t->redis->stop;

    $t->run;
    is($t->entity('10.20.7.8')->{match}, 'exact', 'from the first request');
    $t->wait_for(sub { (status($t)->{health} // '') eq 'cache-down' }, 10,
        'status');
    is(status($t)->{configured}, 'unknown', 'configured');
    is(status($t)->{cache}{state}, 'down', 'cache');

    $t->redis->start;
    $t->redis->cmd(RESTORE => $_, 0, $dump->{$_}) for sort keys %$dump;
    $t->wait_for(sub { status($t)->{configured} eq 'enabled' }, 20,
        'Redis is back');
    wait_holder();
};


subtest 'a single process' => sub {
    $t->stop;
    my $before = generation($t);

    $t->conf($t->standard_conf(main => 'master_process off;',
        http => 'defender_page_size 2;'));
    {
        local $ENV{DFD_VALGRIND} = $ENV{DFD_VALGRIND} // 0;
        no warnings 'redefine';
        local *Test::Defender::worker_pids = sub { return $_[0]{pid} };

        $t->run;
        wait_generation($t, $before + 1, 10);
        is($t->wait_match('10.20.7.1', 'exact')->{id}, id_of('01'),
            'look-ups');

        $sim->knobs(hang => 'body');
        ask_poll($t);
        $t->wait_for(sub { status($t)->{polling} }, 10, 'a poll hangs');
        is($t->stop, 0, 'leaves when asked');

        # Reloading it is not supported; it must not do harm either. nginx
        # itself crashes at a stop after it, in any thread pool.
        $t->run;
        $t->wait_for(sub { holder($t) ne '' }, 10, 'polls again');
        kill 'HUP', $t->pid;
        ok($t->wait_for(sub { $t->error_log =~ /cannot be reloaded/ }, 10,
            'says that it stops'), 'a reload is refused');
        is($t->redis->cmd(EXISTS => 'defender:lease'), 0,
            'the lease is given back then, too');
        kill 'KILL', $t->pid;
        $t->stop;
    }
    is($t->redis->cmd(EXISTS => 'defender:lease'), 0,
        'the lease is given back');
};


subtest 'a binary upgrade' => sub {
    # Only a daemon can have a second master; both are stopped by hand.
    my $u = second_host($t, http => 'defender_page_size 2;');
    $u->write_file('nginx.conf',
        $u->read_file('nginx.conf') =~ s/daemon off;/daemon on;/r);

    my $pid_file = sub {
        my ($pid) = $u->read_file('nginx.pid') =~ /^(\d+)$/m;
        return $pid;
    };

    $sim->reset_knobs;
    $sim->knobs(rate_minute => undef, rate_hour => undef);
    start_process(argv => [$u->command], env => $u->environment,
        out => $u->dir . '/nginx.out');
    my $old = $u->wait_for($pid_file, 15, 'a daemon');
    $u->{started} = 1;
    $u->wait_for(sub { status($u)->{leaseHolderIsThisHost} }, 10, 'polls');
    $u->wait_for(sub { !status($u)->{polling} }, 10, 'has polled');
    my $walks = walks($t);

    # The new master has a zone of its own: only the lease knows who polls.
    kill 'USR2', $old;
    my $new = $u->wait_for(sub {
        my $pid = $pid_file->();
        return $pid && $pid != $old ? $pid : undef;
    }, 20, 'a second master') // die;
    $t->wait_for(sub { 2 == (() = $t->redis->cmd(CLIENT => 'LIST')
        =~ /name=defender-agent/g) }, 10, 'two agents');
    settle($t);
    is(walks($t), $walks, 'is no reason to poll');

    my $holder = agent_pid($t);
    my $before = generation($t);
    ask_poll($t);
    wait_generation($t, $before + 1);
    is(walks($t), $walks + 1, 'one of them polls');

    kill 'QUIT', $old;
    $u->wait_for(sub { !kill 0, $old }, 10, 'the old master leaves');
    $t->wait_for(sub { agent_pid($t) && agent_pid($t) != $holder }, 10,
        'the new one has the lease');
    is($u->entity('10.20.7.1')->{match}, 'exact', 'look-ups');
    is(poll($u, redis => $t->redis)->{result}, 'ok', 'it polls');
    is(walks($t), $walks + 2, 'alone');

    kill 'QUIT', $new;
    $u->wait_for(sub { !kill 0, $new }, 10, 'leaves');
    $u->finish;
};


$t->done;
