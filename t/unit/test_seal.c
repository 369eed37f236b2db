#include "core/seal.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "unit.h"


/*
 * The expected values were computed with another implementation (Python's
 * hmac and cryptography) from the key 00 01 02 ... 1f.
 */

#define SECRET "Zz~1+b/c=d&e%25.f_g-h#i?j k"

#define KEY_BASE64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

#define SEALED                                                                \
    "AfXxCOxkZWZnaGlqa2xtbm8ssQLORdklsRVYQqzW-rcQL1rSBunWXcvHtrqBecO9e3cqG8T" \
    "cAj_r8rID"

#define EXPIRES 1795568400

#define TICKET "AQAAAABrBjMQg46PfhcOiQSFPpbFVSAN8PPtLeUMhz7q0H31otMjy24"


static dfd_seal_key_t test_key;
static dfd_seal_key_t test_other;


static void
test_make_keys(void)
{
    int     i;
    uint8_t raw[DFD_SEAL_KEY_BYTES];

    for (i = 0; i < DFD_SEAL_KEY_BYTES; i++) {
        raw[i] = (uint8_t) i;
    }

    unit_int(dfd_seal_key_read(&test_key, raw, sizeof(raw)), DFD_SEAL_OK,
             "32 raw bytes are a key");
    unit_str(test_key.id, "f5f108ec", "its id");
    unit_mem(
        test_key.seal, 32,
        "\x90\x92\xdd\x75\x04\x45\xec\x18\xd1\x25\x53\xb0\xd9\x13\xde\xeb"
        "\x3f\x25\x60\x5f\xc7\x54\xe8\xdd\x7d\x32\x25\x2c\xa5\x3a\x4b\x21",
        32, "the key that seals, by HKDF-SHA256");
    unit_mem(
        test_key.sign, 32,
        "\x4a\x7f\xc5\x0f\x70\x89\xf5\xb6\x43\x7f\x57\xed\x28\x8d\x27\xe8"
        "\xe4\x6e\xc5\x4b\x4e\x92\xf1\x63\xcd\x41\x48\x6b\x6c\x17\xf2\xe2",
        32, "the key that signs");
    unit_mem(
        test_key.print, 32,
        "\xe1\xb2\x9a\x44\x11\x61\xdb\x4e\x35\x07\x0c\x1c\x73\x5d\x28\x52"
        "\xee\x0e\x1d\xed\xad\x6b\x01\x79\x57\x5b\x1d\xa1\x35\xfa\xaf\x4d",
        32, "the key of fingerprints");

    raw[31] ^= 1;
    unit_int(dfd_seal_key_read(&test_other, raw, sizeof(raw)), DFD_SEAL_OK,
             "a key that differs by one bit");
    unit_ok(strcmp(test_other.id, test_key.id) != 0, "has another id");
    unit_int(strlen(test_other.id), DFD_SEAL_KEY_ID, "of the same length");
}


