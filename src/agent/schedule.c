#include "agent/schedule.h"

#include "agent/lease.h"
#include "agent/observe.h"
#include "agent/report.h"
#include "agent/wipe.h"


#define DFD_SCHEDULE_BACKOFF   15000 /* after the first failed poll */
#define DFD_SCHEDULE_MAX_SHIFT 16    /* beyond any pollMinutes */

/*
 * A next poll that another process has announced is believed up to here: its
 * clock may be wrong.
 */
#define DFD_SCHEDULE_MAX_AHEAD (3600 * 1000)

#define DFD_SCHEDULE_POLLS 10 /* kept to be shown */

#define DFD_SCHEDULE_MOVED (2 * DFD_TICKS_PER_SECOND)


static ngx_msec_t
dfd_schedule_interval(dfd_agent_t *agent)
{
    return (ngx_msec_t) ngx_max(agent->account.settings.poll_minutes,
                                DFD_SETTINGS_MIN_POLL_MINUTES)
         * 60000;
}


static void
dfd_schedule_in(dfd_agent_t *agent, ngx_msec_t msec)
{
    agent->schedule.due = ngx_current_msec + msec;
    agent->schedule.next =
        dfd_cache_now() + (int64_t) msec * DFD_TICKS_PER_MSEC;
}


/* 15 s, 30 s, ... up to the interval, and up to a quarter more or less */
static ngx_msec_t
dfd_schedule_backoff(dfd_agent_t *agent, ngx_uint_t failures)
{
    ngx_uint_t shift;
    ngx_msec_t msec;

    shift = ngx_min(ngx_max(failures, 1) - 1, DFD_SCHEDULE_MAX_SHIFT);
    msec = ngx_min((ngx_msec_t) DFD_SCHEDULE_BACKOFF << shift,
                   dfd_schedule_interval(agent));

    return msec - msec / 4 + ngx_random() % (msec / 2);
}


/* how long until that moment of the wall clock, at least 0, at most `most` */
static ngx_msec_t
dfd_schedule_until(int64_t ticks, ngx_msec_t most)
{
    int64_t msec;

    msec = (ticks - dfd_cache_now()) / DFD_TICKS_PER_MSEC;

    return (msec <= 0) ? 0 : ngx_min((ngx_msec_t) msec, most);
}


static void
dfd_schedule_text(char *text, size_t size, const char *value)
{
    (void) ngx_cpystrn((u_char *) text,
                       (u_char *) ((value == NULL) ? "" : value), size);
}


static void
dfd_schedule_health(dfd_agent_t *agent, const char *health, const char *code,
                    const char *message)
{
    dfd_schedule_t *schedule;

    schedule = &agent->schedule;

    dfd_schedule_text(schedule->health, sizeof(schedule->health), health);
    dfd_schedule_text(schedule->code, sizeof(schedule->code), code);
    dfd_schedule_text(schedule->message, sizeof(schedule->message), message);
}


static const char *
dfd_schedule_member(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}


void
dfd_schedule_clear(dfd_agent_t *agent)
{
    json_decref(agent->schedule.last);
    json_decref(agent->schedule.good);
    json_decref(agent->schedule.polls);

    ngx_memzero(&agent->schedule, sizeof(dfd_schedule_t));
    agent->schedule.next = DFD_TIME_NONE;
    agent->schedule.throttled = DFD_TIME_NONE;
}


static int64_t
dfd_schedule_time(const json_t *object, const char *name)
{
    const char *text;

    text = dfd_schedule_member(object, name);

    return (text == NULL) ? DFD_TIME_NONE
                          : dfd_time_parse(text, ngx_strlen(text));
}


/* the newest first, and not more than anybody will look at */
static void
dfd_schedule_keep(dfd_schedule_t *schedule, json_t *poll)
{
    if (schedule->polls == NULL) {
        schedule->polls = json_array();
    }

    (void) json_array_insert(schedule->polls, 0, poll);

    while (json_array_size(schedule->polls) > DFD_SCHEDULE_POLLS) {
        (void) json_array_remove(schedule->polls, DFD_SCHEDULE_POLLS);
    }
}


/*
 * Until when Defender's Retry-After runs.  The client counts on its own clock
 * in whole seconds: the moment is kept unless it really moved, as each change
 * is written to Redis.
 */
