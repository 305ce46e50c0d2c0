/* A folder with MNIST's four files, each gzipped or not:
 *
 *   train-images-idx3-ubyte[.gz]  train-labels-idx1-ubyte[.gz]
 *   t10k-images-idx3-ubyte[.gz]   t10k-labels-idx1-ubyte[.gz]     (optional: the test set)
 *
 * Images are 28 x 28 bytes; labels 0 to 9. A client keeps its shard as bytes: 784 an image.
 *
 * Failures are those of idx.h. Thread safety: any thread. Blocks: worker only.
 */
#ifndef CLIENT_DATA_DATASET_H
#define CLIENT_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

#define DATASET_PIXELS  784U
#define DATASET_CLASSES 10U

/* What of the training set is a client's. Texts are borrowed for the call. */
struct dataset_share {
    const char *folder;
    const char *partition; /* partition.h */
    uint32_t shard;
    uint32_t n_shards;
    uint64_t seed;
};

struct dataset {
    uint8_t *images; /* (n_items, DATASET_PIXELS) owned */
    uint8_t *labels; /* (n_items,) owned */
    size_t n_items;
};

/* Both files of the training set are there, and can be opened. May run before the loop does. */
FED_NODISCARD int dataset_check(const char *folder, struct fed_err *err);

/* The client's rows alone: *ret_rows (*ret_n_rows,) ascending, malloc()ed. */
FED_NODISCARD int dataset_load_rows(const struct dataset_share *share,
                                    uint32_t **ret_rows,
                                    size_t *ret_n_rows,
                                    struct fed_err *err);

/* The client's shard; the caller deinits. */
FED_NODISCARD int dataset_load_share(const struct dataset_share *share,
                                     struct dataset *ret_dataset,
                                     struct fed_err *err);

/* The test set: n_items 0 where there is none. With n_shards > 1 the given part of it (iid). */
FED_NODISCARD int dataset_load_test(const struct dataset_share *share,
                                    struct dataset *ret_dataset,
                                    struct fed_err *err);

void dataset_deinit(struct dataset *dataset);

#endif /* CLIENT_DATA_DATASET_H */
