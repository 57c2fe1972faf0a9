/* SPDX-License-Identifier: ISC */
/*
 * end.c - in coverage builds alone: a process writes down what it executed however it ends, by _exit(2) or killed by
 * the keeper or with it, and not by exit(3) alone. Linked with --wrap. Who is killed by a test counts nothing.
 */
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define LAST_WORDS SIGUSR2 /* means nothing to pglend */

struct uv_process;

_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);
int __real_uv_process_kill(struct uv_process *process, int number) __attribute__((weak)); /* not every program has it */
int __wrap_uv_process_kill(struct uv_process *process, int number);
int __real_prctl(int option, ...);
int __wrap_prctl(int option, ...);
pid_t __wrap___gcov_fork(void);
void __gcov_dump(void);
void __gcov_reset(void);

_Noreturn void __wrap__exit(int status)
{
    __gcov_dump();
    __real__exit(status);
}

/* gcc's own forgets what a child has counted so far, which is its fork handlers: it begins anew before them. */
pid_t __wrap___gcov_fork(void)
{
    __gcov_dump();
    __gcov_reset();
    return fork();
}

static void on_last_words(int number)
{
    (void)number;
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(2); /* it may have been writing already */
    __gcov_dump();  /* NOLINT(bugprone-signal-handler,cert-sig30-c): better counts than none */
    (void)raise(SIGKILL);
}

__attribute__((constructor)) static void hear_last_words(void)
{
    (void)signal(LAST_WORDS, on_last_words);
}

/* One that is stopped has no last words. */
int __wrap_uv_process_kill(struct uv_process *process, int number)
{
    const struct timespec pause = {.tv_nsec = 50000000};

    if (number == SIGKILL && __real_uv_process_kill(process, LAST_WORDS) == 0)
        (void)nanosleep(&pause, NULL);
    return __real_uv_process_kill(process, number);
}

int __wrap_prctl(int option, ...)
{
    unsigned long argument[4];
    va_list args;

    va_start(args, option);
    for (int i = 0; i < 4; i++)
        argument[i] = va_arg(args, unsigned long);
    va_end(args);
    if (option == PR_SET_PDEATHSIG && argument[0] == SIGKILL)
        argument[0] = LAST_WORDS;
    return __real_prctl(option, argument[0], argument[1], argument[2], argument[3]);
}
