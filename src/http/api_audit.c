#include "http/api.h"
#include "http/audit.h"

#include <stdlib.h>


/* GET /audit?limit=&before=: the stream <prefix>audit, newest first. */

#define DFD_AUDIT_LIMIT     100
#define DFD_AUDIT_MAX_LIMIT 1000
#define DFD_AUDIT_ID        (2 * NGX_INT64_LEN + 2)


typedef struct {
    dfd_wait_t wait; /* first: its handlers are given it */
    ngx_uint_t limit;
} dfd_audit_read_t;


/* clang-format off */
static ngx_int_t dfd_audit_limit(ngx_http_request_t *r, ngx_uint_t *limit);
static ngx_int_t dfd_audit_before(ngx_http_request_t *r,
    u_char last[DFD_AUDIT_ID]);
static ngx_int_t dfd_audit_number(const u_char *p, size_t len,
    uint64_t *number);
static ngx_int_t dfd_audit_ask(dfd_audit_read_t *a, dfd_host_conf_t *conf,
    const u_char *last);
static void dfd_audit_came(void *data, redisReply *reply, const char *cause);
static ngx_int_t dfd_audit_show(ngx_http_request_t *r,
    const redisReply *reply, ngx_uint_t limit);
static json_t *dfd_audit_entry(const redisReply *entry);
static void dfd_audit_late(dfd_wait_t *wait);
/* clang-format on */


