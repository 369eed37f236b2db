#ifndef DFD_HOST_RECORD_H
#define DFD_HOST_RECORD_H

#include "core/settings.h"
#include "host/conf.h"


/*
 * The stored settings: hash <prefix>config with "settings" (JSON without the
 * secret, plus who and when), "secret" (sealed) and "revision" (integer).
 * After a delete "revision" stays, raised, and "deleted" (JSON: who and when).
 * The agent reads it, the configuration API reads and writes it.
 */

typedef enum {
    DFD_RECORD_OK = 0,
    DFD_RECORD_NONE,      /* never configured, or deleted */
    DFD_RECORD_NO_KEY,    /* there is a secret, but no defender_key */
    DFD_RECORD_OTHER_KEY, /* the secret was sealed with another key */
    DFD_RECORD_BROKEN     /* stored text is not what we wrote */
} dfd_record_result_t;


typedef struct {
    dfd_settings_t settings; /* with the secret opened; wipe after use */
    json_t        *extra;    /* the stored JSON: hasSecret, updatedAt...;
                                of DFD_RECORD_NONE who deleted, or NULL */
    uint64_t       revision;
    ngx_uint_t     has_secret;   /* unsigned */
    char           message[256]; /* plain words when the result is not OK */
} dfd_record_t;


/* the fields that dfd_record_read() wants, for HMGET, in this order */
#define DFD_RECORD_FIELDS 4
extern const char *const dfd_record_fields[DFD_RECORD_FIELDS];


/*
 * Reads the reply of HMGET <config> with dfd_record_fields.  On NO_KEY,
 * OTHER_KEY and BROKEN (secret only) the settings are there, without secret.
 */
dfd_record_result_t dfd_record_read(const dfd_host_conf_t *conf,
                                    const redisReply      *reply,
                                    dfd_record_t          *record);


/* Wipes the secret and drops the JSON. */
void dfd_record_clear(dfd_record_t *record);


/*
 * login, api, scope and portal for these settings: defender_endpoint wins
 * over the cloud.  The texts belong to conf or are static.
 */
void dfd_record_endpoints(const dfd_host_conf_t *conf,
                          const dfd_settings_t *settings, dfd_cloud_t *cloud);


#endif /* DFD_HOST_RECORD_H */
