#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "reducer/rest/rest_csv.h"
#include "tests/unit/reducer/rest/rest_fixture.h"

/* Rows (a JSON array) as CSV; the text is the caller's. */
static char *csv_of(const char *rows_text, int want)
{
    json_t *rows = json_loads(rows_text, 0, NULL);
    struct rest_csv csv;
    struct fed_buf buf;
    int rc = 0;

    assert_non_null(rows);
    rest_csv_init(&csv);
    fed_buf_init(&buf, 0);
    for (size_t i = 0; rc == 0 && i < json_array_size(rows); i++) {
        rc = rest_csv_learn(&csv, json_array_get(rows, i), NULL);
    }
    assert_int_equal(rc, want);
    rc = rc < 0 ? 0 : rest_csv_add_head(&csv, &buf, NULL);
    for (size_t i = 0; want == 0 && rc == 0 && i < json_array_size(rows); i++) {
        rc = rest_csv_add_row(&csv, json_array_get(rows, i), &buf, NULL);
    }
    assert_int_equal(rc, 0);
    assert_int_equal(fed_buf_add(&buf, "", 1, NULL), 0);
    rest_csv_deinit(&csv);
    json_decref(rows);
    return (char *)buf.data;
}

static void expect_csv(const char *rows, const char *want)
{
    char *text = csv_of(rows, 0);

    assert_string_equal(text, want);
    free(text);
}

static void test_rows_are_flattened(void **state)
{
    (void)state;
    expect_csv("[]", "");
    expect_csv("[{}]", "");
    expect_csv("[{\"a\":1,\"b\":{\"c\":\"x\",\"d\":{\"e\":true}},\"f\":null}]",
               "a,b.c,b.d.e,f\r\n1,x,true,\r\n");
    expect_csv("[{\"a\":1},{\"b\":2.5,\"a\":{}}]", "a,b\r\n1,\r\n{},2.5\r\n");
    expect_csv("[{\"a\":[1,\"x\",{\"k\":2}]}]", "a\r\n\"[1,\"\"x\"\",{\"\"k\"\":2}]\"\r\n");
    expect_csv("[{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}]",
               "a.a.a.a.a.a\r\n\"{\"\"a\"\":1}\"\r\n");
}

static void test_texts_are_quoted(void **state)
{
    (void)state;
    expect_csv(
        "[{\"a\":\"x,y\",\"b\":\"say \\\"no\\\"\",\"c\":\"1\\r\\n2\",\"d\":\" x\",\"e\":\"ü\"}]",
        "a,b,c,d,e\r\n\"x,y\",\"say \"\"no\"\"\",\"1\r\n2\",\" x\",ü\r\n");
}

/* What a spreadsheet would carry out is a text; a number stays one. */
static void test_formulas_are_texts(void **state)
{
    (void)state;
    expect_csv("[{\"a\":\"=1+1\",\"b\":\"+1\",\"c\":\"-1\",\"d\":\"@x\",\"e\":\"\\tx\",\"f\":-1,"
               "\"g\":\"=HYPERLINK(\\\"x\\\",1)\"}]",
               "a,b,c,d,e,f,g\r\n'=1+1,'+1,'-1,'@x,'\tx,-1,\"'=HYPERLINK(\"\"x\"\",1)\"\r\n");
    expect_csv("[{\"=a\":1,\"b,c\":2}]", "'=a,\"b,c\"\r\n1,2\r\n");
}

static void test_columns_are_bounded(void **state)
{
    char *rows = calloc(32, REST_CSV_COLUMNS_MAX + 2);
    size_t n = 0;

    (void)state;
    assert_non_null(rows);
    for (unsigned i = 0; i <= REST_CSV_COLUMNS_MAX; i++) {
        n += (size_t)snprintf(rows + n, 32, "%s\"k%u\":1", i == 0 ? "[{" : ",", i);
    }
    memcpy(rows + n, "}]", 3);
    free(csv_of(rows, -FED_E_LIMIT));
    (void)snprintf(rows, 2 * (size_t)REST_CSV_NAME_SIZE, "[{\"%0*d\":1}]", (int)REST_CSV_NAME_SIZE,
                   0);
    free(csv_of(rows, -FED_E_LIMIT));
    free(rows);
}

static void add_client(struct fixture *fixture, int i, const char *name)
{
    char id[32];
    json_t *row;

    (void)snprintf(id, sizeof(id), "c%05d", i);
    row = json_pack("{s:s,s:s,s:{s:i}}", "client_id", id, "name", name, "deep", "i", i);
    assert_int_equal(store_put(fixture->host.store, STORE_CLIENTS, row, NULL), 0);
    json_decref(row);
}

/* The same rows as the list's, whatever its filters, and over the borders of pages. */
static void test_lists(void **state)
{
    struct fixture *fixture = *state;
    static const char *const asked[] = {"/api/v1/clients/?format=csv",
                                        "/api/v1/clients/?format=csv&name=odd"};
    const size_t wanted[] = {3000, 1500};
    struct reply reply;

    for (int i = 0; i < 3000; i++) {
        add_client(fixture, i, i % 2 == 0 ? "=even" : "odd");
    }
    for (size_t i = 0; i < 2; i++) {
        size_t n = 0;
        reply = call(fixture, "GET", asked[i], NULL);
        assert_int_equal(reply.status, 200);
        for (const char *at = reply.text; (at = strstr(at, "\r\n")) != NULL; at += 2) {
            n++;
        }
        assert_int_equal(n, wanted[i] + 1);
        assert_memory_equal(reply.text, "client_id,name,deep.i,", 22);
        reply_deinit(&reply);
    }
    reply = call_with(fixture, "GET", "/api/v1/clients/?deep.i=4", "Accept: text/csv");
    assert_non_null(strstr(reply.text, "\r\nc00004,'=even,4,"));
    reply_deinit(&reply);
    reply = call_with(fixture, "GET", "/api/v1/clients/?deep.i=4&format=json", "Accept: text/csv");
    assert_non_null(reply.json);
    reply_deinit(&reply);
    reply = call(fixture, "POST", "/api/v1/clients/list?format=csv", "{\"deep.i\":4}");
    assert_non_null(strstr(reply.text, "c00004,'=even,4"));
    reply_deinit(&reply);
}

/* A list that was sent before shows every write at once. */
static void test_a_kept_list_is_never_old(void **state)
{
    struct fixture *fixture = *state;

    for (int i = 0; i < 50; i++) {
        json_t *list;
        add_client(fixture, i, "x");
        for (int again = 0; again < 3; again++) {
            list = expect(fixture, 200, "GET", "/api/v1/clients/", NULL);
            assert_int_equal(json_integer_value(json_object_get(list, "count")), i + 1);
            assert_int_equal(json_array_size(json_object_get(list, "result")), i + 1);
            json_decref(list);
        }
        list = expect(fixture, 200, "GET", "/api/v1/clients/?name=y", NULL);
        assert_int_equal(json_integer_value(json_object_get(list, "count")), 0);
        json_decref(list);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_are_flattened),
        cmocka_unit_test(test_texts_are_quoted),
        cmocka_unit_test(test_formulas_are_texts),
        cmocka_unit_test(test_columns_are_bounded),
        TEST(test_lists),
        TEST(test_a_kept_list_is_never_old),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
