/*
 * Measures the snapshot with generated devices: building, opening, looking
 * up.  Prints "name value unit" lines.
 *
 *     snapshot [devices [directory]]
 */

#include "core/lookup.h"
#include "core/timestamp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define BENCH_NAME "bench-devices"

/* of one measurement, and of the detections of one small page */
#define BENCH_LOOKUPS 2000000
#define BENCH_HOT     25

/* 2026-11-25T01:00:00Z */
#define BENCH_NOW (1795568400 * DFD_TICKS_PER_SECOND)


static const dfd_lookup_conf_t conf = {
    { 4 * 3600 * DFD_TICKS_PER_SECOND, 24 * 3600 * DFD_TICKS_PER_SECOND,
      7 * 24 * 3600 * DFD_TICKS_PER_SECOND },
    NULL,
    0,
    NULL,
    0
};


/* what was computed, so that it is not optimized away */
static volatile size_t bench_sum;


/* our own CPU time, which others on the machine do not lengthen */
static double
now(void)
{
    struct timespec t;

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);

    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}


static void
fail(const char *what)
{
    (void) fprintf(stderr, "snapshot: %s\n", what);
    exit(1);
}


/* a workstation as Defender lists it: about 1.7 KB, four useful addresses */
static int
machine(char *json, size_t size, uint32_t i)
{
    static const char format[] =
        "{\"id\":\"%08" PRIx32 "52ac0e1d2f3a4b5c6d7e8f90%08" PRIx32 "\","
        "\"mergedIntoMachineId\":null,\"isPotentialDuplication\":false,"
        "\"isExcluded\":false,\"exclusionReason\":null,"
        "\"computerDnsName\":\"ws-%06" PRIu32 ".corp.example\","
        "\"firstSeen\":\"2025-04-19T13:27:53.1618923Z\","
        "\"lastSeen\":\"2026-11-25T00:%02u:05.684607Z\","
        "\"osPlatform\":\"Windows11\",\"osVersion\":null,"
        "\"osProcessor\":\"x64\",\"version\":\"22H2\","
        "\"lastIpAddress\":\"10.%u.%u.%u\","
        "\"lastExternalIpAddress\":\"203.0.113.235\","
        "\"agentVersion\":\"10.8790.22621.5608\",\"osBuild\":22621,"
        "\"healthStatus\":\"Active\",\"deviceValue\":\"Normal\","
        "\"rbacGroupId\":12,\"rbacGroupName\":\"Workstations\","
        "\"riskScore\":\"Medium\",\"exposureLevel\":\"High\","
        "\"isAadJoined\":true,"
        "\"aadDeviceId\":\"d78dc223-8dc8-4210-9700-019b%08" PRIx32 "\","
        "\"machineTags\":[\"Tier 1\",\"Office\"],"
        "\"defenderAvStatus\":\"Updated\","
        "\"onboardingStatus\":\"Onboarded\","
        "\"osArchitecture\":\"64-bit\",\"managedBy\":\"Intune\","
        "\"managedByStatus\":\"Success\",\"ipAddresses\":["
        "{\"ipAddress\":\"10.%u.%u.%u\",\"macAddress\":\"00005E%06" PRIX32
        "\",\"type\":\"Ethernet\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"2001:db8:b06a::%" PRIx32
        "\",\"macAddress\":\"00005E%06" PRIX32
        "\",\"type\":\"Ethernet\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"fe80::359c:%" PRIx32
        ":8880\",\"macAddress\":\"00005E%06" PRIX32
        "\",\"type\":\"Ethernet\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"192.168.%u.%u\",\"macAddress\":\"00005F%06" PRIX32
        "\",\"type\":\"Wireless80211\",\"operationalStatus\":\"Down\"},"
        "{\"ipAddress\":\"127.0.0.1\",\"macAddress\":null,"
        "\"type\":\"SoftwareLoopback\",\"operationalStatus\":\"Up\"}],"
        "\"vmMetadata\":null}";

    unsigned a, b, c;

    a = (i >> 16) & 255;
    b = (i >> 8) & 255;
    c = i & 255;

    return snprintf(json, size, format, i, i, i, i % 60, a, b, c, i, a, b, c,
                    i & 0xffffff, i + 1, i & 0xffffff, i & 0xffff,
                    i & 0xffffff, b, c, i & 0xffffff);
}


static void
build(const char *directory, uint32_t devices)
{
    int                     len;
    char                    json[4096], error[DFD_SNAPSHOT_ERROR];
    double                  start, added;
    uint32_t                i;
    uint64_t                bytes;
    dfd_snapshot_info_t     info;
    dfd_snapshot_target_t   target;
    dfd_snapshot_builder_t *builder;

    target.directory = directory;
    target.name = BENCH_NAME;
    target.portal = "https://security.microsoft.com";
    info.generation = 1;
    info.as_of = BENCH_NOW;
    info.source = 1;

    bytes = 0;
    start = now();
    builder = dfd_snapshot_builder_create(&target, error);

    if (builder == NULL) {
        fail(error);
    }

    for (i = 0; i < devices; i++) {
        len = machine(json, sizeof(json), i);
        bytes += (uint64_t) len;

        if (dfd_snapshot_builder_add(builder, json, (size_t) len) != 0) {
            fail("cannot add a machine");
        }
    }

    added = now();

    if (dfd_snapshot_builder_finish(builder, &info, error) != 0) {
        fail(error);
    }

    printf("machine_json %.0f bytes\n", (double) bytes / devices);
    printf("build_add %.2f s\n", added - start);
    printf("build_finish %.2f s\n", now() - added);
    printf("addresses %" PRIu32 " addresses\n", info.addresses);

    dfd_snapshot_builder_destroy(builder);
}


