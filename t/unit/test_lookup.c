#include "core/lookup.h"

#include "fleet.h"

#include <jansson.h>


#define MINUTE (60 * DFD_TICKS_PER_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define ID1 "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
#define ID2 "d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2"

#define ANSWER(match, ip)                                                     \
    "{\"source\":\"Microsoft Defender\",\"match\":\"" match "\","             \
    "\"ip\":\"" ip "\",\"at\":\"2026-11-25T01:00:00Z\","                      \
    "\"asOf\":\"2026-11-25T01:00:00Z\""

#define FOUND(match, ip)                                                      \
    "{\"source\":\"Microsoft Defender\",\"match\":\"" match "\","             \
    "\"evidence\":\"report\",\"ip\":\"" ip "\","                              \
    "\"at\":\"2026-11-25T01:00:00Z\",\"asOf\":\"2026-11-25T01:00:00Z\""


static const dfd_lookup_conf_t conf = {
    { 4 * HOUR, 24 * HOUR, 7 * DAY }, NULL, 0, NULL, 0
};


static const char *const fleet[] = {
    "{\"id\":\"" ID1 "\",\"computerDnsName\":\"ws-ana.corp.example\","
    "\"firstSeen\":\"2026-01-02T03:04:05Z\","
    "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
    "\"osPlatform\":\"Windows11\",\"version\":\"22H2\",\"osBuild\":22621,"
    "\"lastIpAddress\":\"10.20.1.11\","
    "\"lastExternalIpAddress\":\"203.0.113.7\","
    "\"healthStatus\":\"Active\",\"riskScore\":\"Medium\","
    "\"exposureLevel\":\"High\",\"machineTags\":[\"Tier 1\"],"
    "\"ipAddresses\":[{\"ipAddress\":\"10.20.1.11\","
    "\"macAddress\":\"00005E005301\",\"operationalStatus\":\"Up\"},"
    "{\"ipAddress\":\"10.20.1.21\",\"macAddress\":\"00005E005302\","
    "\"operationalStatus\":\"Down\"}]}",

    "{\"id\":\"" ID2 "\",\"computerDnsName\":\"srv-bo.corp.example\","
    "\"lastSeen\":\"2026-11-24T12:00:00Z\",\"healthStatus\":\"Active\","
    "\"lastIpAddress\":\"10.20.1.12\",\"ipAddresses\":["
    "{\"ipAddress\":\"2001:db8::2a\",\"operationalStatus\":\"Up\"}]}",

    "{\"id\":\"three\",\"lastSeen\":\"2026-11-01T00:00:00Z\","
    "\"lastIpAddress\":\"10.20.1.13\"}",

    "{\"id\":\"four\",\"lastIpAddress\":\"10.20.1.14\"}",

    /* a computer before and after its reinstall */
    "{\"id\":\"five\",\"computerDnsName\":\"ws-eve\","
    "\"lastSeen\":\"2025-01-02T00:00:00Z\",\"healthStatus\":\"Inactive\","
    "\"lastIpAddress\":\"10.20.1.15\"}",
    "{\"id\":\"six\",\"computerDnsName\":\"ws-eve\","
    "\"lastSeen\":\"2026-11-25T00:50:00Z\",\"healthStatus\":\"Active\","
    "\"lastIpAddress\":\"10.20.1.15\"}",

    /* an address with a new owner */
    "{\"id\":\"eight\",\"lastSeen\":\"2026-11-25T00:50:00Z\","
    "\"lastIpAddress\":\"10.20.3.40\"}",
    "{\"id\":\"seven\",\"lastSeen\":\"2026-11-20T00:50:00Z\","
    "\"lastIpAddress\":\"10.20.3.40\"}",

    /* two at the same desk */
    "{\"id\":\"nine\",\"computerDnsName\":\"n\\\"9\","
    "\"lastSeen\":\"2026-11-25T00:10:00Z\","
    "\"lastIpAddress\":\"10.20.3.50\"}",
    "{\"id\":\"ten\",\"lastSeen\":\"2026-11-25T00:20:00.5Z\","
    "\"lastIpAddress\":\"10.20.3.50\"}",

    /* gone, and moved into another record */
    "{\"id\":\"eleven\",\"healthStatus\":\"Inactive\","
    "\"lastSeen\":\"2026-11-25T00:50:00Z\","
    "\"lastIpAddress\":\"10.20.1.16\"}",
    "{\"id\":\"twelve\",\"mergedIntoMachineId\":\"" ID1 "\","
    "\"lastSeen\":\"2026-11-25T00:59:00Z\","
    "\"lastIpAddress\":\"10.20.1.11\"}",

    "{\"id\":\"14\",\"computerDnsName\":null,\"lastSeen\":\"soon\","
    "\"lastIpAddress\":\"10.20.1.17\"}",
};

