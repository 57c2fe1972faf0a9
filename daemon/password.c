/* SPDX-License-Identifier: ISC */
/*
 * password.c - read a password file, if nobody else can.
 *
 * The hard thing: links are followed (secret stores rotate by link), so the file that was opened is what is checked,
 * by its descriptor, not the name.
 */
#include "login.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int bad_owner(const char *path, const struct stat *st, char *error, size_t size)
{
    char owner[64], self[64];

    (void)snprintf(error, size, "password file %s (mode %04o) is owned by %s, not by root or %s: run chown %s %s", path,
                   (unsigned)st->st_mode & 07777, identity_user_name(st->st_uid, owner),
                   identity_user_name(geteuid(), self), self, path);
    return -1;
}

static int bad_mode(const char *path, const struct stat *st, const char *who, char *error, size_t size)
{
    char owner[64];

    (void)snprintf(error, size,
                   "password file %s has mode %04o (owner %s, group %u), which gives access to %s: run "
                   "chmod 0600 %s",
                   path, (unsigned)st->st_mode & 07777, identity_user_name(st->st_uid, owner), (unsigned)st->st_gid,
                   who, path);
    return -1;
}

/*
 * Root's, or one that we are in: Kubernetes gives a secret to the group (fsGroup) that it puts the pod's processes in.
 */
static bool is_own_group(gid_t gid)
{
    gid_t groups[NGROUPS_MAX];
    int count = getgroups(NGROUPS_MAX, groups);

    for (int i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return gid == 0 || gid == getegid();
}

static int check_file(const char *path, const struct stat *st, char *error, size_t size)
{
    if (!S_ISREG(st->st_mode)) {
        (void)snprintf(error, size, "password file %s is not a regular file: put the password in one", path);
        return -1;
    }
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return bad_owner(path, st, error, size);
    if ((st->st_mode & S_IRWXO) != 0)
        return bad_mode(path, st, "everybody", error, size);
    if ((st->st_mode & S_IRWXG) != 0 && !is_own_group(st->st_gid))
        return bad_mode(path, st, "a group that is neither root's nor one of pglendd's own", error, size);
    if (st->st_size >= PASSWORD_MAX) {
        (void)snprintf(error, size, "password file %s has %lld bytes: it must be one line of less than %d", path,
                       (long long)st->st_size, PASSWORD_MAX);
        return -1;
    }
    return 0;
}

int password_check(const char *what, char *password, size_t length, char *error, size_t size)
{
    const char *wrong = NULL;

    if (length > 0 && password[length - 1] == '\n')
        length--;
    password[length] = '\0';
    if (length == 0)
        wrong = "is empty: it must be the password";
    else if (memchr(password, '\n', length) != NULL)
        wrong = "has more than one line: it must hold the password alone";
    else if (memchr(password, '\0', length) != NULL)
        wrong = "holds a NUL byte: it must hold the password alone, as text";
    if (wrong == NULL)
        return 0;
    (void)snprintf(error, size, "%s %s", what, wrong);
    return -1;
}

int password_read(const char *path, char password[PASSWORD_MAX], char *error, size_t size)
{
    char what[PATH_MAX + 16];
    struct stat st;
    size_t length = 0;
    ssize_t got = 0;
    int status = -1, fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

    if (fd == -1 || fstat(fd, &st) == -1) {
        (void)snprintf(error, size, "password file %s cannot be opened: %s%s", path, strerror(errno),
                       errno == ENOENT ? ": make it, or name another" : "");
        goto done;
    }
    if (check_file(path, &st, error, size) == -1)
        goto done;
    while (length < PASSWORD_MAX - 1 && (got = read(fd, password + length, PASSWORD_MAX - 1 - length)) > 0)
        length += (size_t)got;
    if (got == -1) {
        (void)snprintf(error, size, "cannot read password file %s: %s", path, strerror(errno));
        goto done;
    }
    (void)snprintf(what, sizeof what, "password file %s", path);
    status = password_check(what, password, length, error, size);

done:
    if (status == -1)
        explicit_bzero(password, PASSWORD_MAX);
    if (fd != -1)
        (void)close(fd);
    return status;
}

uint64_t password_stamp(const char *path)
{
    struct stat st;

    if (stat(path, &st) == -1)
        return 0;
    return ((uint64_t)st.st_mtim.tv_sec * 1000000000 + (uint64_t)st.st_mtim.tv_nsec) ^ ((uint64_t)st.st_ino << 20);
}
