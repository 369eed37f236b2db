#include "client/defender_error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>


#define DFD_DEFENDER_MAX_TEXT 200 /* of what the server says, in a message */


typedef struct {
    long                  number; /* AADSTS..., 0: any */
    const char           *error;  /* OAuth 2.0 "error", NULL: any */
    dfd_defender_result_t result;
    const char           *text; /* a sentence without its full stop */
} dfd_defender_reason_t;


/* clang-format off */

#define DFD_TENANT                                                           \
    "The tenant ID is not known in this cloud. Check the tenant ID and the " \
    "cloud"
#define DFD_CLOUD                                                            \
    "The tenant belongs to another national cloud. Choose that cloud"
#define DFD_APP                                                              \
    "The App ID is not known in this tenant. Check App ID and tenant ID, "   \
    "and that the application is registered there"
#define DFD_SECRET                                                           \
    "The App Secret was not accepted. Check that the secret's Value was "    \
    "pasted, not its Secret ID, and that it belongs to this application"
#define DFD_SCOPE                                                            \
    "The scope is wrong: it must be one resource with /.default at its "     \
    "end. Check the cloud, or the scope of defender_endpoint"
#define DFD_RESOURCE                                                         \
    "Microsoft Defender for Endpoint, the resource named by the scope, is "  \
    "not set up in this tenant. Check the licence, the cloud and the scope"
#define DFD_POLICY                                                           \
    "A Conditional Access policy blocks the application's sign-in. Exclude " \
    "the application from it, or allow this server's address"
#define DFD_BUG                                                              \
    "Microsoft did not understand the sign-in request. Check the tenant ID " \
    "and the App ID"
#define DFD_BUSY                                                             \
    "Microsoft's sign-in service got too many requests and asked to wait"
#define DFD_TROUBLE                                                          \
    "Microsoft's sign-in service has trouble of its own. Nothing is wrong "  \
    "here; try again later"


/* numbers first: the first match counts */

static const dfd_defender_reason_t  dfd_defender_reasons[] = {
    { 90002, NULL, DFD_DEFENDER_SIGN_IN, DFD_TENANT },
    { 900023, NULL, DFD_DEFENDER_SIGN_IN,
      "The tenant ID is neither a directory ID nor a domain name. Copy the "
      "Directory (tenant) ID" },
    { 9001023, NULL, DFD_DEFENDER_SIGN_IN,
      "An application cannot sign in to \"common\" or \"consumers\". Enter "
      "the Directory (tenant) ID" },
    { 90038, NULL, DFD_DEFENDER_SIGN_IN, DFD_CLOUD },
    { 900382, NULL, DFD_DEFENDER_SIGN_IN, DFD_CLOUD },
    { 900432, NULL, DFD_DEFENDER_SIGN_IN, DFD_CLOUD },
    { 700016, NULL, DFD_DEFENDER_SIGN_IN, DFD_APP },
    { 7000112, NULL, DFD_DEFENDER_SIGN_IN,
      "The application is disabled in the tenant. Enable it under "
      "Enterprise applications" },
    { 70001, NULL, DFD_DEFENDER_SIGN_IN,
      "The application is not known in this tenant, or disabled. Check App "
      "ID and tenant ID, and that it is enabled" },
    { 7000215, NULL, DFD_DEFENDER_SIGN_IN, DFD_SECRET },
    { 70002, NULL, DFD_DEFENDER_SIGN_IN, DFD_SECRET },
    { 7000222, NULL, DFD_DEFENDER_SIGN_IN,
      "The App Secret has expired. Create a new client secret for the "
      "application and enter its Value" },
    { 7000218, NULL, DFD_DEFENDER_SIGN_IN,
      "No App Secret reached Microsoft. Enter it again" },
    { 900144, NULL, DFD_DEFENDER_SIGN_IN, DFD_BUG },
    { 70003, NULL, DFD_DEFENDER_SIGN_IN,
      "The application may not sign in by itself (client credentials). "
      "Check that it is a registered web application" },
    { 1002012, NULL, DFD_DEFENDER_SIGN_IN, DFD_SCOPE },
    { 70011, NULL, DFD_DEFENDER_SIGN_IN, DFD_SCOPE },
    { 28002, NULL, DFD_DEFENDER_SIGN_IN, DFD_SCOPE },
    { 700022, NULL, DFD_DEFENDER_SIGN_IN, DFD_SCOPE },
    { 500011, NULL, DFD_DEFENDER_SIGN_IN, DFD_RESOURCE },
    { 650052, NULL, DFD_DEFENDER_SIGN_IN, DFD_RESOURCE },
    { 50001, NULL, DFD_DEFENDER_SIGN_IN, DFD_RESOURCE },
    { 53003, NULL, DFD_DEFENDER_SIGN_IN, DFD_POLICY },
    { 50196, NULL, DFD_DEFENDER_THROTTLED, DFD_BUSY },
    { 90055, NULL, DFD_DEFENDER_THROTTLED, DFD_BUSY },
    { 90033, NULL, DFD_DEFENDER_SERVICE, DFD_TROUBLE },
    { 90006, NULL, DFD_DEFENDER_SERVICE, DFD_TROUBLE },
    { 50033, NULL, DFD_DEFENDER_SERVICE, DFD_TROUBLE },
    { 90024, NULL, DFD_DEFENDER_SERVICE, DFD_TROUBLE },

    { 0, "temporarily_unavailable", DFD_DEFENDER_SERVICE, DFD_TROUBLE },
    { 0, "server_error", DFD_DEFENDER_SERVICE, DFD_TROUBLE },
    { 0, "invalid_client", DFD_DEFENDER_SIGN_IN,
      "Microsoft did not accept the App ID with this App Secret" },
    { 0, "unauthorized_client", DFD_DEFENDER_SIGN_IN,
      "The application may not sign in to this tenant" },
    { 0, "invalid_scope", DFD_DEFENDER_SIGN_IN, DFD_SCOPE },
    { 0, "invalid_resource", DFD_DEFENDER_SIGN_IN, DFD_RESOURCE },
    { 0, "access_denied", DFD_DEFENDER_SIGN_IN,
      "A policy of the tenant blocks the application's sign-in" },
    { 0, "invalid_grant", DFD_DEFENDER_SIGN_IN,
      "A policy of the tenant blocks the application's sign-in" },
    { 0, NULL, DFD_DEFENDER_SIGN_IN,
      "Microsoft refused the sign-in. Check tenant ID, App ID and App "
      "Secret" },
};


