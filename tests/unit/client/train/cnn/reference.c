#include "tests/unit/client/train/cnn/reference.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    W1 = 0,
    B1 = 800,
    W2 = 832,
    B2 = 52032,
    W3 = 52096,
    B3 = 1657728,
    W4 = 1658240,
    B4 = 1663360,
};

/* One convolution "same" with ReLU and max-pool 2: maps of (side, side), pooled (side/2, side/2).
 */
struct layer {
    int in;
    int out;
    int side;
    const float *weights; /* (out, in, 5, 5) */
    const float *bias;
};

struct activations {
    double image[784];
    double map1[32 * 784];
    double pooled1[32 * 196];
    int chosen1[32 * 196]; /* index in map1 of each pooled value */
    double map2[64 * 196];
    double pooled2[3136];
    int chosen2[3136];
    double hidden[512];
};

struct gradients {
    double logits[10];
    double hidden[512];
    double pooled2[3136];
    double pooled1[32 * 196];
    double image[784]; /* computed by the general backward pass, not used */
};

static bool is_inside(int row, int column, int side)
{
    return row >= 0 && row < side && column >= 0 && column < side;
}

static double convolve(const struct layer *l, const double *x, int o, int row, int column)
{
    double sum = (double)l->bias[o];

    for (int i = 0; i < l->in; i++) {
        const int w = (o * l->in + i) * 25;
        const int map = i * l->side * l->side;

        for (int k = 0; k < 25; k++) {
            const int r = row + k / 5 - 2;
            const int c = column + k % 5 - 2;

            if (is_inside(r, c, l->side)) {
                sum += (double)l->weights[w + k] * x[map + r * l->side + c];
            }
        }
    }
    return sum > 0 ? sum : 0;
}

static void
layer_forward(const struct layer *l, const double *x, double *map, double *pooled, int *chosen)
{
    const int half = l->side / 2;

    for (int o = 0; o < l->out; o++) {
        for (int at = 0; at < l->side * l->side; at++) {
            map[o * l->side * l->side + at] = convolve(l, x, o, at / l->side, at % l->side);
        }
        for (int at = 0; at < half * half; at++) {
            const int first = (o * l->side + at / half * 2) * l->side + at % half * 2;
            const int window[4] = {first, first + 1, first + l->side, first + l->side + 1};
            int best = window[0];

            for (int i = 1; i < 4; i++) {
                best = map[window[i]] > map[best] ? window[i] : best;
            }
            pooled[o * half * half + at] = map[best];
            chosen[o * half * half + at] = best;
        }
    }
}

/* Add what one output's gradient gives its weights and its inputs. */
static void layer_backward_at(const struct layer *l,
                              const double *x,
                              int at,
                              double grad,
                              double *w_grad,
                              double *x_grad)
{
    const int o = at / (l->side * l->side);
    const int row = at / l->side % l->side;
    const int column = at % l->side;

    for (int i = 0; i < l->in; i++) {
        for (int k = 0; k < 25; k++) {
            const int r = row + k / 5 - 2;
            const int c = column + k % 5 - 2;
            const int w = (o * l->in + i) * 25 + k;
            const int from = (i * l->side + r) * l->side + c;

            if (is_inside(r, c, l->side)) {
                w_grad[w] += grad * x[from];
                x_grad[from] += grad * (double)l->weights[w];
            }
        }
    }
}

static void layer_backward(const struct layer *l,
                           const double *x,
                           const double *pooled,
                           const int *chosen,
                           const double *pooled_grad,
                           double *grads[3]) /* weights, bias, x */
{
    const int n = l->out * l->side * l->side / 4;

    for (int i = 0; i < n; i++) {
        if (pooled[i] > 0) {
            grads[1][chosen[i] / (l->side * l->side)] += pooled_grad[i];
            layer_backward_at(l, x, chosen[i], pooled_grad[i], grads[0], grads[2]);
        }
    }
}

static void
dense_forward(const float *w, const float *b, const double *x, const int n[2], double *ret_y)
{
    for (int o = 0; o < n[1]; o++) {
        double sum = (double)b[o];

        for (int i = 0; i < n[0]; i++) {
            sum += (double)w[o * n[0] + i] * x[i];
        }
        ret_y[o] = sum;
    }
}

static void dense_backward(const float *w,
                           const double *x,
                           const double *y_grad,
                           const int n[2],
                           double *grads[3]) /* weights, bias, x */
{
    for (int o = 0; o < n[1]; o++) {
        grads[1][o] += y_grad[o];
        for (int i = 0; i < n[0]; i++) {
            grads[0][o * n[0] + i] += y_grad[o] * x[i];
            grads[2][i] += y_grad[o] * (double)w[o * n[0] + i];
        }
    }
}

static double cross_entropy(const double *logits, uint8_t label, double *ret_grad)
{
    double max = logits[0];
    double sum = 0;

    for (int i = 1; i < 10; i++) {
        max = fmax(max, logits[i]);
    }
    for (int i = 0; i < 10; i++) {
        sum += exp(logits[i] - max);
    }
    for (int i = 0; i < 10; i++) {
        ret_grad[i] = exp(logits[i] - max) / sum - (i == label ? 1 : 0);
    }
    return log(sum) + max - logits[label];
}

double reference_add(const float *params,
                     const float *image,
                     uint8_t label,
                     double *grad,
                     double ret_logits[10])
{
    const struct layer conv1 = {1, 32, 28, params + W1, params + B1};
    const struct layer conv2 = {32, 64, 14, params + W2, params + B2};
    struct activations *a = calloc(1, sizeof(*a));
    struct gradients *g = calloc(1, sizeof(*g));
    const int fc1[2] = {3136, 512};
    const int fc2[2] = {512, 10};
    double loss;

    assert(a != NULL);
    assert(g != NULL);
    for (int i = 0; i < 784; i++) {
        a->image[i] = (double)image[i];
    }
    layer_forward(&conv1, a->image, a->map1, a->pooled1, a->chosen1);
    layer_forward(&conv2, a->pooled1, a->map2, a->pooled2, a->chosen2);
    dense_forward(params + W3, params + B3, a->pooled2, fc1, a->hidden);
    for (int i = 0; i < 512; i++) {
        a->hidden[i] = fmax(a->hidden[i], 0);
    }
    dense_forward(params + W4, params + B4, a->hidden, fc2, ret_logits);

    loss = cross_entropy(ret_logits, label, g->logits);
    dense_backward(params + W4, a->hidden, g->logits, fc2,
                   (double *[]){grad + W4, grad + B4, g->hidden});
    for (int i = 0; i < 512; i++) {
        g->hidden[i] = a->hidden[i] > 0 ? g->hidden[i] : 0;
    }
    dense_backward(params + W3, a->pooled2, g->hidden, fc1,
                   (double *[]){grad + W3, grad + B3, g->pooled2});
    layer_backward(&conv2, a->pooled1, a->pooled2, a->chosen2, g->pooled2,
                   (double *[]){grad + W2, grad + B2, g->pooled1});
    layer_backward(&conv1, a->image, a->pooled1, a->chosen1, g->pooled1,
                   (double *[]){grad + W1, grad + B1, g->image});
    free(a);
    free(g);
    return loss;
}
