#include "agent/agent.h"

#include "agent/account.h"
#include "agent/ipkeys.h"
#include "agent/lease.h"
#include "agent/observe.h"
#include "agent/poll.h"
#include "agent/refresh.h"
#include "agent/schedule.h"
#include "agent/status.h"
#include "agent/wipe.h"


/* one for each process; NULL: this process has none */
static dfd_agent_t *dfd_agent;


static void dfd_agent_tick(ngx_event_t *ev);


void
dfd_agent_event(dfd_agent_t *agent, ngx_event_t *ev,
                ngx_event_handler_pt handler)
{
    ev->data = &agent->dummy;
    ev->handler = handler;
    ev->log = agent->log;
    ev->cancelable = 1;
}


ngx_uint_t
dfd_agent_leaving(void)
{
    return ngx_exiting || ngx_terminate || ngx_quit;
}


ngx_int_t
dfd_agent_start(dfd_host_conf_t *conf, ngx_cycle_t *cycle)
{
    dfd_agent_t *agent;

    agent = ngx_calloc(sizeof(dfd_agent_t), cycle->log);
    if (agent == NULL) {
        return NGX_ERROR;
    }

    agent->conf = conf;
    agent->cycle = cycle;
    agent->log = cycle->log;
    agent->dummy.fd = (ngx_socket_t) -1;

    dfd_schedule_clear(agent);
    dfd_agent_event(agent, &agent->tick, dfd_agent_tick);

    if (dfd_lease_init(agent) != NGX_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "defender: no random bytes");
        ngx_free(agent);
        return NGX_ERROR;
    }

    dfd_agent = agent;

    ngx_add_timer(&agent->tick, 1);

    return NGX_OK;
}


/* elected in this host: makes the clients.  No memory: the next tick tries. */
static void
dfd_agent_activate(dfd_agent_t *agent)
{
    agent->http = dfd_http_create(&agent->conf->http, agent->log);
    if (agent->http == NULL) {
        return;
    }

    agent->redis =
        dfd_redis_create(&agent->conf->redis, "defender-agent", agent->log);
    if (agent->redis == NULL) {
        dfd_http_destroy(agent->http);
        agent->http = NULL;
        return;
    }

    agent->active = 1;
    agent->lease.answered = 0;

    if (agent->conf->zone->snapshot != 0) {
        /* a former agent may have died between its file and telling of it */
        dfd_cache_bump(agent->conf);
    }
}


/*
 * Not elected any more, or leaving: gives the lease back and closes the
 * clients.  The commands that are under way get their last replies in here,
 * and agent->redis is NULL for them: they only clean up.
 */
static void
dfd_agent_deactivate(dfd_agent_t *agent)
{
    dfd_redis_t *redis;

    if (!agent->active) {
        return;
    }

    agent->active = 0;

    if (dfd_lease_held(agent)) {
        dfd_lease_release(agent);
    }

    agent->lease.held = 0;

    dfd_poll_cancel(agent->poll);
    dfd_ipkeys_abort(agent->ipkeys);
    dfd_wipe_abort(agent->wipe);
    dfd_refresh_abort(agent->refresh);

    redis = agent->redis;
    agent->redis = NULL;

    dfd_redis_flush(redis);
    dfd_redis_destroy(redis);

    if (agent->defender != NULL) {
        dfd_defender_destroy(agent->defender);
        agent->defender = NULL;
    }

    dfd_http_destroy(agent->http);
    agent->http = NULL;

    agent->lease.asked = 0;

    dfd_status_forget(agent);
    dfd_schedule_clear(agent);
    dfd_observe_clear(agent);
    ngx_memzero(&agent->account, sizeof(dfd_account_t));
}


void
dfd_agent_stop(void)
{
    dfd_agent_t *agent;

    agent = dfd_agent;

    if (agent == NULL) {
        return;
    }

    dfd_agent = NULL;

    if (agent->tick.timer_set) {
        ngx_del_timer(&agent->tick);
    }

    dfd_refresh_exit(agent->refresh);
    dfd_agent_deactivate(agent);

    if (agent->cycle != NULL) {
        /* after the lease's release: the successor finds it free */
        dfd_zone_resign(agent->conf->zone);
    }

    ngx_free(agent);
}


void
dfd_agent_observed(dfd_agent_t *agent)
{
    dfd_lease_tick(agent, agent->account.ready || dfd_wipe_needed(agent));

    dfd_wipe_host(agent);
    dfd_wipe_tick(agent);
    dfd_refresh_tick(agent);
    dfd_ipkeys_tick(agent);
    dfd_schedule_tick(agent);
    dfd_status_share(agent, 0);
    dfd_status_publish(agent);
}


static void
dfd_agent_work(dfd_agent_t *agent)
{
    if (!agent->active) {
        dfd_agent_activate(agent);
    }

    if (!agent->active) {
        return;
    }

    dfd_redis_connect(agent->redis);

    /*
     * Our time is counted here, whether Redis answers or not: behind a Redis
     * that hangs another process may take the lease.
     */
    if (agent->lease.held && !dfd_lease_held(agent)) {
        dfd_lease_lost(agent);
    }

    dfd_observe_ask(agent);
    dfd_status_publish(agent);
}


static void
dfd_agent_tick(ngx_event_t *ev)
{
    dfd_agent_t *agent;

    agent = (dfd_agent_t *) ((u_char *) ev - offsetof(dfd_agent_t, tick));

    if (dfd_agent_leaving()) {
        dfd_agent_deactivate(agent);
        dfd_zone_resign(agent->conf->zone);
        return;
    }

    if (agent->cycle != ngx_cycle) {

        /*
         * A reload of a single process, which nginx has for debugging only:
         * our configuration and log go away, and no new agent is started.
         */
        agent->log = ngx_cycle->log;

        ngx_log_error(NGX_LOG_WARN, agent->log, 0,
                      "defender: a single process cannot be reloaded, "
                      "polling ends until the next start");

        dfd_agent_deactivate(agent);
        dfd_zone_resign(agent->conf->zone);
        agent->cycle = NULL;
        return;
    }

    ngx_add_timer(&agent->tick, DFD_AGENT_TICK);

    if (dfd_zone_elect(agent->conf->zone, DFD_AGENT_ELECT_TTL)) {
        dfd_agent_work(agent);

    } else {
        dfd_agent_deactivate(agent);
    }
}
