#ifndef DFD_HTTP_CONFIG_WRITE_H
#define DFD_HTTP_CONFIG_WRITE_H

#include "http/api.h"
#include "http/candidate.h"


/*
 * Puts settings into the stored record, unless somebody else has done so
 * since it was read, and tells the host's workers.
 */

#define DFD_CONFIG_USER  129
#define DFD_CONFIG_NAMES 128


typedef struct {
    char     user[DFD_CONFIG_USER];     /* who saves, for record and log */
    json_t  *stored;                    /* what is written */
    uint64_t revision;                  /* ... as this one */
    char     changed[DFD_CONFIG_NAMES]; /* names of its new members */
    unsigned enabled : 1;
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
void dfd_config_write_done(const dfd_config_write_t *w, dfd_host_conf_t *conf);


#endif /* DFD_HTTP_CONFIG_WRITE_H */
