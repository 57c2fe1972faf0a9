/* SPDX-License-Identifier: ISC */
/*
 * job.c - how a short-lived process starts, is told what to do, and answers.
 *
 * The hard thing: none of them may outlive the keeper. The kernel's promise to kill a process with its parent is
 * forgotten when it changes its user, and comes too late if the parent is gone already.
 */
#include "login.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static pid_t keeper_pid;

/* Where the kernel finds the title: the arguments, and the environment that it put behind them (proc(5), cmdline). */
static char *title_at;
static size_t title_room;

static void find_title(void)
{
    char *end = program_invocation_name + strlen(program_invocation_name) + 1;

    title_at = program_invocation_name;
    for (char **e = environ; *e != NULL; e++)
        if (*e == end)
            end = *e + strlen(*e) + 1;
    title_room = (size_t)(end - title_at);
}

void job_retitle(const char *name)
{
    memset(title_at, 0, title_room);
    (void)snprintf(title_at, title_room, "pglendd: %s", name);
}

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text == NULL ? "" : text;
}

/* -1 with errno. Exits if what comes is no job. */
static int receive_job(const char *process, struct job *job)
{
    static struct message m;
    char title[NAME_FIELD + 16];
    int fd;

    for (;;) {
        if (channel_receive_blocking(CHANNEL_FD, &m, &fd) == -1)
            return -1;
        if (m.verb != MESSAGE_SECRET)
            break;
        if (job->secret != -1)
            (void)close(job->secret);
        job->secret = fd;
    }
    if (fd != -1)
        (void)close(fd);
    job->json = m.verb == MESSAGE_JOB ? json_loadb(m.text, m.length, 0, NULL) : NULL;
    explicit_bzero(m.text, m.length);
    if (job->json == NULL)
        fatal(1, "the keeper's message %u is no job", m.verb);
    job->task = text_of(job->json, "task");
    job->name = text_of(job->json, "name");
    job->user = text_of(job->json, "user");
    job->group = text_of(job->json, "group");
    (void)snprintf(title, sizeof title, "%s%s%s", process, *job->name == '\0' ? "" : " ", job->name);
    log_open(title);
    log_set((enum log_level)json_integer_value(json_object_get(job->json, "log_level")),
            (enum log_format)json_integer_value(json_object_get(job->json, "log_format")));
    return 0;
}

void job_take(const char *process, struct job *job)
{
    keeper_pid = getppid();
    find_title();
    log_open(process);
    privilege_harden();
    job->secret = -1;
    if (receive_job(process, job) == -1)
        fatal(1, "no job from the keeper: %s", strerror(errno));
}

void job_take_another(const char *process, struct job *job)
{
    json_decref(job->json);
    if (receive_job(process, job) == -1)
        _exit(0);
}

void job_confine(const struct job *job, enum sandbox_process process)
{
    sandbox_enter(process, json_integer_value(json_object_get(job->json, "sandbox")));
}

void job_settle(const struct job *job, enum sandbox_process process)
{
    char error[256];

    if (privilege_drop(job->user, job->group, error, sizeof error) == -1)
        fatal(1, "%s", error);
    privilege_harden();
    job_die_with_keeper();
    job_confine(job, process);
}

void job_die_with_keeper(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == -1 || getppid() != keeper_pid)
        fatal(1, "the keeper is gone");
}

void job_say(const struct message *m, int fd)
{
    if (channel_send_blocking(CHANNEL_FD, m, fd) == 0)
        return;
    log_error("cannot answer the keeper: %s", strerror(errno));
    _exit(1);
}

void job_answer(const struct message *m, int fd)
{
    job_say(m, fd);
    _exit(0);
}
