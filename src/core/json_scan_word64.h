/* words of one block, for the index on machines without AVX-512 */

#define WORD        uint64_t
#define WORD_BLOCKS 1

#include "core/json_scan_bytes.h"


/* bit i becomes the sum without carry of the bits up to i */
FN uint64_t word_xor_scan(uint64_t word);


FN uint64_t
word_none(void)
{
    return 0;
}


FN int
word_any(uint64_t word)
{
    return word != 0;
}


/* the last bit */
FN uint64_t
word_top(uint64_t word)
{
    return word >> 63;
}


/* a word with this last bit */
FN uint64_t
word_last(uint64_t bit)
{
    return bit << 63;
}


FN uint64_t
word_fill(uint64_t bit)
{
    return 0 - bit;
}


FN uint64_t
word_bit(size_t bit)
{
    return (uint64_t) 1 << bit;
}


/* the first bit if the word before had its last */
FN uint64_t
word_enter(uint64_t last, place_t at)
{
    return at.first & (0 - (last >> 63));
}


/* the bit after each bit */
FN uint64_t
word_next(uint64_t word, uint64_t last, place_t at)
{
    return (word << 1) | word_enter(last, at);
}


/* the last bit of *over is the sum's carry */
FN uint64_t
word_sum(uint64_t a, uint64_t b, uint64_t *over)
{
    unsigned long long sum;

    *over = (uint64_t) __builtin_uaddll_overflow(a, b, &sum) << 63;

    return sum;
}


FN void
word_store(uint64_t *to, uint64_t word)
{
    *to = word;
}


/* bytes that follow an odd number of backslashes, and some backslashes */
FN uint64_t
word_escaped(uint64_t back, uint64_t *escape, place_t at)
{
    uint64_t       pending, active, ends;
    const uint64_t odd = 0xaaaaaaaaaaaaaaaa;

    pending = at.first & (0 - *escape);
    active = back & ~pending;

    /* runs that begin at an odd and at an even place end differently */
    ends = (((active << 1) | odd) - active) ^ odd;
    *escape = word_top(ends & back);

    return ends ^ (back | pending);
}


/* from each odd quote to before the next one */
FN uint64_t
word_inside(uint64_t quote, uint64_t *inside)
{
    uint64_t word;

    word = word_xor_scan(quote) ^ *inside;
    *inside = word_fill(word_top(word));

    return word;
}
