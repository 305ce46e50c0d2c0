/* conv2's backward pass with AVX2. Only winners have a gradient: at most one place in four.
 *
 * Weights: per output and kernel row, ten sums (5 taps by 16 inputs) stay in registers while the
 * list of its winners is read. Inputs: per place, a mask of the outputs that chose it; seven places
 * by 16 channels stay in registers while the masks around them are taken apart.
 */
#include <string.h>

#include "client/train/cnn/cnn_avx2_inside.h"

enum {
    SIDE = 7, /* places whose sums are held at once: half a row */
};

static uint64_t mask_of(const uint8_t *won, int place)
{
    const __m256i p = _mm256_set1_epi8((char)place);
    const __m256i low = _mm256_loadu_si256((const __m256i_u *)won);
    const __m256i high = _mm256_loadu_si256((const __m256i_u *)(won + 32));
    const uint32_t low_mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, p));
    const uint32_t high_mask = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, p));

    return (uint64_t)high_mask << 32 | low_mask;
}

void avx2_conv2_list(struct avx2 *net, const float *flat_grad, const uint8_t *won)
{
    static const int32_t in_map[5] = {0, BLOCK, MAP_ROW, MAP_ROW + BLOCK, 0};

    memset(net->n_list2, 0, sizeof(net->n_list2));
    for (size_t place = 0; place < CNN_POOL2; place++) {
        const int32_t window = (int32_t)(place / 7 * 2 * MAP_ROW + place % 7 * 2 * BLOCK);
        const uint8_t *w = won + place * CNN_CH2;
        const float *g = flat_grad + place * CNN_CH2;
        uint64_t *winners = net->winners + place / 7 * 28 + place % 7 * 2;

        winners[0] = mask_of(w, 0);
        winners[1] = mask_of(w, 1);
        winners[14] = mask_of(w, 2);
        winners[15] = mask_of(w, 3);
        for (size_t out = 0; out < CNN_CH2; out += LANES) {
            store8(net->b2_grad + out, add8(load8(net->b2_grad + out), load8(g + out)));
        }
        /* Without a branch: an entry that is none is written over by the next. */
        for (size_t out = 0; out < CNN_CH2; out++) {
            struct avx2_winner *winner = &net->list2[out][net->n_list2[out]];

            *winner = (struct avx2_winner){g[out], window + in_map[w[out]]};
            net->n_list2[out] += w[out] < 4;
        }
    }
}

AVX2_INLINE void add_winners(const struct avx2_winner *list, size_t n, const float *x, float *grad)
{
    __m256 sums[10];

#pragma GCC unroll 10
    for (size_t k = 0; k < 10; k++) {
        sums[k] = load8(grad + k * LANES);
    }
    for (size_t i = 0; i < n; i++) {
        const __m256 g = set8(list[i].grad);
        const float *from = x + list[i].offset;

#pragma GCC unroll 10
        for (size_t k = 0; k < 10; k++) {
            sums[k] = fma8(g, load8(from + k * LANES), sums[k]);
        }
    }
#pragma GCC unroll 10
    for (size_t k = 0; k < 10; k++) {
        store8(grad + k * LANES, sums[k]);
    }
}

void avx2_conv2_weights(struct avx2 *net, const float *map)
{
    for (size_t half = 0; half < 2; half++) {
        for (size_t out = 0; out < CNN_CH2; out++) {
            for (size_t kh = 0; kh < 5; kh++) {
                add_winners(net->list2[out], net->n_list2[out],
                            map + half * MAP_HALF + kh * MAP_ROW,
                            net->w2_grad + half * W2_HALF + kh * W2_ROW + out * W2_OUT);
            }
        }
    }
}

/* What the winners at one place of a row give the sums of places `first` to first + 6: the place at
 * `column` reaches those at column - 2 to column + 2. `w` is one kernel row of every output. */
