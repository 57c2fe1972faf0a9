/* SPDX-License-Identifier: ISC */
/*
 * log.c - one line an event on standard error, as text or as a JSON object.
 *
 * The hard thing: what is logged may hold a stranger's bytes (a server's error, a file's name). They must not be able
 * to begin a line of their own or to break the JSON, so control characters never pass, and each line is one write(2).
 * What a stranger can cause as often as it likes is limited; what is not written, for that or because nobody reads, is
 * counted.
 */
#include "daemon.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX  4096
#define LOG_FRAME_MAX 320 /* of it, for what is not the message, of which each byte may be two in JSON */
#define LIMIT_LINES   10  /* of one kind, in LIMIT_SECONDS */
#define LIMIT_SECONDS 10

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
};

static char log_process[80] = "pglendd";
static enum log_level log_threshold = LOG_LEVEL_INFO;
static enum log_format log_style = LOG_FORMAT_TEXT;
static unsigned log_dropped;         /* lines that standard error did not take */
static struct log_limit *log_limits; /* those with lines withheld */

void log_open(const char *process)
{
    (void)snprintf(log_process, sizeof log_process, "%s", process);
}

void log_set(enum log_level level, enum log_format format)
{
    log_threshold = level;
    log_style = format;
}

static void timestamp(char out[32])
{
    struct timespec now;
    struct tm utc;
    size_t length;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    length = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(out + length, 32 - length, ".%03ldZ", now.tv_nsec / 1000000);
}

static void without_controls(char *message)
{
    for (char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            *c = ' ';
}

static json_t *json_text(char *message)
{
    json_t *text = json_string(message);

    if (text != NULL)
        return text;
    /* Not UTF-8: keep what is ASCII rather than lose the line. */
    for (char *c = message; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    return json_string(message);
}

/* The line without its newline; its length, 0 if there is no memory for it. */
static size_t format_json(char line[LOG_LINE_MAX], const char *when, const char *level, char *message)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:o}", "time", when, "level", level, "process", log_process, "message",
                               json_text(message));
    size_t length = 0;

    if (object != NULL)
        length = json_dumpb(object, line, LOG_LINE_MAX - 1, JSON_COMPACT);
    json_decref(object);
    return length < LOG_LINE_MAX ? length : 0;
}

/* Whoever reads the log may be stopped, and must not stop us: what would have to wait for it is lost. */
static bool write_line(const char *line, size_t length)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    ssize_t written;

    if (poll(&out, 1, 0) == 0)
        return false;
    do
        written = write(STDERR_FILENO, line, length);
    while (written == -1 && errno == EINTR);
    return written != -1;
}

static bool write_message(enum log_level level, char *message)
{
    char line[LOG_LINE_MAX], when[32];
    size_t length = 0;

    timestamp(when);
    without_controls(message);
    if (log_style == LOG_FORMAT_JSON)
        length = format_json(line, when, level_names[level], message);
    if (length == 0)
        length =
            (size_t)snprintf(line, sizeof line - 1, "%s %s %s: %s", when, level_names[level], log_process, message);
    line[length++] = '\n';
    return write_line(line, length);
}

static void say_dropped(void)
{
    char message[80];

    if (log_dropped == 0)
        return;
    (void)snprintf(message, sizeof message, "%u log lines were dropped: standard error did not take them", log_dropped);
    if (write_message(LOG_LEVEL_WARNING, message))
        log_dropped = 0;
}

bool log_wanted(enum log_level level)
{
    return level <= log_threshold;
}

static void log_line(enum log_level level, const char *format, va_list arguments)
{
    char message[(LOG_LINE_MAX - LOG_FRAME_MAX) / 2];
    int saved = errno;

    if (!log_wanted(level))
        return;
    (void)vsnprintf(message, sizeof message, format, arguments);
    say_dropped();
    if (!write_message(level, message))
        log_dropped++;
    errno = saved;
}

void log_at(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_line(level, format, arguments);
    va_end(arguments);
}

#define LOG_FUNCTION(name, level)                                                                                      \
    void name(const char *format, ...)                                                                                 \
    {                                                                                                                  \
        va_list arguments;                                                                                             \
                                                                                                                       \
        va_start(arguments, format);                                                                                   \
        log_line(level, format, arguments);                                                                            \
        va_end(arguments);                                                                                             \
    }

LOG_FUNCTION(log_error, LOG_LEVEL_ERROR)
LOG_FUNCTION(log_warning, LOG_LEVEL_WARNING)
LOG_FUNCTION(log_info, LOG_LEVEL_INFO)
LOG_FUNCTION(log_debug, LOG_LEVEL_DEBUG)

/* ---- lines that strangers can cause ---- */

static time_t seconds(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

/* The period of *LINK is over: say what it withheld, and take it off the list. */
static void end_period(struct log_limit **link)
{
    struct log_limit *limit = *link;
    unsigned withheld = limit->withheld;

    *link = limit->next;
    limit->withheld = limit->written = 0;
    log_info("%s: ... and %u more in the last %d s", limit->kind, withheld, LIMIT_SECONDS);
}

void log_tick(void)
{
    time_t now = seconds();

    for (struct log_limit **link = &log_limits; *link != NULL;)
        if (now - (*link)->since >= LIMIT_SECONDS)
            end_period(link);
        else
            link = &(*link)->next;
    say_dropped();
}

bool log_permitted(struct log_limit *limit)
{
    time_t now = seconds();

    log_tick();
    if (now - limit->since >= LIMIT_SECONDS) {
        limit->since = now;
        limit->written = 0;
    }
    if (limit->written < LIMIT_LINES) {
        limit->written++;
        return true;
    }
    if (limit->withheld++ == 0) {
        limit->next = log_limits;
        log_limits = limit;
    }
    return false;
}

/* Whoever has to hear of a fatal() too. */
static void (*last_words)(const void *context, const char *text);
static const void *last_context;

void fatal_tell(void (*tell)(const void *context, const char *text), const void *context)
{
    last_words = tell;
    last_context = context;
}

void fatal(int status, const char *format, ...)
{
    void (*tell)(const void *context, const char *text) = last_words;
    char text[LOG_LINE_MAX / 2];
    va_list arguments;

    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log_error("%s", text);
    last_words = NULL;
    if (tell != NULL)
        tell(last_context, text);
    exit(status);
}
