/* SPDX-License-Identifier: ISC */
/*
 * audit_test.c - the audit trail's claim: whatever is done to it afterwards is seen, and a crash is not taken for it.
 *
 * A trail of 1,000 records in four files is made in memory; each test does one thing to it, everywhere. The state
 * before each record is kept, so that a trail that differs in record k is verified from k on. $PGLEND_AUDIT_ALL: every
 * bit and every byte, instead of some of each record.
 */
#include "audit.h"
#include "harness.h"

#include <openssl/ec.h>
#include <stdlib.h>
#include <string.h>

#define RECORDS          1000
#define RECORDS_PER_FILE 250
#define FILES            (RECORDS / RECORDS_PER_FILE)
#define PER_CHECKPOINT   40
#define PER_SYNC         8
#define FILE_SIZE        (RECORDS_PER_FILE * 1200)

struct trail {
    struct audit_verification_key key;
    EVP_PKEY *signer;
    char *file[FILES];
    size_t length[FILES];
    size_t begin[RECORDS + 1]; /* offset of each record in its file; by index from 0 */
    size_t size[RECORDS];
    struct audit_verify before[RECORDS + 1]; /* verification before each record */
    struct audit_anchor head;
};

static struct trail ours, theirs;

static size_t file_of(size_t record)
{
    return record / RECORDS_PER_FILE;
}

static const char *text_of(const struct trail *t, size_t record)
{
    return t->file[file_of(record)] + t->begin[record];
}

/* ---- making a trail ---- */

static size_t make_body(char body[AUDIT_BODY_MAX], struct trail *t, size_t i, enum audit_event *event)
{
    struct audit_values values = {0};
    struct audit_moment when = {.real_us = 1795000000000000 + (int64_t)i * 1234567,
                                .mono_us = 9182331000 + (int64_t)i * 1234567,
                                .boot = "3f2a91c0-8c2b-4d55-9e1b-0a9be5f3d7aa"};
    char lease[64];

    *event = i % 2 == 0 ? AUDIT_LEASE_BEGIN : AUDIT_LEASE_END;
    if (i % RECORDS_PER_FILE == 0) {
        *event = AUDIT_OPEN;
        audit_set_number(&values, AUDIT_FIELD_FILE_NUMBER, (int64_t)file_of(i) + 1);
        if (i > 0) {
            audit_set_text(&values, AUDIT_FIELD_PREVIOUS_END, "closed");
            audit_set_number(&values, AUDIT_FIELD_PREVIOUS_BYTES, (int64_t)t->length[file_of(i) - 1]);
        }
    } else if (i % PER_CHECKPOINT == 1 || i == RECORDS - 2) {
        *event = AUDIT_CHECKPOINT;
        audit_set_text(&values, AUDIT_FIELD_REASON, "timer");
    } else {
        snprintf(lease, sizeof lease, "clinic/%zu/%zu", i % 20, i);
        audit_set_text(&values, AUDIT_FIELD_POOL, "clinic");
        audit_set_text(&values, AUDIT_FIELD_LEASE, lease);
        audit_set_number(&values, AUDIT_FIELD_UID, 33);
        audit_set_text(&values, AUDIT_FIELD_EXECUTABLE, "/usr/bin/python3.11");
        audit_set_text(&values, AUDIT_FIELD_ACTOR, "dr. \"lee\" \\ Śląsk");
        audit_set_flag(&values, AUDIT_FIELD_ATTESTED, false);
    }
    return audit_body(body, *event, &when, &values);
}

static void make_records(struct trail *t, struct audit_chain chain)
{
    static char body[AUDIT_BODY_MAX], line[AUDIT_LINE_MAX];
    enum audit_event event;

    for (size_t i = 0; i < RECORDS; i++) {
        size_t f = file_of(i), length = make_body(body, t, i, &event), size;

        if (i % RECORDS_PER_FILE == 0)
            t->file[f] = malloc(FILE_SIZE);
        if (i % PER_SYNC == 0)
            chain.durable = chain.seq;
        size = audit_line_make(line, &chain, body, length, event == AUDIT_CHECKPOINT ? t->signer : NULL);
        ck_assert_uint_ne(size, 0);
        ck_assert_uint_le(t->length[f] + size, FILE_SIZE);
        t->begin[i] = t->length[f];
        t->size[i] = size;
        memcpy(t->file[f] + t->length[f], line, size);
        t->length[f] += size;
    }
    t->head.seq = chain.seq;
    memcpy(t->head.hash, chain.prev, AUDIT_HASH);
}

