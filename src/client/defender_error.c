#include "client/defender_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>


#define DFD_DEFENDER_MAX_TEXT  200 /* of what a server says, in a message */
#define DFD_DEFENDER_MAX_ROLES 160
#define DFD_DEFENDER_STATUS    sizeof("-9223372036854775808")


/* clang-format off */
static void dfd_defender_error_unauthorized(dfd_defender_answer_t *answer,
    const dfd_http_answer_t *http, const char *code, const char *text,
    const char *audience);
static void dfd_defender_error_forbidden(dfd_defender_answer_t *answer,
    const char *code, const char *text, const char *role,
    const char *audience);
static void dfd_defender_error_refused(dfd_defender_answer_t *answer,
    const dfd_http_answer_t *http, const char *code, const char *text);

static void dfd_defender_error_envelope(const dfd_http_answer_t *http,
    const dfd_defender_hidden_t *hidden, char *code, size_t code_size,
    char *text, size_t text_size);
static ngx_uint_t dfd_defender_error_roles(const char *text, char *roles,
    size_t size);
static ngx_uint_t dfd_defender_error_leaks(const char *text,
    const dfd_defender_hidden_t *hidden);
static size_t dfd_defender_error_whole(const char *text, size_t len);
/* clang-format on */


void
dfd_defender_error_api(dfd_defender_answer_t       *answer,
                       const dfd_http_answer_t     *http,
                       const dfd_defender_hidden_t *hidden, const char *role,
                       const char *audience)
{
    char code[sizeof(answer->code)];
    char text[DFD_DEFENDER_MAX_TEXT];

    dfd_defender_error_envelope(http, hidden, code, sizeof(code), text,
                                sizeof(text));

    if (dfd_defender_error_common(answer, http, code)) {
        return;
    }

    if (http->status < 300
        || (http->content_type != NULL
            && strcasestr(http->content_type, "html") != NULL))
    {
        dfd_defender_error_content(answer, http, "is not Defender's");
        return;
    }

    switch (http->status) {

    case 401:
        dfd_defender_error_unauthorized(answer, http, code, text, audience);
        return;

    case 403:
        dfd_defender_error_forbidden(answer, code, text, role, audience);
        return;

    case 404:
        if (code[0] == '\0') {
            dfd_defender_error_content(answer, http, "is not Defender's");
            return;
        }

        dfd_defender_error_set(answer, DFD_DEFENDER_NOT_FOUND, code,
                               "Defender does not know it (%s)%s%s.", code,
                               text[0] != '\0' ? ": " : "", text);
        return;

    default:
        dfd_defender_error_refused(answer, http, code, text);
    }
}


static void
dfd_defender_error_unauthorized(dfd_defender_answer_t   *answer,
                                const dfd_http_answer_t *http,
                                const char *code, const char *text,
                                const char *audience)
{
    dfd_defender_error_set(
        answer, DFD_DEFENDER_ACCOUNT, code[0] != '\0' ? code : "401",
        "Sign-in works, but %s does not accept its token%s%s. Check that the "
        "tenant has an active Defender for Endpoint licence, and that the "
        "scope belongs to this API%s%s.",
        http->host, text[0] != '\0' ? ": " : "", text,
        audience[0] != '\0' ? "; the token is for " : "", audience);
}


static void
dfd_defender_error_forbidden(dfd_defender_answer_t *answer, const char *code,
                             const char *text, const char *role,
                             const char *audience)
{
    char roles[DFD_DEFENDER_MAX_ROLES];

    if (code[0] == '\0') {
        code = "403";
    }

    if (dfd_defender_error_roles(text, roles, sizeof(roles))) {
        dfd_defender_error_set(
            answer, DFD_DEFENDER_PERMISSION, code,
            "The application lacks a permission: Defender asks for %s. Add it "
            "to the application as an application permission of "
            "WindowsDefenderATP and grant admin consent.",
            roles);
        return;
    }

    dfd_defender_error_set(
        answer, DFD_DEFENDER_PERMISSION, code,
        "The application lacks a permission: it needs %s, an application "
        "permission of WindowsDefenderATP, with admin consent. If it has it, "
        "check the scope%s%s.%s%s",
        role, audience[0] != '\0' ? "; the token is for " : "", audience,
        text[0] != '\0' ? " Defender says: " : "", text);
}


static void
dfd_defender_error_refused(dfd_defender_answer_t   *answer,
                           const dfd_http_answer_t *http, const char *code,
                           const char *text)
{
    char status[DFD_DEFENDER_STATUS];

    (void) snprintf(status, sizeof(status), "%ld", http->status);

    dfd_defender_error_set(
        answer, DFD_DEFENDER_REFUSED, code[0] != '\0' ? code : status,
        "%s refused the call with status %ld%s%s%s%s.", http->host,
        http->status, code[0] != '\0' ? ", " : "", code,
        text[0] != '\0' ? ": " : "", text);
}


