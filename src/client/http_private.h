#ifndef DFD_CLIENT_HTTP_PRIVATE_H
#define DFD_CLIENT_HTTP_PRIVATE_H

#include "client/http.h"


/* What http.c (libcurl on nginx's loop) and http_call.c share. */

#define DFD_HTTP_MAX_HOST  320 /* a DNS name (RFC 1035: 255), ":", a port */
#define DFD_HTTP_MAX_ERROR 512
#define DFD_HTTP_NOT_OK    300 /* from this status on there is no result */


struct dfd_http_s {
    CURLM           *multi; /* NULL: to be made anew by the next call */
    ngx_pool_t      *pool;
    ngx_log_t       *log;
    dfd_http_conf_t  conf;
    char             proxy_host[DFD_HTTP_MAX_HOST];
    ngx_queue_t      calls;
    ngx_uint_t       ncalls;
    ngx_event_t      timer;      /* libcurl's one timer */
    ngx_event_t      pulse;      /* while calls are connecting */
    ngx_event_t      kick;       /* does what a body handler asked for */
    ngx_connection_t dummy;      /* debug logs read ev->data as a connection */
    unsigned         inside : 1; /* in a body handler: libcurl is busy */
    unsigned         closed : 1; /* the worker gives up its connections */
    unsigned         stale : 1;  /* a kept connection may be dead */
};


struct dfd_http_call_s {
    ngx_queue_t        queue;
    dfd_http_t        *http;
    CURL              *easy;
    struct curl_slist *headers;
    char              *post;
    size_t             post_len;
    char              *body;
    size_t             body_len;
    size_t             body_size;
    size_t             received;
    size_t             max_body;
    dfd_http_body_pt   handler;
    dfd_http_done_pt   done;
    void              *data;
    char               host[DFD_HTTP_MAX_HOST];
    char               error[DFD_HTTP_MAX_ERROR];
    char               detail[CURL_ERROR_SIZE];
    unsigned           added : 1;     /* libcurl has it */
    unsigned           cancelled : 1; /* by a body handler, waits for kick */
    unsigned           finished : 1;  /* its done handler is running */
    unsigned           sent : 1;      /* connected, request being written */
    unsigned           retried : 1;
    unsigned           stopped : 1;
    unsigned           too_large : 1;
    unsigned           no_memory : 1;
};


/* http.c: the multi handle, made when there is none; NULL: no memory */
CURLM *dfd_http_multi(dfd_http_t *http);


/*
 * http.c: throws away libcurl's kept connections, one of which may be dead.
 * Only while there is no call.
 */
void dfd_http_renew(dfd_http_t *http);


/*
 * http_socket.c: wraps a descriptor of libcurl, which keeps and closes it, in
 * a connection.  NULL: worker_connections are used up.
 */
ngx_connection_t *dfd_http_socket_attach(dfd_http_t *http, curl_socket_t fd,
                                         ngx_event_handler_pt handler);


/* http_socket.c: waits for reading, writing, both or nothing */
ngx_int_t dfd_http_socket_want(ngx_connection_t *c, ngx_uint_t r,
                               ngx_uint_t w);


/* http_socket.c: gives the descriptor back, open */
void dfd_http_socket_detach(ngx_connection_t *c);


/* http.c: looks after calls that connect, from now on */
void dfd_http_pulse(dfd_http_t *http);


/* http.c: "host:port" of a URL, without user, path or query */
ngx_int_t dfd_http_host(const char *url, char *host, size_t size);


/*
 * http_easy.c: makes the call's easy handle with all its options, and takes
 * the body's bytes from it.  The call frees what was made, also on an error.
 */
ngx_int_t dfd_http_easy_create(dfd_http_call_t          *call,
                               const dfd_http_request_t *request);


/* http_call.c: hands a new call to libcurl */
ngx_int_t dfd_http_call_start(dfd_http_call_t *call);


/* http_call.c: takes the end of a transfer; its done handler may run */
void dfd_http_call_complete(dfd_http_call_t *call, CURLcode code);


/* http_call.c: ends a call as DFD_HTTP_FAILED; its done handler runs */
void dfd_http_call_fail(dfd_http_call_t *call, const char *why);


/* http_call.c: takes the call out of everything and frees it, silently */
void dfd_http_call_drop(dfd_http_call_t *call);


#endif /* DFD_CLIENT_HTTP_PRIVATE_H */
