#include "core/settings.h"
#include "core/settings_id.h"
#include "core/timestamp.h"

#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>


#define DFD_SETTINGS_CLOUD_NAMES 128 /* room for all of them in a message */


typedef int (*dfd_settings_read_pt)(dfd_settings_t *settings, const char *name,
                                    const json_t         *value,
                                    dfd_settings_error_t *error);


typedef struct {
    const char          *name;
    dfd_settings_read_pt read;
} dfd_settings_member_t;


/*
 * The messages never repeat a value: a secret pasted into the wrong member
 * would otherwise come back in a response.
 */
__attribute__((format(printf, 3, 4))) static int
dfd_settings_fail(dfd_settings_error_t *error, const char *field,
                  const char *format, ...)
{
    va_list args;

    snprintf(error->field, sizeof(error->field), "%s", field);

    va_start(args, format);
    vsnprintf(error->message, sizeof(error->message), format, args);
    va_end(args);

    return -1;
}


static const char *
dfd_settings_type(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a real number";
    case JSON_TRUE:
        return "true";
    case JSON_FALSE:
        return "false";
    case JSON_NULL:
        break;
    }

    return "null";
}


static int
dfd_settings_boolean(int *to, const char *name, const json_t *value,
                     dfd_settings_error_t *error)
{
    if (!json_is_boolean(value)) {
        return dfd_settings_fail(error, name,
                                 "%s must be true or false, not %s", name,
                                 dfd_settings_type(value));
    }

    *to = json_is_true(value);

    return 0;
}


static int
dfd_settings_enabled(dfd_settings_t *settings, const char *name,
                     const json_t *value, dfd_settings_error_t *error)
{
    return dfd_settings_boolean(&settings->enabled, name, value, error);
}


static int
dfd_settings_isolate(dfd_settings_t *settings, const char *name,
                     const json_t *value, dfd_settings_error_t *error)
{
    return dfd_settings_boolean(&settings->isolate_entity, name, value, error);
}


static int
dfd_settings_poll(dfd_settings_t *settings, const char *name,
                  const json_t *value, dfd_settings_error_t *error)
{
    json_int_t minutes;

    /* 5.0 is refused too: an integer that is written as one is no guess */
    if (!json_is_integer(value)) {
        return dfd_settings_fail(
            error, name,
            "%s must be an integer of at least %d and at most %d, not %s",
            name, DFD_SETTINGS_MIN_POLL_MINUTES, DFD_SETTINGS_MAX_POLL_MINUTES,
            dfd_settings_type(value));
    }

    minutes = json_integer_value(value);

    if (minutes < DFD_SETTINGS_MIN_POLL_MINUTES
        || minutes > DFD_SETTINGS_MAX_POLL_MINUTES)
    {
        return dfd_settings_fail(
            error, name,
            "%s must be an integer of at least %d and at most %d, not "
            "%" JSON_INTEGER_FORMAT,
            name, DFD_SETTINGS_MIN_POLL_MINUTES, DFD_SETTINGS_MAX_POLL_MINUTES,
            minutes);
    }

    settings->poll_minutes = (int) minutes;

    return 0;
}


/* an id's string as it was given, trimmed; NULL: an error */
static const char *
dfd_settings_id(const char *name, const json_t *value, size_t *len,
                dfd_settings_error_t *error)
{
    const char *text;

    if (!json_is_string(value)) {
        dfd_settings_fail(error, name, "%s must be a string, not %s", name,
                          dfd_settings_type(value));
        return NULL;
    }

    text = json_string_value(value);
    *len = json_string_length(value);
    dfd_settings_id_trim(&text, len);

    return text;
}


static int
dfd_settings_tenant(dfd_settings_t *settings, const char *name,
                    const json_t *value, dfd_settings_error_t *error)
{
    char        fault[DFD_SETTINGS_ID_FAULT];
    size_t      len;
    const char *text;

    text = dfd_settings_id(name, value, &len, error);
    if (text == NULL) {
        return -1;
    }

    if (dfd_settings_id_tenant(settings->tenant_id, text, len, fault) != 0) {
        return dfd_settings_fail(error, name,
                                 "%s must be a GUID or a domain name such as "
                                 "contoso.onmicrosoft.com; %s",
                                 name, fault);
    }

    return 0;
}


static int
dfd_settings_app(dfd_settings_t *settings, const char *name,
                 const json_t *value, dfd_settings_error_t *error)
{
    size_t      len;
    const char *text;

    text = dfd_settings_id(name, value, &len, error);
    if (text == NULL) {
        return -1;
    }

    if (dfd_settings_id_guid(settings->app_id, text, len) != 0) {
        return dfd_settings_fail(error, name,
                                 "%s must be a GUID, 8-4-4-4-12 hexadecimal "
                                 "digits: the application (client) id",
                                 name);
    }

    return 0;
}


