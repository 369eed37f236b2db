#ifndef DFD_HTTP_BATCH_H
#define DFD_HTTP_BATCH_H

#include "core/address.h"

#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/*
 * Walks the body of POST /enrich, a JSON array or NDJSON, one element after
 * the other, so that the body is never held as a tree.
 */

#define DFD_BATCH_MAX 10000


typedef struct {
    const char *bytes;
    size_t      len;
    int64_t     now; /* ticks: the moment of elements without "at" */

    size_t     pos;
    ngx_uint_t n; /* elements so far */

    /* what is wrong with the body: a stable code, words, and where */
    const char *code;
    const char *fault;
    size_t      fault_at; /* byte, for "invalid_json"; else element */

    unsigned lines : 1; /* NDJSON */
    unsigned open : 1;  /* the array's "[" was there */
} dfd_batch_t;


typedef struct {
    json_t    *json; /* a reference to the whole element */
    json_t    *ip;   /* its address if that is a string, borrowed, or NULL */
    dfd_addr_t addr;
    int64_t    at; /* ticks */
    unsigned   is_address : 1;
    unsigned   is_time : 1;
} dfd_batch_item_t;


void dfd_batch_start(dfd_batch_t *batch, const ngx_str_t *body,
                     ngx_uint_t lines, int64_t now);


/*
 * NGX_OK: item is the next element, to be dropped with dfd_batch_drop();
 * NGX_DONE: that was the last; NGX_DECLINED: the body is to be refused.
 */
ngx_int_t dfd_batch_next(dfd_batch_t *batch, dfd_batch_item_t *item);


void dfd_batch_drop(dfd_batch_item_t *item);


#endif /* DFD_HTTP_BATCH_H */
