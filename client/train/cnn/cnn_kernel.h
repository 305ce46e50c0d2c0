/* What a kernel implements behind cnn.h, and the network's measures. Inside client/train/cnn only.
 *
 * cnn.c checks every argument once; a kernel may rely on them.
 */
#ifndef CLIENT_TRAIN_CNN_CNN_KERNEL_H
#define CLIENT_TRAIN_CNN_CNN_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

enum {
    CNN_PIXELS = 784, /* 28 x 28 */
    CNN_CH1 = 32,     /* channels of conv1 */
    CNN_CH2 = 64,     /* channels of conv2 */
    CNN_TAPS = 25,    /* 5 x 5 */
    CNN_POOL1 = 196,  /* places of pooled1: 14 x 14 */
    CNN_POOL2 = 49,   /* places of pooled2: 7 x 7 */
    CNN_FLAT = 3136,  /* inputs of fc1: 64 x 7 x 7 */
    CNN_HIDDEN = 512, /* outputs of fc1 */
    CNN_CLASSES = 10, /* outputs of fc2 */
    CNN_PARAMS = 1663370,
};

/* Where each tensor begins in the parameters (common/model/cnn_model.h). */
enum {
    CNN_AT_W1 = 0,
    CNN_AT_B1 = 800,
    CNN_AT_W2 = 832,
    CNN_AT_B2 = 52032,
    CNN_AT_W3 = 52096,
    CNN_AT_B3 = 1657728,
    CNN_AT_W4 = 1658240,
    CNN_AT_B4 = 1663360,
};

/* `net` is what make() gave. Each as its namesake in cnn.h. */
struct cnn_kernel_ops {
    int (*make)(size_t batch_max, bool is_training, void **ret_net, struct fed_err *err);
    void (*destroy)(void *net);
    void (*set_params)(void *net, const float *params);
    void (*get_params)(const void *net, float *ret_params);
    float (*step)(void *net, const float *images, const uint8_t *labels, size_t n, float lr);
    void (*infer)(void *net, const float *images, size_t n, float *ret_logits);
};

extern const struct cnn_kernel_ops cnn_plain_ops;
#ifdef CONFED_CNN_X86
extern const struct cnn_kernel_ops cnn_avx2_ops;
extern const struct cnn_kernel_ops cnn_avx512_ops;
#endif

#endif /* CLIENT_TRAIN_CNN_CNN_KERNEL_H */
