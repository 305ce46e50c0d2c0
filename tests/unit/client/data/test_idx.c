#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "client/data/idx.h"
#include "common/base/file.h"

static char path[64];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "/tmp/confed-idx-XXXXXX");
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    (void)close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static void write_plain(const void *data, size_t size)
{
    assert_int_equal(fed_file_replace(path, fed_view_of(data, size), false, NULL), 0);
}

static void write_gzipped(const void *data, size_t size)
{
    gzFile file = gzopen(path, "wb");

    assert_int_equal(gzwrite(file, data, (unsigned)size), (int)size);
    assert_int_equal(gzclose(file), Z_OK);
}

/* Cut the file that there is. */
static void cut_file(size_t size)
{
    assert_int_equal(truncate(path, (off_t)size), 0);
}

#define LABELS "\0\0\x08\x01\0\0\0\x05\x01\x02\x03\x04\x09"
#define IMAGES                                   \
    "\0\0\x08\x03\0\0\0\x03\0\0\0\x01\0\0\0\x02" \
    "aAbBcC"
#define SIZE(text) (sizeof(text) - 1)

/* Open and read all, into a buffer that is big enough. */
static int read_all(struct fed_err *err)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    uint8_t data[256];
    int rc = idx_open(path, &idx, err);

    if (rc == 0) {
        assert_true(idx_get_count(idx) * idx_get_item_size(idx) <= sizeof(data));
        rc = idx_read(idx, NULL, idx_get_count(idx), data, err);
    }
    return rc;
}

/* It fails with this code, and the message names the file and holds these words. */
static void assert_fails(enum fed_code code, const char *words)
{
    struct fed_err err = {0};

    assert_int_equal(read_all(&err), -(int)code);
    if (strstr(err.msg, path) == NULL || strstr(err.msg, words) == NULL) {
        fail_msg("the message '%s' lacks '%s'", err.msg, words);
    }
}

static void check_labels(void)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    uint8_t labels[5];

    assert_int_equal(idx_open(path, &idx, NULL), 0);
    assert_int_equal(idx_get_count(idx), 5);
    assert_int_equal(idx_get_item_size(idx), 1);
    assert_int_equal(idx_read(idx, NULL, 5, labels, NULL), 0);
    assert_memory_equal(labels, "\x01\x02\x03\x04\x09", 5);
}

static void check_images(void)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    uint8_t images[6];

    assert_int_equal(idx_open(path, &idx, NULL), 0);
    assert_int_equal(idx_read(idx, NULL, 3, images, NULL), 0);
    assert_memory_equal(images, "aAbBcC", 6);
}

static void test_plain_and_gzipped_are_the_same(void **state)
{
    (void)state;
    write_plain(LABELS, SIZE(LABELS));
    check_labels();
    write_gzipped(LABELS, SIZE(LABELS));
    check_labels();
}

static void test_chosen_images(void **state)
{
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    const uint32_t rows[] = {0, 2};
    uint8_t images[4];

    (void)state;
    write_gzipped(IMAGES, SIZE(IMAGES));
    assert_int_equal(idx_open(path, &idx, NULL), 0);
    assert_int_equal(idx_get_item_size(idx), 2);
    assert_int_equal(idx_read(idx, rows, 2, images, NULL), 0);
    assert_memory_equal(images, "aAcC", 4);
}

static void test_missing_file(void **state)
{
    (void)state;
    (void)unlink(path);
    assert_fails(FED_E_NOT_FOUND, "open");
}

static void test_wrong_magic(void **state)
{
    (void)state;
    write_plain("\x89PNG....", 8);
    assert_fails(FED_E_INVALID,
                 "offset 0: magic number 89504e47, want 00000801 (labels) or 00000803");
}

static void test_every_cut_is_found(void **state)
{
    char words[64];

    (void)state;
    for (size_t size = 0; size < SIZE(IMAGES); size++) {
        write_plain(IMAGES, size);
        (void)snprintf(words, sizeof(words), "offset %zu: the file ends, want ", size);
        assert_fails(FED_E_INVALID, words);
    }
}

static void test_cut_gzip(void **state)
{
    struct fed_err err = {0};
    struct fed_map map;

    (void)state;
    write_gzipped(IMAGES, SIZE(IMAGES));
    assert_int_equal(fed_map_open(path, &map, NULL), 0);
    const size_t whole = map.size;
    fed_map_close(&map);
    for (size_t size = 0; size < whole; size++) {
        write_gzipped(IMAGES, SIZE(IMAGES));
        cut_file(size);
        assert_true(read_all(&err) < 0);
        assert_non_null(strstr(err.msg, path));
        assert_non_null(strstr(err.msg, "offset "));
    }
}

static void test_damaged_gzip(void **state)
{
    struct fed_err err = {0};
    struct fed_buf buf;

    (void)state;
    write_gzipped(IMAGES, SIZE(IMAGES));
    assert_int_equal(fed_file_load(path, 4096, &buf, NULL), 0);
    for (size_t i = 10; i < buf.size; i++) { /* behind the header, whose fields mean little */
        buf.data[i] ^= 0x10;
        write_plain(buf.data, buf.size);
        buf.data[i] ^= 0x10;
        if (read_all(&err) == 0) { /* the bits that fill up the last byte mean nothing */
            check_images();
        }
    }
    buf.data[buf.size - 6] ^= 1; /* the CRC-32 alone */
    write_plain(buf.data, buf.size);
    assert_fails(FED_E_CORRUPT, "incorrect data check");
    fed_buf_deinit(&buf);
}

static void test_trailing_bytes(void **state)
{
    (void)state;
    write_plain(LABELS "x", SIZE(LABELS) + 1);
    assert_fails(FED_E_INVALID, "offset 13: more bytes, want the end of the file after 5 items");
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    write_plain("\0\0\x08\x01\xff\xff\xff\xff", 8);
    assert_fails(FED_E_INVALID, "offset 4: 4294967295 items, want 1 to 10000000");
    write_plain("\0\0\x08\x01\0\0\0\0", 8);
    assert_fails(FED_E_INVALID, "offset 4: 0 items");
    write_plain("\0\0\x08\x03\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff", 16);
    assert_fails(FED_E_INVALID, "offset 8: images of 4294967295 x 4294967295, want 1 to 65536");
    write_plain("\0\0\x08\x03\0\0\0\x01\0\0\0\0\0\0\0\x1c", 16);
    assert_fails(FED_E_INVALID, "offset 8: images of 0 x 28");
    write_plain("\0\0\x08\x03\0\0\0\x01\0\x01\0\0\0\x01\0\0", 16); /* 65536 x 65536 = 2^32 */
    assert_fails(FED_E_INVALID, "offset 8: images of 65536 x 65536");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_plain_and_gzipped_are_the_same),
        TEST(test_chosen_images),
        TEST(test_missing_file),
        TEST(test_wrong_magic),
        TEST(test_every_cut_is_found),
        TEST(test_cut_gzip),
        TEST(test_damaged_gzip),
        TEST(test_trailing_bytes),
        TEST(test_sizes_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