static const dfd_defender_reason_t *dfd_defender_sign_in_reason(
    const json_t *body, const char *error, long *number);
static long dfd_defender_sign_in_number(const char *description);
static void dfd_defender_sign_in_text(const char *description, char *text,
    size_t size, const dfd_defender_hidden_t *hidden);

/* clang-format on */


void
dfd_defender_error_sign_in(dfd_defender_answer_t       *answer,
                           const dfd_http_answer_t     *http,
                           const dfd_defender_hidden_t *hidden)
{
    char        code[sizeof(answer->code)], text[DFD_DEFENDER_MAX_TEXT];
    long        number;
    json_t     *body;
    const char *error, *description;

    const dfd_defender_reason_t *reason;

    if (http->result != DFD_HTTP_DONE
        || (http->status >= 300 && http->status < 400) || http->status == 429)
    {
        (void) dfd_defender_error_common(answer, http, "");
        return;
    }

    body = json_loadb(http->body, http->body_len, 0, NULL);

    error = json_string_value(json_object_get(body, "error"));
    description =
        json_string_value(json_object_get(body, "error_description"));

    if (error == NULL) {
        if (!dfd_defender_error_common(answer, http, "")) {
            dfd_defender_error_content(answer, http, "is not Microsoft's");
        }

        json_decref(body);
        return;
    }

    if (description == NULL) {
        description = "";
    }

    reason = dfd_defender_sign_in_reason(body, error, &number);

    dfd_defender_error_clean(code, sizeof(code), error, hidden);
    text[0] = '\0';

    if (number != 0) {
        (void) snprintf(code, sizeof(code), "AADSTS%ld", number);
    }

    if (reason->number == 0) {
        dfd_defender_sign_in_text(description, text, sizeof(text), hidden);
    }

    answer->status = http->status;

    dfd_defender_error_set(
        answer, http->status >= 500 ? DFD_DEFENDER_SERVICE : reason->result,
        code, "%s (%s).%s%s", reason->text, code,
        text[0] != '\0' ? " Microsoft says: " : "", text);

    if (answer->result == DFD_DEFENDER_THROTTLED
        || (answer->result == DFD_DEFENDER_SERVICE && http->retry_after >= 0))
    {
        answer->retry_after = dfd_defender_error_wait(http);
    }

    json_decref(body);
}


/* number: of the reason if it is known, else the first one, 0: none */

static const dfd_defender_reason_t *
dfd_defender_sign_in_reason(const json_t *body, const char *error,
                            long *number)
{
    long          n;
    size_t        i;
    const char   *description;
    const json_t *codes;

    const dfd_defender_reason_t *reason;

    codes = json_object_get(body, "error_codes");
    *number = (long) json_integer_value(json_array_get(codes, 0));

    if (*number <= 0) {
        description =
            json_string_value(json_object_get(body, "error_description"));
        *number = dfd_defender_sign_in_number(description);
    }

    for (i = 0; i == 0 || i < json_array_size(codes); i++) {
        n = i == 0 ? *number
                   : (long) json_integer_value(json_array_get(codes, i));

        for (reason = dfd_defender_reasons; reason->number != 0; reason++) {
            if (reason->number == n) {
                *number = n;
                return reason;
            }
        }
    }

    for (reason = dfd_defender_reasons;
         reason->number != 0
         || (reason->error != NULL && strcmp(reason->error, error) != 0);
         reason++)
    {
        /* void: the last entry has neither number nor error */
    }

    return reason;
}


static long
dfd_defender_sign_in_number(const char *description)
{
    const char *p;

    if (description == NULL) {
        return 0;
    }

    p = strstr(description, "AADSTS");
    if (p == NULL) {
        return 0;
    }

    p += sizeof("AADSTS") - 1;

    return *p >= '0' && *p <= '9' ? strtol(p, NULL, 10) : 0;
}


/*
 * "AADSTS<number>: <text>", then trace id, correlation id and timestamp,
 * which are set off by CR LF in older answers and by blanks in newer ones.
 */

static void
dfd_defender_sign_in_text(const char *description, char *text, size_t size,
                          const dfd_defender_hidden_t *hidden)
{
    char       *end;
    char        line[DFD_DEFENDER_MAX_TEXT * 4];
    const char *p;

    /* looks for hidden texts in the whole of it, before anything is cut */

    dfd_defender_error_clean(line, sizeof(line), description, hidden);

    if (line[0] == '\0') {
        *text = '\0';
        return;
    }

    (void) snprintf(line, sizeof(line), "%.*s",
                    (int) strcspn(description, "\r\n"), description);

    end = strstr(line, "Trace ID:");
    if (end != NULL) {
        *end = '\0';
    }

    p = line;

    if (strncmp(p, "AADSTS", sizeof("AADSTS") - 1) == 0) {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }

    dfd_defender_error_clean(text, size, p, NULL);
}
