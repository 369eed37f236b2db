#include "http/api.h"
#include "http/audit.h"
#include "http/candidate.h"

#include "client/defender.h"
#include "core/json_load.h"

#include <openssl/crypto.h>


/*
 * POST /config/verify: tries candidate settings against Microsoft, with a
 * client of its own, so that nothing of the running integration (its token
 * and the roles in it) is taken for an answer about the new values.
 */

/* seconds: after libcurl's own limits have spoken, before send_timeout (60) */
#define DFD_VERIFY_DEADLINE 45

#define DFD_VERIFY_MESSAGE 640


typedef struct {
    dfd_wait_t       wait; /* first: its handlers are given it */
    dfd_host_conf_t *conf;
    json_t          *body; /* until the stored record has come */
    dfd_candidate_t  candidate;
    dfd_defender_t  *defender;
    const char      *check; /* that is under way */
    json_t          *checks;
    char             code[64];   /* why it failed, for the audit */
    unsigned         asking : 1; /* Redis: its handler frees the operation */
    unsigned         failed : 1;
} dfd_verify_t;


/* clang-format off */
static void dfd_verify_free(dfd_verify_t *v);
static void dfd_verify_end(dfd_verify_t *v, ngx_int_t rc);
static void dfd_verify_late(dfd_wait_t *wait);
static void dfd_verify_gone(dfd_wait_t *wait);
static void dfd_verify_record(void *data, redisReply *reply,
    const char *cause);
static ngx_int_t dfd_verify_start(dfd_verify_t *v, const redisReply *reply);
static ngx_int_t dfd_verify_connect(dfd_verify_t *v);

static void dfd_verify_signed_in(void *data,
    const dfd_defender_answer_t *answer);
static void dfd_verify_read(void *data, const dfd_defender_answer_t *answer);
static void dfd_verify_isolate(dfd_verify_t *v);
static ngx_uint_t dfd_verify_has_role(dfd_verify_t *v, const char *name);
static void dfd_verify_roles(dfd_verify_t *v, char *text, size_t size);

static void dfd_verify_add(dfd_verify_t *v, const char *name,
    const char *result, const char *message, const char *detail);
static void dfd_verify_fail(dfd_verify_t *v,
    const dfd_defender_answer_t *answer);
static void dfd_verify_skip_rest(dfd_verify_t *v, const char *message);
static ngx_int_t dfd_verify_report(dfd_verify_t *v);
/* clang-format on */


static const char dfd_verify_sign_in[] = "sign-in";
static const char dfd_verify_devices[] = "read-devices";
static const char dfd_verify_isolation[] = "isolate";


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
    if (v->body != NULL) {
        dfd_candidate_drop(v->body);
    }

    if (v->defender != NULL) {
        dfd_defender_destroy(v->defender);
    }

    dfd_candidate_wipe(&v->candidate);
    json_decref(v->checks);
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

    v->failed = 1;

    *ngx_snprintf(message, sizeof(message) - 1,
                  "Microsoft did not finish its answer within %d seconds; "
                  "check the firewall and the proxy",
                  DFD_VERIFY_DEADLINE) = '\0';

    dfd_verify_add(v, v->check, "failed", (char *) message, NULL);

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

    } else {
        rc = dfd_verify_connect(v);
    }

    dfd_record_clear(&record);

    return rc;
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
    v->checks = json_array();
    v->check = dfd_verify_sign_in;

    if (http == NULL || v->checks == NULL) {
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
        dfd_verify_fail(v, answer);
        dfd_verify_end(v, dfd_verify_report(v));
        return;
    }

    dfd_verify_roles(v, roles, sizeof(roles));
    dfd_verify_add(v, v->check, "passed",
                   "The tenant accepted the application and its secret",
                   roles);

    v->check = dfd_verify_devices;

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

    size_t  n;
    json_t *page, *value;

    if (answer->result != DFD_DEFENDER_OK) {
        dfd_verify_fail(v, answer);
        dfd_verify_end(v, dfd_verify_report(v));
        return;
    }

    page = dfd_json_load(answer->body, answer->body_len, NULL);
    value = json_object_get(page, "value");
    n = json_array_size(value);

    if (!json_is_array(value)) {
        v->failed = 1;
        dfd_verify_add(v, v->check, "failed",
                       "The answer has no list of devices: is this the API "
                       "of Defender for Endpoint?",
                       NULL);

    } else if (n == 0) {
        dfd_verify_add(v, v->check, "passed",
                       "Devices can be read, but the tenant has none yet: "
                       "check that this is the right tenant and that devices "
                       "are onboarded",
                       "devices in this answer: 0");

    } else {
        dfd_verify_add(v, v->check, "passed", "Devices can be read",
                       "devices in this answer: 1 (one was asked for)");
    }

    json_decref(page);

    if (!v->failed && v->candidate.settings.isolate_entity) {
        dfd_verify_isolate(v);
    }

    dfd_verify_end(v, dfd_verify_report(v));
}


