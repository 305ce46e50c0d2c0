#include "reducer/sweeping.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "reducer/pages.h"
#include "reducer/rows.h"

#define PAGE 1000U /* keys of one call */

/* -- the keys -----------------------------------------------------------------------------------
 */

/* A UUID, or one with a package's ending. */
static bool is_ours(const char *key)
{
    static const char *const endings[] = {"", ".tgz", ".tar.gz", ".tar.bz2"};
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const size_t n = sizeof(form) - 1;

    for (size_t i = 0; i < n; i++) { /* a key that is too short ends the loop by its NUL */
        if (form[i] == '-' ? key[i] != '-'
                           : key[i] == '\0' || strchr("0123456789abcdef", key[i]) == NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        if (strcmp(key + n, endings[i]) == 0) {
            return true;
        }
    }
    return false;
}

void sweeping_init(struct sweeping *sweeping, struct store *store, struct blob_store *blobs)
{
    *sweeping = (struct sweeping){.store = store, .blobs = blobs};
    (void)pthread_mutex_init(&sweeping->lock, NULL);
    atomic_init(&sweeping->is_stopped, false);
}

int sweeping_list(struct sweeping *sweeping, struct fed_err *err)
{
    char(*page)[BLOB_KEY_MAX + 1] = calloc(PAGE, sizeof(*page));
    char after[BLOB_KEY_MAX + 1] = "";
    size_t n = PAGE;
    int rc = 0;

    sweeping->keys = calloc(SWEEPING_KEYS_MAX, sizeof(*sweeping->keys));
    sweeping->is_kept = calloc(SWEEPING_KEYS_MAX, sizeof(*sweeping->is_kept));
    if (page == NULL || sweeping->keys == NULL || sweeping->is_kept == NULL) {
        rc = fed_err_set(err, FED_E_NOMEM, "the keys of blobs");
    }
    while (rc == 0 && n > 0 && sweeping->n_keys < SWEEPING_KEYS_MAX) {
        n = PAGE;
        rc = blob_list(sweeping->blobs, after, page, &n, err);
        for (size_t i = 0; rc == 0 && i < n && sweeping->n_keys < SWEEPING_KEYS_MAX; i++) {
            if (is_ours(page[i])) {
                memcpy(sweeping->keys[sweeping->n_keys++], page[i], sizeof(*page));
            }
        }
        if (rc == 0 && n > 0) {
            memcpy(after, page[n - 1], sizeof(after));
        }
    }
    free(page);
    if (rc < 0) {
        sweeping_forget(sweeping);
    }
    return rc;
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Where it stands among the keys; n_keys: nowhere. */
static size_t find_key(const struct sweeping *sweeping, const char *key)
{
    char(*found)[BLOB_KEY_MAX + 1] =
        sweeping->n_keys == 0
            ? NULL
            : bsearch(key, sweeping->keys, sweeping->n_keys, sizeof(*sweeping->keys), compare);

    return found == NULL ? sweeping->n_keys : (size_t)(found - sweeping->keys);
}

void sweeping_keep(struct sweeping *sweeping, const char *key)
{
    size_t at;

    (void)pthread_mutex_lock(&sweeping->lock);
    at = find_key(sweeping, key);
    if (at < sweeping->n_keys) {
        sweeping->is_kept[at] = true;
    }
    (void)pthread_mutex_unlock(&sweeping->lock);
}

/* -- who names them -----------------------------------------------------------------------------
 */

struct naming {
    const struct sweeping *sweeping;
    const char *field; /* of a row: the key of its blob */
    bool *is_named;    /* (n_keys,) */
};

static int name(void *arg, json_t *row, struct fed_err *err)
{
    const struct naming *naming = arg;
    const size_t at = find_key(naming->sweeping, rows_get_text(row, naming->field, ""));

    (void)err;
    if (at < naming->sweeping->n_keys) {
        naming->is_named[at] = true;
    }
    return 0;
}

static int mark(struct sweeping *sweeping, struct naming *naming, struct fed_err *err)
{
    int rc;

    naming->field = "model_id";
    rc = pages_walk(sweeping->store, STORE_MODELS, name, naming, err);
    naming->field = "storage_file_name";
    rc = rc < 0 ? rc : pages_walk(sweeping->store, STORE_PACKAGES, name, naming, err);
    sweeping->n_unnamed = 0;
    for (size_t i = 0; i < sweeping->n_keys; i++) {
        sweeping->n_unnamed += naming->is_named[i] ? 0 : 1;
    }
    return rc;
}

/* A walk may pass a row over while others go: asked once more, by itself. 0: nobody names it. */
static int find_row(struct sweeping *sweeping, const char *key, struct fed_err *err)
{
    struct store_query query = {
        .n_filters = 1, .filters = {{.path = "storage_file_name", .value = key}}, .limit = 1};
    json_t *found = NULL;
    int rc = store_get(sweeping->store, STORE_MODELS, key, &found, err);

    if (rc == STORE_NOT_FOUND) {
        rc = store_find(sweeping->store, STORE_PACKAGES, &query, &found, NULL, err);
        rc = rc < 0 ? rc : json_array_size(found) > 0 ? 1 : 0;
    } else if (rc == 0) {
        rc = 1;
    }
    json_decref(found);
    return rc;
}

/* Unless it is written again: whoever wants to waits until it is gone. */
static int remove_blob(struct sweeping *sweeping, size_t at, uint64_t size, struct fed_err *err)
{
    int rc = 0;

    (void)pthread_mutex_lock(&sweeping->lock);
    if (!sweeping->is_kept[at]) {
        rc = blob_remove(sweeping->blobs, sweeping->keys[at], err);
        if (rc == 0) {
            sweeping->n_removed++;
            sweeping->bytes += size;
        }
    }
    (void)pthread_mutex_unlock(&sweeping->lock);
    return rc < 0 ? rc : 0;
}

static int remove_one(struct sweeping *sweeping, size_t at, struct fed_err *err)
{
    const char *key = sweeping->keys[at];
    struct blob_info info;
    int rc = find_row(sweeping, key, err);

    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    rc = blob_stat(sweeping->blobs, key, &info, err);
    return rc < 0 ? rc : rc > 0 ? 0 : remove_blob(sweeping, at, info.size, err);
}

int sweeping_run(struct sweeping *sweeping, struct fed_err *err)
{
    struct naming naming = {.sweeping = sweeping,
                            .is_named = calloc(sweeping->n_keys + 1, sizeof(bool))};
    int rc = naming.is_named == NULL ? fed_err_set(err, FED_E_NOMEM, "the keys of blobs")
                                     : mark(sweeping, &naming, err);

    sweeping->n_removed = 0;
    sweeping->bytes = 0;
    if (rc == 0 && sweeping->n_unnamed > sweeping->n_keys / 2) {
        rc = SWEEPING_DOUBTFUL;
    }
    for (size_t i = 0; rc == 0 && i < sweeping->n_keys; i++) {
        if (!naming.is_named[i] && !atomic_load(&sweeping->is_stopped)) {
            rc = remove_one(sweeping, i, err);
        }
    }
    free(naming.is_named);
    return rc;
}

void sweeping_stop(struct sweeping *sweeping)
{
    atomic_store(&sweeping->is_stopped, true);
}

void sweeping_forget(struct sweeping *sweeping)
{
    (void)pthread_mutex_lock(&sweeping->lock);
    free(sweeping->keys);
    free(sweeping->is_kept);
    sweeping->keys = NULL;
    sweeping->is_kept = NULL;
    sweeping->n_keys = 0;
    (void)pthread_mutex_unlock(&sweeping->lock);
}

void sweeping_deinit(struct sweeping *sweeping)
{
    sweeping_forget(sweeping);
    (void)pthread_mutex_destroy(&sweeping->lock);
}
