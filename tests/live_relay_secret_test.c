/* SPDX-License-Identifier: ISC */
/*
 * live_relay_secret_test.c - what a relay takes from a login is the session alone: passwords that SCRAM reads otherwise
 * than they are written or that are short, a cancel key, and a client's key with its passphrase stay behind.
 *
 * Over TLS the process that logged in becomes the relay; without, it ends, and the same must hold of all others.
 */
#include "harness.h"
#include "needles.h"
#include "tls.h"

#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- passwords and cancel keys ---- */

/* Everybody who lives on after a login, and what they share. */
static void nowhere(const struct pglendd *d, pid_t worker, int relays)
{
    nowhere_in_relays(d, relays);
    nowhere_in_process(pglendd_process(d, "supervisor"));
    nowhere_in_process(worker);
    nowhere_in_directory("/dev/shm");
    nowhere_in_directory(d->directory);
    nowhere_in_directory(d->runtime_dir);
}

/* A session's cancel key, which nobody but the keeper may have: is one in a piece of its memory? Then look for it. */
static bool take_cancel_key(const char *bytes, size_t length, void *taken)
{
    static const char before[] = "\"pid\":";
    uint32_t key[2];
    char text[16];

    for (const char *job = bytes;
         (job = memmem(job, (size_t)(bytes + length - job), before, sizeof before - 1)) != NULL; job++) {
        if (sscanf(job, "\"pid\":%u,\"key\":\"%8x\"", &key[0], &key[1]) != 2)
            continue;
        look_for("a cancel key, as libpq has it", key, sizeof key);
        (void)snprintf(text, sizeof text, "%08x", key[1]);
        look_for("a cancel key, as libpq prints it", text, 8);
        return *(bool *)taken = true;
    }
    return false;
}

static void look_for_cancel_key(const struct pglendd *d)
{
    bool taken = false;

    ck_assert(process_memory(d->pid, take_cancel_key, &taken));
    ck_assert_msg(taken, "the keeper has no cancel key");
}

/* What stands round the drawn digits, and what SCRAM makes of that (RFC 4013). */
static const struct {
    const char *what, *before, *after, *before_scram, *after_scram;
    size_t digits;
} passwords[] = {
    {"the password", "", "", "", "", 32},
    {"a short password", "", "", "", "", 5},
    {"a password that is not ASCII", "\u00a0", "\ufb01n", " ", "fin", 24},
};

static void set_password(struct postgres *server, int row, const char *path)
{
    char canary[NEEDLE_MAX], text[NEEDLE_MAX + 16], sql[512];
    FILE *f;

    draw_secret(canary, passwords[row].digits);
    (void)snprintf(text, sizeof text, "%s%s%s", passwords[row].before_scram, canary, passwords[row].after_scram);
    look_for("the password as SCRAM has it", text, strlen(text));
    (void)snprintf(text, sizeof text, "%s%s%s", passwords[row].before, canary, passwords[row].after);
    look_for(passwords[row].what, text, strlen(text));
    (void)snprintf(sql, sizeof sql, "alter role clinic password '%s'", text);
    postgres_run(server, sql);
    ck_assert_ptr_nonnull(f = fopen(path, "w"));
    ck_assert(fprintf(f, "%s\n", text) > 0 && fchmod(fileno(f), 0600) == 0 && fclose(f) == 0);
}

START_TEST(password_of_any_kind_is_nowhere)
{
    char path[128], overrides[512];
    struct worker_process worker;
    struct postgres *server;
    struct pglendd *d;

    if (geteuid() != 0) {
        printf("not searched for the password: only root may look into other processes\n");
        return;
    }
    server = postgres_start(0);
    worker_fork(&worker, lease_and_stay, "clinic");
    (void)snprintf(path, sizeof path, "%s/canary", harness_directory());
    set_password(server, _i, path);
    (void)snprintf(overrides, sizeof overrides,
                   "{'pools': {'clinic': {'database': {'host': '127.0.0.1', 'password_file': '%s'}, 'size': {'min': "
                   "2}}}}",
                   path);
    d = pglendd_start(server, overrides);
    ck_assert_int_eq(send(worker.sock, d->runtime_dir, sizeof d->runtime_dir, 0), sizeof d->runtime_dir);
    ck_assert_int_eq(hear(worker.sock, 20), 'h');
    everywhere_here();
    nowhere_in_process(d->pid);
    look_for_cancel_key(d);
    nowhere(d, worker.pid, postgres_certificate() != NULL ? NEEDLE_LEASES : 0);
    look_no_more(2); /* the cancel key is the keeper's to know */
    fail_a_login(server, d);
    nowhere_in_process(d->pid);
    nowhere(d, worker.pid, 0);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    pglendd_stop(d);
    postgres_free(server);
}
END_TEST

