#include "client/redis_int.h"

#include <ngx_event_connect.h>


#define DFD_REDIS_READ      16384
#define DFD_REDIS_FAIR      (256 * 1024) /* bytes read before others' turn */
#define DFD_REDIS_OUT_MIN   4096
#define DFD_REDIS_OUT_KEEP  (64 * 1024) /* more is freed when all is sent */
#define DFD_REDIS_MAX_REPLY (256 * 1024 * 1024)
#define DFD_REDIS_MAX_ARRAY (4 * 1024 * 1024) /* elements */


static void dfd_redis_link_read(ngx_event_t *rev);
static void dfd_redis_link_write(ngx_event_t *wev);


/*
 * nginx tells why connect() or a handshake failed only to its log, at [crit]
 * for some causes and again with each attempt.  So the connection's log is
 * redirected to here until it stands, and the reason becomes the cause:
 * "connect() to ... failed (111: Connection refused)" or
 * "... failed (SSL: error:0A00010B:SSL routines::wrong version number)".
 */
static void
dfd_redis_link_note(ngx_log_t *log, ngx_uint_t level, u_char *buf, size_t len)
{
    char         text[NGX_MAX_ERROR_STR], *reason, *p;
    dfd_redis_t *redis;

    redis = log->wdata;

    ngx_cpystrn((u_char *) text, buf, ngx_min(len + 1, sizeof(text)));
    text[strcspn(text, CRLF)] = '\0';

    /* behind "time [level] pid#tid: " */
    p = ngx_strstr(text, "#");
    p = (p == NULL) ? NULL : ngx_strstr(p, ": ");
    reason = (p == NULL) ? text : p + 2;

    if (level <= NGX_LOG_ALERT) {
        ngx_log_error(level, redis->log, 0, "%s", reason);
    }

    p = strrchr(reason, '(');

    if (p != NULL && ngx_strncmp(p, "(SSL:", 5) == 0) {
        p = ngx_strstr(p, "::");

    } else if (p != NULL) {
        p = ngx_strstr(p, ": ");
    }

    if (p != NULL) {
        reason = p + 2;
        reason[strcspn(reason, ":)")] = '\0';
    }

    ngx_cpystrn((u_char *) redis->note, (u_char *) reason, DFD_REDIS_CAUSE);

    /* strerror()'s texts begin with a capital letter */
    redis->note[0] = (char) ngx_tolower(redis->note[0]);
}


static void
dfd_redis_link_quiet(dfd_redis_t *redis)
{
    redis->quiet = *redis->log;
    redis->quiet.log_level = NGX_LOG_INFO;
    redis->quiet.writer = dfd_redis_link_note;
    redis->quiet.wdata = redis;
    redis->quiet.handler = NULL;
    redis->quiet.next = NULL;

    ngx_cpystrn((u_char *) redis->note, (u_char *) "connection failed",
                DFD_REDIS_CAUSE);
}


static void
dfd_redis_link_log(ngx_connection_t *c, ngx_log_t *log)
{
    c->log = log;
    c->read->log = log;
    c->write->log = log;

    if (c->pool != NULL) {
        c->pool->log = log;
    }
}


/*
 * hiredis allocates what an array's header announces: with a garbled header
 * that is gigabytes, and freeing them takes seconds.
 */
static void *
dfd_redis_link_array(const redisReadTask *task, int elements)
{
    dfd_redis_t *redis;

    if (elements > DFD_REDIS_MAX_ARRAY) {
        return NULL;
    }

    redis = task->privdata;

    return redis->create_array(task, elements);
}


static redisReader *
dfd_redis_link_reader(dfd_redis_t *redis)
{
    redisReader *reader;

    reader = redisReaderCreate();
    if (reader == NULL) {
        return NULL;
    }

    redis->functions = *reader->fn;
    redis->create_array = reader->fn->createArray;
    redis->functions.createArray = dfd_redis_link_array;

    reader->fn = &redis->functions;
    reader->privdata = redis;

    return reader;
}


