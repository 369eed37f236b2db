#include "http/api.h"

#include "host/record.h"


#define DFD_API_MAX_ARGS    32
#define DFD_API_RETRY_AFTER "5" /* seconds, when Redis is down */
#define DFD_API_MAX_CAUSE   160


/* of this process; request workers need them for admin work only */
static dfd_redis_t *dfd_api_redis_client;
static dfd_http_t  *dfd_api_http_client;


dfd_redis_t *
dfd_api_redis(dfd_host_conf_t *conf)
{
    if (dfd_api_redis_client == NULL) {
        dfd_api_redis_client =
            dfd_redis_create(&conf->redis, "defender-api", ngx_cycle->log);
    }

    return dfd_api_redis_client;
}


dfd_http_t *
dfd_api_http(dfd_host_conf_t *conf)
{
    if (dfd_api_http_client == NULL) {
        dfd_api_http_client = dfd_http_create(&conf->http, ngx_cycle->log);
    }

    return dfd_api_http_client;
}


void
ngx_http_defender_api_exit(void)
{
    dfd_http_t  *http;
    dfd_redis_t *redis;

    /* handlers are called in here, and must not find what is being ended */

    redis = dfd_api_redis_client;
    dfd_api_redis_client = NULL;

    if (redis != NULL) {
        dfd_redis_destroy(redis);
    }

    http = dfd_api_http_client;
    dfd_api_http_client = NULL;

    if (http != NULL) {
        dfd_http_destroy(http);
    }
}


ngx_msec_t
dfd_api_redis_deadline(dfd_host_conf_t *conf)
{
    /* connect, two commands, and a lost race with its repetition */

    return conf->redis.timeout * 4 + 1000;
}


ngx_int_t
dfd_api_redis_command(dfd_host_conf_t *conf, dfd_redis_reply_pt handler,
                      void *data, ngx_uint_t argc, const ngx_str_t *argv)
{
    size_t       lens[DFD_API_MAX_ARGS];
    ngx_uint_t   i;
    const char  *args[DFD_API_MAX_ARGS];
    dfd_redis_t *redis;

    redis = dfd_api_redis(conf);

    if (redis == NULL || argc > DFD_API_MAX_ARGS) {
        return NGX_ERROR;
    }

    for (i = 0; i < argc; i++) {
        args[i] = (char *) argv[i].data;
        lens[i] = argv[i].len;
    }

    return dfd_redis_command(redis, handler, data, argc, args, lens);
}


ngx_int_t
dfd_api_redis_record(dfd_host_conf_t *conf, dfd_redis_reply_pt handler,
                     void *data)
{
    ngx_str_t  argv[2 + DFD_RECORD_FIELDS];
    ngx_uint_t i;

    ngx_str_set(&argv[0], "HMGET");
    argv[1] = conf->keys.config;

    for (i = 0; i < DFD_RECORD_FIELDS; i++) {
        argv[2 + i].data = (u_char *) dfd_record_fields[i];
        argv[2 + i].len = ngx_strlen(dfd_record_fields[i]);
    }

    return dfd_api_redis_command(conf, handler, data, 2 + DFD_RECORD_FIELDS,
                                 argv);
}


ngx_int_t
dfd_api_cache_down(ngx_http_request_t *r, const char *cause)
{
    u_char detail[DFD_API_MAX_CAUSE + 64];

    if (cause == NULL && dfd_api_redis_client != NULL) {
        (void) dfd_redis_state(dfd_api_redis_client, &cause);
    }

    if (cause == NULL || *cause == '\0') {
        cause = "no connection";
    }

    *ngx_snprintf(detail, sizeof(detail) - 1, "Redis does not answer: %s",
                  cause) = '\0';

    if (dfd_reply_add(r, "Retry-After", DFD_API_RETRY_AFTER) != NGX_OK) {
        return NGX_ERROR;
    }

    return dfd_reply_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "cache_down",
                             NULL, (char *) detail, NULL);
}


ngx_int_t
dfd_api_cache_error(ngx_http_request_t *r, const redisReply *reply)
{
    size_t len;
    u_char detail[DFD_API_MAX_CAUSE + 64];

    static u_char unexpected[] = "an unexpected kind of answer";

    len = sizeof(unexpected) - 1;

    if (reply->type == REDIS_REPLY_ERROR) {
        len = ngx_min((size_t) reply->len, DFD_API_MAX_CAUSE);
    }

    *ngx_snprintf(detail, sizeof(detail) - 1, "Redis answered: %*s", len,
                  reply->type == REDIS_REPLY_ERROR ? (u_char *) reply->str
                                                   : unexpected) = '\0';

    if (dfd_reply_add(r, "Retry-After", DFD_API_RETRY_AFTER) != NGX_OK) {
        return NGX_ERROR;
    }

    return dfd_reply_problem(r, NGX_HTTP_SERVICE_UNAVAILABLE, "cache_error",
                             NULL, (char *) detail, NULL);
}
