#include "core/settings.h"

#include <stdlib.h>
#include <string.h>

#include "unit.h"


#define GUID "0f9ab3c1-22d4-4b1e-8f00-00000000c11d"

#define ID_MUST                                                               \
    "tenantId must be a GUID or a domain name such as "                       \
    "contoso.onmicrosoft.com; "

#define POLL_MUST                                                             \
    "pollMinutes must be an integer of at least 5 and at most 1440, "

#define APP_MUST                                                              \
    "appId must be a GUID, 8-4-4-4-12 hexadecimal digits: the application "   \
    "(client) id"

#define CLOUDS                                                                \
    "cloud must be one of commercial, us, eu, uk, au, swa, ina, gcc, "        \
    "gcc-high, dod"

#define LABEL63                                                               \
    "abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0"


static int
test_read(dfd_settings_t *settings, const char *json, const char *const *also,
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
    rc = dfd_settings_read(settings, object, also, error);
    json_decref(object);

    return rc;
}


static void
test_defaults(void)
{
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    memset(&settings, 0x55, sizeof(settings));
    dfd_settings_default(&settings);

    unit_int(settings.enabled, 0, "disabled");
    unit_int(settings.isolate_entity, 0, "no isolation");
    unit_int(settings.poll_minutes, 5, "5 minutes");
    unit_str(settings.cloud, "commercial", "commercial");
    unit_str(settings.tenant_id, "", "no tenant");
    unit_str(settings.app_id, "", "no application");
    unit_str(settings.app_secret, "", "no secret");
    unit_int(settings.app_secret_len, 0, "of no length");

    settings.enabled = 1;
    settings.app_secret[0] = 's';
    settings.app_secret_len = 1;

    unit_int(test_read(&settings, "{}", NULL, &error), 0, "nothing is given");
    unit_int(settings.enabled, 1, "a member that is absent stays");
    unit_int(settings.app_secret_len, 0, "the secret does not");
    unit_int(settings.app_secret[0], 0, "nor its bytes");
}


static void
test_everything(void)
{
    char                *text;
    json_t              *object;
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    dfd_settings_default(&settings);

    unit_int(test_read(&settings,
                       "{\"enabled\":true,\"isolateEntity\":true,"
                       "\"tenantId\":\"contoso.onmicrosoft.com\","
                       "\"appId\":\"" GUID "\","
                       "\"appSecret\":\"Zz~1+b/c=d&e%25.f_g-h#i?j k\","
                       "\"cloud\":\"gcc-high\",\"pollMinutes\":1440}",
                       NULL, &error),
             0, "all members");
    unit_int(settings.enabled, 1, "enabled");
    unit_int(settings.isolate_entity, 1, "isolateEntity");
    unit_str(settings.tenant_id, "contoso.onmicrosoft.com", "tenantId");
    unit_str(settings.app_id, GUID, "appId");
    unit_mem(settings.app_secret, settings.app_secret_len,
             "Zz~1+b/c=d&e%25.f_g-h#i?j k", 27,
             "a secret of characters that mean something in a form");
    unit_str(settings.cloud, "gcc-high", "cloud");
    unit_int(settings.poll_minutes, 1440, "pollMinutes");
    unit_int(dfd_settings_complete(&settings, 1, &error), 0, "complete");

    object = dfd_settings_json(&settings);
    text = json_dumps(object, JSON_COMPACT);
    unit_str(text,
             "{\"enabled\":true,\"isolateEntity\":true,\"cloud\":\"gcc-high\","
             "\"pollMinutes\":1440,\"tenantId\":\"contoso.onmicrosoft.com\","
             "\"appId\":\"" GUID "\"}",
             "everything but the secret, to store");
    free(text);
    json_decref(object);

    dfd_settings_wipe(&settings);
    unit_str(settings.app_secret, "", "the secret is wiped");
    unit_str(settings.app_secret + 1, "", "all of it");
    unit_int(settings.app_secret_len, 0, "and its length");
    unit_str(settings.app_id, GUID, "the rest is not");

    unit_int(test_read(&settings,
                       "{\"enabled\":false,\"isolateEntity\":false}", NULL,
                       &error),
             0, "switch off");
    unit_int(settings.enabled, 0, "disabled");
    unit_int(settings.isolate_entity, 0, "isolation refused");
    unit_str(settings.tenant_id, "contoso.onmicrosoft.com", "tenant kept");

    dfd_settings_default(&settings);
    object = dfd_settings_json(&settings);
    text = json_dumps(object, JSON_COMPACT);
    unit_str(text,
             "{\"enabled\":false,\"isolateEntity\":false,"
             "\"cloud\":\"commercial\",\"pollMinutes\":5}",
             "ids that were never given are left out");
    unit_int(test_read(&settings, text, NULL, &error), 0,
             "what was answered can be sent back");
    free(text);
    json_decref(object);
}


