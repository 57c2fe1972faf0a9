/* SPDX-License-Identifier: ISC */
/*
 * certificate.c - until when the certificates are good that a pool's servers showed, and a warning before that.
 *
 * A session is not ended by its certificate's end; the next login fails. The hard thing: servers may show different
 * ones, and old sessions an older one, so the earliest end counts until all sessions are anew.
 */
#include "supervisor.h"

#include <stdlib.h>
#include <time.h>

#define DAY_S 86400

int64_t certificate_of(const struct backend *b)
{
    char text[24];

    return backend_fact(b, ".certificate_expires", text, sizeof text) == NULL ? 0 : strtoll(text, NULL, 10);
}

/* The session whose certificate ends first; NULL: none has one. */
static const struct backend *first_to_end(const struct pool *pool)
{
    const struct backend *first = NULL;

    for (uint32_t i = 0; pool->backend != NULL && i < pool->segment.slots; i++) {
        const struct backend *b = &pool->backend[i];

        if (b->fd != -1 && b->certificate_expires != 0 &&
            (first == NULL || b->certificate_expires < first->certificate_expires))
            first = b;
    }
    return first;
}

int64_t certificate_expires(const struct pool *pool)
{
    const struct backend *first = first_to_end(pool);

    return first == NULL ? 0 : first->certificate_expires;
}

bool certificate_is_due(const struct pool *pool)
{
    int64_t expires = certificate_expires(pool);

    return expires != 0 && expires - (int64_t)time(NULL) < pool->config->certificate_warn_ms / 1000;
}

void certificate_look(struct pool *pool)
{
    char subject[600] = "", end[32] = "";
    const struct backend *first;
    time_t now = time(NULL), expires;
    struct tm tm;

    if (now - pool->certificate_warned < DAY_S || !certificate_is_due(pool))
        return;
    first = first_to_end(pool);
    expires = (time_t)first->certificate_expires;
    (void)backend_fact(first, ".certificate", subject, sizeof subject);
    if (gmtime_r(&expires, &tm) != NULL)
        (void)strftime(end, sizeof end, "%Y-%m-%d %H:%M UTC", &tm);
    log_warning("pool=%s: the server's certificate \"%s\" %s on %s: give the server a new one, then the sessions, by "
                "\"pglend recycle %s\"",
                pool->config->name, subject, expires > now ? "ends" : "ended", end, pool->config->name);
    pool->certificate_warned = now;
}
