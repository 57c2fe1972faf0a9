/* SPDX-License-Identifier: ISC */
/*
 * manual.h - the manual pages, for tests that hold them against what there is.
 */
#ifndef PGLEND_TESTS_MANUAL_H
#define PGLEND_TESTS_MANUAL_H

#include <stdbool.h>

/* The text of the file at PATH of the source. Caller frees. */
char *manual_file(const char *path);
/*
 * What the page at PATH of the source has between HEADING, a line such as ".Ss JSON", and the next heading like it or
 * above it. Caller frees.
 */
char *manual_section(const char *path, const char *heading);
/* The item of SECTION, a list, whose ".It" line has WORD; NULL: none. Caller frees. */
char *manual_item(const char *section, const char *word);
/* Does WORD stand in TEXT, and not in a longer one? */
bool manual_has(const char *text, const char *word);

#endif
