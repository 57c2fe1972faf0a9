/* SPDX-License-Identifier: ISC */
/*
 * door.c - .s.PGSQL.6432: plays a PostgreSQL server for just long enough that a worker's libpq makes a connection
 * object, and takes its cancel requests.
 *
 * The hard thing: a cancel that arrives late must not hit the next borrower. It is honoured only while the caller
 * holds that lease; the slot is marked, and nobody gets it before the server has closed the cancel connection.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define DOOR_REQUEST_MAX 4096                       /* libpq asks for a few hundred bytes */
#define DOOR_WELCOME_MAX (MESSAGE_TEXT_MAX + 16384) /* all of a backend's facts, and their frames */
#define DOOR_PATIENCE_MS 5000                       /* who connects and does not get on is let go */
#define DOOR_MAX         512                        /* visitors; anybody may be one */

struct visitor {
    struct visitor *next;
    struct supervisor *supervisor;
    int fd;
    int handles_open;
    bool leaving;
    bool welcomed;
    struct backend *cancels; /* waits for this backend's cancel to be through */
    uint32_t generation;     /* of it, then */
    uv_poll_t poll;
    uv_timer_t timer;
    size_t length;
    unsigned char request[DOOR_REQUEST_MAX];
};

static struct visitor *visitors;
static size_t visitor_count;

static void on_closed(uv_handle_t *handle)
{
    struct visitor *v = handle->data;

    if (--v->handles_open == 0)
        free(v);
}

static void leave(struct visitor *v)
{
    if (v->leaving)
        return;
    v->leaving = true;
    for (struct visitor **link = &visitors; *link != NULL; link = &(*link)->next)
        if (*link == v) {
            *link = v->next;
            break;
        }
    visitor_count--;
    uv_close((uv_handle_t *)&v->poll, on_closed);
    uv_close((uv_handle_t *)&v->timer, on_closed);
    (void)close(v->fd);
}

static void answer(struct visitor *v, const struct pg_buffer *out)
{
    /* Fits any socket buffer that is empty, as this one is; who does not take it is not waited for. */
    (void)send(v->fd, out->at, out->length, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void refuse(struct visitor *v, const char *code, const char *message, const char *hint)
{
    unsigned char bytes[1024];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};
    const struct {
        char field;
        const char *text;
    } fields[] = {{'S', "FATAL"}, {'V', "FATAL"}, {'C', code}, {'M', message}, {'H', hint}};
    size_t begun = pg_begin(&out, 'E');

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        pg_bytes(&out, &fields[i].field, 1);
        pg_string(&out, fields[i].text);
    }
    pg_bytes(&out, "", 1);
    pg_end(&out, begun);
    answer(v, &out);
    leave(v);
}

/* ---- start-up ---- */

static void append_parameter(struct pg_buffer *out, const char *name, const char *value)
{
    size_t begun = pg_begin(out, 'S');

    pg_string(out, name);
    pg_string(out, value);
    pg_end(out, begun);
}

/* Every ParameterStatus that the backend sent at its own login. */
static void append_facts(struct pg_buffer *out, const struct backend *b)
{
    static char value[MESSAGE_TEXT_MAX];
    char name[128];

    for (const char *line = b->facts; line != NULL && *line != '\0';) {
        size_t length = strcspn(line, "=\n");

        if (line[0] != '.' && line[length] == '=' && length < sizeof name) {
            memcpy(name, line, length);
            name[length] = '\0';
            if (backend_fact(b, name, value, sizeof value) != NULL)
                append_parameter(out, name, value);
        }
        line = strchr(line, '\n');
        if (line != NULL)
            line++;
    }
}