static void
dfd_schedule_throttle(dfd_agent_t *agent)
{
    int64_t         until, moved;
    ngx_int_t       left;
    dfd_schedule_t *schedule;

    schedule = &agent->schedule;
    left = dfd_defender_throttled(agent->defender);

    if (left == 0) {

        /* what a former poller was told holds for this one */

        if (schedule->throttled != DFD_TIME_NONE
            && schedule->throttled <= dfd_cache_now())
        {
            schedule->throttled = DFD_TIME_NONE;
        }

        return;
    }

    until = dfd_cache_now() + (int64_t) left * DFD_TICKS_PER_SECOND;
    moved = until - schedule->throttled;

    if (schedule->throttled == DFD_TIME_NONE || moved > DFD_SCHEDULE_MOVED
        || moved < -DFD_SCHEDULE_MOVED)
    {
        schedule->throttled = until;
    }
}


/* what the former poller left, whoever it was */
static void
dfd_schedule_adopt(dfd_agent_t *agent, const json_t *shared)
{
    json_t         *member;
    dfd_schedule_t *schedule;

    dfd_schedule_clear(agent);

    schedule = &agent->schedule;

    member = json_object_get(shared, "lastPoll");
    schedule->last = json_is_object(member) ? json_incref(member) : NULL;

    member = json_object_get(shared, "lastGoodPoll");
    schedule->good = json_is_object(member) ? json_incref(member) : NULL;

    member = json_object_get(shared, "polls");
    schedule->polls = json_is_array(member) ? json_incref(member) : NULL;

    schedule->failures =
        json_integer_value(json_object_get(shared, "failures"));
    schedule->revision =
        json_integer_value(json_object_get(shared, "revision"));

    dfd_schedule_text(schedule->sync, sizeof(schedule->sync),
                      dfd_schedule_member(shared, "sync"));

    dfd_schedule_health(agent, dfd_schedule_member(shared, "health"),
                        dfd_schedule_member(shared, "code"),
                        dfd_schedule_member(shared, "message"));
}


/* the plan that the former poller had, in ms from now */
static ngx_msec_t
dfd_schedule_inherited(dfd_agent_t *agent, const json_t *shared)
{
    int64_t    next;
    ngx_msec_t interval;

    interval = dfd_schedule_interval(agent);

    if (json_is_true(json_object_get(shared, "polling"))) {

        /*
         * It died in the middle: at once again, but slower each time, as the
         * poll itself may be what kills the process.
         */
        return (agent->schedule.failures <= 1)
                 ? 0
                 : dfd_schedule_backoff(agent, agent->schedule.failures - 1);
    }

    next = dfd_schedule_time(shared, "nextPoll");

    if (next != DFD_TIME_NONE) {
        return dfd_schedule_until(next,
                                  ngx_max(interval, DFD_SCHEDULE_MAX_AHEAD));
    }

    if (agent->seen.as_of != DFD_TIME_NONE) {
        next = agent->seen.as_of + (int64_t) interval * DFD_TICKS_PER_MSEC;
        return dfd_schedule_until(next, interval);
    }

    return 0;
}


void
dfd_schedule_taken(dfd_agent_t *agent, ngx_uint_t fresh)
{
    json_t     *shared;
    ngx_uint_t  throttled;
    ngx_msec_t  wait;
    const char *result;

    shared = agent->seen.shared;

    dfd_schedule_adopt(agent, shared);

    wait = dfd_schedule_inherited(agent, shared);

    result = dfd_schedule_member(agent->schedule.last, "result");
    throttled = result != NULL
             && ngx_strcmp(result, dfd_report_result(DFD_POLL_THROTTLED)) == 0;

    /* Microsoft's Retry-After holds for a started nginx as well */

    if ((fresh && !throttled)
        || agent->schedule.revision != agent->account.revision)
    {
        wait = 0;
    }

    /* the settings may be for another application, which has its own quota */

    if (agent->schedule.revision == agent->account.revision) {
        agent->schedule.throttled =
            dfd_schedule_time(shared, "throttledUntil");
    }

    agent->schedule.revision = agent->account.revision;

    dfd_schedule_in(agent, wait);
}


void
dfd_schedule_changed(dfd_agent_t *agent, ngx_uint_t connection)
{
    int64_t         next;
    ngx_msec_t      wait;
    dfd_schedule_t *schedule;

    if (!agent->lease.held) {
        return;
    }

    schedule = &agent->schedule;
    schedule->revision = agent->account.revision;

    if (connection) {
        schedule->throttled = DFD_TIME_NONE;
    }

    if (connection || schedule->failures != 0
        || agent->seen.as_of == DFD_TIME_NONE)
    {
        dfd_schedule_in(agent, 0);
        return;
    }

    next = agent->seen.as_of
         + (int64_t) dfd_schedule_interval(agent) * DFD_TICKS_PER_MSEC;

    wait = dfd_schedule_until(next, dfd_schedule_interval(agent));

    dfd_schedule_in(agent, wait);
}


