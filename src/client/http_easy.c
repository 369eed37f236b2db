#include "client/http_private.h"

#include <openssl/crypto.h>
#include <stdio.h>


#define DFD_HTTP_ERROR_BODY     (64 * 1024)
#define DFD_HTTP_FIRST_BODY     4096
#define DFD_HTTP_MAX_HEADER     256
#define DFD_HTTP_LOW_SPEED      10L /* bytes per second ... */
#define DFD_HTTP_LOW_SPEED_TIME 30L /* ... for so many seconds */


/* clang-format off */
static ngx_int_t dfd_http_easy_connection(dfd_http_call_t *call);
static ngx_int_t dfd_http_easy_limits(dfd_http_call_t *call,
    ngx_msec_t timeout);
static ngx_int_t dfd_http_easy_request(dfd_http_call_t *call,
    const dfd_http_request_t *request);
static ngx_int_t dfd_http_easy_header(dfd_http_call_t *call, const char *name,
    const char *value);

static int dfd_http_easy_sent(void *data, char *remote, char *local,
    int remote_port, int local_port);
static size_t dfd_http_easy_write(char *bytes, size_t size, size_t n,
    void *data);
static ngx_int_t dfd_http_easy_collect(dfd_http_call_t *call,
    const char *bytes, size_t len);
/* clang-format on */


ngx_int_t
dfd_http_easy_create(dfd_http_call_t *call, const dfd_http_request_t *request)
{
    ngx_msec_t timeout;

    if (dfd_http_host(request->url, call->host, sizeof(call->host)) != NGX_OK)
    {
        return NGX_ERROR;
    }

    call->easy = curl_easy_init();
    if (call->easy == NULL) {
        return NGX_ERROR;
    }

    timeout =
        request->timeout != 0 ? request->timeout : call->http->conf.timeout;

    if (dfd_http_easy_connection(call) != NGX_OK
        || dfd_http_easy_limits(call, timeout) != NGX_OK
        || dfd_http_easy_request(call, request) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* where and how to connect: nothing of it comes from the environment */

static ngx_int_t
dfd_http_easy_connection(dfd_http_call_t *call)
{
    int              bad;
    CURL            *easy;
    char             source[sizeof("host!") + NGX_SOCKADDR_STRLEN];
    dfd_http_conf_t *conf;

    easy = call->easy;
    conf = &call->http->conf;

    bad = 0;
    bad |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    bad |= curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= curl_easy_setopt(easy, CURLOPT_HTTP_VERSION,
                            (long) CURL_HTTP_VERSION_2TLS);
    bad |= curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);

    /* a resolver thread that hangs is left alone instead of joined */

    bad |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);

    bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    bad |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    bad |= curl_easy_setopt(easy, CURLOPT_SSLVERSION,
                            (long) CURL_SSLVERSION_TLSv1_2);

    bad |= curl_easy_setopt(easy, CURLOPT_PROXY, (char *) conf->proxy.data);
    bad |= curl_easy_setopt(easy, CURLOPT_NOPROXY, "");

    if (conf->ca_certificate.len != 0) {
        bad |= curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
        bad |= curl_easy_setopt(easy, CURLOPT_CAINFO,
                                (char *) conf->ca_certificate.data);
        bad |= curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
        bad |= curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO,
                                (char *) conf->ca_certificate.data);
    }

    if (conf->bind.len != 0) {

        /* "host!": never take the address for an interface's name */

        (void) snprintf(source, sizeof(source), "host!%s",
                        (char *) conf->bind.data);
        bad |= curl_easy_setopt(easy, CURLOPT_INTERFACE, source);
    }

    return bad == CURLE_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
dfd_http_easy_limits(dfd_http_call_t *call, ngx_msec_t timeout)
{
    int   bad;
    CURL *easy;

    easy = call->easy;

    bad = 0;
    bad |= curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                            (long) call->http->conf.connect_timeout);
    bad |= curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long) timeout);
    bad |= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, DFD_HTTP_LOW_SPEED);
    bad |= curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME,
                            DFD_HTTP_LOW_SPEED_TIME);

    /* an announced size only: the write callback counts the others */

    bad |= curl_easy_setopt(easy, CURLOPT_MAXFILESIZE_LARGE,
                            (curl_off_t) call->max_body);
    bad |= curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");

    bad |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, dfd_http_easy_write);
    bad |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    bad |= curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, dfd_http_easy_sent);
    bad |= curl_easy_setopt(easy, CURLOPT_PREREQDATA, call);
    bad |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->detail);
    bad |= curl_easy_setopt(easy, CURLOPT_PRIVATE, call);

    return bad == CURLE_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