static void walk(struct trail *t)
{
    struct audit_verify v;

    audit_verify_begin(&v, &t->key, &t->head, 1);
    for (size_t i = 0; i < RECORDS; i++) {
        if (i % RECORDS_PER_FILE == 0)
            audit_verify_file(&v, (uint32_t)file_of(i) + 1);
        t->before[i] = v;
        audit_verify_bytes(&v, text_of(t, i), t->size[i]);
    }
    t->before[RECORDS] = v;
}

static void make_trail(struct trail *t, bool fips)
{
    struct audit_chain chain = {.seq = 0};
    unsigned char id[16] = {(unsigned char)(t == &ours ? 1 : 2), 7};

    t->signer = fips ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    ck_assert_ptr_nonnull(t->signer);
    audit_to_hex(id, sizeof id, chain.log);
    memset(chain.key.bytes, t == &ours ? 0x5a : 0xa5, AUDIT_HASH);
    memcpy(t->key.log, chain.log, sizeof chain.log);
    t->key.key = chain.key;
    t->key.public_key = t->signer;
    make_records(t, chain);
    walk(t);
}

static void trails(void)
{
    make_trail(&ours, false);
    make_trail(&theirs, false);
}

static void drop_trail(struct trail *t)
{
    for (size_t f = 0; f < FILES; f++)
        free(t->file[f]);
    EVP_PKEY_free(t->signer);
    memset(t, 0, sizeof *t);
}

static void no_trails(void)
{
    drop_trail(&ours);
    drop_trail(&theirs);
}

/* ---- verifying what became of it ---- */

/* Bytes that stand for records FROM to the end of FROM's file; then the files after it as they were, up to LAST. */
static enum audit_verdict verdict_of(const struct trail *t, size_t from, const char *text, size_t length, size_t last,
                                     struct audit_verify *v)
{
    *v = t->before[from];
    audit_verify_bytes(v, text, length);
    for (size_t f = file_of(from) + 1; f < last && v->fault.kind == NULL; f++) {
        audit_verify_file(v, (uint32_t)f + 1);
        audit_verify_bytes(v, t->file[f], t->length[f]);
    }
    return audit_verify_end(v);
}

static void expect(enum audit_verdict verdict, enum audit_verdict expected, const struct audit_verify *v,
                   const char *what, size_t record, size_t place)
{
    char words[1024];

    if (verdict == expected)
        return;
    audit_verify_explain(v, verdict, words, sizeof words);
    ck_abort_msg("%s, record %zu, %zu: verdict %d, not %d: %s", what, record + 1, place, verdict, expected, words);
}

static void expect_altered(const struct trail *t, size_t from, const char *text, size_t length, const char *what,
                           size_t place)
{
    struct audit_verify v;

    expect(verdict_of(t, from, text, length, FILES, &v), AUDIT_ALTERED, &v, what, from, place);
}

static size_t rest(const struct trail *t, size_t record)
{
    return t->length[file_of(record)] - t->begin[record];
}

static bool all(void)
{
    return getenv("PGLEND_AUDIT_ALL") != NULL;
}

START_TEST(a_trail_as_it_was_written_is_intact)
{
    struct audit_verify v = ours.before[RECORDS];
    char words[512];
    enum audit_verdict verdict = audit_verify_end(&v);

    expect(verdict, AUDIT_INTACT, &v, "untouched", 0, 0);
    ck_assert_uint_eq(v.records, RECORDS);
    audit_verify_explain(&v, verdict, words, sizeof words);
    ck_assert_ptr_nonnull(strstr(words, "records 1 to 1000"));
}
END_TEST

START_TEST(p256_serves_where_ed25519_may_not)
{
    struct audit_verify v;

    drop_trail(&theirs);
    make_trail(&theirs, true);
    v = theirs.before[RECORDS];
    expect(audit_verify_end(&v), AUDIT_INTACT, &v, "P-256", 0, 0);
}
END_TEST

