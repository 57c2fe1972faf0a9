/* SPDX-License-Identifier: ISC */
/*
 * cli_audit.h - pglend audit: the words (cli_audit.c), the files of a trail (cli_audit_trail.c), setting one up
 * (cli_audit_init.c), reports (cli_audit_report.c). None of it talks to a supervisor.
 */
#ifndef PGLEND_CLI_AUDIT_H
#define PGLEND_CLI_AUDIT_H

#include "audit.h"
#include "cli.h"

#define ANCHORS_MAX 32

/* What the words came to. */
struct cli_audit {
    const char *directory;
    const struct cli_format *format;
    const char *key, *key_out, *by, *since, *until;
    struct audit_anchor anchor[ANCHORS_MAX];
    size_t anchors;
    struct audit_anchor begin;
    bool has_begin;
    bool fips, follow;
    long lines;
};

/* cli_audit_trail.c */
struct audit_files {
    uint32_t *number; /* rising */
    size_t count;
    int directory;
};
/* False with a message printed. */
bool audit_files_open(struct audit_files *files, const char *directory);
void audit_files_close(struct audit_files *files);
/* The file's bytes as they are now; caller frees. NULL with a message printed. */
char *audit_file_read(const struct audit_files *files, uint32_t number, size_t *length);

int cli_audit_verify(const struct cli_audit *a);
int cli_audit_head(const struct cli_audit *a);
int cli_audit_tail(const struct cli_audit *a);
int cli_audit_init(const struct cli_audit *a);   /* cli_audit_init.c */
int cli_audit_report(const struct cli_audit *a); /* cli_audit_report.c */

#endif
