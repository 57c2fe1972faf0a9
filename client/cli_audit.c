/* SPDX-License-Identifier: ISC */
/*
 * cli_audit.c - pglend audit: which of its commands, with what.
 *
 * A command is a row, and an option is a row that names the commands it belongs to, so that none is taken and
 * ignored. The exit status is verify's own; the others keep to pglend's.
 */
#include "cli_audit.h"
#include "admin.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    const char *usage;
    const char *help;
    int misused; /* exit status */
    int (*run)(const struct cli_audit *a);
} commands[] = {
    {"init", "[--fips] [--key-out FILE] [DIRECTORY]", "Make the keys of a new trail; give out the verification key.",
     CLI_USAGE, cli_audit_init},
    {"verify", "--key FILE [--anchor SEQ:HASH ...] [--begin SEQ:HASH] [--json] [DIRECTORY]",
     "Is the trail as it was written? Exit status: 0 intact, 1 altered, 2 shorter than an anchor, 3 torn by a crash "
     "only, 4 cannot tell.",
     AUDIT_UNKNOWN, cli_audit_verify}, /* usage has another's number here */
    {"report", "[--by actor|uid|pool|time] [--since T] [--until T] [--csv|--json] [DIRECTORY]",
     "Who had connections, how often, how long; by time: every record.", CLI_USAGE, cli_audit_report},
    {"tail", "[-n LINES] [-f] [DIRECTORY]", "The last records as they are written; -f: and those that follow.",
     CLI_USAGE, cli_audit_tail},
    {"head", "[--json] [DIRECTORY]", "The last record as an anchor, SEQ:HASH, to be kept elsewhere.", CLI_USAGE,
     cli_audit_head},
};
#define COMMANDS (sizeof commands / sizeof commands[0])

enum audit_command { INIT = 1, VERIFY = 2, REPORT = 4, TAIL = 8, HEAD = 16, ANY = 31 };

static bool set_json(struct cli_audit *a, const char *value)
{
    (void)value;
    a->format = &cli_format_json;
    return true;
}

static bool set_csv(struct cli_audit *a, const char *value)
{
    (void)value;
    a->format = &cli_format_csv;
    return true;
}

static bool set_key(struct cli_audit *a, const char *value)
{
    a->key = value;
    return true;
}

static bool set_key_out(struct cli_audit *a, const char *value)
{
    a->key_out = value;
    return true;
}

static bool bad_anchor(const char *option, const char *value)
{
    cli_error("--%s %s: write SEQ:HASH, a record's number and 64 hexadecimal digits, as pglend audit head prints it",
              option, value);
    return false;
}

static bool set_anchor(struct cli_audit *a, const char *value)
{
    if (a->anchors == ANCHORS_MAX) {
        cli_error("--anchor: at most %d of them", ANCHORS_MAX);
        return false;
    }
    return audit_anchor_parse(value, &a->anchor[a->anchors++]) || bad_anchor("anchor", value);
}

static bool set_begin(struct cli_audit *a, const char *value)
{
    a->has_begin = audit_anchor_parse(value, &a->begin);
    return a->has_begin || bad_anchor("begin", value);
}

static bool set_by(struct cli_audit *a, const char *value)
{
    a->by = value;
    return true;
}

static bool set_since(struct cli_audit *a, const char *value)
{
    a->since = value;
    return true;
}

static bool set_until(struct cli_audit *a, const char *value)
{
    a->until = value;
    return true;
}

static bool set_fips(struct cli_audit *a, const char *value)
{
    (void)value;
    a->fips = true;
    return true;
}

static bool set_follow(struct cli_audit *a, const char *value)
{
    (void)value;
    a->follow = true;
    return true;
}

static bool set_lines(struct cli_audit *a, const char *value)
{
    char *end;

    errno = 0;
    a->lines = strtol(value, &end, 10);
    if (end != value && *end == '\0' && errno == 0 && a->lines >= 0 && a->lines <= 1000000)
        return true;
    cli_error("-n %s: give a number of lines from 0 to 1000000", value);
    return false;
}

