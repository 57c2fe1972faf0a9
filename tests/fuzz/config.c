/* SPDX-License-Identifier: ISC */
/*
 * config.c - the configuration. What is refused has a message; what is taken is, printed and parsed again, itself.
 */
#include "config.h"
#include "stand.h"

#include <stdlib.h>
#include <string.h>

static void say_nothing(void *context, const char *path, const char *old, const char *new, const char *takes)
{
    (void)path;
    (void)old;
    (void)new;
    (void)takes;
    ++*(unsigned *)context;
}

static char *printed(const struct config *config)
{
    json_t *json = config_json(config);
    char *text = json_dumps(json, JSON_INDENT(2));

    fuzz_require(text != NULL);
    json_decref(json);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char error[CONFIG_ERROR_MAX] = "", *text, *again;
    struct config *config = config_parse("fuzz.json", (const char *)data, size, error), *same;
    unsigned changes = 0;

    fuzz_require(memchr(error, '\0', sizeof error) != NULL);
    if (config == NULL) {
        fuzz_require(error[0] != '\0');
        return 0;
    }
    text = printed(config);
    same = config_parse("printed.json", text, strlen(text), error);
    if (same == NULL)
        (void)fprintf(stderr, "%s\n", error);
    fuzz_require(same != NULL);
    again = printed(same);
    fuzz_require(strcmp(text, again) == 0);
    config_compare(config, same, say_nothing, &changes);
    fuzz_require(changes == 0);
    for (size_t i = 0; i < config->pools; i++)
        (void)config_sslmode(&config->pool[i].database);
    free(text);
    free(again);
    config_free(config);
    config_free(same);
    return 0;
}
