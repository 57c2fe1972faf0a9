/* SPDX-License-Identifier: ISC */
/*
 * sandbox.c - the system calls that each process may make (seccomp(2), by libseccomp).
 *
 * A call that is not allowed fails with EPERM and is logged; nobody is killed for it. The hard thing: filters are
 * inherited, over execve too. So the keeper's allows what all of them need, and password_command and archive_command
 * besides. And the log line is made by a signal handler, which an execve() would turn into death; so who executes
 * programs leaves the line to the kernel's log.
 */
#include "sandbox.h"
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define KEEPER     (1U << SANDBOX_KEEPER)
#define ARCHIVE    (1U << SANDBOX_ARCHIVE)
#define AUDIT      (1U << SANDBOX_AUDIT)
#define SUPERVISOR (1U << SANDBOX_SUPERVISOR)
#define SESSION    (1U << SANDBOX_SESSION)
#define RELAY      (1U << SANDBOX_RELAY)
#define WATCH      (1U << SANDBOX_WATCH)
#define CONFIG     (1U << SANDBOX_CONFIG)
#define EXECUTES   (KEEPER | ARCHIVE)
#define MOST       (EXECUTES | AUDIT | SUPERVISOR | SESSION | WATCH | CONFIG) /* all but the relay */
#define ALL        (MOST | RELAY)
#define LOADS      (EXECUTES | SESSION | CONFIG) /* libraries: name services, OpenSSL's */

/* What arguments a call may have. */
enum limit { ANY, READING, FAMILY, NO_CODE, ITSELF, OPTION, REQUEST };

/* Calls that this machine does not have are passed over. */
static const struct row {
    unsigned processes;
    enum limit limit;
    const char *calls;
} rows[] = {
    /* What the C library needs to live, wait and end. */
    {LOADS, ANY, "mmap mmap2 mprotect"},
    {ALL & ~LOADS, NO_CODE, "mmap mmap2 mprotect"},
    {ALL, ANY,
     "brk munmap mremap madvise mlock mlock2 munlock membarrier futex futex_time64 futex_waitv rseq set_robust_list "
     "get_robust_list set_tid_address arch_prctl getrandom sysinfo uname getpid gettid getppid getuid geteuid getgid "
     "getegid getresuid getresgid getgroups getrlimit ugetrlimit prlimit64 getrusage sched_yield sched_getaffinity "
     "restart_syscall exit exit_group"},
    {LOADS, ANY, "prctl ioctl"},
    {ALL & ~LOADS, OPTION, "prctl"},
    {ALL & ~LOADS, REQUEST, "ioctl"},
    /* What abort() sends. A program that is executed has another number. */
    {EXECUTES, ANY, "tgkill"},
    {ALL & ~EXECUTES, ITSELF, "tgkill"},
    {ALL, ANY,
     "clock_gettime clock_gettime64 clock_getres clock_nanosleep clock_nanosleep_time64 gettimeofday time nanosleep "
     "times rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait rt_sigpending sigaltstack sigreturn"},
    {ALL, ANY,
     "read readv write writev pread64 preadv pwrite64 pwritev close close_range lseek _llseek fcntl fcntl64 poll ppoll "
     "ppoll_time64 select _newselect pselect6"},
    {MOST, ANY,
     "dup dup2 dup3 pipe pipe2 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd "
     "eventfd2"},
    {MOST, ANY,
     "stat stat64 fstat fstat64 lstat newfstatat fstatat64 statx fstatfs fstatfs64 statfs statfs64 access faccessat "
     "faccessat2 readlink readlinkat getdents getdents64 getcwd umask"},

    /* Files: to be written by those that own some. */
    {SUPERVISOR | SESSION | WATCH | CONFIG, READING, "open openat"},
    {AUDIT, ANY, "open openat fallocate fsync fdatasync ftruncate unlink unlinkat rename renameat renameat2 flock"},
    {EXECUTES, ANY,
     "open openat openat2 creat fallocate fsync fdatasync msync sync_file_range ftruncate ftruncate64 truncate rename "
     "renameat renameat2 link linkat unlink unlinkat mkdir mkdirat rmdir symlink symlinkat chmod fchmod fchmodat flock "
     "fadvise64 copy_file_range sendfile splice utimensat futimesat utimes utime chdir fchdir inotify_init1 "
     "inotify_add_watch inotify_rm_watch fgetxattr getxattr lgetxattr flistxattr listxattr llistxattr fsetxattr "
     "setxattr lsetxattr syncfs sync"},

    /* Sockets. Who makes none still has those that it was given. */
    {ALL, ANY, "send sendto recv recvfrom recvmsg shutdown getsockopt setsockopt getsockname getpeername"},
    {MOST, ANY, "sendmsg sendmmsg recvmmsg"},
    {MOST & ~WATCH, ANY, "socketpair"},
    {MOST & ~(WATCH | SUPERVISOR), FAMILY, "socket"},
    {MOST & ~(WATCH | SUPERVISOR), ANY, "connect"},
    {EXECUTES | SUPERVISOR, ANY, "accept accept4"},
    {EXECUTES | SESSION, ANY, "bind"},
    {EXECUTES, ANY, "listen"},

    /* Segments and the configuration are memory files; workers are watched by their pidfds. */
    {EXECUTES | SUPERVISOR | CONFIG, ANY, "memfd_create ftruncate fchmod fallocate"},
    {EXECUTES | SUPERVISOR, ANY, "pidfd_open"},

    /* A login that stays gives up more. */
    {SESSION, ANY, "seccomp"},

    /* Processes, and who they are. */
    {EXECUTES, ANY,
     "clone clone3 fork vfork execve execveat wait4 waitid waitpid kill tkill pidfd_send_signal setsid setpgid getpgid "
     "getpgrp getsid rt_sigqueueinfo rt_sigsuspend pause alarm setitimer getitimer timer_create timer_settime "
     "timer_gettime timer_delete timerfd_create timerfd_settime timerfd_gettime signalfd4 capget sched_setaffinity "
     "sched_getparam sched_getscheduler getpriority setpriority ioprio_get personality seccomp shmget shmat shmdt "
     "shmctl semget semop semctl keyctl add_key request_key mincore set_mempolicy get_mempolicy getcpu "
     "sched_get_priority_max sched_get_priority_min"},
    {KEEPER, ANY,
     "memfd_secret setuid setuid32 setgid setgid32 setgroups setgroups32 setresuid setresuid32 setresgid setresgid32 "
     "setreuid "
     "setregid capset chown fchown lchown fchownat setrlimit seccomp"},
};

