/* SPDX-License-Identifier: ISC */
/*
 * admin_test.c - admin.sock of a real supervisor, whose keeper is this test: no database and no login is needed.
 *
 * What is tried: every command, answers in order, lines in pieces and too long, peers that do not read, that are too
 * many, that hold no role, a keeper that is slow, and a segment full of garbage.
 */
#include "admin.h"
#include "daemon.h"
#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS     8
#define WORKERS   64
#define WAIT_MS   5000
#define LINE_SIZE (1 << 20)
#define NOBODY    65534
#define PEERS_MAX 80

static const char config_text[] = "{\"runtime_dir\": \"/tmp\", \"pools\": {"
                                  "\"clinic\": {\"database\": {\"host\": \"/tmp\", \"dbname\": \"c\", \"user\": \"c\"},"
                                  " \"size\": {\"min\": 1, \"max\": 4, \"limit\": 8}, \"max_workers\": 64},"
                                  "\"lab\": {\"database\": {\"host\": \"/tmp\", \"dbname\": \"l\", \"user\": \"l\"},"
                                  " \"size\": {\"min\": 0, \"max\": 2, \"limit\": 8}, \"max_workers\": 64}}}";

static int keeper; /* the keeper's end of the supervisor's channel */
static pid_t supervisor;
static int clinic; /* descriptor of the pool's segment */
static int peer[PEERS_MAX];
static size_t peers;

/* ---- the keeper's part ---- */

static void tell(enum message_verb verb, const char *pool, uint32_t slot, uint32_t status, const char *text, int fd)
{
    struct message *m = calloc(1, sizeof(*m));

    message_make(m, verb, pool, slot, text);
    m->status = status;
    ck_assert_int_eq(channel_send_blocking(keeper, m, fd), 0);
    free(m);
}

/* The supervisor's next message of VERB; others are passed over. Its status. */
static uint32_t await(enum message_verb verb)
{
    struct message *m = calloc(1, sizeof(*m));
    uint32_t status;
    int fd;

    do
        ck_assert_msg(channel_receive_blocking(keeper, m, &fd) == 0, "no message %d: %s", (int)verb, strerror(errno));
    while (m->verb != (uint32_t)verb);
    status = m->status;
    free(m);
    return status;
}

