#include "common/base/strmap.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SLOTS_MIN 16

/* FNV-1a, 64 bits. */
static uint64_t hash_key(const char *key)
{
    uint64_t hash = 0xCBF29CE484222325U;

    for (const char *p = key; *p != '\0'; p++) {
        hash = (hash ^ (uint8_t)*p) * 0x100000001B3U;
    }
    return hash ^ (hash >> 32);
}

static size_t find_slot(const struct fed_strmap *map, const char *key)
{
    size_t i = (size_t)hash_key(key) & (map->n_slots - 1);

    while (map->slots[i].key != NULL && strcmp(map->slots[i].key, key) != 0) {
        i = (i + 1) & (map->n_slots - 1);
    }
    return i;
}

static int grow(struct fed_strmap *map, struct fed_err *err)
{
    const struct fed_strmap old = *map;
    const size_t n_slots = old.n_slots == 0 ? SLOTS_MIN : old.n_slots * 2;
    struct fed_strmap_slot *slots = calloc(n_slots, sizeof(*slots));

    if (slots == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "map of %zu slots", n_slots);
    }
    map->slots = slots;
    map->n_slots = n_slots;
    for (size_t i = 0; i < old.n_slots; i++) {
        if (old.slots[i].key != NULL) {
            map->slots[find_slot(map, old.slots[i].key)] = old.slots[i];
        }
    }
    free(old.slots);
    return 0;
}

void fed_strmap_deinit(struct fed_strmap *map)
{
    for (size_t i = 0; i < map->n_slots; i++) {
        free(map->slots[i].key);
    }
    free(map->slots);
    fed_strmap_init(map);
}

int fed_strmap_put(struct fed_strmap *map,
                   const char *key,
                   void *value,
                   void **ret_old,
                   struct fed_err *err)
{
    size_t i;
    void *old = NULL;

    assert(value != NULL);
    if (4 * (map->n_items + 1) > 3 * map->n_slots) {
        const int rc = grow(map, err);
        if (rc < 0) {
            return rc;
        }
    }
    i = find_slot(map, key);
    if (map->slots[i].key == NULL) {
        char *copy = strdup(key);
        if (copy == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "map key");
        }
        map->slots[i].key = copy;
        map->n_items++;
    } else {
        old = map->slots[i].value;
    }
    map->slots[i].value = value;
    if (ret_old != NULL) {
        *ret_old = old;
    }
    return 0;
}

void *fed_strmap_find(const struct fed_strmap *map, const char *key)
{
    if (map->n_slots == 0) {
        return NULL;
    }
    return map->slots[find_slot(map, key)].value;
}

/* Close the gap behind a removed slot, so that probing never meets a hole too early. */
static void close_gap(struct fed_strmap *map, size_t hole)
{
    const size_t mask = map->n_slots - 1;

    for (size_t i = (hole + 1) & mask; map->slots[i].key != NULL; i = (i + 1) & mask) {
        const size_t home = (size_t)hash_key(map->slots[i].key) & mask;
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            map->slots[i] = (struct fed_strmap_slot){0};
            hole = i;
        }
    }
}

void *fed_strmap_take(struct fed_strmap *map, const char *key)
{
    size_t i;
    void *value;

    if (map->n_slots == 0) {
        return NULL;
    }
    i = find_slot(map, key);
    if (map->slots[i].key == NULL) {
        return NULL;
    }
    value = map->slots[i].value;
    free(map->slots[i].key);
    map->slots[i] = (struct fed_strmap_slot){0};
    map->n_items--;
    close_gap(map, i);
    return value;
}

void *fed_strmap_next(const struct fed_strmap *map, size_t *cursor, const char **ret_key)
{
    while (*cursor < map->n_slots) {
        const struct fed_strmap_slot *slot = &map->slots[(*cursor)++];
        if (slot->key != NULL) {
            if (ret_key != NULL) {
                *ret_key = slot->key;
            }
            return slot->value;
        }
    }
    return NULL;
}
