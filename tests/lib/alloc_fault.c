#include "tests/lib/alloc_fault.h"

#include <stddef.h>
#include <string.h>

static unsigned left; /* allocations until one fails; 0: none does */
static bool has_failed;

/* The linker's names (--wrap). */
/* NOLINTBEGIN(readability-identifier-naming): the linker's names, --wrap */
void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *data, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *data, size_t size);
char *__wrap_strdup(const char *text);
/* NOLINTEND(readability-identifier-naming) */

void alloc_fault_arm(unsigned nth)
{
    left = nth;
    has_failed = false;
}

bool alloc_fault_disarm(void)
{
    left = 0;
    return has_failed;
}

static bool must_fail(void)
{
    if (left == 0 || --left > 0) {
        return false;
    }
    has_failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return must_fail() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *data, size_t size)
{
    return must_fail() ? NULL : __real_realloc(data, size);
}

char *__wrap_strdup(const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = must_fail() ? NULL : __real_malloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}
