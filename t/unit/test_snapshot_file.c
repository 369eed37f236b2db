#include "core/lookup.h"
#include "core/snapshot_format.h"

#include "fleet.h"

#include <sys/stat.h>


/*
 * What is refused: damaged, foreign and hostile files.  Also those whose
 * checksum is right, since whoever can write the file can compute it.
 */


static const char *const machines[] = {
    "{\"id\":\"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1\","
    "\"computerDnsName\":\"ws-\\\"ana\\\"\","
    "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
    "\"lastIpAddress\":\"10.20.1.11\",\"ipAddresses\":["
    "{\"ipAddress\":\"10.20.1.11\",\"macAddress\":\"00005E005301\"},"
    "{\"ipAddress\":\"172.17.0.1\",\"operationalStatus\":\"Up\"}]}",

    "{\"id\":\"d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2\","
    "\"lastSeen\":\"2026-11-25T00:40:00Z\","
    "\"lastIpAddress\":\"10.20.1.12\",\"ipAddresses\":["
    "{\"ipAddress\":\"172.17.0.1\",\"operationalStatus\":\"Up\"}]}",
};


static const dfd_lookup_conf_t conf = {
    { 4 * 3600 * DFD_TICKS_PER_SECOND, 24 * 3600 * DFD_TICKS_PER_SECOND,
      7 * 24 * 3600 * DFD_TICKS_PER_SECOND },
    NULL,
    0,
    NULL,
    0
};


static char  *good; /* a whole file's bytes, aligned as malloc() does */
static size_t good_len;


static void
read_good(void)
{
    FILE               *file;
    struct stat         st;
    dfd_snapshot_t     *snapshot;
    dfd_snapshot_info_t info;

    snapshot = fleet_open(machines, 2, &info);
    dfd_snapshot_close(snapshot);

    file = fopen(fleet_path, "r");

    if (file == NULL || fstat(fileno(file), &st) != 0) {
        printf("Bail out! no snapshot\n");
        exit(1);
    }

    good_len = (size_t) st.st_size;
    good = malloc(good_len);

    if (good == NULL || fread(good, 1, good_len, file) != good_len) {
        printf("Bail out! no snapshot\n");
        exit(1);
    }

    (void) fclose(file);
}


/* puts the bytes in the file's place and opens that */
static void
check_file(const void *bytes, size_t len, const char *what, const char *name)
{
    char            error[DFD_SNAPSHOT_ERROR], expected[DFD_SNAPSHOT_ERROR];
    FILE           *file;
    dfd_snapshot_t *snapshot;

    file = fopen(fleet_path, "w");

    if (file == NULL || fwrite(bytes, 1, len, file) != len
        || fclose(file) != 0) {
        printf("Bail out! cannot write %s\n", fleet_path);
        exit(1);
    }

    error[0] = '\0';
    snapshot = dfd_snapshot_open(fleet_path, error);

    (void) snprintf(expected, sizeof(expected), "%s: %s", what, fleet_path);
    unit_ok(snapshot == NULL, "%s is refused", name);
    unit_str(error, expected, "and the error names file and reason");

    dfd_snapshot_close(snapshot);
}


