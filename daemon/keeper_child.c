/* SPDX-License-Identifier: ISC */
/*
 * keeper_child.c - one process that the keeper started: its channel, its time, its end.
 *
 * The hard thing: a child's last message and its death arrive in any order. Its channel is drained when its death is
 * seen, so "ended" always comes after all it had to say.
 */
#include "keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_handle_closed(uv_handle_t *handle)
{
    struct child *c = handle->data;

    if (--c->handles_open == 0)
        free(c);
}

static void delist(struct child *c)
{
    if (c->link != NULL) {
        *c->link = c->next;
        if (c->next != NULL)
            c->next->link = c->link;
    }
    c->link = NULL;
}

static void child_free(struct child *c)
{
    delist(c);
    if (c->channel != NULL)
        channel_close(c->channel);
    uv_close((uv_handle_t *)&c->process, on_handle_closed);
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
}

static void on_exit_status(uv_process_t *process, int64_t status, int number)
{
    struct child *c = process->data;
    struct keeper *k = c->keeper;
    char how[64];

    if (number != 0)
        (void)snprintf(how, sizeof how, "signal %d (%s)", number, strsignal(number));
    else
        (void)snprintf(how, sizeof how, "exit status %lld", (long long)status);
    c->exited = true;
    if (c->channel != NULL)
        channel_drain(c->channel); /* its last message may have been that it stays */
    if (c->channel != NULL) {
        c->kind->ended(c, how);
    } else {
        if (number != 0)
            log_warning("the relay of pool=%s slot=%u (pid %d) ended: %s", c->pool->config->name, c->slot,
                        uv_process_get_pid(process), how);
        keeper_relay_gone(c);
    }
    child_free(c);
    keeper_child_gone(k);
}

static void on_message(void *context, const struct message *m, int fd)
{
    struct child *c = context;

    /* A process that closed its channel is of no more use. */
    if (m == NULL)
        child_kill(c);
    else
        c->kind->receive(c, m, fd);
}

static void on_time_up(uv_timer_t *timer)
{
    struct child *c = timer->data;

    c->timed_out = true;
    child_kill(c);
}

/* START is the socket that becomes the child's channel. */
static int spawn(struct child *c, char *title, int start)
{
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = start},
    };
    char *arguments[] = {title, NULL};
    uv_process_options_t options = {
        .exit_cb = on_exit_status,
        .file = "/proc/self/exe",
        .args = arguments,
        .env = environ,
        .stdio_count = sizeof stdio / sizeof stdio[0],
        .stdio = stdio,
    };

    _Static_assert(sizeof stdio / sizeof stdio[0] == CHANNEL_FD + 1, "the channel is the last descriptor");
    if (c->kind->dropped && geteuid() == 0) {
        options.flags = UV_PROCESS_SETUID | UV_PROCESS_SETGID; /* empties the supplementary groups too */
        options.uid = c->keeper->run_as.uid;
        options.gid = c->keeper->run_as.gid;
    }
    return uv_spawn(&c->keeper->loop, &c->process, &options);
}

static void enlist(struct child *c)
{
    struct keeper *k = c->keeper;

    c->next = k->children;
    c->link = &k->children;
    if (c->next != NULL)
        c->next->link = &c->next;
    k->children = c;
}

struct child *child_start(struct keeper *k, const struct child_kind *kind, const char *pool, char *error, size_t size)
{
    struct child *c = calloc(1, sizeof *c);
    int pair[2] = {-1, -1}, status;
    char title[NAME_FIELD + 32];

    if (c == NULL || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
        (void)snprintf(error, size, "cannot start a %s process: %s", kind->role, strerror(errno));
        free(c);
        return NULL;
    }
    /* First, for a process that is closed before it has ended is never waited for. */
    c->channel = channel_open(&k->loop, pair[0], on_message, c);
    if (c->channel == NULL) {
        (void)snprintf(error, size, "cannot start a %s process: no memory for its channel", kind->role);
        (void)close(pair[0]);
        (void)close(pair[1]);
        free(c);
        return NULL;
    }
    c->keeper = k;
    c->kind = kind;
    c->process.data = c->timer.data = c;
    c->handles_open = 2;
    (void)uv_timer_init(&k->loop, &c->timer);
    (void)snprintf(title, sizeof title, "pglendd: %s%s%s", kind->role, pool == NULL ? "" : " ",
                   pool == NULL ? "" : pool);
    status = spawn(c, title, pair[1]);
    (void)close(pair[1]);
    if (status == 0) {
        enlist(c);
        return c;
    }
    (void)snprintf(error, size, "cannot start a %s process: %s", kind->role, uv_strerror(status));
    child_free(c);
    return NULL;
}

void child_bound(struct child *c, uint64_t ms)
{
    (void)uv_timer_start(&c->timer, on_time_up, ms, 0);
}

void child_kill(struct child *c)
{
    int status = c->exited ? 0 : uv_process_kill(&c->process, SIGKILL);

    if (status != 0 && status != UV_ESRCH)
        log_error("cannot kill pid %d: %s", uv_process_get_pid(&c->process), uv_strerror(status));
}

void child_detach(struct child *c)
{
    delist(c);
    channel_close(c->channel);
    c->channel = NULL;
    (void)uv_timer_stop(&c->timer);
}

int child_give_job(struct child *c, const char *task, json_t *details)
{
    static struct message m;
    const struct config *config = c->keeper->config;
    json_t *job = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "task", task, "name",
                            c->pool == NULL ? "" : c->pool->config->name, "user", c->keeper->run_as.user, "group",
                            config->group, "log_level", (json_int_t)config->log_level, "log_format",
                            (json_int_t)config->log_format, "sandbox", (json_int_t)config->sandbox);
    char *text = NULL;
    int status = -1;

    if (job != NULL && (details == NULL || json_object_update(job, details) == 0))
        text = json_dumps(job, JSON_COMPACT);
    if (text != NULL && strlen(text) < MESSAGE_TEXT_MAX) {
        message_make(&m, MESSAGE_JOB, NULL, 0, text);
        channel_send(c->channel, &m, -1);
        status = 0;
    }
    free(text);
    json_decref(job);
    json_decref(details);
    return status;
}
