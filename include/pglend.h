/* SPDX-License-Identifier: ISC */
/*
 * pglend.h - borrow PostgreSQL connections from a pglend supervisor.
 *
 * A handle (pglend *) is one pool, as this process sees it. A lease is one loan of a connection, from
 * pglend_acquire() to pglend_release(). In between the PGconn is an ordinary libpq connection whose socket is the
 * backend's own (or, over TLS, a relay's).
 *
 *     pglend *pool = pglend_open(NULL, "clinic");            // before fork(), if you like
 *     PGconn *conn = pglend_acquire(pool, -1);
 *     if (conn == NULL)
 *         fprintf(stderr, "%s\n", pglend_errmessage(pool));
 *     PQclear(PQexec(conn, "select 1"));
 *     pglend_release(pool, conn);
 *
 * Threads: every call may be made by any thread at any time, except pglend_close(), which must be the last call on
 * its handle. Several threads may hold leases at once; one lease is used by one thread at a time, as libpq asks.
 *
 * fork(): a handle opened before fork() works in every child; each attaches at its first acquire. A lease that is
 * out at fork() belongs to the parent alone: the child's copy of its PGconn has a dead socket, and pglend_release()
 * of it there returns PGLEND_USAGE. The library installs one pthread_atfork() child handler, and no signal handler.
 * It never logs, prints or exits.
 *
 * What a borrower must not do with a leased PGconn: PQfinish() or PQreset() it (both end the backend, which pglend
 * then replaces; the PGconn is no longer leased), use it after release (its socket is dead then: libpq reports an
 * error), or keep PQsocket() in a poll set beyond release.
 */
#ifndef PGLEND_H
#define PGLEND_H

#include <libpq-fe.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define PGLEND_VERSION "0.1.0"

typedef struct pglend pglend;

/* How a call ended. The numbers are part of the ABI. */
typedef enum {
    PGLEND_OK = 0,
    PGLEND_TIMEOUT = 1,       /* no connection came back before the deadline */
    PGLEND_DENIED = 2,        /* this user or group may not borrow from this pool */
    PGLEND_NO_POOL = 3,       /* the supervisor has no pool of that name */
    PGLEND_NO_SUPERVISOR = 4, /* no supervisor answers in the runtime directory */
    PGLEND_NO_DATABASE = 5,   /* nothing is connected, and has not been for unavailable_after */
    PGLEND_SHUTDOWN = 6,      /* the supervisor is shutting down, or the pool is disabled */
    PGLEND_LOST = 7,          /* the lease was taken away, or its backend died */
    PGLEND_USAGE = 8,         /* the call is a mistake: double release, not a leased PGconn, another process's lease */
    PGLEND_SYSTEM = 9,        /* out of memory, descriptors or max_workers, or libpq refused; the message says which */
    PGLEND_MISMATCH = 10,     /* library and supervisor speak different versions */
    PGLEND_QUEUE_FULL = 11    /* max_waiters borrowers already wait */
} pglend_status;

/*
 * Make a handle for POOL of the supervisor in RUNTIME_DIR (NULL: $PGLEND_RUNTIME_DIR, then /run/pglend). Does no
 * I/O and does not block. The strings are copied. Returns NULL with errno ENOMEM, EMFILE or ENFILE (a process's first
 * handle needs two descriptors, and keeps one, which nobody may close), EINVAL (no pool name, or a directory that is
 * not an absolute path without commas) or ENAMETOOLONG. The caller ends the handle with pglend_close().
 */
pglend *pglend_open(const char *runtime_dir, const char *pool);

/*
 * Borrow a connection. Blocks the calling thread for TIMEOUT_MS milliseconds; -1 means the pool's acquire_timeout (5 s
 * where no supervisor has said it yet), 0 means not to wait if all connections are lent. After that only an answer that
 * is on its way is still waited for: each for 10 ms at most, in strict isolation and in a pool with "context" 200 ms.
 * Waiting is first come, first served among all workers of the pool.
 *
 * Returns a PGconn in the state of a new session, or NULL; then pglend_errcode() is TIMEOUT, DENIED, NO_POOL,
 * NO_SUPERVISOR, NO_DATABASE, SHUTDOWN, SYSTEM, MISMATCH or QUEUE_FULL and pglend_errmessage() says what a person
 * needs. The PGconn stays the library's: give it back with pglend_release() or pglend_discard(), never PQfinish() it.
 * What PQgetCancel() makes of it is honoured whenever this process holds a lease of that session, even a later one.
 */
PGconn *pglend_acquire(pglend *p, int timeout_ms);

/*
 * The same on behalf of somebody: ACTOR (a person or job) and PURPOSE appear beside the lease in administration.
 * Either may be NULL. Each is UTF-8 of at most 127 bytes without control characters, else PGLEND_USAGE.
 * They are the application's word: pglend does not verify them. A pool with require_actor lends to nobody without an
 * actor, and one with purposes only for one of those; otherwise PGLEND_DENIED.
 * A pool with "context" tells them to the session, which takes a round trip to the server; PGLEND_SYSTEM if the server
 * does not accept them.
 */
PGconn *pglend_acquire_as(pglend *p, const char *actor, const char *purpose, int timeout_ms);

/*
 * The name of the lease that holds CONN, "POOL/SLOT/VERSION", as status, logs and the audit trail say it, and no other
 * lease has, of another run of the daemon either; NULL (PGLEND_USAGE) when CONN is not leased from P. Does not block.
 * Valid until the lease ends.
 */
const char *pglend_lease_id(pglend *p, const PGconn *conn);

/*
 * Give CONN back, in whatever state it is: the next borrower gets a clean session. Blocks only where the state has
 * to be mended through CONN itself, bounded by the pool's reset_timeout, and in strict isolation where a supervisor
 * that is stopped takes no more messages, for a second at most. Returns PGLEND_OK whenever the lease has ended,
 * whether the backend could be kept or is replaced; PGLEND_USAGE when CONN is not a lease of this process (released
 * before, not lent, inherited over fork, or ended by PQfinish); PGLEND_LOST when the lease had been taken away. CONN
 * must not be used afterwards.
 */
int pglend_release(pglend *p, PGconn *conn);

/*
 * Give CONN back as broken: its backend is ended and replaced. Does not block, but for that second. Returns as
 * pglend_release().
 */
int pglend_discard(pglend *p, PGconn *conn);

/* How the calling thread's last call on P ended. Does not block. */
pglend_status pglend_errcode(const pglend *p);

/* Its message, one line without a newline, "" after success. Valid until the thread's next call on any handle. */
const char *pglend_errmessage(const pglend *p);

/* "PGLEND_TIMEOUT" and so on; "PGLEND_UNKNOWN" for a number that is none of them. Never NULL, static. */
const char *pglend_status_name(pglend_status status);

/*
 * End the handle: leases that are still out are given back as broken, cached connections are let go. P may be NULL.
 * Blocks as pglend_discard() of each. No other thread may be in a call on P.
 */
void pglend_close(pglend *p);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
