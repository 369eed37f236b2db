#include "core/device.h"

#include "core/match.h"
#include "core/timestamp.h"

#include <string.h>
#include <strings.h>


/* the member when it is a string with something in it, else NULL */
static const json_t *
dfd_device_text(const json_t *object, const char *name)
{
    const json_t *value;

    value = json_object_get(object, name);

    return json_string_length(value) == 0 ? NULL : value;
}


static int
dfd_device_text_is(const json_t *text, const char *word)
{
    return text != NULL && json_string_length(text) == strlen(word)
        && strcasecmp(json_string_value(text), word) == 0;
}


static int
dfd_device_is_id(const json_t *id)
{
    size_t               i, len;
    const unsigned char *p;

    if (id == NULL) {
        return 0;
    }

    len = json_string_length(id);
    p = (const unsigned char *) json_string_value(id);

    for (i = 0; i < len; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f) {
            return 0;
        }
    }

    return len <= DFD_DEVICE_MAX_ID;
}


/*
 * A MAC says something unless it is all zeros, as Linux devices report it
 * for loopback.
 */
static const json_t *
dfd_device_mac(const json_t *entry)
{
    const char   *p;
    const json_t *mac;

    mac = dfd_device_text(entry, "macAddress");

    if (mac == NULL || json_string_length(mac) > DFD_DEVICE_MAX_MAC) {
        return NULL;
    }

    p = json_string_value(mac);

    return strspn(p, "0:-.") == json_string_length(mac) ? NULL : mac;
}


/* the place for an address: its own, a free one, or that of a weaker one */
static dfd_device_addr_t *
dfd_device_slot(dfd_device_t *device, const dfd_addr_t *addr, uint8_t evidence)
{
    uint32_t           i;
    dfd_device_addr_t *slot, *weakest;

    weakest = NULL;

    for (i = 0; i < device->naddrs; i++) {
        slot = &device->addrs[i];

        if (memcmp(&slot->addr, addr, sizeof(dfd_addr_t)) == 0) {
            return slot;
        }

        if (weakest == NULL || slot->evidence < weakest->evidence) {
            weakest = slot;
        }
    }

    if (device->naddrs < DFD_DEVICE_MAX_ADDRS) {
        slot = &device->addrs[device->naddrs++];

    } else if (weakest != NULL && weakest->evidence < evidence) {
        slot = weakest;

    } else {
        return NULL;
    }

    memset(slot, 0, sizeof(dfd_device_addr_t));
    slot->addr = *addr;

    return slot;
}


static void
dfd_device_add_addr(dfd_device_t *device, const json_t *text, uint8_t evidence,
                    const json_t *mac)
{
    dfd_addr_t         addr;
    dfd_device_addr_t *slot;

    if (text == NULL
        || !dfd_addr_parse(&addr, json_string_value(text),
                           json_string_length(text))
        || dfd_addr_is_special(&addr))
    {
        return;
    }

    slot = dfd_device_slot(device, &addr, evidence);

    if (slot == NULL) {
        return;
    }

    if (evidence > slot->evidence) {
        slot->evidence = evidence;
    }

    if (mac != NULL && evidence > slot->mac_evidence) {
        slot->mac_evidence = evidence;
        slot->mac = mac;
    }
}


static void
dfd_device_read_addrs(dfd_device_t *device)
{
    size_t        i;
    uint8_t       evidence;
    const json_t *entries, *entry;

    dfd_device_add_addr(device,
                        dfd_device_text(device->machine, "lastIpAddress"),
                        DFD_EVIDENCE_LAST, NULL);

    entries = json_object_get(device->machine, "ipAddresses");

    for (i = 0; i < json_array_size(entries); i++) {
        entry = json_array_get(entries, i);
        evidence = DFD_EVIDENCE_ENTRY;

        if (dfd_device_text_is(dfd_device_text(entry, "operationalStatus"),
                               "Up")) {
            evidence = DFD_EVIDENCE_UP;
        }

        dfd_device_add_addr(device, dfd_device_text(entry, "ipAddress"),
                            evidence, dfd_device_mac(entry));
    }
}


int
dfd_device_read(dfd_device_t *device, json_t *machine)
{
    const json_t *text;

    if (!dfd_device_is_id(dfd_device_text(machine, "id"))) {
        return 0;
    }

    device->machine = machine;
    device->naddrs = 0;
    device->last_seen = DFD_TIME_NONE;

    device->merged = dfd_device_text(machine, "mergedIntoMachineId") != NULL;
    device->inactive = dfd_device_text_is(
        dfd_device_text(machine, "healthStatus"), "Inactive");

    text = dfd_device_text(machine, "lastSeen");

    if (text != NULL) {
        device->last_seen =
            dfd_time_parse(json_string_value(text), json_string_length(text));
    }

    if (!device->merged) {
        dfd_device_read_addrs(device);
    }

    return 1;
}