static void
test_refused(void)
{
    char                   text[DFD_SNAPSHOT_ERROR];
    char                  *bytes;
    dfd_snapshot_header_t *header;

    bytes = malloc(good_len + 64);

    if (!unit_ok(bytes != NULL, "memory")) {
        return;
    }

    header = (dfd_snapshot_header_t *) bytes;

    memcpy(bytes, good, good_len);
    check_file(bytes, 0, "empty file", "a file without a byte");
    check_file(bytes, 5, "not a device snapshot", "a cut magic");
    check_file(bytes, sizeof(*header) - 1,
               "device snapshot cut off in its header", "half a header");

    (void) snprintf(text, sizeof(text), "device snapshot of %zu bytes has %zu",
                    good_len, sizeof(*header));
    check_file(bytes, sizeof(*header), text, "a header alone");

    (void) snprintf(text, sizeof(text), "device snapshot of %zu bytes has %zu",
                    good_len, good_len - 1);
    check_file(bytes, good_len - 1, text, "a file without its last byte");

    memset(bytes + good_len, 0, 64);
    (void) snprintf(text, sizeof(text), "device snapshot of %zu bytes has %zu",
                    good_len, good_len + 64);
    check_file(bytes, good_len + 64, text, "bytes behind the end");

    check_file("{\"value\":[]}", 12, "not a device snapshot", "JSON");

    memcpy(bytes, good, good_len);
    header->byte_order = DFD_SNAPSHOT_SWAPPED;
    check_file(bytes, good_len,
               "device snapshot of a machine of other byte order",
               "another byte order");

    header->byte_order = 0;
    check_file(bytes, good_len, "device snapshot with a damaged header",
               "no byte order");

    memcpy(bytes, good, good_len);
    header->version = DFD_SNAPSHOT_VERSION + 1;
    check_file(bytes, good_len,
               "device snapshot of format version 2, version 1 is known",
               "a later version");

    memcpy(bytes, good, good_len);
    header->sections[DFD_SNAPSHOT_ADDRS].offset = UINT64_MAX - 63;
    check_file(bytes, good_len, "device snapshot with a damaged header",
               "a section far outside");

    memcpy(bytes, good, good_len);
    header->generation++;
    check_file(bytes, good_len, "device snapshot whose checksum differs",
               "another generation in the header");

    memset(bytes, 0, good_len);
    check_file(bytes, good_len, "not a device snapshot",
               "a file of a builder that died");

    free(bytes);
}


static void
test_not_a_file(void)
{
    char error[DFD_SNAPSHOT_ERROR], expected[DFD_SNAPSHOT_ERROR];

    unit_ok(dfd_snapshot_open(fleet_directory, error) == NULL, "a directory");
    (void) snprintf(expected, sizeof(expected), "not a regular file: %s",
                    fleet_directory);
    unit_str(error, expected, "is refused");

    (void) unlink(fleet_path);
    unit_ok(dfd_snapshot_open(fleet_path, error) == NULL, "no file");
    (void) snprintf(expected, sizeof(expected),
                    "cannot open (No such file or directory): %s", fleet_path);
    unit_str(error, expected, "is told");

    (void) mkfifo(fleet_path, 0600);
    unit_ok(dfd_snapshot_open(fleet_path, error) == NULL,
            "a FIFO is refused without waiting for a writer");
    (void) unlink(fleet_path);

    unit_ok(dfd_snapshot_open_memory(good + 1, good_len - 1, error) == NULL,
            "bytes that are not aligned");
    unit_str(error, "not aligned: memory", "are refused");
}


/* each change of one bit is seen, wherever it is */
static void
test_every_bit(void)
{
    char            error[DFD_SNAPSHOT_ERROR];
    size_t          bit, opened;
    dfd_snapshot_t *snapshot;

    opened = 0;

    for (bit = 0; bit < good_len * 8; bit++) {
        good[bit / 8] ^= (char) (1 << (bit % 8));
        snapshot = dfd_snapshot_open_memory(good, good_len, error);
        good[bit / 8] ^= (char) (1 << (bit % 8));

        if (snapshot != NULL) {
            unit_note("bit %zu", bit);
            dfd_snapshot_close(snapshot);
            opened++;
        }
    }

    unit_int(opened, 0, "no file with a wrong bit is opened");

    snapshot = dfd_snapshot_open_memory(good, good_len, error);
    unit_ok(snapshot != NULL, "and the right one is");
    dfd_snapshot_close(snapshot);
}


static void
seal(char *bytes, size_t len)
{
    dfd_snapshot_sum_t     sum;
    dfd_snapshot_header_t *header;

    header = (dfd_snapshot_header_t *) bytes;

    dfd_snapshot_sum_init(&sum);
    dfd_snapshot_sum_add(&sum, header + 1, len - sizeof(*header));
    header->checksum = dfd_snapshot_sum_final(&sum, header);
}


