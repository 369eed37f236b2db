/*
 * scan FILE: bytes a second over the lines of an NDJSON file, in turn, for
 * the scanner, the splicer when no address is known, jansson, and simdjson's
 * DOM parser.  Prints "name value unit", each the median of RUNS.
 */

#include "core/json_scan.h"
#include "core/splice.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>


#define RUNS 11


/* scan_simdjson.cpp; the number of documents */
size_t bench_simdjson(const char *bytes, size_t len);


static int
nothing_known(void *data, const dfd_addr_t *addr)
{
    (void) data;
    (void) addr;

    return 0;
}


static size_t
no_entity(void *data, const dfd_addr_t *addr, char *buf, size_t room)
{
    (void) data;
    (void) addr;
    (void) buf;
    (void) room;

    return 0;
}


static size_t
run_scanner(const char *bytes, size_t len)
{
    static dfd_json_scan_t scan;

    dfd_json_scan_init(&scan, 1);

    return dfd_json_scan_feed(&scan, bytes, len)
        && dfd_json_scan_finish(&scan);
}


static size_t
run_splicer(const char *bytes, size_t len)
{
    void                     *memory;
    const char               *pos;
    dfd_splice_t             *splice;
    dfd_splice_stat_t         stat;
    static dfd_splice_plan_t *plan;

    static const dfd_splice_name_t   key = { "defender", 8 };
    static const dfd_splice_source_t source = { nothing_known, no_entity,
                                                NULL };

    if (plan == NULL) {
        plan = dfd_splice_plan_create(&key, NULL, 0);
    }

    memory = malloc(dfd_splice_size());

    if (plan == NULL || memory == NULL) {
        abort();
    }

    splice = dfd_splice_init(memory, plan, &source, 1);
    pos = bytes;

    while (dfd_splice_next(splice, &pos, bytes + len) == DFD_SPLICE_INSERT) {
        /* void */
    }

    dfd_splice_finish(splice);
    dfd_splice_stat(splice, &stat);
    free(memory);

    return stat.malformed == 0;
}


static size_t
run_jansson(const char *bytes, size_t len)
{
    size_t      n;
    json_t     *json;
    const char *end, *eol;

    n = 0;
    end = bytes + len;

    while (bytes < end) {
        eol = memchr(bytes, '\n', (size_t) (end - bytes));

        if (eol == NULL) {
            eol = end;
        }

        json = json_loadb(bytes, (size_t) (eol - bytes), 0, NULL);

        if (json == NULL) {
            return 0;
        }

        json_decref(json);
        n++;
        bytes = eol + 1;
    }

    return n;
}


static double
now(void)
{
    struct timespec ts;

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int
by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}


static char *
read_file(const char *name, size_t *len)
{
    long  size;
    char *bytes;
    FILE *file;

    file = fopen(name, "rb");

    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        return NULL;
    }

    size = ftell(file);
    rewind(file);

    /* simdjson reads beyond the end */
    bytes = calloc(1, (size_t) size + 64);

    if (bytes != NULL && fread(bytes, 1, (size_t) size, file) != (size_t) size)
    {
        free(bytes);
        bytes = NULL;
    }

    (void) fclose(file);
    *len = (size_t) size;

    return bytes;
}


int
main(int argc, char **argv)
{
    char  *bytes;
    size_t i, run, len;
    double start, seconds[4][RUNS];

    static const struct {
        const char *name;
        size_t (*run)(const char *bytes, size_t len);
    } sides[4] = { { "scanner", run_scanner },
                   { "splicer", run_splicer },
                   { "jansson", run_jansson },
                   { "simdjson", bench_simdjson } };

    bytes = (argc == 2) ? read_file(argv[1], &len) : NULL;

    if (bytes == NULL) {
        (void) fprintf(stderr, "usage: scan FILE\n");
        return 2;
    }

    for (run = 0; run < RUNS; run++) {
        for (i = 0; i < 4; i++) {
            start = now();

            if (sides[i].run(bytes, len) == 0) {
                (void) fprintf(stderr, "%s refused it\n", sides[i].name);
                return 1;
            }

            seconds[i][run] = now() - start;
        }
    }

    for (i = 0; i < 4; i++) {
        qsort(seconds[i], RUNS, sizeof(double), by_value);
        (void) printf("%s %.0f bytes/s\n", sides[i].name,
                      (double) len / seconds[i][RUNS / 2]);
    }

    free(bytes);

    return 0;
}
