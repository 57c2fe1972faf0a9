/* SPDX-License-Identifier: ISC */
/*
 * export_http.c - GET /metrics, by libmicrohttpd.
 *
 * The hard thing: anybody who reaches the port may be slow, huge or many. One thread serves all, so that a crowd costs
 * no more than one processor; connections, their memory and their silence are bounded; and however many ask, the
 * supervisor is asked once a second at most.
 */
#include "cli.h"
#include "export.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS_MAX   64
#define CONNECTION_MEMORY 16384
#define SILENCE_S         5
#define KEEP_MS           1000 /* an answer serves all who ask within this time */

struct export_server {
    struct MHD_Daemon *daemon;
    char *(*text)(void *context);
    void *context;
    char *last; /* what TEXT gave */
    int64_t asked;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, char *text,
                              enum MHD_ResponseMemoryMode memory)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), text, memory);
    enum MHD_Result sent;

    if (response == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    sent = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return sent;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8",
                  (char *)(uintptr_t)text, /* NOLINT(performance-no-int-to-ptr): it only reads */
                  MHD_RESPMEM_PERSISTENT);
}

static const char *newest(struct export_server *s)
{
    int64_t now = cli_now_ms();

    if (s->last == NULL || now - s->asked >= KEEP_MS) {
        free(s->last);
        s->last = s->text(s->context);
        s->asked = cli_now_ms();
    }
    return s->last;
}

/* NOLINTBEGIN(readability-non-const-parameter): the type is the library's */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *body, size_t *body_length, void **state)
/* NOLINTEND(readability-non-const-parameter) */
{
    static int begun;
    struct export_server *s = context;
    const char *text;

    (void)version;
    (void)body;
    /* At the first call only the head has come. A body would come with the next: nobody may send one. */
    if (*state == NULL) {
        *state = &begun;
        return MHD_YES;
    }
    if (*body_length != 0)
        return MHD_NO;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (strcmp(url, "/") == 0)
        return say(connection, MHD_HTTP_OK, "pglend-export: the metrics are at /metrics\n");
    if (strcmp(url, "/metrics") != 0)
        return say(connection, MHD_HTTP_NOT_FOUND, "the metrics are at /metrics\n");
    text = newest(s);
    if (text == NULL)
        return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    return answer(connection, MHD_HTTP_OK, EXPORT_TYPE,
                  (char *)(uintptr_t)text, /* NOLINT(performance-no-int-to-ptr): likewise */
                  MHD_RESPMEM_MUST_COPY);
}

/* "HOST:PORT", numbers both. */
static bool parse_address(const char *where, union address *address)
{
    const char *colon = strrchr(where, ':');
    char host[64], *end;
    unsigned long port;

    if (colon == NULL || colon[1] < '0' || colon[1] > '9' || colon - where >= (ptrdiff_t)sizeof(host))
        return false;
    errno = 0;
    port = strtoul(colon + 1, &end, 10);
    if (*end != '\0' || errno != 0 || port > 65535)
        return false;
    *address = (union address){0};
    snprintf(host, sizeof(host), "%.*s", (int)(colon - where), where);
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        return true;
    }
    if (host[0] != '[' || host[strlen(host) - 1] != ']')
        return false;
    host[strlen(host) - 1] = '\0';
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    return inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) == 1;
}

struct export_server *export_listen(const char *where, char *(*text)(void *context), void *context)
{
    struct export_server *s = calloc(1, sizeof(*s));
    union address address;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD;

    if (s == NULL || !parse_address(where, &address)) {
        cli_error("--listen %s: give a numeric address and a port, such as 127.0.0.1:9632 or [::1]:9632", where);
        free(s);
        return NULL;
    }
    s->text = text;
    s->context = context;
    errno = 0;
    s->daemon = MHD_start_daemon(flags | (address.any.sa_family == AF_INET6 ? (unsigned)MHD_USE_IPv6 : 0), 0, NULL,
                                 NULL, on_request, s, MHD_OPTION_SOCK_ADDR, &address.any, MHD_OPTION_CONNECTION_LIMIT,
                                 (unsigned)CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)SILENCE_S,
                                 MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_END);
    if (s->daemon == NULL) {
        cli_error("cannot listen on %s: %s; is another one running there?", where, strerror(errno));
        free(s);
        return NULL;
    }
    cli_error("listening on port %u, for GET /metrics",
              MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    return s;
}

void export_close(struct export_server *s)
{
    MHD_stop_daemon(s->daemon);
    free(s->last);
    free(s);
}