/* looks everything up that the index names, as a worker would */
static void
walk(const dfd_snapshot_t *snapshot)
{
    char         entity[4096];
    uint64_t     cursor;
    dfd_addr_t   addr;
    dfd_lookup_t lookup;

    for (cursor = 0; dfd_snapshot_next(snapshot, &cursor, &addr);) {
        (void) dfd_snapshot_has(snapshot, &addr);
        dfd_lookup(&lookup, snapshot, &conf, &addr, FLEET_NOW, NULL);
        (void) dfd_lookup_entity(&lookup, entity, sizeof(entity));
    }
}


/*
 * Any number in the file may be any value, with a checksum that agrees: it is
 * refused, or does no harm.  Harm is what the address sanitizer would see.
 */
static void
test_every_number(void)
{
    char                  error[DFD_SNAPSHOT_ERROR];
    char                 *bytes;
    size_t                at, i, opened, refused;
    uint32_t              value;
    dfd_snapshot_t       *snapshot;
    static const uint32_t values[] = { 0,          1,          63,
                                       64,         65,         0x7fffffff,
                                       0x80000000, 0xfffffff8, 0xffffffff };

    opened = 0;
    refused = 0;
    bytes = malloc(good_len);

    if (!unit_ok(bytes != NULL, "memory")) {
        return;
    }

    for (at = 0; at < good_len; at += 4) {
        for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
            value = values[i];
            memcpy(bytes, good, good_len);
            memcpy(bytes + at, &value, 4);
            seal(bytes, good_len);

            snapshot = dfd_snapshot_open_memory(bytes, good_len, error);

            if (snapshot == NULL) {
                refused++;
                continue;
            }

            opened++;
            walk(snapshot);
            dfd_snapshot_close(snapshot);
        }
    }

    unit_ok(opened > 0 && refused > 0,
            "any number anywhere: %zu opened, %zu refused", opened, refused);

    free(bytes);
}


/* one wrong number each, and the checksum made right again */
static void
check_number(size_t at, const void *value, size_t len, const char *name)
{
    char            error[DFD_SNAPSHOT_ERROR];
    char           *bytes;
    dfd_snapshot_t *snapshot;

    bytes = malloc(good_len);

    if (bytes == NULL) {
        unit_ok(0, "memory");
        return;
    }

    memcpy(bytes, good, good_len);
    memcpy(bytes + at, value, len);
    seal(bytes, good_len);

    error[0] = '\0';
    snapshot = dfd_snapshot_open_memory(bytes, good_len, error);

    unit_ok(snapshot == NULL, "%s", name);
    unit_str(error, "device snapshot with an offset out of bounds: memory",
             "is refused");

    dfd_snapshot_close(snapshot);
    free(bytes);
}


static void
test_offsets(void)
{
    size_t                        addrs, claims, devices, records;
    uint32_t                      number, last;
    const dfd_snapshot_section_t *s;

    s = ((dfd_snapshot_header_t *) good)->sections;
    addrs = s[DFD_SNAPSHOT_ADDRS].offset;
    claims = addrs + sizeof(dfd_snapshot_addr_t);
    devices = s[DFD_SNAPSHOT_DEVICES].offset;
    records = s[DFD_SNAPSHOT_RECORDS].offset;
    last = (uint32_t) (s[DFD_SNAPSHOT_RECORDS].count / DFD_SNAPSHOT_UNIT);

    number = 0;
    check_number(addrs + offsetof(dfd_snapshot_addr_t, count), &number, 4,
                 "an address without a claim");

    number = 5;
    check_number(addrs + offsetof(dfd_snapshot_addr_t, count), &number, 4,
                 "an address with more claims than there are");

    number = UINT32_MAX;
    check_number(addrs + offsetof(dfd_snapshot_addr_t, count), &number, 4,
                 "as many as there can be");

    number = 1;
    check_number(claims + offsetof(dfd_claim_t, device), &number, 4,
                 "a claim of a device that is none");
    check_number(claims + offsetof(dfd_claim_t, device), &last, 4,
                 "a claim of a device beyond the last");

    number = UINT32_MAX;
    check_number(claims + offsetof(dfd_claim_t, device), &number, 4,
                 "of the last number there is");
    check_number(claims + offsetof(dfd_claim_t, inactive), &number, 1,
                 "a claim that is neither active nor inactive");

    number = 0;
    check_number(claims + offsetof(dfd_claim_t, evidence), &number, 1,
                 "a claim without evidence");

    number = 4;
    check_number(claims + offsetof(dfd_claim_t, evidence), &number, 1,
                 "a claim with unknown evidence");

    check_number(devices, &last, 4, "a record beyond the last");

    number = last - 1;
    check_number(devices, &number, 4, "a record without room for its layout");

    number = UINT32_MAX;
    check_number(devices, &number, 4, "the last place there is");
    check_number(records + offsetof(dfd_device_layout_t, size), &number, 4,
                 "a record longer than all records");
    check_number(records + offsetof(dfd_device_layout_t, tail) + 4, &number, 4,
                 "an entity longer than its record");
    check_number(records + offsetof(dfd_device_layout_t, texts), &number, 4,
                 "a text outside of its record");

    number = sizeof(dfd_device_layout_t) - 1;
    check_number(records + offsetof(dfd_device_layout_t, size), &number, 4,
                 "a record shorter than its layout");
}


