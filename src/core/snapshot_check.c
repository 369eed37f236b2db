#include "core/snapshot_format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


int
dfd_snapshot_refuse(char *error, const char *name, const char *fmt, ...)
{
    int     len;
    va_list args;

    /* what is wrong comes first: a long path must not push it out */
    va_start(args, fmt);
    len = vsnprintf(error, DFD_SNAPSHOT_ERROR, fmt, args);
    va_end(args);

    if (len > 0 && len < DFD_SNAPSHOT_ERROR) {
        (void) snprintf(error + len, (size_t) (DFD_SNAPSHOT_ERROR - len),
                        ": %s", name);
    }

    return 0;
}


static int
dfd_snapshot_check_header(const dfd_snapshot_header_t *header, size_t size,
                          const char *name, char *error)
{
    if (size == 0) {
        return dfd_snapshot_refuse(error, name, "empty file");
    }

    if (size < DFD_SNAPSHOT_MAGIC_LEN
        || memcmp(header->magic, DFD_SNAPSHOT_MAGIC, DFD_SNAPSHOT_MAGIC_LEN)
               != 0)
    {
        return dfd_snapshot_refuse(error, name, "not a device snapshot");
    }

    if (size < sizeof(dfd_snapshot_header_t)) {
        return dfd_snapshot_refuse(error, name,
                                   "device snapshot cut off in its header");
    }

    if (header->byte_order == DFD_SNAPSHOT_SWAPPED) {
        return dfd_snapshot_refuse(
            error, name, "device snapshot of a machine of other byte order");
    }

    if (header->byte_order != DFD_SNAPSHOT_BYTE_ORDER) {
        return dfd_snapshot_refuse(error, name,
                                   "device snapshot with a damaged header");
    }

    if (header->version != DFD_SNAPSHOT_VERSION) {
        return dfd_snapshot_refuse(error, name,
                                   "device snapshot of format version %" PRIu32
                                   ", version %d is known",
                                   header->version, DFD_SNAPSHOT_VERSION);
    }

    if (header->file_size != size) {
        return dfd_snapshot_refuse(
            error, name, "device snapshot of %" PRIu64 " bytes has %zu",
            header->file_size, size);
    }

    return 1;
}


static int
dfd_snapshot_check_sections(const dfd_snapshot_header_t *header)
{
    size_t                        i, element;
    uint64_t                      slots;
    const dfd_snapshot_section_t *section;

    for (i = 0; i < DFD_SNAPSHOT_SECTIONS; i++) {
        section = &header->sections[i];
        element = dfd_snapshot_element_size((dfd_snapshot_part_t) i);

        if (section->offset % DFD_SNAPSHOT_BLOCK != 0
            || section->offset < sizeof(dfd_snapshot_header_t)
            || section->offset > header->file_size
            || section->count
                   > (header->file_size - section->offset) / element)
        {
            return 0;
        }
    }

    /* a table without a free slot would be searched for ever */
    slots = dfd_snapshot_count(header, DFD_SNAPSHOT_SLOTS);

    return slots >= DFD_SNAPSHOT_MIN_SLOTS && (slots & (slots - 1)) == 0
        && slots > header->addresses;
}


static int
dfd_snapshot_check_sum(const dfd_snapshot_header_t *header)
{
    const char        *body;
    dfd_snapshot_sum_t sum;

    if (header->file_size % DFD_SNAPSHOT_BLOCK != 0) {
        return 0;
    }

    body = (const char *) (header + 1);

    dfd_snapshot_sum_init(&sum);
    dfd_snapshot_sum_add(&sum, body, header->file_size - sizeof(*header));

    return dfd_snapshot_sum_final(&sum, header) == header->checksum;
}


static int
dfd_snapshot_check_span(const dfd_device_span_t *span, uint32_t size)
{
    return span->offset <= size && span->len <= size - span->offset;
}


static int
dfd_snapshot_check_record(const dfd_snapshot_t *snapshot,
                          dfd_snapshot_device_t device)
{
    size_t                     i;
    uint32_t                   size;
    uint64_t                   offset, bytes;
    const dfd_device_layout_t *layout;

    offset = (uint64_t) device * DFD_SNAPSHOT_UNIT;
    bytes = dfd_snapshot_count(snapshot->header, DFD_SNAPSHOT_RECORDS);

    if (offset > bytes || bytes - offset < sizeof(dfd_device_layout_t)) {
        return 0;
    }

    layout = dfd_snapshot_record(snapshot, device);

    if (layout->size < sizeof(dfd_device_layout_t)
        || layout->size > bytes - offset)
    {
        return 0;
    }

    size = layout->size - (uint32_t) sizeof(dfd_device_layout_t);

    for (i = 0; i < DFD_DEVICE_TEXTS; i++) {
        if (!dfd_snapshot_check_span(&layout->texts[i], size)) {
            return 0;
        }
    }

    return dfd_snapshot_check_span(&layout->head, size)
        && dfd_snapshot_check_span(&layout->tail, size)
        && dfd_snapshot_check_span(&layout->names, size)
        && dfd_snapshot_check_span(&layout->seen, size);
}


