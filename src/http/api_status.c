#include "http/api.h"
#include "http/audit.h"

#include "core/timestamp.h"
#include "host/zone.h"

#include <openssl/rand.h>


/* the agents look once a second: a shorter key could pass unseen */
#define DFD_SYNC_MIN_COOLDOWN 5000


typedef struct {
    dfd_wait_t       wait; /* first: its handlers are given it */
    dfd_host_conf_t *conf;
} dfd_sync_t;


/* clang-format off */
static json_t *dfd_status_read(ngx_http_request_t *r);
static void dfd_status_age(json_t *status);
static int64_t dfd_status_days(const json_t *date);
static json_t *dfd_status_counters(const dfd_zone_t *zone);
static void dfd_status_count(json_t *counters, const char *name,
    const char *label, ngx_atomic_uint_t n);

static ngx_uint_t dfd_sync_running(ngx_http_request_t *r, int64_t *left);
static ngx_int_t dfd_sync_ask(dfd_sync_t *s);
static void dfd_sync_set(void *data, redisReply *reply, const char *cause);
static void dfd_sync_ttl(void *data, redisReply *reply, const char *cause);
static ngx_int_t dfd_sync_cooling(ngx_http_request_t *r, long long ms);
static ngx_int_t dfd_sync_wait(ngx_http_request_t *r, int seconds,
    const char *code, const char *result, const char *why);
static void dfd_sync_late(dfd_wait_t *wait);
static void dfd_sync_end(dfd_sync_t *s, ngx_int_t rc);
/* clang-format on */


/* Answered from shared memory, so Redis may be down. */

ngx_int_t
dfd_api_status_get(ngx_http_request_t *r, ngx_str_t *body)
{
    json_t          *status;
    dfd_host_conf_t *conf;

    conf = ngx_http_defender_host_conf(r);

    status = dfd_status_read(r);

    if (status == NULL) {

        /* the agent of this host has not looked yet */

        status = json_pack("{s:s, s:s}", "configured", "unknown", "health",
                           "waiting");
    }

    dfd_status_age(status);
    dfd_api_warnings(status);

    (void) json_object_set_new(status, "counters",
                               dfd_status_counters(conf->zone));

    return dfd_reply_json(r, NGX_HTTP_OK, status);
}


static json_t *
dfd_status_read(ngx_http_request_t *r)
{
    json_t   *json;
    ngx_str_t text;

    if (dfd_zone_get_status(ngx_http_defender_host_conf(r), r->pool, &text)
            != NGX_OK
        || text.len == 0)
    {
        return NULL;
    }

    json = json_loadb((char *) text.data, text.len, 0, NULL);

    if (!json_is_object(json)) {
        json_decref(json);
        return NULL;
    }

    return json;
}


/* how old the data are that look-ups use, at this moment */

static void
dfd_status_age(json_t *status)
{
    int64_t as_of, age;
    json_t *text;

    text = json_object_get(json_object_get(status, "snapshot"), "asOf");

    if (!json_is_string(text)) {
        return;
    }

    as_of = dfd_time_parse(json_string_value(text), json_string_length(text));

    if (as_of == DFD_TIME_NONE) {
        return;
    }

    age = (dfd_time_now() - as_of) / DFD_TICKS_PER_SECOND;

    (void) json_object_set_new(status, "ageSeconds",
                               json_integer(age < 0 ? 0 : age));
}


/*
 * A secret that runs out stops everything, and on a day that is known.  The
 * hour is not, so its last day counts as a day on which it may already be
 * refused.
 */

void
dfd_api_warnings(json_t *json)
{
    size_t  i;
    char    message[128];
    json_t *warnings, *date;
    int64_t days;

    static const int steps[] = { 1, 7, 30 };

    warnings = json_array();

    date = json_object_get(json, "secretExpiresAt");
    days = dfd_status_days(date);

    if (json_is_string(date) && days < 0) {

        (void) json_array_append_new(
            warnings,
            json_pack("{s:s, s:s, s:I, s:s}", "code", "secret_expired",
                      "field", "secretExpiresAt", "days", (json_int_t) days,
                      "message",
                      "The App Secret has expired: create a new client "
                      "secret and enter its Value"));
    }

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {

        if (!json_is_string(date) || days < 0 || days > steps[i]) {
            continue;
        }

        *ngx_snprintf((u_char *) message, sizeof(message) - 1,
                      "The App Secret expires within %L day%s: create a new "
                      "client secret and enter its Value",
                      ngx_max(days, 1), days > 1 ? "s" : "") = '\0';

        (void) json_array_append_new(
            warnings, json_pack("{s:s, s:s, s:I, s:i, s:s}", "code",
                                "secret_expires_soon", "field",
                                "secretExpiresAt", "days", (json_int_t) days,
                                "within", steps[i], "message", message));
        break;
    }

    (void) json_object_set_new(json, "warnings", warnings);
}


