#include "core/splice_internal.h"

#include <string.h>


static int
dfd_splice_hex(unsigned char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    c |= 0x20;

    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}


/* the number of \uXXXX at text, or -1 */
static int
dfd_splice_unit(const unsigned char *text, const unsigned char *end)
{
    int i, digit, unit;

    if (end - text < 6 || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }

    for (i = 2, unit = 0; i < 6; i++) {
        digit = dfd_splice_hex(text[i]);

        if (digit < 0) {
            return -1;
        }

        unit = unit * 16 + digit;
    }

    return unit;
}


/* RFC 3629; a surrogate that stands alone becomes three bytes as well */
static size_t
dfd_splice_utf8(unsigned char *to, unsigned point)
{
    if (point < 0x80) {
        to[0] = (unsigned char) point;
        return 1;
    }

    if (point < 0x800) {
        to[0] = (unsigned char) (0xc0 | (point >> 6));
        to[1] = (unsigned char) (0x80 | (point & 0x3f));
        return 2;
    }

    if (point < 0x10000) {
        to[0] = (unsigned char) (0xe0 | (point >> 12));
        to[1] = (unsigned char) (0x80 | ((point >> 6) & 0x3f));
        to[2] = (unsigned char) (0x80 | (point & 0x3f));
        return 3;
    }

    to[0] = (unsigned char) (0xf0 | (point >> 18));
    to[1] = (unsigned char) (0x80 | ((point >> 12) & 0x3f));
    to[2] = (unsigned char) (0x80 | ((point >> 6) & 0x3f));
    to[3] = (unsigned char) (0x80 | (point & 0x3f));

    return 4;
}


/* decodes the escape or byte at *text; returns how many bytes that makes */
static size_t
dfd_splice_decode(unsigned char to[4], const unsigned char **text,
                  const unsigned char *end)
{
    int                  high, low;
    const char          *found;
    const unsigned char *p;
    static const char    letters[] = "bfnrt";
    static const char    meanings[] = "\b\f\n\r\t";

    p = *text;

    if (*p != '\\' || end - p < 2) {
        to[0] = *p;
        *text = p + 1;
        return 1;
    }

    high = dfd_splice_unit(p, end);

    if (high < 0) {
        found = memchr(letters, p[1], sizeof(letters) - 1);
        to[0] = p[1];

        if (found != NULL) {
            to[0] = (unsigned char) meanings[found - letters];
        }

        *text = p + 2;
        return 1;
    }

    *text = p + 6;

    if (high >= 0xd800 && high < 0xdc00) {
        low = dfd_splice_unit(p + 6, end);

        if (low >= 0xdc00 && low < 0xe000) {
            *text = p + 12;
            high = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
    }

    return dfd_splice_utf8(to, (unsigned) high);
}


int
dfd_splice_key_read(dfd_splice_key_t *key, const unsigned char *text,
                    const unsigned char *end, size_t max)
{
    const unsigned char *p;

    if ((size_t) (end - text) > max) {
        end = text + max + 1;
    }

    for (p = text; p < end && *p != '"'; p++) {

        if (*p == '\\') {
            p++;
        }
    }

    if (p >= end) {
        return 0;
    }

    key->text = text;
    key->len = (size_t) (p - text);

    return 1;
}


int
dfd_splice_key_same(const dfd_splice_key_t *one, const dfd_splice_key_t *other)
{
    size_t               n, m, i, j;
    unsigned char        a[4], b[4];
    const unsigned char *p, *q, *p_end, *q_end;

    p = one->text;
    p_end = p + one->len;
    q = other->text;
    q_end = q + other->len;
    n = m = i = j = 0;

    for (;;) {

        if (i == n) {
            i = 0;
            n = (p < p_end) ? dfd_splice_decode(a, &p, p_end) : 0;
        }

        if (j == m) {
            j = 0;
            m = (q < q_end) ? dfd_splice_decode(b, &q, q_end) : 0;
        }

        if (n == 0 || m == 0) {
            return n == m;
        }

        if (a[i++] != b[j++]) {
            return 0;
        }
    }
}


int
dfd_splice_key_is(const dfd_splice_key_t *key, const char *text, size_t len)
{
    size_t               n;
    unsigned char        bytes[4];
    const unsigned char *p, *end;

    p = key->text;
    end = p + key->len;

    while (p < end) {
        n = dfd_splice_decode(bytes, &p, end);

        if (n > len || memcmp(bytes, text, n) != 0) {
            return 0;
        }

        text += n;
        len -= n;
    }

    return len == 0;
}


size_t
dfd_splice_key_ends(const dfd_splice_key_t *key, const char *text, size_t len)
{
    size_t               n;
    unsigned char        bytes[4];
    const unsigned char *p, *end;

    n = 0;
    end = key->text + key->len;

    for (p = key->text; p < end; /* void */) {
        n += dfd_splice_decode(bytes, &p, end);
    }

    if (n > len || !dfd_splice_key_is(key, text + len - n, n)) {
        return SIZE_MAX;
    }

    return n;
}
