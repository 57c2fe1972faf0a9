/* SPDX-License-Identifier: ISC */
/*
 * audit.c - how many records a second the audit trail takes: batched, and each on disk before the next is asked for.
 *
 * The audit process's own code, in this process: records are sealed, written and synced as there, with a signed
 * checkpoint after as many. What it is told by is not in the figure.
 */
#include "audit_trail.h"
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

#define PER_CHECKPOINT 1000

static void add(struct audit_trail *trail, uint64_t i)
{
    struct audit_values values = {0};
    char lease[64];

    (void)snprintf(lease, sizeof lease, "clinic/%u/%llu", (unsigned)(i % 40), (unsigned long long)i);
    audit_set_text(&values, AUDIT_FIELD_POOL, "clinic");
    audit_set_text(&values, AUDIT_FIELD_LEASE, lease);
    audit_set_number(&values, AUDIT_FIELD_SLOT, (int64_t)(i % 40));
    audit_set_number(&values, AUDIT_FIELD_GENERATION, 3);
    audit_set_number(&values, AUDIT_FIELD_BACKEND, 48211);
    audit_set_text(&values, AUDIT_FIELD_ROLE, "clinic");
    audit_set_number(&values, AUDIT_FIELD_UID, 33);
    audit_set_number(&values, AUDIT_FIELD_GID, 33);
    audit_set_number(&values, AUDIT_FIELD_PID, 4711);
    audit_set_number(&values, AUDIT_FIELD_STARTED, 918233);
    audit_set_text(&values, AUDIT_FIELD_EXECUTABLE, "/usr/bin/python3.11");
    audit_set_text(&values, AUDIT_FIELD_ACTOR, "dr.lee");
    audit_set_text(&values, AUDIT_FIELD_PURPOSE, "treatment");
    audit_set_flag(&values, AUDIT_FIELD_ATTESTED, true);
    audit_set_number(&values, AUDIT_FIELD_WAIT, 12);
    if (!audit_trail_add(trail, AUDIT_LEASE_BEGIN, &values))
        bench_fail("a record", "no room");
}

/* Records a second, AT_ONCE of them for each sync. */
static double rate(struct audit_trail *trail, unsigned at_once, uint64_t for_ns)
{
    uint64_t start = bench_ns(), now, count = 0;

    do {
        for (unsigned i = 0; i < at_once; i++)
            add(trail, count++);
        if (!(trail->since_checkpoint >= PER_CHECKPOINT ? audit_trail_checkpoint(trail, "count")
                                                        : audit_trail_sync(trail)))
            bench_fail("the trail", trail->error);
        now = bench_ns();
    } while (now - start < for_ns);
    return (double)count * 1e9 / (double)(now - start);
}

int main(void)
{
    static const struct {
        const char *name;
        unsigned at_once;
    } ways[] = {{"audit_batched", PER_CHECKPOINT}, {"audit_durable", 1}, {"audit_durable_16", 16}};
    long rounds = bench_setting("BENCH_ROUNDS", 9);
    uint64_t for_ns = (uint64_t)bench_setting("BENCH_RACE_MS", 500) * 1000000;
    const char *directory = getenv("BENCH_TRAIL");
    struct audit_trail trail;
    double rates[64];
    char error[512];

    if (directory == NULL || audit_trail_open(&trail, directory, 0, error, sizeof error) == -1)
        bench_fail("the trail", directory == NULL ? "set BENCH_TRAIL" : error);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        for (long round = 0; round < rounds && round < 64; round++)
            rates[round] = rate(&trail, ways[i].at_once, for_ns);
        bench_report(ways[i].name, bench_median(rates, (size_t)(rounds < 64 ? rounds : 64)));
    }
    audit_trail_close(&trail);
    return 0;
}
