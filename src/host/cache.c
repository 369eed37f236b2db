#include "host/cache.h"

#include "core/timestamp.h"


#define DFD_CACHE_CHECK 1000 /* ms */


/*
 * One mapping in each process.  A worker is single-threaded and nobody keeps
 * a pointer into it across events, so the old one is unmapped at once.
 */
static dfd_snapshot_t   *dfd_cache_snapshot;
static ngx_atomic_uint_t dfd_cache_number;


static ngx_event_t      dfd_cache_event;
static dfd_host_conf_t *dfd_cache_conf;

/* debug builds of nginx print ev->data as a connection */
static ngx_connection_t dfd_cache_dummy;


static void dfd_cache_map(dfd_host_conf_t *conf, ngx_log_t *log);

static void dfd_cache_check(ngx_event_t *ev);


void
dfd_cache_init(dfd_host_conf_t *conf, ngx_log_t *log)
{
    dfd_cache_map(conf, log);

    /* of a single process that was reloaded, the former one's may be set */

    if (dfd_cache_event.timer_set) {
        ngx_del_timer(&dfd_cache_event);
    }

    dfd_cache_conf = conf;
    dfd_cache_dummy.fd = (ngx_socket_t) -1;

    dfd_cache_event.data = &dfd_cache_dummy;
    dfd_cache_event.handler = dfd_cache_check;
    dfd_cache_event.log = log;
    dfd_cache_event.cancelable = 1;

    ngx_add_timer(&dfd_cache_event, DFD_CACHE_CHECK);
}


static void
dfd_cache_check(ngx_event_t *ev)
{
    (void) dfd_cache_mapped(dfd_cache_conf);

    ngx_add_timer(ev, DFD_CACHE_CHECK);
}


static void
dfd_cache_unmap(void)
{
    if (dfd_cache_snapshot != NULL) {
        dfd_snapshot_close(dfd_cache_snapshot);
        dfd_cache_snapshot = NULL;
    }
}


void
dfd_cache_exit(void)
{
    if (dfd_cache_event.timer_set) {
        ngx_del_timer(&dfd_cache_event);
    }

    dfd_cache_unmap();
}


void
dfd_cache_bump(dfd_host_conf_t *conf)
{
    (void) ngx_atomic_fetch_add(&conf->zone->snapshot, 1);
}


static void
dfd_cache_map(dfd_host_conf_t *conf, ngx_log_t *log)
{
    u_char         *last;
    u_char          path[NGX_MAX_PATH];
    char            error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_t *snapshot;
    ngx_file_info_t info;

    /* read before the file: a file renamed after this brings a new number */
    dfd_cache_number = conf->zone->snapshot;

    last = ngx_snprintf(path, sizeof(path) - 1, "%V/%s",
                        &conf->cache_path->name, DFD_CACHE_NAME);
    *last = '\0';

    if (ngx_file_info(path, &info) == NGX_FILE_ERROR
        && ngx_errno == NGX_ENOENT) {
        /* none was built yet, or it was dropped */
        dfd_cache_unmap();
        return;
    }

    /*
     * What this host has built since its start is read as it is; a file that
     * was on the disk before, or came from elsewhere, is verified whole.
     */
    snapshot = (dfd_cache_number != 0)
                 ? dfd_snapshot_open_trusted((char *) path, error)
                 : dfd_snapshot_open((char *) path, error);

    if (snapshot == NULL) {
        ngx_log_error(NGX_LOG_WARN, log, 0, "defender: %s", error);
        return;
    }

    dfd_cache_unmap();

    dfd_cache_snapshot = snapshot;
}


const dfd_snapshot_t *
dfd_cache_mapped(dfd_host_conf_t *conf)
{
    if (conf->zone->snapshot != dfd_cache_number) {
        dfd_cache_map(conf, ngx_cycle->log);
    }

    return dfd_cache_snapshot;
}


ngx_int_t
dfd_cache_drop(dfd_host_conf_t *conf, char why[DFD_SNAPSHOT_ERROR])
{
    u_char directory[NGX_MAX_PATH];

    *ngx_snprintf(directory, sizeof(directory) - 1, "%V",
                  &conf->cache_path->name) = '\0';

    if (dfd_snapshot_remove((char *) directory, DFD_CACHE_NAME, why) != 0) {
        return NGX_ERROR;
    }

    dfd_cache_bump(conf);

    (void) dfd_cache_mapped(conf);

    return NGX_OK;
}


const dfd_snapshot_t *
dfd_cache_current(dfd_host_conf_t *conf, const char **reason)
{
    switch ((dfd_access_t) conf->zone->access) {

    case DFD_ACCESS_NOT_CONFIGURED:
        *reason = "not-configured";
        return NULL;

    case DFD_ACCESS_DISABLED:
        *reason = "disabled";
        return NULL;

    case DFD_ACCESS_UNKNOWN:
    case DFD_ACCESS_ENABLED:
        break;
    }

    if (dfd_cache_mapped(conf) == NULL) {
        *reason = "no-data";
        return NULL;
    }

    *reason = NULL;

    return dfd_cache_snapshot;
}


int64_t
dfd_cache_now(void)
{
    ngx_time_t *tp;

    tp = ngx_timeofday();

    return (int64_t) tp->sec * DFD_TICKS_PER_SECOND
         + (int64_t) tp->msec * DFD_TICKS_PER_MSEC;
}


void
dfd_cache_lookup(dfd_host_conf_t *conf, dfd_lookup_t *lookup,
                 const dfd_addr_t *addr, int64_t at)
{
    const char           *reason;
    const dfd_snapshot_t *snapshot;

    snapshot = dfd_cache_current(conf, &reason);

    dfd_lookup(lookup, snapshot, &conf->lookup, addr, at, reason);

    /* the counters stand in the order of dfd_verdict_t */
    dfd_zone_count(conf->zone, DFD_COUNT_LOOKUP_EXACT + lookup->match.verdict);
}
