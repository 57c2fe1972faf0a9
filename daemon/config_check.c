/* SPDX-License-Identifier: ISC */
/*
 * config_check.c - what involves more than one key of the configuration.
 *
 * The table can say what each key may hold; here is what they must be together, and the sslmode that follows from the
 * host. An address counts as loopback by its form alone: nothing is resolved.
 */
#include "audit.h"
#include "config_table.h"
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

bool config_check_pool_name(struct config_parse *p, const char *name)
{
    size_t length = strlen(name);

    if (length >= 1 && length <= POOL_NAME_MAX && name[0] != '.' && strspn(name, POOL_NAME_CHARACTERS) == length)
        return true;
    return config_fail(p,
                       "this cannot be a pool's name; write 1 to %d of the characters A-Z a-z 0-9 _ . -, not "
                       "beginning with a dot",
                       POOL_NAME_MAX);
}

static bool check_size(struct config_parse *p, const struct pool_config *pool)
{
    if (pool->size_min > pool->size_max)
        return config_fail_key(p, "size.min",
                               "%" PRId64 " is more than \"size.max\", %" PRId64 "; lower min or raise max",
                               pool->size_min, pool->size_max);
    if (pool->size_max > pool->size_limit)
        return config_fail_key(p, "size.max",
                               "%" PRId64 " is more than \"size.limit\", %" PRId64 "; lower max or raise limit",
                               pool->size_max, pool->size_limit);
    return true;
}

/* One host of a list: LENGTH bytes. */
static bool host_is_socket(const char *host, size_t length)
{
    return length == 0 || host[0] == '/' || host[0] == '@';
}

