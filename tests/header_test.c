/* SPDX-License-Identifier: ISC */
/*
 * header_test.c - what an application gets: the header by itself, the symbols of the library, calls that need nobody.
 */
#include "pglend.h"

#include "harness.h"
#include "wire.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_MAX 512

struct lines {
    char line[LINES_MAX][256];
    size_t count;
};

/* Output of a command, which must succeed. */
static void run(const char *command, struct lines *lines)
{
    FILE *out = popen(command, "re");

    lines->count = 0;
    ck_assert_ptr_nonnull(out);
    while (lines->count < LINES_MAX && fgets(lines->line[lines->count], sizeof lines->line[0], out) != NULL) {
        char *line = lines->line[lines->count++];

        line[strcspn(line, "\n")] = '\0';
    }
    ck_assert_msg(pclose(out) == 0, "failed: %s", command);
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

START_TEST(header_stands_alone)
{
    static const char *const dialects[] = {"c -std=c99", "c -std=gnu11", "c -std=c17", "c++ -std=c++11"};
    static struct lines lines;
    const char *cc = getenv("CC"), *source = getenv("PGLEND_SOURCE");
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "echo '#include <pglend.h>' | %s -x %s -Wall -Wextra -Wpedantic -Werror -fsyntax-only "
                   "-I%s/include -I\"$(pg_config --includedir)\" - 2>&1",
                   cc != NULL ? cc : "cc", dialects[_i], source != NULL ? source : ".");
    if (starts_with(dialects[_i], "c++") && system("command -v c++ >/dev/null") != 0)
        return;
    run(command, &lines);
    ck_assert_msg(lines.count == 0, "%s", lines.line[0]);
}
END_TEST

/* Exported is what the header declares, no less and no more. */
START_TEST(only_the_api_is_exported)
{
    static const char *const api[] = {"pglend_acquire", "pglend_acquire_as", "pglend_close",    "pglend_discard",
                                      "pglend_errcode", "pglend_errmessage", "pglend_lease_id", "pglend_open",
                                      "pglend_release", "pglend_status_name"};
    static struct lines lines;
    char command[1024];

    (void)snprintf(command, sizeof command,
                   "nm -D --defined-only %s | awk '$2 != \"A\" { sub(/@.*/, \"\", $3); print $3 }' "
                   "| grep -v '^__\\(asan\\|ubsan\\|odr\\)' | LC_ALL=C sort",
                   harness_product("libpglend.so.0"));
    run(command, &lines);
    ck_assert_uint_eq(lines.count, sizeof api / sizeof api[0]);
    for (size_t i = 0; i < lines.count; i++)
        ck_assert_str_eq(lines.line[i], api[i]);
}
END_TEST

/* The library runs in other people's processes: it neither prints, logs, exits nor handles signals. */
START_TEST(library_keeps_to_itself)
{
    static const char *const forbidden[] = {
        "exit",      "_exit",  "abort",         "printf", "fprintf",  "__printf_chk", "puts",  "syslog",
        "sigaction", "signal", "__fprintf_chk", "perror", "vfprintf", "setlocale",    "chdir", "umask"};
    static struct lines lines;
    char command[1024];

    (void)snprintf(command, sizeof command, "nm -u %s | awk '$1 == \"U\" { print $2 }' | sort -u",
                   harness_product("libpglend.a"));
    run(command, &lines);
    ck_assert_uint_gt(lines.count, 20);
    for (size_t i = 0; i < lines.count; i++) {
        ck_assert_msg(!starts_with(lines.line[i], "log_"), "uses %s", lines.line[i]);
        for (size_t j = 0; j < sizeof forbidden / sizeof forbidden[0]; j++)
            ck_assert_msg(strcmp(lines.line[i], forbidden[j]) != 0, "uses %s", lines.line[i]);
    }
}
END_TEST

START_TEST(libpq_is_the_callers)
{
    static struct lines lines;
    char command[1024];

    (void)snprintf(command, sizeof command, "readelf -d %s | grep -o 'NEEDED.*libpq.so.5\\|SONAME.*libpglend.so.0'",
                   harness_product("libpglend.so.0"));
    run(command, &lines);
    ck_assert_uint_eq(lines.count, 2);
}
END_TEST

START_TEST(every_status_has_a_name)
{
    for (pglend_status s = PGLEND_OK; s <= PGLEND_QUEUE_FULL; s++)
        ck_assert_msg(starts_with(pglend_status_name(s), "PGLEND_") &&
                          strcmp(pglend_status_name(s), "PGLEND_UNKNOWN") != 0,
                      "status %d", (int)s);
    ck_assert_str_eq(pglend_status_name((pglend_status)4711), "PGLEND_UNKNOWN");
    ck_assert_str_eq(pglend_status_name((pglend_status)-1), "PGLEND_UNKNOWN");
    ck_assert_str_eq(pglend_status_name(PGLEND_LOST), "PGLEND_LOST");
}
END_TEST

