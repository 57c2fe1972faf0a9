/* SPDX-License-Identifier: ISC */
/*
 * admin.c - admin.sock: lines of what may be JSON, from somebody who may do everything.
 *
 * What comes back must be one line of JSON for each line that is not blank, with "ok" in it, in order: as many answers
 * as requests, whatever the requests.
 */
#include "stand.h"

#include <jansson.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 20 /* requests may wait for a pool to come to rest: not for those */

static bool waits(const char *line, size_t length)
{
    return memmem(line, length, "wait", 4) != NULL || memmem(line, length, "timeout", 7) != NULL;
}

static void check_answers(const char *text, size_t length)
{
    const char *end;

    while ((end = memchr(text, '\n', length)) != NULL) {
        json_t *answer = json_loadb(text, (size_t)(end - text), 0, NULL);

        fuzz_require(json_is_boolean(json_object_get(answer, "ok")));
        json_decref(answer);
        length -= (size_t)(end + 1 - text);
        text = end + 1;
    }
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    stand_start();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char text[1 << 20];
    int sock = stand_connect(LISTENER_ADMIN);
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    bool patient = !waits((const char *)data, size);
    size_t length = 0;
    ssize_t got = 1;

    (void)send(sock, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)send(sock, "\n", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(sock, SHUT_WR);
    while (got > 0 && length < sizeof text && poll(&wait, 1, patient ? 100 : WAIT_MS) == 1) {
        got = recv(sock, text + length, sizeof text - length, 0);
        length += got > 0 ? (size_t)got : 0;
    }
    (void)close(sock);
    check_answers(text, length);
    return 0;
}
