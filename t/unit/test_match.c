#include "core/match.h"
#include "core/timestamp.h"

#include "unit.h"

#include <stdlib.h>


#define MINUTE (60 * DFD_TICKS_PER_SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

/* 2026-11-25T01:00:00Z */
#define NOW (1795568400 * DFD_TICKS_PER_SECOND)


static const dfd_match_rule_t rule = { 4 * HOUR, 24 * HOUR, 7 * DAY };


static dfd_claim_t
claim(uint32_t device, int64_t last_seen, uint8_t evidence)
{
    dfd_claim_t c;

    memset(&c, 0, sizeof(c));
    c.device = device;
    c.last_seen = last_seen;
    c.evidence = evidence;

    return c;
}


/* the verdict, and that the winner is the device expected, for any order */
static void
check(const dfd_claim_t *claims, size_t n, int64_t at, dfd_verdict_t verdict,
      uint32_t device, const char *name)
{
    size_t      i, turn, wrong;
    dfd_claim_t turned[16];
    dfd_match_t match;

    wrong = 0;

    for (turn = 0; turn < n; turn++) {
        for (i = 0; i < n; i++) {
            turned[i] = claims[(i + turn) % n];
        }

        dfd_match(&match, &rule, turned, n, at);

        if (match.verdict != verdict
            || (verdict != DFD_MATCH_AMBIGUOUS && verdict != DFD_MATCH_NONE
                && turned[match.claim].device != device))
        {
            unit_note("order %zu: verdict %d, device %u", turn, match.verdict,
                      turned[match.claim].device);
            wrong++;
        }
    }

    unit_int(wrong, 0, "%s", name);
}


static void
test_single(void)
{
    dfd_claim_t c;

    c = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_EXACT, 7, "a report of ten minutes ago");

    c = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_ENTRY);
    check(&c, 1, NOW, DFD_MATCH_EXACT, 7, "weak evidence without a rival");

    c = claim(7, NOW - 4 * HOUR, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_EXACT, 7, "as old as exact allows");

    c = claim(7, NOW - 4 * HOUR - 1, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_LIKELY, 7, "one tick older");

    c = claim(7, NOW + 4 * HOUR, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_EXACT, 7, "a report after the moment");

    c = claim(7, NOW + 4 * HOUR + 1, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_LIKELY, 7, "too long after the moment");

    c = claim(7, NOW - 7 * DAY, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_LIKELY, 7, "as old as stale allows");

    c = claim(7, NOW - 7 * DAY - 1, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_STALE, 7, "one tick older than that");

    c = claim(7, DFD_TIME_NONE, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_STALE, 7, "a report without a time");

    c = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    c.inactive = 1;
    check(&c, 1, NOW, DFD_MATCH_STALE, 7, "an inactive device");

    c = claim(7, INT64_MAX, DFD_EVIDENCE_LAST);
    check(&c, 1, NOW, DFD_MATCH_LIKELY, 7, "the last moment there is");
    check(&c, 1, INT64_MIN, DFD_MATCH_LIKELY, 7, "seen from the first one");
}


