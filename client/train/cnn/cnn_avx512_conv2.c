/* conv2's backward pass with AVX-512. Only winners have a gradient: at most one place in four.
 *
 * Weights: per output, a list of its winners; 25 sums of 16 inputs stay in registers while the list
 * is read. Inputs: per place, a mask of the outputs that chose it; a whole row of 14 places by 32
 * channels stays in registers while the masks of a row are taken apart.
 */
#include <string.h>

#include "client/train/cnn/cnn_avx512_inside.h"

/* Masks of winners by place, and the bias's gradient. */
static void mark_winners(struct avx512 *net, const float *flat_grad, const uint8_t *won)
{
    __m512 bias[4];

#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        bias[i] = load16(net->b2_grad + i * LANES);
    }
    for (size_t place = 0; place < CNN_POOL2; place++) {
        const __m512i w = _mm512_loadu_si512(won + place * CNN_CH2);
        uint64_t *winners = net->winners + place / 7 * 28 + place % 7 * 2;

        winners[0] = _mm512_cmpeq_epi8_mask(w, _mm512_set1_epi8(0));
        winners[1] = _mm512_cmpeq_epi8_mask(w, _mm512_set1_epi8(1));
        winners[14] = _mm512_cmpeq_epi8_mask(w, _mm512_set1_epi8(2));
        winners[15] = _mm512_cmpeq_epi8_mask(w, _mm512_set1_epi8(3));
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            bias[i] = add16(bias[i], load16(flat_grad + place * CNN_CH2 + i * LANES));
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        store16(net->b2_grad + i * LANES, bias[i]);
    }
}

/* Where a winner's tap (0, 0) lies in the map, for the window at `place`. */
static int32_t window_offset(size_t place)
{
    return (int32_t)(place / 7 * 2 * MAP_ROW + place % 7 * 2 * LANES);
}

