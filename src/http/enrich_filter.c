#include "http/enrich.h"


typedef struct {
    ngx_str_t     header; /* of X-Defender-Enrich */
    ngx_str_t     status; /* of $defender_enrich_status */
    dfd_counter_t counter;
} dfd_enrich_text_t;


static ngx_int_t ngx_http_defender_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_defender_body_filter(ngx_http_request_t *r,
                                               ngx_chain_t        *in);
static dfd_enrich_decision_t dfd_enrich_decide(
    ngx_http_request_t *r, ngx_http_defender_loc_conf_t *lcf, int *lines);


static ngx_http_output_header_filter_pt ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt   ngx_http_next_body_filter;


/* clang-format off */

static const dfd_enrich_text_t  dfd_enrich_texts[DFD_ENRICH_DECISIONS] = {

    { ngx_string("on"), ngx_null_string, DFD_COUNT_ENRICH_ON },

    { ngx_string("log"), ngx_null_string, DFD_COUNT_ENRICH_LOG },

    { ngx_null_string, ngx_string("enriched=0"), DFD_COUNTER_N },

    { ngx_string("skipped; reason=status"), ngx_string("skipped=status"),
      DFD_COUNT_SKIP_STATUS },

    { ngx_string("skipped; reason=encoding"), ngx_string("skipped=encoding"),
      DFD_COUNT_SKIP_ENCODING },

    { ngx_string("skipped; reason=type"), ngx_string("skipped=type"),
      DFD_COUNT_SKIP_TYPE },

    { ngx_string("skipped; reason=role"), ngx_string("skipped=role"),
      DFD_COUNT_SKIP_ROLE },

    { ngx_string("skipped; reason=disabled"), ngx_string("skipped=disabled"),
      DFD_COUNT_SKIP_DISABLED },

    { ngx_string("skipped; reason=no-data"), ngx_string("skipped=no-data"),
      DFD_COUNT_SKIP_NO_DATA }
};


/* media types whose every line is a JSON text of its own */

static const ngx_str_t  dfd_enrich_line_types[] = {
    ngx_string("application/x-ndjson"),
    ngx_string("application/ndjson"),
    ngx_string("application/jsonl"),
    ngx_string("application/x-jsonlines")
};


/* checksums of the body: RFC 1864, RFC 3230, RFC 9530 */

static const ngx_str_t  dfd_enrich_digests[] = {
    ngx_string("Content-MD5"),
    ngx_string("Digest"),
    ngx_string("Content-Digest"),
    ngx_string("Repr-Digest")
};

/* clang-format on */


/*
 * Contexts of responses that pass: nothing in them is per request, so the
 * decision costs no memory.  They are never written.
 */
static ngx_http_defender_ctx_t dfd_enrich_passed[DFD_ENRICH_DECISIONS];


ngx_int_t
ngx_http_defender_enrich_init(ngx_conf_t *cf)
{
    ngx_uint_t i;

    for (i = 0; i < DFD_ENRICH_DECISIONS; i++) {
        dfd_enrich_passed[i].decision = (dfd_enrich_decision_t) i;
    }

    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_defender_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_defender_body_filter;

    return NGX_OK;
}


/*
 * nginx's own content type handling keeps parameters other than charset, so
 * the type is cut and lowered here.
 */

static ngx_int_t
dfd_enrich_type(ngx_http_request_t *r, ngx_http_defender_loc_conf_t *lcf,
                int *lines)
{
    size_t     len;
    u_char    *p, type[128];
    ngx_str_t *ct;
    ngx_uint_t i, hash;

    ct = &r->headers_out.content_type;

    for (len = 0; len < ct->len; len++) {
        p = &ct->data[len];

        if (*p == ';' || *p == ' ' || *p == '\t') {
            break;
        }
    }

    /* no type that anybody registered is that long (RFC 6838, 4.2) */

    if (len == 0 || len > sizeof(type)) {
        return NGX_DECLINED;
    }

    hash = ngx_hash_strlow(type, ct->data, len);

    for (i = 0; i < sizeof(dfd_enrich_line_types) / sizeof(ngx_str_t); i++) {

        if (dfd_enrich_line_types[i].len == len
            && ngx_memcmp(dfd_enrich_line_types[i].data, type, len) == 0)
        {
            *lines = 1;
            break;
        }
    }

    if (ngx_hash_find(&lcf->types, hash, type, len) != NULL) {
        return NGX_OK;
    }

    if (lcf->types_default && len > sizeof("+json") - 1
        && ngx_memcmp(type + len - 5, "+json", 5) == 0)
    {
        return NGX_OK;
    }

    return NGX_DECLINED;
}


