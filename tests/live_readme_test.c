/* SPDX-License-Identifier: ISC */
/*
 * live_readme_test.c - what `make install` puts where, and README's complete worker: built as README says against what
 * was installed, and run.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char root[128]; /* of what is installed */

static const char *source(void)
{
    const char *path = getenv("PGLEND_SOURCE");

    return path != NULL ? path : ".";
}

/* What COMMAND, run by sh, says on both of its outputs; it must succeed. */
static char *output_of(const char *command)
{
    static char said[65536];
    FILE *out = popen(command, "re");

    ck_assert_ptr_nonnull(out);
    said[fread(said, 1, sizeof said - 1, out)] = '\0';
    ck_assert_msg(pclose(out) == 0, "failed: %s\n%s", command, said);
    return said;
}

/* GOAL, of products that stand as they are: a build of other flags is not this test's to make anew. */
static void make(const char *goal)
{
    static const char *const products[] = {"pglendd", "pglend", "pglend-export", "libpglend.so", "libpglend.a"};
    char build[4096], command[16384];
    int at;

    (void)snprintf(build, sizeof build, "%.*s", (int)strlen(harness_product("")) - 1, harness_product(""));
    at = snprintf(command, sizeof command,
                  "env -u MAKEFLAGS -u MAKELEVEL make -C '%s' BUILD='%s' DESTDIR=/ prefix='%s/usr' sysconfdir='%s/etc'",
                  source(), build, root, root);
    for (size_t i = 0; i < sizeof products / sizeof products[0]; i++)
        at += snprintf(command + at, sizeof command - (size_t)at, " -o '%s/%s'", build, products[i]);
    (void)snprintf(command + at, sizeof command - (size_t)at, " %s 2>&1", goal);
    (void)output_of(command);
}

static void install(void)
{
    (void)snprintf(root, sizeof root, "%s/install", harness_directory());
    make("install");
}

/* ---- what is where ---- */

static const struct {
    const char *path;
    mode_t mode;
} installed[] = {
    {"/etc/pglend", S_IFDIR | 0755},
    {"/usr/bin/pglend", S_IFREG | 0755},
    {"/usr/bin/pglend-export", S_IFREG | 0755},
    {"/usr/sbin/pglendd", S_IFREG | 0755},
    {"/usr/include/pglend.h", S_IFREG | 0644},
    {"/usr/lib/libpglend.so.0", S_IFREG | 0644},
    {"/usr/lib/libpglend.so", S_IFLNK | 0777},
    {"/usr/lib/libpglend.a", S_IFREG | 0644},
    {"/usr/lib/pkgconfig/pglend.pc", S_IFREG | 0644},
    {"/usr/lib/systemd/system/pglendd.service", S_IFREG | 0644},
    {"/usr/lib/systemd/system/pglend-export.service", S_IFREG | 0644},
    {"/usr/lib/sysusers.d/pglend.conf", S_IFREG | 0644},
    {"/usr/lib/tmpfiles.d/pglend.conf", S_IFREG | 0644},
    {"/usr/share/bash-completion/completions/pglend", S_IFREG | 0644},
    {"/usr/share/doc/pglend/pglend.json", S_IFREG | 0644},
    {"/usr/share/doc/pglend/pglend.schema.json", S_IFREG | 0644},
    {"/usr/share/man/man1/pglend.1", S_IFREG | 0644},
    {"/usr/share/man/man3/libpglend.3", S_IFREG | 0644},
    {"/usr/share/man/man5/pglend.json.5", S_IFREG | 0644},
    {"/usr/share/man/man5/pglend-audit.5", S_IFREG | 0644},
    {"/usr/share/man/man7/pglend-hipaa.7", S_IFREG | 0644},
    {"/usr/share/man/man8/pglendd.8", S_IFREG | 0644},
};
#define INSTALLED (sizeof installed / sizeof installed[0])

static size_t files_left;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)path;
    (void)st;
    (void)where;
    files_left += type != FTW_D;
    return 0;
}

static size_t files_there(void)
{
    files_left = 0;
    ck_assert_int_eq(nftw(root, count_file, 16, FTW_PHYS), 0);
    return files_left;
}

START_TEST(install_and_uninstall)
{
    struct stat st;

    install();
    for (size_t i = 0; i < INSTALLED; i++) {
        char path[256];

        (void)snprintf(path, sizeof path, "%s%s", root, installed[i].path);
        ck_assert_msg(lstat(path, &st) == 0, "%s is not there", path);
        ck_assert_msg(st.st_mode == installed[i].mode, "%s has mode %o", path, (unsigned)st.st_mode);
    }
    ck_assert_uint_eq(files_there(), INSTALLED - 1); /* and nothing else; one is a directory */
    make("uninstall");
    ck_assert_uint_eq(files_there(), 0);
}
END_TEST

/* ---- the worker ---- */

/* What README.md has between FROM and TO, which come in this order after HEADING. */
static char *readme(const char *heading, const char *from, const char *to)
{
    static char text[65536];
    char path[4096], *begin, *end;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/README.md", source());
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    (void)fclose(f);
    ck_assert_ptr_nonnull(begin = strstr(text, heading));
    ck_assert_ptr_nonnull(begin = strstr(begin, from));
    begin += strlen(from);
    ck_assert_ptr_nonnull(end = strstr(begin, to));
    *end = '\0';
    return begin;
}

static void build_worker(void)
{
    char path[256], command[4096];
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/worker.c", root);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fputs(readme("## A complete worker", "```c\n", "```"), f) >= 0 && fclose(f) == 0);
    /* README's line, but with the compiler and sanitizers of this build. */
    (void)snprintf(command, sizeof command,
                   "cd '%s' && export PKG_CONFIG_PATH='%s/usr/lib/pkgconfig'; "
                   "cc() { command ${CC:-cc} -Wall -Wextra ${SANITIZE:+-fsanitize=$SANITIZE} \"$@\"; }; cc %s 2>&1",
                   root, root, readme("## A complete worker", "\n    cc ", "\n"));
    ck_assert_str_eq(output_of(command), "");
}

START_TEST(the_complete_worker_works)
{
    struct pglendd *d = pglendd_start(harness_server(), NULL);
    char command[1024], *line, *rest;
    int lines = 0;

    postgres_run(harness_server(), "create table appointment as select generate_series(1, 7) as id");
    postgres_run(harness_server(), "grant select on appointment to clinic");
    install();
    build_worker();
    (void)snprintf(command, sizeof command, "LD_LIBRARY_PATH='%s/usr/lib' PGLEND_RUNTIME_DIR='%s' '%s/worker' 2>&1",
                   root, d->runtime_dir, root);
    rest = output_of(command);
    while ((line = strsep(&rest, "\n")) != NULL && *line != '\0') {
        ck_assert_msg(strstr(line, ": 7 appointments") != NULL, "%s", line);
        lines++;
    }
    ck_assert_int_eq(lines, 5); /* four children and their parent */
    pglendd_stop(d);
    postgres_run(harness_server(), "drop table appointment");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_readme");
    TCase *tc = harness_live_case(suite, "readme", 60);

    tcase_add_test(tc, install_and_uninstall);
    tcase_add_test(tc, the_complete_worker_works);
    return harness_main(suite);
}
