#include "unit/splice_fixture.h"


/* malformed bodies, bounds, and what a plan may be made of */

typedef struct {
    char  *text;
    size_t len;
    size_t room;
} text_t;


static void
add(text_t *text, const char *bytes, size_t len)
{
    if (text->len + len + 1 > text->room) {
        text->room = 2 * (text->len + len + 1);
        text->text = realloc(text->text, text->room);

        if (text->text == NULL) {
            abort();
        }
    }

    memcpy(text->text + text->len, bytes, len);
    text->len += len;
    text->text[text->len] = '\0';
}


static void
add_text(text_t *text, const char *bytes)
{
    add(text, bytes, strlen(bytes));
}


static void
add_many(text_t *text, const char *bytes, size_t times)
{
    for (/* void */; times > 0; times--) {
        add_text(text, bytes);
    }
}


static void
check(const char *fields, int lines, text_t *body, text_t *expected,
      const dfd_splice_stat_t *stat, const char *name)
{
    dfd_splice_plan_t *plan;

    plan = plan_of("defender", fields);
    unit_int(wrong_runs(plan, lines, body->text, body->len, expected->text,
                        expected->len, stat),
             0, "%s", name);
    dfd_splice_plan_destroy(plan);
    free(body->text);

    if (expected->text != body->text) {
        free(expected->text);
    }

    memset(body, 0, sizeof(*body));
    memset(expected, 0, sizeof(*expected));
}


#define HIT  "{\"a\":\"10.20.1.1\"}"
#define DONE "{\"a\":\"10.20.1.1\"" OWN("\"a\":" D("1")) "}"


static void
test_malformed(void)
{
    size_t i;
    text_t body, expected;

    dfd_splice_stat_t stat;

    static const struct {
        const char *name;
        const char *body;
        const char *expected;
        int         lines;
        unsigned    malformed;
        size_t      at;
    } cases[] = {
        { "from a malformed byte on all passes", HIT ",{\"a\":\"10.20.1.2\"}",
          DONE ",{\"a\":\"10.20.1.2\"}", 0, 1, 17 },
        { "also within the object", "{\"a\":\"10.20.1.1\",}" HIT,
          "{\"a\":\"10.20.1.1\",}" HIT, 0, 1, 17 },
        { "text in front of the JSON", "hp suricata: " HIT,
          "hp suricata: " HIT, 0, 1, 0 },
        { "a body that breaks off", "{\"x\":" HIT, "{\"x\":" DONE, 0, 1, 22 },
        { "half a byte-order mark", "\xef\xbb" HIT, "\xef\xbb" HIT, 0, 1, 0 },
        { "nothing but half of one", "\xef\xbb", "\xef\xbb", 0, 1, 0 },
        { "a number that breaks off", "[" HIT "] 1.", "[" DONE "] 1.", 0, 1,
          22 },

        { "lines: only the malformed ones pass", HIT "\n" HIT "x\n" HIT,
          DONE "\n" DONE "x\n" DONE, 1, 1, 35 },
        { "lines: from the malformed byte on",
          HIT "\n" HIT "," HIT "\n\n" HIT "\n",
          DONE "\n" DONE "," HIT "\n\n" DONE "\n", 1, 1, 35 },
        { "lines: a value that is open at the end of its line",
          HIT "\n{\"x\":" HIT ",\"y\":\n" HIT "\n",
          DONE "\n{\"x\":" DONE ",\"y\":\n" DONE "\n", 1, 1, 45 },
        { "lines: in a string", "{\"a\":\"x\n" HIT "\r\n" HIT,
          "{\"a\":\"x\n" DONE "\r\n" DONE, 1, 1, 7 },
        { "lines: nothing of a broken line is left to the next",
          "{\"a\":\"10.20.1.2\",\"defender\":[\n" HIT "\n{\"defend\n" HIT
          "\n{\"a\":\"10.20.\n1.1\"}\n" HIT "\n[[[{\"b\":[1,\n" HIT,
          "{\"a\":\"10.20.1.2\",\"defender\":[\n" DONE "\n{\"defend\n" DONE
          "\n{\"a\":\"10.20.\n1.1\"}\n" DONE "\n[[[{\"b\":[1,\n" DONE,
          1, 5, 29 },
        { "lines: half a byte-order mark", "\xef\xbbx" HIT "\n" HIT,
          "\xef\xbbx" HIT "\n" DONE, 1, 1, 0 },
        { "lines: no line end at the end", HIT "\n" HIT, DONE "\n" DONE, 1, 0,
          0 },
        { "without lines a line end is a blank",
          "{\"x\":\n" HIT "\n,\"y\":\n2}", "{\"x\":\n" DONE "\n,\"y\":\n2}", 0,
          0, 0 },
    };

    memset(&body, 0, sizeof(body));
    memset(&expected, 0, sizeof(expected));

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memset(&stat, 0, sizeof(stat));
        stat.malformed = cases[i].malformed;
        stat.malformed_at = cases[i].at;
        add_text(&body, cases[i].body);
        add_text(&expected, cases[i].expected);
        check("", cases[i].lines, &body, &expected, &stat, cases[i].name);
    }
}