/* ids as they are pasted, and as they are kept */
static void
test_ids(void)
{
    size_t               i;
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    static const struct {
        const char *json;
        const char *tenant;
        const char *app;
    } good[] = {
        { "{\"tenantId\":\" contoso.onmicrosoft.com\\n\"}",
          "contoso.onmicrosoft.com", "" },
        { "{\"tenantId\":\"CONTOSO.onmicrosoft.COM\\r\\n\"}",
          "contoso.onmicrosoft.com", "" },
        { "{\"tenantId\":\"{0F9AB3C1-22D4-4B1E-8F00-00000000C11D}\"}", GUID,
          "" },
        { "{\"tenantId\":\"\\t{" GUID "} \"}", GUID, "" },
        { "{\"tenantId\":\"" GUID "\"}", GUID, "" },
        { "{\"tenantId\":\"common.example\"}", "common.example", "" },
        { "{\"tenantId\":\"xn--bcher-kva.example\"}", "xn--bcher-kva.example",
          "" },
        { "{\"tenantId\":\"a.b-c.d1\"}", "a.b-c.d1", "" },
        { "{\"tenantId\":\"10.example\"}", "10.example", "" },
        { "{\"tenantId\":\"" LABEL63 "." LABEL63 "." LABEL63 "." LABEL63 "\"}",
          NULL, "" },
        { "{\"tenantId\":\"" LABEL63 "." LABEL63 "." LABEL63
          ".0123456789012345678901234567890123456789012345678901234567.ab\"}",
          LABEL63 "." LABEL63 "." LABEL63
                  ".0123456789012345678901234567890123456789012345678901234567"
                  ".ab",
          "" },
        { "{\"appId\":\"00000000-0000-0000-0000-00000000c11d\\t\"}", "",
          "00000000-0000-0000-0000-00000000c11d" },
        { "{\"appId\":\"  {0F9AB3C1-22d4-4B1E-8f00-00000000C11D}\\f\\n\"}", "",
          GUID },
    };

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        dfd_settings_default(&settings);

        if (good[i].tenant == NULL) {
            unit_int(test_read(&settings, good[i].json, NULL, &error), -1,
                     "255 characters");
            unit_str(error.message, ID_MUST "it is longer than 253 characters",
                     "%s", good[i].json);
            continue;
        }

        unit_int(test_read(&settings, good[i].json, NULL, &error), 0, "%s",
                 good[i].json);
        unit_str(settings.tenant_id, good[i].tenant, "its tenant");
        unit_str(settings.app_id, good[i].app, "its application");
    }
}


typedef struct {
    const char *json;
    const char *field;
    const char *message;
} test_bad_t;


static void
test_refused(const test_bad_t *bad, size_t n)
{
    size_t               i;
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    for (i = 0; i < n; i++) {
        dfd_settings_default(&settings);
        unit_int(test_read(&settings, bad[i].json, NULL, &error), -1,
                 "refused: %.80s", bad[i].json);
        unit_str(error.field, bad[i].field, "the member");
        unit_str(error.message, bad[i].message, "the message");
    }
}


