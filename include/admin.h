/* SPDX-License-Identifier: ISC */
/*
 * admin.h - what the supervisor and those who administer it agree on: the commands of admin.sock, roles, errors.
 *
 * admin.sock (SOCK_STREAM) carries one JSON object a line. Request and answers:
 *
 *     {"id":1,"command":"slots","args":{"pool":"clinic"}}
 *     {"id":1,"ok":true,"result":[…]}
 *     {"id":1,"ok":false,"error":{"code":"denied","message":"…"}}
 *
 * Answers come in the order of the requests, one request at a time: the next one is read when the last answer has been
 * taken. Id is an integer or a string and comes back as it was sent (null if there was none).
 */
#ifndef PGLEND_ADMIN_H
#define PGLEND_ADMIN_H

#include <stddef.h>

/*
 * Each role includes those before it, but override: that one stands apart, and includes read alone. Emergency access is
 * not for those who run the daemon, nor the daemon for those who may have it.
 */
enum admin_role { ADMIN_READ, ADMIN_OPERATE, ADMIN_CONTROL, ADMIN_OVERRIDE, ADMIN_ROLES };
#define ADMIN_ROLE_NAMES                                                                                               \
    {                                                                                                                  \
        "read", "operate", "control", "override"                                                                       \
    }

/*
 * One row a command: ROW(name, names of its args, the same on the command line, role, help). Both ends build their
 * tables from it, so dispatch, permission and help cannot disagree. Every argument is a string and optional;
 * words of the command line, several where it says "...", are the first of them.
 */
#define ADMIN_COMMANDS(ROW)                                                                                            \
    ROW(status, "", "", ADMIN_READ, "Show the daemon and its pools.")                                                  \
    ROW(pools, "pool", "[POOL ...]", ADMIN_READ, "Show each pool: its state, size and last database error.")           \
    ROW(slots, "pool", "[POOL ...]", ADMIN_READ, "Show each slot: its state, backend and borrower.")                   \
    ROW(workers, "pool", "[POOL ...]", ADMIN_READ, "Show the processes that are attached.")                            \
    ROW(waiters, "pool", "[POOL ...]", ADMIN_READ, "Show who waits for a connection, oldest first.")                   \
    ROW(stats, "pool", "[POOL ...]", ADMIN_READ, "Show how often, how long, and what went wrong.")                     \
    ROW(inventory, "pool", "[POOL ...]", ADMIN_READ,                                                                   \
        "Show what an auditor asks for: pools, roles, ciphers, peers, limits, the audit trail's head.")                \
    ROW(config, "", "", ADMIN_READ, "Show the configuration in force, normalised.")                                    \
    ROW(reload, "", "", ADMIN_OPERATE, "Read the configuration again; a bad one changes nothing.")                     \
    ROW(pause, "pool keep wait timeout", "[--keep] [--wait] [POOL ...]", ADMIN_OPERATE,                                \
        "Lend no more, wait until nothing is lent, close the sessions; borrowers queue up.")                           \
    ROW(resume, "pool wait timeout", "[--wait] [POOL ...]", ADMIN_OPERATE, "Lend again after a pause.")                \
    ROW(disable, "pool wait timeout", "[--wait] [POOL ...]", ADMIN_OPERATE,                                            \
        "Lend no more, close the sessions; borrowers are refused at once.")                                            \
    ROW(enable, "pool wait timeout", "[--wait] [POOL ...]", ADMIN_OPERATE, "Lend again after disable.")                \
    ROW(resize, "pool min max wait timeout", "[--min N] [--max N] [--wait] [POOL ...]", ADMIN_CONTROL,                 \
        "Set size.min and size.max until the next reload.")                                                            \
    ROW(recycle, "pool idle over wait timeout", "[--idle] [--over 10m] [--wait] [POOL ...]", ADMIN_OPERATE,            \
        "Replace each session by a new one when it is not lent.")                                                      \
    ROW(revoke, "slot pid user wait timeout", "[--pid PID] [--user NAME] [--wait] [POOL/SLOT]", ADMIN_CONTROL,         \
        "Take leases away from whoever holds them.")                                                                   \
    ROW(override, "pool reason for end", "--reason TEXT [--for 1h] [--end] POOL ...", ADMIN_OVERRIDE,                  \
        "Emergency access to these pools for a time: recorded first, with its reason.")                                \
    ROW(shutdown, "mode wait", "[--fast|--graceful] [--wait]", ADMIN_CONTROL,                                          \
        "Stop: no new leases, wait for those that are out.")

/* Error codes. */
#define ADMIN_BAD_REQUEST     "bad_request"
#define ADMIN_UNKNOWN_COMMAND "unknown_command"
#define ADMIN_DENIED          "denied"
#define ADMIN_NO_SUCH_POOL    "no_such_pool"
#define ADMIN_FAILED          "failed"
#define ADMIN_TIMED_OUT       "timed_out"

/* nearest.c: what somebody may have meant. Start with only WORD set; BEST stays NULL if nothing comes near. */
struct nearest {
    const char *word;
    const char *best;
    size_t distance;
};
void nearest_consider(struct nearest *n, const char *candidate);

#endif
