#include "agent/status.h"

#include "agent/eval.h"
#include "agent/lease.h"
#include "agent/report.h"
#include "agent/scripts.h"


#define DFD_STATUS_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(6))

/* a good poll older than this many intervals is late, and some minutes */
#define DFD_STATUS_LATE_INTERVALS 2
#define DFD_STATUS_LATE_TICKS     (300 * DFD_TICKS_PER_SECOND)


static void
dfd_status_shared_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    const char   *why;
    dfd_shared_t *shared;

    shared = &agent->shared;

    if (dfd_eval_result(reply, cause, &why) == 1) {
        free(shared->written);
        shared->written = shared->sent;

    } else {
        free(shared->sent);
    }

    shared->sent = NULL;
}


void
dfd_status_forget(dfd_agent_t *agent)
{
    free(agent->shared.written);
    agent->shared.written = NULL;
}


void
dfd_status_share(dfd_agent_t *agent, ngx_uint_t now)
{
    char         *text;
    json_t       *part;
    dfd_eval_t    eval;
    const char   *state;
    dfd_keys_t   *keys;
    dfd_shared_t *shared;

    shared = &agent->shared;

    if (!dfd_lease_held(agent) || agent->account.deleted
        || (shared->sent != NULL && !now))
    {
        return;
    }

    part = dfd_report_part(agent);
    text = json_dumps(part, DFD_STATUS_FLAGS);

    if (text == NULL
        || (shared->written != NULL && shared->sent == NULL
            && ngx_strcmp(text, shared->written) == 0))
    {
        free(text);
        json_decref(part);
        return;
    }

    keys = &agent->conf->keys;
    state = json_string_value(json_object_get(part, "health"));

    dfd_eval_script(&eval, DFD_SCRIPT_STATUS, 3, 3);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_str(&eval, &keys->status);
    dfd_eval_str(&eval, &keys->meta);
    dfd_eval_text(&eval, agent->lease.token);
    dfd_eval_text(&eval, text);
    dfd_eval_text(&eval, state);

    if (now) {
        /* the last words: their reply is of no use any more */
        (void) dfd_eval_send(&eval, agent->redis, NULL, NULL);
        free(text);

    } else if (dfd_eval_send(&eval, agent->redis, dfd_status_shared_reply,
                             agent)
               == NGX_OK)
    {
        shared->sent = text;

    } else {
        free(text);
    }

    json_decref(part);
}


/* Redis's own word for it, "READONLY" or "OOM": the first of the text */
static void
dfd_status_redis_code(const char *cause, char code[32])
{
    size_t i;

    for (i = 0; i < 31 && cause[i] >= 'A' && cause[i] <= 'Z'; i++) {
        code[i] = cause[i];
    }

    code[(i > 1) ? i : 0] = '\0';
}


static ngx_uint_t
dfd_status_is_late(dfd_agent_t *agent, const json_t *part)
{
    int64_t     started, age;
    const char *text;

    text = json_string_value(
        json_object_get(json_object_get(part, "lastGoodPoll"), "started"));

    if (text == NULL) {
        return 0;
    }

    started = dfd_time_parse(text, ngx_strlen(text));

    if (started == DFD_TIME_NONE) {
        return 0;
    }

    age = (int64_t) agent->account.settings.poll_minutes * 60
        * DFD_TICKS_PER_SECOND * DFD_STATUS_LATE_INTERVALS;

    return dfd_cache_now() - started > age + DFD_STATUS_LATE_TICKS;
}


/* 1: Defender or the settings are the trouble, whatever comes after it */
static ngx_uint_t
dfd_status_is_cause(const char *health)
{
    ngx_uint_t i;

    static const char *const causes[] = { "throttled", "sign-in-failed",
                                          "permission-missing",
                                          "unreachable" };

    for (i = 0; health != NULL && i < sizeof(causes) / sizeof(causes[0]); i++)
    {
        if (ngx_strcmp(health, causes[i]) == 0) {
            return 1;
        }
    }

    return 0;
}


/*
 * The root cause: what keeps polls from working stays it although Redis goes
 * away after it (`cache` shows that beside it) or the data grow old.
 */
static void
dfd_status_find_health(dfd_agent_t *agent, const json_t *part,
                       const char *cause, char code[32],
                       dfd_report_health_t *health)
{
    dfd_account_t *account;

    account = &agent->account;

    health->health = json_string_value(json_object_get(part, "health"));
    health->code = json_string_value(json_object_get(part, "code"));
    health->message = json_string_value(json_object_get(part, "message"));

    if (cause[0] != '\0' && !dfd_status_is_cause(health->health)) {
        dfd_status_redis_code(cause, code);
        health->health = "cache-down";
        health->code = code;
        health->message = cause;
        return;
    }

    if (account->known && !account->settings.enabled
        && account->message[0] == '\0')
    {
        health->health = "waiting";
        health->code = NULL;
        health->message = NULL;
        return;
    }

    if (account->message[0] != '\0' && agent->seen.holder[0] == '\0') {
        health->health = "sign-in-failed";
        health->code = "settings";
        health->message = account->message;
        return;
    }

    if (health->health == NULL) {
        health->health = "waiting";
        return;
    }

    if (ngx_strcmp(health->health, "healthy") == 0
        && dfd_status_is_late(agent, part))
    {
        health->health = "delayed";
        health->message = "the last good poll is long ago";
    }
}


