/* SPDX-License-Identifier: ISC */
/*
 * audit.c - the audit process: the only one with the trail's key. Events come in, records go to disk.
 *
 * It runs as a user of its own, opens nothing but the trail's directory, and trusts nobody: an event is taken apart by
 * the table of fields, and what the table does not have is not written. The hard thing is to say "on disk" only when
 * it is: those who told an event keep it until then.
 */
#include "audit_archive.h"
#include "audit_copy.h"
#include "audit_ring.h"
#include "audit_trail.h"
#include "login.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_AT_ONCE       1024 /* records: they are not kept for the window */
#define TICK_MS            1000
#define DRAIN_LEAST_MS     1     /* between looks at the rings: while leases are many, */
#define DRAIN_MOST_MS      16    /* and while there are none */
#define UNASKED_MS         5     /* durable: for records that nobody waits for; a sync for somebody takes them along */
#define RECORDS_MOST       1000  /* between checkpoints */
#define SUPERVISOR_LAST_MS 500   /* for what a supervisor has to say before the end */
#define SIGNER_ROOM        16384 /* bytes, for one key and what OpenSSL computes with it */
#define SIGNER_LEAST       32    /* bytes of it that are given out */

static struct audit {
    uv_loop_t loop;
    struct channel *keeper, *supervisor;
    struct audit_trail trail;
    struct audit_config config;
    uv_timer_t window, tick, end, drain;
    uint64_t drain_pause; /* ms */
    uv_prepare_t round;
    uint32_t serial, on_disk;     /* of the supervisor's last event that was taken, and that is on disk */
    uint64_t checkpointed, begun; /* ms of the loop: the last checkpoint, the present file */
    unsigned space_said;          /* percent left at the last alarm; 100: none */
    bool failing, waiting;        /* the state as told; the window is open */
    bool asked;                   /* somebody waits until what is there now is on disk */
} audit;

/* ---- telling ---- */

static void tell_state(void)
{
    static struct message m;
    char head[AUDIT_ANCHOR_MAX];

    if (audit.supervisor == NULL)
        return;
    audit_trail_head(&audit.trail, head);
    message_make(&m, MESSAGE_AUDIT_STATE, NULL, audit.on_disk, audit.failing ? audit.trail.error : head);
    m.status = audit.failing ? AUDIT_STATE_FAILING : AUDIT_STATE_ON;
    m.stamp = audit_copy_lost();
    channel_send(audit.supervisor, &m, -1);
}

/* The one writer of the state. Who told what is on disk now learns that, or why it is not. */
static void set_failing(bool failing)
{
    if (failing && !audit.failing)
        log_error("audit: %s; it is tried again every second", audit.trail.error);
    else if (!failing && audit.failing)
        log_info("audit: the trail is written again");
    audit.failing = failing;
    if (!failing) {
        audit.on_disk = audit.serial;
        audit_rings_free();
    }
    tell_state();
}

static void sync_trail(void)
{
    audit.waiting = audit.asked = false;
    set_failing(!audit_trail_sync(&audit.trail));
}

static void checkpoint(const char *reason)
{
    set_failing(!audit_trail_checkpoint(&audit.trail, reason));
    if (!audit.failing)
        audit.checkpointed = uv_now(&audit.loop);
}

/* ---- events ---- */

static bool event_named(const char *name, enum audit_event *event)
{
    for (unsigned i = 0; name != NULL && i < AUDIT_EVENT_COUNT; i++)
        if (strcmp(audit_event_name[i], name) == 0) {
            *event = (enum audit_event)i;
            /* How the trail itself stands is this process's own word. */
            return i != AUDIT_OPEN && i != AUDIT_CHECKPOINT && i != AUDIT_ARCHIVED && i != AUDIT_REMOVED;
        }
    return false;
}

static void take_field(struct audit_values *values, enum audit_field field, const json_t *value)
{
    switch (audit_field_row[field].kind) {
    case AUDIT_TEXT:
        audit_set_text(values, field, json_string_value(value));
        return;
    case AUDIT_NUMBER:
        if (json_is_integer(value))
            audit_set_number(values, field, json_integer_value(value));
        return;
    case AUDIT_FLAG:
        if (json_is_boolean(value))
            audit_set_flag(values, field, json_is_true(value));
        return;
    }
}

