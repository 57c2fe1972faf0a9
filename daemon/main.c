/* SPDX-License-Identifier: ISC */
/*
 * main.c - which process this is, options, going into the background.
 *
 * One program is all of pglendd's processes; its title, argv[0], tells which. A person starts it by any other name:
 * then the options count, and once the configuration is found good the program is executed anew as the keeper, so
 * that ps shows what each process is and none carries what another once had in memory.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pglend.h"

#define TITLE          "pglendd: "
#define KEEPER_TITLE   TITLE "keeper"
#define EXIT_USAGE     2
#define READY_BOUND_MS 60000

/* Processes the keeper starts, by the first word of their title. */
static const struct {
    const char *name;
    int (*main)(void);
} roles[] = {
    {"supervisor", supervisor_main}, {"login", login_main},       {"cancel", cancel_main},
    {"config", reload_main},         {"password", password_main}, {"audit", audit_main},
};

static const char usage[] = "usage: pglendd [-c FILE] [--foreground]\n"
                            "       pglendd [-c FILE] --check-config | --print-config\n"
                            "       pglendd --print-schema | --print-manual | --help | --version\n"
                            "\n"
                            "Lends PostgreSQL connections to worker processes.\n"
                            "\n"
                            "  -c, --config FILE   configuration; default " CONFIG_DEFAULT_PATH "\n"
                            "  --foreground        do not go into the background\n"
                            "  --check-config      check the configuration and exit\n"
                            "  --print-config      print the configuration normalised, every key with its value\n"
                            "  --print-schema      print the JSON schema of the configuration\n"
                            "  --print-manual      print the keys as mdoc list items\n"
                            "\n"
                            "Exit status: 0 well, 1 it could not start or go on, 2 wrong usage or configuration.\n";

static int show_help(const char *path)
{
    (void)path;
    return fputs(usage, stdout) == EOF;
}

static int show_version(const char *path)
{
    (void)path;
    return puts("pglendd " PGLEND_VERSION) == EOF;
}

static int show_schema(const char *path)
{
    json_t *schema = config_schema();
    int status = schema == NULL ? -1 : json_dumpf(schema, stdout, JSON_INDENT(2));

    (void)path;
    json_decref(schema);
    return status == -1 || puts("") == EOF;
}

static int show_manual(const char *path)
{
    (void)path;
    config_print_manual(stdout);
    return ferror(stdout) != 0;
}

static struct config *load(const char *path)
{
    char error[CONFIG_ERROR_MAX];
    struct config *config = config_load(path, error);

    if (config == NULL) {
        (void)fprintf(stderr, "pglendd: %s\n", error);
        exit(EXIT_USAGE);
    }
    return config;
}

static int show_config(const char *path)
{
    struct config *config = load(path);
    json_t *json = config_json(config);
    int status = json == NULL ? -1 : json_dumpf(json, stdout, JSON_INDENT(2));

    json_decref(json);
    config_free(config);
    return status == -1 || puts("") == EOF;
}

static int check_config(const char *path)
{
    struct config *config = load(path);

    for (size_t i = 0; i < config->pools; i++)
        if (*config->pool[i].init_query != '\0' && strcasestr(config->pool[i].init_query, "set ") != NULL &&
            config->pool[i].reset == RESET_FULL)
            (void)fprintf(
                stderr,
                "%s: warning: what init_query of pool \"%s\" SETs, the first reset (DISCARD ALL) undoes; write "
                "it into \"database\": {\"settings\": {...}}\n",
                path, config->pool[i].name);
    if (config->profile == PROFILE_REGULATED)
        config_profile_explain(stdout);
    config_free(config);
    return printf("%s: good\n", path) < 0;
}

/* Options that do one thing and end; the option's value is its row. */
static const struct {
    const char *name;
    int (*act)(const char *path);
} actions[] = {
    {"help", show_help},           {"version", show_version},     {"check-config", check_config},
    {"print-config", show_config}, {"print-schema", show_schema}, {"print-manual", show_manual},
};
#define ACTIONS    (sizeof actions / sizeof actions[0])
#define NO_ACTION  ACTIONS
#define FOREGROUND (ACTIONS + 1)

struct choice {
    const char *path;
    bool foreground;
    size_t action;
};

static void parse_options(int argc, char **argv, struct choice *choice)
{
    struct option options[ACTIONS + 3] = {
        [ACTIONS] = {"config", required_argument, NULL, 'c'},
        [ACTIONS + 1] = {"foreground", no_argument, NULL, 256 + FOREGROUND},
    };
    int option;

    for (size_t i = 0; i < ACTIONS; i++)
        options[i] = (struct option){actions[i].name, no_argument, NULL, 256 + (int)i};
    *choice = (struct choice){.path = CONFIG_DEFAULT_PATH, .action = NO_ACTION};
    while ((option = getopt_long(argc, argv, "c:", options, NULL)) != -1) {
        if (option == 'c')
            choice->path = optarg;
        else if (option == 256 + FOREGROUND)
            choice->foreground = true;
        else if (option >= 256 && option < 256 + (int)ACTIONS)
            choice->action = (size_t)(option - 256);
        else
            goto wrong;
    }
    if (optind == argc)
        return;
    (void)fprintf(stderr, "pglendd: unexpected argument \"%s\"\n", argv[optind]);

wrong:
    (void)fputs("Try pglendd --help.\n", stderr);
    exit(EXIT_USAGE);
}

