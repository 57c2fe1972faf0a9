/* SPDX-License-Identifier: ISC */
/*
 * audit_recover.c - how did the last file of the audit trail end?
 *
 * The hard thing: a hand may pass for a crash by cutting the file and then killing the host. So what the last
 * checkpoint knew to be on disk must be there, and what does not check must have the form that a crash leaves; else
 * the end is called altered, the trail goes on behind the last good record, and verify will say so for ever.
 */
#include "audit_trail.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const audit_end_name[] = {
    [AUDIT_END_NONE] = "none", [AUDIT_END_CLOSED] = "closed",   [AUDIT_END_KILLED] = "killed",
    [AUDIT_END_TORN] = "torn", [AUDIT_END_ALTERED] = "altered", [AUDIT_END_FAILED] = "failed",
};

/* Number of the last file, 0: there is none; -1 with errno. */
static int64_t last_file(int directory)
{
    int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    const struct dirent *entry;
    int64_t last = 0;

    if (dir == NULL) {
        if (fd != -1)
            (void)close(fd);
        return -1;
    }
    while (errno = 0, (entry = readdir(dir)) != NULL) {
        uint32_t number = audit_file_number(entry->d_name);

        if (number > last)
            last = number;
    }
    if (errno != 0)
        last = -1;
    (void)closedir(dir);
    return last;
}

static char *read_file(int directory, uint32_t number, size_t *length)
{
    char name[AUDIT_FILE_NAME_MAX], *text = NULL;
    struct stat st;
    int fd;

    audit_file_name(name, number);
    fd = openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -1)
        return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        text = malloc((size_t)st.st_size + 1);
    *length = 0;
    while (text != NULL && *length < (size_t)st.st_size) {
        ssize_t got = pread(fd, text + *length, (size_t)st.st_size - *length, (off_t)*length);

        if (got == 0)
            break;
        if (got > 0) {
            *length += (size_t)got;
        } else if (errno != EINTR) {
            /* What cannot be read is not what is not there. */
            free(text);
            text = NULL;
        }
    }
    /* What is built on from now on must be on disk: the run before may have died before it saw to that. */
    if (text != NULL && fsync(fd) == -1) {
        free(text);
        text = NULL;
    }
    (void)close(fd);
    return text;
}

/* What the last checkpoint knew is passed: was it this? */
static bool fits_seal(const struct audit_chain *chain, const struct audit_seal *seal)
{
    return chain->seq != seal->chain.seq || memcmp(chain->prev, seal->chain.prev, AUDIT_HASH) == 0;
}

/* Follow the records of TEXT. Returns how many bytes check; *CLOSED: the last of them ends the file. */
static size_t follow(const char *text, size_t length, const struct audit_seal *seal, struct audit_chain *chain,
                     bool *closed)
{
    size_t used = 0;

    while (used < length) {
        const char *end = memchr(text + used, '\n', length - used);
        size_t size = end == NULL ? length - used : (size_t)(end - text) + 1 - used;
        struct audit_chain before = *chain;
        struct audit_line line;

        if (audit_line_check(text + used, size, chain, NULL, &line) != NULL)
            break;
        if (!fits_seal(chain, seal) || (line.seq > seal->chain.seq && line.epoch < seal->chain.key.epoch)) {
            *chain = before;
            break;
        }
        *closed = line.event == AUDIT_CHECKPOINT && (audit_line_is(text + used, size, AUDIT_FIELD_REASON, "rotate") ||
                                                     audit_line_is(text + used, size, AUDIT_FIELD_REASON, "stop"));
        used += size;
    }
    return used;
}

/* Where the file's own first record says that it begins; the seal vouches for all from the checkpoint on. */
static bool start(const char *text, size_t length, const struct audit_seal *seal, struct audit_chain *chain)
{
    const char *end = memchr(text, '\n', length);
    struct audit_line line;

    *chain = seal->chain;
    if (end == NULL || !audit_line_parse(text, (size_t)(end - text) + 1, &line))
        return false;
    chain->seq = line.seq - 1;
    chain->durable = line.durable;
    memcpy(chain->prev, line.prev, AUDIT_HASH);
    return fits_seal(chain, seal);
}

/* A file without one whole record: a crash took it before anything of it was on disk. */
static int move_aside(int directory, uint32_t number)
{
    char name[AUDIT_FILE_NAME_MAX], aside[AUDIT_FILE_NAME_MAX + 8];

    audit_file_name(name, number);
    (void)snprintf(aside, sizeof aside, "%.14s.torn", name);
    return renameat(directory, name, directory, aside);
}

/* False: OpenSSL failed, and nothing can be said. */
static bool judge(const char *text, size_t length, const struct audit_seal *seal, bool closed, struct audit_ending *e)
{
    bool hashed = true;

    e->torn = length - e->bytes;
    e->end = closed ? AUDIT_END_CLOSED : AUDIT_END_KILLED;
    if (e->torn > 0) {
        hashed = audit_hash(text + e->bytes, e->torn, e->torn_hash);
        e->end = audit_tail_is_torn(text + e->bytes, e->torn, e->bytes, &e->chain) ? AUDIT_END_TORN : AUDIT_END_ALTERED;
    }
    if (e->chain.seq < seal->chain.seq)
        e->end = AUDIT_END_ALTERED;
    return hashed && !e->chain.uncomputed;
}

/* 1: done, 0: the file held no record and was moved aside, -1 with a message. */
static int recover_file(int directory, const struct audit_seal *seal, struct audit_ending *e, char *error, size_t size)
{
    size_t length = 0;
    char *text = read_file(directory, e->file, &length);
    bool closed = false;
    int status = 1;

    if (text == NULL) {
        (void)snprintf(error, size, "cannot read file %u of the audit trail: %s", e->file, strerror(errno));
        return -1;
    }
    if (start(text, length, seal, &e->chain))
        e->bytes = follow(text, length, seal, &e->chain, &closed);
    if (!judge(text, length, seal, closed, e)) {
        status = -1;
        (void)snprintf(error, size, "cannot check file %u of the audit trail: OpenSSL failed: out of memory?", e->file);
    } else if (e->bytes == 0 && e->file > seal->file) {
        status = move_aside(directory, e->file) == 0 ? 0 : -1;
        if (status == -1)
            (void)snprintf(error, size, "cannot move file %u of the audit trail aside: %s", e->file, strerror(errno));
    }
    free(text);
    return status;
}

int audit_recover(int directory, const struct audit_seal *seal, struct audit_ending *e, char *error, size_t size)
{
    int64_t last;
    int status;

    do {
        *e = (struct audit_ending){.chain = seal->chain};
        last = last_file(directory);
        if (last == -1) {
            (void)snprintf(error, size, "cannot list the audit trail's directory: %s", strerror(errno));
            return -1;
        }
        e->file = (uint32_t)last;
        status = last == 0 ? 1 : recover_file(directory, seal, e, error, size);
    } while (status == 0);
    /* Files that the last checkpoint knew are gone, or have none of its records: the next one's number tells. */
    if (status == 1 && (e->file < seal->file || (e->file == seal->file && e->file != 0 && e->bytes == 0))) {
        e->file = seal->file;
        e->bytes = 0;
        e->end = AUDIT_END_ALTERED;
        e->chain = seal->chain;
    }
    return status == 1 ? 0 : -1;
}
