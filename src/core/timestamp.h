#ifndef DFD_CORE_TIMESTAMP_H
#define DFD_CORE_TIMESTAMP_H

#include <stddef.h>
#include <stdint.h>


/*
 * A moment is counted in ticks of 100 ns since 1970-01-01T00:00:00Z: the
 * precision of Defender's own timestamps, which carry 0 to 7 fraction digits
 * and therefore must not be compared as text.
 */

#define DFD_TICKS_PER_SECOND 10000000LL
#define DFD_TICKS_PER_MSEC   10000LL
#define DFD_TIME_NONE        INT64_MIN


/* "2026-11-25T01:00:00.1234567Z" and the terminating zero */
#define DFD_TIME_TEXT 32


/*
 * Parses ISO 8601 with 0 to 9 fraction digits (digits below 100 ns are cut)
 * and "Z" or an offset (+hh:mm, +hhmm, +hh); years 1970 to 9999.
 * Returns the ticks, or DFD_TIME_NONE when it is not such a text.
 */
int64_t dfd_time_parse(const char *text, size_t len);


/* Writes whole seconds in UTC, "2026-11-25T01:00:00Z"; returns the length. */
size_t dfd_time_format(int64_t ticks, char text[DFD_TIME_TEXT]);


/* the wall clock, in ticks */
int64_t dfd_time_now(void);


#endif /* DFD_CORE_TIMESTAMP_H */
