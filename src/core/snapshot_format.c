#include "core/snapshot_format.h"


static const size_t dfd_snapshot_sizes[DFD_SNAPSHOT_SECTIONS] = {
    [DFD_SNAPSHOT_RECORDS] = 1,
    [DFD_SNAPSHOT_DEVICES] = sizeof(dfd_snapshot_device_t),
    [DFD_SNAPSHOT_ADDRS] = 1,
    [DFD_SNAPSHOT_SLOTS] = sizeof(dfd_snapshot_slot_t),
};


static const uint64_t dfd_snapshot_odd = 0x9e3779b97f4a7c15ULL;


static uint64_t
dfd_snapshot_rotate(uint64_t value)
{
    return (value << 29) | (value >> 35);
}


void
dfd_snapshot_sum_init(dfd_snapshot_sum_t *sum)
{
    size_t i;

    for (i = 0; i < DFD_SNAPSHOT_LANES; i++) {
        sum->lanes[i] = dfd_snapshot_odd * (i + 1);
    }
}


void
dfd_snapshot_sum_add(dfd_snapshot_sum_t *sum, const void *bytes, size_t len)
{
    size_t             i;
    uint64_t           words[DFD_SNAPSHOT_LANES];
    const char        *p, *end;
    dfd_snapshot_sum_t s;

    /* a copy of the lanes, which the compiler can keep in registers */
    s = *sum;
    p = bytes;

    for (end = p + len; p < end; p += DFD_SNAPSHOT_BLOCK) {
        memcpy(words, p, DFD_SNAPSHOT_BLOCK);

        for (i = 0; i < DFD_SNAPSHOT_LANES; i++) {
            s.lanes[i] =
                dfd_snapshot_rotate(s.lanes[i] ^ words[i]) * dfd_snapshot_odd;
        }
    }

    *sum = s;
}


uint64_t
dfd_snapshot_sum_final(dfd_snapshot_sum_t          *sum,
                       const dfd_snapshot_header_t *header)
{
    size_t                i;
    uint64_t              total;
    dfd_snapshot_header_t copy;

    copy = *header;
    copy.checksum = 0;
    dfd_snapshot_sum_add(sum, &copy, sizeof(copy));

    total = 0;

    for (i = 0; i < DFD_SNAPSHOT_LANES; i++) {
        total = (total ^ sum->lanes[i]) * dfd_snapshot_odd;
        total ^= total >> 32;
    }

    return total;
}


size_t
dfd_snapshot_element_size(dfd_snapshot_part_t part)
{
    return dfd_snapshot_sizes[part];
}
