#include "agent/refresh.h"

#include "agent/build.h"
#include "agent/eval.h"
#include "agent/scripts.h"


/* records that HSCAN is asked for at a time, about 200 KB */
#define DFD_REFRESH_COUNT "128"

#define DFD_REFRESH_CURSOR 24

#define DFD_REFRESH_PAUSE 10000 /* after one that failed */


struct dfd_refresh_s {
    dfd_agent_t *agent;
    dfd_build_t  build;

    /* at most two batches: one in the thread, one that waits for it */
    dfd_build_rows_t *next;

    ngx_uint_t asked;   /* a reply of Redis is to come */
    ngx_uint_t scanned; /* the cursor came back to its start */
    ngx_uint_t checked; /* and the generation is still the same */
    ngx_uint_t dead;    /* aborted: to be freed when idle */
    char       cursor[DFD_REFRESH_CURSOR];
};


/* an aborted one that a thread or a reply still needs; one at a time */
static dfd_refresh_t *dfd_refresh_orphan;

/* the threads have gone */
static ngx_uint_t dfd_refresh_exiting;


static ngx_int_t dfd_refresh_scan(dfd_refresh_t *refresh);

static void dfd_refresh_scan_reply(void *data, redisReply *reply,
                                   const char *cause);


ngx_uint_t
dfd_refresh_current(dfd_agent_t *agent, const dfd_snapshot_t **snapshot)
{
    const char         *reason;
    dfd_snapshot_info_t info;

    *snapshot = dfd_cache_current(agent->conf, &reason);

    if (*snapshot == NULL) {
        return 0;
    }

    dfd_snapshot_info(*snapshot, &info);

    /*
     * The start of the poll tells two generations of one number apart: the
     * counter begins anew when Redis was flushed.
     */
    return info.generation == agent->seen.generation
        && info.as_of == agent->seen.as_of
        && info.source == agent->account.number;
}


static void
dfd_refresh_free(dfd_refresh_t *refresh)
{
    dfd_build_clear(&refresh->build);

    ngx_free(refresh->next);
    ngx_free(refresh);
}


static ngx_int_t
dfd_refresh_post(dfd_refresh_t *refresh, dfd_build_job_t job)
{
    if (dfd_refresh_exiting) {
        return NGX_ERROR;
    }

    return dfd_build_post(&refresh->build, refresh->agent->conf->thread_pool,
                          job);
}


/* of an aborted one: frees it as soon as nothing else needs it */
static void
dfd_refresh_release(dfd_refresh_t *refresh)
{
    dfd_refresh_orphan = refresh;

    if (refresh->build.running || refresh->asked) {
        return;
    }

    /* the removal of a large file may take its time: not on the loop */

    if (refresh->build.builder != NULL
        && dfd_refresh_post(refresh, DFD_BUILD_DESTROY) == NGX_OK)
    {
        return;
    }

    dfd_refresh_orphan = NULL;
    dfd_refresh_free(refresh);
}


void
dfd_refresh_abort(dfd_refresh_t *refresh)
{
    if (refresh == NULL) {
        return;
    }

    refresh->agent->refresh = NULL;
    refresh->dead = 1;
    refresh->build.stop = 1;

    dfd_refresh_release(refresh);
}


void
dfd_refresh_exit(dfd_refresh_t *refresh)
{
    dfd_refresh_exiting = 1;

    if (refresh == NULL) {
        refresh = dfd_refresh_orphan;
    }

    if (refresh == NULL) {
        return;
    }

    if (refresh->build.running && refresh->build.job == DFD_BUILD_FINISH
        && !refresh->build.failed)
    {
        /* the file came into place, and nobody has been told */
        dfd_cache_bump(refresh->agent->conf);
    }

    refresh->build.running = 0;

    dfd_refresh_abort(refresh);
}


static void
dfd_refresh_fail(dfd_refresh_t *refresh, const char *why)
{
    dfd_agent_t *agent;

    agent = refresh->agent;

    if (ngx_strcmp(agent->refresh_error, why) != 0) {
        ngx_log_error(NGX_LOG_ERR, agent->log, 0,
                      "defender: no new snapshot, look-ups go on with the "
                      "former one: %s",
                      why);
    }

    (void) ngx_cpystrn((u_char *) agent->refresh_error, (u_char *) why,
                       DFD_AGENT_TEXT);

    agent->refresh_after = ngx_current_msec + DFD_REFRESH_PAUSE;

    dfd_refresh_abort(refresh);
}


