#include "ngx_http_defender_conf.h"

#include "core/timestamp.h"
#include "host/zone.h"

#include <openssl/crypto.h>
#include <sys/mman.h>


#define NGX_HTTP_DEFENDER_USER_AGENT "ngx_http_defender_module/0.1.0"

#define NGX_HTTP_DEFENDER_HOURS(n) ((n) *3600 * DFD_TICKS_PER_SECOND)

#define NGX_HTTP_DEFENDER_CACHE_NAME "/defender"


static ngx_int_t ngx_http_defender_conf_keys(ngx_conf_t      *cf,
                                             dfd_host_conf_t *conf);
static void      ngx_http_defender_conf_wipe_key(void *data);


void *
ngx_http_defender_create_main_conf(ngx_conf_t *cf)
{
    dfd_host_conf_t *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(dfd_host_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->redis, keys, prefix, key, login, api, scope = empty;
     *     conf->http texts, cache_path, exclude, networks = empty;
     *     conf->configured = 0;
     */

    conf->redis.timeout = NGX_CONF_UNSET_MSEC;
    conf->http.connect_timeout = NGX_CONF_UNSET_MSEC;
    conf->http.timeout = NGX_CONF_UNSET_MSEC;
    conf->lookup.rule.exact = NGX_CONF_UNSET;
    conf->lookup.rule.ambiguous = NGX_CONF_UNSET;
    conf->lookup.rule.stale = NGX_CONF_UNSET;
    conf->page_size = NGX_CONF_UNSET_UINT;
    conf->sync_cooldown = NGX_CONF_UNSET_MSEC;

    return conf;
}


static ngx_int_t
ngx_http_defender_conf_rules(ngx_conf_t *cf, dfd_host_conf_t *conf)
{
    dfd_match_rule_t *rule;

    rule = &conf->lookup.rule;

    ngx_conf_init_value(rule->exact, NGX_HTTP_DEFENDER_HOURS(4));
    ngx_conf_init_value(rule->ambiguous, NGX_HTTP_DEFENDER_HOURS(24));
    ngx_conf_init_value(rule->stale, NGX_HTTP_DEFENDER_HOURS(7 * 24));

    if (rule->exact > rule->stale) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"defender_exact\" must not be longer than "
                      "\"defender_stale\"");
        return NGX_ERROR;
    }

    if (conf->exclude != NULL) {
        conf->lookup.exclude = conf->exclude->elts;
        conf->lookup.nexclude = conf->exclude->nelts;
    }

    if (conf->networks != NULL) {
        conf->lookup.networks = conf->networks->elts;
        conf->lookup.nnetworks = conf->networks->nelts;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_defender_conf_redis_tls(ngx_conf_t *cf, dfd_host_conf_t *conf)
{
    ngx_ssl_t          *ssl;
    ngx_pool_cleanup_t *cln;

    ssl = conf->redis.ssl;

    if (ssl == NULL) {
        return NGX_OK;
    }

    ssl->log = cf->log;

    if (ngx_ssl_create(ssl, NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3, NULL) != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        ngx_ssl_cleanup_ctx(ssl);
        return NGX_ERROR;
    }

    cln->handler = ngx_ssl_cleanup_ctx;
    cln->data = ssl;

    if (conf->redis_ca.len == 0) {
        return SSL_CTX_set_default_verify_paths(ssl->ctx) == 1 ? NGX_OK
                                                               : NGX_ERROR;
    }

    return ngx_ssl_trusted_certificate(cf, ssl, &conf->redis_ca, 4);
}


/* "defender" beside the directory in which nginx keeps proxied bodies */

static ngx_int_t
ngx_http_defender_conf_cache_path(ngx_conf_t *cf, dfd_host_conf_t *conf)
{
    u_char         *p;
    size_t          len;
    ngx_path_init_t path;

    static u_char temp[] = NGX_HTTP_PROXY_TEMP_PATH;

    len = sizeof(temp) - 1;

    while (len > 0 && temp[len - 1] != '/') {
        len--;
    }

    if (len > 0) {
        len--;
    }

    ngx_memzero(&path, sizeof(ngx_path_init_t));

    path.name.len = len + sizeof(NGX_HTTP_DEFENDER_CACHE_NAME) - 1;
    path.name.data = ngx_pnalloc(cf->pool, path.name.len + 1);
    if (path.name.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(path.name.data, temp, len);
    ngx_memcpy(p, NGX_HTTP_DEFENDER_CACHE_NAME,
               sizeof(NGX_HTTP_DEFENDER_CACHE_NAME));

    return ngx_conf_merge_path_value(cf, &conf->cache_path, NULL, &path)
                == NGX_CONF_OK
             ? NGX_OK
             : NGX_ERROR;
}


char *
ngx_http_defender_init_main_conf(ngx_conf_t *cf, void *data)
{
    dfd_host_conf_t *conf = data;

    static ngx_str_t agent = ngx_string(NGX_HTTP_DEFENDER_USER_AGENT);

    if (!conf->configured) {
        return NGX_CONF_OK;
    }

    ngx_conf_init_msec_value(conf->redis.timeout, 2000);
    ngx_conf_init_msec_value(conf->http.connect_timeout, 10000);
    ngx_conf_init_msec_value(conf->http.timeout, 60000);
    ngx_conf_init_uint_value(conf->page_size, 1000);
    ngx_conf_init_msec_value(conf->sync_cooldown, 60000);

    conf->http.user_agent = agent;

    if (ngx_http_defender_conf_rules(cf, conf) != NGX_OK
        || ngx_http_defender_conf_keys(cf, conf) != NGX_OK
        || ngx_http_defender_conf_redis_tls(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (conf->cache_path == NULL
        && ngx_http_defender_conf_cache_path(cf, conf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    conf->thread_pool = ngx_thread_pool_add(cf, NULL);
    if (conf->thread_pool == NULL) {
        return NGX_CONF_ERROR;
    }

    return dfd_zone_add(cf, conf, &ngx_http_defender_module);
}


static ngx_int_t
ngx_http_defender_conf_keys(ngx_conf_t *cf, dfd_host_conf_t *conf)
{
    u_char    *p;
    ngx_uint_t i;

    struct {
        ngx_str_t *key;
        ngx_str_t  name;
    } keys[] = { { &conf->keys.ip, ngx_string("ip:") },
                 { &conf->keys.ips, ngx_string("ips") },
                 { &conf->keys.devices, ngx_string("devices") },
                 { &conf->keys.meta, ngx_string("meta") },
                 { &conf->keys.stage, ngx_string("stage:") },
                 { &conf->keys.config, ngx_string("config") },
                 { &conf->keys.lease, ngx_string("lease") },
                 { &conf->keys.status, ngx_string("status") },
                 { &conf->keys.sync, ngx_string("sync") },
                 { &conf->keys.audit, ngx_string("audit") },
                 { &conf->keys.actions, ngx_string("actions") } };

    if (conf->prefix.data == NULL) {
        ngx_str_set(&conf->prefix, "defender:");
    }

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {

        p = ngx_pnalloc(cf->pool, conf->prefix.len + keys[i].name.len);
        if (p == NULL) {
            return NGX_ERROR;
        }

        keys[i].key->data = p;
        keys[i].key->len = conf->prefix.len + keys[i].name.len;

        p = ngx_cpymem(p, conf->prefix.data, conf->prefix.len);
        ngx_memcpy(p, keys[i].name.data, keys[i].name.len);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_defender_conf_read_secret(ngx_conf_t *cf, const char *directive,
                                   ngx_str_t *path, u_char *buf, size_t size,
                                   size_t *len)
{
    ssize_t         n;
    ngx_file_t      file;
    ngx_file_info_t fi;

    if (ngx_conf_full_name(cf->cycle, path, 1) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_memzero(&file, sizeof(ngx_file_t));
    file.name = *path;
    file.log = cf->log;

    file.fd = ngx_open_file(path->data, NGX_FILE_RDONLY | NGX_FILE_NONBLOCK,
                            NGX_FILE_OPEN, 0);

    if (file.fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "\"%s\" cannot open file \"%V\"", directive, path);
        return NGX_ERROR;
    }

    n = NGX_ERROR;

    if (ngx_fd_info(file.fd, &fi) == NGX_FILE_ERROR || !ngx_is_file(&fi)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" needs a regular file, \"%V\" is none",
                           directive, path);

    } else if (fi.st_mode & S_IRWXO) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" refuses file \"%V\": others may use it, "
                           "\"chmod o= \" it",
                           directive, path);

    } else if (ngx_file_size(&fi) > (off_t) size) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%s\" file \"%V\" is longer than %uz bytes",
                           directive, path, size);

    } else {
        n = ngx_read_file(&file, buf, size, 0);
    }

    if (ngx_close_file(file.fd) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_ALERT, cf->log, ngx_errno,
                      ngx_close_file_n " \"%V\" failed", path);
    }

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    *len = n;

    return NGX_OK;
}


static void
ngx_http_defender_conf_wipe_key(void *data)
{
    OPENSSL_cleanse(data, sizeof(dfd_seal_key_t));
    (void) munmap(data, sizeof(dfd_seal_key_t));
}


char *
ngx_http_defender_conf_key(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    dfd_host_conf_t *conf = data;

    int                 rc;
    void               *page;
    size_t              len;
    u_char              buf[128];
    ngx_str_t          *value;
    ngx_pool_cleanup_t *cln;

    if (conf->key != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_http_defender_conf_read_secret(cf, "defender_key", &value[1], buf,
                                           sizeof(buf), &len)
        != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_CONF_ERROR;
    }

    /* a page of its own, so that it can be kept out of core files */

    page = mmap(NULL, sizeof(dfd_seal_key_t), PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return NGX_CONF_ERROR;
    }

    (void) madvise(page, sizeof(dfd_seal_key_t), MADV_DONTDUMP);

    conf->key = page;
    cln->handler = ngx_http_defender_conf_wipe_key;
    cln->data = page;

    rc = dfd_seal_key_read(conf->key, buf, len);

    OPENSSL_cleanse(buf, sizeof(buf));

    if (rc != DFD_SEAL_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"defender_key\" file \"%V\" must hold 32 random "
                           "bytes, raw or in base64: "
                           "\"openssl rand -base64 32\" makes them",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_age(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    char *conf = data;

    time_t     seconds;
    int64_t   *age;
    ngx_str_t *value;

    age = (int64_t *) (void *) (conf + cmd->offset);

    if (*age != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;
    seconds = ngx_parse_time(&value[1], 1);

    /* a year: beyond it Defender itself knows nothing of a device */

    if (seconds == (time_t) NGX_ERROR || seconds == 0
        || seconds > 366 * 24 * 3600) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid time \"%V\" in \"%V\": a span like "
                           "\"4h\" or \"7d\", at most a year, is needed",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    *age = (int64_t) seconds * DFD_TICKS_PER_SECOND;

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_networks(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    char *conf = data;

    ngx_str_t    *value;
    ngx_uint_t    i;
    dfd_cidr_t   *cidr;
    ngx_array_t **networks;

    networks = (ngx_array_t **) (void *) (conf + cmd->offset);

    if (*networks == NULL) {
        *networks = ngx_array_create(cf->pool, 4, sizeof(dfd_cidr_t));
        if (*networks == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        cidr = ngx_array_push(*networks);
        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        if (!dfd_cidr_parse(cidr, (char *) value[i].data, value[i].len)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid network \"%V\" in \"%V\": an address "
                               "or \"address/bits\" with no bits set below "
                               "the prefix is needed",
                               &value[i], &cmd->name);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}
