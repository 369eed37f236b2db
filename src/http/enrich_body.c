#include "http/enrich.h"


#define DFD_ENRICH_TAG ((ngx_buf_tag_t) &ngx_http_defender_module)


/* defender_enrich log: all of the work and the counting, none of the bytes */

static void
dfd_enrich_observe(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                   ngx_chain_t *in)
{
    u_char none[1];

    /* the range filter has its turn between our header and body filters */

    if (r->headers_out.status == NGX_HTTP_PARTIAL_CONTENT) {
        ctx->plain = 1;
        ctx->partial = 1;
    }

    for (/* void */; in != NULL; in = in->next) {

        while (dfd_enrich_scan(r, ctx, in->buf)) {

            ctx->pending = 0;

            if (dfd_enrich_write(ctx, none, 0) != 0) {
                dfd_enrich_written(ctx);
            }
        }
    }
}


/*
 * Makes ctx->block one with at least size bytes of room.  NGX_AGAIN: all of
 * them wait for the client.
 */

static ngx_int_t
dfd_enrich_get_block(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                     size_t size)
{
    size_t              n;
    ngx_uint_t          i;
    dfd_enrich_block_t *block, *found;

    found = NULL;

    for (i = 0; i < DFD_ENRICH_BLOCKS; i++) {
        block = &ctx->blocks[i];

        if (block->pieces != 0) {
            continue;
        }

        if ((size_t) (block->end - block->start) >= size) {
            ctx->block = block;
            return NGX_OK;
        }

        if (found == NULL) {
            found = block;
        }
    }

    if (found == NULL) {
        return NGX_AGAIN;
    }

    /* doubled, so that growing insertions leave few holes in the pool */

    for (n = DFD_ENRICH_BLOCK; n < size; n *= 2) {
        /* void */
    }

    if (found->start != NULL) {
        (void) ngx_pfree(r->pool, found->start);
        found->start = NULL;
        found->end = NULL;
    }

    found->start = ngx_palloc(r->pool, n);
    if (found->start == NULL) {
        return NGX_ERROR;
    }

    found->last = found->start;
    found->end = found->start + n;

    ctx->block = found;

    return NGX_OK;
}


/* Appends a buffer of our own to ctx->out. */

static dfd_enrich_piece_t *
dfd_enrich_piece(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx)
{
    ngx_chain_t        *cl;
    dfd_enrich_piece_t *piece;

    cl = ctx->free;

    if (cl != NULL) {
        ctx->free = cl->next;

    } else {
        if (ctx->npieces == 0) {
            ctx->batch = ngx_palloc(r->pool, DFD_ENRICH_BATCH
                                                 * sizeof(dfd_enrich_piece_t));
            if (ctx->batch == NULL) {
                return NULL;
            }

            ctx->npieces = DFD_ENRICH_BATCH;
        }

        piece = ctx->batch++;
        ctx->npieces--;

        cl = &piece->link;
        cl->buf = &piece->buf;
    }

    cl->next = NULL;

    *ctx->last_out = cl;
    ctx->last_out = &cl->next;

    return (dfd_enrich_piece_t *) cl->buf;
}


/*
 * Passes on the bytes of b before `pos` in a slice.  The buffer itself keeps
 * what follows, its flags included, and goes out after all its slices: when
 * it has been sent they have been too, and its owner may fill it again.
 */

static ngx_int_t
dfd_enrich_slice(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                 ngx_buf_t *b, u_char *pos)
{
    ngx_buf_t          *slice;
    dfd_enrich_piece_t *piece;

    piece = dfd_enrich_piece(r, ctx);
    if (piece == NULL) {
        return NGX_ERROR;
    }

    piece->block = NULL;
    slice = &piece->buf;

    *slice = *b;

    slice->last = pos;
    slice->tag = DFD_ENRICH_TAG;
    slice->shadow = NULL;
    slice->file = NULL;
    slice->in_file = 0;
    slice->temp_file = 0;
    slice->last_shadow = 0;
    slice->recycled = 0;
    slice->flush = 0;
    slice->sync = 0;
    slice->last_buf = 0;
    slice->last_in_chain = 0;

    if (b->in_file) {
        b->file_pos += pos - b->pos;
    }

    b->pos = pos;

    return NGX_OK;
}


/* Puts the insertion that is due, and the bytes of b before it, into out. */

