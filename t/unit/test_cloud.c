#include "core/settings.h"

#include "unit.h"


static void
test_clouds(void)
{
    size_t             i;
    const dfd_cloud_t *cloud;

    static const dfd_cloud_t clouds[] = {
        { "commercial", "https://login.microsoftonline.com",
          "https://api.security.microsoft.com",
          "https://api.securitycenter.microsoft.com/.default",
          "https://security.microsoft.com" },
        { "swa", "https://login.microsoftonline.com",
          "https://swa.api.security.microsoft.com",
          "https://api.securitycenter.microsoft.com/.default",
          "https://security.microsoft.com" },
        { "gcc", "https://login.microsoftonline.com",
          "https://api-gcc.securitycenter.microsoft.us",
          "https://securitycenter.onmicrosoft.com/windowsatpservice/.default",
          "https://security.microsoft.com" },
        { "gcc-high", "https://login.microsoftonline.us",
          "https://api-gov.securitycenter.microsoft.us",
          "https://securitycenter.onmicrosoft.us/windowsatpservice/.default",
          "https://security.microsoft.us" },
        { "dod", "https://login.microsoftonline.us",
          "https://api-gov.securitycenter.microsoft.us",
          "https://securitycenter.onmicrosoft.us/windowsatpservice/.default",
          "https://security.apps.mil" },
    };

    static const char *const names[] = { "commercial", "us",  "eu",  "uk",
                                         "au",         "swa", "ina", "gcc",
                                         "gcc-high",   "dod" };

    for (i = 0; i < sizeof(clouds) / sizeof(clouds[0]); i++) {
        cloud = dfd_cloud_find(clouds[i].name);
        unit_ok(cloud != NULL, "cloud %s", clouds[i].name);

        if (cloud != NULL) {
            unit_str(cloud->login, clouds[i].login, "its login host");
            unit_str(cloud->api, clouds[i].api, "its API host");
            unit_str(cloud->scope, clouds[i].scope, "its scope");
            unit_str(cloud->portal, clouds[i].portal, "its portal");
        }
    }

    cloud = dfd_clouds();

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++, cloud++) {
        unit_str(cloud->name, names[i], "cloud %zu of the list", i);
    }

    unit_ok(cloud->name == NULL, "and no more");
    unit_ok(dfd_cloud_find("china") == NULL, "a cloud that is not offered");
    unit_ok(dfd_cloud_find("") == NULL, "no name at all");
}


int
main(void)
{
    test_clouds();

    return unit_done();
}