static void
dfd_refresh_done(dfd_refresh_t *refresh)
{
    dfd_agent_t         *agent;
    dfd_snapshot_info_t *info;

    agent = refresh->agent;
    info = &refresh->build.info;

    dfd_cache_bump(agent->conf);

    agent->refresh_error[0] = '\0';

    ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                  "defender: snapshot of generation %uL: %uD devices, %uD "
                  "addresses, %uD records skipped",
                  info->generation, info->devices, info->addresses,
                  info->skipped);

    agent->refresh = NULL;

    dfd_refresh_free(refresh);

    dfd_agent_observed(agent);
}


/* gives the thread its next job, and Redis its next question */
static void
dfd_refresh_step(dfd_refresh_t *refresh)
{
    ngx_int_t    rc;
    dfd_build_t *build;

    rc = NGX_OK;
    build = &refresh->build;

    if (!build->running) {

        if (refresh->next != NULL) {
            build->rows = refresh->next;
            refresh->next = NULL;
            rc = dfd_refresh_post(refresh, DFD_BUILD_ADD);

        } else if (refresh->checked) {
            rc = dfd_refresh_post(refresh, DFD_BUILD_FINISH);
        }
    }

    if (rc != NGX_OK) {
        dfd_refresh_fail(refresh, "the thread pool's queue is full");
        return;
    }

    if (!refresh->scanned && !refresh->asked && refresh->next == NULL
        && dfd_refresh_scan(refresh) != NGX_OK)
    {
        dfd_refresh_fail(refresh, "Redis takes no commands");
    }
}


/* the thread has done its job */
static void
dfd_refresh_completed(ngx_event_t *ev)
{
    dfd_refresh_t *refresh = ev->data;

    dfd_build_completed(&refresh->build);

    if (refresh->build.job == DFD_BUILD_FINISH && !refresh->build.failed) {

        if (refresh->dead) {
            dfd_cache_bump(refresh->agent->conf);
            dfd_refresh_release(refresh);
            return;
        }

        dfd_refresh_done(refresh);
        return;
    }

    if (refresh->dead) {
        dfd_refresh_release(refresh);

    } else if (refresh->build.failed) {
        dfd_refresh_fail(refresh, refresh->build.error);

    } else {
        dfd_refresh_step(refresh);
    }
}


/* NULL: aborted meanwhile, and freed when nothing else holds it */
static dfd_refresh_t *
dfd_refresh_replied(void *data)
{
    dfd_refresh_t *refresh = data;

    refresh->asked = 0;

    if (refresh->dead) {
        dfd_refresh_release(refresh);
        return NULL;
    }

    return refresh;
}


static ngx_int_t
dfd_refresh_ask(dfd_refresh_t *refresh, dfd_eval_t *eval,
                dfd_redis_reply_pt handler)
{
    if (dfd_eval_send(eval, refresh->agent->redis, handler, refresh) != NGX_OK)
    {
        return NGX_ERROR;
    }

    refresh->asked = 1;

    return NGX_OK;
}


static void
dfd_refresh_check_reply(void *data, redisReply *reply, const char *cause)
{
    size_t               len;
    const char          *why, *text;
    dfd_refresh_t       *refresh;
    dfd_snapshot_info_t *info;

    refresh = dfd_refresh_replied(data);
    if (refresh == NULL) {
        return;
    }

    why = dfd_eval_unless(reply, REDIS_REPLY_ARRAY, cause);
    if (why != NULL) {
        dfd_refresh_fail(refresh, why);
        return;
    }

    info = &refresh->build.info;
    text = dfd_eval_element(reply, 1, &len);

    if (dfd_eval_number(reply, 0) != info->generation || text == NULL
        || dfd_time_parse(text, len) != info->as_of)
    {
        /* what was read is of two generations: the next tick starts anew */
        dfd_refresh_abort(refresh);
        return;
    }

    if (dfd_eval_number(reply, 2) != dfd_eval_number(reply, 3)) {
        /* "no such device" must not be said of those that are gone */
        dfd_refresh_fail(refresh, "Redis has lost some of the devices");
        return;
    }

    refresh->checked = 1;

    dfd_refresh_step(refresh);
}


