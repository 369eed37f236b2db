#include "core/snapshot.h"

#include "fleet.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>


/* the file: who else is writing, what the dead left, what the disk says */


static const char *const office[] = {
    "{\"id\":\"d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1\","
    "\"computerDnsName\":\"ws-ana.corp.example\","
    "\"lastSeen\":\"2026-11-25T00:50:00.1234567Z\","
    "\"lastIpAddress\":\"10.20.1.11\"}",

    "{\"id\":\"d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2d2\","
    "\"lastIpAddress\":\"10.20.1.12\"}",
};


static void
make_file(const char *name, const void *bytes, size_t len)
{
    char  path[256];
    FILE *file;

    (void) snprintf(path, sizeof(path), "%s/%s", fleet_directory, name);
    file = fopen(path, "w");

    if (file == NULL || fwrite(bytes, 1, len, file) != len
        || fclose(file) != 0) {
        printf("Bail out! cannot write %s\n", path);
        exit(1);
    }
}


/* a builder that is killed after a number of machines */
static void
kill_builder(int machines)
{
    int                     i;
    char                    error[DFD_SNAPSHOT_ERROR];
    pid_t                   pid;
    dfd_snapshot_builder_t *builder;

    (void) fflush(stdout);
    pid = fork();

    if (pid == 0) {
        builder = fleet_builder(error);

        for (i = 0; builder != NULL && i < machines; i++) {
            (void) dfd_snapshot_builder_add(builder, office[i % 2],
                                            strlen(office[i % 2]));
        }

        (void) raise(SIGKILL);
    }

    (void) waitpid(pid, NULL, 0);
}


static void
test_leftovers(void)
{
    char                    error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_t         *snapshot;
    dfd_snapshot_info_t     info;
    dfd_snapshot_builder_t *one, *two;

    snapshot = fleet_open(office, 2, &info);
    dfd_snapshot_close(snapshot);

    kill_builder(0);
    unit_int(fleet_files(".tmp"), 1, "a killed builder leaves a file");
    kill_builder(5000);
    unit_int(fleet_files(".tmp"), 1, "which the next one removes");

    snapshot = dfd_snapshot_open(fleet_path, error);
    unit_ok(snapshot != NULL, "what was published is as it was");
    dfd_snapshot_close(snapshot);

    make_file(FLEET_NAME ".999999999.0.tmp", "x", 1);
    make_file(FLEET_NAME ".1.0.tmp", "x", 1);
    make_file(FLEET_NAME ".other.1.0.tmp", "x", 1);
    make_file(FLEET_NAME ".1.tmp", "x", 1);
    make_file("x" FLEET_NAME ".1.0.tmp", "x", 1);

    one = fleet_builder(error);
    unit_int(fleet_files(".tmp"), 3 + 1,
             "leftovers go, files of other names stay");

    two = fleet_builder(error);
    unit_ok(one != NULL && two != NULL, "two builders at once");
    unit_int(fleet_files(".tmp"), 3 + 2, "the living do not lose their file");

    dfd_snapshot_builder_destroy(one);
    unit_int(fleet_files(".tmp"), 3 + 1, "what is not finished is removed");

    info.generation = 9;
    unit_ok(two != NULL && dfd_snapshot_builder_finish(two, &info, error) == 0,
            "the other one finishes");
    dfd_snapshot_builder_destroy(two);
    unit_int(fleet_files(".tmp"), 3, "and leaves nothing");
    dfd_snapshot_builder_destroy(NULL);
}


static void
test_remove(void)
{
    char                error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_t     *snapshot;
    dfd_snapshot_info_t info;

    make_file(FLEET_NAME ".1.0.tmp", "x", 1);
    make_file("x" FLEET_NAME ".1.0.tmp", "x", 1);
    snapshot = fleet_open(office, 2, &info);
    unit_ok(snapshot != NULL, "a snapshot");
    make_file(FLEET_NAME ".1.0.tmp", "x", 1);

    unit_int(dfd_snapshot_remove(fleet_directory, FLEET_NAME, error), 0,
             "is removed");
    unit_int(access(fleet_path, F_OK), -1, "and gone");
    unit_int(fleet_files(FLEET_NAME ".1.0.tmp"), 1, "leftovers, too");
    dfd_snapshot_info(snapshot, &info);
    unit_int(info.devices, 2, "who has it mapped keeps it");
    dfd_snapshot_close(snapshot);

    unit_int(dfd_snapshot_remove(fleet_directory, FLEET_NAME, error), 0,
             "none to remove is right as well");
    unit_int(dfd_snapshot_remove("/nonexistent/dfd", FLEET_NAME, error), 0,
             "also without its directory");
}


