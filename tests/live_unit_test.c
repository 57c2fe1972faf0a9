/* SPDX-License-Identifier: ISC */
/*
 * live_unit_test.c - pglendd does its work with no more privileges than config/pglendd.service leaves it; and what
 * systemd-analyze thinks of the units.
 */
#include "audited.h"
#include "harness.h"
#include "pglend.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static struct pglendd *daemon_;

static const struct {
    const char *name;
    unsigned number;
} capabilities[] = {
    {"CAP_SETUID", CAP_SETUID},
    {"CAP_SETGID", CAP_SETGID},
    {"CAP_KILL", CAP_KILL},
    {"CAP_SYS_PTRACE", CAP_SYS_PTRACE},
};

#define EXPOSURE_MAX 2.5 /* of 10, as systemd-analyze(1) counts; lower is better */

static const char *const units[] = {"pglendd", "pglend-export"};

/* What the unit says KEY is. */
static void setting(const char *key, char *value, size_t size)
{
    const char *source = getenv("PGLEND_SOURCE");
    char path[512], line[512];
    size_t length = strlen(key);
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/config/pglendd.service", source != NULL ? source : ".");
    f = fopen(path, "re");
    ck_assert_msg(f != NULL, "cannot open %s", path);
    *value = '\0';
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, key, length) == 0 && line[length] == '=')
            (void)snprintf(value, size, "%s", line + length + 1);
    (void)fclose(f);
    value[strcspn(value, "\n")] = '\0';
    ck_assert_msg(*value != '\0', "%s has no %s", path, key);
}

/* For what this process executes from now on, as the service manager does it. */
static void confine(void)
{
    char names[512], *rest = NULL;
    uint64_t kept = 0;

    setting("CapabilityBoundingSet", names, sizeof names);
    for (const char *name = strtok_r(names, " ", &rest); name != NULL; name = strtok_r(NULL, " ", &rest)) {
        size_t i = 0;

        while (i < sizeof capabilities / sizeof capabilities[0] && strcmp(capabilities[i].name, name) != 0)
            i++;
        ck_assert_msg(i < sizeof capabilities / sizeof capabilities[0], "unknown capability %s", name);
        kept |= UINT64_C(1) << capabilities[i].number;
    }
    for (unsigned c = 0; prctl(PR_CAPBSET_READ, c) >= 0; c++)
        if ((kept >> c & 1) == 0)
            ck_assert_int_eq(prctl(PR_CAPBSET_DROP, c), 0);
    setting("NoNewPrivileges", names, sizeof names);
    ck_assert_str_eq(names, "yes");
    ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
}

static int borrow_once(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn;
    char text[16];

    (void)argument;
    (void)sock;
    harness_drop();
    conn = pglend_acquire(pool, 5000);
    ck_assert_msg(conn != NULL, "%s", pglend_errmessage(pool));
    ck_assert_str_eq(query(conn, "select 1", text, sizeof text), "1");
    ck_assert_int_eq(pglend_release(pool, conn), PGLEND_OK);
    pglend_close(pool);
    return 0;
}

/* Looked at by ourselves: what we start has no right to. */
static bool trail_says(const char *words)
{
    static char text[1 << 20];
    bool says = false;

    for (uint32_t i = 1; !says; i++) {
        char path[256];
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/audit-%08u.jsonl", audited_directory, i);
        if ((f = fopen(path, "re")) == NULL)
            break;
        text[fread(text, 1, sizeof text - 1, f)] = '\0';
        says = strstr(text, words) != NULL;
        (void)fclose(f);
    }
    return says;
}

/*
 * Logs in, lends, replaces a killed supervisor and a killed backend, reloads, stops; with an audit trail, whose process
 * is a user of its own and executes a program.
 */