#define FLEET (sizeof(fleet) / sizeof(fleet[0]))


static dfd_snapshot_t *snapshot;


static void
ask(dfd_lookup_t *lookup, const dfd_lookup_conf_t *how, const char *text,
    int64_t at)
{
    dfd_addr_t addr;

    addr = fleet_addr(text);
    memset(lookup, 0xaa, sizeof(*lookup));
    dfd_lookup(lookup, snapshot, how, &addr, at, NULL);
}


static void
check_entity(const dfd_lookup_t *lookup, const char *expected,
             const char *name)
{
    char    buf[4096], small[4096];
    size_t  len;
    json_t *json;

    len = dfd_lookup_entity(lookup, buf, sizeof(buf));
    unit_mem(buf, len, expected, strlen(expected), "%s", name);

    json = json_loadb(buf, len < sizeof(buf) ? len : 0, 0, NULL);
    unit_ok(json_is_object(json), "%s: JSON", name);
    json_decref(json);

    memset(small, '#', sizeof(small));
    unit_int(dfd_lookup_entity(lookup, small, len), len, "%s: just room",
             name);
    unit_ok(memcmp(small, buf, len) == 0 && small[len] == '#',
            "%s: and no byte more", name);

    memset(small, '#', sizeof(small));
    unit_int(dfd_lookup_entity(lookup, small, len - 1), len,
             "%s: a byte too little", name);
    unit_ok(small[len - 1] == '#', "%s: is not overrun", name);
    unit_int(dfd_lookup_entity(lookup, NULL, 0), len, "%s: no room at all",
             name);
}


static void
check(const char *address, const char *expected, const char *name)
{
    dfd_lookup_t lookup;

    ask(&lookup, &conf, address, FLEET_NOW);
    check_entity(&lookup, expected, name);
}


#define ANA_HEAD                                                              \
    ",\"id\":\"" ID1 "\",\"computerDnsName\":\"ws-ana.corp.example\","        \
    "\"osPlatform\":\"Windows11\",\"version\":\"22H2\",\"osBuild\":22621,"

#define ANA_TAIL                                                              \
    "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","                          \
    "\"firstSeen\":\"2026-01-02T03:04:05Z\",\"healthStatus\":\"Active\","     \
    "\"riskScore\":\"Medium\",\"exposureLevel\":\"High\","                    \
    "\"machineTags\":[\"Tier 1\"],"                                           \
    "\"lastExternalIpAddress\":\"203.0.113.7\","                              \
    "\"portalUrl\":\"https://security.microsoft.com/machines/" ID1 "\"}"


