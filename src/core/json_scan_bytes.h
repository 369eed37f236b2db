/*
 * Bytes as words, for json_scan_logic.h; to be included behind WORD and FN.
 */


/* where in the text the word is: at its end it may begin late */
typedef struct {
    WORD first; /* bit */
    int  partial;
} place_t;


/* what byte stands where */
typedef struct {
    WORD quote;
    WORD back; /* backslash */
    WORD blank;
    WORD colon;
    WORD comma;
    WORD open; /* both kinds of brackets */
    WORD close;
    WORD object; /* both braces */
    WORD control;
    WORD hex;
    WORD digit;
    WORD zero;
    WORD dot;
    WORD percent;
    WORD line_end;
    WORD key;       /* of the key sought: its first byte */
    WORD key_third; /* or the closing quote of one of two */
} bytes_t;


/* the same, needed less often */
typedef struct {
    WORD minus;
    WORD plus;
    WORD exponent;  /* e, E */
    WORD escapable; /* may follow a backslash */
    WORD e;
} numerals_t;


typedef struct {
    WORD a;
    WORD f;
    WORD l;
    WORD n;
    WORD r;
    WORD s;
    WORD t;
    WORD u;
} letters_t;


FN void classify_bytes(bytes_t *byte, const unsigned char *text,
                       const dfd_json_table_t *table);
FN void classify_numerals(numerals_t *numeral, const unsigned char *text);
FN void classify_letters(letters_t *letter, const unsigned char *text);


#if (WORD_TABLES)

/* for machines that look up the tables: words[i] is bit i of the entries */
FN void lookup(WORD words[8], const unsigned char *text,
               const uint8_t table[128]);


FN void
classify_bytes(bytes_t *byte, const unsigned char *text,
               const dfd_json_table_t *table)
{
    WORD words[8];

    lookup(words, text, dfd_json_first);

    byte->quote = words[DFD_JSON_QUOTE];
    byte->back = words[DFD_JSON_BACK];
    byte->blank = words[DFD_JSON_BLANK];
    byte->colon = words[DFD_JSON_COLON];
    byte->comma = words[DFD_JSON_COMMA];
    byte->open = words[DFD_JSON_OPEN];
    byte->close = words[DFD_JSON_CLOSE];
    byte->object = words[DFD_JSON_BRACE];

    lookup(words, text, table->second);

    byte->control = words[DFD_JSON_CONTROL];
    byte->hex = words[DFD_JSON_HEX_ONLY] | words[DFD_JSON_DIGIT];
    byte->digit = words[DFD_JSON_DIGIT];
    byte->zero = words[DFD_JSON_HEX_ONLY] & words[DFD_JSON_DIGIT];
    byte->dot = words[DFD_JSON_DOT];
    byte->percent = words[DFD_JSON_PERCENT];
    byte->line_end = words[DFD_JSON_LINE_END];
    byte->key = words[DFD_JSON_KEY];
    byte->key_third = words[DFD_JSON_KEY_THIRD];
}


FN void
classify_numerals(numerals_t *numeral, const unsigned char *text)
{
    WORD words[8];

    lookup(words, text, dfd_json_numerals);

    numeral->minus = words[DFD_JSON_MINUS];
    numeral->plus = words[DFD_JSON_PLUS];
    numeral->exponent = words[DFD_JSON_EXPONENT];
    numeral->escapable = words[DFD_JSON_ESCAPABLE];
    numeral->e = words[DFD_JSON_E];
}


FN void
classify_letters(letters_t *letter, const unsigned char *text)
{
    WORD words[8];

    lookup(words, text, dfd_json_letters);

    letter->a = words[DFD_JSON_A];
    letter->f = words[DFD_JSON_F];
    letter->l = words[DFD_JSON_L];
    letter->n = words[DFD_JSON_N];
    letter->r = words[DFD_JSON_R];
    letter->s = words[DFD_JSON_S];
    letter->t = words[DFD_JSON_T];
    letter->u = words[DFD_JSON_U];
}

#endif
