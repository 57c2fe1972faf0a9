/* SPDX-License-Identifier: ISC */
/*
 * audit_archive.c - closed files of the audit trail go elsewhere, by a command of the administrator's.
 *
 * A file NAME.jsonl that was stored has a receipt beside it, the empty file NAME.stored, whose time is that of the
 * storing. The hard thing is never to remove a file that is nowhere else: without a receipt nothing is removed, and
 * the removal is a record on disk before it is done.
 */
#include "audit_archive.h"

#include "daemon.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RETRY_MS 60000
#define BOUND_MS 600000
#define RECEIPT  "audit-%08u.stored"

/* The one command that runs at a time. */
static struct {
    uv_process_t process;
    uv_timer_t bound;
    struct audit_trail *trail;
    uint32_t file; /* 0: none runs */
    uint64_t not_before;
    bool timer_made;
} archive;

static void receipt_name(char out[AUDIT_FILE_NAME_MAX], uint32_t number)
{
    (void)snprintf(out, AUDIT_FILE_NAME_MAX, RECEIPT, number);
}

static void record(struct audit_trail *t, enum audit_event event, uint32_t file, const char *outcome,
                   const char *reason)
{
    struct audit_values values = {0};

    audit_set_number(&values, AUDIT_FIELD_FILE_NUMBER, file);
    audit_set_text(&values, AUDIT_FIELD_OUTCOME, outcome);
    audit_set_text(&values, AUDIT_FIELD_REASON, reason);
    (void)audit_trail_add(t, event, &values);
}

static void stored(struct audit_trail *t, uint32_t file)
{
    char name[AUDIT_FILE_NAME_MAX];
    int fd;

    receipt_name(name, file);
    fd = openat(t->directory, name, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd == -1 || fsync(t->directory) == -1) {
        log_error("audit: cannot write the receipt %s: %s", name, strerror(errno));
        archive.not_before = uv_now(archive.process.loop) + RETRY_MS;
    } else {
        record(t, AUDIT_ARCHIVED, file, "stored", NULL);
        log_info("audit: file %u is stored elsewhere", file);
    }
    if (fd != -1)
        (void)close(fd);
}

static void failed(struct audit_trail *t, uint32_t file, const char *why)
{
    log_error("audit: archive_command failed for file %u: %s; it is tried again in a minute", file, why);
    record(t, AUDIT_ERROR, file, "not archived", why);
}

static void on_exit_status(uv_process_t *process, int64_t status, int number)
{
    uint32_t file = archive.file;
    char why[64];

    (void)uv_timer_stop(&archive.bound);
    archive.file = 0;
    uv_close((uv_handle_t *)process, NULL);
    if (status == 0 && number == 0) {
        stored(archive.trail, file);
        return;
    }
    (void)snprintf(why, sizeof why, number != 0 ? "signal %d" : "exit status %d", number != 0 ? number : (int)status);
    archive.not_before = uv_now(process->loop) + RETRY_MS;
    failed(archive.trail, file, why);
}

static void on_bound(uv_timer_t *timer)
{
    (void)timer;
    (void)uv_process_kill(&archive.process, SIGKILL);
}

static void start(uv_loop_t *loop, uint32_t file, const struct audit_config *config)
{
    char *words[ARCHIVE_WORDS_MAX + 2], path[PATH_MAX];
    uv_stdio_container_t stdio[] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO}};
    uv_process_options_t options = {
        .exit_cb = on_exit_status, .args = words, .stdio = stdio, .stdio_count = sizeof stdio / sizeof stdio[0]};
    char name[AUDIT_FILE_NAME_MAX];
    size_t count = config->archive_command.count;
    int status;

    audit_file_name(name, file);
    (void)snprintf(path, sizeof path, "%s/%s", config->directory, name);
    for (size_t i = 0; i < count; i++)
        words[i] = config->archive_command.item[i];
    words[count] = path;
    words[count + 1] = NULL;
    options.file = words[0];
    if (!archive.timer_made)
        archive.timer_made = uv_timer_init(loop, &archive.bound) == 0;
    status = uv_spawn(loop, &archive.process, &options);
    if (status == 0) {
        archive.file = file;
        (void)uv_timer_start(&archive.bound, on_bound, BOUND_MS, 0);
        return;
    }
    uv_close((uv_handle_t *)&archive.process, NULL);
    archive.not_before = uv_now(loop) + RETRY_MS;
    failed(archive.trail, file, uv_strerror(status));
}

/* The oldest of each: a file without a receipt, and one whose receipt is old enough. 0: none. */
static void find_files(const struct audit_trail *t, int64_t retention_s, uint32_t *waits, uint32_t *over)
{
    int fd = openat(t->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd == -1 ? NULL : fdopendir(fd);
    const struct dirent *entry;

    *waits = *over = 0;
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        uint32_t number = audit_file_number(entry->d_name);
        char name[AUDIT_FILE_NAME_MAX];
        struct stat st;

        if (number == 0 || number >= t->number)
            continue;
        receipt_name(name, number);
        if (fstatat(t->directory, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
            *waits = *waits == 0 || number < *waits ? number : *waits;
        } else if (time(NULL) - st.st_mtime >= retention_s) {
            *over = *over == 0 || number < *over ? number : *over;
        }
    }
    if (dir != NULL)
        (void)closedir(dir);
    else if (fd != -1)
        (void)close(fd);
}

static void remove_file(struct audit_trail *t, uint32_t file)
{
    char name[AUDIT_FILE_NAME_MAX], receipt[AUDIT_FILE_NAME_MAX];

    record(t, AUDIT_REMOVED, file, "removed", "stored elsewhere longer than local_retention");
    if (!audit_trail_sync(t))
        return;
    audit_file_name(name, file);
    receipt_name(receipt, file);
    if (unlinkat(t->directory, name, 0) == -1)
        log_error("audit: cannot remove %s: %s", name, strerror(errno));
    else
        (void)unlinkat(t->directory, receipt, 0);
}

void audit_archive_look(uv_loop_t *loop, struct audit_trail *t, const struct audit_config *config)
{
    uint32_t waits, over;

    if (config->archive_command.count == 0)
        return;
    archive.trail = t;
    find_files(t, config->local_retention_ms / 1000, &waits, &over);
    if (waits != 0 && archive.file == 0 && uv_now(loop) >= archive.not_before)
        start(loop, waits, config);
    if (over != 0)
        remove_file(t, over);
}
