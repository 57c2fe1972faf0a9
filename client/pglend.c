/* SPDX-License-Identifier: ISC */
/*
 * pglend.c - the command line of pglend: parse the words, send, print.
 *
 * A command is a row: name, arguments, the role it needs, help, function, view. Usage, help and dispatch read the
 * rows; those the supervisor answers come from admin.h, which the supervisor builds its own table from.
 */
#include "admin.h"
#include "cli.h"
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct command {
    const char *name;
    const char *arguments;
    const char *help;
    const char *needs; /* NULL: the role of this row in the configuration's "admin" */
    enum admin_role role;
    enum cli_exit (*run)(const struct cli *cli, const struct command *command, json_t **result,
                         char message[CLI_MESSAGE_MAX]);
    const struct cli_view *view;
};

static enum cli_exit run_admin(const struct cli *cli, const struct command *command, json_t **result,
                               char message[CLI_MESSAGE_MAX])
{
    json_t *args = json_object();
    enum cli_exit exit_code;

    if (cli->word != NULL && json_object_set_new(args, "pool", json_string(cli->word)) != 0) {
        snprintf(message, CLI_MESSAGE_MAX, "%s: pool name \"%s\" is not UTF-8", command->name, cli->word);
        json_decref(args);
        return CLI_USAGE;
    }
    if (cli->fast)
        json_object_set_new(args, "mode", json_string("fast"));
    exit_code = cli_request(cli, command->name, args, result, message);
    json_decref(args);
    if (exit_code == CLI_OK && cli->wait)
        exit_code = cli_await_end(cli, message);
    if (exit_code == CLI_TIMED_OUT) {
        json_decref(*result);
        *result = NULL;
    }
    return exit_code;
}

static enum cli_exit run_check(const struct cli *cli, const struct command *command, json_t **result,
                               char message[CLI_MESSAGE_MAX])
{
    (void)command;
    return cli_check(cli, result, message);
}

