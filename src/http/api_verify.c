#include "http/verify.h"

#include <openssl/rand.h>


/*
 * POST /config/verify: tries candidate settings against Microsoft, with a
 * client of its own, so that nothing of the running integration (its token
 * and the roles in it) is taken for an answer about the new values.
 */

/* seconds: after libcurl's own limits have spoken, before send_timeout (60) */
#define DFD_VERIFY_DEADLINE 45

#define DFD_VERIFY_SCRATCH_TTL "10000" /* ms, should we die in between */

/* clang-format off */
static void dfd_verify_free(dfd_verify_t *v);
static void dfd_verify_end(dfd_verify_t *v, ngx_int_t rc);
static void dfd_verify_late(dfd_wait_t *wait);
static void dfd_verify_gone(dfd_wait_t *wait);
static void dfd_verify_record(void *data, redisReply *reply,
    const char *cause);
static ngx_int_t dfd_verify_start(dfd_verify_t *v, const redisReply *reply);
static ngx_int_t dfd_verify_connect(dfd_verify_t *v);

static void dfd_verify_write(void *data, redisReply *reply,
    const char *cause);
static void dfd_verify_written(void *data, redisReply *reply,
    const char *cause);
static ngx_int_t dfd_verify_scratch(dfd_verify_t *v, ngx_uint_t set);
static void dfd_verify_redis(dfd_verify_t *v, const redisReply *reply,
    const char *cause);

static void dfd_verify_signed_in(void *data,
    const dfd_defender_answer_t *answer);
static void dfd_verify_read(void *data, const dfd_defender_answer_t *answer);
static void dfd_verify_isolate(dfd_verify_t *v);
static void dfd_verify_tried(void *data, const dfd_defender_answer_t *answer);
/* clang-format on */


