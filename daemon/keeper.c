/* SPDX-License-Identifier: ISC */
/*
 * keeper.c - the parent of all: starts the supervisor, hands it everything it needs, starts another when it dies.
 *
 * It handles no worker's bytes. The hard thing: whatever dies, nothing may be lost that another needs. So all that
 * must outlive the supervisor (listeners, segments, backends' descriptors, cancel keys) stays here, and a handover is
 * always the same whole sequence, whether it is the first supervisor or the tenth.
 */
#include "keeper.h"
#include "sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUICK_DEATH_MS   1000 /* a supervisor that lived less is started again after a pause */
#define PAUSE_LEAST_MS   10
#define PAUSE_MOST_MS    500  /* another serves within a second */
#define EARLY_DEATHS_MAX 5    /* before any supervisor has served: a start that fails says so */
#define FAST_BOUND_MS    5000 /* for a fast shutdown, however long the configuration would wait */
#define EXIT_BOUND_MS    1000 /* for who was killed to be gone */

static struct message out;

struct keeper_pool *keeper_pool(struct keeper *k, const char *name)
{
    for (size_t i = 0; i < k->pools; i++)
        if (strcmp(k->pool[i].config->name, name) == 0)
            return &k->pool[i];
    return NULL;
}

void keeper_tell(struct keeper *k, const struct message *m, int fd)
{
    if (k->supervisor != NULL)
        channel_send(k->supervisor->channel, m, fd);
}

/* ---- the end ---- */

static void kill_all(struct keeper *k)
{
    k->phase = KEEPER_KILLING;
    (void)uv_timer_stop(&k->restart_timer);
    for (struct child *c = k->children; c != NULL; c = c->next)
        if (!keeper_audit_stop(k, c))
            child_kill(c);
    if (k->children == NULL)
        uv_stop(&k->loop);
}

static void on_stop_time_up(uv_timer_t *timer)
{
    struct keeper *k = timer->data;

    if (k->phase == KEEPER_KILLING) {
        uv_stop(&k->loop);
        return;
    }
    log_warning("the shutdown took too long: ending now");
    kill_all(k);
    (void)uv_timer_start(&k->stop_timer, on_stop_time_up, EXIT_BOUND_MS, 0);
}

/* The first request is carried out; a second one ends everything at once. */
static void stop(struct keeper *k, enum shutdown_mode mode)
{
    uint64_t bound = (uint64_t)k->config->shutdown_timeout_ms;

    if (mode == SHUTDOWN_FAST && bound > FAST_BOUND_MS)
        bound = FAST_BOUND_MS;
    if (k->phase != KEEPER_SERVING || k->supervisor == NULL)
        bound = 0;
    ready_stopping();
    if (k->phase == KEEPER_SERVING) {
        log_info("shutting down (%s)", mode == SHUTDOWN_FAST ? "fast" : "graceful");
        k->phase = KEEPER_STOPPING;
        message_make(&out, MESSAGE_STOP, NULL, 0, NULL);
        out.status = mode;
        keeper_tell(k, &out, -1);
    }
    if (bound == 0) {
        kill_all(k);
        bound = EXIT_BOUND_MS;
    }
    (void)uv_timer_start(&k->stop_timer, on_stop_time_up, bound, 0);
}

void keeper_child_gone(struct keeper *k)
{
    if (k->phase == KEEPER_STOPPING && k->supervisor == NULL)
        kill_all(k);
    else if (k->phase == KEEPER_KILLING && k->children == NULL)
        uv_stop(&k->loop);
}

/* ---- the supervisor ---- */

static void on_serving(struct keeper *k, const struct message *m)
{
    (void)m;
    if (k->served)
        return;
    k->served = true;
    ready_serving();
}

/* It has ended all it had, and answered those who asked; what is left of it may be killed. */
static void on_stopped(struct keeper *k, const struct message *m)
{
    (void)m;
    if (k->phase != KEEPER_STOPPING)
        return;
    kill_all(k);
    (void)uv_timer_start(&k->stop_timer, on_stop_time_up, EXIT_BOUND_MS, 0);
}

static void on_reload(struct keeper *k, const struct message *m)
{
    (void)m;
    keeper_reload(k);
}

static void on_shutdown(struct keeper *k, const struct message *m)
{
    stop(k, m->status == SHUTDOWN_FAST ? SHUTDOWN_FAST : SHUTDOWN_GRACEFUL);
}

