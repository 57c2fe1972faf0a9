/* SPDX-License-Identifier: ISC */
/*
 * certificate.c - until when the certificates are good that a pool's servers and logins showed, and a warning before
 * that.
 *
 * A session is not ended by a certificate's end; the next login fails. The hard thing: servers may show different
 * ones, and old sessions an older one, so the earliest end counts until all sessions are anew.
 */
#include "supervisor.h"

#include <stdlib.h>
#include <time.h>

#define DAY_S 86400

static const struct {
    const char *whose, *subject, *expires, *advice;
} kinds[CERTIFICATES] = {
    [CERTIFICATE_SERVER] = {"the server's", ".certificate", ".certificate_expires", "give the server a new one"},
    [CERTIFICATE_CLIENT] = {"the client's", ".client_certificate", ".client_certificate_expires",
                            "have a new one made for database.sslcert"},
};

void certificate_begin(struct backend *b)
{
    char text[24];

    for (int i = 0; i < CERTIFICATES; i++)
        b->certificate_expires[i] =
            backend_fact(b, kinds[i].expires, text, sizeof text) == NULL ? 0 : strtoll(text, NULL, 10);
}

/* The session whose certificate ends first; NULL: none has one. */
static const struct backend *first_to_end(const struct pool *pool, enum certificate_kind kind)
{
    const struct backend *first = NULL;

    for (uint32_t i = 0; pool->backend != NULL && i < pool->segment.slots; i++) {
        const struct backend *b = &pool->backend[i];

        if (b->fd != -1 && b->certificate_expires[kind] != 0 &&
            (first == NULL || b->certificate_expires[kind] < first->certificate_expires[kind]))
            first = b;
    }
    return first;
}

int64_t certificate_expires(const struct pool *pool, enum certificate_kind kind)
{
    const struct backend *first = first_to_end(pool, kind);

    return first == NULL ? 0 : first->certificate_expires[kind];
}

static bool is_due(const struct pool *pool, enum certificate_kind kind)
{
    int64_t expires = certificate_expires(pool, kind);

    return expires != 0 && expires - (int64_t)time(NULL) < pool->config->certificate_warn_ms / 1000;
}

bool certificate_is_due(const struct pool *pool)
{
    return is_due(pool, CERTIFICATE_SERVER) || is_due(pool, CERTIFICATE_CLIENT);
}

static void warn(const struct pool *pool, enum certificate_kind kind, time_t now)
{
    const struct backend *first = first_to_end(pool, kind);
    time_t expires = (time_t)first->certificate_expires[kind];
    char subject[600] = "", end[32] = "";
    struct tm tm;

    (void)backend_fact(first, kinds[kind].subject, subject, sizeof subject);
    if (gmtime_r(&expires, &tm) != NULL)
        (void)strftime(end, sizeof end, "%Y-%m-%d %H:%M UTC", &tm);
    log_warning("pool=%s: %s certificate \"%s\" %s on %s: %s, then the sessions, by \"pglend recycle %s\"",
                pool->config->name, kinds[kind].whose, subject, expires > now ? "ends" : "ended", end,
                kinds[kind].advice, pool->config->name);
}

void certificate_look(struct pool *pool)
{
    time_t now = time(NULL);

    for (enum certificate_kind kind = 0; kind < CERTIFICATES; kind++) {
        if (now - pool->certificate_warned[kind] < DAY_S || !is_due(pool, kind))
            continue;
        warn(pool, kind, now);
        pool->certificate_warned[kind] = now;
    }
}
