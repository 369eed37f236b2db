#include "agent/ipkeys.h"

#include "agent/eval.h"
#include "agent/lease.h"
#include "agent/refresh.h"
#include "agent/scripts.h"
#include "agent/slice.h"


/* scripts on the way to Redis */
#define DFD_IPKEYS_AHEAD 2

#define DFD_IPKEYS_COUNT  "128"
#define DFD_IPKEYS_CURSOR 24
#define DFD_IPKEYS_PAUSE  10000


struct dfd_ipkeys_s {
    dfd_agent_t *agent;
    uint64_t     generation;
    int64_t      as_of;

    uint64_t   place;  /* in the snapshot's index */
    ngx_uint_t walked; /* the index is at its end */
    ngx_uint_t swept;  /* all members of the set were looked at */
    ngx_uint_t written;
    ngx_uint_t dropped;

    ngx_event_t work;  /* the next slice, when no reply brings it */
    ngx_uint_t  asked; /* replies that are to come */
    ngx_uint_t  dead;
    char        cursor[DFD_IPKEYS_CURSOR];

    dfd_slice_t slice; /* that is being made */
};


static void dfd_ipkeys_step(dfd_ipkeys_t *ipkeys);


static void
dfd_ipkeys_free(dfd_ipkeys_t *ipkeys)
{
    dfd_slice_clear(&ipkeys->slice);
    ngx_free(ipkeys);
}


void
dfd_ipkeys_abort(dfd_ipkeys_t *ipkeys)
{
    if (ipkeys == NULL) {
        return;
    }

    if (ipkeys->work.posted) {
        ngx_delete_posted_event(&ipkeys->work);
    }

    ipkeys->agent->ipkeys = NULL;
    ipkeys->dead = 1;

    if (ipkeys->asked == 0) {
        dfd_ipkeys_free(ipkeys);
    }
}


static void
dfd_ipkeys_fail(dfd_ipkeys_t *ipkeys, const char *why)
{
    dfd_agent_t *agent;

    agent = ipkeys->agent;

    agent->ipkeys_after = ngx_current_msec + DFD_IPKEYS_PAUSE;

    if (!agent->ipkeys_failed) {
        agent->ipkeys_failed = 1;
        ngx_log_error(NGX_LOG_WARN, agent->log, 0,
                      "defender: the keys of single addresses in Redis are "
                      "not up to date: %s",
                      why);
    }

    dfd_ipkeys_abort(ipkeys);
}


/* 1: the reply counts; 0: the work is over, and ipkeys may be gone */
static ngx_uint_t
dfd_ipkeys_replied(dfd_ipkeys_t *ipkeys, const redisReply *reply, int type,
                   const char *cause)
{
    const char *why;

    ipkeys->asked--;

    if (ipkeys->dead) {

        if (ipkeys->asked == 0) {
            dfd_ipkeys_free(ipkeys);
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
        dfd_ipkeys_fail(ipkeys, why);
        return 0;
    }

    return 1;
}


/* the snapshot of this generation; NULL: it is not current any more */
static const dfd_snapshot_t *
dfd_ipkeys_snapshot(dfd_ipkeys_t *ipkeys)
{
    const dfd_snapshot_t *snapshot;

    if (!dfd_refresh_current(ipkeys->agent, &snapshot)
        || ipkeys->agent->seen.generation != ipkeys->generation
        || ipkeys->agent->seen.as_of != ipkeys->as_of)
    {
        return NULL;
    }

    return snapshot;
}


/* 1: the address names a device, or several that claim it */
static ngx_uint_t
dfd_ipkeys_look_up(dfd_ipkeys_t *ipkeys, const dfd_snapshot_t *snapshot,
                   const dfd_addr_t *addr, dfd_lookup_t *lookup)
{
    const dfd_lookup_conf_t *conf;

    conf = &ipkeys->agent->conf->lookup;

    if (!dfd_lookup_allowed(conf, addr)) {
        return 0;
    }

    dfd_lookup(lookup, snapshot, conf, addr, dfd_cache_now(), NULL);

    return lookup->match.verdict != DFD_MATCH_NONE
        && lookup->match.verdict != DFD_MATCH_UNAVAILABLE;
}


static void
dfd_ipkeys_set_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_ipkeys_t *ipkeys = data;

    if (dfd_ipkeys_replied(ipkeys, reply, REDIS_REPLY_INTEGER, cause)) {
        dfd_ipkeys_step(ipkeys);
    }
}