ngx_int_t
dfd_redis_link_open(dfd_redis_t *redis, ngx_addr_t *addr)
{
    ngx_int_t             rc;
    ngx_connection_t     *c;
    ngx_peer_connection_t peer;

    dfd_redis_link_quiet(redis);

    redis->received = 0;
    redis->reader = dfd_redis_link_reader(redis);
    if (redis->reader == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(&peer, sizeof(peer));

    peer.sockaddr = addr->sockaddr;
    peer.socklen = addr->socklen;
    peer.name = &addr->name;
    peer.get = ngx_event_get_peer;
    peer.log = &redis->quiet;
    peer.log_error = NGX_ERROR_INFO;
    peer.so_keepalive = (addr->sockaddr->sa_family != AF_UNIX);

    rc = ngx_event_connect_peer(&peer);

    if (rc != NGX_OK && rc != NGX_AGAIN) {
        goto failed;
    }

    c = peer.connection;

    c->data = redis;
    c->read->handler = dfd_redis_link_read;
    c->write->handler = dfd_redis_link_write;

    redis->connection = c;

    if (redis->conf->ssl != NULL) {
        c->pool = ngx_create_pool(256, &redis->quiet);
        if (c->pool == NULL) {
            goto failed;
        }
    }

    dfd_redis_link_log(c, &redis->quiet);

    /* connected at once: go on from the event loop, as in the other case */
    if (rc == NGX_OK) {
        ngx_post_event(c->write, &ngx_posted_events);
    }

    return NGX_OK;

failed:

    dfd_redis_link_close(redis);

    return NGX_ERROR;
}


static void
dfd_redis_link_free_output(dfd_redis_t *redis)
{
    if (redis->out.start != NULL) {

        /* may still hold AUTH */
        if (redis->phase != DFD_REDIS_UP) {
            ngx_explicit_memzero(redis->out.start, redis->out.last);
        }

        ngx_free(redis->out.start);
    }

    ngx_memzero(&redis->out, sizeof(dfd_redis_output_t));
}


void
dfd_redis_link_close(dfd_redis_t *redis)
{
    ngx_pool_t       *pool;
    ngx_connection_t *c;

    c = redis->connection;
    redis->connection = NULL;
    redis->serial++;

    if (redis->reader != NULL) {
        redisReaderFree(redis->reader);
        redis->reader = NULL;
    }

    if (c != NULL) {
        dfd_redis_link_log(c, redis->log);

        if (c->ssl != NULL) {
            /* nobody waits here: no half shutdown may stay behind */
            c->error =
                (redis->out.pos != redis->out.last || c->write->ready == 0);
            c->ssl->no_wait_shutdown = 1;
            (void) ngx_ssl_shutdown(c);
        }

        pool = c->pool;
        ngx_close_connection(c);

        if (pool != NULL) {
            ngx_destroy_pool(pool);
        }
    }

    dfd_redis_link_free_output(redis);

    redis->received = 0;
    redis->queued = 0;
    redis->written = 0;
}


static ngx_int_t
dfd_redis_link_errno(ngx_connection_t *c, char cause[DFD_REDIS_CAUSE])
{
    int       err;
    u_char   *p;
    socklen_t len;

    err = 0;
    len = sizeof(int);

    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, (void *) &err, &len) == -1) {
        err = ngx_socket_errno;
    }

    if (err == 0) {
        return NGX_OK;
    }

    p = ngx_strerror(err, (u_char *) cause, DFD_REDIS_CAUSE - 1);
    *p = '\0';
    cause[0] = (char) ngx_tolower(cause[0]);

    return NGX_ERROR;
}


void
dfd_redis_link_trusted(dfd_redis_t *redis, ngx_connection_t *c)
{
    dfd_redis_link_log(c, redis->log);

    c->read->handler = dfd_redis_link_read;
    c->write->handler = dfd_redis_link_write;

    /* what came before, or is decrypted already, makes no event any more */
    if (c->read->ready) {
        ngx_post_event(c->read, &ngx_posted_events);
    }

    dfd_redis_setup(redis);
}


static void
dfd_redis_link_connected(dfd_redis_t *redis, ngx_connection_t *c)
{
    char cause[DFD_REDIS_CAUSE];

    if (dfd_redis_link_errno(c, cause) != NGX_OK) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, cause);
        return;
    }

    /* commands are small and somebody waits for each */
    if (c->tcp_nodelay == NGX_TCP_NODELAY_UNSET) {
        (void) ngx_tcp_nodelay(c);
    }

    if (redis->conf->ssl != NULL) {
        dfd_redis_tls_start(redis, c);
        return;
    }

    dfd_redis_link_trusted(redis, c);
}


ngx_int_t
dfd_redis_link_append(dfd_redis_t *redis, const char *bytes, size_t len)
{
    size_t              size, used;
    u_char             *start;
    dfd_redis_output_t *out;

    out = &redis->out;
    used = out->last - out->pos;

    if (len > out->size - out->last) {

        if (out->size - used >= len && out->pos >= used) {
            /* moving costs less than what was sent since the last time */
            ngx_memmove(out->start, out->start + out->pos, used);

        } else {
            size = ngx_max(out->size * 2, DFD_REDIS_OUT_MIN);
            size = ngx_max(size, used + len);

            start = ngx_alloc(size, redis->log);
            if (start == NULL) {
                return NGX_ERROR;
            }

            if (used != 0) {
                ngx_memcpy(start, out->start + out->pos, used);
            }

            dfd_redis_link_free_output(redis);
            out->start = start;
            out->size = size;
        }

        out->pos = 0;
        out->last = used;
    }

    ngx_memcpy(out->start + out->last, bytes, len);
    out->last += len;

    return NGX_OK;
}