static void
test_thousand_lines(void)
{
    text_t            body, expected;
    dfd_splice_stat_t stat;

    memset(&body, 0, sizeof(body));
    memset(&expected, 0, sizeof(expected));
    memset(&stat, 0, sizeof(stat));

    add_many(&body, HIT "\n", 499);
    add_many(&expected, DONE "\n", 499);
    stat.malformed = 1;
    stat.malformed_at = body.len + 21;
    add_text(&body, "{\"a\":\"10.20.1.1\",\"x\":\n");
    add_text(&expected, "{\"a\":\"10.20.1.1\",\"x\":\n");
    add_many(&body, HIT "\n", 499);
    add_many(&expected, DONE "\n", 499);
    add_text(&body, HIT);
    add_text(&expected, DONE);

    check("", 1, &body, &expected, &stat, "one bad line among a thousand");
}


static void
test_pending(void)
{
    char              text[64];
    size_t            i;
    text_t            body, expected, own;
    dfd_splice_stat_t stat;

    memset(&body, 0, sizeof(body));
    memset(&expected, 0, sizeof(expected));
    memset(&own, 0, sizeof(own));
    memset(&stat, 0, sizeof(stat));

    /* 300 known addresses in one object, of which 256 are kept in mind */
    for (i = 0; i < 300; i++) {
        snprintf(text, sizeof(text), "%c\"k%zu\":\"10.20.1.%zu\"",
                 i == 0 ? '{' : ',', i, i % 99);
        add_text(&body, text);

        if (i < 256) {
            snprintf(text, sizeof(text), "%s\"k%zu\":{\"id\":\"D%zx\"}",
                     i == 0 ? "" : ",", i, i % 99);
            add_text(&own, text);
        }
    }

    add(&expected, body.text, body.len);
    add_text(&expected, ",\"defender\":{");
    add(&expected, own.text, own.len);
    add_text(&expected, "}} " DONE);
    add_text(&body, "} " HIT);
    stat.dropped = 44;
    check("", 0, &body, &expected, &stat, "more addresses than are kept");

    /* one array of them */
    add_text(&body, "{\"a\":[\"10.20.1.1\"");
    add_many(&body, ",\"10.20.1.1\"", 260);
    add(&expected, body.text, body.len);
    add_text(&expected, "]" OWN("\"a\":[" D("1") "%s]"));
    expected.len = (size_t) (strstr(expected.text, "%s") - expected.text);
    add_many(&expected, "," D("1"), 255);
    add_text(&expected, "]}}");
    add_text(&body, "]}");
    stat.dropped = 5;
    check("", 0, &body, &expected, &stat, "more in one array");
    free(own.text);
}


static void
test_keys(void)
{
    text_t            body, expected;
    dfd_splice_stat_t stat;

    memset(&body, 0, sizeof(body));
    memset(&expected, 0, sizeof(expected));
    memset(&stat, 0, sizeof(stat));

    /* of 256 bytes, and of one more */
    add_text(&body, "{\"");
    add_many(&body, "k", 256);
    add_text(&body, "\":\"10.20.1.1\",\"b\":[\"10.20.1.2\"]");
    add(&expected, body.text, body.len);
    add_text(&expected, ",\"defender\":{\"");
    add_many(&expected, "k", 256);
    add_text(&expected, "\":" D("1") ",\"b\":[" D("2") "]}}");
    add_text(&body, "}");
    check("", 0, &body, &expected, &stat, "the longest key");

    add_text(&body, "[{\"");
    add_many(&body, "k", 257);
    add_text(&body, "\":\"10.20.1.1\"},{\"");
    add_many(&body, "\\u0041", 43);
    add_text(&body, "\":[\"10.20.1.1\",\"10.20.1.2\"]}]");
    add(&expected, body.text, body.len);
    stat.dropped = 3;
    check("", 0, &body, &expected, &stat, "keys that are longer");

    /* such a key may still be the member that is looked for */
    add_text(&body,
             "{\"a\":\"10.20.1.1\",\"\\u0064\\u0065\\u0066\\u0065\\u006e"
             "\\u0064\\u0065\\u0072\":");
    add_many(&body, "[", 40);
    add_text(&body, "{\"a\":\"10.20.1.1\"}");
    add_many(&body, "]", 40);
    add_text(&body, "}");
    add(&expected, body.text, body.len);
    stat.dropped = 0;
    check("", 0, &body, &expected, &stat, "the member in escapes");

    /* 8192 bytes of keys: 31 of 256 bytes with their quotes, and no more */
    add_text(&body, "{\"n\":1");
    expected.len = 0;

    while (stat.dropped < 33) {
        add_text(&body, ",\"");
        add_many(&body, "k", 252);
        add(&body, "0123" + stat.dropped % 4, 1);
        add(&body, "abcdefghijklmnopq" + stat.dropped / 4, 1);
        add_text(&body, "xx\":\"10.20.1.1\"");
        stat.dropped++;
    }

    add(&expected, body.text, body.len);
    add_text(&expected, ",\"defender\":{");

    for (stat.dropped = 0; stat.dropped < 31; stat.dropped++) {
        add_text(&expected, stat.dropped == 0 ? "\"" : ",\"");
        add_many(&expected, "k", 252);
        add(&expected, "0123" + stat.dropped % 4, 1);
        add(&expected, "abcdefghijklmnopq" + stat.dropped / 4, 1);
        add_text(&expected, "xx\":" D("1"));
    }

    add_text(&expected, "}}");
    add_text(&body, "}");
    stat.dropped = 2;
    check("", 0, &body, &expected, &stat, "more text of keys than is kept");
}