static void take_event(const struct message *m)
{
    struct audit_values values = {0};
    json_t *json = json_loadb(m->text, m->length, 0, NULL);
    enum audit_event event;

    if (!event_named(json_string_value(json_object_get(json, "event")), &event)) {
        log_error("audit: an event that is none: %.80s", m->text);
        json_decref(json);
        return;
    }
    /* What an administrator did to a lease stands behind its begin. */
    if (!audit.failing)
        (void)audit_rings_drain(&audit.trail);
    for (unsigned i = 0; i < AUDIT_FIELD_COUNT; i++)
        take_field(&values, (enum audit_field)i, json_object_get(json, audit_field_row[i].name));
    (void)audit_trail_add(&audit.trail, event, &values);
    audit.asked = true;
    json_decref(json);
    if (event == AUDIT_CONFIG)
        checkpoint("config");
}

static void on_supervisor(void *context, const struct message *m, int fd)
{
    (void)context;
    if (fd != -1)
        (void)close(fd);
    if (m == NULL) {
        channel_close(audit.supervisor);
        audit.supervisor = NULL;
    } else if (m->verb == MESSAGE_AUDIT_EVENT) {
        take_event(m);
        audit.serial = m->slot;
    } else if (m->verb == MESSAGE_AUDIT_DRAIN) {
        audit.asked = true;
        if (!audit.failing)
            (void)audit_rings_drain(&audit.trail);
    } else {
        log_error("audit: the supervisor sent message %u, which it may not", m->verb);
    }
}

/* ---- the end ---- */

/* The keeper said so or is gone. What a supervisor had to say is taken first. */
static _Noreturn void finish(void)
{
    if (audit.supervisor != NULL)
        channel_drain(audit.supervisor);
    while (audit_rings_drain(&audit.trail) && audit_trail_sync(&audit.trail))
        audit_rings_free();
    audit_trail_close(&audit.trail);
    exit(0);
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    finish();
}

static void on_keeper(void *context, const struct message *m, int fd)
{
    (void)context;
    if (m == NULL)
        finish();
    switch ((enum message_verb)m->verb) {
    case MESSAGE_AUDIT:
        if (audit.supervisor != NULL)
            channel_drain(audit.supervisor);
        channel_close(audit.supervisor);
        audit.supervisor = fd == -1 ? NULL : channel_open(&audit.loop, fd, on_supervisor, NULL);
        /* Nobody would ask for it again. The next process is joined anew, and all that is not on disk is still there. */
        if (audit.supervisor == NULL)
            fatal(1, "audit: there is no %s for what the supervisor has to say: starting again",
                  fd == -1 ? "descriptor" : "memory");
        audit.serial = audit.on_disk = 0;
        tell_state();
        return;
    case MESSAGE_SEGMENT:
        audit_rings_add(&audit.trail, m->pool, fd, m->status == ISOLATION_STRICT);
        return;
    case MESSAGE_AUDIT_EVENT:
        take_event(m);
        break;
    case MESSAGE_STOP:
        (void)uv_timer_start(&audit.end, on_end, audit.supervisor == NULL ? 0 : SUPERVISOR_LAST_MS, 0);
        break;
    default:
        log_error("audit: the keeper sent message %u", m->verb);
    }
    if (fd != -1)
        (void)close(fd);
}

/* ---- the loop ---- */

/*
 * While the disk takes nothing the rings are left as they are: they hold what they have, and say that they are full.
 * Half of a batch window of a busy pool would fill one, so it is not waited for.
 */
static void on_drain(uv_timer_t *timer)
{
    bool any = !audit.failing && audit_rings_drain(&audit.trail);

    if (any || audit.drain_pause == 0)
        audit.drain_pause = DRAIN_LEAST_MS;
    else if (audit.drain_pause < DRAIN_MOST_MS)
        audit.drain_pause *= 2;
    (void)uv_timer_start(timer, on_drain, audit.drain_pause, 0);
    if (audit.trail.waiting >= SYNC_AT_ONCE)
        sync_trail();
}

static void on_window(uv_timer_t *timer)
{
    (void)timer;
    sync_trail();
}

/* After each round of events. While the disk takes nothing, only the tick tries. */
static void on_round(uv_prepare_t *prepare)
{
    bool durable = audit.config.sync == AUDIT_SYNC_DURABLE;

    (void)prepare;
    if (audit.trail.waiting == 0 || audit.failing)
        return;
    if (audit.trail.since_checkpoint >= RECORDS_MOST)
        checkpoint("count");
    else if (durable && audit.asked)
        sync_trail();
    else if (!audit.waiting)
        audit.waiting =
            uv_timer_start(&audit.window, on_window, durable ? UNASKED_MS : (uint64_t)audit.config.window_ms, 0) == 0;
}

