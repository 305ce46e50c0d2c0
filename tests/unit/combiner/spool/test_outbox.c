/* The outbox: order, acknowledgement, bounds, and what survives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "combiner/spool/outbox.h"
#include "tests/lib/fixture.h"

#define ROOM 9300U

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct outbox outbox;
    struct fed_err err;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "outbox", f->path);
    assert_int_equal(outbox_open(&f->outbox, f->path, ROOM, &f->err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    outbox_close(&f->outbox);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

static int add(struct fixture *f, enum fed_record_kind kind, const char *json)
{
    uint64_t seq = 0;

    return outbox_add(&f->outbox, kind, strdup(json), &seq, &f->err);
}

static void write_all(struct fixture *f)
{
    struct outbox_write write;

    while (outbox_begin_write(&f->outbox, &write)) {
        outbox_write(&write);
        assert_int_equal(write.rc, 0);
        outbox_end_write(&f->outbox, &write);
    }
}

static void reopen(struct fixture *f)
{
    outbox_close(&f->outbox);
    assert_int_equal(outbox_open(&f->outbox, f->path, ROOM, &f->err), 0);
}

/* "1:a 2:b" */
static const char *format(struct fixture *f, char text[512])
{
    size_t used = 0;

    text[0] = '\0';
    fed_list_for_each (link, &f->outbox.records) {
        const struct outbox_record *record = FED_CONTAINER_OF(link, struct outbox_record, link);
        used += (size_t)snprintf(text + used, 512 - used, "%s%llu:%.20s", used == 0 ? "" : " ",
                                 (unsigned long long)record->seq, record->json);
    }
    return text;
}

static void test_records_survive_until_they_are_acknowledged(void **state)
{
    struct fixture *f = *state;
    char text[512];

    assert_int_equal(add(f, FED_RECORD_STATUS, "a"), 0);
    assert_int_equal(add(f, FED_RECORD_VALIDATION, "b"), 0);
    write_all(f);
    assert_int_equal(add(f, FED_RECORD_METRIC, "c"), 0);
    write_all(f);
    reopen(f);
    assert_string_equal(format(f, text), "1:a 2:b 3:c");
    assert_int_equal(outbox_next(&f->outbox, 1)->seq, 2);
    assert_int_equal(outbox_next(&f->outbox, 1)->kind, FED_RECORD_VALIDATION);
    outbox_acknowledge(&f->outbox, 2);
    assert_string_equal(format(f, text), "3:c");
    assert_null(outbox_next(&f->outbox, 3));
    /* At least once: the file may still hold them, and a number is not used twice. */
    assert_int_equal(add(f, FED_RECORD_METRIC, "d"), 0);
    assert_string_equal(format(f, text), "3:c 4:d");
}

static void test_what_comes_during_a_write_is_in_the_next(void **state)
{
    struct fixture *f = *state;
    struct outbox_write write;
    struct outbox_write second;
    char text[512];

    assert_false(outbox_begin_write(&f->outbox, &write));
    assert_int_equal(add(f, FED_RECORD_STATUS, "a"), 0);
    assert_true(outbox_begin_write(&f->outbox, &write));
    assert_int_equal(add(f, FED_RECORD_STATUS, "b"), 0);
    assert_false(outbox_begin_write(&f->outbox, &second));
    outbox_write(&write);
    outbox_end_write(&f->outbox, &write);
    write_all(f);
    reopen(f);
    assert_string_equal(format(f, text), "1:a 2:b");
}

static void test_a_failed_write_is_made_good(void **state)
{
    struct fixture *f = *state;
    struct outbox_write write;
    char text[512];

    assert_int_equal(add(f, FED_RECORD_STATUS, "a"), 0);
    assert_int_equal(mkdir(f->path, 0700), 0); /* nothing can be written there */
    assert_true(outbox_begin_write(&f->outbox, &write));
    outbox_write(&write);
    assert_true(write.rc < 0);
    outbox_end_write(&f->outbox, &write);
    assert_int_equal(rmdir(f->path), 0);
    assert_int_equal(add(f, FED_RECORD_STATUS, "b"), 0);
    write_all(f);
    reopen(f);
    assert_string_equal(format(f, text), "1:a 2:b");
}

static void test_a_file_torn_at_every_byte(void **state)
{
    struct fixture *f = *state;
    struct fed_buf whole;
    struct stat st;
    size_t first_size;

    assert_int_equal(add(f, FED_RECORD_STATUS, "first"), 0);
    write_all(f);
    assert_int_equal(stat(f->path, &st), 0);
    first_size = (size_t)st.st_size;
    assert_int_equal(add(f, FED_RECORD_VALIDATION, "second"), 0);
    write_all(f);
    whole = test_file_read(f->path);
    for (size_t size = 0; size <= whole.size; size++) {
        test_file_write(f->path, whole.data, size);
        reopen(f);
        assert_int_equal(f->outbox.n_records, size == whole.size ? 2 : size >= first_size ? 1 : 0);
        assert_int_equal(stat(f->path, &st), 0);
        assert_int_equal(st.st_size, size == whole.size   ? whole.size
                                     : size >= first_size ? first_size
                                                          : 0);
    }
    fed_buf_deinit(&whole);
}

static void test_beyond_the_bound_telemetry_goes_first(void **state)
{
    struct fixture *f = *state;
    char big[1001];
    char text[512];

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    assert_int_equal(add(f, FED_RECORD_STATUS, "status"), 0);
    assert_int_equal(add(f, FED_RECORD_VALIDATION, "validation"), 0);
    assert_int_equal(add(f, FED_RECORD_TELEMETRY, "telemetry-1"), 0);
    assert_int_equal(add(f, FED_RECORD_TELEMETRY, "telemetry-2"), 0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(add(f, FED_RECORD_PREDICTION, big), 0);
    }
    assert_int_equal(f->outbox.n_dropped, 2); /* both telemetries, and nothing else */
    assert_non_null(strstr(format(f, text), "1:status 2:validation 5:xxx"));
    /* Nothing is left that may go: a validation is refused, and nobody's else is lost. */
    while (add(f, FED_RECORD_VALIDATION, "another") == 0) {
    }
    assert_int_equal(f->err.code, FED_E_LIMIT);
    assert_true(f->outbox.n_bytes <= ROOM);
    assert_non_null(strstr(format(f, text), "2:validation"));
    assert_null(strstr(format(f, text), "status"));
    assert_int_equal(add(f, FED_RECORD_STATUS, big), -FED_E_LIMIT);
}

static void test_the_file_is_compacted(void **state)
{
    struct fixture *f = *state;
    char big[4001];
    struct stat st;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    for (uint64_t i = 1; i <= 600; i++) {
        assert_int_equal(add(f, FED_RECORD_STATUS, big), 0);
        write_all(f);
        outbox_acknowledge(&f->outbox, i - 1);
    }
    assert_int_equal(stat(f->path, &st), 0);
    assert_true(st.st_size < (1 << 20) + 3 * 4100); /* of 2.4 MB that went through it */
    reopen(f);
    assert_non_null(outbox_next(&f->outbox, 599));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_records_survive_until_they_are_acknowledged),
        TEST(test_what_comes_during_a_write_is_in_the_next),
        TEST(test_a_failed_write_is_made_good),
        TEST(test_a_file_torn_at_every_byte),
        TEST(test_beyond_the_bound_telemetry_goes_first),
        TEST(test_the_file_is_compacted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
