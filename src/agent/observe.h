#ifndef DFD_AGENT_OBSERVE_H
#define DFD_AGENT_OBSERVE_H

#include "agent/local.h"


/*
 * Asks Redis for everything that may have changed: settings, generation,
 * lease holder, the poller's state, a poll asked for.  Does nothing while the
 * former question has no answer yet.  A whole and good answer ends in
 * dfd_agent_observed().
 */
void dfd_observe_ask(dfd_agent_t *agent);


/* Drops what was read. */
void dfd_observe_clear(dfd_agent_t *agent);


#endif /* DFD_AGENT_OBSERVE_H */
