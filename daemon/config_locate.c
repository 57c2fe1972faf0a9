/* SPDX-License-Identifier: ISC */
/*
 * config_locate.c - line and column of a key, for messages.
 *
 * Jansson keeps no positions, so the text is walked a second time, once somebody needs one. The text is JSON that
 * jansson took, which is why nothing is checked here but the end. Keys are compared as jansson decodes them: a key may
 * be written with escapes.
 */
#include "config_table.h"
#include <string.h>

struct walk {
    const char *at, *end;
};

static void skip_space(struct walk *w)
{
    while (w->at < w->end && strchr(" \t\r\n", *w->at) != NULL)
        w->at++;
}

/* From a quote to behind its partner. */
static void skip_string(struct walk *w)
{
    for (w->at++; w->at < w->end && *w->at != '"'; w->at++)
        if (*w->at == '\\')
            w->at++;
    if (w->at < w->end)
        w->at++;
    else
        w->at = w->end;
}

/* To the comma or bracket behind a value. */
static void skip_value(struct walk *w)
{
    int open = 0;

    while (w->at < w->end) {
        if (*w->at == '"') {
            skip_string(w);
            continue;
        }
        if (open == 0 && strchr(",]}", *w->at) != NULL)
            return;
        if (*w->at == '{' || *w->at == '[')
            open++;
        else if (*w->at == '}' || *w->at == ']')
            open--;
        w->at++;
    }
}

static bool key_is(const char *token, const char *end, const char *key)
{
    json_t *decoded = json_loadb(token, (size_t)(end - token), JSON_DECODE_ANY, NULL);
    bool same = json_is_string(decoded) && strcmp(json_string_value(decoded), key) == 0;

    json_decref(decoded);
    return same;
}

/* In the object at W: go to KEY's value and return where the key stands; NULL if it is not there. */
static const char *enter(struct walk *w, const char *key)
{
    skip_space(w);
    if (w->at >= w->end || *w->at != '{')
        return NULL;
    while (w->at < w->end && *w->at != '}') {
        w->at++;
        skip_space(w);
        if (w->at >= w->end || *w->at != '"')
            return NULL;
        const char *token = w->at;
        skip_string(w);
        bool found = key_is(token, w->at, key);
        skip_space(w);
        if (w->at < w->end)
            w->at++;
        if (found)
            return token;
        skip_value(w);
    }
    return NULL;
}

struct config_position config_locate(const char *text, size_t length, const char *const *keys, size_t depth)
{
    struct walk w = {text, text + length};
    struct config_position position = {1, 1};

    skip_space(&w);
    const char *found = w.at;
    for (size_t i = 0; i < depth; i++) {
        const char *key = enter(&w, keys[i]);

        if (key == NULL)
            break;
        found = key;
    }
    for (const char *c = text; c < found; c++) {
        if (*c == '\n')
            position = (struct config_position){position.line + 1, 1};
        else if (((unsigned char)*c & 0xc0) != 0x80)
            position.column++;
    }
    return position;
}
