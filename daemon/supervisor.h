/* SPDX-License-Identifier: ISC */
/*
 * supervisor.h - the supervisor's own knowledge: pools, backends, workers.
 *
 * Everything here is private memory of one single-threaded process. What the segment says is checked against it.
 */
#ifndef PGLEND_SUPERVISOR_H
#define PGLEND_SUPERVISOR_H

#include "audit.h"
#include "close_reason.h"
#include "daemon.h"
#include "pglend.h"
#include "pgwire.h"

#define SYNC_OUT_MAX      2048  /* the longest thing sent to a backend: a reset query and its frame */
#define POSITION_TAIL_MAX 128   /* what is kept of its answer while the position in the protocol is unknown */
#define POSITION_TAKE_MAX 16384 /* read at a time */

/* The phases of a backend. Its slot's word says SUPERVISOR in all but NONE (EMPTY) and LENDABLE (whatever it is). */
enum backend_phase {
    BACKEND_NONE,
    BACKEND_CONNECTING, /* a login is under way */
    BACKEND_LENDABLE,   /* idle, granted or leased: the word says which */
    BACKEND_HELD,       /* ready, and held back from the borrowers: the pool is paused */
    BACKEND_SYNCING,    /* the protocol position is being found again */
    BACKEND_RESETTING,  /* the session is being reset */
    BACKEND_CHECKING,   /* it was idle, and is asked for a sign of life */
    BACKEND_CLOSING,    /* told to end; counts against max until the server has */
    BACKEND_PHASES
};

struct supervisor;
struct pool;
struct worker;

/* A second session, that follows the one in its slot. CONNECTING: its login is under way; READY: it waits. */
enum replacement_state { REPLACEMENT_NONE, REPLACEMENT_CONNECTING, REPLACEMENT_READY };
struct replacement {
    enum replacement_state state;
    int fd;
    struct message *facts;    /* as the keeper sent them, while READY */
    uint64_t since;           /* READY; ns */
    enum close_reason reason; /* why the first one goes */
};

/* The lease of a slot, as it is watched. */
struct lease_watch {
    uint64_t lease;    /* slot.lease; 0: none */
    uint64_t since;    /* ns */
    uint64_t look_at;  /* no look at its session before; ns */
    uint64_t asked_of; /* the lease that a look is under way for; 0: none */
    bool warned;
};

/* What the newest question is answered with, and the end of what has come so far. */
struct position {
    unsigned char expected[POSITION_TAIL_MAX], tail[POSITION_TAIL_MAX];
    size_t expected_length, tail_length;
};

/* Who showed it. */
enum certificate_kind { CERTIFICATE_SERVER, CERTIFICATE_CLIENT, CERTIFICATES };

/* What one slot holds. */
struct backend {
    struct pool *pool;
    uint32_t slot;
    enum backend_phase phase;
    int fd;
    bool relayed; /* FD leads to a relay */
    int lent;     /* strict isolation, relayed: the socket of the lease that is out, -1: none that is known */
    int next[2];  /* likewise: of the lease to come, its borrower's end and the relay's, which has it too; -1: none */
    bool heard;   /* likewise: the server has spoken to that lease, which has not begun */
    uint32_t generation;
    int32_t pid;
    uint64_t since;                            /* phase entered; ns */
    uint64_t connected;                        /* login done; ns */
    int64_t certificate_expires[CERTIFICATES]; /* s since 1970, 0: it was not shown */
    bool insecure;                             /* what is said can be read or changed on the way, says its login */
    char *facts;                               /* as message.h has them, without the cancel key */
    enum close_reason reason;                  /* CLOSE_NONE: it is not on its way out */
    bool recycle;                              /* to be replaced, an administrator says */
    unsigned held;                             /* HELD: the flags its word had when it was idle */
    struct replacement replacement;
    struct lease_watch watch;

