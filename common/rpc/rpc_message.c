/* Messages: bytes from and for gRPC, and their form as protobuf-c structs. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>

#include "common/base/buf.h"
#include "common/base/text.h"
#include "common/base/unconst.h"
#include "common/rpc/rpc_inside.h"

#define UNPACK_BASE_MAX  ((size_t)4 * 1024 * 1024) /* bytes a message may take when unpacked, … */
#define UNPACK_RATIO_MAX 16U                       /* … and this often its size on the wire */
#define DEPTH_MAX        8                         /* nested messages */
#define PIECES_MAX       1024U                     /* of a message that is used where it lies */
#define RAW_SIZE         20U                       /* two numbers on the wire */

struct fed_rpc_in *rpc_in_new(grpc_byte_buffer *buffer)
{
    struct fed_rpc_in *in = calloc(1, sizeof(*in));

    if (in == NULL) {
        grpc_byte_buffer_destroy(buffer);
        return NULL;
    }
    in->buffer = buffer;
    return in;
}

struct fed_rpc_in *fed_rpc_in_free(struct fed_rpc_in *in)
{
    if (in != NULL) {
        if (in->is_flat) {
            grpc_slice_unref(in->flat);
        }
        grpc_byte_buffer_destroy(in->buffer);
        free(in->pieces);
        free(in);
    }
    return NULL;
}

size_t fed_rpc_in_size(const struct fed_rpc_in *in)
{
    return grpc_byte_buffer_length(in->buffer);
}

static int flatten(struct fed_rpc_in *in, struct fed_view *ret_view, struct fed_err *err)
{
    grpc_byte_buffer_reader reader;

    if (!in->is_flat) {
        /* A compressed message is inflated by the reader: refused instead, for it has no bound. */
        if (in->buffer->type != GRPC_BB_RAW ||
            in->buffer->data.raw.compression != GRPC_COMPRESS_NONE ||
            !grpc_byte_buffer_reader_init(&reader, in->buffer)) {
            return fed_err_set(err, FED_E_INVALID, "the message is compressed or unreadable");
        }
        in->flat = grpc_byte_buffer_reader_readall(&reader);
        in->is_flat = true;
        grpc_byte_buffer_reader_destroy(&reader);
    }
    *ret_view = fed_view_of(GRPC_SLICE_START_PTR(in->flat), GRPC_SLICE_LENGTH(in->flat));
    return 0;
}

struct budget {
    size_t left;
};

static void *budget_alloc(void *data, size_t size)
{
    struct budget *budget = data;

    if (size > budget->left) {
        return NULL;
    }
    budget->left -= size;
    return malloc(size == 0 ? 1 : size);
}

static void budget_free(void *data, void *pointer)
{
    (void)data;
    free(pointer);
}

/* NOLINTBEGIN(misc-no-recursion): bounded by DEPTH_MAX */

static bool check_message(const ProtobufCMessage *message, int depth);

static bool check_value(const ProtobufCFieldDescriptor *field, const void *value, int depth)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)value;
        return text == NULL || fed_text_is_utf8(text);
    }
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        const ProtobufCMessage *child = *(const ProtobufCMessage *const *)value;
        return child == NULL || check_message(child, depth + 1);
    }
    return true;
}

static bool
check_field(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, int depth)
{
    const uint8_t *base = (const uint8_t *)message;

    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0 &&
        *(const uint32_t *)(const void *)(base + field->quantifier_offset) != field->id) {
        return true;
    }
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        const size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
        void *const *items = *(void *const *const *)(const void *)(base + field->offset);
        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE) {
            return true;
        }
        for (size_t i = 0; i < n; i++) {
            if (!check_value(field, &items[i], depth)) {
                return false;
            }
        }
        return true;
    }
    return check_value(field, base + field->offset, depth);
}

/* Texts are UTF-8. None of our messages holds itself, so the depth is bounded; checked all the
 * same. */
static bool check_message(const ProtobufCMessage *message, int depth)
{
    if (depth > DEPTH_MAX) {
        return false;
    }
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        if (!check_field(message, &message->descriptor->fields[i], depth)) {
            return false;
        }
    }
    return true;
}
/* NOLINTEND(misc-no-recursion) */

static int unpack(struct fed_view bytes,
                  size_t wire_size,
                  const ProtobufCMessageDescriptor *descriptor,
                  ProtobufCMessage **ret_message,
                  struct fed_err *err)
{
    struct budget budget = {.left = UNPACK_BASE_MAX + UNPACK_RATIO_MAX * wire_size};
    ProtobufCAllocator allocator = {budget_alloc, budget_free, &budget};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptor, &allocator, bytes.size, bytes.data);

    if (message == NULL) {
        return fed_err_set(err, FED_E_INVALID, "malformed %s of %zu bytes", descriptor->name,
                           wire_size);
    }
    if (!check_message(message, 0)) {
        fed_rpc_message_free(message);
        return fed_err_set(err, FED_E_INVALID, "%s holds text that is not UTF-8", descriptor->name);
    }
    *ret_message = message;
    return 0;
}

