/* SPDX-License-Identifier: ISC */
/*
 * privilege.c - users, groups and capabilities: what each process may still do.
 *
 * The hard thing is to be sure. Whatever was given up is looked at again afterwards, and a process that could not give
 * it up does not go on. Capabilities are set by the raw system calls: two calls are not worth a library.
 */
#include "daemon.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NSS_BUFFER 65536

/*
 * What a keeper started as root goes on with: to start the supervisor as another user (SETUID, SETGID), to end a
 * login of another user (KILL), and to read configuration and passwords wherever root could when it started
 * (DAC_READ_SEARCH; with SETUID it adds nothing to what the keeper could do anyway).
 */
static const unsigned keeper_capabilities[] = {CAP_SETUID, CAP_SETGID, CAP_KILL, CAP_DAC_READ_SEARCH};

/* And to see which programs workers run, where that is recorded or asked for. */
static bool looks_at_programs;

struct account {
    uid_t uid;
    gid_t gid;
    char name[NAME_FIELD];
    char home[256];
};

static bool all_digits(const char *text)
{
    return *text != '\0' && strspn(text, "0123456789") == strlen(text) && strlen(text) < 10;
}

/* 1: found, 0: no such user, -1: could not be looked up (errno). NAME may be a number. */
static int find_user(const char *name, struct account *account)
{
    static char buffer[NSS_BUFFER];
    struct passwd entry, *found = NULL;
    int error = all_digits(name) ? getpwuid_r((uid_t)strtoul(name, NULL, 10), &entry, buffer, sizeof buffer, &found)
                                 : getpwnam_r(name, &entry, buffer, sizeof buffer, &found);

    if (found == NULL) {
        errno = error;
        return error == 0 || error == ENOENT ? 0 : -1;
    }
    account->uid = found->pw_uid;
    account->gid = found->pw_gid;
    (void)snprintf(account->name, sizeof account->name, "%s", found->pw_name);
    (void)snprintf(account->home, sizeof account->home, "%s", found->pw_dir);
    return 1;
}

static int find_group(const char *name, gid_t *gid)
{
    static char buffer[NSS_BUFFER];
    struct group entry, *found = NULL;
    int error;

    if (all_digits(name)) {
        *gid = (gid_t)strtoul(name, NULL, 10);
        return 1;
    }
    error = getgrnam_r(name, &entry, buffer, sizeof buffer, &found);
    if (found == NULL) {
        errno = error;
        return error == 0 || error == ENOENT ? 0 : -1;
    }
    *gid = found->gr_gid;
    return 1;
}

static int not_found(const char *what, const char *name, int found, char *error, size_t size)
{
    if (found == 0)
        (void)snprintf(error, size, "%s \"%s\" does not exist: create it, or set %s in the configuration", what, name,
                       what);
    else
        (void)snprintf(error, size, "cannot look up %s \"%s\": %s", what, name, strerror(errno));
    return -1;
}

/* USER and, unless it is "", GROUP. */
static int find_account(const char *user, const char *group, struct account *account, char *error, size_t size)
{
    int found = find_user(user, account);

    if (found != 1)
        return not_found("user", user, found, error, size);
    found = *group == '\0' ? 1 : find_group(group, &account->gid);
    if (found != 1)
        return not_found("group", group, found, error, size);
    return 0;
}

int privilege_resolve(const struct config *config, struct run_as *as, char *error, size_t size)
{
    struct account account = {0};
    const char *user = config->user;

    if (geteuid() != 0) {
        as->uid = geteuid();
        as->gid = getegid();
        (void)identity_user_name(as->uid, as->user);
        return 0;
    }
    if (*user == '\0' && find_user("pglend", &account) == 1)
        user = "pglend";
    if (*user == '\0') {
        user = "nobody";
        log_warning("there is no user \"pglend\": running as nobody, which other programs may share; create the user "
                    "or set \"user\"");
    }
    if (find_account(user, config->group, &account, error, size) == -1)
        return -1;
    if (account.uid == 0) {
        (void)snprintf(error, size, "user \"%s\" is root: set \"user\" to an unprivileged user", user);
        return -1;
    }
    /* A password file may be readable to it. */
    if (account.gid == 0) {
        (void)snprintf(error, size, "the group that user \"%s\" would have is root's: set \"group\" to another", user);
        return -1;
    }
    as->uid = account.uid;
    as->gid = account.gid;
    (void)snprintf(as->user, sizeof as->user, "%s", account.name);
    return 0;
}