static void
test_no_directory(void)
{
    char                  error[DFD_SNAPSHOT_ERROR], long_path[600];
    dfd_snapshot_target_t target;

    target.directory = "/nonexistent/dfd";
    target.name = FLEET_NAME;
    target.portal = FLEET_PORTAL;

    unit_ok(dfd_snapshot_builder_create(&target, error) == NULL,
            "no directory, no builder");
    unit_str(error,
             "cannot create a file (No such file or directory): "
             "/nonexistent/dfd",
             "and it says so");

    memset(long_path, 'x', sizeof(long_path));
    long_path[0] = '/';
    long_path[sizeof(long_path) - 1] = '\0';
    target.directory = long_path;

    unit_ok(dfd_snapshot_builder_create(&target, error) == NULL,
            "a path that is too long");
    unit_mem(error, 43, "cannot create a file (File name too long): ", 43,
             "does not push the reason out");
    unit_int(strlen(error), DFD_SNAPSHOT_ERROR - 1, "of the error's room");
}


static void
test_place_taken(void)
{
    char                    error[DFD_SNAPSHOT_ERROR], expected[256];
    dfd_snapshot_info_t     info;
    dfd_snapshot_builder_t *builder;

    (void) unlink(fleet_path);
    (void) mkdir(fleet_path, 0700);
    memset(&info, 0, sizeof(info));

    builder = fleet_builder(error);
    unit_int(builder == NULL
                 ? 0
                 : dfd_snapshot_builder_finish(builder, &info, error),
             -1, "a directory in its place");
    (void) snprintf(expected, sizeof(expected),
                    "cannot rename the new file to it (Is a directory): %s",
                    fleet_path);
    unit_str(error, expected, "is told");
    dfd_snapshot_builder_destroy(builder);
    unit_int(fleet_files(".tmp"), 3, "and the file removed");

    (void) rmdir(fleet_path);
}


static int
add(dfd_snapshot_builder_t *builder)
{
    return builder == NULL
             ? 1
             : dfd_snapshot_builder_add(builder, office[0], strlen(office[0]));
}


static int
finish(dfd_snapshot_builder_t *builder, char *error)
{
    dfd_snapshot_info_t info;

    memset(&info, 0, sizeof(info));

    return builder == NULL
             ? 1
             : dfd_snapshot_builder_finish(builder, &info, error);
}


/* no file may be longer: a write error as a full disk gives one */
static void
limit_files(rlim_t bytes)
{
    struct rlimit limit;

    (void) getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    (void) setrlimit(RLIMIT_FSIZE, &limit);
}


static void
test_full_at_once(void)
{
    char                    error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_builder_t *builder;

    limit_files(0);
    builder = fleet_builder(error);
    unit_int(add(builder), -1, "the disk is full from the start");
    unit_int(finish(builder, error), -1, "nothing is published");
    dfd_snapshot_builder_destroy(builder);
}


static void
test_full_while_adding(void)
{
    int                     i;
    char                    error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_builder_t *builder;

    /* the first write comes after some 256 KB of records */
    limit_files(100000);
    builder = fleet_builder(error);

    for (i = 0; i < 100000; i++) {
        if (add(builder) != 0) {
            break;
        }
    }

    unit_ok(i > 100 && i < 2000, "the disk is full at the first write");
    unit_int(add(builder), -1, "and from then on");
    unit_int(finish(builder, error), -1, "nothing is published");
    unit_ok(strncmp(error, "cannot write (File too large): ", 31) == 0,
            "and it says why: %s", error);
    dfd_snapshot_builder_destroy(builder);
}


static void
test_full_at_the_end(void)
{
    char                    error[DFD_SNAPSHOT_ERROR];
    dfd_snapshot_builder_t *builder;

    limit_files(500);
    builder = fleet_builder(error);
    unit_int(add(builder), 0, "a record in the buffer");
    unit_int(finish(builder, error), -1, "the disk is full at the end");
    dfd_snapshot_builder_destroy(builder);
}


static void
test_full_disk(void)
{
    char            error[DFD_SNAPSHOT_ERROR];
    int             others;
    dfd_snapshot_t *snapshot;

    dfd_snapshot_info_t info;

    dfd_snapshot_close(fleet_open(office, 2, &info));
    others = fleet_files("");

    (void) signal(SIGXFSZ, SIG_IGN);

    test_full_at_once();
    test_full_while_adding();
    test_full_at_the_end();

    limit_files(RLIM_INFINITY);

    unit_int(fleet_files(""), others, "no file is left of any of them");

    snapshot = dfd_snapshot_open(fleet_path, error);
    unit_ok(snapshot != NULL, "the file in place is the last good one");
    dfd_snapshot_close(snapshot);
}


int
main(void)
{
    fleet_start();

    test_leftovers();
    test_remove();
    test_no_directory();
    test_place_taken();
    test_full_disk();

    fleet_stop();

    return unit_done();
}
