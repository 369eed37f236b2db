#include "core/settings_id.h"

#include "core/settings.h"

#include <stdio.h>
#include <string.h>


#define DFD_SETTINGS_ID_MAX_LABEL 63 /* of a domain name, RFC 1035 2.3.4 */


int
dfd_settings_id_is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}


static int
dfd_settings_id_is_digit(char c)
{
    return c >= '0' && c <= '9';
}


static int
dfd_settings_id_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}


static int
dfd_settings_id_is_guid(const char *text, size_t len)
{
    size_t i;

    if (len != DFD_SETTINGS_GUID) {
        return 0;
    }

    for (i = 0; i < len; i++) {
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (text[i] != '-') {
                return 0;
            }

        } else if (!dfd_settings_id_is_digit(text[i])
                   && !(text[i] >= 'a' && text[i] <= 'f')
                   && !(text[i] >= 'A' && text[i] <= 'F'))
        {
            return 0;
        }
    }

    return 1;
}


void
dfd_settings_id_trim(const char **text, size_t *len)
{
    while (*len != 0 && dfd_settings_id_is_blank((*text)[0])) {
        (*text)++;
        (*len)--;
    }

    while (*len != 0 && dfd_settings_id_is_blank((*text)[*len - 1])) {
        (*len)--;
    }

    if (*len == DFD_SETTINGS_GUID + 2 && (*text)[0] == '{'
        && (*text)[*len - 1] == '}'
        && dfd_settings_id_is_guid(*text + 1, DFD_SETTINGS_GUID))
    {
        (*text)++;
        *len = DFD_SETTINGS_GUID;
    }
}


static void
dfd_settings_id_lower(char *to, const char *text, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        to[i] = text[i];

        if (text[i] >= 'A' && text[i] <= 'Z') {
            to[i] = (char) (text[i] + ('a' - 'A'));
        }
    }

    to[len] = '\0';
}


int
dfd_settings_id_guid(char *to, const char *text, size_t len)
{
    if (!dfd_settings_id_is_guid(text, len)) {
        return -1;
    }

    dfd_settings_id_lower(to, text, len);

    return 0;
}


/*
 * Names the first character of text: what pasting drags along is often
 * invisible (U+00A0, U+200B).  jansson has checked that it is UTF-8.
 */
static void
dfd_settings_id_foreign(char fault[DFD_SETTINGS_ID_FAULT], const char *text,
                        size_t len)
{
    size_t        i, more;
    unsigned      code;
    unsigned char c;

    c = (unsigned char) text[0];

    if (c > ' ' && c < 0x7f) {
        snprintf(fault, DFD_SETTINGS_ID_FAULT, "it may not have \"%c\"", c);
        return;
    }

    code = c;
    more = 0;

    if (c >= 0xf0) {
        code = c & 0x07U;
        more = 3;

    } else if (c >= 0xe0) {
        code = c & 0x0fU;
        more = 2;

    } else if (c >= 0xc0) {
        code = c & 0x1fU;
        more = 1;
    }

    for (i = 1; i <= more && i < len; i++) {
        code = (code << 6) | ((unsigned char) text[i] & 0x3fU);
    }

    snprintf(fault, DFD_SETTINGS_ID_FAULT, "it may not have U+%04X", code);
}


static const char *
dfd_settings_id_label_fault(const char *label, size_t len)
{
    if (len == 0) {
        return "a part between its dots is empty";
    }

    if (len > DFD_SETTINGS_ID_MAX_LABEL) {
        return "a part between its dots is longer than 63 characters";
    }

    if (label[0] == '-' || label[len - 1] == '-') {
        return "a part between its dots starts or ends with a hyphen";
    }

    return NULL;
}


/*
 * Host names as of RFC 1123 2.1: letters, digits and inner hyphens, here at
 * least two labels, and the last one no number (that would be an IP address).
 * Returns NULL, or what is wrong with it.
 */
static const char *
dfd_settings_id_domain_fault(const char *text, size_t len)
{
    int         number;
    size_t      i, dots, start;
    const char *fault;

    if (len > DFD_SETTINGS_MAX_TENANT) {
        return "it is longer than 253 characters";
    }

    dots = 0;
    number = 1;
    start = 0;

    for (i = 0; i <= len; i++) {

        if (i < len && text[i] != '.') {
            number = number && dfd_settings_id_is_digit(text[i]);
            continue;
        }

        fault = dfd_settings_id_label_fault(text + start, i - start);
        if (fault != NULL) {
            return fault;
        }

        if (i < len) {
            dots++;
            number = 1;
            start = i + 1;
        }
    }

    if (dots == 0) {
        return "it has no dot";
    }

    return number ? "its last part is a number" : NULL;
}


static const char *
dfd_settings_id_tenant_fault(const char *lower, size_t len)
{
    size_t i;

    static const char *const any[] = { "common", "consumers",
                                       "organizations" };

    for (i = 0; i < sizeof(any) / sizeof(any[0]); i++) {
        if (strcmp(lower, any[i]) == 0) {
            return "common, consumers and organizations are no tenant";
        }
    }

    return dfd_settings_id_domain_fault(lower, len);
}


int
dfd_settings_id_tenant(char *to, const char *text, size_t len,
                       char fault[DFD_SETTINGS_ID_FAULT])
{
    size_t      i;
    const char *wrong;

    for (i = 0; i < len; i++) {
        if (!dfd_settings_id_is_letter(text[i])
            && !dfd_settings_id_is_digit(text[i]) && text[i] != '.'
            && text[i] != '-')
        {
            dfd_settings_id_foreign(fault, text + i, len - i);
            return -1;
        }
    }

    wrong = NULL;

    if (len == 0) {
        wrong = "it is empty";

    } else if (len > DFD_SETTINGS_MAX_TENANT) {
        wrong = "it is longer than 253 characters";

    } else {
        dfd_settings_id_lower(to, text, len);

        if (!dfd_settings_id_is_guid(to, len)) {
            wrong = dfd_settings_id_tenant_fault(to, len);
        }
    }

    if (wrong != NULL) {
        snprintf(fault, DFD_SETTINGS_ID_FAULT, "%s", wrong);
        return -1;
    }

    return 0;
}
