#include "core/json_scan.h"
#include "core/json_scan_kernel.h"

#include <string.h>


#define BIT(name) (1 << DFD_JSON_##name)


const uint8_t dfd_json_first[128] = {
    ['\t' ... '\n'] = BIT(BLANK),
    ['\r'] = BIT(BLANK),
    [' '] = BIT(BLANK),
    ['"'] = BIT(QUOTE),
    [','] = BIT(COMMA),
    [':'] = BIT(COLON),
    ['['] = BIT(OPEN),
    ['\\'] = BIT(BACK),
    [']'] = BIT(CLOSE),
    ['{'] = BIT(OPEN) | BIT(BRACE),
    ['}'] = BIT(CLOSE) | BIT(BRACE),
};


const dfd_json_table_t dfd_json_table = {
    .second = {
        [0x00 ... '\t'] = BIT(CONTROL),
        ['\n'] = BIT(CONTROL) | BIT(LINE_END),
        [0x0b ... 0x1f] = BIT(CONTROL),
        ['%'] = BIT(PERCENT),
        ['.'] = BIT(DOT),
        ['0'] = BIT(HEX_ONLY) | BIT(DIGIT),
        ['1' ... '9'] = BIT(DIGIT),
        ['A' ... 'F'] = BIT(HEX_ONLY),
        ['a' ... 'f'] = BIT(HEX_ONLY),
    },
};


const uint8_t dfd_json_numerals[128] = {
    ['"'] = BIT(ESCAPABLE), ['+'] = BIT(PLUS),
    ['-'] = BIT(MINUS),     ['/'] = BIT(ESCAPABLE),
    ['E'] = BIT(EXPONENT),  ['\\'] = BIT(ESCAPABLE),
    ['b'] = BIT(ESCAPABLE), ['e'] = BIT(EXPONENT) | BIT(E),
    ['f'] = BIT(ESCAPABLE), ['n'] = BIT(ESCAPABLE),
    ['r'] = BIT(ESCAPABLE), ['t' ... 'u'] = BIT(ESCAPABLE),
};


const uint8_t dfd_json_letters[128] = {
    ['a'] = BIT(A), ['f'] = BIT(F), ['l'] = BIT(L), ['n'] = BIT(N),
    ['r'] = BIT(R), ['s'] = BIT(S), ['t'] = BIT(T), ['u'] = BIT(U),
};


#if (__x86_64__)

static int
dfd_json_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("pclmul")
        && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}


static int
dfd_json_has_avx512(void)
{
    return __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl")
        && __builtin_cpu_supports("avx512vbmi")
        && __builtin_cpu_supports("avx512vbmi2")
        && __builtin_cpu_supports("gfni")
        && __builtin_cpu_supports("vpclmulqdq") && dfd_json_has_avx2();
}

#endif


static int
dfd_json_has_plain(void)
{
    return 1;
}


typedef struct {
    const char       *name;
    dfd_json_index_pt index;
    int (*has)(void);
} dfd_json_machine_t;


/* the best first */
static const dfd_json_machine_t dfd_json_machines[] = {
#if (__x86_64__)
    { "avx512", dfd_json_index_avx512, dfd_json_has_avx512 },
    { "avx2", dfd_json_index_avx2, dfd_json_has_avx2 },
#endif
    { "plain", dfd_json_index_plain, dfd_json_has_plain },
};

#define DFD_JSON_MACHINES                                                     \
    (sizeof(dfd_json_machines) / sizeof(dfd_json_machines[0]))

static const dfd_json_machine_t *dfd_json_machine =
    &dfd_json_machines[DFD_JSON_MACHINES - 1];


int
dfd_json_index_use(const char *name)
{
    size_t                    i;
    const dfd_json_machine_t *machine;

    for (i = 0; i < DFD_JSON_MACHINES; i++) {
        machine = &dfd_json_machines[i];

        if ((name == NULL || strcmp(name, machine->name) == 0)
            && machine->has()) {
            dfd_json_machine = machine;
            return 1;
        }
    }

    return 0;
}


const char *
dfd_json_index_name(void)
{
    return dfd_json_machine->name;
}


/* before main(): the choice is the same for all, and never changes after */
__attribute__((constructor)) static void
dfd_json_index_choose(void)
{
#if (__x86_64__)
    __builtin_cpu_init();
#endif

    dfd_json_index_use(NULL);
}


size_t
dfd_json_index(dfd_json_index_t *index, dfd_json_carry_t *carry,
               const dfd_json_index_conf_t *conf, const unsigned char *text,
               size_t len)
{
    return dfd_json_machine->index(index, carry, conf, text, len);
}


