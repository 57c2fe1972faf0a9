/* SPDX-License-Identifier: ISC */
/*
 * audit.c - the audit trail's readers: lines, whole trails, keys, anchors, and the report.
 *
 * The key is the fuzzer's own, so that input can be sealed: lines that begin with '+' become the body of a true record.
 * A trail of true records must be found intact; one with anything else in it must not.
 */
#include "audit.h"
#include "cli_audit.h"
#include "stand.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRAIL_MAX 65536

static char directory[] = "/tmp/pglend-fuzz-XXXXXX";
static struct audit_verification_key key;

static void remove_directory(void)
{
    char path[128];

    (void)snprintf(path, sizeof path, "%s/audit-00000001.jsonl", directory);
    (void)unlink(path);
    (void)rmdir(directory);
}

int LLVMFuzzerInitialize(const int *argc, char ***argv)
{
    char parent[128], error[256] = "", *text = NULL, command[256];

    (void)argc;
    (void)argv;
    fuzz_require(mkdtemp(directory) != NULL && atexit(remove_directory) == 0);
    (void)snprintf(parent, sizeof parent, "%s/keys", directory);
    fuzz_require(audit_store_create(parent, false, &text, error, sizeof error));
    fuzz_require(audit_verification_key_parse(text, strlen(text), &key, error, sizeof error));
    free(text);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", parent);
    fuzz_require(system(command) == 0);
    return 0;
}

/* Files of a trail end where the input has a form feed. */
static enum audit_verdict verify(const char *text, size_t length, bool whole_lines)
{
    struct audit_verify v;
    enum audit_verdict verdict;
    char words[2048];
    uint32_t number = 1;

    audit_verify_begin(&v, &key, NULL, 0);
    while (length > 0) {
        const char *end = memchr(text, '\f', length);
        size_t size = end == NULL ? length : (size_t)(end - text);

        audit_verify_file(&v, number++);
        for (size_t at = 0; at < size;) {
            const char *line = whole_lines ? memchr(text + at, '\n', size - at) : NULL;
            size_t part = line == NULL ? size - at : (size_t)(line + 1 - text) - at;

            audit_verify_bytes(&v, text + at, part);
            at += part;
        }
        text += size;
        length -= size;
        if (length > 0)
            text++, length--;
    }
    verdict = audit_verify_end(&v);
    audit_verify_explain(&v, verdict, words, sizeof words);
    fuzz_require(memchr(words, '\0', sizeof words) != NULL);
    return verdict;
}

static void read_lines(const char *text, size_t length)
{
    struct audit_line line;
    uint64_t number;
    const char *end;

    while ((end = memchr(text, '\n', length)) != NULL) {
        size_t size = (size_t)(end + 1 - text);

        if (audit_line_parse(text, size, &line)) {
            fuzz_require(line.maced <= size && line.signed_length <= size);
            for (int field = 0; field < AUDIT_FIELD_COUNT; field++) {
                (void)audit_line_number(text, size, (enum audit_field)field, &number);
                (void)audit_line_is(text, size, (enum audit_field)field, "ok");
            }
        }
        length -= size;
        text += size;
    }
}

/* Lines that begin with '+' are sealed; the others stand as they are. The trail's length. */
static size_t seal(char trail[TRAIL_MAX], const char *text, size_t length)
{
    struct audit_chain chain = {0};
    char line[AUDIT_LINE_MAX];
    size_t made = 0;

    memcpy(chain.log, key.log, sizeof chain.log);
    chain.key = key.key;
    while (length > 0) {
        const char *end = memchr(text, '\n', length);
        size_t size = end == NULL ? length : (size_t)(end + 1 - text), part = size;
        const char *from = text;

        if (*text == '+') {
            size_t body = size - 1 - (end != NULL);

            part = body <= AUDIT_BODY_MAX ? audit_line_make(line, &chain, text + 1, body, NULL) : 0;
            from = line;
        }
        if (part > TRAIL_MAX - made)
            break;
        memcpy(trail + made, from, part);
        made += part;
        length -= size;
        text += size;
    }
    return made;
}

static void report(const char *text, size_t length)
{
    static const char *const bys[] = {"actor", "uid", "pool", "time", "nobody"};
    struct cli_audit a = {.directory = directory, .format = &cli_format_json, .by = bys[length % 5]};
    char path[128];
    int fd;

    (void)snprintf(path, sizeof path, "%s/audit-00000001.jsonl", directory);
    fuzz_require((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) != -1);
    fuzz_require(write(fd, text, length) == (ssize_t)length && close(fd) == 0);
    (void)cli_audit_report(&a);
    (void)cli_audit_head(&a);
}

static void read_key(const char *text, size_t length)
{
    struct audit_verification_key other = {0};
    struct audit_anchor anchor;
    char error[256] = "", *copy = strndup(text, length);

    fuzz_require(copy != NULL);
    if (audit_verification_key_parse(text, length, &other, error, sizeof error))
        audit_verification_key_clear(&other);
    (void)audit_anchor_parse(copy, &anchor);
    (void)audit_file_number(copy);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char trail[TRAIL_MAX];
    const char *text = (const char *)data;
    size_t length;

    if (size > TRAIL_MAX / 4)
        return -1;
    length = seal(trail, text, size);
    read_lines(trail, length);
    fuzz_require(verify(trail, length, false) == verify(trail, length, true));
    fuzz_require(size == 0 || *text == '+' || verify(trail, length, false) != AUDIT_INTACT);
    read_key(text, size);
    if (length % 4 == 0) /* files take time */
        report(trail, length);
    return 0;
}
