#include "core/seal.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>


#define DFD_SEAL_VERSION 1
#define DFD_SEAL_NONCE   12 /* NIST SP 800-38D 5.2.1.1 */
#define DFD_SEAL_TAG     16
#define DFD_SEAL_ID      4 /* the key id's bytes */
#define DFD_SEAL_HEAD    (1 + DFD_SEAL_ID)
#define DFD_SEAL_MAC     32
#define DFD_SEAL_EXPIRY  8

/* version, key id, nonce, ciphertext, tag */
#define DFD_SEAL_MAX_BYTES                                                    \
    (DFD_SEAL_HEAD + DFD_SEAL_NONCE + DFD_SEAL_MAX_PLAIN + DFD_SEAL_TAG)

/* version, expiry, HMAC */
#define DFD_SEAL_TICKET_HEAD  (1 + DFD_SEAL_EXPIRY)
#define DFD_SEAL_TICKET_BYTES (DFD_SEAL_TICKET_HEAD + DFD_SEAL_MAC)

#define DFD_SEAL_KEY_TEXT 44 /* base64 of a key */

/* base64 of n bytes with its padding and zero */
#define DFD_SEAL_BASE64(n) (((n) + 2) / 3 * 4 + 1)


/* OpenSSL's queue is nginx's too: what is left there, its TLS would report */
static int
dfd_seal_failed(int code)
{
    ERR_clear_error();

    return code;
}


/* base64url (RFC 4648 5) without padding, and a zero */
static void
dfd_seal_encode(char *text, const uint8_t *bytes, size_t len)
{
    int   n;
    char *p;

    n = EVP_EncodeBlock((unsigned char *) text, bytes, (int) len);

    while (n > 0 && text[n - 1] == '=') {
        n--;
    }

    text[n] = '\0';

    for (p = text; *p != '\0'; p++) {
        if (*p == '+') {
            *p = '-';

        } else if (*p == '/') {
            *p = '_';
        }
    }
}


/*
 * Decodes base64url without padding into at most max bytes.  Strict: of the
 * many texts that a lenient reader takes for the same bytes exactly one is
 * accepted, the one that dfd_seal_encode writes.  Returns 0 or -1.
 */
static int
dfd_seal_decode(uint8_t *bytes, size_t *len, size_t max, const char *text,
                size_t text_len)
{
    int     n;
    char    again[DFD_SEAL_BASE64(DFD_SEAL_MAX_BYTES)];
    char    padded[DFD_SEAL_BASE64(DFD_SEAL_MAX_BYTES)];
    uint8_t block[DFD_SEAL_BASE64(DFD_SEAL_MAX_BYTES)];
    size_t  i, padding;

    if (text_len == 0 || text_len % 4 == 1
        || text_len > DFD_SEAL_BASE64(max) - 1) {
        return -1;
    }

    for (i = 0; i < text_len; i++) {
        if (text[i] == '-') {
            padded[i] = '+';

        } else if (text[i] == '_') {
            padded[i] = '/';

        } else {
            padded[i] = text[i];
        }
    }

    padding = (4 - text_len % 4) % 4;
    memset(padded + text_len, '=', padding);

    n = EVP_DecodeBlock(block, (unsigned char *) padded,
                        (int) (text_len + padding));
    if (n != (int) ((text_len + padding) / 4 * 3)) {
        return dfd_seal_failed(-1);
    }

    *len = (size_t) n - padding;
    if (*len > max) {
        return -1;
    }

    memcpy(bytes, block, *len);
    dfd_seal_encode(again, bytes, *len);

    return strlen(again) == text_len && memcmp(again, text, text_len) == 0
             ? 0
             : -1;
}


static void
dfd_seal_hex(char *text, const uint8_t *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    }
}


/*
 * HKDF-SHA256 without salt, which the key, being uniformly random, does not
 * need (RFC 5869 3.1); label keeps the derived keys apart.
 */
