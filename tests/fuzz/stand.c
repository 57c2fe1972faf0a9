/* SPDX-License-Identifier: ISC */
/*
 * stand.c - a supervisor to be fuzzed, in the fuzzer's own process.
 *
 * supervisor_main() is the whole of it, loop and all, on its own thread: what its sockets are sent is handled by the
 * code that ships. The hard thing is that nothing may be waited for without bound: a supervisor that hangs must show as
 * a failure, not as a fuzzer that does nothing.
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
    " \"size\": {\"min\": 0, \"max\": 2, \"limit\": 4}, \"max_workers\": 8},"
    "\"ward\": {\"database\": {\"host\": \"/tmp\", \"dbname\": \"w\", \"user\": \"w\"}, \"isolation\": \"strict\","
    " \"size\": {\"min\": 2, \"max\": 3, \"limit\": 4}, \"max_workers\": 8, \"check_timeout\": \"100ms\","
    " \"login\": {\"backoff_max\": \"10ms\"}}}}";
static const char facts[] = "server_version=15.1\nclient_encoding=UTF8\nserver_encoding=UTF8\nDateStyle=ISO, MDY\n"
                            "standard_conforming_strings=on\nTimeZone=a\\nb\\\\c\n.user=c\n.dbname=c\n.cancel=key\n";

#define RELAYED ".tls=TLSv1.3\n"

static char directory[] = "/tmp/pglend-fuzz-XXXXXX";
static const char *const socket_name[LISTENERS] = {"worker.sock", "admin.sock", "door"};
static int keeper; /* the keeper's end of the supervisor's channel */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *const pool_name[STAND_POOLS] = {"clinic", "lab", "ward"};
static int session[STAND_POOLS][STAND_SLOTS]; /* the server's end of each; -1: there is none */
static uint32_t generation[STAND_POOLS][STAND_SLOTS];

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

static enum stand_pool pool_of(const char *name)
{
    unsigned pool = STAND_POOLS - 1;

    while (pool > 0 && strcmp(name, pool_name[pool]) != 0)
        pool--;
    return (enum stand_pool)pool;
}

static void tell(enum message_verb verb, const char *pool, uint32_t slot, uint32_t status, const char *text, int fd)
{
    struct message *m = calloc(1, sizeof *m);

    fuzz_require(m != NULL);
    message_make(m, verb, pool, slot, text);
    m->status = status;
    if (*pool != '\0' && slot < STAND_SLOTS) {
        m->generation = generation[pool_of(pool)][slot];
        m->backend_pid = 1000 + (int32_t)slot;
        m->stamp = clock_ns();
    }
    fuzz_require(channel_send_blocking(keeper, m, fd) == 0);
    free(m);
    if (fd != -1)
        (void)close(fd);
}

static void give_segment(const char *pool)
{
    int fd = segment_create(NULL, pool, STAND_SLOTS, STAND_BORROWERS, 0);

    fuzz_require(fd != -1);
    if (pool_of(pool) == STAND_WARD)
        tell(MESSAGE_SEGMENT_READER, pool, 0, 0, NULL, segment_reader(fd));
    tell(MESSAGE_SEGMENT, pool, 0, 0, NULL, fd);
}

static void forget(const char *pool, uint32_t slot)
{
    int *fd = &session[pool_of(pool)][slot];

    (void)pthread_mutex_lock(&lock);
    if (*fd != -1)
        (void)close(*fd);
    *fd = -1;
    (void)pthread_mutex_unlock(&lock);
}