/* Alarms at a fifth and at a twentieth of the space, each once until there is more again. */
static void look_at_space(void)
{
    static const unsigned alarms[] = {5, 20};
    struct audit_values values = {0};
    struct statvfs fs;
    unsigned left, said = 100;
    char reason[128];

    if (fstatvfs(audit.trail.directory, &fs) == -1 || fs.f_blocks == 0)
        return;
    left = (unsigned)(100.0 * (double)fs.f_bavail / (double)fs.f_blocks);
    for (size_t i = sizeof alarms / sizeof alarms[0]; i > 0; i--)
        said = left < alarms[i - 1] ? alarms[i - 1] : said;
    if (said < audit.space_said) {
        (void)snprintf(reason, sizeof reason, "less than %u %% of the space for the audit trail is left: make space",
                       said);
        log_error("audit: %s", reason);
        audit_set_text(&values, AUDIT_FIELD_OUTCOME, "space");
        audit_set_text(&values, AUDIT_FIELD_REASON, reason);
        (void)audit_trail_add(&audit.trail, AUDIT_ERROR, &values);
    }
    audit.space_said = said;
}

static void rotate_if_due(uint64_t now)
{
    bool large = audit.trail.size >= audit.config.segment_size;
    bool old = audit.config.rotate_ms != 0 && now - audit.begun >= (uint64_t)audit.config.rotate_ms;

    if (!large && !old)
        return;
    audit.begun = now; /* where that fails too: whatever is written next is another file */
    set_failing(!audit_trail_rotate(&audit.trail));
    if (!audit.failing)
        checkpoint("begin");
}

static void on_tick(uv_timer_t *timer)
{
    uint64_t now = uv_now(&audit.loop);

    (void)timer;
    if (audit.failing)
        sync_trail();
    if (!audit.failing && now - audit.checkpointed >= (uint64_t)audit.config.checkpoint_ms)
        checkpoint("timer");
    if (!audit.failing) {
        rotate_if_due(now);
        look_at_space();
        audit_archive_look(&audit.loop, &audit.trail, &audit.config);
    }
    log_tick();
}

/* ---- start ---- */

/* The job carries the section "audit" of the configuration, normalised. */
static void take_config(const json_t *json)
{
    static struct config whole;
    char error[CONFIG_ERROR_MAX];

    if (!config_audit_parse(json, &whole, error))
        fatal(1, "%s", error);
    audit.config = whole.audit;
}

static void open_loop(void)
{
    if (uv_loop_init(&audit.loop) != 0 || uv_timer_init(&audit.loop, &audit.window) != 0 ||
        uv_timer_init(&audit.loop, &audit.tick) != 0 || uv_timer_init(&audit.loop, &audit.drain) != 0 ||
        uv_timer_init(&audit.loop, &audit.end) != 0 || uv_prepare_init(&audit.loop, &audit.round) != 0)
        fatal(1, "cannot make an event loop");
    audit.begun = audit.checkpointed = uv_now(&audit.loop);
    audit.space_said = 100;
    (void)uv_prepare_start(&audit.round, on_round);
    (void)uv_timer_start(&audit.tick, on_tick, TICK_MS, TICK_MS);
    (void)uv_timer_start(&audit.drain, on_drain, DRAIN_LEAST_MS, 0);
    audit.keeper = channel_open(&audit.loop, CHANNEL_FD, on_keeper, NULL);
    if (audit.keeper == NULL)
        fatal(1, "cannot watch the keeper's channel");
}

int audit_main(void)
{
    static const int ignored[] = {SIGPIPE, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXFSZ};
    char error[512];
    struct job job;

    job_take("audit", &job);
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        (void)signal(ignored[i], SIG_IGN);
    if (privilege_drop(job.user, "", error, sizeof error) == -1)
        fatal(1, "%s", error);
    privilege_harden();
    audit_rings_guard();
    privilege_guard(&audit, sizeof audit);
    /* The key that signs, as OpenSSL holds it: locked, in no dump, and wiped when it is freed. */
    if (CRYPTO_secure_malloc_init(SIGNER_ROOM, SIGNER_LEAST) != 1)
        log_warning(
            "audit: the key that signs may be swapped to disk: raise the limit of locked memory (LimitMEMLOCK)");
    take_config(json_object_get(job.json, "audit"));
    audit_copy_open(audit.config.syslog);
    if (audit_trail_open(&audit.trail, audit.config.directory, audit.config.reserve, error, sizeof error) == -1)
        fatal(1, "%s", error);
    job_confine(&job, audit.config.archive_command.count > 0 ? SANDBOX_ARCHIVE : SANDBOX_AUDIT);
    audit_trail_copy_to(&audit.trail, audit_copy);
    json_decref(job.json);
    open_loop();
    log_info("audit: the trail in %s goes on with record %llu in file %u", audit.config.directory,
             (unsigned long long)audit.trail.durable.seq, audit.trail.number);
    return uv_run(&audit.loop, UV_RUN_DEFAULT);
}
