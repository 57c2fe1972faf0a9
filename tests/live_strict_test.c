/* SPDX-License-Identifier: ISC */
/*
 * live_strict_test.c - what isolation strict adds: shared memory that workers cannot write, leases that only their
 * borrower can end, a reset that believes no worker, and nothing lost with a supervisor.
 *
 * It takes two users, and so root; without it these tests say so and pass. That all else holds in strict isolation is
 * for `make check-strict`.
 */
#include "borrow.h"
#include "harness.h"
#include "lease.h"
#include "pglend.h"
#include "pglendd.h"
#include "pgwire.h"
#include "wire.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STRICT(more) "{'user': 'uucp', 'pools': {'clinic': {'isolation': 'strict'" more "}}}"
#define ONE          ", 'size': {'max': 1}"

static struct pglendd *daemon_;

static bool start(const char *overrides)
{
    if (geteuid() != 0) {
        (void)printf("not root: skipped\n");
        return false;
    }
    daemon_ = pglendd_start(harness_server(), overrides);
    return true;
}

static void become(const char *user)
{
    const struct passwd *account = getpwnam(user);

    ck_assert_ptr_nonnull(account);
    ck_assert_int_eq(setgroups(0, NULL), 0);
    ck_assert_int_eq(setgid(account->pw_gid), 0);
    ck_assert_int_eq(setuid(account->pw_uid), 0);
}

/* ---- a worker that speaks for itself ---- */

struct bare {
    int sock;
    int segment; /* its descriptor */
    struct segment map;
};

static void hear_message(const struct bare *w, union wire_message *message, int *fd)
{
    ssize_t got = wire_receive_packet(w->sock, message, sizeof *message, fd, 0);

    ck_assert_msg(got > 0 && wire_check(message, (size_t)got), "no message: %s", strerror(errno));
}

static void attach(struct bare *w)
{
    union wire_message message = {.hello = {.pool = "clinic", .worker = NO_WORKER}};

    w->sock = pglendd_connect(daemon_, "worker.sock");
    ck_assert_int_eq(wire_send(w->sock, WIRE_HELLO, &message, -1, 0), 0);
    hear_message(w, &message, &w->segment);
    ck_assert_int_eq(message.header.type, WIRE_WELCOME);
    ck_assert_int_eq(segment_map(&w->map, w->segment), 0);
}

static void detach(struct bare *w)
{
    segment_unmap(&w->map);
    (void)close(w->segment);
    (void)close(w->sock);
}

/* The backend's socket, and of which lease. */
static int acquire_bare(const struct bare *w, struct wire_backend *lease)
{
    union wire_message message = {.acquire = {.serial = 1, .own = NO_SLOT, .until = UINT64_MAX}};
    int fd = -1;

    ck_assert_int_eq(wire_send(w->sock, WIRE_ACQUIRE, &message, -1, 0), 0);
    hear_message(w, &message, &fd);
    ck_assert_int_eq(message.header.type, WIRE_BACKEND);
    ck_assert_int_ne(fd, -1);
    *lease = message.backend;
    return fd;
}

static void release_bare(const struct bare *w, uint32_t slot, uint64_t version, uint32_t left)
{
    union wire_message message = {.release = {.slot = slot, .version = version, .left = left}};

    ck_assert_int_eq(wire_send(w->sock, WIRE_RELEASE, &message, -1, 0), 0);
}

/* ---- the shared memory ---- */

