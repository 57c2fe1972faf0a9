/* SPDX-License-Identifier: ISC */
/*
 * audit.h - the audit trail's format, for those who write it (pglendd) and those who read it (pglend audit).
 *
 * A trail is a directory of files audit-00000001.jsonl, audit-00000002.jsonl, ...; a record is a line, a JSON object:
 *
 *   {"v":1,"log":LOG,"seq":N,"epoch":E,"durable":D, "time":T,"mono":M,"boot":B,"event":NAME, ... ,"prev":P,"mac":H}
 *
 * What is checked is a line's exact bytes, never JSON written anew, so the order and the form of the frame are fixed:
 *
 *   seq      grows by one from record to record over the life of the trail, from file to file
 *   prev     SHA-256 of the whole line before, its newline included; zeros in the first record
 *   mac      HMAC-SHA256 of all before ,"mac" with the key of epoch E
 *   epoch    number of checkpoints before this record. After each the key becomes HMAC(key, label), and the old one is
 *            erased: who takes the key today cannot write yesterday's records
 *   durable  the last record known to be on disk when this one was made: what a crash may take and what it may not
 *   sig      in a checkpoint, before mac: a signature of all before ,"sig", so that a copy of the line is proof alone
 *
 * A file begins with audit.open, which says how the file before it ended and how many of its bytes count.
 */
#ifndef PGLEND_AUDIT_H
#define PGLEND_AUDIT_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AUDIT_DIRECTORY_DEFAULT "/var/lib/pglend/audit"
#define AUDIT_LINE_MAX          8192 /* a record with its newline */
#define AUDIT_BODY_MAX          6144 /* what stands between the frame's head and "prev" */
#define AUDIT_TEXT_MAX          512  /* a text in a record; some are shorter */
#define AUDIT_HASH              32
#define AUDIT_HEX               64 /* 2 * AUDIT_HASH */
#define AUDIT_LOG_HEX           32 /* the trail's name: 16 random bytes */
#define AUDIT_FILE_NAME_MAX     32
#define AUDIT_ANCHOR_MAX        96
#define AUDIT_SECTOR            512 /* what a disk writes whole or not at all */

/*
 * Events: name, and what it tells. The name stands in the record.
 */
#define AUDIT_EVENTS(ROW)                                                                                              \
    ROW(OPEN, "audit.open", "A file begins; how the one before it ended.")                                             \
    ROW(CHECKPOINT, "audit.checkpoint", "Signed; the key changes after it. For rotate and stop it ends a file.")       \
    ROW(ERROR, "audit.error", "The trail itself had trouble: space, a failed write.")                                  \
    ROW(ARCHIVED, "audit.archived", "archive_command took a file.")                                                    \
    ROW(REMOVED, "audit.removed", "The local copy of an archived file was removed.")                                   \
    ROW(START, "supervisor.start", "A supervisor serves.")                                                             \
    ROW(STOP, "supervisor.stop", "A supervisor shuts down.")                                                           \
    ROW(LOGIN, "session.login", "A session was opened on the server.")                                                 \
    ROW(LOGIN_FAILED, "session.login_failed", "The server could not be reached or refused the login.")                 \
    ROW(COMMAND, "admin.command", "An administrator's command, with its result.")                                      \
    ROW(CONFIG, "config.change", "A key of the configuration has another value.")                                      \
    ROW(SECRET, "secret.rotate", "A password was replaced by another.")                                                \
    ROW(OVERRIDE, "access.override", "Emergency access to a pool begins, or has ended.")                               \
    ROW(DENIED, "access.denied", "A process may not borrow from the pool.")                                            \
    ROW(ATTACHED, "worker.attached", "A process may borrow: which program it runs.")                                   \
    ROW(LEASE_BEGIN, "lease.begin", "A borrower has a connection.")                                                    \
    ROW(LEASE_END, "lease.end", "It gave the connection back.")                                                        \
    ROW(LEASE_REFUSED, "lease.refused", "A borrower waited for one or was not entitled to one, and got none.")         \
    ROW(LEASE_REVOKED, "lease.revoked", "The supervisor ended a lease.")                                               \
    ROW(LEASE_RECLAIMED, "lease.reclaimed", "A dead worker's connection was taken back.")

#define AUDIT_EVENT_ID(id, name, help) AUDIT_##id,
enum audit_event { AUDIT_EVENTS(AUDIT_EVENT_ID) AUDIT_EVENT_COUNT };
#undef AUDIT_EVENT_ID

