/* SPDX-License-Identifier: ISC */
/*
 * admin_override.c - the command override: emergency access, with a reason, recorded before it takes effect.
 *
 * The hard thing is that order. The record is written first, and only when the audit process says that it is on disk
 * is anything lent by it; without a trail that is written there is no override.
 */
#include "admin_server.h"

#include "audit.h"
#include <string.h>

#define FOR_DEFAULT_MS 3600000
#define FOR_MAX_MS     86400000
#define RECORD_MS      5000

static void record(const struct admin_connection *c, const struct pool *pool, const char *outcome)
{
    struct audit_values values = {0};

    audit_values_peer(&values, &c->peer, c->executable);
    audit_set_text(&values, AUDIT_FIELD_POOL, pool->config->name);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_set_text(&values, AUDIT_FIELD_REASON, admin_argument(c, "reason"));
    audit_event(c->supervisor, AUDIT_OVERRIDE, &values);
}

static void answer(struct admin_connection *c)
{
    json_t *array = json_array();

    for (size_t i = 0; i < c->supervisor->pools; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]) && !admin_report_override(array, c->supervisor->pool[i])) {
            json_decref(array);
            array = NULL;
            break;
        }
    admin_answer(c, array);
}

static int64_t length_of(const struct admin_connection *c)
{
    const char *text = admin_argument(c, "for");
    int64_t ms = FOR_DEFAULT_MS;

    return text != NULL && config_duration(text, &ms) == -1 ? -1 : ms;
}

static const char *not_begun(struct admin_connection *c)
{
    for (size_t i = 0; i < c->supervisor->pools; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]))
            record(c, c->supervisor->pool[i], "not begun");
    return "nothing has changed";
}

static bool is_over(struct admin_connection *c)
{
    bool written = audit_is_written(c->serial);
    char name[64], by[NAME_FIELD];

    if (!written && clock_ns() < c->until)
        return false;
    if (!written) {
        (void)not_begun(c);
        admin_fail(c, ADMIN_TIMED_OUT,
                   "override: the audit trail did not take the record within %d s: nothing has "
                   "changed; see why in the log, and try again",
                   RECORD_MS / 1000);
        return true;
    }
    (void)snprintf(by, sizeof by, "%s", names_of_user(c->peer.uid, name));
    for (size_t i = 0; i < c->supervisor->pools; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]))
            override_begin(c->supervisor->pool[i], by, admin_argument(c, "reason"), (uint64_t)length_of(c));
    answer(c);
    return true;
}

static void end(struct admin_connection *c)
{
    char name[64], why[128];

    (void)snprintf(why, sizeof why, "by %s", names_of_user(c->peer.uid, name));
    for (size_t i = 0; i < c->supervisor->pools; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]))
            override_end(c->supervisor->pool[i], why);
    answer(c);
}

/* What the command lacks; NULL: nothing. */
static const char *missing(const struct admin_connection *c)
{
    const char *reason = admin_argument(c, "reason");
    int64_t ms = length_of(c);

    if (admin_argument(c, "pool") == NULL)
        return "name the pools that it is for";
    if (admin_is_said(c, "end"))
        return NULL;
    if (reason == NULL || reason[strspn(reason, " ")] == '\0' || !audit_text_valid(reason, OVERRIDE_REASON_MAX))
        return "give a reason, one line of at most 255 bytes; it is recorded";
    if (ms < 1000 || ms > FOR_MAX_MS)
        return "for is a duration from 1s to 24h";
    return NULL;
}

void command_override(struct admin_connection *c)
{
    struct supervisor *s = c->supervisor;
    const char *lacks = missing(c);

    if (lacks != NULL) {
        admin_fail(c, ADMIN_BAD_REQUEST, "override: %s", lacks);
        return;
    }
    if (!admin_names_known(c))
        return;
    if (admin_is_said(c, "end")) {
        end(c);
        return;
    }
    if (strcmp(audit_link_state(s), "on") != 0) {
        admin_fail(c, ADMIN_FAILED,
                   "override: it must be recorded first, and the audit trail is %s: set audit.directory, or see in the "
                   "log why it is not written",
                   audit_link_state(s));
        return;
    }
    for (size_t i = 0; i < s->pools; i++)
        if (admin_is_chosen(c, s->pool[i]))
            record(c, s->pool[i], "begins");
    c->serial = audit_last();
    c->until = clock_ns() + (uint64_t)RECORD_MS * 1000000;
    admin_await(c, is_over, not_begun);
}
