#include "client/http_memory.h"
#include "client/http_private.h"

#include <openssl/err.h>
#include <stdio.h>


/*
 * libcurl keeps so many connections open between calls: one to the login
 * host, one to the API host, and one of each that is being replaced.
 */
#define DFD_HTTP_MAX_CONNECTS 4

#define DFD_HTTP_PULSE 500 /* ms */


/* clang-format off */
static ngx_int_t dfd_http_conf_copy(dfd_http_t *http,
    const dfd_http_conf_t *conf);
static ngx_int_t dfd_http_text_copy(ngx_pool_t *pool, ngx_str_t *to,
    const ngx_str_t *from);

static int dfd_http_socket(CURL *easy, curl_socket_t fd, int what, void *data,
    void *sockp);
static int dfd_http_timer(CURLM *multi, long ms, void *data);
static void dfd_http_timer_handler(ngx_event_t *ev);
static void dfd_http_pulse_handler(ngx_event_t *ev);
static void dfd_http_event(ngx_event_t *ev);
static void dfd_http_kick(ngx_event_t *ev);
static void dfd_http_act(dfd_http_t *http, curl_socket_t fd, int events);
static void dfd_http_reap(dfd_http_t *http, CURLMcode rc);
static void dfd_http_fail_all(dfd_http_t *http, const char *why);
/* clang-format on */


/* curl_global_init() counts per process, not per handle */
static ngx_uint_t dfd_http_users;


dfd_http_t *
dfd_http_create(const dfd_http_conf_t *conf, ngx_log_t *log)
{
    dfd_http_t *http;
    ngx_pool_t *pool;

    pool = ngx_create_pool(NGX_MIN_POOL_SIZE + sizeof(dfd_http_t), log);
    if (pool == NULL) {
        return NULL;
    }

    http = ngx_pcalloc(pool, sizeof(dfd_http_t));
    if (http == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    http->pool = pool;
    http->log = log;
    ngx_queue_init(&http->calls);

    http->dummy.fd = (ngx_socket_t) -1;
    http->dummy.data = http;

    http->timer.data = &http->dummy;
    http->timer.handler = dfd_http_timer_handler;
    http->timer.log = log;
    http->timer.cancelable = 1;

    http->pulse = http->timer;
    http->pulse.handler = dfd_http_pulse_handler;

    http->kick.data = &http->dummy;
    http->kick.handler = dfd_http_kick;
    http->kick.log = log;

    if (dfd_http_users == 0 && dfd_http_memory_init() != CURLE_OK) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    dfd_http_users++;

    if (dfd_http_conf_copy(http, conf) != NGX_OK
        || dfd_http_multi(http) == NULL) {
        dfd_http_destroy(http);
        return NULL;
    }

    return http;
}


/*
 * The configuration's memory goes away with its cycle, which in single
 * process mode is before this handle.
 */

static ngx_int_t
dfd_http_conf_copy(dfd_http_t *http, const dfd_http_conf_t *conf)
{
    ngx_pool_t *pool;

    pool = http->pool;
    http->conf = *conf;

    if (dfd_http_text_copy(pool, &http->conf.ca_certificate,
                           &conf->ca_certificate)
            != NGX_OK
        || dfd_http_text_copy(pool, &http->conf.proxy, &conf->proxy) != NGX_OK
        || dfd_http_text_copy(pool, &http->conf.bind, &conf->bind) != NGX_OK
        || dfd_http_text_copy(pool, &http->conf.user_agent, &conf->user_agent)
               != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (conf->proxy.len == 0) {
        return NGX_OK;
    }

    return dfd_http_host((char *) http->conf.proxy.data, http->proxy_host,
                         sizeof(http->proxy_host));
}


static ngx_int_t
dfd_http_text_copy(ngx_pool_t *pool, ngx_str_t *to, const ngx_str_t *from)
{
    to->len = from->len;
    to->data = ngx_pnalloc(pool, from->len + 1);
    if (to->data == NULL) {
        return NGX_ERROR;
    }

    if (from->len != 0) {
        ngx_memcpy(to->data, from->data, from->len);
    }

    to->data[to->len] = '\0';

    return NGX_OK;
}


ngx_int_t
dfd_http_host(const char *url, char *host, size_t size)
{
    int       n;
    char     *name, *port;
    CURLU    *parts;
    ngx_int_t rc;

    parts = curl_url();
    if (parts == NULL) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;
    name = NULL;
    port = NULL;

    if (curl_url_set(parts, CURLUPART_URL, url,
                     CURLU_DEFAULT_SCHEME | CURLU_NON_SUPPORT_SCHEME)
            == CURLUE_OK
        && curl_url_get(parts, CURLUPART_HOST, &name, 0) == CURLUE_OK)
    {
        (void) curl_url_get(parts, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT);

        n = snprintf(host, size, "%s%s%s", name, port != NULL ? ":" : "",
                     port != NULL ? port : "");

        rc = (n > 0 && (size_t) n < size) ? NGX_OK : NGX_ERROR;
    }

    curl_free(name);
    curl_free(port);
    curl_url_cleanup(parts);

    return rc;
}


CURLM *
dfd_http_multi(dfd_http_t *http)
{
    CURLM *multi;

    if (http->multi != NULL) {
        return http->multi;
    }

    multi = curl_multi_init();
    if (multi == NULL) {
        return NULL;
    }

    if (curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, dfd_http_socket)
            != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, http) != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, dfd_http_timer)
               != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_TIMERDATA, http) != CURLM_OK
        || curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS,
                             (long) DFD_HTTP_MAX_CONNECTS)
               != CURLM_OK)
    {
        (void) curl_multi_cleanup(multi);
        return NULL;
    }

    http->multi = multi;

    return multi;
}