/*
 * Fields of an event: name, kind, most bytes or greatest number. In a record they stand in this order. There is none
 * for the text of a query, and what is not in the table is never written.
 */
enum audit_kind { AUDIT_TEXT, AUDIT_NUMBER, AUDIT_FLAG };
#define AUDIT_FIELDS(ROW)                                                                                              \
    ROW(POOL, "pool", AUDIT_TEXT, 63)                                                                                  \
    ROW(LEASE, "lease", AUDIT_TEXT, 120)                                                                               \
    ROW(SLOT, "slot", AUDIT_NUMBER, 0)                                                                                 \
    ROW(GENERATION, "generation", AUDIT_NUMBER, 0)                                                                     \
    ROW(BACKEND, "backend_pid", AUDIT_NUMBER, 0)                                                                       \
    ROW(ROLE, "role", AUDIT_TEXT, 63)                                                                                  \
    ROW(UID, "uid", AUDIT_NUMBER, 0)                                                                                   \
    ROW(GID, "gid", AUDIT_NUMBER, 0)                                                                                   \
    ROW(PID, "pid", AUDIT_NUMBER, 0)                                                                                   \
    ROW(STARTED, "started", AUDIT_NUMBER, 0)                                                                           \
    ROW(EXECUTABLE, "exe", AUDIT_TEXT, 255)                                                                            \
    ROW(ACTOR, "actor", AUDIT_TEXT, 128)                                                                               \
    ROW(PURPOSE, "purpose", AUDIT_TEXT, 128)                                                                           \
    ROW(ATTESTED, "attested", AUDIT_FLAG, 0)                                                                           \
    ROW(WAIT, "wait_us", AUDIT_NUMBER, 0)                                                                              \
    ROW(DURATION, "duration_us", AUDIT_NUMBER, 0)                                                                      \
    ROW(COMMAND_NAME, "command", AUDIT_TEXT, 63)                                                                       \
    ROW(ARGUMENTS, "args", AUDIT_TEXT, AUDIT_TEXT_MAX)                                                                 \
    ROW(KEY, "key", AUDIT_TEXT, 255)                                                                                   \
    ROW(OLD, "old", AUDIT_TEXT, AUDIT_TEXT_MAX)                                                                        \
    ROW(NEW, "new", AUDIT_TEXT, AUDIT_TEXT_MAX)                                                                        \
    ROW(OUTCOME, "outcome", AUDIT_TEXT, 63)                                                                            \
    ROW(REASON, "reason", AUDIT_TEXT, AUDIT_TEXT_MAX)                                                                  \
    ROW(SERIAL, "serial", AUDIT_NUMBER, 0)                                                                             \
    ROW(FILE_NUMBER, "file", AUDIT_NUMBER, 0)                                                                          \
    ROW(PREVIOUS_END, "previous_end", AUDIT_TEXT, 15)                                                                  \
    ROW(PREVIOUS_BYTES, "previous_bytes", AUDIT_NUMBER, 0)                                                             \
    ROW(TORN_BYTES, "torn_bytes", AUDIT_NUMBER, 0)                                                                     \
    ROW(TORN_HASH, "torn_sha256", AUDIT_TEXT, AUDIT_HEX)                                                               \
    ROW(RECORDS, "records", AUDIT_NUMBER, 0)

#define AUDIT_FIELD_ID(id, name, kind, max) AUDIT_FIELD_##id,
enum audit_field { AUDIT_FIELDS(AUDIT_FIELD_ID) AUDIT_FIELD_COUNT };
#undef AUDIT_FIELD_ID

struct audit_field_row {
    const char *name;
    enum audit_kind kind;
    size_t max;
};

/* The values of an event. Texts are the caller's. What is not set is not written. */
struct audit_values {
    uint64_t set; /* by enum audit_field */
    union {
        const char *text;
        int64_t number;
        bool flag;
    } value[AUDIT_FIELD_COUNT];
};
_Static_assert(AUDIT_FIELD_COUNT <= 64, "audit_values.set has a bit for each field");

