#ifndef DFD_CLIENT_DEFENDER_PRIVATE_H
#define DFD_CLIENT_DEFENDER_PRIVATE_H

#include "client/defender_error.h"
#include "client/defender_texts.h"
#include "client/defender_token.h"


/*
 * What defender.c (the client and its calls' kinds) and defender_call.c (how
 * a call comes to its answer) share.
 */

#define DFD_DEFENDER_MAX_PATH 128


typedef enum {
    DFD_DEFENDER_WAITING = 0, /* for the token */
    DFD_DEFENDER_ASKING,      /* the API */
    DFD_DEFENDER_READY        /* its answer waits for the event */
} dfd_defender_state_t;


struct dfd_defender_s {
    dfd_http_t          *http;
    ngx_log_t           *log;
    ngx_pool_t          *pool;
    dfd_defender_texts_t texts;
    dfd_defender_token_t token;
    ngx_uint_t           serial; /* of the token, to refuse it only once */
    dfd_http_call_t     *token_call;
    ngx_queue_t          calls;
    ngx_uint_t           throttled;
    ngx_msec_t           throttled_until; /* as ngx_current_msec */
    ngx_event_t          event;
    ngx_connection_t     dummy; /* debug logs read ev->data as such */
};


struct dfd_defender_call_s {
    ngx_queue_t           queue;
    dfd_defender_t       *defender;
    dfd_http_call_t      *http;
    dfd_defender_state_t  state;
    char                  path[DFD_DEFENDER_MAX_PATH]; /* "": sign-in only */
    const char           *post; /* JSON, static; NULL: a GET */
    const char           *role; /* the permission that the call needs */
    dfd_http_body_pt      body;
    dfd_defender_done_pt  done;
    void                 *data;
    ngx_uint_t            serial; /* of the token that was sent */
    dfd_defender_answer_t answer;
    unsigned              again : 1;    /* after a 401, with a new token */
    unsigned              not_json : 1; /* its body was not handed up */
    unsigned              finished : 1; /* its done handler is running */
};


/* defender_call.c: a new call in the client's list; NULL: no memory */
dfd_defender_call_t *dfd_defender_call_create(dfd_defender_t      *defender,
                                              dfd_http_body_pt     body,
                                              dfd_defender_done_pt done,
                                              void                *data);


/* defender_call.c: gets a token first if need be; never answers at once */
void dfd_defender_call_start(dfd_defender_call_t *call);


/* defender_rate.c: one more call to the API */
void dfd_defender_rate_count(void);


/* defender_call.c: handler of the client's event, hands out ready answers */
void dfd_defender_call_event(ngx_event_t *ev);


#endif /* DFD_CLIENT_DEFENDER_PRIVATE_H */