static void
test_entities(void)
{
    check("10.20.1.11",
          FOUND("exact", "10.20.1.11") ANA_HEAD
          "\"macAddress\":\"00005E005301\"," ANA_TAIL,
          "exact");

    check("10.20.1.21",
          FOUND("exact", "10.20.1.21") ANA_HEAD
          "\"macAddress\":\"00005E005302\"," ANA_TAIL,
          "the MAC of the address");

    check("::FFFF:0A14:010B",
          FOUND("exact", "10.20.1.11") ANA_HEAD
          "\"macAddress\":\"00005E005301\"," ANA_TAIL,
          "IPv4 dressed as IPv6");

    check(
        "2001:DB8:0:0:0:0:0:2A",
        FOUND(
            "likely",
            "2001:db8::2a") ",\"id\":\"" ID2
                            "\",\"computerDnsName\":\"srv-bo.corp.example\","
                            "\"lastSeen\":\"2026-11-24T12:00:00Z\",\"healthStatus\":\"Active\","
                            "\"portalUrl\":\"https://security.microsoft.com/machines/" ID2
                            "\"}",
        "likely, of thirteen hours ago");

    check(
        "10.20.1.13",
        FOUND(
            "stale",
            "10.20.1.13") ",\"id\":\"three\",\"lastSeen\":\"2026-11-01T00:00:00Z\"}",
        "stale");

    check("10.20.1.14", FOUND("stale", "10.20.1.14") ",\"id\":\"four\"}",
          "stale without a time");

    check(
        "10.20.1.16",
        FOUND(
            "stale",
            "10.20.1.16") ",\"id\":\"eleven\",\"lastSeen\":\"2026-11-25T00:50:00Z\","
                          "\"healthStatus\":\"Inactive\"}",
        "an inactive device");

    check("10.20.1.17",
          FOUND("stale", "10.20.1.17") ",\"id\":\"14\",\"lastSeen\":\"soon\"}",
          "a lastSeen that is none is shown as it came");

    check(
        "10.20.1.15",
        FOUND(
            "exact",
            "10.20.1.15") ",\"id\":\"six\",\"computerDnsName\":\"ws-eve\","
                          "\"lastSeen\":\"2026-11-25T00:50:00Z\",\"healthStatus\":\"Active\"}",
        "a computer after its reinstall");

    check(
        "10.20.3.40",
        FOUND(
            "exact",
            "10.20.3.40") ",\"id\":\"eight\",\"lastSeen\":\"2026-11-25T00:50:00Z\"}",
        "the new owner of an address");

    check(
        "10.20.3.50",
        ANSWER("ambiguous",
               "10.20.3.50") ",\"candidates\":[{\"id\":\"ten\","
                             "\"lastSeen\":\"2026-11-25T00:20:00.5Z\"},"
                             "{\"id\":\"nine\",\"computerDnsName\":\"n\\\"9\","
                             "\"lastSeen\":\"2026-11-25T00:10:00Z\"}]}",
        "ambiguous");

    check("10.99.99.99", ANSWER("none", "10.99.99.99") "}", "none");
    check("203.0.113.7", ANSWER("none", "203.0.113.7") "}",
          "the external address");
    check("127.0.0.1", ANSWER("none", "127.0.0.1") "}", "loopback");
}


static void
check_text(const dfd_text_t *text, const char *expected, const char *name)
{
    unit_mem(text->data, text->len, expected, strlen(expected), "%s", name);
}


static void
test_texts(void)
{
    dfd_lookup_t lookup;

    ask(&lookup, &conf, "10.20.1.11", FLEET_NOW);

    unit_int(lookup.match.verdict, DFD_MATCH_EXACT, "exact");
    unit_ok(lookup.snapshot == snapshot && lookup.at == FLEET_NOW
                && lookup.reason == NULL,
            "what was asked");
    check_text(&lookup.device.id, ID1, "id");
    check_text(&lookup.device.name, "ws-ana.corp.example", "name");
    check_text(&lookup.device.os_platform, "Windows11", "osPlatform");
    check_text(&lookup.device.health_status, "Active", "healthStatus");
    check_text(&lookup.device.risk_score, "Medium", "riskScore");
    check_text(&lookup.device.exposure_level, "High", "exposureLevel");
    check_text(&lookup.device.last_seen, "2026-11-25T00:50:00.1234567Z",
               "lastSeen");

    ask(&lookup, &conf, "10.20.1.14", FLEET_NOW);
    unit_int(lookup.match.verdict, DFD_MATCH_STALE, "stale");
    check_text(&lookup.device.id, "four", "its id");
    unit_int(lookup.device.name.len, 0, "no name");
    unit_int(lookup.device.last_seen.len, 0, "no time");

    ask(&lookup, &conf, "10.20.3.50", FLEET_NOW);
    unit_int(lookup.match.verdict, DFD_MATCH_AMBIGUOUS, "ambiguous");
    unit_int(lookup.device.id.len, 0, "names nobody");

    ask(&lookup, &conf, "10.99.99.99", FLEET_NOW);
    unit_int(lookup.match.verdict, DFD_MATCH_NONE, "none");
    unit_int(lookup.device.id.len, 0, "names nobody either");
}


