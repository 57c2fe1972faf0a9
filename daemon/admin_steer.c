/* SPDX-License-Identifier: ISC */
/*
 * admin_steer.c - the commands that change what a pool does: pause, resume, disable, enable, resize, recycle.
 *
 * Each takes effect before it is answered, and may then wait until it has come about. Whoever stops waiting (time is
 * up, the connection closed) has changed nothing by that: the command stays in force.
 */
#include "admin_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_WAIT_S 10
#define WAIT_MAX_S   86400

const char *admin_argument(const struct admin_connection *c, const char *name)
{
    return json_string_value(json_object_get(c->args, name));
}

bool admin_is_said(const struct admin_connection *c, const char *name)
{
    const char *text = admin_argument(c, name);

    return text != NULL && strcmp(text, "no") != 0;
}

/* ---- waiting ---- */

static void answer(struct admin_connection *c)
{
    json_t *array = c->result != NULL ? c->result : json_array();

    for (size_t i = 0; i < c->supervisor->pools && c->result == NULL; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]) && !admin_report_steered(array, c->supervisor->pool[i])) {
            json_decref(array);
            array = NULL;
            break;
        }
    c->result = NULL;
    admin_answer(c, array);
}

static bool is_over(struct admin_connection *c)
{
    const struct pool *open = NULL;
    struct pool_count count;

    for (size_t i = 0; i < c->supervisor->pools && open == NULL; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]) && !c->verb->settled(c->supervisor->pool[i]))
            open = c->supervisor->pool[i];
    if (open == NULL || (c->verb->wait_s == 0 && !admin_is_said(c, "wait"))) {
        answer(c);
        return true;
    }
    if (clock_ns() < c->until)
        return false;
    pool_count(open, &count);
    admin_fail(c, ADMIN_TIMED_OUT, "%s is in force, but pool \"%s\" still %s (%u total, %u leased, %u connecting)%s%s",
               c->verb->name, open->config->name, c->verb->unsettled, count.total, count.leased, count.connecting,
               open->last_error[0] != '\0' ? "; last database error: " : "", open->last_error);
    return true;
}

static const char *stays(struct admin_connection *c)
{
    (void)c;
    return "it is in force; nobody waits for its result any more";
}

/* "timeout", in seconds. False: answered already. */
static bool read_timeout(struct admin_connection *c, const struct admin_verb *verb)
{
    const char *text = admin_argument(c, "timeout");
    double seconds = admin_is_said(c, "wait") || verb->wait_s == 0 ? WAIT_MAX_S : verb->wait_s;
    char *end = NULL;

    if (text != NULL) {
        seconds = strtod(text, &end);
        if (end == text || *end != '\0' || !(seconds >= 0 && seconds <= WAIT_MAX_S)) {
            admin_fail(c, ADMIN_BAD_REQUEST, "%s: timeout \"%.32s\": give seconds from 0 to %d, such as 2.5",
                       verb->name, text, WAIT_MAX_S);
            return false;
        }
    }
    c->until = clock_ns() + (uint64_t)(seconds * 1e9);
    return true;
}

void admin_carry_out(struct admin_connection *c, const struct admin_verb *verb)
{
    struct supervisor *s = c->supervisor;
    char name[64], by[NAME_FIELD];

    if (!admin_names_known(c) || !read_timeout(c, verb))
        return;
    if (s->stopping) {
        admin_fail(c, ADMIN_FAILED, "%s: pglendd is shutting down", verb->name);
        return;
    }
    (void)snprintf(by, sizeof by, "%s", names_of_user(c->peer.uid, name));
    c->verb = verb;
    for (size_t i = 0; i < s->pools; i++)
        if (admin_is_chosen(c, s->pool[i]))
            verb->act(c, s->pool[i], by);
    admin_await(c, is_over, stays);
}

/* ---- the verbs ---- */

static bool is_at_rest(const struct pool *pool)
{
    struct pool_count count;

    pool_count(pool, &count);
    return count.leased == 0 && count.connecting == 0 &&
           count.total == (pool->steering.mode == POOL_PAUSED && pool->steering.keep ? count.idle : 0);
}

/* Or closed by the other verb: then nothing is to be waited for. */
static bool is_lending(const struct pool *pool)
{
    struct pool_count count;

    pool_count(pool, &count);
    return pool->steering.mode != POOL_ACTIVE || count.idle + count.leased >= pool->steering.min;
}

static bool is_in_size(const struct pool *pool)
{
    struct pool_count count;

    pool_count(pool, &count);
    return count.total >= pool->steering.min && count.total + count.connecting <= pool->steering.max;
}

/* One that is disabled stays so: the resume that follows would open it. */
static void pause_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    if (pool->steering.mode != POOL_DISABLED)
        steer_pause(pool, by, admin_is_said(c, "keep"));
}

