#!/usr/bin/perl

# nginx loads modules with global symbol scope: a name of ours that is not
# prefixed could shadow, or be shadowed by, another module's.

use strict;
use warnings;

use Test::More;
use FindBin ();

my $module = $ENV{DFD_MODULE}
    // "$FindBin::Bin/../build/ngx_http_defender_module.so";

plan skip_all => 'a sanitizer build exports more' if $ENV{DFD_ASAN};

my @names = map { (split)[2] } `nm -D --defined-only $module`;

ok(@names > 10, 'the module has symbols');

is_deeply([grep {
        !/^(?:ngx_http_defender|dfd_|ngx_modules$|ngx_module_names$|ngx_module_order$)/
    } @names], [], 'and all of them are prefixed');

done_testing;
