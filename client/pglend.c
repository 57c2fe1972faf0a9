/* SPDX-License-Identifier: ISC */
/*
 * pglend.c - the command line of pglend: its commands.
 *
 * A command is a row: name, arguments, the role it needs, help, function, view. Usage, help and dispatch read the
 * rows; those the supervisor answers come from admin.h, which the supervisor builds its own table from.
 */
#include "cli.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 5000 /* for an answer, beyond the time that the supervisor was told to wait */

static enum cli_exit run_admin(const struct cli *cli, const struct cli_command *command, json_t **result,
                               char message[CLI_MESSAGE_MAX])
{
    bool ends = strcmp(command->name, "shutdown") == 0, waits = cli_argument(cli, "wait") != NULL;
    struct cli patient = *cli;
    enum cli_exit exit_code;

    /* Where the supervisor itself keeps the time, its answer says what was waited for. */
    if (!ends && strstr(command->args, "timeout") != NULL) {
        char seconds[32];

        (void)snprintf(seconds, sizeof(seconds), "%.3f", cli->timeout_ms / 1e3);
        if (cli->timeout_given)
            json_object_set_new(cli->args, "timeout", json_string(seconds));
        patient.timeout_ms = (waits && !cli->timeout_given ? CLI_TIMEOUT_MAX_S * 1000 : cli->timeout_ms) + ANSWER_MS;
    }
    exit_code = cli_request(&patient, command->name, cli->args, result, message);
    if (exit_code == CLI_OK && ends && waits)
        exit_code = cli_await_end(cli, message);
    if (exit_code == CLI_TIMED_OUT) {
        json_decref(*result);
        *result = NULL;
    }
    return exit_code;
}

static enum cli_exit run_check(const struct cli *cli, const struct cli_command *command, json_t **result,
                               char message[CLI_MESSAGE_MAX])
{
    (void)command;
    return cli_check(cli, result, message);
}

static enum cli_exit run_top(const struct cli *cli, const struct cli_command *command, json_t **result,
                             char message[CLI_MESSAGE_MAX])
{
    (void)command;
    (void)result;
    return cli_top(cli, message);
}

static enum cli_exit run_version(const struct cli *cli, const struct cli_command *command, json_t **result,
                                 char message[CLI_MESSAGE_MAX])
{
    json_t *status = NULL;
    const char *daemon = NULL;

    (void)command;
    if (cli_request(cli, "status", NULL, &status, message) == CLI_OK)
        daemon = json_string_value(json_object_get(status, "version"));
    else
        cli_clean(message);
    *result = json_pack("{s:s, s:s?, s:s?}", "cli", PGLEND_VERSION, "daemon", daemon, "message",
                        daemon == NULL ? message : NULL);
    json_decref(status);
    return CLI_OK;
}

static enum cli_exit run_help(const struct cli *cli, const struct cli_command *command, json_t **result,
                              char message[CLI_MESSAGE_MAX]);
static enum cli_exit run_completion(const struct cli *cli, const struct cli_command *command, json_t **result,
                                    char message[CLI_MESSAGE_MAX]);

/* Their options are their own and come behind: main() lets them come here only where others stand before. */
static enum cli_exit run_first_word(const struct cli *cli, const struct cli_command *command, json_t **result,
                                    char message[CLI_MESSAGE_MAX])
{
    (void)cli;
    (void)result;
    snprintf(message, CLI_MESSAGE_MAX, "%s is the first word, its options follow: pglend %s --help", command->name,
             command->name);
    return CLI_USAGE;
}

#define ROW(name, args, usage, role, help) {#name, args, usage, help, NULL, role, run_admin, &cli_view_##name},
static const struct cli_command commands[] = {
    ADMIN_COMMANDS(ROW){"check", "pool purpose", "[--purpose TEXT] [POOL]",
                        "Borrow from the pool (or from each), ask `select 1`, give it back.",
                        "access to the pool; without POOL also the role read", ADMIN_READ, run_check, &cli_view_check},
    {"audit", "words", "[COMMAND ...]", "Set up, verify, read the audit trail; see pglend audit --help.",
     "access to the trail's directory", ADMIN_READ, run_first_word, NULL},
    {"export", "words", "[OPTION ...]", "Serve the statistics to Prometheus; see pglend export --help.",
     "the role read", ADMIN_READ, run_first_word, NULL},
    {"top", "pool", "[POOL ...]", "Watch pools, leases, workers and waiters on a live screen; q quits.", NULL,
     ADMIN_READ, run_top, NULL},
    {"version", "", "", "Print the version of this program and of the daemon.", "nothing", ADMIN_READ, run_version,
     &cli_view_version},
    {"help", "command", "[COMMAND]", "Explain a command.", "nothing", ADMIN_READ, run_help, NULL},
    {"completion", "", "", "Print a script for bash that completes pglend's words.", "nothing", ADMIN_READ,
     run_completion, NULL},
};
#undef ROW

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char options_help[] =
    "Options:\n"
    "  --runtime-dir DIR   the supervisor's directory (default: $PGLEND_RUNTIME_DIR, then /run/pglend)\n"
    "  --json              print the result as JSON, for programs\n"
    "  --timeout SECONDS   wait no longer than this (default: 10)\n"
    "  --help              this, or with a command that command's\n"
    "  --version           the same as the command version\n";

