/* SPDX-License-Identifier: ISC */
/*
 * acquire.c - borrow: find a slot, or wait for one; make its session ready; put it under a PGconn.
 *
 * The hard thing: one deadline over everything. A slot that is won but turns out dead goes to the supervisor and the
 * search goes on; one that cannot be used because the supervisor is away goes untouched to the next waiter, and the
 * search goes on among the slots this process has cached.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_AFTER_NS  UINT64_C(20000000)  /* the supervisor sees a backend's end within this time: no look needed */
#define SETTLED_MIN_NS UINT64_C(20000)     /* no reset's answer comes faster */
#define UNANSWERED_NS  UINT64_C(100000000) /* for a supervisor that is there, where one might do without */
#define FETCH_TRIES    12                  /* 1.5 s, each pause twice the one before, RETRY_MAX_NS at most */
#define RETRY_MAX_NS   200000000
#define WANT_EVERY_NS  UINT64_C(1000000000) /* a WANT may have gone to a supervisor that died */
#define ATTACH_NS      UINT64_C(5000000000) /* for the first hello, where the pool's own time-out is not known yet */

/* A borrower entry: the spare one, unless it was written over and is another's now. False with the error set. */
static bool begin_borrowing(struct request *r)
{
    struct attachment *at = r->at;

    if (r->borrower != NO_BORROWER && borrower_owned(&at->segment, r->borrower, at->worker))
        return true;
    if (borrower_claim(&at->segment, at->worker, &r->borrower) == 0)
        return true;
    r->borrower = NO_BORROWER;
    (void)error_set(r->pool, PGLEND_SYSTEM, "pool \"%s\": all %u borrower entries are taken: raise max_workers",
                    r->pool->name, at->segment.borrowers);
    return false;
}

/* ---- finding a slot ---- */

/* Does the pool lend at all? Sets the error. */
static bool is_closed(const struct request *r)
{
    if (r->policy->mode < POOL_DISABLED)
        return false;
    explain_closed(r);
    return true;
}

/* Has nothing been connected for so long that waiting is in vain? Sets the error. */
static bool database_is_down(const struct request *r, uint64_t now)
{
    uint64_t since = atomic_load_explicit(&r->at->segment.header->down_since, memory_order_acquire);

    /* Who waits out a pause waits for its end. */
    if (r->policy->mode == POOL_PAUSED || since == 0 || now < since ||
        now - since < (uint64_t)r->policy->unavailable_after_ms * 1000000)
        return false;
    explain_down(r);
    return true;
}

static bool has_room(const struct request *r)
{
    for (uint32_t i = 0; i < r->policy->max; i++)
        if (word_state(slot_word(&r->at->segment, i)) == SLOT_EMPTY)
            return true;
    return false;
}

/* How long a reset takes here, as others have seen it. */
static uint64_t settling_ns(const struct request *r)
{
    uint64_t reset = atomic_load_explicit(&r->at->segment.header->reset_ns, memory_order_relaxed);

    return reset < SETTLED_MIN_NS ? SETTLED_MIN_NS : reset > GRACE_NS ? GRACE_NS : reset;
}

static struct lease_wish make_wish(const struct request *r, uint64_t now)
{
    return (struct lease_wish){
        .own = r->at->own,
        .max = r->policy->max,
        .among = r->only_cached ? r->cached : NULL,
        .now = now,
        .settled = settling_ns(r),
    };
}

/*
 * Are max_waiters others before this one? Counted after it has queued, by tickets: of several that come at once just
 * those find room that there is room for. Sets the error.
 */
static bool queue_is_full(struct request *r)
{
    const struct segment *s = &r->at->segment;
    uint64_t mine = atomic_load(&s->borrower[r->borrower].wait);
    uint32_t used = borrowers_used(s), before = 0;

    if (r->policy->max_waiters == 0 || wait_state(mine) != WAIT_WAITING)
        return false;
    for (uint32_t b = 0; b < used; b++) {
        uint64_t wait = atomic_load(&s->borrower[b].wait);

        before += wait_state(wait) == WAIT_WAITING && wait_ticket(wait) < wait_ticket(mine);
    }
    if (before < r->policy->max_waiters)
        return false;
    explain_full(r, before);
    return true;
}