START_TEST(every_bit_counts)
{
    size_t step = all() ? 1 : 41;

    for (size_t i = 0; i < RECORDS; i++) {
        char *text = ours.file[file_of(i)] + ours.begin[i];

        /* Another bit of another byte in each record, so that with enough records every place is tried. */
        for (size_t bit = i % step; bit < ours.size[i] * 8; bit += step) {
            text[bit / 8] ^= (char)(1 << bit % 8);
            expect_altered(&ours, i, text, rest(&ours, i), "a bit flipped", bit);
            text[bit / 8] ^= (char)(1 << bit % 8);
        }
        /* The last byte ends the line: all of its bits, always. */
        for (size_t bit = 0; bit < 8; bit++) {
            text[ours.size[i] - 1] ^= (char)(1 << bit);
            expect_altered(&ours, i, text, rest(&ours, i), "a bit of a newline flipped", bit);
            text[ours.size[i] - 1] ^= (char)(1 << bit);
        }
    }
}
END_TEST

START_TEST(every_line_is_missed)
{
    struct audit_verify v;

    for (size_t i = 0; i < RECORDS; i++) {
        const char *text = text_of(&ours, i) + ours.size[i];

        expect(verdict_of(&ours, i, text, rest(&ours, i) - ours.size[i], FILES, &v),
               i == RECORDS - 1 ? AUDIT_SHORTER : AUDIT_ALTERED, &v, "deleted", i, 0);
        if (i < RECORDS - 1)
            ck_assert_uint_le(v.fault.seq, i + 2);
    }
}
END_TEST

START_TEST(no_line_stands_twice)
{
    static char text[FILE_SIZE + AUDIT_LINE_MAX];

    for (size_t i = 0; i < RECORDS; i++) {
        memcpy(text, text_of(&ours, i), ours.size[i]);
        memcpy(text + ours.size[i], text_of(&ours, i), rest(&ours, i));
        expect_altered(&ours, i, text, ours.size[i] + rest(&ours, i), "doubled", 0);
    }
}
END_TEST

START_TEST(lines_keep_their_order)
{
    static char text[FILE_SIZE];

    for (size_t i = 0; i + 1 < RECORDS; i++) {
        size_t both = ours.size[i] + ours.size[i + 1];

        if (file_of(i) != file_of(i + 1))
            continue;
        memcpy(text, text_of(&ours, i + 1), ours.size[i + 1]);
        memcpy(text + ours.size[i + 1], text_of(&ours, i), ours.size[i]);
        memcpy(text + both, text_of(&ours, i) + both, rest(&ours, i) - both);
        expect_altered(&ours, i, text, rest(&ours, i), "swapped", 0);
    }
}
END_TEST

/* Cut off, and the files after it removed: a crash may look so, and only who remembers the end sees more. */
START_TEST(a_trail_that_was_cut_off_is_shorter_than_its_anchor)
{
    size_t step = all() ? 1 : 41;
    struct audit_verify v;

    for (size_t i = 0; i < RECORDS; i++)
        for (size_t cut = i % step; cut < ours.size[i]; cut += step) {
            expect(verdict_of(&ours, i, text_of(&ours, i), cut, 0, &v), AUDIT_SHORTER, &v, "cut off", i, cut);
            ours.before[i].anchors = 0;
            expect(verdict_of(&ours, i, text_of(&ours, i), cut, 0, &v),
                   cut > 0 ? AUDIT_TORN
                   : i > 0 ? AUDIT_INTACT
                           : AUDIT_UNKNOWN,
                   &v, "cut off, nobody remembers", i, cut);
            ours.before[i].anchors = 1;
        }
}
END_TEST

START_TEST(a_file_that_others_follow_cannot_be_cut)
{
    for (size_t i = 0; i < RECORDS - RECORDS_PER_FILE; i++)
        for (size_t cut = 0; cut < ours.size[i]; cut += all() ? 1 : 97)
            expect_altered(&ours, i, text_of(&ours, i), cut, "cut inside", cut);
}
END_TEST

