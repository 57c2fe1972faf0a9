/* SPDX-License-Identifier: ISC */
/*
 * cli_audit_trail.c - the files of an audit trail, read while they may grow: verify, head, tail.
 *
 * The hard thing: the trail is written meanwhile. What is read of a growing file may end in the midst of a record, so
 * an end that looks torn is read again before it is called that; and a file that follows may come at any time.
 */
#include "cli_audit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX (INT64_C(2) << 30)
#define GROWING_TRIES  5
#define GROWING_MS     100
#define FOLLOW_MS      200

static int compare_numbers(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static bool list_files(struct audit_files *files, DIR *dir)
{
    const struct dirent *entry;
    size_t room = 0;

    while ((entry = readdir(dir)) != NULL) {
        uint32_t number = audit_file_number(entry->d_name);

        if (number == 0)
            continue;
        if (files->count == room) {
            uint32_t *more = realloc(files->number, (room += 256) * sizeof *more);

            if (more == NULL)
                return false;
            files->number = more;
        }
        files->number[files->count++] = number;
    }
    if (files->count > 0)
        qsort(files->number, files->count, sizeof *files->number, compare_numbers);
    return true;
}

bool audit_files_open(struct audit_files *files, const char *directory)
{
    DIR *dir = opendir(directory);
    bool listed;

    *files = (struct audit_files){.directory = -1};
    if (dir == NULL) {
        cli_error("cannot open the trail's directory %s: %s; name it, or run this as the audit process's user or root",
                  directory, strerror(errno));
        return false;
    }
    listed = list_files(files, dir);
    files->directory = fcntl(dirfd(dir), F_DUPFD_CLOEXEC, 0);
    (void)closedir(dir);
    if (listed && files->directory != -1)
        return true;
    cli_error("cannot list %s: %s", directory, strerror(errno));
    audit_files_close(files);
    return false;
}

void audit_files_close(struct audit_files *files)
{
    if (files->directory != -1)
        (void)close(files->directory);
    free(files->number);
    *files = (struct audit_files){.directory = -1};
}

/* A descriptor and its present size, -1 with errno. */
static int open_file(const struct audit_files *files, uint32_t number, int64_t *size)
{
    char name[AUDIT_FILE_NAME_MAX];
    struct stat st;
    int fd;

    audit_file_name(name, number);
    fd = openat(files->directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd == -1)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= FILE_BYTES_MAX) {
        *size = st.st_size;
        return fd;
    }
    (void)close(fd);
    errno = EFBIG;
    return -1;
}

static size_t read_from(int fd, char *text, size_t length, off_t offset)
{
    size_t have = 0;

    while (have < length) {
        ssize_t got = pread(fd, text + have, length - have, offset + (off_t)have);

        if (got == -1 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    return have;
}

char *audit_file_read(const struct audit_files *files, uint32_t number, size_t *length)
{
    int64_t size = 0;
    int fd = open_file(files, number, &size);
    char *text = fd == -1 ? NULL : malloc((size_t)size + 1);

    if (text != NULL)
        *length = read_from(fd, text, (size_t)size, 0);
    else
        cli_error("cannot read file %" PRIu32 " of the trail: %s", number, strerror(errno));
    if (fd != -1)
        (void)close(fd);
    return text;
}

/* ---- verify ---- */

/* The whole trail. False: a file could not be read. */
static bool verify_files(struct audit_verify *v, const char *directory)
{
    struct audit_files files;
    bool done = true;

    if (!audit_files_open(&files, directory))
        return false;
    for (size_t i = 0; i < files.count && done && v->fault.kind == NULL; i++) {
        size_t length = 0;
        char *text = audit_file_read(&files, files.number[i], &length);

        done = text != NULL;
        audit_verify_file(v, files.number[i]);
        if (done)
            audit_verify_bytes(v, text, length);
        free(text);
    }
    audit_files_close(&files);
    return done;
}

static enum audit_verdict verify_once(const struct cli_audit *a, const struct audit_verification_key *key,
                                      struct audit_verify *v, bool *done)
{
    audit_verify_begin(v, key, a->anchor, a->anchors);
    if (a->has_begin)
        audit_verify_behind(v, &a->begin);
    *done = verify_files(v, a->directory);
    return *done ? audit_verify_end(v) : AUDIT_UNKNOWN;
}

static void print_verdict(const struct cli_audit *a, const struct audit_verify *v, enum audit_verdict verdict)
{
    static const char *const names[] = {"intact", "altered", "shorter", "torn", "unknown"};
    char words[1024], head[AUDIT_HEX + 1];
    json_t *json;

    audit_verify_explain(v, verdict, words, sizeof words);
    if (a->format != &cli_format_json) {
        (void)printf("%s\n", cli_clean(words));
        return;
    }
    audit_to_hex(v->chain.prev, AUDIT_HASH, head);
    json = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:s?}", "verdict", names[verdict], "message", words,
                     "records", (json_int_t)v->records, "first", (json_int_t)v->first, "last", (json_int_t)v->chain.seq,
                     "hash", head, "torn_ends", (json_int_t)v->torn, "bad_record", (json_int_t)v->fault.seq, "kind",
                     v->fault.kind);
    a->format->print(stdout, NULL, json);
    json_decref(json);
}