static const char exits_help[] = "Exit status: 0 ok, 1 failed, 2 usage, 3 no supervisor, 4 denied, 5 timed out\n";

static void print_help(FILE *out)
{
    fprintf(out, "usage: pglend [OPTION ...] COMMAND [ARGUMENT ...]\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
    fprintf(out, "\n%s\n%s", options_help, exits_help);
}

static void print_command_help(const struct cli_command *command, FILE *out)
{
    static const char *const role_names[] = ADMIN_ROLE_NAMES;
    const char *blank = command->usage[0] != '\0' ? " " : "";
    bool own_words = command->run == run_first_word;

    fprintf(out, "usage: pglend %s%s%s%s\n\n%s\n", own_words ? "" : "[OPTION ...] ", command->name, blank,
            command->usage, command->help);
    if (command->needs != NULL)
        fprintf(out, "Needs %s.\n", command->needs);
    else
        fprintf(out, "Needs the role %s (\"admin\" in the configuration).\n", role_names[command->role]);
    if (own_words)
        return;
    cli_print_options(out, command);
    fprintf(out, "\n%s\n%s", options_help, exits_help);
}

/* The row called NAME, or NULL after a word about what may have been meant. */
static const struct cli_command *find_command(const char *name)
{
    struct nearest nearest = {.word = name};

    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
        nearest_consider(&nearest, commands[i].name);
    }
    if (nearest.best != NULL)
        cli_error("unknown command \"%s\"; did you mean \"%s\"?", name, nearest.best);
    else
        cli_error("unknown command \"%s\"; pglend --help lists them", name);
    return NULL;
}

static enum cli_exit run_help(const struct cli *cli, const struct cli_command *command, json_t **result,
                              char message[CLI_MESSAGE_MAX])
{
    (void)result;
    message[0] = '\0';
    if (cli_argument(cli, "command") == NULL) {
        print_help(stdout);
        return CLI_OK;
    }
    command = find_command(cli_argument(cli, "command"));
    if (command == NULL)
        return CLI_USAGE;
    print_command_help(command, stdout);
    return CLI_OK;
}

static enum cli_exit run_completion(const struct cli *cli, const struct cli_command *command, json_t **result,
                                    char message[CLI_MESSAGE_MAX])
{
    (void)cli;
    (void)command;
    (void)result;
    message[0] = '\0';
    cli_complete(stdout, commands, COMMANDS);
    return CLI_OK;
}

/* A full disk or a closed pipe must not look like success. */
static enum cli_exit written(enum cli_exit exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    cli_error("cannot write the output: %s", strerror(errno));
    return CLI_FAILED;
}

static enum cli_exit run(const struct cli *cli, const struct cli_command *command)
{
    char message[CLI_MESSAGE_MAX] = "";
    json_t *result = NULL;
    enum cli_exit exit_code = command->run(cli, command, &result, message);

    if (result != NULL && !cli->format->print(stdout, command->view, result))
        exit_code = CLI_FAILED;
    else if (result == NULL && message[0] != '\0')
        cli_error("%s", message);
    json_decref(result);
    return written(exit_code);
}

static enum cli_exit obey(int argc, char **argv, struct cli *cli)
{
    const struct cli_command *command;
    const char *name = NULL;
    bool help = false;

    if (cli->args == NULL || !cli_parse(argc, argv, cli, &name, &help))
        return CLI_USAGE;
    if (name == NULL) {
        print_help(help ? stdout : stderr);
        return written(help ? CLI_OK : CLI_USAGE);
    }
    command = find_command(name);
    if (command == NULL)
        return CLI_USAGE;
    if (help) {
        print_command_help(command, stdout);
        return written(CLI_OK);
    }
    if (!cli_arguments_fit(cli, command))
        return CLI_USAGE;
    if (cli->runtime_dir == NULL)
        cli->runtime_dir = getenv("PGLEND_RUNTIME_DIR");
    if (cli->runtime_dir == NULL || cli->runtime_dir[0] == '\0')
        cli->runtime_dir = "/run/pglend";
    return run(cli, command);
}

/* audit reads its own words: a --json before it becomes its first option, so that audit says which command takes it. */
static int json_behind_audit(int argc, char **argv)
{
    if (argc < 3 || strcmp(argv[1], "--json") != 0 || strcmp(argv[2], "audit") != 0)
        return argc;
    argv[1] = argv[2];
    argv[2] = argv[3];
    if (argc == 3)
        return 2;
    argv[3] = "--json";
    return argc;
}

int main(int argc, char **argv)
{
    struct cli cli = {.format = &cli_format_table, .timeout_ms = CLI_TIMEOUT_DEFAULT_MS, .args = json_object()};
    int exit_code;

    argc = json_behind_audit(argc, argv);
    if (argc > 1 && strcmp(argv[1], "audit") == 0)
        exit_code = cli_audit(argc - 1, argv + 1);
    else if (argc > 1 && strcmp(argv[1], "export") == 0)
        exit_code = cli_export(argv + 1);
    else
        exit_code = (int)obey(argc, argv, &cli);

    json_decref(cli.args);
    return exit_code;
}
