#include "client/redis_int.h"


#define DFD_REDIS_RETRY_MIN 100 /* ms: the pause after the first failure */
#define DFD_REDIS_RETRY_MAX 10000

/* ms: up for less, without an answer to show for it, is flapping */
#define DFD_REDIS_STEADY 1000

/* ms: the same refusal again within this time is no news */
#define DFD_REDIS_NEWS 60000


/*
 * Error replies that tell of the server and not of the command: after a
 * failover the address answers for a replica, a restarted one still loads,
 * a password was set, it is a node of a cluster.
 */
static ngx_str_t dfd_redis_refusals[] = { ngx_string("READONLY "),
                                          ngx_string("LOADING "),
                                          ngx_string("MASTERDOWN "),
                                          ngx_string("NOAUTH "),
                                          ngx_string("WRONGPASS "),
                                          ngx_string("DENIED "),
                                          ngx_string("MOVED "),
                                          ngx_string("ASK "),
                                          ngx_string("CLUSTERDOWN "),
                                          ngx_string(
                                              "ERR max number of clients"),
                                          ngx_null_string };


_Static_assert(offsetof(dfd_redis_t, fd) == offsetof(ngx_connection_t, fd),
               "the data of timers must look like a connection");


static void dfd_redis_open(dfd_redis_t *redis, ngx_queue_t *failed);
static void dfd_redis_retry(ngx_event_t *ev);


void
dfd_redis_state_init(dfd_redis_t *redis)
{
    redis->retry.handler = dfd_redis_retry;
    redis->retry.data = redis;
    redis->retry.log = redis->log;
    redis->retry.cancelable = 1;
}


dfd_redis_state_t
dfd_redis_state(const dfd_redis_t *redis, const char **cause)
{
    *cause = redis->cause;

    switch (redis->phase) {

    case DFD_REDIS_UP:
        /* a replica answers PING too: only a command's answer is proof */
        return redis->refused ? DFD_REDIS_DOWN : DFD_REDIS_READY;

    case DFD_REDIS_WAIT:
        return DFD_REDIS_DOWN;

    default:
        break;
    }

    /* what failed is down until it is ready again, tried anew or not */
    return redis->attempt != 0 && redis->cause[0] != '\0'
             ? DFD_REDIS_DOWN
             : DFD_REDIS_CONNECTING;
}


/* of several addresses the one that got furthest has the cause to tell */
static void
dfd_redis_because(dfd_redis_t *redis, dfd_redis_why_t why, const char *cause)
{
    if (redis->cause[0] != '\0' && why < redis->why) {
        return;
    }

    if (why != DFD_REDIS_WHY_REDIS) {
        redis->refused = 0;
    }

    redis->why = why;
    ngx_cpystrn((u_char *) redis->cause, (u_char *) cause, DFD_REDIS_CAUSE);
}


/* half of the pause is chance: clients that lost one server must not return
   to it all at once */
static ngx_msec_t
dfd_redis_pause(dfd_redis_t *redis)
{
    ngx_uint_t i;
    ngx_msec_t pause;

    pause = DFD_REDIS_RETRY_MIN;

    for (i = 1; i < redis->attempt && pause < DFD_REDIS_RETRY_MAX; i++) {
        pause *= 2;
    }

    pause = ngx_min(pause, DFD_REDIS_RETRY_MAX);

    return pause / 2 + (ngx_msec_t) ngx_random() % (pause / 2 + 1);
}


/* whether the cause was logged last; each key has its own MOVED */
static ngx_uint_t
dfd_redis_is_logged(dfd_redis_t *redis, const char *cause)
{
    return ngx_strcmp(cause, redis->logged) == 0
        || (ngx_strncmp(cause, "MOVED ", 6) == 0
            && ngx_strncmp(redis->logged, "MOVED ", 6) == 0);
}


