/* SPDX-License-Identifier: ISC */
/*
 * client.h - the library's table of contents. Nothing here is exported; nothing here logs, prints or exits.
 */
#ifndef PGLEND_CLIENT_H
#define PGLEND_CLIENT_H

#include "lease.h"
#include "pglend.h"
#include "pgwire.h"
#include "wire.h"
#include <libpq-events.h>
#include <pthread.h>
#include <sys/single_threaded.h>
#include <sys/types.h>

#define GRACE_NS     UINT64_C(10000000) /* for an answer that is on its way, where one does not want to wait */
#define RECONNECT_NS UINT64_C(10000000) /* between attempts to reach a supervisor that is needed */

#define DOOR_PORT "6432"

/*
 * error.c: the calling thread's last call. error_set() returns its STATUS.
 */
void error_clear(const pglend *p);
pglend_status error_set(const pglend *p, pglend_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/*
 * adopt.c: a lent socket under a PGconn.
 */
enum loan_state { LOAN_CACHED, LOAN_LEASED, LOAN_ENDING };

#define PARAMETERS_CHECKED 15 /* adopt.c names them */

struct hooks {
    PQnoticeReceiver receiver;
    PQnoticeProcessor processor;
    size_t events; /* size of an empty result: grows with every event procedure that is registered */
};

/* What this process has for one slot: a connection object, and the backend's socket while its generation lives. */
struct loan {
    struct attachment *at;
    struct loan *next; /* of the displaced */
    uint32_t slot;
    uint32_t generation;
    _Atomic int lent;   /* the backend's socket; -1: none, in strict isolation between two leases */
    _Atomic int socket; /* PQsocket(conn), as it was made; what is under it now is the dead or the lent socket */
    _Atomic bool armed; /* the lent socket is under it */
    bool abandoned;     /* inherited over fork: the parent's */
    enum loan_state state;
    uint32_t borrower;
    uint64_t version; /* of the slot's word when the lease began: the lease's name */
    uint64_t used;    /* for least recently used */
    PGconn *conn;
    struct hooks hooks;
    int encoding;
    char *parameter[PARAMETERS_CHECKED]; /* as the server reported them at login; NULL: it did not */
    char named[256];                     /* application_name as a lease's context last made it; "": none did */
    char lease_id[POOL_NAME_MAX + 40];
};

/*
 * Make the connection object: libpq connects to the supervisor's door as TOKEN and learns the backend's start-up
 * facts. UNTIL: ns. False with MESSAGE filled.
 */
bool adopt_shell(struct loan *loan, const char *runtime_dir, const struct wire_backend *backend, uint64_t until,
                 char *message, size_t size);
bool adopt_arm(struct loan *loan); /* the lent socket under the PGconn; false: the PGconn is no longer whole */
/* A dead one; touches only what is still the PGconn's. False: it could not, and the session has been shut down. */
bool adopt_disarm(struct loan *loan);
void adopt_free(struct loan *loan); /* disarm, PQfinish, close */

enum rest { AT_REST, IN_TRANSACTION, CHANGED, BUSY, WRECKED };
enum rest adopt_rest(struct loan *loan, bool all_parameters);
bool adopt_restore_hooks(struct loan *loan); /* false: an event procedure was added, which libpq cannot take back */
/* Bring the session back through the PGconn itself, awaited. SQL: the reset, or NULL: only roll back. */
bool adopt_mend(struct loan *loan, const char *sql, uint64_t until);
/* What was sent, in non-blocking mode, to its end. True: it succeeded. */
bool adopt_await(PGconn *conn, uint64_t until);
/* Get what was begun to be sent out whole, so that the backend can be found at a message's boundary. */
bool adopt_flush(struct loan *loan, uint64_t until);
/* Write the reset and do not wait. */
bool adopt_send_reset(const struct loan *loan, const char *sql);
/* Read the reset's answer, or whatever came while idle. CLEAN, BROKEN, or MORE: not there by UNTIL. */
enum settling {
    SETTLE_DUE = 1,         /* an answer has yet to come */
    SETTLE_DISCARD_ALL = 2, /* it is that one's */
    SETTLE_EARLY = 4,       /* it is hardly there yet */
    SETTLE_ALIVE = 8,       /* the session was alive a moment ago: its end is not looked for behind the answer */
};
enum reader_state adopt_settle(struct loan *loan, unsigned how, uint64_t until);
int adopt_dead_socket(void); /* every operation on it fails at once; made once a process */

/*
 * attach.c: this process's tie to one run of a pool: the segment, and the dialogue with the supervisor.
 */
struct policy_copy {
    struct policy_copy *next;
    _Atomic uint32_t seq; /* of the segment's policy this is a copy of */
    struct policy policy;
};

struct attachment {
    struct attachment *next;
    pglend *pool;
    struct segment segment;
    uint64_t inode; /* of the segment: tells another one of the same name */
    uint32_t worker;
    _Atomic int sock;         /* the same number for life: a new connection is duplicated over it */
    _Atomic bool greeting;    /* a hello went out on SOCK and has not been answered */
    _Atomic bool gone;        /* a new supervisor does not know this segment */
    _Atomic int unreached;    /* errno of the last attempt to greet one; 0: it was answered */
    pthread_mutex_t dialogue; /* shared isolation: one request at a time; strict: of the next six, never held long */
    uint32_t serial;
    struct call *calls;    /* strict isolation: requests of this process's threads */
    _Atomic bool greeted;  /* the supervisor at SOCK knows what this process holds */
    bool told;             /* one that has yet to answer a hello has been told what is held */
    bool talking;          /* a thread reads from SOCK, for all */
    struct unsaid *unsaid; /* releases that the supervisor took no notice of, to be said before the next request */
    pthread_cond_t heard;  /* an answer came, or that thread has gone */
    /* Calls and leases that need it, and the handle while it is current. Who takes the last one away frees it. */
    _Atomic unsigned users;

    /* Below: under pool->lock. */
    uint32_t own; /* slot used last */
    size_t cached;
    uint64_t clock;  /* for least recently used */
    uint16_t *spare; /* borrower entries this process owns and does not use */
    size_t spares, spare_size;
    struct policy_copy *policy; /* the newest of a list: older ones are still read by calls that began under them */
    struct loan *displaced;     /* whose slot has another session by now, which their borrowers do not know yet */
    struct loan *loan[];        /* by slot */
};

struct pglend {
    pglend *next; /* all handles of this process, for the fork handler */
    char runtime_dir[RUNTIME_DIR_MAX + 1];
    char name[POOL_NAME_MAX + 1];
    pthread_mutex_t lock;
    struct attachment *at;        /* NULL: not attached */
    struct attachment *all;       /* it, and retired ones whose leases are still out */
    struct attachment *inherited; /* over fork: never used, never freed; PGconns of the parent point into them */
};

/*
 * A worker with one thread needs no lock. Whether it has one cannot change between lock and unlock: nothing in between
 * makes a thread, and while others are there the caller is not the last.
 */
static inline void pool_lock(pglend *p)
{
    if (!__libc_single_threaded)
        (void)pthread_mutex_lock(&p->lock);
}
static inline void pool_unlock(pglend *p)
{
    if (!__libc_single_threaded)
        (void)pthread_mutex_unlock(&p->lock);
}

/*
 * Attach, or attach anew where the segment was retired. Blocks until UNTIL. NULL with the error set. *BORROWER: an
 * entry this process owns and does not use, or NO_BORROWER.
 */
struct attachment *attachment_get(pglend *p, uint64_t until, uint32_t *borrower);
void attachment_put(struct attachment *at);
/* The policy as it is now; valid as long as AT. Call under pool->lock. */
const struct policy *attachment_policy(struct attachment *at);
bool attachment_retired(const struct attachment *at);
/*
 * The descriptor of SLOT's backend, which BORROWER holds. OK, NO_SUPERVISOR (not reachable just now), LOST or another
 * status, with the error set. Blocks until UNTIL only where a supervisor is there.
 */
pglend_status attachment_fetch(struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t until,
                               struct wire_backend *backend, int *fd);
/* Tell the supervisor, without blocking; what does not get through it finds out by itself within a second. */
void attachment_tell(struct attachment *at, enum wire_type type, uint32_t slot);
/* Is a supervisor there? Connects to a new one if need be, and waits 10 ms at most for its answer. */
bool attachment_has_supervisor(struct attachment *at);

/* The next message on AT's socket. False with errno, ETIMEDOUT: none came; EMFILE: its descriptor did not. */
bool attachment_hear(const struct attachment *at, union wire_message *message, int *fd, uint64_t until);
/* Say hello to whoever comes to the listening socket, and do not wait. False: there is no such socket. */
bool attachment_knock(struct attachment *at);
/*
 * Say hello to a supervisor that is there, unless that is done; waits for its answer until then. False: none answers,
 * or AT is retired.
 */
bool attachment_greet(struct attachment *at, uint64_t until);

/*
 * acquire.c: one call of pglend_acquire().
 */
struct request {
    pglend *pool;
    struct attachment *at;
    const char *actor, *purpose;
    uint64_t started, until;
    int timeout_ms;
    uint32_t borrower;
    const struct policy *policy;
    bool only_cached;
    bool unsupervised;               /* the supervisor was needed and away */
    bool hurried;                    /* its answer has been waited for not as long as may be */
    bool again;                      /* the segment was retired meanwhile: attach anew */
    bool refused;                    /* the server does not take the lease's context: no other slot's will */
    uint64_t cached[SLOTS_MAX / 64]; /* only filled, and only read, when only_cached */
    char fetch_error[256];           /* likewise: why no other can be had */
};

enum made { MADE, TRY_ANOTHER, GIVE_UP };

/* explain.c: why there is none, as the error */
void explain_timeout(const struct request *r);
void explain_down(const struct request *r);
void explain_closed(const struct request *r);
void explain_full(const struct request *r, uint32_t before); /* so many wait */
void explain_unsupervised(const struct request *r);
pglend_status explain_unreached(const struct attachment *at, const char *consequence);
void explain_unrecorded(const struct request *r);

/*
 * context.c: tell the session of LOAN, armed, what it was lent for, where the pool wants that. CLEAN: done. BROKEN or
 * MORE, as adopt_settle(): it cannot be lent now; with R->refused the error is set, and no other could.
 */
enum reader_state context_set(struct request *r, struct loan *loan);

/*
 * strict.c: strict isolation: the supervisor makes the leases. A loan that is ready, or NULL with the error set or
 * R->again.
 */
struct loan *strict_borrow(struct request *r);
/* That lease is over; LEFT says how its session was left. This process has no copy of its descriptor any more. */
void strict_release(struct attachment *at, uint32_t slot, uint64_t version, enum wire_left left);

/*
 * call.c: what threads ask a supervisor for that alone can grant it. A call is the caller's, until it has ended.
 */
struct call {
    struct call *next;
    struct wire_acquire want;
    bool sent, answered;
    union wire_message answer;
    int fd; /* with BACKEND; -1 once it is somebody's */
};
/* Ask, and wait until then. False: no answer came; what may still come is let go of. */
bool call_supervisor(struct attachment *at, struct call *call, const struct wire_acquire *want, uint64_t until);
/* What it brought stands in the table of loans, or is given back. */
void call_end(struct attachment *at, struct call *call);
/* Releases that found no room are not said any more. */
void call_forget_unsaid(struct attachment *at);

/*
 * record.c: a lease's begin and end for the audit trail, if there is one. BEGAN, UNTIL: clock_ns(). False: there was no
 * room until then, and the lease must not begin.
 */
bool record_begin(const struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t version, uint64_t wait_ns,
                  uint64_t until);
void record_end(const struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t version, uint64_t began,
                bool broken);

/*
 * Who asked until he was told STATUS got no lease. The purpose is recorded only where POLICY knows it or all will do.
 */
void record_refusal(const struct attachment *at, const struct policy *policy, const char *actor, const char *purpose,
                    uint64_t wait_ns, pglend_status status);

/* said.c: actor and purpose, NULL: not said. False with the error set. */
bool said_is_fit(pglend *p, const char *text);
bool said_is_enough(pglend *p, const struct policy *policy, const char *actor, const char *purpose);

/* pool.c: the table of loans */
/* The lease that CONN is of, or NULL. Under pool->lock. The pointer is compared, never followed: it may be freed. */
struct loan *loan_find(const pglend *p, const PGconn *conn);
void loan_unlink(struct loan *loan);
const char *loan_name(struct loan *loan); /* the lease's, as pglend_lease_id() says it */
void loan_link(struct loan *loan);        /* as the lease that it is now */
/* Does the slot's word, now, name the lease that LOAN is? */
bool loan_held(const struct loan *loan);
/* A new connection object for BACKEND, whose socket is FD (taken). NULL with the error set. */
struct loan *loan_make(struct attachment *at, const struct wire_backend *backend, uint32_t borrower, int fd,
                       uint64_t until);
/*
 * This process's loan of SLOT, now leased, if it is of this generation. *HELD: another thread still has that one, under
 * a lease that it has lost without knowing: its PGconn must not be touched.
 */
struct loan *loan_take(struct attachment *at, uint32_t slot, uint32_t generation, uint32_t borrower, bool *held);
/* The lease is over: keep the object for the next one, or free it where it cannot be made as it was. */
void loan_put_away(struct loan *loan, bool reusable);
/* Keep the entry for this process's next borrower. Under pool->lock. */
void loan_spare_borrower(struct attachment *at, uint32_t borrower);
/* The slot goes to the supervisor, with SLOT_BROKEN or 0, and it is told. */
void loan_surrender(struct attachment *at, uint32_t borrower, uint32_t slot, unsigned flags);

/* release.c: libpq tells of PQfinish() on a lent connection */
int lease_event(PGEventId event, void *info, void *loan);

/* fork.c: what a child must not keep. */
void fork_guard(pglend *p); /* from pglend_open() */
void fork_forget(pglend *p);

#endif
