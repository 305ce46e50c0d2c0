/* Scope-bound release of resources.
 *
 * FED_CLEANUP(fn) runs fn(&var) when var leaves its scope; FED_TAKE(p) hands ownership out of the
 * scope and leaves NULL behind, so that the cleanup becomes a no-op.
 */
#ifndef FED_COMMON_BASE_CLEANUP_H
#define FED_COMMON_BASE_CLEANUP_H

#include <stddef.h>

#define FED_CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines fn##_p(type **), the form FED_CLEANUP() needs, for a `type *fn(type *)` destructor. */
/* NOLINTBEGIN(bugprone-macro-parentheses): a type cannot stand in parentheses. */
#define FED_DEFINE_CLEANUP(type, fn)    \
    static inline void fn##_p(type **p) \
    {                                   \
        (void)fn(*p);                   \
    }                                   \
    struct fed_swallow_semicolon
/* NOLINTEND(bugprone-macro-parentheses) */

#define FED_TAKE(p)                     \
    __extension__({                     \
        __typeof__(p) fed_taken_ = (p); \
        (p) = NULL;                     \
        fed_taken_;                     \
    })

#endif /* FED_COMMON_BASE_CLEANUP_H */
