#ifndef DFD_AGENT_PUBLISH_H
#define DFD_AGENT_PUBLISH_H

#include "agent/local.h"


/*
 * What a poll writes to Redis, fenced by the lease: devices go to a stage of
 * the poll's own first, then the whole stage takes the place of the former
 * devices.  Results of all: as dfd_redis_command().
 */

/* a stage whose poller died vanishes after this long without a write */
#define DFD_PUBLISH_STAGE_TTL 300000

/* room for the name of a stage's key */
#define DFD_PUBLISH_KEY 256

/* replies of the publishing script, besides DFD_EVAL_LOST */
#define DFD_PUBLISH_NOT_WHOLE (-2)
#define DFD_PUBLISH_NOT_OURS  (-3)


typedef struct {
    const char *id;
    size_t      id_len;
    const char *json; /* as Defender sent it */
    size_t      len;
} dfd_publish_row_t;


/*
 * The reply: DFD_PUBLISH_STAGED numbers (how many of the ids are new in the
 * stage; new to the devices; known to them with another record).
 */
#define DFD_PUBLISH_STAGED 3

ngx_int_t dfd_publish_stage(dfd_agent_t *agent, const char *stage,
                            const dfd_publish_row_t *rows, ngx_uint_t n,
                            dfd_redis_reply_pt handler, void *data);


/*
 * The reply: DFD_PUBLISH_DONE numbers (the new generation; how many devices
 * there were before), or one of DFD_PUBLISH_NOT_...
 */
#define DFD_PUBLISH_DONE 2

ngx_int_t dfd_publish_generation(dfd_agent_t *agent, const char *stage,
                                 ngx_uint_t devices, int64_t started,
                                 dfd_redis_reply_pt handler, void *data);


/*
 * Takes so many numbers from a reply of the two.  Returns the first of them,
 * or DFD_EVAL_FAILED and why, DFD_EVAL_LOST, DFD_PUBLISH_NOT_...
 */
int64_t dfd_publish_numbers(const redisReply *reply, const char *cause,
                            int64_t *numbers, size_t n, const char **why);


/* Removes the stage of a poll that came to nothing. */
void dfd_publish_discard(dfd_agent_t *agent, const char *stage);


#endif /* DFD_AGENT_PUBLISH_H */
