#ifndef DFD_AGENT_PAGE_H
#define DFD_AGENT_PAGE_H

#include "agent/local.h"


/*
 * One try of one page of machines: its bytes are cut into records as they
 * arrive, the records are read in small slices of the event loop, and go to
 * the stage in batches.  Memory is bounded by the page.
 */

typedef struct dfd_page_s dfd_page_t;


typedef enum {
    DFD_PAGE_OK = 0,
    DFD_PAGE_BAD,   /* not the JSON that it should be */
    DFD_PAGE_CACHE, /* Redis refused or did not answer */
    DFD_PAGE_LOST,  /* the lease is not ours any more */
    DFD_PAGE_MEMORY
} dfd_page_error_t;


typedef struct {
    dfd_page_error_t error;
    char             message[DFD_AGENT_TEXT]; /* of an error */
    ngx_uint_t       rows;                    /* elements of the page */
    ngx_uint_t       skipped[DFD_SKIP_N];     /* of them */
    ngx_uint_t       fresh;   /* ids that the stage did not have */
    ngx_int_t        added;   /* of these, the devices do not have */
    ngx_int_t        changed; /* they have with another record */
    ngx_uint_t       next_link;
} dfd_page_result_t;


/*
 * Called once: all that could be staged is staged, or (CACHE, LOST, MEMORY)
 * nothing more can be.  The page is still to be dropped.
 */
typedef void (*dfd_page_done_pt)(void *data, const dfd_page_result_t *result);


/* stage must stay until the page is dropped; NULL: no memory */
dfd_page_t *dfd_page_create(dfd_agent_t *agent, const char *stage,
                            dfd_page_done_pt done, void *data);


/* Takes body bytes; not NGX_OK ends the transfer, then comes abandon. */
ngx_int_t dfd_page_feed(dfd_page_t *page, const char *bytes, size_t len);


/* The body came whole: done is called when all is staged, maybe in here. */
void dfd_page_end(dfd_page_t *page);


/*
 * The body did not come whole.  What was sent to Redis already still counts,
 * so done is called (maybe in here) when those replies have come.
 */
void dfd_page_abandon(dfd_page_t *page);


/* Ends it without a call of done; NULL is allowed. */
void dfd_page_drop(dfd_page_t *page);


#endif /* DFD_AGENT_PAGE_H */
