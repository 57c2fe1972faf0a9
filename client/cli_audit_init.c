/* SPDX-License-Identifier: ISC */
/*
 * cli_audit_init.c - pglend audit init: the keys of a new trail.
 *
 * The verification key goes to whoever runs this, and nowhere else: kept beside the trail it would let who takes the
 * trail write it anew. As root, in a directory of another user, the keys are made as that user.
 */
#include "cli_audit.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int open_key_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd == -1)
        cli_error("audit init: cannot create %s for the verification key: %s", path, strerror(errno));
    return fd;
}

/* Root itself runs no audit process. */
static bool is_roots(const char *directory)
{
    struct stat st;

    return stat(directory, &st) == 0 && st.st_uid == 0;
}

/* As root: become the owner of DIRECTORY, if it is there. */
static bool become_owner(const char *directory)
{
    struct stat st;

    if (geteuid() != 0 || stat(directory, &st) == -1 || st.st_uid == 0)
        return true;
    if (setegid(st.st_gid) == 0 && seteuid(st.st_uid) == 0)
        return true;
    cli_error("audit init: cannot become uid %u, the owner of %s: %s", (unsigned)st.st_uid, directory, strerror(errno));
    return false;
}

static bool write_key(int fd, const char *text)
{
    size_t length = strlen(text);

    return write(fd, text, length) == (ssize_t)length && write(fd, "\n", 1) == 1 &&
           (fsync(fd) == 0 || errno == EINVAL || errno == EROFS);
}

int cli_audit_init(const struct cli_audit *a)
{
    int fd = a->key_out == NULL ? STDOUT_FILENO : open_key_file(a->key_out);
    char error[512], *text = NULL;
    bool made;

    if (fd == -1)
        return CLI_FAILED;
    made = become_owner(a->directory);
    if (made && !audit_store_create(a->directory, a->fips, &text, error, sizeof error)) {
        cli_error("audit init: %s", error);
        made = false;
    }
    if (made && !write_key(fd, text)) {
        cli_error("audit init: cannot write the verification key: %s; the trail in %s cannot be verified: remove it "
                  "and do this again",
                  strerror(errno), a->directory);
        made = false;
    }
    if (text != NULL)
        OPENSSL_cleanse(text, strlen(text));
    free(text);
    if (a->key_out != NULL) {
        (void)close(fd);
        if (!made && seteuid(getuid()) == 0)
            (void)unlink(a->key_out);
    }
    if (made)
        (void)fprintf(stderr,
                      "pglend: the trail in %s has its keys. Keep the verification key (%s) off this machine: pglend "
                      "audit verify needs it, and no copy is here.\n",
                      a->directory, a->key_out == NULL ? "printed above" : a->key_out);
    if (made && is_roots(a->directory))
        (void)fprintf(stderr, "pglend: they are root's: give them to the audit process, chown -R pglend-audit %s\n",
                      a->directory);
    return made ? CLI_OK : CLI_FAILED;
}
