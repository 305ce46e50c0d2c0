#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/base/id.h"
#include "common/base/rand.h"
#include "common/model/checksum.h"
#include "tests/lib/fixture.h"

/* FIPS 180-4's examples. */
#define SHA_ABC   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* What xxHash 0.8 gives: its own test vector of nothing, and `xxhsum -H2`. */
#define XXH_ABC   "06b05ab6733a618578af5f94892f3950"
#define XXH_EMPTY "99aa06d3014798d86001c324468d497f"

static void check_hex(const uint8_t *digest, size_t size, const char *want)
{
    char text[2 * FED_SHA256_BYTES + 1];

    fed_hex_format(digest, size, text);
    assert_string_equal(text, want);
}

static void check(const uint8_t digest[FED_SHA256_BYTES], const char *want)
{
    check_hex(digest, FED_SHA256_BYTES, want);
}

static void test_sha256_at_once_and_in_pieces(void **state)
{
    uint8_t digest[FED_SHA256_BYTES];
    struct fed_sha256 *hash = NULL;

    (void)state;
    fed_sha256_once("abc", 3, digest);
    check(digest, SHA_ABC);
    fed_sha256_once(NULL, 0, digest);
    check(digest, SHA_EMPTY);
    assert_int_equal(fed_sha256_new(&hash, NULL), 0);
    fed_sha256_add(hash, "a", 1);
    fed_sha256_add(hash, NULL, 0);
    fed_sha256_add(hash, "bc", 2);
    fed_sha256_finish(hash, digest);
    check(digest, SHA_ABC);
    hash = fed_sha256_free(hash);
    assert_null(fed_sha256_free(NULL));
}

static void test_sha256_of_files(void **state)
{
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    uint8_t digest[FED_SHA256_BYTES];
    uint8_t want[FED_SHA256_BYTES];
    static uint8_t bytes[200000];
    uint64_t size = 0;

    (void)state;
    memset(bytes, 'q', sizeof(bytes));
    test_folder_make(&folder);
    (void)test_path(&folder, "f", path);
    assert_int_equal(fed_sha256_file(path, digest, &size, NULL), -FED_E_NOT_FOUND);
    test_file_write(path, bytes, sizeof(bytes));
    assert_int_equal(fed_sha256_file(path, digest, &size, NULL), 0);
    assert_int_equal(size, sizeof(bytes));
    fed_sha256_once(bytes, sizeof(bytes), want);
    assert_memory_equal(digest, want, sizeof(digest));
    test_file_write(path, "", 0);
    assert_int_equal(fed_sha256_file(path, digest, &size, NULL), 0);
    check(digest, SHA_EMPTY);
    assert_int_equal(fed_sha256_file(folder.path, digest, &size, NULL), -FED_E_IO);
    test_folder_remove(&folder);
}

static void test_xxh128_of_files(void **state)
{
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    uint8_t bytes[100000];
    uint8_t digest[FED_XXH128_BYTES];
    uint8_t want[FED_XXH128_BYTES];
    uint64_t size = 0;

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    test_folder_make(&folder);
    (void)test_path(&folder, "f", path);
    assert_int_equal(fed_xxh128_file(path, digest, &size, NULL), -FED_E_NOT_FOUND);
    test_file_write(path, bytes, sizeof(bytes));
    assert_int_equal(fed_xxh128_file(path, digest, &size, NULL), 0);
    assert_int_equal(size, sizeof(bytes));
    fed_xxh128_once(bytes, sizeof(bytes), want);
    assert_memory_equal(digest, want, sizeof(digest));
    assert_int_equal(fed_xxh128_file(folder.path, digest, &size, NULL), -FED_E_IO);
    test_folder_remove(&folder);
}

static void test_both_at_once(void **state)
{
    static const size_t sizes[] = {0, 3, 16384, 16385, 100000};
    uint8_t bytes[100000];
    uint8_t sha256[FED_SHA256_BYTES];
    uint8_t xxh128[FED_XXH128_BYTES];
    uint8_t want[FED_SHA256_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (uint8_t)(i * 31 >> 3);
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(fed_both_once(bytes, sizes[i], sha256, xxh128, NULL), 0);
        fed_sha256_once(bytes, sizes[i], want);
        assert_memory_equal(sha256, want, sizeof(sha256));
        fed_xxh128_once(bytes, sizes[i], want);
        assert_memory_equal(xxh128, want, sizeof(xxh128));
    }
}

static void test_xxh128_at_once_and_in_pieces(void **state)
{
    const struct fed_view views[] = {{"ab", 2}, {"cde", 3}};
    const struct fed_pieces pieces = {views, 2, 5};
    uint8_t digest[FED_XXH128_BYTES];
    struct fed_xxh128 *hash = NULL;

    (void)state;
    fed_xxh128_once("abc", 3, digest);
    check_hex(digest, FED_XXH128_BYTES, XXH_ABC);
    assert_int_equal(fed_xxh128_new(&hash, NULL), 0);
    fed_xxh128_finish(hash, digest);
    check_hex(digest, FED_XXH128_BYTES, XXH_EMPTY);
    fed_xxh128_add_pieces(hash, &pieces, 3); /* without "de" */
    fed_xxh128_finish(hash, digest);
    check_hex(digest, FED_XXH128_BYTES, XXH_ABC);
    hash = fed_xxh128_free(hash);
    assert_null(fed_xxh128_free(NULL));
}

static void test_crc32_goes_on(void **state)
{
    uint32_t crc;

    (void)state;
    assert_int_equal(fed_crc32(0, "123456789", 9), 0xCBF43926U); /* ISO-HDLC's check value */
    crc = fed_crc32(0, "1234", 4);
    assert_int_equal(fed_crc32(crc, "56789", 5), 0xCBF43926U);
    assert_int_equal(fed_crc32(0, NULL, 0), 0);
}

/* ISO-HDLC, bit by bit. */
static uint32_t plain_crc32(uint32_t crc, const uint8_t *bytes, size_t size)
{
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (unsigned k = 0; k < 8; k++) {
            crc = (crc & 1U) != 0 ? crc >> 1 ^ 0xEDB88320U : crc >> 1;
        }
    }
    return ~crc;
}

/* Of every length, at the very beginning and the very end of memory that is there. */
static void test_crc32_of_every_length(void **state)
{
    const uint64_t key = 11;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct fed_rand rand;
    uint8_t *map = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *bytes = map + page;

    (void)state;
    assert_true(map != MAP_FAILED);
    fed_rand_init(&rand, &key, 1);
    for (size_t i = 0; i < page; i++) {
        bytes[i] = (uint8_t)fed_rand_next(&rand);
    }
    assert_int_equal(mprotect(map, page, PROT_NONE), 0);
    assert_int_equal(mprotect(bytes + page, page, PROT_NONE), 0);
    for (size_t n = 0; n <= page; n += n < 1100 ? 1 : 107) {
        const uint32_t before = (uint32_t)fed_rand_next(&rand);
        assert_int_equal(fed_crc32(before, bytes, n), plain_crc32(before, bytes, n));
        assert_int_equal(fed_crc32(0, bytes + page - n, n), plain_crc32(0, bytes + page - n, n));
    }
    (void)munmap(map, 3 * page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_at_once_and_in_pieces),
        cmocka_unit_test(test_sha256_of_files),
        cmocka_unit_test(test_xxh128_at_once_and_in_pieces),
        cmocka_unit_test(test_xxh128_of_files),
        cmocka_unit_test(test_both_at_once),
        cmocka_unit_test(test_crc32_goes_on),
        cmocka_unit_test(test_crc32_of_every_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