int privilege_resolve_audit(const struct config *config, const char *user, char *name, size_t size, char *error,
                            size_t error_size)
{
    struct account account = {0};
    int found;

    (void)snprintf(name, size, "%s", user);
    if (geteuid() != 0)
        return 0;
    if (*config->audit_user != '\0') {
        found = find_user(config->audit_user, &account);
        if (found != 1)
            return not_found("audit_user", config->audit_user, found, error, error_size);
        if (account.uid == 0) {
            (void)snprintf(error, error_size, "audit_user \"%s\" is root: set it to an unprivileged user",
                           config->audit_user);
            return -1;
        }
        if (strcmp(account.name, user) == 0)
            log_warning("audit_user \"%s\" is the other processes' user, who can then change the trail; name another",
                        user);
    } else if (find_user("pglend-audit", &account) != 1) {
        log_warning("there is no user \"pglend-audit\": the audit process runs as %s, who can then change the trail; "
                    "create the user or set \"audit_user\"",
                    user);
        return 0;
    }
    (void)snprintf(name, size, "%s", account.name);
    return 0;
}

static bool ids_are(uid_t uid, gid_t gid)
{
    uid_t real_uid, effective_uid, saved_uid;
    gid_t real_gid, effective_gid, saved_gid;

    return getresuid(&real_uid, &effective_uid, &saved_uid) == 0 &&
           getresgid(&real_gid, &effective_gid, &saved_gid) == 0 && real_uid == uid && effective_uid == uid &&
           saved_uid == uid && real_gid == gid && effective_gid == gid && saved_gid == gid;
}

int privilege_drop(const char *user, const char *group, char *error, size_t size)
{
    struct account account = {0};

    if (geteuid() != 0)
        return 0;
    if (find_account(user, group, &account, error, size) == -1)
        return -1;
    if (account.uid == 0) {
        (void)snprintf(error, size, "user \"%s\" is root", user);
        return -1;
    }
    if (initgroups(account.name, account.gid) == -1 || setresgid(account.gid, account.gid, account.gid) == -1 ||
        setresuid(account.uid, account.uid, account.uid) == -1) {
        (void)snprintf(error, size, "cannot become user \"%s\": %s", user, strerror(errno));
        return -1;
    }
    if (!ids_are(account.uid, account.gid) || setuid(0) == 0) {
        (void)snprintf(error, size, "becoming user \"%s\" did not hold", user);
        return -1;
    }
    return 0;
}

int privilege_home(char *home, size_t size)
{
    struct account account = {0};
    char uid[16];

    (void)snprintf(uid, sizeof uid, "%u", (unsigned)geteuid());
    if (find_user(uid, &account) != 1)
        return -1;
    (void)snprintf(home, size, "%s", account.home);
    return 0;
}

void privilege_harden(void)
{
    const struct rlimit none = {0, 0};

    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 ||
        setrlimit(RLIMIT_CORE, &none) == -1)
        fatal(1, "cannot give up dumps and privileges: %s", strerror(errno));
}

/* Whole pages: what else is on the first and the last stays in memory too. */
void privilege_guard(void *from, size_t length)
{
    static bool said;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)from & ~(page - 1);
    size_t whole = ((uintptr_t)from + length - at + page - 1) & ~(page - 1);
    char *begin = (char *)from - ((uintptr_t)from - at);
    bool guarded = madvise(begin, whole, MADV_DONTDUMP) == 0 && mlock(begin, whole) == 0;

    if (!guarded && !said)
        log_warning("%zu bytes that hold a secret may be swapped to disk: %s; raise the limit of locked memory "
                    "(LimitMEMLOCK, ulimit -l)",
                    whole, strerror(errno));
    said = said || !guarded;
}

void privilege_raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) == -1)
        log_warning("cannot raise the limit of descriptors: %s", strerror(errno));
}

static bool keeper_needs(unsigned capability)
{
    if (capability == CAP_SYS_PTRACE)
        return looks_at_programs;
    for (size_t i = 0; i < sizeof keeper_capabilities / sizeof keeper_capabilities[0]; i++)
        if (keeper_capabilities[i] == capability)
            return true;
    return false;
}

static bool wants_programs(const struct config *config)
{
    bool wants = *config->audit.directory != '\0';

    for (size_t i = 0; i < config->pools; i++)
        wants |= config->pool[i].access.executables.count > 0;
    return wants;
}

int privilege_keep_few(const struct config *config, char *error, size_t size)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct now[2], few[2] = {{0}};

    if (geteuid() != 0)
        return 0;
    looks_at_programs = wants_programs(config);
    /* EINVAL: beyond the last capability this kernel knows. EPERM: none to give up (a container's own restriction). */
    for (unsigned c = 0; c < 64; c++)
        if (!keeper_needs(c) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) == -1 && errno != EINVAL && errno != EPERM)
            goto failed;
    if (syscall(SYS_capget, &header, now) == -1)
        goto failed;
    for (unsigned c = 0; c < 64; c++)
        if (keeper_needs(c))
            few[c / 32].permitted |= now[c / 32].permitted & (1U << (c % 32));
    few[0].effective = few[0].permitted;
    few[1].effective = few[1].permitted;
    if (syscall(SYS_capset, &header, few) == -1)
        goto failed;
    return 0;

failed:
    (void)snprintf(error, size, "cannot give up capabilities: %s", strerror(errno));
    return -1;
}
