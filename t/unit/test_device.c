#include "core/device.h"
#include "core/match.h"
#include "core/timestamp.h"

#include "unit.h"

#include <stdlib.h>


#define ID     "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
#define PORTAL "https://security.microsoft.com"

#define PORTAL_URL "\"portalUrl\":\"" PORTAL "/machines/" ID "\""


static dfd_device_t        device;
static dfd_device_record_t record;


/* reads one machine; the caller frees what it gets */
static json_t *
load(const char *json, int expected)
{
    json_t *machine;

    machine = json_loads(json, JSON_ALLOW_NUL, NULL);

    if (machine == NULL) {
        unit_ok(0, "the test's own JSON: %s", json);
        exit(unit_done());
    }

    memset(&device, 0xaa, sizeof(device));

    if (dfd_device_read(&device, machine) != expected) {
        unit_int(!expected, expected, "read %s", json);
    }

    return machine;
}


/* "address/evidence/mac ..." of the device last read */
static const char *
addresses(void)
{
    char        text[DFD_ADDR_TEXT];
    size_t      len;
    uint32_t    i;
    const char *mac;
    static char all[4096];

    len = 0;
    all[0] = '\0';

    for (i = 0; i < device.naddrs; i++) {
        (void) dfd_addr_format(&device.addrs[i].addr, text);
        mac = json_string_value(device.addrs[i].mac);

        len += (size_t) snprintf(
            all + len, sizeof(all) - len, "%s%s/%d/%s", i == 0 ? "" : " ",
            text, device.addrs[i].evidence, mac == NULL ? "" : mac);
    }

    return all;
}


static void
check_addresses(const char *json, const char *expected, const char *name)
{
    json_t *machine;

    machine = load(json, 1);
    unit_str(addresses(), expected, "%s", name);
    json_decref(machine);
}


static void
check_entity(const char *json, const char *head, const char *tail,
             const char *name)
{
    json_t *machine;

    machine = load(json, 1);
    unit_int(dfd_device_render(&record, &device, PORTAL), 0, "%s", name);

    unit_mem(record.data + record.layout.head.offset, record.layout.head.len,
             head, strlen(head), "%s: before the MAC", name);
    unit_mem(record.data + record.layout.tail.offset, record.layout.tail.len,
             tail, strlen(tail), "%s: behind the MAC", name);

    json_decref(machine);
}


static void
check_text(unsigned text, const char *expected, size_t len, const char *name)
{
    const dfd_device_span_t *span;

    span = &record.layout.texts[text];
    unit_mem(record.data + span->offset, span->len, expected, len, "%s", name);
}


