/* SPDX-License-Identifier: ISC */
/*
 * config.h - the configuration, parsed and checked.
 *
 * One table of rows (config_table.c) says for each key: path, type, default, limits, whether a reload applies it,
 * help. Parser, --check-config, --print-config, the JSON schema and pglend.json(5) are driven by it. A pool has each
 * key from its own object, else from "defaults", else from the table.
 */
#ifndef PGLEND_CONFIG_H
#define PGLEND_CONFIG_H

#include "segment.h"
#include <jansson.h>
#include <stdio.h>

#define CONFIG_ERROR_MAX    4096
#define CONFIG_FILE_MAX     1048576 /* bytes of a configuration, as it is read and as it is handed on */
#define CONFIG_DEFAULT_PATH "/etc/pglend/pglend.json"

struct string_list {
    char **item;
    size_t count;
};

/* Who may: user names or numbers, group names or numbers. Empty: see the key's help. */
struct access_config {
    struct string_list users;
    struct string_list groups;
    struct string_list executables; /* of a pool; none: any */
};

#define PASSWORD_WORDS_MAX 32 /* of password_command */
#define ARCHIVE_WORDS_MAX  64 /* of audit.archive_command */

enum role_change { ROLE_CHANGE_RELEASE, ROLE_CHANGE_REVOKE };

struct database_config {
    char *host; /* "": libpq's default, a Unix socket */
    char *port; /* text: "5432" or libpq's list "5432,5433"; a JSON integer is taken too */
    char *dbname;
    char *user;
    char *password_file;
    char *password_credential;           /* a credential of systemd's */
    struct string_list password_command; /* program and arguments; none: "" */
    char *passfile;
    bool allow_insecure;
    char *service;
    char *servicefile; /* PGSERVICEFILE for the login */
    char *sslmode;     /* "": config_sslmode() decides */
    char *sslrootcert;
    char *sslcert;
    char *sslkey;
    char *sslcrl;
    char *sslcrldir;
    bool sslsni;
    char *ssl_min_protocol_version;
    char *ssl_max_protocol_version;
    char *channel_binding;
    char *target_session_attrs;
    int64_t role_check_ms;       /* 0: off */
    int64_t role_change;         /* enum role_change */
    char *application_name;      /* "": pglend:POOL */
    struct string_list settings; /* "name=value", from an object of strings */
    bool tcp_keepalives;
    int64_t tcp_user_timeout_ms;
};

enum isolation { ISOLATION_SHARED, ISOLATION_STRICT };

struct pool_config {
    char *name;
    struct database_config database;
    int64_t size_min, size_max, size_limit;
    int64_t max_workers;
    struct access_config access;
    bool require_actor;
    struct string_list purposes; /* none: any */
    bool context;
    int64_t isolation; /* enum isolation */
    bool guard;
    int64_t cache_per_worker;
    int64_t reset; /* enum reset_kind */
    char *reset_query;
    char *init_query;
    int64_t reset_timeout_ms;
    int64_t acquire_timeout_ms;
    int64_t max_waiters; /* 0: any number */
    int64_t unavailable_after_ms;
    int64_t idle_timeout_ms; /* 0: off */
    int64_t max_lifetime_ms; /* 0: off */
    int64_t max_uses;        /* 0: off */
    int64_t keepalive_ms;    /* 0: off */
    char *check_query;
    int64_t check_timeout_ms;
    int64_t certificate_warn_ms; /* 0: off, unless it has ended */
    int64_t lease_warn_ms;       /* this and the next three: 0: off */
    int64_t lease_max_ms;
    int64_t lease_idle_max_ms;
    int64_t lease_idle_in_transaction_max_ms;
    int64_t login_parallel;
    int64_t login_timeout_ms;
    int64_t login_backoff_max_ms;
};

enum audit_sync { AUDIT_SYNC_BATCHED, AUDIT_SYNC_DURABLE };
enum audit_failure { AUDIT_FAILURE_DEGRADE, AUDIT_FAILURE_DENY };

