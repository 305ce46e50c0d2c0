/* The built-in model: the MNIST CNN of McMahan et al., "Communication-Efficient Learning of Deep
 * Networks from Decentralized Data", AISTATS 2017, section 3.
 *
 *   28x28x1 → conv 5x5x32 same → ReLU → max-pool 2 → conv 5x5x64 same → ReLU → max-pool 2
 *           → fully connected 512 → ReLU → 10 logits                        1,663,370 parameters
 *
 * Tensors, in order, all float32 in C order. It is what a PyTorch module's state_dict().values()
 * gives, and what every kernel takes and returns:
 *
 *   0 conv1.weight (32,1,5,5)   1 conv1.bias (32,)     2 conv2.weight (64,32,5,5)  3 conv2.bias
 * (64,) 4 fc1.weight (512,3136)     5 fc1.bias (512,)      6 fc2.weight (10,512)       7 fc2.bias
 * (10,)
 *
 * fc1's 3136 inputs are pooled2 flattened as (64,7,7): channel, row, column.
 *
 * Pure but for the file functions, which block: worker only. Any thread.
 */
#ifndef FED_COMMON_MODEL_CNN_MODEL_H
#define FED_COMMON_MODEL_CNN_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "common/model/layout.h"

#define FED_CNN_TENSORS  8U
#define FED_CNN_PARAMS   1663370U /* scalars of all tensors */
#define FED_CNN_PIXELS   784U     /* of one image, 28 rows of 28 */
#define FED_CNN_CLASSES  10U
#define FED_CNN_FILE_MAX (16ULL << 20) /* bytes of its NPZ file, generously */

/* The layout; the caller deinits. Fails with FED_E_NOMEM. */
FED_NODISCARD int fed_cnn_layout(struct fed_layout *ret_layout, struct fed_err *err);

/* Initial parameters (FED_CNN_PARAMS,) float32, a function of the seed alone: each weight and bias
 * uniform in ±1/sqrt(fan_in), PyTorch's default for these layers (He et al., ICCV 2015, with
 * a = sqrt(5)). */
void fed_cnn_init(uint64_t seed, float *ret_params);

/* Write parameters as a model file (replaced as a whole: temporary file, rename).
 * Fails with FED_E_IO, FED_E_NOMEM. */
FED_NODISCARD int fed_cnn_write(const char *path, const float *params, struct fed_err *err);

/* Read a model file into parameters (FED_CNN_PARAMS,); every dtype that fed_npz_read() knows is
 * converted. Fails with FED_E_INVALID where it is no such model (says which tensor and what was
 * expected), FED_E_CORRUPT (checksum), FED_E_IO, FED_E_NOT_FOUND, FED_E_NOMEM. */
FED_NODISCARD int fed_cnn_read(const char *path, float *ret_params, struct fed_err *err);

#endif /* FED_COMMON_MODEL_CNN_MODEL_H */
