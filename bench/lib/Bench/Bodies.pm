package Bench::Bodies;

# The bodies that the upstream serves: an array of flow detections of about
# 600 bytes, whose source is a device that we know (or nobody's, in
# miss.json), and the same bodies already enriched.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(write_bodies);


sub detection {
    my ($index, $ip) = @_;

    my $second = sprintf '%02d', $index % 60;

    return qq({"timestamp":"2026-11-25T01:02:$second.491791+0000",)
        . '"flow_id":' . (879564658970874 + $index)
        . ',"pcap_cnt":9254,"event_type":"alert",'
        . qq("src_ip":"$ip","src_port":49880,"dest_ip":"192.0.2.15",)
        . '"dest_port":25,"proto":"TCP","tx_id":0,"alert":{"action":'
        . '"allowed","gid":1,"signature_id":2220000,"rev":1,"signature":'
        . '"SURICATA SMTP invalid reply","category":"Generic Protocol Command'
        . ' Decode","severity":3},"app_proto":"smtp","app_proto_tc":"failed",'
        . '"flow":{"pkts_toserver":9,"pkts_toclient":14,"bytes_toserver":570,'
        . '"bytes_toclient":1148,"start":"2026-11-25T01:02:20.049143+0000"},'
        . '"host":"sensor-7","in_iface":"eth1","vlan":[12]}';
}


sub body {
    my ($count, $known) = @_;

    return '[' . join(',', map {
        my $ip = $known
            ? sprintf('10.64.%d.%d', $_ >> 8, $_ & 255)
            : sprintf('10.32.%d.%d', $_ >> 8, $_ & 255);
        detection($_, $ip)
    } 1 .. $count) . ']';
}


sub save {
    my ($file, $bytes) = @_;

    open my $fh, '>', $file or die "$file: $!\n";
    print $fh $bytes;
    close $fh or die "$file: $!\n";
}


# Also loads the Lua side's dict and the text that /return answers with, so
# that both sides send the same bytes.
sub write_bodies {
    my ($t, $www) = @_;

    save("$www/small.json", body(25,  1));
    save("$www/large.json", body(250, 1));
    save("$www/miss.json",  body(250, 0));

    for my $name (qw(small large)) {
        my $answer = $t->get("/enrich/$name.json");
        my $body   = $answer->body;
        my $hits = () = $body =~ /"match":"exact"/g;
        my $want = $name eq 'small' ? 25 : 250;

        die "$name: $hits of $want detections were enriched: "
            . $answer->raw_header . substr($body, 0, 1500) . "\n"
            if $hits != $want;

        printf "%s: %d bytes, enriched %d\n", $name, -s "$www/$name.json",
            length $body;

        save("$www/$name-enriched.json", $body);
    }

    my @lines = map {
        my $ip = sprintf '10.64.%d.%d', $_ >> 8, $_ & 255;
        "$ip\t" . $t->get("/defender/enrich?ip=$ip")->body
    } 1 .. 25;

    my $loaded = $t->request(POST => '/lua-load', body => join("\n", @lines));
    die "the Lua side did not load\n" if $loaded->body ne "loaded\n";

    my $entity = $t->get('/defender/enrich?ip=10.64.0.77')->body;
    die "no entity: $entity\n" if $entity !~ /"match":"exact"/;

    # what nginx itself must not expand
    $entity =~ s/'/\\'/g;
    save($t->dir . '/return.conf', "return 200 '$entity';\n");
    $t->reload;
}


1;
