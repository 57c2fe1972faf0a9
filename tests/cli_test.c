/* SPDX-License-Identifier: ISC */
/*
 * cli_test.c - the command line from outside: usage, help, exit codes, tables, and what a broken supervisor costs it.
 *
 * Each case runs the real program. Where a supervisor is needed, a child of the test plays one on admin.sock: what it
 * answers is the case's, so garbage, silence and hang-ups can be tried that a good one never sends.
 */
#include "admin.h"
#include "harness.h"
#include "pglend.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 65536
#define WORDS_MAX  8

struct outcome {
    int exit;
    char out[OUTPUT_MAX];
    char err[OUTPUT_MAX];
};

static void read_all(int fd, char text[OUTPUT_MAX])
{
    size_t have = 0;
    ssize_t got;

    while (have < OUTPUT_MAX - 1 && (got = read(fd, text + have, OUTPUT_MAX - 1 - have)) > 0)
        have += (size_t)got;
    text[have] = '\0';
    close(fd);
}

/*
 * Run pglend with the blank-separated WORDS, behind --runtime-dir unless that is NULL; its output goes to OUTPUT if
 * that is not -1. It fits into a pipe.
 */
static void run_in(char *runtime_dir, const char *words, int output, struct outcome *outcome)
{
    char copy[1024], *argv[WORDS_MAX + 4] = {(char *)harness_product("pglend"), "--runtime-dir", runtime_dir};
    int argc = runtime_dir != NULL ? 3 : 1, out[2], err[2], status;
    pid_t pid;

    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word = strtok(copy, " "); word != NULL && argc < WORDS_MAX + 3; word = strtok(NULL, " "))
        argv[argc++] = word;
    ck_assert_int_eq(pipe2(out, O_CLOEXEC) + pipe2(err, O_CLOEXEC), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(output >= 0 ? output : out[1], STDOUT_FILENO);
        dup2(err[1], STDERR_FILENO);
        execv(argv[0], argv);
        _exit(127);
    }
    close(out[1]);
    close(err[1]);
    read_all(out[0], outcome->out);
    read_all(err[0], outcome->err);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "pglend %s ended by a signal", words);
    outcome->exit = WEXITSTATUS(status);
}

/* A row: WORDS give EXIT; OUT and ERR are found in what is printed there (NULL: nothing may be printed). */
struct expectation {
    const char *answer; /* of the supervisor; NULL: none is there */
    const char *words;
    int exit;
    const char *out;
    const char *err;
};

static void expect_text(const char *words, const char *where, const char *text, const char *expected)
{
    if (expected == NULL)
        ck_assert_msg(text[0] == '\0', "pglend %s: %s should be empty: %s", words, where, text);
    else
        ck_assert_msg(strstr(text, expected) != NULL, "pglend %s: no \"%s\" on %s: %s", words, expected, where, text);
}

static void expect_in(char *runtime_dir, const struct expectation *e)
{
    struct outcome outcome;

    run_in(runtime_dir, e->words, -1, &outcome);
    ck_assert_msg(outcome.exit == e->exit, "pglend %s: exit %d, not %d\n%s%s", e->words, outcome.exit, e->exit,
                  outcome.out, outcome.err);
    expect_text(e->words, "standard output", outcome.out, e->out);
    expect_text(e->words, "standard error", outcome.err, e->err);
}

static void expect(const struct expectation *e)
{
    expect_in((char *)harness_directory(), e);
}

/* ---- without a supervisor ---- */

