#!/usr/bin/perl

# The whole product on one machine: redis-server, a Defender simulator, a
# back end with detections, and nginx with the module in front of it.
#
#     run.pl           starts it, shows what to try, stops at Ctrl-C
#     run.pl --check   starts it, tries the same commands, checks the answers

use strict;
use warnings;

use FindBin ();
use lib "$FindBin::Bin/../../t/lib", "$FindBin::Bin/../../t/sim/lib";

use File::Temp  qw(tempdir);
use JSON::PP    ();
use Time::HiRes ();

use Test::Defender::HTTP    qw(connect_to);
use Test::Defender::Port    qw(take_port port_is_free);
use Test::Defender::Process qw(start_process stop_process is_running
    wait_until);
use Test::Defender::Redis   ();
use Test::Defender::Servers ();

$| = 1;

my $ROOT   = "$FindBin::Bin/../..";
my $CHECK  = grep { $_ eq '--check' } @ARGV;
my $MODULE = $ENV{DFD_MODULE} // "$ROOT/build/ngx_http_defender_module.so";
my $NGINX  = $ENV{DFD_NGINX}  // '/usr/sbin/nginx';
my $JSON   = JSON::PP->new->canonical->pretty;

my $stop = 0;
$SIG{$_} = sub { $stop = 1 } for qw(INT TERM);

my $dir = tempdir('defender-demo-XXXXXX', TMPDIR => 1, CLEANUP => 1);
chmod 0755, $dir;

exit main();


sub main {
    my $redis = Test::Defender::Redis->new(dir => $dir);
    my $sim   = Test::Defender::Simulator->start(
        root => $ROOT, dir => "$dir/sim");
    my $upstream = Test::Defender::Servers->start(
        root => $ROOT, dir => "$dir/upstream", program => 'upstream.pl',
        args => ['--files', "$ROOT/t/detections"]);

    my ($nginx, $port) = start_nginx($sim, $upstream);
    my $ok = eval { set_up($port, $sim); try_out($port) };
    my $error = $@;

    print "\n$error" if $error;

    if ($ok && !$CHECK && !$stop) {
        print <<"END";

Users are admin, analyst and viewer; the password is the name.
Everything lies in $dir; Ctrl-C stops and removes it.
END
        Time::HiRes::sleep(0.2) while !$stop && is_running($nginx);
        print "\n";
    }

    stop_process($nginx, 'QUIT');
    $_->stop for $upstream, $sim, $redis;

    if ($CHECK) {
        print $ok ? "\ndemo: all answers are as they should be\n"
            : "\ndemo: failed\n";
    }

    return $ok ? 0 : 1;
}


sub slurp {
    my ($file) = @_;

    open my $fh, '<', $file or die "$file: $!\n";
    local $/;

    return scalar <$fh>;
}


sub save {
    my ($file, $text, $mode) = @_;

    open my $fh, '>', $file or die "$file: $!\n";
    print $fh $text;
    close $fh or die "$file: $!\n";
    chmod $mode, $file;
}


sub start_nginx {
    my ($sim, $upstream) = @_;

    my $port = port_is_free(8080) && !$CHECK ? 8080 : take_port();

    mkdir "$dir/cache";
    save("$dir/users", join('', map { "$_:{PLAIN}$_\n" }
        qw(admin analyst viewer)), 0644);
    save("$dir/defender.key", `openssl rand -base64 32`, 0600);

    my %value = (DIR => $dir, PORT => $port, MODULE => $MODULE,
        SIM => $sim->url, CA => $sim->ca, UPSTREAM => $upstream->url,
        USER => $> == 0 ? 'user root;' : '');

    my $conf = slurp("$FindBin::Bin/nginx.conf");
    $conf =~ s/%%(\w+)%%/$value{$1}/g;
    save("$dir/nginx.conf", $conf, 0644);

    my $pid = start_process(
        argv => [$NGINX, '-p', "$dir/", '-e', "$dir/error.log",
            '-c', "$dir/nginx.conf"],
        out => "$dir/nginx.out");

    wait_until(sub { !port_is_free($port) || !is_running($pid) }, 10);
    die "nginx does not start:\n" . slurp("$dir/nginx.out")
        . (-e "$dir/error.log" ? slurp("$dir/error.log") : '')
        if !is_running($pid);

    return ($pid, $port);
}


