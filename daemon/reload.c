/* SPDX-License-Identifier: ISC */
/*
 * reload.c - read the configuration again, in a process of its own.
 *
 * The file may be readable by root alone, but root should parse nothing: it is read first, then privileges go, then
 * it is parsed. The keeper gets the normalised form of a configuration that is good, or why it is not.
 */
#include "login.h"

#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The file's text, which the caller frees; NULL with a message. */
static char *read_file(const char *path, size_t *length, char *error, size_t size)
{
    char *text = malloc(CONFIG_FILE_MAX + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    ssize_t got = -1;

    *length = 0;
    while (fd != -1 && text != NULL && *length <= CONFIG_FILE_MAX &&
           (got = read(fd, text + *length, CONFIG_FILE_MAX + 1 - *length)) > 0)
        *length += (size_t)got;
    if (*length > CONFIG_FILE_MAX) {
        (void)snprintf(error, size, "%s: longer than 1 MiB", path);
        got = -1;
    } else if (got == -1) {
        (void)snprintf(error, size, "%s: %s", path, strerror(errno));
    }
    if (fd != -1)
        (void)close(fd);
    if (got == 0)
        return text;
    free(text);
    return NULL;
}

static _Noreturn void refused(const char *error)
{
    static struct message m;

    message_make(&m, MESSAGE_RELOADED, NULL, 0, error);
    m.status = 1;
    job_answer(&m, -1);
}

int reload_main(void)
{
    static struct message m;
    char error[CONFIG_ERROR_MAX], *text, *names;
    const char *path;
    struct config *config;
    struct job job;
    size_t length;
    int fd;

    job_take("config", &job);
    path = json_string_value(json_object_get(job.json, "path"));
    text = read_file(path == NULL ? "" : path, &length, error, sizeof error);
    job_settle(&job, SANDBOX_CONFIG);
    if (text == NULL)
        refused(error);
    config = config_parse(path, text, length, error);
    if (config == NULL)
        refused(error);
    names = names_resolve(config);
    fd = names == NULL ? -1 : keeper_config_file(config);
    if (fd == -1)
        refused(strerror(errno));
    message_make(&m, MESSAGE_CONFIG, NULL, 0, names);
    job_answer(&m, fd);
}
