#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/keep/keep.h"

struct fixture {
    char folder[64];
    struct keep keep;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/confed-keep-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(keep_open(f->folder, &f->keep, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    static const char *const parts[] = {"/updates", "/tmp", ""};
    struct fixture *f = *state;
    char path[128];

    keep_close(&f->keep);
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof(path), "%s%s", f->folder, parts[i]);
        assert_int_equal(fed_folder_remove(path, NULL), 0);
    }
    free(f);
    return 0;
}

static void save(struct fixture *f, const char *update_id, const char *bytes)
{
    struct agent_kept kept = {
        .session_id = "s", .round_id = "1", .model_id = "m", .n_examples = 2, .loss = 1};
    char path[FED_PATH_SIZE];

    (void)snprintf(kept.update_id, sizeof(kept.update_id), "%s", update_id);
    assert_int_equal(keep_format_path(&f->keep, update_id, path, NULL), 0);
    assert_int_equal(fed_file_replace(path, fed_view_str(bytes), false, NULL), 0);
    assert_int_equal(keep_save_update(&f->keep, &kept, NULL), 0);
    assert_int_equal(kept.size_bytes, strlen(bytes));
}

static bool has(const struct fixture *f, const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", f->folder, name);
    return access(path, F_OK) == 0;
}

static void test_id_is_made_once(void **state)
{
    struct fixture *f = *state;
    char first[FED_ID_SIZE];
    char second[FED_ID_SIZE];
    struct fed_err err;

    assert_int_equal(keep_load_id(&f->keep, "", first, NULL), 0);
    assert_int_equal(strlen(first), 36);
    assert_int_equal(keep_load_id(&f->keep, "", second, NULL), 0);
    assert_string_equal(first, second);
    assert_int_equal(keep_load_id(&f->keep, "site-1", second, NULL), 0);
    assert_string_equal(second, "site-1");
    assert_int_equal(keep_load_id(&f->keep, "../x", second, &err), -FED_E_INVALID);
}

static void test_damaged_id_is_not_replaced(void **state)
{
    struct fixture *f = *state;
    char id[FED_ID_SIZE];
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/client_id", f->folder);
    assert_int_equal(fed_file_replace(path, fed_view_str("no id\n"), false, NULL), 0);
    assert_int_equal(keep_load_id(&f->keep, "", id, NULL), -FED_E_CORRUPT);
}

static void test_the_newest_update_is_kept_alone(void **state)
{
    struct fixture *f = *state;
    struct agent_kept kept;
    struct fed_err err;

    assert_false(keep_load_update(&f->keep, &kept, &err));
    assert_int_equal(err.code, FED_OK);
    save(f, "u-1", "first");
    save(f, "u-2", "second");
    assert_true(keep_load_update(&f->keep, &kept, &err));
    assert_string_equal(kept.update_id, "u-2");
    assert_int_equal(kept.size_bytes, 6);
    assert_false(has(f, "updates/u-1.npz"));
    assert_true(has(f, "updates/u-2.npz"));
}

/* Killed between the file and its record: the former update still answers. */
static void test_file_without_record_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct agent_kept kept;
    struct fed_err err;
    char path[FED_PATH_SIZE];

    save(f, "u-1", "first");
    assert_int_equal(keep_format_path(&f->keep, "u-2", path, NULL), 0);
    assert_int_equal(fed_file_replace(path, fed_view_str("second"), false, NULL), 0);
    assert_true(keep_load_update(&f->keep, &kept, &err));
    assert_string_equal(kept.update_id, "u-1");
}

static void test_record_that_does_not_fit_its_file_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct agent_kept kept;
    struct fed_err err;
    char path[FED_PATH_SIZE];

    save(f, "u-1", "first");
    assert_int_equal(keep_format_path(&f->keep, "u-1", path, NULL), 0);
    assert_int_equal(truncate(path, 0), 0); /* a power cut */
    assert_false(keep_load_update(&f->keep, &kept, &err));
    assert_int_equal(err.code, FED_E_CORRUPT);
    (void)snprintf(path, sizeof(path), "%s/kept.json", f->folder);
    assert_int_equal(fed_file_replace(path, fed_view_str("{\"up"), false, NULL), 0);
    assert_false(keep_load_update(&f->keep, &kept, &err));
    assert_int_equal(err.code, FED_E_INVALID);
}

static void test_second_process_is_told_who_has_it(void **state)
{
    struct fixture *f = *state;
    int status = 0;
    const pid_t pid = fork();

    if (pid == 0) { /* locks are between processes */
        struct keep second;
        struct fed_err err = {0};
        char pid_text[32];
        const int rc = keep_open(f->folder, &second, &err);
        (void)snprintf(pid_text, sizeof(pid_text), "pid %ld", (long)getppid());
        _exit(rc == -FED_E_CONFLICT && strstr(err.msg, pid_text) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_models_on_their_way_are_swept_at_start(void **state)
{
    struct fixture *f = *state;
    char path[FED_PATH_SIZE];

    assert_int_equal(keep_format_tmp(&f->keep, "model.npz.part", path, NULL), 0);
    assert_int_equal(fed_file_replace(path, fed_view_str("half"), false, NULL), 0);
    keep_close(&f->keep);
    assert_int_equal(keep_open(f->folder, &f->keep, NULL), 0);
    assert_false(has(f, "tmp/model.npz.part"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_id_is_made_once),
        TEST(test_damaged_id_is_not_replaced),
        TEST(test_the_newest_update_is_kept_alone),
        TEST(test_file_without_record_changes_nothing),
        TEST(test_record_that_does_not_fit_its_file_is_dropped),
        TEST(test_second_process_is_told_who_has_it),
        TEST(test_models_on_their_way_are_swept_at_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
