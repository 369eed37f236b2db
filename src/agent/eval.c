#include "agent/eval.h"


static void
dfd_eval_begin(dfd_eval_t *eval, ngx_uint_t room)
{
    eval->n = 0;
    eval->used = 0;
    eval->room = room;
    eval->len = NULL;
    eval->argv = calloc(room, sizeof(char *));

    if (eval->argv != NULL) {
        eval->len = calloc(room, sizeof(size_t));
    }
}


void
dfd_eval_script(dfd_eval_t *eval, const char *script, ngx_uint_t keys,
                ngx_uint_t args)
{
    dfd_eval_begin(eval, 3 + keys + args);

    dfd_eval_text(eval, "EVAL");
    dfd_eval_text(eval, script);
    dfd_eval_uint(eval, keys);
}


void
dfd_eval_command(dfd_eval_t *eval, const char *name, ngx_uint_t args)
{
    dfd_eval_begin(eval, args);

    dfd_eval_text(eval, name);
}


void
dfd_eval_add(dfd_eval_t *eval, const void *data, size_t len)
{
    if (eval->len == NULL || eval->n == eval->room) {
        eval->room = 0; /* refused by dfd_eval_send() */
        return;
    }

    eval->argv[eval->n] = data;
    eval->len[eval->n] = len;
    eval->n++;
}


void
dfd_eval_text(dfd_eval_t *eval, const char *text)
{
    dfd_eval_add(eval, text, ngx_strlen(text));
}


void
dfd_eval_uint(dfd_eval_t *eval, uint64_t number)
{
    char   *text;
    u_char *last;

    if (eval->used + NGX_INT64_LEN > DFD_EVAL_NUMBERS) {
        eval->room = 0;
        return;
    }

    text = eval->numbers + eval->used;
    last = ngx_sprintf((u_char *) text, "%uL", number);

    dfd_eval_add(eval, text, last - (u_char *) text);

    eval->used += last - (u_char *) text;
}


ngx_int_t
dfd_eval_send(dfd_eval_t *eval, dfd_redis_t *redis, dfd_redis_reply_pt handler,
              void *data)
{
    ngx_int_t rc;

    rc = NGX_ERROR;

    if (redis != NULL && eval->len != NULL && eval->room != 0) {
        rc = dfd_redis_command(redis, handler, data, eval->n, eval->argv,
                               eval->len);
    }

    free(eval->argv);
    free(eval->len);

    eval->argv = NULL;
    eval->len = NULL;

    return rc;
}


const char *
dfd_eval_unless(const redisReply *reply, int type, const char *cause)
{
    if (reply == NULL) {
        return (cause != NULL) ? cause : "no reply";
    }

    if (reply->type == type) {
        return NULL;
    }

    if (reply->type == REDIS_REPLY_ERROR) {
        return reply->str;
    }

    return "unexpected reply";
}


int64_t
dfd_eval_result(const redisReply *reply, const char *cause, const char **why)
{
    *why = dfd_eval_unless(reply, REDIS_REPLY_INTEGER, cause);

    return (*why == NULL) ? reply->integer : DFD_EVAL_FAILED;
}


const char *
dfd_eval_element(const redisReply *reply, size_t i, size_t *len)
{
    const redisReply *element;

    if (i >= reply->elements) {
        return NULL;
    }

    element = reply->element[i];

    if (element->type != REDIS_REPLY_STRING) {
        return NULL;
    }

    *len = (size_t) element->len;

    return element->str;
}


uint64_t
dfd_eval_number(const redisReply *reply, size_t i)
{
    size_t      len;
    ngx_int_t   n;
    const char *text;

    text = dfd_eval_element(reply, i, &len);
    if (text == NULL) {
        return 0;
    }

    n = ngx_atoi((u_char *) text, len);

    return (n == NGX_ERROR) ? 0 : (uint64_t) n;
}
