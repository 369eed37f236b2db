package Test::Defender;

# The harness: one object per nginx under test, with the servers around it.
#
#     my $t = Test::Defender->new;
#     $t->start_redis; $t->start_sim; $t->start_upstream;
#     $t->conf($t->standard_conf)->run;
#     is($t->get('/defender/status', role => 'viewer')->status, 200, 'status');
#     $t->done;
#
# "done" takes the place of done_testing: it stops everything and asserts that
# the log is clean, no process was killed, the ports are free again.

use strict;
use warnings;

use File::Basename qw(dirname);
use File::Spec     ();
use File::Temp     ();
use JSON::PP       ();
use Scalar::Util   qw(weaken);
use Test::More     ();

our $ROOT;

BEGIN {
    my $here = File::Spec->rel2abs(dirname(__FILE__));
    $ROOT = dirname(dirname(dirname($here)));
}

use lib "$ROOT/t/sim/lib";

use Test::Defender::Checks qw(log_problems leftover_files);
use Test::Defender::Conf   ();
use Test::Defender::Module ();
use Test::Defender::Port   qw(take_port release_port port_is_free);
use Test::Defender::Process
    qw(start_process stop_process is_running reap children wait_until);
use Test::Defender::Proxy     ();
use Test::Defender::RawServer ();
use Test::Defender::Redis     ();
use Test::Defender::Requests  ();
use Test::Defender::Servers   ();

our @ISA = ('Test::Defender::Module', 'Test::Defender::Requests');

my $JSON = JSON::PP->new->utf8->canonical->allow_nonref;
my @live;


# Keys: module (0: nginx without it, or the path of another build), user (that
# the workers run as when the test runs as root).
sub new {
    my ($class, %opt) = @_;

    my $dir = File::Temp::tempdir(
        'dfd-XXXXXXXX', TMPDIR => 1, CLEANUP => !$ENV{DFD_KEEP});

    # Workers may be another user than the one who runs the test.
    chmod 0755, $dir;
    if ($> == 0 && defined $opt{user} && $opt{user} ne 'root') {
        my $uid = getpwnam($opt{user}) // die "no user $opt{user}\n";
        chown $uid, -1, $dir;
    }

    my $module = $opt{module} // $ENV{DFD_MODULE}
        // "$ROOT/build/ngx_http_defender_module.so";

    my $self = bless {
        dir    => $dir,
        user   => $opt{user},
        module => $module,
        ports  => {},
        allow  => [],
        owner  => $$,
    }, $class;

    push @live, $self;
    weaken $live[-1];

    # So that END and the removal of the directory still happen.
    $SIG{$_} //= sub { exit 1 } for qw(INT TERM HUP);

    return $self;
}


sub dir  { return $_[0]{dir} }
sub root { return $ROOT }


