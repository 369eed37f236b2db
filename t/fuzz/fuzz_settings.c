#include "core/settings.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


/*
 * Any JSON as settings: what is accepted may be put into a URL's path and is
 * read again as it was written; what is refused has a member and a message
 * that can stand in a JSON response.
 */


static void
fuzz_check(int held, const char *what)
{
    if (!held) {
        fprintf(stderr, "settings: %s\n", what);
        abort();
    }
}


static void
fuzz_accepted(const dfd_settings_t *settings)
{
    json_t              *object;
    dfd_settings_t       again;
    dfd_settings_error_t error;

    static const char plain[] = "abcdefghijklmnopqrstuvwxyz0123456789.-";

    fuzz_check(settings->poll_minutes >= DFD_SETTINGS_MIN_POLL_MINUTES
                   && settings->poll_minutes <= DFD_SETTINGS_MAX_POLL_MINUTES,
               "pollMinutes out of range");
    fuzz_check(strspn(settings->tenant_id, plain)
                   == strlen(settings->tenant_id),
               "tenantId has a character that means something in a URL");
    fuzz_check(strstr(settings->tenant_id, "..") == NULL,
               "tenantId leaves its path");
    fuzz_check(strspn(settings->app_id, plain) == strlen(settings->app_id),
               "appId has a foreign character");
    fuzz_check(settings->app_id[0] == '\0'
                   || strlen(settings->app_id) == DFD_SETTINGS_GUID,
               "appId is no GUID");
    fuzz_check(dfd_cloud_find(settings->cloud) != NULL, "no such cloud");
    fuzz_check(strlen(settings->app_secret) == settings->app_secret_len,
               "the secret has a zero byte");

    object = dfd_settings_json(settings);
    if (object == NULL) {
        return;
    }

    dfd_settings_default(&again);
    fuzz_check(dfd_settings_read(&again, object, NULL, &error) == 0,
               "own output refused");
    fuzz_check(!dfd_settings_other_app(settings, &again)
                   && settings->enabled == again.enabled
                   && settings->isolate_entity == again.isolate_entity
                   && settings->poll_minutes == again.poll_minutes,
               "own output read otherwise");
    json_decref(object);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t              *object, *text;
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    object = json_loadb((const char *) data, size,
                        JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (object == NULL) {
        return 0;
    }

    dfd_settings_default(&settings);
    memset(&error, 'x', sizeof(error));

    if (dfd_settings_read(&settings, object, NULL, &error) == 0) {
        fuzz_accepted(&settings);

    } else {
        text = json_pack("{s:s, s:s}", "member", error.field, "message",
                         error.message);
        fuzz_check(text != NULL, "an error that is no UTF-8");
        fuzz_check(error.message[0] != '\0', "an error without a message");
        json_decref(text);
    }

    dfd_settings_wipe(&settings);
    json_decref(object);

    return 0;
}
