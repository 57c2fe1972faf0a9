/* SPDX-License-Identifier: ISC */
/*
 * cancel.c - send CancelRequests, one after the other, each to where a backend's socket leads.
 *
 * The server answers nothing; it closes the connection when it has passed the request on. Only then is it known that
 * a later query cannot be hit by it, so the end is waited for, but not for ever. Where the session is encrypted, so is
 * the request.
 */
#include "login.h"
#include "pgwire.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CANCEL_BOUND_MS 2000 /* to connect, and until the server has closed the connection */
#define CANCEL_HEAD     12   /* length, code and process id, before the key */

static int64_t now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Bytes of the job's KEY, which is hexadecimal; 0 if it is not, or does not fit. */
static size_t job_bytes(const struct job *job, const char *key, unsigned char *bytes, size_t size)
{
    const char *hex = json_string_value(json_object_get(job->json, key));

    return hex == NULL ? 0 : trace_hex(hex, strlen(hex), bytes, size);
}

static void put32(unsigned char *to, uint32_t number)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(number >> (24 - 8 * i));
}

int cancel_wait(int sock, short events, int64_t until)
{
    struct pollfd p = {.fd = sock, .events = events};
    int64_t left = until - now_ms();
    int ready = left <= 0 ? 0 : poll(&p, 1, (int)left);

    if (ready == 0)
        errno = ETIMEDOUT;
    return ready == 1 ? 0 : -1;
}

static int connect_within(int sock, const struct sockaddr_storage *peer, socklen_t length, int64_t until)
{
    int error = 0;
    socklen_t size = sizeof error;

    if (connect(sock, (const struct sockaddr *)peer, length) == 0)
        return 0;
    /* EAGAIN: a Unix socket's backlog is full, and nothing tells when it is not; the caller's caller tries again. */
    if (errno != EINPROGRESS || cancel_wait(sock, POLLOUT, until) == -1 ||
        getsockopt(sock, SOL_SOCKET, SO_ERROR, &error, &size) == -1)
        return -1;
    errno = error;
    return error == 0 ? 0 : -1;
}

static int read_to_end(int sock, int64_t until)
{
    char ignored[64];
    ssize_t got;

    do {
        if (cancel_wait(sock, POLLIN, until) == -1)
            return -1;
        got = read(sock, ignored, sizeof ignored);
    } while (got > 0 || (got == -1 && (errno == EAGAIN || errno == EINTR)));
    /* A reset is an end too. */
    return got == 0 || errno == ECONNRESET ? 0 : -1;
}

static enum cancel_status send_plain(int sock, const unsigned char *request, size_t size, char *why, size_t why_size)
{
    /* So few bytes fit into an empty socket, or the connection is broken. */
    if (send(sock, request, size, MSG_NOSIGNAL) == (ssize_t)size)
        return CANCEL_DONE;
    (void)snprintf(why, why_size, "%s", strerror(errno));
    return CANCEL_NOT_SENT;
}

static enum cancel_status send_request(const struct sockaddr_storage *peer, socklen_t length, const json_t *tls,
                                       const unsigned char *request, size_t size, char *why, size_t why_size)
{
    int64_t until = now_ms() + CANCEL_BOUND_MS;
    int sock = socket(peer->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    enum cancel_status status = CANCEL_NOT_SENT;

    if (sock == -1 || connect_within(sock, peer, length, until) == -1)
        (void)snprintf(why, why_size, "%s", strerror(errno));
    else if (tls != NULL)
        status = cancel_tls(sock, tls, request, size, until, why, why_size);
    else
        status = send_plain(sock, request, size, why, why_size);
    /* What TLS still has to say does not matter: the end is the connection's. */
    if (status == CANCEL_DONE && read_to_end(sock, until) == -1) {
        (void)snprintf(why, why_size, "the server does not end the connection: %s", strerror(errno));
        status = CANCEL_LOST;
    }
    if (sock != -1)
        (void)close(sock);
    return status;
}

static enum cancel_status cancel(const struct job *job, char *why, size_t size)
{
    unsigned char request[CANCEL_HEAD + TRACE_KEY_MAX / 2];
    struct sockaddr_storage peer = {0};
    size_t address = job_bytes(job, "peer", (unsigned char *)&peer, sizeof peer);
    size_t key = job_bytes(job, "key", request + CANCEL_HEAD, sizeof request - CANCEL_HEAD);

    if (address == 0 || key == 0) {
        (void)snprintf(why, size, "the job has no address or no key");
        return CANCEL_NOT_SENT;
    }
    put32(request, (uint32_t)(CANCEL_HEAD + key));
    put32(request + 4, PG_CODE_CANCEL);
    put32(request + 8, (uint32_t)json_integer_value(json_object_get(job->json, "pid")));
    return send_request(&peer, (socklen_t)address, json_object_get(job->json, "tls"), request, CANCEL_HEAD + key, why,
                        size);
}

int cancel_main(void)
{
    static struct message answer;
    enum cancel_status status;
    struct job job;
    char why[512], text[600];

    job_take("cancel", &job);
    job_settle(&job, SANDBOX_SESSION);
    (void)signal(SIGPIPE, SIG_IGN);
    for (;;) {
        *why = '\0';
        status = cancel(&job, why, sizeof why);
        (void)snprintf(text, sizeof text, "cancel request: %s", why);
        message_make(&answer, MESSAGE_CANCELLED, job.name, 0, status == CANCEL_DONE ? NULL : text);
        answer.status = status;
        if (channel_send_blocking(CHANNEL_FD, &answer, -1) == -1)
            return 1;
        job_take_another("cancel", &job);
    }
}
