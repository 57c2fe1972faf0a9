/* SPDX-License-Identifier: ISC */
/* audited.c - the audit trail of a private pglendd, and what stands in it. */
#include "audited.h"

#include "harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

char audited_directory[128], audited_key[136], audited_output[32 << 20];

void audited_tear_down(void)
{
    char command[300];

    (void)snprintf(command, sizeof command, "rm -rf '%s' '%s'", audited_directory, audited_key);
    ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
}

void audited_set_up(void)
{
    pglendd_trail(audited_directory);
    (void)snprintf(audited_key, sizeof audited_key, "%s.key", audited_directory);
}

struct pglendd *audited_start(const struct postgres *server, const char *more, const char *rest)
{
    char overrides[2048];

    (void)snprintf(overrides, sizeof overrides, "{'audit': {'directory': '%s', 'window': '5ms'%s}%s}",
                   audited_directory, more, rest);
    return pglendd_start(server, overrides);
}

bool audited_is(const struct pglendd *d, const char *state)
{
    json_t *status = pglendd_result(d, "status", NULL);
    bool is = strcmp(json_string_value(json_object_get(status, "audit")), state) == 0;

    json_decref(status);
    return is;
}

int audited_run(const char *format, ...)
{
    char words[1024], command[2048];
    va_list args;
    int status;
    FILE *out;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    /* A report says on standard error how many torn lines it leaves out. */
    (void)snprintf(command, sizeof command, "timeout 20 %s audit %s %s", harness_product("pglend"), words,
                   strncmp(words, "report", 6) == 0 ? "2>/dev/null" : "2>&1");
    ck_assert_ptr_nonnull(out = popen(command, "re")); /* NOLINT(cert-env33-c) */
    audited_output[fread(audited_output, 1, sizeof audited_output - 1, out)] = '\0';
    status = pclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

json_t *audited_record(const char *event, const char *member, const char *value)
{
    json_t *records, *record, *found = NULL;
    size_t i;

    ck_assert_msg(audited_run("report --json %s", audited_directory) == 0, "%s", audited_output);
    records = json_loads(audited_output, 0, NULL);
    ck_assert_ptr_nonnull(records);
    json_array_foreach(records, i, record)
    {
        const char *has = member == NULL ? NULL : audited_text(record, member);

        if (strcmp(audited_text(record, "event"), event) == 0 &&
            (value == NULL || (has != NULL && strcmp(has, value) == 0)))
            found = record;
    }
    json_incref(found);
    json_decref(records);
    return found;
}

bool audited_has(const char *event, const char *member, const char *value)
{
    json_t *record = audited_record(event, member, value);

    json_decref(record);
    return record != NULL;
}

int64_t audited_number(const json_t *record, const char *member)
{
    return json_integer_value(json_object_get(record, member));
}

const char *audited_text(const json_t *record, const char *member)
{
    return json_string_value(json_object_get(record, member));
}

void audited_expect_intact(void)
{
    int verdict = audited_run("verify --key %s %s", audited_key, audited_directory);

    ck_assert_msg(verdict == 0, "verdict %d: %s", verdict, audited_output);
}
