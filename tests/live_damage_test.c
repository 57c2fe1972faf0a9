/* SPDX-License-Identifier: ISC */
/*
 * live_damage_test.c - a worker that writes what it likes into its pool's shared memory, or cuts it off.
 *
 * Such a worker may disturb the borrowers of its own pool, for a while. The supervisor must not fall, no descriptor
 * may go to who does not hold its slot, and in the end the pool serves as before: for those who attach then, and for
 * those who were attached all the time.
 */
#include "daemon.h"
#include "harness.h"
#include "lease.h"
#include "pglend.h"
#include "pglendd.h"
#include "wire.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MEND_SECONDS 6
#define HONEST       3
#define VANDALS      2

static struct pglendd *daemon_;

/* ---- a worker without the library ---- */

struct vandal {
    int sock;
    int segment_fd;
    uint32_t worker;
    struct segment segment;
};

/* Attach to pool clinic, for as long as the supervisor says that it is replacing the segment again and again. */
static void attach(struct vandal *v)
{
    uint64_t until = harness_now_ms() + MEND_SECONDS * 1000;
    union wire_message message;

    for (;; harness_sleep_ms(20)) {
        v->sock = pglendd_connect(daemon_, "worker.sock");
        message = (union wire_message){.hello = {.pool = "clinic", .worker = NO_WORKER}};
        ck_assert_int_eq(wire_send(v->sock, WIRE_HELLO, &message, -1, 0), 0);
        if (wire_receive_packet(v->sock, &message, sizeof message, &v->segment_fd, 0) > 0 &&
            message.header.type == WIRE_WELCOME && segment_map(&v->segment, v->segment_fd) == 0)
            break;
        ck_assert_msg(harness_now_ms() < until, "no welcome: %.255s", message.refused.message);
        if (v->segment_fd != -1)
            (void)close(v->segment_fd);
        (void)close(v->sock);
    }
    v->worker = message.welcome.worker;
}

static void detach(struct vandal *v)
{
    segment_unmap(&v->segment);
    (void)close(v->segment_fd);
    (void)close(v->sock);
}

static void start(const char *overrides)
{
    daemon_ = pglendd_start(harness_server(), overrides);
}

/* A lease that works. The first ones after a damage may not: a session may have been given to two. */
static void borrow(pglend *pool, const char *what)
{
    uint64_t until = harness_now_ms() + MEND_SECONDS * 1000;
    PGresult *result;
    PGconn *conn;
    bool ok = false;

    while (!ok && harness_now_ms() < until) {
        conn = pglend_acquire(pool, 1000);
        if (conn == NULL)
            continue;
        result = PQexec(conn, "select current_user");
        ok = PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), "clinic") == 0;
        PQclear(result);
        (void)(ok ? pglend_release : pglend_discard)(pool, conn);
    }
    ck_assert_msg(ok, "%s: %s", what, pglend_errmessage(pool));
}

/* A worker that attaches now, and one that was attached before, are served within MEND_SECONDS. */
static int borrow_anew(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    (void)sock;
    borrow(pool, argument);
    pglend_close(pool);
    return 0;
}

static void borrow_again(pglend *pool, const char *what)
{
    char text[64];

    (void)snprintf(text, sizeof text, "attached before %s", what);
    borrow(pool, text);
}

/* ---- one field at a time ---- */

#define HEADER(field) offsetof(struct segment_header, field), sizeof(((struct segment_header *)NULL)->field)

enum where { IN_HEADER, IN_SLOTS, IN_BORROWERS, IN_WORKERS };

