#include "client/redis_int.h"


/*
 * Bytes of the oldest command or its reply that must move within
 * conf->timeout to show that Redis lives: a value of megabytes takes its time
 * on a slow line, but one that trickles must not hold up others for ever.
 */
#define DFD_REDIS_ALIVE 16384


dfd_redis_t *
dfd_redis_create(const dfd_redis_conf_t *conf, const char *name,
                 ngx_log_t *log)
{
    dfd_redis_t *redis;

    redis = ngx_calloc(sizeof(dfd_redis_t), log);
    if (redis == NULL) {
        return NULL;
    }

    redis->conf = conf;
    redis->log = log;
    redis->fd = (ngx_socket_t) -1;

    ngx_cpystrn((u_char *) redis->name, (u_char *) name, DFD_REDIS_NAME);
    ngx_queue_init(&redis->sent);
    ngx_queue_init(&redis->waiting);

    redis->deadline.handler = dfd_redis_deadline;
    redis->deadline.data = redis;
    redis->deadline.log = log;
    redis->deadline.cancelable = 1;

    dfd_redis_state_init(redis);

    return redis;
}


void
dfd_redis_enter(dfd_redis_t *redis)
{
    redis->depth++;
}


void
dfd_redis_leave(dfd_redis_t *redis)
{
    redis->depth--;

    if (redis->depth == 0 && redis->destroyed) {
        ngx_free(redis);
    }
}


void
dfd_redis_destroy(dfd_redis_t *redis)
{
    ngx_queue_t calls;

    if (redis->destroyed) {
        return;
    }

    dfd_redis_enter(redis);

    redis->destroyed = 1;
    redis->phase = DFD_REDIS_WAIT;

    dfd_redis_link_close(redis);

    if (redis->deadline.timer_set) {
        ngx_del_timer(&redis->deadline);
    }

    if (redis->retry.timer_set) {
        ngx_del_timer(&redis->retry);
    }

    ngx_queue_init(&calls);
    ngx_queue_add(&calls, &redis->sent);
    ngx_queue_init(&redis->sent);
    ngx_queue_add(&calls, &redis->waiting);
    ngx_queue_init(&redis->waiting);

    dfd_redis_fail(&calls, "shutting down");

    dfd_redis_leave(redis);
}


static dfd_redis_call_t *
dfd_redis_call(dfd_redis_t *redis, dfd_redis_step_t step,
               dfd_redis_reply_pt handler, void *data)
{
    dfd_redis_call_t *call;

    call = ngx_alloc(sizeof(dfd_redis_call_t), redis->log);
    if (call == NULL) {
        return NULL;
    }

    call->handler = handler;
    call->data = data;
    call->step = step;
    call->since = ngx_current_msec;
    call->text = NULL;
    call->len = 0;
    call->end = 0;

    return call;
}


static void
dfd_redis_call_free(dfd_redis_call_t *call)
{
    /* of hiredis's making, so not ngx_free's */
    free(call->text);
    ngx_free(call);
}


void
dfd_redis_fail(ngx_queue_t *list, const char *cause)
{
    void              *data;
    char               text[DFD_REDIS_CAUSE];
    ngx_queue_t       *q;
    dfd_redis_call_t  *call;
    dfd_redis_reply_pt handler;

    /* a handler may change the state and with it the text behind cause */
    ngx_cpystrn((u_char *) text, (u_char *) cause, sizeof(text));

    while (!ngx_queue_empty(list)) {
        q = ngx_queue_head(list);
        ngx_queue_remove(q);

        call = ngx_queue_data(q, dfd_redis_call_t, queue);
        handler = call->handler;
        data = call->data;
        dfd_redis_call_free(call);

        if (handler != NULL) {
            handler(data, NULL, text);
        }
    }
}


void
dfd_redis_clock(dfd_redis_t *redis)
{
    redis->since = ngx_current_msec;
    redis->moved = 0;

    /*
     * A timer that is set expires too early at worst, and then looks anew:
     * moving it with each command and reply would cost more.
     */
    if (!redis->deadline.timer_set) {
        ngx_add_timer(&redis->deadline, redis->conf->timeout);
    }
}


void
dfd_redis_came(dfd_redis_t *redis, size_t n)
{
    redis->moved += n;

    if (redis->moved >= DFD_REDIS_ALIVE) {
        dfd_redis_clock(redis);
    }
}


