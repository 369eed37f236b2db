#include "core/snapshot_build.h"

#include <errno.h>
#include <stdlib.h>


#define DFD_INDEX_LOAD 60 /* of a hundred slots are taken at most */


/* what decides between records of one id; see dfd_index_drop_doubles() */
typedef struct {
    uint64_t id_hash;
    int64_t  last_seen;
    uint32_t device;
} dfd_index_order_t;


/* by id, and within one the record that stays first */
static int
dfd_index_compare_order(const void *one, const void *two)
{
    const dfd_index_order_t *a, *b;

    a = one;
    b = two;

    if (a->id_hash != b->id_hash) {
        return a->id_hash < b->id_hash ? -1 : 1;
    }

    if (a->last_seen != b->last_seen) {
        return a->last_seen > b->last_seen ? -1 : 1;
    }

    return a->device > b->device ? -1 : 1;
}


typedef struct {
    char   id[DFD_DEVICE_MAX_ID];
    size_t len;
} dfd_index_id_t;


static int
dfd_index_read_id(dfd_snapshot_builder_t *b, uint32_t device,
                  dfd_index_id_t *id)
{
    uint64_t            record;
    dfd_device_layout_t layout;

    record = b->header.sections[DFD_SNAPSHOT_RECORDS].offset
           + (uint64_t) b->devices[device].place * DFD_SNAPSHOT_UNIT;

    if (dfd_snapshot_writer_read(&b->writer, record, &layout, sizeof(layout))
        != 0) {
        return -1;
    }

    id->len = layout.texts[DFD_DEVICE_ID].len;

    if (id->len > sizeof(id->id)) {
        dfd_snapshot_writer_fail(&b->writer, EIO);
        return -1;
    }

    return dfd_snapshot_writer_read(&b->writer,
                                    record + sizeof(layout)
                                        + layout.texts[DFD_DEVICE_ID].offset,
                                    id->id, id->len);
}


/* marks the records behind the first that have the id of an earlier one */
static int
dfd_index_drop_run(dfd_snapshot_builder_t *b, const dfd_index_order_t *run,
                   size_t n)
{
    size_t         i, j;
    dfd_index_id_t id, other;

    for (i = 0; i + 1 < n; i++) {

        if (b->devices[run[i].device].dead) {
            continue;
        }

        if (dfd_index_read_id(b, run[i].device, &id) != 0) {
            return -1;
        }

        for (j = i + 1; j < n; j++) {

            if (b->devices[run[j].device].dead) {
                continue;
            }

            if (dfd_index_read_id(b, run[j].device, &other) != 0) {
                return -1;
            }

            if (id.len == other.len && memcmp(id.id, other.id, id.len) == 0) {
                b->devices[run[j].device].dead = 1;
            }
        }
    }

    return 0;
}


/*
 * Pages shift while they are read, so one id may come twice.  The ids
 * themselves are in the file only, and read back where two may be the same.
 */
static int
dfd_index_drop_doubles(dfd_snapshot_builder_t *b)
{
    size_t             i, first;
    dfd_index_order_t *order;

    order = reallocarray(NULL, b->ndevices + 1, sizeof(dfd_index_order_t));

    if (order == NULL) {
        b->no_memory = 1;
        return -1;
    }

    for (i = 0; i < b->ndevices; i++) {
        order[i].id_hash = b->devices[i].id_hash;
        order[i].last_seen = b->devices[i].last_seen;
        order[i].device = (uint32_t) i;
    }

    qsort(order, b->ndevices, sizeof(dfd_index_order_t),
          dfd_index_compare_order);

    first = 0;

    for (i = 1; i <= b->ndevices; i++) {

        if (i < b->ndevices && order[i].id_hash == order[first].id_hash) {
            continue;
        }

        if (dfd_index_drop_run(b, order + first, i - first) != 0) {
            free(order);
            return -1;
        }

        first = i;
    }

    free(order);

    return 0;
}


static int
dfd_index_compare_claims(const void *one, const void *two)
{
    int                      order;
    const dfd_build_claim_t *a, *b;

    a = one;
    b = two;
    order = memcmp(&a->addr, &b->addr, sizeof(dfd_addr_t));

    if (order != 0) {
        return order;
    }

    return a->device < b->device ? -1 : 1;
}


/* drops the claims of dead records, and sorts the others by address */
static void
dfd_index_sort(dfd_snapshot_builder_t *b)
{
    size_t i, kept;

    kept = 0;

    for (i = 0; i < b->nclaims; i++) {
        if (!b->devices[b->claims[i].device].dead) {
            b->claims[kept++] = b->claims[i];
        }
    }

    b->nclaims = kept;

    if (kept != 0) {
        qsort(b->claims, kept, sizeof(dfd_build_claim_t),
              dfd_index_compare_claims);
    }
}


static void
dfd_index_begin(dfd_snapshot_builder_t *b, dfd_snapshot_part_t part)
{
    dfd_snapshot_writer_align(&b->writer, DFD_SNAPSHOT_BLOCK);
    b->header.sections[part].offset = b->writer.offset;
}


static void
dfd_index_write_devices(dfd_snapshot_builder_t *b)
{
    size_t i;

    dfd_index_begin(b, DFD_SNAPSHOT_DEVICES);

    for (i = 0; i < b->ndevices; i++) {
        if (!b->devices[i].dead) {
            (void) dfd_snapshot_writer_put(&b->writer, &b->devices[i].place,
                                           sizeof(dfd_snapshot_device_t));
            b->header.sections[DFD_SNAPSHOT_DEVICES].count++;
        }
    }
}


