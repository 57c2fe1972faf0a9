/* SPDX-License-Identifier: ISC */
/*
 * audit_store.c - the key files of an audit trail.
 *
 * The hard thing: a key that was used must be gone, and a crash between two keys must not lose both. seal.key has two
 * places of one sector. The new key is written over the older place and is on disk before the place of the key it
 * follows is overwritten with blanks; whoever reads takes the place with the higher epoch that is whole.
 */
#include "audit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FORMAT   "pglend audit verification key 1"
#define KEY_TEXT_MAX 8192
#define PLACES       2

/* ---- the present key ---- */

/* One sector: what it says, SHA-256 of that, blanks. */
static bool place_make(char out[AUDIT_SECTOR], const struct audit_seal *seal)
{
    char head[AUDIT_HEX + 1], key[AUDIT_HEX + 1], check[AUDIT_HEX + 1];
    unsigned char hash[AUDIT_HASH];
    int length;

    audit_to_hex(seal->chain.prev, AUDIT_HASH, head);
    audit_to_hex(seal->chain.key.bytes, AUDIT_HASH, key);
    memset(out, ' ', AUDIT_SECTOR);
    length = snprintf(out, AUDIT_SECTOR, "pglend-seal-1 %s %" PRIu32 " %" PRIu64 " %" PRIu64 " %s %s ", seal->chain.log,
                      seal->file, seal->chain.key.epoch, seal->chain.seq, head, key);
    OPENSSL_cleanse(key, sizeof key);
    if (!audit_hash(out, (size_t)length, hash))
        return false;
    audit_to_hex(hash, AUDIT_HASH, check);
    memcpy(out + length, check, AUDIT_HEX);
    out[AUDIT_SECTOR - 1] = '\n';
    return true;
}

static bool place_parse(const char text[AUDIT_SECTOR + 1], struct audit_seal *seal)
{
    char head[AUDIT_HEX + 1], key[AUDIT_HEX + 1], check[AUDIT_HEX + 1], expected[AUDIT_HEX + 1] = "";
    unsigned char hash[AUDIT_HASH];
    int length = 0;
    bool good;

    *seal = (struct audit_seal){0};
    /* NOLINTNEXTLINE(cert-err34-c): the hash vouches for the numbers too */
    good = sscanf(text, "pglend-seal-1 %32s %" SCNu32 " %" SCNu64 " %" SCNu64 " %64s %64s %n%64s", seal->chain.log,
                  &seal->file, &seal->chain.key.epoch, &seal->chain.seq, head, key, &length, check) == 7 &&
           audit_hash(text, (size_t)length, hash);
    if (good)
        audit_to_hex(hash, AUDIT_HASH, expected);
    good = good && strcmp(check, expected) == 0 && audit_from_hex(head, strlen(head), seal->chain.prev) &&
           audit_from_hex(key, strlen(key), seal->chain.key.bytes) && strlen(key) == AUDIT_HEX;
    OPENSSL_cleanse(key, sizeof key);
    seal->chain.durable = seal->chain.seq;
    return good;
}

