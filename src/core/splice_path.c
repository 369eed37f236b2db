#include "core/splice_internal.h"

#include <string.h>


/* adds bytes of the key to its copy, up to the closing quote if it is there */
static void
dfd_splice_path_extend(dfd_splice_t *splice, const unsigned char *p,
                       const unsigned char *end)
{
    for (/* void */; p < end; p++) {

        if (splice->key_escape) {
            splice->key_escape = 0;

        } else if (*p == '"') {
            splice->key_open = 0;
            return;

        } else if (*p == '\\') {
            splice->key_escape = 1;
        }

        if (splice->key_len < DFD_SPLICE_MAX_RAW) {
            splice->key_text[splice->key_len] = *p;
        }

        /* beyond the bound the length only tells that it is too long */
        if (splice->key_len <= DFD_SPLICE_MAX_RAW) {
            splice->key_len++;
        }
    }
}


int
dfd_splice_path_begin(dfd_splice_t *splice, const unsigned char *chunk,
                      const unsigned char *end, uint64_t offset)
{
    splice->chunk = chunk;
    splice->end = end;
    splice->chunk_offset = offset;

    if (!splice->key_open) {
        return 0;
    }

    dfd_splice_path_extend(splice, chunk, end);

    return !splice->key_open;
}


/* is the key of the bracket at this depth ever asked for? */
static int
dfd_splice_path_is_used(const dfd_splice_t *splice, size_t depth)
{
    return splice->nest.context[depth - 1] == DFD_JSON_OBJECT
        && (splice->nest.context[depth] == DFD_JSON_ARRAY
            || splice->plan->nfields != 0);
}


/* key: NULL if it is too long */
static void
dfd_splice_path_keep(dfd_splice_level_t *level, const dfd_splice_key_t *key)
{
    level->kept = (key != NULL);

    if (key != NULL) {
        level->len = key->len;
        memcpy(level->text, key->text, key->len);
    }
}


/* the key whose opening quote stands in the input at hand */
static int
dfd_splice_path_read(const dfd_splice_t *splice, dfd_splice_key_t *key,
                     uint64_t at)
{
    return dfd_splice_key_read(key,
                               splice->chunk + (at - splice->chunk_offset) + 1,
                               splice->end, DFD_SPLICE_MAX_KEY);
}


int
dfd_splice_path_key(const dfd_splice_t *splice, dfd_splice_key_t *key,
                    uint64_t at)
{
    if (at >= splice->chunk_offset) {
        return dfd_splice_path_read(splice, key, at);
    }

    key->text = splice->key_text;
    key->len = splice->key_len;

    return key->len <= DFD_SPLICE_MAX_KEY;
}


int
dfd_splice_path_level(const dfd_splice_t *splice, dfd_splice_key_t *key,
                      size_t depth)
{
    const dfd_splice_level_t *level;

    if (depth > DFD_SPLICE_MAX_LEVEL) {
        return 0;
    }

    level = &splice->level[depth];

    if (level->key >= splice->chunk_offset) {
        return dfd_splice_path_read(splice, key, level->key);
    }

    key->text = level->text;
    key->len = level->len;

    return level->kept;
}


void
dfd_splice_path_open(dfd_splice_t *splice, size_t depth, uint64_t at)
{
    dfd_splice_key_t key;

    if (depth > DFD_SPLICE_MAX_LEVEL) {
        return;
    }

    splice->level[depth].key = at;

    /* the copy of the last key is soon another's */
    if (at < splice->chunk_offset) {
        dfd_splice_path_keep(&splice->level[depth],
                             dfd_splice_path_key(splice, &key, at) ? &key
                                                                   : NULL);
    }
}


void
dfd_splice_path_keep_levels(dfd_splice_t *splice)
{
    size_t              depth;
    dfd_splice_key_t    key;
    dfd_splice_level_t *level;

    depth = splice->nest.depth;

    if (depth > DFD_SPLICE_MAX_LEVEL) {
        depth = DFD_SPLICE_MAX_LEVEL;
    }

    for (/* void */; depth > 0; depth--) {

        if (!dfd_splice_path_is_used(splice, depth)) {
            continue;
        }

        level = &splice->level[depth];

        /* this one has its copy, and so have those around it */
        if (level->key < splice->chunk_offset) {
            return;
        }

        dfd_splice_path_keep(
            level,
            dfd_splice_path_read(splice, &key, level->key) ? &key : NULL);
    }
}


void
dfd_splice_path_keep_strings(dfd_splice_t *splice)
{
    size_t               n;
    const unsigned char *p;

    if (splice->nest.context[splice->nest.depth] == DFD_JSON_OBJECT
        && splice->key >= splice->chunk_offset)
    {
        splice->key_len = 0;
        splice->key_open = 1;
        splice->key_escape = 0;
        p = splice->chunk + (splice->key - splice->chunk_offset) + 1;
        dfd_splice_path_extend(splice, p, splice->end);
    }

    if (!splice->carry.in_string
        || (splice->carry.hex_run | splice->carry.address_run
            | splice->carry.zone_run)
               == 0)
    {
        return;
    }

    p = splice->chunk;

    if (splice->quote >= splice->chunk_offset) {
        p += splice->quote - splice->chunk_offset + 1;
        splice->value_len = 0;
    }

    n = (size_t) (splice->end - p);

    if (n > DFD_SPLICE_MAX_ADDRESS - splice->value_len) {
        /* the bytes do not matter: it is longer than an address */
        n = DFD_SPLICE_MAX_ADDRESS - splice->value_len;
    }

    memcpy(splice->value_text + splice->value_len, p, n);
    splice->value_len += n;
}


int
dfd_splice_path_wanted(const dfd_splice_t *splice, const dfd_splice_key_t *key,
                       size_t object)
{
    size_t                    i, len, level, n;
    const char               *text;
    dfd_splice_key_t          part;
    const dfd_splice_field_t *field;

    for (i = 0; i < splice->plan->nfields; i++) {
        field = &splice->plan->field[i];
        text = splice->plan->text + field->at;
        level = object;
        part = *key;
        len = field->len;

        for (;;) {
            n = dfd_splice_key_ends(&part, text, len);

            if (n == SIZE_MAX) {
                break;
            }

            len -= n;

            if (len == 0) {
                return 1;
            }

            if (text[--len] != '.') {
                break;
            }

            /* arrays between two objects do not count */
            while (level > 0
                   && splice->nest.context[level - 1] != DFD_JSON_OBJECT) {
                level--;
            }

            if (level == 0 || !dfd_splice_path_level(splice, &part, level)) {
                break;
            }

            level--;
        }
    }

    return 0;
}
