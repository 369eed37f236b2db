#ifndef DFD_CLIENT_DEFENDER_H
#define DFD_CLIENT_DEFENDER_H

#include "client/http.h"

#include <jansson.h>


/*
 * Microsoft's API for one application: token, pages of machines, throttling,
 * and errors in plain words.  The bearer token goes to the configured API
 * host only.
 */

typedef struct {
    const char *login; /* "https://login.microsoftonline.com" */
    const char *api;   /* "https://api.security.microsoft.com" */
    const char *scope;
    const char *tenant_id;
    const char *app_id;
    const char *app_secret; /* copied, wiped by destroy */
    size_t      app_secret_len;
} dfd_defender_account_t;


typedef enum {
    DFD_DEFENDER_OK = 0,
    DFD_DEFENDER_SIGN_IN,     /* the login host refused: settings are wrong */
    DFD_DEFENDER_PERMISSION,  /* 403: a role is missing */
    DFD_DEFENDER_ACCOUNT,     /* 401 with a fresh token: licence, audience */
    DFD_DEFENDER_THROTTLED,   /* 429, or still waiting for an earlier one */
    DFD_DEFENDER_UNREACHABLE, /* DNS, TCP, TLS, proxy, timeout */
    DFD_DEFENDER_SERVICE,     /* 5xx */
    DFD_DEFENDER_NOT_FOUND,   /* 404 with the API's error envelope */
    DFD_DEFENDER_REFUSED,     /* another 4xx, a redirect */
    DFD_DEFENDER_BAD_ANSWER,  /* not JSON, HTML, too large, broke off */
    DFD_DEFENDER_STOPPED,     /* the body handler asked for it */
    DFD_DEFENDER_FAILED       /* out of memory */
} dfd_defender_result_t;


typedef struct {
    dfd_defender_result_t result;
    char                  message[512]; /* what happened and what to do */
    char                  code[64]; /* "AADSTS7000215", "Forbidden", "429" */
    ngx_int_t             retry_after; /* seconds, when throttled */
    long                  status;      /* HTTP status of the last answer */
    const char           *body;        /* of a collected 200 answer */
    size_t                body_len;
} dfd_defender_answer_t;


typedef void (*dfd_defender_done_pt)(void                        *data,
                                     const dfd_defender_answer_t *answer);


typedef struct dfd_defender_s      dfd_defender_t;
typedef struct dfd_defender_call_s dfd_defender_call_t;


/* http must outlive it; account's texts are copied.  NULL: no memory. */
dfd_defender_t *dfd_defender_create(dfd_http_t                   *http,
                                    const dfd_defender_account_t *account,
                                    ngx_log_t                    *log);


/*
 * Cancels its calls without calling their handlers; wipes token and secret.
 * Allowed inside handlers of its calls.
 */
void dfd_defender_destroy(dfd_defender_t *defender);


/*
 * Gets a token (or uses the one in memory) and tells in answer whether
 * sign-in works.  With it known, dfd_defender_roles() tells the token's roles.
 * All calls: NULL means not started; done is called exactly once otherwise,
 * never from inside the starting call.
 */
dfd_defender_call_t *dfd_defender_sign_in(dfd_defender_t      *defender,
                                          dfd_defender_done_pt done,
                                          void                *data);


/*
 * The "roles" claim of the token in memory (an array of strings, possibly
 * empty), borrowed until the next token; NULL when there is no token or no
 * such claim.  A token that the API refused stays readable here, although the
 * next call asks for a new one.
 */
const json_t *dfd_defender_roles(const dfd_defender_t *defender);


/*
 * GET api/machines?$top=..&$skip=..; the body of a 200 answer goes to `body`
 * as it arrives, up to 64 MB; whether it was whole JSON is for the caller to
 * find out.  NULL: collected into answer->body, at most 1 MB, with the braces
 * of a JSON object around it.
 * A 401 gets one new token and one more try, before any byte was handed up.
 * The body handler may start and cancel calls and destroy the client.
 */
dfd_defender_call_t *dfd_defender_machines(dfd_defender_t *defender,
                                           ngx_uint_t top, ngx_uint_t skip,
                                           dfd_http_body_pt     body,
                                           dfd_defender_done_pt done,
                                           void                *data);


/*
 * Tries, without touching any device, whether the API lets this application
 * isolate: asks it to isolate a device whose id cannot exist.  The answer
 * DFD_DEFENDER_NOT_FOUND says that it may, DFD_DEFENDER_PERMISSION that it may
 * not; DFD_DEFENDER_OK never comes.
 */
dfd_defender_call_t *dfd_defender_try_isolate(dfd_defender_t      *defender,
                                              dfd_defender_done_pt done,
                                              void                *data);


void dfd_defender_cancel(dfd_defender_call_t *call);


/* Seconds until the API may be called again (Retry-After), 0: now. */
ngx_int_t dfd_defender_throttled(const dfd_defender_t *defender);


/*
 * Calls of this process to the API, without those for tokens, in the last
 * minute and the last hour: Microsoft allows 100 and 1,500.
 */
void dfd_defender_rate(ngx_uint_t *minute, ngx_uint_t *hour);


#endif /* DFD_CLIENT_DEFENDER_H */