static void
test_depth(void)
{
    text_t            body, expected;
    dfd_splice_stat_t stat;

    memset(&body, 0, sizeof(body));
    memset(&expected, 0, sizeof(expected));
    memset(&stat, 0, sizeof(stat));

    /* objects at any depth that is accepted */
    add_many(&body, "[", 1023);
    add(&expected, body.text, body.len);
    add_text(&body, HIT);
    add_text(&expected, DONE);
    add_many(&body, "]", 1023);
    add_many(&expected, "]", 1023);
    check("", 0, &body, &expected, &stat, "an object 1024 levels deep");

    add_many(&body, "[", 1024);
    add_text(&body, HIT);
    add(&expected, body.text, body.len);
    stat.malformed = 1;
    stat.malformed_at = 1024;
    check("", 0, &body, &expected, &stat, "one level more is malformed");

    /* but the keys of arrays are known of the first 32 levels only */
    memset(&stat, 0, sizeof(stat));
    add_many(&body, "[", 30);
    add_text(&body, "{\"a\":[\"10.20.1.1\",{\"a\":[\"10.20.1.2\"],\"b\":"
                    "\"10.20.1.3\"}]}");
    add_many(&expected, "[", 30);
    add_text(&expected, "{\"a\":[\"10.20.1.1\",{\"a\":[\"10.20.1.2\"],\"b\":"
                        "\"10.20.1.3\"" OWN("\"b\":" D("3")) "}]" OWN(
                            "\"a\":[" D("1") "]") "}");
    add_many(&body, "]", 30);
    add_many(&expected, "]", 30);
    stat.dropped = 1;
    check("", 0, &body, &expected, &stat, "an array 34 levels deep");

    stat.dropped = 0;
    add_many(&body, "{\"s\":", 31);
    add_text(&body, "{\"s\":" HIT "}");
    add_many(&expected, "{\"s\":", 31);
    add_text(&expected, "{\"s\":" HIT "}");
    add_many(&body, "}", 31);
    add_many(&expected, "}", 31);
    check("s.a", 0, &body, &expected, &stat, "a path 33 levels deep");

    add_many(&body, "{\"s\":", 31);
    add_text(&body, HIT);
    add_many(&expected, "{\"s\":", 31);
    add_text(&expected, DONE);
    add_many(&body, "}", 31);
    add_many(&expected, "}", 31);
    check("s.a", 0, &body, &expected, &stat, "a path 32 levels deep");
}


static void
test_plans(void)
{
    size_t             i;
    char               long_name[DFD_SPLICE_MAX_NAME + 1];
    dfd_splice_name_t  key, fields[DFD_SPLICE_MAX_FIELDS + 1];
    dfd_splice_plan_t *plan;

    memset(long_name, 'x', sizeof(long_name));
    key.data = "defender";
    key.len = 8;

    for (i = 0; i <= DFD_SPLICE_MAX_FIELDS; i++) {
        fields[i].data = long_name;
        fields[i].len = DFD_SPLICE_MAX_NAME;
    }

    plan = dfd_splice_plan_create(&key, fields, DFD_SPLICE_MAX_FIELDS);
    unit_ok(plan != NULL, "as many fields as may be, as long as they may be");
    dfd_splice_plan_destroy(plan);

    unit_ok(dfd_splice_plan_create(&key, fields, DFD_SPLICE_MAX_FIELDS + 1)
                == NULL,
            "one field too many");

    fields[1].len = DFD_SPLICE_MAX_NAME + 1;
    unit_ok(dfd_splice_plan_create(&key, fields, 2) == NULL,
            "a field that is too long");

    fields[1].len = 0;
    unit_ok(dfd_splice_plan_create(&key, fields, 2) == NULL, "an empty field");

    key.len = 0;
    unit_ok(dfd_splice_plan_create(&key, NULL, 0) == NULL, "an empty key");

    key.data = long_name;
    key.len = DFD_SPLICE_MAX_NAME + 1;
    unit_ok(dfd_splice_plan_create(&key, NULL, 0) == NULL,
            "a key that is too long");

    key.len = DFD_SPLICE_MAX_NAME;
    plan = dfd_splice_plan_create(&key, NULL, 0);
    unit_ok(plan != NULL, "the longest key");
    dfd_splice_plan_destroy(plan);
    dfd_splice_plan_destroy(NULL);

    unit_ok(dfd_splice_size() < 65536, "a splicer takes %zu bytes",
            dfd_splice_size());
}


int
main(void)
{
    test_malformed();
    test_thousand_lines();
    test_pending();
    test_keys();
    test_depth();
    test_plans();

    return unit_done();
}