/* ---- becoming the keeper ---- */

/* The keeper re-reads the file at reload, from another directory than this. */
static char *absolute(const char *path)
{
    char *here, *whole = NULL;

    if (*path == '/')
        return strdup(path);
    here = getcwd(NULL, 0);
    if (here != NULL && asprintf(&whole, "%s/%s", here, path) == -1)
        whole = NULL;
    free(here);
    return whole;
}

/* READY becomes descriptor 3: where the keeper says that it serves. Nothing else is inherited. */
static _Noreturn void become_keeper(const char *path, int ready)
{
    char title[] = KEEPER_TITLE, option[] = "-c", *file = absolute(path);
    char *arguments[] = {title, option, file, NULL};

    if (file == NULL)
        fatal(1, "cannot tell the configuration's absolute path: %s", strerror(errno));
    if ((ready != CHANNEL_FD && dup2(ready, CHANNEL_FD) == -1) || close_range(CHANNEL_FD + 1, ~0U, 0) == -1)
        fatal(1, "cannot arrange descriptors: %s", strerror(errno));
    (void)execv("/proc/self/exe", arguments);
    fatal(1, "cannot execute /proc/self/exe: %s (is /proc mounted?)", strerror(errno));
}

static void redirect(int from, int flags)
{
    int fd = open("/dev/null", flags);

    if (fd == -1 || dup2(fd, from) == -1)
        fatal(1, "cannot open /dev/null: %s", strerror(errno));
    if (fd != from)
        (void)close(fd);
}

/* Wait until the daemon serves or has failed, which it has said why. */
static int wait_until_ready(pid_t pid, int ready)
{
    struct pollfd p = {.fd = ready, .events = POLLIN};
    int status = 0;
    char byte;

    if (poll(&p, 1, READY_BOUND_MS) != 1) {
        (void)fprintf(stderr, "pglendd: not ready after %d s: given up\n", READY_BOUND_MS / 1000);
        (void)kill(pid, SIGTERM);
        return 1;
    }
    if (read(ready, &byte, 1) == 1)
        return 0;
    if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) != 0)
        return WEXITSTATUS(status);
    return 1;
}

/* The parent returns with the daemon's fate; the daemon itself does not return. */
static int start_in_background(const char *path)
{
    int ready[2];
    pid_t pid;

    if (pipe(ready) == -1 || (pid = fork()) == -1)
        fatal(1, "cannot go into the background: %s", strerror(errno));
    if (pid != 0) {
        (void)close(ready[1]);
        return wait_until_ready(pid, ready[0]);
    }
    if (setsid() == -1)
        fatal(1, "cannot leave the terminal: %s", strerror(errno));
    redirect(STDIN_FILENO, O_RDONLY);
    redirect(STDOUT_FILENO, O_WRONLY);
    become_keeper(path, ready[1]);
}

static _Noreturn void start_in_foreground(const char *path)
{
    int nobody_waits = open("/dev/null", O_WRONLY);

    if (nobody_waits == -1)
        fatal(1, "cannot open /dev/null: %s", strerror(errno));
    become_keeper(path, nobody_waits);
}

/* As the keeper: arguments are its own, written by become_keeper(). */
static int run_keeper(int argc, char **argv)
{
    struct config *config;

    if (argc != 3)
        fatal(EXIT_USAGE, "the keeper is started by pglendd itself: run pglendd");
    config = load(argv[2]);
    if (chdir("/") == -1)
        fatal(1, "cannot go to /: %s", strerror(errno));
    return keeper_main(config);
}

/* As one of the keeper's children, whose title after TITLE is NAME. */
static int run_role(const char *name)
{
    size_t length = strcspn(name, " ");
    struct stat st;

    if (fstat(CHANNEL_FD, &st) == -1 || !S_ISSOCK(st.st_mode))
        fatal(EXIT_USAGE, "\"%s%s\" has no channel to a keeper on descriptor %d: run pglendd itself", TITLE, name,
              CHANNEL_FD);
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++)
        if (strlen(roles[i].name) == length && strncmp(name, roles[i].name, length) == 0)
            return roles[i].main();
    fatal(EXIT_USAGE, "there is no process \"%s%s\"", TITLE, name);
}

/* Descriptors 0 to 2 must be something: else a socket may take their place, and be written to. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1)
            redirect(fd, O_RDWR);
}

int main(int argc, char **argv)
{
    struct choice choice;

    (void)prctl(PR_SET_NAME, "pglendd", 0, 0, 0);
    fill_standard_descriptors();
    if (argc > 0 && strcmp(argv[0], KEEPER_TITLE) == 0)
        return run_keeper(argc, argv);
    if (argc > 0 && strncmp(argv[0], TITLE, sizeof TITLE - 1) == 0)
        return run_role(argv[0] + sizeof TITLE - 1);
    parse_options(argc, argv, &choice);
    if (choice.action != NO_ACTION)
        return actions[choice.action].act(choice.path);
    config_free(load(choice.path));
    if (choice.foreground)
        start_in_foreground(choice.path);
    return start_in_background(choice.path);
}
