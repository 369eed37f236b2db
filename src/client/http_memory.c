#include "client/http_memory.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>


/* clang-format off */
static void dfd_http_memory_free(void *p);
static void *dfd_http_memory_realloc(void *p, size_t size);
/* clang-format on */


CURLcode
dfd_http_memory_init(void)
{
    return curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc,
                                dfd_http_memory_free, dfd_http_memory_realloc,
                                strdup, calloc);
}


static void
dfd_http_memory_free(void *p)
{
    if (p != NULL) {
        OPENSSL_cleanse(p, malloc_usable_size(p));
        free(p);
    }
}


/* realloc() itself would leave the old bytes behind when it moves them */

static void *
dfd_http_memory_realloc(void *p, size_t size)
{
    void  *to;
    size_t old;

    to = malloc(size);
    if (to == NULL || p == NULL) {
        return to;
    }

    old = malloc_usable_size(p);
    memcpy(to, p, old < size ? old : size);

    OPENSSL_cleanse(p, old);
    free(p);

    return to;
}
