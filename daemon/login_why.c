/* SPDX-License-Identifier: ISC */
/*
 * login_why.c - what to do about an encrypted login that failed.
 *
 * libpq says of a certificate that it was not verified, and never why. The hard thing: it frees the TLS session before
 * it returns, so that the reason is read when OpenSSL frees it, for which it asks whoever has data of his own with it.
 */
#include "login.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <string.h>
#include <unistd.h>

static long verified = X509_V_OK; /* what came of the certificate of the last session that was freed */

static void on_free(void *ssl, void *data, CRYPTO_EX_DATA *all, int index, long number, void *argument)
{
    (void)data;
    (void)all;
    (void)index;
    (void)number;
    (void)argument;
    verified = SSL_get_verify_result(ssl);
}

void login_why_watch(void)
{
    (void)SSL_get_ex_new_index(0, NULL, NULL, NULL, on_free);
}

#define NO_AUTHORITY "name the file of the authority that signed it in sslrootcert"

/* First match decides: by what OpenSSL found wrong with the certificate, or else by libpq's or the server's words. */
static const struct {
    long verified;
    const char *words, *advice;
} rows[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, NULL, "renew it on the server, or set this machine's clock right"},
    {X509_V_ERR_CERT_NOT_YET_VALID, NULL, "set the clocks of both machines right"},
    {X509_V_ERR_CERT_REVOKED, NULL, "give the server another one: this one must not be trusted any more"},
    {X509_V_ERR_UNABLE_TO_GET_CRL, NULL, "sslcrl or sslcrldir has no list of the authority that signed it: add that"},
    {X509_V_ERR_CRL_HAS_EXPIRED, NULL, "renew the list in sslcrl or sslcrldir"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, NULL, NO_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, NULL, NO_AUTHORITY},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, NULL, NO_AUTHORITY},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, NULL, NO_AUTHORITY},
    {X509_V_ERR_CERT_SIGNATURE_FAILURE, NULL, NO_AUTHORITY},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, NULL,
     "have it signed by an authority, or name the certificate itself in sslrootcert"},
    {X509_V_OK, "does not match host name", "write a name that the certificate has as host, or have one made for it"},
    {X509_V_OK, "server does not support SSL", "set \"ssl = on\" at the server"},
    {X509_V_OK, "received unencrypted data after SSL response",
     "somebody on the way to the server may have put it there: look for them"},
    {X509_V_OK, "does not support any SSL protocol version",
     "let the server speak a newer TLS, or set ssl_min_protocol_version"},
    {X509_V_OK, "requires a valid client certificate", "set sslcert and sslkey to what the server's authority signed"},
    {X509_V_OK, "channel binding",
     "let the server's pg_hba.conf ask for scram-sha-256 and set the role's password anew, or do without "
     "channel_binding"},
};

/* OpenSSL looks at certificates that nobody asked about, too. */
static bool is_unverified(const char *line)
{
    return verified != X509_V_OK && strstr(line, "certificate verify failed") != NULL;
}

void login_why(char *line, size_t size)
{
    bool unverified = is_unverified(line);
    const char *advice = NULL;

    for (size_t i = 0; i < sizeof rows / sizeof rows[0] && advice == NULL; i++)
        if (rows[i].words == NULL ? unverified && rows[i].verified == verified : strstr(line, rows[i].words) != NULL)
            advice = rows[i].advice;
    if (unverified)
        (void)snprintf(line + strlen(line), size - strlen(line), " (%s)", X509_verify_cert_error_string(verified));
    if (advice != NULL)
        (void)snprintf(line + strlen(line), size - strlen(line), ": %s", advice);
}

/* libpq goes on without a list of revoked certificates that it cannot read. */
bool login_has_revoked(const struct database_config *database, char *error, size_t size)
{
    X509_STORE *store = X509_STORE_new();
    bool good = true;

    if (*database->sslcrl != '\0' && X509_STORE_load_locations(store, database->sslcrl, NULL) != 1) {
        (void)snprintf(error, size,
                       "cannot read sslcrl \"%s\": %s; without it nothing tells a revoked certificate from a good one",
                       database->sslcrl,
                       access(database->sslcrl, R_OK) == -1 ? strerror(errno)
                                                            : "it has no certificate revocation list");
        good = false;
    } else if (*database->sslcrldir != '\0' && access(database->sslcrldir, R_OK | X_OK) == -1) {
        (void)snprintf(error, size,
                       "cannot look into sslcrldir \"%s\": %s; without it nothing tells a revoked certificate from a "
                       "good one",
                       database->sslcrldir, strerror(errno));
        good = false;
    }
    X509_STORE_free(store);
    ERR_clear_error();
    return good;
}
