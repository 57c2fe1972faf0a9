/* SPDX-License-Identifier: ISC */
/*
 * live_top_test.c - pglend top in a real terminal, which tmux is: what the screen says, at 80×24 and smaller, and that
 * the terminal comes back as it was.
 */
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct pglendd *daemon_;
static char screen[65536];

/* Run tmux with the words of COMMAND (a shell's), its output into SCREEN. Exit status. */
static int tmux(const char *format, const char *argument)
{
    char command[1024], rest[768];
    FILE *out;
    size_t length;
    int status;

    (void)snprintf(rest, sizeof rest, format, argument);
    (void)snprintf(command, sizeof command, "TMUX_TMPDIR='%s' TMUX= timeout 10 tmux -u -f /dev/null -L top %s 2>&1",
                   daemon_->directory, rest);
    out = popen(command, "re");
    ck_assert_ptr_nonnull(out);
    length = fread(screen, 1, sizeof screen - 1, out);
    screen[length] = '\0';
    status = pclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *capture(void)
{
    (void)tmux("capture-pane -p -t top%s", "");
    return screen;
}

static bool shows(const char *text)
{
    return strstr(capture(), text) != NULL;
}

static int hold(void *argument, int sock)
{
    pglend *pool = pglend_open(daemon_->runtime_dir, "clinic");
    PGconn *conn = pglend_acquire_as(pool, argument, NULL, 20000);

    ck_assert_ptr_nonnull(conn);
    say(sock, 'h');
    (void)hear(sock, 30);
    ck_assert_int_eq(pglend_release(pool, conn), 0);
    pglend_close(pool);
    return 0;
}

static bool has_tmux(void)
{
    if (system("command -v tmux >/dev/null 2>&1") == 0)
        return true;
    printf("live_top: skipped, tmux is not installed\n");
    return false;
}

static void start_top(void)
{
    char command[512];

    (void)snprintf(command, sizeof command,
                   "sh -c 'stty -a | head -4; %s --runtime-dir %s top; echo exit=$?; stty -a; cat'",
                   harness_product("pglend"), daemon_->runtime_dir);
    ck_assert_msg(tmux("new-session -d -s top -x 80 -y 24 \"%s\"", command) == 0, "%s", screen);
}

static unsigned lines(void)
{
    unsigned count = 0;

    for (const char *at = capture(); *at != '\0'; at++)
        count += *at == '\n';
    return count;
}

START_TEST(it_shows_what_is_there)
{
    struct worker_process holder, waiter;
    char pid[32];

    if (!has_tmux())
        return;
    daemon_ = pglendd_start(harness_server(), "{'pools': {'clinic': {'size': {'min': 1, 'max': 1}}}}");
    worker_fork(&holder, hold, "dr.who");
    ck_assert_int_eq(hear(holder.sock, 5), 'h');
    worker_fork(&waiter, hold, "dr.no");
    wait_until(pglendd_count(daemon_, "waiting") == 1, 5);
    start_top();
    wait_until(shows("Oldest waiters"), 10);
    ck_assert_msg(shows("Pools") && shows("Longest leases") && shows("Busiest workers") && shows("q quits"), "%s",
                  screen);
    ck_assert_msg(shows("clinic") && shows("dr.who"), "%s", screen);
    (void)snprintf(pid, sizeof pid, "%d", (int)waiter.pid);
    ck_assert_msg(shows(pid), "no waiter %s: %s", pid, screen);
    ck_assert_uint_le(lines(), 24);
    say(holder.sock, 'g');
    ck_assert_int_eq(hear(waiter.sock, 5), 'h');
    wait_until(shows("nobody waits") && shows("dr.no") && !shows("dr.who"), 10);
    ck_assert_int_eq(tmux("resize-window -t top -x 40 -y 8%s", ""), 0);
    wait_until(shows("Pools") && !shows("q quits"), 10);
    ck_assert_int_eq(tmux("resize-window -t top -x 80 -y 24%s", ""), 0);
    wait_until(shows("Oldest waiters") && shows("q quits"), 10);
    say(waiter.sock, 'g');
    ck_assert_int_eq(worker_wait(&holder, 5), 0);
    ck_assert_int_eq(worker_wait(&waiter, 5), 0);
    ck_assert_int_eq(tmux("send-keys -t top q%s", ""), 0);
    wait_until(shows("exit=0"), 10);
    ck_assert_msg(!shows("Oldest waiters") && !shows("-icanon") && !shows("-echo ") && !shows("-isig"), "%s", screen);
    (void)tmux("kill-server%s", "");
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(the_supervisor_goes_and_comes_back)
{
    if (!has_tmux())
        return;
    daemon_ = pglendd_start(harness_server(), NULL);
    start_top();
    wait_until(shows("q quits"), 10);
    pglendd_kill(daemon_);
    wait_until(shows("no supervisor answers"), 10);
    pglendd_resume(daemon_);
    wait_until(shows("q quits"), 10);
    ck_assert_int_eq(tmux("send-keys -t top C-c%s", ""), 0);
    wait_until(shows("exit=0"), 10);
    (void)tmux("kill-server%s", "");
    pglendd_stop(daemon_);
}
END_TEST

START_TEST(without_a_terminal)
{
    char command[512], said[1024];
    FILE *out;
    size_t length;
    int status;

    daemon_ = pglendd_start(harness_server(), NULL);
    (void)snprintf(command, sizeof command, "%s --runtime-dir %s top 2>&1 </dev/null", harness_product("pglend"),
                   daemon_->runtime_dir);
    out = popen(command, "re");
    ck_assert_ptr_nonnull(out);
    length = fread(said, 1, sizeof said - 1, out);
    said[length] = '\0';
    status = pclose(out);
    ck_assert_int_eq(WEXITSTATUS(status), 2);
    ck_assert_msg(strstr(said, "top draws on a terminal") != NULL, "%s", said);
    pglendd_stop(daemon_);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_top");
    TCase *tc = harness_live_case(suite, "top", 40);

    tcase_add_test(tc, it_shows_what_is_there);
    tcase_add_test(tc, the_supervisor_goes_and_comes_back);
    tcase_add_test(tc, without_a_terminal);
    return harness_main(suite);
}