ngx_uint_t
dfd_defender_error_common(dfd_defender_answer_t   *answer,
                          const dfd_http_answer_t *http, const char *code)
{
    char status[DFD_DEFENDER_STATUS];

    static const struct {
        dfd_defender_result_t result;
        const char           *code;
    } results[] = {
        [DFD_HTTP_DONE] = { DFD_DEFENDER_OK, "" },
        [DFD_HTTP_DNS] = { DFD_DEFENDER_UNREACHABLE, "dns" },
        [DFD_HTTP_CONNECT] = { DFD_DEFENDER_UNREACHABLE, "connect" },
        [DFD_HTTP_PROXY] = { DFD_DEFENDER_UNREACHABLE, "proxy" },
        [DFD_HTTP_TLS] = { DFD_DEFENDER_UNREACHABLE, "tls" },
        [DFD_HTTP_TIMEOUT] = { DFD_DEFENDER_UNREACHABLE, "timeout" },
        [DFD_HTTP_TOO_LARGE] = { DFD_DEFENDER_BAD_ANSWER, "too-large" },
        [DFD_HTTP_BROKEN] = { DFD_DEFENDER_BAD_ANSWER, "broken" },
        [DFD_HTTP_STOPPED] = { DFD_DEFENDER_STOPPED, "stopped" },
        [DFD_HTTP_FAILED] = { DFD_DEFENDER_FAILED, "failed" },
    };

    answer->status = http->status;

    if (http->result != DFD_HTTP_DONE) {
        dfd_defender_error_set(answer, results[http->result].result,
                               results[http->result].code, "%s", http->error);
        return 1;
    }

    if (code[0] == '\0') {
        (void) snprintf(status, sizeof(status), "%ld", http->status);
        code = status;
    }

    if (http->status == 429) {
        answer->retry_after = dfd_defender_error_wait(http);
        dfd_defender_error_set(answer, DFD_DEFENDER_THROTTLED, code,
                               "%s got too many requests and asked to wait; "
                               "nothing is sent for %ld s.",
                               http->host, (long) answer->retry_after);
        return 1;
    }

    if (http->status == 408 || http->status >= 500) {

        if (http->retry_after >= 0) {
            answer->retry_after = dfd_defender_error_wait(http);
        }

        dfd_defender_error_set(answer, DFD_DEFENDER_SERVICE, code,
                               "%s has trouble of its own: it answered with "
                               "status %ld. Nothing is wrong here; try again "
                               "later.",
                               http->host, http->status);
        return 1;
    }

    if (http->status >= 300 && http->status < 400) {
        dfd_defender_error_set(answer, DFD_DEFENDER_REFUSED, code,
                               "%s answered with a redirect (status %ld), "
                               "which is not followed: credentials go to the "
                               "configured hosts only. Is a proxy or a "
                               "sign-in page in between?",
                               http->host, http->status);
        return 1;
    }

    return 0;
}


void
dfd_defender_error_content(dfd_defender_answer_t   *answer,
                           const dfd_http_answer_t *http, const char *why)
{
    char *p, type[64], status[DFD_DEFENDER_STATUS];

    dfd_defender_error_clean(
        type, sizeof(type),
        http->content_type != NULL ? http->content_type : "", NULL);

    /* a header's bytes, other than JSON's, may be anything */

    for (p = type; *p != '\0'; p++) {
        if ((unsigned char) *p > '~') {
            *p = '?';
        }
    }

    (void) snprintf(status, sizeof(status), "%ld", http->status);

    answer->status = http->status;

    dfd_defender_error_set(
        answer, DFD_DEFENDER_BAD_ANSWER, status,
        "%s answered with status %ld and %s%s, which %s. Is this the right "
        "host, or did a proxy or a firewall answer in its place?",
        http->host, http->status,
        type[0] != '\0' ? "content type " : "no content type", type, why);
}


void
dfd_defender_error_waiting(dfd_defender_answer_t *answer, ngx_int_t seconds)
{
    answer->retry_after = seconds;

    dfd_defender_error_set(answer, DFD_DEFENDER_THROTTLED, "429",
                           "Microsoft asked to wait after too many requests "
                           "or trouble of its own; nothing is sent for "
                           "another %ld s.",
                           (long) seconds);
}


void
dfd_defender_error_not_started(dfd_defender_answer_t *answer)
{
    dfd_defender_error_set(answer, DFD_DEFENDER_FAILED, "failed",
                           "The call could not be started: no memory, or too "
                           "many calls at a time.");
}


ngx_int_t
dfd_defender_error_wait(const dfd_http_answer_t *http)
{
    if (http->retry_after < 0) {
        return DFD_DEFENDER_DEFAULT_WAIT;
    }

    /* "0" and a date that has passed: not at once, or it would be a loop */

    return ngx_min(ngx_max(http->retry_after, 1), DFD_DEFENDER_MAX_WAIT);
}


