#include "core/address.h"

#include "unit.h"

#include <arpa/inet.h>


/* text -> canonical text, or NULL when it is no address */
typedef struct {
    const char *text;
    const char *canonical;
} parse_case_t;


static const parse_case_t parse_cases[] = {
    { "10.20.1.11", "10.20.1.11" },
    { "0.0.0.0", "0.0.0.0" },
    { "255.255.255.255", "255.255.255.255" },
    { "1.2.3.100", "1.2.3.100" },

    /* IPv4 dressed as IPv6, in every spelling */
    { "::ffff:10.20.1.11", "10.20.1.11" },
    { "::FFFF:0A14:010B", "10.20.1.11" },
    { "0:0:0:0:0:ffff:10.20.1.11", "10.20.1.11" },
    { "0000:0000:0000:0000:0000:FFFF:10.20.1.11", "10.20.1.11" },
    { "::ffff:10.20.1.11%eth0", "10.20.1.11" },

    /* the deprecated compatible form is another address, not IPv4 */
    { "::10.20.1.11", "::a14:10b" },

    /* IPv6 spellings; a zone is dropped */
    { "2001:DB8:0:0:0:0:0:2A", "2001:db8::2a" },
    { "2001:db8::2a", "2001:db8::2a" },
    { "2001:0db8::002a", "2001:db8::2a" },
    { "2001:db8::2a%eth0", "2001:db8::2a" },
    { "2001:db8::2a%25eth0", "2001:db8::2a" },
    { "fe80::1%3", "fe80::1" },
    { "fe80::1%25eth0", "fe80::1" },
    { "::", "::" },
    { "::1", "::1" },
    { "1::", "1::" },

    /* RFC 5952: the longest run, the first of equals, never one group */
    { "2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1" },
    { "2001:0:0:1:0:0:0:1", "2001:0:0:1::1" },
    { "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1" },
    { "0:0:1:2:3:4:5:6", "::1:2:3:4:5:6" },
    { "1:2:3:4:5:6:0:0", "1:2:3:4:5:6::" },
    { "FFFF:ffff:FFFF:ffff:FFFF:ffff:FFFF:ffff",
      "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" },

    /* leading zeros and other readings of numbers */
    { "010.020.001.011", NULL },
    { "10.20.1.011", NULL },
    { "10.20.1.00", NULL },
    { "0x0a.20.1.11", NULL },
    { "10.20.267", NULL },
    { "169083147", NULL },
    { "256.1.1.1", NULL },
    { "1.2.3.4.5", NULL },
    { "1.2.3", NULL },
    { "1.2.3.", NULL },
    { ".1.2.3", NULL },
    { "1..2.3", NULL },
    { "1.2.3.4.", NULL },
    { "-1.2.3.4", NULL },
    { "10.20.1.99999999999", NULL },
    { "::ffff:010.20.1.11", NULL },

    /* placeholders */
    { "", NULL },
    { "-", NULL },
    { "unknown", NULL },
    { "N/A", NULL },

    /* ports, brackets, prefix lengths and blanks are no part of it */
    { "10.20.1.11:51514", NULL },
    { "[2001:db8::2a]:443", NULL },
    { "[2001:db8::2a]", NULL },
    { " 10.20.1.11 ", NULL },
    { "10.20.1.11/24", NULL },
    { "2001:db8::/32", NULL },
    { "10.20.1.11%eth0", NULL },

    /* not IPv6 */
    { ":", NULL },
    { ":::", NULL },
    { "1:2:3:4:5:6:7", NULL },
    { "1:2:3:4:5:6:7:8:9", NULL },
    { "1::2::3", NULL },
    { "12345::", NULL },
    { "2001:db8::2a%", NULL },
    { "2001:db8::2a%eth 0", NULL },
    { "2001:db8::2a%a%b", NULL },
    { "%eth0", NULL },
    { "00:11:22:33:44:55", NULL },
    { "12:34:56", NULL },
    { "0000:0000:0000:0000:0000:0000:0000:0000:0000", NULL },
};


