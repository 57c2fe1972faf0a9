/* SPDX-License-Identifier: ISC */
/*
 * audited.h - the audit trail of a private pglendd, and what stands in it.
 *
 * A case that uses it has audited_set_up() and audited_tear_down() as its fixture: each test has a new trail.
 */
#ifndef PGLEND_TESTS_AUDITED_H
#define PGLEND_TESTS_AUDITED_H

#include "pglendd.h"

extern char audited_directory[128], audited_key[136]; /* the trail, and the file with its verification key */
extern char audited_output[32 << 20];                 /* what the last audited_run() said */

void audited_set_up(void);
void audited_tear_down(void);

/* A pglendd with the trail, MORE keys of the section "audit", and the REST of the configuration: ", 'pools': …". */
struct pglendd *audited_start(const struct postgres *server, const char *more, const char *rest);
/* Is `status` of this mind about the trail? */
bool audited_is(const struct pglendd *d, const char *state);

/* Run `pglend audit` with these words: exit status. */
int audited_run(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The last record whose EVENT is this and of which MEMBER is VALUE (NULL: any); a new reference, or NULL. */
json_t *audited_record(const char *event, const char *member, const char *value);
bool audited_has(const char *event, const char *member, const char *value);
/* A record's member: a number, 0 if there is none, or text, NULL if there is none. */
int64_t audited_number(const json_t *record, const char *member);
const char *audited_text(const json_t *record, const char *member);
/* Fails the test unless `pglend audit verify` finds the trail as it was written. */
void audited_expect_intact(void);

#endif
