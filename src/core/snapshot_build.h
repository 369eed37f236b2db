#ifndef DFD_CORE_SNAPSHOT_BUILD_H
#define DFD_CORE_SNAPSHOT_BUILD_H

#include "core/snapshot_writer.h"


/*
 * What a builder remembers of each device and address until the end: all
 * else is in the file already.
 */

typedef struct {
    uint64_t              id_hash;
    int64_t               last_seen;
    dfd_snapshot_device_t place;
    uint8_t               inactive;
    uint8_t               dead; /* another record of the same id is newer */
} dfd_build_device_t;


typedef struct {
    dfd_addr_t addr;
    uint32_t   device; /* as they were added */
    uint16_t   mac;
    uint8_t    evidence;
} dfd_build_claim_t;


struct dfd_snapshot_builder_s {
    dfd_snapshot_writer_t writer;
    dfd_snapshot_header_t header;
    char                 *portal;
    int                   no_memory;

    dfd_build_device_t *devices;
    size_t              ndevices;
    size_t              devices_size;

    dfd_build_claim_t *claims;
    size_t             nclaims;
    size_t             claims_size;

    dfd_device_t        device; /* scratch of one addition */
    dfd_device_record_t record;
};


#endif /* DFD_CORE_SNAPSHOT_BUILD_H */
