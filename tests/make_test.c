/* SPDX-License-Identifier: ISC */
/*
 * make_test.c - make on a machine that lacks what it needs, without that machine: programs are missing from PATH, and
 * id, uname and apt-get are others. Nothing is built.
 */
#include "harness.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PACKAGES "libjansson-dev libmicrohttpd-dev libpq-dev libseccomp-dev libssl-dev libuv1-dev pkgconf"
#define RUN_IT   "    apt-get install --no-install-recommends " PACKAGES " \n"

static char bin[128]; /* all that PATH has */
static char said[65536];

/* All programs of the system, but for those that find libraries, and apt-get. */
static void make_path(void)
{
    static const char *const missing[] = {"pkg-config", "pkgconf", "apt-get"};
    struct dirent *entry;
    DIR *dir;

    (void)snprintf(bin, sizeof bin, "%s/bin", harness_directory());
    if (mkdir(bin, 0755) == -1)
        return; /* another test's, and as it should be */
    ck_assert_ptr_nonnull(dir = opendir("/usr/bin"));
    while ((entry = readdir(dir)) != NULL) {
        char link[PATH_MAX], target[PATH_MAX];
        bool wanted = entry->d_name[0] != '.';

        for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++)
            wanted = wanted && strcmp(entry->d_name, missing[i]) != 0;
        (void)snprintf(link, sizeof link, "%s/%s", bin, entry->d_name);
        (void)snprintf(target, sizeof target, "/usr/bin/%s", entry->d_name);
        ck_assert(!wanted || symlink(target, link) == 0);
    }
    (void)closedir(dir);
}

/* PATH has a program NAME that runs SCRIPT. */
static void put(const char *name, const char *script)
{
    char path[256];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/%s", bin, name);
    (void)unlink(path);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fprintf(f, "#!/bin/sh\n%s\n", script) > 0 && fchmod(fileno(f), 0755) == 0 && fclose(f) == 0);
}

/* The exit status of make with WORDS and nothing but that PATH, and what it says. */
static int make(const char *words)
{
    const char *source = getenv("PGLEND_SOURCE");
    char command[2048];
    FILE *out;
    int status;

    (void)snprintf(command, sizeof command, "env -i PATH='%s' /usr/bin/make -C '%s' BUILD='%s/build' CC=sh %s 2>&1",
                   bin, source != NULL ? source : ".", harness_directory(), words);
    ck_assert_ptr_nonnull(out = popen(command, "re"));
    said[fread(said, 1, sizeof said - 1, out)] = '\0';
    status = pclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_said(const char *words)
{
    ck_assert_msg(strstr(said, words) != NULL, "no \"%s\" in: %s", words, said);
}

/* ---- who may install ---- */

static const struct refusal {
    const char *words; /* for make */
    const char *id;    /* of the user */
    const char *says;
} refusals[] = {
    {"NO_INSTALL=1", "0", "NO_INSTALL is set, so nothing was installed. Run as root:\n" RUN_IT},
    {"", "1000", "Only root can install packages. Run as root:\n" RUN_IT},
};

START_TEST(who_may_not_install_is_told_the_line_to_run)
{
    const struct refusal *r = &refusals[_i];
    char id[32];

    make_path();
    (void)snprintf(id, sizeof id, "echo %s", r->id);
    put("id", id);
    put("apt-get", "echo \"apt-get was run\"");
    ck_assert_int_eq(make(r->words), 2);
    expect_said("pglend: needed and not there: " PACKAGES " \n");
    expect_said(r->says);
    ck_assert_msg(strstr(said, "apt-get was run") == NULL, "%s", said);
}
END_TEST

/* What will be installed stands before it is, and it is believed when it is there. */
START_TEST(root_is_shown_the_list_first)
{
    const char *list, *run;

    make_path();
    put("id", "echo 0");
    put("apt-get", "echo \"apt-get was run: $*\"");
    ck_assert_int_eq(make(""), 2);
    list = strstr(said, "pglend: needed and not there: " PACKAGES " \n");
    run = strstr(said, "apt-get was run: ");
    ck_assert_msg(list != NULL && run != NULL && list < run, "%s", said);
    expect_said("install -y --no-install-recommends " PACKAGES);
    expect_said("After the installation this is still not there: pkgconf libpq-dev ");
}
END_TEST

START_TEST(another_system_is_told)
{
    make_path();
    put("uname", "echo FreeBSD");
    ck_assert_int_eq(make(""), 2);
    expect_said("pglend runs on Linux only");
    expect_said("this is FreeBSD");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("make");
    TCase *tc = harness_case(suite, "make", 30);

    tcase_add_loop_test(tc, who_may_not_install_is_told_the_line_to_run, 0, 2);
    tcase_add_test(tc, root_is_shown_the_list_first);
    tcase_add_test(tc, another_system_is_told);
    return harness_main(suite);
}
