#include "agent/observe.h"

#include "agent/account.h"
#include "agent/eval.h"


/* HMGET meta, in this order */
enum {
    DFD_META_GENERATION = 0,
    DFD_META_POLL_STARTED,
    DFD_META_DEVICES,
    DFD_META_ADDRESSES,
    DFD_META_IP_GENERATION,
    DFD_META_SOURCE,
    DFD_META_WIPED,
    DFD_META_N
};

static const char *const dfd_observe_meta_fields[DFD_META_N] = {
    "generation",   "pollStarted", "devices", "addresses",
    "ipGeneration", "source",      "wiped"
};


static void dfd_observe_meta(void *data, redisReply *reply, const char *cause);

static void dfd_observe_record(void *data, redisReply *reply,
                               const char *cause);

static void dfd_observe_strings(void *data, redisReply *reply,
                                const char *cause);


static void
dfd_observe_hash(dfd_agent_t *agent, const ngx_str_t *key,
                 const char *const *fields, ngx_uint_t n,
                 dfd_redis_reply_pt handler)
{
    ngx_uint_t i;
    dfd_eval_t eval;

    dfd_eval_command(&eval, "HMGET", n + 2);
    dfd_eval_str(&eval, key);

    for (i = 0; i < n; i++) {
        dfd_eval_text(&eval, fields[i]);
    }

    if (dfd_eval_send(&eval, agent->redis, handler, agent) == NGX_OK) {
        agent->seen.pending++;

    } else {
        agent->seen.failed = 1;
    }
}


void
dfd_observe_ask(dfd_agent_t *agent)
{
    dfd_keys_t *keys;
    dfd_eval_t  eval;

    if (agent->seen.pending != 0) {
        return;
    }

    keys = &agent->conf->keys;

    agent->seen.failed = 0;

    dfd_observe_hash(agent, &keys->meta, dfd_observe_meta_fields, DFD_META_N,
                     dfd_observe_meta);

    dfd_observe_hash(agent, &keys->config, dfd_record_fields,
                     DFD_RECORD_FIELDS, dfd_observe_record);

    dfd_eval_command(&eval, "MGET", 4);
    dfd_eval_str(&eval, &keys->status);
    dfd_eval_str(&eval, &keys->sync);
    dfd_eval_str(&eval, &keys->lease);

    if (dfd_eval_send(&eval, agent->redis, dfd_observe_strings, agent)
        == NGX_OK) {
        agent->seen.pending++;

    } else {
        agent->seen.failed = 1;
    }
}


void
dfd_observe_clear(dfd_agent_t *agent)
{
    json_decref(agent->seen.shared);

    ngx_memzero(&agent->seen, sizeof(dfd_seen_t));
}


/*
 * One of the replies came: with the last one, act, unless there was an error:
 * a Redis that is loading or refuses us has told nothing about the data.
 */
static void
dfd_observe_end(dfd_agent_t *agent, const char *why)
{
    dfd_seen_t *seen;

    seen = &agent->seen;
    seen->pending--;

    if (why != NULL) {
        seen->failed = 1;
        (void) ngx_cpystrn((u_char *) seen->error, (u_char *) why,
                           DFD_AGENT_TEXT);
    }

    if (seen->pending != 0 || seen->failed || agent->redis == NULL) {
        return;
    }

    seen->known = 1;
    seen->error[0] = '\0';

    dfd_agent_observed(agent);
}


static void
dfd_observe_copy(const redisReply *reply, size_t i, char *text, size_t size)
{
    size_t      len;
    const char *value;

    text[0] = '\0';

    value = dfd_eval_element(reply, i, &len);

    if (value != NULL) {
        (void) ngx_cpystrn((u_char *) text, (u_char *) value,
                           ngx_min(len + 1, size));
    }
}


static void
dfd_observe_meta(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    size_t      len;
    dfd_seen_t *seen;
    const char *why, *text;

    why = dfd_eval_unless(reply, REDIS_REPLY_ARRAY, cause);

    if (why == NULL) {
        seen = &agent->seen;

        seen->generation = dfd_eval_number(reply, DFD_META_GENERATION);
        seen->devices = dfd_eval_number(reply, DFD_META_DEVICES);
        seen->addresses = dfd_eval_number(reply, DFD_META_ADDRESSES);
        seen->ip_generation = dfd_eval_number(reply, DFD_META_IP_GENERATION);
        seen->wiped = dfd_eval_number(reply, DFD_META_WIPED);

        dfd_observe_copy(reply, DFD_META_SOURCE, seen->source,
                         DFD_ACCOUNT_SOURCE);

        text = dfd_eval_element(reply, DFD_META_POLL_STARTED, &len);
        seen->as_of =
            (text == NULL) ? DFD_TIME_NONE : dfd_time_parse(text, len);
    }

    dfd_observe_end(agent, why);
}


static void
dfd_observe_record(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    const char *why;

    why = dfd_eval_unless(reply, REDIS_REPLY_ARRAY, cause);

    if (why == NULL && agent->redis != NULL) {
        dfd_account_reply(agent, reply);
    }

    dfd_observe_end(agent, why);
}


static void
dfd_observe_strings(void *data, redisReply *reply, const char *cause)
{
    dfd_agent_t *agent = data;

    size_t      len;
    dfd_seen_t *seen;
    const char *why, *text;

    why = dfd_eval_unless(reply, REDIS_REPLY_ARRAY, cause);

    if (why == NULL) {
        seen = &agent->seen;

        json_decref(seen->shared);
        seen->shared = NULL;

        text = dfd_eval_element(reply, 0, &len);

        if (text != NULL && len <= DFD_ZONE_STATUS) {
            seen->shared = json_loadb(text, len, 0, NULL);
        }

        dfd_observe_copy(reply, 1, seen->sync, DFD_LEASE_TOKEN);
        dfd_observe_copy(reply, 2, seen->holder, DFD_LEASE_TOKEN);
    }

    dfd_observe_end(agent, why);
}
