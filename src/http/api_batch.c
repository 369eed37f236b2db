#include "http/api.h"
#include "http/batch_out.h"

#include "host/cache.h"


/*
 * POST /enrich: many look-ups in one request.  The body is walked twice,
 * first to check all of it, then to answer, so that nothing is kept for an
 * element and an error is told before the header is sent.  After each
 * DFD_BATCH_STEP elements the event loop gets its turn, and no more output is
 * made while the client has not taken the last.
 */

#define DFD_BATCH_STEP 512

/* a timer, not a posted event: only a timer keeps an exiting worker alive */
#define DFD_BATCH_PAUSE 1


typedef struct {
    ngx_http_request_t *request;
    ngx_str_t           body;
    dfd_batch_t         batch;
    ngx_event_t         timer;
    dfd_batch_out_t     out;
    unsigned            checked : 1;
} dfd_api_batch_t;


static ngx_connection_t dfd_api_batch_connection = { .fd = (ngx_socket_t) -1 };


/* clang-format off */
static ngx_int_t dfd_api_batch_run(dfd_api_batch_t *b);
static ngx_int_t dfd_api_batch_check(dfd_api_batch_t *b);
static ngx_int_t dfd_api_batch_refuse(dfd_api_batch_t *b);
static ngx_int_t dfd_api_batch_answer(dfd_api_batch_t *b);
static ngx_int_t dfd_api_batch_header(dfd_api_batch_t *b, ngx_chain_t *whole);
static ngx_int_t dfd_api_batch_pause(dfd_api_batch_t *b);
static void dfd_api_batch_timer(ngx_event_t *ev);
static ngx_int_t dfd_api_batch_block(ngx_http_request_t *r);
static void dfd_api_batch_write(ngx_http_request_t *r);
static void dfd_api_batch_cleanup(void *data);

static ngx_int_t dfd_api_batch_fill(dfd_api_batch_t *b);
/* clang-format on */


ngx_int_t
dfd_api_enrich_post(ngx_http_request_t *r, ngx_str_t *body)
{
    dfd_api_batch_t    *b;
    ngx_http_cleanup_t *cln;

    b = ngx_pcalloc(r->pool, sizeof(dfd_api_batch_t));
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln = ngx_http_cleanup_add(r, 0);
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    cln->handler = dfd_api_batch_cleanup;
    cln->data = b;

    b->request = r;
    b->body = *body;

    b->timer.handler = dfd_api_batch_timer;
    b->timer.data = &dfd_api_batch_connection;
    b->timer.log = ngx_cycle->log;

    dfd_batch_start(&b->batch, body,
                    dfd_api_is_type(r, &dfd_reply_type_ndjson),
                    dfd_cache_now());
    dfd_batch_out_start(&b->out, r->pool, ngx_http_defender_host_conf(r),
                        b->batch.lines);

    return dfd_api_batch_run(b);
}


/* One turn.  NGX_DONE: it goes on in another; else the request's end. */

static ngx_int_t
dfd_api_batch_run(dfd_api_batch_t *b)
{
    ngx_int_t  rc;
    ngx_uint_t n;

    if (b->checked) {
        return dfd_api_batch_answer(b);
    }

    rc = dfd_api_batch_check(b);

    if (rc == NGX_AGAIN) {
        return dfd_api_batch_pause(b);
    }

    if (rc == NGX_DECLINED) {
        return dfd_api_batch_refuse(b);
    }

    n = b->batch.n;
    b->checked = 1;

    dfd_batch_start(&b->batch, &b->body, b->batch.lines, b->batch.now);

    return n > DFD_BATCH_STEP ? dfd_api_batch_pause(b)
                              : dfd_api_batch_answer(b);
}


/* NGX_OK: all of the body is good; NGX_AGAIN: so far. */

static ngx_int_t
dfd_api_batch_check(dfd_api_batch_t *b)
{
    ngx_int_t        rc;
    ngx_uint_t       i;
    dfd_batch_item_t item;

    for (i = 0; i < DFD_BATCH_STEP; i++) {

        rc = dfd_batch_next(&b->batch, &item);

        if (rc != NGX_OK) {
            return rc == NGX_DONE ? NGX_OK : rc;
        }

        dfd_batch_drop(&item);
    }

    return NGX_AGAIN;
}


static ngx_int_t
dfd_api_batch_refuse(dfd_api_batch_t *b)
{
    u_char       detail[160];
    json_t      *more;
    ngx_uint_t   status;
    const char  *where;
    dfd_batch_t *batch;

    batch = &b->batch;
    status = NGX_HTTP_BAD_REQUEST;
    where = "element";

    if (ngx_strcmp(batch->code, "too_many") == 0) {
        status = NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;

    } else if (ngx_strcmp(batch->code, "invalid_json") == 0) {
        where = "position";
    }

    *ngx_snprintf(detail, sizeof(detail) - 1, "%s (%s %uz)", batch->fault,
                  where, batch->fault_at) = '\0';

    more = json_pack("{s:I}", where, (json_int_t) batch->fault_at);

    return dfd_reply_problem(b->request, status, batch->code, NULL,
                             (char *) detail, more);
}