static void
test_slots(void)
{
    size_t                        i, slots;
    uint32_t                      place;
    uint64_t                      n;
    const dfd_snapshot_section_t *s;

    s = ((dfd_snapshot_header_t *) good)->sections;
    slots = s[DFD_SNAPSHOT_SLOTS].offset;
    n = s[DFD_SNAPSHOT_SLOTS].count;

    for (i = 0; i < n; i++) {
        memcpy(&place, good + slots + i * 8 + 4, 4);

        if (place != 0) {
            break;
        }
    }

    place = 2;
    check_number(slots + i * 8 + 4, &place, 4,
                 "a slot for the middle of an address");

    place = 0;
    check_number(slots + i * 8 + 4, &place, 4, "an address without a slot");

    place = UINT32_MAX;
    check_number(slots + i * 8 + 4, &place, 4,
                 "a slot for an address beyond the last");

    place = 1;
    check_number(slots + (i == 0 ? n - 1 : i - 1) * 8 + 4, &place, 4,
                 "two slots for one address");
}


/* a MAC that is not where the claim says is another text, or left out */
static void
test_macs(void)
{
    char            error[DFD_SNAPSHOT_ERROR], entity[4096];
    char           *bytes;
    size_t          n, len, right, found;
    uint32_t        mac;
    dfd_addr_t      addr;
    dfd_claim_t    *claim;
    dfd_lookup_t    lookup;
    dfd_snapshot_t *snapshot;

    found = 0;
    bytes = malloc(good_len);
    addr = fleet_addr("10.20.1.11");

    if (!unit_ok(bytes != NULL, "memory")) {
        return;
    }

    memcpy(bytes, good, good_len);
    snapshot = dfd_snapshot_open_memory(bytes, good_len, error);

    if (!unit_ok(snapshot != NULL, "a snapshot in memory")) {
        free(bytes);
        return;
    }

    claim = (dfd_claim_t *) dfd_snapshot_claims(snapshot, &addr, &n);
    right = claim->mac;

    for (mac = 0; mac <= UINT16_MAX; mac++) {
        claim->mac = (uint16_t) mac;
        dfd_lookup(&lookup, snapshot, &conf, &addr, FLEET_NOW, NULL);
        len = dfd_lookup_entity(&lookup, entity, sizeof(entity) - 1);
        entity[len] = '\0';

        if (strstr(entity, "\"macAddress\":\"00005E005301\",") != NULL) {
            unit_int(mac, right, "the MAC at its place");
            found++;
        }
    }

    unit_int(found, 1, "and nowhere else");

    dfd_snapshot_close(snapshot);
    free(bytes);
}


int
main(void)
{
    fleet_start();
    read_good();

    test_refused();
    test_not_a_file();
    test_every_bit();
    test_every_number();
    test_offsets();
    test_slots();
    test_macs();

    free(good);
    fleet_stop();

    return unit_done();
}
