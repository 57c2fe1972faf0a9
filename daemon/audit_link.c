/* SPDX-License-Identifier: ISC */
/*
 * audit_link.c - the supervisor tells the audit process what happens.
 *
 * The hard thing: the audit process may die at any moment, and no event may go with it. An event is kept here until
 * the audit process says that its record is on disk, and is told again to the next one. What was written but not yet
 * acknowledged then stands twice in the trail, with the same serial.
 */
#include "ring.h"
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEPT_MAX         20000 /* events that wait for an audit process; pglendd(8) names the number */
#define DEGRADE_AFTER_MS 5000  /* one that is only being started again is back by then */
#define SETTLE_MS        3000  /* for an audit process that is being started while all else has ended */

struct kept {
    struct kept *next;
    uint32_t serial;
    size_t length;
    char text[];
};

/* The one trail of this process. */
static struct {
    struct channel *channel; /* NULL: no audit process just now */
    bool draining, again;    /* it has been asked to look at the rings; and is to be asked once more when it has */
    bool unjoined;           /* there is one, and the way to it got lost: the keeper is to be asked for another */
    struct kept *first, **last;
    size_t kept;
    uint32_t serial;
    uint64_t lost; /* events that found no room */
    enum audit_state state;
    uint64_t since;              /* ms of the loop */
    uint64_t syslog_lost;        /* checkpoints, as the audit process said last */
    char head[AUDIT_ANCHOR_MAX]; /* the last one that was told */
} trail = {.last = &trail.first, .state = AUDIT_STATE_OFF};

static void tell(const struct kept *k)
{
    static struct message m;

    message_make(&m, MESSAGE_AUDIT_EVENT, NULL, k->serial, k->text);
    channel_send(trail.channel, &m, -1);
}

/* The one writer of the state. */
static void set_state(struct supervisor *s, enum audit_state state, const char *why)
{
    if (state == trail.state)
        return;
    if (state == AUDIT_STATE_FAILING)
        log_error("audit: the trail is not written: %s; %zu events wait", why, trail.kept);
    else
        log_info("audit: the trail is written%s", trail.state == AUDIT_STATE_FAILING ? " again" : "");
    trail.state = state;
    trail.since = uv_now(&s->loop);
    audit_look(s);
}

static bool keep(enum audit_event event, struct audit_values *values)
{
    static const struct audit_moment unknown = {.boot = ""};
    char body[AUDIT_BODY_MAX];
    struct kept *k;
    size_t length;

    audit_set_number(values, AUDIT_FIELD_SERIAL, trail.serial + 1);
    length = audit_body(body, event, &unknown, values);
    k = trail.kept < KEPT_MAX ? malloc(sizeof *k + length + 2) : NULL;
    if (k == NULL)
        return false;
    k->next = NULL;
    k->serial = ++trail.serial;
    /* An object: its first comma becomes the brace. The audit process puts its own time. */
    k->length = length + 1;
    memcpy(k->text, body, length);
    k->text[0] = '{';
    memcpy(k->text + length, "}", 2);
    *trail.last = k;
    trail.last = &k->next;
    trail.kept++;
    if (trail.channel != NULL)
        tell(k);
    return true;
}

static void say_lost(void)
{
    struct audit_values values = {0};

    audit_set_text(&values, AUDIT_FIELD_OUTCOME, "lost");
    audit_set_text(&values, AUDIT_FIELD_REASON, "these events found no room while no audit process took them");
    audit_set_number(&values, AUDIT_FIELD_RECORDS, (int64_t)trail.lost);
    if (keep(AUDIT_ERROR, &values))
        trail.lost = 0;
}

static void acknowledged(uint32_t serial)
{
    while (trail.first != NULL && (int32_t)(trail.first->serial - serial) <= 0) {
        struct kept *next = trail.first->next;

        free(trail.first);
        trail.first = next;
        trail.kept--;
    }
    if (trail.first == NULL)
        trail.last = &trail.first;
    /* No event may follow that would say so. */
    if (trail.lost > 0)
        say_lost();
}