static void disable_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    (void)c;
    steer_disable(pool, by);
}

/* Each undoes its own counterpart: a pool that is disabled is not opened by a resume of all. */
static void resume_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    (void)c;
    if (pool->steering.mode == POOL_PAUSED)
        steer_activate(pool, by);
}

static void enable_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    (void)c;
    if (pool->steering.mode == POOL_DISABLED)
        steer_activate(pool, by);
}

void command_pause(struct admin_connection *c)
{
    static const struct admin_verb verb = {"pause", pause_pool, is_at_rest, "has leases or sessions to end",
                                           PAUSE_WAIT_S};

    admin_carry_out(c, &verb);
}

void command_resume(struct admin_connection *c)
{
    static const struct admin_verb verb = {"resume", resume_pool, is_lending, "has fewer sessions than size.min", 0};

    admin_carry_out(c, &verb);
}

void command_disable(struct admin_connection *c)
{
    static const struct admin_verb verb = {"disable", disable_pool, is_at_rest, "has leases or sessions to end", 0};

    admin_carry_out(c, &verb);
}

void command_enable(struct admin_connection *c)
{
    static const struct admin_verb verb = {"enable", enable_pool, is_lending, "has fewer sessions than size.min", 0};

    admin_carry_out(c, &verb);
}

/* ---- sizes ---- */

/* Argument NAME as a number from LEAST to MOST; FALLBACK if it is not given. False: answered already. */
static bool read_size(struct admin_connection *c, const char *name, uint32_t least, uint32_t most, uint32_t fallback,
                      uint32_t *size)
{
    const char *text = admin_argument(c, name);
    char *end;
    long number;

    *size = fallback;
    if (text == NULL)
        return true;
    errno = 0;
    number = strtol(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || number < (long)least || number > (long)most) {
        admin_fail(c, ADMIN_BAD_REQUEST, "resize: %s \"%.32s\" is not a number from %u to %u (size.limit)", name, text,
                   least, most);
        return false;
    }
    *size = (uint32_t)number;
    return true;
}

static bool new_size(struct admin_connection *c, const struct pool *pool, uint32_t *min, uint32_t *max)
{
    uint32_t limit = pool->segment.slots;

    if (!read_size(c, "min", 0, limit, pool->steering.min, min) ||
        !read_size(c, "max", 1, limit, pool->steering.max, max))
        return false;
    if (*min <= *max)
        return true;
    admin_fail(c, ADMIN_BAD_REQUEST, "resize: pool \"%s\": min %u is more than max %u; give both", pool->config->name,
               *min, *max);
    return false;
}

static void resize_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    uint32_t min, max;

    if (!new_size(c, pool, &min, &max))
        return; /* it was checked before */
    log_info("pool=%s: resized by %s: min %u -> %u, max %u -> %u", pool->config->name, by, pool->steering.min, min,
             pool->steering.max, max);
    steer_resize(pool, min, max);
}

void command_resize(struct admin_connection *c)
{
    static const struct admin_verb verb = {"resize", resize_pool, is_in_size, "is not of its new size", 0};
    uint32_t min, max;

    if (!admin_names_known(c))
        return;
    if (admin_argument(c, "min") == NULL && admin_argument(c, "max") == NULL) {
        admin_fail(c, ADMIN_BAD_REQUEST, "resize: give min, max or both");
        return;
    }
    /* All or none. */
    for (size_t i = 0; i < c->supervisor->pools; i++)
        if (admin_is_chosen(c, c->supervisor->pool[i]) && !new_size(c, c->supervisor->pool[i], &min, &max))
            return;
    admin_carry_out(c, &verb);
}

/* ---- recycle ---- */

static void recycle_pool(struct admin_connection *c, struct pool *pool, const char *by)
{
    int64_t over_ms = 0;
    unsigned count;

    if (admin_argument(c, "over") != NULL)
        (void)config_duration(admin_argument(c, "over"), &over_ms); /* it was checked before */
    count = steer_recycle(pool, (uint64_t)over_ms * 1000000, admin_is_said(c, "idle"));
    log_info("pool=%s: %u session%s to be recycled, by %s", pool->config->name, count, count == 1 ? "" : "s", by);
}

static bool is_recycled(const struct pool *pool)
{
    for (uint32_t i = 0; i < pool->segment.slots; i++)
        if (pool->backend[i].recycle)
            return false;
    return true;
}

void command_recycle(struct admin_connection *c)
{
    static const struct admin_verb verb = {"recycle", recycle_pool, is_recycled, "has sessions to replace", 0};
    const char *over = admin_argument(c, "over");
    int64_t ms;

    if (over != NULL && config_duration(over, &ms) == -1)
        admin_fail(c, ADMIN_BAD_REQUEST, "recycle: over \"%.32s\" is not a duration such as 10m", over);
    else
        admin_carry_out(c, &verb);
}