struct audit_config {
    char *directory; /* "": there is no trail */
    int64_t sync;    /* enum audit_sync */
    int64_t window_ms;
    int64_t checkpoint_ms;
    int64_t segment_size;
    int64_t rotate_ms; /* 0: by size alone */
    int64_t reserve;
    struct string_list archive_command; /* program and arguments; empty: none */
    int64_t local_retention_ms;
    int64_t on_failure; /* enum audit_failure */
    char *syslog;       /* path of its socket; "": none */
};

enum profile { PROFILE_NONE, PROFILE_REGULATED };

struct config {
    char *path;      /* where it was read; for messages */
    int64_t profile; /* enum profile */
    char *runtime_dir;
    char *user;
    char *group;
    char *audit_user;
    int64_t sandbox;    /* enum sandbox_mode */
    int64_t log_level;  /* enum log_level */
    int64_t log_format; /* enum log_format */
    int64_t shutdown_timeout_ms;
    int64_t max_backends; /* 0: no bound */
    struct access_config admin_read, admin_operate, admin_control, admin_override;
    struct audit_config audit;
    struct pool_config *pool;
    size_t pools;
};

/*
 * Parse and check TEXT (PATH is for messages). Returns a config for config_free(), or NULL with a message in ERROR:
 * "PATH:LINE:COLUMN: what is wrong, with the value, and what to do".
 */
struct config *config_parse(const char *path, const char *text, size_t length, char error[CONFIG_ERROR_MAX]);
/* Read the file (at most 1 MiB) and parse it. */
struct config *config_load(const char *path, char error[CONFIG_ERROR_MAX]);
void config_free(struct config *config);

/*
 * The configuration normalised: every key with its value, in table order; parses again to itself. Caller decrefs.
 * NULL: out of memory.
 */
json_t *config_json(const struct config *config);
/* One pool's object, as in config_json(). */
json_t *config_pool_json(const struct pool_config *pool);
/* Parse what config_pool_json() made. NULL with a message in ERROR. config_pool_free() releases it. */
struct pool_config *config_pool_parse(const char *name, json_t *pool, char error[CONFIG_ERROR_MAX]);
void config_pool_free(struct pool_config *pool);
/*
 * The section "audit" that config_json() made, into CONFIG, the rest of which has its defaults. False with a message.
 */
bool config_audit_parse(const json_t *audit, struct config *config, char error[CONFIG_ERROR_MAX]);
/* The file that has its password: password_file, credential or passfile; "": none. Valid until the next call. */
#define CREDENTIALS "CREDENTIALS_DIRECTORY" /* systemd.exec(5), LoadCredential= */
const char *config_password_path(const struct pool_config *pool);

/* Print the JSON schema, or the table as mdoc list items for pglend.json(5). */
json_t *config_schema(void);
void config_print_manual(FILE *out);
/* What the profile sets and why, a line or two a key. */
void config_profile_explain(FILE *out);

/*
 * What a reload from OLD to NEW changes, one call a key: its path ("pools.clinic.size.max"), old and new as JSON text,
 * and what it takes: "applied", "needs recycle" (new logins have it; the supervisor recycles the pool), "needs
 * restart". Pools that come or go are reported as path "pools.NAME" with old or new NULL, and need a restart.
 */
#define CHANGE_RECYCLE "needs recycle"
#define CHANGE_RESTART "needs restart"
typedef void config_change(void *context, const char *path, const char *old, const char *new, const char *takes);
void config_compare(const struct config *old, const struct config *new, config_change *change, void *context);

const struct pool_config *config_pool(const struct config *config, const char *name);
/* "10m" as milliseconds: 0, or -1 where TEXT is no whole number with a unit. NULL is none. */
int config_duration(const char *text, int64_t *ms);

/*
 * The sslmode to log in with: the configured one, or else disable where every host is a Unix socket or loopback, or
 * else verify-full. A service may name any host, so without a host of its own it gets verify-full too.
 */
const char *config_sslmode(const struct database_config *database);
/* May what is said to the server be read or changed on the way, or said to another one? allow_insecure allows it. */
bool config_is_insecure(const struct database_config *database);
/* Is every host a Unix socket? */
bool config_hosts_are_sockets(const struct database_config *database);
/* Is every host of libpq's list HOSTS on this machine, by its form? None is. */
bool config_hosts_are_local(const char *hosts);
/* The system's file of certificate authorities; NULL: it has none. */
const char *config_system_authorities(void);

#endif
