#include "combiner/spool/fields.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/id.h"
#include "common/base/num.h"

void fields_put_bytes(struct fields_out *out, const void *data, size_t size)
{
    if (out->rc == 0) {
        out->rc = fed_buf_add(out->buf, data, size, out->err);
    }
}

void fields_put_u32(struct fields_out *out, uint32_t value)
{
    uint8_t bytes[4];

    fed_store_le32(bytes, value);
    fields_put_bytes(out, bytes, sizeof(bytes));
}

void fields_put_u64(struct fields_out *out, uint64_t value)
{
    uint8_t bytes[8];

    fed_store_le64(bytes, value);
    fields_put_bytes(out, bytes, sizeof(bytes));
}

void fields_put_text(struct fields_out *out, const char *text)
{
    fields_put_u32(out, (uint32_t)strlen(text));
    fields_put_bytes(out, text, strlen(text));
}

void fields_get_bytes(struct fields_in *in, void *ret_data, size_t size)
{
    in->ok = in->ok && in->left >= size;
    if (!in->ok) {
        memset(ret_data, 0, size);
        return;
    }
    if (size > 0) {
        memcpy(ret_data, in->data, size);
    }
    in->data += size;
    in->left -= size;
}

uint32_t fields_get_u32(struct fields_in *in)
{
    uint8_t bytes[4];

    fields_get_bytes(in, bytes, sizeof(bytes));
    return fed_load_le32(bytes);
}

uint64_t fields_get_u64(struct fields_in *in)
{
    uint8_t bytes[8];

    fields_get_bytes(in, bytes, sizeof(bytes));
    return fed_load_le64(bytes);
}

void fields_get_id(struct fields_in *in, char *ret_text, size_t text_size)
{
    const size_t size = fields_get_u32(in);

    in->ok = in->ok && size < text_size;
    ret_text[0] = '\0';
    if (in->ok) {
        fields_get_bytes(in, ret_text, size);
        ret_text[size] = '\0';
        in->ok = in->ok && fed_id_is_valid(ret_text);
    }
}

char *fields_get_text(struct fields_in *in, size_t size_max)
{
    const size_t size = fields_get_u32(in);
    char *text = in->ok && size <= size_max && size <= in->left ? malloc(size + 1) : NULL;

    in->ok = text != NULL;
    if (text != NULL) {
        fields_get_bytes(in, text, size);
        text[size] = '\0';
    }
    return text;
}
