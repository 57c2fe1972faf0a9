/* SPDX-License-Identifier: ISC */
/*
 * export_text.c - statistics as Prometheus reads them (text format 0.0.4).
 *
 * A metric is a row. The histograms that pools keep are finer than a scrape should be: each of their buckets goes whole
 * into the first bound that is not below its end, so that no time is shown as shorter than it was.
 */
#include "export.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum metric_type { GAUGE, COUNTER, HISTOGRAM, METRIC_TYPES };
static const char *const type_names[METRIC_TYPES] = {"gauge", "counter", "histogram"};

static const struct metric {
    const char *name;
    enum metric_type type;
    const char *key;
    const char *label; /* with its name and value, behind the pool's; NULL: none */
    const char *help;  /* NULL: one more sample of the metric above */
} metrics[] = {
    {"pglend_pool_max", GAUGE, "max", NULL, "Sessions the pool may have."},
    {"pglend_pool_total", GAUGE, "total", NULL, "Sessions the pool has."},
    {"pglend_pool_idle", GAUGE, "idle", NULL, "Sessions that could be lent now."},
    {"pglend_pool_leased", GAUGE, "leased", NULL, "Sessions that are lent."},
    {"pglend_pool_connecting", GAUGE, "connecting", NULL, "Logins under way."},
    {"pglend_pool_waiting", GAUGE, "waiting", NULL, "Borrowers that wait for a session."},
    {"pglend_pool_leases_total", COUNTER, "leases", NULL, "Leases that were given."},
    {"pglend_pool_acquire_wait_seconds", HISTOGRAM, "wait", NULL, "How long the acquires that succeeded had waited."},
    {"pglend_pool_lease_hold_seconds", HISTOGRAM, "hold", NULL, "How long leases were held."},
    {"pglend_pool_timeouts_total", COUNTER, "timeouts", NULL, "Acquires that were not served in time."},
    {"pglend_pool_refused_total", COUNTER, "refused", NULL,
     "Acquires that failed because nothing was connected, or the pool lent nothing."},
    {"pglend_pool_reclaims_total", COUNTER, "reclaims", NULL, "Leases taken back from workers that died."},
    {"pglend_pool_revocations_total", COUNTER, "revocations", NULL, "Leases taken away by limits or administrators."},
    {"pglend_pool_queue_full_total", COUNTER, "queue_full", NULL, "Acquires refused for max_waiters."},
    {"pglend_pool_resets_total", COUNTER, "resets", NULL, "Statements sent to clean a session between two leases."},
    {"pglend_pool_discards_total", COUNTER, "discarded", NULL, "Leases that were given back as broken, or found so."},
    {"pglend_pool_logins_total", COUNTER, "logins", NULL, "Logins that succeeded."},
    {"pglend_pool_login_failures_total", COUNTER, "login_failures_password", "reason=\"password\"",
     "Logins that failed."},
    {"pglend_pool_login_failures_total", COUNTER, "login_failures_too_many", "reason=\"too_many\"", NULL},
    {"pglend_pool_login_failures_total", COUNTER, "login_failures_timeout", "reason=\"timeout\"", NULL},
    {"pglend_pool_login_failures_total", COUNTER, "login_failures_other", "reason=\"other\"", NULL},
    {"pglend_pool_last_login_failure_timestamp_seconds", GAUGE, "last_login_failure_s", NULL,
     "When a login failed last; 0 if none has."},
    {"pglend_pool_database_up", GAUGE, "database_up", NULL, "1 while the pool is connected to its database."},
    {"pglend_pool_longest_lease_seconds", GAUGE, "longest_lease_s", NULL, "Age of the oldest lease that is out."},
    {"pglend_certificate_expiry_timestamp_seconds", GAUGE, "certificate_expires_s", NULL,
     "When the first of the certificates ends that the pool's servers showed."},
    {"pglend_client_certificate_expiry_timestamp_seconds", GAUGE, "client_certificate_expires_s", NULL,
     "When the first of the certificates ends that the pool's sessions showed to their servers."},
    {"pglend_pool_retire_postponed", GAUGE, "retire_postponed", NULL,
     "Sessions due for replacement that are kept because logins fail."},
};

static const double bounds[] = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
                                0.25,   0.5,     1,      2.5,   5,      10,    30,   60,    300,  1800};

#define LENGTH(table) (sizeof(table) / sizeof((table)[0]))

/* A label's value: backslash, quote and newline escaped. */
static void put_label(FILE *out, const char *name, const char *value)
{
    fprintf(out, "%s=\"", name);
    for (; *value != '\0'; value++)
        if (*value == '\n')
            fputs("\\n", out);
        else
            fprintf(out, "%s%c", *value == '\\' || *value == '"' ? "\\" : "", *value);
    fputc('"', out);
}

static void put_value(FILE *out, const json_t *value)
{
    if (json_is_integer(value))
        fprintf(out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(value));
    else if (json_is_real(value))
        fprintf(out, "%.9g\n", json_real_value(value));
    else
        fprintf(out, "%d\n", json_is_true(value));
}

static void put_sample(FILE *out, const struct metric *m, const char *pool, const json_t *value)
{
    if (!json_is_number(value) && !json_is_boolean(value))
        return;
    fprintf(out, "%s{", m->name);
    put_label(out, "pool", pool);
    fprintf(out, "%s%s} ", m->label != NULL ? "," : "", m->label != NULL ? m->label : "");
    put_value(out, value);
}

