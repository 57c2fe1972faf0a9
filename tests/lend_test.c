/* SPDX-License-Identifier: ISC */
/*
 * lend_test.c - strict isolation over TLS: what the server says between two leases is the next borrower's, and where it
 * cannot be, nobody is lent the session. The test is the relay, and no server says so much unasked.
 */
#include "harness.h"
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NOTE "S\0\0\0\21TimeZone\0CET\0"

static struct supervisor supervisor;
static const struct pool_config config = {.name = "clinic",
                                          .isolation = ISOLATION_STRICT,
                                          .reset = RESET_FULL,
                                          .check_query = "select 1",
                                          .check_timeout_ms = 60000,
                                          .size_max = 1,
                                          .size_limit = 1,
                                          .max_workers = 1};
static struct backend *backend;
static int relay; /* its end of the base */

/* A session that is idle, and whose next lease has its socket. */
static void start(void)
{
    static struct message m;
    struct pool *pool;
    int pair[2];

    ck_assert_int_eq(uv_loop_init(&supervisor.loop), 0);
    ck_assert_ptr_nonnull(pool = pool_new(&supervisor, &config));
    ck_assert_int_eq(pool_attach(pool, segment_create(NULL, config.name, 1, 1, 0)), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    message_make(&m, MESSAGE_BACKEND, config.name, 0, NULL);
    ck_assert(fact_add(&m, FACT_MODE, MODE_RELAY));
    backend = pool->backend;
    relay = pair[1];
    ck_assert(lease_fill(&pool->segment, 0));
    backend_adopt(backend, &m, pair[0]);
    backend_ready(backend);
    ck_assert_int_eq(word_state(slot_word(&pool->segment, 0)), SLOT_IDLE);
    ck_assert_int_ne(backend->next[0], -1);
}

static void server_says_something(void)
{
    ck_assert_int_eq(send(relay, NOTE, sizeof NOTE - 1, 0), sizeof NOTE - 1);
    (void)uv_run(&supervisor.loop, UV_RUN_NOWAIT);
}

static void close_handle(uv_handle_t *handle, void *context)
{
    (void)context;
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void stop(void)
{
    uv_walk(&supervisor.loop, close_handle, NULL);
    (void)uv_run(&supervisor.loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&supervisor.loop), 0);
    uv_library_shutdown(); /* its descriptors */
    lend_drop(backend);
    (void)close(backend->fd);
    (void)close(backend->pool->segment_fd);
    (void)close(relay);
}

START_TEST(the_next_borrower_reads_it)
{
    char bytes[64];

    start();
    server_says_something();
    ck_assert_int_eq(recv(backend->next[0], bytes, sizeof bytes, MSG_DONTWAIT), sizeof NOTE - 1);
    ck_assert_int_eq(memcmp(bytes, NOTE, sizeof NOTE - 1), 0);
    ck_assert_int_eq(backend->phase, BACKEND_LENDABLE);
    stop();
}
END_TEST

/* To ask for a sign of life ends the lease that has not begun, and with it what its borrower would have read. */
START_TEST(a_check_does_not_lose_it)
{
    bool spoken = _i == 1;

    start();
    if (spoken)
        server_says_something();
    settle_check(backend, slot_word(&backend->pool->segment, 0), NULL);
    ck_assert_int_eq(backend->phase, spoken ? BACKEND_CLOSING : BACKEND_CHECKING);
    stop();
}
END_TEST

/* Nobody has read it where the socket that it is in goes to nobody. */
START_TEST(a_worker_that_has_gone_does_not_lose_it)
{
    struct worker worker = {0};
    int pair[2];

    start();
    server_says_something();
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    (void)close(pair[1]);
    worker.pool = backend->pool;
    worker.sock = pair[0];
    ck_assert_int_eq(lend_send(&worker, backend, 1, slot_word(&backend->pool->segment, 0), false), -1);
    backend_returned(backend, 0);
    ck_assert_int_eq(backend->phase, BACKEND_CLOSING);
    ck_assert_int_eq(backend->reason, CLOSE_UNHEARD);
    stop();
    (void)close(pair[0]);
    free(worker.shell);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lend");
    TCase *tc = harness_case(suite, "lend", 20);

    tcase_add_test(tc, the_next_borrower_reads_it);
    tcase_add_loop_test(tc, a_check_does_not_lose_it, 0, 2);
    tcase_add_test(tc, a_worker_that_has_gone_does_not_lose_it);
    return harness_main(suite);
}
