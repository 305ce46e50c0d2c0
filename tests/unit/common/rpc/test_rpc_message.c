/* Bytes from outside: memory is bounded, texts are UTF-8, the bulk field may stand anywhere. */
#include <confed/v1/federation.pb-c.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/lib/rpc_message.h"

static int unpack(const void *data,
                  size_t size,
                  const ProtobufCMessageDescriptor *descriptor,
                  ProtobufCMessage **ret_message)
{
    struct fed_rpc_in *in = test_rpc_in_new(data, size);
    struct fed_err err;
    const int rc = fed_rpc_in_unpack(in, descriptor, ret_message, &err);

    assert_int_equal(fed_rpc_in_size(in), size);
    (void)fed_rpc_in_free(in);
    return rc;
}

static int unpack_hello(const void *data, size_t size)
{
    ProtobufCMessage *message = NULL;
    const int rc = unpack(data, size, &confed__v1__hello__descriptor, &message);

    fed_rpc_message_free(message);
    return rc;
}

static void test_memory_is_bounded(void **state)
{
    const size_t n = 500000;
    uint8_t *bytes = malloc(2 * n);

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) { /* half a million empty clients, in a megabyte */
        bytes[2 * i] = 10 << 3 | 2;
        bytes[2 * i + 1] = 0;
    }
    assert_int_equal(unpack_hello(bytes, 2000), 0);
    assert_int_equal(unpack_hello(bytes, 2 * n), -FED_E_INVALID);
    free(bytes);
}

static void test_texts_are_utf8(void **state)
{
    (void)state;
    assert_int_equal(unpack_hello("\x1a\x03"
                                  "abc",
                                  5),
                     0);
    assert_int_equal(unpack_hello("\x1a\x02"
                                  "\xc3\xa9",
                                  4),
                     0);
    assert_int_equal(unpack_hello("\x1a\x02"
                                  "\xc3\x28",
                                  4),
                     -FED_E_INVALID);
    assert_int_equal(unpack_hello("\x52\x03\x0a\x01\xff", 5), -FED_E_INVALID); /* in a client */
    assert_int_equal(unpack_hello("\x52\x03\x0a\x01"
                                  "a",
                                  5),
                     0);
}

