/* SPDX-License-Identifier: ISC */
/*
 * cli_send.c - one request to the supervisor, one answer.
 *
 * The socket never blocks: connecting, sending and receiving share one deadline, so that a supervisor which hangs
 * costs the caller its timeout and no more.
 */
#include "cli.h"
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX     (64U << 20)
#define END_NAP_MS     50
#define CONNECT_NAP_MS 20 /* between tries while the supervisor's backlog is full */

static const struct {
    const char *code;
    enum cli_exit exit;
} error_exits[] = {
    {ADMIN_BAD_REQUEST, CLI_USAGE},
    {ADMIN_DENIED, CLI_DENIED},
    {ADMIN_TIMED_OUT, CLI_TIMED_OUT},
};

int64_t cli_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int cli_left_ms(int64_t deadline)
{
    int64_t left = deadline - cli_now_ms();

    return left > 0 ? (int)left : 0;
}

static enum cli_exit refuse(char message[CLI_MESSAGE_MAX], const char *path, int error)
{
    switch (error) {
    case ENOENT:
    case ENOTDIR:
    case ECONNREFUSED:
        snprintf(message, CLI_MESSAGE_MAX,
                 "no supervisor answers at %s (%s); is pglendd running, and is this its runtime_dir? "
                 "(--runtime-dir, PGLEND_RUNTIME_DIR)",
                 path, strerror(error));
        return CLI_NO_SUPERVISOR;
    case EACCES:
    case EPERM:
        snprintf(message, CLI_MESSAGE_MAX, "may not connect to %s (%s); run this as a user who may enter the directory",
                 path, strerror(error));
        return CLI_DENIED;
    case ETIMEDOUT:
        snprintf(message, CLI_MESSAGE_MAX, "the supervisor at %s did not take the connection in time", path);
        return CLI_TIMED_OUT;
    default:
        snprintf(message, CLI_MESSAGE_MAX, "cannot connect to %s: %s", path, strerror(error));
        return CLI_FAILED;
    }
}

static enum cli_exit connect_admin(const char *path, int64_t deadline, int *sock, char message[CLI_MESSAGE_MAX])
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error;

    if (strlen(path) >= sizeof(address.sun_path)) {
        snprintf(message, CLI_MESSAGE_MAX, "%s is longer than a socket's path can be (%zu bytes)", path,
                 sizeof(address.sun_path) - 1);
        return CLI_USAGE;
    }
    memcpy(address.sun_path, path, strlen(path));
    *sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*sock < 0)
        return refuse(message, path, errno);
    while (connect(*sock, (struct sockaddr *)&address, sizeof(address)) != 0) {
        error = errno;
        if (error == EINTR)
            continue;
        if (error == EAGAIN && cli_left_ms(deadline) > 0) {
            poll(NULL, 0, CONNECT_NAP_MS);
            continue;
        }
        close(*sock);
        *sock = -1;
        return refuse(message, path, error == EAGAIN ? ETIMEDOUT : error);
    }
    return CLI_OK;
}

/* Wait for EVENTS. False with errno when there is no more time or the wait failed. */
static bool await(int sock, short events, int64_t deadline)
{
    struct pollfd wait = {.fd = sock, .events = events};

    for (;;) {
        int ready = poll(&wait, 1, cli_left_ms(deadline));

        if (ready > 0)
            return true;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            errno = ETIMEDOUT;
        return false;
    }
}