static const char *
dfd_status_configured(dfd_agent_t *agent)
{
    switch ((dfd_access_t) agent->conf->zone->access) {

    case DFD_ACCESS_NOT_CONFIGURED:
        return "not-configured";

    case DFD_ACCESS_DISABLED:
        return "disabled";

    case DFD_ACCESS_ENABLED:
        return "enabled";

    default:
        return "unknown";
    }
}


static json_t *
dfd_status_snapshot(dfd_agent_t *agent)
{
    const char           *reason;
    dfd_snapshot_info_t   info;
    const dfd_snapshot_t *snapshot;

    snapshot = dfd_cache_current(agent->conf, &reason);

    if (snapshot == NULL) {
        return json_null();
    }

    dfd_snapshot_info(snapshot, &info);

    /* clang-format off */
    return json_pack("{s:I, s:I, s:I, s:o, s:o}",
        "generation", (json_int_t) info.generation,
        "devices", (json_int_t) info.devices,
        "addresses", (json_int_t) info.addresses,
        "asOf", dfd_report_time(info.as_of),
        "error", dfd_report_text(agent->refresh_error));
    /* clang-format on */
}


/* "host:pid" of the holder: the random part of its token is nobody's */
static json_t *
dfd_status_holder(dfd_agent_t *agent)
{
    char        text[DFD_LEASE_TOKEN];
    const char *end;

    end = strrchr(agent->seen.holder, ':');

    if (end == NULL) {
        return json_null();
    }

    (void) ngx_cpystrn((u_char *) text, (u_char *) agent->seen.holder,
                       end - agent->seen.holder + 1);

    return dfd_report_text(text);
}


static const char *
dfd_status_cache(dfd_agent_t *agent, const char **cause)
{
    *cause = "";

    switch (dfd_redis_state(agent->redis, cause)) {

    case DFD_REDIS_READY:
        *cause = agent->seen.error[0] ? agent->seen.error : agent->lease.error;
        return "ready";

    case DFD_REDIS_CONNECTING:
        *cause = "";
        return "connecting";

    default:

        if (*cause == NULL || **cause == '\0') {
            *cause = "not connected";
        }

        return "down";
    }
}


static json_t *
dfd_status_compose(dfd_agent_t *agent, json_t *part)
{
    char                code[32];
    json_t             *good;
    const char         *cause, *state;
    dfd_seen_t         *seen;
    dfd_report_health_t health;

    seen = &agent->seen;
    good = json_object_get(part, "lastGoodPoll");

    state = dfd_status_cache(agent, &cause);

    dfd_status_find_health(agent, part, cause, code, &health);

    /* clang-format off */
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:O?,"
                     " s:b, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?,"
                     " s:o, s:b, s:o, s:{s:s, s:o}, s:o}",
        "configured", dfd_status_configured(agent),
        "health", health.health,
        "code", dfd_report_text(health.code),
        "message", dfd_report_text(health.message),
        "generation", (json_int_t) seen->generation,
        "devices", (json_int_t) seen->devices,
        "addresses", (json_int_t) seen->addresses,
        "skipped", json_integer_value(json_object_get(good, "skipped")),
        "skippedReasons", json_object_get(good, "skippedReasons"),
        "polling", json_is_true(json_object_get(part, "polling")),
        "pollingSince", json_object_get(part, "pollingSince"),
        "lastPoll", json_object_get(part, "lastPoll"),
        "lastGoodPoll", good,
        "nextPoll", json_object_get(part, "nextPoll"),
        "throttledUntil", json_object_get(part, "throttledUntil"),
        "polls", json_object_get(part, "polls"),
        "apiCalls", json_object_get(part, "apiCalls"),
        "leaseHolder", dfd_status_holder(agent),
        "leaseHolderIsThisHost", (int) dfd_lease_held(agent),
        "secretExpiresAt",
        dfd_report_text(agent->account.settings.secret_expires),
        "cache", "state", state, "cause", dfd_report_text(cause),
        "snapshot", dfd_status_snapshot(agent));
    /* clang-format on */
}


void
dfd_status_publish(dfd_agent_t *agent)
{
    char   *text;
    json_t *part, *status;

    part = dfd_lease_held(agent) ? dfd_report_part(agent)
                                 : json_incref(agent->seen.shared);

    status = dfd_status_compose(agent, part);
    text = json_dumps(status, DFD_STATUS_FLAGS);

    if (text != NULL) {
        dfd_zone_set_status(agent->conf, text, ngx_strlen(text));
    }

    free(text);

    json_decref(status);
    json_decref(part);
}
