#ifndef DFD_AGENT_ACCOUNT_H
#define DFD_AGENT_ACCOUNT_H

#include "agent/local.h"


/*
 * Takes the reply of HMGET <config>.  When the record changed: tells the
 * host's workers whether look-ups are on, stops a poll that has lost its
 * reason, and makes a Defender client for the new connection.
 */
void dfd_account_reply(dfd_agent_t *agent, const redisReply *reply);


#endif /* DFD_AGENT_ACCOUNT_H */