static void
dfd_verify_isolate(dfd_verify_t *v)
{
    char roles[DFD_VERIFY_MESSAGE];

    v->check = dfd_verify_isolation;

    dfd_verify_roles(v, roles, sizeof(roles));

    if (dfd_verify_has_role(v, "Machine.Isolate")) {
        dfd_verify_add(v, v->check, "passed",
                       "The application may isolate devices", roles);
        return;
    }

    v->failed = 1;

    dfd_verify_add(v, v->check, "failed",
                   "The application lacks the permission Machine.Isolate "
                   "(Machine.ReadWrite.All does not include it): add it to "
                   "the app registration and grant admin consent, or switch "
                   "isolation off",
                   roles);
}


static ngx_uint_t
dfd_verify_has_role(dfd_verify_t *v, const char *name)
{
    size_t        i;
    const char   *text;
    const json_t *roles;

    roles = dfd_defender_roles(v->defender);

    for (i = 0; i < json_array_size(roles); i++) {

        text = json_string_value(json_array_get(roles, i));

        if (text != NULL && ngx_strcmp(text, name) == 0) {
            return 1;
        }
    }

    return 0;
}


/* "permissions: Machine.Isolate, Machine.Read.All" */

static void
dfd_verify_roles(dfd_verify_t *v, char *text, size_t size)
{
    size_t        i;
    u_char       *p, *last;
    const char   *name;
    const json_t *roles;

    roles = dfd_defender_roles(v->defender);

    p = (u_char *) text;
    last = p + size - 1;

    p = ngx_slprintf(p, last, "permissions in the token: ");

    if (json_array_size(roles) == 0) {
        p = ngx_slprintf(p, last, "none");
    }

    for (i = 0; i < json_array_size(roles); i++) {

        name = json_string_value(json_array_get(roles, i));

        if (name != NULL && ngx_strlen(name) + 2 < (size_t) (last - p)) {
            p = ngx_slprintf(p, last, "%s%s", i == 0 ? "" : ", ", name);
        }
    }

    *p = '\0';
}


static void
dfd_verify_add(dfd_verify_t *v, const char *name, const char *result,
               const char *message, const char *detail)
{
    json_t *check, *text;

    check = json_pack("{s:s, s:s}", "name", name, "result", result);

    /* words of a server, cut somewhere, may be no UTF-8 */

    text = json_string(message);

    if (text == NULL) {
        text = json_string("The answer cannot be shown: it is not UTF-8");
    }

    (void) json_object_set_new(check, "message", text);

    if (detail != NULL) {
        (void) json_object_set_new(check, "detail", json_string(detail));
    }

    (void) json_array_append_new(v->checks, check);
}


static void
dfd_verify_fail(dfd_verify_t *v, const dfd_defender_answer_t *answer)
{
    u_char detail[DFD_VERIFY_MESSAGE], *p, *last;

    v->failed = 1;
    (void) ngx_cpystrn((u_char *) v->code, (u_char *) answer->code,
                       sizeof(v->code));

    p = detail;
    last = p + sizeof(detail) - 1;

    if (answer->code[0] != '\0') {
        p = ngx_slprintf(p, last, "%s", answer->code);
    }

    if (answer->status != 0) {
        p = ngx_slprintf(p, last, "%sHTTP %l", p == detail ? "" : ", ",
                         answer->status);
    }

    if (answer->result == DFD_DEFENDER_THROTTLED) {
        p = ngx_slprintf(p, last, "%stry again in %i seconds",
                         p == detail ? "" : ", ", answer->retry_after);
    }

    *p = '\0';

    dfd_verify_add(v, v->check, "failed", answer->message,
                   p == detail ? NULL : (char *) detail);
}


static void
dfd_verify_skip_rest(dfd_verify_t *v, const char *message)
{
    size_t      i;
    const char *names[] = { dfd_verify_sign_in, dfd_verify_devices,
                            dfd_verify_isolation };

    for (i = json_array_size(v->checks); i < 3; i++) {

        if (i < 2 || v->candidate.settings.isolate_entity) {
            dfd_verify_add(v, names[i], "skipped", message, NULL);
        }
    }
}


static ngx_int_t
dfd_verify_report(dfd_verify_t *v)
{
    char    ticket[DFD_SEAL_TICKET];
    json_t *json;

    dfd_audit_done(v->wait.request, v->failed ? "failed" : "done", v->code);

    if (v->failed) {
        dfd_verify_skip_rest(v, "An earlier check failed");
    }

    json =
        json_pack("{s:b, s:O}", "verified", !v->failed, "checks", v->checks);

    if (!v->failed) {

        if (dfd_candidate_ticket(v->conf, &v->candidate, ticket) != NGX_OK) {
            json_decref(json);
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        (void) json_object_set_new(json, "verifyTicket", json_string(ticket));
        OPENSSL_cleanse(ticket, sizeof(ticket));
    }

    return dfd_reply_json(v->wait.request, NGX_HTTP_OK, json);
}
