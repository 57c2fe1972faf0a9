/* SPDX-License-Identifier: ISC */
/*
 * message.h - messages between keeper, supervisor, login and cancel.
 *
 * The supervisor asks the keeper with verb, pool and slot only: it handles workers' bytes, so it may not say what is
 * executed, opened or connected to.
 *
 *   keeper ─► supervisor   CONFIG (fd: memory file with normalised JSON; text: names.c)
 *                          LISTENER (slot: enum listener; fd) · BACKEND (fd) · LOGIN_FAILED
 *                          SEGMENT (pool; fd), before it in strict isolation SEGMENT_READER (pool; fd: for workers)
 *                          CANCELLED · SERVE (all handed over; text: a secret, SECRET_HEX digits)
 *                          RELOADED (status 0: a CONFIG followed; else text says why not) · STOP (shut down)
 *                          STEERING (pool; text: as the supervisor sent it)
 *                          LOOKED (generation; LOOK_SEEN: text: JSON as login_ask.c makes it; else why it is not known)
 *                          PROBED (generation; LOOK_SEEN: text "t", its server is still what was asked for, or "f";
 *                          else why it is not known)
 *                          PASSWORD_CHANGED (pool: what was refused may be another now; status: enum password_change)
 *                          SECRET (pool: a login succeeded with the password of a file that had changed)
 *   supervisor ─► keeper   LOGIN · REPLACE (a login beside the slot's backend, which FORGET ends later) · CANCEL
 *                          STEERING (pool; text: what its successor must know; kept, not read)
 *                          FORGET · RELOAD · SHUTDOWN (status: enum shutdown_mode) · NEW_SEGMENT · SERVING · STOPPED
 *                          LOOK (what does the slot's backend do? answered by one LOOKED)
 *                          PROBE (is its server still what was asked for? answered by one PROBED)
 *                          WHO (slot: a number of the supervisor's; fd: a worker's pidfd; answered by one RUNS)
 *                          AUDIT (once more: its descriptor did not arrive)
 *   keeper ─► supervisor   RUNS (slot: that number; text: path of its executable, "[name]" or "": not known)
 *   keeper ─► login        SECRET (fd: a memory file with the password of the last login) before the
 *                          JOB (text: JSON, child_give_job())     login ─► keeper   BACKEND | LOGIN_FAILED
 *                                                                                   CANCELLED | LOOKED | PROBED
 *                          before what it answers SECRET, where a password was used for a session (fd: a memory file
 *                          with it; stamp: password_stamp() of the file that it was read from), or where that was
 *                          refused and the last login's was not (no fd; text: what the server said)
 *                          before what it answers ROLE (role: whom it is about to log in; who is killed says no more)
 *   keeper ─► password     JOB (path, stamp)                      password ─► keeper PASSWORD_CHANGED
 *   keeper ─► cancel       JOB, one after the other               cancel ─► keeper  CANCELLED
 *   keeper ─► audit        JOB · STOP · AUDIT (fd: the supervisor's end; the other end to the supervisor, the same way)
 *                          AUDIT_EVENT · SEGMENT (pool; fd: its leases' begin and end stand there;
 *                          status: enum isolation)
 *   supervisor ─► audit    AUDIT_EVENT (slot: a serial number; text: the event and its fields as JSON)
 *                          AUDIT_DRAIN (a lease waits for its record, which stands in a ring)
 *   audit ─► supervisor    AUDIT_STATE (slot: the last serial that is on disk; status: enum audit_state;
 *                          stamp: checkpoints that syslog did not take; text: the head, or why not)
 */
#ifndef PGLEND_MESSAGE_H
#define PGLEND_MESSAGE_H

#include "segment.h"
#include <stdint.h>

#define MESSAGE_TEXT_MAX 65536
#define SECRET_HEX       64
#define STEERING_MAX     1024