/* Play the server's side of a start-up that needs no authentication (documentation, 55.2.1). */
static void welcome(struct visitor *v, const struct worker *worker, const struct backend *b)
{
    static unsigned char bytes[DOOR_WELCOME_MAX];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};
    size_t begun = pg_begin(&out, 'R');

    pg_int32(&out, 0);
    pg_end(&out, begun);
    append_facts(&out, b);
    begun = pg_begin(&out, 'K');
    pg_int32(&out, (uint32_t)b->pid);
    pg_int32(&out, worker_cancel_key(worker, b));
    pg_end(&out, begun);
    begun = pg_begin(&out, 'Z');
    pg_bytes(&out, "I", 1);
    pg_end(&out, begun);
    if (out.overflow) {
        refuse(v, "54000", "this backend reports more parameters than pglend can repeat",
               "Set fewer or shorter ones of those that the server reports.");
        return;
    }
    answer(v, &out);
    /* The worker puts the lent socket in this one's place: its end of file ends the visit. */
    v->welcomed = true;
    v->length = 0;
}

/* The value of NAME in a start-up packet's list of terminated pairs. */
static const char *startup_option(const unsigned char *at, size_t length, const char *name)
{
    const char *key = (const char *)at, *end = key + length;

    while (key < end && *key != '\0') {
        const char *value = memchr(key, '\0', (size_t)(end - key));

        if (value == NULL || ++value >= end || memchr(value, '\0', (size_t)(end - value)) == NULL)
            return NULL;
        if (strcmp(key, name) == 0)
            return value;
        key = value + strlen(value) + 1;
    }
    return NULL;
}

static void start_up(struct visitor *v, size_t length)
{
    const char *token = startup_option(v->request + 8, length - 8, "options");
    struct worker *worker = NULL;
    struct shell *shell = NULL;
    struct identity who;
    char why[256];

    if (token != NULL && identity_of_peer(v->fd, &who, why, sizeof why) == 0) {
        worker = worker_by_token(v->supervisor, &who, token, &shell);
        if (who.pidfd != -1)
            (void)close(who.pidfd);
    }
    if (worker == NULL || shell->slot >= worker->pool->segment.slots ||
        worker->pool->backend[shell->slot].generation != shell->generation) {
        refuse(v, "28000",
               "this socket is not a database server: it belongs to pglend, which lends connections to "
               "workers that ask through its library",
               "Connect to PostgreSQL itself for a session of your own, or borrow one with libpglend; "
               "\"pglend check\" tests a pool.");
        return;
    }
    shell->token[0] = '\0';
    welcome(v, worker, &worker->pool->backend[shell->slot]);
}

/* ---- cancel ---- */

/* The worker whose borrower holds B now, NULL if none does. *WORD: what was seen. */
static const struct worker *holder(const struct backend *b, uint64_t *word)
{
    *word = slot_word(&b->pool->segment, b->slot);
    return word_state(*word) == SLOT_LEASED ? worker_of_borrower(b->pool, word_borrower(*word)) : NULL;
}

/* Mark B's lease, if its holder's connection object is named by KEY. */
static bool mark_cancelling(const struct backend *b, uint32_t key)
{
    for (unsigned tries = 0; tries < 1000; tries++) {
        uint64_t word;
        const struct worker *worker = holder(b, &word);

        if (worker == NULL || worker_cancel_key(worker, b) != key)
            return false;
        if ((word_flags(word) & SLOT_CANCELLING) != 0 ||
            lease_mark(&b->pool->segment, b->slot, word, SLOT_CANCELLING, 0))
            return true;
    }
    return false;
}

/* The backend of that pid which is lent under KEY, marked; NULL: there is none. */
static struct backend *backend_to_cancel(const struct supervisor *s, int32_t pid, uint32_t key)
{
    for (size_t i = 0; i < s->pools; i++)
        for (uint32_t slot = 0; slot < s->pool[i]->segment.slots; slot++) {
            struct backend *b = &s->pool[i]->backend[slot];

            if (b->phase == BACKEND_LENDABLE && b->pid == pid && mark_cancelling(b, key))
                return b;
        }
    return NULL;
}

static void cancel(struct visitor *v, size_t length)
{
    if (length == 16)
        v->cancels =
            backend_to_cancel(v->supervisor, (int32_t)pg_get_int32(v->request + 8), pg_get_int32(v->request + 12));
    if (v->cancels == NULL) {
        leave(v); /* as a server does with a key it does not know */
        return;
    }
    v->generation = v->cancels->generation;
    backend_cancel(v->cancels);
}

