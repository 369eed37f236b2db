#ifndef DFD_SPLICE_RUN_H
#define DFD_SPLICE_RUN_H

#include "core/splice.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * Runs a splicer over a body as a caller would who gives as little as the
 * contract allows: each piece of input lies in a block of its own that is gone
 * after the call, so that a sanitizer sees any look behind or ahead, and after
 * an insertion the rest may come from another place, and in smaller pieces.
 */

typedef struct {
    char             *out;
    size_t            len;
    size_t            room;
    size_t            inserted; /* bytes of all insertions */
    unsigned          insertions;
    const char       *broken; /* the rule of the contract that did not hold */
    dfd_splice_stat_t stat;
} splice_run_t;


/* how to split: in pieces of this size, or at random if there is a seed */
typedef struct {
    size_t   piece; /* 0: all at once */
    uint32_t seed;
} splice_split_t;


static uint32_t
splice_random(uint32_t *seed)
{
    /* Marsaglia's xorshift */
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;

    return *seed;
}


static void
splice_put(splice_run_t *run, const char *bytes, size_t len)
{
    char *grown;

    if (run->len + len > run->room) {
        run->room = 2 * (run->len + len) + 64;
        grown = realloc(run->out, run->room);

        if (grown == NULL) {
            abort();
        }

        run->out = grown;
    }

    if (len != 0) {
        memcpy(run->out + run->len, bytes, len);
    }

    run->len += len;
}


static char *
splice_copy(const char *bytes, size_t len)
{
    char *copy;

    copy = malloc(len != 0 ? len : 1);

    if (copy == NULL) {
        abort();
    }

    memcpy(copy, bytes, len);

    return copy;
}


/* asks with every kind of too little room first */
static void
splice_insert(splice_run_t *run, dfd_splice_t *splice, uint32_t *seed)
{
    char  *buf;
    size_t need, room, n;

    need = dfd_splice_insertion(splice, NULL, 0);
    room = need != 0 && *seed != 0 ? splice_random(seed) % need : 0;

    buf = splice_copy("", 0);
    free(buf);
    buf = malloc(room + 1);

    if (buf == NULL) {
        abort();
    }

    n = dfd_splice_insertion(splice, buf, room);
    free(buf);

    if (n != need) {
        run->broken = "the length of an insertion depends on the room";
    }

    buf = malloc(need + 1);

    if (buf == NULL) {
        abort();
    }

    n = dfd_splice_insertion(splice, buf, need);

    if (n != need) {
        run->broken = "an insertion does not fit into the room it asked for";
    }

    splice_put(run, buf, need);
    free(buf);

    run->inserted += need;
    run->insertions += need != 0;
}


static size_t
splice_piece(const splice_split_t *split, uint32_t *seed, size_t left)
{
    size_t n;

    n = split->piece;

    if (n == 0 && *seed != 0) {
        n = splice_random(seed);
        n = 1 + (n & 1 ? (n >> 8) % 8 : (n >> 8) % 700);
    }

    return n == 0 || n > left ? left : n;
}


/* one piece of input; returns how many of its bytes were taken */
static size_t
splice_take(splice_run_t *run, dfd_splice_t *splice, const char *body,
            size_t len, uint32_t *seed)
{
    char       *copy;
    size_t      taken;
    const char *pos, *end, *from;

    copy = splice_copy(body, len);
    pos = copy;
    end = copy + len;
    taken = 0;

    for (;;) {
        from = pos;

        if (dfd_splice_next(splice, &pos, end) != DFD_SPLICE_INSERT) {

            if (pos != end) {
                run->broken = "more is wanted before the end";
            }

            splice_put(run, from, (size_t) (end - from));
            taken = len;
            break;
        }

        if (pos < from || pos >= end) {
            run->broken = "an insertion outside of the input";
            break;
        }

        splice_put(run, from, (size_t) (pos - from));
        splice_insert(run, splice, seed);
        taken = (size_t) (pos - copy);

        /* goes on elsewhere */
        if (*seed != 0 && splice_random(seed) % 4 == 0) {
            break;
        }

        /* nobody may look at what was passed on */
        memset(copy, '"', taken);
    }

    free(copy);

    return taken;
}


static void
splice_run(splice_run_t *run, const dfd_splice_plan_t *plan,
           const dfd_splice_source_t *source, int lines, const char *body,
           size_t len, splice_split_t split)
{
    void         *memory;
    size_t        done, n;
    uint32_t      seed;
    dfd_splice_t *splice;

    memset(run, 0, sizeof(*run));
    memory = malloc(dfd_splice_size());

    if (memory == NULL) {
        abort();
    }

    /* what it does not set itself is no zero */
    memset(memory, 0xa5, dfd_splice_size());
    splice = dfd_splice_init(memory, plan, source, lines);
    seed = split.seed;

    for (done = 0; done < len && run->broken == NULL; /* void */) {
        n = splice_piece(&split, &seed, len - done);
        done += splice_take(run, splice, body + done, n, &seed);

        dfd_splice_stat(splice, &run->stat);

        if (run->stat.offset != done) {
            run->broken = "the offset is not that of the bytes taken";
        }
    }

    dfd_splice_finish(splice);
    dfd_splice_stat(splice, &run->stat);
    free(memory);

    if (run->len - run->inserted != len) {
        run->broken = "bytes got lost";
    }
}


static void
splice_run_free(splice_run_t *run)
{
    free(run->out);
    run->out = NULL;
}


#endif /* DFD_SPLICE_RUN_H */
