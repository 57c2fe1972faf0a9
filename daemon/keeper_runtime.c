/* SPDX-License-Identifier: ISC */
/*
 * keeper_runtime.c - what others find in the file system: runtime directory, lock, sockets, shared memory.
 *
 * The hard thing: the last run may have been killed anywhere. The lock, which the kernel lets go with its holder,
 * tells whether another daemon lives; once it is held, whatever of ours lies about is stale and is removed. What is
 * not ours is never touched.
 */
#include "keeper.h"
#include "ring.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG 4096
#define LOCK_TRIES     10
#define LOCK_NAME      "pglendd.lock"
#define SHM_DIRECTORY  "/dev/shm"

static const struct {
    const char *name;
    int type;
} sockets[LISTENERS] = {
    [LISTENER_WORKER] = {"worker.sock", SOCK_SEQPACKET},
    [LISTENER_ADMIN] = {"admin.sock", SOCK_STREAM},
    [LISTENER_DOOR] = {".s.PGSQL.6432", SOCK_STREAM},
};

static bool is_ours(const struct stat *st)
{
    return st->st_uid == 0 || st->st_uid == geteuid();
}

static int directory_open(const char *path, char *error, size_t size)
{
    struct stat st;

    /* Workers may enter, and need not look round. */
    if (mkdir(path, 0711) == -1 && errno != EEXIST) {
        (void)snprintf(error, size, "cannot create runtime_dir %s: %s: create it for this user, or set another", path,
                       strerror(errno));
        return -1;
    }
    if (stat(path, &st) == -1) {
        (void)snprintf(error, size, "cannot look at runtime_dir %s: %s", path, strerror(errno));
        return -1;
    }
    if (S_ISDIR(st.st_mode) && is_ours(&st) && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
        return 0;
    if (!S_ISDIR(st.st_mode)) {
        (void)snprintf(error, size, "runtime_dir %s is not a directory: remove it or set another", path);
        return -1;
    }
    if (!is_ours(&st))
        (void)snprintf(error, size,
                       "runtime_dir %s belongs to uid %u, who could replace its sockets: run chown %u %s or "
                       "set another",
                       path, (unsigned)st.st_uid, (unsigned)geteuid(), path);
    else
        (void)snprintf(error, size,
                       "runtime_dir %s has mode %04o, and others could replace its sockets: run chmod 0711 "
                       "%s or set another",
                       path, (unsigned)st.st_mode & 07777, path);
    return -1;
}

/* The lock file that stands at PATH, locked; -1 with errno, EWOULDBLOCK: another holds it (*holder says who). */
static int lock_file(const char *path, long *holder)
{
    *holder = 0;
    for (int i = 0; i < LOCK_TRIES; i++) {
        /* Who may open it may lock it, and keep every daemon out. */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), problem;
        char text[32] = "";
        struct stat mine, there;

        if (fd == -1)
            return -1;
        if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
            problem = errno;
            if (pread(fd, text, sizeof text - 1, 0) > 0)
                *holder = strtol(text, NULL, 10);
            (void)close(fd);
            errno = problem;
            return -1;
        }
        /* A daemon that ends removes its lock file: one that was removed meanwhile locks nothing. */
        if (fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_ino == there.st_ino)
            return fd;
        (void)close(fd);
    }
    errno = EAGAIN;
    return -1;
}

static int lock_open(const char *directory, char *error, size_t size)
{
    char path[PATH_MAX], pid[32];
    long holder;
    int fd;

    (void)snprintf(path, sizeof path, "%s/%s", directory, LOCK_NAME);
    fd = lock_file(path, &holder);
    if (fd == -1 && errno == EWOULDBLOCK) {
        (void)snprintf(error, size, "another pglendd (pid %ld) serves %s: stop it, or set another runtime_dir", holder,
                       directory);
        return -1;
    }
    if (fd == -1) {
        (void)snprintf(error, size, "cannot lock %s: %s", path, strerror(errno));
        return -1;
    }
    (void)snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) == -1 || pwrite(fd, pid, strlen(pid), 0) == -1) {
        (void)snprintf(error, size, "cannot write %s: %s", path, strerror(errno));
        (void)close(fd);
        return -1;
    }
    return fd;
}

/* True: PATH fits into an address. */
static bool address_of(const char *directory, enum listener which, struct sockaddr_un *address)
{
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    length = snprintf(address->sun_path, sizeof address->sun_path, "%s/%s", directory, sockets[which].name);
    return length > 0 && (size_t)length < sizeof address->sun_path;
}

/* Remove a socket of a dead run; anything else that has its name stays and makes bind() fail. */
static void remove_socket(const char *path)
{
    struct stat st;

    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        (void)unlink(path);
}

