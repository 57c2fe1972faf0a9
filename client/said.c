/* SPDX-License-Identifier: ISC */
/*
 * said.c - what the application says a lease is for: the actor and the purpose.
 *
 * They go into shared memory, logs and the audit trail, so they are bounded text without control characters. Free text
 * can hold patients' data: a purpose that the pool does not know is refused, and goes no further than to who said it.
 */
#include "client.h"

#include <string.h>

bool said_is_fit(pglend *p, const char *text)
{
    if (asserted_fits(text))
        return true;
    (void)error_set(p, PGLEND_USAGE, "actor and purpose must be UTF-8 of at most %d bytes, without control characters",
                    ACTOR_MAX);
    return false;
}

bool said_is_enough(pglend *p, const struct policy *policy, const char *actor, const char *purpose)
{
    char purposes[PURPOSES_MAX + 1];

    if (policy->require_actor != 0 && (actor == NULL || *actor == '\0')) {
        (void)error_set(p, PGLEND_DENIED,
                        "pool \"%s\" lends to named actors only (require_actor): say who it is for with "
                        "pglend_acquire_as()",
                        p->name);
        return false;
    }
    if (policy->purposes[0] == '\0' || asserted_purpose_known(policy, purpose != NULL ? purpose : ""))
        return true;
    memcpy(purposes, policy->purposes, sizeof purposes);
    for (char *c = purposes; *c != '\0'; c++)
        if (*c == '\n')
            *c = c[1] == '\0' ? '\0' : ',';
    (void)error_set(p, PGLEND_DENIED, "pool \"%s\" lends for named purposes only, and %s is none of them: %s", p->name,
                    purpose != NULL ? "what pglend_acquire_as() was told" : "that of pglend_acquire()", purposes);
    return false;
}
