#include "client/defender_token.h"
#include "client/defender_error.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>


#define DFD_DEFENDER_MAX_LIFETIME     86400 /* seconds; more is not believed */
#define DFD_DEFENDER_DEFAULT_LIFETIME 300   /* without a usable expires_in */
#define DFD_DEFENDER_MAX_MARGIN       300 /* renewed so long before its end */


/* clang-format off */
static const char *dfd_defender_token_check(const json_t *answer);
static ngx_msec_t dfd_defender_token_lifetime(const json_t *expires_in);
static void dfd_defender_token_claims(dfd_defender_token_t *token,
    ngx_log_t *log);
static json_t *dfd_defender_token_roles(const json_t *claim);
/* clang-format on */


ngx_int_t
dfd_defender_token_read(dfd_defender_token_t *token, const char *body,
                        size_t len, ngx_log_t *log, const char **why)
{
    json_t     *answer, *value;
    ngx_int_t   rc;
    ngx_msec_t  lifetime, margin;
    const char *text;

    answer = json_loadb(body, len, 0, NULL);

    *why = dfd_defender_token_check(answer);
    if (*why != NULL) {
        rc = NGX_DECLINED;
        goto done;
    }

    value = json_object_get(answer, "access_token");
    text = json_string_value(value);

    token->len = json_string_length(value);
    token->text = ngx_alloc(token->len + 1, log);
    if (token->text == NULL) {
        rc = NGX_ERROR;
        goto done;
    }

    ngx_memcpy(token->text, text, token->len);
    token->text[token->len] = '\0';

    lifetime =
        dfd_defender_token_lifetime(json_object_get(answer, "expires_in"));
    margin = ngx_min(lifetime / 10, DFD_DEFENDER_MAX_MARGIN);
    token->renew = ngx_current_msec + (lifetime - margin) * 1000;

    dfd_defender_token_claims(token, log);

    rc = NGX_OK;

done:

    value = json_object_get(answer, "access_token");

    if (json_is_string(value)) {

        /* jansson frees without wiping */

        OPENSSL_cleanse((char *) json_string_value(value),
                        json_string_length(value));
    }

    json_decref(answer);

    return rc;
}


/* what is wrong with the answer, NULL: nothing */

static const char *
dfd_defender_token_check(const json_t *answer)
{
    const char *type, *text;

    if (!json_is_object(answer)) {
        return "is not JSON";
    }

    text = json_string_value(json_object_get(answer, "access_token"));
    if (text == NULL || *text == '\0') {
        return "holds no token";
    }

    /* it goes into a header line: nothing but visible ASCII (RFC 6750 2.1) */

    for (/* void */; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return "holds no usable token";
        }
    }

    type = json_string_value(json_object_get(answer, "token_type"));
    if (type != NULL && strcasecmp(type, "Bearer") != 0) {
        return "holds a token of another type than Bearer";
    }

    return NULL;
}


static ngx_msec_t
dfd_defender_token_lifetime(const json_t *expires_in)
{
    double value;

    value = json_is_string(expires_in)
              ? strtod(json_string_value(expires_in), NULL)
              : json_number_value(expires_in);

    /* the negated form also catches "nan" */

    if (!(value > 0)) {
        return DFD_DEFENDER_DEFAULT_LIFETIME;
    }

    return value < DFD_DEFENDER_MAX_LIFETIME ? (ngx_msec_t) value
                                             : DFD_DEFENDER_MAX_LIFETIME;
}


/*
 * The signature is not looked at: the token is Microsoft's for Microsoft, and
 * the claims only help to explain a refusal.
 */

static void
dfd_defender_token_claims(dfd_defender_token_t *token, ngx_log_t *log)
{
    json_t     *claims;
    ngx_str_t   src, dst;
    const char *begin, *end, *audience;

    begin = strchr(token->text, '.');
    if (begin == NULL) {
        return;
    }

    end = strchr(++begin, '.');
    if (end == NULL) {
        return;
    }

    src.data = (u_char *) begin;
    src.len = (size_t) (end - begin);

    dst.data = ngx_alloc(ngx_base64_decoded_length(src.len), log);
    if (dst.data == NULL) {
        return;
    }

    claims = NULL;

    if (ngx_decode_base64url(&dst, &src) == NGX_OK) {
        claims = json_loadb((char *) dst.data, dst.len, 0, NULL);
    }

    ngx_free(dst.data);

    token->roles = dfd_defender_token_roles(json_object_get(claims, "roles"));

    audience = json_string_value(json_object_get(claims, "aud"));
    if (audience != NULL) {
        dfd_defender_error_clean(token->audience, sizeof(token->audience),
                                 audience, NULL);
    }

    json_decref(claims);
}


static json_t *
dfd_defender_token_roles(const json_t *claim)
{
    size_t  i;
    json_t *roles, *role;

    if (!json_is_array(claim)) {
        return NULL;
    }

    roles = json_array();

    for (i = 0; i < json_array_size(claim); i++) {
        role = json_array_get(claim, i);

        if (json_is_string(role)) {
            (void) json_array_append(roles, role);
        }
    }

    return roles;
}


ngx_uint_t
dfd_defender_token_valid(const dfd_defender_token_t *token)
{
    return token->text != NULL
        && (ngx_msec_int_t) (token->renew - ngx_current_msec) > 0;
}


void
dfd_defender_token_wipe(dfd_defender_token_t *token)
{
    if (token->text != NULL) {
        OPENSSL_cleanse(token->text, token->len);
        ngx_free(token->text);
    }

    json_decref(token->roles);

    ngx_memzero(token, sizeof(dfd_defender_token_t));
}
