#include "http/enrich.h"


static int    dfd_enrich_known(void *data, const dfd_addr_t *addr);
static size_t dfd_enrich_entity(void *data, const dfd_addr_t *addr, char *buf,
                                size_t room);


ngx_http_defender_ctx_t *
dfd_enrich_create(ngx_http_request_t *r, ngx_http_defender_loc_conf_t *lcf,
                  dfd_enrich_decision_t decision, int lines)
{
    u_char                  *p;
    size_t                   size, batch;
    ngx_http_defender_ctx_t *ctx;

    /* one allocation: the context, the first pieces, and the splicer */

    size = ngx_align(sizeof(ngx_http_defender_ctx_t), NGX_ALIGNMENT);
    batch = ngx_align(DFD_ENRICH_BATCH * sizeof(dfd_enrich_piece_t),
                      NGX_ALIGNMENT);

    p = ngx_palloc(r->pool, size + batch + dfd_splice_size());
    if (p == NULL) {
        return NULL;
    }

    ctx = (ngx_http_defender_ctx_t *) p;

    ngx_memzero(ctx, sizeof(ngx_http_defender_ctx_t));

    ctx->batch = (dfd_enrich_piece_t *) (p + size);
    ctx->npieces = DFD_ENRICH_BATCH;

    ctx->decision = decision;
    ctx->conf = ngx_http_defender_host_conf(r);
    ctx->last_out = &ctx->out;
    ctx->lines = lines;
    ctx->rest = -1;
    ctx->unmatched = lcf->unmatched;

    ctx->source.known = dfd_enrich_known;
    ctx->source.entity = dfd_enrich_entity;
    ctx->source.data = ctx;

    if (decision == DFD_ENRICH_ON && r == r->main) {
        ctx->rest = r->headers_out.content_length_n;
    }

    ctx->splice =
        dfd_splice_init(p + size + batch, lcf->plan, &ctx->source, lines);

    return ctx;
}


static int
dfd_enrich_known(void *data, const dfd_addr_t *addr)
{
    ngx_http_defender_ctx_t *ctx = data;

    if (ctx->snapshot == NULL) {
        return 0;
    }

    if (!dfd_snapshot_has(ctx->snapshot, addr)
        && !(ctx->unmatched && dfd_addr_is_private(addr)))
    {
        return 0;
    }

    return dfd_lookup_allowed(&ctx->conf->lookup, addr);
}


static size_t
dfd_enrich_entity(void *data, const dfd_addr_t *addr, char *buf, size_t room)
{
    ngx_http_defender_ctx_t *ctx = data;

    size_t       n;
    dfd_lookup_t lookup;

    if (ctx->snapshot == NULL) {
        return 0;
    }

    dfd_lookup(&lookup, ctx->snapshot, &ctx->conf->lookup, addr,
               dfd_cache_now(), NULL);

    if (lookup.match.verdict == DFD_MATCH_NONE
        && !(ctx->unmatched && dfd_addr_is_private(addr)))
    {
        return 0;
    }

    n = dfd_lookup_entity(&lookup, buf, room);

    if (n != 0) {
        ctx->written[lookup.match.verdict]++;
    }

    return n;
}


/*
 * The entities of an insertion are counted apart until it is in the body: the
 * splicer asks for them again when the room was too small.
 */

size_t
dfd_enrich_write(ngx_http_defender_ctx_t *ctx, u_char *buf, size_t room)
{
    ngx_memzero(ctx->written, sizeof(ctx->written));

    return dfd_splice_insertion(ctx->splice, (char *) buf, room);
}


void
dfd_enrich_written(ngx_http_defender_ctx_t *ctx)
{
    ngx_uint_t i;

    for (i = 0; i < DFD_VERDICTS; i++) {
        ctx->entities[i] += ctx->written[i];
    }
}


void
dfd_enrich_finish(ngx_http_defender_ctx_t *ctx)
{
    ngx_uint_t        i;
    dfd_zone_t       *zone;
    dfd_splice_stat_t stat;

    if (ctx->counted) {
        return;
    }

    ctx->counted = 1;
    zone = ctx->conf->zone;

    if (!ctx->plain) {
        dfd_splice_finish(ctx->splice);
    }

    if (ctx->partial) {
        return;
    }

    dfd_splice_stat(ctx->splice, &stat);

    for (i = 0; i < DFD_VERDICTS; i++) {
        if (ctx->entities[i] != 0) {
            dfd_zone_count_n(zone, DFD_COUNT_ENTITIES_EXACT + i,
                             ctx->entities[i]);
        }
    }

    if (stat.malformed != 0) {
        dfd_zone_count_n(zone, DFD_COUNT_MALFORMED, stat.malformed);
    }

    if (stat.dropped != 0) {
        dfd_zone_count_n(zone, DFD_COUNT_DROPPED, stat.dropped);
    }
}


static ngx_inline ngx_uint_t
dfd_enrich_is_last(ngx_http_request_t *r, ngx_buf_t *b)
{
    return b->last_buf || (r != r->main && b->last_in_chain);
}


void
dfd_enrich_look(ngx_http_defender_ctx_t *ctx)
{
    const char *reason;

    ctx->snapshot = dfd_cache_current(ctx->conf, &reason);
}


ngx_uint_t
dfd_enrich_scan(ngx_http_request_t *r, ngx_http_defender_ctx_t *ctx,
                ngx_buf_t *b)
{
    dfd_splice_stat_t stat;

    if (ctx->pos == NULL && ctx->rest > 0) {
        ctx->rest -= ngx_min(ctx->rest, ngx_buf_size(b));
    }

    if (!ctx->plain && ngx_buf_in_memory(b)) {

        if (ctx->pos == NULL) {
            ctx->pos = (const char *) b->pos;
        }

        if (dfd_splice_next(ctx->splice, &ctx->pos, (const char *) b->last)
            == DFD_SPLICE_INSERT)
        {
            ctx->pending = 1;
            return 1;
        }

        if (!ctx->lines) {
            dfd_splice_stat(ctx->splice, &stat);

            /* nothing can follow in this body that is worth scanning */
            ctx->plain = (stat.malformed != 0);
        }

    } else if (b->in_file) {

        /* we asked for memory; bytes that went by unseen end the scan */
        ctx->plain = 1;
    }

    ctx->pos = NULL;

    if (dfd_enrich_is_last(r, b)) {
        dfd_enrich_finish(ctx);
    }

    return 0;
}
