#include "ngx_http_defender_conf.h"

#include "http/http.h"


static ngx_str_t ngx_http_defender_default_types[] = {
    ngx_string("application/json"), ngx_string("application/x-ndjson"),
    ngx_null_string
};


static void ngx_http_defender_needs_redis(ngx_conf_t *cf, const char *name);
static ngx_int_t ngx_http_defender_role_source(
    ngx_conf_t *cf, ngx_http_defender_loc_conf_t *c);
static ngx_int_t ngx_http_defender_make_plan(ngx_conf_t                   *cf,
                                             ngx_http_defender_loc_conf_t *c);


void *
ngx_http_defender_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_defender_loc_conf_t *conf;

    conf = ngx_pcalloc(cf->pool, sizeof(ngx_http_defender_loc_conf_t));
    if (conf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     conf->api = 0;            not inherited, as its handler is not
     *     conf->role_header = { 0, NULL };
     *     conf->plan = NULL;        made of key and fields by the merge
     *     conf->key = { 0, NULL };
     *     conf->types = { NULL };
     *     conf->types_keys = NULL;
     *     conf->types_default = 0;
     */

    conf->role = NGX_CONF_UNSET_PTR;
    conf->user = NGX_CONF_UNSET_PTR;
    conf->role_from = NGX_CONF_UNSET_PTR;
    conf->enrich = NGX_CONF_UNSET_UINT;
    conf->fields = NGX_CONF_UNSET_PTR;
    conf->unmatched = NGX_CONF_UNSET;
    conf->address = NGX_CONF_UNSET_PTR;

    return conf;
}


