/* The CNN's training kernels: forward, backward and SGD in one step, for one thread.
 *
 * The network is that of common/model/cnn_model.h. Several implementations stand behind one table:
 * `plain` is the reference in C that the others are tested against (relative L2 of each gradient
 * ≤ 1e-5 of a double-precision one); `avx2` and `avx512` are chosen by what the processor can do.
 * On one kernel the results are the same bits for the same input, on any machine that has it.
 *
 * Images are float32 in [0, 1], (n, 784) row by row; labels uint8 in 0..9.
 *
 * Thread safety: one thread at a time for each struct cnn.
 */
#ifndef CLIENT_TRAIN_CNN_CNN_H
#define CLIENT_TRAIN_CNN_CNN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/base/err.h"

#define CNN_BATCH_MAX 1024U /* images of one step */

enum cnn_kernel {
    CNN_KERNEL_PLAIN,
    CNN_KERNEL_AVX2,
    CNN_KERNEL_AVX512,
    CNN_KERNEL_MAX,
};

const char *cnn_kernel_name(enum cnn_kernel kernel);  /* "plain", "avx2", "avx512" */
bool cnn_kernel_is_available(enum cnn_kernel kernel); /* this processor has what it needs */

/* "auto" (the fastest available), or a name. Fails with FED_E_INVALID (unknown: names those there
 * are), FED_E_UNSUPPORTED (this processor lacks it). */
FED_NODISCARD int
cnn_kernel_choose(const char *name, enum cnn_kernel *ret_kernel, struct fed_err *err);

struct cnn;

/* A network for batches of at most batch_max images (1..CNN_BATCH_MAX). `is_training` false takes
 * less memory, and cnn_step() must not be called. Parameters are zero. Fails with FED_E_NOMEM. */
FED_NODISCARD int cnn_new(enum cnn_kernel kernel,
                          size_t batch_max,
                          bool is_training,
                          struct cnn **ret_cnn,
                          struct fed_err *err);
struct cnn *cnn_free(struct cnn *cnn); /* accepts NULL */
FED_DEFINE_CLEANUP(struct cnn, cnn_free);

/* (FED_CNN_PARAMS,) in the order of common/model/cnn_model.h. */
void cnn_set_params(struct cnn *cnn, const float *params);
void cnn_get_params(const struct cnn *cnn, float *ret_params);

/* One step of plain SGD on the mean cross-entropy of n images, 1 <= n <= batch_max; any n gives the
 * exact step of that batch. Returns the mean loss before the step. */
float cnn_step(struct cnn *cnn, const float *images, const uint8_t *labels, size_t n, float lr);

/* Forward only: (n, 10) logits, n <= batch_max. */
void cnn_infer(struct cnn *cnn, const float *images, size_t n, float *ret_logits);

#endif /* CLIENT_TRAIN_CNN_CNN_H */
