/* SPDX-License-Identifier: ISC */
/*
 * pool.c - policy: how many backends, when to log in, what to do when a login fails; words against backends.
 *
 * The hard thing: the segment is the workers' to write, so a word may say anything at any time. pool_sweep() holds
 * each word against what the supervisor knows of that slot, and where they disagree the backend is replaced.
 */
#include "supervisor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_FIRST_MS 10
#define DOWN_PAUSE_MS    500
#define PROVEN_NS        UINT64_C(1000000000) /* after a login that succeeded, others need not wait for one to */

static void on_login_timer(uv_timer_t *timer);

struct pool *pool_new(struct supervisor *s, const struct pool_config *config)
{
    struct pool *pool = calloc(1, sizeof *pool);

    if (pool == NULL)
        return NULL;
    pool->supervisor = s;
    pool->config = config;
    pool->segment_fd = pool->reader_fd = -1;
    pool->strict = config->isolation == ISOLATION_STRICT;
    pool->last_ask = &pool->ask;
    pool->steering.min = (uint32_t)config->size_min;
    pool->steering.max = (uint32_t)config->size_max;
    (void)uv_timer_init(&s->loop, &pool->login_timer);
    (void)uv_timer_init(&s->loop, &pool->review);
    pool->login_timer.data = pool->review.data = pool;
    return pool;
}

/* What this process alone knows of the slots and workers of S. All of it or nothing. */
static bool make_tables(struct pool *pool, const struct segment *s)
{
    struct backend *backend = calloc(s->slots, sizeof *backend);
    struct worker **worker = calloc(s->borrowers, sizeof(struct worker *));
    struct grant *grants = calloc(s->slots, sizeof *grants);

    if (backend == NULL || worker == NULL || grants == NULL) {
        free(backend);
        free(worker);
        free(grants);
        errno = ENOMEM;
        return false;
    }
    pool->backend = backend;
    pool->worker = worker;
    pool->grants = grants;
    for (uint32_t i = 0; i < s->slots; i++)
        backend_init(&pool->backend[i], pool, i);
    return true;
}

int pool_attach(struct pool *pool, int segment_fd)
{
    struct segment segment = {0};

    if (segment_map(&segment, segment_fd) == -1)
        return -1;
    /* It may come from a predecessor, whose workers could write it. */
    if (segment.slots != pool->config->size_limit || segment.borrowers != pool->config->max_workers) {
        segment_unmap(&segment);
        errno = EINVAL;
        return -1;
    }
    if (pool->backend == NULL && !make_tables(pool, &segment)) {
        segment_unmap(&segment);
        return -1;
    }
    pool->segment = segment;
    pool->segment_fd = segment_fd;
    pool->replacing = false;
    pool->damaged = 0;
    return 0;
}

int pool_attach_stand_in(struct pool *pool)
{
    int fd = segment_create(NULL, pool->config->name, (uint32_t)pool->config->size_limit,
                            (uint32_t)pool->config->max_workers, pool->segment.records);

    if (fd == -1 || pool_attach(pool, fd) == -1)
        return -1;
    pool->damaged = 1;
    return 0;
}

void pool_publish(struct pool *pool)
{
    const struct pool_config *config = pool->config;
    struct policy *policy = &pool->policy;

    *policy = (struct policy){
        .max = pool->steering.max,
        .mode = pool->steering.mode,
        .mode_since = pool->steering.since,
        .acquire_timeout_ms = (uint32_t)config->acquire_timeout_ms,
        .unavailable_after_ms = (uint32_t)config->unavailable_after_ms,
        .reset_timeout_ms = (uint32_t)config->reset_timeout_ms,
        .reset = (uint32_t)config->reset,
        .guard = config->guard,
        .cache_per_worker = (uint32_t)config->cache_per_worker,
        .max_waiters = (uint32_t)config->max_waiters,
        .require_actor = config->require_actor && !override_is_on(pool),
        .context = config->context,
    };

    (void)snprintf(policy->mode_by, sizeof policy->mode_by, "%s", pool->steering.by);
    (void)snprintf(policy->reset_query, sizeof policy->reset_query, "%s",
                   config->reset_query != NULL ? config->reset_query : "");
    for (size_t i = 0, at = 0; !override_is_on(pool) && i < config->purposes.count && at < sizeof policy->purposes; i++)
        at += (size_t)snprintf(policy->purposes + at, sizeof policy->purposes - at, "%s\n", config->purposes.item[i]);
    segment_set_policy(&pool->segment, policy);
}

/* ---- counting ---- */

