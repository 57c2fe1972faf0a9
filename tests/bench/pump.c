/* SPDX-License-Identifier: ISC */
/*
 * pump.c - the least that a process between a client and a TLS session costs on this machine, without pglend, and without
 * libpq in the client.
 *
 * It waits wherever it writes, so a client that sends while it is sent to may stop it for ever: good for a yardstick only.
 */
#include "bench.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static char buffer[65536]; /* as large as a relay's */

static void write_all(int fd, size_t length)
{
    for (size_t at = 0; at < length;) {
        ssize_t sent = send(fd, buffer + at, length - at, MSG_NOSIGNAL);

        if (sent == -1)
            _exit(0);
        at += (size_t)sent;
    }
}

_Noreturn static void pump(SSL *ssl, int server, int client)
{
    struct pollfd p[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    ssize_t got;

    SSL_set_read_ahead(ssl, 1);
    while (poll(p, 2, -1) > 0) {
        if (p[0].revents != 0) {
            got = recv(client, buffer, sizeof buffer, 0);
            if (got <= 0 || SSL_write(ssl, buffer, (int)got) != got)
                break;
        }
        if (p[1].revents != 0)
            do {
                got = SSL_read(ssl, buffer, sizeof buffer);
                if (got <= 0)
                    _exit(0);
                write_all(client, (size_t)got);
            } while (SSL_has_pending(ssl) == 1);
    }
    _exit(0);
}

int pump_open(PGconn *conn)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == -1 || fcntl(PQsocket(conn), F_SETFL, 0) == -1)
        bench_fail("pump", "no socket pair");
    if (fork() == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)close(pair[0]);
        pump(PQsslStruct(conn, "OpenSSL"), PQsocket(conn), pair[1]);
    }
    (void)close(pair[1]);
    return pair[0];
}

size_t pump_ask(int fd, const char *sql)
{
    char query[256] = {'Q'};
    size_t length = strlen(sql) + 1, all = 0;

    query[4] = (char)(length + 4);
    memcpy(query + 5, sql, length);
    if (send(fd, query, length + 5, MSG_NOSIGNAL) != (ssize_t)length + 5)
        bench_fail("pump", "cannot send");
    /* Its last six bytes are always the first here. The end is a ReadyForQuery (documentation, 55.7): 'Z', length 5, status. */
    memset(buffer, 0, 6);
    while (memcmp(buffer, "Z\0\0\0\5", 5) != 0) {
        ssize_t got = recv(fd, buffer + 6, sizeof buffer - 6, 0);

        if (got <= 0)
            bench_fail("pump", "it has gone");
        all += (size_t)got;
        memmove(buffer, buffer + got, 6);
    }
    return all;
}
