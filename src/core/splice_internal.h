#ifndef DFD_CORE_SPLICE_INTERNAL_H
#define DFD_CORE_SPLICE_INTERNAL_H

#include "core/splice.h"
#include "core/json_scan.h"


/*
 * Bounds.  They count what stands in the body and never how it is split, so
 * that the result does not depend on that.
 */
#define DFD_SPLICE_MAX_PENDING 256  /* known addresses in open objects */
#define DFD_SPLICE_MAX_KEYS    8192 /* bytes of their keys */
#define DFD_SPLICE_MAX_KEY     256  /* bytes of a key, as it stands */
#define DFD_SPLICE_MAX_LEVEL   32   /* open brackets whose key is known */
#define DFD_SPLICE_MAX_ADDRESS 128  /* more than dfd_addr_parse() takes */

/* the plan's key, should each byte of it be written as \uXXXX */
#define DFD_SPLICE_MAX_RAW (6 * DFD_SPLICE_MAX_NAME)


typedef struct {
    uint16_t at; /* in dfd_splice_plan_t.text */
    uint16_t len;
} dfd_splice_field_t;


struct dfd_splice_plan_s {
    dfd_json_table_t   table;
    size_t             key_len;
    int                key_plain; /* no byte of it needs an escape */
    size_t             prefix_len;
    size_t             nfields; /* 0: every field */
    dfd_splice_field_t field[DFD_SPLICE_MAX_FIELDS];
    char               key[DFD_SPLICE_MAX_NAME];
    char               prefix[DFD_SPLICE_MAX_RAW + 5]; /* ,"defender":{ */
    char               text[];
};


/* the text of a key between its quotes, as it stands in the body */
typedef struct {
    const unsigned char *text;
    size_t               len;
} dfd_splice_key_t;


/* an open bracket; if it is the value of a member, this is the member's key */
typedef struct {
    uint64_t      key;  /* where its quote stands in the body */
    int           kept; /* len bytes of it are in text; or else too long */
    size_t        len;
    unsigned char text[DFD_SPLICE_MAX_KEY];
} dfd_splice_level_t;


/* a known address, whose object is still open */
typedef struct {
    dfd_addr_t addr;
    uint64_t   key;   /* where its quote stands in the body */
    uint16_t   depth; /* of the object */
    uint16_t   at;    /* of the key's copy in dfd_splice_t.keys */
    uint16_t   len;
    uint8_t    in_array; /* shares the copy with its neighbours of one array */
    uint8_t    escaped;  /* the key has a backslash */
} dfd_splice_pending_t;


struct dfd_splice_s {
    const dfd_splice_plan_t *plan;
    dfd_splice_source_t      source;

    /* the input at hand; not a byte before it may be read */
    const unsigned char *chunk;
    const unsigned char *end;
    uint64_t             chunk_offset;

    /* the part of it that is indexed, and how far the walk has come there */
    const unsigned char *text;
    uint64_t             text_offset;
    size_t               len; /* 0: it is done */
    size_t               word;
    uint64_t             event;
    uint64_t             done;

    /* offsets in the body of the last opening quote, */
    uint64_t quote;
    uint64_t key;     /* in the place of a key, */
    uint64_t own;     /* of a key that is the plan's */
    uint64_t decoded; /* of a key that has escapes */

    size_t own_depth; /* deepest open object that has such a key, or 0 */
    size_t skip;      /* depth of that member's value while in there, or 0 */

    size_t npending;
    size_t nkeys;

    int at_close; /* before the bracket that ends the pendings' object */
    int dead;     /* malformed: the rest passes */
    int bad_line; /* the same up to the line's end */
    int mark;     /* bytes seen of a byte-order mark; 3: none is due */

    /* of the last key and a string value, when begun before the chunk */
    size_t key_len;
    int    key_open;
    int    key_escape;
    size_t value_len;

