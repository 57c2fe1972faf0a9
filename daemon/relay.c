/* SPDX-License-Identifier: ISC */
/*
 * relay.c - a login that stays: between its TLS session and the socket that is lent in its place.
 *
 * The keys of a TLS session are in the process that made it, so its socket alone would be of no use to a borrower. What
 * is lent is one end of a socket pair; here bytes go between the other end and the session, and nothing is looked at.
 * The hard thing: neither side may make the other wait for more than a full buffer, and TLS may want to write where one
 * reads. Each way has one buffer; whatever cannot go on now says which event it waits for.
 *
 * In strict isolation that pair, the base, stays with the supervisor, and each lease comes over it as a descriptor: one
 * end of a pair of its own. It comes ahead, with what is said to the server before; until it is lent (LEASE_IS_OUT) the
 * supervisor hears the server. It is over when its other end is shut both ways or closed, or when anything else comes
 * over the base. What its borrower had sent by then is passed on, so that the supervisor's question finds a whole message
 * before it; who kept the descriptor can neither write nor read any more. Shut for writing alone, it is the session's end.
 */
#include "login.h"
#include "wire.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLOW_SIZE   65536                /* four of the largest records that TLS has (RFC 8446, section 5.1) */
#define FAREWELL_NS UINT64_C(5000000000) /* for the server to end, once nobody is left on this side */

/* One way: bytes from AT to END are still to be written. */
struct flow {
    unsigned char *bytes;
    size_t at, end;
    bool ended; /* no more will be read */
};

struct relay {
    SSL *ssl;
    int server;
    int base;                    /* for good */
    int lease;                   /* the socket of the one that has begun, or may; else -1 */
    bool begun;                  /* it is lent, as far as is known */
    bool strict;                 /* leases may come over the base */
    bool over;                   /* the lease is: what it sent is read to its end */
    bool base_ended;             /* nobody is there, but the lease goes on */
    struct flow down, up;        /* from the server, and to it */
    short server_wants;          /* poll events that the TLS session waits for */
    bool read_wants_write;       /* TLS has to send before it can read on */
    bool lent_readable;          /* as far as is known */
    bool server_readable;        /* likewise */
    bool closed_up, closed_down; /* the end of that way has been passed on */
    uint64_t farewell;           /* when it ends whatever the server does; ns, 0: somebody may still hear that */
};

/* Who speaks to the server, and to whom the server speaks. */
static int speaker(const struct relay *r)
{
    return r->lease != -1 ? r->lease : r->base;
}

static int hearer(const struct relay *r)
{
    return r->begun ? r->lease : r->base;
}

static bool is_empty(const struct flow *f)
{
    return f->at == f->end;
}

/* What an SSL call that returned STATUS waits for, as an event for poll; 0: the session is over. */
static short wanted(const struct relay *r, int status)
{
    switch (SSL_get_error(r->ssl, status)) {
    case SSL_ERROR_WANT_READ:
        return POLLIN;
    case SSL_ERROR_WANT_WRITE:
        return POLLOUT;
    default:
        return 0;
    }
}

/* ---- from the server ---- */

/* As much as there is: what TLS has taken off the socket already gives no event. */
static void read_server(struct relay *r)
{
    struct flow *f = &r->down;

    f->at = f->end = 0;
    do {
        int got;
        short event;

        ERR_clear_error();
        got = SSL_read(r->ssl, f->bytes + f->end, (int)(FLOW_SIZE - f->end));
        if (got > 0) {
            f->end += (size_t)got;
            continue;
        }
        event = wanted(r, got);
        r->server_readable = false;
        r->read_wants_write = event == POLLOUT;
        f->ended = event == 0;
        return;
    } while (f->end < FLOW_SIZE && SSL_has_pending(r->ssl) == 1);
    /* Whether more is on the socket is not known: poll says. */
    r->server_readable = SSL_has_pending(r->ssl) == 1;
}

/* Nobody has the other end of the base any more. What was said to the server may still go, but not for ever. */
static void bid_farewell(struct relay *r)
{
    if (r->farewell == 0)
        r->farewell = clock_ns() + FAREWELL_NS;
}

static bool is_late(const struct relay *r)
{
    return r->farewell != 0 && clock_ns() >= r->farewell;
}