static void
test_new_owner(void)
{
    dfd_claim_t c[3];

    /* the address has a new owner: five days between the reports */
    c[0] = claim(7, NOW - 5 * DAY, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    check(c, 2, NOW, DFD_MATCH_EXACT, 8, "the new owner of an address");

    /* a reinstalled computer: the same name, the dead id long unseen */
    c[0] = claim(5, NOW - 690 * DAY, DFD_EVIDENCE_LAST);
    c[0].inactive = 1;
    c[1] = claim(6, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    check(c, 2, NOW, DFD_MATCH_EXACT, 6, "a computer after its reinstall");

    /* weaker evidence does not keep an address from a much newer report */
    c[0] = claim(7, NOW - 2 * DAY, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 10 * MINUTE, DFD_EVIDENCE_ENTRY);
    check(c, 2, NOW, DFD_MATCH_EXACT, 8, "a newer report, weaker evidence");

    /* the newest report decides, also for who has lost among the others */
    c[0] = claim(7, NOW - 30 * HOUR, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 10 * HOUR, DFD_EVIDENCE_LAST);
    c[2] = claim(9, NOW - 1 * HOUR, DFD_EVIDENCE_ENTRY);
    check(c, 3, NOW, DFD_MATCH_LIKELY, 8, "lost against a third device");

    c[0] = claim(7, DFD_TIME_NONE, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 10 * MINUTE, DFD_EVIDENCE_ENTRY);
    check(c, 2, NOW, DFD_MATCH_EXACT, 8, "no time is older than any time");

    c[1].last_seen = 0;
    check(c, 2, NOW, DFD_MATCH_STALE, 8, "also than 1970");
}


static void
test_rivals(void)
{
    dfd_claim_t c[3];

    c[0] = claim(7, NOW - 24 * HOUR - 10 * MINUTE, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    check(c, 2, NOW, DFD_MATCH_AMBIGUOUS, 0, "two reports a day apart");

    c[0].last_seen--;
    check(c, 2, NOW, DFD_MATCH_EXACT, 8, "a tick more than a day apart");

    c[0] = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_UP);
    c[1] = claim(8, NOW - 10 * MINUTE, DFD_EVIDENCE_UP);
    check(c, 2, NOW, DFD_MATCH_AMBIGUOUS, 0, "the same moment");

    c[0].inactive = 1;
    check(c, 2, NOW, DFD_MATCH_AMBIGUOUS, 0, "also when one is inactive");

    c[0] = claim(7, DFD_TIME_NONE, DFD_EVIDENCE_LAST);
    c[1] = claim(8, DFD_TIME_NONE, DFD_EVIDENCE_LAST);
    check(c, 2, NOW, DFD_MATCH_AMBIGUOUS, 0, "two without a time");

    c[1].evidence = DFD_EVIDENCE_UP;
    check(c, 2, NOW, DFD_MATCH_STALE, 7, "the better evidence of the two");

    /* an old pair of rivals stays ambiguous, however old it is */
    c[0] = claim(7, NOW - 20 * DAY, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 20 * DAY - HOUR, DFD_EVIDENCE_LAST);
    check(c, 2, NOW, DFD_MATCH_AMBIGUOUS, 0, "two rivals of long ago");
}


static void
test_weaker_rival(void)
{
    dfd_claim_t c[2];

    /* a docking station's address: last of one, an entry of the other */
    c[0] = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_LAST);
    c[1] = claim(8, NOW - 2 * HOUR, DFD_EVIDENCE_UP);
    check(c, 2, NOW, DFD_MATCH_EXACT, 7, "an older, weaker rival");

    c[0].last_seen = NOW - 2 * HOUR;
    c[1].last_seen = NOW - 10 * MINUTE;
    check(c, 2, NOW, DFD_MATCH_LIKELY, 7, "a weaker report in between");

    c[1].last_seen = c[0].last_seen;
    check(c, 2, NOW, DFD_MATCH_LIKELY, 7, "a weaker report at its moment");

    c[1].last_seen = NOW;
    check(c, 2, NOW, DFD_MATCH_LIKELY, 7, "a weaker report at the moment");

    c[1].last_seen = NOW + 1;
    check(c, 2, NOW, DFD_MATCH_EXACT, 7, "a weaker report after both");

    /* the moment lies before the report */
    c[0].last_seen = NOW + 2 * HOUR;
    c[1].last_seen = NOW + 1 * HOUR;
    check(c, 2, NOW, DFD_MATCH_LIKELY, 7, "in between, the other way round");

    c[1].last_seen = NOW - 1;
    check(c, 2, NOW, DFD_MATCH_EXACT, 7, "before both");

    c[0] = claim(7, NOW - 10 * MINUTE, DFD_EVIDENCE_UP);
    c[1] = claim(8, NOW - 20 * MINUTE, DFD_EVIDENCE_ENTRY);
    check(c, 2, NOW, DFD_MATCH_EXACT, 7, "Up is better than down");
}


static void
test_none(void)
{
    dfd_match_t match;

    memset(&match, 0xff, sizeof(match));
    dfd_match(&match, &rule, NULL, 0, NOW);

    unit_int(match.verdict, DFD_MATCH_NONE, "nobody claims it");
    unit_int(match.total, 0, "and nobody is counted");
    unit_int(match.ncandidates, 0, "nor listed");
}


static void
test_candidates(void)
{
    size_t       i, wrong;
    dfd_match_t  match;
    dfd_claim_t *claims;

    enum {
        N = 5000
    };

    claims = calloc(N, sizeof(dfd_claim_t));

    if (!unit_ok(claims != NULL, "memory for %d claims", N)) {
        return;
    }

    /* 172.17.0.1 on every container host; 7919 is prime to 5000 */
    for (i = 0; i < N; i++) {
        claims[i] =
            claim((uint32_t) i,
                  NOW - (int64_t) (i * 7919 % N) * DFD_TICKS_PER_SECOND,
                  DFD_EVIDENCE_UP);
    }

    dfd_match(&match, &rule, claims, N, NOW);

    unit_int(match.verdict, DFD_MATCH_AMBIGUOUS, "an address of thousands");
    unit_int(match.total, N, "all are counted");
    unit_int(match.ncandidates, DFD_MATCH_CANDIDATES, "a few are listed");

    wrong = 0;

    for (i = 0; i < match.ncandidates; i++) {
        if (claims[match.candidates[i]].last_seen
            != NOW - (int64_t) i * DFD_TICKS_PER_SECOND)
        {
            wrong++;
        }
    }

    unit_int(wrong, 0, "the newest, newest first");

    /* equal times: by the device's number */
    for (i = 0; i < N; i++) {
        claims[i] = claim((uint32_t) (i * 7919 % N), NOW, DFD_EVIDENCE_UP);
    }

    dfd_match(&match, &rule, claims, N, NOW);

    for (i = 0; i < match.ncandidates; i++) {
        if (claims[match.candidates[i]].device != i) {
            wrong++;
        }
    }

    unit_int(wrong, 0, "at the same time, by number");

    /* better evidence found late starts the list anew */
    claims[N - 1].evidence = DFD_EVIDENCE_LAST;
    claims[N - 2].evidence = DFD_EVIDENCE_LAST;
    claims[N - 1].last_seen = NOW - 2 * HOUR;
    claims[N - 2].last_seen = NOW - 3 * HOUR;
    dfd_match(&match, &rule, claims, N, NOW);

    unit_int(match.verdict, DFD_MATCH_AMBIGUOUS, "two with better evidence");
    unit_int(match.total, 2, "only these are rivals");
    unit_int(match.ncandidates, 2, "and listed");
    unit_ok(match.candidates[0] == N - 1 && match.candidates[1] == N - 2,
            "newest first");

    free(claims);
}


int
main(void)
{
    test_none();
    test_single();
    test_new_owner();
    test_rivals();
    test_weaker_rival();
    test_candidates();

    return unit_done();
}
