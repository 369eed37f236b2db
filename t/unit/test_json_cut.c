#include "unit.h"

#include "core/json_cut.h"
#include "core/json_scan.h"

#include <jansson.h>
#include <stdlib.h>


#define TEXT(literal) (literal), sizeof(literal) - 1


typedef struct {
    char   text[65536]; /* the elements, each on a line of its own */
    size_t len;
    int    elements;
    int    stop_at;
} cut_log_t;


static int
log_element(void *data, const char *json, size_t len)
{
    cut_log_t *log;

    log = data;

    if (log->len + len + 1 > sizeof(log->text)) {
        abort();
    }

    memcpy(log->text + log->len, json, len);
    log->len += len;
    log->text[log->len++] = '\n';

    return ++log->elements == log->stop_at;
}


/* feeds the page in pieces and returns the verdict */
static int
cut_page(dfd_json_cut_t **cut, cut_log_t *log, const char *page, size_t len,
         size_t piece, size_t max)
{
    int    rc;
    char  *copy;
    size_t n, done;

    log->len = 0;
    log->elements = 0;
    *cut = dfd_json_cut_create(max, log_element, log);

    if (*cut == NULL) {
        abort();
    }

    for (done = 0, rc = DFD_CUT_OK; done < len && rc == DFD_CUT_OK; done += n)
    {
        n = piece < len - done ? piece : len - done;
        copy = malloc(n);

        if (copy == NULL) {
            abort();
        }

        memcpy(copy, page + done, n);
        rc = dfd_json_cut_feed(*cut, copy, n);
        free(copy);
    }

    return rc == DFD_CUT_OK ? dfd_json_cut_finish(*cut) : rc;
}


typedef struct {
    const char *name;
    const char *page;
    size_t      len;
    int         rc;
    size_t      at; /* if it is malformed */
    const char *elements;
    int         next_link;
} cut_case_t;


