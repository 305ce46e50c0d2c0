/* reducer/core/round: what is in a round and its plans. The rules of closing: test_closing.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/reducer/core/federation_fixture.h"

static void test_entries_are_sorted_over_all_parts(void **state)
{
    struct fixture *f = *state;
    struct fed_entry *entries = NULL;
    size_t n_entries = 0;
    uint64_t sum = 0;

    hello(f, 1, "c1", "ann cay");
    hello(f, 2, "c2", "bob");
    start(f, 1);
    loaded(f, "m0");
    done(f);
    done(f);
    tick(f, f->now_ms + 60 * SECOND);
    (void)partial(f, "c1", "1/1", 11, "ann cay");
    (void)partial(f, "c2", "1/1", 12, "bob");
    federation_added(f->federation, 12, f->now_ms);
    federation_added(f->federation, 11, f->now_ms);
    assert_int_equal(
        round_list_entries(federation_get_round(f->federation), &entries, &n_entries, &sum, NULL),
        0);
    assert_int_equal(n_entries, 3);
    assert_int_equal(sum, 30);
    assert_string_equal(entries[0].client_id, "ann");
    assert_string_equal(entries[1].client_id, "bob");
    assert_string_equal(entries[2].client_id, "cay");
    free(entries);
}

static void test_the_scale(void **state)
{
    struct fixture *f = *state;
    const struct round *round;
    struct fed_plan plan;

    open_round(f);
    round = federation_get_round(f->federation);
    assert_int_equal(round->limit_bits, 51);             /* min(51, 62 - ceil(log2(3))) */
    assert_int_equal(round->scale_bits[0], 51 - 26 - 0); /* |b| <= 1 */
    assert_int_equal(
        round_make_plan(round, &round->parts[0], 1000, f->now_ms + 5 * SECOND, &plan, NULL), 0);
    assert_int_equal(plan.time_left_ms, 55 * SECOND);
    assert_int_equal(plan.n_clients, 2);
    assert_int_equal(plan.scale_bits[0], 25);
    fed_plan_deinit(&plan);
    assert_int_equal(
        round_make_plan(round, &round->parts[1], 1000, f->now_ms + 90 * SECOND, &plan, NULL), 0);
    assert_int_equal(plan.time_left_ms, 0);
    assert_string_equal(plan.client_ids[0], "cay");
    fed_plan_deinit(&plan);
}

static void test_refusals_have_a_bound(void **state)
{
    struct fixture *f = *state;
    const struct round *round;
    char client_id[32];

    open_round(f);
    round = federation_get_round(f->federation);
    for (unsigned i = 0; i < ROUND_REFUSALS_MAX + 5; i++) {
        (void)snprintf(client_id, sizeof(client_id), "eve%u", i);
        refused(f, 1, "1/1", client_id, FED_REFUSAL_NOT_ASKED);
        refused(f, 1, "1/1", "eve0", FED_REFUSAL_NOT_ASKED); /* told again */
    }
    assert_int_equal(round->n_refused, ROUND_REFUSALS_MAX);
    assert_int_equal(round->n_refused_more, 5);
}

static void test_admitted_after_a_refusal(void **state)
{
    struct fixture *f = *state;
    const struct round *round;

    open_round(f);
    round = federation_get_round(f->federation);
    refused(f, 1, "1/1", "ann", FED_REFUSAL_NOT_FINITE);
    assert_int_equal(round_find_client(round, "ann")->refusal, FED_REFUSAL_NOT_FINITE);
    admitted(f, 1, "1/1", "ann");
    assert_true(round_find_client(round, "ann")->is_admitted);
    assert_int_equal(round_find_client(round, "ann")->refusal, FED_REFUSAL_NONE);
    admitted(f, 2, "1/1", "bob"); /* c2 does not speak for bob */
    assert_false(round_find_client(round, "bob")->is_admitted);
    assert_int_equal(round_count_admitted(round), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_entries_are_sorted_over_all_parts),
        TEST(test_the_scale),
        TEST(test_refusals_have_a_bound),
        TEST(test_admitted_after_a_refusal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
