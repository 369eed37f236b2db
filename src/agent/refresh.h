#ifndef DFD_AGENT_REFRESH_H
#define DFD_AGENT_REFRESH_H

#include "agent/local.h"


/*
 * Every host's way from the devices in Redis to its own snapshot file.  The
 * event loop only fetches; the records are read, sorted and written by a
 * thread.
 */


/* Starts one when Redis has another generation than this host's snapshot. */
void dfd_refresh_tick(dfd_agent_t *agent);


/* 1 when this host's snapshot is of the generation that Redis has */
ngx_uint_t dfd_refresh_current(dfd_agent_t           *agent,
                               const dfd_snapshot_t **snapshot);


/* Ends it; what the thread still does is thrown away.  NULL is allowed. */
void dfd_refresh_abort(dfd_refresh_t *refresh);


/*
 * In exit_process, before anything else: the thread pool has ended its
 * threads, and no completion is delivered any more.  NULL is allowed.
 */
void dfd_refresh_exit(dfd_refresh_t *refresh);


#endif /* DFD_AGENT_REFRESH_H */
