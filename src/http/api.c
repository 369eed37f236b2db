#include "http/api.h"
#include "http/audit.h"

#include <openssl/crypto.h>


/* configuration bodies stay below client_body_buffer_size: not on disk */
#define DFD_API_CONFIG_BODY (8 * 1024)
#define DFD_API_BATCH_BODY  (2 * 1024 * 1024)

#define DFD_API_READ (NGX_HTTP_GET | NGX_HTTP_HEAD)


typedef struct {
    ngx_str_t          path;
    ngx_uint_t         methods;
    dfd_role_t         role; /* the least one */
    dfd_api_handler_pt handler;
    size_t             max_body; /* 0: reads no body */
    const char        *action;   /* in the audit; NULL: changes nothing */
    unsigned           ndjson : 1;
    unsigned           secret : 1; /* the body is wiped after use */
} dfd_api_route_t;


static const dfd_api_route_t dfd_api_routes[] = {
    { ngx_string("/enrich"), DFD_API_READ, DFD_ROLE_VIEWER, dfd_api_enrich_get,
      0, NULL, 0, 0 },
    { ngx_string("/enrich"), NGX_HTTP_POST, DFD_ROLE_VIEWER,
      dfd_api_enrich_post, DFD_API_BATCH_BODY, NULL, 1, 0 },
    { ngx_string("/status"), DFD_API_READ, DFD_ROLE_VIEWER, dfd_api_status_get,
      0, NULL, 0, 0 },
    { ngx_string("/sync"), NGX_HTTP_POST, DFD_ROLE_ADMIN, dfd_api_sync_post,
      DFD_API_CONFIG_BODY, "sync", 0, 0 },
    { ngx_string("/config"), DFD_API_READ, DFD_ROLE_VIEWER, dfd_api_config_get,
      0, NULL, 0, 0 },
    { ngx_string("/config"), NGX_HTTP_PUT, DFD_ROLE_ADMIN, dfd_api_config_put,
      DFD_API_CONFIG_BODY, "config.save", 0, 1 },
    { ngx_string("/config"), NGX_HTTP_DELETE, DFD_ROLE_ADMIN,
      dfd_api_config_delete, DFD_API_CONFIG_BODY, "config.delete", 0, 0 },
    { ngx_string("/config/verify"), NGX_HTTP_POST, DFD_ROLE_ADMIN,
      dfd_api_verify_post, DFD_API_CONFIG_BODY, "config.verify", 0, 1 },
    { ngx_string("/egress"), DFD_API_READ, DFD_ROLE_VIEWER, dfd_api_egress_get,
      0, NULL, 0, 0 },
    { ngx_string("/audit"), DFD_API_READ, DFD_ROLE_ADMIN, dfd_api_audit_get, 0,
      NULL, 0, 0 },
};

#define DFD_API_ROUTES (sizeof(dfd_api_routes) / sizeof(dfd_api_routes[0]))


/* clang-format off */
static void dfd_api_path(ngx_http_request_t *r, ngx_str_t *path);
static const dfd_api_route_t *dfd_api_find(ngx_http_request_t *r,
    ngx_uint_t *allowed);
static ngx_int_t dfd_api_refuse(ngx_http_request_t *r, ngx_uint_t status,
    const char *code, const char *detail);
static ngx_int_t dfd_api_not_allowed(ngx_http_request_t *r,
    ngx_uint_t allowed);
static ngx_int_t dfd_api_check_write(ngx_http_request_t *r,
    const dfd_api_route_t *route, ngx_int_t *answer);
static ngx_int_t dfd_api_read(ngx_http_request_t *r,
    const dfd_api_route_t *route);
static ngx_int_t dfd_api_too_large(ngx_http_request_t *r,
    const dfd_api_route_t *route);
static void dfd_api_body(ngx_http_request_t *r);
static ngx_int_t dfd_api_collect(ngx_http_request_t *r, ngx_str_t *body,
    size_t max);
static ngx_int_t dfd_api_copy(ngx_http_request_t *r, u_char *to);
static void dfd_api_wipe(ngx_http_request_t *r, ngx_str_t *body);
/* clang-format on */


