/* The fully connected layers with AVX2.
 *
 * fc1 is 3136 x 512, 6.4 MB: its weights are read once for the forward pass and once for all of the
 * backward pass, where a row gives its part of the inputs' gradient and takes its update on the
 * same visit. Inputs that ReLU made zero are skipped both ways, by masks.
 */
#include <string.h>

#include "client/train/cnn/cnn_avx2_inside.h"

enum {
    VECTORS = CHUNK / LANES, /* of a chunk: 8 */
    IMAGES_AT_ONCE = 64,     /* of the forward pass: their hidden chunks stay in the cache */
    LINE = 16,               /* floats of a cache line */
};

/* -- fc1, forward ----------------------------------------------------------------------------- */

/* The channels of a place that are positive. */
static uint64_t active_channels(const float *channels)
{
    uint64_t mask = 0;

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        const int bits = _mm256_movemask_ps(positive8(load8(channels + i * LANES)));

        mask |= (uint64_t)(uint32_t)bits << (i * LANES);
    }
    return mask;
}

/* One place's channels into one chunk of one image. The block of weights after this one is fetched
 * into the L2 cache meanwhile, from `next` on; returns how far that has come. */
AVX2_INLINE const float *
add_channels(const float *channels, uint64_t mask, const float *w, float *hidden, const float *next)
{
    __m256 sums[VECTORS];

#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        sums[i] = load8(hidden + i * LANES);
    }
    while (mask != 0) {
        const size_t k = take_bit(&mask);
        const __m256 x = set8(channels[k]);

        _mm_prefetch(next, _MM_HINT_T1);
        next += LINE;
#pragma GCC unroll 8
        for (size_t i = 0; i < VECTORS; i++) {
            sums[i] = fma8(x, load8(w + k * CHUNK + i * LANES), sums[i]);
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        store8(hidden + i * LANES, sums[i]);
    }
    return next;
}

static void forward_some(struct avx2 *net, size_t begin, size_t end, size_t n)
{
    for (size_t place = 0; place < CNN_POOL2; place++) {
        uint64_t masks[IMAGES_AT_ONCE];

        for (size_t i = begin; i < end; i++) {
            masks[i - begin] = active_channels(net->flat + i * CNN_FLAT + place * CNN_CH2);
        }
        for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
            const float *w = net->w3 + place * PLACE_BLOCK + chunk * CHUNK_BLOCK;
            const float *next = w + CHUNK_BLOCK;

            for (size_t i = begin; i < end; i++) {
                next = add_channels(net->flat + i * CNN_FLAT + place * CNN_CH2, masks[i - begin], w,
                                    net->hidden + (chunk * n + i) * CHUNK, next);
            }
        }
    }
}

void avx2_fc1_forward(struct avx2 *net, size_t n)
{
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        for (size_t i = 0; i < n; i++) {
            memcpy(net->hidden + (chunk * n + i) * CHUNK, net->b3 + chunk * CHUNK,
                   CHUNK * sizeof(float));
        }
    }
    for (size_t begin = 0; begin < n; begin += IMAGES_AT_ONCE) {
        forward_some(net, begin, begin + IMAGES_AT_ONCE < n ? begin + IMAGES_AT_ONCE : n, n);
    }
    for (size_t i = 0; i < n * CNN_HIDDEN; i += LANES) {
        store8(net->hidden + i, _mm256_max_ps(load8(net->hidden + i), zero8()));
    }
}

/* -- fc2 -------------------------------------------------------------------------------------- */

/* Of image i, the hidden outputs from j on (a multiple of 8). */
static size_t hidden_at(size_t i, size_t j, size_t n)
{
    return (j / CHUNK * n + i) * CHUNK + j % CHUNK;
}

void avx2_fc2_forward(struct avx2 *net, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        __m256 sums[CNN_CLASSES];

#pragma GCC unroll 10
        for (size_t o = 0; o < CNN_CLASSES; o++) {
            sums[o] = zero8();
        }
        for (size_t j = 0; j < CNN_HIDDEN; j += LANES) {
            const __m256 h = load8(net->hidden + hidden_at(i, j, n));

#pragma GCC unroll 10
            for (size_t o = 0; o < CNN_CLASSES; o++) {
                sums[o] = fma8(h, load8(net->w4 + o * CNN_HIDDEN + j), sums[o]);
            }
        }
        for (size_t o = 0; o < CNN_CLASSES; o++) {
            net->logits[i * CNN_CLASSES + o] = sum8(sums[o]) + net->b4[o];
        }
    }
}

/* Eight hidden outputs, all images: their gradient, and the bias's update. */
static void backward_hidden(struct avx2 *net, size_t j, size_t n, __m256 rate)
{
    __m256 w[CNN_CLASSES];
    __m256 bias_grad = zero8();

#pragma GCC unroll 10
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        w[o] = load8(net->w4 + o * CNN_HIDDEN + j);
    }
    for (size_t i = 0; i < n; i++) {
        const float *g = net->logits_grad + i * CNN_CLASSES;
        __m256 even = zero8();
        __m256 odd = zero8();

#pragma GCC unroll 5
        for (size_t o = 0; o < CNN_CLASSES; o += 2) {
            even = fma8(set8(g[o]), w[o], even);
            odd = fma8(set8(g[o + 1]), w[o + 1], odd);
        }
        even = _mm256_and_ps(add8(even, odd), positive8(load8(net->hidden + hidden_at(i, j, n))));
        bias_grad = add8(bias_grad, even);
        store8(net->hidden_grad + hidden_at(i, j, n), even);
    }
    store8(net->b3 + j, fnma8(rate, bias_grad, load8(net->b3 + j)));
}

