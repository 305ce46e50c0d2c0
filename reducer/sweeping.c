#include "reducer/sweeping.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "reducer/store/store.h"

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

void sweeping_init(struct sweeping *sweeping,
                   struct store *store,
                   struct blob_store *blobs,
                   uint64_t age_ms)
{
    *sweeping = (struct sweeping){.store = store, .blobs = blobs, .age_ms = age_ms};
    (void)pthread_mutex_init(&sweeping->lock, NULL);
    atomic_init(&sweeping->is_stopped, false);
}

void sweeping_keep(struct sweeping *sweeping, const char *key)
{
    (void)pthread_mutex_lock(&sweeping->lock);
    (void)snprintf(sweeping->kept, sizeof(sweeping->kept), "%s", key);
    (void)pthread_mutex_unlock(&sweeping->lock);
}

/* -- who names them -----------------------------------------------------------------------------
 */

/* 1: a model or a package; 0: nobody. */
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

typedef char key_text[BLOB_KEY_MAX + 1];

/* The first of those that nobody names; they are counted, all of them. */
static int look_at_page(struct sweeping *sweeping,
                        key_text *page,
                        size_t n,
                        key_text *unnamed,
                        struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; rc >= 0 && i < n && !atomic_load(&sweeping->is_stopped); i++) {
        if (!is_ours(page[i])) {
            continue;
        }
        rc = find_row(sweeping, page[i], err);
        sweeping->n_keys++;
        if (rc == 0) {
            if (sweeping->n_unnamed < SWEEPING_UNNAMED_MAX) {
                memcpy(unnamed[sweeping->n_unnamed], page[i], sizeof(*page));
            }
            sweeping->n_unnamed++;
        }
    }
    return rc < 0 ? rc : 0;
}

static int find_unnamed(struct sweeping *sweeping, key_text *unnamed, struct fed_err *err)
{
    key_text *page = calloc(PAGE, sizeof(*page));
    key_text after = "";
    size_t n = PAGE;
    int rc = page == NULL ? fed_err_set(err, FED_E_NOMEM, "the keys of blobs") : 0;

    while (rc == 0 && n > 0 && !atomic_load(&sweeping->is_stopped)) {
        n = PAGE;
        rc = blob_list(sweeping->blobs, after, page, &n, err);
        rc = rc < 0 ? rc : look_at_page(sweeping, page, n, unnamed, err);
        if (rc == 0 && n > 0) {
            memcpy(after, page[n - 1], sizeof(after));
        }
    }
    free(page);
    return rc;
}

/* -- removing -----------------------------------------------------------------------------------
 */

/* The row is looked for once more, now that nobody can announce the key: whoever wants to waits. */
static int
remove_locked(struct sweeping *sweeping, const char *key, uint64_t size, struct fed_err *err)
{
    int rc = strcmp(key, sweeping->kept) == 0 ? 1 : find_row(sweeping, key, err);

    if (rc != 0) {
        return rc < 0 ? rc : 0;
    }
    rc = blob_remove(sweeping->blobs, key, err);
    if (rc == 0) {
        sweeping->n_removed++;
        sweeping->bytes += size;
    }
    return rc < 0 ? rc : 0;
}

static int remove_old(struct sweeping *sweeping, const char *key, struct fed_err *err)
{
    struct blob_info info;
    int rc = blob_stat(sweeping->blobs, key, &info, err);

    if (rc != 0 || info.age_ms < sweeping->age_ms) {
        return rc < 0 ? rc : 0;
    }
    (void)pthread_mutex_lock(&sweeping->lock);
    rc = remove_locked(sweeping, key, info.size, err);
    (void)pthread_mutex_unlock(&sweeping->lock);
    return rc;
}

int sweeping_run(struct sweeping *sweeping, struct fed_err *err)
{
    key_text *unnamed = calloc(SWEEPING_UNNAMED_MAX, sizeof(*unnamed));
    int rc = unnamed == NULL ? fed_err_set(err, FED_E_NOMEM, "the keys of blobs") : 0;
    size_t n;

    sweeping->n_keys = 0;
    sweeping->n_unnamed = 0;
    sweeping->n_removed = 0;
    sweeping->bytes = 0;
    rc = rc < 0 ? rc : find_unnamed(sweeping, unnamed, err);
    if (rc == 0 && !atomic_load(&sweeping->is_stopped) &&
        sweeping->n_unnamed > sweeping->n_keys / 2) {
        rc = SWEEPING_DOUBTFUL;
    }
    n = sweeping->n_unnamed < SWEEPING_UNNAMED_MAX ? sweeping->n_unnamed : SWEEPING_UNNAMED_MAX;
    for (size_t i = 0; rc == 0 && i < n && !atomic_load(&sweeping->is_stopped); i++) {
        rc = remove_old(sweeping, unnamed[i], err);
    }
    free(unnamed);
    return rc;
}

void sweeping_stop(struct sweeping *sweeping)
{
    atomic_store(&sweeping->is_stopped, true);
}

void sweeping_deinit(struct sweeping *sweeping)
{
    (void)pthread_mutex_destroy(&sweeping->lock);
}
