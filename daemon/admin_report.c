/* SPDX-License-Identifier: ISC */
/*
 * admin_report.c - what there is: pools, slots, workers, waiters, as JSON.
 *
 * The segment is written by workers while it is read here. Each word is read once into a local and every index taken
 * from it is checked; what the supervisor knows itself (pids, generations, states) never comes from the segment.
 */
#include "admin_server.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool attached(const struct pool *pool)
{
    return pool->segment.header != NULL && pool->backend != NULL && pool->worker != NULL && !pool->replacing &&
           pool->damaged == 0;
}

/* To the millisecond; null for never, 0 for a time to come, since workers may write it. */
static json_t *seconds_since(uint64_t then_ns)
{
    uint64_t now = clock_ns();
    uint64_t ms = then_ns < now ? (now - then_ns) / 1000000 : 0;

    return then_ns != 0 ? json_real((double)ms / 1e3) : json_null();
}

static json_t *pid_or_null(pid_t pid)
{
    return pid > 0 ? json_integer(pid) : json_null();
}

/* What the file says, where an administrator has said otherwise: {"size.max": {"now": 30, "file": 20}}. */
static json_t *differences(const struct pool *pool)
{
    const struct {
        const char *key;
        int64_t now, file;
    } size[] = {
        {"size.min", pool->steering.min, pool->config->size_min},
        {"size.max", pool->steering.max, pool->config->size_max},
    };
    json_t *differs = json_object();

    for (size_t i = 0; i < sizeof(size) / sizeof(size[0]); i++)
        if (size[i].now != size[i].file)
            json_object_set_new(
                differs, size[i].key,
                json_pack("{s:I, s:I}", "now", (json_int_t)size[i].now, "file", (json_int_t)size[i].file));
    return differs;
}

/* Who set the pool's mode; null while it is the ordinary one. */
static json_t *mode_by(const struct pool *pool)
{
    const struct steering *st = &pool->steering;

    return st->mode == POOL_PAUSED || st->mode == POOL_DISABLED ? admin_text(st->by, sizeof(st->by)) : json_null();
}

json_t *admin_override_of(const struct pool *pool)
{
    const struct override *o = &pool->steering.override;
    uint64_t now = clock_ns();

    if (!override_is_on(pool))
        return json_null();
    return json_pack("{s:o, s:o, s:f}", "by", admin_text(o->by, sizeof(o->by)), "reason",
                     admin_text(o->reason, sizeof(o->reason)), "left_s",
                     o->until > now ? (double)(o->until - now) / 1e9 : 0.0);
}

bool admin_report_override(json_t *array, struct pool *pool)
{
    return json_array_append_new(
               array, json_pack("{s:s, s:o}", "pool", pool->config->name, "override", admin_override_of(pool))) == 0;
}

bool admin_report_pool(json_t *array, struct pool *pool)
{
    struct pool_count count = {0};
    json_t *error = json_null();

    if (attached(pool))
        pool_count(pool, &count);
    if (pool->last_error[0] != '\0')
        error = admin_text(pool->last_error, sizeof(pool->last_error));
    return json_array_append_new(
               array,
               json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o, s:b, s:b, s:o, s:o}",
                         "name", pool->config->name, "state", pool_state(pool), "mode_by", mode_by(pool), "min",
                         (json_int_t)pool->steering.min, "max", (json_int_t)pool->steering.max, "total",
                         (json_int_t)count.total, "idle", (json_int_t)count.idle, "leased", (json_int_t)count.leased,
                         "connecting", (json_int_t)count.connecting, "waiting", (json_int_t)count.waiting, "workers",
                         (json_int_t)pool->workers, "retire_postponed", (json_int_t)pool->retire_postponed, "cancel",
                         pool->cancel_by_query ? "query" : "key", "last_error", error, "insecure",
                         pool_is_insecure(pool), "certificate_due", certificate_is_due(pool), "override",
                         admin_override_of(pool), "differs", differences(pool))) == 0;
}

static json_t *fact_or_null(const struct backend *b, const char *name)
{
    char value[600];

    return backend_fact(b, name, value, sizeof(value)) == NULL ? json_null() : admin_text(value, sizeof(value));
}

/* How many sessions are protected in which way. */
static json_t *protections(const struct pool *pool)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < pool->segment.slots; i++) {
        const struct backend *b = &pool->backend[i];

        if (b->fd != -1)
            admin_count_in(array, json_pack("{s:o, s:o, s:o, s:i}", "mode", fact_or_null(b, FACT_MODE), "tls",
                                            fact_or_null(b, ".tls"), "certificate", fact_or_null(b, ".certificate"),
                                            "count", 1));
    }
    return array;
}

bool admin_report_stats(json_t *array, struct pool *pool)
{
    json_t *stats;

    if (!attached(pool))
        return true;
    stats = stats_json(pool);
    json_object_set_new(stats, "sessions", protections(pool));
    return json_array_append_new(array, stats) == 0;
}

