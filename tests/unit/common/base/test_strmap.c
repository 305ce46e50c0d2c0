#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rand.h"
#include "common/base/strmap.h"
#include "tests/lib/alloc_fault.h"

#define N_KEYS 500

static int values[N_KEYS];

static void format_key(unsigned i, char ret_key[16])
{
    (void)snprintf(ret_key, 16, "key-%u", i);
}

static void test_put_find_take(void **state)
{
    struct fed_strmap map;
    void *old = &map;

    (void)state;
    fed_strmap_init(&map);
    assert_null(fed_strmap_find(&map, "a"));
    assert_null(fed_strmap_take(&map, "a"));
    assert_int_equal(fed_strmap_put(&map, "a", &values[1], &old, NULL), 0);
    assert_null(old);
    assert_int_equal(fed_strmap_put(&map, "a", &values[2], &old, NULL), 0);
    assert_ptr_equal(old, &values[1]);
    assert_int_equal(map.n_items, 1);
    assert_int_equal(fed_strmap_put(&map, "", &values[3], NULL, NULL), 0);
    assert_ptr_equal(fed_strmap_find(&map, ""), &values[3]);
    assert_ptr_equal(fed_strmap_take(&map, "a"), &values[2]);
    assert_null(fed_strmap_find(&map, "a"));
    assert_int_equal(map.n_items, 1);
    fed_strmap_deinit(&map);
    assert_int_equal(map.n_items, 0);
}

/* Against a plain array, through thousands of random puts and takes: gaps are closed rightly. */
static void test_behaves_like_an_array(void **state)
{
    const uint64_t key = 20261125;
    struct fed_strmap map;
    struct fed_rand rand;
    bool is_in[N_KEYS] = {false};
    size_t n_in = 0;
    size_t cursor = 0;
    size_t n_seen = 0;
    const char *seen_key = NULL;
    char name[16];

    (void)state;
    fed_strmap_init(&map);
    fed_rand_init(&rand, &key, 1);
    for (unsigned step = 0; step < 20000; step++) {
        const unsigned i = (unsigned)fed_rand_below(&rand, N_KEYS);
        format_key(i, name);
        if (fed_rand_below(&rand, 2) == 0) {
            assert_int_equal(fed_strmap_put(&map, name, &values[i], NULL, NULL), 0);
            n_in += is_in[i] ? 0 : 1;
            is_in[i] = true;
        } else {
            assert_ptr_equal(fed_strmap_take(&map, name), is_in[i] ? &values[i] : NULL);
            n_in -= is_in[i] ? 1 : 0;
            is_in[i] = false;
        }
        assert_int_equal(map.n_items, n_in);
    }
    for (unsigned i = 0; i < N_KEYS; i++) {
        format_key(i, name);
        assert_ptr_equal(fed_strmap_find(&map, name), is_in[i] ? &values[i] : NULL);
    }
    for (int *value; (value = fed_strmap_next(&map, &cursor, &seen_key)) != NULL; n_seen++) {
        format_key((unsigned)(value - values), name);
        assert_string_equal(seen_key, name);
    }
    assert_int_equal(n_seen, n_in);
    fed_strmap_deinit(&map);
}

static void test_no_memory_changes_nothing(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct fed_strmap map;
        int rc = 0;
        unsigned i = 0;
        char name[16];

        fed_strmap_init(&map);
        alloc_fault_arm(n);
        for (; i < 20 && rc == 0; i++) {
            format_key(i, name);
            rc = fed_strmap_put(&map, name, &values[i], NULL, NULL);
        }
        if (!alloc_fault_disarm()) {
            assert_int_equal(rc, 0);
            fed_strmap_deinit(&map);
            break;
        }
        assert_int_equal(rc, -FED_E_NOMEM);
        assert_int_equal(map.n_items, i - 1);
        assert_null(fed_strmap_find(&map, name));
        fed_strmap_deinit(&map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_find_take),
        cmocka_unit_test(test_behaves_like_an_array),
        cmocka_unit_test(test_no_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
