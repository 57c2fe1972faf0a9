/* SPDX-License-Identifier: ISC */
/*
 * export.c - pglend-export: a process that asks the supervisor for its statistics and gives them to Prometheus.
 *
 * It is a program of its own so that neither the supervisor nor the command line has a network listener or the code of
 * one. It needs the role read and nothing else, and does not run as root.
 */
#include "export.h"
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ANSWER_MS 2000 /* Prometheus itself waits 10 s by default */

static const char usage[] =
    "usage: pglend export [--listen ADDRESS:PORT] [--runtime-dir DIR] [--user NAME]\n\n"
    "Serve the pools' statistics to Prometheus, at http://ADDRESS:PORT/metrics, until a signal.\n"
    "Needs the role read (\"admin\" in the configuration).\n\n"
    "Options:\n"
    "  --listen ADDRESS:PORT  numeric (default: 127.0.0.1:9632); port 0: any that is free\n"
    "  --runtime-dir DIR      the supervisor's directory (default: $PGLEND_RUNTIME_DIR, then /run/pglend)\n"
    "  --user NAME            become this user; needed when started as root\n";

struct options {
    const char *listen, *user;
    struct cli cli;
};

static char *ask(void *context)
{
    const struct options *o = context;
    char message[CLI_MESSAGE_MAX] = "";
    static bool told;
    json_t *status = NULL, *pools = NULL;
    enum cli_exit exit_code = cli_request(&o->cli, "status", NULL, &status, message);
    char *text;

    if (exit_code == CLI_OK)
        exit_code = cli_pools_and_stats(&o->cli, &pools, message);
    if (exit_code != CLI_OK && !told)
        cli_error("%s", message);
    told = exit_code != CLI_OK;
    text = export_text(status, pools);
    json_decref(status);
    json_decref(pools);
    return text;
}

/* Neither root nor able to become it again. */
static bool drop(const char *user)
{
    const struct passwd *account = user != NULL ? getpwnam(user) : NULL;

    if (user != NULL && account == NULL) {
        cli_error("--user %s: there is no such user here", user);
        return false;
    }
    if (account != NULL &&
        (initgroups(user, account->pw_gid) != 0 || setgid(account->pw_gid) != 0 || setuid(account->pw_uid) != 0)) {
        cli_error("--user %s: cannot become that user: %s", user, strerror(errno));
        return false;
    }
    if (geteuid() == 0) {
        cli_error("this does not run as root: give --user NAME, a user that has the role read");
        return false;
    }
    (void)prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return true;
}

static enum cli_exit serve(struct options *o)
{
    struct export_server *server;
    sigset_t ends;
    int number;

    if (!drop(o->user))
        return CLI_FAILED;
    (void)signal(SIGPIPE, SIG_IGN);
    /* Before the server's thread is there: it inherits the mask, and sigwait() below gets them all. */
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    server = export_listen(o->listen, ask, o);
    if (server == NULL)
        return CLI_FAILED;
    (void)sigwait(&ends, &number);
    export_close(server);
    return CLI_OK;
}

int main(int argc, char **argv)
{
    static const struct option rows[] = {{"listen", required_argument, NULL, 'l'},
                                         {"runtime-dir", required_argument, NULL, 'd'},
                                         {"user", required_argument, NULL, 'u'},
                                         {"help", no_argument, NULL, 'h'},
                                         {NULL, 0, NULL, 0}};
    struct options o = {.listen = "127.0.0.1:9632",
                        .cli = {.runtime_dir = getenv("PGLEND_RUNTIME_DIR"), .timeout_ms = ANSWER_MS}};
    static char program[] = "pglend export"; /* in what getopt_long() says */
    int option;

    argv[0] = program;
    while ((option = getopt_long(argc, argv, "h", rows, NULL)) != -1)
        switch (option) {
        case 'l':
            o.listen = optarg;
            break;
        case 'd':
            o.cli.runtime_dir = optarg;
            break;
        case 'u':
            o.user = optarg;
            break;
        case 'h':
            fputs(usage, stdout);
            return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
        default:
            fputs("Try pglend export --help.\n", stderr);
            return CLI_USAGE;
        }
    if (optind < argc) {
        cli_error("export takes no argument: \"%s\"", argv[optind]);
        return CLI_USAGE;
    }
    if (o.cli.runtime_dir == NULL || o.cli.runtime_dir[0] == '\0')
        o.cli.runtime_dir = "/run/pglend";
    return (int)serve(&o);
}