void
dfd_schedule_tick(dfd_agent_t *agent)
{
    dfd_schedule_t *schedule;

    schedule = &agent->schedule;

    if (!dfd_lease_held(agent) || !agent->account.ready
        || dfd_wipe_needed(agent)) {
        return;
    }

    dfd_schedule_throttle(agent);

    if (agent->seen.sync[0] != '\0'
        && ngx_strcmp(agent->seen.sync, schedule->sync) != 0)
    {
        dfd_schedule_text(schedule->sync, sizeof(schedule->sync),
                          agent->seen.sync);

        /* a poll that is under way is what was asked for */

        if (agent->poll == NULL && schedule->throttled == DFD_TIME_NONE) {
            dfd_schedule_in(agent, 0);
        }
    }

    if (agent->poll != NULL || !dfd_agent_passed(schedule->due)) {
        return;
    }

    if (dfd_poll_start(agent) != NGX_OK) {
        dfd_schedule_in(agent, DFD_SCHEDULE_BACKOFF);
    }
}


static void
dfd_schedule_set_due(dfd_agent_t *agent, const dfd_poll_report_t *report)
{
    ngx_msec_t interval, wait;

    interval = dfd_schedule_interval(agent);

    switch (report->result) {

    case DFD_POLL_THROTTLED:
        wait = (ngx_msec_t) report->retry_after * 1000;
        break;

    case DFD_POLL_UNREACHABLE:
    case DFD_POLL_SERVICE:
    case DFD_POLL_BAD_ANSWER:
    case DFD_POLL_INCOMPLETE:
    case DFD_POLL_CACHE:
    case DFD_POLL_LOST:
    case DFD_POLL_FAILED:
        wait = dfd_schedule_backoff(agent, agent->schedule.failures);
        break;

    default:
        /*
         * From the start of this poll; one that took longer than the interval
         * skips its turns, it does not run after itself.
         */
        wait = interval - report->msec % interval;
        break;
    }

    dfd_schedule_in(agent, wait);
}


static const char *
dfd_schedule_health_of(dfd_poll_result_t result)
{
    switch (result) {

    case DFD_POLL_OK:
        return "healthy";

    case DFD_POLL_THROTTLED:
        return "throttled";

    case DFD_POLL_SIGN_IN:
        return "sign-in-failed";

    case DFD_POLL_PERMISSION:
    case DFD_POLL_ACCOUNT:
        return "permission-missing";

    case DFD_POLL_UNREACHABLE:
    case DFD_POLL_SERVICE:
        return "unreachable";

    case DFD_POLL_CACHE:
        return "cache-down";

    default:
        return "delayed";
    }
}


/* one line in the log for each change, not for each repetition */
static void
dfd_schedule_log(dfd_agent_t *agent, const dfd_poll_report_t *report)
{
    if (report->result == DFD_POLL_OK) {

        if (agent->schedule.failures != 0) {
            ngx_log_error(NGX_LOG_NOTICE, agent->log, 0,
                          "defender: polling works again");
        }

        return;
    }

    if (ngx_strcmp(agent->schedule.message, report->message) != 0) {
        ngx_log_error(NGX_LOG_WARN, agent->log, 0,
                      "defender: poll failed, the former devices stay: %s",
                      report->message);
    }
}


void
dfd_schedule_report(dfd_agent_t *agent, const dfd_poll_report_t *report)
{
    json_t         *last;
    dfd_schedule_t *schedule;

    schedule = &agent->schedule;

    dfd_schedule_log(agent, report);

    if (report->result == DFD_POLL_LOST) {
        dfd_lease_lost(agent);
        return;
    }

    last = dfd_report_poll(report);

    if (last != NULL) {
        json_decref(schedule->last);
        schedule->last = last;
        dfd_schedule_keep(schedule, last);

        if (report->result == DFD_POLL_OK) {
            json_decref(schedule->good);
            schedule->good = json_incref(last);
        }
    }

    schedule->failures =
        (report->result == DFD_POLL_OK || report->result == DFD_POLL_EMPTY)
            ? 0
            : schedule->failures + 1;

    dfd_schedule_health(agent, dfd_schedule_health_of(report->result),
                        report->code, report->message);

    dfd_schedule_throttle(agent);
    dfd_schedule_set_due(agent, report);

    if (report->result == DFD_POLL_OK) {
        /* the new generation is news for this host, too */
        dfd_observe_ask(agent);
    }
}
