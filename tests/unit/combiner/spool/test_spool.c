/* The spool's folder: who holds it, what survives, what is dropped. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "combiner/spool/checkpoint.h"
#include "combiner/spool/log.h"
#include "combiner/spool/plan_file.h"
#include "combiner/spool/spool.h"
#include "common/link/partial.h"
#include "common/model/checksum.h"
#include "tests/lib/fixture.h"
#include "tests/unit/combiner/old_plan.h"

struct fixture {
    struct test_folder folder;
    char path[FED_PATH_SIZE];
    struct spool *spool;
    bool is_synced;
    struct fed_err err;
};

/* In libc's place: what was flushed, the last parts of the names one after the other. */
static char flushed[512];

int fdatasync(int fildes)
{
    char self[64];
    char target[FED_PATH_SIZE] = "";
    const size_t used = strlen(flushed);

    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", fildes);
    assert_true(readlink(self, target, sizeof(target) - 1) > 0);
    (void)snprintf(flushed + used, sizeof(flushed) - used, "%s ", strrchr(target, '/') + 1);
    return 0;
}

/* In libc's place: the next `n_full` times the disk is full. */
static unsigned n_full;

ssize_t writev(int fd, const struct iovec *iovec, int count)
{
    if (n_full > 0) {
        n_full--;
        errno = ENOSPC;
        return -1;
    }
    return syscall(SYS_writev, fd, iovec, count);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    test_folder_make(&f->folder);
    (void)test_path(&f->folder, "spool", f->path);
    assert_int_equal(spool_open(f->path, f->is_synced, &f->spool, &f->err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    (void)spool_close(f->spool);
    test_folder_remove(&f->folder);
    free(f);
    return 0;
}

/* As a kill and a new process. */
static void reopen(struct fixture *f)
{
    f->spool = spool_close(f->spool);
    assert_int_equal(spool_open(f->path, f->is_synced, &f->spool, &f->err), 0);
}

/* In two chunks. */
static struct spool_upload upload(struct fixture *f, const char *id, const char *content)
{
    struct spool_upload upload = {.file.serial = spool_take_serial(f->spool)};
    const struct fed_view views[] = {fed_view_of(content, strlen(content) / 2),
                                     fed_view_str(content + strlen(content) / 2)};

    fed_id_copy(upload.id, id);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(spool_add(f->spool, &upload.file,
                                   &(struct fed_pieces){&views[i], 1, views[i].size}, &f->err),
                         0);
    }
    assert_int_equal(spool_publish(f->spool, &upload, &f->err), 0);
    return upload;
}

static size_t list(struct fixture *f, struct spool_upload **ret_uploads)
{
    size_t n = 0;

    assert_int_equal(spool_list_uploads(f->spool, ret_uploads, &n, &f->err), 0);
    return n;
}

static void test_second_process_is_told_who_holds_it(void **state)
{
    struct fixture *f = *state;
    struct spool *other = NULL;
    char pid[32];

    assert_int_equal(spool_open(f->path, f->is_synced, &other, &f->err), -FED_E_CONFLICT);
    (void)snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(f->err.msg, pid));
    assert_null(other);
}

static void test_identity_is_kept(void **state)
{
    struct fixture *f = *state;
    char id[FED_ID_SIZE];

    fed_id_copy(id, spool_get_id(f->spool));
    assert_int_equal(strlen(id), FED_UUID_SIZE - 1);
    reopen(f);
    assert_string_equal(spool_get_id(f->spool), id);
}

static void test_uploads_survive_and_half_ones_do_not(void **state)
{
    struct fixture *f = *state;
    struct spool_upload *found = NULL;
    struct spool_upload half = {.id = "half", .file.serial = spool_take_serial(f->spool)};
    const struct spool_upload whole = upload(f, "update-1", "some bytes");
    const struct fed_view abc = fed_view_str("abc");

    assert_int_equal(spool_add(f->spool, &half.file, &(struct fed_pieces){&abc, 1, 3}, &f->err), 0);
    reopen(f);
    assert_int_equal(list(f, &found), 1);
    assert_string_equal(found[0].id, "update-1");
    assert_int_equal(found[0].file.size_bytes, 10);
    assert_int_equal(found[0].file.crc, fed_crc32(0, "some bytes", 10));
    assert_true(found[0].file.serial == whole.file.serial);
    assert_true(spool_take_serial(f->spool) > whole.file.serial);
    free(found);
    /* What was under way cannot be published by the next process. */
    assert_true(spool_publish(f->spool, &half, &f->err) < 0);
}