static enum cli_exit run_version(const struct cli *cli, const struct command *command, json_t **result,
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

static enum cli_exit run_help(const struct cli *cli, const struct command *command, json_t **result,
                              char message[CLI_MESSAGE_MAX]);

#define ROW(name, args, usage, role, help) {#name, usage, help, NULL, role, run_admin, &cli_view_##name},
static const struct command commands[] = {
    ADMIN_COMMANDS(ROW){"check", "[POOL]", "Borrow from the pool (or from each), ask `select 1`, give it back.",
                        "access to the pool; without POOL also the role read", ADMIN_READ, run_check, &cli_view_check},
    {"version", "", "Print the version of this program and of the daemon.", "nothing", ADMIN_READ, run_version,
     &cli_view_version},
    {"help", "[COMMAND]", "Explain a command.", "nothing", ADMIN_READ, run_help, NULL},
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

static bool takes_shutdown_options(const struct command *command)
{
    return strcmp(command->arguments, "[--fast] [--wait]") == 0;
}

static void print_help(FILE *out)
{
    fprintf(out, "usage: pglend [OPTION ...] COMMAND [ARGUMENT]\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %-8s %-17s %s\n", commands[i].name, commands[i].arguments, commands[i].help);
    fprintf(out, "\n%s\n%s", options_help, exits_help);
}

static void print_command_help(const struct command *command, FILE *out)
{
    static const char *const role_names[] = ADMIN_ROLE_NAMES;
    const char *blank = command->arguments[0] != '\0' ? " " : "";

    fprintf(out, "usage: pglend [OPTION ...] %s%s%s\n\n%s\n", command->name, blank, command->arguments, command->help);
    if (command->needs != NULL)
        fprintf(out, "Needs %s.\n", command->needs);
    else
        fprintf(out, "Needs the role %s (\"admin\" in the configuration).\n", role_names[command->role]);
    if (takes_shutdown_options(command))
        fprintf(out, "\n  --fast              do not wait for leases that are out: take them back\n"
                     "  --wait              return when the daemon has ended (or after --timeout, if given)\n");
    fprintf(out, "\n%s\n%s", options_help, exits_help);
}

/* The row called NAME, or NULL after a word about what may have been meant. */
static const struct command *find_command(const char *name)
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

static enum cli_exit run_help(const struct cli *cli, const struct command *command, json_t **result,
                              char message[CLI_MESSAGE_MAX])
{
    (void)result;
    message[0] = '\0';
    if (cli->word == NULL) {
        print_help(stdout);
        return CLI_OK;
    }
    command = find_command(cli->word);
    if (command == NULL)
        return CLI_USAGE;
    print_command_help(command, stdout);
    return CLI_OK;
}

static bool parse_timeout(struct cli *cli, const char *text)
{
    char *end;
    double seconds;

    errno = 0;
    seconds = strtod(text, &end);
    if (end == text || *end != '\0' || errno != 0 || !(seconds >= 0 && seconds <= CLI_TIMEOUT_MAX_S)) {
        cli_error("--timeout %s: give seconds from 0 to %d, such as 2.5", text, CLI_TIMEOUT_MAX_S);
        return false;
    }
    cli->timeout_ms = (int)(seconds * 1000 + 0.5);
    cli->timeout_given = true;
    return true;
}

enum option_key {
    OPTION_RUNTIME_DIR = 256,
    OPTION_JSON,
    OPTION_TIMEOUT,
    OPTION_FAST,
    OPTION_WAIT,
    OPTION_HELP,
    OPTION_VERSION
};

/* Options may stand before and after the command. *NAME: the command, NULL if there is none. */
static bool parse(int argc, char **argv, struct cli *cli, const char **name, bool *help)
{
    static const struct option rows[] = {
        {"runtime-dir", required_argument, NULL, OPTION_RUNTIME_DIR},
        {"json", no_argument, NULL, OPTION_JSON},
        {"timeout", required_argument, NULL, OPTION_TIMEOUT},
        {"fast", no_argument, NULL, OPTION_FAST},
        {"wait", no_argument, NULL, OPTION_WAIT},
        {"help", no_argument, NULL, OPTION_HELP},
        {"version", no_argument, NULL, OPTION_VERSION},
        {NULL, 0, NULL, 0},
    };
    bool version = false;
    int option;

    while ((option = getopt_long(argc, argv, "h", rows, NULL)) != -1) {
        switch (option) {
        case OPTION_RUNTIME_DIR:
            cli->runtime_dir = optarg;
            break;
        case OPTION_JSON:
            cli->format = &cli_format_json;
            break;
        case OPTION_TIMEOUT:
            if (!parse_timeout(cli, optarg))
                return false;
            break;
        case OPTION_FAST:
            cli->fast = true;
            break;
        case OPTION_WAIT:
            cli->wait = true;
            break;
        case OPTION_VERSION:
            version = true;
            break;
        case OPTION_HELP:
        case 'h':
            *help = true;
            break;
        default:
            return false;
        }
    }
    *name = optind < argc ? argv[optind++] : version ? "version" : NULL;
    cli->word = optind < argc ? argv[optind++] : NULL;
    if (optind < argc)
        cli_error("one argument too many: \"%s\"", argv[optind]);
    return optind == argc;
}

static bool arguments_fit(const struct cli *cli, const struct command *command)
{
    bool takes_word = command->arguments[0] == '[' && command->arguments[1] != '-';

    if (cli->word != NULL && !takes_word)
        cli_error("%s takes no argument: \"%s\"", command->name, cli->word);
    else if (cli->word != NULL && cli->word[0] == '\0')
        cli_error("%s: the argument is empty", command->name);
    else if ((cli->fast || cli->wait) && !takes_shutdown_options(command))
        cli_error("--%s belongs to shutdown, not to %s", cli->fast ? "fast" : "wait", command->name);
    else
        return true;
    return false;
}

/* A full disk or a closed pipe must not look like success. */
static enum cli_exit written(enum cli_exit exit_code)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return exit_code;
    cli_error("cannot write the output: %s", strerror(errno));
    return CLI_FAILED;
}

static enum cli_exit run(const struct cli *cli, const struct command *command)
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

int main(int argc, char **argv)
{
    struct cli cli = {.format = &cli_format_table, .timeout_ms = CLI_TIMEOUT_DEFAULT_MS};
    const struct command *command;
    const char *name = NULL;
    bool help = false;

    if (!parse(argc, argv, &cli, &name, &help))
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
    if (!arguments_fit(&cli, command))
        return CLI_USAGE;
    if (cli.runtime_dir == NULL)
        cli.runtime_dir = getenv("PGLEND_RUNTIME_DIR");
    if (cli.runtime_dir == NULL || cli.runtime_dir[0] == '\0')
        cli.runtime_dir = "/run/pglend";
    return run(&cli, command);
}