void
dfd_redis_went(dfd_redis_t *redis, size_t n)
{
    ngx_queue_t      *q;
    dfd_redis_call_t *call;

    redis->written += n;

    /*
     * Later commands count for nothing: the kernel takes megabytes of them
     * for a Redis that has stopped.
     */
    if (!ngx_queue_empty(&redis->sent)) {
        q = ngx_queue_head(&redis->sent);
        call = ngx_queue_data(q, dfd_redis_call_t, queue);

        if ((ssize_t) (call->end - redis->written) > 0) {
            dfd_redis_came(redis, n);
        }
    }
}


ngx_int_t
dfd_redis_push(dfd_redis_t *redis, dfd_redis_call_t *call, const char *text,
               size_t len)
{
    if (dfd_redis_link_append(redis, text, len) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_queue_empty(&redis->sent)) {
        dfd_redis_clock(redis);
    }

    redis->queued += len;
    call->end = redis->queued;

    ngx_queue_insert_tail(&redis->sent, &call->queue);
    dfd_redis_link_wake(redis);

    return NGX_OK;
}


ngx_int_t
dfd_redis_own(dfd_redis_t *redis, dfd_redis_step_t step, ngx_uint_t argc,
              const char **argv, const size_t *argvlen)
{
    int               len;
    char             *text;
    ngx_int_t         rc;
    dfd_redis_call_t *call;

    call = dfd_redis_call(redis, step, NULL, NULL);
    if (call == NULL) {
        return NGX_ERROR;
    }

    len = redisFormatCommandArgv(&text, (int) argc, argv, argvlen);
    if (len < 0) {
        ngx_free(call);
        return NGX_ERROR;
    }

    rc = dfd_redis_push(redis, call, text, (size_t) len);

    /* AUTH's holds the password */
    ngx_explicit_memzero(text, (size_t) len);
    free(text);

    if (rc != NGX_OK) {
        ngx_free(call);
    }

    return rc;
}


void
dfd_redis_release(dfd_redis_t *redis)
{
    ngx_queue_t       failed, *q;
    dfd_redis_call_t *call;

    ngx_queue_init(&failed);

    while (!ngx_queue_empty(&redis->waiting)) {
        q = ngx_queue_head(&redis->waiting);
        ngx_queue_remove(q);
        call = ngx_queue_data(q, dfd_redis_call_t, queue);

        if (dfd_redis_push(redis, call, call->text, call->len) != NGX_OK) {
            ngx_queue_insert_tail(&failed, q);
            continue;
        }

        free(call->text);
        call->text = NULL;
    }

    redis->waiting_size = 0;

    dfd_redis_fail(&failed, "no memory");
}


/* an upper bound of what hiredis will make of it, or 0: too large */
static size_t
dfd_redis_command_size(ngx_uint_t argc, const size_t *argvlen)
{
    size_t     size;
    ngx_uint_t i;

    size = 0;

    for (i = 0; i < argc; i++) {
        if (argvlen[i] > DFD_REDIS_MAX_OUTPUT) {
            return 0;
        }

        /* "*N\r\n" and for each argument "$LEN\r\n...\r\n" */
        size += argvlen[i] + 2 * (NGX_INT_T_LEN + 3);

        if (size > DFD_REDIS_MAX_OUTPUT) {
            return 0;
        }
    }

    return size;
}


ngx_int_t
dfd_redis_command(dfd_redis_t *redis, dfd_redis_reply_pt handler, void *data,
                  ngx_uint_t argc, const char **argv, const size_t *argvlen)
{
    int               len;
    size_t            size;
    dfd_redis_call_t *call;

    /* Redis answers nothing to no arguments: all later replies would shift */
    if (argc == 0) {
        return NGX_ERROR;
    }

    if (redis->destroyed) {
        return NGX_BUSY;
    }

    if (redis->phase == DFD_REDIS_IDLE) {
        dfd_redis_connect(redis);
    }

    if (redis->phase == DFD_REDIS_WAIT) {
        return NGX_BUSY;
    }

    size = dfd_redis_command_size(argc, argvlen);
    if (size == 0 || size > DFD_REDIS_MAX_OUTPUT - dfd_redis_pending(redis)) {
        return NGX_BUSY;
    }

    call = dfd_redis_call(redis, DFD_REDIS_USER, handler, data);
    if (call == NULL) {
        return NGX_ERROR;
    }

    len = redisFormatCommandArgv(&call->text, (int) argc, argv, argvlen);
    if (len < 0) {
        ngx_free(call);
        return NGX_ERROR;
    }

    call->len = (size_t) len;

    if (redis->phase != DFD_REDIS_UP) {
        ngx_queue_insert_tail(&redis->waiting, &call->queue);
        redis->waiting_size += call->len;
        return NGX_OK;
    }

    if (dfd_redis_push(redis, call, call->text, call->len) != NGX_OK) {
        dfd_redis_call_free(call);
        return NGX_ERROR;
    }

    free(call->text);
    call->text = NULL;

    return NGX_OK;
}


