/*
 * The logic of the index, written once for words of any width.  The file that
 * includes this one, and json_scan_bytes.h before it, defines
 *
 *     FN           attributes of a function (inlining, target)
 *     WORD         a type with the operators & | ^ ~
 *     WORD_BLOCKS  how many blocks of 64 bits are in a word
 *     WORD_TABLES  1: classify_...() look up tables with lookup()
 *     word_...()   what the operators cannot do
 *
 * Bit order is text order; "after" means toward higher bits.  What a word
 * leaves for the next one is its last bit, so that is kept as a word, and the
 * carry of a sum.
 *
 * A word at the end of the text that is not full has its bits at the upper
 * end, after blanks, so that it leaves the same as a full one.  Its first bit
 * is where the word before has its effect.
 */


/* the grammar's view of a word */
typedef struct {
    WORD in;      /* from the opening quote to before the closing one */
    WORD opening; /* quotes */
    WORD closing;
    WORD back;   /* backslashes */
    WORD blank;  /* white space between tokens */
    WORD scalar; /* bytes of numbers and literals */
    WORD start;  /* the first of each */
    WORD digit;  /* of a number */
    WORD open;   /* brackets */
    WORD close;
    WORD colon;
    WORD comma;
    WORD key; /* quotes of strings after an open bracket or a comma */
    WORD wrong;
} tokens_t;


/* what the word before left, each thing in its last bit */
typedef struct {
    WORD     inside; /* in all its bits */
    WORD     scalar;
    WORD     zero;
    WORD     open;
    WORD     comma;
    WORD     colon;
    WORD     key;
    WORD     name_key;
    WORD     name_one;
    WORD     name_two;
    WORD     hex_run;
    WORD     address_run;
    WORD     zone_run;
    uint64_t number; /* LAST_... unless it is digits only */
    uint64_t escape;
    uint64_t hex;
} last_t;


/*
 * From the byte after each bit, over the run that may begin there, to the
 * first byte that is not of the run: the carry of a sum finds it.
 */
FN WORD
skip_run(WORD word, WORD run, WORD *last, place_t at)
{
    WORD sum, over;

    sum = word_sum(word_next(word, *last, at), run, &over);
    *last = word | over;

    return sum & ~run;
}


/* the same from bits that are within the run themselves */
FN WORD
leave_run(WORD word, WORD run, WORD *last, place_t at)
{
    return word_sum(word | word_enter(*last, at), run, last) & ~run;
}


/* as dfd_json_carry_t.scalar has it */
FN uint64_t
scalar_bits(const last_t *last)
{
    if (last->number != 0) {
        return last->number;
    }

    return word_top(last->scalar) * (LAST_SCALAR | LAST_DIGIT)
         | word_top(last->zero) * LAST_ZERO;
}


#include "core/json_scan_scalars.h"


FN void
find_tokens(tokens_t *token, last_t *last, const bytes_t *byte,
            const unsigned char *text, place_t at)
{
    WORD out, quote, escaped;

    quote = byte->quote;
    escaped = word_none();

    if (word_any(byte->back) || last->escape != 0) {
        escaped = word_escaped(byte->back, &last->escape, at);
        quote = quote & ~escaped;
    }

    token->in = word_inside(quote, &last->inside);
    token->opening = quote & token->in;
    token->closing = quote & ~token->in;

    out = ~token->in;
    token->blank = byte->blank & out;
    token->open = byte->open & out;
    token->close = byte->close & out;
    token->colon = byte->colon & out;
    token->comma = byte->comma & out;
    token->scalar = out
                  & ~(quote | byte->blank | byte->open | byte->close
                      | byte->colon | byte->comma);
    token->start = token->scalar & ~word_next(token->scalar, last->scalar, at);

    token->wrong =
        (byte->control & token->in)
        | check_scalars(last, text, byte, token->scalar, token->start, at);

    if (word_any(escaped) || last->hex != 0) {
        token->wrong = token->wrong
                     | check_escapes(&last->hex, text, escaped & token->in,
                                     byte->hex, at);
    }
}


/*
 * Which tokens may follow which.  A token after one of the expecting ones (an
 * open bracket, a comma, a colon) is known by skipping the blanks; all others
 * follow a value, or stand first.
 */
