/* conv1 with AVX-512: 1 input channel, 32 outputs in two vectors. */
#include "client/train/cnn/cnn_avx512_inside.h"

enum {
    WON_BELOW = 8, /* winners as offsets in rows of 8 pixels, for avx512_conv1_backward() */
    WON_NONE = 16,
    TABLE_COLUMN = 5 * LANES, /* floats of one window's table */
};

/* Two windows side by side: add up the sums of 2 rows of 4 pixels, 32 channels each. */
AVX512_INLINE void sum_windows(const float *w, const float *pixels, __m512 sums[8][2])
{
    for (size_t kh = 0; kh < 5; kh++, pixels += IMAGE_ROW) {
#pragma GCC unroll 5
        for (size_t kw = 0; kw < 5; kw++, w += CNN_CH1) {
            const __m512 low = load16(w);
            const __m512 high = load16(w + LANES);

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                const __m512 x = set16(pixels[kw + i % 4 + i / 4 * IMAGE_ROW]);

                sums[i][0] = fma16(x, low, sums[i][0]);
                sums[i][1] = fma16(x, high, sums[i][1]);
            }
        }
    }
}

/* All that two windows side by side see: 6 rows of 8 pixels. Some half of an image of MNIST is
 * black. */
AVX512_INLINE bool is_black(const float *pixels)
{
    __m256i any = _mm256_loadu_si256((const __m256i_u *)pixels);

#pragma GCC unroll 5
    for (size_t i = 1; i < 6; i++) {
        any = _mm256_or_si256(any, _mm256_loadu_si256((const __m256i_u *)(pixels + i * IMAGE_ROW)));
    }
    return _mm256_testz_si256(any, any) != 0;
}

/* The sums of a black pair are zero without being summed. */
AVX512_INLINE void clear_windows(__m512 sums[8][2])
{
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        sums[i][0] = zero16();
        sums[i][1] = zero16();
    }
}

void avx512_conv1_forward(const struct avx512 *net,
                          const float *image,
                          float *ret_map,
                          uint8_t *ret_won)
{
    for (size_t place = 0; place < CNN_POOL1; place += 2) {
        const size_t row = place / 14;
        const size_t column = place % 14;
        const float *pixels = image + 2 * row * IMAGE_ROW + 2 * column;
        float *map = ret_map + (row + 2) * MAP_ROW + (column + 2) * LANES;
        __m512 sums[8][2];

        clear_windows(sums);
        if (!is_black(pixels)) {
            sum_windows(net->w1, pixels, sums);
        }
#pragma GCC unroll 4
        for (size_t i = 0; i < 4; i++) {
            const size_t window = i / 2;
            const size_t half = i % 2;
            const __m512 four[4] = {sums[2 * window][half], sums[2 * window + 1][half],
                                    sums[2 * window + 4][half], sums[2 * window + 5][half]};
            uint8_t *won =
                ret_won == NULL ? NULL : ret_won + (place + window) * CNN_CH1 + half * LANES;

            store16(map + half * MAP_HALF + window * LANES,
                    pool16(four, load16(net->b1 + half * LANES), WON_BELOW, WON_NONE, won));
        }
    }
}

/* Of one row of windows: for each window and kernel row, the 8 pixels of that row and of the next,
 * so that a winner's pixel is one of 16 and a look-up within a register finds it. Returns a mask of
 * the windows that are black, and their neighbours to the right: they have no such table. */
static uint32_t fill_table(float *table, const float *pixels)
{
    uint32_t black = 0;

    for (size_t column = 0; column < 14; column++, pixels += 2) {
        __m256 above = _mm256_loadu_ps(pixels);

        if (is_black(pixels)) {
            black |= 1U << column;
            continue;
        }
#pragma GCC unroll 5
        for (size_t kh = 0; kh < 5; kh++) {
            const __m256 below = _mm256_loadu_ps(pixels + (kh + 1) * IMAGE_ROW);

            store16(table + (column * 5 + kh) * LANES,
                    _mm512_insertf32x8(_mm512_castps256_ps512(above), below, 1));
            above = below;
        }
    }
    return black;
}

/* Lane = channel: each finds its winner's pixel in the table, tap by tap. */
static void
add_row(const float *table, uint32_t black, const float *grads, const uint8_t *won, float *w1_grad)
{
    __m512 sums[CNN_TAPS + 1];

#pragma GCC unroll 26
    for (size_t k = 0; k <= CNN_TAPS; k++) {
        sums[k] = load16(w1_grad + k * LANES);
    }
    for (size_t column = 0; column < 14; column++, table += TABLE_COLUMN) {
        const __m128i bytes = _mm_loadu_si128((const __m128i_u *)(won + column * CNN_CH1));
        __m512i pixel = _mm512_cvtepu8_epi32(bytes);
        const __mmask16 has_winner = _mm512_cmplt_epi32_mask(pixel, _mm512_set1_epi32(WON_NONE));
        const __m512 grad = _mm512_maskz_load_ps(has_winner, grads + column * CNN_CH1);

        sums[CNN_TAPS] = add16(sums[CNN_TAPS], grad);
        if ((black >> column & 1) != 0) {
            continue;
        }
#pragma GCC unroll 5
        for (size_t kw = 0; kw < 5; kw++) {
#pragma GCC unroll 5
            for (size_t kh = 0; kh < 5; kh++) {
                const __m512 x = _mm512_permutexvar_ps(pixel, load16(table + kh * LANES));

                sums[kh * 5 + kw] = fma16(grad, x, sums[kh * 5 + kw]);
            }
            pixel = _mm512_add_epi32(pixel, _mm512_set1_epi32(1));
        }
    }
#pragma GCC unroll 26
    for (size_t k = 0; k <= CNN_TAPS; k++) {
        store16(w1_grad + k * LANES, sums[k]);
    }
}

void avx512_conv1_backward(struct avx512 *net, const float *image, const uint8_t *won)
{
    for (size_t row = 0; row < 14; row++) {
        const uint32_t black = fill_table(net->table, image + 2 * row * IMAGE_ROW);
        for (size_t half = 0; half < 2; half++) {
            const size_t at = row * 14 * CNN_CH1 + half * LANES;

            add_row(net->table, black, net->map_grad + at, won + at, net->w1_grad + half * W1_GRAD);
        }
    }
}
