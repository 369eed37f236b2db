#include "ngx_http_defender_conf.h"


#define NGX_HTTP_DEFENDER_PROXY_PORT 3128


/* a text that ends with a zero byte: libcurl and libc want C strings */

static char *
ngx_http_defender_conf_text(ngx_conf_t *cf, ngx_str_t *to, ngx_str_t *from)
{
    u_char *p;

    p = ngx_pnalloc(cf->pool, from->len + 1);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    (void) ngx_cpystrn(p, from->data, from->len + 1);

    to->data = p;
    to->len = from->len;

    return NGX_CONF_OK;
}


static ngx_uint_t
ngx_http_defender_conf_is_base_url(ngx_str_t *url)
{
    size_t     i;
    ngx_uint_t n;

    if (url->len <= 8 || ngx_strncmp(url->data, "https://", 8) != 0) {
        return 0;
    }

    /* "https://host/" is meant as "https://host" */

    if (url->data[url->len - 1] == '/') {
        url->len--;
    }

    n = 0;

    for (i = 8; i < url->len; i++) {
        if (url->data[i] <= ' ' || ngx_strchr("/?#@\\", url->data[i]) != NULL)
        {
            return 0;
        }

        n++;
    }

    return n != 0;
}


char *
ngx_http_defender_conf_endpoint(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    ngx_str_t *value, arg, *to;
    ngx_uint_t i;

    if (conf->login.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        arg = value[i];

        if (ngx_strncmp(arg.data, "login=", 6) == 0) {
            to = &conf->login;
            arg.data += 6;
            arg.len -= 6;

        } else if (ngx_strncmp(arg.data, "api=", 4) == 0) {
            to = &conf->api;
            arg.data += 4;
            arg.len -= 4;

        } else if (ngx_strncmp(arg.data, "scope=", 6) == 0) {
            arg.data += 6;
            arg.len -= 6;

            if (arg.len == 0) {
                return "has an empty \"scope=\"";
            }

            if (ngx_http_defender_conf_text(cf, &conf->scope, &arg)
                != NGX_CONF_OK) {
                return NGX_CONF_ERROR;
            }

            continue;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in "
                               "\"defender_endpoint\": login=, api= and "
                               "scope= are known",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (!ngx_http_defender_conf_is_base_url(&arg)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in "
                               "\"defender_endpoint\": an URL like "
                               "\"https://host[:port]\" without a path is "
                               "needed",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        if (ngx_http_defender_conf_text(cf, to, &arg) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (conf->login.data == NULL || conf->api.data == NULL) {
        return "needs both \"login=\" and \"api=\": they belong together";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_ca(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    ngx_str_t      *value;
    ngx_file_info_t fi;

    if (conf->http.ca_certificate.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_conf_full_name(cf->cycle, &value[1], 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (ngx_file_info(value[1].data, &fi) == NGX_FILE_ERROR
        || !ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "\"defender_ca_certificate\" needs a file of "
                           "certificates, \"%V\" is none",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_defender_conf_text(cf, &conf->http.ca_certificate,
                                       &value[1]);
}


char *
ngx_http_defender_conf_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    size_t     skip;
    ngx_url_t  u;
    ngx_str_t *value;

    if (conf->http.proxy.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strncmp(value[1].data, "http://", 7) == 0) {
        skip = 7;

    } else if (ngx_strncmp(value[1].data, "https://", 8) == 0) {
        skip = 8;

    } else {
        skip = 0;
    }

    ngx_memzero(&u, sizeof(ngx_url_t));

    u.url.data = value[1].data + skip;
    u.url.len = value[1].len - skip;
    u.default_port = NGX_HTTP_DEFENDER_PROXY_PORT;
    u.no_resolve = 1;

    /* a password in the URL would be printed by "nginx -T" */

    if (skip == 0 || ngx_strlchr(u.url.data, u.url.data + u.url.len, '@')
        || ngx_strlchr(u.url.data, u.url.data + u.url.len, '/')
        || ngx_parse_url(cf->pool, &u) != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid proxy \"%V\" in \"defender_proxy\": an "
                           "URL like \"http://host:port\" without user and "
                           "path is needed",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_defender_conf_text(cf, &conf->http.proxy, &value[1]);
}


char *
ngx_http_defender_conf_bind(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    dfd_addr_t addr;
    ngx_str_t *value;

    if (conf->http.bind.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (!dfd_addr_parse(&addr, (char *) value[1].data, value[1].len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid address \"%V\" in \"defender_bind\": an "
                           "IPv4 or IPv6 address of this host is needed",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return ngx_http_defender_conf_text(cf, &conf->http.bind, &value[1]);
}
