/* SPDX-License-Identifier: ISC */
/*
 * audit_trail_test.c - the audit trail as it is written, on a real file system, and `pglend audit` that reads it.
 *
 * Crashes are made of the files themselves: a copy of the trail as it was at some sync, with what was not yet on disk
 * dropped or torn, is gone on with by the same code that pglendd runs at its start, and must then be intact.
 */
#include "audit_trail.h"
#include "audited.h"
#include "daemon.h"
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BATCH 8

static char directory[128], key_path[128];
static struct audit_trail trail;

/* ---- what pglend audit says ---- */

static void expect_verdict(int expected, const char *what)
{
    int verdict = audited_run("verify --key %s %s", key_path, directory);

    ck_assert_msg(verdict == expected, "%s: verdict %d, not %d: %s", what, verdict, expected, audited_output);
}

static void said(const char *text)
{
    ck_assert_msg(strstr(audited_output, text) != NULL, "no \"%s\" in: %s", text, audited_output);
}

/* ---- a trail ---- */

static void new_directory(const char *name)
{
    snprintf(directory, sizeof directory, "%s/%s", harness_directory(), name);
    snprintf(key_path, sizeof key_path, "%s/%s.key", harness_directory(), name);
}

static void remove_trail(const char *path)
{
    char command[256];

    snprintf(command, sizeof command, "rm -rf '%s'", path);
    ck_assert_int_eq(system(command), 0);
}

static void set_up(void)
{
    new_directory("trail");
    remove_trail(directory);
    (void)unlink(key_path);
    ck_assert_int_eq(audited_run("init --key-out %s %s", key_path, directory), 0);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
}

static void tear_down(void)
{
    audit_trail_close(&trail);
    remove_trail(directory);
    (void)unlink(key_path);
}

static void begin(void)
{
    char error[512];

    ck_assert_msg(audit_trail_open(&trail, directory, 0, error, sizeof error) == 0, "%s", error);
}

/* The process ends as by kill -9: what it had written stays, what waited is gone. */
static void die(void)
{
    EVP_PKEY_free(trail.signer);
    trail.signer = NULL;
    audit_trail_close(&trail);
}

static void add_leases(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct audit_values values = {0};

        audit_set_text(&values, AUDIT_FIELD_POOL, "clinic");
        audit_set_text(&values, AUDIT_FIELD_ACTOR, i % 2 == 0 ? "dr.lee" : "=cmd");
        audit_set_text(&values, AUDIT_FIELD_PURPOSE, "treatment");
        audit_set_number(&values, AUDIT_FIELD_UID, 33);
        audit_set_number(&values, AUDIT_FIELD_DURATION, 1500000);
        ck_assert(audit_trail_add(&trail, i % 2 == 0 ? AUDIT_LEASE_BEGIN : AUDIT_LEASE_END, &values));
    }
}

static void path_of(uint32_t number, char path[256])
{
    char name[AUDIT_FILE_NAME_MAX];

    audit_file_name(name, number);
    snprintf(path, 256, "%s/%s", directory, name);
}

static off_t size_of(uint32_t number)
{
    char path[256];
    struct stat st;

    path_of(number, path);
    ck_assert_int_eq(stat(path, &st), 0);
    return st.st_size;
}

static void change(uint32_t number, off_t at, const char *bytes, size_t length)
{
    char path[256];
    int fd;

    path_of(number, path);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(pwrite(fd, bytes, length, at), (ssize_t)length);
    (void)close(fd);
}

static void cut(uint32_t number, off_t size)
{
    char path[256];

    path_of(number, path);
    ck_assert_int_eq(truncate(path, size), 0);
}

START_TEST(a_trail_goes_on_from_run_to_run)
{
    begin();
    add_leases(100);
    ck_assert(audit_trail_sync(&trail));
    expect_verdict(AUDIT_INTACT, "while it is written");
    audit_trail_close(&trail);
    begin();
    add_leases(10);
    ck_assert(audit_trail_rotate(&trail));
    add_leases(10);
    audit_trail_close(&trail);
    expect_verdict(AUDIT_INTACT, "two runs, a rotation");
    said("records 1 to 128");
    ck_assert_int_eq(audited_run("report %s --json", directory), 0);
    said("\"previous_end\": \"closed\"");
    begin();
    add_leases(5);
    ck_assert(audit_trail_sync(&trail));
    die();
    begin();
    audit_trail_close(&trail);
    expect_verdict(AUDIT_INTACT, "killed");
    ck_assert_int_eq(audited_run("report %s --json", directory), 0);
    said("\"previous_end\": \"killed\"");
}
END_TEST