    uv_poll_t *poll; /* NULL: not watched; freed when libuv has closed it */
    int watched;     /* for these events */
    uv_timer_t timer;
    bool cancelling;    /* a cancel request for this generation is with the keeper */
    bool spoiled;       /* one was lost, or its server is another now: this session is lent no more */
    unsigned cancels;   /* sent in this phase */
    uint32_t serial;    /* strict isolation, this and the next six: of the request that the lease was made for */
    bool unsent;        /* its borrower has yet to be told, when the record of that lease is on disk, as is */
    bool waited;        /* and whether it had to wait */
    uint64_t recorded;  /* all up to this in the ring */
    bool told_of;       /* its worker has told a new supervisor that it holds it */
    uint64_t untaken;   /* since when its borrower, which waited for it, has not read that it has it; ns; 0: it has */
    bool left_at_rest;  /* so its last borrower says */
    uint64_t cancelled; /* when the first of them was known to be delivered; ns */

    unsigned char out[SYNC_OUT_MAX];
    size_t out_length, out_sent;
    struct position position;   /* while SYNCING */
    bool reset_asked;           /* while SYNCING: the reset has been sent behind the question */
    struct reset_reader reader; /* of the reset's answer, while RESETTING; of that and the check's, while CHECKING */
    bool changed;               /* there a parameter was not what its login reported */

    bool asked;                           /* CHECKING: the reset's answer is read, the check's is due */
    const struct role_question *question; /* of that check; NULL: check_query */
    bool role_told, role_fits;            /* what it has said; told only where it was asked */
    uint64_t server;                      /* which it is on; equal numbers, equal servers */
    uint64_t role_seen;                   /* when that was last known to be what was asked for; ns */
    uint64_t checked;                     /* when it last gave a sign of life; ns */
    uint64_t idle_since;                  /* what its slot said before the check ... */
    uint32_t idle_uses;                   /* ... which holds while its slot still says this */
};

#define OVERRIDE_REASON_MAX 255

/* Emergency access, while it lasts. */
struct override {
    uint64_t until; /* ns; 0: there is none */
    char by[NAME_FIELD];
    char reason[OVERRIDE_REASON_MAX + 1];
};

/* What administrators have told a pool, beside its configuration. A successor goes on with it. */
struct steering {
    enum pool_mode mode;
    bool keep;           /* PAUSED: sessions are held, not closed */
    char by[NAME_FIELD]; /* who set the mode */
    uint64_t since;      /* ns */
    uint32_t min, max;   /* config->size_min, size_max, unless resized */
    struct override override;
};

/* How many leases had begun at each of the last seconds. */
#define RATE_SECONDS 60
struct stats_rate {
    uint64_t leases[RATE_SECONDS + 1];
    uint64_t seconds; /* noted so far */
    uint64_t failed;  /* the last login that did; CLOCK_REALTIME, s; 0: none */
};

/* Strict isolation: a borrower that asks, and waits. */
struct ask {
    struct ask *next;
    struct worker *worker;
    uint32_t serial, borrower;
    uint64_t began, until; /* ns */
    bool waits;            /* it wants to, if need be */
};

struct pool {
    struct supervisor *supervisor;
    const struct pool_config *config; /* of supervisor->config */
    struct segment segment;
    int segment_fd;
    bool strict;
    int reader_fd;        /* strict isolation: of the segment, for workers */
    volatile int damaged; /* set by the SIGBUS guard */
    bool replacing;       /* the segment was damaged; the keeper is making another */
    bool sweep_due;       /* a worker died */
    bool segment_wanted;  /* and is to be asked for it, once more if its answer came without a descriptor */
    struct steering steering;
    struct backend *backend; /* segment.slots of them */
    struct worker **worker;  /* segment.borrowers of them, by index; NULL: free */
    struct grant *grants;    /* segment.slots of them: what the last sweep saw */
    size_t workers;
    uint32_t next_index;       /* of workers, where a free one is looked for first */
    struct departed *departed; /* workers whose leases the next sweep takes back */

    struct ask *ask, **last_ask; /* strict isolation: who waits, oldest first, */
    uint32_t asks;               /* how many */
    uint32_t unsent;             /* leases whose borrowers are told when their records are on disk */
    bool drain_due;              /* the audit process is to look for such */
    uv_timer_t review;           /* and whether it is in vain */