/*
 * A secret is opaque, so nothing of it is changed: white space around it is
 * refused, not cut off, because only the person who pasted it can tell
 * whether it belongs there.
 */
static int
dfd_settings_secret(dfd_settings_t *settings, const char *name,
                    const json_t *value, dfd_settings_error_t *error)
{
    size_t      len, i;
    const char *text;

    if (!json_is_string(value)) {
        return dfd_settings_fail(error, name, "%s must be a string, not %s",
                                 name, dfd_settings_type(value));
    }

    text = json_string_value(value);
    len = json_string_length(value);

    if (len == 0) {
        return dfd_settings_fail(
            error, name, "%s is empty; leave it out to keep the stored one",
            name);
    }

    if (len > DFD_SETTINGS_MAX_SECRET) {
        return dfd_settings_fail(error, name,
                                 "%s must have at most %d bytes, not %zu",
                                 name, DFD_SETTINGS_MAX_SECRET, len);
    }

    if (dfd_settings_id_is_blank(text[0])
        || dfd_settings_id_is_blank(text[len - 1]))
    {
        return dfd_settings_fail(error, name,
                                 "%s has white space or a line end around "
                                 "it; paste the value without",
                                 name);
    }

    for (i = 0; i < len; i++) {
        if ((unsigned char) text[i] < 0x20 || text[i] == 0x7f) {
            return dfd_settings_fail(
                error, name, "%s may not have a control character (U+%04X)",
                name, (unsigned) text[i]);
        }
    }

    memcpy(settings->app_secret, text, len);
    settings->app_secret[len] = '\0';
    settings->app_secret_len = len;

    return 0;
}


static int
dfd_settings_no_cloud(dfd_settings_error_t *error)
{
    size_t             used;
    char               names[DFD_SETTINGS_CLOUD_NAMES];
    const dfd_cloud_t *cloud;

    used = 0;
    names[0] = '\0';

    for (cloud = dfd_clouds(); cloud->name != NULL && used < sizeof(names);
         cloud++)
    {
        used += (size_t) snprintf(names + used, sizeof(names) - used, "%s%s",
                                  used == 0 ? "" : ", ", cloud->name);
    }

    return dfd_settings_fail(error, "cloud", "cloud must be one of %s", names);
}


static int
dfd_settings_cloud(dfd_settings_t *settings, const char *name,
                   const json_t *value, dfd_settings_error_t *error)
{
    const dfd_cloud_t *cloud;

    cloud = json_is_string(value) ? dfd_cloud_find(json_string_value(value))
                                  : NULL;

    /* a zero byte inside would have ended the comparison early */
    if (cloud == NULL || json_string_length(value) != strlen(cloud->name)) {
        return dfd_settings_no_cloud(error);
    }

    snprintf(settings->cloud, sizeof(settings->cloud), "%s", cloud->name);

    return 0;
}


/*
 * A date as the portal shows it, or a time as Graph tells it
 * (passwordCredential's endDateTime), of which the day in UTC is kept.
 */
static int
dfd_settings_expires(dfd_settings_t *settings, const char *name,
                     const json_t *value, dfd_settings_error_t *error)
{
    char        time[DFD_TIME_TEXT];
    size_t      len;
    int64_t     ticks;
    const char *text;

    if (json_is_null(value)) {
        settings->secret_expires[0] = '\0';
        return 0;
    }

    text = json_string_value(value);
    len = json_string_length(value);
    ticks = DFD_TIME_NONE;

    if (text != NULL && len == DFD_SETTINGS_DATE) {
        snprintf(time, sizeof(time), "%sT00:00:00Z", text);
        ticks = dfd_time_parse(time, strlen(time));

    } else if (text != NULL) {
        ticks = dfd_time_parse(text, len);
    }

    if (ticks == DFD_TIME_NONE) {
        return dfd_settings_fail(error, name,
                                 "%s must be a date like 2027-11-25, a time "
                                 "in ISO 8601, or null",
                                 name);
    }

    dfd_time_format(ticks, time);
    snprintf(settings->secret_expires, sizeof(settings->secret_expires),
             "%.*s", DFD_SETTINGS_DATE, time);

    return 0;
}


static const dfd_settings_member_t dfd_settings_members[] = {
    { "enabled", dfd_settings_enabled },
    { "isolateEntity", dfd_settings_isolate },
    { "tenantId", dfd_settings_tenant },
    { "appId", dfd_settings_app },
    { "appSecret", dfd_settings_secret },
    { "cloud", dfd_settings_cloud },
    { "pollMinutes", dfd_settings_poll },
    { "secretExpiresAt", dfd_settings_expires },
    { NULL, NULL }
};


