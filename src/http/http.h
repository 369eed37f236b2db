#ifndef DFD_HTTP_HTTP_H
#define DFD_HTTP_HTTP_H

#include "http/conf.h"


/* what the front door wires in */


/* http/enrich_filter.c: puts itself into the filter chains */
ngx_int_t ngx_http_defender_enrich_init(ngx_conf_t *cf);


/*
 * http/enrich_filter.c: PRECONTENT phase handler that asks the upstream for
 * an identity encoding in enriched locations; always declines.
 */
ngx_int_t ngx_http_defender_precontent(ngx_http_request_t *r);


/* http/variables.c: adds the $defender_... variables, in preconfiguration */
ngx_int_t ngx_http_defender_add_variables(ngx_conf_t *cf);


/*
 * http/enrich_filter.c: text of $defender_enrich_status for this response
 * ("enriched=3 none=2", "malformed at 812", "skipped=type"); empty when the
 * location does not enrich.
 */
ngx_int_t ngx_http_defender_enrich_status(ngx_http_request_t *r,
                                          ngx_str_t          *text);


/* http/api.c: content handler of a defender_api location */
ngx_int_t ngx_http_defender_api_handler(ngx_http_request_t *r);


/* http/api.c: per-process clients of the API, made at first use; exit_process */
void ngx_http_defender_api_exit(void);


/* http/role.c */

typedef enum {
    DFD_ROLE_NONE = 0,
    DFD_ROLE_VIEWER,
    DFD_ROLE_ANALYST,
    DFD_ROLE_ADMIN
} dfd_role_t;


/*
 * The role of this request in this location: exactly "admin", "analyst" or
 * "viewer", nothing trimmed; empty, repeated, a list or anything else is
 * DFD_ROLE_NONE.  A role that reads a request header counts only from a peer
 * inside defender_role_from, by the connection's true address, and only when
 * the header came once and has no underscore twin.
 */
dfd_role_t ngx_http_defender_role(ngx_http_request_t           *r,
                                  ngx_http_defender_loc_conf_t *lcf);


/* the acting person for audit and comments; empty when not configured */
ngx_int_t ngx_http_defender_user(ngx_http_request_t           *r,
                                 ngx_http_defender_loc_conf_t *lcf,
                                 ngx_str_t                    *user);


#endif /* DFD_HTTP_HTTP_H */