static ngx_int_t
dfd_enrich_insert(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                  ngx_buf_t *b)
{
    size_t              n, room;
    u_char             *pos;
    ngx_int_t           rc;
    ngx_buf_t          *out;
    dfd_enrich_piece_t *piece;

    room = (ctx->block != NULL) ? ctx->block->end - ctx->block->last : 0;

    if (room == 0) {
        rc = dfd_enrich_get_block(r, ctx, DFD_ENRICH_BLOCK);
        if (rc != NGX_OK) {
            return rc;
        }

        room = ctx->block->end - ctx->block->last;
    }

    n = dfd_enrich_write(ctx, ctx->block->last, room);

    if (n > room) {
        rc = dfd_enrich_get_block(r, ctx, n);
        if (rc != NGX_OK) {
            return rc;
        }

        room = ctx->block->end - ctx->block->last;
        n = dfd_enrich_write(ctx, ctx->block->last, room);
    }

    if (n == 0 || n > room) {
        return NGX_OK;
    }

    dfd_enrich_written(ctx);

    pos = (u_char *) ctx->pos;

    if (pos != b->pos && dfd_enrich_slice(r, ctx, b, pos) != NGX_OK) {
        return NGX_ERROR;
    }

    piece = dfd_enrich_piece(r, ctx);
    if (piece == NULL) {
        return NGX_ERROR;
    }

    piece->block = ctx->block;
    piece->block->pieces++;

    out = &piece->buf;

    ngx_memzero(out, sizeof(ngx_buf_t));

    out->pos = ctx->block->last;
    out->last = out->pos + n;
    out->start = ctx->block->start;
    out->end = ctx->block->end;
    out->tag = DFD_ENRICH_TAG;
    out->temporary = 1;

    ctx->block->last = out->last;

    return NGX_OK;
}


static ngx_inline ngx_uint_t
dfd_enrich_is_end(ngx_http_defender_ctx_t *ctx, ngx_buf_t *b)
{
    return ctx->ended && b->last_buf && ngx_buf_size(b) == 0;
}


/*
 * A proxied body ends with an empty buffer of its own, which comes when all
 * the rest has been sent; in chunks it would cost a packet more.  Where the
 * length was known the end is told together with the last bytes, and that
 * buffer is kept back.
 */

static ngx_int_t
dfd_enrich_end(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx)
{
    ngx_chain_t *cl;

    cl = ngx_alloc_chain_link(r->pool);
    if (cl == NULL) {
        return NGX_ERROR;
    }

    dfd_enrich_finish(ctx);

    ctx->ended = 1;
    ctx->last_buf.last_buf = 1;
    ctx->last_buf.last_in_chain = 1;

    cl->buf = &ctx->last_buf;
    cl->next = NULL;

    *ctx->last_out = cl;
    ctx->last_out = &cl->next;

    return NGX_OK;
}


/*
 * Moves the buffers of ctx->in to ctx->out, with the insertions between, as
 * long as there is a block to write into.
 */

