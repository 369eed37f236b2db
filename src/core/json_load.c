#include "core/json_load.h"

#include <stdlib.h>
#include <string.h>


#define DFD_JSON_ESCAPE 6 /* bytes of \uXXXX */

/* digits that fit into 64 bits, whatever they are */
#define DFD_JSON_DIGITS 18

/* not an escape of this form */
#define DFD_JSON_NO_UNIT (-1)


/* U+FFFD, the replacement character */
static const char dfd_json_fffd[DFD_JSON_ESCAPE] = { '\\', 'u', 'f',
                                                     'f',  'f', 'd' };


/* what the \uXXXX there stands for */
static int
dfd_json_unit(const char *p, const char *end)
{
    int         i, unit;
    const char *digit;

    static const char hex[] = "0123456789abcdefABCDEF";

    if (end - p < DFD_JSON_ESCAPE || p[0] != '\\' || p[1] != 'u') {
        return DFD_JSON_NO_UNIT;
    }

    unit = 0;

    for (i = 2; i < DFD_JSON_ESCAPE; i++) {
        digit = memchr(hex, p[i], sizeof(hex) - 1);

        if (digit == NULL) {
            return DFD_JSON_NO_UNIT;
        }

        unit = unit * 16
             + (int) (digit - hex < 16 ? digit - hex : digit - hex - 6);
    }

    return unit;
}


/* behind an escape; a surrogate without its other half becomes U+FFFD */
static char *
dfd_json_mend_escape(char *p, const char *end)
{
    int unit, next;

    unit = dfd_json_unit(p, end);

    if (unit == DFD_JSON_NO_UNIT) {
        return p + (end - p < 2 ? 1 : 2);
    }

    if (unit < 0xd800 || unit > 0xdfff) {
        return p + DFD_JSON_ESCAPE;
    }

    next = dfd_json_unit(p + DFD_JSON_ESCAPE, end);

    if (unit < 0xdc00 && next >= 0xdc00 && next <= 0xdfff) {
        return p + 2 * DFD_JSON_ESCAPE;
    }

    memcpy(p, dfd_json_fffd, DFD_JSON_ESCAPE);

    return p + DFD_JSON_ESCAPE;
}


/* behind a character; a byte that belongs to none becomes a "?" */
static char *
dfd_json_mend_byte(char *p, const char *end)
{
    int                  i, n;
    unsigned             lowest, highest;
    const unsigned char *b;

    b = (const unsigned char *) p;

    if (b[0] < 0x80) {
        return p + 1;
    }

    /* RFC 3629 4: the second byte excludes long forms and surrogates */

    n = b[0] < 0xe0 ? 2 : b[0] < 0xf0 ? 3 : 4;
    lowest = b[0] == 0xe0 ? 0xa0 : b[0] == 0xf0 ? 0x90 : 0x80;
    highest = b[0] == 0xed ? 0x9f : b[0] == 0xf4 ? 0x8f : 0xbf;

    if (b[0] < 0xc2 || b[0] > 0xf4 || end - p < n || b[1] < lowest
        || b[1] > highest)
    {
        *p = '?';
        return p + 1;
    }

    for (i = 2; i < n; i++) {
        if ((b[i] & 0xc0) != 0x80) {
            *p = '?';
            return p + 1;
        }
    }

    return p + n;
}


/* a string is a name when a colon follows it */
static int
dfd_json_is_name(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) {
        p++;
    }

    return p < end && *p == ':';
}


static void
dfd_json_mend_name(char *p, const char *end)
{
    while (p < end) {
        if (*p != '\\') {
            p++;

        } else if (dfd_json_unit(p, end) == 0) {
            memcpy(p, dfd_json_fffd, DFD_JSON_ESCAPE);
            p += DFD_JSON_ESCAPE;

        } else {
            p += 2;
        }
    }
}


/* from the first byte inside of a string; returns where it goes on */
static char *
dfd_json_mend_string(char *p, const char *end)
{
    char *string;

    string = p;

    while (p < end && *p != '"') {
        p = (*p == '\\') ? dfd_json_mend_escape(p, end)
                         : dfd_json_mend_byte(p, end);
    }

    if (p >= end) {
        return p;
    }

    if (dfd_json_is_name(p + 1, end)) {
        dfd_json_mend_name(string, p);
    }

    return p + 1;
}


/*
 * Which numbers jansson takes depends on their value; all that are not
 * plainly small give way, as nothing of a machine that is shown is one.
 */
static char *
dfd_json_mend_number(char *p, const char *end)
{
    size_t len;

    static const char number[] = "0123456789+-.eE";

    for (len = 0;
         p + len < end && memchr(number, p[len], sizeof(number) - 1) != NULL;
         len++)
    {
        /* void */
    }

    if (len > DFD_JSON_DIGITS
        || (len >= sizeof("null") - 1
            && (memchr(p, 'e', len) != NULL || memchr(p, 'E', len) != NULL)))
    {
        memset(p, ' ', len);
        memcpy(p, "null", sizeof("null") - 1);
    }

    return p + len;
}


/* in place: nothing that is put in is longer than what it replaces */
static void
dfd_json_mend(char *p, const char *end)
{
    while (p < end) {
        if (*p == '"') {
            p = dfd_json_mend_string(p + 1, end);

        } else if (*p == '-' || (*p >= '0' && *p <= '9')) {
            p = dfd_json_mend_number(p, end);

        } else {
            p++;
        }
    }
}


static int
dfd_json_is_no_memory(const json_t *value, const json_error_t *error)
{
    return value == NULL && json_error_code(error) == json_error_out_of_memory;
}


json_t *
dfd_json_load(const char *json, size_t len, int *no_memory)
{
    int          failed;
    char        *copy;
    json_t      *value;
    json_error_t error;

    value = json_loadb(json, len, JSON_ALLOW_NUL, &error);
    failed = dfd_json_is_no_memory(value, &error);

    if (value == NULL && !failed && len != 0) {
        copy = malloc(len);

        if (copy == NULL) {
            failed = 1;

        } else {
            memcpy(copy, json, len);
            dfd_json_mend(copy, copy + len);
            value = json_loadb(copy, len, JSON_ALLOW_NUL, &error);
            failed = dfd_json_is_no_memory(value, &error);
            free(copy);
        }
    }

    if (no_memory != NULL) {
        *no_memory = failed;
    }

    return value;
}
