#include "agent/wipe.h"

#include "agent/eval.h"
#include "agent/ipkeys.h"
#include "agent/lease.h"
#include "agent/observe.h"
#include "agent/poll.h"
#include "agent/refresh.h"
#include "agent/scripts.h"
#include "agent/slice.h"


#define DFD_WIPE_COUNT  "128"  /* addresses at a time */
#define DFD_WIPE_KEYS   "1000" /* keys that Redis looks at at a time */
#define DFD_WIPE_CURSOR 24
#define DFD_WIPE_PAUSE  2000 /* after one that failed */

/* room for "<prefix>stage:*" with each byte of the prefix escaped */
#define DFD_WIPE_PATTERN 512


typedef enum {
    DFD_WIPE_ADDRESSES = 0,
    DFD_WIPE_STAGES,
    DFD_WIPE_END
} dfd_wipe_state_t;


struct dfd_wipe_s {
    dfd_agent_t     *agent;
    uint64_t         revision;
    ngx_uint_t       deleted; /* else: another tenant */
    dfd_wipe_state_t state;
    ngx_uint_t       asked; /* replies that are to come */
    ngx_uint_t       dead;
    char             cursor[DFD_WIPE_CURSOR];
    dfd_slice_t      slice;
};


static void dfd_wipe_step(dfd_wipe_t *wipe);


ngx_uint_t
dfd_wipe_needed(dfd_agent_t *agent)
{
    dfd_seen_t    *seen;
    dfd_account_t *account;

    seen = &agent->seen;
    account = &agent->account;

    if (account->deleted) {
        return seen->wiped != account->revision || seen->source[0] != '\0';
    }

    return account->source[0] != '\0' && seen->source[0] != '\0'
        && ngx_strcmp(seen->source, account->source) != 0;
}


void
dfd_wipe_host(dfd_agent_t *agent)
{
    char                  why[DFD_SNAPSHOT_ERROR];
    dfd_account_t        *account;
    dfd_snapshot_info_t   info;
    const dfd_snapshot_t *snapshot;

    account = &agent->account;
    snapshot = dfd_cache_mapped(agent->conf);

    if (snapshot != NULL) {
        dfd_snapshot_info(snapshot, &info);
        agent->dropped = 0;
    }

    /*
     * Settings that are gone without a word from us are no reason: promises
     * hold while somebody puts his Redis in order.
     */
    if (agent->dropped
        || (!account->deleted && agent->seen.wiped == 0
            && (snapshot == NULL || account->source[0] == '\0'
                || info.source == account->number)))
    {
        return;
    }

    dfd_refresh_abort(agent->refresh);

    if (dfd_cache_drop(agent->conf, why) != NGX_OK) {

        if (ngx_strcmp(agent->refresh_error, why) != 0) {
            ngx_log_error(NGX_LOG_ERR, agent->log, 0,
                          "defender: a snapshot that must go is still there: "
                          "%s",
                          why);
        }

        (void) ngx_cpystrn((u_char *) agent->refresh_error, (u_char *) why,
                           DFD_AGENT_TEXT);
        return;
    }

    agent->dropped = 1;
    agent->refresh_error[0] = '\0';

    if (snapshot != NULL) {
        ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                      "defender: the snapshot is removed: %s",
                      account->deleted ? "the settings were deleted"
                                       : "it is of other settings");
    }
}


static void
dfd_wipe_free(dfd_wipe_t *wipe)
{
    dfd_slice_clear(&wipe->slice);
    ngx_free(wipe);
}


void
dfd_wipe_abort(dfd_wipe_t *wipe)
{
    if (wipe == NULL) {
        return;
    }

    wipe->agent->wipe = NULL;
    wipe->dead = 1;

    if (wipe->asked == 0) {
        dfd_wipe_free(wipe);
    }
}


static void
dfd_wipe_fail(dfd_wipe_t *wipe, const char *why)
{
    dfd_agent_t *agent;

    agent = wipe->agent;

    agent->wipe_after = ngx_current_msec + DFD_WIPE_PAUSE;

    if (!agent->wipe_failed) {
        agent->wipe_failed = 1;
        ngx_log_error(NGX_LOG_WARN, agent->log, 0,
                      "defender: devices that must go are still in Redis: %s",
                      why);
    }

    dfd_wipe_abort(wipe);
}


/* 1: the reply counts; 0: the work is over, and wipe may be gone */
static ngx_uint_t
dfd_wipe_replied(dfd_wipe_t *wipe, const redisReply *reply, int type,
                 const char *cause)
{
    const char *why;

    wipe->asked--;

    if (wipe->dead) {

        if (wipe->asked == 0) {
            dfd_wipe_free(wipe);
        }

        return 0;
    }

    why = dfd_eval_unless(reply, type, cause);

    if (why == NULL && type == REDIS_REPLY_INTEGER
        && reply->integer == DFD_EVAL_LOST)
    {
        why = "the lease is lost";
    }

    if (why != NULL) {
        dfd_wipe_fail(wipe, why);
        return 0;
    }

    return 1;
}


