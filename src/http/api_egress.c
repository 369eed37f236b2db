#include "http/api.h"


/*
 * GET /egress[?cloud=]: what a firewall must let through, for the stored
 * choice or for one that is still to be made.
 */

/* what libcurl takes for a proxy without a port, as nginx.conf may give it */
#define DFD_EGRESS_PROXY_PORT 1080
#define DFD_EGRESS_HTTPS_PORT 443


/* clang-format off */
static ngx_int_t dfd_egress_cloud(ngx_http_request_t *r,
    dfd_settings_t *settings);
static json_t *dfd_egress_host(const char *purpose, const char *url,
    int port);
/* clang-format on */


ngx_int_t
dfd_api_egress_show(ngx_http_request_t *r, const dfd_record_t *record)
{
    int              port;
    json_t          *json;
    dfd_cloud_t      cloud;
    dfd_settings_t   settings;
    dfd_host_conf_t *conf;

    conf = ngx_http_defender_host_conf(r);

    dfd_settings_default(&settings);
    ngx_memcpy(settings.cloud, record->settings.cloud, sizeof(settings.cloud));

    if (dfd_egress_cloud(r, &settings) != NGX_OK) {
        return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_cloud",
                                 "cloud",
                                 "the argument cloud must be one of those "
                                 "that the settings know, like commercial",
                                 NULL);
    }

    dfd_record_endpoints(conf, &settings, &cloud);

    json = json_pack(
        "{s:s, s:b, s:[o, o], s:n, s:n}", "cloud", settings.cloud, "replaced",
        conf->login.len != 0, "hosts",
        dfd_egress_host("sign-in", cloud.login, DFD_EGRESS_HTTPS_PORT),
        dfd_egress_host("api", cloud.api, DFD_EGRESS_HTTPS_PORT), "proxy",
        "sourceAddress");

    if (conf->http.proxy.len != 0) {

        port = ngx_strncmp(conf->http.proxy.data, "https:", 6) == 0
                 ? DFD_EGRESS_HTTPS_PORT
                 : DFD_EGRESS_PROXY_PORT;

        (void) json_object_set_new(
            json, "proxy",
            dfd_egress_host("proxy", (char *) conf->http.proxy.data, port));
    }

    if (conf->http.bind.len != 0) {
        (void) json_object_set_new(json, "sourceAddress",
                                   json_string((char *) conf->http.bind.data));
    }

    return dfd_reply_json(r, NGX_HTTP_OK, json);
}


static ngx_int_t
dfd_egress_cloud(ngx_http_request_t *r, dfd_settings_t *settings)
{
    ngx_str_t value;

    if (ngx_http_arg(r, (u_char *) "cloud", 5, &value) != NGX_OK) {
        return NGX_OK;
    }

    if (value.len >= sizeof(settings->cloud)) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn((u_char *) settings->cloud, value.data, value.len + 1);

    return dfd_cloud_find(settings->cloud) == NULL ? NGX_ERROR : NGX_OK;
}


/* url is "scheme://host[:port]", checked when nginx.conf was read */

static json_t *
dfd_egress_host(const char *purpose, const char *url, int port)
{
    size_t      len;
    const char *host, *colon;

    host = strstr(url, "://") + 3;
    len = strcspn(host, "/");

    /* the last colon, unless it is one within the brackets of IPv6 */

    colon = memrchr(host, ':', len);

    if (colon != NULL
        && memchr(colon, ']', len - (size_t) (colon - host)) == NULL) {
        port = (int) strtol(colon + 1, NULL, 10);
        len = (size_t) (colon - host);
    }

    if (len > 2 && host[0] == '[') {
        host++;
        len -= 2;
    }

    return json_pack("{s:s, s:s%, s:i}", "purpose", purpose, "host", host, len,
                     "port", port);
}
