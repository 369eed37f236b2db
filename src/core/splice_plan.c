#include "core/splice_internal.h"

#include <stdlib.h>
#include <string.h>


/* JSON text of the key with what stands around it; returns the length */
static size_t
dfd_splice_plan_prefix(char *to, const dfd_splice_name_t *key)
{
    char         *p;
    size_t        i;
    unsigned char c;

    static const char hex[] = "0123456789abcdef";

    p = to;
    *p++ = ',';
    *p++ = '"';

    for (i = 0; i < key->len; i++) {
        c = (unsigned char) key->data[i];

        if (c < 0x20) {
            memcpy(p, "\\u00", 4);
            p[4] = hex[c >> 4];
            p[5] = hex[c & 0xf];
            p += 6;
            continue;
        }

        if (c == '"' || c == '\\') {
            *p++ = '\\';
        }

        *p++ = (char) c;
    }

    memcpy(p, "\":{", 3);

    return (size_t) (p + 3 - to);
}


static int
dfd_splice_plan_is_name(const dfd_splice_name_t *name)
{
    return name->len != 0 && name->len <= DFD_SPLICE_MAX_NAME;
}


dfd_splice_plan_t *
dfd_splice_plan_create(const dfd_splice_name_t *key,
                       const dfd_splice_name_t *fields, size_t nfields)
{
    char              *text;
    size_t             i, len;
    dfd_splice_plan_t *plan;

    if (!dfd_splice_plan_is_name(key) || nfields > DFD_SPLICE_MAX_FIELDS) {
        return NULL;
    }

    for (i = 0, len = 0; i < nfields; i++) {

        if (!dfd_splice_plan_is_name(&fields[i])) {
            return NULL;
        }

        len += fields[i].len;
    }

    plan = calloc(1, sizeof(*plan) + len);
    if (plan == NULL) {
        return NULL;
    }

    memcpy(plan->key, key->data, key->len);
    plan->key_len = key->len;
    plan->prefix_len = dfd_splice_plan_prefix(plan->prefix, key);
    plan->key_plain = (plan->prefix_len == key->len + 5);

    dfd_json_table_init(&plan->table, key->data, key->len);

    for (i = 0, text = plan->text; i < nfields; i++) {

        if (fields[i].len == 1 && fields[i].data[0] == '*') {
            plan->nfields = 0;
            return plan;
        }

        plan->field[i].at = (uint16_t) (text - plan->text);
        plan->field[i].len = (uint16_t) fields[i].len;
        memcpy(text, fields[i].data, fields[i].len);
        text += fields[i].len;
    }

    plan->nfields = nfields;

    return plan;
}


void
dfd_splice_plan_destroy(dfd_splice_plan_t *plan)
{
    free(plan);
}
