#ifndef DFD_CORE_SNAPSHOT_H
#define DFD_CORE_SNAPSHOT_H

#include "core/address.h"

#include <stddef.h>
#include <stdint.h>


/*
 * The snapshot is one immutable file: header (magic, version, byte order,
 * generation, sizes, checksum), an address index, the claims that devices lay
 * to each address, and device records with the ready-made entity JSON.  It is
 * written beside the current one, synced and renamed; readers map it
 * read-only, and no offset of it is followed unchecked.
 */

#define DFD_SNAPSHOT_ERROR 256 /* room for an error text */


/* --- building: in a thread, no nginx involved --------------------------- */

typedef struct dfd_snapshot_builder_s dfd_snapshot_builder_t;

typedef struct {
    const char *directory; /* where the file goes */
    const char *name;      /* its final name below directory */
    const char *portal;    /* "https://security.microsoft.com", no last "/" */
} dfd_snapshot_target_t;

typedef struct {
    uint64_t generation;
    int64_t  as_of;   /* ticks: start of the poll that these devices are of */
    uint32_t source;  /* whose devices they are: a number of the caller's */
    uint32_t devices; /* out */
    uint32_t addresses; /* out: distinct addresses in the index */
    uint32_t skipped;   /* out: records that are not a machine object */
} dfd_snapshot_info_t;


/*
 * Opens a temporary file in the target's directory (0600), after removing
 * leftovers of builders that died.  NULL and error text on failure.
 */
dfd_snapshot_builder_t *dfd_snapshot_builder_create(
    const dfd_snapshot_target_t *target, char error[DFD_SNAPSHOT_ERROR]);


/*
 * Adds one machine object as Defender sends it.  Of several with the same id
 * the one with the newest lastSeen stays.  A record that is no machine (not
 * an object, no id) is counted in skipped and harms nothing.  Device records
 * go to the file at once, so memory holds index entries only.
 * Returns 0, or -1 when out of memory or disk: then only destroy is left.
 */
int dfd_snapshot_builder_add(dfd_snapshot_builder_t *builder, const char *json,
                             size_t len);


/*
 * Writes index and header, syncs, and renames the file into place.
 * info: generation, as_of and source in, counts out.  Returns 0, or -1 and error.
 */
int dfd_snapshot_builder_finish(dfd_snapshot_builder_t *builder,
                                dfd_snapshot_info_t    *info,
                                char error[DFD_SNAPSHOT_ERROR]);


/* Frees it; a file that was not finished is removed. */
void dfd_snapshot_builder_destroy(dfd_snapshot_builder_t *builder);


/*
 * Removes the file of that name and what builders that died have left of it;
 * who has mapped it keeps what he has.  Returns 0, also when there was none,
 * or -1 and error.
 */
int dfd_snapshot_remove(const char *directory, const char *name,
                        char error[DFD_SNAPSHOT_ERROR]);


/* --- reading ------------------------------------------------------------- */

typedef struct dfd_snapshot_s dfd_snapshot_t;


/*
 * Maps the file and checks all of it: magic, version, byte order, sizes
 * against the file, checksum, and that every offset lies within its section.
 * NULL and an error text that names the file for anything else.
 */
dfd_snapshot_t *dfd_snapshot_open(const char *path,
                                  char        error[DFD_SNAPSHOT_ERROR]);


/*
 * Maps a file that a builder of this host has just written and renamed: only
 * the header and the sizes are checked, so that a worker's event loop does not
 * stop for the checksum of 100 MB.
 */
dfd_snapshot_t *dfd_snapshot_open_trusted(const char *path,
                                          char error[DFD_SNAPSHOT_ERROR]);


/* The same for bytes in memory that stay the caller's (tests, fuzzing). */
dfd_snapshot_t *dfd_snapshot_open_memory(const void *bytes, size_t len,
                                         char error[DFD_SNAPSHOT_ERROR]);


void dfd_snapshot_close(dfd_snapshot_t *snapshot);


void dfd_snapshot_info(const dfd_snapshot_t *snapshot,
                       dfd_snapshot_info_t  *info);


/* Is there any claim to this address?  The quick question of the filter. */
int dfd_snapshot_has(const dfd_snapshot_t *snapshot, const dfd_addr_t *addr);


/*
 * Walks the index: returns 1 and the address at *cursor (start with 0) and
 * moves the cursor on, or 0 at the end.  The order is the file's own: with
 * another snapshot a walk starts anew.
 */
int dfd_snapshot_next(const dfd_snapshot_t *snapshot, uint64_t *cursor,
                      dfd_addr_t *addr);


#endif /* DFD_CORE_SNAPSHOT_H */
