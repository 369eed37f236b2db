#ifndef DFD_AGENT_EVAL_H
#define DFD_AGENT_EVAL_H

#include "client/redis.h"


/*
 * Commands of many arguments, and what came back.  Scripts go with their text
 * each time (EVAL): it is small beside a batch, and a script cache that a
 * restarted or flushed Redis has lost is no case to handle.
 */

#define DFD_EVAL_NUMBERS 256

#define DFD_EVAL_FAILED INT64_MIN

/* what a fenced script returns when the lease is not ours any more */
#define DFD_EVAL_LOST (-1)


typedef struct {
    const char **argv;
    size_t      *len;
    ngx_uint_t   n;
    ngx_uint_t   room;
    size_t       used;
    char         numbers[DFD_EVAL_NUMBERS]; /* texts of the numbers */
} dfd_eval_t;


/*
 * Begins a script with so many keys and arguments, which are added in this
 * order.  The bytes that are added must stay until dfd_eval_send().
 */
void dfd_eval_script(dfd_eval_t *eval, const char *script, ngx_uint_t keys,
                     ngx_uint_t args);

/* Begins a plain command; the name counts as one of the arguments. */
void dfd_eval_command(dfd_eval_t *eval, const char *name, ngx_uint_t args);


void dfd_eval_add(dfd_eval_t *eval, const void *data, size_t len);

void dfd_eval_text(dfd_eval_t *eval, const char *text);

void dfd_eval_uint(dfd_eval_t *eval, uint64_t number);


#define dfd_eval_str(eval, str) dfd_eval_add(eval, (str)->data, (str)->len)


/*
 * Sends it and frees what eval holds.  As dfd_redis_command(); NGX_ERROR also
 * when redis is NULL or memory ran out on the way.
 */
ngx_int_t dfd_eval_send(dfd_eval_t *eval, dfd_redis_t *redis,
                        dfd_redis_reply_pt handler, void *data);


/*
 * The integer that a script returned, or DFD_EVAL_FAILED and why: Redis's own
 * error text, the cause of a lost connection, or "unexpected reply".
 */
int64_t dfd_eval_result(const redisReply *reply, const char *cause,
                        const char **why);


/* NULL when the reply is of that type, else why not, as above */
const char *dfd_eval_unless(const redisReply *reply, int type,
                            const char *cause);


/* element i of an array as a string: its bytes, or NULL */
const char *dfd_eval_element(const redisReply *reply, size_t i, size_t *len);


/* the same as a number without sign; 0 when it is none */
uint64_t dfd_eval_number(const redisReply *reply, size_t i);


#endif /* DFD_AGENT_EVAL_H */