/* What became of it: the answer of the verbs. */
bool admin_report_steered(json_t *array, struct pool *pool)
{
    struct pool_count count = {0};

    if (attached(pool))
        pool_count(pool, &count);
    return json_array_append_new(array,
                                 json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "pool", pool->config->name,
                                           "state", pool_state(pool), "min", (json_int_t)pool->steering.min, "max",
                                           (json_int_t)pool->steering.max, "total", (json_int_t)count.total, "idle",
                                           (json_int_t)count.idle, "leased", (json_int_t)count.leased, "waiting",
                                           (json_int_t)count.waiting)) == 0;
}

/* Add who has the slot and for what: the lease's name is the supervisor's, actor and purpose the worker's word. */
static bool add_lease(json_t *object, const struct pool *pool, uint32_t slot, uint32_t borrower)
{
    const struct segment *s = &pool->segment;
    uint64_t version = atomic_load_explicit(&s->slot[slot].lease, memory_order_relaxed);
    struct asserted asserted;

    if (borrower >= s->borrowers)
        return true;
    memcpy(&asserted, &s->asserted[borrower], sizeof(asserted));
    return json_object_set_new(object, "lease",
                               json_sprintf("%s/%u/%llu", pool->config->name, slot, (unsigned long long)version)) ==
               0 &&
           json_object_set_new(object, "actor", admin_text(asserted.actor, sizeof(asserted.actor))) == 0 &&
           json_object_set_new(object, "purpose", admin_text(asserted.purpose, sizeof(asserted.purpose))) == 0;
}

/* How the way to the server is protected; null: not at all, or by being a socket of this host. */
static void add_protection(json_t *object, const struct backend *b)
{
    json_object_set_new(object, "mode", fact_or_null(b, FACT_MODE));
    json_object_set_new(object, "tls", fact_or_null(b, ".tls"));
    json_object_set_new(object, "certificate", fact_or_null(b, ".certificate"));
    if (b->certificate_expires[CERTIFICATE_SERVER] != 0)
        json_object_set_new(object, "certificate_expires",
                            json_integer((json_int_t)b->certificate_expires[CERTIFICATE_SERVER]));
    if (b->certificate_expires[CERTIFICATE_CLIENT] != 0)
        json_object_set_new(object, "client_certificate_expires",
                            json_integer((json_int_t)b->certificate_expires[CERTIFICATE_CLIENT]));
}

static bool add_slot(json_t *array, const struct pool *pool, uint32_t i, uint64_t word)
{
    const struct backend *b = &pool->backend[i];
    const struct slot *slot = &pool->segment.slot[i];
    enum slot_state state = word_state(word);
    bool taken = state == SLOT_LEASED || state == SLOT_GRANTED;
    const struct worker *worker = taken ? worker_of_borrower(pool, word_borrower(word)) : NULL;
    uint64_t since = b->phase == BACKEND_LENDABLE ? atomic_load_explicit(&slot->since, memory_order_relaxed) : b->since;
    json_t *object =
        json_pack("{s:s, s:I, s:s, s:I, s:o, s:o, s:o, s:I, s:b}", "pool", pool->config->name, "slot", (json_int_t)i,
                  "state", backend_state_name(b, word), "generation", (json_int_t)b->generation, "backend_pid",
                  pid_or_null(b->phase == BACKEND_NONE || b->phase == BACKEND_CONNECTING ? 0 : b->pid), "worker_pid",
                  pid_or_null(worker != NULL ? worker->identity.pid : 0), "since_s", seconds_since(since), "uses",
                  (json_int_t)atomic_load_explicit(&slot->uses, memory_order_relaxed), "reset_pending",
                  !taken && (word_flags(word) & SLOT_RESET_PENDING) != 0);

    add_protection(object, b);
    if (object != NULL && state == SLOT_LEASED && !add_lease(object, pool, i, word_borrower(word))) {
        json_decref(object);
        object = NULL;
    }
    return json_array_append_new(array, object) == 0;
}

/* Empty slots above max are room to grow, not part of the pool. */
bool admin_report_slots(json_t *array, struct pool *pool)
{
    bool complete = array != NULL;

    for (uint32_t i = 0; attached(pool) && i < pool->segment.slots && complete; i++) {
        uint64_t word = slot_word(&pool->segment, i);

        if (i < pool->steering.max || word_state(word) != SLOT_EMPTY || pool->backend[i].phase != BACKEND_NONE)
            complete = add_slot(array, pool, i, word);
    }
    return complete;
}

struct waiter {
    uint64_t ticket;
    uint64_t since;
    pid_t pid;
};

static int by_ticket(const void *a, const void *b)
{
    const struct waiter *x = a, *y = b;

    return (x->ticket > y->ticket) - (x->ticket < y->ticket);
}

/* Everybody of POOL whose wait word is not NONE, into WAITER, which has room for all borrowers. */
static size_t collect_waiters(const struct pool *pool, struct waiter *waiter)
{
    const struct segment *s = &pool->segment;
    uint32_t used = borrowers_used(s);
    size_t count = 0;

    for (uint32_t b = 0; b < used; b++) {
        uint64_t wait = atomic_load_explicit(&s->borrower[b].wait, memory_order_relaxed);
        const struct worker *worker = worker_of_borrower(pool, b);

        if (wait_state(wait) == WAIT_NONE)
            continue;
        waiter[count].ticket = wait_ticket(wait);
        waiter[count].since = atomic_load_explicit(&s->borrower[b].wait_since, memory_order_relaxed);
        waiter[count].pid = worker != NULL ? worker->identity.pid : 0;
        count++;
    }
    return count;
}

