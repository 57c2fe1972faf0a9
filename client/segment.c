/* SPDX-License-Identifier: ISC */
/*
 * segment.c - create, map and verify a pool's shared memory; publish and read its policy.
 *
 * The hard thing: nothing in it can be trusted after it was lent. Sizes are checked against the file's once, when it
 * is mapped, and live in struct segment from then on.
 */
#include "segment.h"
#include "lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Different builds must not share a segment: the sizes are the layout's name. */
#define SEGMENT_LAYOUT                                                                                                 \
    (((uint64_t)sizeof(struct segment_header) << 40) ^ ((uint64_t)sizeof(struct slot) << 32) ^                         \
     ((uint64_t)sizeof(struct borrower) << 24) ^ ((uint64_t)sizeof(struct asserted) << 12) ^                           \
     (uint64_t)sizeof(struct worker_record) ^ ((uint64_t)sizeof(struct policy) << 4) ^                                 \
     ((uint64_t)sizeof(struct stats_stripe) << 20) ^ ((uint64_t)sizeof(struct ring_entry) << 8))

/* The ring's entries are cache lines, and worker records are not. */
#define RING_PAD 64

static bool sizes_fit(uint32_t slots, uint32_t borrowers, uint32_t records)
{
    return slots != 0 && slots <= SLOTS_MAX && borrowers != 0 && borrowers <= BORROWERS_MAX &&
           (records == 0 || (records > slots && records <= RING_MAX));
}

static size_t padded(size_t offset)
{
    return (offset + RING_PAD - 1) & ~(size_t)(RING_PAD - 1);
}

static size_t segment_size(uint32_t slots, uint32_t borrowers, uint32_t records)
{
    return sizeof(struct segment_header) + STATS_STRIPES * sizeof(struct stats_stripe) +
           (size_t)slots * (sizeof(struct slot) + sizeof(struct slot_role)) +
           (size_t)borrowers * (sizeof(struct borrower) + sizeof(struct asserted) + sizeof(struct worker_record)) +
           RING_PAD + (size_t)records * sizeof(struct ring_entry);
}

/* FNV-1a (Fowler, Noll, Vo): names need to differ between directories, not to resist anybody. */
void segment_instance(const char *runtime_dir, char instance[17])
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (const char *c = runtime_dir; *c != '\0'; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    (void)snprintf(instance, 17, "%016llx", (unsigned long long)hash);
}

