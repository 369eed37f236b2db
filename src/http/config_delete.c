#include "http/config_write.h"

#include "host/zone.h"

#include <stdlib.h>


/*
 * The settings go in one step; "revision" stays and is raised, by which every
 * host sees the change, and so does who did it.  Each host then drops its
 * snapshot, and the one that polls the devices and addresses.
 *
 * KEYS: config, audit, actions.  ARGV: revision read, new revision, deleted,
 * the audit's, which comes first: there is no change without its entry.
 * Whatever somebody has put where the actions should be, the secret goes.
 */
/* clang-format off */
static const char dfd_config_delete_script[] =
    "local r = redis.call('HGET', KEYS[1], 'revision')\n"
    "if (r or '0') ~= ARGV[1] then return 0 end\n"
    DFD_AUDIT_SCRIPT(2, 4)
    "redis.call('HDEL', KEYS[1], 'settings', 'secret')\n"
    "redis.call('HSET', KEYS[1], 'revision', ARGV[2], 'deleted', ARGV[3])\n"
    "local a = redis.pcall('HVALS', KEYS[3])\n"
    "return a.err and {} or a\n";


static json_t *dfd_config_delete_isolated(const redisReply *reply);
static void dfd_config_delete_action(json_t *isolated, json_t *released,
    json_t *action);
static int64_t dfd_config_delete_time(const json_t *action);
static ngx_uint_t dfd_config_delete_is(const json_t *action, const char *name,
    const char *value);
static json_t *dfd_config_delete_show(const json_t *action);
/* clang-format on */


ngx_int_t
dfd_config_delete(dfd_config_write_t *w, dfd_host_conf_t *conf,
                  const dfd_record_t *record, dfd_redis_reply_pt handler,
                  void *data)
{
    char      *deleted;
    u_char     old[NGX_INT64_LEN];
    ngx_int_t  rc;
    ngx_str_t  argv[9 + DFD_AUDIT_ARGS];
    ngx_uint_t n;

    w->revision = record->revision + 1;
    w->existed = record->has_secret || record->settings.tenant_id[0] != '\0';

    (void) ngx_sprintf((u_char *) w->audit.revision, "%uL%Z", w->revision);

    n = dfd_audit_args(&w->audit, argv + 9);

    json_decref(w->stored);
    w->stored = json_pack("{s:s, s:s}", "updatedAt", w->audit.time,
                          "updatedBy", w->audit.user);

    deleted = json_dumps(w->stored, JSON_COMPACT);

    if (n == 0 || deleted == NULL) {
        free(deleted);
        return NGX_ERROR;
    }

    ngx_str_set(&argv[0], "EVAL");
    ngx_str_set(&argv[1], dfd_config_delete_script);
    ngx_str_set(&argv[2], "3");
    argv[3] = conf->keys.config;
    argv[4] = conf->keys.audit;
    argv[5] = conf->keys.actions;
    argv[6].data = old;
    argv[6].len = (size_t) (ngx_sprintf(old, "%uL", record->revision) - old);
    argv[7].data = (u_char *) w->audit.revision;
    argv[7].len = ngx_strlen(w->audit.revision);
    argv[8].data = (u_char *) deleted;
    argv[8].len = ngx_strlen(deleted);

    rc = dfd_api_redis_command(conf, handler, data, 9 + n, argv);

    free(deleted);

    return rc;
}


json_t *
dfd_config_delete_done(dfd_config_write_t *w, dfd_host_conf_t *conf,
                       const redisReply *reply)
{
    conf->zone->access = DFD_ACCESS_NOT_CONFIGURED;

    dfd_audit_log(&w->audit);

    return json_pack("{s:b, s:I, s:[s, s, s, s, s], s:[s, s], s:o}", "deleted",
                     w->existed, "revision", (json_int_t) w->revision, "gone",
                     "settings", "secret", "devices", "addresses", "snapshots",
                     "stays", "audit", "actions", "isolationsNotReleased",
                     dfd_config_delete_isolated(reply));
}


/*
 * Isolations that hold, or that Defender is still about to carry out, and no
 * later release of which is known to have succeeded: deleting the settings
 * leaves those devices cut off.
 */

static json_t *
dfd_config_delete_isolated(const redisReply *reply)
{
    void   *iter;
    size_t  i;
    json_t *isolated, *released, *list, *action;

    isolated = json_object(); /* machineId: its newest isolation */
    released = json_object(); /* machineId: its newest release */
    list = json_array();

    for (i = 0; i < reply->elements; i++) {

        action = json_loadb(reply->element[i]->str, reply->element[i]->len, 0,
                            NULL);

        dfd_config_delete_action(isolated, released, action);
        json_decref(action);
    }

    for (iter = json_object_iter(isolated); iter != NULL;
         iter = json_object_iter_next(isolated, iter))
    {
        action = json_object_iter_value(iter);

        if (dfd_config_delete_time(action) > dfd_config_delete_time(
                json_object_get(released, json_object_iter_key(iter))))
        {
            (void) json_array_append_new(list, dfd_config_delete_show(action));
        }
    }

    json_decref(isolated);
    json_decref(released);

    return list;
}


static void
dfd_config_delete_action(json_t *isolated, json_t *released, json_t *action)
{
    json_t     *to;
    const char *machine;

    machine = json_string_value(json_object_get(action, "machineId"));

    if (machine == NULL) {
        return;
    }

    if (dfd_config_delete_is(action, "type", "Isolate")
        && (dfd_config_delete_is(action, "status", "Succeeded")
            || dfd_config_delete_is(action, "status", "Pending")
            || dfd_config_delete_is(action, "status", "InProgress")))
    {
        to = isolated;

    } else if (dfd_config_delete_is(action, "type", "Unisolate")
               && dfd_config_delete_is(action, "status", "Succeeded"))
    {
        to = released;

    } else {
        return;
    }

    if (dfd_config_delete_time(action)
        > dfd_config_delete_time(json_object_get(to, machine)))
    {
        (void) json_object_set(to, machine, action);
    }
}


/* when it was asked for; a text that is no time: before all others */

static int64_t
dfd_config_delete_time(const json_t *action)
{
    int64_t       ticks;
    const json_t *text;

    if (action == NULL) {
        return DFD_TIME_NONE;
    }

    text = json_object_get(action, "creationDateTimeUtc");

    ticks = json_is_string(text) ? dfd_time_parse(json_string_value(text),
                                                  json_string_length(text))
                                 : DFD_TIME_NONE;

    return ticks == DFD_TIME_NONE ? 0 : ticks;
}


static ngx_uint_t
dfd_config_delete_is(const json_t *action, const char *name, const char *value)
{
    const char *text;

    text = json_string_value(json_object_get(action, name));

    return text != NULL && ngx_strcmp(text, value) == 0;
}


static json_t *
dfd_config_delete_show(const json_t *action)
{
    size_t  i;
    json_t *shown, *value;

    static const char *const names[] = {
        "id",     "machineId", "computerDnsName",
        "status", "requestor", "creationDateTimeUtc",
    };

    shown = json_object();

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {

        value = json_object_get(action, names[i]);

        if (json_is_string(value)) {
            (void) json_object_set(shown, names[i], value);
        }
    }

    return shown;
}