static void test_a_damaged_upload_is_dropped(void **state)
{
    struct fixture *f = *state;
    const struct spool_upload torn = upload(f, "torn", "0123456789");
    const struct spool_upload bad = upload(f, "bad", "0123456789");
    struct spool_upload *found = NULL;
    char path[FED_PATH_SIZE];

    (void)upload(f, "good", "0123456789");
    assert_int_equal(spool_path_upload(f->spool, &torn, path, &f->err), 0);
    assert_int_equal(truncate(path, 9), 0);
    assert_int_equal(spool_path_upload(f->spool, &bad, path, &f->err), 0);
    test_file_write(path, "0123456780", 10);
    reopen(f);
    assert_int_equal(list(f, &found), 1);
    assert_string_equal(found[0].id, "good");
    free(found);
    assert_int_equal(access(path, F_OK), -1);
}

static struct fed_plan make_plan(const char *round_id, uint64_t plan_seq)
{
    static int32_t scales[] = {20, -3};
    static char clients[2][FED_ID_SIZE] = {"alice", "bob"};
    static char data[] = "{\"round_id\": \"7\"}";
    struct fed_plan plan = {
        .session_id = "session",
        .round_number = 2,
        .plan_seq = plan_seq,
        .base_model_id = "base",
        .base_sha256 = {1, 2, 3},
        .base_xxh128 = {4, 5, 6, [15] = 7},
        .base_size_bytes = 1234,
        .scale_bits = scales,
        .n_tensors = 2,
        .limit_bits = 51,
        .examples_max = 1000,
        .task_data = data,
        .client_ids = clients,
        .n_clients = 2,
        .time_left_ms = 5000,
    };

    (void)snprintf(plan.round_id, sizeof(plan.round_id), "%s", round_id);
    return plan;
}

/* -- spare files --------------------------------------------------------------------------------
 */

#define LARGE 400000U

/* A text of `size` times one letter, with another at its end, until the next. */
static const char *letters(char letter, size_t size)
{
    static char text[LARGE + 1];

    assert_true(size <= LARGE);
    memset(text, letter, size);
    text[size - 1] = '.';
    text[size] = '\0';
    return text;
}

static ino_t find_inode(struct fixture *f, const struct spool_upload *upload, off_t *ret_size)
{
    char path[FED_PATH_SIZE];
    struct stat st;

    assert_int_equal(spool_path_upload(f->spool, upload, path, &f->err), 0);
    assert_int_equal(stat(path, &st), 0);
    *ret_size = st.st_size;
    return st.st_ino;
}

static void need_spare(const struct fixture *f)
{
    if (!fed_spare_is_on(spool_get_spare(f->spool))) {
        skip();
    }
}

static void test_an_upload_is_written_over_a_spare_file(void **state)
{
    struct fixture *f = *state;
    struct spool_upload one = upload(f, "one", letters('a', LARGE));
    struct spool_upload *found = NULL;
    off_t size = 0;
    const ino_t inode = find_inode(f, &one, &size);

    need_spare(f);
    spool_drop_upload(f->spool, &one);
    one = upload(f, "two", letters('b', LARGE / 2));
    assert_int_equal(find_inode(f, &one, &size), inode);
    assert_int_equal(size, LARGE / 2);
    reopen(f);
    assert_int_equal(list(f, &found), 1); /* its name says what it is */
    assert_int_equal(found[0].file.size_bytes, LARGE / 2);
    free(found);
    spool_drop_incoming(f->spool, &one.file); /* none: nothing happens */
}

/* What is lent to an upload that never ends is in the bounds; given up, it is there again. */
static void test_an_upload_given_up_gives_its_room_back(void **state)
{
    struct fixture *f = *state;
    struct spool_upload one = upload(f, "one", letters('a', LARGE));
    struct spool_upload half = {.id = "half", .file.serial = spool_take_serial(f->spool)};
    const struct fed_view view = fed_view_of(letters('b', LARGE / 2), LARGE / 2);
    off_t size = 0;
    const ino_t inode = find_inode(f, &one, &size);

    need_spare(f);
    spool_drop_upload(f->spool, &one);
    assert_int_equal(
        spool_add(f->spool, &half.file, &(struct fed_pieces){&view, 1, view.size}, &f->err), 0);
    assert_int_equal(half.file.lent_bytes, LARGE);
    spool_drop_incoming(f->spool, &half.file);
    assert_int_equal(half.file.lent_bytes, 0);
    one = upload(f, "two", letters('c', LARGE));
    assert_int_equal(find_inode(f, &one, &size), inode);
}

