#include "core/snapshot.h"
#include "core/snapshot_format.h"

#include "fleet.h"

#include <sys/stat.h>


#define ID1 "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
#define ID2 "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"
#define ID3 "d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3d3"


static const char *const office[] = {
    "{\"id\":\"" ID1 "\",\"computerDnsName\":\"ws-ana.corp.example\","
    "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
    "\"lastIpAddress\":\"10.20.1.11\","
    "\"lastExternalIpAddress\":\"203.0.113.7\","
    "\"ipAddresses\":[{\"ipAddress\":\"10.20.1.11\","
    "\"macAddress\":\"00005E005301\",\"operationalStatus\":\"Up\"},"
    "{\"ipAddress\":\"127.0.0.1\",\"operationalStatus\":\"Up\"}]}",

    "{\"id\":\"" ID2 "\",\"computerDnsName\":\"srv-bo.corp.example\","
    "\"lastSeen\":\"2026-11-25T00:40:00Z\","
    "\"lastIpAddress\":\"10.20.1.12\","
    "\"lastExternalIpAddress\":\"203.0.113.7\","
    "\"ipAddresses\":[{\"ipAddress\":\"2001:db8::2a\","
    "\"macAddress\":\"00005E005302\",\"operationalStatus\":\"Up\"}]}",
};


static int
has(const dfd_snapshot_t *snapshot, const char *text)
{
    dfd_addr_t addr;

    addr = fleet_addr(text);

    return dfd_snapshot_has(snapshot, &addr);
}


/* the name of the only device that claims the address */
static void
check_owner(const dfd_snapshot_t *snapshot, const char *text,
            const char *expected, const char *name)
{
    size_t                     n;
    dfd_addr_t                 addr;
    const char                *data;
    const dfd_claim_t         *claims;
    const dfd_device_span_t   *span;
    const dfd_device_layout_t *layout;

    addr = fleet_addr(text);
    claims = dfd_snapshot_claims(snapshot, &addr, &n);

    if (claims == NULL || n != 1) {
        unit_int(n, 1, "%s: one claim", name);
        return;
    }

    layout = dfd_snapshot_record(snapshot, claims->device);
    span = &layout->texts[DFD_DEVICE_NAME];
    data = (const char *) (layout + 1) + span->offset;

    unit_mem(data, span->len, expected, strlen(expected), "%s", name);
}


static void
test_office(void)
{
    int                      i, walked;
    char                     text[DFD_ADDR_TEXT];
    uint64_t                 cursor;
    struct stat              st;
    dfd_addr_t               addr;
    dfd_snapshot_t          *snapshot;
    dfd_snapshot_info_t      info;
    static const char *const all[] = { "10.20.1.11", "10.20.1.12",
                                       "2001:db8::2a" };

    snapshot = fleet_open(office, 2, &info);

    if (snapshot == NULL) {
        return;
    }

    unit_int(info.devices, 2, "devices told by the builder");
    unit_int(info.addresses, 3, "addresses told by the builder");
    unit_int(info.skipped, 0, "nothing skipped");

    memset(&info, 0xff, sizeof(info));
    dfd_snapshot_info(snapshot, &info);

    unit_int(info.generation, 7, "generation");
    unit_int(info.as_of, FLEET_NOW, "time of the poll");
    unit_int(info.source, FLEET_SOURCE, "whose devices");
    unit_int(info.devices, 2, "devices");
    unit_int(info.addresses, 3, "addresses");
    unit_int(info.skipped, 0, "skipped");

    unit_ok(has(snapshot, "10.20.1.11"), "an address");
    unit_ok(has(snapshot, "2001:DB8:0::2A"), "an IPv6 address");
    unit_ok(!has(snapshot, "10.20.1.13"), "not another one");
    unit_ok(!has(snapshot, "203.0.113.7"), "not the external address");
    unit_ok(!has(snapshot, "127.0.0.1"), "not loopback");

    check_owner(snapshot, "10.20.1.12", "srv-bo.corp.example", "its owner");

    walked = 0;

    for (cursor = 0; dfd_snapshot_next(snapshot, &cursor, &addr);) {
        (void) dfd_addr_format(&addr, text);

        for (i = 0; i < 3; i++) {
            walked += strcmp(text, all[i]) == 0 ? 1 << (4 * i) : 0;
        }
    }

    unit_int(walked, 0x111, "the walk meets each address once");
    unit_ok(!dfd_snapshot_next(snapshot, &cursor, &addr), "and has an end");

    unit_int(stat(fleet_path, &st), 0, "the file is in its place");
    unit_int(st.st_mode & 07777, 0600, "nobody else may read it");
    unit_int(fleet_files(""), 1, "and nothing lies beside it");

    dfd_snapshot_close(snapshot);
    dfd_snapshot_close(NULL);
}


