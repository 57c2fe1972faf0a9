/* SPDX-License-Identifier: ISC */
/*
 * trace.c - read what libpq prints of a session's start: parameter names, cancel key, SQLSTATE.
 *
 * PQtrace is the only public call that shows the names of all parameters and the cancel key. The hard thing: it is
 * made for people. It does not escape what it prints and prints the key in a way of its own in each version, so a key
 * counts only if it has exactly as many bytes as the message's length says; any other is unreadable.
 */
#include "login.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MESSAGE_HEAD  8      /* length and pid, before the key */
#define QUOTED_KEY_LIBPQ  180000 /* from here on keys have any length */
#define KEY_BYTES_MAX     (TRACE_KEY_MAX / 2)
#define SQLSTATE_LENGTH   5
#define LINE_MAX_BYTES    (10 * KEY_BYTES_MAX + 64) /* a key of bytes that each print as \xffffffNN */
#define PARAMETER_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_."

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t trace_hex(const char *text, size_t length, unsigned char *bytes, size_t size)
{
    if (length % 2 != 0 || length / 2 > size)
        return 0;
    for (size_t i = 0; i < length; i += 2) {
        int high = hex_digit(text[i]), low = hex_digit(text[i + 1]);

        if (high == -1 || low == -1)
            return 0;
        bytes[i / 2] = (unsigned char)(high << 4 | low);
    }
    return length / 2;
}

/* libpq before 18: a signed 32-bit number. */
static size_t read_decimal(const char *text, size_t length, unsigned char key[KEY_BYTES_MAX])
{
    char *end, copy[16] = "";
    long long number;

    if (length == 0 || length >= sizeof copy)
        return 0;
    memcpy(copy, text, length);
    errno = 0;
    number = strtoll(copy, &end, 10);
    if (*end != '\0' || errno != 0 || number < INT32_MIN || number > (long long)UINT32_MAX)
        return 0;
    for (int i = 0; i < 4; i++)
        key[i] = (unsigned char)((uint32_t)number >> (24 - 8 * i));
    return 4;
}

/*
 * 'bytes', those that do not print as \xNN, or, where libpq took them for signed, as \xffffffNN (SIGNED_BYTES). A
 * backslash that is itself a byte of the key makes the count come out wrong, or is told by what follows it.
 */
static size_t read_quoted(const char *text, size_t length, bool signed_bytes, unsigned char key[KEY_BYTES_MAX])
{
    size_t count = 0;

    for (size_t i = 0; i < length; count++) {
        unsigned char byte = (unsigned char)text[i];
        size_t used = 1, digits = i + 2;

        if (byte == '\\' && i + 1 < length && text[i + 1] == 'x') {
            if (signed_bytes && length - i >= 10 && strncmp(text + digits, "ffffff", 6) == 0)
                digits += 6;
            if (digits + 2 <= length && trace_hex(text + digits, 2, &byte, 1) == 1)
                used = digits + 2 - i;
        }
        if (count == KEY_BYTES_MAX)
            return 0;
        key[count] = byte;
        i += used;
    }
    return count;
}

static size_t read_key(const char *text, size_t length, size_t bytes, int libpq_version,
                       unsigned char key[KEY_BYTES_MAX])
{
    if (length >= 2 && text[0] == '\'' && text[length - 1] == '\'') {
        if (read_quoted(text + 1, length - 2, false, key) == bytes)
            return bytes;
        return read_quoted(text + 1, length - 2, true, key);
    }
    if (length > 2 && text[0] == '0' && text[1] == 'x')
        return trace_hex(text + 2, length - 2, key, KEY_BYTES_MAX);
    if (libpq_version < QUOTED_KEY_LIBPQ)
        return read_decimal(text, length, key);
    return trace_hex(text, length, key, KEY_BYTES_MAX);
}

/* " PID KEY" of a message of MESSAGE_LENGTH bytes. */
static void take_key(const char *text, size_t length, long message_length, int libpq_version, struct trace *trace)
{
    unsigned char key[KEY_BYTES_MAX] = {0};
    size_t bytes, skip;
    char *end;

    trace->key[0] = '\0';
    trace->backend_pid = (int32_t)strtol(text, &end, 10);
    skip = (size_t)(end - text);
    if (skip >= length || *end != ' ' || message_length <= KEY_MESSAGE_HEAD)
        return;
    bytes = (size_t)message_length - KEY_MESSAGE_HEAD;
    if (bytes > KEY_BYTES_MAX || read_key(end + 1, length - skip - 1, bytes, libpq_version, key) != bytes)
        return;
    for (size_t i = 0; i < bytes; i++)
        (void)snprintf(trace->key + 2 * i, 3, "%02x", key[i]);
    explicit_bzero(key, sizeof key);
}

