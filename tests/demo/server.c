/* SPDX-License-Identifier: ISC */
/*
 * server.c - a pre-forking HTTP server whose workers borrow their database connections.
 *
 * The parent opens the pool before fork(), which does no I/O; each worker attaches at its first request. A worker
 * serves one client at a time and is started anew when it dies. The hard thing is to end in bounded time while workers
 * block in accept(), recv() or a query: the parent repeats SIGTERM, then kills.
 *
 * Usage: server [-w WORKERS] [-p PORT] [-r RUNTIME_DIR] POOL
 */
#include "board.h"
#include "clinic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WORKERS_MAX  1000
#define IDLE_SECONDS 5

struct server {
    size_t workers;
    uint16_t port;
    const char *runtime_dir;
    int listener;
    pglend *pool;
    sigset_t signals; /* blocked in the parent, which waits for them */
};

static volatile sig_atomic_t stopping;

static void stop(int number)
{
    (void)number;
    stopping = 1;
}

static void serve(const struct server *s, int client, size_t index)
{
    static struct http h;
    struct timeval idle = {.tv_sec = IDLE_SECONDS};
    struct http_request request;
    int status;

    h.fd = client;
    h.have = h.consumed = 0;
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle);
    setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle);
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    while (!stopping) {
        status = http_read(&h, &request);
        if (status == 1)
            break;
        if (status != 0) {
            http_send(&h, &(struct http_reply){.status = status, .type = "text/plain", .body = ""}, false);
            break;
        }
        if (!clinic_answer(&h, &request, s->pool, index))
            break;
    }
}

static _Noreturn void worker(const struct server *s, size_t index, pid_t parent)
{
    struct sigaction action = {.sa_handler = stop};

    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigprocmask(SIG_UNBLOCK, &s->signals, NULL);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    while (!stopping && getppid() == parent) {
        int client = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);

        if (client >= 0) {
            serve(s, client, index);
            close(client);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
        }
    }
    pglend_close(s->pool);
    exit(0);
}

static int start_worker(const struct server *s, size_t index)
{
    pid_t parent = getpid();
    pid_t pid = fork();

    if (pid == 0)
        worker(s, index, parent);
    if (pid < 0) {
        fprintf(stderr, "server: fork: %s\n", strerror(errno));
        return -1;
    }
    board_seat(index, pid);
    return 0;
}

/* Take note of every worker that has ended. Returns how many. */
static size_t reap(const struct server *s)
{
    size_t dead = 0;
    pid_t pid;

    while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
        for (size_t i = 0; i < s->workers; i++)
            if (board_pid(i) == pid) {
                board_seat(i, 0);
                dead++;
            }
    return dead;
}

/* Keep all workers running until a signal says to stop. */
static void supervise(const struct server *s)
{
    /* At most one round of restarts in this time, however fast workers die. */
    static const struct timespec pause = {.tv_nsec = 20000000};
    int number = 0;

    while (number != SIGTERM && number != SIGINT) {
        bool missing = false;

        reap(s);
        for (size_t i = 0; i < s->workers; i++)
            if (board_pid(i) == 0)
                missing |= start_worker(s, i) != 0;
        nanosleep(&pause, NULL);
        number =
            missing ? sigtimedwait(&s->signals, NULL, &(struct timespec){.tv_sec = 1}) : sigwaitinfo(&s->signals, NULL);
    }
}

/* End all workers: ask for two seconds, then kill. */
static void end_workers(const struct server *s)
{
    size_t left = s->workers;

    for (int round = 0; round < 25 && left > 0; round++) {
        left = 0;
        for (size_t i = 0; i < s->workers; i++)
            if (board_pid(i) > 0) {
                kill(board_pid(i), round < 20 ? SIGTERM : SIGKILL);
                left++;
            }
        nanosleep(&(struct timespec){.tv_nsec = round == 0 ? 20000000 : 100000000}, NULL);
        reap(s);
    }
}

static int listen_on(struct server *s)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(s->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;

    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) != 0 ||
        bind(s->listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(s->listener, 511) != 0 ||
        getsockname(s->listener, (struct sockaddr *)&address, &length) != 0) {
        fprintf(stderr, "server: cannot listen on 127.0.0.1:%u: %s\n", s->port, strerror(errno));
        return -1;
    }
    s->port = ntohs(address.sin_port);
    return 0;
}

static int usage(void)
{
    fprintf(stderr, "usage: server [-w WORKERS] [-p PORT] [-r RUNTIME_DIR] POOL\n");
    return 2;
}

static int parse_options(struct server *s, int argc, char **argv)
{
    int option;

    while ((option = getopt(argc, argv, "w:p:r:")) != -1)
        switch (option) {
        case 'w':
            s->workers = strtoul(optarg, NULL, 10);
            break;
        case 'p':
            s->port = (uint16_t)strtoul(optarg, NULL, 10);
            break;
        case 'r':
            s->runtime_dir = optarg;
            break;
        default:
            return -1;
        }
    return optind + 1 == argc && s->workers >= 1 && s->workers <= WORKERS_MAX ? 0 : -1;
}

int main(int argc, char **argv)
{
    struct server s = {.workers = 32};

    if (parse_options(&s, argc, argv) != 0)
        return usage();
    if (listen_on(&s) != 0)
        return 1;
    s.pool = pglend_open(s.runtime_dir, argv[optind]);
    if (s.pool == NULL || board_open(s.workers) != 0) {
        fprintf(stderr, "server: %s\n", strerror(errno));
        return 1;
    }
    sigemptyset(&s.signals);
    sigaddset(&s.signals, SIGCHLD);
    sigaddset(&s.signals, SIGTERM);
    sigaddset(&s.signals, SIGINT);
    sigprocmask(SIG_BLOCK, &s.signals, NULL);
    printf("http://127.0.0.1:%u/\n", s.port);
    fflush(stdout);
    supervise(&s);
    end_workers(&s);
    pglend_close(s.pool);
    return 0;
}
