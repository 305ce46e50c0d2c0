#include "common/base/pages.h"

#include <sys/mman.h>

#include "common/base/num.h"

void *fed_pages_new(size_t n, size_t size)
{
    size_t bytes = 0;
    void *pages;

    if (!fed_size_mul(n, size, &bytes) || bytes == 0) {
        return NULL;
    }
    pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) {
        return NULL;
    }
    (void)madvise(pages, bytes, MADV_HUGEPAGE); /* a kernel without them gives small ones, … */
#ifdef MADV_POPULATE_WRITE
    (void)madvise(pages, bytes,
                  MADV_POPULATE_WRITE); /* … one before 5.14 only when they are used */
#endif
    return pages;
}

void *fed_pages_free(void *pages, size_t n, size_t size)
{
    if (pages != NULL) {
        (void)munmap(pages, n * size);
    }
    return NULL;
}
