#!/usr/bin/perl

# The App Secret and the token come out nowhere; and what the two Redis
# accounts of conf-examples/redis-users.acl may do.

use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";

use IO::Select ();
use IO::Socket::UNIX ();
use JSON::PP ();
use MIME::Base64 qw(encode_base64 encode_base64url);
use Test::Defender;
use Test::Defender::Answer qw(outcome);
use Test::More;

use constant {
    TRUE  => JSON::PP::true,
    FALSE => JSON::PP::false,
};

my $SECRET = 'Zz~1+b/c=d&e%25.f_g-h#i?j k"l\\m' . 'canary1';
my $WRONG  = 'another-canary-2';

# The example as it is, but for the passwords, and a user for this test.
my $acl = Test::Defender->new;
my $example = $acl->read_file($acl->root . '/conf-examples/redis-users.acl');
$acl->finish;

my $users = $example =~ s/^#.*\n//mgr =~ s/\n\n+/\n/gr;
$users =~ s/>change-this-one/>module-pw/ or die;
$users =~ s/>change-this-too/>reader-pw/ or die;
(my $with_root = $users)
    =~ s/^user default off$/user default on >root-pw ~* &* +\@all/m or die;

my $t     = Test::Defender->new;
my $redis = $t->start_redis(tcp => 1, acl => $with_root);
$redis->{password} = 'default "root-pw"';

$t->start_sim(secret => $SECRET);
$t->sim->knobs(rate_minute => undef);

my $file = $t->write_file('redis.password', "module-pw\n", 0600);
$t->conf($t->standard_conf(workers => 2,
    redis => 'redis://defender@127.0.0.1:' . $redis->port
        . "/0 password_file=$file"))->run;

my @admin = (role => 'admin', user => 'kim');
my @answers;

# All that Redis is told, as somebody sees it who may watch.
my $monitor = IO::Socket::UNIX->new(Peer => $redis->socket) or die;
print $monitor qq{AUTH default "root-pw"\r\nMONITOR\r\n};


# A client with another account, which must not go before the server does.
my @clients;

sub as {
    my ($user, $password) = @_;

    push @clients, bless {%$redis, link => undef,
        password => qq{$user "$password"}}, ref $redis;

    return $clients[-1];
}


sub denied {
    my ($client, @command) = @_;

    eval { $client->cmd(@command) };

    return $@ =~ /NOPERM|can't access at least one of the keys/ ? 'NOPERM'
        : $@ || 'allowed';
}


sub ask {
    my ($method, $path, %more) = @_;

    my $r = $t->request($method, "/defender$path", @admin, %more);
    push @answers, $r->raw_header . $r->body;

    return $r;
}

my $connection = {
    tenantId  => $t->sim->tenant,
    appId     => $t->sim->app,
    appSecret => $SECRET,
};

subtest 'the module with its account' => sub {
    my $verify = sub {
        return ask(POST => '/config/verify', json => {@_})->json;
    };

    my $report = $verify->(%$connection, isolateEntity => TRUE);
    is($report->{verified}, TRUE, 'verified');
    is(ask(PUT => '/config', json => {%$connection, enabled => TRUE,
        isolateEntity => TRUE,
        verifyTicket => $report->{verifyTicket}})->status, 200, 'saved');
    $t->wait_devices(undef);
    is($t->wait_match('10.20.1.11', 'exact')->{ip}, '10.20.1.11',
        'devices are polled and looked up');
    $t->wait_for(sub { $redis->cmd(EXISTS => 'defender:ip:10.20.1.11') },
        10, 'and put into Redis');

    is($verify->(appSecret => $WRONG)->{verified}, FALSE, 'a wrong secret');
    is(outcome(ask(PUT => '/config', json => {appSecret => $WRONG})),
        '409 not_verified', 'a secret that was not verified');
    is(outcome(ask(PUT => '/config', headers =>
        ['Content-Type' => 'application/json'],
        body => qq({"appSecret":"$WRONG"}x))), '400 invalid_json',
        'a body that is no JSON');
    is(outcome(ask(PUT => '/config', headers =>
        ['Content-Type' => 'text/plain'], body => $SECRET)),
        '415 unsupported_media_type', 'the secret as plain text');
    is(outcome(ask(PUT => '/config', json => {tenantId => $SECRET})),
        '400 invalid_settings', 'the secret as tenant');
    is(outcome(ask(PUT => '/config', json => {$connection->%*,
        appSecret => "$SECRET "})), '400 invalid_settings',
        'the secret with a blank');
    like(ask(POST => '/sync', json => {})->status, qr/^(?:200|202|429)$/,
        'a sync');
    ask(GET => $_) for qw(/config /status /egress /audit?limit=1000);
    is(ask(PUT => '/config', json => {pollMinutes => 6})->status, 200,
        'a change');
    is(outcome(ask(PUT => '/config', json => {}, headers =>
        ['If-Match' => '"1"'])), '412 stale', 'a stale one');

    # A sign-in host that says it back.
    $t->sim->knobs(token_status => 400, token_body => $t->json_encode({
        error => 'invalid_client', error_description =>
            "AADSTS1: client_secret=$SECRET was refused"}));
    is($verify->(%$connection)->{verified}, FALSE, 'an echo');
    $t->sim->knobs(reset => TRUE, rate_minute => undef);

    ok($t->reload, 'a reload');
    $t->wait_for(sub { ask(GET => '/status')->json->{cache}{state}
        eq 'ready' }, 10, 'ready again');

    my $log = $redis->cmd('ACL', 'LOG');
    is_deeply([map { "@$_" } grep { "@$_" =~ /defender/ } @$log], [],
        'nothing was denied to the module');
};

