#include "agent/lease.h"

#include "agent/eval.h"
#include "agent/ipkeys.h"
#include "agent/poll.h"
#include "agent/publish.h"
#include "agent/schedule.h"
#include "agent/scripts.h"
#include "agent/status.h"
#include "agent/wipe.h"

#include <openssl/rand.h>


#define DFD_LEASE_RANDOM 12 /* bytes: 96 bits cannot be met by chance */
#define DFD_LEASE_HOST   27 /* so that the token fits into the zone's field */


static void dfd_lease_take(dfd_agent_t *agent);

static void dfd_lease_renew(dfd_agent_t *agent);


ngx_int_t
dfd_lease_init(dfd_agent_t *agent)
{
    u_char  random[DFD_LEASE_RANDOM];
    u_char *last;

    if (RAND_bytes(random, DFD_LEASE_RANDOM) != 1) {
        return NGX_ERROR;
    }

    last = ngx_snprintf(
        (u_char *) agent->lease.token, DFD_LEASE_TOKEN,
        "%*s:%P:", ngx_min(ngx_cycle->hostname.len, DFD_LEASE_HOST),
        ngx_cycle->hostname.data, ngx_pid);

    last = ngx_hex_dump(last, random, DFD_LEASE_RANDOM);
    *last = '\0';

    return NGX_OK;
}


ngx_uint_t
dfd_lease_held(dfd_agent_t *agent)
{
    return agent->lease.held && !dfd_agent_passed(agent->lease.deadline);
}


void
dfd_lease_tick(dfd_agent_t *agent, ngx_uint_t wanted)
{
    dfd_lease_t *lease;

    lease = &agent->lease;

    if (lease->held && dfd_agent_passed(lease->deadline)) {
        dfd_lease_lost(agent);
    }

    if (lease->asked) {
        return;
    }

    if (!wanted) {
        lease->error[0] = '\0';

        if (lease->held) {
            dfd_lease_release(agent);
        }

        return;
    }

    if (!lease->held) {
        dfd_lease_take(agent);
        return;
    }

    if (dfd_agent_passed(lease->deadline - DFD_LEASE_TTL + DFD_LEASE_RENEW)) {
        dfd_lease_renew(agent);
    }
}


/*
 * The token of this host's former agent: a killed or replaced poller need not
 * be waited for.  It stays in the zone, whoever wrote it.
 */
static void
dfd_lease_former(dfd_agent_t *agent, char former[DFD_LEASE_TOKEN])
{
    ngx_shmtx_t *mutex;

    mutex = &agent->conf->shpool->mutex;

    ngx_shmtx_lock(mutex);
    ngx_memcpy(former, agent->conf->zone->lease_token, DFD_LEASE_TOKEN);
    ngx_shmtx_unlock(mutex);

    former[DFD_LEASE_TOKEN - 1] = '\0';
}


static void
dfd_lease_leave_token(dfd_agent_t *agent)
{
    ngx_shmtx_t *mutex;

    mutex = &agent->conf->shpool->mutex;

    ngx_shmtx_lock(mutex);
    ngx_memcpy(agent->conf->zone->lease_token, agent->lease.token,
               DFD_LEASE_TOKEN);
    ngx_shmtx_unlock(mutex);
}


static void
dfd_lease_taken(dfd_agent_t *agent, ngx_uint_t fresh)
{
    agent->lease.held = 1;

    /* counted from before the command was sent: never longer than Redis's */
    agent->lease.deadline = agent->lease.sent + DFD_LEASE_TTL;

    dfd_lease_leave_token(agent);

    ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                  "defender: this process polls for the fleet now");

    dfd_status_forget(agent);
    dfd_schedule_taken(agent, fresh);
}