static const cut_case_t cases[] = {
    { "two devices and a next link",
      TEXT("{\"@odata.context\":\"https://x/$metadata#Machines\","
           "\"value\":[{\"id\":\"a\"},{\"id\":\"b\",\"t\":[1,{}]}],"
           "\"@odata.nextLink\":\"https://x/api/machines?$skip=2\"}"),
      DFD_CUT_OK, 0, "{\"id\":\"a\"}\n{\"id\":\"b\",\"t\":[1,{}]}\n", 1 },
    { "an empty list, correctly delivered",
      TEXT("{\"@odata.context\":\"x\",\"value\":[]}"), DFD_CUT_OK, 0, "", 0 },
    { "blanks are between elements, not in them",
      TEXT(" { \"value\" : [ { \"id\" : 1 } ,\r\n\t{\"id\":2 }\n] } \n"),
      DFD_CUT_OK, 0, "{ \"id\" : 1 }\n{\"id\":2 }\n", 0 },
    { "an empty list with blanks", TEXT("{\"value\":[ \n ]}"), DFD_CUT_OK, 0,
      "", 0 },
    { "elements of every kind",
      TEXT("{\"value\":[1, \"a,]\" ,null,[2,[3]],-1.5e3 , true,{},[]]}"),
      DFD_CUT_OK, 0, "1\n\"a,]\"\nnull\n[2,[3]]\n-1.5e3\ntrue\n{}\n[]\n", 0 },
    { "bytes stay as they are",
      TEXT("{\"value\":[{\"n\":1.10,\"s\":\"\\u00e9\\/\xc3\xa9\xff\"}]}"),
      DFD_CUT_OK, 0, "{\"n\":1.10,\"s\":\"\\u00e9\\/\xc3\xa9\xff\"}\n", 0 },
    { "only the page's own member counts",
      TEXT("{\"a\":{\"value\":[1]},\"values\":[2],\"b\":[{\"value\":[3]}],"
           "\"value\":[{\"value\":[4]}],\"valu\":[5],\"c\":[[6]]}"),
      DFD_CUT_OK, 0, "{\"value\":[4]}\n", 0 },
    { "a value after a string of that name",
      TEXT("{\"a\":\"value\",\"b\":[1],\"value\":[2]}"), DFD_CUT_OK, 0, "2\n",
      0 },
    { "an empty next link is none",
      TEXT("{\"@odata.nextLink\":\"\",\"value\":[1]}"), DFD_CUT_OK, 0, "1\n",
      0 },
    { "a next link that is no string is none",
      TEXT("{\"@odata.nextLink\":[\"x\"],\"value\":[1]}"), DFD_CUT_OK, 0,
      "1\n", 0 },
    { "a next link in an element is none",
      TEXT("{\"value\":[{\"@odata.nextLink\":\"x\"}]}"), DFD_CUT_OK, 0,
      "{\"@odata.nextLink\":\"x\"}\n", 0 },
    { "another key that begins alike is none",
      TEXT("{\"@odata.nextLinks\":\"x\",\"value\":[]}"), DFD_CUT_OK, 0, "",
      0 },
    { "a next link before the list",
      TEXT("{\"@odata.nextLink\":\"x\",\"value\":[1]}"), DFD_CUT_OK, 0, "1\n",
      1 },
    { "a byte-order mark is passed", TEXT("\xef\xbb\xbf{\"value\":[1]}"),
      DFD_CUT_OK, 0, "1\n", 0 },

    { "no list at all", TEXT("{\"error\":{\"code\":\"Forbidden\"}}"),
      DFD_CUT_MALFORMED, 30, "", 0 },
    { "a list that is an object", TEXT("{\"value\":{\"a\":1}}"),
      DFD_CUT_MALFORMED, 17, "", 0 },
    { "a sign-in page", TEXT("<!DOCTYPE html><title>Sign in</title>"),
      DFD_CUT_MALFORMED, 0, "", 0 },
    { "an array at the top", TEXT(" [1]"), DFD_CUT_MALFORMED, 1, "", 0 },
    { "a string at the top", TEXT("\"value\""), DFD_CUT_MALFORMED, 0, "", 0 },
    { "nothing", TEXT(""), DFD_CUT_MALFORMED, 0, "", 0 },
    { "blanks only", TEXT(" \n"), DFD_CUT_MALFORMED, 2, "", 0 },
    { "half a byte-order mark", TEXT("\xef\xbb"), DFD_CUT_MALFORMED, 0, "",
      0 },
    { "more behind the page", TEXT("{\"value\":[1]} {}"), DFD_CUT_MALFORMED,
      14, "1\n", 0 },
    { "cut off between elements", TEXT("{\"value\":[{\"a\":1},"),
      DFD_CUT_MALFORMED, 18, "{\"a\":1}\n", 0 },
    { "cut off in an element", TEXT("{\"value\":[{\"a\":1},{\"b\":"),
      DFD_CUT_MALFORMED, 23, "{\"a\":1}\n", 0 },
    { "cut off behind the list", TEXT("{\"value\":[{\"a\":1}]"),
      DFD_CUT_MALFORMED, 18, "{\"a\":1}\n", 0 },
    { "malformed in the second element",
      TEXT("{\"value\":[{\"a\":1},{\"b\":tru}]}"), DFD_CUT_MALFORMED, 26,
      "{\"a\":1}\n", 0 },
    { "a comma too many", TEXT("{\"value\":[1,]}"), DFD_CUT_MALFORMED, 12,
      "1\n", 0 },
};


static void
test_cases(void)
{
    int               rc, m;
    size_t            i, piece, wrong;
    const cut_case_t *c;
    dfd_json_cut_t   *cut;

    static cut_log_t         log;
    static const char *const machines[] = { "plain", "avx2", "avx512" };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        c = &cases[i];
        wrong = 0;

        for (m = 0; m < 3; m++) {

            if (!dfd_json_index_use(machines[m])) {
                continue;
            }

            for (piece = 1; piece <= c->len + 1; piece++) {
                rc = cut_page(&cut, &log, c->page, c->len, piece, 1000);

                if (rc != c->rc || log.len != strlen(c->elements)
                    || memcmp(log.text, c->elements, log.len) != 0
                    || (rc == DFD_CUT_OK
                        && dfd_json_cut_has_next_link(cut) != c->next_link)
                    || (rc == DFD_CUT_MALFORMED
                        && dfd_json_cut_error_offset(cut) != c->at))
                {
                    wrong++;
                    unit_note("%s, pieces of %zu: %d at %ju, %.*s",
                              machines[m], piece, rc,
                              (uintmax_t) dfd_json_cut_error_offset(cut),
                              (int) log.len, log.text);
                }

                dfd_json_cut_destroy(cut);
            }
        }

        unit_int(wrong, 0, "%s", c->name);
    }

    dfd_json_index_use(NULL);
}


