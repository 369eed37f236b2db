#include "core/lookup.h"
#include "core/snapshot_format.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>


/*
 * A snapshot whose checksum is right but whose content is anything is refused
 * or can be looked up without reading a byte outside of it.  The input is
 * either a whole file, or changes to one that the builder made: eight bytes
 * each, where and what.
 */

static uint8_t *base;
static size_t   base_len;

/* so that what is read is not optimized away */
volatile size_t fuzz_sum;


static const char *const machines[] = {
    "{\"id\":\"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1\","
    "\"computerDnsName\":\"ws-\\\"ana\\\"\",\"lastIpAddress\":\"10.0.0.1\","
    "\"lastSeen\":\"2026-11-25T00:50:00.1Z\",\"ipAddresses\":["
    "{\"ipAddress\":\"10.0.0.1\",\"macAddress\":\"00005E005301\"},"
    "{\"ipAddress\":\"172.17.0.1\",\"macAddress\":\"00005E005302\"}]}",
    "{\"id\":\"two\",\"lastIpAddress\":\"172.17.0.1\","
    "\"lastSeen\":\"2026-11-25T00:50:00Z\"}",
    "{\"id\":\"three\",\"lastIpAddress\":\"172.17.0.1\","
    "\"lastSeen\":\"2026-11-25T00:40:00Z\"}",
};


static void
fail(const char *what)
{
    (void) fprintf(stderr, "%s\n", what);
    abort();
}


static void
read_base(const char *path)
{
    long  len;
    FILE *file;

    file = fopen(path, "r");

    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        fail("no snapshot to start with");
    }

    len = ftell(file);
    rewind(file);
    base = malloc((size_t) len);

    if (base == NULL || fread(base, 1, (size_t) len, file) != (size_t) len) {
        fail("the snapshot to start with cannot be read");
    }

    base_len = (size_t) len;
    (void) fclose(file);
}


static void
make_base(void)
{
    char                    directory[] = "/tmp/dfd-fuzz-XXXXXX";
    char                    error[DFD_SNAPSHOT_ERROR], path[64];
    size_t                  i;
    dfd_snapshot_info_t     info;
    dfd_snapshot_target_t   target;
    dfd_snapshot_builder_t *builder;

    if (mkdtemp(directory) == NULL) {
        fail("no temporary directory");
    }

    target.directory = directory;
    target.name = "devices";
    target.portal = "https://portal.example";
    info.generation = 1;
    info.as_of = 17955684000000000;
    info.source = 1;

    builder = dfd_snapshot_builder_create(&target, error);

    for (i = 0; i < sizeof(machines) / sizeof(machines[0]); i++) {
        if (builder == NULL
            || dfd_snapshot_builder_add(builder, machines[i],
                                        strlen(machines[i]))
                   != 0)
        {
            fail("no builder");
        }
    }

    if (dfd_snapshot_builder_finish(builder, &info, error) != 0) {
        fail(error);
    }

    dfd_snapshot_builder_destroy(builder);

    (void) snprintf(path, sizeof(path), "%s/devices", directory);
    read_base(path);
    (void) unlink(path);
    (void) rmdir(directory);
}


/* an aligned copy of the input, or the base with its changes */
static uint8_t *
make_file(const uint8_t *data, size_t size, size_t *len)
{
    size_t   i, at;
    uint8_t *bytes;
    uint32_t change[2];

    if (size == 0 || (data[0] & 1)) {
        *len = (size == 0) ? 0 : size - 1;
        bytes = malloc(*len + 1);

        if (bytes != NULL && *len != 0) {
            memcpy(bytes, data + 1, *len);
        }

        return bytes;
    }

    *len = base_len;
    bytes = malloc(base_len);

    if (bytes == NULL) {
        return NULL;
    }

    memcpy(bytes, base, base_len);

    for (i = 1; i + sizeof(change) <= size; i += sizeof(change)) {
        memcpy(change, data + i, sizeof(change));
        at = change[0] % (base_len - 3);
        memcpy(bytes + at, &change[1], 4);
    }

    return bytes;
}


/* what would only keep the fuzzer out */
static void
seal(uint8_t *bytes, size_t len)
{
    dfd_snapshot_sum_t     sum;
    dfd_snapshot_header_t *header;

    if (len < sizeof(*header)) {
        return;
    }

    header = (dfd_snapshot_header_t *) bytes;
    memcpy(header->magic, DFD_SNAPSHOT_MAGIC, DFD_SNAPSHOT_MAGIC_LEN);
    header->byte_order = DFD_SNAPSHOT_BYTE_ORDER;
    header->version = DFD_SNAPSHOT_VERSION;
    header->file_size = len;

    if (len % DFD_SNAPSHOT_BLOCK == 0) {
        dfd_snapshot_sum_init(&sum);
        dfd_snapshot_sum_add(&sum, header + 1, len - sizeof(*header));
        header->checksum = dfd_snapshot_sum_final(&sum, header);
    }
}


static size_t
touch(const dfd_text_t *text)
{
    size_t i, sum;

    sum = 0;

    for (i = 0; i < text->len; i++) {
        sum += (uint8_t) text->data[i];
    }

    return sum;
}


static void
look_up(const dfd_snapshot_t *snapshot, const dfd_addr_t *addr)
{
    char        *entity;
    size_t       len;
    dfd_lookup_t lookup;

    static const dfd_lookup_conf_t conf = {
        { 144000000000, 864000000000, 6048000000000 }, NULL, 0, NULL, 0
    };

    dfd_lookup(&lookup, snapshot, &conf, addr, 17955684000000000, NULL);

    fuzz_sum += touch(&lookup.device.id) + touch(&lookup.device.name)
              + touch(&lookup.device.os_platform)
              + touch(&lookup.device.health_status)
              + touch(&lookup.device.risk_score)
              + touch(&lookup.device.exposure_level)
              + touch(&lookup.device.last_seen);

    len = dfd_lookup_entity(&lookup, NULL, 0);
    entity = malloc(len);

    if (entity != NULL) {
        if (dfd_lookup_entity(&lookup, entity, len) != len) {
            fail("an entity that changes its length");
        }

        free(entity);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char            error[DFD_SNAPSHOT_ERROR];
    size_t          len;
    uint8_t        *bytes;
    uint64_t        cursor;
    dfd_addr_t      addr;
    dfd_snapshot_t *snapshot;

    if (base == NULL) {
        make_base();
    }

    bytes = make_file(data, size, &len);

    if (bytes == NULL) {
        return 0;
    }

    seal(bytes, len);
    error[0] = '\0';
    snapshot = dfd_snapshot_open_memory(bytes, len, error);

    if (snapshot == NULL && error[0] == '\0') {
        fail("refused without a word");
    }

    if (snapshot != NULL) {
        for (cursor = 0; dfd_snapshot_next(snapshot, &cursor, &addr);) {
            look_up(snapshot, &addr);

            if (cursor > 1000) {
                break;
            }
        }

        memset(&addr, 0x20, sizeof(addr));
        look_up(snapshot, &addr);
    }

    dfd_snapshot_close(snapshot);
    free(bytes);

    return 0;
}
