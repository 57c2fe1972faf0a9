/* SPDX-License-Identifier: ISC */
/*
 * door.c - the PostgreSQL-protocol door: start-up packets, requests for encryption, cancel requests.
 *
 * A worker with a lease stands by, and its secrets go where the input has their place holders: 32 times '#' is a token
 * that has just been given out, 8 times '@' the pid and key of its connection object. Without them no input would ever
 * be let in.
 */
#include "lease.h"
#include "pgwire.h"
#include "stand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX 8192

static int sock;
static struct segment segment;
static uint32_t worker, borrower = NO_BORROWER, slot = NO_SLOT;
static unsigned char key[8];

/* A lease of this worker's, and a token for it. False: just now there is none. */
static bool new_token(char token[TOKEN_HEX + 8])
{
    struct lease_wish wish = {.own = NO_SLOT, .max = STAND_SLOTS, .now = clock_ns()};
    union wire_message m;
    uint64_t word;
    int fd = -1;

    if (slot == NO_SLOT || !lease_held(&segment, borrower, slot))
        slot = lease_try(&segment, borrower, &wish, &word);
    if (slot == NO_SLOT)
        return false;
    m.fetch = (struct wire_fetch){.serial = 1, .slot = slot, .borrower = borrower};
    if (wire_send(sock, WIRE_FETCH, &m, -1, 0) != 0 || wire_receive_packet(sock, &m, sizeof m, &fd, 0) <= 0)
        return false;
    if (fd != -1)
        (void)close(fd);
    if (m.header.type != WIRE_BACKEND)
        return false;
    memcpy(token, m.backend.token, sizeof m.backend.token);
    return true;
}

static void fill_in(unsigned char *packet, size_t length)
{
    static const unsigned char token_mark[] = "################################", key_mark[] = "@@@@@@@@";
    unsigned char *at = memmem(packet, length, token_mark, TOKEN_HEX);
    char token[TOKEN_HEX + 8];

    if (at != NULL && new_token(token))
        memcpy(at, token, TOKEN_HEX);
    at = memmem(packet, length, key_mark, sizeof key);
    if (at != NULL)
        memcpy(at, key, sizeof key);
}

/* The key, from an answer that lets in. */
static void keep_key(const unsigned char *answer, size_t length)
{
    static const unsigned char head[] = {'K', 0, 0, 0, 12};
    const unsigned char *at = memmem(answer, length, head, sizeof head);

    if (at != NULL && at + sizeof head + sizeof key <= answer + length)
        memcpy(key, at + sizeof head, sizeof key);
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stand_start();
    sock = stand_connect(LISTENER_WORKER);
    fuzz_require(stand_greet(sock, STAND_CLINIC, &worker, &segment));
    fuzz_require(borrower_claim(&segment, worker, &borrower) == 0);
    return 0;
}

/* The first byte says where the rest is cut in two. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char packet[INPUT_MAX], answer[INPUT_MAX * 4];
    size_t length = size > 1 ? size - 1 : 0, first;
    ssize_t got;
    int visitor;

    if (length > sizeof packet)
        return -1;
    visitor = stand_connect(LISTENER_DOOR);
    memcpy(packet, data + 1, length);
    fill_in(packet, length);
    first = length > 0 ? data[0] % (length + 1) : 0;
    (void)send(visitor, packet, first, MSG_NOSIGNAL);
    (void)send(visitor, packet + first, length - first, MSG_NOSIGNAL);
    (void)shutdown(visitor, SHUT_WR);
    /* The fuzzer's own alarm may interrupt. */
    while ((got = recv(visitor, answer, sizeof answer, 0)) > 0 || (got == -1 && errno == EINTR))
        if (got > 0)
            keep_key(answer, (size_t)got);
    fuzz_require(got == 0 || errno == ECONNRESET); /* it hangs up: no visitor is kept for ever */
    (void)close(visitor);
    return 0;
}
