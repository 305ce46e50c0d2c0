/* A fuzz target as a plain test: each file named, and each file cut and changed a little, must be
 * answered without a fault. Where libFuzzer is linked it brings its own main(). */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/rand.h"
#include "tests/fuzz/input.h"

#define INPUT_MAX (1U << 20)
#define N_CHANGES 200

static void run_changed(const struct fed_buf *file, uint64_t seed)
{
    uint8_t *copy = malloc(file->size + 1);
    struct fed_rand rand;

    if (copy == NULL) {
        abort();
    }
    fed_rand_init(&rand, &seed, 1);
    for (unsigned i = 0; i < N_CHANGES; i++) {
        const size_t size = i % 4 == 0 ? (size_t)fed_rand_below(&rand, file->size + 1) : file->size;
        memcpy(copy, file->data, file->size);
        for (unsigned k = 0; k < i % 4 && file->size > 0; k++) {
            copy[fed_rand_below(&rand, file->size)] = (uint8_t)fed_rand_next(&rand);
        }
        (void)LLVMFuzzerTestOneInput(copy, size);
    }
    free(copy);
}

static int run_file(const char *folder, const char *name, unsigned n)
{
    char path[FED_PATH_SIZE];
    struct fed_buf file;
    struct fed_err err = {0};
    int rc = fed_path_format(path, &err, "%s/%s", folder, name);

    rc = rc < 0 ? rc : fed_file_load(path, INPUT_MAX, &file, &err);
    if (rc < 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        return rc;
    }
    if (file.size > 0) {
        (void)LLVMFuzzerTestOneInput(file.data, file.size);
        run_changed(&file, n);
    }
    fed_buf_deinit(&file);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned n = 0;
    int rc = 0;
    DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

    if (dir == NULL) {
        (void)fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    (void)LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
    for (const struct dirent *entry = readdir(dir); entry != NULL && rc == 0;
         entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            rc = run_file(argv[1], entry->d_name, n++);
        }
    }
    (void)closedir(dir);
    (void)printf("%u files\n", n);
    return rc < 0 || n == 0 ? 1 : 0;
}