static dfd_enrich_decision_t
dfd_enrich_decide(ngx_http_request_t *r, ngx_http_defender_loc_conf_t *lcf,
                  int *lines)
{
    ngx_str_t  *encoding;
    const char *reason;

    if (r->headers_out.status != NGX_HTTP_OK
        && r->headers_out.status != NGX_HTTP_CREATED)
    {
        return DFD_ENRICH_SKIP_STATUS;
    }

    /*
     * "slice" makes one 200 out of many 206, each a response of its own here,
     * and it sends no more of them than a client's range needs.
     */

    if (r->subrequest_ranges) {
        return DFD_ENRICH_SKIP_STATUS;
    }

    if (r->headers_out.content_encoding != NULL) {
        encoding = &r->headers_out.content_encoding->value;

        if (encoding->len != 0
            && (encoding->len != sizeof("identity") - 1
                || ngx_strncasecmp(encoding->data, (u_char *) "identity",
                                   sizeof("identity") - 1)
                       != 0))
        {
            return DFD_ENRICH_SKIP_ENCODING;
        }
    }

    if (dfd_enrich_type(r, lcf, lines) != NGX_OK) {
        return DFD_ENRICH_SKIP_TYPE;
    }

    if (r->headers_out.content_length_n == 0) {
        return DFD_ENRICH_EMPTY;
    }

    if (lcf->role != NULL && ngx_http_defender_role(r, lcf) == DFD_ROLE_NONE) {
        return DFD_ENRICH_SKIP_ROLE;
    }

    if (dfd_cache_current(ngx_http_defender_host_conf(r), &reason) == NULL) {
        return ngx_strcmp(reason, "disabled") == 0 ? DFD_ENRICH_SKIP_DISABLED
                                                   : DFD_ENRICH_SKIP_NO_DATA;
    }

    return (lcf->enrich == NGX_HTTP_DEFENDER_ENRICH_LOG) ? DFD_ENRICH_LOG
                                                         : DFD_ENRICH_ON;
}


/* Tells the decision to the client and the counters. */

static ngx_int_t
dfd_enrich_announce(ngx_http_request_t *r, dfd_enrich_decision_t decision)
{
    dfd_host_conf_t         *conf;
    ngx_table_elt_t         *h;
    const dfd_enrich_text_t *text;

    text = &dfd_enrich_texts[decision];

    if (text->header.len == 0) {
        return NGX_OK;
    }

    conf = ngx_http_defender_host_conf(r);
    dfd_zone_count(conf->zone, text->counter);

    if (r != r->main) {
        return NGX_OK;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "X-Defender-Enrich");
    h->value = text->header;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


/* A client that checks them would refuse the changed body. */

static void
dfd_enrich_clear_digests(ngx_http_request_t *r)
{
    ngx_uint_t       i, n;
    ngx_list_part_t *part;
    ngx_table_elt_t *h;

    for (part = &r->headers_out.headers.part; part != NULL; part = part->next)
    {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            for (n = 0; n < sizeof(dfd_enrich_digests) / sizeof(ngx_str_t);
                 n++) {
                if (h[i].key.len == dfd_enrich_digests[n].len
                    && ngx_strncasecmp(h[i].key.data,
                                       dfd_enrich_digests[n].data,
                                       h[i].key.len)
                           == 0)
                {
                    h[i].hash = 0;
                }
            }
        }
    }
}


static ngx_int_t
ngx_http_defender_header_filter(ngx_http_request_t *r)
{
    int                           lines;
    ngx_uint_t                    bodiless;
    dfd_enrich_decision_t         decision;
    ngx_http_defender_ctx_t      *ctx;
    ngx_http_defender_loc_conf_t *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_defender_module);

    /* our own API names addresses too, and tells their devices already */

    if (lcf->enrich == NGX_HTTP_DEFENDER_ENRICH_OFF || lcf->api
        || ngx_http_get_module_ctx(r, ngx_http_defender_module) != NULL)
    {
        return ngx_http_next_header_filter(r);
    }

    bodiless = r->header_only || r->method == NGX_HTTP_HEAD;

    /* auth_request and background cache updates: nobody sees the response */

    if (r != r->main && bodiless) {
        return ngx_http_next_header_filter(r);
    }

    lines = 0;
    decision = dfd_enrich_decide(r, lcf, &lines);

    if (dfd_enrich_announce(r, decision) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx = &dfd_enrich_passed[decision];

    if (decision == DFD_ENRICH_ON || decision == DFD_ENRICH_LOG) {

        if (!bodiless) {
            ctx = dfd_enrich_create(r, lcf, decision, lines);
            if (ctx == NULL) {
                return NGX_ERROR;
            }

            r->filter_need_in_memory = 1;
        }

        if (decision == DFD_ENRICH_ON && r == r->main) {
            ngx_http_clear_content_length(r);
            ngx_http_clear_accept_ranges(r);
            ngx_http_clear_last_modified(r);
            ngx_http_clear_etag(r);
            dfd_enrich_clear_digests(r);
        }
    }

    ngx_http_set_ctx(r, ctx, ngx_http_defender_module);

    return ngx_http_next_header_filter(r);
}