static void
dfd_json_table_mark(dfd_json_table_t *table, unsigned char c, uint8_t bit)
{
    table->second[c < DFD_JSON_HIGH ? c : DFD_JSON_HIGH] |= bit;
}


void
dfd_json_table_init(dfd_json_table_t *table, const char *key, size_t len)
{
    *table = dfd_json_table;

    /* what follows a key of two bytes is its closing quote */
    table->key = (uint8_t) key[0];
    table->third = (len > 2) ? (uint8_t) key[2] : '"';
    table->one_byte = (len == 1);

    dfd_json_table_mark(table, table->key, BIT(KEY));
    dfd_json_table_mark(table, table->third, BIT(KEY_THIRD));
}


int
dfd_json_carry_is_whole(const dfd_json_carry_t *carry)
{
    return !carry->in_string
        && (carry->scalar == 0
            || (carry->scalar & (LAST_DIGIT | LAST_LITERAL)) != 0);
}


int
dfd_json_pass_mark(int *seen, const unsigned char **text,
                   const unsigned char *end)
{
    int first;

    static const unsigned char mark[DFD_JSON_MARK] = { 0xef, 0xbb, 0xbf };

    while (*seen < DFD_JSON_MARK) {

        if (*text == end) {
            return 0;
        }

        if (**text != mark[*seen]) {
            first = (*seen == 0);
            *seen = DFD_JSON_MARK;
            return first ? 1 : -1;
        }

        (*seen)++;
        (*text)++;
    }

    return 1;
}


void
dfd_json_scan_init(dfd_json_scan_t *scan, int lines)
{
    memset(scan, 0, offsetof(dfd_json_scan_t, nest));

    scan->conf.table = &dfd_json_table;
    scan->conf.want = DFD_JSON_WANT_NOTHING;
    scan->conf.lines = (lines != 0);
    scan->conf.limit = DFD_JSON_BLOCKS;
    scan->nest.depth = 0;
    scan->nest.context[0] = DFD_JSON_TOP;
}


/* returns the place of the first malformed byte, or len */
static size_t
dfd_json_scan_walk(dfd_json_scan_t *scan, const unsigned char *text,
                   size_t len)
{
    size_t                  word, depth, at;
    uint8_t                *context;
    uint64_t                event, upto, done, wrong;
    const dfd_json_index_t *index;

    index = &scan->index;
    context = scan->nest.context;
    depth = scan->nest.depth;

    for (word = index->from; word < index->to; word++) {
        event = index->event[word];
        done = 0;

        for (;;) {
            upto = (event != 0) ? event ^ (event - 1) : ~(uint64_t) 0;
            wrong = index->error[context[depth]][word] & upto & ~done;

            if (wrong != 0) {
                return 64 * word + (size_t) __builtin_ctzll(wrong)
                     - index->skew;
            }

            if (event == 0) {
                break;
            }

            at = 64 * word + (size_t) __builtin_ctzll(event) - index->skew;
            done = upto;
            event &= event - 1;

            if (text[at] == '}' || text[at] == ']') {
                depth--;
                continue;
            }

            if (depth == DFD_JSON_MAX_DEPTH) {
                return at;
            }

            context[++depth] =
                (text[at] == '[') ? DFD_JSON_ARRAY : DFD_JSON_OBJECT;
        }
    }

    scan->nest.depth = depth;

    return len;
}


int
dfd_json_scan_feed(dfd_json_scan_t *scan, const char *bytes, size_t len)
{
    int                  rc;
    size_t               n, at;
    const unsigned char *text, *end;

    if (scan->malformed) {
        return 0;
    }

    text = (const unsigned char *) bytes;
    end = text + len;

    rc = dfd_json_pass_mark(&scan->mark, &text, end);

    if (rc < 0) {
        scan->offset = 0;
        scan->malformed = 1;
        return 0;
    }

    scan->offset += (uint64_t) (text - (const unsigned char *) bytes);

    while (text < end) {
        n = dfd_json_index(&scan->index, &scan->carry, &scan->conf, text,
                           (size_t) (end - text));
        at = dfd_json_scan_walk(scan, text, n);
        scan->offset += at;

        if (at != n) {
            scan->malformed = 1;
            return 0;
        }

        text += n;
    }

    return 1;
}


int
dfd_json_scan_finish(dfd_json_scan_t *scan)
{
    if (scan->mark != 0 && scan->mark != DFD_JSON_MARK) {
        scan->offset = 0;
        scan->malformed = 1;
    }

    return !scan->malformed && scan->nest.depth == 0
        && dfd_json_carry_is_whole(&scan->carry);
}
