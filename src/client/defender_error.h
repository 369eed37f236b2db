#ifndef DFD_CLIENT_DEFENDER_ERROR_H
#define DFD_CLIENT_DEFENDER_ERROR_H

#include "client/defender.h"


/*
 * What Microsoft's hosts answer, in plain words for an administrator: what
 * happened and what to do.  All functions fill result, message, code, status
 * and retry_after of an answer that is zeroed.
 */

#define DFD_DEFENDER_MAX_WAIT     3600 /* seconds of a Retry-After */
#define DFD_DEFENDER_DEFAULT_WAIT 60   /* of a 429 without one */


/*
 * Texts that must not come back in a message, even if a server echoes them:
 * the secret, the secret as encoded for the form, the token.  Each may be
 * NULL.
 */
typedef struct {
    const char *secret;
    const char *encoded;
    const char *token;
} dfd_defender_hidden_t;


/*
 * An answer of the login host that brought no token.  AADSTS numbers and
 * their meaning: Microsoft identity platform, "Authentication and
 * authorization error codes".
 */
void dfd_defender_error_sign_in(dfd_defender_answer_t       *answer,
                                const dfd_http_answer_t     *http,
                                const dfd_defender_hidden_t *hidden);


/*
 * An answer of the API other than 200.  role: the application permission that
 * the call needs; audience: the "aud" claim of the token that was sent, or
 * "".  Codes: Defender for Endpoint API, "Common REST API error codes".
 */
void dfd_defender_error_api(dfd_defender_answer_t       *answer,
                            const dfd_http_answer_t     *http,
                            const dfd_defender_hidden_t *hidden,
                            const char *role, const char *audience);


/*
 * What is the same for both hosts: no answer at all, a redirect, too many
 * requests, trouble of the service.  Returns 1 when it was one of these; code
 * is the server's own, or "".
 */
ngx_uint_t dfd_defender_error_common(dfd_defender_answer_t   *answer,
                                     const dfd_http_answer_t *http,
                                     const char              *code);


/* Sets all three; a message that is too long ends with a whole character. */
void dfd_defender_error_set(dfd_defender_answer_t *answer,
                            dfd_defender_result_t result, const char *code,
                            const char *format, ...)
    __attribute__((format(printf, 4, 5)));


/* Seconds to wait: the Retry-After header, bounded, or the default. */
ngx_int_t dfd_defender_error_wait(const dfd_http_answer_t *http);


/* An answer that should have been JSON; why: "is not JSON" or the like. */
void dfd_defender_error_content(dfd_defender_answer_t   *answer,
                                const dfd_http_answer_t *http,
                                const char              *why);


/* The client still waits, seconds from now, for an earlier Retry-After. */
void dfd_defender_error_waiting(dfd_defender_answer_t *answer,
                                ngx_int_t              seconds);


/* The call could not be started. */
void dfd_defender_error_not_started(dfd_defender_answer_t *answer);


/* 1: JSON by its media type ("application/json", "text/json", "...+json") */
ngx_uint_t dfd_defender_error_is_json(const char *content_type);


/*
 * Copies src for use in a message: no control characters, no runs of blanks,
 * whole UTF-8 sequences, always zero-terminated; empty when it holds a hidden
 * text.  hidden may be NULL.
 */
void dfd_defender_error_clean(char *dst, size_t size, const char *src,
                              const dfd_defender_hidden_t *hidden);


#endif /* DFD_CLIENT_DEFENDER_ERROR_H */
