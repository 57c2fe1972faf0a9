/* SPDX-License-Identifier: ISC */
/*
 * lease_watch.c - leases that last: logged with who holds them and what their session does, and revoked.
 *
 * The hard thing: what passes between borrower and server is not seen here. How long a session has been idle is the
 * server's word, asked for by a login of its own, and only where a limit may have been reached; one that runs a long
 * report is not idle. The answer comes later, and counts only for the very lease that it was asked for.
 */
#include "supervisor.h"

#include <ctype.h>
#include <string.h>

#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_S      UINT64_C(1000000000)
#define LOOK_AGAIN_NS NS_PER_S        /* no two looks at a session are closer */
#define BLIND_NS      (10 * NS_PER_S) /* where a look failed */
#define SECONDS_MAX   1e9             /* what a server says is more is taken for that */

/* A row of pg_stat_activity. */
struct session_state {
    char state[32], wait_event[80], query_id[32];
    double state_s, transaction_s; /* negative: none */
};

static uint64_t limit_ns(int64_t ms)
{
    return (uint64_t)ms * NS_PER_MS;
}

static unsigned long long seconds(uint64_t ns)
{
    return (unsigned long long)(ns / NS_PER_S);
}

/* Who holds it, as the kernel told, and whom it says it acts for. */
static void describe_holder(const struct backend *b, uint64_t word, char *text, size_t size)
{
    const struct pool *pool = b->pool;
    const struct worker *w = worker_of_borrower(pool, word_borrower(word));
    char actor[ACTOR_MAX + 1] = "";

    if (w == NULL) {
        (void)snprintf(text, size, "a process that is gone");
        return;
    }
    memcpy(actor, pool->segment.asserted[word_borrower(word)].actor, ACTOR_MAX);
    for (char *c = actor; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c) || *c == '"')
            *c = '?';
    (void)snprintf(text, size, "pid %d (uid %u, %s%s%s%s)", (int)w->identity.pid, (unsigned)w->identity.uid, w->exe,
                   actor[0] != '\0' ? ", actor \"" : "", actor, actor[0] != '\0' ? "\"" : "");
}

/* ---- telling ---- */

static void describe_session(const struct session_state *state, char *text, size_t size)
{
    size_t at = (size_t)snprintf(text, size, "; its session is %s for %.0fs", state->state, state->state_s);

    if (state->transaction_s >= 0 && at < size)
        at += (size_t)snprintf(text + at, size - at, ", in a transaction for %.0fs", state->transaction_s);
    if (state->wait_event[0] != '\0' && at < size)
        at += (size_t)snprintf(text + at, size - at, ", waits for %s", state->wait_event);
    if (state->query_id[0] != '\0' && at < size)
        (void)snprintf(text + at, size - at, ", query id %s", state->query_id);
}

/* STATE NULL: not known, for the reason WHY. */
static void warn(struct backend *b, uint64_t word, uint64_t now, const struct session_state *state, const char *why)
{
    char holder[512], session[512];

    describe_holder(b, word, holder, sizeof holder);
    if (state != NULL)
        describe_session(state, session, sizeof session);
    else
        (void)snprintf(session, sizeof session, "; what its session does is not known: %.400s", why);
    backend_log(b, LOG_LEVEL_WARNING, "lease %s/%u/%llu is held for %llus by %s%s", b->pool->config->name, b->slot,
                (unsigned long long)b->watch.lease, seconds(now - b->watch.since), holder, session);
    b->watch.warned = true;
}

static void lease_is_over(struct backend *b, uint64_t now)
{
    const struct lease_watch *w = &b->watch;

    if (w->warned)
        backend_log(b, LOG_LEVEL_INFO, "lease %s/%u/%llu is over, after %llus", b->pool->config->name, b->slot,
                    (unsigned long long)w->lease, seconds(now - w->since));
    b->watch = (struct lease_watch){.asked_of = w->asked_of};
}

/* ---- watching ---- */

/* The shortest time after which an idle session is too idle; 0: it never is. */
static uint64_t idle_limit(const struct pool_config *config)
{
    uint64_t idle = limit_ns(config->lease_idle_max_ms), in = limit_ns(config->lease_idle_in_transaction_max_ms);

    return idle == 0 || (in != 0 && in < idle) ? in : idle;
}

static bool look_is_due(const struct backend *b, uint64_t now)
{
    const struct pool_config *config = b->pool->config;
    const struct lease_watch *w = &b->watch;
    uint64_t held = now - w->since, idle = idle_limit(config);

    if (w->asked_of != 0 || now < w->look_at)
        return false;
    return (config->lease_warn_ms != 0 && !w->warned && held >= limit_ns(config->lease_warn_ms)) ||
           (idle != 0 && held >= idle);
}