/* One that could not be made is tried again whenever it is wanted. Until there is one, the message has no descriptor. */
static void send_segment(struct keeper *k, struct keeper_pool *pool)
{
    char error[512];

    if (pool->segment_fd == -1) {
        if (segment_open(pool, k->config->runtime_dir, error, sizeof error) == 0)
            keeper_audit_segment(k, pool);
        else
            log_error("%s", error);
    }
    if (pool->reader_fd != -1) {
        message_make(&out, MESSAGE_SEGMENT_READER, pool->config->name, 0, NULL);
        keeper_tell(k, &out, pool->reader_fd);
    }
    message_make(&out, MESSAGE_SEGMENT, pool->config->name, 0, NULL);
    keeper_tell(k, &out, pool->segment_fd);
}

/* A worker damaged the old one. */
static void on_new_segment(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool = keeper_pool(k, m->pool);

    if (pool == NULL)
        return;
    segment_close(pool);
    send_segment(k, pool);
}

/* For the next one: it is stored, and means nothing to the keeper. */
static void on_steering(struct keeper *k, const struct message *m)
{
    struct keeper_pool *pool = keeper_pool(k, m->pool);

    if (pool == NULL || m->length > STEERING_MAX)
        return;
    free(pool->steering);
    pool->steering = strdup(m->text);
}

static void on_audit(struct keeper *k, const struct message *m)
{
    (void)m;
    keeper_audit_join(k);
}

/* All that a supervisor may ask for. */
static const struct {
    enum message_verb verb;
    void (*act)(struct keeper *k, const struct message *m);
} requests[] = {
    {MESSAGE_LOGIN, keeper_login},
    {MESSAGE_REPLACE, keeper_login},
    {MESSAGE_CANCEL, keeper_cancel},
    {MESSAGE_FORGET, keeper_forget},
    {MESSAGE_RELOAD, on_reload},
    {MESSAGE_SHUTDOWN, on_shutdown},
    {MESSAGE_NEW_SEGMENT, on_new_segment},
    {MESSAGE_SERVING, on_serving},
    {MESSAGE_STOPPED, on_stopped},
    {MESSAGE_STEERING, on_steering},
    {MESSAGE_LOOK, keeper_look},
    {MESSAGE_PROBE, keeper_look},
    {MESSAGE_AUDIT, on_audit},
};

static void supervisor_receive(struct child *c, const struct message *m, int fd)
{
    if (m->verb == MESSAGE_WHO) {
        if (c == c->keeper->supervisor) /* its successor has questions of the same numbers */
            keeper_who(c->keeper, m, fd);
        if (fd != -1)
            (void)close(fd);
        return;
    }
    if (fd != -1)
        (void)close(fd);
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++)
        if (m->verb == requests[i].verb) {
            requests[i].act(c->keeper, m);
            return;
        }
    log_warning("the supervisor sent message %u, which it may not", m->verb);
}

static void start_supervisor(struct keeper *k);

static void on_restart(uv_timer_t *timer)
{
    start_supervisor(timer->data);
}

/* At once, and after a pause that doubles where it lived less than QUICK_DEATH_MS. */
static void restart_supervisor(struct keeper *k, bool quick)
{
    if (!quick)
        k->restart_delay = 0;
    else if (k->restart_delay == 0)
        k->restart_delay = PAUSE_LEAST_MS;
    else
        k->restart_delay = k->restart_delay * 2 < PAUSE_MOST_MS ? k->restart_delay * 2 : PAUSE_MOST_MS;
    (void)uv_timer_start(&k->restart_timer, on_restart, k->restart_delay, 0);
}

static void supervisor_ended(struct child *c, const char *how)
{
    struct keeper *k = c->keeper;

    k->supervisor = NULL;
    keeper_forget_logins(k);
    keeper_forget_cancels(k);
    keeper_forget_looks(k);
    if (k->phase != KEEPER_SERVING)
        return;
    log_error("the supervisor (pid %d) ended: %s", uv_process_get_pid(&c->process), how);
    if (!k->served && ++k->early_deaths == EARLY_DEATHS_MAX) {
        log_error("no supervisor could be brought to serve");
        k->failed = true;
        stop(k, SHUTDOWN_FAST);
        return;
    }
    restart_supervisor(k, uv_now(&k->loop) - k->supervisor_started < QUICK_DEATH_MS);
}

static const struct child_kind supervisor_kind = {
    .role = "supervisor", .receive = supervisor_receive, .ended = supervisor_ended, .dropped = true};

