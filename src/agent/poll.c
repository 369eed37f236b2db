#include "agent/poll.h"

#include "agent/eval.h"
#include "agent/lease.h"
#include "agent/page.h"
#include "agent/publish.h"
#include "agent/schedule.h"


/* tries of a page after the first one, with 1, 2 and 4 s in between */
#define DFD_POLL_RETRIES     3
#define DFD_POLL_RETRY_FIRST 1000

/*
 * Bounds of a walk that never comes to an end.  Microsoft allows 1,500 calls
 * an hour, so that two hours are 3 million devices at the usual page size.
 */
#define DFD_POLL_MAX_MSEC    (2 * 3600 * 1000)
#define DFD_POLL_MAX_PAGES   100000
#define DFD_POLL_MAX_DEVICES 5000000


struct dfd_poll_s {
    dfd_agent_t *agent;
    char         stage[DFD_PUBLISH_KEY];
    ngx_uint_t   staged; /* the stage may exist */

    ngx_event_t timer; /* before the next try of a page */
    ngx_msec_t  began;

    dfd_defender_call_t *call; /* of the page that is being read */
    dfd_page_t          *page;

    ngx_uint_t skip;
    ngx_uint_t tries; /* failed tries of this page */
    ngx_uint_t fresh; /* new ids of this page, over all its tries */

    /* what the API said to this try of the page */
    dfd_defender_result_t answer;

    ngx_uint_t asked; /* the publishing script is under way */
    ngx_uint_t dead;  /* only its reply is waited for */

    dfd_poll_report_t report;
};


static void dfd_poll_next_page(dfd_poll_t *poll);

static void dfd_poll_answered(void *data, const dfd_defender_answer_t *answer);

static void dfd_poll_page_done(void *data, const dfd_page_result_t *result);

static void dfd_poll_published(void *data, redisReply *reply,
                               const char *cause);

static void dfd_poll_timer(ngx_event_t *ev);


/* of the API's answers, in the order of dfd_defender_result_t */
static const dfd_poll_result_t dfd_poll_results[] = {
    DFD_POLL_OK,         DFD_POLL_SIGN_IN,    DFD_POLL_PERMISSION,
    DFD_POLL_ACCOUNT,    DFD_POLL_THROTTLED,  DFD_POLL_UNREACHABLE,
    DFD_POLL_SERVICE,    DFD_POLL_BAD_ANSWER, DFD_POLL_REFUSED,
    DFD_POLL_BAD_ANSWER, DFD_POLL_BAD_ANSWER, DFD_POLL_FAILED
};


const char *
dfd_poll_stage(const dfd_poll_t *poll)
{
    return (poll == NULL) ? NULL : poll->stage;
}


const dfd_poll_report_t *
dfd_poll_report(const dfd_poll_t *poll)
{
    return &poll->report;
}


static void
dfd_poll_name_stage(dfd_poll_t *poll, ngx_uint_t serial)
{
    const char *random;

    random = strrchr(poll->agent->lease.token, ':');

    *ngx_snprintf((u_char *) poll->stage, DFD_PUBLISH_KEY - 1, "%V%s:%ui",
                  &poll->agent->conf->keys.stage, random + 1, serial) = '\0';
}


ngx_int_t
dfd_poll_start(dfd_agent_t *agent)
{
    dfd_poll_t       *poll;
    static ngx_uint_t serial;

    poll = ngx_calloc(sizeof(dfd_poll_t), agent->log);
    if (poll == NULL) {
        return NGX_ERROR;
    }

    poll->agent = agent;

    /* the former one's, if Redis was away when it should have been removed */
    dfd_poll_name_stage(poll, serial);
    dfd_publish_discard(agent, poll->stage);

    /*
     * A key of this poll alone: what a former one still has on the way to
     * Redis must not get between these devices.
     */
    dfd_poll_name_stage(poll, ++serial);

    dfd_agent_event(agent, &poll->timer, dfd_poll_timer);

    poll->began = ngx_current_msec;
    poll->report.started = dfd_cache_now();

    agent->poll = poll;

    /* not from in here: a failure must find the caller's work done */
    ngx_add_timer(&poll->timer, 1);

    return NGX_OK;
}


