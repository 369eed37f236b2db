#include "ngx_http_defender_conf.h"


#define NGX_HTTP_DEFENDER_REDIS_PORT 6379

#define NGX_HTTP_DEFENDER_REDIS_URL                                           \
    "\"redis://[user@]host[:port][/db]\", \"rediss://...\" or "               \
    "\"unix:/path[?db=N]\" is needed"


static char *ngx_http_defender_conf_redis_url(ngx_conf_t      *cf,
                                              dfd_host_conf_t *conf,
                                              ngx_str_t       *url);
static char *ngx_http_defender_conf_redis_option(ngx_conf_t      *cf,
                                                 dfd_host_conf_t *conf,
                                                 ngx_str_t       *arg);


char *
ngx_http_defender_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    char      *rv;
    ngx_str_t *value;
    ngx_uint_t i;

    if (conf->configured) {
        return "is duplicate";
    }

    conf->configured = 1;

    value = cf->args->elts;

    rv = ngx_http_defender_conf_redis_url(cf, conf, &value[1]);
    if (rv != NGX_CONF_OK) {
        return rv;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        rv = ngx_http_defender_conf_redis_option(cf, conf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    if (conf->redis.user.len && conf->redis.password.len == 0) {
        return "names a user, so it needs \"password_file=\"";
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_defender_conf_redis_bad(ngx_conf_t *cf, ngx_str_t *url,
                                 const char *why)
{
    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid URL \"%V\" in \"defender_redis\": %s", url,
                       why);
    return NGX_CONF_ERROR;
}


/* "3" at the end of "/3" or of "?db=3"; Redis itself bounds it further */

static ngx_int_t
ngx_http_defender_conf_redis_db(dfd_host_conf_t *conf, u_char *p, u_char *last)
{
    ngx_int_t db;

    db = ngx_atoi(p, last - p);

    if (db == NGX_ERROR || db > 65535) {
        return NGX_ERROR;
    }

    conf->redis.db = db;

    return NGX_OK;
}


static char *
ngx_http_defender_conf_redis_unix(ngx_conf_t *cf, dfd_host_conf_t *conf,
                                  ngx_str_t *url, ngx_url_t *u)
{
    u_char *p;

    u->url = *url;

    p = ngx_strlchr(url->data, url->data + url->len, '?');

    if (p != NULL) {

        u->url.len = p - url->data;

        if (ngx_strncmp(p, "?db=", 4) != 0
            || ngx_http_defender_conf_redis_db(conf, p + 4,
                                               url->data + url->len)
                   != NGX_OK)
        {
            return ngx_http_defender_conf_redis_bad(
                cf, url, "after \"?\" only \"db=N\" is known");
        }

        /* ngx_parse_url() reads the path up to its terminating zero */

        u->url.data = ngx_pnalloc(cf->pool, u->url.len + 1);
        if (u->url.data == NULL) {
            return NGX_CONF_ERROR;
        }

        (void) ngx_cpystrn(u->url.data, url->data, u->url.len + 1);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_defender_conf_redis_tcp(ngx_conf_t *cf, dfd_host_conf_t *conf,
                                 ngx_str_t *url, size_t scheme, ngx_url_t *u)
{
    u_char *p, *at, *slash, *last;

    p = url->data + scheme;
    last = url->data + url->len;

    at = ngx_strlchr(p, last, '@');

    if (at != NULL) {

        if (at == p || ngx_strlchr(p, at, ':') != NULL) {
            return ngx_http_defender_conf_redis_bad(
                cf, url,
                "before \"@\" stands the user only; the password comes from "
                "\"password_file=\"");
        }

        conf->redis.user.data = p;
        conf->redis.user.len = at - p;
        p = at + 1;
    }

    slash = ngx_strlchr(p, last, '/');

    if (slash != NULL && slash + 1 != last
        && ngx_http_defender_conf_redis_db(conf, slash + 1, last) != NGX_OK)
    {
        return ngx_http_defender_conf_redis_bad(
            cf, url, "the database after \"/\" must be a number");
    }

    u->url.data = p;
    u->url.len = (slash != NULL ? slash : last) - p;
    u->default_port = NGX_HTTP_DEFENDER_REDIS_PORT;

    if (u->url.len == 0) {
        return ngx_http_defender_conf_redis_bad(cf, url,
                                                NGX_HTTP_DEFENDER_REDIS_URL);
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_defender_conf_redis_url(ngx_conf_t *cf, dfd_host_conf_t *conf,
                                 ngx_str_t *url)
{
    char     *rv;
    ngx_url_t u;

    ngx_memzero(&u, sizeof(ngx_url_t));

    if (ngx_strncmp(url->data, "unix:/", 6) == 0) {
        rv = ngx_http_defender_conf_redis_unix(cf, conf, url, &u);

    } else if (ngx_strncmp(url->data, "redis://", 8) == 0) {
        rv = ngx_http_defender_conf_redis_tcp(cf, conf, url, 8, &u);

    } else if (ngx_strncmp(url->data, "rediss://", 9) == 0) {

        conf->redis.ssl = ngx_pcalloc(cf->pool, sizeof(ngx_ssl_t));
        if (conf->redis.ssl == NULL) {
            return NGX_CONF_ERROR;
        }

        rv = ngx_http_defender_conf_redis_tcp(cf, conf, url, 9, &u);

    } else {
        rv = ngx_http_defender_conf_redis_bad(cf, url,
                                              NGX_HTTP_DEFENDER_REDIS_URL);
    }

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_parse_url(cf->pool, &u) != NGX_OK) {
        return ngx_http_defender_conf_redis_bad(
            cf, url, u.err ? u.err : NGX_HTTP_DEFENDER_REDIS_URL);
    }

    if (u.uri.len || u.naddrs == 0) {
        return ngx_http_defender_conf_redis_bad(cf, url,
                                                NGX_HTTP_DEFENDER_REDIS_URL);
    }

    conf->redis.url = *url;
    conf->redis.addrs = u.addrs;
    conf->redis.naddrs = u.naddrs;
    conf->redis.host = u.host;

    return NGX_CONF_OK;
}


static char *
ngx_http_defender_conf_redis_password(ngx_conf_t *cf, dfd_host_conf_t *conf,
                                      ngx_str_t *path)
{
    size_t len;
    u_char buf[1024];

    if (ngx_http_defender_conf_read_secret(cf, "defender_redis", path, buf,
                                           sizeof(buf), &len)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    /* editors end a file with a line end, which is not part of a password */

    while (len && (buf[len - 1] == '\n' || buf[len - 1] == '\r')) {
        len--;
    }

    if (len == 0) {
        return "has an empty \"password_file=\"";
    }

    conf->redis.password.data = ngx_pnalloc(cf->pool, len);
    if (conf->redis.password.data == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->redis.password.len = len;
    ngx_memcpy(conf->redis.password.data, buf, len);
    ngx_explicit_memzero(buf, sizeof(buf));

    return NGX_CONF_OK;
}


static char *
ngx_http_defender_conf_redis_option(ngx_conf_t *cf, dfd_host_conf_t *conf,
                                    ngx_str_t *arg)
{
    ngx_str_t s;

    if (ngx_strncmp(arg->data, "password_file=", 14) == 0) {

        s.data = arg->data + 14;
        s.len = arg->len - 14;

        return ngx_http_defender_conf_redis_password(cf, conf, &s);
    }

    if (ngx_strncmp(arg->data, "prefix=", 7) == 0) {

        conf->prefix.data = arg->data + 7;
        conf->prefix.len = arg->len - 7;

        if (conf->prefix.len == 0 || conf->prefix.len > 64) {
            return "has a \"prefix=\" that is empty or longer than 64 bytes";
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(arg->data, "ca=", 3) == 0) {

        conf->redis_ca.data = arg->data + 3;
        conf->redis_ca.len = arg->len - 3;

        if (conf->redis.ssl == NULL) {
            return "has \"ca=\", which only \"rediss://\" uses";
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(arg->data, "timeout=", 8) == 0) {

        ngx_int_t timeout;

        s.data = arg->data + 8;
        s.len = arg->len - 8;

        timeout = ngx_parse_time(&s, 0);

        if (timeout == NGX_ERROR || timeout == 0 || timeout > 60000) {
            return "has an invalid \"timeout=\": 1ms to 60s are right";
        }

        conf->redis.timeout = timeout;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"defender_redis\": "
                       "password_file=, prefix=, timeout= and ca= are known",
                       arg);

    return NGX_CONF_ERROR;
}
