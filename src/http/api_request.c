#include "http/api.h"

#include "core/timestamp.h"


#define DFD_API_UNIX_DIGITS   15
#define DFD_API_FIRST_MSEC    100000000000LL    /* in seconds: the year 5138 */
#define DFD_API_LAST_MSEC     253402300799999LL /* 9999-12-31T23:59:59.999Z */
#define DFD_API_TICK_FRACTION 7                 /* digits of 100 ns */


/* called with each header of that name; 0 ends the walk */
typedef ngx_uint_t (*dfd_api_header_pt)(ngx_http_request_t *r,
                                        const ngx_str_t    *value);


static ngx_uint_t dfd_api_each_header(ngx_http_request_t *r, const char *name,
                                      dfd_api_header_pt good);
static ngx_uint_t dfd_api_good_encoding(ngx_http_request_t *r,
                                        const ngx_str_t    *value);
static ngx_uint_t dfd_api_good_site(ngx_http_request_t *r,
                                    const ngx_str_t    *value);
static ngx_uint_t dfd_api_good_origin(ngx_http_request_t *r,
                                      const ngx_str_t    *value);
static void       dfd_api_strip_port(ngx_str_t *host, const char *port);


#define dfd_api_is(str, text)                                                 \
    ((str)->len == sizeof(text) - 1                                           \
     && ngx_strncasecmp((str)->data, (u_char *) (text), sizeof(text) - 1)     \
            == 0)


ngx_uint_t
dfd_api_is_type(ngx_http_request_t *r, const ngx_str_t *type)
{
    u_char   *p;
    ngx_str_t value;

    if (r->headers_in.content_type == NULL) {
        return 0;
    }

    value = r->headers_in.content_type->value;

    p = ngx_strlchr(value.data, value.data + value.len, ';');

    if (p != NULL) {
        value.len = p - value.data;
    }

    while (value.len != 0
           && (value.data[value.len - 1] == ' '
               || value.data[value.len - 1] == '\t'))
    {
        value.len--;
    }

    return value.len == type->len
        && ngx_strncasecmp(value.data, type->data, type->len) == 0;
}


ngx_uint_t
dfd_api_is_bare(ngx_http_request_t *r)
{
    return r->method == NGX_HTTP_DELETE && r->headers_in.content_type == NULL
        && r->headers_in.content_length_n <= 0 && !r->headers_in.chunked;
}


ngx_int_t
dfd_api_no_body(ngx_http_request_t *r, const ngx_str_t *body,
                ngx_int_t *answer)
{
    json_t      *json;
    ngx_uint_t   good;
    json_error_t error;

    if (body->len == 0) {
        return NGX_OK;
    }

    json = json_loadb((char *) body->data, body->len, JSON_REJECT_DUPLICATES,
                      &error);

    good = json_is_object(json) && json_object_size(json) == 0;

    if (good) {
        json_decref(json);
        return NGX_OK;
    }

    *answer = dfd_reply_problem(
        r, NGX_HTTP_BAD_REQUEST,
        json == NULL ? "invalid_json" : "invalid_body", NULL,
        "the body must be empty or an empty JSON object", NULL);

    json_decref(json);

    return NGX_DECLINED;
}


