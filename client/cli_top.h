/* SPDX-License-Identifier: ISC */
/*
 * cli_top.h - pglend top: the terminal (cli_top.c) and what is drawn on it (cli_top_draw.c).
 */
#ifndef PGLEND_CLI_TOP_H
#define PGLEND_CLI_TOP_H

#include "cli.h"

/* The supervisor's answers of one look; each NULL until there is one. */
struct top_look {
    json_t *status, *pools, *slots, *workers, *waiters;
    char trouble[CLI_MESSAGE_MAX]; /* why the newest look failed; "": it did not */
};

/* LOOK as a frame of ROWS lines of COLUMNS characters at most, with the terminal's sequences. */
void top_draw(FILE *out, const struct cli *cli, const struct top_look *look, unsigned rows, unsigned columns);

#endif
