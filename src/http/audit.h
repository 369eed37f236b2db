#ifndef DFD_HTTP_AUDIT_H
#define DFD_HTTP_AUDIT_H

#include "http/http.h"

#include "core/timestamp.h"

#include <jansson.h>


/*
 * Who changed or did what, and who was refused: an entry in the stream
 * <prefix>audit, and one line in the error log at "notice".
 */

#define DFD_AUDIT_USER    129
#define DFD_AUDIT_ADDRESS (NGX_SOCKADDR_STRLEN + 1)
#define DFD_AUDIT_MAX     "10000" /* entries, about: the oldest go */
#define DFD_AUDIT_FIELDS  8
#define DFD_AUDIT_ARGS    (2 * DFD_AUDIT_FIELDS)

/*
 * The same inside of a script: KEYS[key] is the stream, ARGV[first] and all
 * behind it what dfd_audit_args() gave.
 */
#define DFD_AUDIT_SCRIPT(key, first)                                          \
    "redis.call('XADD', KEYS[" #key "], 'MAXLEN', '~', " DFD_AUDIT_MAX        \
    ", '*', unpack(ARGV, " #first "))\n"


typedef struct {
    char        user[DFD_AUDIT_USER]; /* of defender_user; may be empty */
    char        address[DFD_AUDIT_ADDRESS];
    const char *action;   /* "config.save"; static */
    const char *outcome;  /* "done", "refused", "failed"; static */
    char        code[64]; /* why not, as in the answer; "": none */
    json_t     *changes;  /* [{"field","old","new"}]; NULL: none */
    char        time[DFD_TIME_TEXT];
    char        revision[NGX_INT64_LEN + 1]; /* of the settings; "": none */
    char       *text;                        /* the changes as sent */
} dfd_audit_t;


/* Fills in who asks for what, in a zeroed entry.  NGX_OK or NGX_ERROR. */
ngx_int_t dfd_audit_start(dfd_audit_t *audit, ngx_http_request_t *r);


/* Drops the changes. */
void dfd_audit_clear(dfd_audit_t *audit);


/*
 * Writes field and value in turn to argv, which has room for DFD_AUDIT_ARGS;
 * they point into audit.  Returns their number, 0: no memory.
 */
ngx_uint_t dfd_audit_args(dfd_audit_t *audit, ngx_str_t *argv);


/* The line in the error log. */
void dfd_audit_log(const dfd_audit_t *audit);


/*
 * Line and entry for what this request did, without waiting for Redis; code
 * may be "".
 */
void dfd_audit_done(ngx_http_request_t *r, const char *outcome,
                    const char *code);


/*
 * The same for a refused attempt, if the request is one to change something;
 * of a flood only the first of each minute, so that it cannot push the
 * changes out of the stream at once.
 */
void dfd_audit_refused(ngx_http_request_t *r, const char *code);


#endif /* DFD_HTTP_AUDIT_H */