ngx_uint_t
dfd_api_matches(ngx_http_request_t *r, uint64_t revision)
{
    size_t     len;
    u_char     tag[NGX_INT64_LEN + 2], *p, *last, *comma, *end;
    ngx_str_t *value;

    if (r->headers_in.if_match == NULL) {
        return 1;
    }

    value = &r->headers_in.if_match->value;

    if (value->len == 1 && value->data[0] == '*') {
        return 1;
    }

    len = (size_t) (ngx_sprintf(tag, "\"%uL\"", revision) - tag);

    last = value->data + value->len;

    for (p = value->data; p < last; p = comma + 1) {

        comma = ngx_strlchr(p, last, ',');

        if (comma == NULL) {
            comma = last;
        }

        end = comma;

        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }

        while (end > p && (end[-1] == ' ' || end[-1] == '\t')) {
            end--;
        }

        if ((size_t) (end - p) == len && ngx_memcmp(p, tag, len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* 1 when every header of that name is good, or there is none */

static ngx_uint_t
dfd_api_each_header(ngx_http_request_t *r, const char *name,
                    dfd_api_header_pt good)
{
    size_t           len;
    ngx_uint_t       i;
    ngx_list_part_t *part;
    ngx_table_elt_t *header;

    len = ngx_strlen(name);

    for (part = &r->headers_in.headers.part; part != NULL; part = part->next) {

        header = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (header[i].key.len == len
                && ngx_strncasecmp(header[i].key.data, (u_char *) name, len)
                       == 0
                && !good(r, &header[i].value))
            {
                return 0;
            }
        }
    }

    return 1;
}


ngx_uint_t
dfd_api_is_plain(ngx_http_request_t *r)
{
    return dfd_api_each_header(r, "Content-Encoding", dfd_api_good_encoding);
}


static ngx_uint_t
dfd_api_good_encoding(ngx_http_request_t *r, const ngx_str_t *value)
{
    return value->len == 0 || dfd_api_is(value, "identity");
}


ngx_uint_t
dfd_api_is_same_site(ngx_http_request_t *r)
{
    return dfd_api_each_header(r, "Sec-Fetch-Site", dfd_api_good_site)
        && dfd_api_each_header(r, "Origin", dfd_api_good_origin);
}


/* "none": typed by the user; "same-site" is another host of the domain */

static ngx_uint_t
dfd_api_good_site(ngx_http_request_t *r, const ngx_str_t *value)
{
    return dfd_api_is(value, "same-origin") || dfd_api_is(value, "none");
}


/* The scheme is not compared: TLS may end in front of us. */

static ngx_uint_t
dfd_api_good_origin(ngx_http_request_t *r, const ngx_str_t *value)
{
    size_t      skip;
    ngx_str_t   origin, host;
    const char *port;

    if (value->len > 8
        && ngx_strncasecmp(value->data, (u_char *) "https://", 8) == 0)
    {
        skip = 8;
        port = ":443";

    } else if (value->len > 7
               && ngx_strncasecmp(value->data, (u_char *) "http://", 7) == 0)
    {
        skip = 7;
        port = ":80";

    } else {
        return 0; /* "null" too: a sandboxed page */
    }

    if (r->headers_in.host == NULL) {
        return 0;
    }

    origin.data = value->data + skip;
    origin.len = value->len - skip;
    host = r->headers_in.host->value;

    dfd_api_strip_port(&origin, port);
    dfd_api_strip_port(&host, port);

    return origin.len == host.len
        && ngx_strncasecmp(origin.data, host.data, host.len) == 0;
}


static void
dfd_api_strip_port(ngx_str_t *host, const char *port)
{
    size_t len;

    len = ngx_strlen(port);

    if (host->len > len
        && ngx_memcmp(host->data + host->len - len, port, len) == 0)
    {
        host->len -= len;
    }
}


int64_t
dfd_api_time(const char *text, size_t len)
{
    size_t  i, fraction;
    int64_t value, ticks, unit;

    value = 0;

    for (i = 0; i < len && text[i] >= '0' && text[i] <= '9'; i++) {

        if (i == DFD_API_UNIX_DIGITS) {
            return DFD_TIME_NONE;
        }

        value = value * 10 + (text[i] - '0');
    }

    if (i == 0 || (i < len && text[i] != '.')) {
        return dfd_time_parse(text, len);
    }

    if (value >= DFD_API_FIRST_MSEC) {
        return (i == len && value <= DFD_API_LAST_MSEC)
                 ? value * DFD_TICKS_PER_MSEC
                 : DFD_TIME_NONE;
    }

    ticks = value * DFD_TICKS_PER_SECOND;

    if (i == len) {
        return ticks;
    }

    /* digits below a tick are cut */

    i++;
    unit = DFD_TICKS_PER_SECOND;

    for (fraction = 0; i < len; i++, fraction++) {

        if (text[i] < '0' || text[i] > '9') {
            return DFD_TIME_NONE;
        }

        if (fraction < DFD_API_TICK_FRACTION) {
            unit /= 10;
            ticks += (text[i] - '0') * unit;
        }
    }

    return fraction ? ticks : DFD_TIME_NONE;
}


int64_t
dfd_api_time_json(const json_t *json)
{
    double     real;
    json_int_t value;

    switch (json_typeof(json)) {

    case JSON_STRING:
        return dfd_api_time(json_string_value(json), json_string_length(json));

    case JSON_INTEGER:
        value = json_integer_value(json);

        if (value < 0 || value > DFD_API_LAST_MSEC) {
            return DFD_TIME_NONE;
        }

        return value
             * (value < DFD_API_FIRST_MSEC ? DFD_TICKS_PER_SECOND
                                           : DFD_TICKS_PER_MSEC);

    case JSON_REAL:
        real = json_real_value(json);

        if (!(real >= 0 && real <= (double) DFD_API_LAST_MSEC)) {
            return DFD_TIME_NONE;
        }

        return (int64_t) (real
                          * (real < (double) DFD_API_FIRST_MSEC
                                 ? (double) DFD_TICKS_PER_SECOND
                                 : (double) DFD_TICKS_PER_MSEC));

    default:
        return DFD_TIME_NONE;
    }
}
