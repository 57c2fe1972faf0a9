/* SPDX-License-Identifier: ISC */
/*
 * audit_record.c - a record of the audit trail: one function makes its line, one checks it.
 *
 * The hard thing: what is proved is bytes. So the frame is written and read by position and never through a JSON
 * library, and a line that merely means the same as a good one is not good.
 */
#include "audit.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define EVENT_NAME(id, name, help) [AUDIT_##id] = name, /* NOLINT(bugprone-macro-parentheses): a string */
const char *const audit_event_name[AUDIT_EVENT_COUNT] = {AUDIT_EVENTS(EVENT_NAME)};
#undef EVENT_NAME

#define FIELD_ROW(id, name, kind, max) [AUDIT_FIELD_##id] = {name, kind, max},
const struct audit_field_row audit_field_row[AUDIT_FIELD_COUNT] = {AUDIT_FIELDS(FIELD_ROW)};
#undef FIELD_ROW

#define PREV_MARK  ",\"prev\":\""
#define SIG_MARK   "\",\"sig\":\""
#define MAC_MARK   "\",\"mac\":\""
#define LINE_END   "\"}\n"
#define LENGTH(s)  (sizeof(s) - 1)
#define MAC_LENGTH (LENGTH(MAC_MARK) + AUDIT_HEX + LENGTH(LINE_END))

/* ---- values ---- */

void audit_set_text(struct audit_values *values, enum audit_field field, const char *text)
{
    if (text == NULL || *text == '\0')
        return;
    values->set |= UINT64_C(1) << field;
    values->value[field].text = text;
}

void audit_set_number(struct audit_values *values, enum audit_field field, int64_t number)
{
    values->set |= UINT64_C(1) << field;
    values->value[field].number = number;
}

void audit_set_flag(struct audit_values *values, enum audit_field field, bool flag)
{
    values->set |= UINT64_C(1) << field;
    values->value[field].flag = flag;
}

/* Bytes of the character at TEXT, shortest form, no surrogate; 0: it is none, or a control character. */
static size_t character_length(const char *text)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least;
    } form[] = {{0x80, 0x00, 0x20}, {0xe0, 0xc0, 0xa0}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    const unsigned char *s = (const unsigned char *)text;

    for (size_t i = 0; i < sizeof form / sizeof form[0]; i++) {
        uint32_t code = s[0] & (unsigned char)~form[i].mask;

        if ((s[0] & form[i].mask) != form[i].lead)
            continue;
        for (size_t k = 1; k <= i; k++) {
            if ((s[k] & 0xc0) != 0x80)
                return 0;
            code = code << 6 | (s[k] & 0x3f);
        }
        return code < form[i].least || code == 0x7f || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff ? 0 : i + 1;
    }
    return 0;
}

bool audit_text_valid(const char *text, size_t max)
{
    size_t used = 0;

    while (text[used] != '\0') {
        size_t length = character_length(text + used);

        if (length == 0 || used + length > max)
            return false;
        used += length;
    }
    return true;
}

/* ---- making ---- */

/* A text that grows; what does not fit is left out, and the room is made so that it fits. */
struct writer {
    char *text;
    size_t used, size;
};

static void put(struct writer *w, const char *text, size_t length)
{
    if (length > w->size - w->used)
        length = w->size - w->used;
    memcpy(w->text + w->used, text, length);
    w->used += length;
}

static void put_string(struct writer *w, const char *text)
{
    put(w, text, strlen(text));
}

static void put_number(struct writer *w, int64_t number)
{
    char digits[24];

    put(w, digits, (size_t)snprintf(digits, sizeof digits, "%" PRId64, number));
}

