#include "client/defender_texts.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>


/* clang-format off */
static int dfd_defender_texts_base(const char *url);
static char *dfd_defender_texts_print(ngx_pool_t *pool, const char *format,
    ...) __attribute__((format(printf, 2, 3)));
static char *dfd_defender_texts_escape(ngx_pool_t *pool, const char *text,
    size_t len);
/* clang-format on */


/*
 * Every value of the form and of the path is percent-encoded, once: secrets
 * hold "+", "&" and "%".
 */

ngx_int_t
dfd_defender_texts_create(dfd_defender_texts_t         *texts,
                          const dfd_defender_account_t *account,
                          ngx_pool_t                   *pool)
{
    char *tenant, *scope, *app;

    texts->secret_len = account->app_secret_len;
    texts->secret = ngx_pnalloc(pool, texts->secret_len + 1);
    if (texts->secret == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(texts->secret, account->app_secret, texts->secret_len);
    texts->secret[texts->secret_len] = '\0';

    texts->encoded =
        dfd_defender_texts_escape(pool, texts->secret, texts->secret_len);

    tenant = dfd_defender_texts_escape(pool, account->tenant_id,
                                       strlen(account->tenant_id));
    app = dfd_defender_texts_escape(pool, account->app_id,
                                    strlen(account->app_id));
    scope = dfd_defender_texts_escape(pool, account->scope,
                                      strlen(account->scope));

    if (texts->encoded == NULL || tenant == NULL || app == NULL
        || scope == NULL) {
        return NGX_ERROR;
    }

    texts->api = dfd_defender_texts_print(
        pool, "%.*s", dfd_defender_texts_base(account->api), account->api);

    texts->token_url = dfd_defender_texts_print(
        pool, "%.*s/%s/oauth2/v2.0/token",
        dfd_defender_texts_base(account->login), account->login, tenant);

    texts->form = dfd_defender_texts_print(
        pool,
        "grant_type=client_credentials&client_id=%s&client_secret=%s&scope=%s",
        app, texts->encoded, scope);

    if (texts->api == NULL || texts->token_url == NULL || texts->form == NULL)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the length of a base URL without slashes at its end */

static int
dfd_defender_texts_base(const char *url)
{
    size_t len;

    len = strlen(url);

    while (len > 0 && url[len - 1] == '/') {
        len--;
    }

    return (int) len;
}


static char *
dfd_defender_texts_print(ngx_pool_t *pool, const char *format, ...)
{
    int     n;
    char   *text;
    va_list args;

    va_start(args, format);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);

    if (n < 0) {
        return NULL;
    }

    text = ngx_pnalloc(pool, (size_t) n + 1);
    if (text == NULL) {
        return NULL;
    }

    va_start(args, format);
    (void) vsnprintf(text, (size_t) n + 1, format, args);
    va_end(args);

    return text;
}


static char *
dfd_defender_texts_escape(ngx_pool_t *pool, const char *text, size_t len)
{
    char *escaped, *copy;

    /* a length of 0 makes libcurl count itself */

    escaped = curl_easy_escape(NULL, text, (int) len);
    if (escaped == NULL) {
        return NULL;
    }

    copy = dfd_defender_texts_print(pool, "%s", escaped);

    OPENSSL_cleanse(escaped, strlen(escaped));
    curl_free(escaped);

    return copy;
}


void
dfd_defender_texts_wipe(dfd_defender_texts_t *texts)
{
    if (texts->secret != NULL) {
        OPENSSL_cleanse(texts->secret, texts->secret_len);
    }

    if (texts->encoded != NULL) {
        OPENSSL_cleanse(texts->encoded, strlen(texts->encoded));
    }

    if (texts->form != NULL) {
        OPENSSL_cleanse(texts->form, strlen(texts->form));
    }
}
