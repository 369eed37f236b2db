#include "http/api.h"

#include "core/timestamp.h"
#include "host/cache.h"


/* an IPv6 address with a zone or a time, every byte percent-encoded */
#define DFD_ENRICH_MAX_ARG (64 * 3)


/* a look-up writes here first: the length of an entity is not known before */
static char dfd_enrich_scratch[16 * 1024];


static ngx_uint_t dfd_enrich_arg(ngx_http_request_t *r, const char *name,
                                 char *buf, size_t *len);


ngx_int_t
dfd_api_enrich_get(ngx_http_request_t *r, ngx_str_t *body)
{
    char             text[DFD_ENRICH_MAX_ARG];
    char            *entity;
    size_t           len;
    int64_t          at;
    dfd_addr_t       addr;
    dfd_lookup_t     lookup;
    dfd_host_conf_t *conf;

    if (!dfd_enrich_arg(r, "ip", text, &len)
        || !dfd_addr_parse(&addr, text, len)) {
        return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_ip", "ip",
                                 "the argument ip must be one IPv4 or IPv6 "
                                 "address",
                                 NULL);
    }

    at = dfd_cache_now();

    if (dfd_enrich_arg(r, "at", text, &len)) {

        at = dfd_api_time(text, len);

        if (at == DFD_TIME_NONE) {
            return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_at",
                                     "at",
                                     "the argument at must be a time, like "
                                     "2026-11-25T01:00:00Z or Unix seconds",
                                     NULL);
        }
    }

    conf = ngx_http_defender_host_conf(r);

    dfd_cache_lookup(conf, &lookup, &addr, at);

    len = dfd_lookup_entity(&lookup, dfd_enrich_scratch,
                            sizeof(dfd_enrich_scratch));

    entity = ngx_pnalloc(r->pool, len);
    if (entity == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (len <= sizeof(dfd_enrich_scratch)) {
        ngx_memcpy(entity, dfd_enrich_scratch, len);

    } else if (dfd_lookup_entity(&lookup, entity, len) != len) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return dfd_reply_bytes(r, NGX_HTTP_OK, &dfd_reply_type_json,
                           (u_char *) entity, len);
}


/*
 * Is there such an argument?  Its value is percent-decoded into buf, which has
 * room for DFD_ENRICH_MAX_ARG bytes; of a longer one, or one with a "%" that
 * is no code, the length is 0: that is no address and no time.  A "+" stays,
 * it belongs to the offset of a time.
 */

static ngx_uint_t
dfd_enrich_arg(ngx_http_request_t *r, const char *name, char *buf, size_t *len)
{
    u_char   *p, *last;
    ngx_int_t code;
    ngx_str_t value;

    if (ngx_http_arg(r, (u_char *) name, ngx_strlen(name), &value) != NGX_OK) {
        return 0;
    }

    *len = 0;

    if (value.len > DFD_ENRICH_MAX_ARG) {
        return 1;
    }

    last = value.data + value.len;

    for (p = value.data; p < last; p++) {

        if (*p != '%') {
            *buf++ = (char) *p;
            continue;
        }

        code = (last - p > 2) ? ngx_hextoi(p + 1, 2) : NGX_ERROR;

        if (code == NGX_ERROR) {
            return 1;
        }

        *buf++ = (char) code;
        p += 2;
        value.len -= 2;
    }

    *len = value.len;

    return 1;
}
