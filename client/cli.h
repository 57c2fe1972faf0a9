/* SPDX-License-Identifier: ISC */
/*
 * cli.h - the command line: commands (pglend.c), their words (cli_words.c), send (cli_send.c, cli_check.c), print
 * (cli_print.c).
 */
#ifndef PGLEND_CLI_H
#define PGLEND_CLI_H

#include "admin.h"
#include "pglend.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CLI_MESSAGE_MAX        1024
#define CLI_TIMEOUT_DEFAULT_MS 10000
#define CLI_TIMEOUT_MAX_S      86400

enum cli_exit { CLI_OK, CLI_FAILED, CLI_USAGE, CLI_NO_SUPERVISOR, CLI_DENIED, CLI_TIMED_OUT };

/* What the words on the command line came to. */
struct cli {
    const char *runtime_dir;
    json_t *args; /* of the command: strings by the names of its row */
    const struct cli_format *format;
    bool timeout_given;
    int timeout_ms;
};

/* How a result is shown to people: a line for each object, a table of rows, or both; neither: as JSON. */
enum cli_kind { CLI_TEXT, CLI_NUMBER, CLI_SECONDS, CLI_RATE, CLI_FLAG };
struct cli_column {
    const char *title;
    const char *key; /* "hold.p50_s": the member of a member */
    enum cli_kind kind;
};
struct cli_view {
    void (*line)(FILE *out, const json_t *object);
    const char *rows; /* the result's member that is the table; NULL: the result itself */
    const char *none; /* said instead of an empty table */
    const struct cli_column *column;
    size_t columns;
};

/* An output format. A new one is one more function. False: it could not show the result, and has said so. */
struct cli_format {
    const char *name;
    bool (*print)(FILE *out, const struct cli_view *view, const json_t *result);
};
extern const struct cli_format cli_format_table, cli_format_json, cli_format_csv;

/* A command, and what may stand after it. */
struct cli_command {
    const char *name;
    const char *args; /* names, separated by blanks; words are the first of them */
    const char *usage;
    const char *help;
    const char *needs; /* NULL: the role of this row in the configuration's "admin" */
    enum admin_role role;
    enum cli_exit (*run)(const struct cli *cli, const struct cli_command *command, json_t **result,
                         char message[CLI_MESSAGE_MAX]);
    const struct cli_view *view;
};

/*
 * cli_words.c: the words of the command line, into CLI. *NAME: the command, NULL: there is none. False: an error, which
 * it has told.
 */
bool cli_parse(int argc, char **argv, struct cli *cli, const char **name, bool *help);
/* Are the arguments such as COMMAND takes? False: it has said why not. */
bool cli_arguments_fit(struct cli *cli, const struct cli_command *command);
void cli_print_options(FILE *out, const struct cli_command *command);      /* those of COMMAND alone */
void cli_print_option_names(FILE *out, const struct cli_command *command); /* and those of every command; NULL: these */
const char *cli_argument(const struct cli *cli, const char *name);         /* NULL: not given */

/* cli_print.c */
void cli_duration(char *text, size_t size, double seconds); /* "340 ms", "31 s", "2 m 5 s", "3 h 12 m", "4 d 3 h" */
char *cli_clean(char *text); /* control characters, which a terminal would obey, become '?'; in place */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* cli_view.c: the view of each command's result */
extern const struct cli_view cli_view_status, cli_view_pools, cli_view_slots, cli_view_workers, cli_view_waiters,
    cli_view_config, cli_view_inventory, cli_view_stats, cli_view_reload, cli_view_pause, cli_view_resume,
    cli_view_disable, cli_view_enable, cli_view_resize, cli_view_recycle, cli_view_revoke, cli_view_override,
    cli_view_shutdown, cli_view_check, cli_view_version;

/*
 * cli_send.c: send COMMAND with ARGS (borrowed, may be NULL) and wait for the answer until the timeout. CLI_OK with
 * the caller's *RESULT, or another exit code with what went wrong in MESSAGE.
 */
enum cli_exit cli_request(const struct cli *cli, const char *command, json_t *args, json_t **result,
                          char message[CLI_MESSAGE_MAX]);
/* After a shutdown was accepted: CLI_OK once nobody listens any more; CLI_TIMED_OUT with what to do. */
enum cli_exit cli_await_end(const struct cli *cli, char message[CLI_MESSAGE_MAX]);
/* Milliseconds left until DEADLINE (cli_now_ms), never negative. */
int cli_left_ms(int64_t deadline);
int64_t cli_now_ms(void); /* CLOCK_MONOTONIC */

/* cli_check.c: borrow from the pool named, or from every one, ask, return. */
enum cli_exit cli_check(const struct cli *cli, json_t **result, char message[CLI_MESSAGE_MAX]);

/* cli_stats.c: the results of pools and stats for CLI's pools, as one object a pool, with "database_up". */
enum cli_exit cli_pools_and_stats(const struct cli *cli, json_t **result, char message[CLI_MESSAGE_MAX]);

/* cli_top.c: a live screen, until q. */
enum cli_exit cli_top(const struct cli *cli, char message[CLI_MESSAGE_MAX]);

/* cli_export.c: become pglend-export; returns an exit status only where that fails. */
int cli_export(char **argv);

/* cli_audit.c: pglend audit, whose words are its own; argv[0] is "audit". An exit status. */
int cli_audit(int argc, char **argv);
void cli_audit_print_words(FILE *out); /* its commands and options */

/* cli_complete.c: completion for bash, of COMMANDS rows at COMMAND. */
void cli_complete(FILE *out, const struct cli_command *command, size_t commands);

#endif
