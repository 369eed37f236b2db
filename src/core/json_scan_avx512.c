#include "core/json_scan_kernel.h"

#if (__x86_64__)

#include <immintrin.h>
#include <string.h>


/* the index on words of 512 bits: Intel from Ice Lake, AMD from Zen 4 */

#define TARGET                                                                \
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,gfni,"         \
    "vpclmulqdq,pclmul,bmi,bmi2,popcnt"

#define FN static inline __attribute__((always_inline, target(TARGET)))

#define WORD        __m512i
#define WORD_BLOCKS 8
#define WORD_TABLES 1


#include "core/json_scan_bytes.h"


FN __m512i
word_none(void)
{
    return _mm512_setzero_si512();
}


FN int
word_any(__m512i word)
{
    return _mm512_test_epi64_mask(word, word) != 0;
}


/* the last bit */
FN uint64_t
word_top(__m512i word)
{
    return _mm512_movepi64_mask(word) >> 7;
}


/* a word with this last bit */
FN __m512i
word_last(uint64_t bit)
{
    return _mm512_maskz_set1_epi64(0x80, (long long) (bit << 63));
}


FN __m512i
word_fill(uint64_t bit)
{
    return _mm512_set1_epi64(0 - (long long) bit);
}


FN __m512i
word_bit(size_t bit)
{
    return _mm512_maskz_set1_epi64((__mmask8) (1 << bit / 64),
                                   (long long) ((uint64_t) 1 << bit % 64));
}


/* the first bit if the word before had its last */
FN __m512i
word_enter(__m512i last, place_t at)
{
    __m512i top;

    if (at.partial) {
        return _mm512_maskz_mov_epi64((__mmask8) (0 - word_top(last)),
                                      at.first);
    }

    top = _mm512_alignr_epi64(_mm512_setzero_si512(), last, 7);

    return _mm512_srli_epi64(top, 63);
}


/* the bit after each bit */
FN __m512i
word_next(__m512i word, __m512i last, place_t at)
{
    __m512i below;

    below = at.partial ? _mm512_setzero_si512() : last;
    below = _mm512_alignr_epi64(word, below, 7);
    word = _mm512_shldi_epi64(word, below, 1);

    if (at.partial) {
        word = word | word_enter(last, at);
    }

    return word;
}


/* a carry into lanes of all ones goes on: that again is a sum's carry */
__attribute__((cold, noinline, target(TARGET))) static __m512i
word_sum_long(__m512i sum, __m512i *over)
{
    __m512i  ones;
    unsigned carries, full, into;

    ones = _mm512_set1_epi64(-1);
    carries = _mm512_movepi64_mask(*over);
    full = _mm512_cmpeq_epi64_mask(sum, ones);
    into = 2 * carries + full;

    *over = _mm512_movm_epi64((__mmask8) (carries | (full & ~into)));

    return _mm512_mask_sub_epi64(sum, (__mmask8) (into ^ full), sum, ones);
}


/* the last bit of *over is the sum's carry */
FN __m512i
word_sum(__m512i a, __m512i b, __m512i *over)
{
    __m512i  sum, into;
    __mmask8 carried;

    sum = _mm512_add_epi64(a, b);
    *over = (a & b) | ((a | b) & ~sum);

    into = _mm512_alignr_epi64(*over, _mm512_setzero_si512(), 7);
    into = _mm512_srli_epi64(into, 63);
    carried = _mm512_test_epi64_mask(into, into);

    if (__builtin_expect(
            _mm512_mask_cmpeq_epi64_mask(carried, sum, _mm512_set1_epi64(-1))
                != 0,
            0))
    {
        return word_sum_long(sum, over);
    }

    return _mm512_add_epi64(sum, into);
}


FN void
word_store(uint64_t *to, __m512i word)
{
    _mm512_storeu_si512(to, word);
}


/* bytes that follow an odd number of backslashes, and some backslashes */
FN __m512i
word_escaped(__m512i back, uint64_t *escape, place_t at)
{
    size_t         i;
    uint64_t       lanes[8], firsts[8], pending, active, ends;
    const uint64_t odd = 0xaaaaaaaaaaaaaaaa;

    _mm512_storeu_si512(lanes, back);
    _mm512_storeu_si512(
        firsts, _mm512_maskz_mov_epi64((__mmask8) (0 - *escape), at.first));
    *escape = 0;

    for (i = 0; i < 8; i++) {
        pending = firsts[i] | *escape;
        active = lanes[i] & ~pending;

        /* runs that begin at an odd and at an even place end differently */
        ends = (((active << 1) | odd) - active) ^ odd;
        *escape = (ends & lanes[i]) >> 63;
        lanes[i] = ends ^ (lanes[i] | pending);
    }

    return _mm512_loadu_si512(lanes);
}


/* from each odd quote to before the next one */
FN __m512i
word_inside(__m512i quote, __m512i *inside)
{
    __m512i even, odd, word, flip, zero, top;

    zero = _mm512_setzero_si512();
    top = _mm512_set1_epi64(-1);

    /* within each lane: product with all ones, without carry */
    even = _mm512_clmulepi64_epi128(quote, top, 0x00);
    odd = _mm512_clmulepi64_epi128(quote, top, 0x01);
    word = _mm512_unpacklo_epi64(even, odd);

    /* a lane is turned over when those below hold an odd number */
    flip = _mm512_srai_epi64(word, 63);
    flip = flip ^ _mm512_alignr_epi64(flip, zero, 7);
    flip = flip ^ _mm512_alignr_epi64(flip, zero, 6);
    flip = flip ^ _mm512_alignr_epi64(flip, zero, 4);

    word = word ^ _mm512_alignr_epi64(flip, zero, 7) ^ *inside;
    top = _mm512_permutexvar_epi64(_mm512_set1_epi64(7), flip);
    *inside = *inside ^ top;

    return word;
}