/* From the words, except where the supervisor knows better: what it is busy with. */
void pool_count(const struct pool *pool, struct pool_count *count)
{
    uint64_t oldest;

    *count = (struct pool_count){0};
    if (pool->backend == NULL)
        return;
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        enum slot_state state = word_state(slot_word(&pool->segment, i));
        enum backend_phase phase = pool->backend[i].phase;

        count->total += phase != BACKEND_NONE && phase != BACKEND_CONNECTING;
        count->connecting +=
            phase == BACKEND_CONNECTING || pool->backend[i].replacement.state == REPLACEMENT_CONNECTING;
        count->idle += phase == BACKEND_HELD || (phase == BACKEND_LENDABLE && state == SLOT_IDLE);
        count->leased += phase == BACKEND_LENDABLE && (state == SLOT_LEASED || state == SLOT_GRANTED);
    }
    count->waiting = lease_waiting(&pool->segment, &oldest);
}

static bool is_connected(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        switch (pool->backend[i].phase) {
        case BACKEND_LENDABLE:
        case BACKEND_HELD:
        case BACKEND_SYNCING:
        case BACKEND_RESETTING:
        case BACKEND_CHECKING:
            return true;
        case BACKEND_NONE:
        case BACKEND_CONNECTING:
        case BACKEND_CLOSING:
        case BACKEND_PHASES:
            break;
        }
    return false;
}

const char *pool_state(const struct pool *pool)
{
    switch (pool->steering.mode) {
    case POOL_ACTIVE:
        break;
    case POOL_PAUSED:
        return "paused";
    case POOL_DISABLED:
    case POOL_SHUTDOWN:
        return "disabled";
    }
    return pool->down_since != 0 ? "unavailable" : "active";
}

/* ---- logins ---- */

/* Several at once would be as many wrong passwords, if it is wrong by now: where none has just succeeded, one alone. */
bool pool_in_doubt(const struct pool *pool, bool looks)
{
    bool trying = looks && pool->role_probing;

    if (pool->login_failures == 0 && clock_ns() - pool->logged_in < PROVEN_NS)
        return false;
    for (uint32_t i = 0; i < pool->segment.slots && !trying; i++) {
        const struct backend *b = &pool->backend[i];

        trying = b->phase == BACKEND_CONNECTING || b->replacement.state == REPLACEMENT_CONNECTING ||
                 (looks && b->watch.asked_of != 0);
    }
    return trying;
}

void pool_balance(struct pool *pool)
{
    const struct pool_config *config = pool->config;
    struct pool_count count;
    uint32_t taken, target, room, parallel = (uint32_t)config->login_parallel;

    if (pool->login_wait || pool->replacing || pool->steering.mode != POOL_ACTIVE || !pool->supervisor->serving)
        return;
    pool_count(pool, &count);
    taken = count.total + count.connecting;
    target = taken + (count.waiting > count.connecting ? count.waiting - count.connecting : 0);
    if (target < pool->steering.min)
        target = pool->steering.min;
    if (target == 0 && pool->down_since != 0)
        target = 1; /* acquires fail at once now, and wait no more: somebody must see when the database is back */
    if (target > pool->steering.max)
        target = pool->steering.max;
    room = room_left(pool->supervisor);
    if (room == 0 && taken < target && count.waiting > 0)
        room_make(pool->supervisor, pool);
    if (target > taken && target - taken > room)
        target = taken + room;
    for (uint32_t i = 0; i < pool->steering.max && taken < target && count.connecting < parallel; i++)
        if (pool->backend[i].phase == BACKEND_NONE && !pool_in_doubt(pool, false)) {
            backend_login(&pool->backend[i]);
            if (pool->backend[i].phase == BACKEND_CONNECTING) {
                taken++;
                count.connecting++;
            }
        }
}

static void wait_to_login(struct pool *pool, uint64_t ms)
{
    pool->login_wait = true;
    (void)uv_timer_start(&pool->login_timer, on_login_timer, ms, 0);
}

static void on_login_timer(uv_timer_t *timer)
{
    struct pool *pool = timer->data;

    pool->login_wait = false;
    pool_balance(pool);
}

/*
 * While nothing is connected everybody waits for the first login: the pause is half a second at most, and grows beyond
 * that to a hundredth of the time that the database has been down.
 */
static uint64_t longest_pause_ms(const struct pool *pool)
{
    uint64_t max = (uint64_t)pool->config->login_backoff_max_ms, down = (clock_ns() - pool->down_since) / 100000000;

    if (pool->down_since == 0 || is_connected(pool))
        return max;
    if (down < DOWN_PAUSE_MS)
        down = DOWN_PAUSE_MS;
    return down < max ? down : max;
}