static void log_in(const char *pool, uint32_t slot)
{
    bool relayed = pool_of(pool) == STAND_WARD && slot % 2 != 0;
    enum stand_pool which = pool_of(pool);
    char text[sizeof facts + sizeof RELAYED];
    int pair[2];

    fuzz_require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    forget(pool, slot);
    (void)pthread_mutex_lock(&lock);
    session[which][slot] = pair[1];
    (void)pthread_mutex_unlock(&lock);
    generation[which][slot]++;
    (void)snprintf(text, sizeof text, "%s%s", facts, relayed ? RELAYED : "");
    tell(MESSAGE_BACKEND, pool, slot, relayed ? BACKEND_RELAYED : BACKEND_PLAIN, text, pair[0]);
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
        give_segment(m->pool);
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
    for (int i = 0; i < STAND_POOLS * STAND_SLOTS; i++)
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
    for (int i = 0; i < STAND_POOLS; i++)
        give_segment(pool_name[i]);
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

void stand_serve(enum stand_pool pool, uint32_t slot, const void *bytes, size_t length)
{
    (void)pthread_mutex_lock(&lock);
    if (slot < STAND_SLOTS && session[pool][slot] != -1)
        (void)send(session[pool][slot], bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)pthread_mutex_unlock(&lock);
}

static void add_row(struct pg_buffer *out, const char *value, size_t length)
{
    size_t begun = pg_begin(out, 'T');

    pg_bytes(out, "\0\1?\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0", 22);
    pg_end(out, begun);
    begun = pg_begin(out, 'D');
    pg_bytes(out, "\0\1", 2);
    pg_int32(out, (uint32_t)length);
    pg_bytes(out, value, length);
    pg_end(out, begun);
}

/* To a message of TYPE; of its body, where that is a query for a constant, the constant. */
static void add_answer(struct pg_buffer *out, char type, const char *body, size_t length)
{
    static const char constant[] = "SELECT '";
    const char *end =
        length > sizeof constant ? memchr(body + sizeof constant - 1, '\'', length - sizeof constant) : NULL;
    bool row = end != NULL && strncmp(body, constant, sizeof constant - 1) == 0;
    size_t begun;

    if (type == 'Q' && row)
        add_row(out, body + sizeof constant - 1, (size_t)(end - body) - (sizeof constant - 1));
    if (type == 'Q') {
        begun = pg_begin(out, 'C');
        pg_string(out, row ? "SELECT 1" : strncmp(body, "DISCARD", 7) == 0 ? "DISCARD ALL" : "ROLLBACK");
        pg_end(out, begun);
    }
    if (type == 'Q' || type == 'S') {
        begun = pg_begin(out, 'Z');
        pg_bytes(out, "I", 1);
        pg_end(out, begun);
    }
}

void stand_answer(enum stand_pool pool, uint32_t slot)
{
    static char asked[8192];
    static unsigned char bytes[8192];
    struct pg_buffer out = {.at = bytes, .size = sizeof bytes};
    ssize_t got = -1;

    (void)pthread_mutex_lock(&lock);
    if (slot < STAND_SLOTS && session[pool][slot] != -1)
        got = recv(session[pool][slot], asked, sizeof asked - 1, MSG_DONTWAIT);
    (void)pthread_mutex_unlock(&lock);
    if (got <= 0)
        return;
    asked[got] = '\0';
    for (size_t at = 0; at + 5 <= (size_t)got;) {
        size_t length = pg_get_int32((const unsigned char *)asked + at + 1);

        /* What comes with a descriptor stands for nothing. */
        if (asked[at] == '\0') {
            at++;
            continue;
        }
        if (length < 4 || length > (size_t)got - at - 1)
            break;
        add_answer(&out, asked[at], asked + at + 5, length - 4);
        at += length + 1;
    }
    if (!out.overflow)
        stand_serve(pool, slot, bytes, out.length);
}

bool stand_greet(int sock, enum stand_pool pool, uint32_t *worker, struct segment *segment)
{
    union wire_message m = {.hello = {.worker = NO_WORKER}};
    bool mapped;
    int fd;

    (void)snprintf(m.hello.pool, sizeof m.hello.pool, "%s", pool_name[pool]);
    fuzz_require(wire_send(sock, WIRE_HELLO, &m, -1, 0) == 0);
    if (wire_receive_packet(sock, &m, sizeof m, &fd, 0) <= 0 || fd == -1)
        return false;
    *worker = m.welcome.worker;
    mapped = segment_map(segment, fd) == 0;
    (void)close(fd);
    return mapped;
}
