#ifndef DFD_HTTP_WAIT_H
#define DFD_HTTP_WAIT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/*
 * A request that waits for Redis or for Microsoft.  The wait is a member of
 * an operation that the owner allocates outside the request's pool, because
 * either may end before the other.
 */

typedef struct dfd_wait_s dfd_wait_t;

typedef void (*dfd_wait_pt)(dfd_wait_t *wait);


struct dfd_wait_s {
    ngx_http_request_t *request; /* NULL: nobody waits for the answer */
    ngx_http_cleanup_t *cleanup;
    ngx_event_t         deadline;

    dfd_wait_pt late; /* the deadline passed: answer now */
    dfd_wait_pt gone; /* the request ended without an answer; may be NULL */
};


/*
 * Ties the wait (its members late and gone are set, the rest is zero) to the
 * request: notices a client that leaves, and calls late after so many ms.
 * The content or body handler then returns NGX_DONE and keeps its reference.
 * Returns NGX_OK, or NGX_ERROR when out of memory.
 */
ngx_int_t dfd_wait_start(dfd_wait_t *wait, ngx_http_request_t *r,
                         ngx_msec_t ms);


/*
 * Ends the wait: neither late nor gone are called any more, and the operation
 * may be freed.  Returns the request to be answered and finalized, or NULL
 * when nobody waits.
 */
ngx_http_request_t *dfd_wait_take(dfd_wait_t *wait);


/* Finalizes a request from an event that is not its own; r may be freed. */
void dfd_wait_finalize(ngx_http_request_t *r, ngx_int_t rc);


#endif /* DFD_HTTP_WAIT_H */
