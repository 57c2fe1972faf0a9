/* SPDX-License-Identifier: ISC */
/*
 * wire.h - messages between a worker and the supervisor on worker.sock (SOCK_SEQPACKET: one packet, one message).
 *
 * Every message starts with struct wire_header. Fields are host-endian and fixed-width: both ends are on one host.
 * A packet whose length is not exactly its type's is an error. Descriptors travel only from supervisor to worker,
 * one a message. Who the worker is comes from the kernel, never from a message.
 *
 *   worker                         supervisor
 *   HELLO(version, pool)      ──►
 *                             ◄──  WELCOME(worker index) + segment   |  REFUSED(status, message)
 *
 *   Shared isolation: workers take and give slots in shared memory.
 *
 *   FETCH(serial, slot, b)    ──►
 *                             ◄──  BACKEND(serial, slot, generation, token) + socket  |  NOT_FETCHED(serial, status)
 *   WANT                      ──►                                    somebody waits and there is room for more
 *   RETURNED(slot)            ──►                                    that slot's word says SUPERVISOR now
 *
 *   Strict isolation: the segment's descriptor can only read, and the supervisor makes every transition.
 *
 *   ACQUIRE(serial, deadline) ──►
 *                             ◄──  BACKEND(serial, slot, version, …) + socket  |  NOT_FETCHED(serial, status)
 *   (LEASE_TAKEN, see below)                                         one that was waited for has been read
 *   GIVE_UP(serial)           ──►                                    whatever its answer is, it will not be used
 *   RELEASE(slot, version)    ──►                                    that lease is over; the descriptor is closed
 *   HOLDING(leases)           ──►                                    after a hello to a new supervisor, before all
 *                                                                    else: what is held; of the worker's other leases
 *                                                                    it may be that a supervisor died before they were
 *                                                                    known
 *
 * Change a struct or a number, here or in segment.h: bump WIRE_VERSION. Numbers are not reused.
 */
#ifndef PGLEND_WIRE_H
#define PGLEND_WIRE_H

#include "segment.h"
#include <fcntl.h>
#include <sys/types.h>
#include <sys/un.h>

#define WIRE_MAGIC   UINT32_C(0x444e4c50) /* "PLND" */
#define WIRE_VERSION 6
#define WIRE_TEXT    256
#define TOKEN_HEX    32 /* a one-time 128-bit token in hexadecimal */

#define RUNTIME_DIR_MAX 93 /* bytes; the longest that the sockets are in */
_Static_assert(RUNTIME_DIR_MAX + sizeof "/.s.PGSQL.6432" <= sizeof(((struct sockaddr_un *)0)->sun_path),
               "a socket's path fits its address");

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_WELCOME = 2,
    WIRE_REFUSED = 3,
    WIRE_FETCH = 10,
    WIRE_BACKEND = 11,
    WIRE_NOT_FETCHED = 12,
    WIRE_WANT = 20,
    WIRE_RETURNED = 21,
    WIRE_ACQUIRE = 30,
    WIRE_GIVE_UP = 31,
    WIRE_RELEASE = 32,
    WIRE_HOLDING = 33
};

struct wire_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
};

/* The first two members of HELLO and REFUSED stay as they are in every version, so that a mismatch can be answered. */
struct wire_hello {
    struct wire_header header;
    char pool[NAME_FIELD];
    uint32_t worker; /* index this handle had before its supervisor was restarted, or NO_WORKER */
};
#define NO_WORKER UINT32_MAX

struct wire_welcome {
    struct wire_header header;
    uint32_t worker;
};

struct wire_refused {
    struct wire_header header;
    uint32_t status; /* pglend_status */
    char message[WIRE_TEXT];
};

struct wire_fetch {
    struct wire_header header;
    uint32_t serial; /* of the request; comes back in the answer */
    uint32_t slot;
    uint32_t borrower;
};

struct wire_backend {
    struct wire_header header;
    uint32_t serial;
    uint32_t slot;
    uint32_t generation;
    int32_t backend_pid;
    uint32_t borrower;         /* this and the next two: strict isolation */
    uint64_t version;          /* of the lease */
    uint32_t waited;           /* LEASE_TAKEN is expected */
    char token[TOKEN_HEX + 8]; /* NUL-terminated */
    char user[NAME_FIELD];     /* database role and database, for PQuser() and PQdb() */
    char dbname[NAME_FIELD];
};

/*
 * Who is stopped must not keep a session from those who run: so a borrower that waited says that it has read BACKEND.
 * That takes no message: it sets this status flag (fcntl(2), F_SETFL) of the open file behind the descriptor, where the
 * supervisor looks; to a socket it means nothing else.
 */
#define LEASE_TAKEN O_APPEND

struct wire_not_fetched {
    struct wire_header header;
    uint32_t serial;
    uint32_t status;
    char message[WIRE_TEXT];
};

struct wire_want {
    struct wire_header header;
};

struct wire_returned {
    struct wire_header header;
    uint32_t slot;
};

struct wire_acquire {
    struct wire_header header;
    uint32_t serial;
    uint32_t own;   /* slot this process used last, or NO_SLOT */
    uint64_t until; /* CLOCK_MONOTONIC, ns; in the past: do not wait */
    struct asserted said;
};

struct wire_give_up {
    struct wire_header header;
    uint32_t serial;
};

/* In which state the borrower believes to leave the session. A hint: the supervisor finds out. */
enum wire_left { LEFT_AT_REST, LEFT_BUSY, LEFT_BROKEN };

struct wire_release {
    struct wire_header header;
    uint32_t slot;
    uint64_t version;
    uint32_t left; /* enum wire_left */
    uint32_t pad;
};

#define HOLDING_MAX 32 /* more leases take more messages */
struct wire_holding {
    struct wire_header header;
    uint32_t count;
    uint32_t more; /* 0: this is the last one */
    struct {
        uint64_t version;
        uint32_t slot, pad;
    } lease[HOLDING_MAX];
};

union wire_message {
    struct wire_header header;
    struct wire_hello hello;
    struct wire_welcome welcome;
    struct wire_refused refused;
    struct wire_fetch fetch;
    struct wire_backend backend;
    struct wire_not_fetched not_fetched;
    struct wire_want want;
    struct wire_returned returned;
    struct wire_acquire acquire;
    struct wire_give_up give_up;
    struct wire_release release;
    struct wire_holding holding;
};

/*
 * Send LENGTH bytes as one packet, with FD (-1: none), which stays the caller's. 0, or -1 with errno. FLAGS as
 * sendmsg(2); MSG_NOSIGNAL is added.
 */
int wire_send_packet(int sock, const void *packet, size_t length, int fd, int flags);
/*
 * Receive one packet. Returns its length (0: the peer is gone), or -1 with errno; EMSGSIZE: longer than SIZE; EPROTO:
 * anything wrong with its descriptors, which are closed then; EMFILE: there was no room for its descriptor. *FD: a
 * close-on-exec descriptor or -1. FD NULL: the sender may send none; what it sends is never installed here.
 */
ssize_t wire_receive_packet(int sock, void *packet, size_t size, int *fd, int flags);

/* Fill the header and send the message of TYPE. */
int wire_send(int sock, enum wire_type type, union wire_message *message, int fd, int flags);
/* Is this packet of LENGTH bytes a well-formed message of this version? Its strings are terminated in place. */
bool wire_check(union wire_message *message, size_t length);

#endif
