/* SPDX-License-Identifier: ISC */
/*
 * needles.c - secrets that must stay where they belong, looked for everywhere else.
 */
#include "needles.h"
#include "harness.h"
#include "pglend.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP (1 << 20)

static struct needle {
    const char *what;
    unsigned char bytes[NEEDLE_MAX];
    size_t length;
} needle[8];
static size_t needles;

void look_for(const char *what, const void *bytes, size_t length)
{
    struct needle *n = &needle[needles++];

    ck_assert(needles <= sizeof needle / sizeof needle[0] && length > 0 && length <= NEEDLE_MAX);
    n->what = what;
    n->length = length;
    memcpy(n->bytes, bytes, length);
}

void look_no_more(size_t count)
{
    ck_assert_uint_le(count, needles);
    needles -= count;
}

void draw_secret(char *text, size_t digits)
{
    static const char digit[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
    unsigned char random[NEEDLE_MAX];

    ck_assert_int_eq(getrandom(random, digits, 0), digits);
    for (size_t i = 0; i < digits; i++)
        text[i] = digit[random[i] % 64];
    text[digits] = '\0';
}

/* ---- search ---- */

/* FD from AT to END; what cannot be read ends it. True: VISIT said so. */
static bool read_all(int fd, off_t at, off_t end, visit_function *visit, void *argument)
{
    static char bytes[STEP + NEEDLE_MAX + 1];
    ssize_t got;

    for (; at < end && (got = pread(fd, bytes, sizeof bytes - 1, at)) > 0; at += got < STEP ? got : STEP) {
        bytes[got] = '\0';
        if (visit(bytes, (size_t)got, argument))
            return true;
    }
    return false;
}

/*
 * AddressSanitizer's shadow on x86-64 (compiler-rt, asan_mapping.h): terabytes, mostly never touched, that say which
 * bytes may be used and hold none of them.
 */
static bool is_shadow(unsigned long long from)
{
    const char *sanitize = getenv("SANITIZE");

    return sanitize != NULL && strstr(sanitize, "address") != NULL && from < 0x10007fff8000;
}

bool process_memory(pid_t pid, visit_function *visit, void *argument)
{
    char path[64], line[512];
    unsigned long long from, to;
    bool allowed, ended = false;
    char readable;
    FILE *maps;
    int memory;

    (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    memory = open(path, O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
    maps = fopen(path, "re");
    allowed = memory != -1 && maps != NULL;
    while (allowed && !ended && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%llx-%llx %c", &from, &to, &readable) == 3 && readable == 'r' && strstr(line, "[v") == NULL &&
            !is_shadow(from))
            ended = read_all(memory, (off_t)from, (off_t)to, visit, argument);
    if (maps != NULL)
        (void)fclose(maps);
    if (memory != -1)
        (void)close(memory);
    return allowed;
}

/* Which needles are in there, a bit each. */
static bool mark(const char *bytes, size_t length, void *argument)
{
    unsigned *found = argument;

    for (size_t i = 0; i < needles; i++)
        if (memmem(bytes, length, needle[i].bytes, needle[i].length) != NULL)
            *found |= 1U << i;
    return false;
}

static bool search_file(const char *path, unsigned *found)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1)
        return false;
    (void)read_all(fd, 0, (off_t)1 << 40, mark, found);
    (void)close(fd);
    return true;
}

/* Memory, environment and arguments of PID. False: the kernel does not let us. */
static bool search_process(pid_t pid, unsigned *found)
{
    char environment[64], arguments[64];

    *found = 0;
    (void)snprintf(environment, sizeof environment, "/proc/%d/environ", (int)pid);
    (void)snprintf(arguments, sizeof arguments, "/proc/%d/cmdline", (int)pid);
    return process_memory(pid, mark, found) && search_file(environment, found) && search_file(arguments, found);
}

static void nothing_found(unsigned found, const char *where)
{
    for (size_t i = 0; i < needles; i++)
        ck_assert_msg((found & 1U << i) == 0, "%s is in %s", needle[i].what, where);
}

void nowhere_in_process(pid_t pid)
{
    char title[256];
    unsigned found;

    process_title(pid, title);
    ck_assert_msg(search_process(pid, &found), "cannot look into %d, %s: %s", (int)pid, title, strerror(errno));
    nothing_found(found, title);
}

static bool lives(pid_t pid)
{
    char state = process_state(pid);

    return state != 0 && state != 'Z';
}

void nowhere_in_children(pid_t parent)
{
    pid_t child[64];
    size_t count = process_children(parent, child, sizeof child / sizeof child[0]);

    for (size_t i = 0; i < count; i++) {
        char title[256];
        unsigned found;

        process_title(child[i], title);
        if (!search_process(child[i], &found))
            ck_assert_msg(!lives(child[i]), "cannot look into %d, %s", (int)child[i], title);
        nothing_found(found, title);
    }
}

void nowhere_in_directory(const char *directory)
{
    char path[512];
    DIR *dir = opendir(directory);
    struct stat st;

    ck_assert_ptr_nonnull(dir);
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        unsigned found = 0;

        (void)snprintf(path, sizeof path, "%s/%s", directory, e->d_name);
        if (stat(path, &st) != 0 || !S_ISREG(st.st_mode))
            continue;
        ck_assert_msg(search_file(path, &found), "cannot look into %s: %s", path, strerror(errno));
        nothing_found(found, path);
    }
    (void)closedir(dir);
}

void everywhere_here(void)
{
    unsigned found;

    ck_assert_msg(search_process(getpid(), &found) && found == (1U << needles) - 1,
                  "the search does not find what is there");
}

/* ---- sessions ---- */

int lease_and_stay(void *role, int sock)
{
    char directory[80], text[64];
    PGconn *conn[NEEDLE_LEASES];
    pglend *pool;

    ck_assert_int_eq(recv(sock, directory, sizeof directory, MSG_WAITALL), sizeof directory);
    pool = pglend_open(directory, "clinic");
    for (int i = 0; i < NEEDLE_LEASES; i++) {
        conn[i] = pglend_acquire(pool, 10000);
        ck_assert_msg(conn[i] != NULL, "%s", pglend_errmessage(pool));
        ck_assert_str_eq(query(conn[i], "select current_user", text, sizeof text), role);
    }
    for (int i = 1; i < NEEDLE_LEASES; i++)
        ck_assert_int_eq(pglend_release(pool, conn[i]), PGLEND_OK);
    say(sock, 'h');
    (void)hear(sock, 60);
    pglend_close(pool);
    return 0;
}

void nowhere_in_relays(const struct pglendd *d, int expected)
{
    const char *sanitize = getenv("SANITIZE");
    int relays = 0;

    for (int i = 0; i < NEEDLE_LEASES; i++) {
        char title[32];
        pid_t relay;

        (void)snprintf(title, sizeof title, "relay clinic/%d", i);
        relay = pglendd_process(d, title);
        if (relay == 0)
            continue;
        /* AddressSanitizer keeps what is freed, out of the program's reach: there is no wiping of that. */
        if (sanitize == NULL || *sanitize == '\0')
            nowhere_in_process(relay);
        relays++;
    }
    ck_assert_int_eq(relays, expected);
}

void fail_a_login(const struct postgres *server, const struct pglendd *d)
{
    postgres_run(server, "alter role clinic nologin");
    postgres_run(server, "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'clinic'");
    wait_until(pglendd_logged(d, "login failed"), 5);
    wait_until(pglendd_process(d, "login") == 0, 5);
}
