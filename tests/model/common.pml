/* SPDX-License-Identifier: ISC */
/*
 * common.pml - what all models need: sizes, budgets and the seeded mistake, all fixed by -D; sets of processes as bits.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef SLOTS
#define SLOTS 1
#endif
/* Leases that each worker takes. */
#ifndef CYCLES
#define CYCLES 1
#endif
/* Deaths of a worker or of the supervisor, at any step. */
#ifndef CRASHES
#define CRASHES 0
#endif
/* Waits that are given up. */
#ifndef LEAVES
#define LEAVES 0
#endif
/* The number of what is done wrong; 0: nothing. */
#ifndef MISTAKE
#define MISTAKE 0
#endif
#define RIGHT(n) (MISTAKE != (n))

#define NOBODY       15
#define NO_SLOT      15
#define EVERYBODY    (BIT(WORKERS) - 1)
#define BIT(n)       (1 << (n))
#define IS_SET(m, n) (((m) >> (n)) & 1)