# One command of curl, shown and run: its output.
sub curl {
    my ($shown, @more) = @_;

    print "\n\$ $shown\n";

    my $out = `$shown @more`;
    die "the command failed\n" if $? != 0;

    return $out;
}


sub set_up {
    my ($port, $sim) = @_;

    my $api = "http://127.0.0.1:$port/defender";
    my $settings = JSON::PP->new->canonical->encode({
        enabled => JSON::PP::true, isolateEntity => JSON::PP::false,
        tenantId => $sim->tenant, appId => $sim->app,
        appSecret => $sim->secret, cloud => 'commercial', pollMinutes => 5});

    save("$dir/settings.json", $settings, 0600);

    print "--- an admin verifies the connection and saves it\n";

    my $out = curl("curl -s -u admin:admin -H 'Content-Type: application/json'"
        . " -d \@$dir/settings.json $api/config/verify");
    my $verify = $JSON->decode($out);
    print $JSON->encode({verified => $verify->{verified},
        checks => $verify->{checks}});
    die "the connection was not verified\n" if !$verify->{verified};

    my $save = $JSON->decode($settings);
    $save->{verifyTicket} = $verify->{verifyTicket};
    save("$dir/settings.json", $JSON->encode($save), 0600);

    print curl("curl -s -u admin:admin -H 'Content-Type: application/json'"
        . " -X PUT -d \@$dir/settings.json $api/config"), "\n";
    unlink "$dir/settings.json";

    my $status;
    my $ready = wait_until(sub {
        my $answer = connect_to(port => $port)->request(
            method => 'GET', uri => '/defender/status',
            headers => [Authorization => 'Basic dmlld2VyOnZpZXdlcg==']);
        $status = eval { $answer->json } // {};
        return $stop || $status->{snapshot}{devices};
    }, 20);

    die "no devices came: " . $JSON->encode($status) if !$ready;
    print "\n--- $status->{snapshot}{devices} devices are here\n";
}


# The detections to look at: file, filter, and what must be in the answer.
sub examples {
    return (
        ['a Zeek notice', '03-zeek-notice.ndjson', '',
            qr/"id_orig_h":"10\.0\.1\.4".*"defender":\{"id_orig_h":\{"source":"Microsoft Defender","match":"exact"/],
        ['a Suricata alert', '05-suricata-eve-alerts.ndjson', ' | head -n 1',
            qr/"dest_ip": "10\.2\.8\.102".*"defender":\{.*"dest_ip":\{"source":"Microsoft Defender","match":"exact"/],
        ['an ECS alert', '07-ecs-endpoint-alert.json',
            ' | grep -A12 -F \'"ip": [\'',
            qr/"10\.128\.0\.78".*"defender":\{"ip":\[\{"source":"Microsoft Defender","match":"exact"/s],
    );
}


sub try_out {
    my ($port) = @_;

    my $base = "http://127.0.0.1:$port";

    for my $example (examples()) {
        my ($what, $file, $filter, $right) = @$example;

        print "\n--- $what, as an analyst gets it\n";
        my $out = curl("curl -s -u analyst:analyst"
            . " $base/detections/$file$filter");
        print $out;
        die "$what came without its device\n" if $out !~ $right;
    }

    print "\n--- one address, asked for\n";
    my $out = curl("curl -s -u viewer:viewer"
        . " '$base/defender/enrich?ip=10.0.1.4'");
    print "$out\n";
    die "the look-up failed\n" if $out !~ /"match":"exact"/;

    print "\n--- the same from Redis, as another service reads it\n";
    $out = curl("redis-cli -s $dir/redis.sock GET defender:ip:10.0.1.4");
    for (1 .. 50) {
        last if $out =~ /"match"/ || $stop;
        Time::HiRes::sleep(0.1);
        $out = `redis-cli -s $dir/redis.sock GET defender:ip:10.0.1.4`;
    }
    print $out;
    die "Redis has no entity\n" if $out !~ /"match":"exact"/;

    print "\n--- who is not allowed in\n";
    $out = curl("curl -s -o /dev/null -w '%{http_code}'"
        . " -H 'X-Role: admin' $base/defender/config");
    print "$out\n";
    die "a forged role was not refused\n" if $out ne '401';

    print "\n--- the log's side of it\n";
    $out = curl("tail -n 5 $dir/access.log");
    print $out;

    return 1;
}
