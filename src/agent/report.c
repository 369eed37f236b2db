#include "agent/report.h"


static const char *const dfd_report_skips[DFD_SKIP_N] = { "not-json",
                                                          "not-an-object",
                                                          "no-id", "bad-id" };


/* in the order of dfd_poll_result_t */
static const char *const dfd_report_results[] = { "ok",
                                                  "empty",
                                                  "throttled",
                                                  "sign-in-failed",
                                                  "permission-missing",
                                                  "account-refused",
                                                  "unreachable",
                                                  "service-error",
                                                  "refused",
                                                  "bad-answer",
                                                  "incomplete",
                                                  "cache-down",
                                                  "lease-lost",
                                                  "failed" };


const char *
dfd_report_result(dfd_poll_result_t result)
{
    return dfd_report_results[result];
}


json_t *
dfd_report_text(const char *text)
{
    char    masked[DFD_AGENT_TEXT];
    size_t  i;
    json_t *string;

    if (text == NULL || text[0] == '\0') {
        return json_null();
    }

    string = json_string(text);
    if (string != NULL) {
        return string;
    }

    /* cut in the middle of a character */

    for (i = 0; text[i] != '\0' && i < DFD_AGENT_TEXT - 1; i++) {
        masked[i] = (char) (((u_char) text[i] < 0x80) ? text[i] : '?');
    }

    masked[i] = '\0';

    return json_string(masked);
}


json_t *
dfd_report_time(int64_t ticks)
{
    char text[DFD_TIME_TEXT];

    if (ticks == DFD_TIME_NONE) {
        return json_null();
    }

    (void) dfd_time_format(ticks, text);

    return json_string(text);
}


/* the reasons that there were, each with its count */
static json_t *
dfd_report_skipped(const dfd_poll_report_t *report)
{
    json_t    *reasons;
    ngx_uint_t i;

    reasons = json_object();

    for (i = 0; i < DFD_SKIP_N; i++) {

        if (report->skips[i] != 0) {
            (void) json_object_set_new(
                reasons, dfd_report_skips[i],
                json_integer((json_int_t) report->skips[i]));
        }
    }

    return reasons;
}


/* null unless the poll came to change something */
static json_t *
dfd_report_change(const dfd_poll_report_t *report, ngx_int_t n)
{
    return (report->result == DFD_POLL_OK) ? json_integer(n) : json_null();
}


json_t *
dfd_report_poll(const dfd_poll_report_t *report)
{
    /* clang-format off */
    return json_pack("{s:o, s:o, s:s, s:o, s:o, s:I, s:I, s:o, s:o, s:o, s:I,"
                     " s:o, s:f}",
        "started", dfd_report_time(report->started),
        "finished", dfd_report_time(report->finished),
        "result", dfd_report_result(report->result),
        "message", dfd_report_text(report->message),
        "code", dfd_report_text(report->code),
        "pages", (json_int_t) report->pages,
        "devices", (json_int_t) report->devices,
        "new", dfd_report_change(report, report->added),
        "changed", dfd_report_change(report, report->changed),
        "gone", dfd_report_change(report, report->gone),
        "skipped", (json_int_t) report->skipped,
        "skippedReasons", dfd_report_skipped(report),
        "durationSeconds", (double) report->msec / 1000);
    /* clang-format on */
}


/* the members after apiCalls are for the successor */
json_t *
dfd_report_part(dfd_agent_t *agent)
{
    int64_t                  since;
    ngx_uint_t               polling, minute, hour;
    dfd_schedule_t          *schedule;
    dfd_report_health_t      health;
    const dfd_poll_report_t *report;

    schedule = &agent->schedule;
    polling = agent->poll != NULL;
    since = DFD_TIME_NONE;

    health.health = schedule->health[0] ? schedule->health : "waiting";
    health.code = schedule->code;
    health.message = schedule->message;

    if (polling) {
        report = dfd_poll_report(agent->poll);
        since = report->started;

        if (report->result == DFD_POLL_THROTTLED) {
            health.health = "throttled";
            health.code = report->code;
            health.message = report->message;
        }
    }

    dfd_defender_rate(&minute, &hour);

    /* clang-format off */
    return json_pack("{s:s, s:o, s:o, s:b, s:o, s:O?, s:O?, s:o, s:o, s:O?,"
                     " s:{s:I, s:I}, s:I, s:I, s:s}",
        "health", health.health,
        "code", dfd_report_text(health.code),
        "message", dfd_report_text(health.message),
        "polling", (int) polling,
        "pollingSince", dfd_report_time(since),
        "lastPoll", schedule->last,
        "lastGoodPoll", schedule->good,
        "nextPoll", dfd_report_time(polling ? DFD_TIME_NONE : schedule->next),
        "throttledUntil", dfd_report_time(schedule->throttled),
        "polls", schedule->polls,
        "apiCalls", "lastMinute", (json_int_t) minute,
                    "lastHour", (json_int_t) hour,
        "failures", (json_int_t) schedule->failures + (polling ? 1 : 0),
        "revision", (json_int_t) schedule->revision,
        "sync", schedule->sync);
    /* clang-format on */
}