static void
test_empty(void)
{
    uint64_t            cursor;
    dfd_addr_t          addr;
    dfd_snapshot_t     *snapshot;
    dfd_snapshot_info_t info;

    snapshot = fleet_open(NULL, 0, &info);

    if (snapshot == NULL) {
        return;
    }

    cursor = 0;
    unit_int(info.devices, 0, "a tenant without devices");
    unit_ok(!has(snapshot, "10.20.1.11"), "has no address");
    unit_ok(!dfd_snapshot_next(snapshot, &cursor, &addr), "to walk over");

    dfd_snapshot_close(snapshot);
}


static void
test_doubles(void)
{
    dfd_snapshot_t          *snapshot;
    dfd_snapshot_info_t      info;
    static const char *const older =
        "{\"id\":\"" ID1 "\",\"computerDnsName\":\"older\","
        "\"lastSeen\":\"2026-11-24T00:00:00.9Z\","
        "\"lastIpAddress\":\"10.20.3.40\"}";
    static const char *const newer =
        "{\"id\":\"" ID1 "\",\"computerDnsName\":\"newer\","
        "\"lastSeen\":\"2026-11-24T00:00:00.95Z\","
        "\"lastIpAddress\":\"10.20.3.41\"}";
    static const char *const never =
        "{\"id\":\"" ID1 "\",\"computerDnsName\":\"never\","
        "\"lastIpAddress\":\"10.20.3.42\"}";
    static const char *const first =
        "{\"id\":\"" ID2 "\",\"computerDnsName\":\"first\","
        "\"lastSeen\":\"2026-11-24T00:00:00Z\","
        "\"lastIpAddress\":\"10.20.3.50\"}";
    static const char *const second =
        "{\"id\":\"" ID2 "\",\"computerDnsName\":\"second\","
        "\"lastSeen\":\"2026-11-24T00:00:00Z\","
        "\"lastIpAddress\":\"10.20.3.50\"}";
    const char *const one[] = { older, first, newer, never, second, older };
    const char *const two[] = { never, newer, second, older, first };

    snapshot = fleet_open(one, 6, &info);

    if (snapshot != NULL) {
        unit_int(info.devices, 2, "records of one id are one device");
        unit_int(info.addresses, 2, "with the addresses of one record");
        check_owner(snapshot, "10.20.3.41", "newer", "the newest stays");
        check_owner(snapshot, "10.20.3.50", "second", "of equals the last");
        unit_ok(!has(snapshot, "10.20.3.40"), "the older address is gone");
        unit_ok(!has(snapshot, "10.20.3.42"), "the one without a time, too");
        dfd_snapshot_close(snapshot);
    }

    snapshot = fleet_open(two, 5, &info);

    if (snapshot != NULL) {
        unit_int(info.devices, 2, "in another order");
        check_owner(snapshot, "10.20.3.41", "newer",
                    "the newest all the same");
        check_owner(snapshot, "10.20.3.50", "first", "and the last of equals");
        dfd_snapshot_close(snapshot);
    }
}


static void
test_odd_machines(void)
{
    dfd_snapshot_t          *snapshot;
    dfd_snapshot_info_t      info;
    static const char *const machines[] = {
        "{\"id\":\"" ID1 "\",\"computerDnsName\":\"merged\","
        "\"mergedIntoMachineId\":\"" ID2 "\","
        "\"lastIpAddress\":\"10.20.1.11\"}",
        "{\"id\":\"" ID2 "\",\"computerDnsName\":\"huge\","
        "\"osBuild\":18446744073709551615,"
        "\"lastIpAddress\":\"10.20.1.12\"}",
        "{\"id\":\"" ID3 "\",\"lastIpAddress\":null,"
        "\"lastExternalIpAddress\":\"\",\"ipAddresses\":["
        "{\"ipAddress\":\"\"},{\"ipAddress\":\"-\"},"
        "{\"ipAddress\":null},{}]}",
        "{\"id\":\"no-list\",\"ipAddresses\":null}",
        "{\"computerDnsName\":\"nobody\",\"lastIpAddress\":\"10.20.1.14\"}",
        "{\"id\":\"cut\",\"lastIpAddress\":\"10.20.1.15\"",
        "[\"10.20.1.16\"]",
        "null",
        "17",
        "",
        "<!DOCTYPE html>",
    };

    snapshot =
        fleet_open(machines, sizeof(machines) / sizeof(machines[0]), &info);

    if (snapshot == NULL) {
        return;
    }

    unit_int(info.devices, 4, "odd machines are devices all the same");
    unit_int(info.skipped, 7, "what is no machine is skipped");
    unit_int(info.addresses, 1, "and harms no address");
    unit_ok(!has(snapshot, "10.20.1.11"), "a merged record claims none");
    check_owner(snapshot, "10.20.1.12", "huge",
                "a number out of range costs only itself");

    dfd_snapshot_close(snapshot);
}


