#include "client/http_error.h"
#include "client/http_private.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>


#define DFD_HTTP_MAX_CALLS 32


/* clang-format off */
static ngx_uint_t dfd_http_call_again(dfd_http_call_t *call, CURLcode code,
    long status);
static void dfd_http_call_explain(dfd_http_call_t *call, CURLcode code,
    dfd_http_answer_t *answer);
static ngx_int_t dfd_http_call_retry_after(CURL *easy);
static void dfd_http_call_end(dfd_http_call_t *call,
    dfd_http_answer_t *answer);
static void dfd_http_call_unlink(dfd_http_call_t *call);
static void dfd_http_call_free(dfd_http_call_t *call);
/* clang-format on */


dfd_http_call_t *
dfd_http_call(dfd_http_t *http, const dfd_http_request_t *request)
{
    dfd_http_call_t *call;

    if (http->closed || http->ncalls >= DFD_HTTP_MAX_CALLS) {
        return NULL;
    }

    call = ngx_calloc(sizeof(dfd_http_call_t), http->log);
    if (call == NULL) {
        return NULL;
    }

    call->http = http;
    call->max_body = request->max_body;
    call->handler = request->body;
    call->done = request->done;
    call->data = request->data;

    ngx_queue_insert_tail(&http->calls, &call->queue);
    http->ncalls++;

    if (dfd_http_easy_create(call, request) != NGX_OK) {
        dfd_http_call_drop(call);
        return NULL;
    }

    if (http->inside) {
        ngx_post_event(&http->kick, &ngx_posted_next_events);
        return call;
    }

    if (dfd_http_call_start(call) != NGX_OK) {
        dfd_http_call_drop(call);
        return NULL;
    }

    return call;
}


const char *
dfd_http_content_type(const dfd_http_call_t *call)
{
    char *type;

    type = NULL;
    (void) curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);

    return type;
}


void
dfd_http_cancel(dfd_http_call_t *call)
{
    if (call->finished) {
        return;
    }

    if (call->http->inside) {
        call->cancelled = 1;
        ngx_post_event(&call->http->kick, &ngx_posted_next_events);
        return;
    }

    dfd_http_call_drop(call);
}


ngx_int_t
dfd_http_call_start(dfd_http_call_t *call)
{
    CURLM *multi;

    multi = dfd_http_multi(call->http);
    if (multi == NULL) {
        return NGX_ERROR;
    }

    if (call->http->stale
        && curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK)
    {
        return NGX_ERROR;
    }

    if (curl_multi_add_handle(multi, call->easy) != CURLM_OK) {
        return NGX_ERROR;
    }

    call->added = 1;
    dfd_http_pulse(call->http);

    return NGX_OK;
}


void
dfd_http_call_complete(dfd_http_call_t *call, CURLcode code)
{
    long              status;
    dfd_http_answer_t answer;

    if (call->cancelled) {
        dfd_http_call_drop(call);
        return;
    }

    status = 0;
    (void) curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);

    if (dfd_http_call_again(call, code, status)) {
        return;
    }

    ngx_memzero(&answer, sizeof(dfd_http_answer_t));

    answer.host = call->host;
    answer.content_type = dfd_http_content_type(call);
    answer.status = status >= 200 ? status : 0;
    answer.retry_after = dfd_http_call_retry_after(call->easy);

    if (code == CURLE_OK || status >= DFD_HTTP_NOT_OK) {

        /* an error's status counts, even if its body did not come whole */

        answer.result = DFD_HTTP_DONE;

        if (call->handler == NULL || status != 200) {
            answer.body = call->body != NULL ? call->body : "";
            answer.body_len = call->body_len;
        }

    } else {
        dfd_http_call_explain(call, code, &answer);
    }

    dfd_http_call_end(call, &answer);
}


/*
 * A kept HTTP/2 connection may be closed by the server in the moment in which
 * it is used again; asking once more is safe for a GET only.  libcurl 7.88
 * does that itself for HTTP/1.1 and not for a GOAWAY.
 */

static ngx_uint_t
dfd_http_call_again(dfd_http_call_t *call, CURLcode code, long status)
{
    long connects;

    switch (code) {

    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_PARTIAL_FILE: /* closed in mid-stream, even before a header */
        break;

    default:
        return 0;
    }

    connects = 1;
    (void) curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &connects);

    if (call->post != NULL || call->retried || !call->sent || connects != 0
        || status != 0)
    {
        return 0;
    }

    (void) curl_multi_remove_handle(call->http->multi, call->easy);
    ERR_clear_error();

    call->added = 0;
    call->sent = 0;
    call->retried = 1;

    if (curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L) != CURLE_OK) {
        return 0;
    }

    return dfd_http_call_start(call) == NGX_OK;
}


