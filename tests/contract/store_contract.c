#include "tests/contract/store_contract.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static store_url_fn url_of;

struct fixture {
    struct test_folder folder;
    struct store *store;
    struct fed_err err;
};

static int set_up(void **state)
{
    static struct fixture f;
    char url[FED_PATH_SIZE];

    f = (struct fixture){0};
    *state = &f;
    test_folder_make(&f.folder);
    url_of(&f.folder, url);
    return store_open(url, &f.store, &f.err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->store = store_close(f->store);
    test_folder_remove(&f->folder);
    return 0;
}

/* -- steps: documents as JSON text, with ' for " ------------------------------------------------
 */

static json_t *parse(const char *text)
{
    char copy[1024];
    json_t *document;

    (void)snprintf(copy, sizeof(copy), "%s", text);
    for (char *p = copy; *p != '\0'; p++) {
        if (*p == '\'') {
            *p = '"';
        }
    }
    document = json_loads(copy, 0, NULL);
    assert_non_null(document);
    return document;
}

static int insert(struct fixture *f, enum store_collection in, const char *text)
{
    json_t *document = parse(text);
    const int rc = store_insert(f->store, in, document, &f->err);

    json_decref(document);
    return rc;
}

static int replace(struct fixture *f, enum store_collection in, uint64_t version, const char *text)
{
    json_t *document = parse(text);
    const int rc = store_replace(f->store, in, version, document, &f->err);

    json_decref(document);
    return rc;
}

static int put(struct fixture *f, enum store_collection in, const char *text)
{
    json_t *document = parse(text);
    const int rc = store_put(f->store, in, document, &f->err);

    json_decref(document);
    return rc;
}

static json_int_t
get_number(struct fixture *f, enum store_collection in, const char *key, const char *field)
{
    json_t *document = NULL;
    json_int_t number;

    assert_int_equal(store_get(f->store, in, key, &document, &f->err), 0);
    number = json_integer_value(json_object_get(document, field));
    json_decref(document);
    return number;
}

/* The keys of what is found, with blanks between, then "/matches". */
static const char *
find(struct fixture *f, enum store_collection in, const struct store_query *query)
{
    static char trace[512];
    json_t *documents = NULL;
    size_t n_matches = 0;
    size_t used = 0;
    size_t i;
    json_t *document;

    assert_int_equal(store_find(f->store, in, query, &documents, &n_matches, &f->err), 0);
    json_array_foreach(documents, i, document)
    {
        used += (size_t)snprintf(
            trace + used, sizeof(trace) - used, "%s ",
            json_string_value(json_object_get(document, store_collection_key(in))));
        assert_true(used < sizeof(trace));
    }
    (void)snprintf(trace + used, sizeof(trace) - used, "/%zu", n_matches);
    json_decref(documents);
    return trace;
}

static struct store_query where(const char *path, enum store_op op, const char *value)
{
    struct store_query query = {.n_filters = 1, .is_ascending = true};

    (void)snprintf(query.filters[0].path, sizeof(query.filters[0].path), "%s", path);
    query.filters[0].op = op;
    query.filters[0].value = value;
    return query;
}

static const char *
find_where(struct fixture *f, const char *path, enum store_op op, const char *value)
{
    const struct store_query query = where(path, op, value);

    return find(f, STORE_CLIENTS, &query);
}

/* -- one document --------------------------------------------------------------------------------
 */

static void test_insert_is_unique_and_stamped(void **state)
{
    struct fixture *f = *state;
    json_t *document = NULL;

    assert_int_equal(
        insert(f, STORE_SESSIONS, "{'session_id': 's1', 'name': 'a', 'n': {'x': [1]}}"), 0);
    assert_int_equal(insert(f, STORE_SESSIONS, "{'session_id': 's1', 'name': 'b'}"), STORE_EXISTS);
    assert_int_equal(insert(f, STORE_MODELS, "{'model_id': 's1'}"), 0); /* another collection */
    assert_int_equal(store_get(f->store, STORE_SESSIONS, "s1", &document, &f->err), 0);
    assert_string_equal(json_string_value(json_object_get(document, "name")), "a");
    assert_int_equal(json_integer_value(json_object_get(document, "version")), 1);
    assert_true(json_integer_value(json_object_get(document, "committed_at")) > 1700000000000);
    assert_true(json_integer_value(json_object_get(document, "updated_at")) > 1700000000000);
    assert_int_equal(json_array_size(json_object_get(json_object_get(document, "n"), "x")), 1);
    json_decref(document);
    assert_int_equal(store_get(f->store, STORE_SESSIONS, "s2", &document, &f->err),
                     STORE_NOT_FOUND);
}

static void test_the_federation_has_its_key(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(insert(f, STORE_FEDERATION, "{'federation': 'federation', 'next': 1}"), 0);
    assert_int_equal(get_number(f, STORE_FEDERATION, "federation", "next"), 1);
}

static void test_compare_and_set(void **state)
{
    struct fixture *f = *state;
    json_int_t committed;

    assert_int_equal(replace(f, STORE_ROUNDS, 1, "{'round_id': '1'}"), STORE_NOT_FOUND);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id': '1', 'n': 1}"), 0);
    committed = get_number(f, STORE_ROUNDS, "1", "committed_at");
    assert_int_equal(replace(f, STORE_ROUNDS, 1, "{'round_id': '1', 'n': 2}"), 0);
    assert_int_equal(replace(f, STORE_ROUNDS, 1, "{'round_id': '1', 'n': 3}"), STORE_CONFLICT);
    assert_int_equal(replace(f, STORE_ROUNDS, 3, "{'round_id': '1', 'n': 3}"), STORE_CONFLICT);
    assert_int_equal(get_number(f, STORE_ROUNDS, "1", "n"), 2);
    assert_int_equal(get_number(f, STORE_ROUNDS, "1", "version"), 2);
    assert_true(get_number(f, STORE_ROUNDS, "1", "committed_at") == committed);
    assert_int_equal(replace(f, STORE_ROUNDS, 2, "{'round_id': '1', 'n': 4, 'version': 99}"), 0);
    assert_int_equal(get_number(f, STORE_ROUNDS, "1", "version"), 3);
}

static void test_put_inserts_or_replaces(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(put(f, STORE_MODELS, "{'model_id': 'm', 'n': 1}"), 0);
    assert_int_equal(put(f, STORE_MODELS, "{'model_id': 'm', 'n': 2}"), 0);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "n"), 2);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "version"), 2);
}