/*
 * Refused without a line of ours. Libraries try the first and do without. The others the C library makes with all
 * signals blocked (posix_spawn, pthread_create), where a trap is death.
 */
static const struct {
    int error;
    const char *call;
} quiet[] = {{ENOSYS, "io_uring_setup"}, {EPERM, "clone"}, {EPERM, "clone3"}, {EPERM, "fork"}, {EPERM, "vfork"}};

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || defined PGLEND_UNCONFINED
#define CONFINES 0
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CONFINES 0
#endif
#endif
#ifndef CONFINES
#define CONFINES 1
#endif

int sandbox_works(void)
{
    return CONFINES;
}

/* ---- what was refused ---- */

/* False where it is not known how a handler gives a system call its result. */
static bool set_result(ucontext_t *context, long result)
{
#if defined __x86_64__
    context->uc_mcontext.gregs[REG_RAX] = result;
    return true;
#elif defined __aarch64__
    context->uc_mcontext.regs[0] = (unsigned long long)result;
    return true;
#else
    (void)context;
    (void)result;
    return false;
#endif
}

/*
 * The signal comes at the system call itself, and neither the log nor the allocator makes one that is refused: they
 * are not interrupted, and can be used. Should one, it is not told of. A call is told of once.
 */
static void on_refused(int number, siginfo_t *info, void *context)
{
    static bool told[1024], telling;
    int error = errno, call = info->si_syscall;
    char *name;

    (void)number;
    if (!telling && (call < 0 || call >= (int)(sizeof told / sizeof told[0]) || !told[call])) {
        telling = true;
        if (call >= 0 && call < (int)(sizeof told / sizeof told[0]))
            told[call] = true;
        name = seccomp_syscall_resolve_num_arch(info->si_arch, call);
        log_error("sandbox: system call %s (%d) is refused; if it is needed, write \"sandbox\": \"log\" and report it",
                  name != NULL ? name : "unknown", call);
        free(name);
        telling = false;
    }
    (void)set_result(context, -EPERM);
    errno = error;
}

