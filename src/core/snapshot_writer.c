#include "core/snapshot_writer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>


#define DFD_WRITER_BUFFER (256 * 1024) /* whole blocks */

#define DFD_WRITER_TRIES 1000 /* temporary files of one process */

#define DFD_WRITER_SUFFIX ".tmp"


static char *
dfd_writer_path(const char *directory, const char *name)
{
    char  *path;
    size_t size;

    size = strlen(directory) + strlen(name) + 2;
    path = malloc(size);

    if (path != NULL) {
        (void) snprintf(path, size, "%s/%s", directory, name);
    }

    return path;
}


/* takes ".digits" */
static const char *
dfd_writer_skip_number(const char *p)
{
    size_t digits;

    if (p == NULL || *p != '.') {
        return NULL;
    }

    digits = strspn(p + 1, "0123456789");

    return digits == 0 ? NULL : p + 1 + digits;
}


/* is it "name.PID.N.tmp"? */
static int
dfd_writer_is_temporary(const char *file, const char *name)
{
    size_t len;

    len = strlen(name);

    if (strncmp(file, name, len) != 0) {
        return 0;
    }

    file = dfd_writer_skip_number(dfd_writer_skip_number(file + len));

    return file != NULL && strcmp(file, DFD_WRITER_SUFFIX) == 0;
}


/*
 * A writer holds a lock on its file as long as it lives, so a file whose lock
 * is free was left by one that died.  The process id in the name would not
 * tell: it may belong to somebody else by now, and after a restart of a
 * container it mostly does.
 */
static void
dfd_writer_remove_dead(int directory, const char *file)
{
    int         fd;
    struct stat st;

    fd = openat(directory, file,
                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    if (fd == -1) {
        return;
    }

    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
        && flock(fd, LOCK_EX | LOCK_NB) == 0)
    {
        (void) unlinkat(directory, file, 0);
    }

    (void) close(fd);
}


/* leftovers only take room: nothing that fails here stops a new file */
static void
dfd_writer_clean(const char *directory, const char *name)
{
    DIR           *dir;
    struct dirent *entry;

    dir = opendir(directory);

    if (dir == NULL) {
        return;
    }

    for (;;) {
        entry = readdir(dir); /* one stream is used by one thread */

        if (entry == NULL) {
            break;
        }

        if (dfd_writer_is_temporary(entry->d_name, name)) {
            dfd_writer_remove_dead(dirfd(dir), entry->d_name);
        }
    }

    (void) closedir(dir);
}