static void test_soon_is_as_now(void **state)
{
    struct fixture *f = *state;
    json_t *document = parse("{'model_id': 'm', 'n': 1}");

    assert_int_equal(store_replace_soon(f->store, STORE_MODELS, 1, document, &f->err),
                     STORE_NOT_FOUND);
    assert_int_equal(store_put_soon(f->store, STORE_MODELS, document, &f->err), 0);
    assert_int_equal(store_put_soon(f->store, STORE_MODELS, document, &f->err), 0);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "version"), 2);
    (void)json_object_set_new(document, "n", json_integer(7));
    assert_int_equal(store_replace_soon(f->store, STORE_MODELS, 1, document, &f->err),
                     STORE_CONFLICT);
    assert_int_equal(store_replace_soon(f->store, STORE_MODELS, 2, document, &f->err), 0);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "n"), 7);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "version"), 3);
    (void)json_object_del(document, "model_id");
    assert_int_equal(store_put_soon(f->store, STORE_MODELS, document, &f->err), -FED_E_INVALID);
    json_decref(document);
    assert_int_equal(put(f, STORE_MODELS, "{'model_id': 'm', 'n': 8}"), 0);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "version"), 4);
}

static void test_remove(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(store_remove(f->store, STORE_CLIENTS, "c", &f->err), STORE_NOT_FOUND);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id': 'c'}"), 0);
    assert_int_equal(store_remove(f->store, STORE_CLIENTS, "c", &f->err), 0);
    assert_int_equal(store_remove(f->store, STORE_CLIENTS, "c", &f->err), STORE_NOT_FOUND);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id': 'c'}"), 0);
    assert_int_equal(get_number(f, STORE_CLIENTS, "c", "version"), 1);
}

