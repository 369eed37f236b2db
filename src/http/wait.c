#include "http/wait.h"


/* what an event's data must look like, for nginx's debug log of timers */
static ngx_connection_t dfd_wait_connection = { .fd = (ngx_socket_t) -1 };


static ngx_int_t dfd_wait_watch(ngx_http_request_t *r);
static void      dfd_wait_late(ngx_event_t *ev);
static void      dfd_wait_gone(void *data);


ngx_int_t
dfd_wait_start(dfd_wait_t *wait, ngx_http_request_t *r, ngx_msec_t ms)
{
    wait->cleanup = ngx_http_cleanup_add(r, 0);
    if (wait->cleanup == NULL) {
        return NGX_ERROR;
    }

    if (dfd_wait_watch(r) != NGX_OK) {
        return NGX_ERROR;
    }

    wait->cleanup->handler = dfd_wait_gone;
    wait->cleanup->data = wait;
    wait->request = r;

    /*
     * Not cancelable: the client's connection has no timer of its own now,
     * and an exiting worker stays only as long as such timers are armed.
     */
    wait->deadline.handler = dfd_wait_late;
    wait->deadline.data = &dfd_wait_connection;
    wait->deadline.log = ngx_cycle->log;

    ngx_add_timer(&wait->deadline, ms);

    return NGX_OK;
}


static ngx_int_t
dfd_wait_watch(ngx_http_request_t *r)
{
    ngx_connection_t *c;

    /* while a body is being thrown away, that handler watches the client */

    if (r != r->main || r->discard_body) {
        return NGX_OK;
    }

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;

#if (NGX_HTTP_V2)
    if (r->stream) {
        return NGX_OK;
    }
#endif

    c = r->connection;

    /* the edge may have been consumed already */

    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
        return NGX_OK;
    }

    return ngx_handle_read_event(c->read, 0);
}


static void
dfd_wait_late(ngx_event_t *ev)
{
    dfd_wait_t *wait;

    wait = ngx_queue_data(ev, dfd_wait_t, deadline);

    if (wait->request != NULL) {
        wait->late(wait);
    }
}


static void
dfd_wait_gone(void *data)
{
    dfd_wait_t *wait = data;

    wait->request = NULL;

    if (wait->deadline.timer_set) {
        ngx_del_timer(&wait->deadline);
    }

    if (wait->gone != NULL) {
        wait->gone(wait);
    }
}


ngx_http_request_t *
dfd_wait_take(dfd_wait_t *wait)
{
    ngx_http_request_t *r;

    r = wait->request;

    if (r == NULL) {
        return NULL;
    }

    if (wait->deadline.timer_set) {
        ngx_del_timer(&wait->deadline);
    }

    /* the request may outlive the wait by far: a client that reads slowly */

    wait->cleanup->handler = NULL;
    wait->request = NULL;

    ngx_http_set_log_request(r->connection->log, r);

    return r;
}


void
dfd_wait_finalize(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_connection_t *c;

    c = r->connection;

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}
