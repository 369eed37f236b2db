#include "http/http.h"

#include "core/lookup.h"
#include "host/cache.h"


/* the values of one look-up; also the data of each variable's handler */
enum {
    DFD_VALUE_MATCH = 0,
    DFD_VALUE_ID,
    DFD_VALUE_NAME,
    DFD_VALUE_OS_PLATFORM,
    DFD_VALUE_HEALTH_STATUS,
    DFD_VALUE_RISK_SCORE,
    DFD_VALUE_EXPOSURE_LEVEL,
    DFD_VALUE_LAST_SEEN,
    DFD_VALUE_ISOLATION, /* nothing tells it yet: always missing */
    DFD_VALUES
};


/*
 * One look-up serves all variables of a request, subrequests and internal
 * redirects included.  It is found through the pool's cleanup list, because
 * the module's context belongs to the filter and does not outlive a redirect.
 */
typedef struct {
    ngx_str_t address;
    ngx_str_t values[DFD_VALUES]; /* empty: missing */
} dfd_values_t;


static ngx_int_t dfd_variable_value(ngx_http_request_t        *r,
                                    ngx_http_variable_value_t *v,
                                    uintptr_t                  data);
static ngx_int_t dfd_variable_enrich_status(ngx_http_request_t        *r,
                                            ngx_http_variable_value_t *v,
                                            uintptr_t                  data);


/* clang-format off */