void
dfd_http_renew(dfd_http_t *http)
{
    CURLM *multi;

    multi = http->multi;

    if (multi != NULL) {
        (void) curl_multi_cleanup(multi);
        http->multi = NULL;
        ERR_clear_error();
    }

    if (http->timer.timer_set) {
        ngx_del_timer(&http->timer);
    }

    if (http->pulse.timer_set) {
        ngx_del_timer(&http->pulse);
    }

    http->stale = 0;
}


void
dfd_http_destroy(dfd_http_t *http)
{
    ngx_queue_t *q;

    http->closed = 1;

    while (!ngx_queue_empty(&http->calls)) {
        q = ngx_queue_head(&http->calls);
        dfd_http_call_drop(ngx_queue_data(q, dfd_http_call_t, queue));
    }

    dfd_http_renew(http);

    if (http->kick.posted) {
        ngx_delete_posted_event(&http->kick);
    }

    ngx_destroy_pool(http->pool);

    if (--dfd_http_users == 0) {
        curl_global_cleanup();
    }
}


/*
 * CURL_POLL_REMOVE does not mean that the socket is closed: libcurl keeps it
 * for the next call and then brings it back with sockp == NULL.  The
 * descriptor may also be the resolver thread's socket pair.
 */

static int
dfd_http_socket(CURL *easy, curl_socket_t fd, int what, void *data,
                void *sockp)
{
    dfd_http_t       *http;
    ngx_connection_t *c;

    http = data;
    c = sockp;

    if (what == CURL_POLL_REMOVE) {

        if (c != NULL) {
            (void) curl_multi_assign(http->multi, fd, NULL);
            dfd_http_socket_detach(c);
        }

        return 0;
    }

    if (c == NULL) {
        c = dfd_http_socket_attach(http, fd, dfd_http_event);
        if (c == NULL) {
            return -1;
        }

        if (curl_multi_assign(http->multi, fd, c) != CURLM_OK) {
            dfd_http_socket_detach(c);
            return -1;
        }
    }

    if (dfd_http_socket_want(c, what & CURL_POLL_IN, what & CURL_POLL_OUT)
        != NGX_OK)
    {
        return -1;
    }

    return 0;
}


static int
dfd_http_timer(CURLM *multi, long ms, void *data)
{
    dfd_http_t *http;

    http = data;

    /*
     * An armed timer would keep its old expiry if the new one is near, and
     * a timer of 0 ms that sets itself again would never let others run.
     */

    if (http->timer.timer_set) {
        ngx_del_timer(&http->timer);
    }

    if (ms >= 0) {
        ngx_add_timer(&http->timer, ms > 0 ? (ngx_msec_t) ms : 1);
    }

    return 0;
}


static void
dfd_http_timer_handler(ngx_event_t *ev)
{
    ngx_connection_t *c;

    c = ev->data;

    dfd_http_act(c->data, CURL_SOCKET_TIMEOUT, 0);
}


