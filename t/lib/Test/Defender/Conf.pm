package Test::Defender::Conf;

# nginx.conf for tests: the placeholders, and a complete configuration of the
# module.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(globals http_block standard);

my @TEMP = qw(client_body proxy fastcgi uwsgi scgi);


# %%GLOBALS%%
sub globals {
    my ($t) = @_;

    my $dir = $t->dir;
    my @lines = ('daemon off;', "pid $dir/nginx.pid;",
        "error_log $dir/error.log debug;");

    if ($> == 0) {
        my $user  = $t->{user} // 'root';
        my $group = getgrgid((getpwnam $user)[3]);
        push @lines, "user $user $group;";
    }
    push @lines, "load_module $t->{module};" if $t->{module};
    push @lines, 'master_process off;' if $ENV{DFD_VALGRIND};
    push @lines, map { "env $_;" } qw(ASAN_OPTIONS UBSAN_OPTIONS LD_PRELOAD)
        if $ENV{DFD_ASAN};

    return join "\n", @lines, '';
}


# %%HTTP%%
sub http_block {
    my ($t) = @_;

    my $dir = $t->dir;

    return join "\n",
        (map { "${_}_temp_path $dir/${_}_temp;" } @TEMP),
        "access_log $dir/access.log;", '';
}


# A configuration with everything in its usual place: the API below
# /defender/, the upstream's detections below /d/, a role and a user from the
# request headers X-Role and X-User. Keys: workers, redis, endpoint, ca, api
# (the upstream's base), and more text at each level: main, events, http,
# server, api_location, enrich_location.
sub standard {
    my ($t, %opt) = @_;

    my $dir      = $t->dir;
    my $sim      = $t->{sim};
    my $upstream = $opt{upstream}
        // ($t->{upstream} ? $t->{upstream}->url : undef);
    my $redis    = $opt{redis} // "unix:$dir/redis.sock";
    my $workers  = $opt{workers} // 1;

    my $endpoint = $opt{endpoint} // ($sim
        ? 'login=' . $sim->login_url . ' api=' . $sim->url : undef);
    my $ca = $opt{ca} // ($sim && $sim->{tls} ? $sim->ca : undef);

    my %more = map { $_ => $opt{$_} // '' } qw(main events http server
        api_location enrich_location);

    $t->key_file;
    mkdir "$dir/cache";

    my $egress = '';
    $egress .= "    defender_endpoint $endpoint;\n" if defined $endpoint;
    $egress .= "    defender_ca_certificate $ca;\n" if defined $ca;

    my $detections = defined $upstream ? <<"END_LOCATION" : '';
        location /d/ {
            defender_enrich on;
            $more{enrich_location}
            proxy_pass $upstream/;
        }
END_LOCATION

    return <<"END_CONF";
%%GLOBALS%%
worker_processes $workers;
$more{main}
events {
    worker_connections 512;
    $more{events}
}

http {
    %%HTTP%%

    defender_redis $redis;
    defender_key $dir/key;
    defender_cache_path $dir/cache;
$egress
    $more{http}

    server {
        listen 127.0.0.1:%%PORT_0%%;

        location /defender/ {
            defender_api;
            defender_role \$http_x_role;
            defender_role_from 127.0.0.1 ::1;
            defender_user \$http_x_user;
            $more{api_location}
        }
$detections
        $more{server}
    }
}
END_CONF
}

1;
