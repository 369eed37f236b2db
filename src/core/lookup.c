#include "core/lookup.h"

#include "core/snapshot_format.h"
#include "core/timestamp.h"

#include <stdio.h>
#include <string.h>


typedef struct {
    char  *buf;
    size_t room;
    size_t len; /* of all that was put, also of what did not fit */
} dfd_lookup_out_t;


static const char *const dfd_verdict_names[DFD_VERDICTS] = {
    [DFD_MATCH_EXACT] = "exact",
    [DFD_MATCH_LIKELY] = "likely",
    [DFD_MATCH_AMBIGUOUS] = "ambiguous",
    [DFD_MATCH_STALE] = "stale",
    [DFD_MATCH_NONE] = "none",
    [DFD_MATCH_UNAVAILABLE] = "unavailable",
};


const char *
dfd_verdict_name(dfd_verdict_t verdict)
{
    return dfd_verdict_names[verdict];
}


int
dfd_lookup_allowed(const dfd_lookup_conf_t *conf, const dfd_addr_t *addr)
{
    size_t i;

    if (dfd_addr_is_special(addr)) {
        return 0;
    }

    for (i = 0; i < conf->nexclude; i++) {
        if (dfd_cidr_contains(&conf->exclude[i], addr)) {
            return 0;
        }
    }

    for (i = 0; i < conf->nnetworks; i++) {
        if (dfd_cidr_contains(&conf->networks[i], addr)) {
            return 1;
        }
    }

    return conf->nnetworks == 0;
}


static int
dfd_lookup_names_device(dfd_verdict_t verdict)
{
    return verdict == DFD_MATCH_EXACT || verdict == DFD_MATCH_LIKELY
        || verdict == DFD_MATCH_STALE;
}


static dfd_text_t
dfd_lookup_text(const dfd_device_layout_t *layout, unsigned text)
{
    dfd_text_t found;

    found.data = (const char *) (layout + 1) + layout->texts[text].offset;
    found.len = layout->texts[text].len;

    return found;
}


static void
dfd_lookup_read_device(dfd_lookup_device_t       *device,
                       const dfd_device_layout_t *layout)
{
    device->id = dfd_lookup_text(layout, DFD_DEVICE_ID);
    device->name = dfd_lookup_text(layout, DFD_DEVICE_NAME);
    device->os_platform = dfd_lookup_text(layout, DFD_DEVICE_OS_PLATFORM);
    device->health_status = dfd_lookup_text(layout, DFD_DEVICE_HEALTH_STATUS);
    device->risk_score = dfd_lookup_text(layout, DFD_DEVICE_RISK_SCORE);
    device->exposure_level =
        dfd_lookup_text(layout, DFD_DEVICE_EXPOSURE_LEVEL);
    device->last_seen = dfd_lookup_text(layout, DFD_DEVICE_LAST_SEEN);
}


void
dfd_lookup(dfd_lookup_t *lookup, const dfd_snapshot_t *snapshot,
           const dfd_lookup_conf_t *conf, const dfd_addr_t *addr, int64_t at,
           const char *reason)
{
    size_t             n;
    const dfd_claim_t *claims;

    memset(lookup, 0, sizeof(dfd_lookup_t));
    lookup->snapshot = snapshot;
    lookup->addr = *addr;
    lookup->at = at;

    if (snapshot == NULL) {
        lookup->match.verdict = DFD_MATCH_UNAVAILABLE;
        lookup->reason = reason;
        return;
    }

    lookup->match.verdict = DFD_MATCH_NONE;

    if (!dfd_lookup_allowed(conf, addr)) {
        return;
    }

    claims = dfd_snapshot_claims(snapshot, addr, &n);

    if (claims == NULL) {
        return;
    }

    dfd_match(&lookup->match, &conf->rule, claims, n, at);

    if (dfd_lookup_names_device(lookup->match.verdict)) {
        dfd_lookup_read_device(
            &lookup->device,
            dfd_snapshot_record(snapshot, claims[lookup->match.claim].device));
    }
}


static void
dfd_lookup_put(dfd_lookup_out_t *out, const char *bytes, size_t len)
{
    if (out->len <= out->room && len <= out->room - out->len) {
        memcpy(out->buf + out->len, bytes, len);
    }

    out->len += len;
}


#define dfd_lookup_put_lit(out, text)                                         \
    dfd_lookup_put((out), (text), sizeof(text) - 1)


static void
dfd_lookup_put_span(dfd_lookup_out_t *out, const dfd_device_layout_t *layout,
                    const dfd_device_span_t *span)
{
    dfd_lookup_put(out, (const char *) (layout + 1) + span->offset, span->len);
}


