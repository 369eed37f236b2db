#include "core/splice_internal.h"

#include <string.h>


void
dfd_splice_pending_add(dfd_splice_t *splice, const dfd_addr_t *addr,
                       const dfd_splice_key_t *key, uint64_t at, size_t object,
                       int in_array)
{
    dfd_splice_pending_t *pending, *last;

    if (key == NULL || splice->npending == DFD_SPLICE_MAX_PENDING) {
        splice->stat.dropped++;
        return;
    }

    pending = &splice->pending[splice->npending];
    last = (splice->npending != 0) ? pending - 1 : NULL;

    if (last != NULL && in_array && last->key == at) {
        *pending = *last;

    } else {
        if (key->len + 1 > DFD_SPLICE_MAX_KEYS - splice->nkeys) {
            splice->stat.dropped++;
            return;
        }

        pending->key = at;
        pending->depth = (uint16_t) object;
        pending->at = (uint16_t) splice->nkeys;
        pending->len = (uint16_t) key->len;
        pending->in_array = (uint8_t) in_array;
        pending->escaped = (memchr(key->text, '\\', key->len) != NULL);

        /* with its closing quote: what is equal to it has the same length */
        memcpy(splice->keys + splice->nkeys, key->text, key->len);
        splice->nkeys += key->len;
        splice->keys[splice->nkeys++] = '"';
    }

    pending->addr = *addr;
    splice->npending++;
}


void
dfd_splice_pending_drop(dfd_splice_t *splice, size_t depth)
{
    size_t n;

    for (n = splice->npending; n > 0; n--) {

        if (splice->pending[n - 1].depth != depth) {
            break;
        }

        splice->nkeys = splice->pending[n - 1].at;
    }

    splice->npending = n;
}


void
dfd_splice_pending_replace(dfd_splice_t *splice, const dfd_splice_key_t *key,
                           size_t depth)
{
    size_t                first, i, kept;
    dfd_splice_key_t      other;
    dfd_splice_pending_t *pending;

    first = splice->npending;

    while (first > 0 && splice->pending[first - 1].depth == depth) {
        first--;
    }

    for (i = first, kept = first; i < splice->npending; i++) {
        pending = &splice->pending[i];
        other.text = splice->keys + pending->at;
        other.len = pending->len;

        if (!dfd_splice_key_same(key, &other)) {
            splice->pending[kept++] = *pending;
        }
    }

    splice->npending = kept;
    splice->nkeys = 0;

    if (kept != 0) {
        pending = &splice->pending[kept - 1];
        splice->nkeys = (size_t) pending->at + pending->len + 1;
    }
}


/* what is written, and what would have been had there been room */
typedef struct {
    char  *buf;
    size_t room;
    size_t len;
} dfd_splice_out_t;


static void
dfd_splice_put(dfd_splice_out_t *out, const void *text, size_t len)
{
    if (out->len <= out->room && len <= out->room - out->len) {
        memcpy(out->buf + out->len, text, len);
    }

    out->len += len;
}


/* the separator and the key are taken back if there is no entity */
static int
dfd_splice_put_entity(dfd_splice_t *splice, dfd_splice_out_t *out,
                      const dfd_splice_pending_t *pending)
{
    size_t n, room;
    char   none[1];

    room = out->len < out->room ? out->room - out->len : 0;

    n = splice->source.entity(splice->source.data, &pending->addr,
                              room != 0 ? out->buf + out->len : none, room);
    out->len += n;

    return n != 0;
}


/* one member: the addresses from i on that share a key; returns the next */
static size_t
dfd_splice_put_member(dfd_splice_t *splice, dfd_splice_out_t *out, size_t i,
                      int first)
{
    int                         any;
    size_t                      before, start;
    const dfd_splice_pending_t *pending;

    before = out->len;
    pending = &splice->pending[i];

    if (!first) {
        dfd_splice_put(out, ",", 1);
    }

    dfd_splice_put(out, "\"", 1);
    dfd_splice_put(out, splice->keys + pending->at, (size_t) pending->len + 1);
    dfd_splice_put(out, ":[", pending->in_array ? 2 : 1);

    any = 0;

    do {
        start = out->len;

        if (any) {
            dfd_splice_put(out, ",", 1);
        }

        if (dfd_splice_put_entity(splice, out, &splice->pending[i])) {
            any = 1;

        } else {
            out->len = start;
        }

        i++;

    } while (pending->in_array && i < splice->npending
             && splice->pending[i].key == pending->key);

    if (!any) {
        out->len = before;

    } else if (pending->in_array) {
        dfd_splice_put(out, "]", 1);
    }

    return i;
}


size_t
dfd_splice_insertion(dfd_splice_t *splice, char *buf, size_t room)
{
    size_t           i, start;
    dfd_splice_out_t out;

    if (!splice->at_close) {
        return 0;
    }

    i = splice->npending;

    while (i > 0 && splice->pending[i - 1].depth == splice->nest.depth) {
        i--;
    }

    out.buf = buf;
    out.room = room;
    out.len = 0;

    dfd_splice_put(&out, splice->plan->prefix, splice->plan->prefix_len);
    start = out.len;

    while (i < splice->npending) {
        i = dfd_splice_put_member(splice, &out, i, out.len == start);
    }

    if (out.len == start) {
        return 0;
    }

    dfd_splice_put(&out, "}", 1);

    return out.len;
}
