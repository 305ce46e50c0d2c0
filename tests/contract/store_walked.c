#include <stdio.h>
#include <stdlib.h>

#include "tests/contract/store_contract.h"

#define N_DOCUMENTS 1200 /* some pages of each back end */
#define N_PUTS      100  /* documents an insert */

struct walk {
    struct store *store;
    int at;    /* of the document that came last */
    int step;  /* from each to the next */
    int n;     /* documents that came */
    int until; /* ends with this many; 0: never */
    int outcome;
};

static int number_of(const json_t *document)
{
    return (int)json_integer_value(json_object_get(document, "n"));
}

static int take(void *arg, json_t *document, struct fed_err *err)
{
    struct walk *walk = arg;

    (void)err;
    assert_int_equal(number_of(document), walk->at + walk->step);
    walk->at += walk->step;
    walk->n++;
    return walk->n == walk->until ? walk->outcome : 0;
}

static json_t *make(int n)
{
    return json_pack("{s:o, s:i, s:s}", "client_id", json_sprintf("c-%d", n), "n", n, "parity",
                     n % 2 == 0 ? "even" : "odd");
}

static void fill_store(struct store *store)
{
    for (int n = 0; n < N_DOCUMENTS; n += N_PUTS) {
        json_t *documents[N_PUTS];
        int outcomes[N_PUTS];
        for (int i = 0; i < N_PUTS; i++) {
            documents[i] = make(n + i);
        }
        assert_int_equal(store_insert_many(store, STORE_CLIENTS, documents, N_PUTS, outcomes, NULL),
                         0);
        for (int i = 0; i < N_PUTS; i++) {
            assert_int_equal(outcomes[i], 0);
            json_decref(documents[i]);
        }
    }
}

static int walk_all(struct store *store, const struct store_query *query, struct walk *walk)
{
    return store_each(store, STORE_CLIENTS, query, take, walk, NULL);
}

static void walk_in_order(struct store *store)
{
    struct store_query query = {.is_ascending = true};
    struct walk up = {.at = -1, .step = 1};
    struct walk down = {.at = N_DOCUMENTS, .step = -1};

    assert_int_equal(walk_all(store, &query, &up), 0);
    assert_int_equal(up.n, N_DOCUMENTS);
    query.is_ascending = false;
    assert_int_equal(walk_all(store, &query, &down), 0);
    assert_int_equal(down.n, N_DOCUMENTS);
}

/* One filter that a server may decide, one that none does. */
static void walk_what_matches(struct store *store)
{
    const struct store_query query = {
        .filters = {{"parity", STORE_OP_EQ, "odd"}, {"n", STORE_OP_LT, "1100"}}, .n_filters = 2};
    struct walk walk = {.at = 1101, .step = -2};

    assert_int_equal(walk_all(store, &query, &walk), 0);
    assert_int_equal(walk.n, 550);
}

static void walk_until(struct store *store, int until, int outcome)
{
    const struct store_query query = {.is_ascending = true};
    struct walk walk = {.at = -1, .step = 1, .until = until, .outcome = outcome};

    assert_int_equal(walk_all(store, &query, &walk), outcome);
    assert_int_equal(walk.n, until);
}

/* -- writers meanwhile ---------------------------------------------------------------------------
 */

struct meanwhile {
    struct store *store;
    bool is_down;
    unsigned n_given[N_DOCUMENTS];
    int last;
    bool is_done;
};

/* One that came and one that is to come go, one that is to come changes, one comes. */
static void write_meanwhile(struct store *store)
{
    json_t *changed = make(800);
    json_t *new = json_pack("{s:s, s:i}", "client_id", "new", "n", -1);

    assert_int_equal(store_remove(store, STORE_CLIENTS, "c-5", NULL), 0);
    assert_int_equal(store_remove(store, STORE_CLIENTS, "c-1195", NULL), 0);
    assert_int_equal(store_remove(store, STORE_CLIENTS, "c-700", NULL), 0);
    assert_int_equal(store_put(store, STORE_CLIENTS, changed, NULL), 0);
    assert_int_equal(store_insert(store, STORE_CLIENTS, new, NULL), 0);
    json_decref(changed);
    json_decref(new);
}

static int take_meanwhile(void *arg, json_t *document, struct fed_err *err)
{
    struct meanwhile *walk = arg;
    const int n = number_of(document);

    (void)err;
    if (n < 0) { /* the new one */
        return 0;
    }
    assert_true(walk->last < 0 || (walk->is_down ? n < walk->last : n > walk->last));
    walk->last = n;
    walk->n_given[n]++;
    if (!walk->is_done && (n == 10 || n == N_DOCUMENTS - 11)) {
        walk->is_done = true;
        write_meanwhile(walk->store);
    }
    return 0;
}

static void walk_among_writers(struct store *store, bool is_down)
{
    const struct store_query query = {.is_ascending = !is_down};
    struct meanwhile *walk = calloc(1, sizeof(*walk));

    assert_non_null(walk);
    walk->store = store;
    walk->is_down = is_down;
    walk->last = -1;
    assert_int_equal(store_each(store, STORE_CLIENTS, &query, take_meanwhile, walk, NULL), 0);
    assert_true(walk->is_done);
    for (int n = 0; n < N_DOCUMENTS; n++) {
        if (n != 5 && n != 700 && n != 800 && n != 1195) {
            assert_int_equal(walk->n_given[n], 1);
        }
        assert_true(walk->n_given[n] <= 1);
    }
    free(walk);
}

static void clear(struct store *store)
{
    const struct store_query all = {0};
    json_t *documents = NULL;
    json_t *document;
    size_t i;

    assert_int_equal(store_find(store, STORE_CLIENTS, &all, &documents, NULL, NULL), 0);
    json_array_foreach(documents, i, document)
    {
        const char *key = json_string_value(json_object_get(document, "client_id"));
        assert_int_equal(store_remove(store, STORE_CLIENTS, key, NULL), 0);
    }
    json_decref(documents);
}

void store_contract_walk(struct store *store)
{
    const struct store_query all = {0};
    struct walk none = {.step = 1};

    assert_int_equal(walk_all(store, &all, &none), 0);
    assert_int_equal(none.n, 0);
    fill_store(store);
    walk_in_order(store);
    walk_what_matches(store);
    walk_until(store, 1, 7);
    walk_until(store, 700, -FED_E_LIMIT);
    walk_among_writers(store, false);
    clear(store);
    fill_store(store);
    walk_among_writers(store, true);
}
