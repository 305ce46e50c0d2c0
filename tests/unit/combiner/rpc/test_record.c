/* FEDn's messages as rows: every key, absent fields null, floats in their shortest form. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "combiner/rpc/record.h"
#include "common/base/id.h"
#include "tests/lib/fixture.h"

/* The document but for its id and times, which are checked; takes `text`. */
static json_t *strip(char *text, const char *id_key)
{
    json_t *json = json_loads(text, 0, NULL);

    assert_non_null(json);
    free(text);
    assert_int_equal(strlen(json_string_value(json_object_get(json, id_key))), FED_UUID_SIZE - 1);
    assert_true(json_is_integer(json_object_get(json, "committed_at")));
    assert_true(json_is_integer(json_object_get(json, "updated_at")));
    (void)json_object_del(json, id_key);
    (void)json_object_del(json, "committed_at");
    (void)json_object_del(json, "updated_at");
    return json;
}

static void assert_json(json_t *json, const char *want)
{
    json_t *expected = json_loads(want, 0, NULL);

    assert_non_null(expected);
    if (json_equal(json, expected) == 0) {
        fail_msg("%s, want %s", json_dumps(json, JSON_SORT_KEYS), want);
    }
    json_decref(json);
    json_decref(expected);
}

static void test_a_status(void **state)
{
    Fedn__Status status = FEDN__STATUS__INIT;
    Fedn__Client sender = FEDN__CLIENT__INIT;
    Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    static char name[] = "alice";
    static char words[] = "Model update completed.";

    (void)state;
    sender.name = name;
    sender.role = FEDN__ROLE__CLIENT;
    time.seconds = 1795351737; /* 2026-11-22T12:48:57Z */
    time.nanos = 512650000;
    status.sender = &sender;
    status.status = words;
    status.log_level = FEDN__LOG_LEVEL__AUDIT;
    status.type = FEDN__STATUS_TYPE__MODEL_UPDATE;
    status.timestamp = &time;
    assert_json(strip(record_status(&status, ""), "status_id"),
                "{\"correlation_id\":null,\"data\":null,\"extra\":null,\"log_level\":\"AUDIT\","
                "\"sender\":{\"client_id\":null,\"name\":\"alice\",\"role\":\"CLIENT\"},"
                "\"session_id\":null,\"status\":\"Model update completed.\","
                "\"timestamp\":\"2026-11-22T12:48:57.512650Z\",\"type\":\"MODEL_UPDATE\"}");
}

static void test_timestamps(void **state)
{
    static const struct {
        int32_t nanos;
        const char *want;
    } cases[] = {{0, "2026-11-22T12:48:57Z"},
                 {500000000, "2026-11-22T12:48:57.500Z"},
                 {1000, "2026-11-22T12:48:57.000001Z"},
                 {1, "2026-11-22T12:48:57.000000001Z"},
                 {1000000000, NULL},
                 {-1, NULL}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Fedn__Status status = FEDN__STATUS__INIT;
        Google__Protobuf__Timestamp time = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        json_t *json;
        const char *got;
        time.seconds = 1795351737;
        time.nanos = cases[i].nanos;
        status.timestamp = &time;
        json = strip(record_status(&status, NULL), "status_id");
        got = json_string_value(json_object_get(json, "timestamp"));
        if (cases[i].want == NULL) {
            assert_null(got);
        } else {
            assert_string_equal(got, cases[i].want);
        }
        json_decref(json);
    }
}

static void test_a_metric_has_its_shortest_decimal(void **state)
{
    static const struct {
        float value;
        const char *want;
    } cases[] = {{0.94541216F, "\"value\":0.94541216"},
                 {30.1F, "\"value\":30.1,"},
                 {0.0F, "\"value\":0.0"},
                 {1e-20F, "\"value\":1e-20"},
                 {16777216.0F, "\"value\":16777216.0"},
                 {-0.1F, "\"value\":-0.1"},
                 {(float)NAN, "\"value\":null"}};
    static char key[] = "train_loss";
    static char round_id[] = "51";

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Fedn__ModelMetric metric = FEDN__MODEL_METRIC__INIT;
        Fedn__MetricElem elem = FEDN__METRIC_ELEM__INIT;
        Fedn__MetricElem *elems[] = {&elem};
        Google__Protobuf__UInt32Value step = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
        char *text;
        elem.key = key;
        elem.value = cases[i].value;
        metric.metrics = elems;
        metric.n_metrics = 1;
        metric.step = &step;
        metric.round_id = round_id;
        text = record_metric(&metric, 0, "c-1");
        assert_non_null(text);
        if (strstr(text, cases[i].want) == NULL) {
            fail_msg("%s, want %s", text, cases[i].want);
        }
        assert_non_null(strstr(text, "\"step\":0"));
        assert_non_null(strstr(text, "\"client_id\":\"c-1\""));
        assert_non_null(strstr(text, "\"key\":\"train_loss\""));
        free(text);
    }
}

static void test_a_validation_keeps_its_data_as_text(void **state)
{
    Fedn__ModelValidation validation = FEDN__MODEL_VALIDATION__INIT;
    Fedn__Client receiver = FEDN__CLIENT__INIT;
    static char data[] = "{\"test_loss\": 1.05, \"note\": \"quotes \\\" and \\u00e4\"}";
    static char combiner[] = "north";

    (void)state;
    receiver.name = combiner;
    receiver.role = FEDN__ROLE__COMBINER;
    validation.data = data;
    validation.receiver = &receiver;
    json_t *json = strip(record_validation(&validation, "c-1"), "validation_id");
    assert_string_equal(json_string_value(json_object_get(json, "data")), data);
    (void)json_object_del(json, "data");
    assert_json(json, "{\"correlation_id\":null,\"meta\":null,\"model_id\":null,"
                      "\"receiver\":{\"client_id\":null,\"name\":\"north\",\"role\":\"COMBINER\"},"
                      "\"sender\":{\"client_id\":\"c-1\",\"name\":null,\"role\":null},"
                      "\"session_id\":null,\"timestamp\":null}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_status),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_a_metric_has_its_shortest_decimal),
        cmocka_unit_test(test_a_validation_keeps_its_data_as_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