START_TEST(two_hosts_cannot_be_spliced)
{
    static char text[FILE_SIZE + AUDIT_LINE_MAX];

    for (size_t i = 0; i < RECORDS; i++) {
        /* From here on the other's. */
        expect_altered(&ours, i, text_of(&theirs, i), rest(&theirs, i), "the other's rest", 0);
        /* One record of the other's put in the place of ours. */
        memcpy(text, text_of(&theirs, i), theirs.size[i]);
        memcpy(text + theirs.size[i], text_of(&ours, i) + ours.size[i], rest(&ours, i) - ours.size[i]);
        expect_altered(&ours, i, text, theirs.size[i] + rest(&ours, i) - ours.size[i], "one of the other's", 0);
    }
}
END_TEST

/* The head of a record, as whoever seals it anew writes it. */
static size_t forge(char out[AUDIT_LINE_MAX], size_t i, struct audit_chain *chain, uint64_t claimed)
{
    static char body[AUDIT_BODY_MAX];
    const char *text = text_of(&ours, i), *from = strstr(text, ",\"time\"");
    const char *to = memmem(text, ours.size[i], ",\"prev\":\"", 9);
    struct audit_line line;
    unsigned char mac[AUDIT_HASH];
    char hex[AUDIT_HEX + 1], *epoch;
    bool checkpoint;
    size_t size;

    memcpy(body, from, (size_t)(to - from));
    checkpoint = memmem(body, (size_t)(to - from), "checkpoint", 10) != NULL;
    if (!checkpoint)
        memcpy(strstr(body, "\"time\":\"20") + 8, "1999", 4); /* NOLINT(bugprone-not-null-terminated-result) */
    size = audit_line_make(out, chain, body, (size_t)(to - from), checkpoint ? ours.signer : NULL);
    /* Epochs of one digit's difference in length do not matter: CLAIMED has as many digits as the key's. */
    epoch = strstr(out, "\"epoch\":") + 8;
    if (claimed != UINT64_MAX && claimed >= 10 && epoch[0] != ',' && epoch[1] != ',') {
        epoch[0] = (char)('0' + claimed / 10);
        epoch[1] = (char)('0' + claimed % 10);
        ck_assert(audit_line_parse(out, size, &line));
        ck_assert(audit_mac(&chain->key, out, line.maced, mac));
        audit_to_hex(mac, AUDIT_HASH, hex);
        memcpy(out + size - AUDIT_HEX - 3, hex, AUDIT_HEX);
        ck_assert(audit_hash(out, size, chain->prev));
    }
    return size;
}

/* Who has the key of today rewrites the past with it, with the signing key too, and all that follows. */
START_TEST(what_was_sealed_cannot_be_sealed_again_with_a_later_key)
{
    static char text[FILE_SIZE], line[AUDIT_LINE_MAX];
    struct audit_key stolen = ours.before[RECORDS - 1].chain.key;

    ck_assert_uint_ge(stolen.epoch, 20);
    for (size_t i = 1; i < RECORDS - 100; i += 7) {
        for (int honest = 0; honest < 2; honest++) {
            struct audit_chain chain = ours.before[i].chain;
            uint64_t claimed = honest != 0 ? UINT64_MAX : chain.key.epoch;
            size_t length = 0;

            if (i % RECORDS_PER_FILE == 0)
                continue;
            for (size_t k = i; k < (file_of(i) + 1) * RECORDS_PER_FILE; k++) {
                size_t size;

                chain.key = stolen; /* the only one there is */
                size = forge(line, k, &chain, claimed);
                ck_assert_uint_ne(size, 0);
                memcpy(text + length, line, size);
                length += size;
            }
            expect_altered(&ours, i, text, length, "sealed again", (size_t)honest);
        }
    }
}
END_TEST

