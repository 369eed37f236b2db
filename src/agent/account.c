#include "agent/account.h"

#include "agent/eval.h"
#include "agent/poll.h"
#include "agent/schedule.h"


/* HMGET order of dfd_record_fields */
#define DFD_ACCOUNT_SECRET  1
#define DFD_ACCOUNT_DELETED 3


static uint32_t
dfd_account_digest(const redisReply *reply, size_t from, size_t to)
{
    size_t      i, len;
    uint32_t    crc;
    const char *text;

    ngx_crc32_init(crc);

    for (i = from; i < to; i++) {

        text = dfd_eval_element(reply, i, &len);

        if (text != NULL) {
            ngx_crc32_update(&crc, (u_char *) text, len);
        }

        /* so that bytes cannot move from one field to the next unseen */
        ngx_crc32_update(&crc, (u_char *) ((text == NULL) ? "-" : "+"), 1);
    }

    ngx_crc32_final(crc);

    return crc;
}


static void
dfd_account_drop_client(dfd_agent_t *agent)
{
    dfd_poll_cancel(agent->poll);

    if (agent->defender != NULL) {
        dfd_defender_destroy(agent->defender);
        agent->defender = NULL;
    }
}


/* NULL: a client is there; else why there is none */
static const char *
dfd_account_make_client(dfd_agent_t *agent, const dfd_record_t *record,
                        dfd_settings_error_t *error)
{
    dfd_defender_account_t account;

    if (agent->account.result != DFD_RECORD_OK) {
        return record->message;
    }

    if (dfd_settings_complete(&record->settings, 1, error) != 0) {
        return error->message;
    }

    account.login = agent->account.cloud.login;
    account.api = agent->account.cloud.api;
    account.scope = agent->account.cloud.scope;
    account.tenant_id = record->settings.tenant_id;
    account.app_id = record->settings.app_id;
    account.app_secret = record->settings.app_secret;
    account.app_secret_len = record->settings.app_secret_len;

    agent->defender = dfd_defender_create(agent->http, &account, agent->log);

    return (agent->defender == NULL) ? "out of memory" : NULL;
}


static void
dfd_account_not_ready(dfd_agent_t *agent, const char *why)
{
    agent->account.ready = 0;

    (void) ngx_cpystrn((u_char *) agent->account.message, (u_char *) why,
                       DFD_AGENT_TEXT);

    dfd_account_drop_client(agent);
}


static void
dfd_account_access(dfd_agent_t *agent, dfd_access_t access, const char *text)
{
    if (agent->conf->zone->access == (ngx_atomic_uint_t) access) {
        return;
    }

    agent->conf->zone->access = access;

    ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                  "defender: the integration is %s", text);
}


/* what the devices belong to: a tenant, as one API host knows it */
static void
dfd_account_find_source(dfd_account_t *account)
{
    uint32_t crc;

    ngx_crc32_init(crc);
    ngx_crc32_update(&crc, (u_char *) account->settings.tenant_id,
                     ngx_strlen(account->settings.tenant_id) + 1);
    ngx_crc32_update(&crc, (u_char *) account->cloud.api,
                     ngx_strlen(account->cloud.api));
    ngx_crc32_final(crc);

    account->number = crc;

    *ngx_snprintf((u_char *) account->source, DFD_ACCOUNT_SOURCE - 1, "%08xD",
                  crc) = '\0';
}


static void
dfd_account_apply(dfd_agent_t *agent, const dfd_record_t *record,
                  uint32_t sealed)
{
    ngx_uint_t           other, on;
    const char          *why;
    dfd_account_t       *account;
    dfd_settings_error_t error;

    account = &agent->account;

    other = account->sealed != sealed
         || dfd_settings_other_app(&account->settings, &record->settings);

    on = record->settings.enabled && !account->settings.enabled;

    account->settings = record->settings;
    dfd_settings_wipe(&account->settings);

    account->sealed = sealed;
    account->revision = record->revision;

    dfd_record_endpoints(agent->conf, &account->settings, &account->cloud);
    dfd_account_find_source(account);

    if (!account->settings.enabled) {
        dfd_account_access(agent, DFD_ACCESS_DISABLED, "disabled");
        dfd_account_not_ready(agent, "");
        return;
    }

    dfd_account_access(agent, DFD_ACCESS_ENABLED, "enabled");

    if (other) {
        dfd_account_drop_client(agent);
    }

    if (agent->defender == NULL) {
        why = dfd_account_make_client(agent, record, &error);

        if (why != NULL) {
            dfd_account_not_ready(agent, why);
            ngx_log_error(NGX_LOG_ERR, agent->log, 0,
                          "defender: no polling from this host: %s", why);
            return;
        }
    }

    account->ready = 1;
    account->message[0] = '\0';

    if (account->known) {
        dfd_schedule_changed(agent, other || on);
    }
}


/*
 * Only who did it can tell a delete from a Redis that was flushed: that one
 * must cost nobody the devices that he still has.
 */
static void
dfd_account_none(dfd_agent_t *agent, const dfd_record_t *record,
                 ngx_uint_t deleted)
{
    dfd_account_t *account;

    account = &agent->account;

    dfd_account_access(agent, DFD_ACCESS_NOT_CONFIGURED, "not configured");
    dfd_account_not_ready(agent, "");

    ngx_memzero(&account->settings, sizeof(dfd_settings_t));
    ngx_memzero(&account->cloud, sizeof(dfd_cloud_t));

    account->source[0] = '\0';
    account->number = 0;
    account->sealed = 0;
    account->deleted = deleted;
    account->revision = deleted ? record->revision : 0;

    if (deleted) {
        dfd_schedule_clear(agent);
    }
}


void
dfd_account_reply(dfd_agent_t *agent, const redisReply *reply)
{
    uint32_t       digest;
    dfd_record_t   record;
    dfd_account_t *account;

    account = &agent->account;

    digest = dfd_account_digest(reply, 0, DFD_RECORD_FIELDS);

    if (account->known && digest == account->digest) {
        return;
    }

    account->result = dfd_record_read(agent->conf, reply, &record);
    account->deleted = 0;

    if (account->result == DFD_RECORD_NONE) {
        dfd_account_none(agent, &record,
                         reply->element[DFD_ACCOUNT_DELETED]->type
                             != REDIS_REPLY_NIL);

    } else if (account->result == DFD_RECORD_BROKEN && record.extra == NULL) {
        /* not even the switch is readable: look-ups stay as they are */
        dfd_account_not_ready(agent, record.message);
        ngx_log_error(NGX_LOG_ERR, agent->log, 0, "defender: %s",
                      record.message);

    } else {
        dfd_account_apply(agent, &record,
                          dfd_account_digest(reply, DFD_ACCOUNT_SECRET,
                                             DFD_ACCOUNT_SECRET + 1));
    }

    account->known = 1;
    account->digest = digest;

    dfd_record_clear(&record);
}