static void
dfd_lookup_put_time(dfd_lookup_out_t *out, const char *name, size_t name_len,
                    const char *time, size_t len)
{
    if (len != 0) {
        dfd_lookup_put(out, name, name_len);
        dfd_lookup_put(out, time, len);
        dfd_lookup_put_lit(out, "\"");
    }
}


/* the members that say what was asked and answered; no brace behind them */
static void
dfd_lookup_put_answer(dfd_lookup_out_t *out, const dfd_lookup_t *lookup)
{
    char        addr[DFD_ADDR_TEXT], at[DFD_TIME_TEXT];
    size_t      len;
    const char *verdict;

    verdict = dfd_verdict_name(lookup->match.verdict);

    dfd_lookup_put_lit(out, "{\"source\":\"Microsoft Defender\",\"match\":\"");
    dfd_lookup_put(out, verdict, strlen(verdict));

    if (dfd_lookup_names_device(lookup->match.verdict)) {
        dfd_lookup_put_lit(out, "\",\"evidence\":\"report");

    } else if (lookup->reason != NULL) {
        dfd_lookup_put_lit(out, "\",\"reason\":\"");
        dfd_lookup_put(out, lookup->reason, strlen(lookup->reason));
    }

    dfd_lookup_put_lit(out, "\",\"ip\":\"");
    len = dfd_addr_format(&lookup->addr, addr);
    dfd_lookup_put(out, addr, len);
    dfd_lookup_put_lit(out, "\"");

    len = dfd_time_format(lookup->at, at);
    dfd_lookup_put_time(out, ",\"at\":\"", 7, at, len);

    if (lookup->snapshot != NULL) {
        dfd_lookup_put_time(out, ",\"asOf\":\"", 9, lookup->snapshot->as_of,
                            lookup->snapshot->as_of_len);
    }
}


static void
dfd_lookup_put_device(dfd_lookup_out_t *out, const dfd_lookup_t *lookup)
{
    size_t                     n, len;
    const char                *mac;
    const dfd_claim_t         *claim;
    const dfd_device_layout_t *layout;

    claim = dfd_snapshot_claims(lookup->snapshot, &lookup->addr, &n)
          + lookup->match.claim;
    layout = dfd_snapshot_record(lookup->snapshot, claim->device);

    dfd_lookup_put_lit(out, ",");
    dfd_lookup_put_span(out, layout, &layout->head);

    mac = dfd_snapshot_mac(lookup->snapshot, claim, &len);

    if (mac != NULL) {
        dfd_lookup_put_lit(out, ",\"macAddress\":");
        dfd_lookup_put(out, mac, len);
    }

    if (layout->tail.len != 0) {
        dfd_lookup_put_lit(out, ",");
        dfd_lookup_put_span(out, layout, &layout->tail);
    }
}


static void
dfd_lookup_put_candidates(dfd_lookup_out_t *out, const dfd_lookup_t *lookup)
{
    int                        len;
    char                       count[32];
    size_t                     n;
    uint32_t                   i;
    const dfd_claim_t         *claims;
    const dfd_match_t         *match;
    const dfd_device_layout_t *layout;

    match = &lookup->match;
    claims = dfd_snapshot_claims(lookup->snapshot, &lookup->addr, &n);

    dfd_lookup_put_lit(out, ",\"candidates\":[");

    for (i = 0; i < match->ncandidates; i++) {
        layout = dfd_snapshot_record(lookup->snapshot,
                                     claims[match->candidates[i]].device);

        if (i != 0) {
            dfd_lookup_put_lit(out, ",");
        }

        dfd_lookup_put_lit(out, "{");
        dfd_lookup_put_span(out, layout, &layout->names);

        if (layout->seen.len != 0) {
            dfd_lookup_put_lit(out, ",");
            dfd_lookup_put_span(out, layout, &layout->seen);
        }

        dfd_lookup_put_lit(out, "}");
    }

    dfd_lookup_put_lit(out, "]");

    if (match->total > match->ncandidates) {
        len = snprintf(count, sizeof(count), ",\"candidateCount\":%u",
                       match->total);
        dfd_lookup_put(out, count, (size_t) len);
    }
}


size_t
dfd_lookup_entity(const dfd_lookup_t *lookup, char *buf, size_t room)
{
    dfd_lookup_out_t out;

    out.buf = buf;
    out.room = room;
    out.len = 0;

    dfd_lookup_put_answer(&out, lookup);

    if (dfd_lookup_names_device(lookup->match.verdict)) {
        dfd_lookup_put_device(&out, lookup);

    } else if (lookup->match.verdict == DFD_MATCH_AMBIGUOUS) {
        dfd_lookup_put_candidates(&out, lookup);
    }

    dfd_lookup_put_lit(&out, "}");

    return out.len;
}
