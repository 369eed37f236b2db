#ifndef DFD_HOST_CACHE_H
#define DFD_HOST_CACHE_H

#include "host/conf.h"
#include "host/zone.h"


#define DFD_CACHE_NAME "devices.snapshot"


/*
 * The snapshot that a look-up in this worker may use now, or NULL and the
 * reason ("no-data", "disabled", "not-configured").  Maps a newer file when
 * the zone says that there is one; the pointer is good until control returns
 * to the event loop, not longer.
 */
const dfd_snapshot_t *dfd_cache_current(dfd_host_conf_t *conf,
                                        const char     **reason);


/*
 * Opens what lies on the disk at the start of a worker, fully verified, and
 * from then on looks once a second whether the zone tells of another file: a
 * worker that answers nothing must not keep the former one on the disk.
 */
void dfd_cache_init(dfd_host_conf_t *conf, ngx_log_t *log);


/* Unmaps; in exit_process. */
void dfd_cache_exit(void);


/* Tells all workers of the host that a new file is in place. */
void dfd_cache_bump(dfd_host_conf_t *conf);


/*
 * Removes the file and what builders left of it, and tells all workers of the
 * host, this one included.  NGX_ERROR, and why: the file is still there.
 */
ngx_int_t dfd_cache_drop(dfd_host_conf_t *conf, char why[DFD_SNAPSHOT_ERROR]);


/*
 * What this worker has mapped, whatever look-ups may do, or NULL; good until
 * control returns to the event loop.
 */
const dfd_snapshot_t *dfd_cache_mapped(dfd_host_conf_t *conf);


/*
 * A look-up at the moment now: snapshot + counting, for all surfaces.
 * `at` in ticks.
 */
void dfd_cache_lookup(dfd_host_conf_t *conf, dfd_lookup_t *lookup,
                      const dfd_addr_t *addr, int64_t at);


/* nginx's cached clock in ticks: no system call */
int64_t dfd_cache_now(void);


#endif /* DFD_HOST_CACHE_H */