static ngx_int_t
dfd_api_batch_answer(dfd_api_batch_t *b)
{
    ngx_int_t           rc, sent;
    ngx_chain_t        *chain;
    ngx_http_request_t *r;

    r = b->request;

    rc = dfd_api_batch_fill(b);

    if (rc == NGX_ERROR) {
        return r->header_sent ? NGX_ERROR : NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    chain = dfd_batch_out_take(&b->out);

    if (!r->header_sent) {

        sent = dfd_api_batch_header(b, rc == NGX_OK ? chain : NULL);

        if (sent == NGX_ERROR || sent > NGX_OK || r->header_only) {
            return sent;
        }
    }

    sent = ngx_http_output_filter(r, chain);

    if (rc == NGX_OK || sent == NGX_ERROR) {
        return sent;
    }

    return dfd_batch_out_sent(&b->out, chain) ? dfd_api_batch_pause(b)
                                              : dfd_api_batch_block(r);
}


/* whole: the complete answer, when that much is known already */

static ngx_int_t
dfd_api_batch_header(dfd_api_batch_t *b, ngx_chain_t *whole)
{
    off_t len;

    len = (whole == NULL) ? -1 : 0;

    for (/* void */; whole != NULL; whole = whole->next) {
        len += ngx_buf_size(whole->buf);
    }

    if (dfd_reply_header(b->request, NGX_HTTP_OK,
                         b->batch.lines ? &dfd_reply_type_ndjson
                                        : &dfd_reply_type_json,
                         len)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_send_header(b->request);
}


static ngx_int_t
dfd_api_batch_pause(dfd_api_batch_t *b)
{
    b->request->write_event_handler = ngx_http_request_empty_handler;

    ngx_add_timer(&b->timer, DFD_BATCH_PAUSE);

    return NGX_DONE;
}


static void
dfd_api_batch_timer(ngx_event_t *ev)
{
    ngx_int_t           rc;
    dfd_api_batch_t    *b;
    ngx_http_request_t *r;

    b = ngx_queue_data(ev, dfd_api_batch_t, timer);
    r = b->request;

    ngx_http_set_log_request(r->connection->log, r);

    rc = dfd_api_batch_run(b);

    if (rc != NGX_DONE) {
        dfd_wait_finalize(r, rc);
    }
}


/* The client has not taken what was sent: waits for it, as nginx does. */

static ngx_int_t
dfd_api_batch_block(ngx_http_request_t *r)
{
    ngx_event_t              *wev;
    ngx_http_core_loc_conf_t *clcf;

    wev = r->connection->write;
    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = dfd_api_batch_write;

    if (!wev->delayed) {
        ngx_add_timer(wev, clcf->send_timeout);
    }

    if (ngx_handle_write_event(wev, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DONE;
}


static void
dfd_api_batch_write(ngx_http_request_t *r)
{
    ngx_int_t           rc;
    ngx_event_t        *wev;
    dfd_api_batch_t    *b;
    ngx_http_cleanup_t *cln;

    wev = r->connection->write;

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, NGX_ETIMEDOUT,
                      "client timed out");
        r->connection->timedout = 1;
        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    rc = wev->delayed ? NGX_AGAIN : ngx_http_output_filter(r, NULL);

    if (rc == NGX_ERROR) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    /* the module's context is the filter's: ours is found by its cleanup */

    cln = r->cleanup;

    while (cln->handler != dfd_api_batch_cleanup) {
        cln = cln->next;
    }

    b = cln->data;

    if (!dfd_batch_out_sent(&b->out, NULL)) {
        rc = dfd_api_batch_block(r);

    } else {

        /* with limit_rate it is the end of the delay, set a moment ago */

        if (wev->timer_set && !wev->delayed) {
            ngx_del_timer(wev);
        }

        rc = dfd_api_batch_answer(b);
    }

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static void
dfd_api_batch_cleanup(void *data)
{
    dfd_api_batch_t *b = data;

    if (b->timer.timer_set) {
        ngx_del_timer(&b->timer);
    }
}


/* Answers a step of elements.  NGX_OK: with the last; NGX_AGAIN: go on. */

static ngx_int_t
dfd_api_batch_fill(dfd_api_batch_t *b)
{
    ngx_int_t        rc;
    ngx_uint_t       i;
    dfd_batch_item_t item;

    for (i = 0; i < DFD_BATCH_STEP; i++) {

        rc = dfd_batch_next(&b->batch, &item);

        if (rc == NGX_DONE) {
            return dfd_batch_out_last(&b->out);
        }

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        rc = dfd_batch_out_put(&b->out, &item);

        dfd_batch_drop(&item);

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_AGAIN;
}
