/* SPDX-License-Identifier: ISC */
/*
 * release.c - give a connection back.
 *
 * The hard thing: a lease ends in one of four ways, decided from the state the PGconn is in: kept (reset pipelined or
 * none needed), mended through the PGconn itself, handed to the supervisor (busy: it finds the protocol position
 * again), or replaced. Whatever the way, the PGconn is disarmed before the slot is given: from then on it is somebody
 * else's session.
 */
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum fate { KEEP, KEEP_RESETTING, HAND_OVER, REPLACE };

static const char *reset_statement(const struct policy *policy)
{
    return policy->reset == RESET_FULL ? "DISCARD ALL" : policy->reset == RESET_QUERY ? policy->reset_query : NULL;
}

/* By the supervisor, which ends a session in good order after each lease then. */
static enum fate to_be_replaced(const struct loan *loan)
{
    return PQstatus(loan->conn) == CONNECTION_OK ? HAND_OVER : REPLACE;
}

/* What becomes of the backend, given the state that the borrower left the PGconn in; mends it where it can. */
static enum fate tidy(struct loan *loan, const struct policy *policy)
{
    const char *reset = reset_statement(policy);
    enum rest rest;
    uint64_t until;

    if (policy->reset == RESET_REPLACE)
        return to_be_replaced(loan);
    rest = adopt_rest(loan, reset != NULL);
    if (rest == AT_REST && reset == NULL)
        return KEEP;
    until = clock_ns() + (uint64_t)policy->reset_timeout_ms * 1000000;
    switch (rest) {
    case AT_REST:
        return adopt_send_reset(loan, reset) ? KEEP_RESETTING : REPLACE;
    case IN_TRANSACTION:
        if (adopt_mend(loan, reset, until) && adopt_rest(loan, reset != NULL) == AT_REST)
            return KEEP;
        return REPLACE;
    case CHANGED:
        if (adopt_mend(loan, reset != NULL ? reset : "RESET ALL", until) && adopt_rest(loan, reset != NULL) == AT_REST)
            return KEEP;
        return REPLACE;
    case BUSY:
        return policy->reset != RESET_NONE && adopt_flush(loan, until) ? HAND_OVER : REPLACE;
    case WRECKED:
        break;
    }
    return REPLACE;
}

/* The same in strict isolation, where the supervisor resets the session, and finds out what is left to its own. */
static enum fate tidy_strict(struct loan *loan, const struct policy *policy)
{
    uint64_t until = clock_ns() + (uint64_t)policy->reset_timeout_ms * 1000000;

    if (policy->reset == RESET_REPLACE)
        return to_be_replaced(loan);
    switch (adopt_rest(loan, true)) {
    case AT_REST:
        return KEEP;
    case CHANGED:
        /* What no reset undoes the server has changed, and it is reported once: the supervisor will not hear of it. */
        return adopt_mend(loan, "DISCARD ALL", until) && adopt_rest(loan, true) == AT_REST ? KEEP : REPLACE;
    case IN_TRANSACTION:
        return HAND_OVER;
    case BUSY:
        return adopt_flush(loan, until) ? HAND_OVER : REPLACE;
    case WRECKED:
        break;
    }
    return REPLACE;
}

/* What is known of why the lease of VERSION in SLOT was taken away. */
static const char *why_lost(const struct attachment *at, uint32_t slot, uint64_t version)
{
    static const char *const reasons[LOST_REASONS] = {
        [LOST_UNKNOWN] = "",
        [LOST_REVOKED] = ": an administrator revoked it",
        [LOST_SHUTDOWN] = ": the supervisor was shutting down",
        [LOST_TOO_LONG] = ": it was held longer than the pool's lease_max",
        [LOST_IDLE] = ": it was idle for longer than the pool's lease_idle_max",
        [LOST_IDLE_IN_TRANSACTION] =
            ": it was idle in a transaction for longer than the pool's lease_idle_in_transaction_max",
        [LOST_ROLE] = ": its server is no longer what the pool's target_session_attrs asks for",
        [LOST_NOT_TAKEN] = ": this process stood still when it was to take it",
    };
    uint64_t lost = atomic_load_explicit(&at->segment.slot[slot].lost, memory_order_relaxed);

    return lost >> 8 == version && (lost & 0xff) < LOST_REASONS ? reasons[lost & 0xff] : "";
}

/* For the audit trail, while slot and borrower entry are still the lease's. */
static void note_end(const struct loan *loan, bool broken)
{
    const struct segment *s = &loan->at->segment;

    if (!s->readonly)
        record_end(loan->at, loan->slot, loan->borrower, loan->version,
                   atomic_load_explicit(&s->slot[loan->slot].since, memory_order_relaxed), broken);
}

/*
 * The lease's last use of its borrower entry and attachment. The slot is given before: where the lease was taken away,
 * the next thread under this entry may hold that very slot, and it would be given from under its hands.
 */
static void lease_is_over(struct attachment *at, uint32_t borrower)
{
    pool_lock(at->pool);
    loan_spare_borrower(at, borrower);
    pool_unlock(at->pool);
    attachment_put(at);
}

static enum lease_end give_back_strict(struct loan *loan, enum fate fate, bool reusable)
{
    struct attachment *at = loan->at;
    enum lease_end end = loan_held(loan) ? LEASE_SUPERVISOR : LEASE_LOST;
    uint32_t slot = loan->slot;
    uint64_t version = loan->version;