    uv_timer_t login_timer; /* when a login may be tried again */
    bool login_wait;
    unsigned login_failures; /* in a row */
    struct policy policy;    /* as published */
    uint64_t down_since;     /* nothing connected and a login failed; ns, 0: up */
    char last_error[SEGMENT_ERROR_MAX + 1];
    bool cancel_by_query; /* the cancel key could not be read */
    uint64_t logged_in;   /* when a login last succeeded; ns, 0: never */
    struct stats_rate rate;
    struct stats_kept *kept;                  /* of a segment that is being replaced; NULL: none */
    int64_t certificate_warned[CERTIFICATES]; /* when its end was last logged; s since 1970 */
    bool insecure_warned;                     /* likewise */
    bool role_probing;                        /* one is under way */
    bool role_unknown;                        /* the last one failed, and the log has said so */
    uint64_t role_probe_at;                   /* none before; ns */
    uint32_t retire_postponed;                /* sessions that are due, but whose replacements cannot log in */
};

/* A connection object that a worker is making for a slot. */
struct shell {
    struct shell *next;
    uint32_t slot;
    uint32_t generation;
    char token[TOKEN_HEX + 1]; /* "" once used */
};

/* One handle of one process, attached to one pool. */
struct worker {
    struct pool *pool;
    uint32_t index;
    int sock; /* -1: not attached (it was a predecessor's, and has not said hello yet) */
    struct identity identity;
    char exe[EXECUTABLE_MAX];
    int64_t since; /* CLOCK_REALTIME, s */
    struct shell *shell;
    uint32_t asks;   /* strict isolation: requests that wait */
    bool overriding; /* an override alone let it in */
    bool must_tell;  /* likewise: what it holds, for a predecessor greeted it */
    uv_poll_t sock_poll, pidfd_poll;
    int handles_open;
    bool hanging_up; /* sock_poll is being closed */
    bool dead;
};

struct supervisor {
    uv_loop_t loop;
    struct channel *channel;
    struct config *config;
    struct pool **pool;
    size_t pools;
    int listener[LISTENERS];
    /* The keeper's, the same for every supervisor of its life: cancel keys are made of it. */
    char secret[SECRET_HEX + 1];
    bool serving;
    bool stopping;
    bool stopped;
    int64_t started; /* CLOCK_REALTIME, s */
    uv_timer_t sweep_timer;
};

/* supervisor.c */
struct pool *supervisor_pool(struct supervisor *s, const char *name);
/* Ask the keeper. */
void supervisor_tell(struct supervisor *s, enum message_verb verb, const char *pool, uint32_t slot, uint32_t status);

/* damage.c: segments that a worker damaged */
void damage_guard(struct supervisor *s); /* from now on SIGBUS only marks the pool */
void damage_look(struct supervisor *s);  /* after each round of events: which is marked? */
void damage_found(struct pool *pool);    /* everything of it starts anew in a fresh one */
void damage_ask(struct pool *pool);      /* with each sweep: the keeper, where that has yet to come */
void damage_mended(struct pool *pool, int fd);

/* room.c: how many sessions more max_backends allows */
uint32_t room_left(const struct supervisor *s);
/* There is none, and FOR needs one: an idle session that its own pool can spare is closed. */
void room_make(struct supervisor *s, const struct pool *for_pool);
/* A session has ended: pools that have waited for room log in, the one with the oldest waiter first. */
void room_made(struct supervisor *s);

/* pool.c: policy: how many, when to log in */
struct pool *pool_new(struct supervisor *s, const struct pool_config *config);
int pool_attach(struct pool *pool, int segment_fd); /* map it */
/* In place of one that is damaged: the predecessor's backends need slots until they are closed. */
int pool_attach_stand_in(struct pool *pool);
void pool_publish(struct pool *pool); /* policy and mode into the segment */
void pool_recover(struct pool *pool); /* words against backends, after a predecessor's death */
void pool_balance(struct pool *pool); /* start the logins that are wanted now */
/*
 * Is a login under way that must be waited for before there is a second? LOOKS: at a lease or a server's role too; a
 * session waits for none of those, whose server may not answer where another would.
 */
