#include "unit/splice_fixture.h"


/*
 * Random documents, written together with what is expected of them by rules
 * that know nothing of bytes and pieces.
 */

#define ROOM      60000
#define MEMBERS   40
#define DOCUMENTS 1000


typedef struct {
    char   text[ROOM];
    size_t len;
} sheet_t;

static sheet_t  input, wanted;
static uint32_t seed = 20251125;


static unsigned
below(unsigned n)
{
    seed = seed * 1664525 + 1013904223;

    return (seed >> 8) % n;
}


static void
put(sheet_t *sheet, const char *text)
{
    size_t len;

    len = strlen(text);

    if (sheet->len + len > sizeof(sheet->text)) {
        abort();
    }

    memcpy(sheet->text + sheet->len, text, len);
    sheet->len += len;
}


static void
both(const char *text)
{
    put(&input, text);
    put(&wanted, text);
}


static void
blanks(void)
{
    static const char *const some[] = { "",
                                        "",
                                        "",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\r\n\t",
                                        "                                 "
                                        "                                 " };

    both(some[below(8)]);
}


/* names in several spellings; the first of a row is what it means */
static const char *const names[][3] = {
    { "src_ip", "src\\u005fip", "\\u0073rc_ip" },
    { "dest_ip", "dest_ip", "dest_ip" },
    { "defender", "def\\u0065nder", "\\u0064efender" },
    { "def", "de\\u0066", "def" },
    { "", "", "" },
    { "a b/c", "a b\\/c", "a\\u0020b/c" },
    { "k\\\"", "k\\u0022", "\\u006b\\\"" },
    { "\xc3\xa9", "\\u00e9", "\\u00E9" },
    { "10.20.1.1", "10.20.1.1", "10.20.1.1" },
};

#define NAMES    (sizeof(names) / sizeof(names[0]))
#define OWN_NAME 2


/* adds to a text in an array of this size */
static void
append(char *to, size_t room, const char *text)
{
    size_t len;

    len = strlen(to);
    snprintf(to + len, room - len, "%s", text);
}


typedef struct {
    size_t      name;
    const char *spelling;
    char        value[2000]; /* of the member to be inserted, or empty */
} member_t;


/* writes an address, and its entity to where it is expected, if it has one */
static void
address(char *entities, size_t room)
{
    char     text[64];
    unsigned last, kind;

    kind = below(4);
    last = below(130);

    snprintf(text, sizeof(text), "\"%s10.20.1.%u\"",
             kind == 0 ? "::ffff:" : "", last);

    if (kind == 1) {
        both("\"192.0.2.1\"");
        return;
    }

    both(text);

    if (last != 99) {
        snprintf(text, sizeof(text), "%s{\"id\":\"D%x\"}",
                 entities[0] == '\0' ? "" : ",", last);
        append(entities, room, text);
    }
}


/* writes a value that is no address */
static void
other(void)
{
    static const char *const others[] = {
        "0",
        "-1.5e+3",
        "true",
        "false",
        "null",
        "\"\"",
        "\"x\"",
        "\"12:30:00\"",
        "\"\\\"10.20.1.1\\\"\"",
        "\"10.20.1.1 \"",
        "17",
        "\"defender\"",
        "\"\\u0031\"",
        "\"fe80::1%eth\\u0030\"",
        "1e400",
        "\"10.20.1.1234\"",
        "\"src_ip\"",
    };

    both(others[below(sizeof(others) / sizeof(others[0]))]);
}


static void object_of(int depth, int left_alone);


/* member: the one that the array is the value of, or NULL */
static void
array_of(member_t *member, int depth, int left_alone)
{
    char     entities[1000];
    unsigned n;

    both("[");
    entities[0] = '\0';

    for (n = below(depth > 8 ? 1 : 6); n > 0; n--) {
        blanks();

        switch (below(5)) {

        case 0:
            other();
            break;

        case 1:
            array_of(NULL, depth + 1, left_alone);
            break;

        case 2:
            object_of(depth + 1, left_alone);
            break;

        default:
            address(entities, sizeof(entities));
        }

        blanks();

        if (n > 1) {
            both(",");
        }
    }

    both("]");

    if (member != NULL && entities[0] != '\0') {
        snprintf(member->value, sizeof(member->value), "[%s]", entities);
    }
}


