/* SPDX-License-Identifier: ISC */
/*
 * borrow.c - to borrow where it must succeed.
 */
#include "borrow.h"
#include "harness.h"

pglend *open_pool(const struct pglendd *d)
{
    pglend *pool = pglend_open(d->runtime_dir, "clinic");

    ck_assert_ptr_nonnull(pool);
    return pool;
}

PGconn *borrow(pglend *pool, int timeout_ms)
{
    PGconn *conn = pglend_acquire(pool, timeout_ms);

    ck_assert_msg(conn != NULL, "%s: %s", pglend_status_name(pglend_errcode(pool)), pglend_errmessage(pool));
    return conn;
}

void give_back(pglend *pool, PGconn *conn)
{
    ck_assert_msg(pglend_release(pool, conn) == PGLEND_OK, "%s", pglend_errmessage(pool));
}

void one(PGconn *conn)
{
    char text[16];

    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
}