/* At most MAX bytes of TEXT. Wrong bytes become '?': they were a stranger's. */
static void put_text(struct writer *w, const char *text, size_t max)
{
    size_t used = 0;

    put(w, "\"", 1);
    while (text[used] != '\0') {
        size_t length = character_length(text + used);

        if (used + (length == 0 ? 1 : length) > max)
            break;
        if (text[used] == '"' || text[used] == '\\')
            put(w, "\\", 1);
        if (length == 0)
            put(w, "?", 1);
        else
            put(w, text + used, length);
        used += length == 0 ? 1 : length;
    }
    put(w, "\"", 1);
}

static void put_time(struct writer *w, int64_t real_us)
{
    time_t seconds = (time_t)(real_us / 1000000);
    struct tm utc;
    char text[64];
    size_t length;

    (void)gmtime_r(&seconds, &utc);
    length = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    length += (size_t)snprintf(text + length, sizeof text - length, ".%06dZ", (int)(real_us % 1000000));
    put(w, text, length);
}

static void put_field(struct writer *w, const struct audit_values *values, enum audit_field field)
{
    const struct audit_field_row *row = &audit_field_row[field];

    put_string(w, ",\"");
    put_string(w, row->name);
    put_string(w, "\":");
    switch (row->kind) {
    case AUDIT_TEXT:
        put_text(w, values->value[field].text, row->max);
        break;
    case AUDIT_NUMBER:
        put_number(w, values->value[field].number);
        break;
    case AUDIT_FLAG:
        put_string(w, values->value[field].flag ? "true" : "false");
        break;
    }
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written through what is made of it */
size_t audit_body(char out[AUDIT_BODY_MAX], enum audit_event event, const struct audit_moment *when,
                  const struct audit_values *values)
{
    struct writer w = {.text = out, .size = AUDIT_BODY_MAX};

    put_string(&w, ",\"time\":\"");
    put_time(&w, when->real_us);
    put_string(&w, "\",\"mono\":");
    put_number(&w, when->mono_us);
    put_string(&w, ",\"boot\":\"");
    put_string(&w, when->boot);
    put_string(&w, "\",\"event\":\"");
    put_string(&w, audit_event_name[event]);
    put_string(&w, "\"");
    for (uint64_t left = values == NULL ? 0 : values->set; left != 0; left &= left - 1)
        put_field(&w, values, (enum audit_field)__builtin_ctzll(left));
    return w.used;
}

static void put_hex(struct writer *w, const unsigned char *bytes, size_t length)
{
    char hex[2 * AUDIT_SIGNATURE_MAX + 1];

    audit_to_hex(bytes, length, hex);
    put(w, hex, 2 * length);
}

static void put_head(struct writer *w, const struct audit_chain *chain)
{
    char head[192];

    put(w, head,
        (size_t)snprintf(head, sizeof head,
                         "{\"v\":1,\"log\":\"%s\",\"seq\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"durable\":%" PRIu64,
                         chain->log, chain->seq + 1, chain->key.epoch, chain->durable));
}

size_t audit_line_make(char out[AUDIT_LINE_MAX], struct audit_chain *chain, const char *body, size_t body_length,
                       EVP_PKEY *signer)
{
    struct writer w = {.text = out, .size = AUDIT_LINE_MAX};
    unsigned char mac[AUDIT_HASH], hash[AUDIT_HASH], signature[AUDIT_SIGNATURE_MAX];

    if (body_length > AUDIT_BODY_MAX)
        return 0;
    put_head(&w, chain);
    put(&w, body, body_length);
    put_string(&w, PREV_MARK);
    put_hex(&w, chain->prev, AUDIT_HASH);
    if (signer != NULL) {
        size_t length = audit_sign(signer, out, w.used, signature);

        if (length == 0)
            return 0;
        put_string(&w, SIG_MARK);
        put_hex(&w, signature, length);
    }
    if (!audit_mac(&chain->key, out, w.used, mac))
        return 0;
    put_string(&w, MAC_MARK);
    put_hex(&w, mac, AUDIT_HASH);
    put_string(&w, LINE_END);
    /* The key last: a trail that went on after a checkpoint with the key from before it would prove nothing. */
    if (!audit_hash(out, w.used, hash) || (signer != NULL && !audit_key_advance(&chain->key)))
        return 0;
    memcpy(chain->prev, hash, AUDIT_HASH);
    chain->seq++;
    return w.used;
}

/* ---- checking ---- */

/* A place in a line that ends at END. Each take_*() goes on behind what it found, or fails. */
struct cursor {
    const char *at, *end;
};

static bool take(struct cursor *c, const char *text)
{
    size_t length = strlen(text);

    if ((size_t)(c->end - c->at) < length || memcmp(c->at, text, length) != 0)
        return false;
    c->at += length;
    return true;
}

/* A decimal number as put_number() writes it. */
static bool take_number(struct cursor *c, uint64_t *number)
{
    const char *begin = c->at;

    for (*number = 0; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, (uint64_t)(*c->at - '0'), number))
            return false;
    return c->at > begin && (*begin != '0' || c->at == begin + 1);
}

