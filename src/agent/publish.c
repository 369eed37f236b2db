#include "agent/publish.h"

#include "agent/eval.h"
#include "agent/scripts.h"


ngx_int_t
dfd_publish_stage(dfd_agent_t *agent, const char *stage,
                  const dfd_publish_row_t *rows, ngx_uint_t n,
                  dfd_redis_reply_pt handler, void *data)
{
    ngx_uint_t i;
    dfd_eval_t eval;

    dfd_eval_script(&eval, DFD_SCRIPT_STAGE, 2, 2 + 2 * n);
    dfd_eval_str(&eval, &agent->conf->keys.lease);
    dfd_eval_text(&eval, stage);
    dfd_eval_text(&eval, agent->lease.token);
    dfd_eval_uint(&eval, DFD_PUBLISH_STAGE_TTL);

    for (i = 0; i < n; i++) {
        dfd_eval_add(&eval, rows[i].id, rows[i].id_len);
        dfd_eval_add(&eval, rows[i].json, rows[i].len);
    }

    return dfd_eval_send(&eval, agent->redis, handler, data);
}


ngx_int_t
dfd_publish_generation(dfd_agent_t *agent, const char *stage,
                       ngx_uint_t devices, int64_t started,
                       dfd_redis_reply_pt handler, void *data)
{
    char        start[DFD_TIME_TEXT], finish[DFD_TIME_TEXT];
    dfd_eval_t  eval;
    dfd_keys_t *keys;

    keys = &agent->conf->keys;

    (void) dfd_time_format(started, start);
    (void) dfd_time_format(dfd_cache_now(), finish);

    dfd_eval_script(&eval, DFD_SCRIPT_PUBLISH, 4, 6);
    dfd_eval_str(&eval, &keys->lease);
    dfd_eval_text(&eval, stage);
    dfd_eval_str(&eval, &keys->devices);
    dfd_eval_str(&eval, &keys->meta);
    dfd_eval_text(&eval, agent->lease.token);
    dfd_eval_uint(&eval, devices);
    dfd_eval_text(&eval, start);
    dfd_eval_text(&eval, finish);
    dfd_eval_text(&eval, "healthy");
    dfd_eval_text(&eval, agent->account.source);

    return dfd_eval_send(&eval, agent->redis, handler, data);
}


ngx_uint_t
dfd_publish_is_foreign(dfd_agent_t *agent)
{
    dfd_seen_t *seen;

    seen = &agent->seen;

    return seen->generation != 0 && seen->devices != 0
        && seen->source[0] != '\0'
        && ngx_strcmp(seen->source, agent->account.source) != 0;
}


static void
dfd_publish_emptied(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    const char *why;

    agent->emptying = 0;

    if (dfd_eval_result(reply, cause, &why) > 0) {
        ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                      "defender: the devices were another tenant's and are "
                      "removed");
    }
}


void
dfd_publish_empty(dfd_agent_t *agent)
{
    char       stage[DFD_PUBLISH_KEY];
    ngx_str_t *prefix;

    prefix = &agent->conf->keys.stage;

    /* the key of a stage that does not exist */
    *ngx_snprintf((u_char *) stage, DFD_PUBLISH_KEY - 1, "%Vnone", prefix) =
        '\0';

    if (dfd_publish_generation(agent, stage, 0, dfd_cache_now(),
                               dfd_publish_emptied, agent)
        == NGX_OK)
    {
        agent->emptying = 1;
    }
}


void
dfd_publish_discard(dfd_agent_t *agent, const char *stage)
{
    dfd_eval_t eval;

    dfd_eval_command(&eval, "UNLINK", 2);
    dfd_eval_text(&eval, stage);

    /* not fenced: the key is this poll's own, and it expires anyway */
    (void) dfd_eval_send(&eval, agent->redis, NULL, NULL);
}