static bool host_is_local(const char *host, size_t length)
{
    char address[64];
    struct in_addr v4;
    struct in6_addr v6;

    if (host_is_socket(host, length))
        return true;
    if (length >= sizeof address)
        return false;
    memcpy(address, host, length);
    address[length] = '\0';
    if (inet_pton(AF_INET, address, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return strcmp(address, "localhost") == 0;
}

typedef bool host_test(const char *host, size_t length);

static bool each_host(const char *host, host_test *is)
{
    for (;;) {
        size_t length = strcspn(host, ",");

        if (!is(host, length))
            return false;
        if (host[length] == '\0')
            return true;
        host += length + 1;
    }
}

/* Where they come from a service, they are not known here. */
static bool hosts_are(const struct database_config *database, host_test *is)
{
    return (database->host[0] != '\0' || database->service[0] == '\0') && each_host(database->host, is);
}

bool config_hosts_are_sockets(const struct database_config *database)
{
    return hosts_are(database, host_is_socket);
}

bool config_hosts_are_local(const char *hosts)
{
    return each_host(hosts, host_is_local);
}

const char *config_sslmode(const struct database_config *database)
{
    if (database->sslmode[0] != '\0')
        return database->sslmode;
    return hosts_are(database, host_is_local) ? "disable" : "verify-full";
}

bool config_is_insecure(const struct database_config *database)
{
    return strcmp(config_sslmode(database), "verify-full") != 0 && !hosts_are(database, host_is_local);
}

const char *config_system_authorities(void)
{
    static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                        "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return NULL;
}

/*
 * Where a certificate is to be verified and no authority is named: the system's. Libpq before version 16 would look in
 * the home directory of a user that has none. A service may name one: only the login can tell.
 */
static bool find_authorities(struct config_parse *p, struct database_config *database)
{
    const char *file = config_system_authorities();
    char *copy;

    if (strncmp(config_sslmode(database), "verify-", 7) != 0 || database->sslrootcert[0] != '\0' ||
        database->service[0] != '\0')
        return true;
    if (file == NULL)
        return config_fail_key(
            p, "database.sslrootcert",
            "this is missing, and the system has no file of authorities (ca-certificates.crt); name the "
            "file that the server's certificate is verified with");
    copy = strdup(file);
    if (copy == NULL)
        return config_fail(p, "out of memory");
    free(database->sslrootcert);
    database->sslrootcert = copy;
    return true;
}

static bool check_executables(struct config_parse *p, const struct string_list *executables)
{
    for (size_t i = 0; i < executables->count; i++)
        if (executables->item[i][0] != '/' || strlen(executables->item[i]) >= EXECUTABLE_MAX)
            return config_fail_key(p, "access.executables",
                                   "a program is an absolute path of less than %d bytes, links followed; item %zu is "
                                   "not",
                                   EXECUTABLE_MAX, i + 1);
    return true;
}

/* They must fit into the segment; an empty one would let those pass who say nothing. */
static bool check_purposes(struct config_parse *p, const struct string_list *purposes)
{
    size_t length = 0;

    for (size_t i = 0; i < purposes->count; i++) {
        if (purposes->item[i][0] == '\0' || !audit_text_valid(purposes->item[i], ACTOR_MAX))
            return config_fail_key(p, "purposes",
                                   "a purpose is UTF-8 of 1 to %d bytes without control characters; item %zu is not",
                                   ACTOR_MAX, i + 1);
        length += strlen(purposes->item[i]) + 1;
    }
    return length <= PURPOSES_MAX ||
           config_fail_key(p, "purposes", "they have %zu bytes together, and at most %d fit; shorten the list", length,
                           PURPOSES_MAX);
}

/* It comes from one place. */
static bool check_password(struct config_parse *p, const struct database_config *database)
{
    const struct {
        const char *key;
        bool given;
    } source[] = {
        {"password_file", database->password_file[0] != '\0'},
        {"password_credential", database->password_credential[0] != '\0'},
        {"password_command", database->password_command.count > 0},
        {"passfile", database->passfile[0] != '\0'},
    };
    const char *first = NULL;
    char path[64];

    for (size_t i = 0; i < sizeof source / sizeof source[0]; i++) {
        (void)snprintf(path, sizeof path, "database.%s", source[i].key);
        if (source[i].given && first != NULL)
            return config_fail_key(p, path, "\"%s\" is given too; remove one of the two", first);
        if (source[i].given)
            first = source[i].key;
    }
    if (strchr(database->password_credential, '/') != NULL)
        return config_fail_key(p, "database.password_credential",
                               "a credential has a name, not a path; write what LoadCredential calls it");
    if (database->password_command.count > 0 && database->password_command.item[0][0] != '/')
        return config_fail_key(p, "database.password_command",
                               "the program must be an absolute path; write /usr/bin/... or where it is");
    if (database->password_command.count > PASSWORD_WORDS_MAX)
        return config_fail_key(p, "database.password_command",
                               "it has more than %d words; write a script that has them", PASSWORD_WORDS_MAX);
    return true;
}

/* Nothing of a lease may be lost to a session's whole life, nor its name where PostgreSQL cuts. */
static bool check_context(struct config_parse *p, const struct pool_config *pool)
{
    static const char longest[] = "/4095/1099511627775"; /* slot and version, of 40 bits, behind the pool's name */

    if (!pool->context)
        return true;
    if (pool->reset != RESET_FULL && pool->reset != RESET_REPLACE)
        return config_fail_key(p, "context",
                               "\"reset\" does not take it back for certain, and the next lease would bear this one's "
                               "name; write \"reset\": \"full\" or \"replace\", or remove \"context\"");
    if (strlen(pool->name) + sizeof longest - 1 >= NAME_FIELD)
        return config_fail_key(p, "context",
                               "a pool's name of %zu bytes leaves no room for the lease's in application_name, which "
                               "has %d; give it one of at most %zu, or remove \"context\"",
                               strlen(pool->name), NAME_FIELD - 1, NAME_FIELD - sizeof longest);
    return true;
}

/* Unless they are given another name. PostgreSQL cuts it at 63 bytes. */
static bool name_sessions(struct config_parse *p, struct pool_config *pool)
{
    char name[NAME_FIELD];

    if (pool->database.application_name[0] != '\0')
        return true;
    (void)snprintf(name, sizeof name, "pglend:%s", pool->name);
    free(pool->database.application_name);
    pool->database.application_name = strdup(name);
    return pool->database.application_name != NULL || config_fail(p, "out of memory");
}

bool config_check_pool(struct config_parse *p, struct pool_config *pool)
{
    struct database_config *database = &pool->database;

    if (database->dbname[0] == '\0' && database->service[0] == '\0')
        return config_fail_key(p, "database.dbname", "this is missing; write the name of the pool's database");
    if (!check_password(p, database) || !name_sessions(p, pool))
        return false;
    if (config_is_insecure(database) && !database->allow_insecure)
        return config_fail_key(p, "database.sslmode",
                               "\"%s\" lets whoever is on the way read or change what is said to a server on another "
                               "host; write \"verify-full\", or \"allow_insecure\": true beside it",
                               database->sslmode);
    if (pool->isolation == ISOLATION_STRICT && pool->reset != RESET_FULL && pool->reset != RESET_REPLACE)
        return config_fail_key(
            p, "reset",
            "isolation \"strict\" hands no session on that kept anything of its last borrower; write "
            "\"full\" or \"replace\"");
    return check_context(p, pool) && find_authorities(p, database) && check_size(p, pool) &&
           check_purposes(p, &pool->purposes) && check_executables(p, &pool->access.executables);
}

bool config_check_file(struct config_parse *p, struct config *config)
{
    size_t length = strlen(config->runtime_dir);
    int64_t least = 0;

    /* One directory, one spelling: the names of the pools' segments are made from it. */
    while (length > 1 && config->runtime_dir[length - 1] == '/')
        config->runtime_dir[--length] = '\0';
    if (strchr(config->runtime_dir, ',') != NULL)
        return config_fail_key(p, "runtime_dir",
                               "workers could not connect to \"%s\", for libpq takes a comma for a list of "
                               "directories; write a path without",
                               config->runtime_dir);
    if (config->audit.archive_command.count > ARCHIVE_WORDS_MAX)
        return config_fail_key(p, "audit.archive_command", "it has more than %d words; write a script that has them",
                               ARCHIVE_WORDS_MAX);
    for (size_t i = 0; i < config->pools; i++)
        least += config->pool[i].size_min;
    if (config->max_backends != 0 && least > config->max_backends)
        return config_fail_key(p, "max_backends",
                               "%" PRId64 " is less than the pools' size.min together, %" PRId64
                               "; raise it or lower those",
                               config->max_backends, least);
    if (config->pools == 0)
        return config_fail_key(p, "pools", "there is no pool; write at least one, {\"NAME\": {\"database\": {...}}}");
    return true;
}
