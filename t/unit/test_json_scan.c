#include "unit.h"

#include "core/json_scan.h"
#include "unit/json_cases.h"
#include "unit/json_reference.h"

#include <stdlib.h>


/*
 * Which JSON is accepted and where other text is malformed, on each machine's
 * index and for each split of the input.
 */

static const char *const machines[] = { "plain", "avx2", "avx512" };


/* where the scanner sees the first malformed byte, split at these places */
static size_t
scan_at(const char *text, size_t len, size_t first, size_t second, int lines)
{
    int    ok;
    size_t from, upto[3], i, n;
    char  *piece;

    static dfd_json_scan_t scan;

    upto[0] = first;
    upto[1] = second;
    upto[2] = len;

    memset(&scan, 0xa5, sizeof(scan));
    dfd_json_scan_init(&scan, lines);

    for (i = 0, from = 0, ok = 1; i < 3 && ok; i++) {
        n = upto[i] - from;
        piece = malloc(n + (n == 0));

        if (piece == NULL) {
            abort();
        }

        memcpy(piece, text + from, n);
        ok = dfd_json_scan_feed(&scan, piece, n);
        free(piece);
        from = upto[i];
    }

    return ok && dfd_json_scan_finish(&scan) ? WHOLE : scan.offset;
}


static size_t
scan_bytewise(const char *text, size_t len)
{
    size_t i;

    static dfd_json_scan_t scan;

    dfd_json_scan_init(&scan, 0);

    for (i = 0; i < len; i++) {

        if (!dfd_json_scan_feed(&scan, text + i, 1)) {
            return scan.offset;
        }
    }

    return dfd_json_scan_finish(&scan) ? WHOLE : scan.offset;
}


