/* SPDX-License-Identifier: ISC */
/*
 * wire.c - one packet, one message, at most one descriptor.
 *
 * The hard thing: descriptors arrive whether one expects them or not. The control buffer has room for more than one,
 * so that extra ones are seen and closed; anything unexpected closes them all and fails.
 */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Room for more than the one that may come: what does not fit would not be seen to be there. */
#define DESCRIPTORS_SEEN 8

int wire_send_packet(int sock, const void *packet, size_t length, int fd, int flags)
{
    struct iovec iov = {.iov_base = (void *)packet, .iov_len = length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    ssize_t sent;

    if (fd != -1) {
        struct cmsghdr *c;

        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    do
        sent = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    return sent == -1 ? -1 : 0;
}

/* Collect the descriptors of MSG; how many, with the first DESCRIPTORS_SEEN in FDS. */
static size_t descriptors(struct msghdr *msg, int fds[DESCRIPTORS_SEEN])
{
    size_t count = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c != NULL; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
            continue;
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, count++)
            if (count < DESCRIPTORS_SEEN)
                memcpy(&fds[count], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return count;
}

ssize_t wire_receive_packet(int sock, void *packet, size_t size, int *fd, int flags)
{
    struct iovec iov = {.iov_base = packet, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(DESCRIPTORS_SEEN * sizeof(int))];
    } control;
    int fds[DESCRIPTORS_SEEN] = {0};
    size_t count;
    ssize_t got;

    /* Without a control buffer the kernel closes what was sent: the supervisor takes no descriptors from workers. */
    if (fd != NULL) {
        msg.msg_control = control.space;
        msg.msg_controllen = sizeof control.space;
        *fd = -1;
    }
    do
        got = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
    while (got == -1 && errno == EINTR);
    if (got == -1)
        return -1;
    count = fd == NULL ? 0 : descriptors(&msg, fds);
    if (count == 1 && (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) == 0) {
        *fd = fds[0];
        return got;
    }
    for (size_t i = 0; i < count && i < DESCRIPTORS_SEEN; i++)
        (void)close(fds[i]);
    if (count > 0 || (msg.msg_flags & MSG_CTRUNC) != 0) {
        /* There was one, and this process could not take it. */
        errno = count == 0 && fd != NULL ? EMFILE : EPROTO;
        return -1;
    }
    if ((msg.msg_flags & MSG_TRUNC) != 0) {
        errno = EMSGSIZE;
        return -1;
    }
    return got;
}

/* One row a message: its exact size, and the offset and size of its strings, which are terminated on receipt. */
static const struct {
    size_t size;
    size_t text[3];
    size_t text_size[3];
} shapes[] = {
    [WIRE_HELLO] = {sizeof(struct wire_hello), {offsetof(struct wire_hello, pool)}, {NAME_FIELD}},
    [WIRE_WELCOME] = {sizeof(struct wire_welcome), {0}, {0}},
    [WIRE_REFUSED] = {sizeof(struct wire_refused), {offsetof(struct wire_refused, message)}, {WIRE_TEXT}},
    [WIRE_FETCH] = {sizeof(struct wire_fetch), {0}, {0}},
    [WIRE_BACKEND] = {sizeof(struct wire_backend),
                      {offsetof(struct wire_backend, token), offsetof(struct wire_backend, user),
                       offsetof(struct wire_backend, dbname)},
                      {TOKEN_HEX + 8, NAME_FIELD, NAME_FIELD}},
    [WIRE_NOT_FETCHED] = {sizeof(struct wire_not_fetched), {offsetof(struct wire_not_fetched, message)}, {WIRE_TEXT}},
    [WIRE_WANT] = {sizeof(struct wire_want), {0}, {0}},
    [WIRE_RETURNED] = {sizeof(struct wire_returned), {0}, {0}},
    [WIRE_ACQUIRE] = {sizeof(struct wire_acquire),
                      {offsetof(struct wire_acquire, said.actor), offsetof(struct wire_acquire, said.purpose)},
                      {ACTOR_MAX + 1, ACTOR_MAX + 1}},
    [WIRE_GIVE_UP] = {sizeof(struct wire_give_up), {0}, {0}},
    [WIRE_RELEASE] = {sizeof(struct wire_release), {0}, {0}},
    [WIRE_HOLDING] = {sizeof(struct wire_holding), {0}, {0}},
};

int wire_send(int sock, enum wire_type type, union wire_message *message, int fd, int flags)
{
    message->header = (struct wire_header){.magic = WIRE_MAGIC, .version = WIRE_VERSION, .type = (uint16_t)type};
    return wire_send_packet(sock, message, shapes[type].size, fd, flags);
}

bool wire_check(union wire_message *message, size_t length)
{
    unsigned type;

    if (length < sizeof message->header || message->header.magic != WIRE_MAGIC ||
        message->header.version != WIRE_VERSION)
        return false;
    type = message->header.type;
    if (type >= sizeof shapes / sizeof shapes[0] || shapes[type].size == 0 || length != shapes[type].size)
        return false;
    for (size_t i = 0; i < 3 && shapes[type].text_size[i] > 0; i++)
        ((char *)message)[shapes[type].text[i] + shapes[type].text_size[i] - 1] = '\0';
    return true;
}
