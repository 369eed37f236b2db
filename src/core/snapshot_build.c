#include "core/snapshot_build.h"

#include "core/json_load.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>


/* longer ones are counted as skipped; Microsoft's have 1 to 2 KB */
#define DFD_BUILD_MAX_JSON (16 * 1024 * 1024)

#define DFD_BUILD_FIRST 1024 /* elements of a new array */

/* numbers in the file are 32 bits wide, and two values are taken */
#define DFD_BUILD_MAX (UINT32_MAX - 1)


dfd_snapshot_builder_t *
dfd_snapshot_builder_create(const dfd_snapshot_target_t *target,
                            char error[DFD_SNAPSHOT_ERROR])
{
    dfd_snapshot_builder_t *b;

    b = calloc(1, sizeof(dfd_snapshot_builder_t));

    if (b == NULL) {
        (void) dfd_snapshot_refuse(error, target->directory, "out of memory");
        return NULL;
    }

    if (dfd_snapshot_writer_open(&b->writer, target->directory, target->name,
                                 error)
        != 0)
    {
        dfd_snapshot_builder_destroy(b);
        return NULL;
    }

    b->portal = strdup(target->portal);

    if (b->portal == NULL
        || getrandom(b->header.seed, sizeof(b->header.seed), 0)
               != (ssize_t) sizeof(b->header.seed))
    {
        (void) dfd_snapshot_refuse(error, target->directory,
                                   "out of memory or randomness");
        dfd_snapshot_builder_destroy(b);
        return NULL;
    }

    b->header.sections[DFD_SNAPSHOT_RECORDS].offset = b->writer.offset;

    return b;
}


/* the array with room for n more elements, NULL when there is no memory */
static void *
dfd_build_grow(void *array, size_t *size, size_t used, size_t n,
               size_t element)
{
    void  *grown;
    size_t wanted;

    if (array != NULL && *size - used >= n) {
        return array;
    }

    if (used > DFD_BUILD_MAX - n) {
        return NULL;
    }

    /* doubling always makes room: n is at most DFD_DEVICE_MAX_ADDRS */
    wanted = (*size == 0) ? DFD_BUILD_FIRST : *size * 2;
    grown = reallocarray(array, wanted, element);

    if (grown != NULL) {
        *size = wanted;
    }

    return grown;
}


/* room for the device just read and its claims */
static int
dfd_build_make_room(dfd_snapshot_builder_t *b)
{
    void *grown;

    grown = dfd_build_grow(b->devices, &b->devices_size, b->ndevices, 1,
                           sizeof(dfd_build_device_t));

    if (grown == NULL) {
        return -1;
    }

    b->devices = grown;

    grown = dfd_build_grow(b->claims, &b->claims_size, b->nclaims,
                           b->device.naddrs, sizeof(dfd_build_claim_t));

    if (grown == NULL) {
        return -1;
    }

    b->claims = grown;

    return 0;
}


/*
 * Only to find records that may have the same id: equal hashes are followed
 * by a comparison of the ids.
 */
static uint64_t
dfd_build_hash_id(const dfd_snapshot_builder_t *b, const char *id, size_t len)
{
    size_t   i;
    uint64_t h;

    h = b->header.seed[0] ^ len;

    for (i = 0; i < len; i++) {
        h = (h ^ (uint8_t) id[i]) * 0x100000001b3ULL;
        h ^= h >> 29;
    }

    return h;
}


static void
dfd_build_add_claims(dfd_snapshot_builder_t *b)
{
    uint32_t           i;
    dfd_build_claim_t *claim;

    for (i = 0; i < b->device.naddrs; i++) {
        claim = &b->claims[b->nclaims++];

        memset(claim, 0, sizeof(dfd_build_claim_t));
        claim->addr = b->device.addrs[i].addr;
        claim->evidence = b->device.addrs[i].evidence;
        claim->device = (uint32_t) b->ndevices;
        claim->mac = b->record.macs[i];
    }
}


/* the device in b->device, whose machine is still alive */
static int
dfd_build_add_device(dfd_snapshot_builder_t *b)
{
    uint64_t                   place;
    dfd_build_device_t        *device;
    const dfd_device_layout_t *layout;

    if (dfd_device_render(&b->record, &b->device, b->portal) != 0
        || dfd_build_make_room(b) != 0)
    {
        b->no_memory = 1;
        return -1;
    }

    layout = &b->record.layout;
    device = &b->devices[b->ndevices];
    memset(device, 0, sizeof(dfd_build_device_t));

    dfd_snapshot_writer_align(&b->writer, DFD_SNAPSHOT_UNIT);
    place = (dfd_snapshot_writer_put(&b->writer, layout,
                                     sizeof(dfd_device_layout_t))
             - b->header.sections[DFD_SNAPSHOT_RECORDS].offset)
          / DFD_SNAPSHOT_UNIT;
    (void) dfd_snapshot_writer_put(&b->writer, b->record.data, b->record.len);

    if (place > UINT32_MAX) {
        dfd_snapshot_writer_fail(&b->writer, EFBIG);
    }

    device->place = (dfd_snapshot_device_t) place;
    device->last_seen = b->device.last_seen;
    device->inactive = b->device.inactive;
    device->id_hash = dfd_build_hash_id(
        b, b->record.data + layout->texts[DFD_DEVICE_ID].offset,
        layout->texts[DFD_DEVICE_ID].len);

    dfd_build_add_claims(b);
    b->ndevices++;

    return b->writer.lost == 0 ? 0 : -1;
}


int
dfd_snapshot_builder_add(dfd_snapshot_builder_t *builder, const char *json,
                         size_t len)
{
    int     rc;
    json_t *machine;

    if (builder->no_memory || builder->writer.lost != 0) {
        return -1;
    }

    if (len > DFD_BUILD_MAX_JSON) {
        builder->header.skipped++;
        return 0;
    }

    machine = dfd_json_load(json, len, &builder->no_memory);

    if (builder->no_memory) {
        return -1;
    }

    if (machine == NULL || !dfd_device_read(&builder->device, machine)) {
        builder->header.skipped++;
        json_decref(machine);
        return 0;
    }

    rc = dfd_build_add_device(builder);
    json_decref(machine);

    return rc;
}


void
dfd_snapshot_builder_destroy(dfd_snapshot_builder_t *builder)
{
    if (builder == NULL) {
        return;
    }

    dfd_snapshot_writer_close(&builder->writer);
    dfd_device_record_free(&builder->record);
    free(builder->portal);
    free(builder->devices);
    free(builder->claims);
    free(builder);
}