/* Killed between the link and the log, or between the log and the unlink, an update has two names:
 * the upload goes, the update stays as it is. */
static void test_an_admitted_file_is_not_written_over(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_upload one;
    char from[FED_PATH_SIZE];
    char to[FED_PATH_SIZE];
    struct fed_buf buf;

    need_spare(f);
    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    one = upload(f, "one", letters('a', LARGE));
    assert_int_equal(spool_path_upload(f->spool, &one, from, &f->err), 0);
    assert_int_equal(spool_path_update(f->spool, "7", one.file.serial, to, &f->err), 0);
    assert_int_equal(link(from, to), 0);
    spool_drop_upload(f->spool, &one);
    one = upload(f, "two", letters('b', LARGE));
    buf = test_file_read(to);
    assert_int_equal(buf.size, LARGE);
    assert_int_equal(buf.data[0], 'a');
    fed_buf_deinit(&buf);
    /* The round over, its file is one to be written over. */
    spool_drop_round(f->spool, "7");
    assert_int_equal(access(to, F_OK), -1);
    assert_true(fed_spare_clear(spool_get_spare(f->spool)));
}

static void test_on_a_full_disk_spare_files_make_room(void **state)
{
    struct fixture *f = *state;
    struct spool_upload one = upload(f, "one", letters('a', LARGE));
    struct spool_upload two = upload(f, "two", letters('a', LARGE));
    struct spool_upload *found = NULL;

    need_spare(f);
    spool_drop_upload(f->spool, &one);
    spool_drop_upload(f->spool, &two);
    n_full = 1;
    one = upload(f, "one", letters('b', LARGE));
    assert_int_equal(n_full, 0);
    assert_false(fed_spare_clear(spool_get_spare(f->spool)));
    assert_int_equal(list(f, &found), 1);
    free(found);
    n_full = 1;
    two = (struct spool_upload){.id = "two", .file.serial = spool_take_serial(f->spool)};
    assert_int_equal(spool_add(f->spool, &two.file,
                               &(struct fed_pieces){&(struct fed_view){"abc", 3}, 1, 3}, &f->err),
                     -FED_E_IO);
    assert_non_null(strstr(f->err.msg, "No space left"));
    spool_drop_incoming(f->spool, &two.file);
}

static struct fed_entry entry(const char *client_id, const char *update_id, uint64_t examples)
{
    struct fed_entry entry = {.examples = examples};

    fed_id_copy(entry.client_id, client_id);
    fed_id_copy(entry.update_id, update_id);
    return entry;
}

static void admit(struct fixture *f, const char *round_id, struct fed_entry what)
{
    const struct spool_upload update = upload(f, what.update_id, "bytes of an update");

    assert_int_equal(spool_admit(f->spool, round_id, &update, &what, &f->err), 0);
}

static struct spool_round *only_round(struct fixture *f)
{
    struct spool_round *rounds = NULL;
    size_t n = 0;

    assert_int_equal(spool_list_rounds(f->spool, &rounds, &n, &f->err), 0);
    assert_int_equal(n, 1);
    return rounds;
}

static void free_rounds(struct spool_round *rounds)
{
    spool_round_deinit(rounds);
    free(rounds);
}