/* audit_key.c: keys, hashes, signatures. Hashes and keys as lower-case hexadecimal where they are text. */
struct audit_key {
    uint64_t epoch;
    unsigned char bytes[AUDIT_HASH];
};
bool audit_key_advance(struct audit_key *key); /* to the next epoch; the old key is gone. False: as it was */
/* False: OpenSSL failed. */
bool audit_mac(const struct audit_key *key, const void *data, size_t length, unsigned char out[AUDIT_HASH]);
bool audit_hash(const void *data, size_t length, unsigned char out[AUDIT_HASH]);
void audit_to_hex(const void *data, size_t length, char *out); /* 2 * LENGTH digits and a NUL */
bool audit_from_hex(const char *hex, size_t digits, unsigned char *out);

#define AUDIT_SIGNATURE_MAX 128 /* bytes */
/* Length, 0: OpenSSL failed. */
size_t audit_sign(EVP_PKEY *key, const void *data, size_t length, unsigned char out[AUDIT_SIGNATURE_MAX]);
bool audit_signature_fits(EVP_PKEY *key, const void *data, size_t length, const unsigned char *signature, size_t size);

/* audit_record.c: one function makes a line, one checks it. */
extern const char *const audit_event_name[AUDIT_EVENT_COUNT];
extern const struct audit_field_row audit_field_row[AUDIT_FIELD_COUNT];

void audit_set_text(struct audit_values *values, enum audit_field field, const char *text);
void audit_set_number(struct audit_values *values, enum audit_field field, int64_t number);
void audit_set_flag(struct audit_values *values, enum audit_field field, bool flag);

/* Is TEXT what a record may repeat: valid UTF-8 of at most MAX bytes, no control character? */
bool audit_text_valid(const char *text, size_t max);

/* When and where: CLOCK_REALTIME us, CLOCK_MONOTONIC us, the kernel's boot id. */
struct audit_moment {
    int64_t real_us, mono_us;
    const char *boot;
};

/*
 * The body of a record: "time" to the last field. A text that may not be repeated is cut and its wrong bytes become
 * '?', for the event must not be lost for it. Its length, without a NUL.
 */
size_t audit_body(char out[AUDIT_BODY_MAX], enum audit_event event, const struct audit_moment *when,
                  const struct audit_values *values);

/* Where a trail stands: what the next record follows. Copied by those who try something. */
struct audit_chain {
    char log[AUDIT_LOG_HEX + 1];
    uint64_t seq;                   /* of the last record; 0: none yet */
    unsigned char prev[AUDIT_HASH]; /* its hash */
    uint64_t durable;
    struct audit_key key;
    bool uncomputed; /* OpenSSL failed: that a record does not check says nothing about it */
};

/*
 * Make the line of a record with BODY and move CHAIN on to it. SIGNER: NULL, but in a checkpoint, after which the key
 * of CHAIN is the next epoch's. The line's length; 0: OpenSSL failed, or BODY is too long, and CHAIN is as it was.
 */
size_t audit_line_make(char out[AUDIT_LINE_MAX], struct audit_chain *chain, const char *body, size_t body_length,
                       EVP_PKEY *signer);

/* What is read of a line without understanding its fields. */
struct audit_line {
    char log[AUDIT_LOG_HEX + 1];
    uint64_t seq, epoch, durable;
    enum audit_event event;
    char time[28]; /* 2026-11-22T11:10:58.104233Z */
    unsigned char prev[AUDIT_HASH];
    unsigned char mac[AUDIT_HASH];
    size_t maced;          /* bytes that the mac is of */
    size_t signed_length;  /* bytes that the signature is of; 0: there is none */
    const char *signature; /* in the line */
    size_t signature_digits;
};
/* False: the LENGTH bytes with their newline do not have the form of a record. */
bool audit_line_parse(const char *text, size_t length, struct audit_line *line);
/*
 * Does the line follow CHAIN? NULL, and CHAIN has moved on; else the kind of what is wrong with it, and CHAIN is as it
 * was. PUBLIC_KEY: of the signatures. It is NULL when the writer reads back what it wrote: then what was sealed with
 * keys that are erased, those before CHAIN's, is checked by its hash alone.
 */
const char *audit_line_check(const char *text, size_t length, struct audit_chain *chain, EVP_PKEY *public_key,
                             struct audit_line *line);

/* A number of the event that the line tells; whether one of its texts is VALUE (plain ASCII). */
bool audit_line_number(const char *text, size_t length, enum audit_field field, uint64_t *number);
bool audit_line_is(const char *text, size_t length, enum audit_field field, const char *value);