START_TEST(files_may_not_be_missing)
{
    char path[256], anchor[128];

    begin();
    for (int i = 0; i < 3; i++) {
        add_leases(10);
        ck_assert(audit_trail_rotate(&trail));
    }
    audit_trail_close(&trail);
    ck_assert_int_eq(audited_run("head %s", directory), 0);
    snprintf(anchor, sizeof anchor, "%.*s", (int)strcspn(audited_output, "\n"), audited_output);
    ck_assert_int_eq(audited_run("verify --key %s --anchor %s %s", key_path, anchor, directory), AUDIT_INTACT);
    path_of(4, path);
    ck_assert_int_eq(unlink(path), 0);
    expect_verdict(AUDIT_INTACT, "the last file removed, nobody remembers it");
    ck_assert_int_eq(audited_run("verify --key %s --anchor %s %s", key_path, anchor, directory), AUDIT_SHORTER);
    path_of(2, path);
    ck_assert_int_eq(unlink(path), 0);
    expect_verdict(AUDIT_ALTERED, "a file in the middle removed");
    path_of(1, path);
    ck_assert_int_eq(unlink(path), 0);
    expect_verdict(AUDIT_UNKNOWN, "it begins with the third file");
    ck_assert_int_eq(audited_run("verify %s", directory), AUDIT_UNKNOWN);
}
END_TEST

/* With the head of what went before, what is left can be verified. */
START_TEST(a_trail_whose_first_files_are_archived_is_verified_behind_them)
{
    char path[256], begin_at[128], *last;

    begin();
    add_leases(10);
    ck_assert(audit_trail_checkpoint(&trail, "timer"));
    ck_assert(audit_trail_checkpoint(&trail, "rotate"));
    ck_assert_int_eq(audited_run("head %s", directory), 0);
    snprintf(begin_at, sizeof begin_at, "%.*s", (int)strcspn(audited_output, "\n"), audited_output);
    die();
    begin();
    add_leases(10);
    audit_trail_close(&trail);
    path_of(1, path);
    ck_assert_int_eq(unlink(path), 0);
    expect_verdict(AUDIT_UNKNOWN, "without the record before");
    ck_assert_int_eq(audited_run("verify --key %s --begin %s %s", key_path, begin_at, directory), AUDIT_INTACT);
    last = &begin_at[strlen(begin_at) - 1];
    *last = *last == '0' ? '1' : '0'; /* another digit */
    ck_assert_int_eq(audited_run("verify --key %s --begin %s %s", key_path, begin_at, directory), AUDIT_ALTERED);
}
END_TEST

START_TEST(a_torn_end_is_kept_and_explained)
{
    off_t before, torn;

    begin();
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    before = size_of(1);
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    die();
    cut(1, torn = before + 1000);
    expect_verdict(AUDIT_TORN, "cut in a record");
    begin();
    audit_trail_close(&trail);
    expect_verdict(AUDIT_INTACT, "explained");
    ck_assert_int_eq(size_of(1), torn);
    ck_assert_int_eq(audited_run("report %s --json", directory), 0);
    said("\"previous_end\": \"torn\"");
    /* What was vouched for cannot be changed either. */
    change(1, torn - 1, "#", 1);
    expect_verdict(AUDIT_ALTERED, "the torn bytes changed");
}
END_TEST

/* A hand that cuts and then kills: a checkpoint knew better. */
START_TEST(what_a_checkpoint_knew_cannot_be_passed_off_as_a_crash)
{
    off_t early;

    begin();
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    early = size_of(1);
    add_leases(100);
    ck_assert(audit_trail_checkpoint(&trail, "timer"));
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    die();
    cut(1, early + 100);
    begin();
    add_leases(10);
    audit_trail_close(&trail);
    expect_verdict(AUDIT_ALTERED, "cut before a checkpoint");
    begin();
    add_leases(10);
    audit_trail_close(&trail);
    expect_verdict(AUDIT_ALTERED, "for ever");
}
END_TEST

START_TEST(a_changed_bit_stays_visible_over_a_restart)
{
    begin();
    add_leases(20);
    ck_assert(audit_trail_sync(&trail));
    die();
    change(1, size_of(1) - 2000, "#", 1);
    begin();
    add_leases(3);
    audit_trail_close(&trail);
    expect_verdict(AUDIT_ALTERED, "a byte in the last batch");
}
END_TEST

/* A checkpoint knew records of it: what is there now is evidence, and no file that a crash took. */
START_TEST(a_file_whose_first_record_is_gone_stays)
{
    begin();
    add_leases(20);
    ck_assert(audit_trail_checkpoint(&trail, "timer"));
    die();
    change(1, 0, "#", 1);
    begin();
    add_leases(3);
    audit_trail_close(&trail);
    ck_assert_int_gt(size_of(1), 0);
    ck_assert_int_gt(size_of(2), 0);
    expect_verdict(AUDIT_ALTERED, "its first byte");
}
END_TEST