static void test_malformed_bytes(void **state)
{
    (void)state;
    assert_int_equal(unpack_hello("", 0), 0);
    assert_int_equal(unpack_hello("\x1a", 1), -FED_E_INVALID);
    assert_int_equal(unpack_hello("\x1a\x05"
                                  "abc",
                                  5),
                     -FED_E_INVALID);
    assert_int_equal(unpack_hello("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 11),
                     -FED_E_INVALID);
    assert_int_equal(unpack_hello("\xfa\x7f\x01x", 4), 0); /* an unknown field is ignored */
}

/* -- the bulk field ------------------------------------------------------------------------------
 */

static int
unpack_bulk(const void *data, size_t size, uint64_t *ret_offset, struct fed_view *ret_bulk)
{
    static struct fed_rpc_in *in; /* the bytes that the view shows live as long */
    ProtobufCMessage *message = NULL;
    struct fed_err err;
    int rc;

    in = fed_rpc_in_free(in);
    if (data == NULL) {
        return 0;
    }
    in = test_rpc_in_new(data, size);
    rc = fed_rpc_in_unpack_bulk(in, &confed__v1__model_chunk__descriptor, 3, &message, ret_bulk,
                                &err);
    if (rc == 0) {
        const Confed__V1__ModelChunk *chunk = (Confed__V1__ModelChunk *)message;
        *ret_offset = chunk->offset_bytes;
        assert_int_equal(chunk->data.len, 0);
    }
    fed_rpc_message_free(message);
    return rc;
}

static void test_the_bulk_field_may_stand_anywhere(void **state)
{
    uint64_t offset = 0;
    struct fed_view bulk;

    (void)state;
    assert_int_equal(unpack_bulk("\x08\x07\x1a\x03"
                                 "abc",
                                 7, &offset, &bulk),
                     0);
    assert_int_equal(offset, 7);
    assert_true(fed_view_equal(bulk, fed_view_str("abc")));
    assert_int_equal(unpack_bulk("\x1a\x03"
                                 "abc\x08\x07",
                                 7, &offset, &bulk),
                     0);
    assert_int_equal(offset, 7);
    assert_true(fed_view_equal(bulk, fed_view_str("abc")));
    assert_int_equal(unpack_bulk("\x1a\x01"
                                 "x\x1a\x02"
                                 "yz",
                                 7, &offset, &bulk),
                     0);
    assert_true(fed_view_equal(bulk, fed_view_str("yz"))); /* the last counts, as in protobuf */
    assert_int_equal(unpack_bulk("\x08\x09", 2, &offset, &bulk), 0);
    assert_int_equal(bulk.size, 0);
    assert_int_equal(unpack_bulk("\x1a\x04"
                                 "abc",
                                 5, &offset, &bulk),
                     -FED_E_INVALID);
    assert_int_equal(unpack_bulk("\x1b\x01", 2, &offset, &bulk), -FED_E_INVALID); /* a group */
    (void)unpack_bulk(NULL, 0, &offset, &bulk);
}

/* However a message has been cut on its way, the same is found in it as in one piece. */
static void check_cut(const void *data, size_t size, size_t part)
{
    struct fed_rpc_in *in = test_rpc_in_cut(data, size, part);
    ProtobufCMessage *message = NULL;
    struct fed_pieces pieces = {0};
    struct fed_view bulk = {0};
    struct fed_err err;
    uint64_t offset = 0;
    size_t at = 0;
    const int want = unpack_bulk(data, size, &offset, &bulk);

    assert_int_equal(fed_rpc_in_unpack_pieces(in, &confed__v1__model_chunk__descriptor, 3, &message,
                                              &pieces, &err),
                     want);
    if (want == 0) {
        assert_int_equal(((Confed__V1__ModelChunk *)message)->offset_bytes, offset);
        assert_int_equal(pieces.size, bulk.size);
        for (size_t i = 0; i < pieces.n; i++) {
            assert_in_range(pieces.views[i].size, 1, bulk.size - at);
            assert_memory_equal(pieces.views[i].data, (const uint8_t *)bulk.data + at,
                                pieces.views[i].size);
            at += pieces.views[i].size;
        }
        assert_int_equal(at, bulk.size);
    }
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
}

static void test_the_bulk_field_in_pieces(void **state)
{
    /* offset_bytes 300 · bulk "x" · an unknown number, text, 8 and 4 bytes · bulk of 200 bytes */
    static const char head[] = "\x08\xac\x02\x1a\x01x\xf8\x7f\x05\xfa\x7f\x03"
                               "abc\xf9\x7f"
                               "12345678\xfd\x7f"
                               "1234\x1a\xc8\x01";
    uint8_t bytes[sizeof(head) - 1 + 200 + 2];
    uint64_t offset = 0;
    struct fed_view bulk;

    (void)state;
    memset(bytes, 0x5A, sizeof(bytes));
    memcpy(bytes, head, sizeof(head) - 1);
    bytes[sizeof(bytes) - 2] = 0x08; /* offset_bytes 7: the last counts */
    bytes[sizeof(bytes) - 1] = 0x07;
    assert_int_equal(unpack_bulk(bytes, sizeof(bytes), &offset, &bulk), 0);
    assert_int_equal(offset, 7);
    assert_int_equal(bulk.size, 200);
    for (size_t part = 1; part <= sizeof(bytes); part++) {
        for (size_t size = 0; size <= sizeof(bytes); size++) {
            check_cut(bytes, size, part);
        }
    }
    (void)unpack_bulk(NULL, 0, &offset, &bulk);
}

static void test_very_many_pieces_are_put_together(void **state)
{
    static const uint8_t head[] = {0x1A, 0xA0, 0x1F}; /* bulk of 4000 bytes */
    uint8_t bytes[4003];
    struct fed_rpc_in *in;
    ProtobufCMessage *message = NULL;
    struct fed_pieces pieces = {0};

    (void)state;
    memset(bytes, 0x5A, sizeof(bytes));
    memcpy(bytes, head, sizeof(head));
    in = test_rpc_in_cut(bytes, sizeof(bytes), 1);
    assert_int_equal(fed_rpc_in_unpack_pieces(in, &confed__v1__model_chunk__descriptor, 3, &message,
                                              &pieces, NULL),
                     0);
    assert_int_equal(pieces.n, 1);
    assert_int_equal(pieces.size, 4000);
    assert_memory_equal(pieces.views[0].data, bytes + 3, 4000);
    fed_rpc_message_free(message);
    (void)fed_rpc_in_free(in);
}

static void released(void *arg)
{
    *(int *)arg += 1;
}

static void test_a_slab_is_sent_and_released_once(void **state)
{
    char bytes[] = "0123456789, long enough to be no inline slice";
    int n_released = 0;
    struct fed_slab *slab = fed_slab_new(bytes, sizeof(bytes), released, &n_released);
    Confed__V1__ModelChunk message = CONFED__V1__MODEL_CHUNK__INIT;
    struct fed_rpc_out *out;
    struct fed_rpc_out *copy;
    struct fed_rpc_in *in;
    ProtobufCMessage *read = NULL;
    struct fed_view bulk;

    (void)state;
    assert_non_null(slab);
    assert_ptr_equal(fed_slab_view(slab).data, bytes);
    message.offset_bytes = 300;
    out = fed_rpc_out_pack_bulk(&message.base, 3, slab, 2, sizeof(bytes) - 2);
    copy = fed_rpc_out_copy(out);
    assert_null(fed_slab_unref(slab));
    (void)fed_rpc_out_free(out);
    assert_int_equal(n_released, 0);
    in = test_rpc_in_of(copy);
    assert_int_equal(
        fed_rpc_in_unpack_bulk(in, &confed__v1__model_chunk__descriptor, 3, &read, &bulk, NULL), 0);
    assert_int_equal(((Confed__V1__ModelChunk *)read)->offset_bytes, 300);
    assert_int_equal(bulk.size, sizeof(bytes) - 2);
    assert_memory_equal(bulk.data, bytes + 2, bulk.size);
    fed_rpc_message_free(read);
    (void)fed_rpc_in_free(in);
    assert_int_equal(n_released, 1);
    assert_null(fed_rpc_out_copy(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_texts_are_utf8),
        cmocka_unit_test(test_malformed_bytes),
        cmocka_unit_test(test_the_bulk_field_may_stand_anywhere),
        cmocka_unit_test(test_the_bulk_field_in_pieces),
        cmocka_unit_test(test_very_many_pieces_are_put_together),
        cmocka_unit_test(test_a_slab_is_sent_and_released_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
