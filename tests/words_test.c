/* SPDX-License-Identifier: ISC */
/*
 * words_test.c - the words of pglendd and of pglend audit: each row is a command, its exit status, and what it must
 * say.
 *
 * Each runs in a directory of its own with the example of a trail in it: keys that pglend audit init made, no records.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define GOOD "'{\"pools\": {\"p\": {\"database\": {\"dbname\": \"d\"}}}}'"
#define SETS                                                                                                           \
    "'{\"pools\": {\"p\": {\"database\": {\"dbname\": \"d\"}, \"init_query\": \"set work_mem = 1\", "                  \
    "\"reset\": \"full\"}}}'"
#define TRAIL "$pglend audit init --key-out key trail >made; "
#define COMPLETE(words)                                                                                                \
    ". <($pglend completion) && COMP_WORDS=($pglend " words ") && COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) && _pglend; "  \
    "echo \"[${COMPREPLY[*]}]\""
#define UNPRIVILEGED "$(test $(id -u) != 0 || echo --user nobody)"
#define ONES         "1111111111111111111111111111111111111111111111111111111111111111"

static const struct {
    const char *command;
    int status;
    const char *says;
} rows[] = {
    {"$pglendd --help", 0, "usage: pglendd [-c FILE] [--foreground]"},
    {"$pglendd --version", 0, "pglendd "},
    {"$pglendd --print-schema", 0, "\"properties\""},
    {"$pglendd --print-manual", 0, ".It "},
    {"echo " GOOD " >c; $pglendd -c c --check-config", 0, "c: good"},
    {"echo " GOOD " >c; $pglendd --config c --print-config", 0, "\"dbname\": \"d\""},
    {"echo " GOOD " >c; $pglendd -c c --print-config >d && $pglendd -c d --print-config | cmp - d", 0, ""},
    {"echo " SETS " >c; $pglendd -c c --check-config", 0, "warning: what init_query of pool \"p\" SETs"},
    {"echo '{' >c; $pglendd -c c --check-config", 2, "pglendd: c:"},
    {"$pglendd -c none --check-config", 2, "none"},
    {"$pglendd -c none --foreground", 2, "none"},
    {"$pglendd -c none", 2, "none: cannot open the configuration"},
    /* Where a configuration is, nothing is to be seen of this. */
    {"f=/etc/pglend/pglend.json; test -e $f && echo $f: cannot open, skipped && exit 2; $pglendd", 2,
     "/etc/pglend/pglend.json: cannot open"},
    {"$pglendd --chekc-config", 2, "Try pglendd --help."},
    {"$pglendd more", 2, "unexpected argument \"more\""},
    {"exec -a 'pglendd: keeper' $pglendd", 2, "run pglendd"},
    {"exec -a 'pglendd: login p' $pglendd 3<&-", 2, "has no channel to a keeper"},
    {TRAIL "$pglend audit head trail", 1, "there is no"},
    {TRAIL "$pglend audit verify --key key trail", 4, ""},
    {TRAIL "$pglend audit verify --json --key key trail", 4, ""},
    {TRAIL "$pglend audit verify trail", 4, "--key"},
    {TRAIL "$pglend audit verify --key none trail", 4, "none"},
    /* 2 would say that records are missing. */
    {TRAIL "$pglend audit verify --key key --anchor 1:2 trail", 4, "write SEQ:HASH"},
    {TRAIL "$pglend audit verify --key key --begin 1 trail", 4, "write SEQ:HASH"},
    {TRAIL "$pglend audit verify --key key --archive trail", 4, "--archive"},
    {TRAIL "$pglend audit verify --key key --csv trail", 4, "takes no --csv"},
    {TRAIL "$pglend audit verify --key key trail more", 4, "one directory, not \"more\""},
    {TRAIL "$pglend audit verify --key key ''", 4, "one directory"},
    {TRAIL "$pglend audit verify --key key --anchor 1:" ONES " trail", 2, "shorter: the trail ends with record 0"},
    {TRAIL "$pglend audit report --by nobody trail", 2, "nobody"},
    {TRAIL "$pglend audit report --since soon trail", 2, "soon"},
    {TRAIL "$pglend audit tail -n x trail", 2, "x"},
    {TRAIL "$pglend audit init trail", 1, "trail"},
    {"$pglend audit init --fips --key-out key fips && ls fips", 0, "signer.key"},
    {"$pglend audit report none", 1, "cannot open the trail's directory none"},
    {"$pglend audit", 2, ""},
    {COMPLETE("st"), 0, "[status stats]"},
    {COMPLETE("--runtime-dir /nowhere --json pause --k"), 0, "[--keep]"},
    {COMPLETE("revoke --"), 0, "[--pid --user --wait --runtime-dir --json --timeout --help --version]"},
    {COMPLETE("help comp"), 0, "[completion]"},
    {COMPLETE("audit ver"), 0, "[verify]"},
    {COMPLETE("export --"), 0, "[--help]"},
    {COMPLETE("status pause"), 0, "[]"},
    {"$pglend audit frobnicate", 2, "frobnicate"},
    {"$pglend audit head --key k trail", 2, "--key"},
    {TRAIL "echo x >k; $pglend audit verify --key k trail", 4, "k: this is not a verification key"},
    {"$pglend audit init --key-out key none/trail", 1,
     "cannot make directory none/trail: No such file or directory: make "},
    {">key; $pglend audit init --key-out key trail; status=$?; test ! -e trail && exit $status", 1,
     "cannot create key "},
    {"test $(id -u) = 0 || echo chown -R pglend-audit trail; $pglend audit init trail", 0,
     "chown -R pglend-audit trail\n"},
    {"test $(id -u) = 0 || { echo this does not run as root; exit 1; }; $pglend export", 1,
     "this does not run as root"},
    {">trail; $pglend audit init --key-out key trail", 1, "cannot open directory trail"},
    {"mkdir -m 755 trail; $pglend audit init --key-out key trail", 1, "closed to others: run chmod 0700"},
    {"$pglend check ''", 2, "the argument is empty"},
    {"$pglend resume $(printf 'pool-%d ' {1..1000})", 2, "more than 4095 bytes of arguments"},
    {"$pglend --timeout 1 export", 2, "export is the first word"},
    {"$pglend export " UNPRIVILEGED " --listen nowhere", 1, "give a numeric address and a port"},
    {"$pglend export " UNPRIVILEGED " --listen [::2]:9632", 1, "cannot listen on "},
    {"$pglend export --help", 0, "usage: pglend export"},
    {"$pglend export --listne x", 2, "--listne"},
    {"$pglend export more", 2, "export takes no argument: \"more\""},
    {"$pglend export --user nobody.of.this.name", 1, "there is no such user here"},
    {"cp $pglend . && ./pglend export", 1, "cannot run "},
    {"ln -s admin.sock admin.sock; $pglend --runtime-dir $PWD status", 1, "cannot connect to "},
    {"mkdir run; $pglend --runtime-dir run check clinic", 3, "no pglend supervisor answers at /"},
    {"$pglend --runtime-dir $PWD check $(printf x%.0s {1..64})", 1, "cannot use pool name"},
};

