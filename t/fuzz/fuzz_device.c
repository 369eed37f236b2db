#include "core/device.h"
#include "core/match.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/*
 * Any JSON value is a machine or is not; what is written of one is JSON, and
 * every piece lies inside the data.
 */

static dfd_device_t        device;
static dfd_device_record_t record;


static void
check(int held)
{
    if (!held) {
        abort();
    }
}


static void
check_span(const dfd_device_span_t *span)
{
    check(span->offset <= record.len
          && span->len <= record.len - span->offset);
}


/* are the members of a run, in braces, a JSON object? */
static void
check_run(const dfd_device_span_t *run)
{
    char   *text;
    json_t *object;

    check_span(run);
    text = malloc((size_t) run->len + 2);

    if (text == NULL) {
        return;
    }

    text[0] = '{';
    memcpy(text + 1, record.data + run->offset, run->len);
    text[run->len + 1] = '}';

    object = json_loadb(text, (size_t) run->len + 2,
                        JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    check(object != NULL);

    json_decref(object);
    free(text);
}


static void
check_text(unsigned text, const char *name)
{
    const json_t            *value;
    const dfd_device_span_t *span;

    value = json_object_get(device.machine, name);
    span = &record.layout.texts[text];

    check_span(span);
    check(span->len == json_string_length(value));
    check(span->len == 0
          || memcmp(record.data + span->offset, json_string_value(value),
                    span->len)
                 == 0);
}


static void
check_addresses(void)
{
    size_t   at, len;
    uint32_t i, j;
    json_t  *mac;

    check(device.naddrs <= DFD_DEVICE_MAX_ADDRS);

    for (i = 0; i < device.naddrs; i++) {
        check(!dfd_addr_is_special(&device.addrs[i].addr));
        check(device.addrs[i].evidence >= DFD_EVIDENCE_ENTRY
              && device.addrs[i].evidence <= DFD_EVIDENCE_LAST);

        for (j = 0; j < i; j++) {
            check(memcmp(&device.addrs[i].addr, &device.addrs[j].addr,
                         sizeof(dfd_addr_t))
                  != 0);
        }

        if (record.macs[i] == 0) {
            check(device.addrs[i].mac == NULL || record.len > UINT16_MAX / 2);
            continue;
        }

        check(record.macs[i] >= sizeof(record.layout)
              && record.macs[i] < record.layout.size);
        at = record.macs[i] - sizeof(record.layout);
        len = *((uint8_t *) record.data + at);
        check(len <= record.len - at - 1);

        mac = json_loadb(record.data + at + 1, len,
                         JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
        check(json_equal(mac, device.addrs[i].mac));
        json_decref(mac);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *machine;

    machine = json_loadb((const char *) data, size, JSON_ALLOW_NUL, NULL);

    if (machine != NULL && dfd_device_read(&device, machine)
        && dfd_device_render(&record, &device, "https://portal.example") == 0)
    {
        check_run(&record.layout.head);
        check_run(&record.layout.tail);
        check_run(&record.layout.names);
        check_run(&record.layout.seen);

        check_text(DFD_DEVICE_ID, "id");
        check_text(DFD_DEVICE_NAME, "computerDnsName");
        check_text(DFD_DEVICE_OS_PLATFORM, "osPlatform");
        check_text(DFD_DEVICE_HEALTH_STATUS, "healthStatus");
        check_text(DFD_DEVICE_RISK_SCORE, "riskScore");
        check_text(DFD_DEVICE_EXPOSURE_LEVEL, "exposureLevel");
        check_text(DFD_DEVICE_LAST_SEEN, "lastSeen");

        check_addresses();
    }

    json_decref(machine);

    return 0;
}
