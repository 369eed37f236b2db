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


/* The reply: how many of the ids are new in the stage, or DFD_EVAL_LOST. */
ngx_int_t dfd_publish_stage(dfd_agent_t *agent, const char *stage,
                            const dfd_publish_row_t *rows, ngx_uint_t n,
                            dfd_redis_reply_pt handler, void *data);


/* The reply: the new generation, or DFD_EVAL_LOST or DFD_PUBLISH_NOT_...; */
ngx_int_t dfd_publish_generation(dfd_agent_t *agent, const char *stage,
                                 ngx_uint_t devices, int64_t started,
                                 dfd_redis_reply_pt handler, void *data);


/* Removes the stage of a poll that came to nothing. */
void dfd_publish_discard(dfd_agent_t *agent, const char *stage);


#endif /* DFD_AGENT_PUBLISH_H */