int segment_name(char name[SEGMENT_NAME_MAX], const char *instance, const char *pool)
{
    int length = snprintf(name, SEGMENT_NAME_MAX, "/pglend.%s.%s", instance, pool);

    if (length < 0 || length >= SEGMENT_NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return 0;
}

static int write_header(int fd, const char *pool, uint32_t slots, uint32_t borrowers, uint32_t records)
{
    size_t size = segment_size(slots, borrowers, records);
    struct segment_header *h = mmap(NULL, sizeof *h, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (h == MAP_FAILED)
        return -1;
    h->layout = SEGMENT_LAYOUT;
    h->size = size;
    h->slots = slots;
    h->borrowers = borrowers;
    h->records = records;
    (void)snprintf(h->pool, sizeof h->pool, "%s", pool);
    h->magic = SEGMENT_MAGIC;
    return munmap(h, sizeof *h);
}

/*
 * Leases are named by their slot's version, and an audit trail has those of many segments: this one's begin where none
 * has been for eight years, unless a slot changed hands 4096 times a second all the time, or the clock was put back.
 */
static int write_words(int fd)
{
    struct segment s = {0};
    struct timespec now;
    uint64_t first;

    if (segment_map(&s, fd) == -1)
        return -1;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    first = (uint64_t)now.tv_sec << 12 | (uint64_t)now.tv_nsec >> 18;
    for (uint32_t i = 0; i < s.slots; i++)
        atomic_init(&s.slot[i].word, word_first(first));
    segment_unmap(&s);
    return 0;
}

int segment_create(const char *name, const char *pool, uint32_t slots, uint32_t borrowers, uint32_t records)
{
    int fd, error;

    if (!sizes_fit(slots, borrowers, records)) {
        errno = EINVAL;
        return -1;
    }
    fd = name != NULL ? shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : memfd_create(pool, MFD_CLOEXEC);
    if (fd == -1)
        return -1;
    /* All space now: a full /dev/shm must fail here, not as SIGBUS in somebody's acquire. */
    do
        error = posix_fallocate(fd, 0, (off_t)segment_size(slots, borrowers, records));
    while (error == EINTR);
    /* Who may open it anew by /proc/PID/fd: a memory file is made for everybody. */
    if (error != 0)
        errno = error;
    else if (fchmod(fd, 0600) == 0 && write_header(fd, pool, slots, borrowers, records) == 0 && write_words(fd) == 0)
        return fd;
    error = errno;
    (void)close(fd);
    if (name != NULL)
        (void)shm_unlink(name);
    errno = error;
    return -1;
}

int segment_reader(int fd)
{
    char path[32];

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int segment_retire(int fd)
{
    uint32_t yes = 1;
    struct stat st;
    off_t at = (off_t)offsetof(struct segment_header, retired);

    if (fstat(fd, &st) == -1)
        return -1;
    if (!S_ISREG(st.st_mode) || st.st_size < at + (off_t)sizeof yes) {
        errno = EPROTO;
        return -1;
    }
    return pwrite(fd, &yes, sizeof yes, at) == (ssize_t)sizeof yes ? 0 : -1;
}

/* The header's claims, read once: they may change under a hostile writer's hand while they are looked at. */
static int check_header(const struct segment_header *h, off_t file_size, struct segment *s)
{
    const volatile struct segment_header *v = h;
    uint64_t magic = v->magic, layout = v->layout;
    uint32_t slots = v->slots, borrowers = v->borrowers, records = v->records;

    if (magic != SEGMENT_MAGIC || layout != SEGMENT_LAYOUT) {
        errno = EPROTO;
        return -1;
    }
    if (!sizes_fit(slots, borrowers, records) || (off_t)segment_size(slots, borrowers, records) != file_size) {
        errno = EINVAL;
        return -1;
    }
    s->slots = slots;
    s->borrowers = borrowers;
    s->records = records;
    return 0;
}

bool segment_intact(const struct segment *s, int fd)
{
    const volatile struct segment_header *v = s->header;
    struct stat st;

    /* That it cannot be looked at tells nothing. */
    return (fstat(fd, &st) == -1 || st.st_size == (off_t)s->size) && v->magic == SEGMENT_MAGIC &&
           v->layout == SEGMENT_LAYOUT && v->slots == s->slots && v->borrowers == s->borrowers &&
           v->records == s->records && v->retired == 0;
}

int segment_map(struct segment *s, int fd)
{
    struct stat st;
    char *base;
    int flags = fcntl(fd, F_GETFL);

    if (flags == -1 || fstat(fd, &st) == -1)
        return -1;
    if (st.st_size < (off_t)sizeof(struct segment_header)) {
        errno = EPROTO;
        return -1;
    }
    s->readonly = (flags & O_ACCMODE) == O_RDONLY;
    base = mmap(NULL, (size_t)st.st_size, s->readonly ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -1;
    s->header = (struct segment_header *)base;
    s->size = (size_t)st.st_size;
    if (check_header(s->header, st.st_size, s) == -1) {
        int error = errno;

        segment_unmap(s);
        errno = error;
        return -1;
    }
    s->stripe = (struct stats_stripe *)(base + sizeof(struct segment_header));
    s->slot = (struct slot *)(s->stripe + STATS_STRIPES);
    s->role = (struct slot_role *)(s->slot + s->slots);
    s->borrower = (struct borrower *)(s->role + s->slots);
    s->asserted = (struct asserted *)(s->borrower + s->borrowers);
    s->worker = (struct worker_record *)(s->asserted + s->borrowers);
    s->ring = (struct ring_entry *)(base + padded((size_t)((char *)(s->worker + s->borrowers) - base)));
    return 0;
}

void segment_unmap(struct segment *s)
{
    if (s->header != NULL)
        (void)munmap(s->header, s->size);
    *s = (struct segment){0};
}

/*
 * Sequence locks: the supervisor is the only honest writer. Odd means "being written". The fences order the plain
 * copy between the two looks at the sequence; a torn copy is then seen and thrown away.
 */
static void publish(_Atomic uint32_t *seq, void *to, const void *from, size_t size)
{
    uint32_t now = atomic_load_explicit(seq, memory_order_relaxed) | 1;

    atomic_store_explicit(seq, now, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    memcpy(to, from, size);
    atomic_store_explicit(seq, now + 1, memory_order_release);
}

static bool collect(_Atomic uint32_t *seq, void *to, const void *from, size_t size, uint32_t *read)
{
    for (int tries = 0; tries < 64; tries++) {
        uint32_t before = atomic_load_explicit(seq, memory_order_acquire);

        memcpy(to, from, size);
        atomic_thread_fence(memory_order_acquire);
        if ((before & 1) == 0 && atomic_load_explicit(seq, memory_order_relaxed) == before) {
            *read = before;
            return true;
        }
    }
    return false;
}

void segment_set_policy(const struct segment *s, const struct policy *policy)
{
    publish(&s->header->policy_seq, &s->header->policy, policy, sizeof *policy);
}

bool segment_get_policy(const struct segment *s, struct policy *policy, uint32_t *seq)
{
    if (!collect(&s->header->policy_seq, policy, &s->header->policy, sizeof *policy, seq))
        return false;
    policy->reset_query[RESET_QUERY_MAX] = '\0';
    policy->purposes[PURPOSES_MAX] = '\0';
    if (policy->max > s->slots)
        policy->max = s->slots;
    if (policy->reset >= RESET_KINDS)
        policy->reset = RESET_REPLACE;
    /* Who waits that long must have an end, whoever wrote there. */
    if (policy->reset_timeout_ms > RESET_TIMEOUT_MAX)
        policy->reset_timeout_ms = RESET_TIMEOUT_MAX;
    if (policy->acquire_timeout_ms > WAIT_MAX)
        policy->acquire_timeout_ms = WAIT_MAX;
    return true;
}

bool segment_has_policy(const struct segment *s, const struct policy *policy)
{
    return (atomic_load_explicit(&s->header->policy_seq, memory_order_relaxed) & 1) == 0 &&
           memcmp(&s->header->policy, policy, sizeof *policy) == 0;
}

void segment_set_error(const struct segment *s, const char *text)
{
    char copy[SEGMENT_ERROR_MAX + 1] = {0};

    (void)snprintf(copy, sizeof copy, "%s", text);
    publish(&s->header->error_seq, s->header->error, copy, sizeof copy);
}

void segment_get_error(const struct segment *s, char text[SEGMENT_ERROR_MAX + 1])
{
    uint32_t seq;

    if (!collect(&s->header->error_seq, text, s->header->error, SEGMENT_ERROR_MAX + 1, &seq))
        text[0] = '\0';
    text[SEGMENT_ERROR_MAX] = '\0';
}
