#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/data/partition.h"
#include "common/base/rand.h"

#define N_LABELS  6000U
#define N_CLASSES 10U

static uint8_t labels[N_LABELS];

static int set_up(void **state)
{
    const uint64_t key[] = {99};
    struct fed_rand rand;

    (void)state;
    fed_rand_init(&rand, key, 1);
    for (size_t i = 0; i < N_LABELS; i++) {
        labels[i] = (uint8_t)fed_rand_below(&rand, N_CLASSES);
    }
    return 0;
}

static struct partition make(const char *spec, uint64_t seed, uint32_t n_parts)
{
    struct partition partition = {
        .seed = seed, .n_parts = n_parts, .labels = labels, .n_labels = N_LABELS};
    struct fed_err err;

    assert_int_equal(partition_parse(spec, &partition.spec, &err), 0);
    return partition;
}

/* The owners are parts, each part has some, and the rows of a part are those it owns. */
static void assert_is_division(const struct partition *partition)
{
    static uint32_t owners[N_LABELS];
    uint32_t *counts = calloc(partition->n_parts, sizeof(*counts));
    uint32_t *rows = NULL;
    size_t n_rows = 0;

    assert_int_equal(partition_owners(partition, owners, NULL), 0);
    for (size_t i = 0; i < partition->n_labels; i++) {
        assert_true(owners[i] < partition->n_parts);
        counts[owners[i]]++;
    }
    for (uint32_t part = 0; part < partition->n_parts; part++) {
        assert_true(counts[part] > 0);
    }
    const uint32_t last = partition->n_parts - 1;
    assert_int_equal(partition_rows(partition, last, &rows, &n_rows, NULL), 0);
    assert_int_equal(n_rows, counts[last]);
    for (size_t i = 0; i < n_rows; i++) {
        assert_int_equal(owners[rows[i]], last);
        assert_true(i == 0 || rows[i - 1] < rows[i]);
    }
    free(rows);
    free(counts);
}

static void test_each_example_is_in_exactly_one_part(void **state)
{
    static const char *const specs[] = {"iid",         "shards",        "shards:1",
                                        "shards:5",    "dirichlet:0.1", "dirichlet:0.001",
                                        "dirichlet:1", "dirichlet:1000"};
    static const uint32_t parts[] = {1, 2, 7, 50, 1000, N_LABELS};

    (void)state;
    for (size_t i = 0; i < sizeof(specs) / sizeof(specs[0]); i++) {
        for (size_t j = 0; j < sizeof(parts) / sizeof(parts[0]); j++) {
            const struct partition partition = make(specs[i], 3, parts[j]);
            assert_is_division(&partition);
        }
    }
}

static void test_same_key_same_parts_other_seed_others(void **state)
{
    static const char *const specs[] = {"iid", "shards", "dirichlet:0.5"};
    uint32_t a[N_LABELS];
    uint32_t b[N_LABELS];
    uint32_t c[N_LABELS];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        const struct partition first = make(specs[i], 1, 10);
        const struct partition other = make(specs[i], 2, 10);
        assert_int_equal(partition_owners(&first, a, NULL), 0);
        assert_int_equal(partition_owners(&first, b, NULL), 0);
        assert_int_equal(partition_owners(&other, c, NULL), 0);
        assert_memory_equal(a, b, sizeof(a));
        assert_memory_not_equal(a, c, sizeof(a));
    }
}

static size_t count_rows(const uint32_t *owners, uint32_t part)
{
    size_t n = 0;

    for (size_t i = 0; i < N_LABELS; i++) {
        n += owners[i] == part ? 1U : 0U;
    }
    return n;
}

static unsigned count_classes(const uint32_t *owners, uint32_t part)
{
    bool has[N_CLASSES] = {false};
    unsigned n = 0;

    for (size_t i = 0; i < N_LABELS; i++) {
        if (owners[i] == part && !has[labels[i]]) {
            has[labels[i]] = true;
            n++;
        }
    }
    return n;
}

