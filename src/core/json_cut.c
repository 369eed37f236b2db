#include "core/json_cut.h"
#include "core/json_scan.h"

#include <stdlib.h>
#include <string.h>


/* depths: of the page's members, and of the elements of an array in it */
#define DFD_CUT_MEMBERS  1
#define DFD_CUT_ELEMENTS 2

/* the longest key that means something, and one byte to see a longer one */
#define DFD_CUT_KEY_LEN (sizeof("@odata.nextLink") - 1)
#define DFD_CUT_KEY     (DFD_CUT_KEY_LEN + 1)


enum {
    DFD_CUT_BEFORE = 0, /* the page */
    DFD_CUT_WITHIN,
    DFD_CUT_AFTER
};


struct dfd_json_cut_s {
    dfd_json_cut_pt handler;
    void           *data;
    size_t          max_element;
    int             rc;
    int             state;
    int             mark; /* bytes seen of a byte-order mark */

    uint64_t offset; /* in the page, of the text that is worked upon */

    /* of the page's members: a key or a string value */
    int      in_string;
    int      is_key;
    uint64_t string; /* offset of its opening quote */
    size_t   key_len;
    char     key[DFD_CUT_KEY];

    int has_value;
    int has_next_link;

    /* the element: its bytes from earlier input, and the rest in this one */
    int                  in_value;
    char                *kept;
    size_t               kept_len;
    size_t               room;
    const unsigned char *element;

    dfd_json_index_conf_t conf;
    dfd_json_carry_t      carry;
    dfd_json_nest_t       nest;
    dfd_json_index_t      index;
};


dfd_json_cut_t *
dfd_json_cut_create(size_t max_element, dfd_json_cut_pt handler, void *data)
{
    dfd_json_cut_t *cut;

    cut = calloc(1, sizeof(*cut));
    if (cut == NULL) {
        return NULL;
    }

    cut->handler = handler;
    cut->data = data;
    cut->max_element = max_element;
    cut->rc = DFD_CUT_OK;
    cut->conf.table = &dfd_json_table;
    cut->conf.want = DFD_JSON_WANT_ELEMENTS;
    cut->conf.limit = DFD_JSON_BLOCKS;

    return cut;
}


void
dfd_json_cut_destroy(dfd_json_cut_t *cut)
{
    if (cut != NULL) {
        free(cut->kept);
        free(cut);
    }
}


static int
dfd_json_cut_is_blank(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}


static const unsigned char *
dfd_json_cut_skip(const unsigned char *p, const unsigned char *end)
{
    while (p < end && dfd_json_cut_is_blank(*p)) {
        p++;
    }

    return p;
}


static const unsigned char *
dfd_json_cut_trim(const unsigned char *p, const unsigned char *end)
{
    while (end > p && dfd_json_cut_is_blank(end[-1])) {
        end--;
    }

    return end;
}


static int
dfd_json_cut_grow(dfd_json_cut_t *cut, size_t need)
{
    char  *grown;
    size_t room;

    if (need <= cut->room) {
        return DFD_CUT_OK;
    }

    room = 2 * cut->room;
    room = room > need ? room : need;

    grown = realloc(cut->kept, room);
    if (grown == NULL) {
        return DFD_CUT_NO_MEMORY;
    }

    cut->kept = grown;
    cut->room = room;

    return DFD_CUT_OK;
}


/*
 * Adds bytes of the element to what is kept of it.  Blanks before and after it
 * are no part of it; within: the end is not its end.
 */
static int
dfd_json_cut_keep(dfd_json_cut_t *cut, const unsigned char *end, int within)
{
    int    rc;
    size_t n;

    if (cut->kept_len == 0) {
        cut->element = dfd_json_cut_skip(cut->element, end);
    }

    if (!within) {
        end = dfd_json_cut_trim(cut->element, end);
    }

    n = (size_t) (end - cut->element);

    if (n == 0) {
        return DFD_CUT_OK;
    }

    if (n > cut->max_element || cut->kept_len > cut->max_element - n) {
        return DFD_CUT_TOO_LARGE;
    }

    rc = dfd_json_cut_grow(cut, cut->kept_len + n);

    if (rc == DFD_CUT_OK) {
        memcpy(cut->kept + cut->kept_len, cut->element, n);
        cut->kept_len += n;
    }

    return rc;
}


