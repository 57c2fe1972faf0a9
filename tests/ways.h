/* SPDX-License-Identifier: ISC */
/*
 * ways.h - every way to use a connection that libpq has. Each leaves the session as it may be given back.
 */
#ifndef PGLEND_TESTS_WAYS_H
#define PGLEND_TESTS_WAYS_H

#include <libpq-fe.h>
#include <stdbool.h>

struct way {
    const char *name;
    void (*use)(PGconn *conn); /* fails the test where the connection does */
    bool also_direct;          /* connects to the program's server past pglend, too */
};

extern const struct way way[];
extern const int ways;

#endif
