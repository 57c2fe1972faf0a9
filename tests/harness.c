/* SPDX-License-Identifier: ISC */
/*
 * harness.c - cases with bounds and checks for leaks, the program's directory, its end.
 *
 * The hard thing is to find what a test left running: its processes may have left its group and session. So every
 * test's process, and the program's, is a subreaper: what is orphaned below it becomes its child.
 */
#include "harness.h"
#include "pglend.h"
#include "segment.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS_MAX 1024
#define GRACE_MS        5000U /* for what is on its way out */
#define LOG_TAIL        6000

static char directory[] = "/tmp/pglend-XXXXXX";
static struct postgres *server;
static bool was_open[DESCRIPTORS_MAX];

uint64_t harness_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void harness_sleep_ms(unsigned ms)
{
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    (void)nanosleep(&pause, NULL);
}

const char *harness_directory(void)
{
    return directory;
}

struct postgres *harness_server(void)
{
    return server;
}

const char *harness_product(const char *name)
{
    static char path[PATH_MAX];
    const char *build = getenv("PGLEND_BUILD");

    ck_assert_int_lt(snprintf(path, sizeof path, "%s/%s", build != NULL ? build : "build", name), (int)sizeof path);
    return path;
}

unsigned harness_rounds(unsigned ordinary)
{
    const char *factor = getenv("PGLEND_TEST_ROUNDS");
    unsigned long times = factor != NULL ? strtoul(factor, NULL, 10) : 1;

    return ordinary * (unsigned)(times > 0 && times < 10000 ? times : 1);
}

void harness_unprivileged(uid_t *uid, gid_t *gid)
{
    const struct passwd *nobody = geteuid() == 0 ? getpwnam("nobody") : NULL;

    ck_assert_msg(geteuid() != 0 || nobody != NULL, "there is no user \"nobody\" to run as");
    *uid = nobody != NULL ? nobody->pw_uid : geteuid();
    *gid = nobody != NULL ? nobody->pw_gid : getegid();
}

void harness_drop(void)
{
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0)
        return;
    harness_unprivileged(&uid, &gid);
    if (setgroups(0, NULL) == -1 || setresgid(gid, gid, gid) == -1 || setresuid(uid, uid, uid) == -1) {
        perror("cannot become nobody");
        _exit(EXIT_FAILURE);
    }
}

/* ---- leaks ---- */

static bool is_open(int fd, char target[256])
{
    char path[64];
    ssize_t length;

    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    length = readlink(path, target, 255);
    target[length > 0 ? length : 0] = '\0';
    return length >= 0;
}

static void before_test(void)
{
    char target[256];

    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    pglend_close(pglend_open("/", "-")); /* the library keeps one descriptor a process, from the first handle on */
    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
        was_open[fd] = is_open(fd, target);
}

/* Reaps what ended. True when no child is left; else one of them. */
static bool childless(pid_t *left)
{
    pid_t child[1];

    while (waitpid(-1, NULL, WNOHANG) > 0)
        continue;
    *left = process_children(getpid(), child, 1) > 0 ? child[0] : 0;
    return *left == 0;
}

static void no_child_left(void)
{
    uint64_t until = harness_now_ms() + GRACE_MS;
    char title[256];
    pid_t left;

    while (!childless(&left) && harness_now_ms() < until)
        harness_sleep_ms(5);
    process_title(left, title);
    ck_assert_msg(left == 0, "leaked: process %d, \"%s\"", (int)left, title);
}

static void after_test(void)
{
    char target[256];

    no_child_left();
    for (int fd = 0; fd < DESCRIPTORS_MAX; fd++)
        ck_assert_msg(!is_open(fd, target) || was_open[fd], "leaked: descriptor %d, %s", fd, target);
}