ngx_int_t
dfd_api_verify_post(ngx_http_request_t *r, ngx_str_t *body)
{
    json_t       *json;
    ngx_int_t     rc;
    dfd_verify_t *v;

    if (dfd_candidate_body(r, body, &json, &rc) != NGX_OK) {
        return rc;
    }

    v = ngx_calloc(sizeof(dfd_verify_t), ngx_cycle->log);

    if (v == NULL) {
        dfd_candidate_drop(json);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    v->body = json;
    v->conf = ngx_http_defender_host_conf(r);
    v->wait.late = dfd_verify_late;
    v->wait.gone = dfd_verify_gone;

    if (v->conf->key == NULL) {
        dfd_verify_free(v);
        return dfd_candidate_no_key(r);
    }

    rc = dfd_wait_start(&v->wait, r, DFD_VERIFY_DEADLINE * 1000);

    if (rc == NGX_OK) {
        rc = dfd_api_redis_record(v->conf, dfd_verify_record, v);

        if (rc == NGX_OK) {
            v->asking = 1;
            return NGX_DONE;
        }

        (void) dfd_wait_take(&v->wait);
    }

    dfd_verify_free(v);

    return rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                          : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static void
dfd_verify_free(dfd_verify_t *v)
{
    ngx_uint_t i;

    if (v->body != NULL) {
        dfd_candidate_drop(v->body);
    }

    if (v->defender != NULL) {
        dfd_defender_destroy(v->defender);
    }

    dfd_candidate_wipe(&v->candidate);

    for (i = 0; i < DFD_VERIFY_N; i++) {
        json_decref(v->checks[i]);
    }

    ngx_free(v);
}


static void
dfd_verify_end(dfd_verify_t *v, ngx_int_t rc)
{
    ngx_http_request_t *r;

    r = dfd_wait_take(&v->wait);

    dfd_verify_free(v);

    dfd_wait_finalize(r, rc);
}


static void
dfd_verify_late(dfd_wait_t *wait)
{
    u_char              message[128];
    ngx_int_t           rc;
    dfd_verify_t       *v;
    ngx_http_request_t *r;

    v = (dfd_verify_t *) wait;

    if (v->asking) {
        r = dfd_wait_take(wait);
        rc = dfd_api_cache_down(r, "no answer in time");
        dfd_wait_finalize(r, rc);
        return;
    }

    *ngx_snprintf(message, sizeof(message) - 1,
                  "Microsoft did not finish its answer within %d seconds; "
                  "check the firewall and the proxy",
                  DFD_VERIFY_DEADLINE) = '\0';

    dfd_verify_fail(v, "timeout", (char *) message, NULL);

    dfd_verify_end(v, dfd_verify_report(v));
}


/* The client has left: the result is of use to nobody. */

static void
dfd_verify_gone(dfd_wait_t *wait)
{
    dfd_verify_t *v;

    v = (dfd_verify_t *) wait;

    if (!v->asking) {
        dfd_verify_free(v);
    }
}


static void
dfd_verify_record(void *data, redisReply *reply, const char *cause)
{
    dfd_verify_t *v = data;

    ngx_int_t           rc;
    ngx_http_request_t *r;

    v->asking = 0;
    r = v->wait.request;

    if (r == NULL) {
        dfd_verify_free(v);
        return;
    }

    if (reply == NULL) {
        rc = dfd_api_cache_down(r, cause);

    } else if (reply->type == REDIS_REPLY_ERROR) {
        rc = dfd_api_cache_error(r, reply);

    } else {
        rc = dfd_verify_start(v, reply);
    }

    if (rc != NGX_DONE) {
        dfd_verify_end(v, rc);
    }
}


static ngx_int_t
dfd_verify_start(dfd_verify_t *v, const redisReply *reply)
{
    ngx_int_t            rc;
    dfd_record_t         record;
    ngx_http_request_t  *r;
    dfd_settings_error_t error;

    r = v->wait.request;

    (void) dfd_record_read(v->conf, reply, &record);

    rc = dfd_candidate_read(&v->candidate, &record, v->body, &error);

    dfd_candidate_drop(v->body);
    v->body = NULL;

    if (rc != NGX_OK) {
        rc = dfd_candidate_refuse(r, &error);

    } else if (v->candidate.settings.app_secret_len == 0) {

        /* there is one, and record tells why it cannot be opened */

        rc = dfd_reply_problem(r, NGX_HTTP_CONFLICT, "secret_unreadable",
                               "appSecret", record.message, NULL);

    } else if (dfd_verify_scratch(v, 1) == NGX_OK) {
        rc = NGX_DONE;

    } else {
        rc = dfd_api_cache_down(r, NULL);
    }

    dfd_record_clear(&record);

    return rc;
}


/*
 * A key of this name is written and deleted again, as the settings will be:
 * Redis may let us read and nothing else (a replica, a full memory, an ACL).
 */

static ngx_int_t
dfd_verify_scratch(dfd_verify_t *v, ngx_uint_t set)
{
    u_char    key[DFD_VERIFY_MESSAGE], random[sizeof(v->scratch) / 2];
    ngx_int_t rc;
    ngx_str_t argv[5];

    if (set && RAND_bytes(random, sizeof(random)) != 1) {
        return NGX_ERROR;
    }

    if (set) {
        (void) ngx_hex_dump(v->scratch, random, sizeof(random));
    }

    argv[1].data = key;
    argv[1].len = (size_t) (ngx_snprintf(key, sizeof(key), "%Vverify:%*s",
                                         &v->conf->prefix, sizeof(v->scratch),
                                         v->scratch)
                            - key);

    ngx_str_set(&argv[2], "1");
    ngx_str_set(&argv[3], "PX");
    ngx_str_set(&argv[4], DFD_VERIFY_SCRATCH_TTL);

    if (set) {
        ngx_str_set(&argv[0], "SET");
        rc = dfd_api_redis_command(v->conf, dfd_verify_write, v, 5, argv);

    } else {
        ngx_str_set(&argv[0], "DEL");
        rc = dfd_api_redis_command(v->conf, dfd_verify_written, v, 2, argv);
    }

    v->asking = (rc == NGX_OK);

    return rc;
}


static void
dfd_verify_write(void *data, redisReply *reply, const char *cause)
{
    dfd_verify_t *v = data;

    v->asking = 0;

    if (v->wait.request == NULL) {
        dfd_verify_free(v);
        return;
    }

    if (reply == NULL || reply->type == REDIS_REPLY_ERROR) {
        dfd_verify_redis(v, reply, cause);

    } else if (dfd_verify_scratch(v, 0) != NGX_OK) {
        dfd_verify_redis(v, NULL, "the connection was lost");
    }
}


static void
dfd_verify_written(void *data, redisReply *reply, const char *cause)
{
    dfd_verify_t *v = data;

    v->asking = 0;

    if (v->wait.request == NULL) {
        dfd_verify_free(v);
        return;
    }

    dfd_verify_redis(v, reply, cause);
}


/* Whatever came of it, Microsoft is asked as well. */

static void
dfd_verify_redis(dfd_verify_t *v, const redisReply *reply, const char *cause)
{
    ngx_int_t rc;

    v->check = DFD_VERIFY_REDIS;

    if (reply == NULL) {
        dfd_verify_fail(v, "redis",
                        "Redis answered a moment ago and does not any "
                        "more: check that it runs and can be reached",
                        cause);

    } else if (reply->type == REDIS_REPLY_ERROR) {
        dfd_verify_fail(v, "redis",
                        "Redis answers, but refuses to write: the settings "
                        "and the devices could not be stored. Check that it "
                        "is no replica, has memory left, and that its user "
                        "may write keys of this prefix",
                        reply->str);

    } else {
        dfd_verify_pass(v, "Redis can be written", NULL);
    }

    rc = dfd_verify_connect(v);

    if (rc != NGX_DONE) {
        dfd_verify_end(v, rc);
    }
}


static ngx_int_t
dfd_verify_connect(dfd_verify_t *v)
{
    dfd_http_t            *http;
    dfd_cloud_t            cloud;
    const dfd_settings_t  *settings;
    dfd_defender_account_t account;

    settings = &v->candidate.settings;

    dfd_record_endpoints(v->conf, settings, &cloud);

    account.login = cloud.login;
    account.api = cloud.api;
    account.scope = cloud.scope;
    account.tenant_id = settings->tenant_id;
    account.app_id = settings->app_id;
    account.app_secret = settings->app_secret;
    account.app_secret_len = settings->app_secret_len;

    http = dfd_api_http(v->conf);
    v->check = DFD_VERIFY_SIGN_IN;

    if (http == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    v->defender = dfd_defender_create(http, &account, ngx_cycle->log);

    if (v->defender == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (dfd_defender_sign_in(v->defender, dfd_verify_signed_in, v) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_DONE;
}


static void
dfd_verify_signed_in(void *data, const dfd_defender_answer_t *answer)
{
    dfd_verify_t *v = data;

    char roles[DFD_VERIFY_MESSAGE];

    if (answer->result != DFD_DEFENDER_OK) {
        dfd_verify_refused(v, answer, "");
        dfd_verify_end(v, dfd_verify_report(v));
        return;
    }

    dfd_verify_roles(v, roles);
    dfd_verify_pass(v, "The tenant accepted the application and its secret",
                    roles);

    v->check = DFD_VERIFY_READ;

    /* one machine proves host, licence and permission */

    if (dfd_defender_machines(v->defender, 1, 0, NULL, dfd_verify_read, v)
        == NULL) {
        dfd_verify_end(v, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


static void
dfd_verify_read(void *data, const dfd_defender_answer_t *answer)
{
    dfd_verify_t *v = data;

    dfd_verify_devices(v, answer);

    /* what else is missing should be told now, not at the next try */

    if (v->candidate.settings.isolate_entity
        && (v->checks[DFD_VERIFY_DEVICES] != NULL
            || answer->result == DFD_DEFENDER_PERMISSION))
    {
        dfd_verify_isolate(v);
        return;
    }

    dfd_verify_end(v, dfd_verify_report(v));
}


/* The token's own word first; where it is silent or agrees, the API's. */

static void
dfd_verify_isolate(dfd_verify_t *v)
{
    char roles[DFD_VERIFY_MESSAGE];

    v->check = DFD_VERIFY_ISOLATE;

    if (dfd_defender_roles(v->defender) != NULL
        && !dfd_verify_has_role(v, "Machine.Isolate"))
    {
        dfd_verify_roles(v, roles);
        dfd_verify_fail(v, "Machine.Isolate",
                        "The application lacks the permission "
                        "Machine.Isolate (Machine.ReadWrite.All does not "
                        "include it): add it to the app registration and "
                        "grant admin consent, or switch isolation off",
                        roles);
        dfd_verify_end(v, dfd_verify_report(v));
        return;
    }

    if (dfd_defender_try_isolate(v->defender, dfd_verify_tried, v) == NULL) {
        dfd_verify_end(v, NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


static void
dfd_verify_tried(void *data, const dfd_defender_answer_t *answer)
{
    dfd_verify_t *v = data;

    char roles[DFD_VERIFY_MESSAGE];

    dfd_verify_roles(v, roles);

    if (answer->result == DFD_DEFENDER_NOT_FOUND) {
        dfd_verify_pass(v,
                        "The application may isolate devices (tried with the "
                        "id of a device that cannot exist)",
                        roles);

    } else if (answer->result == DFD_DEFENDER_REFUSED && answer->status == 400
               && dfd_verify_has_role(v, "Machine.Isolate"))
    {
        /* it was let in, and did not like the id */

        dfd_verify_warn(v,
                        "The token allows to isolate devices; Defender "
                        "refused the trial with an impossible id in another "
                        "way than expected, which proves nothing more",
                        answer->message);

    } else if (answer->result == DFD_DEFENDER_PERMISSION
               && dfd_verify_has_role(v, "Machine.Isolate"))
    {
        dfd_verify_refused(v, answer,
                           "The token has the permission Machine.Isolate, "
                           "but Defender refuses to isolate all the same. ");

    } else {
        dfd_verify_refused(v, answer, "");
    }

    dfd_verify_end(v, dfd_verify_report(v));
}
