#ifndef DFD_AGENT_STATUS_H
#define DFD_AGENT_STATUS_H

#include "agent/local.h"


/*
 * What the status page tells: the poller writes its part to Redis, each
 * host's agent puts that part and what it sees itself into the host's zone.
 */


/*
 * As the lease's holder: writes our part to Redis when it differs from what
 * was written last.  now: even while the former write has no reply yet.
 */
void dfd_status_share(dfd_agent_t *agent, ngx_uint_t now);


/* What lies in Redis may be another poller's: the next share writes. */
void dfd_status_forget(dfd_agent_t *agent);


/* Composes the whole and puts it into the zone. */
void dfd_status_publish(dfd_agent_t *agent);


#endif /* DFD_AGENT_STATUS_H */