/*
 * The devices change only as a whole, together with the generation: when that
 * is the same after the last record, all records are of it.
 */
static ngx_int_t
dfd_refresh_check(dfd_refresh_t *refresh)
{
    dfd_eval_t eval;

    dfd_eval_script(&eval, DFD_SCRIPT_WHOLE, 2, 0);
    dfd_eval_str(&eval, &refresh->agent->conf->keys.meta);
    dfd_eval_str(&eval, &refresh->agent->conf->keys.devices);

    return dfd_refresh_ask(refresh, &eval, dfd_refresh_check_reply);
}


static void
dfd_refresh_scan_reply(void *data, redisReply *reply, const char *cause)
{
    size_t         len;
    const char    *why, *cursor;
    dfd_refresh_t *refresh;

    refresh = dfd_refresh_replied(data);
    if (refresh == NULL) {
        return;
    }

    why = dfd_eval_unless(reply, REDIS_REPLY_ARRAY, cause);
    if (why != NULL) {
        dfd_refresh_fail(refresh, why);
        return;
    }

    cursor = dfd_eval_element(reply, 0, &len);

    if (cursor == NULL || len >= DFD_REFRESH_CURSOR || reply->elements != 2
        || reply->element[1]->type != REDIS_REPLY_ARRAY)
    {
        dfd_refresh_fail(refresh, "unexpected reply");
        return;
    }

    (void) ngx_cpystrn((u_char *) refresh->cursor, (u_char *) cursor, len + 1);

    /* a copy: the reply is gone when the thread reads it */
    refresh->next = dfd_build_copy(reply->element[1], refresh->agent->log);
    if (refresh->next == NULL) {
        dfd_refresh_fail(refresh, "out of memory");
        return;
    }

    if (len == 1 && cursor[0] == '0') {
        refresh->scanned = 1;

        if (dfd_refresh_check(refresh) != NGX_OK) {
            dfd_refresh_fail(refresh, "Redis takes no commands");
            return;
        }
    }

    dfd_refresh_step(refresh);
}


static ngx_int_t
dfd_refresh_scan(dfd_refresh_t *refresh)
{
    dfd_eval_t eval;

    dfd_eval_command(&eval, "HSCAN", 5);
    dfd_eval_str(&eval, &refresh->agent->conf->keys.devices);
    dfd_eval_text(&eval, refresh->cursor);
    dfd_eval_text(&eval, "COUNT");
    dfd_eval_text(&eval, DFD_REFRESH_COUNT);

    return dfd_refresh_ask(refresh, &eval, dfd_refresh_scan_reply);
}


/* 1: what lies in Redis is what this host should serve */
static ngx_uint_t
dfd_refresh_wanted(dfd_agent_t *agent)
{
    return agent->account.cloud.portal != NULL
        && agent->account.settings.enabled && agent->seen.generation != 0
        && agent->seen.as_of != DFD_TIME_NONE
        && ngx_strcmp(agent->seen.source, agent->account.source) == 0;
}


void
dfd_refresh_tick(dfd_agent_t *agent)
{
    dfd_refresh_t        *refresh;
    const dfd_snapshot_t *snapshot;

    if (!dfd_refresh_wanted(agent)) {
        dfd_refresh_abort(agent->refresh);
        return;
    }

    if (agent->refresh != NULL || dfd_refresh_orphan != NULL
        || !dfd_agent_passed(agent->refresh_after)
        || dfd_refresh_current(agent, &snapshot))
    {
        return;
    }

    refresh = ngx_calloc(sizeof(dfd_refresh_t), agent->log);
    if (refresh == NULL) {
        return;
    }

    refresh->agent = agent;
    refresh->cursor[0] = '0';

    dfd_build_init(&refresh->build, agent, dfd_refresh_completed, refresh);

    agent->refresh = refresh;

    dfd_refresh_step(refresh);
}