static int send_all(int sock, const char *bytes, size_t length, int64_t deadline)
{
    while (length > 0) {
        ssize_t sent = send(sock, bytes, length, MSG_NOSIGNAL);

        if (sent >= 0) {
            bytes += sent;
            length -= (size_t)sent;
        } else if (errno == EAGAIN) {
            if (!await(sock, POLLOUT, deadline))
                return -1;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return 0;
}

/* One line, without its newline, to be freed. NULL with errno: EPIPE is the supervisor gone, EMSGSIZE no end in sight.
 */
static char *receive_line(int sock, int64_t deadline, size_t *length)
{
    size_t size = 16384, have = 0;
    char *line = malloc(size);

    while (line != NULL) {
        ssize_t got = recv(sock, line + have, size - have, 0);
        char *end = got > 0 ? memchr(line + have, '\n', (size_t)got) : NULL;

        if (end != NULL) {
            *length = (size_t)(end - line);
            return line;
        }
        if (got == 0) {
            errno = EPIPE;
            break;
        }
        if (got < 0 && errno == EAGAIN && await(sock, POLLIN, deadline))
            continue;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        have += (size_t)got;
        if (have == size) {
            char *larger = size < ANSWER_MAX ? realloc(line, size * 2) : NULL;

            if (larger == NULL) {
                errno = size < ANSWER_MAX ? ENOMEM : EMSGSIZE;
                break;
            }
            line = larger;
            size *= 2;
        }
    }
    free(line);
    return NULL;
}

static enum cli_exit failed_exchange(const struct cli *cli, char message[CLI_MESSAGE_MAX], const char *command)
{
    switch (errno) {
    case ETIMEDOUT:
        snprintf(message, CLI_MESSAGE_MAX, "%s: no answer within %d ms; wait longer with --timeout SECONDS", command,
                 cli->timeout_ms);
        return CLI_TIMED_OUT;
    case EPIPE:
    case ECONNRESET:
        snprintf(message, CLI_MESSAGE_MAX, "%s: the supervisor closed the connection without an answer", command);
        return CLI_NO_SUPERVISOR;
    default:
        snprintf(message, CLI_MESSAGE_MAX, "%s: no answer from the supervisor: %s", command, strerror(errno));
        return CLI_FAILED;
    }
}

/* Take the answer in LINE apart. */
static enum cli_exit read_answer(const char *line, size_t length, json_t **result, char message[CLI_MESSAGE_MAX])
{
    json_error_t error;
    json_t *answer = json_loadb(line, length, 0, &error);
    json_t *failure = json_object_get(answer, "error");
    const char *code = json_string_value(json_object_get(failure, "code"));
    const char *text = json_string_value(json_object_get(failure, "message"));
    enum cli_exit exit_code = CLI_FAILED;

    *result = NULL;
    if (json_is_true(json_object_get(answer, "ok"))) {
        *result = json_incref(json_object_get(answer, "result"));
        if (*result != NULL)
            exit_code = CLI_OK;
    }
    if (*result == NULL && (code == NULL || text == NULL)) {
        snprintf(message, CLI_MESSAGE_MAX, "the answer is not one of this protocol (%s): %.*s",
                 answer == NULL ? error.text : "no result and no error", (int)(length < 60 ? length : 60), line);
    } else if (*result == NULL) {
        snprintf(message, CLI_MESSAGE_MAX, "%s", text);
        for (size_t i = 0; i < sizeof(error_exits) / sizeof(error_exits[0]); i++)
            if (strcmp(code, error_exits[i].code) == 0)
                exit_code = error_exits[i].exit;
    }
    json_decref(answer);
    return exit_code;
}

/* The request as a line with its newline; to be freed. */
static char *make_line(const char *command, json_t *args)
{
    json_t *request = json_pack("{s:i, s:s, s:O*}", "id", 1, "command", command, "args", args);
    char *text = request == NULL ? NULL : json_dumps(request, JSON_COMPACT);
    char *line = NULL;

    if (text != NULL && asprintf(&line, "%s\n", text) < 0)
        line = NULL;
    free(text);
    json_decref(request);
    return line;
}

enum cli_exit cli_request(const struct cli *cli, const char *command, json_t *args, json_t **result,
                          char message[CLI_MESSAGE_MAX])
{
    int64_t deadline = cli_now_ms() + cli->timeout_ms;
    enum cli_exit exit_code = CLI_FAILED;
    char *path = NULL, *request = NULL, *answer = NULL;
    size_t length = 0;
    int sock = -1;

    *result = NULL;
    request = make_line(command, args);
    if (request == NULL || asprintf(&path, "%s/admin.sock", cli->runtime_dir) < 0) {
        path = NULL;
        snprintf(message, CLI_MESSAGE_MAX, "%s: out of memory, or an argument is not UTF-8", command);
        goto out;
    }
    exit_code = connect_admin(path, deadline, &sock, message);
    if (exit_code != CLI_OK)
        goto out;
    if (send_all(sock, request, strlen(request), deadline) == 0)
        answer = receive_line(sock, deadline, &length);
    exit_code = answer == NULL ? failed_exchange(cli, message, command) : read_answer(answer, length, result, message);
out:
    if (sock >= 0)
        close(sock);
    free(path);
    free(request);
    free(answer);
    return exit_code;
}

/* The keeper holds the listening socket until its end, also while there is no supervisor to answer on it. */
enum cli_exit cli_await_end(const struct cli *cli, char message[CLI_MESSAGE_MAX])
{
    int64_t wait_ms = cli->timeout_given ? cli->timeout_ms : CLI_TIMEOUT_MAX_S * 1000LL;
    int64_t deadline = cli_now_ms() + wait_ms;
    enum cli_exit listening = CLI_OK;
    char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];

    (void)snprintf(path, sizeof(path), "%s/admin.sock", cli->runtime_dir); /* it fitted the request */
    for (;;) {
        int sock = -1;

        listening = connect_admin(path, cli_now_ms(), &sock, message);
        if (sock >= 0)
            close(sock);
        if (listening == CLI_NO_SUPERVISOR)
            return CLI_OK;
        if (cli_left_ms(deadline) == 0)
            break;
        poll(NULL, 0, END_NAP_MS);
    }
    snprintf(message, CLI_MESSAGE_MAX,
             "shutdown: accepted, but pglendd still runs after %" PRId64
             " ms; `pglend slots` shows the leases it waits for, "
             "`pglend shutdown --fast` takes them back",
             wait_ms);
    return CLI_TIMED_OUT;
}