static void
test_limit(void)
{
    int             rc;
    size_t          piece, wrong, large;
    dfd_json_cut_t *cut;

    static cut_log_t  log;
    static const char page[] = "{\"a\":\"0123456789\",\"value\":[ {\"a\":1} ,"
                               "\"12345\"   , [12345] ,\"123456\",1]}";

    for (piece = 1, wrong = 0, large = 0; piece <= sizeof(page); piece++) {
        rc = cut_page(&cut, &log, page, sizeof(page) - 1, piece, 8);
        wrong += rc != DFD_CUT_OK || log.elements != 5;
        dfd_json_cut_destroy(cut);

        rc = cut_page(&cut, &log, page, sizeof(page) - 1, piece, 7);
        large += rc == DFD_CUT_TOO_LARGE && log.elements == 3
              && memcmp(log.text, "{\"a\":1}\n\"12345\"\n[12345]\n", log.len)
                     == 0
              && dfd_json_cut_feed(cut, "]", 1) == DFD_CUT_TOO_LARGE
              && dfd_json_cut_finish(cut) == DFD_CUT_TOO_LARGE;
        dfd_json_cut_destroy(cut);
    }

    unit_int(wrong, 0, "elements of just the limit, in pieces of any size");
    unit_int(large, sizeof(page), "one byte more ends the cutting there");
}


static void
test_stop(void)
{
    int             rc;
    dfd_json_cut_t *cut;

    static cut_log_t log;

    log.stop_at = 2;
    rc = cut_page(&cut, &log, TEXT("{\"value\":[1,2,3,4]}"), 100, 10);
    unit_int(rc, DFD_CUT_STOPPED, "the handler stops it");
    unit_mem(log.text, log.len, "1\n2\n", 4, "at once");
    unit_int(dfd_json_cut_feed(cut, "5", 1), DFD_CUT_STOPPED,
             "and it stays so");
    unit_int(dfd_json_cut_finish(cut), DFD_CUT_STOPPED, "to the end");
    unit_int(log.elements, 2, "no element follows");
    dfd_json_cut_destroy(cut);
    dfd_json_cut_destroy(NULL);
}


/* a page of many devices, as a JSON library sees it */
static void
test_large(void)
{
    int             rc;
    char           *page, *line, *next;
    size_t          len, i, piece, wrong;
    json_t         *root, *value, *element;
    dfd_json_cut_t *cut;

    static cut_log_t log;

    value = json_array();

    for (i = 0; i < 300; i++) {
        element = json_pack(
            "{s:i, s:s, s:[{s:s}, {}], s:{s:f, s:b, s:n}}", "id", (int) i,
            "computerDnsName", i % 7 ? "ws-1.corp.example" : "\"]},\\",
            "ipAddresses", "ipAddress", "10.0.0.1", "vmMetadata", "a",
            (double) i / 3, "b", (int) (i % 2), "c");
        json_array_append_new(value, element);
    }

    root = json_pack("{s:s, s:O}", "@odata.context", "x", "value", value);
    page = json_dumps(root, JSON_INDENT(1));
    len = strlen(page);
    wrong = 0;

    for (piece = 1; piece < 3 * len; piece = piece * 3 + 1) {
        rc = cut_page(&cut, &log, page, len, piece, 10000);
        wrong += rc != DFD_CUT_OK || log.elements != 300;
        dfd_json_cut_destroy(cut);
    }

    unit_int(wrong, 0, "300 elements, in pieces of any size");

    /* the elements were indented: a line that begins with "}" ends each */
    for (i = 0, wrong = 0, line = log.text; i < 300; i++) {
        next = strstr(line, "\n{");
        next = next == NULL ? log.text + log.len - 1 : next;
        element = json_loadb(line, (size_t) (next - line), 0, NULL);
        wrong += !json_equal(element, json_array_get(value, i));
        json_decref(element);
        line = next + 1;
    }

    unit_int(wrong, 0, "each of them is the one of the page");

    free(page);
    json_decref(root);
    json_decref(value);
}


int
main(void)
{
    test_cases();
    test_limit();
    test_stop();
    test_large();

    return unit_done();
}
