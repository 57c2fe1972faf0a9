/* SPDX-License-Identifier: ISC */
/*
 * cli_words.c - the words of the command line: options that every command takes, and those of one.
 *
 * A command's options are its arguments by other names: a row says which argument an option sets, and whether the
 * command has that argument decides whether it takes the option.
 */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;     /* --name */
    const char *argument; /* that it sets */
    const char *value;    /* to this; NULL: to the word that follows */
    const char *shown;    /* in the help */
    const char *help;
} options[] = {
    {"keep", "keep", "yes", "--keep", "hold the idle sessions, do not close them"},
    {"idle", "idle", "yes", "--idle", "only those that are idle now"},
    {"over", "over", NULL, "--over 10m", "only those that logged in longer ago than this"},
    {"pid", "pid", NULL, "--pid PID", "what this process holds"},
    {"user", "user", NULL, "--user NAME", "what processes of this user hold"},
    {"min", "min", NULL, "--min N", "sessions that are always there"},
    {"max", "max", NULL, "--max N", "sessions at most"},
    {"fast", "mode", "fast", "--fast", "do not wait for leases that are out: take them back"},
    {"graceful", "mode", "graceful", "--graceful", "wait for leases that are out (the default)"},
    {"reason", "reason", NULL, "--reason TEXT", "why; it is recorded"},
    {"purpose", "purpose", NULL, "--purpose TEXT", "what it is for, in a pool with purposes (default: check)"},
    {"for", "for", NULL, "--for 1h", "how long it lasts, 24h at most"},
    {"end", "end", "yes", "--end", "end it now"},
    {"wait", "wait", "yes", "--wait", "return when it has come about (or after --timeout, if given)"},
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

enum general_option { GENERAL_RUNTIME_DIR = 256, GENERAL_JSON, GENERAL_TIMEOUT, GENERAL_HELP, GENERAL_VERSION };

static const struct option general[] = {
    {"runtime-dir", required_argument, NULL, GENERAL_RUNTIME_DIR},
    {"json", no_argument, NULL, GENERAL_JSON},
    {"timeout", required_argument, NULL, GENERAL_TIMEOUT},
    {"help", no_argument, NULL, GENERAL_HELP},
    {"version", no_argument, NULL, GENERAL_VERSION},
};

#define GENERALS (sizeof(general) / sizeof(general[0]))

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

static bool set_argument(struct cli *cli, const char *name, const char *value)
{
    if (json_object_set_new(cli->args, name, json_string(value)) == 0)
        return true;
    cli_error("\"%s\" is not UTF-8", value);
    return false;
}

static bool general_option(struct cli *cli, int option, bool *help, bool *version)
{
    switch ((enum general_option)option) {
    case GENERAL_RUNTIME_DIR:
        cli->runtime_dir = optarg;
        return true;
    case GENERAL_JSON:
        cli->format = &cli_format_json;
        return true;
    case GENERAL_TIMEOUT:
        return parse_timeout(cli, optarg);
    case GENERAL_HELP:
        *help = true;
        return true;
    case GENERAL_VERSION:
        *version = true;
        return true;
    }
    return false;
}

/* All words that are left, as argument "": whose they are is known when the command is. */
static bool take_words(struct cli *cli, int argc, char **argv)
{
    json_t *words = json_array();

    for (int i = optind; i < argc; i++)
        if (json_array_append_new(words, json_string(argv[i])) != 0) {
            cli_error("\"%s\" is not UTF-8", argv[i]);
            json_decref(words);
            return false;
        }
    return json_object_set_new(cli->args, "", words) == 0;
}

bool cli_parse(int argc, char **argv, struct cli *cli, const char **name, bool *help)
{
    static char program[] = "pglend"; /* in what getopt_long() says */
    struct option rows[GENERALS + OPTIONS + 1] = {{0}};
    bool version = false;
    int option;

    argv[0] = program;
    memcpy(rows, general, sizeof(general));
    for (size_t i = 0; i < OPTIONS; i++)
        rows[GENERALS + i] =
            (struct option){options[i].name, options[i].value == NULL ? required_argument : no_argument, NULL, (int)i};
    while ((option = getopt_long(argc, argv, "h", rows, NULL)) != -1) {
        if (option >= 0 && option < (int)OPTIONS) {
            if (!set_argument(cli, options[option].argument,
                              options[option].value != NULL ? options[option].value : optarg))
                return false;
        } else if (option == '?') {
            fputs("Try pglend --help, or pglend COMMAND --help.\n", stderr);
            return false;
        } else if (!general_option(cli, option == 'h' ? GENERAL_HELP : option, help, &version)) {
            return false;
        }
    }
    *name = optind < argc ? argv[optind++] : version ? "version" : NULL;
    return take_words(cli, argc, argv);
}

/* Is NAME one of the words of LIST? */
static bool has_name(const char *list, const char *name)
{
    size_t length = strlen(name);

    for (const char *at = list; at != NULL; at = (at = strchr(at, ' ')) != NULL ? at + 1 : NULL)
        if (strncmp(at, name, length) == 0 && (at[length] == '\0' || at[length] == ' '))
            return true;
    return false;
}

/* How many words that are no options the command takes: those stand last in its usage. */
static size_t most_words(const char *usage)
{
    const char *last = strrchr(usage, ' ');

    last = last != NULL ? last + 1 : usage;
    if (strncmp(last, "...", 3) == 0)
        return SIZE_MAX;
    return *last == '\0' || strncmp(last, "[-", 2) == 0 ? 0 : 1;
}

/* The words become the command's first argument. */
static bool place_words(struct cli *cli, const struct cli_command *command)
{
    size_t most = most_words(command->usage), i;
    json_t *words = json_object_get(cli->args, ""), *word;
    char name[32], text[4096] = "";

    if (json_array_size(words) > most) {
        const char *first = json_string_value(json_array_get(words, most));

        if (most == 0)
            cli_error("%s takes no argument: \"%s\"", command->name, first);
        else
            cli_error("one argument too many: \"%s\"", first);
        return false;
    }
    json_array_foreach(words, i, word)
    {
        size_t length = strlen(text);

        if (json_string_length(word) == 0) {
            cli_error("%s: the argument is empty", command->name);
            return false;
        }
        if (snprintf(text + length, sizeof(text) - length, "%s%s", i == 0 ? "" : " ", json_string_value(word)) >=
            (int)(sizeof(text) - length)) {
            cli_error("%s: more than %zu bytes of arguments; give fewer at a time", command->name, sizeof(text) - 1);
            return false;
        }
    }
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(command->args, " "), command->args);
    if (text[0] != '\0' && !set_argument(cli, name, text))
        return false;
    return json_object_del(cli->args, "") == 0;
}

