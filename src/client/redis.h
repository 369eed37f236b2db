#ifndef DFD_CLIENT_REDIS_H
#define DFD_CLIENT_REDIS_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>

#include <hiredis/hiredis.h>


/*
 * A Redis connection on nginx's event loop: nginx connects, reads, writes
 * and does TLS, hiredis formats commands and parses replies.  Commands are
 * pipelined in order; a command that gets no reply in time closes the
 * connection, and the next connection is made with growing, jittered pauses.
 */

typedef struct {
    ngx_str_t   url;   /* as configured, for messages: has no password */
    ngx_addr_t *addrs; /* resolved while nginx.conf was read */
    ngx_uint_t  naddrs;
    ngx_str_t   host;     /* for certificate check and SNI */
    ngx_str_t   user;     /* empty: password-only AUTH */
    ngx_str_t   password; /* from password_file; empty: no AUTH */
    ngx_uint_t  db;
    ngx_msec_t  timeout; /* connect, and each command's reply */
    ngx_ssl_t  *ssl;     /* rediss://, else NULL */
} dfd_redis_conf_t;


typedef enum {
    DFD_REDIS_CONNECTING = 0,
    DFD_REDIS_READY,
    DFD_REDIS_DOWN
} dfd_redis_state_t;


typedef struct dfd_redis_s dfd_redis_t;


/*
 * Called exactly once for each command that was accepted, never from inside
 * the call that sends it.  reply is the client's and freed after the call;
 * NULL when there is none (connection lost, timeout, shutdown), then cause
 * tells why.  An error reply of Redis is a reply (REDIS_REPLY_ERROR).  The
 * handler may send further commands and may destroy the client.
 */
typedef void (*dfd_redis_reply_pt)(void *data, redisReply *reply,
                                   const char *cause);


/*
 * Makes a client; it connects at the first command (or dfd_redis_connect).
 * conf must outlive it.  name is told to Redis (CLIENT SETNAME).
 * NULL: no memory.
 */
dfd_redis_t *dfd_redis_create(const dfd_redis_conf_t *conf, const char *name,
                              ngx_log_t *log);


/* Starts connecting, if it is neither connected nor waiting to reconnect. */
void dfd_redis_connect(dfd_redis_t *redis);


/* Closes the connection; pending handlers are called with "shutting down". */
void dfd_redis_destroy(dfd_redis_t *redis);


/*
 * Sends one command, binary-safe.  While the connection is being made the
 * command waits for it, within the timeout.  Returns NGX_OK: the handler will
 * be called; NGX_BUSY: Redis is down (waiting to reconnect) or the output
 * buffer (DFD_REDIS_MAX_OUTPUT) is full; NGX_ERROR: no memory.  handler NULL:
 * the reply is thrown away.
 */
#define DFD_REDIS_MAX_OUTPUT (32 * 1024 * 1024)

ngx_int_t dfd_redis_command(dfd_redis_t *redis, dfd_redis_reply_pt handler,
                            void *data, ngx_uint_t argc, const char **argv,
                            const size_t *argvlen);


/* bytes that wait to be written: for pacing bulk writes */
size_t dfd_redis_pending(const dfd_redis_t *redis);


/*
 * READY, CONNECTING, or DOWN; cause gets a plain ASCII text with Redis's own
 * word in it ("READONLY ...", "NOAUTH ...", "LOADING ...", "connection
 * refused"), never a password, and "" when there is nothing to tell.  It stays
 * valid until the next state change.  What failed is DOWN until it is ready
 * again, also while it is tried anew; after a refused command (READONLY,
 * MOVED, ...) until another one was served, because a replica answers PING
 * too.  So DOWN does not mean that a command would not be taken.
 */
dfd_redis_state_t dfd_redis_state(const dfd_redis_t *redis,
                                  const char       **cause);


/*
 * Sends what is queued without waiting for anything, for the last words of an
 * exiting process (the lease's release); then destroy.
 */
void dfd_redis_flush(dfd_redis_t *redis);


#endif /* DFD_CLIENT_REDIS_H */
