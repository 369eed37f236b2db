#include "core/address.h"

#include <arpa/inet.h>
#include <string.h>


#define DFD_ADDR_BITS    128
#define DFD_ADDR_V4_BITS 96 /* of the IPv4-mapped prefix ::ffff:0:0/96 */
#define DFD_ADDR_MAX_V4  15 /* "255.255.255.255" */
#define DFD_ADDR_GROUPS  8

/* bounds what is dropped unread; interface names are far shorter */
#define DFD_ADDR_MAX_ZONE 64


static const uint8_t dfd_addr_v4_prefix[12] = { 0, 0, 0, 0, 0,    0,
                                                0, 0, 0, 0, 0xff, 0xff };


static int
dfd_addr_parse_v4(uint8_t octets[4], const char *text, size_t len)
{
    size_t      i;
    unsigned    value, digits;
    const char *p, *end;

    p = text;
    end = text + len;

    for (i = 0; i < 4; i++) {

        if (i != 0) {
            if (p == end || *p != '.') {
                return 0;
            }

            p++;
        }

        value = 0;

        for (digits = 0; p < end && *p >= '0' && *p <= '9'; digits++, p++) {
            value = value * 10 + (unsigned) (*p - '0');

            /* a leading zero means octal to some and decimal to others */
            if ((digits != 0 && value < 10) || value > 255) {
                return 0;
            }
        }

        if (digits == 0) {
            return 0;
        }

        octets[i] = (uint8_t) value;
    }

    return p == end;
}


/* RFC 4007 11: the text after "%"; it names an interface of the writer's */
static int
dfd_addr_is_zone(const char *zone, size_t len)
{
    size_t i;

    if (len == 0 || len > DFD_ADDR_MAX_ZONE) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (zone[i] <= ' ' || zone[i] >= 0x7f || zone[i] == '%'
            || zone[i] == '/' || zone[i] == ']' || zone[i] == '"'
            || zone[i] == '\\')
        {
            return 0;
        }
    }

    return 1;
}


static int
dfd_addr_parse_v6(dfd_addr_t *addr, const char *text, size_t len)
{
    char        copy[DFD_ADDR_TEXT];
    const char *zone;

    zone = memchr(text, '%', len);

    if (zone != NULL) {
        if (!dfd_addr_is_zone(zone + 1, len - (size_t) (zone + 1 - text))) {
            return 0;
        }

        len = (size_t) (zone - text);
    }

    if (len >= sizeof(copy) || memchr(text, '\0', len) != NULL) {
        return 0;
    }

    memcpy(copy, text, len);
    copy[len] = '\0';

    return inet_pton(AF_INET6, copy, addr->bytes) == 1;
}


int
dfd_addr_parse(dfd_addr_t *addr, const char *text, size_t len)
{
    uint8_t octets[4];

    if (len == 0 || len > DFD_ADDR_TEXT + DFD_ADDR_MAX_ZONE) {
        return 0;
    }

    if (len <= DFD_ADDR_MAX_V4 && memchr(text, ':', len) == NULL) {

        if (!dfd_addr_parse_v4(octets, text, len)) {
            return 0;
        }

        memcpy(addr->bytes, dfd_addr_v4_prefix, sizeof(dfd_addr_v4_prefix));
        memcpy(addr->bytes + sizeof(dfd_addr_v4_prefix), octets, 4);

        return 1;
    }

    return dfd_addr_parse_v6(addr, text, len);
}


static char *
dfd_addr_write_v4(char *p, const uint8_t octets[4])
{
    size_t   i;
    unsigned value;

    for (i = 0; i < 4; i++) {
        value = octets[i];

        if (value >= 100) {
            *p++ = (char) ('0' + value / 100);
        }

        if (value >= 10) {
            *p++ = (char) ('0' + value / 10 % 10);
        }

        *p++ = (char) ('0' + value % 10);
        *p++ = '.';
    }

    return p - 1;
}


static char *
dfd_addr_write_group(char *p, unsigned group)
{
    int               shift;
    static const char hex[] = "0123456789abcdef";

    for (shift = 12; shift > 0 && (group >> shift) == 0; shift -= 4) {
        continue;
    }

    for (/* void */; shift >= 0; shift -= 4) {
        *p++ = hex[(group >> shift) & 0xf];
    }

    return p;
}


/*
 * Own code, because inet_ntop() writes through sprintf() and this is on the
 * path of each enriched address, and because it shows ::a14:10b, an address
 * that is no IPv4 address, as ::10.20.1.11.
 */
static char *
dfd_addr_write_v6(char *p, const uint8_t *bytes)
{
    unsigned groups[DFD_ADDR_GROUPS];
    unsigned i, run, gap, gap_len;

    gap = DFD_ADDR_GROUPS;
    gap_len = 1; /* RFC 5952 4.2.2: one group alone is not shortened */
    run = 0;

    for (i = 0; i < DFD_ADDR_GROUPS; i++) {
        groups[i] = ((unsigned) bytes[2 * i] << 8) | bytes[2 * i + 1];
        run = (groups[i] == 0) ? run + 1 : 0;

        if (run > gap_len) {
            gap_len = run;
            gap = i + 1 - run;
        }
    }

    for (i = 0; i < DFD_ADDR_GROUPS; i++) {

        if (i == gap) {
            *p++ = ':';
            *p++ = ':';
            i += gap_len - 1;
            continue;
        }

        if (i != 0 && i != gap + gap_len) {
            *p++ = ':';
        }

        p = dfd_addr_write_group(p, groups[i]);
    }

    return p;
}


