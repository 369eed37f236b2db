#ifndef DFD_UNIT_H
#define DFD_UNIT_H

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>


/*
 * Checks for the C unit tests, as TAP on stdout so that prove runs them:
 *
 *     #include "unit.h"
 *
 *     int
 *     main(void)
 *     {
 *         unit_ok(a == b, "a equals b");
 *         unit_int(strlen("abc"), 3, "length of %s", "abc");
 *         unit_str(text, "10.0.0.1", "canonical text");
 *         unit_mem(buf, n, "\x00\x01", 2, "bytes");
 *         return unit_done();
 *     }
 *
 * A check prints "ok N - name" or "not ok N - name" with what was got and
 * expected as a comment, and returns whether it held.  The name is a format.
 * unit_done() prints the plan and returns the exit status: 1 on a failure,
 * or when nothing was checked.
 *
 * A loop over many inputs is one check: count what went wrong with
 * unit_note() for the details, then unit_int(wrong, 0, "...").
 */


static unsigned unit_count;
static unsigned unit_failed;


__attribute__((unused, format(printf, 1, 2))) static void
unit_note(const char *fmt, ...)
{
    va_list args;

    printf("# ");
    va_start(args, fmt);
    vprintf(fmt, args);
    va_end(args);
    printf("\n");
}


static int
unit_report(int held, const char *file, int line, const char *fmt,
            va_list args)
{
    unit_count++;

    printf(held ? "ok %u - " : "not ok %u - ", unit_count);
    vprintf(fmt, args);
    printf("\n");

    if (!held) {
        unit_failed++;
        unit_note("at %s line %d", file, line);
    }

    /* what a crash right after this check leaves behind must be complete */
    fflush(stdout);

    return held;
}


/* bytes as text: what is not plain ASCII is shown as \xNN */
static void
unit_show(const char *what, const void *bytes, size_t len)
{
    size_t               i;
    const unsigned char *p = bytes;

    if (bytes == NULL) {
        printf("# %s: NULL\n", what);
        return;
    }

    printf("# %s (%zu): ", what, len);

    for (i = 0; i < len && i < 2000; i++) {
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '\\') {
            putchar(p[i]);

        } else {
            printf("\\x%02x", p[i]);
        }
    }

    printf(i < len ? "...\n" : "\n");
}


__attribute__((unused, format(printf, 4, 5))) static int
unit_check_ok(int held, const char *file, int line, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    unit_report(held, file, line, fmt, args);
    va_end(args);

    return held;
}


__attribute__((unused, format(printf, 5, 6))) static int
unit_check_int(intmax_t got, intmax_t expected, const char *file, int line,
               const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    unit_report(got == expected, file, line, fmt, args);
    va_end(args);

    if (got != expected) {
        unit_note("got %jd, expected %jd", got, expected);
    }

    return got == expected;
}


__attribute__((unused, format(printf, 7, 8))) static int
unit_check_mem(const void *got, size_t got_len, const void *expected,
               size_t expected_len, const char *file, int line,
               const char *fmt, ...)
{
    int     held;
    va_list args;

    if (got == NULL || expected == NULL) {
        held = (got == expected);

    } else {
        held = (got_len == expected_len
                && (got_len == 0 || memcmp(got, expected, got_len) == 0));
    }

    va_start(args, fmt);
    unit_report(held, file, line, fmt, args);
    va_end(args);

    if (!held) {
        unit_show("got", got, got_len);
        unit_show("expected", expected, expected_len);
    }

    return held;
}


__attribute__((unused)) static size_t
unit_len(const char *text)
{
    return text == NULL ? 0 : strlen(text);
}


/* a condition */
#define unit_ok(held, ...)                                                    \
    unit_check_ok(!!(held), __FILE__, __LINE__, __VA_ARGS__)

/* two integers */
#define unit_int(got, expected, ...)                                          \
    unit_check_int((intmax_t) (got), (intmax_t) (expected), __FILE__,         \
                   __LINE__, __VA_ARGS__)

/* bytes with their length */
#define unit_mem(got, got_len, expected, expected_len, ...)                   \
    unit_check_mem((got), (got_len), (expected), (expected_len), __FILE__,    \
                   __LINE__, __VA_ARGS__)

/* two texts with a terminating zero; NULL equals NULL only */
#define unit_str(got, expected, ...)                                          \
    unit_check_mem((got), unit_len(got), (expected), unit_len(expected),      \
                   __FILE__, __LINE__, __VA_ARGS__)


__attribute__((unused)) static int
unit_done(void)
{
    printf("1..%u\n", unit_count);

    if (unit_failed != 0) {
        unit_note("%u of %u checks failed", unit_failed, unit_count);
    }

    return (unit_failed != 0 || unit_count == 0) ? 1 : 0;
}


#endif /* DFD_UNIT_H */
