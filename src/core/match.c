#include "core/match.h"

#include "core/timestamp.h"


/* how long b is after a, and the longest span when that does not fit */
static int64_t
dfd_match_span(int64_t a, int64_t b)
{
    int64_t span;

    if (__builtin_sub_overflow(b, a, &span)) {
        return (b > a) ? INT64_MAX : INT64_MIN;
    }

    return span;
}


static int64_t
dfd_match_newest(const dfd_claim_t *claims, size_t n)
{
    size_t  i;
    int64_t newest;

    newest = DFD_TIME_NONE;

    for (i = 0; i < n; i++) {
        if (claims[i].last_seen > newest) {
            newest = claims[i].last_seen;
        }
    }

    return newest;
}


/*
 * An address whose newest report is this much newer has changed hands.  A
 * claim without a time is older than any that has one.
 */
static int
dfd_match_lost(const dfd_match_rule_t *rule, const dfd_claim_t *claim,
               int64_t newest)
{
    return dfd_match_span(claim->last_seen, newest) > rule->ambiguous;
}


static int
dfd_match_is_newer(const dfd_claim_t *a, const dfd_claim_t *b)
{
    if (a->last_seen != b->last_seen) {
        return a->last_seen > b->last_seen;
    }

    return a->device < b->device;
}


/* keeps the newest few, newest first */
static void
dfd_match_add_candidate(dfd_match_t *match, const dfd_claim_t *claims,
                        uint32_t claim)
{
    uint32_t i;

    i = match->ncandidates;

    if (i == DFD_MATCH_CANDIDATES) {
        i--;

        if (!dfd_match_is_newer(&claims[claim], &claims[match->candidates[i]]))
        {
            return;
        }

    } else {
        match->ncandidates++;
    }

    while (i > 0
           && dfd_match_is_newer(&claims[claim],
                                 &claims[match->candidates[i - 1]]))
    {
        match->candidates[i] = match->candidates[i - 1];
        i--;
    }

    match->candidates[i] = claim;
}


/* gathers the claims of the best evidence class among those not lost */
static void
dfd_match_rank(dfd_match_t *match, const dfd_match_rule_t *rule,
               const dfd_claim_t *claims, size_t n)
{
    size_t   i;
    int64_t  newest;
    unsigned best;

    newest = dfd_match_newest(claims, n);
    best = 0;

    for (i = 0; i < n; i++) {

        if (claims[i].evidence < best
            || dfd_match_lost(rule, &claims[i], newest)) {
            continue;
        }

        if (claims[i].evidence > best) {
            best = claims[i].evidence;
            match->total = 0;
            match->ncandidates = 0;
        }

        match->total++;
        dfd_match_add_candidate(match, claims, (uint32_t) i);
    }
}


/* did another device report the address between the report and the moment? */
static int
dfd_match_disputed(const dfd_claim_t *claims, size_t n, uint32_t winner,
                   int64_t at)
{
    size_t  i;
    int64_t from, to;

    from = claims[winner].last_seen;
    to = at;

    if (from > to) {
        from = at;
        to = claims[winner].last_seen;
    }

    for (i = 0; i < n; i++) {
        if (i != winner && claims[i].last_seen >= from
            && claims[i].last_seen <= to) {
            return 1;
        }
    }

    return 0;
}


static dfd_verdict_t
dfd_match_judge(const dfd_match_rule_t *rule, const dfd_claim_t *claims,
                size_t n, uint32_t winner, int64_t at)
{
    int64_t            age;
    const dfd_claim_t *claim;

    claim = &claims[winner];

    if (claim->inactive || claim->last_seen == DFD_TIME_NONE) {
        return DFD_MATCH_STALE;
    }

    age = dfd_match_span(claim->last_seen, at);

    if (age > rule->stale) {
        return DFD_MATCH_STALE;
    }

    if (age > rule->exact || age < -rule->exact
        || dfd_match_disputed(claims, n, winner, at))
    {
        return DFD_MATCH_LIKELY;
    }

    return DFD_MATCH_EXACT;
}


void
dfd_match(dfd_match_t *match, const dfd_match_rule_t *rule,
          const dfd_claim_t *claims, size_t n, int64_t at)
{
    match->verdict = DFD_MATCH_NONE;
    match->claim = 0;
    match->total = 0;
    match->ncandidates = 0;

    dfd_match_rank(match, rule, claims, n);

    if (match->total == 0) {
        return;
    }

    if (match->total > 1) {
        match->verdict = DFD_MATCH_AMBIGUOUS;
        return;
    }

    match->claim = match->candidates[0];
    match->total = 0;
    match->ncandidates = 0;
    match->verdict = dfd_match_judge(rule, claims, n, match->claim, at);
}
