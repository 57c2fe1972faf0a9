/* SPDX-License-Identifier: ISC */
/*
 * login_facts.c - what is known of a new session: its parameters, its protection, and how to cancel its queries.
 *
 * The hard thing: a CancelRequest goes over a connection of its own, which must be as protected as the session is, and
 * libpq alone knows what came of configuration, service and defaults. So what it verified the server by is read back.
 */
#include "login.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* What decides which server is the right one; passed on by libpq's own names. */
static const char *const tls_keywords[] = {
    "sslmode", "sslrootcert", "sslcrl", "sslcrldir", "sslsni", "ssl_min_protocol_version", "ssl_max_protocol_version",
};

/* The files that libpq takes, if they exist, where none is named: below the home directory. */
static const struct {
    const char *keyword, *unless, *file;
} tls_files[] = {
    {"sslrootcert", "sslrootcert", "root.crt"},
    {"sslcrl", "sslcrldir", "root.crl"},
};

static char *hexadecimal(const unsigned char *bytes, size_t length)
{
    char *text = calloc(length, 2 + 1);

    for (size_t i = 0; text != NULL && i < length; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return text;
}

/* Where CONN leads, a socket address as hexadecimal; NULL if it leads nowhere any more. */
static char *peer_of(const PGconn *conn)
{
    _Alignas(struct sockaddr_storage) unsigned char peer[sizeof(struct sockaddr_storage)] = {0};
    socklen_t length = sizeof peer;

    if (getpeername(PQsocket(conn), (struct sockaddr *)peer, &length) == -1 || length == 0 || length > sizeof peer)
        return NULL;
    return hexadecimal(peer, length);
}

static void add_default_files(json_t *tls)
{
    const char *home = getenv("HOME");
    char path[512];

    for (size_t i = 0; i < sizeof tls_files / sizeof tls_files[0] && home != NULL; i++) {
        (void)snprintf(path, sizeof path, "%s/.postgresql/%s", home, tls_files[i].file);
        if (json_object_get(tls, tls_files[i].keyword) == NULL && json_object_get(tls, tls_files[i].unless) == NULL &&
            access(path, F_OK) == 0)
            (void)json_object_set_new(tls, tls_files[i].keyword, json_string(path));
    }
}

static json_t *tls_settings(PGconn *conn)
{
    PQconninfoOption *options = PQconninfo(conn);
    json_t *tls = json_pack("{s:s}", "host", PQhost(conn));

    for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
        for (size_t i = 0; i < sizeof tls_keywords / sizeof tls_keywords[0]; i++)
            if (strcmp(o->keyword, tls_keywords[i]) == 0 && o->val != NULL && *o->val != '\0')
                (void)json_object_set_new(tls, o->keyword, json_string(o->val));
    add_default_files(tls);
    if (options == NULL) {
        json_decref(tls);
        tls = NULL;
    }
    PQconninfoFree(options);
    return tls;
}

/* The details of a job "cancel", as one line of JSON; the keeper takes it out. */
static bool add_cancel(struct message *m, PGconn *conn, const char *peer, const char *key)
{
    json_t *details = json_pack("{s:s, s:i, s:s}", "peer", peer, "pid", PQbackendPID(conn), "key", key);
    bool done = !PQsslInUse(conn) || json_object_set_new(details, "tls", tls_settings(conn)) == 0;
    char *text = done ? json_dumps(details, JSON_COMPACT) : NULL;

    done = text != NULL && fact_add(m, FACT_CANCEL_JOB, text);
    if (text != NULL)
        explicit_bzero(text, strlen(text));
    free(text);
    json_decref(details);
    return done;
}

/* A service may have a say in that, which the supervisor does not know. */
static bool add_insecure(struct message *m, PGconn *conn)
{
    PQconninfoOption *options = PQconninfo(conn);
    bool fits = options != NULL &&
                (!conninfo_is_insecure(options) || fact_add(m, ".insecure", conninfo_value(options, "sslmode")));

    PQconninfoFree(options);
    return fits;
}

/* Whose a certificate is, and until when it is good. */
static bool add_certificate(struct message *m, const X509 *certificate, const char *subject, const char *expires)
{
    char text[512] = "", end[24] = "";
    struct tm tm;

    if (certificate == NULL)
        return true;
    (void)X509_NAME_oneline(X509_get_subject_name(certificate), text, sizeof text);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1)
        (void)snprintf(end, sizeof end, "%lld", (long long)timegm(&tm));
    return fact_add(m, subject, text) && fact_add(m, expires, end);
}

/* What protects the session. */
static bool add_protection(struct message *m, PGconn *conn)
{
    SSL *ssl = PQsslStruct(conn, "OpenSSL");
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    bool fits = add_certificate(m, certificate, ".certificate", ".certificate_expires") &&
                add_certificate(m, SSL_get_certificate(ssl), ".client_certificate", ".client_certificate_expires");
    char text[128];

    X509_free(certificate);
    (void)snprintf(text, sizeof text, "%s %s", SSL_get_version(ssl), SSL_get_cipher_name(ssl));
    return fits && fact_add(m, ".tls", text);
}

bool login_facts(struct message *m, PGconn *conn, const struct trace *trace, char *why, size_t size)
{
    bool readable =
        getenv("PGLEND_NO_CANCEL_KEY") == NULL && trace->key[0] != '\0' && trace->backend_pid == PQbackendPID(conn);
    bool fits = true;
    char *peer = peer_of(conn);

    if (peer == NULL) {
        (void)snprintf(why, size, "the server closed the new session at once");
        return false;
    }
    for (size_t i = 0; i < trace->names; i++)
        fits = fits && fact_add(m, trace->name[i], PQparameterStatus(conn, trace->name[i]));
    fits = fits && fact_add(m, ".user", PQuser(conn)) && fact_add(m, ".dbname", PQdb(conn));
    fits = fits && fact_add(m, ".host", PQhost(conn)) && fact_add(m, ".port", PQport(conn)) &&
           fact_add(m, ".address", PQhostaddr(conn));
    fits = fits && fact_add(m, ".cancel", readable ? "key" : "query");
    fits = fits && add_insecure(m, conn) && fact_add(m, FACT_MODE, PQsslInUse(conn) ? MODE_RELAY : MODE_PLAIN);
    fits = fits && (!PQsslInUse(conn) || add_protection(m, conn));
    fits = fits && (!readable || add_cancel(m, conn, peer, trace->key));
    free(peer);
    if (!fits)
        (void)snprintf(why, size, "the server's parameters are longer than a message between processes");
    return fits;
}
