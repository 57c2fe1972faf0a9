/* SPDX-License-Identifier: ISC */
/*
 * audit_key.c - hashes, seals and signatures of the audit trail, and hexadecimal.
 *
 * The key goes one way: from each follows the next, from none the one before. All of it is OpenSSL's EVP, so that a
 * FIPS provider, where one is configured, does the work.
 */
#include "audit.h"

#include <openssl/crypto.h>
#include <openssl/hmac.h>
#include <string.h>

#define NEXT_LABEL "pglend-audit-1 next epoch"

/* Looking it up anew costs more than what it does to a line. */
static const EVP_MD *sha256(void)
{
    static EVP_MD *fetched;

    if (fetched == NULL)
        fetched = EVP_MD_fetch(NULL, "SHA256", NULL);
    return fetched;
}

bool audit_mac(const struct audit_key *key, const void *data, size_t length, unsigned char out[AUDIT_HASH])
{
    unsigned size = 0;

    return HMAC(sha256(), key->bytes, sizeof key->bytes, data, length, out, &size) != NULL && size == AUDIT_HASH;
}

bool audit_hash(const void *data, size_t length, unsigned char out[AUDIT_HASH])
{
    unsigned size = 0;

    return EVP_Digest(data, length, out, &size, sha256(), NULL) == 1 && size == AUDIT_HASH;
}

bool audit_key_advance(struct audit_key *key)
{
    struct audit_key next = {.epoch = key->epoch + 1};
    bool made = audit_mac(key, NEXT_LABEL, sizeof NEXT_LABEL - 1, next.bytes);

    if (made)
        *key = next;
    OPENSSL_cleanse(&next, sizeof next);
    return made;
}

/* Ed25519 hashes by itself; ECDSA is told what with. */
static const EVP_MD *digest_for(EVP_PKEY *key)
{
    return EVP_PKEY_is_a(key, "ED25519") ? NULL : sha256();
}

size_t audit_sign(EVP_PKEY *key, const void *data, size_t length, unsigned char out[AUDIT_SIGNATURE_MAX])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = AUDIT_SIGNATURE_MAX;

    if (context == NULL || EVP_DigestSignInit(context, NULL, digest_for(key), NULL, key) != 1 ||
        EVP_DigestSign(context, out, &size, data, length) != 1)
        size = 0;
    EVP_MD_CTX_free(context);
    return size;
}

bool audit_signature_fits(EVP_PKEY *key, const void *data, size_t length, const unsigned char *signature, size_t size)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool fits = context != NULL && EVP_DigestVerifyInit(context, NULL, digest_for(key), NULL, key) == 1 &&
                EVP_DigestVerify(context, signature, size, data, length) == 1;

    EVP_MD_CTX_free(context);
    return fits;
}

void audit_to_hex(const void *data, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;

    for (size_t i = 0; i < length; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

/* -1: none. Capitals are none: a hash has one spelling. */
static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool audit_from_hex(const char *hex, size_t digits, unsigned char *out)
{
    if (digits % 2 != 0)
        return false;
    for (size_t i = 0; i < digits; i += 2) {
        int high = digit_value(hex[i]), low = digit_value(hex[i + 1]);

        if (high < 0 || low < 0)
            return false;
        *out++ = (unsigned char)(high << 4 | low);
    }
    return true;
}
