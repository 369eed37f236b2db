#include "core/json_scan_kernel.h"

#include <string.h>


/* the index for any machine */

#define FN static inline __attribute__((always_inline))

#define WORD_TABLES 1

#include "core/json_scan_word64.h"
#include "core/json_scan_logic.h"


/* product with all ones, without carry */
FN uint64_t
word_xor_scan(uint64_t word)
{
    word ^= word << 1;
    word ^= word << 2;
    word ^= word << 4;
    word ^= word << 8;
    word ^= word << 16;
    word ^= word << 32;

    return word;
}


/* 8 x 8 bits: rows and columns change places (Warren, Hacker's Delight 7-3) */
FN uint64_t
transpose(uint64_t x)
{
    uint64_t t;

    t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aa;
    x = x ^ t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000cccc;
    x = x ^ t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0;

    return x ^ t ^ (t << 28);
}


FN void
lookup(uint64_t words[8], const unsigned char *text, const uint8_t table[128])
{
    size_t   i, row;
    uint8_t  byte;
    uint64_t eight;

    memset(words, 0, 8 * sizeof(uint64_t));

    for (row = 0; row < 64; row += 8) {
        eight = 0;

        for (i = 0; i < 8; i++) {
            byte = text[row + i];
            byte = byte < DFD_JSON_HIGH ? byte : DFD_JSON_HIGH;
            eight |= (uint64_t) table[byte] << (8 * i);
        }

        eight = transpose(eight);

        for (i = 0; i < 8; i++) {
            words[i] |= ((eight >> (8 * i)) & 0xff) << row;
        }
    }
}


size_t
dfd_json_index_plain(dfd_json_index_t *index, dfd_json_carry_t *carry,
                     const dfd_json_index_conf_t *conf,
                     const unsigned char *text, size_t len)
{
    return index_wanted(index, carry, conf, text, len);
}