static void
test_addresses(void)
{
    check_addresses("{\"id\":\"" ID "\",\"lastIpAddress\":\"10.20.1.12\","
                    "\"ipAddresses\":["
                    "{\"ipAddress\":\"10.20.1.12\","
                    "\"macAddress\":\"00005E005301\","
                    "\"type\":\"Ethernet\",\"operationalStatus\":\"Up\"},"
                    "{\"ipAddress\":\"2001:DB8::2A\","
                    "\"macAddress\":\"00005E005301\","
                    "\"operationalStatus\":\"up\"},"
                    "{\"ipAddress\":\"10.20.9.9\","
                    "\"macAddress\":\"00005E005302\","
                    "\"operationalStatus\":\"Down\"},"
                    "{\"ipAddress\":\"10.20.9.8\"}]}",
                    "10.20.1.12/3/00005E005301 2001:db8::2a/2/00005E005301 "
                    "10.20.9.9/1/00005E005302 10.20.9.8/1/",
                    "evidence and MAC of each address");

    check_addresses("{\"id\":\"x\",\"lastIpAddress\":\"10.166.113.46\","
                    "\"ipAddresses\":[{\"ipAddress\":\"10.166.113.47\","
                    "\"macAddress\":\"8CEC4B897E73\","
                    "\"operationalStatus\":\"Up\"}]}",
                    "10.166.113.46/3/ 10.166.113.47/2/8CEC4B897E73",
                    "a lastIpAddress that is none of the entries");

    check_addresses("{\"id\":\"x\",\"lastExternalIpAddress\":\"203.0.113.7\"}",
                    "", "the external address is not the device's");

    check_addresses(
        "{\"id\":\"x\",\"lastIpAddress\":\"127.0.0.1\",\"ipAddresses\":["
        "{\"ipAddress\":\"127.0.0.1\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"::1\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"169.254.10.20\",\"operationalStatus\":\"Down\"},"
        "{\"ipAddress\":\"fe80::1\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"fe80::1%3\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"0.0.0.0\"},{\"ipAddress\":\"::\"},"
        "{\"ipAddress\":\"10.20.1.11\"}]}",
        "10.20.1.11/1/", "addresses that everybody has");

    check_addresses("{\"id\":\"x\",\"lastIpAddress\":null,"
                    "\"lastExternalIpAddress\":\"\",\"ipAddresses\":["
                    "{\"ipAddress\":\"\"},{\"ipAddress\":\"-\"},"
                    "{\"ipAddress\":null},{},null,7,\"10.20.1.11\",[],"
                    "{\"ipAddress\":17},{\"ipAddress\":[\"10.20.1.11\"]},"
                    "{\"ipAddress\":\"10.20.1.11:80\"},"
                    "{\"ipAddress\":\"010.020.001.011\"}]}",
                    "", "address fields that hold no address");

    check_addresses("{\"id\":\"x\",\"ipAddresses\":null}", "", "no list");
    check_addresses("{\"id\":\"x\",\"ipAddresses\":{\"ipAddress\":"
                    "\"10.20.1.11\"}}",
                    "", "an object in place of the list");

    check_addresses("{\"id\":\"x\",\"lastIpAddress\":\"::ffff:10.20.1.11\","
                    "\"ipAddresses\":[{\"ipAddress\":\"::FFFF:0A14:010B\","
                    "\"macAddress\":\"00005E005301\"}]}",
                    "10.20.1.11/3/00005E005301", "IPv4 dressed as IPv6");
}


static void
test_doubled_addresses(void)
{
    check_addresses(
        "{\"id\":\"x\",\"ipAddresses\":["
        "{\"ipAddress\":\"10.20.1.11\",\"macAddress\":\"00005E005301\"},"
        "{\"ipAddress\":\"10.20.1.11\",\"macAddress\":\"00005E005302\","
        "\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"10.20.1.11\",\"macAddress\":\"00005E005303\"}]}",
        "10.20.1.11/2/00005E005302", "the best of three entries");

    check_addresses(
        "{\"id\":\"x\",\"ipAddresses\":["
        "{\"ipAddress\":\"10.20.1.11\",\"operationalStatus\":\"Up\"},"
        "{\"ipAddress\":\"10.20.1.11\",\"macAddress\":\"00005E005303\"}]}",
        "10.20.1.11/2/00005E005303", "a MAC that only the weaker one has");

    check_addresses("{\"id\":\"x\",\"ipAddresses\":["
                    "{\"ipAddress\":\"10.20.1.11\","
                    "\"macAddress\":\"000000000000\"},"
                    "{\"ipAddress\":\"10.20.1.12\","
                    "\"macAddress\":\"00:00:00:00:00:00\"},"
                    "{\"ipAddress\":\"10.20.1.13\",\"macAddress\":null},"
                    "{\"ipAddress\":\"10.20.1.14\",\"macAddress\":\"\"},"
                    "{\"ipAddress\":\"10.20.1.15\",\"macAddress\":12},"
                    "{\"ipAddress\":\"10.20.1.16\",\"macAddress\":\""
                    "0123456789012345678901234567890123456789x\"}]}",
                    "10.20.1.11/1/ 10.20.1.12/1/ 10.20.1.13/1/ "
                    "10.20.1.14/1/ 10.20.1.15/1/ 10.20.1.16/1/",
                    "MACs that say nothing");
}


