/* SPDX-License-Identifier: ISC */
/*
 * admin.c - admin.sock: connections, lines in, answers out.
 *
 * A connection has one request at a time: nothing more is read from it before its answer has been taken, so what a
 * peer can make the supervisor hold is one line and one answer, however slowly it reads and however much it sends.
 * Nothing here waits; every phase of a connection has its limit.
 */
#include "admin_server.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_MAX (8U << 20)

static const uint64_t phase_limit_ms[ADMIN_PHASES] = {
    [ADMIN_READING] = 600000, [ADMIN_QUEUED] = 30000, [ADMIN_ASKED] = 30000, [ADMIN_WAITING] = 10, /* and again */
    [ADMIN_WRITING] = 30000,
};

/* The one admin socket of this process. */
static struct {
    struct listening listening;
    struct admin_connection *connections;
    size_t count;
    bool reloading; /* the keeper has been asked and has not answered */
} admin;

static void on_timer(uv_timer_t *timer);
static void on_buffer_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer);

/* ---- life of a connection ---- */

static void on_closed(uv_handle_t *handle)
{
    struct admin_connection *c = handle->data;

    if (--c->handles_open > 0)
        return;
    json_decref(c->id);
    json_decref(c->args);
    json_decref(c->result);
    free(c->output);
    free(c);
}

/* A request's actor, and what came of it: OUTCOME, and why. */
static void record(const struct admin_connection *c, const char *outcome, const char *reason)
{
    struct audit_values values = {0};
    char *arguments = NULL;

    if (c->command == NULL)
        return;
    if (json_object_size(c->args) > 0)
        arguments = json_dumps(c->args, JSON_COMPACT | JSON_SORT_KEYS);
    audit_values_peer(&values, &c->peer, c->executable);
    audit_set_text(&values, AUDIT_FIELD_COMMAND_NAME, c->command);
    audit_set_text(&values, AUDIT_FIELD_POOL, json_string_value(json_object_get(c->args, "pool")));
    audit_set_text(&values, AUDIT_FIELD_ARGUMENTS, arguments);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_set_text(&values, AUDIT_FIELD_REASON, reason);
    audit_event(c->supervisor, AUDIT_COMMAND, &values);
    free(arguments);
}

