/* The AVX2 kernel: layouts, memory, and the order of the stages.
 *
 * Happy path of a step:
 *   1. forward, image by image: conv1 and pool (cnn_avx2_conv1.c), conv2 and pool by Winograd's
 *      method (cnn_avx2_winograd.c);
 *   2. fc1 and fc2 for the batch, softmax (softmax.c);
 *   3. backward through fc2 and fc1, weights updated on the way (cnn_avx2_fc.c);
 *   4. backward through conv2 (cnn_avx2_conv2.c) and conv1, image by image;
 *   5. the convolutions' update, and conv2's weights transformed anew.
 * Nothing can fail: all memory is taken in avx2_make().
 */
#include <stdlib.h>
#include <string.h>

#include "client/train/cnn/cnn_avx2_inside.h"
#include "client/train/cnn/cnn_memory.h"
#include "client/train/cnn/softmax.h"

static void avx2_destroy(void *arg)
{
    struct avx2 *net = arg;

    free(net->w3);
    free(net->images);
    free(net->maps);
    free(net->won1);
    free(net->won2);
    free(net->flat);
    free(net->flat_grad);
    free(net->hidden);
    free(net->hidden_grad);
    free(net->logits);
    free(net->logits_grad);
    free(net);
}

/* One piece of memory; false when there is none left. */
static bool take_floats(float **ret, size_t n)
{
    *ret = cnn_memory_new(n * sizeof(float));
    return *ret != NULL;
}

static bool take_bytes(uint8_t **ret, size_t n)
{
    *ret = cnn_memory_new(n);
    return *ret != NULL;
}

static bool take_training_memory(struct avx2 *net, size_t n)
{
    return take_bytes(&net->won1, n * WON1) && take_bytes(&net->won2, n * CNN_FLAT) &&
           take_floats(&net->flat_grad, n * CNN_FLAT) &&
           take_floats(&net->hidden_grad, n * CNN_HIDDEN) &&
           take_floats(&net->logits_grad, n * CNN_CLASSES);
}

static int avx2_make(size_t batch_max, bool is_training, void **ret_net, struct fed_err *err)
{
    struct avx2 *net = cnn_memory_new(sizeof(*net));
    const size_t kept = is_training ? batch_max : 1;

    if (net == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "parameters");
    }
    if (!take_floats(&net->w3, (size_t)CNN_FLAT * CNN_HIDDEN) ||
        !take_floats(&net->images, kept * IMAGE_SIZE) ||
        !take_floats(&net->maps, kept * MAP_SIZE) ||
        !take_floats(&net->flat, batch_max * CNN_FLAT) ||
        !take_floats(&net->hidden, batch_max * CNN_HIDDEN) ||
        !take_floats(&net->logits, batch_max * CNN_CLASSES) ||
        (is_training && !take_training_memory(net, batch_max))) {
        avx2_destroy(net);
        return fed_err_set(err, FED_E_NOMEM, "activations");
    }
    *ret_net = net;
    return 0;
}

/* -- parameters ------------------------------------------------------------------------------- */

/* Where in w2 stands what is (out, in, tap) outside. */
static size_t w2_at(size_t out, size_t in, size_t tap)
{
    return in / BLOCK * W2_HALF + tap / 5 * W2_ROW + out * W2_OUT + tap % 5 * BLOCK + in % BLOCK;
}

/* Where in w3 stands what is (out, channel, place) outside. */
static size_t w3_at(size_t out, size_t channel, size_t place)
{
    return place * PLACE_BLOCK + out / CHUNK * CHUNK_BLOCK + channel * CHUNK + out % CHUNK;
}

static void avx2_set_params(void *arg, const float *params)
{
    struct avx2 *net = arg;

    for (size_t i = 0; i < CNN_TAPS * (size_t)CNN_CH1; i++) {
        net->w1[i % CNN_TAPS * CNN_CH1 + i / CNN_TAPS] = params[CNN_AT_W1 + i];
    }
    for (size_t i = 0; i < W2_SIZE; i++) {
        net->w2[w2_at(i / CNN_TAPS / CNN_CH1, i / CNN_TAPS % CNN_CH1, i % CNN_TAPS)] =
            params[CNN_AT_W2 + i];
    }
    for (size_t i = 0; i < (size_t)CNN_HIDDEN * CNN_FLAT; i++) {
        net->w3[w3_at(i / CNN_FLAT, i / CNN_POOL2 % CNN_CH2, i % CNN_POOL2)] =
            params[CNN_AT_W3 + i];
    }
    memcpy(net->b1, params + CNN_AT_B1, sizeof(net->b1));
    memcpy(net->b2, params + CNN_AT_B2, sizeof(net->b2));
    memcpy(net->b3, params + CNN_AT_B3, sizeof(net->b3));
    memcpy(net->w4, params + CNN_AT_W4, sizeof(net->w4));
    memcpy(net->b4, params + CNN_AT_B4, CNN_CLASSES * sizeof(float));
    avx2_conv2_transform_weights(net);
}

