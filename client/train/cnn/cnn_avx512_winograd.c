/* conv2's forward pass with AVX-512: Winograd's F(4x4, 5x5).
 *
 * Sixteen tiles of 8 x 8 inputs, four apart, give 4 x 4 outputs each: four pooling windows. Inputs
 * and kernels are transformed to values at 8 x 8 points, multiplied there (64 matrix products of
 * 16 tiles x 32 inputs by 32 inputs x 64 outputs: 2.1 million multiplications instead of 10), and
 * transformed back.
 *
 * Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, section
 * 4; the matrices are those of Toom and Cook for the points 0, ±1, ±2, ±1/2 and infinity. Their
 * rounding in float32 stays below that of the direct sum of 800 terms.
 */
#include "client/train/cnn/cnn_avx512_inside.h"

enum {
    WON_BELOW = 2,
    WON_NONE = 4,
    TILE_VECTORS = TILES * 8,    /* of one half of the inputs, one column of points */
    PRODUCT_VECTORS = TILES * 2, /* of one point */
    EIGHT_TILES = 8 * 32,        /* floats */
};

/* Five kernel values to their values at the points. */
AVX512_INLINE void transform_kernel(const __m512 g[5], __m512 ret[8])
{
    const __m512 one = set16(-2.0F / 9);
    const __m512 two = set16(1.0F / 90);
    const __m512 half = set16(32.0F / 45);
    __m512 even = add16(add16(g[0], g[2]), g[4]);
    __m512 odd = add16(g[1], g[3]);

    ret[0] = g[0];
    ret[1] = mul16(add16(even, odd), one);
    ret[2] = mul16(sub16(even, odd), one);
    even = fma16(set16(16), g[4], fma16(set16(4), g[2], g[0]));
    odd = fma16(set16(8), g[3], add16(g[1], g[1]));
    ret[3] = mul16(add16(even, odd), two);
    ret[4] = mul16(sub16(even, odd), two);
    even = fma16(set16(0.0625F), g[4], fma16(set16(0.25F), g[2], g[0]));
    odd = fma16(set16(0.125F), g[3], mul16(set16(0.5F), g[1]));
    ret[5] = mul16(add16(even, odd), half);
    ret[6] = mul16(sub16(even, odd), half);
    ret[7] = g[4];
}

/* Eight inputs to their values at the points. */
AVX512_INLINE void transform_input(const __m512 d[8], __m512 ret[8])
{
    const __m512 q = set16(5.25F);
    __m512 even = fnma16(set16(4.25F), d[4], add16(d[2], d[6]));
    __m512 odd = fnma16(set16(4.25F), d[3], add16(d[1], d[5]));

    ret[0] = fma16(q, sub16(d[4], d[2]), sub16(d[0], d[6]));
    ret[7] = fma16(q, sub16(d[3], d[5]), sub16(d[7], d[1]));
    ret[1] = add16(even, odd);
    ret[2] = sub16(even, odd);
    even = fnma16(set16(1.25F), d[4], fma16(set16(0.25F), d[2], d[6]));
    odd = fnma16(set16(2.5F), d[3], fma16(set16(2), d[5], mul16(set16(0.5F), d[1])));
    ret[3] = add16(even, odd);
    ret[4] = sub16(even, odd);
    even = fnma16(set16(5), d[4], fma16(set16(4), d[2], d[6]));
    odd = fnma16(set16(2.5F), d[3], fma16(set16(0.5F), d[5], add16(d[1], d[1])));
    ret[5] = add16(even, odd);
    ret[6] = sub16(even, odd);
}

/* Products at the eight points to four outputs. */
AVX512_INLINE void transform_output(const __m512 m[8], __m512 ret[4])
{
    const __m512 sum1 = add16(m[1], m[2]);
    const __m512 sum2 = add16(m[3], m[4]);
    const __m512 sum3 = add16(m[5], m[6]);
    const __m512 diff1 = sub16(m[1], m[2]);
    const __m512 diff2 = sub16(m[3], m[4]);
    const __m512 diff3 = sub16(m[5], m[6]);

    ret[0] = add16(add16(m[0], sum1), add16(sum2, sum3));
    ret[1] = fma16(set16(2), diff2, fma16(set16(0.5F), diff3, diff1));
    ret[2] = fma16(set16(4), sum2, fma16(set16(0.25F), sum3, sum1));
    ret[3] = add16(fma16(set16(8), diff2, fma16(set16(0.125F), diff3, diff1)), m[7]);
}