/* error->field may cut the name: never inside a character */
static int
dfd_settings_unknown(const char *name, dfd_settings_error_t *error)
{
    size_t len, max;
    char   cut[sizeof(error->field)];

    max = sizeof(cut) - 1;
    len = strlen(name);

    if (len > max) {
        len = max;

        while (len != 0 && ((unsigned char) name[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    memcpy(cut, name, len);
    cut[len] = '\0';

    return dfd_settings_fail(
        error, cut,
        "unknown member \"%s\"; known are enabled, isolateEntity, tenantId, "
        "appId, appSecret, cloud, pollMinutes, secretExpiresAt",
        cut);
}


static int
dfd_settings_member(dfd_settings_t *settings, const char *name,
                    const json_t *value, const char *const *also,
                    dfd_settings_error_t *error)
{
    const dfd_settings_member_t *member;

    for (member = dfd_settings_members; member->name != NULL; member++) {
        if (strcmp(member->name, name) == 0) {
            return member->read(settings, member->name, value, error);
        }
    }

    for (/* void */; also != NULL && *also != NULL; also++) {
        if (strcmp(*also, name) == 0) {
            return 0;
        }
    }

    return dfd_settings_unknown(name, error);
}


int
dfd_settings_read(dfd_settings_t *settings, const json_t *object,
                  const char *const *also, dfd_settings_error_t *error)
{
    void   *iter;
    json_t *root;

    dfd_settings_wipe(settings);

    if (!json_is_object(object)) {
        return dfd_settings_fail(error, "", "the body must be a JSON object");
    }

    /* jansson's iterators take no const object, but change none */
    root = (json_t *) object;

    for (iter = json_object_iter(root); iter != NULL;
         iter = json_object_iter_next(root, iter))
    {
        if (dfd_settings_member(settings, json_object_iter_key(iter),
                                json_object_iter_value(iter), also, error)
            != 0)
        {
            return -1;
        }
    }

    return 0;
}


void
dfd_settings_default(dfd_settings_t *settings)
{
    OPENSSL_cleanse(settings, sizeof(*settings));

    settings->poll_minutes = DFD_SETTINGS_MIN_POLL_MINUTES;
    snprintf(settings->cloud, sizeof(settings->cloud), "%s",
             dfd_clouds()->name);
}


int
dfd_settings_complete(const dfd_settings_t *settings, int need_secret,
                      dfd_settings_error_t *error)
{
    if (settings->tenant_id[0] == '\0') {
        return dfd_settings_fail(error, "tenantId",
                                 "tenantId is missing: the directory (tenant) "
                                 "id, or a domain name of the tenant");
    }

    if (settings->app_id[0] == '\0') {
        return dfd_settings_fail(
            error, "appId", "appId is missing: the application (client) id");
    }

    if (need_secret && settings->app_secret_len == 0) {
        return dfd_settings_fail(
            error, "appSecret",
            "appSecret is missing: the value of a client secret, not its id");
    }

    if (dfd_cloud_find(settings->cloud) == NULL) {
        return dfd_settings_no_cloud(error);
    }

    return 0;
}


int
dfd_settings_other_app(const dfd_settings_t *a, const dfd_settings_t *b)
{
    return strcmp(a->tenant_id, b->tenant_id) != 0
        || strcmp(a->app_id, b->app_id) != 0
        || strcmp(a->cloud, b->cloud) != 0;
}


json_t *
dfd_settings_json(const dfd_settings_t *settings)
{
    json_t *object;

    object = json_pack("{s:b, s:b, s:s, s:i}", "enabled", settings->enabled,
                       "isolateEntity", settings->isolate_entity, "cloud",
                       settings->cloud, "pollMinutes", settings->poll_minutes);
    if (object == NULL) {
        return NULL;
    }

    /* an id that was never given is left out: "" would not be read again */
    if ((settings->tenant_id[0] != '\0'
         && json_object_set_new(object, "tenantId",
                                json_string(settings->tenant_id))
                != 0)
        || (settings->app_id[0] != '\0'
            && json_object_set_new(object, "appId",
                                   json_string(settings->app_id))
                   != 0)
        || (settings->secret_expires[0] != '\0'
            && json_object_set_new(object, "secretExpiresAt",
                                   json_string(settings->secret_expires))
                   != 0))
    {
        json_decref(object);
        return NULL;
    }

    return object;
}


void
dfd_settings_wipe(dfd_settings_t *settings)
{
    OPENSSL_cleanse(settings->app_secret, sizeof(settings->app_secret));
    settings->app_secret_len = 0;
}
