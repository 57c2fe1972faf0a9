/* SPDX-License-Identifier: ISC */
/*
 * channel.c - messages between two of pglendd's processes, in the event loop, never blocking.
 *
 * One message is one packet of a SOCK_SEQPACKET pair: the struct up to the end of its text. The hard thing: a message
 * must never be lost in silence, or a slot would wait for ever for an answer. Where one can be neither sent nor
 * queued the channel is broken instead: both ends see it end, and the keeper starts whom it has to.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_HEAD    offsetof(struct message, text)
#define RECEIVE_BATCH   16    /* messages, between other events */
#define DRAIN_BATCH     4096  /* all that can be there */
#define PAUSE_MS        10    /* before what was refused for want of memory or descriptors is sent again */
#define BLOCKING_MAX_MS 10000 /* for a job, which is sent at once */

struct outgoing {
    struct outgoing *next;
    int fd;
    size_t length;
    unsigned char packet[];
};

struct channel {
    uv_poll_t poll;
    uv_timer_t pause; /* runs: nothing is sent */
    int handles_open;
    int sock;
    channel_receive *receive;
    void *context;
    struct outgoing *first, **last;
    bool reset;   /* the other end was killed: what it has sent is still to be read */
    bool gone;    /* the other end is; reported once */
    bool closing; /* channel_close() was called */
    struct message incoming;
};

void message_make(struct message *m, enum message_verb verb, const char *pool, uint32_t slot, const char *text)
{
    memset(m, 0, MESSAGE_HEAD);
    m->verb = verb;
    m->slot = slot;
    (void)snprintf(m->pool, sizeof m->pool, "%s", pool == NULL ? "" : pool);
    m->length = text == NULL ? 0 : (uint32_t)strnlen(text, MESSAGE_TEXT_MAX - 1);
    if (m->length > 0)
        memcpy(m->text, text, m->length);
    m->text[m->length] = '\0';
}

static size_t packet_length(const struct message *m)
{
    return MESSAGE_HEAD + m->length + 1;
}

/* Is what arrived as GOT bytes a whole message with terminated strings? */
static bool message_check(const struct message *m, size_t got)
{
    return got > MESSAGE_HEAD && m->length < MESSAGE_TEXT_MAX && got == packet_length(m) &&
           m->text[m->length] == '\0' && memchr(m->pool, '\0', sizeof m->pool) != NULL &&
           memchr(m->role, '\0', sizeof m->role) != NULL;
}

static bool send_later(int error)
{
    /* ETOOMANYREFS: too many descriptors are under way; the other end takes them out as it receives. */
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == ENOMEM || error == ETOOMANYREFS;
}

static void outgoing_free(struct outgoing *o)
{
    if (o->fd != -1)
        (void)close(o->fd);
    free(o);
}

static void drop_queue(struct channel *c)
{
    while (c->first != NULL) {
        struct outgoing *next = c->first->next;

        outgoing_free(c->first);
        c->first = next;
    }
    c->last = &c->first;
}

/*
 * Both ends see the channel end; ours is told by the event loop, never from within a send. WHY NULL: the other end has
 * gone, of which nothing need be said here.
 */
static void channel_break(struct channel *c, const char *why)
{
    if (why != NULL)
        log_error("channel: %s: broken off", why);
    drop_queue(c);
    (void)shutdown(c->sock, SHUT_RDWR);
}

static const char *why_broken(int error)
{
    return error == EPIPE || error == ECONNRESET ? NULL : strerror(error);
}

static void channel_gone(struct channel *c)
{
    if (c->gone || c->closing)
        return;
    c->gone = true;
    drop_queue(c);
    (void)uv_poll_stop(&c->poll);
    (void)uv_timer_stop(&c->pause);
    c->receive(c->context, NULL, -1);
}

