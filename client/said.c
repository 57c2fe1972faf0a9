/* SPDX-License-Identifier: ISC */
/*
 * said.c - what the application says a lease is for: the actor and the purpose.
 *
 * They go into shared memory, logs and the audit trail, so they are bounded text without control characters. Free text
 * can hold patients' data: a purpose that the pool does not know is refused, and goes no further than to who said it.
 */
#include "client.h"

#include <string.h>

static bool is_fit(const char *text)
{
    size_t left = 0;

    if (text == NULL)
        return true;
    if (strlen(text) > ACTOR_MAX)
        return false;
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++) {
        if (left > 0) {
            if ((*c & 0xc0) != 0x80)
                return false;
            left--;
        } else if (*c < 0x20 || *c == 0x7f || (*c >= 0x80 && *c < 0xc2) || *c > 0xf4) {
            return false;
        } else if (*c >= 0x80) {
            /* C1 controls, overlong forms, surrogates and what lies above U+10FFFF (RFC 3629, section 4) */
            if ((*c == 0xc2 && c[1] < 0xa0) || (*c == 0xe0 && c[1] < 0xa0) || (*c == 0xed && c[1] > 0x9f) ||
                (*c == 0xf0 && c[1] < 0x90) || (*c == 0xf4 && c[1] > 0x8f))
                return false;
            left = *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
        }
    }
    return left == 0;
}

bool said_is_fit(pglend *p, const char *text)
{
    if (is_fit(text))
        return true;
    (void)error_set(p, PGLEND_USAGE, "actor and purpose must be UTF-8 of at most %d bytes, without control characters",
                    ACTOR_MAX);
    return false;
}

bool said_purpose_is_known(const struct policy *policy, const char *purpose)
{
    size_t length = strlen(purpose);

    for (const char *known = policy->purposes; *known != '\0'; known += strcspn(known, "\n"), known += *known == '\n')
        if (strcspn(known, "\n") == length && memcmp(known, purpose, length) == 0)
            return true;
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
    if (policy->purposes[0] == '\0' || said_purpose_is_known(policy, purpose != NULL ? purpose : ""))
        return true;
    memcpy(purposes, policy->purposes, sizeof purposes);
    for (char *c = purposes; *c != '\0'; c++)
        if (*c == '\n')
            *c = ',';
    (void)error_set(p, PGLEND_DENIED, "pool \"%s\" lends for named purposes only, and %s is none of them: %s", p->name,
                    purpose != NULL ? "what pglend_acquire_as() was told" : "that of pglend_acquire()", purposes);
    return false;
}