/* checks the records, and sets the bits of their places in the map */
static int
dfd_snapshot_check_devices(const dfd_snapshot_t *snapshot, uint8_t *map)
{
    uint64_t              i, n;
    dfd_snapshot_device_t device;

    n = dfd_snapshot_count(snapshot->header, DFD_SNAPSHOT_DEVICES);

    for (i = 0; i < n; i++) {
        device = snapshot->devices[i];

        if (!dfd_snapshot_check_record(snapshot, device)) {
            return 0;
        }

        map[device / 8] |= (uint8_t) (1U << (device % 8));
    }

    return 1;
}


static int
dfd_snapshot_check_claims(const dfd_snapshot_t *snapshot, const uint8_t *map,
                          const dfd_claim_t *claims, uint32_t n)
{
    uint32_t i, device;
    uint64_t bytes;

    bytes = dfd_snapshot_count(snapshot->header, DFD_SNAPSHOT_RECORDS);

    for (i = 0; i < n; i++) {
        device = claims[i].device;

        if (device >= bytes / DFD_SNAPSHOT_UNIT
            || (map[device / 8] & (1U << (device % 8))) == 0
            || claims[i].evidence < DFD_EVIDENCE_ENTRY
            || claims[i].evidence > DFD_EVIDENCE_LAST
            || claims[i].inactive > 1)
        {
            return 0;
        }
    }

    return 1;
}


/*
 * The addresses lie in the order of the slots that name them, without gaps,
 * so each slot can name one place only.
 */
static int
dfd_snapshot_check_index(const dfd_snapshot_t *snapshot, const uint8_t *map)
{
    uint64_t                   i, at, bytes, used;
    const dfd_snapshot_addr_t *addr;

    at = 0;
    used = 0;
    bytes = dfd_snapshot_count(snapshot->header, DFD_SNAPSHOT_ADDRS);

    for (i = 0; i <= snapshot->mask; i++) {

        if (snapshot->slots[i].place == 0) {
            continue;
        }

        if ((uint64_t) (snapshot->slots[i].place - 1) * DFD_SNAPSHOT_UNIT != at
            || bytes - at < sizeof(dfd_snapshot_addr_t))
        {
            return 0;
        }

        addr = (const dfd_snapshot_addr_t *) (snapshot->addrs + at);
        at += sizeof(dfd_snapshot_addr_t);

        if (addr->count == 0
            || addr->count > (bytes - at) / sizeof(dfd_claim_t)
            || !dfd_snapshot_check_claims(
                snapshot, map, (const dfd_claim_t *) (addr + 1), addr->count))
        {
            return 0;
        }

        at += addr->count * sizeof(dfd_claim_t);
        used++;
    }

    return at == bytes && used == snapshot->header->addresses;
}


/* everything that look-ups follow without asking */
static int
dfd_snapshot_check_content(const dfd_snapshot_t *snapshot, const char *name,
                           char *error)
{
    int      good;
    uint8_t *map; /* a bit for each place a record may be at */
    uint64_t bytes;

    bytes = dfd_snapshot_count(snapshot->header, DFD_SNAPSHOT_RECORDS);
    map = calloc(bytes / DFD_SNAPSHOT_UNIT / 8 + 1, 1);

    if (map == NULL) {
        return dfd_snapshot_refuse(error, name, "out of memory");
    }

    good = dfd_snapshot_check_devices(snapshot, map)
        && dfd_snapshot_check_index(snapshot, map);

    free(map);

    return good
             ? 1
             : dfd_snapshot_refuse(
                 error, name, "device snapshot with an offset out of bounds");
}


static void
dfd_snapshot_attach(dfd_snapshot_t              *snapshot,
                    const dfd_snapshot_header_t *header)
{
    const char                   *base;
    const dfd_snapshot_section_t *s;

    base = (const char *) header;
    s = header->sections;

    snapshot->header = header;
    snapshot->records = base + s[DFD_SNAPSHOT_RECORDS].offset;
    snapshot->devices =
        (const dfd_snapshot_device_t *) (base
                                         + s[DFD_SNAPSHOT_DEVICES].offset);
    snapshot->addrs = base + s[DFD_SNAPSHOT_ADDRS].offset;
    snapshot->slots =
        (const dfd_snapshot_slot_t *) (base + s[DFD_SNAPSHOT_SLOTS].offset);
    snapshot->mask = s[DFD_SNAPSHOT_SLOTS].count - 1;

    snapshot->as_of_len = dfd_time_format(header->as_of, snapshot->as_of);
}


int
dfd_snapshot_check_shape(dfd_snapshot_t *snapshot, const void *bytes,
                         size_t size, const char *name, char *error)
{
    const dfd_snapshot_header_t *header;

    header = bytes;

    if (!dfd_snapshot_check_header(header, size, name, error)) {
        return 0;
    }

    if (!dfd_snapshot_check_sections(header)) {
        return dfd_snapshot_refuse(error, name,
                                   "device snapshot with a damaged header");
    }

    dfd_snapshot_attach(snapshot, header);

    return 1;
}


int
dfd_snapshot_check(dfd_snapshot_t *snapshot, const void *bytes, size_t size,
                   const char *name, char *error)
{
    if (!dfd_snapshot_check_shape(snapshot, bytes, size, name, error)) {
        return 0;
    }

    if (!dfd_snapshot_check_sum(snapshot->header)) {
        return dfd_snapshot_refuse(error, name,
                                   "device snapshot whose checksum differs");
    }

    return dfd_snapshot_check_content(snapshot, name, error);
}
