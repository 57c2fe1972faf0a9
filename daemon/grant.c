/* SPDX-License-Identifier: ISC */
/*
 * grant.c - strict isolation: the supervisor takes, gives and ends leases for its workers, who only ask.
 *
 * The words and the queue are those of shared isolation (lease.h): this process makes each transition in a worker's
 * name, so that all that looks at words works alike. The hard thing: messages cross, and a supervisor may die with some
 * of them. So a lease is named by slot and version, and only its own worker can end it, once; a request that was given
 * up may have been granted just before, and is ended then; and who greets a new supervisor tells first what it holds.
 */
#include "supervisor.h"

#include <stdlib.h>
#include <string.h>

#define ASKS_MAX  256                /* of one worker: the entries are all workers' */
#define REVIEW_MS 50                 /* between looks who has waited for long enough */
#define GRACE_NS  UINT64_C(10000000) /* for a session that is all but ready */

static void on_review(uv_timer_t *timer);

/* ---- requests that wait ---- */

/* Its entry waits in the queue: give it back, and what it was granted in the last moment to the next. */
static void leave_queue(struct pool *pool, uint32_t borrower)
{
    uint64_t word;
    uint32_t slot = lease_leave(&pool->segment, borrower, &word);

    if (slot != NO_SLOT && lease_give(&pool->segment, borrower, slot, 0) == LEASE_SUPERVISOR)
        backend_returned(&pool->backend[slot], word_flags(slot_word(&pool->segment, slot)));
    borrower_free(&pool->segment, borrower);
}

/* LINK leads to it. */
static void forget(struct pool *pool, struct ask **link)
{
    struct ask *ask = *link;

    *link = ask->next;
    if (pool->last_ask == &ask->next)
        pool->last_ask = link;
    ask->worker->asks--;
    pool->asks--;
    free(ask);
}

static void drop(struct pool *pool, struct ask **link)
{
    uint32_t borrower = (*link)->borrower;

    forget(pool, link);
    leave_queue(pool, borrower);
}

/* W gets none, for what it asked as ASK and SAID. */
static void refuse(const struct ask *ask, const struct asserted *said, pglend_status status)
{
    const struct worker *w = ask->worker;
    uint64_t now = clock_ns();

    switch (status) {
    case PGLEND_TIMEOUT:
        stats_count(&w->pool->segment, STATS_TIMEOUTS);
        break;
    case PGLEND_QUEUE_FULL:
        stats_count(&w->pool->segment, STATS_QUEUE_FULL);
        break;
    case PGLEND_NO_DATABASE:
    case PGLEND_SHUTDOWN:
        stats_count(&w->pool->segment, STATS_REFUSED);
        break;
    default:
        break;
    }
    /* Who does not want to wait only asks whether there is one. */
    if (ask->waits)
        lease_record_refusal(w, said, ask->began < now ? now - ask->began : 0, status);
    (void)lend_refuse(w, ask->serial, status, "not lent");
}

/* Why nobody waits here any longer than UNTIL, if so; PGLEND_OK: one may. */
static pglend_status why_not_wait(const struct pool *pool, uint64_t until, uint64_t now)
{
    if (pool->steering.mode >= POOL_DISABLED || pool->replacing)
        return PGLEND_SHUTDOWN;
    if (now >= until)
        return PGLEND_TIMEOUT;
    /* Who waits out a pause waits for its end. */
    if (pool->steering.mode != POOL_PAUSED && pool->down_since != 0 && now > pool->down_since &&
        now - pool->down_since >= (uint64_t)pool->config->unavailable_after_ms * 1000000)
        return PGLEND_NO_DATABASE;
    return PGLEND_OK;
}

/* One that does not want to wait waits for a session that was given back, and is all but ready. */
static uint64_t with_grace(const struct pool *pool, uint64_t until, uint64_t now)
{
    if (until > now + GRACE_NS)
        return until;
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        if (pool->backend[i].phase == BACKEND_SYNCING || pool->backend[i].phase == BACKEND_RESETTING)
            return now + GRACE_NS;
    return until;
}

/* ---- begin and end ---- */

