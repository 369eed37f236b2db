#ifndef DFD_CORE_DEVICE_H
#define DFD_CORE_DEVICE_H

#include "core/address.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>


/*
 * One machine object of Defender's, read for the index and written as the
 * part of the entity JSON that does not depend on who asks.  Members that are
 * null, absent or of another type than Microsoft documents are left out; none
 * of them costs the device.
 */

#define DFD_DEVICE_MAX_ID    128 /* bytes; Microsoft's have 40 */
#define DFD_DEVICE_MAX_ADDRS 512
#define DFD_DEVICE_MAX_MAC   40 /* bytes; Microsoft's have 12 */


typedef struct {
    dfd_addr_t    addr;
    uint8_t       evidence;     /* the best there is: DFD_EVIDENCE_* */
    uint8_t       mac_evidence; /* of the entry that the MAC comes from */
    const json_t *mac;          /* inside the machine; NULL: not known */
} dfd_device_addr_t;


typedef struct {
    json_t           *machine;    /* the caller's, to outlive this */
    int64_t           last_seen;  /* ticks, or DFD_TIME_NONE */
    unsigned          merged : 1; /* never answers: it has no addresses */
    unsigned          inactive : 1;
    uint32_t          naddrs;
    dfd_device_addr_t addrs[DFD_DEVICE_MAX_ADDRS];
} dfd_device_t;


/*
 * Reads one machine object.  Addresses are those of lastIpAddress and
 * ipAddresses, each once with its best evidence, without the special ones;
 * beyond the bound the weakest evidence goes first.
 * Returns 1, or 0 when it is no machine: not an object, or without an id.
 */
int dfd_device_read(dfd_device_t *device, json_t *machine);


/* a piece of a record's data */
typedef struct {
    uint32_t offset;
    uint32_t len; /* 0: there is none */
} dfd_device_span_t;


/* raw texts, for those who want no JSON */
enum {
    DFD_DEVICE_ID = 0,
    DFD_DEVICE_NAME,
    DFD_DEVICE_OS_PLATFORM,
    DFD_DEVICE_HEALTH_STATUS,
    DFD_DEVICE_RISK_SCORE,
    DFD_DEVICE_EXPOSURE_LEVEL,
    DFD_DEVICE_LAST_SEEN,
    DFD_DEVICE_TEXTS
};


/*
 * Where in the data the pieces lie.  The entity's members come in two runs,
 * without braces, because the MAC between them depends on the address.
 */
typedef struct {
    uint32_t          size; /* of layout and data together */
    uint32_t          unused;
    dfd_device_span_t head;  /* "id" to "osBuild" */
    dfd_device_span_t tail;  /* "lastSeen" to "portalUrl" */
    dfd_device_span_t names; /* of head: "id" and "computerDnsName" */
    dfd_device_span_t seen;  /* of tail: "lastSeen" */
    dfd_device_span_t texts[DFD_DEVICE_TEXTS];
} dfd_device_layout_t;


/* Zeroed before its first use; the data is reused from device to device. */
typedef struct {
    dfd_device_layout_t layout;

    /*
     * Where the MAC of each address is, counted from the beginning of the
     * layout: a length byte, then that many bytes of JSON with their quotes;
     * 0 when there is none.
     */
    uint16_t macs[DFD_DEVICE_MAX_ADDRS];

    char  *data;
    size_t len;
    size_t size;
    int    failed; /* out of memory */
} dfd_device_record_t;


/*
 * Writes the record of a device.  portal: "https://security.microsoft.com".
 * Returns 0, or -1 when out of memory.
 */
int dfd_device_render(dfd_device_record_t *record, const dfd_device_t *device,
                      const char *portal);


void dfd_device_record_free(dfd_device_record_t *record);


#endif /* DFD_CORE_DEVICE_H */
