/* SPDX-License-Identifier: ISC */
/*
 * http.h - as much HTTP/1.1 as the demo's server needs: one request at a time on a blocking socket, kept alive.
 */
#ifndef DEMO_HTTP_H
#define DEMO_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_INPUT_MAX 16384 /* head and body of one request together */

struct http {
    int fd;
    size_t have;     /* bytes of in[] that were received */
    size_t consumed; /* of these, what the present request takes */
    char in[HTTP_INPUT_MAX + 1];
};

/* Strings point into the connection's buffer, valid until the next http_read(). */
struct http_request {
    const char *method;
    const char *path;
    const char *query; /* after '?', or "" */
    const char *body;  /* NUL-terminated */
    size_t body_length;
    bool keep_alive;
};

struct http_reply {
    int status;
    const char *type;
    const char *body;
    size_t length;
};

/*
 * Read the next request. 0: here it is; 1: the client closed, or was silent for longer than the socket's receive
 * timeout; else the HTTP status to refuse it with, after which the connection is to be closed.
 */
int http_read(struct http *h, struct http_request *request);

/* Send a whole reply. 0, or -1 when the client is gone. */
int http_send(const struct http *h, const struct http_reply *reply, bool keep_alive);

/* Send the head of a reply whose end is the end of the connection. 0 or -1. */
int http_send_head(const struct http *h, int status, const char *type);
int http_send_bytes(const struct http *h, const char *bytes, size_t length);

#endif
