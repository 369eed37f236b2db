#ifndef DFD_AGENT_LOCAL_H
#define DFD_AGENT_LOCAL_H

#include "client/defender.h"
#include "core/timestamp.h"
#include "host/cache.h"
#include "host/record.h"
#include "host/zone.h"


/*
 * What the files of this room share: the state of the one agent of this
 * process.  Each part is changed by the file that is named beside it.
 */

typedef struct dfd_agent_s   dfd_agent_t;
typedef struct dfd_poll_s    dfd_poll_t;
typedef struct dfd_refresh_s dfd_refresh_t;
typedef struct dfd_ipkeys_s  dfd_ipkeys_t;
typedef struct dfd_wipe_s    dfd_wipe_t;


/* one look at Redis and at the calendar each second */
#define DFD_AGENT_TICK 1000

/* the host's role is free again this long after a stuck process renewed it */
#define DFD_AGENT_ELECT_TTL 5000

#define DFD_AGENT_TEXT 512


/* why a record of Defender's list is left out */
typedef enum {
    DFD_SKIP_JSON = 0, /* jansson cannot read it */
    DFD_SKIP_OBJECT,   /* it is no object */
    DFD_SKIP_NO_ID,
    DFD_SKIP_BAD_ID, /* not a text, or too long */
    DFD_SKIP_N
} dfd_skip_t;


/* lease.c: who polls in the whole fleet */

#define DFD_LEASE_TTL   15000
#define DFD_LEASE_RENEW (DFD_LEASE_TTL / 3)
#define DFD_LEASE_TOKEN 64

typedef struct {
    char       token[DFD_LEASE_TOKEN]; /* "host:pid:random" */
    ngx_uint_t held;
    ngx_uint_t asked;                 /* a command is under way */
    ngx_uint_t answered;              /* Redis has answered at least once */
    ngx_msec_t sent;                  /* when the command under way was sent */
    ngx_msec_t deadline;              /* no write after this */
    char       error[DFD_AGENT_TEXT]; /* why Redis refuses it; "" */
} dfd_lease_t;


/* a digest in hex digits: readers of meta need not know the tenant */
#define DFD_ACCOUNT_SOURCE 9


/* observe.c: what lies in Redis, as of the last whole answer */

typedef struct {
    ngx_uint_t known;
    ngx_uint_t pending;    /* replies that are still to come */
    ngx_uint_t failed;     /* one of them was an error */
    uint64_t   generation; /* 0: nothing was published */
    int64_t    as_of;      /* ticks; DFD_TIME_NONE */
    uint64_t   devices;
    uint64_t   addresses;
    uint64_t   ip_generation;
    uint64_t   wiped; /* revision for which all was removed, or 0 */
    char       source[DFD_ACCOUNT_SOURCE]; /* whose devices; "" */
    char       holder[DFD_LEASE_TOKEN];    /* value of the lease; "" */
    char       sync[DFD_LEASE_TOKEN];      /* value of the sync key; "" */
    json_t    *shared;                     /* what the poller tells; NULL */
    char       error[DFD_AGENT_TEXT]; /* "": Redis answered as it should */
} dfd_seen_t;


/* account.c: the stored settings, and what follows from them */

typedef struct {
    ngx_uint_t          known;
    uint32_t            digest; /* of the stored record's bytes */
    dfd_record_result_t result;
    dfd_settings_t      settings; /* without the secret */
    dfd_cloud_t         cloud;
    uint64_t            revision;
    ngx_uint_t          ready;   /* enabled, and able to poll */
    ngx_uint_t          deleted; /* by DELETE /config, not lost */
    uint32_t            number;  /* of tenant and API */
    char                source[DFD_ACCOUNT_SOURCE]; /* the same; "": none */
    uint32_t            sealed; /* digest of the sealed secret */
    char                message[DFD_AGENT_TEXT]; /* why it is not ready */
} dfd_account_t;


/* schedule.c: what came of the polls, and when the next one is due */

typedef struct {
    json_t    *last;      /* lastPoll, an object; NULL: none yet */
    json_t    *good;      /* lastGoodPoll */
    json_t    *polls;     /* the last ones, newest first; NULL: none yet */
    ngx_uint_t failures;  /* polls since the last good one */
    ngx_msec_t due;       /* on the monotonic clock */
    int64_t    next;      /* the same for humans and other hosts, in ticks */
    int64_t    throttled; /* until then Defender wants no calls, in ticks */
    uint64_t   revision;  /* of the settings that were acted upon */
    char       sync[DFD_LEASE_TOKEN];
    char       health[24];
    char       code[64];
    char       message[DFD_AGENT_TEXT];
} dfd_schedule_t;


/* status.c: what was written last, so that only changes are written */

typedef struct {
    char *written; /* malloc'ed text in Redis; NULL: not known */
    char *sent;    /* the text that is under way */
} dfd_shared_t;


struct dfd_agent_s {
    dfd_host_conf_t *conf;
    ngx_log_t       *log;

    /*
     * Debug builds of nginx print ev->data as a connection whenever a timer
     * is set, so the timers of this room point to this one.
     */
    ngx_connection_t dummy;

    ngx_event_t  tick;
    ngx_cycle_t *cycle;  /* NULL: it has been replaced, see agent.c */
    ngx_uint_t   active; /* elected in this host: the clients are there */

    dfd_redis_t    *redis; /* NULL while the last replies of it come in */
    dfd_http_t     *http;
    dfd_defender_t *defender;

    dfd_lease_t    lease;
    dfd_seen_t     seen;
    dfd_account_t  account;
    dfd_schedule_t schedule;
    dfd_shared_t   shared;

    dfd_poll_t    *poll;
    dfd_refresh_t *refresh;
    dfd_ipkeys_t  *ipkeys;
    dfd_wipe_t    *wipe;

    /* no new try before, after one that failed */
    ngx_msec_t refresh_after;
    ngx_msec_t ipkeys_after;
    ngx_msec_t wipe_after;
    ngx_uint_t ipkeys_failed; /* and it was logged */
    ngx_uint_t wipe_failed;   /* the same */
    ngx_uint_t dropped;       /* wipe.c: this host has no snapshot */
    char       refresh_error[DFD_AGENT_TEXT];
};


/* sets up an event of ours: cancelable, so that no worker waits for it */
void dfd_agent_event(dfd_agent_t *agent, ngx_event_t *ev,
                     ngx_event_handler_pt handler);


/* 1 when this process was told to go */
ngx_uint_t dfd_agent_leaving(void);


/* observe.c calls it after each whole and good answer */
void dfd_agent_observed(dfd_agent_t *agent);


#define dfd_agent_passed(msec)                                                \
    ((ngx_msec_int_t) (ngx_current_msec - (msec)) >= 0)


#endif /* DFD_AGENT_LOCAL_H */
