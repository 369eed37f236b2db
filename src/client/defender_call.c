#include "client/defender_private.h"

#include <stdio.h>
#include <string.h>


#define DFD_DEFENDER_MAX_URL   1024
#define DFD_DEFENDER_MAX_TOKEN (64 * 1024)        /* a token has 1 to 3 KB */
#define DFD_DEFENDER_MAX_PAGE  (64 * 1024 * 1024) /* 10,000 machines: 18 MB */
#define DFD_DEFENDER_MAX_BODY  (1024 * 1024)      /* of a collected answer */


/* clang-format off */
static void dfd_defender_call_ask(dfd_defender_call_t *call);
static ngx_int_t dfd_defender_call_ask_token(dfd_defender_t *defender);
static void dfd_defender_call_token_done(void *data,
    const dfd_http_answer_t *http);
static void dfd_defender_call_token_answer(dfd_defender_t *defender,
    const dfd_http_answer_t *http, dfd_defender_answer_t *answer);
static ngx_int_t dfd_defender_call_body(void *data, const char *bytes,
    size_t len);
static void dfd_defender_call_api_done(void *data,
    const dfd_http_answer_t *http);
static void dfd_defender_call_api_answer(dfd_defender_call_t *call,
    const dfd_http_answer_t *http);

static void dfd_defender_call_refuse(const dfd_defender_call_t *call);
static void dfd_defender_call_hide(const dfd_defender_t *defender,
    dfd_defender_hidden_t *hidden);
static void dfd_defender_call_throttle(dfd_defender_t *defender,
    const dfd_defender_answer_t *answer);
static void dfd_defender_call_ready(dfd_defender_call_t *call);
static void dfd_defender_call_deliver(dfd_defender_call_t *call);
/* clang-format on */


dfd_defender_call_t *
dfd_defender_call_create(dfd_defender_t *defender, dfd_http_body_pt body,
                         dfd_defender_done_pt done, void *data)
{
    dfd_defender_call_t *call;

    call = ngx_calloc(sizeof(dfd_defender_call_t), defender->log);
    if (call == NULL) {
        return NULL;
    }

    call->defender = defender;
    call->body = body;
    call->done = done;
    call->data = data;

    ngx_queue_insert_tail(&defender->calls, &call->queue);

    return call;
}


void
dfd_defender_cancel(dfd_defender_call_t *call)
{
    if (call->finished) {
        return;
    }

    ngx_queue_remove(&call->queue);

    if (call->http != NULL) {
        dfd_http_cancel(call->http);
    }

    ngx_free(call);
}


void
dfd_defender_call_start(dfd_defender_call_t *call)
{
    ngx_int_t       wait;
    dfd_defender_t *defender;

    defender = call->defender;
    wait = dfd_defender_throttled(defender);

    if (wait > 0) {
        dfd_defender_error_waiting(&call->answer, wait);
        dfd_defender_call_ready(call);
        return;
    }

    if (dfd_defender_token_valid(&defender->token)) {
        dfd_defender_call_ask(call);
        return;
    }

    call->state = DFD_DEFENDER_WAITING;

    if (defender->token_call == NULL
        && dfd_defender_call_ask_token(defender) != NGX_OK)
    {
        dfd_defender_error_not_started(&call->answer);
        dfd_defender_call_ready(call);
    }
}


static ngx_int_t
dfd_defender_call_ask_token(dfd_defender_t *defender)
{
    dfd_http_request_t request;

    ngx_memzero(&request, sizeof(dfd_http_request_t));

    request.url = defender->texts.token_url;
    request.post = defender->texts.form;
    request.post_len = strlen(defender->texts.form);
    request.content_type = "application/x-www-form-urlencoded";
    request.max_body = DFD_DEFENDER_MAX_TOKEN;
    request.done = dfd_defender_call_token_done;
    request.data = defender;

    defender->token_call = dfd_http_call(defender->http, &request);

    return defender->token_call != NULL ? NGX_OK : NGX_ERROR;
}


/* All calls that wait share this one answer. */