static int listening_socket(const char *name, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", harness_directory(), name);
    unlink(address.sun_path);
    ck_assert_int_eq(bind(sock, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(chmod(address.sun_path, 0666), 0);
    ck_assert_int_eq(listen(sock, 128), 0);
    return sock;
}

static int new_segment(const char *pool)
{
    char name[SEGMENT_NAME_MAX];
    int fd;

    snprintf(name, sizeof(name), "/pglend.test%d.%s", (int)getpid(), pool);
    fd = segment_create(name, pool, SLOTS, WORKERS, 0);
    ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
    shm_unlink(name);
    return fd;
}

static void hand_over(enum message_verb verb, const char *pool, uint32_t slot, int fd)
{
    tell(verb, pool, slot, 0, NULL, fd);
    close(fd);
}

static void start(void)
{
    int pair[2], config = memfd_create("config", MFD_CLOEXEC);

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    ck_assert_int_eq(write(config, config_text, strlen(config_text)), (ssize_t)strlen(config_text));
    supervisor = fork();
    ck_assert_int_ge(supervisor, 0);
    if (supervisor == 0) {
        int log = open("/dev/null", O_WRONLY);

        dup2(log, STDERR_FILENO);
        dup2(pair[1], CHANNEL_FD);
        close_range(CHANNEL_FD + 1, ~0U, 0);
        _exit(supervisor_main());
    }
    close(pair[1]);
    keeper = pair[0];
    hand_over(MESSAGE_CONFIG, "", 0, config);
    hand_over(MESSAGE_LISTENER, "", LISTENER_WORKER, listening_socket("worker.sock", SOCK_SEQPACKET));
    hand_over(MESSAGE_LISTENER, "", LISTENER_ADMIN, listening_socket("admin.sock", SOCK_STREAM));
    hand_over(MESSAGE_LISTENER, "", LISTENER_DOOR, listening_socket("door", SOCK_STREAM));
    clinic = new_segment("clinic");
    tell(MESSAGE_SEGMENT, "clinic", 0, 0, NULL, clinic);
    hand_over(MESSAGE_SEGMENT, "lab", 0, new_segment("lab"));
    tell(MESSAGE_SERVE, "", 0, 0, NULL, -1);
    await(MESSAGE_SERVING);
}

/* Whatever the test did, the supervisor must be there at its end. */
static void stop(void)
{
    ck_assert_msg(waitpid(supervisor, NULL, WNOHANG) == 0, "the supervisor has ended");
    kill(supervisor, SIGKILL);
    ck_assert_int_eq(waitpid(supervisor, NULL, 0), supervisor);
    while (peers > 0)
        close(peer[--peers]);
    close(clinic);
    close(keeper);
}

/* ---- a peer ---- */

/* Until the test's end. */
static int join(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/admin.sock", harness_directory());
    ck_assert_msg(connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0, "%s", strerror(errno));
    ck_assert_uint_lt(peers, PEERS_MAX);
    peer[peers++] = sock;
    return sock;
}

static void send_text(int sock, const char *text)
{
    ck_assert_int_eq(send(sock, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* The next line, as JSON; NULL when the supervisor has closed. */
static json_t *next_answer(int sock)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    char *line = malloc(LINE_SIZE);
    size_t length = 0;
    json_error_t error;
    json_t *answer = NULL;

    while (answer == NULL && length < LINE_SIZE) {
        char *end;
        ssize_t got;

        ck_assert_msg(poll(&wait, 1, WAIT_MS) == 1, "no answer within %d ms", WAIT_MS);
        got = recv(sock, line + length, LINE_SIZE - length, MSG_PEEK);
        if (got <= 0)
            break;
        end = memchr(line + length, '\n', (size_t)got); /* what is behind it stays for the next call */
        length += (size_t)recv(sock, line + length, end != NULL ? (size_t)(end + 1 - (line + length)) : (size_t)got, 0);
        if (end != NULL) {
            answer = json_loadb(line, length, 0, &error);
            ck_assert_msg(answer != NULL, "%s: %.*s", error.text, (int)length, line);
        }
    }
    free(line);
    return answer;
}

static json_t *ask(int sock, const char *line)
{
    send_text(sock, line);
    return next_answer(sock);
}

static const char *code_of(const json_t *answer)
{
    return json_string_value(json_object_get(json_object_get(answer, "error"), "code"));
}

#define RESULT(answer) json_object_get((answer), "result")

/* ---- requests ---- */

/* CODE: of the error, NULL for success; FOUND in the answer. */
static const struct {
    const char *request, *code, *found;
} cases[] = {
    {"{\"id\":1,\"command\":\"status\"}", NULL, "\"audit\":\"off\""},
    {"{\"id\":\"x\",\"command\":\"status\",\"args\":{}}", NULL, "\"id\":\"x\""},
    {"{\"command\":\"pools\"}", NULL, "\"id\":null"},
    {"{\"command\":\"pools\",\"args\":{\"pool\":\"lab\"}}", NULL,
     "\"name\":\"lab\",\"state\":\"active\",\"mode_by\":null,\"min\":0,\"max\":2"},
    {"{\"command\":\"slots\",\"args\":{\"pool\":\"lab\"}}", NULL, "\"pool\":\"lab\",\"slot\":1,\"state\":\"empty\""},
    {"{\"command\":\"slots\"}", NULL, "\"pool\":\"clinic\",\"slot\":0,\"state\":\"connecting\""},
    {"{\"command\":\"workers\"}", NULL, "\"result\":[]"},
    {"{\"command\":\"waiters\"}", NULL, "\"result\":[]"},
    {"{\"command\":\"config\"}", NULL, "\"runtime_dir\":\"/tmp\""},
    {"{\"command\":\"help\"}", NULL,
     "\"name\":\"shutdown\",\"args\":\"mode wait\",\"usage\":\"[--fast|--graceful] [--wait]\",\"role\":\"control\""},
    {"{\"command\":\"slots\",\"args\":{\"pool\":\"clinci\"}}", "no_such_pool", "did you mean \\\"clinic\\\"?"},
    {"{\"command\":\"slots\",\"args\":{\"pool\":\"\"}}", "bad_request", "leave it out for all pools"},
    {"{\"command\":\"slots\",\"args\":{\"pool\":\"lab xyzzy\"}}", "no_such_pool", "the command pools lists them"},
    {"{\"command\":\"pools\",\"args\":{\"pool\":\"lab  clinic\"}}", NULL, "\"name\":\"clinic\""},
    {"{\"command\":\"resize\",\"args\":{\"pool\":\"lab\"}}", "bad_request", "give min, max or both"},
    {"{\"command\":\"resize\",\"args\":{\"max\":\"9\"}}", "bad_request", "from 1 to 8 (size.limit)"},
    {"{\"command\":\"resize\",\"args\":{\"min\":\"3\"}}", "bad_request", "pool \\\"lab\\\": min 3 is more than max 2"},
    {"{\"command\":\"resize\",\"args\":{\"min\":\"1e3\"}}", "bad_request", "not a number"},
    {"{\"command\":\"pause\",\"args\":{\"timeout\":\"soon\"}}", "bad_request", "give seconds from 0"},
    {"{\"command\":\"disable\",\"args\":{\"pool\":\"lab\"}}", NULL, "\"state\":\"disabled\""},
    {"{\"command\":\"slots\",\"args\":{\"pool\":7}}", "bad_request", "argument \\\"pool\\\" is not a string"},
    {"{\"command\":\"slots\",\"args\":{\"poo\":\"x\"}}", "bad_request", "unknown argument \\\"poo\\\"; it takes pool"},
    {"{\"command\":\"slots\",\"args\":{\"\":\"x\"}}", "bad_request", "unknown argument"},
    {"{\"command\":\"slots\",\"args\":[]}", "bad_request", "args is not an object"},
    {"{\"command\":\"status\",\"args\":{\"pool\":\"lab\"}}", "bad_request", "it takes none"},
    {"{\"command\":\"shutdown\",\"args\":{\"mode\":\"now\"}}", "bad_request", "neither graceful nor fast"},
    {"{\"id\":9,\"command\":\"statsu\"}", "unknown_command", "did you mean \\\"status\\\"?"},
    {"{\"id\":9,\"command\":\"xyzzy\"}", "unknown_command", "\"id\":9"},
    {"{\"id\":9}", "bad_request", "no command"},
    {"{\"id\":[],\"command\":\"status\"}", "bad_request", "id is neither"},
    {"{\"id\":1,\"id\":2,\"command\":\"status\"}", "bad_request", "duplicate"},
    {"[1]", "bad_request", "no command"},
    {"7", "bad_request", "column 1"},
    {"{\"command\":\"\\ud800\"}", "bad_request", "column"},
    {"{\"command\":\"\\u0000\"}", "bad_request", "column"},
    {"\xff\xfe{", "bad_request", "column"},
    {"GET / HTTP/1.0", "bad_request", "column"},
};

START_TEST(requests)
{
    int sock = join();
    char line[512], *text;
    json_t *answer;

    snprintf(line, sizeof(line), "%s\n", cases[_i].request);
    answer = ask(sock, line);
    ck_assert_msg(answer != NULL, "%s: closed", line);
    text = json_dumps(answer, JSON_COMPACT);
    if (cases[_i].code == NULL)
        ck_assert_msg(json_is_true(json_object_get(answer, "ok")), "%s%s", line, text);
    else
        ck_assert_msg(code_of(answer) != NULL && strcmp(code_of(answer), cases[_i].code) == 0, "%s%s", line, text);
    ck_assert_msg(strstr(text, cases[_i].found) != NULL, "%s%s", line, text);
    json_decref(answer);
    free(text);
    answer = ask(sock, " \r\n\n{\"id\":\"still\",\"command\":\"status\"}\n");
    ck_assert_str_eq(json_string_value(json_object_get(answer, "id")), "still");
    json_decref(answer);
}
END_TEST

START_TEST(nul_byte)
{
    int sock = join();
    json_t *answer;

    ck_assert_int_eq(send(sock, "{\"id\":1\0}\n", 10, MSG_NOSIGNAL), 10);
    answer = next_answer(sock);
    ck_assert_str_eq(code_of(answer), "bad_request");
    json_decref(answer);
}
END_TEST

START_TEST(in_order)
{
    int sock = join();

    for (int i = 0; i < 50; i++) {
        char line[64];

        snprintf(line, sizeof(line), "{\"id\":%d,\"command\":\"%s\"}\n", i, i % 2 == 0 ? "status" : "nonsense");
        send_text(sock, line);
    }
    shutdown(sock, SHUT_WR);
    for (int i = 0; i < 50; i++) {
        json_t *answer = next_answer(sock);

        ck_assert_int_eq(json_integer_value(json_object_get(answer, "id")), i);
        json_decref(answer);
    }
    ck_assert_ptr_null(next_answer(sock));
}
END_TEST

START_TEST(in_pieces)
{
    static const char line[] = "{\"id\":5,\"command\":\"pools\"}\n";
    int sock = join();
    json_t *answer;

    for (size_t i = 0; i + 1 < sizeof(line); i++) {
        char piece[2] = {line[i], '\0'};

        send_text(sock, piece);
        usleep(2000);
    }
    answer = next_answer(sock);
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "id")), 5);
    json_decref(answer);
}
END_TEST

START_TEST(longest_line)
{
    int sock = join();
    char *line = malloc(ADMIN_LINE_MAX + 1);
    json_t *answer;

    memset(line, ' ', ADMIN_LINE_MAX);
    memcpy(line, "{\"command\":\"status\"}", 20);
    line[ADMIN_LINE_MAX - 1] = '\n';
    line[ADMIN_LINE_MAX] = '\0';
    answer = ask(sock, line);
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    line[ADMIN_LINE_MAX - 1] = ' ';
    answer = ask(sock, line);
    ck_assert_str_eq(code_of(answer), "bad_request");
    json_decref(answer);
    ck_assert_ptr_null(next_answer(sock));
    free(line);
}
END_TEST

/* ---- peers ---- */

/* Requests without end from one that never reads: its socket fills up, the others are served. */
START_TEST(slow_reader)
{
    static const char line[] = "{\"command\":\"config\"}\n";
    int slow = join(), other = join();
    size_t sent = 0;
    json_t *answer;

    while (send(slow, line, sizeof(line) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) > 0 && sent < (64U << 20)) {
        sent += sizeof(line) - 1;
        if (sent % 4096 < sizeof(line))
            usleep(100);
    }
    ck_assert_msg(sent < (64U << 20), "the supervisor took %zu bytes of requests", sent);
    answer = ask(other, "{\"id\":1,\"command\":\"status\"}\n");
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
}
END_TEST

START_TEST(too_many)
{
    int sock[64], more;
    json_t *answer;

    for (int i = 0; i < 64; i++) {
        sock[i] = join();
        answer = ask(sock[i], "{\"command\":\"waiters\"}\n");
        ck_assert(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    more = join();
    answer = next_answer(more);
    ck_assert_str_eq(code_of(answer), "failed");
    json_decref(answer);
    ck_assert_ptr_null(next_answer(more));
    shutdown(sock[10], SHUT_RDWR);
    usleep(50000);
    more = join();
    answer = ask(more, "{\"command\":\"waiters\"}\n");
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
}
END_TEST

/* As a user without a role: denied, and 64 such connections keep nobody else out. */
START_TEST(no_role)
{
    int pipes[2], sock;
    char ready;
    pid_t pid;
    json_t *answer;

    if (geteuid() != 0)
        return;
    ck_assert_int_eq(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        bool denied = true;

        if (setgroups(0, NULL) != 0 || setresgid(NOBODY, NOBODY, NOBODY) != 0 || setresuid(NOBODY, NOBODY, NOBODY) != 0)
            _exit(1);
        for (int i = 0; i < 64; i++) {
            answer = ask(join(), "{\"command\":\"shutdown\"}\n");
            denied = denied && strcmp(code_of(answer), "denied") == 0 &&
                     strstr(json_string_value(json_object_get(json_object_get(answer, "error"), "message")),
                            "shutdown needs the role control, which user 65534") != NULL;
        }
        if (write(pipes[1], denied ? "y" : "n", 1) == 1)
            pause();
        _exit(1);
    }
    ck_assert_int_eq(read(pipes[0], &ready, 1), 1);
    ck_assert_int_eq(ready, 'y');
    sock = join();
    answer = ask(sock, "{\"command\":\"status\"}\n");
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

/* ---- what the keeper does ---- */

#define CHANGE "[{\"key\":\"log.level\",\"old\":\"info\",\"new\":\"debug\",\"takes\":\"applied\"}]"

/* The second is asked for while the first is under way: it gets a reload of its own. */
START_TEST(reload)
{
    int first = join(), second = join();
    json_t *answer;

    send_text(first, "{\"id\":1,\"command\":\"reload\"}\n{\"id\":2,\"command\":\"status\"}\n");
    await(MESSAGE_RELOAD);
    send_text(second, "{\"id\":3,\"command\":\"reload\"}\n");
    json_decref(ask(join(), "{\"command\":\"status\"}\n"));
    tell(MESSAGE_RELOADED, "", 0, 0, CHANGE, -1);
    answer = next_answer(first);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(RESULT(answer), 0), "key")), "log.level");
    json_decref(answer);
    answer = next_answer(first);
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "id")), 2);
    json_decref(answer);
    await(MESSAGE_RELOAD);
    tell(MESSAGE_RELOADED, "", 0, 1, "line 3: \xff no", -1);
    answer = next_answer(second);
    ck_assert_str_eq(code_of(answer), "failed");
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(answer, "error"), "message")),
                     "the configuration in force stays: line 3: \xEF\xBF\xBD no");
    json_decref(answer);
}
END_TEST

