#include "client/defender_private.h"


#define DFD_RATE_SLOTS 60


/* calls in each of the last so many spans of time, the newest at `now` */
typedef struct {
    ngx_msec_t span;
    ngx_msec_t now; /* number of the span */
    ngx_uint_t calls[DFD_RATE_SLOTS];
} dfd_rate_t;


/* Microsoft counts for an application, whatever client object asks for it */
static dfd_rate_t dfd_rate_seconds = { 1000, 0, { 0 } };
static dfd_rate_t dfd_rate_minutes = { 60000, 0, { 0 } };


/* forgets what is too long ago */
static void
dfd_rate_advance(dfd_rate_t *rate)
{
    ngx_msec_t now, n;

    now = ngx_current_msec / rate->span;

    for (n = 0; rate->now != now && n < DFD_RATE_SLOTS; n++) {
        rate->now++;
        rate->calls[rate->now % DFD_RATE_SLOTS] = 0;
    }

    /* after a longer pause all are empty, so any slot will do */
    rate->now = now;
}


static ngx_uint_t
dfd_rate_sum(dfd_rate_t *rate)
{
    ngx_uint_t i, sum;

    dfd_rate_advance(rate);

    sum = 0;

    for (i = 0; i < DFD_RATE_SLOTS; i++) {
        sum += rate->calls[i];
    }

    return sum;
}


void
dfd_defender_rate_count(void)
{
    dfd_rate_advance(&dfd_rate_seconds);
    dfd_rate_advance(&dfd_rate_minutes);

    dfd_rate_seconds.calls[dfd_rate_seconds.now % DFD_RATE_SLOTS]++;
    dfd_rate_minutes.calls[dfd_rate_minutes.now % DFD_RATE_SLOTS]++;
}


void
dfd_defender_rate(ngx_uint_t *minute, ngx_uint_t *hour)
{
    *minute = dfd_rate_sum(&dfd_rate_seconds);
    *hour = dfd_rate_sum(&dfd_rate_minutes);
}