static void
test_many_addresses(void)
{
    int      i;
    char     text[32];
    json_t  *machine, *list;
    uint32_t n, up, last;

    machine = json_pack("{s:s}", "id", "x");
    list = json_array();

    /* the first 600 are down, the next 600 up */
    for (i = 0; i < 1200; i++) {
        (void) snprintf(text, sizeof(text), "10.9.%d.%d", i / 200,
                        i % 200 + 1);
        json_array_append_new(list, json_pack("{s:s,s:s}", "ipAddress", text,
                                              "operationalStatus",
                                              i < 600 ? "Down" : "Up"));
    }

    json_object_set_new(machine, "ipAddresses", list);
    json_object_set_new(machine, "lastIpAddress", json_string("10.8.0.1"));

    unit_int(dfd_device_read(&device, machine), 1, "1,201 addresses");
    unit_int(device.naddrs, DFD_DEVICE_MAX_ADDRS, "are cut at the bound");

    up = 0;
    last = 0;

    for (n = 0; n < device.naddrs; n++) {
        up += device.addrs[n].evidence == DFD_EVIDENCE_UP;
        last += device.addrs[n].evidence == DFD_EVIDENCE_LAST;
    }

    unit_int(last, 1, "the last address stays");
    unit_int(up, DFD_DEVICE_MAX_ADDRS - 1, "then those that are up");

    json_decref(machine);
}


static void
test_no_machine(void)
{
    size_t                   i;
    json_t                  *json;
    char                     longest[DFD_DEVICE_MAX_ID + 2];
    static const char *const bad[] = {
        "[]",
        "[{\"id\":\"x\"}]",
        "{}",
        "{\"id\":null}",
        "{\"id\":\"\"}",
        "{\"id\":17}",
        "{\"id\":{\"id\":\"x\"}}",
        "{\"id\":\"a\\nb\"}",
        "{\"id\":\"a\\u0000b\"}",
        "{\"id\":\"a\\u007fb\"}",
        "{\"ID\":\"x\"}",
    };

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json = json_loads(bad[i], JSON_ALLOW_NUL, NULL);
        unit_int(dfd_device_read(&device, json), 0, "no machine: %s", bad[i]);
        json_decref(json);
    }

    unit_int(dfd_device_read(&device, NULL), 0, "no value at all");

    memset(longest, 'x', sizeof(longest));
    longest[DFD_DEVICE_MAX_ID + 1] = '\0';

    json = json_pack("{s:s}", "id", longest);
    unit_int(dfd_device_read(&device, json), 0, "an id that is too long");
    json_decref(json);

    json = json_pack("{s:s}", "id", longest + 1);
    unit_int(dfd_device_read(&device, json), 1, "the longest id");
    json_decref(json);

    json = load("{\"id\":\"\xc3\xa4 \\\"/\\\\ <b>\"}", 1);
    json_decref(json);
}


static void
test_state(void)
{
    json_t *machine;

    machine = load("{\"id\":\"x\",\"mergedIntoMachineId\":\"" ID "\","
                   "\"lastIpAddress\":\"10.20.1.11\"}",
                   1);
    unit_ok(device.merged && device.naddrs == 0,
            "a merged record has no address to claim");
    json_decref(machine);

    machine = load("{\"id\":\"x\",\"mergedIntoMachineId\":\"\","
                   "\"healthStatus\":\"Inactive\","
                   "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\"}",
                   1);
    unit_ok(!device.merged, "an empty mergedIntoMachineId says nothing");
    unit_ok(device.inactive, "Inactive");
    unit_int(device.last_seen, 1795567800 * DFD_TICKS_PER_SECOND + 1234567,
             "lastSeen");
    json_decref(machine);

    machine = load("{\"id\":\"x\",\"mergedIntoMachineId\":null,"
                   "\"healthStatus\":\"NoSensorData\","
                   "\"lastSeen\":\"yesterday\"}",
                   1);
    unit_ok(!device.merged, "null does not either");
    unit_ok(!device.inactive, "other states are not Inactive");
    unit_ok(device.last_seen == DFD_TIME_NONE, "a lastSeen that is none");
    json_decref(machine);

    machine = load("{\"id\":\"x\",\"mergedIntoMachineId\":7,"
                   "\"healthStatus\":true,\"lastSeen\":1795567800}",
                   1);
    unit_ok(!device.merged && !device.inactive
                && device.last_seen == DFD_TIME_NONE,
            "wrong types say nothing");
    json_decref(machine);
}


