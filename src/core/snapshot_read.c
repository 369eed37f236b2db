#include "core/snapshot_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


dfd_snapshot_t *
dfd_snapshot_open_memory(const void *bytes, size_t len,
                         char error[DFD_SNAPSHOT_ERROR])
{
    dfd_snapshot_t *snapshot;

    if ((uintptr_t) bytes % sizeof(uint64_t) != 0) {
        (void) dfd_snapshot_refuse(error, "memory", "not aligned");
        return NULL;
    }

    snapshot = calloc(1, sizeof(dfd_snapshot_t));

    if (snapshot == NULL) {
        (void) dfd_snapshot_refuse(error, "memory", "out of memory");
        return NULL;
    }

    if (!dfd_snapshot_check(snapshot, bytes, len, "memory", error)) {
        free(snapshot);
        return NULL;
    }

    return snapshot;
}


typedef int (*dfd_snapshot_check_pt)(dfd_snapshot_t *snapshot,
                                     const void *bytes, size_t size,
                                     const char *name, char *error);


/* maps the file into snapshot->map; an empty file leaves it NULL */
static int
dfd_snapshot_map(dfd_snapshot_t *snapshot, int fd, int flags, const char *path,
                 char *error)
{
    void       *map;
    struct stat st;

    if (fstat(fd, &st) == -1) {
        return dfd_snapshot_refuse(error, path, "cannot stat (%s)",
                                   strerror(errno));
    }

    if (!S_ISREG(st.st_mode)) {
        return dfd_snapshot_refuse(error, path, "not a regular file");
    }

    if (st.st_size == 0) {
        return 1;
    }

    if ((uintmax_t) st.st_size > SIZE_MAX) {
        return dfd_snapshot_refuse(error, path, "too large to be mapped");
    }

    map =
        mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED | flags, fd, 0);

    if (map == MAP_FAILED) {
        return dfd_snapshot_refuse(error, path, "cannot map (%s)",
                                   strerror(errno));
    }

    snapshot->map = map;
    snapshot->size = (size_t) st.st_size;

    return 1;
}


static dfd_snapshot_t *
dfd_snapshot_open_file(const char *path, int flags,
                       dfd_snapshot_check_pt check, char *error)
{
    int             fd, good;
    dfd_snapshot_t *snapshot;

    /* a FIFO of that name must not stop the worker */
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd == -1) {
        (void) dfd_snapshot_refuse(error, path, "cannot open (%s)",
                                   strerror(errno));
        return NULL;
    }

    snapshot = calloc(1, sizeof(dfd_snapshot_t));

    if (snapshot == NULL) {
        (void) dfd_snapshot_refuse(error, path, "out of memory");
        (void) close(fd);
        return NULL;
    }

    good = dfd_snapshot_map(snapshot, fd, flags, path, error)
        && check(snapshot, snapshot->map, snapshot->size, path, error);

    (void) close(fd);

    if (!good) {
        dfd_snapshot_close(snapshot);
        return NULL;
    }

    return snapshot;
}


dfd_snapshot_t *
dfd_snapshot_open(const char *path, char error[DFD_SNAPSHOT_ERROR])
{
    /* all of it is about to be read */
    return dfd_snapshot_open_file(path, MAP_POPULATE, dfd_snapshot_check,
                                  error);
}


dfd_snapshot_t *
dfd_snapshot_open_trusted(const char *path, char error[DFD_SNAPSHOT_ERROR])
{
    return dfd_snapshot_open_file(path, 0, dfd_snapshot_check_shape, error);
}


void
dfd_snapshot_close(dfd_snapshot_t *snapshot)
{
    if (snapshot == NULL) {
        return;
    }

    if (snapshot->map != NULL) {
        (void) munmap(snapshot->map, snapshot->size);
    }

    free(snapshot);
}


void
dfd_snapshot_info(const dfd_snapshot_t *snapshot, dfd_snapshot_info_t *info)
{
    const dfd_snapshot_header_t *header;

    header = snapshot->header;

    info->generation = header->generation;
    info->as_of = header->as_of;
    info->source = header->source;
    info->devices =
        (uint32_t) dfd_snapshot_count(header, DFD_SNAPSHOT_DEVICES);
    info->addresses = header->addresses;
    info->skipped = header->skipped;
}


static const dfd_snapshot_addr_t *
dfd_snapshot_slot_addr(const dfd_snapshot_t      *snapshot,
                       const dfd_snapshot_slot_t *slot)
{
    uint64_t offset;

    offset = (uint64_t) (slot->place - 1) * DFD_SNAPSHOT_UNIT;

    return (const dfd_snapshot_addr_t *) (snapshot->addrs + offset);
}


static const dfd_snapshot_addr_t *
dfd_snapshot_find(const dfd_snapshot_t *snapshot, const dfd_addr_t *addr)
{
    uint32_t                   tag;
    uint64_t                   hash, i;
    const dfd_snapshot_slot_t *slot;
    const dfd_snapshot_addr_t *found;

    hash = dfd_snapshot_hash(snapshot->header->seed, addr);
    tag = (uint32_t) (hash >> 32);

    for (i = hash & snapshot->mask; /* void */; i = (i + 1) & snapshot->mask) {
        slot = &snapshot->slots[i];

        if (slot->place == 0) {
            return NULL;
        }

        if (slot->tag == tag) {
            found = dfd_snapshot_slot_addr(snapshot, slot);

            if (memcmp(&found->addr, addr, sizeof(dfd_addr_t)) == 0) {
                return found;
            }
        }
    }
}


int
dfd_snapshot_has(const dfd_snapshot_t *snapshot, const dfd_addr_t *addr)
{
    return dfd_snapshot_find(snapshot, addr) != NULL;
}


int
dfd_snapshot_next(const dfd_snapshot_t *snapshot, uint64_t *cursor,
                  dfd_addr_t *addr)
{
    const dfd_snapshot_slot_t *slot;

    while (*cursor <= snapshot->mask) {
        slot = &snapshot->slots[*cursor];
        (*cursor)++;

        if (slot->place != 0) {
            *addr = dfd_snapshot_slot_addr(snapshot, slot)->addr;
            return 1;
        }
    }

    return 0;
}


const dfd_claim_t *
dfd_snapshot_claims(const dfd_snapshot_t *snapshot, const dfd_addr_t *addr,
                    size_t *n)
{
    const dfd_snapshot_addr_t *found;

    found = dfd_snapshot_find(snapshot, addr);

    if (found == NULL) {
        *n = 0;
        return NULL;
    }

    *n = found->count;

    return (const dfd_claim_t *) (found + 1);
}


const dfd_device_layout_t *
dfd_snapshot_record(const dfd_snapshot_t *snapshot,
                    dfd_snapshot_device_t device)
{
    uint64_t offset;

    offset = (uint64_t) device * DFD_SNAPSHOT_UNIT;

    return (const dfd_device_layout_t *) (snapshot->records + offset);
}


const char *
dfd_snapshot_mac(const dfd_snapshot_t *snapshot, const dfd_claim_t *claim,
                 size_t *len)
{
    const char                *base;
    const dfd_device_layout_t *layout;

    layout = dfd_snapshot_record(snapshot, claim->device);
    base = (const char *) layout;
    *len = 0;

    /*
     * The one offset that opening leaves unchecked: there it would fetch each
     * record from memory once more for each claim, here the record is at hand.
     */
    if (claim->mac == 0 || claim->mac >= layout->size) {
        return NULL;
    }

    *len = (uint8_t) base[claim->mac];

    if (*len >= layout->size - claim->mac) {
        *len = 0;
        return NULL;
    }

    return base + claim->mac + 1;
}
