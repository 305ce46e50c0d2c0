/* The fully connected layers with AVX-512.
 *
 * fc1 is 3136 x 512, 6.4 MB: its weights are read once for the forward pass and once for all of the
 * backward pass, where a row gives its part of the inputs' gradient and takes its update on the
 * same visit. Inputs that ReLU made zero are skipped both ways, by masks.
 */
#include <string.h>

#include "client/train/cnn/cnn_avx512_inside.h"

enum {
    VECTORS = CHUNK / LANES, /* of a chunk: 8 */
    IMAGES_AT_ONCE = 128,    /* of the forward pass: their hidden chunks stay in the L2 cache */
    TWO_LINES = 2 * LANES,   /* floats of two cache lines */
    SMALL_BATCH = 20,        /* hidden_grad of so many images stays in the L1 cache */
};

/* -- fc1, forward ----------------------------------------------------------------------------- */

/* The channels of a place that are positive. An odd number is made even by one that is zero: it
 * adds nothing, and pairs need no odd end. */
static uint64_t active_channels(const float *channels)
{
    uint64_t mask = 0;

#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        mask |= (uint64_t)positive16(load16(channels + i * LANES)) << (i * LANES);
    }
    return __builtin_popcountll(mask) % 2 == 1 ? mask | (mask + 1) : mask;
}

AVX512_INLINE void add_input(float x, const float *w, __m512 sums[VECTORS])
{
    const __m512 v = set16(x);

#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        sums[i] = fma16(v, load16(w + i * LANES), sums[i]);
    }
}

/* One place's channels into one chunk of one image. Two sets of sums: one alone would wait for its
 * own results. The block of weights after this one is fetched into the L2 cache meanwhile, from
 * `next` on; returns how far that has come. */
AVX512_INLINE const float *
add_channels(const float *channels, uint64_t mask, const float *w, float *hidden, const float *next)
{
    __m512 sums[VECTORS];
    __m512 others[VECTORS];

#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        sums[i] = load16(hidden + i * LANES);
        others[i] = zero16();
    }
    while (mask != 0) {
        const size_t a = take_bit(&mask);
        const size_t b = take_bit(&mask);

        _mm_prefetch(next, _MM_HINT_T1);
        _mm_prefetch(next + TWO_LINES / 2, _MM_HINT_T1);
        next += TWO_LINES;
        add_input(channels[a], w + a * CHUNK, sums);
        add_input(channels[b], w + b * CHUNK, others);
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        store16(hidden + i * LANES, add16(sums[i], others[i]));
    }
    return next;
}

static void forward_some(struct avx512 *net, size_t begin, size_t end, size_t n)
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

void avx512_fc1_forward(struct avx512 *net, size_t n)
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
        store16(net->hidden + i, _mm512_max_ps(load16(net->hidden + i), zero16()));
    }
}

/* -- fc2 -------------------------------------------------------------------------------------- */

/* Of image i, the hidden outputs from j on (a multiple of 16). */
static size_t hidden_at(size_t i, size_t j, size_t n)
{
    return (j / CHUNK * n + i) * CHUNK + j % CHUNK;
}

void avx512_fc2_forward(struct avx512 *net, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        __m512 sums[16];

#pragma GCC unroll 16
        for (size_t o = 0; o < 16; o++) {
            sums[o] = zero16();
        }
        for (size_t j = 0; j < CNN_HIDDEN; j += LANES) {
            const __m512 h = load16(net->hidden + hidden_at(i, j, n));

#pragma GCC unroll 10
            for (size_t o = 0; o < CNN_CLASSES; o++) {
                sums[o] = fma16(h, load16(net->w4 + o * CNN_HIDDEN + j), sums[o]);
            }
        }
        _mm512_mask_storeu_ps(net->logits + i * CNN_CLASSES, 0x3ff,
                              add16(sum16(sums), load16(net->b4)));
    }
}