static ngx_int_t
dfd_wipe_ask(dfd_wipe_t *wipe, dfd_eval_t *eval, dfd_redis_reply_pt handler)
{
    if (dfd_eval_send(eval, wipe->agent->redis, handler, wipe) != NGX_OK) {
        return NGX_ERROR;
    }

    wipe->asked++;

    return NGX_OK;
}


static void
dfd_wipe_removed(void *data, redisReply *reply, const char *cause)
{
    dfd_wipe_t *wipe = data;

    if (dfd_wipe_replied(wipe, reply, REDIS_REPLY_INTEGER, cause)
        && wipe->asked == 0)
    {
        dfd_wipe_step(wipe);
    }
}


static ngx_int_t
dfd_wipe_send_slice(dfd_wipe_t *wipe)
{
    ngx_int_t rc;

    rc = dfd_slice_send(&wipe->slice, wipe->agent, 0, dfd_wipe_removed, wipe);

    if (rc == NGX_OK) {
        wipe->asked++;
    }

    dfd_slice_begin(&wipe->slice);

    return rc;
}


static ngx_int_t
dfd_wipe_addresses(dfd_wipe_t *wipe, const redisReply *members)
{
    size_t      i, len;
    const char *text;

    dfd_slice_begin(&wipe->slice);

    for (i = 0; i < members->elements; i++) {

        text = dfd_eval_element(members, i, &len);

        if (text == NULL) {
            continue;
        }

        if (dfd_slice_add_key(&wipe->slice, &wipe->agent->conf->keys.ip, text,
                              len)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (dfd_slice_full(&wipe->slice)
            && dfd_wipe_send_slice(wipe) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return (wipe->slice.n == 0) ? NGX_OK : dfd_wipe_send_slice(wipe);
}


/* stages whose pollers died: nobody else knows their names */
static ngx_int_t
dfd_wipe_stages(dfd_wipe_t *wipe, const redisReply *keys)
{
    size_t      i, len;
    dfd_eval_t  eval;
    const char *key;

    if (keys->elements == 0) {
        return NGX_OK;
    }

    dfd_eval_command(&eval, "UNLINK", keys->elements + 1);

    for (i = 0; i < keys->elements; i++) {
        key = dfd_eval_element(keys, i, &len);
        dfd_eval_add(&eval, (key == NULL) ? "" : key, (key == NULL) ? 0 : len);
    }

    return dfd_wipe_ask(wipe, &eval, dfd_wipe_removed);
}


/* of SSCAN and of SCAN */
static void
dfd_wipe_scanned(void *data, redisReply *reply, const char *cause)
{
    dfd_wipe_t *wipe = data;

    size_t            len;
    ngx_int_t         rc;
    const char       *cursor;
    const redisReply *found;

    if (!dfd_wipe_replied(wipe, reply, REDIS_REPLY_ARRAY, cause)) {
        return;
    }

    cursor = dfd_eval_element(reply, 0, &len);

    if (cursor == NULL || len >= DFD_WIPE_CURSOR || reply->elements != 2
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        dfd_wipe_fail(wipe, "unexpected reply");
        return;
    }

    (void) ngx_cpystrn((u_char *) wipe->cursor, (u_char *) cursor, len + 1);

    found = reply->element[1];

    rc = (wipe->state == DFD_WIPE_ADDRESSES) ? dfd_wipe_addresses(wipe, found)
                                             : dfd_wipe_stages(wipe, found);

    if (rc != NGX_OK) {
        dfd_wipe_fail(wipe, "Redis takes no commands");
        return;
    }

    if (ngx_strcmp(wipe->cursor, "0") == 0) {
        wipe->state = (wipe->state == DFD_WIPE_ADDRESSES && wipe->deleted)
                        ? DFD_WIPE_STAGES
                        : DFD_WIPE_END;
    }

    if (wipe->asked == 0) {
        dfd_wipe_step(wipe);
    }
}


static ngx_int_t
dfd_wipe_scan_addresses(dfd_wipe_t *wipe)
{
    dfd_eval_t eval;

    dfd_eval_command(&eval, "SSCAN", 5);
    dfd_eval_str(&eval, &wipe->agent->conf->keys.ips);
    dfd_eval_text(&eval, wipe->cursor);
    dfd_eval_text(&eval, "COUNT");
    dfd_eval_text(&eval, DFD_WIPE_COUNT);

    return dfd_wipe_ask(wipe, &eval, dfd_wipe_scanned);
}


static ngx_int_t
dfd_wipe_scan_stages(dfd_wipe_t *wipe)
{
    u_char     pattern[DFD_WIPE_PATTERN], *p;
    size_t     i;
    ngx_str_t *prefix;
    dfd_eval_t eval;

    prefix = &wipe->agent->conf->keys.stage;
    p = pattern;

    for (i = 0; i < prefix->len && p < pattern + DFD_WIPE_PATTERN - 3; i++) {

        if (strchr("*?[]^\\", prefix->data[i]) != NULL) {
            *p++ = '\\';
        }

        *p++ = prefix->data[i];
    }

    *p++ = '*';

    dfd_eval_command(&eval, "SCAN", 6);
    dfd_eval_text(&eval, wipe->cursor);
    dfd_eval_text(&eval, "MATCH");
    dfd_eval_add(&eval, pattern, p - pattern);
    dfd_eval_text(&eval, "COUNT");
    dfd_eval_text(&eval, DFD_WIPE_KEYS);

    return dfd_wipe_ask(wipe, &eval, dfd_wipe_scanned);
}


static void
dfd_wipe_ended(void *data, redisReply *reply, const char *cause)
{
    dfd_wipe_t *wipe = data;

    dfd_agent_t *agent;

    if (!dfd_wipe_replied(wipe, reply, REDIS_REPLY_INTEGER, cause)) {
        return;
    }

    if (reply->integer == 0) {
        wipe->state = DFD_WIPE_ADDRESSES;
        dfd_wipe_step(wipe);
        return;
    }

    agent = wipe->agent;
    agent->wipe_failed = 0;

    ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                  "defender: the devices in Redis are removed: %s",
                  wipe->deleted ? "the settings were deleted"
                                : "they were another tenant's");

    dfd_wipe_abort(wipe);

    /* what was seen is older than this */
    agent->seen.source[0] = '\0';

    dfd_observe_ask(agent);
}


static ngx_int_t
dfd_wipe_end(dfd_wipe_t *wipe)
{
    dfd_eval_t  eval;
    dfd_keys_t *keys;

    keys = &wipe->agent->conf->keys;

    dfd_eval_script(&eval, DFD_SCRIPT_WIPED, wipe->deleted ? 5 : 3, 2);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_str(&eval, &keys->meta);
    dfd_eval_str(&eval, &keys->ips);

    if (wipe->deleted) {
        dfd_eval_str(&eval, &keys->status);
        dfd_eval_str(&eval, &keys->sync);
    }

    dfd_eval_text(&eval, wipe->agent->lease.token);
    dfd_eval_text(&eval, wipe->deleted ? "not-configured" : "waiting");

    return dfd_wipe_ask(wipe, &eval, dfd_wipe_ended);
}


static void
dfd_wipe_step(dfd_wipe_t *wipe)
{
    ngx_int_t rc;

    if (!dfd_lease_held(wipe->agent)) {
        dfd_wipe_abort(wipe);
        return;
    }

    switch (wipe->state) {

    case DFD_WIPE_ADDRESSES:
        rc = dfd_wipe_scan_addresses(wipe);
        break;

    case DFD_WIPE_STAGES:
        rc = dfd_wipe_scan_stages(wipe);
        break;

    default:
        rc = dfd_wipe_end(wipe);
        break;
    }

    if (rc != NGX_OK) {
        dfd_wipe_fail(wipe, "Redis takes no commands");
    }
}


static ngx_int_t
dfd_wipe_begin(dfd_wipe_t *wipe)
{
    dfd_eval_t  eval;
    dfd_keys_t *keys;

    keys = &wipe->agent->conf->keys;

    dfd_eval_script(&eval, DFD_SCRIPT_WIPE, 3, 2);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_str(&eval, &keys->devices);
    dfd_eval_str(&eval, &keys->meta);
    dfd_eval_text(&eval, wipe->agent->lease.token);
    dfd_eval_uint(&eval, wipe->revision);

    return dfd_wipe_ask(wipe, &eval, dfd_wipe_removed);
}


void
dfd_wipe_tick(dfd_agent_t *agent)
{
    dfd_wipe_t *wipe;

    wipe = agent->wipe;

    if (wipe != NULL
        && (wipe->revision != agent->account.revision
            || wipe->deleted != agent->account.deleted))
    {
        dfd_wipe_abort(wipe);
    }

    if (agent->wipe != NULL || !dfd_lease_held(agent)
        || !dfd_wipe_needed(agent) || !dfd_agent_passed(agent->wipe_after))
    {
        return;
    }

    wipe = ngx_calloc(sizeof(dfd_wipe_t), agent->log);
    if (wipe == NULL) {
        return;
    }

    wipe->agent = agent;
    wipe->revision = agent->account.revision;
    wipe->deleted = agent->account.deleted;
    wipe->cursor[0] = '0';

    agent->wipe = wipe;

    /* they write what is removed here */
    dfd_poll_cancel(agent->poll);
    dfd_ipkeys_abort(agent->ipkeys);

    if (dfd_wipe_begin(wipe) != NGX_OK) {
        dfd_wipe_fail(wipe, "Redis takes no commands");
    }
}