/* 10 ms doubling to the longest, three quarters to all of it, so that pools do not march in step. */
static uint64_t backoff_ms(const struct pool *pool)
{
    unsigned doublings = pool->login_failures > 20 ? 20 : pool->login_failures - 1;
    uint64_t ms = (uint64_t)BACKOFF_FIRST_MS << doublings, max = longest_pause_ms(pool);

    if (ms > max)
        ms = max;
    return ms - clock_ns() % (ms / 4 + 1);
}

static enum stats_counter failure_counter(uint32_t status)
{
    switch ((enum login_failure)status) {
    case LOGIN_FAILED_PASSWORD:
        return STATS_LOGINS_FAILED_PASSWORD;
    case LOGIN_FAILED_TOO_MANY:
        return STATS_LOGINS_FAILED_TOO_MANY;
    case LOGIN_FAILED_TIMEOUT:
        return STATS_LOGINS_FAILED_TIMEOUT;
    case LOGIN_FAILED_OTHER:
        break;
    }
    return STATS_LOGINS_FAILED;
}

void pool_login_failed(struct pool *pool, const struct message *m)
{
    bool news = pool->login_failures == 0 || strcmp(pool->last_error, m->text) != 0;

    pool->login_failures++;
    pool->rate.failed = (uint64_t)time(NULL);
    stats_count(&pool->segment, failure_counter(m->status));
    (void)snprintf(pool->last_error, sizeof pool->last_error, "%.*s", SEGMENT_ERROR_MAX, m->text);
    segment_set_error(&pool->segment, pool->last_error);
    if (news)
        log_warning("pool=%s: login failed: %s", pool->config->name, pool->last_error);
    wait_to_login(pool, m->status == LOGIN_FAILED_PASSWORD ? m->stamp : backoff_ms(pool));
    if (m->status == LOGIN_FAILED_TOO_MANY || is_connected(pool))
        return;
    if (pool->down_since == 0) {
        pool->down_since = clock_ns();
        log_warning("pool=%s: nothing is connected", pool->config->name);
    }
    atomic_store_explicit(&pool->segment.header->down_since, pool->down_since, memory_order_release);
    lease_wake_all(&pool->segment);
}

void pool_password_changed(struct pool *pool)
{
    if (pool->login_wait)
        wait_to_login(pool, 0);
}

void pool_login_done(struct pool *pool)
{
    pool->logged_in = clock_ns();
    stats_count(&pool->segment, STATS_LOGINS);
    if (pool->login_failures > 0)
        log_info("pool=%s: logins succeed again after %u failed", pool->config->name, pool->login_failures);
    pool->login_failures = 0;
    pool->login_wait = false;
    (void)uv_timer_stop(&pool->login_timer);
    if (pool->last_error[0] != '\0') {
        pool->last_error[0] = '\0';
        segment_set_error(&pool->segment, "");
    }
    pool->down_since = 0;
    atomic_store_explicit(&pool->segment.header->down_since, 0, memory_order_release);
    pool_balance(pool);
}

/* ---- words against backends ---- */

/* The sweep took SLOT from a worker that is gone, or from a word that was garbage. */
static void on_taken(void *context, uint32_t slot, unsigned flags, uint32_t worker)
{
    struct pool *pool = context;
    struct backend *b = &pool->backend[slot];

    stats_count(&pool->segment, STATS_RECLAIMS);
    stats_lease_ended(b);
    if (b->phase == BACKEND_LENDABLE) {
        backend_log(b, LOG_LEVEL_INFO, "lease reclaimed");
        lease_record_taken(b, worker, flags);
        backend_returned(b, flags);
    }
}

/* B's slot has come back, as WORD says; from a predecessor, if it has not been said what became of its lease. */
static void take_up(struct backend *b, uint64_t word)
{
    if (revoke_finish(b, word))
        return;
    lease_record_taken(b, NO_OWNER, word_flags(word));
    backend_returned(b, word_flags(word));
}

/* SLOT's word says what the supervisor knows cannot be. */
void pool_correct_word(struct pool *pool, uint32_t slot)
{
    struct backend *b = &pool->backend[slot];
    uint64_t word = slot_word(&pool->segment, slot);

    switch (b->phase) {
    case BACKEND_NONE:
        if (word_state(word) != SLOT_EMPTY)
            lease_empty(&pool->segment, slot);
        break;
    case BACKEND_LENDABLE:
        if (word_state(word) == SLOT_SUPERVISOR)
            take_up(b, word);
        else if (word_state(word) == SLOT_EMPTY && lease_take(&pool->segment, slot, word, 0))
            backend_close(b, CLOSE_CORRUPTED);
        break;
    case BACKEND_CONNECTING:
    case BACKEND_HELD:
    case BACKEND_SYNCING:
    case BACKEND_RESETTING:
    case BACKEND_CHECKING:
    case BACKEND_CLOSING:
        if (word_state(word) != SLOT_SUPERVISOR && lease_take(&pool->segment, slot, word, 0))
            backend_close(b, CLOSE_CORRUPTED);
        break;
    case BACKEND_PHASES:
        break;
    }
}

