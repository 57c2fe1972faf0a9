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

#define RETRY_NS       UINT64_C(20000000)  /* where nobody listens, or a welcome did not come */
#define RETRY_LATER_NS UINT64_C(200000000) /* of a supervisor that says it is shutting down */

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

/*
 * The next message; FLAGS: MSG_PEEK leaves it where it is. False with errno; ECONNRESET: the supervisor is gone; ETIMEDOUT;
 * EPROTONOSUPPORT: its version; EMFILE: its descriptor finds no place.
 */
static bool receive(int sock, union wire_message *message, int *fd, uint64_t until, int flags)
{
    for (;;) {
        struct pollfd pfd = {.fd = sock, .events = POLLIN};
        uint64_t now = clock_ns(), left = until > now ? until - now : 0;
        /* First, for an answer takes the supervisor's turn and is not there yet. */
        int ready = poll(&pfd, 1, (int)((left + 999999) / 1000000));
        ssize_t got = ready == 1 ? wire_receive_packet(sock, message, sizeof *message, fd, flags | MSG_DONTWAIT) : -1;

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
        if (ready != 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (left == 0) {
            errno = ETIMEDOUT;
            return false;
        }
    }
}

static bool say_hello(const pglend *p, int sock, uint32_t claim)
{
    union wire_message message = {.hello = {.worker = claim}};

    (void)snprintf(message.hello.pool, sizeof message.hello.pool, "%s", p->name);
    return wire_send(sock, WIRE_HELLO, &message, -1, 0) == 0;
}

/*
 * The answer to a hello on SOCK: OK with *WORKER and *SEGMENT_FD, or a status with the error set. *SILENT: none yet, or one
 * that stays there until this process has a descriptor to spare.
 */
static pglend_status hear_welcome(const pglend *p, int sock, uint64_t until, uint32_t *worker, int *segment_fd,
                                  bool *silent)
{
    union wire_message message;

    *silent = false;
    message.header.version = 0;
    if (receive(sock, &message, segment_fd, until, MSG_PEEK)) {
        (void)recv(sock, NULL, 0, MSG_DONTWAIT);
    } else {
        *silent = errno == ETIMEDOUT || errno == EMFILE;
        if (errno == EPROTONOSUPPORT)
            return error_set(p, PGLEND_MISMATCH,
                             "the supervisor in %s speaks version %u of the worker protocol, this library version %d: "
                             "install matching versions",
                             p->runtime_dir, message.header.version, WIRE_VERSION);
        return error_set(p, errno == EPROTO || errno == EMFILE ? PGLEND_SYSTEM : PGLEND_NO_SUPERVISOR,
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

/* Copy the policy, if it is another one. False: there is none at all. */
static bool refresh_policy(struct attachment *at)
{
    struct policy_copy *now = at->policy, *copy;
    uint32_t seq = atomic_load_explicit(&at->segment.header->policy_seq, memory_order_relaxed);

    if (now != NULL && seq == now->seq)
        return true;
    copy = malloc(sizeof *copy);
    if (copy == NULL || !segment_get_policy(&at->segment, &copy->policy, &seq)) {
        free(copy);
        return now != NULL;
    }
    if (now != NULL && memcmp(&now->policy, &copy->policy, sizeof copy->policy) == 0) {
        now->seq = seq;
        free(copy);
        return true;
    }
    copy->seq = seq;
    copy->next = now;
    at->policy = copy;
    return true;
}

const struct policy *attachment_policy(struct attachment *at)
{
    (void)refresh_policy(at);
    return &at->policy->policy;
}

static struct attachment *attachment_new(pglend *p, int sock, uint32_t worker, int segment_fd)
{
    struct segment segment = {0};
    struct attachment *at;

    if (segment_map(&segment, segment_fd) == -1) {
        (void)error_set(p, errno == EPROTO ? PGLEND_MISMATCH : PGLEND_SYSTEM,
                        "cannot map the shared memory of pool \"%s\": %s", p->name,
                        errno == EPROTO ? "another version of pglend made it: install matching versions"
                                        : strerror(errno));
        return NULL;
    }
    at = calloc(1, sizeof *at + segment.slots * sizeof(struct loan *));
    if (at != NULL)
        at->segment = segment;
    if (at == NULL || worker >= segment.borrowers || !refresh_policy(at)) {
        (void)error_set(p, PGLEND_SYSTEM, "cannot attach to pool \"%s\": %s", p->name,
                        at == NULL ? "out of memory" : "the supervisor's answer or segment is damaged");
        segment_unmap(&segment);
        free(at);
        return NULL;
    }
    at->pool = p;
    at->inode = inode_of(segment_fd);
    at->worker = worker;
    at->sock = sock;
    at->own = NO_SLOT;
    at->dialogue = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    at->heard = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
    at->greeted = true;
    return at;
}

static pglend_status greet(const pglend *p, int sock, uint64_t until, uint32_t *worker, int *segment_fd)
{
    bool silent;

    if (!say_hello(p, sock, NO_WORKER))
        return error_set(p, PGLEND_NO_SUPERVISOR, "cannot say hello to the supervisor in %s: %s", p->runtime_dir,
                         strerror(errno));
    return hear_welcome(p, sock, until, worker, segment_fd, &silent);
}

/* Attach for the first time, retrying where no supervisor is there, until UNTIL. */
static struct attachment *attach(pglend *p, uint64_t until)
{
    for (;;) {
        int sock = connect_supervisor(p), segment_fd = -1, error = errno;
        pglend_status status = PGLEND_NO_SUPERVISOR;
        uint32_t worker = 0;
        uint64_t pause;

        if (sock != -1) {
            struct attachment *at = NULL;

            status = greet(p, sock, until, &worker, &segment_fd);
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
            (void)error_set(p, error == EACCES ? PGLEND_DENIED : PGLEND_SYSTEM,
                            "cannot connect to %s/worker.sock: %s%s", p->runtime_dir, strerror(error),
                            error == EACCES ? "; run this as a user who may enter the directory" : "");
            return NULL;
        } else {
            (void)error_set(p, status, "no pglend supervisor answers at %s/worker.sock: %s; is pglendd running?",
                            p->runtime_dir, strerror(error));
        }
        pause = status == PGLEND_SHUTDOWN ? RETRY_LATER_NS : RETRY_NS;
        if (clock_ns() + pause >= until)
            return NULL;
        sleep_ns(pause);
    }
}

bool attachment_retired(const struct attachment *at)
{
    return at->gone || atomic_load_explicit(&at->segment.header->retired, memory_order_relaxed) != 0;
}

/* What is cached of a retired run: our copy of the descriptor may be the last one that keeps its backend alive. */
static void drop_cache(struct attachment *at)
{
    for (uint32_t i = 0; i < at->segment.slots; i++) {
        struct loan *loan;

        pool_lock(at->pool);
        loan = at->loan[i];
        if (loan != NULL && loan->state == LOAN_CACHED) {
            at->loan[i] = NULL;
            at->cached--;
        } else {
            loan = NULL;
        }
        pool_unlock(at->pool);
        if (loan != NULL)
            adopt_free(loan);
    }
}

/* Nobody needs it, and no handle has it any more. */
static void attachment_free(struct attachment *at)
{
    pglend *p = at->pool;

    pool_lock(p);
    for (struct attachment **link = &p->all; *link != NULL; link = &(*link)->next)
        if (*link == at) {
            *link = at->next;
            break;
        }
    pool_unlock(p);
    drop_cache(at);
    (void)close(at->sock);
    segment_unmap(&at->segment);
    while (at->policy != NULL) {
        struct policy_copy *next = at->policy->next;

        free(at->policy);
        at->policy = next;
    }
    call_forget_unsaid(at);
    free(at->spare);
    free(at);
}

void attachment_put(struct attachment *at)
{
    if (atomic_fetch_sub(&at->users, 1) == 1)
        attachment_free(at);
}

/* Under the lock: the current attachment with one more user, or NULL. *OLD: one the handle has let go of. */
static struct attachment *current(pglend *p, struct attachment **old, uint32_t *borrower)
{
    struct attachment *at = p->at;

    if (at == NULL)
        return NULL;
    if (attachment_retired(at)) {
        p->at = NULL;
        *old = at;
        return NULL;
    }
    (void)refresh_policy(at);
    at->users++;
    *borrower = at->spares > 0 ? at->spare[--at->spares] : NO_BORROWER;
    return at;
}

/* MINE was just made: current from now on, unless another thread was faster. */
static struct attachment *settle_on(pglend *p, struct attachment *mine, struct attachment **old, uint32_t *borrower)
{
    struct attachment *at;

    pool_lock(p);
    mine->users = 1;
    mine->next = p->all;
    p->all = mine;
    at = current(p, old, borrower);
    if (at == NULL) {
        p->at = at = mine;
        mine->users++;
    } else {
        *old = mine;
    }
    pool_unlock(p);
    return at;
}

struct attachment *attachment_get(pglend *p, uint64_t until, uint32_t *borrower)
{
    struct attachment *at, *mine, *old = NULL;

    *borrower = NO_BORROWER;
    pool_lock(p);
    at = current(p, &old, borrower);
    pool_unlock(p);
    if (old != NULL) {
        drop_cache(old);
        attachment_put(old);
        old = NULL;
    }
    if (at != NULL || (mine = attach(p, until)) == NULL)
        return at;
    at = settle_on(p, mine, &old, borrower);
    if (old != NULL)
        attachment_put(old);
    return at;
}

/* Say hello to a new supervisor in the name of AT. Never waits for one to come. */
static bool approach(struct attachment *at)
{
    int sock = connect_supervisor(at->pool);

    if (sock == -1)
        return false;
    /* Before it is where other threads send to: nothing may come before a hello. */
    at->greeting = say_hello(at->pool, sock, at->worker) && dup3(sock, at->sock, O_CLOEXEC) != -1;
    (void)close(sock);
    return at->greeting;
}

/*
 * Greet a new supervisor. Called with the dialogue locked. An answer that has not come UNTIL then is still waited for
 * at the next call: hanging up on a supervisor that has just answered would be this worker's end in its books, and its
 * leases' end. False: AT->unreached says why.
 */
static bool reconnect(struct attachment *at, uint64_t until)
{
    uint32_t worker = NO_WORKER;
    int segment_fd = -1;
    bool silent;

    if (!at->greeting && !approach(at)) {
        at->unreached = errno;
        return false;
    }
    errno = 0; /* a refusal sets none */
    if (hear_welcome(at->pool, at->sock, until, &worker, &segment_fd, &silent) != PGLEND_OK) {
        at->unreached = errno;
        if (!silent) {
            (void)dup3(adopt_dead_socket(), at->sock, O_CLOEXEC);
            at->greeting = false;
        }
        return false;
    }
    if (worker != at->worker || inode_of(segment_fd) != at->inode)
        at->gone = true;
    (void)close(segment_fd);
    at->greeting = false;
    at->unreached = 0;
    return !at->gone;
}

bool attachment_hear(const struct attachment *at, union wire_message *message, int *fd, uint64_t until)
{
    return receive(at->sock, message, fd, until, 0);
}

bool attachment_knock(struct attachment *at)
{
    return approach(at);
}

bool attachment_greet(struct attachment *at, uint64_t until)
{
    return reconnect(at, until);
}

/* An answer that was never read would hide the hang-up behind it from recv(). */
static bool is_connected(const struct attachment *at)
{
    struct pollfd pfd = {.fd = at->sock, .events = POLLRDHUP};

    return !at->greeting && poll(&pfd, 1, 0) != 1;
}

bool attachment_has_supervisor(struct attachment *at)
{
    bool ok = is_connected(at);

    if (ok || pthread_mutex_trylock(&at->dialogue) != 0)
        return ok;
    ok = is_connected(at) || reconnect(at, clock_ns() + GRACE_NS);
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
        if (!receive(at->sock, answer, fd, until, 0))
            return error_set(p, errno == EPROTO || errno == EMFILE ? PGLEND_SYSTEM : PGLEND_NO_SUPERVISOR,
                             errno == EPROTO || errno == EMFILE
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
    if (is_connected(at) || reconnect(at, until))
        status = ask(at, slot, borrower, until, &answer, fd);
    else
        status = explain_unreached(at, "");
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