dfd_http_easy_request(dfd_http_call_t *call, const dfd_http_request_t *request)
{
    int   bad;
    CURL *easy;

    easy = call->easy;

    bad = curl_easy_setopt(easy, CURLOPT_URL, request->url);
    bad |= curl_easy_setopt(easy, CURLOPT_USERAGENT,
                            (char *) call->http->conf.user_agent.data);

    if (dfd_http_easy_header(call, "Accept", "application/json") != NGX_OK) {
        return NGX_ERROR;
    }

    if (request->bearer != NULL) {
        bad |=
            curl_easy_setopt(easy, CURLOPT_HTTPAUTH, (long) CURLAUTH_BEARER);
        bad |= curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, request->bearer);
    }

    if (request->post != NULL) {
        call->post = ngx_alloc(request->post_len + 1, call->http->log);
        if (call->post == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(call->post, request->post, request->post_len);
        call->post[request->post_len] = '\0';
        call->post_len = request->post_len;

        bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                (curl_off_t) call->post_len);
        bad |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->post);

        /*
         * On a kept connection that turns out to be dead libcurl would send
         * a POST a second time, though the first may have been acted upon.
         */

        bad |= curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);

        if (dfd_http_easy_header(call, "Content-Type", request->content_type)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    bad |= curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->headers);

    return bad == CURLE_OK ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
dfd_http_easy_header(dfd_http_call_t *call, const char *name,
                     const char *value)
{
    int                n;
    char               line[DFD_HTTP_MAX_HEADER];
    struct curl_slist *headers;

    n = snprintf(line, sizeof(line), "%s: %s", name, value);
    if (n < 0 || (size_t) n >= sizeof(line)) {
        return NGX_ERROR;
    }

    headers = curl_slist_append(call->headers, line);
    if (headers == NULL) {
        return NGX_ERROR;
    }

    call->headers = headers;

    return NGX_OK;
}


/* libcurl has a connection, new or kept, and is about to write the request */

static int
dfd_http_easy_sent(void *data, char *remote, char *local, int remote_port,
                   int local_port)
{
    dfd_http_call_t *call;

    call = data;
    call->sent = 1;

    return CURL_PREREQFUNC_OK;
}


/* Takes unpacked body bytes; to return less than came ends the transfer. */

static size_t
dfd_http_easy_write(char *bytes, size_t size, size_t n, void *data)
{
    long             status;
    size_t           len;
    ngx_int_t        rc;
    dfd_http_call_t *call;

    call = data;
    len = size * n;

    if (len == 0) {
        return 0;
    }

    if (call->cancelled) {
        return 0;
    }

    status = 0;
    (void) curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);

    if (status >= DFD_HTTP_NOT_OK) {

        /* enough to tell the reason; the status is the answer anyway */

        if (len > DFD_HTTP_ERROR_BODY - call->body_len) {
            len = DFD_HTTP_ERROR_BODY - call->body_len;
            (void) dfd_http_easy_collect(call, bytes, len);
            return 0;
        }

        return dfd_http_easy_collect(call, bytes, len) == NGX_OK ? len : 0;
    }

    if (len > call->max_body - call->received) {
        call->too_large = 1;
        return 0;
    }

    call->received += len;

    if (call->handler == NULL || status != 200) {
        return dfd_http_easy_collect(call, bytes, len) == NGX_OK ? len : 0;
    }

    call->http->inside = 1;
    rc = call->handler(call->data, bytes, len);
    call->http->inside = 0;

    if (rc != 0) {
        call->stopped = 1;
        return 0;
    }

    return len;
}


static ngx_int_t
dfd_http_easy_collect(dfd_http_call_t *call, const char *bytes, size_t len)
{
    char  *body;
    size_t size;

    if (len > call->body_size - call->body_len) {
        size = ngx_max(call->body_size * 2, call->body_len + len);
        size = ngx_max(size, DFD_HTTP_FIRST_BODY);

        body = ngx_alloc(size, call->http->log);
        if (body == NULL) {
            call->no_memory = 1;
            return NGX_ERROR;
        }

        if (call->body != NULL) {

            /* the answer of a login host holds a token */

            ngx_memcpy(body, call->body, call->body_len);
            OPENSSL_cleanse(call->body, call->body_len);
            ngx_free(call->body);
        }

        call->body = body;
        call->body_size = size;
    }

    ngx_memcpy(call->body + call->body_len, bytes, len);
    call->body_len += len;

    return NGX_OK;
}
