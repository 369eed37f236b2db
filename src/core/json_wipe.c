#include "core/json_wipe.h"

#include <jansson.h>
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>


static void
dfd_json_wipe_free(void *p)
{
    if (p != NULL) {
        OPENSSL_cleanse(p, malloc_usable_size(p));
        free(p);
    }
}


void
dfd_json_wipe_init(void)
{
    json_set_alloc_funcs(malloc, dfd_json_wipe_free);
}
