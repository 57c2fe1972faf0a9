/* SPDX-License-Identifier: ISC */
/*
 * postgres.h - a private PostgreSQL: a new cluster in a temporary directory, on a free port of 127.0.0.1 and a Unix
 * socket, run by an unprivileged account. It dies with the process that started it.
 *
 * Roles, for database clinic: "clinic" (scram-sha-256; its owner; may SET ROLE clinic_reader), "clinic_md5" (md5),
 * "clinic_trust", "clinic_peer" (any system user, on the socket), "clinic_certificate" (scram-sha-256, with a client
 * certificate, over TLS). POSTGRES_PASSWORD is everybody's. "postgres" is the superuser, trusted on the socket.
 */
#ifndef PGLEND_TESTS_POSTGRES_H
#define PGLEND_TESTS_POSTGRES_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <sys/types.h>

#define POSTGRES_PASSWORD "correct horse 'battery\\ staple"

/*
 * Where PGLEND_TEST_TLS is set all tests run over TLS: servers speak it, and pglendd_configure() asks for it, checked
 * against this certificate. NULL: not so.
 */
const char *postgres_certificate(void);

struct postgres {
    char directory[64]; /* of data, log and Unix socket; also the host to connect to */
    int port;
    int max_connections;
    bool replicates; /* a primary or a standby */
    pid_t pid;       /* 0: not running */
};

/* MAX_CONNECTIONS 0: 100. Fails the test, or ends the program outside one. */
struct postgres *postgres_start(int max_connections);
/* One that has, or may have, a standby. */
struct postgres *postgres_start_primary(void);
/* A copy of PRIMARY that streams from it; sessions can read when this returns. */
struct postgres *postgres_start_standby(const struct postgres *primary);
/* Make a standby a primary; takes writes when this returns. */
void postgres_promote(const struct postgres *standby);
/* SERVER, which is not running, begins as PRIMARY's standby next time. */
void postgres_demote(const struct postgres *server, const struct postgres *primary);
/* "smart", "fast" or "immediate", as pg_ctl says it; waits for the end. */
void postgres_stop(struct postgres *server, const char *mode);
/* Start it again on the same data and port. */
void postgres_resume(struct postgres *server);
/* Stop it if it runs, remove its files. */
void postgres_free(struct postgres *server);
/* Send signal to the postmaster: SIGHUP, SIGSTOP, … */
void postgres_signal(const struct postgres *server, int signal);

/* Connect as ROLE to database clinic over the socket, not through pglend. Fails the test if it cannot. */
PGconn *postgres_connect(const struct postgres *server, const char *role);
/* Run a command as superuser. */
void postgres_run(const struct postgres *server, const char *sql);
/* The first column of the first row as the superuser sees it, "" for none; static until the next call. */
const char *postgres_ask(const struct postgres *server, const char *sql);
/* Client sessions there are now, other than the superuser's. */
int postgres_sessions(const struct postgres *server);

/* Query on CONN: fails the test unless it succeeds; the result's first value, copied into TEXT of SIZE. */
const char *query(PGconn *conn, const char *sql, char *text, size_t size);

#endif
