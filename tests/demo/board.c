/* SPDX-License-Identifier: ISC */
/*
 * board.c - the scoreboard of the demo's server.
 *
 * It answers, without asking pglend, when a dead worker's slot served again: each holder of a lease writes its pid on
 * the slot and wipes it off before release, so whoever finds a pid there inherits the slot from the dead.
 */
#include "board.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BOARD_SLOTS 64

struct seat {
    _Atomic int32_t pid;
    _Atomic int state;
    _Atomic uint32_t slot;
    _Atomic uint64_t requests;
};

struct slot_note {
    _Atomic int32_t holder;
    _Atomic int32_t inherited_from;
    _Atomic uint64_t inherited_at;
};

struct board {
    size_t seats;
    _Atomic uint64_t restarts;
    struct slot_note slot[BOARD_SLOTS];
    struct seat seat[];
};

static struct board *board;

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

int board_open(size_t workers)
{
    size_t size = sizeof *board + workers * sizeof board->seat[0];

    board = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        return -1;
    board->seats = workers;
    return 0;
}

void board_seat(size_t index, pid_t pid)
{
    if (pid == 0)
        board->restarts++;
    board->seat[index].pid = pid;
    board->seat[index].state = BOARD_FREE;
}

pid_t board_pid(size_t index)
{
    return board->seat[index].pid;
}

void board_wait(size_t index)
{
    board->seat[index].state = BOARD_WAITING;
}

void board_lease(size_t index, const char *lease)
{
    const char *slash = lease != NULL ? strchr(lease, '/') : NULL;
    unsigned long slot = slash != NULL ? strtoul(slash + 1, NULL, 10) : BOARD_SLOTS;

    board->seat[index].slot = (uint32_t)slot;
    board->seat[index].state = BOARD_LEASED;
    if (slot < BOARD_SLOTS) {
        struct slot_note *note = &board->slot[slot];
        int32_t from = atomic_exchange(&note->holder, (int32_t)getpid());

        if (from != 0) {
            note->inherited_at = now_us();
            note->inherited_from = from;
        }
    }
}

void board_return(size_t index)
{
    uint32_t slot = board->seat[index].slot;

    if (slot < BOARD_SLOTS)
        board->slot[slot].holder = 0;
    board->seat[index].requests++;
    board->seat[index].state = BOARD_FREE;
}

void board_free(size_t index)
{
    board->seat[index].state = BOARD_FREE;
}

void board_print(FILE *out)
{
    static const char letter[] = {[BOARD_FREE] = '.', [BOARD_WAITING] = 'w', [BOARD_LEASED] = 'L'};

    fputs("map ", out);
    for (size_t i = 0; i < board->seats; i++)
        fputc(board->seat[i].pid == 0 ? 'x' : letter[board->seat[i].state], out);
    fputc('\n', out);
    for (size_t i = 0; i < board->seats; i++)
        fprintf(out, "worker %zu pid %d requests %llu\n", i, board->seat[i].pid,
                (unsigned long long)board->seat[i].requests);
    for (size_t i = 0; i < BOARD_SLOTS; i++)
        if (board->slot[i].inherited_from != 0)
            fprintf(out, "inherited %zu from %d at %llu\n", i, board->slot[i].inherited_from,
                    (unsigned long long)board->slot[i].inherited_at);
    fprintf(out, "restarts %llu\n", (unsigned long long)board->restarts);
}
