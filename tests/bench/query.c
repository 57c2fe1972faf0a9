/* SPDX-License-Identifier: ISC */
/*
 * query.c - queries inside a lease against a direct connection.
 *
 * Both run in this process against the same server, turn by turn, and which of them goes first alternates too, so that
 * what else the machine does hits both alike.
 */
#include "bench.h"

#define ROUNDS_MAX 1000

/* Queries a second over COUNT of them. */
static double rate(PGconn *conn, long count)
{
    uint64_t start = bench_ns();

    for (long i = 0; i < count; i++)
        bench_select_1(conn);
    return (double)count * 1e9 / (double)(bench_ns() - start);
}

int main(void)
{
    static double lent_rate[ROUNDS_MAX], direct_rate[ROUNDS_MAX];
    long rounds = bench_setting("BENCH_ROUNDS", 9);
    long count = bench_setting("BENCH_QUERIES", 20000);
    pglend *pool = bench_open("none");
    PGconn *lent = bench_acquire(pool);
    PGconn *direct = bench_connect();
    double lent_median, direct_median;

    if (rounds < 1 || rounds > ROUNDS_MAX)
        bench_fail("BENCH_ROUNDS", "must be 1 to 1000");
    rate(lent, count / 10);
    rate(direct, count / 10);
    for (long i = 0; i < rounds; i++) {
        if (i % 2 == 0)
            lent_rate[i] = rate(lent, count);
        direct_rate[i] = rate(direct, count);
        if (i % 2 != 0)
            lent_rate[i] = rate(lent, count);
    }
    lent_median = bench_median(lent_rate, (size_t)rounds);
    direct_median = bench_median(direct_rate, (size_t)rounds);
    bench_report("query_lent", lent_median);
    bench_report("query_direct", direct_median);
    bench_report("query_ratio", lent_median / direct_median);
    PQfinish(direct);
    bench_release(pool, lent);
    pglend_close(pool);
    return 0;
}
