#include "agent/slice.h"

#include "agent/eval.h"
#include "agent/scripts.h"


/* ends a slice early: an entity has about 850 bytes, but need not */
#define DFD_SLICE_BYTES (128 * 1024)

/* room for the first try of an entity; a longer one gets what it needs */
#define DFD_SLICE_ENTITY 4096


void
dfd_slice_begin(dfd_slice_t *slice)
{
    slice->n = 0;
    slice->used = 0;
}


ngx_uint_t
dfd_slice_full(const dfd_slice_t *slice)
{
    return slice->n == DFD_SLICE_ITEMS || slice->used >= DFD_SLICE_BYTES;
}


void
dfd_slice_clear(dfd_slice_t *slice)
{
    free(slice->text);
    ngx_memzero(slice, sizeof(dfd_slice_t));
}


static ngx_int_t
dfd_slice_room(dfd_slice_t *slice, size_t len)
{
    char  *text;
    size_t size;

    if (slice->size - slice->used >= len) {
        return NGX_OK;
    }

    size = ngx_max(2 * slice->size, slice->used + len);

    text = realloc(slice->text, size);
    if (text == NULL) {
        return NGX_ERROR;
    }

    slice->text = text;
    slice->size = size;

    return NGX_OK;
}


ngx_int_t
dfd_slice_add_key(dfd_slice_t *slice, const ngx_str_t *prefix,
                  const char *address, size_t len)
{
    u_char           *p;
    dfd_slice_item_t *item;

    if (dfd_slice_room(slice, prefix->len + len) != NGX_OK) {
        return NGX_ERROR;
    }

    item = &slice->items[slice->n++];

    item->key = slice->used;
    item->key_len = prefix->len + len;
    item->address_len = len;

    p = (u_char *) slice->text + slice->used;
    p = ngx_cpymem(p, prefix->data, prefix->len);
    ngx_memcpy(p, address, len);

    slice->used += item->key_len;

    return NGX_OK;
}


ngx_int_t
dfd_slice_add_entity(dfd_slice_t *slice, const dfd_lookup_t *lookup)
{
    size_t            len;
    dfd_slice_item_t *item;

    if (dfd_slice_room(slice, DFD_SLICE_ENTITY) != NGX_OK) {
        return NGX_ERROR;
    }

    len = dfd_lookup_entity(lookup, slice->text + slice->used,
                            slice->size - slice->used);

    if (len > slice->size - slice->used) {

        if (dfd_slice_room(slice, len) != NGX_OK) {
            return NGX_ERROR;
        }

        len = dfd_lookup_entity(lookup, slice->text + slice->used,
                                slice->size - slice->used);
    }

    item = &slice->items[slice->n - 1];

    item->entity = slice->used;
    item->entity_len = len;

    slice->used += len;

    return NGX_OK;
}


ngx_int_t
dfd_slice_send(const dfd_slice_t *slice, dfd_agent_t *agent, ngx_uint_t set,
               dfd_redis_reply_pt handler, void *data)
{
    ngx_uint_t              i;
    dfd_eval_t              eval;
    dfd_keys_t             *keys;
    const char             *text;
    const dfd_slice_item_t *item;

    keys = &agent->conf->keys;
    text = slice->text;

    dfd_eval_script(&eval, set ? DFD_SCRIPT_IP_SET : DFD_SCRIPT_IP_DROP,
                    2 + slice->n, 2 + 2 * slice->n);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_str(&eval, &keys->ips);

    for (i = 0; i < slice->n; i++) {
        item = &slice->items[i];
        dfd_eval_add(&eval, text + item->key, item->key_len);
    }

    dfd_eval_text(&eval, agent->lease.token);

    if (set) {
        dfd_eval_uint(&eval,
                      agent->conf->lookup.rule.stale / DFD_TICKS_PER_MSEC);
    }

    for (i = 0; i < slice->n; i++) {
        item = &slice->items[i];

        /* the key's tail is the address */
        dfd_eval_add(&eval,
                     text + item->key + item->key_len - item->address_len,
                     item->address_len);

        if (set) {
            dfd_eval_add(&eval, text + item->entity, item->entity_len);
        }
    }

    return dfd_eval_send(&eval, agent->redis, handler, data);
}