static void test_unique_combinations(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'1','session_id':'s','round_number':1}"),
                     0);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'2','session_id':'s','round_number':1}"),
                     STORE_EXISTS);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'2','session_id':'s','round_number':2}"),
                     0);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'3','session_id':'t','round_number':1}"),
                     0);
    /* nor by writing over */
    assert_int_equal(
        replace(f, STORE_ROUNDS, 1, "{'round_id':'2','session_id':'s','round_number':1}"),
        STORE_EXISTS);
    assert_int_equal(put(f, STORE_ROUNDS, "{'round_id':'3','session_id':'s','round_number':2}"),
                     STORE_EXISTS);
    assert_int_equal(put(f, STORE_ROUNDS, "{'round_id':'9','session_id':'s','round_number':2}"),
                     STORE_EXISTS);
    assert_int_equal(get_number(f, STORE_ROUNDS, "2", "round_number"), 2);
    assert_int_equal(get_number(f, STORE_ROUNDS, "2", "version"), 1);
    /* itself is no other */
    assert_int_equal(
        replace(f, STORE_ROUNDS, 1, "{'round_id':'2','session_id':'s','round_number':2,'n':1}"), 0);
    /* without a part there is no combination */
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'4','session_id':'s'}"), 0);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'5','session_id':'s'}"), 0);
    /* a freed one can be taken */
    assert_int_equal(store_remove(f->store, STORE_ROUNDS, "1", &f->err), 0);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'6','session_id':'s','round_number':1}"),
                     0);
}

static void test_a_validation_counts_once_a_client(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "{'validation_id':'1','session_id':'s','model_id':'m','_sender_key':'c'}",
        "{'validation_id':'2','session_id':'s','model_id':'m','_sender_key':'c'}",
        "{'validation_id':'3','session_id':'s','model_id':'m','_sender_key':'d'}",
        "{'validation_id':'4','session_id':'s','model_id':'m','_sender_key':null}",
        "{'validation_id':'5','session_id':'s','model_id':'m','_sender_key':null}",
    };

    assert_int_equal(insert(f, STORE_VALIDATIONS, texts[0]), 0);
    assert_int_equal(insert(f, STORE_VALIDATIONS, texts[1]), STORE_EXISTS);
    assert_int_equal(insert(f, STORE_VALIDATIONS, texts[2]), 0);
    assert_int_equal(insert(f, STORE_VALIDATIONS, texts[3]), 0);
    assert_int_equal(insert(f, STORE_VALIDATIONS, texts[4]), 0);
}

static void test_documents_that_are_refused(void **state)
{
    struct fixture *f = *state;
    const size_t size = STORE_DOCUMENT_MAX + 1;
    char *text = malloc(size + 1);
    json_t *document = parse("{'model_id': 'big'}");

    assert_non_null(text);
    assert_int_equal(insert(f, STORE_MODELS, "{'name': 'x'}"), -FED_E_INVALID);
    assert_int_equal(insert(f, STORE_MODELS, "{'model_id': ''}"), -FED_E_INVALID);
    assert_int_equal(insert(f, STORE_MODELS, "{'model_id': 7}"), -FED_E_INVALID);
    assert_int_equal(insert(f, STORE_MODELS, "[]"), -FED_E_INVALID);
    memset(text, 'x', size);
    text[size] = '\0';
    (void)json_object_set_new(document, "text", json_string(text));
    assert_int_equal(store_insert(f->store, STORE_MODELS, document, &f->err), -FED_E_LIMIT);
    assert_int_equal(store_put(f->store, STORE_MODELS, document, &f->err), -FED_E_LIMIT);
    json_decref(document);
    free(text);
    assert_int_equal(store_get(f->store, STORE_MODELS, "big", &document, &f->err), STORE_NOT_FOUND);
}

