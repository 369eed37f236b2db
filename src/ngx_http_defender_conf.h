#ifndef NGX_HTTP_DEFENDER_CONF_H
#define NGX_HTTP_DEFENDER_CONF_H

#include "http/conf.h"


/* what the directive table calls; ngx_http_defender_conf_*.c */

char *ngx_http_defender_conf_redis(ngx_conf_t *cf, ngx_command_t *cmd,
                                   void *conf);
char *ngx_http_defender_conf_key(ngx_conf_t *cf, ngx_command_t *cmd,
                                 void *conf);
char *ngx_http_defender_conf_endpoint(ngx_conf_t *cf, ngx_command_t *cmd,
                                      void *conf);
char *ngx_http_defender_conf_ca(ngx_conf_t *cf, ngx_command_t *cmd,
                                void *conf);
char *ngx_http_defender_conf_proxy(ngx_conf_t *cf, ngx_command_t *cmd,
                                   void *conf);
char *ngx_http_defender_conf_bind(ngx_conf_t *cf, ngx_command_t *cmd,
                                  void *conf);
char *ngx_http_defender_conf_age(ngx_conf_t *cf, ngx_command_t *cmd,
                                 void *conf);
char *ngx_http_defender_conf_networks(ngx_conf_t *cf, ngx_command_t *cmd,
                                      void *conf);

char *ngx_http_defender_conf_api(ngx_conf_t *cf, ngx_command_t *cmd,
                                 void *conf);
char *ngx_http_defender_conf_role_from(ngx_conf_t *cf, ngx_command_t *cmd,
                                       void *conf);
char *ngx_http_defender_conf_names(ngx_conf_t *cf, ngx_command_t *cmd,
                                   void *conf);
char *ngx_http_defender_conf_key_name(ngx_conf_t *cf, ngx_command_t *cmd,
                                      void *conf);
char *ngx_http_defender_conf_types(ngx_conf_t *cf, ngx_command_t *cmd,
                                   void *conf);


/* main: create and complete */
void *ngx_http_defender_create_main_conf(ngx_conf_t *cf);
char *ngx_http_defender_init_main_conf(ngx_conf_t *cf, void *conf);


/* location: create and merge */
void *ngx_http_defender_create_loc_conf(ngx_conf_t *cf);
char *ngx_http_defender_merge_loc_conf(ngx_conf_t *cf, void *parent,
                                       void *child);


/*
 * Reads a file of secrets while nginx.conf is read, as root: at most `size`
 * bytes; it must be a regular file that others may not read.  The reason is
 * logged with the directive's name.
 */
ngx_int_t ngx_http_defender_conf_read_secret(ngx_conf_t *cf,
                                             const char *directive,
                                             ngx_str_t *path, u_char *buf,
                                             size_t size, size_t *len);


#endif /* NGX_HTTP_DEFENDER_CONF_H */