START_TEST(the_key_before_is_erased)
{
    char first[AUDIT_HEX + 1], text[2048], path[256];
    struct audit_verification_key key;
    FILE *f;

    ck_assert(audit_verification_key_load(key_path, &key, text, sizeof text));
    audit_to_hex(key.key.bytes, AUDIT_HASH, first);
    audit_verification_key_clear(&key);
    begin();
    ck_assert(audit_trail_checkpoint(&trail, "timer"));
    audit_trail_close(&trail);
    snprintf(path, sizeof path, "%s/%s", directory, AUDIT_SEAL_NAME);
    f = fopen(path, "re");
    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    ck_assert_ptr_nonnull(strstr(text, "pglend-seal-1"));
    ck_assert_ptr_null(strstr(text, first));
}
END_TEST

/* A write that fails in the midst: nothing is lost, and the file that failed is left. */
START_TEST(a_file_that_fails_is_left_for_the_next)
{
    struct rlimit limit, small = {.rlim_cur = 30000};
    unsigned added = 0;

    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small.rlim_max = limit.rlim_max;
    begin();
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (trail.number < 4) {
        add_leases(BATCH);
        added += BATCH;
        ck_assert(audit_trail_sync(&trail));
        ck_assert_uint_lt(added, 1000);
    }
    audit_trail_close(&trail);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_verdict(AUDIT_INTACT, "three files failed");
    ck_assert_int_eq(audited_run("report --by uid --json %s", directory), 0);
    snprintf(directory + 120, 8, "%u", added / 2);
    said(directory + 120);
}
END_TEST

/* While no file can be written at all, records wait; when it can, none is missing. */
START_TEST(records_wait_for_a_disk_that_comes_back)
{
    struct rlimit limit, none = {.rlim_cur = 0};

    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    begin();
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
    for (int i = 0; i < 5; i++) {
        add_leases(10);
        ck_assert(!audit_trail_sync(&trail));
        ck_assert_uint_ne(strlen(trail.error), 0);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect_verdict(AUDIT_INTACT, "while the disk takes nothing");
    ck_assert(audit_trail_sync(&trail));
    audit_trail_close(&trail);
    expect_verdict(AUDIT_INTACT, "afterwards");
    ck_assert_int_eq(audited_run("report --by pool --csv %s", directory), 0);
    said("\"clinic\",30,90.0");
}
END_TEST

/* What the log says while the trail is closed, to audited_output. */
static void close_and_listen(void)
{
    int ends[2], saved = dup(STDERR_FILENO);
    ssize_t got;

    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    ck_assert_int_ne(dup2(ends[1], STDERR_FILENO), -1);
    audit_trail_close(&trail);
    ck_assert_int_ne(dup2(saved, STDERR_FILENO), -1);
    got = read(ends[0], audited_output, sizeof audited_output - 1);
    audited_output[got > 0 ? got : 0] = '\0';
    (void)close(saved);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* The last moment is one more chance, and what does not get it is said. */
START_TEST(what_waits_at_the_end_is_tried_once_more)
{
    struct rlimit limit, none = {.rlim_cur = 0};

    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none.rlim_max = limit.rlim_max;
    for (int comes_back = 0; comes_back < 2; comes_back++) {
        begin();
        add_leases(10);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &none), 0);
        ck_assert(!audit_trail_sync(&trail));
        if (comes_back)
            ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        close_and_listen();
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        if (comes_back)
            ck_assert_str_eq(audited_output, "");
        else
            said("records could not be written: cannot write file 2");
        expect_verdict(AUDIT_INTACT, "ended without a disk");
    }
    ck_assert_int_eq(audited_run("report --by pool --csv %s", directory), 0);
    said("\"clinic\",5,");
}
END_TEST

START_TEST(who_else_changes_the_present_file_is_noticed)
{
    begin();
    add_leases(10);
    ck_assert(audit_trail_sync(&trail));
    cut(1, size_of(1) - 500);
    add_leases(10);
    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    ck_assert(audit_trail_sync(&trail));
    ck_assert_uint_eq(trail.number, 2);
    audit_trail_close(&trail);
    expect_verdict(AUDIT_ALTERED, "cut under the writer's hands");
}
END_TEST

START_TEST(others_may_not_look)
{
    char error[512];

    ck_assert_int_eq(chmod(directory, 0750), 0);
    ck_assert_int_eq(audit_trail_open(&trail, directory, 0, error, sizeof error), -1);
    ck_assert_ptr_nonnull(strstr(error, "chmod 0700"));
    audit_trail_close(&trail);
    ck_assert_int_eq(chmod(directory, 0700), 0);
    snprintf(directory + strlen(directory), 8, "/x");
    ck_assert_int_eq(audit_trail_open(&trail, directory, 0, error, sizeof error), -1);
    ck_assert_ptr_nonnull(strstr(error, "pglend audit init"));
    directory[strlen(directory) - 2] = '\0';
}
END_TEST

