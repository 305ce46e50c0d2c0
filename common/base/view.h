/* Borrowed bytes: valid for the duration of the call they are passed to, never stored. */
#ifndef FED_COMMON_BASE_VIEW_H
#define FED_COMMON_BASE_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct fed_view {
    const void *data; /* may be NULL when size is 0 */
    size_t size;      /* bytes */
};

static inline struct fed_view fed_view_of(const void *data, size_t size)
{
    return (struct fed_view){data, size};
}

/* Borrowed bytes that lie in several places, in order. */
struct fed_pieces {
    const struct fed_view *views; /* (n,) borrowed too */
    size_t n;
    size_t size; /* bytes of all */
};

/* The bytes of a NUL-terminated text, without the NUL. */
static inline struct fed_view fed_view_str(const char *text)
{
    return (struct fed_view){text, strlen(text)};
}

static inline bool fed_view_equal(struct fed_view a, struct fed_view b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

#endif /* FED_COMMON_BASE_VIEW_H */