static const struct {
    const char *name;
    enum where where;
    size_t at, size; /* in the header, or in each entry */
    int byte;        /* what it is filled with */
} damages[] = {
    {"magic", IN_HEADER, HEADER(magic), 0xff},
    {"layout", IN_HEADER, HEADER(layout), 0},
    {"size", IN_HEADER, HEADER(size), 0xff},
    {"slots: none", IN_HEADER, HEADER(slots), 0},
    {"slots: many", IN_HEADER, HEADER(slots), 0xff},
    {"borrowers: none", IN_HEADER, HEADER(borrowers), 0},
    {"borrowers: many", IN_HEADER, HEADER(borrowers), 0x7f},
    {"pool", IN_HEADER, HEADER(pool), 0xff},
    {"retired", IN_HEADER, HEADER(retired), 1},
    {"policy_seq", IN_HEADER, HEADER(policy_seq), 0xff},
    {"policy: zero", IN_HEADER, HEADER(policy), 0},
    {"policy: ones", IN_HEADER, HEADER(policy), 0xff},
    {"error_seq", IN_HEADER, HEADER(error_seq), 0x55},
    {"error", IN_HEADER, HEADER(error), 0x41},
    {"down_since", IN_HEADER, HEADER(down_since), 1},
    {"next_ticket", IN_HEADER, HEADER(next_ticket), 0xff},
    {"borrowers_high: none", IN_HEADER, HEADER(borrowers_high), 0},
    {"borrowers_high: many", IN_HEADER, HEADER(borrowers_high), 0xff},
    {"reset_ns", IN_HEADER, HEADER(reset_ns), 0xff},
    {"waiting: nobody", IN_HEADER, HEADER(waiting), 0},
    {"waiting: all", IN_HEADER, HEADER(waiting), 0xff},
    {"word: empty", IN_SLOTS, offsetof(struct slot, word), 8, 0},
    {"word: supervisor", IN_SLOTS, offsetof(struct slot, word), 1, SLOT_SUPERVISOR},
    {"word: broken", IN_SLOTS, offsetof(struct slot, word), 1, SLOT_SUPERVISOR | SLOT_BROKEN << 4},
    {"word: idle", IN_SLOTS, offsetof(struct slot, word), 1, SLOT_IDLE},
    {"word: idle, flags", IN_SLOTS, offsetof(struct slot, word), 1, SLOT_IDLE | 0xf0},
    {"word: leased", IN_SLOTS, offsetof(struct slot, word), 8, SLOT_LEASED},
    {"word: granted", IN_SLOTS, offsetof(struct slot, word), 8, SLOT_GRANTED},
    {"word: no state", IN_SLOTS, offsetof(struct slot, word), 8, 0x09},
    {"word: ones", IN_SLOTS, offsetof(struct slot, word), 8, 0xff},
    {"since", IN_SLOTS, offsetof(struct slot, since), 16, 0xff},
    {"generation: none", IN_SLOTS, offsetof(struct slot, generation), 4, 0},
    {"generation: another", IN_SLOTS, offsetof(struct slot, generation), 4, 0x01},
    {"backend_pid", IN_SLOTS, offsetof(struct slot, backend_pid), 4, 0xff},
    {"owner: nobody", IN_BORROWERS, offsetof(struct borrower, owner), 8, 0},
    {"owner: ones", IN_BORROWERS, offsetof(struct borrower, owner), 8, 0xff},
    {"wait: waiting", IN_BORROWERS, offsetof(struct borrower, wait), 8, 0x01},
    {"wait: claimed", IN_BORROWERS, offsetof(struct borrower, wait), 8, 0x02},
    {"wait: ones", IN_BORROWERS, offsetof(struct borrower, wait), 8, 0xff},
    {"wake", IN_BORROWERS, offsetof(struct borrower, wake), 4, 0xff},
    {"worker: zero", IN_WORKERS, 0, sizeof(struct worker_record), 0},
    {"worker: ones", IN_WORKERS, 0, sizeof(struct worker_record), 0xff},
};
#define DAMAGES (sizeof damages / sizeof damages[0])

