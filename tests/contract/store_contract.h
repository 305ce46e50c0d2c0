/* What reducer/store/store.h promises, as tests that every back end passes. */
#ifndef TESTS_CONTRACT_STORE_CONTRACT_H
#define TESTS_CONTRACT_STORE_CONTRACT_H

#include "reducer/store/store.h"
#include "tests/lib/fixture.h"

/* Documents of a capped collection in these tests (CMakeLists.txt). */
#define STORE_TEST_CAP 64U

/* The URL of a store in this (empty) folder. */
typedef void (*store_url_fn)(const struct test_folder *folder, char ret_url[FED_PATH_SIZE]);

/* Run the battery; returns the number of failed tests. */
int store_contract_run(const char *name, store_url_fn url);

/* The battery's parts that stand in files of their own; the store is empty. */

/* Out of memory, a query fails, and never answers with a part of what there is. */
void store_contract_starve(struct store *store);

/* store_each(): all, in order, each once, whatever is written meanwhile. */
void store_contract_walk(struct store *store);

/* Threads that write the same documents. */
void store_contract_race(struct store *store);

#endif /* TESTS_CONTRACT_STORE_CONTRACT_H */
