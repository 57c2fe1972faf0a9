/* SPDX-License-Identifier: ISC */
/*
 * preload.c - a test program under an object of its own.
 */
#include "preload.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static _Noreturn void fail(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

static _Noreturn void execute_again(char **argv, const char *object, const char *variable, mode_t mode, size_t size)
{
    const char *build = getenv("PGLEND_BUILD"), *asan = getenv("ASAN_OPTIONS");
    char options[512], file[] = "/tmp/pglend-preload-XXXXXX", path[PATH_MAX], real[PATH_MAX];
    int fd = mkostemp(file, O_CLOEXEC);

    (void)snprintf(path, sizeof path, "%s/tests/%s", build != NULL ? build : "build", object);
    /* A sanitizer wants to come first; its own functions are behind ours then, and as good. */
    (void)snprintf(options, sizeof options, "%s%sverify_asan_link_order=0", asan != NULL ? asan : "",
                   asan != NULL ? ":" : "");
    if (realpath(path, real) == NULL)
        fail(path);
    if (fd == -1 || ftruncate(fd, (off_t)size) == -1 || fchmod(fd, mode) == -1 || setenv(variable, file, 1) == -1 ||
        setenv("ASAN_OPTIONS", options, 1) == -1 || setenv("LD_PRELOAD", real, 1) == -1)
        fail(file);
    (void)execv("/proc/self/exe", argv);
    fail("cannot execute itself");
}

void *preload(char **argv, const char *object, const char *variable, mode_t mode, size_t size)
{
    const char *file = getenv(variable);
    void *at = MAP_FAILED;
    int fd;

    if (file == NULL)
        execute_again(argv, object, variable, mode, size);
    fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd != -1)
        at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at == MAP_FAILED)
        fail(file);
    (void)close(fd);
    return at;
}

void preload_end(const char *variable)
{
    const char *file = getenv(variable);

    if (file != NULL)
        (void)unlink(file);
}
