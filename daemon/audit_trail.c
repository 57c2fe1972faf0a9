/* SPDX-License-Identifier: ISC */
/*
 * audit_trail.c - records go to disk in batches; checkpoints, rotation, and what to do when a write fails.
 *
 * The hard thing: after a failed write or sync nobody knows what of it is on disk, and asking the kernel again may be
 * answered with a lie. So such a file is cut back to what an earlier sync promised and left for good, and the records
 * that were to go into it are made anew, behind the same record, into the next file.
 */
#include "audit_trail.h"

#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RESERVE_NAME "reserve"

/* A body that waits: this, then its bytes. */
struct waiting {
    uint32_t length;
    bool checkpoint;
};

/* ---- buffers ---- */

static bool buffer_add(struct audit_buffer *b, const void *data, size_t length)
{
    if (b->size - b->length < length) {
        size_t size = b->size * 2 > b->length + length ? b->size * 2 : b->length + length + 65536;
        char *more = realloc(b->text, size);

        if (more == NULL)
            return false;
        b->text = more;
        b->size = size;
    }
    memcpy(b->text + b->length, data, length);
    b->length += length;
    return true;
}

static void buffer_free(struct audit_buffer *b)
{
    free(b->text);
    *b = (struct audit_buffer){0};
}

/* ---- the reserve ---- */

static void reserve_make(const struct audit_trail *t)
{
    int fd;

    if (t->reserve == 0)
        return;
    fd = openat(t->directory, RESERVE_NAME, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1 || posix_fallocate(fd, 0, t->reserve) != 0)
        log_warning("audit: cannot keep %lld bytes in reserve: the disk is full, or the file system cannot",
                    (long long)t->reserve);
    if (fd != -1)
        (void)close(fd);
}

/* Was there any? */
static bool reserve_use(const struct audit_trail *t)
{
    return unlinkat(t->directory, RESERVE_NAME, 0) == 0;
}

/* ---- lines ---- */

static struct audit_moment now(const struct audit_trail *t)
{
    struct timespec real, mono;

    (void)clock_gettime(CLOCK_REALTIME, &real);
    (void)clock_gettime(CLOCK_MONOTONIC, &mono);
    return (struct audit_moment){.real_us = (int64_t)real.tv_sec * 1000000 + real.tv_nsec / 1000,
                                 .mono_us = (int64_t)mono.tv_sec * 1000000 + mono.tv_nsec / 1000,
                                 .boot = t->boot};
}

static bool line_add(struct audit_trail *t, const char *body, size_t length, bool checkpoint)
{
    static char line[AUDIT_LINE_MAX];
    size_t size = audit_line_make(line, &t->chain, body, length, checkpoint ? t->signer : NULL);

    if (size == 0 || !buffer_add(&t->lines, line, size))
        return false;
    if (checkpoint)
        (void)snprintf(t->checkpoint, sizeof t->checkpoint, "%.*s", (int)size - 1, line);
    return true;
}

/* A body that is to go into a record: it waits until a sync. */
static bool wait_with(struct audit_trail *t, const char *body, size_t length, bool checkpoint)
{
    struct waiting head = {.length = (uint32_t)length, .checkpoint = checkpoint};
    size_t before = t->bodies.length;

    if (buffer_add(&t->bodies, &head, sizeof head) && buffer_add(&t->bodies, body, length)) {
        t->waiting++;
        return true;
    }
    t->bodies.length = before;
    return false;
}

/* Back to what is on disk for sure. A file that got no record is taken away again: its number is the next one's. */
static void abandon_file(struct audit_trail *t)
{
    char name[AUDIT_FILE_NAME_MAX];

    if (t->fd == -1)
        return;
    if (t->size == 0) {
        audit_file_name(name, t->number);
        (void)unlinkat(t->directory, name, 0);
    } else {
        if (!t->foreign && ftruncate(t->fd, t->size) == -1)
            log_error("audit: cannot cut file %u back to %lld bytes: %s", t->number, (long long)t->size,
                      strerror(errno));
        t->previous = (struct audit_ending){.end = AUDIT_END_FAILED, .file = t->number, .bytes = (size_t)t->size};
    }
    (void)close(t->fd);
    t->fd = -1;
    t->chain = t->durable;
    t->lines.length = 0;
}

