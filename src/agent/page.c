#include "agent/page.h"

#include "agent/eval.h"
#include "agent/lease.h"
#include "agent/publish.h"
#include "core/json_cut.h"
#include "core/json_load.h"


/*
 * A batch is one script in Redis: large enough to be quick, small enough for
 * Redis's other clients (about 0.3 ms each).
 */
#define DFD_PAGE_BATCH_ROWS  64
#define DFD_PAGE_BATCH_BYTES (128 * 1024)

/*
 * Batches on the way to Redis, which does all that have come in before it
 * turns to its other clients.
 */
#define DFD_PAGE_AHEAD 2

/* records read in one go: jansson takes about 13 ns a byte */
#define DFD_PAGE_SLICE (32 * 1024)

/* a machine has 2 KB, thousands of tags included it stays below this */
#define DFD_PAGE_MAX_RECORD (1024 * 1024)

/* 40 hex digits are usual; longer texts than this are no id */
#define DFD_PAGE_MAX_ID 128


typedef struct dfd_page_batch_s dfd_page_batch_t;

struct dfd_page_batch_s {
    dfd_page_batch_t *next;
    ngx_uint_t        n;    /* records in it */
    ngx_uint_t        read; /* of them, read by jansson */
    ngx_uint_t        usable;
    size_t            used;
    size_t            size;
    uint32_t          len[DFD_PAGE_BATCH_ROWS];
    size_t            offset; /* of the next record to read */
    dfd_publish_row_t rows[DFD_PAGE_BATCH_ROWS]; /* the usable ones */
    char              ids[DFD_PAGE_BATCH_ROWS][DFD_PAGE_MAX_ID];
    char              bytes[];
};


struct dfd_page_s {
    dfd_agent_t     *agent;
    const char      *stage;
    dfd_page_done_pt done;
    void            *data;

    dfd_json_cut_t   *cut;
    ngx_event_t       work;
    dfd_page_batch_t *head; /* batches that are still to be sent */
    dfd_page_batch_t *tail;

    ngx_uint_t asked;   /* replies of Redis that are to come */
    ngx_uint_t ended;   /* no more bytes */
    ngx_uint_t dropped; /* nobody waits for done any more */

    dfd_page_result_t result;
};


static int dfd_page_record(void *data, const char *json, size_t len);

static void dfd_page_work(ngx_event_t *ev);


dfd_page_t *
dfd_page_create(dfd_agent_t *agent, const char *stage, dfd_page_done_pt done,
                void *data)
{
    dfd_page_t *page;

    page = ngx_calloc(sizeof(dfd_page_t), agent->log);
    if (page == NULL) {
        return NULL;
    }

    page->cut =
        dfd_json_cut_create(DFD_PAGE_MAX_RECORD, dfd_page_record, page);
    if (page->cut == NULL) {
        ngx_free(page);
        return NULL;
    }

    page->agent = agent;
    page->stage = stage;
    page->done = done;
    page->data = data;

    dfd_agent_event(agent, &page->work, dfd_page_work);

    return page;
}


static void
dfd_page_forget_batches(dfd_page_t *page)
{
    dfd_page_batch_t *batch;

    while (page->head != NULL) {
        batch = page->head;
        page->head = batch->next;
        ngx_free(batch);
    }

    page->tail = NULL;

    if (page->work.posted) {
        ngx_delete_posted_event(&page->work);
    }
}


void
dfd_page_drop(dfd_page_t *page)
{
    if (page == NULL) {
        return;
    }

    dfd_page_forget_batches(page);

    if (page->cut != NULL) {
        dfd_json_cut_destroy(page->cut);
        page->cut = NULL;
    }

    page->dropped = 1;

    if (page->asked == 0) {
        ngx_free(page);
    }
}


static void
dfd_page_set_error(dfd_page_t *page, dfd_page_error_t error, const char *text)
{
    page->result.error = error;

    (void) ngx_cpystrn((u_char *) page->result.message, (u_char *) text,
                       DFD_AGENT_TEXT);
}


/* an error after which the whole walk is over: there is no need to wait */
static void
dfd_page_fail(dfd_page_t *page, dfd_page_error_t error, const char *text)
{
    dfd_page_set_error(page, error, text);
    dfd_page_forget_batches(page);

    page->done(page->data, &page->result);
}


