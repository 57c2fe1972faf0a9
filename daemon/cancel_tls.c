/* SPDX-License-Identifier: ISC */
/*
 * cancel_tls.c - a CancelRequest to a server that the session speaks TLS with, by OpenSSL itself.
 *
 * libpq before version 17 sends them in the clear. The hard thing: whoever has the key can cancel any query of the
 * session, so the server is verified exactly as libpq verified the session's, with the settings that the login read
 * back from libpq, and without TLS nothing is sent.
 */
#include "login.h"
#include "pgwire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

struct attempt {
    int sock;
    int64_t until;
    const json_t *tls; /* libpq's settings by their names, and the host */
    SSL *ssl;
    char *why;
    size_t size;
};

static const char *setting(const struct attempt *a, const char *keyword)
{
    const char *text = json_string_value(json_object_get(a->tls, keyword));

    return text == NULL ? "" : text;
}

/* False, with why: the words, and what OpenSSL has to say. */
__attribute__((format(printf, 2, 3))) static bool refuse(const struct attempt *a, const char *format, ...)
{
    unsigned long code = ERR_peek_last_error();
    va_list args;

    va_start(args, format);
    (void)vsnprintf(a->why, a->size, format, args);
    va_end(args);
    if (code != 0 && ERR_reason_error_string(code) != NULL)
        (void)snprintf(a->why + strlen(a->why), a->size - strlen(a->why), ": %s", ERR_reason_error_string(code));
    ERR_clear_error();
    return false;
}

static int protocol(const char *name)
{
    static const struct {
        const char *name;
        int version;
    } rows[] = {
        {"TLSv1", TLS1_VERSION}, {"TLSv1.1", TLS1_1_VERSION}, {"TLSv1.2", TLS1_2_VERSION}, {"TLSv1.3", TLS1_3_VERSION}};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (strcmp(rows[i].name, name) == 0)
            return rows[i].version;
    return 0; /* OpenSSL's own bound */
}

static bool load_authorities(const struct attempt *a, SSL_CTX *context, const char *file)
{
    if (strcmp(file, "system") == 0)
        return SSL_CTX_set_default_verify_paths(context) == 1;
    return SSL_CTX_load_verify_file(context, file) == 1 || refuse(a, "cannot read sslrootcert \"%s\"", file);
}

static bool load_revoked(const struct attempt *a, SSL_CTX *context)
{
    const char *file = setting(a, "sslcrl"), *directory = setting(a, "sslcrldir");
    X509_STORE *store = SSL_CTX_get_cert_store(context);

    if (*file == '\0' && *directory == '\0')
        return true;
    if (X509_STORE_load_locations(store, *file != '\0' ? file : NULL, *directory != '\0' ? directory : NULL) != 1)
        return refuse(a, "cannot read sslcrl \"%s\" and sslcrldir \"%s\"", file, directory);
    return X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL) == 1;
}

/* As libpq has it: where authorities are known the chain is verified, whatever sslmode says. */
static bool set_up(const struct attempt *a, SSL_CTX *context)
{
    const char *authorities = setting(a, "sslrootcert");
    bool known = *authorities != '\0' && (strcmp(authorities, "system") == 0 || access(authorities, F_OK) == 0);

    if (!known && strncmp(setting(a, "sslmode"), "verify-", 7) == 0)
        return refuse(a, "sslrootcert \"%s\" does not exist, and sslmode is %s", authorities, setting(a, "sslmode"));
    if (SSL_CTX_set_min_proto_version(context, protocol(setting(a, "ssl_min_protocol_version"))) != 1 ||
        SSL_CTX_set_max_proto_version(context, protocol(setting(a, "ssl_max_protocol_version"))) != 1)
        return refuse(a, "cannot bound the version of TLS");
    if (!known)
        return true;
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    return load_authorities(a, context, authorities) && load_revoked(a, context);
}

/* What libpq takes for an address, of which it tells the server nothing. */
static bool is_address(const char *host)
{
    return strspn(host, "0123456789.") == strlen(host) || strchr(host, ':') != NULL;
}

