/* SPDX-License-Identifier: ISC */
/*
 * live_sandbox_test.c - each process of pglendd makes the system calls that it needs, and no other: what is refused
 * fails with EPERM and a line in the log, and nobody dies of it.
 *
 * That they get by with those is what every other live test shows: pglendd_stop() fails where one was refused a call.
 */
#include "daemon.h"
#include "harness.h"
#include "pglend.h"
#include "pglendd.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static bool skipped(void)
{
    if (!sandbox_works())
        (void)printf("skipped: a build with sanitizers or coverage is not confined\n");
    return !sandbox_works();
}

/* ---- who may call what ---- */

/* 0, or -1 with errno, EPERM where it is refused. Whatever else fails is allowed. */
static int try_execve(void)
{
    char *none[] = {NULL};

    return execve("/nonexistent", none, none);
}

static int try_fork(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static int keep(int fd)
{
    return fd == -1 ? -1 : close(fd);
}

static int try_inet(void)
{
    return keep(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_unix(void)
{
    return keep(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

static int try_packets(void)
{
    return keep(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
}

static int try_read(void)
{
    return keep(open("/proc/self/stat", O_RDONLY | O_CLOEXEC));
}

static int try_stat(void)
{
    return access("/proc/self/stat", R_OK);
}

static int try_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page == MAP_FAILED ? -1 : munmap(page, 4096);
}

static int try_write(void)
{
    return keep(open("/dev/null", O_WRONLY | O_CLOEXEC));
}

static int try_create(void)
{
    return keep(open("/nonexistent/file", O_RDONLY | O_CREAT | O_CLOEXEC, 0600));
}

static int try_unlink(void)
{
    return unlink("/nonexistent");
}

static int try_setuid(void)
{
    return setuid(getuid());
}

static int try_kill(void)
{
    return kill(getpid(), 0);
}

static int try_memfd(void)
{
    return keep(memfd_create("sandbox", MFD_CLOEXEC));
}

static int try_sendmsg(void)
{
    return (int)sendmsg(-1, NULL, 0);
}

static int try_dup(void)
{
    return keep(dup(0));
}

static int try_tgkill(void)
{
    return (int)syscall(SYS_tgkill, getppid(), getppid(), 0);
}

static int try_ptrace(void)
{
    return (int)ptrace(PTRACE_CONT, -1, NULL, NULL);
}

static int try_read_memory(void)
{
    return (int)syscall(SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0);
}

static int try_unshare(void)
{
    return (int)syscall(SYS_unshare, 0);
}

static int try_mount(void)
{
    return (int)syscall(SYS_mount, NULL, NULL, NULL, 0, NULL);
}

static int try_bpf(void)
{
    return (int)syscall(SYS_bpf, 0, NULL, 0);
}

static int try_handle(void)
{
    return (int)syscall(SYS_open_by_handle_at, -1, NULL, 0);
}

static int try_userfault(void)
{
    return keep((int)syscall(SYS_userfaultfd, 0));
}

static int try_option(void)
{
    return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);
}

static int try_name(void)
{
    return prctl(PR_SET_NAME, "pglendd", 0, 0, 0);
}

/* Of a terminal: to put in what its user is then taken to have typed. */
static int try_request(void)
{
    return ioctl(-1, TIOCSTI, "");
}

static int try_nonblocking(void)
{
    return ioctl(-1, FIONBIO, NULL);
}

#define KEEPER     (1U << SANDBOX_KEEPER)
#define ARCHIVE    (1U << SANDBOX_ARCHIVE)
#define AUDIT      (1U << SANDBOX_AUDIT)
#define SUPERVISOR (1U << SANDBOX_SUPERVISOR)
#define SESSION    (1U << SANDBOX_SESSION)
#define RELAY      (1U << SANDBOX_RELAY)
#define WATCH      (1U << SANDBOX_WATCH)
#define CONFIG     (1U << SANDBOX_CONFIG)
#define NOBODY     0U
#define ALL        ((1U << SANDBOX_PROCESSES) - 1)

static const struct {
    const char *name;
    int (*attempt)(void);
    unsigned allowed;
} calls[] = {
    {"execve", try_execve, KEEPER | ARCHIVE},
    {"fork", try_fork, KEEPER | ARCHIVE},
    {"kill", try_kill, KEEPER | ARCHIVE},
    {"setuid", try_setuid, KEEPER},
    {"socket, network", try_inet, KEEPER | ARCHIVE | SESSION},
    {"socket, local", try_unix, ALL & ~(WATCH | RELAY | SUPERVISOR)},
    {"socket, raw packets", try_packets, NOBODY},
    {"look at a file", try_stat, ALL & ~RELAY},
    {"open to read", try_read, ALL & ~RELAY},
    {"map code", try_code, KEEPER | ARCHIVE | SESSION | CONFIG},
    {"open to write", try_write, KEEPER | ARCHIVE | AUDIT},
    {"open to create", try_create, KEEPER | ARCHIVE | AUDIT},
    {"unlink", try_unlink, KEEPER | ARCHIVE | AUDIT},
    {"memfd_create", try_memfd, KEEPER | ARCHIVE | SUPERVISOR | CONFIG},
    {"send descriptors", try_sendmsg, ALL & ~RELAY},
    {"duplicate", try_dup, ALL & ~RELAY},
    {"signal to its parent", try_tgkill, KEEPER | ARCHIVE},
    {"process option", try_option, KEEPER | ARCHIVE | SESSION | CONFIG},
    {"thread's name", try_name, ALL},
    {"device request", try_request, KEEPER | ARCHIVE | SESSION | CONFIG},
    {"do not block", try_nonblocking, ALL},
    {"ptrace", try_ptrace, NOBODY},
    {"process_vm_readv", try_read_memory, NOBODY},
    {"unshare", try_unshare, NOBODY},
    {"mount", try_mount, NOBODY},
    {"bpf", try_bpf, NOBODY},
    {"open_by_handle_at", try_handle, NOBODY},
    {"userfaultfd", try_userfault, NOBODY},
};
#define CALLS (sizeof calls / sizeof calls[0])

/* Each call without a filter (MODE "off") and with it; what comes out goes to the test. */
static void attempt_all(enum sandbox_process process, enum sandbox_mode mode, int result[CALLS])
{
    int *shared = mmap(NULL, CALLS * sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int status;
    pid_t pid;

    ck_assert_ptr_ne(shared, MAP_FAILED);
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0) {
        log_open("sandbox test");
        privilege_harden();
        sandbox_enter(process, mode);
        for (size_t i = 0; i < CALLS; i++)
            shared[i] = calls[i].attempt() == -1 ? errno : 0;
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it died: status %#x", (unsigned)status);
    memcpy(result, shared, CALLS * sizeof *result);
    (void)munmap(shared, CALLS * sizeof *shared);
}

START_TEST(each_has_its_own)
{
    int without[CALLS], with[CALLS];

    if (skipped())
        return;
    attempt_all((enum sandbox_process)_i, SANDBOX_OFF, without);
    attempt_all((enum sandbox_process)_i, SANDBOX_ENFORCE, with);
    for (size_t i = 0; i < CALLS; i++)
        if ((calls[i].allowed & 1U << _i) == 0)
            ck_assert_msg(with[i] == EPERM, "process %d: %s is not refused: errno %d", _i, calls[i].name, with[i]);
        else
            ck_assert_msg(with[i] == without[i], "process %d: %s: errno %d, and without the filter %d", _i,
                          calls[i].name, with[i], without[i]);
}
END_TEST

START_TEST(log_lets_them_go_on)
{
    int without[CALLS], with[CALLS];

    if (skipped())
        return;
    attempt_all((enum sandbox_process)_i, SANDBOX_OFF, without);
    attempt_all((enum sandbox_process)_i, SANDBOX_LOG, with);
    for (size_t i = 0; i < CALLS; i++)
        ck_assert_msg(with[i] == without[i], "process %d: %s: errno %d, and without the filter %d", _i, calls[i].name,
                      with[i], without[i]);
}
END_TEST

/* The line names the call, once however often it is tried; the process goes on. */
START_TEST(a_refusal_is_logged)
{
    char said[4096];
    int err[2], status;
    ssize_t length;
    pid_t pid;

    if (skipped())
        return;
    ck_assert_int_eq(pipe2(err, O_CLOEXEC), 0);
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0) {
        (void)dup2(err[1], STDERR_FILENO);
        log_open("supervisor");
        privilege_harden();
        sandbox_enter(SANDBOX_SUPERVISOR, SANDBOX_ENFORCE);
        for (int i = 0; i < 3; i++)
            if (try_ptrace() != -1 || errno != EPERM)
                _exit(1);
        _exit(42);
    }
    (void)close(err[1]);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 42, "status %#x", (unsigned)status);
    length = read(err[0], said, sizeof said - 1);
    ck_assert_int_gt(length, 0);
    said[length] = '\0';
    ck_assert_msg(strstr(said, "error supervisor: sandbox: system call ptrace (") != NULL, "%s", said);
    ck_assert_msg(strchr(said, '\n') == &said[length - 1], "%s", said);
    (void)close(err[0]);
}
END_TEST

static void *nothing(void *argument)
{
    return argument;
}

/* The C library makes these with all signals blocked, where a trap would be death. */
START_TEST(nobody_dies_of_a_thread_or_a_program)
{
    char *words[] = {"true", NULL};
    int status;
    pid_t pid;

    if (skipped() || (1U << _i & (KEEPER | ARCHIVE)) != 0)
        return;
    ck_assert_int_ne(pid = fork(), -1);
    if (pid == 0) {
        pthread_t thread;
        pid_t spawned;

        log_open("sandbox test");
        privilege_harden();
        sandbox_enter((enum sandbox_process)_i, SANDBOX_ENFORCE);
        if (posix_spawn(&spawned, "/bin/true", NULL, NULL, words, words + 1) != EPERM)
            _exit(2);
        _exit(pthread_create(&thread, NULL, nothing, NULL) == EPERM ? 42 : 3);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 42, "process %d: status %#x", _i, (unsigned)status);
}
END_TEST

/* ---- the running daemon ---- */

static int status_field(pid_t pid, const char *field)
{
    char path[64], line[256];
    int value = -1;
    FILE *f;

    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0 && line[strlen(field)] == ':')
            value = atoi(line + strlen(field) + 1);
    (void)fclose(f);
    return value;
}

/* Each mode: 2 is a filter. */
START_TEST(every_process_is_confined)
{
    static const char *const modes[] = {"enforce", "log", "off"};
    char trail[128], overrides[512];
    struct pglendd *d;
    pid_t child[64];
    size_t children;

    if (skipped())
        return;
    pglendd_trail(trail);
    (void)snprintf(overrides, sizeof overrides,
                   "{'sandbox': '%s', 'audit': {'directory': '%s'}, 'pools': {'clinic': {'size': {'min': 2}}}}",
                   modes[_i], trail);
    d = pglendd_start(harness_server(), overrides);
    wait_until(pglendd_count(d, "idle") >= 2, 20);
    wait_until(pglendd_process(d, "login") == 0, 10); /* those that have done what they were for */
    children = process_children(d->pid, child, 63);
    ck_assert_uint_ge(children, 2); /* supervisor, audit, and over TLS relays */
    child[children++] = d->pid;
    for (size_t i = 0; i < children; i++) {
        char title[256];

        process_title(child[i], title);
        ck_assert_msg(status_field(child[i], "Seccomp") == (_i == 2 ? 0 : 2), "%s has no filter", title);
        ck_assert_msg(status_field(child[i], "NoNewPrivs") == 1, "%s may gain privileges", title);
    }
    pglendd_stop(d);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_sandbox");
    TCase *tc = harness_live_case(suite, "sandbox", 30);

    tcase_add_loop_test(tc, each_has_its_own, 0, SANDBOX_PROCESSES);
    tcase_add_loop_test(tc, log_lets_them_go_on, 0, SANDBOX_PROCESSES);
    tcase_add_test(tc, a_refusal_is_logged);
    tcase_add_loop_test(tc, nobody_dies_of_a_thread_or_a_program, 0, SANDBOX_PROCESSES);
    tcase_add_loop_test(tc, every_process_is_confined, 0, 3);
    return harness_main(suite);
}