static void
insertion(const member_t *members, size_t n)
{
    int    any;
    size_t i, j;

    for (i = 0, any = 0; i < n; i++) {

        for (j = i + 1; j < n && members[j].name != members[i].name; j++) {
            continue;
        }

        if (j != n || members[i].value[0] == '\0') {
            continue; /* another member of that name is the last */
        }

        put(&wanted, any ? ",\"" : ",\"defender\":{\"");
        put(&wanted, members[i].spelling);
        put(&wanted, "\":");
        put(&wanted, members[i].value);
        any = 1;
    }

    if (any) {
        put(&wanted, "}");
    }
}


static void
value_of(member_t *member, int depth, int left_alone)
{
    switch (below(depth > 5 ? 3 : 6)) {

    case 0:
        other();
        return;

    case 1:
    case 2:
        address(member->value, sizeof(member->value));
        return;

    case 3:
        array_of(member, depth, left_alone);
        return;

    default:
        object_of(depth, left_alone);
    }
}


static void
object_of(int depth, int left_alone)
{
    int       own;
    size_t    n, i;
    member_t *members, *member;

    members = calloc(MEMBERS, sizeof(*members));

    if (members == NULL) {
        abort();
    }

    both("{");
    n = below(depth == 0 ? 12 : 5);

    for (i = 0, own = 0; i < n; i++) {
        member = &members[i];
        member->name = below(9) == 0 ? below(NAMES) : below(2);
        member->spelling = names[member->name][below(5) ? 0 : below(3)];
        own |= member->name == OWN_NAME;

        blanks();
        both("\"");
        both(member->spelling);
        both("\"");
        blanks();
        both(":");
        blanks();
        value_of(member, depth + 1, left_alone || member->name == OWN_NAME);
        blanks();

        if (i + 1 < n) {
            both(",");
        }
    }

    if (n == 0) {
        blanks();
    }

    if (!own && !left_alone) {
        insertion(members, n);
    }

    both("}");
    free(members);
}


static void
test_documents(void)
{
    size_t             i, m;
    unsigned           wrong, inserted;
    splice_run_t       run;
    splice_split_t     split;
    dfd_splice_plan_t *plan;

    plan = plan_of("defender", "");
    wrong = 0;
    inserted = 0;

    for (i = 0; i < DOCUMENTS; i++) {
        input.len = 0;
        wanted.len = 0;
        object_of(0, 0);

        for (m = 0; m < 3 * sizeof(machines) / sizeof(machines[0]); m++) {
            split.piece = m % 3 == 2 ? 1 : 0;
            split.seed = m % 3 == 0 ? 0 : below(1 << 20) + 1;

            if (!dfd_json_index_use(machines[m / 3])) {
                continue;
            }

            splice_run(&run, plan, &source, 0, input.text, input.len, split);
            inserted += run.insertions;

            if (run.broken != NULL || run.stat.malformed != 0
                || run.len != wanted.len
                || memcmp(run.out, wanted.text, run.len) != 0)
            {
                if (wrong++ == 0) {
                    unit_note("%s, piece %zu, seed %u: malformed %u",
                              machines[m / 3], split.piece, split.seed,
                              run.stat.malformed);
                    unit_show("got", run.out, run.len);
                    unit_show("expected", wanted.text, wanted.len);
                }
            }

            splice_run_free(&run);
        }
    }

    dfd_json_index_use(NULL);
    dfd_splice_plan_destroy(plan);
    unit_int(wrong, 0, "%u random documents as expected", DOCUMENTS);
    unit_ok(inserted > DOCUMENTS, "with %u insertions", inserted);
}


int
main(void)
{
    test_documents();

    return unit_done();
}