static void
dfd_poll_free(dfd_poll_t *poll)
{
    if (poll->timer.timer_set) {
        ngx_del_timer(&poll->timer);
    }

    if (poll->call != NULL) {
        dfd_defender_cancel(poll->call);
        poll->call = NULL;
    }

    dfd_page_drop(poll->page);
    poll->page = NULL;

    if (poll->staged) {
        dfd_publish_discard(poll->agent, poll->stage);
    }

    poll->agent->poll = NULL;
    poll->dead = 1;

    if (poll->asked == 0) {
        ngx_free(poll);
    }
}


void
dfd_poll_cancel(dfd_poll_t *poll)
{
    if (poll != NULL) {
        dfd_poll_free(poll);
    }
}


static void
dfd_poll_finish(dfd_poll_t *poll, dfd_poll_result_t result)
{
    dfd_agent_t      *agent;
    dfd_poll_report_t report;

    agent = poll->agent;

    report = poll->report;
    report.result = result;
    report.finished = dfd_cache_now();
    report.msec = ngx_current_msec - poll->began;

    dfd_poll_free(poll);

    dfd_schedule_report(agent, &report);
}


static void
dfd_poll_fail(dfd_poll_t *poll, dfd_poll_result_t result, const char *fmt, ...)
{
    va_list args;

    poll->report.code[0] = '\0';

    va_start(args, fmt);
    *ngx_vslprintf((u_char *) poll->report.message,
                   (u_char *) poll->report.message + DFD_AGENT_TEXT - 1, fmt,
                   args) = '\0';
    va_end(args);

    dfd_poll_finish(poll, result);
}


static ngx_int_t
dfd_poll_body(void *data, const char *bytes, size_t len)
{
    dfd_poll_t *poll = data;

    return dfd_page_feed(poll->page, bytes, len);
}


static void
dfd_poll_next_page(dfd_poll_t *poll)
{
    dfd_agent_t *agent;

    agent = poll->agent;

    if (ngx_current_msec - poll->began > DFD_POLL_MAX_MSEC
        || poll->report.pages == DFD_POLL_MAX_PAGES
        || poll->report.devices > DFD_POLL_MAX_DEVICES)
    {
        dfd_poll_fail(poll, DFD_POLL_INCOMPLETE,
                      "the list of machines did not end after %M seconds, %ui "
                      "pages and %ui devices",
                      (ngx_current_msec - poll->began) / 1000,
                      poll->report.pages, poll->report.devices);
        return;
    }

    poll->report.result = DFD_POLL_OK;

    poll->page = dfd_page_create(agent, poll->stage, dfd_poll_page_done, poll);

    if (poll->page != NULL) {
        poll->call = dfd_defender_machines(
            agent->defender, agent->conf->page_size, poll->skip, dfd_poll_body,
            dfd_poll_answered, poll);
    }

    if (poll->call == NULL) {
        dfd_poll_fail(poll, DFD_POLL_FAILED, "out of memory");
        return;
    }

    poll->staged = 1;
}


static void
dfd_poll_answered(void *data, const dfd_defender_answer_t *answer)
{
    dfd_poll_t *poll = data;

    poll->call = NULL;
    poll->answer = answer->result;

    if (answer->result == DFD_DEFENDER_OK) {
        dfd_page_end(poll->page);
        return;
    }

    (void) ngx_cpystrn((u_char *) poll->report.message,
                       (u_char *) answer->message, DFD_AGENT_TEXT);
    (void) ngx_cpystrn((u_char *) poll->report.code, (u_char *) answer->code,
                       sizeof(poll->report.code));

    poll->report.retry_after = ngx_max(answer->retry_after, 1);

    dfd_page_abandon(poll->page);
}


static void
dfd_poll_timer(ngx_event_t *ev)
{
    dfd_poll_t *poll;

    poll = (dfd_poll_t *) ((u_char *) ev - offsetof(dfd_poll_t, timer));

    if (dfd_agent_leaving()) {
        dfd_poll_cancel(poll);
        return;
    }

    dfd_poll_next_page(poll);
}