static void
dfd_http_event(ngx_event_t *ev)
{
    dfd_http_t       *http;
    ngx_connection_t *c;

    c = ev->data;
    http = c->data;

    if (c->close) {

        /* worker_shutdown_timeout has passed: nothing may hold the worker */

        http->closed = 1;
        http->stale = 1;
        dfd_http_fail_all(http, "The nginx worker is shutting down.");
        return;
    }

    dfd_http_act(http, c->fd, ev->write ? CURL_CSELECT_OUT : CURL_CSELECT_IN);
}


/*
 * libcurl 7.88 gives up an address that does not answer and then waits for
 * an event that does not come, until the whole connect timeout is over: the
 * next address is not tried unless all transfers are looked at.
 */

void
dfd_http_pulse(dfd_http_t *http)
{
    ngx_queue_t     *q;
    dfd_http_call_t *call;

    if (http->pulse.timer_set) {
        return;
    }

    for (q = ngx_queue_head(&http->calls);
         q != ngx_queue_sentinel(&http->calls); q = ngx_queue_next(q))
    {
        call = ngx_queue_data(q, dfd_http_call_t, queue);

        if (call->added && !call->sent) {
            ngx_add_timer(&http->pulse, DFD_HTTP_PULSE);
            return;
        }
    }
}


static void
dfd_http_pulse_handler(ngx_event_t *ev)
{
    int               running;
    CURLMcode         rc;
    dfd_http_t       *http;
    ngx_connection_t *c;

    c = ev->data;
    http = c->data;

    CURL_IGNORE_DEPRECATION(rc = curl_multi_socket_all(http->multi, &running);)

    dfd_http_reap(http, rc);
    dfd_http_pulse(http);
}


/* the event's connection may be gone when this returns, http is not */

static void
dfd_http_act(dfd_http_t *http, curl_socket_t fd, int events)
{
    int running;

    if (http->multi != NULL) {
        dfd_http_reap(
            http, curl_multi_socket_action(http->multi, fd, events, &running));
    }
}


static void
dfd_http_reap(dfd_http_t *http, CURLMcode rc)
{
    int      left;
    CURL    *easy;
    char    *call;
    CURLMsg *msg;
    CURLcode code;

    /* nginx's next TLS operation would take what is left for its own error */

    ERR_clear_error();

    if (rc != CURLM_OK) {
        dfd_http_fail_all(http, "No free connection in this worker "
                                "(worker_connections), or no memory.");
        return;
    }

    /* a done handler may renew the multi handle: look it up each time */

    while (http->multi != NULL) {
        msg = curl_multi_info_read(http->multi, &left);
        if (msg == NULL) {
            break;
        }

        if (msg->msg != CURLMSG_DONE) {
            continue;
        }

        easy = msg->easy_handle;
        code = msg->data.result;

        call = NULL;
        (void) curl_easy_getinfo(easy, CURLINFO_PRIVATE, &call);

        dfd_http_call_complete((dfd_http_call_t *) (void *) call, code);
    }
}


/* Calls that the done handlers start are not of this round. */

static void
dfd_http_fail_all(dfd_http_t *http, const char *why)
{
    ngx_queue_t  calls;
    ngx_queue_t *q;

    if (ngx_queue_empty(&http->calls)) {
        return;
    }

    ngx_queue_init(&calls);
    ngx_queue_add(&calls, &http->calls);
    ngx_queue_init(&http->calls);

    while (!ngx_queue_empty(&calls)) {
        q = ngx_queue_head(&calls);
        dfd_http_call_fail(ngx_queue_data(q, dfd_http_call_t, queue), why);
    }
}


/*
 * libcurl must not be called from its own callbacks, so what a body handler
 * starts or cancels waits here.  Handlers change the list: begin anew after
 * each of them.
 */

static void
dfd_http_kick(ngx_event_t *ev)
{
    dfd_http_t       *http;
    ngx_queue_t      *q;
    dfd_http_call_t  *call;
    ngx_connection_t *c;

    c = ev->data;
    http = c->data;

    q = ngx_queue_head(&http->calls);

    while (q != ngx_queue_sentinel(&http->calls)) {
        call = ngx_queue_data(q, dfd_http_call_t, queue);
        q = ngx_queue_next(q);

        if (call->cancelled) {
            dfd_http_call_drop(call);

        } else if (!call->added && dfd_http_call_start(call) != NGX_OK) {
            dfd_http_call_fail(call, "The call could not be started: no "
                                     "memory.");
            q = ngx_queue_head(&http->calls);
        }
    }
}
