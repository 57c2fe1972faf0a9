/* SPDX-License-Identifier: ISC */
/*
 * live_roles_test.c - every command of administration, asked by a user of every role: who may and who may not.
 *
 * The rows are the commands' own table, so a new one is in the matrix without a word here.
 */
#include "admin.h"
#include "harness.h"
#include "pglendd.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIRST_UID 60001U /* of nobody; then one a role */
#define NOBODY    60100U /* in no list */

/* Arguments that do no harm: one too bad for the command, where it has any. */
#define BAD_TIMEOUT "{'timeout': 'x'}"
static const struct {
    const char *command, *arguments;
} harmless[] = {
    {"pause", BAD_TIMEOUT}, {"resume", BAD_TIMEOUT},  {"disable", BAD_TIMEOUT},      {"enable", BAD_TIMEOUT},
    {"resize", NULL},       {"recycle", BAD_TIMEOUT}, {"shutdown", "{'mode': 'x'}"},
};

static const struct row {
    const char *name;
    enum admin_role role;
} rows[] = {
#define ROW(name, args, usage, role, help) {#name, role},
    ADMIN_COMMANDS(ROW)
#undef ROW
};

#define ROWS (sizeof rows / sizeof rows[0])

static struct pglendd *daemon_;

/* By which of its ids the asking process has its role. */
enum by { BY_USER, BY_GROUP, BY_SUPPLEMENTARY, BYS };
static enum by by;

static const char *arguments_of(const char *command)
{
    for (size_t i = 0; i < sizeof harmless / sizeof harmless[0]; i++)
        if (strcmp(harmless[i].command, command) == 0)
            return harmless[i].arguments;
    return NULL;
}

/* Override is in no other role, and has read alone in it. */
static bool may(int held, enum admin_role needed)
{
    if (needed == ADMIN_OVERRIDE)
        return held == ADMIN_OVERRIDE;
    return (held == ADMIN_OVERRIDE ? ADMIN_READ : held) >= (int)needed;
}

static void become(uid_t uid, gid_t gid, gid_t supplementary)
{
    ck_assert_int_eq(setgroups(1, &supplementary), 0);
    ck_assert_int_eq(setresgid(gid, gid, gid), 0);
    ck_assert_int_eq(setresuid(uid, uid, uid), 0);
}

/*
 * As the user, or a member of the group, of HELD (-1: no role): each command is denied, or answered otherwise, as its
 * row says.
 */
static int ask_everything(void *held, int sock)
{
    int role = *(int *)held;
    unsigned id = FIRST_UID + 1 + (unsigned)role;

    (void)sock;
    become(by == BY_USER ? id : NOBODY, by == BY_GROUP ? id : NOBODY, by == BY_SUPPLEMENTARY ? id : NOBODY);
    for (size_t i = 0; i < ROWS; i++) {
        json_t *answer = pglendd_request(daemon_, rows[i].name, arguments_of(rows[i].name));
        const char *code = json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
        bool denied = code != NULL && strcmp(code, ADMIN_DENIED) == 0;

        ck_assert_msg(denied != may(role, rows[i].role), "%s, asked by one of role %d: %s", rows[i].name, role,
                      code == NULL ? "answered" : code);
        json_decref(answer);
    }
    return 0;
}

START_TEST(roles_and_verbs)
{
    const char *key = _i == BY_USER ? "users" : "groups";
    char overrides[512];

    by = (enum by)_i;
    if (geteuid() != 0)
        return; /* who is not root cannot be others */
    (void)snprintf(overrides, sizeof overrides,
                   "{'admin': {'read': {'%s': ['60002']}, 'operate': {'%s': ['60003']}, 'control': {'%s': ['60004']}, "
                   "'override': {'%s': ['60005']}}}",
                   key, key, key, key);
    daemon_ = pglendd_start(harness_server(), overrides);
    for (int role = -1; role < ADMIN_ROLES; role++)
        in_worker(ask_everything, &role, 20);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_roles");

    tcase_add_loop_test(harness_live_case(suite, "roles", 60), roles_and_verbs, 0, BYS);
    return harness_main(suite);
}