/* many machines with the addresses that everybody has */
static void
test_shared_addresses(void)
{
    int                 i;
    static char         texts[300][512];
    static const char  *machines[300];
    size_t              n;
    dfd_addr_t          addr;
    dfd_snapshot_t     *snapshot;
    dfd_snapshot_info_t info;

    for (i = 0; i < 300; i++) {
        (void) snprintf(
            texts[i], sizeof(texts[i]),
            "{\"id\":\"m%d\",\"lastIpAddress\":\"10.30.%d.%d\","
            "\"lastExternalIpAddress\":\"203.0.113.7\",\"ipAddresses\":["
            "{\"ipAddress\":\"127.0.0.1\"},{\"ipAddress\":\"::1\"},"
            "{\"ipAddress\":\"169.254.10.20\"},{\"ipAddress\":\"fe80::1\"},"
            "{\"ipAddress\":\"0.0.0.0\"},{\"ipAddress\":\"172.17.0.1\"}]}",
            i, i / 200, i % 200);
        machines[i] = texts[i];
    }

    snapshot = fleet_open(machines, 300, &info);

    if (snapshot == NULL) {
        return;
    }

    unit_int(info.addresses, 301, "only addresses that tell something");
    unit_ok(!has(snapshot, "127.0.0.1") && !has(snapshot, "::1")
                && !has(snapshot, "169.254.10.20") && !has(snapshot, "fe80::1")
                && !has(snapshot, "0.0.0.0") && !has(snapshot, "203.0.113.7"),
            "none for those of everybody");

    addr = fleet_addr("172.17.0.1");
    unit_ok(dfd_snapshot_claims(snapshot, &addr, &n) != NULL && n == 300,
            "one address may have hundreds of claims");

    dfd_snapshot_close(snapshot);
}


static void
test_many(void)
{
    char                    json[256], error[DFD_SNAPSHOT_ERROR];
    int                     i, wrong, len;
    dfd_snapshot_t         *snapshot;
    dfd_snapshot_info_t     info;
    dfd_snapshot_builder_t *builder;

    enum {
        N = 20000
    };

    wrong = 0;
    snapshot = NULL;
    info.generation = 1;
    info.as_of = FLEET_NOW;
    info.source = 0;
    builder = fleet_builder(error);

    for (i = 0; i < N && builder != NULL; i++) {
        len = snprintf(json, sizeof(json),
                       "{\"id\":\"%040x\",\"computerDnsName\":\"m%d\","
                       "\"lastIpAddress\":\"10.%d.%d.%d\",\"ipAddresses\":["
                       "{\"ipAddress\":\"2001:db8::%x\"}]}",
                       i, i, i >> 16, (i >> 8) & 255, i & 255, i + 1);
        wrong += dfd_snapshot_builder_add(builder, json, (size_t) len) != 0;
    }

    if (builder != NULL
        && dfd_snapshot_builder_finish(builder, &info, error) == 0) {
        snapshot = dfd_snapshot_open(fleet_path, error);
    }

    dfd_snapshot_builder_destroy(builder);

    if (!unit_ok(snapshot != NULL && wrong == 0, "%d devices", N)) {
        return;
    }

    unit_int(info.devices, N, "all of them");
    unit_int(info.addresses, 2 * N, "all addresses");

    for (i = 0; i < 2 * N; i++) {
        (void) snprintf(json, sizeof(json), "10.%d.%d.%d", i >> 16,
                        (i >> 8) & 255, i & 255);
        wrong += has(snapshot, json) != (i < N);

        (void) snprintf(json, sizeof(json), "2001:db8::%x", i + 1);
        wrong += has(snapshot, json) != (i < N);
    }

    unit_int(wrong, 0, "each address is found, and no other");
    check_owner(snapshot, "10.0.78.31", "m19999", "the last one's owner");

    dfd_snapshot_close(snapshot);
}


/* a reader keeps what it has while the next one takes the place */
static void
test_replacement(void)
{
    dfd_snapshot_t     *old, *new;
    dfd_snapshot_info_t info;

    old = fleet_open(office, 1, &info);
    new = fleet_open(office + 1, 1, &info);

    if (old != NULL && new != NULL) {
        unit_ok(has(old, "10.20.1.11") && !has(old, "10.20.1.12"),
                "the old one answers as before");
        unit_ok(!has(new, "10.20.1.11") && has(new, "10.20.1.12"),
                "the new one knows the new devices only");
    }

    dfd_snapshot_close(old);
    dfd_snapshot_close(new);
}


int
main(void)
{
    fleet_start();

    test_office();
    test_empty();
    test_doubles();
    test_odd_machines();
    test_shared_addresses();
    test_many();
    test_replacement();

    fleet_stop();

    return unit_done();
}
