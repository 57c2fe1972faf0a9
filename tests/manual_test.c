/* SPDX-License-Identifier: ISC */
/*
 * manual_test.c - what the manual pages list is what the tables have.
 */
#include "admin.h"
#include "audit.h"
#include "close_reason.h"
#include "config_table.h"
#include "manual.h"
#include "pglend.h"

#include "harness.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(reasons_of_closing)
{
    unsigned found[CLOSE_REASONS] = {0};
    char *section = manual_section("daemon/pglendd.8", ".Sh WHY A SESSION ENDS"), *at = section, *line;

    while ((line = strsep(&at, "\n")) != NULL) {
        char *rest = line + 4;

        if (strncmp(line, ".It ", 4) != 0)
            continue;
        while (rest != NULL) {
            char *end = strstr(rest, " , ");
            int reason = CLOSE_NONE + 1;

            if (end != NULL)
                *end = '\0';
            while (reason < CLOSE_REASONS && strcmp(close_reasons[reason].text, rest) != 0)
                reason++;
            ck_assert_msg(reason < CLOSE_REASONS, "pglendd(8) has \"%s\", which no session is closed for", rest);
            found[reason]++;
            rest = end == NULL ? NULL : end + 3;
        }
    }
    free(section);
    for (int i = CLOSE_NONE + 1; i < CLOSE_REASONS; i++) {
        ck_assert_ptr_nonnull(close_reasons[i].text);
        ck_assert_msg(found[i] == 1, "pglendd(8) lists \"%s\" %u times", close_reasons[i].text, found[i]);
    }
}
END_TEST

/* ---- the commands of pglend ---- */

/* What the reader sees of an ".It" LINE: "pause [--keep] [--wait] [POOL ...]". */
static void flatten(const char *line, char *out, size_t size)
{
    char copy[512], *rest = copy, *word;
    bool glued = true, closes = false;

    (void)snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line + 4, "\n"), line + 4);
    *out = '\0';
    while ((word = strsep(&rest, " ")) != NULL) {
        size_t length = strlen(out);
        bool opens = strcmp(word, "Oo") == 0 || strcmp(word, "Op") == 0, dash = strcmp(word, "Fl") == 0;

        closes |= strcmp(word, "Op") == 0;
        if (strcmp(word, "Cm") == 0 || strcmp(word, "Ar") == 0)
            continue;
        if (strcmp(word, "Ns") == 0 || strcmp(word, "|") == 0 || strcmp(word, "Oc") == 0) {
            glued = *word != 'O';
            word = *word == 'N' ? "" : *word == 'O' ? "]" : word;
            (void)snprintf(out + length, size - length, "%s", word);
            continue;
        }
        (void)snprintf(out + length, size - length, "%s%s", glued ? "" : " ", opens ? "[" : dash ? "-" : word);
        glued = opens || dash;
    }
    if (closes)
        (void)strncat(out, "]", size - strlen(out) - 1);
}

/* What pglend says to WORDS. */
static char *said(const char *words)
{
    static char text[65536];
    char command[512];
    FILE *out;

    (void)snprintf(command, sizeof command, "'%s' %s 2>&1", harness_product("pglend"), words);
    ck_assert_ptr_nonnull(out = popen(command, "re"));
    text[fread(text, 1, sizeof text - 1, out)] = '\0';
    ck_assert_msg(pclose(out) == 0, "%s: %s", command, text);
    return text;
}

/* Usage and role of each command that the page lists are those of its help. */
static void expect_explained(const char *item)
{
    char usage[256], words[300], line[300], role[64];
    const char *help;
    bool is_export;

    flatten(item, usage, sizeof usage);
    is_export = strncmp(usage, "export", 6) == 0; /* a program of its own */
    (void)snprintf(words, sizeof words, "%.*s --help", (int)strcspn(usage, " "), usage);
    help = said(words);
    if (strncmp(usage, "audit", 5) == 0)
        return; /* the next section's */
    (void)snprintf(line, sizeof line, "%s%s\n", is_export ? "usage: pglend " : "[OPTION ...] ", usage);
    ck_assert_msg(strstr(help, line) != NULL, "pglend(1) has \"%s\", help has: %s", usage, help);
    for (size_t i = 0; i < ADMIN_ROLES && !is_export; i++) {
        static const char *const names[] = ADMIN_ROLE_NAMES;

        (void)snprintf(role, sizeof role, "\nRole %s.\n", names[i]);
        (void)snprintf(line, sizeof line, "\nNeeds the role %s (", names[i]);
        ck_assert_msg((strstr(item, role) != NULL) == (strstr(help, line) != NULL), "role %s of: %s\n%s", names[i],
                      item, help);
    }
}