size_t
dfd_addr_format(const dfd_addr_t *addr, char text[DFD_ADDR_TEXT])
{
    char *end;

    if (dfd_addr_is_v4(addr)) {
        end = dfd_addr_write_v4(text, addr->bytes + 12);

    } else {
        end = dfd_addr_write_v6(text, addr->bytes);
    }

    *end = '\0';

    return (size_t) (end - text);
}


int
dfd_addr_is_v4(const dfd_addr_t *addr)
{
    return memcmp(addr->bytes, dfd_addr_v4_prefix, sizeof(dfd_addr_v4_prefix))
        == 0;
}


static int
dfd_addr_is_special_v4(const uint8_t octets[4])
{
    static const uint8_t broadcast[4] = { 255, 255, 255, 255 };

    /* RFC 1122 3.2.1.3: all of 0.0.0.0/8 stands for "this network" */
    if (octets[0] == 0 || octets[0] == 127) {
        return 1;
    }

    if (octets[0] == 169 && octets[1] == 254) {
        return 1;
    }

    return (octets[0] & 0xf0) == 0xe0 || memcmp(octets, broadcast, 4) == 0;
}


int
dfd_addr_is_special(const dfd_addr_t *addr)
{
    const uint8_t       *b;
    static const uint8_t zero[15];

    b = addr->bytes;

    if (dfd_addr_is_v4(addr)) {
        return dfd_addr_is_special_v4(b + 12);
    }

    if (b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80)) {
        return 1;
    }

    return memcmp(b, zero, sizeof(zero)) == 0 && b[15] <= 1;
}


int
dfd_addr_is_private(const dfd_addr_t *addr)
{
    const uint8_t *b;

    if (!dfd_addr_is_v4(addr)) {
        return (addr->bytes[0] & 0xfe) == 0xfc;
    }

    b = addr->bytes + 12;

    return b[0] == 10 || (b[0] == 172 && (b[1] & 0xf0) == 16)
        || (b[0] == 192 && b[1] == 168)
        || (b[0] == 100 && (b[1] & 0xc0) == 64);
}


/* 1 when the two are equal in their first `bits` bits */
static int
dfd_addr_same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    unsigned bytes, mask;

    bytes = bits / 8;

    if (memcmp(a, b, bytes) != 0) {
        return 0;
    }

    if (bits % 8 == 0) {
        return 1;
    }

    mask = 0xffU << (8 - bits % 8);

    return ((a[bytes] ^ b[bytes]) & mask & 0xff) == 0;
}


static int
dfd_cidr_parse_bits(unsigned *bits, const char *text, size_t len, unsigned max)
{
    size_t   i;
    unsigned value;

    if (len == 0 || len > 3 || (len > 1 && text[0] == '0')) {
        return 0;
    }

    value = 0;

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return 0;
        }

        value = value * 10 + (unsigned) (text[i] - '0');
    }

    *bits = value;

    return value <= max;
}


int
dfd_cidr_parse(dfd_cidr_t *cidr, const char *text, size_t len)
{
    size_t      addr_len;
    unsigned    i, max;
    const char *slash;

    if (len == 0) {
        return 0;
    }

    slash = memchr(text, '/', len);
    addr_len = (slash == NULL) ? len : (size_t) (slash - text);

    /* a zone belongs to one machine's view and names no network */
    if (memchr(text, '%', addr_len) != NULL
        || !dfd_addr_parse(&cidr->net, text, addr_len))
    {
        return 0;
    }

    cidr->bits = DFD_ADDR_BITS;

    if (slash == NULL) {
        return 1;
    }

    max = DFD_ADDR_BITS;

    if (memchr(text, ':', addr_len) == NULL) {
        max -= DFD_ADDR_V4_BITS;
    }

    if (!dfd_cidr_parse_bits(&cidr->bits, slash + 1, len - addr_len - 1, max))
    {
        return 0;
    }

    cidr->bits += DFD_ADDR_BITS - max;

    for (i = cidr->bits; i < DFD_ADDR_BITS; i++) {
        if (cidr->net.bytes[i / 8] & (0x80U >> (i % 8))) {
            return 0;
        }
    }

    return 1;
}


int
dfd_cidr_contains(const dfd_cidr_t *cidr, const dfd_addr_t *addr)
{
    /* ::/0 means every IPv6 address, not the mapped form of all IPv4 */
    if (cidr->bits < DFD_ADDR_V4_BITS && dfd_addr_is_v4(addr)) {
        return 0;
    }

    return dfd_addr_same_prefix(cidr->net.bytes, addr->bytes, cidr->bits);
}