bool admin_report_waiters(json_t *array, struct pool *pool)
{
    struct waiter *waiter;
    bool complete = array != NULL;
    size_t count;

    if (!attached(pool))
        return complete;
    waiter = calloc(pool->segment.borrowers, sizeof(*waiter));
    if (waiter == NULL)
        return false;
    count = collect_waiters(pool, waiter);
    qsort(waiter, count, sizeof(*waiter), by_ticket);
    for (size_t i = 0; i < count && complete; i++)
        complete =
            json_array_append_new(array, json_pack("{s:s, s:o, s:I, s:o}", "pool", pool->config->name, "worker_pid",
                                                   pid_or_null(waiter[i].pid), "position", (json_int_t)i + 1,
                                                   "waited_s", seconds_since(waiter[i].since))) == 0;
    free(waiter);
    return complete;
}

/* One handle of a process, with what it holds and waits for in its pool. */
struct handle {
    const struct worker *worker;
    uint32_t leases, waiting;
};

static int by_process(const void *a, const void *b)
{
    const struct worker *x = ((const struct handle *)a)->worker, *y = ((const struct handle *)b)->worker;

    if (x->identity.pid != y->identity.pid)
        return x->identity.pid < y->identity.pid ? -1 : 1;
    return (x->identity.start_time > y->identity.start_time) - (x->identity.start_time < y->identity.start_time);
}

/* Count leases and waits of POOL's workers into HELD, one entry a worker index. */
static void count_held(const struct pool *pool, struct handle *held)
{
    const struct segment *s = &pool->segment;
    uint32_t used = borrowers_used(s);

    for (uint32_t i = 0; i < s->slots; i++) {
        uint64_t word = slot_word(s, i);
        const struct worker *worker =
            word_state(word) == SLOT_LEASED ? worker_of_borrower(pool, word_borrower(word)) : NULL;

        if (worker != NULL)
            held[worker->index].leases++;
    }
    for (uint32_t b = 0; b < used; b++) {
        const struct worker *worker = worker_of_borrower(pool, b);

        if (worker != NULL && wait_state(atomic_load_explicit(&s->borrower[b].wait, memory_order_relaxed)) != WAIT_NONE)
            held[worker->index].waiting++;
    }
}

/* The workers of POOL, appended to *LIST of *COUNT. False: out of memory. */
static bool collect_workers(const struct pool *pool, struct handle **list, size_t *count)
{
    uint32_t indices = pool->segment.borrowers;
    struct handle *held = calloc(indices, sizeof(*held));
    struct handle *larger = held == NULL ? NULL : realloc(*list, (*count + indices) * sizeof(**list));

    if (larger == NULL) {
        free(held);
        return false;
    }
    *list = larger;
    count_held(pool, held);
    for (uint32_t i = 0; i < indices; i++) {
        if (pool->worker[i] == NULL || pool->worker[i]->dead)
            continue;
        held[i].worker = pool->worker[i];
        (*list)[(*count)++] = held[i];
    }
    free(held);
    return true;
}

/* The COUNT handles at H are one process. */
static bool add_worker(json_t *array, const struct handle *h, size_t count)
{
    const struct worker *first = h[0].worker;
    int64_t now = (int64_t)time(NULL), since = first->since;
    json_int_t leases = 0, waiting = 0;
    json_t *pools = json_array();

    for (size_t i = 0; i < count; i++) {
        leases += h[i].leases;
        waiting += h[i].waiting;
        since = h[i].worker->since < since ? h[i].worker->since : since;
        json_array_append_new(pools, json_string(h[i].worker->pool->config->name));
    }
    return json_array_append_new(array, json_pack("{s:i, s:I, s:o, s:o, s:I, s:I, s:I}", "pid",
                                                  (int)first->identity.pid, "uid", (json_int_t)first->identity.uid,
                                                  "exe", admin_text(first->exe, sizeof(first->exe)), "pools", pools,
                                                  "leases", leases, "waiting", waiting, "since_s",
                                                  (json_int_t)(now > since ? now - since : 0))) == 0;
}

bool admin_report_workers(json_t *array, const struct admin_connection *c)
{
    struct pool *const *pool = c->supervisor->pool;
    size_t pools = c->supervisor->pools, count = 0, run;
    struct handle *list = NULL;
    bool complete = array != NULL;

    for (size_t i = 0; i < pools && complete; i++)
        if (attached(pool[i]) && admin_is_chosen(c, pool[i]))
            complete = collect_workers(pool[i], &list, &count);
    if (count > 0)
        qsort(list, count, sizeof(*list), by_process);
    for (size_t i = 0; i < count && complete; i += run) {
        for (run = 1; i + run < count && by_process(&list[i], &list[i + run]) == 0;)
            run++;
        complete = add_worker(array, &list[i], run);
    }
    free(list);
    return complete;
}