/* B's slot is its borrower's no more, who left the session as LEFT says. */
static void let_go(struct backend *b, uint64_t word, enum wire_left left)
{
    const struct segment *s = &b->pool->segment;

    (void)lease_surrender(s, word_borrower(word), b->slot, left == LEFT_BROKEN ? SLOT_BROKEN : 0);
    borrower_free(s, word_borrower(word));
    b->untaken = 0;
    b->unsent = false;
    b->left_at_rest = left == LEFT_AT_REST;
    backend_returned(b, word_flags(slot_word(s, b->slot)));
}

/* The lease that WORD, of B's slot, says is over. LEFT: how its borrower says that it left the session. */
static void end_lease(struct backend *b, uint64_t word, enum wire_left left)
{
    stats_lease_ended(b);
    lease_record_end(b, word, left == LEFT_BROKEN);
    if (left == LEFT_BROKEN)
        stats_count(&b->pool->segment, STATS_DISCARDED);
    let_go(b, word, left);
}

/* The same where its worker has ended. */
static void reclaim(struct backend *b, uint64_t word)
{
    stats_count(&b->pool->segment, STATS_RECLAIMS);
    stats_lease_ended(b);
    backend_log(b, LOG_LEVEL_INFO, "lease reclaimed");
    lease_record_reclaimed(b, word);
    let_go(b, word, LEFT_BUSY);
}

/* The lease that WORD, of B's slot, says has begun: its borrower, of W, is sent the descriptor. */
static void tell(struct worker *w, struct backend *b, uint64_t word)
{
    b->unsent = false;
    lend_await_taken(b, b->waited);
    b->untaken = b->waited ? clock_ns() : 0;
    if (lend_send(w, b, b->serial, word, b->waited) == 0)
        return;
    /* It does not read, or has gone: the session was not touched. */
    (void)lend_refuse(w, b->serial, PGLEND_SYSTEM, "the supervisor cannot send the connection's descriptor");
    end_lease(b, word, LEFT_AT_REST);
}

/* A borrower of W, that asked as SERIAL at BEGAN, has SLOT under WORD. */
static void hand_over(struct worker *w, uint32_t serial, uint32_t slot, uint64_t word, uint64_t began, bool waited)
{
    struct pool *pool = w->pool;
    struct backend *b = &pool->backend[slot];
    uint64_t now = clock_ns(), wait_ns = began < now ? now - began : 0;

    b->serial = serial;
    b->waited = waited;
    lease_record_begin(b, word, wait_ns);
    stats_waited(&pool->segment, slot, wait_ns);
    b->unsent = lease_record_first(pool);
    if (b->unsent) {
        b->recorded = lease_record_place(pool);
        b->untaken = 0;
        pool->unsent++;
        pool->drain_due = true;
    } else {
        tell(w, b, word);
    }
}

/* Who waits for nothing but the disk? A lease may have ended meanwhile: its borrower gave up, or died. */
static void look_at_records(struct pool *pool)
{
    uint32_t left = 0;

    if (pool->drain_due)
        audit_drain();
    pool->drain_due = false;
    for (uint32_t i = 0; i < pool->segment.slots && pool->unsent > 0; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(&pool->segment, i);
        const struct worker *w = worker_of_borrower(pool, word_borrower(word));

        if (!b->unsent)
            continue;
        if (word_state(word) != SLOT_LEASED || b->phase != BACKEND_LENDABLE || w == NULL || w->sock == -1)
            b->unsent = false;
        else if (lease_record_on_disk(pool, b->recorded))
            tell(pool->worker[w->index], b, word);
        else
            left++;
    }
    pool->unsent = left;
}

void grant_look(struct pool *pool)
{
    const struct segment *s = &pool->segment;

    /* Oldest first: who was claimed stands at the head. */
    while (pool->ask != NULL && lease_record_room(pool) &&
           wait_state(atomic_load(&s->borrower[pool->ask->borrower].wait)) == WAIT_CLAIMED) {
        struct ask ask = *pool->ask;
        uint64_t word;
        uint32_t slot = lease_leave(s, ask.borrower, &word);

        forget(pool, &pool->ask);
        if (slot != NO_SLOT)
            hand_over(ask.worker, ask.serial, slot, word, ask.began, true);
        else
            borrower_free(s, ask.borrower);
    }
    look_at_records(pool);
}

/* ---- what workers say ---- */