static const struct {
    const char *name;
    int letter; /* 0: it has none */
    int argument;
    unsigned commands;
    bool (*set)(struct cli_audit *a, const char *value);
} options[] = {
    {"json", 0, no_argument, VERIFY | REPORT | HEAD, set_json},
    {"csv", 0, no_argument, REPORT, set_csv},
    {"key", 0, required_argument, VERIFY, set_key},
    {"anchor", 0, required_argument, VERIFY, set_anchor},
    {"begin", 0, required_argument, VERIFY, set_begin},
    {"fips", 0, no_argument, INIT, set_fips},
    {"key-out", 0, required_argument, INIT, set_key_out},
    {"by", 0, required_argument, REPORT, set_by},
    {"since", 0, required_argument, REPORT, set_since},
    {"until", 0, required_argument, REPORT, set_until},
    {"follow", 'f', no_argument, TAIL, set_follow},
    {"lines", 'n', required_argument, TAIL, set_lines},
};
#define OPTIONS     (sizeof options / sizeof options[0])
#define OPTION_BASE 256
#define OPTION_HELP (OPTION_BASE + (int)OPTIONS)

static int print_usage(FILE *out)
{
    fprintf(out, "usage: pglend audit COMMAND [OPTION ...] [DIRECTORY]\n\nCommands:\n");
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "  %s %s\n      %s\n", commands[i].name, commands[i].usage, commands[i].help);
    fprintf(out, "\nDIRECTORY is the trail's, by default %s; pglend-audit(5) tells what is in it.\n",
            AUDIT_DIRECTORY_DEFAULT);
    return out == stdout ? CLI_OK : CLI_USAGE;
}

void cli_audit_print_words(FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++)
        fprintf(out, "%s ", commands[i].name);
    for (size_t i = 0; i < OPTIONS; i++)
        fprintf(out, "--%s ", options[i].name);
    fputs("--help", out);
}

static bool set_option(struct cli_audit *a, size_t command, int option)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (option != OPTION_BASE + (int)i && (options[i].letter == 0 || option != options[i].letter))
            continue;
        if ((options[i].commands & (1U << command)) != 0)
            return options[i].set(a, optarg);
        cli_error("audit %s takes no --%s; pglend audit --help tells what it takes", commands[command].name,
                  options[i].name);
        return false;
    }
    return false;
}

/* The words behind the command. 1: go on; else an exit status, negated. */
static int parse(int argc, char **argv, size_t command, struct cli_audit *a)
{
    static char program[] = "pglend audit"; /* in what getopt_long() says */
    struct option rows[OPTIONS + 2] = {[OPTIONS] = {"help", no_argument, NULL, OPTION_HELP}};
    int option;

    argv[0] = program;
    for (size_t i = 0; i < OPTIONS; i++)
        rows[i] = (struct option){options[i].name, options[i].argument, NULL, OPTION_BASE + (int)i};
    while ((option = getopt_long(argc, argv, "fn:h", rows, NULL)) != -1) {
        if (option == OPTION_HELP || option == 'h')
            return -print_usage(stdout);
        if (option == '?')
            fputs("Try pglend audit --help.\n", stderr);
        if (option == '?' || !set_option(a, command, option))
            return -commands[command].misused;
    }
    if (optind < argc)
        a->directory = argv[optind++];
    if (optind < argc || a->directory[0] == '\0') {
        cli_error("audit %s: one directory, not \"%s\"", commands[command].name, optind < argc ? argv[optind] : "");
        return -commands[command].misused;
    }
    return 1;
}

static size_t find_command(const char *name)
{
    struct nearest nearest = {.word = name};

    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0)
            return i;
        nearest_consider(&nearest, commands[i].name);
    }
    if (nearest.best != NULL)
        cli_error("unknown audit command \"%s\"; did you mean \"%s\"?", name, nearest.best);
    else
        cli_error("unknown audit command \"%s\"; pglend audit --help lists them", name);
    return COMMANDS;
}

int cli_audit(int argc, char **argv)
{
    struct cli_audit a = {.directory = AUDIT_DIRECTORY_DEFAULT, .format = &cli_format_table, .lines = 10};
    size_t command;
    int status;

    if (argc < 2)
        return print_usage(stderr);
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return print_usage(stdout);
    command = find_command(argv[1]);
    if (command == COMMANDS)
        return CLI_USAGE;
    status = parse(argc - 1, argv + 1, command, &a);
    if (status <= 0)
        return -status;
    status = commands[command].run(&a);
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    cli_error("cannot write the output: %s", strerror(errno));
    return CLI_FAILED;
}
