package Test::Defender::Process;

# Children of a test: started without a shell, waited for with a deadline,
# and gone when the test is gone.

use strict;
use warnings;

use Exporter    qw(import);
use POSIX       qw(WNOHANG);
use Time::HiRes qw(sleep time);

our @EXPORT_OK = qw(start_process stop_process freeze_process reap is_running
    children wait_until);

# prctl(PR_SET_PDEATHSIG, SIGTERM): a test that is killed leaves no servers
# behind. Perl has no name for the call; its number depends on the machine.
my %PRCTL = (x86_64 => 157, aarch64 => 167);
my $PRCTL = $PRCTL{(POSIX::uname())[4]};


# Starts @{$order{argv}}; keys env => {}, out => file for both outputs, dir.
# Returns the process id.
sub start_process {
    my (%order) = @_;

    my $parent = $$;
    my $pid    = fork // die "fork: $!\n";

    return $pid if $pid;

    $SIG{$_} = 'DEFAULT' for qw(INT TERM HUP PIPE);
    syscall $PRCTL, 1, 15, 0, 0, 0 if $PRCTL;
    POSIX::_exit(0) if getppid != $parent;

    open STDIN, '<', '/dev/null';
    if (defined $order{out}) {
        open STDOUT, '>>', $order{out};
        open STDERR, '>&', \*STDOUT;
    }

    chdir $order{dir} if defined $order{dir};
    $ENV{$_} = $order{env}{$_} for keys %{$order{env} // {}};

    { no warnings 'exec'; exec { $order{argv}[0] } @{$order{argv}}; }
    print STDERR "cannot start $order{argv}[0]: $!\n";
    POSIX::_exit(127);
}


# Polls until $condition is true; returns its value, or nothing at the
# deadline.
sub wait_until {
    my ($condition, $seconds) = @_;

    my $deadline = time + $seconds;
    my $pause    = 0.002;

    while (1) {
        my $value = $condition->();
        return $value if $value;
        return if time > $deadline;
        sleep $pause;
        $pause *= 1.5 if $pause < 0.05;
    }
}


# The exit status ($?) of an ended child, or undef while it runs.
my %ended;

sub reap {
    my ($pid) = @_;

    if (!exists $ended{$pid}) {
        local ($?, $!);
        my $got = waitpid $pid, WNOHANG;
        return undef if $got == 0;
        $ended{$pid} = $got == $pid ? $? : 0;
    }

    return $ended{$pid};
}


sub is_running { return !defined reap($_[0]) }


# Sends $signal and waits; falls back to KILL. Returns the exit status, or
# undef when it had to be killed.
sub stop_process {
    my ($pid, $signal, $seconds) = @_;

    return reap($pid) if !is_running($pid);

    kill $signal, $pid;
    return reap($pid) if wait_until(sub { !is_running($pid) }, $seconds // 10);

    kill 'KILL', $pid;
    wait_until(sub { !is_running($pid) }, 5);

    return undef;
}


# SIGSTOP, and waits until the process has really stopped.
sub freeze_process {
    my ($pid) = @_;

    kill 'STOP', $pid;

    return wait_until(sub {
        open my $fh, '<', "/proc/$pid/stat" or return 1;
        return (<$fh> // '') =~ /\) [TtZX] /;
    }, 5);
}


# Process ids of the children of $pid.
sub children {
    my ($pid) = @_;

    if (open my $fh, '<', "/proc/$pid/task/$pid/children") {
        local $/;
        return split ' ', <$fh> // '';
    }

    my @found;
    for my $file (glob '/proc/[0-9]*/stat') {
        open my $fh, '<', $file or next;
        my $line = <$fh> // next;
        my ($child, $ppid) = $line =~ /^(\d+) \(.*\) \S (\d+)/s or next;
        push @found, $child if $ppid == $pid;
    }

    return @found;
}

1;