static void test_what_is_given_and_returned_is_apart(void **state)
{
    struct fixture *f = *state;
    json_t *document = parse("{'model_id': 'm', 'n': 1}");
    json_t *read = NULL;

    assert_int_equal(store_insert(f->store, STORE_MODELS, document, &f->err), 0);
    assert_null(json_object_get(document, "version"));
    (void)json_object_set_new(document, "n", json_integer(2));
    json_decref(document);
    assert_int_equal(store_get(f->store, STORE_MODELS, "m", &read, &f->err), 0);
    (void)json_object_set_new(read, "n", json_integer(3));
    json_decref(read);
    assert_int_equal(get_number(f, STORE_MODELS, "m", "n"), 1);
}

/* Texts of any kind come back: quotes, controls, other scripts, a NUL, large and small numbers. */
static void test_values_come_back(void **state)
{
    struct fixture *f = *state;
    json_t *document =
        json_pack("{s:s, s:s, s:o, s:I, s:f, s:n}", "model_id", "m", "text",
                  "a'\"\\\n\t\x01\xf0\x9f\x98\x80; DROP TABLE documents; --", "nul",
                  json_stringn("a\0b", 3), "int", (json_int_t)INT64_MIN, "real", 0.1, "null");
    json_t *read = NULL;

    assert_int_equal(store_insert(f->store, STORE_MODELS, document, &f->err), 0);
    assert_int_equal(store_get(f->store, STORE_MODELS, "m", &read, &f->err), 0);
    (void)json_object_del(read, "committed_at");
    (void)json_object_del(read, "updated_at");
    (void)json_object_del(read, "version");
    assert_true(json_equal(document, read));
    json_decref(read);
    json_decref(document);
    assert_int_equal(store_get(f->store, STORE_MODELS, "m' OR '1'='1", &read, &f->err),
                     STORE_NOT_FOUND);
}

/* Many at a time: each ends as by itself, in their order. */
static void test_many_inserts(void **state)
{
    static const char *const texts[] = {
        "{'validation_id':'1','session_id':'s','model_id':'m','_sender_key':'a'}",
        "{'validation_id':'0','session_id':'s','model_id':'m','_sender_key':'b'}",
        "{'validation_id':'1','session_id':'s','model_id':'m','_sender_key':'c'}", /* the key */
        "{'session_id':'s'}",
        "{'validation_id':'2','session_id':'s','model_id':'m','_sender_key':'b'}", /* the others */
        "{'validation_id':'3','session_id':'s','model_id':'m','_sender_key':'d'}",
        "{'validation_id':'big'}",
    };
    static const int wanted[] = {0, 0, STORE_EXISTS, -FED_E_INVALID, STORE_EXISTS, 0, -FED_E_LIMIT};
    static const int again[] = {STORE_EXISTS, STORE_EXISTS, STORE_EXISTS, -FED_E_INVALID,
                                STORE_EXISTS, STORE_EXISTS, -FED_E_LIMIT};
    const struct store_query all = {.is_ascending = true};
    struct fixture *f = *state;
    json_t *documents[7];
    int outcomes[7];
    char *text = malloc(STORE_DOCUMENT_MAX + 2);

    assert_non_null(text);
    memset(text, 'x', STORE_DOCUMENT_MAX + 1);
    text[STORE_DOCUMENT_MAX + 1] = '\0';
    for (size_t i = 0; i < 7; i++) {
        documents[i] = parse(texts[i]);
    }
    (void)json_object_set_new(documents[6], "text", json_string(text));
    free(text);
    assert_int_equal(
        store_insert_many(f->store, STORE_VALIDATIONS, documents, 7, outcomes, &f->err), 0);
    assert_memory_equal(outcomes, wanted, sizeof(wanted));
    assert_string_equal(find(f, STORE_VALIDATIONS, &all), "1 0 3 /3");
    assert_int_equal(get_number(f, STORE_VALIDATIONS, "3", "version"), 1);
    assert_int_equal(
        store_insert_many(f->store, STORE_VALIDATIONS, documents, 7, outcomes, &f->err), 0);
    assert_memory_equal(outcomes, again, sizeof(again));
    assert_int_equal(
        store_insert_many(f->store, STORE_VALIDATIONS, documents, 0, outcomes, &f->err), 0);
    for (size_t i = 0; i < 7; i++) {
        json_decref(documents[i]);
    }
}

