#ifndef DFD_CLIENT_REDIS_INT_H
#define DFD_CLIENT_REDIS_INT_H

#include "client/redis.h"


/*
 * The inside of the Redis client, for client/redis*.c only:
 *
 *     redis.c        commands, their order, and their deadlines
 *     redis_state.c  connecting, failing, waiting to try again
 *     redis_link.c   the connection: TCP or unix socket, bytes
 *     redis_tls.c    whether the other end is who it should be
 */

#define DFD_REDIS_CAUSE 256 /* room for a cause */
#define DFD_REDIS_NAME  64  /* room for the client's name */


typedef enum {
    DFD_REDIS_IDLE = 0, /* never connected, or nobody needs it */
    DFD_REDIS_CONNECT,  /* connect() is under way */
    DFD_REDIS_TLS,      /* handshake */
    DFD_REDIS_SETUP,    /* AUTH, SELECT, CLIENT SETNAME, PING */
    DFD_REDIS_UP,
    DFD_REDIS_WAIT /* until the retry timer */
} dfd_redis_phase_t;


/* what a command is for; all but USER are the client's own */
typedef enum {
    DFD_REDIS_USER = 0,
    DFD_REDIS_AUTH,
    DFD_REDIS_SELECT,
    DFD_REDIS_SETNAME,
    DFD_REDIS_PING
} dfd_redis_step_t;


/* why a connection ended, least telling first */
typedef enum {
    DFD_REDIS_WHY_EOF = 0, /* Redis closed it */
    DFD_REDIS_WHY_NETWORK, /* errors of the network, time-outs */
    DFD_REDIS_WHY_PEER,    /* TLS, or not the Redis protocol */
    DFD_REDIS_WHY_REDIS    /* an error reply */
} dfd_redis_why_t;


typedef struct {
    ngx_queue_t        queue;
    dfd_redis_reply_pt handler;
    void              *data;
    dfd_redis_step_t   step;
    ngx_msec_t         since; /* given to us; while it waits */
    char              *text;  /* formatted; while it waits, else NULL */
    size_t             len;
    size_t             end; /* redis->queued behind its last byte */
} dfd_redis_call_t;


typedef struct {
    u_char *start;
    size_t  size; /* of the memory */
    size_t  pos;  /* sent up to here */
    size_t  last; /* filled up to here */
} dfd_redis_output_t;


struct dfd_redis_s {
    /*
     * Timers' data: nginx's debug log reads it as an ngx_connection_t, whose
     * fourth word is fd; redis_state.c asserts the layout.
     */
    const dfd_redis_conf_t *conf;
    ngx_log_t              *log;
    ngx_connection_t       *connection;
    ngx_socket_t            fd; /* always -1 */

    dfd_redis_phase_t phase;
    ngx_uint_t        serial;    /* counts connections */
    ngx_uint_t        depth;     /* of calls that may call back */
    ngx_uint_t        destroyed; /* unsigned: freed at depth 0 */

    ngx_event_t retry;
    ngx_event_t deadline;

    ngx_uint_t first;   /* address a round starts with */
    ngx_uint_t tried;   /* addresses tried in this round */
    ngx_uint_t attempt; /* rounds failed in a row */

    ngx_queue_t sent;    /* dfd_redis_call_t, oldest first */
    ngx_queue_t waiting; /* for the connection */
    size_t      waiting_size;

    dfd_redis_output_t out;
    size_t             queued;  /* bytes ever appended to it */
    size_t             written; /* bytes ever sent from it */

    redisReader              *reader;
    redisReplyObjectFunctions functions; /* hiredis's, arrays bounded */
    void *(*create_array)(const redisReadTask *task, int elements);
    size_t received; /* bytes of the reply so far */

    ngx_msec_t since; /* the clock of what is waited for */
    size_t     moved; /* bytes since it was set */

    ngx_msec_t up_since;
    ngx_uint_t replies; /* good ones on this connection */
    ngx_uint_t refused; /* unsigned: until a good reply */

    dfd_redis_why_t why; /* of cause */
    char            cause[DFD_REDIS_CAUSE];

    char       logged[DFD_REDIS_CAUSE]; /* last "is down" */
    ngx_msec_t logged_at;
    ngx_uint_t told;     /* last line: 0, READY or DOWN */
    ngx_uint_t flapping; /* unsigned: was up for nothing */