/* audit_verify.c: a whole trail */
enum audit_verdict { AUDIT_INTACT, AUDIT_ALTERED, AUDIT_SHORTER, AUDIT_TORN, AUDIT_UNKNOWN };

/* A record that somebody remembers: as text SEQ:HASH, where HASH is of its line. */
struct audit_anchor {
    uint64_t seq;
    unsigned char hash[AUDIT_HASH];
};
bool audit_anchor_parse(const char *text, struct audit_anchor *anchor);

struct audit_fault {
    const char *kind; /* NULL: none */
    uint64_t seq;     /* of the record that should have stood there */
    uint32_t file;
    size_t offset;
};

/* Plain data: a copy is a verification that can go another way. */
struct audit_verify {
    struct audit_chain chain;
    EVP_PKEY *public_key;
    const struct audit_anchor *anchor;
    size_t anchors;
    uint32_t file;          /* number of the present one */
    size_t offset;          /* in it */
    bool at_begin;          /* the next record must be the file's first */
    bool begun;             /* CHAIN says where the trail is; else its first record will */
    bool partial;           /* files before the first one were not given */
    size_t previous_bytes;  /* of the file before that count */
    uint64_t records, torn; /* read so far; torn ends that were explained */
    uint64_t first;         /* seq of the first record */
    char first_time[28], last_time[28];
    struct audit_fault fault;
    /* The end of the present file that does not check, but has the form of a crash: the next file may explain it. */
    struct audit_fault pending;
    size_t pending_length;
    unsigned char pending_hash[AUDIT_HASH];
};

/* What verification starts from: the key of epoch 0 and who the trail is. */
struct audit_verification_key {
    char log[AUDIT_LOG_HEX + 1];
    struct audit_key key;
    EVP_PKEY *public_key;
};

void audit_verify_begin(struct audit_verify *v, const struct audit_verification_key *key,
                        const struct audit_anchor *anchor, size_t anchors);
/* The trail begins behind this record, for the files before are elsewhere. */
void audit_verify_behind(struct audit_verify *v, const struct audit_anchor *begin);
/* The next file, then its bytes: whole, or in pieces that end with a line. */
void audit_verify_file(struct audit_verify *v, uint32_t number);
void audit_verify_bytes(struct audit_verify *v, const char *text, size_t length);
enum audit_verdict audit_verify_end(struct audit_verify *v);
/* In words, from what audit_verify_end() left. */
void audit_verify_explain(const struct audit_verify *v, enum audit_verdict verdict, char *out, size_t size);

/*
 * Has TEXT, the end of a file from OFFSET on that does not check, the form that a crash leaves: its last line
 * unfinished, or whole sectors never written, and nothing in it that is known to have been on disk? CHAIN: before it.
 */
bool audit_tail_is_torn(const char *text, size_t length, size_t offset, const struct audit_chain *chain);

void audit_file_name(char out[AUDIT_FILE_NAME_MAX], uint32_t number);
/* Number of the file called NAME; 0: it is none of a trail's. */
uint32_t audit_file_number(const char *name);

/* audit_store.c: key files */
#define AUDIT_SEAL_NAME   "seal.key"   /* the present key; only the audit process reads it */
#define AUDIT_SIGNER_NAME "signer.key" /* signs checkpoints */

/*
 * Set up a trail: DIRECTORY (made if need be, 0700) gets its keys; KEY_TEXT (caller frees, cleansed) is the
 * verification key, of which no copy is kept. FIPS: ECDSA P-256 instead of Ed25519. False with a message.
 */
bool audit_store_create(const char *directory, bool fips, char **key_text, char *error, size_t size);
bool audit_verification_key_parse(const char *text, size_t length, struct audit_verification_key *key, char *error,
                                  size_t size);
bool audit_verification_key_load(const char *path, struct audit_verification_key *key, char *error, size_t size);
void audit_verification_key_clear(struct audit_verification_key *key);

/* What the trail's writer keeps beside the trail: the present key, and up to where the trail was on disk with it. */
struct audit_seal {
    uint32_t file;
    struct audit_chain chain;
};
/* Read the newest. Returns a descriptor for audit_seal_write(), -1 with a message. */
int audit_seal_open(int directory, struct audit_seal *seal, char *error, size_t size);
/* Durable when it returns, and the key before is erased. 0, or -1 with errno. */
int audit_seal_write(int fd, const struct audit_seal *seal);
EVP_PKEY *audit_signer_load(int directory, char *error, size_t size);

#endif
