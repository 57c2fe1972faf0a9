/* SPDX-License-Identifier: ISC */
/*
 * supervisor.c - the process that lends: its loop, its configuration, the keeper's messages.
 *
 * The hard thing: it may be killed at any moment and must leave nothing that its successor cannot pick up. What the
 * keeper keeps (descriptors, listeners, segments) and what the words say is all a successor needs.
 */
#include "supervisor.h"
#include "sandbox.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SWEEP_MS      1000
#define KEEPER_END_MS 1000 /* from the end of its channel to its own */

static struct supervisor supervisor;
static pid_t keeper;

struct pool *supervisor_pool(struct supervisor *s, const char *name)
{
    for (size_t i = 0; i < s->pools; i++)
        if (strcmp(s->pool[i]->config->name, name) == 0)
            return s->pool[i];
    return NULL;
}

void supervisor_tell(struct supervisor *s, enum message_verb verb, const char *pool, uint32_t slot, uint32_t status)
{
    static struct message m;

    message_make(&m, verb, pool, slot, NULL);
    m.status = status;
    channel_send(s->channel, &m, -1);
}

/* ---- configuration ---- */

static struct config *receive_config(int fd)
{
    char error[CONFIG_ERROR_MAX], *text;
    struct config *config = NULL;
    struct stat st;

    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size <= 0 || st.st_size > CONFIG_FILE_MAX)
        return NULL;
    text = malloc((size_t)st.st_size + 1);
    if (text != NULL && pread(fd, text, (size_t)st.st_size, 0) == st.st_size) {
        text[st.st_size] = '\0';
        config = config_parse("configuration", text, (size_t)st.st_size, error);
        if (config == NULL)
            log_error("the keeper's configuration does not parse: %s", error);
    }
    free(text);
    return config;
}

static void make_pools(struct supervisor *s)
{
    s->pool = calloc(s->config->pools + 1, sizeof(struct pool *));
    for (size_t i = 0; i < s->config->pools; i++) {
        if (s->pool == NULL || (s->pool[i] = pool_new(s, &s->config->pool[i])) == NULL)
            fatal(1, "out of memory");
        s->pools = i + 1;
    }
}

static bool is_in(const struct config *config, const struct pool_config *pool)
{
    for (size_t i = 0; i < config->pools; i++)
        if (&config->pool[i] == pool)
            return true;
    return false;
}

/* A reload: pools stay the same ones, and one that the new file does not name goes on with its old keys. */
static void reconfigure(struct supervisor *s, struct config *config)
{
    struct config *old = s->config;
    bool needed = false;

    s->config = config;
    log_set((enum log_level)config->log_level, (enum log_format)config->log_format);
    for (size_t i = 0; i < s->pools; i++) {
        const struct pool_config *mine = config_pool(config, s->pool[i]->config->name);

        if (mine != NULL)
            pool_reconfigure(s->pool[i], mine);
        needed = needed || is_in(old, s->pool[i]->config);
    }
    if (!needed)
        config_free(old);
}

static void configuration_came(struct supervisor *s, const char *names, int fd)
{
    struct config *config = receive_config(fd);

    if (fd != -1)
        (void)close(fd);
    /* The next supervisor gets it too; this one would go on with an old one, or none. */
    if (config == NULL)
        fatal(1, "cannot read the configuration that the keeper sent");
    names_take(names);
    if (s->config != NULL) {
        reconfigure(s, config);
        return;
    }
    s->config = config;
    log_set((enum log_level)config->log_level, (enum log_format)config->log_format);
    sandbox_enter(SANDBOX_SUPERVISOR, config->sandbox);
    make_pools(s);
}