/* all splits in two, on all machines; counts those that do not give this */
static unsigned
wrong_splits(const char *text, size_t len, size_t at)
{
    size_t   i, split, got;
    unsigned wrong;

    for (i = 0, wrong = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {

        if (!dfd_json_index_use(machines[i])) {
            continue;
        }

        for (split = 0; split <= len; split++) {
            got = scan_at(text, len, split, split, 0);

            if (got != at) {
                wrong++;
                unit_note("%s, split at %zu: %zd", machines[i], split,
                          (ssize_t) got);
            }
        }

        got = scan_bytewise(text, len);

        if (got != at) {
            wrong++;
            unit_note("%s, bytewise: %zd", machines[i], (ssize_t) got);
        }
    }

    dfd_json_index_use(NULL);

    return wrong;
}


/* a name for the check: on one line, and without what means something there */
static const char *
shown(const scan_case_t *text)
{
    size_t      i;
    static char name[64];

    for (i = 0; i < text->len && i < sizeof(name) - 1; i++) {
        name[i] = text->text[i];

        if (name[i] < ' ' || name[i] > '~' || name[i] == '#') {
            name[i] = '.';
        }
    }

    name[i] = '\0';

    return name;
}


static void
test_lists(void)
{
    size_t             i;
    const scan_case_t *text;
    reference_result_t result;

    for (i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
        text = &accepted[i];
        unit_int(wrong_splits(text->text, text->len, WHOLE), 0, "accepted: %s",
                 shown(text));
    }

    for (i = 0; i < sizeof(rejected) / sizeof(rejected[0]); i++) {
        text = &rejected[i];
        unit_int(wrong_splits(text->text, text->len, text->at), 0,
                 "malformed at %zu: %s", text->at, shown(text));

        result =
            reference_scan((const unsigned char *) text->text, text->len, 0);
        unit_int(result.at, text->at, "the validator agrees");
    }
}


/* the same texts moved over the edges of blocks, with a comment of blanks */
static void
test_places(void)
{
    char     text[1400];
    size_t   i, before, len;
    unsigned wrong, m;

    wrong = 0;

    for (m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {

        if (!dfd_json_index_use(machines[m])) {
            continue;
        }

        for (i = 0; i < sizeof(rejected) / sizeof(rejected[0]); i++) {

            if (memchr(rejected[i].text, '\xef', rejected[i].len) != NULL) {
                continue;
            }

            for (before = 0; before < 600; before++) {
                len = before + rejected[i].len;
                memset(text, before % 2 ? ' ' : '\n', before);
                memcpy(text + before, rejected[i].text, rejected[i].len);

                if (scan_at(text, len, 0, 0, 0) != before + rejected[i].at) {
                    wrong++;
                    unit_note("%s, after %zu blanks: malformed %zu",
                              machines[m], before, i);
                }
            }
        }
    }

    dfd_json_index_use(NULL);
    unit_int(wrong, 0, "malformed bytes are found at any place");
}


static void
test_depth(void)
{
    char   text[2 * DFD_JSON_MAX_DEPTH + 2];
    size_t i, m;

    for (m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {

        if (!dfd_json_index_use(machines[m])) {
            continue;
        }

        memset(text, '[', DFD_JSON_MAX_DEPTH + 1);
        unit_int(scan_at(text, DFD_JSON_MAX_DEPTH + 1, 0, 0, 0),
                 DFD_JSON_MAX_DEPTH, "%s: one bracket too many", machines[m]);

        memset(text + DFD_JSON_MAX_DEPTH, ']', DFD_JSON_MAX_DEPTH);
        unit_int(scan_at(text, 2 * (size_t) DFD_JSON_MAX_DEPTH, 100, 1500, 0),
                 WHOLE, "%s: as deep as it may be", machines[m]);

        /* every level is remembered: each wrong bracket is seen */
        for (i = 0; i < DFD_JSON_MAX_DEPTH; i++) {
            text[DFD_JSON_MAX_DEPTH + i] = '}';

            if (scan_at(text, 2 * (size_t) DFD_JSON_MAX_DEPTH, 7, 1111, 0)
                != DFD_JSON_MAX_DEPTH + i)
            {
                break;
            }

            text[DFD_JSON_MAX_DEPTH + i] = ']';
        }

        unit_int(i, DFD_JSON_MAX_DEPTH, "%s: a wrong bracket at any depth",
                 machines[m]);
    }

    dfd_json_index_use(NULL);
}


static void
test_lines(void)
{
    const char good[] = "{\"a\":1}\n\n[2]\r\n\"x\"\ntrue\n";
    const char open[] = "{\"a\":1}\n{\"a\":\n1}\n";

    unit_int(scan_at(good, sizeof(good) - 1, 3, 9, 1), WHOLE,
             "lines of one value each");
    unit_int(scan_at(open, sizeof(open) - 1, 3, 9, 1), 13,
             "a line end within a value is malformed");
    unit_int(scan_at(open, sizeof(open) - 1, 3, 9, 0), WHOLE,
             "unless lines do not matter");
    unit_int(scan_at(TEXT("\"a\nb\""), 1, 2, 1), 2, "nor within a string");
}


static uint32_t seed = 20251125;


static unsigned
next_random(unsigned below)
{
    seed = seed * 1664525 + 1013904223;

    return (seed >> 8) % below;
}


/* text that is often JSON, and never far from it */
static size_t
random_text(char *text, size_t room)
{
    size_t      len, n;
    const char *token;

    static const char *const tokens[] = {
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        " ",
        "\n",
        "\"a\":",
        "\"b\"",
        "\"\"",
        "1",
        "0",
        "-",
        ".5",
        "e+1",
        "true",
        "fals",
        "null",
        "\"\\u0041\"",
        "\"\\\\\"",
        "\"\\\"",
        "{\"a\":1}",
        "[1,2]",
        ",\"c\":",
        "\"x\\\\\\\"y\"",
        "                                                                 ",
        "\"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\"",
        "1234567890123456789012345678901234567890123456789012345678901234567",
        "\\\\\\\\\\\\\\",
        "\"10.0.0.1\"",
        "\x01",
        "\xff",
    };

    for (len = 0;;) {
        token = tokens[next_random(sizeof(tokens) / sizeof(tokens[0]))];
        n = strlen(token);

        if (len + n > room || next_random(60) == 0) {
            return len;
        }

        memcpy(text + len, token, n);
        len += n;
    }
}


static void
test_random(void)
{
    char               text[1500];
    size_t             i, len, one, two, m, expected;
    unsigned           wrong, whole;
    reference_result_t result;

    for (i = 0, wrong = 0, whole = 0; i < 30000; i++) {
        len = random_text(text, sizeof(text));
        result = reference_scan((const unsigned char *) text, len, 0);
        expected = result.malformed ? result.at : WHOLE;
        whole += result.malformed == 0;

        for (m = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {
            one = next_random((unsigned) len + 1);
            two = one + next_random((unsigned) (len - one) + 1);

            if (dfd_json_index_use(machines[m])
                && (scan_at(text, len, 0, 0, 0) != expected
                    || scan_at(text, len, one, two, 0) != expected))
            {
                wrong++;
                unit_note("%s, %zu, %zu: %zd in %.*s", machines[m], one, two,
                          (ssize_t) expected, (int) len, text);
            }
        }
    }

    dfd_json_index_use(NULL);
    unit_int(wrong, 0, "30000 random texts as the validator sees them");
    unit_ok(whole > 100, "of which %u are JSON", whole);
}


static void
test_machines(void)
{
    unit_ok(dfd_json_index_use("plain"), "any machine has the plain index");
    unit_str(dfd_json_index_name(), "plain", "its name");
    unit_ok(!dfd_json_index_use("z80"), "an unknown machine is refused");
    unit_str(dfd_json_index_name(), "plain", "and changes nothing");
    unit_ok(dfd_json_index_use(NULL), "the best there is");
    unit_note("that is %s", dfd_json_index_name());
}


int
main(void)
{
    test_machines();
    test_lists();
    test_places();
    test_depth();
    test_lines();
    test_random();

    return unit_done();
}