static void
dfd_page_check(dfd_page_t *page)
{
    if (page->ended && page->head == NULL && page->asked == 0) {
        page->done(page->data, &page->result);
    }
}


ngx_int_t
dfd_page_feed(dfd_page_t *page, const char *bytes, size_t len)
{
    char text[128];

    switch (dfd_json_cut_feed(page->cut, bytes, len)) {

    case DFD_CUT_OK:
        return NGX_OK;

    case DFD_CUT_TOO_LARGE:
        dfd_page_set_error(page, DFD_PAGE_BAD,
                           "the answer has a record of more than 1 MB");
        return NGX_ERROR;

    case DFD_CUT_MALFORMED:
        *ngx_snprintf((u_char *) text, sizeof(text) - 1,
                      "the answer is no JSON list of machines (byte %uL)",
                      dfd_json_cut_error_offset(page->cut)) = '\0';
        dfd_page_set_error(page, DFD_PAGE_BAD, text);
        return NGX_ERROR;

    default:
        dfd_page_set_error(page, DFD_PAGE_MEMORY, "out of memory");
        return NGX_ERROR;
    }
}


/* called by the cutter, inside libcurl: only takes the bytes */
static int
dfd_page_record(void *data, const char *json, size_t len)
{
    dfd_page_t *page = data;

    size_t            size;
    dfd_page_batch_t *batch;

    page->result.rows++;

    batch = page->tail;

    if (batch == NULL || batch->n == DFD_PAGE_BATCH_ROWS
        || batch->size - batch->used < len)
    {
        size = ngx_max(len, DFD_PAGE_BATCH_BYTES);

        batch = ngx_alloc(sizeof(dfd_page_batch_t) + size, page->agent->log);
        if (batch == NULL) {
            return 1;
        }

        ngx_memzero(batch, offsetof(dfd_page_batch_t, rows));
        batch->size = size;

        if (page->tail != NULL) {
            page->tail->next = batch;

        } else {
            page->head = batch;
        }

        page->tail = batch;
    }

    ngx_memcpy(batch->bytes + batch->used, json, len);

    batch->used += len;
    batch->len[batch->n++] = (uint32_t) len;

    ngx_post_event(&page->work, &ngx_posted_next_events);

    return 0;
}


/* why it is no machine, or DFD_SKIP_N */
static dfd_skip_t
dfd_page_find_fault(const char *json, const json_t *machine)
{
    size_t        len;
    const json_t *id;

    if (!json_is_object(machine)) {
        /* the cutter leaves no blanks before it */
        return (json[0] == '{') ? DFD_SKIP_JSON : DFD_SKIP_OBJECT;
    }

    id = json_object_get(machine, "id");
    len = json_string_length(id);

    if (id == NULL || json_is_null(id) || (json_is_string(id) && len == 0)) {
        return DFD_SKIP_NO_ID;
    }

    return (len == 0 || len > DFD_PAGE_MAX_ID
            || memchr(json_string_value(id), '\0', len) != NULL)
             ? DFD_SKIP_BAD_ID
             : DFD_SKIP_N;
}


/*
 * Is it an object with an id?  Oddities of the other members do not matter.
 * NGX_ERROR: out of memory, nothing is known of it.
 */
static ngx_int_t
dfd_page_read_record(dfd_page_t *page, dfd_page_batch_t *batch)
{
    int                no_memory;
    char              *json;
    size_t             len, id_len;
    json_t            *machine, *id;
    dfd_skip_t         fault;
    dfd_publish_row_t *row;

    json = batch->bytes + batch->offset;
    len = batch->len[batch->read++];
    batch->offset += len;

    machine = dfd_json_load(json, len, &no_memory);

    if (no_memory) {
        return NGX_ERROR;
    }

    fault = dfd_page_find_fault(json, machine);

    if (fault != DFD_SKIP_N) {
        page->result.skipped[fault]++;
        json_decref(machine);
        return NGX_OK;
    }

    id = json_object_get(machine, "id");
    id_len = json_string_length(id);

    row = &batch->rows[batch->usable];

    row->id = batch->ids[batch->usable];
    row->id_len = id_len;
    row->json = json;
    row->len = len;

    ngx_memcpy(batch->ids[batch->usable], json_string_value(id), id_len);
    batch->usable++;

    json_decref(machine);

    return NGX_OK;
}


