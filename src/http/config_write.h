#ifndef DFD_HTTP_CONFIG_WRITE_H
#define DFD_HTTP_CONFIG_WRITE_H

#include "http/api.h"
#include "http/audit.h"
#include "http/candidate.h"


/*
 * Puts settings into the stored record, or takes them out of it, unless
 * somebody else has changed it since it was read; the audit's entry is
 * written in the same step.  Tells the host's workers.
 */

typedef struct {
    dfd_audit_t audit;    /* who changes what */
    json_t     *stored;   /* what is written */
    uint64_t    revision; /* ... as this one */
    unsigned    enabled : 1;
    unsigned    existed : 1; /* before a delete */
} dfd_config_write_t;


/*
 * Sends the script; its reply is the integer 1, or 0 when the record is not
 * the one that was read.  Returns as dfd_redis_command(), NGX_ERROR also when
 * the secret cannot be sealed.
 */
ngx_int_t dfd_config_write(dfd_config_write_t *w, dfd_host_conf_t *conf,
                           const dfd_record_t    *record,
                           const dfd_candidate_t *candidate,
                           dfd_redis_reply_pt handler, void *data);


/* It is written: look-ups follow at once, and one line goes to the log. */
void dfd_config_write_done(dfd_config_write_t *w, dfd_host_conf_t *conf);


/*
 * config_delete.c: the same for a delete.  The script's reply is an array of
 * the machine actions that are known, as JSON, or the integer 0.
 */
ngx_int_t dfd_config_delete(dfd_config_write_t *w, dfd_host_conf_t *conf,
                            const dfd_record_t *record,
                            dfd_redis_reply_pt handler, void *data);


/* It is deleted; returns what to tell about it, NULL: no memory. */
json_t *dfd_config_delete_done(dfd_config_write_t *w, dfd_host_conf_t *conf,
                               const redisReply *reply);


void dfd_config_write_free(dfd_config_write_t *w);


#endif /* DFD_HTTP_CONFIG_WRITE_H */