static void
test_entity(void)
{
    check_entity(
        "{\"id\":\"" ID "\",\"mergedIntoMachineId\":null,"
        "\"isPotentialDuplication\":false,\"isExcluded\":false,"
        "\"exclusionReason\":null,"
        "\"computerDnsName\":\"ws-ana.corp.example\","
        "\"firstSeen\":\"2026-01-02T03:04:05.9Z\","
        "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
        "\"osPlatform\":\"Windows11\",\"osVersion\":null,"
        "\"osProcessor\":\"x64\",\"version\":\"22H2\","
        "\"lastIpAddress\":\"10.20.1.11\","
        "\"lastExternalIpAddress\":\"203.0.113.7\","
        "\"agentVersion\":\"10.8790.19045.5608\",\"osBuild\":22621,"
        "\"healthStatus\":\"Active\",\"deviceValue\":\"Normal\","
        "\"rbacGroupId\":0,\"rbacGroupName\":\"The-A-Team\","
        "\"riskScore\":\"Medium\",\"exposureLevel\":\"High\","
        "\"isAadJoined\":true,"
        "\"aadDeviceId\":\"d78dc223-8dc8-4210-9700-019b3b03505b\","
        "\"machineTags\":[\"Tier 1\",\"caf\xc3\xa9\"],"
        "\"onboardingStatus\":\"Onboarded\",\"osArchitecture\":\"64-bit\","
        "\"managedBy\":\"Intune\",\"managedByStatus\":\"Success\","
        "\"ipAddresses\":[],\"vmMetadata\":{\"vmId\":\"v-1\","
        "\"cloudProvider\":\"Azure\",\"resourceId\":null,"
        "\"subscriptionId\":\"s-1\"}}",

        "\"id\":\"" ID "\",\"computerDnsName\":\"ws-ana.corp.example\","
        "\"osPlatform\":\"Windows11\",\"version\":\"22H2\",\"osBuild\":22621",

        "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
        "\"firstSeen\":\"2026-01-02T03:04:05.9Z\","
        "\"healthStatus\":\"Active\",\"riskScore\":\"Medium\","
        "\"exposureLevel\":\"High\",\"onboardingStatus\":\"Onboarded\","
        "\"deviceValue\":\"Normal\","
        "\"machineTags\":[\"Tier 1\",\"caf\xc3\xa9\"],"
        "\"rbacGroupName\":\"The-A-Team\","
        "\"aadDeviceId\":\"d78dc223-8dc8-4210-9700-019b3b03505b\","
        "\"managedBy\":\"Intune\",\"agentVersion\":\"10.8790.19045.5608\","
        "\"lastExternalIpAddress\":\"203.0.113.7\","
        "\"vmMetadata\":{\"vmId\":\"v-1\",\"cloudProvider\":\"Azure\","
        "\"subscriptionId\":\"s-1\"}," PORTAL_URL,
        "a whole machine");

    check_text(DFD_DEVICE_ID, ID, 40, "raw id");
    check_text(DFD_DEVICE_NAME, "ws-ana.corp.example", 19, "raw name");
    check_text(DFD_DEVICE_OS_PLATFORM, "Windows11", 9, "raw platform");
    check_text(DFD_DEVICE_HEALTH_STATUS, "Active", 6, "raw health");
    check_text(DFD_DEVICE_RISK_SCORE, "Medium", 6, "raw risk");
    check_text(DFD_DEVICE_EXPOSURE_LEVEL, "High", 4, "raw exposure");
    check_text(DFD_DEVICE_LAST_SEEN, "2026-11-25T00:50:00.1234567Z", 28,
               "raw lastSeen");

    unit_mem(record.data + record.layout.names.offset, record.layout.names.len,
             "\"id\":\"" ID "\",\"computerDnsName\":\"ws-ana.corp.example\"",
             87, "what a candidate shows");
    unit_mem(record.data + record.layout.seen.offset, record.layout.seen.len,
             "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\"", 41,
             "and when it was seen");
}


