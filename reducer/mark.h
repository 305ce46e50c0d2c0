/* What was last said of somebody, as a hash: a value of a strmap by id. Two things that hash alike
 * (1 in 2^63) are taken for one. */
#ifndef REDUCER_MARK_H
#define REDUCER_MARK_H

#include <stdint.h>

#define MARK_START UINT64_C(14695981039346656037) /* FNV-1a, 64 bits */
#define MARK_PRIME UINT64_C(1099511628211)

/* The hash of what was hashed before and this text with its end; begin with MARK_START. */
static inline uint64_t mark_text(uint64_t hash, const char *text)
{
    do {
        hash = (hash ^ (unsigned char)*text) * MARK_PRIME;
    } while (*text++ != '\0');
    return hash;
}

static inline uint64_t mark_number(uint64_t hash, uint64_t number)
{
    return (hash ^ number) * MARK_PRIME;
}

/* Not NULL, and nothing to look behind. */
static inline void *mark_of(uint64_t hash)
{
    return (void *)(uintptr_t)(hash | 1U); /* NOLINT(performance-no-int-to-ptr): a mark */
}

#endif /* REDUCER_MARK_H */