/* Eight hidden outputs: their weights' update. */
static void update_w4(struct avx2 *net, size_t j, size_t n, __m256 rate)
{
    __m256 grads[CNN_CLASSES];

#pragma GCC unroll 10
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        grads[o] = zero8();
    }
    for (size_t i = 0; i < n; i++) {
        const __m256 h = load8(net->hidden + hidden_at(i, j, n));

#pragma GCC unroll 10
        for (size_t o = 0; o < CNN_CLASSES; o++) {
            grads[o] = fma8(set8(net->logits_grad[i * CNN_CLASSES + o]), h, grads[o]);
        }
    }
#pragma GCC unroll 10
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        float *w = net->w4 + o * CNN_HIDDEN + j;

        store8(w, fnma8(rate, grads[o], load8(w)));
    }
}

void avx2_fc2_backward(struct avx2 *net, size_t n, float lr)
{
    for (size_t j = 0; j < CNN_HIDDEN; j += LANES) {
        backward_hidden(net, j, n, set8(lr));
        update_w4(net, j, n, set8(lr));
    }
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        float grad = 0;

        for (size_t i = 0; i < n; i++) {
            grad += net->logits_grad[i * CNN_CLASSES + o];
        }
        net->b4[o] -= lr * grad;
    }
}

/* -- fc1, backward ---------------------------------------------------------------------------- */

/* The images in which an input is positive, and its value there times -lr. */
struct active {
    size_t n;
    uint16_t image[CNN_BATCH_MAX + 1];
    float scaled[CNN_BATCH_MAX + 1];
};

static void find_active(const float *flat, size_t n, float lr, struct active *ret)
{
    ret->n = 0;
    for (size_t i = 0; i < n; i++) { /* without a branch: the next writes over what is none */
        ret->image[ret->n] = (uint16_t)i;
        ret->scaled[ret->n] = -lr * flat[i * CNN_FLAT];
        ret->n += flat[i * CNN_FLAT] > 0;
    }
}

/* One row of weights, all its chunks, against up to four images: dot products of the old row with
 * hidden_grad (the old row is `old_row` from the second four images on); the row takes the sum of
 * scaled activation times hidden_grad. */
AVX2_INLINE void update_row(struct avx2 *net,
                            const struct active *active,
                            size_t first,
                            size_t images,
                            size_t n,
                            float *row)
{
    const float *grad[4];
    __m256 scaled[4];
    __m256 dots[4];

#pragma GCC unroll 4
    for (size_t i = 0; i < images; i++) {
        grad[i] = net->hidden_grad + (size_t)active->image[first + i] * CHUNK;
        scaled[i] = set8(active->scaled[first + i]);
        dots[i] = zero8();
    }
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        float *w = row + chunk * CHUNK_BLOCK;
        const float *old = first == 0 ? w : net->old_row + chunk * CHUNK;

#pragma GCC unroll 2
        for (size_t j = 0; j < CHUNK; j += LANES) {
            const __m256 v = load8(old + j);
            __m256 sum = load8(w + j);

#pragma GCC unroll 4
            for (size_t i = 0; i < images; i++) {
                const __m256 x = load8(grad[i] + chunk * n * CHUNK + j);

                dots[i] = fma8(x, v, dots[i]);
                sum = fma8(scaled[i], x, sum);
            }
            store8(w + j, sum);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < images; i++) {
        net->dots[first + i] = sum8(dots[i]);
    }
}

static void update_rows(struct avx2 *net, const struct active *active, size_t n, float *row)
{
    size_t first = 0;

    if (active->n > 4) { /* the dot products need the row as it is now */
        for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
            memcpy(net->old_row + chunk * CHUNK, row + chunk * CHUNK_BLOCK, CHUNK * sizeof(float));
        }
    }
    for (; first + 4 <= active->n; first += 4) {
        update_row(net, active, first, 4, n, row);
    }
    switch (active->n - first) {
    case 3:
        update_row(net, active, first, 3, n, row);
        break;
    case 2:
        update_row(net, active, first, 2, n, row);
        break;
    case 1:
        update_row(net, active, first, 1, n, row);
        break;
    default:
        break;
    }
}

/* Lines of the row at the same channel of the place before: the next to come here. */
static void fetch_row(const float *row)
{
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
#pragma GCC unroll 4
        for (size_t j = 0; j < CHUNK; j += LINE) {
            _mm_prefetch(row + chunk * CHUNK_BLOCK + j, _MM_HINT_T1);
        }
    }
}

/* From the last place to the first: the forward pass left the last ones in the L2 cache. */
void avx2_fc1_backward(struct avx2 *net, size_t n, float lr)
{
    struct active active = {.n = 0};

    memset(net->flat_grad, 0, n * CNN_FLAT * sizeof(float)); /* of what is not active */
    for (size_t place = CNN_POOL2; place-- > 0;) {
        for (size_t channel = 0; channel < CNN_CH2; channel++) {
            const size_t at = place * CNN_CH2 + channel;
            float *row = net->w3 + place * PLACE_BLOCK + channel * CHUNK;

            if (place > 0) {
                fetch_row(row - PLACE_BLOCK);
            }
            find_active(net->flat + at, n, lr, &active);
            update_rows(net, &active, n, row);
            for (size_t i = 0; i < active.n; i++) {
                net->flat_grad[active.image[i] * (size_t)CNN_FLAT + at] = net->dots[i];
            }
        }
    }
}