static void
dfd_defender_call_token_done(void *data, const dfd_http_answer_t *http)
{
    ngx_queue_t          *q;
    dfd_defender_t       *defender;
    dfd_defender_call_t  *call;
    dfd_defender_answer_t answer;

    defender = data;
    defender->token_call = NULL;

    ngx_memzero(&answer, sizeof(dfd_defender_answer_t));
    dfd_defender_call_token_answer(defender, http, &answer);
    dfd_defender_call_throttle(defender, &answer);

    /* neither of the two calls handlers, so the list stays as it is */

    for (q = ngx_queue_head(&defender->calls);
         q != ngx_queue_sentinel(&defender->calls); q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, dfd_defender_call_t, queue);

        if (call->state != DFD_DEFENDER_WAITING) {
            continue;
        }

        if (answer.result == DFD_DEFENDER_OK) {
            dfd_defender_call_ask(call);

        } else {
            call->answer = answer;
            dfd_defender_call_ready(call);
        }
    }
}


static void
dfd_defender_call_token_answer(dfd_defender_t          *defender,
                               const dfd_http_answer_t *http,
                               dfd_defender_answer_t   *answer)
{
    ngx_int_t             rc;
    const char           *why;
    dfd_defender_token_t  token;
    dfd_defender_hidden_t hidden;

    if (http->result != DFD_HTTP_DONE || http->status != 200) {
        dfd_defender_call_hide(defender, &hidden);
        dfd_defender_error_sign_in(answer, http, &hidden);
        return;
    }

    answer->status = http->status;

    if (http->content_type != NULL
        && !dfd_defender_error_is_json(http->content_type))
    {
        dfd_defender_error_content(answer, http, "is not JSON");
        return;
    }

    ngx_memzero(&token, sizeof(dfd_defender_token_t));

    rc = dfd_defender_token_read(&token, http->body, http->body_len,
                                 defender->log, &why);

    if (rc == NGX_DECLINED) {
        dfd_defender_error_content(answer, http, why);
        return;
    }

    if (rc != NGX_OK) {
        dfd_defender_error_not_started(answer);
        return;
    }

    dfd_defender_token_wipe(&defender->token);
    defender->token = token;
    defender->serial++;
}


/*
 * Asks the API with the token in memory, also when that is due for renewal:
 * a lifetime of 0 must not become a loop of token requests.
 */

static void
dfd_defender_call_ask(dfd_defender_call_t *call)
{
    int                n;
    char               url[DFD_DEFENDER_MAX_URL];
    dfd_defender_t    *defender;
    dfd_http_request_t request;

    defender = call->defender;

    if (call->path[0] == '\0') {
        call->answer.result = DFD_DEFENDER_OK;
        call->answer.status = 200;
        dfd_defender_call_ready(call);
        return;
    }

    n = snprintf(url, sizeof(url), "%s%s", defender->texts.api, call->path);

    ngx_memzero(&request, sizeof(dfd_http_request_t));

    request.url = url;
    request.bearer = defender->token.text;
    request.post = call->post;
    request.post_len = call->post != NULL ? strlen(call->post) : 0;
    request.content_type = "application/json";
    request.max_body =
        call->body != NULL ? DFD_DEFENDER_MAX_PAGE : DFD_DEFENDER_MAX_BODY;
    request.body = call->body != NULL ? dfd_defender_call_body : NULL;
    request.done = dfd_defender_call_api_done;
    request.data = call;

    if (n > 0 && (size_t) n < sizeof(url)) {
        call->http = dfd_http_call(defender->http, &request);
    }

    if (call->http == NULL) {
        dfd_defender_error_not_started(&call->answer);
        dfd_defender_call_ready(call);
        return;
    }

    dfd_defender_rate_count();

    call->state = DFD_DEFENDER_ASKING;
    call->serial = defender->serial;
}


/* The handler may cancel the call: nothing of it is touched afterwards. */

static ngx_int_t
dfd_defender_call_body(void *data, const char *bytes, size_t len)
{
    const char          *type;
    dfd_defender_call_t *call;

    call = data;

    type = dfd_http_content_type(call->http);

    if (type != NULL && !dfd_defender_error_is_json(type)) {
        call->not_json = 1;
        return NGX_ERROR;
    }

    return call->body(call->data, bytes, len);
}


static void
dfd_defender_call_api_done(void *data, const dfd_http_answer_t *http)
{
    dfd_defender_t      *defender;
    dfd_defender_call_t *call;

    call = data;
    call->http = NULL;
    defender = call->defender;

    if (http->result == DFD_HTTP_DONE && http->status == 401 && !call->again) {
        dfd_defender_call_refuse(call);
        call->again = 1;
        dfd_defender_call_start(call);
        return;
    }

    dfd_defender_call_api_answer(call, http);
    dfd_defender_call_throttle(defender, &call->answer);

    if (http->status == 401 || http->status == 403) {

        /* a role that is granted now will be in a new token only */

        dfd_defender_call_refuse(call);
    }

    dfd_defender_call_deliver(call);
}