/* the end of the run of claims to one address */
static size_t
dfd_index_run(const dfd_snapshot_builder_t *b, size_t first)
{
    size_t i;

    for (i = first + 1; i < b->nclaims; i++) {
        if (memcmp(&b->claims[i].addr, &b->claims[first].addr,
                   sizeof(dfd_addr_t))
            != 0)
        {
            break;
        }
    }

    return i;
}


/* gives each address its slot, which names its first claim for now */
static void
dfd_index_fill_slots(dfd_snapshot_builder_t *b, dfd_snapshot_slot_t *slots,
                     uint64_t mask)
{
    size_t   i;
    uint64_t hash, at;

    for (i = 0; i < b->nclaims; i = dfd_index_run(b, i)) {
        hash = dfd_snapshot_hash(b->header.seed, &b->claims[i].addr);
        at = hash & mask;

        while (slots[at].place != 0) {
            at = (at + 1) & mask;
        }

        slots[at].tag = (uint32_t) (hash >> 32);
        slots[at].place = (uint32_t) i + 1;
    }
}


/* writes an address with its claims; returns its place, plus 1 */
static uint32_t
dfd_index_write_addr(dfd_snapshot_builder_t *b, size_t first)
{
    size_t              i, end;
    uint64_t            place;
    dfd_claim_t         claim;
    dfd_snapshot_addr_t entry;

    end = dfd_index_run(b, first);

    memset(&entry, 0, sizeof(entry));
    entry.addr = b->claims[first].addr;
    entry.count = (uint32_t) (end - first);

    place = (dfd_snapshot_writer_put(&b->writer, &entry, sizeof(entry))
             - b->header.sections[DFD_SNAPSHOT_ADDRS].offset)
          / DFD_SNAPSHOT_UNIT;

    if (place >= UINT32_MAX) {
        dfd_snapshot_writer_fail(&b->writer, EFBIG);
    }

    for (i = first; i < end; i++) {
        claim.last_seen = b->devices[b->claims[i].device].last_seen;
        claim.device = b->devices[b->claims[i].device].place;
        claim.evidence = b->claims[i].evidence;
        claim.inactive = b->devices[b->claims[i].device].inactive;
        claim.mac = b->claims[i].mac;
        (void) dfd_snapshot_writer_put(&b->writer, &claim, sizeof(claim));
    }

    return (uint32_t) place + 1;
}


static void
dfd_index_write_addrs(dfd_snapshot_builder_t *b, dfd_snapshot_slot_t *slots,
                      uint64_t n)
{
    uint64_t                i;
    dfd_snapshot_section_t *addrs;

    dfd_index_begin(b, DFD_SNAPSHOT_ADDRS);

    for (i = 0; i < n; i++) {
        if (slots[i].place != 0) {
            slots[i].place = dfd_index_write_addr(b, slots[i].place - 1);
        }
    }

    addrs = &b->header.sections[DFD_SNAPSHOT_ADDRS];
    addrs->count = b->writer.offset - addrs->offset;
}


static int
dfd_index_write_index(dfd_snapshot_builder_t *b)
{
    size_t               i;
    uint64_t             n;
    dfd_snapshot_slot_t *slots;

    for (i = 0; i < b->nclaims; i = dfd_index_run(b, i)) {
        b->header.addresses++;
    }

    n = DFD_SNAPSHOT_MIN_SLOTS;

    while (n * DFD_INDEX_LOAD < (uint64_t) b->header.addresses * 100) {
        n *= 2;
    }

    slots = calloc(n, sizeof(dfd_snapshot_slot_t));

    if (slots == NULL) {
        b->no_memory = 1;
        return -1;
    }

    dfd_index_fill_slots(b, slots, n - 1);
    dfd_index_write_addrs(b, slots, n);

    dfd_index_begin(b, DFD_SNAPSHOT_SLOTS);
    (void) dfd_snapshot_writer_put(&b->writer, slots, n * sizeof(slots[0]));
    b->header.sections[DFD_SNAPSHOT_SLOTS].count = n;

    free(slots);

    return 0;
}


/* -1 for want of memory; a disk that fails is told by publishing */
static int
dfd_index_write(dfd_snapshot_builder_t *b)
{
    dfd_snapshot_section_t *records;

    dfd_snapshot_writer_align(&b->writer, DFD_SNAPSHOT_BLOCK);
    records = &b->header.sections[DFD_SNAPSHOT_RECORDS];
    records->count = b->writer.offset - records->offset;

    if (dfd_index_drop_doubles(b) != 0) {
        return b->no_memory ? -1 : 0;
    }

    dfd_index_sort(b);
    dfd_index_write_devices(b);

    return dfd_index_write_index(b);
}


int
dfd_snapshot_builder_finish(dfd_snapshot_builder_t *builder,
                            dfd_snapshot_info_t    *info,
                            char                    error[DFD_SNAPSHOT_ERROR])
{
    dfd_snapshot_header_t *header;

    header = &builder->header;
    header->generation = info->generation;
    header->as_of = info->as_of;
    header->source = info->source;

    if (builder->no_memory || dfd_index_write(builder) != 0) {
        (void) dfd_snapshot_refuse(error, builder->writer.place,
                                   "out of memory");
        return -1;
    }

    if (dfd_snapshot_writer_publish(&builder->writer, header, error) != 0) {
        return -1;
    }

    info->devices =
        (uint32_t) dfd_snapshot_count(header, DFD_SNAPSHOT_DEVICES);
    info->addresses = header->addresses;
    info->skipped = header->skipped;

    return 0;
}