static void avx2_get_params(const void *arg, float *ret_params)
{
    const struct avx2 *net = arg;

    for (size_t i = 0; i < CNN_TAPS * (size_t)CNN_CH1; i++) {
        ret_params[CNN_AT_W1 + i] = net->w1[i % CNN_TAPS * CNN_CH1 + i / CNN_TAPS];
    }
    for (size_t i = 0; i < W2_SIZE; i++) {
        ret_params[CNN_AT_W2 + i] =
            net->w2[w2_at(i / CNN_TAPS / CNN_CH1, i / CNN_TAPS % CNN_CH1, i % CNN_TAPS)];
    }
    for (size_t i = 0; i < (size_t)CNN_HIDDEN * CNN_FLAT; i++) {
        ret_params[CNN_AT_W3 + i] =
            net->w3[w3_at(i / CNN_FLAT, i / CNN_POOL2 % CNN_CH2, i % CNN_POOL2)];
    }
    memcpy(ret_params + CNN_AT_B1, net->b1, sizeof(net->b1));
    memcpy(ret_params + CNN_AT_B2, net->b2, sizeof(net->b2));
    memcpy(ret_params + CNN_AT_B3, net->b3, sizeof(net->b3));
    memcpy(ret_params + CNN_AT_W4, net->w4, sizeof(net->w4));
    memcpy(ret_params + CNN_AT_B4, net->b4, CNN_CLASSES * sizeof(float));
}

/* -- forward and backward --------------------------------------------------------------------- */

static void pad_image(const float *image, float *ret_padded)
{
    for (size_t row = 0; row < 28; row++) {
        memcpy(ret_padded + (row + 2) * IMAGE_ROW + 2, image + row * 28, 28 * sizeof(float));
    }
}

/* What the backward pass needs of each image is kept where `is_kept`. */
static void forward(struct avx2 *net, const float *images, size_t n, bool is_kept)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = is_kept ? i : 0;
        float *image = net->images + at * IMAGE_SIZE;
        float *map = net->maps + at * MAP_SIZE;

        pad_image(images + i * CNN_PIXELS, image);
        avx2_conv1_forward(net, image, map, is_kept ? net->won1 + i * WON1 : NULL);
        avx2_conv2_forward(net, map, net->flat + i * CNN_FLAT,
                           is_kept ? net->won2 + i * CNN_FLAT : NULL);
    }
    avx2_fc1_forward(net, n);
    avx2_fc2_forward(net, n);
}

static void avx2_infer(void *arg, const float *images, size_t n, float *ret_logits)
{
    struct avx2 *net = arg;

    forward(net, images, n, false);
    memcpy(ret_logits, net->logits, n * CNN_CLASSES * sizeof(float));
}

static void backward_convolutions(struct avx2 *net, size_t n)
{
    memset(net->w1_grad, 0, sizeof(net->w1_grad));
    memset(net->b1_grad, 0, sizeof(net->b1_grad));
    memset(net->w2_grad, 0, sizeof(net->w2_grad));
    memset(net->b2_grad, 0, sizeof(net->b2_grad));
    for (size_t i = 0; i < n; i++) {
        const float *flat_grad = net->flat_grad + i * CNN_FLAT;

        avx2_conv2_list(net, flat_grad, net->won2 + i * CNN_FLAT);
        avx2_conv2_inputs(net, flat_grad);
        avx2_conv1_backward(net, net->images + i * IMAGE_SIZE, net->won1 + i * WON1);
        avx2_conv2_weights(net, net->maps + i * MAP_SIZE);
    }
}

static void descend(float *params, const float *grads, size_t n, __m256 rate)
{
    for (size_t i = 0; i < n; i += LANES) {
        store8(params + i, fnma8(rate, load8(grads + i), load8(params + i)));
    }
}

static void update_convolutions(struct avx2 *net, float lr)
{
    const __m256 rate = set8(lr);

    for (size_t at = 0; at < CNN_TAPS * (size_t)CNN_CH1; at++) {
        const size_t tap = at / CNN_CH1;
        const size_t channel = at % CNN_CH1;

        net->w1[at] -= lr * net->w1_grad[channel * W1_GRAD + tap / 5 * LANES + tap % 5];
    }
    descend(net->b1, net->b1_grad, CNN_CH1, rate);
    descend(net->w2, net->w2_grad, W2_SIZE, rate);
    descend(net->b2, net->b2_grad, CNN_CH2, rate);
    avx2_conv2_transform_weights(net);
}

static float avx2_step(void *arg, const float *images, const uint8_t *labels, size_t n, float lr)
{
    struct avx2 *net = arg;
    float loss;

    forward(net, images, n, true);
    loss = softmax_cross_entropy(net->logits, labels, n, net->logits_grad);
    avx2_fc2_backward(net, n, lr);
    avx2_fc1_backward(net, n, lr);
    backward_convolutions(net, n);
    update_convolutions(net, lr);
    return loss;
}

const struct cnn_kernel_ops cnn_avx2_ops = {
    .make = avx2_make,
    .destroy = avx2_destroy,
    .set_params = avx2_set_params,
    .get_params = avx2_get_params,
    .step = avx2_step,
    .infer = avx2_infer,
};
