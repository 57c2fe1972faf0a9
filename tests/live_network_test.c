/* SPDX-License-Identifier: ISC */
/*
 * live_network_test.c - a network that drops every packet, and says so to nobody.
 *
 * The hard thing: it must be a real one. The test moves into a network namespace of its own, with its server and its
 * pglendd; there the loopback interface is taken down, which loses what is sent over it. Unix sockets go on, so the
 * server can be asked meanwhile. That takes root.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SESSIONS 3

static struct pglendd *daemon_;

/* ---- what the kernel is told about a lent socket ---- */

static const struct {
    const char *database;
    int user_timeout_ms, keepalive, idle_s, interval_s; /* -1: the system's */
} options[] = {
    {"", 30000, 1, 15, 5},
    {", 'tcp_user_timeout': '4s'", 4000, 1, 2, 1},
    {", 'tcp_user_timeout': '500ms'", 500, 1, 1, 1},
    {", 'tcp_user_timeout': '0s'", 0, 1, -1, -1},
    {", 'tcp_user_timeout': '1d'", 86400000, 1, 32767, 14400},
    {", 'tcp_keepalives': false", 0, 0, -1, -1},
};

static int option(int sock, int level, int name)
{
    int value = -1;
    socklen_t length = sizeof value;

    ck_assert_int_eq(getsockopt(sock, level, name, &value, &length), 0);
    return value;
}

START_TEST(options_of_a_lent_socket)
{
    int fresh = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), sock;
    char overrides[256];
    pglend *pool;
    PGconn *conn;

    (void)snprintf(overrides, sizeof overrides, "{'pools': {'clinic': {'database': {'host': '127.0.0.1'%s}}}}",
                   options[_i].database);
    daemon_ = pglendd_start(harness_server(), overrides);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    sock = PQsocket(conn);
    ck_assert_int_eq(option(sock, IPPROTO_TCP, TCP_USER_TIMEOUT), options[_i].user_timeout_ms);
    ck_assert_int_eq(option(sock, SOL_SOCKET, SO_KEEPALIVE), options[_i].keepalive);
    ck_assert_int_eq(option(sock, IPPROTO_TCP, TCP_KEEPIDLE),
                     options[_i].idle_s != -1 ? options[_i].idle_s : option(fresh, IPPROTO_TCP, TCP_KEEPIDLE));
    ck_assert_int_eq(option(sock, IPPROTO_TCP, TCP_KEEPINTVL),
                     options[_i].interval_s != -1 ? options[_i].interval_s : option(fresh, IPPROTO_TCP, TCP_KEEPINTVL));
    (void)close(fresh);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
}
END_TEST

/* ---- packets dropped ---- */

static void set_network(bool up)
{
    struct ifreq request = {.ifr_name = "lo"};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(ioctl(sock, SIOCGIFFLAGS, &request), 0);
    request.ifr_flags = (short)(up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
    ck_assert_int_eq(ioctl(sock, SIOCSIFFLAGS, &request), 0);
    (void)close(sock);
}

/* False: it cannot be had here, and the log of the tests says why. */
static bool own_network(void)
{
    if (geteuid() != 0 || unshare(CLONE_NEWNET) == -1) {
        printf("skipped: no network of its own: %s\n", geteuid() != 0 ? "not root" : strerror(errno));
        return false;
    }
    set_network(true);
    return true;
}

/*
 * By TCP alone, without a check of the pool's own: idle sessions end within tcp_user_timeout, and so does a lease's
 * query; borrowers are answered; when the network is back the pool is full again.
 */
START_TEST(dropped_packets_are_noticed)
{
    struct postgres *server;
    char overrides[256];
    uint64_t down, idle_gone;
    pglend *pool;
    PGconn *held, *conn;
    PGresult *result;

    if (!own_network())
        return;
    server = postgres_start(0);
    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'database': {'host': '127.0.0.1', 'tcp_user_timeout': '3s'}, 'keepalive': "
                   "'0s', 'unavailable_after': '1s', 'login': {'backoff_max': '200ms'}, 'size': {'min': %d, 'max': "
                   "%d}}}}",
                   SESSIONS, SESSIONS);
    daemon_ = pglendd_start(server, overrides);
    wait_until(pglendd_count(daemon_, "idle") == SESSIONS, 10);
    pool = pglend_open(daemon_->runtime_dir, "clinic");
    ck_assert_ptr_nonnull(held = pglend_acquire(pool, 5000));
    set_network(false);
    down = harness_now_ms();
    wait_until(pglendd_count(daemon_, "idle") == 0, 20);
    idle_gone = harness_now_ms() - down;
    wait_until(pglendd_logged(daemon_, "server closed the connection"), 15);
    result = PQexec(held, "select 1");
    ck_assert_int_ne(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    printf("packets dropped: idle sessions gone after %llu ms, a lease's query after %llu ms at most\n",
           (unsigned long long)idle_gone, (unsigned long long)(harness_now_ms() - down));
    ck_assert_int_eq(pglend_release(pool, held), PGLEND_OK);
    wait_until((conn = pglend_acquire(pool, 2000)) == NULL && pglend_errcode(pool) == PGLEND_NO_DATABASE, 10);
    /* The server has not heard that they are gone. */
    ck_assert_int_eq(postgres_sessions(server), SESSIONS);
    set_network(true);
    wait_until(pglendd_count(daemon_, "idle") == SESSIONS, 10);
    ck_assert_ptr_nonnull(conn = pglend_acquire(pool, 5000));
    result = PQexec(conn, "select 1");
    ck_assert_int_eq(PQresultStatus(result), PGRES_TUPLES_OK);
    PQclear(result);
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    pglendd_stop(daemon_);
    postgres_free(server);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_network");
    TCase *tc = harness_live_case(suite, "options", 20);

    tcase_add_loop_test(tc, options_of_a_lent_socket, 0, sizeof options / sizeof options[0]);
    tc = harness_live_case(suite, "dropped", 60);
    tcase_add_test(tc, dropped_packets_are_noticed);
    return harness_main(suite);
}