static void
test_wrong_types(void)
{
    static const test_bad_t bad[] = {
        { "[]", "", "the body must be a JSON object" },
        { "null", "", "the body must be a JSON object" },
        { "\"enabled\"", "", "the body must be a JSON object" },

        { "{\"enabled\":1}", "enabled",
          "enabled must be true or false, not an integer" },
        { "{\"enabled\":\"true\"}", "enabled",
          "enabled must be true or false, not a string" },
        { "{\"enabled\":null}", "enabled",
          "enabled must be true or false, not null" },
        { "{\"isolateEntity\":[]}", "isolateEntity",
          "isolateEntity must be true or false, not an array" },
        { "{\"isolateEntity\":{}}", "isolateEntity",
          "isolateEntity must be true or false, not an object" },
        { "{\"isolateEntity\":0.0}", "isolateEntity",
          "isolateEntity must be true or false, not a real number" },

        { "{\"tenantId\":17}", "tenantId",
          "tenantId must be a string, not an integer" },
        { "{\"tenantId\":null}", "tenantId",
          "tenantId must be a string, not null" },
        { "{\"appId\":false}", "appId", "appId must be a string, not false" },
        { "{\"appSecret\":null}", "appSecret",
          "appSecret must be a string, not null" },
        { "{\"appSecret\":true}", "appSecret",
          "appSecret must be a string, not true" },
        { "{\"cloud\":null}", "cloud", CLOUDS },
        { "{\"cloud\":[\"commercial\"]}", "cloud", CLOUDS },
    };

    test_refused(bad, sizeof(bad) / sizeof(bad[0]));
}


static void
test_poll_minutes(void)
{
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    static const test_bad_t bad[] = {
        { "{\"pollMinutes\":4}", "pollMinutes", POLL_MUST "not 4" },
        { "{\"pollMinutes\":0}", "pollMinutes", POLL_MUST "not 0" },
        { "{\"pollMinutes\":-5}", "pollMinutes", POLL_MUST "not -5" },
        { "{\"pollMinutes\":1441}", "pollMinutes", POLL_MUST "not 1441" },
        { "{\"pollMinutes\":4294967301}", "pollMinutes",
          POLL_MUST "not 4294967301" },
        { "{\"pollMinutes\":-9223372036854775808}", "pollMinutes",
          POLL_MUST "not -9223372036854775808" },
        { "{\"pollMinutes\":4.9}", "pollMinutes",
          POLL_MUST "not a real number" },
        { "{\"pollMinutes\":5.0}", "pollMinutes",
          POLL_MUST "not a real number" },
        { "{\"pollMinutes\":1e9}", "pollMinutes",
          POLL_MUST "not a real number" },
        { "{\"pollMinutes\":\"5\"}", "pollMinutes", POLL_MUST "not a string" },
        { "{\"pollMinutes\":null}", "pollMinutes", POLL_MUST "not null" },
        { "{\"pollMinutes\":true}", "pollMinutes", POLL_MUST "not true" },
    };

    test_refused(bad, sizeof(bad) / sizeof(bad[0]));

    dfd_settings_default(&settings);
    unit_int(test_read(&settings, "{\"pollMinutes\":5}", NULL, &error), 0,
             "5 minutes");
    unit_int(settings.poll_minutes, 5, "are kept");
    unit_int(test_read(&settings, "{\"pollMinutes\":4}", NULL, &error), -1,
             "4 minutes");
    unit_int(settings.poll_minutes, 5, "are not");
}