static bool add(struct audit_trail *t, enum audit_event event, const struct audit_values *values)
{
    char body[AUDIT_BODY_MAX];
    struct audit_moment when = now(t);
    size_t length = audit_body(body, event, &when, values);
    bool checkpoint = event == AUDIT_CHECKPOINT;

    if (t->bodies.length + length > AUDIT_WAITING_MAX || !wait_with(t, body, length, checkpoint))
        return false;
    t->since_checkpoint = checkpoint ? 0 : t->since_checkpoint + 1;
    /* Without a file there is nothing to follow yet. Where this cannot, all that waits goes into the next one. */
    if (t->fd != -1 && !line_add(t, body, length, checkpoint))
        abandon_file(t);
    return true;
}

static void say_lost(struct audit_trail *t)
{
    struct audit_values values = {0};

    audit_set_text(&values, AUDIT_FIELD_OUTCOME, "lost");
    audit_set_text(&values, AUDIT_FIELD_REASON, "these events found no room while the disk took none");
    audit_set_number(&values, AUDIT_FIELD_RECORDS, (int64_t)t->lost);
    if (add(t, AUDIT_ERROR, &values))
        t->lost = 0;
}

bool audit_trail_add(struct audit_trail *t, enum audit_event event, const struct audit_values *values)
{
    if (t->lost > 0)
        say_lost(t);
    if (t->lost == 0 && add(t, event, values))
        return true;
    t->lost++;
    return false;
}

/* ---- files ---- */

static bool open_record(struct audit_trail *t)
{
    const struct audit_ending *e = &t->previous;
    char body[AUDIT_BODY_MAX], hash[AUDIT_HEX + 1];
    struct audit_values values = {0};
    struct audit_moment when = now(t);

    audit_set_number(&values, AUDIT_FIELD_FILE_NUMBER, t->number);
    if (e->file > 0) {
        audit_set_text(&values, AUDIT_FIELD_PREVIOUS_END, audit_end_name[e->end]);
        audit_set_number(&values, AUDIT_FIELD_PREVIOUS_BYTES, (int64_t)e->bytes);
    }
    if (e->torn > 0) {
        audit_to_hex(e->torn_hash, AUDIT_HASH, hash);
        audit_set_number(&values, AUDIT_FIELD_TORN_BYTES, (int64_t)e->torn);
        audit_set_text(&values, AUDIT_FIELD_TORN_HASH, hash);
    }
    return line_add(t, body, audit_body(body, AUDIT_OPEN, &when, &values), false);
}

static bool all_lines(struct audit_trail *t)
{
    size_t at = 0;

    while (at < t->bodies.length) {
        struct waiting head;

        memcpy(&head, t->bodies.text + at, sizeof head);
        at += sizeof head;
        if (!line_add(t, t->bodies.text + at, head.length, head.checkpoint))
            return false;
        at += head.length;
    }
    return true;
}

