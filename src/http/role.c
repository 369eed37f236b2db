#include "http/http.h"

#include <jansson.h>


/* longest name of an acting person in logs and records */
#define DFD_ROLE_MAX_USER 128


/* clang-format off */
static ngx_uint_t dfd_role_header_believed(ngx_http_request_t *r,
    ngx_http_defender_loc_conf_t *lcf);
static ngx_uint_t dfd_role_header_once(ngx_http_request_t *r,
    const ngx_str_t *name);
static struct sockaddr *dfd_role_peer(ngx_http_request_t *r,
    struct sockaddr *unix_peer);
/* clang-format on */


dfd_role_t
ngx_http_defender_role(ngx_http_request_t           *r,
                       ngx_http_defender_loc_conf_t *lcf)
{
    ngx_uint_t i;
    ngx_str_t  value;

    static const struct {
        ngx_str_t  name;
        dfd_role_t role;
    } roles[] = {
        { ngx_string("admin"), DFD_ROLE_ADMIN },
        { ngx_string("analyst"), DFD_ROLE_ANALYST },
        { ngx_string("viewer"), DFD_ROLE_VIEWER },
    };

    if (lcf->role == NULL) {
        return DFD_ROLE_NONE;
    }

    if (lcf->role_header.len != 0 && !dfd_role_header_believed(r, lcf)) {
        return DFD_ROLE_NONE;
    }

    if (ngx_http_complex_value(r, lcf->role, &value) != NGX_OK) {
        return DFD_ROLE_NONE;
    }

    for (i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {

        if (value.len == roles[i].name.len
            && ngx_memcmp(value.data, roles[i].name.data, value.len) == 0)
        {
            return roles[i].role;
        }
    }

    return DFD_ROLE_NONE;
}


static ngx_uint_t
dfd_role_header_believed(ngx_http_request_t           *r,
                         ngx_http_defender_loc_conf_t *lcf)
{
    struct sockaddr *peer, unix_peer;

    if (lcf->role_from == NULL || !dfd_role_header_once(r, &lcf->role_header))
    {
        return 0;
    }

    peer = dfd_role_peer(r, &unix_peer);

    return peer != NULL && ngx_cidr_match(peer, lcf->role_from) == NGX_OK;
}


/*
 * The variable $http_x_role takes the first of several headers, and with
 * "underscores_in_headers on" also one that is spelled X_Role.  Who sits in
 * front of us and sets X-Role does not see that one, so a client can pass it.
 */

static ngx_uint_t
dfd_role_header_once(ngx_http_request_t *r, const ngx_str_t *name)
{
    u_char           ch;
    size_t           n;
    ngx_uint_t       i, found, twin;
    ngx_list_part_t *part;
    ngx_table_elt_t *header;

    found = 0;
    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {

            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;

            if (part->nelts == 0) {
                continue;
            }
        }

        if (header[i].key.len != name->len) {
            continue;
        }

        twin = 0;

        for (n = 0; n < name->len; n++) {

            ch = ngx_tolower(header[i].key.data[n]);

            if (ch == '_') {
                twin = 1;
            }

            if (ch == '-') {
                ch = '_';
            }

            if (ch != (name->data[n] == '-' ? '_' : name->data[n])) {
                break;
            }
        }

        if (n != name->len) {
            continue;
        }

        if (twin || found) {
            return 0;
        }

        found = 1;
    }

    return found;
}


/*
 * The peer that opened the connection.  The realip module may have put an
 * address into the connection that a client named; its variable keeps the
 * true one.
 */

static struct sockaddr *
dfd_role_peer(ngx_http_request_t *r, struct sockaddr *unix_peer)
{
    ngx_addr_t                 addr;
    ngx_uint_t                 key;
    ngx_http_variable_value_t *vv;

    static ngx_str_t name = ngx_string("realip_remote_addr");

    key = ngx_hash_key(name.data, name.len);

    vv = ngx_http_get_variable(r, &name, key);
    if (vv == NULL) {
        return NULL;
    }

    if (vv->not_found) {
        return r->connection->sockaddr; /* nginx without the realip module */
    }

    if (vv->len == r->connection->addr_text.len
        && ngx_memcmp(vv->data, r->connection->addr_text.data, vv->len) == 0)
    {
        return r->connection->sockaddr;
    }

    if (vv->len == 5 && ngx_memcmp(vv->data, "unix:", 5) == 0) {
        ngx_memzero(unix_peer, sizeof(struct sockaddr));
        unix_peer->sa_family = AF_UNIX;
        return unix_peer;
    }

    if (ngx_parse_addr(r->pool, &addr, vv->data, vv->len) != NGX_OK) {
        return NULL;
    }

    return addr.sockaddr;
}


ngx_int_t
ngx_http_defender_user(ngx_http_request_t           *r,
                       ngx_http_defender_loc_conf_t *lcf, ngx_str_t *user)
{
    size_t  i, len;
    json_t *text;
    u_char *p;

    ngx_str_null(user);

    if (lcf->user == NULL) {
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, lcf->user, user) != NGX_OK) {
        return NGX_ERROR;
    }

    /* cut between characters */

    len = user->len;

    if (len > DFD_ROLE_MAX_USER) {
        len = DFD_ROLE_MAX_USER;

        while (len != 0 && (user->data[len] & 0xc0) == 0x80) {
            len--;
        }
    }

    /* it goes into log lines and JSON: one line of UTF-8 */

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < len; i++) {
        p[i] = (user->data[i] < ' ' || user->data[i] == 0x7f) ? '?'
                                                              : user->data[i];
    }

    user->data = p;
    user->len = len;

    text = json_stringn((char *) p, len);

    if (text != NULL) {
        json_decref(text);
        return NGX_OK;
    }

    for (i = 0; i < len; i++) {
        if (p[i] & 0x80) {
            p[i] = '?';
        }
    }

    return NGX_OK;
}
