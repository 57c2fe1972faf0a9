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
 *   FETCH(serial, slot, b)    ──►
 *                             ◄──  BACKEND(serial, slot, generation, token) + socket  |  NOT_FETCHED(serial, status)
 *   WANT                      ──►                                    somebody waits and there is room for more
 *   RETURNED(slot)            ──►                                    that slot's word says SUPERVISOR now
 *
 * Change a struct or a number: bump WIRE_VERSION. Numbers are not reused.
 */
#ifndef PGLEND_WIRE_H
#define PGLEND_WIRE_H

#include "segment.h"
#include <sys/types.h>

#define WIRE_MAGIC   UINT32_C(0x444e4c50) /* "PLND" */
#define WIRE_VERSION 1
#define WIRE_TEXT    256
#define TOKEN_HEX    32 /* a one-time 128-bit token in hexadecimal */

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_WELCOME = 2,
    WIRE_REFUSED = 3,
    WIRE_FETCH = 10,
    WIRE_BACKEND = 11,
    WIRE_NOT_FETCHED = 12,
    WIRE_WANT = 20,
    WIRE_RETURNED = 21
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
    char token[TOKEN_HEX + 8]; /* NUL-terminated */
    char user[NAME_FIELD];     /* database role and database, for PQuser() and PQdb() */
    char dbname[NAME_FIELD];
};

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
