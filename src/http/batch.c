#include "http/batch.h"

#include "core/timestamp.h"
#include "http/api.h"


#define DFD_BATCH_LOAD                                                        \
    (JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL)


/* clang-format off */
static ngx_int_t dfd_batch_line(dfd_batch_t *batch, json_t **json);
static ngx_int_t dfd_batch_element(dfd_batch_t *batch, json_t **json);
static ngx_int_t dfd_batch_begin(dfd_batch_t *batch);
static ngx_int_t dfd_batch_end(dfd_batch_t *batch);
static int dfd_batch_char(dfd_batch_t *batch);
static ngx_int_t dfd_batch_not_json(dfd_batch_t *batch, size_t at);
static ngx_int_t dfd_batch_fault(dfd_batch_t *batch, const char *code,
    const char *fault);
static ngx_int_t dfd_batch_members(dfd_batch_t *batch,
    dfd_batch_item_t *item);
/* clang-format on */


void
dfd_batch_start(dfd_batch_t *batch, const ngx_str_t *body, ngx_uint_t lines,
                int64_t now)
{
    ngx_memzero(batch, sizeof(dfd_batch_t));

    batch->bytes = (char *) body->data;
    batch->len = body->len;
    batch->lines = lines;
    batch->now = now;
}


ngx_int_t
dfd_batch_next(dfd_batch_t *batch, dfd_batch_item_t *item)
{
    ngx_int_t rc;

    ngx_memzero(item, sizeof(dfd_batch_item_t));

    rc = batch->lines ? dfd_batch_line(batch, &item->json)
                      : dfd_batch_element(batch, &item->json);

    if (rc != NGX_OK) {
        return rc;
    }

    if (batch->n == DFD_BATCH_MAX) {
        rc = dfd_batch_fault(batch, "too_many",
                             "at most 10000 addresses in one request");

    } else {
        batch->n++;
        rc = dfd_batch_members(batch, item);
    }

    if (rc != NGX_OK) {
        dfd_batch_drop(item);
    }

    return rc;
}


void
dfd_batch_drop(dfd_batch_item_t *item)
{
    json_decref(item->json);
    item->json = NULL;
    item->ip = NULL;
}


static ngx_int_t
dfd_batch_line(dfd_batch_t *batch, json_t **json)
{
    size_t       start, end;
    const char  *nl;
    json_error_t error;

    while (batch->pos < batch->len) {

        start = batch->pos;

        nl = memchr(batch->bytes + start, '\n', batch->len - start);
        end = (nl == NULL) ? batch->len : (size_t) (nl - batch->bytes);

        batch->pos = start;

        (void) dfd_batch_char(batch);

        if (batch->pos >= end) { /* an empty line */
            batch->pos = ngx_min(end + 1, batch->len);
            continue;
        }

        batch->pos = ngx_min(end + 1, batch->len);

        *json = json_loadb(batch->bytes + start, end - start, DFD_BATCH_LOAD,
                           &error);

        return *json == NULL
                 ? dfd_batch_not_json(batch, start + (size_t) error.position)
                 : NGX_OK;
    }

    return NGX_DONE;
}


static ngx_int_t
dfd_batch_element(dfd_batch_t *batch, json_t **json)
{
    int          ch;
    json_error_t error;

    ch = dfd_batch_char(batch);

    if (!batch->open) {

        if (ch != '[') {
            return dfd_batch_begin(batch);
        }

        batch->open = 1;
        batch->pos++;

        if (dfd_batch_char(batch) == ']') {
            return dfd_batch_end(batch);
        }

    } else if (ch == ',') {
        batch->pos++;

    } else if (ch == ']') {
        return dfd_batch_end(batch);

    } else {
        return dfd_batch_not_json(batch, batch->pos);
    }

    *json = json_loadb(batch->bytes + batch->pos, batch->len - batch->pos,
                       DFD_BATCH_LOAD | JSON_DISABLE_EOF_CHECK, &error);

    if (*json == NULL) {
        return dfd_batch_not_json(batch, batch->pos + (size_t) error.position);
    }

    /* jansson tells here how many bytes it took */

    batch->pos += (size_t) error.position;

    return NGX_OK;
}


/* the body does not begin like an array: JSON of another kind, or no JSON */

static ngx_int_t
dfd_batch_begin(dfd_batch_t *batch)
{
    json_t      *json;
    json_error_t error;

    json = json_loadb(batch->bytes, batch->len, DFD_BATCH_LOAD, &error);

    if (json == NULL) {
        return dfd_batch_not_json(batch, (size_t) error.position);
    }

    json_decref(json);

    return dfd_batch_fault(batch, "invalid_body",
                           "the body must be a JSON array of addresses or of "
                           "objects with ip and at");
}


static ngx_int_t
dfd_batch_end(dfd_batch_t *batch)
{
    batch->pos++;

    if (dfd_batch_char(batch) != -1) {
        return dfd_batch_not_json(batch, batch->pos);
    }

    return NGX_DONE;
}


/* The next byte that is no JSON white space, which is passed; -1: the end. */

static int
dfd_batch_char(dfd_batch_t *batch)
{
    char ch;

    for (/* void */; batch->pos < batch->len; batch->pos++) {

        ch = batch->bytes[batch->pos];

        if (ch != ' ' && ch != '\t' && ch != '\n' && ch != '\r') {
            return (unsigned char) ch;
        }
    }

    return -1;
}


static ngx_int_t
dfd_batch_not_json(dfd_batch_t *batch, size_t at)
{
    (void) dfd_batch_fault(batch, "invalid_json", "the body is not JSON");

    batch->fault_at = at;

    return NGX_DECLINED;
}


static ngx_int_t
dfd_batch_fault(dfd_batch_t *batch, const char *code, const char *fault)
{
    batch->code = code;
    batch->fault = fault;
    batch->fault_at = batch->n;

    return NGX_DECLINED;
}


static ngx_int_t
dfd_batch_members(dfd_batch_t *batch, dfd_batch_item_t *item)
{
    json_t *ip, *at;

    ip = item->json;
    at = NULL;

    if (json_is_object(item->json)) {

        ip = json_object_get(item->json, "ip");
        at = json_object_get(item->json, "at");

        if (json_object_size(item->json)
            != (size_t) (ip != NULL) + (size_t) (at != NULL))
        {
            return dfd_batch_fault(batch, "invalid_element",
                                   "an element may have the members ip and at "
                                   "only");
        }
    }

    item->is_time = 1;
    item->at = batch->now;

    if (at != NULL && !json_is_null(at)) {
        item->at = dfd_api_time_json(at);
        item->is_time = (item->at != DFD_TIME_NONE);
    }

    if (json_is_string(ip)) {
        item->ip = ip;
        item->is_address = dfd_addr_parse(&item->addr, json_string_value(ip),
                                          json_string_length(ip));
    }

    return NGX_OK;
}