static void close_connection(struct admin_connection *c)
{
    if (c->phase == ADMIN_CLOSING)
        return;
    record(c, "abandoned", c->phase == ADMIN_WAITING ? c->left(c) : "its result could not be told");
    c->phase = ADMIN_CLOSING;
    for (struct admin_connection **link = &admin.connections; *link != NULL; link = &(*link)->next) {
        if (*link == c) {
            *link = c->next;
            admin.count--;
            break;
        }
    }
    uv_close((uv_handle_t *)&c->pipe, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void enter(struct admin_connection *c, enum admin_phase phase)
{
    c->phase = phase;
    uv_timer_start(&c->timer, on_timer, phase_limit_ms[phase], 0);
    if (phase == ADMIN_READING)
        uv_read_start((uv_stream_t *)&c->pipe, on_buffer_wanted, on_read);
    else
        uv_read_stop((uv_stream_t *)&c->pipe);
}

/* ---- answers ---- */

static void advance(struct admin_connection *c);

static void on_written(uv_write_t *write, int status)
{
    struct admin_connection *c = write->handle->data;

    free(c->output);
    c->output = NULL;
    if (c->phase == ADMIN_CLOSING)
        return;
    if (status < 0 || c->last) {
        close_connection(c);
        return;
    }
    enter(c, ADMIN_READING);
    advance(c);
}

static void record_answer(const struct admin_connection *c, const json_t *error)
{
    const char *outcome = error == NULL ? "ok" : json_string_value(json_object_get(error, "code"));

    if (strcmp(outcome, ADMIN_DENIED) != 0 || denial_is_recorded(c->supervisor, c->peer.uid))
        record(c, outcome, json_string_value(json_object_get(error, "message")));
}

void admin_send(struct admin_connection *c, json_t *answer)
{
    char *text = answer == NULL ? NULL : json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(12));
    size_t length = text == NULL ? 0 : strlen(text);
    uv_buf_t buffer;

    if (text != NULL && length <= ANSWER_MAX)
        record_answer(c, json_object_get(answer, "error"));
    json_decref(answer);
    if (text == NULL) {
        log_error("admin: out of memory for an answer; closing the connection of pid %d", c->peer.pid);
        close_connection(c);
        return;
    }
    if (length > ANSWER_MAX) {
        free(text);
        admin_fail(c, ADMIN_FAILED, "the answer has %zu bytes, more than %u; ask for one pool", length, ANSWER_MAX);
        return;
    }
    json_decref(c->id);
    json_decref(c->args);
    json_decref(c->result);
    c->id = c->args = c->result = NULL;
    c->command = NULL;
    text[length] = '\n'; /* in place of the NUL: the buffer carries its length */
    c->output = text;
    buffer = uv_buf_init(text, (unsigned)length + 1);
    enter(c, ADMIN_WRITING);
    if (uv_write(&c->write, (uv_stream_t *)&c->pipe, &buffer, 1, on_written) != 0)
        close_connection(c);
}

/* ---- reload: the keeper's answer comes later ---- */

static void ask_keeper(struct supervisor *s)
{
    bool wanted = false;

    if (admin.reloading)
        return;
    for (struct admin_connection *c = admin.connections; c != NULL; c = c->next) {
        if (c->phase == ADMIN_QUEUED) {
            c->phase = ADMIN_ASKED;
            wanted = true;
        }
    }
    if (!wanted)
        return;
    admin.reloading = true;
    supervisor_tell(s, MESSAGE_RELOAD, "", 0, 0);
}

/* One that comes while the keeper reads already is asked again for: the file may have changed behind its eyes. */
void admin_ask_reload(struct admin_connection *c)
{
    enter(c, ADMIN_QUEUED);
    ask_keeper(c->supervisor);
}

/* What takes effect and then waits is recorded before its result too: nobody may live to see that. */
void admin_await(struct admin_connection *c, bool (*over)(struct admin_connection *c),
                 const char *(*left)(struct admin_connection *c))
{
    c->over = over;
    c->left = left;
    enter(c, ADMIN_WAITING);
    if (!over(c))
        record(c, "begun", NULL);
}

void admin_reloaded(struct supervisor *s, const char *text, json_t *changes)
{
    struct admin_connection *c, *next;

    admin.reloading = false;
    for (c = admin.connections; c != NULL; c = next) {
        next = c->next;
        if (c->phase != ADMIN_ASKED)
            continue;
        if (text != NULL)
            admin_fail(c, ADMIN_FAILED, "the configuration in force stays: %s", text);
        else
            admin_answer(c, changes != NULL ? json_incref(changes) : json_array());
    }
    json_decref(changes);
    ask_keeper(s);
}

/* ---- lines ---- */

static bool blank(const char *line, size_t length)
{
    while (length > 0 && strchr(" \t\r", line[length - 1]) != NULL && line[length - 1] != '\0')
        length--;
    return length == 0;
}

/* Handle the first whole line, if there is one. Answering ends READING, so at most one line is answered. */
static void advance(struct admin_connection *c)
{
    char *end;

    while (c->phase == ADMIN_READING && (end = memchr(c->line, '\n', c->length)) != NULL) {
        size_t length = (size_t)(end - c->line);

        if (!blank(c->line, length))
            admin_request(c, c->line, length);
        c->length -= length + 1;
        memmove(c->line, end + 1, c->length);
    }
    if (c->phase == ADMIN_READING && c->length == sizeof(c->line)) {
        c->last = true;
        admin_fail(c, ADMIN_BAD_REQUEST, "a line has more than %d bytes", ADMIN_LINE_MAX);
    }
}

/* ---- what the loop calls ---- */

static void on_buffer_wanted(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct admin_connection *c = handle->data;

    (void)suggested;
    *buffer = uv_buf_init(c->line + c->length, (unsigned)(sizeof(c->line) - c->length));
}

static void on_read(uv_stream_t *stream, ssize_t length, const uv_buf_t *buffer)
{
    struct admin_connection *c = stream->data;

    (void)buffer;
    if (length < 0) {
        close_connection(c);
        return;
    }
    c->length += (size_t)length;
    advance(c);
}

/* Nothing is read from a peer that waits, so its end would not be seen. */
static bool is_hung_up(const struct admin_connection *c)
{
    struct pollfd wait = {.fd = -1};

    (void)uv_fileno((const uv_handle_t *)&c->pipe, &wait.fd);
    return poll(&wait, 1, 0) == 1 && (wait.revents & (POLLHUP | POLLERR)) != 0;
}

static void on_timer(uv_timer_t *timer)
{
    struct admin_connection *c = timer->data;

    if (c->phase == ADMIN_WAITING) {
        if (is_hung_up(c))
            close_connection(c);
        else if (!c->over(c))
            enter(c, ADMIN_WAITING);
        return;
    }
    if (c->phase == ADMIN_QUEUED || c->phase == ADMIN_ASKED)
        admin_fail(c, ADMIN_TIMED_OUT, "the keeper has not answered within %u s; its log says what it is doing",
                   (unsigned)(phase_limit_ms[c->phase] / 1000));
    else
        close_connection(c);
}

/* Room for one more: peers that hold no role must not keep out those that do. */
static bool make_room(void)
{
    struct admin_connection *oldest = NULL;

    if (admin.count < ADMIN_CONNECTIONS_MAX)
        return true;
    for (struct admin_connection *c = admin.connections; c != NULL; c = c->next)
        if (admin_peer_role(c) < 0)
            oldest = c;
    if (oldest != NULL)
        close_connection(oldest);
    return oldest != NULL;
}

static bool identify(int fd, struct identity *peer, char executable[EXECUTABLE_MAX])
{
    char error[256];

    if (identity_of_peer(fd, peer, error, sizeof(error)) != 0) {
        static struct log_limit limit = {.kind = "admin: cannot tell who connects"};

        if (log_permitted(&limit))
            log_info("admin: cannot tell who connects: %s", error);
        return false;
    }
    identity_executable(peer->pid, executable);
    /* Who has ended by now may have been another under this number when it was looked at. */
    if (identity_ended(peer))
        executable[0] = '\0';
    if (peer->pidfd >= 0)
        close(peer->pidfd);
    peer->pidfd = -1;
    return true;
}

static void on_accepted(void *context, int fd)
{
    struct supervisor *s = context;
    struct admin_connection *c = calloc(1, sizeof(*c));
    bool room;

    if (c == NULL || !identify(fd, &c->peer, c->executable)) {
        free(c);
        close(fd);
        return;
    }
    room = make_room();
    c->supervisor = s;
    uv_pipe_init(&s->loop, &c->pipe, 0);
    uv_timer_init(&s->loop, &c->timer);
    c->pipe.data = c->timer.data = c;
    c->handles_open = 2;
    c->next = admin.connections;
    admin.connections = c;
    admin.count++;
    if (uv_pipe_open(&c->pipe, fd) != 0) {
        close(fd);
        close_connection(c);
    } else if (!room) {
        c->last = true;
        admin_fail(c, ADMIN_FAILED, "%d connections are open already; close some", ADMIN_CONNECTIONS_MAX);
    } else {
        enter(c, ADMIN_READING);
    }
}

int admin_listen(struct supervisor *s, int fd)
{
    return listening_start(&admin.listening, &s->loop, fd, on_accepted, s);
}