static void do_damage(const struct segment *s, size_t which)
{
    const struct {
        void *at;
        size_t count, size;
    } tables[] = {
        [IN_HEADER] = {s->header, 1, 0},
        [IN_SLOTS] = {s->slot, s->slots, sizeof *s->slot},
        [IN_BORROWERS] = {s->borrower, s->borrowers, sizeof *s->borrower},
        [IN_WORKERS] = {s->worker, s->borrowers, sizeof *s->worker},
    };
    enum where where = damages[which].where;

    for (size_t i = 0; i < tables[where].count; i++)
        (void)memset((char *)tables[where].at + i * tables[where].size + damages[which].at, damages[which].byte,
                     damages[which].size);
}

START_TEST(any_field)
{
    struct vandal v;
    pglend *pool;
    pid_t supervisor;

    start("{'pools': {'clinic': {'size': {'min': 1, 'max': 2}}}}");
    supervisor = pglendd_process(daemon_, "supervisor");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    borrow_again(pool, "nothing");
    for (size_t i = 0; i < DAMAGES; i++) {
        attach(&v);
        do_damage(&v.segment, i);
        in_worker(borrow_anew, (void *)(uintptr_t)damages[i].name, 2.0 * MEND_SECONDS);
        borrow_again(pool, damages[i].name);
        json_decref(pglendd_result(daemon_, "slots", NULL));
        json_decref(pglendd_result(daemon_, "workers", NULL));
        json_decref(pglendd_result(daemon_, "waiters", NULL));
        detach(&v);
    }
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    ck_assert_int_le(postgres_sessions(harness_server()), 2);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/*
 * The entry that a worker borrowed under before names another worker now. Without a cached session it has to ask the
 * supervisor, which refuses the false name: it must find that out, not try again without end.
 */
START_TEST(entry_of_another)
{
    struct vandal v;
    pglend *pool;
    PGconn *conn;

    start("{'pools': {'clinic': {'size': {'min': 2, 'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    conn = pglend_acquire(pool, 5000);
    ck_assert_ptr_nonnull(conn);
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_OK);
    attach(&v);
    for (uint32_t b = 0; b < v.segment.borrowers; b++)
        atomic_store(&v.segment.borrower[b].owner, (UINT64_C(7) << 16) | (v.worker + 1));
    atomic_store(&v.segment.borrower[5].owner, 0);
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    detach(&v);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* No lease has the name of one before, in another segment, or in another run of the daemon. */
START_TEST(names_of_leases)
{
    uint64_t last = 0, version;
    struct vandal v;
    pglend *pool;
    PGconn *conn;

    start("{'pools': {'clinic': {'size': {'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (int segment = 0; segment < 3; segment++) {
        for (int i = 0; i < 20; i++) {
            ck_assert_msg((conn = pglend_acquire(pool, 10000)) != NULL, "%s", pglend_errmessage(pool));
            ck_assert_int_eq(sscanf(pglend_lease_id(pool, conn), "clinic/0/%" SCNu64, &version), 1);
            ck_assert_msg(version > last, "segment %d: %" PRIu64 " comes after %" PRIu64, segment, version, last);
            last = version;
            ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
        }
        if (segment == 0) {
            attach(&v);
            atomic_store(&v.segment.header->retired, 1);
            detach(&v);
            wait_until(pglendd_logged(daemon_, "damaged the shared memory"), MEND_SECONDS);
        } else {
            pglendd_kill(daemon_);
            pglendd_resume(daemon_);
        }
    }
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* The next supervisor gets the segment as it is. */
START_TEST(any_field_before_a_restart)
{
    struct vandal v;
    pglend *pool;
    pid_t supervisor;

    start("{'pools': {'clinic': {'size': {'min': 1, 'max': 2}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    for (size_t i = 0; i < DAMAGES; i++) {
        if (damages[i].where != IN_WORKERS &&
            (damages[i].where != IN_HEADER || damages[i].at > offsetof(struct segment_header, policy)))
            continue;
        borrow_again(pool, "a restart");
        attach(&v);
        (void)pglendd_signal(daemon_, "supervisor", SIGSTOP);
        do_damage(&v.segment, i);
        supervisor = pglendd_replace(daemon_, "supervisor");
        detach(&v);
        in_worker(borrow_anew, (void *)(uintptr_t)damages[i].name, 2.0 * MEND_SECONDS);
        borrow_again(pool, damages[i].name);
        ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    }
    wait_until(postgres_sessions(harness_server()) <= 2, 6);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A supervisor that does not know it any more gives it nothing under its old name, and a new one as soon as it asks. */
START_TEST(record_of_a_worker)
{
    struct vandal v;
    uint64_t began;
    pglend *pool;
    PGconn *conn;

    start("{'pools': {'clinic': {'size': {'min': 4, 'max': 4}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    ck_assert_int_eq(pglend_discard(pool, conn), PGLEND_OK);
    wait_until(pglendd_count(daemon_, "idle") == 4, 5);
    attach(&v);
    ck_assert_int_eq(kill(pglendd_process(daemon_, "supervisor"), SIGSTOP), 0);
    for (uint32_t i = 0; i < v.segment.borrowers; i++)
        v.segment.worker[i].seal = 0;
    (void)pglendd_replace(daemon_, "supervisor");
    detach(&v);
    wait_until(pglendd_count(daemon_, "idle") == 4, 5);
    began = harness_now_ms();
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_uint_lt(harness_now_ms() - began, 3000);
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_OK);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* One record for each worker is all that counts: not copies of one's own, nor a process that never attached. */
START_TEST(records_of_nobody)
{
    size_t before, after;
    struct vandal v;
    pglend *pool;
    json_t *workers;
    pid_t supervisor;

    start("{'pools': {'clinic': {'max_workers': 512, 'size': {'min': 1, 'max': 1}}}}");
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    borrow(pool, "before");
    supervisor = pglendd_replace(daemon_, "supervisor");
    in_worker(borrow_anew, (void *)(uintptr_t) "a restart", MEND_SECONDS); /* it serves now */
    before = process_descriptors(supervisor);
    attach(&v);
    ck_assert_int_eq(kill(supervisor, SIGSTOP), 0);
    for (uint32_t i = 0; i < v.segment.borrowers; i++)
        if (v.segment.worker[i].pid == 0) {
            struct worker_record *record = &v.segment.worker[i];

            (void)memcpy((void *)record, (const void *)&v.segment.worker[v.worker], sizeof *record);
            if (i % 2 == 0) {
                record->pid = daemon_->pid;
                record->start_time = identity_start_time(daemon_->pid);
            }
        }
    supervisor = pglendd_replace(daemon_, "supervisor");
    detach(&v);
    borrow(pool, "after it");
    in_worker(borrow_anew, (void *)(uintptr_t) "anew", 2.0 * MEND_SECONDS);
    workers = pglendd_result(daemon_, "workers", NULL);
    after = process_descriptors(supervisor);
    ck_assert_uint_eq(json_array_size(workers), 1); /* this process, with POOL's handle and the vandal's */
    ck_assert_uint_le(after, before + 4);
    json_decref(workers);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- another size ---- */

static const struct {
    off_t size; /* -1: one byte less, -2: a page more */
    bool restart;
} sizes[] = {{0, false},  {1, false}, {4096, false}, {65536, false}, {-1, false},
             {-2, false}, {0, true},  {4096, true},  {-1, true},     {-2, true}};

START_TEST(another_size)
{
    struct vandal v;
    pid_t supervisor;
    off_t size;

    start("{'pools': {'clinic': {'size': {'min': 1, 'max': 2}}}}");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        in_worker(borrow_anew, (void *)(uintptr_t) "another size", 2.0 * MEND_SECONDS);
        supervisor = pglendd_process(daemon_, "supervisor");
        attach(&v);
        size = sizes[i].size == -1   ? (off_t)v.segment.size - 1
               : sizes[i].size == -2 ? (off_t)v.segment.size + 4096
                                     : sizes[i].size;
        if (sizes[i].restart)
            ck_assert_int_eq(kill(supervisor, SIGSTOP), 0);
        ck_assert_int_eq(ftruncate(v.segment_fd, size), 0);
        if (sizes[i].restart) {
            (void)pglendd_replace(daemon_, "supervisor");
        } else {
            /* What it was is of no more use to anybody: a new one comes by itself. */
            wait_until(pglendd_logged(daemon_, "damaged the shared memory"), 3);
            in_worker(borrow_anew, (void *)(uintptr_t) "truncation", 2.0 * MEND_SECONDS);
            ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
        }
        detach(&v);
    }
    in_worker(borrow_anew, (void *)(uintptr_t) "all", 2.0 * MEND_SECONDS);
    wait_until(postgres_sessions(harness_server()) <= 2, 6);
    pglendd_stop(daemon_);
}
END_TEST

/* The audit process reads the ring while it is cut off under its eyes, and neither dies nor writes what is not so. */
START_TEST(another_size_while_it_is_recorded)
{
    static const off_t cut[] = {0, 4096, 65536};
    char trail[128], text[512];
    struct vandal v;
    pid_t audit;

    pglendd_trail(trail);
    (void)snprintf(
        text, sizeof text,
        "{'audit': {'directory': '%s', 'window': '5ms'}, 'pools': {'clinic': {'size': {'min': 1, 'max': 2}}}}", trail);
    start(text);
    wait_until((audit = pglendd_process(daemon_, "audit")) != 0, 5);
    for (unsigned i = 0; i < sizeof cut / sizeof cut[0]; i++) {
        in_worker(borrow_anew, (void *)(uintptr_t) "while recorded", 2.0 * MEND_SECONDS);
        attach(&v);
        ck_assert_int_eq(ftruncate(v.segment_fd, cut[i]), 0);
        wait_until(pglendd_logged(daemon_, "damaged the shared memory") > i, 3);
        in_worker(borrow_anew, (void *)(uintptr_t) "truncation while recorded", 2.0 * MEND_SECONDS);
        ck_assert_int_eq(pglendd_process(daemon_, "audit"), audit);
        detach(&v);
    }
    ck_assert_int_eq(pglendd_logged(daemon_, "the audit process (pid"), 0);
    pglendd_stop(daemon_);
    (void)snprintf(text, sizeof text, "timeout 20 %s audit verify --key '%s.key' '%s' >/dev/null 2>&1",
                   harness_product("pglend"), trail, trail);
    ck_assert_int_eq(system(text), 0); /* NOLINT(cert-env33-c) */
}
END_TEST

/* ---- at random, under load ---- */

/* Any byte, any word, plausible words, and FETCH for anything. Says 'x' and ends when it got what it may not have. */
static int wreck(void *argument, int sock)
{
    unsigned seed = (unsigned)getpid();
    struct pollfd stop = {.fd = sock, .events = POLLIN};
    union wire_message message;
    struct vandal v;
    uint64_t seen;
    uint32_t slot;
    int fd;

    (void)argument;
    attach(&v);
    while (poll(&stop, 1, 0) == 0) {
        _Atomic uint64_t *word =
            (_Atomic uint64_t *)(void *)v.segment.header + (size_t)rand_r(&seed) % (v.segment.size / 8);

        slot = (uint32_t)rand_r(&seed) % 8;
        switch (rand_r(&seed) % 6) {
        case 0:
            ((volatile char *)v.segment.header)[(size_t)rand_r(&seed) % v.segment.size] = (char)rand_r(&seed);
            break;
        case 1:
            atomic_store(word, (uint64_t)rand_r(&seed) << 32 | (unsigned)rand_r(&seed));
            break;
        case 2:
            seen = slot_word(&v.segment, slot);
            atomic_store(&v.segment.slot[slot].word,
                         word_next(seen, (enum slot_state)(rand_r(&seed) % 6), (unsigned)rand_r(&seed) & 15,
                                   (uint32_t)rand_r(&seed) % 8));
            break;
        case 3:
            atomic_store(&v.segment.borrower[(uint32_t)rand_r(&seed) % 8].wait,
                         wait_make((enum wait_state)(rand_r(&seed) % 4), slot, (uint64_t)rand_r(&seed) % 8));
            break;
        default:
            /* A slot that some other worker holds, or nobody. */
            seen = atomic_load(&v.segment.borrower[0].owner);
            message = (union wire_message){.fetch = {.slot = slot, .borrower = 0}};
            if ((seen & 0xffff) == v.worker + 1 || wire_send(v.sock, WIRE_FETCH, &message, -1, 0) == -1 ||
                wire_receive_packet(v.sock, &message, sizeof message, &fd, 0) <= 0) {
                detach(&v);
                attach(&v);
            } else if (fd != -1) {
                say(sock,
                    message.header.type == WIRE_BACKEND && strcmp(message.backend.user, "clinic") == 0 ? 'b' : 'x');
                (void)close(fd);
            }
        }
        if (rand_r(&seed) % 64 == 0)
            harness_sleep_ms(1);
    }
    detach(&v);
    return 0;
}

/* Goes on whatever comes: it may be refused, disturbed, or given a session that another has too. */
static int borrow_on(void *argument, int sock)
{
    struct pollfd stop = {.fd = sock, .events = POLLIN};
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    (void)argument;
    while (poll(&stop, 1, 0) == 0) {
        uint64_t started = harness_now_ms();
        PGconn *conn = pglend_acquire(pool, 50);

        /* Its own bound holds, but for the answer of a server that it waits for once it has a session. */
        ck_assert_uint_lt(harness_now_ms() - started, 3000);
        if (conn == NULL)
            continue;
        if (PQsetnonblocking(conn, 1) == 0 && PQsendQuery(conn, "select 1") == 1)
            (void)poll(&(struct pollfd){.fd = PQsocket(conn), .events = POLLIN}, 1, 50);
        (void)pglend_release(pool, conn);
    }
    pglend_close(pool);
    return 0;
}

START_TEST(at_random)
{
    struct worker_process honest[HONEST], vandal[VANDALS];
    unsigned ms = harness_rounds(5000);
    pid_t supervisor;
    char byte;

    start("{'pools': {'clinic': {'size': {'min': 2, 'max': 4}}}}");
    supervisor = pglendd_process(daemon_, "supervisor");
    for (int i = 0; i < HONEST; i++)
        worker_fork(&honest[i], borrow_on, NULL);
    for (int i = 0; i < VANDALS; i++)
        worker_fork(&vandal[i], wreck, NULL);
    harness_sleep_ms(ms);
    for (int i = 0; i < VANDALS; i++) {
        /* What it was lent was of its own pool, and because the words named it. */
        while (recv(vandal[i].sock, &byte, 1, MSG_DONTWAIT) == 1)
            ck_assert_int_eq(byte, 'b');
        say(vandal[i].sock, 's');
        ck_assert_int_eq(worker_wait(&vandal[i], 10), 0);
    }
    for (int i = 0; i < HONEST; i++) {
        say(honest[i].sock, 's');
        ck_assert_int_eq(worker_wait(&honest[i], 10), 0);
    }
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    in_worker(borrow_anew, (void *)(uintptr_t) "vandals", 2.0 * MEND_SECONDS);
    wait_until(postgres_sessions(harness_server()) <= 4, 10);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_damage");
    TCase *tc = harness_live_case(suite, "damage", 120);

    tcase_add_test(tc, any_field);
    tcase_add_test(tc, entry_of_another);
    tcase_add_test(tc, any_field_before_a_restart);
    tcase_add_test(tc, records_of_nobody);
    tcase_add_test(tc, another_size);
    tc = harness_live_case(suite, "recorded", 60);
    tcase_add_test(tc, another_size_while_it_is_recorded);
    tc = harness_live_case(suite, "names", 60);
    tcase_add_test(tc, record_of_a_worker);
    tcase_add_test(tc, names_of_leases);
    tc = harness_live_case(suite, "random", 60);
    tcase_add_test(tc, at_random);
    return harness_main(suite);
}
