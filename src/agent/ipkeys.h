#ifndef DFD_AGENT_IPKEYS_H
#define DFD_AGENT_IPKEYS_H

#include "agent/local.h"


/*
 * The lease's holder brings <prefix>ip:<address> up to date with its own
 * snapshot: one key for each address that names a device, none for others.
 */


/* Starts when the keys are not of the generation that the snapshot has. */
void dfd_ipkeys_tick(dfd_agent_t *agent);


/* Ends it; the next tick may begin anew.  NULL is allowed. */
void dfd_ipkeys_abort(dfd_ipkeys_t *ipkeys);


#endif /* DFD_AGENT_IPKEYS_H */
