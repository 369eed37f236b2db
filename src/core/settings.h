#ifndef DFD_CORE_SETTINGS_H
#define DFD_CORE_SETTINGS_H

#include <jansson.h>
#include <stddef.h>


/*
 * The integration's settings, as an admin enters them: checked here, stored
 * by others.  Hosts cannot be set: a cloud is chosen from a fixed list.
 */

#define DFD_SETTINGS_MIN_POLL_MINUTES 5
#define DFD_SETTINGS_MAX_POLL_MINUTES 1440
#define DFD_SETTINGS_MAX_TENANT       253 /* a domain name, RFC 1035 2.3.4 */
#define DFD_SETTINGS_GUID             36
#define DFD_SETTINGS_MAX_SECRET       512
#define DFD_SETTINGS_MAX_CLOUD        31
#define DFD_SETTINGS_DATE             10 /* "2027-11-25" */


typedef struct {
    const char *name;   /* "commercial", "gcc-high", ... */
    const char *login;  /* "https://login.microsoftonline.com" */
    const char *api;    /* "https://api.security.microsoft.com" */
    const char *scope;  /* of the token */
    const char *portal; /* "https://security.microsoft.com" */
} dfd_cloud_t;


/* the cloud of that name, or NULL */
const dfd_cloud_t *dfd_cloud_find(const char *name);


/* the list of all clouds; ends with one whose name is NULL */
const dfd_cloud_t *dfd_clouds(void);


typedef struct {
    int    enabled;
    int    isolate_entity;
    int    poll_minutes;
    char   tenant_id[DFD_SETTINGS_MAX_TENANT + 1];
    char   app_id[DFD_SETTINGS_GUID + 1];
    char   cloud[DFD_SETTINGS_MAX_CLOUD + 1];
    char   secret_expires[DFD_SETTINGS_DATE + 1];   /* "": not told */
    char   app_secret[DFD_SETTINGS_MAX_SECRET + 1]; /* "": not given */
    size_t app_secret_len;
} dfd_settings_t;


typedef struct {
    char field[64];    /* the member that is wrong, "" for the whole body */
    char message[256]; /* what is wrong and what would be right */
} dfd_settings_error_t;


/*
 * Reads the members of a JSON object into settings, which holds the defaults
 * or the current values: a member that is absent keeps what is there, except
 * the secret, which is cleared first.  A secretExpiresAt of null clears the
 * date.  Ids are trimmed and lower-cased.
 * Members in `also` (a NULL-terminated list, may be NULL) are the caller's
 * and passed over; any other unknown member is an error that names it.
 * Returns 0, or -1 and the error of the first wrong member; settings may then
 * be half changed.
 */
int dfd_settings_read(dfd_settings_t *settings, const json_t *object,
                      const char *const *also, dfd_settings_error_t *error);


/* disabled, no isolation, commercial, 5 minutes, nothing else */
void dfd_settings_default(dfd_settings_t *settings);


/*
 * Checks that all that a connection needs is there.  Returns 0, or -1 and the
 * first missing field.  The secret is needed when need_secret is not 0.
 */
int dfd_settings_complete(const dfd_settings_t *settings, int need_secret,
                          dfd_settings_error_t *error);


/* 1 when tenant, app or cloud differ: then a stored secret does not apply */
int dfd_settings_other_app(const dfd_settings_t *a, const dfd_settings_t *b);


/*
 * A new JSON object of everything but the secret, to store or to answer
 * with.  The caller owns the reference; NULL: no memory.
 */
json_t *dfd_settings_json(const dfd_settings_t *settings);


/* Wipes the secret. */
void dfd_settings_wipe(dfd_settings_t *settings);


#endif /* DFD_CORE_SETTINGS_H */
