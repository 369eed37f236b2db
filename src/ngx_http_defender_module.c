#include "ngx_http_defender_conf.h"

#include "agent/agent.h"
#include "core/json_wipe.h"
#include "host/cache.h"
#include "http/http.h"

#include <jansson.h>


static ngx_int_t ngx_http_defender_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_defender_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_defender_init_process(ngx_cycle_t *cycle);
static void      ngx_http_defender_exit_process(ngx_cycle_t *cycle);


/* clang-format off */

static ngx_conf_enum_t  ngx_http_defender_enrich_modes[] = {
    { ngx_string("off"), NGX_HTTP_DEFENDER_ENRICH_OFF },
    { ngx_string("on"), NGX_HTTP_DEFENDER_ENRICH_ON },
    { ngx_string("log"), NGX_HTTP_DEFENDER_ENRICH_LOG },
    { ngx_null_string, 0 }
};


static ngx_conf_num_bounds_t  ngx_http_defender_page_size_bounds = {
    ngx_conf_check_num_bounds, 1, 10000
};


#define NGX_HTTP_DEFENDER_ANY_CONF                                           \
    NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF


static ngx_command_t  ngx_http_defender_commands[] = {

    { ngx_string("defender_redis"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_redis,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_key"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_key,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_cache_path"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_path_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, cache_path),
      NULL },

    { ngx_string("defender_endpoint"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE123,
      ngx_http_defender_conf_endpoint,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_ca_certificate"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_ca,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_proxy"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_proxy,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_bind"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_bind,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_connect_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, http.connect_timeout),
      NULL },

    { ngx_string("defender_timeout"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, http.timeout),
      NULL },

    { ngx_string("defender_exact"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_age,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, lookup.rule.exact),
      NULL },

    { ngx_string("defender_ambiguous"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_age,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, lookup.rule.ambiguous),
      NULL },

    { ngx_string("defender_stale"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_age,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, lookup.rule.stale),
      NULL },

    { ngx_string("defender_exclude"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_networks,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, exclude),
      NULL },

    { ngx_string("defender_networks"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_networks,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, networks),
      NULL },

    { ngx_string("defender_page_size"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, page_size),
      &ngx_http_defender_page_size_bounds },

    { ngx_string("defender_sync_cooldown"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(dfd_host_conf_t, sync_cooldown),
      NULL },

    { ngx_string("defender_api"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_defender_conf_api,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("defender_role"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, role),
      NULL },

    { ngx_string("defender_user"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, user),
      NULL },

    { ngx_string("defender_role_from"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_role_from,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, role_from),
      NULL },

    { ngx_string("defender_enrich"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_HTTP_LIF_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, enrich),
      ngx_http_defender_enrich_modes },

    { ngx_string("defender_enrich_fields"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_names,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, fields),
      NULL },

    { ngx_string("defender_enrich_key"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_defender_conf_key_name,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, key),
      NULL },

    { ngx_string("defender_enrich_types"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_1MORE,
      ngx_http_defender_conf_types,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, types_keys),
      NULL },

    { ngx_string("defender_enrich_unmatched"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, unmatched),
      NULL },

    { ngx_string("defender_address"),
      NGX_HTTP_DEFENDER_ANY_CONF|NGX_CONF_TAKE1,
      ngx_http_set_complex_value_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_defender_loc_conf_t, address),
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_defender_module_ctx = {
    ngx_http_defender_preconfiguration,    /* preconfiguration */
    ngx_http_defender_postconfiguration,   /* postconfiguration */

    ngx_http_defender_create_main_conf,    /* create main configuration */
    ngx_http_defender_init_main_conf,      /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_defender_create_loc_conf,     /* create location configuration */
    ngx_http_defender_merge_loc_conf       /* merge location configuration */
};


ngx_module_t  ngx_http_defender_module = {
    NGX_MODULE_V1,
    &ngx_http_defender_module_ctx,         /* module context */
    ngx_http_defender_commands,            /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    ngx_http_defender_init_process,        /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_defender_exit_process,        /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};

/* clang-format on */


static ngx_int_t
ngx_http_defender_preconfiguration(ngx_conf_t *cf)
{
    return ngx_http_defender_add_variables(cf);
}


static ngx_int_t
ngx_http_defender_postconfiguration(ngx_conf_t *cf)
{
    dfd_host_conf_t           *conf;
    ngx_http_handler_pt       *handler;
    ngx_http_core_main_conf_t *cmcf;

    conf = ngx_http_conf_get_module_main_conf(cf, ngx_http_defender_module);

    if (!conf->configured) {

        if (conf->needed_by != NULL) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "\"%s\" needs \"defender_redis\" in http{}",
                          conf->needed_by);
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    handler =
        ngx_array_push(&cmcf->phases[NGX_HTTP_PRECONTENT_PHASE].handlers);
    if (handler == NULL) {
        return NGX_ERROR;
    }

    *handler = ngx_http_defender_precontent;

    return ngx_http_defender_enrich_init(cf);
}


static ngx_int_t
ngx_http_defender_init_process(ngx_cycle_t *cycle)
{
    dfd_host_conf_t *conf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_defender_module);

    if (conf == NULL || !conf->configured) {
        return NGX_OK;
    }

    /* before any object exists: later is not safe */
    dfd_json_wipe_init();
    json_object_seed(0);

    dfd_cache_init(conf, cycle->log);

    /* in the helper processes ngx_worker is 0 as well, but they left above */

    if (ngx_process == NGX_PROCESS_WORKER && ngx_worker != 0) {
        return NGX_OK;
    }

    return dfd_agent_start(conf, cycle);
}


static void
ngx_http_defender_exit_process(ngx_cycle_t *cycle)
{
    dfd_host_conf_t *conf;

    conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_defender_module);

    if (conf == NULL || !conf->configured) {
        return;
    }

    dfd_agent_stop();
    ngx_http_defender_api_exit();
    dfd_cache_exit();
}
