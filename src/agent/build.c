#include "agent/build.h"

#include "agent/eval.h"


/* --- in the thread: no nginx memory, no clock, no log ------------------- */

static void
dfd_build_add(dfd_build_t *build)
{
    char    *p, *last;
    uint32_t len;

    if (build->builder == NULL) {

        build->builder =
            dfd_snapshot_builder_create(&build->target, build->error);

        if (build->builder == NULL) {
            build->failed = 1;
            return;
        }
    }

    p = build->rows->bytes;
    last = p + build->rows->len;

    while (p < last && !build->stop) {

        memcpy(&len, p, sizeof(len));
        p += sizeof(len);

        if (dfd_snapshot_builder_add(build->builder, p, len) != 0) {
            build->failed = 1;
            (void) snprintf(build->error, sizeof(build->error),
                            "no memory, or no room on the disk");
            return;
        }

        p += len;
    }
}


static void
dfd_build_thread(void *data, ngx_log_t *log)
{
    dfd_build_t *build = data;

    switch (build->job) {

    case DFD_BUILD_ADD:
        dfd_build_add(build);
        return;

    case DFD_BUILD_FINISH:

        if (dfd_snapshot_builder_finish(build->builder, &build->info,
                                        build->error)
            != 0)
        {
            build->failed = 1;
        }

        return;

    case DFD_BUILD_DESTROY:
        dfd_snapshot_builder_destroy(build->builder);
        build->builder = NULL;
        return;
    }
}


/* --- on the event loop --------------------------------------------------- */

void
dfd_build_init(dfd_build_t *build, dfd_agent_t *agent,
               ngx_event_handler_pt done, void *data)
{
    build->task.ctx = build;
    build->task.handler = dfd_build_thread;
    build->task.event.data = data;
    build->task.event.handler = done;
    build->task.event.log = agent->log;

    *ngx_snprintf((u_char *) build->directory, NGX_MAX_PATH - 1, "%V",
                  &agent->conf->cache_path->name) = '\0';

    build->target.directory = build->directory;
    build->target.name = DFD_CACHE_NAME;
    build->target.portal = agent->account.cloud.portal;

    build->info.generation = agent->seen.generation;
    build->info.as_of = agent->seen.as_of;
    build->info.source = agent->account.number;
}


dfd_build_rows_t *
dfd_build_copy(const redisReply *pairs, ngx_log_t *log)
{
    u_char           *p;
    size_t            i, size, len;
    uint32_t          n;
    const char       *json;
    dfd_build_rows_t *rows;

    size = 0;

    for (i = 1; i < pairs->elements; i += 2) {

        if (dfd_eval_element(pairs, i, &len) != NULL) {
            size += sizeof(uint32_t) + len;
        }
    }

    rows = ngx_alloc(sizeof(dfd_build_rows_t) + size, log);
    if (rows == NULL) {
        return NULL;
    }

    rows->len = size;
    p = (u_char *) rows->bytes;

    for (i = 1; i < pairs->elements; i += 2) {

        json = dfd_eval_element(pairs, i, &len);

        if (json != NULL) {
            n = (uint32_t) len;
            p = ngx_cpymem(p, &n, sizeof(n));
            p = ngx_cpymem(p, json, len);
        }
    }

    return rows;
}


ngx_int_t
dfd_build_post(dfd_build_t *build, ngx_thread_pool_t *pool,
               dfd_build_job_t job)
{
    build->job = job;

    if (ngx_thread_task_post(pool, &build->task) != NGX_OK) {
        return NGX_ERROR;
    }

    build->running = 1;

    return NGX_OK;
}


void
dfd_build_completed(dfd_build_t *build)
{
    build->running = 0;

    ngx_free(build->rows);
    build->rows = NULL;
}


void
dfd_build_clear(dfd_build_t *build)
{
    if (build->builder != NULL) {
        dfd_snapshot_builder_destroy(build->builder);
        build->builder = NULL;
    }

    ngx_free(build->rows);
    build->rows = NULL;
}