static void
test_missing(void)
{
    check_entity("{\"id\":\"x\"}", "\"id\":\"x\"", "",
                 "a machine of an id alone");
    unit_int(record.layout.seen.len, 0, "it was never seen");
    check_text(DFD_DEVICE_NAME, "", 0, "and has no name");

    check_entity("{\"id\":\"" ID "\"}", "\"id\":\"" ID "\"", PORTAL_URL,
                 "the portal knows ids of forty hex digits");

    check_entity("{\"id\":\"" ID "0\"}", "\"id\":\"" ID "0\"", "",
                 "and no other");

    check_entity(
        "{\"id\":\"x\",\"computerDnsName\":null,\"osPlatform\":\"\","
        "\"version\":22,\"osBuild\":null,\"lastSeen\":\"\","
        "\"firstSeen\":false,\"healthStatus\":[],\"riskScore\":{},"
        "\"exposureLevel\":0.5,\"machineTags\":[],\"vmMetadata\":null,"
        "\"managedBy\":null,\"aadDeviceId\":null}",
        "\"id\":\"x\"", "", "members without a value");

    check_entity("{\"id\":\"x\",\"osBuild\":\"19045\",\"machineTags\":\"a\","
                 "\"vmMetadata\":\"Azure\"}",
                 "\"id\":\"x\"", "", "members of another type");

    check_entity("{\"id\":\"x\",\"osBuild\":19045.0,"
                 "\"machineTags\":[null,\"\",7,[\"b\"]],"
                 "\"vmMetadata\":{\"vmId\":null,\"resourceId\":null}}",
                 "\"id\":\"x\"", "", "nothing in them");

    check_entity("{\"id\":\"x\",\"osBuild\":-9223372036854775808,"
                 "\"machineTags\":[null,\"a\",7,\"b\"],"
                 "\"vmMetadata\":{\"vmId\":\"\",\"n\":1,\"deep\":[null]}}",
                 "\"id\":\"x\",\"osBuild\":-9223372036854775808",
                 "\"machineTags\":[\"a\",\"b\"],"
                 "\"vmMetadata\":{\"vmId\":\"\",\"n\":1,\"deep\":[null]}",
                 "what is left of odd ones");

    check_entity("{\"id\":\"x\",\"vmMetadata\":{\"vmId\":\"v\"}}",
                 "\"id\":\"x\"", "\"vmMetadata\":{\"vmId\":\"v\"}",
                 "no comma before the first of a run");
}


static void
test_unknown_words(void)
{
    check_entity(
        "{\"id\":\"x\",\"onboardingStatus\":\"InsufficientInfo\","
        "\"riskScore\":\"Brand New\",\"healthStatus\":\"NoSensorData\","
        "\"defenderAvStatus\":\"NotSupported\","
        "\"osPlatform\":\"RedHatEnterpriseLinux\",\"managedBy\":\"Intune\"}",
        "\"id\":\"x\",\"osPlatform\":\"RedHatEnterpriseLinux\"",
        "\"healthStatus\":\"NoSensorData\",\"riskScore\":\"Brand New\","
        "\"onboardingStatus\":\"InsufficientInfo\",\"managedBy\":\"Intune\"",
        "words that Microsoft does not list");
}


