/* SPDX-License-Identifier: ISC */
/*
 * stand.c - a supervisor to be fuzzed, in the fuzzer's own process.
 *
 * supervisor_main() is the whole of it, loop and all, on its own thread: what its sockets are sent is handled by the code
 * that ships. The hard thing is that nothing may be waited for without bound: a supervisor that hangs must show as a
 * failure, not as a fuzzer that does nothing.
 */
#include "stand.h"
#include "pgwire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HANG_MS 10000

static const char config_text[] =
    "{\"runtime_dir\": \"/tmp\", \"log\": {\"level\": \"error\"}, \"pools\": {"
    "\"clinic\": {\"database\": {\"host\": \"/tmp\", \"dbname\": \"c\", \"user\": \"c\"},"
    " \"size\": {\"min\": 1, \"max\": 3, \"limit\": 4}, \"max_workers\": 8, \"keepalive\": \"1s\","
    " \"check_timeout\": \"100ms\", \"login\": {\"backoff_max\": \"10ms\"}},"
    "\"lab\": {\"database\": {\"host\": \"/tmp\", \"dbname\": \"l\", \"user\": \"l\"},"
    " \"size\": {\"min\": 0, \"max\": 2, \"limit\": 4}, \"max_workers\": 8}}}";
static const char facts[] = "server_version=15.1\nclient_encoding=UTF8\nserver_encoding=UTF8\nDateStyle=ISO, MDY\n"
                            "standard_conforming_strings=on\nTimeZone=a\\nb\\\\c\n.user=c\n.dbname=c\n.cancel=key\n";

static char directory[] = "/tmp/pglend-fuzz-XXXXXX";
static const char *const socket_name[LISTENERS] = {"worker.sock", "admin.sock", "door"};
static int keeper; /* the keeper's end of the supervisor's channel */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int session[2][STAND_SLOTS]; /* the server's end of each; -1: there is none */
static uint32_t generation[2][STAND_SLOTS];

_Noreturn void fuzz_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: does not hold: %s (errno: %s)\n", file, line, condition, strerror(errno));
    abort();
}

/* ---- input ---- */

const uint8_t *input_bytes(struct input *in, size_t length, size_t *got)
{
    const uint8_t *at = in->at;

    *got = length < in->left ? length : in->left;
    in->at += *got;
    in->left -= *got;
    return at;
}

static uint64_t number(struct input *in, size_t bytes)
{
    uint64_t value = 0;
    size_t got;
    const uint8_t *at = input_bytes(in, bytes, &got);

    for (size_t i = 0; i < got; i++)
        value = value << 8 | at[i];
    return value;
}

uint8_t input_byte(struct input *in)
{
    return (uint8_t)number(in, 1);
}

uint32_t input_word(struct input *in)
{
    return (uint32_t)number(in, 2);
}

uint64_t input_long(struct input *in)
{
    return number(in, 8);
}

/* ---- the keeper's part ---- */

static void tell(enum message_verb verb, const char *pool, uint32_t slot, uint32_t status, const char *text, int fd)
{
    struct message *m = calloc(1, sizeof *m);

    fuzz_require(m != NULL);
    message_make(m, verb, pool, slot, text);
    m->status = status;
    if (*pool != '\0' && slot < STAND_SLOTS) {
        m->generation = generation[strcmp(pool, STAND_POOL) != 0][slot];
        m->backend_pid = 1000 + (int32_t)slot;
        m->stamp = clock_ns();
    }
    fuzz_require(channel_send_blocking(keeper, m, fd) == 0);
    free(m);
    if (fd != -1)
        (void)close(fd);
}

static int new_segment(const char *pool)
{
    int fd = segment_create(NULL, pool, STAND_SLOTS, STAND_BORROWERS, 0);

    fuzz_require(fd != -1);
    return fd;
}

static void forget(const char *pool, uint32_t slot)
{
    int *fd = &session[strcmp(pool, STAND_POOL) != 0][slot];

    (void)pthread_mutex_lock(&lock);
    if (*fd != -1)
        (void)close(*fd);
    *fd = -1;
    (void)pthread_mutex_unlock(&lock);
}

static void log_in(const char *pool, uint32_t slot)
{
    int pair[2], which = strcmp(pool, STAND_POOL) != 0;

    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    forget(pool, slot);
    (void)pthread_mutex_lock(&lock);
    session[which][slot] = pair[1];
    (void)pthread_mutex_unlock(&lock);
    generation[which][slot]++;
    tell(MESSAGE_BACKEND, pool, slot, BACKEND_PLAIN, facts, pair[0]);
}

static void answer(const struct message *m)
{
    if (m->slot >= STAND_SLOTS)
        return;
    switch ((enum message_verb)m->verb) {
    case MESSAGE_LOGIN:
    case MESSAGE_REPLACE:
        log_in(m->pool, m->slot);
        break;
    case MESSAGE_CANCEL:
        tell(MESSAGE_CANCELLED, m->pool, m->slot, CANCEL_DONE, NULL, -1);
        break;
    case MESSAGE_FORGET:
        forget(m->pool, m->slot);
        break;
    case MESSAGE_NEW_SEGMENT:
        tell(MESSAGE_SEGMENT, m->pool, m->slot, 0, NULL, new_segment(m->pool));
        break;
    case MESSAGE_RELOAD:
        tell(MESSAGE_RELOADED, "", 0, 1, "not now", -1);
        break;
    case MESSAGE_LOOK:
        tell(MESSAGE_LOOKED, m->pool, m->slot, LOOK_FAILED, "nobody knows", -1);
        break;
    default:
        break;
    }
}

