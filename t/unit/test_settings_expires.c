#include "core/settings.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"


static int
test_read(dfd_settings_t *settings, const char *json,
          dfd_settings_error_t *error)
{
    int          rc;
    json_t      *object;
    json_error_t problem;

    object = json_loads(json, JSON_DECODE_ANY | JSON_ALLOW_NUL, &problem);
    if (object == NULL) {
        unit_ok(0, "%s is JSON: %s", json, problem.text);
        return -1;
    }

    memset(error, 0, sizeof(*error));
    rc = dfd_settings_read(settings, object, NULL, error);
    json_decref(object);

    return rc;
}


static void
test_expires(void)
{
    size_t               i;
    json_t              *object;
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    static const struct {
        const char *json;
        const char *date; /* NULL: refused */
    } cases[] = {
        { "\"2027-11-25\"", "2027-11-25" },
        { "\"2028-02-29\"", "2028-02-29" },
        { "\"2027-11-25T23:30:00Z\"", "2027-11-25" },
        { "\"2027-11-25T23:30:00.1234567-01:00\"", "2027-11-26" },
        { "null", "" },
        { "\"2027-02-29\"", NULL },
        { "\"2027-13-01\"", NULL },
        { "\"25.11.2027\"", NULL },
        { "\"11/25/2027\"", NULL },
        { "\"2027-11-2\"", NULL },
        { "\"2027-11-25 \"", NULL },
        { "\"2027-11-2\\u0000\"", NULL },
        { "\"\"", NULL },
        { "20271125", NULL },
        { "true", NULL },
        { "{}", NULL },
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char json[128];

        dfd_settings_default(&settings);
        unit_str(settings.secret_expires, "", "no date");

        snprintf(settings.secret_expires, sizeof(settings.secret_expires),
                 "2020-01-01");
        snprintf(json, sizeof(json), "{\"secretExpiresAt\":%s}",
                 cases[i].json);

        if (cases[i].date == NULL) {
            unit_int(test_read(&settings, json, &error), -1, json);
            unit_str(error.field, "secretExpiresAt", json);
            unit_str(error.message,
                     "secretExpiresAt must be a date like 2027-11-25, a time "
                     "in ISO 8601, or null",
                     json);
            continue;
        }

        unit_int(test_read(&settings, json, &error), 0, json);
        unit_str(settings.secret_expires, cases[i].date, json);

        object = dfd_settings_json(&settings);
        unit_ok(cases[i].date[0] == '\0'
                    ? json_object_get(object, "secretExpiresAt") == NULL
                    : strcmp(json_string_value(
                                 json_object_get(object, "secretExpiresAt")),
                             cases[i].date)
                          == 0,
                "%s: as it is stored", json);
        json_decref(object);
    }

    unit_int(test_read(&settings, "{}", &error), 0, "no date given");
}


int
main(void)
{
    test_expires();

    return unit_done();
}
