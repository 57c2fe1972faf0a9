/* SPDX-License-Identifier: ISC */
/*
 * password_watch.c - the process that looks whether a password file changes, and ends when it has.
 *
 * It keeps the keeper's rights, for the file may be where nobody else can look; it opens nothing. Looked at by name and
 * at intervals: secret stores rotate by link, and a network file system tells nobody.
 */
#include "login.h"

#include <time.h>

#define LOOK_NS 500000000 /* between looks at the file */

int password_main(void)
{
    static struct message m;
    struct timespec pause = {.tv_nsec = LOOK_NS};
    const char *path;
    uint64_t stamp;
    struct job job;

    job_take("password", &job);
    job_die_with_keeper();
    job_confine(&job, SANDBOX_WATCH);
    path = json_string_value(json_object_get(job.json, "path"));
    stamp = (uint64_t)json_integer_value(json_object_get(job.json, "stamp"));
    while (path != NULL && password_stamp(path) == stamp)
        (void)nanosleep(&pause, NULL);
    message_make(&m, MESSAGE_PASSWORD_CHANGED, job.name, 0, NULL);
    job_answer(&m, -1);
}