#include "core/json_scan_logic.h"


/*
 * Without loops: GCC leaves them as they are at -O2, and the rows in memory.
 */

/* rows and columns of 8 x 8 lanes change places */
FN void
transpose(__m512i to[8], const __m512i from[8])
{
    __m512i       pair[8], four[8];
    const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
    const __m512i high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);

    /* rows i and i + 1: their columns 0, 2, 4, 6, and 1, 3, 5, 7 */

    pair[0] = _mm512_unpacklo_epi64(from[0], from[1]);
    pair[1] = _mm512_unpackhi_epi64(from[0], from[1]);
    pair[2] = _mm512_unpacklo_epi64(from[2], from[3]);
    pair[3] = _mm512_unpackhi_epi64(from[2], from[3]);
    pair[4] = _mm512_unpacklo_epi64(from[4], from[5]);
    pair[5] = _mm512_unpackhi_epi64(from[4], from[5]);
    pair[6] = _mm512_unpacklo_epi64(from[6], from[7]);
    pair[7] = _mm512_unpackhi_epi64(from[6], from[7]);

    /* of four rows: column i in the lower half, i + 4 in the upper one */

    four[0] = _mm512_permutex2var_epi64(pair[0], low, pair[2]);
    four[1] = _mm512_permutex2var_epi64(pair[1], low, pair[3]);
    four[2] = _mm512_permutex2var_epi64(pair[0], high, pair[2]);
    four[3] = _mm512_permutex2var_epi64(pair[1], high, pair[3]);
    four[4] = _mm512_permutex2var_epi64(pair[4], low, pair[6]);
    four[5] = _mm512_permutex2var_epi64(pair[5], low, pair[7]);
    four[6] = _mm512_permutex2var_epi64(pair[4], high, pair[6]);
    four[7] = _mm512_permutex2var_epi64(pair[5], high, pair[7]);

    to[0] = _mm512_shuffle_i64x2(four[0], four[4], 0x44);
    to[1] = _mm512_shuffle_i64x2(four[1], four[5], 0x44);
    to[2] = _mm512_shuffle_i64x2(four[2], four[6], 0x44);
    to[3] = _mm512_shuffle_i64x2(four[3], four[7], 0x44);
    to[4] = _mm512_shuffle_i64x2(four[0], four[4], 0xee);
    to[5] = _mm512_shuffle_i64x2(four[1], four[5], 0xee);
    to[6] = _mm512_shuffle_i64x2(four[2], four[6], 0xee);
    to[7] = _mm512_shuffle_i64x2(four[3], four[7], 0xee);
}


/* one block: lane j gets bit j of each byte's entry */
FN __m512i
lookup_block(const unsigned char *text, __m512i low, __m512i up)
{
    __m512i bytes, entry;

    const __m512i reverse =
        _mm512_set4_epi32(0x08090a0b, 0x0c0d0e0f, 0x00010203, 0x04050607);
    const __m512i unit = _mm512_set1_epi64((long long) 0x8040201008040201);

    /* byte 8 * i + j comes from 8 * j + i */
    const __m512i gather = _mm512_setr_epi64(
        0x3830282018100800, 0x3931292119110901, 0x3a322a221a120a02,
        0x3b332b231b130b03, 0x3c342c241c140c04, 0x3d352d251d150d05,
        0x3e362e261e160e06, 0x3f372f271f170f07);

    bytes = _mm512_shuffle_epi8(_mm512_loadu_si512(text), reverse);
    bytes = _mm512_min_epu8(bytes, _mm512_set1_epi8(DFD_JSON_HIGH));
    entry = _mm512_permutex2var_epi8(low, bytes, up);

    /* the entries of eight bytes are a matrix of bits: it is turned */
    entry = _mm512_gf2p8affine_epi64_epi8(unit, entry, 0);

    return _mm512_permutexvar_epi8(gather, entry);
}


FN void
lookup(__m512i words[8], const unsigned char *text, const uint8_t table[128])
{
    __m512i low, up, rows[8];

    low = _mm512_loadu_si512(table);
    up = _mm512_loadu_si512(table + 64);

    rows[0] = lookup_block(text, low, up);
    rows[1] = lookup_block(text + 64, low, up);
    rows[2] = lookup_block(text + 128, low, up);
    rows[3] = lookup_block(text + 192, low, up);
    rows[4] = lookup_block(text + 256, low, up);
    rows[5] = lookup_block(text + 320, low, up);
    rows[6] = lookup_block(text + 384, low, up);
    rows[7] = lookup_block(text + 448, low, up);

    transpose(words, rows);
}


__attribute__((target(TARGET))) size_t
dfd_json_index_avx512(dfd_json_index_t *index, dfd_json_carry_t *carry,
                      const dfd_json_index_conf_t *conf,
                      const unsigned char *text, size_t len)
{
    return index_wanted(index, carry, conf, text, len);
}

#endif
