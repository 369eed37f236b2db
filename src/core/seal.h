#ifndef DFD_CORE_SEAL_H
#define DFD_CORE_SEAL_H

#include <stddef.h>
#include <stdint.h>


/*
 * One 32-byte key file gives, by HKDF-SHA256 (RFC 5869), three keys: one that
 * seals the App Secret (AES-256-GCM), one that signs verify tickets
 * (HMAC-SHA256), one for fingerprints.  All texts are base64url without
 * padding, so that they can stand in JSON and in Redis.
 */

#define DFD_SEAL_KEY_BYTES 32
#define DFD_SEAL_KEY_ID    8 /* hex digits that name the key */
#define DFD_SEAL_MAX_PLAIN 1024
#define DFD_SEAL_MAX_TEXT  2048
#define DFD_SEAL_TICKET    512 /* room for a ticket */
#define DFD_SEAL_PRINT     17  /* a fingerprint and its zero */


typedef struct {
    uint8_t seal[32];
    uint8_t sign[32];
    uint8_t print[32];
    char    id[DFD_SEAL_KEY_ID + 1];
} dfd_seal_key_t;


enum {
    DFD_SEAL_OK = 0,
    DFD_SEAL_OTHER_KEY, /* sealed with a key of another id */
    DFD_SEAL_BROKEN,    /* not a sealed text, or changed */
    DFD_SEAL_TOO_LARGE,
    DFD_SEAL_FAILED /* OpenSSL failed, out of memory included */
};


/*
 * Makes the key from a key file's content: 32 raw bytes, or their base64
 * (44 characters, a line end allowed).  Returns DFD_SEAL_OK, or
 * DFD_SEAL_BROKEN when the content is neither.
 */
int dfd_seal_key_read(dfd_seal_key_t *key, const void *content, size_t len);


void dfd_seal_key_wipe(dfd_seal_key_t *key);


/*
 * Seals plain for the record of that name (so that a sealed text cannot be
 * moved to another record).  text gets version, key id, nonce, ciphertext and
 * tag, and a zero.  Returns DFD_SEAL_*.
 */
int dfd_seal(const dfd_seal_key_t *key, const char *record, const void *plain,
             size_t len, char text[DFD_SEAL_MAX_TEXT]);


/*
 * Opens a sealed text.  plain has room for DFD_SEAL_MAX_PLAIN bytes and is
 * wiped on failure; the caller wipes it after use.  key_id (room for
 * DFD_SEAL_KEY_ID + 1) tells which key sealed it when that differs.
 */
int dfd_seal_open(const dfd_seal_key_t *key, const char *record,
                  const char *text, size_t text_len, void *plain, size_t *len,
                  char key_id[DFD_SEAL_KEY_ID + 1]);


/*
 * A ticket for exactly these values (any bytes) until `expires` (Unix
 * seconds): expiry and HMAC, the values themselves are not in it.
 */
int dfd_seal_ticket(const dfd_seal_key_t *key, const void *values, size_t len,
                    int64_t expires, char ticket[DFD_SEAL_TICKET]);


/* Returns 1 when the ticket is ours, for these values, and not expired. */
int dfd_seal_ticket_check(const dfd_seal_key_t *key, const void *values,
                          size_t len, int64_t now, const char *ticket,
                          size_t ticket_len);


/*
 * A keyed fingerprint (16 hex digits) to compare secrets without revealing
 * them: without the key file it cannot be tried against guesses.
 */
int dfd_seal_fingerprint(const dfd_seal_key_t *key, const void *bytes,
                         size_t len, char print[DFD_SEAL_PRINT]);


#endif /* DFD_CORE_SEAL_H */
