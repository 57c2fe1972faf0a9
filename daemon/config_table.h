/* SPDX-License-Identifier: ISC */
/*
 * config_table.h - the rows and kinds of configuration keys, and what the config_*.c files offer each other.
 *
 * A row is a key; its kind knows how a value of that type is read, written, released and described. Nothing else in
 * the program knows the name of a key and its default.
 */
#ifndef PGLEND_CONFIG_TABLE_H
#define PGLEND_CONFIG_TABLE_H

#include "config.h"

#define CONFIG_DEPTH    8   /* keys from the top of the file to a value */
#define CONFIG_NAME_MAX 128 /* a path in the table, a kind's description of one value */
#define CONFIG_TEXT_MAX 512

enum config_scope { SCOPE_FILE, SCOPE_POOL }; /* offset is into struct config, or into struct pool_config */
enum config_takes { TAKES_RELOAD, TAKES_RECYCLE, TAKES_RESTART };

struct config_row;

struct config_kind {
    const char *name; /* as the manual says it */
    /* Read VALUE into OBJECT: 0, EINVAL (wrong type or outside the limits) or ENOMEM. */
    int (*parse)(const struct config_row *row, const json_t *value, void *object);
    /* What parse() takes to the same value again, in its shortest form. */
    json_t *(*json)(const struct config_row *row, const void *object);
    void (*clear)(const struct config_row *row, void *object);
    /* What may be written, as the end of "write …". */
    void (*describe)(const struct config_row *row, char text[CONFIG_TEXT_MAX]);
    json_t *(*schema)(const struct config_row *row);
};

struct config_row {
    const char *path; /* "size.max" */
    enum config_scope scope;
    enum config_takes takes;
    const struct config_kind *kind;
    size_t offset;
    const char *fallback;     /* the default, as JSON text */
    int64_t min, max;         /* of an integer, of a duration in ms, of a size or a string in bytes */
    const char *const *names; /* of a choice; NULL-terminated */
    const char *example;      /* of a list that is not of users or groups */
    bool own;                 /* says which database a pool is: not for "defaults" */
    bool secret;              /* may be a secret by mistake: its value is not repeated in a message */
    const char *help;
};

/* config_table.c */
extern const struct config_row config_row[];
extern const size_t config_rows;
const char *config_takes_name(enum config_takes takes);

/* config_value.c, config_list.c: the kinds */
extern const struct config_kind kind_boolean, kind_integer, kind_duration, kind_size, kind_string, kind_file, kind_port,
    kind_choice, kind_enum;
extern const struct config_kind kind_list, kind_settings, kind_reset;
/* Does the value have a control character, or a length outside the row's limits? */
bool config_text_fits(const struct config_row *row, const json_t *value);

/* config_locate.c */
struct config_position {
    int line, column; /* from 1; the column counts characters */
};
/*
 * Where the last of KEYS stands in TEXT, which is JSON that jansson took; of the keys that are not there, the
 * innermost object that is.
 */
struct config_position config_locate(const char *text, size_t length, const char *const *keys, size_t depth);

/* config_parse.c: a parse under way */
struct config_parse {
    const char *path;
    const char *text; /* NULL: a pool from another process, which has no lines */
    size_t length;
    const char *key[CONFIG_DEPTH]; /* from the top of the file to where the parse is */
    size_t depth;
    char *error; /* CONFIG_ERROR_MAX bytes */
};
/* "PATH:LINE:COLUMN: "pools.clinic.size.max": " and what FORMAT makes. Returns false. */
bool config_fail(struct config_parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same for the key at PATH, seen from where the parse is. */
bool config_fail_key(struct config_parse *p, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Every key of SCOPE in OBJECT gets its default. */
bool config_fill(struct config_parse *p, enum config_scope scope, void *object);
/* Read the keys of SCOPE that JSON has into OBJECT; OWN: keys with row->own may be among them. */
bool config_apply(struct config_parse *p, enum config_scope scope, const json_t *json, void *object, bool own);
/* Release and zero what OBJECT has of SCOPE's keys. */
void config_clear(enum config_scope scope, void *object);

/* config_check.c: what involves more than one key */
bool config_check_pool_name(struct config_parse *p, const char *name);
bool config_check_pool(struct config_parse *p, struct pool_config *pool);
bool config_check_file(struct config_parse *p, struct config *config);

/* config_profile.c: what "profile": "regulated" makes of the defaults, and does not let pass */
bool config_profile_fill(struct config_parse *p, enum config_scope scope, void *object);
/* After POOL's own keys have been read: the defaults that depend on them. */
bool config_profile_settle(struct config_parse *p, struct pool_config *pool);
/* All that is weaker than CONFIG's profile asks for, a line each in the parse's error. */
bool config_profile_check(struct config_parse *p, const struct config *config);
void config_profile_manual(FILE *out);

#endif
