#include "agent/status.h"

#include "agent/eval.h"
#include "agent/lease.h"
#include "agent/scripts.h"


#define DFD_STATUS_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(6))

/* a good poll older than this many intervals is late, and some minutes */
#define DFD_STATUS_LATE_INTERVALS 2
#define DFD_STATUS_LATE_TICKS     (300 * DFD_TICKS_PER_SECOND)


typedef struct {
    const char *health;
    const char *code;
    const char *message;
} dfd_status_health_t;


/* null for an empty text; what is not UTF-8 (cut in the middle) is masked */
static json_t *
dfd_status_text(const char *text)
{
    char    masked[DFD_AGENT_TEXT];
    size_t  i;
    json_t *string;

    if (text == NULL || text[0] == '\0') {
        return json_null();
    }

    string = json_string(text);
    if (string != NULL) {
        return string;
    }

    for (i = 0; text[i] != '\0' && i < DFD_AGENT_TEXT - 1; i++) {
        masked[i] = (char) (((u_char) text[i] < 0x80) ? text[i] : '?');
    }

    masked[i] = '\0';

    return json_string(masked);
}


static json_t *
dfd_status_time(int64_t ticks)
{
    char text[DFD_TIME_TEXT];

    if (ticks == DFD_TIME_NONE) {
        return json_null();
    }

    (void) dfd_time_format(ticks, text);

    return json_string(text);
}


json_t *
dfd_status_poll(const dfd_poll_report_t *report)
{
    /* clang-format off */
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:I, s:I, s:I, s:f}",
        "started", dfd_status_time(report->started),
        "finished", dfd_status_time(report->finished),
        "result", dfd_poll_result_name(report->result),
        "message", dfd_status_text(report->message),
        "code", dfd_status_text(report->code),
        "pages", (json_int_t) report->pages,
        "devices", (json_int_t) report->devices,
        "skipped", (json_int_t) report->skipped,
        "durationSeconds", (double) report->msec / 1000);
    /* clang-format on */
}


/* the poller's part; the members after nextPoll are for its successor */
static json_t *
dfd_status_part(dfd_agent_t *agent)
{
    ngx_uint_t               polling;
    dfd_schedule_t          *schedule;
    dfd_status_health_t      health;
    const dfd_poll_report_t *report;

    schedule = &agent->schedule;
    polling = agent->poll != NULL;

    health.health = schedule->health[0] ? schedule->health : "waiting";
    health.code = schedule->code;
    health.message = schedule->message;

    if (polling) {
        report = dfd_poll_report(agent->poll);

        if (report->result == DFD_POLL_THROTTLED) {
            health.health = "throttled";
            health.code = report->code;
            health.message = report->message;
        }
    }

    /* clang-format off */
    return json_pack("{s:s, s:o, s:o, s:b, s:O?, s:O?, s:o, s:I, s:I, s:s}",
        "health", health.health,
        "code", dfd_status_text(health.code),
        "message", dfd_status_text(health.message),
        "polling", (int) polling,
        "lastPoll", schedule->last,
        "lastGoodPoll", schedule->good,
        "nextPoll", polling ? json_null() : dfd_status_time(schedule->next),
        "failures", (json_int_t) schedule->failures + (polling ? 1 : 0),
        "revision", (json_int_t) schedule->revision,
        "sync", schedule->sync);
    /* clang-format on */
}


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

    part = dfd_status_part(agent);
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


/* the root cause first: what is nearest to the cache explains the rest */
static void
dfd_status_find_health(dfd_agent_t *agent, const json_t *part,
                       const char *cause, char code[32],
                       dfd_status_health_t *health)
{
    dfd_account_t *account;

    account = &agent->account;

    health->health = json_string_value(json_object_get(part, "health"));
    health->code = json_string_value(json_object_get(part, "code"));
    health->message = json_string_value(json_object_get(part, "message"));

    if (cause[0] != '\0') {
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
        "asOf", dfd_status_time(info.as_of),
        "error", dfd_status_text(agent->refresh_error));
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

    return dfd_status_text(text);
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
    dfd_status_health_t health;

    seen = &agent->seen;
    good = json_object_get(part, "lastGoodPoll");

    state = dfd_status_cache(agent, &cause);

    dfd_status_find_health(agent, part, cause, code, &health);

    /* clang-format off */
    return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I,"
                     " s:b, s:O?, s:O?, s:O?, s:o, s:b, s:{s:s, s:o}, s:o}",
        "configured", dfd_status_configured(agent),
        "health", health.health,
        "code", dfd_status_text(health.code),
        "message", dfd_status_text(health.message),
        "generation", (json_int_t) seen->generation,
        "devices", (json_int_t) seen->devices,
        "addresses", (json_int_t) seen->addresses,
        "skipped", json_integer_value(json_object_get(good, "skipped")),
        "polling", json_is_true(json_object_get(part, "polling")),
        "lastPoll", json_object_get(part, "lastPoll"),
        "lastGoodPoll", good,
        "nextPoll", json_object_get(part, "nextPoll"),
        "leaseHolder", dfd_status_holder(agent),
        "leaseHolderIsThisHost", (int) dfd_lease_held(agent),
        "cache", "state", state, "cause", dfd_status_text(cause),
        "snapshot", dfd_status_snapshot(agent));
    /* clang-format on */
}


void
dfd_status_publish(dfd_agent_t *agent)
{
    char   *text;
    json_t *part, *status;

    part = dfd_lease_held(agent) ? dfd_status_part(agent)
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