static ngx_int_t
ngx_http_defender_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_defender_ctx_t *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_defender_module);

    if (ctx == NULL || ctx->splice == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    return dfd_enrich_body(r, ctx, in, ngx_http_next_body_filter);
}


/*
 * Compressed bodies cannot be scanned, so the upstream is asked for an
 * identity encoding: proxy_pass and its kin send the list of request headers,
 * while nginx's gzip asks the pointer, which keeps what the client said.
 */

ngx_int_t
ngx_http_defender_precontent(ngx_http_request_t *r)
{
    ngx_uint_t                    i, found;
    ngx_list_part_t              *part;
    ngx_table_elt_t              *h, *client;
    ngx_http_defender_loc_conf_t *lcf;

    static u_char name[] = "accept-encoding";

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_defender_module);

    /* the list is the main request's: a subrequest must not change it */

    if (lcf->enrich == NGX_HTTP_DEFENDER_ENRICH_OFF || lcf->api
        || r != r->main) {
        return NGX_DECLINED;
    }

    found = 0;
    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len != sizeof(name) - 1
            || ngx_memcmp(h[i].lowcase_key, name, sizeof(name) - 1) != 0)
        {
            continue;
        }

        if (&h[i] == r->headers_in.accept_encoding) {
            client = ngx_palloc(r->pool, sizeof(ngx_table_elt_t));
            if (client == NULL) {
                return NGX_HTTP_INTERNAL_SERVER_ERROR;
            }

            *client = h[i];
            r->headers_in.accept_encoding = client;
        }

        ngx_str_set(&h[i].value, "identity");
        found = 1;
    }

    if (found) {
        return NGX_DECLINED;
    }

    /* nginx makes no list for HTTP/0.9, which has no headers */

    if (r->headers_in.headers.part.elts == NULL
        && ngx_list_init(&r->headers_in.headers, r->pool, 1,
                         sizeof(ngx_table_elt_t))
               != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* without the header a server may choose any coding (RFC 9110, 12.5.3) */

    h = ngx_list_push(&r->headers_in.headers);
    if (h == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    h->hash = ngx_hash_key(name, sizeof(name) - 1);
    ngx_str_set(&h->key, "Accept-Encoding");
    ngx_str_set(&h->value, "identity");
    h->lowcase_key = name;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_DECLINED;
}


ngx_int_t
ngx_http_defender_enrich_status(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char                  *p, *last;
    ngx_uint_t               enriched, none, ambiguous;
    dfd_splice_stat_t        stat;
    ngx_http_defender_ctx_t *ctx;

    ngx_str_null(text);

    ctx = ngx_http_get_module_ctx(r, ngx_http_defender_module);

    if (ctx == NULL) {
        return NGX_OK;
    }

    if (ctx->splice == NULL) {
        *text = dfd_enrich_texts[ctx->decision].status;
        return NGX_OK;
    }

    if (ctx->partial) {
        *text = dfd_enrich_texts[DFD_ENRICH_SKIP_STATUS].status;
        return NGX_OK;
    }

    dfd_splice_stat(ctx->splice, &stat);

    enriched = ctx->entities[DFD_MATCH_EXACT] + ctx->entities[DFD_MATCH_LIKELY]
             + ctx->entities[DFD_MATCH_STALE];
    none = ctx->entities[DFD_MATCH_NONE];
    ambiguous = ctx->entities[DFD_MATCH_AMBIGUOUS];

#define DFD_ENRICH_STATUS_MAX                                                 \
    (sizeof("enriched= none= ambiguous= dropped= malformed at ")              \
     + 5 * NGX_INT64_LEN)

    p = ngx_pnalloc(r->pool, DFD_ENRICH_STATUS_MAX);
    if (p == NULL) {
        return NGX_ERROR;
    }

    text->data = p;
    last = p + DFD_ENRICH_STATUS_MAX;

    if (enriched != 0 || (none == 0 && ambiguous == 0 && stat.malformed == 0))
    {
        p = ngx_slprintf(p, last, "enriched=%ui ", enriched);
    }

    if (none != 0) {
        p = ngx_slprintf(p, last, "none=%ui ", none);
    }

    if (ambiguous != 0) {
        p = ngx_slprintf(p, last, "ambiguous=%ui ", ambiguous);
    }

    if (stat.dropped != 0) {
        p = ngx_slprintf(p, last, "dropped=%ud ", stat.dropped);
    }

    if (stat.malformed != 0) {
        p = ngx_slprintf(p, last, "malformed at %uL ", stat.malformed_at);
    }

    /* each of them ends with a space */

    text->len = p - text->data - 1;

    return NGX_OK;
}
