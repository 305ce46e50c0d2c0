/* conv2's forward pass with AVX2: Winograd's F(4x4, 5x5).
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
#include "client/train/cnn/cnn_avx2_inside.h"

enum {
    TILE_VECTORS = TILES * 8, /* of eight inputs, one row of points */
    WEIGHT_VECTORS = CNN_CH1 * CNN_CH2 / LANES,
    SIX_TILES = 6 * CNN_CH1, /* floats */
    SIX_PRODUCTS = 6 * BLOCK,
    ELEVEN_TILES = 11 * CNN_CH1,
    ELEVEN_PRODUCTS = 11 * BLOCK,
};

/* Five kernel values to their values at the points. */
AVX2_INLINE void transform_kernel(const __m256 g[5], __m256 ret[8])
{
    const __m256 one = set8(-2.0F / 9);
    const __m256 two = set8(1.0F / 90);
    const __m256 half = set8(32.0F / 45);
    __m256 even = add8(add8(g[0], g[2]), g[4]);
    __m256 odd = add8(g[1], g[3]);

    ret[0] = g[0];
    ret[1] = mul8(add8(even, odd), one);
    ret[2] = mul8(sub8(even, odd), one);
    even = fma8(set8(16), g[4], fma8(set8(4), g[2], g[0]));
    odd = fma8(set8(8), g[3], add8(g[1], g[1]));
    ret[3] = mul8(add8(even, odd), two);
    ret[4] = mul8(sub8(even, odd), two);
    even = fma8(set8(0.0625F), g[4], fma8(set8(0.25F), g[2], g[0]));
    odd = fma8(set8(0.125F), g[3], mul8(set8(0.5F), g[1]));
    ret[5] = mul8(add8(even, odd), half);
    ret[6] = mul8(sub8(even, odd), half);
    ret[7] = g[4];
}

/* Eight inputs to their values at the points. */
AVX2_INLINE void transform_input(const __m256 d[8], __m256 ret[8])
{
    const __m256 q = set8(5.25F);
    __m256 even = fnma8(set8(4.25F), d[4], add8(d[2], d[6]));
    __m256 odd = fnma8(set8(4.25F), d[3], add8(d[1], d[5]));

    ret[0] = fma8(q, sub8(d[4], d[2]), sub8(d[0], d[6]));
    ret[7] = fma8(q, sub8(d[3], d[5]), sub8(d[7], d[1]));
    ret[1] = add8(even, odd);
    ret[2] = sub8(even, odd);
    even = fnma8(set8(1.25F), d[4], fma8(set8(0.25F), d[2], d[6]));
    odd = fnma8(set8(2.5F), d[3], fma8(set8(2), d[5], mul8(set8(0.5F), d[1])));
    ret[3] = add8(even, odd);
    ret[4] = sub8(even, odd);
    even = fnma8(set8(5), d[4], fma8(set8(4), d[2], d[6]));
    odd = fnma8(set8(2.5F), d[3], fma8(set8(0.5F), d[5], add8(d[1], d[1])));
    ret[5] = add8(even, odd);
    ret[6] = sub8(even, odd);
}

/* Products at the eight points to four outputs. */
AVX2_INLINE void transform_output(const __m256 m[8], __m256 ret[4])
{
    const __m256 sum1 = add8(m[1], m[2]);
    const __m256 sum2 = add8(m[3], m[4]);
    const __m256 sum3 = add8(m[5], m[6]);
    const __m256 diff1 = sub8(m[1], m[2]);
    const __m256 diff2 = sub8(m[3], m[4]);
    const __m256 diff3 = sub8(m[5], m[6]);

    ret[0] = add8(add8(m[0], sum1), add8(sum2, sum3));
    ret[1] = fma8(set8(2), diff2, fma8(set8(0.5F), diff3, diff1));
    ret[2] = fma8(set8(4), sum2, fma8(set8(0.25F), sum3, sum1));
    ret[3] = add8(fma8(set8(8), diff2, fma8(set8(0.125F), diff3, diff1)), m[7]);
}

