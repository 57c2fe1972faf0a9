/* SPDX-License-Identifier: ISC */
/*
 * race.h - several ways to do the same, by the same clients, in turn: what a machine does meanwhile hits all alike.
 */
#ifndef RACE_H
#define RACE_H

#include <stddef.h>

#define RACE_WAYS 6

struct race_way {
    const char *name;
    const char *needs;    /* a variable of the environment without which this way is not gone; NULL: none */
    void (*open)(void);   /* in each client, once; NULL: nothing */
    double (*turn)(void); /* one transaction: 1, or how much it was */
    const char *pooler;   /* the variable with the pid of the process in between; NULL: there is none */
};

struct race {
    const char *name;
    int clients;
    struct race_way way[RACE_WAYS]; /* the first is compared with each of the others */
    void (*prepare)(void);          /* before the clients are forked, once; NULL: nothing */
};

/* In a client: its number, from 0. */
extern int race_client;

/* For a turn to set: how long of it was waiting for a connection, in µs. */
extern double race_waited_us;

/*
 * BENCH_ROUNDS rounds of BENCH_RACE_MS for each way, after one to warm up. Reports of each way W, over its rounds:
 * RACE_W the median a second, RACE_W_low and _high the lowest and highest, RACE_over_W the median of the first way's
 * over W's in the same round, RACE_W_p50_us, _p99_us, _p999_us of a turn and the same of RACE_W_wait where turns tell
 * it, RACE_W_jain the fairness between clients (Jain's index, 1: all alike), and the processor's time a turn, in µs:
 * RACE_W_client_us, _server_us (BENCH_POSTMASTER and its children), _pooler_us, and _share, the pooler's of all three.
 */
void race_run(const struct race *race);

#endif
