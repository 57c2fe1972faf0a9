/* SPDX-License-Identifier: ISC */
/*
 * trace.c - record the way of a process through the code under test, and run another one to a point of it.
 *
 * The hard thing is speed: a step costs as much as two process switches. So only the code under test is stepped; from
 * where it calls out, to libc or libpq, the process runs to a breakpoint at the return address, and from where it
 * returns, to one at the next entry of any of its functions. A point of the record is an address and how often it has
 * been come by, so that who wants to go there needs one breakpoint and no steps.
 */
#include "crash/crash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/time.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define CALL_STOP (SIGTRAP | 0x80)
#define BREAK     0xcc

/* Only to interrupt waitpid(). */
static void on_alarm(int number)
{
    (void)number;
}

/* Again and again from then on: the first one may come just before waitpid() begins to wait. MS 0: no more. */
static void set_alarm(unsigned ms)
{
    const struct sigaction action = {.sa_handler = on_alarm};
    const struct itimerval timer = {
        .it_value = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000},
        .it_interval = {.tv_usec = ms > 0 ? 20000 : 0},
    };

    (void)sigaction(SIGALRM, &action, NULL);
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

void trace_free(struct trace *trace)
{
    free(trace->point);
    *trace = (struct trace){0};
}

static void add_point(struct trace *trace, enum point_kind kind, uint64_t offset, uint32_t nth)
{
    if (trace->points == trace->size) {
        trace->size = trace->size == 0 ? 4096 : trace->size * 2;
        trace->point = realloc(trace->point, trace->size * sizeof *trace->point);
        ck_assert_ptr_nonnull(trace->point);
    }
    trace->point[trace->points++] = (struct point){.kind = kind, .nth = nth, .offset = offset};
}

/* ---- one process ---- */

bool tracee_seize(struct tracee *t, pid_t pid, const struct code *code)
{
    char path[64];

    *t = (struct tracee){.pid = pid, .code = code, .memory = -1};
    if (ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == -1)
        return false;
    if (ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) == -1 || waitpid(pid, &t->status, __WALL) != pid ||
        !WIFSTOPPED(t->status))
        return false;
    t->base = code_base(code, pid);
    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    t->memory = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_msg(t->memory != -1 && t->base != 0, "cannot trace process %d: %s", (int)pid, strerror(errno));
    return true;
}

/* Begin to measure the time that is given to a run. */
static void begin(struct tracee *t, unsigned limit_ms)
{
    t->until_ms = harness_now_ms() + limit_ms;
    set_alarm(limit_ms);
}

/*
 * Let it run, as REQUEST says, to its next stop of ours; signals are passed on. 0: it ended. -1: not before its time
 * was up, and it has been stopped.
 */
static int next_stop(struct tracee *t, enum __ptrace_request request)
{
    bool interrupted = false;
    int pass = 0;

    for (;;) {
        if (harness_now_ms() >= t->until_ms)
            return -1; /* it never rests */
        ck_assert_msg(ptrace(request, t->pid, NULL, (long)pass) == 0 || errno == ESRCH, "ptrace: %s", strerror(errno));
        while (waitpid(t->pid, &t->status, __WALL) == -1) {
            ck_assert_int_eq(errno, EINTR);
            if (!interrupted && harness_now_ms() >= t->until_ms)
                interrupted = ptrace(PTRACE_INTERRUPT, t->pid, NULL, NULL) == 0;
        }
        if (WIFEXITED(t->status) || WIFSIGNALED(t->status)) {
            t->ended = true;
            return 0;
        }
        pass = WSTOPSIG(t->status);
        if (t->status >> 16 == PTRACE_EVENT_STOP) {
            if (interrupted)
                return -1;
            pass = 0; /* of an interrupt that came too late */
        } else if (pass == SIGTRAP || pass == CALL_STOP) {
            return pass;
        }
    }
}

static struct user_regs_struct registers(const struct tracee *t)
{
    struct user_regs_struct now;

    ck_assert_int_eq(ptrace(PTRACE_GETREGS, t->pid, NULL, &now), 0);
    return now;
}

static void go_back(const struct tracee *t, struct user_regs_struct *now)
{
    now->rip--;
    ck_assert_int_eq(ptrace(PTRACE_SETREGS, t->pid, NULL, now), 0);
}

static void poke(const struct tracee *t, uint64_t at, unsigned char byte)
{
    ck_assert_int_eq(pwrite(t->memory, &byte, 1, (off_t)at), 1);
}

/* ---- breakpoints ---- */

static struct breakpoint *find_breakpoint(const struct tracee *t, uint64_t at)
{
    for (size_t i = 0; i < t->breakpoints; i++)
        if (t->breakpoint[i].at == at)
            return &t->breakpoint[i];
    return NULL;
}

static void set_breakpoint(struct tracee *t, uint64_t at)
{
    struct breakpoint new = {.at = at};

    if (find_breakpoint(t, at) != NULL)
        return;
    ck_assert_int_eq(pread(t->memory, &new.byte, 1, (off_t)at), 1);
    if (t->breakpoints == t->size) {
        t->size = t->size == 0 ? 64 : t->size * 2;
        t->breakpoint = realloc(t->breakpoint, t->size * sizeof *t->breakpoint);
        ck_assert_ptr_nonnull(t->breakpoint);
    }
    t->breakpoint[t->breakpoints++] = new;
    poke(t, at, BREAK);
}