static void
test_moments(void)
{
    dfd_lookup_t lookup;

    ask(&lookup, &conf, "10.20.1.11", FLEET_NOW - 30 * MINUTE);
    unit_int(lookup.match.verdict, DFD_MATCH_EXACT, "just before the report");

    ask(&lookup, &conf, "10.20.1.11", FLEET_NOW + DAY);
    unit_int(lookup.match.verdict, DFD_MATCH_LIKELY, "a day after it");

    ask(&lookup, &conf, "10.20.1.11", FLEET_NOW + 8 * DAY);
    unit_int(lookup.match.verdict, DFD_MATCH_STALE, "eight days after it");

    /* the old owner's report lies between its own time and the moment */
    ask(&lookup, &conf, "10.20.3.40", FLEET_NOW - 5 * DAY - 10 * MINUTE);
    unit_int(lookup.match.verdict, DFD_MATCH_LIKELY, "five days before");

    ask(&lookup, &conf, "10.99.99.99", DFD_TIME_NONE);
    check_entity(&lookup,
                 "{\"source\":\"Microsoft Defender\",\"match\":\"none\","
                 "\"ip\":\"10.99.99.99\",\"asOf\":\"2026-11-25T01:00:00Z\"}",
                 "no moment");
}


static void
check_allowed(const dfd_lookup_conf_t *how, const char *address, int allowed)
{
    dfd_addr_t   addr;
    dfd_lookup_t lookup;

    addr = fleet_addr(address);
    unit_int(dfd_lookup_allowed(how, &addr), allowed, "%s allowed", address);

    ask(&lookup, how, address, FLEET_NOW);
    unit_int(lookup.match.verdict == DFD_MATCH_NONE, !allowed, "%s answered",
             address);
}


static void
test_networks(void)
{
    dfd_cidr_t        exclude[2], networks[2];
    dfd_lookup_conf_t how;

    (void) dfd_cidr_parse(&exclude[0], "10.20.1.12/31", 13);
    (void) dfd_cidr_parse(&exclude[1], "10.20.3.0/24", 12);
    (void) dfd_cidr_parse(&networks[0], "10.20.0.0/16", 12);
    (void) dfd_cidr_parse(&networks[1], "192.0.2.0/24", 12);

    how = conf;
    check_allowed(&how, "10.20.1.11", 1);
    check_allowed(&how, "2001:db8::2a", 1);
    check_allowed(&how, "127.0.0.1", 0);
    check_allowed(&how, "fe80::1%eth0", 0);

    how.exclude = exclude;
    how.nexclude = 2;
    check_allowed(&how, "10.20.1.11", 1);
    check_allowed(&how, "10.20.1.13", 0);
    check_allowed(&how, "10.20.3.50", 0);

    how.networks = networks;
    how.nnetworks = 2;
    check_allowed(&how, "10.20.1.11", 1);
    check_allowed(&how, "10.20.1.13", 0);
    check_allowed(&how, "2001:db8::2a", 0);

    how.networks = networks + 1;
    how.nnetworks = 1;
    check_allowed(&how, "10.20.1.11", 0);
}


static void
test_unavailable(void)
{
    dfd_addr_t   addr;
    dfd_lookup_t lookup;

    addr = fleet_addr("10.20.1.11");
    dfd_lookup(&lookup, NULL, &conf, &addr, FLEET_NOW, "no-data");

    unit_int(lookup.match.verdict, DFD_MATCH_UNAVAILABLE, "no snapshot");
    unit_int(lookup.device.id.len, 0, "no device");
    check_entity(&lookup,
                 "{\"source\":\"Microsoft Defender\","
                 "\"match\":\"unavailable\",\"reason\":\"no-data\","
                 "\"ip\":\"10.20.1.11\",\"at\":\"2026-11-25T01:00:00Z\"}",
                 "unavailable");
}


