/* SPDX-License-Identifier: ISC */
/*
 * audit_verify.c - is a whole trail as it was written?
 *
 * The hard thing is to tell a crash from a hand. A crash takes only what was not yet on disk, and leaves a line that
 * breaks off or whole sectors that were never written; anything else that does not check was altered. What a crash
 * took in the middle of a trail is vouched for, byte by byte, by the sealed record that begins the next file.
 */
#include "audit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCHS_MAX      200000000 /* sixty years of one every ten seconds: a forged number must not hold us up */
#define TORN_EPOCHS_MAX 64        /* checkpoints among what was not yet on disk */

void audit_file_name(char out[AUDIT_FILE_NAME_MAX], uint32_t number)
{
    (void)snprintf(out, AUDIT_FILE_NAME_MAX, "audit-%08" PRIu32 ".jsonl", number);
}

uint32_t audit_file_number(const char *name)
{
    char back[AUDIT_FILE_NAME_MAX];
    uint32_t number;

    if (strncmp(name, "audit-", 6) != 0)
        return 0;
    number = (uint32_t)strtoul(name + 6, NULL, 10);
    audit_file_name(back, number);
    return strcmp(back, name) == 0 ? number : 0;
}

bool audit_anchor_parse(const char *text, struct audit_anchor *anchor)
{
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    anchor->seq = strtoull(text, &end, 10);
    return *end == ':' && strlen(end + 1) == AUDIT_HEX && audit_from_hex(end + 1, AUDIT_HEX, anchor->hash);
}

/* ---- what a crash leaves ---- */

/* Are the zeros in TEXT sectors that were never written? The first may also have been begun by the record before. */
static bool holes_are_sectors(const char *text, size_t length, size_t offset)
{
    size_t i = 0;

    while (i < length) {
        size_t begin = i;

        if (text[i++] != '\0')
            continue;
        while (i < length && text[i] == '\0')
            i++;
        if ((begin != 0 && (offset + begin) % AUDIT_SECTOR != 0) || (i != length && (offset + i) % AUDIT_SECTOR != 0))
            return false;
    }
    return true;
}

/* The beginning of a record that was not finished: not one whose newline is another character now. */
static bool is_unfinished(const char *text, size_t length, const struct audit_chain *chain)
{
    char head[96];
    size_t head_length = (size_t)snprintf(head, sizeof head, "{\"v\":1,\"log\":\"%s\",\"seq\":", chain->log);
    const char *mac = memmem(text, length, "\",\"mac\":\"", 9);

    return memcmp(text, head, length < head_length ? length : head_length) == 0 &&
           (mac == NULL || (size_t)(text + length - mac) <= 9 + AUDIT_HEX + 2);
}

/* A whole record behind a hole: sealed, and made when nothing of the hole was known to be on disk. */
static bool is_unsynced(const char *text, size_t length, const struct audit_chain *chain)
{
    struct audit_key key = chain->key;
    struct audit_line line;
    unsigned char mac[AUDIT_HASH];

    if (!audit_line_parse(text, length, &line) || line.durable > chain->seq || line.seq <= chain->seq ||
        line.epoch < key.epoch || line.epoch - key.epoch > TORN_EPOCHS_MAX)
        return false;
    while (key.epoch < line.epoch)
        if (!audit_key_advance(&key))
            return false;
    return audit_mac(&key, text, line.maced, mac) && memcmp(mac, line.mac, AUDIT_HASH) == 0;
}

bool audit_tail_is_torn(const char *text, size_t length, size_t offset, const struct audit_chain *chain)
{
    bool first = true;

    if (!holes_are_sectors(text, length, offset))
        return false;
    for (size_t i = 0; i < length; first = false) {
        const char *end = memchr(text + i, '\n', length - i);
        size_t size = end == NULL ? length - i : (size_t)(end - text) + 1 - i;

        /* A piece without a hole must be what was written; the first is known not to follow. */
        if (memchr(text + i, '\0', size) == NULL &&
            (end == NULL ? !is_unfinished(text + i, size, chain) : first || !is_unsynced(text + i, size, chain)))
            return false;
        i += size;
    }
    return true;
}

/* ---- the trail ---- */

void audit_verify_begin(struct audit_verify *v, const struct audit_verification_key *key,
                        const struct audit_anchor *anchor, size_t anchors)
{
    *v = (struct audit_verify){.public_key = key->public_key, .anchor = anchor, .anchors = anchors, .begun = true};
    v->chain.key = key->key;
    memcpy(v->chain.log, key->log, sizeof v->chain.log);
}

