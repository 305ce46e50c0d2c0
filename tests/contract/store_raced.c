#include <pthread.h>
#include <stdio.h>

#include "tests/contract/store_contract.h"

#define N_THREADS 4
#define N_STEPS   40

struct racer {
    struct store *store;
    pthread_t thread;
    unsigned n_won; /* inserts of a key that all want */
    int rc;
};

/* Add 1 to the counter by compare-and-set. */
static int count_one(struct store *store)
{
    int rc = STORE_CONFLICT;

    while (rc == STORE_CONFLICT) {
        json_t *document = NULL;
        rc = store_get(store, STORE_MODELS, "counter", &document, NULL);
        if (rc == 0) {
            const json_int_t n = json_integer_value(json_object_get(document, "n"));
            const json_int_t version = json_integer_value(json_object_get(document, "version"));
            (void)json_object_set_new(document, "n", json_integer(n + 1));
            rc = store_replace(store, STORE_MODELS, (uint64_t)version, document, NULL);
        }
        json_decref(document);
    }
    return rc;
}

static void *race(void *arg)
{
    struct racer *racer = arg;
    const struct store_query query = {.sort_path = "n", .limit = 5};
    char key[32];

    for (unsigned i = 0; i < N_STEPS && racer->rc == 0; i++) {
        json_t *found = NULL;
        json_t *document;

        (void)snprintf(key, sizeof(key), "key-%u", i);
        document = json_pack("{s:s}", "client_id", key);
        racer->n_won += store_insert(racer->store, STORE_CLIENTS, document, NULL) == 0 ? 1 : 0;
        json_decref(document);
        racer->rc = count_one(racer->store);
        if (store_find(racer->store, STORE_CLIENTS, &query, &found, NULL, NULL) != 0) {
            racer->rc = -1;
        }
        json_decref(found);
    }
    return NULL;
}

void store_contract_race(struct store *store)
{
    struct racer racers[N_THREADS] = {0};
    unsigned n_won = 0;
    json_t *counter = json_pack("{s:s, s:i}", "model_id", "counter", "n", 0);

    assert_int_equal(store_insert(store, STORE_MODELS, counter, NULL), 0);
    json_decref(counter);
    for (unsigned i = 0; i < N_THREADS; i++) {
        racers[i].store = store;
        assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++) {
        (void)pthread_join(racers[i].thread, NULL);
        assert_int_equal(racers[i].rc, 0);
        n_won += racers[i].n_won;
    }
    assert_int_equal(n_won, N_STEPS);
    assert_int_equal(store_get(store, STORE_MODELS, "counter", &counter, NULL), 0);
    assert_int_equal(json_integer_value(json_object_get(counter, "n")), N_THREADS * N_STEPS);
    assert_int_equal(json_integer_value(json_object_get(counter, "version")),
                     N_THREADS * N_STEPS + 1);
    json_decref(counter);
}
