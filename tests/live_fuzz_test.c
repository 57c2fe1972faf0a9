/* SPDX-License-Identifier: ISC */
/*
 * live_fuzz_test.c - a worker that writes over any byte of its pool's segment, and workers that say anything on
 * worker.sock in any order, while others borrow: for FUZZ_SECONDS each.
 *
 * The two differ in what others may feel. Who writes in the segment may disturb the borrowers of its own pool, as long
 * as it does; what is only said must disturb nobody, ever. In both no process of pglendd falls, no descriptor goes to
 * who does not hold its slot, and the audit trail stays intact.
 */
#include "daemon.h"
#include "harness.h"
#include "lease.h"
#include "pglend.h"
#include "pglendd.h"
#include "pgwire.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS     4
#define HONEST    3
#define SESSIONS  3
#define ROUND_MS  1000 /* of vandalism, then all must be well again */
#define MEND_MS   8000
#define ANSWER_MS 5000
#define LIE_MS    200 /* for a reset that may never have been sent */
#define BORROW_MS 20000

static struct pglendd *daemon_;
static char trail[128], key[128];

/* What the processes of a test count together. */
static struct counted {
    _Atomic bool stop;
    _Atomic uint64_t done, leases, refused;
} * counted;

static unsigned seconds(void)
{
    const char *set = getenv("FUZZ_SECONDS");
    unsigned long wanted = set != NULL ? strtoul(set, NULL, 10) : 5;

    return wanted >= 1 && wanted <= 86400 ? (unsigned)wanted : 5;
}