/* in a process of its own, whose memory is the builder's */
static void
measure_build(const char *directory, uint32_t devices)
{
    int           status;
    pid_t         pid;
    struct rusage usage;

    (void) fflush(stdout);
    pid = fork();

    if (pid == 0) {
        build(directory, devices);
        exit(0);
    }

    if (wait4(pid, &status, 0, &usage) != pid || status != 0) {
        fail("the builder failed");
    }

    printf("build_peak_rss %.1f MB\n", (double) usage.ru_maxrss / 1024);
}


static dfd_snapshot_t *
measure_open(const char *path, uint32_t devices)
{
    int             i;
    char            error[DFD_SNAPSHOT_ERROR];
    double          start, best, took;
    struct stat     st;
    dfd_snapshot_t *snapshot;

    best = 1e9;
    snapshot = NULL;

    for (i = 0; i < 7; i++) {
        dfd_snapshot_close(snapshot);
        start = now();
        snapshot = dfd_snapshot_open(path, error);
        took = now() - start;

        if (snapshot == NULL) {
            fail(error);
        }

        if (took < best) {
            best = took;
        }
    }

    if (stat(path, &st) != 0) {
        fail("no file");
    }

    printf("file %.1f MB\n", (double) st.st_size / 1e6);
    printf("file_per_device %.0f bytes\n", (double) st.st_size / devices);
    printf("open %.1f ms\n", best * 1e3);

    return snapshot;
}


/* 10.0.0.0 upward is known, 11.0.0.0 upward is not; spread: no neighbours */
static void
make_addresses(dfd_addr_t *addrs, uint32_t n, uint32_t devices, unsigned net)
{
    uint32_t i, device;

    for (i = 0; i < n; i++) {
        device = (uint32_t) ((uint64_t) i * 2654435761U % devices);

        memset(addrs[i].bytes, 0, 10);
        memset(addrs[i].bytes + 10, 0xff, 2);
        addrs[i].bytes[12] = (uint8_t) net;
        addrs[i].bytes[13] = (uint8_t) (device >> 16);
        addrs[i].bytes[14] = (uint8_t) (device >> 8);
        addrs[i].bytes[15] = (uint8_t) device;
    }
}


static void
measure_has(const dfd_snapshot_t *snapshot, const dfd_addr_t *addrs,
            uint32_t n, const char *name)
{
    double   start;
    uint32_t i, at;

    start = now();

    for (i = 0, at = 0; i < BENCH_LOOKUPS; i++) {
        bench_sum += (size_t) dfd_snapshot_has(snapshot, &addrs[at]);
        at = (at + 1 == n) ? 0 : at + 1;
    }

    printf("%s %.1f ns\n", name, (now() - start) / BENCH_LOOKUPS * 1e9);
}


static void
measure_entity(const dfd_snapshot_t *snapshot, const dfd_addr_t *addrs,
               uint32_t n, const char *name)
{
    char         buf[4096];
    double       start;
    size_t       len;
    uint32_t     i, at;
    dfd_lookup_t lookup;

    len = 0;
    start = now();

    for (i = 0, at = 0; i < BENCH_LOOKUPS; i++) {
        dfd_lookup(&lookup, snapshot, &conf, &addrs[at], BENCH_NOW, NULL);
        len = dfd_lookup_entity(&lookup, buf, sizeof(buf));
        bench_sum += len;
        at = (at + 1 == n) ? 0 : at + 1;
    }

    printf("%s %.1f ns\n", name, (now() - start) / BENCH_LOOKUPS * 1e9);
    printf("%s_size %zu bytes\n", name, len);
}


int
main(int argc, char **argv)
{
    char            path[1024];
    uint32_t        devices;
    dfd_addr_t     *known, *unknown;
    const char     *directory;
    dfd_snapshot_t *snapshot;

    devices = argc > 1 ? (uint32_t) strtoul(argv[1], NULL, 10) : 100000;
    directory = argc > 2 ? argv[2] : "/tmp";

    if (devices == 0) {
        fail("how many devices?");
    }

    (void) snprintf(path, sizeof(path), "%s/" BENCH_NAME, directory);

    printf("devices %" PRIu32 " devices\n", devices);
    measure_build(directory, devices);
    snapshot = measure_open(path, devices);

    known = calloc(devices, sizeof(dfd_addr_t));
    unknown = calloc(devices, sizeof(dfd_addr_t));

    if (known == NULL || unknown == NULL) {
        fail("out of memory");
    }

    make_addresses(known, devices, devices, 10);
    make_addresses(unknown, devices, devices, 11);

    measure_has(snapshot, known, devices, "has_hit");
    measure_has(snapshot, unknown, devices, "has_miss");
    measure_has(snapshot, known, BENCH_HOT, "has_hit_hot");
    measure_has(snapshot, unknown, BENCH_HOT, "has_miss_hot");
    measure_entity(snapshot, known, devices, "lookup_entity");
    measure_entity(snapshot, known, BENCH_HOT, "lookup_entity_hot");

    free(known);
    free(unknown);
    dfd_snapshot_close(snapshot);
    (void) unlink(path);

    return 0;
}