/* One that asked and left while the keeper was at it. */
START_TEST(reload_abandoned)
{
    int sock = join();
    json_t *answer;

    send_text(sock, "{\"command\":\"reload\"}\n");
    await(MESSAGE_RELOAD);
    shutdown(sock, SHUT_RDWR);
    tell(MESSAGE_RELOADED, "", 0, 0, "[]", -1);
    answer = ask(join(), "{\"command\":\"status\"}\n");
    ck_assert(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
}
END_TEST

START_TEST(shutdown_modes)
{
    int sock = join();
    json_t *answer = ask(sock, "{\"command\":\"shutdown\",\"args\":{\"mode\":\"fast\"}}\n");

    ck_assert_str_eq(json_string_value(json_object_get(RESULT(answer), "mode")), "fast");
    ck_assert_uint_eq(await(MESSAGE_SHUTDOWN), SHUTDOWN_FAST);
    json_decref(answer);
    answer = ask(sock, "{\"command\":\"shutdown\"}\n");
    ck_assert_str_eq(json_string_value(json_object_get(RESULT(answer), "mode")), "graceful");
    ck_assert_uint_eq(await(MESSAGE_SHUTDOWN), SHUTDOWN_GRACEFUL);
    json_decref(answer);
}
END_TEST

/* ---- what workers and servers write ---- */

START_TEST(server_words)
{
    int sock = join();
    const char *state, *error;
    json_t *answer, *pool;

    /* the pool's first login has been asked for before the supervisor serves */
    tell(MESSAGE_LOGIN_FAILED, "clinic", 0, LOGIN_FAILED_OTHER,
         "FATAL: Anmeldung f\xfcr \"c\"\n\tfehlgeschlagen\033[m\n", -1);
    answer = ask(sock, "{\"command\":\"pools\",\"args\":{\"pool\":\"clinic\"}}\n");
    pool = json_array_get(RESULT(answer), 0);
    state = json_string_value(json_object_get(pool, "state"));
    error = json_string_value(json_object_get(pool, "last_error"));
    ck_assert_ptr_nonnull(state);
    ck_assert_ptr_nonnull(error);
    ck_assert_str_eq(error, "FATAL: Anmeldung f\xEF\xBF\xBDr \"c\"  fehlgeschlagen\xEF\xBF\xBD[m");
    json_decref(answer);
}
END_TEST

/* A worker that scribbles: nothing read out of bounds (run it with sanitizers), always an answer, always valid JSON. */
START_TEST(hostile_segment)
{
    static const char *const lines[] = {"{\"command\":\"status\"}\n", "{\"command\":\"slots\"}\n",
                                        "{\"command\":\"workers\"}\n", "{\"command\":\"waiters\"}\n"};
    struct segment s;
    int sock = join();

    ck_assert_int_eq(segment_map(&s, clinic), 0);
    for (int round = 0; round < 200; round++) {
        size_t start_at = sizeof(uint64_t) * 4, length = s.size - start_at;

        for (size_t done = 0; done < length;) {
            ssize_t got = getrandom((char *)s.header + start_at + done, length - done, 0);

            ck_assert_int_gt(got, 0);
            done += (size_t)got;
        }
        for (uint32_t i = 0; i < SLOTS && round % 2 == 0; i++)
            atomic_store(&s.slot[i].word, word_next(atomic_load(&s.slot[i].word), SLOT_LEASED, 0, (uint32_t)round));
        for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
            json_t *answer = ask(sock, lines[i]);

            ck_assert(json_is_true(json_object_get(answer, "ok")));
            json_decref(answer);
        }
    }
    segment_unmap(&s);
}
END_TEST