static int try_to_write(void *argument, int sock)
{
    char path[64];
    struct bare w;
    void *map;

    (void)argument;
    (void)sock;
    become("nobody");
    attach(&w);
    ck_assert(w.map.readonly);
    ck_assert_int_eq(fcntl(w.segment, F_GETFL) & O_ACCMODE, O_RDONLY);
    map = mmap(NULL, w.map.size, PROT_READ | PROT_WRITE, MAP_SHARED, w.segment, 0);
    ck_assert(map == MAP_FAILED && errno == EACCES);
    ck_assert(mprotect(w.map.header, w.map.size, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
    ck_assert(pwrite(w.segment, "x", 1, 0) == -1 && errno == EBADF);
    ck_assert_int_eq(ftruncate(w.segment, 0), -1);
    ck_assert_int_eq(fchmod(w.segment, 0666), -1);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", w.segment);
    ck_assert(open(path, O_RDWR | O_CLOEXEC) == -1 && errno == EACCES);
    ck_assert(open(path, O_WRONLY | O_TRUNC | O_CLOEXEC) == -1 && errno == EACCES);
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pglendd_process(daemon_, "supervisor"));
    ck_assert_int_eq(open(path, O_RDWR | O_CLOEXEC), -1);
    detach(&w);
    return 0;
}

START_TEST(a_worker_cannot_write_the_shared_memory)
{
    struct segment map;
    int fd, reader;

    if (!start(STRICT("")))
        return;
    in_worker(try_to_write, NULL, 20);
    pglendd_stop(daemon_);
    /* One without a name is made for everybody by the kernel. */
    fd = segment_create(NULL, "clinic", 4, 4, 0);
    reader = segment_reader(fd);
    ck_assert_int_ne(reader, -1);
    ck_assert_int_eq(segment_map(&map, reader), 0);
    ck_assert(map.readonly);
    segment_unmap(&map);
    become("nobody");
    (void)close(fd);
    {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", reader);
        ck_assert(open(path, O_RDWR | O_CLOEXEC) == -1 && errno == EACCES);
    }
    (void)close(reader);
}
END_TEST

static int be_refused(void *argument, int sock)
{
    pglend *pool;

    (void)argument;
    (void)sock;
    become("uucp");
    pool = open_pool(daemon_);
    ck_assert_ptr_null(pglend_acquire(pool, 2000));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_DENIED);
    ck_assert_msg(strstr(pglend_errmessage(pool), "run pglendd as another user") != NULL, "%s",
                  pglend_errmessage(pool));
    pglend_close(pool);
    return 0;
}

START_TEST(the_supervisors_own_user_is_refused)
{
    pglend *pool;

    if (!start(STRICT(", 'access': {'users': ['uucp', 'nobody']}")))
        return;
    in_worker(be_refused, NULL, 20);
    pool = open_pool(daemon_);
    give_back(pool, borrow(pool, 5000));
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- the descriptor ---- */

/* How many descriptors of this process lead to INODE. */
static int copies_of(ino_t inode)
{
    DIR *dir = opendir("/proc/self/fd");
    int copies = 0;

    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat st;

        copies += fstat(atoi(e->d_name), &st) == 0 && st.st_ino == inode;
    }
    (void)closedir(dir);
    return copies;
}

