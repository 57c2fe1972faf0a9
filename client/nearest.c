/* SPDX-License-Identifier: ISC */
/*
 * nearest.c - find the name that somebody may have meant.
 *
 * Edit distance with swapped neighbours as one edit, over short words only: anything longer than a name can be is
 * not a typing mistake, and the rows on the stack stay small.
 */
#include "admin.h"
#include <stdbool.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX 63

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that make A into B; each at most WORD_MAX long. */
static size_t edits(const char *a, const char *b)
{
    size_t row[3][WORD_MAX + 1];
    size_t length = strlen(b);
    size_t *before = row[0], *above = row[1], *here = row[2];

    for (size_t j = 0; j <= length; j++)
        here[j] = j;
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        size_t *free_row = before;

        before = above;
        above = here;
        here = free_row;
        here[0] = i;
        for (size_t j = 1; j <= length; j++) {
            here[j] = least(above[j], here[j - 1]) + 1;
            here[j] = least(here[j], above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                here[j] = least(here[j], before[j - 2] + 1);
        }
    }
    return here[length];
}

void nearest_consider(struct nearest *n, const char *candidate)
{
    size_t length = strlen(n->word);
    size_t distance;

    if (length == 0 || length > WORD_MAX || strlen(candidate) > WORD_MAX)
        return;
    bool beginning = length >= 2 && strncasecmp(n->word, candidate, length) == 0;
    distance = beginning ? 0 : edits(n->word, candidate);
    if (distance > length / 3 + 1 || distance >= strlen(candidate) || (n->best != NULL && distance >= n->distance))
        return;
    n->best = candidate;
    n->distance = distance;
}
