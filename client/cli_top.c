/* SPDX-License-Identifier: ISC */
/*
 * cli_top.c - pglend top: a live screen.
 *
 * Plain sequences that every terminal since the VT100 knows (and the alternate screen, which the others ignore): a
 * frame is drawn whole, so there is nothing for a library to keep track of. The hard thing: the terminal is given back
 * as it was, however this ends.
 */
#include "cli_top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define EVERY_MS  1000
#define ANSWER_MS 2000

#define ENTER "\033[?1049h\033[?25l\033[?7l\033[2J" /* alternate screen, no cursor, no wrapping */
#define LEAVE "\033[?7h\033[?25h\033[?1049l"

static volatile sig_atomic_t ended;

static void on_signal(int number)
{
    if (number != SIGWINCH) /* which only interrupts the wait */
        ended = 1;
}

/* ANSWER is the newest from here on, if there is one. */
static enum cli_exit take(enum cli_exit exit_code, json_t **kept, json_t *answer)
{
    if (exit_code != CLI_OK)
        return exit_code;
    json_decref(*kept);
    *kept = answer;
    return CLI_OK;
}

static enum cli_exit look_again(const struct cli *cli, struct top_look *look)
{
    const struct {
        const char *command;
        json_t *args;
        json_t **kept;
    } parts[] = {{"status", NULL, &look->status},
                 {"slots", cli->args, &look->slots},
                 {"workers", cli->args, &look->workers},
                 {"waiters", cli->args, &look->waiters}};
    json_t *answer;
    enum cli_exit exit_code;

    look->trouble[0] = '\0';
    exit_code = cli_pools_and_stats(cli, &answer, look->trouble);
    exit_code = take(exit_code, &look->pools, answer);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]) && exit_code == CLI_OK; i++) {
        exit_code = cli_request(cli, parts[i].command, parts[i].args, &answer, look->trouble);
        exit_code = take(exit_code, parts[i].kept, answer);
    }
    return exit_code;
}

static void draw(const struct cli *cli, const struct top_look *look)
{
    struct winsize size = {0};
    char *frame = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&frame, &length);

    if (out == NULL)
        return;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        size = (struct winsize){.ws_row = 24, .ws_col = 80};
    top_draw(out, cli, look, size.ws_row, size.ws_col);
    if (fclose(out) == 0)
        (void)fwrite(frame, 1, length, stdout);
    (void)fflush(stdout);
    free(frame);
}

/* Until a key that quits (true), or until it is time to look again. */
static bool wait_for_key(const sigset_t *mask, bool *looks)
{
    struct pollfd key = {.fd = STDIN_FILENO, .events = POLLIN};
    static int64_t until;
    struct timespec left;
    char byte;
    int ready;

    if (cli_left_ms(until) == 0)
        until = cli_now_ms() + EVERY_MS;
    left = (struct timespec){.tv_nsec = (cli_left_ms(until) % 1000) * 1000000L, .tv_sec = cli_left_ms(until) / 1000};
    ready = ppoll(&key, 1, &left, mask);
    *looks = ready == 0;
    if (ready <= 0)
        return ended != 0 || (ready < 0 && errno != EINTR);
    return read(STDIN_FILENO, &byte, 1) != 1 || byte == 'q' || byte == 'Q' || byte == 3; /* 3: ^C */
}

/* The screen is ours: look, draw, wait. */
static void run_screen(const struct cli *cli, struct top_look *look)
{
    const struct sigaction action = {.sa_handler = on_signal};
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGWINCH};
    bool looks = false;
    sigset_t blocked, before;

    (void)sigemptyset(&blocked);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        (void)sigaction(signals[i], &action, NULL);
        (void)sigaddset(&blocked, signals[i]);
    }
    /* They come only while it waits: none gets lost between the look at ENDED and the wait. */
    (void)sigprocmask(SIG_BLOCK, &blocked, &before);
    do {
        if (looks)
            (void)look_again(cli, look);
        draw(cli, look);
    } while (!wait_for_key(&before, &looks));
}

static bool is_terminal(void)
{
    const char *terminal = getenv("TERM");

    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && terminal != NULL && strcmp(terminal, "dumb") != 0;
}

enum cli_exit cli_top(const struct cli *cli, char message[CLI_MESSAGE_MAX])
{
    struct cli quick = *cli;
    struct top_look look = {0};
    struct termios was, raw;
    enum cli_exit exit_code;

    if (cli->format == &cli_format_json || !is_terminal() || tcgetattr(STDIN_FILENO, &was) != 0) {
        snprintf(message, CLI_MESSAGE_MAX,
                 "top draws on a terminal, and there is none (or TERM is not set, or --json is); for a file or a "
                 "program: pglend stats, pglend --json stats");
        return CLI_USAGE;
    }
    if (quick.timeout_ms > ANSWER_MS)
        quick.timeout_ms = ANSWER_MS;
    exit_code = look_again(&quick, &look);
    if (exit_code == CLI_OK) {
        raw = was;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw);
        (void)fputs(ENTER, stdout);
        run_screen(&quick, &look);
        (void)fputs(LEAVE, stdout);
        (void)fflush(stdout);
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &was);
    } else {
        snprintf(message, CLI_MESSAGE_MAX, "%s", look.trouble);
    }
    json_decref(look.status);
    json_decref(look.pools);
    json_decref(look.slots);
    json_decref(look.workers);
    json_decref(look.waiters);
    return exit_code;
}
