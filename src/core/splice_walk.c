#include "core/splice_internal.h"

#include <string.h>


static uint64_t
dfd_splice_walk_last(const dfd_splice_t *splice, const uint64_t *words,
                     size_t word, uint64_t upto, uint64_t none)
{
    uint64_t bits;

    bits = words[word] & upto;

    while (bits == 0) {

        if (word == splice->index.from) {
            return none;
        }

        bits = words[--word];
    }

    return splice->text_offset + 64 * word + 63
         - (unsigned) __builtin_clzll(bits) - splice->index.skew;
}


/* the key at this offset is the plan's: its object is left alone */
static void
dfd_splice_own(dfd_splice_t *splice, uint64_t key)
{
    size_t depth;

    depth = splice->nest.depth;
    dfd_splice_pending_drop(splice, depth);

    splice->owned[depth / 64] |= (uint64_t) 1 << (depth % 64);
    splice->own_depth = depth;
    splice->own = key;
}


static int
dfd_splice_is_owned(const dfd_splice_t *splice, size_t depth)
{
    return splice->own_depth >= depth
        && ((splice->owned[depth / 64] >> (depth % 64)) & 1);
}


void
dfd_splice_walk_key(dfd_splice_t *splice, const dfd_splice_key_t *key,
                    uint64_t at)
{
    if (dfd_splice_key_is(key, splice->plan->key, splice->plan->key_len)) {
        dfd_splice_own(splice, at);

    } else {
        dfd_splice_pending_replace(splice, key, splice->nest.depth);
    }
}


/*
 * A key that is likely to be the plan's as it stands, or that has a backslash.
 * One that goes on in the next piece of input has its turn there.
 */
static void
dfd_splice_name(dfd_splice_t *splice, uint64_t at, int escaped)
{
    size_t                   len;
    dfd_splice_key_t         key;
    const unsigned char     *text;
    const dfd_splice_plan_t *plan;

    if (at < splice->chunk_offset) {
        return;
    }

    plan = splice->plan;
    text = splice->chunk + (at - splice->chunk_offset) + 1;

    if (!escaped) {
        len = plan->key_len;

        if (plan->key_plain && (size_t) (splice->end - text) > len
            && text[len] == '"' && memcmp(text, plan->key, len) == 0)
        {
            dfd_splice_own(splice, at);
        }

        return;
    }

    /* once, not for each of its backslashes */
    if (at != splice->decoded) {
        splice->decoded = at;

        if (dfd_splice_key_read(&key, text, splice->end, DFD_SPLICE_MAX_RAW)) {
            dfd_splice_walk_key(splice, &key, at);
        }
    }
}


/* a key begins in an object that has pending addresses: of the same key? */
static void
dfd_splice_again(dfd_splice_t *splice, const unsigned char *text)
{
    size_t                      i, room;
    dfd_splice_key_t            key;
    const dfd_splice_pending_t *pending;

    room = (size_t) (splice->end - text);

    for (i = splice->npending; i > 0; i--) {
        pending = &splice->pending[i - 1];

        if (pending->depth != splice->nest.depth) {
            return;
        }

        if (!pending->escaped
            && (room <= pending->len || text[pending->len] != '"'
                || memcmp(text, splice->keys + pending->at, pending->len)
                       != 0))
        {
            continue;
        }

        if (dfd_splice_key_read(&key, text, splice->end, DFD_SPLICE_MAX_KEY)) {
            dfd_splice_pending_replace(splice, &key, splice->nest.depth);
        }

        return;
    }
}


/* the text of the string that ends here, or NULL if it is too long */
static const char *
dfd_splice_value(dfd_splice_t *splice, uint64_t quote,
                 const unsigned char *end, size_t *len)
{
    size_t               n;
    const unsigned char *text;

    if (quote >= splice->chunk_offset) {
        text = splice->chunk + (quote - splice->chunk_offset) + 1;
        *len = (size_t) (end - text);

        return *len <= DFD_SPLICE_MAX_ADDRESS ? (const char *) text : NULL;
    }

    n = (size_t) (end - splice->chunk);

    if (n > DFD_SPLICE_MAX_ADDRESS - splice->value_len) {
        return NULL;
    }

    memcpy(splice->value_text + splice->value_len, splice->chunk, n);
    *len = splice->value_len + n;

    return (const char *) splice->value_text;
}


/* a string ends that has the look of an address */
static void
dfd_splice_address(dfd_splice_t *splice, size_t word, uint64_t upto,
                   const unsigned char *end)
{
    int              in_array, found;
    size_t           len, object;
    uint64_t         at, quote;
    dfd_addr_t       addr;
    const char      *text;
    dfd_splice_key_t key;

    object = splice->nest.depth;
    in_array = (splice->nest.context[object] == DFD_JSON_ARRAY);
    object -= (size_t) in_array;

    if (splice->nest.context[object] != DFD_JSON_OBJECT || splice->skip != 0
        || dfd_splice_is_owned(splice, object))
    {
        return;
    }

    quote = dfd_splice_walk_last(splice, splice->index.quote, word, upto,
                                 splice->quote);
    at = dfd_splice_walk_last(splice, splice->index.key, word, upto,
                              splice->key);

    if (!in_array && at == quote) {
        return; /* it is a key itself */
    }

    text = dfd_splice_value(splice, quote, end, &len);

    if (text == NULL || !dfd_addr_parse(&addr, text, len)) {
        return;
    }

    if (splice->plan->nfields == 0
        && !splice->source.known(splice->source.data, &addr))
    {
        return;
    }

    if (in_array) {
        found = dfd_splice_path_level(splice, &key, object + 1);
        at = (object < DFD_SPLICE_MAX_LEVEL) ? splice->level[object + 1].key
                                             : 0;

    } else {
        found = dfd_splice_path_key(splice, &key, at);
    }

    if (splice->plan->nfields != 0
        && (!found || !dfd_splice_path_wanted(splice, &key, object)
            || !splice->source.known(splice->source.data, &addr)))
    {
        return;
    }

    dfd_splice_pending_add(splice, &addr, found ? &key : NULL, at, object,
                           in_array);
}


