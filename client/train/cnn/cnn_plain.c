/* The network in plain C: the reference for the others, and the kernel of processors without AVX2.
 *
 * Happy path of a step:
 *   1. forward, image by image: conv1, ReLU and pool in one, then conv2 likewise; of each pooling
 *      window only the greatest value and its place are kept;
 *   2. fc1 and fc2, softmax (softmax.c);
 *   3. backward through fc2 and fc1, each row of weights updated when nobody needs it any more;
 *   4. backward through conv2 and conv1, image by image. Gradients there come only to the places
 *      that won their window and were positive: at most a quarter of all;
 *   5. the convolutions' update.
 * Nothing can fail: all memory is taken in plain_make().
 *
 * Inner loops run over outputs and never over a sum's terms, so that a compiler may use any width
 * of vector without changing a bit.
 */
#include <stdlib.h>
#include <string.h>

#include "client/train/cnn/cnn_kernel.h"
#include "client/train/cnn/softmax.h"

enum {
    IMAGE_SIDE = 32,                 /* 28 and 2 of padding on each side */
    IMAGE = IMAGE_SIDE * IMAGE_SIDE, /* floats of a padded image */
    MAP_SIDE = 18,                   /* pooled1: 14 and 2 of padding on each side */
    MAP = MAP_SIDE * MAP_SIDE * CNN_CH1,
    MAP_ROW = MAP_SIDE * CNN_CH1,
    ROW = 5 * CNN_CH1, /* five neighbours of pooled1, or a kernel's row: contiguous */
    KERNEL = CNN_TAPS * CNN_CH1,
    W2 = CNN_CH2 * KERNEL,
    OFF = 4, /* place of a window whose greatest value was not positive: no gradient */
};

/* What the forward pass keeps of one image for the backward pass. */
struct sample {
    float image[IMAGE];                /* padded with zeros */
    float map[MAP];                    /* pooled1, (row, column, channel), padded with zeros */
    float flat[CNN_FLAT];              /* pooled2, (place, channel) */
    float flat_grad[CNN_FLAT];         /* d loss / d pooled2 */
    float hidden[CNN_HIDDEN];          /* fc1 after ReLU */
    float hidden_grad[CNN_HIDDEN];     /* d loss / d fc1, zero where ReLU was off */
    uint8_t won1[CNN_POOL1 * CNN_CH1]; /* place 0..3 in its window, or OFF */
    uint8_t won2[CNN_POOL2 * CNN_CH2]; /* same */
};

struct plain {
    float w1[CNN_TAPS][CNN_CH1]; /* (tap, channel) */
    float b1[CNN_CH1];
    float w2[CNN_CH2][KERNEL];         /* (out, tap, in): for the backward pass, and the master */
    float w2_forward[KERNEL][CNN_CH2]; /* (tap, in, out): the same, for the forward pass */
    float b2[CNN_CH2];
    float w3[CNN_FLAT][CNN_HIDDEN]; /* (in, out), in = place * 64 + channel */
    float b3[CNN_HIDDEN];
    float w4[CNN_CLASSES][CNN_HIDDEN];
    float b4[CNN_CLASSES];
    float w1_grad[CNN_TAPS][CNN_CH1];
    float b1_grad[CNN_CH1];
    float w2_grad[CNN_CH2][KERNEL];
    float b2_grad[CNN_CH2];
    float map_grad[MAP];    /* d loss / d pooled1 of one image */
    float *logits;          /* (batch_max, 10) owned */
    float *logits_grad;     /* same */
    struct sample *samples; /* (batch_max,) when training, else (1,); owned */
    bool is_training;
};

static void plain_destroy(void *net)
{
    struct plain *p = net;

    free(p->logits);
    free(p->logits_grad);
    free(p->samples);
    free(p);
}

static int plain_make(size_t batch_max, bool is_training, void **ret_net, struct fed_err *err)
{
    struct plain *p = calloc(1, sizeof(*p));

    if (p == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "parameters");
    }
    p->is_training = is_training;
    p->logits = calloc(batch_max * CNN_CLASSES, sizeof(float));
    p->logits_grad = calloc(batch_max * CNN_CLASSES, sizeof(float));
    p->samples = calloc(is_training ? batch_max : 1, sizeof(struct sample));
    if (p->logits == NULL || p->logits_grad == NULL || p->samples == NULL) {
        plain_destroy(p);
        return fed_err_set(err, FED_E_NOMEM, "activations");
    }
    *ret_net = p;
    return 0;
}

