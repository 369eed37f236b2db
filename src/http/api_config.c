#include "http/api.h"
#include "http/config_write.h"


/*
 * GET, PUT and DELETE /config.  All read the stored record; the latter two
 * then write by a script that does nothing when somebody else was faster, and
 * start over.
 */

#define DFD_CONFIG_TRIES 3


typedef struct {
    dfd_wait_t         wait; /* first: its handlers are given it */
    dfd_host_conf_t   *conf;
    json_t            *body;  /* of a PUT, else NULL */
    dfd_config_write_t write; /* PUT, DELETE */
    ngx_uint_t         tries;
    unsigned           egress : 1; /* of a GET: only the cloud matters */
    unsigned           deleting : 1;
    unsigned           saving : 1; /* the script was sent */
} dfd_config_op_t;


/* clang-format off */
static dfd_config_op_t *dfd_config_create(ngx_http_request_t *r);
static void dfd_config_free(dfd_config_op_t *op);
static ngx_int_t dfd_config_start(ngx_http_request_t *r, dfd_config_op_t *op);
static void dfd_config_end(dfd_config_op_t *op, ngx_int_t rc);
static void dfd_config_late(dfd_wait_t *wait);
static void dfd_config_record(void *data, redisReply *reply,
    const char *cause);

static ngx_int_t dfd_config_show(ngx_http_request_t *r,
    dfd_record_result_t result, const dfd_record_t *record);
static void dfd_config_copy(json_t *to, const json_t *from, const char *name);

static ngx_int_t dfd_config_remove(dfd_config_op_t *op,
    const dfd_record_t *record);
static ngx_int_t dfd_config_save(dfd_config_op_t *op,
    const dfd_record_t *record);
static ngx_int_t dfd_config_stale(ngx_http_request_t *r,
    const dfd_record_t *record);
static ngx_int_t dfd_config_check_ticket(dfd_config_op_t *op,
    const dfd_candidate_t *candidate, ngx_int_t *answer);
static ngx_int_t dfd_config_sent(dfd_config_op_t *op, ngx_int_t rc);
static void dfd_config_saved(void *data, redisReply *reply,
    const char *cause);
static ngx_int_t dfd_config_done(dfd_config_op_t *op,
    const redisReply *reply);
/* clang-format on */


ngx_int_t
dfd_api_config_get(ngx_http_request_t *r, ngx_str_t *body)
{
    dfd_config_op_t *op;

    op = dfd_config_create(r);

    return op == NULL ? NGX_HTTP_INTERNAL_SERVER_ERROR
                      : dfd_config_start(r, op);
}


/* What is stored is read as for the settings themselves. */