/* Wait in the queue. A slot, or NO_SLOT with the error set or R->again. */
static uint32_t wait_in_queue(struct request *r, uint64_t *word, uint64_t *woken)
{
    const struct segment *s = &r->at->segment;
    uint64_t now = clock_ns(), wanted = 0;
    struct lease_wish wish = make_wish(r, now);
    uint32_t slot = NO_SLOT;
    bool over, supervised = true;

    lease_enqueue(s, r->borrower, &wish);
    over = queue_is_full(r);
    while (slot == NO_SLOT && !over && now < r->until) {
        if (has_room(r) && now - wanted >= WANT_EVERY_NS) {
            supervised = attachment_has_supervisor(r->at);
            attachment_tell(r->at, WIRE_WANT, 0);
            wanted = supervised ? now : 0;
        }
        slot = lease_wait(s, r->borrower, &wish, r->until, word);
        now = wish.now = clock_ns();
        r->again = attachment_retired(r->at);
        pool_lock(r->pool);
        r->policy = attachment_policy(r->at);
        pool_unlock(r->pool);
        over = r->again || (slot == NO_SLOT && (is_closed(r) || database_is_down(r, now)));
    }
    *woken = now;
    if (slot == NO_SLOT)
        slot = lease_leave(s, r->borrower, word);
    if (slot != NO_SLOT || over)
        return slot;
    if (!supervised || (r->unsupervised && !attachment_has_supervisor(r->at)))
        explain_unsupervised(r);
    else
        explain_timeout(r);
    return NO_SLOT;
}

/* *NOW: near enough on entry, for the clock costs more than the rest of taking a slot; set anew where it waited. */
static uint32_t find_slot(struct request *r, uint64_t *now, uint64_t *word)
{
    struct lease_wish wish = make_wish(r, *now);
    uint32_t slot;

    if (is_closed(r))
        return NO_SLOT;
    if (r->unsupervised && attachment_has_supervisor(r->at)) {
        r->unsupervised = r->only_cached = false;
        wish.among = NULL;
    }
    slot = lease_try(&r->at->segment, r->borrower, &wish, word);
    if (slot != NO_SLOT)
        return slot;
    if (*now >= r->until) {
        if (has_room(r))
            attachment_tell(r->at, WIRE_WANT, 0);
        explain_timeout(r);
        return NO_SLOT;
    }
    if (database_is_down(r, *now))
        return NO_SLOT;
    return wait_in_queue(r, word, now);
}

/* What this process has cached, as a bitmap. False: nothing. */
static bool list_cached(struct request *r)
{
    const struct attachment *at = r->at;
    bool any = false;

    pool_lock(r->pool);
    (void)memset(r->cached, 0, sizeof r->cached);
    for (uint32_t i = 0; i < at->segment.slots; i++)
        if (at->loan[i] != NULL && at->loan[i]->state == LOAN_CACHED) {
            r->cached[i / 64] |= UINT64_C(1) << (i % 64);
            any = true;
        }
    pool_unlock(r->pool);
    return any;
}

/*
 * How long to wait for the supervisor's answer, until UNTIL at most: it may be stopped, and what this process has cached be
 * idle by now. Only once is there such a hurry: it may be just slow, too.
 */
static uint64_t wait_for_answer(struct request *r, uint64_t until)
{
    uint64_t soon = clock_ns() + UNANSWERED_NS;

    if (r->hurried || soon >= until || !list_cached(r))
        return until;
    r->hurried = true;
    return soon;
}

/* Fetch the backend's socket and put a PGconn round it. NULL with the error set. */
static struct loan *fetch_once(struct request *r, uint32_t slot, uint64_t until, bool *shell_failed)
{
    struct wire_backend backend;
    struct loan *loan = NULL;
    int fd = -1;

    *shell_failed = false;
    if (attachment_fetch(r->at, slot, r->borrower, wait_for_answer(r, until), &backend, &fd) == PGLEND_OK) {
        loan = loan_make(r->at, &backend, r->borrower, fd, until);
        *shell_failed = loan == NULL;
    }
    return loan;
}

/*
 * The same, tried again where it may help: a supervisor that died between its answer and the door took the token with
 * it, and a crowd at the door may have filled its queue. Where the environment is at fault it would never help.
 */
static struct loan *fetch_loan(struct request *r, uint32_t slot)
{
    uint64_t now = clock_ns(), until = r->until > now + GRACE_NS ? r->until : now + GRACE_NS;
    struct timespec pause = {.tv_nsec = (long)RECONNECT_NS};
    bool again;
    struct loan *loan = fetch_once(r, slot, until, &again);

    for (int tries = 1;
         again && tries < FETCH_TRIES && getenv("PGSERVICE") == NULL && clock_ns() + (uint64_t)pause.tv_nsec < until;
         tries++) {
        (void)nanosleep(&pause, NULL);
        pause.tv_nsec = pause.tv_nsec * 2 < RETRY_MAX_NS ? pause.tv_nsec * 2 : RETRY_MAX_NS;
        loan = fetch_once(r, slot, until, &again);
    }
    if (loan == NULL)
        return NULL;
    loan_link(loan);
    return loan;
}