static void test_a_round_is_recovered(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 3);
    struct spool_upload *uploads = NULL;
    struct spool_round *round;

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    admit(f, "7", entry("alice", "update-a", 240));
    admit(f, "7", entry("bob", "update-b", 3));
    reopen(f);
    round = only_round(f);
    assert_string_equal(round->plan.session_id, "session");
    assert_int_equal(round->plan.plan_seq, 3);
    assert_int_equal(round->plan.scale_bits[1], -3);
    assert_string_equal(round->plan.client_ids[1], "bob");
    assert_string_equal(round->plan.task_data, "{\"round_id\": \"7\"}");
    assert_memory_equal(round->plan.base_sha256, plan.base_sha256, FED_SHA256_SIZE);
    assert_memory_equal(round->plan.base_xxh128, plan.base_xxh128, FED_XXH128_SIZE);
    assert_false(round->plan.lacks_xxh128);
    assert_int_equal(round->n_updates, 2);
    assert_string_equal(round->updates[0].entry.client_id, "alice");
    assert_int_equal(round->updates[0].entry.examples, 240);
    assert_false(round->is_sealed);
    free_rounds(round);
    assert_int_equal(list(f, &uploads), 0); /* they have moved */
    free(uploads);
    spool_drop_round(f->spool, "7");
    reopen(f);
    size_t n = 1;
    assert_int_equal(spool_list_rounds(f->spool, &round, &n, &f->err), 0);
    assert_int_equal(n, 0);
    free(round);
}

static void test_a_plan_of_protocol_1_is_read(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 3);
    struct spool_round *round;
    char path[FED_PATH_SIZE];

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    admit(f, "7", entry("alice", "update-a", 240));
    assert_int_equal(spool_path_round(f->spool, "7", "plan", path, &f->err), 0);
    old_plan_make(path, plan.base_xxh128);
    reopen(f);
    round = only_round(f);
    assert_true(round->plan.lacks_xxh128);
    assert_memory_equal(round->plan.base_sha256, plan.base_sha256, FED_SHA256_SIZE);
    assert_int_equal(round->plan.base_size_bytes, plan.base_size_bytes);
    assert_string_equal(round->plan.client_ids[1], "bob");
    assert_int_equal(round->n_updates, 1);
    free_rounds(round);
}

static void test_of_one_client_the_first_whole_update_counts(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_round *round;
    char path[FED_PATH_SIZE];

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    admit(f, "7", entry("alice", "first", 1));
    admit(f, "7", entry("alice", "second", 2));
    reopen(f);
    round = only_round(f);
    assert_int_equal(round->n_updates, 1);
    assert_string_equal(round->updates[0].entry.update_id, "first");
    assert_int_equal(spool_path_update(f->spool, "7", round->updates[0].file.serial, path, &f->err),
                     0);
    free_rounds(round);
    assert_int_equal(truncate(path, 3), 0); /* a power cut */
    reopen(f);
    round = only_round(f);
    assert_int_equal(round->n_updates, 1);
    assert_string_equal(round->updates[0].entry.update_id, "second");
    free_rounds(round);
}

static void test_seal_counts_for_its_plan_and_its_partial(void **state)
{
    struct fixture *f = *state;
    struct fed_plan plan = make_plan("7", 2);
    struct fed_partial partial = {.round_id = "7",
                                  .combiner_id = "me",
                                  .plan_seq = 2,
                                  .scale_bits = plan.scale_bits,
                                  .n_tensors = 2};
    struct spool_round *round;
    char path[FED_PATH_SIZE];

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    assert_int_equal(spool_path_round(f->spool, "7", "partial", path, &f->err), 0);
    assert_int_equal(fed_partial_write(path, &partial, NULL, &f->err), 0);
    assert_int_equal(spool_seal(f->spool, "7", 2, partial.digest, &f->err), 0);
    reopen(f);
    round = only_round(f);
    assert_true(round->is_sealed);
    free_rounds(round);
    /* Another plan: its sum is not sealed. */
    plan.plan_seq = 3;
    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    round = only_round(f);
    assert_false(round->is_sealed);
    free_rounds(round);
    plan.plan_seq = 2;
    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    test_file_write(path, "CONFEDP1", 8);
    round = only_round(f);
    assert_false(round->is_sealed);
    free_rounds(round);
}