static void hand_over(struct keeper *k)
{
    int fd = keeper_config_file(k->config);

    /* Without it the supervisor cannot serve; it is tried again. */
    if (fd == -1) {
        log_error("cannot hand over the configuration: %s", strerror(errno));
        child_kill(k->supervisor);
        return;
    }
    message_make(&out, MESSAGE_CONFIG, NULL, 0, k->names);
    keeper_tell(k, &out, fd);
    (void)close(fd);
    for (enum listener i = 0; i < LISTENERS; i++) {
        message_make(&out, MESSAGE_LISTENER, NULL, i, NULL);
        keeper_tell(k, &out, k->listener[i]);
    }
    for (size_t i = 0; i < k->pools; i++)
        send_segment(k, &k->pool[i]);
    keeper_hand_over_backends(k);
    for (size_t i = 0; i < k->pools; i++)
        if (k->pool[i].steering != NULL) {
            message_make(&out, MESSAGE_STEERING, k->pool[i].config->name, 0, k->pool[i].steering);
            keeper_tell(k, &out, -1);
        }
    keeper_audit_join(k);
    message_make(&out, MESSAGE_SERVE, NULL, 0, k->secret);
    keeper_tell(k, &out, -1);
}

static void start_supervisor(struct keeper *k)
{
    char error[256];

    k->supervisor_started = uv_now(&k->loop);
    k->supervisor = child_start(k, &supervisor_kind, NULL, error, sizeof error);
    if (k->supervisor != NULL) {
        hand_over(k);
        return;
    }
    log_error("%s", error);
    restart_supervisor(k, true);
}

/* ---- start ---- */

static void on_signal(uv_signal_t *handle, int number)
{
    struct keeper *k = handle->data;

    if (number == SIGHUP)
        keeper_reload(k);
    else
        stop(k, number == SIGINT ? SHUTDOWN_FAST : SHUTDOWN_GRACEFUL);
}

static void loop_open(struct keeper *k)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};

    if (uv_loop_init(&k->loop) != 0 || uv_timer_init(&k->loop, &k->restart_timer) != 0 ||
        uv_timer_init(&k->loop, &k->stop_timer) != 0)
        fatal(1, "cannot make an event loop");
    k->restart_timer.data = k->stop_timer.data = k;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        k->signal[i].data = k;
        if (uv_signal_init(&k->loop, &k->signal[i]) != 0 || uv_signal_start(&k->signal[i], on_signal, numbers[i]) != 0)
            fatal(1, "cannot watch signal %d", numbers[i]);
    }
    (void)signal(SIGPIPE, SIG_IGN);
}

static void end(struct keeper *k)
{
    for (size_t i = 0; i < k->pools; i++) {
        segment_close(&k->pool[i]);
        for (uint32_t s = 0; s < k->pool[i].slots && k->pool[i].slot != NULL; s++)
            keeper_drop_slot(&k->pool[i].slot[s]);
        free(k->pool[i].slot);
        free(k->pool[i].steering);
        free(k->pool[i].refusal);
        keeper_drop_secret(&k->pool[i]);
    }
    free(k->pool);
    runtime_close(k);
    free(k->names);
    config_free(k->config);
}

static void make_secret(struct keeper *k)
{
    unsigned char bytes[SECRET_HEX / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        fatal(1, "getrandom: %s", strerror(errno));
    for (size_t i = 0; i < sizeof bytes; i++)
        (void)snprintf(k->secret + 2 * i, 3, "%02x", bytes[i]);
}

int keeper_main(struct config *config)
{
    static struct keeper keeper = {.lock = -1, .listener = {-1, -1, -1}};
    struct keeper *k = &keeper;
    char error[512];

    k->config = config;
    k->cancel_last = &k->cancel_first;
    log_open("keeper");
    log_set((enum log_level)config->log_level, (enum log_format)config->log_format);
    privilege_harden();
    privilege_raise_descriptors();
    ready_open();
    (void)umask(022);
    loop_open(k);
    make_secret(k);
    k->names = names_resolve(config);
    if (k->names == NULL)
        fatal(1, "cannot look up the users and groups of the access lists: %s", strerror(errno));
    if (privilege_resolve(config, &k->run_as, error, sizeof error) == -1 ||
        keeper_audit_open(k, error, sizeof error) == -1 || runtime_open(k, error, sizeof error) == -1 ||
        segments_open(k, error, sizeof error) == -1 || privilege_keep_few(config, error, sizeof error) == -1) {
        log_error("%s", error);
        k->failed = true;
    } else {
        sandbox_enter(SANDBOX_KEEPER, config->sandbox);
        keeper_audit_start(k);
        start_supervisor(k);
        (void)uv_run(&k->loop, UV_RUN_DEFAULT);
        log_info("ended");
    }
    end(k);
    return k->failed ? 1 : 0;
}
