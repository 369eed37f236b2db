#ifndef DFD_SPLICE_FIXTURE_H
#define DFD_SPLICE_FIXTURE_H

#include "core/json_scan.h"
#include "unit/splice_run.h"
#include "unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * A source for the splicer's tests: 10.20.1.x and 2001:db8::2a are known, and
 * 10.20.1.99 has no entity when it is asked for.
 */

#define TEXT(literal) (literal), sizeof(literal) - 1

/* the entities, and the member around one or more of them */
#define D(n)         "{\"id\":\"D" n "\"}"
#define OWN(members) ",\"defender\":{" members "}"


static const char *const machines[] = { "plain", "avx2", "avx512" };

/* addresses the splicer asked for */
static unsigned asked;


static int
known(void *data, const dfd_addr_t *addr)
{
    char text[DFD_ADDR_TEXT];

    asked++;
    dfd_addr_format(addr, text);

    return strncmp(text, "10.20.1.", 8) == 0
        || strcmp(text, "2001:db8::2a") == 0;
}


static size_t
entity(void *data, const dfd_addr_t *addr, char *buf, size_t room)
{
    int  n;
    char text[32];

    if (addr->bytes[15] == 99) {
        return 0;
    }

    n = snprintf(text, sizeof(text), "{\"id\":\"D%x\"}", addr->bytes[15]);

    if ((size_t) n <= room) {
        memcpy(buf, text, (size_t) n);
    }

    return (size_t) n;
}


static const dfd_splice_source_t source = { known, entity, NULL };


static dfd_splice_plan_t *
plan_of(const char *key, const char *fields)
{
    size_t            n;
    const char       *end;
    dfd_splice_name_t name, list[DFD_SPLICE_MAX_FIELDS];

    memset(list, 0, sizeof(list));
    name.data = key;
    name.len = strlen(key);

    for (n = 0; *fields != '\0'; fields = *end == ' ' ? end + 1 : end) {
        end = fields + strcspn(fields, " ");
        list[n].data = fields;
        list[n++].len = (size_t) (end - fields);
    }

    return dfd_splice_plan_create(&name, list, n);
}


/* counts the machines and splits that do not give this output */
__attribute__((unused)) static unsigned
wrong_runs(const dfd_splice_plan_t *plan, int lines, const char *body,
           size_t len, const char *expected, size_t expected_len,
           const dfd_splice_stat_t *stat)
{
    size_t         m, piece;
    unsigned       wrong;
    splice_run_t   run;
    splice_split_t split;

    for (m = 0, wrong = 0; m < sizeof(machines) / sizeof(machines[0]); m++) {

        if (!dfd_json_index_use(machines[m])) {
            continue;
        }

        for (piece = 0; piece < 80 && piece <= len; piece++) {
            split.piece = piece < 70 ? piece : 0;
            split.seed = (uint32_t) (piece % 3 ? 77 * piece : 0);
            splice_run(&run, plan, &source, lines, body, len, split);

            if (run.broken != NULL || run.len != expected_len
                || (run.len != 0 && memcmp(run.out, expected, run.len) != 0)
                || run.stat.malformed != stat->malformed
                || run.stat.malformed_at != stat->malformed_at
                || run.stat.dropped != stat->dropped)
            {
                if (wrong++ == 0) {
                    unit_note("%s, pieces of %zu: %s, malformed %u at %ju, "
                              "dropped %u",
                              machines[m], split.piece,
                              run.broken == NULL ? "" : run.broken,
                              run.stat.malformed,
                              (uintmax_t) run.stat.malformed_at,
                              run.stat.dropped);
                    unit_show("got", run.out, run.len);
                    unit_show("expected", expected, expected_len);
                }
            }

            splice_run_free(&run);
        }
    }

    dfd_json_index_use(NULL);

    return wrong;
}


#endif /* DFD_SPLICE_FIXTURE_H */