static void
test_parse(void)
{
    size_t              i, len;
    char                text[DFD_ADDR_TEXT];
    dfd_addr_t          addr, again;
    const parse_case_t *c;

    for (i = 0; i < sizeof(parse_cases) / sizeof(parse_cases[0]); i++) {
        c = &parse_cases[i];

        if (!dfd_addr_parse(&addr, c->text, strlen(c->text))) {
            unit_str(NULL, c->canonical, "\"%s\" parsed", c->text);
            continue;
        }

        len = dfd_addr_format(&addr, text);

        unit_str(text, c->canonical, "\"%s\" parsed", c->text);
        unit_ok(len == strlen(text) && dfd_addr_parse(&again, text, len)
                    && memcmp(&addr, &again, sizeof(addr)) == 0,
                "and back from \"%s\"", text);
    }

    unit_ok(!dfd_addr_parse(&addr, "10.20.1.11\0", 11), "a zero behind it");
    unit_ok(!dfd_addr_parse(&addr, "::1\0", 4), "a zero behind IPv6");
    unit_ok(dfd_addr_parse(&addr, "10.20.1.11x", 10), "only len bytes count");
    unit_ok(!dfd_addr_parse(&addr, NULL, 0), "no text at all");
}


static void
test_long_zone(void)
{
    char       text[256];
    dfd_addr_t addr;

    memset(text, 'z', sizeof(text));
    memcpy(text, "2001:db8::2a%", 13);

    unit_int(dfd_addr_parse(&addr, text, 13 + 64), 1, "a zone of 64 bytes");
    unit_int(dfd_addr_parse(&addr, text, 13 + 65), 0, "a zone of 65 bytes");
    unit_int(dfd_addr_parse(&addr, text, sizeof(text)), 0, "a longer one");
}


/* the system's own reader and writer agree about IPv6 */
static void
test_against_libc(void)
{
    size_t         i, j, wrong;
    char           text[DFD_ADDR_TEXT], theirs[DFD_ADDR_TEXT];
    uint64_t       state;
    dfd_addr_t     addr, back;
    struct in_addr v4;

    wrong = 0;
    state = 88172645463325252ULL;

    for (i = 0; i < 20000; i++) {

        for (j = 0; j < 16; j++) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;

            /* many zeros, so that runs of them occur */
            addr.bytes[j] = (state & 3) ? 0 : (uint8_t) (state >> 32);
        }

        addr.bytes[0] |= 0x20;

        (void) dfd_addr_format(&addr, text);
        (void) inet_ntop(AF_INET6, addr.bytes, theirs, sizeof(theirs));

        if (strcmp(text, theirs) != 0) {
            unit_note("%s against %s", text, theirs);
            wrong++;
        }

        memset(addr.bytes, 0, 10);
        memset(addr.bytes + 10, 0xff, 2);
        memcpy(&v4, addr.bytes + 12, 4);

        (void) dfd_addr_format(&addr, text);
        (void) inet_ntop(AF_INET, &v4, theirs, sizeof(theirs));

        if (strcmp(text, theirs) != 0
            || !dfd_addr_parse(&back, theirs, strlen(theirs))
            || memcmp(&addr, &back, sizeof(addr)) != 0)
        {
            unit_note("%s against %s", text, theirs);
            wrong++;
        }
    }

    unit_int(wrong, 0, "canonical text as inet_ntop() writes it");
}


typedef struct {
    const char *text;
    int         v4;
    int         special;
    int private;
} kind_case_t;


static const kind_case_t kind_cases[] = {
    { "10.20.1.11", 1, 0, 1 },
    { "10.255.255.255", 1, 0, 1 },
    { "11.0.0.0", 1, 0, 0 },
    { "172.15.255.255", 1, 0, 0 },
    { "172.16.0.1", 1, 0, 1 },
    { "172.31.255.255", 1, 0, 1 },
    { "172.32.0.0", 1, 0, 0 },
    { "192.168.122.1", 1, 0, 1 },
    { "192.169.0.1", 1, 0, 0 },
    { "100.64.0.1", 1, 0, 1 },
    { "100.127.255.255", 1, 0, 1 },
    { "100.128.0.0", 1, 0, 0 },
    { "203.0.113.7", 1, 0, 0 },
    { "0.0.0.0", 1, 1, 0 },
    { "0.1.2.3", 1, 1, 0 },
    { "127.0.0.1", 1, 1, 0 },
    { "127.255.255.254", 1, 1, 0 },
    { "169.254.10.20", 1, 1, 0 },
    { "169.253.0.1", 1, 0, 0 },
    { "224.0.0.251", 1, 1, 0 },
    { "239.255.255.250", 1, 1, 0 },
    { "240.0.0.1", 1, 0, 0 },
    { "255.255.255.255", 1, 1, 0 },
    { "255.255.255.254", 1, 0, 0 },
    { "::ffff:127.0.0.1", 1, 1, 0 },
    { "::", 0, 1, 0 },
    { "::1", 0, 1, 0 },
    { "::2", 0, 0, 0 },
    { "fe80::1", 0, 1, 0 },
    { "febf::1", 0, 1, 0 },
    { "fec0::1", 0, 0, 0 },
    { "ff02::fb", 0, 1, 0 },
    { "2001:db8::2a", 0, 0, 0 },
    { "fc00::1", 0, 0, 1 },
    { "fdff::1", 0, 0, 1 },
    { "fb00::1", 0, 0, 0 },
};