void audit_verify_behind(struct audit_verify *v, const struct audit_anchor *begin)
{
    v->chain.seq = begin->seq;
    memcpy(v->chain.prev, begin->hash, AUDIT_HASH);
    v->begun = begin->seq == 0;
}

static void fault_set(struct audit_verify *v, const char *kind, uint64_t seq, size_t offset)
{
    if (v->fault.kind == NULL)
        v->fault = (struct audit_fault){.kind = kind, .seq = seq, .file = v->file, .offset = offset};
}

void audit_verify_file(struct audit_verify *v, uint32_t number)
{
    if (v->file != 0 && number != v->file + 1)
        fault_set(v, "a file is missing before this one", v->chain.seq + 1, 0);
    if (v->file == 0 && number != 1 && v->begun && v->chain.seq == 0) {
        v->partial = true;
        v->begun = false;
    }
    v->previous_bytes = v->pending.kind != NULL ? v->pending.offset : v->offset;
    v->at_begin = true;
    v->file = number;
    v->offset = 0;
}

/* The first file given is not the trail's first: its first record says which epoch it is, and its seal proves that. */
static void start_at(struct audit_verify *v, const char *text, size_t length)
{
    struct audit_line line;

    if (!audit_line_parse(text, length, &line) || line.epoch > line.seq || line.epoch > EPOCHS_MAX)
        return;
    while (v->chain.key.epoch < line.epoch)
        if (!audit_key_advance(&v->chain.key)) {
            v->chain.uncomputed = true;
            return;
        }
    if (v->partial) {
        v->chain.seq = line.seq - 1;
        memcpy(v->chain.prev, line.prev, AUDIT_HASH);
    }
    v->chain.durable = line.durable;
    v->begun = true;
}

/* Does a file's first record say what the file before was? It checks, so what it says is the writer's word. */
static const char *beginning_fault(struct audit_verify *v, const char *text, size_t length,
                                   const struct audit_line *line)
{
    char hash[AUDIT_HEX + 1];
    uint64_t file = 0, bytes = 0, torn = 0;

    if (line->event != AUDIT_OPEN || !audit_line_number(text, length, AUDIT_FIELD_FILE_NUMBER, &file) ||
        file != v->file)
        return "it is not the beginning of this file";
    if (v->records == 0)
        return NULL;
    if (!audit_line_number(text, length, AUDIT_FIELD_PREVIOUS_BYTES, &bytes) || bytes != v->previous_bytes)
        return "the file before it had another length";
    if (v->pending.kind == NULL)
        return NULL;
    audit_to_hex(v->pending_hash, AUDIT_HASH, hash);
    if (!audit_line_is(text, length, AUDIT_FIELD_PREVIOUS_END, "torn") ||
        !audit_line_number(text, length, AUDIT_FIELD_TORN_BYTES, &torn) || torn != v->pending_length ||
        !audit_line_is(text, length, AUDIT_FIELD_TORN_HASH, hash))
        return v->pending.kind;
    v->pending.kind = NULL;
    v->torn++;
    return NULL;
}

static void check_anchors(struct audit_verify *v, size_t offset)
{
    for (size_t i = 0; i < v->anchors; i++)
        if (v->anchor[i].seq == v->chain.seq && memcmp(v->anchor[i].hash, v->chain.prev, AUDIT_HASH) != 0)
            fault_set(v, "it is not the record that was remembered (anchor)", v->chain.seq, offset);
}

/* One line. False: it does not check; *KIND says why. */
static bool take_line(struct audit_verify *v, const char *text, size_t length, const char **kind)
{
    struct audit_line line;

    if (!v->begun)
        start_at(v, text, length);
    *kind = audit_line_check(text, length, &v->chain, v->public_key, &line);
    if (*kind != NULL)
        return false;
    if (v->at_begin) {
        const char *fault = beginning_fault(v, text, length, &line);

        if (fault != NULL && v->pending.kind != NULL)
            v->fault = v->pending;
        else if (fault != NULL)
            fault_set(v, fault, line.seq, 0);
        v->at_begin = false;
    } else if (line.event == AUDIT_OPEN) {
        fault_set(v, "a file begins inside another", line.seq, v->offset);
    }
    if (v->records++ == 0) {
        v->first = line.seq;
        memcpy(v->first_time, line.time, sizeof v->first_time);
    }
    memcpy(v->last_time, line.time, sizeof v->last_time);
    check_anchors(v, v->offset);
    return true;
}

