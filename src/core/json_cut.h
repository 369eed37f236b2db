#ifndef DFD_CORE_JSON_CUT_H
#define DFD_CORE_JSON_CUT_H

#include <stddef.h>
#include <stdint.h>


/*
 * Cuts an OData page, {"value":[{...},{...}],...}, into its single elements
 * as bytes arrive, so that a page is never held as a whole.  Built upon the
 * scanner of json_scan.h.
 */

typedef struct dfd_json_cut_s dfd_json_cut_t;


/*
 * Called with each complete element of the "value" array, as it came.
 * Anything but 0 ends the cutting: dfd_json_cut_feed() returns DFD_CUT_STOPPED.
 */
typedef int (*dfd_json_cut_pt)(void *data, const char *json, size_t len);


enum {
    DFD_CUT_OK = 0,
    DFD_CUT_MALFORMED, /* not JSON, or not an object at the top */
    DFD_CUT_TOO_LARGE, /* an element above the limit */
    DFD_CUT_STOPPED,   /* the handler asked for it */
    DFD_CUT_NO_MEMORY
};


/* elements longer than max_element bytes end the cutting; NULL: no memory */
dfd_json_cut_t *dfd_json_cut_create(size_t          max_element,
                                    dfd_json_cut_pt handler, void *data);


void dfd_json_cut_destroy(dfd_json_cut_t *cut);


/* Takes the next bytes, split anywhere.  Errors stay: returns DFD_CUT_*. */
int dfd_json_cut_feed(dfd_json_cut_t *cut, const char *bytes, size_t len);


/*
 * Tells at the end of input whether the page was whole: DFD_CUT_OK, or
 * DFD_CUT_MALFORMED also for a page that broke off or had no "value" array.
 */
int dfd_json_cut_finish(dfd_json_cut_t *cut);


/* byte offset in the page at which it stopped being JSON */
uint64_t dfd_json_cut_error_offset(const dfd_json_cut_t *cut);


/* 1 when the page had a string member "@odata.nextLink" that is not empty */
int dfd_json_cut_has_next_link(const dfd_json_cut_t *cut);


#endif /* DFD_CORE_JSON_CUT_H */