size_t
dfd_redis_pending(const dfd_redis_t *redis)
{
    return redis->out.last - redis->out.pos + redis->waiting_size;
}


void
dfd_redis_flush(dfd_redis_t *redis)
{
    if (redis->phase == DFD_REDIS_UP) {
        (void) dfd_redis_link_send(redis);
    }
}


void
dfd_redis_reply(dfd_redis_t *redis, redisReply *reply)
{
    ngx_uint_t        serial;
    ngx_queue_t      *q;
    dfd_redis_call_t *call, copy;

    if (ngx_queue_empty(&redis->sent)) {

        /* a server that is full says so before it is asked */
        if (dfd_redis_is_refusal(reply)) {
            dfd_redis_refused(redis, DFD_REDIS_USER, reply);

        } else {
            dfd_redis_lost(redis, DFD_REDIS_WHY_PEER,
                           "a reply that belongs to no command");
        }

        return;
    }

    q = ngx_queue_head(&redis->sent);
    ngx_queue_remove(q);
    call = ngx_queue_data(q, dfd_redis_call_t, queue);
    copy = *call;
    dfd_redis_call_free(call);

    if (!ngx_queue_empty(&redis->sent)) {
        dfd_redis_clock(redis);
    }

    if (copy.step != DFD_REDIS_USER) {
        dfd_redis_setup_reply(redis, copy.step, reply);
        return;
    }

    serial = redis->serial;

    if (!dfd_redis_is_refusal(reply)) {
        dfd_redis_served(redis);
    }

    if (copy.handler != NULL) {
        copy.handler(copy.data, reply, NULL);
    }

    if (redis->serial == serial && dfd_redis_is_refusal(reply)) {
        dfd_redis_refused(redis, DFD_REDIS_USER, reply);
    }
}


/*
 * Calls back what has waited for a connection too long.  Returns the time
 * until the next one has, or conf->timeout.
 */
static ngx_msec_int_t
dfd_redis_expire(dfd_redis_t *redis)
{
    char              cause[DFD_REDIS_CAUSE];
    ngx_queue_t       expired, *q;
    ngx_msec_int_t    left, next;
    dfd_redis_call_t *call;

    next = (ngx_msec_int_t) redis->conf->timeout;
    ngx_queue_init(&expired);

    while (!ngx_queue_empty(&redis->waiting)) {
        q = ngx_queue_head(&redis->waiting);
        call = ngx_queue_data(q, dfd_redis_call_t, queue);

        left = (ngx_msec_int_t) (call->since + redis->conf->timeout
                                 - ngx_current_msec);
        if (left > 0) {
            next = left;
            break;
        }

        ngx_queue_remove(q);
        ngx_queue_insert_tail(&expired, q);
        redis->waiting_size -= call->len;
    }

    ngx_snprintf((u_char *) cause, sizeof(cause),
                 "no connection within %Mms%Z", redis->conf->timeout);
    dfd_redis_fail(&expired, cause);

    return next;
}


static void
dfd_redis_late(dfd_redis_t *redis)
{
    char        cause[DFD_REDIS_CAUSE];
    const char *what;

    switch (redis->phase) {

    case DFD_REDIS_CONNECT:
        what = "no connection";
        break;

    case DFD_REDIS_TLS:
        what = "no end of the TLS handshake";
        break;

    default:
        what = "no reply";
    }

    ngx_snprintf((u_char *) cause, sizeof(cause), "%s within %Mms%Z", what,
                 redis->conf->timeout);

    dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, cause);
}


void
dfd_redis_deadline(ngx_event_t *ev)
{
    dfd_redis_t   *redis;
    ngx_msec_int_t left, next;

    redis = ev->data;

    dfd_redis_enter(redis);

    next = dfd_redis_expire(redis);

    if (redis->destroyed || redis->connection == NULL
        || (redis->phase == DFD_REDIS_UP && ngx_queue_empty(&redis->sent)))
    {
        goto done;
    }

    left = (ngx_msec_int_t) (redis->since + redis->conf->timeout
                             - ngx_current_msec);

    if (left <= 0) {
        dfd_redis_late(redis);
        goto done;
    }

    if (!redis->deadline.timer_set) {
        ngx_add_timer(&redis->deadline, (ngx_msec_t) ngx_min(left, next));
    }

done:

    dfd_redis_leave(redis);
}
