/* SPDX-License-Identifier: ISC */
/*
 * keeper_who.c - which program does a worker run? The kernel tells the privileged alone, of most processes.
 *
 * The hard thing: a pid may be another's by the time it is looked at. So the supervisor sends the worker's pidfd, which
 * names the process itself, and what was read by the number counts if that process still lived afterwards.
 */
#include "keeper.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the process that PIDFD names; 0: none, or not a pidfd. */
static pid_t pid_of(int pidfd)
{
    char path[64], line[128];
    pid_t pid = 0;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
    if (pidfd == -1 || (f = fopen(path, "re")) == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "Pid:", 4) == 0)
            pid = (pid_t)strtol(line + 4, NULL, 10);
    (void)fclose(f);
    return pid > 0 ? pid : 0;
}

void keeper_who(struct keeper *k, const struct message *m, int pidfd)
{
    static struct message out;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    char path[EXECUTABLE_MAX] = "";
    pid_t pid = pid_of(pidfd);

    if (pid != 0)
        identity_executable(pid, path);
    if (pid == 0 || poll(&p, 1, 0) != 0)
        path[0] = '\0';
    message_make(&out, MESSAGE_RUNS, "", m->slot, path);
    keeper_tell(k, &out, -1);
}