/* ---- the client's key ---- */

/* A prime of it, as OpenSSL computes with it on this machine and as files have it; and a line of the file. */
static void look_for_key(const char *passphrase)
{
    unsigned char prime[NEEDLE_MAX];
    char path[128], line[128];
    BIGNUM *p = NULL;
    EVP_PKEY *key;
    FILE *f;

    (void)snprintf(path, sizeof path, "%s/client.key", harness_directory());
    ck_assert_ptr_nonnull(f = fopen(path, "re"));
    ck_assert_ptr_nonnull(key = PEM_read_PrivateKey(f, NULL, NULL, (void *)passphrase));
    ck_assert_int_eq(EVP_PKEY_get_bn_param(key, "rsa-factor1", &p), 1);
    ck_assert_int_eq(BN_bn2lebinpad(p, prime, 128), 128);
    look_for("a prime of the key", prime, 128);
    ck_assert_int_eq(BN_bn2binpad(p, prime, 128), 128);
    look_for("a prime of the key, as DER has it", prime, 128);
    BN_clear_free(p);
    EVP_PKEY_free(key);
    rewind(f);
    for (int i = 0; i < 4; i++)
        ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
    (void)fclose(f);
    look_for("the key's file", line, strcspn(line, "\n"));
}

START_TEST(key_is_nowhere)
{
    struct worker_process worker;
    char passphrase[33];
    uid_t uid;
    gid_t gid;

    if (geteuid() != 0) {
        printf("not searched for the key: only root may look into other processes\n");
        return;
    }
    worker_fork(&worker, lease_and_stay, "clinic_certificate");
    draw_secret(passphrase, 32);
    look_for("the key's passphrase", passphrase, 32);
    tls_authority("ours");
    tls_certificate("good", "ours", "IP:127.0.0.1", 2);
    harness_unprivileged(&uid, &gid);
    tls_shell("openssl genrsa -aes256 -passout 'pass:%s' -out client.key 2048 2>client.log && "
              "openssl req -new -key client.key -passin 'pass:%s' -subj /CN=client -out client.csr && "
              "openssl x509 -req -in client.csr -CA ours.crt -CAkey ours.key -CAcreateserial -days 2 -out client.crt "
              "2>>client.log && chmod 644 client.crt && chown %u client.key && "
              "printf '[key]\\nsslpassword=%s\\n' >services && chown %u services",
              passphrase, passphrase, (unsigned)uid, passphrase, (unsigned)uid);
    tls_serve("good");
    tls_wants_certificate();
    tls_daemon = pglendd_start(
        tls_server, tls_overrides(TLS_VERIFIED ", 'user': 'clinic_certificate', 'sslcert': '$/client.crt', 'sslkey': "
                                               "'$/client.key', 'service': 'key', 'servicefile': '$/services'",
                                  "'size': {'min': 1, 'max': 3}"));
    ck_assert_int_eq(send(worker.sock, tls_daemon->runtime_dir, sizeof tls_daemon->runtime_dir, 0),
                     sizeof tls_daemon->runtime_dir);
    ck_assert_int_eq(hear(worker.sock, 20), 'h');
    look_for_key(passphrase);
    nowhere_in_process(tls_daemon->pid);
    nowhere(tls_daemon, worker.pid, NEEDLE_LEASES);
    say(worker.sock, 'g');
    ck_assert_int_eq(worker_wait(&worker, 10), 0);
    pglendd_stop(tls_daemon);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("live_relay_secret");
    TCase *tc = harness_live_case(suite, "passwords", 60);

    tcase_add_loop_test(tc, password_of_any_kind_is_nowhere, 0, (int)(sizeof passwords / sizeof passwords[0]));
    tc = harness_live_case(suite, "key", 60);
    tcase_add_checked_fixture(tc, tls_begin, NULL);
    tcase_add_test(tc, key_is_nowhere);
    return harness_main(suite);
}
