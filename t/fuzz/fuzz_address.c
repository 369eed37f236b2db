#include "core/address.h"
#include "core/timestamp.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>


/*
 * An address that is understood is understood the same way by the system's
 * reader, and its canonical text is read back as itself.  The same for
 * networks and moments.
 */

static void
check(int held)
{
    if (!held) {
        abort();
    }
}


/* what inet_pton() makes of it, without the zone that it does not know */
static int
system_parse(dfd_addr_t *addr, const char *text, size_t len)
{
    char        copy[DFD_ADDR_TEXT];
    const char *zone;

    zone = memchr(text, '%', len);

    if (zone != NULL) {
        len = (size_t) (zone - text);

        if (memchr(text, ':', len) == NULL) {
            return 0;
        }
    }

    if (len >= sizeof(copy) || memchr(text, '\0', len) != NULL) {
        return 0;
    }

    memcpy(copy, text, len);
    copy[len] = '\0';

    if (inet_pton(AF_INET6, copy, addr->bytes) == 1) {
        return 1;
    }

    memset(addr->bytes, 0, 10);
    memset(addr->bytes + 10, 0xff, 2);

    return inet_pton(AF_INET, copy, addr->bytes + 12) == 1;
}


static void
fuzz_address(const char *text, size_t len)
{
    int        known;
    char       canonical[DFD_ADDR_TEXT];
    size_t     n;
    dfd_addr_t addr, theirs;

    known = system_parse(&theirs, text, len);

    if (!dfd_addr_parse(&addr, text, len)) {
        check(!known || memchr(text, '%', len) != NULL);
        return;
    }

    check(known && memcmp(&addr, &theirs, sizeof(addr)) == 0);

    n = dfd_addr_format(&addr, canonical);
    check(n < DFD_ADDR_TEXT && canonical[n] == '\0' && strlen(canonical) == n);
    check(dfd_addr_parse(&theirs, canonical, n)
          && memcmp(&addr, &theirs, sizeof(addr)) == 0);
    check(dfd_addr_is_v4(&addr) == (strchr(canonical, ':') == NULL));
    check(!dfd_addr_is_special(&addr) || !dfd_addr_is_private(&addr));
}


static void
fuzz_network(const char *text, size_t len)
{
    dfd_cidr_t cidr;

    if (!dfd_cidr_parse(&cidr, text, len)) {
        return;
    }

    check(cidr.bits <= 128);
    check(dfd_cidr_contains(&cidr, &cidr.net)
          || (cidr.bits < 96 && dfd_addr_is_v4(&cidr.net)));
}


static void
fuzz_time(const char *text, size_t len)
{
    char    formatted[DFD_TIME_TEXT];
    size_t  n;
    int64_t ticks;

    ticks = dfd_time_parse(text, len);
    n = dfd_time_format(ticks, formatted);
    check(n < DFD_TIME_TEXT && strlen(formatted) == n);

    if (ticks < 0) {
        return;
    }

    /* an offset may push it beyond the last year */
    if (ticks / DFD_TICKS_PER_SECOND <= 253402300799LL) {
        check(dfd_time_parse(formatted, n)
              == ticks - ticks % DFD_TICKS_PER_SECOND);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    /* exactly as long as it is, for the sanitizer to see what is read */
    text = malloc(size == 0 ? 1 : size);

    if (text == NULL) {
        return 0;
    }

    memcpy(text, data, size);

    fuzz_address(text, size);
    fuzz_network(text, size);
    fuzz_time(text, size);

    free(text);

    return 0;
}