static void
dfd_poll_publish(dfd_poll_t *poll)
{
    ngx_int_t rc;

    rc =
        dfd_publish_generation(poll->agent, poll->stage, poll->report.devices,
                               poll->report.started, dfd_poll_published, poll);

    if (rc != NGX_OK) {
        dfd_poll_fail(poll, DFD_POLL_CACHE, "Redis takes no commands");
        return;
    }

    poll->asked = 1;
}


/* a key of devices that Redis has lost makes them new, and none of them gone */
static void
dfd_poll_count_gone(dfd_poll_report_t *report, int64_t before)
{
    ngx_int_t kept;

    kept = (ngx_int_t) report->devices - report->added;

    report->gone = ngx_max((ngx_int_t) before - kept, 0);
}


static void
dfd_poll_published(void *data, redisReply *reply, const char *cause)
{
    dfd_poll_t *poll = data;

    int64_t     n, numbers[DFD_PUBLISH_DONE];
    const char *why;

    poll->asked = 0;

    if (poll->dead) {
        ngx_free(poll);
        return;
    }

    n = dfd_publish_numbers(reply, cause, numbers, DFD_PUBLISH_DONE, &why);

    if (n > 0) {
        poll->staged = 0;
        dfd_poll_count_gone(&poll->report, numbers[1]);
        poll->report.message[0] = '\0';
        poll->report.code[0] = '\0';

        ngx_log_error(NGX_LOG_NOTICE, poll->agent->log, 0,
                      "defender: generation %L published: %ui devices", n,
                      poll->report.devices);

        dfd_poll_finish(poll, DFD_POLL_OK);
        return;
    }

    switch (n) {

    case DFD_EVAL_LOST:
        dfd_poll_fail(poll, DFD_POLL_LOST, "the lease is lost");
        return;

    case DFD_PUBLISH_NOT_WHOLE:
        why = "Redis has lost some of the devices";
        break;

    case DFD_PUBLISH_NOT_OURS:
        why = "the meta key is not a hash";
        break;

    default:
        why = (why == NULL) ? "unexpected reply" : why;
        break;
    }

    dfd_poll_fail(poll, DFD_POLL_CACHE, "publishing failed: %s", why);
}


/* the last page is in: an empty list is not taken for an empty fleet */
static void
dfd_poll_end_of_list(dfd_poll_t *poll)
{
    dfd_poll_report_t *report;

    report = &poll->report;

    if (report->devices == 0 && report->skipped != 0) {
        dfd_poll_fail(poll, DFD_POLL_BAD_ANSWER,
                      "none of the %ui records is a machine with an id",
                      report->skipped);
        return;
    }

    if (report->devices == 0 && poll->agent->seen.devices != 0) {
        dfd_poll_fail(poll, DFD_POLL_EMPTY,
                      "Defender delivered 0 devices; the %uL devices of the "
                      "last good poll are kept",
                      poll->agent->seen.devices);
        return;
    }

    dfd_poll_publish(poll);
}


static void
dfd_poll_page_ok(dfd_poll_t *poll, const dfd_page_result_t *result)
{
    ngx_uint_t i, rows, last, fresh;

    rows = result->rows;
    fresh = poll->fresh;

    /*
     * With $top there is no nextLink to follow, so a page that is not full is
     * the last one, unless the server says that there is more.
     */
    last = rows == 0
        || (rows < poll->agent->conf->page_size && !result->next_link);

    poll->report.pages++;
    poll->report.devices += fresh;

    for (i = 0; i < DFD_SKIP_N; i++) {
        poll->report.skipped += result->skipped[i];
        poll->report.skips[i] += result->skipped[i];
    }

    poll->skip += rows;
    poll->tries = 0;
    poll->fresh = 0;

    if (last) {
        dfd_poll_end_of_list(poll);
        return;
    }

    /* links that rot have been seen to deliver the same rows for ever */

    if (fresh == 0) {
        dfd_poll_fail(poll, DFD_POLL_INCOMPLETE,
                      "the list of machines is incomplete: page %ui brought "
                      "no new device, and the server says that there are more",
                      poll->report.pages);
        return;
    }

    dfd_poll_next_page(poll);
}


