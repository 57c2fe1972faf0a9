/* SPDX-License-Identifier: ISC */
/*
 * attach.c - this process's tie to one run of a pool: connect, say hello, map the segment, fetch descriptors.
 *
 * The hard thing: the supervisor may die and be replaced at any moment while leases go on. The segment outlives it;
 * a new supervisor is greeted with the index that the old one gave. Only when the whole daemon was restarted is the
 * segment retired, and the handle attaches anew.
 */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define RETRY_NS UINT64_C(20000000)

static void sleep_ns(uint64_t ns)
{
    struct timespec ts = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};

    (void)nanosleep(&ts, NULL);
}

/* Connect without waiting. The socket, or -1 with errno. */
static int connect_supervisor(const pglend *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

    if (sock == -1)
        return -1;
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/worker.sock", p->runtime_dir);
    if (connect(sock, (struct sockaddr *)&address, sizeof address) == 0)
        return sock;
    error = errno;
    (void)close(sock);
    errno = error;
    return -1;
}

/* The next message. False with errno; ECONNRESET: the supervisor is gone; ETIMEDOUT; EPROTONOSUPPORT: its version. */
static bool receive(int sock, union wire_message *message, int *fd, uint64_t until)
{
    for (;;) {
        struct pollfd pfd = {.fd = sock, .events = POLLIN};
        ssize_t got = wire_receive_packet(sock, message, sizeof *message, fd, MSG_DONTWAIT);
        uint64_t now;

        if (got > 0 && wire_check(message, (size_t)got))
            return true;
        if (got >= 0) {
            bool other = got >= (ssize_t)sizeof message->header && message->header.magic == WIRE_MAGIC &&
                         message->header.version != WIRE_VERSION;

            if (*fd != -1)
                (void)close(*fd);
            errno = got == 0 ? ECONNRESET : other ? EPROTONOSUPPORT : EPROTO;
            return false;
        }
        if (errno != EAGAIN)
            return false;
        now = clock_ns();
        if (now >= until) {
            errno = ETIMEDOUT;
            return false;
        }
        if (poll(&pfd, 1, (int)((until - now + 999999) / 1000000)) == -1 && errno != EINTR)
            return false;
    }
}

/* Say hello on SOCK. OK with *WORKER and *SEGMENT_FD, or a status with the error set. */
static pglend_status greet(const pglend *p, int sock, uint32_t claim, uint64_t until, uint32_t *worker, int *segment_fd)
{
    union wire_message message = {.hello = {.worker = claim}};

    (void)snprintf(message.hello.pool, sizeof message.hello.pool, "%s", p->name);
    if (wire_send(sock, WIRE_HELLO, &message, -1, 0) == -1 || !receive(sock, &message, segment_fd, until)) {
        if (errno == EPROTONOSUPPORT)
            return error_set(p, PGLEND_MISMATCH,
                             "the supervisor in %s speaks version %u of the worker protocol, this library version %d: "
                             "install matching versions",
                             p->runtime_dir, message.header.version, WIRE_VERSION);
        return error_set(p, errno == EPROTO ? PGLEND_SYSTEM : PGLEND_NO_SUPERVISOR,
                         "the supervisor in %s did not answer a hello: %s", p->runtime_dir, strerror(errno));
    }
    if (message.header.type == WIRE_WELCOME && *segment_fd != -1) {
        *worker = message.welcome.worker;
        return PGLEND_OK;
    }
    if (*segment_fd != -1)
        (void)close(*segment_fd);
    if (message.header.type == WIRE_REFUSED)
        return error_set(p, (pglend_status)message.refused.status, "%s", message.refused.message);
    return error_set(p, PGLEND_SYSTEM, "the supervisor in %s answered a hello with message %u", p->runtime_dir,
                     message.header.type);
}

static uint64_t inode_of(int fd)
{
    struct stat st;

    return fstat(fd, &st) == -1 ? 0 : (uint64_t)st.st_ino;
}

static struct attachment *attachment_new(pglend *p, int sock, uint32_t worker, int segment_fd)
{
    struct segment segment = {0};
    struct attachment *at;