static void after_live_test(void)
{
    uint64_t until = harness_now_ms() + GRACE_MS;

    after_test();
    while (postgres_sessions(server) > 0 && harness_now_ms() < until)
        harness_sleep_ms(10);
    ck_assert_msg(postgres_sessions(server) == 0, "leaked: a session of PostgreSQL: %s",
                  postgres_ask(server, "select pid || ' ' || state || ': ' || query from pg_stat_activity where "
                                       "usename <> 'postgres'"));
}

TCase *harness_case(Suite *suite, const char *name, double seconds)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, seconds);
    tcase_add_checked_fixture(tc, before_test, after_test);
    suite_add_tcase(suite, tc);
    return tc;
}

/* Unchecked: it runs in the program's own process, once a case. */
static void start_server(void)
{
    if (server == NULL)
        server = postgres_start(0);
}

TCase *harness_live_case(Suite *suite, const char *name, double seconds)
{
    TCase *tc = tcase_create(name);

    tcase_set_timeout(tc, seconds);
    tcase_add_unchecked_fixture(tc, start_server, NULL);
    tcase_add_checked_fixture(tc, before_test, after_live_test);
    suite_add_tcase(suite, tc);
    return tc;
}

/* ---- the program's end ---- */

/* A failed test cleans nothing up: its daemons' shared memory has names that follow from their directories. */
static void remove_shared_memory(const char *runtime_dir)
{
    char instance[17], prefix[32];
    DIR *dir = opendir("/dev/shm");

    segment_instance(runtime_dir, instance);
    (void)snprintf(prefix, sizeof prefix, "pglend.%s.", instance);
    for (const struct dirent *e = dir != NULL ? readdir(dir) : NULL; e != NULL; e = readdir(dir))
        if (strncmp(e->d_name, prefix, strlen(prefix)) == 0)
            (void)shm_unlink(e->d_name);
    if (dir != NULL)
        (void)closedir(dir);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
    (void)st;
    (void)type;
    if (strcmp(path + where->base, "run") == 0)
        remove_shared_memory(path);
    return remove(path);
}

static int show_log(const char *path, const struct stat *st, int type, struct FTW *where)
{
    char text[LOG_TAIL + 1] = "";
    FILE *log;

    if (type != FTW_F || strcmp(path + where->base, "log") != 0 ||
        (server != NULL && strstr(path, "/template/") != NULL) || (log = fopen(path, "r")) == NULL)
        return 0;
    (void)fseek(log, st->st_size > LOG_TAIL ? st->st_size - LOG_TAIL : 0, SEEK_SET);
    text[fread(text, 1, LOG_TAIL, log)] = '\0';
    printf("---- end of %s:\n%s", path, text);
    return fclose(log);
}

static void end_what_is_left(void)
{
    uint64_t until = harness_now_ms() + GRACE_MS;
    pid_t left;

    if (server != NULL) {
        (void)kill(server->pid, SIGQUIT);
        (void)waitpid(server->pid, NULL, 0);
        free(server);
    }
    while (!childless(&left) && harness_now_ms() < until) {
        (void)kill(left, SIGKILL);
        harness_sleep_ms(5);
    }
}

int harness_main(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    const char *asan = getenv("ASAN_OPTIONS"), *one = getenv("PGLEND_TEST_ONLY");
    char options[512];
    int failed;

    /* For the programs the tests execute: those that hold secrets forbid the tracing that leak detection needs. */
    (void)snprintf(options, sizeof options, "%s%sdetect_leaks=0", asan != NULL ? asan : "", asan != NULL ? ":" : "");
    (void)setenv("ASAN_OPTIONS", options, 1);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (mkdtemp(directory) == NULL || chmod(directory, 0755) == -1) {
        perror(directory);
        return EXIT_FAILURE;
    }
    srunner_run_tagged(runner, NULL, one, NULL, NULL, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    end_what_is_left();
    if (failed > 0)
        (void)nftw(directory, show_log, 16, FTW_PHYS);
    if (getenv("PGLEND_TEST_KEEP") == NULL)
        (void)nftw(directory, remove_entry, 16, FTW_PHYS | FTW_DEPTH);
    else
        printf("files are in %s\n", directory);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
