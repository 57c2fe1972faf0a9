/* SPDX-License-Identifier: ISC */
/*
 * password_test.c - which password files are taken, and what is said of the others.
 */
#include "login.h"

#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/pglend-password-XXXXXX", path[128], other[128];
static char password[PASSWORD_MAX], error[1024];

static void make_directory(void)
{
    ck_assert_ptr_nonnull(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/password", directory);
    (void)snprintf(other, sizeof other, "%s/other", directory);
}

static void remove_directory(void)
{
    (void)unlink(path);
    (void)unlink(other);
    (void)rmdir(directory);
}

static void write_file(const char *file, const void *text, size_t length, mode_t mode)
{
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    ck_assert_int_ne(fd, -1);
    ck_assert_int_eq(write(fd, text, length), (ssize_t)length);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    ck_assert_int_eq(close(fd), 0);
}

static void taken(const char *expected)
{
    ck_assert_msg(password_read(path, password, error, sizeof error) == 0, "refused: %s", error);
    ck_assert_str_eq(password, expected);
}

static void refused(const char *because)
{
    ck_assert_int_eq(password_read(path, password, error, sizeof error), -1);
    ck_assert_msg(strstr(error, because) != NULL, "\"%s\" does not say \"%s\"", error, because);
    ck_assert_msg(strstr(error, path) != NULL, "\"%s\" does not name the file", error);
    ck_assert_str_eq(password, "");
}

/* One row a text; expected NULL: refused, and why. */
static const struct {
    const char *text;
    size_t length;
    const char *expected, *because;
} texts[] = {
    {"secret", 6, "secret", NULL},
    {"secret\n", 7, "secret", NULL},
    {" it's \\ a \t\"secret\" \n", 21, " it's \\ a \t\"secret\" ", NULL},
    {"secret\r\n", 8, "secret\r", NULL},
    {"", 0, NULL, "is empty"},
    {"\n", 1, NULL, "is empty"},
    {"secret\n\n", 8, NULL, "more than one line"},
    {"one\ntwo\n", 8, NULL, "more than one line"},
    {"se\0ret\n", 7, NULL, "NUL"},
};

START_TEST(what_it_holds)
{
    write_file(path, texts[_i].text, texts[_i].length, 0600);
    if (texts[_i].expected != NULL)
        taken(texts[_i].expected);
    else
        refused(texts[_i].because);
}
END_TEST

static const struct {
    mode_t mode;
    const char *because;
} modes[] = {
    {0600, NULL},         {0400, NULL},         {0640, NULL},        {0660, NULL},
    {0604, "chmod 0600"}, {0644, "chmod 0600"}, {0601, "everybody"}, {0602, "mode 0602"},
};

/* The group of a new file is the process's own here. */
START_TEST(who_may_read_it)
{
    write_file(path, "secret\n", 7, modes[_i].mode);
    if (modes[_i].because == NULL)
        taken("secret");
    else
        refused(modes[_i].because);
}
END_TEST

START_TEST(a_strangers_group_or_ownership)
{
    if (geteuid() != 0)
        return; /* only root can give files away */
    write_file(path, "secret\n", 7, 0640);
    ck_assert_int_eq(chown(path, 0, 54321), 0);
    refused("a group that is neither root's nor");
    ck_assert_int_eq(chmod(path, 0600), 0);
    taken("secret");
    ck_assert_int_eq(chown(path, 54321, 0), 0);
    refused("is owned by 54321");
}
END_TEST

/* As in a pod with an fsGroup: the secret is root's, and the group's that the process was put in. */
START_TEST(a_supplementary_group_may_read_it)
{
    const gid_t ours = 23456;

    if (geteuid() != 0) {
        printf("a_supplementary_group_may_read_it skipped: only root can be in any group\n");
        return;
    }
    write_file(path, "x", 1, 0440);
    ck_assert_int_eq(chown(path, 0, ours), 0);
    ck_assert_int_eq(chmod(directory, 0755), 0);
    refused("a group that is neither root's nor one of pglendd's own");
    ck_assert_int_eq(setgroups(1, &ours), 0);
    ck_assert_int_eq(setresgid(65534, 65534, 65534), 0);
    ck_assert_int_eq(seteuid(65534), 0);
    taken("x");
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(chown(path, 0, ours + 1), 0);
    ck_assert_int_eq(chmod(path, 0460), 0);
    refused("a group that is neither");
}
END_TEST

START_TEST(links_are_followed_and_the_target_is_judged)
{
    write_file(other, "secret\n", 7, 0600);
    ck_assert_int_eq(symlink(other, path), 0);
    taken("secret");
    ck_assert_int_eq(chmod(other, 0644), 0);
    refused("chmod 0600");
}
END_TEST

START_TEST(not_a_file)
{
    refused("cannot be opened");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    refused("not a regular file");
    (void)unlink(path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    refused("not a regular file");
    (void)rmdir(path);
}
END_TEST

START_TEST(too_long)
{
    char text[PASSWORD_MAX];

    memset(text, 'x', sizeof text);
    write_file(path, text, PASSWORD_MAX - 1, 0600);
    ck_assert_int_eq(password_read(path, password, error, sizeof error), 0);
    ck_assert_uint_eq(strlen(password), PASSWORD_MAX - 1);
    write_file(path, text, PASSWORD_MAX, 0600);
    refused("has 4096 bytes");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("password");
    TCase *tc = tcase_create("password");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, make_directory, remove_directory);
    tcase_add_loop_test(tc, what_it_holds, 0, sizeof texts / sizeof texts[0]);
    tcase_add_loop_test(tc, who_may_read_it, 0, sizeof modes / sizeof modes[0]);
    tcase_add_test(tc, a_strangers_group_or_ownership);
    tcase_add_test(tc, a_supplementary_group_may_read_it);
    tcase_add_test(tc, links_are_followed_and_the_target_is_judged);
    tcase_add_test(tc, not_a_file);
    tcase_add_test(tc, too_long);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