static void
dfd_http_call_explain(dfd_http_call_t *call, CURLcode code,
                      dfd_http_answer_t *answer)
{
    dfd_http_t      *http;
    dfd_http_error_t error;

    http = call->http;
    answer->error = call->error;

    if (call->stopped) {
        answer->result = DFD_HTTP_STOPPED;
        (void) snprintf(call->error, sizeof(call->error),
                        "The answer of %s was not read to its end.",
                        call->host);
        return;
    }

    if (call->no_memory) {
        answer->result = DFD_HTTP_FAILED;
        (void) snprintf(call->error, sizeof(call->error),
                        "No memory for the answer of %s.", call->host);
        return;
    }

    if (call->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        answer->result = DFD_HTTP_TOO_LARGE;
        (void) snprintf(call->error, sizeof(call->error),
                        "The answer of %s is larger than %zu bytes.",
                        call->host, call->max_body);
        return;
    }

    ngx_memzero(&error, sizeof(dfd_http_error_t));

    error.code = code;
    error.easy = call->easy;
    error.host = call->host;
    error.proxy = http->proxy_host;
    error.proxy_tls =
        ngx_strncasecmp(http->conf.proxy.data, (u_char *) "https:", 6) == 0;
    error.bind = (char *) http->conf.bind.data;
    error.detail = call->detail;
    error.sent = call->sent;

    answer->result =
        dfd_http_error_explain(&error, call->error, sizeof(call->error));
}


/*
 * RFC 9110 10.2.3: seconds or a date.  CURLINFO_RETRY_AFTER would be 0 for a
 * header that is missing, that is 0, or that makes no sense.
 */

static ngx_int_t
dfd_http_call_retry_after(CURL *easy)
{
    size_t              digits;
    time_t              date, now;
    const char         *value;
    struct curl_header *header;

    if (curl_easy_header(easy, "Retry-After", 0, CURLH_HEADER, -1, &header)
        != CURLHE_OK)
    {
        return -1;
    }

    value = header->value;
    digits = strspn(value, "0123456789");

    if (digits != 0 && value[digits] == '\0') {
        return digits < sizeof("999999999")
                 ? ngx_atoi((u_char *) value, digits)
                 : NGX_MAX_INT32_VALUE;
    }

    date = digits == 0 && value[0] != '-' ? curl_getdate(value, NULL) : -1;
    if (date == -1) {
        return -1;
    }

    now = ngx_time();

    return date > now ? (ngx_int_t) (date - now) : 0;
}


void
dfd_http_call_fail(dfd_http_call_t *call, const char *why)
{
    dfd_http_answer_t answer;

    if (call->cancelled) {
        dfd_http_call_drop(call);
        return;
    }

    ngx_memzero(&answer, sizeof(dfd_http_answer_t));

    answer.result = DFD_HTTP_FAILED;
    answer.retry_after = -1;
    answer.host = call->host;
    answer.error = why;

    dfd_http_call_end(call, &answer);
}


static void
dfd_http_call_end(dfd_http_call_t *call, dfd_http_answer_t *answer)
{
    dfd_http_t *http;

    http = call->http;
    call->finished = 1;

    if (answer->result == DFD_HTTP_TIMEOUT) {

        /*
         * libcurl keeps an HTTP/2 connection although its stream timed out;
         * if a firewall drops its packets, every later call would hang too.
         */

        http->stale = 1;
    }

    dfd_http_call_unlink(call);

    if (http->stale && http->ncalls == 0) {
        dfd_http_renew(http);
    }

    call->done(call->data, answer);

    dfd_http_call_free(call);
}


void
dfd_http_call_drop(dfd_http_call_t *call)
{
    dfd_http_call_unlink(call);
    dfd_http_call_free(call);
}


static void
dfd_http_call_unlink(dfd_http_call_t *call)
{
    ngx_queue_remove(&call->queue);
    call->http->ncalls--;

    if (call->added) {
        (void) curl_multi_remove_handle(call->http->multi, call->easy);
        call->added = 0;
        ERR_clear_error();
    }
}


static void
dfd_http_call_free(dfd_http_call_t *call)
{
    if (call->easy != NULL) {
        curl_easy_cleanup(call->easy);
    }

    curl_slist_free_all(call->headers);

    if (call->post != NULL) {
        OPENSSL_cleanse(call->post, call->post_len);
        ngx_free(call->post);
    }

    if (call->body != NULL) {
        OPENSSL_cleanse(call->body, call->body_len);
        ngx_free(call->body);
    }

    ngx_free(call);
}