/* 172.17.0.1 on a dozen hosts: eight are listed, all are counted */
static void
test_many_candidates(void)
{
    int                 i;
    char                expected[2048];
    static char         texts[12][256];
    const char         *machines[12];
    size_t              len;
    dfd_snapshot_info_t info;

    for (i = 0; i < 12; i++) {
        (void) snprintf(texts[i], sizeof(texts[i]),
                        "{\"id\":\"h%d\",\"computerDnsName\":\"host-%d\","
                        "\"lastSeen\":\"2026-11-25T00:%02d:00Z\","
                        "\"ipAddresses\":[{\"ipAddress\":\"172.17.0.1\"}]}",
                        i, i, 10 + i);
        machines[i] = texts[i];
    }

    dfd_snapshot_close(snapshot);
    snapshot = fleet_open(machines, 12, &info);

    if (snapshot == NULL) {
        return;
    }

    len = (size_t) snprintf(expected, sizeof(expected), "%s,\"candidates\":[",
                            ANSWER("ambiguous", "172.17.0.1"));

    for (i = 11; i > 3; i--) {
        len += (size_t) snprintf(
            expected + len, sizeof(expected) - len,
            "%s{\"id\":\"h%d\",\"computerDnsName\":\"host-%d\","
            "\"lastSeen\":\"2026-11-25T00:%02d:00Z\"}",
            i == 11 ? "" : ",", i, i, 10 + i);
    }

    (void) snprintf(expected + len, sizeof(expected) - len,
                    "],\"candidateCount\":12}");

    check("172.17.0.1", expected, "a dozen candidates");
}


/* a snapshot that does not know its poll says nothing of it */
static void
test_no_as_of(void)
{
    char                    error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_info_t     info;
    dfd_snapshot_builder_t *builder;

    dfd_snapshot_close(snapshot);
    snapshot = NULL;
    memset(&info, 0, sizeof(info));
    info.as_of = DFD_TIME_NONE;
    info.source = 0;
    builder = fleet_builder(error);

    if (builder != NULL
        && dfd_snapshot_builder_finish(builder, &info, error) == 0) {
        snapshot = dfd_snapshot_open(fleet_path, error);
    }

    dfd_snapshot_builder_destroy(builder);

    if (!unit_ok(snapshot != NULL, "a snapshot without asOf")) {
        return;
    }

    check("10.20.1.11",
          "{\"source\":\"Microsoft Defender\",\"match\":\"none\","
          "\"ip\":\"10.20.1.11\",\"at\":\"2026-11-25T01:00:00Z\"}",
          "an answer without asOf");
}


static void
test_names(void)
{
    unit_str(dfd_verdict_name(DFD_MATCH_EXACT), "exact", "exact");
    unit_str(dfd_verdict_name(DFD_MATCH_LIKELY), "likely", "likely");
    unit_str(dfd_verdict_name(DFD_MATCH_AMBIGUOUS), "ambiguous", "ambiguous");
    unit_str(dfd_verdict_name(DFD_MATCH_STALE), "stale", "stale");
    unit_str(dfd_verdict_name(DFD_MATCH_NONE), "none", "none");
    unit_str(dfd_verdict_name(DFD_MATCH_UNAVAILABLE), "unavailable",
             "unavailable");
}


int
main(void)
{
    dfd_snapshot_info_t info;

    fleet_start();
    snapshot = fleet_open(fleet, FLEET, &info);

    if (snapshot != NULL) {
        test_entities();
        test_texts();
        test_moments();
        test_networks();
        test_unavailable();
        test_many_candidates();
        test_no_as_of();
    }

    test_names();

    dfd_snapshot_close(snapshot);
    fleet_stop();

    return unit_done();
}
