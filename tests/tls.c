/* SPDX-License-Identifier: ISC */
/*
 * tls.c - certificates, and servers that show them.
 */
#include "tls.h"
#include "harness.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pglendd *tls_daemon;
const struct postgres *tls_server;

void tls_shell(const char *format, ...)
{
    char command[2048];
    int length = snprintf(command, sizeof command, "cd %s && umask 077 && ", harness_directory());
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command + length, sizeof command - (size_t)length, format, args);
    va_end(args);
    ck_assert_msg(system(command) == 0, "%s", command); /* NOLINT(cert-env33-c) */
}

void tls_authority(const char *name)
{
    tls_shell(
        "[ -e %s.crt ] || openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
        "'/CN=%s' -keyout %s.key -out %s.crt "
        ">%s.log 2>&1 && chmod 644 %s.crt",
        name, name, name, name, name, name);
}

void tls_certificate(const char *name, const char *authority, const char *alt, int days)
{
    tls_shell(
        "openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '/CN=%s' -keyout %s.key -out %s.csr "
        ">%s.log 2>&1 && "
        "printf 'subjectAltName=%s\\n' >%s.ext && openssl x509 -req -in %s.csr -CA %s.crt -CAkey %s.key "
        "-CAcreateserial -days %d -extfile %s.ext -out %s.crt >>%s.log 2>&1 && chmod 644 %s.crt",
        name, name, name, name, alt, name, name, authority, authority, days, name, name, name, name);
}

void tls_revoke(const char *name, const char *authority)
{
    tls_shell(
        "printf '[ca]\\ndefault_ca=a\\n[a]\\ndatabase=%s.db\\ndefault_md=sha256\\ndefault_crl_days=2\\n' >%s.cnf && "
        ": >%s.db && ca='openssl ca -config %s.cnf -cert %s.crt -keyfile %s.key' && $ca -revoke %s.crt >%s.log 2>&1 && "
        "$ca -gencrl -out %s.crl >>%s.log 2>&1 && chmod 644 %s.crl && rm -rf %s.crls && mkdir -m 755 %s.crls && "
        "cp -p %s.crl %s.crls && openssl rehash %s.crls",
        name, name, name, name, authority, authority, name, name, name, name, name, name, name, name, name, name);
}

void tls_set(const char *setting, const char *value)
{
    char sql[512];

    (void)snprintf(sql, sizeof sql, "alter system set %s = '%s'", setting, value);
    postgres_run(tls_server, sql);
    postgres_signal(tls_server, SIGHUP);
    (void)snprintf(sql, sizeof sql, "show %s", setting);
    wait_until(strcmp(postgres_ask(tls_server, sql), value) == 0, 5);
}

void tls_serve(const char *name)
{
    tls_shell("install -m 600 %s.crt %s/data/server.crt && install -m 600 %s.key %s/data/server.key && chown "
              "--reference=%s/data "
              "%s/data/server.crt %s/data/server.key",
              name, tls_server->directory, name, tls_server->directory, tls_server->directory, tls_server->directory,
              tls_server->directory);
    tls_set("ssl", "on");
    harness_sleep_ms(100); /* each session reads the files anew once the postmaster has */
}

void tls_begin(void)
{
    tls_server = harness_server();
    postgres_run(tls_server, "alter system reset all");
    postgres_signal(tls_server, SIGHUP);
}

const char *tls_overrides(const char *database, const char *more)
{
    static char text[4096];
    int at = snprintf(text, sizeof text,
                      "{'pools': {'clinic': {'size': {'min': 1, 'max': 2}, 'unavailable_after': '100ms', %s%s"
                      "'database': {'host': '127.0.0.1', ",
                      more, *more != '\0' ? ", " : "");

    for (; *database != '\0'; database++)
        at += snprintf(text + at, sizeof text - (size_t)at, "%.*s", *database == '$' ? 64 : 1,
                       *database == '$' ? harness_directory() : database);
    (void)snprintf(text + at, sizeof text - (size_t)at, "}}}}");
    return text;
}

void tls_start(const char *database)
{
    tls_daemon = pglendd_start(tls_server, tls_overrides(database, ""));
}

void tls_end(void)
{
    tls_set("ssl", "off");
}

void tls_wants_certificate(void)
{
    tls_shell("install -m 644 ours.crt %s/data/ca.crt", tls_server->directory);
    tls_set("ssl_ca_file", "ca.crt");
}

void tls_start_good(const char *more)
{
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    tls_serve("good");
    tls_daemon = pglendd_start(tls_server, tls_overrides(TLS_VERIFIED, more));
    wait_until(pglendd_count(tls_daemon, "idle") == 1, 10);
}