int audit_seal_open(int directory, struct audit_seal *seal, char *error, size_t size)
{
    int fd = openat(directory, AUDIT_SEAL_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    char text[AUDIT_SECTOR + 1] = "";
    struct audit_seal place;
    struct stat st;
    bool found = false;

    if (fd == -1 || fstat(fd, &st) == -1) {
        (void)snprintf(error, size, "cannot open " AUDIT_SEAL_NAME ": %s: set the trail up with pglend audit init",
                       strerror(errno));
        goto failed;
    }
    if (!S_ISREG(st.st_mode) || (st.st_mode & 077) != 0 || st.st_uid != geteuid()) {
        (void)snprintf(error, size,
                       AUDIT_SEAL_NAME " (mode %04o, uid %u) must be a regular file of uid %u that nobody else may "
                                       "read: run chown and chmod 0600, and think about who read it",
                       (unsigned)st.st_mode & 07777, (unsigned)st.st_uid, (unsigned)geteuid());
        goto failed;
    }
    for (int i = 0; i < PLACES; i++)
        if (pread(fd, text, AUDIT_SECTOR, (off_t)i * AUDIT_SECTOR) == AUDIT_SECTOR && place_parse(text, &place) &&
            (!found || place.chain.key.epoch > seal->chain.key.epoch)) {
            *seal = place;
            found = true;
        }
    OPENSSL_cleanse(text, sizeof text);
    OPENSSL_cleanse(&place, sizeof place);
    if (found)
        return fd;
    (void)snprintf(error, size,
                   AUDIT_SEAL_NAME " holds no key: it was damaged; set up a new trail with pglend audit "
                                   "init, and keep this one as evidence");
failed:
    if (fd != -1)
        (void)close(fd);
    return -1;
}

int audit_seal_write(int fd, const struct audit_seal *seal)
{
    off_t place = (off_t)(seal->chain.key.epoch % PLACES) * AUDIT_SECTOR;
    off_t other = (off_t)((seal->chain.key.epoch + 1) % PLACES) * AUDIT_SECTOR;
    char text[AUDIT_SECTOR], blank[AUDIT_SECTOR];
    bool written;

    memset(blank, ' ', sizeof blank);
    written = place_make(text, seal) && pwrite(fd, text, sizeof text, place) == sizeof text && fdatasync(fd) == 0 &&
              pwrite(fd, blank, sizeof blank, other) == sizeof blank && fdatasync(fd) == 0;
    OPENSSL_cleanse(text, sizeof text);
    return written ? 0 : -1;
}

/* ---- the verification key ---- */

static EVP_PKEY *public_from_pem(const char *pem)
{
    BIO *bio = pem == NULL ? NULL : BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);

    BIO_free(bio);
    return key;
}

bool audit_verification_key_parse(const char *text, size_t length, struct audit_verification_key *key, char *error,
                                  size_t size)
{
    json_t *json = json_loadb(text, length, 0, NULL);
    const char *format = NULL, *log = NULL, *hex = NULL, *pem = NULL;
    bool good;

    *key = (struct audit_verification_key){0};
    good = json_unpack(json, "{s:s, s:s, s:s, s:s}", "format", &format, "log", &log, "key", &hex, "public_key", &pem) ==
               0 &&
           strcmp(format, KEY_FORMAT) == 0 && strlen(log) == AUDIT_LOG_HEX && strlen(hex) == AUDIT_HEX &&
           audit_from_hex(hex, AUDIT_HEX, key->key.bytes);
    if (good) {
        memcpy(key->log, log, AUDIT_LOG_HEX + 1);
        key->public_key = public_from_pem(pem);
        good = key->public_key != NULL;
    }
    json_decref(json);
    if (!good)
        (void)snprintf(error, size, "this is not a verification key, as pglend audit init gives");
    return good;
}

bool audit_verification_key_load(const char *path, struct audit_verification_key *key, char *error, size_t size)
{
    char text[KEY_TEXT_MAX], why[256];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t length = fd == -1 ? -1 : read(fd, text, sizeof text);
    bool good;

    if (length == -1) {
        (void)snprintf(error, size, "cannot read the verification key %s: %s", path, strerror(errno));
        if (fd != -1)
            (void)close(fd);
        return false;
    }
    (void)close(fd);
    good = audit_verification_key_parse(text, (size_t)length, key, why, sizeof why);
    OPENSSL_cleanse(text, sizeof text);
    if (!good)
        (void)snprintf(error, size, "%s: %s", path, why);
    return good;
}

void audit_verification_key_clear(struct audit_verification_key *key)
{
    EVP_PKEY_free(key->public_key);
    OPENSSL_cleanse(key, sizeof *key);
}

/* ---- setting up ---- */

static int write_whole(int directory, const char *name, const char *text, size_t length)
{
    int fd = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600), problem;

    if (fd == -1)
        return -1;
    if (write(fd, text, length) == (ssize_t)length && fsync(fd) == 0)
        return close(fd);
    problem = errno;
    (void)close(fd);
    (void)unlinkat(directory, name, 0);
    errno = problem;
    return -1;
}

static char *pem_of(EVP_PKEY *key, bool private)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *data = NULL, *text = NULL;
    long length;

    if (bio == NULL)
        return NULL;
    if ((private ? PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)
                 : PEM_write_bio_PUBKEY(bio, key)) == 1 &&
        (length = BIO_get_mem_data(bio, &data)) > 0)
        text = strndup(data, (size_t)length);
    BIO_free(bio);
    return text;
}

static int write_signer(int directory, EVP_PKEY *key)
{
    char *pem = pem_of(key, true);
    int status = -1;

    if (pem == NULL) {
        errno = ENOMEM;
        return -1;
    }
    status = write_whole(directory, AUDIT_SIGNER_NAME, pem, strlen(pem));
    OPENSSL_cleanse(pem, strlen(pem));
    free(pem);
    return status;
}