# The port that stands for %%PORT_n%%.
sub port {
    my ($self, $n) = @_;

    return $self->{ports}{$n // 0} //= take_port();
}


# Writes a file below the test's directory (or at an absolute path); returns
# its path.
sub write_file {
    my ($self, $name, $bytes, $mode) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";

    open my $fh, '>:raw', $path or die "$path: $!\n";
    print $fh $bytes;
    close $fh or die "$path: $!\n";
    chmod $mode, $path if defined $mode;

    return $path;
}


sub read_file {
    my ($self, $name) = @_;

    my $path = $name =~ m{^/} ? $name : "$self->{dir}/$name";

    open my $fh, '<:raw', $path or return '';
    local $/;

    return scalar <$fh> // '';
}


# Writes nginx.conf with the placeholders filled in; returns the object.
sub conf {
    my ($self, $text) = @_;

    $self->write_file('nginx.conf', $self->fill_in($text));

    return $self;
}


sub fill_in {
    my ($self, $text) = @_;

    $text =~ s/%%GLOBALS%%/Test::Defender::Conf::globals($self)/ge;
    $text =~ s/%%HTTP%%/Test::Defender::Conf::http_block($self)/ge;
    $text =~ s/%%PORT_(\d+)%%/$self->port($1)/ge;
    $text =~ s/%%DIR%%/$self->{dir}/g;

    die "unknown placeholder $1\n" if $text =~ /(%%\w+%%)/;

    return $text;
}


sub nginx { return $ENV{DFD_NGINX} // '/usr/sbin/nginx' }


sub command {
    my ($self, @more) = @_;

    my $dir  = $self->{dir};
    my @argv = ($self->nginx, '-p', "$dir/", '-c', "$dir/nginx.conf", @more);

    push @argv, '-e', "$dir/error.log" if !@more;
    unshift @argv, 'valgrind', '--error-exitcode=99',
        "--log-file=$dir/valgrind.log", '--' if $ENV{DFD_VALGRIND} && !@more;

    return @argv;
}


# The environment of a sanitizer run. Leaks are not looked for: nginx leaves
# its pools to the end of the process.
my @libraries;

sub environment {
    return {} if !$ENV{DFD_ASAN};

    if (!@libraries) {
        @libraries = map { `gcc -print-file-name=$_` }
            qw(libasan.so libubsan.so);
        chomp @libraries;
    }

    return {
        LD_PRELOAD    => "@libraries",
        ASAN_OPTIONS  => 'detect_leaks=0:detect_odr_violation=0',
        UBSAN_OPTIONS => 'print_stacktrace=1:halt_on_error=0',
    };
}


# nginx -t: (exit code, output). With arguments, another option than -t.
sub nginx_test {
    my ($self, @option) = @_;

    my $out = "$self->{dir}/nginx-t.out";
    unlink $out;

    @option = ('-t') if !@option;
    my $pid = start_process(
        argv => [$self->command(@option, '-e', 'stderr')], out => $out,
        env  => $self->environment);
    wait_until(sub { !is_running($pid) }, 60) or stop_process($pid, 'KILL');

    return (reap($pid) >> 8, $self->read_file($out));
}


# Starts nginx and waits until it serves; dies with its log when it does not.
sub run {
    my ($self) = @_;

    my $dir = $self->{dir};

    unlink "$dir/nginx.pid";
    $self->{pid} = start_process(
        argv => [$self->command], out => "$dir/nginx.out",
        env  => $self->environment);

    my $up = wait_until(sub {
        !is_running($self->{pid})
            || -s "$dir/nginx.pid" && $self->worker_pids;
    }, 15 * $self->slowness);

    if (!$up || !is_running($self->{pid})) {
        stop_process(delete $self->{pid}, 'KILL');
        die "nginx does not start:\n" . $self->read_file('nginx.out')
            . $self->log_tail(30);
    }

    $self->{started}++;

    return $self;
}


sub pid { return $_[0]{pid} }


# Ids of the workers that accept connections; those that are shutting down
# and helper processes are not among them.
sub worker_pids {
    my ($self) = @_;

    return $self->{pid} if $ENV{DFD_VALGRIND};

    my @pids = sort { $a <=> $b }
        grep { process_title($_) eq 'nginx: worker process' } children($self->{pid});

    return @pids;
}


# All worker processes, those that are shutting down as well.
sub all_worker_pids {
    my ($self) = @_;

    my @pids = sort { $a <=> $b }
        grep { process_title($_) =~ /^nginx: worker process/ } children($self->{pid});

    return @pids;
}


sub process_title {
    my ($pid) = @_;

    open my $fh, '<', "/proc/$pid/cmdline" or return '';
    my $title = <$fh> // '';
    $title =~ s/[\0 ]+$//;

    return $title;
}


# HUP; true when a new generation serves, false when the new configuration was
# refused.
sub reload {
    my ($self) = @_;

    die "nginx without a master process cannot reload: not under valgrind\n"
        if $ENV{DFD_VALGRIND};

    my %old  = map { $_ => 1 } $self->worker_pids;
    my $size = length $self->error_log;

    kill 'HUP', $self->{pid};

    my $outcome = wait_until(sub {
        my @now = $self->worker_pids;
        return 'new' if @now && !grep { $old{$_} } @now;
        return 'refused'
            if substr($self->error_log, $size) =~ /\[emerg\]/;
    }, 30 * $self->slowness);

    die "no new workers after a reload\n" . $self->log_tail(30) if !$outcome;

    return $outcome eq 'new';
}


# QUIT, and waits for the end. Returns the exit status.
sub stop {
    my ($self, $signal) = @_;

    my $pid    = delete $self->{pid} // return 0;
    my $status = stop_process($pid, $signal // 'QUIT', 20 * $self->slowness);

    $self->{stop_failed} = 1 if !defined $status;
    $self->{exit_status} = $status;

    return $status;
}


sub error_log  { return $_[0]->read_file('error.log') }
sub access_log { return $_[0]->read_file('access.log') }


# The last lines of the error log; of those of debug level only the module's.
sub log_tail {
    my ($self, $lines) = @_;

    # A debug line may go on over several lines.
    my $kept  = 1;
    my @lines = grep {
        $kept = !/ \[debug\] / || /defender/ if /^\d{4}\//;
        $kept;
    } split /\n/, $self->error_log;

    splice @lines, 0, @lines - $lines if @lines > $lines;

    return join '', map { "$_\n" } @lines;
}


# Waits for a condition; a TAP failure naming $what when it does not come true.
# Returns its value.
sub wait_for {
    my ($self, $condition, $seconds, $what) = @_;

    my $value = wait_until($condition, ($seconds // 10) * $self->slowness);
    return $value if $value;

    local $Test::Builder::Level = $Test::Builder::Level + 1;
    Test::More::fail('in time: ' . ($what // 'condition'));

    return;
}


sub slowness { return $ENV{DFD_VALGRIND} ? 10 : $ENV{DFD_ASAN} ? 3 : 1 }


# Lines of the error log that may be there although they look bad.
sub allow_log {
    my ($self, @patterns) = @_;

    push @{$self->{allow}}, @patterns;

    return $self;
}


sub json_encode { return $JSON->encode($_[1]) }
sub json_decode { return $JSON->decode($_[1]) }


# The servers around nginx. Each is stopped with the test.

sub start_redis {
    my ($self, %opt) = @_;

    my $redis = Test::Defender::Redis->new(dir => $self->{dir}, %opt);

    push @{$self->{servers}}, $redis;
    $self->{redis} = $redis if ($opt{name} // 'redis') eq 'redis';

    return $redis;
}


sub start_sim {
    my ($self, %opt) = @_;

    my $name = $opt{name} // 'sim';
    my $sim  = Test::Defender::Simulator->start(
        root => $ROOT, %opt, dir => "$self->{dir}/$name");

    push @{$self->{servers}}, $sim;
    $self->{sim} = $sim if $name eq 'sim';

    return $sim;
}


# Serves the detections of t/detections, and what a test writes into its
# directory; t/sim/upstream.pl tells what a query can ask for.
sub start_upstream {
    my ($self, %opt) = @_;

    my $upstream = Test::Defender::Servers->start(
        root    => $ROOT, %opt, dir => "$self->{dir}/upstream",
        program => 'upstream.pl', args => ['--files', "$ROOT/t/detections"]);

    push @{$self->{servers}}, $upstream;
    $self->{upstream} = $upstream;

    return $upstream;
}


sub raw_server {
    my ($self, $handler, %opt) = @_;

    my $server = Test::Defender::RawServer->start(
        $handler, dir => $self->{dir}, %opt);

    push @{$self->{servers}}, $server;

    return $server;
}


# A forward proxy; keys of Test::Defender::Proxy.
sub start_proxy {
    my ($self, %opt) = @_;

    my $proxy = Test::Defender::Proxy->start(dir => $self->{dir}, %opt);

    push @{$self->{servers}}, $proxy;

    return $proxy;
}


sub redis    { return $_[0]{redis} }
sub sim      { return $_[0]{sim} }
sub upstream { return $_[0]{upstream} }


# Stops everything, makes the final assertions and ends the test file.
sub done {
    my ($self) = @_;

    $self->finish;
    Test::More::done_testing();
}


# The same without ending the file, for a test of several nginxes.
sub finish {
    my ($self) = @_;

    return if $self->{finished}++;

    $self->stop;
    $self->stop_servers;
    $self->assert_clean if $self->{started};
}


sub stop_servers {
    my ($self) = @_;

    $_->stop for reverse @{$self->{servers} // []};
    $self->{servers} = [];
}


sub assert_clean {
    my ($self) = @_;

    my $builder = Test::More->builder;
    my $failed  = 0;

    my $check = sub {
        my ($good, $title, @more) = @_;
        return if $builder->ok($good, $title);
        $failed = 1;
        $builder->diag("    $_") for @more > 20 ? @more[0 .. 19] : @more;
    };

    $check->(!$self->{stop_failed}, 'nginx went away when asked');

    for my $problem (log_problems(
        $self->error_log . $self->read_file('nginx.out'),
        @{$self->{allow}}))
    {
        $check->(!@{$problem->[1]}, $problem->[0], @{$problem->[1]});
    }

    my @taken = grep { !port_is_free($_) } values %{$self->{ports}};
    $check->(!@taken, 'all ports are free again', @taken);

    my @left = leftover_files($self->{dir});
    $check->(!@left, 'no temporary files are left', @left);

    if ($ENV{DFD_VALGRIND}) {
        my $report = $self->read_file('valgrind.log');
        $check->($report !~ /ERROR SUMMARY: [1-9]/, 'valgrind is content',
            split /\n/, $report);
    }

    $builder->diag("last lines of the error log:\n" . $self->log_tail(100))
        if $failed;
    release_port($_) for values %{$self->{ports}};
}


# An object that goes out of scope makes its assertions as long as the test
# file is open for them. After done_testing it can only fail the file: END
# comes when the file's own variables may already be gone.
my $unfinished = 0;

sub DESTROY {
    my ($self) = @_;

    return if $$ != $self->{owner} || ${^GLOBAL_PHASE} eq 'DESTRUCT';

    local ($@, $?, $!);

    return $self->finish if !defined Test::More->builder->has_plan;

    $self->complain if $self->{started} && !$self->{finished};
    $self->stop;
    $self->stop_servers;
}


sub complain {
    my ($self) = @_;

    $self->{finished} = 1;
    $unfinished = 1;

    print STDERR '# nginx was started and never finished: end the test with '
        . "\$t->done\n", $self->log_tail(100);
}


END {
    my $status = $?;

    for my $t (grep { defined && $_->{owner} == $$ } @live) {
        $t->complain if $t->{started} && !$t->{finished};
        $t->stop;
        $t->stop_servers;
    }

    $? = $status || $unfinished;
}

1;