void
dfd_redis_link_wake(dfd_redis_t *redis)
{
    /* a full socket has an event coming */
    if (redis->connection->write->ready) {
        ngx_post_event(redis->connection->write, &ngx_posted_events);
    }
}


ngx_int_t
dfd_redis_link_send(dfd_redis_t *redis)
{
    ssize_t             n;
    ngx_connection_t   *c;
    dfd_redis_output_t *out;

    c = redis->connection;
    out = &redis->out;

    while (out->pos < out->last) {
        n = c->send(c, out->start + out->pos, out->last - out->pos);

        if (n == NGX_ERROR) {
            return NGX_ERROR;
        }

        if (n <= 0) {
            return ngx_handle_write_event(c->write, 0) == NGX_OK ? NGX_AGAIN
                                                                 : NGX_ERROR;
        }

        out->pos += n;
        dfd_redis_went(redis, n);
    }

    if (redis->phase != DFD_REDIS_UP || out->size > DFD_REDIS_OUT_KEEP) {
        dfd_redis_link_free_output(redis);

    } else {
        out->pos = 0;
        out->last = 0;
    }

    return NGX_OK;
}


/* Returns NGX_OK, or NGX_DONE: the connection is not that one any more. */
static ngx_int_t
dfd_redis_link_replies(dfd_redis_t *redis)
{
    int          rc;
    char         cause[DFD_REDIS_CAUSE];
    void        *reply;
    ngx_uint_t   serial;
    redisReader *reader;

    serial = redis->serial;

    for (;;) {
        reader = redis->reader;
        rc = redisReaderGetReply(reader, &reply);

        if (rc != REDIS_OK) {
            ngx_snprintf((u_char *) cause, sizeof(cause),
                         "unreadable reply: %s%Z", reader->errstr);
            cause[sizeof(cause) - 1] = '\0';
            dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, cause);
            return NGX_DONE;
        }

        if (reply == NULL) {
            break;
        }

        redis->received = reader->len - reader->pos;

        dfd_redis_reply(redis, reply);
        freeReplyObject(reply);

        if (redis->serial != serial) {
            return NGX_DONE;
        }
    }

    if (redis->received > DFD_REDIS_MAX_REPLY) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, "a reply is too large");
        return NGX_DONE;
    }

    return NGX_OK;
}


static void
dfd_redis_link_receive(dfd_redis_t *redis, ngx_connection_t *c)
{
    size_t  total;
    ssize_t n;

    /* copied by hiredis before anything else runs */
    static u_char buffer[DFD_REDIS_READ];

    total = 0;

    for (;;) {
        n = c->recv(c, buffer, sizeof(buffer));

        if (n == NGX_AGAIN) {
            break;
        }

        if (n == NGX_ERROR || n == 0) {
            dfd_redis_lost(redis, DFD_REDIS_WHY_EOF,
                           "connection closed by Redis");
            return;
        }

        if (redisReaderFeed(redis->reader, (char *) buffer, n) != REDIS_OK) {
            dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, "no memory");
            return;
        }

        redis->received += n;
        total += n;
        dfd_redis_came(redis, n);

        if (dfd_redis_link_replies(redis) != NGX_OK) {
            return;
        }

        if (total >= DFD_REDIS_FAIR) {
            ngx_post_event(c->read, &ngx_posted_next_events);
            return;
        }
    }

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, "no memory");
    }
}


static void
dfd_redis_link_write(ngx_event_t *wev)
{
    ngx_uint_t        serial;
    dfd_redis_t      *redis;
    ngx_connection_t *c;

    c = wev->data;
    redis = c->data;

    dfd_redis_enter(redis);

    if (redis->phase == DFD_REDIS_CONNECT) {
        dfd_redis_link_connected(redis, c);

    } else if (dfd_redis_link_send(redis) == NGX_ERROR) {
        /* the reason that Redis gave may wait to be read */
        serial = redis->serial;
        dfd_redis_link_receive(redis, c);

        if (redis->serial == serial) {
            dfd_redis_lost(redis, DFD_REDIS_WHY_EOF,
                           "connection closed by Redis");
        }
    }

    dfd_redis_leave(redis);
}


static void
dfd_redis_link_read(ngx_event_t *rev)
{
    char              cause[DFD_REDIS_CAUSE];
    dfd_redis_t      *redis;
    ngx_connection_t *c;

    c = rev->data;
    redis = c->data;

    dfd_redis_enter(redis);

    if (c->close) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_EOF, "shutting down");

    } else if (redis->phase != DFD_REDIS_CONNECT) {
        dfd_redis_link_receive(redis, c);

    } else if (dfd_redis_link_errno(c, cause) != NGX_OK) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, cause);
    }

    dfd_redis_leave(redis);
}