/* the element ends here; it may be none, in an empty array */
static int
dfd_json_cut_element(dfd_json_cut_t *cut, const unsigned char *end)
{
    int         rc;
    size_t      len;
    const char *json;

    if (cut->kept_len != 0) {
        rc = dfd_json_cut_keep(cut, end, 0);

        if (rc != DFD_CUT_OK) {
            return rc;
        }

        json = cut->kept;
        len = cut->kept_len;

    } else {
        cut->element = dfd_json_cut_skip(cut->element, end);
        end = dfd_json_cut_trim(cut->element, end);
        json = (const char *) cut->element;
        len = (size_t) (end - cut->element);

        if (len > cut->max_element) {
            return DFD_CUT_TOO_LARGE;
        }
    }

    cut->kept_len = 0;

    if (len == 0) {
        return DFD_CUT_OK;
    }

    return cut->handler(cut->data, json, len) == 0 ? DFD_CUT_OK
                                                   : DFD_CUT_STOPPED;
}


/* adds what this text has of the key, up to the end */
static void
dfd_json_cut_keep_key(dfd_json_cut_t *cut, const unsigned char *text,
                      size_t end)
{
    size_t               n;
    const unsigned char *from;

    from = text;

    if (cut->string >= cut->offset) {
        from += cut->string + 1 - cut->offset;
    }

    n = (size_t) (text + end - from);
    n = n < DFD_CUT_KEY - cut->key_len ? n : DFD_CUT_KEY - cut->key_len;

    memcpy(cut->key + cut->key_len, from, n);
    cut->key_len += n;
}


static int
dfd_json_cut_key_is(const dfd_json_cut_t *cut, const char *name)
{
    return cut->key_len == strlen(name)
        && memcmp(cut->key, name, cut->key_len) == 0;
}


/* a quote at the level of the page's members */
static void
dfd_json_cut_quote(dfd_json_cut_t *cut, const unsigned char *text, size_t at,
                   int is_key)
{
    if (!cut->in_string) {
        cut->in_string = 1;
        cut->is_key = is_key;
        cut->string = cut->offset + at;

        if (is_key) {
            cut->key_len = 0;
        }

        return;
    }

    cut->in_string = 0;

    if (cut->is_key) {
        dfd_json_cut_keep_key(cut, text, at);

    } else if (dfd_json_cut_key_is(cut, "@odata.nextLink")) {
        cut->has_next_link = (cut->offset + at > cut->string + 1);
    }
}


/* a bracket, or a comma between elements */
static int
dfd_json_cut_token(dfd_json_cut_t *cut, const unsigned char *text, size_t at)
{
    int     rc;
    size_t  depth;
    uint8_t context;

    rc = DFD_CUT_OK;
    depth = cut->nest.depth;

    if (text[at] == ',' || text[at] == ']') {

        if (cut->in_value && depth == DFD_CUT_ELEMENTS) {
            rc = dfd_json_cut_element(cut, text + at);
            cut->element = text + at + 1;
            cut->in_value = (text[at] == ',');
        }

        cut->nest.depth -= (text[at] == ']');

        return rc;
    }

    if (text[at] == '}') {
        cut->nest.depth--;
        return DFD_CUT_OK;
    }

    if (depth == DFD_JSON_MAX_DEPTH) {
        return DFD_CUT_MALFORMED;
    }

    context = text[at] == '[' ? DFD_JSON_ARRAY : DFD_JSON_OBJECT;
    cut->nest.depth = depth + 1;
    cut->nest.context[depth + 1] = context;

    if (depth == DFD_CUT_MEMBERS && context == DFD_JSON_ARRAY
        && dfd_json_cut_key_is(cut, "value"))
    {
        cut->has_value = 1;
        cut->in_value = 1;
        cut->element = text + at + 1;
    }

    return DFD_CUT_OK;
}


/* what matters depends on how deep it stands */
static uint64_t
dfd_json_cut_events(const dfd_json_cut_t *cut, size_t word)
{
    uint64_t event;

    event = cut->index.event[word];

    if (cut->nest.depth == DFD_CUT_MEMBERS) {
        event |= cut->index.quote[word];
    }

    if (cut->nest.depth == DFD_CUT_ELEMENTS && cut->in_value) {
        event |= cut->index.mark[word];
    }

    return event;
}


/*
 * Goes over the indexed text to its end, the page's, or an error; *at is where
 * in the text that is.
 */
