#ifndef DFD_HTTP_API_H
#define DFD_HTTP_API_H

#include "http/http.h"
#include "http/reply.h"
#include "http/wait.h"

#include "host/record.h"


/*
 * An endpoint of the API.  The role, the method and the type of the body were
 * checked before; body is empty where the endpoint reads none.  It answers
 * through reply.h and returns its code, or starts a wait and returns
 * NGX_DONE: then it finalizes the request itself, and only from an event.
 */
typedef ngx_int_t (*dfd_api_handler_pt)(ngx_http_request_t *r,
                                        ngx_str_t          *body);


/* api_enrich.c, api_batch.c */
ngx_int_t dfd_api_enrich_get(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_enrich_post(ngx_http_request_t *r, ngx_str_t *body);

/* api_status.c */
ngx_int_t dfd_api_status_get(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_sync_post(ngx_http_request_t *r, ngx_str_t *body);

/* Adds "warnings" to what has, or has not, a "secretExpiresAt". */
void dfd_api_warnings(json_t *json);

/* api_config.c, api_verify.c */
ngx_int_t dfd_api_egress_get(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_config_get(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_config_put(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_config_delete(ngx_http_request_t *r, ngx_str_t *body);
ngx_int_t dfd_api_verify_post(ngx_http_request_t *r, ngx_str_t *body);

/* api_audit.c */
ngx_int_t dfd_api_audit_get(ngx_http_request_t *r, ngx_str_t *body);


/* --- what the endpoints share ------------------------------------------- */

/* api.c */

/*
 * What a request would change, as the audit names it ("config.save"); NULL:
 * it is none of the API's that changes something.
 */
const char *dfd_api_action(ngx_http_request_t *r);


/* api_request.c */

/* Is the request's Content-Type, without parameters, exactly this one? */
ngx_uint_t dfd_api_is_type(ngx_http_request_t *r, const ngx_str_t *type);


/* A DELETE with neither a body nor a Content-Type, which needs none? */
ngx_uint_t dfd_api_is_bare(ngx_http_request_t *r);


/*
 * A body that says nothing: empty or an empty object.  NGX_OK; else it was
 * answered, and *answer is the code.
 */
ngx_int_t dfd_api_no_body(ngx_http_request_t *r, const ngx_str_t *body,
                          ngx_int_t *answer);


/*
 * If-Match (RFC 9110 13.1.1): a strong comparison of the list of tags with
 * the ETag of this revision.  "*" fits always, as GET answers always.
 */
ngx_uint_t dfd_api_matches(ngx_http_request_t *r, uint64_t revision);


/* Does the body come as it is, without a Content-Encoding? */
ngx_uint_t dfd_api_is_plain(ngx_http_request_t *r);


/*
 * Is this not a write that a browser sends for a page of another site?  Told
 * by Sec-Fetch-Site (W3C Fetch Metadata) and Origin (RFC 6454 7), each of
 * which may be absent: then the client is no browser of today.
 */
ngx_uint_t dfd_api_is_same_site(ngx_http_request_t *r);


/*
 * The moment that a text tells, in ticks: ISO 8601, or Unix time in seconds
 * (also with a fraction) or milliseconds.  DFD_TIME_NONE: no such text.
 */
int64_t dfd_api_time(const char *text, size_t len);


/* The same for a JSON string or number. */
int64_t dfd_api_time_json(const json_t *json);


/* api_egress.c: answers GET /egress by what is stored */
ngx_int_t dfd_api_egress_show(ngx_http_request_t *r,
                              const dfd_record_t *record);


/* api_client.c */

/* This process's Redis client, made at first use; NULL: no memory. */
dfd_redis_t *dfd_api_redis(dfd_host_conf_t *conf);


/* This process's HTTP client, made at first use; NULL: no memory. */
dfd_http_t *dfd_api_http(dfd_host_conf_t *conf);


/* how long a request waits for Redis, whatever happens */
ngx_msec_t dfd_api_redis_deadline(dfd_host_conf_t *conf);


/*
 * Sends a command whose parts are given as texts; as dfd_redis_command(), and
 * NGX_ERROR also when the client cannot be made.
 */
ngx_int_t dfd_api_redis_command(dfd_host_conf_t   *conf,
                                dfd_redis_reply_pt handler, void *data,
                                ngx_uint_t argc, const ngx_str_t *argv);


/* Asks for the stored settings, as dfd_record_read() wants them. */
ngx_int_t dfd_api_redis_record(dfd_host_conf_t   *conf,
                               dfd_redis_reply_pt handler, void *data);


/* 503: Redis gave no answer; cause NULL: what its client says. */
ngx_int_t dfd_api_cache_down(ngx_http_request_t *r, const char *cause);


/* 503: Redis answered with an error, or with what no command of ours gives. */
ngx_int_t dfd_api_cache_error(ngx_http_request_t *r, const redisReply *reply);


#endif /* DFD_HTTP_API_H */