bool pool_in_doubt(const struct pool *pool, bool looks);
void pool_login_failed(struct pool *pool, const struct message *m);
void pool_login_done(struct pool *pool);
void pool_password_changed(struct pool *pool);            /* the file it was refused from */
void pool_sweep(struct pool *pool);                       /* a worker died, or a second passed */
void pool_correct_word(struct pool *pool, uint32_t slot); /* where it says what cannot be */
void pool_reconfigure(struct pool *pool, const struct pool_config *config);
/* May what is said to its server be read or changed on the way, by its configuration or a session's login? */
bool pool_is_insecure(const struct pool *pool);
void pool_warn_insecure(struct pool *pool, const char *sslmode); /* in the log, once */
void pool_stop(struct pool *pool, enum shutdown_mode mode);
bool pool_stopped(const struct pool *pool);

struct pool_count {
    uint32_t total, idle, leased, connecting, waiting;
};
void pool_count(const struct pool *pool, struct pool_count *count);
const char *pool_state(const struct pool *pool); /* "active", "paused", "disabled", "unavailable" */

/*
 * steer.c: modes and sizes that administrators set. Each takes effect at once; what is lent finishes. BY: who.
 */
void steer_pause(struct pool *pool, const char *by, bool keep);
void steer_disable(struct pool *pool, const char *by);
void steer_activate(struct pool *pool, const char *by); /* resume, enable */
void steer_resize(struct pool *pool, uint32_t min, uint32_t max);
/* Replace sessions older than OVER (ns). How many. */
unsigned steer_recycle(struct pool *pool, uint64_t over, bool idle_only);
void steer_tell(const struct pool *pool); /* the keeper, what a successor must know */
void steer_from_predecessor(struct pool *pool, const char *text);
void steer_look(struct pool *pool); /* with each sweep: what came free meanwhile */
/* Why a session in SLOT is not wanted now. */
enum close_reason steer_unwanted(const struct pool *pool, uint32_t slot);

/* override.c: emergency access. It has been recorded when it begins. */
bool override_is_on(const struct pool *pool);
void override_begin(struct pool *pool, const char *by, const char *reason, uint64_t ms);
void override_end(struct pool *pool, const char *why);
void override_look(struct pool *pool); /* with each sweep: is its time over? */

/*
 * audit_link.c: what happens, for the audit trail; nothing where none is configured. VALUES are used up.
 */
void audit_link_open(struct supervisor *s, int fd); /* to the audit process; takes FD */
void audit_event(const struct supervisor *s, enum audit_event event, struct audit_values *values);
void audit_event_pool(const struct pool *pool, enum audit_event event, const char *outcome, const char *reason);
void audit_values_backend(struct audit_values *values, const struct backend *b); /* until the next call */
void audit_values_peer(struct audit_values *values, const struct identity *who, const char *executable);
/* A reload: refused, or what it changes. */
void audit_config_changes(const struct supervisor *s, const char *refusal, const json_t *changes);
/* The last event's number, and whether all up to one of them is on disk. */
uint32_t audit_last(void);
bool audit_is_written(uint32_t serial);
/* While shutting down: is all that happened on disk, or is nobody there to write it? */
bool audit_settled(const struct supervisor *s);
void audit_drain(void);                /* a lease waits for its record to be on disk */
void audit_look(struct supervisor *s); /* once a second: what leases do while the trail is not written */
const char *audit_link_state(const struct supervisor *s); /* "off", "on", "failing" */
uint64_t audit_link_syslog_lost(void);                    /* checkpoints that syslog did not take */
const char *audit_link_head(void);                        /* of the trail, SEQ:HASH, as far as it is known; "": not */

/* health.c: what a second that passed calls for: sessions that are idle too long, too old, or used too often */
void health_look(struct pool *pool);
void health_spare(struct pool *pool);    /* close one that is idle: its room is needed elsewhere */
void health_replaced(struct pool *pool); /* one was: the next of those that are to be recycled */

