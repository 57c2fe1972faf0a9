/* SPDX-License-Identifier: ISC */
/*
 * live_audit_disk_test.c - the audit trail's files: whose they are, how they come and go, and what happens when the
 * disk takes no more.
 */
#include "audited.h"
#include "harness.h"
#include "pglend.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct pglendd *d;

static void path_of(char path[256], const char *name)
{
    (void)snprintf(path, 256, "%s/%s", audited_directory, name);
}

static bool exists(const char *name)
{
    char path[256];

    path_of(path, name);
    return access(path, F_OK) == 0;
}

/* ---- whose they are ---- */

START_TEST(the_audit_process_runs_apart)
{
    char title[256], name[160];
    struct stat st;
    uid_t uid;
    gid_t gid;
    pid_t pid;

    d = audited_start(harness_server(), "", _i == 1 ? ", 'user': 'nobody', 'audit_user': 'nobody'" : "");
    wait_until(audited_is(d, "on"), 5);
    ck_assert(_i == 0 || geteuid() != 0 || pglendd_logged(d, "who can then change the trail; name another"));
    pid = pglendd_process(d, "audit");
    ck_assert_int_ne(pid, 0);
    process_title(pid, title);
    ck_assert_str_eq(title, "pglendd: audit");
    harness_unprivileged(&uid, &gid);
    (void)snprintf(name, sizeof name, "%s/audit-00000001.jsonl", audited_directory);
    ck_assert_int_eq(stat(name, &st), 0);
    ck_assert_uint_eq(st.st_uid, uid);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    pglendd_stop(d);
}
END_TEST

/* Nobody else can have its key: neither the user that lends connections, nor one that shares his. */
/* Keys that root made for itself. */
START_TEST(a_directory_of_root_is_told_and_taken_when_it_is_given)
{
    char command[256];
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0)
        return;
    harness_unprivileged(&uid, &gid);
    (void)snprintf(command, sizeof command, "chown -R root '%s'", audited_directory);
    ck_assert_int_eq(system(command), 0);
    d = audited_start(harness_server(), "", "");
    (void)snprintf(command, sizeof command, "run chown -R %u %s", (unsigned)uid, audited_directory);
    wait_until(pglendd_logged(d, command), 5);
    ck_assert(audited_is(d, "failing"));
    (void)snprintf(command, sizeof command, "chown -R %u '%s'", (unsigned)uid, audited_directory);
    ck_assert_int_eq(system(command), 0);
    wait_until(audited_is(d, "on"), 15);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