/* Whatever a power cut leaves of the log, the whole records before it count and new ones follow. */
static void test_a_log_torn_at_every_byte(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_round *round;
    struct fed_buf whole;
    char path[FED_PATH_SIZE];
    size_t n_before = 0;
    size_t first_size;
    struct stat st;

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    assert_int_equal(spool_path_round(f->spool, "7", "log", path, &f->err), 0);
    admit(f, "7", entry("alice", "update-a", 1));
    assert_int_equal(stat(path, &st), 0);
    first_size = (size_t)st.st_size;
    admit(f, "7", entry("bob", "update-b", 2));
    whole = test_file_read(path);
    assert_true(whole.size == 2 * first_size - 2); /* "bob" is shorter than "alice" */
    for (size_t size = 0; size <= whole.size; size++) {
        test_file_write(path, whole.data, size);
        round = only_round(f);
        assert_int_equal(round->n_updates, size == whole.size ? 2 : size >= first_size ? 1 : 0);
        assert_true(round->n_updates >= n_before);
        n_before = round->n_updates;
        free_rounds(round);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, size == whole.size   ? whole.size
                                     : size >= first_size ? first_size
                                                          : 0);
    }
    /* A flipped bit anywhere in the second record: the first still counts. */
    for (size_t at = first_size; at < whole.size; at++) {
        whole.data[at] ^= 0x10;
        test_file_write(path, whole.data, whole.size);
        round = only_round(f);
        assert_int_equal(round->n_updates, 1);
        free_rounds(round);
        whole.data[at] ^= 0x10;
    }
    /* After a torn end a new record can be read. */
    test_file_write(path, whole.data, whole.size - 1);
    free_rounds(only_round(f));
    admit(f, "7", entry("bob", "update-c", 2));
    round = only_round(f);
    assert_int_equal(round->n_updates, 2);
    assert_string_equal(round->updates[1].entry.update_id, "update-c");
    free_rounds(round);
    /* Also if a full disk kept the torn end from being cut off before the next write worked. */
    for (size_t size = 0; size < first_size; size++) {
        test_file_write(path, whole.data, size);
        admit(f, "7", entry("bob", "update-d", 2));
        round = only_round(f);
        assert_int_equal(round->n_updates, 1);
        assert_string_equal(round->updates[0].entry.update_id, "update-d");
        free_rounds(round);
    }
    fed_buf_deinit(&whole);
}

static void test_a_plan_cut_anywhere_is_no_plan(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct fed_plan read = {0};
    struct fed_buf buf;

    fed_buf_init(&buf, 0);
    assert_int_equal(plan_file_encode(&buf, &plan, &f->err), 0);
    for (size_t size = 0; size < buf.size; size++) {
        assert_int_equal(plan_file_decode(fed_view_of(buf.data, size), &read, &f->err),
                         -FED_E_CORRUPT);
    }
    for (size_t at = 0; at < buf.size; at++) {
        buf.data[at] ^= 1;
        assert_int_equal(plan_file_decode(fed_buf_view(&buf), &read, &f->err), -FED_E_CORRUPT);
        buf.data[at] ^= 1;
    }
    assert_int_equal(plan_file_decode(fed_buf_view(&buf), &read, &f->err), 0);
    fed_plan_deinit(&read);
    fed_buf_deinit(&buf);
}

