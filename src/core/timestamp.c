#include "core/timestamp.h"

#include <time.h>


#define DFD_TIME_MIN_YEAR 1970
#define DFD_TIME_MAX_YEAR 9999

#define DFD_TIME_MAX_FRACTION 9 /* digits read */
#define DFD_TIME_FRACTION     7 /* digits kept: 100 ns */

#define DFD_TIME_DAY 86400LL

/* 9999-12-31T23:59:59Z in seconds */
#define DFD_TIME_LAST_SECOND 253402300799LL


typedef struct {
    const char *p;
    const char *end;
} dfd_time_reader_t;


/* takes exactly n digits; 0 when there are none such */
static int
dfd_time_digits(dfd_time_reader_t *r, unsigned n, int *value)
{
    unsigned i;

    if ((size_t) (r->end - r->p) < n) {
        return 0;
    }

    *value = 0;

    for (i = 0; i < n; i++, r->p++) {
        if (*r->p < '0' || *r->p > '9') {
            return 0;
        }

        *value = *value * 10 + (*r->p - '0');
    }

    return 1;
}


static int
dfd_time_char(dfd_time_reader_t *r, char c)
{
    if (r->p == r->end || *r->p != c) {
        return 0;
    }

    r->p++;

    return 1;
}


/*
 * Days since 1970-01-01 of a date in the proleptic Gregorian calendar.
 * Counting a year from March puts the leap day last, so that the months
 * before it have lengths that a line through 30.6 days describes.
 */
static int64_t
dfd_time_days(int year, int month, int day)
{
    int64_t y, m, leaps;

    y = (month <= 2) ? year - 1 : year;
    m = (month <= 2) ? month + 9 : month - 3;
    leaps = y / 4 - y / 100 + y / 400;

    return y * 365 + leaps + (m * 306 + 5) / 10 + day - 1 - 719468;
}


static int
dfd_time_month_length(int year, int month)
{
    static const int lengths[12] = { 31, 28, 31, 30, 31, 30,
                                     31, 31, 30, 31, 30, 31 };

    if (month == 2 && (year % 400 == 0 || (year % 4 == 0 && year % 100 != 0)))
    {
        return 29;
    }

    return lengths[month - 1];
}


static int
dfd_time_parse_date(dfd_time_reader_t *r, int64_t *days)
{
    int year, month, day;

    if (!dfd_time_digits(r, 4, &year) || !dfd_time_char(r, '-')
        || !dfd_time_digits(r, 2, &month) || !dfd_time_char(r, '-')
        || !dfd_time_digits(r, 2, &day))
    {
        return 0;
    }

    if (year < DFD_TIME_MIN_YEAR || month < 1 || month > 12 || day < 1
        || day > dfd_time_month_length(year, month))
    {
        return 0;
    }

    *days = dfd_time_days(year, month, day);

    return 1;
}


static int
dfd_time_parse_clock(dfd_time_reader_t *r, int64_t *ticks)
{
    int      hour, minute, second;
    unsigned digits;
    int64_t  fraction;

    if (!dfd_time_digits(r, 2, &hour) || !dfd_time_char(r, ':')
        || !dfd_time_digits(r, 2, &minute) || !dfd_time_char(r, ':')
        || !dfd_time_digits(r, 2, &second))
    {
        return 0;
    }

    /* 60 is a leap second (RFC 3339 5.7), here the one after it */
    if (hour > 23 || minute > 59 || second > 60) {
        return 0;
    }

    fraction = 0;

    if (dfd_time_char(r, '.')) {

        for (digits = 0; r->p < r->end && *r->p >= '0' && *r->p <= '9';
             digits++, r->p++)
        {
            if (digits < DFD_TIME_FRACTION) {
                fraction = fraction * 10 + (*r->p - '0');
            }
        }

        if (digits == 0 || digits > DFD_TIME_MAX_FRACTION) {
            return 0;
        }

        for (/* void */; digits < DFD_TIME_FRACTION; digits++) {
            fraction *= 10;
        }
    }

    *ticks = ((hour * 60LL + minute) * 60 + second) * DFD_TICKS_PER_SECOND
           + fraction;

    return 1;
}