/* What workers read and only the supervisor has to say: said again where somebody wrote over it. */
static void correct_reports(struct pool *pool)
{
    const struct segment *s = &pool->segment;
    char error[SEGMENT_ERROR_MAX + 1];

    if (!segment_has_policy(s, &pool->policy))
        segment_set_policy(s, &pool->policy);
    if (atomic_load_explicit(&s->header->down_since, memory_order_relaxed) != pool->down_since)
        atomic_store_explicit(&s->header->down_since, pool->down_since, memory_order_release);
    segment_get_error(s, error);
    if (strcmp(error, pool->last_error) != 0)
        segment_set_error(s, pool->last_error);
    for (uint32_t i = 0; i < s->slots; i++)
        if (pool->backend[i].phase == BACKEND_LENDABLE &&
            atomic_load_explicit(&s->slot[i].generation, memory_order_relaxed) != pool->backend[i].generation)
            atomic_store_explicit(&s->slot[i].generation, pool->backend[i].generation, memory_order_relaxed);
}

void pool_sweep(struct pool *pool)
{
    /* In strict isolation grants do not lie about: they are this process's to accept. */
    const struct sweep sweep = {.alive = worker_alive,
                                .taken = on_taken,
                                .context = pool,
                                .grants = pool->strict ? NULL : pool->grants,
                                .sole_writer = pool->strict};

    pool->sweep_due = false;
    if (pool->backend == NULL || pool->replacing || pool->damaged != 0)
        return;
    if (!segment_intact(&pool->segment, pool->segment_fd)) {
        damage_found(pool);
        return;
    }
    correct_reports(pool);
    /* Words first: a sweep hands idle slots to waiters, and must not hand on what has no backend. */
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        pool_correct_word(pool, i);
    lease_sweep(&pool->segment, &sweep);
    lease_record_swept(pool);
    grant_sweep(pool);
    override_look(pool);
    steer_look(pool);
    lease_watch_look(pool);
    certificate_look(pool);
    stats_tick(pool);
    health_look(pool);
    pool_balance(pool); /* a wait whose WANT went to a predecessor */
}

void pool_recover(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        uint64_t word = slot_word(&pool->segment, i);

        /* A cancel that the predecessor asked for, and that was not started or is through, will not be answered. */
        if (word_state(word) == SLOT_LEASED && (word_flags(word) & SLOT_CANCELLING) != 0 &&
            !pool->backend[i].cancelling)
            (void)lease_mark(&pool->segment, i, word, 0, SLOT_CANCELLING);
    }
    worker_recover(pool);
    if (pool->strict)
        grant_recover(pool);
    pool_publish(pool);
    pool_sweep(pool);
    /* The predecessor may have died between the end of an override and that of what was lent by it. */
    if (!override_is_on(pool))
        worker_drop_overriding(pool);
}

/* ---- what its administrator allowed ---- */

bool pool_is_insecure(const struct pool *pool)
{
    bool insecure = config_is_insecure(&pool->config->database);

    for (uint32_t i = 0; pool->backend != NULL && i < pool->segment.slots && !insecure; i++)
        insecure = pool->backend[i].fd != -1 && pool->backend[i].insecure;
    return insecure;
}

void pool_warn_insecure(struct pool *pool, const char *sslmode)
{
    if (!pool->insecure_warned)
        log_warning("pool=%s: sslmode \"%s\" to a server on another host: what is said to it can be read or changed on "
                    "the way (allow_insecure)",
                    pool->config->name, sslmode);
    pool->insecure_warned = true;
}

/* ---- change and end ---- */

void pool_reconfigure(struct pool *pool, const struct pool_config *config)
{
    pool->config = config;
    steer_resize(pool, (uint32_t)config->size_min, (uint32_t)config->size_max);
}

void pool_stop(struct pool *pool, enum shutdown_mode mode)
{
    pool->steering.mode = POOL_SHUTDOWN;
    pool_publish(pool);
    lease_wake_all(&pool->segment);
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];

        backend_retire(b, CLOSE_SHUTDOWN);
        if (mode == SHUTDOWN_FAST)
            (void)revoke_lease(b, slot_word(&pool->segment, i), CLOSE_SHUTDOWN);
    }
}

bool pool_stopped(const struct pool *pool)
{
    for (uint32_t i = 0; pool->backend != NULL && i < pool->segment.slots; i++)
        if (pool->backend[i].phase != BACKEND_NONE && pool->backend[i].phase != BACKEND_CONNECTING)
            return false;
    return true;
}
