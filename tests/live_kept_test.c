/* SPDX-License-Identifier: ISC */
/*
 * live_kept_test.c - strict isolation over TLS: a descriptor that was kept from a lease is dead when the lease is over,
 * however it ended, and the session goes on with the next one.
 *
 * It takes two users, and so root; without it these tests say so and pass.
 */
#include "harness.h"
#include "pglend.h"
#include "tls.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECRET "of the next borrower"

static pglend *pool;

static bool start(void)
{
    if (geteuid() != 0) {
        (void)printf("not root: skipped\n");
        return false;
    }
    tls_start_good("'isolation': 'strict'");
    pool = pglend_open(tls_daemon->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(pool);
    return true;
}

static void stop(void)
{
    pglend_close(pool);
    pglendd_stop(tls_daemon);
}

static PGconn *borrow(void)
{
    PGconn *conn = pglend_acquire(pool, 10000);

    ck_assert_msg(conn != NULL, "%s: %s", pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
    return conn;
}

static void give_back(PGconn *conn)
{
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
}

static int keep(const PGconn *conn)
{
    int fd = fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 0);

    ck_assert_int_ne(fd, -1);
    return fd;
}

/* A whole message, which a server that read it would answer. */
static bool can_write(int fd)
{
    ssize_t sent = send(fd, "Q\0\0\0\15select 1", 14, MSG_NOSIGNAL | MSG_DONTWAIT);

    ck_assert_msg(sent >= 0 || errno == EPIPE || errno == ECONNRESET || errno == EAGAIN, "%s", strerror(errno));
    return sent >= 0 || errno == EAGAIN;
}

/* What is left to read ends, within a bound, and is not another's. */
static void expect_dead(int fd)
{
    char bytes[8192];
    ssize_t got;

    ck_assert(!can_write(fd));
    do {
        struct pollfd readable = {.fd = fd, .events = POLLIN};

        ck_assert_msg(poll(&readable, 1, 10000) == 1, "neither bytes nor an end come");
        got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (got > 0)
            ck_assert_ptr_null(memmem(bytes, (size_t)got, SECRET, strlen(SECRET)));
    } while (got > 0);
    ck_assert_msg(got == 0 || errno == ECONNRESET, "%s", strerror(errno));
    ck_assert_int_eq(close(fd), 0);
}

/* A lease that works to its end, while FD was kept of an earlier one. */
static void next_borrower(int fd)
{
    PGconn *conn = borrow();
    char text[64];

    ck_assert(!can_write(fd));
    ck_assert_str_eq(query(conn, "select '" SECRET "'", text, sizeof text), SECRET);
    expect_dead(fd);
    ck_assert_str_eq(query(conn, "select '" SECRET "'", text, sizeof text), SECRET);
    ck_assert_int_eq(PQtransactionStatus(conn), PQTRANS_IDLE);
    give_back(conn);
}

START_TEST(dead_after_release)
{
    if (!start())
        return;
    for (int i = 0; i < 5; i++) {
        PGconn *conn = borrow();
        int fd = keep(conn);

        ck_assert_int_eq(PQsendQuery(conn, i % 2 == 0 ? "select 1" : "begin; select repeat('x', 3000000)"), 1);
        ck_assert_int_eq(PQflush(conn), 0);
        give_back(conn);
        next_borrower(fd);
    }
    ck_assert_uint_eq(pglendd_logged(tls_daemon, "-> closing"), 0); /* the sessions live on */
    stop();
}
END_TEST

START_TEST(dead_after_revocation)
{
    PGconn *conn;
    int fd;

    if (!start())
        return;
    conn = borrow();
    fd = keep(conn);
    json_decref(pglendd_result(tls_daemon, "revoke", "{'slot': 'clinic/0'}"));
    wait_until(!can_write(fd), 5);
    expect_dead(fd);
    (void)pglend_release(pool, conn);
    stop();
}
END_TEST

/* Its own copy of the socket is gone with it: the relay is told by whatever its successor has to say. */
START_TEST(dead_after_a_supervisors_death)
{
    PGconn *conn;
    char text[16];
    pid_t supervisor;
    int fd;

    if (!start())
        return;
    conn = borrow();
    fd = keep(conn);
    supervisor = pglendd_signal(tls_daemon, "supervisor", SIGKILL);
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    wait_until(pglendd_has_another(tls_daemon, "supervisor", supervisor), 10);
    ck_assert_str_eq(query(conn, "select 2", text, sizeof text), "2");
    wait_until(pglendd_count(tls_daemon, "leased") == 1, 10);
    give_back(conn);
    next_borrower(fd);
    stop();
}
END_TEST

/* The whole daemon goes: the lease that is out finishes, and the relay and its session end with it. */
START_TEST(outlives_the_daemon)
{
    PGconn *conn;
    char text[16];
    pid_t relay;

    if (!start())
        return;
    conn = borrow();
    relay = pglendd_process(tls_daemon, "relay clinic/0");
    ck_assert_int_ne(relay, 0);
    pglendd_kill(tls_daemon);
    for (int i = 0; i < 3; i++)
        ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    (void)pglend_release(pool, conn);
    wait_until(process_state(relay) == 0 || process_state(relay) == 'Z', 15); /* whoever adopted it may be slow */
    pglend_close(pool);
    pglendd_free(tls_daemon);
}
END_TEST

/* How long PID has computed; ms. */
static long computed(pid_t pid)
{
    char path[64], line[512];
    unsigned long user, kernel;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    (void)fclose(f);
    ck_assert_int_eq(
        sscanf(strrchr(line, ')') + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel), 2);
    return (long)(user + kernel) * 1000 / sysconf(_SC_CLK_TCK);
}

/* It has asked for what never ends, hangs up, and does not say so: nobody is to read that in its place. */
START_TEST(hung_up_it_keeps_nobody_busy)
{
    PGconn *conn;
    pid_t supervisor;
    long before;

    if (!start())
        return;
    conn = borrow();
    ck_assert_int_eq(PQsendQuery(conn, "select repeat('x', 1000), generate_series(1, 1000000000)"), 1);
    ck_assert_int_eq(PQflush(conn), 0);
    harness_sleep_ms(200);
    ck_assert_int_eq(shutdown(PQsocket(conn), SHUT_RDWR), 0);
    supervisor = pglendd_process(tls_daemon, "supervisor");
    harness_sleep_ms(200);
    before = computed(supervisor);
    harness_sleep_ms(2000);
    ck_assert_int_le(computed(supervisor) - before, 100);
    (void)pglend_release(pool, conn);
    give_back(borrow());
    stop();
}
END_TEST

static int copy_in(void *argument, int sock)
{
    PGconn *conn = borrow();

    (void)argument;
    PQclear(PQexec(conn, "create temp table t(a text)"));
    PQclear(PQexec(conn, "copy t from stdin"));
    ck_assert_int_eq(PQputCopyData(conn, "row\n", 4), 1);
    ck_assert_int_eq(PQflush(conn), 0);
    ck_assert_int_eq(wire_send_packet(sock, "k", 1, PQsocket(conn), 0), 0);
    (void)hear(sock, 30);
    return 0;
}

START_TEST(dead_after_its_workers_death)
{
    struct worker_process worker;
    char byte;
    int fd;

    if (!start())
        return;
    worker_fork(&worker, copy_in, NULL);
    ck_assert_int_eq(wire_receive_packet(worker.sock, &byte, 1, &fd, 0), 1);
    ck_assert_int_ne(fd, -1);
    ck_assert(can_write(fd));
    worker_kill(&worker, SIGKILL);
    next_borrower(fd);
    stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_kept");
    TCase *tc = harness_live_case(suite, "kept", 60);

    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, dead_after_release);
    tcase_add_test(tc, dead_after_revocation);
    tcase_add_test(tc, dead_after_a_supervisors_death);
    tcase_add_test(tc, outlives_the_daemon);
    tcase_add_test(tc, dead_after_its_workers_death);
    tcase_add_test(tc, hung_up_it_keeps_nobody_busy);
    return harness_main(suite);
}