static void
test_escapes(void)
{
    char              json[1024], head[1024], name[301];
    static const char raw[] = "a\"b\\c/d\n\t\x01\0e\xc3\xa4\xe2\x82\xac";

    check_entity("{\"id\":\"i\\\"d\",\"computerDnsName\":"
                 "\"a\\\"b\\\\c\\/d\\n\\t\\u0001\\u0000e\\u00e4\\u20ac\","
                 "\"machineTags\":[\"\\\"\"],\"riskScore\":\"\\u0007\"}",
                 "\"id\":\"i\\\"d\",\"computerDnsName\":"
                 "\"a\\\"b\\\\c/d\\n\\t\\u0001\\u0000e\xc3\xa4\xe2\x82\xac\"",
                 "\"riskScore\":\"\\u0007\",\"machineTags\":[\"\\\"\"]",
                 "quotes, control characters and others");

    check_text(DFD_DEVICE_ID, "i\"d", 3, "the raw id");
    check_text(DFD_DEVICE_NAME, raw, sizeof(raw) - 1, "the raw name");
    check_text(DFD_DEVICE_RISK_SCORE, "\a", 1, "the raw risk");

    memset(name, 'n', 300);
    name[300] = '\0';
    (void) snprintf(json, sizeof(json),
                    "{\"id\":\"x\",\"computerDnsName\":\"%s\"}", name);
    (void) snprintf(head, sizeof(head),
                    "\"id\":\"x\",\"computerDnsName\":\"%s\"", name);

    check_entity(json, head, "", "a name of 300 characters");
    check_text(DFD_DEVICE_NAME, name, 300, "all of it");
}


static void
test_macs(void)
{
    json_t *machine;

    machine = load("{\"id\":\"x\",\"ipAddresses\":["
                   "{\"ipAddress\":\"10.0.0.1\",\"macAddress\":\"0A\"},"
                   "{\"ipAddress\":\"10.0.0.2\"},"
                   "{\"ipAddress\":\"10.0.0.3\",\"macAddress\":\"0A\"},"
                   "{\"ipAddress\":\"10.0.0.4\",\"macAddress\":\"0\\\"B\"}]}",
                   1);

    unit_int(dfd_device_render(&record, &device, PORTAL), 0, "MACs");
    unit_mem(record.data + record.macs[0] - sizeof(record.layout), 5,
             "\x04\"0A\"", 5, "the first");
    unit_int(record.macs[1], 0, "none");
    unit_int(record.macs[2], record.macs[0], "the first again");
    unit_mem(record.data + record.macs[3] - sizeof(record.layout), 7,
             "\x06\"0\\\"B\"", 7, "an odd one, as it came");
    unit_int(record.layout.head.offset, 5 + 7, "and nothing behind it");
    unit_int(record.layout.size, sizeof(record.layout) + record.len,
             "the size of all");

    json_decref(machine);
}


/* so long that they do not fit into sixteen bits */
static void
test_many_macs(void)
{
    int      i;
    char     text[32], mac[64];
    json_t  *machine, *list;
    uint32_t n, shown, wrong;

    machine = json_pack("{s:s}", "id", "x");
    list = json_array();

    for (i = 0; i < DFD_DEVICE_MAX_ADDRS; i++) {
        (void) snprintf(text, sizeof(text), "10.9.%d.%d", i / 200,
                        i % 200 + 1);
        (void) snprintf(mac, sizeof(mac),
                        "%04d\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
                        "\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1",
                        i + 1);
        json_array_append_new(list, json_pack("{s:s,s:s}", "ipAddress", text,
                                              "macAddress", mac));
    }

    json_object_set_new(machine, "ipAddresses", list);

    unit_int(dfd_device_read(&device, machine), 1, "very long MACs");
    unit_int(dfd_device_render(&record, &device, PORTAL), 0, "are written");

    shown = 0;
    wrong = 0;

    for (n = 0; n < device.naddrs; n++) {
        shown += record.macs[n] != 0;
        wrong += record.macs[n] != 0
              && (size_t) record.macs[n]
                     != sizeof(record.layout) + n * (1 + 2 + 4 + 36 * 6);
    }

    unit_int(shown, (UINT16_MAX - sizeof(record.layout)) / 223 + 1,
             "as many as can be found");
    unit_int(wrong, 0, "where they are");

    json_decref(machine);
}


int
main(void)
{
    test_addresses();
    test_doubled_addresses();
    test_many_addresses();
    test_no_machine();
    test_state();
    test_entity();
    test_missing();
    test_unknown_words();
    test_escapes();
    test_macs();
    test_many_macs();

    dfd_device_record_free(&record);

    return unit_done();
}