static void
test_kinds(void)
{
    size_t             i;
    dfd_addr_t         addr;
    const kind_case_t *c;

    for (i = 0; i < sizeof(kind_cases) / sizeof(kind_cases[0]); i++) {
        c = &kind_cases[i];

        unit_int(dfd_addr_parse(&addr, c->text, strlen(c->text)), 1,
                 "%s parsed", c->text);
        unit_int(dfd_addr_is_v4(&addr), c->v4, "%s: IPv4", c->text);
        unit_int(dfd_addr_is_special(&addr), c->special, "%s: special",
                 c->text);
        unit_int(dfd_addr_is_private(&addr), c->private, "%s: private",
                 c->text);
    }
}


typedef struct {
    const char *cidr;
    int         valid;
    const char *inside;
    const char *outside;
} cidr_case_t;


static const cidr_case_t cidr_cases[] = {
    { "10.0.0.0/8", 1, "10.255.255.255", "11.0.0.0" },
    { "10.20.1.0/24", 1, "10.20.1.11", "10.20.2.11" },
    { "10.20.1.8/29", 1, "10.20.1.15", "10.20.1.16" },
    { "10.20.1.11", 1, "10.20.1.11", "10.20.1.10" },
    { "10.20.1.11/32", 1, "::ffff:10.20.1.11", "10.20.1.12" },
    { "0.0.0.0/0", 1, "203.0.113.7", "2001:db8::1" },
    { "2001:db8::/32", 1, "2001:db8:ffff::1", "2001:db9::" },
    { "2001:db8::/33", 1, "2001:db8:7fff::", "2001:db8:8000::" },
    { "2001:db8::2a/128", 1, "2001:db8::2a", "2001:db8::2b" },
    { "::/0", 1, "2001:db8::1", "10.20.1.11" },
    { "::ffff:10.20.0.0/112", 1, "10.20.9.9", "10.21.0.0" },
    { "10.20.1.11/24", 0, NULL, NULL },
    { "10.0.0.0/33", 0, NULL, NULL },
    { "10.0.0.0/08", 0, NULL, NULL },
    { "10.0.0.0/", 0, NULL, NULL },
    { "10.0.0.0/+8", 0, NULL, NULL },
    { "10.0.0.0/8 ", 0, NULL, NULL },
    { "10.0.0.0/8/8", 0, NULL, NULL },
    { "10.0.0.0/255.0.0.0", 0, NULL, NULL },
    { "2001:db8::/129", 0, NULL, NULL },
    { "2001:db8::1/64", 0, NULL, NULL },
    { "fe80::%eth0/64", 0, NULL, NULL },
    { "fe80::/64%eth0", 0, NULL, NULL },
    { "/8", 0, NULL, NULL },
    { "", 0, NULL, NULL },
    { "ten", 0, NULL, NULL },
};


static void
test_cidr(void)
{
    size_t             i;
    dfd_addr_t         addr;
    dfd_cidr_t         cidr;
    const cidr_case_t *c;

    for (i = 0; i < sizeof(cidr_cases) / sizeof(cidr_cases[0]); i++) {
        c = &cidr_cases[i];

        unit_int(dfd_cidr_parse(&cidr, c->cidr, strlen(c->cidr)), c->valid,
                 "network \"%s\"", c->cidr);

        if (!c->valid) {
            continue;
        }

        (void) dfd_addr_parse(&addr, c->inside, strlen(c->inside));
        unit_int(dfd_cidr_contains(&cidr, &addr), 1, "%s in %s", c->inside,
                 c->cidr);

        (void) dfd_addr_parse(&addr, c->outside, strlen(c->outside));
        unit_int(dfd_cidr_contains(&cidr, &addr), 0, "%s not in %s",
                 c->outside, c->cidr);
    }
}


int
main(void)
{
    test_parse();
    test_long_zone();
    test_against_libc();
    test_kinds();
    test_cidr();

    return unit_done();
}
