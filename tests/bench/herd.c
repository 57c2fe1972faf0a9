/* SPDX-License-Identifier: ISC */
/*
 * herd.c - many workers that are attached and do nothing, until standard input ends.
 *
 * Usage: herd WORKERS. Prints "attached WORKERS" once all of them have borrowed and given back. They attach one after
 * the other: a queue of thousands is not what is measured here.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* Attach, tell the parent by a byte, sleep until it ends us. */
static _Noreturn void worker(pglend *pool, int tell, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    bench_release(pool, bench_acquire(pool));
    if (write(tell, "", 1) != 1)
        _exit(1);
    for (;;)
        pause();
}

static pid_t start_worker(pglend *pool, pid_t parent)
{
    int told[2];
    char byte;
    pid_t pid;

    if (pipe(told) != 0)
        bench_fail("pipe", strerror(errno));
    pid = fork();
    if (pid < 0)
        bench_fail("fork", strerror(errno));
    if (pid == 0) {
        close(told[0]);
        worker(pool, told[1], parent);
    }
    close(told[1]);
    if (read(told[0], &byte, 1) != 1)
        bench_fail("herd", "a worker could not borrow");
    close(told[0]);
    return pid;
}

int main(int argc, char **argv)
{
    long workers = argc == 3 ? strtol(argv[1], NULL, 10) : 0;
    pglend *pool = bench_open(argc == 3 ? argv[2] : "");
    pid_t *pid;

    if (workers < 1 || workers > 100000)
        bench_fail("usage", "herd WORKERS POOL");
    pid = calloc((size_t)workers, sizeof *pid);
    if (pid == NULL)
        bench_fail("herd", strerror(errno));
    for (long i = 0; i < workers; i++)
        pid[i] = start_worker(pool, getpid());
    printf("attached %ld\n", workers);
    fflush(stdout);
    while (getchar() != EOF)
        ;
    for (long i = 0; i < workers; i++)
        kill(pid[i], SIGKILL);
    for (long i = 0; i < workers; i++)
        waitpid(pid[i], NULL, 0);
    free(pid);
    pglend_close(pool);
    return 0;
}