/* The first of the tests: a process reads the name of its fault point once. */
static void test_killed_before_its_log_an_upload_is_still_there(void **state)
{
    struct fixture *f = *state;
    const struct fed_entry what = entry("alice", "update-a", 1);
    const struct spool_upload update = upload(f, "update-a", "bytes");
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_upload *found = NULL;
    int status = 0;
    pid_t child;

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    child = fork();
    if (child == 0) {
        (void)setenv("CONFED_FAULT", "combiner.linked", 1);
        (void)!spool_admit(f->spool, "7", &update, &what, &f->err);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(list(f, &found), 1);
    free(found);
    assert_int_equal(spool_admit(f->spool, "7", &update, &what, &f->err), 0);
    assert_int_equal(list(f, &found), 0);
    free(found);
}

static void test_admission_fails_as_a_whole(void **state)
{
    struct fixture *f = *state;
    const struct fed_entry what = entry("alice", "update-a", 1);
    const struct spool_upload update = upload(f, "update-a", "bytes");
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_upload *found = NULL;
    char path[FED_PATH_SIZE];

    /* No such round. */
    assert_true(spool_admit(f->spool, "9", &update, &what, &f->err) < 0);
    assert_int_equal(list(f, &found), 1);
    free(found);
    /* A log that cannot be written: the file is back where it was. */
    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    assert_int_equal(spool_path_round(f->spool, "7", "log", path, &f->err), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_true(spool_admit(f->spool, "7", &update, &what, &f->err) < 0);
    assert_int_equal(list(f, &found), 1);
    free(found);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(spool_admit(f->spool, "7", &update, &what, &f->err), 0);
}

static void test_rounds_come_in_their_order_and_models_without_one_go(void **state)
{
    struct fixture *f = *state;
    const char *const ids[] = {"10", "9", "2"};
    struct spool_round *rounds = NULL;
    char path[FED_PATH_SIZE];
    char base[FED_PATH_SIZE];
    size_t n = 0;

    for (size_t i = 0; i < 3; i++) {
        const struct fed_plan plan = make_plan(ids[i], 1);
        assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    }
    assert_int_equal(spool_path_round(f->spool, "11", NULL, path, &f->err), 0);
    assert_int_equal(mkdir(path, 0700), 0); /* no plan in it */
    assert_int_equal(spool_list_rounds(f->spool, &rounds, &n, &f->err), 0);
    assert_int_equal(n, 3);
    assert_string_equal(rounds[0].plan.round_id, "2");
    assert_string_equal(rounds[2].plan.round_id, "10");
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(spool_path(f->spool, "models", "base", base, &f->err), 0);
    assert_int_equal(spool_path(f->spool, "models", "former", path, &f->err), 0);
    test_file_write(base, "x", 1);
    test_file_write(path, "x", 1);
    spool_sweep_models(f->spool, rounds, n);
    assert_int_equal(access(base, F_OK), 0);
    assert_int_equal(access(path, F_OK), -1);
    for (size_t i = 0; i < n; i++) {
        spool_round_deinit(&rounds[i]);
    }
    free(rounds);
}

static void test_a_synced_spool_flushes_an_admission_before_it_is_one(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct spool_round *round;
    char want[64];

    f->is_synced = true;
    reopen(f);
    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    flushed[0] = '\0';
    admit(f, "7", entry("alice", "update-a", 1));
    round = only_round(f);
    assert_int_equal(round->n_updates, 1);
    (void)snprintf(want, sizeof(want), "update-%llu log ",
                   (unsigned long long)round->updates[0].file.serial);
    assert_string_equal(flushed, want);
    free_rounds(round);
    f->is_synced = false;
    reopen(f);
    flushed[0] = '\0';
    admit(f, "7", entry("bob", "update-b", 1));
    assert_string_equal(flushed, "");
}

static void test_a_synced_spool_flushes_a_checkpoint_before_it_is_one(void **state)
{
    struct fixture *f = *state;
    const struct fed_plan plan = make_plan("7", 1);
    struct fed_partial partial = {.round_id = "7", .combiner_id = "me", .plan_seq = 1};
    char path[FED_PATH_SIZE];

    assert_int_equal(spool_store_plan(f->spool, &plan, &f->err), 0);
    assert_int_equal(spool_path_round(f->spool, "7", CHECKPOINT_NEW, path, &f->err), 0);
    for (int is_synced = 0; is_synced < 2; is_synced++) {
        f->is_synced = is_synced == 1;
        reopen(f);
        assert_int_equal(fed_partial_write(path, &partial, NULL, &f->err), 0);
        flushed[0] = '\0';
        assert_int_equal(checkpoint_publish(f->spool, "7", &f->err), 0);
        assert_string_equal(flushed, f->is_synced ? CHECKPOINT_NEW " " : "");
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_killed_before_its_log_an_upload_is_still_there),
        TEST(test_second_process_is_told_who_holds_it),
        TEST(test_identity_is_kept),
        TEST(test_uploads_survive_and_half_ones_do_not),
        TEST(test_a_damaged_upload_is_dropped),
        TEST(test_an_upload_is_written_over_a_spare_file),
        TEST(test_an_upload_given_up_gives_its_room_back),
        TEST(test_an_admitted_file_is_not_written_over),
        TEST(test_on_a_full_disk_spare_files_make_room),
        TEST(test_a_round_is_recovered),
        TEST(test_a_plan_of_protocol_1_is_read),
        TEST(test_of_one_client_the_first_whole_update_counts),
        TEST(test_seal_counts_for_its_plan_and_its_partial),
        TEST(test_a_log_torn_at_every_byte),
        TEST(test_a_synced_spool_flushes_an_admission_before_it_is_one),
        TEST(test_a_synced_spool_flushes_a_checkpoint_before_it_is_one),
        TEST(test_a_plan_cut_anywhere_is_no_plan),
        TEST(test_admission_fails_as_a_whole),
        TEST(test_rounds_come_in_their_order_and_models_without_one_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