/* Up to STOP; copied with a NUL where it fits into SIZE. */
static bool take_until(struct cursor *c, char stop, char *out, size_t size)
{
    const char *found = memchr(c->at, stop, (size_t)(c->end - c->at));

    if (found == NULL || (size_t)(found - c->at) >= size)
        return false;
    memcpy(out, c->at, (size_t)(found - c->at));
    out[found - c->at] = '\0';
    c->at = found + 1;
    return true;
}

static bool event_of(const char *name, enum audit_event *event)
{
    for (unsigned i = 0; i < AUDIT_EVENT_COUNT; i++)
        if (strcmp(audit_event_name[i], name) == 0) {
            *event = (enum audit_event)i;
            return true;
        }
    return false;
}

/* The frame's head. */
static bool parse_head(struct cursor *c, struct audit_line *line)
{
    char text[64];
    uint64_t mono;

    return take(c, "{\"v\":1,\"log\":\"") && take_until(c, '"', line->log, sizeof line->log) && take(c, ",\"seq\":") &&
           take_number(c, &line->seq) && take(c, ",\"epoch\":") && take_number(c, &line->epoch) &&
           take(c, ",\"durable\":") && take_number(c, &line->durable) && take(c, ",\"time\":\"") &&
           take_until(c, '"', line->time, sizeof line->time) && take(c, ",\"mono\":") && take_number(c, &mono) &&
           take(c, ",\"boot\":\"") && take_until(c, '"', text, sizeof text) && take(c, ",\"event\":\"") &&
           take_until(c, '"', text, sizeof text) && event_of(text, &line->event);
}

/* The frame's end, read from the back: what stands between is the event's own. */
static bool parse_tail(const char *text, size_t length, const struct cursor *body, struct audit_line *line)
{
    const char *mac = text + length - MAC_LENGTH, *prev;
    struct cursor c = {.at = mac, .end = text + length};

    if (length < MAC_LENGTH || mac < body->at || !take(&c, MAC_MARK) || !audit_from_hex(c.at, AUDIT_HEX, line->mac))
        return false;
    c.at += AUDIT_HEX;
    if (!take(&c, LINE_END))
        return false;
    line->maced = (size_t)(mac - text);
    /* A checkpoint has its signature between prev and mac. */
    line->signed_length = 0;
    prev = mac - AUDIT_HEX - LENGTH(PREV_MARK);
    if (line->event == AUDIT_CHECKPOINT) {
        size_t digits = 0;

        while (mac - digits > body->at && mac[-(ptrdiff_t)digits - 1] != '"')
            digits++;
        line->signature = mac - digits;
        line->signature_digits = digits;
        c.at = line->signature - LENGTH(SIG_MARK);
        if (c.at < body->at || digits > (size_t)2 * AUDIT_SIGNATURE_MAX || !take(&c, SIG_MARK))
            return false;
        line->signed_length = (size_t)(line->signature - LENGTH(SIG_MARK) - text);
        prev = text + line->signed_length - AUDIT_HEX - LENGTH(PREV_MARK);
    }
    c.at = prev;
    return prev >= body->at && take(&c, PREV_MARK) && audit_from_hex(c.at, AUDIT_HEX, line->prev);
}

