/* SPDX-License-Identifier: ISC */
/*
 * cli_complete.c - completion of the command line: a script for bash, made from the rows that help is made from.
 *
 * Names of pools are the only words that are not in it: for those the shell asks the supervisor. It expands what it
 * completes from, so nothing passes that is not in a pool's name.
 */
#include "cli.h"

#include <string.h>

static const char begin[] = "# Completion of pglend's command line in bash, as pglend completion prints it.\n"
                            "_pglend()\n"
                            "{\n"
                            "    local i words pools= command= word=${COMP_WORDS[COMP_CWORD]}\n"
                            "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                            "        case ${COMP_WORDS[i]} in\n"
                            "        --runtime-dir | --timeout) ((i++)) ;;\n"
                            "        -*) ;;\n"
                            "        *) command=${COMP_WORDS[i]} && break ;;\n"
                            "        esac\n"
                            "    done\n"
                            "    case $command in\n";

static const char end[] =
    "    *) words= ;;\n"
    "    esac\n"
    "    [[ -z $pools ]] || words+=\" $(\"${COMP_WORDS[0]}\" --timeout 1 --json pools 2>/dev/null |\n"
    "        sed -n 's/^    \"name\": \"\\([A-Za-z0-9_.-]*\\)\",$/\\1/p')\"\n"
    "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\")\n"
    "}\n"
    "complete -F _pglend pglend\n";

static void put_names(FILE *out, const struct cli_command *command, size_t commands)
{
    for (size_t i = 0; i < commands; i++)
        fprintf(out, "%s ", command[i].name);
}

void cli_complete(FILE *out, const struct cli_command *command, size_t commands)
{
    fputs(begin, out);
    fputs("    '') words='", out);
    put_names(out, command, commands);
    cli_print_option_names(out, NULL);
    fputs("' ;;\n", out);
    for (size_t i = 0; i < commands; i++) {
        bool pools = strncmp(command[i].args, "pool", 4) == 0;

        fprintf(out, "    %s) %swords='", command[i].name, pools ? "pools=1 " : "");
        if (strcmp(command[i].args, "command") == 0)
            put_names(out, command, commands);
        if (strcmp(command[i].name, "audit") == 0)
            cli_audit_print_words(out);
        else if (strcmp(command[i].args, "words") == 0)
            fputs("--help", out);
        else
            cli_print_option_names(out, &command[i]);
        fputs("' ;;\n", out);
    }
    fputs(end, out);
}
