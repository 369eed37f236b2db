#ifndef DFD_JSON_REFERENCE_H
#define DFD_JSON_REFERENCE_H

#include "core/json_scan.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>


/*
 * A JSON validator that goes byte by byte, written to be read rather than to
 * be fast: what the scanner says about malformed bytes is compared with it.
 * It takes whole inputs only and shares no code with the scanner.
 */

typedef enum {
    REF_VALUE = 0, /* a value has to come, */
    REF_VALUE_END, /* or the end of the array */
    REF_KEY,       /* a key has to come, */
    REF_KEY_END,   /* or the end of the object */
    REF_COLON,
    REF_AFTER, /* after a value */
    REF_STRING,
    REF_ESCAPE,
    REF_HEX,
    REF_MINUS,
    REF_ZERO,
    REF_INT,
    REF_DOT,
    REF_FRACTION,
    REF_E,
    REF_SIGN,
    REF_EXPONENT,
    REF_LITERAL
} reference_state_t;


typedef struct {
    reference_state_t state;
    int               key;     /* the string is one */
    int               hex;     /* digits to come */
    const char       *literal; /* bytes to come */
    size_t            depth;
    char              open[DFD_JSON_MAX_DEPTH];
} reference_t;


static void
reference_value_ends(reference_t *ref)
{
    ref->state = ref->depth == 0 ? REF_VALUE : REF_AFTER;
}


static int
reference_begin(reference_t *ref, unsigned char c)
{
    switch (c) {

    case '{':
    case '[':
        if (ref->depth == DFD_JSON_MAX_DEPTH) {
            return 0;
        }

        ref->open[ref->depth++] = (char) c;
        ref->state = c == '{' ? REF_KEY_END : REF_VALUE_END;
        return 1;

    case '"':
        ref->key = 0;
        ref->state = REF_STRING;
        return 1;

    case '-':
        ref->state = REF_MINUS;
        return 1;

    case '0':
        ref->state = REF_ZERO;
        return 1;

    case 't':
        ref->literal = "rue";
        break;

    case 'f':
        ref->literal = "alse";
        break;

    case 'n':
        ref->literal = "ull";
        break;

    default:
        ref->state = REF_INT;
        return c >= '1' && c <= '9';
    }

    ref->state = REF_LITERAL;

    return 1;
}


static int
reference_close(reference_t *ref, unsigned char c)
{
    if (ref->depth == 0 || ref->open[ref->depth - 1] != (c == '}' ? '{' : '['))
    {
        return 0;
    }

    ref->depth--;
    reference_value_ends(ref);

    return 1;
}


static int
reference_after(reference_t *ref, unsigned char c)
{
    if (c == ',' && ref->depth != 0) {
        ref->state = ref->open[ref->depth - 1] == '{' ? REF_KEY : REF_VALUE;
        return 1;
    }

    if (c == '}' || c == ']') {
        return reference_close(ref, c);
    }

    return 0;
}


static int
reference_string(reference_t *ref, unsigned char c)
{
    if (ref->state == REF_HEX) {
        ref->hex--;
        ref->state = ref->hex == 0 ? REF_STRING : REF_HEX;
        return c != '\0' && strchr("0123456789abcdefABCDEF", c) != NULL;
    }

    if (ref->state == REF_ESCAPE) {
        ref->state = c == 'u' ? REF_HEX : REF_STRING;
        ref->hex = 4;
        return c != '\0' && strchr("\"\\/bfnrtu", c) != NULL;
    }

    if (c == '"') {

        if (ref->key) {
            ref->state = REF_COLON;

        } else {
            reference_value_ends(ref);
        }

    } else if (c == '\\') {
        ref->state = REF_ESCAPE;
    }

    return c >= 0x20;
}


