/* SPDX-License-Identifier: ISC */
/*
 * conninfo.c - the string a login connects with, every keyword that has a value written out.
 *
 * The hard thing: libpq takes what is not said from the environment, a service, or what it was compiled with. The
 * environment is emptied first; then PQconndefaults() tells what a service and the compiled defaults say, and the
 * configuration goes before both.
 */
#include "login.h"

#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#define OPTIONS_MAX     16384
#define TIMEOUT_LEAST_S 2     /* libpq takes less for 2 */
#define PROBE_MOST_S    32767 /* tcp(7) */

/* What the configuration has to say; an empty value says nothing. */
struct ours {
    const char *keyword;
    const char *value;
};

void conninfo_environment(const struct database_config *database)
{
    char name[256], home[256];

    for (char **entry = environ; *entry != NULL;) {
        size_t length = strcspn(*entry, "=");

        if (strncmp(*entry, "PG", 2) == 0 && strncmp(*entry, "PGLEND_", 7) != 0 && length < sizeof name) {
            (void)snprintf(name, sizeof name, "%.*s", (int)length, *entry);
            if (unsetenv(name) == 0)
                continue; /* the next entry has moved here */
        }
        entry++;
    }
    if (privilege_home(home, sizeof home) == 0)
        (void)setenv("HOME", home, 1);
    if (*database->servicefile != '\0')
        (void)setenv("PGSERVICEFILE", database->servicefile, 1);
}

/* libpq's defaults, with what the service SERVICE supplies in them. Free with PQconninfoFree(). */
static PQconninfoOption *defaults(const char *service)
{
    PQconninfoOption *options;

    if (*service != '\0')
        (void)setenv("PGSERVICE", service, 1);
    options = PQconndefaults();
    (void)unsetenv("PGSERVICE");
    return options;
}

const char *conninfo_value(const PQconninfoOption *options, const char *keyword)
{
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val == NULL ? "" : o->val;
    return "";
}

/* An address is where the connection goes, whatever host is named beside it. */
static bool is_local(const char *hosts, const PQconninfoOption *options)
{
    return config_hosts_are_local(hosts) && config_hosts_are_local(conninfo_value(options, "hostaddr"));
}

/* Ours if it is configured, else what a service says, else by where the connection goes. */
static const char *sslmode(const struct database_config *database, const PQconninfoOption *options, const char *hosts)
{
    if (*database->sslmode != '\0')
        return database->sslmode;
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
        if (strcmp(o->keyword, "sslmode") == 0 && o->val != NULL && o->compiled != NULL &&
            strcmp(o->val, o->compiled) != 0)
            return o->val;
    return is_local(hosts, options) ? "disable" : "verify-full";
}

/* As the configuration has it, which does not know what a service says. */
static const char *authorities(const struct database_config *database, const PQconninfoOption *options,
                               const char *mode)
{
    const char *file = NULL;

    if (*database->sslrootcert == '\0' && *conninfo_value(options, "sslrootcert") == '\0' &&
        strncmp(mode, "verify-", 7) == 0)
        file = config_system_authorities();
    return file != NULL ? file : database->sslrootcert;
}

bool conninfo_is_insecure(const PQconninfoOption *options)
{
    return strcmp(conninfo_value(options, "sslmode"), "verify-full") != 0 &&
           !is_local(conninfo_value(options, "host"), options);
}

/* Hosts share the time a login may take, so that one that never answers does not use it up. */
static int64_t seconds_a_host(const struct pool_config *pool, const char *hosts)
{
    int64_t seconds = (pool->login_timeout_ms + 999) / 1000, count = 1;

    for (const char *c = hosts; *c != '\0'; c++)
        count += *c == ',';
    return seconds / count < TIMEOUT_LEAST_S ? TIMEOUT_LEAST_S : seconds / count;
}

/*
 * The kernel gives an idle connection up when nothing has come for the user timeout and a probe is out: probes begin in
 * time for that. "", the system's own times, where there is no timeout.
 */
static void probe_seconds(int64_t user_timeout_ms, int64_t part, char text[24])
{
    int64_t seconds = user_timeout_ms / 1000 / part;

    text[0] = '\0';
    if (user_timeout_ms != 0)
        (void)snprintf(text, 24, "%lld",
                       (long long)(seconds < 1              ? 1
                                   : seconds > PROBE_MOST_S ? PROBE_MOST_S
                                                            : seconds));
}

/* "-c name=value" each, blanks and backslashes escaped as the server's split of options wants it. */
static int options_make(const struct string_list *settings, char options[OPTIONS_MAX])
{
    size_t at = 0;

    for (size_t i = 0; i < settings->count; i++) {
        at += (size_t)snprintf(options + at, OPTIONS_MAX - at, "%s-c ", at == 0 ? "" : " ");
        for (const char *c = settings->item[i]; *c != '\0'; c++) {
            if (at + 8 > OPTIONS_MAX)
                return -1;
            if (*c == '\\' || strchr(" \t\n\r\v\f", *c) != NULL)
                options[at++] = '\\';
            options[at++] = *c;
        }
    }
    options[at] = '\0';
    return 0;
}

