#ifndef DFD_AGENT_SLICE_H
#define DFD_AGENT_SLICE_H

#include "agent/local.h"


/*
 * Some addresses and their entities, to be set or dropped by one script: what
 * one turn of the event loop does, and what Redis does in one go.
 */

#define DFD_SLICE_ITEMS 64


/* places in the text, which moves as it grows */
typedef struct {
    size_t key; /* the key ends with the address */
    size_t key_len;
    size_t address_len;
    size_t entity;
    size_t entity_len;
} dfd_slice_item_t;


typedef struct {
    char            *text;
    size_t           used;
    size_t           size;
    ngx_uint_t       n;
    dfd_slice_item_t items[DFD_SLICE_ITEMS];
} dfd_slice_t;


/* Empties it; zeroed memory is an empty slice, too. */
void dfd_slice_begin(dfd_slice_t *slice);


/* 1 when it has as many items or bytes as it should */
ngx_uint_t dfd_slice_full(const dfd_slice_t *slice);


/* Adds the key of that address.  NGX_ERROR: no memory. */
ngx_int_t dfd_slice_add_key(dfd_slice_t *slice, const ngx_str_t *prefix,
                            const char *address, size_t len);


/* Adds the entity of the last key. */
ngx_int_t dfd_slice_add_entity(dfd_slice_t *slice, const dfd_lookup_t *lookup);


/*
 * Sends it as a script that is fenced by the lease: with set, each key gets
 * its entity, else the keys go away.  As dfd_redis_command().
 */
ngx_int_t dfd_slice_send(const dfd_slice_t *slice, dfd_agent_t *agent,
                         ngx_uint_t set, dfd_redis_reply_pt handler,
                         void *data);


/* Frees what it holds. */
void dfd_slice_clear(dfd_slice_t *slice);


#endif /* DFD_AGENT_SLICE_H */
