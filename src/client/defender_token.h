#ifndef DFD_CLIENT_DEFENDER_TOKEN_H
#define DFD_CLIENT_DEFENDER_TOKEN_H

#include <ngx_config.h>
#include <ngx_core.h>

#include <jansson.h>


/* An access token in memory, and what its claims tell. */

typedef struct {
    char      *text; /* NULL: no token */
    size_t     len;
    ngx_msec_t renew; /* ngx_current_msec at which a new one is due */
    json_t    *roles; /* array of strings; NULL: no such claim */
    char       audience[128];
} dfd_defender_token_t;


/*
 * Reads the answer of the token endpoint (RFC 6749 5.1; Microsoft's
 * expires_in may be a string) into token, which must be empty.  The claims are
 * read if the token is a JWT with such claims; a missing one is no error.
 * Returns NGX_OK, or NGX_DECLINED and in why what is wrong with the answer
 * ("is not JSON"), or NGX_ERROR: no memory.
 */
ngx_int_t dfd_defender_token_read(dfd_defender_token_t *token,
                                  const char *body, size_t len, ngx_log_t *log,
                                  const char **why);


/* 1: there is a token, and it need not be renewed yet */
ngx_uint_t dfd_defender_token_valid(const dfd_defender_token_t *token);


/* Wipes and frees; the token is empty afterwards. */
void dfd_defender_token_wipe(dfd_defender_token_t *token);


#endif /* DFD_CLIENT_DEFENDER_TOKEN_H */