static const struct expectation usage_cases[] = {
    {NULL, "", 2, NULL, "usage: pglend"},
    {NULL, "--help", 0, "Exit status: 0 ok, 1 failed, 2 usage, 3 no supervisor, 4 denied, 5 timed out", NULL},
    {NULL, "help", 0, "Commands:", NULL},
    {NULL, "help slots", 0, "usage: pglend [OPTION ...] slots [POOL ...]", NULL},
    {NULL, "help slot", 2, NULL, "did you mean \"slots\"?"},
    {NULL, "statsu", 2, NULL, "unknown command \"statsu\"; did you mean \"status\"?"},
    {NULL, "work", 2, NULL, "did you mean \"workers\"?"},
    {NULL, "qwertyuiop", 2, NULL, "pglend --help lists them"},
    {NULL, "status clinic", 2, NULL, "status takes no argument: \"clinic\""},
    {NULL, "check clinic lab", 2, NULL, "one argument too many: \"lab\""},
    {NULL, "slots --fast", 2, NULL, "slots takes no --fast"},
    {NULL, "--timeout x status", 2, NULL, "--timeout x: give seconds"},
    {NULL, "--timeout -1 status", 2, NULL, "--timeout -1: give seconds"},
    {NULL, "--timeout nan status", 2, NULL, "--timeout nan: give seconds"},
    {NULL, "--timeout 1e9 status", 2, NULL, "--timeout 1e9: give seconds"},
    {NULL, "--colour status", 2, NULL, "pglend: unrecognized option '--colour'\nTry pglend --help"},
    {NULL, "shutdown --slow", 2, NULL, "or pglend COMMAND --help."},
    {NULL, "status --timeout", 2, NULL, "Try pglend --help"},
    {NULL, "help export", 0, "usage: pglend export [OPTION ...]\n", NULL},
    {NULL, "slots \xff", 2, NULL, "is not UTF-8"},
    {NULL, "check \xff", 2, NULL, "is not UTF-8"},
};

START_TEST(usage)
{
    expect(&usage_cases[_i]);
}
END_TEST

/* Before audit stands --json or nothing. */
static const struct expectation audit_cases[] = {
    {NULL, "--json audit", 2, NULL, "usage: pglend audit COMMAND"},
    {NULL, "--json audit --help", 0, "usage: pglend audit COMMAND", NULL},
    {NULL, "--json audit verify /nonexistent", 4, NULL, "audit verify: name the verification key"},
    {NULL, "--json audit tail /nonexistent", 2, NULL, "audit tail takes no --json"},
    {NULL, "audit tail --fast", 2, NULL, "pglend audit: unrecognized option '--fast'\nTry pglend audit --help."},
    {NULL, "export --fast", 2, NULL, "pglend export: unrecognized option '--fast'\nTry pglend export --help."},
    {NULL, "help audit", 0, "usage: pglend audit [COMMAND ...]\n", NULL},
};

START_TEST(audit_words)
{
    expect_in(NULL, &audit_cases[_i]);
}
END_TEST

static const struct expectation absent_cases[] = {
    {NULL, "status", 3, NULL, "no supervisor answers at "},
    {NULL, "reload --json", 3, NULL, "no supervisor answers at "},
    {NULL, "check", 3, NULL, "no supervisor answers at "},
    {NULL, "check clinic --timeout 0.1", 3, "clinic: failed, ", NULL},
    {NULL, "check clinic --timeout 0.1 --json", 3, "\"status\": \"PGLEND_NO_SUPERVISOR\"", NULL},
    {NULL, "version", 0, "pglend " PGLEND_VERSION "\npglendd unknown: no supervisor", NULL},
    {NULL, "--version --json", 0, "\"daemon\": null", NULL},
};

START_TEST(absent)
{
    expect(&absent_cases[_i]);
}
END_TEST

#define NAME_OF(name, args, usage, role, help) #name,
static const char *const command_names[] = {ADMIN_COMMANDS(NAME_OF) "check", "top", "version", "help"};

START_TEST(each_has_help)
{
    char words[64], wanted[64];
    struct expectation e = {.words = words, .out = wanted};

    snprintf(words, sizeof(words), "%s --help", command_names[_i]);
    snprintf(wanted, sizeof(wanted), "usage: pglend [OPTION ...] %s", command_names[_i]);
    expect(&e);
}
END_TEST