/* Eight outputs of one input: rows of the kernel first, then columns. `taps` is (25, 8). */
static void transform_block(float (*taps)[LANES], float *ret)
{
    __m256 h[5][8];

    for (size_t y = 0; y < 5; y++) {
        const __m256 g[5] = {load8(taps[y * 5]), load8(taps[y * 5 + 1]), load8(taps[y * 5 + 2]),
                             load8(taps[y * 5 + 3]), load8(taps[y * 5 + 4])};

        transform_kernel(g, h[y]);
    }
    for (size_t x = 0; x < 8; x++) {
        const __m256 g[5] = {h[0][x], h[1][x], h[2][x], h[3][x], h[4][x]};
        __m256 points[8];

        transform_kernel(g, points);
#pragma GCC unroll 8
        for (size_t y = 0; y < 8; y++) {
            store8(ret + (y * 8 + x) * POINT_WEIGHTS, points[y]);
        }
    }
}

void avx2_conv2_transform_weights(struct avx2 *net)
{
    for (size_t at = 0; at < WEIGHT_VECTORS; at++) { /* one input by eight outputs */
        const size_t in = at / 8;
        const size_t out = at % 8 * LANES;
        const float *w = net->w2 + in / BLOCK * W2_HALF + out * W2_OUT + in % BLOCK;
        float *wino = net->w2_wino + out / BLOCK * POINTS * POINT_WEIGHTS + in * BLOCK;
        alignas(64) float taps[CNN_TAPS][LANES]; /* (tap, out) */

        for (size_t k = 0; k < CNN_TAPS; k++) {
            for (size_t i = 0; i < LANES; i++) {
                taps[k][i] = w[k / 5 * W2_ROW + i * W2_OUT + k % 5 * BLOCK];
            }
        }
        transform_block(taps, wino + out % BLOCK);
    }
}

/* Rows of the map, eight channels; those of padding stay the zeros they are. */
static void transform_rows(const float *map, float *ret_rows)
{
    for (size_t y = 2; y < 16; y++) {
        for (size_t tile = 0; tile < 4; tile++) {
            const float *d = map + y * MAP_ROW + tile * 4 * BLOCK;
            float *row = ret_rows + (y * 4 + tile) * 8 * LANES;
            __m256 in[8];
            __m256 out[8];

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                in[i] = load8(d + i * BLOCK);
            }
            transform_input(in, out);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                store8(row + i * LANES, out[i]);
            }
        }
    }
}

static void transform_tiles(struct avx2 *net, const float *map)
{
    for (size_t channel = 0; channel < CNN_CH1; channel += LANES) {
        transform_rows(map + channel / BLOCK * MAP_HALF + channel % BLOCK, net->rows);
        for (size_t at = 0; at < TILE_VECTORS; at++) {
            const size_t tile = at / 8;
            const size_t x = at % 8;
            const float *row = net->rows + (tile / 4 * 16 + tile % 4) * 8 * LANES + x * LANES;
            float *point = net->tiles + x * POINT_TILES + tile * CNN_CH1 + channel;
            __m256 in[8];
            __m256 out[8];

#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                in[i] = load8(row + i * 32 * LANES);
            }
            transform_input(in, out);
#pragma GCC unroll 8
            for (size_t i = 0; i < 8; i++) {
                store8(point + i * 8 * POINT_TILES, out[i]);
            }
        }
    }
}

/* Up to six tiles by 16 outputs at one point: twelve sums in registers. */
AVX2_INLINE void
multiply(const float *restrict tiles, const float *restrict w, float *restrict ret, size_t n)
{
    __m256 sums[6][2];

#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        sums[i][0] = zero8();
        sums[i][1] = zero8();
    }
    for (size_t in = 0; in < CNN_CH1; in += 4) {
#pragma GCC unroll 4
        for (size_t k = in; k < in + 4; k++) {
            const __m256 low = load8(w + k * BLOCK);
            const __m256 high = load8(w + k * BLOCK + LANES);

#pragma GCC unroll 6
            for (size_t i = 0; i < n; i++) {
                const __m256 x = set8(tiles[i * CNN_CH1 + k]);

                sums[i][0] = fma8(x, low, sums[i][0]);
                sums[i][1] = fma8(x, high, sums[i][1]);
            }
        }
    }