static bool begin(struct attempt *a, SSL_CTX *context)
{
    const char *host = setting(a, "host");

    a->ssl = SSL_new(context);
    if (a->ssl == NULL || SSL_set_fd(a->ssl, a->sock) != 1)
        return refuse(a, "out of memory");
    if (*host != '\0' && !is_address(host) && strcmp(setting(a, "sslsni"), "0") != 0 &&
        SSL_set_tlsext_host_name(a->ssl, host) != 1)
        return refuse(a, "cannot tell the server the host's name \"%s\"", host);
    return true;
}

/* Wait for what an SSL call that returned STATUS wants. False: it failed, or time is up. */
static bool may_go_on(const struct attempt *a, int status)
{
    switch (SSL_get_error(a->ssl, status)) {
    case SSL_ERROR_WANT_READ:
        return cancel_wait(a->sock, POLLIN, a->until) == 0;
    case SSL_ERROR_WANT_WRITE:
        return cancel_wait(a->sock, POLLOUT, a->until) == 0;
    default:
        return false;
    }
}

/* One byte is read and no more: what came behind it in the clear is then no handshake. */
static bool ask_for_tls(const struct attempt *a)
{
    const uint32_t request[2] = {htonl(sizeof request), htonl(PG_CODE_SSL)};
    char answer = '\0';

    if (send(a->sock, request, sizeof request, MSG_NOSIGNAL) != sizeof request ||
        cancel_wait(a->sock, POLLIN, a->until) == -1 || recv(a->sock, &answer, 1, 0) != 1)
        return refuse(a, "the server does not answer the request for TLS: %s", strerror(errno));
    return answer == 'S' || refuse(a, "the server does not speak TLS, as it did when the session began; nothing is "
                                      "sent in the clear");
}

static bool shake_hands(const struct attempt *a)
{
    int status;

    errno = 0;
    ERR_clear_error();
    while ((status = SSL_connect(a->ssl)) != 1)
        if (!may_go_on(a, status)) {
            long verified = SSL_get_verify_result(a->ssl);

            return refuse(a, "TLS handshake: %s",
                          verified != X509_V_OK ? X509_verify_cert_error_string(verified)
                          : errno != 0          ? strerror(errno)
                                                : "refused");
        }
    return true;
}

/* libpq compares a host that is an address with names too, so an address may be either. */
static bool is_right_host(const struct attempt *a)
{
    const char *host = setting(a, "host");
    X509 *certificate = SSL_get1_peer_certificate(a->ssl);
    bool right = strcmp(setting(a, "sslmode"), "verify-full") != 0;

    if (!right && certificate != NULL && *host != '\0')
        right = X509_check_host(certificate, host, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1 ||
                X509_check_ip_asc(certificate, host, 0) == 1;
    X509_free(certificate);
    return right || refuse(a, "the server's certificate is not for host \"%s\"", host);
}

static bool write_all(const struct attempt *a, const unsigned char *request, size_t size)
{
    int status;

    while ((status = SSL_write(a->ssl, request, (int)size)) <= 0)
        if (!may_go_on(a, status))
            return refuse(a, "cannot write: %s", strerror(errno));
    return true;
}

/* NOLINTBEGIN(readability-non-const-parameter): it is written through what is made of it */
enum cancel_status cancel_tls(int sock, const json_t *tls, const unsigned char *request, size_t size, int64_t until,
                              char *why, size_t why_size)
/* NOLINTEND(readability-non-const-parameter) */
{
    struct attempt a = {.sock = sock, .until = until, .tls = tls, .why = why, .size = why_size};
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    enum cancel_status status = CANCEL_NOT_SENT;

    if (context == NULL)
        (void)refuse(&a, "out of memory");
    else if (set_up(&a, context) && ask_for_tls(&a) && begin(&a, context) && shake_hands(&a) && is_right_host(&a))
        status = write_all(&a, request, size) ? CANCEL_DONE : CANCEL_LOST;
    SSL_free(a.ssl);
    SSL_CTX_free(context);
    return status;
}