static void write_lent(struct relay *r)
{
    struct flow *f = &r->down;
    ssize_t sent = send(hearer(r), f->bytes + f->at, f->end - f->at, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent >= 0) {
        f->at += (size_t)sent;
    } else if (errno != EAGAIN && errno != EINTR) {
        f->at = f->end;                       /* nobody is there any more to read it */
        (void)shutdown(hearer(r), SHUT_RDWR); /* or is, and would take what comes behind it for his answer */
        if (r->begun)
            r->lent_readable = true; /* a lease that has ended */
        else
            bid_farewell(r);
    }
}

/* ---- to the server ---- */

/* None of its bytes is left. What the server still says to it the supervisor reads, looking for its own answer. */
static void drop_lease(struct relay *r)
{
    (void)close(r->lease);
    r->lease = -1;
    r->over = r->begun = false;
    r->lent_readable = true;
}

/* FD came with the last of the bytes, which stands for nothing (unix(7): a read ends behind a descriptor). */
static void begin_lease(struct relay *r, int fd)
{
    r->up.end--;
    r->lease = fd;
    r->lent_readable = false; /* it is not its borrower's yet, as a rule */
}

/*
 * Looked at only when it matters: the server has spoken, and the borrower has not. After that was read, so that what is
 * said once the socket is lent is its borrower's.
 */
static void look_at_lease(struct relay *r)
{
    if (r->lease != -1 && !r->begun)
        r->begun = (fcntl(r->lease, F_GETFL) & LEASE_IS_OUT) != 0;
}

/* No lease begins while the supervisor has yet to hear what came before. */
static bool may_be_heard(const struct relay *r)
{
    return is_empty(&r->up) && !r->up.ended && (r->lease == -1 || r->begun || is_empty(&r->down));
}

/* The base is readable, or at its END, while a lease has its own socket. Nobody writes to that one from here on. */
static void look_at_base(struct relay *r, bool end)
{
    char next;
    ssize_t got = end ? recv(r->base, &next, 1, MSG_PEEK | MSG_DONTWAIT) : 1;

    if (got == 1) {
        r->over = r->lent_readable = true;
        (void)shutdown(r->lease, SHUT_RDWR);
    } else if (got == 0 || errno == ECONNRESET) {
        r->base_ended = true; /* the daemon is gone, and leases that are out finish */
    }
}

/* No more comes from there. False: who has the other end may still hear the rest. */
static bool has_hung_up(int fd)
{
    struct pollfd end = {.fd = fd};

    return poll(&end, 1, 0) == 1;
}

static void read_lent(struct relay *r)
{
    struct flow *f = &r->up;
    int fd = -1;
    ssize_t got = r->lease != -1
                      ? recv(r->lease, f->bytes, FLOW_SIZE, MSG_DONTWAIT)
                      : wire_receive_packet(r->base, f->bytes, FLOW_SIZE, r->strict ? &fd : NULL, MSG_DONTWAIT);
    bool ended = got == 0 || (got == -1 && errno != EAGAIN && errno != EINTR);

    r->lent_readable = false;
    r->begun = r->begun || (r->lease != -1 && got > 0);
    f->at = 0;
    f->end = got > 0 ? (size_t)got : 0;
    if (fd != -1)
        begin_lease(r, fd);
    else if (ended && r->lease != -1 && (r->over || has_hung_up(r->lease)))
        drop_lease(r);
    else
        f->ended = ended;
}

static void write_server(struct relay *r)
{
    struct flow *f = &r->up;
    int sent;
    short event;

    ERR_clear_error();
    sent = SSL_write(r->ssl, f->bytes + f->at, (int)(f->end - f->at));
    if (sent > 0) {
        f->at += (size_t)sent;
        r->server_wants = 0;
        return;
    }
    event = wanted(r, sent);
    r->server_wants = event;
    if (event == 0) {
        f->at = f->end;
        f->ended = true;
    }
}

/* ---- the loop ---- */

/* Do what can be done without waiting; a lease that begins before the server is heard. True: something was. */
static bool move_on(struct relay *r)
{
    bool moved = false;

    if (may_be_heard(r) && r->lent_readable) {
        read_lent(r);
        moved = true;
    }
    if (!is_empty(&r->up) && r->server_wants == 0) {
        write_server(r);
        moved = true;
    }
    if (is_empty(&r->down) && !r->down.ended && r->server_readable) {
        read_server(r);
        look_at_lease(r);
        moved = true;
    }
    if (!is_empty(&r->down)) {
        size_t before = r->down.at;

        write_lent(r);
        moved |= r->down.at != before;
    }
    return moved;
}

