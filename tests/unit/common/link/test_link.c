#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/link/link.h"
#include "tests/lib/alloc_fault.h"

static struct fed_entry admitted[2] = {{"c1", "u1", 10}, {"c2", "u2", 20}};
static struct fed_refused refused[1] = {{"c3", "u3", FED_REFUSAL_LATE, "too late", true}};
static struct fed_client_state clients[2] = {{"c1", "one", "127.0.0.1", FED_CLIENT_ATTACHED},
                                             {"c2", "two", "::1", FED_CLIENT_SILENT}};
static struct fed_hello_round rounds[2] = {{"7", 3, FED_LINK_ROUND_SEALED, admitted, 2, refused, 1},
                                           {"8", 1, FED_LINK_ROUND_PLANNED, NULL, 0, NULL, 0}};
static int32_t scale_bits[3] = {20, -3, 0};
static char client_ids[2][FED_ID_SIZE] = {"c1", "c2"};
static char json[] = "{\"a\":1}";

static struct fed_up make_hello(void)
{
    return (struct fed_up){.type = FED_UP_HELLO,
                           .hello = {.combiner_id = "combiner",
                                     .boot_id = "boot",
                                     .protocol = 1,
                                     .clients = clients,
                                     .n_clients = 2,
                                     .rounds = rounds,
                                     .n_rounds = 2}};
}

static struct fed_down make_plan(void)
{
    return (struct fed_down){.type = FED_DOWN_PLAN,
                             .plan = {.session_id = "s",
                                      .round_id = "7",
                                      .plan_seq = 3,
                                      .scale_bits = scale_bits,
                                      .n_tensors = 3,
                                      .task_data = json,
                                      .client_ids = client_ids,
                                      .n_clients = 2}};
}

static void test_copies_are_deep(void **state)
{
    const struct fed_up up = make_hello();
    const struct fed_up record = {.type = FED_UP_RECORD, .record = {4, FED_RECORD_METRIC, json}};
    const struct fed_down plan = make_plan();
    const struct fed_down validate = {
        .type = FED_DOWN_VALIDATE,
        .validate = {.client_ids = client_ids, .n_clients = 2, .task_data = json}};
    struct fed_up up_copy = {0};
    struct fed_down copy = {0};

    (void)state;
    assert_int_equal(fed_up_copy(&up_copy, &up, NULL), 0);
    assert_ptr_not_equal(up_copy.hello.clients, clients);
    assert_memory_equal(up_copy.hello.clients, clients, sizeof(clients));
    assert_memory_equal(up_copy.hello.rounds[0].admitted, admitted, sizeof(admitted));
    assert_memory_equal(up_copy.hello.rounds[0].refused, refused, sizeof(refused));
    assert_null(up_copy.hello.rounds[1].admitted);
    fed_up_deinit(&up_copy);
    fed_up_deinit(&up_copy);
    assert_int_equal(fed_up_copy(&up_copy, &record, NULL), 0);
    assert_string_equal(up_copy.record.json, json);
    fed_up_deinit(&up_copy);
    assert_int_equal(fed_down_copy(&copy, &plan, NULL), 0);
    assert_memory_equal(copy.plan.client_ids, client_ids, sizeof(client_ids));
    assert_memory_equal(copy.plan.scale_bits, scale_bits, sizeof(scale_bits));
    fed_down_deinit(&copy);
    assert_int_equal(fed_down_copy(&copy, &validate, NULL), 0);
    assert_memory_equal(copy.validate.client_ids, client_ids, sizeof(client_ids));
    fed_down_deinit(&copy);
}

static void test_no_memory_leaves_nothing_behind(void **state)
{
    const struct fed_up up = make_hello();
    const struct fed_down plan = make_plan();

    (void)state;
    for (unsigned n = 1;; n++) {
        struct fed_up up_copy = {0};
        struct fed_down copy = {0};
        int rc;

        alloc_fault_arm(n);
        rc = fed_up_copy(&up_copy, &up, NULL);
        rc = rc < 0 ? rc : fed_down_copy(&copy, &plan, NULL);
        const bool has_failed = alloc_fault_disarm();
        fed_up_deinit(&up_copy);
        fed_down_deinit(&copy);
        if (!has_failed) {
            assert_int_equal(rc, 0);
            assert_true(n > 6);
            break;
        }
        assert_int_equal(rc, -FED_E_NOMEM);
    }
}

/* Numbers travel on the link and stand in stored rounds. */
static void test_refusals_keep_their_numbers_and_words(void **state)
{
    (void)state;
    assert_int_equal(FED_REFUSAL_LATE, 1);
    assert_int_equal(FED_REFUSAL_DUPLICATE, 11);
    assert_int_equal(FED_REFUSAL_COMBINER_LOST, FED_REFUSAL_MAX - 1);
    assert_string_equal(fed_refusal_word(FED_REFUSAL_OUT_OF_RANGE), "out_of_range");
    assert_string_equal(fed_refusal_word(FED_REFUSAL_MAX), "unknown");
    for (unsigned i = 0; i < FED_REFUSAL_MAX; i++) {
        assert_true(strlen(fed_refusal_word((enum fed_refusal)i)) > 0);
        assert_true(strlen(fed_refusal_text((enum fed_refusal)i)) > 0);
    }
    assert_non_null(fed_refusal_text(FED_REFUSAL_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_are_deep),
        cmocka_unit_test(test_no_memory_leaves_nothing_behind),
        cmocka_unit_test(test_refusals_keep_their_numbers_and_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
