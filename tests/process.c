/* SPDX-License-Identifier: ISC */
/*
 * process.c - workers that tests fork, and what /proc says about processes.
 */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- workers ---- */

void worker_fork(struct worker_process *worker, worker_function *work, void *argument)
{
    int pair[2], status;
    size_t before;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(fflush(NULL), 0);
    worker->pid = fork();
    ck_assert_int_ne(worker->pid, -1);
    if (worker->pid > 0) {
        (void)close(pair[1]);
        worker->sock = pair[0];
        return;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)close(pair[0]);
    before = process_descriptors(getpid());
    status = work(argument, pair[1]);
    ck_assert_msg(process_descriptors(getpid()) <= before, "leaked: a descriptor of the worker");
    (void)fflush(NULL);
    _exit(status);
}

void say(int sock, char byte)
{
    ck_assert_msg(send(sock, &byte, 1, MSG_NOSIGNAL) == 1, "cannot say '%c': %s", byte, strerror(errno));
}

char hear(int sock, double seconds)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    char byte;

    ck_assert_msg(poll(&wait, 1, (int)(seconds * 1000)) == 1, "nothing heard within %g s", seconds);
    ck_assert_msg(recv(sock, &byte, 1, 0) == 1, "the other side has gone");
    return byte;
}

int worker_wait(struct worker_process *worker, double seconds)
{
    int status = 0;

    wait_until(waitpid(worker->pid, &status, WNOHANG) == worker->pid, seconds);
    (void)close(worker->sock);
    worker->pid = 0;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

void worker_kill(struct worker_process *worker, int signal)
{
    ck_assert_int_eq(kill(worker->pid, signal), 0);
    ck_assert_int_eq(waitpid(worker->pid, NULL, 0), worker->pid);
    (void)close(worker->sock);
    worker->pid = 0;
}

void in_worker(worker_function *work, void *argument, double seconds)
{
    struct worker_process worker;

    worker_fork(&worker, work, argument);
    ck_assert_int_eq(worker_wait(&worker, seconds), 0);
}

/* ---- /proc ---- */

/* State and parent of PID: the fields after the name, which may itself hold anything. */
static char read_stat(pid_t pid, pid_t *parent)
{
    char path[64], text[512] = "";
    const char *after;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if ((f = fopen(path, "re")) == NULL)
        return 0;
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    if ((after = strrchr(text, ')')) == NULL || strlen(after) < sizeof ") S 1" - 1)
        return 0;
    *parent = (pid_t)strtol(after + 4, NULL, 10);
    return after[2];
}

char process_state(pid_t pid)
{
    pid_t parent;

    return read_stat(pid, &parent);
}

size_t process_children(pid_t pid, pid_t *child, size_t max)
{
    DIR *dir = opendir("/proc");
    size_t found = 0;

    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL && found < max; e = readdir(dir)) {
        pid_t id = (pid_t)strtol(e->d_name, NULL, 10), parent = 0;

        if (id > 0 && read_stat(id, &parent) != 0 && parent == pid)
            child[found++] = id;
    }
    if (dir != NULL)
        (void)closedir(dir);
    return found;
}

void process_title(pid_t pid, char title[256])
{
    char path[64];
    size_t length;
    FILE *f;

    title[0] = '\0';
    (void)snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
    if ((f = fopen(path, "re")) == NULL)
        return;
    length = fread(title, 1, 255, f);
    (void)fclose(f);
    while (length > 0 && title[length - 1] == '\0')
        length--;
    for (size_t i = 0; i < length; i++)
        if (title[i] == '\0')
            title[i] = ' ';
    title[length] = '\0';
}

size_t process_descriptors(pid_t pid)
{
    char path[64];
    size_t count = 0;
    DIR *dir;

    (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    if ((dir = opendir(path)) == NULL)
        return 0;
    while (readdir(dir) != NULL)
        count++;
    (void)closedir(dir);
    return count - 2;
}

long long process_status(pid_t pid, const char *name, int base)
{
    char path[64], line[256];
    long long value = -1;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            value = strtoll(line + strlen(name) + 1, NULL, base);
    if (f != NULL)
        (void)fclose(f);
    return value;
}
