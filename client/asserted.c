/* SPDX-License-Identifier: ISC */
/*
 * asserted.c - may an actor or a purpose be that?
 *
 * It ends in logs and in the audit trail, where others read it: well-formed UTF-8, and nothing that moves a cursor. The
 * library asks, and where workers are not believed, the supervisor.
 */
#include "segment.h"

#include <string.h>

bool asserted_fits(const char *text)
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

bool asserted_purpose_known(const struct policy *policy, const char *purpose)
{
    size_t length = strlen(purpose);

    for (const char *known = policy->purposes; *known != '\0'; known += strcspn(known, "\n"), known += *known == '\n')
        if (strcspn(known, "\n") == length && memcmp(known, purpose, length) == 0)
            return true;
    return false;
}

bool asserted_enough(const struct policy *policy, const char *actor, const char *purpose)
{
    return (policy->require_actor == 0 || *actor != '\0') &&
           (policy->purposes[0] == '\0' || asserted_purpose_known(policy, purpose));
}