START_TEST(full_disk)
{
    struct outcome outcome;
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

    ck_assert_int_ge(full, 0);
    run_in((char *)harness_directory(), "--help", full, &outcome);
    close(full);
    ck_assert_int_eq(outcome.exit, 1);
    expect_text("--help", "standard error", outcome.err, "cannot write the output");
}
END_TEST

START_TEST(long_path)
{
    struct outcome outcome;
    char path[201];

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    run_in(path, "status", -1, &outcome);
    ck_assert_int_eq(outcome.exit, 2);
    expect_text("status", "standard error", outcome.err, "longer than a socket's path can be");
}
END_TEST

/* ---- with one that says what the case wants ---- */

#define HANG   "hang" /* take the request, never answer */
#define VANISH ""     /* take the request, close */

/* Answer one request with ANSWER and end. */
static pid_t play_supervisor(const char *answer)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), sock;
    char request[4096];
    pid_t pid;

    snprintf(address.sun_path, sizeof(address.sun_path), "%s/admin.sock", harness_directory());
    unlink(address.sun_path);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid > 0) {
        close(listener);
        return pid;
    }
    alarm(10);
    sock = accept(listener, NULL, NULL);
    if (read(sock, request, sizeof(request)) <= 0)
        _exit(1);
    if (strcmp(answer, HANG) == 0)
        pause();
    if (write(sock, answer, strlen(answer)) != (ssize_t)strlen(answer))
        _exit(1);
    _exit(0);
}

#define OK(result)  "{\"id\":1,\"ok\":true,\"result\":" result "}\n"
#define ERROR(code) "{\"id\":1,\"ok\":false,\"error\":{\"code\":\"" code "\",\"message\":\"why\"}}\n"
#define POOL                                                                                                           \
    "{\"name\":\"clinic\",\"state\":\"active\",\"max\":20,\"total\":3,\"idle\":2,\"leased\":1,"                        \
    "\"connecting\":0,\"waiting\":0,\"last_error\":null}"
#define STATUS(uptime)                                                                                                 \
    OK("{\"version\":\"9.9\",\"pid\":77,\"uptime_s\":" uptime ",\"audit\":\"off\",\"pools\":[" POOL "]}")

