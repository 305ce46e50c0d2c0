/* The index of uploads: replacing, claiming, and room. */
#include <stdlib.h>

#include "combiner/spool/staging.h"
#include "tests/lib/fixture.h"

#define AGE_MS 1000U

struct fixture {
    struct staging staging;
    uint64_t serial;
};

static int set_up(void **state)
{
    const struct staging_limits limits = {.uploads_max = 3, .bytes_max = 100, .age_ms = AGE_MS};
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    staging_init(&f->staging, &limits);
    *state = f;
    return 0;
}

/* How many have been dropped since the last time. */
static unsigned sweep(struct fixture *f)
{
    struct staged *staged;
    unsigned n = 0;

    while ((staged = staging_take_dropped(&f->staging)) != NULL) {
        free(staged);
        n++;
    }
    return n;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)sweep(f);
    staging_deinit(&f->staging);
    free(f);
    return 0;
}

static struct staged *put(struct fixture *f, const char *id, uint64_t size, uint64_t now_ms)
{
    struct spool_upload upload = {.file = {.serial = ++f->serial, .size_bytes = size}};
    struct staged *staged = NULL;

    fed_id_copy(upload.id, id);
    assert_int_equal(staging_put(&f->staging, &upload, now_ms, &staged, NULL), 0);
    return staged;
}

static void test_a_new_upload_replaces_the_one_that_is_not_claimed(void **state)
{
    struct fixture *f = *state;
    struct staged *second;

    (void)put(f, "u", 10, 0);
    second = put(f, "u", 20, 1);
    assert_int_equal(sweep(f), 1);
    assert_ptr_equal(staging_find(&f->staging, "u"), second);
    assert_int_equal(f->staging.n_bytes, 20);
}

static void test_a_claimed_upload_is_not_touched_by_a_new_one(void **state)
{
    struct fixture *f = *state;
    struct staged *first = put(f, "u", 10, 0);
    struct staged *second;

    staging_claim(&f->staging, first);
    assert_null(staging_find(&f->staging, "u"));
    second = put(f, "u", 20, 1);
    assert_int_equal(sweep(f), 0);
    assert_ptr_equal(staging_find(&f->staging, "u"), second);
    /* Given back, it has been replaced meanwhile. */
    staging_give_back(&f->staging, first);
    assert_int_equal(sweep(f), 1);
    assert_ptr_equal(staging_find(&f->staging, "u"), second);
}

static void test_given_back_it_can_be_claimed_again(void **state)
{
    struct fixture *f = *state;
    struct staged *staged = put(f, "u", 10, 0);

    staging_claim(&f->staging, staged);
    staging_give_back(&f->staging, staged);
    assert_ptr_equal(staging_find(&f->staging, "u"), staged);
    staging_claim(&f->staging, staged);
    staging_drop(&f->staging, staged);
    assert_int_equal(sweep(f), 1);
    assert_int_equal(f->staging.n_uploads, 0);
    assert_int_equal(f->staging.n_bytes, 0);
}

static void test_room_is_made_by_what_has_waited_long(void **state)
{
    struct fixture *f = *state;

    (void)put(f, "old", 60, 0);
    (void)put(f, "young", 30, AGE_MS);
    assert_false(staging_reserve(&f->staging, 20, AGE_MS - 1));
    assert_int_equal(sweep(f), 0);
    assert_true(staging_reserve(&f->staging, 20, AGE_MS));
    assert_int_equal(sweep(f), 1);
    assert_null(staging_find(&f->staging, "old"));
    assert_non_null(staging_find(&f->staging, "young"));
    assert_true(staging_reserve(&f->staging, 50, AGE_MS));
    assert_false(staging_reserve(&f->staging, 1, AGE_MS));
    staging_release(&f->staging, 70);
    assert_true(staging_reserve(&f->staging, 70, AGE_MS));
    staging_release(&f->staging, 70);
}

static void test_their_number_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct staged *claimed = put(f, "c", 1, 0);

    (void)put(f, "a", 1, 0);
    (void)put(f, "b", 1, 0);
    staging_claim(&f->staging, claimed);
    assert_false(staging_reserve(&f->staging, 1, 5));
    staging_drop(&f->staging, staging_find(&f->staging, "a"));
    assert_true(staging_reserve(&f->staging, 1, 5));
    staging_release(&f->staging, 1);
    staging_drop(&f->staging, claimed);
    assert_int_equal(sweep(f), 2);
}

static void test_an_oversize_upload_finds_no_room_and_drops_nobody_young(void **state)
{
    struct fixture *f = *state;
    struct staged *young = put(f, "young", 10, 0);

    assert_false(staging_reserve(&f->staging, 101, 10));
    assert_int_equal(sweep(f), 0);
    assert_ptr_equal(staging_find(&f->staging, "young"), young);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_new_upload_replaces_the_one_that_is_not_claimed),
        TEST(test_a_claimed_upload_is_not_touched_by_a_new_one),
        TEST(test_given_back_it_can_be_claimed_again),
        TEST(test_room_is_made_by_what_has_waited_long),
        TEST(test_their_number_is_bounded),
        TEST(test_an_oversize_upload_finds_no_room_and_drops_nobody_young),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
