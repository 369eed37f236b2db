#ifndef DFD_HTTP_ENRICH_H
#define DFD_HTTP_ENRICH_H

#include "http/http.h"

#include "core/lookup.h"
#include "host/cache.h"


/*
 * Inside of the filter: enrich_filter.c decides about the response,
 * enrich_scan.c finds what to insert, enrich_body.c passes the bytes on.
 */


/*
 * Insertions are written into blocks of our own, which are used again when
 * their bytes have been sent: so much memory for a response and not more,
 * however long its body is.  A block grows when one insertion needs it.
 */
#define DFD_ENRICH_BLOCK  (16 * 1024)
#define DFD_ENRICH_BLOCKS 4


/* the only bit of r->buffered that no module of nginx uses */
#define DFD_ENRICH_BUFFERED 0x08


/* what the header filter decided */
typedef enum {
    DFD_ENRICH_ON = 0,
    DFD_ENRICH_LOG,
    DFD_ENRICH_EMPTY, /* there is no body to enrich */
    DFD_ENRICH_SKIP_STATUS,
    DFD_ENRICH_SKIP_ENCODING,
    DFD_ENRICH_SKIP_TYPE,
    DFD_ENRICH_SKIP_ROLE,
    DFD_ENRICH_SKIP_DISABLED,
    DFD_ENRICH_SKIP_NO_DATA,
    DFD_ENRICH_DECISIONS
} dfd_enrich_decision_t;


typedef struct {
    u_char    *start; /* NULL: not allocated yet */
    u_char    *last;
    u_char    *end;
    ngx_uint_t pieces; /* in flight; 0: free */
} dfd_enrich_block_t;


/*
 * A buffer of our own: a slice of an input buffer, or a part of a block.  An
 * enriched body takes two for each insertion, so they are made in batches.
 */
#define DFD_ENRICH_BATCH 32

typedef struct {
    ngx_buf_t           buf; /* first: what is in link points to it */
    ngx_chain_t         link;
    dfd_enrich_block_t *block; /* NULL: a slice */
} dfd_enrich_piece_t;


struct ngx_http_defender_ctx_s {
    dfd_enrich_decision_t decision;

    /* the rest only when there is a body to look at, else splice is NULL */

    dfd_splice_t       *splice;
    dfd_splice_source_t source;

    dfd_host_conf_t      *conf;
    const dfd_snapshot_t *snapshot; /* while scanning, never across calls */

    ngx_chain_t *in;  /* held back until a block is free */
    const char  *pos; /* scanned so far, in the first of in */

    ngx_chain_t  *out;
    ngx_chain_t **last_out;
    ngx_chain_t  *busy;
    ngx_chain_t  *free;

    dfd_enrich_piece_t *batch; /* npieces of it have never been used */
    ngx_uint_t          npieces;

    ngx_chain_t flush;
    ngx_buf_t   flush_buf;
    ngx_buf_t   last_buf;

    off_t rest; /* bytes of the body still to come; -1: not known */

    dfd_enrich_block_t *block; /* the one being filled */
    dfd_enrich_block_t  blocks[DFD_ENRICH_BLOCKS];

    ngx_uint_t entities[DFD_VERDICTS];
    ngx_uint_t written[DFD_VERDICTS]; /* by the last insertion */

    unsigned lines : 1;
    unsigned unmatched : 1;
    unsigned pending : 1; /* an insertion belongs at pos */
    unsigned plain : 1;   /* nothing more to scan: pass it all */
    unsigned partial : 1; /* only a part of the body came by */
    unsigned counted : 1;
    unsigned ended : 1;  /* we told the end before its buffer came */
    unsigned nested : 1; /* in a call of the next filter */
};


/* enrich_scan.c: finds the places, asks the snapshot, counts */


/*
 * Makes the context of a response whose body will be looked at; NULL when
 * out of memory.  lines: every line of the body is a JSON text of its own.
 */
ngx_http_defender_ctx_t *dfd_enrich_create(ngx_http_request_t           *r,
                                           ngx_http_defender_loc_conf_t *lcf,
                                           dfd_enrich_decision_t decision,
                                           int                   lines);


/*
 * Takes the snapshot of this moment for the look-ups that follow.  It must
 * be taken again after each call of the next filter, which may run anything,
 * a variable that looks up an address and maps a newer file included.
 */
void dfd_enrich_look(ngx_http_defender_ctx_t *ctx);


/*
 * Scans the buffer from where it stopped.  1: an insertion is due at
 * ctx->pos, and ctx->pending is set.  0: the buffer is done.
 */
ngx_uint_t dfd_enrich_scan(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                           ngx_buf_t *b);


/*
 * Writes the insertion that is due; returns its length, which above room
 * means that nothing usable was written.
 */
size_t dfd_enrich_write(ngx_http_defender_ctx_t *ctx, u_char *buf,
                        size_t room);


/* The insertion last written is in the body: its entities count. */
void dfd_enrich_written(ngx_http_defender_ctx_t *ctx);


/* The body is over: what happened in it goes to the host's counters, once. */
void dfd_enrich_finish(ngx_http_defender_ctx_t *ctx);


/* enrich_body.c: the stream */


/*
 * The body of such a response; next is the next body filter, which gets
 * every byte of in, in order, and the insertions.
 */
ngx_int_t dfd_enrich_body(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                          ngx_chain_t                   *in,
                          ngx_http_output_body_filter_pt next);


#endif /* DFD_HTTP_ENRICH_H */