/* ---- crashes ---- */

static size_t slurp(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = read(fd, out, size);

    ck_assert_int_ge(got, 0);
    (void)close(fd);
    return (size_t)got;
}

static void spill(const char *path, const char *text, size_t length)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_eq(write(fd, text, length), (ssize_t)length);
    (void)close(fd);
}

static size_t tear(char *text, size_t synced, size_t length)
{
    size_t left = rand() % 4 == 0 ? length : synced + (size_t)rand() % (length - synced + 1);

    for (size_t s = synced / AUDIT_SECTOR * AUDIT_SECTOR; s < left; s += AUDIT_SECTOR) {
        size_t from = s < synced ? synced : s, to = s + AUDIT_SECTOR < left ? s + AUDIT_SECTOR : left;

        if (rand() % 3 == 0)
            memset(text + from, 0, to - from);
    }
    return left;
}

/* Leave one file and the seal in the directory, as a crash would, go on, and see. */
static void crash_and_go_on(const char *text, size_t length, const char *seal)
{
    char path[256], command[512], error[512];

    snprintf(command, sizeof command, "rm -f %s/*.jsonl %s/*.torn", directory, directory);
    ck_assert_int_eq(system(command), 0);
    path_of(1, path);
    spill(path, text, length);
    snprintf(path, sizeof path, "%s/%s", directory, AUDIT_SEAL_NAME);
    spill(path, seal, 2 * AUDIT_SECTOR);
    ck_assert_msg(audit_trail_open(&trail, directory, 0, error, sizeof error) == 0, "%s", error);
    add_leases(2);
    audit_trail_close(&trail);
}

START_TEST(after_any_crash_the_trail_goes_on_and_is_intact)
{
    static char text[400000], torn[400000];
    size_t synced[64], length;
    char path[256], seal_path[256];
    unsigned points = 40, rounds = harness_rounds(4);
    static char seals[64][2 * AUDIT_SECTOR];

    log_set(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    snprintf(seal_path, sizeof seal_path, "%s/%s", directory, AUDIT_SEAL_NAME);
    begin();
    for (unsigned i = 0; i < points; i++) {
        synced[i] = (size_t)size_of(1);
        (void)slurp(seal_path, seals[i], sizeof seals[i]);
        /* A checkpoint is a sync of its own; the key follows it. */
        if (i % 5 != 0)
            add_leases(BATCH);
        ck_assert(i % 5 == 0 ? audit_trail_checkpoint(&trail, "timer") : audit_trail_sync(&trail));
    }
    path_of(1, path);
    length = slurp(path, text, sizeof text);
    die();
    synced[points] = length;
    for (unsigned i = 0; i < points * rounds; i++) {
        unsigned k = i % points;
        size_t end = synced[k + 1], left;

        memcpy(torn, text, end);
        left = tear(torn, synced[k], end);
        crash_and_go_on(torn, left, seals[k]);
        expect_verdict(AUDIT_INTACT, "after a crash");
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit_trail");
    TCase *written = harness_case(suite, "written", 20);
    TCase *crashed = harness_case(suite, "crashed", 40);

    tcase_add_checked_fixture(written, set_up, tear_down);
    tcase_add_checked_fixture(crashed, set_up, tear_down);
    tcase_add_test(written, a_trail_goes_on_from_run_to_run);
    tcase_add_test(written, files_may_not_be_missing);
    tcase_add_test(written, a_trail_whose_first_files_are_archived_is_verified_behind_them);
    tcase_add_test(written, a_torn_end_is_kept_and_explained);
    tcase_add_test(written, what_a_checkpoint_knew_cannot_be_passed_off_as_a_crash);
    tcase_add_test(written, a_changed_bit_stays_visible_over_a_restart);
    tcase_add_test(written, a_file_whose_first_record_is_gone_stays);
    tcase_add_test(written, the_key_before_is_erased);
    tcase_add_test(written, a_file_that_fails_is_left_for_the_next);
    tcase_add_test(written, records_wait_for_a_disk_that_comes_back);
    tcase_add_test(written, what_waits_at_the_end_is_tried_once_more);
    tcase_add_test(written, who_else_changes_the_present_file_is_noticed);
    tcase_add_test(written, others_may_not_look);
    tcase_add_test(crashed, after_any_crash_the_trail_goes_on_and_is_intact);
    return harness_main(suite);
}
