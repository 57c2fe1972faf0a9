/* SPDX-License-Identifier: ISC */
/*
 * stats_test.c - the histogram's buckets: each time falls into one that is near enough.
 */
#include "harness.h"
#include "stats.h"

/* The middle of its bucket is within 5 % of any time from 16 us to the last bucket, or within half a unit below. */
static void expect_near(uint64_t ns)
{
    unsigned bucket = stats_bucket(ns);
    uint64_t from = stats_bucket_from(bucket), to = stats_bucket_from(bucket + 1);
    double middle = (double)(from + to) / 2, off = middle > (double)ns ? middle - (double)ns : (double)ns - middle;

    ck_assert_msg(from <= ns && ns < to, "%llu ns is not in [%llu, %llu)", (unsigned long long)ns,
                  (unsigned long long)from, (unsigned long long)to);
    ck_assert_msg(off <= 0.05 * (double)ns || off <= (double)STATS_UNIT_NS / 2, "%llu ns counts as %.0f",
                  (unsigned long long)ns, middle);
}

START_TEST(every_time_has_its_bucket)
{
    uint64_t end = stats_bucket_from(STATS_BUCKETS - 1);

    for (uint64_t ns = 0; ns < 100000; ns++)
        expect_near(ns);
    for (uint64_t ns = 100000; ns < end; ns += ns / 997) {
        expect_near(ns);
        expect_near(ns - 1);
    }
    ck_assert_uint_gt(end, UINT64_C(3600) * 1000000000);
}
END_TEST

START_TEST(buckets_follow_each_other)
{
    for (unsigned i = 0; i + 1 < STATS_BUCKETS; i++) {
        ck_assert_uint_lt(stats_bucket_from(i), stats_bucket_from(i + 1));
        ck_assert_uint_eq(stats_bucket(stats_bucket_from(i)), i);
        ck_assert_uint_eq(stats_bucket(stats_bucket_from(i + 1) - 1), i);
    }
}
END_TEST

START_TEST(longest_times_are_kept_in)
{
    ck_assert_uint_eq(stats_bucket(UINT64_MAX), STATS_BUCKETS - 1);
    ck_assert_uint_eq(stats_bucket(stats_bucket_from(STATS_BUCKETS - 1) * 4), STATS_BUCKETS - 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("stats");
    TCase *tc = harness_case(suite, "buckets", 20);

    tcase_add_test(tc, every_time_has_its_bucket);
    tcase_add_test(tc, buckets_follow_each_other);
    tcase_add_test(tc, longest_times_are_kept_in);
    return harness_main(suite);
}
