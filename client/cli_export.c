/* SPDX-License-Identifier: ISC */
/*
 * cli_export.c - pglend export: becomes pglend-export, which stands beside this program.
 */
#include "cli.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int cli_export(char **argv)
{
    char own[PATH_MAX], path[PATH_MAX + 16], *slash;
    ssize_t length = readlink("/proc/self/exe", own, sizeof(own) - 1);

    own[length > 0 ? length : 0] = '\0';
    slash = strrchr(own, '/');
    (void)snprintf(path, sizeof(path), "%.*s/pglend-export", slash != NULL ? (int)(slash - own) : 0, own);
    (void)execv(path, argv);
    cli_error("cannot run %s: %s; it is installed with pglend", path, strerror(errno));
    return CLI_FAILED;
}