    dfd_splice_stat_t     stat;
    dfd_json_index_conf_t conf;
    dfd_json_carry_t      carry;
    dfd_json_nest_t       nest;
    dfd_json_index_t      index;

    uint64_t             owned[DFD_JSON_MAX_DEPTH / 64 + 1];
    dfd_splice_level_t   level[DFD_SPLICE_MAX_LEVEL + 1];
    dfd_splice_pending_t pending[DFD_SPLICE_MAX_PENDING];
    unsigned char        keys[DFD_SPLICE_MAX_KEYS + 8];
    unsigned char        key_text[DFD_SPLICE_MAX_RAW];
    unsigned char        value_text[DFD_SPLICE_MAX_ADDRESS];
};


/* splice_key.c: keys as text */

/* Finds the end of the key that begins here, before the end and max bytes. */
int dfd_splice_key_read(dfd_splice_key_t *key, const unsigned char *text,
                        const unsigned char *end, size_t max);

/* Are the two the same once their escapes are decoded? */
int dfd_splice_key_same(const dfd_splice_key_t *one,
                        const dfd_splice_key_t *other);

/* Is the decoded key this text? */
int dfd_splice_key_is(const dfd_splice_key_t *key, const char *text,
                      size_t len);

/* Does the text end with the decoded key?  Its length there, or SIZE_MAX. */
size_t dfd_splice_key_ends(const dfd_splice_key_t *key, const char *text,
                           size_t len);


/* splice_path.c: keys and strings that outlive the input at hand */

/*
 * Begins with a new piece of input.  Returns 1 when the key that was open at
 * the end of the last one ends in this one: dfd_splice_t.key.
 */
int dfd_splice_path_begin(dfd_splice_t *splice, const unsigned char *chunk,
                          const unsigned char *end, uint64_t offset);

/* Copies what is still needed of the keys of open brackets. */
void dfd_splice_path_keep_levels(dfd_splice_t *splice);

/* Copies the last key and the string that the input breaks off in. */
void dfd_splice_path_keep_strings(dfd_splice_t *splice);

/* A bracket opens, the new depth's, as the value of the member. */
void dfd_splice_path_open(dfd_splice_t *splice, size_t depth, uint64_t key);

/* Finds the text of the last key, or of a bracket's; 0: too long or deep. */
int dfd_splice_path_key(const dfd_splice_t *splice, dfd_splice_key_t *key,
                        uint64_t at);
int dfd_splice_path_level(const dfd_splice_t *splice, dfd_splice_key_t *key,
                          size_t depth);

/* Does the plan name this member of the object at this depth? */
int dfd_splice_path_wanted(const dfd_splice_t     *splice,
                           const dfd_splice_key_t *key, size_t object);


/* splice_walk.c: over the events of the indexed bytes */

/* how the walk ends */
enum {
    DFD_SPLICE_DONE = 0,
    DFD_SPLICE_CLOSE, /* before the bracket at this place of the text */
    DFD_SPLICE_WRONG  /* malformed at this place */
};

int dfd_splice_walk(dfd_splice_t *splice, size_t *at);

/* A key of the innermost object is read, in whatever way. */
void dfd_splice_walk_key(dfd_splice_t *splice, const dfd_splice_key_t *key,
                         uint64_t at);


/* splice_pending.c: known addresses until their object closes */

/* key: NULL if its text is too long; at: where it stands in the body */
void dfd_splice_pending_add(dfd_splice_t *splice, const dfd_addr_t *addr,
                            const dfd_splice_key_t *key, uint64_t at,
                            size_t object, int in_array);

/* Drops those of the object at this depth, if any. */
void dfd_splice_pending_drop(dfd_splice_t *splice, size_t depth);

/* The same for those of one key of that object. */
void dfd_splice_pending_replace(dfd_splice_t           *splice,
                                const dfd_splice_key_t *key, size_t depth);


#endif /* DFD_CORE_SPLICE_INTERNAL_H */
