#include "core/json_cut.h"
#include "core/json_scan.h"
#include "unit/json_reference.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * The page cutter on any bytes: each machine's index and each split of the
 * input gives the same elements in the same order and the same verdict, each
 * element is JSON that stands in the page, and a page that is malformed is so
 * where a plain validator sees it.
 *
 * The first bytes choose the limit, when the handler stops, and the split.
 */

#define FUZZ_HEAD 4
#define FUZZ_LOG  65536


typedef struct {
    size_t        len;
    unsigned      elements;
    unsigned      stop_after;
    int           rc;
    int           next_link;
    uint64_t      offset;
    unsigned char log[FUZZ_LOG];
} fuzz_cut_t;


static void
fuzz_require(int held, const char *what)
{
    if (!held) {
        fprintf(stderr, "%s\n", what);
        abort();
    }
}


static int
fuzz_element(void *data, const char *json, size_t len)
{
    fuzz_cut_t        *log;
    reference_result_t result;

    log = data;
    result = reference_scan((const unsigned char *) json, len, 0);
    fuzz_require(len != 0 && result.malformed == 0, "an element is not JSON");
    fuzz_require(strchr(" \t\r\n", json[0]) == NULL || json[0] == '\0',
                 "an element begins with a blank");

    fuzz_require(log->len + len + 1 <= FUZZ_LOG, "more elements than bytes");
    memcpy(log->log + log->len, json, len);
    log->len += len;
    log->log[log->len++] = '\n';

    return ++log->elements == log->stop_after;
}


static void
fuzz_cut(fuzz_cut_t *log, const uint8_t *data, size_t size, const char *page,
         size_t len, size_t piece)
{
    char           *copy;
    size_t          n, i, done;
    dfd_json_cut_t *cut;

    log->len = 0;
    log->elements = 0;
    log->stop_after = data[1];
    log->rc = DFD_CUT_OK;

    cut =
        dfd_json_cut_create(data[0] < 8 ? data[0] : 100000, fuzz_element, log);
    fuzz_require(cut != NULL, "no memory");

    for (done = 0, i = 0; done < len && log->rc == DFD_CUT_OK; i++) {
        n = piece;

        if (n == 0) {
            n = len;

        } else if (n > 1) {
            n = 1 + (size_t) data[2 + i % 2] * (i % 5) % (3 * n);
        }

        n = n < len - done ? n : len - done;

        /* in a block of its own: no look behind or ahead */
        copy = malloc(n);
        fuzz_require(copy != NULL, "no memory");
        memcpy(copy, page + done, n);
        log->rc = dfd_json_cut_feed(cut, copy, n);
        free(copy);
        done += n;
    }

    if (log->rc == DFD_CUT_OK) {
        log->rc = dfd_json_cut_finish(cut);
    }

    fuzz_require(dfd_json_cut_finish(cut) == log->rc, "an error went away");
    log->next_link = dfd_json_cut_has_next_link(cut);
    log->offset = dfd_json_cut_error_offset(cut);
    dfd_json_cut_destroy(cut);
}


static void
fuzz_same(const fuzz_cut_t *log, const fuzz_cut_t *first)
{
    int either;

    /* which of two errors in one element is seen first may depend on it */
    either =
        (log->rc == DFD_CUT_TOO_LARGE || log->rc == DFD_CUT_MALFORMED)
        && (first->rc == DFD_CUT_TOO_LARGE || first->rc == DFD_CUT_MALFORMED);

    fuzz_require(log->rc == first->rc || either,
                 "the verdict depends on the split or the machine");
    fuzz_require(log->rc != DFD_CUT_OK || log->next_link == first->next_link,
                 "the next link depends on the split or the machine");
    fuzz_require(log->elements == first->elements && log->len == first->len
                     && memcmp(log->log, first->log, log->len) == 0,
                 "the elements depend on the split or the machine");
    fuzz_require(log->rc != DFD_CUT_MALFORMED || first->rc != DFD_CUT_MALFORMED
                     || log->offset == first->offset,
                 "the malformed byte depends on the split or the machine");
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t             i, len;
    const char        *page;
    reference_result_t result;

    static fuzz_cut_t        first, log;
    static const char *const machines[] = { "plain", "avx2", "avx512" };

    if (size < FUZZ_HEAD || size > FUZZ_LOG / 2) {
        return 0;
    }

    page = (const char *) data + FUZZ_HEAD;
    len = size - FUZZ_HEAD;

    fuzz_require(dfd_json_index_use("plain"), "no plain index");
    fuzz_cut(&first, data, size, page, len, 0);
    result = reference_scan((const unsigned char *) page, len, 0);

    fuzz_require(first.rc != DFD_CUT_OK || result.malformed == 0,
                 "a page was taken that is not JSON");
    fuzz_require(first.rc != DFD_CUT_MALFORMED || first.offset <= result.at
                     || result.malformed == 0,
                 "a malformed byte was passed over");

    for (i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {

        if (!dfd_json_index_use(machines[i])) {
            continue;
        }

        fuzz_cut(&log, data, size, page, len, 0);
        fuzz_same(&log, &first);
        fuzz_cut(&log, data, size, page, len, 1);
        fuzz_same(&log, &first);
        fuzz_cut(&log, data, size, page, len, 100);
        fuzz_same(&log, &first);
    }

    return 0;
}
