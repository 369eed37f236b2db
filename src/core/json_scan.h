#ifndef DFD_CORE_JSON_SCAN_H
#define DFD_CORE_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>


/*
 * A streaming JSON scanner that works on bitmaps instead of tokens.
 *
 * The index turns text into bit words, one bit for each byte: where strings
 * begin and end, which bytes break the grammar, which are events.  It looks
 * only backwards, so all that it has to remember between two calls is a
 * handful of bits (dfd_json_carry_t).  It does not know the nesting; because
 * that decides what is allowed, it tells the errors for each context a byte
 * may stand in.
 *
 * A walker goes over the events, keeps the nesting (dfd_json_nest_t), and
 * takes a byte for malformed when the errors of its context say so.
 * dfd_json_scan_feed() is a walker that does nothing else; the splicer and
 * the page cutter have their own.
 *
 * What is accepted is RFC 8259 with these freedoms: bytes above 0x7f are not
 * checked to be UTF-8, escaped surrogates may stand alone, a number may have
 * any size, a byte-order mark may stand first, and several values may follow
 * one another.
 */


/* open brackets at one time; one more is malformed */
#define DFD_JSON_MAX_DEPTH 1024


/* the context of a byte: the innermost bracket that is open before it */
enum {
    DFD_JSON_TOP = 0,
    DFD_JSON_ARRAY,
    DFD_JSON_OBJECT,
    DFD_JSON_CONTEXTS
};


typedef struct {
    size_t  depth;
    uint8_t context[DFD_JSON_MAX_DEPTH + 1]; /* [0]: top */
} dfd_json_nest_t;


/* which bits a byte has in the index's second look-up; see json_scan.c */
typedef struct {
    uint8_t second[128];
    uint8_t key; /* of the key that is sought: the first byte */
    uint8_t third;
    uint8_t one_byte; /* it has no other */
} dfd_json_table_t;


/* what is wanted besides the events that all walkers need: brackets */
enum {
    DFD_JSON_WANT_NOTHING = 0,

    /*
     * Events as well: mark, closing quotes of strings that are likely to be
     * addresses; name, in strings in the place of a key each backslash, and
     * the third byte (or the first, if there is only one) of those that are
     * likely to be the key sought.  quote: opening quotes.
     */
    DFD_JSON_WANT_ADDRESSES,

    /* mark: commas.  quote: opening and closing quotes */
    DFD_JSON_WANT_ELEMENTS
};


/* the bits that the index hands from one piece of text to the next */
typedef struct {
    uint64_t in_string;
    uint64_t escape;      /* the last byte was a backslash that escapes */
    uint64_t hex;         /* how many digits of \uXXXX are due */
    uint64_t after_open;  /* the last token was an open bracket, */
    uint64_t after_comma; /* a comma, */
    uint64_t after_colon; /* a colon, */
    uint64_t after_key;   /* or is a string in the place of a key */
    uint64_t name;        /* how far that is like the key sought */
    uint64_t scalar;      /* how far a number or literal is; see the index */
    uint64_t hex_run;     /* in a string that may yet become an address */
    uint64_t address_run;
    uint64_t zone_run;
} dfd_json_carry_t;


#define DFD_JSON_BLOCKS 32

/* bit i of word j stands for byte 64 * j + i - skew of the text */
typedef struct {
    size_t   from; /* the words that are in use */
    size_t   to;
    size_t   skew;
    uint64_t event[DFD_JSON_BLOCKS];
    uint64_t error[DFD_JSON_CONTEXTS][DFD_JSON_BLOCKS];
    uint64_t key[DFD_JSON_BLOCKS]; /* opening quotes in the place of a key:
                                      after an open bracket or a comma */
    uint64_t quote[DFD_JSON_BLOCKS];
    uint64_t mark[DFD_JSON_BLOCKS];
    uint64_t name[DFD_JSON_BLOCKS];
} dfd_json_index_t;


typedef struct {
    const dfd_json_table_t *table;
    unsigned                want;
    unsigned                lines; /* a line end within brackets is wrong */
    size_t                  limit; /* blocks to index at one time */
} dfd_json_index_conf_t;


/* the table for walkers that seek no key */
extern const dfd_json_table_t dfd_json_table;


/* makes a table for a key of one byte or more */
void dfd_json_table_init(dfd_json_table_t *table, const char *key, size_t len);


/* Indexes text (len > 0) from its beginning; returns how many bytes of it. */
size_t dfd_json_index(dfd_json_index_t *index, dfd_json_carry_t *carry,
                      const dfd_json_index_conf_t *conf,
                      const unsigned char *text, size_t len);


/* May the input end with this?  (Brackets are the walker's.) */
int dfd_json_carry_is_whole(const dfd_json_carry_t *carry);


/*
 * Passes the byte-order mark that may stand first in the input.  *seen counts
 * its bytes: 0 at the beginning, DFD_JSON_MARK when none is due any more.
 * Returns 1 then, 0 when more bytes are needed to tell, -1 when it breaks off:
 * the first byte of the input is malformed.
 */
#define DFD_JSON_MARK 3

int dfd_json_pass_mark(int *seen, const unsigned char **text,
                       const unsigned char *end);


/*
 * The index is written for several kinds of processors and gives the same
 * result on each.  Tests choose: "plain", "avx2", "avx512", or NULL for the
 * best.  Returns 0 when this processor has not got it.
 */
int dfd_json_index_use(const char *name);

const char *dfd_json_index_name(void);


typedef struct {
    dfd_json_index_conf_t conf;
    dfd_json_carry_t      carry;
    uint64_t              offset; /* bytes taken, all of them well-formed */
    int                   mark;
    int                   malformed;
    dfd_json_nest_t       nest;
    dfd_json_index_t      index;
} dfd_json_scan_t;


/* lines: NDJSON, no value goes on over the end of a line */
void dfd_json_scan_init(dfd_json_scan_t *scan, int lines);


/*
 * Takes the next bytes, split anywhere.  Returns 1, or 0 from the first
 * malformed byte on, whose offset in the input is in scan->offset then.
 */
int dfd_json_scan_feed(dfd_json_scan_t *scan, const char *bytes, size_t len);


/* At the end: 1 when it was whole values, or nothing; 0 as above. */
int dfd_json_scan_finish(dfd_json_scan_t *scan);


#endif /* DFD_CORE_JSON_SCAN_H */
