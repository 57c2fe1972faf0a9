/* SPDX-License-Identifier: ISC */
/*
 * guest.c - a connection to worker.sock before it belongs to a worker: its hello, and which program it runs.
 *
 * The hard thing: nobody is known yet, and anybody may connect. So guests are few, and none may take its time; a keeper
 * that does not say which program one runs costs it that, and no more.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define GUESTS_MAX  512
#define ANSWER_MS   2000 /* the keeper has so long to say which program a guest runs */
#define GREETING_MS 5000 /* who connects and says nothing for so long is let go */

/* A connection before its hello. */
struct guest {
    struct guest *next;
    struct supervisor *supervisor;
    int fd;
    int handles_open;
    uv_poll_t poll;
    uv_timer_t timer;
    uint32_t asked; /* number of the question which program it runs; 0: none */
    size_t length;  /* of its hello, which waits for that */
    union wire_message hello;
};

static struct guest *guests; /* newest first */
static size_t guest_count;

static void on_guest_silent(uv_timer_t *timer);

static void on_guest_closed(uv_handle_t *handle)
{
    struct guest *g = handle->data;

    if (--g->handles_open > 0)
        return;
    if (g->fd != -1)
        (void)close(g->fd);
    free(g);
}

static void end_guest(struct guest *g)
{
    if (uv_is_closing((uv_handle_t *)&g->poll))
        return;
    for (struct guest **link = &guests; *link != NULL; link = &(*link)->next)
        if (*link == g) {
            *link = g->next;
            guest_count--;
            break;
        }
    uv_close((uv_handle_t *)&g->poll, on_guest_closed);
    uv_close((uv_handle_t *)&g->timer, on_guest_closed);
}

/* Its hello has come, and it is known which program it runs. */
static void welcome(struct guest *g, const char *program)
{
    /* The loop must let go of the descriptor before a worker's own watch takes it up. */
    end_guest(g);
    if (hello_greet(g->supervisor, g->fd, &g->hello, g->length, program))
        g->fd = -1;
}

/* The keeper can see it where the supervisor cannot. */
static void ask_program(struct guest *g, int pidfd)
{
    static uint32_t questions;
    static struct message m;

    questions += questions == UINT32_MAX ? 2 : 1; /* 0 is none */
    g->asked = questions;
    message_make(&m, MESSAGE_WHO, "", g->asked, NULL);
    channel_send(g->supervisor->channel, &m, pidfd);
    (void)uv_poll_stop(&g->poll);
    (void)uv_timer_start(&g->timer, on_guest_silent, ANSWER_MS, 0);
}

/* A guest's hello has come. Who it is the greeting finds out anew: a process keeps its socket, and its pidfd. */
static void hear_hello(struct guest *g)
{
    char program[EXECUTABLE_MAX] = "", why[256];
    struct identity who;

    /* Noise is not worth a look, and strangers are not the keeper's business. */
    if (wire_check(&g->hello, g->length) && g->hello.header.type == WIRE_HELLO &&
        identity_of_peer(g->fd, &who, why, sizeof why) == 0) {
        identity_executable(who.pid, program);
        if (program[0] != '/' && hello_may_come(g->supervisor, g->hello.hello.pool, &who))
            ask_program(g, who.pidfd);
        (void)close(who.pidfd);
    }
    if (g->asked == 0)
        welcome(g, program);
}

void guest_runs(const struct message *m)
{
    struct guest *g = guests;

    while (g != NULL && g->asked != m->slot)
        g = g->next;
    if (g != NULL && m->slot != 0)
        welcome(g, m->text);
}

static void on_hello(uv_poll_t *poll, int status, int events)
{
    struct guest *g = poll->data;
    ssize_t got;
    int fd = g->fd;

    (void)status;
    (void)events;
    got = wire_receive_packet(fd, &g->hello, sizeof g->hello, NULL, MSG_DONTWAIT);
    if (got == -1 && errno == EAGAIN)
        return;
    if (got == -1 && errno == EMSGSIZE) {
        if (hello_speaks_another(&g->hello, sizeof g->hello))
            got = sizeof g->hello;
        else
            hello_refuse_oversized(fd);
    }
    if (got <= 0) {
        end_guest(g);
        return;
    }
    g->length = (size_t)got;
    hear_hello(g);
}

static void on_guest_silent(uv_timer_t *timer)
{
    struct guest *g = timer->data;

    if (g->asked != 0)
        welcome(g, "");
    else
        end_guest(g);
}

static void receive_guest(void *context, int fd)
{
    struct supervisor *s = context;
    struct guest *g = calloc(1, sizeof *g);

    if (g == NULL || uv_poll_init_socket(&s->loop, &g->poll, fd) != 0) {
        free(g);
        (void)close(fd);
        return;
    }
    /* Those who connect and say nothing must not use up the descriptors. */
    if (guest_count == GUESTS_MAX) {
        struct guest *oldest = guests;

        while (oldest->next != NULL)
            oldest = oldest->next;
        end_guest(oldest);
    }
    g->supervisor = s;
    g->fd = fd;
    g->next = guests;
    guests = g;
    guest_count++;
    g->handles_open = 2;
    g->poll.data = g->timer.data = g;
    (void)uv_timer_init(&s->loop, &g->timer);
    (void)uv_timer_start(&g->timer, on_guest_silent, GREETING_MS, 0);
    (void)uv_poll_start(&g->poll, UV_READABLE, on_hello);
    on_hello(&g->poll, 0, UV_READABLE); /* most have said it by now */
}

int guest_listen(struct supervisor *s, int fd)
{
    static struct listening door;

    return listening_start(&door, &s->loop, fd, receive_guest, s);
}
