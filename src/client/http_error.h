#ifndef DFD_CLIENT_HTTP_ERROR_H
#define DFD_CLIENT_HTTP_ERROR_H

#include "client/http.h"


/*
 * libcurl's result codes as a dfd_http_result_t and a sentence that names
 * the host, or the proxy, and the directive that helps.
 */

typedef struct {
    CURLcode    code;
    CURL       *easy;      /* for times and system error numbers */
    const char *host;      /* "host:port" that was asked */
    const char *proxy;     /* "host:port" of the proxy, "" for none */
    ngx_uint_t  proxy_tls; /* the proxy itself is asked over TLS */
    const char *bind;      /* source address, "" for none */
    const char *detail;    /* libcurl's own text, may be "" */
    ngx_uint_t  sent;      /* not 0: the request was about to be written */
} dfd_http_error_t;


/*
 * Writes the sentence into text (always zero-terminated) and returns the
 * result.  For a transfer that failed on libcurl's side only: limits that
 * are counted by our own callbacks are the caller's to tell.
 */
dfd_http_result_t dfd_http_error_explain(const dfd_http_error_t *error,
                                         char *text, size_t size);


#endif /* DFD_CLIENT_HTTP_ERROR_H */