/* Who has the key of an epoch, but not the one that signs: the seal is good, and the checkpoint is not. */
START_TEST(a_checkpoint_is_signed_by_nobody_else)
{
    static char body[AUDIT_BODY_MAX], text[FILE_SIZE + AUDIT_LINE_MAX];
    unsigned tried = 0;

    if (_i == 1) {
        drop_trail(&ours);
        make_trail(&ours, true);
    }
    for (size_t i = 0; i < RECORDS; i++) {
        EVP_PKEY *other = _i == 1 ? EVP_EC_gen("P-256") : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        EVP_PKEY *const signers[] = {ours.signer, other};

        ck_assert_ptr_nonnull(other);
        for (int k = 0; k < 2; k++) {
            struct audit_chain chain = ours.before[i].chain;
            const char *record = text_of(&ours, i), *from = strstr(record, ",\"time\"");
            const char *to = memmem(record, ours.size[i], ",\"prev\":\"", 9);
            size_t length = (size_t)(to - from), size;
            struct audit_verify v = ours.before[i];

            memcpy(body, from, length);
            if (memmem(body, length, "audit.checkpoint", 16) == NULL)
                break;
            size = audit_line_make(text, &chain, body, length, signers[k]);
            ck_assert_uint_ne(size, 0);
            v.anchors = 0;
            audit_verify_bytes(&v, text, size);
            expect(audit_verify_end(&v), k == 0 ? AUDIT_INTACT : AUDIT_ALTERED, &v, "signed", i, (size_t)k);
            tried++;
        }
        EVP_PKEY_free(other);
    }
    ck_assert_uint_ge(tried, 2 * RECORDS / PER_CHECKPOINT);
}
END_TEST

/* ---- crashes ---- */

static unsigned chance(void)
{
    static uint64_t state = 88172645463325252;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 20);
}

/* What a crash leaves of the bytes from SYNCED to LENGTH: sectors that were never written, and an end anywhere. */
static size_t crash(char *image, size_t synced, size_t length)
{
    size_t left = synced + chance() % (length - synced + 1);

    if (chance() % 4 == 0)
        left = length; /* the size was on disk, the data were not */
    for (size_t s = synced / AUDIT_SECTOR * AUDIT_SECTOR; s < left; s += AUDIT_SECTOR) {
        size_t from = s < synced ? synced : s, to = s + AUDIT_SECTOR < left ? s + AUDIT_SECTOR : left;

        if (chance() % 3 == 0)
            memset(image + from, 0, to - from);
    }
    return left;
}

START_TEST(a_crash_is_not_called_tampering)
{
    static char image[FILE_SIZE];
    unsigned rounds = all() ? 100000 : 5000, torn = 0;

    for (unsigned n = 0; n < rounds; n++) {
        /* A batch that was not yet on disk: the records from one sync to the next. */
        size_t first = (1 + chance() % (RECORDS / PER_SYNC - 1)) * PER_SYNC, f = file_of(first);
        size_t next = first + PER_SYNC < (f + 1) * RECORDS_PER_FILE ? first + PER_SYNC : (f + 1) * RECORDS_PER_FILE;
        size_t end = ours.begin[next - 1] + ours.size[next - 1], left;
        struct audit_verify v = ours.before[first];
        enum audit_verdict verdict;

        memcpy(image, ours.file[f], end);
        left = crash(image, ours.begin[first], end);
        v.anchors = 0;
        audit_verify_bytes(&v, image + ours.begin[first], left - ours.begin[first]);
        verdict = audit_verify_end(&v);
        if (verdict != AUDIT_INTACT)
            expect(verdict, AUDIT_TORN, &v, "a crash", first, left);
        torn += verdict == AUDIT_TORN;
        ck_assert_uint_ge(v.chain.seq, first);
    }
    ck_assert_uint_ge(torn, rounds / 2);
}
END_TEST

/* The same form where it cannot be: what a later record knew to be on disk was not taken by a crash. */
START_TEST(what_was_on_disk_cannot_have_been_torn)
{
    static char image[FILE_SIZE];
    size_t tried = 0;

    for (size_t i = RECORDS - RECORDS_PER_FILE + 1; i < RECORDS - 3 * PER_SYNC; i++) {
        size_t hole = (ours.begin[i] + AUDIT_SECTOR - 1) / AUDIT_SECTOR * AUDIT_SECTOR, f = FILES - 1;
        struct audit_verify v = ours.before[i];

        memcpy(image, ours.file[f], ours.length[f]);
        memset(image + hole, 0, AUDIT_SECTOR);
        audit_verify_bytes(&v, image + ours.begin[i], ours.length[f] - ours.begin[i]);
        expect(audit_verify_end(&v), AUDIT_ALTERED, &v, "a hole in what was on disk", i, hole);
        tried++;
    }
    ck_assert_uint_ge(tried, 200);
}
END_TEST