/* The next file, with nothing on disk yet: its first record and what waits are lines now. */
static bool begin_file(struct audit_trail *t)
{
    char name[AUDIT_FILE_NAME_MAX];

    t->number = t->previous.file + 1;
    t->size = 0;
    audit_file_name(name, t->number);
    t->fd = openat(t->directory, name, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    t->lines.length = 0;
    t->chain = t->durable;
    if (t->fd != -1 && open_record(t) && all_lines(t) && fsync(t->directory) == 0)
        return true;
    t->full = errno == ENOSPC || errno == EDQUOT;
    (void)snprintf(t->error, sizeof t->error, "cannot begin %s: %s", name, strerror(errno));
    return false;
}

static bool write_lines(struct audit_trail *t)
{
    size_t done = 0;

    while (done < t->lines.length) {
        ssize_t n = write(t->fd, t->lines.text + done, t->lines.length - done);

        if (n == -1 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        done += (size_t)n;
    }
    return fdatasync(t->fd) == 0;
}

/* Who changed the file beside us? Its size is ours alone to change. */
static bool file_is_as_left(const struct audit_trail *t)
{
    struct stat st;

    if (fstat(t->fd, &st) == 0 && st.st_size == t->size && st.st_nlink == 1)
        return true;
    log_error("audit: file %u was changed or removed by somebody else: it is left, and the next one is begun",
              t->number);
    errno = ESTALE;
    return false;
}

/* What was written is on disk now; where the key changed, the old one goes. */
static bool settle(struct audit_trail *t)
{
    bool new_key = t->chain.key.epoch != t->durable.key.epoch;
    struct audit_seal seal = {.file = t->number};

    t->size += (off_t)t->lines.length;
    t->chain.durable = t->chain.seq;
    t->durable = t->chain;
    t->lines.length = t->bodies.length = 0;
    t->waiting = 0;
    t->error[0] = '\0';
    if (!new_key)
        return true;
    seal.chain = t->durable;
    if (audit_seal_write(t->seal_fd, &seal) == 0)
        return true;
    (void)snprintf(t->error, sizeof t->error, "cannot write " AUDIT_SEAL_NAME ": %s", strerror(errno));
    return false;
}

static bool try_sync(struct audit_trail *t)
{
    if (t->lines.length == 0)
        return true;
    t->foreign = t->size > 0 && !file_is_as_left(t);
    if (!t->foreign && write_lines(t))
        return settle(t);
    t->full = errno == ENOSPC || errno == EDQUOT;
    (void)snprintf(t->error, sizeof t->error, "cannot write file %u: %s", t->number, strerror(errno));
    return false;
}

bool audit_trail_sync(struct audit_trail *t)
{
    if (t->fd != -1 && try_sync(t))
        return true;
    if (t->fd != -1 && t->lines.length == 0)
        return false; /* the records are on disk, the new key is not: the next checkpoint writes it */
    abandon_file(t);
    if (t->full && reserve_use(t))
        log_warning("audit: %s: the reserve is used; make space", t->error);
    if (begin_file(t) && try_sync(t))
        return true;
    abandon_file(t);
    return false;
}

void audit_trail_head(const struct audit_trail *t, char text[AUDIT_ANCHOR_MAX])
{
    char hash[AUDIT_HEX + 1];

    audit_to_hex(t->durable.prev, AUDIT_HASH, hash);
    (void)snprintf(text, AUDIT_ANCHOR_MAX, "%llu:%s", (unsigned long long)t->durable.seq, hash);
}

static void copy_checkpoint(const struct audit_trail *t)
{
    char head[AUDIT_ANCHOR_MAX];

    audit_trail_head(t, head);
    if (t->copy != NULL)
        t->copy(head, t->checkpoint);
}

void audit_trail_copy_to(struct audit_trail *t, void (*copy)(const char *head, const char *line))
{
    t->copy = copy;
    copy_checkpoint(t);
}

bool audit_trail_checkpoint(struct audit_trail *t, const char *reason)
{
    struct audit_values values = {0};

    /* One change of key at a time: what is erased is the key that is on disk. */
    if (!audit_trail_sync(t))
        return false;
    audit_set_text(&values, AUDIT_FIELD_REASON, reason);
    audit_set_number(&values, AUDIT_FIELD_RECORDS, (int64_t)t->since_checkpoint);
    if (!add(t, AUDIT_CHECKPOINT, &values) || !audit_trail_sync(t))
        return false;
    copy_checkpoint(t);
    return true;
}

bool audit_trail_rotate(struct audit_trail *t)
{
    if (!audit_trail_checkpoint(t, "rotate") || t->fd == -1)
        return false;
    t->previous = (struct audit_ending){.end = AUDIT_END_CLOSED, .file = t->number, .bytes = (size_t)t->size};
    (void)close(t->fd);
    t->fd = -1;
    reserve_make(t);
    return audit_trail_sync(t);
}

/* ---- opening and closing ---- */

static void read_boot_id(char out[AUDIT_BOOT_MAX])
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd == -1 ? -1 : read(fd, out, AUDIT_BOOT_MAX - 1);

    out[got < 0 ? 0 : got] = '\0';
    out[strspn(out, "0123456789abcdef-")] = '\0';
    if (fd != -1)
        (void)close(fd);
}

/* T's directory, checked. */
static int open_directory(const char *path, char *error, size_t size)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct stat st;

    if (fd == -1 && errno == EACCES) {
        (void)snprintf(error, size,
                       "audit.directory %s is closed to uid %u, the audit process's: run chown -R %u %s, and let it "
                       "through the directories above",
                       path, (unsigned)geteuid(), (unsigned)geteuid(), path);
    } else if (fd == -1 || fstat(fd, &st) == -1) {
        (void)snprintf(error, size, "cannot open audit.directory %s: %s: set the trail up with pglend audit init", path,
                       strerror(errno));
    } else if (st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
        (void)snprintf(error, size,
                       "audit.directory %s (mode %04o, uid %u) must be of uid %u, the audit process's, and closed to "
                       "others: run chown and chmod 0700",
                       path, (unsigned)st.st_mode & 07777, (unsigned)st.st_uid, (unsigned)geteuid());
    } else {
        return fd;
    }
    if (fd != -1)
        (void)close(fd);
    return -1;
}