    if (segment_map(&segment, segment_fd) == -1) {
        (void)error_set(p, errno == EPROTO ? PGLEND_MISMATCH : PGLEND_SYSTEM,
                        "cannot map the shared memory of pool \"%s\": %s", p->name,
                        errno == EPROTO ? "it was made by another version of pglend" : strerror(errno));
        return NULL;
    }
    at = calloc(1, sizeof *at + segment.slots * sizeof(struct loan *));
    if (at == NULL || worker >= segment.borrowers || !segment_get_policy(&segment, &at->policy, &at->policy_seq)) {
        (void)error_set(p, PGLEND_SYSTEM, "cannot attach to pool \"%s\": %s", p->name,
                        at == NULL ? "out of memory" : "the supervisor's answer or segment is damaged");
        segment_unmap(&segment);
        free(at);
        return NULL;
    }
    at->pool = p;
    at->segment = segment;
    at->inode = inode_of(segment_fd);
    at->worker = worker;
    at->sock = sock;
    at->own = NO_SLOT;
    at->dialogue = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    return at;
}

/* Attach for the first time, retrying where no supervisor is there, until UNTIL. */
static struct attachment *attach(pglend *p, uint64_t until)
{
    for (;;) {
        int sock = connect_supervisor(p), segment_fd = -1, error = errno;
        pglend_status status = PGLEND_NO_SUPERVISOR;
        uint32_t worker = 0;

        if (sock != -1) {
            struct attachment *at = NULL;

            status = greet(p, sock, NO_WORKER, until, &worker, &segment_fd);
            if (status == PGLEND_OK) {
                at = attachment_new(p, sock, worker, segment_fd);
                (void)close(segment_fd);
            }
            if (at != NULL)
                return at;
            (void)close(sock);
            if (status != PGLEND_NO_SUPERVISOR && status != PGLEND_SHUTDOWN)
                return NULL;
        } else if (error == EMFILE || error == ENFILE || error == EACCES) {
            (void)error_set(p, error == EACCES ? PGLEND_DENIED : PGLEND_SYSTEM, "cannot connect to %s/worker.sock: %s",
                            p->runtime_dir, strerror(error));
            return NULL;
        } else {
            (void)error_set(p, status, "no pglend supervisor answers at %s/worker.sock: %s; is pglendd running?",
                            p->runtime_dir, strerror(error));
        }
        if (clock_ns() + RETRY_NS >= until)
            return NULL;
        sleep_ns(RETRY_NS);
    }
}

bool attachment_retired(const struct attachment *at)
{
    return at->gone || atomic_load_explicit(&at->segment.header->retired, memory_order_relaxed) != 0;
}

/* What is cached of a retired run: our copy of the descriptor may be the last one that keeps its backend alive. */
static void drop_cache(struct attachment *at)
{
    for (uint32_t i = 0; i < at->segment.slots; i++)
        if (at->loan[i] != NULL && at->loan[i]->state == LOAN_CACHED) {
            struct loan *loan = at->loan[i];

            at->loan[i] = NULL;
            adopt_free(loan);
        }
    at->cached = 0;
}

void attachment_release_locked(struct attachment *at)
{
    pglend *p = at->pool;

    if (--at->users > 0 || p->at == at)
        return;
    for (struct attachment **link = &p->all; *link != NULL; link = &(*link)->next)
        if (*link == at) {
            *link = at->next;
            break;
        }
    drop_cache(at);
    (void)close(at->sock);
    segment_unmap(&at->segment);
    free(at->spare);
    free(at);
}

void attachment_put(struct attachment *at)
{
    pglend *p = at->pool;

    (void)pthread_mutex_lock(&p->lock);
    attachment_release_locked(at);
    (void)pthread_mutex_unlock(&p->lock);
}

/* Under the lock: the current attachment with one more user, or NULL. */
static struct attachment *current(pglend *p)
{
    struct attachment *at = p->at;
    uint32_t seq;

    if (at == NULL)
        return NULL;
    at->users++;
    if (attachment_retired(at)) {
        drop_cache(at);
        p->at = NULL;
        attachment_release_locked(at);
        return NULL;
    }
    seq = atomic_load_explicit(&at->segment.header->policy_seq, memory_order_relaxed);
    if (seq != at->policy_seq) {
        struct policy policy;

        if (segment_get_policy(&at->segment, &policy, &seq)) {
            at->policy = policy;
            at->policy_seq = seq;
        }
    }
    return at;
}

struct attachment *attachment_get(pglend *p, uint64_t until)
{
    struct attachment *at, *mine;

