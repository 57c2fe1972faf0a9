/* SPDX-License-Identifier: ISC */
/*
 * password_command.c - a password that a program says, such as a token that is good for some minutes.
 *
 * The program runs with the keeper's rights, as the password file is read with them, so that nobody whom the supervisor
 * runs as can make it talk: therefore it must be as hard to change as the configuration. It dies with this process,
 * which the keeper kills when login.timeout is over.
 */
#include "login.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int check_program(const char *path, char *error, size_t size)
{
    struct stat st;
    char owner[64];

    if (stat(path, &st) == -1)
        (void)snprintf(error, size, "cannot find the program of password_command, %s: %s", path, strerror(errno));
    else if (!S_ISREG(st.st_mode) || access(path, X_OK) == -1)
        (void)snprintf(error, size, "the program of password_command, %s, cannot be executed: it is not a program",
                       path);
    else if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
        (void)snprintf(error, size,
                       "the program of password_command, %s, can be changed by others (mode %04o, owner %s): run chown "
                       "root and chmod go-w",
                       path, (unsigned)st.st_mode & 07777, identity_user_name(st.st_uid, owner));
    else
        return 0;
    return -1;
}

/* In the child. The login's death kills it. */
static _Noreturn void run(const struct string_list *command, int out, pid_t login)
{
    char *words[PASSWORD_WORDS_MAX + 1] = {NULL};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    for (size_t i = 0; i < command->count && i < PASSWORD_WORDS_MAX; i++)
        words[i] = command->item[i];
    if (setpgid(0, 0) == 0 && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() == login && null != -1 &&
        dup2(null, STDIN_FILENO) != -1 && dup2(out, STDOUT_FILENO) != -1 && close_range(3, ~0U, 0) == 0)
        (void)execv(words[0], words); /* NOLINT(clang-analyzer-core.NonNullParamChecker): there is a first */
    _exit(127);
}

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* What comes from FD until its end, at most SIZE - 1 bytes. Its length; -1 with errno. */
static ssize_t read_all(int fd, char *text, size_t size, int64_t until)
{
    size_t length = 0;

    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = until - now_ms();
        int ready = left > 0 ? poll(&p, 1, (int)left) : 0;
        ssize_t got;

        if (ready == 0)
            errno = ETIMEDOUT;
        if (ready <= 0)
            return -1;
        got = read(fd, text + length, size - length);
        if (got <= 0)
            return got == 0 ? (ssize_t)length : -1;
        length += (size_t)got;
        if (length == size) {
            errno = EFBIG;
            return -1;
        }
    }
}

/* Its end, which comes at once when it has been killed. False: it did not succeed. */
static bool ended_well(pid_t pid, bool kill_it, char *how, size_t size)
{
    int status = 0;

    if (kill_it)
        (void)kill(-pid, SIGKILL);
    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        ;
    if (WIFSIGNALED(status))
        (void)snprintf(how, size, "was killed by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 127)
        (void)snprintf(how, size, "could not be executed");
    else
        (void)snprintf(how, size, "ended with exit status %d", WEXITSTATUS(status));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int password_ask(const struct string_list *command, int64_t bound_ms, char password[PASSWORD_MAX], char *error,
                 size_t size)
{
    int64_t until = now_ms() + bound_ms;
    char what[300], how[64];
    pid_t pid = -1, self = getpid();
    ssize_t length;
    int end[2], why;
    bool well;

    if (check_program(command->item[0], error, size) == -1)
        return -1;
    if (pipe2(end, O_CLOEXEC) == -1 || (pid = fork()) == -1) {
        (void)snprintf(error, size, "cannot run password_command: %s", strerror(errno));
        return -1;
    }
    if (pid == 0)
        run(command, end[1], self);
    (void)close(end[1]);
    length = read_all(end[0], password, PASSWORD_MAX, until);
    why = errno;
    (void)close(end[0]);
    well = ended_well(pid, length == -1, how, sizeof how);
    (void)snprintf(what, sizeof what, "what password_command (%.200s) said", command->item[0]);
    if (length == -1 && why == ETIMEDOUT)
        (void)snprintf(error, size, "password_command (%s) did not end within %lld ms: raise login.timeout, or mend it",
                       command->item[0], (long long)bound_ms);
    else if (length == -1)
        (void)snprintf(error, size, "%s cannot be read: %s", what, strerror(why));
    else if (!well)
        (void)snprintf(error, size, "password_command (%s) %s: its own words, if any, are in this log",
                       command->item[0], how);
    else if (password_check(what, password, (size_t)length, error, size) == 0)
        return 0;
    explicit_bzero(password, PASSWORD_MAX);
    return -1;
}
