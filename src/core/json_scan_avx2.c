#include "core/json_scan_kernel.h"

#if (__x86_64__)

#include <immintrin.h>
#include <string.h>


/* the index for Intel from Haswell, AMD from Zen */

#define FN                                                                    \
    static inline                                                             \
        __attribute__((always_inline, target("avx2,pclmul,bmi,bmi2,popcnt")))

#include "core/json_scan_word64.h"
#include "core/json_scan_logic.h"


FN uint64_t
word_xor_scan(uint64_t word)
{
    __m128i product;

    product = _mm_clmulepi64_si128(_mm_set_epi64x(0, (long long) word),
                                   _mm_set1_epi8(-1), 0);

    return (uint64_t) _mm_cvtsi128_si64(product);
}


typedef struct {
    __m256i low;
    __m256i high;
} block_t;


FN block_t
load(const unsigned char *text)
{
    block_t block;

    block.low = _mm256_loadu_si256((const __m256i *) text);
    block.high = _mm256_loadu_si256((const __m256i *) (text + 32));

    return block;
}


/* the top bits of the bytes */
FN uint64_t
tops(__m256i low, __m256i high)
{
    return (uint32_t) _mm256_movemask_epi8(low)
         | (uint64_t) (uint32_t) _mm256_movemask_epi8(high) << 32;
}


FN uint64_t
equal(block_t block, char byte)
{
    __m256i all;

    all = _mm256_set1_epi8(byte);

    return tops(_mm256_cmpeq_epi8(block.low, all),
                _mm256_cmpeq_epi8(block.high, all));
}


/* bit i of the bytes; what moves in from the byte below stays below the top */
#define bit_of(block, i)                                                      \
    tops(_mm256_slli_epi16((block).low, 7 - (i)),                             \
         _mm256_slli_epi16((block).high, 7 - (i)))


FN __m256i
join(__m256i bytes, __m256i lower, __m256i upper)
{
    __m256i nibble, low, high;

    nibble = _mm256_set1_epi8(0x0f);
    low = _mm256_shuffle_epi8(lower, _mm256_and_si256(bytes, nibble));
    high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), nibble);

    return _mm256_and_si256(low, _mm256_shuffle_epi8(upper, high));
}


/*
 * Sets of bytes by their two halves: a bit that both tables have says that
 * the byte is in the set.  Bit 0: digits, 1: letters of hex numbers, 2: open,
 * 3: closing brackets, 4: blank, 5: tab, line end, return, 6: control bytes.
 */
FN block_t
sets(block_t block)
{
    const __m256i lower = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0x51, 0x43, 0x43, 0x43, 0x43, 0x43, 0x43, 0x41, 0x41,
                      0x61, 0x60, 0x44, 0x40, 0x68, 0x40, 0x40));
    const __m256i upper = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0x60, 0x40, 0x10, 0x01, 0x02, 0x0c, 0x02, 0x0c, 0, 0, 0,
                      0, 0, 0, 0, 0));

    block.low = join(block.low, lower, upper);
    block.high = join(block.high, lower, upper);

    return block;
}


FN void
classify_bytes(bytes_t *byte, const unsigned char *text,
               const dfd_json_table_t *table)
{
    block_t block, set;

    block = load(text);
    set = sets(block);

    byte->quote = equal(block, '"');
    byte->back = equal(block, '\\');
    byte->colon = equal(block, ':');
    byte->comma = equal(block, ',');
    byte->zero = equal(block, '0');
    byte->dot = equal(block, '.');
    byte->percent = equal(block, '%');
    byte->line_end = equal(block, '\n');
    byte->key = equal(block, (char) table->key);
    byte->key_third = equal(block, (char) table->third);

    byte->digit = bit_of(set, 0);
    byte->hex = byte->digit | bit_of(set, 1);
    byte->open = bit_of(set, 2);
    byte->close = bit_of(set, 3);
    byte->blank = bit_of(set, 4) | bit_of(set, 5);
    byte->control = bit_of(set, 6);

    byte->object = bit_of(block, 5); /* 0x7b, 0x7d; but 0x5b, 0x5d */
}


FN void
classify_numerals(numerals_t *numeral, const unsigned char *text)
{
    block_t block;

    block = load(text);

    numeral->minus = equal(block, '-');
    numeral->plus = equal(block, '+');
    numeral->e = equal(block, 'e');
    numeral->exponent = numeral->e | equal(block, 'E');
    numeral->escapable =
        equal(block, '"') | equal(block, '\\') | equal(block, '/')
        | equal(block, 'b') | equal(block, 'f') | equal(block, 'n')
        | equal(block, 'r') | equal(block, 't') | equal(block, 'u');
}


FN void
classify_letters(letters_t *letter, const unsigned char *text)
{
    block_t block;

    block = load(text);

    letter->a = equal(block, 'a');
    letter->f = equal(block, 'f');
    letter->l = equal(block, 'l');
    letter->n = equal(block, 'n');
    letter->r = equal(block, 'r');
    letter->s = equal(block, 's');
    letter->t = equal(block, 't');
    letter->u = equal(block, 'u');
}


__attribute__((target("avx2,pclmul,bmi,bmi2,popcnt"))) size_t
dfd_json_index_avx2(dfd_json_index_t *index, dfd_json_carry_t *carry,
                    const dfd_json_index_conf_t *conf,
                    const unsigned char *text, size_t len)
{
    return index_wanted(index, carry, conf, text, len);
}

#endif
