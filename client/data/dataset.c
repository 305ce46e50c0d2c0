#include "client/data/dataset.h"

#include <stdlib.h>
#include <unistd.h>

#include "client/data/idx.h"
#include "client/data/partition.h"
#include "common/base/cleanup.h"
#include "common/base/file.h"

static inline void free_u32_p(uint32_t **p)
{
    free(*p);
}

static inline void free_u8_p(uint8_t **p)
{
    free(*p);
}

/* FOLDER/NAME, or FOLDER/NAME.gz. */
static int
find_file(const char *folder, const char *name, char ret_path[FED_PATH_SIZE], struct fed_err *err)
{
    static const char *const ends[] = {"", ".gz"};

    for (size_t i = 0; i < 2; i++) {
        const int rc = fed_path_format(ret_path, err, "%s/%s%s", folder, name, ends[i]);
        if (rc < 0) {
            return rc;
        }
        if (access(ret_path, R_OK) == 0) {
            return 0;
        }
    }
    return fed_err_set(err, FED_E_NOT_FOUND, "%s holds neither %s nor %s.gz that could be read",
                       folder, name, name);
}

int dataset_check(const char *folder, struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    const int rc = find_file(folder, "train-images-idx3-ubyte", path, err);

    return rc < 0 ? rc : find_file(folder, "train-labels-idx1-ubyte", path, err);
}

void dataset_deinit(struct dataset *dataset)
{
    free(dataset->images);
    free(dataset->labels);
    *dataset = (struct dataset){0};
}

static int load_labels(const char *folder,
                       const char *name,
                       uint8_t **ret_labels,
                       size_t *ret_n_labels,
                       struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    FED_CLEANUP(free_u8_p) uint8_t *labels = NULL;
    int rc = find_file(folder, name, path, err);

    if (rc == 0) {
        rc = idx_open(path, &idx, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (idx_get_item_size(idx) != 1) {
        return fed_err_set(err, FED_E_INVALID, "%s: offset 0: images, want labels", path);
    }
    labels = malloc(idx_get_count(idx));
    if (labels == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu labels", idx_get_count(idx));
    }
    rc = idx_read(idx, NULL, idx_get_count(idx), labels, err);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < idx_get_count(idx); i++) {
        if (labels[i] >= DATASET_CLASSES) {
            return fed_err_set(err, FED_E_INVALID, "%s: offset %zu: label %u, want 0 to %u", path,
                               8 + i, labels[i], DATASET_CLASSES - 1);
        }
    }
    *ret_labels = FED_TAKE(labels);
    *ret_n_labels = idx_get_count(idx);
    return 0;
}

/* The images of `rows` (NULL: all of n_labels); as many as there are labels must be in the file. */
static int load_images(const char *folder,
                       const char *name,
                       size_t n_labels,
                       const uint32_t *rows,
                       struct dataset *dataset,
                       struct fed_err *err)
{
    char path[FED_PATH_SIZE];
    FED_CLEANUP(idx_close_p) struct idx *idx = NULL;
    int rc = find_file(folder, name, path, err);

    if (rc == 0) {
        rc = idx_open(path, &idx, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (idx_get_item_size(idx) != DATASET_PIXELS) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: offset 8: items of %zu bytes, want images of "
                           "28 x 28",
                           path, idx_get_item_size(idx));
    }
    if (idx_get_count(idx) != n_labels) {
        return fed_err_set(err, FED_E_INVALID,
                           "%s: offset 4: %zu images, want %zu: as many as "
                           "there are labels",
                           path, idx_get_count(idx), n_labels);
    }
    dataset->images = malloc(dataset->n_items * DATASET_PIXELS);
    if (dataset->images == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu images", dataset->n_items);
    }
    return idx_read(idx, rows, dataset->n_items, dataset->images, err);
}

static int divide(const struct dataset_share *share,
                  const char *spec,
                  const uint8_t *labels,
                  size_t n_labels,
                  struct partition *partition,
                  struct fed_err *err)
{
    *partition = (struct partition){
        .seed = share->seed, .n_parts = share->n_shards, .labels = labels, .n_labels = n_labels};
    return partition_parse(spec, &partition->spec, err);
}

int dataset_load_rows(const struct dataset_share *share,
                      uint32_t **ret_rows,
                      size_t *ret_n_rows,
                      struct fed_err *err)
{
    FED_CLEANUP(free_u8_p) uint8_t *labels = NULL;
    struct partition partition;
    size_t n_labels = 0;
    int rc = load_labels(share->folder, "train-labels-idx1-ubyte", &labels, &n_labels, err);

    if (rc == 0) {
        rc = divide(share, share->partition, labels, n_labels, &partition, err);
    }
    return rc < 0 ? rc : partition_rows(&partition, share->shard, ret_rows, ret_n_rows, err);
}

/* One part of one of the two sets. */
static int load_part(const struct dataset_share *share,
                     const char *spec,
                     const char *const names[2],
                     struct dataset *ret_dataset,
                     struct fed_err *err)
{
    FED_CLEANUP(free_u8_p) uint8_t *labels = NULL;
    FED_CLEANUP(free_u32_p) uint32_t *rows = NULL;
    FED_CLEANUP(dataset_deinit) struct dataset dataset = {0};
    struct partition partition;
    size_t n_labels = 0;
    int rc = load_labels(share->folder, names[1], &labels, &n_labels, err);

    if (rc == 0) {
        rc = divide(share, spec, labels, n_labels, &partition, err);
    }
    if (rc == 0) {
        rc = partition_rows(&partition, share->shard, &rows, &dataset.n_items, err);
    }
    if (rc == 0) {
        rc = load_images(share->folder, names[0], n_labels, rows, &dataset, err);
    }
    if (rc < 0) {
        return rc;
    }
    dataset.labels = malloc(dataset.n_items);
    if (dataset.labels == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu labels", dataset.n_items);
    }
    for (size_t i = 0; i < dataset.n_items; i++) {
        dataset.labels[i] = labels[rows[i]];
    }
    *ret_dataset = dataset;
    dataset = (struct dataset){0};
    return 0;
}

int dataset_load_share(const struct dataset_share *share,
                       struct dataset *ret_dataset,
                       struct fed_err *err)
{
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"};

    return load_part(share, share->partition, names, ret_dataset, err);
}

int dataset_load_test(const struct dataset_share *share,
                      struct dataset *ret_dataset,
                      struct fed_err *err)
{
    static const char *const names[] = {"t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    char path[FED_PATH_SIZE];

    if (find_file(share->folder, names[0], path, NULL) < 0 ||
        find_file(share->folder, names[1], path, NULL) < 0) {
        *ret_dataset = (struct dataset){0};
        return 0;
    }
    return load_part(share, "iid", names, ret_dataset, err);
}