/* Sessions of pools whose CHANGES new logins only have. */
static void recycle_changed(struct supervisor *s, const json_t *changes)
{
    for (size_t p = 0; p < s->pools; p++) {
        const char *name = s->pool[p]->config->name;
        unsigned count = 0;
        bool changed = false;

        for (size_t i = 0; i < json_array_size(changes); i++) {
            const json_t *change = json_array_get(changes, i);
            const char *key = json_string_value(json_object_get(change, "key"));
            const char *takes = json_string_value(json_object_get(change, "takes"));
            size_t length = strlen(name);

            changed |= key != NULL && takes != NULL && strcmp(takes, CHANGE_RECYCLE) == 0 &&
                       strncmp(key, "pools.", 6) == 0 && strncmp(key + 6, name, length) == 0 && key[6 + length] == '.';
        }
        if (changed)
            count = steer_recycle(s->pool[p], 0, false);
        if (count > 0)
            log_info("pool=%s: %u session%s to be recycled, for the reload", name, count, count == 1 ? "" : "s");
    }
}

/* ---- the keeper's messages ---- */

static void on_sweep(uv_timer_t *timer);

static void record_run(const struct supervisor *s, enum audit_event event, const char *outcome)
{
    struct audit_values values = {0};

    audit_set_number(&values, AUDIT_FIELD_PID, getpid());
    audit_set_number(&values, AUDIT_FIELD_UID, geteuid());
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_event(s, event, &values);
}

static void serve(struct supervisor *s)
{
    s->serving = true;
    s->started = (int64_t)time(NULL);
    for (size_t i = 0; i < s->pools; i++) {
        if (s->pool[i]->segment_fd == -1)
            fatal(1, "the keeper sent no segment for pool %s", s->pool[i]->config->name);
        if (s->pool[i]->strict && s->pool[i]->reader_fd == -1)
            fatal(1, "pool=%s: no descriptor of its shared memory for its workers", s->pool[i]->config->name);
        if (s->pool[i]->damaged == 0)
            pool_recover(s->pool[i]);
    }
    audit_look(s);
    for (size_t i = 0; i < s->pools; i++)
        if (config_is_insecure(&s->pool[i]->config->database))
            pool_warn_insecure(s->pool[i], config_sslmode(&s->pool[i]->config->database));
    if (guest_listen(s, s->listener[LISTENER_WORKER]) == -1 || door_listen(s, s->listener[LISTENER_DOOR]) == -1 ||
        admin_listen(s, s->listener[LISTENER_ADMIN]) == -1)
        fatal(1, "cannot watch the listening sockets");
    (void)uv_timer_start(&s->sweep_timer, on_sweep, SWEEP_MS, SWEEP_MS);
    supervisor_tell(s, MESSAGE_SERVING, "", 0, 0);
    record_run(s, AUDIT_START, "serving");
    log_info("serving %zu pool%s in %s", s->pools, s->pools == 1 ? "" : "s", s->config->runtime_dir);
}

static void stop(struct supervisor *s, enum shutdown_mode mode)
{
    s->stopping = true;
    denial_look(s, true);
    log_info("shutting down (%s)", mode == SHUTDOWN_FAST ? "fast" : "graceful");
    record_run(s, AUDIT_STOP, mode == SHUTDOWN_FAST ? "fast" : "graceful");
    for (size_t i = 0; i < s->pools; i++)
        pool_stop(s->pool[i], mode);
}

/* A process that ends closes its sockets a moment before it is gone. */
static bool keeper_has_ended(void)
{
    const struct timespec pause = {.tv_nsec = 1000000};

    for (int ms = 0; ms < KEEPER_END_MS && getppid() == keeper; ms++)
        (void)nanosleep(&pause, NULL);
    return getppid() != keeper;
}

/* The keeper is gone: nobody can restart us, log in or cancel. Leases that are out finish without us. */
static _Noreturn void keeper_gone(struct supervisor *s)
{
    /* It lives, and starts another supervisor, whose the segments are. */
    if (!keeper_has_ended()) {
        log_error("the keeper does not answer any more: ending, for another supervisor to go on");
        exit(1);
    }
    log_warning("the keeper is gone: ending; leases that are out finish by themselves");
    for (size_t i = 0; i < s->pools; i++) {
        struct pool *pool = s->pool[i];

        if (pool->backend == NULL)
            continue; /* it had not been handed over */
        (void)segment_retire(pool->segment_fd);
        pool_stop(pool, SHUTDOWN_GRACEFUL);
    }
    exit(1);
}