static void
test_wrong_ids(void)
{
    static const test_bad_t bad[] = {
        { "{\"tenantId\":\"\"}", "tenantId", ID_MUST "it is empty" },
        { "{\"tenantId\":\" \\n\"}", "tenantId", ID_MUST "it is empty" },
        { "{\"tenantId\":\"common\"}", "tenantId",
          ID_MUST "common, consumers and organizations are no tenant" },
        { "{\"tenantId\":\" Consumers \"}", "tenantId",
          ID_MUST "common, consumers and organizations are no tenant" },
        { "{\"tenantId\":\"ORGANIZATIONS\"}", "tenantId",
          ID_MUST "common, consumers and organizations are no tenant" },
        { "{\"tenantId\":\"contoso\"}", "tenantId", ID_MUST "it has no dot" },
        { "{\"tenantId\":\"contoso.com/../common\"}", "tenantId",
          ID_MUST "it may not have \"/\"" },
        { "{\"tenantId\":\"..\"}", "tenantId",
          ID_MUST "a part between its dots is empty" },
        { "{\"tenantId\":\"contoso..com\"}", "tenantId",
          ID_MUST "a part between its dots is empty" },
        { "{\"tenantId\":\"contoso.com.\"}", "tenantId",
          ID_MUST "a part between its dots is empty" },
        { "{\"tenantId\":\"contoso.com%2fcommon\"}", "tenantId",
          ID_MUST "it may not have \"%\"" },
        { "{\"tenantId\":\"contoso.com?x\"}", "tenantId",
          ID_MUST "it may not have \"?\"" },
        { "{\"tenantId\":\"contoso.com#\"}", "tenantId",
          ID_MUST "it may not have \"#\"" },
        { "{\"tenantId\":\"user@contoso.com\"}", "tenantId",
          ID_MUST "it may not have \"@\"" },
        { "{\"tenantId\":\"contoso.com:443\"}", "tenantId",
          ID_MUST "it may not have \":\"" },
        { "{\"tenantId\":\"con_toso.com\"}", "tenantId",
          ID_MUST "it may not have \"_\"" },
        { "{\"tenantId\":\"con toso.com\"}", "tenantId",
          ID_MUST "it may not have U+0020" },
        { "{\"tenantId\":\"contoso.com\\u0000\"}", "tenantId",
          ID_MUST "it may not have U+0000" },
        { "{\"tenantId\":\"\\u00a0contoso.com\"}", "tenantId",
          ID_MUST "it may not have U+00A0" },
        { "{\"tenantId\":\"contoso.com\\u200b\"}", "tenantId",
          ID_MUST "it may not have U+200B" },
        { "{\"tenantId\":\"b\\u00fccher.example\"}", "tenantId",
          ID_MUST "it may not have U+00FC" },
        { "{\"tenantId\":\"\\ud83d\\ude00.example\"}", "tenantId",
          ID_MUST "it may not have U+1F600" },
        { "{\"tenantId\":\"-contoso.com\"}", "tenantId",
          ID_MUST "a part between its dots starts or ends with a hyphen" },
        { "{\"tenantId\":\"contoso-.com\"}", "tenantId",
          ID_MUST "a part between its dots starts or ends with a hyphen" },
        { "{\"tenantId\":\"" LABEL63 "x.com\"}", "tenantId",
          ID_MUST "a part between its dots is longer than 63 characters" },
        { "{\"tenantId\":\"10.20.1.11\"}", "tenantId",
          ID_MUST "its last part is a number" },
        { "{\"tenantId\":\"{contoso.com}\"}", "tenantId",
          ID_MUST "it may not have \"{\"" },
        { "{\"tenantId\":\"{" GUID "\"}", "tenantId",
          ID_MUST "it may not have \"{\"" },
        { "{\"tenantId\":\"0f9ab3c1-22d4-4b1e-8f00-00000000c11g\"}",
          "tenantId", ID_MUST "it has no dot" },
        { "{\"tenantId\":\"0f9ab3c122d44b1e8f0000000000c11d\"}", "tenantId",
          ID_MUST "it has no dot" },

        { "{\"appId\":\"\"}", "appId", APP_MUST },
        { "{\"appId\":\"contoso.onmicrosoft.com\"}", "appId", APP_MUST },
        { "{\"appId\":\"0f9ab3c1-22d4-4b1e-8f00-00000000c11\"}", "appId",
          APP_MUST },
        { "{\"appId\":\"0f9ab3c1-22d4-4b1e-8f00-00000000c11d0\"}", "appId",
          APP_MUST },
        { "{\"appId\":\"0f9ab3c1x22d4-4b1e-8f00-00000000c11d\"}", "appId",
          APP_MUST },
        { "{\"appId\":\"0f9ab3c1-22d4-4b1e-8f00-00000000c11d\\u0000\"}",
          "appId", APP_MUST },
        { "{\"appId\":\"0f9ab3c1-22d4-4b1e-8f00-0000000\\uff10c11d\"}",
          "appId", APP_MUST },
        { "{\"appId\":\"{{" GUID "}}\"}", "appId", APP_MUST },

        { "{\"cloud\":\"\"}", "cloud", CLOUDS },
        { "{\"cloud\":\"Commercial\"}", "cloud", CLOUDS },
        { "{\"cloud\":\"gcc-high \"}", "cloud", CLOUDS },
        { "{\"cloud\":\"gcc\\u0000\"}", "cloud", CLOUDS },
        { "{\"cloud\":\"https://api.example\"}", "cloud", CLOUDS },
    };

    test_refused(bad, sizeof(bad) / sizeof(bad[0]));
}


