/* SPDX-License-Identifier: ISC */
/*
 * config_table.c - every key of the configuration, one row each.
 *
 * The order of the rows is the order of the normalised configuration, the schema and the manual; rows of one object
 * stand together. The text of a default is parsed like a value in the file, so it obeys the row's own limits.
 */
#include "config_table.h"
#include "daemon.h"
#include "sandbox.h"
#include "wire.h"

#define FILE_KEY(field) .scope = SCOPE_FILE, .offset = offsetof(struct config, field)
#define POOL_KEY(field) .scope = SCOPE_POOL, .offset = offsetof(struct pool_config, field)

#define SECOND INT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

#define ACCOUNT_MAX  256
#define HOST_MAX     1023
#define FILE_MAX     1023
#define SOCKET_MAX   107              /* of a path: sockaddr_un */
#define DATABASE_MAX (NAME_FIELD - 1) /* names of databases and roles: what PostgreSQL itself keeps */

static const char *const log_levels[] = {[LOG_LEVEL_ERROR] = "error",
                                         [LOG_LEVEL_WARNING] = "warning",
                                         [LOG_LEVEL_INFO] = "info",
                                         [LOG_LEVEL_DEBUG] = "debug",
                                         NULL};
static const char *const log_formats[] = {[LOG_FORMAT_TEXT] = "text", [LOG_FORMAT_JSON] = "json", NULL};
static const char *const audit_syncs[] = {[AUDIT_SYNC_BATCHED] = "batched", [AUDIT_SYNC_DURABLE] = "durable", NULL};
static const char *const audit_failures[] = {[AUDIT_FAILURE_DEGRADE] = "degrade", [AUDIT_FAILURE_DENY] = "deny", NULL};
static const char *const isolations[] = {[ISOLATION_SHARED] = "shared", [ISOLATION_STRICT] = "strict", NULL};
static const char *const sslmodes[] = {"disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL};
static const char *const tls_versions[] = {"TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3", NULL};
static const char *const channel_bindings[] = {"disable", "prefer", "require", NULL};
static const char *const role_changes[] = {[ROLE_CHANGE_RELEASE] = "release", [ROLE_CHANGE_REVOKE] = "revoke", NULL};
static const char *const session_attrs[] = {"any",     "read-write",     "read-only", "primary",
                                            "standby", "prefer-standby", NULL};

static const char *const sandbox_modes[] = {
    [SANDBOX_ENFORCE] = "enforce", [SANDBOX_LOG] = "log", [SANDBOX_OFF] = "off", NULL};
static const char *const profiles[] = {[PROFILE_NONE] = "none", [PROFILE_REGULATED] = "regulated", NULL};

const struct config_row config_row[] = {
    {"profile", FILE_KEY(profile), .kind = &kind_enum, .fallback = "\"none\"", .names = profiles,
     .takes = TAKES_RESTART,
     .help = "regulated: defaults for databases that the law protects, and no start with a weaker "
             "key; --check-config lists the keys and the reasons. See pglend-hipaa(7)."},
    {"runtime_dir", FILE_KEY(runtime_dir), .kind = &kind_file, .fallback = "\"/run/pglend\"", .min = 1,
     .max = RUNTIME_DIR_MAX, .takes = TAKES_RESTART,
     .help = "Directory of the sockets worker.sock, admin.sock and .s.PGSQL.6432. Its path has no comma."},
    {"user", FILE_KEY(user), .kind = &kind_string, .fallback = "\"\"", .max = ACCOUNT_MAX, .takes = TAKES_RESTART,
     .help = "Account of the unprivileged processes when started as root. Empty: pglend if it exists, else nobody, "
             "with a warning."},
    {"group", FILE_KEY(group), .kind = &kind_string, .fallback = "\"\"", .max = ACCOUNT_MAX, .takes = TAKES_RESTART,
     .help = "Group of the unprivileged processes when started as root. Empty: the user's own. It may not be root's."},
    {"audit_user", FILE_KEY(audit_user), .kind = &kind_string, .fallback = "\"\"", .max = ACCOUNT_MAX,
     .takes = TAKES_RESTART,
     .help = "Account of the audit process when started as root. Empty: pglend-audit if it exists, else as user."},
    {"sandbox", FILE_KEY(sandbox), .kind = &kind_enum, .fallback = "\"enforce\"", .names = sandbox_modes,
     .takes = TAKES_RESTART,
     .help = "System calls that a process of pglendd does not need: enforce: they fail with EPERM and "
             "are logged. log: they succeed, and the kernel's log names them. off: no filter."},
    {"log.level", FILE_KEY(log_level), .kind = &kind_enum, .fallback = "\"info\"", .names = log_levels,
     .help = "Least important messages that are logged."},
    {"log.format", FILE_KEY(log_format), .kind = &kind_enum, .fallback = "\"text\"", .names = log_formats,
     .help = "Form of a log line."},
    {"admin.read.users", FILE_KEY(admin_read.users), .kind = &kind_list, .fallback = "[\"root\"]", .max = ACCOUNT_MAX,
     .help = "Users, by name or number, who may look: status, pools, slots, workers, waiters, stats, inventory, "
             "config. Names "
             "are looked up when the configuration is read."},
    {"admin.read.groups", FILE_KEY(admin_read.groups), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Groups whose members may look."},
    {"admin.operate.users", FILE_KEY(admin_operate.users), .kind = &kind_list, .fallback = "[\"root\"]",
     .max = ACCOUNT_MAX, .help = "Users who may look and operate: reload, pause, resume, disable, enable, recycle."},
    {"admin.operate.groups", FILE_KEY(admin_operate.groups), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Groups whose members may look and operate."},
    {"admin.control.users", FILE_KEY(admin_control.users), .kind = &kind_list, .fallback = "[\"root\"]",
     .max = ACCOUNT_MAX, .help = "Users who may do all but override, so also resize, revoke and shutdown."},
    {"admin.control.groups", FILE_KEY(admin_control.groups), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Groups whose members may do all but override."},
    {"admin.override.users", FILE_KEY(admin_override.users), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Users who may look, and open a pool in an emergency (override); while that lasts they "
             "may borrow from it themselves. No other role includes this; root has it."},
    {"admin.override.groups", FILE_KEY(admin_override.groups), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Groups whose members may do so."},
    {"audit.directory", FILE_KEY(audit.directory), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RESTART,
     .help = "Directory of the audit trail, set up with pglend audit init. Empty: there is no audit trail."},
    {"audit.sync", FILE_KEY(audit.sync), .kind = &kind_enum, .fallback = "\"batched\"", .names = audit_syncs,
     .takes = TAKES_RESTART,
     .help = "When records are on disk. batched: within window. durable: a lease's before it begins "
             "(strict isolation), and what the daemon does itself at once, records of the same moment "
             "together; others within 5 ms."},
    {"audit.window", FILE_KEY(audit.window_ms), .kind = &kind_duration, .fallback = "\"50ms\"", .min = 1, .max = MINUTE,
     .takes = TAKES_RESTART,
     .help = "Longest time that a record waits for the disk where sync is batched, and so the most "
             "that a crash may lose."},
    {"audit.checkpoint", FILE_KEY(audit.checkpoint_ms), .kind = &kind_duration, .fallback = "\"10s\"", .min = SECOND,
     .max = DAY, .takes = TAKES_RESTART,
     .help = "Time between signed checkpoints, which also appear in the log; one is made after every "
             "1000 records, too."},
    {"audit.segment_size", FILE_KEY(audit.segment_size), .kind = &kind_size, .fallback = "\"64MiB\"", .min = 1 << 16,
     .max = 1 << 30, .takes = TAKES_RESTART, .help = "How large a file grows before the next is begun."},
    {"audit.rotate", FILE_KEY(audit.rotate_ms), .kind = &kind_duration, .fallback = "\"1d\"", .max = 365 * DAY,
     .takes = TAKES_RESTART, .help = "Time after which the next file is begun. 0s: by size alone."},
    {"audit.reserve", FILE_KEY(audit.reserve), .kind = &kind_size, .fallback = "\"16MiB\"", .max = 1 << 30,
     .takes = TAKES_RESTART, .help = "Space kept allocated beside the trail for when the disk is full."},
    {"audit.archive_command", FILE_KEY(audit.archive_command), .kind = &kind_list, .fallback = "[]",
     .example = "[\"/usr/local/bin/store\", \"six-years\"]", .max = FILE_MAX, .takes = TAKES_RESTART,
     .help = "Program and arguments that store a closed file elsewhere; its path is the last argument. Exit status 0: "
             "it is stored. Runs as audit_user, without a shell. Empty: none, and files are kept."},
    {"audit.local_retention", FILE_KEY(audit.local_retention_ms), .kind = &kind_duration, .fallback = "\"30d\"",
     .max = 3650 * DAY, .takes = TAKES_RESTART,
     .help = "How long a file is kept here after it was stored elsewhere. Years are the archive's duty."},
    {"audit.on_audit_failure", FILE_KEY(audit.on_failure), .kind = &kind_enum, .fallback = "\"degrade\"",
     .names = audit_failures, .takes = TAKES_RESTART,
     .help =
         "While the trail cannot be written: degrade: lend on, with an error in log and status. deny: lend nothing."},
    {"audit.syslog", FILE_KEY(audit.syslog), .kind = &kind_file, .fallback = "\"\"", .max = SOCKET_MAX,
     .takes = TAKES_RESTART,
     .help = "Socket of the system's logger, usually /dev/log, that each checkpoint is sent to as "
             "well. Nothing waits for it; what it does not accept is counted. Empty: none."},
    {"max_backends", FILE_KEY(max_backends), .kind = &kind_integer, .fallback = "0", .max = INT32_MAX,
     .help = "Most sessions of all pools together, including logins under way. A pool that needs one "
             "more gets it when an idle one of another pool, above its size.min, has ended. 0: as "
             "many as the pools may have."},
    {"shutdown_timeout", FILE_KEY(shutdown_timeout_ms), .kind = &kind_duration, .fallback = "\"30s\"", .max = DAY,
     .help = "How long a graceful shutdown waits for leases that are out."},

    {"database.host", POOL_KEY(database.host), .kind = &kind_string, .fallback = "\"\"", .max = HOST_MAX,
     .takes = TAKES_RECYCLE,
     .help = "Host name, address, or directory of a Unix socket; several are separated by commas and tried in order. "
             "Empty: libpq's default, a Unix socket."},
    {"database.port", POOL_KEY(database.port), .kind = &kind_port, .fallback = "\"\"", .max = HOST_MAX,
     .takes = TAKES_RECYCLE, .help = "Port, or one for each host. Empty: libpq's default, 5432."},
    {"database.dbname", POOL_KEY(database.dbname), .kind = &kind_string, .fallback = "\"\"", .max = DATABASE_MAX,
     .takes = TAKES_RECYCLE, .own = true, .help = "Database. Required, unless a service names it."},
    {"database.user", POOL_KEY(database.user), .kind = &kind_string, .fallback = "\"\"", .max = DATABASE_MAX,
     .takes = TAKES_RECYCLE, .own = true,
     .help = "Role to log in as. Empty: the service's, or the account the login runs as."},
    {"database.password_file", POOL_KEY(database.password_file), .kind = &kind_file, .fallback = "\"\"",
     .max = FILE_MAX, .takes = TAKES_RECYCLE, .own = true, .secret = true,
     .help = "File whose first line is the role's password. It must be a regular file of root or of the keeper's user "
             "that others cannot read."},
    {"database.password_credential", POOL_KEY(database.password_credential), .kind = &kind_string, .fallback = "\"\"",
     .max = ACCOUNT_MAX, .takes = TAKES_RECYCLE, .own = true, .secret = true,
     .help = "Name of a credential that systemd gives the service (LoadCredential), instead of password_file."},
    {"database.password_command", POOL_KEY(database.password_command), .kind = &kind_list, .fallback = "[]",
     .example = "[\"/usr/local/bin/token\", \"clinic\"]", .max = FILE_MAX, .takes = TAKES_RECYCLE, .own = true,
     .secret = true,
     .help = "Program and arguments that print the password, such as a token that is valid for some "
             "minutes, instead of password_file. Run for each login with pglendd's own rights, "
             "without a shell, for three quarters of login.timeout at most; nobody but root and "
             "pglendd's own user may be able to write the program."},
    {"database.passfile", POOL_KEY(database.passfile), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .secret = true, .takes = TAKES_RECYCLE, .help = "File in libpq's .pgpass format, instead of password_file."},
    {"database.service", POOL_KEY(database.service), .kind = &kind_string, .fallback = "\"\"", .max = ACCOUNT_MAX,
     .takes = TAKES_RECYCLE, .own = true, .help = "Name of a libpq service: supplies what this object leaves empty."},
    {"database.servicefile", POOL_KEY(database.servicefile), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RECYCLE, .help = "libpq's service file. Empty: its default one."},
    {"database.sslmode", POOL_KEY(database.sslmode), .kind = &kind_choice, .fallback = "\"\"", .names = sslmodes,
     .takes = TAKES_RECYCLE,
     .help = "As in libpq. Empty: what the service says, or else disable where every host is a Unix "
             "socket or loopback, verify-full elsewhere. A service that leads to another host with "
             "anything weaker is refused at the login, unless allow_insecure is set."},
    {"database.sslrootcert", POOL_KEY(database.sslrootcert), .kind = &kind_string, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RECYCLE,
     .help = "File of the certificate authorities that the server's certificate is checked against, "
             "or whatever else libpq accepts here. Empty, where a certificate is checked: the "
             "system's authorities; with a service, only if that names none either, which "
             "--print-config cannot know."},
    {"database.allow_insecure", POOL_KEY(database.allow_insecure), .kind = &kind_boolean, .fallback = "false",
     .help = "Allow sslmode to be weaker than verify-full for a server on another host. Shown in "
             "status, and logged at each start."},
    {"database.sslcert", POOL_KEY(database.sslcert), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RECYCLE, .help = "File of the client's certificate."},
    {"database.sslkey", POOL_KEY(database.sslkey), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .secret = true, .takes = TAKES_RECYCLE, .help = "File of the client certificate's key."},
    {"database.sslcrl", POOL_KEY(database.sslcrl), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RECYCLE,
     .help = "File of revoked server certificates, a list for each authority. It must be there, unlike in libpq."},
    {"database.sslcrldir", POOL_KEY(database.sslcrldir), .kind = &kind_file, .fallback = "\"\"", .max = FILE_MAX,
     .takes = TAKES_RECYCLE, .help = "Directory of such files, named as openssl rehash does. It must be there, too."},
    {"database.sslsni", POOL_KEY(database.sslsni), .kind = &kind_boolean, .fallback = "true", .takes = TAKES_RECYCLE,
     .help = "Tell the server, in the clear, which host is meant: some proxies need to know."},
    {"database.ssl_min_protocol_version", POOL_KEY(database.ssl_min_protocol_version), .kind = &kind_choice,
     .fallback = "\"\"", .names = tls_versions, .takes = TAKES_RECYCLE,
     .help = "Oldest TLS version that is accepted. Empty: libpq's default."},
    {"database.ssl_max_protocol_version", POOL_KEY(database.ssl_max_protocol_version), .kind = &kind_choice,
     .fallback = "\"\"", .names = tls_versions, .takes = TAKES_RECYCLE,
     .help = "Newest TLS version that is offered. Empty: the newest there is."},
    {"database.channel_binding", POOL_KEY(database.channel_binding), .kind = &kind_choice, .fallback = "\"\"",
     .names = channel_bindings, .takes = TAKES_RECYCLE, .help = "As in libpq. Empty: libpq's default."},
    {"database.target_session_attrs", POOL_KEY(database.target_session_attrs), .kind = &kind_choice, .fallback = "\"\"",
     .names = session_attrs, .takes = TAKES_RECYCLE,
     .help = "Which of several hosts will do, as in libpq. Empty: any."},
    {"database.role_check", POOL_KEY(database.role_check_ms), .kind = &kind_duration, .fallback = "\"5s\"", .max = DAY,
     .help = "How often servers are asked whether they are still what target_session_attrs asks for, "
             "where that is read-write, read-only, primary or standby. Idle sessions ask; where all "
             "of a server's are lent, a login made for it does. Idle sessions on a server that has "
             "changed are closed at once. 0s: never."},
    {"database.role_change", POOL_KEY(database.role_change), .kind = &kind_enum, .fallback = "\"release\"",
     .names = role_changes,
     .help = "What becomes of leases on a server that is no longer what was asked for. release: they "
             "go on, and their sessions are replaced when they come back. revoke: they are taken "
             "away."},
    {"database.application_name", POOL_KEY(database.application_name), .kind = &kind_string, .fallback = "\"\"",
     .max = DATABASE_MAX, .takes = TAKES_RECYCLE,
     .help = "Name of the sessions in pg_stat_activity. Empty: pglend: and the pool's name."},
    {"database.settings", POOL_KEY(database.settings), .kind = &kind_settings, .fallback = "{}", .max = FILE_MAX,
     .takes = TAKES_RECYCLE,
     .help = "Server settings of the sessions, sent at login, so that a reset comes back to them. A pool's object "
             "replaces that of the defaults."},
    {"database.tcp_keepalives", POOL_KEY(database.tcp_keepalives), .kind = &kind_boolean, .fallback = "true",
     .takes = TAKES_RECYCLE,
     .help = "Let the kernel probe idle connections, often enough to notice within tcp_user_timeout "
             "that the network is gone. Without it libpq does not set that either."},
    {"database.tcp_user_timeout", POOL_KEY(database.tcp_user_timeout_ms), .kind = &kind_duration, .fallback = "\"30s\"",
     .max = DAY, .takes = TAKES_RECYCLE,
     .help = "How long sent data may stay unacknowledged before the connection is given up. 0s: the system's default."},

    {"size.min", POOL_KEY(size_min), .kind = &kind_integer, .fallback = "2", .max = SLOTS_MAX,
     .help = "Connections kept open when nobody borrows. If it is not given and max is less: max."},
    {"size.max", POOL_KEY(size_max), .kind = &kind_integer, .fallback = "20", .min = 1, .max = SLOTS_MAX,
     .help = "Most connections at a time."},
    {"size.limit", POOL_KEY(size_limit), .kind = &kind_integer, .fallback = "100", .min = 1, .max = SLOTS_MAX,
     .takes = TAKES_RESTART,
     .help = "What max can be raised to without a restart: the shared memory has room for so many. If "
             "it is not given and max is more: max."},
    {"access.users", POOL_KEY(access.users), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Users, by name or number, whose processes may borrow. Without users and groups: the supervisor's own "
             "user and root."},
    {"access.groups", POOL_KEY(access.groups), .kind = &kind_list, .fallback = "[]", .max = ACCOUNT_MAX,
     .help = "Groups, by name or number, whose members' processes may borrow."},
    {"access.executables", POOL_KEY(access.executables), .kind = &kind_list, .fallback = "[]",
     .example = "[\"/usr/sbin/apache2\"]", .max = FILE_MAX, .takes = TAKES_RESTART,
     .help = "Programs, by absolute path, that a process must run to borrow, whoever owns it, root "
             "included. Empty: any. What counts is what it runs at its hello. See pglendd(8), STRICT "
             "ISOLATION, for what that is worth."},
    {"require_actor", POOL_KEY(require_actor), .kind = &kind_boolean, .fallback = "false",
     .help = "Lend only to a borrower that names whom it works for, with pglend_acquire_as()."},
    {"purposes", POOL_KEY(purposes), .kind = &kind_list, .fallback = "[]", .example = "[\"treatment\", \"payment\"]",
     .max = ACTOR_MAX,
     .help =
         "Purposes of which a borrower must name one. Any other text, which might be about a patient, is refused and "
         "recorded nowhere. Empty: any text, or none."},
    {"context", POOL_KEY(context), .kind = &kind_boolean, .fallback = "false", .takes = TAKES_RESTART,
     .help = "Tell each lease's session what it is for: the settings pglend.lease, pglend.actor and "
             "pglend.purpose, and application_name, which is the lease and then the actor, cut at 63 "
             "bytes. It takes a round trip at each acquire; the reset takes it back, and so must be "
             "full or replace. It is for log_line_prefix and reports: any statement can set these, an "
             "injected one too, so nothing may be allowed because of them."},
    {"isolation", POOL_KEY(isolation), .kind = &kind_enum, .fallback = "\"shared\"", .names = isolations,
     .takes = TAKES_RESTART,
     .help = "How far workers of the pool are kept apart. shared: they trust each other and hand "
             "connections on among themselves. strict: the supervisor makes each lease, resets the "
             "session after it and attests both; workers may not run as the supervisor's user, and "
             "reset must be full or replace. Once the lease is over, what a strict worker keeps of an "
             "encrypted connection is dead; a plain one is the server's own socket, of which a worker "
             "that means to can keep a duplicate."},
    {"guard", POOL_KEY(guard), .kind = &kind_boolean, .fallback = "true",
     .help = "Make use of a connection after its release an error, instead of a disturbance of its next borrower."},
    {"cache_per_worker", POOL_KEY(cache_per_worker), .kind = &kind_integer, .fallback = "8", .min = 1, .max = 64,
     .help = "Connections that a worker keeps prepared for its next lease."},
    {"max_workers", POOL_KEY(max_workers), .kind = &kind_integer, .fallback = "4096", .min = 1, .max = BORROWERS_MAX,
     .takes = TAKES_RESTART, .help = "Most processes and threads that may hold or wait at a time."},
    {"init_query", POOL_KEY(init_query), .kind = &kind_string, .fallback = "\"\"", .max = RESET_QUERY_MAX,
     .takes = TAKES_RECYCLE,
     .help = "Statement for each new session, before it is lent for the first time. If it fails, so "
             "does the login. The first reset undoes what it SETs: that belongs in database.settings. "
             "Empty: none."},
    {"reset", POOL_KEY(reset), .kind = &kind_reset, .fallback = "\"full\"", .max = RESET_QUERY_MAX,
     .help = "What cleans a session between borrowers. full: DISCARD ALL. rollback: only end the transaction. none: "
             "the same, and only where one is open. replace: a new session each time. query: this statement."},
    {"reset_timeout", POOL_KEY(reset_timeout_ms), .kind = &kind_duration, .fallback = "\"1s\"", .min = 1,
     .max = RESET_TIMEOUT_MAX,
     .help = "How long the server may take to answer a reset before its session is replaced."},
    {"acquire_timeout", POOL_KEY(acquire_timeout_ms), .kind = &kind_duration, .fallback = "\"5s\"", .max = WAIT_MAX,
     .help = "How long a borrower waits that gives no timeout of its own."},
    {"max_waiters", POOL_KEY(max_waiters), .kind = &kind_integer, .fallback = "0", .max = BORROWERS_MAX,
     .help = "Most borrowers that wait at a time: one more is refused at once, as PGLEND_QUEUE_FULL. 0: any number."},
    {"unavailable_after", POOL_KEY(unavailable_after_ms), .kind = &kind_duration, .fallback = "\"3s\"", .max = DAY,
     .help = "When nothing has been connected for this long, borrowers are refused at once."},
    {"idle_timeout", POOL_KEY(idle_timeout_ms), .kind = &kind_duration, .fallback = "\"10m\"", .max = 30 * DAY,
     .help = "A connection that nobody has borrowed for this long is closed while there are more than "
             "size.min. 0s: never."},
    {"max_lifetime", POOL_KEY(max_lifetime_ms), .kind = &kind_duration, .fallback = "\"30m\"", .max = 365 * DAY,
     .help =
         "A connection older than this (up to 2.5 % less, by chance) is replaced, one a second at most: never while "
         "it is lent, and only when its replacement has logged in, so that the server may see one session more "
         "than size.max. While logins fail it stays. 0s: never."},
    {"max_uses", POOL_KEY(max_uses), .kind = &kind_integer, .fallback = "0", .max = INT32_MAX,
     .help = "A connection that has been borrowed this often is replaced in the same way. 0: never."},
    {"keepalive", POOL_KEY(keepalive_ms), .kind = &kind_duration, .fallback = "\"30s\"", .max = DAY,
     .help = "A connection that nobody has borrowed for this long is asked for a sign of life, and "
             "again after each such time. 0s: never."},
    {"check_query", POOL_KEY(check_query), .kind = &kind_string, .fallback = "\"\"", .max = RESET_QUERY_MAX,
     .help = "What is asked then. Empty: the empty query, which costs the server least. An error ends "
             "the session."},
    {"check_timeout", POOL_KEY(check_timeout_ms), .kind = &kind_duration, .fallback = "\"5s\"", .min = 1,
     .max = 10 * MINUTE, .help = "How long the server may take to answer before the session is replaced."},
    {"certificate_warn", POOL_KEY(certificate_warn_ms), .kind = &kind_duration, .fallback = "\"14d\"",
     .max = 3650 * DAY,
     .help =
         "How long before its end a certificate, a server's or our own (sslcert), is warned about, in status and once "
         "a day in the log."},
    {"lease_warn", POOL_KEY(lease_warn_ms), .kind = &kind_duration, .fallback = "\"60s\"", .max = DAY,
     .help = "A lease held longer is logged once, with its holder and what the session is doing, and again when it "
             "comes back. 0s: never."},
    {"lease_max", POOL_KEY(lease_max_ms), .kind = &kind_duration, .fallback = "\"0s\"", .max = 30 * DAY,
     .help = "A lease held longer is revoked. 0s: never."},
    {"lease_idle_max", POOL_KEY(lease_idle_max_ms), .kind = &kind_duration, .fallback = "\"0s\"", .max = 30 * DAY,
     .help = "A lease whose session the server has called idle for longer is revoked. A long query is not idle. 0s: "
             "never."},
    {"lease_idle_in_transaction_max", POOL_KEY(lease_idle_in_transaction_max_ms), .kind = &kind_duration,
     .fallback = "\"0s\"", .max = 30 * DAY, .help = "The same where the session is idle in a transaction. 0s: never."},
    {"login.parallel", POOL_KEY(login_parallel), .kind = &kind_integer, .fallback = "4", .min = 1, .max = 64,
     .help = "Most logins under way at a time."},
    {"login.timeout", POOL_KEY(login_timeout_ms), .kind = &kind_duration, .fallback = "\"15s\"", .min = 100,
     .max = HOUR, .help = "A login that takes longer is killed."},
    {"login.backoff_max", POOL_KEY(login_backoff_max_ms), .kind = &kind_duration, .fallback = "\"5s\"", .min = 10,
     .max = HOUR,
     .help = "Longest pause between failed logins. The pause starts at 10ms and doubles. While nothing is connected it "
             "is 500ms at most, or a hundredth of the time that the database has been down, where that is more."},
};

const size_t config_rows = sizeof config_row / sizeof config_row[0];

const char *config_takes_name(enum config_takes takes)
{
    static const char *const name[] = {
        [TAKES_RELOAD] = "applied", [TAKES_RECYCLE] = CHANGE_RECYCLE, [TAKES_RESTART] = CHANGE_RESTART};

    return name[takes];
}
