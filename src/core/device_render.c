#include "core/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define DFD_DEVICE_PORTAL_ID 40 /* hex digits of an id the portal knows */

#define DFD_DEVICE_FIRST_SIZE 4096

#define DFD_DEVICE_JSON_FLAGS (JSON_ENCODE_ANY | JSON_COMPACT)


typedef enum {
    DFD_MEMBER_TEXT,
    DFD_MEMBER_INTEGER,
    DFD_MEMBER_TAGS,
    DFD_MEMBER_OBJECT
} dfd_member_kind_t;


typedef struct {
    const char       *name;
    dfd_member_kind_t kind;
    int               text; /* DFD_DEVICE_*, or -1 */
} dfd_member_t;


static const dfd_member_t dfd_device_head[] = {
    { "id", DFD_MEMBER_TEXT, DFD_DEVICE_ID },
    { "computerDnsName", DFD_MEMBER_TEXT, DFD_DEVICE_NAME },
    { "osPlatform", DFD_MEMBER_TEXT, DFD_DEVICE_OS_PLATFORM },
    { "version", DFD_MEMBER_TEXT, -1 },
    { "osBuild", DFD_MEMBER_INTEGER, -1 },
};

static const dfd_member_t dfd_device_tail[] = {
    { "lastSeen", DFD_MEMBER_TEXT, DFD_DEVICE_LAST_SEEN },
    { "firstSeen", DFD_MEMBER_TEXT, -1 },
    { "healthStatus", DFD_MEMBER_TEXT, DFD_DEVICE_HEALTH_STATUS },
    { "riskScore", DFD_MEMBER_TEXT, DFD_DEVICE_RISK_SCORE },
    { "exposureLevel", DFD_MEMBER_TEXT, DFD_DEVICE_EXPOSURE_LEVEL },
    { "onboardingStatus", DFD_MEMBER_TEXT, -1 },
    { "deviceValue", DFD_MEMBER_TEXT, -1 },
    { "machineTags", DFD_MEMBER_TAGS, -1 },
    { "rbacGroupName", DFD_MEMBER_TEXT, -1 },
    { "aadDeviceId", DFD_MEMBER_TEXT, -1 },
    { "managedBy", DFD_MEMBER_TEXT, -1 },
    { "agentVersion", DFD_MEMBER_TEXT, -1 },
    { "lastExternalIpAddress", DFD_MEMBER_TEXT, -1 },
    { "vmMetadata", DFD_MEMBER_OBJECT, -1 },
};

#define DFD_DEVICE_HEAD (sizeof(dfd_device_head) / sizeof(dfd_member_t))
#define DFD_DEVICE_TAIL (sizeof(dfd_device_tail) / sizeof(dfd_member_t))

#define DFD_DEVICE_NAMES 2 /* members of the head that a candidate shows */


/* room for len more bytes, or NULL */
static char *
dfd_device_room(dfd_device_record_t *record, size_t len)
{
    char  *data;
    size_t size;

    if (record->failed) {
        return NULL;
    }

    if (record->size - record->len >= len) {
        return record->data + record->len;
    }

    size = (record->size == 0) ? DFD_DEVICE_FIRST_SIZE : record->size;

    while (size - record->len < len && size < UINT32_MAX / 2) {
        size *= 2;
    }

    /* offsets are 32 bits wide */
    if (size - record->len < len) {
        record->failed = 1;
        return NULL;
    }

    data = realloc(record->data, size);

    if (data == NULL) {
        record->failed = 1;
        return NULL;
    }

    record->data = data;
    record->size = size;

    return data + record->len;
}


static void
dfd_device_put(dfd_device_record_t *record, const char *bytes, size_t len)
{
    char *room;

    room = dfd_device_room(record, len);

    if (room != NULL) {
        memcpy(room, bytes, len);
        record->len += len;
    }
}


static void
dfd_device_put_json(dfd_device_record_t *record, const json_t *value)
{
    char  *room;
    size_t len;

    len = json_dumpb(value, NULL, 0, DFD_DEVICE_JSON_FLAGS);
    room = dfd_device_room(record, len);

    if (len == 0) {
        record->failed = 1;

    } else if (room != NULL) {
        (void) json_dumpb(value, room, len, DFD_DEVICE_JSON_FLAGS);
        record->len += len;
    }
}


/*
 * Writes a JSON string.  Most need no escape and are copied, because jansson
 * takes a microsecond for each; then raw tells where the text itself lies.
 */
