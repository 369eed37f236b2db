#include "http/config_write.h"

#include "core/timestamp.h"
#include "host/zone.h"


/*
 * KEYS: config, audit.  ARGV: revision read, settings, new revision, secret or
 * "", the audit's.  Redis undoes nothing, so the audit comes first: there is
 * no change without its entry.
 */
/* clang-format off */
static const char dfd_config_write_script[] =
    "local r = redis.call('HGET', KEYS[1], 'revision')\n"
    "if (r or '0') ~= ARGV[1] then return 0 end\n"
    DFD_AUDIT_SCRIPT(2, 5)
    "redis.call('HSET', KEYS[1], 'settings', ARGV[2], 'revision', ARGV[3])\n"
    "if ARGV[4] ~= '' then\n"
    "  redis.call('HSET', KEYS[1], 'secret', ARGV[4])\n"
    "end\n"
    "redis.call('HDEL', KEYS[1], 'deleted')\n"
    "return 1\n";


static json_t *dfd_config_write_json(const dfd_config_write_t *w,
    const dfd_host_conf_t *conf, const dfd_record_t *record,
    const dfd_candidate_t *candidate);
static json_t *dfd_config_write_changes(const dfd_settings_t *old,
    const dfd_candidate_t *candidate);
static json_t *dfd_config_write_fields(const json_t *changes);
static ngx_int_t dfd_config_write_send(dfd_config_write_t *w,
    dfd_host_conf_t *conf, char *sealed, dfd_redis_reply_pt handler,
    void *data);
/* clang-format on */


ngx_int_t
dfd_config_write(dfd_config_write_t *w, dfd_host_conf_t *conf,
                 const dfd_record_t *record, const dfd_candidate_t *candidate,
                 dfd_redis_reply_pt handler, void *data)
{
    char                  sealed[DFD_SEAL_MAX_TEXT];
    const dfd_settings_t *settings;

    settings = &candidate->settings;
    sealed[0] = '\0';

    /* a secret that stays is left as it lies there, also one of another key */

    if (candidate->new_secret
        && dfd_seal(conf->key, "config", settings->app_secret,
                    settings->app_secret_len, sealed)
               != DFD_SEAL_OK)
    {
        return NGX_ERROR;
    }

    json_decref(w->audit.changes);
    w->audit.changes = dfd_config_write_changes(&record->settings, candidate);

    json_decref(w->stored);

    w->stored = dfd_config_write_json(w, conf, record, candidate);
    w->revision = record->revision + 1;
    w->enabled = settings->enabled;

    if (w->stored == NULL || w->audit.changes == NULL) {
        return NGX_ERROR;
    }

    return dfd_config_write_send(w, conf, sealed, handler, data);
}


/* The settings and who and when, as stored and as answered. */

static json_t *
dfd_config_write_json(const dfd_config_write_t *w, const dfd_host_conf_t *conf,
                      const dfd_record_t    *record,
                      const dfd_candidate_t *candidate)
{
    char                  print[DFD_SEAL_PRINT], now[DFD_TIME_TEXT];
    json_t               *json, *old;
    const dfd_settings_t *settings;

    settings = &candidate->settings;

    json = dfd_settings_json(settings);

    (void) json_object_set_new(json, "hasSecret", json_true());

    if (!candidate->new_secret) {

        old = json_object_get(record->extra, "secretFingerprint");

        if (old != NULL) {
            (void) json_object_set(json, "secretFingerprint", old);
        }

    } else if (dfd_seal_fingerprint(conf->key, settings->app_secret,
                                    settings->app_secret_len, print)
               == DFD_SEAL_OK)
    {
        (void) json_object_set_new(json, "secretFingerprint",
                                   json_string(print));
    }

    (void) dfd_time_format(dfd_time_now(), now);

    (void) json_object_set_new(json, "updatedAt", json_string(now));
    (void) json_object_set_new(json, "updatedBy", json_string(w->audit.user));
    (void) json_object_set_new(json, "changedFields",
                               dfd_config_write_fields(w->audit.changes));

    return json;
}


/* Which members are new, and what they were and are; the secret's name only */

static json_t *
dfd_config_write_changes(const dfd_settings_t  *old,
                         const dfd_candidate_t *candidate)
{
    size_t  i;
    json_t *was, *is, *before, *after, *changes, *change;

    static const char *const names[] = { "enabled",     "isolateEntity",
                                         "tenantId",    "appId",
                                         "appSecret",   "cloud",
                                         "pollMinutes", "secretExpiresAt" };

    was = dfd_settings_json(old);
    is = dfd_settings_json(&candidate->settings);
    changes = json_array();

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        if (ngx_strcmp(names[i], "appSecret") == 0) {

            if (candidate->new_secret) {
                (void) json_array_append_new(
                    changes, json_pack("{s:s}", "field", names[i]));
            }

            continue;
        }

        before = json_object_get(was, names[i]);
        after = json_object_get(is, names[i]);

        if (before == after
            || (before != NULL && after != NULL && json_equal(before, after)))
        {
            continue;
        }

        change = json_pack("{s:s}", "field", names[i]);
        (void) json_object_set_new(
            change, "old", before == NULL ? json_null() : json_incref(before));
        (void) json_object_set_new(
            change, "new", after == NULL ? json_null() : json_incref(after));
        (void) json_array_append_new(changes, change);
    }

    json_decref(was);
    json_decref(is);

    return changes;
}


static json_t *
dfd_config_write_fields(const json_t *changes)
{
    size_t  i;
    json_t *fields;

    fields = json_array();

    for (i = 0; i < json_array_size(changes); i++) {
        (void) json_array_append(
            fields, json_object_get(json_array_get(changes, i), "field"));
    }

    return fields;
}


static ngx_int_t
dfd_config_write_send(dfd_config_write_t *w, dfd_host_conf_t *conf,
                      char *sealed, dfd_redis_reply_pt handler, void *data)
{
    char      *settings;
    u_char     old[NGX_INT64_LEN];
    ngx_int_t  rc;
    ngx_str_t  argv[9 + DFD_AUDIT_ARGS];
    ngx_uint_t n;

    (void) ngx_sprintf((u_char *) w->audit.revision, "%uL%Z", w->revision);

    n = dfd_audit_args(&w->audit, argv + 9);
    settings = json_dumps(w->stored, JSON_COMPACT);

    if (n == 0 || settings == NULL) {
        free(settings);
        return NGX_ERROR;
    }

    ngx_str_set(&argv[0], "EVAL");
    ngx_str_set(&argv[1], dfd_config_write_script);
    ngx_str_set(&argv[2], "2");
    argv[3] = conf->keys.config;
    argv[4] = conf->keys.audit;
    argv[5].data = old;
    argv[5].len = (size_t) (ngx_sprintf(old, "%uL", w->revision - 1) - old);
    argv[6].data = (u_char *) settings;
    argv[6].len = ngx_strlen(settings);
    argv[7].data = (u_char *) w->audit.revision;
    argv[7].len = ngx_strlen(w->audit.revision);
    argv[8].data = (u_char *) sealed;
    argv[8].len = ngx_strlen(sealed);

    rc = dfd_api_redis_command(conf, handler, data, 9 + n, argv);

    free(settings);

    return rc;
}


void
dfd_config_write_done(dfd_config_write_t *w, dfd_host_conf_t *conf)
{
    conf->zone->access = w->enabled ? DFD_ACCESS_ENABLED : DFD_ACCESS_DISABLED;

    dfd_audit_log(&w->audit);
}


void
dfd_config_write_free(dfd_config_write_t *w)
{
    json_decref(w->stored);
    dfd_audit_clear(&w->audit);
}
