/* SPDX-License-Identifier: ISC */
/*
 * login_detach.c - for a login that stays: its TLS session without libpq, and without what libpq knew.
 *
 * libpq keeps the password, as it was given and as SCRAM wants it (RFC 4013), the key's passphrase, the cancel key and
 * what it made of them; and it leaves copies in memory that it frees. The hard thing: no call of it lets go of a
 * session and leaves that alive. So the session gets one owner more, and libpq a broken socket in place of its own; it
 * notices, drops what it has, and can be freed. Then all free memory is overwritten.
 */
#include "login.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the session ---- */

/* One that cannot be read: its other end went and had something unread (unix(7): ECONNRESET). */
static int broken_socket(void)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == -1)
        return -1;
    (void)send(pair[0], "", 1, MSG_NOSIGNAL);
    (void)close(pair[1]);
    return pair[0];
}

/* The server is told nothing of it. */
static bool make_let_go(PGconn *conn, SSL *ssl)
{
    int broken = broken_socket();

    if (broken == -1 || dup3(broken, PQsocket(conn), O_CLOEXEC) == -1 || SSL_up_ref(ssl) != 1)
        return false;
    (void)close(broken);
    SSL_set_quiet_shutdown(ssl, 1);
    (void)PQconsumeInput(conn);
    errno = EPROTO;
    if (PQstatus(conn) != CONNECTION_BAD)
        return false;
    PQfinish(conn);
    SSL_set_quiet_shutdown(ssl, 0);
    SSL_set_shutdown(ssl, 0);
    return true;
}

/* ---- what was known ---- */

struct taken {
    struct taken *next;
};

#define TAKE_MOST 1040 /* glibc keeps freed pieces of up to so much apart, by their size */
#define TAKE_STEP 16

/* By asking for it, in each size that is kept apart, until the heap would grow. */
static void wipe_free_memory(void)
{
    const uintptr_t end = (uintptr_t)sbrk(0);
    struct taken *all = NULL, *one;

    for (size_t size = TAKE_MOST; size > TAKE_STEP; size -= TAKE_STEP) {
        while ((one = malloc(size)) != NULL && (uintptr_t)one < end) {
            explicit_bzero(one, malloc_usable_size(one));
            one->next = all;
            all = one;
        }
        free(one);
    }
    while ((one = all) != NULL) {
        all = one->next;
        free(one);
    }
}

/*
 * What is not free is searched for these, should somebody else have kept them: a short one would be found where it is
 * something else.
 */
#define SECRET_LEAST 6
#define SEARCH_MOST  (UINTPTR_MAX >> 34) /* a larger mapping is no memory that libpq allocates from: 1 GiB */

static struct secret {
    char text[PASSWORD_MAX];
    size_t length;
} secrets[2];

static void remember(struct secret *secret, const char *text)
{
    secret->length = strnlen(text, sizeof secret->text - 1);
    memcpy(secret->text, text, secret->length);
}

static void remember_secrets(PGconn *conn)
{
    PQconninfoOption *options = PQconninfo(conn);

    remember(&secrets[0], PQpass(conn));
    if (options != NULL)
        remember(&secrets[1], conninfo_value(options, "sslpassword"));
    PQconninfoFree(options);
}

/* By hand, and unwatched: the places are other people's, some of them freed, which AddressSanitizer would report. */
__attribute__((no_sanitize("address"))) static void wipe_from(volatile char *from, uintptr_t length,
                                                              const struct secret *secret)
{
    for (uintptr_t at = 0; at + secret->length <= length; at++) {
        size_t same = 0;

        if (from[at] != secret->text[0] || from + at == secret->text)
            continue;
        while (same < secret->length && from[at + same] == secret->text[same])
            same++;
        for (size_t i = 0; same == secret->length && i < secret->length; i++)
            from[at + i] = 0;
    }
}

/* What calls have left below this one's frame reads as zeros from then on. */
static void drop_stack(uintptr_t from)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t here = ((uintptr_t)__builtin_frame_address(0) & ~(page - 1)) - page;

    if (here > from)
        (void)madvise((void *)from, here - from, MADV_DONTNEED); /* NOLINT(performance-no-int-to-ptr) */
}

/* False: there is no telling what this process has mapped. */
static bool wipe_all_memory(void)
{
    static char line[512];
    FILE *maps = fopen("/proc/self/maps", "re");

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        uintptr_t from, to;
        char rights[8];

        /* Addresses are hexadecimal (proc(5)); what is not readable and writable holds nothing of ours. */
        /* NOLINTNEXTLINE(cert-err34-c): the kernel's own numbers */
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &to, rights) != 3 || strncmp(rights, "rw", 2) != 0 ||
            strstr(line, "[v") != NULL || to - from > SEARCH_MOST)
            continue;
        if (strstr(line, "[stack]") != NULL)
            drop_stack(from);
        for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
            if (secrets[i].length >= SECRET_LEAST)
                wipe_from((char *)from, to - from, &secrets[i]); /* NOLINT(performance-no-int-to-ptr) */
    }
    if (maps != NULL)
        (void)fclose(maps);
    return maps != NULL;
}

SSL *login_detach(PGconn *conn, int *server)
{
    SSL *ssl = PQsslStruct(conn, "OpenSSL");
    bool done;

    *server = fcntl(PQsocket(conn), F_DUPFD_CLOEXEC, 0);
    if (*server == -1)
        return NULL;
    remember_secrets(conn);
    done = make_let_go(conn, ssl) && SSL_set_fd(ssl, *server) == 1;
    if (done)
        SSL_certs_clear(ssl); /* the client's key: it has signed what it had to */
    wipe_free_memory();
    done = done && wipe_all_memory();
    explicit_bzero(secrets, sizeof secrets);
    return done ? ssl : NULL;
}