START_TEST(a_user_of_its_own_alone_has_the_key)
{
    const struct passwd *entry = getpwnam("games"); /* who has nothing to do with us */
    const uid_t games = entry == NULL ? 0 : entry->pw_uid;
    char path[256], command[512];
    struct stat st;
    int status;
    pid_t pid;

    if (geteuid() != 0 || games == 0) {
        printf("a_user_of_its_own_alone_has_the_key skipped: it takes root, and a user games\n");
        return;
    }
    (void)snprintf(command, sizeof command, "chown -R games '%s'", audited_directory);
    ck_assert_int_eq(system(command), 0);
    d = audited_start(harness_server(), "", ", 'audit_user': 'games'");
    wait_until(audited_is(d, "on"), 5);
    pid = pglendd_process(d, "audit");
    ck_assert_int_eq(process_status(pid, "Uid", 10), games);
    path_of(path, "audit-00000001.jsonl");
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, games);
    path_of(path, "seal.key");
    pid = fork();
    if (pid == 0) {
        harness_drop(); /* as the supervisor runs */
        _exit(open(path, O_RDONLY | O_CLOEXEC) == -1 && errno == EACCES ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* ---- how they come and go ---- */

START_TEST(closed_files_are_archived_and_then_removed)
{
    char archive[160], more[512], name[256];
    struct stat st;
    uid_t uid;
    gid_t gid;

    harness_unprivileged(&uid, &gid);
    (void)snprintf(archive, sizeof archive, "%s/archive", audited_directory);
    ck_assert_int_eq(mkdir(archive, 0700), 0);
    ck_assert_int_eq(chown(archive, uid, gid), 0);
    (void)snprintf(more, sizeof more,
                   ", 'rotate': '1s', 'local_retention': '0s', 'archive_command': ['cp', '-p', '-t', '%s']", archive);
    d = audited_start(harness_server(), more, "");
    wait_until(audited_has("audit.archived", "outcome", "stored"), 10);
    wait_until(audited_has("audit.removed", "outcome", "removed"), 10);
    (void)snprintf(name, sizeof name, "%s/audit-00000001.jsonl", archive);
    ck_assert_int_eq(stat(name, &st), 0);
    (void)snprintf(name, sizeof name, "%s/audit-00000001.jsonl", audited_directory);
    wait_until(stat(name, &st) == -1, 5);
    pglendd_stop(d);
    /* What is here begins later; with what the archive has it is whole. */
    ck_assert_int_eq(audited_run("verify --key %s %s", audited_key, audited_directory), 4);
    (void)snprintf(more, sizeof more, "cp -n %s/*.jsonl %s/", archive, audited_directory);
    ck_assert_int_eq(system(more), 0);
    audited_expect_intact();
}
END_TEST

START_TEST(an_archive_command_that_fails_removes_nothing)
{
    char name[256];
    struct stat st;

    d = audited_start(harness_server(), ", 'rotate': '1s', 'local_retention': '0s', 'archive_command': ['false']", "");
    wait_until(audited_has("audit.error", "outcome", "not archived"), 10);
    (void)snprintf(name, sizeof name, "%s/audit-00000001.jsonl", audited_directory);
    ck_assert_int_eq(stat(name, &st), 0);
    ck_assert(pglendd_logged(d, "archive_command failed"));
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* A month from its receipt, not from its end: the archive must have been seen to keep it. */
START_TEST(what_is_stored_stays_for_its_retention)
{
    const time_t then = time(NULL) - (time_t)30 * 86400 - 60;
    const struct timespec month_ago[2] = {{.tv_sec = then}, {.tv_sec = then}};
    char path[256];

    d = audited_start(harness_server(), ", 'rotate': '1s', 'archive_command': ['/bin/true']", "");
    wait_until(exists("audit-00000002.stored"), 10);
    path_of(path, "audit-00000002.jsonl");
    ck_assert_int_eq(utimensat(AT_FDCWD, path, month_ago, 0), 0);
    harness_sleep_ms(2500); /* it is looked once a second */
    ck_assert(exists("audit-00000001.jsonl") && exists("audit-00000002.jsonl"));
    path_of(path, "audit-00000001.stored");
    ck_assert_int_eq(utimensat(AT_FDCWD, path, month_ago, 0), 0);
    wait_until(!exists("audit-00000001.jsonl"), 5);
    ck_assert(exists("audit-00000002.jsonl"));
    pglendd_stop(d);
}
END_TEST

/* ---- when there are none ---- */

/* It is not for the next event to find out. */
START_TEST(a_file_that_cannot_be_begun_is_told_at_once)
{
    d = audited_start(harness_server(), ", 'rotate': '3s', 'checkpoint': '1h'", "");
    wait_until(audited_is(d, "on"), 5);
    ck_assert_int_eq(chmod(audited_directory, 0500), 0);
    wait_until(pglendd_logged(d, "cannot begin audit-00000002.jsonl"), 10);
    wait_until(pglendd_logged(d, "the trail is not written: cannot begin"), 1);
    ck_assert_int_eq(chmod(audited_directory, 0700), 0);
    wait_until(audited_is(d, "on"), 5);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* What it has taken and not written it has in memory alone, and who told it must not have forgotten that. */
START_TEST(what_the_disk_does_not_take_outlives_the_process)
{
    d = audited_start(harness_server(), ", 'rotate': '2s', 'checkpoint': '1h'", "");
    wait_until(audited_is(d, "on"), 5);
    ck_assert_int_eq(chmod(audited_directory, 0500), 0);
    wait_until(pglendd_logged(d, "the trail is not written: cannot begin"), 10);
    json_decref(pglendd_result(d, "recycle", NULL));
    harness_sleep_ms(2500); /* it is tried every second */
    ck_assert_int_eq(kill(pglendd_process(d, "audit"), SIGKILL), 0);
    wait_until(pglendd_logged(d, "the audit process (pid"), 5);
    ck_assert_int_eq(chmod(audited_directory, 0700), 0);
    wait_until(audited_has("admin.command", "command", "recycle"), 15);
    pglendd_stop(d);
    audited_expect_intact();
}
END_TEST

/* Without its key the audit process cannot begin. */
static void take_key_away(bool away)
{
    char from[256], to[256];

    path_of(from, away ? "seal.key" : "seal.away");
    path_of(to, away ? "seal.away" : "seal.key");
    ck_assert_int_eq(rename(from, to), 0);
}

/* What the trail says in the member "records" of its errors with this reason, and how many leases' records it has. */
static int64_t lost_as(const char *reason, int64_t *leases)
{
    json_t *records, *record;
    int64_t lost = 0;
    size_t i;

    ck_assert_int_eq(audited_run("report --json %s", audited_directory), 0);
    records = json_loads(audited_output, 0, NULL);
    *leases = 0;
    json_array_foreach(records, i, record)
    {
        const char *why = audited_text(record, "reason");

        if (strcmp(audited_text(record, "event"), "audit.error") == 0 && strstr(why, reason) != NULL)
            lost += audited_number(record, "records");
        *leases += strncmp(audited_text(record, "event"), "lease.", 6) == 0;
    }
    json_decref(records);
    return lost;
}

#define LEASES 6000 /* more than there is room for */

static int lease_often(void *argument, int sock)
{
    pglend *p = pglend_open(d->runtime_dir, "clinic");

    (void)argument;
    (void)sock;
    for (int i = 0; i < LEASES; i++) {
        PGconn *conn = pglend_acquire(p, 15000); /* when there is no room, they begin after some seconds */

        ck_assert_msg(conn != NULL, "%s", pglend_errmessage(p));
        ck_assert_int_eq(pglend_release(p, conn), PGLEND_OK);
    }
    pglend_close(p);
    return 0;
}

START_TEST(degrade_lends_on_and_counts_what_it_does_not_record)
{
    int64_t lost, leases;

    take_key_away(true);
    d = audited_start(harness_server(), "", "");
    in_worker(lease_often, NULL, 30);
    take_key_away(false);
    wait_until(audited_is(d, "on"), 15);
    pglendd_stop(d);
    audited_expect_intact();
    lost = lost_as("leases were lent unrecorded", &leases);
    ck_assert_int_gt(lost, 0);
    ck_assert_int_gt(leases, 4096);
    ck_assert_int_eq(leases + lost, 2 * LEASES);
}
END_TEST

#define BATCH 100

/* COUNT commands, and their answers. */
static void command_often(unsigned count)
{
    static const char command[] = "{\"command\": \"status\"}\n";
    static char text[1 << 16];
    int sock = pglendd_connect(d, "admin.sock");

    for (unsigned done = 0; done < count; done += BATCH) {
        for (unsigned i = 0; i < BATCH; i++)
            ck_assert_int_eq(send(sock, command, sizeof command - 1, 0), sizeof command - 1);
        for (unsigned answers = 0; answers < BATCH;) {
            ssize_t got = recv(sock, text, sizeof text, 0);

            ck_assert_int_gt(got, 0);
            for (ssize_t i = 0; i < got; i++)
                answers += text[i] == '\n';
        }
    }
    (void)close(sock);
}

START_TEST(events_that_find_no_room_are_counted)
{
    const unsigned commands = 20500;
    unsigned recorded = 0;
    int64_t lost, leases;

    take_key_away(true);
    d = audited_start(harness_server(), "", "");
    command_often(commands);
    take_key_away(false);
    wait_until(pglendd_logged(d, "goes on with record"), 15);
    wait_until(audited_is(d, "on"), 15);
    pglendd_stop(d);
    audited_expect_intact();
    lost = lost_as("found no room while no audit process took them", &leases);
    for (const char *at = audited_output; (at = strstr(at, "\"command\": \"status\"")) != NULL; at++)
        recorded++;
    ck_assert_int_ge(lost, 500);
    ck_assert_int_ge(recorded + lost, commands);
    ck_assert_int_lt(lost, 1000);
}
END_TEST

/* The trail on a disk of its own, of MIB; it goes with this process. False: that is not allowed here. */
static bool small_disk(const char *test, unsigned mib)
{
    char command[600];
    uid_t uid;
    gid_t gid;

    (void)snprintf(command, sizeof command, "size=%um,mode=700", mib);
    if (unshare(CLONE_NEWNS) == -1 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1 ||
        mount("pglend-audit", audited_directory, "tmpfs", MS_NODEV | MS_NOSUID, command) == -1) {
        printf("%s skipped: mount: %s\n", test, strerror(errno));
        return false;
    }
    harness_unprivileged(&uid, &gid);
    ck_assert_int_eq(chown(audited_directory, uid, gid), 0);
    ck_assert_int_eq(unlink(audited_key), 0);
    ck_assert_msg(audited_run("init --key-out %s %s", audited_key, audited_directory) == 0, "%s", audited_output);
    return true;
}

static void fill(const char *name, off_t bytes)
{
    char path[256];
    int fd;

    path_of(path, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ne(fd, -1);
    if (bytes == 0) {
        static const char block[4096];

        while (write(fd, block, sizeof block) > 0)
            ;
        ck_assert_int_eq(errno, ENOSPC);
    } else {
        ck_assert_int_eq(posix_fallocate(fd, 0, bytes), 0);
    }
    (void)close(fd);
}

static void clear(const char *name)
{
    char path[256];

    path_of(path, name);
    ck_assert_int_eq(unlink(path), 0);
}

/* 20 MiB, a reserve of one: alarms, then the reserve, then nothing is lost. */
START_TEST(a_disk_that_fills_is_announced_and_has_a_reserve)
{
    static const char fifth[] = "less than 20 % of the space", twentieth[] = "less than 5 % of the space";
    json_t *record;

    if (geteuid() != 0 || !small_disk("a_disk_that_fills_is_announced_and_has_a_reserve", 20)) {
        printf("a_disk_that_fills_is_announced_and_has_a_reserve skipped: only root can mount\n");
        return;
    }
    d = audited_start(harness_server(), ", 'reserve': 1048576", "");
    wait_until(audited_is(d, "on") && exists("reserve"), 5);
    fill("ballast.1", 14 << 20);
    harness_sleep_ms(1500);
    ck_assert_uint_eq(pglendd_logged(d, fifth), 0);
    fill("ballast.2", 2 << 20);
    wait_until(pglendd_logged(d, fifth), 5);
    ck_assert_uint_eq(pglendd_logged(d, twentieth), 0);
    fill("ballast.3", 2 << 20);
    wait_until(pglendd_logged(d, twentieth), 5);
    harness_sleep_ms(1500);
    ck_assert_uint_eq(pglendd_logged(d, fifth), 1); /* each once */
    ck_assert_uint_eq(pglendd_logged(d, twentieth), 1);
    record = audited_record("audit.error", "outcome", "space");
    ck_assert_ptr_nonnull(record);
    ck_assert_ptr_nonnull(strstr(audited_text(record, "reason"), twentieth));
    json_decref(record);

    fill("ballast.4", 0);
    wait_until((json_decref(pglendd_result(d, "status", NULL)), pglendd_logged(d, "the reserve is used")), 10);
    ck_assert(!exists("reserve"));
    wait_until(audited_is(d, "on"), 5);
    json_decref(pglendd_result(d, "recycle", NULL));
    wait_until(audited_has("admin.command", "command", "recycle"), 5);
    for (unsigned i = 1; i <= 4; i++) {
        char name[16];

        (void)snprintf(name, sizeof name, "ballast.%u", i);
        clear(name);
    }
    pglendd_stop(d);
    audited_expect_intact();
    ck_assert_int_eq(umount2(audited_directory, MNT_DETACH), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_audit_disk");
    TCase *live = harness_live_case(suite, "disk", 40);

    tcase_add_checked_fixture(live, audited_set_up, audited_tear_down);
    tcase_add_loop_test(live, the_audit_process_runs_apart, 0, 2); /* 1: as the others' user */
    tcase_add_test(live, a_directory_of_root_is_told_and_taken_when_it_is_given);
    tcase_add_test(live, a_user_of_its_own_alone_has_the_key);
    tcase_add_test(live, closed_files_are_archived_and_then_removed);
    tcase_add_test(live, an_archive_command_that_fails_removes_nothing);
    tcase_add_test(live, what_is_stored_stays_for_its_retention);
    tcase_add_test(live, a_file_that_cannot_be_begun_is_told_at_once);
    tcase_add_test(live, what_the_disk_does_not_take_outlives_the_process);
    tcase_add_test(live, degrade_lends_on_and_counts_what_it_does_not_record);
    tcase_add_test(live, events_that_find_no_room_are_counted);
    tcase_add_test(live, a_disk_that_fills_is_announced_and_has_a_reserve);
    return harness_main(suite);
}