/* Its descriptor did not arrive: the session is of no use, and the keeper's copy must not keep it. */
static void backend_lost(struct supervisor *s, struct backend *b)
{
    static struct message m;

    message_make(&m, MESSAGE_LOGIN_FAILED, b->pool->config->name, b->slot,
                 "the supervisor has too many files open to take a connection: raise its limit (ulimit -n)");
    m.status = LOGIN_FAILED_OTHER;
    if (b->replacement.state == REPLACEMENT_NONE)
        supervisor_tell(s, MESSAGE_FORGET, b->pool->config->name, b->slot, 0);
    backend_login_failed(b);
    pool_login_failed(b->pool, &m);
}

static void record_login(const struct backend *b, const struct message *m)
{
    struct audit_values values = {0};
    bool done = m->verb == MESSAGE_BACKEND;

    audit_values_backend(&values, b);
    audit_set_number(&values, AUDIT_FIELD_BACKEND, m->backend_pid);
    audit_set_text(&values, AUDIT_FIELD_ROLE, m->role);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME,
                   done                                 ? "ok"
                   : m->status == LOGIN_FAILED_PASSWORD ? "refused"
                                                        : "failed");
    audit_set_text(&values, AUDIT_FIELD_REASON, done ? NULL : m->text);
    audit_event(b->pool->supervisor, done ? AUDIT_LOGIN : AUDIT_LOGIN_FAILED, &values);
}

static void backend_came(struct backend *b, const struct message *m, int fd)
{
    struct supervisor *s = b->pool->supervisor;

    if (!s->serving) {
        backend_adopt(b, m, fd);
    } else if (fd == -1) {
        backend_lost(s, b);
    } else {
        backend_connected(b, m, fd);
        pool_login_done(b->pool);
        record_login(b, m);
    }
}

static void slot_message(struct supervisor *s, const struct message *m, int fd)
{
    struct pool *pool = supervisor_pool(s, m->pool);
    struct backend *b;

    if (pool == NULL || pool->backend == NULL || m->slot >= pool->segment.slots) {
        if (fd != -1)
            (void)close(fd);
        return;
    }
    b = &pool->backend[m->slot];
    switch ((enum message_verb)m->verb) {
    case MESSAGE_BACKEND:
        backend_came(b, m, fd);
        return;
    case MESSAGE_LOGIN_FAILED:
        backend_login_failed(b);
        pool_login_failed(pool, m);
        record_login(b, m);
        break;
    case MESSAGE_CANCELLED:
        backend_cancelled(b, m);
        break;
    case MESSAGE_PASSWORD_CHANGED:
        pool_password_changed(pool);
        if (m->status == PASSWORD_REPLACED)
            audit_event_pool(pool, AUDIT_SECRET, "replaced", NULL);
        break;
    case MESSAGE_SECRET:
        log_info("pool=%s: the new password is in use", pool->config->name);
        audit_event_pool(pool, AUDIT_SECRET, "in use", NULL);
        break;
    case MESSAGE_LOOKED:
        lease_watch_looked(b, m);
        break;
    case MESSAGE_PROBED:
        role_probed(b, m);
        break;
    case MESSAGE_STEERING:
        steer_from_predecessor(pool, m->text);
        break;
    default:
        log_warning("the keeper sent message %u", m->verb);
    }
    if (fd != -1)
        (void)close(fd);
}

static void segment_reader_came(struct supervisor *s, const struct message *m, int fd)
{
    struct pool *pool = supervisor_pool(s, m->pool);
    int old = pool != NULL ? pool->reader_fd : fd;

    if (pool != NULL)
        pool->reader_fd = fd;
    if (old != -1)
        (void)close(old);
}

/* Where ERROR says that its workers wrote over it, it is replaced. Else the next supervisor may be able to map it. */
static void segment_refused(struct pool *pool, int fd, int error)
{
    (void)close(fd);
    if ((error != EPROTO && error != EINVAL) || pool_attach_stand_in(pool) == -1)
        fatal(1, "pool=%s: cannot map its shared memory: %s", pool->config->name, strerror(error));
}