subtest 'the reader' => sub {
    my $reader = as(reader => 'reader-pw');
    my ($id)   = @{$redis->cmd(HKEYS => 'defender:devices')};

    like($reader->cmd(GET => 'defender:ip:10.20.1.11'), qr/"match":"exact"/,
        'an address');
    is(scalar @{$reader->cmd(MGET => 'defender:ip:10.20.1.11',
        'defender:ip:10.20.1.12')}, 2, 'two of them');
    like($reader->cmd(HGET => 'defender:devices', $id), qr/^\{.*\}$/s,
        'a device');
    cmp_ok(@{$reader->cmd(HGETALL => 'defender:devices')}, '>', 2,
        'all devices');
    ok($reader->cmd(HSCAN => 'defender:devices', 0), '... in parts');
    cmp_ok($reader->cmd(HLEN => 'defender:devices'), '>', 1, '... counted');
    is($reader->cmd(HGET => 'defender:meta', 'schema'), 1, 'the schema');
    is($reader->cmd(EXISTS => 'defender:ip:203.0.113.99'), 0, 'no address');
    is_deeply($reader->cmd(HGETALL => 'defender:actions'), [], 'actions');

    my @denied = (
        [HGETALL => 'defender:config'], [HGET => 'defender:config', 'secret'],
        [HMGET => 'defender:config', 'settings', 'secret'],
        [GET => 'defender:lease'], [GET => 'defender:status'],
        [GET => 'defender:sync'], [EXISTS => 'defender:config'],
        [XREVRANGE => 'defender:audit', '+', '-'],
        [XRANGE => 'defender:audit', '-', '+'], [HLEN => 'defender:config'],
        [DUMP => 'defender:config'], [TYPE => 'defender:config'],
        [MGET => 'defender:ip:10.20.1.11', 'defender:lease'],
        [SMEMBERS => 'defender:ips'], [GET => 'other'],
        [SET => 'defender:ip:10.20.1.11', 'x'],
        [DEL => 'defender:ip:10.20.1.11'], [DEL => 'defender:devices'],
        [UNLINK => 'defender:meta'], [EXPIRE => 'defender:devices', 1],
        [HSET => 'defender:devices', 'x', '{}'],
        [HSET => 'defender:config', 'secret', 'x'],
        [HDEL => 'defender:meta', 'schema'],
        [RENAME => 'defender:devices', 'defender:meta'],
        [COPY => 'defender:config', 'defender:meta'],
        [GETDEL => 'defender:ip:10.20.1.11'],
        [GETEX => 'defender:ip:10.20.1.11', 'EX', 1],
        [XADD => 'defender:audit', '*', 'a', 'b'],
        [EVAL => q{return redis.call('GET', KEYS[1])}, 1,
            'defender:ip:10.20.1.11'],
        [EVAL => q{return redis.call('HGETALL', 'defender:config')}, 0],
        ['MONITOR'], [KEYS => '*'], [SCAN => 0], ['FLUSHALL'], ['FLUSHDB'],
        [CONFIG => 'GET', '*'], [ACL => 'LIST'], ['SAVE'], ['SHUTDOWN'],
        [CLIENT => 'LIST'], ['INFO'],
        [SUBSCRIBE => '__keyspace@0__:defender:config'],
        [SORT => 'defender:devices'], [MULTI =>],
        [RESTORE => 'defender:meta', 0, 'x'], [MIGRATE => 'h', 1, 'k', 0, 1],
    );

    for my $command (@denied) {
        is(denied($reader, @$command), 'NOPERM',
            join ' ', map { substr $_, 0, 40 } @$command);
    }

    my $module = as(defender => 'module-pw');
    for my $command ([GET => 'other'], ['FLUSHALL'], [CONFIG => 'GET', '*'],
        ['MONITOR'], [KEYS => '*'], [ACL => 'LIST'],
        [EVAL => q{return redis.call('GET', 'other')}, 0])
    {
        is(denied($module, @$command), 'NOPERM',
            "the module neither: @$command");
    }
};