static void clear_breakpoints(struct tracee *t)
{
    for (size_t i = 0; i < t->breakpoints; i++)
        poke(t, t->breakpoint[i].at, t->breakpoint[i].byte);
    t->breakpoints = 0;
}

/* Execute what is under the breakpoint that it stands on. As next_stop(). */
static int step_over(struct tracee *t, const struct breakpoint *on)
{
    const struct breakpoint copy = *on;
    int stop;

    poke(t, copy.at, copy.byte);
    stop = next_stop(t, PTRACE_SINGLESTEP);
    if (!t->ended)
        poke(t, copy.at, BREAK);
    return stop;
}

/* ---- record ---- */

static bool is_tested(const struct tracee *t, uint64_t at)
{
    return code_function(t->code, at - t->base) != NULL;
}

/* How often each address has been come by, by its offset in the code; the bytes of the code are not many. */
static uint32_t *count_of(const struct tracee *t, uint32_t *count, uint64_t at)
{
    return &count[at - t->base - t->code->function[0].from];
}

/* It has left the code under test: it is to stop where it comes back to from a call. */
static void expect_back(struct tracee *t, const struct user_regs_struct *now)
{
    uint64_t back = 0;

    if (pread(t->memory, &back, sizeof back, (off_t)now->rsp) == sizeof back && is_tested(t, back))
        set_breakpoint(t, back);
}

enum reached tracee_record(struct tracee *t, struct trace *trace, unsigned limit_ms)
{
    const struct function *last = &t->code->function[t->code->functions - 1];
    uint32_t *count = calloc(last->to - t->code->function[0].from, sizeof *count);
    bool inside = false;
    uint64_t before = 0;
    int stop;

    ck_assert_ptr_nonnull(count);
    for (size_t i = 0; i < t->code->functions; i++)
        set_breakpoint(t, t->base + t->code->function[i].from);
    begin(t, limit_ms);
    for (stop = next_stop(t, PTRACE_CONT); stop > 0;) {
        struct user_regs_struct now = registers(t);
        const struct breakpoint *on;

        if (!inside)
            go_back(t, &now); /* what stopped it was a breakpoint */
        inside = is_tested(t, now.rip);
        if (!inside) {
            expect_back(t, &now);
            stop = next_stop(t, PTRACE_CONT);
            before = 0;
            continue;
        }
        /* An instruction with a repeat prefix is stepped many times, and come by once. */
        if (now.rip != before)
            add_point(trace, INSTRUCTION, now.rip - t->base, ++*count_of(t, count, now.rip));
        before = now.rip;
        on = find_breakpoint(t, now.rip);
        stop = on != NULL ? step_over(t, on) : next_stop(t, PTRACE_SINGLESTEP);
    }
    set_alarm(0);
    free(count);
    if (!t->ended)
        clear_breakpoints(t);
    return t->ended ? ENDED : TIME_UP;
}

enum reached tracee_record_calls(struct tracee *t, struct trace *trace, unsigned limit_ms)
{
    uint32_t nth = 0;

    begin(t, limit_ms);
    while (next_stop(t, PTRACE_SYSCALL) > 0)
        add_point(trace, SYSTEM_CALL, 0, ++nth);
    set_alarm(0);
    return t->ended ? ENDED : TIME_UP;
}

/* ---- go there ---- */

static enum reached run_to_instruction(struct tracee *t, const struct point *point)
{
    uint64_t at = t->base + point->offset;
    int stop = 0;

    set_breakpoint(t, at);
    for (uint32_t nth = 1;; nth++) {
        struct user_regs_struct now;

        stop = next_stop(t, PTRACE_CONT);
        if (stop <= 0)
            break;
        now = registers(t);
        go_back(t, &now);
        if (nth == point->nth || (stop = step_over(t, find_breakpoint(t, at))) <= 0)
            break;
    }
    if (!t->ended)
        clear_breakpoints(t);
    return stop > 0 ? REACHED : stop == 0 ? ENDED : TIME_UP;
}

static enum reached run_to_call(struct tracee *t, const struct point *point)
{
    int stop = 0;

    for (uint32_t nth = 1; nth <= point->nth; nth++)
        if ((stop = next_stop(t, PTRACE_SYSCALL)) <= 0)
            return stop == 0 ? ENDED : TIME_UP;
    return REACHED;
}

enum reached tracee_run(struct tracee *t, const struct point *point, unsigned limit_ms)
{
    enum reached reached;

    begin(t, limit_ms);
    reached = point->kind == INSTRUCTION ? run_to_instruction(t, point) : run_to_call(t, point);
    set_alarm(0);
    return reached;
}

void tracee_free(struct tracee *t, bool kill_it)
{
    if (!t->ended) {
        if (kill_it) {
            (void)kill(t->pid, SIGKILL);
            /* Its parent does not hear of its end before its tracer has. */
            t->ended = waitpid(t->pid, &t->status, __WALL) == t->pid;
        } else {
            (void)ptrace(PTRACE_DETACH, t->pid, NULL, NULL);
        }
    }
    if (t->memory != -1)
        (void)close(t->memory);
    free(t->breakpoint);
    t->breakpoint = NULL;
}
