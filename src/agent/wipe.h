#ifndef DFD_AGENT_WIPE_H
#define DFD_AGENT_WIPE_H

#include "agent/local.h"


/*
 * Removes devices that nobody may see any more: the settings were deleted, or
 * they name another organisation.  Each host drops its own snapshot; what
 * lies in Redis is removed by the lease's holder, in bounded steps.
 */


/* 1 when something is left in Redis that must go */
ngx_uint_t dfd_wipe_needed(dfd_agent_t *agent);


/* Drops this host's snapshot when it is of devices that must go. */
void dfd_wipe_host(dfd_agent_t *agent);


/* Starts on what is in Redis, as the lease's holder, or ends what is over. */
void dfd_wipe_tick(dfd_agent_t *agent);


/* Ends it; another process, or the next tick, goes on.  NULL is allowed. */
void dfd_wipe_abort(dfd_wipe_t *wipe);


#endif /* DFD_AGENT_WIPE_H */