/* An end of one side is the other's too, once all that came before it has gone. */
static void pass_ends_on(struct relay *r)
{
    if (r->up.ended && is_empty(&r->up) && !r->closed_up) {
        r->closed_up = true;
        (void)SSL_shutdown(r->ssl); /* says that nothing more comes */
        (void)shutdown(r->server, SHUT_WR);
    }
    if (r->down.ended && is_empty(&r->down) && !r->closed_down) {
        r->closed_down = true;
        (void)shutdown(hearer(r), SHUT_RDWR);
    }
}

/* For poll; -1: for ever. Rounded up. */
static int patience(const struct relay *r)
{
    uint64_t now = clock_ns();

    if (r->farewell == 0)
        return -1;
    return r->farewell > now ? (int)((r->farewell - now) / 1000000 + 1) : 0;
}

static void wait_for_events(struct relay *r)
{
    struct pollfd p[3] = {{.fd = r->server}, {.fd = speaker(r)}, {.fd = r->base}};
    bool half = r->closed_up && r->farewell == 0; /* who says nothing more may still hear */

    if (is_empty(&r->down) && !r->down.ended)
        p[0].events |= r->read_wants_write ? POLLOUT : POLLIN;
    if (!is_empty(&r->up))
        p[0].events |= r->server_wants;
    if (may_be_heard(r))
        p[1].events |= POLLIN;
    if (!is_empty(&r->down))
        p[hearer(r) == speaker(r) ? 1 : 2].events |= POLLOUT;
    if (r->lease != -1 && !r->over && !r->base_ended)
        p[2].events |= POLLIN | POLLRDHUP;
    for (int i = 0; i < 3; i++)
        if (p[i].events == 0 && (i != 1 || !half))
            p[i].fd = -1; /* else an end that is known already would be reported without end */
    while (poll(p, 3, patience(r)) == -1 && errno == EINTR)
        continue;
    if ((p[0].revents & (POLLIN | POLLHUP | POLLERR)) != 0 || (r->read_wants_write && p[0].revents != 0))
        r->server_readable = true;
    if ((p[0].revents & (r->server_wants | POLLHUP | POLLERR)) != 0)
        r->server_wants = 0;
    if ((p[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0)
        r->lent_readable = true;
    if (half && (p[1].revents & (POLLHUP | POLLERR)) != 0)
        bid_farewell(r);
    if ((p[2].revents & ~POLLOUT) != 0)
        look_at_base(r, (p[2].revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0);
}

static void pump(struct relay *r)
{
    while (!r->closed_down && !is_late(r)) {
        while (move_on(r) && !is_late(r))
            continue;
        pass_ends_on(r);
        if (!r->closed_down)
            wait_for_events(r);
    }
}

/* ---- its life ---- */

/* A hundred relays are a hundred times this: what was for the handshake alone goes, hundreds of authorities perhaps. */
static void shrink(const struct relay *r)
{
    X509_STORE *none = X509_STORE_new();

    /* With no authority, a certificate that came later would be refused. */
    if (none != NULL)
        SSL_CTX_set_cert_store(SSL_get_SSL_CTX(r->ssl), none);
    (void)malloc_trim(0);
}

void relay_run(const struct job *job, SSL *ssl, int server, int base, bool strict)
{
    static unsigned char down[FLOW_SIZE], up[FLOW_SIZE];
    static const int ignored[] = {SIGHUP, SIGINT, SIGTERM, SIGPIPE};
    struct relay r = {.ssl = ssl,
                      .server = server,
                      .base = base,
                      .lease = -1,
                      .strict = strict,
                      .down = {.bytes = down},
                      .up = {.bytes = up},
                      .server_readable = true,
                      .lent_readable = true};

    /* It ends when the last who holds the lent socket closes it: a lease may outlive the daemon. */
    for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
        (void)signal(ignored[i], SIG_IGN);
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    shrink(&r);
    (void)SSL_set_mode(r.ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_read_ahead(r.ssl, 1);
    job_confine(job, SANDBOX_RELAY);
    pump(&r);
    _exit(0);
}