/*
 * revoke.c: take the lease that WORD speaks of away from its borrower; another that began meanwhile is not hit. The
 * session is cancelled and closed. False: there is no such lease any more.
 */
bool revoke_lease(struct backend *b, uint64_t word, enum close_reason reason);
/* The slot's WORD is the supervisor's: a predecessor may have died while it revoked. True: that is through now. */
bool revoke_finish(struct backend *b, uint64_t word);

/* role.c: is each server still what target_session_attrs asks for? */
const struct role_question *role_of(const struct pool *pool); /* what they are asked; NULL: nothing */
void role_begin(struct backend *b);                           /* a session has logged in: its facts are known */
bool role_is_due(const struct backend *b);                    /* it has not been known for too long */
void role_look(struct pool *pool);                            /* with each sweep */
void role_told(struct backend *b, bool fits);                 /* an idle one has answered */
void role_probed(struct backend *b, const struct message *m); /* a login has asked the server of B */

/* stats.c: what the segment has counted */
void stats_tick(struct pool *pool);              /* with each sweep */
void stats_keep(struct pool *pool);              /* before its segment is given up */
void stats_carry_on(struct pool *pool);          /* in the next one */
void stats_lease_ended(const struct backend *b); /* one that nobody gave back */
/* All of it as JSON; NULL: out of memory. */
json_t *stats_json(const struct pool *pool);

/* certificate.c: when certificates end */
void certificate_begin(struct backend *b); /* a session has logged in: its facts are known */
/* The earliest of all of this kind; s since 1970, 0: none was shown. */
int64_t certificate_expires(const struct pool *pool, enum certificate_kind kind);
bool certificate_is_due(const struct pool *pool); /* one of either kind, within certificate_warn */
void certificate_look(struct pool *pool);         /* with each sweep: logs that once a day */

/* lease_watch.c: leases that last: told of, and revoked; with each sweep */
void lease_watch_look(struct pool *pool);
void lease_watch_looked(struct backend *b, const struct message *m);

/* replace.c: a second session for a slot */
void replace_begin(struct backend *b, enum close_reason reason); /* ask for its login */
/* A login for B succeeded: was it the second's? Takes FD then, and retires the first. */
bool replace_arrived(struct backend *b, const struct message *m, int fd);
bool replace_ended(struct backend *b);   /* its login failed, or it is the first now. False: there was none */
void replace_drop(struct backend *b);    /* end it */
void replace_give_up(struct backend *b); /* end it, for the first stays */