static int
dfd_seal_derive(const uint8_t *secret, const char *label, uint8_t *out,
                size_t len)
{
    int          rc;
    EVP_KDF     *kdf;
    OSSL_PARAM   params[4], *p;
    EVP_KDF_CTX *ctx;

    kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    ctx = EVP_KDF_CTX_new(kdf);
    EVP_KDF_free(kdf);

    if (ctx == NULL) {
        return dfd_seal_failed(DFD_SEAL_FAILED);
    }

    p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST,
                                            (char *) "SHA256", 0);
    *p++ = OSSL_PARAM_construct_octet_string(
        OSSL_KDF_PARAM_KEY, (void *) secret, DFD_SEAL_KEY_BYTES);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO,
                                             (void *) label, strlen(label));
    *p = OSSL_PARAM_construct_end();

    rc = EVP_KDF_derive(ctx, out, len, params);
    EVP_KDF_CTX_free(ctx);

    return rc == 1 ? DFD_SEAL_OK : dfd_seal_failed(DFD_SEAL_FAILED);
}


/* a key file's content -> its 32 bytes */
static int
dfd_seal_key_bytes(uint8_t bytes[DFD_SEAL_KEY_BYTES], const char *content,
                   size_t len)
{
    char    again[DFD_SEAL_KEY_TEXT + 1];
    uint8_t block[DFD_SEAL_KEY_TEXT];
    int     rc;

    if (len == DFD_SEAL_KEY_BYTES) {
        memcpy(bytes, content, DFD_SEAL_KEY_BYTES);
        return DFD_SEAL_OK;
    }

    if (len > DFD_SEAL_KEY_TEXT && content[len - 1] == '\n') {
        len--;
    }

    if (len > DFD_SEAL_KEY_TEXT && content[len - 1] == '\r') {
        len--;
    }

    if (len != DFD_SEAL_KEY_TEXT
        || EVP_DecodeBlock(block, (const unsigned char *) content,
                           DFD_SEAL_KEY_TEXT)
               != (int) (DFD_SEAL_KEY_BYTES + 1))
    {
        return dfd_seal_failed(DFD_SEAL_BROKEN);
    }

    /* EVP_DecodeBlock passes over white space and odd padding */
    EVP_EncodeBlock((unsigned char *) again, block, DFD_SEAL_KEY_BYTES);
    rc = CRYPTO_memcmp(again, content, DFD_SEAL_KEY_TEXT) == 0
           ? DFD_SEAL_OK
           : DFD_SEAL_BROKEN;

    memcpy(bytes, block, DFD_SEAL_KEY_BYTES);
    OPENSSL_cleanse(block, sizeof(block));
    OPENSSL_cleanse(again, sizeof(again));

    return rc;
}


int
dfd_seal_key_read(dfd_seal_key_t *key, const void *content, size_t len)
{
    int     rc;
    uint8_t secret[DFD_SEAL_KEY_BYTES], id[DFD_SEAL_ID];

    rc = dfd_seal_key_bytes(secret, content, len);

    if (rc == DFD_SEAL_OK
        && (dfd_seal_derive(secret, "defender seal", key->seal,
                            sizeof(key->seal))
                != DFD_SEAL_OK
            || dfd_seal_derive(secret, "defender ticket", key->sign,
                               sizeof(key->sign))
                   != DFD_SEAL_OK
            || dfd_seal_derive(secret, "defender fingerprint", key->print,
                               sizeof(key->print))
                   != DFD_SEAL_OK
            || dfd_seal_derive(secret, "defender key id", id, sizeof(id))
                   != DFD_SEAL_OK))
    {
        rc = DFD_SEAL_FAILED;
    }

    OPENSSL_cleanse(secret, sizeof(secret));

    if (rc != DFD_SEAL_OK) {
        dfd_seal_key_wipe(key);
        return rc;
    }

    dfd_seal_hex(key->id, id, sizeof(id));

    return DFD_SEAL_OK;
}


void
dfd_seal_key_wipe(dfd_seal_key_t *key)
{
    OPENSSL_cleanse(key, sizeof(*key));
}


/* the key id's bytes; id is ours or was made by dfd_seal_hex */
static void
dfd_seal_key_id(uint8_t bytes[DFD_SEAL_ID], const char *id)
{
    size_t i;

    for (i = 0; i < DFD_SEAL_ID; i++) {
        bytes[i] =
            (uint8_t) (OPENSSL_hexchar2int((unsigned char) id[2 * i]) << 4
                       | OPENSSL_hexchar2int((unsigned char) id[2 * i + 1]));
    }
}


/*
 * head: version and key id, which are authenticated together with the
 * record's name.  Returns what EVP returns: 1 for success.
 */