static void
dfd_lease_take_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    ngx_uint_t   fresh;
    const char  *why;
    dfd_lease_t *lease;

    lease = &agent->lease;
    lease->asked = 0;

    if (reply == NULL || agent->redis == NULL) {
        return;
    }

    if (reply->type != REDIS_REPLY_INTEGER
        && reply->type != REDIS_REPLY_STRING) {
        /* a replica or a full Redis still lets us read, but not poll */
        why = dfd_eval_unless(reply, REDIS_REPLY_INTEGER, cause);
        (void) ngx_cpystrn((u_char *) lease->error, (u_char *) why,
                           DFD_AGENT_TEXT);
        return;
    }

    lease->error[0] = '\0';

    fresh = !lease->answered && agent->conf->zone->started == 0;

    lease->answered = 1;
    agent->conf->zone->started = 1;

    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1) {
        dfd_lease_taken(agent, fresh);
    }
}


static void
dfd_lease_take(dfd_agent_t *agent)
{
    char       former[DFD_LEASE_TOKEN];
    dfd_eval_t eval;

    dfd_lease_former(agent, former);

    dfd_eval_script(&eval, DFD_SCRIPT_TAKE, 1, 3);
    dfd_eval_str(&eval, &agent->conf->keys.lease);
    dfd_eval_text(&eval, agent->lease.token);
    dfd_eval_uint(&eval, DFD_LEASE_TTL);
    dfd_eval_text(&eval, former);

    agent->lease.sent = ngx_current_msec;
    agent->lease.asked =
        dfd_eval_send(&eval, agent->redis, dfd_lease_take_reply, agent)
        == NGX_OK;
}


static void
dfd_lease_renew_reply(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    int64_t     n;
    const char *why;

    agent->lease.asked = 0;

    n = dfd_eval_result(reply, cause, &why);

    if (agent->redis == NULL || !agent->lease.held) {
        return;
    }

    if (n == 1) {
        agent->lease.deadline = agent->lease.sent + DFD_LEASE_TTL;

    } else if (n == DFD_EVAL_LOST) {
        dfd_lease_lost(agent);
    }
}


static void
dfd_lease_renew(dfd_agent_t *agent)
{
    const char *stage;
    dfd_eval_t  eval;

    stage = dfd_poll_stage(agent->poll);

    dfd_eval_script(&eval, DFD_SCRIPT_RENEW, (stage == NULL) ? 1 : 2, 3);
    dfd_eval_str(&eval, &agent->conf->keys.lease);

    if (stage != NULL) {
        dfd_eval_text(&eval, stage);
    }

    dfd_eval_text(&eval, agent->lease.token);
    dfd_eval_uint(&eval, DFD_LEASE_TTL);
    dfd_eval_uint(&eval, DFD_PUBLISH_STAGE_TTL);

    agent->lease.sent = ngx_current_msec;
    agent->lease.asked =
        dfd_eval_send(&eval, agent->redis, dfd_lease_renew_reply, agent)
        == NGX_OK;
}


void
dfd_lease_release(dfd_agent_t *agent)
{
    dfd_eval_t eval;

    if (!agent->lease.held) {
        return;
    }

    dfd_poll_cancel(agent->poll);
    dfd_ipkeys_abort(agent->ipkeys);
    dfd_wipe_abort(agent->wipe);

    /* the successor goes by this: no poll is under way, when is the next */
    dfd_status_share(agent, 1);

    agent->lease.held = 0;

    dfd_eval_script(&eval, DFD_SCRIPT_RELEASE, 1, 1);
    dfd_eval_str(&eval, &agent->conf->keys.lease);
    dfd_eval_text(&eval, agent->lease.token);

    (void) dfd_eval_send(&eval, agent->redis, NULL, NULL);
}


void
dfd_lease_lost(dfd_agent_t *agent)
{
    if (!agent->lease.held) {
        return;
    }

    agent->lease.held = 0;

    ngx_log_error(NGX_LOG_WARN, agent->log, 0,
                  "defender: the lease is lost, this process stops polling");

    dfd_poll_cancel(agent->poll);
    dfd_ipkeys_abort(agent->ipkeys);
    dfd_wipe_abort(agent->wipe);
}