    ngx_log_t quiet;                 /* while connecting */
    char      note[DFD_REDIS_CAUSE]; /* what it was told */

    char name[DFD_REDIS_NAME];
};


/* --- redis.c ------------------------------------------------------------- */

/* Appends one command; NGX_ERROR: no memory. */
ngx_int_t dfd_redis_push(dfd_redis_t *redis, dfd_redis_call_t *call,
                         const char *text, size_t len);


/* Formats and appends one of the client's own commands. */
ngx_int_t dfd_redis_own(dfd_redis_t *redis, dfd_redis_step_t step,
                        ngx_uint_t argc, const char **argv,
                        const size_t *argvlen);


/* Sends what waited for the connection. */
void dfd_redis_release(dfd_redis_t *redis);


/*
 * Calls back everything in the list with the cause; frees the calls.  To be
 * called last, when the client is consistent: handlers may do anything.
 */
void dfd_redis_fail(ngx_queue_t *list, const char *cause);


/* A whole reply came; it stays the caller's. */
void dfd_redis_reply(dfd_redis_t *redis, redisReply *reply);


void dfd_redis_deadline(ngx_event_t *ev);


/* Sets the clock of what is waited for, and the timer that looks at it. */
void dfd_redis_clock(dfd_redis_t *redis);


/* Bytes came, or went: the oldest command's may set the clock anew. */
void dfd_redis_came(dfd_redis_t *redis, size_t n);
void dfd_redis_went(dfd_redis_t *redis, size_t n);


/*
 * Around everything that may call handlers: a handler may destroy the client,
 * whose memory then lives until the outermost leave.
 */
void dfd_redis_enter(dfd_redis_t *redis);
void dfd_redis_leave(dfd_redis_t *redis);


/* --- redis_state.c ------------------------------------------------------- */

void dfd_redis_state_init(dfd_redis_t *redis);


/* The connection stands and is trusted: AUTH and so on. */
void dfd_redis_setup(dfd_redis_t *redis);


/* A reply to one of the client's own commands. */
void dfd_redis_setup_reply(dfd_redis_t *redis, dfd_redis_step_t step,
                           const redisReply *reply);


/*
 * Whether an error reply tells of the server's state and not of the command:
 * the connection is of no use then.
 */
ngx_uint_t dfd_redis_is_refusal(const redisReply *reply);


/* A command got a reply that is no refusal. */
void dfd_redis_served(dfd_redis_t *redis);


/* The connection is to end because of an error reply. */
void dfd_redis_refused(dfd_redis_t *redis, dfd_redis_step_t step,
                       const redisReply *reply);


/* The connection ended; cause in plain ASCII. */
void dfd_redis_lost(dfd_redis_t *redis, dfd_redis_why_t why,
                    const char *cause);


/* --- redis_link.c -------------------------------------------------------- */

/* Starts to connect; NGX_OK, or NGX_ERROR and redis->note. */
ngx_int_t dfd_redis_link_open(dfd_redis_t *redis, ngx_addr_t *addr);


/* Closes the connection and forgets what was read and not sent. */
void dfd_redis_link_close(dfd_redis_t *redis);


/* Connected and, with TLS, checked: go on to AUTH and so on. */
void dfd_redis_link_trusted(dfd_redis_t *redis, ngx_connection_t *c);


/* Appends to the output; NGX_ERROR: no memory. */
ngx_int_t dfd_redis_link_append(dfd_redis_t *redis, const char *bytes,
                                size_t len);


/* Sends soon: at the end of this round of nginx's event loop. */
void dfd_redis_link_wake(dfd_redis_t *redis);


/*
 * Sends until the socket is full.  Returns NGX_OK, NGX_AGAIN, or NGX_ERROR:
 * the connection is broken, and the caller decides.
 */
ngx_int_t dfd_redis_link_send(dfd_redis_t *redis);


/* --- redis_tls.c --------------------------------------------------------- */

/*
 * Shakes hands and checks the certificate against the CA and conf->host;
 * then dfd_redis_link_trusted or dfd_redis_lost.
 */
void dfd_redis_tls_start(dfd_redis_t *redis, ngx_connection_t *c);


/* Ends TLS without waiting for the other end, before the socket's close. */
void dfd_redis_tls_close(dfd_redis_t *redis, ngx_connection_t *c);


#endif /* DFD_CLIENT_REDIS_INT_H */
