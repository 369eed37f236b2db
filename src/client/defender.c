#include "client/defender_private.h"

#include <stdio.h>


dfd_defender_t *
dfd_defender_create(dfd_http_t *http, const dfd_defender_account_t *account,
                    ngx_log_t *log)
{
    ngx_pool_t     *pool;
    dfd_defender_t *defender;

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, log);
    if (pool == NULL) {
        return NULL;
    }

    defender = ngx_pcalloc(pool, sizeof(dfd_defender_t));
    if (defender == NULL) {
        ngx_destroy_pool(pool);
        return NULL;
    }

    defender->pool = pool;
    defender->http = http;
    defender->log = log;
    ngx_queue_init(&defender->calls);

    defender->dummy.fd = (ngx_socket_t) -1;
    defender->dummy.data = defender;
    defender->event.data = &defender->dummy;
    defender->event.handler = dfd_defender_call_event;
    defender->event.log = log;

    if (dfd_defender_texts_create(&defender->texts, account, pool) != NGX_OK) {
        dfd_defender_destroy(defender);
        return NULL;
    }

    return defender;
}


void
dfd_defender_destroy(dfd_defender_t *defender)
{
    ngx_queue_t *q;

    while (!ngx_queue_empty(&defender->calls)) {
        q = ngx_queue_head(&defender->calls);
        dfd_defender_cancel(ngx_queue_data(q, dfd_defender_call_t, queue));
    }

    if (defender->token_call != NULL) {
        dfd_http_cancel(defender->token_call);
    }

    if (defender->event.posted) {
        ngx_delete_posted_event(&defender->event);
    }

    dfd_defender_token_wipe(&defender->token);
    dfd_defender_texts_wipe(&defender->texts);
    ngx_destroy_pool(defender->pool);
}


const json_t *
dfd_defender_roles(const dfd_defender_t *defender)
{
    return defender->token.roles;
}


ngx_int_t
dfd_defender_throttled(const dfd_defender_t *defender)
{
    ngx_msec_int_t left;

    if (!defender->throttled) {
        return 0;
    }

    left = (ngx_msec_int_t) (defender->throttled_until - ngx_current_msec);

    return left > 0 ? (left + 999) / 1000 : 0;
}


dfd_defender_call_t *
dfd_defender_sign_in(dfd_defender_t *defender, dfd_defender_done_pt done,
                     void *data)
{
    dfd_defender_call_t *call;

    call = dfd_defender_call_create(defender, NULL, done, data);

    if (call != NULL) {
        dfd_defender_call_start(call);
    }

    return call;
}


dfd_defender_call_t *
dfd_defender_machines(dfd_defender_t *defender, ngx_uint_t top,
                      ngx_uint_t skip, dfd_http_body_pt body,
                      dfd_defender_done_pt done, void *data)
{
    dfd_defender_call_t *call;

    call = dfd_defender_call_create(defender, body, done, data);
    if (call == NULL) {
        return NULL;
    }

    call->role = "Machine.Read.All";

    (void) snprintf(call->path, sizeof(call->path),
                    "/api/machines?$top=%lu&$skip=%lu", (unsigned long) top,
                    (unsigned long) skip);

    dfd_defender_call_start(call);

    return call;
}


/*
 * A device id is a SHA-1 in hexadecimal, and no device has this one.  The
 * permission is checked before the device is looked for.
 */

dfd_defender_call_t *
dfd_defender_try_isolate(dfd_defender_t *defender, dfd_defender_done_pt done,
                         void *data)
{
    dfd_defender_call_t *call;

    call = dfd_defender_call_create(defender, NULL, done, data);
    if (call == NULL) {
        return NULL;
    }

    call->role = "Machine.Isolate";
    call->post = "{\"Comment\":\"Check of a permission; there is no such "
                 "device\",\"IsolationType\":\"Full\"}";

    (void) snprintf(call->path, sizeof(call->path),
                    "/api/machines/%040d/isolate", 0);

    dfd_defender_call_start(call);

    return call;
}
