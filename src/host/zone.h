#ifndef DFD_HOST_ZONE_H
#define DFD_HOST_ZONE_H

#include "host/conf.h"


/*
 * What the workers of one host share in memory: who is the agent, which
 * snapshot is current, whether the integration is on, what the status page
 * says, and the counters.  Single words are atomics; the status text is
 * copied under the zone's own mutex, the only lock that nginx frees when a
 * worker dies holding it.
 */

#define DFD_ZONE_SIZE   (128 * 1024)
#define DFD_ZONE_STATUS (32 * 1024)


/* what a look-up may do */
typedef enum {
    DFD_ACCESS_UNKNOWN = 0, /* Redis not asked yet: serve what is there */
    DFD_ACCESS_NOT_CONFIGURED,
    DFD_ACCESS_DISABLED,
    DFD_ACCESS_ENABLED
} dfd_access_t;


/* the fixed list of counters: (enum suffix, metric name, label, help) */
#define DFD_COUNTERS(X)                                                       \
    X(LOOKUP_EXACT, "lookups_total", "match=\"exact\"")                       \
    X(LOOKUP_LIKELY, "lookups_total", "match=\"likely\"")                     \
    X(LOOKUP_AMBIGUOUS, "lookups_total", "match=\"ambiguous\"")               \
    X(LOOKUP_STALE, "lookups_total", "match=\"stale\"")                       \
    X(LOOKUP_NONE, "lookups_total", "match=\"none\"")                         \
    X(LOOKUP_UNAVAILABLE, "lookups_total", "match=\"unavailable\"")           \
    X(ENRICH_ON, "responses_total", "enrich=\"on\"")                          \
    X(ENRICH_LOG, "responses_total", "enrich=\"log\"")                        \
    X(SKIP_ENCODING, "responses_total", "enrich=\"skipped-encoding\"")        \
    X(SKIP_TYPE, "responses_total", "enrich=\"skipped-type\"")                \
    X(SKIP_STATUS, "responses_total", "enrich=\"skipped-status\"")            \
    X(SKIP_ROLE, "responses_total", "enrich=\"skipped-role\"")                \
    X(SKIP_DISABLED, "responses_total", "enrich=\"skipped-disabled\"")        \
    X(SKIP_NO_DATA, "responses_total", "enrich=\"skipped-no-data\"")          \
    X(ENTITIES_EXACT, "entities_total", "match=\"exact\"")                    \
    X(ENTITIES_LIKELY, "entities_total", "match=\"likely\"")                  \
    X(ENTITIES_AMBIGUOUS, "entities_total", "match=\"ambiguous\"")            \
    X(ENTITIES_STALE, "entities_total", "match=\"stale\"")                    \
    X(ENTITIES_NONE, "entities_total", "match=\"none\"")                      \
    X(ENTITIES_UNAVAILABLE, "entities_total", "match=\"unavailable\"")        \
    X(MALFORMED, "malformed_total", "")                                       \
    X(DROPPED, "dropped_total", "")

#define DFD_COUNTER_ENUM(id, name, label) DFD_COUNT_##id,

typedef enum {
    DFD_COUNTERS(DFD_COUNTER_ENUM) DFD_COUNTER_N
} dfd_counter_t;


struct dfd_zone_s {
    ngx_slab_pool_t *shpool; /* the same address in every process */

    ngx_atomic_t access; /* dfd_access_t */

    /* bumped after each rename of the file; 0: this host has built none yet */
    ngx_atomic_t snapshot;

    /*
     * Agent election inside the host, under the mutex: pid, and until when by
     * ngx_current_msec (a monotonic clock that all processes share).
     */
    ngx_pid_t  agent_pid;
    ngx_msec_t agent_until;

    ngx_atomic_t started; /* 0 in a fresh zone: the first poll is due now */

    ngx_atomic_t counters[DFD_COUNTER_N];

    /* the Redis lease token of the last agent: its successor may adopt it */
    u_char lease_token[64];

    size_t status_len;
    u_char status[DFD_ZONE_STATUS];
};


/*
 * Adds the zone while nginx.conf is read; conf->zone and conf->shpool are
 * set when the memory is there.  NGX_CONF_OK or NGX_CONF_ERROR.
 */
char *dfd_zone_add(ngx_conf_t *cf, dfd_host_conf_t *conf, void *tag);


/*
 * Takes or renews the host's agent role for this process for `ttl` ms: it is
 * free when nobody holds it, it expired, or its process is gone.  Returns 1
 * when this process is the agent now.
 */
ngx_uint_t dfd_zone_elect(dfd_zone_t *zone, ngx_msec_t ttl);


/* Gives the role back, if this process has it. */
void dfd_zone_resign(dfd_zone_t *zone);


void dfd_zone_set_status(dfd_host_conf_t *conf, const char *json, size_t len);


/* Copies the status text into pool; empty (len 0) when there is none yet. */
ngx_int_t dfd_zone_get_status(dfd_host_conf_t *conf, ngx_pool_t *pool,
                              ngx_str_t *json);


#define dfd_zone_count(zone, counter)                                         \
    ((void) ngx_atomic_fetch_add(&(zone)->counters[counter], 1))


#define dfd_zone_count_n(zone, counter, n)                                    \
    ((void) ngx_atomic_fetch_add(&(zone)->counters[counter], n))


#endif /* DFD_HOST_ZONE_H */
