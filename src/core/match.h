#ifndef DFD_CORE_MATCH_H
#define DFD_CORE_MATCH_H

#include <stddef.h>
#include <stdint.h>


typedef enum {
    DFD_MATCH_EXACT = 0,
    DFD_MATCH_LIKELY,
    DFD_MATCH_AMBIGUOUS,
    DFD_MATCH_STALE,
    DFD_MATCH_NONE,
    DFD_MATCH_UNAVAILABLE
} dfd_verdict_t;

#define DFD_VERDICTS 6


/* how a device's report names the address, best last */
enum {
    DFD_EVIDENCE_ENTRY = 1, /* an ipAddresses entry that is not Up */
    DFD_EVIDENCE_UP,  /* an ipAddresses entry with operationalStatus Up */
    DFD_EVIDENCE_LAST /* lastIpAddress */
};


typedef struct {
    int64_t exact; /* all in ticks */
    int64_t ambiguous;
    int64_t stale;
} dfd_match_rule_t;


/* one device's newest report that names the address */
typedef struct {
    int64_t  last_seen; /* ticks; DFD_TIME_NONE when it has none */
    uint32_t device;    /* the caller's number of the device */
    uint8_t  evidence;
    uint8_t  inactive; /* healthStatus is Inactive */
    uint16_t mac;      /* the caller's, like device: where its MAC is */
} dfd_claim_t;


#define DFD_MATCH_CANDIDATES 8

typedef struct {
    dfd_verdict_t verdict;
    uint32_t      claim; /* index of the winning claim */
    uint32_t      total; /* of ambiguous: how many devices claim it */
    uint32_t      ncandidates;
    uint32_t      candidates[DFD_MATCH_CANDIDATES]; /* claims, newest first */
} dfd_match_t;


/*
 * Decides which of the claims to one address holds at the moment `at`.
 * Claims come in any order, one per device; merged records are not given.
 */
void dfd_match(dfd_match_t *match, const dfd_match_rule_t *rule,
               const dfd_claim_t *claims, size_t n, int64_t at);


#endif /* DFD_CORE_MATCH_H */