static int
dfd_seal_encrypt(EVP_CIPHER_CTX *ctx, const dfd_seal_key_t *key,
                 const char *record, uint8_t *head, const void *plain,
                 size_t len)
{
    int      n;
    uint8_t *nonce, *cipher;

    nonce = head + DFD_SEAL_HEAD;
    cipher = nonce + DFD_SEAL_NONCE;

    return RAND_bytes(nonce, DFD_SEAL_NONCE) == 1
        && EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->seal, nonce)
               == 1
        && EVP_EncryptUpdate(ctx, NULL, &n, head, DFD_SEAL_HEAD) == 1
        && EVP_EncryptUpdate(ctx, NULL, &n, (const uint8_t *) record,
                             (int) strlen(record))
               == 1
        && EVP_EncryptUpdate(ctx, cipher, &n, plain, (int) len) == 1
        && EVP_EncryptFinal_ex(ctx, cipher + len, &n) == 1
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, DFD_SEAL_TAG,
                               cipher + len)
               == 1;
}


int
dfd_seal(const dfd_seal_key_t *key, const char *record, const void *plain,
         size_t len, char text[DFD_SEAL_MAX_TEXT])
{
    int             rc;
    uint8_t         bytes[DFD_SEAL_MAX_BYTES];
    EVP_CIPHER_CTX *ctx;

    if (len > DFD_SEAL_MAX_PLAIN) {
        return DFD_SEAL_TOO_LARGE;
    }

    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        return dfd_seal_failed(DFD_SEAL_FAILED);
    }

    bytes[0] = DFD_SEAL_VERSION;
    dfd_seal_key_id(bytes + 1, key->id);

    rc = dfd_seal_encrypt(ctx, key, record, bytes, plain, len);
    EVP_CIPHER_CTX_free(ctx);

    if (rc != 1) {
        return dfd_seal_failed(DFD_SEAL_FAILED);
    }

    dfd_seal_encode(text, bytes,
                    DFD_SEAL_HEAD + DFD_SEAL_NONCE + len + DFD_SEAL_TAG);

    return DFD_SEAL_OK;
}


static int
dfd_seal_decrypt(EVP_CIPHER_CTX *ctx, const dfd_seal_key_t *key,
                 const char *record, uint8_t *head, uint8_t *plain, size_t len)
{
    int      n;
    uint8_t *nonce, *cipher;

    nonce = head + DFD_SEAL_HEAD;
    cipher = nonce + DFD_SEAL_NONCE;

    return EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key->seal, nonce)
            == 1
        && EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, DFD_SEAL_TAG,
                               cipher + len)
               == 1
        && EVP_DecryptUpdate(ctx, NULL, &n, head, DFD_SEAL_HEAD) == 1
        && EVP_DecryptUpdate(ctx, NULL, &n, (const uint8_t *) record,
                             (int) strlen(record))
               == 1
        && EVP_DecryptUpdate(ctx, plain, &n, cipher, (int) len) == 1
        && EVP_DecryptFinal_ex(ctx, plain + len, &n) == 1;
}


int
dfd_seal_open(const dfd_seal_key_t *key, const char *record, const char *text,
              size_t text_len, void *plain, size_t *len,
              char key_id[DFD_SEAL_KEY_ID + 1])
{
    int             rc;
    size_t          n;
    uint8_t         bytes[DFD_SEAL_MAX_BYTES];
    EVP_CIPHER_CTX *ctx;

    *len = 0;
    key_id[0] = '\0';
    OPENSSL_cleanse(plain, DFD_SEAL_MAX_PLAIN);

    if (dfd_seal_decode(bytes, &n, sizeof(bytes), text, text_len) != 0
        || n < DFD_SEAL_HEAD + DFD_SEAL_NONCE + DFD_SEAL_TAG
        || bytes[0] != DFD_SEAL_VERSION)
    {
        return DFD_SEAL_BROKEN;
    }

    dfd_seal_hex(key_id, bytes + 1, DFD_SEAL_ID);

    if (strcmp(key_id, key->id) != 0) {
        return DFD_SEAL_OTHER_KEY;
    }

    key_id[0] = '\0';

    ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL) {
        return dfd_seal_failed(DFD_SEAL_FAILED);
    }

    n -= DFD_SEAL_HEAD + DFD_SEAL_NONCE + DFD_SEAL_TAG;
    rc = dfd_seal_decrypt(ctx, key, record, bytes, plain, n);
    EVP_CIPHER_CTX_free(ctx);

    if (rc != 1) {
        OPENSSL_cleanse(plain, DFD_SEAL_MAX_PLAIN);
        return dfd_seal_failed(DFD_SEAL_BROKEN);
    }

    *len = n;

    return DFD_SEAL_OK;
}