/*
 * From here on the file does not check. What has the form of a crash may still be explained by the next file; and a
 * second crash may have taken all that the next file was.
 */
static void set_pending(struct audit_verify *v, const char *kind, const char *text, size_t length)
{
    struct audit_fault fault = {.kind = kind, .seq = v->chain.seq + 1, .file = v->file, .offset = v->offset};
    bool torn = audit_tail_is_torn(text, length, v->offset, &v->chain);

    if (v->pending.kind != NULL && !(torn && v->at_begin))
        v->fault = v->pending;
    else if (!torn || !audit_hash(text, length, v->pending_hash))
        v->fault = fault;
    else
        v->pending = fault;
    v->pending_length = length;
}

void audit_verify_bytes(struct audit_verify *v, const char *text, size_t length)
{
    size_t used = 0;

    while (used < length && v->fault.kind == NULL) {
        const char *end = memchr(text + used, '\n', length - used);
        size_t size = end == NULL ? length - used : (size_t)(end - text) + 1 - used;
        const char *kind;

        if (!take_line(v, text + used, size, &kind)) {
            set_pending(v, kind, text + used, length - used);
            return;
        }
        v->offset += size;
        used += size;
    }
}

enum audit_verdict audit_verify_end(struct audit_verify *v)
{
    if (v->chain.uncomputed)
        return AUDIT_UNKNOWN;
    if (v->fault.kind != NULL)
        return AUDIT_ALTERED;
    for (size_t i = 0; i < v->anchors; i++)
        if (v->anchor[i].seq > v->chain.seq)
            return AUDIT_SHORTER;
    if (v->pending.kind != NULL)
        return AUDIT_TORN;
    return v->partial || v->records == 0 ? AUDIT_UNKNOWN : AUDIT_INTACT;
}

/* ---- in words ---- */

void audit_verify_explain(const struct audit_verify *v, enum audit_verdict verdict, char *out, size_t size)
{
    char head[AUDIT_HEX + 1], span[160], file[AUDIT_FILE_NAME_MAX];
    uint64_t anchor = 0;

    audit_to_hex(v->chain.prev, AUDIT_HASH, head);
    (void)snprintf(span, sizeof span, "records %" PRIu64 " to %" PRIu64 " (%s to %s)", v->first, v->chain.seq,
                   v->first_time, v->last_time);
    if (v->records == 0)
        (void)snprintf(span, sizeof span, "no whole records");
    switch (verdict) {
    case AUDIT_INTACT:
        (void)snprintf(out, size, "intact: %s; head %" PRIu64 ":%s", span, v->chain.seq, head);
        return;
    case AUDIT_ALTERED:
        audit_file_name(file, v->fault.file);
        (void)snprintf(out, size,
                       "altered: record %" PRIu64 ", %s at byte %zu: %s; keep the files as evidence and compare them "
                       "with the archive",
                       v->fault.seq, file, v->fault.offset, v->fault.kind);
        return;
    case AUDIT_SHORTER:
        for (size_t i = 0; i < v->anchors; i++)
            anchor = v->anchor[i].seq > anchor ? v->anchor[i].seq : anchor;
        (void)snprintf(out, size,
                       "shorter: the trail ends with record %" PRIu64 ", but record %" PRIu64
                       " was remembered: what is between was removed or lost",
                       v->chain.seq, anchor);
        return;
    case AUDIT_TORN:
        audit_file_name(file, v->pending.file);
        (void)snprintf(out, size,
                       "torn: %s check; the last %zu bytes of %s have the form of what a crash leaves; the next start "
                       "of pglendd explains them",
                       span, v->pending_length, file);
        return;
    case AUDIT_UNKNOWN:
        if (v->chain.uncomputed)
            (void)snprintf(out, size, "cannot tell: OpenSSL failed at record %" PRIu64 ": out of memory?",
                           v->chain.seq + 1);
        else if (v->records == 0)
            (void)snprintf(out, size, "cannot tell: there is no record; name the trail's directory");
        else
            (void)snprintf(out, size,
                           "cannot tell: %s check, but the trail begins with record 1; fetch the files before from the "
                           "archive, or name the record before with --begin SEQ:HASH",
                           span);
        return;
    }
}
