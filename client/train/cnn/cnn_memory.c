#include "client/train/cnn/cnn_memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE       4096U
#define LARGE_PAGE (2U << 20)

void *cnn_memory_new(size_t size)
{
    const size_t unit = size >= LARGE_PAGE / 2 ? LARGE_PAGE : PAGE;
    const size_t rounded = (size + unit - 1) / unit * unit;
    void *memory = aligned_alloc(unit, rounded);

    if (memory == NULL) {
        return NULL;
    }
#ifdef MADV_HUGEPAGE
    if (unit == LARGE_PAGE) {
        (void)madvise(memory, rounded, MADV_HUGEPAGE); /* a wish; without it all works too */
    }
#endif
    memset(memory, 0, rounded);
    return memory;
}