subtest 'the example as it stands' => sub {
    my $own = Test::Defender->new;
    my $server = $own->start_redis(acl => $example
        =~ s/^#.*\n//mgr =~ s/\n\n+/\n/gr);
    like(eval { $server->cmd('GET', 'x') } // $@, qr/NOAUTH/,
        'redis-server takes it; nobody comes in without a password');
    $own->finish;
};

subtest 'who polls has it' => sub {
    plan skip_all => 'memory cannot be read here' if !length memory($t->pid);

    ok($t->wait_for(sub {
        return 1 == grep { index(memory($_), $SECRET) >= 0 } $t->worker_pids;
    }, 10, 'one worker with the secret'), 'in the memory of one worker');
};

subtest 'deleted' => sub {
    $redis->cmd('ACL', 'LOG', 'RESET');
    is(ask(DELETE => '/config')->status, 200, 'deleted');
    is($redis->cmd(HEXISTS => 'defender:config', 'secret'), 0,
        'the sealed secret is gone');
    ask(GET => '/audit');
    is_deeply($redis->cmd('ACL', 'LOG'), [], 'nothing was denied');
};

# Whole, and in each form that it takes on its way.
my %forms = (
    'the secret'         => $SECRET,
    'a part of it'       => 'canary1',
    'another one'        => $WRONG,
    'its base64'         => encode_base64($SECRET, ''),
    'its base64url'      => encode_base64url($SECRET),
    'the other\'s base64' => encode_base64($WRONG, ''),
    'its form'           => $SECRET =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ger,
    'its hexadecimal'    => unpack('H*', $SECRET),
    'a token'            => 'eyJ0eXAiOiJKV1Qi', # every JWT of the simulator
    'a bearer'           => 'Bearer ey',
);


sub found {
    my ($text) = @_;

    return join ', ', grep { index($text, $forms{$_}) >= 0 } sort keys %forms;
}

# What a process has written into its memory; empty where the kernel lets
# nobody but a debugger look.
sub memory {
    my ($pid) = @_;

    no warnings 'portable';
    open my $maps, '<', "/proc/$pid/maps" or die "maps: $!\n";
    open my $mem, '<:raw', "/proc/$pid/mem" or return '';

    my $all = '';
    while (my $line = <$maps>) {
        my ($from, $to) = $line =~ /^(\w+)-(\w+) rw/ or next;
        my $size = hex($to) - hex($from);

        # a sanitizer's shadow: terabytes of nothing
        next if $size > 1 << 30;

        my $part = '';
        sysseek $mem, hex $from, 0;
        sysread $mem, $part, $size;
        $all .= $part;
    }

    return $all;
}

subtest 'zero hits' => sub {
    is(found("x $SECRET y"), 'a part of it, the secret', 'what is looked for');
    cmp_ok(scalar(() = $t->error_log =~ /\[debug\]/g), '>', 1000,
        'the error log is at debug');
    cmp_ok($t->sim->log(family => 'token'), '>', 3, 'tokens were given');
    is($t->sim->log(family => 'token')
        && ($t->sim->log(family => 'token'))[0]->{form}{client_secret},
        $SECRET, 'and the secret was sent');

    is(found($t->error_log), '', 'error log');
    is(found($t->access_log), '', 'access log');
    is(found(join "\n", @answers), '', 'the ' . @answers . ' answers');

    my $seen = '';
    my $select = IO::Select->new($monitor);
    while ($select->can_read(0.5) && sysread $monitor, my $part, 1 << 20) {
        $seen .= $part;
    }
    like($seen, qr/"EVAL"/, 'MONITOR saw the commands');
    is(found($seen), '', 'MONITOR');

    for my $key ($redis->keys) {
        is(found($redis->cmd(DUMP => $key) // ''), '', "Redis: $key");
    }

    my @pids = ($t->pid, $t->worker_pids);
    cmp_ok(@pids, '>=', 3, 'master and workers');
    for my $pid (@pids) {
        for my $what (qw(cmdline environ)) {
            open my $fh, '<:raw', "/proc/$pid/$what" or die "$what: $!\n";
            local $/;
            my $text = <$fh>;
            is(found($text), '', "/proc/$pid/$what");
            unlike($text, qr/module-pw/, '... nor Redis\'s password');
        }
    }

    # The settings are deleted by now, so no worker needs the secret any more.
    # A sanitizer keeps what the TLS library has freed as it was.
    for my $pid ($ENV{DFD_ASAN} ? () : $t->worker_pids) {
        ok($t->wait_for(sub { found(memory($pid)) eq '' }, 10,
            'memory without it'), "the memory of worker $pid");
    }

    my (undef, $shown) = $t->nginx_test('-T');
    is(found($shown), '', 'nginx -T');
    unlike($t->error_log . $shown . join('', @answers), qr/module-pw/,
        'Redis\'s password is nowhere');

    # what lies on the disk: temporary files, snapshots, bodies
    my $dir = $t->dir;
    for my $path (split /\n/, `find $dir -type f -path '*cache*' -o -type f -path '*_temp*'`) {
        open my $fh, '<:raw', $path or next;
        local $/;
        is(found(scalar(<$fh>) // ''), '', "file $path" =~ s/\Q$dir\E//r);
    }
};

close $monitor;
$t->done;
