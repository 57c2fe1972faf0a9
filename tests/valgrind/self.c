/* SPDX-License-Identifier: ISC */
/*
 * self.c - makes pglendd's processes start under valgrind, too. Linked with --wrap.
 *
 * What they execute, /proc/self/exe, is valgrind itself to older ones; and argv[0], which tells a process what it is,
 * is the program's path under all of them: so that goes by the environment.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#define SELF  "/proc/self/exe"
#define TITLE "PGLEND_TEST_TITLE"

int __real_main(int argc, char **argv) __attribute__((weak)); /* a library has none */
int __wrap_main(int argc, char **argv);
int __real_execv(const char *path, char *const argv[]);
int __wrap_execv(const char *path, char *const argv[]);
int __real_uv_spawn(uv_loop_t *loop, uv_process_t *process, const uv_process_options_t *options)
    __attribute__((weak)); /* not every program has it */
int __wrap_uv_spawn(uv_loop_t *loop, uv_process_t *process, const uv_process_options_t *options);

/* PATH, or whatever is meant by it: then the program is to take itself for NAME. */
static const char *resolved(const char *path, const char *name)
{
    static char self[PATH_MAX];
    ssize_t length;

    if (strcmp(path, SELF) != 0 || (length = readlink(SELF, self, sizeof self - 1)) == -1)
        return path;
    self[length] = '\0';
    (void)setenv(TITLE, name, 1);
    return self;
}

int __wrap_main(int argc, char **argv)
{
    static char title[256];
    const char *name = getenv(TITLE);

    if (name != NULL) {
        (void)strncpy(title, name, sizeof title - 1);
        argv[0] = program_invocation_name = title;
    }
    return __real_main(argc, argv);
}

int __wrap_execv(const char *path, char *const argv[])
{
    return __real_execv(resolved(path, argv[0]), argv);
}

int __wrap_uv_spawn(uv_loop_t *loop, uv_process_t *process, const uv_process_options_t *options)
{
    uv_process_options_t there = *options;

    there.file = resolved(options->file, options->args[0]);
    return __real_uv_spawn(loop, process, &there);
}