/* ASK has found nothing idle. PGLEND_OK: it waits. */
static pglend_status enqueue(struct pool *pool, const struct ask *ask, const struct lease_wish *wish)
{
    uint64_t until = with_grace(pool, ask->until, ask->began);
    pglend_status status = why_not_wait(pool, until, ask->began);
    struct ask *last;

    if (status == PGLEND_OK && pool->config->max_waiters != 0 && pool->asks >= (uint64_t)pool->config->max_waiters)
        return PGLEND_QUEUE_FULL;
    if (status != PGLEND_OK)
        return status;
    last = malloc(sizeof *last);
    if (last == NULL)
        return PGLEND_SYSTEM;
    *last = *ask;
    last->until = until;
    *pool->last_ask = last;
    pool->last_ask = &last->next;
    last->worker->asks++;
    pool->asks++;
    lease_enqueue(&pool->segment, last->borrower, wish);
    if (!uv_is_active((uv_handle_t *)&pool->review))
        (void)uv_timer_start(&pool->review, on_review, REVIEW_MS, REVIEW_MS);
    return PGLEND_OK;
}

/* ASK, which may borrow: now, or when its turn comes. */
static void serve(struct pool *pool, const struct ask *ask, uint32_t own)
{
    struct segment *s = &pool->segment;
    struct lease_wish wish = {.own = own, .max = pool->steering.max, .now = ask->began};
    uint32_t slot = NO_SLOT;
    pglend_status status;
    uint64_t word;

    if (lease_record_room(pool) && pool->steering.mode < POOL_DISABLED)
        slot = lease_try(s, ask->borrower, &wish, &word);
    if (slot != NO_SLOT) {
        hand_over(ask->worker, ask->serial, slot, word, ask->began, false);
        return;
    }
    status = enqueue(pool, ask, &wish);
    if (status != PGLEND_OK) {
        borrower_free(s, ask->borrower);
        refuse(ask, &s->asserted[ask->borrower], status);
    }
    pool_balance(pool);
}

void grant_acquire(struct worker *w, const struct wire_acquire *m)
{
    struct pool *pool = w->pool;
    struct ask ask = {.worker = w, .serial = m->serial, .began = clock_ns(), .until = m->until};

    ask.waits = ask.until > ask.began;
    if (!asserted_fits(m->said.actor) || !asserted_fits(m->said.purpose)) {
        (void)lend_refuse(w, m->serial, PGLEND_USAGE, "actor and purpose must be UTF-8 without control characters");
    } else if (!asserted_enough(&pool->policy, m->said.actor, m->said.purpose)) {
        refuse(&ask, &m->said, PGLEND_DENIED);
    } else if (w->asks == ASKS_MAX) {
        (void)lend_refuse(w, m->serial, PGLEND_SYSTEM, "this process waits for too many connections at a time");
    } else if (borrower_claim(&pool->segment, w->index, &ask.borrower) == -1) {
        (void)lend_refuse(w, m->serial, PGLEND_SYSTEM, "all borrower entries are taken: raise max_workers");
    } else {
        pool->segment.asserted[ask.borrower] = m->said;
        serve(pool, &ask, m->own);
    }
}

static bool is_held_by(const struct worker *w, uint32_t slot, uint64_t word)
{
    return word_state(word) == SLOT_LEASED && borrower_owned(&w->pool->segment, word_borrower(word), w->index) &&
           w->pool->backend[slot].phase == BACKEND_LENDABLE;
}

/* The slot that W holds under VERSION, with its word; NULL: there is no such lease any more, or never was. */
static struct backend *held(const struct worker *w, uint32_t slot, uint64_t version, uint64_t *word)
{
    const struct segment *s = &w->pool->segment;

    if (slot >= s->slots || atomic_load_explicit(&s->slot[slot].lease, memory_order_relaxed) != version)
        return NULL;
    *word = slot_word(s, slot);
    return is_held_by(w, slot, *word) ? &w->pool->backend[slot] : NULL;
}

void grant_release(struct worker *w, const struct wire_release *m)
{
    uint64_t word;
    struct backend *b = held(w, m->slot, m->version, &word);

    if (b != NULL)
        end_lease(b, word, m->left <= LEFT_BROKEN ? (enum wire_left)m->left : LEFT_BUSY);
}

