#ifndef DFD_CORE_SNAPSHOT_FORMAT_H
#define DFD_CORE_SNAPSHOT_FORMAT_H

#include "core/device.h"
#include "core/match.h"
#include "core/snapshot.h"
#include "core/timestamp.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>


/*
 * What the snapshot's builder and reader share; nobody else includes it but
 * lookup.c, the tests and the fuzzer.
 *
 *     header
 *     records    of each device: a layout, then the data it points into
 *     devices    where the record of each is, in the order of addition
 *     addrs      each address, followed by the claims to it
 *     slots      hash table over addrs, open addressing, linear probing
 *
 * All numbers are in the byte order of the machine: a snapshot never leaves
 * its host.  A look-up in a cold cache waits for memory and for nothing else,
 * so it takes as few steps from one place to another as can be: slot, address
 * with its claims, record.  The slots are small, because a miss, the most
 * frequent answer, needs only them; the addresses lie in the order of their
 * slots, so that checking all of them goes through memory once.
 */

#define DFD_SNAPSHOT_MAGIC      "DFDSNAP\n"
#define DFD_SNAPSHOT_MAGIC_LEN  8
#define DFD_SNAPSHOT_BYTE_ORDER 0x01020304U
#define DFD_SNAPSHOT_SWAPPED    0x04030201U
#define DFD_SNAPSHOT_VERSION    1

/* of sections; the checksum takes blocks of this size */
#define DFD_SNAPSHOT_BLOCK 64

/* places within a section are counted in units, to fit into 32 bits */
#define DFD_SNAPSHOT_UNIT 8

#define DFD_SNAPSHOT_MIN_SLOTS 16


typedef enum {
    DFD_SNAPSHOT_RECORDS = 0,
    DFD_SNAPSHOT_DEVICES,
    DFD_SNAPSHOT_ADDRS,
    DFD_SNAPSHOT_SLOTS,
    DFD_SNAPSHOT_SECTIONS
} dfd_snapshot_part_t;


typedef struct {
    uint64_t offset; /* in the file */
    uint64_t count;  /* of elements; of records and addrs, bytes */
} dfd_snapshot_section_t;


typedef struct {
    char                   magic[DFD_SNAPSHOT_MAGIC_LEN];
    uint32_t               byte_order;
    uint32_t               version;
    uint64_t               checksum; /* of all else, header last */
    uint64_t               file_size;
    uint64_t               generation;
    int64_t                as_of;
    uint64_t               seed[2]; /* of the hash table */
    dfd_snapshot_section_t sections[DFD_SNAPSHOT_SECTIONS];
    uint32_t               addresses;
    uint32_t               skipped;
    uint32_t               source;
    uint32_t               unused[13];
} dfd_snapshot_header_t;


/*
 * A device's number, also in claims, is the place of its record.  The MAC of
 * a claim is counted in bytes from there.
 */
typedef uint32_t dfd_snapshot_device_t;


/* as many claims as it says follow */
typedef struct {
    dfd_addr_t addr;
    uint32_t   count;
    uint32_t   unused;
} dfd_snapshot_addr_t;


typedef struct {
    uint32_t tag;   /* the half of the hash that does not choose the slot */
    uint32_t place; /* of the address, plus 1; 0: the slot is free */
} dfd_snapshot_slot_t;


_Static_assert(sizeof(dfd_snapshot_header_t) % DFD_SNAPSHOT_BLOCK == 0,
               "the header is whole blocks");
_Static_assert(sizeof(dfd_claim_t) == 16, "claims lie in the file as such");
_Static_assert(sizeof(dfd_snapshot_addr_t) == 24, "no padding");
_Static_assert(sizeof(dfd_device_layout_t) % DFD_SNAPSHOT_UNIT == 0,
               "no padding");


static inline uint64_t
dfd_snapshot_count(const dfd_snapshot_header_t *header,
                   dfd_snapshot_part_t          part)
{
    return header->sections[part].count;
}


/*
 * The seeds are random in each file, so that nobody can choose addresses
 * which fall upon one another in the table.
 */
static inline uint64_t
dfd_snapshot_hash(const uint64_t seed[2], const dfd_addr_t *addr)
{
    uint64_t high, low, h;

    memcpy(&high, addr->bytes, 8);
    memcpy(&low, addr->bytes + 8, 8);

    h = (high ^ seed[0]) * 0x9e3779b97f4a7c15ULL;
    h ^= h >> 32;
    h = (h ^ low ^ seed[1]) * 0xd6e8feb86659fd93ULL;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93ULL;
    h ^= h >> 32;

    return h;
}


/*
 * The checksum tells a damaged file from a whole one, not a forged one: the
 * file is 0600 and every offset in it is checked besides.  It runs in eight
 * independent lanes, because each worker goes through all of a new file.
 * Each step is a bijection of a lane and of a word, so no change of one word
 * goes unseen.
 */
#define DFD_SNAPSHOT_LANES (DFD_SNAPSHOT_BLOCK / 8)

typedef struct {
    uint64_t lanes[DFD_SNAPSHOT_LANES];
} dfd_snapshot_sum_t;


void dfd_snapshot_sum_init(dfd_snapshot_sum_t *sum);


/* len: whole blocks */
void dfd_snapshot_sum_add(dfd_snapshot_sum_t *sum, const void *bytes,
                          size_t len);


/* adds the header, its checksum taken as 0, and returns the checksum */
uint64_t dfd_snapshot_sum_final(dfd_snapshot_sum_t          *sum,
                                const dfd_snapshot_header_t *header);


/* bytes of an element of a section */
size_t dfd_snapshot_element_size(dfd_snapshot_part_t part);


struct dfd_snapshot_s {
    const dfd_snapshot_slot_t   *slots;
    uint64_t                     mask;
    const char                  *addrs;
    const char                  *records;
    const dfd_snapshot_device_t *devices;

    const dfd_snapshot_header_t *header;

    char   as_of[DFD_TIME_TEXT];
    size_t as_of_len;

    void  *map; /* NULL: the bytes are the caller's */
    size_t size;
};


/* says in the error what is wrong with the file; returns 0 always */
int dfd_snapshot_refuse(char *error, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));


/*
 * Checks all of the bytes before anything in them is followed, and fills the
 * snapshot.  Returns 1, or 0 and the error.
 */
int dfd_snapshot_check(dfd_snapshot_t *snapshot, const void *bytes,
                       size_t size, const char *name, char *error);


/*
 * The same for a file that is known to be as it was built: only the header
 * and that the sections lie within the size.
 */
int dfd_snapshot_check_shape(dfd_snapshot_t *snapshot, const void *bytes,
                             size_t size, const char *name, char *error);


/* --- for lookup.c: what the file says, checked when it was opened -------- */

/* the claims to an address, NULL when there are none */
const dfd_claim_t *dfd_snapshot_claims(const dfd_snapshot_t *snapshot,
                                       const dfd_addr_t *addr, size_t *n);


/* the layout of a device's record; the data follows it */
const dfd_device_layout_t *dfd_snapshot_record(const dfd_snapshot_t *snapshot,
                                               dfd_snapshot_device_t device);


/* the MAC that goes with a claim, as JSON; NULL when there is none */
const char *dfd_snapshot_mac(const dfd_snapshot_t *snapshot,
                             const dfd_claim_t *claim, size_t *len);


#endif /* DFD_CORE_SNAPSHOT_FORMAT_H */
