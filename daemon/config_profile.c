/* SPDX-License-Identifier: ISC */
/*
 * config_profile.c - "profile": "regulated": what stricter defaults it brings, and what it refuses.
 *
 * One table of rows: a row's value is the key's default under the profile, and the weakest that may be written. The
 * hard thing: whoever sets a profile on an existing configuration has several keys to change, so all that is too weak
 * is told at once, each with its place in the file.
 */
#include "config_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How a key may differ from the profile's value. */
enum profile_rule {
    RULE_EXACTLY,
    RULE_AT_MOST, /* of a duration; 0s, which is never, is more than any */
    RULE_ONE_OF,  /* the values are a list, the default its first */
    RULE_GIVEN,   /* anything, but not nothing */
};

struct profile_row {
    const char *path;
    const char *value; /* as JSON text */
    enum profile_rule rule;
    bool (*exempt)(const struct pool_config *pool);
    const char *clause; /* of 45 CFR 164 */
    const char *why;
};

static bool is_local_socket(const struct pool_config *pool)
{
    return config_hosts_are_sockets(&pool->database);
}

static const struct profile_row regulated[] = {
    {"audit.directory", "\"\"", RULE_GIVEN, NULL, "164.312(b)",
     "every lease, denial and command is on the audit trail"},
    {"audit.sync", "\"durable\"", RULE_EXACTLY, NULL, "164.312(b)", "a lease's record is on disk before it is used"},
    {"audit.on_audit_failure", "\"deny\"", RULE_EXACTLY, NULL, "164.312(b)", "what cannot be recorded is not lent"},
    {"sandbox", "\"enforce\"", RULE_EXACTLY, NULL, "164.312(a)(1)",
     "a process that was taken over cannot do what it never did"},
    {"isolation", "\"strict\"", RULE_EXACTLY, NULL, "164.312(a)(1)",
     "the supervisor makes each lease, and attests its record"},
    {"reset", "[\"full\", \"replace\"]", RULE_ONE_OF, NULL, "164.312(c)(1)",
     "nothing of a borrower is left in the session of the next"},
    {"require_actor", "true", RULE_EXACTLY, NULL, "164.312(a)(2)(i)", "each lease names the user it is for"},
    {"lease_max", "\"15m\"", RULE_AT_MOST, NULL, "164.312(a)(2)(iii)", "access ends by itself"},
    {"lease_idle_max", "\"2m\"", RULE_AT_MOST, NULL, "164.312(a)(2)(iii)", "an idle session is logged off"},
    {"lease_idle_in_transaction_max", "\"30s\"", RULE_AT_MOST, NULL, "164.312(a)(2)(iii)",
     "an idle session that holds locks is logged off sooner"},
    {"database.sslmode", "\"verify-full\"", RULE_EXACTLY, is_local_socket, "164.312(e)(1)",
     "over TCP, loopback too, the server is who it says and nobody listens; a Unix socket needs none"},
    {"database.allow_insecure", "false", RULE_EXACTLY, NULL, "164.312(e)(1)", "there is no exception to that"},
    {"database.channel_binding", "\"require\"", RULE_EXACTLY, is_local_socket, "164.312(d)",
     "the server proves that it knows the password, and none is sent to it, in clear or as MD5"},
};
#define REGULATED (sizeof regulated / sizeof regulated[0])

static const struct config_row *row_of(const struct profile_row *rule)
{
    for (size_t i = 0; i < config_rows; i++)
        if (strcmp(config_row[i].path, rule->path) == 0)
            return &config_row[i];
    return NULL;
}

/* The profile's value; of a list of values, the first. */
static json_t *value_of(const struct profile_row *rule)
{
    json_t *value = json_loads(rule->value, JSON_DECODE_ANY, NULL), *first;

    if (rule->rule != RULE_ONE_OF)
        return value;
    first = json_incref(json_array_get(value, 0));
    json_decref(value);
    return first;
}

static bool set_default(struct config_parse *p, const struct profile_row *rule, const struct config_row *row,
                        void *object)
{
    json_t *value = value_of(rule);
    int failure = value == NULL ? ENOMEM : row->kind->parse(row, value, object);

    json_decref(value);
    return failure == 0 || config_fail_key(p, row->path, "cannot set the profile's default: %s", strerror(failure));
}

bool config_profile_fill(struct config_parse *p, enum config_scope scope, void *object)
{
    for (size_t i = 0; i < REGULATED; i++) {
        const struct config_row *row = row_of(&regulated[i]);

        /* One with exemptions waits until it is known whom it exempts: config_profile_settle(). */
        if (row->scope == scope && regulated[i].exempt == NULL && !set_default(p, &regulated[i], row, object))
            return false;
    }
    return true;
}

bool config_profile_settle(struct config_parse *p, struct pool_config *pool)
{
    for (size_t i = 0; i < REGULATED; i++) {
        const struct config_row *row = row_of(&regulated[i]);
        json_t *now;

        if (regulated[i].exempt == NULL || regulated[i].exempt(pool))
            continue;
        now = row->kind->json(row, pool);
        if (json_string_length(now) == 0 && !set_default(p, &regulated[i], row, pool)) {
            json_decref(now);
            return false;
        }
        json_decref(now);
    }
    return true;
}

