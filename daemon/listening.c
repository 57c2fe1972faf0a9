/* SPDX-License-Identifier: ISC */
/*
 * listening.c - accept connections on a socket that the keeper made.
 *
 * The hard thing: out of descriptors, accept fails while the socket stays readable. It is left alone for a moment
 * then; those who wait are in the kernel's queue and lose nothing.
 */
#include "daemon.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#ifndef SO_PASSRIGHTS /* Linux 6.16 */
#define SO_PASSRIGHTS 83
#endif
#define ACCEPT_BATCH 64
#define PAUSE_MS     50

void descriptors_refuse(int sock)
{
    const int no = 0;

    (void)setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &no, sizeof no);
}

static void on_connection(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct listening *l = timer->data;

    (void)uv_poll_start(&l->poll, UV_READABLE, on_connection);
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
    struct listening *l = poll->data;

    (void)status;
    (void)events;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd != -1) {
            descriptors_refuse(fd);
            l->accepted(l->context, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN) {
            static struct log_limit limit = {.kind = "cannot accept a connection"};

            if (log_permitted(&limit))
                log_warning("cannot accept a connection: %s; trying again in %d ms", strerror(errno), PAUSE_MS);
            (void)uv_poll_stop(poll);
            (void)uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
        }
        return;
    }
}

int listening_start(struct listening *l, uv_loop_t *loop, int fd, void (*accepted)(void *context, int fd),
                    void *context)
{
    l->fd = fd;
    l->accepted = accepted;
    l->context = context;
    l->poll.data = l->pause.data = l;
    if (uv_timer_init(loop, &l->pause) != 0 || uv_poll_init_socket(loop, &l->poll, fd) != 0)
        return -1;
    return uv_poll_start(&l->poll, UV_READABLE, on_connection) == 0 ? 0 : -1;
}
