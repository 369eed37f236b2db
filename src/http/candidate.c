#include "http/candidate.h"

#include "http/reply.h"

#include <openssl/crypto.h>


#define DFD_CANDIDATE_TICKET_TIME (15 * 60) /* seconds */
#define DFD_CANDIDATE_MAX_VALUES  4096


/*
 * What GET /config adds to the settings, and what verify returned: passed
 * over, so that a client may send back what it got.
 */
static const char *const dfd_candidate_also[] = {
    "verifyTicket", "hasSecret", "secretFingerprint", "secretError",
    "updatedAt",    "updatedBy", "changedFields",     "warnings",
    "revision",     NULL
};


static ngx_int_t dfd_candidate_values(const dfd_host_conf_t *conf,
                                      const dfd_candidate_t *candidate,
                                      u_char *values, size_t *len);


ngx_int_t
dfd_candidate_body(ngx_http_request_t *r, const ngx_str_t *body, json_t **json,
                   ngx_int_t *answer)
{
    u_char       detail[64];
    json_error_t error;

    *json = json_loadb((char *) body->data, body->len, JSON_REJECT_DUPLICATES,
                       &error);

    if (json_is_object(*json)) {
        return NGX_OK;
    }

    if (*json != NULL) {
        dfd_candidate_drop(*json);
        *answer =
            dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_settings",
                              NULL, "the body must be a JSON object", NULL);
        return NGX_DECLINED;
    }

    /* jansson's own words quote the body, which may hold a secret */

    *ngx_snprintf(detail, sizeof(detail) - 1,
                  "the body is not JSON (position %d)", error.position) = '\0';

    *answer = dfd_reply_problem(
        r, NGX_HTTP_BAD_REQUEST, "invalid_json", NULL, (char *) detail,
        json_pack("{s:i}", "position", error.position));

    return NGX_DECLINED;
}


void
dfd_candidate_drop(json_t *body)
{
    json_t     *value;
    const char *name;

    json_object_foreach(body, name, value)
    {

        if (json_is_string(value)) {
            OPENSSL_cleanse((char *) json_string_value(value),
                            json_string_length(value));
        }
    }

    json_decref(body);
}


ngx_int_t
dfd_candidate_read(dfd_candidate_t *candidate, const dfd_record_t *record,
                   const json_t *body, dfd_settings_error_t *error)
{
    ngx_uint_t            given, other;
    dfd_settings_t       *settings;
    const dfd_settings_t *stored;

    ngx_memzero(candidate, sizeof(dfd_candidate_t));

    settings = &candidate->settings;
    stored = &record->settings;

    candidate->revision = record->revision;
    *settings = *stored;

    if (dfd_settings_read(settings, body, dfd_candidate_also, error) != 0) {
        return NGX_DECLINED;
    }

    given = settings->app_secret_len != 0;
    other = dfd_settings_other_app(settings, stored);

    if (given) {
        candidate->new_secret =
            settings->app_secret_len != stored->app_secret_len
            || CRYPTO_memcmp(settings->app_secret, stored->app_secret,
                             stored->app_secret_len)
                   != 0;

        /* the date was that of the secret before */

        if (candidate->new_secret
            && json_object_get(body, "secretExpiresAt") == NULL) {
            settings->secret_expires[0] = '\0';
        }

    } else if (record->has_secret && other) {

        (void) ngx_cpystrn((u_char *) error->field, (u_char *) "appSecret",
                           sizeof(error->field));
        (void) ngx_cpystrn((u_char *) error->message,
                           (u_char *) "appSecret needs to be entered again: "
                                      "the stored one belongs to another "
                                      "tenant, application or cloud",
                           sizeof(error->message));
        return NGX_DECLINED;

    } else {
        ngx_memcpy(settings->app_secret, stored->app_secret,
                   sizeof(settings->app_secret));
        settings->app_secret_len = stored->app_secret_len;
    }

    if (dfd_settings_complete(settings, !record->has_secret, error) != 0) {
        return NGX_DECLINED;
    }

    candidate->connection =
        !record->has_secret || other || candidate->new_secret;
    candidate->isolate = settings->isolate_entity && !stored->isolate_entity;

    return NGX_OK;
}