static ngx_int_t
dfd_ipkeys_send(dfd_ipkeys_t *ipkeys, ngx_uint_t set)
{
    if (dfd_slice_send(&ipkeys->slice, ipkeys->agent, set,
                       dfd_ipkeys_set_reply, ipkeys)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ipkeys->asked++;

    return NGX_OK;
}


/* one slice of the snapshot's index */
static ngx_int_t
dfd_ipkeys_walk(dfd_ipkeys_t *ipkeys, const dfd_snapshot_t *snapshot)
{
    char         text[DFD_ADDR_TEXT];
    size_t       len;
    ngx_str_t   *prefix;
    ngx_uint_t   i;
    dfd_addr_t   addr;
    dfd_lookup_t lookup;

    prefix = &ipkeys->agent->conf->keys.ip;

    dfd_slice_begin(&ipkeys->slice);

    for (i = 0; i < DFD_SLICE_ITEMS && !dfd_slice_full(&ipkeys->slice); i++) {

        if (!dfd_snapshot_next(snapshot, &ipkeys->place, &addr)) {
            ipkeys->walked = 1;
            break;
        }

        if (!dfd_ipkeys_look_up(ipkeys, snapshot, &addr, &lookup)) {
            continue;
        }

        len = dfd_addr_format(&addr, text);

        if (dfd_slice_add_key(&ipkeys->slice, prefix, text, len) != NGX_OK
            || dfd_slice_add_entity(&ipkeys->slice, &lookup) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    ipkeys->written += ipkeys->slice.n;

    return (ipkeys->slice.n == 0) ? NGX_OK : dfd_ipkeys_send(ipkeys, 1);
}


/* of the set's members, the ones that have lost their device */
static ngx_int_t
dfd_ipkeys_sort_out(dfd_ipkeys_t *ipkeys, const dfd_snapshot_t *snapshot,
                    const redisReply *members)
{
    size_t       i, len;
    ngx_str_t   *prefix;
    const char  *text;
    dfd_addr_t   addr;
    dfd_lookup_t lookup;

    prefix = &ipkeys->agent->conf->keys.ip;

    dfd_slice_begin(&ipkeys->slice);

    for (i = 0; i < members->elements; i++) {

        text = dfd_eval_element(members, i, &len);

        if (text == NULL
            || (dfd_addr_parse(&addr, text, len)
                && dfd_ipkeys_look_up(ipkeys, snapshot, &addr, &lookup)))
        {
            continue;
        }

        if (dfd_slice_add_key(&ipkeys->slice, prefix, text, len) != NGX_OK) {
            return NGX_ERROR;
        }

        ipkeys->dropped++;

        /* SSCAN may return more than it was asked for */

        if (dfd_slice_full(&ipkeys->slice)) {

            if (dfd_ipkeys_send(ipkeys, 0) != NGX_OK) {
                return NGX_ERROR;
            }

            dfd_slice_begin(&ipkeys->slice);
        }
    }

    return (ipkeys->slice.n == 0) ? NGX_OK : dfd_ipkeys_send(ipkeys, 0);
}


static void
dfd_ipkeys_sweep_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_ipkeys_t *ipkeys = data;

    size_t                len;
    const char           *cursor;
    const dfd_snapshot_t *snapshot;

    if (!dfd_ipkeys_replied(ipkeys, reply, REDIS_REPLY_ARRAY, cause)) {
        return;
    }

    cursor = dfd_eval_element(reply, 0, &len);

    if (cursor == NULL || len >= DFD_IPKEYS_CURSOR || reply->elements != 2
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        dfd_ipkeys_fail(ipkeys, "unexpected reply");
        return;
    }

    (void) ngx_cpystrn((u_char *) ipkeys->cursor, (u_char *) cursor, len + 1);

    ipkeys->swept = (len == 1 && cursor[0] == '0');

    snapshot = dfd_ipkeys_snapshot(ipkeys);

    if (snapshot == NULL) {
        dfd_ipkeys_abort(ipkeys);
        return;
    }

    if (dfd_ipkeys_sort_out(ipkeys, snapshot, reply->element[1]) != NGX_OK) {
        dfd_ipkeys_fail(ipkeys, "Redis takes no commands");
        return;
    }

    dfd_ipkeys_step(ipkeys);
}


static ngx_int_t
dfd_ipkeys_sweep(dfd_ipkeys_t *ipkeys)
{
    dfd_eval_t eval;

    dfd_eval_command(&eval, "SSCAN", 5);
    dfd_eval_str(&eval, &ipkeys->agent->conf->keys.ips);
    dfd_eval_text(&eval, ipkeys->cursor);
    dfd_eval_text(&eval, "COUNT");
    dfd_eval_text(&eval, DFD_IPKEYS_COUNT);

    if (dfd_eval_send(&eval, ipkeys->agent->redis, dfd_ipkeys_sweep_reply,
                      ipkeys)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ipkeys->asked++;

    return NGX_OK;
}


static void
dfd_ipkeys_done_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_ipkeys_t *ipkeys = data;

    dfd_agent_t *agent;

    if (!dfd_ipkeys_replied(ipkeys, reply, REDIS_REPLY_INTEGER, cause)) {
        return;
    }

    agent = ipkeys->agent;

    if (reply->integer == 1) {
        agent->seen.ip_generation = ipkeys->generation;
        agent->seen.addresses = ipkeys->written;
        agent->ipkeys_failed = 0;

        ngx_log_error(NGX_LOG_INFO, agent->log, 0,
                      "defender: generation %uL: %ui address keys written, "
                      "%ui removed",
                      ipkeys->generation, ipkeys->written, ipkeys->dropped);
    }

    dfd_ipkeys_abort(ipkeys);
}


static ngx_int_t
dfd_ipkeys_done(dfd_ipkeys_t *ipkeys)
{
    dfd_eval_t  eval;
    dfd_keys_t *keys;

    keys = &ipkeys->agent->conf->keys;

    dfd_eval_script(&eval, DFD_SCRIPT_IP_DONE, 2, 3);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_str(&eval, &keys->meta);
    dfd_eval_text(&eval, ipkeys->agent->lease.token);
    dfd_eval_uint(&eval, ipkeys->generation);
    dfd_eval_uint(&eval, ipkeys->written);

    if (dfd_eval_send(&eval, ipkeys->agent->redis, dfd_ipkeys_done_reply,
                      ipkeys)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ipkeys->asked++;

    return NGX_OK;
}


/* NGX_DECLINED: the snapshot is not current any more */
static ngx_int_t
dfd_ipkeys_next_slice(dfd_ipkeys_t *ipkeys)
{
    ngx_int_t             rc;
    const dfd_snapshot_t *snapshot;

    /* a newer one may have been mapped since the last event */
    snapshot = dfd_ipkeys_snapshot(ipkeys);

    if (snapshot == NULL) {
        return NGX_DECLINED;
    }

    rc = dfd_ipkeys_walk(ipkeys, snapshot);

    if (rc == NGX_OK && ipkeys->asked < DFD_IPKEYS_AHEAD) {
        ngx_post_event(&ipkeys->work, &ngx_posted_next_events);
    }

    return rc;
}


/*
 * The next piece of work, one slice for each event: all addresses of the
 * snapshot first, then the set is swept, then the generation is noted.
 */
static void
dfd_ipkeys_step(dfd_ipkeys_t *ipkeys)
{
    ngx_int_t rc;

    rc = NGX_OK;

    if (!dfd_lease_held(ipkeys->agent)) {
        rc = NGX_DECLINED;

    } else if (!ipkeys->walked) {

        if (ipkeys->asked < DFD_IPKEYS_AHEAD) {
            rc = dfd_ipkeys_next_slice(ipkeys);
        }

    } else if (ipkeys->asked == 0) {
        rc =
            ipkeys->swept ? dfd_ipkeys_done(ipkeys) : dfd_ipkeys_sweep(ipkeys);
    }

    if (rc == NGX_DECLINED) {
        dfd_ipkeys_abort(ipkeys);

    } else if (rc != NGX_OK) {
        dfd_ipkeys_fail(ipkeys, "Redis takes no commands");
    }
}


static void
dfd_ipkeys_work(ngx_event_t *ev)
{
    dfd_ipkeys_step(
        (dfd_ipkeys_t *) ((u_char *) ev - offsetof(dfd_ipkeys_t, work)));
}


void
dfd_ipkeys_tick(dfd_agent_t *agent)
{
    dfd_ipkeys_t         *ipkeys;
    const dfd_snapshot_t *snapshot;

    if (agent->ipkeys != NULL || agent->seen.generation == 0
        || agent->seen.ip_generation == agent->seen.generation
        || !dfd_agent_passed(agent->ipkeys_after) || !dfd_lease_held(agent)
        || !dfd_refresh_current(agent, &snapshot))
    {
        return;
    }

    ipkeys = ngx_calloc(sizeof(dfd_ipkeys_t), agent->log);
    if (ipkeys == NULL) {
        return;
    }

    ipkeys->agent = agent;
    ipkeys->generation = agent->seen.generation;
    ipkeys->as_of = agent->seen.as_of;
    ipkeys->cursor[0] = '0';

    dfd_agent_event(agent, &ipkeys->work, dfd_ipkeys_work);

    agent->ipkeys = ipkeys;

    dfd_ipkeys_step(ipkeys);
}