ngx_int_t
ngx_http_defender_api_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_str_t                     body;
    dfd_role_t                    role;
    ngx_uint_t                    allowed;
    const dfd_api_route_t        *route;
    ngx_http_defender_loc_conf_t *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_defender_module);

    /* nobody without a role learns which paths there are */

    role = ngx_http_defender_role(r, lcf);

    if (role == DFD_ROLE_NONE) {
        return dfd_api_refuse(r, NGX_HTTP_FORBIDDEN, "role_missing",
                              "this needs the role viewer, analyst or admin");
    }

    route = dfd_api_find(r, &allowed);

    if (route == NULL && !allowed) {
        return dfd_api_refuse(r, NGX_HTTP_NOT_FOUND, "not_found",
                              "the API has no such path");
    }

    if (route == NULL) {
        return dfd_api_not_allowed(r, allowed);
    }

    if (role < route->role) {
        return dfd_api_refuse(r, NGX_HTTP_FORBIDDEN, "forbidden",
                              "this needs the role admin");
    }

    if (route->max_body) {
        return dfd_api_check_write(r, route, &rc) == NGX_OK
                 ? dfd_api_read(r, route)
                 : rc;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    ngx_str_null(&body);

    rc = route->handler(r, &body);

    if (rc == NGX_DONE) {
        r->main->count++;
    }

    return rc;
}


/* The path below the location; empty when it is not below it. */

static void
dfd_api_path(ngx_http_request_t *r, ngx_str_t *path)
{
    ngx_str_t                 name;
    ngx_http_core_loc_conf_t *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    name = clcf->name;

    if (name.len != 0 && name.data[name.len - 1] == '/') {
        name.len--;
    }

    if (r->uri.len < name.len
        || ngx_memcmp(r->uri.data, name.data, name.len) != 0) {
        ngx_str_set(path, "");
        return;
    }

    path->data = r->uri.data + name.len;
    path->len = r->uri.len - name.len;
}


/*
 * The route for path and method.  NULL: allowed has the methods of the path,
 * none of them when there is no such path.
 */

static const dfd_api_route_t *
dfd_api_find(ngx_http_request_t *r, ngx_uint_t *allowed)
{
    ngx_str_t              path;
    ngx_uint_t             i;
    const dfd_api_route_t *route;

    dfd_api_path(r, &path);

    *allowed = 0;

    for (i = 0; i < DFD_API_ROUTES; i++) {

        route = &dfd_api_routes[i];

        if (path.len != route->path.len
            || ngx_memcmp(path.data, route->path.data, path.len) != 0)
        {
            continue;
        }

        if (r->method & route->methods) {
            return route;
        }

        *allowed |= route->methods;
    }

    return NULL;
}


const char *
dfd_api_action(ngx_http_request_t *r)
{
    ngx_uint_t             allowed;
    const dfd_api_route_t *route;

    route = dfd_api_find(r, &allowed);

    return route == NULL ? NULL : route->action;
}


/* An answer without the body having been read. */

static ngx_int_t
dfd_api_refuse(ngx_http_request_t *r, ngx_uint_t status, const char *code,
               const char *detail)
{
    ngx_int_t rc;

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    return dfd_reply_problem(r, status, code, NULL, detail, NULL);
}


static ngx_int_t
dfd_api_not_allowed(ngx_http_request_t *r, ngx_uint_t allowed)
{
    ngx_uint_t i;
    char       allow[sizeof("GET, HEAD, POST, PUT, DELETE")];
    u_char    *p;

    static const struct {
        ngx_uint_t method;
        ngx_str_t  name;
    } methods[] = {
        { NGX_HTTP_GET, ngx_string("GET") },
        { NGX_HTTP_HEAD, ngx_string("HEAD") },
        { NGX_HTTP_POST, ngx_string("POST") },
        { NGX_HTTP_PUT, ngx_string("PUT") },
        { NGX_HTTP_DELETE, ngx_string("DELETE") },
    };

    p = (u_char *) allow;

    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {

        if (allowed & methods[i].method) {
            p = ngx_slprintf(p, (u_char *) allow + sizeof(allow) - 1, "%s%V",
                             p == (u_char *) allow ? "" : ", ",
                             &methods[i].name);
        }
    }

    *p = '\0';

    if (dfd_reply_add(r, "Allow", allow) != NGX_OK) {
        return NGX_ERROR;
    }

    return dfd_api_refuse(r, NGX_HTTP_NOT_ALLOWED, "method_not_allowed",
                          "this path has other methods, see Allow");
}


/* What a write must be; *answer is the code when it is refused. */

