#include <stdlib.h>

#include "tests/contract/store_contract.h"

#define N_DOCUMENTS 6

/* Allocations of jansson's until one fails; < 0: none does. */
static int n_until_failure = -1;

static void *alloc_or_fail(size_t size)
{
    return n_until_failure >= 0 && n_until_failure-- == 0 ? NULL : malloc(size);
}

/* With one allocation failed, the one after n_before others; false where there are not so many. */
static int
find_starved(struct store *store, const char *sort_path, int n_before, bool *ret_has_failed)
{
    const struct store_query query = {.sort_path = sort_path, .limit = N_DOCUMENTS};
    json_t *documents = NULL;
    int rc;

    json_set_alloc_funcs(alloc_or_fail, free);
    n_until_failure = n_before;
    rc = store_find(store, STORE_CLIENTS, &query, &documents, NULL, NULL);
    *ret_has_failed = n_until_failure < 0;
    n_until_failure = -1;
    json_set_alloc_funcs(malloc, free);
    if (rc == 0) {
        assert_int_equal(json_array_size(documents), N_DOCUMENTS);
    }
    json_decref(documents);
    return rc;
}

static int count(void *arg, json_t *document, struct fed_err *err)
{
    (void)document;
    (void)err;
    *(size_t *)arg += 1;
    return 0;
}

static int walk_starved(struct store *store, int n_before, bool *ret_has_failed)
{
    const struct store_query query = {0};
    size_t n = 0;
    int rc;

    json_set_alloc_funcs(alloc_or_fail, free);
    n_until_failure = n_before;
    rc = store_each(store, STORE_CLIENTS, &query, count, &n, NULL);
    *ret_has_failed = n_until_failure < 0;
    n_until_failure = -1;
    json_set_alloc_funcs(malloc, free);
    if (rc == 0) {
        assert_int_equal(n, N_DOCUMENTS);
    }
    return rc;
}

void store_contract_starve(struct store *store)
{
    unsigned n_told = 0;

    for (int i = 0; i < N_DOCUMENTS; i++) {
        json_t *document = json_pack("{s:o, s:i}", "client_id", json_sprintf("c-%d", i), "n", i);
        assert_int_equal(store_insert(store, STORE_CLIENTS, document, NULL), 0);
        json_decref(document);
    }
    for (unsigned turn = 0; turn < 3; turn++) {
        bool has_failed = true;
        n_told = 0;
        for (int n = 0; has_failed; n++) {
            const int rc = turn == 2 ? walk_starved(store, n, &has_failed)
                                     : find_starved(store, turn == 0 ? NULL : "n", n, &has_failed);
            n_told += rc < 0 ? 1 : 0;
        }
        assert_true(n_told > 1);
    }
}