static void
dfd_redis_tell_down(dfd_redis_t *redis)
{
    ngx_uint_t silent;

    silent = redis->told == DFD_REDIS_DOWN
          || (redis->flapping
              && ngx_current_msec - redis->logged_at < DFD_REDIS_NEWS);

    /* of an old worker's connections the new ones tell */
    if ((silent && dfd_redis_is_logged(redis, redis->cause)) || ngx_exiting
        || ngx_terminate)
    {
        ngx_log_debug2(NGX_LOG_DEBUG_CORE, redis->log, 0,
                       "defender: redis \"%V\" is down: %s", &redis->conf->url,
                       redis->cause);
        return;
    }

    ngx_log_error(NGX_LOG_WARN, redis->log, 0,
                  "defender: redis \"%V\" is down: %s", &redis->conf->url,
                  redis->cause);

    redis->told = DFD_REDIS_DOWN;
    redis->logged_at = ngx_current_msec;
    ngx_memcpy(redis->logged, redis->cause, DFD_REDIS_CAUSE);
}


static void
dfd_redis_tell_ready(dfd_redis_t *redis)
{
    if (redis->told == DFD_REDIS_READY) {
        return;
    }

    ngx_log_error(NGX_LOG_NOTICE, redis->log, 0,
                  "defender: redis \"%V\" is ready", &redis->conf->url);

    redis->told = DFD_REDIS_READY;
}


/* no address is left: wait, then begin a new round */
static void
dfd_redis_down(dfd_redis_t *redis, ngx_queue_t *failed)
{
    redis->phase = DFD_REDIS_WAIT;
    redis->attempt++;

    ngx_add_timer(&redis->retry, dfd_redis_pause(redis));

    ngx_queue_add(failed, &redis->waiting);
    ngx_queue_init(&redis->waiting);
    redis->waiting_size = 0;

    dfd_redis_tell_down(redis);
}


static void
dfd_redis_round(dfd_redis_t *redis, ngx_queue_t *failed)
{
    redis->tried = 0;
    redis->why = DFD_REDIS_WHY_EOF;

    dfd_redis_open(redis, failed);
}


/* tries addresses until one is under way; what waited in vain is in failed */
static void
dfd_redis_open(dfd_redis_t *redis, ngx_queue_t *failed)
{
    ngx_addr_t *addr;

    while (redis->tried < redis->conf->naddrs) {
        addr =
            &redis->conf
                 ->addrs[(redis->first + redis->tried) % redis->conf->naddrs];
        redis->tried++;

        if (dfd_redis_link_open(redis, addr) == NGX_OK) {
            redis->phase = DFD_REDIS_CONNECT;
            dfd_redis_clock(redis);
            return;
        }

        dfd_redis_because(redis, DFD_REDIS_WHY_NETWORK, redis->note);
    }

    dfd_redis_down(redis, failed);
}


void
dfd_redis_connect(dfd_redis_t *redis)
{
    ngx_queue_t failed;

    if (redis->phase != DFD_REDIS_IDLE) {
        return;
    }

    /* stays empty: an idle client has nobody who waits */
    ngx_queue_init(&failed);
    dfd_redis_round(redis, &failed);
}


static void
dfd_redis_retry(ngx_event_t *ev)
{
    ngx_queue_t  failed;
    dfd_redis_t *redis;

    redis = ev->data;

    /* an old worker has no use of its own for it: let the next command ask */
    if (ngx_exiting || ngx_terminate) {
        redis->phase = DFD_REDIS_IDLE;
        return;
    }

    /* stays empty: nothing waits while Redis is down */
    ngx_queue_init(&failed);
    dfd_redis_round(redis, &failed);
}


/*
 * The connection had been up.  Returns 1 when Redis merely closed an idle
 * one: then a new one is made at once, and nobody need know.
 */
