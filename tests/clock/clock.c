/* SPDX-License-Identifier: ISC */
/*
 * clock.c - an object to be preloaded, by which a test steps the time of day for pglend's processes alone.
 *
 * How far it is from the machine's is in a file that all of them have mapped. The server and whatever else inherits the
 * object keep the machine's own.
 */
#include "clock/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const _Atomic int64_t *ahead;

static bool is_stepped(void)
{
    static const char *const names[] = {"pglend", "live_soak_test"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strncmp(program_invocation_short_name, names[i], strlen(names[i])) == 0 ||
            strncmp(program_invocation_name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

__attribute__((constructor)) static void begin(void)
{
    const char *file = getenv(CLOCK_FILE);
    int fd = file != NULL && is_stepped() ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    void *at = fd != -1 ? mmap(NULL, sizeof *ahead, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

    if (fd != -1)
        (void)close(fd);
    if (at != MAP_FAILED)
        ahead = at;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    int status = (int)syscall(SYS_clock_gettime, clock, now);

    if (status == 0 && ahead != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *ahead;
    return status;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec precise;
    int status = clock_gettime(CLOCK_REALTIME, &precise);

    (void)zone;
    *now = (struct timeval){precise.tv_sec, precise.tv_nsec / 1000};
    return status;
}

time_t time(time_t *at)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (at != NULL)
        *at = now.tv_sec;
    return now.tv_sec;
}
