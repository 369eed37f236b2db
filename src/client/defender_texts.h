#ifndef DFD_CLIENT_DEFENDER_TEXTS_H
#define DFD_CLIENT_DEFENDER_TEXTS_H

#include "client/defender.h"


/* What an account's requests are made of. */

typedef struct {
    char  *token_url; /* {login}/{tenant}/oauth2/v2.0/token */
    char  *api;       /* without a slash at its end */
    char  *form;      /* body of the token request */
    char  *secret;
    size_t secret_len;
    char  *encoded; /* the secret as it is in the form */
} dfd_defender_texts_t;


/*
 * Makes the texts, zero-terminated and in pool, for the client credentials
 * grant of the v2.0 endpoint (RFC 6749 4.4).  NGX_ERROR: no memory; wipe then,
 * too.
 */
ngx_int_t dfd_defender_texts_create(dfd_defender_texts_t         *texts,
                                    const dfd_defender_account_t *account,
                                    ngx_pool_t                   *pool);


/* Wipes the secret in all its forms; the pool frees them. */
void dfd_defender_texts_wipe(dfd_defender_texts_t *texts);


#endif /* DFD_CLIENT_DEFENDER_TEXTS_H */