static ngx_http_variable_t  dfd_variables[] = {

    { ngx_string("defender_match"), NULL, dfd_variable_value,
      DFD_VALUE_MATCH, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_device_id"), NULL, dfd_variable_value,
      DFD_VALUE_ID, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_device_name"), NULL, dfd_variable_value,
      DFD_VALUE_NAME, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_os_platform"), NULL, dfd_variable_value,
      DFD_VALUE_OS_PLATFORM, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_health_status"), NULL, dfd_variable_value,
      DFD_VALUE_HEALTH_STATUS, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_risk_score"), NULL, dfd_variable_value,
      DFD_VALUE_RISK_SCORE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_exposure_level"), NULL, dfd_variable_value,
      DFD_VALUE_EXPOSURE_LEVEL, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_last_seen"), NULL, dfd_variable_value,
      DFD_VALUE_LAST_SEEN, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_isolation"), NULL, dfd_variable_value,
      DFD_VALUE_ISOLATION, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("defender_enrich_status"), NULL, dfd_variable_enrich_status,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};

/* clang-format on */


ngx_int_t
ngx_http_defender_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t *var, *v;

    for (v = dfd_variables; v->name.len != 0; v++) {

        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


/* Only marks the values in the cleanup list; the pool frees them. */

static void
dfd_values_cleanup(void *data)
{
    (void) data;
}


static dfd_values_t *
dfd_values_find(ngx_http_request_t *r, const ngx_str_t *address)
{
    dfd_values_t       *values;
    ngx_pool_cleanup_t *cln;

    for (cln = r->pool->cleanup; cln != NULL; cln = cln->next) {

        if (cln->handler != dfd_values_cleanup) {
            continue;
        }

        values = cln->data;

        if (values->address.len == address->len
            && ngx_memcmp(values->address.data, address->data, address->len)
                   == 0)
        {
            return values;
        }
    }

    return NULL;
}


/*
 * Copies a text out of the snapshot, which may be unmapped before the request
 * ends.  A name may hold anything, and a value may end in a header: control
 * characters become underscores, so that no CR or LF gets there.
 */

static u_char *
dfd_values_copy(ngx_str_t *value, u_char *p, const dfd_text_t *text)
{
    size_t i;
    u_char c;

    if (text->len == 0) {
        return p;
    }

    value->data = p;
    value->len = text->len;

    for (i = 0; i < text->len; i++) {
        c = (u_char) text->data[i];
        *p++ = (c < 0x20 || c == 0x7f) ? '_' : c;
    }

    return p;
}


static ngx_int_t
dfd_values_fill(ngx_http_request_t *r, dfd_values_t *values,
                const dfd_lookup_t *lookup)
{
    size_t                     size;
    u_char                    *p;
    ngx_uint_t                 i;
    const dfd_lookup_device_t *device;

    const dfd_text_t *texts[DFD_VALUES];

    switch (lookup->match.verdict) {

    case DFD_MATCH_EXACT:
    case DFD_MATCH_LIKELY:
    case DFD_MATCH_STALE:
        break;

    default:
        return NGX_OK;
    }

    device = &lookup->device;

    ngx_memzero(texts, sizeof(texts));

    texts[DFD_VALUE_ID] = &device->id;
    texts[DFD_VALUE_NAME] = &device->name;
    texts[DFD_VALUE_OS_PLATFORM] = &device->os_platform;
    texts[DFD_VALUE_HEALTH_STATUS] = &device->health_status;
    texts[DFD_VALUE_RISK_SCORE] = &device->risk_score;
    texts[DFD_VALUE_EXPOSURE_LEVEL] = &device->exposure_level;
    texts[DFD_VALUE_LAST_SEEN] = &device->last_seen;

    size = 0;

    for (i = 0; i < DFD_VALUES; i++) {
        if (texts[i] != NULL) {
            size += texts[i]->len;
        }
    }

    p = ngx_pnalloc(r->pool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < DFD_VALUES; i++) {
        if (texts[i] != NULL) {
            p = dfd_values_copy(&values->values[i], p, texts[i]);
        }
    }

    return NGX_OK;
}


static dfd_values_t *
dfd_values_make(ngx_http_request_t *r, const ngx_str_t *address)
{
    dfd_addr_t          addr;
    dfd_lookup_t        lookup;
    dfd_values_t       *values;
    dfd_host_conf_t    *conf;
    dfd_verdict_t       verdict;
    ngx_pool_cleanup_t *cln;

    values = ngx_pcalloc(r->pool, sizeof(dfd_values_t));
    if (values == NULL) {
        return NULL;
    }

    /* the address may lie in a buffer that is reused: realip, a header */

    values->address.len = address->len;
    values->address.data = ngx_pstrdup(r->pool, (ngx_str_t *) address);
    if (values->address.data == NULL) {
        return NULL;
    }

    conf = ngx_http_defender_host_conf(r);

    if (!conf->configured) {
        verdict = DFD_MATCH_UNAVAILABLE;

    } else if (!dfd_addr_parse(&addr, (const char *) address->data,
                               address->len)) {
        verdict = DFD_MATCH_NONE;

    } else {
        dfd_cache_lookup(conf, &lookup, &addr, dfd_cache_now());
        verdict = lookup.match.verdict;

        if (dfd_values_fill(r, values, &lookup) != NGX_OK) {
            return NULL;
        }
    }

    values->values[DFD_VALUE_MATCH].data =
        (u_char *) dfd_verdict_name(verdict);
    values->values[DFD_VALUE_MATCH].len =
        ngx_strlen(values->values[DFD_VALUE_MATCH].data);

    cln = ngx_pool_cleanup_add(r->pool, 0);
    if (cln == NULL) {
        return NULL;
    }

    cln->handler = dfd_values_cleanup;
    cln->data = values;

    return values;
}


/*
 * The value is not marked valid on purpose: nginx uses what a handler returns
 * and asks again the next time, also where it does not look at
 * "no_cacheable", as in log_format.  The address of a request changes (realip
 * runs late), and the status of a header is not that of the finished body.
 */

static void
dfd_variable_set(ngx_http_variable_value_t *v, const ngx_str_t *value)
{
    v->valid = 0;
    v->no_cacheable = 1;

    if (value->len == 0) {
        v->not_found = 1;
        return;
    }

    v->len = value->len;
    v->data = value->data;
    v->not_found = 0;
}


static ngx_int_t
dfd_variable_value(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                   uintptr_t data)
{
    ngx_str_t                     address;
    dfd_values_t                 *values;
    ngx_http_defender_loc_conf_t *lcf;

    lcf = ngx_http_get_module_loc_conf(r, ngx_http_defender_module);

    address = r->connection->addr_text;

    if (lcf->address != NULL
        && ngx_http_complex_value(r, lcf->address, &address) != NGX_OK)
    {
        return NGX_ERROR;
    }

    values = dfd_values_find(r, &address);

    if (values == NULL) {
        values = dfd_values_make(r, &address);
        if (values == NULL) {
            return NGX_ERROR;
        }
    }

    dfd_variable_set(v, &values->values[data]);

    return NGX_OK;
}


static ngx_int_t
dfd_variable_enrich_status(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                           uintptr_t data)
{
    ngx_str_t text;

    if (ngx_http_defender_enrich_status(r, &text) != NGX_OK) {
        return NGX_ERROR;
    }

    dfd_variable_set(v, &text);

    return NGX_OK;
}