START_TEST(commands)
{
    char *section = manual_section("client/pglend.1", ".Ss Commands"), *list = strdup(said("--help")), *rest = list;
    char *line, *item;
    unsigned listed = 0, told = 0;

    for (const char *at = section; (at = strstr(at, "\n.It ")) != NULL; at++)
        listed++;
    while ((line = strsep(&rest, "\n")) != NULL && strcmp(line, "Options:") != 0) {
        char name[64];

        if (sscanf(line, "  %63s", name) != 1 || line[0] != ' ')
            continue;
        ck_assert_msg((item = manual_item(section, name)) != NULL, "pglend(1) has no command %s", name);
        expect_explained(item);
        free(item);
        told++;
    }
    ck_assert_uint_gt(told, 20);
    ck_assert_uint_eq(listed, told);
    free(list);
    free(section);
}
END_TEST

/* The keys that give a role to users say what it is good for. */
START_TEST(roles_of_commands)
{
#define ROLE(name, args, usage, role, help) {#name, role},
    static const struct {
        const char *name;
        enum admin_role role;
    } rows[] = {ADMIN_COMMANDS(ROLE)};
    static const char *const roles[] = ADMIN_ROLE_NAMES;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct config_row *row = NULL;
        char path[64];

        (void)snprintf(path, sizeof path, "admin.%s.users", roles[rows[i].role]);
        for (size_t k = 0; k < config_rows; k++)
            row = strcmp(config_row[k].path, path) == 0 ? &config_row[k] : row;
        ck_assert_ptr_nonnull(row);
        ck_assert_msg(manual_has(row->help, rows[i].name), "%s does not tell of %s: %s", path, rows[i].name, row->help);
    }
}
END_TEST

START_TEST(commands_of_audit)
{
    char *section = manual_section("client/pglend.1", ".Ss The audit trail");
    const char *help = said("audit --help");
    unsigned told = 0;

    for (const char *at = section; (at = strstr(at, "\n.It ")) != NULL; at++, told++) {
        char usage[256], line[300];

        flatten(at + 1, usage, sizeof usage);
        ck_assert_int_eq(strncmp(usage, "audit ", 6), 0);
        (void)snprintf(line, sizeof line, "\n  %s\n", usage + 6);
        ck_assert_msg(strstr(help, line) != NULL, "pglend(1) has \"%s\", help has: %s", usage, help);
    }
    for (const char *at = help; (at = strstr(at, "\n  ")) != NULL; at++)
        told -= at[3] != ' ';
    ck_assert_uint_eq(told, 0);
    free(section);
}
END_TEST

/* ---- the library ---- */

START_TEST(statuses)
{
    char *section = manual_section("client/libpglend.3", ".Sh ERRORS"), *item;

    for (pglend_status s = PGLEND_OK + 1; s <= PGLEND_QUEUE_FULL; s++) {
        ck_assert_msg((item = manual_item(section, pglend_status_name(s))) != NULL, "libpglend(3) has no %s",
                      pglend_status_name(s));
        free(item);
    }
    free(section);
}
END_TEST

/* ---- metrics ---- */

/* What alerts and boards ask for is served: live_export holds the page against that. */
START_TEST(metrics_that_are_asked_for)
{
    static const char *const askers[] = {"config/pglend-alerts.yml", "config/pglend-grafana.json"};
    char *section = manual_section("client/pglend.1", ".Ss Metrics"), *text = manual_file(askers[_i]);
    unsigned asked = 0;

    for (const char *at = text; (at = strstr(at, "pglend_")) != NULL; asked++) {
        size_t length = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
        char name[128], *bucket;

        (void)snprintf(name, sizeof name, "%.*s", (int)length, at);
        if ((bucket = strstr(name, "_bucket")) != NULL)
            *bucket = '\0';
        /* A pattern's beginning is none. */
        ck_assert_msg(at[length] == '(' || manual_has(section, name), "%s asks for %s", askers[_i], name);
        at += length;
    }
    ck_assert_uint_gt(asked, 10);
    free(section);
    free(text);
}
END_TEST

/* ---- the audit trail ---- */

START_TEST(events_and_fields_of_the_trail)
{
    char *events = manual_section("daemon/pglend-audit.5", ".Ss Events"), *item;
    char *records = manual_section("daemon/pglend-audit.5", ".Ss Records");

    for (int i = 0; i < AUDIT_EVENT_COUNT; i++) {
        ck_assert_msg((item = manual_item(events, audit_event_name[i])) != NULL, "pglend-audit(5) has no %s",
                      audit_event_name[i]);
        free(item);
    }
    for (int i = 0; i < AUDIT_FIELD_COUNT; i++) {
        ck_assert_msg((item = manual_item(records, audit_field_row[i].name)) != NULL, "pglend-audit(5) has no field %s",
                      audit_field_row[i].name);
        free(item);
    }
    free(events);
    free(records);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manual");
    TCase *tc = harness_case(suite, "lists", 20);

    tcase_add_test(tc, reasons_of_closing);
    tcase_add_test(tc, commands);
    tcase_add_test(tc, roles_of_commands);
    tcase_add_test(tc, commands_of_audit);
    tcase_add_test(tc, statuses);
    tcase_add_loop_test(tc, metrics_that_are_asked_for, 0, 2);
    tcase_add_test(tc, events_and_fields_of_the_trail);
    return harness_main(suite);
}
