/* inside of strings, numbers and literals; for json_scan_logic.h */


/*
 * RFC 8259 7: one of nine bytes follows a backslash, four hex digits "u".  due
 * are the digits that have not come yet: one bit for each byte to be one.
 */
FN WORD
check_escapes(uint64_t *due, const unsigned char *text, WORD escaped, WORD hex,
              place_t at)
{
    WORD       one, two, three, four, wrong;
    letters_t  letter;
    numerals_t numeral;

    classify_numerals(&numeral, text);
    classify_letters(&letter, text);

    wrong = escaped & ~numeral.escapable;

    escaped = escaped & letter.u;
    one = word_next(escaped, word_last(*due & 1), at);
    two = word_next(one, word_last((*due >> 1) & 1), at);
    three = word_next(two, word_last((*due >> 2) & 1), at);
    four = word_next(three, word_last((*due >> 3) & 1), at);

    *due = word_top(escaped) | (word_top(one) << 1) | (word_top(two) << 2)
         | (word_top(three) << 3);

    return wrong | ((one | two | three | four) & ~hex);
}


/* the bytes after those of from, which have to be this letter */
FN WORD
follow(WORD from, uint64_t last, WORD letter, WORD *wrong, place_t at)
{
    WORD next;

    next = word_next(from, word_last(last != 0), at);
    *wrong = *wrong | (next & ~letter);

    return next & letter;
}


/* true, false, null: takes their bytes out of *scalar and *start */
FN WORD
check_literals(uint64_t before, uint64_t *last, const unsigned char *text,
               WORD e, WORD *scalar, WORD *start, place_t at)
{
    WORD      t, tr, tru, f, fa, fal, fals, n, nu, nul, end, wrong;
    letters_t letter;

    classify_letters(&letter, text);
    wrong = word_none();

    t = *start & letter.t;
    tr = follow(t, before & LAST_T, letter.r, &wrong, at);
    tru = follow(tr, before & LAST_TR, letter.u, &wrong, at);
    end = follow(tru, before & LAST_TRU, e, &wrong, at);

    f = *start & letter.f;
    fa = follow(f, before & LAST_F, letter.a, &wrong, at);
    fal = follow(fa, before & LAST_FA, letter.l, &wrong, at);
    fals = follow(fal, before & LAST_FAL, letter.s, &wrong, at);
    end = end | follow(fals, before & LAST_FALS, e, &wrong, at);

    n = *start & letter.n;
    nu = follow(n, before & LAST_N, letter.u, &wrong, at);
    nul = follow(nu, before & LAST_NU, letter.l, &wrong, at);
    end = end | follow(nul, before & LAST_NUL, letter.l, &wrong, at);

    /* nothing may go on behind it */
    follow(end, before & LAST_LITERAL, ~*scalar, &wrong, at);

    *start = *start & ~(t | f | n);
    *scalar =
        *scalar & ~(t | tr | tru | f | fa | fal | fals | n | nu | nul | end);

    *last |= word_top(t) * LAST_T | word_top(tr) * LAST_TR
           | word_top(tru) * LAST_TRU | word_top(f) * LAST_F
           | word_top(fa) * LAST_FA | word_top(fal) * LAST_FAL
           | word_top(fals) * LAST_FALS | word_top(n) * LAST_N
           | word_top(nu) * LAST_NU | word_top(nul) * LAST_NUL
           | word_top(end) * LAST_LITERAL;

    return wrong;
}


/*
 * RFC 8259 6 as rules for neighbours: what a digit has to follow, what has to
 * follow a digit, and no second dot or exponent behind a run of digits.
 */
FN WORD
check_numbers(uint64_t before, uint64_t *last, const numerals_t *numeral,
              const bytes_t *byte, WORD scalar, WORD start, WORD zero,
              place_t at)
{
    WORD digit, dot, exponent, minus, plus, sign, needs, after_digit;
    WORD after_exponent, after_needs, fraction, power, wrong;

    digit = byte->digit & scalar;
    dot = byte->dot & scalar;
    exponent = numeral->exponent & scalar;
    minus = numeral->minus & scalar;
    plus = numeral->plus & scalar;
    needs = minus | plus | dot;
    sign = minus & start;

    after_digit = word_next(digit, word_last((before & LAST_DIGIT) != 0), at);
    after_needs = word_next(needs, word_last((before & LAST_NEEDS) != 0), at);
    after_exponent =
        word_next(exponent, word_last((before & LAST_EXPONENT) != 0), at);

    wrong = (start & ~(digit | minus)) | (scalar & ~(digit | needs | exponent))
          | (minus & ~(start | after_exponent)) | (plus & ~after_exponent)
          | (after_exponent & ~(digit | minus | plus)) | (after_needs & ~digit)
          | ((dot | exponent) & ~after_digit);

    /* "zero" are those that begin; a sign may stand before */
    zero = zero
         | (byte->zero
            & word_next(sign, word_last((before & LAST_MINUS) != 0), at));
    wrong =
        wrong
        | (word_next(zero, word_last((before & LAST_ZERO) != 0), at) & digit);

    fraction = word_last((before & LAST_FRACTION) != 0);
    power = word_last((before & LAST_POWER) != 0);

    wrong = wrong | (skip_run(dot, digit, &fraction, at) & dot)
          | (skip_run(exponent | ((minus | plus) & after_exponent), digit,
                      &power, at)
             & (dot | exponent));

    *last |= word_top(digit) * LAST_DIGIT | word_top(zero) * LAST_ZERO
           | word_top(sign) * LAST_MINUS | word_top(needs) * LAST_NEEDS
           | word_top(exponent) * LAST_EXPONENT
           | word_top(fraction) * LAST_FRACTION | word_top(power) * LAST_POWER;

    return wrong;
}


/* most numbers are mere digits, and need nothing but this */
FN WORD
check_scalars(last_t *last, const unsigned char *text, const bytes_t *byte,
              WORD scalar, WORD start, place_t at)
{
    WORD       digit, zero, wrong, number;
    uint64_t   before, after;
    numerals_t numeral;

    digit = byte->digit & scalar;
    zero = byte->zero & start;

    if (!word_any(scalar & ~digit) && last->number == 0) {
        wrong = word_next(zero, last->zero, at) & digit;
        last->scalar = scalar;
        last->zero = zero;

        return wrong;
    }

    classify_numerals(&numeral, text);

    before = scalar_bits(last);
    after = word_top(scalar) * LAST_SCALAR;
    last->scalar = scalar;
    wrong = word_none();
    number = byte->digit | byte->dot | numeral.minus | numeral.plus
           | numeral.exponent;

    if (word_any(scalar & ~number) || before >= LAST_T) {
        wrong = check_literals(before, &after, text, numeral.e, &scalar,
                               &start, at);
    }

    wrong = wrong
          | check_numbers(before, &after, &numeral, byte, scalar, start,
                          byte->zero & start, at);

    /* digits only need no more than the words; see above */
    last->zero = word_last((after & LAST_ZERO) != 0);
    last->number = after;

    if ((after & ~(uint64_t) LAST_DIGITS) == 0) {
        last->number = 0;
    }

    return wrong;
}