int audit_trail_open(struct audit_trail *t, const char *path, int64_t reserve, char *error, size_t size)
{
    struct audit_seal seal;
    const struct audit_ending *ending = &t->previous;

    *t = (struct audit_trail){.directory = -1, .seal_fd = -1, .fd = -1, .reserve = reserve};
    read_boot_id(t->boot);
    t->directory = open_directory(path, error, size);
    if (t->directory == -1 || (t->seal_fd = audit_seal_open(t->directory, &seal, error, size)) == -1 ||
        (t->signer = audit_signer_load(t->directory, error, size)) == NULL ||
        audit_recover(t->directory, &seal, &t->previous, error, size) == -1)
        return -1;
    if (ending->end == AUDIT_END_ALTERED)
        log_error("audit: the end of the trail in %s was altered: keep it as evidence and run pglend audit verify",
                  path);
    else if (ending->end == AUDIT_END_TORN)
        log_warning("audit: file %u ends with %zu bytes that a crash tore; they are kept and explained", ending->file,
                    ending->torn);
    t->durable = ending->chain;
    t->durable.durable = t->durable.seq;
    OPENSSL_cleanse(&seal, sizeof seal);
    reserve_make(t);
    if (audit_trail_checkpoint(t, "start"))
        return 0;
    (void)snprintf(error, size, "%s", t->error);
    return -1;
}

void audit_trail_close(struct audit_trail *t)
{
    /* Without a file too: the disk may take one now. */
    if (t->signer != NULL && !audit_trail_checkpoint(t, "stop"))
        log_error("audit: the last %llu records could not be written: %s", (unsigned long long)t->waiting, t->error);
    if (t->fd != -1)
        (void)close(t->fd);
    if (t->seal_fd != -1)
        (void)close(t->seal_fd);
    if (t->directory != -1)
        (void)close(t->directory);
    EVP_PKEY_free(t->signer);
    buffer_free(&t->lines);
    buffer_free(&t->bodies);
    OPENSSL_cleanse(t, sizeof *t);
    t->directory = t->seal_fd = t->fd = -1;
}
