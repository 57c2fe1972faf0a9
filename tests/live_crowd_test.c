/* SPDX-License-Identifier: ISC */
/*
 * live_crowd_test.c - many workers are killed at one moment: a third of them hold every slot of the pool, the others
 * wait. The sessions are saved, not logged in anew, and those who waited behind the dead are served.
 *
 * PGLEND_TEST_ROUNDS=5 makes it three hundred workers.
 */
#include "dirt.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOTS_ORDINARY 20
#define SLOTS_MOST     100
#define SURVIVORS      10

static struct pglendd *daemon_;

/* What the holders are at when they die, one after the other. */
static const struct crowd {
    const char *name;
    const char *leave[5]; /* names of rows of dirt[] */
    int kept_percent;     /* sessions that must outlive it, at least, on a machine that is busy too */
} crowds[] = {
    {"between two statements", {"nothing at all", "transaction open", "temporary table"}, 100},
    {"while their statements run", {"query running", "query running in a transaction"}, 60},
    {"at this and that",
     {"transaction open", "query running", "rows unread", "COPY in", "query running in a transaction"},
     60},
};

static const struct dirt *dirt_of(const struct crowd *crowd, int i)
{
    int kinds = 0, row = 0;

    ck_assert_ptr_nonnull(crowd->leave[0]);
    while (kinds < 5 && crowd->leave[kinds] != NULL)
        kinds++;
    /* NOLINTNEXTLINE(clang-analyzer-core.*): there is one */
    while (strcmp(dirt[row].name, crowd->leave[i % kinds]) != 0)
        ck_assert_int_lt(++row, dirts);
    return &dirt[row];
}

static int dirty_and_wait(void *row, int sock)
{
    const struct dirt *how = row;
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 60000);

    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    how->leave(conn, how->sql);
    say(sock, 'd');
    (void)hear(sock, 100);
    return 0;
}

static int wait_for_one(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire(pool, 60000);
    char text[16];

    (void)argument;
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    say(sock, 'h');
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* Sessions that were ever logged in. */
static int logins(void)
{
    json_t *slots = pglendd_result(daemon_, "slots", "{'pool': 'clinic'}");
    const json_t *slot;
    int sum = 0;
    size_t i;

    json_array_foreach(slots, i, slot) sum += (int)json_integer_value(json_object_get(slot, "generation"));
    json_decref(slots);
    return sum;
}

START_TEST(killed_together)
{
    const struct crowd *kind = &crowds[_i];
    int slots = (int)harness_rounds(SLOTS_ORDINARY), dying, before, more;
    struct worker_process *crowd, survivor[SURVIVORS];
    struct postgres *server;
    char overrides[160];
    uint64_t start, first, all;

    slots = slots < SLOTS_MOST ? slots : SLOTS_MOST;
    dying = 3 * slots;
    crowd = calloc((size_t)dying, sizeof *crowd);
    ck_assert_ptr_nonnull(crowd);
    server = postgres_start(slots + 30);
    (void)snprintf(overrides, sizeof overrides, "{'pools': {'clinic': {'size': {'min': %d, 'max': %d, 'limit': %d}}}}",
                   slots, slots, slots);
    daemon_ = pglendd_start(server, overrides);
    wait_until(pglendd_count(daemon_, "idle") == slots, 30);
    for (int i = 0; i < slots; i++)
        worker_fork(&crowd[i], dirty_and_wait, (void *)(uintptr_t)dirt_of(kind, i));
    for (int i = 0; i < slots; i++)
        ck_assert_int_eq(hear(crowd[i].sock, 20), 'd');
    for (int i = slots; i < dying; i++)
        worker_fork(&crowd[i], dirty_and_wait, (void *)(uintptr_t)dirt_of(kind, i));
    wait_until(pglendd_count(daemon_, "waiting") == dying - slots, 20);
    for (int i = 0; i < SURVIVORS; i++)
        worker_fork(&survivor[i], wait_for_one, NULL);
    wait_until(pglendd_count(daemon_, "waiting") == dying - slots + SURVIVORS, 20);
    before = logins();
    start = harness_now_ms();
    for (int i = 0; i < dying; i++)
        (void)kill(crowd[i].pid, SIGKILL);
    ck_assert_int_eq(hear(survivor[0].sock, 20), 'h');
    first = harness_now_ms();
    for (int i = 1; i < SURVIVORS; i++)
        ck_assert_int_eq(hear(survivor[i].sock, 20), 'h');
    wait_until(pglendd_count(daemon_, "idle") == slots && pglendd_count(daemon_, "waiting") == 0, 20);
    all = harness_now_ms();
    more = logins() - before;
    printf("%d workers killed %s: first slot back after %u ms, all %d after %u ms, %d logins\n", dying, kind->name,
           (unsigned)(first - start), slots, (unsigned)(all - start), more);
    (void)fflush(stdout);
    for (int i = 0; i < dying; i++)
        worker_kill(&crowd[i], SIGKILL);
    for (int i = 0; i < SURVIVORS; i++)
        ck_assert_int_eq(worker_wait(&survivor[i], 10), 0);
    ck_assert_msg(more * 100 <= slots * (100 - kind->kept_percent), "%d of %d sessions were logged in anew", more,
                  slots);
    ck_assert_str_eq(postgres_ask(server, "select count(*) from pg_stat_activity where usename = 'clinic'"
                                          " and (state <> 'idle' or xact_start is not null)"),
                     "0");
    pglendd_stop(daemon_);
    postgres_free(server);
    free(crowd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_crowd");
    TCase *tc = harness_live_case(suite, "crowd", 100);

    tcase_add_loop_test(tc, killed_together, 0, (int)(sizeof crowds / sizeof crowds[0]));
    return harness_main(suite);
}