static void
test_key_files(void)
{
    size_t         i;
    dfd_seal_key_t key, zero;

    static const struct {
        const char *content;
        size_t      len;
        int         rc;
        const char *name;
    } files[] = {
        { KEY_BASE64, 44, DFD_SEAL_OK, "base64" },
        { KEY_BASE64 "\n", 45, DFD_SEAL_OK, "base64 with a line end" },
        { KEY_BASE64 "\r\n", 46, DFD_SEAL_OK, "base64 with CR LF" },
        { KEY_BASE64 "\n\n", 46, DFD_SEAL_BROKEN, "two line ends" },
        { KEY_BASE64 "\r", 45, DFD_SEAL_OK, "base64 with a lone CR" },
        { " " KEY_BASE64, 45, DFD_SEAL_BROKEN, "a blank in front" },
        { KEY_BASE64 " ", 45, DFD_SEAL_BROKEN, "a blank behind" },
        { "", 0, DFD_SEAL_BROKEN, "an empty file" },
        { KEY_BASE64, 43, DFD_SEAL_BROKEN, "base64 without its padding" },
        { "\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17"
          "\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37\n",
          33, DFD_SEAL_BROKEN, "raw bytes with a line end" },
        { "\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16\17"
          "\20\21\22\23\24\25\26\27\30\31\32\33\34\35\36\37",
          31, DFD_SEAL_BROKEN, "31 bytes" },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=", 44, DFD_SEAL_BROKEN,
          "base64 with stray bits at its end" },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8_", 44, DFD_SEAL_BROKEN,
          "44 characters that are no base64" },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8A", 44, DFD_SEAL_BROKEN,
          "base64 of 33 bytes" },
        { "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==", 44, DFD_SEAL_BROKEN,
          "base64 of 31 bytes" },
        { "AAECAwQFBgcICQoL\nDA0ODxAREhMUFRYXGBkaGxwdHh8=", 45,
          DFD_SEAL_BROKEN, "a line end inside" },
        { "000102030405060708090a0b0c0d0e0f"
          "101112131415161718191a1b1c1d1e1f\n",
          65, DFD_SEAL_BROKEN, "hexadecimal digits" },
    };

    memset(&zero, 0, sizeof(zero));

    for (i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        memset(&key, 0x55, sizeof(key));
        unit_int(dfd_seal_key_read(&key, files[i].content, files[i].len),
                 files[i].rc, "key file: %s", files[i].name);
        unit_mem(&key, sizeof(key),
                 files[i].rc == DFD_SEAL_OK ? &test_key : &zero, sizeof(key),
                 "key file: %s: %s", files[i].name,
                 files[i].rc == DFD_SEAL_OK ? "the same key" : "wiped");
    }

    dfd_seal_key_wipe(&key);
    unit_mem(&key, sizeof(key), &zero, sizeof(zero), "a wiped key is zero");
}


/* opens text; the result must be rc, and nothing readable unless it is OK */
static void
test_open(const dfd_seal_key_t *key, const char *record, const char *text,
          size_t text_len, int rc, const char *name)
{
    char    key_id[DFD_SEAL_KEY_ID + 1];
    size_t  len, i, left;
    uint8_t plain[DFD_SEAL_MAX_PLAIN];

    memset(plain, 0xaa, sizeof(plain));
    len = 77;

    unit_int(dfd_seal_open(key, record, text, text_len, plain, &len, key_id),
             rc, "%s", name);

    if (rc == DFD_SEAL_OK) {
        unit_mem(plain, len, SECRET, sizeof(SECRET) - 1, "%s: the secret",
                 name);
        unit_str(key_id, "", "%s: no other key", name);
        return;
    }

    left = 0;

    for (i = 0; i < sizeof(plain); i++) {
        left += plain[i] != 0;
    }

    unit_int(left + len, 0, "%s: nothing is left in the buffer", name);
    unit_str(key_id, rc == DFD_SEAL_OTHER_KEY ? "f5f108ec" : "",
             "%s: the key's name", name);
}


