/* conv1 with AVX2: 1 input channel, 32 outputs in two blocks of two vectors. */
#include <string.h>

#include "client/train/cnn/cnn_avx2_inside.h"

/* All that a window sees, 6 rows of 6 pixels and two more. Some half of an image of MNIST is
 * black. */
AVX2_INLINE bool is_black(const float *pixels)
{
    __m256i any = _mm256_loadu_si256((const __m256i_u *)pixels);

#pragma GCC unroll 5
    for (size_t i = 1; i < 6; i++) {
        any = _mm256_or_si256(any, _mm256_loadu_si256((const __m256i_u *)(pixels + i * IMAGE_ROW)));
    }
    return _mm256_testz_si256(any, any) != 0;
}

/* One window, 16 channels: four pixels by two vectors. Zero where it is black, without summing. */
AVX2_INLINE void sum_window(const float *w, const float *pixels, __m256 low[4], __m256 high[4])
{
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        low[i] = zero8();
        high[i] = zero8();
    }
    if (is_black(pixels)) {
        return;
    }
    for (size_t kh = 0; kh < 5; kh++, pixels += IMAGE_ROW) {
#pragma GCC unroll 5
        for (size_t kw = 0; kw < 5; kw++, w += CNN_CH1) {
            const __m256 w_low = load8(w);
            const __m256 w_high = load8(w + LANES);

#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++) {
                const __m256 x = set8(pixels[kw + i % 2 + i / 2 * IMAGE_ROW]);

                low[i] = fma8(x, w_low, low[i]);
                high[i] = fma8(x, w_high, high[i]);
            }
        }
    }
}

void avx2_conv1_forward(const struct avx2 *net,
                        const float *image,
                        float *ret_map,
                        uint8_t *ret_won)
{
    for (size_t half = 0; half < 2; half++) {
        for (size_t place = 0; place < CNN_POOL1; place++) {
            const size_t row = place / 14;
            const size_t column = place % 14;
            const float *pixels = image + 2 * row * IMAGE_ROW + 2 * column;
            float *map = ret_map + half * MAP_HALF + (row + 2) * MAP_ROW + (column + 2) * BLOCK;
            __m256 low[4];
            __m256 high[4];

            sum_window(net->w1 + half * BLOCK, pixels, low, high);
            pool_block(low, high, net->b1 + half * BLOCK, map,
                       ret_won == NULL ? NULL : ret_won + place * CNN_CH1 + half * BLOCK);
        }
    }
}

/* Every winner to its channel's list; without a branch: one that is none is written over by the
 * next. */
static void list_winners(struct avx2 *net, const uint8_t *won)
{
    memset(net->n_list1, 0, sizeof(net->n_list1));
    for (size_t place = 0; place < CNN_POOL1; place++) {
        const int32_t window = (int32_t)(2 * (place / 14) * IMAGE_ROW + 2 * (place % 14));

        for (size_t channel = 0; channel < CNN_CH1; channel++) {
            const int32_t in_window = won[place * CNN_CH1 + channel];
            const float *grads = net->map_grad + channel / BLOCK * CNN_POOL1 * BLOCK;
            struct avx2_winner *winner = &net->list1[channel][net->n_list1[channel]];

            winner->grad = grads[place * BLOCK + channel % BLOCK];
            winner->offset = window + in_window / 2 * IMAGE_ROW + in_window % 2;
            net->n_list1[channel] += in_window < 4;
        }
    }
}

/* Five rows of eight pixels, of which the first five are taps. */
AVX2_INLINE void add_winner(const struct avx2_winner *winner, const float *image, __m256 sums[5])
{
    const __m256 g = set8(winner->grad);

#pragma GCC unroll 5
    for (size_t kh = 0; kh < 5; kh++) {
        const __m256 x = _mm256_loadu_ps(image + winner->offset + kh * IMAGE_ROW);

        sums[kh] = fma8(g, x, sums[kh]);
    }
}

void avx2_conv1_backward(struct avx2 *net, const float *image, const uint8_t *won)
{
    list_winners(net, won);
    for (size_t channel = 0; channel < CNN_CH1; channel++) {
        const struct avx2_winner *list = net->list1[channel];
        const size_t n = net->n_list1[channel];
        float *grad = net->w1_grad + channel * W1_GRAD;
        __m256 even[5];
        __m256 odd[5];
        float bias_grad = 0;
        size_t i = 0;

#pragma GCC unroll 5
        for (size_t kh = 0; kh < 5; kh++) {
            even[kh] = load8(grad + kh * LANES);
            odd[kh] = zero8();
        }
        for (; i + 1 < n; i += 2) {
            bias_grad += list[i].grad + list[i + 1].grad;
            add_winner(&list[i], image, even);
            add_winner(&list[i + 1], image, odd);
        }
        if (i < n) {
            bias_grad += list[i].grad;
            add_winner(&list[i], image, even);
        }
#pragma GCC unroll 5
        for (size_t kh = 0; kh < 5; kh++) {
            store8(grad + kh * LANES, add8(even[kh], odd[kh]));
        }
        net->b1_grad[channel] += bias_grad;
    }
}