FN void
check_grammar(dfd_json_index_t *index, size_t i, tokens_t *token, last_t *last,
              const bytes_t *byte, WORD line_end, place_t at)
{
    WORD after_open, after_comma, after_colon, after_key, expecting, value;
    WORD close_object, close_array, wrong, nested;

    after_open = skip_run(token->open, token->blank, &last->open, at);
    after_comma = skip_run(token->comma, token->blank, &last->comma, at);
    after_colon = skip_run(token->colon, token->blank, &last->colon, at);

    expecting = after_open | after_comma;
    value = token->opening | token->start | token->open;
    token->key = expecting & token->opening;

    /* through the string and the blanks behind it in one go */
    after_key = leave_run(
        token->key, token->in | token->closing | token->blank, &last->key, at);

    close_object = token->close & byte->object;
    close_array = token->close & ~byte->object;

    wrong = token->wrong | (after_colon & ~value)
          | (after_comma & token->close) | (token->colon & ~after_key);

    /* inside brackets something has to stand between two values */
    nested = wrong | (value & ~(expecting | after_colon)) | line_end;

    word_store(&index->error[DFD_JSON_TOP][i],
               wrong | token->comma | token->close);

    word_store(&index->error[DFD_JSON_ARRAY][i],
               nested | token->colon | close_object
                   | (expecting & ~(value | close_array)));

    word_store(&index->error[DFD_JSON_OBJECT][i],
               nested | close_array | (after_key & ~token->colon)
                   | (expecting & ~(token->opening | close_object)));
}


/*
 * Closing quotes of strings that begin with hex digits up to a dot or colon
 * and go on with such bytes, or after a "%" (a zone) with any, to the end.
 */
FN WORD
find_addresses(last_t *last, const tokens_t *token, const bytes_t *byte,
               place_t at)
{
    WORD hex, separator, end, zone, found;

    hex = byte->hex & token->in;
    separator = (byte->dot | byte->colon) & token->in;

    end = skip_run(token->opening, hex, &last->hex_run, at);
    end = leave_run(end & separator, hex | separator, &last->address_run, at);
    found = end & token->closing;
    zone = end & token->in & byte->percent;

    if (word_any(zone) || word_top(last->zone_run)) {
        zone = leave_run(zone, token->in, &last->zone_run, at);
        found = found | (zone & token->closing);
    }

    return found;
}


/* bytes of strings in the place of a key that may be the key sought */
FN WORD
find_names(last_t *last, const tokens_t *token, const bytes_t *byte,
           const dfd_json_table_t *table, place_t at)
{
    WORD one, two, three;

    one = word_next(token->key, last->name_key, at) & byte->key;
    two = word_next(one, last->name_one, at);
    three = word_next(two, last->name_two, at) & byte->key_third;

    last->name_key = token->key;
    last->name_one = one;
    last->name_two = two;

    if (table->one_byte) {
        return one;
    }

    return three;
}


FN void
find_events(dfd_json_index_t *index, size_t i, last_t *last,
            const tokens_t *token, const bytes_t *byte, WORD in_key,
            const dfd_json_table_t *table, place_t at, unsigned want)
{
    WORD event, mark, name;

    event = token->open | token->close;

    if (want == DFD_JSON_WANT_ELEMENTS) {
        word_store(&index->quote[i], token->opening | token->closing);
        word_store(&index->mark[i], token->comma);
        word_store(&index->key[i], token->key);
    }

    if (want == DFD_JSON_WANT_ADDRESSES) {
        mark = find_addresses(last, token, byte, at);
        name = find_names(last, token, byte, table, at);

        if (word_any(token->back)) {
            /* adding to a run's first bit flips all of it */
            in_key = token->key | (word_enter(in_key, at) & token->in);
            in_key = token->in ^ word_sum(in_key, token->in, &in_key);
            name = name | (in_key & token->back);
        }

        event = event | mark | name;
        word_store(&index->quote[i], token->opening);
        word_store(&index->mark[i], mark);
        word_store(&index->name[i], name);
        word_store(&index->key[i], token->key);
    }

    word_store(&index->event[i], event);
}


FN void
index_word(dfd_json_index_t *index, size_t i, last_t *last,
           const dfd_json_index_conf_t *conf, const unsigned char *text,
           place_t at, unsigned want)
{
    WORD     line_end, in_key;
    bytes_t  byte;
    tokens_t token;

    classify_bytes(&byte, text, conf->table);

    in_key = last->key;
    token.back = byte.back;
    find_tokens(&token, last, &byte, text, at);

    line_end = word_none();

    if (conf->lines) {
        line_end = byte.line_end & ~token.in;
    }

    check_grammar(index, i, &token, last, &byte, line_end, at);
    find_events(index, i, last, &token, &byte, in_key, conf->table, at, want);
}


