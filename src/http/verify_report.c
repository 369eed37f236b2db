#include "http/verify.h"

#include "http/audit.h"

#include "core/json_load.h"
#include "core/timestamp.h"

#include <openssl/crypto.h>


/* a report that is older makes one look twice: the fleet reports daily */
#define DFD_VERIFY_OLD (7 * 24 * 3600) /* seconds */


/* clang-format off */
static void dfd_verify_set(dfd_verify_t *v, const char *result,
    const char *message, const char *detail);
static void dfd_verify_none(dfd_verify_t *v);
static void dfd_verify_fresh(dfd_verify_t *v, const json_t *devices);
static void dfd_verify_skip(dfd_verify_t *v);
/* clang-format on */


/* as the report names them */
static const char *const dfd_verify_names[DFD_VERIFY_N] = {
    "sign-in", "read-devices", "devices", "isolate", "redis"
};


static void
dfd_verify_set(dfd_verify_t *v, const char *result, const char *message,
               const char *detail)
{
    json_t *check, *text;

    check = json_pack("{s:s, s:s}", "name", dfd_verify_names[v->check],
                      "result", result);

    /* words of a server, cut somewhere, may be no UTF-8 */

    text = json_string(message);

    if (text == NULL) {
        text = json_string("The answer cannot be shown: it is not UTF-8");
    }

    (void) json_object_set_new(check, "message", text);

    if (detail != NULL && detail[0] != '\0') {
        (void) json_object_set_new(check, "detail", json_string(detail));
    }

    json_decref(v->checks[v->check]);
    v->checks[v->check] = check;
}


void
dfd_verify_pass(dfd_verify_t *v, const char *message, const char *detail)
{
    dfd_verify_set(v, "passed", message, detail);
}


void
dfd_verify_warn(dfd_verify_t *v, const char *message, const char *detail)
{
    dfd_verify_set(v, "passed", message, detail);

    (void) json_object_set_new(v->checks[v->check], "warning", json_true());
}


void
dfd_verify_fail(dfd_verify_t *v, const char *code, const char *message,
                const char *detail)
{
    /* the audit tells the first cause, not what followed from it */

    if (!v->failed) {
        (void) ngx_cpystrn((u_char *) v->code, (u_char *) code,
                           sizeof(v->code));
    }

    v->failed = 1;

    dfd_verify_set(v, "failed", message, detail);
}


void
dfd_verify_refused(dfd_verify_t *v, const dfd_defender_answer_t *answer,
                   const char *before)
{
    u_char detail[DFD_VERIFY_MESSAGE], *p, *last;
    u_char message[DFD_VERIFY_MESSAGE + sizeof(answer->message)];

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

    *ngx_snprintf(message, sizeof(message) - 1, "%s%s", before,
                  answer->message) = '\0';

    dfd_verify_fail(v, answer->code, (char *) message, (char *) detail);
}


void
dfd_verify_devices(dfd_verify_t *v, const dfd_defender_answer_t *answer)
{
    json_t    *page, *devices;
    ngx_uint_t claimed;

    claimed = dfd_verify_has_role(v, "Machine.Read.All")
           || dfd_verify_has_role(v, "Machine.ReadWrite.All");

    if (answer->result == DFD_DEFENDER_NOT_FOUND) {

        /* an empty fleet may be told in this way */

        dfd_verify_pass(v, "Devices may be read", answer->code);
        dfd_verify_none(v);
        return;
    }

    if (answer->result == DFD_DEFENDER_PERMISSION && claimed) {
        dfd_verify_refused(v, answer,
                           "The token has the permission to read devices, "
                           "but Defender refuses to list them all the same. ");
        return;
    }

    if (answer->result != DFD_DEFENDER_OK) {
        dfd_verify_refused(v, answer, "");
        return;
    }

    page = dfd_json_load(answer->body, answer->body_len, NULL);
    devices = json_object_get(page, "value");

    if (!json_is_array(devices)) {
        dfd_verify_fail(v, "no-list",
                        "The answer has no list of devices: is this the API "
                        "of Defender for Endpoint?",
                        NULL);
        json_decref(page);
        return;
    }

    dfd_verify_pass(v,
                    claimed ? "Devices may be read: the token says so, and "
                              "it was tried"
                            : "Devices may be read: it was tried, although "
                              "the token does not name the permission",
                    NULL);

    if (json_array_size(devices) == 0) {
        dfd_verify_none(v);

    } else {
        dfd_verify_fresh(v, devices);
    }

    json_decref(page);
}