/* seconds east of UTC; the text must end with it */
static int
dfd_time_parse_offset(dfd_time_reader_t *r, int64_t *seconds)
{
    int sign, hours, minutes;

    if (dfd_time_char(r, 'Z') || dfd_time_char(r, 'z')) {
        *seconds = 0;
        return r->p == r->end;
    }

    if (dfd_time_char(r, '+')) {
        sign = 1;

    } else if (dfd_time_char(r, '-')) {
        sign = -1;

    } else {
        return 0;
    }

    if (!dfd_time_digits(r, 2, &hours) || hours > 23) {
        return 0;
    }

    minutes = 0;

    if (r->p != r->end) {
        (void) dfd_time_char(r, ':');

        if (!dfd_time_digits(r, 2, &minutes) || minutes > 59) {
            return 0;
        }
    }

    *seconds = sign * (hours * 60LL + minutes) * 60;

    return r->p == r->end;
}


int64_t
dfd_time_parse(const char *text, size_t len)
{
    int64_t           days, ticks, offset;
    dfd_time_reader_t r;

    r.p = text;
    r.end = text + len;

    if (!dfd_time_parse_date(&r, &days)
        || !(dfd_time_char(&r, 'T') || dfd_time_char(&r, 't'))
        || !dfd_time_parse_clock(&r, &ticks)
        || !dfd_time_parse_offset(&r, &offset))
    {
        return DFD_TIME_NONE;
    }

    return (days * DFD_TIME_DAY - offset) * DFD_TICKS_PER_SECOND + ticks;
}


static char *
dfd_time_write(char *p, int value, unsigned digits, char after)
{
    unsigned i;

    for (i = digits; i > 0; i--) {
        p[i - 1] = (char) ('0' + value % 10);
        value /= 10;
    }

    p[digits] = after;

    return p + digits + 1;
}


/* the inverse of dfd_time_days(), for days of the years 1970 to 9999 */
static void
dfd_time_civil(int64_t days, int *year, int *month, int *day)
{
    int64_t era, doe, yoe, doy, m;

    days += 719468;
    era = days / 146097; /* of 400 years */
    doe = days % 146097;
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    m = (5 * doy + 2) / 153;

    *day = (int) (doy - (153 * m + 2) / 5 + 1);
    *month = (int) (m < 10 ? m + 3 : m - 9);
    *year = (int) (era * 400 + yoe + (*month <= 2));
}


size_t
dfd_time_format(int64_t ticks, char text[DFD_TIME_TEXT])
{
    int     year, month, day, clock;
    char   *p;
    int64_t seconds;

    if (ticks == DFD_TIME_NONE) {
        text[0] = '\0';
        return 0;
    }

    /* what four digits of a year cannot say is shown as the nearest end */
    seconds = (ticks < 0) ? 0 : ticks / DFD_TICKS_PER_SECOND;

    if (seconds > DFD_TIME_LAST_SECOND) {
        seconds = DFD_TIME_LAST_SECOND;
    }

    dfd_time_civil(seconds / DFD_TIME_DAY, &year, &month, &day);
    clock = (int) (seconds % DFD_TIME_DAY);

    p = dfd_time_write(text, year, 4, '-');
    p = dfd_time_write(p, month, 2, '-');
    p = dfd_time_write(p, day, 2, 'T');
    p = dfd_time_write(p, clock / 3600, 2, ':');
    p = dfd_time_write(p, clock / 60 % 60, 2, ':');
    p = dfd_time_write(p, clock % 60, 2, 'Z');
    *p = '\0';

    return (size_t) (p - text);
}


int64_t
dfd_time_now(void)
{
    struct timespec now;

    /* cannot fail: the clock exists and the pointer is good */
    (void) clock_gettime(CLOCK_REALTIME, &now);

    return (int64_t) now.tv_sec * DFD_TICKS_PER_SECOND + now.tv_nsec / 100;
}
