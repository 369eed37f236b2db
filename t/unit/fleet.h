#ifndef DFD_UNIT_FLEET_H
#define DFD_UNIT_FLEET_H

#include "core/snapshot.h"
#include "core/timestamp.h"

#include "unit.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>


/*
 * A directory of its own with snapshots in it, for tests that need one made
 * by the real builder.
 */

#define FLEET_NAME   "devices"
#define FLEET_PORTAL "https://security.microsoft.com"
#define FLEET_SOURCE 0x5eed0001U

/* 2026-11-25T01:00:00Z */
#define FLEET_NOW (1795568400 * DFD_TICKS_PER_SECOND)


static char fleet_directory[64];
static char fleet_path[96];


static void
fleet_start(void)
{
    (void) snprintf(fleet_directory, sizeof(fleet_directory),
                    "/tmp/dfd-unit-XXXXXX");

    if (mkdtemp(fleet_directory) == NULL) {
        printf("Bail out! no temporary directory\n");
        exit(1);
    }

    (void) snprintf(fleet_path, sizeof(fleet_path), "%s/" FLEET_NAME,
                    fleet_directory);
}


/* how many files there are whose name ends with it; "" is any */
__attribute__((unused)) static int
fleet_files(const char *suffix)
{
    int            n;
    DIR           *dir;
    size_t         len, end;
    struct dirent *entry;

    n = 0;
    dir = opendir(fleet_directory);
    end = strlen(suffix);

    if (dir == NULL) {
        return -1;
    }

    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        len = strlen(entry->d_name);

        if (entry->d_name[0] != '.' && len >= end
            && strcmp(entry->d_name + len - end, suffix) == 0)
        {
            n++;
        }
    }

    (void) closedir(dir);

    return n;
}


static void
fleet_stop(void)
{
    DIR           *dir;
    char           path[512];
    struct dirent *entry;

    dir = opendir(fleet_directory);

    if (dir == NULL) {
        return;
    }

    for (entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            (void) snprintf(path, sizeof(path), "%s/%s", fleet_directory,
                            entry->d_name);
            (void) unlink(path);
            (void) rmdir(path);
        }
    }

    (void) closedir(dir);
    (void) rmdir(fleet_directory);
}


static dfd_snapshot_builder_t *
fleet_builder(char *error)
{
    dfd_snapshot_target_t target;

    target.directory = fleet_directory;
    target.name = FLEET_NAME;
    target.portal = FLEET_PORTAL;

    return dfd_snapshot_builder_create(&target, error);
}


/* builds and opens a snapshot of these machines */
static dfd_snapshot_t *
fleet_open(const char *const *machines, size_t n, dfd_snapshot_info_t *info)
{
    char                    error[DFD_SNAPSHOT_ERROR];
    size_t                  i;
    dfd_snapshot_t         *snapshot;
    dfd_snapshot_builder_t *builder;

    snapshot = NULL;
    error[0] = '\0';
    memset(info, 0, sizeof(*info));
    info->generation = 7;
    info->as_of = FLEET_NOW;
    info->source = FLEET_SOURCE;

    builder = fleet_builder(error);

    if (builder == NULL) {
        unit_ok(0, "builder: %s", error);
        return NULL;
    }

    for (i = 0; i < n; i++) {
        if (dfd_snapshot_builder_add(builder, machines[i], strlen(machines[i]))
            != 0) {
            unit_ok(0, "machine %zu could not be added", i);
        }
    }

    if (dfd_snapshot_builder_finish(builder, info, error) == 0) {
        snapshot = dfd_snapshot_open(fleet_path, error);
    }

    if (snapshot == NULL) {
        unit_ok(0, "snapshot: %s", error);
    }

    dfd_snapshot_builder_destroy(builder);

    return snapshot;
}


__attribute__((unused)) static dfd_addr_t
fleet_addr(const char *text)
{
    dfd_addr_t addr;

    if (!dfd_addr_parse(&addr, text, strlen(text))) {
        unit_ok(0, "the test's own address: %s", text);
        memset(&addr, 0, sizeof(addr));
    }

    return addr;
}


#endif /* DFD_UNIT_FLEET_H */
