#include "client/http_private.h"


ngx_connection_t *
dfd_http_socket_attach(dfd_http_t *http, curl_socket_t fd,
                       ngx_event_handler_pt handler)
{
    ngx_connection_t *c;

    c = ngx_get_connection(fd, http->log);
    if (c == NULL) {
        return NULL;
    }

    c->data = http;
    c->read->handler = handler;
    c->write->handler = handler;
    c->read->log = http->log;
    c->write->log = http->log;

    return c;
}


/*
 * Level-triggered: libcurl reads and writes as much as it likes per call and
 * leaves the rest for the next event.
 */

ngx_int_t
dfd_http_socket_want(ngx_connection_t *c, ngx_uint_t r, ngx_uint_t w)
{
    if (r && !c->read->active
        && ngx_add_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (w && !c->write->active
        && ngx_add_event(c->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!r && c->read->active
        && ngx_del_event(c->read, NGX_READ_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (!w && c->write->active
        && ngx_del_event(c->write, NGX_WRITE_EVENT, NGX_LEVEL_EVENT) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/*
 * libcurl owns the descriptor: it is given back, not closed.  Where it has
 * closed it already (7.88 does that to a socket that was still connecting),
 * epoll has forgotten it, too.
 */

void
dfd_http_socket_detach(ngx_connection_t *c)
{
    if (fcntl(c->fd, F_GETFD) == -1) {
        if (c->read->active) {
            (void) ngx_del_event(c->read, NGX_READ_EVENT, NGX_CLOSE_EVENT);
        }

        if (c->write->active) {
            (void) ngx_del_event(c->write, NGX_WRITE_EVENT, NGX_CLOSE_EVENT);
        }

    } else {
        (void) dfd_http_socket_want(c, 0, 0);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    if (c->write->posted) {
        ngx_delete_posted_event(c->write);
    }

    ngx_free_connection(c);
    c->fd = (ngx_socket_t) -1; /* epoll's stale-event check needs this */
}