/* The next call gets a new token; this one's roles can still be read. */

static void
dfd_defender_call_refuse(const dfd_defender_call_t *call)
{
    dfd_defender_t *defender;

    defender = call->defender;

    if (call->serial == defender->serial) {
        defender->token.renew = ngx_current_msec;
    }
}


/*
 * Whether it may be a JSON object.  Reading it is up to the caller, who knows
 * what may be odd in it: jansson refuses some of what devices are called.
 */

static ngx_uint_t
dfd_defender_call_is_object(const char *body, size_t len)
{
    const char *last;

    static const char blanks[] = { ' ', '\t', '\r', '\n' };

    last = body + len;

    while (body < last && memchr(blanks, *body, sizeof(blanks)) != NULL) {
        body++;
    }

    while (body < last && memchr(blanks, last[-1], sizeof(blanks)) != NULL) {
        last--;
    }

    return last - body >= 2 && *body == '{' && last[-1] == '}';
}


static void
dfd_defender_call_api_answer(dfd_defender_call_t     *call,
                             const dfd_http_answer_t *http)
{
    dfd_defender_answer_t *answer;
    dfd_defender_hidden_t  hidden;

    answer = &call->answer;

    if (call->not_json
        || (http->result == DFD_HTTP_DONE && http->status == 200
            && http->content_type != NULL
            && !dfd_defender_error_is_json(http->content_type)))
    {
        dfd_defender_error_content(answer, http, "is not JSON");
        return;
    }

    if (http->result != DFD_HTTP_DONE || http->status != 200) {
        dfd_defender_call_hide(call->defender, &hidden);
        dfd_defender_error_api(answer, http, &hidden, call->role,
                               call->defender->token.audience);
        return;
    }

    answer->status = http->status;

    if (call->body == NULL) {

        if (!dfd_defender_call_is_object(http->body, http->body_len)) {
            dfd_defender_error_content(answer, http, "is not JSON");
            return;
        }

        answer->body = http->body;
        answer->body_len = http->body_len;
    }
}


static void
dfd_defender_call_hide(const dfd_defender_t  *defender,
                       dfd_defender_hidden_t *hidden)
{
    hidden->secret = defender->texts.secret;
    hidden->encoded = defender->texts.encoded;
    hidden->token = defender->token.text;
}


/* Whatever host asked for it, the whole client waits. */

static void
dfd_defender_call_throttle(dfd_defender_t              *defender,
                           const dfd_defender_answer_t *answer)
{
    if (answer->retry_after <= dfd_defender_throttled(defender)) {
        return;
    }

    defender->throttled = 1;
    defender->throttled_until =
        ngx_current_msec + (ngx_msec_t) answer->retry_after * 1000;
}


static void
dfd_defender_call_ready(dfd_defender_call_t *call)
{
    call->state = DFD_DEFENDER_READY;

    ngx_post_event(&call->defender->event, &ngx_posted_next_events);
}


/*
 * One answer at a time, and nothing after it: its handler may destroy the
 * client.
 */

void
dfd_defender_call_event(ngx_event_t *ev)
{
    ngx_queue_t         *q;
    dfd_defender_t      *defender;
    ngx_connection_t    *c;
    dfd_defender_call_t *call, *ready;

    c = ev->data;
    defender = c->data;
    ready = NULL;

    for (q = ngx_queue_head(&defender->calls);
         q != ngx_queue_sentinel(&defender->calls); q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, dfd_defender_call_t, queue);

        if (call->state != DFD_DEFENDER_READY) {
            continue;
        }

        if (ready != NULL) {
            ngx_post_event(&defender->event, &ngx_posted_next_events);
            break;
        }

        ready = call;
    }

    if (ready != NULL) {
        dfd_defender_call_deliver(ready);
    }
}


static void
dfd_defender_call_deliver(dfd_defender_call_t *call)
{
    ngx_queue_remove(&call->queue);
    call->finished = 1;

    call->done(call->data, &call->answer);

    ngx_free(call);
}