static void
test_known_text(void)
{
    char text[DFD_SEAL_MAX_TEXT + 1];

    test_open(&test_key, "config", SEALED, strlen(SEALED), DFD_SEAL_OK,
              "a text that another implementation sealed");
    test_open(&test_other, "config", SEALED, strlen(SEALED),
              DFD_SEAL_OTHER_KEY, "with another key");
    test_open(&test_key, "confih", SEALED, strlen(SEALED), DFD_SEAL_BROKEN,
              "moved to another record");
    test_open(&test_key, "", SEALED, strlen(SEALED), DFD_SEAL_BROKEN,
              "moved to a record without a name");
    test_open(&test_key, "config", "", 0, DFD_SEAL_BROKEN, "an empty text");
    test_open(&test_key, "config", SEALED "=", strlen(SEALED) + 1,
              DFD_SEAL_BROKEN, "with padding");
    test_open(&test_key, "config", SEALED "\n", strlen(SEALED) + 1,
              DFD_SEAL_BROKEN, "with a line end");
    test_open(&test_key, "config", SEALED, strlen(SEALED) + 1, DFD_SEAL_BROKEN,
              "with its zero byte");
    test_open(&test_key, "config", " " SEALED, strlen(SEALED) + 1,
              DFD_SEAL_BROKEN, "with a blank in front");
    test_open(&test_key, "config", "hello", 5, DFD_SEAL_BROKEN,
              "a text that was never sealed");
    test_open(&test_key, "config", "AfXxCOxkZWZnaGlqa2xtbm8ssQLORdklsRVYQqz",
              39, DFD_SEAL_BROKEN, "too short for its tag");

    memset(text, 'A', sizeof(text));
    test_open(&test_key, "config", text, DFD_SEAL_MAX_TEXT, DFD_SEAL_BROKEN,
              "2048 characters");
    test_open(&test_key, "config", text, (size_t) 1 << 31, DFD_SEAL_BROKEN,
              "a length of 2 GB: not even read");
}


/* each bit of a sealed text matters */
static void
test_changed_text(void)
{
    int     wrong, rc, bit;
    char    text[sizeof(SEALED)], key_id[DFD_SEAL_KEY_ID + 1];
    size_t  i, len;
    uint8_t plain[DFD_SEAL_MAX_PLAIN];

    wrong = 0;

    for (i = 0; i < sizeof(SEALED) - 1; i++) {

        for (bit = 0; bit < 8; bit++) {
            memcpy(text, SEALED, sizeof(SEALED));
            text[i] = (char) (text[i] ^ (1 << bit));

            rc = dfd_seal_open(&test_key, "config", text, sizeof(SEALED) - 1,
                               plain, &len, key_id);

            if (rc != DFD_SEAL_BROKEN && rc != DFD_SEAL_OTHER_KEY) {
                unit_note("bit %d of byte %zu: %d", bit, i, rc);
                wrong++;
            }
        }

        rc =
            dfd_seal_open(&test_key, "config", SEALED, i, plain, &len, key_id);
        if (rc != DFD_SEAL_BROKEN && rc != DFD_SEAL_OTHER_KEY) {
            unit_note("cut to %zu: %d", i, rc);
            wrong++;
        }
    }

    unit_int(wrong, 0, "every changed bit and every cut is noticed");
    unit_int(ERR_peek_error(), 0, "OpenSSL's error queue is empty");
}


static void
test_round_trips(void)
{
    int      wrong;
    char     text[DFD_SEAL_MAX_TEXT], again[DFD_SEAL_MAX_TEXT];
    char     key_id[DFD_SEAL_KEY_ID + 1];
    size_t   len, n, i;
    uint8_t  plain[DFD_SEAL_MAX_PLAIN], out[DFD_SEAL_MAX_PLAIN + 1];
    unsigned seed;

    seed = 1;
    wrong = 0;

    for (i = 0; i < sizeof(plain); i++) {
        seed = seed * 1103515245 + 12345;
        plain[i] = (uint8_t) (seed >> 16);
    }

    for (len = 0; len <= sizeof(plain); len++) {
        if (dfd_seal(&test_key, "secret", plain, len, text) != DFD_SEAL_OK
            || strlen(text) != ((len + 33) * 4 + 2) / 3
            || strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvw"
                            "xyz0123456789-_")
                   != strlen(text)
            || dfd_seal_open(&test_key, "secret", text, strlen(text), out, &n,
                             key_id)
                   != DFD_SEAL_OK
            || n != len || memcmp(out, plain, len) != 0)
        {
            unit_note("length %zu", len);
            wrong++;
        }
    }

    unit_int(wrong, 0, "0 to 1024 bytes are opened again");

    unit_int(dfd_seal(&test_key, "secret", out, sizeof(out), text),
             DFD_SEAL_TOO_LARGE, "1025 bytes are too many");

    unit_int(dfd_seal(&test_key, "config", SECRET, 27, text), DFD_SEAL_OK,
             "seal once");
    unit_int(dfd_seal(&test_key, "config", SECRET, 27, again), DFD_SEAL_OK,
             "and again");
    unit_ok(strcmp(text, again) != 0, "the nonce differs");
    test_open(&test_key, "config", text, strlen(text), DFD_SEAL_OK, "first");
    test_open(&test_key, "config", again, strlen(again), DFD_SEAL_OK,
              "second");
}