/* The supervisor asks no directory service, so it gets the number. */
static bool resolve_user(struct cli *cli)
{
    const char *name = cli_argument(cli, "user");
    const struct passwd *account;
    char number[16];

    if (name == NULL || name[strspn(name, "0123456789")] == '\0')
        return true;
    account = getpwnam(name);
    if (account == NULL) {
        cli_error("--user %s: there is no such user here; give a name or a number", name);
        return false;
    }
    (void)snprintf(number, sizeof(number), "%u", (unsigned)account->pw_uid);
    return set_argument(cli, "user", number);
}

bool cli_arguments_fit(struct cli *cli, const struct cli_command *command)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *value = json_string_value(json_object_get(cli->args, options[i].argument));

        if (value == NULL || has_name(command->args, options[i].argument))
            continue;
        if (options[i].value == NULL || strcmp(options[i].value, value) == 0) {
            cli_error("%s takes no --%s; pglend help %s", command->name, options[i].name, command->name);
            return false;
        }
    }
    return resolve_user(cli) && place_words(cli, command);
}

void cli_print_options(FILE *out, const struct cli_command *command)
{
    bool any = false;

    for (size_t i = 0; i < OPTIONS; i++)
        if (has_name(command->args, options[i].argument)) {
            fprintf(out, "%s  %-18s  %s\n", any ? "" : "\n", options[i].shown, options[i].help);
            any = true;
        }
}

void cli_print_option_names(FILE *out, const struct cli_command *command)
{
    for (size_t i = 0; command != NULL && i < OPTIONS; i++)
        if (has_name(command->args, options[i].argument))
            fprintf(out, "--%s ", options[i].name);
    for (size_t i = 0; i < GENERALS; i++)
        fprintf(out, "--%s%s", general[i].name, i + 1 < GENERALS ? " " : "");
}

const char *cli_argument(const struct cli *cli, const char *name)
{
    return json_string_value(json_object_get(cli->args, name));
}