static ngx_int_t
dfd_api_check_write(ngx_http_request_t *r, const dfd_api_route_t *route,
                    ngx_int_t *answer)
{
    /* a subrequest has the body of its parent: nobody asked for this write */

    if (r != r->main) {
        *answer = dfd_reply_problem(r, NGX_HTTP_FORBIDDEN, "subrequest", NULL,
                                    "a subrequest cannot write", NULL);
        return NGX_DECLINED;
    }

    if (!dfd_api_is_type(r, &dfd_reply_type_json) && !dfd_api_is_bare(r)
        && !(route->ndjson && dfd_api_is_type(r, &dfd_reply_type_ndjson)))
    {
        *answer = dfd_api_refuse(
            r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type",
            route->ndjson ? "the Content-Type must be application/json or "
                            "application/x-ndjson"
                          : "the Content-Type must be application/json");
        return NGX_DECLINED;
    }

    if (!dfd_api_is_plain(r)) {
        *answer = dfd_api_refuse(r, NGX_HTTP_UNSUPPORTED_MEDIA_TYPE,
                                 "unsupported_media_type",
                                 "a body with a Content-Encoding is not read");
        return NGX_DECLINED;
    }

    if (!dfd_api_is_same_site(r)) {
        *answer = dfd_api_refuse(
            r, NGX_HTTP_FORBIDDEN, "cross_site",
            "a page of another site cannot write: Sec-Fetch-Site or Origin "
            "does not fit the Host");
        return NGX_DECLINED;
    }

    if (r->headers_in.content_length_n > (off_t) route->max_body) {

        *answer = ngx_http_discard_request_body(r);

        if (*answer == NGX_OK) {
            *answer = dfd_api_too_large(r, route);
        }

        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
dfd_api_too_large(ngx_http_request_t *r, const dfd_api_route_t *route)
{
    u_char detail[64];

    *ngx_snprintf(detail, sizeof(detail) - 1,
                  "the body may have at most %uz bytes", route->max_body) =
        '\0';

    return dfd_reply_problem(r, NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, "too_large",
                             NULL, (char *) detail, NULL);
}


static ngx_int_t
dfd_api_read(ngx_http_request_t *r, const dfd_api_route_t *route)
{
    ngx_int_t rc;

    r->request_body_in_single_buf = 1;

    /* "client_body_in_file_only" would put a secret on the disk */

    if (route->secret) {
        r->request_body_in_file_only = 0;
        r->request_body_in_persistent_file = 0;
        r->request_body_in_clean_file = 1;
    }

    rc = ngx_http_read_client_request_body(r, dfd_api_body);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


static void
dfd_api_body(ngx_http_request_t *r)
{
    ngx_int_t              rc;
    ngx_str_t              body;
    ngx_uint_t             allowed;
    const dfd_api_route_t *route;

    /* found again: the module's context belongs to the filter */

    route = dfd_api_find(r, &allowed);

    if (route == NULL) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    rc = dfd_api_collect(r, &body, route->max_body);

    if (rc == NGX_OK) {
        rc = route->handler(r, &body);

    } else if (rc == NGX_DECLINED) {
        rc = dfd_api_too_large(r, route);
    }

    if (route->secret) {
        dfd_api_wipe(r, &body);
    }

    /* a wait keeps the reference that the reading took */

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


/*
 * The whole body in one piece of memory.  NGX_DECLINED: longer than max,
 * which only a chunked one can still be.
 */

static ngx_int_t
dfd_api_collect(ngx_http_request_t *r, ngx_str_t *body, size_t max)
{
    off_t        len;
    ngx_chain_t *cl;

    ngx_str_null(body);

    if (r->request_body == NULL || r->request_body->bufs == NULL) {
        return NGX_OK;
    }

    len = 0;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {
        len += ngx_buf_size(cl->buf);
    }

    if (len > (off_t) max) {
        return NGX_DECLINED;
    }

    if (len == 0) {
        return NGX_OK;
    }

    cl = r->request_body->bufs;

    if (cl->next == NULL && ngx_buf_in_memory(cl->buf)) {
        body->data = cl->buf->pos;
        body->len = (size_t) len;
        return NGX_OK;
    }

    body->data = ngx_pnalloc(r->pool, (size_t) len);
    if (body->data == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    body->len = (size_t) len;

    return dfd_api_copy(r, body->data);
}


static ngx_int_t
dfd_api_copy(ngx_http_request_t *r, u_char *to)
{
    size_t       len;
    ssize_t      n;
    ngx_buf_t   *b;
    ngx_chain_t *cl;

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {

        b = cl->buf;
        len = (size_t) ngx_buf_size(b);

        if (len == 0) { /* a mere mark of the end */
            continue;
        }

        if (ngx_buf_in_memory(b)) {
            ngx_memcpy(to, b->pos, len);
            to += len;
            continue;
        }

        n = ngx_read_file(b->file, to, len, b->file_pos);

        if (n == NGX_ERROR || (size_t) n != len) {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

        to += len;
    }

    return NGX_OK;
}


static void
dfd_api_wipe(ngx_http_request_t *r, ngx_str_t *body)
{
    ngx_buf_t   *b;
    ngx_chain_t *cl;

    if (body->len != 0) {
        OPENSSL_cleanse(body->data, body->len);
    }

    if (r->request_body == NULL) {
        return;
    }

    for (cl = r->request_body->bufs; cl != NULL; cl = cl->next) {

        b = cl->buf;

        if (ngx_buf_in_memory(b) && !b->in_file) {
            OPENSSL_cleanse(b->pos, (size_t) (b->last - b->pos));
        }
    }
}
