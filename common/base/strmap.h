/* Map from text to pointer: open addressing, linear probing. Keys are copied, values borrowed.
 *
 * Thread safety: none. Order of iteration is unspecified: sort where order matters.
 */
#ifndef FED_COMMON_BASE_STRMAP_H
#define FED_COMMON_BASE_STRMAP_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct fed_strmap_slot {
    char *key;   /* owned; NULL when free */
    void *value; /* borrowed */
};

struct fed_strmap {
    struct fed_strmap_slot *slots; /* owned */
    size_t n_slots;                /* 0 or a power of two */
    size_t n_items;
};

static inline void fed_strmap_init(struct fed_strmap *map)
{
    *map = (struct fed_strmap){0};
}

void fed_strmap_deinit(struct fed_strmap *map); /* keys only: the values are the caller's */

/* Insert or replace; the former value is returned in *ret_old where that is not NULL.
 * Fails with FED_E_NOMEM. */
FED_NODISCARD int fed_strmap_put(struct fed_strmap *map,
                                 const char *key,
                                 void *value,
                                 void **ret_old,
                                 struct fed_err *err);

void *fed_strmap_find(const struct fed_strmap *map, const char *key); /* NULL: not there */

/* Remove, and return the value, or NULL. */
void *fed_strmap_take(struct fed_strmap *map, const char *key);

/* Step through: start with *cursor = 0; NULL at the end. The map must not change meanwhile. */
void *fed_strmap_next(const struct fed_strmap *map, size_t *cursor, const char **ret_key);

#endif /* FED_COMMON_BASE_STRMAP_H */
