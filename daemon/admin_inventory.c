/* SPDX-License-Identifier: ISC */
/*
 * admin_inventory.c - what an auditor asks for, in one answer: who may borrow what as whom, over which ciphers, from
 * which servers, within which limits; who does; and where the audit trail stands.
 *
 * Gathered anew from what is in force, not from the file: servers and ciphers are those of the sessions that there are.
 */
#include "admin_server.h"
#include "pglend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void admin_count_in(json_t *array, json_t *what)
{
    json_t *entry;
    size_t i;

    json_array_foreach(array, i, entry)
    {
        json_t *count = json_object_get(entry, "count");
        json_int_t before = json_integer_value(count);

        json_integer_set(count, 1);
        if (json_equal(entry, what)) {
            json_integer_set(count, before + 1);
            json_decref(what);
            return;
        }
        json_integer_set(count, before);
    }
    json_array_append_new(array, what);
}

static json_t *fact(const struct backend *b, const char *name)
{
    char value[600];

    return backend_fact(b, name, value, sizeof value) != NULL && value[0] != '\0' ? admin_text(value, sizeof value)
                                                                                  : json_null();
}

/* The servers that POOL has sessions with, one entry for those that have all in common. */
static json_t *servers(const struct pool *pool)
{
    json_t *array = json_array();

    for (uint32_t i = 0; pool->backend != NULL && i < pool->segment.slots; i++) {
        const struct backend *b = &pool->backend[i];
        char expires[32];

        if (b->phase == BACKEND_NONE || b->phase == BACKEND_CONNECTING)
            continue;
        admin_count_in(array,
                       json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:i}", "host", fact(b, ".host"), "port",
                                 fact(b, ".port"), "dbname", fact(b, ".dbname"), "role", fact(b, ".user"), "version",
                                 fact(b, "server_version"), "mode", fact(b, FACT_MODE), "tls", fact(b, ".tls"),
                                 "certificate", fact(b, ".certificate"), "certificate_expires",
                                 backend_fact(b, ".certificate_expires", expires, sizeof expires) != NULL
                                     ? json_integer(strtoll(expires, NULL, 10))
                                     : json_null(),
                                 "count", 1));
    }
    return array;
}

static json_t *borrowers(const struct pool *pool)
{
    json_t *array = json_array();

    for (uint32_t i = 0; pool->worker != NULL && i < pool->segment.borrowers; i++) {
        const struct worker *w = pool->worker[i];

        if (w != NULL && !w->dead)
            admin_count_in(array, json_pack("{s:I, s:I, s:o, s:i}", "uid", (json_int_t)w->identity.uid, "gid",
                                            (json_int_t)w->identity.gid, "exe", admin_text(w->exe, sizeof w->exe),
                                            "count", 1));
    }
    return array;
}

static json_t *audit_of(const struct supervisor *s)
{
    json_t *file = config_json(s->config), *audit = json_incref(json_object_get(file, "audit"));
    const char *head = audit_link_head();

    json_object_set_new(audit, "state", json_string(audit_link_state(s)));
    json_object_set_new(audit, "head", *head != '\0' ? json_string(head) : json_null());
    json_object_set_new(audit, "syslog_lost", json_integer((json_int_t)audit_link_syslog_lost()));
    json_decref(file);
    return audit;
}

void command_inventory(struct admin_connection *c)
{
    const struct supervisor *s = c->supervisor;
    json_t *pools, *file;

    if (!admin_names_known(c))
        return;
    pools = json_array();
    for (size_t i = 0; i < s->pools; i++)
        if (admin_is_chosen(c, s->pool[i]))
            json_array_append_new(
                pools, json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:o}", "name", s->pool[i]->config->name, "state",
                                 pool_state(s->pool[i]), "insecure", pool_is_insecure(s->pool[i]), "override",
                                 admin_override_of(s->pool[i]), "settings", config_pool_json(s->pool[i]->config),
                                 "servers", servers(s->pool[i]), "workers", borrowers(s->pool[i])));
    file = config_json(s->config);
    admin_answer(c, json_pack("{s:s, s:s, s:O*, s:O*, s:I, s:O*, s:O*, s:o, s:o}", "version", PGLEND_VERSION,
                              "runtime_dir", s->config->runtime_dir, "profile", json_object_get(file, "profile"),
                              "sandbox", json_object_get(file, "sandbox"), "uid", (json_int_t)geteuid(), "audit_user",
                              json_object_get(file, "audit_user"), "admin", json_object_get(file, "admin"), "audit",
                              audit_of(s), "pools", pools));
    json_decref(file);
}