START_TEST(open_checks_its_words)
{
    char name[300];

    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    errno = 0;
    ck_assert(pglend_open(NULL, NULL) == NULL && errno == EINVAL);
    ck_assert(pglend_open(NULL, "") == NULL && errno == EINVAL);
    ck_assert(pglend_open(NULL, name) == NULL && errno == ENAMETOOLONG);
    ck_assert(pglend_open(name, "clinic") == NULL && errno == ENAMETOOLONG);
    ck_assert(pglend_open("/run/pglend,other", "clinic") == NULL && errno == EINVAL);
    pglend_close(NULL);
}
END_TEST

/* As long as the configuration lets it be, and one byte more. */
START_TEST(longest_runtime_dir)
{
    char name[RUNTIME_DIR_MAX + 2];
    pglend *p;

    memset(name, 'x', sizeof name - 1);
    name[0] = '/';
    name[RUNTIME_DIR_MAX + 1] = '\0';
    ck_assert(pglend_open(name, "clinic") == NULL && errno == ENAMETOOLONG);
    name[RUNTIME_DIR_MAX] = '\0';
    ck_assert_ptr_nonnull(p = pglend_open(name, "clinic"));
    ck_assert_ptr_null(pglend_acquire(p, 0));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_NO_SUPERVISOR);
    pglend_close(p);
}
END_TEST

START_TEST(calls_without_a_supervisor)
{
    pglend *p = pglend_open(harness_directory(), "clinic");
    PGconn *stranger = PQconnectStart("host=/nonexistent");

    ck_assert_ptr_nonnull(p);
    ck_assert_int_eq(pglend_errcode(p), PGLEND_OK);
    ck_assert_str_eq(pglend_errmessage(p), "");
    ck_assert_ptr_null(pglend_acquire(p, 50));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_NO_SUPERVISOR);
    ck_assert_msg(strstr(pglend_errmessage(p), harness_directory()) != NULL, "%s", pglend_errmessage(p));
    ck_assert_ptr_null(strchr(pglend_errmessage(p), '\n'));
    ck_assert_int_eq(pglend_release(p, NULL), PGLEND_USAGE);
    ck_assert_int_eq(pglend_release(p, stranger), PGLEND_USAGE);
    ck_assert_int_eq(pglend_discard(p, stranger), PGLEND_USAGE);
    ck_assert_ptr_null(pglend_lease_id(p, stranger));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_USAGE);
    PQfinish(stranger);
    pglend_close(p);
}
END_TEST

/* A supervisor of another version, whose answer is LENGTH bytes. */
static int another_supervisor(void *length, int sock)
{
    struct wire_refused answer = {.header = {.magic = WIRE_MAGIC, .version = WIRE_VERSION + 1, .type = WIRE_REFUSED}};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), peer;
    union wire_message hello;

    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/worker.sock", harness_directory());
    (void)unlink(address.sun_path);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    say(sock, 'l');
    ck_assert_int_ne(peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC), -1);
    ck_assert_int_eq(wire_receive_packet(peer, &hello, sizeof hello, NULL, 0), sizeof hello.hello);
    ck_assert_int_eq(wire_send_packet(peer, &answer, *(size_t *)length, -1, 0), 0);
    (void)hear(sock, 5);
    (void)close(peer);
    (void)close(listener);
    return 0;
}

START_TEST(another_version_is_told)
{
    size_t lengths[] = {sizeof(struct wire_header), sizeof(struct wire_welcome), sizeof(struct wire_refused)};
    struct worker_process supervisor;
    char words[64];
    pglend *p;

    worker_fork(&supervisor, another_supervisor, &lengths[_i]);
    ck_assert_int_eq(hear(supervisor.sock, 5), 'l');
    p = pglend_open(harness_directory(), "clinic");
    ck_assert_ptr_null(pglend_acquire(p, 5000));
    ck_assert_int_eq(pglend_errcode(p), PGLEND_MISMATCH);
    (void)snprintf(words, sizeof words, "speaks version %d of the worker protocol", WIRE_VERSION + 1);
    ck_assert_msg(strstr(pglend_errmessage(p), words) != NULL, "%s", pglend_errmessage(p));
    say(supervisor.sock, 'e');
    ck_assert_int_eq(worker_wait(&supervisor, 5), 0);
    pglend_close(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("header");
    TCase *tc = harness_case(suite, "header", 20);

    tcase_add_loop_test(tc, header_stands_alone, 0, 4);
    tcase_add_test(tc, only_the_api_is_exported);
    tcase_add_test(tc, library_keeps_to_itself);
    tcase_add_test(tc, libpq_is_the_callers);
    tcase_add_test(tc, every_status_has_a_name);
    tcase_add_test(tc, open_checks_its_words);
    tcase_add_test(tc, longest_runtime_dir);
    tcase_add_test(tc, calls_without_a_supervisor);
    tcase_add_loop_test(tc, another_version_is_told, 0, 3);
    return harness_main(suite);
}