/* Truncated: the supervisor replaces it and goes on answering. */
START_TEST(truncated_segment)
{
    int sock = join();

    ck_assert_int_eq(ftruncate(clinic, 0), 0);
    for (int i = 0; i < 10; i++) {
        json_t *answer = ask(sock, "{\"command\":\"slots\"}\n");

        ck_assert(json_is_true(json_object_get(answer, "ok")));
        json_decref(answer);
    }
    await(MESSAGE_NEW_SEGMENT);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin");
    TCase *tcase = harness_case(suite, "admin", 20);

    tcase_add_checked_fixture(tcase, start, stop);
    tcase_add_loop_test(tcase, requests, 0, (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_test(tcase, nul_byte);
    tcase_add_test(tcase, in_order);
    tcase_add_test(tcase, in_pieces);
    tcase_add_test(tcase, longest_line);
    tcase_add_test(tcase, slow_reader);
    tcase_add_test(tcase, too_many);
    tcase_add_test(tcase, no_role);
    tcase_add_test(tcase, reload);
    tcase_add_test(tcase, reload_abandoned);
    tcase_add_test(tcase, shutdown_modes);
    tcase_add_test(tcase, server_words);
    tcase_add_test(tcase, hostile_segment);
    tcase_add_test(tcase, truncated_segment);
    return harness_main(suite);
}
