#include "common/base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/num.h"

#define BUF_CAPACITY_MIN 64

void fed_buf_deinit(struct fed_buf *buf)
{
    free(buf->data);
    fed_buf_init(buf, buf->size_max);
}

/* Memory for `size` bytes, whatever the bound. */
static int grow(struct fed_buf *buf, size_t size, struct fed_err *err)
{
    size_t capacity = buf->capacity < BUF_CAPACITY_MIN ? BUF_CAPACITY_MIN : buf->capacity;
    uint8_t *data;

    if (size <= buf->capacity) {
        return 0;
    }
    while (capacity < size) {
        if (!fed_size_mul(capacity, 2, &capacity)) {
            return fed_err_set(err, FED_E_NOMEM, "%zu bytes", size);
        }
    }
    data = realloc(buf->data, capacity);
    if (data == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu bytes", capacity);
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int fed_buf_reserve(struct fed_buf *buf, size_t size, struct fed_err *err)
{
    if (buf->size_max != 0 && size > buf->size_max) {
        return fed_err_set(err, FED_E_LIMIT, "%zu bytes, at most %zu are allowed", size,
                           buf->size_max);
    }
    return grow(buf, size, err);
}

int fed_buf_add(struct fed_buf *buf, const void *data, size_t size, struct fed_err *err)
{
    size_t total;

    if (!fed_size_add(buf->size, size, &total)) {
        return fed_err_set(err, FED_E_NOMEM, "size overflow");
    }
    const int rc = fed_buf_reserve(buf, total, err);
    if (rc < 0) {
        return rc;
    }
    if (size != 0) {
        memcpy(buf->data + buf->size, data, size);
    }
    buf->size = total;
    return 0;
}

int fed_buf_addf(struct fed_buf *buf, struct fed_err *err, const char *fmt, ...)
{
    va_list args;
    size_t total;
    int n;
    int rc;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        return fed_err_set(err, FED_E_INVALID, "bad format");
    }
    if (!fed_size_add(buf->size, (size_t)n + 1, &total)) {
        return fed_err_set(err, FED_E_NOMEM, "size overflow");
    }
    rc = fed_buf_reserve(buf, total - 1, err);
    rc = rc < 0 ? rc : grow(buf, total, err); /* vsnprintf() writes a NUL, which does not count */
    if (rc < 0) {
        return rc;
    }
    va_start(args, fmt);
    n = vsnprintf((char *)buf->data + buf->size, buf->capacity - buf->size, fmt, args);
    va_end(args);
    assert(n >= 0);
    buf->size += (size_t)n;
    return 0;
}