static int restore(struct fixture *f, enum store_collection in, const char *text)
{
    json_t *document = parse(text);
    const int rc = store_restore(f->store, in, document, &f->err);

    json_decref(document);
    return rc;
}

static void test_restore_keeps_every_bit(void **state)
{
    static const char text[] = "{'round_id':'1','session_id':'s','round_number':1,"
                               "'committed_at':5,'updated_at':7,'version':3,'x':null}";
    struct fixture *f = *state;
    json_t *document = parse(text);
    json_t *read = NULL;

    assert_int_equal(store_restore(f->store, STORE_ROUNDS, document, &f->err), 0);
    assert_int_equal(store_get(f->store, STORE_ROUNDS, "1", &read, &f->err), 0);
    assert_true(json_equal(document, read));
    json_decref(read);
    json_decref(document);
    assert_int_equal(restore(f, STORE_ROUNDS, text), STORE_EXISTS);
    assert_int_equal(insert(f, STORE_ROUNDS, "{'round_id':'2','session_id':'s','round_number':1}"),
                     STORE_EXISTS);
    assert_int_equal(replace(f, STORE_ROUNDS, 2, "{'round_id':'1'}"), STORE_CONFLICT);
    assert_int_equal(replace(f, STORE_ROUNDS, 3, "{'round_id':'1'}"), 0);
    assert_int_equal(get_number(f, STORE_ROUNDS, "1", "version"), 4);
    assert_int_equal(get_number(f, STORE_ROUNDS, "1", "committed_at"), 5);
}

static void test_restore_wants_all_stamps(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(restore(f, STORE_MODELS, "{'model_id':'m','updated_at':7,'version':3}"),
                     -FED_E_INVALID);
    assert_int_equal(restore(f, STORE_MODELS, "{'model_id':'m','committed_at':7,'version':3}"),
                     -FED_E_INVALID);
    assert_int_equal(restore(f, STORE_MODELS, "{'model_id':'m','committed_at':7,'updated_at':7}"),
                     -FED_E_INVALID);
    assert_int_equal(
        restore(f, STORE_MODELS, "{'model_id':'m','committed_at':7,'updated_at':7,'version':'3'}"),
        -FED_E_INVALID);
    assert_int_equal(
        restore(f, STORE_MODELS, "{'model_id':'m','committed_at':7,'updated_at':7,'version':0}"),
        -FED_E_INVALID);
    assert_int_equal(restore(f, STORE_MODELS, "{'committed_at':7,'updated_at':7,'version':1}"),
                     -FED_E_INVALID);
}

/* Whatever committed_at says: the order is that of the calls, also for a sort by committed_at. */
static void test_restore_goes_to_the_end(void **state)
{
    struct fixture *f = *state;
    struct store_query query = {.is_ascending = true};

    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'a'}"), 0);
    assert_int_equal(
        restore(f, STORE_CLIENTS, "{'client_id':'b','committed_at':9,'updated_at':9,'version':1}"),
        0);
    assert_int_equal(
        restore(f, STORE_CLIENTS, "{'client_id':'c','committed_at':2,'updated_at':9,'version':1}"),
        0);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'d'}"), 0);
    assert_string_equal(find(f, STORE_CLIENTS, &query), "a b c d /4");
    query.sort_path = "committed_at";
    assert_string_equal(find(f, STORE_CLIENTS, &query), "a b c d /4");
    query = where("client_id", STORE_OP_NE, "b");
    query.sort_path = "committed_at";
    query.is_ascending = false;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "d c a /3");
}

