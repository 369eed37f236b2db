#ifndef DFD_CLIENT_HTTP_H
#define DFD_CLIENT_HTTP_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <curl/curl.h>


/*
 * libcurl's multi-socket interface on nginx's events and timers.  TLS is
 * always verified, redirects are errors, the environment's proxies are not
 * used, and a body that is larger than allowed (also when chunked or
 * compressed) ends the transfer.
 */

typedef struct {
    ngx_str_t  ca_certificate; /* file; empty: the system's */
    ngx_str_t  proxy;          /* URL; empty: direct */
    ngx_str_t  bind;           /* source address; empty: any */
    ngx_str_t  user_agent;
    ngx_msec_t connect_timeout;
    ngx_msec_t timeout; /* of the whole transfer */
} dfd_http_conf_t;      /* all texts end with a zero byte */


typedef struct dfd_http_s      dfd_http_t;
typedef struct dfd_http_call_s dfd_http_call_t;


typedef enum {
    DFD_HTTP_DONE = 0,  /* an answer came, whatever its status */
    DFD_HTTP_DNS,       /* the host's name was not found */
    DFD_HTTP_CONNECT,   /* refused, unreachable, connect timeout */
    DFD_HTTP_PROXY,     /* the proxy refused or was not found */
    DFD_HTTP_TLS,       /* certificate or handshake */
    DFD_HTTP_TIMEOUT,   /* connected, but no whole answer in time */
    DFD_HTTP_TOO_LARGE, /* body above the limit */
    DFD_HTTP_BROKEN,    /* answer broke off or was no HTTP */
    DFD_HTTP_STOPPED,   /* the body handler asked for it */
    DFD_HTTP_FAILED     /* out of memory and the like */
} dfd_http_result_t;


typedef struct {
    dfd_http_result_t result;
    long              status;       /* HTTP status, 0 when none came */
    const char       *content_type; /* NULL when none; valid in the call */
    ngx_int_t         retry_after;  /* seconds from now; -1: no header */
    const char       *body;         /* collected, NULL with a body handler */
    size_t            body_len;
    const char       *error; /* plain words when result is not DONE */
    const char       *host;  /* "host:port" that was asked */
} dfd_http_answer_t;


/*
 * Body bytes of a 200 answer as they arrive; not 0 ends the transfer.  It may
 * start and cancel calls, its own too.
 */
typedef ngx_int_t (*dfd_http_body_pt)(void *data, const char *bytes,
                                      size_t len);

/*
 * The end of a call: called exactly once from the event loop, never from
 * inside dfd_http_call().  It may start further calls.
 */
typedef void (*dfd_http_done_pt)(void *data, const dfd_http_answer_t *answer);


typedef struct {
    const char      *url;  /* copied */
    const char      *post; /* copied, wiped after; NULL: a GET */
    size_t           post_len;
    const char      *content_type; /* of the POST */
    const char      *bearer;       /* copied, wiped after; NULL: none */
    size_t           max_body;     /* decompressed bytes */
    ngx_msec_t       timeout;      /* 0: as configured */
    dfd_http_body_pt body; /* NULL: collect; other statuses always are */
    dfd_http_done_pt done;
    void            *data;
} dfd_http_request_t;


/* In init_process only: libcurl's handles must not cross a fork. */
dfd_http_t *dfd_http_create(const dfd_http_conf_t *conf, ngx_log_t *log);


/*
 * Drops all calls without calling their handlers, and closes everything.  Not
 * from inside a handler.
 */
void dfd_http_destroy(dfd_http_t *http);


/* NULL: not started (no memory, too many calls), done will not be called. */
dfd_http_call_t *dfd_http_call(dfd_http_t               *http,
                               const dfd_http_request_t *request);


/* Content-Type of the answer, for a body handler; NULL when there is none. */
const char *dfd_http_content_type(const dfd_http_call_t *call);


/* Ends a call now; its handlers are not called any more. */
void dfd_http_cancel(dfd_http_call_t *call);


#endif /* DFD_CLIENT_HTTP_H */
