#ifndef DFD_HTTP_REPLY_H
#define DFD_HTTP_REPLY_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include <jansson.h>


/*
 * Answers of the API: all carry Cache-Control: no-store.  Each function sends
 * the whole answer and returns what ngx_http_finalize_request() wants.
 */


/* the media types of the answers */
extern ngx_str_t dfd_reply_type_json;
extern ngx_str_t dfd_reply_type_ndjson;


/*
 * Sets status, type and the common headers for an answer that is sent by the
 * caller; len -1: not known.  NGX_OK, or NGX_ERROR when out of memory.
 */
ngx_int_t dfd_reply_header(ngx_http_request_t *r, ngx_uint_t status,
                           ngx_str_t *type, off_t len);


/* Bytes in r->pool or static, none of them when len is 0. */
ngx_int_t dfd_reply_bytes(ngx_http_request_t *r, ngx_uint_t status,
                          ngx_str_t *type, u_char *bytes, size_t len);


/* Takes the reference to json over; NULL (no memory) is answered with 500. */
ngx_int_t dfd_reply_json(ngx_http_request_t *r, ngx_uint_t status,
                         json_t *json);


/*
 * RFC 9457.  code is stable, for programs; detail is for people; field (may
 * be NULL) names the member or argument that is wrong; more (may be NULL) has
 * further members, and its reference is taken over.
 */
ngx_int_t dfd_reply_problem(ngx_http_request_t *r, ngx_uint_t status,
                            const char *code, const char *field,
                            const char *detail, json_t *more);


/*
 * Adds a header to the answer to be sent.  name is a static text, value is
 * copied and has no line end in it.  NGX_OK or NGX_ERROR.
 */
ngx_int_t dfd_reply_add(ngx_http_request_t *r, const char *name,
                        const char *value);


/* ETag: "revision", which nginx compares for GET */
ngx_int_t dfd_reply_etag(ngx_http_request_t *r, uint64_t revision);


#endif /* DFD_HTTP_REPLY_H */