static ngx_uint_t
dfd_redis_was_up(dfd_redis_t *redis, dfd_redis_why_t why, const char *cause,
                 ngx_uint_t idle)
{
    ngx_msec_t lived;

    lived = ngx_current_msec - redis->up_since;

    if (why == DFD_REDIS_WHY_REDIS) {
        /*
         * Reads may go on between two refused writes: they must not make
         * the pauses short again
         */
        redis->flapping =
            dfd_redis_is_logged(redis, cause) && lived < DFD_REDIS_NEWS;

    } else {
        redis->flapping = redis->replies == 0 && lived < DFD_REDIS_STEADY;
    }

    if (!redis->flapping) {
        redis->attempt = 0;
    }

    if (why != DFD_REDIS_WHY_EOF) {
        redis->first = (redis->first + 1) % redis->conf->naddrs;
        return 0;
    }

    return idle && !redis->flapping;
}


void
dfd_redis_lost(dfd_redis_t *redis, dfd_redis_why_t why, const char *cause)
{
    char        text[DFD_REDIS_CAUSE];
    ngx_uint_t  idle;
    ngx_queue_t failed;

    /* cause may lie in what is closed or overwritten below */
    ngx_cpystrn((u_char *) text, (u_char *) cause, sizeof(text));

    dfd_redis_enter(redis);

    idle = ngx_queue_empty(&redis->sent) && redis->received == 0;

    dfd_redis_link_close(redis);

    ngx_queue_init(&failed);
    ngx_queue_add(&failed, &redis->sent);
    ngx_queue_init(&redis->sent);

    if (redis->phase != DFD_REDIS_UP) {
        dfd_redis_because(redis, why, text);
        dfd_redis_open(redis, &failed);

    } else if (!dfd_redis_was_up(redis, why, text, idle)) {
        redis->why = DFD_REDIS_WHY_EOF;
        dfd_redis_because(redis, why, text);
        dfd_redis_down(redis, &failed);

    } else if (ngx_exiting || ngx_terminate) {
        redis->phase = DFD_REDIS_IDLE;

    } else {
        ngx_log_debug1(NGX_LOG_DEBUG_CORE, redis->log, 0,
                       "defender: redis \"%V\" closed an idle connection",
                       &redis->conf->url);
        dfd_redis_round(redis, &failed);
    }

    dfd_redis_fail(&failed, text);

    dfd_redis_leave(redis);
}


ngx_uint_t
dfd_redis_is_refusal(const redisReply *reply)
{
    ngx_str_t *word;

    if (reply->type != REDIS_REPLY_ERROR) {
        return 0;
    }

    for (word = dfd_redis_refusals; word->len != 0; word++) {
        if ((size_t) reply->len >= word->len
            && ngx_memcmp(reply->str, word->data, word->len) == 0)
        {
            return 1;
        }
    }

    return 0;
}


void
dfd_redis_refused(dfd_redis_t *redis, dfd_redis_step_t step,
                  const redisReply *reply)
{
    char  *p, text[DFD_REDIS_CAUSE];
    size_t i, len;

    static const char cluster[] = " (a Redis Cluster is not followed)";

    p = text;
    len = ngx_min((size_t) reply->len, sizeof(text) - sizeof(cluster));

    for (i = 0; i < len; i++) {

        /*
         * Servers without an AUTH command repeat its arguments in quotes:
         * "ERR unknown command 'AUTH', with args beginning with: '...'"
         */
        if (step == DFD_REDIS_AUTH
            && (reply->str[i] == '\'' || reply->str[i] == '`'
                || reply->str[i] == '"'))
        {
            p = (char *) ngx_cpymem(p, "AUTH", sizeof("AUTH") - 1);
            break;
        }

        *p++ = (reply->str[i] >= ' ' && reply->str[i] < 0x7f) ? reply->str[i]
                                                              : '?';
    }

    if (ngx_strncmp(reply->str, "MOVED ", 6) == 0
        || ngx_strncmp(reply->str, "ASK ", 4) == 0)
    {
        p = (char *) ngx_cpymem(p, cluster, sizeof(cluster) - 1);
    }

    *p = '\0';

    redis->refused = (redis->phase == DFD_REDIS_UP);

    dfd_redis_lost(redis, DFD_REDIS_WHY_REDIS, text);
}