/* Sixteen outputs of one input: rows of the kernel first, then columns. `taps` is (25, 16, 16). */
static void transform_block(float (*taps)[LANES][LANES], size_t in, float *ret)
{
    __m512 h[5][8];

#pragma GCC unroll 5
    for (size_t y = 0; y < 5; y++) {
        const __m512 g[5] = {load16(taps[y * 5][in]), load16(taps[y * 5 + 1][in]),
                             load16(taps[y * 5 + 2][in]), load16(taps[y * 5 + 3][in]),
                             load16(taps[y * 5 + 4][in])};

        transform_kernel(g, h[y]);
    }
    for (size_t x = 0; x < 8; x++) {
        const __m512 g[5] = {h[0][x], h[1][x], h[2][x], h[3][x], h[4][x]};
        __m512 points[8];

        transform_kernel(g, points);
#pragma GCC unroll 8
        for (size_t y = 0; y < 8; y++) {
            store16(ret + (y * 8 + x) * POINT_WEIGHTS, points[y]);
        }
    }
}

void avx512_conv2_transform_weights(struct avx512 *net)
{
    for (size_t block = 0; block < 8; block++) { /* 16 inputs by 16 outputs */
        const size_t half = block / 4;
        const size_t out = block % 4 * LANES;
        const float *w = net->w2 + half * W2_HALF + out * W2_OUT;
        float *wino = net->w2_wino + out / 32 * POINTS * POINT_WEIGHTS + half * LANES * 32;
        alignas(64) float taps[CNN_TAPS][LANES][LANES]; /* (tap, in, out) */

        for (size_t k = 0; k < CNN_TAPS; k++) {
            __m512 r[16];

#pragma GCC unroll 16
            for (size_t i = 0; i < 16; i++) {
                r[i] = load16(w + i * W2_OUT + k * LANES);
            }
            transpose16(r);
#pragma GCC unroll 16
            for (size_t i = 0; i < 16; i++) {
                store16(taps[k][i], r[i]);
            }
        }
        for (size_t in = 0; in < LANES; in++) {
            transform_block(taps, in, wino + in * 32 + out % 32);
        }
    }
}

/* Rows of the map; those of padding stay the zeros they are. */
static void transform_rows(const float *half_map, float *ret_rows)
{
    for (size_t y = 2; y < 16; y++) {
        for (size_t tile = 0; tile < 4; tile++) {
            const float *d = half_map + y * MAP_ROW + tile * 4 * LANES;
            float *row = ret_rows + (y * 4 + tile) * 8 * LANES;
            __m512 in[8];
            __m512 out[8];

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                in[i] = load16(d + i * LANES);
            }
            transform_input(in, out);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                store16(row + i * LANES, out[i]);
            }
        }
    }
}

static void transform_tiles(struct avx512 *net, const float *map)
{
    for (size_t half = 0; half < 2; half++) {
        transform_rows(map + half * MAP_HALF, net->rows);
        for (size_t at = 0; at < TILE_VECTORS; at++) {
            const size_t tile = at / 8;
            const size_t x = at % 8;
            const float *row = net->rows + (tile / 4 * 16 + tile % 4) * 8 * LANES + x * LANES;
            float *point = net->tiles + x * POINT_TILES + tile * 32 + half * LANES;
            __m512 in[8];
            __m512 out[8];

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                in[i] = load16(row + i * 32 * LANES);
            }
            transform_input(in, out);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                store16(point + i * 8 * POINT_TILES, out[i]);
            }
        }
    }
}

