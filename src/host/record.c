#include "host/record.h"

#include <openssl/crypto.h>


#define DFD_RECORD_NAME       "config" /* what the secret is sealed for */
#define DFD_RECORD_MAX_STORED (16 * 1024)


const char *const dfd_record_fields[DFD_RECORD_FIELDS] = {
    "settings", "secret", "revision", "deleted"
};


static dfd_record_result_t dfd_record_fail(dfd_record_t       *record,
                                           dfd_record_result_t result,
                                           const char         *message);
static ngx_uint_t          dfd_record_is_text(const redisReply *reply);
static ngx_int_t           dfd_record_revision(const redisReply *reply,
                                               uint64_t         *revision);
static ngx_int_t           dfd_record_settings(const redisReply *reply,
                                               dfd_record_t     *record);
static dfd_record_result_t dfd_record_secret(const dfd_host_conf_t *conf,
                                             const redisReply      *reply,
                                             dfd_record_t          *record);


dfd_record_result_t
dfd_record_read(const dfd_host_conf_t *conf, const redisReply *reply,
                dfd_record_t *record)
{
    redisReply **field;
    json_error_t where;

    ngx_memzero(record, sizeof(dfd_record_t));
    dfd_settings_default(&record->settings);

    if (reply->type != REDIS_REPLY_ARRAY
        || reply->elements != DFD_RECORD_FIELDS) {
        return dfd_record_fail(record, DFD_RECORD_BROKEN,
                               "the stored settings cannot be read");
    }

    field = reply->element;

    if (field[2]->type == REDIS_REPLY_NIL && field[0]->type == REDIS_REPLY_NIL
        && field[1]->type == REDIS_REPLY_NIL)
    {
        return dfd_record_fail(record, DFD_RECORD_NONE,
                               "the integration is not configured");
    }

    if (dfd_record_revision(field[2], &record->revision) != NGX_OK) {
        return dfd_record_fail(record, DFD_RECORD_BROKEN,
                               "the stored revision is not a number");
    }

    if (field[0]->type == REDIS_REPLY_NIL && field[1]->type == REDIS_REPLY_NIL)
    {

        if (dfd_record_is_text(field[3])) {
            record->extra =
                json_loadb(field[3]->str, field[3]->len, 0, &where);
        }

        return dfd_record_fail(record, DFD_RECORD_NONE,
                               "the integration was deleted");
    }

    if (dfd_record_settings(field[0], record) != NGX_OK) {
        return dfd_record_fail(record, DFD_RECORD_BROKEN,
                               "the stored settings are not what this module "
                               "writes");
    }

    if (field[1]->type == REDIS_REPLY_NIL) {
        return DFD_RECORD_OK;
    }

    return dfd_record_secret(conf, field[1], record);
}


static dfd_record_result_t
dfd_record_fail(dfd_record_t *record, dfd_record_result_t result,
                const char *message)
{
    (void) ngx_cpystrn((u_char *) record->message, (u_char *) message,
                       sizeof(record->message));

    return result;
}


static ngx_uint_t
dfd_record_is_text(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING && reply->len > 0
        && (size_t) reply->len <= DFD_RECORD_MAX_STORED;
}


/* decimal digits as INCR and we write them */

static ngx_int_t
dfd_record_revision(const redisReply *reply, uint64_t *revision)
{
    ngx_int_t n;

    if (!dfd_record_is_text(reply) || reply->str[0] == '0') {
        return NGX_ERROR;
    }

    n = ngx_atoi((u_char *) reply->str, reply->len);

    if (n == NGX_ERROR) {
        return NGX_ERROR;
    }

    *revision = (uint64_t) n;

    return NGX_OK;
}


static ngx_int_t
dfd_record_settings(const redisReply *reply, dfd_record_t *record)
{
    json_t              *json;
    json_error_t         where;
    dfd_settings_error_t error;

    /* what is stored beside the settings themselves */
    static const char *const meta[] = { "hasSecret",     "secretFingerprint",
                                        "updatedAt",     "updatedBy",
                                        "changedFields", NULL };

    if (!dfd_record_is_text(reply)) {
        return NGX_ERROR;
    }

    json = json_loadb(reply->str, reply->len, JSON_REJECT_DUPLICATES, &where);
    if (json == NULL) {
        return NGX_ERROR;
    }

    if (dfd_settings_read(&record->settings, json, meta, &error) != 0
        || dfd_settings_complete(&record->settings, 0, &error) != 0)
    {
        json_decref(json);
        dfd_settings_default(&record->settings);
        return NGX_ERROR;
    }

    /* it never holds one; a text in Redis must not bring one in unsealed */

    dfd_settings_wipe(&record->settings);

    record->extra = json;

    return NGX_OK;
}


static dfd_record_result_t
dfd_record_secret(const dfd_host_conf_t *conf, const redisReply *reply,
                  dfd_record_t *record)
{
    int    rc;
    char   plain[DFD_SEAL_MAX_PLAIN], key_id[DFD_SEAL_KEY_ID + 1];
    size_t len;

    record->has_secret = 1;

    if (!dfd_record_is_text(reply)) {
        return dfd_record_fail(record, DFD_RECORD_BROKEN,
                               "the stored App Secret is not a sealed text");
    }

    if (conf->key == NULL) {
        return dfd_record_fail(record, DFD_RECORD_NO_KEY,
                               "there is a stored App Secret, but nginx.conf "
                               "has no defender_key to open it");
    }

    rc = dfd_seal_open(conf->key, DFD_RECORD_NAME, reply->str, reply->len,
                       plain, &len, key_id);

    if (rc == DFD_SEAL_OTHER_KEY) {
        *ngx_snprintf((u_char *) record->message, sizeof(record->message) - 1,
                      "the App Secret was sealed with the key %s, but "
                      "defender_key is %s: enter the secret again, or give "
                      "this host the other key",
                      key_id, conf->key->id) = '\0';
        return DFD_RECORD_OTHER_KEY;
    }

    if (rc != DFD_SEAL_OK || len == 0 || len > DFD_SETTINGS_MAX_SECRET) {
        OPENSSL_cleanse(plain, sizeof(plain));
        return dfd_record_fail(record, DFD_RECORD_BROKEN,
                               "the stored App Secret was changed or damaged: "
                               "enter it again");
    }

    ngx_memcpy(record->settings.app_secret, plain, len);
    record->settings.app_secret[len] = '\0';
    record->settings.app_secret_len = len;

    OPENSSL_cleanse(plain, sizeof(plain));

    return DFD_RECORD_OK;
}


void
dfd_record_clear(dfd_record_t *record)
{
    dfd_settings_wipe(&record->settings);

    json_decref(record->extra);
    record->extra = NULL;
}


void
dfd_record_endpoints(const dfd_host_conf_t *conf,
                     const dfd_settings_t *settings, dfd_cloud_t *cloud)
{
    const dfd_cloud_t *known;

    known = dfd_cloud_find(settings->cloud);

    *cloud = (known == NULL) ? *dfd_clouds() : *known;

    /* the directive's texts end with a zero byte */

    if (conf->login.len != 0) {
        cloud->login = (char *) conf->login.data;
    }

    if (conf->api.len != 0) {
        cloud->api = (char *) conf->api.data;
    }

    if (conf->scope.len != 0) {
        cloud->scope = (char *) conf->scope.data;
    }
}
