/* SPDX-License-Identifier: ISC */
/*
 * admin_request.c - one request of admin.sock: understand it, check who may, run its command.
 *
 * The peer may be any user that can enter the runtime directory: its line is garbage until proven otherwise, and who
 * it is comes from the kernel alone.
 */
#include "admin_server.h"
#include <string.h>
#include <unistd.h>

#define ID_TEXT_MAX 128

static const char *const role_names[ADMIN_ROLES] = ADMIN_ROLE_NAMES;

void admin_fail(struct admin_connection *c, const char *code, const char *format, ...)
{
    char text[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    admin_send(c, json_pack("{s:O?, s:b, s:{s:s, s:o}}", "id", c->id, "ok", 0, "error", "code", code, "message",
                            admin_text(text, sizeof(text))));
}

void admin_answer(struct admin_connection *c, json_t *result)
{
    if (result == NULL)
        admin_fail(c, ADMIN_FAILED, "the supervisor is out of memory");
    else
        admin_send(c, json_pack("{s:O?, s:b, s:o}", "id", c->id, "ok", 1, "result", result));
}

static bool may_override(const struct admin_connection *c)
{
    return c->peer.uid == 0 || identity_allowed(&c->peer, &c->supervisor->config->admin_override);
}

/* Asked anew for each request, because a reload may change it. */
int admin_peer_role(const struct admin_connection *c)
{
    const struct config *config = c->supervisor->config;
    const struct access_config *access[] = {&config->admin_read, &config->admin_operate, &config->admin_control};

    if (c->peer.uid == 0 || c->peer.uid == geteuid())
        return ADMIN_CONTROL;
    for (int role = ADMIN_CONTROL; role >= ADMIN_READ; role--)
        if (identity_allowed(&c->peer, access[role]))
            return role;
    return may_override(c) ? ADMIN_READ : -1;
}

static bool permitted(struct admin_connection *c, const struct admin_command *command)
{
    static struct log_limit limit = {.kind = "admin: denied"};
    char name[64];
    const char *user = names_of_user(c->peer.uid, name);

    if (command->role == ADMIN_OVERRIDE ? may_override(c) : admin_peer_role(c) >= (int)command->role) {
        if (command->role > ADMIN_READ)
            log_info("admin: %s by user %s (uid %u, pid %d)", command->name, user, c->peer.uid, c->peer.pid);
        return true;
    }
    if (!c->denial_logged && log_permitted(&limit))
        log_warning("admin: %s denied to user %s (uid %u, pid %d)", command->name, user, c->peer.uid, c->peer.pid);
    c->denial_logged = true;
    admin_fail(c, ADMIN_DENIED,
               "%s needs the role %s, which user %s (uid %u) does not have; whoever runs pglendd can add the user to "
               "admin.%s.users in the configuration",
               command->name, role_names[command->role], user, c->peer.uid, role_names[command->role]);
    return false;
}

/* ARGS are an object of strings whose names COMMAND knows. */
static bool arguments_fit(struct admin_connection *c, const struct admin_command *command, json_t *args)
{
    const char *key;
    json_t *value;

    if (args != NULL && !json_is_object(args)) {
        admin_fail(c, ADMIN_BAD_REQUEST, "%s: args is not an object", command->name);
        return false;
    }
    json_object_foreach(args, key, value)
    {
        size_t length = strlen(key);
        const char *at = command->arguments;

        while (at != NULL &&
               (strncmp(at, key, length) != 0 || length == 0 || (at[length] != '\0' && at[length] != ' ')))
            at = (at = strchr(at, ' ')) != NULL ? at + 1 : NULL;
        if (at == NULL) {
            admin_fail(c, ADMIN_BAD_REQUEST, "%s: unknown argument \"%.64s\"; it takes %s", command->name, key,
                       command->arguments[0] != '\0' ? command->arguments : "none");
            return false;
        }
        if (!json_is_string(value)) {
            admin_fail(c, ADMIN_BAD_REQUEST, "%s: argument \"%s\" is not a string", command->name, key);
            return false;
        }
    }
    return true;
}

static void run(struct admin_connection *c, const char *name, json_t *args)
{
    const char *near = NULL;
    const struct admin_command *command = admin_command_find(name, &near);

    c->command = command == NULL ? NULL : command->name;
    if (command == NULL && near != NULL)
        admin_fail(c, ADMIN_UNKNOWN_COMMAND, "unknown command \"%.64s\"; did you mean \"%s\"?", name, near);
    else if (command == NULL)
        admin_fail(c, ADMIN_UNKNOWN_COMMAND, "unknown command \"%.64s\"; the command help lists them", name);
    else if (permitted(c, command) && arguments_fit(c, command, args)) {
        c->args = json_incref(args);
        command->run(c);
    }
}

void admin_request(struct admin_connection *c, const char *line, size_t length)
{
    json_error_t error;
    json_t *request = json_loadb(line, length, JSON_REJECT_DUPLICATES, &error);
    json_t *id = json_object_get(request, "id");
    const char *name = json_string_value(json_object_get(request, "command"));
    bool id_fits = id == NULL || json_is_integer(id) || (json_is_string(id) && json_string_length(id) <= ID_TEXT_MAX);

    if (id_fits)
        c->id = json_incref(id);
    if (request == NULL)
        admin_fail(c, ADMIN_BAD_REQUEST, "column %d: %s; send {\"id\":1,\"command\":\"help\"}", error.column,
                   error.text);
    else if (!id_fits)
        admin_fail(c, ADMIN_BAD_REQUEST, "id is neither an integer nor a string of at most %d bytes", ID_TEXT_MAX);
    else if (name == NULL)
        admin_fail(c, ADMIN_BAD_REQUEST, "no command; send {\"id\":1,\"command\":\"help\"}");
    else
        run(c, name, json_object_get(request, "args"));
    json_decref(request);
}
