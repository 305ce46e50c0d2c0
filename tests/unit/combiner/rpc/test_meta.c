/* meta and config: what is taken, and what is refused for which reason. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "combiner/rpc/meta.h"
#include "combiner/rpc/status.h"
#include "tests/lib/fixture.h"

#define EXAMPLES(text) "{\"training_metadata\": {\"num_examples\": " text "}}"
#define CONFIG(text)   "{\"training_metadata\": {\"num_examples\": 5}, \"config\": " text "}"

struct good {
    const char *meta;
    const char *config;
    uint64_t examples;
    const char *round_id;
    const char *session_id;
};

static const struct good good[] = {
    {EXAMPLES("240"), "", 240, "", ""},
    {EXAMPLES("240.0"), "", 240, "", ""},
    {EXAMPLES("2.4e2"), "", 240, "", ""},
    {EXAMPLES("1"), "", 1, "", ""},
    {EXAMPLES("9007199254740992"), "", 1ULL << 53, "", ""},
    {CONFIG("\"{\\\"round_id\\\": \\\"7\\\", \\\"session_id\\\": \\\"s-1\\\"}\""), "", 5, "7",
     "s-1"},
    {CONFIG("\"{\\\"round_id\\\": 7}\""), "", 5, "7", ""},
    {CONFIG("{\"round_id\": \"7\"}"), "", 5, "7", ""}, /* not in a text */
    {CONFIG("null"), "{\"round_id\": \"8\"}", 5, "8", ""},
    {CONFIG("\"\""), "{\"round_id\": \"8\", \"session_id\": null}", 5, "8", ""},
    {CONFIG("\"{\\\"round_id\\\": \\\"7\\\"}\""), "{\"round_id\": \"7\", \"session_id\": \"s\"}", 5,
     "7", "s"},
    /* Python's JSON knows NaN. */
    {"{\"training_metadata\": {\"num_examples\": 3, \"loss\": NaN, \"worst\": -Infinity, "
     "\"best\": Infinity, \"text\": \"NaN \\\" Infinity\"}}",
     "", 3, "", ""},
    {"{\"exec_training\": 1.23, \"training_metadata\": {\"num_examples\": 500, \"epochs\": [1, 2]}, "
     "\"processing_time\": 1.30, \"upload_model\": 0.05, \"fetch_model\": 0.04, "
     "\"config\": \"{\\\"round_id\\\": \\\"51\\\", \\\"helper_type\\\": \\\"numpyhelper\\\"}\"}",
     "", 500, "51", ""},
};

static void test_what_is_taken(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct meta meta;
        meta_parse(good[i].meta, good[i].config, &meta);
        if (meta.fault != FED_REFUSAL_NONE) {
            fail_msg("%s: %s", good[i].meta, meta.detail);
        }
        assert_int_equal(meta.examples, good[i].examples);
        assert_string_equal(meta.round_id, good[i].round_id);
        assert_string_equal(meta.session_id, good[i].session_id);
    }
}

struct bad {
    const char *meta;
    const char *config;
    enum fed_refusal reason;
};

static const struct bad bad[] = {
    {"", "", FED_REFUSAL_BAD_META},
    {"no json", "", FED_REFUSAL_BAD_META},
    {"[1, 2]", "", FED_REFUSAL_BAD_META},
    {"{\"training_metadata\": ", "", FED_REFUSAL_BAD_META},
    {"{} trailing", "", FED_REFUSAL_BAD_META},
    {"{}", "", FED_REFUSAL_EXAMPLES},
    {"{\"training_metadata\": 5}", "", FED_REFUSAL_EXAMPLES},
    {"{\"training_metadata\": {}}", "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("0"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("-1"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("0.5"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("240.5"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("\"240\""), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("[240]"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("{}"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("true"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("null"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("NaN"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("Infinity"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("1e300"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("9007199254740994"), "", FED_REFUSAL_EXAMPLES},
    {EXAMPLES("1e999"), "", FED_REFUSAL_BAD_META},
    {CONFIG("\"no json\""), "", FED_REFUSAL_BAD_META},
    {CONFIG("\"[]\""), "", FED_REFUSAL_BAD_META},
    {CONFIG("7"), "", FED_REFUSAL_BAD_META},
    {CONFIG("[\"a\"]"), "", FED_REFUSAL_BAD_META},
    {EXAMPLES("5"), "no json", FED_REFUSAL_BAD_META},
    {CONFIG("{\"round_id\": \"7\"}"), "{\"round_id\": \"8\"}", FED_REFUSAL_BAD_META},
    {CONFIG("{\"session_id\": \"a\"}"), "{\"session_id\": \"b\"}", FED_REFUSAL_BAD_META},
    {CONFIG("{\"round_id\": \"../../etc\"}"), "", FED_REFUSAL_OTHER_ROUND},
    {CONFIG("{\"round_id\": \"1234567890123456789012345\"}"), "", FED_REFUSAL_OTHER_ROUND},
    {CONFIG("{\"round_id\": []}"), "", FED_REFUSAL_OTHER_ROUND},
    {CONFIG("{\"round_id\": 1e100}"), "", FED_REFUSAL_OTHER_ROUND},
    {CONFIG("{\"session_id\": \"a/b\"}"), "", FED_REFUSAL_OTHER_SESSION},
};

static void test_what_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct meta meta;
        meta_parse(bad[i].meta, bad[i].config, &meta);
        if (meta.fault != bad[i].reason) {
            fail_msg("%s | %s: %s (%s), want %s", bad[i].meta, bad[i].config,
                     meta.fault == FED_REFUSAL_NONE ? "taken" : fed_refusal_word(meta.fault),
                     meta.detail, fed_refusal_word(bad[i].reason));
        }
        assert_int_not_equal(strlen(meta.detail), 0);
    }
}

static void test_depth_and_size_are_bounded(void **state)
{
    const size_t size = META_SIZE_MAX + 2;
    char *text = malloc(size + 64);
    struct meta meta;

    (void)state;
    assert_non_null(text);
    /* Deep: the recursive reader behind us never sees it. */
    memset(text, '[', 100000);
    text[100000] = '\0';
    meta_parse(text, "", &meta);
    assert_int_equal(meta.fault, FED_REFUSAL_BAD_META);
    assert_non_null(strstr(meta.detail, "deeper"));
    /* Brackets in a text are no depth. */
    memcpy(text, "{\"a\": \"", 7);
    memset(text + 7, '[', 1000);
    (void)snprintf(text + 1007, 64, "\", \"training_metadata\": {\"num_examples\": 2}}");
    meta_parse(text, "", &meta);
    assert_int_equal(meta.fault, FED_REFUSAL_NONE);
    memset(text, ' ', size);
    text[size] = '\0';
    meta_parse(text, "", &meta);
    assert_int_equal(meta.fault, FED_REFUSAL_BAD_META);
    assert_non_null(strstr(meta.detail, "longer"));
    meta_parse(EXAMPLES("1"), text, &meta);
    assert_int_equal(meta.fault, FED_REFUSAL_BAD_META);
    free(text);
}

/* Rule 18: the whole table. */
static void test_only_three_statuses_leave_the_port(void **state)
{
    (void)state;
    for (int code = FED_OK; code < FED_CODE_MAX; code++) {
        const enum fed_rpc_status status = status_of((enum fed_code)code);
        assert_int_equal(status, code == FED_OK            ? FED_RPC_OK
                                 : code == FED_E_CANCELLED ? FED_RPC_CANCELLED
                                                           : FED_RPC_UNAVAILABLE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_depth_and_size_are_bounded),
        cmocka_unit_test(test_only_three_statuses_leave_the_port),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