static void transpose_w2(struct plain *p)
{
    for (size_t k = 0; k < KERNEL; k++) {
        for (size_t o = 0; o < CNN_CH2; o++) {
            p->w2_forward[k][o] = p->w2[o][k];
        }
    }
}

static void plain_set_params(void *net, const float *params)
{
    struct plain *p = net;

    for (size_t o = 0; o < CNN_CH1; o++) {
        for (size_t k = 0; k < CNN_TAPS; k++) {
            p->w1[k][o] = params[CNN_AT_W1 + o * CNN_TAPS + k];
        }
    }
    for (size_t o = 0; o < CNN_CH2; o++) {
        for (size_t i = 0; i < CNN_CH1; i++) {
            for (size_t k = 0; k < CNN_TAPS; k++) {
                p->w2[o][k * CNN_CH1 + i] = params[CNN_AT_W2 + (o * CNN_CH1 + i) * CNN_TAPS + k];
            }
        }
    }
    for (size_t o = 0; o < CNN_HIDDEN; o++) {
        for (size_t c = 0; c < CNN_CH2; c++) {
            for (size_t s = 0; s < CNN_POOL2; s++) {
                p->w3[s * CNN_CH2 + c][o] = params[CNN_AT_W3 + o * CNN_FLAT + c * CNN_POOL2 + s];
            }
        }
    }
    memcpy(p->b1, params + CNN_AT_B1, sizeof(p->b1));
    memcpy(p->b2, params + CNN_AT_B2, sizeof(p->b2));
    memcpy(p->b3, params + CNN_AT_B3, sizeof(p->b3));
    memcpy(p->w4, params + CNN_AT_W4, sizeof(p->w4));
    memcpy(p->b4, params + CNN_AT_B4, sizeof(p->b4));
    transpose_w2(p);
}

static void plain_get_params(const void *net, float *ret_params)
{
    const struct plain *p = net;

    for (size_t o = 0; o < CNN_CH1; o++) {
        for (size_t k = 0; k < CNN_TAPS; k++) {
            ret_params[CNN_AT_W1 + o * CNN_TAPS + k] = p->w1[k][o];
        }
    }
    for (size_t o = 0; o < CNN_CH2; o++) {
        for (size_t i = 0; i < CNN_CH1; i++) {
            for (size_t k = 0; k < CNN_TAPS; k++) {
                ret_params[CNN_AT_W2 + (o * CNN_CH1 + i) * CNN_TAPS + k] =
                    p->w2[o][k * CNN_CH1 + i];
            }
        }
    }
    for (size_t o = 0; o < CNN_HIDDEN; o++) {
        for (size_t c = 0; c < CNN_CH2; c++) {
            for (size_t s = 0; s < CNN_POOL2; s++) {
                ret_params[CNN_AT_W3 + o * CNN_FLAT + c * CNN_POOL2 + s] =
                    p->w3[s * CNN_CH2 + c][o];
            }
        }
    }
    memcpy(ret_params + CNN_AT_B1, p->b1, sizeof(p->b1));
    memcpy(ret_params + CNN_AT_B2, p->b2, sizeof(p->b2));
    memcpy(ret_params + CNN_AT_B3, p->b3, sizeof(p->b3));
    memcpy(ret_params + CNN_AT_W4, p->w4, sizeof(p->w4));
    memcpy(ret_params + CNN_AT_B4, p->b4, sizeof(p->b4));
}

/* -- forward ---------------------------------------------------------------------------------- */

/* Of n channels' windows of four sums each: greatest, bias, ReLU, and which place won. */
static void
pool(const float *sums, const float *bias, size_t n, float *ret_values, uint8_t *ret_won)
{
    for (size_t o = 0; o < n; o++) {
        float max = sums[o];
        uint8_t place = 0;

        for (uint8_t i = 1; i < 4; i++) {
            if (sums[i * n + o] > max) {
                max = sums[i * n + o];
                place = i;
            }
        }
        max += bias[o];
        ret_values[o] = max > 0 ? max : 0;
        ret_won[o] = max > 0 ? place : OFF;
    }
}

static void add_scaled(float *restrict sums, float factor, const float *restrict row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        sums[i] += factor * row[i];
    }
}

