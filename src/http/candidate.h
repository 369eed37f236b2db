#ifndef DFD_HTTP_CANDIDATE_H
#define DFD_HTTP_CANDIDATE_H

#include "host/record.h"

#include <ngx_http.h>


/*
 * Settings that an admin proposes: the request's members over the stored
 * ones.  Shared by the call that tries them and the call that saves them, so
 * that a ticket of the first fits the second.
 */

typedef struct {
    dfd_settings_t settings; /* with the secret that would hold */
    uint64_t       revision; /* of the stored settings that it builds upon */

    unsigned new_secret : 1; /* the secret is not the stored one */
    unsigned connection : 1; /* tenant, app, cloud or secret are new */
    unsigned isolate : 1;    /* isolateEntity is switched on */
} dfd_candidate_t;


/*
 * Reads the request's body as a JSON object.  NGX_OK; else it was answered,
 * and *answer is the code.
 */
ngx_int_t dfd_candidate_body(ngx_http_request_t *r, const ngx_str_t *body,
                             json_t **json, ngx_int_t *answer);


/* Drops such a body; wipes its texts, one of which may be a secret. */
void dfd_candidate_drop(json_t *body);


/*
 * Lays body over record.  An absent secret is the stored one, but only for
 * the application that it belongs to.  NGX_OK, or NGX_DECLINED and error.
 * The candidate is to be wiped in both cases.
 */
ngx_int_t dfd_candidate_read(dfd_candidate_t    *candidate,
                             const dfd_record_t *record, const json_t *body,
                             dfd_settings_error_t *error);


void dfd_candidate_wipe(dfd_candidate_t *candidate);


/*
 * A ticket that says: exactly this connection was verified, not long ago,
 * upon the settings that are stored now.  The save that it is used for raises
 * their revision, so it cannot be used again.  NGX_OK or NGX_ERROR.
 */
ngx_int_t dfd_candidate_ticket(const dfd_host_conf_t *conf,
                               const dfd_candidate_t *candidate,
                               char                   ticket[DFD_SEAL_TICKET]);


/* Is it such a ticket for this candidate, and still good? */
ngx_uint_t dfd_candidate_verified(const dfd_host_conf_t *conf,
                                  const dfd_candidate_t *candidate,
                                  const json_t          *ticket);


/* 400: what dfd_candidate_read() found */
ngx_int_t dfd_candidate_refuse(ngx_http_request_t         *r,
                               const dfd_settings_error_t *error);


/* 409: nothing can be sealed or signed without defender_key */
ngx_int_t dfd_candidate_no_key(ngx_http_request_t *r);


#endif /* DFD_HTTP_CANDIDATE_H */