static const struct expectation answer_cases[] = {
    {STATUS("125"), "status", 0, "pglendd 9.9, pid 77, up 2 m 5 s, audit off\n", NULL},
    {STATUS("31"), "status", 0, "up 31 s,", NULL},
    {STATUS("0.25"), "status", 0, "up 250 ms,", NULL},
    {STATUS("90061"), "status", 0, "up 1 d 1 h,", NULL},
    {STATUS("11520"), "status", 0, "up 3 h 12 m,", NULL},
    {STATUS("-5"), "status", 0, "up 0 ms,", NULL},
    {STATUS("1e300"), "status", 0, "up 1157407 d 9 h,", NULL},
    {OK("{\"audit\":\"off\",\"stopping\":true,\"pools\":[]}"), "status", 0, "audit off, shutting down\n\nno pools\n",
     NULL},
    {STATUS("1"), "status --json", 0, "\"version\": \"9.9\"", NULL},
    {STATUS("1"), "version", 0, "pglendd 9.9\n", NULL},
    {OK("[" POOL "]"), "pools", 0,
     "POOL    STATE   MAX  TOTAL  IDLE  LEASED  CONNECTING  WAITING  LAST ERROR\n"
     "clinic  active   20      3     2       1           0        0  -\n",
     NULL},
    {OK("[]"), "pools", 0, "no pools\n", NULL},
    {OK("[]"), "waiters", 0, "nobody waits\n", NULL},
    {OK("[]"), "pools --json", 0, "[]\n", NULL},
    {OK("[]"), "check", 0, "no pools\n", NULL},
    {OK("[{\"pid\":5,\"pools\":[\"a\",\"b\"],\"exe\":\"/bin/\\u001b[31mx\\u009b\"}]"), "workers", 0, "a,b", NULL},
    {OK("[{\"exe\":\"/bin/\\u001b[31mx\\u009b\"}]"), "workers", 0, "/bin/?[31mx??\n", NULL},
    {OK("[{\"exe\":\"\\u00e4\"},{\"exe\":\"b\"}]"), "workers", 0, "\xc3\xa4\n", NULL},
    {OK("[1,null,\"x\",[]]"), "slots", 0, "POOL", NULL},
    {OK("{\"pools\":{}}"), "config", 0, "\"pools\": {}", NULL},
    {OK("[]"), "reload", 0, "reloaded, nothing has changed\n", NULL},
    {OK("[{\"key\":\"log.level\",\"old\":\"\\\"info\\\"\",\"new\":null,\"takes\":\"applied\"}]"), "reload", 0,
     "log.level  \"info\"  -    applied\n", NULL},
    {OK("{\"mode\":\"fast\"}"), "shutdown --fast", 0, "shutting down (fast)\n", NULL},
    {ERROR("denied"), "status", 4, NULL, "pglend: why\n"},
    {ERROR("timed_out"), "reload", 5, NULL, "pglend: why\n"},
    {ERROR("bad_request"), "resize", 2, NULL, "pglend: why\n"},
    {ERROR("no_such_pool"), "slots x", 1, NULL, "pglend: why\n"},
    {ERROR("failed"), "reload --json", 1, NULL, "pglend: why\n"},
    {ERROR("denied"), "check", 4, NULL, "name the pool"},
    {HANG, "status --timeout 0.2", 5, NULL, "no answer within 200 ms"},
    {VANISH, "status", 3, NULL, "closed the connection without an answer"},
    {"{\"id\":1,", "status", 3, NULL, "closed the connection without an answer"},
    {"nonsense\033[2J\n", "status", 1, NULL, "nonsense?[2J"},
    {"\n", "status", 1, NULL, "not one of this protocol"},
    {"[]\n", "status", 1, NULL, "no result and no error"},
    {"{\"ok\":true}\n", "status", 1, NULL, "no result and no error"},
    {"{\"ok\":false,\"error\":{\"code\":1,\"message\":2}}\n", "status", 1, NULL, "no result and no error"},
    {OK("7"), "status", 1, NULL, "look at it with --json"},
    {OK("7"), "status --json", 0, "7\n", NULL},
    {OK("7"), "slots", 1, NULL, "look at it with --json"},
};

START_TEST(answers)
{
    const struct expectation *e = &answer_cases[_i];
    pid_t pid = play_supervisor(e->answer);

    expect(e);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}
END_TEST

START_TEST(nearest_word)
{
    static const struct {
        const char *word, *best;
    } row[] = {{"statsu", "status"}, {"STATUS", "status"}, {"slotz", "slots"},
               {"xyzzy", NULL},      {"", NULL},           {"w", NULL}};

    for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
        struct nearest nearest = {.word = row[i].word};

        for (size_t k = 0; k < sizeof(command_names) / sizeof(command_names[0]); k++)
            nearest_consider(&nearest, command_names[k]);
        if (row[i].best == NULL)
            ck_assert_ptr_null(nearest.best);
        else
            ck_assert_str_eq(nearest.best, row[i].best);
    }
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof((table)[0]))

int main(void)
{
    Suite *suite = suite_create("cli");
    TCase *tcase = harness_case(suite, "cli", 20);

    tcase_add_test(tcase, nearest_word);
    tcase_add_loop_test(tcase, usage, 0, ROWS(usage_cases));
    tcase_add_loop_test(tcase, audit_words, 0, ROWS(audit_cases));
    tcase_add_loop_test(tcase, each_has_help, 0, ROWS(command_names));
    tcase_add_loop_test(tcase, absent, 0, ROWS(absent_cases));
    tcase_add_test(tcase, full_disk);
    tcase_add_test(tcase, long_path);
    tcase_add_loop_test(tcase, answers, 0, ROWS(answer_cases));
    return harness_main(suite);
}