#pragma GCC unroll 6
    for (size_t i = 0; i < n; i++) {
        store8(ret + i * BLOCK, sums[i][0]);
        store8(ret + i * BLOCK + LANES, sums[i][1]);
    }
}

static void multiply_points(struct avx2 *net, size_t block)
{
    const float *w = net->w2_wino + block * POINTS * POINT_WEIGHTS;

    for (size_t point = 0; point < POINTS; point++) {
        const float *tiles = net->tiles + point * POINT_TILES;
        const float *weights = w + point * POINT_WEIGHTS;
        float *products = net->products + point * POINT_PRODUCTS;

        multiply(tiles, weights, products, 6);
        multiply(tiles + SIX_TILES, weights, products + SIX_PRODUCTS, 5);
        multiply(tiles + ELEVEN_TILES, weights, products + ELEVEN_PRODUCTS, 5);
    }
}

/* Back from the points: columns of one vector of outputs. */
static void transform_columns(const float *products, __m256 ret[8][4])
{
    for (size_t x = 0; x < 8; x++) {
        __m256 m[8];

#pragma GCC unroll 8
        for (size_t y = 0; y < 8; y++) {
            m[y] = load8(products + (y * 8 + x) * POINT_PRODUCTS);
        }
        transform_output(m, ret[x]);
    }
}

/* Then rows: two rows of outputs, which are two windows of pooled2. */
AVX2_INLINE void transform_pair(__m256 columns[8][4], size_t pair, __m256 ret_windows[2][4])
{
    __m256 rows[2][4];

#pragma GCC unroll 2
    for (size_t row = 0; row < 2; row++) {
        __m256 m[8];

#pragma GCC unroll 8
        for (size_t x = 0; x < 8; x++) {
            m[x] = columns[x][2 * pair + row];
        }
        transform_output(m, rows[row]);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < 2; i++) {
        ret_windows[i][0] = rows[0][2 * i];
        ret_windows[i][1] = rows[0][2 * i + 1];
        ret_windows[i][2] = rows[1][2 * i];
        ret_windows[i][3] = rows[1][2 * i + 1];
    }
}

/* Sixteen outputs of one tile: 2 x 2 places of pooled2, those inside 7 x 7. */
static void
pool_tile(const float *products, const float *bias, size_t tile, float *ret_flat, uint8_t *ret_won)
{
    __m256 columns[2][8][4];

    transform_columns(products, columns[0]);
    transform_columns(products + LANES, columns[1]);
    for (size_t pair = 0; pair < 2; pair++) {
        const size_t row = tile / 4 * 2 + pair;
        const size_t column = tile % 4 * 2;
        __m256 low[2][4];
        __m256 high[2][4];

        if (row > 6) {
            break;
        }
        transform_pair(columns[0], pair, low);
        transform_pair(columns[1], pair, high);
        for (size_t i = 0; i < 2 && column + i < 7; i++) {
            const size_t at = (row * 7 + column + i) * CNN_CH2;

            pool_block(low[i], high[i], bias, ret_flat + at, ret_won == NULL ? NULL : ret_won + at);
        }
    }
}

void avx2_conv2_forward(struct avx2 *net, const float *map, float *ret_flat, uint8_t *ret_won)
{
    transform_tiles(net, map);
    for (size_t block = 0; block < 4; block++) {
        const size_t out = block * BLOCK;

        multiply_points(net, block);
        for (size_t tile = 0; tile < TILES; tile++) {
            pool_tile(net->products + tile * BLOCK, net->b2 + out, tile, ret_flat + out,
                      ret_won == NULL ? NULL : ret_won + out);
        }
    }
}
