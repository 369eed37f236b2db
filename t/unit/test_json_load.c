#include "core/json_load.h"

#include "unit.h"

#include <stdlib.h>


#define TEXT(literal) literal, sizeof(literal) - 1


typedef struct {
    const char *json;
    size_t      len;
    const char *read; /* as jansson writes it; NULL: it is refused */
} test_case_t;


static const test_case_t test_cases[] = {
    /* what jansson reads by itself stays */
    { TEXT("{\"a\":1,\"b\":[true,null,\"\\u00e9\",0.5]}"),
      "{\"a\":1,\"b\":[true,null,\"\xc3\xa9\",0.5]}" },
    { TEXT("{\"a\":\"x\\u0000y\"}"), "{\"a\":\"x\\u0000y\"}" },
    { TEXT("{\"a\":1,\"a\":2}"), "{\"a\":2}" },
    { TEXT("[-9223372036854775808]"), "[-9223372036854775808]" },

    /* numbers beyond its range, without harm to their neighbours */
    { TEXT("{\"n\":1e400,\"osBuild\":22631}"),
      "{\"n\":null,\"osBuild\":22631}" },
    { TEXT("{\"n\":-1E+400,\"m\":-17}"), "{\"n\":null,\"m\":-17}" },
    { TEXT("{\"n\":9223372036854775808,\"m\":17}"), "{\"n\":null,\"m\":17}" },
    { TEXT("[18446744073709551615,999999999999999999,0.25]"),
      "[null,999999999999999999,0.25]" },
    { TEXT("[1e400 ,1e5,-1e5, 1.5e-3]"), "[null,100000.0,null,null]" },
    { TEXT("[000000000000000000001]"), "[null]" },

    /* surrogates */
    { TEXT("[\"\\ud800\"]"), "[\"\xef\xbf\xbd\"]" },
    { TEXT("[\"a\\uDC00b\"]"), "[\"a\xef\xbf\xbd"
                               "b\"]" },
    { TEXT("[\"\\ud83d\\ud83d\\ude00\"]"),
      "[\"\xef\xbf\xbd\xf0\x9f\x98\x80\"]" },
    { TEXT("[\"\\udc00\\ud800\\u0041\"]"), "[\"\xef\xbf\xbd\xef\xbf\xbd"
                                           "A\"]" },
    { TEXT("{\"\\ud800\":\"\\\\ud800\"}"),
      "{\"\xef\xbf\xbd\":\"\\\\ud800\"}" },

    /* a NUL in a name, while one in a value stays */
    { TEXT("{\"a\\u0000b\" : \"c\\u0000d\",\"e\\\\u0000\":\"\\\\u0000\"}"),
      "{\"a\xef\xbf\xbd"
      "b\":\"c\\u0000d\",\"e\\\\u0000\":\"\\\\u0000\"}" },
    { TEXT("[\"\\u0000\",\"\\ud800\"]"), "[\"\\u0000\",\"\xef\xbf\xbd\"]" },

    /* bytes */
    { TEXT("[\"B\xfcro\"]"), "[\"B?ro\"]" },
    { TEXT("[\"\xc0\xaf\xc3\xa9\xe2\x82\"]"), "[\"??\xc3\xa9??\"]" },
    { TEXT("[\"\xed\xa0\x80\xed\x9f\xbf\"]"), "[\"???\xed\x9f\xbf\"]" },
    { TEXT("[\"\xe0\x9f\xbf\xe0\xa0\x80\"]"), "[\"???\xe0\xa0\x80\"]" },
    { TEXT("[\"\xf0\x8f\xbf\xbf\xf0\x90\x80\x80\"]"),
      "[\"????\xf0\x90\x80\x80\"]" },
    { TEXT("[\"\xf4\x90\x80\x80\xf4\x8f\xbf\xbf\xf5\xff\"]"),
      "[\"????\xf4\x8f\xbf\xbf??\"]" },
    { TEXT("{\"\xff\":1,\"\xff\xff\":2}"), "{\"?\":1,\"??\":2}" },

    /* all at once */
    { TEXT("{\"id\":\"x\",\"n\":[1e999,{\"\\u0000\":\"\\udfff\xff\"}],"
           "\"osBuild\":1}"),
      "{\"id\":\"x\",\"n\":[null,{\"\xef\xbf\xbd\":\"\xef\xbf\xbd?\"}],"
      "\"osBuild\":1}" },

    /* what is no JSON does not become some */
    { TEXT(""), NULL },
    { TEXT("{"), NULL },
    { TEXT("{\"a\":1e400"), NULL },
    { TEXT("{\"a\":\"\\ud800"), NULL },
    { TEXT("{\"a\":\"\\ud80\"}"), NULL },
    { TEXT("{\"a\":\"\\x\"}"), NULL },
    { TEXT("{\"a\":\"\t\"}"), NULL },
    { TEXT("{\"a\":\"\\"), NULL },
    { TEXT("[\"\xff"), NULL },
    { TEXT("[1e400]]"), NULL },
    { TEXT("[1e400,]"), NULL },
    { TEXT("1e400"), NULL },
};


static void
test_read(void)
{
    int     no_memory;
    char   *text;
    size_t  i;
    json_t *value;

    for (i = 0; i < sizeof(test_cases) / sizeof(test_case_t); i++) {
        no_memory = 2;
        value =
            dfd_json_load(test_cases[i].json, test_cases[i].len, &no_memory);

        if (test_cases[i].read == NULL) {
            unit_ok(value == NULL, "no JSON: case %zu", i);

        } else {
            text = json_dumps(value, JSON_COMPACT);
            unit_str(text == NULL ? "nothing" : text, test_cases[i].read,
                     "case %zu", i);
            free(text);
        }

        unit_int(no_memory, 0, "and there was memory");
        json_decref(value);
    }

    value = dfd_json_load(TEXT("[\"\\ud800\"]"), NULL);
    unit_ok(value != NULL, "nobody has to ask for the reason");
    json_decref(value);
}


/* any byte may break off or change: the document is never read beyond */
static void
test_broken(void)
{
    char    text[128], before[128], *copy;
    size_t  len, at, changed;
    json_t *value;
    int     byte;

    static const char document[] =
        "{\"id\":\"\\ud83d\\ude00\\ud800\",\"\\u0000\":[1e400,\"\xf0\x9f"
        "\x98\x80\xff\"]}";

    changed = 0;

    for (len = 0; len < sizeof(document); len++) {
        copy = malloc(len + 1);

        if (copy == NULL) {
            unit_ok(0, "memory");
            return;
        }

        memcpy(copy, document, len);
        value = dfd_json_load(copy, len, NULL);
        changed += (value != NULL) != (len == sizeof(document) - 1);
        json_decref(value);
        free(copy);
    }

    unit_int(changed, 0, "only the whole document is one");

    for (at = 0; at < sizeof(document) - 1; at++) {
        for (byte = 0; byte < 256; byte++) {
            memcpy(text, document, sizeof(document));
            text[at] = (char) byte;
            memcpy(before, text, sizeof(document));
            json_decref(dfd_json_load(text, sizeof(document) - 1, NULL));
            changed += memcmp(before, text, sizeof(document)) != 0;
        }
    }

    unit_int(changed, 0, "what is read is not written to");
}


int
main(void)
{
    test_read();
    test_broken();

    return unit_done();
}