/* Sixteen places by sixteen outputs: transpose, then append to each output's list what won. */
static void list_block(const float *grads,
                       const uint8_t *won,
                       __m512i offsets,
                       struct avx512_list *list,
                       size_t out)
{
    const __m512i step =
        _mm512_setr_epi32(0, LANES, MAP_ROW, MAP_ROW + LANES, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512 g[16];
    __m512 w[16];

    for (size_t i = 0; i < 16; i++) {
        const __m128i bytes = _mm_loadu_si128((const __m128i_u *)(won + i * CNN_CH2));

        g[i] = load16(grads + i * CNN_CH2);
        w[i] = _mm512_castsi512_ps(_mm512_cvtepu8_epi32(bytes));
    }
    transpose16(g);
    transpose16(w);
    for (size_t i = 0; i < 16; i++) {
        const size_t n = (size_t)list->n[out + i];
        const __m512i place = _mm512_castps_si512(w[i]);
        const __mmask16 has_winner = _mm512_cmplt_epi32_mask(place, _mm512_set1_epi32(4));
        const __m512i offset = _mm512_add_epi32(offsets, _mm512_permutexvar_epi32(place, step));

        _mm512_storeu_ps(list->grad[out + i] + n, _mm512_maskz_compress_ps(has_winner, g[i]));
        _mm512_storeu_si512(list->offset[out + i] + n,
                            _mm512_maskz_compress_epi32(has_winner, offset));
        list->n[out + i] = (int32_t)n + __builtin_popcount(has_winner);
    }
}

void avx512_conv2_list(struct avx512 *net, const float *flat_grad, const uint8_t *won)
{
    struct avx512_list *list = &net->list;
    const size_t last = (CNN_POOL2 - 1) * (size_t)CNN_CH2;

    mark_winners(net, flat_grad, won);
    memset(list->n, 0, sizeof(list->n));
    for (size_t place = 0; place < CNN_POOL2 - 1; place += 16) {
        alignas(64) int32_t offsets[16];

        for (size_t i = 0; i < 16; i++) {
            offsets[i] = window_offset(place + i);
        }
        for (size_t out = 0; out < CNN_CH2; out += LANES) {
            const size_t at = place * CNN_CH2 + out;

            list_block(flat_grad + at, won + at, _mm512_load_si512(offsets), list, out);
        }
    }
    for (size_t out = 0; out < CNN_CH2; out++) { /* the 49th place */
        const int32_t n = list->n[out];
        const int32_t place = won[last + out];

        list->grad[out][n] = flat_grad[last + out];
        list->offset[out][n] =
            window_offset(CNN_POOL2 - 1) + place / 2 % 2 * MAP_ROW + place % 2 * LANES;
        list->n[out] = n + (place < 4);
    }
}

/* All winners of one output: 25 sums += gradient * (map at the winner's taps). */
AVX512_INLINE void add_winners(const struct avx512_list *list,
                               size_t out,
                               const float *half_map,
                               __m512 sums[CNN_TAPS])
{
    const float *grad = list->grad[out];
    const int32_t *offset = list->offset[out];
    const int32_t n = list->n[out];
    long next = offset[0];

    for (int32_t i = 0; i < n; i++) {
        const float *x = half_map + next;
        const __m512 g = set16(grad[i]);

        next = offset[i + 1];
        __asm__("" : "+r"(next)); /* load it one turn ahead: -6 to -9 % of this loop */
#pragma GCC unroll 25
        for (size_t k = 0; k < CNN_TAPS; k++) {
            sums[k] = fma16(g, load16(x + k / 5 * MAP_ROW + k % 5 * LANES), sums[k]);
        }
    }
}

void avx512_conv2_weights(struct avx512 *net, const float *map)
{
    for (size_t half = 0; half < 2; half++) {
        for (size_t out = 0; out < CNN_CH2; out++) {
            float *grad = net->w2_grad + half * W2_HALF + out * W2_OUT;
            __m512 sums[CNN_TAPS];

#pragma GCC unroll 25
            for (size_t k = 0; k < CNN_TAPS; k++) {
                sums[k] = load16(grad + k * LANES);
            }
            add_winners(&net->list, out, map + half * MAP_HALF, sums);
#pragma GCC unroll 25
            for (size_t k = 0; k < CNN_TAPS; k++) {
                store16(grad + k * LANES, sums[k]);
            }
        }
    }
}

/* What the winners at one place of a row give the row's gradients: the place at `column` reaches
 * those at column - 2 to column + 2. `w` is one kernel row of every output. */
AVX512_INLINE void add_place(const float *flat_grad,
                             const uint64_t *winners,
                             const float *w,
                             size_t column,
                             __m512 sums[14][2])
{
    uint64_t mask = winners[column];

    while (mask != 0) {
        const size_t out = take_bit(&mask);
        const __m512 g = set16(flat_grad[column / 2 * CNN_CH2 + out]);
        const float *row = w + out * W2_OUT;

#pragma GCC unroll 14
        for (size_t i = 0; i < 14; i++) {
            const size_t kw = i + 2 - column; /* wraps below 0 */

            if (kw < 5) {
                sums[i][0] = fma16(g, load16(row + kw * LANES), sums[i][0]);
                sums[i][1] = fma16(g, load16(row + W2_HALF + kw * LANES), sums[i][1]);
            }
        }
    }
}

/* Add one kernel row's part of one row of the map's gradient, or begin it. Each call below is code
 * of its own, its column a constant: 28 sums stay in registers. */
static void add_row(const float *flat_grad,
                    const uint64_t *winners,
                    const float *w,
                    float *grads,
                    bool is_first)
{
    __m512 sums[14][2];

#pragma GCC unroll 14
    for (size_t i = 0; i < 14; i++) {
        sums[i][0] = is_first ? zero16() : load16(grads + i * CNN_CH1);
        sums[i][1] = is_first ? zero16() : load16(grads + i * CNN_CH1 + LANES);
    }
    add_place(flat_grad, winners, w, 0, sums);
    add_place(flat_grad, winners, w, 1, sums);
    add_place(flat_grad, winners, w, 2, sums);
    add_place(flat_grad, winners, w, 3, sums);
    add_place(flat_grad, winners, w, 4, sums);
    add_place(flat_grad, winners, w, 5, sums);
    add_place(flat_grad, winners, w, 6, sums);
    add_place(flat_grad, winners, w, 7, sums);
    add_place(flat_grad, winners, w, 8, sums);
    add_place(flat_grad, winners, w, 9, sums);
    add_place(flat_grad, winners, w, 10, sums);
    add_place(flat_grad, winners, w, 11, sums);
    add_place(flat_grad, winners, w, 12, sums);
    add_place(flat_grad, winners, w, 13, sums);
#pragma GCC unroll 14
    for (size_t i = 0; i < 14; i++) {
        store16(grads + i * CNN_CH1, sums[i][0]);
        store16(grads + i * CNN_CH1 + LANES, sums[i][1]);
    }
}

void avx512_conv2_inputs(struct avx512 *net, const float *flat_grad)
{
    static const size_t kernel_rows[5] = {2, 0, 1, 3,
                                          4}; /* the middle one first: it has all rows */

    for (size_t i = 0; i < 5; i++) {
        const size_t kh = kernel_rows[i];
        const size_t begin = kh > 2 ? kh - 2 : 0;
        const size_t end = kh < 2 ? 12 + kh : 14;

        for (size_t row = begin; row < end; row++) {
            const size_t from = row + 2 - kh;

            add_row(flat_grad + from / 2 * 7 * CNN_CH2, net->winners + from * 14,
                    net->w2 + kh * 5 * LANES, net->map_grad + row * 14 * CNN_CH1, i == 0);
        }
    }
}
