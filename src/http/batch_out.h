#ifndef DFD_HTTP_BATCH_OUT_H
#define DFD_HTTP_BATCH_OUT_H

#include "http/batch.h"
#include "http/conf.h"


/*
 * Writes the answers of POST /enrich into buffers of bounded size, which are
 * used again when the client has taken them.
 */

typedef struct {
    ngx_pool_t      *pool;
    dfd_host_conf_t *conf;

    ngx_chain_t  *chain; /* written since the last take */
    ngx_chain_t **link;  /* its end */
    ngx_buf_t    *buf;   /* its last buffer, or NULL */
    ngx_chain_t  *free;
    ngx_chain_t  *busy;

    unsigned lines : 1;
    unsigned started : 1; /* the array's "[" is written */
} dfd_batch_out_t;


void dfd_batch_out_start(dfd_batch_out_t *out, ngx_pool_t *pool,
                         dfd_host_conf_t *conf, ngx_uint_t lines);


/* Looks the element up and writes its answer.  NGX_OK or NGX_ERROR. */
ngx_int_t dfd_batch_out_put(dfd_batch_out_t        *out,
                            const dfd_batch_item_t *item);


/* Writes the end, and marks it as the last of the response. */
ngx_int_t dfd_batch_out_last(dfd_batch_out_t *out);


/* What was written, to be sent; then dfd_batch_out_sent(). */
ngx_chain_t *dfd_batch_out_take(dfd_batch_out_t *out);


/*
 * Finds out which buffers are free again.  chain: what was sent, or NULL.
 * 0: nginx still holds some, and calls the request's write handler when the
 * client takes more.
 */
ngx_uint_t dfd_batch_out_sent(dfd_batch_out_t *out, ngx_chain_t *chain);


#endif /* DFD_HTTP_BATCH_OUT_H */