void
dfd_candidate_wipe(dfd_candidate_t *candidate)
{
    dfd_settings_wipe(&candidate->settings);
}


/*
 * The connection as bytes, each field behind its length, so that no two
 * different connections give the same.
 */

static ngx_int_t
dfd_candidate_values(const dfd_host_conf_t *conf,
                     const dfd_candidate_t *candidate, u_char *values,
                     size_t *len)
{
    size_t                n, room;
    u_char               *p, revision[NGX_INT64_LEN + 1];
    ngx_uint_t            i;
    dfd_cloud_t           cloud;
    const char           *fields[8];
    const dfd_settings_t *settings;

    settings = &candidate->settings;

    dfd_record_endpoints(conf, settings, &cloud);

    *ngx_snprintf(revision, sizeof(revision) - 1, "%uL", candidate->revision) =
        '\0';

    fields[0] = settings->tenant_id;
    fields[1] = settings->app_id;
    fields[2] = settings->cloud;
    fields[3] = cloud.login;
    fields[4] = cloud.api;
    fields[5] = cloud.scope;
    fields[6] = settings->app_secret;
    fields[7] = (char *) revision;

    p = values;
    room = DFD_CANDIDATE_MAX_VALUES - 1;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {

        n = ngx_strlen(fields[i]);

        if (room < 4 + n) {
            return NGX_ERROR;
        }

        *p++ = (u_char) (n >> 24);
        *p++ = (u_char) (n >> 16);
        *p++ = (u_char) (n >> 8);
        *p++ = (u_char) n;
        p = ngx_cpymem(p, fields[i], n);

        room -= 4 + n;
    }

    *p++ = settings->isolate_entity ? 1 : 0;

    *len = (size_t) (p - values);

    return NGX_OK;
}


ngx_int_t
dfd_candidate_ticket(const dfd_host_conf_t *conf,
                     const dfd_candidate_t *candidate,
                     char                   ticket[DFD_SEAL_TICKET])
{
    int    rc;
    u_char values[DFD_CANDIDATE_MAX_VALUES];
    size_t len;

    rc = DFD_SEAL_FAILED;

    if (dfd_candidate_values(conf, candidate, values, &len) == NGX_OK) {
        rc = dfd_seal_ticket(conf->key, values, len,
                             (int64_t) ngx_time() + DFD_CANDIDATE_TICKET_TIME,
                             ticket);
    }

    OPENSSL_cleanse(values, sizeof(values));

    return rc == DFD_SEAL_OK ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
dfd_candidate_verified(const dfd_host_conf_t *conf,
                       const dfd_candidate_t *candidate, const json_t *ticket)
{
    u_char     values[DFD_CANDIDATE_MAX_VALUES];
    size_t     len;
    ngx_uint_t good;

    good = 0;

    if (json_is_string(ticket)
        && dfd_candidate_values(conf, candidate, values, &len) == NGX_OK)
    {
        good = dfd_seal_ticket_check(
            conf->key, values, len, (int64_t) ngx_time(),
            json_string_value(ticket), json_string_length(ticket));
    }

    OPENSSL_cleanse(values, sizeof(values));

    return good;
}


ngx_int_t
dfd_candidate_refuse(ngx_http_request_t *r, const dfd_settings_error_t *error)
{
    return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_settings",
                             error->field[0] == '\0' ? NULL : error->field,
                             error->message, NULL);
}


ngx_int_t
dfd_candidate_no_key(ngx_http_request_t *r)
{
    return dfd_reply_problem(r, NGX_HTTP_CONFLICT, "no_key", NULL,
                             "nginx.conf has no defender_key, without which "
                             "the App Secret cannot be sealed",
                             NULL);
}
