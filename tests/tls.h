/* SPDX-License-Identifier: ISC */
/*
 * tls.h - certificates, and servers that show them, for tests of encrypted sessions.
 *
 * Files are in the program's directory: NAME.crt and NAME.key of an authority or certificate, NAME.crl and the
 * directory NAME.crls that revoke it.
 */
#ifndef PGLEND_TESTS_TLS_H
#define PGLEND_TESTS_TLS_H

#include "pglendd.h"

extern struct pglendd *tls_daemon;        /* of the test */
extern const struct postgres *tls_server; /* the program's */

/* Run a shell command in that directory; the test fails if it does. Keys are made for nobody else to read. */
void tls_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

void tls_authority(const char *name); /* once a program */
/* Signed by AUTHORITY for ALT, "IP:…" or "DNS:…", good for DAYS from now. */
void tls_certificate(const char *name, const char *authority, const char *alt, int days);
void tls_revoke(const char *name, const char *authority);

/* Before each test: the server as the program started it. */
void tls_begin(void);
/* The server has this setting, or certificate NAME, from now on, once what it reads has been read. */
void tls_set(const char *setting, const char *value);
void tls_serve(const char *name);
void tls_end(void);               /* it does not encrypt any more */
void tls_wants_certificate(void); /* of role clinic_certificate, signed by "ours" */

/*
 * Overrides for a daemon: the pool with DATABASE, where $ stands for the directory, and MORE beside that. It has one
 * session, and at most two. Static until the next call.
 */
#define TLS_VERIFIED "'sslmode': 'verify-full', 'sslrootcert': '$/ours.crt'"
const char *tls_overrides(const char *database, const char *more);
void tls_start(const char *database);
/* With certificate "good", signed by "ours", and MORE. Its session is there. */
void tls_start_good(const char *more);

#endif