static void
dfd_device_put_text(dfd_device_record_t *record, const json_t *text,
                    dfd_device_span_t *raw)
{
    size_t               i, len;
    const char          *p;
    const unsigned char *bytes;

    p = json_string_value(text);
    bytes = (const unsigned char *) p;
    len = json_string_length(text);

    for (i = 0; i < len; i++) {
        if (bytes[i] < 0x20 || bytes[i] == '"' || bytes[i] == '\\') {
            dfd_device_put_json(record, text);
            return;
        }
    }

    dfd_device_put(record, "\"", 1);
    raw->offset = (uint32_t) record->len;
    raw->len = (uint32_t) len;
    dfd_device_put(record, p, len);
    dfd_device_put(record, "\"", 1);
}


/* returns 0 when there is no tag to show */
static int
dfd_device_put_tags(dfd_device_record_t *record, const json_t *tags)
{
    size_t            i;
    char              before;
    const json_t     *tag;
    dfd_device_span_t raw;

    before = '[';

    for (i = 0; i < json_array_size(tags); i++) {
        tag = json_array_get(tags, i);

        if (json_string_length(tag) != 0) {
            dfd_device_put(record, &before, 1);
            dfd_device_put_text(record, tag, &raw);
            before = ',';
        }
    }

    dfd_device_put(record, "]", 1);

    return before == ',';
}


/* returns 0 when there is nothing in it but nulls */
static int
dfd_device_put_object(dfd_device_record_t *record, json_t *object)
{
    int         filled;
    json_t     *copy, *value;
    const char *name;

    if (!json_is_object(object)) {
        return 0;
    }

    copy = json_object();

    if (copy == NULL) {
        record->failed = 1;
        return 0;
    }

    json_object_foreach(object, name, value)
    {
        if (!json_is_null(value)
            && json_object_set_nocheck(copy, name, value) != 0) {
            record->failed = 1;
        }
    }

    filled = json_object_size(copy) != 0;

    if (filled) {
        dfd_device_put_json(record, copy);
    }

    json_decref(copy);

    return filled;
}


static int
dfd_device_put_value(dfd_device_record_t *record, const dfd_member_t *member,
                     json_t *value)
{
    int               len;
    char              digits[32];
    dfd_device_span_t unused;

    switch (member->kind) {

    case DFD_MEMBER_TEXT:
        if (json_string_length(value) == 0) {
            return 0;
        }

        dfd_device_put_text(
            record, value,
            member->text < 0 ? &unused : &record->layout.texts[member->text]);
        return 1;

    case DFD_MEMBER_INTEGER:
        if (!json_is_integer(value)) {
            return 0;
        }

        len = snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
                       json_integer_value(value));
        dfd_device_put(record, digits, (size_t) len);
        return 1;

    case DFD_MEMBER_TAGS:
        return dfd_device_put_tags(record, value);

    case DFD_MEMBER_OBJECT:
        return dfd_device_put_object(record, value);
    }

    return 0;
}


/* `"name":`, after a comma unless it is the first of its run */
static void
dfd_device_put_name(dfd_device_record_t *record, size_t run, const char *name)
{
    if (record->len != run) {
        dfd_device_put(record, ",", 1);
    }

    dfd_device_put(record, "\"", 1);
    dfd_device_put(record, name, strlen(name));
    dfd_device_put(record, "\":", 2);
}


static void
dfd_device_put_members(dfd_device_record_t *record, const dfd_device_t *device,
                       size_t run, const dfd_member_t *members, size_t n)
{
    size_t i, before;

    for (i = 0; i < n; i++) {
        before = record->len;
        dfd_device_put_name(record, run, members[i].name);

        if (!dfd_device_put_value(
                record, &members[i],
                json_object_get(device->machine, members[i].name)))
        {
            record->len = before;
        }
    }
}


/* The portal has pages for ids of the usual form only. */
static void
dfd_device_put_portal(dfd_device_record_t *record, const dfd_device_t *device,
                      size_t run, const char *portal)
{
    json_t     *url;
    const char *id;

    id = json_string_value(json_object_get(device->machine, "id"));

    if (strlen(id) != DFD_DEVICE_PORTAL_ID
        || strspn(id, "0123456789abcdefABCDEF") != DFD_DEVICE_PORTAL_ID)
    {
        return;
    }

    url = json_sprintf("%s/machines/%s", portal, id);

    if (url == NULL) {
        record->failed = 1;
        return;
    }

    dfd_device_put_name(record, run, "portalUrl");
    dfd_device_put_json(record, url);
    json_decref(url);
}


