#include "http/audit.h"

#include "http/api.h"


#define DFD_AUDIT_REFUSED 60    /* entries of one process ... */
#define DFD_AUDIT_WINDOW  60000 /* ... in so many ms */


typedef struct {
    ngx_msec_t until;
    ngx_uint_t entries;
    ngx_uint_t dropped;
} dfd_audit_window_t;


static dfd_audit_window_t dfd_audit_window;


static ngx_uint_t dfd_audit_room(void);
static void       dfd_audit_send(dfd_host_conf_t *conf, dfd_audit_t *audit);
static void dfd_audit_names(const dfd_audit_t *audit, u_char *p, u_char *last);


ngx_int_t
dfd_audit_start(dfd_audit_t *audit, ngx_http_request_t *r)
{
    ngx_str_t                     user;
    ngx_http_defender_loc_conf_t *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_defender_module);

    if (ngx_http_defender_user(r, lcf, &user) != NGX_OK) {
        return NGX_ERROR;
    }

    (void) ngx_cpystrn((u_char *) audit->user, user.data,
                       ngx_min(user.len + 1, sizeof(audit->user)));
    (void) ngx_cpystrn(
        (u_char *) audit->address, r->connection->addr_text.data,
        ngx_min(r->connection->addr_text.len + 1, sizeof(audit->address)));

    audit->action = dfd_api_action(r);

    if (audit->action == NULL) {
        audit->action = "";
    }

    audit->outcome = "done";

    return NGX_OK;
}


void
dfd_audit_clear(dfd_audit_t *audit)
{
    json_decref(audit->changes);
    audit->changes = NULL;

    free(audit->text);
    audit->text = NULL;
}


ngx_uint_t
dfd_audit_args(dfd_audit_t *audit, ngx_str_t *argv)
{
    size_t     i;
    ngx_uint_t n;

    const struct {
        const char *name;
        const char *value;
    } fields[] = {
        { "time", audit->time },         { "user", audit->user },
        { "address", audit->address },   { "action", audit->action },
        { "outcome", audit->outcome },   { "code", audit->code },
        { "revision", audit->revision },
    };

    (void) dfd_time_format(dfd_time_now(), audit->time);

    n = 0;

    for (i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {

        if (fields[i].value[0] == '\0') {
            continue;
        }

        argv[n].data = (u_char *) fields[i].name;
        argv[n++].len = ngx_strlen(fields[i].name);
        argv[n].data = (u_char *) fields[i].value;
        argv[n++].len = ngx_strlen(fields[i].value);
    }

    if (audit->changes == NULL) {
        return n;
    }

    free(audit->text);
    audit->text = json_dumps(audit->changes, JSON_COMPACT);

    if (audit->text == NULL) {
        return 0;
    }

    ngx_str_set(&argv[n], "changes");
    n++;
    argv[n].data = (u_char *) audit->text;
    argv[n++].len = ngx_strlen(audit->text);

    return n;
}


void
dfd_audit_log(const dfd_audit_t *audit)
{
    u_char names[256];

    dfd_audit_names(audit, names, names + sizeof(names) - 1);

    ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                  "defender: audit: %s by \"%s\" from %s: %s%s%s%s%s%s",
                  audit->action, audit->user, audit->address, audit->outcome,
                  audit->code[0] == '\0' ? "" : ", ", audit->code,
                  audit->revision[0] == '\0' ? "" : ", revision ",
                  audit->revision, names);
}


/* ": enabled, pollMinutes", names and never values */

static void
dfd_audit_names(const dfd_audit_t *audit, u_char *p, u_char *last)
{
    size_t      i;
    const char *name;

    if (audit->changes != NULL) {
        p = ngx_slprintf(p, last, ": ");
    }

    for (i = 0; i < json_array_size(audit->changes); i++) {

        name = json_string_value(
            json_object_get(json_array_get(audit->changes, i), "field"));

        p = ngx_slprintf(p, last, "%s%s", i == 0 ? "" : ", ", name);
    }

    if (audit->changes != NULL && i == 0) {
        p = ngx_slprintf(p, last, "nothing");
    }

    *p = '\0';
}


void
dfd_audit_done(ngx_http_request_t *r, const char *outcome, const char *code)
{
    dfd_audit_t audit;

    ngx_memzero(&audit, sizeof(dfd_audit_t));

    if (dfd_audit_start(&audit, r) != NGX_OK) {
        return;
    }

    audit.outcome = outcome;
    (void) ngx_cpystrn((u_char *) audit.code, (u_char *) code,
                       sizeof(audit.code));

    dfd_audit_log(&audit);
    dfd_audit_send(ngx_http_defender_host_conf(r), &audit);
}


void
dfd_audit_refused(ngx_http_request_t *r, const char *code)
{
    if (dfd_api_action(r) != NULL && dfd_audit_room()) {
        dfd_audit_done(r, "refused", code);
    }
}


static ngx_uint_t
dfd_audit_room(void)
{
    dfd_audit_window_t *window;

    window = &dfd_audit_window;

    if ((ngx_msec_int_t) (window->until - ngx_current_msec) <= 0) {

        if (window->dropped != 0) {
            ngx_log_error(NGX_LOG_NOTICE, ngx_cycle->log, 0,
                          "defender: audit: %ui more attempts were refused "
                          "and not recorded",
                          window->dropped);
        }

        window->until = ngx_current_msec + DFD_AUDIT_WINDOW;
        window->entries = 0;
        window->dropped = 0;
    }

    if (window->entries == DFD_AUDIT_REFUSED) {
        window->dropped++;
        return 0;
    }

    window->entries++;

    return 1;
}


/* Nobody waits for it: without Redis the log has the line all the same. */

static void
dfd_audit_send(dfd_host_conf_t *conf, dfd_audit_t *audit)
{
    ngx_str_t  argv[6 + DFD_AUDIT_ARGS];
    ngx_uint_t n;

    ngx_str_set(&argv[0], "XADD");
    argv[1] = conf->keys.audit;
    ngx_str_set(&argv[2], "MAXLEN");
    ngx_str_set(&argv[3], "~");
    ngx_str_set(&argv[4], DFD_AUDIT_MAX);
    ngx_str_set(&argv[5], "*");

    n = dfd_audit_args(audit, argv + 6);

    if (n != 0) {
        (void) dfd_api_redis_command(conf, NULL, NULL, 6 + n, argv);
    }

    dfd_audit_clear(audit);
}
