#ifndef DFD_CORE_ADDRESS_H
#define DFD_CORE_ADDRESS_H

#include <stddef.h>
#include <stdint.h>


/* an IPv4 address is kept as its IPv4-mapped IPv6 form, so both are equal */

typedef struct {
    uint8_t bytes[16];
} dfd_addr_t;


/* longest text of an address, with the terminating zero (INET6_ADDRSTRLEN) */
#define DFD_ADDR_TEXT 46


typedef struct {
    dfd_addr_t net;
    unsigned   bits; /* of the 128-bit form: an IPv4 /24 is 120 here */
} dfd_cidr_t;


/*
 * Parses text that is an address from its first to its last byte.  IPv4 is
 * four decimal numbers without leading zeros; IPv6 is what RFC 4291 2.2
 * allows, and a zone (RFC 4007 11, also as %25) is dropped.  Ports, brackets,
 * prefix lengths and blanks are not part of an address.
 * Returns 1, or 0 when the text is not an address.
 */
int dfd_addr_parse(dfd_addr_t *addr, const char *text, size_t len);


/*
 * Writes the canonical text (RFC 5952; an IPv4-mapped address as IPv4) with a
 * terminating zero.  Returns its length.
 */
size_t dfd_addr_format(const dfd_addr_t *addr, char text[DFD_ADDR_TEXT]);


int dfd_addr_is_v4(const dfd_addr_t *addr);


/*
 * Tells whether the address can never identify a device: unspecified,
 * loopback, link-local, multicast or limited broadcast, in both families.
 */
int dfd_addr_is_special(const dfd_addr_t *addr);


/* RFC 1918, RFC 6598 (shared) and RFC 4193 (unique local) addresses */
int dfd_addr_is_private(const dfd_addr_t *addr);


/*
 * Parses "address/bits" or a bare address (a network of one).  Returns 1, or
 * 0 for anything else, also when bits below the prefix length are set.
 */
int dfd_cidr_parse(dfd_cidr_t *cidr, const char *text, size_t len);


int dfd_cidr_contains(const dfd_cidr_t *cidr, const dfd_addr_t *addr);


#endif /* DFD_CORE_ADDRESS_H */