static int
dfd_json_cut_walk(dfd_json_cut_t *cut, const unsigned char *text, size_t *at)
{
    int                     rc;
    size_t                  word;
    uint64_t                event, done, upto, wrong;
    const dfd_json_index_t *index;

    index = &cut->index;
    word = index->from;
    done = 0;

    while (word < index->to) {
        event = dfd_json_cut_events(cut, word) & ~done;
        upto = (event != 0) ? event ^ (event - 1) : ~(uint64_t) 0;
        wrong = index->error[cut->nest.context[cut->nest.depth]][word] & upto
              & ~done;

        if (wrong != 0) {
            *at = 64 * word + (size_t) __builtin_ctzll(wrong) - index->skew;
            return DFD_CUT_MALFORMED;
        }

        if (event == 0) {
            word++;
            done = 0;
            continue;
        }

        *at = 64 * word + (size_t) __builtin_ctzll(event) - index->skew;
        done = upto;

        if (index->quote[word] & event & upto) {
            dfd_json_cut_quote(cut, text, *at,
                               (index->key[word] & event & upto) != 0);
            continue;
        }

        rc = dfd_json_cut_token(cut, text, *at);

        if (rc != DFD_CUT_OK) {
            return rc;
        }

        if (cut->nest.depth == 0) {
            cut->state = DFD_CUT_AFTER;
            (*at)++;
            return DFD_CUT_OK;
        }
    }

    return DFD_CUT_OK;
}


/* works upon the page's object; returns where that ends in the text */
static const unsigned char *
dfd_json_cut_within(dfd_json_cut_t *cut, const unsigned char *text,
                    const unsigned char *end)
{
    size_t at, len;

    cut->element = text;

    while (text < end) {
        len = dfd_json_index(&cut->index, &cut->carry, &cut->conf, text,
                             (size_t) (end - text));
        at = len;
        cut->rc = dfd_json_cut_walk(cut, text, &at);

        if (cut->rc != DFD_CUT_OK || cut->state == DFD_CUT_AFTER) {
            cut->offset += at;
            return text + at;
        }

        if (cut->in_string && cut->is_key) {
            dfd_json_cut_keep_key(cut, text, len);
        }

        text += len;
        cut->offset += len;
    }

    if (cut->in_value) {
        cut->rc = dfd_json_cut_keep(cut, end,
                                    cut->nest.depth != DFD_CUT_ELEMENTS
                                        || cut->carry.in_string);
    }

    return end;
}


static int
dfd_json_cut_malformed(dfd_json_cut_t *cut, uint64_t offset)
{
    cut->offset = offset;
    cut->rc = DFD_CUT_MALFORMED;

    return cut->rc;
}


int
dfd_json_cut_feed(dfd_json_cut_t *cut, const char *bytes, size_t len)
{
    int                  rc;
    const unsigned char *text, *from, *end;

    if (cut->rc != DFD_CUT_OK) {
        return cut->rc;
    }

    from = (const unsigned char *) bytes;
    text = from;
    end = text + len;
    rc = dfd_json_pass_mark(&cut->mark, &text, end);

    if (rc < 0) {
        return dfd_json_cut_malformed(cut, 0);
    }

    if (cut->state == DFD_CUT_BEFORE) {
        text = dfd_json_cut_skip(text, end);
        cut->offset += (uint64_t) (text - from);

        if (text == end) {
            return DFD_CUT_OK;
        }

        if (*text != '{') {
            return dfd_json_cut_malformed(cut, cut->offset);
        }

        cut->state = DFD_CUT_WITHIN;
    }

    if (cut->state == DFD_CUT_WITHIN) {
        text = dfd_json_cut_within(cut, text, end);

        if (cut->rc != DFD_CUT_OK) {
            return cut->rc;
        }
    }

    from = text;
    text = dfd_json_cut_skip(text, end);
    cut->offset += (uint64_t) (text - from);

    return text == end ? DFD_CUT_OK : dfd_json_cut_malformed(cut, cut->offset);
}


int
dfd_json_cut_finish(dfd_json_cut_t *cut)
{
    if (cut->rc != DFD_CUT_OK) {
        return cut->rc;
    }

    /* the beginning of a byte-order mark is all there is */
    if (cut->mark != 0 && cut->mark != DFD_JSON_MARK) {
        return dfd_json_cut_malformed(cut, 0);
    }

    if (cut->state != DFD_CUT_AFTER || !cut->has_value) {
        cut->rc = DFD_CUT_MALFORMED;
    }

    return cut->rc;
}


uint64_t
dfd_json_cut_error_offset(const dfd_json_cut_t *cut)
{
    return cut->offset;
}


int
dfd_json_cut_has_next_link(const dfd_json_cut_t *cut)
{
    return cut->has_next_link;
}