/* -- queries -------------------------------------------------------------------------------------
 */

/* Whatever a path is called: a field inside another one, with a page asked for as without. */
static void test_an_id_inside_a_field(void **state)
{
    static const char *const texts[] = {
        "{'metric_id':'m1','sender':{'client_id':'a','name':'Ann'}}",
        "{'metric_id':'m2','sender':{'client_id':'b','name':'Bob'}}",
        "{'metric_id':'m3','sender':{'client_id':'a','status':'online'}}",
        "{'metric_id':'m4','sender.client_id':'a'}",
    };
    struct fixture *f = *state;
    struct store_query query = where("sender.client_id", STORE_OP_EQ, "a");

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(insert(f, STORE_METRICS, texts[i]), 0);
    }
    assert_string_equal(find(f, STORE_METRICS, &query), "m1 m3 /2");
    query.limit = 1;
    assert_string_equal(find(f, STORE_METRICS, &query), "m1 /2");
    query.skip = 1;
    assert_string_equal(find(f, STORE_METRICS, &query), "m3 /2");
    query = where("sender.status", STORE_OP_EQ, "online");
    query.limit = 1;
    assert_string_equal(find(f, STORE_METRICS, &query), "m3 /1");
}

static void fill_clients(struct fixture *f)
{
    static const char *const texts[] = {
        "{'client_id':'a','name':'Ann','n':5,'at':{'ip':'10.0.0.1'},'status':'online'}",
        "{'client_id':'b','name':'Bob','n':10,'at':{'ip':'10.0.0.2'},'status':'offline'}",
        "{'client_id':'c','name':'9','n':9,'at':null,'status':'online'}",
        "{'client_id':'d','name':'10','n':0.5,'on':true}",
        "{'client_id':'e','name':null,'n':-1,'at':{'ip':['10.0.0.1']},'on':false}",
        "{'client_id':'f','name':'nan','n':'x,y'}",
    };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        assert_int_equal(insert(f, STORE_CLIENTS, texts[i]), 0);
    }
}

static void test_filters(void **state)
{
    struct fixture *f = *state;

    fill_clients(f);
    assert_string_equal(find_where(f, "name", STORE_OP_EQ, "Bob"), "b /1");
    assert_string_equal(find_where(f, "name", STORE_OP_EQ, "bob"), "/0");
    assert_string_equal(find_where(f, "status", STORE_OP_EQ, "online"), "a c /2");
    assert_string_equal(find_where(f, "at.ip", STORE_OP_EQ, "10.0.0.2"), "b /1");
    assert_string_equal(find_where(f, "at.ip.x", STORE_OP_EQ, "10.0.0.2"), "/0");
    assert_string_equal(find_where(f, "status", STORE_OP_NE, "online"), "b d e f /4");
    assert_string_equal(find_where(f, "on", STORE_OP_EQ, "true"), "d /1");
    assert_string_equal(find_where(f, "name", STORE_OP_IN, "Ann,10,Zoe"), "a d /2");
    assert_string_equal(find_where(f, "name", STORE_OP_IN, ""), "/0");
}

static void test_numbers_and_texts(void **state)
{
    struct fixture *f = *state;

    fill_clients(f);
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, "5"), "a /1");
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, "5.0"), "a /1");
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, "0.5"), "d /1");
    assert_string_equal(find_where(f, "n", STORE_OP_IN, "0.5,10,-1"), "b d e /3");
    assert_string_equal(find_where(f, "n", STORE_OP_GT, "9"), "b f /2");
    assert_string_equal(find_where(f, "n", STORE_OP_GTE, "9"), "b c f /3");
    assert_string_equal(find_where(f, "n", STORE_OP_LT, "5"), "d e /2");
    assert_string_equal(find_where(f, "n", STORE_OP_LTE, "5"), "a d e /3");
    assert_string_equal(find_where(f, "name", STORE_OP_GT, "9.5"), "a b d f /4");
    /* a text is equal letter by letter only, and what merely looks odd is no number */
    assert_string_equal(find_where(f, "name", STORE_OP_EQ, "9.0"), "/0");
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, "nan"), "/0");
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, "0x5"), "/0");
    assert_string_equal(find_where(f, "n", STORE_OP_EQ, " 5"), "/0");
    assert_string_equal(find_where(f, "name", STORE_OP_EQ, "NaN"), "/0");
}

