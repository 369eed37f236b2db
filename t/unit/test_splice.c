#include "unit/splice_fixture.h"


/* what is inserted where */

typedef struct {
    const char *name;
    const char *body;
    size_t      len;
    const char *expected; /* NULL: it passes as it is */
    size_t      expected_len;
} splice_case_t;

#define PASS NULL, 0


static const splice_case_t anywhere[] = {
    { "one known address", TEXT("{\"src_ip\":\"10.20.1.11\"}"),
      TEXT("{\"src_ip\":\"10.20.1.11\"" OWN("\"src_ip\":" D("b")) "}") },
    { "both ends known, in order of appearance",
      TEXT("{\"src_ip\":\"10.20.1.12\",\"dest_ip\":\"10.20.1.11\"}"),
      TEXT("{\"src_ip\":\"10.20.1.12\",\"dest_ip\":\"10.20.1.11\"" OWN(
          "\"src_ip\":" D("c") ",\"dest_ip\":" D("b")) "}") },
    { "an unknown one beside it",
      TEXT("{\"src_ip\":\"192.0.2.1\",\"dest_ip\":\"10.20.1.11\",\"n\":1}"),
      TEXT("{\"src_ip\":\"192.0.2.1\",\"dest_ip\":\"10.20.1.11\",\"n\":1" OWN(
          "\"dest_ip\":" D("b")) "}") },
    { "layout stays",
      TEXT("{ \"b\" : 1 ,\n\t\"a\":2, \"src_ip\" : \"10.20.1.11\" }\r\n"),
      TEXT("{ \"b\" : 1 ,\n\t\"a\":2, \"src_ip\" : \"10.20.1.11\" " OWN(
          "\"src_ip\":" D("b")) "}\r\n") },
    { "the object that directly holds it",
      TEXT("{\"a\":{\"ip\":\"10.20.1.1\"},\"b\":[{\"ip\":\"10.20.1.2\"}]}"),
      TEXT("{\"a\":{\"ip\":\"10.20.1.1\"" OWN("\"ip\":" D(
          "1")) "},\"b\":[{\"ip\":\"10.20.1.2\"" OWN("\"ip\":" D("2")) "}]}") },
    { "an object in an object, both of them",
      TEXT("{\"x\":\"10.20.1.1\",\"flow\":{\"x\":\"10.20.1.2\"},"
           "\"y\":\"10.20.1.3\"}"),
      TEXT("{\"x\":\"10.20.1.1\",\"flow\":{\"x\":\"10.20.1.2\"" OWN("\"x\":" D(
          "2")) "},\"y\":\"10.20.1.3\"" OWN("\"x\":" D("1") ",\"y\":" D("3")) "}") },
    { "every spelling of an address",
      TEXT("{\"a\":\"::ffff:10.20.1.11\",\"b\":\"::FFFF:0A14:010B\","
           "\"c\":\"0:0:0:0:0:ffff:10.20.1.11\",\"d\":\"2001:DB8::2a%eth0\"}"),
      TEXT(
          "{\"a\":\"::ffff:10.20.1.11\",\"b\":\"::FFFF:0A14:010B\","
          "\"c\":\"0:0:0:0:0:ffff:10.20.1.11\",\"d\":\"2001:DB8::2a%eth0\"" OWN(
              "\"a\":" D("b") ",\"b\":" D("b") ",\"c\":" D("b") ",\"d\":" D(
                  "2a")) "}") },
    { "no address from its first to its last byte",
      TEXT("{\"a\":\"10.20.1.11:51514\",\"b\":\"[2001:db8::2a]\","
           "\"c\":\" 10.20.1.11 \",\"d\":\"10.20.1.11/24\",\"e\":\"-\","
           "\"f\":\"\",\"g\":\"010.020.001.011\",\"h\":\"10.20.267\","
           "\"i\":\"169083147\",\"j\":\"0x0a.20.1.11\",\"k\":\"10.20.1.11\\n\""
           ",\"l\":\"10.20.1.1\\u0031\",\"m\":\"10.20.1.11 and more\"}"),
      PASS },
    { "what is no string",
      TEXT("{\"a\":null,\"b\":0,\"c\":true,\"d\":[],"
           "\"e\":{},\"f\":10.20}"),
      PASS },
    { "a key is never looked up",
      TEXT("{\"10.20.1.11\":1,\"a\":{\"10.20.1.12\":{\"::1\":\"x\"}}}"),
      PASS },
    { "JSON in a string is not looked into",
      TEXT("{\"Entities\":\"[{\\\"Address\\\":\\\"10.20.1.11\\\"}]\"}"),
      PASS },
    { "no object holds it", TEXT("[\"10.20.1.11\",[\"10.20.1.12\"]]"), PASS },
    { "nor this one", TEXT("\"10.20.1.11\""), PASS },
    { "an array of addresses gives an array of those known",
      TEXT("{\"ip\":[\"10.20.1.1\",\"192.0.2.1\", \"10.20.1.2\"],\"a\":1}"),
      TEXT("{\"ip\":[\"10.20.1.1\",\"192.0.2.1\", \"10.20.1.2\"],\"a\":1" OWN(
          "\"ip\":[" D("1") "," D("2") "]") "}") },
    { "an array of one", TEXT("{\"ip\":[\"10.20.1.1\"]}"),
      TEXT("{\"ip\":[\"10.20.1.1\"]" OWN("\"ip\":[" D("1") "]") "}") },
    { "arrays in that array are not looked into, objects are",
      TEXT("{\"ip\":[[\"10.20.1.1\"],{\"ip\":\"10.20.1.2\"},\"10.20.1.3\","
           "[[\"10.20.1.4\"]],\"10.20.1.5\"]}"),
      TEXT(
          "{\"ip\":[[\"10.20.1.1\"],{\"ip\":\"10.20.1.2\"" OWN("\"ip\":" D("2")) "},\"10.20.1.3\",[[\"10.20.1.4\"]],\"10.20.1.5\"]" OWN(
              "\"ip\":[" D("3") "," D("5") "]") "}") },
    { "two arrays in one object",
      TEXT("{\"tx\":[\"10.20.1.1\"],\"rx\":[\"10.20.1.2\"]}"),
      TEXT("{\"tx\":[\"10.20.1.1\"],\"rx\":[\"10.20.1.2\"]" OWN(
          "\"tx\":[" D("1") "],\"rx\":[" D("2") "]") "}") },
    { "no entity after all", TEXT("{\"a\":\"10.20.1.99\"}"), PASS },
    { "none for some of them",
      TEXT("{\"a\":\"10.20.1.99\",\"b\":\"10.20.1.1\",\"c\":[\"10.20.1.99\"],"
           "\"d\":[\"10.20.1.99\",\"10.20.1.2\",\"10.20.1.99\"]}"),
      TEXT("{\"a\":\"10.20.1.99\",\"b\":\"10.20.1.1\",\"c\":[\"10.20.1.99\"],"
           "\"d\":[\"10.20.1.99\",\"10.20.1.2\",\"10.20.1.99\"]" OWN(
               "\"b\":" D("1") ",\"d\":[" D("2") "]") "}") },
    { "a key with escapes, as it stands",
      TEXT("{\"s\\u0072c\\\"\\\\\":\"10.20.1.1\",\"\xff\":\"10.20.1.2\"}"),
      TEXT("{\"s\\u0072c\\\"\\\\\":\"10.20.1.1\",\"\xff\":\"10.20.1.2\"" OWN(
          "\"s\\u0072c\\\"\\\\\":" D("1") ",\"\xff\":" D("2")) "}") },
    { "an empty key", TEXT("{\"\":\"10.20.1.1\"}"),
      TEXT("{\"\":\"10.20.1.1\"" OWN("\"\":" D("1")) "}") },

    { "the same key twice: the last one counts",
      TEXT("{\"a\":\"10.20.1.11\",\"a\":\"10.20.1.12\",\"t\":1,\"t\":2}"),
      TEXT("{\"a\":\"10.20.1.11\",\"a\":\"10.20.1.12\",\"t\":1,\"t\":2" OWN(
          "\"a\":" D("c")) "}") },
    { "also when it is no address",
      TEXT("{\"a\":\"10.20.1.11\",\"b\":\"10.20.1.12\",\"a\":null}"),
      TEXT("{\"a\":\"10.20.1.11\",\"b\":\"10.20.1.12\",\"a\":null" OWN(
          "\"b\":" D("c")) "}") },
    { "also when it is written otherwise",
      TEXT("{\"a\":\"10.20.1.11\",\"\\u0061\":1,\"\\/\":\"10.20.1.1\","
           "\"/\":\"192.0.2.1\"}"),
      PASS },
    { "arrays and addresses under one key",
      TEXT("{\"a\":[\"10.20.1.1\",\"10.20.1.2\"],\"a\":\"10.20.1.3\","
           "\"b\":\"10.20.1.4\",\"b\":[\"10.20.1.5\"]}"),
      TEXT("{\"a\":[\"10.20.1.1\",\"10.20.1.2\"],\"a\":\"10.20.1.3\","
           "\"b\":\"10.20.1.4\",\"b\":[\"10.20.1.5\"]" OWN(
               "\"a\":" D("3") ",\"b\":[" D("5") "]") "}") },
    { "the same key in another object is another key",
      TEXT("{\"a\":\"10.20.1.1\",\"b\":{\"a\":1},\"ab\":2,\"\":3}"),
      TEXT("{\"a\":\"10.20.1.1\",\"b\":{\"a\":1},\"ab\":2,\"\":3" OWN(
          "\"a\":" D("1")) "}") },

    { "an object that has such a member is left alone",
      TEXT("{\"a\":\"10.20.1.1\",\"defender\":1,\"b\":\"10.20.1.2\"}"), PASS },
    { "whatever its value", TEXT("{\"a\":\"10.20.1.1\",\"defender\":\"::1\"}"),
      PASS },
    { "however the key is written",
      TEXT("{\"a\":\"10.20.1.1\",\"\\u0064efend\\u0065r\":{}}"), PASS },
    { "nothing below it is enriched",
      TEXT("{\"defender\":{\"a\":\"10.20.1.1\",\"b\":[{\"c\":\"10.20.1.2\"}],"
           "\"defender\":{\"d\":\"10.20.1.3\"}},\"e\":\"10.20.1.4\"}"),
      PASS },
    { "in an array either",
      TEXT("{\"defender\":[\"10.20.1.1\",{\"a\":\"10.20.1.2\"}]}"), PASS },
    { "other members of that object are other objects",
      TEXT("{\"x\":{\"a\":\"10.20.1.1\"},\"defender\":{},"
           "\"y\":{\"a\":\"10.20.1.2\"},\"z\":[{\"a\":\"10.20.1.3\"}]}"),
      TEXT("{\"x\":{\"a\":\"10.20.1.1\"" OWN("\"a\":" D("1")) "},\"defender\":{},\"y\":{\"a\":\"10.20.1.2\"" OWN(
          "\"a\":" D(
              "2")) "},\"z\":[{\"a\":\"10.20.1.3\"" OWN("\"a\":" D("3")) "}]}") },
    { "the object around it, and the next one, are other objects",
      TEXT("{\"a\":\"10.20.1.1\",\"b\":{\"defender\":1,\"c\":\"10.20.1.2\"},"
           "\"d\":{\"c\":\"10.20.1.3\"}}"),
      TEXT("{\"a\":\"10.20.1.1\",\"b\":{\"defender\":1,\"c\":\"10.20.1.2\"},"
           "\"d\":{\"c\":\"10.20.1.3\"" OWN("\"c\":" D("3")) "}" OWN(
               "\"a\":" D("1")) "}") },
    { "a string of that name is none",
      TEXT("{\"x\":\"defender\",\"y\":[\"defender\"],\"a\":\"10.20.1.1\"}"),
      TEXT("{\"x\":\"defender\",\"y\":[\"defender\"],\"a\":\"10.20.1.1\"" OWN(
          "\"a\":" D("1")) "}") },
    { "nor a key that is nearly it",
      TEXT("{\"defender \":1,\"defende\":2,\"Defender\":3,\"defenders\":4,"
           "\"def\\u0065nd\":5,\"a\":\"10.20.1.1\"}"),
      TEXT(
          "{\"defender \":1,\"defende\":2,\"Defender\":3,\"defenders\":4,"
          "\"def\\u0065nd\":5,\"a\":\"10.20.1.1\"" OWN("\"a\":" D("1")) "}") },

    { "numbers of any size, escapes, bytes that are not UTF-8",
      TEXT("{\"n\":[18446744073709551616,1e400,-0,0.10],\"s\":\"\\ud800\\u0000"
           "\",\"k\\u0000\":\"K\xf6zjegyz\x91\",\"a\":\"10.20.1.1\"}"),
      TEXT("{\"n\":[18446744073709551616,1e400,-0,0.10],\"s\":\"\\ud800\\u0000"
           "\",\"k\\u0000\":\"K\xf6zjegyz\x91\",\"a\":\"10.20.1.1\"" OWN(
               "\"a\":" D("1")) "}") },
    { "a byte-order mark stays first",
      TEXT("\xef\xbb\xbf{\"a\":\"10.20.1.1\"}"),
      TEXT("\xef\xbb\xbf{\"a\":\"10.20.1.1\"" OWN("\"a\":" D("1")) "}") },
    { "several values", TEXT("{\"a\":\"10.20.1.1\"} {\"a\":\"10.20.1.2\"}[]"),
      TEXT("{\"a\":\"10.20.1.1\"" OWN("\"a\":" D(
          "1")) "} {\"a\":\"10.20.1.2\"" OWN("\"a\":" D("2")) "}[]") },
    { "nothing at all", TEXT(""), PASS },
    { "blanks", TEXT("\n\n  "), PASS },
    { "a scalar", TEXT("17"), PASS },
};


