#include "core/splice_internal.h"

#include <string.h>


/* blocks to index at one time: few at first, since an error wastes them */
#define DFD_SPLICE_FIRST_BLOCKS 8


size_t
dfd_splice_size(void)
{
    return sizeof(dfd_splice_t);
}


/* makes it stand before a value, outside of all brackets */
static void
dfd_splice_restart(dfd_splice_t *splice)
{
    memset(&splice->carry, 0, sizeof(splice->carry));
    memset(splice->owned, 0, sizeof(splice->owned));

    splice->conf.limit = DFD_SPLICE_FIRST_BLOCKS;
    splice->nest.depth = 0;
    splice->own_depth = 0;
    splice->skip = 0;
    splice->npending = 0;
    splice->nkeys = 0;
    splice->key_open = 0;
    splice->len = 0;
}


dfd_splice_t *
dfd_splice_init(void *memory, const dfd_splice_plan_t *plan,
                const dfd_splice_source_t *source, int lines)
{
    dfd_splice_t *splice;

    /* the large arrays need no first value, and most bodies are short */
    splice = memory;
    memset(splice, 0, offsetof(dfd_splice_t, nest));

    splice->plan = plan;
    splice->source = *source;
    splice->conf.table = &plan->table;
    splice->conf.want = DFD_JSON_WANT_ADDRESSES;
    splice->conf.lines = (lines != 0);
    splice->nest.context[0] = DFD_JSON_TOP;

    dfd_splice_restart(splice);

    return splice;
}


static void
dfd_splice_malformed(dfd_splice_t *splice, uint64_t offset)
{
    if (splice->stat.malformed++ == 0) {
        splice->stat.malformed_at = offset;
    }

    splice->len = 0;
    splice->npending = 0;
    splice->key_open = 0;

    if (splice->conf.lines) {
        splice->bad_line = 1;

    } else {
        splice->dead = 1;
    }
}


/* returns 0 when all bytes are of a byte-order mark so far */
static int
dfd_splice_pass_mark(dfd_splice_t *splice)
{
    int                  rc;
    const unsigned char *text;

    text = splice->text;
    rc = dfd_json_pass_mark(&splice->mark, &splice->text, splice->end);
    splice->text_offset += (uint64_t) (splice->text - text);

    if (rc < 0) {
        dfd_splice_malformed(splice, 0);
    }

    return rc != 0;
}


/* the next line gets a new chance; returns 0 when it is not here yet */
static int
dfd_splice_next_line(dfd_splice_t *splice)
{
    const unsigned char *line_end;

    line_end =
        memchr(splice->text, '\n', (size_t) (splice->end - splice->text));
    if (line_end == NULL) {
        return 0;
    }

    splice->text_offset += (uint64_t) (line_end + 1 - splice->text);
    splice->text = line_end + 1;
    splice->bad_line = 0;
    dfd_splice_restart(splice);

    return 1;
}


static void
dfd_splice_index(dfd_splice_t *splice)
{
    splice->len =
        dfd_json_index(&splice->index, &splice->carry, &splice->conf,
                       splice->text, (size_t) (splice->end - splice->text));
    splice->word = splice->index.from;
    splice->event = splice->index.event[splice->word];
    splice->done = 0;

    if (splice->npending != 0) {
        splice->event |= splice->index.key[splice->word];
    }

    if (splice->conf.limit < DFD_JSON_BLOCKS) {
        splice->conf.limit *= 2;
    }
}


/* a new piece of input, or the rest of one at another place */
static void
dfd_splice_chunk(dfd_splice_t *splice, const unsigned char *text,
                 const unsigned char *end)
{
    dfd_splice_key_t key;

    splice->text = text;
    splice->text_offset = splice->stat.offset;
    splice->len = 0;

    if (dfd_splice_path_begin(splice, text, end, splice->stat.offset)
        && splice->skip == 0)
    {
        key.text = splice->key_text;
        key.len = splice->key_len;

        if (key.len <= DFD_SPLICE_MAX_RAW) {
            dfd_splice_walk_key(splice, &key, splice->key);
        }
    }
}


/* goes on to the next insertion, or to the end of the input */
static int
dfd_splice_run(dfd_splice_t *splice, size_t *at)
{
    int rc;

    if (!dfd_splice_pass_mark(splice)) {
        return DFD_SPLICE_MORE;
    }

    while (!splice->dead) {

        if (splice->bad_line && !dfd_splice_next_line(splice)) {
            return DFD_SPLICE_MORE;
        }

        if (splice->len == 0) {

            if (splice->text == splice->end) {
                dfd_splice_path_keep_levels(splice);
                dfd_splice_path_keep_strings(splice);
                break;
            }

            dfd_splice_index(splice);
        }

        rc = dfd_splice_walk(splice, at);

        if (rc == DFD_SPLICE_CLOSE) {
            return DFD_SPLICE_INSERT;
        }

        if (rc == DFD_SPLICE_WRONG) {
            splice->text += *at;
            splice->text_offset += *at;
            dfd_splice_malformed(splice, splice->text_offset);
            continue;
        }

        splice->text += splice->len;
        splice->text_offset += splice->len;
        splice->len = 0;
    }

    return DFD_SPLICE_MORE;
}


int
dfd_splice_next(dfd_splice_t *splice, const char **pos, const char *end)
{
    size_t               at;
    const unsigned char *text, *stop;

    text = (const unsigned char *) *pos;
    stop = (const unsigned char *) end;

    if (text == stop) {
        return DFD_SPLICE_MORE;
    }

    if (splice->at_close) {
        splice->at_close = 0;
        dfd_splice_pending_drop(splice, splice->nest.depth);

        if (text != splice->chunk || stop != splice->end) {
            /* what is indexed is gone; no carry goes over such a bracket */
            memset(&splice->carry, 0, sizeof(splice->carry));
            dfd_splice_chunk(splice, text, stop);
        }

    } else if (!splice->dead) {
        dfd_splice_chunk(splice, text, stop);
    }

    if (dfd_splice_run(splice, &at) == DFD_SPLICE_MORE) {
        splice->stat.offset += (uint64_t) (end - *pos);
        *pos = end;
        return DFD_SPLICE_MORE;
    }

    /* the bytes before the bracket are the caller's again */
    dfd_splice_path_keep_levels(splice);

    splice->at_close = 1;
    splice->stat.offset = splice->text_offset + at;
    splice->chunk = splice->text + at;
    splice->chunk_offset = splice->stat.offset;
    *pos = (const char *) splice->chunk;

    return DFD_SPLICE_INSERT;
}


void
dfd_splice_finish(dfd_splice_t *splice)
{
    if (splice->dead || splice->bad_line) {
        return;
    }

    if (splice->mark != 0 && splice->mark != DFD_JSON_MARK) {
        dfd_splice_malformed(splice, 0);

    } else if (splice->nest.depth != 0
               || !dfd_json_carry_is_whole(&splice->carry)) {
        dfd_splice_malformed(splice, splice->stat.offset);
    }
}


void
dfd_splice_stat(const dfd_splice_t *splice, dfd_splice_stat_t *stat)
{
    *stat = splice->stat;
}