bool audit_line_parse(const char *text, size_t length, struct audit_line *line)
{
    struct cursor c = {.at = text, .end = text + length};

    memset(line, 0, sizeof *line);
    return length > 0 && length <= AUDIT_LINE_MAX && memchr(text, '\n', length) == text + length - 1 &&
           memchr(text, '\0', length) == NULL && parse_head(&c, line) && parse_tail(text, length, &c, line);
}

static bool signature_good(const char *text, const struct audit_line *line, EVP_PKEY *public_key)
{
    unsigned char signature[AUDIT_SIGNATURE_MAX];

    return audit_from_hex(line->signature, line->signature_digits, signature) &&
           audit_signature_fits(public_key, text, line->signed_length, signature, line->signature_digits / 2);
}

/* What is wrong by what the line itself says. NULL: nothing. */
static const char *place_fault(const struct audit_line *line, const struct audit_chain *chain)
{
    if (strcmp(line->log, chain->log) != 0)
        return "a record of another trail";
    if (line->seq != chain->seq + 1)
        return line->seq > chain->seq ? "records are missing before it" : "a record is repeated or out of its order";
    return NULL;
}

static const char *uncomputed(struct audit_chain *chain)
{
    chain->uncomputed = true;
    return "its seal or hash could not be computed";
}

const char *audit_line_check(const char *text, size_t length, struct audit_chain *chain, EVP_PKEY *public_key,
                             struct audit_line *line)
{
    const char *fault;
    unsigned char mac[AUDIT_HASH];

    if (!audit_line_parse(text, length, line))
        return "not a record";
    fault = place_fault(line, chain);
    if (fault != NULL)
        return fault;
    if (line->epoch > chain->key.epoch || (line->epoch < chain->key.epoch && public_key != NULL))
        return "sealed with the key of another epoch";
    /* Its writer, reading back, has the newest key only. */
    if (line->epoch == chain->key.epoch && !audit_mac(&chain->key, text, line->maced, mac))
        return uncomputed(chain);
    if (line->epoch == chain->key.epoch && CRYPTO_memcmp(mac, line->mac, AUDIT_HASH) != 0)
        return "its content does not fit its seal";
    if (memcmp(line->prev, chain->prev, AUDIT_HASH) != 0)
        return "it does not follow the record before";
    if (line->durable > chain->seq)
        return "it claims what cannot be";
    if (line->signed_length != 0 && public_key != NULL && !signature_good(text, line, public_key))
        return "its signature does not fit";
    if (!audit_hash(text, length, chain->prev))
        return uncomputed(chain);
    chain->seq = line->seq;
    chain->durable = line->durable;
    if (line->event == AUDIT_CHECKPOINT && line->epoch == chain->key.epoch && !audit_key_advance(&chain->key))
        return uncomputed(chain);
    return NULL;
}

/* Behind FIELD's name in the line, NULL: it is not there. In a text a quote has a backslash before it, so it cannot be
 * taken for a name's. */
static const char *find_field(const char *text, size_t length, enum audit_field field)
{
    char name[64];
    size_t size = (size_t)snprintf(name, sizeof name, ",\"%s\":", audit_field_row[field].name);
    const char *found = memmem(text, length, name, size);

    return found == NULL ? NULL : found + size;
}

bool audit_line_number(const char *text, size_t length, enum audit_field field, uint64_t *number)
{
    struct cursor c = {.at = find_field(text, length, field), .end = text + length};

    return c.at != NULL && take_number(&c, number);
}

bool audit_line_is(const char *text, size_t length, enum audit_field field, const char *value)
{
    struct cursor c = {.at = find_field(text, length, field), .end = text + length};

    return c.at != NULL && take(&c, "\"") && take(&c, value) && take(&c, "\"");
}