/* what the fields, given with each, select */
static const struct {
    const char   *fields;
    splice_case_t c;
} selected[] = {
    { "src_ip",
      { "a key at any depth",
        TEXT("{\"src_ip\":\"10.20.1.1\",\"x\":[{\"src_ip\":\"10.20.1.2\"}],"
             "\"dest_ip\":\"10.20.1.3\"}"),
        TEXT("{\"src_ip\":\"10.20.1.1\",\"x\":[{\"src_ip\":\"10.20.1.2\"" OWN(
            "\"src_ip\":" D(
                "2")) "}],\"dest_ip\":\"10.20.1.3\"" OWN("\"src_ip\":" D("1")) "}") } },
    { "id.orig_h",
      { "a flattened key", TEXT("{\"id.orig_h\":\"10.20.1.1\"}"),
        TEXT("{\"id.orig_h\":\"10.20.1.1\"" OWN(
            "\"id.orig_h\":" D("1")) "}") } },
    { "id.orig_h",
      { "and the same nested",
        TEXT("{\"id\":{\"orig_h\":\"10.20.1.1\",\"resp_h\":\"10.20.1.2\"},"
             "\"orig_h\":\"10.20.1.3\"}"),
        TEXT("{\"id\":{\"orig_h\":\"10.20.1.1\",\"resp_h\":\"10.20.1.2\"" OWN(
            "\"orig_h\":" D("1")) "},\"orig_h\":\"10.20.1.3\"}") } },
    { "a.b.c.d",
      { "mixtures of both",
        TEXT("{\"a.b\":{\"c.d\":\"10.20.1.1\"},\"a\":{\"b.c\":{\"d\":"
             "\"10.20.1.2\"}},\"z\":{\"a\":{\"b\":{\"c\":{\"d\":\"10.20.1.3\"}"
             "}}}}"),
        TEXT(
            "{\"a.b\":{\"c.d\":\"10.20.1.1\"" OWN("\"c.d\":" D("1")) "},\"a\":{\"b.c\":{\"d\":\"10.20.1.2\"" OWN(
                "\"d\":" D("2")) "}},\"z\":{\"a\":{\"b\":{\"c\":{\"d\":"
                                 "\"10.20.1.3\"" OWN(
                                     "\"d\":" D("3")) "}}}}}") } },
    { "a.b.c.d",
      { "only at the borders of keys",
        TEXT("{\"xa\":{\"b.c.d\":\"10.20.1.1\"},\"a.b.c\":{\"dd\":"
             "\"10.20.1.2\"},\"x.a.b.c.d\":\"10.20.1.3\",\"b\":{\"c.d\":"
             "\"10.20.1.4\"},\"a\":{\".b.c.d\":\"10.20.1.5\"}}"),
        PASS } },
    { "source.ip host.ip",
      { "arrays do not count as levels",
        TEXT("{\"source\":[[{\"ip\":\"10.20.1.1\"}]],\"host\":{\"ip\":"
             "[\"10.20.1.2\",\"10.20.1.3\"]},\"x\":{\"ip\":[\"10.20.1.4\"]}}"),
        TEXT("{\"source\":[[{\"ip\":\"10.20.1.1\"" OWN("\"ip\":" D(
            "1")) "}]],\"host\":{\"ip\":[\"10.20.1.2\","
                  "\"10.20.1.3\"]" OWN("\"ip\":[" D("2") "," D(
                      "3") "]") "},\"x\":{\"ip\":[\"10.20.1.4\"]}}") } },
    { "src_ip so\"urce.\xc3\xa9",
      { "keys with escapes",
        TEXT("{\"src\\u005fip\":\"10.20.1.1\",\"so\\\"urce\":{\"\\u00e9\":"
             "\"10.20.1.2\"}}"),
        TEXT("{\"src\\u005fip\":\"10.20.1.1\",\"so\\\"urce\":{\"\\u00e9\":"
             "\"10.20.1.2\"" OWN("\"\\u00e9\":" D("2")) "}" OWN(
                 "\"src\\u005fip\":" D("1")) "}") } },
    { "src_ip",
      { "the same key twice",
        TEXT("{\"src_ip\":\"10.20.1.1\",\"src_ip\":\"192.0.2.1\"}"), PASS } },
    { "src_ip",
      { "an object with the member",
        TEXT("{\"defender\":{\"x\":{\"src_ip\":\"10.20.1.1\"}},"
             "\"src_ip\":\"10.20.1.2\"}"),
        PASS } },
    { "x *",
      { "a star among them is every field", TEXT("{\"a\":\"10.20.1.1\"}"),
        TEXT("{\"a\":\"10.20.1.1\"" OWN("\"a\":" D("1")) "}") } },
};


