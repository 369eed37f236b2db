#ifndef DFD_AGENT_LEASE_H
#define DFD_AGENT_LEASE_H

#include "agent/local.h"


/*
 * The lease in Redis: one process in the whole fleet polls and publishes.  It
 * expires when its holder dies, and every write is checked against it inside
 * Redis.
 */


/* Makes this process's token.  NGX_ERROR: no random bytes. */
ngx_int_t dfd_lease_init(dfd_agent_t *agent);


/* Takes, renews or (when it is not wanted) gives back, as time demands. */
void dfd_lease_tick(dfd_agent_t *agent, ngx_uint_t wanted);


/* 1 while this process may write */
ngx_uint_t dfd_lease_held(dfd_agent_t *agent);


/* Gives it back without waiting for the reply. */
void dfd_lease_release(dfd_agent_t *agent);


/* A fenced script said that it is gone, or its time is over. */
void dfd_lease_lost(dfd_agent_t *agent);


#endif /* DFD_AGENT_LEASE_H */