FN void
carry_in(last_t *last, const dfd_json_carry_t *carry)
{
    last->inside = word_fill(carry->in_string);
    last->scalar = word_last(carry->scalar & LAST_SCALAR);
    last->zero = word_last((carry->scalar & LAST_ZERO) != 0);
    last->open = word_last(carry->after_open);
    last->comma = word_last(carry->after_comma);
    last->colon = word_last(carry->after_colon);
    last->key = word_last(carry->after_key);
    last->name_key = word_last(carry->name & 1);
    last->name_one = word_last((carry->name >> 1) & 1);
    last->name_two = word_last(carry->name >> 2);
    last->hex_run = word_last(carry->hex_run);
    last->address_run = word_last(carry->address_run);
    last->zone_run = word_last(carry->zone_run);
    last->escape = carry->escape;
    last->hex = carry->hex;
    last->number = carry->scalar;

    if ((carry->scalar & ~(uint64_t) LAST_DIGITS) == 0) {
        last->number = 0;
    }
}


FN void
carry_out(dfd_json_carry_t *carry, const last_t *last)
{
    carry->in_string = word_top(last->inside);
    carry->after_open = word_top(last->open);
    carry->after_comma = word_top(last->comma);
    carry->after_colon = word_top(last->colon);
    carry->after_key = word_top(last->key);
    carry->name = word_top(last->name_key) | (word_top(last->name_one) << 1)
                | (word_top(last->name_two) << 2);
    carry->hex_run = word_top(last->hex_run);
    carry->address_run = word_top(last->address_run);
    carry->zone_run = word_top(last->zone_run);
    carry->escape = last->escape;
    carry->hex = last->hex;
    carry->scalar = scalar_bits(last);
}


/* the bytes of a last word that is not full, moved to its end */
FN void
index_rest(dfd_json_index_t *index, last_t *last,
           const dfd_json_index_conf_t *conf, const unsigned char *text,
           size_t len, unsigned want)
{
    size_t        skew;
    place_t       at;
    unsigned char padded[64 * WORD_BLOCKS];

    skew = sizeof(padded) - len;
    memset(padded, ' ', sizeof(padded));
    memcpy(padded + skew, text, len);

    at.first = word_bit(skew);
    at.partial = 1;
    index_word(index, 0, last, conf, padded, at, want);

    index->from = skew / 64;
    index->to = WORD_BLOCKS;
    index->skew = skew;
}


FN size_t
index_text(dfd_json_index_t *index, dfd_json_carry_t *carry,
           const dfd_json_index_conf_t *conf, const unsigned char *text,
           size_t len, unsigned want)
{
    size_t  i, room;
    last_t  last;
    place_t at;

    carry_in(&last, carry);

    if (len < 64 * WORD_BLOCKS) {
        index_rest(index, &last, conf, text, len, want);
        carry_out(carry, &last);
        return len;
    }

    room = len / 64;
    room = room < conf->limit ? room : conf->limit;
    at.first = word_bit(0);
    at.partial = 0;
    i = 0;

    do {
        index_word(index, i, &last, conf, text + 64 * i, at, want);
        i += WORD_BLOCKS;
    } while (i + WORD_BLOCKS <= room);

    index->from = 0;
    index->to = i;
    index->skew = 0;
    carry_out(carry, &last);

    return 64 * i;
}


/* one copy for each kind, so that nothing is decided within the loop */
FN size_t
index_wanted(dfd_json_index_t *index, dfd_json_carry_t *carry,
             const dfd_json_index_conf_t *conf, const unsigned char *text,
             size_t len)
{
    switch (conf->want) {

    case DFD_JSON_WANT_ADDRESSES:
        return index_text(index, carry, conf, text, len,
                          DFD_JSON_WANT_ADDRESSES);

    case DFD_JSON_WANT_ELEMENTS:
        return index_text(index, carry, conf, text, len,
                          DFD_JSON_WANT_ELEMENTS);

    default:
        return index_text(index, carry, conf, text, len,
                          DFD_JSON_WANT_NOTHING);
    }
}