void
dfd_defender_error_set(dfd_defender_answer_t *answer,
                       dfd_defender_result_t result, const char *code,
                       const char *format, ...)
{
    int     n;
    size_t  len;
    va_list args;

    answer->result = result;
    (void) snprintf(answer->code, sizeof(answer->code), "%s", code);

    va_start(args, format);
    n = vsnprintf(answer->message, sizeof(answer->message), format, args);
    va_end(args);

    len = n > 0 ? (size_t) n : 0;
    len = ngx_min(len, sizeof(answer->message) - 1);

    answer->message[dfd_defender_error_whole(answer->message, len)] = '\0';
}


/* {"error":{"code":"...","message":"...","target":"..."}} */

static void
dfd_defender_error_envelope(const dfd_http_answer_t     *http,
                            const dfd_defender_hidden_t *hidden, char *code,
                            size_t code_size, char *text, size_t text_size)
{
    json_t     *body, *error;
    const char *value;

    *code = '\0';
    *text = '\0';

    if (http->result != DFD_HTTP_DONE || http->body == NULL) {
        return;
    }

    body = json_loadb(http->body, http->body_len, 0, NULL);
    error = json_object_get(body, "error");

    value = json_string_value(json_object_get(error, "code"));
    if (value != NULL) {
        dfd_defender_error_clean(code, code_size, value, hidden);
    }

    value = json_string_value(json_object_get(error, "message"));
    if (value != NULL) {
        dfd_defender_error_clean(text, text_size, value, hidden);
    }

    json_decref(body);
}


/*
 * "Missing application roles. API required roles: A,B, application roles: C"
 * or "Roles needed: A. Roles held: C": the names that follow, as "A or B".
 */

static ngx_uint_t
dfd_defender_error_roles(const char *text, char *roles, size_t size)
{
    size_t      len, used;
    ngx_uint_t  i;
    const char *p;

    static const char *const marks[] = { "required roles:", "roles needed:",
                                         "roles required:" };

    p = NULL;

    for (i = 0; i < sizeof(marks) / sizeof(marks[0]) && p == NULL; i++) {
        p = strcasestr(text, marks[i]);
        if (p != NULL) {
            p += strlen(marks[i]);
        }
    }

    used = 0;
    *roles = '\0';

    while (p != NULL) {
        p += strspn(p, " ,;");
        len = strspn(p, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "abcdefghijklmnopqrstuvwxyz.");

        while (len > 0 && p[len - 1] == '.') {
            len--;
        }

        /* a role has a dot within, the next word of the sentence has none */

        if (memchr(p, '.', len) == NULL || used + len + sizeof(" or ") > size)
        {
            break;
        }

        used += (size_t) snprintf(roles + used, size - used, "%s%.*s",
                                  used != 0 ? " or " : "", (int) len, p);
        p += len;
    }

    return used != 0;
}


ngx_uint_t
dfd_defender_error_is_json(const char *content_type)
{
    size_t      len;
    const char *type;

    type = content_type;
    len = strcspn(type, "; \t");

    if (len < sizeof("/json") - 1) {
        return 0;
    }

    type += len - (sizeof("json") - 1);

    return strncasecmp(type, "json", sizeof("json") - 1) == 0
        && (type[-1] == '/' || type[-1] == '+');
}


void
dfd_defender_error_clean(char *dst, size_t size, const char *src,
                         const dfd_defender_hidden_t *hidden)
{
    size_t        len;
    unsigned char ch;

    len = 0;

    if (hidden != NULL && dfd_defender_error_leaks(src, hidden)) {
        src = "";
    }

    while (*src != '\0' && len + 1 < size) {
        ch = (unsigned char) *src++;

        /* U+0080 .. U+009F are control characters too */

        if (ch == 0xc2 && (unsigned char) *src >= 0x80
            && (unsigned char) *src < 0xa0) {
            src++;
            ch = ' ';
        }

        if (ch <= ' ' || ch == 0x7f) {

            if (len == 0 || dst[len - 1] == ' ') {
                continue;
            }

            ch = ' ';
        }

        dst[len++] = (char) ch;
    }

    len = dfd_defender_error_whole(dst, len);

    while (len > 0 && (dst[len - 1] == ' ' || dst[len - 1] == '.')) {
        len--;
    }

    dst[len] = '\0';
}


static ngx_uint_t
dfd_defender_error_leaks(const char *text, const dfd_defender_hidden_t *hidden)
{
    ngx_uint_t  i;
    const char *values[3];

    values[0] = hidden->secret;
    values[1] = hidden->encoded;
    values[2] = hidden->token;

    for (i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i] != NULL && values[i][0] != '\0'
            && strstr(text, values[i]) != NULL)
        {
            return 1;
        }
    }

    return 0;
}


/* the length without a UTF-8 sequence that was cut at the end */

static size_t
dfd_defender_error_whole(const char *text, size_t len)
{
    size_t        i, need;
    unsigned char ch;

    for (i = len; i > 0 && len - i < 4; i--) {
        ch = (unsigned char) text[i - 1];

        if (ch < 0x80) {
            return len;
        }

        if (ch >= 0xc0) {
            need = ch >= 0xf0 ? 4 : ch >= 0xe0 ? 3 : 2;
            return len - (i - 1) < need ? i - 1 : len;
        }
    }

    return len;
}