static void
check(const char *fields, const char *key, int lines, const splice_case_t *c,
      unsigned malformed, size_t at)
{
    dfd_splice_stat_t  stat;
    dfd_splice_plan_t *plan;

    memset(&stat, 0, sizeof(stat));
    stat.malformed = malformed;
    stat.malformed_at = at;

    plan = plan_of(key, fields);
    unit_int(wrong_runs(plan, lines, c->body, c->len,
                        c->expected == NULL ? c->body : c->expected,
                        c->expected == NULL ? c->len : c->expected_len, &stat),
             0, "%s", c->name);
    dfd_splice_plan_destroy(plan);
}


static const splice_case_t one_letter = {
    "a key of one letter",
    TEXT("{\"x\":{\"a\":\"10.20.1.1\"},\"d\":{\"a\":\"10.20.1.2\"}}"),
    TEXT("{\"x\":{\"a\":\"10.20.1.1\",\"d\":{\"a\":" D(
        "1") "}},"
             "\"d\":{\"a\":\"10.20.1.2\"}}")
};

static const splice_case_t two_letters = {
    "a key of two letters",
    TEXT("[{\"10.20.1.1\":1,\"a\":\"10.20.1.1\"},{\"a.\":\"10.20.1.2\","
         "\"a\":\"10.20.1.3\"}]"),
    TEXT("[{\"10.20.1.1\":1,\"a\":\"10.20.1.1\",\"a.\":{\"a\":" D(
        "1") "}},"
             "{\"a.\":\"10.20.1.2\",\"a\":\"10.20.1.3\"}]")
};