static ngx_int_t
dfd_enrich_fill(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx)
{
    ngx_int_t    rc;
    ngx_chain_t *cl;

    while (ctx->in != NULL) {
        cl = ctx->in;

        while (ctx->pending || dfd_enrich_scan(r, ctx, cl->buf)) {

            rc = dfd_enrich_insert(r, ctx, cl->buf);

            if (rc != NGX_OK) {
                return (rc == NGX_AGAIN) ? NGX_OK : NGX_ERROR;
            }

            ctx->pending = 0;
        }

        ctx->in = cl->next;
        cl->next = NULL;

        if (dfd_enrich_is_end(ctx, cl->buf)) {
            ngx_free_chain(r->pool, cl);
            continue;
        }

        *ctx->last_out = cl;
        ctx->last_out = &cl->next;

        if (ctx->rest == 0 && !ctx->counted
            && dfd_enrich_end(r, ctx) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* What went out is busy until it has been sent, then it is used again. */

static void
dfd_enrich_reclaim(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx)
{
    ngx_chain_t        *cl, *next, **last;
    dfd_enrich_block_t *block;

    for (last = &ctx->busy; *last != NULL; last = &(*last)->next) {
        /* void */
    }

    for (cl = ctx->out; cl != NULL; cl = next) {
        next = cl->next;

        if (cl->buf->tag != DFD_ENRICH_TAG) {
            ngx_free_chain(r->pool, cl);
            continue;
        }

        cl->next = NULL;
        *last = cl;
        last = &cl->next;
    }

    ctx->out = NULL;
    ctx->last_out = &ctx->out;

    while (ctx->busy != NULL && ngx_buf_size(ctx->busy->buf) == 0) {
        cl = ctx->busy;
        block = ((dfd_enrich_piece_t *) cl->buf)->block;

        if (block != NULL) {
            block->pieces--;

            if (block->pieces == 0) {
                block->last = block->start;
            }
        }

        ctx->busy = cl->next;
        cl->next = ctx->free;
        ctx->free = cl;
    }
}


static ngx_uint_t
dfd_enrich_blocked(ngx_http_defender_ctx_t *ctx)
{
    ngx_uint_t i;

    for (i = 0; i < DFD_ENRICH_BLOCKS; i++) {
        if (ctx->blocks[i].pieces == 0) {
            return 0;
        }
    }

    return 1;
}


static ngx_int_t
dfd_enrich_next(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                ngx_chain_t *out, ngx_http_output_body_filter_pt next)
{
    ngx_int_t  rc;
    ngx_uint_t nested;

    nested = ctx->nested;
    ctx->nested = 1;

    rc = next(r, out);

    ctx->nested = nested;

    dfd_enrich_reclaim(r, ctx);

    return rc;
}


/*
 * A filter may have kept all of it without being full, as the write filter
 * does below postpone_output; only a flush gets it out of there, as nothing
 * is handed on below the postpone filter unless something waits already.
 */

static ngx_int_t
dfd_enrich_push(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                ngx_http_output_body_filter_pt next)
{
    if (r->connection->buffered) {
        return dfd_enrich_next(r, ctx, NULL, next);
    }

    /* one for all times: it has no bytes, so it may be under way twice */

    ctx->flush_buf.flush = 1;

    ctx->flush.buf = &ctx->flush_buf;
    ctx->flush.next = NULL;

    return dfd_enrich_next(r, ctx, &ctx->flush, next);
}


/*
 * Sends ctx->in with its insertions.  When all blocks wait for the client the
 * rest of the input waits as well, as in the gzip filter: its owner sees
 * buffers that are not sent yet and reads no more from the upstream.
 */

static ngx_int_t
dfd_enrich_send(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                ngx_http_output_body_filter_pt next)
{
    ngx_int_t    rc;
    ngx_chain_t *out;

    for (;;) {
        dfd_enrich_look(ctx);
        rc = dfd_enrich_fill(r, ctx);
        ctx->snapshot = NULL;

        if (rc != NGX_OK) {
            return NGX_ERROR;
        }

        out = ctx->out;

        rc = (out != NULL) ? dfd_enrich_next(r, ctx, out, next)
                           : dfd_enrich_push(r, ctx, next);

        if (rc == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (ctx->in == NULL) {
            r->buffered &= ~DFD_ENRICH_BUFFERED;
            return rc;
        }

        if (dfd_enrich_blocked(ctx) && (rc == NGX_AGAIN || out == NULL)) {
            r->buffered |= DFD_ENRICH_BUFFERED;
            return NGX_AGAIN;
        }
    }
}


/*
 * Looks for the first insertion or the end.  Most buffers have none, and then
 * the chain goes on as it came; else all from there on goes to ctx->in, and
 * what was before it to ctx->out.
 */

static ngx_int_t
dfd_enrich_start(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                 ngx_chain_t *in)
{
    ngx_chain_t *cl, *link;

    for (cl = in; cl != NULL; cl = cl->next) {
        if (dfd_enrich_scan(r, ctx, cl->buf)) {
            break;
        }
    }

    if (cl == NULL && (ctx->rest != 0 || ctx->counted)) {
        return NGX_DECLINED;
    }

    for (/* void */; in != cl; in = in->next) {

        link = ngx_alloc_chain_link(r->pool);
        if (link == NULL) {
            return NGX_ERROR;
        }

        link->buf = in->buf;
        link->next = NULL;

        *ctx->last_out = link;
        ctx->last_out = &link->next;
    }

    if (cl == NULL) {
        return dfd_enrich_end(r, ctx);
    }

    return ngx_chain_add_copy(r->pool, &ctx->in, cl);
}


ngx_int_t
dfd_enrich_body(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                ngx_chain_t *in, ngx_http_output_body_filter_pt next)
{
    ngx_int_t rc;

    if (ctx->decision == DFD_ENRICH_LOG) {
        dfd_enrich_look(ctx);
        dfd_enrich_observe(r, ctx, in);
        ctx->snapshot = NULL;

        return next(r, in);
    }

    /* within the next filter it is the end that a filter there has made */

    if (in != NULL && in->next == NULL && dfd_enrich_is_end(ctx, in->buf)
        && !ctx->nested)
    {
        in = NULL;
    }

    if (ctx->in != NULL) {
        dfd_enrich_reclaim(r, ctx);

        if (ngx_chain_add_copy(r->pool, &ctx->in, in) != NGX_OK) {
            return NGX_ERROR;
        }

        return dfd_enrich_send(r, ctx, next);
    }

    dfd_enrich_look(ctx);
    rc = dfd_enrich_start(r, ctx, in);
    ctx->snapshot = NULL;

    if (rc == NGX_OK) {
        return dfd_enrich_send(r, ctx, next);
    }

    if (rc == NGX_DECLINED) {
        return dfd_enrich_next(r, ctx, in, next);
    }

    return NGX_ERROR;
}