static void on_message(void *context, const struct message *m, int fd)
{
    if (fd != -1)
        (void)close(fd);
    trail.draining = false;
    if (m == NULL) {
        channel_close(trail.channel);
        trail.channel = NULL;
        set_state(context, AUDIT_STATE_FAILING, "the audit process has ended");
    } else if (m->verb == MESSAGE_AUDIT_STATE) {
        acknowledged(m->slot);
        trail.syslog_lost = m->stamp;
        if (m->status == AUDIT_STATE_ON)
            (void)snprintf(trail.head, sizeof trail.head, "%.*s", (int)sizeof trail.head - 1, m->text);
        set_state(context, m->status == AUDIT_STATE_ON ? AUDIT_STATE_ON : AUDIT_STATE_FAILING, m->text);
    }
    if (trail.again)
        audit_drain();
}

void audit_link_open(struct supervisor *s, int fd)
{
    trail.unjoined = fd == -1;
    if (fd == -1) {
        log_error("too many files open to be joined to the audit process: raise the limit (ulimit -n)");
        return;
    }
    channel_close(trail.channel);
    if (trail.state == AUDIT_STATE_ON)
        set_state(s, AUDIT_STATE_FAILING, "the audit process has ended");
    trail.draining = trail.again = false;
    trail.channel = channel_open(&s->loop, fd, on_message, s);
    if (trail.channel == NULL) {
        (void)close(fd);
        trail.unjoined = true;
        return;
    }
    for (const struct kept *k = trail.first; k != NULL; k = k->next)
        tell(k);
}

/* One at a time: while the disk is busy with what was there, more comes, and all of that is the next one's. */
void audit_drain(void)
{
    static struct message m;

    trail.again = trail.draining;
    if (trail.channel == NULL || trail.draining)
        return; /* another process begins with looking */
    trail.draining = true;
    message_make(&m, MESSAGE_AUDIT_DRAIN, NULL, 0, NULL);
    channel_send(trail.channel, &m, -1);
}

static bool is_on(const struct supervisor *s)
{
    return s->config != NULL && *s->config->audit.directory != '\0';
}

void audit_event(const struct supervisor *s, enum audit_event event, struct audit_values *values)
{
    if (!is_on(s))
        return;
    if (trail.lost > 0)
        say_lost();
    if (trail.lost > 0 || !keep(event, values))
        trail.lost++;
}

void audit_event_pool(const struct pool *pool, enum audit_event event, const char *outcome, const char *reason)
{
    struct audit_values values = {0};

    audit_set_text(&values, AUDIT_FIELD_POOL, pool->config->name);
    audit_set_text(&values, AUDIT_FIELD_ROLE, pool->config->database.user);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_set_text(&values, AUDIT_FIELD_REASON, reason);
    audit_event(pool->supervisor, event, &values);
}

/* Under whose name the session is: the configuration may have another one by now, and of a service it has none. */
void audit_values_backend(struct audit_values *values, const struct backend *b)
{
    static char role[NAME_FIELD];

    audit_set_text(values, AUDIT_FIELD_POOL, b->pool->config->name);
    audit_set_text(values, AUDIT_FIELD_ROLE,
                   backend_fact(b, ".user", role, sizeof role) != NULL ? role : b->pool->config->database.user);
    audit_set_number(values, AUDIT_FIELD_SLOT, b->slot);
    audit_set_number(values, AUDIT_FIELD_GENERATION, b->generation);
    audit_set_number(values, AUDIT_FIELD_BACKEND, b->pid);
}

void audit_values_peer(struct audit_values *values, const struct identity *who, const char *executable)
{
    audit_set_number(values, AUDIT_FIELD_UID, who->uid);
    audit_set_number(values, AUDIT_FIELD_GID, who->gid);
    audit_set_number(values, AUDIT_FIELD_PID, who->pid);
    audit_set_number(values, AUDIT_FIELD_STARTED, (int64_t)who->start_time);
    /* A name in brackets is the process's own choice. */
    if (executable[0] == '/')
        audit_set_text(values, AUDIT_FIELD_EXECUTABLE, executable);
}