static void test_ids_that_look_like_numbers(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'123e999'}"), 0);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'456e999'}"), 0);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'1e3'}"), 0);
    assert_int_equal(insert(f, STORE_CLIENTS, "{'client_id':'1000'}"), 0);
    assert_string_equal(find_where(f, "client_id", STORE_OP_EQ, "123e999"), "123e999 /1");
    assert_string_equal(find_where(f, "client_id", STORE_OP_EQ, "1000"), "1000 /1");
    assert_string_equal(find_where(f, "client_id", STORE_OP_NE, "1000"), "123e999 456e999 1e3 /3");
}

static void test_null_means_null_or_absent(void **state)
{
    struct fixture *f = *state;

    fill_clients(f);
    assert_string_equal(find_where(f, "name", STORE_OP_EQ, NULL), "e /1");
    assert_string_equal(find_where(f, "at", STORE_OP_EQ, NULL), "c d f /3");
    assert_string_equal(find_where(f, "at", STORE_OP_NE, NULL), "a b e /3");
    assert_string_equal(find_where(f, "name", STORE_OP_GT, NULL), "/0");
    assert_string_equal(find_where(f, "at", STORE_OP_EQ, "{}"), "/0");
}

static void test_all_filters_count(void **state)
{
    struct fixture *f = *state;
    struct store_query query = where("status", STORE_OP_EQ, "online");

    fill_clients(f);
    (void)snprintf(query.filters[1].path, sizeof(query.filters[1].path), "n");
    query.filters[1].op = STORE_OP_GT;
    query.filters[1].value = "5";
    query.n_filters = 2;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "c /1");
}

static void test_sorting(void **state)
{
    struct fixture *f = *state;
    struct store_query query = {.sort_path = "n", .is_ascending = true};

    fill_clients(f);
    assert_string_equal(find(f, STORE_CLIENTS, &query), "e d a c b f /6");
    query.is_ascending = false;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "f b c a d e /6");
    query.sort_path = "name"; /* null, numbers, texts */
    query.is_ascending = true;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "e c d a b f /6");
    query.sort_path = "status"; /* ties: order of insertion, turned likewise */
    assert_string_equal(find(f, STORE_CLIENTS, &query), "d e f b a c /6");
    query.is_ascending = false;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "c a b f e d /6");
    query.sort_path = "at.ip";
    query.is_ascending = true;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "c d e f a b /6");
    query.sort_path = NULL;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "a b c d e f /6");
    query.is_ascending = false;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "f e d c b a /6");
}

static void test_paging(void **state)
{
    struct fixture *f = *state;
    struct store_query query = {.is_ascending = true, .skip = 1, .limit = 2};

    fill_clients(f);
    assert_string_equal(find(f, STORE_CLIENTS, &query), "b c /6");
    query.is_ascending = false;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "e d /6");
    query.sort_path = "committed_at";
    assert_string_equal(find(f, STORE_CLIENTS, &query), "e d /6");
    query.sort_path = "n";
    assert_string_equal(find(f, STORE_CLIENTS, &query), "b c /6");
    query.limit = 0;
    query.skip = 4;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "d e /6");
    query.skip = 6;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "/6");
    query.skip = SIZE_MAX / 2;
    query.limit = SIZE_MAX / 2;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "/6");
    query = where("status", STORE_OP_EQ, "online");
    query.limit = 1;
    assert_string_equal(find(f, STORE_CLIENTS, &query), "a /2");
}

static void test_nothing_is_dropped_for_want_of_memory(void **state)
{
    store_contract_starve(((const struct fixture *)*state)->store);
}

