#include "http/audit.h"
#include "http/reply.h"


ngx_str_t dfd_reply_type_json = ngx_string("application/json");
ngx_str_t dfd_reply_type_ndjson = ngx_string("application/x-ndjson");

static ngx_str_t dfd_reply_type_problem =
    ngx_string("application/problem+json");


static ngx_table_elt_t *dfd_reply_push(ngx_http_request_t *r, const char *name,
                                       size_t name_len, const char *value,
                                       size_t value_len);
static ngx_int_t   dfd_reply_json_as(ngx_http_request_t *r, ngx_uint_t status,
                                     ngx_str_t *type, json_t *json);
static const char *dfd_reply_title(ngx_uint_t status);


/* value is not copied */

static ngx_table_elt_t *
dfd_reply_push(ngx_http_request_t *r, const char *name, size_t name_len,
               const char *value, size_t value_len)
{
    ngx_table_elt_t *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NULL;
    }

    h->hash = 1;
#if (nginx_version >= 1023000)
    h->next = NULL;
#endif
    h->key.data = (u_char *) name;
    h->key.len = name_len;
    h->value.data = (u_char *) value;
    h->value.len = value_len;

    return h;
}


#define dfd_reply_push_static(r, name, value)                                 \
    dfd_reply_push(r, name, sizeof(name) - 1, value, sizeof(value) - 1)


ngx_int_t
dfd_reply_header(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
                 off_t len)
{
    r->headers_out.status = status;
    r->headers_out.content_length_n = len;
    r->headers_out.content_type = *type;
    r->headers_out.content_type_len = type->len;
    r->headers_out.content_type_lowcase = NULL;

    /*
     * nginx would judge If-Match after the handler has written, and turn the
     * 200 of a PUT into a 412; that comparison is ours.
     */
    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        r->disable_not_modified = 1;
    }

    if (dfd_reply_push_static(r, "Cache-Control", "no-store") == NULL
        || dfd_reply_push_static(r, "X-Content-Type-Options", "nosniff")
               == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_int_t
dfd_reply_bytes(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
                u_char *bytes, size_t len)
{
    ngx_int_t   rc;
    ngx_buf_t  *b;
    ngx_chain_t out;

    if (dfd_reply_header(r, status, type, (off_t) len) != NGX_OK) {
        return NGX_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    /* an empty buffer that claims to have memory is an alert in nginx */

    if (len != 0) {
        b->memory = 1;
        b->start = bytes;
        b->pos = bytes;
        b->last = bytes + len;
        b->end = b->last;
    }

    b->last_buf = (r == r->main);
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


ngx_int_t
dfd_reply_json(ngx_http_request_t *r, ngx_uint_t status, json_t *json)
{
    return dfd_reply_json_as(r, status, &dfd_reply_type_json, json);
}


static ngx_int_t
dfd_reply_json_as(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t *type,
                  json_t *json)
{
    char  *bytes;
    size_t len;

    if (json == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    bytes = NULL;
    len = json_dumpb(json, NULL, 0, JSON_COMPACT);

    if (len != 0) {
        bytes = ngx_pnalloc(r->pool, len);
    }

    if (bytes == NULL || json_dumpb(json, bytes, len, JSON_COMPACT) != len) {
        json_decref(json);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    json_decref(json);

    return dfd_reply_bytes(r, status, type, (u_char *) bytes, len);
}


ngx_int_t
dfd_reply_problem(ngx_http_request_t *r, ngx_uint_t status, const char *code,
                  const char *field, const char *detail, json_t *more)
{
    json_t *json, *text;

    if (status < NGX_HTTP_INTERNAL_SERVER_ERROR) {
        dfd_audit_refused(r, code);
    }

    json = json_pack("{s:s, s:s, s:i, s:s}", "type", "about:blank", "title",
                     dfd_reply_title(status), "status", (int) status, "code",
                     code);

    /* names of unknown members come from the client: no UTF-8, no detail */

    text = json_string(detail);

    if (text != NULL) {
        (void) json_object_set_new(json, "detail", text);
    }

    if (field != NULL) {
        text = json_string(field);

        if (text != NULL) {
            (void) json_object_set_new(json, "field", text);
        }
    }

    if (more != NULL) {
        (void) json_object_update(json, more);
        json_decref(more);
    }

    return dfd_reply_json_as(r, status, &dfd_reply_type_problem, json);
}


static const char *
dfd_reply_title(ngx_uint_t status)
{
    switch (status) {
    case NGX_HTTP_BAD_REQUEST:
        return "Bad Request";
    case NGX_HTTP_FORBIDDEN:
        return "Forbidden";
    case NGX_HTTP_NOT_FOUND:
        return "Not Found";
    case NGX_HTTP_NOT_ALLOWED:
        return "Method Not Allowed";
    case NGX_HTTP_CONFLICT:
        return "Conflict";
    case NGX_HTTP_PRECONDITION_FAILED:
        return "Precondition Failed";
    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        return "Content Too Large";
    case NGX_HTTP_UNSUPPORTED_MEDIA_TYPE:
        return "Unsupported Media Type";
    case NGX_HTTP_TOO_MANY_REQUESTS:
        return "Too Many Requests";
    case NGX_HTTP_INTERNAL_SERVER_ERROR:
        return "Internal Server Error";
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return "Service Unavailable";
    case NGX_HTTP_GATEWAY_TIME_OUT:
        return "Gateway Timeout";
    default:
        return "Error";
    }
}


ngx_int_t
dfd_reply_add(ngx_http_request_t *r, const char *name, const char *value)
{
    char  *copy;
    size_t len;

    len = ngx_strlen(value);

    copy = ngx_pnalloc(r->pool, len);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(copy, value, len);

    return dfd_reply_push(r, name, ngx_strlen(name), copy, len) == NULL
             ? NGX_ERROR
             : NGX_OK;
}


ngx_int_t
dfd_reply_etag(ngx_http_request_t *r, uint64_t revision)
{
    u_char          *p, *last;
    ngx_table_elt_t *h;

    p = ngx_pnalloc(r->pool, NGX_INT64_LEN + 2);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = ngx_sprintf(p, "\"%uL\"", revision);

    h = dfd_reply_push(r, "ETag", sizeof("ETag") - 1, (char *) p,
                       (size_t) (last - p));
    if (h == NULL) {
        return NGX_ERROR;
    }

    r->headers_out.etag = h;

    return NGX_OK;
}