void grant_give_up(struct worker *w, uint32_t serial)
{
    struct pool *pool = w->pool;

    for (struct ask **link = &pool->ask; *link != NULL; link = &(*link)->next)
        if ((*link)->worker == w && (*link)->serial == serial) {
            const struct ask ask = **link;

            drop(pool, link);
            refuse(&ask, &pool->segment.asserted[ask.borrower], PGLEND_TIMEOUT);
            return;
        }
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        uint64_t word = slot_word(&pool->segment, i);

        if (is_held_by(w, i, word) && pool->backend[i].serial == serial) {
            stats_count(&pool->segment, STATS_TIMEOUTS);
            end_lease(&pool->backend[i], word, LEFT_AT_REST);
            return;
        }
    }
}

void grant_holding(struct worker *w, const struct wire_holding *m)
{
    struct pool *pool = w->pool;
    uint64_t word;

    for (uint32_t i = 0; i < m->count && i < HOLDING_MAX; i++) {
        struct backend *b = held(w, m->lease[i].slot, m->lease[i].version, &word);

        if (b != NULL)
            b->told_of = true;
    }
    if (m->more != 0)
        return;
    w->must_tell = false;
    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];

        word = slot_word(&pool->segment, i);
        if (!is_held_by(w, i, word))
            continue;
        if (!b->told_of)
            end_lease(b, word, LEFT_BUSY);
        b->told_of = false;
    }
}

/* ---- without their asking ---- */

void grant_worker_left(const struct worker *w)
{
    struct pool *pool = w->pool;
    struct ask **link = &pool->ask;

    while (*link != NULL)
        if ((*link)->worker == w)
            drop(pool, link);
        else
            link = &(*link)->next;
    for (uint32_t i = 0; pool->strict && !pool->replacing && pool->damaged == 0 && i < pool->segment.slots; i++) {
        uint64_t word = slot_word(&pool->segment, i);

        if (is_held_by(w, i, word))
            reclaim(&pool->backend[i], word);
    }
}

/* Those who wait: is it in vain by now? */
static void on_review(uv_timer_t *timer)
{
    struct pool *pool = timer->data;
    struct ask **link = &pool->ask;
    uint64_t now = clock_ns();

    grant_look(pool);
    while (*link != NULL) {
        const struct ask ask = **link;
        pglend_status status = why_not_wait(pool, ask.until, now);

        if (status == PGLEND_OK) {
            link = &(*link)->next;
            continue;
        }
        drop(pool, link);
        refuse(&ask, &pool->segment.asserted[ask.borrower], status);
    }
    if (pool->ask == NULL)
        (void)uv_timer_stop(timer);
}

/*
 * Its borrower waited for it, and is stopped, or it would have taken it. Its descriptor is on the way, so the session
 * cannot be another's; it goes, so that its place can.
 */
void grant_sweep(struct pool *pool)
{
    uint64_t now = clock_ns();

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        struct backend *b = &pool->backend[i];

        if (b->untaken != 0 && lend_is_taken(b))
            b->untaken = 0;
        if (b->untaken != 0 && now - b->untaken > GRANT_BOUND_NS) {
            (void)revoke_lease(b, slot_word(&pool->segment, i), CLOSE_NOT_TAKEN);
            b->untaken = 0;
        }
    }
}

/*
 * Requests that a predecessor had are asked anew. What it sent to one who waited, and who is stopped, is as little
 * taken as before; where relays stand between, nobody can tell.
 */
void grant_recover(struct pool *pool)
{
    const struct segment *s = &pool->segment;
    uint32_t used = borrowers_used(s);

    for (uint32_t i = 0; i < s->slots; i++) {
        struct backend *b = &pool->backend[i];
        uint64_t word = slot_word(s, i);

        if (b->phase != BACKEND_LENDABLE || word_state(word) != SLOT_LEASED)
            continue;
        if (!lease_record_open(b))
            let_go(b, word, LEFT_BUSY);
        else if (!backend_is_base(b) && !lend_is_taken(b))
            b->untaken = clock_ns();
    }
    for (uint32_t b = 0; b < used; b++)
        if (wait_state(atomic_load(&s->borrower[b].wait)) != WAIT_NONE)
            leave_queue(pool, b);
}