static void test_one_by_one(void **state)
{
    store_contract_walk(((const struct fixture *)*state)->store);
}

/* A document that is written over keeps its place in the order of insertion. */
static void test_writing_over_keeps_the_place(void **state)
{
    struct fixture *f = *state;
    const struct store_query query = {.is_ascending = true};

    fill_clients(f);
    assert_int_equal(put(f, STORE_CLIENTS, "{'client_id':'b','n':1}"), 0);
    assert_string_equal(find(f, STORE_CLIENTS, &query), "a b c d e f /6");
}

static void test_capped_collections_lose_their_oldest(void **state)
{
    struct fixture *f = *state;
    const struct store_query all = {.is_ascending = true};
    json_t *document = NULL;
    size_t n = 0;
    char text[96];

    for (unsigned i = 0; i < 300; i++) { /* by turns: each has its own count */
        (void)snprintf(text, sizeof(text), "{'status_id': 's%u'}", i);
        assert_int_equal(insert(f, STORE_STATUSES, text), 0);
        (void)snprintf(text, sizeof(text), "{'metric_id': 'm%u'}", i);
        assert_int_equal(insert(f, STORE_METRICS, text), 0);
    }
    for (unsigned k = 0; k < 2; k++) {
        const enum store_collection in = k == 0 ? STORE_STATUSES : STORE_METRICS;
        json_t *documents = NULL;
        assert_int_equal(store_find(f->store, in, &all, &documents, &n, &f->err), 0);
        assert_in_range(n, STORE_TEST_CAP, STORE_TEST_CAP + STORE_TEST_CAP / 8);
        assert_int_equal(json_array_size(documents), n);
        json_decref(documents);
    }
    assert_int_equal(store_get(f->store, STORE_STATUSES, "s0", &document, &f->err),
                     STORE_NOT_FOUND);
    assert_int_equal(get_number(f, STORE_STATUSES, "s299", "version"), 1);
    assert_int_equal(put(f, STORE_STATUSES, "{'status_id':'s299','n':1}"), 0);
}

static void test_many_threads(void **state)
{
    store_contract_race(((const struct fixture *)*state)->store);
}

static void test_unknown_kinds_are_named(void **state)
{
    struct fixture *f = *state;
    struct store *store = NULL;

    assert_int_equal(store_open("redis:x", &store, &f->err), -FED_E_INVALID);
    assert_non_null(strstr(f->err.msg, "sqlite:FILE"));
    assert_int_equal(store_open("sqlite:", &store, &f->err), -FED_E_INVALID);
    assert_null(store_close(NULL));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int store_contract_run(const char *name, store_url_fn url)
{
    const struct CMUnitTest tests[] = {
        TEST(test_insert_is_unique_and_stamped),
        TEST(test_the_federation_has_its_key),
        TEST(test_compare_and_set),
        TEST(test_put_inserts_or_replaces),
        TEST(test_soon_is_as_now),
        TEST(test_remove),
        TEST(test_unique_combinations),
        TEST(test_a_validation_counts_once_a_client),
        TEST(test_documents_that_are_refused),
        TEST(test_what_is_given_and_returned_is_apart),
        TEST(test_values_come_back),
        TEST(test_many_inserts),
        TEST(test_restore_keeps_every_bit),
        TEST(test_restore_wants_all_stamps),
        TEST(test_restore_goes_to_the_end),
        TEST(test_an_id_inside_a_field),
        TEST(test_filters),
        TEST(test_numbers_and_texts),
        TEST(test_ids_that_look_like_numbers),
        TEST(test_null_means_null_or_absent),
        TEST(test_all_filters_count),
        TEST(test_sorting),
        TEST(test_paging),
        TEST(test_nothing_is_dropped_for_want_of_memory),
        TEST(test_one_by_one),
        TEST(test_writing_over_keeps_the_place),
        TEST(test_capped_collections_lose_their_oldest),
        TEST(test_many_threads),
        TEST(test_unknown_kinds_are_named),
    };

    url_of = url;
    return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}