static const splice_case_t odd_key = {
    "a key that needs escapes",
    TEXT("[{\"a\":\"10.20.1.1\"},{\"\\u0022\\n\\\\\":1,\"a\":\"10.20.1.2\"}]"),
    TEXT("[{\"a\":\"10.20.1.1\",\"\\\"\\u000a\\\\\":{\"a\":" D(
        "1") "}},"
             "{\"\\u0022\\n\\\\\":1,\"a\":\"10.20.1.2\"}]")
};

static const splice_case_t foreign_key = {
    "a key beyond ASCII",
    TEXT("[{\"a\":\"10.20.1.1\"},{\"\xf0\x9f\x92\xbb\":1,\"a\":\"10.20.1.2\"},"
         "{\"\\ud83d\\udcbb\":1,\"a\":\"10.20.1.2\"}]"),
    TEXT("[{\"a\":\"10.20.1.1\",\"\xf0\x9f\x92\xbb\":{\"a\":" D(
        "1") "}},"
             "{\"\xf0\x9f\x92\xbb\":1,\"a\":\"10.20.1.2\"},"
             "{\"\\ud83d\\udcbb\":1,\"a\":\"10.20.1.2\"}]")
};


static void
test_cases(void)
{
    size_t i;

    for (i = 0; i < sizeof(anywhere) / sizeof(anywhere[0]); i++) {
        check("", "defender", 0, &anywhere[i], 0, 0);
    }

    for (i = 0; i < sizeof(selected) / sizeof(selected[0]); i++) {
        check(selected[i].fields, "defender", 0, &selected[i].c, 0, 0);
    }

    check("", "d", 0, &one_letter, 0, 0);
    check("", "a.", 0, &two_letters, 0, 0);
    check("", "\"\n\\", 0, &odd_key, 0, 0);
    check("", "\xf0\x9f\x92\xbb", 0, &foreign_key, 0, 0);
}


static void
test_asked(void)
{
    splice_run_t       run;
    splice_split_t     split = { 0, 0 };
    dfd_splice_plan_t *plan;

    static const char body[] = "{\"a\":\"10.20.1.1\",\"b\":[\"192.0.2.1\"],"
                               "\"c\":{\"a\":\"::1\",\"t\":\"12:30:00\"}}";

    plan = plan_of("defender", "");
    asked = 0;
    splice_run(&run, plan, &source, 0, body, sizeof(body) - 1, split);
    unit_int(asked, 3, "each address is asked for once");
    splice_run_free(&run);
    dfd_splice_plan_destroy(plan);

    plan = plan_of("defender", "b");
    asked = 0;
    splice_run(&run, plan, &source, 0, body, sizeof(body) - 1, split);
    unit_int(asked, 1, "if it is in a wanted field");
    splice_run_free(&run);
    dfd_splice_plan_destroy(plan);
}


int
main(void)
{
    test_cases();
    test_asked();

    return unit_done();
}
