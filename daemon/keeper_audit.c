/* SPDX-License-Identifier: ISC */
/*
 * keeper_audit.c - the keeper starts the audit process, starts another when it dies, and joins it to the supervisor.
 *
 * Either end may be new at any time, so a pair of sockets is made whenever both are there: each gets its end in the
 * same way, whether it is the first one or the tenth.
 */
#include "keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAUSE_LEAST_MS 100
#define PAUSE_MOST_MS  10000
#define LIVED_MS       10000 /* who lived so long is started again after the least pause */

static struct message out;

static bool wanted(const struct keeper *k)
{
    return *k->config->audit.directory != '\0';
}

void keeper_audit_join(struct keeper *k)
{
    int pair[2];

    if (k->audit == NULL || k->supervisor == NULL)
        return;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) {
        log_error("cannot join the audit process to the supervisor: %s", strerror(errno));
        child_kill(k->audit); /* and try it again */
        return;
    }
    message_make(&out, MESSAGE_AUDIT, NULL, 0, NULL);
    channel_send(k->audit->channel, &out, pair[0]);
    channel_send(k->supervisor->channel, &out, pair[1]);
    (void)close(pair[0]);
    (void)close(pair[1]);
}

void keeper_audit_segment(struct keeper *k, const struct keeper_pool *pool)
{
    if (k->audit == NULL || pool->segment_fd == -1)
        return;
    message_make(&out, MESSAGE_SEGMENT, pool->config->name, 0, NULL);
    out.status = (uint32_t)pool->config->isolation;
    channel_send(k->audit->channel, &out, pool->segment_fd);
}

static void audit_receive(struct child *c, const struct message *m, int fd)
{
    (void)c;
    if (fd != -1)
        (void)close(fd);
    log_warning("the audit process sent message %u, which it may not", m->verb);
}

static void on_restart(uv_timer_t *timer)
{
    keeper_audit_start(timer->data);
}

static void restart(struct keeper *k)
{
    uint64_t delay = k->audit_delay * 2;

    if (uv_now(&k->loop) - k->audit_started >= LIVED_MS || delay < PAUSE_LEAST_MS)
        delay = PAUSE_LEAST_MS;
    k->audit_delay = delay < PAUSE_MOST_MS ? delay : PAUSE_MOST_MS;
    (void)uv_timer_start(&k->audit_timer, on_restart, k->audit_delay, 0);
}

static void audit_ended(struct child *c, const char *how)
{
    struct keeper *k = c->keeper;

    k->audit = NULL;
    if (k->phase == KEEPER_KILLING)
        return;
    log_error("the audit process (pid %d) ended: %s", uv_process_get_pid(&c->process), how);
    restart(k);
}

static const struct child_kind audit_kind = {.role = "audit", .receive = audit_receive, .ended = audit_ended};

void keeper_audit_start(struct keeper *k)
{
    json_t *whole, *section;
    char error[256];

    if (!wanted(k) || k->phase == KEEPER_KILLING)
        return;
    k->audit_started = uv_now(&k->loop);
    k->audit = child_start(k, &audit_kind, NULL, error, sizeof error);
    if (k->audit == NULL) {
        log_error("%s", error);
        restart(k);
        return;
    }
    whole = config_json(k->config);
    section = json_object_get(whole, "audit");
    if (child_give_job(k->audit, "audit", json_pack("{s:s, s:O}", "user", k->audit_user, "audit", section)) == -1)
        child_kill(k->audit);
    json_decref(whole);
    for (size_t i = 0; i < k->pools; i++)
        keeper_audit_segment(k, &k->pool[i]);
    keeper_audit_join(k);
}

bool keeper_audit_stop(struct keeper *k, const struct child *c)
{
    if (c != k->audit)
        return false;
    message_make(&out, MESSAGE_STOP, NULL, 0, NULL);
    channel_send(k->audit->channel, &out, -1);
    return true;
}

int keeper_audit_open(struct keeper *k, char *error, size_t size)
{
    if (uv_timer_init(&k->loop, &k->audit_timer) != 0) {
        (void)snprintf(error, size, "cannot make a timer");
        return -1;
    }
    k->audit_timer.data = k;
    return wanted(k)
               ? privilege_resolve_audit(k->config, k->run_as.user, k->audit_user, sizeof k->audit_user, error, size)
               : 0;
}