static void *keep(void *unused)
{
    static struct message m;
    int fd;

    while (channel_receive_blocking(keeper, &m, &fd) == 0)
        answer(&m);
    return unused;
}

/* ---- start ---- */

static int listening_socket(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", directory, name);
    fuzz_require(bind(sock, (struct sockaddr *)&address, sizeof address) == 0 && listen(sock, 128) == 0);
    return sock;
}

static void *supervise(void *unused)
{
    (void)supervisor_main();
    fuzz_failed("the supervisor goes on", __FILE__, __LINE__);
    return unused;
}

static void remove_directory(void)
{
    char path[64];

    for (int i = 0; i < LISTENERS; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, socket_name[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
}

static void await_serving(void)
{
    static struct message m;
    int fd;

    do
        fuzz_require(channel_receive_blocking(keeper, &m, &fd) == 0);
    while (m.verb != MESSAGE_SERVING && (answer(&m), true));
}

void stand_start(void)
{
    int pair[2], config;
    pthread_t thread;

    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < 2 * STAND_SLOTS; i++)
        session[i / STAND_SLOTS][i % STAND_SLOTS] = -1;
    fuzz_require(mkdtemp(directory) != NULL && atexit(remove_directory) == 0);
    /* Its number is taken first: whatever had it, a fuzzer has no use for it. */
    fuzz_require(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    keeper = fcntl(pair[0], F_DUPFD_CLOEXEC, CHANNEL_FD + 1);
    fuzz_require(keeper != -1 && dup2(pair[1], CHANNEL_FD) == CHANNEL_FD);
    fuzz_require((config = memfd_create("config", MFD_CLOEXEC)) != -1);
    fuzz_require(write(config, config_text, strlen(config_text)) == (ssize_t)strlen(config_text));
    tell(MESSAGE_CONFIG, "", 0, 0, NULL, config);
    tell(MESSAGE_LISTENER, "", LISTENER_WORKER, 0, NULL, listening_socket("worker.sock", SOCK_SEQPACKET));
    tell(MESSAGE_LISTENER, "", LISTENER_ADMIN, 0, NULL, listening_socket("admin.sock", SOCK_STREAM));
    tell(MESSAGE_LISTENER, "", LISTENER_DOOR, 0, NULL, listening_socket("door", SOCK_STREAM));
    tell(MESSAGE_SEGMENT, STAND_POOL, 0, 0, NULL, new_segment(STAND_POOL));
    tell(MESSAGE_SEGMENT, "lab", 0, 0, NULL, new_segment("lab"));
    tell(MESSAGE_SERVE, "", 0, 0, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", -1);
    fuzz_require(pthread_create(&thread, NULL, supervise, NULL) == 0);
    await_serving();
    fuzz_require(pthread_create(&thread, NULL, keep, NULL) == 0);
    (void)prctl(PR_SET_DUMPABLE, 1); /* so that a sanitizer can look at it */
}

/* ---- peers ---- */

int stand_connect(enum listener which)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval bound = {.tv_sec = HANG_MS / 1000};
    int sock = socket(AF_UNIX, (which == LISTENER_WORKER ? SOCK_SEQPACKET : SOCK_STREAM) | SOCK_CLOEXEC, 0);

    fuzz_require(sock != -1);
    (void)setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    (void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", directory, socket_name[which]);
    fuzz_require(connect(sock, (struct sockaddr *)&address, sizeof address) == 0);
    return sock;
}

void stand_finish(int sock, unsigned ms)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    uint64_t until = clock_ns() + (uint64_t)ms * 1000000;
    static char taken[65536];

    (void)shutdown(sock, SHUT_WR);
    while (clock_ns() < until && poll(&wait, 1, (int)ms) == 1 && recv(sock, taken, sizeof taken, 0) > 0)
        continue;
    (void)close(sock);
}

void stand_serve(uint32_t slot, const void *bytes, size_t length)
{
    (void)pthread_mutex_lock(&lock);
    if (slot < STAND_SLOTS && session[0][slot] != -1)
        (void)send(session[0][slot], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)pthread_mutex_unlock(&lock);
}

bool stand_greet(int sock, uint32_t *worker, struct segment *segment)
{
    union wire_message m = {.hello = {.pool = STAND_POOL, .worker = NO_WORKER}};
    bool mapped;
    int fd;

    fuzz_require(wire_send(sock, WIRE_HELLO, &m, -1, 0) == 0);
    if (wire_receive_packet(sock, &m, sizeof m, &fd, 0) <= 0 || fd == -1)
        return false;
    *worker = m.welcome.worker;
    mapped = segment_map(segment, fd) == 0;
    (void)close(fd);
    return mapped;
}