void fed_rpc_message_free(ProtobufCMessage *message)
{
    if (message != NULL) {
        protobuf_c_message_free_unpacked(message, NULL);
    }
}

int fed_rpc_in_unpack(struct fed_rpc_in *in,
                      const ProtobufCMessageDescriptor *descriptor,
                      ProtobufCMessage **ret_message,
                      struct fed_err *err)
{
    struct fed_view bytes = {0};
    const int rc = flatten(in, &bytes, err);

    return rc < 0 ? rc : unpack(bytes, bytes.size, descriptor, ret_message, err);
}

/* A message's bytes one after the other, wherever they lie. */
struct cursor {
    const grpc_slice *slices;
    size_t n_slices;
    size_t at; /* in the first slice */
    size_t left;
};

/* The next bytes that lie together, at most `size`, of which there are as many; not past them. */
static struct fed_view peek(struct cursor *c, size_t size)
{
    size_t n = 0;

    while (c->at == GRPC_SLICE_LENGTH(c->slices[0])) {
        c->slices++;
        c->n_slices--;
        c->at = 0;
    }
    n = GRPC_SLICE_LENGTH(c->slices[0]) - c->at;
    return fed_view_of(GRPC_SLICE_START_PTR(c->slices[0]) + c->at, n < size ? n : size);
}

static void step_over(struct cursor *c, size_t size)
{
    c->at += size;
    c->left -= size;
}

/* A number; its bytes are added to `raw`. */
static bool
read_varint(struct cursor *c, uint64_t *ret_value, uint8_t raw[RAW_SIZE], size_t *io_raw_size)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 64 && c->left > 0; shift += 7) {
        const uint8_t byte = *(const uint8_t *)peek(c, 1).data;
        step_over(c, 1);
        raw[(*io_raw_size)++] = byte;
        value |= (uint64_t)(byte & 0x7FU) << shift;
        if ((byte & 0x80U) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* The next `size` bytes (there are as many), piece by piece: into `small`, or shown in `views`. */
static int take(struct cursor *c,
                uint64_t size,
                struct fed_buf *small,
                struct fed_view *views,
                size_t *ret_n,
                struct fed_err *err)
{
    size_t n = 0;
    int rc = 0;

    while (size > 0 && rc == 0) {
        const struct fed_view view = peek(c, (size_t)size);
        if (views != NULL) {
            views[n++] = view;
        } else {
            rc = fed_buf_add(small, view.data, view.size, err);
        }
        step_over(c, view.size);
        size -= view.size;
    }
    *ret_n = n;
    return rc;
}

/* One field: into `small`, or, if it is the bulk one, into `views`. */
static int take_field(struct cursor *c,
                      uint32_t bulk_field,
                      struct fed_buf *small,
                      struct fed_view *views,
                      struct fed_pieces *bulk,
                      struct fed_err *err)
{
    uint8_t raw[RAW_SIZE];
    size_t raw_size = 0;
    size_t n = 0;
    uint64_t tag = 0;
    uint64_t size = 0;
    bool ok = read_varint(c, &tag, raw, &raw_size);
    const unsigned wire = (unsigned)(tag & 7U);
    int rc;

    if (ok && (wire == 0 || wire == 2)) {
        ok = read_varint(c, &size, raw, &raw_size);
    }
    size = wire == 0 ? 0 : wire == 1 ? 8 : wire == 5 ? 4 : size;
    if (!ok || wire == 3 || wire == 4 || wire > 5 || size > c->left) {
        return fed_err_set(err, FED_E_INVALID, "malformed message");
    }
    if (tag >> 3 == bulk_field && wire == 2) {
        rc = take(c, size, NULL, views, &n, err);
        *bulk = (struct fed_pieces){views, n, (size_t)size};
        return rc;
    }
    rc = fed_buf_add(small, raw, raw_size, err);
    return rc < 0 ? rc : take(c, size, small, NULL, &n, err);
}

/* All fields but `bulk_field` go to `small`. */
static int split(struct fed_rpc_in *in,
                 uint32_t bulk_field,
                 struct fed_buf *small,
                 struct fed_pieces *ret_bulk,
                 struct fed_err *err)
{
    const grpc_slice_buffer *slices = &in->buffer->data.raw.slice_buffer;
    struct cursor c = {slices->slices, slices->count, 0, slices->length};
    int rc = 0;

    if (in->is_flat) {
        c = (struct cursor){&in->flat, 1, 0, GRPC_SLICE_LENGTH(in->flat)};
    }
    *ret_bulk = (struct fed_pieces){0};
    free(in->pieces);
    in->pieces = calloc(c.n_slices + 1, sizeof(*in->pieces));
    if (in->pieces == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "message");
    }
    while (c.left > 0 && rc == 0) {
        rc = take_field(&c, bulk_field, small, in->pieces, ret_bulk, err);
    }
    return rc;
}

int fed_rpc_in_unpack_pieces(struct fed_rpc_in *in,
                             const ProtobufCMessageDescriptor *descriptor,
                             uint32_t bulk_field,
                             ProtobufCMessage **ret_message,
                             struct fed_pieces *ret_bulk,
                             struct fed_err *err)
{
    struct fed_pieces bulk = {0};
    struct fed_view bytes = {0};
    struct fed_buf small;
    int rc = 0;

    if (in->buffer->type != GRPC_BB_RAW || in->buffer->data.raw.compression != GRPC_COMPRESS_NONE ||
        in->buffer->data.raw.slice_buffer.count > PIECES_MAX) {
        rc = flatten(in, &bytes, err);
    }
    fed_buf_init(&small, 0);
    rc = rc < 0 ? rc : split(in, bulk_field, &small, &bulk, err);
    if (rc == 0) {
        rc = unpack(fed_buf_view(&small), small.size, descriptor, ret_message, err);
    }
    fed_buf_deinit(&small);
    if (rc == 0) {
        *ret_bulk = bulk;
    }
    return rc;
}

int fed_rpc_in_unpack_bulk(struct fed_rpc_in *in,
                           const ProtobufCMessageDescriptor *descriptor,
                           uint32_t bulk_field,
                           ProtobufCMessage **ret_message,
                           struct fed_view *ret_bulk,
                           struct fed_err *err)
{
    struct fed_view bytes = {0};
    struct fed_pieces bulk = {0};
    int rc = flatten(in, &bytes, err);

    rc =
        rc < 0 ? rc : fed_rpc_in_unpack_pieces(in, descriptor, bulk_field, ret_message, &bulk, err);
    if (rc == 0) {
        *ret_bulk = bulk.n == 0 ? (struct fed_view){0} : bulk.views[0];
    }
    return rc;
}

/* -- sending ---------------------------------------------------------------------------------- */

static struct fed_rpc_out *out_new(grpc_slice *slices, size_t n_slices)
{
    struct fed_rpc_out *out = calloc(1, sizeof(*out));

    if (out != NULL) {
        out->buffer = grpc_raw_byte_buffer_create(slices, n_slices);
    }
    for (size_t i = 0; i < n_slices; i++) {
        grpc_slice_unref(slices[i]);
    }
    return out;
}

struct fed_rpc_out *fed_rpc_out_pack(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));

    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return out_new(&slice, 1);
}

