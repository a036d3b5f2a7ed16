/* histogram.h: what percentiles say of known values, and the bound of their error. */
#include "base/histogram.h"
#include "base/tests/suite.h"

#include <math.h>
#include <string.h>

static struct histogram histogram;
static struct histogram_counts counts;

static void begin(void)
{
    memset(&histogram, 0, sizeof(histogram));
    memset(&counts, 0, sizeof(counts));
}

static void test_none(void)
{
    begin();
    histogram_add(&histogram, &counts);
    CU_ASSERT_EQUAL(histogram_count(&counts), 0);
    CU_ASSERT_EQUAL(histogram_quantile(&counts, 0.99), 0);
}

static void test_small_values_are_exact(void)
{
    begin();
    for (int64_t v = 0; v < 16; v++) {
        histogram_record(&histogram, v);
    }
    histogram_add(&histogram, &counts);
    CU_ASSERT_EQUAL(histogram_count(&counts), 16);
    CU_ASSERT_EQUAL(counts.sum, 120);
    CU_ASSERT_EQUAL(histogram_quantile(&counts, 0.5), 7);
    CU_ASSERT_EQUAL(histogram_quantile(&counts, 1), 15);
}

static void test_error_is_bounded(void)
{
    for (int64_t v = 16; v < (1ll << 36); v += v / 7 + 1) {
        begin();
        histogram_record(&histogram, v);
        histogram_add(&histogram, &counts);
        double told = histogram_quantile(&counts, 0.5);
        CU_ASSERT(fabs(told - (double)v) <= 0.032 * (double)v);
    }
}

static void test_ends(void)
{
    begin();
    histogram_record(&histogram, -5);
    histogram_record(&histogram, INT64_MAX);
    histogram_add(&histogram, &counts);
    CU_ASSERT_EQUAL(histogram_count(&counts), 2);
    CU_ASSERT_EQUAL(histogram_quantile(&counts, 0.5), 0);
    CU_ASSERT(histogram_quantile(&counts, 1) > (double)(1ll << 35));
}

static void test_quantiles_of_many(void)
{
    begin();
    for (int64_t v = 1; v <= 10000; v++) {
        histogram_record(&histogram, v);
    }
    histogram_add(&histogram, &counts);
    CU_ASSERT(fabs(histogram_quantile(&counts, 0.5) - 5000) < 5000 * 0.032);
    CU_ASSERT(fabs(histogram_quantile(&counts, 0.999) - 9990) < 9990 * 0.032);
}

static void test_since_a_moment(void)
{
    begin();
    histogram_record(&histogram, 1000);
    struct histogram_counts before = {0};
    histogram_add(&histogram, &before);
    histogram_record(&histogram, 3);
    histogram_add(&histogram, &counts);
    histogram_since(&before, &counts);
    CU_ASSERT_EQUAL(histogram_count(&counts), 1);
    CU_ASSERT_EQUAL(counts.sum, 3);
    CU_ASSERT_EQUAL(histogram_quantile(&counts, 0.99), 3);
}

SUITE("histogram", TEST(test_none), TEST(test_small_values_are_exact), TEST(test_error_is_bounded),
      TEST(test_ends), TEST(test_quantiles_of_many), TEST(test_since_a_moment))