/* A shell command: its exit status. */
__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
    char command[1024];
    va_list args;
    int status;

    va_start(args, format);
    (void)vsnprintf(command, sizeof command, format, args);
    va_end(args);
    status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void start(bool strict)
{
    char overrides[512];
    uid_t uid;
    gid_t gid;

    (void)snprintf(trail, sizeof trail, "%s/trail", harness_directory());
    (void)snprintf(key, sizeof key, "%s/trail.key", harness_directory());
    harness_unprivileged(&uid, &gid);
    (void)run("rm -rf '%s' '%s'", trail, key);
    ck_assert(mkdir(trail, 0700) == 0 && chown(trail, uid, gid) == 0);
    ck_assert_int_eq(run("%s audit init --key-out '%s' '%s' >/dev/null 2>&1", harness_product("pglend"), key, trail),
                     0);
    (void)snprintf(overrides, sizeof overrides,
                   "{'audit': {'directory': '%s', 'window': '5ms'}, 'log': {'level': 'info'}, 'pools': {'clinic': "
                   "{'isolation': '%s', 'size': {'min': 2, 'max': %d, 'limit': %d}, 'max_workers': 32}}}",
                   trail, strict ? "strict" : "shared", SLOTS, SLOTS);
    counted = mmap(NULL, sizeof *counted, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(counted, MAP_FAILED);
    daemon_ = pglendd_start(harness_server(), overrides);
}

/* The same processes as before, and a trail that verifies. */
static void stop(pid_t supervisor, pid_t audit)
{
    ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
    ck_assert_int_eq(pglendd_process(daemon_, "audit"), audit);
    wait_until(postgres_sessions(harness_server()) <= SLOTS, 10);
    pglendd_stop(daemon_);
    ck_assert_int_eq(run("%s audit verify --key '%s' '%s' >&2", harness_product("pglend"), key, trail), 0);
    (void)munmap(counted, sizeof *counted);
}

/* ---- a worker without the library ---- */

struct raw {
    unsigned seed;
    int sock; /* -1: not connected */
    bool greeted;
    uint32_t worker, borrower, slot;
    uint32_t serial;  /* strict: of the last request, */
    uint64_t version; /* and of the lease */
    int lent;         /* -1: none */
    bool pending;     /* its last borrower's reset is to be read off it first */
    struct segment segment;
};

static unsigned choose(struct raw *r, size_t among)
{
    return (unsigned)rand_r(&r->seed) % (unsigned)among;
}

static void leave(struct raw *r)
{
    if (r->greeted)
        segment_unmap(&r->segment);
    if (r->lent != -1)
        (void)close(r->lent);
    if (r->sock != -1)
        (void)close(r->sock);
    *r = (struct raw){.seed = r->seed, .sock = -1, .lent = -1, .borrower = NO_BORROWER, .slot = NO_SLOT};
}

static void join(struct raw *r)
{
    leave(r);
    r->sock = pglendd_connect(daemon_, "worker.sock");
}

static void greet(struct raw *r)
{
    union wire_message m = {.hello = {.pool = "clinic", .worker = NO_WORKER}};
    int fd = -1;

    join(r);
    if (wire_send(r->sock, WIRE_HELLO, &m, -1, 0) == 0 && wire_receive_packet(r->sock, &m, sizeof m, &fd, 0) > 0 &&
        fd != -1 && m.header.type == WIRE_WELCOME) {
        r->worker = m.welcome.worker;
        r->greeted = segment_map(&r->segment, fd) == 0;
    }
    if (fd != -1)
        (void)close(fd);
}

/* ---- any byte ---- */

/* Each part of the segment as often as another, however large it is. */
static void overwrite(struct raw *r)
{
    const struct segment *s = &r->segment;
    const struct {
        void *at;
        size_t size;
    } parts[] = {
        {s->header, sizeof *s->header},
        {s->slot, s->slots * sizeof *s->slot},
        {s->borrower, s->borrowers * sizeof *s->borrower},
        {s->asserted, s->borrowers * sizeof *s->asserted},
        {s->worker, s->borrowers * sizeof *s->worker},
        {s->stripe, STATS_STRIPES * sizeof *s->stripe},
        {s->ring, s->records * sizeof *s->ring},
        {s->header, s->size},
    };
    size_t part = choose(r, sizeof parts / sizeof parts[0]), at;
    volatile unsigned char *byte;

    if (parts[part].size == 0)
        return;
    at = choose(r, parts[part].size);
    byte = (volatile unsigned char *)parts[part].at + at;
    switch (choose(r, 4)) {
    case 0:
        *byte = 0;
        break;
    case 1:
        *byte = 0xff;
        break;
    case 2:
        *byte ^= (unsigned char)(1U << choose(r, 8));
        break;
    default:
        *byte = (unsigned char)choose(r, 256);
    }
    (void)atomic_fetch_add(&counted->done, 1);
}

static int vandalise(void *argument, int sock)
{
    uint64_t until = harness_now_ms() + ROUND_MS;
    struct raw r = {.seed = *(unsigned *)argument, .sock = -1, .lent = -1};

    (void)sock;
    while (harness_now_ms() < until) {
        greet(&r);
        for (unsigned i = 0; r.greeted && i < 20000 && harness_now_ms() < until; i++) {
            overwrite(&r);
            if (choose(&r, 32) == 0)
                harness_sleep_ms(1);
        }
        if (!r.greeted)
            harness_sleep_ms(5);
    }
    leave(&r);
    return 0;
}

/* Goes on whatever comes; falls only if the library does. */
static int borrow_on(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");

    (void)argument;
    (void)sock;
    while (!atomic_load(&counted->stop)) {
        PGconn *conn = pglend_acquire(pool, 50);

        (void)atomic_fetch_add(conn != NULL ? &counted->leases : &counted->refused, 1);
        if (conn == NULL)
            continue;
        if (PQsetnonblocking(conn, 1) == 0 && PQsendQuery(conn, "select 1") == 1)
            (void)poll(&(struct pollfd){.fd = PQsocket(conn), .events = POLLIN}, 1, 50);
        (void)pglend_release(pool, conn);
    }
    pglend_close(pool);
    return 0;
}

/* Somebody who comes now is served within MEND_MS. */
static int is_mended(void *argument, int sock)
{
    uint64_t until = harness_now_ms() + MEND_MS;
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    bool ok = false;

    (void)argument;
    (void)sock;
    while (!ok && harness_now_ms() < until) {
        PGconn *conn = pglend_acquire(pool, 1000);
        PGresult *result;

        if (conn == NULL)
            continue;
        result = PQexec(conn, "select current_user");
        ok = PQresultStatus(result) == PGRES_TUPLES_OK && strcmp(PQgetvalue(result, 0, 0), "clinic") == 0;
        PQclear(result);
        (void)(ok ? pglend_release : pglend_discard)(pool, conn);
    }
    ck_assert_msg(ok, "not mended: %s", pglend_errmessage(pool));
    pglend_close(pool);
    return 0;
}

START_TEST(any_byte)
{
    struct worker_process honest[HONEST];
    uint64_t until = harness_now_ms() + (uint64_t)seconds() * 1000;
    unsigned seed = (unsigned)harness_now_ms();
    pid_t supervisor, audit;

    start(false);
    supervisor = pglendd_process(daemon_, "supervisor");
    audit = pglendd_process(daemon_, "audit");
    for (int i = 0; i < HONEST; i++)
        worker_fork(&honest[i], borrow_on, NULL);
    for (; harness_now_ms() < until; seed++) {
        in_worker(vandalise, &seed, 60);
        in_worker(is_mended, NULL, 60);
        ck_assert_int_eq(pglendd_process(daemon_, "supervisor"), supervisor);
        ck_assert_int_eq(pglendd_process(daemon_, "audit"), audit);
    }
    atomic_store(&counted->stop, true);
    for (int i = 0; i < HONEST; i++)
        ck_assert_int_eq(worker_wait(&honest[i], 20), 0);
    printf("segment: %llu bytes overwritten, meanwhile %llu leases and %llu refusals\n",
           (unsigned long long)atomic_load(&counted->done), (unsigned long long)atomic_load(&counted->leases),
           (unsigned long long)atomic_load(&counted->refused));
    stop(supervisor, audit);
}
END_TEST

/* ---- any message ---- */

/* An answer to its end. False: the session is dead, or what is pending was a lie. */
static bool answered(const struct raw *r)
{
    struct pollfd wait = {.fd = r->lent, .events = POLLIN};
    char answer[4096];
    ssize_t got = 1;

    while (got > 0) {
        if (poll(&wait, 1, r->pending ? LIE_MS : ANSWER_MS) != 1) {
            ck_assert_msg(r->pending, "the lent session does not answer");
            return false;
        }
        got = recv(r->lent, answer, sizeof answer, MSG_DONTWAIT);
        if (got >= 6 && memcmp(answer + got - 6, "Z\0\0\0\5I", 6) == 0)
            return true;
    }
    return false;
}

/* On the session itself it keeps to the rules: whoever lends one out trusts its borrower that far. */
static bool ask(struct raw *r, const char *sql)
{
    unsigned char bytes[128];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    if (r->pending && !answered(r))
        return false;
    r->pending = false;
    pg_query(&out, sql);
    return send(r->lent, bytes, out.length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)out.length;
}

static void acquire(struct raw *r)
{
    struct lease_wish wish = {.own = NO_SLOT, .max = SLOTS, .now = clock_ns()};
    uint64_t word;

    if (!r->greeted || r->slot != NO_SLOT)
        return;
    if (r->borrower == NO_BORROWER && borrower_claim(&r->segment, r->worker, &r->borrower) == -1) {
        r->borrower = NO_BORROWER;
        return;
    }
    r->slot = lease_try(&r->segment, r->borrower, &wish, &word);
    if (r->slot != NO_SLOT)
        r->pending = (word_flags(word) & SLOT_RESET_PENDING) != 0;
    if (r->slot != NO_SLOT || choose(r, 2) == 0)
        return;
    lease_enqueue(&r->segment, r->borrower, &wish);
    r->slot = lease_wait(&r->segment, r->borrower, &wish, clock_ns() + 20000000, &word);
    if (r->slot == NO_SLOT)
        r->slot = lease_leave(&r->segment, r->borrower, &word);
    r->pending = r->slot != NO_SLOT && (word_flags(word) & SLOT_RESET_PENDING) != 0;
}

/* Of the slot held, or any: what is not held must not come. */
static void fetch(struct raw *r)
{
    bool own = r->slot != NO_SLOT && choose(r, 3) > 0;
    union wire_message m = {.fetch = {.serial = (uint32_t)rand_r(&r->seed)}};
    uint32_t serial = m.fetch.serial, slot, borrower;
    int fd = -1;

    if (!r->greeted)
        return;
    m.fetch.slot = slot = own ? r->slot : choose(r, SLOTS + 2);
    m.fetch.borrower = borrower = own ? r->borrower : choose(r, 64);
    if (wire_send(r->sock, WIRE_FETCH, &m, -1, 0) == -1 || wire_receive_packet(r->sock, &m, sizeof m, &fd, 0) <= 0) {
        leave(r);
        return;
    }
    ck_assert(m.header.type == WIRE_BACKEND || m.header.type == WIRE_NOT_FETCHED);
    ck_assert_uint_eq(m.header.type == WIRE_BACKEND ? m.backend.serial : m.not_fetched.serial, serial);
    ck_assert_int_eq(m.header.type == WIRE_BACKEND, fd != -1);
    ck_assert_msg(fd == -1 || (slot == r->slot && borrower == r->borrower),
                  "slot %u, which borrower %u does not hold, was lent", slot, borrower);
    if (fd != -1 && r->lent != -1)
        (void)close(r->lent);
    if (fd != -1)
        r->lent = fd;
}

/* Well, badly, untouched, or with a lie: a reset that was never sent. */
static void give(struct raw *r)
{
    union wire_message m = {.returned = {.slot = r->slot}};
    bool lie = choose(r, 8) == 0, well = choose(r, 3) > 0;
    unsigned flags = r->pending ? SLOT_RESET_PENDING : 0;
    enum lease_end end;

    if (r->slot == NO_SLOT)
        return;
    if (r->lent != -1 && well && !lie)
        well = ask(r, "DISCARD ALL");
    if (r->lent != -1 || lie)
        flags = SLOT_RESET_PENDING;
    if (r->lent != -1)
        (void)close(r->lent);
    r->lent = -1;
    end = well ? lease_give(&r->segment, r->borrower, r->slot, flags)
               : lease_surrender(&r->segment, r->borrower, r->slot, choose(r, 2) ? SLOT_BROKEN : 0);
    if (end == LEASE_SUPERVISOR && choose(r, 4) > 0)
        (void)wire_send(r->sock, WIRE_RETURNED, &m, -1, MSG_DONTWAIT);
    r->slot = NO_SLOT;
}

static void use(struct raw *r)
{
    if (r->lent != -1 && ask(r, "select 1"))
        (void)answered(r);
}

static void say_returned(struct raw *r)
{
    union wire_message m = {.returned = {.slot = choose(r, SLOTS + 2)}};

    if (r->sock != -1)
        (void)wire_send(r->sock, WIRE_RETURNED, &m, -1, MSG_DONTWAIT);
}

static void say_want(struct raw *r)
{
    union wire_message m = {0};

    if (r->sock != -1)
        (void)wire_send(r->sock, WIRE_WANT, &m, -1, MSG_DONTWAIT);
}

/* A message of any type and length, right or wrong; what answers is not waited for. */
static void say_anything(struct raw *r)
{
    unsigned char packet[512];
    struct wire_header header = {WIRE_MAGIC, WIRE_VERSION, (uint16_t)choose(r, WIRE_HOLDING + 8)};
    size_t length = choose(r, sizeof packet);

    if (r->sock == -1)
        return;
    for (size_t i = 0; i < sizeof packet; i++)
        packet[i] = (unsigned char)rand_r(&r->seed);
    if (choose(r, 4) > 0)
        memcpy(packet, &header, sizeof header);
    (void)send(r->sock, packet, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    leave(r); /* as it will be told to */
}

/* Connected, and not greeted, or greeted as what it is not. */
static void greet_badly(struct raw *r)
{
    union wire_message m = {.hello = {.pool = "clinic", .worker = choose(r, 64)}};

    join(r);
    if (choose(r, 2) == 0)
        (void)snprintf(m.hello.pool, sizeof m.hello.pool, "clinic%u", choose(r, 9));
    if (choose(r, 2) == 0)
        (void)wire_send(r->sock, WIRE_HELLO, &m, -1, MSG_DONTWAIT);
    leave(r);
}

static void (*const steps[])(struct raw *r) = {
    greet, greet, acquire,  acquire,  fetch,        fetch,        fetch,       use,   use,
    give,  give,  say_want, say_want, say_returned, say_anything, greet_badly, leave,
};

/* ---- the same in strict isolation ---- */

/* A relay cuts off who keeps a descriptor; the backend's own socket is trusted to the one who has had it (README). */
static bool may_keep(void)
{
    return postgres_certificate() != NULL;
}

/* Its answer, which may be to one that was given up. False: the supervisor has hung up. */
static bool hear_answer(struct raw *r, bool given_up)
{
    union wire_message m;
    int fd = -1;

    if (wire_receive_packet(r->sock, &m, sizeof m, &fd, 0) <= 0) {
        leave(r);
        return false;
    }
    ck_assert(m.header.type == WIRE_BACKEND || m.header.type == WIRE_NOT_FETCHED);
    ck_assert_int_eq(m.header.type == WIRE_BACKEND, fd != -1);
    if (fd == -1)
        return true;
    if (given_up && !may_keep()) {
        (void)close(fd);
        return true;
    }
    r->lent = fd;
    r->slot = m.backend.slot;
    r->version = m.backend.version;
    if (m.backend.waited && choose(r, 16) > 0)
        (void)fcntl(fd, F_SETFL, O_NONBLOCK | LEASE_TAKEN);
    return true;
}

static void ask_strictly(struct raw *r)
{
    union wire_message m = {.acquire = {.serial = ++r->serial, .own = choose(r, SLOTS + 2)}};
    bool given_up;

    if (!r->greeted || r->slot != NO_SLOT)
        return;
    given_up = choose(r, 4) == 0;
    m.acquire.until = clock_ns() + choose(r, 20) * UINT64_C(1000000);
    if (wire_send(r->sock, WIRE_ACQUIRE, &m, -1, 0) == -1) {
        leave(r);
        return;
    }
    m = (union wire_message){.give_up = {.serial = r->serial}};
    if (given_up)
        (void)wire_send(r->sock, WIRE_GIVE_UP, &m, -1, 0);
    (void)hear_answer(r, given_up);
}

/* Rightly, with a lie about how it is left, twice, or one that it does not have; and it may use the descriptor yet. */
static void release_strictly(struct raw *r)
{
    union wire_message m = {.release = {.slot = r->slot, .version = r->version, .left = choose(r, LEFT_BROKEN + 2)}};
    unsigned times = 1 + (choose(r, 8) == 0);

    if (!r->greeted || r->slot == NO_SLOT)
        return;
    if (choose(r, 8) == 0)
        m.release.slot = choose(r, SLOTS + 2);
    if (choose(r, 8) == 0)
        m.release.version += 1 + choose(r, 3);
    while (times-- > 0)
        (void)wire_send(r->sock, WIRE_RELEASE, &m, -1, MSG_DONTWAIT);
    if (m.release.slot != r->slot || m.release.version != r->version) {
        leave(r); /* as one that dies with it */
        return;
    }
    if (may_keep() && choose(r, 4) == 0) /* nobody may be hit by it */
        (void)send(r->lent, "Q\0\0\0\15select 8", 14, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)close(r->lent);
    r->lent = -1;
    r->slot = NO_SLOT;
}

/* It has left the session in the middle of something. */
static void dirty(struct raw *r)
{
    static const char *const left[] = {"begin", "select pg_sleep(0.05)", "copy (select 1) to stdout",
                                       "set search_path to nowhere"};
    unsigned char bytes[128];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    pg_query(&out, left[choose(r, sizeof left / sizeof left[0])]);
    if (r->lent != -1)
        (void)send(r->lent, bytes, out.length - (choose(r, 4) == 0), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Nobody asked for it, so it is the last that it said. */
static void say_holding(struct raw *r)
{
    union wire_message m = {.holding = {.count = choose(r, HOLDING_MAX + 2), .more = choose(r, 2)}};

    if (r->sock != -1)
        (void)wire_send(r->sock, WIRE_HOLDING, &m, -1, MSG_DONTWAIT);
    leave(r);
}

static void (*const strict_steps[])(struct raw *r) = {
    greet,
    greet,
    ask_strictly,
    ask_strictly,
    ask_strictly,
    ask_strictly,
    release_strictly,
    release_strictly,
    release_strictly,
    dirty,
    say_holding,
    say_anything,
    greet_badly,
    leave,
};

/* One step after another, of COUNT. */
static int say_any(void (*const step[])(struct raw *r), size_t count)
{
    struct raw r = {.seed = (unsigned)getpid(), .sock = -1, .lent = -1, .borrower = NO_BORROWER, .slot = NO_SLOT};

    while (!atomic_load(&counted->stop)) {
        step[choose(&r, count)](&r);
        (void)atomic_fetch_add(&counted->done, 1);
    }
    leave(&r);
    return 0;
}

static int say_what_it_likes(void *argument, int sock)
{
    (void)argument;
    (void)sock;
    return say_any(steps, sizeof steps / sizeof steps[0]);
}

static int say_strictly_what_it_likes(void *argument, int sock)
{
    (void)argument;
    (void)sock;
    return say_any(strict_steps, sizeof strict_steps / sizeof strict_steps[0]);
}

/* Nobody notices: each lease comes in time, works, and ends well. */
static int borrow_in_peace(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    char text[16];

    (void)argument;
    (void)sock;
    while (!atomic_load(&counted->stop)) {
        PGconn *conn = pglend_acquire(pool, BORROW_MS);

        ck_assert_msg(conn != NULL, "disturbed: %s", pglend_errmessage(pool));
        ck_assert_str_eq(query(conn, "select 7", text, sizeof text), "7");
        ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "disturbed: %s", pglend_errmessage(pool));
        (void)atomic_fetch_add(&counted->leases, 1);
    }
    pglend_close(pool);
    return 0;
}

START_TEST(any_message)
{
    worker_function *const bad[] = {say_what_it_likes, say_strictly_what_it_likes};
    struct worker_process worker[HONEST + SESSIONS];
    bool strict = _i != 0;
    uint64_t until;
    pid_t supervisor, audit;

    if (strict && geteuid() != 0) {
        printf("worker.sock, strict: skipped: strict isolation needs two users, and so root\n");
        return;
    }
    start(strict);
    supervisor = pglendd_process(daemon_, "supervisor");
    audit = pglendd_process(daemon_, "audit");
    for (int i = 0; i < HONEST + SESSIONS; i++)
        worker_fork(&worker[i], i < HONEST ? borrow_in_peace : bad[_i], NULL);
    for (until = harness_now_ms() + (uint64_t)seconds() * 1000; harness_now_ms() < until; harness_sleep_ms(20))
        for (int i = 0; i < HONEST + SESSIONS; i++)
            ck_assert_msg(process_state(worker[i].pid) != 'Z', "worker %d has ended", i);
    atomic_store(&counted->stop, true);
    for (int i = 0; i < HONEST + SESSIONS; i++)
        ck_assert_int_eq(worker_wait(&worker[i], 30), 0);
    printf("worker.sock%s: %llu steps of bad workers, meanwhile %llu leases\n", strict ? ", strict" : "",
           (unsigned long long)atomic_load(&counted->done), (unsigned long long)atomic_load(&counted->leases));
    ck_assert_uint_gt(atomic_load(&counted->leases), 0);
    wait_until(pglendd_count(daemon_, "leased") == 0, 10);
    stop(supervisor, audit);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_fuzz");
    TCase *tc = harness_live_case(suite, "fuzz", seconds() + 120);

    tcase_add_test(tc, any_byte);
    tcase_add_loop_test(tc, any_message, 0, 2);
    return harness_main(suite);
}
