package Sim::Cert;

# A private CA and certificates signed by it, made with the openssl program.
# Elliptic keys: a second of RSA key making per test file adds up.

use strict;
use warnings;

use Exporter qw(import);
use POSIX    ();

our @EXPORT_OK = qw(make_ca make_cert);


sub run_openssl {
    my ($dir, @args) = @_;

    my $log = "$dir/openssl.log";

    my $pid = fork // die "fork: $!\n";
    if ($pid == 0) {
        open STDIN,  '<',  '/dev/null';
        open STDOUT, '>>', $log;
        open STDERR, '>>', $log;
        exec 'openssl', @args or POSIX::_exit(127);
    }

    waitpid $pid, 0;
    return if $? == 0;

    open my $fh, '<', $log or die "openssl failed\n";
    local $/;
    die "openssl @args failed:\n" . <$fh>;
}


sub spit {
    my ($file, $text) = @_;

    open my $fh, '>', $file or die "$file: $!\n";
    print $fh $text;
    close $fh or die "$file: $!\n";
}


# DIR/ca.pem and DIR/ca.key
sub make_ca {
    my ($dir) = @_;

    run_openssl($dir, qw(req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256
        -nodes -days 30 -subj), '/CN=Simulated test CA',
        '-addext', 'keyUsage=critical,keyCertSign,cRLSign',
        '-keyout', "$dir/ca.key", '-out', "$dir/ca.pem");
}


# DIR/NAME.pem (certificate) and DIR/NAME.key, signed by DIR/ca.pem. @names are
# host names and addresses. $days below zero makes one that has expired.
sub make_cert {
    my ($dir, $name, $names, $days) = @_;

    my $san = join ',', map { /^[\d.]+$|:/ ? "IP:$_" : "DNS:$_" } @$names;

    spit("$dir/$name.ext", "subjectAltName=$san\n"
        . "extendedKeyUsage=serverAuth,clientAuth\n");

    run_openssl($dir, qw(req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256
        -nodes -subj), "/CN=$name", '-keyout', "$dir/$name.key",
        '-out', "$dir/$name.csr");

    run_openssl($dir, qw(x509 -req -in), "$dir/$name.csr",
        '-CA', "$dir/ca.pem", '-CAkey', "$dir/ca.key", '-CAcreateserial',
        '-days', $days // 30, '-extfile', "$dir/$name.ext",
        '-out', "$dir/$name.pem");
}

1;