START_TEST(a_release_leaves_no_copy_of_the_descriptor)
{
    pglend *pool;

    if (!start(STRICT(ONE)))
        return;
    pool = open_pool(daemon_);
    for (int i = 0; i < 5; i++) {
        PGconn *conn = borrow(pool, 5000);
        struct stat st;

        one(conn);
        ck_assert_int_eq(fstat(PQsocket(conn), &st), 0);
        ck_assert_int_gt(copies_of(st.st_ino), 0);
        give_back(pool, conn);
        ck_assert_int_eq(copies_of(st.st_ino), 0);
        PQclear(PQexec(conn, "create temporary table used_after_release ()"));
        ck_assert_int_eq(PQstatus(conn), CONNECTION_BAD);
    }
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- whose a lease is ---- */

START_TEST(nobody_else_ends_a_lease)
{
    struct wire_backend lease;
    struct bare other;
    PGconn *conn;
    pglend *pool;
    int fd, pid;

    if (!start(STRICT(", 'size': {'max': 2}")))
        return;
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    pid = PQbackendPID(conn);
    attach(&other);
    fd = acquire_bare(&other, &lease);
    /* All it can read of the other's lease it says, and much that it cannot. */
    for (uint32_t slot = 0; slot < 4; slot++)
        for (uint64_t version = 0; version < 64; version++)
            if (slot != lease.slot || version != lease.version)
                release_bare(&other, slot, version, (uint32_t)version % 5);
    for (uint32_t slot = 0; slot < other.map.slots; slot++)
        if (slot != lease.slot)
            release_bare(&other, slot, atomic_load(&other.map.slot[slot].lease), LEFT_BROKEN);
    release_bare(&other, UINT32_MAX, lease.version, LEFT_AT_REST);
    release_bare(&other, lease.slot, lease.version, LEFT_AT_REST);
    wait_until(pglendd_count(daemon_, "leased") == 1, 5);
    /* The same, once more, is of no lease. */
    release_bare(&other, lease.slot, lease.version, LEFT_BROKEN);
    one(conn);
    ck_assert_int_eq(PQbackendPID(conn), pid);
    give_back(pool, conn);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    (void)close(fd);
    detach(&other);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- what a worker leaves, and says that it does not ---- */

struct lie {
    const char *name;
    const char *sql; /* sent as one Query before the release, its answer unread; NULL: */
    const char *bytes;
    size_t length;
};
#define BYTES(text) NULL, text, sizeof(text) - 1
static const struct lie lies[] = {
    {"nothing", BYTES("")},
    {"a transaction", "begin; set local timezone to 'Asia/Tokyo'", "", 0},
    {"a failed one", "begin; create temporary table t (x int); select 1 / 0", "", 0},
    {"settings", "set timezone to 'Asia/Tokyo'; select pg_advisory_lock(1); set role none", "", 0},
    {"its own reset, unread", "discard all", "", 0},
    {"COPY", "create temporary table t (x int); copy t from stdin", "", 0},
    {"much that is unread", "select repeat('x', 1000) from generate_series(1, 100000)", "", 0},
    {"a sleep", "select pg_sleep(9)", "", 0},
    {"half a message", BYTES("Q\0\0\1\0select ")},
    {"a message that ends within a question", BYTES("Q\0\0\0\40select '")},
    {"garbage", BYTES("\377\377\377\377\377\377\377\377")},
    {"a pipeline, no sync", BYTES("P\0\0\0\22\0select 1\0\0\0B\0\0\0\14\0\0\0\0\0\0\0\0E\0\0\0\11\0\0\0\0\0")},
};

START_TEST(what_a_worker_says_of_its_session_is_not_believed)
{
    const struct lie *lie = &lies[_i];
    unsigned char bytes[256];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};
    struct wire_backend lease;
    char text[64];
    struct bare w;
    PGconn *conn;
    pglend *pool;
    int fd;

    if (!start(STRICT(ONE)))
        return;
    attach(&w);
    fd = acquire_bare(&w, &lease);
    pg_bytes(&out, lie->bytes, lie->length);
    if (lie->sql != NULL)
        pg_query(&out, lie->sql);
    ck_assert(!out.overflow);
    ck_assert_int_eq(send(fd, bytes, out.length, MSG_NOSIGNAL), (ssize_t)out.length);
    (void)close(fd);
    release_bare(&w, lease.slot, lease.version, LEFT_AT_REST);
    pool = open_pool(daemon_);
    conn = borrow(pool, 10000);
    ck_assert_str_eq(query(conn, "select count(*) from pg_locks where locktype = 'advisory'", text, sizeof text), "0");
    ck_assert_str_eq(query(conn, "show timezone", text, sizeof text), PQparameterStatus(conn, "TimeZone"));
    ck_assert_str_ne(text, "Asia/Tokyo");
    ck_assert_str_eq(query(conn, "select to_regclass('pg_temp.t') is null", text, sizeof text), "t");
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
    give_back(pool, conn);
    detach(&w);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- many threads, one connection to the supervisor ---- */

#define THREADS 8
#define TURNS   60

static pglend *shared_pool;

static void *take_turns(void *argument)
{
    (void)argument;
    for (int i = 0; i < TURNS; i++) {
        PGconn *conn = borrow(shared_pool, 10000);

        one(conn);
        give_back(shared_pool, conn);
    }
    return NULL;
}

/* Its own deadline is not the others': it fails when it must, and they go on. */
static void *wait_in_vain(void *argument)
{
    uint64_t begun = harness_now_ms(), took;
    pglend *none = argument;

    ck_assert_ptr_null(pglend_acquire(none, 300));
    ck_assert_int_eq(pglend_errcode(none), PGLEND_TIMEOUT);
    took = harness_now_ms() - begun;
    ck_assert_msg(took >= 290 && took < 2000, "%llu ms", (unsigned long long)took);
    return NULL;
}

START_TEST(threads_wait_side_by_side)
{
    pthread_t thread[THREADS], patient;
    PGconn *held[2];

    if (!start(STRICT(", 'size': {'max': 2}")))
        return;
    shared_pool = open_pool(daemon_);
    held[0] = borrow(shared_pool, 5000);
    held[1] = borrow(shared_pool, 5000);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&thread[i], NULL, take_turns, NULL), 0);
    wait_until(pglendd_count(daemon_, "waiting") == THREADS, 10);
    ck_assert_int_eq(pthread_create(&patient, NULL, wait_in_vain, shared_pool), 0);
    ck_assert_int_eq(pthread_join(patient, NULL), 0);
    ck_assert_ptr_null(pglend_acquire(shared_pool, 0));
    ck_assert_int_eq(pglend_errcode(shared_pool), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(shared_pool), "2 leased, 0 idle, 8 waiting") != NULL, "%s",
                  pglend_errmessage(shared_pool));
    give_back(shared_pool, held[0]);
    give_back(shared_pool, held[1]);
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
    wait_until(pglendd_count(daemon_, "idle") == 2 && pglendd_count(daemon_, "waiting") == 0, 5);
    pglend_close(shared_pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- a supervisor dies with what it was told ---- */

/* Stopped, it takes what is sent; killed, it has read none of it. */
static pid_t stop_supervisor(void)
{
    pid_t supervisor = pglendd_signal(daemon_, "supervisor", SIGSTOP);

    wait_until(process_state(supervisor) == 'T', 5);
    return supervisor;
}

START_TEST(a_release_that_a_supervisor_died_with_is_not_lost)
{
    PGconn *conn, *kept;
    pid_t supervisor;
    pglend *pool;

    if (!start(STRICT(", 'size': {'max': 2}")))
        return;
    pool = open_pool(daemon_);
    kept = borrow(pool, 5000);
    conn = borrow(pool, 5000);
    supervisor = stop_supervisor();
    give_back(pool, conn);
    ck_assert_int_eq(kill(supervisor, SIGKILL), 0);
    conn = borrow(pool, 10000);
    one(conn);
    one(kept);
    /* Nobody's, and this process says no more: it stands at the door for whoever comes. */
    ck_assert_int_eq(kill(daemon_->pid, SIGSTOP), 0);
    supervisor = pglendd_signal(daemon_, "supervisor", SIGKILL);
    wait_until(process_state(supervisor) == 'Z', 5);
    give_back(pool, conn);
    ck_assert_int_eq(kill(daemon_->pid, SIGCONT), 0);
    wait_until(pglendd_has_another(daemon_, "supervisor", supervisor), 5);
    wait_until(pglendd_count(daemon_, "leased") == 1 && pglendd_count(daemon_, "idle") == 1, 10);
    one(kept);
    give_back(pool, kept);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static _Thread_local int send_error; /* that this thread's next message meets, once; 0: none */
static _Thread_local bool is_slow;   /* it is held up as it leaves the lock under which it gave up */
static _Thread_local bool has_given_up;

/* libpglend.so's too, like the next one. */
ssize_t sendmsg(int sock, const struct msghdr *message, int flags)
{
    const struct wire_header *header = message->msg_iov->iov_base;

    has_given_up = is_slow && message->msg_iov->iov_len >= sizeof *header && header->type == WIRE_GIVE_UP;
    if (send_error == 0)
        return syscall(SYS_sendmsg, sock, message, flags);
    errno = send_error;
    send_error = 0;
    return -1;
}

int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    static int (*unlock)(pthread_mutex_t *);
    int result;

    if (unlock == NULL)
        *(void **)&unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
    result = unlock(mutex);
    if (has_given_up)
        harness_sleep_ms(500);
    has_given_up = false;
    return result;
}

/* A release that nobody read, and since it was sent another thread has greeted the next supervisor: nobody hangs up. */
START_TEST(a_release_does_not_hang_up_on_whom_another_thread_greeted)
{
    PGconn *conn, *kept;
    pglend *pool;

    if (!start(STRICT(", 'size': {'max': 2}")))
        return;
    pool = open_pool(daemon_);
    kept = borrow(pool, 5000);
    conn = borrow(pool, 5000);
    send_error = EPIPE;
    give_back(pool, conn);
    ck_assert_int_eq(send_error, 0);
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    ck_assert_int_eq(pglendd_count(daemon_, "leased"), 1);
    one(kept);
    give_back(pool, kept);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(a_request_for_which_there_was_no_room_is_sent_again)
{
    pglend *pool;

    if (!start(STRICT(ONE)))
        return;
    pool = open_pool(daemon_);
    give_back(pool, borrow(pool, 5000));
    send_error = EAGAIN;
    give_back(pool, borrow(pool, 5000));
    ck_assert_int_eq(send_error, 0);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static void *borrow_slowly(void *pool)
{
    PGconn *conn = borrow(pool, 15000);

    one(conn);
    return conn;
}

START_TEST(a_request_that_a_supervisor_died_with_is_asked_again)
{
    void *kept, *conn;
    pthread_t thread;
    pid_t supervisor;
    pglend *pool;

    if (!start(STRICT(", 'size': {'max': 2}")))
        return;
    pool = open_pool(daemon_);
    kept = borrow(pool, 5000);
    for (int i = 0; i < 3; i++) {
        supervisor = stop_supervisor();
        ck_assert_int_eq(pthread_create(&thread, NULL, borrow_slowly, pool), 0);
        harness_sleep_ms(50); /* it has asked by then, or asks the next one: both must end well */
        ck_assert_int_eq(kill(supervisor, SIGKILL), 0);
        ck_assert_int_eq(pthread_join(thread, &conn), 0);
        wait_until(pglendd_count(daemon_, "leased") == 2, 10);
        give_back(pool, conn);
        one(kept);
    }
    give_back(pool, kept);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* It gives up on a supervisor that stands still; what that grants when it goes on is nobody's, and comes back. */
START_TEST(an_answer_that_comes_too_late_is_given_back)
{
    pid_t supervisor;
    pglend *pool;

    if (!start(STRICT(ONE)))
        return;
    pool = open_pool(daemon_);
    give_back(pool, borrow(pool, 5000));
    for (int i = 0; i < 5; i++) {
        supervisor = stop_supervisor();
        ck_assert_ptr_null(pglend_acquire(pool, 100));
        ck_assert_int_eq(kill(supervisor, SIGCONT), 0);
        wait_until(pglendd_count(daemon_, "idle") == 1, 5);
        give_back(pool, borrow(pool, 5000));
    }
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

static void *give_up_slowly(void *pool)
{
    is_slow = true;
    return pglend_acquire(pool, 300);
}

/* What another thread hears for one that has just given up is not taken: the supervisor has ended it. */
START_TEST(an_answer_to_a_request_that_was_given_up_is_nobodys)
{
    pthread_t slow, other;
    pid_t supervisor;
    pglend *pool;
    void *conn;

    if (!start(STRICT(", 'size': {'min': 2, 'max': 2}")))
        return;
    pool = open_pool(daemon_);
    give_back(pool, borrow(pool, 5000));
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    supervisor = stop_supervisor();
    ck_assert_int_eq(pthread_create(&slow, NULL, give_up_slowly, pool), 0);
    harness_sleep_ms(100);
    ck_assert_int_eq(pthread_create(&other, NULL, borrow_slowly, pool), 0);
    harness_sleep_ms(400);
    ck_assert_int_eq(kill(supervisor, SIGCONT), 0);
    ck_assert_int_eq(pthread_join(slow, &conn), 0);
    ck_assert_ptr_null(conn);
    ck_assert_int_eq(pthread_join(other, &conn), 0);
    give_back(pool, conn);
    wait_until(pglendd_count(daemon_, "idle") == 2, 5);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* A session that has ended as it was lent is no lease that was taken away: who has no time for another is out of time. */
START_TEST(a_session_that_ends_as_it_is_lent_is_a_time_out)
{
    static const char query_message[] = "Q\0\0\0\015select 1"; /* with its NUL */
    struct pollfd answered = {.events = POLLIN};
    pglend *pool;
    PGconn *conn;

    if (!start(STRICT(ONE)))
        return;
    pool = open_pool(daemon_);
    conn = borrow(pool, 5000);
    ck_assert_int_ne(answered.fd = fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 0), -1);
    give_back(pool, conn);
    wait_until(pglendd_count(daemon_, "idle") == 1, 5);
    /* An answer that nobody asked for lies in the socket, as it would beside the server's end. */
    ck_assert_int_eq(write(answered.fd, query_message, sizeof query_message), sizeof query_message);
    ck_assert_int_eq(poll(&answered, 1, 5000), 1);
    ck_assert_ptr_null(pglend_acquire(pool, 0));
    ck_assert_int_eq(pglend_errcode(pool), PGLEND_TIMEOUT);
    ck_assert_msg(strstr(pglend_errmessage(pool), "no connection within 0 ms (") != NULL, "%s",
                  pglend_errmessage(pool));
    give_back(pool, borrow(pool, 5000));
    (void)close(answered.fd);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_strict");
    TCase *tc = harness_live_case(suite, "strict", 60);

    tcase_add_test(tc, a_worker_cannot_write_the_shared_memory);
    tcase_add_test(tc, the_supervisors_own_user_is_refused);
    tcase_add_test(tc, a_release_leaves_no_copy_of_the_descriptor);
    tcase_add_test(tc, nobody_else_ends_a_lease);
    tcase_add_loop_test(tc, what_a_worker_says_of_its_session_is_not_believed, 0, (int)(sizeof lies / sizeof lies[0]));
    tcase_add_test(tc, threads_wait_side_by_side);
    tcase_add_test(tc, a_release_that_a_supervisor_died_with_is_not_lost);
    tcase_add_test(tc, a_release_does_not_hang_up_on_whom_another_thread_greeted);
    tcase_add_test(tc, a_request_for_which_there_was_no_room_is_sent_again);
    tcase_add_test(tc, a_request_that_a_supervisor_died_with_is_asked_again);
    tcase_add_test(tc, an_answer_that_comes_too_late_is_given_back);
    tcase_add_test(tc, an_answer_to_a_request_that_was_given_up_is_nobodys);
    tcase_add_test(tc, a_session_that_ends_as_it_is_lent_is_a_time_out);
    return harness_main(suite);
}
