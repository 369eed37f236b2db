#include "core/settings.h"

#include <string.h>


/*
 * Hosts and scopes: Microsoft's pages on national clouds (gov.md) and on the
 * regional hosts.  The scope is not derived from the API's host: the token
 * pages keep the securitycenter resource for the newer host names too.
 */

/* clang-format off */

#define DFD_CLOUD_LOGIN      "https://login.microsoftonline.com"
#define DFD_CLOUD_LOGIN_US   "https://login.microsoftonline.us"
#define DFD_CLOUD_API_US     "https://api-gov.securitycenter.microsoft.us"
#define DFD_CLOUD_SCOPE                                                       \
    "https://api.securitycenter.microsoft.com/.default"
#define DFD_CLOUD_SCOPE_GCC                                                   \
    "https://securitycenter.onmicrosoft.com/windowsatpservice/.default"
#define DFD_CLOUD_SCOPE_US                                                    \
    "https://securitycenter.onmicrosoft.us/windowsatpservice/.default"
#define DFD_CLOUD_PORTAL     "https://security.microsoft.com"

static const dfd_cloud_t dfd_cloud_list[] = {

    { "commercial", DFD_CLOUD_LOGIN, "https://api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "us", DFD_CLOUD_LOGIN, "https://us.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "eu", DFD_CLOUD_LOGIN, "https://eu.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "uk", DFD_CLOUD_LOGIN, "https://uk.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "au", DFD_CLOUD_LOGIN, "https://au.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "swa", DFD_CLOUD_LOGIN, "https://swa.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "ina", DFD_CLOUD_LOGIN, "https://ina.api.security.microsoft.com",
      DFD_CLOUD_SCOPE, DFD_CLOUD_PORTAL },

    { "gcc", DFD_CLOUD_LOGIN, "https://api-gcc.securitycenter.microsoft.us",
      DFD_CLOUD_SCOPE_GCC, DFD_CLOUD_PORTAL },

    { "gcc-high", DFD_CLOUD_LOGIN_US, DFD_CLOUD_API_US,
      DFD_CLOUD_SCOPE_US, "https://security.microsoft.us" },

    { "dod", DFD_CLOUD_LOGIN_US, DFD_CLOUD_API_US,
      DFD_CLOUD_SCOPE_US, "https://security.apps.mil" },

    { NULL, NULL, NULL, NULL, NULL }
};

/* clang-format on */


const dfd_cloud_t *
dfd_cloud_find(const char *name)
{
    const dfd_cloud_t *cloud;

    for (cloud = dfd_cloud_list; cloud->name != NULL; cloud++) {
        if (strcmp(cloud->name, name) == 0) {
            return cloud;
        }
    }

    return NULL;
}


const dfd_cloud_t *
dfd_clouds(void)
{
    return dfd_cloud_list;
}
