/* Seed models: made here or read from a file, and given to the reducer. */
#ifndef REDUCER_CLI_SEED_MODEL_H
#define REDUCER_CLI_SEED_MODEL_H

#include <stdint.h>

#include "common/base/err.h"
#include "common/base/id.h"
#include "reducer/cli/api.h"

#define SEED_MODEL_SHA256_SIZE 65 /* hexadecimal, with the NUL */

/* Write the built-in CNN's initial values. Fails as fed_cnn_write(). */
FED_NODISCARD int seed_model_write(const char *path, uint64_t seed, struct fed_err *err);

/* Give a model file to the reducer; name "" is the file's. */
FED_NODISCARD int seed_model_upload(const struct api *api,
                                    const char *path,
                                    const char *name,
                                    json_t **ret_answer,
                                    struct fed_err *err);

/* The id of the model that `word` means: "cnn" (made from the seed and uploaded), the path of a
 * file (uploaded), "latest", an id or its beginning. */
FED_NODISCARD int seed_model_resolve(const struct api *api,
                                     const char *word,
                                     uint64_t seed,
                                     char ret_model_id[FED_ID_SIZE],
                                     struct fed_err *err);

/* Make the CNN's values and upload them. */
FED_NODISCARD int seed_model_make(const struct api *api,
                                  uint64_t seed,
                                  const char *name,
                                  json_t **ret_answer,
                                  struct fed_err *err);

#endif /* REDUCER_CLI_SEED_MODEL_H */