/* Sixteen hidden outputs, all images: their gradient, and all updates that follow from it. */
static void backward_vector(struct avx512 *net, size_t j, size_t n, __m512 rate)
{
    __m512 w[CNN_CLASSES];
    __m512 w_grad[CNN_CLASSES];
    __m512 bias_grad = zero16();

#pragma GCC unroll 10
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        w[o] = load16(net->w4 + o * CNN_HIDDEN + j);
        w_grad[o] = zero16();
    }
    for (size_t i = 0; i < n; i++) {
        const __m512 h = load16(net->hidden + hidden_at(i, j, n));
        __m512 even = zero16();
        __m512 odd = zero16();

#pragma GCC unroll 5
        for (size_t o = 0; o < CNN_CLASSES; o += 2) {
            const __m512 g = set16(net->logits_grad[i * CNN_CLASSES + o]);
            const __m512 next = set16(net->logits_grad[i * CNN_CLASSES + o + 1]);

            even = fma16(g, w[o], even);
            odd = fma16(next, w[o + 1], odd);
            w_grad[o] = fma16(g, h, w_grad[o]);
            w_grad[o + 1] = fma16(next, h, w_grad[o + 1]);
        }
        even = _mm512_maskz_add_ps(positive16(h), even, odd);
        bias_grad = add16(bias_grad, even);
        store16(net->hidden_grad + hidden_at(i, j, n), even);
    }
#pragma GCC unroll 10
    for (size_t o = 0; o < CNN_CLASSES; o++) {
        store16(net->w4 + o * CNN_HIDDEN + j, fnma16(rate, w_grad[o], w[o]));
    }
    store16(net->b3 + j, fnma16(rate, bias_grad, load16(net->b3 + j)));
}