struct fed_rpc_out *fed_rpc_out_free(struct fed_rpc_out *out)
{
    if (out != NULL) {
        grpc_byte_buffer_destroy(out->buffer);
        free(out);
    }
    return NULL;
}

struct fed_rpc_out *fed_rpc_out_copy(const struct fed_rpc_out *out)
{
    struct fed_rpc_out *copy = out == NULL ? NULL : calloc(1, sizeof(*copy));

    if (copy != NULL) {
        copy->buffer = grpc_byte_buffer_copy(out->buffer);
    }
    return copy;
}

struct fed_slab {
    atomic_uint refs;
    const void *data;
    size_t size;
    void (*release)(void *arg);
    void *arg;
};

struct fed_slab *fed_slab_new(const void *data, size_t size, void (*release)(void *arg), void *arg)
{
    struct fed_slab *slab = calloc(1, sizeof(*slab));

    if (slab != NULL) {
        atomic_init(&slab->refs, 1);
        slab->data = data;
        slab->size = size;
        slab->release = release;
        slab->arg = arg;
    }
    return slab;
}

struct fed_slab *fed_slab_ref(struct fed_slab *slab)
{
    (void)atomic_fetch_add_explicit(&slab->refs, 1, memory_order_relaxed);
    return slab;
}

struct fed_slab *fed_slab_unref(struct fed_slab *slab)
{
    if (slab != NULL && atomic_fetch_sub_explicit(&slab->refs, 1, memory_order_acq_rel) == 1) {
        if (slab->release != NULL) {
            slab->release(slab->arg);
        }
        free(slab);
    }
    return NULL;
}

struct fed_view fed_slab_view(const struct fed_slab *slab)
{
    return fed_view_of(slab->data, slab->size);
}

static void slice_released(void *arg)
{
    (void)fed_slab_unref(arg);
}

static size_t write_varint(uint8_t *p, uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        p[n++] = (uint8_t)(value | 0x80U);
        value >>= 7;
    }
    p[n++] = (uint8_t)value;
    return n;
}

struct fed_rpc_out *fed_rpc_out_pack_bulk(const ProtobufCMessage *message,
                                          uint32_t bulk_field,
                                          struct fed_slab *slab,
                                          size_t offset,
                                          size_t size)
{
    const size_t small_size = protobuf_c_message_get_packed_size(message);
    grpc_slice slices[2];
    uint8_t *p;

    assert(offset <= slab->size && size <= slab->size - offset);
    slices[0] = grpc_slice_malloc(small_size + 20);
    p = GRPC_SLICE_START_PTR(slices[0]);
    p += protobuf_c_message_pack(message, p);
    p += write_varint(p, ((uint64_t)bulk_field << 3) | 2U);
    p += write_varint(p, size);
    GRPC_SLICE_SET_LENGTH(slices[0], (size_t)(p - GRPC_SLICE_START_PTR(slices[0])));
    slices[1] = grpc_slice_new_with_user_data((uint8_t *)fed_unconst(slab->data) + offset, size,
                                              slice_released, fed_slab_ref(slab));
    return out_new(slices, 2);
}