static void segment_came(struct supervisor *s, const struct message *m, int fd)
{
    struct pool *pool = supervisor_pool(s, m->pool);

    if (pool == NULL) {
        if (fd != -1)
            (void)close(fd);
        return;
    }
    if (fd == -1) {
        log_error("pool=%s: too many files open to take its shared memory, or it could not be made: raise the limit "
                  "(ulimit -n)",
                  m->pool);
        pool->segment_wanted = pool->replacing;
        return;
    }
    if (pool->replacing)
        damage_mended(pool, fd);
    else if (pool_attach(pool, fd) == -1)
        segment_refused(pool, fd, errno);
}

static void on_keeper_message(void *context, const struct message *m, int fd)
{
    struct supervisor *s = context;

    if (m == NULL)
        keeper_gone(s);
    switch ((enum message_verb)m->verb) {
    case MESSAGE_CONFIG:
        configuration_came(s, m->text, fd);
        return;
    case MESSAGE_LISTENER:
        if (m->slot < LISTENERS)
            s->listener[m->slot] = fd;
        return;
    case MESSAGE_SEGMENT:
        segment_came(s, m, fd);
        return;
    case MESSAGE_SEGMENT_READER:
        segment_reader_came(s, m, fd);
        return;
    case MESSAGE_SERVE:
        (void)snprintf(s->secret, sizeof s->secret, "%.*s", SECRET_HEX, m->text);
        serve(s);
        return;
    case MESSAGE_AUDIT:
        audit_link_open(s, fd);
        return;
    case MESSAGE_RUNS:
        guest_runs(m);
        break;
    case MESSAGE_STOP:
        stop(s, (enum shutdown_mode)m->status);
        return;
    case MESSAGE_RELOADED: {
        json_t *changes = m->status == 0 ? json_loads(m->text, 0, NULL) : NULL;

        recycle_changed(s, changes);
        audit_config_changes(s, m->status == 0 ? NULL : m->text, changes);
        admin_reloaded(s, m->status == 0 ? NULL : m->text, changes);
        return;
    }
    default:
        slot_message(s, m, fd);
    }
}

/* ---- the loop ---- */

static void on_sweep(uv_timer_t *timer)
{
    struct supervisor *s = timer->data;

    for (size_t i = 0; i < s->pools; i++) {
        damage_ask(s->pool[i]);
        pool_sweep(s->pool[i]);
    }
    denial_look(s, false);
    audit_look(s);
    log_tick();
}

/* After each round of events: which segment is damaged, who died, and whether a shutdown is complete. */
static void on_round(uv_prepare_t *prepare)
{
    struct supervisor *s = prepare->data;
    bool stopped = s->stopping;

    damage_look(s);
    for (size_t i = 0; i < s->pools; i++) {
        if (s->pool[i]->sweep_due)
            pool_sweep(s->pool[i]);
        grant_look(s->pool[i]);
        stopped = stopped && pool_stopped(s->pool[i]);
    }
    if (stopped && !s->stopped && audit_settled(s)) {
        s->stopped = true;
        supervisor_tell(s, MESSAGE_STOPPED, "", 0, 0);
    }
}

static void ignore_signals(void)
{
    /* The keeper gets the terminal's and the service manager's, and says what is to be done. */
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT};

    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        (void)signal(ignored[i], SIG_IGN);
}

int supervisor_main(void)
{
    struct supervisor *s = &supervisor;
    static uv_prepare_t round;

    keeper = getppid();
    log_open("supervisor");
    privilege_harden();
    ignore_signals();
    damage_guard(s);
    if (uv_loop_init(&s->loop) != 0 || uv_timer_init(&s->loop, &s->sweep_timer) != 0 ||
        uv_prepare_init(&s->loop, &round) != 0)
        fatal(1, "cannot make an event loop");
    s->sweep_timer.data = round.data = s;
    (void)uv_prepare_start(&round, on_round);
    s->channel = channel_open(&s->loop, CHANNEL_FD, on_keeper_message, s);
    if (s->channel == NULL)
        fatal(1, "cannot watch the keeper's channel");
    return uv_run(&s->loop, UV_RUN_DEFAULT);
}