static int append(char conninfo[CONNINFO_MAX], size_t *at, const char *keyword, const char *value)
{
    if (*at + strlen(keyword) + 2 * strlen(value) + 5 > CONNINFO_MAX)
        return -1;
    *at += (size_t)snprintf(conninfo + *at, CONNINFO_MAX - *at, "%s='", keyword);
    for (; *value != '\0'; value++) {
        if (*value == '\'' || *value == '\\')
            conninfo[(*at)++] = '\\';
        conninfo[(*at)++] = *value;
    }
    *at += (size_t)snprintf(conninfo + *at, CONNINFO_MAX - *at, "' ");
    return 0;
}

static int write_all(const PQconninfoOption *options, const struct ours *ours, char conninfo[CONNINFO_MAX])
{
    size_t at = 0;

    conninfo[0] = '\0';
    for (const PQconninfoOption *o = options; o->keyword != NULL; o++) {
        const char *value = o->val == NULL ? "" : o->val;

        for (const struct ours *row = ours; row->keyword != NULL; row++)
            if (strcmp(row->keyword, o->keyword) == 0 && *row->value != '\0')
                value = row->value;
        if (*value != '\0' && append(conninfo, &at, o->keyword, value) == -1)
            return -1;
    }
    return 0;
}

/* Ours, put before what OPTIONS have. */
static int write_ours(const struct pool_config *pool, const char *password, const PQconninfoOption *options,
                      const char *hosts, const char *mode, char conninfo[CONNINFO_MAX])
{
    static char settings[OPTIONS_MAX];
    const struct database_config *d = &pool->database;
    char timeout[24], user_timeout[24], probe_after[24], probe_every[24];
    const struct ours ours[] = {
        {"service", d->service},
        {"host", d->host},
        {"port", d->port},
        {"dbname", d->dbname},
        {"user", d->user},
        {"password", password},
        {"passfile", d->passfile},
        {"sslmode", mode},
        {"sslrootcert", authorities(d, options, mode)},
        {"sslcert", d->sslcert},
        {"sslkey", d->sslkey},
        {"sslcrl", d->sslcrl},
        {"sslcrldir", d->sslcrldir},
        {"sslsni", d->sslsni ? "" : "0"},
        {"ssl_min_protocol_version", d->ssl_min_protocol_version},
        {"ssl_max_protocol_version", d->ssl_max_protocol_version},
        {"channel_binding", d->channel_binding},
        {"target_session_attrs", d->target_session_attrs},
        {"application_name", d->application_name},
        {"options", settings},
        {"gssencmode", "disable"},
        {"connect_timeout", timeout},
        {"keepalives", d->tcp_keepalives ? "1" : "0"},
        {"keepalives_idle", probe_after},
        {"keepalives_interval", probe_every},
        {"tcp_user_timeout", user_timeout},
        {NULL, NULL},
    };

    (void)snprintf(timeout, sizeof timeout, "%lld", (long long)seconds_a_host(pool, hosts));
    (void)snprintf(user_timeout, sizeof user_timeout, "%lld", (long long)d->tcp_user_timeout_ms);
    probe_seconds(d->tcp_user_timeout_ms, 2, probe_after);
    probe_seconds(d->tcp_user_timeout_ms, 6, probe_every);
    return options_make(&d->settings, settings) == -1 ? -1 : write_all(options, ours, conninfo);
}

int conninfo_make(const struct pool_config *pool, const char *password, char conninfo[CONNINFO_MAX], char *error,
                  size_t size)
{
    const struct database_config *d = &pool->database;
    PQconninfoOption *options = defaults(d->service);
    const char *hosts, *mode;
    int status = -1;

    (void)snprintf(error, size, "pool \"%s\": its database's settings do not fit into a connection string", pool->name);
    if (options == NULL)
        return -1;
    hosts = *d->host != '\0' ? d->host : conninfo_value(options, "host");
    mode = sslmode(d, options, hosts);
    /* All that the configuration itself has to say of it was judged when it was read. */
    if (strcmp(mode, "verify-full") != 0 && !is_local(hosts, options) && !d->allow_insecure)
        (void)snprintf(error, size,
                       "service \"%s\" leads to a server on another host, where sslmode \"%s\" lets whoever is on the "
                       "way read or change what is said; write verify-full, or \"allow_insecure\": true in pool \"%s\"",
                       d->service, mode, pool->name);
    else
        status = write_ours(pool, password, options, hosts, mode, conninfo);
    PQconninfoFree(options);
    return status;
}