/* makes the file of this number: 1, or 0 for errno */
static int
dfd_writer_try(dfd_snapshot_writer_t *writer, const char *name, unsigned n)
{
    size_t      size;
    struct stat st;

    size = strlen(writer->directory) + strlen(name) + 64;
    writer->path = malloc(size);

    if (writer->path == NULL) {
        errno = ENOMEM;
        return 0;
    }

    (void) snprintf(writer->path, size, "%s/%s.%ld.%u" DFD_WRITER_SUFFIX,
                    writer->directory, name, (long) getpid(), n);

    writer->fd =
        open(writer->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
             S_IRUSR | S_IWUSR);

    if (writer->fd != -1) {

        /*
         * Another writer's cleaning may have come before the lock.  Without
         * locks on this file system (any other error) nobody cleans at all.
         */
        if ((flock(writer->fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
            && fstat(writer->fd, &st) == 0 && st.st_nlink != 0)
        {
            return 1;
        }

        (void) close(writer->fd);
        writer->fd = -1;
        errno = EEXIST;
    }

    free(writer->path);
    writer->path = NULL;

    return 0;
}


static int
dfd_writer_write(dfd_snapshot_writer_t *writer, const void *bytes, size_t len,
                 uint64_t offset)
{
    ssize_t     n;
    const char *p;

    p = bytes;

    while (len > 0) {
        n = pwrite(writer->fd, p, len, (off_t) offset);

        if (n <= 0) {
            if (n == -1 && errno == EINTR) {
                continue;
            }

            writer->lost = (n == 0) ? ENOSPC : errno;
            return -1;
        }

        p += n;
        len -= (size_t) n;
        offset += (uint64_t) n;
    }

    return 0;
}


int
dfd_snapshot_writer_open(dfd_snapshot_writer_t *writer, const char *directory,
                         const char *name, char *error)
{
    unsigned                           n;
    static const dfd_snapshot_header_t empty;

    memset(writer, 0, sizeof(dfd_snapshot_writer_t));
    writer->fd = -1;

    writer->directory = strdup(directory);
    writer->place = dfd_writer_path(directory, name);
    writer->buffer = malloc(DFD_WRITER_BUFFER);

    if (writer->directory == NULL || writer->place == NULL
        || writer->buffer == NULL)
    {
        (void) dfd_snapshot_refuse(error, directory, "out of memory");
        return -1;
    }

    dfd_writer_clean(directory, name);

    for (n = 0; writer->fd == -1; n++) {
        if (!dfd_writer_try(writer, name, n)
            && (errno != EEXIST || n == DFD_WRITER_TRIES))
        {
            (void) dfd_snapshot_refuse(error, directory,
                                       "cannot create a file (%s)",
                                       strerror(errno));
            return -1;
        }
    }

    dfd_snapshot_sum_init(&writer->sum);

    /* its place; not in the buffer, because the sum takes the header last */
    (void) dfd_writer_write(writer, &empty, sizeof(empty), 0);
    writer->offset = sizeof(empty);

    return 0;
}


static void
dfd_writer_flush(dfd_snapshot_writer_t *writer)
{
    if (writer->used != 0
        && dfd_writer_write(writer, writer->buffer, writer->used,
                            writer->offset - writer->used)
               == 0)
    {
        dfd_snapshot_sum_add(&writer->sum, writer->buffer, writer->used);
        writer->used = 0;
    }
}


void
dfd_snapshot_writer_fail(dfd_snapshot_writer_t *writer, int error)
{
    if (writer->lost == 0) {
        writer->lost = error;
    }
}


uint64_t
dfd_snapshot_writer_put(dfd_snapshot_writer_t *writer, const void *bytes,
                        size_t len)
{
    size_t      n;
    uint64_t    offset;
    const char *p;

    p = bytes;
    offset = writer->offset;

    while (len > 0 && writer->lost == 0) {
        n = DFD_WRITER_BUFFER - writer->used;

        if (n > len) {
            n = len;
        }

        memcpy(writer->buffer + writer->used, p, n);
        writer->used += n;
        writer->offset += n;
        p += n;
        len -= n;

        if (writer->used == DFD_WRITER_BUFFER) {
            dfd_writer_flush(writer);
        }
    }

    return offset;
}


void
dfd_snapshot_writer_align(dfd_snapshot_writer_t *writer, size_t to)
{
    size_t            past;
    static const char zeros[DFD_SNAPSHOT_BLOCK];

    past = writer->offset % to;

    if (past != 0) {
        (void) dfd_snapshot_writer_put(writer, zeros, to - past);
    }
}


int
dfd_snapshot_writer_read(dfd_snapshot_writer_t *writer, uint64_t offset,
                         void *bytes, size_t len)
{
    char   *p;
    ssize_t n;

    dfd_writer_flush(writer);
    p = bytes;

    while (len > 0 && writer->lost == 0) {
        n = pread(writer->fd, p, len, (off_t) offset);

        if (n > 0) {
            p += n;
            len -= (size_t) n;
            offset += (uint64_t) n;

        } else if (n == 0 || errno != EINTR) {
            writer->lost = (n == 0) ? EIO : errno;
        }
    }

    return writer->lost == 0 ? 0 : -1;
}


/* so that the new name survives a power cut */
static int
dfd_writer_sync_directory(const char *directory)
{
    int fd, rc;

    fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd == -1) {
        return -1;
    }

    rc = fsync(fd);

    /* some file systems have no sync for directories */
    if (rc == -1 && errno == EINVAL) {
        rc = 0;
    }

    (void) close(fd);

    return rc;
}


int
dfd_snapshot_writer_publish(dfd_snapshot_writer_t *writer,
                            dfd_snapshot_header_t *header, char *error)
{
    dfd_snapshot_writer_align(writer, DFD_SNAPSHOT_BLOCK);
    dfd_writer_flush(writer);

    memcpy(header->magic, DFD_SNAPSHOT_MAGIC, DFD_SNAPSHOT_MAGIC_LEN);
    header->byte_order = DFD_SNAPSHOT_BYTE_ORDER;
    header->version = DFD_SNAPSHOT_VERSION;
    header->file_size = writer->offset;
    header->checksum = dfd_snapshot_sum_final(&writer->sum, header);

    if (writer->lost == 0
        && dfd_writer_write(writer, header, sizeof(*header), 0) == 0
        && fsync(writer->fd) == -1)
    {
        writer->lost = errno;
    }

    if (writer->lost != 0) {
        (void) dfd_snapshot_refuse(error, writer->path, "cannot write (%s)",
                                   strerror(writer->lost));
        return -1;
    }

    if (rename(writer->path, writer->place) == -1) {
        (void) dfd_snapshot_refuse(error, writer->place,
                                   "cannot rename the new file to it (%s)",
                                   strerror(errno));
        return -1;
    }

    /* it is in its place now, whatever the sync says */
    free(writer->path);
    writer->path = NULL;

    if (dfd_writer_sync_directory(writer->directory) == -1) {
        (void) dfd_snapshot_refuse(error, writer->directory,
                                   "cannot sync the directory (%s)",
                                   strerror(errno));
        return -1;
    }

    return 0;
}


void
dfd_snapshot_writer_close(dfd_snapshot_writer_t *writer)
{
    if (writer->path != NULL) {
        (void) unlink(writer->path);
    }

    if (writer->fd != -1) {
        (void) close(writer->fd);
    }

    free(writer->directory);
    free(writer->path);
    free(writer->place);
    free(writer->buffer);
    memset(writer, 0, sizeof(dfd_snapshot_writer_t));
    writer->fd = -1;
}


int
dfd_snapshot_remove(const char *directory, const char *name,
                    char error[DFD_SNAPSHOT_ERROR])
{
    int   rc;
    char *path;

    path = dfd_writer_path(directory, name);

    if (path == NULL) {
        (void) dfd_snapshot_refuse(error, directory, "out of memory");
        return -1;
    }

    rc = 0;

    if (unlink(path) == -1 && errno != ENOENT) {
        (void) dfd_snapshot_refuse(error, path, "cannot remove it (%s)",
                                   strerror(errno));
        rc = -1;
    }

    free(path);

    dfd_writer_clean(directory, name);

    return rc;
}