enum message_verb {
    MESSAGE_CONFIG = 1,
    MESSAGE_LISTENER,
    MESSAGE_SEGMENT,
    MESSAGE_BACKEND,
    MESSAGE_LOGIN_FAILED,
    MESSAGE_CANCELLED,
    MESSAGE_SERVE,
    MESSAGE_RELOADED,
    MESSAGE_STOP,
    MESSAGE_PASSWORD_CHANGED,
    MESSAGE_AUDIT,
    MESSAGE_AUDIT_EVENT,
    MESSAGE_AUDIT_STATE,
    MESSAGE_SEGMENT_READER,
    MESSAGE_AUDIT_DRAIN,
    MESSAGE_SECRET,
    MESSAGE_ROLE,
    MESSAGE_LOGIN = 32,
    MESSAGE_CANCEL,
    MESSAGE_FORGET,
    MESSAGE_RELOAD,
    MESSAGE_SHUTDOWN,
    MESSAGE_NEW_SEGMENT,
    MESSAGE_SERVING,
    MESSAGE_STOPPED,
    MESSAGE_REPLACE,
    MESSAGE_STEERING,
    MESSAGE_LOOK,
    MESSAGE_LOOKED,
    MESSAGE_PROBE,
    MESSAGE_PROBED,
    MESSAGE_WHO,
    MESSAGE_RUNS,
    MESSAGE_JOB = 64
};

enum listener { LISTENER_WORKER, LISTENER_ADMIN, LISTENER_DOOR, LISTENERS };

/* Why a login failed: decides how soon it is tried again. */
enum login_failure {
    LOGIN_FAILED_OTHER = 1, /* refused, unreachable, …: back-off */
    LOGIN_FAILED_PASSWORD,  /* SQLSTATE 28xxx: when the password file changes, else after STAMP ms */
    LOGIN_FAILED_TOO_MANY,  /* SQLSTATE 53300: back-off, not shown as a failure of the pool */
    LOGIN_FAILED_TIMEOUT    /* killed after login.timeout */
};

/*
 * Status of CANCELLED, which names the generation that was to be cancelled. LOST: it may have been sent, and may reach
 * the server at any time: it would hit whoever has the backend then. And of BACKEND, where a supervisor is told of a
 * predecessor's: whether such a thing is on its way.
 */
enum cancel_status { CANCEL_DONE, CANCEL_NOT_SENT, CANCEL_LOST, CANCEL_RUNNING };

/* login ─► keeper, BACKEND. RELAYED: the process stays, for as long as the session lasts. */
enum backend_status { BACKEND_PLAIN, BACKEND_RELAYED };

/* PASSWORD_CHANGED: its file has changed, or a reload says another way to log in. */
enum password_change { PASSWORD_REPLACED, PASSWORD_CONFIGURED };

/* LOOKED, PROBED. BUSY: too many looks are under way. */
enum look_status { LOOK_SEEN, LOOK_FAILED, LOOK_BUSY };
enum audit_state { AUDIT_STATE_OFF, AUDIT_STATE_ON, AUDIT_STATE_FAILING };

enum shutdown_mode { SHUTDOWN_GRACEFUL, SHUTDOWN_FAST };

/*
 * BACKEND's text: start-up facts as NAME=VALUE lines, '\n'-separated ('\\' and '\n' in values escaped with '\\').
 * Names of ParameterStatus as the server sent them; names with a leading dot are the login's own: .user .dbname
 * .host .port .address (.host's, "" for a Unix socket) .mode (FACT_MODE) .tls (protocol and cipher; absent: in
 * the clear) .certificate .certificate_expires (s since 1970) and likewise .client_certificate… of our own
 * .insecure (the sslmode, where it is too weak for a server on another host)
 * .cancel ("key" or "query": whether the cancel key could be read) and, with a key, FACT_CANCEL_JOB: the details of a
 * job "cancel" as JSON, which the keeper keeps and never passes on to the supervisor.
 */
#define FACT_CANCEL_JOB ".cancel_job"
/* What is between borrower and server: nothing, or a process that has the session's keys. */
#define FACT_MODE  ".mode"
#define MODE_PLAIN "plain"
#define MODE_RELAY "relay"
struct message {
    uint32_t verb;
    uint32_t slot;
    uint32_t generation;
    int32_t backend_pid;
    uint32_t status;
    uint64_t stamp;  /* BACKEND: when it logged in, ns; LOGIN_FAILED_PASSWORD: password_stamp() of what was read, to the
                      supervisor how long nobody tries it, ms */
    uint32_t length; /* of text, without its terminating NUL */
    char pool[NAME_FIELD];
    char role[NAME_FIELD]; /* LOGIN_FAILED: whom it tried to log in, as far as the login came to know; "": not known */
    char text[MESSAGE_TEXT_MAX];
};

#endif
