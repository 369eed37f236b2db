#ifndef DFD_CORE_SPLICE_H
#define DFD_CORE_SPLICE_H

#include "core/address.h"

#include <stddef.h>
#include <stdint.h>


/*
 * The splicer finds the places in a JSON body at which an object that holds
 * known addresses gets its new last member.  It only inserts: the caller
 * passes every input byte on as it came and puts the insertion between.
 *
 *     while (dfd_splice_next(splice, &pos, end) == DFD_SPLICE_INSERT) {
 *         pass on the bytes up to pos;
 *         n = dfd_splice_insertion(splice, buf, room);
 *         pass on buf[0 .. n);
 *     }
 *
 *     pass on the rest up to end;
 */

typedef struct dfd_splice_s dfd_splice_t;


typedef struct {

    /*
     * Is this address worth an insertion?  Asked once for each string value
     * that is wholly an address, in a wanted field.  A memory read: it is on
     * the path of every address of every body.
     */
    int (*known)(void *data, const dfd_addr_t *addr);

    /*
     * Writes the entity (a JSON value) for the address into buf when it fits
     * into room, and returns its length; a length above room means that
     * nothing usable was written, 0 that there is nothing to insert after all.
     */
    size_t (*entity)(void *data, const dfd_addr_t *addr, char *buf,
                     size_t room);

    void *data;
} dfd_splice_source_t;


/*
 * What to look for.  Made once per location from the configuration, shared
 * by all its requests and read-only after that.
 */
typedef struct dfd_splice_plan_s dfd_splice_plan_t;


/*
 * key: name of the inserted member, JSON text is made from it by escaping.
 * fields: names, each a key ("src_ip"), a flattened key ("id.orig_h") or a
 * nested path ("source.ip"); none or "*": every field.
 * The texts are copied.  Returns NULL when out of memory, or when a name is
 * empty, longer than DFD_SPLICE_MAX_NAME, or there are too many.
 */
#define DFD_SPLICE_MAX_NAME   256
#define DFD_SPLICE_MAX_FIELDS 64

typedef struct {
    const char *data;
    size_t      len;
} dfd_splice_name_t;

dfd_splice_plan_t *dfd_splice_plan_create(const dfd_splice_name_t *key,
                                          const dfd_splice_name_t *fields,
                                          size_t                   nfields);


void dfd_splice_plan_destroy(dfd_splice_plan_t *plan);


/* bytes of memory that one splicer takes: a constant, whatever the body */
size_t dfd_splice_size(void);


/*
 * Makes a splicer in the memory given (dfd_splice_size() bytes, aligned for
 * a pointer; nothing to free).  lines: the body is NDJSON, a line end closes
 * the value and a malformed line does not harm the next one.  plan and source
 * stay the caller's and must outlive the splicer.
 */
dfd_splice_t *dfd_splice_init(void *memory, const dfd_splice_plan_t *plan,
                              const dfd_splice_source_t *source, int lines);


enum {
    DFD_SPLICE_MORE = 0, /* *pos == end: all bytes are to be passed on */
    DFD_SPLICE_INSERT    /* an insertion belongs before *pos */
};


/* Scans from *pos; the input may be split anywhere between calls. */
int dfd_splice_next(dfd_splice_t *splice, const char **pos, const char *end);


/*
 * Writes the insertion that belongs before the last *pos, ",\"defender\":{...}",
 * when it fits into room.  Returns its length: above room, nothing usable was
 * written and the caller calls again with that much; 0, nothing to insert.
 * To be called before the next dfd_splice_next(), or not at all.
 */
size_t dfd_splice_insertion(dfd_splice_t *splice, char *buf, size_t room);


/* Tells the splicer that the body is over (a value may be left open). */
void dfd_splice_finish(dfd_splice_t *splice);


typedef struct {
    uint64_t offset;       /* bytes taken so far */
    uint64_t malformed_at; /* offset of the first malformed byte */
    unsigned malformed;    /* malformed values met: lines, or 1 for the rest */
    unsigned dropped;      /* addresses beyond the bounds, not enriched */
} dfd_splice_stat_t;


void dfd_splice_stat(const dfd_splice_t *splice, dfd_splice_stat_t *stat);


#endif /* DFD_CORE_SPLICE_H */
