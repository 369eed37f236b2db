#ifndef DFD_HTTP_VERIFY_H
#define DFD_HTTP_VERIFY_H

#include "http/api.h"
#include "http/candidate.h"

#include "client/defender.h"


/* What POST /config/verify finds, one thing after the other, and its report. */

#define DFD_VERIFY_MESSAGE 640


/* in the order in which they are told */
typedef enum {
    DFD_VERIFY_SIGN_IN = 0,
    DFD_VERIFY_READ,
    DFD_VERIFY_DEVICES,
    DFD_VERIFY_ISOLATE,
    DFD_VERIFY_REDIS,
    DFD_VERIFY_N
} dfd_verify_check_t;


typedef struct {
    dfd_wait_t         wait; /* first: its handlers are given it */
    dfd_host_conf_t   *conf;
    json_t            *body; /* until the stored record has come */
    dfd_candidate_t    candidate;
    dfd_defender_t    *defender;
    dfd_verify_check_t check;                /* that is under way */
    json_t            *checks[DFD_VERIFY_N]; /* NULL: not tried */
    char               code[64];             /* why it failed, for the audit */
    u_char             scratch[32]; /* random part of a key in Redis */
    unsigned           asking : 1;  /* Redis: its handler frees us */
    unsigned           failed : 1;
} dfd_verify_t;


/* The check under way passed; detail may be NULL. */
void dfd_verify_pass(dfd_verify_t *v, const char *message, const char *detail);


/* The same, but an admin should look at something. */
void dfd_verify_warn(dfd_verify_t *v, const char *message, const char *detail);


/* The check under way failed: there will be no ticket. */
void dfd_verify_fail(dfd_verify_t *v, const char *code, const char *message,
                     const char *detail);


/* ... by an answer of Microsoft's; before (may be "") begins the message. */
void dfd_verify_refused(dfd_verify_t *v, const dfd_defender_answer_t *answer,
                        const char *before);


/* The first page of devices came: what it says about them. */
void dfd_verify_devices(dfd_verify_t *v, const dfd_defender_answer_t *answer);


/* Does the token say that the application has this permission? */
ngx_uint_t dfd_verify_has_role(const dfd_verify_t *v, const char *name);


/* "permissions in the token: Machine.Isolate, Machine.Read.All" */
void dfd_verify_roles(const dfd_verify_t *v, char text[DFD_VERIFY_MESSAGE]);


/* Sends the answer: all checks, and the ticket if none failed. */
ngx_int_t dfd_verify_report(dfd_verify_t *v);


#endif /* DFD_HTTP_VERIFY_H */