static ngx_int_t
dfd_redis_setup_auth(dfd_redis_t *redis)
{
    size_t                  len[3];
    ngx_uint_t              argc;
    const char             *argv[3];
    const dfd_redis_conf_t *conf;

    conf = redis->conf;
    argc = 0;

    argv[argc] = "AUTH";
    len[argc++] = sizeof("AUTH") - 1;

    if (conf->user.len != 0) {
        argv[argc] = (char *) conf->user.data;
        len[argc++] = conf->user.len;
    }

    argv[argc] = (char *) conf->password.data;
    len[argc++] = conf->password.len;

    return dfd_redis_own(redis, DFD_REDIS_AUTH, argc, argv, len);
}


static ngx_int_t
dfd_redis_setup_send(dfd_redis_t *redis)
{
    u_char      db[NGX_INT_T_LEN];
    size_t      len[3];
    const char *argv[3];

    if (redis->conf->password.len != 0
        && dfd_redis_setup_auth(redis) != NGX_OK) {
        return NGX_ERROR;
    }

    if (redis->conf->db != 0) {
        argv[0] = "SELECT";
        len[0] = sizeof("SELECT") - 1;
        argv[1] = (char *) db;
        len[1] = (size_t) (ngx_sprintf(db, "%ui", redis->conf->db) - db);

        if (dfd_redis_own(redis, DFD_REDIS_SELECT, 2, argv, len) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    argv[0] = "CLIENT";
    len[0] = sizeof("CLIENT") - 1;
    argv[1] = "SETNAME";
    len[1] = sizeof("SETNAME") - 1;
    argv[2] = redis->name;
    len[2] = ngx_strlen(redis->name);

    if (dfd_redis_own(redis, DFD_REDIS_SETNAME, 3, argv, len) != NGX_OK) {
        return NGX_ERROR;
    }

    argv[0] = "PING";
    len[0] = sizeof("PING") - 1;

    return dfd_redis_own(redis, DFD_REDIS_PING, 1, argv, len);
}


void
dfd_redis_setup(dfd_redis_t *redis)
{
    redis->phase = DFD_REDIS_SETUP;

    /* each step has its own time: TLS may have used up the connection's */
    dfd_redis_clock(redis);

    if (dfd_redis_setup_send(redis) != NGX_OK) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, "no memory");
    }
}


void
dfd_redis_setup_reply(dfd_redis_t *redis, dfd_redis_step_t step,
                      const redisReply *reply)
{
    if (reply->type == REDIS_REPLY_ERROR
        && (step != DFD_REDIS_SETNAME || dfd_redis_is_refusal(reply)))
    {
        dfd_redis_refused(redis, step, reply);
        return;
    }

    /*
     * The name is for people who look at CLIENT LIST: a user whom the ACL
     * does not let set one is served all the same.
     */
    if (step == DFD_REDIS_SETNAME) {
        return;
    }

    if (reply->type != REDIS_REPLY_STATUS) {
        dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, "not a Redis server");
        return;
    }

    if (step != DFD_REDIS_PING) {
        return;
    }

    redis->phase = DFD_REDIS_UP;
    redis->up_since = ngx_current_msec;
    redis->replies = 0;

    if (!redis->refused) {
        redis->cause[0] = '\0';
        dfd_redis_tell_ready(redis);
    }

    dfd_redis_release(redis);
}


void
dfd_redis_served(dfd_redis_t *redis)
{
    redis->replies++;

    if (redis->refused) {
        redis->refused = 0;
        redis->cause[0] = '\0';
        dfd_redis_tell_ready(redis);
    }
}
