/* SPDX-License-Identifier: ISC */
/*
 * sigbus.c - shared memory that a worker makes shorter ends nobody who maps it.
 *
 * The next look at what is no longer there takes SIGBUS. A page of zeros is put into the hole, so that the instruction
 * goes on: a word of zeros means EMPTY, a ring of zeros has no entry.
 */
#include "sigbus.h"

#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

static sigbus_known *is_known;
static long page_size;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    char *page = (char *)info->si_addr - (uintptr_t)info->si_addr % (uintptr_t)page_size;

    (void)number;
    (void)context;
    if (is_known(page) && mmap(page, (size_t)page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
                               -1, 0) != MAP_FAILED)
        return;
    /* The instruction is tried again, and ends the process. */
    (void)signal(SIGBUS, SIG_DFL);
}

void sigbus_survive(sigbus_known *known)
{
    struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

    is_known = known;
    page_size = sysconf(_SC_PAGESIZE);
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}

bool sigbus_hit(const struct segment *s, const char *page)
{
    const char *base = (const char *)s->header;

    return base != NULL && page >= base && page < base + s->size;
}
