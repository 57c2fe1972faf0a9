/* SPDX-License-Identifier: ISC */
/*
 * ready.c - tell those who started the daemon how far it is: the process that waits in the foreground, by a pipe, and
 * the service manager, by the datagram that $NOTIFY_SOCKET asks for (see sd_notify(3)).
 */
#include "keeper.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char notify_socket[sizeof((struct sockaddr_un *)NULL)->sun_path];
static int ready_pipe = -1;

void ready_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct stat st;

    if (path != NULL && strlen(path) < sizeof notify_socket)
        (void)snprintf(notify_socket, sizeof notify_socket, "%s", path);
    (void)unsetenv("NOTIFY_SOCKET");
    if (fstat(CHANNEL_FD, &st) == 0 && S_ISFIFO(st.st_mode))
        ready_pipe = fcntl(CHANNEL_FD, F_DUPFD_CLOEXEC, CHANNEL_FD + 1);
    (void)close(CHANNEL_FD);
}

static void notify(const char *state)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t length = strlen(notify_socket);
    int sock;

    if (length == 0)
        return;
    memcpy(to.sun_path, notify_socket, length);
    /* '@' stands for the NUL of an abstract address. */
    if (to.sun_path[0] == '@')
        to.sun_path[0] = '\0';
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock == -1 || sendto(sock, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
                             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) == -1)
        log_warning("cannot tell the service manager \"%s\"", state);
    if (sock != -1)
        (void)close(sock);
}

void ready_serving(void)
{
    notify("READY=1");
    if (ready_pipe == -1)
        return;
    if (write(ready_pipe, "r", 1) != 1)
        log_warning("nobody waits for this daemon to be ready");
    (void)close(ready_pipe);
    ready_pipe = -1;
}

void ready_stopping(void)
{
    notify("STOPPING=1");
}
