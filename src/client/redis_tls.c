#include "client/redis_int.h"


/* the host as it is in a certificate: an IPv6 address without brackets */
static ngx_str_t
dfd_redis_tls_host(dfd_redis_t *redis, ngx_uint_t *is_address,
                   u_char address[16], size_t *address_len)
{
    in_addr_t v4;
    ngx_str_t host;

    host = redis->conf->host;

    if (host.len > 2 && host.data[0] == '[' && host.data[host.len - 1] == ']')
    {
        host.data++;
        host.len -= 2;
    }

    *is_address = 1;
    v4 = ngx_inet_addr(host.data, host.len);

    if (v4 != INADDR_NONE) {
        ngx_memcpy(address, &v4, sizeof(v4));
        *address_len = sizeof(v4);

    } else if (ngx_inet6_addr(host.data, host.len, address) == NGX_OK) {
        *address_len = 16;

    } else {
        *is_address = 0;
    }

    return host;
}


static ngx_int_t
dfd_redis_tls_check_host(dfd_redis_t *redis, ngx_connection_t *c)
{
    int        rc;
    X509      *cert;
    u_char     address[16];
    size_t     len;
    ngx_str_t  host;
    ngx_uint_t is_address;

    host = dfd_redis_tls_host(redis, &is_address, address, &len);

    if (host.len == 0) {
        return NGX_ERROR;
    }

    if (!is_address) {
        return ngx_ssl_check_host(c, &host);
    }

    /* ngx_ssl_check_host() knows names only */
    cert = SSL_get_peer_certificate(c->ssl->connection);
    if (cert == NULL) {
        return NGX_ERROR;
    }

    rc = X509_check_ip(cert, address, len, 0);
    X509_free(cert);

    return rc == 1 ? NGX_OK : NGX_ERROR;
}


static void
dfd_redis_tls_done(ngx_connection_t *c)
{
    long         rc;
    char         cause[DFD_REDIS_CAUSE];
    dfd_redis_t *redis;

    redis = c->data;

    if (!c->ssl->handshaked) {
        ngx_snprintf((u_char *) cause, sizeof(cause),
                     "TLS handshake failed: %s%Z", redis->note);
        dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, cause);
        return;
    }

    rc = SSL_get_verify_result(c->ssl->connection);

    if (rc != X509_V_OK) {
        ngx_snprintf((u_char *) cause, sizeof(cause),
                     "TLS certificate not trusted: %s%Z",
                     X509_verify_cert_error_string(rc));
        dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, cause);
        return;
    }

    if (dfd_redis_tls_check_host(redis, c) != NGX_OK) {
        ERR_clear_error();
        ngx_snprintf((u_char *) cause, sizeof(cause),
                     "TLS certificate is not of \"%V\"%Z", &redis->conf->host);
        cause[sizeof(cause) - 1] = '\0';
        dfd_redis_lost(redis, DFD_REDIS_WHY_PEER, cause);
        return;
    }

    dfd_redis_link_trusted(redis, c);
}


void
dfd_redis_tls_start(dfd_redis_t *redis, ngx_connection_t *c)
{
    u_char     address[16];
    char       name[NGX_MAXHOSTNAMELEN];
    size_t     len;
    ngx_str_t  host;
    ngx_uint_t is_address;

    redis->phase = DFD_REDIS_TLS;
    dfd_redis_clock(redis);

    if (ngx_ssl_create_connection(redis->conf->ssl, c,
                                  NGX_SSL_BUFFER | NGX_SSL_CLIENT)
        != NGX_OK)
    {
        dfd_redis_lost(redis, DFD_REDIS_WHY_NETWORK, "no memory");
        return;
    }

    c->sendfile = 0;

    /*
     * Our buffer grows and moves between two attempts to write the same
     * bytes, and what of it has gone must be known.
     */
    SSL_set_mode(c->ssl->connection, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
                                         | SSL_MODE_ENABLE_PARTIAL_WRITE);

    host = dfd_redis_tls_host(redis, &is_address, address, &len);

    /* RFC 6066 3: no addresses in SNI */
    if (!is_address && host.len != 0 && host.len < sizeof(name)) {
        ngx_memcpy(name, host.data, host.len);
        name[host.len] = '\0';

        if (SSL_set_tlsext_host_name(c->ssl->connection, name) == 0) {
            ERR_clear_error();
        }
    }

    c->ssl->handler = dfd_redis_tls_done;

    if (ngx_ssl_handshake(c) != NGX_AGAIN) {
        dfd_redis_tls_done(c);
    }
}


void
dfd_redis_tls_close(dfd_redis_t *redis, ngx_connection_t *c)
{
    /*
     * A "close notify" that does not fit into the socket now would make nginx
     * wait for the moment when it does, but the connection ends here
     */
    if (redis->out.pos != redis->out.last || !c->write->ready) {
        c->error = 1;
    }

    c->ssl->no_wait_shutdown = 1;
    (void) ngx_ssl_shutdown(c);
}