    (void)pthread_mutex_lock(&p->lock);
    at = current(p);
    (void)pthread_mutex_unlock(&p->lock);
    if (at != NULL)
        return at;
    mine = attach(p, until);
    (void)pthread_mutex_lock(&p->lock);
    at = current(p); /* another thread may have been faster */
    if (mine != NULL) {
        mine->next = p->all;
        p->all = mine;
        mine->users = 1;
        if (at == NULL)
            at = p->at = mine;
        else
            attachment_release_locked(mine);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return at;
}

/* Greet a new supervisor in the name of AT. Called with the dialogue locked. Never waits for one to come. */
static bool reconnect(struct attachment *at)
{
    const pglend *p = at->pool;
    int sock = connect_supervisor(p), segment_fd = -1;
    uint32_t worker = NO_WORKER;
    bool ok;

    if (sock == -1)
        return false;
    ok = greet(p, sock, at->worker, clock_ns() + UINT64_C(500000000), &worker, &segment_fd) == PGLEND_OK;
    if (ok) {
        if (worker != at->worker || inode_of(segment_fd) != at->inode)
            at->gone = true;
        (void)close(segment_fd);
        ok = !at->gone && dup3(sock, at->sock, O_CLOEXEC) != -1;
    }
    (void)close(sock);
    return ok;
}

static bool is_connected(const struct attachment *at)
{
    char byte;
    ssize_t got = recv(at->sock, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);

    return got > 0 || (got == -1 && errno == EAGAIN);
}

bool attachment_has_supervisor(struct attachment *at)
{
    bool ok = is_connected(at);

    if (ok || pthread_mutex_trylock(&at->dialogue) != 0)
        return ok;
    ok = is_connected(at) || reconnect(at);
    (void)pthread_mutex_unlock(&at->dialogue);
    return ok;
}

/* Under the dialogue's lock: ask, and wait for the answer with our serial. Others' were given up on. */
static pglend_status ask(struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t until,
                         union wire_message *answer, int *fd)
{
    const pglend *p = at->pool;
    uint32_t serial = ++at->serial;

    answer->fetch = (struct wire_fetch){.serial = serial, .slot = slot, .borrower = borrower};
    if (wire_send(at->sock, WIRE_FETCH, answer, -1, MSG_DONTWAIT) == -1)
        return error_set(p, PGLEND_NO_SUPERVISOR, "cannot ask the supervisor in %s for a connection: %s",
                         p->runtime_dir, strerror(errno));
    for (;;) {
        if (!receive(at->sock, answer, fd, until))
            return error_set(p, errno == EPROTO || errno == EMFILE ? PGLEND_SYSTEM : PGLEND_NO_SUPERVISOR,
                             errno == EPROTO
                                 ? "the connection's descriptor did not arrive: too many open files? (ulimit -n)"
                                 : "the supervisor in %s did not answer: %s",
                             p->runtime_dir, strerror(errno));
        if (answer->header.type == WIRE_BACKEND && answer->backend.serial == serial && *fd != -1)
            return PGLEND_OK;
        if (*fd != -1)
            (void)close(*fd);
        *fd = -1;
        if (answer->header.type == WIRE_NOT_FETCHED && answer->not_fetched.serial == serial)
            return error_set(p, (pglend_status)answer->not_fetched.status, "%s", answer->not_fetched.message);
    }
}

pglend_status attachment_fetch(struct attachment *at, uint32_t slot, uint32_t borrower, uint64_t until,
                               struct wire_backend *backend, int *fd)
{
    struct timespec ts = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    union wire_message answer;
    pglend_status status;

    if (pthread_mutex_clocklock(&at->dialogue, CLOCK_MONOTONIC, &ts) != 0)
        return error_set(at->pool, PGLEND_NO_SUPERVISOR, "the supervisor in %s does not answer", at->pool->runtime_dir);
    if (is_connected(at) || reconnect(at))
        status = ask(at, slot, borrower, until, &answer, fd);
    else
        status =
            error_set(at->pool, PGLEND_NO_SUPERVISOR,
                      "no pglend supervisor answers at %s/worker.sock; is pglendd running?", at->pool->runtime_dir);
    (void)pthread_mutex_unlock(&at->dialogue);
    if (status == PGLEND_OK)
        *backend = answer.backend;
    return status;
}

void attachment_tell(struct attachment *at, enum wire_type type, uint32_t slot)
{
    union wire_message message = {.returned = {.slot = slot}};

    (void)wire_send(at->sock, type, &message, -1, MSG_DONTWAIT);
}
