/* SPDX-License-Identifier: ISC */
/*
 * audit_copy.c - each signed checkpoint also goes where the trail is not: into the log, and to syslog where asked.
 *
 * Who shortens the trail must then shorten those too. The hard thing: the trail waits for nobody. So syslog gets one
 * datagram that is sent at once or not at all, and what it did not take is counted.
 */
#include "audit_copy.h"
#include "login.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define PRIORITY (LOG_AUTHPRIV | LOG_NOTICE)

static struct {
    struct sockaddr_un to; /* sun_path "": there is none */
    int fd;                /* -1: not connected */
    uint64_t lost;
    bool said; /* that it takes nothing */
} copies = {.fd = -1};

void audit_copy_open(const char *path)
{
    copies.to.sun_family = AF_UNIX;
    (void)snprintf(copies.to.sun_path, sizeof copies.to.sun_path, "%s", path);
}

uint64_t audit_copy_lost(void)
{
    return copies.lost;
}

static void disconnect(void)
{
    if (copies.fd != -1)
        (void)close(copies.fd);
    copies.fd = -1;
}

/* False with errno. */
static bool send_once(const char *text, size_t length)
{
    int error;

    if (copies.fd == -1)
        copies.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (copies.fd != -1 && connect(copies.fd, (const struct sockaddr *)&copies.to, sizeof copies.to) == 0 &&
        send(copies.fd, text, length, MSG_NOSIGNAL) == (ssize_t)length)
        return true;
    error = errno;
    disconnect();
    errno = error;
    return false;
}

/* In the form that the C library's syslog() has: RFC 3164, section 4.1, without a host's name. */
static void send_syslog(const char *head, const char *line)
{
    static char text[AUDIT_LINE_MAX + 256];
    time_t now = time(NULL);
    struct tm local;
    char when[32] = "";
    int length;

    if (localtime_r(&now, &local) != NULL)
        (void)strftime(when, sizeof when, "%b %e %T", &local);
    length = snprintf(text, sizeof text, "<%d>%s pglendd[%d]: audit: checkpoint %s %s", PRIORITY, when, (int)getpid(),
                      head, line);
    if (send_once(text, (size_t)length)) {
        if (copies.said)
            log_info("audit: %s takes checkpoints again; %llu were lost to it", copies.to.sun_path,
                     (unsigned long long)copies.lost);
        copies.said = false;
        return;
    }
    copies.lost++;
    if (!copies.said)
        log_warning("audit: %s does not take checkpoints: %s; is the system's logger running? It is tried with each",
                    copies.to.sun_path, strerror(errno));
    copies.said = true;
}

void audit_copy(const char *head, const char *line)
{
    log_info("audit: checkpoint %s %s", head, line);
    if (copies.to.sun_path[0] != '\0')
        send_syslog(head, line);
}
