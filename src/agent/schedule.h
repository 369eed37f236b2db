#ifndef DFD_AGENT_SCHEDULE_H
#define DFD_AGENT_SCHEDULE_H

#include "agent/local.h"
#include "agent/poll.h"


/*
 * When the next poll is due.  It follows from what lies in Redis (the start
 * of the last good poll, or when the poller meant to try again), so that a
 * reload or another poller changes nothing about it.
 */


/*
 * The lease is ours from now on.  fresh: nginx was started, not reloaded, and
 * got the lease at its first try.
 */
void dfd_schedule_taken(dfd_agent_t *agent, ngx_uint_t fresh);


/* Other settings were saved; connection: they are for other devices. */
void dfd_schedule_changed(dfd_agent_t *agent, ngx_uint_t connection);


/* Looks at the calendar and at requests for a poll, and starts one. */
void dfd_schedule_tick(dfd_agent_t *agent);


/* A poll came to its end. */
void dfd_schedule_report(dfd_agent_t *agent, const dfd_poll_report_t *report);


/* Forgets it all: another process goes on from what lies in Redis. */
void dfd_schedule_clear(dfd_agent_t *agent);


#endif /* DFD_AGENT_SCHEDULE_H */