/* HMAC-SHA256 of head and bytes, neither of which is copied */
static int
dfd_seal_mac(const uint8_t *key, const void *head, size_t head_len,
             const void *bytes, size_t len, uint8_t out[DFD_SEAL_MAC])
{
    int          rc;
    size_t       n;
    EVP_MAC     *mac;
    OSSL_PARAM   params[2];
    EVP_MAC_CTX *ctx;

    mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    ctx = EVP_MAC_CTX_new(mac);
    EVP_MAC_free(mac);

    if (ctx == NULL) {
        return dfd_seal_failed(DFD_SEAL_FAILED);
    }

    params[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
                                                 (char *) "SHA256", 0);
    params[1] = OSSL_PARAM_construct_end();

    rc = EVP_MAC_init(ctx, key, DFD_SEAL_MAC, params) == 1
      && EVP_MAC_update(ctx, head, head_len) == 1
      && EVP_MAC_update(ctx, bytes, len) == 1
      && EVP_MAC_final(ctx, out, &n, DFD_SEAL_MAC) == 1 && n == DFD_SEAL_MAC;
    EVP_MAC_CTX_free(ctx);

    return rc ? DFD_SEAL_OK : dfd_seal_failed(DFD_SEAL_FAILED);
}


int
dfd_seal_ticket(const dfd_seal_key_t *key, const void *values, size_t len,
                int64_t expires, char ticket[DFD_SEAL_TICKET])
{
    size_t  i;
    uint8_t bytes[DFD_SEAL_TICKET_BYTES];

    bytes[0] = DFD_SEAL_VERSION;

    for (i = 0; i < DFD_SEAL_EXPIRY; i++) {
        bytes[1 + i] =
            (uint8_t) ((uint64_t) expires >> (8 * (DFD_SEAL_EXPIRY - 1 - i)));
    }

    if (dfd_seal_mac(key->sign, bytes, DFD_SEAL_TICKET_HEAD, values, len,
                     bytes + DFD_SEAL_TICKET_HEAD)
        != DFD_SEAL_OK)
    {
        return DFD_SEAL_FAILED;
    }

    dfd_seal_encode(ticket, bytes, sizeof(bytes));

    return DFD_SEAL_OK;
}


int
dfd_seal_ticket_check(const dfd_seal_key_t *key, const void *values,
                      size_t len, int64_t now, const char *ticket,
                      size_t ticket_len)
{
    size_t   n, i;
    uint8_t  bytes[DFD_SEAL_TICKET_BYTES], mac[DFD_SEAL_MAC];
    uint64_t expires;

    if (dfd_seal_decode(bytes, &n, sizeof(bytes), ticket, ticket_len) != 0
        || n != sizeof(bytes) || bytes[0] != DFD_SEAL_VERSION)
    {
        return 0;
    }

    if (dfd_seal_mac(key->sign, bytes, DFD_SEAL_TICKET_HEAD, values, len, mac)
            != DFD_SEAL_OK
        || CRYPTO_memcmp(mac, bytes + DFD_SEAL_TICKET_HEAD, DFD_SEAL_MAC) != 0)
    {
        return 0;
    }

    expires = 0;

    for (i = 0; i < DFD_SEAL_EXPIRY; i++) {
        expires = expires << 8 | bytes[1 + i];
    }

    return now < (int64_t) expires;
}


int
dfd_seal_fingerprint(const dfd_seal_key_t *key, const void *bytes, size_t len,
                     char print[DFD_SEAL_PRINT])
{
    uint8_t mac[DFD_SEAL_MAC];

    if (dfd_seal_mac(key->print, "", 0, bytes, len, mac) != DFD_SEAL_OK) {
        print[0] = '\0';
        return DFD_SEAL_FAILED;
    }

    dfd_seal_hex(print, mac, (DFD_SEAL_PRINT - 1) / 2);

    return DFD_SEAL_OK;
}
