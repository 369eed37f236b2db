#include "core/timestamp.h"

#include "unit.h"

#include <time.h>


#define S DFD_TICKS_PER_SECOND


typedef struct {
    const char *text;
    int64_t     ticks;
} time_case_t;


static const time_case_t time_cases[] = {
    { "1970-01-01T00:00:00Z", 0 },
    { "1970-01-01T00:00:01Z", 1 * S },
    { "2000-02-29T12:00:00Z", 951825600 * S },
    { "2026-11-25T01:00:00Z", 1795568400 * S },
    { "2026-11-25T01:00:00.0Z", 1795568400 * S },
    { "2026-11-25T01:00:00.1Z", 1795568400 * S + 1000000 },
    { "2026-11-25T01:00:00.12Z", 1795568400 * S + 1200000 },
    { "2026-11-25T00:50:00.1234567Z", 1795567800 * S + 1234567 },
    { "2026-11-25T00:50:00.123456789Z", 1795567800 * S + 1234567 },
    { "2026-11-25T01:00:00+00:00", 1795568400 * S },
    { "2026-11-25T01:00:00-00:00", 1795568400 * S },
    { "2026-11-25T03:30:00+02:30", 1795568400 * S },
    { "2026-11-25T03:30:00+0230", 1795568400 * S },
    { "2026-11-24T17:00:00.5-08", 1795568400 * S + 5000000 },
    { "2026-11-25t01:00:00z", 1795568400 * S },
    { "2016-12-31T23:59:60Z", 1483228800 * S },
    { "9999-12-31T23:59:59.9999999Z", 253402300799 * S + 9999999 },
    { "1970-01-01T00:00:00+01:00", -3600 * S },

    { "", DFD_TIME_NONE },
    { "Z", DFD_TIME_NONE },
    { "1969-12-31T23:59:59Z", DFD_TIME_NONE },
    { "0000-01-01T00:00:00Z", DFD_TIME_NONE },
    { "2026-02-29T00:00:00Z", DFD_TIME_NONE },
    { "2100-02-29T00:00:00Z", DFD_TIME_NONE },
    { "2026-04-31T00:00:00Z", DFD_TIME_NONE },
    { "2026-13-01T00:00:00Z", DFD_TIME_NONE },
    { "2026-00-01T00:00:00Z", DFD_TIME_NONE },
    { "2026-01-00T00:00:00Z", DFD_TIME_NONE },
    { "2026-11-25T24:00:00Z", DFD_TIME_NONE },
    { "2026-11-25T01:60:00Z", DFD_TIME_NONE },
    { "2026-11-25T01:00:61Z", DFD_TIME_NONE },
    { "2026-11-25T01:00:00", DFD_TIME_NONE },
    { "2026-11-25T01:00:00.Z", DFD_TIME_NONE },
    { "2026-11-25T01:00:00.1234567890Z", DFD_TIME_NONE },
    { "2026-11-25T01:00Z", DFD_TIME_NONE },
    { "2026-11-25 01:00:00Z", DFD_TIME_NONE },
    { "2026-11-25", DFD_TIME_NONE },
    { "26-11-25T01:00:00Z", DFD_TIME_NONE },
    { "2026-11-25T01:00:00Z ", DFD_TIME_NONE },
    { " 2026-11-25T01:00:00Z", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+2", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+24:00", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+01:60", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+01:", DFD_TIME_NONE },
    { "2026-11-25T01:00:00+01:0", DFD_TIME_NONE },
    { "2026-11-25T01:00:00Z+01:00", DFD_TIME_NONE },
    { "2026-11-25T01:00:00.12+34567Z", DFD_TIME_NONE },
    { "1795568400", DFD_TIME_NONE },
    { "-026-11-25T01:00:00Z", DFD_TIME_NONE },
};


static void
test_parse(void)
{
    size_t             i;
    const time_case_t *c;

    for (i = 0; i < sizeof(time_cases) / sizeof(time_cases[0]); i++) {
        c = &time_cases[i];
        unit_int(dfd_time_parse(c->text, strlen(c->text)), c->ticks,
                 "\"%s\" parsed", c->text);
    }

    unit_int(dfd_time_parse("2026-11-25T01:00:00Z", 19), DFD_TIME_NONE,
             "a cut text");
    unit_int(dfd_time_parse("2026-11-25T01:00:00Z\0", 21), DFD_TIME_NONE,
             "a zero behind it");

    /* 0 to 7 fraction digits sort as moments, not as text */
    unit_ok(dfd_time_parse("2026-11-25T00:50:00.19Z", 23)
                > dfd_time_parse("2026-11-25T00:50:00.1234567Z", 28),
            ".19 is later than .1234567");
    unit_ok(dfd_time_parse("2026-11-25T00:50:00Z", 20)
                < dfd_time_parse("2026-11-25T00:50:00.5Z", 22),
            "no fraction is earlier than .5");
}


typedef struct {
    int64_t     ticks;
    const char *text;
} format_case_t;


static const format_case_t format_cases[] = {
    { 0, "1970-01-01T00:00:00Z" },
    { 1795568400 * S, "2026-11-25T01:00:00Z" },
    { 1795568400 * S + 9999999, "2026-11-25T01:00:00Z" },
    { 951782400 * S - 1, "2000-02-28T23:59:59Z" },
    { 951825600 * S, "2000-02-29T12:00:00Z" },
    { 4107542400 * S, "2100-03-01T00:00:00Z" },
    { 253402300799 * S, "9999-12-31T23:59:59Z" },
    { 253402300800 * S, "9999-12-31T23:59:59Z" },
    { INT64_MAX, "9999-12-31T23:59:59Z" },
    { -1, "1970-01-01T00:00:00Z" },
    { DFD_TIME_NONE, "" },
};


static void
test_format(void)
{
    size_t               i, len;
    char                 text[DFD_TIME_TEXT];
    const format_case_t *c;

    for (i = 0; i < sizeof(format_cases) / sizeof(format_cases[0]); i++) {
        c = &format_cases[i];
        len = dfd_time_format(c->ticks, text);
        unit_mem(text, len + 1, c->text, strlen(c->text) + 1, "%" PRId64,
                 c->ticks);
    }
}


/* each day from 1970 to 9999 against the system's calendar, and back */
static void
test_every_day(void)
{
    char      text[DFD_TIME_TEXT], theirs[64];
    size_t    len, wrong;
    time_t    day;
    int64_t   ticks;
    struct tm tm;

    wrong = 0;

    for (day = 0; day <= 253402214400; day += 86400) {
        ticks = day * S + 45296 * S;
        len = dfd_time_format(ticks, text);

        (void) gmtime_r(&day, &tm);
        (void) snprintf(theirs, sizeof(theirs), "%04d-%02d-%02dT12:34:56Z",
                        tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);

        if (strcmp(text, theirs) != 0 || dfd_time_parse(text, len) != ticks) {
            wrong++;
        }
    }

    unit_int(wrong, 0, "every day of 1970 to 9999");
}


static void
test_now(void)
{
    time_t  before, after;
    int64_t now;

    before = time(NULL);
    now = dfd_time_now();
    after = time(NULL);

    /* time() may lag behind by a clock tick of the kernel */
    unit_ok(now / S >= before && now / S <= after + 1, "now is now");
}


int
main(void)
{
    test_parse();
    test_format();
    test_every_day();
    test_now();

    return unit_done();
}