void door_cancelled(const struct backend *b, uint32_t generation)
{
    struct visitor *v, *next;

    for (v = visitors; v != NULL; v = next) {
        next = v->next;
        if (v->cancels == b && v->generation == generation)
            leave(v);
    }
}

/* ---- reading ---- */

/* A whole request is there. */
static void request(struct visitor *v, size_t length)
{
    uint32_t code = pg_get_int32(v->request + 4);

    switch (code) {
    case PG_CODE_SSL:
    case PG_CODE_GSS:
        /* What follows at once would have been meant for the encrypted connection. */
        if (v->length > length) {
            refuse(v, "08P01", "received unencrypted data after a request for encryption",
                   "This socket belongs to pglend and does without encryption: wait for its answer first.");
            return;
        }
        (void)send(v->fd, "N", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        v->length = 0;
        return;
    case PG_CODE_CANCEL:
        cancel(v, length);
        return;
    default:
        if (code >> 16 != 3)
            refuse(v, "0A000", "unsupported frontend protocol",
                   "This socket belongs to pglend and speaks version 3.0.");
        else
            start_up(v, length);
    }
}

static void on_input(uv_poll_t *poll, int status, int events)
{
    struct visitor *v = poll->data;
    ssize_t got;
    uint32_t length;

    (void)events;
    if (v->cancels != NULL && status == 0) {
        char byte;

        /* Nothing more is expected; a caller that hangs up does not take its cancel back. */
        if (recv(v->fd, &byte, 1, MSG_DONTWAIT) >= 0)
            leave(v);
        return;
    }
    got = recv(v->fd, v->request + v->length, sizeof v->request - v->length, MSG_DONTWAIT);
    if (got == -1 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        leave(v);
        return;
    }
    v->length += (size_t)got;
    if (v->length < 8)
        return;
    length = pg_get_int32(v->request);
    if (length < 8 || length > sizeof v->request) {
        refuse(v, "08P01", "invalid length of start-up packet", "This socket belongs to pglend.");
        return;
    }
    if (v->length >= length)
        request(v, length);
}

static void on_patience_over(uv_timer_t *timer)
{
    struct visitor *v = timer->data;

    if (v->welcomed || v->cancels != NULL)
        leave(v);
    else
        refuse(v, "08P01", "no whole start-up packet came in time", "This socket belongs to pglend.");
}

/* Those who connect and say nothing must not keep out those who do: the oldest of them has had its time. */
static bool make_room(void)
{
    struct visitor *oldest = NULL;

    if (visitor_count < DOOR_MAX)
        return true;
    for (struct visitor *v = visitors; v != NULL; v = v->next)
        if (v->cancels == NULL)
            oldest = v;
    if (oldest != NULL)
        leave(oldest);
    return oldest != NULL;
}

static void receive_visitor(void *context, int fd)
{
    struct supervisor *s = context;
    struct visitor *v = calloc(1, sizeof *v);

    if (v == NULL || !make_room() || uv_poll_init_socket(&s->loop, &v->poll, fd) != 0) {
        free(v);
        (void)close(fd);
        return;
    }
    v->supervisor = s;
    v->fd = fd;
    v->handles_open = 2;
    v->poll.data = v->timer.data = v;
    (void)uv_timer_init(&s->loop, &v->timer);
    (void)uv_timer_start(&v->timer, on_patience_over, DOOR_PATIENCE_MS, 0);
    v->next = visitors;
    visitors = v;
    visitor_count++;
    (void)uv_poll_start(&v->poll, UV_READABLE, on_input);
    on_input(&v->poll, 0, UV_READABLE); /* most have sent their packet by now */
}

int door_listen(struct supervisor *s, int fd)
{
    static struct listening door;

    return listening_start(&door, &s->loop, fd, receive_visitor, s);
}