/* The slot was won but cannot be used: on to the next, as it is. */
static void pass_untouched(struct request *r, uint32_t slot, uint64_t word)
{
    unsigned flags = word_flags(word) & SLOT_RESET_PENDING;

    if (lease_give(&r->at->segment, r->borrower, slot, flags) == LEASE_SUPERVISOR)
        attachment_tell(r->at, WIRE_RETURNED, slot);
}

/* Read what came since the last borrower. CLEAN: the session is as new and alive. MORE: it has not answered in time. */
static enum reader_state settle(struct request *r, struct loan *loan, uint64_t word, uint64_t now, uint64_t idle_since)
{
    uint64_t until = now + (uint64_t)r->policy->reset_timeout_ms * 1000000, took;
    struct segment_header *header = r->at->segment.header;
    unsigned how = SETTLE_DUE | (r->policy->reset == RESET_FULL ? SETTLE_DISCARD_ALL : 0);
    enum reader_state state;

    if ((word_flags(word) & SLOT_RESET_PENDING) == 0)
        return now < idle_since + LOOK_AFTER_NS ? READER_CLEAN : adopt_settle(loan, 0, now);
    if (now < idle_since + LOOK_AFTER_NS)
        how |= SETTLE_ALIVE | (now < idle_since + settling_ns(r) ? SETTLE_EARLY : 0);
    if (until > r->until)
        until = r->until > now + GRACE_NS ? r->until : now + GRACE_NS;
    state = adopt_settle(loan, how, until);
    if (state != READER_CLEAN)
        return state;
    /* What it took, or an upper bound of it: others should leave a reset that long before they take its slot. */
    took = clock_ns() - idle_since;
    if (clock_ns() - now > SETTLED_MIN_NS || took < atomic_load_explicit(&header->reset_ns, memory_order_relaxed))
        atomic_store_explicit(&header->reset_ns, took, memory_order_relaxed);
    return READER_CLEAN;
}

/* A descriptor could not be fetched: go on with what is cached, or until a supervisor is there, while there is time. */
static enum made fall_back(struct request *r, pglend_status status)
{
    const struct timespec pause = {.tv_nsec = (long)RECONNECT_NS};
    bool again = r->only_cached;

    (void)snprintf(r->fetch_error, sizeof r->fetch_error, "%s", pglend_errmessage(r->pool));
    r->unsupervised = status == PGLEND_NO_SUPERVISOR;
    r->only_cached = list_cached(r);
    if ((!r->only_cached && !r->unsupervised) || clock_ns() + RECONNECT_NS >= r->until)
        return GIVE_UP;
    if (again || !r->only_cached)
        (void)nanosleep(&pause, NULL);
    return TRY_ANOTHER;
}

/* The slot is gone. */
static enum made try_another(struct request *r)
{
    if (clock_ns() < r->until)
        return TRY_ANOTHER;
    explain_timeout(r);
    return GIVE_UP;
}

/* It was lent to nobody; as with each lease its end is written before it is given away. */
static void end_unlent(const struct request *r, uint32_t slot, uint64_t word, uint64_t now)
{
    record_end(r->at, slot, r->borrower, word_version(word), now, true);
}

static enum made make_ready(struct request *r, uint32_t slot, uint64_t word, uint64_t now, struct loan **made)
{
    struct attachment *at = r->at;
    uint64_t idle_since = atomic_load_explicit(&at->segment.slot[slot].idle_since, memory_order_relaxed);
    uint32_t generation = atomic_load_explicit(&at->segment.slot[slot].generation, memory_order_relaxed);
    enum reader_state state;
    bool held;
    struct loan *loan = loan_take(at, slot, generation, r->borrower, &held);

    if (held) {
        end_unlent(r, slot, word, now);
        loan_surrender(at, r->borrower, slot, SLOT_BROKEN);
        (void)error_set(r->pool, PGLEND_SYSTEM,
                        "pool \"%s\": slot %u was lent twice: its shared memory was written over", r->pool->name, slot);
        return GIVE_UP;
    }
    if (loan != NULL && PQstatus(loan->conn) != CONNECTION_OK) {
        loan_unlink(loan); /* it was used after its release */
        adopt_free(loan);
        loan = NULL;
    }
    if (loan == NULL && (loan = fetch_loan(r, slot)) == NULL) {
        pglend_status status = pglend_errcode(r->pool);

        end_unlent(r, slot, word, now);
        pass_untouched(r, slot, word);
        if (status == PGLEND_LOST)
            return try_another(r);
        return status == PGLEND_NO_SUPERVISOR || status == PGLEND_SYSTEM ? fall_back(r, status) : GIVE_UP;
    }
    loan->version = word_version(word);
    state = settle(r, loan, word, now, idle_since);
    if (state == READER_CLEAN)
        state = adopt_arm(loan) ? context_set(r, loan) : READER_BROKEN;
    if (state == READER_CLEAN) {
        *made = loan;
        return MADE;
    }
    loan_unlink(loan);
    /* One that is only slow is not worth a login: the supervisor waits for it. It gets it disarmed. */
    (void)adopt_disarm(loan);
    end_unlent(r, slot, word, now);
    loan_surrender(at, r->borrower, slot, state == READER_MORE ? 0 : SLOT_BROKEN);
    adopt_free(loan);
    return r->refused ? GIVE_UP : try_another(r);
}

