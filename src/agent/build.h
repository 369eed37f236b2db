#ifndef DFD_AGENT_BUILD_H
#define DFD_AGENT_BUILD_H

#include "agent/local.h"

#include <ngx_thread_pool.h>


/*
 * The part of a refresh that a thread does: records in, snapshot file out.
 * One job at a time.  While it runs, all of this is the thread's but the flag
 * `stop`.
 */

typedef enum {
    DFD_BUILD_ADD = 0, /* the rows */
    DFD_BUILD_FINISH,  /* index and header; renames the file into place */
    DFD_BUILD_DESTROY  /* what was begun */
} dfd_build_job_t;


/* records, each with its length before it */
typedef struct {
    size_t len;
    char   bytes[];
} dfd_build_rows_t;


typedef struct {
    ngx_thread_task_t task;
    ngx_uint_t        running;

    dfd_build_job_t         job;
    dfd_build_rows_t       *rows; /* owned */
    dfd_snapshot_builder_t *builder;
    dfd_snapshot_target_t   target;
    dfd_snapshot_info_t     info;
    ngx_uint_t              failed;
    char                    error[DFD_SNAPSHOT_ERROR];
    char                    directory[NGX_MAX_PATH];

    volatile sig_atomic_t stop;
} dfd_build_t;


/*
 * done: the event handler, with ev->data = data, after each job.  build is
 * zeroed memory.
 */
void dfd_build_init(dfd_build_t *build, dfd_agent_t *agent,
                    ngx_event_handler_pt done, void *data);


/* Takes the values of an array of names and values.  NULL: no memory. */
dfd_build_rows_t *dfd_build_copy(const redisReply *pairs, ngx_log_t *log);


/* Gives the thread a job.  NGX_ERROR: its queue is full. */
ngx_int_t dfd_build_post(dfd_build_t *build, ngx_thread_pool_t *pool,
                         dfd_build_job_t job);


/* After each job, in the done handler. */
void dfd_build_completed(dfd_build_t *build);


/* Frees what build holds, and removes a file that was not finished. */
void dfd_build_clear(dfd_build_t *build);


#endif /* DFD_AGENT_BUILD_H */