/* whole days in UTC from today; negative: the date has passed */

static int64_t
dfd_status_days(const json_t *date)
{
    u_char  text[DFD_TIME_TEXT];
    int64_t ticks, day;

    if (!json_is_string(date) || json_string_length(date) != DFD_SETTINGS_DATE)
    {
        return INT64_MAX;
    }

    day = DFD_TICKS_PER_SECOND * 24 * 3600;

    (void) ngx_sprintf(text, "%sT00:00:00Z%Z", json_string_value(date));

    ticks = dfd_time_parse((char *) text, ngx_strlen(text));

    return ticks == DFD_TIME_NONE ? INT64_MAX
                                  : ticks / day - dfd_time_now() / day;
}


#define DFD_STATUS_COUNT(id, name, label)                                     \
    dfd_status_count(counters, name, label, zone->counters[DFD_COUNT_##id]);

static json_t *
dfd_status_counters(const dfd_zone_t *zone)
{
    json_t *counters;

    counters = json_object();

    DFD_COUNTERS(DFD_STATUS_COUNT)

    return counters;
}


/*
 * "lookups_total" with match="exact" becomes "lookups":{"exact":n}, a counter
 * without a label a plain number.
 */

static void
dfd_status_count(json_t *counters, const char *name, const char *label,
                 ngx_atomic_uint_t n)
{
    char    key[32];
    json_t *group, *number;
    size_t  len;

    number = json_integer((json_int_t) n);

    len = ngx_strlen(name) - (sizeof("_total") - 1);
    (void) ngx_cpystrn((u_char *) key, (u_char *) name,
                       ngx_min(len + 1, sizeof(key)));

    if (label[0] == '\0') {
        (void) json_object_set_new(counters, key, number);
        return;
    }

    group = json_object_get(counters, key);

    if (group == NULL) {
        group = json_object();
        (void) json_object_set_new(counters, key, group);
    }

    label = strchr(label, '"') + 1;
    len = (size_t) (strchr(label, '"') - label);

    (void) ngx_cpystrn((u_char *) key, (u_char *) label,
                       ngx_min(len + 1, sizeof(key)));
    (void) json_object_set_new(group, key, number);
}


ngx_int_t
dfd_api_sync_post(ngx_http_request_t *r, ngx_str_t *body)
{
    int64_t          left;
    ngx_int_t        rc;
    dfd_sync_t      *s;
    dfd_host_conf_t *conf;

    conf = ngx_http_defender_host_conf(r);

    if (dfd_api_no_body(r, body, &rc) != NGX_OK) {
        return rc;
    }

    if (conf->zone->access == DFD_ACCESS_NOT_CONFIGURED) {
        return dfd_reply_problem(r, NGX_HTTP_CONFLICT, "not_configured", NULL,
                                 "the integration is not configured", NULL);
    }

    if (conf->zone->access == DFD_ACCESS_DISABLED) {
        return dfd_reply_problem(r, NGX_HTTP_CONFLICT, "disabled", NULL,
                                 "the integration is switched off", NULL);
    }

    if (dfd_sync_running(r, &left)) {
        return dfd_reply_json(r, NGX_HTTP_OK,
                              json_pack("{s:s}", "result", "busy"));
    }

    if (left > 0) {
        return dfd_sync_wait(r, (int) ngx_min(left, INT_MAX), "throttled",
                             "throttled",
                             "Defender wants no calls until then");
    }

    s = ngx_calloc(sizeof(dfd_sync_t), ngx_cycle->log);
    if (s == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    s->conf = conf;
    s->wait.late = dfd_sync_late;

    rc = dfd_wait_start(&s->wait, r, dfd_api_redis_deadline(conf));

    if (rc == NGX_OK) {
        rc = dfd_sync_ask(s);

        if (rc == NGX_OK) {
            return NGX_DONE;
        }

        (void) dfd_wait_take(&s->wait);
    }

    ngx_free(s);

    return rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                          : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/* and how many seconds Defender's Retry-After still runs; 0: not at all */

static ngx_uint_t
dfd_sync_running(ngx_http_request_t *r, int64_t *left)
{
    int64_t     until;
    json_t     *status;
    ngx_uint_t  running;
    const char *text;

    status = dfd_status_read(r);
    running = json_is_true(json_object_get(status, "polling"));
    text = json_string_value(json_object_get(status, "throttledUntil"));

    until =
        (text == NULL) ? DFD_TIME_NONE : dfd_time_parse(text, strlen(text));

    *left = 0;

    if (until != DFD_TIME_NONE && until > dfd_time_now()) {
        *left = (until - dfd_time_now() + DFD_TICKS_PER_SECOND - 1)
              / DFD_TICKS_PER_SECOND;
    }

    json_decref(status);

    return running;
}


/* "SET key id NX PX ms": the key is the cool-down, its value names the wish */

static ngx_int_t
dfd_sync_ask(dfd_sync_t *s)
{
    u_char     random[16], id[2 * sizeof(random)], ms[NGX_INT64_LEN];
    ngx_str_t  argv[6];
    ngx_msec_t cooldown;

    if (RAND_bytes(random, sizeof(random)) != 1) {
        return NGX_ERROR;
    }

    cooldown = ngx_max(s->conf->sync_cooldown, DFD_SYNC_MIN_COOLDOWN);

    ngx_str_set(&argv[0], "SET");
    argv[1] = s->conf->keys.sync;
    argv[2].data = id;
    argv[2].len = (size_t) (ngx_hex_dump(id, random, sizeof(random)) - id);
    ngx_str_set(&argv[3], "NX");
    ngx_str_set(&argv[4], "PX");
    argv[5].data = ms;
    argv[5].len = (size_t) (ngx_sprintf(ms, "%M", cooldown) - ms);

    return dfd_api_redis_command(s->conf, dfd_sync_set, s, 6, argv);
}


static void
dfd_sync_set(void *data, redisReply *reply, const char *cause)
{
    dfd_sync_t *s = data;

    ngx_int_t           rc;
    ngx_str_t           argv[2];
    ngx_http_request_t *r;

    r = s->wait.request;

    if (r == NULL) {
        ngx_free(s);
        return;
    }

    if (reply == NULL) {
        dfd_sync_end(s, dfd_api_cache_down(r, cause));
        return;
    }

    if (reply->type == REDIS_REPLY_STATUS) {
        dfd_audit_done(r, "done", "");
        dfd_sync_end(s,
                     dfd_reply_json(r, NGX_HTTP_ACCEPTED,
                                    json_pack("{s:s}", "result", "started")));
        return;
    }

    if (reply->type != REDIS_REPLY_NIL) {
        dfd_sync_end(s, dfd_api_cache_error(r, reply));
        return;
    }

    ngx_str_set(&argv[0], "PTTL");
    argv[1] = s->conf->keys.sync;

    rc = dfd_api_redis_command(s->conf, dfd_sync_ttl, s, 2, argv);

    if (rc != NGX_OK) {
        dfd_sync_end(s, rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                                       : NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


static void
dfd_sync_ttl(void *data, redisReply *reply, const char *cause)
{
    dfd_sync_t *s = data;

    ngx_int_t           rc;
    ngx_http_request_t *r;

    r = s->wait.request;

    if (r == NULL) {
        ngx_free(s);
        return;
    }

    if (reply == NULL) {
        rc = dfd_api_cache_down(r, cause);

    } else if (reply->type != REDIS_REPLY_INTEGER) {
        rc = dfd_api_cache_error(r, reply);

    } else {
        rc = dfd_sync_cooling(r, reply->integer);
    }

    dfd_sync_end(s, rc);
}


static ngx_int_t
dfd_sync_cooling(ngx_http_request_t *r, long long ms)
{
    /* it ended in between: then at once, which is one second here */

    return dfd_sync_wait(r, ms > 0 ? (int) ((ms + 999) / 1000) : 1,
                         "cooling_down", "cooling-down",
                         "a poll was asked for a moment ago");
}


static ngx_int_t
dfd_sync_wait(ngx_http_request_t *r, int seconds, const char *code,
              const char *result, const char *why)
{
    u_char text[NGX_INT64_LEN + 1];

    *ngx_snprintf(text, sizeof(text) - 1, "%d", seconds) = '\0';

    if (dfd_reply_add(r, "Retry-After", (char *) text) != NGX_OK) {
        return NGX_ERROR;
    }

    return dfd_reply_problem(
        r, NGX_HTTP_TOO_MANY_REQUESTS, code, NULL, why,
        json_pack("{s:s, s:i}", "result", result, "retryAfter", seconds));
}


static void
dfd_sync_late(dfd_wait_t *wait)
{
    ngx_int_t           rc;
    ngx_http_request_t *r;

    r = dfd_wait_take(wait);

    rc = dfd_api_cache_down(r, "no answer in time");

    dfd_wait_finalize(r, rc);
}


static void
dfd_sync_end(dfd_sync_t *s, ngx_int_t rc)
{
    ngx_http_request_t *r;

    r = dfd_wait_take(&s->wait);

    ngx_free(s);

    dfd_wait_finalize(r, rc);
}
