#ifndef DFD_CORE_SETTINGS_ID_H
#define DFD_CORE_SETTINGS_ID_H

#include <stddef.h>


/* The ids of the settings as people paste them; for core/settings.c only. */

#define DFD_SETTINGS_ID_FAULT 64 /* room for what is wrong with a tenant */


/* blanks, tabs and line ends of ASCII */
int dfd_settings_id_is_blank(char c);


/*
 * Takes off what pasting leaves around an id: blanks, line ends, and the
 * braces in which Windows tools print a GUID.
 */
void dfd_settings_id_trim(const char **text, size_t *len);


/*
 * Writes a GUID (8-4-4-4-12 hexadecimal digits) in lower case and a zero.
 * Returns 0, or -1 when it is none.
 */
int dfd_settings_id_guid(char *to, const char *text, size_t len);


/*
 * Writes a tenant, a GUID or a domain name, in lower case and a zero; to has
 * room for DFD_SETTINGS_MAX_TENANT + 1.  The tenant becomes a part of the
 * token URL's path, so that nothing else may pass, and none of the names that
 * stand for any tenant: applications cannot sign in with those
 * (AADSTS9001023).  Returns 0, or -1 and what is wrong.
 */
int dfd_settings_id_tenant(char *to, const char *text, size_t len,
                           char fault[DFD_SETTINGS_ID_FAULT]);


#endif /* DFD_CORE_SETTINGS_ID_H */
