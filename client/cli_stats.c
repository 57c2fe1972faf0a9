/* SPDX-License-Identifier: ISC */
/*
 * cli_stats.c - what the supervisor says of each pool now and what was counted of it, as one object each.
 *
 * They come by two requests, so a moment lies between them; a pool that only one of them names is left out.
 */
#include "cli.h"

#include <string.h>

static json_t *merged(const json_t *pools, const json_t *stats)
{
    json_t *result = json_array(), *counted, *pool, *both;
    size_t i, k;

    json_array_foreach(stats, i, counted) json_array_foreach(pools, k, pool)
    {
        const char *state = json_string_value(json_object_get(pool, "state"));

        if (!json_equal(json_object_get(pool, "name"), json_object_get(counted, "pool")))
            continue;
        both = json_copy(counted);
        (void)json_object_update(both, pool);
        (void)json_object_set_new(both, "database_up",
                                  json_boolean(state != NULL && strcmp(state, "unavailable") != 0));
        (void)json_array_append_new(result, both);
    }
    return result;
}

enum cli_exit cli_pools_and_stats(const struct cli *cli, json_t **result, char message[CLI_MESSAGE_MAX])
{
    json_t *pools = NULL, *stats = NULL;
    enum cli_exit exit_code = cli_request(cli, "pools", cli->args, &pools, message);

    *result = NULL;
    if (exit_code == CLI_OK)
        exit_code = cli_request(cli, "stats", cli->args, &stats, message);
    if (exit_code == CLI_OK)
        *result = merged(pools, stats);
    json_decref(pools);
    json_decref(stats);
    return exit_code;
}