static void
test_tickets(void)
{
    int    wrong, bit;
    char   ticket[DFD_SEAL_TICKET];
    size_t i;

    unit_int(dfd_seal_ticket(&test_key, "values", 6, EXPIRES, ticket),
             DFD_SEAL_OK, "make a ticket");
    unit_str(ticket, TICKET, "as another implementation makes it");

    unit_int(dfd_seal_ticket_check(&test_key, "values", 6, EXPIRES - 1, TICKET,
                                   strlen(TICKET)),
             1, "valid one second before it expires");
    unit_int(dfd_seal_ticket_check(&test_key, "values", 6, EXPIRES, TICKET,
                                   strlen(TICKET)),
             0, "not when it expires");
    unit_int(dfd_seal_ticket_check(&test_key, "value", 5, 0, TICKET,
                                   strlen(TICKET)),
             0, "not for other values");
    unit_int(dfd_seal_ticket_check(&test_key, "values\0", 7, 0, TICKET,
                                   strlen(TICKET)),
             0, "not for a longer value");
    unit_int(dfd_seal_ticket_check(&test_other, "values", 6, 0, TICKET,
                                   strlen(TICKET)),
             0, "not with another key");
    unit_int(dfd_seal_ticket_check(&test_key, "values", 6, 0, "", 0), 0,
             "an empty ticket");
    unit_int(dfd_seal_ticket_check(&test_key, "values", 6, 0, SEALED,
                                   strlen(SEALED)),
             0, "a sealed text is no ticket");

    wrong = 0;

    for (i = 0; i < strlen(TICKET); i++) {

        for (bit = 0; bit < 8; bit++) {
            memcpy(ticket, TICKET, sizeof(TICKET));
            ticket[i] = (char) (ticket[i] ^ (1 << bit));
            wrong += dfd_seal_ticket_check(&test_key, "values", 6, 0, ticket,
                                           strlen(TICKET));
        }

        wrong += dfd_seal_ticket_check(&test_key, "values", 6, 0, TICKET, i);
    }

    unit_int(wrong, 0, "every changed bit and every cut is noticed");

    unit_int(dfd_seal_ticket(&test_key, "", 0, INT64_MIN, ticket), DFD_SEAL_OK,
             "a ticket of long ago, for nothing");
    unit_int(
        dfd_seal_ticket_check(&test_key, "", 0, 0, ticket, strlen(ticket)), 0,
        "has expired");
}


static void
test_fingerprints(void)
{
    char print[DFD_SEAL_PRINT], other[DFD_SEAL_PRINT];

    unit_int(dfd_seal_fingerprint(&test_key, "s3cret", 6, print), DFD_SEAL_OK,
             "make a fingerprint");
    unit_str(print, "2488f843353e0903", "as another implementation makes it");

    unit_int(dfd_seal_fingerprint(&test_other, "s3cret", 6, other),
             DFD_SEAL_OK, "with another key");
    unit_ok(strcmp(print, other) != 0, "it differs");

    unit_int(dfd_seal_fingerprint(&test_key, "s3creT", 6, other), DFD_SEAL_OK,
             "of another secret");
    unit_ok(strcmp(print, other) != 0, "it differs too");
}


int
main(void)
{
    test_make_keys();
    test_key_files();
    test_known_text();
    test_changed_text();
    test_round_trips();
    test_tickets();
    test_fingerprints();
    unit_int(ERR_peek_error(), 0, "OpenSSL's error queue is empty at the end");

    return unit_done();
}