/* ---- what is too weak ---- */

static bool is_strong(const struct profile_row *rule, const struct config_row *row, const void *object,
                      const json_t *now)
{
    json_t *value = json_loads(rule->value, JSON_DECODE_ANY, NULL), *item;
    int64_t set, most;
    bool strong = false;
    size_t i;

    switch (rule->rule) {
    case RULE_EXACTLY:
        strong = json_equal(value, now);
        break;
    case RULE_AT_MOST:
        memcpy(&set, (const char *)object + row->offset, sizeof set);
        strong = config_duration(json_string_value(value), &most) == 0 && set > 0 && set <= most;
        break;
    case RULE_ONE_OF:
        json_array_foreach(value, i, item) strong = strong || json_equal(item, now);
        break;
    case RULE_GIVEN:
        strong = json_string_length(now) > 0;
        break;
    }
    json_decref(value);
    return strong;
}

/* What the profile asks for, in words. */
static void describe(const struct profile_row *rule, char text[CONFIG_NAME_MAX])
{
    static const struct {
        const char *before;
        bool value;
    } words[] = {
        [RULE_EXACTLY] = {"", true},
        [RULE_AT_MOST] = {"more than 0s and at most ", true},
        [RULE_ONE_OF] = {"one of ", true},
        [RULE_GIVEN] = {"the trail's directory", false},
    };

    (void)snprintf(text, CONFIG_NAME_MAX, "%s%s%s", words[rule->rule].before,
                   words[rule->rule].value ? rule->value : "", rule->exempt != NULL ? ", except on a Unix socket" : "");
}

static void add_line(char error[CONFIG_ERROR_MAX], const char *line)
{
    static const char more[] = "\n(there is more)";
    size_t used = strlen(error);

    if (used + 1 + strlen(line) + sizeof more <= CONFIG_ERROR_MAX)
        (void)snprintf(error + used, CONFIG_ERROR_MAX - used, "%s%s", used == 0 ? "" : "\n", line);
    else if (strstr(error, more) == NULL)
        (void)snprintf(error + used, CONFIG_ERROR_MAX - used, "%s", more);
}

/* P is where OBJECT stands. Adds a line for each key of SCOPE that is too weak. */
static void look(struct config_parse *p, enum config_scope scope, const void *object)
{
    char line[CONFIG_ERROR_MAX], asks[CONFIG_NAME_MAX];
    struct config_parse at = *p;

    at.error = line;
    for (size_t i = 0; i < REGULATED; i++) {
        const struct profile_row *rule = &regulated[i];
        const struct config_row *row = row_of(rule);
        char *text;
        json_t *now;

        if (row->scope != scope || (rule->exempt != NULL && rule->exempt(object)))
            continue;
        now = row->kind->json(row, object);
        if (!is_strong(rule, row, object, now)) {
            text = json_dumps(now, JSON_ENCODE_ANY | JSON_COMPACT);
            describe(rule, asks);
            config_fail_key(&at, row->path,
                            "%.80s is weaker than the profile \"regulated\" asks for (%s: %s); write %s, or remove "
                            "the profile",
                            text == NULL ? "this" : text, rule->clause, rule->why, asks);
            add_line(p->error, line);
            free(text);
        }
        json_decref(now);
    }
}

bool config_profile_check(struct config_parse *p, const struct config *config)
{
    struct config_parse at = *p;

    if (config->profile != PROFILE_REGULATED)
        return true;
    look(&at, SCOPE_FILE, config);
    at.key[0] = "pools";
    at.depth = 2;
    for (size_t i = 0; i < config->pools; i++) {
        at.key[1] = config->pool[i].name;
        look(&at, SCOPE_POOL, &config->pool[i]);
    }
    return *p->error == '\0';
}

/* ---- for people ---- */

void config_profile_explain(FILE *out)
{
    char asks[CONFIG_NAME_MAX];

    fprintf(out, "profile \"regulated\" (clauses of 45 CFR 164; see pglend-hipaa(7)):\n");
    for (size_t i = 0; i < REGULATED; i++) {
        describe(&regulated[i], asks);
        fprintf(out, "  %-30s %s\n  %30s %s: %s\n", regulated[i].path, asks, "", regulated[i].clause, regulated[i].why);
    }
}

void config_profile_manual(FILE *out)
{
    char asks[CONFIG_NAME_MAX];

    fprintf(out, ".Ss What the profile regulated asks for\n.Bl -tag -width Ds\n");
    for (size_t i = 0; i < REGULATED; i++) {
        describe(&regulated[i], asks);
        fprintf(out, ".It Cm %s : No %s\n%s: %s.\n", regulated[i].path, asks, regulated[i].clause, regulated[i].why);
    }
    fprintf(out, ".El\n");
}