void avx512_fc2_backward(struct avx512 *net, size_t n, float lr)
{
    for (size_t j = 0; j < CNN_HIDDEN; j += LANES) {
        backward_vector(net, j, n, set16(lr));
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

/* One place's activations of all images, turned round: rows of images, as masks and as values
 * times -lr. */
static void turn_activations(struct avx512 *net, size_t place, size_t n, float lr)
{
    const __m512 rate = set16(-lr);

    memset(net->active, 0, sizeof(net->active));
    memset(net->n_active, 0, sizeof(net->n_active));
    for (size_t at = 0; at < (n + LANES - 1) / LANES * 4; at++) {
        const size_t image = at / 4 * LANES;
        const size_t channel = at % 4 * LANES;
        const float *from = net->flat + image * CNN_FLAT + place * CNN_CH2 + channel;
        __m512 r[16];

        for (size_t i = 0; i < 16; i++) {
            r[i] = image + i < n ? load16(from + i * CNN_FLAT) : zero16();
        }
        transpose16(r);
        for (size_t i = 0; i < 16; i++) {
            const __mmask16 positive = positive16(r[i]);

            net->active[channel + i][image / 64] |= (uint64_t)positive << (image % 64);
            net->n_active[channel + i] += __builtin_popcount(positive);
            store16(net->scaled + (channel + i) * ROWS + image, mul16(rate, r[i]));
        }
    }
}

/* Loaded once, kept in a register: the compiler would rather load it for each of its two uses,
 * which costs 10 to 25 % here. */
AVX512_INLINE __m512 load_once(const float *p)
{
    __m512 a = load16(p);

    __asm__("" : "+v"(a));
    return a;
}

/* One chunk of one row of weights against the images in which its input is active. The old row's
 * dot products with hidden_grad go to `parts`, a vector an image, begun or added to; the row takes
 * the sum of scaled activation times hidden_grad. `grad` is (n, CHUNK). */
AVX512_INLINE void update_row(const struct avx512 *net,
                              size_t channel,
                              const float *grad,
                              size_t n,
                              float *row,
                              bool is_first)
{
    const float *scaled = net->scaled + channel * ROWS;
    __m512 *part = net->parts;
    __m512 old[VECTORS];
    __m512 new[VECTORS];

#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        _mm_prefetch(row - net->ahead + i * LANES, _MM_HINT_T1);
        old[i] = load16(row + i * LANES);
        new[i] = old[i];
    }
    for (size_t group = 0; group * 64 < n; group++) {
        uint64_t mask = net->active[channel][group];

        while (mask != 0) {
            const size_t image = group * 64 + take_bit(&mask);
            const float *g = grad + image * CHUNK;
            const __m512 s = set16(scaled[image]);
            __m512 x = load_once(g);
            __m512 even = mul16(x, old[0]);
            __m512 odd;

            new[0] = fma16(s, x, new[0]);
            x = load_once(g + LANES);
            odd = mul16(x, old[1]);
            new[1] = fma16(s, x, new[1]);
#pragma GCC unroll 3
            for (size_t i = 2; i < VECTORS; i += 2) {
                x = load_once(g + i * LANES);
                even = fma16(x, old[i], even);
                new[i] = fma16(s, x, new[i]);
                x = load_once(g + (i + 1) * LANES);
                odd = fma16(x, old[i + 1], odd);
                new[i + 1] = fma16(s, x, new[i + 1]);
            }
            even = add16(even, odd);
            *part = is_first ? even : add16(even, *part);
            part++;
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < VECTORS; i++) {
        store16(row + i * LANES, new[i]);
    }
}

/* Sum the parts across lanes, 16 images at a time, into the row's dots: begun or added to. */
static void sum_parts(struct avx512 *net, size_t channel, bool is_first)
{
    float *dots = net->dots + channel * ROWS;

    for (size_t i = 0; i < (size_t)net->n_active[channel]; i += LANES) {
        const __m512 sums = sum16(net->parts + i);

        _mm512_storeu_ps(dots + i, is_first ? sums : add16(sums, _mm512_loadu_ps(dots + i)));
    }
}

/* A small batch row by row: all of hidden_grad is in the L1 cache. */
static void update_rows_small(struct avx512 *net, size_t n, float *block)
{
    for (size_t channel = 0; channel < CNN_CH2; channel++) {
        float *row = block + channel * CHUNK;

        if (net->n_active[channel] == 0) {
            continue;
        }
        update_row(net, channel, net->hidden_grad, n, row, true);
        for (size_t chunk = 1; chunk < CHUNKS; chunk++) {
            update_row(net, channel, net->hidden_grad + chunk * n * CHUNK, n,
                       row + chunk * CHUNK_BLOCK, false);
        }
        sum_parts(net, channel, true);
    }
}

/* A larger one chunk by chunk: one chunk of hidden_grad is. */
static void update_rows(struct avx512 *net, size_t n, float *block)
{
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        for (size_t channel = 0; channel < CNN_CH2; channel++) {
            if (net->n_active[channel] == 0) {
                continue;
            }
            update_row(net, channel, net->hidden_grad + chunk * n * CHUNK, n,
                       block + chunk * CHUNK_BLOCK + channel * CHUNK, true);
            sum_parts(net, channel, chunk == 0);
        }
    }
}

/* Dots back to where their activations stand; zero where those are. */
static void turn_dots(struct avx512 *net, size_t place, size_t n)
{
    memset(net->n_active, 0, sizeof(net->n_active));
    for (size_t at = 0; at < (n + LANES - 1) / LANES * 4; at++) {
        const size_t image = at / 4 * LANES;
        const size_t channel = at % 4 * LANES;
        float *to = net->flat_grad + image * CNN_FLAT + place * CNN_CH2 + channel;
        __m512 r[16];

        for (size_t i = 0; i < 16; i++) {
            const __mmask16 positive =
                (__mmask16)(net->active[channel + i][image / 64] >> (image % 64));
            const float *dots = net->dots + (channel + i) * ROWS + net->n_active[channel + i];

            r[i] = _mm512_maskz_expand_ps(positive, _mm512_loadu_ps(dots));
            net->n_active[channel + i] += __builtin_popcount(positive);
        }
        transpose16(r);
        for (size_t i = 0; i < 16 && image + i < n; i++) {
            store16(to + i * CNN_FLAT, r[i]);
        }
    }
}

/* From the last place to the first: the forward pass left the last ones in the L2 cache. */
void avx512_fc1_backward(struct avx512 *net, size_t n, float lr)
{
    for (size_t place = CNN_POOL2; place-- > 0;) {
        float *block = net->w3 + place * PLACE_BLOCK;

        net->ahead = place > 0 ? PLACE_BLOCK : 0;
        turn_activations(net, place, n, lr);
        if (n <= SMALL_BATCH) {
            update_rows_small(net, n, block);
        } else {
            update_rows(net, n, block);
        }
        turn_dots(net, place, n);
    }
}
