/* SPDX-License-Identifier: ISC */
/*
 * audit_trail.h - writing the audit trail: what the audit process, and nobody else, does.
 *
 *   audit_trail.c    records, batches, checkpoints, rotation, what to do when a write fails
 *   audit_recover.c  how the last run's file ended
 */
#ifndef PGLEND_AUDIT_TRAIL_H
#define PGLEND_AUDIT_TRAIL_H

#include "audit.h"
#include <sys/types.h>

#define AUDIT_BOOT_MAX    40
#define AUDIT_WAITING_MAX (16 << 20) /* bytes of records that may wait for a disk that does not take them */

/* Text that grows. */
struct audit_buffer {
    char *text;
    size_t length, size;
};

/* audit_recover.c */
enum audit_end {
    AUDIT_END_NONE,
    AUDIT_END_CLOSED,
    AUDIT_END_KILLED,
    AUDIT_END_TORN,
    AUDIT_END_ALTERED,
    AUDIT_END_FAILED
};
struct audit_ending {
    enum audit_end end;
    uint32_t file; /* the last one; 0: there was none */
    size_t bytes;  /* of it that count */
    size_t torn;   /* those behind them */
    unsigned char torn_hash[AUDIT_HASH];
    struct audit_chain chain;
};
extern const char *const audit_end_name[];
/*
 * SEAL: what was kept of the last checkpoint. A last file that a crash took whole is moved aside. 0, or -1 with a
 * message.
 */
int audit_recover(int directory, const struct audit_seal *seal, struct audit_ending *ending, char *error, size_t size);

struct audit_trail {
    int directory, seal_fd, fd; /* fd -1: no file just now */
    EVP_PKEY *signer;
    char boot[AUDIT_BOOT_MAX];
    int64_t reserve; /* bytes kept free for the last records */

    struct audit_ending previous;                     /* of the file before the present one, or before the next one */
    bool full;                                        /* the last write failed for want of space */
    bool foreign;                                     /* or somebody else had changed the file */
    uint32_t number;                                  /* of the present file */
    off_t size;                                       /* of it that is on disk */
    struct audit_chain durable;                       /* as it is on disk */
    struct audit_chain chain;                         /* with what waits */
    struct audit_buffer lines;                        /* what waits, as lines */
    struct audit_buffer bodies;                       /* and as it came: made anew into lines where a file failed */
    uint64_t waiting;                                 /* records in them */
    uint64_t lost;                                    /* did not find room to wait; said in the next record that does */
    uint64_t since_checkpoint;                        /* records */
    char checkpoint[AUDIT_LINE_MAX + 1];              /* the last one that is on disk; "": none */
    void (*copy)(const char *head, const char *line); /* a checkpoint, to where the trail is not; NULL: nowhere */
    char error[256];                                  /* why the last write failed; "": it did not */
};

/*
 * Go on with the trail in the directory at PATH: look how its last file ended, begin another. 0, or -1 with a message.
 */
int audit_trail_open(struct audit_trail *t, const char *path, int64_t reserve, char *error, size_t size);
/* Add a record. It waits until the next sync. False: there is no room, and it is counted as lost. */
bool audit_trail_add(struct audit_trail *t, enum audit_event event, const struct audit_values *values);
/* All that waits is on disk when it returns true. False: t->error says why; it is tried again with the next call. */
bool audit_trail_sync(struct audit_trail *t);
/* Each checkpoint goes to COPY too, the last one at once; LINE is without its newline. */
void audit_trail_copy_to(struct audit_trail *t, void (*copy)(const char *head, const char *line));
/* SEQ:HASH of the last record that is on disk. */
void audit_trail_head(const struct audit_trail *t, char text[AUDIT_ANCHOR_MAX]);
/* A signed record, and sync; then t->copy. */
bool audit_trail_checkpoint(struct audit_trail *t, const char *reason);
/* End the present file and begin the next. False: the present one goes on. */
bool audit_trail_rotate(struct audit_trail *t);
/* A last checkpoint, and everything closed. */
void audit_trail_close(struct audit_trail *t);

#endif
