/* SPDX-License-Identifier: ISC */
/*
 * cli_view.c - how each command's result looks to people: columns, and lines where a table says too little.
 *
 * Keys are those of the supervisor's answers; one that is missing shows as "-", so an older supervisor can be asked.
 */
#include "cli.h"
#include <stdlib.h>
#include <string.h>

#define COLUMNS(table) .column = (table), .columns = sizeof(table) / sizeof((table)[0])

/* Member KEY of OBJECT, cleaned, into TEXT. */
static const char *member(const json_t *object, const char *key, char text[256])
{
    const json_t *value = json_object_get(object, key);

    if (json_is_string(value))
        snprintf(text, 256, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(text, 256, "%lld", (long long)json_integer_value(value));
    else
        snprintf(text, 256, "-");
    return cli_clean(text);
}

static const struct cli_column pool_columns[] = {
    {"POOL", "name", CLI_TEXT},
    {"STATE", "state", CLI_TEXT},
    {"MAX", "max", CLI_NUMBER},
    {"TOTAL", "total", CLI_NUMBER},
    {"IDLE", "idle", CLI_NUMBER},
    {"LEASED", "leased", CLI_NUMBER},
    {"CONNECTING", "connecting", CLI_NUMBER},
    {"WAITING", "waiting", CLI_NUMBER},
    {"LAST ERROR", "last_error", CLI_TEXT},
};

/* What a pool's administrator should do something about. */
static void put_warnings(FILE *out, const json_t *pool)
{
    static const struct {
        const char *key, *words;
    } rows[] = {
        {"insecure", "the link to the server is not verified (allow_insecure)"},
        {"certificate_due", "a certificate ends soon, or has ended: the log says which"},
    };
    char name[256], reason[256], cancel[256];

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (json_is_true(json_object_get(pool, rows[i].key)))
            fprintf(out, "pool %s: %s\n", member(pool, "name", name), rows[i].words);
    if (strcmp(member(pool, "cancel", cancel), "query") == 0)
        fprintf(out, "pool %s: a cancel request takes a login, for the sessions' cancel keys could not be read\n",
                member(pool, "name", name));
    if (json_is_object(json_object_get(pool, "override")))
        fprintf(out, "pool %s: emergency access is in force: %s\n", member(pool, "name", name),
                member(json_object_get(pool, "override"), "reason", reason));
}

static void status_line(FILE *out, const json_t *status)
{
    const json_t *pools = json_object_get(status, "pools");
    json_int_t lost = json_integer_value(json_object_get(status, "audit_syslog_lost"));
    char version[256], pid[256], audit[256], uptime[64];

    cli_duration(uptime, sizeof(uptime), json_number_value(json_object_get(status, "uptime_s")));
    fprintf(out, "pglendd %s, pid %s, up %s, audit %s%s\n", member(status, "version", version),
            member(status, "pid", pid), uptime, member(status, "audit", audit),
            json_is_true(json_object_get(status, "stopping")) ? ", shutting down" : "");
    if (lost > 0)
        fprintf(out, "warning: %" JSON_INTEGER_FORMAT " checkpoints of the audit trail did not reach audit.syslog\n",
                lost);
    for (size_t i = 0; i < json_array_size(pools); i++)
        put_warnings(out, json_array_get(pools, i));
    fputc('\n', out);
}

const struct cli_view cli_view_status = {
    .line = status_line, .rows = "pools", .none = "no pools", COLUMNS(pool_columns)};
const struct cli_view cli_view_pools = {.none = "no pools", COLUMNS(pool_columns)};

static const struct cli_column slot_columns[] = {
    {"POOL", "pool", CLI_TEXT},        {"SLOT", "slot", CLI_NUMBER},           {"STATE", "state", CLI_TEXT},
    {"GEN", "generation", CLI_NUMBER}, {"BACKEND", "backend_pid", CLI_NUMBER}, {"WORKER", "worker_pid", CLI_NUMBER},
    {"SINCE", "since_s", CLI_SECONDS}, {"USES", "uses", CLI_NUMBER},           {"RESETTING", "reset_pending", CLI_FLAG},
    {"ACTOR", "actor", CLI_TEXT},      {"PURPOSE", "purpose", CLI_TEXT},       {"MODE", "mode", CLI_TEXT},
    {"TLS", "tls", CLI_TEXT},
};
const struct cli_view cli_view_slots = {.none = "no slots", COLUMNS(slot_columns)};

static const struct cli_column worker_columns[] = {
    {"PID", "pid", CLI_NUMBER},       {"UID", "uid", CLI_NUMBER},         {"POOLS", "pools", CLI_TEXT},
    {"LEASES", "leases", CLI_NUMBER}, {"WAITING", "waiting", CLI_NUMBER}, {"SINCE", "since_s", CLI_SECONDS},
    {"EXECUTABLE", "exe", CLI_TEXT},
};
const struct cli_view cli_view_workers = {.none = "no workers are attached", COLUMNS(worker_columns)};

static const struct cli_column waiter_columns[] = {
    {"POOL", "pool", CLI_TEXT},
    {"POSITION", "position", CLI_NUMBER},
    {"WORKER", "worker_pid", CLI_NUMBER},
    {"WAITED", "waited_s", CLI_SECONDS},
};
const struct cli_view cli_view_waiters = {.none = "nobody waits", COLUMNS(waiter_columns)};

static const struct cli_column stats_columns[] = {
    {"POOL", "pool", CLI_TEXT},
    {"LEASES", "leases", CLI_NUMBER},
    {"/S", "leases_per_s", CLI_RATE},
    {"WAIT P50", "wait.p50_s", CLI_SECONDS},
    {"P95", "wait.p95_s", CLI_SECONDS},
    {"P99", "wait.p99_s", CLI_SECONDS},
    {"HOLD P50", "hold.p50_s", CLI_SECONDS},
    {"P95", "hold.p95_s", CLI_SECONDS},
    {"P99", "hold.p99_s", CLI_SECONDS},
    {"TIMEOUTS", "timeouts", CLI_NUMBER},
    {"LOGINS", "logins", CLI_NUMBER},
    {"RECLAIMS", "reclaims", CLI_NUMBER},
};
const struct cli_view cli_view_stats = {.none = "no pools", COLUMNS(stats_columns)};

const struct cli_view cli_view_config = {0}, cli_view_inventory = {0};

static const struct cli_column reload_columns[] = {
    {"KEY", "key", CLI_TEXT}, {"OLD", "old", CLI_TEXT}, {"NEW", "new", CLI_TEXT}, {"TAKES", "takes", CLI_TEXT}};
const struct cli_view cli_view_reload = {.none = "reloaded, nothing has changed", COLUMNS(reload_columns)};

static void steered_line(FILE *out, const json_t *result)
{
    static const char *const counts[] = {"total", "idle", "leased", "waiting"};
    char pool[256], state[256], min[256], max[256], number[256];

    fprintf(out, "%s: %s, size %s to %s", member(result, "pool", pool), member(result, "state", state),
            member(result, "min", min), member(result, "max", max));
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        fprintf(out, "%s %s %s", i == 0 ? ";" : ",", member(result, counts[i], number), counts[i]);
    fputc('\n', out);
}
const struct cli_view cli_view_pause = {.line = steered_line, .none = "no pools"},
                      cli_view_resume = {.line = steered_line, .none = "no pools"},
                      cli_view_disable = {.line = steered_line, .none = "no pools"},
                      cli_view_enable = {.line = steered_line, .none = "no pools"},
                      cli_view_resize = {.line = steered_line, .none = "no pools"},
                      cli_view_recycle = {.line = steered_line, .none = "no pools"};

static const struct cli_column override_columns[] = {
    {"POOL", "pool", CLI_TEXT},
    {"BY", "override.by", CLI_TEXT},
    {"LEFT", "override.left_s", CLI_SECONDS},
    {"REASON", "override.reason", CLI_TEXT},
};
const struct cli_view cli_view_override = {.none = "no pools", COLUMNS(override_columns)};

static const struct cli_column revoke_columns[] = {
    {"LEASE", "lease", CLI_TEXT},
    {"WORKER", "worker_pid", CLI_NUMBER},
    {"UID", "uid", CLI_NUMBER},
    {"BACKEND", "backend_pid", CLI_NUMBER},
};
const struct cli_view cli_view_revoke = {.none = "nothing is lent to those", COLUMNS(revoke_columns)};

static void shutdown_line(FILE *out, const json_t *result)
{
    char mode[256];

    fprintf(out, "shutting down (%s)\n", member(result, "mode", mode));
}
const struct cli_view cli_view_shutdown = {.line = shutdown_line};

static void check_line(FILE *out, const json_t *probe)
{
    char pool[256], pid[256];

    member(probe, "pool", pool);
    if (json_is_true(json_object_get(probe, "ok"))) {
        fprintf(out, "%s: ok, backend %s, %.1f ms\n", pool, member(probe, "backend_pid", pid),
                json_number_value(json_object_get(probe, "ms")));
    } else {
        const char *message = json_string_value(json_object_get(probe, "message"));
        char *text = strdup(message != NULL ? message : "");

        fprintf(out, "%s: failed, %s\n", pool, text != NULL ? cli_clean(text) : "");
        free(text);
    }
}
const struct cli_view cli_view_check = {.line = check_line, .none = "no pools"};

static void version_line(FILE *out, const json_t *version)
{
    const json_t *daemon = json_object_get(version, "daemon");
    char text[256];

    fprintf(out, "pglend %s\n", member(version, "cli", text));
    if (json_is_string(daemon))
        fprintf(out, "pglendd %s\n", member(version, "daemon", text));
    else
        fprintf(out, "pglendd unknown: %s\n", member(version, "message", text));
}
const struct cli_view cli_view_version = {.line = version_line};