static void receive_some(struct channel *c, int most)
{
    for (int i = 0; i < most && !c->closing && !c->gone; i++) {
        int fd = -1;
        ssize_t got = wire_receive_packet(c->sock, &c->incoming, sizeof c->incoming, &fd, MSG_DONTWAIT);

        if (got == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        /* What it says counts without its descriptor, too: who reads it knows what is missing. */
        if (got == -1 && errno == EMFILE) {
            log_error("channel: too many open files: a descriptor is lost");
            got = (ssize_t)packet_length(&c->incoming);
        }
        if (got > 0 && message_check(&c->incoming, (size_t)got)) {
            c->receive(c->context, &c->incoming, fd);
            continue;
        }
        /* It was killed before it had read all, which is said once, and first: what it sent comes behind that. */
        if (got == -1 && errno == ECONNRESET && !c->reset) {
            c->reset = true;
            continue;
        }
        if (got == -1 && errno != ECONNRESET)
            log_error("channel: cannot receive: %s", strerror(errno));
        else if (got > 0)
            log_error("channel: malformed message of %zd bytes, verb %u", got, c->incoming.verb);
        if (fd != -1)
            (void)close(fd);
        channel_gone(c);
    }
}

static void watch(struct channel *c);

static void on_pause_over(uv_timer_t *timer)
{
    watch(timer->data);
}

static void send_queued(struct channel *c)
{
    while (c->first != NULL) {
        struct outgoing *o = c->first;

        if (wire_send_packet(c->sock, o->packet, o->length, o->fd, MSG_DONTWAIT) == -1) {
            if (!send_later(errno))
                channel_break(c, why_broken(errno));
            else if (errno != EAGAIN) /* the socket says all the time that it can be written to */
                (void)uv_timer_start(&c->pause, on_pause_over, PAUSE_MS, 0);
            return;
        }
        c->first = o->next;
        if (c->first == NULL)
            c->last = &c->first;
        outgoing_free(o);
    }
}

static void channel_event(uv_poll_t *poll, int status, int events)
{
    struct channel *c = poll->data;

    /* An error is the last event: libuv watches no more. */
    if (status < 0 || (events & UV_READABLE) != 0)
        receive_some(c, status < 0 ? DRAIN_BATCH : RECEIVE_BATCH);
    if (c->closing || c->gone)
        return;
    if ((events & UV_WRITABLE) != 0) {
        send_queued(c);
        watch(c);
    }
}

static void watch(struct channel *c)
{
    bool sends = c->first != NULL && !uv_is_active((uv_handle_t *)&c->pause);

    (void)uv_poll_start(&c->poll, UV_READABLE | (sends ? UV_WRITABLE : 0), channel_event);
}

struct channel *channel_open(uv_loop_t *loop, int sock, channel_receive *receive, void *context)
{
    struct channel *c = calloc(1, sizeof *c);

    if (c == NULL)
        return NULL;
    c->sock = sock;
    c->receive = receive;
    c->context = context;
    c->last = &c->first;
    c->poll.data = c->pause.data = c;
    if (uv_poll_init(loop, &c->poll, sock) != 0) {
        free(c);
        return NULL;
    }
    (void)uv_timer_init(loop, &c->pause);
    c->handles_open = 2;
    watch(c);
    return c;
}

static void enqueue(struct channel *c, const struct message *m, int fd)
{
    struct outgoing *o = malloc(sizeof *o + packet_length(m));

    if (o == NULL) {
        channel_break(c, "no memory for a message");
        return;
    }
    *o = (struct outgoing){.fd = -1, .length = packet_length(m)};
    memcpy(o->packet, m, o->length);
    if (fd != -1 && (o->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0)) == -1) {
        free(o);
        channel_break(c, "no descriptor for a message");
        return;
    }
    *c->last = o;
    c->last = &o->next;
    watch(c);
}

void channel_send(struct channel *c, const struct message *m, int fd)
{
    if (c->gone || c->closing)
        return;
    if (c->first == NULL && wire_send_packet(c->sock, m, packet_length(m), fd, MSG_DONTWAIT) == 0)
        return;
    if (c->first != NULL || send_later(errno))
        enqueue(c, m, fd);
    else
        channel_break(c, why_broken(errno));
}

static void channel_closed(uv_handle_t *handle)
{
    struct channel *c = handle->data;

    if (--c->handles_open > 0)
        return;
    (void)close(c->sock);
    free(c);
}

void channel_close(struct channel *c)
{
    if (c == NULL || c->closing)
        return;
    c->closing = true;
    drop_queue(c);
    uv_close((uv_handle_t *)&c->poll, channel_closed);
    uv_close((uv_handle_t *)&c->pause, channel_closed);
}

void channel_drain(struct channel *c)
{
    receive_some(c, DRAIN_BATCH);
}

int channel_send_blocking(int sock, const struct message *m, int fd)
{
    return wire_send_packet(sock, m, packet_length(m), fd, 0);
}

int channel_receive_blocking(int sock, struct message *m, int *fd)
{
    struct pollfd readable = {.fd = sock, .events = POLLIN};
    int ready = poll(&readable, 1, BLOCKING_MAX_MS);
    ssize_t got;

    *fd = -1;
    if (ready <= 0) {
        errno = ready == 0 ? ETIMEDOUT : errno;
        return -1;
    }
    got = wire_receive_packet(sock, m, sizeof *m, fd, 0);
    if (got > 0 && message_check(m, (size_t)got))
        return 0;
    if (got >= 0)
        errno = got == 0 ? EPIPE : EPROTO;
    if (*fd != -1)
        (void)close(*fd);
    *fd = -1;
    return -1;
}