/* a bracket opens; returns 0 when there are too many */
static int
dfd_splice_open(dfd_splice_t *splice, size_t word, uint64_t upto, int is_array)
{
    int      is_member;
    size_t   depth;
    uint64_t key;

    depth = splice->nest.depth;

    if (depth == DFD_JSON_MAX_DEPTH) {
        return 0;
    }

    is_member = (splice->nest.context[depth] == DFD_JSON_OBJECT);
    splice->nest.depth = depth + 1;
    splice->nest.context[depth + 1] =
        is_array ? DFD_JSON_ARRAY : DFD_JSON_OBJECT;

    /* by default it is only arrays of addresses that need their key */
    if (is_member
        && (is_array || splice->plan->nfields != 0 || splice->own_depth != 0))
    {
        key = dfd_splice_walk_last(splice, splice->index.key, word, upto,
                                   splice->key);
        dfd_splice_path_open(splice, depth + 1, key);

        if (splice->skip == 0 && dfd_splice_is_owned(splice, depth)
            && key == splice->own)
        {
            splice->skip = depth + 1;
        }
    }

    return 1;
}


static void
dfd_splice_close(dfd_splice_t *splice)
{
    size_t   depth, i;
    uint64_t bits;

    depth = splice->nest.depth;
    splice->nest.depth = depth - 1;

    if (depth == splice->skip) {
        splice->skip = 0;
    }

    if (depth != splice->own_depth) {
        return;
    }

    i = depth / 64;
    splice->owned[i] &= ~((uint64_t) 1 << (depth % 64));
    bits = splice->owned[i];

    while (bits == 0 && i > 0) {
        bits = splice->owned[--i];
    }

    splice->own_depth = 0;

    if (bits != 0) {
        splice->own_depth = 64 * i + 63 - (size_t) __builtin_clzll(bits);
    }
}


/* in a string: the closing quote of a value, or a byte of a key */
static void
dfd_splice_string(dfd_splice_t *splice, size_t word, uint64_t upto, size_t at)
{
    uint64_t             bit, key;
    const unsigned char *text;

    bit = upto ^ (upto >> 1);
    text = splice->text + at;

    if (splice->index.mark[word] & bit) {
        dfd_splice_address(splice, word, upto, text);
    }

    if (splice->skip != 0
        || splice->nest.context[splice->nest.depth] != DFD_JSON_OBJECT)
    {
        return;
    }

    if (splice->index.name[word] & bit) {
        key = dfd_splice_walk_last(splice, splice->index.key, word, upto,
                                   splice->key);
        dfd_splice_name(splice, key, *text == '\\');

    } else if (splice->npending != 0) {
        dfd_splice_again(splice, text + 1);
    }
}


static inline int
dfd_splice_event(dfd_splice_t *splice, size_t word, uint64_t upto, size_t at)
{
    uint64_t                bit;
    unsigned char           c;
    const dfd_json_index_t *index;

    index = &splice->index;
    bit = upto ^ (upto >> 1);

    if ((index->mark[word] | index->name[word] | index->key[word]) & bit) {
        dfd_splice_string(splice, word, upto, at);
        return DFD_SPLICE_DONE;
    }

    c = splice->text[at];

    if (c == '{' || c == '[') {
        return dfd_splice_open(splice, word, upto, c == '[')
                 ? DFD_SPLICE_DONE
                 : DFD_SPLICE_WRONG;
    }

    if (splice->npending != 0
        && splice->pending[splice->npending - 1].depth == splice->nest.depth)
    {
        return DFD_SPLICE_CLOSE;
    }

    dfd_splice_close(splice);

    return DFD_SPLICE_DONE;
}


int
dfd_splice_walk(dfd_splice_t *splice, size_t *at)
{
    int                     rc;
    size_t                  word, i;
    uint64_t                event, done, upto, wrong;
    const dfd_json_index_t *index;

    index = &splice->index;
    word = splice->word;
    event = splice->event;
    done = splice->done;

    for (;;) {

        for (;;) {
            upto = (event != 0) ? event ^ (event - 1) : ~(uint64_t) 0;
            wrong =
                index->error[splice->nest.context[splice->nest.depth]][word]
                & upto & ~done;

            if (wrong != 0) {
                *at =
                    64 * word + (size_t) __builtin_ctzll(wrong) - index->skew;
                return DFD_SPLICE_WRONG;
            }

            if (event == 0) {
                break;
            }

            i = 64 * word + (size_t) __builtin_ctzll(event) - index->skew;
            rc = dfd_splice_event(splice, word, upto, i);

            if (rc != DFD_SPLICE_DONE) {
                splice->word = word;
                splice->event = event;
                splice->done = done;
                *at = i;
                return rc;
            }

            done = upto;
            event &= event - 1;

            if (splice->npending != 0) {
                event |= index->key[word] & ~done;
            }
        }

        if (++word == index->to) {
            splice->quote = dfd_splice_walk_last(
                splice, index->quote, word - 1, ~(uint64_t) 0, splice->quote);
            splice->key = dfd_splice_walk_last(splice, index->key, word - 1,
                                               ~(uint64_t) 0, splice->key);
            return DFD_SPLICE_DONE;
        }

        done = 0;
        event = index->event[word];

        if (splice->npending != 0) {
            event |= index->key[word];
        }
    }
}