/* within a number: 1 it goes on, 0 malformed, -1 it ended before c */
static int
reference_number(reference_t *ref, unsigned char c)
{
    int digit, dot, e;

    digit = (c >= '0' && c <= '9');
    dot = (c == '.');
    e = (c == 'e' || c == 'E');

    switch (ref->state) {

    case REF_MINUS:
        ref->state = c == '0' ? REF_ZERO : REF_INT;
        return digit;

    case REF_DOT:
        ref->state = REF_FRACTION;
        return digit;

    case REF_E:
        ref->state = digit ? REF_EXPONENT : REF_SIGN;
        return digit || c == '+' || c == '-';

    case REF_SIGN:
        ref->state = REF_EXPONENT;
        return digit;

    case REF_ZERO:
    case REF_INT:
    case REF_FRACTION:
    case REF_EXPONENT:
        if (digit) {
            return ref->state != REF_ZERO;
        }

        if (dot && (ref->state == REF_ZERO || ref->state == REF_INT)) {
            ref->state = REF_DOT;
            return 1;
        }

        if (e && ref->state != REF_EXPONENT) {
            ref->state = REF_E;
            return 1;
        }

        return -1;

    default:
        return 0;
    }
}


static int
reference_is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}


/* a number or literal has ended, so c must not be a part of one */
static int
reference_ends_scalar(unsigned char c)
{
    return c == '"' || (c != '\0' && strchr(" \t\n\r{}[]:,", c) != NULL);
}


/* takes one byte; returns 0 when it is malformed */
static int
reference_byte(reference_t *ref, unsigned char c)
{
    int rc;

    if (ref->state >= REF_STRING && ref->state <= REF_HEX) {
        return reference_string(ref, c);
    }

    if (ref->state == REF_LITERAL) {

        if (*ref->literal != '\0') {
            return *ref->literal++ == (char) c;
        }

        if (!reference_ends_scalar(c)) {
            return 0;
        }

        reference_value_ends(ref);

    } else if (ref->state >= REF_MINUS) {
        rc = reference_number(ref, c);

        if (rc >= 0) {
            return rc;
        }

        if (!reference_ends_scalar(c)) {
            return 0;
        }

        reference_value_ends(ref);
    }

    if (reference_is_blank(c)) {
        return 1;
    }

    switch (ref->state) {

    case REF_COLON:
        ref->state = REF_VALUE;
        return c == ':';

    case REF_AFTER:
        return reference_after(ref, c);

    case REF_KEY:
    case REF_KEY_END:
        if (c == '}' && ref->state == REF_KEY_END) {
            return reference_close(ref, c);
        }

        ref->state = REF_STRING;
        ref->key = 1;
        return c == '"';

    default:
        if (c == ']' && ref->state == REF_VALUE_END) {
            return reference_close(ref, c);
        }

        return reference_begin(ref, c);
    }
}


/* may the input end here? */
static int
reference_is_whole(const reference_t *ref)
{
    switch (ref->state) {

    case REF_VALUE:
    case REF_ZERO:
    case REF_INT:
    case REF_FRACTION:
    case REF_EXPONENT:
        return ref->depth == 0;

    case REF_LITERAL:
        return ref->depth == 0 && *ref->literal == '\0';

    default:
        return 0;
    }
}


/* bytes of a byte-order mark to skip */
static size_t
reference_mark(const unsigned char *text, size_t len)
{
    return len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}


typedef struct {
    unsigned malformed; /* values */
    size_t   at;        /* the first malformed byte, or len at the end */
} reference_result_t;


__attribute__((unused)) static reference_result_t
reference_scan(const unsigned char *text, size_t len, int lines)
{
    int                bad;
    size_t             i;
    static reference_t ref;
    reference_result_t result;

    memset(&result, 0, sizeof(result));
    ref.state = REF_VALUE;
    ref.depth = 0;
    bad = 0;

    for (i = reference_mark(text, len); i < len; i++) {

        /* a line end closes the value, and it cannot be within one */
        if (!bad
            && (!reference_byte(&ref, text[i])
                || (lines && text[i] == '\n' && ref.depth != 0)))
        {
            bad = 1;

            if (result.malformed++ == 0) {
                result.at = i;
            }

            if (!lines) {
                return result;
            }
        }

        if (lines && text[i] == '\n') {
            ref.state = REF_VALUE;
            ref.depth = 0;
            bad = 0;
        }
    }

    if (!bad && !reference_is_whole(&ref) && result.malformed++ == 0) {
        result.at = len;
    }

    return result;
}


#endif /* DFD_JSON_REFERENCE_H */