/*
 * What leases do while the trail is not written. Who is only being started again is not yet out of order: what the
 * rings hold until then is not lost.
 */
static enum ring_mode mode_wanted(const struct supervisor *s)
{
    if (trail.since == 0)
        trail.since = uv_now(&s->loop); /* there has been none yet */
    if (trail.state == AUDIT_STATE_ON)
        return RING_OPEN;
    if (s->config->audit.on_failure == AUDIT_FAILURE_DENY)
        return RING_HELD;
    return uv_now(&s->loop) - trail.since < DEGRADE_AFTER_MS ? RING_OPEN : RING_UNRECORDED;
}

void audit_look(struct supervisor *s)
{
    if (!is_on(s))
        return;
    if (trail.unjoined)
        supervisor_tell(s, MESSAGE_AUDIT, "", 0, 0);
    trail.unjoined = false;
    for (size_t i = 0; i < s->pools; i++) {
        struct segment_header *header = s->pool[i]->segment.header;
        uint64_t lost;

        if (header == NULL || s->pool[i]->segment.records == 0)
            continue;
        atomic_store_explicit(&header->ring_mode, mode_wanted(s), memory_order_relaxed);
        lost = atomic_exchange_explicit(&header->ring_lost, 0, memory_order_relaxed);
        if (lost > 0) {
            struct audit_values values = {0};

            audit_set_text(&values, AUDIT_FIELD_POOL, s->pool[i]->config->name);
            audit_set_text(&values, AUDIT_FIELD_OUTCOME, "lost");
            audit_set_text(&values, AUDIT_FIELD_REASON, "leases were lent unrecorded while the trail was not written");
            audit_set_number(&values, AUDIT_FIELD_RECORDS, (int64_t)(lost & INT64_MAX));
            audit_event(s, AUDIT_ERROR, &values);
        }
    }
}

uint32_t audit_last(void)
{
    return trail.serial;
}

bool audit_is_written(uint32_t serial)
{
    return trail.state == AUDIT_STATE_ON && (trail.first == NULL || (int32_t)(trail.first->serial - serial) > 0);
}

bool audit_settled(const struct supervisor *s)
{
    static uint64_t asked;

    if (asked == 0)
        asked = uv_now(&s->loop);
    return trail.first == NULL || (trail.state != AUDIT_STATE_ON && uv_now(&s->loop) - asked >= SETTLE_MS);
}

void audit_config_changes(const struct supervisor *s, const char *refusal, const json_t *changes)
{
    const json_t *change;
    size_t i;

    if (refusal != NULL) {
        struct audit_values values = {0};

        audit_set_text(&values, AUDIT_FIELD_OUTCOME, "refused");
        audit_set_text(&values, AUDIT_FIELD_REASON, refusal);
        audit_event(s, AUDIT_CONFIG, &values);
    }
    json_array_foreach(changes, i, change)
    {
        struct audit_values values = {0};

        audit_set_text(&values, AUDIT_FIELD_KEY, json_string_value(json_object_get(change, "key")));
        audit_set_text(&values, AUDIT_FIELD_OLD, json_string_value(json_object_get(change, "old")));
        audit_set_text(&values, AUDIT_FIELD_NEW, json_string_value(json_object_get(change, "new")));
        audit_set_text(&values, AUDIT_FIELD_OUTCOME, json_string_value(json_object_get(change, "takes")));
        audit_event(s, AUDIT_CONFIG, &values);
    }
}

const char *audit_link_state(const struct supervisor *s)
{
    static const char *const names[] = {"off", "on", "failing"};

    if (!is_on(s))
        return names[AUDIT_STATE_OFF];
    return names[trail.state == AUDIT_STATE_ON ? AUDIT_STATE_ON : AUDIT_STATE_FAILING];
}

const char *audit_link_head(void)
{
    return trail.head;
}

uint64_t audit_link_syslog_lost(void)
{
    return trail.syslog_lost;
}
