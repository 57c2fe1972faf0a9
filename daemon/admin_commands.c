/* SPDX-License-Identifier: ISC */
/*
 * admin_commands.c - the commands of admin.sock.
 *
 * Each row's function answers its request once. What is shown is gathered anew for each request: the slots' words are
 * the truth, and there is no second set of books that could disagree with them.
 */
#include "admin_server.h"
#include "pglend.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct pool *nearest_pool(const struct supervisor *s, const char *name)
{
    struct nearest nearest = {.word = name};
    struct pool *best = NULL;

    for (size_t i = 0; i < s->pools; i++) {
        const char *before = nearest.best;

        nearest_consider(&nearest, s->pool[i]->config->name);
        if (nearest.best != before)
            best = s->pool[i];
    }
    return best;
}

static void no_such_pool(struct admin_connection *c, const char *name)
{
    const struct pool *nearest = nearest_pool(c->supervisor, name);

    if (nearest != NULL)
        admin_fail(c, ADMIN_NO_SUCH_POOL, "no pool \"%.64s\"; did you mean \"%s\"?", name, nearest->config->name);
    else
        admin_fail(c, ADMIN_NO_SUCH_POOL, "no pool \"%.64s\"; the command pools lists them", name);
}

/* The next word of *LIST into WORD, cut where it is longer than any name; false: there is none. */
static bool next_name(const char **list, char word[NAME_FIELD + 1])
{
    size_t length;

    *list += strspn(*list, " ");
    length = strcspn(*list, " ");
    (void)snprintf(word, NAME_FIELD + 1, "%.*s", (int)(length < NAME_FIELD ? length : NAME_FIELD), *list);
    *list += length;
    return length > 0;
}

bool admin_names_known(struct admin_connection *c)
{
    const char *list = json_string_value(json_object_get(c->args, "pool"));
    char name[NAME_FIELD + 1];

    if (list != NULL && *(list + strspn(list, " ")) == '\0') {
        admin_fail(c, ADMIN_BAD_REQUEST, "argument \"pool\" is empty; leave it out for all pools");
        return false;
    }
    while (list != NULL && next_name(&list, name))
        if (supervisor_pool(c->supervisor, name) == NULL) {
            no_such_pool(c, name);
            return false;
        }
    return true;
}

bool admin_is_chosen(const struct admin_connection *c, const struct pool *pool)
{
    const char *list = json_string_value(json_object_get(c->args, "pool"));
    char name[NAME_FIELD + 1];
    bool chosen = list == NULL;

    while (!chosen && next_name(&list, name))
        chosen = strcmp(name, pool->config->name) == 0;
    return chosen;
}

/* Answer with what REPORT says of each chosen pool. */
static void answer_each(struct admin_connection *c, bool (*report)(json_t *array, struct pool *pool))
{
    const struct supervisor *s = c->supervisor;
    json_t *array;
    bool complete = true;

    if (!admin_names_known(c))
        return;
    array = json_array();
    for (size_t i = 0; i < s->pools && complete; i++)
        if (admin_is_chosen(c, s->pool[i]))
            complete = report(array, s->pool[i]);
    if (!complete) {
        json_decref(array);
        array = NULL;
    }
    admin_answer(c, array);
}

static void command_pools(struct admin_connection *c)
{
    answer_each(c, admin_report_pool);
}

static void command_slots(struct admin_connection *c)
{
    answer_each(c, admin_report_slots);
}

static void command_waiters(struct admin_connection *c)
{
    answer_each(c, admin_report_waiters);
}

static void command_stats(struct admin_connection *c)
{
    answer_each(c, admin_report_stats);
}

static void command_workers(struct admin_connection *c)
{
    json_t *array;

    if (!admin_names_known(c))
        return;
    array = json_array();
    if (!admin_report_workers(array, c)) {
        json_decref(array);
        array = NULL;
    }
    admin_answer(c, array);
}

static void command_status(struct admin_connection *c)
{
    const struct supervisor *s = c->supervisor;
    json_int_t uptime = (json_int_t)time(NULL) - (json_int_t)s->started;
    json_t *pools = json_array();
    bool complete = pools != NULL;

    for (size_t i = 0; i < s->pools && complete; i++)
        complete = admin_report_pool(pools, s->pool[i]);
    if (!complete) {
        json_decref(pools);
        admin_answer(c, NULL);
        return;
    }
    admin_answer(c, json_pack("{s:s, s:i, s:i, s:I, s:s, s:I, s:b, s:o}", "version", PGLEND_VERSION, "pid",
                              (int)getpid(), "keeper_pid", (int)getppid(), "uptime_s", uptime > 0 ? uptime : 0, "audit",
                              audit_link_state(s), "audit_syslog_lost", (json_int_t)audit_link_syslog_lost(),
                              "stopping", s->stopping, "pools", pools));
}

static void command_config(struct admin_connection *c)
{
    admin_answer(c, config_json(c->supervisor->config));
}

static void command_reload(struct admin_connection *c)
{
    admin_ask_reload(c);
}

static void command_shutdown(struct admin_connection *c)
{
    static const struct {
        const char *name;
        enum shutdown_mode mode;
    } modes[] = {{"graceful", SHUTDOWN_GRACEFUL}, {"fast", SHUTDOWN_FAST}};
    const char *name = json_string_value(json_object_get(c->args, "mode"));

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        if (strcmp(name != NULL ? name : "graceful", modes[i].name) != 0)
            continue;
        supervisor_tell(c->supervisor, MESSAGE_SHUTDOWN, "", 0, modes[i].mode);
        admin_answer(c, json_pack("{s:s}", "mode", modes[i].name));
        return;
    }
    admin_fail(c, ADMIN_BAD_REQUEST, "shutdown: mode \"%.64s\" is neither graceful nor fast", name);
}

static void command_help(struct admin_connection *c)
{
    static const char *const role_names[ADMIN_ROLES] = ADMIN_ROLE_NAMES;
    json_t *rows = json_array();

    for (size_t i = 0; i < admin_command_count; i++) {
        const struct admin_command *row = &admin_commands[i];

        json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:s}", "name", row->name, "args", row->arguments,
                                              "usage", row->usage, "role", role_names[row->role], "help", row->help));
    }
    admin_answer(c, rows);
}

#define ROW(name, args, usage, role, help) {#name, args, usage, role, help, command_##name},
const struct admin_command admin_commands[] = {ADMIN_COMMANDS(ROW) /* what the command line has too */
                                               ROW(help, "", "", ADMIN_READ, "List the commands.")};
#undef ROW
const size_t admin_command_count = sizeof(admin_commands) / sizeof(admin_commands[0]);

const struct admin_command *admin_command_find(const char *name, const char **near)
{
    struct nearest nearest = {.word = name};

    *near = NULL;
    for (size_t i = 0; i < admin_command_count; i++) {
        if (strcmp(admin_commands[i].name, name) == 0)
            return &admin_commands[i];
        nearest_consider(&nearest, admin_commands[i].name);
    }
    *near = nearest.best;
    return NULL;
}