/* Zeros that no disk leaves: not from one sector's edge to another's. */
START_TEST(wiped_bytes_are_no_crash)
{
    static char image[FILE_SIZE];
    size_t i = RECORDS - 1, f = FILES - 1;

    for (size_t k = 8; k + 8 < ours.size[i]; k += 5) {
        struct audit_verify v = ours.before[i];

        if ((ours.begin[i] + k) % AUDIT_SECTOR == 0)
            continue;
        memcpy(image, ours.file[f], ours.length[f]);
        memset(image + ours.begin[i] + k, 0, 3);
        v.anchors = 0;
        audit_verify_bytes(&v, image + ours.begin[i], ours.size[i]);
        expect(audit_verify_end(&v), AUDIT_ALTERED, &v, "wiped", i, k);
    }
}
END_TEST

/* ---- parts ---- */

START_TEST(only_text_that_can_be_shown_is_repeated)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"dr.lee", true},
        {"Śląsk 病院 🏥", true},
        {"", true},
        {"a\nb", false},
        {"a\tb", false},
        {"\x7f", false},
        {"\xc2\x85", false},
        {"\xc0\xaf", false},
        {"\xed\xa0\x80", false},
        {"\xf4\x90\x80\x80", false},
        {"\xe2\x82", false},
        {"\xff", false},
    };
    struct audit_moment when = {.boot = "b"};
    char body[AUDIT_BODY_MAX + 1];

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct audit_values values = {0};

        ck_assert_msg(audit_text_valid(rows[i].text, 128) == rows[i].valid, "row %zu", i);
        audit_set_text(&values, AUDIT_FIELD_ACTOR, rows[i].text);
        body[audit_body(body, AUDIT_LEASE_BEGIN, &when, &values)] = '\0';
        ck_assert(audit_text_valid(body, AUDIT_BODY_MAX));
        ck_assert((strchr(body, '?') == NULL) == rows[i].valid);
    }
    ck_assert(!audit_text_valid("12345", 4));
}
END_TEST

START_TEST(anchors_and_names_have_one_form)
{
    struct audit_anchor anchor;
    char text[128];

    snprintf(text, sizeof text, "12:%064d", 7);
    ck_assert(audit_anchor_parse(text, &anchor));
    ck_assert_uint_eq(anchor.seq, 12);
    text[strlen(text) - 1] = 'G';
    ck_assert(!audit_anchor_parse(text, &anchor));
    ck_assert(!audit_anchor_parse("12", &anchor));
    ck_assert(!audit_anchor_parse("-1:00", &anchor));
    ck_assert_uint_eq(audit_file_number("audit-00000042.jsonl"), 42);
    ck_assert_uint_eq(audit_file_number("audit-42.jsonl"), 0);
    ck_assert_uint_eq(audit_file_number("audit-00000042.jsonl.gz"), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit");
    TCase *altered = harness_case(suite, "altered", all() ? 3600 : 40);
    TCase *crashed = harness_case(suite, "crashed", all() ? 3600 : 20);
    TCase *parts = harness_case(suite, "parts", 10);

    tcase_add_checked_fixture(altered, trails, no_trails);
    tcase_add_checked_fixture(crashed, trails, no_trails);
    tcase_add_test(altered, a_trail_as_it_was_written_is_intact);
    tcase_add_test(altered, p256_serves_where_ed25519_may_not);
    tcase_add_test(altered, every_bit_counts);
    tcase_add_test(altered, every_line_is_missed);
    tcase_add_test(altered, no_line_stands_twice);
    tcase_add_test(altered, lines_keep_their_order);
    tcase_add_test(altered, a_trail_that_was_cut_off_is_shorter_than_its_anchor);
    tcase_add_test(altered, a_file_that_others_follow_cannot_be_cut);
    tcase_add_test(altered, two_hosts_cannot_be_spliced);
    tcase_add_test(altered, what_was_sealed_cannot_be_sealed_again_with_a_later_key);
    tcase_add_loop_test(altered, a_checkpoint_is_signed_by_nobody_else, 0, 2);
    tcase_add_test(crashed, a_crash_is_not_called_tampering);
    tcase_add_test(crashed, what_was_on_disk_cannot_have_been_torn);
    tcase_add_test(crashed, wiped_bytes_are_no_crash);
    tcase_add_test(parts, only_text_that_can_be_shown_is_repeated);
    tcase_add_test(parts, anchors_and_names_have_one_form);
    return harness_main(suite);
}
