/* SPDX-License-Identifier: ISC */
/*
 * denial.c - how much of who is turned away the audit trail says one by one.
 *
 * Whoever may not can ask again as often as he likes, and would fill the disk. So each user has so many records in a
 * period, and one at its end that counts the rest: a flood of one hides nobody else's. Users beyond what there is room
 * for share the last place, which is nobody's by name.
 */
#include "supervisor.h"

#define PLACES       256
#define PERIOD_NS    UINT64_C(10000000000)
#define RECORDS_MOST 10

static struct place {
    uid_t uid;
    uint64_t since; /* 0: free */
    unsigned recorded, counted;
} place[PLACES];

static const struct place *const others = &place[PLACES - 1];

static void end_period(const struct supervisor *s, struct place *p)
{
    struct audit_values values = {0};

    if (p->counted > 0) {
        if (p != others)
            audit_set_number(&values, AUDIT_FIELD_UID, p->uid);
        audit_set_text(&values, AUDIT_FIELD_OUTCOME, "counted");
        audit_set_text(&values, AUDIT_FIELD_REASON,
                       p != others ? "more of this user were turned away than are recorded one by one"
                                   : "more of many users were turned away than are recorded one by one");
        audit_set_number(&values, AUDIT_FIELD_RECORDS, p->counted);
        audit_event(s, AUDIT_DENIED, &values);
    }
    *p = (struct place){0};
}

static struct place *place_of(uid_t uid)
{
    struct place *found = NULL;

    for (size_t i = 0; i < PLACES - 1; i++) {
        if (place[i].since != 0 && place[i].uid == uid)
            return &place[i];
        if (place[i].since == 0 && found == NULL)
            found = &place[i];
    }
    return found != NULL ? found : &place[PLACES - 1];
}

bool denial_is_recorded(const struct supervisor *s, uid_t uid)
{
    struct place *p;

    denial_look(s, false);
    p = place_of(uid);
    if (p->since == 0)
        *p = (struct place){.uid = uid, .since = clock_ns()};
    if (p->recorded == RECORDS_MOST) {
        p->counted++;
        return false;
    }
    p->recorded++;
    return true;
}

void denial_look(const struct supervisor *s, bool at_once)
{
    uint64_t now = clock_ns();

    for (size_t i = 0; i < PLACES; i++)
        if (place[i].since != 0 && (at_once || now - place[i].since >= PERIOD_NS))
            end_period(s, &place[i]);
}
