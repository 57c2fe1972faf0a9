/* SPDX-License-Identifier: ISC */
/*
 * board.h - what each worker does, in memory that parent and workers share.
 */
#ifndef DEMO_BOARD_H
#define DEMO_BOARD_H

#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

enum board_state { BOARD_FREE, BOARD_WAITING, BOARD_LEASED };

/* Make the board for WORKERS workers; before fork(). 0, or -1 with errno. */
int board_open(size_t workers);

/* For the parent: worker INDEX is process PID now (0: it died). */
void board_seat(size_t index, pid_t pid);
pid_t board_pid(size_t index);

/* For worker INDEX: it waits for a lease; it has one (LEASE: "POOL/SLOT/VERSION"); it is about to give it back. */
void board_wait(size_t index);
void board_lease(size_t index, const char *lease);
void board_return(size_t index);
/* It gave up waiting. */
void board_free(size_t index);

/*
 * Print lines of words:
 *   map .wLL…                                  one letter a worker: free, waiting, leased, x: dead
 *   worker INDEX pid PID requests N
 *   inherited SLOT from PID at MICROSECONDS    a slot whose holder died was lent again; since the epoch
 *   restarts N
 */
void board_print(FILE *out);

#endif