static void conv1(const struct plain *p, struct sample *s)
{
    for (size_t place = 0; place < CNN_POOL1; place++) {
        const size_t row = place / 14;
        const size_t column = place % 14;
        float sums[4][CNN_CH1] = {{0}};

        for (size_t k = 0; k < CNN_TAPS; k++) {
            const float *x = s->image + (2 * row + k / 5) * IMAGE_SIDE + 2 * column + k % 5;

            add_scaled(sums[0], x[0], p->w1[k], CNN_CH1);
            add_scaled(sums[1], x[1], p->w1[k], CNN_CH1);
            add_scaled(sums[2], x[IMAGE_SIDE], p->w1[k], CNN_CH1);
            add_scaled(sums[3], x[IMAGE_SIDE + 1], p->w1[k], CNN_CH1);
        }
        pool(sums[0], p->b1, CNN_CH1, s->map + ((row + 2) * MAP_SIDE + column + 2) * CNN_CH1,
             s->won1 + place * CNN_CH1);
    }
}

static void conv2(const struct plain *p, struct sample *s)
{
    for (size_t place = 0; place < CNN_POOL2; place++) {
        const float *window = s->map + (place / 7 * 2 * MAP_SIDE + place % 7 * 2) * CNN_CH1;
        float sums[4][CNN_CH2] = {{0}};

        for (size_t k = 0; k < KERNEL; k++) {
            const float *x = window + k / ROW * MAP_ROW + k % ROW;

            add_scaled(sums[0], x[0], p->w2_forward[k], CNN_CH2);
            add_scaled(sums[1], x[CNN_CH1], p->w2_forward[k], CNN_CH2);
            add_scaled(sums[2], x[MAP_ROW], p->w2_forward[k], CNN_CH2);
            add_scaled(sums[3], x[MAP_ROW + CNN_CH1], p->w2_forward[k], CNN_CH2);
        }
        pool(sums[0], p->b2, CNN_CH2, s->flat + place * CNN_CH2, s->won2 + place * CNN_CH2);
    }
}

/* Sixteen sums side by side: the order of additions is fixed, and vectors fit. */
static float dot(const float *a, const float *b, size_t n)
{
    float sums[16] = {0};
    float sum = 0;

    for (size_t i = 0; i < n; i += 16) {
        for (size_t k = 0; k < 16; k++) {
            sums[k] += a[i + k] * b[i + k];
        }
    }
    for (size_t k = 0; k < 16; k++) {
        sum += sums[k];
    }
    return sum;
}

static void forward(const struct plain *p, const float *image, struct sample *s, float *ret_logits)
{
    for (size_t row = 0; row < 28; row++) {
        memcpy(s->image + (row + 2) * IMAGE_SIDE + 2, image + row * 28, 28 * sizeof(float));
    }
    conv1(p, s);
    conv2(p, s);
    memcpy(s->hidden, p->b3, sizeof(s->hidden));
    for (size_t k = 0; k < CNN_FLAT; k++) {
        if (s->flat[k] > 0) {
            add_scaled(s->hidden, s->flat[k], p->w3[k], CNN_HIDDEN);
        }
    }
    for (size_t j = 0; j < CNN_HIDDEN; j++) {
        s->hidden[j] = s->hidden[j] > 0 ? s->hidden[j] : 0;
    }
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        ret_logits[o] = dot(s->hidden, p->w4[o], CNN_HIDDEN) + p->b4[o];
    }
}

static void plain_infer(void *net, const float *images, size_t n, float *ret_logits)
{
    const struct plain *p = net;

    for (size_t i = 0; i < n; i++) {
        forward(p, images + i * CNN_PIXELS, p->samples, ret_logits + i * CNN_CLASSES);
    }
}

/* -- backward --------------------------------------------------------------------------------- */

static void backward_fc2(struct plain *p, size_t n, float lr)
{
    for (size_t i = 0; i < n; i++) {
        struct sample *s = &p->samples[i];

        memset(s->hidden_grad, 0, sizeof(s->hidden_grad));
        for (size_t o = 0; o < CNN_CLASSES; o++) {
            add_scaled(s->hidden_grad, p->logits_grad[i * CNN_CLASSES + o], p->w4[o], CNN_HIDDEN);
        }
        for (size_t j = 0; j < CNN_HIDDEN; j++) {
            s->hidden_grad[j] = s->hidden[j] > 0 ? s->hidden_grad[j] : 0;
        }
    }
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        float grad[CNN_HIDDEN] = {0};
        float bias_grad = 0;

        for (size_t i = 0; i < n; i++) {
            add_scaled(grad, p->logits_grad[i * CNN_CLASSES + o], p->samples[i].hidden, CNN_HIDDEN);
            bias_grad += p->logits_grad[i * CNN_CLASSES + o];
        }
        add_scaled(p->w4[o], -lr, grad, CNN_HIDDEN);
        p->b4[o] -= lr * bias_grad;
    }
}

