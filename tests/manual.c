/* SPDX-License-Identifier: ISC */
#include "manual.h"

#include "harness.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *manual_file(const char *path)
{
    const char *source = getenv("PGLEND_SOURCE");
    char full[512], *text = calloc(1, 1 << 17);
    FILE *f;

    ck_assert_ptr_nonnull(text);
    (void)snprintf(full, sizeof full, "%s/%s", source != NULL ? source : ".", path);
    ck_assert_msg((f = fopen(full, "re")) != NULL, "cannot open %s", full);
    ck_assert_uint_lt(fread(text, 1, 1 << 17, f), 1 << 17);
    (void)fclose(f);
    return text;
}

char *manual_section(const char *path, const char *heading)
{
    char line[128], *text = manual_file(path), *begin, *section, *end;

    (void)snprintf(line, sizeof line, "\n%s\n", heading);
    ck_assert_msg((begin = strstr(text, line)) != NULL, "%s has no %s", path, heading);
    begin += strlen(line) - 1;
    if ((end = strstr(begin, "\n.Sh ")) != NULL)
        *end = '\0';
    if (strncmp(heading, ".Ss", 3) == 0 && (end = strstr(begin, "\n.Ss ")) != NULL)
        *end = '\0';
    ck_assert_ptr_nonnull(section = strdup(begin));
    free(text);
    return section;
}

bool manual_has(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        if ((at == text || !(isalnum((unsigned char)at[-1]) || at[-1] == '_')) &&
            !(isalnum((unsigned char)at[length]) || at[length] == '_'))
            return true;
    return false;
}

char *manual_item(const char *section, const char *word)
{
    for (const char *at = section; (at = strstr(at, "\n.It ")) != NULL; at++) {
        const char *next = strstr(at + 1, "\n.It ");
        char *item = next != NULL ? strndup(at + 1, (size_t)(next - at)) : strdup(at + 1), *end;

        ck_assert_ptr_nonnull(item);
        ck_assert_ptr_nonnull(end = strchr(item, '\n'));
        *end = '\0';
        if (manual_has(item, word)) {
            *end = '\n';
            return item;
        }
        free(item);
    }
    return NULL;
}
