#ifndef DFD_AGENT_REPORT_H
#define DFD_AGENT_REPORT_H

#include "agent/local.h"
#include "agent/poll.h"


/* What the poller tells the fleet, as JSON.  All return new references. */

typedef struct {
    const char *health;
    const char *code;
    const char *message;
} dfd_report_health_t;


/* null for NULL and an empty text; what is not UTF-8 is masked */
json_t *dfd_report_text(const char *text);


/* "ok", "throttled", ...: the words of the status */
const char *dfd_report_result(dfd_poll_result_t result);


/* ISO 8601; null for DFD_TIME_NONE */
json_t *dfd_report_time(int64_t ticks);


/* one poll that came to its end; NULL: no memory */
json_t *dfd_report_poll(const dfd_poll_report_t *report);


/* the poller's part of the status; NULL: no memory */
json_t *dfd_report_part(dfd_agent_t *agent);


#endif /* DFD_AGENT_REPORT_H */