static void
test_secrets(void)
{
    char                 secret[600], json[700];
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    static const test_bad_t bad[] = {
        { "{\"appSecret\":\"\"}", "appSecret",
          "appSecret is empty; leave it out to keep the stored one" },
        { "{\"appSecret\":\"s3cret\\n\"}", "appSecret",
          "appSecret has white space or a line end around it; paste the "
          "value without" },
        { "{\"appSecret\":\" s3cret\"}", "appSecret",
          "appSecret has white space or a line end around it; paste the "
          "value without" },
        { "{\"appSecret\":\" \"}", "appSecret",
          "appSecret has white space or a line end around it; paste the "
          "value without" },
        { "{\"appSecret\":\"s3c\\u0000ret\"}", "appSecret",
          "appSecret may not have a control character (U+0000)" },
        { "{\"appSecret\":\"s3c\\tret\"}", "appSecret",
          "appSecret may not have a control character (U+0009)" },
        { "{\"appSecret\":\"s3cret\\u007f\"}", "appSecret",
          "appSecret may not have a control character (U+007F)" },
    };

    test_refused(bad, sizeof(bad) / sizeof(bad[0]));

    dfd_settings_default(&settings);
    unit_int(test_read(&settings, "{\"appSecret\":\"x\"}", NULL, &error), 0,
             "a secret of one byte");
    unit_str(settings.app_secret, "x", "is kept");

    unit_int(test_read(&settings, "{\"appSecret\":\"\\u00e9\\\"\\\\ {}\"}",
                       NULL, &error),
             0, "quotes, backslash, blank inside, not ASCII");
    unit_mem(settings.app_secret, settings.app_secret_len, "\xc3\xa9\"\\ {}",
             7, "are kept");

    memset(secret, 'k', sizeof(secret));
    snprintf(json, sizeof(json), "{\"appSecret\":\"%.512s\"}", secret);
    unit_int(test_read(&settings, json, NULL, &error), 0, "512 bytes");
    unit_mem(settings.app_secret, settings.app_secret_len, secret, 512,
             "are kept");

    snprintf(json, sizeof(json), "{\"appSecret\":\"%.513s\"}", secret);
    unit_int(test_read(&settings, json, NULL, &error), -1, "513 bytes");
    unit_str(error.message, "appSecret must have at most 512 bytes, not 513",
             "are too many");
    unit_int(settings.app_secret_len, 0, "and the old secret is gone");

    unit_int(test_read(&settings,
                       "{\"appSecret\":\"s3cret\",\"appId\":\"s3cret\"}", NULL,
                       &error),
             -1, "a secret in the wrong member");
    unit_ok(strstr(error.message, "s3cret") == NULL, "is not repeated");
}