/* backend.c: one PostgreSQL session; the only writer of its phase */
void backend_init(struct backend *b, struct pool *pool, uint32_t slot);
void backend_login(struct backend *b);                                      /* EMPTY slot: ask for a login */
void backend_connected(struct backend *b, const struct message *m, int fd); /* takes FD */
void backend_adopt(struct backend *b, const struct message *m, int fd);     /* a predecessor's; takes FD */
void backend_login_failed(struct backend *b);
/* The slot's word says SUPERVISOR and the backend was lendable: close it, or find its position and reset it. */
void backend_returned(struct backend *b, unsigned flags);
void backend_close(struct backend *b, enum close_reason reason);
/* Take it off the borrowers when it is idle, else when its lease ends. */
void backend_retire(struct backend *b, enum close_reason reason);
void backend_stay(struct backend *b); /* not to be retired after all */
/* Hold an idle one back from the borrowers, until it is to be lent again. */
void backend_hold(struct backend *b);
void backend_lend(struct backend *b);
void backend_cancel(struct backend *b); /* ask the keeper, unless one is on its way */
void backend_cancelled(struct backend *b, const struct message *m);
const char *backend_state_name(const struct backend *b, uint64_t word); /* as `pglend slots` prints it */
/* Value of fact NAME, NULL if there is none; copied into VALUE. */
const char *backend_fact(const struct backend *b, const char *name, char *value, size_t size);
/* For settle.c. */
/* A line about B: pool, slot, generation and backend stand before what is said, the session's age behind it. */
void backend_log(const struct backend *b, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void backend_enter(struct backend *b, enum backend_phase phase); /* what was timed is over */
void backend_ready(struct backend *b); /* to be lent, or what else has been decided meanwhile */
void backend_watch(struct backend *b, int events);
bool backend_is_base(const struct backend *b); /* its descriptor is never lent: each lease has a socket of its own */
void backend_time(struct backend *b, uint64_t ms); /* the phase may end by time then */
unsigned backends_syncing(void);                   /* in all pools */

/* settle.c: what is said to a session between two borrowers; it is lendable, or closed, in the end */
void settle_at_rest(struct backend *b); /* its borrower says that it is between two statements */
void settle_begin(struct backend *b);   /* its borrower is gone: position, reset */
void settle_again(struct backend *b);   /* a cancel may have hit the question itself */
/* Idle as WORD says: is it alive, and what does QUESTION (NULL: none) say? */
void settle_check(struct backend *b, uint64_t word, const struct role_question *question);
void settle_ask(struct backend *b, unsigned flags, const struct role_question *question); /* taken with these FLAGS */
/* From the event loop: what was queued can be sent (false: the server is gone), LENGTH bytes came, the time is up. */
bool settle_send(struct backend *b);
void settle_input(struct backend *b, const unsigned char *bytes, size_t length);
void settle_time_up(struct backend *b, uint64_t now);

/* position.c: the position in the protocol, after a borrower that is gone */
void position_ask(struct position *p, struct pg_buffer *out);
void position_ask_again(struct position *p, struct pg_buffer *out); /* something may have hit the question itself */
void position_ask_along(struct position *p, struct pg_buffer *out); /* with whatever OUT goes on with */
/* LENGTH bytes, POSITION_TAKE_MAX at most, of the answer. True: *USED of them in, it is found, in no transaction. */
bool position_take(struct position *p, const unsigned char *bytes, size_t length, size_t *used);

/* lend.c: a socket goes to a worker that the slot's word names */
int lend_send(struct worker *w, struct backend *b, uint32_t serial, uint64_t word, bool waited);
/* What is sent next is to be LEASE_TAKEN, if its borrower WAITED for it ... */
void lend_await_taken(struct backend *b, bool waited);
bool lend_is_taken(const struct backend *b); /* ... and is */
void lend_cut(struct backend *b);            /* the lease is over: its own socket, if it had one, is dead */
/*
 * Make the socket of the lease to come; the relay gets it behind LENGTH bytes for the server. False: neither is sent.
 */
bool lend_prepare(struct backend *b, const void *bytes, size_t length);
void lend_drop(struct backend *b); /* what was prepared is not lent */
/* The relay of B, which is nobody's or lent, has bytes of the server's. False: they cannot be told to a borrower. */
bool lend_hear(struct backend *b);
/* False: it was not told. */
bool lend_refuse(const struct worker *w, uint32_t serial, pglend_status status, const char *why);
/* The worker that presents TOKEN, and what it was given for; NULL: nobody's. */
struct worker *worker_by_token(struct supervisor *s, const struct identity *who, const char *token,
                               struct shell **shell);

/*
 * grant.c: strict isolation: leases, made and ended for workers that ask
 */
void grant_acquire(struct worker *w, const struct wire_acquire *m);
void grant_give_up(struct worker *w, uint32_t serial);
void grant_release(struct worker *w, const struct wire_release *m);
void grant_holding(struct worker *w, const struct wire_holding *m);
void grant_look(struct pool *pool);  /* after each round of events: who was granted something is told */
void grant_sweep(struct pool *pool); /* with each sweep */
void grant_worker_left(const struct worker *w);
void grant_recover(struct pool *pool); /* after a predecessor's death */

/* lease_record.c: leases, for the audit trail. In strict isolation, those that words speak of: */
bool lease_record_room(const struct pool *pool); /* may one begin? */
void lease_record_begin(const struct backend *b, uint64_t word, uint64_t wait_ns);
/* Must its record be on disk before a lease begins? */
bool lease_record_first(const struct pool *pool);
/* How much of the ring is written, and is all of it up to PLACE on disk (or is nothing recorded, as configured)? */
uint64_t lease_record_place(const struct pool *pool);
bool lease_record_on_disk(const struct pool *pool, uint64_t place);
void lease_record_end(const struct backend *b, uint64_t word, bool broken);
void lease_record_refusal(const struct worker *w, const struct asserted *said, uint64_t wait_ns, pglend_status status);
/* After a predecessor's death: has B's present one begun in the ring, and not ended? */
bool lease_record_open(const struct backend *b);
/* In both, where by the ring B's last one has not ended: its end, by what WORD said when it was taken from its holder. */
void lease_record_revoked(const struct backend *b, uint64_t word, enum close_reason reason);
void lease_record_reclaimed(const struct backend *b, uint64_t word);
/* The same where a sweep took it from WORKER, or from a predecessor. */
void lease_record_taken(const struct backend *b, uint32_t worker, unsigned flags);
void lease_record_worker_left(const struct worker *w); /* the next sweep takes its leases back */
void lease_record_swept(struct pool *pool);            /* forget who left */

/* guest.c: connections before they are workers */
int guest_listen(struct supervisor *s, int fd);
void guest_runs(const struct message *m); /* the keeper's answer to WHO */

/* hello.c: who comes to a pool */
/* The first packet of a guest, which runs PROGRAM: LENGTH bytes. True: FD now belongs to a worker. */
bool hello_greet(struct supervisor *s, int fd, union wire_message *hello, size_t length, const char *program);
/* Does it depend on the program alone whether pool NAME lets WHO in? */
bool hello_may_come(struct supervisor *s, const char *name, const struct identity *who);
bool hello_speaks_another(const union wire_message *hello, size_t length); /* version of the protocol */
void hello_refuse_oversized(int fd);

/* worker.c: what one says, and its death */
/* Takes the identity's pidfd; NULL: out of memory. */
struct worker *worker_new(struct pool *pool, uint32_t index, const struct identity *who, const char *program);
/* It speaks on FD, which is taken, from now on. Before its welcome: who has that is known. False: out of memory. */
bool worker_attach(struct worker *w, int fd);
void worker_detach(struct worker *w); /* hang up on it: it may greet this supervisor again, as it would the next one */
/* Forget it: its waits are dropped and its leases reclaimed by the next sweep, one for all that die together. */
void worker_end(struct worker *w, const char *why);
void worker_recover(struct pool *pool); /* those a predecessor greeted */
bool worker_alive(void *pool, uint32_t index);
/* Whose borrower entry B of POOL is; NULL: nobody that is known. */
const struct worker *worker_of_borrower(const struct pool *pool, uint32_t b);
void worker_drop_all(struct pool *pool);
void worker_drop_overriding(struct pool *pool); /* whom an override alone has let in */
/* denial.c: is one more denial of user UID recorded, or only counted? */
bool denial_is_recorded(const struct supervisor *s, uid_t uid);
/* With each sweep, and AT_ONCE at the end: how many were counted. */
void denial_look(const struct supervisor *s, bool at_once);

/* record.c: what the next supervisor must know of a worker */
void record_write(const struct worker *w);
/* The worker that record INDEX names, if a supervisor wrote it and that process is still there; with a pidfd. */
bool record_read(const struct pool *pool, uint32_t index, struct identity *who, int64_t *since, bool *overriding,
                 char executable[EXECUTABLE_MAX]);
/* What W's connection object for B names in a cancel request; the same under the next supervisor. */
uint32_t worker_cancel_key(const struct worker *w, const struct backend *b);

/* door.c: .s.PGSQL.6432 */
int door_listen(struct supervisor *s, int fd);
/* A cancel for what B had under GENERATION is through: answer those who asked. */
void door_cancelled(const struct backend *b, uint32_t generation);

/* admin.c */
int admin_listen(struct supervisor *s, int fd);
/* The keeper's answer to a reload: TEXT NULL and CHANGES (key by key; taken), or why it was refused. */
void admin_reloaded(struct supervisor *s, const char *text, json_t *changes);

#endif
