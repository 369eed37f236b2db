#include "client/http_error.h"

#include <stdio.h>


#define DFD_HTTP_ERROR_DETAIL 160


/* clang-format off */
static dfd_http_result_t dfd_http_error_connect(const dfd_http_error_t *error,
                                                char *text, size_t size);
static dfd_http_result_t dfd_http_error_timeout(const dfd_http_error_t *error,
                                                char *text, size_t size);
static dfd_http_result_t dfd_http_error_tls(const dfd_http_error_t *error,
                                            char *text, size_t size);
static dfd_http_result_t dfd_http_error_broken(const dfd_http_error_t *error,
                                               char *text, size_t size);

static void dfd_http_error_detail(const char *detail, char *text, size_t size);
static ngx_uint_t dfd_http_error_in_proxy(const dfd_http_error_t *error);
/* clang-format on */


dfd_http_result_t
dfd_http_error_explain(const dfd_http_error_t *error, char *text, size_t size)
{
    switch (error->code) {

    case CURLE_COULDNT_RESOLVE_HOST:
        (void) snprintf(text, size, "The name of %s was not found in DNS.",
                        error->host);
        return DFD_HTTP_DNS;

    case CURLE_COULDNT_RESOLVE_PROXY:
        (void) snprintf(text, size,
                        "The name of the proxy %s (defender_proxy) was not "
                        "found in DNS; %s was not asked.",
                        error->proxy, error->host);
        return DFD_HTTP_PROXY;

    case CURLE_INTERFACE_FAILED:
        (void) snprintf(text, size,
                        "The source address %s (defender_bind) cannot be used "
                        "to reach %s.",
                        error->bind, error->host);
        return DFD_HTTP_CONNECT;

    case CURLE_COULDNT_CONNECT:
        return dfd_http_error_connect(error, text, size);

    case CURLE_OPERATION_TIMEDOUT:
        return dfd_http_error_timeout(error, text, size);

    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_USE_SSL_FAILED:
        return dfd_http_error_tls(error, text, size);

    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_URL_MALFORMAT:
    case CURLE_ABORTED_BY_CALLBACK:
        (void) snprintf(text, size, "%s could not be asked: %s.", error->host,
                        curl_easy_strerror(error->code));
        return DFD_HTTP_FAILED;

    default:
        return dfd_http_error_broken(error, text, size);
    }
}


static dfd_http_result_t
dfd_http_error_connect(const dfd_http_error_t *error, char *text, size_t size)
{
    long   err;
    u_char reason[NGX_MAX_ERROR_STR], *last;

    err = 0;
    (void) curl_easy_getinfo(error->easy, CURLINFO_OS_ERRNO, &err);

    last = reason;

    if (err != 0) {
        last = ngx_strerror((ngx_err_t) err, reason, sizeof(reason) - 1);
    }

    *last = '\0';

    if (error->proxy[0] != '\0') {
        (void) snprintf(text, size,
                        "The proxy %s (defender_proxy) could not be "
                        "reached%s%s; %s was not asked.",
                        error->proxy, err != 0 ? ": " : "", reason,
                        error->host);
        return DFD_HTTP_PROXY;
    }

    (void) snprintf(text, size, "%s could not be reached%s%s.", error->host,
                    err != 0 ? ": " : "", reason);

    return DFD_HTTP_CONNECT;
}


/*
 * One code stands for five situations: what libcurl knows and the fact whether
 * the request was about to be written tell them apart.
 */

static dfd_http_result_t
dfd_http_error_timeout(const dfd_http_error_t *error, char *text, size_t size)
{
    long       port;
    double     seconds;
    curl_off_t total, lookup;

    port = 0;
    total = 0;
    lookup = 0;

    (void) curl_easy_getinfo(error->easy, CURLINFO_TOTAL_TIME_T, &total);
    (void) curl_easy_getinfo(error->easy, CURLINFO_NAMELOOKUP_TIME_T, &lookup);
    (void) curl_easy_getinfo(error->easy, CURLINFO_LOCAL_PORT, &port);

    seconds = (double) total / 1000000;

    if (error->sent) {
        (void) snprintf(text, size,
                        "%s did not send its whole answer within %.1f s.",
                        error->host, seconds);
        return DFD_HTTP_TIMEOUT;
    }

    if (dfd_http_error_in_proxy(error)) {
        (void) snprintf(text, size,
                        "The proxy %s (defender_proxy) did not connect to %s "
                        "within %.1f s.",
                        error->proxy, error->host, seconds);
        return DFD_HTTP_PROXY;
    }

    if (lookup == 0) {
        (void) snprintf(text, size,
                        "The name of %s was not resolved within %.1f s.",
                        error->host, seconds);
        return DFD_HTTP_DNS;
    }

    /* libcurl 7.88 counts the connect time only after the TLS handshake */

    if (port == 0) {
        (void) snprintf(text, size,
                        "%s did not accept a connection within %.1f s.",
                        error->host, seconds);
        return DFD_HTTP_CONNECT;
    }

    (void) snprintf(text, size,
                    "%s accepted a connection, but did not finish the TLS "
                    "handshake within %.1f s.",
                    error->host, seconds);

    return DFD_HTTP_TIMEOUT;
}


