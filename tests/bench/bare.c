/* SPDX-License-Identifier: ISC */
/*
 * bare.c - the least that handing sessions on between processes costs on this machine, without pglend and libpq.
 *
 * Who finds no idle session sleeps on a word of its own; who ends a query gives its session to whoever has slept
 * longest and wakes that one. A process that dies would stop everything: good for a yardstick only.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

struct queue {
    pthread_mutex_t lock;
    int waiter[BARE_MEMBERS]; /* a ring */
    int first, waiting;
    int idle[BARE_SESSIONS];
    int idles;
    _Atomic uint32_t given[BARE_MEMBERS]; /* session + 1, and what its member sleeps on */
};

static struct queue *queue;
static int sock[BARE_SESSIONS];

void bare_open(void)
{
    pthread_mutexattr_t attributes;

    queue = bench_shared(sizeof *queue);
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&queue->lock, &attributes);
    for (int i = 0; i < BARE_SESSIONS; i++) {
        sock[i] = PQsocket(bench_connect());
        if (fcntl(sock[i], F_SETFL, 0) == -1) /* blocking */
            bench_fail("fcntl", strerror(errno));
        queue->idle[queue->idles++] = i;
    }
}

static int take(int member)
{
    uint32_t given;

    pthread_mutex_lock(&queue->lock);
    if (queue->idles > 0) {
        given = (uint32_t)queue->idle[--queue->idles] + 1;
        pthread_mutex_unlock(&queue->lock);
        return (int)given - 1;
    }
    queue->given[member] = 0;
    queue->waiter[(queue->first + queue->waiting++) % BARE_MEMBERS] = member;
    pthread_mutex_unlock(&queue->lock);
    while ((given = queue->given[member]) == 0)
        syscall(SYS_futex, &queue->given[member], FUTEX_WAIT, 0, NULL, NULL, 0);
    return (int)given - 1;
}

static void give(int session)
{
    int member;

    pthread_mutex_lock(&queue->lock);
    if (queue->waiting == 0) {
        queue->idle[queue->idles++] = session;
        pthread_mutex_unlock(&queue->lock);
        return;
    }
    member = queue->waiter[queue->first];
    queue->first = (queue->first + 1) % BARE_MEMBERS;
    queue->waiting--;
    pthread_mutex_unlock(&queue->lock);
    queue->given[member] = (uint32_t)session + 1;
    syscall(SYS_futex, &queue->given[member], FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void select_1(int fd)
{
    static const char query[] = "Q\0\0\0\15select 1";
    char answer[512];
    size_t have = 0;

    if (send(fd, query, sizeof query, MSG_NOSIGNAL) != sizeof query)
        bench_fail("send", strerror(errno));
    /* Ends with ReadyForQuery (documentation, 55.7): 'Z', length 5, status. */
    while (have < 6 || memcmp(answer + have - 6, "Z\0\0\0\5", 5) != 0) {
        ssize_t got = recv(fd, answer + have, sizeof answer - have, 0);

        if (got <= 0)
            bench_fail("recv", got == 0 ? "the server has gone" : strerror(errno));
        have += (size_t)got;
    }
}

void bare_cycle(int member)
{
    int session = take(member);

    select_1(sock[session]);
    give(session);
}