/* Eight tiles by 32 outputs at one point: 16 sums in registers. */
AVX512_INLINE void
multiply8(const float *restrict tiles, const float *restrict w, float *restrict ret)
{
    __m512 sums[8][2];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        sums[i][0] = zero16();
        sums[i][1] = zero16();
    }
    for (size_t in = 0; in < 32; in += 4) {
#pragma GCC unroll 4
        for (size_t k = in; k < in + 4; k++) {
            const __m512 low = load16(w + k * 32);
            const __m512 high = load16(w + k * 32 + LANES);

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                const __m512 x = set16(tiles[i * 32 + k]);

                sums[i][0] = fma16(x, low, sums[i][0]);
                sums[i][1] = fma16(x, high, sums[i][1]);
            }
        }
    }
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        store16(ret + i * 32, sums[i][0]);
        store16(ret + i * 32 + LANES, sums[i][1]);
    }
}

static void multiply_points(struct avx512 *net, size_t half)
{
    const float *w = net->w2_wino + half * POINTS * POINT_WEIGHTS;

    for (size_t point = 0; point < POINTS; point++) {
        const float *tiles = net->tiles + point * POINT_TILES;
        float *products = net->products + point * POINT_TILES;

        multiply8(tiles, w + point * POINT_WEIGHTS, products);
        multiply8(tiles + EIGHT_TILES, w + point * POINT_WEIGHTS, products + EIGHT_TILES);
    }
}

/* Back from the points: two rows of outputs, which are two windows of pooled2. */
AVX512_INLINE void pool_rows(__m512 columns[8][4], size_t pair, __m512 ret_windows[2][4])
{
    __m512 m[8];
    __m512 upper[4];
    __m512 lower[4];

#pragma GCC unroll 8
    for (size_t x = 0; x < 8; x++) {
        m[x] = columns[x][2 * pair];
    }
    transform_output(m, upper);
#pragma GCC unroll 8
    for (size_t x = 0; x < 8; x++) {
        m[x] = columns[x][2 * pair + 1];
    }
    transform_output(m, lower);
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        ret_windows[i][0] = upper[2 * i];
        ret_windows[i][1] = upper[2 * i + 1];
        ret_windows[i][2] = lower[2 * i];
        ret_windows[i][3] = lower[2 * i + 1];
    }
}

/* Sixteen outputs of one tile: 2 x 2 places of pooled2, those inside 7 x 7. */
AVX512_INLINE void
pool_tile(const float *products, __m512 bias, size_t tile, float *ret_flat, uint8_t *ret_won)
{
    __m512 columns[8][4];

#pragma GCC unroll 8
    for (size_t x = 0; x < 8; x++) {
        __m512 m[8];

#pragma GCC unroll 8
        for (size_t y = 0; y < 8; y++) {
            m[y] = load16(products + (y * 8 + x) * POINT_TILES);
        }
        transform_output(m, columns[x]);
    }
#pragma GCC unroll 2
    for (size_t pair = 0; pair < 2; pair++) {
        const size_t row = tile / 4 * 2 + pair;
        const size_t column = tile % 4 * 2;
        const size_t at = (row * 7 + column) * CNN_CH2;
        __m512 windows[2][4];

        if (row > 6) {
            break;
        }
        pool_rows(columns, pair, windows);
        store16(ret_flat + at, pool16(windows[0], bias, WON_BELOW, WON_NONE,
                                      ret_won == NULL ? NULL : ret_won + at));
        if (column < 6) {
            store16(ret_flat + at + CNN_CH2,
                    pool16(windows[1], bias, WON_BELOW, WON_NONE,
                           ret_won == NULL ? NULL : ret_won + at + CNN_CH2));
        }
    }
}

void avx512_conv2_forward(struct avx512 *net, const float *map, float *ret_flat, uint8_t *ret_won)
{
    transform_tiles(net, map);
    for (size_t half = 0; half < 2; half++) {
        multiply_points(net, half);
        for (size_t at = 0; at < PRODUCT_VECTORS; at++) {
            const size_t tile = at / 2;
            const size_t out = half * 32 + at % 2 * LANES;

            pool_tile(net->products + tile * 32 + at % 2 * LANES, load16(net->b2 + out), tile,
                      ret_flat + out, ret_won == NULL ? NULL : ret_won + out);
        }
    }
}
