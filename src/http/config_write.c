#include "http/config_write.h"

#include "core/timestamp.h"
#include "host/zone.h"


/* KEYS: config.  ARGV: revision read, settings, new revision, secret or "" */
static const char dfd_config_write_script[] =
    "local r = redis.call('HGET', KEYS[1], 'revision')\n"
    "if (r or '0') ~= ARGV[1] then return 0 end\n"
    "redis.call('HSET', KEYS[1], 'settings', ARGV[2], 'revision', ARGV[3])\n"
    "if ARGV[4] ~= '' then\n"
    "  redis.call('HSET', KEYS[1], 'secret', ARGV[4])\n"
    "end\n"
    "return 1\n";


/* clang-format off */
static json_t *dfd_config_write_json(const dfd_config_write_t *w,
    const dfd_host_conf_t *conf, const dfd_record_t *record,
    const dfd_candidate_t *candidate);
static void dfd_config_write_names(dfd_config_write_t *w,
    const dfd_settings_t *old, const dfd_candidate_t *candidate);
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

    json_decref(w->stored);

    w->stored = dfd_config_write_json(w, conf, record, candidate);
    w->revision = record->revision + 1;
    w->enabled = settings->enabled;

    if (w->stored == NULL) {
        return NGX_ERROR;
    }

    dfd_config_write_names(w, &record->settings, candidate);

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
    (void) json_object_set_new(json, "updatedBy", json_string(w->user));

    return json;
}


/* Which members are new, for the log: names, never values. */

static void
dfd_config_write_names(dfd_config_write_t *w, const dfd_settings_t *old,
                       const dfd_candidate_t *candidate)
{
    u_char    *p, *last;
    ngx_uint_t i;
    const dfd_settings_t *new = &candidate->settings;

    const struct {
        const char *name;
        ngx_uint_t  changed;
    } members[] = {
        { "enabled", old->enabled != new->enabled },
        { "isolateEntity", old->isolate_entity != new->isolate_entity },
        { "tenantId", ngx_strcmp(old->tenant_id, new->tenant_id) != 0 },
        { "appId", ngx_strcmp(old->app_id, new->app_id) != 0 },
        { "appSecret", candidate->new_secret },
        { "cloud", ngx_strcmp(old->cloud, new->cloud) != 0 },
        { "pollMinutes", old->poll_minutes != new->poll_minutes },
    };

    p = (u_char *) w->changed;
    last = p + sizeof(w->changed) - 1;

    for (i = 0; i < sizeof(members) / sizeof(members[0]); i++) {

        if (members[i].changed) {
            p = ngx_slprintf(p, last, "%s%s",
                             p == (u_char *) w->changed ? "" : ", ",
                             members[i].name);
        }
    }

    if (p == (u_char *) w->changed) {
        p = ngx_slprintf(p, last, "nothing");
    }

    *p = '\0';
}


static ngx_int_t
dfd_config_write_send(dfd_config_write_t *w, dfd_host_conf_t *conf,
                      char *sealed, dfd_redis_reply_pt handler, void *data)
{
    char     *settings;
    u_char    old[NGX_INT64_LEN], new[NGX_INT64_LEN];
    ngx_int_t rc;
    ngx_str_t argv[8];

    settings = json_dumps(w->stored, JSON_COMPACT);
    if (settings == NULL) {
        return NGX_ERROR;
    }

    ngx_str_set(&argv[0], "EVAL");
    ngx_str_set(&argv[1], dfd_config_write_script);
    ngx_str_set(&argv[2], "1");
    argv[3] = conf->keys.config;
    argv[4].data = old;
    argv[4].len = (size_t) (ngx_sprintf(old, "%uL", w->revision - 1) - old);
    argv[5].data = (u_char *) settings;
    argv[5].len = ngx_strlen(settings);
    argv[6].data = new;
    argv[6].len = (size_t) (ngx_sprintf(new, "%uL", w->revision) - new);
    argv[7].data = (u_char *) sealed;
    argv[7].len = ngx_strlen(sealed);

    rc = dfd_api_redis_command(conf, handler, data, 8, argv);

    free(settings);

    return rc;
}


void
dfd_config_write_done(const dfd_config_write_t *w, dfd_host_conf_t *conf)
{
    conf->zone->access = w->enabled ? DFD_ACCESS_ENABLED : DFD_ACCESS_DISABLED;

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "defender: settings changed by \"%s\", revision %uL: %s",
                  w->user, w->revision, w->changed);
}
