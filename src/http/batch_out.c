#include "http/batch_out.h"

#include "host/cache.h"


#define DFD_BATCH_BUF (32 * 1024)


static size_t    dfd_batch_out_entity(const dfd_batch_item_t *item,
                                      const dfd_lookup_t *lookup, char *buf,
                                      size_t room);
static size_t    dfd_batch_out_odd(const dfd_batch_item_t *item, char *buf,
                                   size_t room);
static ngx_int_t dfd_batch_out_buf(dfd_batch_out_t *out, size_t size);
static ngx_int_t dfd_batch_out_empty(dfd_batch_out_t *out);


void
dfd_batch_out_start(dfd_batch_out_t *out, ngx_pool_t *pool,
                    dfd_host_conf_t *conf, ngx_uint_t lines)
{
    ngx_memzero(out, sizeof(dfd_batch_out_t));

    out->pool = pool;
    out->conf = conf;
    out->lines = lines;
    out->link = &out->chain;
}


ngx_int_t
dfd_batch_out_put(dfd_batch_out_t *out, const dfd_batch_item_t *item)
{
    char         nowhere, *to;
    size_t       len, room, before;
    dfd_lookup_t lookup;

    ngx_memzero(&lookup.match, sizeof(dfd_match_t));

    if (item->is_address && item->is_time) {
        dfd_cache_lookup(out->conf, &lookup, &item->addr, item->at);
    }

    /* one byte more: "[" or "," before it, or the line end after it */

    before = out->lines ? 0 : 1;
    to = &nowhere;
    room = 0;

    if (out->buf != NULL && out->buf->last < out->buf->end) {
        to = (char *) out->buf->last + before;
        room = (size_t) (out->buf->end - out->buf->last) - 1;
    }

    len = dfd_batch_out_entity(item, &lookup, to, room);

    if (out->buf == NULL || len > room) {

        if (dfd_batch_out_buf(out, len + 1) != NGX_OK) {
            return NGX_ERROR;
        }

        to = (char *) out->buf->last + before;

        if (dfd_batch_out_entity(item, &lookup, to, len) != len) {
            return NGX_ERROR;
        }
    }

    if (out->lines) {
        to[len] = '\n';

    } else {
        to[-1] = out->started ? ',' : '[';
        out->started = 1;
    }

    out->buf->last += len + 1;

    return NGX_OK;
}


static size_t
dfd_batch_out_entity(const dfd_batch_item_t *item, const dfd_lookup_t *lookup,
                     char *buf, size_t room)
{
    return item->is_address && item->is_time
             ? dfd_lookup_entity(lookup, buf, room)
             : dfd_batch_out_odd(item, buf, room);
}


/*
 * An element that cannot be looked up keeps its place in the answer.  No
 * address: "match":"none", there is no such device.  No time: "unavailable",
 * as nobody has looked.  "ip" is given back if it was a string.
 */

static size_t
dfd_batch_out_odd(const dfd_batch_item_t *item, char *buf, size_t room)
{
    size_t    len;
    ngx_str_t head;

    static const ngx_str_t no_address =
        ngx_string("{\"source\":\"Microsoft Defender\",\"match\":\"none\","
                   "\"reason\":\"not-an-address\"");
    static const ngx_str_t no_time = ngx_string(
        "{\"source\":\"Microsoft Defender\",\"match\":\"unavailable\","
        "\"reason\":\"not-a-time\"");
    static const ngx_str_t ip = ngx_string(",\"ip\":");

    head = item->is_address ? no_time : no_address;
    len = head.len + 1;

    if (item->ip != NULL) {
        len += ip.len + json_dumpb(item->ip, NULL, 0, JSON_ENCODE_ANY);
    }

    if (len > room) {
        return len;
    }

    buf = (char *) ngx_cpymem(buf, head.data, head.len);

    if (item->ip != NULL) {
        buf = (char *) ngx_cpymem(buf, ip.data, ip.len);
        buf += json_dumpb(item->ip, buf, len, JSON_ENCODE_ANY);
    }

    *buf = '}';

    return len;
}


ngx_int_t
dfd_batch_out_last(dfd_batch_out_t *out)
{
    if (!out->lines) {

        if ((out->buf == NULL || out->buf->end - out->buf->last < 2)
            && dfd_batch_out_buf(out, 2) != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (!out->started) {
            *out->buf->last++ = '[';
        }

        *out->buf->last++ = ']';
    }

    if (out->buf == NULL && dfd_batch_out_empty(out) != NGX_OK) {
        return NGX_ERROR;
    }

    out->buf->last_buf = 1;
    out->buf->last_in_chain = 1;

    return NGX_OK;
}


/* No line in this step: nginx wants an end without memory then. */

static ngx_int_t
dfd_batch_out_empty(dfd_batch_out_t *out)
{
    ngx_chain_t *cl;

    cl = ngx_alloc_chain_link(out->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    cl->next = NULL;
    cl->buf = ngx_calloc_buf(out->pool);

    if (cl->buf == NULL) {
        return NGX_ERROR;
    }

    out->buf = cl->buf;
    *out->link = cl;
    out->link = &cl->next;

    return NGX_OK;
}


/* Appends an empty buffer of at least that size. */

static ngx_int_t
dfd_batch_out_buf(dfd_batch_out_t *out, size_t size)
{
    ngx_buf_t   *buf;
    ngx_chain_t *cl, **link;

    for (link = &out->free; *link != NULL; link = &(*link)->next) {

        buf = (*link)->buf;

        if ((size_t) (buf->end - buf->start) >= size) {
            break;
        }
    }

    cl = *link;

    if (cl != NULL) {
        *link = cl->next;

    } else {
        cl = ngx_alloc_chain_link(out->pool);
        if (cl == NULL) {
            return NGX_ERROR;
        }

        cl->buf = ngx_create_temp_buf(out->pool, ngx_max(size, DFD_BATCH_BUF));
        if (cl->buf == NULL) {
            return NGX_ERROR;
        }

        cl->buf->tag = (ngx_buf_tag_t) &ngx_http_defender_module;
    }

    cl->next = NULL;
    cl->buf->flush = 0;

    out->buf = cl->buf;
    *out->link = cl;
    out->link = &cl->next;

    return NGX_OK;
}


ngx_chain_t *
dfd_batch_out_take(dfd_batch_out_t *out)
{
    ngx_chain_t *chain;

    /*
     * A flush, or nginx would keep a short rest (postpone_output) or what it
     * packs (gzip) until more comes, and more comes when this is sent.
     */
    if (out->buf != NULL && !out->buf->last_buf) {
        out->buf->flush = 1;
    }

    chain = out->chain;

    out->chain = NULL;
    out->link = &out->chain;
    out->buf = NULL;

    return chain;
}


ngx_uint_t
dfd_batch_out_sent(dfd_batch_out_t *out, ngx_chain_t *chain)
{
    ngx_chain_update_chains(out->pool, &out->free, &out->busy, &chain,
                            (ngx_buf_tag_t) &ngx_http_defender_module);

    return out->busy == NULL;
}
