#!/usr/bin/perl

# Bodies of detections: how many records of the public samples name a known
# device, in whatever form they are sent; and bodies that are broken, doubled,
# mislabelled or spelled in unusual ways. Taking the insertions out always
# gives the input.

use strict;
use warnings;

use Encode   qw(encode);
use JSON::PP ();
use Test::More;

use lib 't/lib';
use Test::Defender;
use Test::Defender::Agent  qw(machine);
use Test::Defender::Enrich qw(strip insertions matches);

my $t = Test::Defender->new;
$t->start_redis;
my $sim = $t->start_sim;
my $upstream = $t->start_upstream;
my $url      = $upstream->url;

my $dir      = $upstream->dir;

# Takes the connection over, and says what it hears.
my $socket = $t->raw_server(sub {
    my ($c) = @_;
    $c->send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\nContent-Type: application/json\r\n\r\n");
    sysread $c->{socket}, my $heard, 100;
    $c->send($heard);
    $c->wait_gone(5);
});

# The owners of six addresses of the samples, and four others.
my @OWNED = qw(10.0.1.4 10.0.1.6 10.0.0.4 10.2.0.251 10.2.8.102 10.128.0.78);

$sim->devices([
    (map { machine("a$_", $OWNED[$_]) } 0 .. $#OWNED),
    (map { machine("d$_", "10.20.1.1$_") } 1 .. 4),
]);

$t->conf($t->standard_conf(
    http => <<"END_HTTP", server => <<"END_SERVER"))->run;
    log_format enrich '\$arg_id|\$defender_enrich_status';
    client_max_body_size 8m;
    types { application/json json; }

    server {
        listen 127.0.0.1:%%PORT_1%%;
        root $dir;
    }
END_HTTP
        access_log %%DIR%%/enrich.log enrich;

        location /fields/ {
            defender_enrich on;
            defender_enrich_fields src_ip dest_ip id_orig_h id_resp_h
                id.orig_h id.resp_h host.ip tx_hosts rx_hosts;
            proxy_pass $url/;
        }

        location /slice/ {
            defender_enrich on;
            slice 1k;
            proxy_set_header Range \$slice_range;
            proxy_pass http://127.0.0.1:%%PORT_1%%/;
        }

        location /socket/ {
            defender_enrich on;
            proxy_http_version 1.1;
            proxy_set_header Upgrade \$http_upgrade;
            proxy_set_header Connection upgrade;
            proxy_pass @{[$socket->url]}/;
        }
END_SERVER

$t->configure;
$t->wait_devices(10);

my $json = JSON::PP->new->utf8;
my $id   = 0;


# (the answer's body, the logged status)
sub through {
    my ($body, $query) = @_;

    $id++;
    my $r = $t->post("/d/x?id=$id&" . ($query // ''), body => $body);

    is($r->status, 200, 'status') if $r->status != 200;
    is($r->header('X-Defender-Enrich'), 'on', 'header')
        if ($r->header('X-Defender-Enrich') // '') ne 'on';

    my $line = $t->wait_for(sub {
        return $t->read_file('enrich.log') =~ /^$id\|(.*)$/m ? $1 : undef;
    }, 5, 'log line');

    return ($r->body, $line);
}


# How a body is cut into pieces on its way makes no difference.
my @CUTS = ('', '&chunk=1', '&chunk=7');


# These devices are found and nothing else changes.
sub finds {
    my ($title, $body, $matches, $query) = @_;

    for my $cut (@CUTS) {
        my ($got) = through($body, ($query // '') . $cut);

        is_deeply([matches($got)], $matches, "$title$cut: devices");
        ok(strip($got) eq $body, "$title$cut: the rest is as it came")
            or diag(substr $got, 0, 2000);
    }
}


# It passes byte for byte.
sub passes {
    my ($title, $body, $query) = @_;

    for my $cut (@CUTS) {
        my ($got) = through($body, ($query // '') . $cut);

        ok($got eq $body, "$title$cut: as it came")
            or diag(substr $got, 0, 2000);
    }
}


# How many of the records (lines, or one document) got at least one device.
sub enriched_records {
    my ($body, $lines) = @_;

    return scalar grep { /,"defender":\{/ } $lines ? split /\n/, $body : $body;
}


my %documented = (
    '01' => 134, '02' => 32, '03' => 1, '04' => 5, '05' => 60, '06' => 59,
    '07' => 1, '08' => 0, '09' => 0, '10' => 0, '11' => 0, '12' => 0,
    '13' => 0, '14' => 0,
);

for my $path (sort glob $t->root . '/t/detections/*.{json,ndjson}') {
    my ($name, $number) = $path =~ m{((\d\d)[^/]*)$};

    subtest $name => sub {
        my $body  = $t->read_file($path);
        my $lines = $name =~ /\.ndjson$/;
        my $want  = delete $documented{$number};

        my $same = sub {
            my ($title, $got, $sent) = @_;
            ok(strip($got) eq $sent, "$title: the same but for insertions");
            ok($got eq $sent, "$title: byte for byte") if !$want;
        };

        my $r = $t->get("/d/$name");
        $same->('as it is', $r->body, $body);
        is(enriched_records($r->body, $lines), $want, 'records with a device');

        my %named = map { $_ => 1 } map { $_->{ip} } grep { $_->{ip} }
            map { map { ref eq 'ARRAY' ? @$_ : $_ } values %$_ }
                insertions($r->body);
        is_deeply([grep { my $ip = $_; !grep { $_ eq $ip } @OWNED }
            keys %named], [], 'no other address is known');
        ok(scalar(keys %named), 'and one of them is') if $want;

        # Every line and every document is still one.
        is(scalar(grep { !eval { $json->decode($_); 1 } }
            $lines ? split /\n/, $r->body : $r->body), 0, 'JSON');

        # The common names of the fields are enough.
        my $fields = $t->get("/fields/$name");
        $same->('by names', $fields->body, $body);
        is(enriched_records($fields->body, $lines), $want,
            'by names: records with a device');

        return if !$lines;

        # Other forms of the same records.
        my @records = split /\n/, $body;
        my %form = (
            'with CR LF'              => join('', map { "$_\r\n" } @records),
            'without a last line end' => join("\n", @records),
            'with empty lines'        => join("\n\n \n", @records),
        );

        for my $title (sort keys %form) {
            my ($got) = through($form{$title}, 'type=application/x-ndjson');
            $same->($title, $got, $form{$title});
            is(enriched_records($got, 1), $want, "$title: records");
        }

        my $array = '[' . join(",\n ", @records) . ']';
        my ($got) = through($array);
        $same->('as an array', $got, $array);
        is(enriched_records($got, 1), $want, 'as an array: records');

        my $hits = '{"hits":{"total":' . @records . ',"hits":['
            . join(',', map { "{\"_id\":\"x\",\"_source\":$_}" } @records)
            . ']}}';
        ($got) = through($hits);
        $same->('as search hits', $got, $hits);
        is(scalar(() = $got =~ /,"defender":/g),
            scalar(() = $r->body =~ /,"defender":/g),
            'as search hits: as many insertions');
    };
}

is_deeply(\%documented, {}, 'all samples were there');


subtest 'members that stand twice' => sub {
    my $body = '{"src_ip":"10.20.1.11","src_ip":"10.20.1.12","tag":1,"tag":2}';
    finds('two addresses: the last one counts', $body, ['src_ip=exact:d2']);

    my ($got) = through($body);
    is(scalar(() = $got =~ /"defender"/g), 1, 'one insertion');
    is(scalar(() = $got =~ /"src_ip"/g), 3, 'with one member of that name');

    passes('an address, then something else',
        '{"src_ip":"10.20.1.11","src_ip":"x"}');
    finds('something else, then an address',
        '{"src_ip":"x","src_ip":"10.20.1.11"}', ['src_ip=exact:d1']);
    finds('spelled in two ways',
        '{"src_ip":"10.20.1.11","src\u005fip":"10.20.1.12"}',
        ['src_ip=exact:d2']);
};


subtest 'the same address at several places' => sub {
    finds('related addresses', '{"source":{"ip":"10.20.1.11"},'
        . '"destination.ip":"10.20.1.12","host":{"ip":["10.20.1.13",'
        . '"fe80::9148:b822:a74a:c6f3","127.0.0.1","::1"]},'
        . '"related":{"ip":["10.20.1.14","10.99.9.9","10.20.1.11"]}}',
        ['ip=exact:d1', 'ip=[exact:d3]', 'ip=[exact:d4 exact:d1]',
            'destination.ip=exact:d2']);
    finds('arrays of arrays and objects', '{"a":["10.20.1.11",'
        . '{"b":"10.20.1.12"},"10.20.1.13",["10.20.1.14"]]}',
        ['b=exact:d2', 'a=[exact:d1 exact:d3]']);
};


subtest 'names of members are kept as they are spelled' => sub {
    for my $name ('a\"b', '', '\u00fc', "\xc3\xbc", 'x\\\\y', '\ud83d\ude00',
        '\/', ' ', 'id.orig_h', '\u0000', '\ud800', '__proto__', '%s', '$1')
    {
        my $body = "{\"$name\":\"10.20.1.11\"}";
        my ($got) = through($body);

        is(strip($got), $body, "$name: the rest");
        like($got, qr/,"defender":\{"[^:]*":\{"source"/, "$name: found");

        my $data = eval { $json->decode($got) } or next;
        is_deeply([map { keys %$_ } $data->{defender}],
            [grep { $_ ne 'defender' } keys %$data], "$name: the same name");
    }

    my $body = "{\"a\xffb\":\"10.20.1.11\"}";
    my ($got) = through($body);
    ok($got =~ s/,"defender":\{.*\}\}$/}/sr eq $body,
        'a name that is no UTF-8: the rest');
};


subtest 'objects that have such a member already' => sub {
    for my $value ('null', '"x"', '{}', '[]', '7', '{"src_ip":"10.20.1.12"}') {
        my @members = ("\"defender\":$value", '"src_ip":"10.20.1.11"');

        passes("before: $value", "{$members[0],$members[1]}");
        passes("behind: $value", "{$members[1],$members[0]}");
    }

    passes('spelled with an escape',
        '{"src_ip":"10.20.1.11","\u0064efender":{"a":"10.20.1.12"}}');
    finds('in another case',
        '{"src_ip":"10.20.1.11","Defender":{"a":"10.20.1.12"}}',
        ['a=exact:d2', 'src_ip=exact:d1']);
    finds('only in an object inside',
        '{"src_ip":"10.20.1.11","x":{"defender":1,"ip":"10.20.1.12"}}',
        ['src_ip=exact:d1']);
};


subtest 'addresses spelled with escapes' => sub {
    passes('nobody writes them so', '{"a":"10\u002e20.1.1\u0031"}');
    passes('a blank or a NUL behind it', '{"a":"10.20.1.11\u0020",'
        . '"b":"10.20.1.11\u0000","c":"\t10.20.1.11","d":"10.20.1.11\\\\"}');
    passes('in full width', '{"a":"\uff11\uff10.20.1.11"}');
};


subtest 'encodings of characters' => sub {
    my $body = '{"src_ip":"10.20.1.11"}';

    finds('a byte-order mark stays in front', "\xef\xbb\xbf$body",
        ['src_ip=exact:d1']);
    finds('in front of lines, too', "\xef\xbb\xbf$body\n$body\n",
        [('src_ip=exact:d1') x 2], 'type=application/x-ndjson');
    passes('half of one', "\xef\xbb$body");

    for my $encoding (qw(UTF-16LE UTF-16BE UTF-16 UTF-32LE)) {
        passes($encoding, encode($encoding, $body));
    }

    for my $bytes ("K\xf6zjegyz\x91", "\xc0\xaf", "\xed\xa0\x80", "\xff\xfe",
        "\xf4\x90\x80\x80", "\x7f")
    {
        my $raw = "{\"issuer\":\"$bytes\",\"src_ip\":\"10.20.1.11\"}";
        my ($got) = through($raw);
        ok($got =~ s/,"defender":\{.*\}\}$/}/sr eq $raw, 'bytes that are no '
            . 'UTF-8 stay: ' . unpack 'H*', $bytes);
        like($got, qr/"match":"exact"/, 'and the device is named');
    }
};


subtest 'something in front of the JSON, or behind' => sub {
    my $body = '{"src_ip":"10.20.1.11"}';

    passes("in front: $_", "$_$body") for ")]}',\n", 'while(1);', 'for(;;);',
        'callback(', '<?xml version="1.0"?>', "HTTP/1.1 200 OK\r\n\r\n",
        'Apr 22 07:09:24 hp suricata: ', '// ', "\0", "\x1e";

    finds('two documents', "$body$body", [('src_ip=exact:d1') x 2]);
    finds('lines under the type of one document', "$body\n$body\r\n$body",
        [('src_ip=exact:d1') x 3]);

    # What was whole is enriched, what follows passes.
    finds("behind: $_", "$body$_", ['src_ip=exact:d1'])
        for ');', "\0", "\n\n\n", ' x', "\n{\"a\":\"10.20.1.12\"";
    finds('an end that is missing', '{"a":{"src_ip":"10.20.1.11"},"b":1',
        ['src_ip=exact:d1']);
};


# Between two good lines. Where the object was not closed before the line goes
# wrong, nothing is put in.
my @untouched = (
    '{"src_ip":"10.20.1.11","x":', '{"src_ip":"10.20.1.11"',
    '{"src_ip":"10.20.1.11', '{"src_ip":"10.20.1.11"]', '}', ']', '"', '\\',
    '{', '[', ':', ',', '{"src_ip":"10.20.1.11",}', '{"src_ip" "10.20.1.11"}',
    '{"src_ip":"10.20.1.11" "x":1}', "{'src_ip':'10.20.1.11'}",
    '{src_ip:"10.20.1.11"}', '{"x":nan,"src_ip":"10.20.1.11"}',
    '{"x":True,"src_ip":"10.20.1.11"}',
    "{\"x\":\"\t\",\"src_ip\":\"10.20.1.11\"}",
    '{"x":"\x41","src_ip":"10.20.1.11"}', '{"x":"\u12","src_ip":"10.20.1.11"}',
    '{"x":.5,"src_ip":"10.20.1.11"}', '{"x":1,,"src_ip":"10.20.1.11"}',
    '# a comment', '#fields	ts	uid	id.orig_h', '10.20.1.11', '-',
    'CEF:0|x|y|1|2|{"src_ip":"10.20.1.11"}', '{"src_ip":"10.20.1.11"//x',
    'null', '17', '"10.20.1.11"', '[]', '', ' ', '["10.20.1.11"]',
    'x' x 10_000, '[' x 10_000, '{"a":' x 5000, '"' . '\\' x 9999,
);

subtest 'one bad line among good ones' => sub {
    my $good = '{"src_ip":"10.20.1.12","n":1}';

    for my $bad (@untouched) {
        my $title = length $bad > 40 ? substr($bad, 0, 20) . ' ...' : $bad;

        for my $end ("\n", "\r\n") {
            my $body = join $end, $good, $bad, $good, '';
            my ($got) = through($body, 'type=application/x-ndjson');
            my @lines = split /\n/, $got, -1;

            is(scalar @lines, 4, "$title: lines") or next;
            is(scalar(grep { /"match":"exact"/ } @lines[0, 2]), 2,
                "$title: the good ones are enriched");
            ok($lines[1] eq $bad . $end =~ s/\n//r, "$title: it is untouched");
            ok(strip($got) eq $body, "$title: nothing else changes");
        }
    }

    # Wrong only after its object was whole.
    for my $bad ('{"src_ip":"10.20.1.11"}}', '{"src_ip":"10.20.1.11"} x',
        '{"src_ip":"10.20.1.11"},', '[{"src_ip":"10.20.1.11"}',
        '{"src_ip":"10.20.1.11"};{"src_ip":"10.20.1.12"}')
    {
        finds($bad, "$good\n$bad\n$good\n",
            [qw(src_ip=exact:d2 src_ip=exact:d1 src_ip=exact:d2)],
            'type=application/x-ndjson');
    }

    finds('two objects on a line', "$good$good $good\n$good",
        [('src_ip=exact:d2') x 4], 'type=application/x-ndjson');

    # A line end inside of an object ends it: the next line is its own.
    finds('an object over two lines', "{\"a\":\n\"10.20.1.11\"}\n$good\n",
        ['src_ip=exact:d2'], 'type=application/x-ndjson');

    my ($got, $line) = through("$good\n{\"x\":\n" x 300 . $good,
        'type=application/x-ndjson');
    is(scalar(matches($got)), 301, 'every second line bad');
    is($line, 'enriched=301 malformed at ' . (length($good) + 6), 'status');
};


subtest 'requests and answers that are seldom seen' => sub {
    my $body = '{"src_ip":"10.20.1.11"}';
    my $file = $upstream->dir . '/one.json';
    $t->write_file($file, $body);

    # A request without headers, and an answer without.
    my $c = $t->connect;
    $c->send("GET /d/one.json\r\n");
    my $got = $c->read_all;
    is(strip($got), $body, 'HTTP/0.9: the body alone');
    is_deeply([matches($got)], ['src_ip=exact:d1'], 'HTTP/0.9: the device');

    # Checksums of the body that was.
    my $sums = join '&', map { "header=$_:abc" } qw(Content-MD5 digest
        Content-Digest Repr-Digest X-Digest);
    my $r = $t->get("/d/one.json?$sums");
    is(join(' ', map { $_->[0] } grep { $_->[1] eq 'abc' } @{$r->header_list}),
        'X-Digest', 'checksums do not stay on a changed body');
    $r = $t->get("/d/one.json?$sums&type=text/plain");
    is(scalar(grep { $_->[1] eq 'abc' } @{$r->header_list}), 5,
        'but on one that passes');

    # A 200 that nginx puts together from many 206.
    my $large = '[' . join(",\n", ($body) x 500) . ']';
    $t->write_file($upstream->dir . '/www.json', $large);
    $r = $t->get('/slice/www.json');
    is($r->status, 200, 'slices: status');
    ok($r->body eq $large, 'slices: the whole, as it was');
    is($r->header('Content-Length'), length $large, 'slices: length');
    is($r->header('X-Defender-Enrich'), 'skipped; reason=status',
        'slices: reason');

    $r = $t->get('/slice/www.json', headers => [Range => 'bytes=5000-9999']);
    is($r->status, 206, 'a range of slices: status');
    ok($r->body eq substr($large, 5000, 5000), 'a range of slices: that part');

    # A connection that becomes another protocol's.
    $c = $t->connect;
    $c->send("GET /socket/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        . "Connection: Upgrade\r\n\r\n");
    my $head = '';
    while ($head !~ /\r\n\r\n\z/) {
        my $byte = $c->read_some(1);
        last if $byte eq '';
        $head .= $byte;
    }
    like($head, qr/^HTTP\/1\.1 101 /, 'an upgraded connection');
    $c->send($body);
    is($c->read_some(length $body), $body, 'takes the bytes as they come');
    $c->close;
};

$t->done;
