/* Owned, growing bytes with a bound.
 *
 * Thread safety: none; one thread at a time.
 */
#ifndef FED_COMMON_BASE_BUF_H
#define FED_COMMON_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/base/view.h"

struct fed_buf {
    uint8_t *data; /* owned; NULL while capacity is 0 */
    size_t size;   /* bytes in use */
    size_t capacity;
    size_t size_max; /* fed_buf_add() beyond this fails; 0: no bound of its own */
};

/* An empty buffer holding at most size_max bytes. Takes no memory yet. */
static inline void fed_buf_init(struct fed_buf *buf, size_t size_max)
{
    *buf = (struct fed_buf){.size_max = size_max};
}

/* Release the bytes; the buffer is empty and usable again. */
void fed_buf_deinit(struct fed_buf *buf);

/* Append. On failure the buffer is as it was.
 * Fails with FED_E_LIMIT (size_max) or FED_E_NOMEM. */
FED_NODISCARD int
fed_buf_add(struct fed_buf *buf, const void *data, size_t size, struct fed_err *err);

/* Append formatted text, without the NUL. Fails as fed_buf_add(). */
FED_NODISCARD FED_PRINTF(3, 4) int fed_buf_addf(struct fed_buf *buf,
                                                struct fed_err *err,
                                                const char *fmt,
                                                ...);

/* Make room for `size` bytes in all. Fails as fed_buf_add(). */
FED_NODISCARD int fed_buf_reserve(struct fed_buf *buf, size_t size, struct fed_err *err);

/* Drop the content, keep the memory. */
static inline void fed_buf_clear(struct fed_buf *buf)
{
    buf->size = 0;
}

static inline struct fed_view fed_buf_view(const struct fed_buf *buf)
{
    return fed_view_of(buf->data, buf->size);
}

#endif /* FED_COMMON_BASE_BUF_H */