static void test_iid_parts_are_equal_and_mixed(void **state)
{
    const struct partition partition = make("iid", 1, 7);
    uint32_t owners[N_LABELS];

    (void)state;
    assert_int_equal(partition_owners(&partition, owners, NULL), 0);
    for (uint32_t part = 0; part < 7; part++) {
        assert_in_range(count_rows(owners, part), N_LABELS / 7, N_LABELS / 7 + 1);
        assert_int_equal(count_classes(owners, part), N_CLASSES);
    }
}

static void test_shards_hold_few_classes(void **state)
{
    const struct partition partition = make("shards:2", 1, 50);
    uint32_t owners[N_LABELS];
    unsigned total = 0;

    (void)state;
    assert_int_equal(partition_owners(&partition, owners, NULL), 0);
    for (uint32_t part = 0; part < 50; part++) {
        assert_int_equal(count_rows(owners, part), N_LABELS / 50);
        assert_in_range(count_classes(owners, part), 1, 4); /* a piece may lie across a border */
        total += count_classes(owners, part);
    }
    assert_true(total <= 50 * 3);
}

/* A small alpha gives few classes to each, a large one all of them in like shares. */
static void test_dirichlet_alpha_sets_the_skew(void **state)
{
    const struct partition skewed = make("dirichlet:0.05", 1, 10);
    const struct partition even = make("dirichlet:10000", 1, 10);
    uint32_t owners[N_LABELS];
    unsigned n_classes = 0;

    (void)state;
    assert_int_equal(partition_owners(&skewed, owners, NULL), 0);
    for (uint32_t part = 0; part < 10; part++) {
        n_classes += count_classes(owners, part);
    }
    assert_true(n_classes < 50);
    assert_int_equal(partition_owners(&even, owners, NULL), 0);
    for (uint32_t part = 0; part < 10; part++) {
        assert_in_range(count_rows(owners, part), N_LABELS / 10 * 9 / 10, N_LABELS / 10 * 11 / 10);
        assert_int_equal(count_classes(owners, part), N_CLASSES);
    }
}

static void test_more_parts_than_examples_leave_empty_ones(void **state)
{
    struct partition partition = make("iid", 1, 10);
    struct fed_err err;
    uint32_t *rows = NULL;
    size_t n_rows = 0;
    unsigned n_empty = 0;

    (void)state;
    partition.n_labels = 4;
    for (uint32_t part = 0; part < 10; part++) {
        const int rc = partition_rows(&partition, part, &rows, &n_rows, &err);
        if (rc < 0) {
            assert_int_equal(rc, -FED_E_INVALID);
            assert_non_null(strstr(err.msg, "is empty"));
            n_empty++;
        } else {
            assert_int_equal(n_rows, 1);
            free(rows);
        }
    }
    assert_int_equal(n_empty, 6);
}

static void test_words(void **state)
{
    static const char *const bad[] = {"",
                                      "IID",
                                      "iid:2",
                                      "shards:",
                                      "shards:0",
                                      "shards:1001",
                                      "shards:2x",
                                      "shards2",
                                      "dirichlet",
                                      "dirichlet:",
                                      "dirichlet:0",
                                      "dirichlet:-1",
                                      "dirichlet:nan",
                                      "dirichlet:inf",
                                      "dirichlet:1 "};
    struct partition_spec spec;
    struct fed_err err;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(partition_parse(bad[i], &spec, &err), -FED_E_INVALID);
    }
    assert_int_equal(partition_parse("shards", &spec, &err), 0);
    assert_int_equal(spec.per_client, 2);
    assert_int_equal(partition_parse("shards:3", &spec, &err), 0);
    assert_int_equal(spec.per_client, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_example_is_in_exactly_one_part),
        cmocka_unit_test(test_same_key_same_parts_other_seed_others),
        cmocka_unit_test(test_iid_parts_are_equal_and_mixed),
        cmocka_unit_test(test_shards_hold_few_classes),
        cmocka_unit_test(test_dirichlet_alpha_sets_the_skew),
        cmocka_unit_test(test_more_parts_than_examples_leave_empty_ones),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
