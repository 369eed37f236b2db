#ifndef DFD_CORE_SNAPSHOT_WRITER_H
#define DFD_CORE_SNAPSHOT_WRITER_H

#include "core/snapshot_format.h"


/*
 * The file that a builder writes: buffered, checksummed on the way, beside
 * its final place until it is whole.  Errors stay: after the first one,
 * everything else does nothing.
 */

typedef struct {
    int      fd;
    int      lost; /* errno of the first failure, 0: none */
    char    *directory;
    char    *path;  /* of the temporary file */
    char    *place; /* where it goes */
    char    *buffer;
    size_t   used;   /* bytes of the buffer */
    uint64_t offset; /* in the file, of the next byte put */

    dfd_snapshot_sum_t sum;
} dfd_snapshot_writer_t;


/*
 * Removes what dead writers left of this name, and opens a temporary file
 * "name.PID.N.tmp".  Returns 0, or -1 and the error; closing is right in
 * either case.
 */
int dfd_snapshot_writer_open(dfd_snapshot_writer_t *writer,
                             const char *directory, const char *name,
                             char *error);


/* Ends the writing as if the disk had given this error (errno). */
void dfd_snapshot_writer_fail(dfd_snapshot_writer_t *writer, int error);


/* Appends bytes; returns the offset in the file at which they lie. */
uint64_t dfd_snapshot_writer_put(dfd_snapshot_writer_t *writer,
                                 const void *bytes, size_t len);


/* Appends zeros until the offset is a multiple of it. */
void dfd_snapshot_writer_align(dfd_snapshot_writer_t *writer, size_t to);


/*
 * Reads back what was put.  The offset must be that of a whole block, see
 * dfd_snapshot_writer_align().  Returns 0, or -1.
 */
int dfd_snapshot_writer_read(dfd_snapshot_writer_t *writer, uint64_t offset,
                             void *bytes, size_t len);


/*
 * Completes the header and writes it, syncs, and renames the file into its
 * place.  Returns 0, or -1 and the error, also of what went wrong before.
 */
int dfd_snapshot_writer_publish(dfd_snapshot_writer_t *writer,
                                dfd_snapshot_header_t *header, char *error);


/* Frees everything; a file that was not published is removed. */
void dfd_snapshot_writer_close(dfd_snapshot_writer_t *writer);


#endif /* DFD_CORE_SNAPSHOT_WRITER_H */