START_TEST(confined_as_the_unit_says)
{
    char command[256];

    if (geteuid() != 0)
        return;
    audited_set_up();
    (void)snprintf(command, sizeof command, "chown -R games '%s'", audited_directory);
    ck_assert_int_eq(system(command), 0);
    confine();
    daemon_ = audited_start(harness_server(), ", 'rotate': '1s', 'archive_command': ['/bin/true']",
                            ", 'audit_user': 'games', 'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}");
    in_worker(borrow_once, NULL, 10);
    (void)pglendd_replace(daemon_, "supervisor");
    in_worker(borrow_once, NULL, 10);
    (void)postgres_ask(harness_server(), "select count(pg_terminate_backend(pid, 10000)) from pg_stat_activity"
                                         " where usename = 'clinic'");
    in_worker(borrow_once, NULL, 10);
    json_decref(pglendd_result(daemon_, "reload", NULL));
    in_worker(borrow_once, NULL, 10);
    wait_until(audited_is(daemon_, "on"), 5);
    wait_until(trail_says("\"event\":\"audit.archived\""), 10);
    /* Which program it is takes CAP_SYS_PTRACE to see. */
    ck_assert(trail_says("\"exe\":\"/") && trail_says("\"event\":\"lease.begin\""));
    pglendd_stop(daemon_);
    ck_assert(trail_says("\"reason\":\"stop\""));
}
END_TEST

/* What the service manager is told next. */
static void expect_told(int manager, const char *words)
{
    struct timeval bound = {.tv_sec = 20};
    char said[128] = "";

    ck_assert_int_eq(setsockopt(manager, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound), 0);
    ck_assert_int_gt(recv(manager, said, sizeof said - 1, 0), 0);
    ck_assert_msg(strstr(said, words) != NULL, "%s", said);
}

/* Ready is who can be connected to, with every database down too. */
START_TEST(readiness_is_told)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/notify", harness_directory());
    ck_assert_int_eq(bind(manager, (const struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(chmod(address.sun_path, 0666), 0);
    ck_assert_int_eq(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'database': {'host': '127.0.0.1', 'port': 1}}}}");
    expect_told(manager, "READY=1");
    (void)close(pglendd_connect(daemon_, "worker.sock"));
    pglendd_stop(daemon_);
    expect_told(manager, "STOPPING=1");
    (void)close(manager);
}
END_TEST

/* Of the unit as installed: the programs' directories are put in at installation. */
START_TEST(little_is_exposed)
{
    const char *source = getenv("PGLEND_SOURCE"), *found;
    char command[1024], said[65536];
    size_t length;
    FILE *f;

    if (system("command -v systemd-analyze >/dev/null") != 0) { /* NOLINT(cert-env33-c) */
        printf("little_is_exposed: skipped, systemd-analyze is not installed\n");
        return;
    }
    (void)snprintf(command, sizeof command,
                   "sed 's|@s*bindir@/[a-z-]*|/bin/true|' %s/config/%s.service >%s/%s.service && "
                   "systemd-analyze security --offline=true --no-pager %s/%s.service 2>&1",
                   source != NULL ? source : ".", units[_i], harness_directory(), units[_i], harness_directory(),
                   units[_i]);
    ck_assert_ptr_nonnull(f = popen(command, "re")); /* NOLINT(cert-env33-c) */
    length = fread(said, 1, sizeof said - 1, f);
    said[length] = '\0';
    (void)pclose(f);
    found = strstr(said, "Overall exposure level");
    ck_assert_msg(found != NULL && (found = strstr(found, ": ")) != NULL, "systemd-analyze said: %.500s", said);
    ck_assert_msg(strtod(found + 2, NULL) <= EXPOSURE_MAX, "%s.service is at%s", units[_i], found + 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_unit");
    TCase *tc = harness_live_case(suite, "unit", 30);

    tcase_add_test(tc, confined_as_the_unit_says);
    tcase_add_test(tc, readiness_is_told);
    tcase_add_loop_test(tc, little_is_exposed, 0, sizeof units / sizeof units[0]);
    return harness_main(suite);
}
