/* SPDX-License-Identifier: ISC */
/*
 * borrow.h - to borrow where it must succeed: what does not fails the test, with the library's words.
 */
#ifndef PGLEND_TESTS_BORROW_H
#define PGLEND_TESTS_BORROW_H

#include "pglend.h"
#include "pglendd.h"

pglend *open_pool(const struct pglendd *d); /* clinic */
PGconn *borrow(pglend *pool, int timeout_ms);
void give_back(pglend *pool, PGconn *conn);
/* The session answers "select 1". */
void one(PGconn *conn);

#endif