/* ` "NAME" "VALUE"`. With a dot before it, it could be taken for one of our own facts (message.h). */
static void take_name(const char *text, size_t length, struct trace *trace)
{
    size_t name = length > 2 && strncmp(text, " \"", 2) == 0 ? strspn(text + 2, PARAMETER_LETTERS) : 0;

    if (name == 0 || text[2] == '.' || name >= NAME_FIELD || name + 2 >= length || text[name + 2] != '"')
        return;
    for (size_t i = 0; i < trace->names; i++)
        if (strncmp(trace->name[i], text + 2, name) == 0 && trace->name[i][name] == '\0')
            return;
    if (trace->names == TRACE_NAMES_MAX)
        return;
    memcpy(trace->name[trace->names], text + 2, name);
    trace->name[trace->names++][name] = '\0';
}

/* What follows TYPE and a tab at the start of TEXT; NULL if it is another type. */
static const char *after_type(const char *text, size_t length, const char *type)
{
    size_t n = strlen(type);

    return length > n && strncmp(text, type, n) == 0 && text[n] == '\t' ? text + n + 1 : NULL;
}

/* One line, terminated: "B <length> <type> <fields>", with tabs. */
static void take_line(const char *line, size_t length, int libpq_version, struct trace *trace)
{
    const char *end = line + length, *fields;
    long message_length;
    char *type;

    if (length < 2 || strncmp(line, "B\t", 2) != 0)
        return;
    message_length = strtol(line + 2, &type, 10);
    if (*type != '\t')
        return;
    type++;
    if ((fields = after_type(type, (size_t)(end - type), "ParameterStatus")) != NULL)
        take_name(fields, (size_t)(end - fields), trace);
    else if ((fields = after_type(type, (size_t)(end - type), "BackendKeyData")) != NULL)
        take_key(fields, (size_t)(end - fields), message_length, libpq_version, trace);
}

void trace_parse(const char *text, size_t length, int libpq_version, struct trace *trace)
{
    char line[LINE_MAX_BYTES];
    const char *end = text + length;

    memset(trace, 0, sizeof *trace);
    while (text < end) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t n = (size_t)((newline == NULL ? end : newline) - text);
        size_t kept = n < sizeof line ? n : sizeof line - 1;

        memcpy(line, text, kept);
        line[kept] = '\0';
        take_line(line, strlen(line), libpq_version, trace);
        text += n + (newline != NULL);
    }
    explicit_bzero(line, sizeof line);
}

/* "FATAL:  28P01: text": where the code stands in LINE, or NULL. */
static const char *find_sqlstate(const char *line, const char *end)
{
    for (const char *c = line; (c = memmem(c, (size_t)(end - c), ":  ", 3)) != NULL; c++) {
        const char *code = c + 3;
        size_t letters = strspn(code, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ");

        if (letters == SQLSTATE_LENGTH && end - code > SQLSTATE_LENGTH + 1 &&
            strncmp(code + SQLSTATE_LENGTH, ": ", 2) == 0)
            return code;
    }
    return NULL;
}

static size_t append(char *line, size_t size, size_t at, const char *from, const char *end)
{
    size_t n = (size_t)(end - from);

    if (n > size - 1 - at)
        n = size - 1 - at;
    memcpy(line + at, from, n);
    return at + n;
}

void trace_error(const char *verbose, char *line, size_t size, char sqlstate[6])
{
    static const char place[] = "LOCATION:", gap[] = " ";
    size_t at = 0;

    sqlstate[0] = '\0';
    while (*(verbose += strspn(verbose, " \t\n")) != '\0') {
        const char *end = strchrnul(verbose, '\n'), *code = find_sqlstate(verbose, end);

        if (strncmp(verbose, place, sizeof place - 1) != 0) {
            if (at > 0)
                at = append(line, size, at, gap, gap + 1);
            if (code != NULL) {
                memcpy(sqlstate, code, SQLSTATE_LENGTH);
                sqlstate[SQLSTATE_LENGTH] = '\0';
                at = append(line, size, at, verbose, code);
                verbose = code + SQLSTATE_LENGTH + 2;
            }
            at = append(line, size, at, verbose, end);
        }
        verbose = end;
    }
    line[at] = '\0';
}
