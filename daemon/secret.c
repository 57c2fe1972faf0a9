/* SPDX-License-Identifier: ISC */
/*
 * secret.c - a password that a login succeeded with, for a later one whose own is refused.
 *
 * A rotation changes the file and the server one after the other, and in between one of the two is ahead. The hard
 * thing: the keeper keeps the password from login to login and must not have it. So it is in a memory file that the
 * keeper only passes on and never maps; that of memfd_secret(2), where there is one, even the kernel does not read, and
 * no swap gets it.
 */
#include "login.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static char *map(int fd, int protection)
{
    void *at = mmap(NULL, PASSWORD_MAX, protection, MAP_SHARED, fd, 0);

    return at == MAP_FAILED ? NULL : at;
}

static bool fill(int fd, const char *password)
{
    char *at = ftruncate(fd, PASSWORD_MAX) == 0 ? map(fd, PROT_READ | PROT_WRITE) : NULL;

    if (at == NULL)
        return false;
    (void)snprintf(at, PASSWORD_MAX, "%s", password);
    (void)munmap(at, PASSWORD_MAX);
    /* The other kind has no seals. */
    (void)fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return true;
}

int secret_make(const char *password)
{
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

    if (fd != -1 && fill(fd, password))
        return fd;
    if (fd != -1)
        (void)close(fd);
    fd = memfd_create("pglend secret", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd == -1 || fill(fd, password))
        return fd;
    (void)close(fd);
    return -1;
}

bool secret_read(int fd, char password[PASSWORD_MAX])
{
    char *at = fd == -1 ? NULL : map(fd, PROT_READ);

    if (at == NULL)
        return false;
    (void)snprintf(password, PASSWORD_MAX, "%.*s", PASSWORD_MAX - 1, at);
    (void)munmap(at, PASSWORD_MAX);
    return true;
}