static void
test_members(void)
{
    dfd_settings_t       settings;
    dfd_settings_error_t error;

    static const char *const also[] = { "verifyTicket", "note", NULL };

    static const test_bad_t bad[] = {
        { "{\"tenantid\":\"contoso.com\"}", "tenantid",
          "unknown member \"tenantid\"; known are enabled, isolateEntity, "
          "tenantId, appId, appSecret, cloud, pollMinutes, secretExpiresAt" },
        { "{\"\":1}", "",
          "unknown member \"\"; known are enabled, isolateEntity, tenantId, "
          "appId, appSecret, cloud, pollMinutes, secretExpiresAt" },
        { "{\"login\":\"https://login.example\"}", "login",
          "unknown member \"login\"; known are enabled, isolateEntity, "
          "tenantId, appId, appSecret, cloud, pollMinutes, secretExpiresAt" },
        { "{\"" LABEL63 "abc\":1}", LABEL63,
          "unknown member \"" LABEL63 "\"; known are enabled, isolateEntity, "
          "tenantId, appId, appSecret, cloud, pollMinutes, secretExpiresAt" },
        { "{\"a" LABEL63 "\":1}",
          "aabcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz",
          "unknown member \"aabcdefghijklmnopqrstuvwxyz0123456789abcdefghijk"
          "lmnopqrstuvwxyz\"; known are enabled, isolateEntity, tenantId, "
          "appId, appSecret, cloud, pollMinutes, secretExpiresAt" },

        /* 21 times a character of three bytes, then one that would be cut */
        { "{\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "x\xe2\x82\xac\":1}",
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "x",
          "unknown member "
          "\"\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac"
          "x\"; known are enabled, isolateEntity, tenantId, appId, appSecret, "
          "cloud, pollMinutes, secretExpiresAt" },
        { "{\"pollMinutes\":6,\"verifyTicket\":\"x\"}", "verifyTicket",
          "unknown member \"verifyTicket\"; known are enabled, isolateEntity, "
          "tenantId, appId, appSecret, cloud, pollMinutes, secretExpiresAt" },
        { "{\"pollMinutes\":4,\"enabled\":4}", "pollMinutes",
          POLL_MUST "not 4" },
        { "{\"enabled\":4,\"pollMinutes\":4}", "enabled",
          "enabled must be true or false, not an integer" },
    };

    test_refused(bad, sizeof(bad) / sizeof(bad[0]));

    dfd_settings_default(&settings);
    unit_int(test_read(&settings,
                       "{\"note\":17,\"pollMinutes\":7,\"verifyTicket\":null}",
                       also, &error),
             0, "members of the caller's are passed over");
    unit_int(settings.poll_minutes, 7, "the others are read");
    unit_int(test_read(&settings, "{\"notes\":17}", also, &error), -1,
             "another one is not");
    unit_str(error.field, "notes", "and named");
}


static void
test_complete(void)
{
    dfd_settings_t       settings, other;
    dfd_settings_error_t error;

    dfd_settings_default(&settings);

    unit_int(dfd_settings_complete(&settings, 1, &error), -1, "no tenant");
    unit_str(error.field, "tenantId", "is named");
    unit_str(error.message,
             "tenantId is missing: the directory (tenant) id, or a domain "
             "name of the tenant",
             "and explained");

    snprintf(settings.tenant_id, sizeof(settings.tenant_id), "contoso.com");
    unit_int(dfd_settings_complete(&settings, 1, &error), -1, "no app");
    unit_str(error.field, "appId", "is named");
    unit_str(error.message, "appId is missing: the application (client) id",
             "and explained");

    snprintf(settings.app_id, sizeof(settings.app_id), GUID);
    unit_int(dfd_settings_complete(&settings, 1, &error), -1, "no secret");
    unit_str(error.field, "appSecret", "is named");
    unit_str(error.message,
             "appSecret is missing: the value of a client secret, not its id",
             "and explained");
    unit_int(dfd_settings_complete(&settings, 0, &error), 0,
             "unless it is stored");

    settings.app_secret[0] = 's';
    settings.app_secret_len = 1;
    unit_int(dfd_settings_complete(&settings, 1, &error), 0, "complete");

    snprintf(settings.cloud, sizeof(settings.cloud), "nowhere");
    unit_int(dfd_settings_complete(&settings, 1, &error), -1,
             "a stored cloud that does not exist");
    unit_str(error.field, "cloud", "is named");
    unit_str(error.message, CLOUDS, "and explained");
    snprintf(settings.cloud, sizeof(settings.cloud), "commercial");

    other = settings;
    other.enabled = 1;
    other.poll_minutes = 60;
    other.isolate_entity = 1;
    other.app_secret[0] = 't';
    unit_int(dfd_settings_other_app(&settings, &other), 0,
             "the same application");

    snprintf(other.cloud, sizeof(other.cloud), "gcc");
    unit_int(dfd_settings_other_app(&settings, &other), 1, "another cloud");

    other = settings;
    snprintf(other.app_id, sizeof(other.app_id),
             "0f9ab3c1-22d4-4b1e-8f00-00000000c11e");
    unit_int(dfd_settings_other_app(&settings, &other), 1,
             "another application");

    other = settings;
    snprintf(other.tenant_id, sizeof(other.tenant_id), "contoso.example");
    unit_int(dfd_settings_other_app(&settings, &other), 1, "another tenant");
}


int
main(void)
{
    test_defaults();
    test_everything();
    test_ids();
    test_wrong_types();
    test_poll_minutes();
    test_wrong_ids();
    test_secrets();
    test_members();
    test_complete();

    return unit_done();
}