static void
dfd_verify_none(dfd_verify_t *v)
{
    v->check = DFD_VERIFY_DEVICES;

    dfd_verify_warn(v,
                    "The application sees no devices, none at all: check "
                    "that this is the right tenant, that devices are "
                    "onboarded, and that no device group hides them",
                    "devices in this answer: 0");
}


/* lastSeen is the time of a device's last full report */

static void
dfd_verify_fresh(dfd_verify_t *v, const json_t *devices)
{
    char          text[DFD_TIME_TEXT];
    u_char        detail[128];
    size_t        i, n;
    int64_t       newest, seen;
    const json_t *value;

    v->check = DFD_VERIFY_DEVICES;

    newest = DFD_TIME_NONE;
    n = json_array_size(devices);

    for (i = 0; i < n; i++) {

        value = json_object_get(json_array_get(devices, i), "lastSeen");

        seen = json_is_string(value) ? dfd_time_parse(
                   json_string_value(value), json_string_length(value))
                                     : DFD_TIME_NONE;

        newest = ngx_max(newest, seen);
    }

    if (newest == DFD_TIME_NONE) {
        *ngx_snprintf(detail, sizeof(detail) - 1,
                      "devices in this answer: %uz (one was asked for)", n) =
            '\0';
        dfd_verify_warn(v,
                        "Devices are visible, but the first one does not "
                        "tell when it last reported",
                        (char *) detail);
        return;
    }

    (void) dfd_time_format(newest, text);

    *ngx_snprintf(detail, sizeof(detail) - 1,
                  "devices in this answer: %uz (one was asked for), newest "
                  "report: %s",
                  n, text) = '\0';

    if (dfd_time_now() - newest > DFD_VERIFY_OLD * DFD_TICKS_PER_SECOND) {
        dfd_verify_warn(v,
                        "Devices are visible, but the first one has not "
                        "reported for more than 7 days: check that this is "
                        "the tenant whose devices are in use",
                        (char *) detail);
        return;
    }

    dfd_verify_pass(v, "Devices are visible, and report", (char *) detail);
}


ngx_uint_t
dfd_verify_has_role(const dfd_verify_t *v, const char *name)
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


void
dfd_verify_roles(const dfd_verify_t *v, char text[DFD_VERIFY_MESSAGE])
{
    size_t        i;
    u_char       *p, *last;
    const char   *name;
    const json_t *roles;

    roles = dfd_defender_roles(v->defender);

    p = (u_char *) text;
    last = p + DFD_VERIFY_MESSAGE - 1;

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


/* Everything else that should have been tried. */

static void
dfd_verify_skip(dfd_verify_t *v)
{
    ngx_uint_t i;

    for (i = 0; i < DFD_VERIFY_N; i++) {

        if (v->checks[i] != NULL
            || (i == DFD_VERIFY_ISOLATE
                && !v->candidate.settings.isolate_entity))
        {
            continue;
        }

        v->check = (dfd_verify_check_t) i;
        dfd_verify_set(v, "skipped",
                       "Not tried, because an earlier check failed", NULL);
    }
}


ngx_int_t
dfd_verify_report(dfd_verify_t *v)
{
    char       ticket[DFD_SEAL_TICKET];
    json_t    *json, *checks;
    ngx_uint_t i;

    dfd_audit_done(v->wait.request, v->failed ? "failed" : "done", v->code);

    if (v->failed) {
        dfd_verify_skip(v);
    }

    checks = json_array();

    for (i = 0; i < DFD_VERIFY_N; i++) {

        if (v->checks[i] != NULL) {
            (void) json_array_append(checks, v->checks[i]);
        }
    }

    json = json_pack("{s:b, s:o}", "verified", !v->failed, "checks", checks);

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