/* Exit status; what it says on both outputs in TEXT. */
static int run(const char *command, char *text, size_t size)
{
    char line[2048], here[256];
    FILE *out;
    int status;

    (void)snprintf(here, sizeof here, "%s/words-XXXXXX", harness_directory());
    ck_assert_ptr_nonnull(mkdtemp(here));
    (void)snprintf(line, sizeof line, "cd '%s' && exec 2>&1; pglendd='%s'", here, harness_product("pglendd"));
    (void)snprintf(line + strlen(line), sizeof line - strlen(line), " pglend='%s'; eval \"$WORDS\"",
                   harness_product("pglend"));
    ck_assert_int_eq(setenv("WORDS", command, 1), 0);
    ck_assert_int_eq(setenv("LINE", line, 1), 0);
    ck_assert_ptr_nonnull(out = popen("exec timeout 20 bash -c \"$LINE\"", "re"));
    text[fread(text, 1, size - 1, out)] = '\0';
    status = pclose(out);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(words)
{
    static char text[1 << 20];
    int status = run(rows[_i].command, text, sizeof text);

    ck_assert_msg(status == rows[_i].status && strstr(text, rows[_i].says) != NULL,
                  "%s: status %d instead of %d, no \"%s\" in: %.2000s", rows[_i].command, status, rows[_i].status,
                  rows[_i].says, text);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("words");
    TCase *tc = harness_case(suite, "words", 30);

    tcase_add_loop_test(tc, words, 0, sizeof rows / sizeof rows[0]);
    return harness_main(suite);
}
