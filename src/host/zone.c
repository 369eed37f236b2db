#include "host/zone.h"

#include <signal.h>


static ngx_int_t dfd_zone_init(ngx_shm_zone_t *shm_zone, void *data);


char *
dfd_zone_add(ngx_conf_t *cf, dfd_host_conf_t *conf, void *tag)
{
    ngx_str_t name;

    ngx_str_set(&name, "defender");

    conf->shm_zone = ngx_shared_memory_add(cf, &name, DFD_ZONE_SIZE, tag);
    if (conf->shm_zone == NULL) {
        return NGX_CONF_ERROR;
    }

    conf->shm_zone->init = dfd_zone_init;
    conf->shm_zone->data = conf;

    return NGX_CONF_OK;
}


static ngx_int_t
dfd_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    dfd_host_conf_t *conf, *old;

    conf = shm_zone->data;
    old = data;

    if (old != NULL) {
        /* nothing is changed: the reload may still fail */
        conf->zone = old->zone;
        conf->shpool = old->shpool;
        return NGX_OK;
    }

    conf->shpool = (ngx_slab_pool_t *) shm_zone->shm.addr;

    if (shm_zone->shm.exists) {
        conf->zone = conf->shpool->data;
        return NGX_OK;
    }

    conf->zone = ngx_slab_calloc(conf->shpool, sizeof(dfd_zone_t));
    if (conf->zone == NULL) {
        return NGX_ERROR;
    }

    conf->shpool->data = conf->zone;
    conf->zone->shpool = conf->shpool;

    return NGX_OK;
}


static ngx_uint_t
dfd_zone_agent_gone(dfd_zone_t *zone)
{
    if (zone->agent_pid == 0) {
        return 1;
    }

    if ((ngx_msec_int_t) (zone->agent_until - ngx_current_msec) <= 0) {
        return 1;
    }

    return kill(zone->agent_pid, 0) == -1 && ngx_errno == NGX_ESRCH;
}


ngx_uint_t
dfd_zone_elect(dfd_zone_t *zone, ngx_msec_t ttl)
{
    ngx_uint_t elected;

    /* kill() of signal 0 under the lock: once a second, and it does not wait */

    ngx_shmtx_lock(&zone->shpool->mutex);

    elected = zone->agent_pid == ngx_pid || dfd_zone_agent_gone(zone);

    if (elected) {
        zone->agent_pid = ngx_pid;
        zone->agent_until = ngx_current_msec + ttl;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);

    return elected;
}


void
dfd_zone_resign(dfd_zone_t *zone)
{
    ngx_shmtx_lock(&zone->shpool->mutex);

    if (zone->agent_pid == ngx_pid) {
        zone->agent_pid = 0;
    }

    ngx_shmtx_unlock(&zone->shpool->mutex);
}


void
dfd_zone_set_status(dfd_host_conf_t *conf, const char *json, size_t len)
{
    dfd_zone_t *zone;

    zone = conf->zone;

    if (len > DFD_ZONE_STATUS) {
        return;
    }

    ngx_shmtx_lock(&conf->shpool->mutex);

    /*
     * A death in here leaves half a text: the length is raised last, so the
     * reader finds none until the next tick of the next agent.
     */
    zone->status_len = 0;
    ngx_memory_barrier();
    ngx_memcpy(zone->status, json, len);
    ngx_memory_barrier();
    zone->status_len = len;

    ngx_shmtx_unlock(&conf->shpool->mutex);
}


ngx_int_t
dfd_zone_get_status(dfd_host_conf_t *conf, ngx_pool_t *pool, ngx_str_t *json)
{
    dfd_zone_t *zone;

    zone = conf->zone;

    /* the longest text at once: no allocation under the lock */

    json->data = ngx_pnalloc(pool, DFD_ZONE_STATUS);
    if (json->data == NULL) {
        return NGX_ERROR;
    }

    ngx_shmtx_lock(&conf->shpool->mutex);

    json->len = zone->status_len;
    ngx_memcpy(json->data, zone->status, json->len);

    ngx_shmtx_unlock(&conf->shpool->mutex);

    return NGX_OK;
}
