#include "reducer/rest/rest_kept.h"

#include <stdlib.h>
#include <string.h>

void rest_bytes_drop(struct rest_bytes *bytes)
{
    if (bytes != NULL && atomic_fetch_sub(&bytes->n_references, 1) == 1) {
        (void)atomic_fetch_sub(bytes->total, bytes->size);
        free(bytes->data);
        free(bytes);
    }
}

void rest_kept_init(struct rest_kept *kept)
{
    *kept = (struct rest_kept){.n_uses = 0};
    (void)pthread_mutex_init(&kept->lock, NULL);
    atomic_init(&kept->total, 0);
}

/* Under the lock, as the following. */
static void drop_entry(struct rest_kept *kept, struct rest_kept_entry *entry)
{
    if (entry->key != NULL) {
        kept->size -= entry->bytes->size;
        rest_bytes_drop(entry->bytes);
        free(entry->key);
        *entry = (struct rest_kept_entry){0};
    }
}

void rest_kept_deinit(struct rest_kept *kept)
{
    for (size_t i = 0; i < REST_KEPT_MAX; i++) {
        drop_entry(kept, &kept->entries[i]);
    }
    (void)pthread_mutex_destroy(&kept->lock);
}

static struct rest_kept_entry *find_entry(struct rest_kept *kept, const char *key)
{
    for (size_t i = 0; i < REST_KEPT_MAX; i++) {
        if (kept->entries[i].key != NULL && strcmp(kept->entries[i].key, key) == 0) {
            return &kept->entries[i];
        }
    }
    return NULL;
}

struct rest_bytes *
rest_kept_find(struct rest_kept *kept, const char *key, uint64_t n_writes, uint64_t now_ms)
{
    struct rest_bytes *bytes = NULL;
    struct rest_kept_entry *entry;

    (void)pthread_mutex_lock(&kept->lock);
    entry = find_entry(kept, key);
    if (entry != NULL &&
        (entry->n_writes != n_writes || now_ms - entry->made_ms > REST_KEPT_AGE_MS)) {
        drop_entry(kept, entry);
    } else if (entry != NULL) {
        entry->used = ++kept->n_uses;
        bytes = entry->bytes;
        (void)atomic_fetch_add(&bytes->n_references, 1);
    }
    (void)pthread_mutex_unlock(&kept->lock);
    return bytes;
}

/* A free entry, with room for `size` bytes: those not used for longest go. */
static struct rest_kept_entry *make_room(struct rest_kept *kept, size_t size)
{
    for (;;) {
        struct rest_kept_entry *unused = NULL;
        struct rest_kept_entry *oldest = NULL;
        for (size_t i = 0; i < REST_KEPT_MAX; i++) {
            struct rest_kept_entry *entry = &kept->entries[i];
            if (entry->key == NULL) {
                unused = entry;
            } else if (oldest == NULL || entry->used < oldest->used) {
                oldest = entry;
            }
        }
        if (unused != NULL && kept->size + size <= REST_KEPT_BYTES_MAX) {
            return unused;
        }
        drop_entry(kept, oldest);
    }
}

struct rest_bytes *rest_kept_put(struct rest_kept *kept,
                                 const char *key,
                                 uint64_t n_writes,
                                 uint64_t now_ms,
                                 struct fed_buf *body)
{
    struct rest_bytes *bytes;
    struct rest_kept_entry *entry;
    char *own_key;

    if (body->size == 0 || body->size > REST_KEPT_ONE_MAX ||
        atomic_load(&kept->total) + body->size > REST_BYTES_MAX) {
        return NULL;
    }
    bytes = calloc(1, sizeof(*bytes));
    own_key = strdup(key);
    if (bytes == NULL || own_key == NULL) {
        free(bytes);
        free(own_key);
        return NULL;
    }
    atomic_init(&bytes->n_references, 2);
    bytes->total = &kept->total;
    bytes->size = body->size;
    (void)atomic_fetch_add(bytes->total, bytes->size);
    bytes->data = body->data;
    fed_buf_init(body, 0);
    (void)pthread_mutex_lock(&kept->lock);
    entry = find_entry(kept, key);
    if (entry != NULL) {
        drop_entry(kept, entry);
    }
    entry = make_room(kept, bytes->size);
    *entry = (struct rest_kept_entry){own_key, bytes, n_writes, now_ms, ++kept->n_uses};
    kept->size += bytes->size;
    (void)pthread_mutex_unlock(&kept->lock);
    return bytes;
}