ngx_int_t
dfd_api_audit_get(ngx_http_request_t *r, ngx_str_t *body)
{
    u_char            last[DFD_AUDIT_ID];
    ngx_int_t         rc;
    ngx_uint_t        limit;
    dfd_host_conf_t  *conf;
    dfd_audit_read_t *a;

    if (dfd_audit_limit(r, &limit) != NGX_OK) {
        return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_limit",
                                 "limit",
                                 "the argument limit must be a number from 1 "
                                 "to 1000",
                                 NULL);
    }

    if (dfd_audit_before(r, last) != NGX_OK) {
        return dfd_reply_problem(r, NGX_HTTP_BAD_REQUEST, "invalid_before",
                                 "before",
                                 "the argument before must be the id of an "
                                 "entry, like 1764032400000-0",
                                 NULL);
    }

    a = ngx_calloc(sizeof(dfd_audit_read_t), ngx_cycle->log);
    if (a == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    conf = ngx_http_defender_host_conf(r);

    a->limit = limit;
    a->wait.late = dfd_audit_late;

    rc = dfd_wait_start(&a->wait, r, dfd_api_redis_deadline(conf));

    if (rc == NGX_OK) {
        rc = dfd_audit_ask(a, conf, last);

        if (rc == NGX_OK) {
            return NGX_DONE;
        }

        (void) dfd_wait_take(&a->wait);
    }

    ngx_free(a);

    return rc == NGX_BUSY ? dfd_api_cache_down(r, NULL)
                          : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


static ngx_int_t
dfd_audit_limit(ngx_http_request_t *r, ngx_uint_t *limit)
{
    uint64_t  number;
    ngx_str_t value;

    *limit = DFD_AUDIT_LIMIT;

    if (ngx_http_arg(r, (u_char *) "limit", 5, &value) != NGX_OK) {
        return NGX_OK;
    }

    if (dfd_audit_number(value.data, value.len, &number) != NGX_OK
        || number == 0 || number > DFD_AUDIT_MAX_LIMIT)
    {
        return NGX_ERROR;
    }

    *limit = (ngx_uint_t) number;

    return NGX_OK;
}


/*
 * The newest id that is older than the given one.  Redis before 6.2 knows no
 * exclusive ranges, so it is counted down here; an id without its second
 * number stands for the newest of that millisecond.
 */

static ngx_int_t
dfd_audit_before(ngx_http_request_t *r, u_char last[DFD_AUDIT_ID])
{
    u_char   *dash, *end;
    uint64_t  ms, n;
    ngx_str_t value;

    if (ngx_http_arg(r, (u_char *) "before", 6, &value) != NGX_OK) {
        last[0] = '+';
        last[1] = '\0';
        return NGX_OK;
    }

    end = value.data + value.len;
    dash = ngx_strlchr(value.data, end, '-');

    if (dash == NULL
        || dfd_audit_number(value.data, (size_t) (dash - value.data), &ms)
               != NGX_OK
        || dfd_audit_number(dash + 1, (size_t) (end - dash - 1), &n) != NGX_OK
        || (ms == 0 && n == 0))
    {
        return NGX_ERROR;
    }

    if (n == 0) {
        (void) ngx_sprintf(last, "%uL%Z", ms - 1);

    } else {
        (void) ngx_sprintf(last, "%uL-%uL%Z", ms, n - 1);
    }

    return NGX_OK;
}


/* decimal digits that fit into an int64_t, which no id in use exceeds */

static ngx_int_t
dfd_audit_number(const u_char *p, size_t len, uint64_t *number)
{
    ngx_int_t n;

    n = ngx_atoi((u_char *) p, len);

    *number = (uint64_t) n;

    return n == NGX_ERROR ? NGX_ERROR : NGX_OK;
}


static ngx_int_t
dfd_audit_ask(dfd_audit_read_t *a, dfd_host_conf_t *conf, const u_char *last)
{
    u_char    count[NGX_INT_T_LEN];
    ngx_str_t argv[6];

    /* one more tells whether there are more */

    ngx_str_set(&argv[0], "XREVRANGE");
    argv[1] = conf->keys.audit;
    argv[2].data = (u_char *) last;
    argv[2].len = ngx_strlen(last);
    ngx_str_set(&argv[3], "-");
    ngx_str_set(&argv[4], "COUNT");
    argv[5].data = count;
    argv[5].len = (size_t) (ngx_sprintf(count, "%ui", a->limit + 1) - count);

    return dfd_api_redis_command(conf, dfd_audit_came, a, 6, argv);
}


static void
dfd_audit_came(void *data, redisReply *reply, const char *cause)
{
    dfd_audit_read_t *a = data;

    ngx_int_t           rc;
    ngx_uint_t          limit;
    ngx_http_request_t *r;

    limit = a->limit;
    r = dfd_wait_take(&a->wait);

    ngx_free(a);

    if (r == NULL) {
        return;
    }

    if (reply == NULL) {
        rc = dfd_api_cache_down(r, cause);

    } else if (reply->type != REDIS_REPLY_ARRAY) {
        rc = dfd_api_cache_error(r, reply);

    } else {
        rc = dfd_audit_show(r, reply, limit);
    }

    dfd_wait_finalize(r, rc);
}


static ngx_int_t
dfd_audit_show(ngx_http_request_t *r, const redisReply *reply,
               ngx_uint_t limit)
{
    size_t  i;
    json_t *json, *entries;

    entries = json_array();

    for (i = 0; i < reply->elements && i < limit; i++) {
        (void) json_array_append_new(entries,
                                     dfd_audit_entry(reply->element[i]));
    }

    json = json_pack("{s:O}", "entries", entries);

    if (reply->elements > limit) {
        (void) json_object_set(
            json, "next",
            json_object_get(json_array_get(entries, limit - 1), "id"));
    }

    json_decref(entries);

    return dfd_reply_json(r, NGX_HTTP_OK, json);
}


/* [id, [name, value, ...]]; values are what dfd_audit_args() wrote */

static json_t *
dfd_audit_entry(const redisReply *entry)
{
    size_t            i;
    json_t           *json, *value;
    const redisReply *fields, *name, *text;

    json = json_object();

    if (entry->type != REDIS_REPLY_ARRAY || entry->elements != 2
        || entry->element[0]->type != REDIS_REPLY_STRING
        || entry->element[1]->type != REDIS_REPLY_ARRAY)
    {
        return json;
    }

    (void) json_object_set_new(json, "id",
                               json_string(entry->element[0]->str));

    fields = entry->element[1];

    for (i = 0; i + 1 < fields->elements; i += 2) {

        name = fields->element[i];
        text = fields->element[i + 1];

        if (name->type != REDIS_REPLY_STRING
            || text->type != REDIS_REPLY_STRING) {
            continue;
        }

        if (ngx_strcmp(name->str, "changes") == 0) {
            value = json_loadb(text->str, text->len, 0, NULL);

        } else if (ngx_strcmp(name->str, "revision") == 0) {
            value = json_integer(strtoll(text->str, NULL, 10));

        } else {
            value = json_stringn(text->str, text->len);
        }

        if (value != NULL) {
            (void) json_object_set_new(json, name->str, value);
        }
    }

    return json;
}


static void
dfd_audit_late(dfd_wait_t *wait)
{
    ngx_int_t           rc;
    ngx_http_request_t *r;

    /* its operation is freed when the reply comes */

    r = dfd_wait_take(wait);

    rc = dfd_api_cache_down(r, "no answer in time");

    dfd_wait_finalize(r, rc);
}