/* texts that JSON shows escaped lie once more behind it, as they came */
static void
dfd_device_put_raw(dfd_device_record_t *record, const dfd_device_t *device,
                   const dfd_member_t *members, size_t n)
{
    size_t             i;
    const json_t      *text;
    dfd_device_span_t *span;

    for (i = 0; i < n; i++) {
        if (members[i].text < 0) {
            continue;
        }

        text = json_object_get(device->machine, members[i].name);
        span = &record->layout.texts[members[i].text];

        if (span->len == 0 && json_string_length(text) != 0) {
            span->offset = (uint32_t) record->len;
            span->len = (uint32_t) json_string_length(text);
            dfd_device_put(record, json_string_value(text), span->len);
        }
    }
}


static void
dfd_device_put_macs(dfd_device_record_t *record, const dfd_device_t *device)
{
    size_t            at, where;
    uint32_t          i;
    const json_t     *mac, *previous;
    dfd_device_span_t raw;

    where = 0;
    previous = NULL;

    for (i = 0; i < device->naddrs; i++) {
        record->macs[i] = 0;
        mac = device->addrs[i].mac;

        if (mac == NULL) {
            continue;
        }

        /* the addresses of one interface mostly follow each other */
        if (previous == NULL || !json_equal(mac, previous)) {
            at = record->len;
            where = sizeof(dfd_device_layout_t) + at;
            dfd_device_put(record, "", 1);
            dfd_device_put_text(record, mac, &raw);

            if (record->failed) {
                return;
            }

            /* at most six bytes for each of the MAC's, and two quotes */
            record->data[at] = (char) (record->len - at - 1);
            previous = mac;
        }

        /* hundreds of MACs that are none may not fit: these are not shown */
        if (where <= UINT16_MAX) {
            record->macs[i] = (uint16_t) where;
        }
    }
}


static void
dfd_device_put_head(dfd_device_record_t *record, const dfd_device_t *device)
{
    size_t               run;
    dfd_device_layout_t *layout;

    layout = &record->layout;
    run = record->len;
    layout->head.offset = (uint32_t) run;
    layout->names.offset = (uint32_t) run;

    dfd_device_put_members(record, device, run, dfd_device_head,
                           DFD_DEVICE_NAMES);
    layout->names.len = (uint32_t) (record->len - run);

    dfd_device_put_members(record, device, run,
                           dfd_device_head + DFD_DEVICE_NAMES,
                           DFD_DEVICE_HEAD - DFD_DEVICE_NAMES);
    layout->head.len = (uint32_t) (record->len - run);
}


static void
dfd_device_put_tail(dfd_device_record_t *record, const dfd_device_t *device,
                    const char *portal)
{
    size_t               run;
    dfd_device_layout_t *layout;

    layout = &record->layout;
    run = record->len;
    layout->seen.offset = (uint32_t) run;
    layout->tail.offset = (uint32_t) run;

    dfd_device_put_members(record, device, run, dfd_device_tail, 1);
    layout->seen.len = (uint32_t) (record->len - run);

    dfd_device_put_members(record, device, run, dfd_device_tail + 1,
                           DFD_DEVICE_TAIL - 1);
    dfd_device_put_portal(record, device, run, portal);
    layout->tail.len = (uint32_t) (record->len - run);
}


int
dfd_device_render(dfd_device_record_t *record, const dfd_device_t *device,
                  const char *portal)
{
    memset(&record->layout, 0, sizeof(dfd_device_layout_t));
    record->len = 0;
    record->failed = 0;

    /* in the order of use: the layout is read first, then these */
    dfd_device_put_macs(record, device);
    dfd_device_put_head(record, device);
    dfd_device_put_tail(record, device, portal);

    dfd_device_put_raw(record, device, dfd_device_head, DFD_DEVICE_HEAD);
    dfd_device_put_raw(record, device, dfd_device_tail, DFD_DEVICE_TAIL);

    record->layout.size =
        (uint32_t) (sizeof(dfd_device_layout_t) + record->len);

    return record->failed ? -1 : 0;
}


void
dfd_device_record_free(dfd_device_record_t *record)
{
    free(record->data);
    memset(record, 0, sizeof(dfd_device_record_t));
}