static void note_assertions(const struct request *r)
{
    struct asserted *said = &r->at->segment.asserted[r->borrower];

    /* Only where there is something to say or to wipe: the table's pages are touched by those who use it. */
    if (r->actor != NULL || said->actor[0] != '\0')
        (void)snprintf(said->actor, sizeof said->actor, "%s", r->actor != NULL ? r->actor : "");
    if (r->purpose != NULL || said->purpose[0] != '\0')
        (void)snprintf(said->purpose, sizeof said->purpose, "%s", r->purpose != NULL ? r->purpose : "");
}

/* The audit trail takes no record of this lease, and so it must not begin. */
static void refuse_unrecorded(struct request *r, uint32_t slot, uint64_t word)
{
    pass_untouched(r, slot, word);
    r->again = attachment_retired(r->at);
    explain_unrecorded(r);
}

/* A loan that is ready, or NULL with the error set or R->again. */
static struct loan *borrow(struct request *r)
{
    struct attachment *at = r->at;
    struct loan *loan = NULL;
    enum made made = TRY_ANOTHER;
    uint64_t now = r->started;

    if (r->timeout_ms < 0)
        r->until = r->started + (uint64_t)r->policy->acquire_timeout_ms * 1000000;
    while (made == TRY_ANOTHER && said_is_enough(r->pool, r->policy, r->actor, r->purpose) && begin_borrowing(r)) {
        uint64_t word = 0;
        uint32_t slot;

        /* Who was forgotten gets no descriptor under its old name. */
        r->again = attachment_retired(at);
        if (r->again)
            break;
        note_assertions(r);
        slot = find_slot(r, &now, &word);
        if (slot == NO_SLOT)
            break;
        if (at->segment.records != 0) {
            if (!record_begin(at, slot, r->borrower, word_version(word), now - r->started, r->until)) {
                refuse_unrecorded(r, slot, word);
                break;
            }
            now = clock_ns(); /* it may have waited for room */
        }
        made = make_ready(r, slot, word, now, &loan);
        if (made != MADE)
            now = clock_ns();
    }
    if (made == MADE) {
        stats_waited(&at->segment, loan->slot, now - r->started);
        error_clear(r->pool); /* what was tried before, or while it waited, may have failed */
        return loan;
    }
    /* Who does not want to wait only asks whether there is one. */
    if (!r->again && r->timeout_ms != 0)
        record_refusal(at, r->policy, r->actor, r->purpose, clock_ns() - r->started, pglend_errcode(r->pool));
    pool_lock(r->pool);
    if (r->borrower != NO_BORROWER)
        loan_spare_borrower(at, r->borrower);
    pool_unlock(r->pool);
    return NULL;
}

PGconn *pglend_acquire_as(pglend *p, const char *actor, const char *purpose, int timeout_ms)
{
    struct request r; /* not cleared: the bitmap in it is seldom needed */

    if ((actor != NULL && !said_is_fit(p, actor)) || (purpose != NULL && !said_is_fit(p, purpose)))
        return NULL;
    r.pool = p;
    r.actor = actor;
    r.purpose = purpose;
    r.timeout_ms = timeout_ms;
    r.started = clock_ns();
    r.until = r.started + (timeout_ms < 0 ? ATTACH_NS : (uint64_t)timeout_ms * 1000000);
    do {
        struct loan *loan;

        error_clear(p);
        r.only_cached = r.unsupervised = r.hurried = r.again = r.refused = false;
        r.at = attachment_get(p, r.until > r.started ? r.until : r.started + GRACE_NS, &r.borrower);
        if (r.at == NULL)
            return NULL;
        pool_lock(p);
        r.policy = &r.at->policy->policy;
        pool_unlock(p);
        loan = r.at->segment.readonly ? strict_borrow(&r) : borrow(&r);
        if (loan != NULL)
            return loan->conn; /* the lease keeps the attachment */
        attachment_put(r.at);
    } while (r.again);
    return NULL;
}

PGconn *pglend_acquire(pglend *p, int timeout_ms)
{
    return pglend_acquire_as(p, NULL, NULL, timeout_ms);
}