static int listener_open(const char *directory, enum listener which, char *error, size_t size)
{
    struct sockaddr_un address;
    int fd;

    if (!address_of(directory, which, &address)) {
        (void)snprintf(error, size, "runtime_dir %s is too long for a socket's address: set a shorter one", directory);
        return -1;
    }
    remove_socket(address.sun_path);
    fd = socket(AF_UNIX, sockets[which].type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd != -1)
        descriptors_refuse(fd);
    /* Everybody may connect; who may borrow or command is decided by the kernel's word on who it is. */
    if (fd != -1 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && chmod(address.sun_path, 0666) == 0 &&
        listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    (void)snprintf(error, size, "cannot listen on %s: %s", address.sun_path,
                   errno == EADDRINUSE ? "something that is no socket stands there: remove it" : strerror(errno));
    if (fd != -1)
        (void)close(fd);
    return -1;
}

int runtime_open(struct keeper *k, char *error, size_t size)
{
    const char *directory = k->config->runtime_dir;

    if (directory_open(directory, error, size) == -1)
        return -1;
    k->lock = lock_open(directory, error, size);
    if (k->lock == -1)
        return -1;
    for (enum listener i = 0; i < LISTENERS; i++) {
        k->listener[i] = listener_open(directory, i, error, size);
        if (k->listener[i] == -1)
            return -1;
    }
    return 0;
}

void runtime_close(struct keeper *k)
{
    char path[PATH_MAX];
    struct sockaddr_un address;

    if (k->lock == -1)
        return;
    for (enum listener i = 0; i < LISTENERS; i++)
        if (k->listener[i] != -1 && address_of(k->config->runtime_dir, i, &address)) {
            (void)unlink(address.sun_path);
            (void)close(k->listener[i]);
        }
    (void)snprintf(path, sizeof path, "%s/%s", k->config->runtime_dir, LOCK_NAME);
    (void)unlink(path);
    (void)close(k->lock);
    k->lock = -1;
}

/* ---- shared memory ---- */

/* An object of a dead run: its workers are told, then it goes. */
static void remove_stale(const char *name)
{
    int fd = shm_open(name, O_RDWR, 0);
    struct stat st;

    if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || !is_ours(&st)) {
        log_warning("shared memory object %s is not ours: left alone", name);
    } else {
        /* One that was truncated cannot be marked, and nobody can use it. */
        (void)segment_retire(fd);
        if (shm_unlink(name) == -1)
            log_warning("cannot remove shared memory object %s: %s", name, strerror(errno));
    }
    if (fd != -1)
        (void)close(fd);
}

static void remove_all_stale(const char *instance)
{
    char prefix[SEGMENT_NAME_MAX], name[NAME_MAX + 2];
    DIR *directory = opendir(SHM_DIRECTORY);
    const struct dirent *entry;

    (void)segment_name(prefix, instance, "");
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        (void)snprintf(name, sizeof name, "/%s", entry->d_name);
        if (strncmp(name, prefix, strlen(prefix)) == 0)
            remove_stale(name);
    }
    if (directory != NULL)
        (void)closedir(directory);
}

/*
 * Everybody can write to /dev/shm: somebody may have taken the name or, with a segment that was lent, all the space.
 * One without a name serves as well; only who looks there does not see it.
 */
int segment_open(struct keeper_pool *pool, const char *runtime_dir, char *error, size_t size)
{
    const char *name = pool->config->name;
    uint32_t borrowers = (uint32_t)pool->config->max_workers;
    char instance[17];

    segment_instance(runtime_dir, instance);
    pool->segment_fd = pool->reader_fd = -1;
    if (segment_name(pool->segment_name, instance, name) == 0)
        pool->segment_fd = segment_create(pool->segment_name, name, pool->slots, borrowers, pool->records);
    if (pool->segment_fd == -1) {
        log_warning("cannot create shared memory object %s%s: %s: pool %s does with one that has no name",
                    SHM_DIRECTORY, pool->segment_name, strerror(errno), name);
        pool->segment_name[0] = '\0';
        pool->segment_fd = segment_create(NULL, name, pool->slots, borrowers, pool->records);
    }
    if (pool->segment_fd != -1 && pool->config->isolation == ISOLATION_STRICT)
        pool->reader_fd = segment_reader(pool->segment_fd);
    if (pool->segment_fd != -1 && (pool->reader_fd != -1 || pool->config->isolation != ISOLATION_STRICT))
        return 0;
    (void)snprintf(error, size, "cannot create shared memory for pool %s (%u slots, %u borrowers): %s", name,
                   pool->slots, borrowers, strerror(errno));
    segment_close(pool);
    return -1;
}

void segment_close(struct keeper_pool *pool)
{
    if (pool->segment_fd == -1)
        return;
    (void)segment_retire(pool->segment_fd);
    if (pool->segment_name[0] != '\0')
        (void)shm_unlink(pool->segment_name);
    (void)close(pool->segment_fd);
    if (pool->reader_fd != -1)
        (void)close(pool->reader_fd);
    pool->segment_fd = pool->reader_fd = -1;
}

int segments_open(struct keeper *k, char *error, size_t size)
{
    char instance[17];

    segment_instance(k->config->runtime_dir, instance);
    remove_all_stale(instance);
    k->pool = calloc(k->config->pools, sizeof *k->pool);
    if (k->pool == NULL)
        goto no_memory;
    for (size_t i = 0; i < k->config->pools; i++) {
        struct keeper_pool *pool = &k->pool[i];

        pool->config = &k->config->pool[i];
        pool->slots = (uint32_t)pool->config->size_limit;
        pool->records = *k->config->audit.directory == '\0' ? 0 : ring_size(pool->slots);
        pool->segment_fd = pool->reader_fd = pool->secret = -1;
        k->pools = i + 1;
        pool->slot = calloc(pool->slots, sizeof *pool->slot);
        if (pool->slot == NULL)
            goto no_memory;
        for (uint32_t s = 0; s < pool->slots; s++)
            pool->slot[s].fd = -1;
        if (segment_open(pool, k->config->runtime_dir, error, size) == -1)
            return -1;
    }
    return 0;

no_memory:
    (void)snprintf(error, size, "out of memory");
    return -1;
}