int cli_audit_verify(const struct cli_audit *a)
{
    struct audit_verification_key key;
    struct audit_verify v;
    enum audit_verdict verdict = AUDIT_UNKNOWN;
    char error[512];
    bool done = true;

    if (a->key == NULL) {
        cli_error("audit verify: name the verification key that audit init gave, with --key FILE");
        return AUDIT_UNKNOWN;
    }
    if (!audit_verification_key_load(a->key, &key, error, sizeof error)) {
        cli_error("%s", error);
        return AUDIT_UNKNOWN;
    }
    for (int i = 0; i < GROWING_TRIES; i++) {
        verdict = verify_once(a, &key, &v, &done);
        if (verdict != AUDIT_TORN)
            break;
        (void)poll(NULL, 0, GROWING_MS); /* its writer may be in the midst of it */
    }
    if (done)
        print_verdict(a, &v, verdict);
    audit_verification_key_clear(&key);
    return (int)verdict;
}

/* ---- head ---- */

/* The last line of TEXT that has the form of a record. */
static bool last_record(const char *text, size_t length, struct audit_line *line, unsigned char hash[AUDIT_HASH])
{
    const char *end = memrchr(text, '\n', length);

    while (end != NULL) {
        const char *before = memrchr(text, '\n', (size_t)(end - text));
        const char *begin = before == NULL ? text : before + 1;

        if (audit_line_parse(begin, (size_t)(end - begin) + 1, line))
            return audit_hash(begin, (size_t)(end - begin) + 1, hash);
        end = before;
    }
    return false;
}

int cli_audit_head(const struct cli_audit *a)
{
    unsigned char hash[AUDIT_HASH];
    char hex[AUDIT_HEX + 1];
    struct audit_files files;
    struct audit_line line;
    bool found = false;

    if (!audit_files_open(&files, a->directory))
        return CLI_FAILED;
    for (size_t i = files.count; i > 0 && !found; i--) {
        size_t length = 0;
        char *text = audit_file_read(&files, files.number[i - 1], &length);

        found = text != NULL && last_record(text, length, &line, hash);
        free(text);
    }
    audit_files_close(&files);
    if (!found) {
        cli_error("audit head: there is no record in %s", a->directory);
        return CLI_FAILED;
    }
    audit_to_hex(hash, AUDIT_HASH, hex);
    if (a->format == &cli_format_json) {
        json_t *json = json_pack("{s:I, s:s, s:s, s:s}", "seq", (json_int_t)line.seq, "hash", hex, "time", line.time,
                                 "log", line.log);

        a->format->print(stdout, NULL, json);
        json_decref(json);
    } else {
        (void)printf("%" PRIu64 ":%s\n", line.seq, hex);
    }
    return CLI_OK;
}

/* ---- tail ---- */

/* A file could have been altered: what a terminal would obey does not reach it. */
static void print_lines(char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)text[i] < ' ' && text[i] != '\n') || text[i] == 0x7f)
            text[i] = '?';
    (void)fwrite(text, 1, length, stdout);
    (void)fflush(stdout);
}

static size_t last_lines(const char *text, size_t length, long lines)
{
    size_t at = length;

    while (at > 0 && (text[at - 1] != '\n' || at == length || --lines > 0))
        at--;
    return lines == 0 && at == length ? length : at;
}

/* What was added to file NUMBER since OFFSET. */
static void print_added(const struct audit_files *files, uint32_t number, off_t *offset)
{
    char text[65536];
    int64_t size = 0;
    int fd = open_file(files, number, &size);
    size_t got;

    while (fd != -1 && (got = read_from(fd, text, sizeof text, *offset)) > 0) {
        print_lines(text, got);
        *offset += (off_t)got;
    }
    if (fd != -1)
        (void)close(fd);
}

/* Until somebody ends us, or nobody reads. */
static void follow(const struct audit_files *files, uint32_t number, off_t offset)
{
    while (!ferror(stdout)) {
        char next[AUDIT_FILE_NAME_MAX];

        audit_file_name(next, number + 1);
        if (faccessat(files->directory, next, F_OK, 0) == 0) {
            print_added(files, number, &offset); /* its last ones */
            number++;
            offset = 0;
        }
        print_added(files, number, &offset);
        (void)poll(NULL, 0, FOLLOW_MS);
    }
}

int cli_audit_tail(const struct cli_audit *a)
{
    struct audit_files files;
    size_t length = 0;
    uint32_t number = 1;

    if (!audit_files_open(&files, a->directory))
        return CLI_FAILED;
    if (files.count > 0) {
        char *text = audit_file_read(&files, number = files.number[files.count - 1], &length);

        if (text != NULL && a->lines > 0) {
            size_t from = last_lines(text, length, a->lines);

            print_lines(text + from, length - from);
        }
        free(text);
    }
    if (a->follow)
        follow(&files, number, (off_t)length);
    audit_files_close(&files);
    return CLI_OK;
}
