#include "host/cache.h"

#include "core/timestamp.h"


/*
 * One mapping in each process.  A worker is single-threaded and nobody keeps
 * a pointer into it across events, so the old one is unmapped at once.
 */
static dfd_snapshot_t   *dfd_cache_snapshot;
static ngx_atomic_uint_t dfd_cache_number;


static void dfd_cache_map(dfd_host_conf_t *conf, ngx_log_t *log);


void
dfd_cache_init(dfd_host_conf_t *conf, ngx_log_t *log)
{
    dfd_cache_map(conf, log);
}


void
dfd_cache_exit(void)
{
    if (dfd_cache_snapshot != NULL) {
        dfd_snapshot_close(dfd_cache_snapshot);
        dfd_cache_snapshot = NULL;
    }
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

    /* read before the file: a file renamed after this brings a new number */
    dfd_cache_number = conf->zone->snapshot;

    last = ngx_snprintf(path, sizeof(path) - 1, "%V/%s",
                        &conf->cache_path->name, DFD_CACHE_NAME);
    *last = '\0';

    /*
     * What this host has built since its start is read as it is; a file that
     * was on the disk before, or came from elsewhere, is verified whole.
     */
    snapshot = (dfd_cache_number != 0)
                 ? dfd_snapshot_open_trusted((char *) path, error)
                 : dfd_snapshot_open((char *) path, error);

    if (snapshot == NULL) {

        if (dfd_cache_number != 0
            || ngx_file_info(path, &(ngx_file_info_t){ 0 }) != NGX_FILE_ERROR)
        {
            ngx_log_error(NGX_LOG_WARN, log, 0, "defender: %s", error);
        }

        return;
    }

    if (dfd_cache_snapshot != NULL) {
        dfd_snapshot_close(dfd_cache_snapshot);
    }

    dfd_cache_snapshot = snapshot;
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

    if (conf->zone->snapshot != dfd_cache_number) {
        dfd_cache_map(conf, ngx_cycle->log);
    }

    *reason = (dfd_cache_snapshot == NULL) ? "no-data" : NULL;

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
