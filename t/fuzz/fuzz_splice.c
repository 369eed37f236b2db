#include "core/json_scan.h"
#include "unit/json_reference.h"
#include "unit/splice_run.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/*
 * The splicer on any bytes: every machine's index and every split of the input
 * gives the same output and the same counts, malformed bytes are where a plain
 * validator sees them, and without the insertions the body is what it was.
 *
 * The first bytes choose: lines, fields, which addresses are known, the split.
 */

#define FUZZ_HEAD 6


static int
fuzz_known(void *data, const dfd_addr_t *addr)
{
    /* most are */
    return (addr->bytes[15] & *(unsigned char *) data & 3) != 3;
}


static size_t
fuzz_entity(void *data, const dfd_addr_t *addr, char *buf, size_t room)
{
    size_t len;
    char   text[DFD_ADDR_TEXT];

    if (addr->bytes[14] == 7) {
        return 0;
    }

    len = dfd_addr_format(addr, text);

    if (len + 2 <= room) {
        buf[0] = '"';
        memcpy(buf + 1, text, len);
        buf[len + 1] = '"';
    }

    return len + 2;
}


static void
fuzz_require(int held, const char *what)
{
    if (!held) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}


static void
fuzz_same(const splice_run_t *run, const splice_run_t *first)
{
    fuzz_require(run->broken == NULL, run->broken);
    fuzz_require(
        run->len == first->len
            && (run->len == 0 || memcmp(run->out, first->out, run->len) == 0),
        "the output depends on the split or the machine");
    fuzz_require(run->stat.malformed == first->stat.malformed
                     && run->stat.malformed_at == first->stat.malformed_at,
                 "malformed bytes depend on the split or the machine");
    fuzz_require(run->stat.dropped == first->stat.dropped,
                 "bounds depend on the split or the machine");
}


static void
fuzz_body(const dfd_splice_plan_t *plan, const dfd_splice_source_t *source,
          int lines, const char *body, size_t len, uint32_t seed)
{
    size_t             i;
    splice_run_t       first, run;
    splice_split_t     split;
    reference_result_t reference;

    static const char *const machines[] = { "plain", "avx2", "avx512" };

    memset(&split, 0, sizeof(split));
    fuzz_require(dfd_json_index_use("plain"), "no plain index");
    splice_run(&first, plan, source, lines, body, len, split);
    fuzz_same(&first, &first);

    reference = reference_scan((const unsigned char *) body, len, lines);
    fuzz_require(first.stat.malformed == reference.malformed,
                 "another count of malformed values than the validator's");
    fuzz_require(first.stat.malformed_at == reference.at,
                 "another malformed byte than the validator's");

    for (i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {

        if (!dfd_json_index_use(machines[i])) {
            continue;
        }

        split.seed = 0;
        splice_run(&run, plan, source, lines, body, len, split);
        fuzz_same(&run, &first);
        splice_run_free(&run);

        split.seed = seed | 1;
        splice_run(&run, plan, source, lines, body, len, split);
        fuzz_same(&run, &first);
        splice_run_free(&run);

        if (len < 600) {
            split.piece = 1;
            splice_run(&run, plan, source, lines, body, len, split);
            fuzz_same(&run, &first);
            splice_run_free(&run);
            split.piece = 0;
        }
    }

    splice_run_free(&first);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t                seed;
    unsigned char           mask;
    dfd_splice_plan_t      *plan;
    dfd_splice_source_t     source;
    dfd_splice_name_t       key;
    const dfd_splice_name_t fields[] = {
        { "src_ip", 6 }, { "source.ip", 9 }, { "id.orig_h", 9 },
        { "a.b.c", 5 },  { "k", 1 },
    };
    static const char *const keys[] = { "defender", "d", "\"q\\", "\xc3\xa9" };

    if (size < FUZZ_HEAD) {
        return 0;
    }

    mask = data[1];
    memcpy(&seed, data + 2, sizeof(seed));

    key.data = keys[(data[0] >> 2) & 3];
    key.len = strlen(key.data);

    plan = dfd_splice_plan_create(&key, fields, data[0] & 2 ? 5 : 0);
    fuzz_require(plan != NULL, "no plan");

    source.known = fuzz_known;
    source.entity = fuzz_entity;
    source.data = &mask;

    fuzz_body(plan, &source, data[0] & 1, (const char *) data + FUZZ_HEAD,
              size - FUZZ_HEAD, seed);

    dfd_splice_plan_destroy(plan);

    return 0;
}
