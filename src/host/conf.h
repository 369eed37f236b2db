#ifndef DFD_HOST_CONF_H
#define DFD_HOST_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_thread_pool.h>

#include "client/http.h"
#include "client/redis.h"
#include "core/lookup.h"
#include "core/seal.h"


/* what http{} says, once for the host; made by the front door, read by all */

typedef struct {
    ngx_str_t ip;      /* "<prefix>ip:" */
    ngx_str_t ips;     /* set: addresses that have an ip key; module only */
    ngx_str_t devices; /* hash */
    ngx_str_t meta;    /* hash */
    ngx_str_t stage;   /* "<prefix>stage:", then the poll's token */
    ngx_str_t config;  /* hash; module only */
    ngx_str_t lease;   /* string, PX; module only */
    ngx_str_t status;  /* string: the poller's state as JSON; module only */
    ngx_str_t sync;    /* string, PX: a poll was asked for; module only */
    ngx_str_t audit;   /* stream; module only */
    ngx_str_t actions; /* hash */
} dfd_keys_t;


typedef struct dfd_zone_s dfd_zone_t;


typedef struct {
    dfd_redis_conf_t redis;
    dfd_keys_t       keys;
    ngx_str_t        prefix;

    dfd_seal_key_t *key; /* NULL: no defender_key */

    ngx_path_t *cache_path; /* snapshot directory */

    ngx_str_t login; /* defender_endpoint; empty: the cloud's */
    ngx_str_t api;
    ngx_str_t scope;

    dfd_http_conf_t http; /* CA, proxy, source address, timeouts */

    dfd_lookup_conf_t lookup;  /* exact, ambiguous, stale, CIDRs */
    ngx_array_t      *exclude; /* dfd_cidr_t, what lookup points to */
    ngx_array_t      *networks;

    ngx_uint_t page_size;
    ngx_msec_t sync_cooldown;

    ngx_uint_t  configured; /* unsigned: defender_redis was given */
    ngx_str_t   redis_ca;   /* CA file of rediss://; empty: system's */
    const char *needed_by;  /* a directive that needs defender_redis */

    ngx_shm_zone_t  *shm_zone;
    dfd_zone_t      *zone; /* set by the zone's init */
    ngx_slab_pool_t *shpool;

    ngx_thread_pool_t *thread_pool;
} dfd_host_conf_t;


#endif /* DFD_HOST_CONF_H */
