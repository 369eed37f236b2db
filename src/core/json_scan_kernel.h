#ifndef DFD_CORE_JSON_SCAN_KERNEL_H
#define DFD_CORE_JSON_SCAN_KERNEL_H

#include "core/json_scan.h"


/*
 * Between json_scan.c and the copies of the index for the different machines.
 * A table gives eight properties of a byte as eight bits; its last entry is
 * for all bytes from there on.
 */

#define DFD_JSON_HIGH 0x7f

enum {
    DFD_JSON_QUOTE = 0,
    DFD_JSON_BACK,
    DFD_JSON_BLANK,
    DFD_JSON_COLON,
    DFD_JSON_COMMA,
    DFD_JSON_OPEN,
    DFD_JSON_CLOSE,
    DFD_JSON_BRACE
};

enum {
    DFD_JSON_CONTROL = 0,
    DFD_JSON_HEX_ONLY, /* and 0, */
    DFD_JSON_DIGIT,    /* which is in both */
    DFD_JSON_DOT,
    DFD_JSON_PERCENT,
    DFD_JSON_LINE_END,
    DFD_JSON_KEY,
    DFD_JSON_KEY_THIRD
};

enum {
    DFD_JSON_MINUS = 0,
    DFD_JSON_PLUS,
    DFD_JSON_EXPONENT,
    DFD_JSON_ESCAPABLE,
    DFD_JSON_E
};

enum {
    DFD_JSON_A = 0,
    DFD_JSON_F,
    DFD_JSON_L,
    DFD_JSON_N,
    DFD_JSON_R,
    DFD_JSON_S,
    DFD_JSON_T,
    DFD_JSON_U
};


/* bits of dfd_json_carry_t.scalar: what the last byte of the word was */
enum {
    LAST_SCALAR = 1 << 0,
    LAST_DIGIT = 1 << 1,
    LAST_ZERO = 1 << 2,     /* as first digit */
    LAST_MINUS = 1 << 3,    /* as first byte */
    LAST_NEEDS = 1 << 4,    /* something that a digit must follow */
    LAST_EXPONENT = 1 << 5, /* e, E */
    LAST_FRACTION = 1 << 6, /* the dot or a digit after it */
    LAST_POWER = 1 << 7,    /* e, E, its sign or a digit after it */
    LAST_T = 1 << 8,
    LAST_TR = 1 << 9,
    LAST_TRU = 1 << 10,
    LAST_F = 1 << 11,
    LAST_FA = 1 << 12,
    LAST_FAL = 1 << 13,
    LAST_FALS = 1 << 14,
    LAST_N = 1 << 15,
    LAST_NU = 1 << 16,
    LAST_NUL = 1 << 17,
    LAST_LITERAL = 1 << 18, /* as last byte */

    /* what a number of digits only may have left */
    LAST_DIGITS = LAST_SCALAR | LAST_DIGIT | LAST_ZERO
};


extern const uint8_t dfd_json_first[128];
extern const uint8_t dfd_json_numerals[128];
extern const uint8_t dfd_json_letters[128];


typedef size_t (*dfd_json_index_pt)(dfd_json_index_t            *index,
                                    dfd_json_carry_t            *carry,
                                    const dfd_json_index_conf_t *conf,
                                    const unsigned char *text, size_t len);


size_t dfd_json_index_plain(dfd_json_index_t *index, dfd_json_carry_t *carry,
                            const dfd_json_index_conf_t *conf,
                            const unsigned char *text, size_t len);

#if (__x86_64__)

size_t dfd_json_index_sse2(dfd_json_index_t *index, dfd_json_carry_t *carry,
                           const dfd_json_index_conf_t *conf,
                           const unsigned char *text, size_t len);

size_t dfd_json_index_avx2(dfd_json_index_t *index, dfd_json_carry_t *carry,
                           const dfd_json_index_conf_t *conf,
                           const unsigned char *text, size_t len);

size_t dfd_json_index_avx512(dfd_json_index_t *index, dfd_json_carry_t *carry,
                             const dfd_json_index_conf_t *conf,
                             const unsigned char *text, size_t len);

#endif


#endif /* DFD_CORE_JSON_SCAN_KERNEL_H */
