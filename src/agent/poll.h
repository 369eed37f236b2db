#ifndef DFD_AGENT_POLL_H
#define DFD_AGENT_POLL_H

#include "agent/local.h"


/*
 * One walk through all pages of machines, from the first page to the new
 * generation in Redis.
 */

typedef enum {
    DFD_POLL_OK = 0,
    DFD_POLL_EMPTY, /* an empty list: the former devices stay */
    DFD_POLL_THROTTLED,
    DFD_POLL_SIGN_IN,
    DFD_POLL_PERMISSION,
    DFD_POLL_ACCOUNT,
    DFD_POLL_UNREACHABLE,
    DFD_POLL_SERVICE,
    DFD_POLL_REFUSED,
    DFD_POLL_BAD_ANSWER,
    DFD_POLL_INCOMPLETE, /* the walk went in a circle, or beyond all bounds */
    DFD_POLL_CACHE,      /* Redis refused or did not answer */
    DFD_POLL_LOST,       /* the lease went to another process */
    DFD_POLL_FAILED      /* out of memory */
} dfd_poll_result_t;


typedef struct {
    dfd_poll_result_t result;
    int64_t           started;  /* ticks */
    int64_t           finished; /* ticks */
    ngx_msec_t        msec;     /* how long it took */
    ngx_uint_t        pages;
    ngx_uint_t        devices; /* distinct ids */
    ngx_int_t         added;   /* of them, not there before */
    ngx_int_t         changed; /* there with another record */
    ngx_int_t         gone;    /* of those before, not there any more */
    ngx_uint_t        skipped; /* records that are no machine with an id */
    ngx_uint_t        skips[DFD_SKIP_N]; /* the same, by reason */
    ngx_int_t         retry_after;       /* seconds, of THROTTLED */
    char              code[64];
    char              message[DFD_AGENT_TEXT]; /* "" when OK */
} dfd_poll_report_t;


/*
 * Starts a walk with agent->defender and puts it into agent->poll; it ends in
 * dfd_schedule_report().  NGX_ERROR: no memory.
 */
ngx_int_t dfd_poll_start(dfd_agent_t *agent);


/* Ends it without a report; NULL is allowed. */
void dfd_poll_cancel(dfd_poll_t *poll);


/* the stage's key, or NULL when there is no poll */
const char *dfd_poll_stage(const dfd_poll_t *poll);


/*
 * The report so far.  While the walk waits for Retry-After its result is
 * DFD_POLL_THROTTLED, else DFD_POLL_OK.
 */
const dfd_poll_report_t *dfd_poll_report(const dfd_poll_t *poll);


#endif /* DFD_AGENT_POLL_H */