/* a page that may well come at the next try: again, or the end of the walk */
static void
dfd_poll_page_again(dfd_poll_t *poll, dfd_poll_result_t result)
{
    ngx_msec_t wait;

    /* nothing is lost with the first page: the schedule has longer pauses */

    if (poll->skip == 0) {
        dfd_poll_finish(poll, result);
        return;
    }

    if (poll->tries < DFD_POLL_RETRIES) {
        wait = DFD_POLL_RETRY_FIRST << poll->tries;
        poll->tries++;
        ngx_add_timer(&poll->timer, wait + ngx_random() % wait / 4);
        return;
    }

    /*
     * 404 is documented for "no machines", which beyond the last one stays so;
     * but it also comes and goes, and must not pass for the end of a fleet.
     */
    if (poll->answer == DFD_DEFENDER_NOT_FOUND
        && poll->report.devices >= poll->agent->seen.devices)
    {
        dfd_poll_end_of_list(poll);
        return;
    }

    dfd_poll_finish(poll, result);
}


static void
dfd_poll_page_throttled(dfd_poll_t *poll)
{
    ngx_msec_t wait, most;

    wait = (ngx_msec_t) poll->report.retry_after * 1000;

    most = (ngx_msec_t) poll->agent->account.settings.poll_minutes * 60000;

    if (poll->skip == 0 || wait > most
        || ngx_current_msec - poll->began + wait > DFD_POLL_MAX_MSEC)
    {
        dfd_poll_finish(poll, DFD_POLL_THROTTLED);
        return;
    }

    /* the status tells it while we wait */
    poll->report.result = DFD_POLL_THROTTLED;

    ngx_add_timer(&poll->timer, wait);
}


static void
dfd_poll_page_failed(dfd_poll_t *poll)
{
    dfd_poll_result_t result;

    result = dfd_poll_results[poll->answer];

    switch (poll->answer) {

    case DFD_DEFENDER_THROTTLED:
        dfd_poll_page_throttled(poll);
        return;

    case DFD_DEFENDER_NOT_FOUND:

        if (poll->skip == 0) {
            poll->report.pages++;
            dfd_poll_end_of_list(poll);
            return;
        }

        break;

    case DFD_DEFENDER_UNREACHABLE:
    case DFD_DEFENDER_SERVICE:
    case DFD_DEFENDER_BAD_ANSWER:
    case DFD_DEFENDER_STOPPED:
        break;

    default:
        dfd_poll_finish(poll, result);
        return;
    }

    dfd_poll_page_again(poll, result);
}


static void
dfd_poll_page_done(void *data, const dfd_page_result_t *result)
{
    dfd_poll_t *poll = data;

    dfd_page_result_t page;

    page = *result;

    dfd_page_drop(poll->page);
    poll->page = NULL;

    /* over all tries of the page: what is staged is not new to the next */
    poll->fresh += page.fresh;
    poll->report.added += page.added;
    poll->report.changed += page.changed;

    switch (page.error) {

    case DFD_PAGE_CACHE:
        dfd_poll_fail(poll, DFD_POLL_CACHE,
                      "Redis did not take the devices: %s", page.message);
        return;

    case DFD_PAGE_LOST:
        dfd_poll_fail(poll, DFD_POLL_LOST, "%s", page.message);
        return;

    case DFD_PAGE_MEMORY:
        dfd_poll_fail(poll, DFD_POLL_FAILED, "%s", page.message);
        return;

    case DFD_PAGE_BAD:
        poll->answer = DFD_DEFENDER_BAD_ANSWER;
        poll->report.code[0] = '\0';
        (void) ngx_cpystrn((u_char *) poll->report.message,
                           (u_char *) page.message, DFD_AGENT_TEXT);
        break;

    case DFD_PAGE_OK:
        break;
    }

    if (poll->answer == DFD_DEFENDER_OK) {
        dfd_poll_page_ok(poll, &page);

    } else {
        dfd_poll_page_failed(poll);
    }
}