static dfd_http_result_t
dfd_http_error_tls(const dfd_http_error_t *error, char *text, size_t size)
{
    char detail[DFD_HTTP_ERROR_DETAIL];

    dfd_http_error_detail(error->detail, detail, sizeof(detail));

    if (detail[0] == '\0') {
        dfd_http_error_detail(curl_easy_strerror(error->code), detail,
                              sizeof(detail));
    }

    if (error->proxy_tls && dfd_http_error_in_proxy(error)) {
        (void) snprintf(text, size,
                        "The TLS connection to the proxy %s (defender_proxy) "
                        "failed: %s.",
                        error->proxy, detail);
        return DFD_HTTP_PROXY;
    }

    switch (error->code) {

    case CURLE_PEER_FAILED_VERIFICATION:
        (void) snprintf(text, size,
                        "The certificate of %s was not accepted: %s. If a "
                        "private CA or a TLS inspecting proxy signed it, name "
                        "that CA's file in defender_ca_certificate.",
                        error->host, detail);
        break;

    case CURLE_SSL_CACERT_BADFILE:
        (void) snprintf(text, size,
                        "%s was not asked: the file of trusted CAs "
                        "(defender_ca_certificate) cannot be used.",
                        error->host);
        break;

    default:
        (void) snprintf(text, size, "The TLS connection to %s failed: %s.",
                        error->host, detail);
    }

    return DFD_HTTP_TLS;
}


static dfd_http_result_t
dfd_http_error_broken(const dfd_http_error_t *error, char *text, size_t size)
{
    long connect;

    connect = 0;

    if (error->proxy[0] != '\0' && !error->sent) {
        (void) curl_easy_getinfo(error->easy, CURLINFO_HTTP_CONNECTCODE,
                                 &connect);

        if (connect != 0) {
            (void) snprintf(text, size,
                            "The proxy %s (defender_proxy) refused to connect "
                            "to %s: it answered %ld.",
                            error->proxy, error->host, connect);

        } else {
            (void) snprintf(text, size,
                            "The proxy %s (defender_proxy) did not connect to "
                            "%s: it closed the connection or does not speak "
                            "its protocol.",
                            error->proxy, error->host);
        }

        return DFD_HTTP_PROXY;
    }

    switch (error->code) {

    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_WEIRD_SERVER_REPLY:

        /* libcurl says "unsupported" for a reply without an HTTP header */

        if (!error->sent) {
            (void) snprintf(text, size, "%s was not asked: not an https URL.",
                            error->host);
            return DFD_HTTP_FAILED;
        }

        (void) snprintf(text, size, "The answer of %s is not HTTP.",
                        error->host);
        break;

    case CURLE_GOT_NOTHING:
        (void) snprintf(text, size,
                        "%s closed the connection without an answer.",
                        error->host);
        break;

    case CURLE_BAD_CONTENT_ENCODING:
        (void) snprintf(text, size,
                        "The compressed answer of %s cannot be unpacked.",
                        error->host);
        break;

    default:
        (void) snprintf(text, size, "The connection to %s broke off.",
                        error->host);
    }

    return DFD_HTTP_BROKEN;
}


/*
 * libcurl's texts may quote what the peer sent: printable ASCII only, and
 * nothing from a question mark on, which could begin a URL's query.
 */

static void
dfd_http_error_detail(const char *detail, char *text, size_t size)
{
    size_t i;

    for (i = 0; i + 1 < size && detail[i] != '\0' && detail[i] != '?'; i++) {
        text[i] = (detail[i] >= ' ' && detail[i] <= '~') ? detail[i] : ' ';
    }

    while (i > 0 && (text[i - 1] == ' ' || text[i - 1] == '.')) {
        i--;
    }

    text[i] = '\0';
}


/* a proxy is configured, and it has not yet opened the way to the host */

static ngx_uint_t
dfd_http_error_in_proxy(const dfd_http_error_t *error)
{
    long connect;

    if (error->proxy[0] == '\0' || error->sent) {
        return 0;
    }

    connect = 0;
    (void) curl_easy_getinfo(error->easy, CURLINFO_HTTP_CONNECTCODE, &connect);

    return connect == 0;
}
