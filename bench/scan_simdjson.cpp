// The other side of scan_vs_simdjson: its DOM parser, line by line.

#include <cstring>
#include <simdjson.h>


extern "C" size_t
bench_simdjson(const char *bytes, size_t len)
{
    static simdjson::dom::parser parser;

    size_t      n = 0;
    const char *end = bytes + len;

    while (bytes < end) {
        const char *eol = static_cast<const char *>(
            std::memchr(bytes, '\n', static_cast<size_t>(end - bytes)));

        if (eol == nullptr) {
            eol = end;
        }

        // the caller's buffer is longer than its text: no copy is made
        if (parser.parse(bytes, static_cast<size_t>(eol - bytes), false)
                .error())
        {
            return 0;
        }

        n++;
        bytes = eol + 1;
    }

    return n;
}