static int write_seal(int directory, const struct audit_seal *seal)
{
    char text[PLACES * AUDIT_SECTOR];
    int status;

    memset(text, ' ', sizeof text);
    if (!place_make(text, seal)) {
        errno = EIO;
        return -1;
    }
    status = write_whole(directory, AUDIT_SEAL_NAME, text, sizeof text);
    OPENSSL_cleanse(text, sizeof text);
    return status;
}

static char *verification_key_text(const struct audit_seal *seal, EVP_PKEY *signer)
{
    char hex[AUDIT_HEX + 1], *pem = pem_of(signer, false), *text = NULL;
    json_t *json;

    audit_to_hex(seal->chain.key.bytes, AUDIT_HASH, hex);
    json =
        json_pack("{s:s, s:s, s:s, s:s}", "format", KEY_FORMAT, "log", seal->chain.log, "key", hex, "public_key", pem);
    if (json != NULL)
        text = json_dumps(json, JSON_INDENT(2));
    json_decref(json);
    free(pem);
    OPENSSL_cleanse(hex, sizeof hex);
    return text;
}

/* A directory of ours that nobody else may look into. Made if it is not there. */
static int directory_open(const char *path, char *error, size_t size)
{
    struct stat st;
    int fd;

    if (mkdir(path, 0700) == -1 && errno != EEXIST) {
        (void)snprintf(error, size, "cannot make directory %s: %s%s", path, strerror(errno),
                       errno == ENOENT ? ": make those above it first" : "");
        return -1;
    }
    fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1) {
        (void)snprintf(error, size, "cannot open directory %s: %s", path, strerror(errno));
    } else if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        (void)snprintf(
            error, size,
            "directory %s (mode %04o, uid %u) must be of uid %u and closed to others: run chmod 0700, or run "
            "this as the audit process's user",
            path, (unsigned)st.st_mode & 07777, (unsigned)st.st_uid, (unsigned)geteuid());
    } else {
        return fd;
    }
    if (fd != -1)
        (void)close(fd);
    return -1;
}

bool audit_store_create(const char *directory, bool fips, char **key_text, char *error, size_t size)
{
    struct audit_seal seal = {.file = 0};
    unsigned char id[AUDIT_LOG_HEX / 2];
    EVP_PKEY *signer = NULL;
    int fd = directory_open(directory, error, size);
    bool made = false;

    *key_text = NULL;
    if (fd == -1)
        return false;
    if (faccessat(fd, AUDIT_SEAL_NAME, F_OK, 0) == 0) {
        (void)snprintf(error, size, "%s has a trail already (" AUDIT_SEAL_NAME "): name another directory", directory);
        goto done;
    }
    signer = fips ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (signer == NULL || RAND_bytes(id, sizeof id) != 1 ||
        RAND_priv_bytes(seal.chain.key.bytes, sizeof seal.chain.key.bytes) != 1) {
        (void)snprintf(error, size, "OpenSSL cannot make keys%s", fips ? "" : "; where it is in FIPS mode, use --fips");
        goto done;
    }
    audit_to_hex(id, sizeof id, seal.chain.log);
    *key_text = verification_key_text(&seal, signer);
    if (*key_text == NULL)
        (void)snprintf(error, size, "out of memory");
    else if (write_signer(fd, signer) == -1 || write_seal(fd, &seal) == -1 || fsync(fd) == -1)
        (void)snprintf(error, size, "cannot write the keys into %s: %s", directory, strerror(errno));
    else
        made = true;
done:
    OPENSSL_cleanse(&seal, sizeof seal);
    EVP_PKEY_free(signer);
    (void)close(fd);
    return made;
}

EVP_PKEY *audit_signer_load(int directory, char *error, size_t size)
{
    int fd = openat(directory, AUDIT_SIGNER_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    BIO *bio = fd == -1 ? NULL : BIO_new_fd(fd, BIO_CLOSE);
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

    if (key == NULL)
        (void)snprintf(error, size, "cannot read " AUDIT_SIGNER_NAME ": %s",
                       fd == -1 ? strerror(errno) : "no key in it");
    if (bio != NULL)
        BIO_free(bio);
    else if (fd != -1)
        (void)close(fd);
    return key;
}
