/* SPDX-License-Identifier: ISC */
/*
 * strict.c - borrow in strict isolation: the supervisor makes the lease and sends the descriptor, each time anew.
 *
 * What stays in this process between two leases is a connection object over a dead socket. The hard thing: an answer
 * may come when nobody waits for it any more, or for a slot whose last lease some thread lost without knowing; what is
 * not used is given back, untouched.
 */
#include "client.h"
#include "ring.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_NS UINT64_C(200000000) /* the supervisor answers at once, where it need not wait */

/* The time is up: for want of a slot, or of a record of its lease. */
static void explain_wait(const struct request *r)
{
    const struct segment *s = &r->at->segment;
    uint32_t mode = atomic_load_explicit(&s->header->ring_mode, memory_order_relaxed);

    if (s->records != 0 && mode != RING_UNRECORDED && (mode == RING_HELD || !ring_has_room(s)))
        explain_unrecorded(r);
    else
        explain_timeout(r);
}

/* Why it does not lend, in this process's words where it has more of them. */
static void explain_refusal(const struct request *r, const struct wire_not_fetched *answer)
{
    uint64_t oldest;

    switch ((pglend_status)answer->status) {
    case PGLEND_TIMEOUT:
        explain_wait(r);
        return;
    case PGLEND_NO_DATABASE:
        explain_down(r);
        return;
    case PGLEND_SHUTDOWN:
        explain_closed(r);
        return;
    case PGLEND_DENIED:
        if (!said_is_enough(r->pool, r->policy, r->actor, r->purpose))
            return;
        break;
    case PGLEND_QUEUE_FULL:
        explain_full(r, lease_waiting(&r->at->segment, &oldest));
        return;
    default:
        break;
    }
    (void)error_set(r->pool, (pglend_status)answer->status, "%s", answer->message);
}

static void explain_silence(struct request *r)
{
    r->again = attachment_retired(r->at);
    if (r->at->greeted)
        explain_wait(r);
    else
        explain_unsupervised(r);
}

/* A connection object for BACKEND: the one that is there, or a new one. Takes FD. NULL with the error set. */
static struct loan *take_up(struct request *r, const struct wire_backend *backend, int fd)
{
    uint64_t now = clock_ns(), until = r->until > now + ANSWER_NS ? r->until : now + ANSWER_NS;
    bool held;
    struct loan *loan = loan_take(r->at, backend->slot, backend->generation, backend->borrower, &held);

    if (held) {
        (void)close(fd);
        (void)error_set(r->pool, PGLEND_SYSTEM,
                        "pool \"%s\": slot %u is free, but a thread of this process lost its lease there and has not "
                        "released it yet: release what is lost",
                        r->pool->name, backend->slot);
        return NULL;
    }
    if (loan != NULL && PQstatus(loan->conn) != CONNECTION_OK) {
        loan_unlink(loan); /* it was used after its release */
        adopt_free(loan);
        loan = NULL;
    }
    if (loan != NULL)
        loan->lent = fd;
    else
        loan = loan_make(r->at, backend, backend->borrower, fd, until);
    return loan;
}

/* The backend of CALL's answer under a PGconn. *LEFT, where that fails: what is to be told of it. */
static struct loan *make_ready(struct request *r, struct call *call, enum wire_left *left)
{
    const struct wire_backend *backend = &call->answer.backend;
    struct loan *loan = take_up(r, backend, call->fd);
    enum reader_state state;

    *left = LEFT_AT_REST;
    if (loan == NULL)
        return NULL;
    loan->version = backend->version;
    loan_link(loan);
    /* The supervisor reset it, and watches it; what the server said since then, or its end, is in the socket. */
    state = adopt_settle(loan, 0, clock_ns());
    if (state == READER_CLEAN)
        state = adopt_arm(loan) ? context_set(r, loan) : READER_BROKEN;
    if (state == READER_CLEAN)
        return loan;
    /* A statement that is only slow may be under way: the supervisor finds the session's position. */
    *left = state == READER_MORE ? LEFT_BUSY : LEFT_BROKEN;
    if (!r->refused)
        explain_timeout(r); /* which it is unless there is time for another */
    loan_unlink(loan);
    adopt_free(loan);
    return NULL;
}

static enum made borrow_once(struct request *r, struct loan **made)
{
    const struct timespec pause = {.tv_nsec = (long)RECONNECT_NS};
    struct wire_acquire want = {.own = r->at->own, .until = r->until};
    uint64_t now = clock_ns(), until = r->until > now + ANSWER_NS ? r->until : now + ANSWER_NS;
    enum made what = GIVE_UP;
    enum wire_left left = LEFT_AT_REST;
    struct call call;
    bool lent, answered;

    (void)snprintf(want.said.actor, sizeof want.said.actor, "%s", r->actor != NULL ? r->actor : "");
    (void)snprintf(want.said.purpose, sizeof want.said.purpose, "%s", r->purpose != NULL ? r->purpose : "");
    answered = call_supervisor(r->at, &call, &want, until);
    lent = answered && call.answer.header.type == WIRE_BACKEND;
    if (lent && call.fd != -1)
        *made = make_ready(r, &call, &left);
    call_end(r->at, &call);
    if (*made != NULL)
        return MADE;
    pool_lock(r->pool);
    r->policy = attachment_policy(r->at);
    pool_unlock(r->pool);
    if (!answered) {
        explain_silence(r);
    } else if (!lent) {
        explain_refusal(r, &call.answer.not_fetched);
    } else if (call.fd == -1) {
        (void)error_set(r->pool, PGLEND_SYSTEM,
                        "the connection's descriptor did not arrive: too many open files? (ulimit -n)");
    } else {
        strict_release(r->at, call.answer.backend.slot, call.answer.backend.version, left);
        what = !r->refused && clock_ns() + RECONNECT_NS < r->until ? TRY_ANOTHER : GIVE_UP;
        if (what == TRY_ANOTHER && left == LEFT_AT_REST)
            (void)nanosleep(&pause, NULL);
    }
    return what;
}

struct loan *strict_borrow(struct request *r)
{
    struct loan *loan = NULL;
    enum made made;

    if (r->timeout_ms < 0)
        r->until = r->started + (uint64_t)r->policy->acquire_timeout_ms * 1000000;
    do
        made = borrow_once(r, &loan);
    while (made == TRY_ANOTHER);
    if (made != MADE)
        return NULL;
    error_clear(r->pool);
    return loan;
}