ngx_int_t
dfd_api_egress_get(ngx_http_request_t *r, ngx_str_t *body)
{
    dfd_config_op_t *op;

    op = dfd_config_create(r);

    if (op == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    op->egress = 1;

    return dfd_config_start(r, op);
}


ngx_int_t
dfd_api_config_put(ngx_http_request_t *r, ngx_str_t *body)
{
    json_t          *json;
    ngx_int_t        answer;
    dfd_config_op_t *op;

    if (dfd_candidate_body(r, body, &json, &answer) != NGX_OK) {
        return answer;
    }

    op = dfd_config_create(r);

    if (op == NULL) {
        dfd_candidate_drop(json);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    op->body = json;

    if (dfd_audit_start(&op->write.audit, r) != NGX_OK) {
        dfd_config_free(op);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return dfd_config_start(r, op);
}


ngx_int_t
dfd_api_config_delete(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_int_t        answer;
    dfd_config_op_t *op;

    if (dfd_api_no_body(r, body, &answer) != NGX_OK) {
        return answer;
    }

    op = dfd_config_create(r);

    if (op == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    op->deleting = 1;

    if (dfd_audit_start(&op->write.audit, r) != NGX_OK) {
        dfd_config_free(op);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return dfd_config_start(r, op);
}


static dfd_config_op_t *
dfd_config_create(ngx_http_request_t *r)
{
    dfd_config_op_t *op;

    op = ngx_calloc(sizeof(dfd_config_op_t), ngx_cycle->log);

    if (op != NULL) {
        op->conf = ngx_http_defender_host_conf(r);
        op->wait.late = dfd_config_late;
    }

    return op;
}


static void
dfd_config_free(dfd_config_op_t *op)
{
    if (op->body != NULL) {
        dfd_candidate_drop(op->body);
    }

    dfd_config_write_free(&op->write);
    ngx_free(op);
}


static ngx_int_t
dfd_config_start(ngx_http_request_t *r, dfd_config_op_t *op)
{
    ngx_int_t rc;

    rc = dfd_wait_start(&op->wait, r, dfd_api_redis_deadline(op->conf));

    if (rc == NGX_OK) {
        rc = dfd_api_redis_record(op->conf, dfd_config_record, op);

        if (rc == NGX_OK) {
            return NGX_DONE;
        }

        (void) dfd_wait_take(&op->wait);
    }

    dfd_config_free(op);

    return rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                          : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static void
dfd_config_end(dfd_config_op_t *op, ngx_int_t rc)
{
    ngx_http_request_t *r;

    r = dfd_wait_take(&op->wait);

    dfd_config_free(op);

    if (r != NULL) {
        dfd_wait_finalize(r, rc);
    }
}


/* The reply is still to come: its handler frees the operation. */

static void
dfd_config_late(dfd_wait_t *wait)
{
    ngx_int_t           rc;
    dfd_config_op_t    *op;
    ngx_http_request_t *r;

    op = (dfd_config_op_t *) wait;
    r = dfd_wait_take(wait);

    rc = dfd_reply_problem(
        r, NGX_HTTP_GATEWAY_TIME_OUT, "cache_timeout", NULL,
        op->saving ? "Redis did not answer in time; the change may have "
                     "been made: read the settings again"
                   : "Redis did not answer in time",
        NULL);

    dfd_wait_finalize(r, rc);
}


static void
dfd_config_record(void *data, redisReply *reply, const char *cause)
{
    dfd_config_op_t *op = data;

    ngx_int_t           rc;
    dfd_record_t        record;
    ngx_http_request_t *r;
    dfd_record_result_t result;

    r = op->wait.request;

    if (r == NULL) {
        dfd_config_free(op);
        return;
    }

    if (reply == NULL) {
        dfd_config_end(op, dfd_api_cache_down(r, cause));
        return;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        dfd_config_end(op, dfd_api_cache_error(r, reply));
        return;
    }

    result = dfd_record_read(op->conf, reply, &record);

    if (op->egress) {
        rc = dfd_api_egress_show(r, &record);

    } else if (op->deleting
               && (result != DFD_RECORD_BROKEN || record.revision != 0))
    {
        rc = dfd_config_remove(op, &record);

    } else if (result == DFD_RECORD_BROKEN && record.extra == NULL
               && (op->body == NULL || record.revision == 0))
    {
        rc = dfd_reply_problem(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                               "config_broken", NULL, record.message, NULL);

    } else {
        rc = (op->body == NULL) ? dfd_config_show(r, result, &record)
                                : dfd_config_save(op, &record);
    }

    dfd_record_clear(&record);

    if (rc != NGX_DONE) {
        dfd_config_end(op, rc);
    }
}


static ngx_int_t
dfd_config_show(ngx_http_request_t *r, dfd_record_result_t result,
                const dfd_record_t *record)
{
    json_t *json;

    json = dfd_settings_json(&record->settings);

    (void) json_object_set_new(json, "hasSecret",
                               json_boolean(record->has_secret));

    dfd_config_copy(json, record->extra, "secretFingerprint");
    dfd_config_copy(json, record->extra, "updatedAt");
    dfd_config_copy(json, record->extra, "updatedBy");
    dfd_config_copy(json, record->extra, "changedFields");

    (void) json_object_set_new(json, "revision",
                               json_integer((json_int_t) record->revision));

    dfd_api_warnings(json);

    if (result != DFD_RECORD_OK && result != DFD_RECORD_NONE) {
        (void) json_object_set_new(json, "secretError",
                                   json_string(record->message));
    }

    if (dfd_reply_etag(r, record->revision) != NGX_OK) {
        json_decref(json);
        return NGX_ERROR;
    }

    return dfd_reply_json(r, NGX_HTTP_OK, json);
}


static void
dfd_config_copy(json_t *to, const json_t *from, const char *name)
{
    json_t *value;

    value = json_object_get(from, name);

    if (json_is_string(value) || json_is_array(value)) {
        (void) json_object_set(to, name, value);
    }
}


static ngx_int_t
dfd_config_remove(dfd_config_op_t *op, const dfd_record_t *record)
{
    ngx_http_request_t *r;

    r = op->wait.request;

    if (!dfd_api_matches(r, record->revision)) {
        return dfd_config_stale(r, record);
    }

    return dfd_config_sent(op, dfd_config_delete(&op->write, op->conf, record,
                                                 dfd_config_saved, op));
}


static ngx_int_t
dfd_config_save(dfd_config_op_t *op, const dfd_record_t *record)
{
    ngx_int_t            rc;
    dfd_candidate_t      candidate;
    ngx_http_request_t  *r;
    dfd_settings_error_t error;

    r = op->wait.request;

    if (!dfd_api_matches(r, record->revision)) {
        return dfd_config_stale(r, record);
    }

    if (dfd_candidate_read(&candidate, record, op->body, &error) != NGX_OK) {
        rc = dfd_candidate_refuse(r, &error);

    } else if (dfd_config_check_ticket(op, &candidate, &rc) == NGX_OK) {
        rc = dfd_config_sent(op, dfd_config_write(&op->write, op->conf, record,
                                                  &candidate, dfd_config_saved,
                                                  op));
    }

    dfd_candidate_wipe(&candidate);

    return rc;
}


static ngx_int_t
dfd_config_stale(ngx_http_request_t *r, const dfd_record_t *record)
{
    json_t *more;

    more = json_pack("{s:I}", "revision", (json_int_t) record->revision);

    if (more != NULL) {
        dfd_config_copy(more, record->extra, "updatedAt");
        dfd_config_copy(more, record->extra, "updatedBy");
        dfd_config_copy(more, record->extra, "changedFields");

        (void) json_object_set_new(
            more, "deleted",
            json_boolean(record->extra != NULL
                         && record->settings.tenant_id[0] == '\0'));
    }

    if (dfd_reply_etag(r, record->revision) != NGX_OK) {
        json_decref(more);
        return NGX_ERROR;
    }

    return dfd_reply_problem(r, NGX_HTTP_PRECONDITION_FAILED, "stale", NULL,
                             "the settings were changed by somebody else "
                             "since they were read: see updatedBy, "
                             "updatedAt and changedFields",
                             more);
}


static ngx_int_t
dfd_config_check_ticket(dfd_config_op_t *op, const dfd_candidate_t *candidate,
                        ngx_int_t *answer)
{
    const char         *detail;
    const json_t       *ticket;
    ngx_http_request_t *r;

    if (!candidate->connection && !candidate->isolate) {
        return NGX_OK;
    }

    r = op->wait.request;

    if (op->conf->key == NULL) {
        *answer = dfd_candidate_no_key(r);
        return NGX_DECLINED;
    }

    ticket = json_object_get(op->body, "verifyTicket");

    if (dfd_candidate_verified(op->conf, candidate, ticket)) {
        return NGX_OK;
    }

    detail = (ticket == NULL)
               ? "these connection values need to be verified first: a "
                 "verifyTicket is missing"
               : "the verifyTicket is not for these values, older than 15 "
                 "minutes, or the settings were saved since: verify again";

    *answer = dfd_reply_problem(r, NGX_HTTP_CONFLICT, "not_verified",
                                "verifyTicket", detail, NULL);

    return NGX_DECLINED;
}


/* rc: of what sends the script */

static ngx_int_t
dfd_config_sent(dfd_config_op_t *op, ngx_int_t rc)
{
    if (rc == NGX_OK) {
        op->saving = 1;
        return NGX_DONE;
    }

    return rc == NGX_BUSY ? dfd_api_cache_down(op->wait.request, NULL)
                          : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static void
dfd_config_saved(void *data, redisReply *reply, const char *cause)
{
    dfd_config_op_t *op = data;

    ngx_int_t           rc;
    ngx_http_request_t *r;

    op->saving = 0;
    r = op->wait.request;

    if (reply != NULL
        && (op->deleting
                ? reply->type == REDIS_REPLY_ARRAY
                : reply->type == REDIS_REPLY_INTEGER && reply->integer == 1))
    {
        dfd_config_end(op, dfd_config_done(op, reply));
        return;
    }

    if (r == NULL) {
        dfd_config_free(op);
        return;
    }

    if (reply == NULL) {
        dfd_config_end(op, dfd_api_cache_down(r, cause));
        return;
    }

    if (reply->type != REDIS_REPLY_INTEGER) {
        dfd_config_end(op, dfd_api_cache_error(r, reply));
        return;
    }

    /*
     * Somebody else has saved between our reading and our writing.  With an
     * If-Match the new reading ends in 412, which names them.
     */

    if (++op->tries == DFD_CONFIG_TRIES) {
        dfd_config_end(
            op, dfd_reply_problem(r, NGX_HTTP_CONFLICT, "conflict", NULL,
                                  "others are saving settings at this moment: "
                                  "read them and try again",
                                  NULL));
        return;
    }

    rc = dfd_api_redis_record(op->conf, dfd_config_record, op);

    if (rc != NGX_OK) {
        dfd_config_end(op, rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                                          : NGX_HTTP_INTERNAL_SERVER_ERROR);
    }
}


/* It is saved, whether or not somebody still waits for the answer. */

static ngx_int_t
dfd_config_done(dfd_config_op_t *op, const redisReply *reply)
{
    json_t             *json;
    ngx_http_request_t *r;

    if (op->deleting) {
        json = dfd_config_delete_done(&op->write, op->conf, reply);

    } else {
        dfd_config_write_done(&op->write, op->conf);

        json = json_incref(op->write.stored);
        (void) json_object_set_new(
            json, "revision", json_integer((json_int_t) op->write.revision));

        dfd_api_warnings(json);
    }

    r = op->wait.request;

    if (r == NULL || dfd_reply_etag(r, op->write.revision) != NGX_OK) {
        json_decref(json);
        return NGX_ERROR;
    }

    return dfd_reply_json(r, NGX_HTTP_OK, json);
}
