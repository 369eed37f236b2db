#ifndef DFD_CORE_LOOKUP_H
#define DFD_CORE_LOOKUP_H

#include "core/address.h"
#include "core/match.h"
#include "core/snapshot.h"

#include <stddef.h>
#include <stdint.h>


/*
 * The question of every surface: which device has this address at this
 * moment?  Snapshot + match = verdict; verdict + device = entity JSON.
 * Nothing here allocates or does I/O.
 */

typedef struct {
    dfd_match_rule_t  rule;
    const dfd_cidr_t *exclude; /* never match these */
    size_t            nexclude;
    const dfd_cidr_t *networks; /* only match these, when there are any */
    size_t            nnetworks;
} dfd_lookup_conf_t;


/* a text inside the snapshot's mapping: valid until it is closed */
typedef struct {
    const char *data;
    size_t      len; /* 0: the device has no such value */
} dfd_text_t;


typedef struct {
    dfd_text_t id;
    dfd_text_t name; /* computerDnsName */
    dfd_text_t os_platform;
    dfd_text_t health_status;
    dfd_text_t risk_score;
    dfd_text_t exposure_level;
    dfd_text_t last_seen; /* as Defender wrote it */
} dfd_lookup_device_t;


typedef struct {
    dfd_match_t           match; /* verdict, evidence, device or candidates */
    const dfd_snapshot_t *snapshot;
    dfd_addr_t            addr;
    int64_t               at;     /* ticks */
    const char           *reason; /* of unavailable, else NULL */
    dfd_lookup_device_t   device; /* of exact, likely and stale */
} dfd_lookup_t;


/*
 * Fills lookup with the verdict for addr at the moment `at` (ticks).
 * snapshot NULL: unavailable, with the reason given (a static text such as
 * "no-data" or "disabled").
 */
void dfd_lookup(dfd_lookup_t *lookup, const dfd_snapshot_t *snapshot,
                const dfd_lookup_conf_t *conf, const dfd_addr_t *addr,
                int64_t at, const char *reason);


/*
 * May the address name a device at all: not special, not excluded, inside
 * the networks?
 */
int dfd_lookup_allowed(const dfd_lookup_conf_t *conf, const dfd_addr_t *addr);


/*
 * Writes the entity JSON when it fits into room; returns its length, which
 * above room means that nothing usable was written.
 */
size_t dfd_lookup_entity(const dfd_lookup_t *lookup, char *buf, size_t room);


/* "exact", "likely", "ambiguous", "stale", "none", "unavailable" */
const char *dfd_verdict_name(dfd_verdict_t verdict);


#endif /* DFD_CORE_LOOKUP_H */