static void watch_lease(struct backend *b, uint64_t word, uint64_t now)
{
    const struct slot *slot = &b->pool->segment.slot[b->slot];
    uint64_t lease = atomic_load_explicit(&slot->lease, memory_order_relaxed);
    uint64_t since = atomic_load_explicit(&slot->since, memory_order_relaxed);
    uint64_t max = limit_ns(b->pool->config->lease_max_ms);
    struct lease_watch *w = &b->watch;

    if (w->lease != lease) {
        lease_is_over(b, now);
        w->lease = lease;
        /* Workers write it: no longer ago than the session, no later than now. */
        w->since = since < b->connected ? b->connected : since < now ? since : now;
    }
    if (max != 0 && now - w->since >= max) {
        if (!w->warned)
            warn(b, word, now, NULL, "it is not looked at, for lease_max is over");
        (void)revoke_lease(b, word, CLOSE_LEASE_TOO_LONG);
    } else if (look_is_due(b, now) && !pool_in_doubt(b->pool, true)) {
        w->asked_of = lease;
        supervisor_tell(b->pool->supervisor, MESSAGE_LOOK, b->pool->config->name, b->slot, 0);
    }
}

void lease_watch_look(struct pool *pool)
{
    uint64_t now = clock_ns();

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);

        if (b->phase == BACKEND_LENDABLE && word_state(word) == SLOT_LEASED)
            watch_lease(b, word, now);
        else if (b->watch.lease != 0)
            lease_is_over(b, now);
    }
}

/* ---- what a look came to ---- */

static void copy_member(const json_t *json, const char *key, char *text, size_t size)
{
    const json_t *value = json_object_get(json, key);

    if (json_is_integer(value))
        (void)snprintf(text, size, "%lld", (long long)json_integer_value(value));
    else
        (void)snprintf(text, size, "%s", json_is_string(value) ? json_string_value(value) : "");
    for (char *c = text; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c))
            *c = '?';
}

static double member_seconds(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);

    if (!json_is_number(value))
        return -1;
    return json_number_value(value) < SECONDS_MAX ? json_number_value(value) : SECONDS_MAX;
}

/* False: TEXT is not what login_ask.c makes, or says nothing. */
static bool read_state(const char *text, struct session_state *state)
{
    json_t *json = json_loads(text, 0, NULL);

    copy_member(json, "state", state->state, sizeof state->state);
    copy_member(json, "wait_event", state->wait_event, sizeof state->wait_event);
    copy_member(json, "query_id", state->query_id, sizeof state->query_id);
    state->state_s = member_seconds(json, "state_s");
    state->transaction_s = member_seconds(json, "transaction_s");
    json_decref(json);
    return state->state[0] != '\0';
}

/* Revoke it where it has been idle for too long; else say when to look again. */
static void judge(struct backend *b, uint64_t word, uint64_t now, const struct session_state *state)
{
    const struct pool_config *config = b->pool->config;
    bool in_transaction = strncmp(state->state, "idle in transaction", 19) == 0;
    uint64_t limit = limit_ns(in_transaction ? config->lease_idle_in_transaction_max_ms : config->lease_idle_max_ms);
    uint64_t idle = state->state_s > 0 ? (uint64_t)(state->state_s * 1e9) : 0, again = idle_limit(config);

    if (!in_transaction && strcmp(state->state, "idle") != 0)
        limit = 0;
    if (limit != 0 && idle >= limit) {
        if (!b->watch.warned)
            warn(b, word, now, state, NULL);
        (void)revoke_lease(b, word, in_transaction ? CLOSE_LEASE_IDLE_IN_TRANSACTION : CLOSE_LEASE_IDLE);
        return;
    }
    if (limit != 0 && limit - idle < again)
        again = limit - idle;
    b->watch.look_at = now + (again > LOOK_AGAIN_NS ? again : LOOK_AGAIN_NS);
}

void lease_watch_looked(struct backend *b, const struct message *m)
{
    struct lease_watch *w = &b->watch;
    uint64_t word = slot_word(&b->pool->segment, b->slot), now = clock_ns(), asked_of = w->asked_of;
    uint64_t lease = atomic_load_explicit(&b->pool->segment.slot[b->slot].lease, memory_order_relaxed);
    uint64_t warn_ns = limit_ns(b->pool->config->lease_warn_ms);
    struct session_state state;
    bool seen = m->status == LOOK_SEEN && read_state(m->text, &state);

    w->asked_of = 0;
    if (m->generation != b->generation || b->phase != BACKEND_LENDABLE || word_state(word) != SLOT_LEASED ||
        lease != asked_of || w->lease != lease)
        return;
    if (!seen)
        w->look_at = now + (m->status == LOOK_BUSY ? LOOK_AGAIN_NS : BLIND_NS);
    if (m->status == LOOK_BUSY)
        return;
    if (!w->warned && warn_ns != 0 && now - w->since >= warn_ns)
        warn(b, word, now, seen ? &state : NULL, m->text);
    if (seen)
        judge(b, word, now, &state);
}
