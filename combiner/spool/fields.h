/* Little-endian numbers and length-prefixed texts, for the files of the spool. */
#ifndef COMBINER_SPOOL_FIELDS_H
#define COMBINER_SPOOL_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/view.h"

/* Writing; the first failure stays in rc and stops the rest. */
struct fields_out {
    struct fed_buf *buf;
    struct fed_err *err; /* may be NULL */
    int rc;
};

void fields_put_u32(struct fields_out *out, uint32_t value);
void fields_put_u64(struct fields_out *out, uint64_t value);
void fields_put_bytes(struct fields_out *out, const void *data, size_t size);
void fields_put_text(struct fields_out *out, const char *text);

/* Reading; whatever does not fit makes ok false, and everything after it zero. */
struct fields_in {
    const uint8_t *data;
    size_t left;
    bool ok;
};

static inline struct fields_in fields_in_of(struct fed_view bytes)
{
    return (struct fields_in){bytes.data, bytes.size, true};
}

uint32_t fields_get_u32(struct fields_in *in);
uint64_t fields_get_u64(struct fields_in *in);
void fields_get_bytes(struct fields_in *in, void *ret_data, size_t size);

/* A valid id of less than text_size bytes. */
void fields_get_id(struct fields_in *in, char *ret_text, size_t text_size);

/* Any text; owned by the caller, NULL when not ok. */
char *fields_get_text(struct fields_in *in, size_t size_max);

#endif /* COMBINER_SPOOL_FIELDS_H */