static void backward_fc1(struct plain *p, size_t n, float lr)
{
    float bias_grad[CNN_HIDDEN] = {0};

    for (size_t k = 0; k < CNN_FLAT; k++) {
        float grad[CNN_HIDDEN] = {0};

        for (size_t i = 0; i < n; i++) {
            struct sample *s = &p->samples[i];

            if (s->flat[k] > 0) { /* else neither side's gradient counts */
                s->flat_grad[k] = dot(s->hidden_grad, p->w3[k], CNN_HIDDEN);
                add_scaled(grad, s->flat[k], s->hidden_grad, CNN_HIDDEN);
            }
        }
        add_scaled(p->w3[k], -lr, grad, CNN_HIDDEN);
    }
    for (size_t i = 0; i < n; i++) {
        add_scaled(bias_grad, 1, p->samples[i].hidden_grad, CNN_HIDDEN);
    }
    add_scaled(p->b3, -lr, bias_grad, CNN_HIDDEN);
}

/* Five rows of five neighbours, all channels: one row of either is contiguous. */
static void backward_conv2(struct plain *p, const struct sample *s)
{
    memset(p->map_grad, 0, sizeof(p->map_grad));
    for (size_t at = 0; at < CNN_FLAT; at++) {
        const size_t o = at % CNN_CH2;
        const size_t place = at / CNN_CH2;
        const size_t won = s->won2[at];
        const float grad = s->flat_grad[at];

        if (won == OFF) {
            continue;
        }
        p->b2_grad[o] += grad;
        for (size_t kh = 0; kh < 5; kh++) {
            const size_t row = place / 7 * 2 + won / 2 + kh;
            const size_t from = (row * MAP_SIDE + place % 7 * 2 + won % 2) * CNN_CH1;

            add_scaled(p->w2_grad[o] + kh * ROW, grad, s->map + from, ROW);
            add_scaled(p->map_grad + from, grad, p->w2[o] + kh * ROW, ROW);
        }
    }
}

static void backward_conv1(struct plain *p, const struct sample *s)
{
    for (size_t at = 0; at < CNN_POOL1 * (size_t)CNN_CH1; at++) {
        const size_t o = at % CNN_CH1;
        const size_t place = at / CNN_CH1;
        const size_t won = s->won1[at];
        const float *x;
        float grad;

        if (won == OFF) {
            continue;
        }
        x = s->image + (place / 14 * 2 + won / 2) * IMAGE_SIDE + place % 14 * 2 + won % 2;
        grad = p->map_grad[((place / 14 + 2) * MAP_SIDE + place % 14 + 2) * CNN_CH1 + o];
        p->b1_grad[o] += grad;
        for (size_t k = 0; k < CNN_TAPS; k++) {
            p->w1_grad[k][o] += grad * x[k / 5 * IMAGE_SIDE + k % 5];
        }
    }
}

static void backward_convolutions(struct plain *p, size_t n, float lr)
{
    memset(p->w1_grad, 0, sizeof(p->w1_grad));
    memset(p->b1_grad, 0, sizeof(p->b1_grad));
    memset(p->w2_grad, 0, sizeof(p->w2_grad));
    memset(p->b2_grad, 0, sizeof(p->b2_grad));
    for (size_t i = 0; i < n; i++) {
        backward_conv2(p, &p->samples[i]);
        backward_conv1(p, &p->samples[i]);
    }
    add_scaled(p->w1[0], -lr, p->w1_grad[0], CNN_TAPS * (size_t)CNN_CH1);
    add_scaled(p->b1, -lr, p->b1_grad, CNN_CH1);
    add_scaled(p->w2[0], -lr, p->w2_grad[0], W2);
    add_scaled(p->b2, -lr, p->b2_grad, CNN_CH2);
    transpose_w2(p);
}

static float plain_step(void *net, const float *images, const uint8_t *labels, size_t n, float lr)
{
    struct plain *p = net;
    float loss;

    for (size_t i = 0; i < n; i++) {
        forward(p, images + i * CNN_PIXELS, &p->samples[i], p->logits + i * CNN_CLASSES);
    }
    loss = softmax_cross_entropy(p->logits, labels, n, p->logits_grad);
    backward_fc2(p, n, lr);
    backward_fc1(p, n, lr);
    backward_convolutions(p, n, lr);
    return loss;
}

const struct cnn_kernel_ops cnn_plain_ops = {
    .make = plain_make,
    .destroy = plain_destroy,
    .set_params = plain_set_params,
    .get_params = plain_get_params,
    .step = plain_step,
    .infer = plain_infer,
};
