#ifndef DFD_HTTP_CONF_H
#define DFD_HTTP_CONF_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "core/splice.h"
#include "host/conf.h"


#define NGX_HTTP_DEFENDER_ENRICH_OFF 0
#define NGX_HTTP_DEFENDER_ENRICH_ON  1
#define NGX_HTTP_DEFENDER_ENRICH_LOG 2


/* what a location says */

typedef struct {
    ngx_flag_t api; /* defender_api */

    ngx_http_complex_value_t *role; /* NULL: not set */
    ngx_http_complex_value_t *user;
    ngx_array_t              *role_from;   /* ngx_cidr_t; NULL: not set */
    ngx_str_t                 role_header; /* "x_role" when the role reads
                                              $http_x_role, else empty */

    ngx_uint_t         enrich; /* NGX_HTTP_DEFENDER_ENRICH_* */
    dfd_splice_plan_t *plan;   /* key and fields, merged */
    ngx_str_t          key;
    ngx_array_t       *fields; /* ngx_str_t; NULL: every one */
    ngx_flag_t         unmatched;

    ngx_hash_t   types; /* defender_enrich_types */
    ngx_array_t *types_keys;
    ngx_uint_t   types_default; /* unsigned: also any +json */

    ngx_http_complex_value_t *address; /* NULL: $remote_addr */
} ngx_http_defender_loc_conf_t;


extern ngx_module_t ngx_http_defender_module;


/* the host's configuration is the module's main configuration */
#define ngx_http_defender_host_conf(r)                                        \
    ((dfd_host_conf_t *) ngx_http_get_module_main_conf(                       \
        r, ngx_http_defender_module))


/*
 * The request's context.  The filter owns it; the variables read it.  Small,
 * as every enriched response has one; the splicer's memory is allocated with
 * it when the response will be enriched.
 */
typedef struct ngx_http_defender_ctx_s ngx_http_defender_ctx_t;


#endif /* DFD_HTTP_CONF_H */