static bool hear_of_refusals(void)
{
    const struct sigaction action = {.sa_sigaction = on_refused, .sa_flags = SA_SIGINFO | SA_NODEFER};
    ucontext_t probe;

    return set_result(&probe, 0) && sigaction(SIGSYS, &action, NULL) == 0;
}

/* ---- the filter ---- */

#define VALUES_END (-1)

/* CALL, where its argument ARGUMENT, a number of 32 bits, is one of VALUES. */
static int allow_values(scmp_filter_ctx filter, int call, unsigned argument, const int *values)
{
    int error = 0;

    for (; *values != VALUES_END && error == 0; values++)
        error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                                 SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, UINT32_MAX, (scmp_datum_t)(uint32_t)*values));
    return error;
}

static int allow(scmp_filter_ctx filter, int call, enum limit limit, const int *families)
{
    static const unsigned writing = O_ACCMODE | O_CREAT | O_TRUNC;
    /* An allocator names what it maps; a thread has a name. */
    static const int options[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_VMA, VALUES_END};
    /* libuv's, and isatty()'s. */
    static const int requests[] = {FIONBIO, FIOCLEX, FIONCLEX, FIONREAD, TCGETS, VALUES_END};
    const int own[] = {getpid(), VALUES_END};
    unsigned flags = call == SCMP_SYS(open) ? 1 : 2; /* which argument */

    switch (limit) {
    case ANY:
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    case READING:
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1,
                                SCMP_CMP(flags, SCMP_CMP_MASKED_EQ, writing, O_RDONLY));
    case NO_CODE:
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    case ITSELF:
        return allow_values(filter, call, 0, own);
    case FAMILY:
        return allow_values(filter, call, 0, families);
    case OPTION:
        return allow_values(filter, call, 0, options);
    case REQUEST:
        return allow_values(filter, call, 1, requests);
    }
    return -EINVAL;
}

static int add_row(scmp_filter_ctx filter, const struct row *row, const int *families)
{
    char calls[1024], *rest = NULL;
    int error = 0;

    (void)snprintf(calls, sizeof calls, "%s", row->calls);
    for (const char *name = strtok_r(calls, " ", &rest); name != NULL && error == 0;
         name = strtok_r(NULL, " ", &rest)) {
        int call = seccomp_syscall_resolve_name(name);

        /* Below -1: a call of other machines. */
        if (call >= 0)
            error = allow(filter, call, row->limit, families);
    }
    return error;
}

static int refuse_quietly(scmp_filter_ctx filter, enum sandbox_process process, const char *name, int error)
{
    int call = seccomp_syscall_resolve_name(name);

    /* Another machine's call; or one that starts a process, of one that may. */
    if (call < 0 || (error == EPERM && (1U << process & EXECUTES) != 0))
        return 0;
    return seccomp_rule_add(filter, SCMP_ACT_ERRNO((uint32_t)error), call, 0);
}

/* 0, or a negative errno. */
static int load(enum sandbox_process process, uint32_t action)
{
    static const int everywhere[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, VALUES_END},
                     here[] = {AF_UNIX, VALUES_END};
    bool networked = (1U << process & (EXECUTES | SESSION)) != 0;
    scmp_filter_ctx filter = seccomp_init(action);
    int error = filter == NULL ? -ENOMEM : seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, action);

    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && error == 0; i++)
        if ((rows[i].processes & 1U << process) != 0)
            error = add_row(filter, &rows[i], networked ? everywhere : here);
    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0] && error == 0 && action != SCMP_ACT_LOG; i++)
        error = refuse_quietly(filter, process, quiet[i].call, quiet[i].error);
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    return error;
}

void sandbox_enter(enum sandbox_process process, int64_t mode)
{
    bool executes = (1U << process & EXECUTES) != 0;
    uint32_t action = mode == SANDBOX_LOG               ? SCMP_ACT_LOG
                      : !executes && hear_of_refusals() ? SCMP_ACT_TRAP
                                                        : SCMP_ACT_ERRNO(EPERM);
    int error;

    if (mode == SANDBOX_OFF || !CONFINES)
        return;
    tzset(); /* the log's first line would read the time zone's file */
    error = load(process, action);
    if (error != 0)
        fatal(1,
              "cannot confine this process to the system calls that it needs: %s; write \"sandbox\": \"off\" to do "
              "without",
              strerror(-error));
}
