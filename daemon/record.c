/* SPDX-License-Identifier: ISC */
/*
 * record.c - what a supervisor's successor must know of the workers that it greeted: who they are, and their cancel
 * keys.
 *
 * The hard thing: the records are in the segment, where any worker of the pool may write, to have itself or others
 * counted many times. So each has a seal, and seals and keys are computed from the keeper's secret, not drawn: another
 * supervisor computes the same.
 */
#include "supervisor.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of TEXT and the secret: nobody without that can tell it from random bits. */
static uint64_t keyed_hash(const struct pool *pool, const char *text)
{
    const char *secret = pool->supervisor->secret;
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned length = 0;

    if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, strlen(text), mac, &length) ==
        NULL)
        fatal(1, "cannot compute HMAC-SHA256");
    return (uint64_t)pg_get_int32(mac) << 32 | pg_get_int32(mac + 4);
}

uint32_t worker_cancel_key(const struct worker *w, const struct backend *b)
{
    char text[256];

    (void)snprintf(text, sizeof text, "cancel %s %u %u %u %d %llu", w->pool->config->name, b->slot, b->generation,
                   w->index, w->identity.pid, (unsigned long long)w->identity.start_time);
    return (uint32_t)keyed_hash(w->pool, text);
}

static uint64_t record_seal(const struct pool *pool, uint32_t index, const struct identity *who, int64_t since,
                            bool overriding, const char *executable)
{
    char text[256 + EXECUTABLE_MAX];

    (void)snprintf(text, sizeof text, "worker %s %u %d %u %u %llu %lld %d %s", pool->config->name, index, (int)who->pid,
                   (unsigned)who->uid, (unsigned)who->gid, (unsigned long long)who->start_time, (long long)since,
                   (int)overriding, executable);
    return keyed_hash(pool, text);
}

/* The start is no worker's while the rest is written, so that the audit process does not mistake one for another. */
void record_write(const struct worker *w)
{
    struct worker_record *record = &w->pool->segment.worker[w->index];
    uint64_t seal = record_seal(w->pool, w->index, &w->identity, w->since, w->overriding, w->exe);

    if (atomic_load_explicit(&record->seal, memory_order_relaxed) == seal &&
        atomic_load_explicit(&record->pid, memory_order_relaxed) == w->identity.pid)
        return; /* it is there, and its threads may be reading it */
    atomic_store_explicit(&record->start_time, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy(record->executable, w->exe, sizeof record->executable);
    atomic_store_explicit(&record->uid, w->identity.uid, memory_order_relaxed);
    atomic_store_explicit(&record->gid, w->identity.gid, memory_order_relaxed);
    atomic_store_explicit(&record->since, (uint64_t)w->since, memory_order_relaxed);
    atomic_store_explicit(&record->overriding, w->overriding, memory_order_relaxed);
    atomic_store_explicit(&record->seal, seal, memory_order_relaxed);
    atomic_store_explicit(&record->start_time, w->identity.start_time, memory_order_release);
    atomic_store_explicit(&record->pid, w->identity.pid, memory_order_relaxed);
}

bool record_read(const struct pool *pool, uint32_t index, struct identity *who, int64_t *since, bool *overriding,
                 char executable[EXECUTABLE_MAX])
{
    const struct worker_record *record = &pool->segment.worker[index];
    uint64_t start_time;

    *who = (struct identity){
        .pid = atomic_load_explicit(&record->pid, memory_order_relaxed),
        .uid = atomic_load_explicit(&record->uid, memory_order_relaxed),
        .gid = atomic_load_explicit(&record->gid, memory_order_relaxed),
        .start_time = atomic_load_explicit(&record->start_time, memory_order_relaxed),
        .pidfd = -1,
    };
    *since = (int64_t)atomic_load_explicit(&record->since, memory_order_relaxed);
    *overriding = atomic_load_explicit(&record->overriding, memory_order_relaxed) != 0;
    (void)snprintf(executable, EXECUTABLE_MAX, "%.*s", EXECUTABLE_MAX - 1, record->executable);
    if (who->pid <= 0 || atomic_load_explicit(&record->seal, memory_order_relaxed) !=
                             record_seal(pool, index, who, *since, *overriding, executable))
        return false;
    who->pidfd = (int)syscall(SYS_pidfd_open, who->pid, 0);
    if (who->pidfd == -1 && errno == ESRCH)
        return false;
    start_time = who->pidfd != -1 ? identity_start_time(who->pid) : 0;
    if (who->pidfd != -1 && start_time == who->start_time)
        return true;
    /* Who was taken for dead would lose its leases. Another supervisor may find out. */
    if (start_time == 0 && (who->pidfd == -1 || !identity_ended(who)))
        fatal(1, "cannot look whether the worker with pid %d lives: %s", (int)who->pid, strerror(errno));
    (void)close(who->pidfd);
    return false;
}