char *
ngx_http_defender_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_defender_loc_conf_t *prev = parent;
    ngx_http_defender_loc_conf_t *conf = child;

    ngx_uint_t same;

    ngx_conf_merge_ptr_value(conf->role, prev->role, NULL);
    ngx_conf_merge_ptr_value(conf->user, prev->user, NULL);
    ngx_conf_merge_ptr_value(conf->role_from, prev->role_from, NULL);
    ngx_conf_merge_uint_value(conf->enrich, prev->enrich,
                              NGX_HTTP_DEFENDER_ENRICH_OFF);
    ngx_conf_merge_value(conf->unmatched, prev->unmatched, 0);
    ngx_conf_merge_ptr_value(conf->address, prev->address, NULL);

    /* most locations say nothing of their own and share the parent's plan */

    same = conf->key.data == NULL && conf->fields == NGX_CONF_UNSET_PTR;

    ngx_conf_merge_str_value(conf->key, prev->key, "defender");
    ngx_conf_merge_ptr_value(conf->fields, prev->fields, NULL);

    if (same) {
        conf->plan = prev->plan;
    }

    if (conf->types_keys == NULL && !conf->types_default) {
        conf->types_default = prev->types_keys == NULL || prev->types_default;
    }

    if (ngx_http_merge_types(cf, &conf->types_keys, &conf->types,
                             &prev->types_keys, &prev->types,
                             ngx_http_defender_default_types)
        != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (ngx_http_defender_role_source(cf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (conf->enrich != NGX_HTTP_DEFENDER_ENRICH_OFF) {

        ngx_http_defender_needs_redis(cf, "defender_enrich");

        if (conf->plan == NULL
            && ngx_http_defender_make_plan(cf, conf) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (conf->api && conf->role == NULL) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "\"defender_api\" without \"defender_role\" answers "
                      "403 to everyone");
    }

    return NGX_CONF_OK;
}


static void
ngx_http_defender_needs_redis(ngx_conf_t *cf, const char *name)
{
    dfd_host_conf_t *host;

    host = ngx_http_conf_get_module_main_conf(cf, ngx_http_defender_module);

    host->needed_by = name;
}


char *
ngx_http_defender_conf_api(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_defender_loc_conf_t *conf = data;

    ngx_http_core_loc_conf_t *clcf;

    if (conf->api) {
        return "is duplicate";
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->named || clcf->exact_match || clcf->noname
#if (NGX_PCRE)
        || clcf->regex
#endif
    )
    {
        return "needs a prefix location: the paths of the API lie below it";
    }

    clcf->handler = ngx_http_defender_api_handler;
    conf->api = 1;

    ngx_http_defender_needs_redis(cf, "defender_api");

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_role_from(ngx_conf_t *cf, ngx_command_t *cmd,
                                 void *data)
{
    ngx_http_defender_loc_conf_t *conf = data;

    ngx_int_t   rc;
    ngx_str_t  *value;
    ngx_uint_t  i;
    ngx_cidr_t *cidr;

    if (conf->role_from == NGX_CONF_UNSET_PTR) {
        conf->role_from = ngx_array_create(cf->pool, 4, sizeof(ngx_cidr_t));
        if (conf->role_from == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        cidr = ngx_array_push(conf->role_from);
        if (cidr == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(cidr, sizeof(ngx_cidr_t));

        if (ngx_strcmp(value[i].data, "unix:") == 0) {
            cidr->family = AF_UNIX;
            continue;
        }

        rc = ngx_ptocidr(&value[i], cidr);

        if (rc != NGX_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid network \"%V\" in "
                               "\"defender_role_from\": an address, "
                               "\"address/bits\" with no bits set below the "
                               "prefix, or \"unix:\" is needed",
                               &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/*
 * Finds "$http_name" or "${http_name}" in the text of a complex value; name
 * is empty when there is none.  Names of variables have any case.
 */

static void
ngx_http_defender_header_variable(ngx_str_t *value, ngx_str_t *name)
{
    u_char *p, *last;

    ngx_str_null(name);

    last = value->data + value->len;

    for (p = value->data; p < last; p++) {

        if (*p != '$') {
            continue;
        }

        p++;

        if (p < last && *p == '{') {
            p++;
        }

        if (last - p > 5 && ngx_strncasecmp(p, (u_char *) "http_", 5) == 0) {
            break;
        }

        p--;
    }

    if (p >= last) {
        return;
    }

    name->data = p + 5;

    for (p += 5; p < last; p++) {

        if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')
              || (*p >= '0' && *p <= '9') || *p == '_'))
        {
            break;
        }
    }

    name->len = p - name->data;
}


/*
 * A role that is read from a request header is what the client says of
 * itself, unless only known peers are believed.
 */

static ngx_int_t
ngx_http_defender_role_source(ngx_conf_t *cf, ngx_http_defender_loc_conf_t *c)
{
    if (c->role == NULL) {
        return NGX_OK;
    }

    ngx_http_defender_header_variable(&c->role->value, &c->role_header);

    if (c->role_header.len == 0) {
        return NGX_OK;
    }

    if (c->role_from == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"defender_role %V\" reads a request header, which "
                      "any client can send: add \"defender_role_from\" with "
                      "the networks to believe, or take the role from the "
                      "auth service with \"auth_request_set\"",
                      &c->role->value);
        return NGX_ERROR;
    }

    /* "x_role": as it stands in the variable, lower case */

    ngx_strlow(c->role_header.data, c->role_header.data, c->role_header.len);

    return NGX_OK;
}


char *
ngx_http_defender_conf_names(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_defender_loc_conf_t *conf = data;

    ngx_str_t *value, *field;
    ngx_uint_t i;

    if (conf->fields != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    conf->fields = NULL;
    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "*") == 0) {
        return NGX_CONF_OK;
    }

    conf->fields = ngx_array_create(cf->pool, 8, sizeof(ngx_str_t));
    if (conf->fields == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len == 0 || value[i].len > DFD_SPLICE_MAX_NAME
            || ngx_strcmp(value[i].data, "*") == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid field \"%V\" in "
                               "\"defender_enrich_fields\": names of at most "
                               "%d bytes, or \"*\" alone, are needed",
                               &value[i], DFD_SPLICE_MAX_NAME);
            return NGX_CONF_ERROR;
        }

        field = ngx_array_push(conf->fields);
        if (field == NULL) {
            return NGX_CONF_ERROR;
        }

        *field = value[i];
    }

    if (conf->fields->nelts > DFD_SPLICE_MAX_FIELDS) {
        return "has more than 64 names";
    }

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_key_name(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_defender_loc_conf_t *conf = data;

    u_char    *p, *last;
    ngx_str_t *value;

    if (conf->key.data != NULL) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0 || value[1].len > DFD_SPLICE_MAX_NAME) {
        return "needs a name of 1 to 256 bytes";
    }

    p = value[1].data;
    last = p + value[1].len;

    while (p < last) {

        if (*p < ' ') {
            return "needs a name without control characters";
        }

        if (*p < 0x80) {
            p++;
            continue;
        }

        if (ngx_utf8_decode(&p, last - p) > 0x10ffff) {
            return "needs a name in UTF-8";
        }
    }

    conf->key = value[1];

    return NGX_CONF_OK;
}


char *
ngx_http_defender_conf_types(ngx_conf_t *cf, ngx_command_t *cmd, void *data)
{
    ngx_http_defender_loc_conf_t *conf = data;

    ngx_str_t      *value;
    ngx_uint_t      i;
    ngx_hash_key_t *type;

    if (conf->types_keys != NULL || conf->types_default) {
        return "is duplicate";
    }

    conf->types_keys =
        ngx_array_create(cf->temp_pool, 4, sizeof(ngx_hash_key_t));
    if (conf->types_keys == NULL) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "*+json") == 0) {
            conf->types_default = 1;
            continue;
        }

        if (ngx_strlchr(value[i].data, value[i].data + value[i].len, '/')
                == NULL
            || ngx_strchr(value[i].data, '*') != NULL
            || ngx_strchr(value[i].data, ';') != NULL)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid type \"%V\" in "
                               "\"defender_enrich_types\": a media type "
                               "like \"application/json\", or \"*+json\", is "
                               "needed",
                               &value[i]);
            return NGX_CONF_ERROR;
        }

        type = ngx_array_push(conf->types_keys);
        if (type == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_strlow(value[i].data, value[i].data, value[i].len);

        type->key = value[i];
        type->key_hash = ngx_hash_key(value[i].data, value[i].len);
        type->value = (void *) 4;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_defender_make_plan(ngx_conf_t *cf, ngx_http_defender_loc_conf_t *c)
{
    ngx_str_t          *name;
    ngx_uint_t          i, n;
    dfd_splice_name_t   key, fields[DFD_SPLICE_MAX_FIELDS];
    ngx_pool_cleanup_t *cln;

    n = 0;

    if (c->fields != NULL) {
        name = c->fields->elts;

        for (i = 0; i < c->fields->nelts; i++) {
            fields[n].data = (char *) name[i].data;
            fields[n].len = name[i].len;
            n++;
        }
    }

    key.data = (char *) c->key.data;
    key.len = c->key.len;

    cln = ngx_pool_cleanup_add(cf->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    c->plan = dfd_splice_plan_create(&key, fields, n);
    if (c->plan == NULL) {
        return NGX_ERROR;
    }

    cln->handler = (ngx_pool_cleanup_pt) dfd_splice_plan_destroy;
    cln->data = c->plan;

    return NGX_OK;
}
