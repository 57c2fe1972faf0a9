/* SPDX-License-Identifier: ISC */
/*
 * identity.c - who a peer on a Unix socket is, by the kernel's word.
 *
 * The hard thing: a pid is a number that somebody else may have by the time it is looked at. SO_PEERPIDFD (Linux 6.5)
 * names the process itself. Without it the pidfd is opened by number, and counts only if the process of that number
 * started at the same time before and after, and the socket's owner had not hung up.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

#define GROUPS_KEPT (sizeof((struct identity *)NULL)->groups / sizeof(gid_t))

/* Read a small file of /proc whole; its length, 0 if it cannot be had. */
static size_t read_proc(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    size_t length = 0;
    int fd;

    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd == -1)
        return 0;
    while (length < size - 1) {
        ssize_t got = read(fd, text + length, size - 1 - length);

        if (got <= 0)
            break;
        length += (size_t)got;
    }
    text[length] = '\0';
    (void)close(fd);
    return length;
}

uint64_t identity_start_time(pid_t pid)
{
    char text[1024], *field;

    if (pid <= 0 || read_proc(pid, "stat", text, sizeof text) == 0)
        return 0;
    /* Field 2 is the program's name in brackets, which may hold anything: count from its last bracket. */
    field = strrchr(text, ')');
    for (int i = 2; field != NULL && i < 22; i++) {
        field = strchr(field, ' ');
        if (field != NULL)
            field++;
    }
    return field == NULL ? 0 : strtoull(field, NULL, 10);
}

bool identity_hung_up(int sock)
{
    struct pollfd p = {.fd = sock, .events = POLLRDHUP};

    return poll(&p, 1, 0) == -1 || (p.revents & (POLLHUP | POLLRDHUP | POLLERR | POLLNVAL)) != 0;
}

bool identity_ended(const struct identity *who)
{
    struct pollfd p = {.fd = who->pidfd, .events = POLLIN};

    return poll(&p, 1, 0) != 0;
}

static int pidfd_by_number(int sock, pid_t pid)
{
    uint64_t before = identity_start_time(pid);
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

    if (pidfd == -1)
        return -1;
    if (before != 0 && identity_start_time(pid) == before && !identity_hung_up(sock))
        return pidfd;
    (void)close(pidfd);
    errno = ESRCH;
    return -1;
}

static int pidfd_of_peer(int sock, pid_t pid)
{
    socklen_t length = sizeof(int);
    int pidfd = -1;

    if (getenv("PGLEND_NO_PEERPIDFD") == NULL) {
        if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length) == 0)
            return pidfd;
        if (errno != ENOPROTOOPT && errno != EINVAL)
            return -1;
    }
    return pidfd_by_number(sock, pid);
}

/* Supplementary groups as of connect(2). A peer with more than there is room for is judged by the first of them. */
static int groups_of_peer(int sock, struct identity *who)
{
    gid_t small[GROUPS_KEPT], *all = small;
    socklen_t length = sizeof small;
    int status = getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, small, &length);

    if (status == -1 && errno == ERANGE) {
        all = malloc(length);
        if (all == NULL)
            return -1;
        status = getsockopt(sock, SOL_SOCKET, SO_PEERGROUPS, all, &length);
    }
    if (status == 0) {
        who->group_count = length / sizeof(gid_t);
        if (who->group_count > GROUPS_KEPT) {
            static struct log_limit limit = {.kind = "peer in too many groups"};

            if (log_permitted(&limit))
                log_warning("peer pid %d is in %zu groups: only the first %zu count", (int)who->pid, who->group_count,
                            GROUPS_KEPT);
            who->group_count = GROUPS_KEPT;
        }
        memcpy(who->groups, all, who->group_count * sizeof(gid_t));
    }
    if (all != small)
        free(all);
    return status;
}

int identity_of_peer(int sock, struct identity *who, char *error, size_t size)
{
    struct ucred peer = {0};
    socklen_t length = sizeof peer;

    *who = (struct identity){.pidfd = -1};
    if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &length) == -1 || length != sizeof peer) {
        (void)snprintf(error, size, "cannot read the peer's credentials: %s", strerror(errno));
        return -1;
    }
    if (peer.pid <= 0) {
        (void)snprintf(error, size,
                       "the peer (uid %u) is in a pid namespace that cannot be seen from here, and so its death could "
                       "not be noticed: run it in pglendd's or in one below it",
                       (unsigned)peer.uid);
        return -1;
    }
    who->pid = peer.pid;
    who->uid = peer.uid;
    who->gid = peer.gid;
    if (groups_of_peer(sock, who) == -1) {
        (void)snprintf(error, size, "cannot read the groups of pid %d: %s", (int)peer.pid, strerror(errno));
        return -1;
    }
    who->pidfd = pidfd_of_peer(sock, peer.pid);
    if (who->pidfd == -1) {
        (void)snprintf(error, size, "cannot watch pid %d: %s", (int)peer.pid, strerror(errno));
        return -1;
    }
    who->start_time = identity_start_time(peer.pid);
    /* Alive after its start time was read: the number was still its own then. */
    if (who->start_time == 0 || identity_ended(who)) {
        (void)snprintf(error, size, "pid %d has ended", (int)peer.pid);
        (void)close(who->pidfd);
        who->pidfd = -1;
        return -1;
    }
    return 0;
}

static bool in_group(const struct identity *who, gid_t gid)
{
    if (who->gid == gid)
        return true;
    for (size_t i = 0; i < who->group_count; i++)
        if (who->groups[i] == gid)
            return true;
    return false;
}

bool identity_allowed(const struct identity *who, const struct access_config *access)
{
    gid_t gid;

    for (size_t i = 0; i < access->users.count; i++)
        if (names_user_is(access->users.item[i], who->uid))
            return true;
    for (size_t i = 0; i < access->groups.count; i++)
        if (names_group(access->groups.item[i], &gid) && in_group(who, gid))
            return true;
    return false;
}

const char *identity_user_name(uid_t uid, char name[64])
{
    struct passwd entry, *found = NULL;
    char buffer[4096];

    if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != NULL)
        (void)snprintf(name, 64, "%s", found->pw_name);
    else
        (void)snprintf(name, 64, "%u", (unsigned)uid);
    return name;
}

/* The kernel shows another user's executable to the privileged only; its name, in brackets as ps has it, to all. */
static void name_in_brackets(pid_t pid, char path[EXECUTABLE_MAX])
{
    char name[64], file[64];
    FILE *comm;

    (void)snprintf(file, sizeof file, "/proc/%d/comm", (int)pid);
    comm = fopen(file, "re");
    path[0] = '\0';
    if (comm == NULL)
        return;
    if (fgets(name, sizeof name, comm) != NULL)
        (void)snprintf(path, EXECUTABLE_MAX, "[%.*s]", (int)strcspn(name, "\n"), name);
    (void)fclose(comm);
}

void identity_executable(pid_t pid, char path[EXECUTABLE_MAX])
{
    char link[64];
    ssize_t length;

    (void)snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    length = readlink(link, path, EXECUTABLE_MAX - 1);
    /* One that cannot be reached from here has no path, and one that is cut off is another's. */
    if (length > 0 && length < EXECUTABLE_MAX - 1 && path[0] == '/')
        path[length] = '\0';
    else
        name_in_brackets(pid, path);
}
