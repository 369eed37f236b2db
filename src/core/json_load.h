#ifndef DFD_CORE_JSON_LOAD_H
#define DFD_CORE_JSON_LOAD_H

#include <jansson.h>
#include <stddef.h>


/*
 * Reads a JSON document that somebody else wrote.  jansson refuses the whole
 * of it for a number beyond its range, for a surrogate that stands alone and
 * for a NUL in a member's name (RFC 8259 allows all of them), and for a byte
 * that is not UTF-8.  None is worth a machine: the number is read as null,
 * surrogate and NUL as U+FFFD, the byte as "?".
 * Returns a new reference; NULL when it is no JSON, or there is no memory:
 * *no_memory tells, which may be NULL.
 */
json_t *dfd_json_load(const char *json, size_t len, int *no_memory);


#endif /* DFD_CORE_JSON_LOAD_H */
