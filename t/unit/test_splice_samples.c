#include "unit/splice_fixture.h"

#include <dirent.h>
#include <jansson.h>


/*
 * The sample detections: compared member by member with what a JSON library
 * reads from the input.  10.x.x.x are known.
 */

static int
sample_known(void *data, const dfd_addr_t *addr)
{
    return addr->bytes[10] == 0xff && addr->bytes[12] == 10;
}


static size_t
sample_entity(void *data, const dfd_addr_t *addr, char *buf, size_t room)
{
    char   text[DFD_ADDR_TEXT + 16];
    size_t len;

    memcpy(text, "{\"ip\":\"", 7);
    len = 7 + dfd_addr_format(addr, text + 7);
    memcpy(text + len, "\"}", 2);
    len += 2;

    if (len <= room) {
        memcpy(buf, text, len);
    }

    return len;
}


static const dfd_splice_source_t sample_source = { sample_known, sample_entity,
                                                   NULL };


/* the entity that a JSON library's string leads to, or NULL */
static json_t *
expected_entity(json_t *value)
{
    char       text[DFD_ADDR_TEXT];
    dfd_addr_t addr;

    if (!json_is_string(value)
        || !dfd_addr_parse(&addr, json_string_value(value),
                           json_string_length(value))
        || !sample_known(NULL, &addr))
    {
        return NULL;
    }

    dfd_addr_format(&addr, text);

    return json_pack("{s:s}", "ip", text);
}


/* puts the members that are to be there into the document */
static unsigned
expect_members(json_t *value)
{
    size_t      i;
    unsigned    n;
    json_t     *own, *list, *item, *found;
    const char *key;

    n = 0;

    if (json_is_array(value)) {
        json_array_foreach(value, i, item)
        {
            n += expect_members(item);
        }
    }

    if (!json_is_object(value)) {
        return n;
    }

    own = json_object();

    json_object_foreach(value, key, item)
    {
        n += expect_members(item);
        found = expected_entity(item);

        if (found != NULL) {
            json_object_set_new(own, key, found);
        }

        if (!json_is_array(item)) {
            continue;
        }

        list = json_array();

        for (i = 0; i < json_array_size(item); i++) {
            found = expected_entity(json_array_get(item, i));

            if (found != NULL) {
                json_array_append_new(list, found);
            }
        }

        if (json_array_size(list) != 0) {
            json_object_set(own, key, list);
        }

        json_decref(list);
    }

    if (json_object_size(own) != 0) {
        json_object_set(value, "defender", own);
        n++;
    }

    json_decref(own);

    return n;
}


/* compares value by value; returns how many objects got a member, or -1 */
static int
compare_documents(const char *before, const char *after, size_t len)
{
    int          n;
    json_t      *in, *out;
    size_t       flags;
    const char  *end;
    json_error_t error;

    flags = JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK;
    end = after + len;

    for (n = 0;; before += strspn(before, " \r\n\t")) {
        in = json_loads(before, flags, &error);

        if (in == NULL) {
            return *before == '\0' && after == end ? n : -1;
        }

        before += error.position;
        out = json_loadb(after, (size_t) (end - after), flags, &error);
        after += out == NULL ? 0 : error.position;
        n += (int) expect_members(in);

        if (out == NULL || !json_equal(in, out)) {
            json_decref(in);
            json_decref(out);
            return -1;
        }

        json_decref(in);
        json_decref(out);

        while (after < end && strchr(" \r\n\t", *after) != NULL) {
            after++;
        }
    }
}


static char *
read_file(const char *dir, const char *name, size_t *len)
{
    FILE *file;
    char *text, path[1000];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    text = calloc(1, 1 << 20);
    file = fopen(path, "rb");

    if (text == NULL || file == NULL) {
        abort();
    }

    *len = fread(text, 1, (1 << 20) - 1, file);
    fclose(file);

    return text;
}


static void
test_sample(const char *name, const char *text, size_t len)
{
    int                lines, members;
    size_t             m;
    unsigned           wrong;
    splice_run_t       first, run;
    splice_split_t     split = { 0, 0 };
    dfd_splice_plan_t *plan;

    plan = plan_of("defender", "");
    lines = strstr(name, ".ndjson") != NULL;
    splice_run(&first, plan, &sample_source, lines, text, len, split);

    unit_int(first.stat.malformed, 0, "%s is JSON", name);
    members = compare_documents(text, first.out, first.len);
    unit_int(members, first.insertions,
             "%s has the members it should, and is else the same", name);

    for (m = 0, wrong = 0; m < 30; m++) {

        if (dfd_json_index_use(machines[m % 3])) {
            split.seed = (uint32_t) (12345 + m);
            split.piece = m < 3 ? 1 : 0;
            splice_run(&run, plan, &sample_source, lines, text, len, split);
            wrong += run.broken != NULL || run.len != first.len
                  || memcmp(run.out, first.out, run.len) != 0;
            splice_run_free(&run);
        }
    }

    dfd_json_index_use(NULL);
    unit_int(wrong, 0, "%s is so for every machine and split", name);

    splice_run_free(&first);
    dfd_splice_plan_destroy(plan);
}


static void
test_samples(void)
{
    DIR           *files;
    char          *text;
    size_t         len;
    unsigned       n;
    const char    *dir;
    struct dirent *file;

    dir = getenv("DFD_DETECTIONS");
    dir = dir == NULL ? "t/detections" : dir;
    files = opendir(dir);
    n = 0;

    while (files != NULL && (file = readdir(files)) != NULL) {

        if (strstr(file->d_name, "json") != NULL) {
            text = read_file(dir, file->d_name, &len);
            test_sample(file->d_name, text, len);
            free(text);
            n++;
        }
    }

    if (files != NULL) {
        closedir(files);
    }

    unit_ok(n >= 14, "%u sample files in %s", n, dir);
}


int
main(void)
{
    test_samples();

    return unit_done();
}