AVX2_INLINE void add_place(const float *flat_grad,
                           const uint64_t *winners,
                           const float *w,
                           size_t column,
                           size_t first,
                           __m256 sums[SIDE][2])
{
    uint64_t mask = winners[column];

    while (mask != 0) {
        const size_t out = take_bit(&mask);
        const __m256 g = set8(flat_grad[column / 2 * CNN_CH2 + out]);
        const float *row = w + out * W2_OUT;

#pragma GCC unroll 7
        for (size_t i = 0; i < SIDE; i++) {
            const size_t kw = first + i + 2 - column; /* wraps below 0 */

            if (kw < 5) {
                sums[i][0] = fma8(g, load8(row + kw * BLOCK), sums[i][0]);
                sums[i][1] = fma8(g, load8(row + kw * BLOCK + LANES), sums[i][1]);
            }
        }
    }
}

AVX2_INLINE void begin_sums(const float *grads, bool is_first, __m256 sums[SIDE][2])
{
#pragma GCC unroll 7
    for (size_t i = 0; i < SIDE; i++) {
        sums[i][0] = is_first ? zero8() : load8(grads + i * BLOCK);
        sums[i][1] = is_first ? zero8() : load8(grads + i * BLOCK + LANES);
    }
}

AVX2_INLINE void end_sums(float *grads, __m256 sums[SIDE][2])
{
#pragma GCC unroll 7
    for (size_t i = 0; i < SIDE; i++) {
        store8(grads + i * BLOCK, sums[i][0]);
        store8(grads + i * BLOCK + LANES, sums[i][1]);
    }
}

/* Add one kernel row's part of one row of the map's gradient, or begin it. Each call below is code
 * of its own, its columns constants: 14 sums stay in registers. */
static void add_row(const float *flat_grad,
                    const uint64_t *winners,
                    const float *w,
                    float *grads,
                    bool is_first)
{
    __m256 sums[SIDE][2];

    begin_sums(grads, is_first, sums);
    add_place(flat_grad, winners, w, 0, 0, sums);
    add_place(flat_grad, winners, w, 1, 0, sums);
    add_place(flat_grad, winners, w, 2, 0, sums);
    add_place(flat_grad, winners, w, 3, 0, sums);
    add_place(flat_grad, winners, w, 4, 0, sums);
    add_place(flat_grad, winners, w, 5, 0, sums);
    add_place(flat_grad, winners, w, 6, 0, sums);
    add_place(flat_grad, winners, w, 7, 0, sums);
    add_place(flat_grad, winners, w, 8, 0, sums);
    end_sums(grads, sums);

    begin_sums(grads + (size_t)SIDE * BLOCK, is_first, sums);
    add_place(flat_grad, winners, w, 5, SIDE, sums);
    add_place(flat_grad, winners, w, 6, SIDE, sums);
    add_place(flat_grad, winners, w, 7, SIDE, sums);
    add_place(flat_grad, winners, w, 8, SIDE, sums);
    add_place(flat_grad, winners, w, 9, SIDE, sums);
    add_place(flat_grad, winners, w, 10, SIDE, sums);
    add_place(flat_grad, winners, w, 11, SIDE, sums);
    add_place(flat_grad, winners, w, 12, SIDE, sums);
    add_place(flat_grad, winners, w, 13, SIDE, sums);
    end_sums(grads + (size_t)SIDE * BLOCK, sums);
}

void avx2_conv2_inputs(struct avx2 *net, const float *flat_grad)
{
    static const size_t kernel_rows[5] = {2, 0, 1, 3,
                                          4}; /* the middle one first: it has all rows */

    for (size_t i = 0; i < 10; i++) {
        const size_t half = i / 5;
        const size_t kh = kernel_rows[i % 5];
        const size_t begin = kh > 2 ? kh - 2 : 0;
        const size_t end = kh < 2 ? 12 + kh : 14;
        float *grads = net->map_grad + half * CNN_POOL1 * BLOCK;

        for (size_t row = begin; row < end; row++) {
            const size_t from = row + 2 - kh;

            add_row(flat_grad + from / 2 * 7 * CNN_CH2, net->winners + from * 14,
                    net->w2 + half * W2_HALF + kh * W2_ROW, grads + row * 14 * BLOCK, i % 5 == 0);
        }
    }
}