static void
dfd_page_staged(void *data, redisReply *reply, const char *cause)
{
    dfd_page_t *page = data;

    int64_t     n, numbers[DFD_PUBLISH_STAGED];
    const char *why;

    page->asked--;

    if (page->dropped) {

        if (page->asked == 0) {
            ngx_free(page);
        }

        return;
    }

    if (page->result.error > DFD_PAGE_BAD) {
        return;
    }

    n = dfd_publish_numbers(reply, cause, numbers, DFD_PUBLISH_STAGED, &why);

    if (n == DFD_EVAL_FAILED) {
        dfd_page_fail(page, DFD_PAGE_CACHE, why);
        return;
    }

    if (n == DFD_EVAL_LOST) {
        dfd_page_fail(page, DFD_PAGE_LOST, "the lease is lost");
        return;
    }

    page->result.fresh += numbers[0];
    page->result.added += numbers[1];
    page->result.changed += numbers[2];

    if (page->head != NULL) {
        ngx_post_event(&page->work, &ngx_posted_next_events);
        return;
    }

    dfd_page_check(page);
}


/* NGX_OK, or the page has failed */
static ngx_int_t
dfd_page_send(dfd_page_t *page, dfd_page_batch_t *batch)
{
    ngx_int_t rc;

    if (batch->usable == 0) {
        return NGX_OK;
    }

    if (!dfd_lease_held(page->agent)) {
        dfd_page_fail(page, DFD_PAGE_LOST, "the lease is lost");
        return NGX_ERROR;
    }

    rc = dfd_publish_stage(page->agent, page->stage, batch->rows,
                           batch->usable, dfd_page_staged, page);

    if (rc == NGX_OK) {
        page->asked++;
        return NGX_OK;
    }

    if (rc == NGX_BUSY) {
        dfd_page_fail(page, DFD_PAGE_CACHE, "Redis takes no commands");

    } else {
        dfd_page_fail(page, DFD_PAGE_MEMORY, "out of memory");
    }

    return NGX_ERROR;
}


static void
dfd_page_work(ngx_event_t *ev)
{
    size_t            bytes;
    ngx_int_t         rc;
    dfd_page_t       *page;
    dfd_page_batch_t *batch;

    page = (dfd_page_t *) ((u_char *) ev - offsetof(dfd_page_t, work));

    bytes = 0;

    for (batch = page->head; batch != NULL; batch = page->head) {

        while (batch->read < batch->n) {

            if (bytes >= DFD_PAGE_SLICE) {
                ngx_post_event(ev, &ngx_posted_next_events);
                return;
            }

            bytes += batch->len[batch->read];

            if (dfd_page_read_record(page, batch) != NGX_OK) {
                dfd_page_fail(page, DFD_PAGE_MEMORY, "out of memory");
                return;
            }
        }

        if ((batch == page->tail && !page->ended)
            || page->asked == DFD_PAGE_AHEAD) {
            /* it may still get more records, or a reply will bring us back */
            return;
        }

        page->head = batch->next;

        if (page->head == NULL) {
            page->tail = NULL;
        }

        rc = dfd_page_send(page, batch);

        ngx_free(batch);

        if (rc != NGX_OK) {
            return;
        }
    }

    dfd_page_check(page);
}


void
dfd_page_end(dfd_page_t *page)
{
    page->ended = 1;

    if (dfd_json_cut_finish(page->cut) != DFD_CUT_OK) {
        dfd_page_set_error(page, DFD_PAGE_BAD,
                           "the answer is no whole JSON list of machines");
    }

    page->result.next_link = dfd_json_cut_has_next_link(page->cut);

    if (page->head != NULL) {
        ngx_post_event(&page->work, &ngx_posted_next_events);
        return;
    }

    dfd_page_check(page);
}


void
dfd_page_abandon(dfd_page_t *page)
{
    page->ended = 1;

    dfd_page_forget_batches(page);
    dfd_page_check(page);
}
