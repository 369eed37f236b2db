#ifndef DFD_AGENT_AGENT_H
#define DFD_AGENT_AGENT_H

#include "host/conf.h"


/*
 * The agent: on each host one worker refreshes the snapshot; in the whole
 * fleet one of them, by the lease in Redis, polls Defender and publishes.
 */


/*
 * Starts the timers, in init_process of the first worker or of the single
 * process.  Redis down is no error: NGX_ERROR means no memory.
 */
ngx_int_t dfd_agent_start(dfd_host_conf_t *conf, ngx_cycle_t *cycle);


/* Gives the lease back and closes everything; in exit_process. */
void dfd_agent_stop(void);


#endif /* DFD_AGENT_AGENT_H */
