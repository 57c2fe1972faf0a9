/* SPDX-License-Identifier: ISC */
/*
 * manual_test.c - what the manual pages list is what the tables have.
 */
#include "close_reason.h"

#include "harness.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The page's lines in section NAME, one by one: false at its end. */
static bool next_line(FILE *page, const char *name, bool *inside, char *line, size_t size)
{
    while (fgets(line, (int)size, page) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, ".Sh ", 4) == 0) {
            if (*inside)
                return false;
            *inside = strcmp(line + 4, name) == 0;
        } else if (*inside) {
            return true;
        }
    }
    return false;
}

static FILE *page_open(const char *path)
{
    const char *source = getenv("PGLEND_SOURCE");
    char full[512];
    FILE *page;

    (void)snprintf(full, sizeof full, "%s/%s", source != NULL ? source : ".", path);
    page = fopen(full, "re");
    ck_assert_msg(page != NULL, "cannot open %s", full);
    return page;
}

START_TEST(reasons_of_closing)
{
    unsigned found[CLOSE_REASONS] = {0};
    char line[256];
    bool inside = false;
    FILE *page = page_open("daemon/pglendd.8");

    while (next_line(page, "WHY A SESSION ENDS", &inside, line, sizeof line)) {
        char *rest = line + 4;

        if (strncmp(line, ".It ", 4) != 0)
            continue;
        while (rest != NULL) {
            char *end = strstr(rest, " , ");
            int reason = CLOSE_NONE + 1;

            if (end != NULL)
                *end = '\0';
            while (reason < CLOSE_REASONS && strcmp(close_reasons[reason].text, rest) != 0)
                reason++;
            ck_assert_msg(reason < CLOSE_REASONS, "pglendd(8) has \"%s\", which no session is closed for", rest);
            found[reason]++;
            rest = end == NULL ? NULL : end + 3;
        }
    }
    (void)fclose(page);
    for (int i = CLOSE_NONE + 1; i < CLOSE_REASONS; i++) {
        ck_assert_ptr_nonnull(close_reasons[i].text);
        ck_assert_msg(found[i] == 1, "pglendd(8) lists \"%s\" %u times", close_reasons[i].text, found[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manual");
    TCase *tc = harness_case(suite, "lists", 10);

    tcase_add_test(tc, reasons_of_closing);
    return harness_main(suite);
}