static void put_bucket(FILE *out, const struct metric *m, const char *pool, const char *bound, json_int_t count)
{
    fprintf(out, "%s_bucket{", m->name);
    put_label(out, "pool", pool);
    fprintf(out, ",le=\"%s\"} %" JSON_INTEGER_FORMAT "\n", bound, count);
}

/* A bucket that begins at FROM ends here at the latest: 16 of them double it, and none is narrower than 1 µs. */
static double bucket_end(double from)
{
    return from + (from / 16 > 1e-6 ? from / 16 : 1e-6);
}

static void put_histogram(FILE *out, const struct metric *m, const char *pool, const json_t *histogram)
{
    const json_t *buckets = json_object_get(histogram, "buckets");
    json_int_t count = json_integer_value(json_object_get(histogram, "count")), below = 0;
    char bound[32];
    size_t at = 0;

    if (!json_is_object(histogram))
        return;
    for (size_t i = 0; i < LENGTH(bounds); i++) {
        for (; at < json_array_size(buckets); at++) {
            const json_t *bucket = json_array_get(buckets, at);

            if (bucket_end(json_number_value(json_array_get(bucket, 0))) > bounds[i])
                break;
            below += json_integer_value(json_array_get(bucket, 1));
        }
        snprintf(bound, sizeof(bound), "%g", bounds[i]);
        put_bucket(out, m, pool, bound, below < count ? below : count);
    }
    put_bucket(out, m, pool, "+Inf", count);
    for (size_t i = 0; i < 2; i++) {
        fprintf(out, "%s_%s{", m->name, i == 0 ? "sum" : "count");
        put_label(out, "pool", pool);
        fputs("} ", out);
        put_value(out, json_object_get(histogram, i == 0 ? "sum_s" : "count"));
    }
}

static void put_pool(FILE *out, const struct metric *m, json_t *pool)
{
    const char *name = json_string_value(json_object_get(pool, "pool"));
    const json_t *value = json_object_get(pool, m->key);

    if (name == NULL)
        return;
    if (m->type == HISTOGRAM)
        put_histogram(out, m, name, value);
    else
        put_sample(out, m, name, value);
}

static void put_head(FILE *out, const char *name, const char *type, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* Protocol and cipher are two words of one text; a session in the clear has neither. */
static void put_sessions(FILE *out, const json_t *pool)
{
    const char *name = json_string_value(json_object_get(pool, "pool"));
    const json_t *entry;
    size_t i;

    json_array_foreach(json_object_get(pool, "sessions"), i, entry)
    {
        const char *mode = json_string_value(json_object_get(entry, "mode"));
        const char *tls = json_string_value(json_object_get(entry, "tls"));
        const char *subject = json_string_value(json_object_get(entry, "certificate"));
        char protocol[64] = "", cipher[64] = "";

        if (name == NULL || mode == NULL)
            continue;
        if (tls != NULL)
            (void)sscanf(tls, "%63s %63s", protocol, cipher);
        fputs("pglend_session_tls_info{", out);
        put_label(out, "pool", name);
        fputc(',', out);
        put_label(out, "mode", mode);
        fputc(',', out);
        put_label(out, "protocol", protocol);
        fputc(',', out);
        put_label(out, "cipher", cipher);
        fputc(',', out);
        put_label(out, "subject", subject != NULL ? subject : "");
        fputs("} ", out);
        put_value(out, json_object_get(entry, "count"));
    }
}

/* Of the daemon as a whole. Where there is no audit trail, nothing is said of it. */
static void put_audit(FILE *out, const json_t *status)
{
    const char *state = json_string_value(json_object_get(status, "audit"));

    if (state == NULL || strcmp(state, "off") == 0)
        return;
    put_head(out, "pglend_audit_up", type_names[GAUGE], "1 while the audit trail is written.");
    fprintf(out, "pglend_audit_up %d\n", strcmp(state, "on") == 0);
    put_head(out, "pglend_audit_syslog_lost_total", type_names[COUNTER], "Checkpoints that audit.syslog did not take.");
    fputs("pglend_audit_syslog_lost_total ", out);
    put_value(out, json_object_get(status, "audit_syslog_lost"));
}

char *export_text(const json_t *status, const json_t *pools)
{
    char *text = NULL;
    size_t length, i;
    FILE *out = open_memstream(&text, &length);
    json_t *pool;
    bool ok;

    if (out == NULL)
        return NULL;
    put_head(out, "pglend_up", type_names[GAUGE], "1 if the supervisor answered.");
    fprintf(out, "pglend_up %d\n", pools != NULL);
    put_audit(out, status);
    for (size_t m = 0; pools != NULL && m < LENGTH(metrics); m++) {
        if (metrics[m].help != NULL)
            put_head(out, metrics[m].name, type_names[metrics[m].type], metrics[m].help);
        json_array_foreach(pools, i, pool) put_pool(out, &metrics[m], pool);
    }
    if (pools != NULL)
        put_head(out, "pglend_session_tls_info", type_names[GAUGE],
                 "Sessions, by what is between borrower and server, and how that way is protected.");
    json_array_foreach(pools, i, pool) put_sessions(out, pool);
    ok = ferror(out) == 0;
    if (fclose(out) != 0 || !ok) {
        free(text);
        return NULL;
    }
    return text;
}
