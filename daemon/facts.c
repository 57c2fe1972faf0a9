/* SPDX-License-Identifier: ISC */
/*
 * facts.c - the start-up facts of a session, NAME=VALUE lines in a message's text (message.h), written and read.
 *
 * The hard thing: values are the server's, so what would end a line is escaped; and a line that is taken out leaves
 * nothing of itself in the memory that it stood in.
 */
#include "daemon.h"

#include <stdlib.h>
#include <string.h>

bool fact_add(struct message *m, const char *name, const char *value)
{
    size_t at = m->length;

    if (value == NULL)
        return true;
    if (at + strlen(name) + 2 * strlen(value) + 3 > MESSAGE_TEXT_MAX)
        return false;
    at += (size_t)snprintf(m->text + at, MESSAGE_TEXT_MAX - at, "%s=", name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '\n')
            m->text[at++] = '\\';
        m->text[at++] = *value == '\n' ? 'n' : *value;
    }
    m->text[at++] = '\n';
    m->text[at] = '\0';
    m->length = (uint32_t)at;
    return true;
}

/* The line of NAME; NULL if there is none. */
static const char *find(const char *facts, const char *name)
{
    size_t length = strlen(name);

    for (const char *line = facts; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, length) == 0 && line[length] == '=')
            return line;
    }
    return NULL;
}

const char *fact_value(const char *facts, const char *name, char *value, size_t size)
{
    const char *c = facts == NULL ? NULL : find(facts, name);
    size_t at = 0;

    if (c == NULL)
        return NULL;
    for (c += strlen(name) + 1; *c != '\0' && *c != '\n' && at + 1 < size; c++) {
        bool escaped = *c == '\\' && c[1] != '\0';

        c += escaped;
        value[at++] = escaped && *c == 'n' ? '\n' : *c;
    }
    value[at] = '\0';
    return value;
}

char *fact_take(char *facts, const char *name)
{
    char *line = (char *)find(facts, name), *end, *value;
    size_t length, rest;

    if (line == NULL)
        return NULL;
    end = strchrnul(line, '\n');
    end += *end == '\n';
    length = (size_t)(end - line);
    rest = strlen(end);
    value = malloc(length);
    if (value != NULL)
        (void)fact_value(line, name, value, length);
    memmove(line, end, rest);
    explicit_bzero(line + rest, length);
    return value;
}
