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

    dfd_eval_script(&eval, DFD_SCRIPT_STAGE, 3, 2 + 2 * n);
    dfd_eval_str(&eval, &agent->conf->keys.lease);
    dfd_eval_text(&eval, stage);
    dfd_eval_str(&eval, &agent->conf->keys.devices);
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


int64_t
dfd_publish_numbers(const redisReply *reply, const char *cause,
                    int64_t *numbers, size_t n, const char **why)
{
    size_t  i;
    int64_t refused;

    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY
        || reply->elements != n) {
        /* a number alone is why nothing was done */
        refused = dfd_eval_result(reply, cause, why);

        if (refused >= 0) {
            *why = "unexpected reply";
            return DFD_EVAL_FAILED;
        }

        return refused;
    }

    *why = NULL;

    for (i = 0; i < n; i++) {
        numbers[i] = reply->element[i]->integer;
    }

    return numbers[0];
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