    if (!adopt_disarm(loan)) {
        fate = REPLACE;
        reusable = false;
    }
    loan_put_away(loan, fate == KEEP && reusable);
    strict_release(at, slot, version, fate == KEEP ? LEFT_AT_REST : fate == HAND_OVER ? LEFT_BUSY : LEFT_BROKEN);
    return end;
}

/* LEASE_LOST: *WHY says more. */
static enum lease_end give_back(struct loan *loan, const struct policy *policy, enum fate fate, bool reusable,
                                const char **why)
{
    struct attachment *at = loan->at;
    uint32_t slot = loan->slot, borrower = loan->borrower;
    uint64_t version = loan->version, now = clock_ns();
    uint64_t since = atomic_load_explicit(&at->segment.slot[slot].since, memory_order_relaxed);
    enum lease_end end;

    if (at->segment.readonly) {
        end = give_back_strict(loan, fate, reusable);
        if (end == LEASE_LOST)
            *why = why_lost(at, slot, version);
        lease_is_over(at, borrower);
        return end;
    }
    if ((policy->guard || fate >= HAND_OVER || !reusable) && !adopt_disarm(loan)) {
        fate = REPLACE;
        reusable = false;
    }
    note_end(loan, fate == REPLACE || !reusable);
    loan_put_away(loan, fate <= KEEP_RESETTING && reusable);
    stats_held(&at->segment, slot, since < now ? now - since : 0);
    if (fate == REPLACE)
        stats_count(&at->segment, STATS_DISCARDED);
    else if (fate <= KEEP_RESETTING && reset_statement(policy) != NULL)
        stats_reset(&at->segment, slot);
    if (fate <= KEEP_RESETTING)
        end = lease_give_at(&at->segment, borrower, slot, fate == KEEP_RESETTING ? SLOT_RESET_PENDING : 0, now);
    else
        end = lease_surrender(&at->segment, borrower, slot, fate == REPLACE ? SLOT_BROKEN : 0);
    if (end == LEASE_SUPERVISOR)
        attachment_tell(at, WIRE_RETURNED, slot);
    if (end == LEASE_LOST)
        *why = why_lost(at, slot, version);
    lease_is_over(at, borrower);
    return end;
}

/*
 * The daemon that owned it is gone for good: this was the backend's last user, and ends it. Not by PQfinish(), which
 * waits for as long as the server takes nothing.
 */
static void end_orphan(struct loan *loan)
{
    struct attachment *at = loan->at;
    uint32_t borrower = loan->borrower;
    unsigned char bytes[8];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};

    loan_unlink(loan);
    loan->state = LOAN_ENDING;
    pg_terminate(&out);
    (void)send(loan->lent, bytes, out.length, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(loan->lent, SHUT_RDWR);
    adopt_free(loan);
    lease_is_over(at, borrower);
}

static int end_lease(pglend *p, PGconn *conn, bool discard)
{
    struct loan *loan;
    const struct policy *policy = NULL;
    const char *why = "";
    bool reusable;
    enum fate fate;

    error_clear(p);
    pool_lock(p);
    loan = loan_find(p, conn);
    if (loan != NULL) {
        loan->state = LOAN_ENDING;
        policy = &loan->at->policy->policy;
    }
    pool_unlock(p);
    if (loan == NULL)
        return (int)error_set(p, PGLEND_USAGE,
                              "this PGconn is not leased from pool \"%s\" by this process: released before, ended by "
                              "PQfinish(), inherited over fork(), or never lent",
                              p->name);
    if (attachment_retired(loan->at)) {
        end_orphan(loan);
        return PGLEND_OK;
    }
    if (discard) {
        reusable = false;
        fate = REPLACE;
    } else {
        reusable = adopt_restore_hooks(loan);
        fate = !loan_held(loan) ? REPLACE : loan->at->segment.readonly ? tidy_strict(loan, policy) : tidy(loan, policy);
    }
    if (give_back(loan, policy, fate, reusable, &why) == LEASE_LOST)
        return (int)error_set(p, PGLEND_LOST, "the lease had been taken away before it was given back%s", why);
    return PGLEND_OK;
}

int pglend_release(pglend *p, PGconn *conn)
{
    return end_lease(p, conn, false);
}

int pglend_discard(pglend *p, PGconn *conn)
{
    return end_lease(p, conn, true);
}

/*
 * The borrower called PQfinish(): libpq is about to free the PGconn. On a lent one it has ended the backend; one that
 * was given back before must at least not be lent again.
 */
int lease_event(PGEventId event, void *info, void *pass)
{
    struct loan *loan = pass;
    struct attachment *at;
    uint32_t borrower, slot;
    uint64_t version;
    bool leased;

    (void)info;
    /* Of an event of a result nothing else may be looked at: results may outlive the loan. */
    if (event != PGEVT_CONNDESTROY || loan->state == LOAN_ENDING || loan->abandoned)
        return 1;
    at = loan->at;
    borrower = loan->borrower;
    slot = loan->slot;
    version = loan->version;
    leased = loan->state == LOAN_LEASED;
    if (leased)
        note_end(loan, true);
    loan_unlink(loan);
    loan->conn = NULL;
    adopt_free(loan);
    if (leased) {
        if (at->segment.readonly)
            strict_release(at, slot, version, LEFT_BROKEN);
        else
            loan_surrender(at, borrower, slot, SLOT_BROKEN);
        lease_is_over(at, borrower);
    }
    return 1;
}
