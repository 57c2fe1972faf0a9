/* SPDX-License-Identifier: ISC */
/*
 * http.c - read requests from and send replies to one client.
 *
 * The hard thing is that a client may send anything in any portions: a request is parsed only once its head is whole,
 * every length is checked against the buffer before it is used, and what follows a request in the buffer is kept for
 * the next (pipelining).
 */
#include "http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/uio.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {400, "Bad Request"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {431, "Request Header Fields Too Large"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
};

static const char *reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Internal Server Error";
}

/* Receive more, after what is there. 0, or 1 when nothing will come. */
static int receive(struct http *h)
{
    ssize_t n = recv(h->fd, h->in + h->have, HTTP_INPUT_MAX - h->have, 0);

    if (n <= 0)
        return 1;
    h->have += (size_t)n;
    return 0;
}

/* Cut TEXT at the first SEPARATOR and return what follows it, or NULL. */
static char *cut(char *text, const char *separator)
{
    char *at = strstr(text, separator);

    if (at == NULL)
        return NULL;
    *at = '\0';
    return at + strlen(separator);
}

/* The request line: METHOD SP TARGET SP VERSION. 0 or a status. */
static int parse_line(char *line, struct http_request *request)
{
    char *target = cut(line, " ");
    char *version = target != NULL ? cut(target, " ") : NULL;
    char *query;

    if (version == NULL || target[0] != '/' || strncmp(version, "HTTP/1.", 7) != 0)
        return 400;
    query = cut(target, "?");
    request->method = line;
    request->path = target;
    request->query = query != NULL ? query : "";
    request->keep_alive = strcmp(version, "HTTP/1.0") != 0;
    return 0;
}

/* One header field. 0 or a status. */
static int parse_field(char *field, struct http_request *request)
{
    char *value = cut(field, ":");
    char *end;
    unsigned long length;

    if (value == NULL)
        return 400;
    value += strspn(value, " \t");
    if (strcasecmp(field, "Transfer-Encoding") == 0)
        return 501;
    if (strcasecmp(field, "Connection") == 0 && strcasecmp(value, "close") == 0)
        request->keep_alive = false;
    if (strcasecmp(field, "Content-Length") != 0)
        return 0;
    if (value[0] < '0' || value[0] > '9')
        return 400;
    length = strtoul(value, &end, 10);
    if (*end != '\0')
        return 400;
    if (length > HTTP_INPUT_MAX)
        return 413;
    request->body_length = length;
    return 0;
}

static int parse_head(char *head, struct http_request *request)
{
    char *field = cut(head, "\r\n");
    int status = parse_line(head, request);

    while (status == 0 && field != NULL) {
        char *next = cut(field, "\r\n");

        status = parse_field(field, request);
        field = next;
    }
    return status;
}

/* Drop the request before, but keep what the client has sent beyond it. */
static void advance(struct http *h)
{
    memmove(h->in, h->in + h->consumed, h->have - h->consumed);
    h->have -= h->consumed;
    h->consumed = 0;
}

int http_read(struct http *h, struct http_request *request)
{
    char *end;
    size_t head;
    int status;

    *request = (struct http_request){0};
    advance(h);
    while ((end = memmem(h->in, h->have, "\r\n\r\n", 4)) == NULL) {
        if (h->have == HTTP_INPUT_MAX)
            return 431;
        if (receive(h) != 0)
            return 1;
    }
    head = (size_t)(end - h->in) + 4;
    if (memchr(h->in, '\0', head) != NULL)
        return 400;
    *end = '\0';
    status = parse_head(h->in, request);
    if (status != 0)
        return status;
    if (request->body_length > HTTP_INPUT_MAX - head)
        return 413;
    while (h->have < head + request->body_length)
        if (receive(h) != 0)
            return 1;

    /* The body is moved down over the head's last byte but one, to make room for its NUL. */
    h->consumed = head + request->body_length;
    memmove(end + 1, h->in + head, request->body_length);
    end[1 + request->body_length] = '\0';
    request->body = end + 1;
    return 0;
}

static int send_parts(const struct http *h, struct iovec *part, size_t parts)
{
    struct msghdr message = {.msg_iov = part, .msg_iovlen = parts};

    while (message.msg_iovlen > 0) {
        ssize_t n = sendmsg(h->fd, &message, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        while (message.msg_iovlen > 0 && (size_t)n >= message.msg_iov->iov_len) {
            n -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (message.msg_iovlen > 0) {
            message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
            message.msg_iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

int http_send(const struct http *h, const struct http_reply *reply, bool keep_alive)
{
    char head[256];
    int length = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s%s\r\n",
                          reply->status, reason(reply->status), reply->type, reply->length,
                          reply->status == 503 ? "Retry-After: 1\r\n" : "", keep_alive ? "" : "Connection: close\r\n");
    struct iovec part[] = {{.iov_base = head, .iov_len = (size_t)length},
                           {.iov_base = (char *)reply->body, .iov_len = reply->length}};

    return send_parts(h, part, 2);
}

int http_send_head(const struct http *h, int status, const char *type)
{
    char head[256];
    int length = snprintf(head, sizeof head, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nConnection: close\r\n\r\n", status,
                          reason(status), type);

    return http_send_bytes(h, head, (size_t)length);
}

int http_send_bytes(const struct http *h, const char *bytes, size_t length)
{
    struct iovec part = {.iov_base = (char *)bytes, .iov_len = length};

    return send_parts(h, &part, 1);
}
