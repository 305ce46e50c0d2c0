/* The AVX-512 kernel's layouts and vector helpers. Inside cnn_avx512*.c only.
 *
 * All data stay in these layouts from set_params() on; nothing is rearranged within a step but by
 * 16 x 16 transposes in registers. A vector's 16 lanes are 16 neighbouring channels.
 *
 *   image    28 x 28 in 36 rows of 40, two of zeros at the left and above
 *   map      pooled1: (half, 20, 20, 16), half = channel / 16; two places of zeros at the left and
 *            above, four at the right and below (a Winograd tile sees eight)
 *   flat     pooled2: (place, channel), 49 x 64
 *   hidden   fc1's outputs of a batch: (chunk, image, 128), chunk = output / 128
 *   w1       (tap, channel)
 *   w2       (half, out, tap, in): gradients are gathered for one `out` at a time
 *   w2_wino  (out / 32, point, in, out): w2 transformed, for the forward pass
 *   w3       (place, chunk, channel, 128): blocks of 32 KB
 */
#ifndef CLIENT_TRAIN_CNN_CNN_AVX512_INSIDE_H
#define CLIENT_TRAIN_CNN_CNN_AVX512_INSIDE_H

#include <immintrin.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/train/cnn/cnn.h"
#include "client/train/cnn/cnn_kernel.h"

enum {
    LANES = 16, /* floats of a vector */
    IMAGE_ROW = 40,
    IMAGE_SIZE = 36 * IMAGE_ROW,
    MAP_SIDE = 20,
    MAP_ROW = MAP_SIDE * LANES,
    MAP_HALF = MAP_SIDE * MAP_ROW,
    MAP_SIZE = 2 * MAP_HALF,
    WON1 = CNN_POOL1 * CNN_CH1, /* bytes of an image's places in conv1's windows */
    W2_OUT = CNN_TAPS * LANES,  /* floats of one output's weights, of one half of the inputs */
    W2_HALF = CNN_CH2 * W2_OUT,
    W2_SIZE = 2 * W2_HALF,
    POINTS = 64, /* of Winograd's F(4x4, 5x5): 8 x 8 */
    TILES = 16,  /* 4 x 4 tiles of 4 x 4 outputs cover 14 x 14 */
    /* Floats from one point to the next: 16 tiles of 32, or 32 x 32, and a little, so that points
     * do not fall on the same sets of the cache. */
    POINT_TILES = TILES * 32 + 16,
    POINT_WEIGHTS = 32 * 32 + 16,
    CHUNK = 128, /* fc1's outputs that are summed at once: eight vectors */
    CHUNKS = CNN_HIDDEN / CHUNK,
    CHUNK_BLOCK = CNN_CH2 * CHUNK,      /* floats of w3 of one place and chunk */
    PLACE_BLOCK = CHUNKS * CHUNK_BLOCK, /* floats of w3 of one place */
    LIST = 80,                          /* entries of a list: 49, and room for whole vectors */
    GROUPS_MAX = CNN_BATCH_MAX / 64,    /* words of a mask of images */
    ROWS = CNN_BATCH_MAX + LANES,       /* entries of a row of fc1's backward pass */
    W1_GRAD = (CNN_TAPS + 1) * LANES,   /* 25 taps and the bias, of 16 channels */
};

/* The winners of one image under one of conv2's outputs: gradient and place, at most 49. */
struct avx512_list {
    float grad[CNN_CH2][LIST];
    int32_t offset[CNN_CH2][LIST]; /* floats into one half of the map, of the tap (0, 0) */
    int32_t n[CNN_CH2];
};

struct avx512 {
    /* parameters */
    alignas(64) float w1[CNN_TAPS * CNN_CH1];
    alignas(64) float b1[CNN_CH1];
    alignas(64) float w2[W2_SIZE];
    alignas(64) float w2_wino[2 * POINTS * POINT_WEIGHTS];
    alignas(64) float b2[CNN_CH2];
    alignas(64) float b3[CNN_HIDDEN];
    alignas(64) float w4[CNN_CLASSES * CNN_HIDDEN];
    alignas(64) float b4[LANES];

    /* gradients summed over a batch */
    alignas(64) float w1_grad[2 * W1_GRAD]; /* (half, tap or bias, 16) */
    alignas(64) float w2_grad[W2_SIZE];
    alignas(64) float b2_grad[CNN_CH2];

    /* scratch of one image */
    alignas(64) float rows[MAP_SIDE * 4 * 8 * LANES]; /* tiles transformed along rows */
    alignas(64) float tiles[POINTS * POINT_TILES];    /* (point, tile, in) */
    alignas(64) float products[POINTS * POINT_TILES]; /* (point, tile, out of 32) */
    alignas(64) float map_grad[CNN_POOL1 * CNN_CH1];  /* (place, channel) */
    alignas(64) float table[14 * 5 * LANES];          /* conv1's pixels, two rows of 8 */
    uint64_t winners[CNN_POOL1]; /* per place of conv2: the outputs that chose it */
    struct avx512_list list;

    /* fc1's backward pass, one place: 64 channels by the batch */
    uint64_t active[CNN_CH2][GROUPS_MAX]; /* images in which the channel is positive */
    int32_t n_active[CNN_CH2];
    size_t ahead;  /* floats from a row back to its like in the next place, to fetch that */
    float *scaled; /* (64, ROWS) -lr * activation; owned, as all pointers here */
    float *dots;   /* (64, ROWS) gradient of the active ones, one after the other */
    __m512 *parts; /* (ROWS,) sums of one row's dots before they are summed across lanes */

    float *w3; /* the largest parameter */

    /* a batch */
    float *images;    /* (batch_max, IMAGE_SIZE) when training, else one */
    float *maps;      /* (batch_max, MAP_SIZE) when training, else one */
    uint8_t *won1;    /* (batch_max, WON1); NULL unless training */
    uint8_t *won2;    /* (batch_max, CNN_FLAT); NULL unless training */
    float *flat;      /* (batch_max, CNN_FLAT) */
    float *flat_grad; /* same; NULL unless training */
    float *hidden;    /* (CHUNKS, n, CHUNK), n of this batch */
    float *hidden_grad;
    float *logits; /* (batch_max, 10) */
    float *logits_grad;
};

/* -- stages ----------------------------------------------------------------------------------- */

/* conv1, ReLU and pool of a padded image. `ret_won` is where in its window each channel won, as an
 * offset of pixels in rows of 8 (0, 1, 8, 9), or 16 for none; NULL when not training. */
void avx512_conv1_forward(const struct avx512 *net,
                          const float *image,
                          float *ret_map,
                          uint8_t *ret_won);
/* Add to w1_grad. */
void avx512_conv1_backward(struct avx512 *net, const float *image, const uint8_t *won);

void avx512_conv2_transform_weights(struct avx512 *net); /* w2 → w2_wino */
/* conv2, ReLU and pool; `ret_won` is 0..3, or 4 for none; NULL when not training. */
void avx512_conv2_forward(struct avx512 *net, const float *map, float *ret_flat, uint8_t *ret_won);
/* From the gradient of pooled2: list and masks of winners, b2_grad. */
void avx512_conv2_list(struct avx512 *net, const float *flat_grad, const uint8_t *won);
/* Add to w2_grad what the list gives. */
void avx512_conv2_weights(struct avx512 *net, const float *map);
/* map_grad from the masks. */
void avx512_conv2_inputs(struct avx512 *net, const float *flat_grad);

void avx512_fc1_forward(struct avx512 *net, size_t n);
/* flat_grad, and w3 updated. */
void avx512_fc1_backward(struct avx512 *net, size_t n, float lr);
void avx512_fc2_forward(struct avx512 *net, size_t n);
/* hidden_grad, and w4, b4 and b3 updated. */
void avx512_fc2_backward(struct avx512 *net, size_t n, float lr);

/* -- vectors ---------------------------------------------------------------------------------- */

/* Stages are built from these: a call would cost more than the work. */
#define AVX512_INLINE static inline __attribute__((always_inline))

AVX512_INLINE __m512 load16(const float *p)
{
    return _mm512_load_ps(p);
}

AVX512_INLINE void store16(float *p, __m512 a)
{
    _mm512_store_ps(p, a);
}

AVX512_INLINE __m512 set16(float a)
{
    return _mm512_set1_ps(a);
}

AVX512_INLINE __m512 add16(__m512 a, __m512 b)
{
    return _mm512_add_ps(a, b);
}

AVX512_INLINE __m512 sub16(__m512 a, __m512 b)
{
    return _mm512_sub_ps(a, b);
}

AVX512_INLINE __m512 mul16(__m512 a, __m512 b)
{
    return _mm512_mul_ps(a, b);
}

/* a * b + c, rounded once */
AVX512_INLINE __m512 fma16(__m512 a, __m512 b, __m512 c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* c - a * b, rounded once */
AVX512_INLINE __m512 fnma16(__m512 a, __m512 b, __m512 c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

AVX512_INLINE __m512 zero16(void)
{
    return _mm512_setzero_ps();
}

AVX512_INLINE __mmask16 positive16(__m512 a)
{
    return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_GT_OQ);
}

AVX512_INLINE __m512 unpack_low2(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

AVX512_INLINE __m512 unpack_high2(__m512 a, __m512 b)
{
    return _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a), _mm512_castps_pd(b)));
}

/* Take the lowest bit out of a mask that has one, and return its index. */
AVX512_INLINE size_t take_bit(uint64_t *mask)
{
    const size_t i = (size_t)__builtin_ctzll(*mask);

    *mask &= *mask - 1;
    return i;
}

/* Rows become columns: of 2, of 4, then of whole quarters. */
AVX512_INLINE void transpose16(__m512 r[16])
{
    __m512 t[16];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        r[4 * i] = unpack_low2(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = unpack_high2(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = unpack_low2(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = unpack_high2(t[4 * i + 1], t[4 * i + 3]);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88);
        t[4 + i] = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        t[8 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88);
        t[12 + i] = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0x88);
        r[8 + i] = _mm512_shuffle_f32x4(t[i], t[8 + i], 0xdd);
        r[4 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0x88);
        r[12 + i] = _mm512_shuffle_f32x4(t[4 + i], t[12 + i], 0xdd);
    }
}

/* Lane i of the result is the sum of p[i]'s lanes: a transpose that adds on its way. */
AVX512_INLINE __m512 sum16(const __m512 *p)
{
    __m512 t[8];
    __m512 r[4];

#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) {
        t[i] = add16(_mm512_unpacklo_ps(p[2 * i], p[2 * i + 1]),
                     _mm512_unpackhi_ps(p[2 * i], p[2 * i + 1]));
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
        r[i] = add16(unpack_low2(t[2 * i], t[2 * i + 1]), unpack_high2(t[2 * i], t[2 * i + 1]));
    }
    const __m512 a =
        add16(_mm512_shuffle_f32x4(r[0], r[1], 0x88), _mm512_shuffle_f32x4(r[0], r[1], 0xdd));
    const __m512 b =
        add16(_mm512_shuffle_f32x4(r[2], r[3], 0x88), _mm512_shuffle_f32x4(r[2], r[3], 0xdd));
    return add16(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

/* A window's greatest sum (the first of equals), bias, ReLU. Where it won goes to ret_won as 0, 1,
 * below, below + 1, or `none` where the result is not positive; ret_won NULL: not wanted. */
AVX512_INLINE __m512
pool16(const __m512 sums[4], __m512 bias, int below, int none, uint8_t *ret_won)
{
    const __mmask16 second = _mm512_cmp_ps_mask(sums[1], sums[0], _CMP_GT_OQ);
    __m512 max = _mm512_max_ps(sums[0], sums[1]);

    if (ret_won == NULL) {
        max = _mm512_max_ps(max, _mm512_max_ps(sums[2], sums[3]));
        return _mm512_max_ps(add16(max, bias), zero16());
    }
    __m512i won = _mm512_maskz_set1_epi32(second, 1);
    won = _mm512_mask_set1_epi32(won, _mm512_cmp_ps_mask(sums[2], max, _CMP_GT_OQ), below);
    max = _mm512_max_ps(max, sums[2]);
    won = _mm512_mask_set1_epi32(won, _mm512_cmp_ps_mask(sums[3], max, _CMP_GT_OQ), below + 1);
    max = add16(_mm512_max_ps(max, sums[3]), bias);
    won = _mm512_mask_set1_epi32(won, _mm512_cmp_ps_mask(max, zero16(), _CMP_NGT_UQ), none);
    _mm_storeu_si128((__m128i_u *)ret_won, _mm512_cvtepi32_epi8(won));
    return _mm512_max_ps(max, zero16());
}

#endif /* CLIENT_TRAIN_CNN_CNN_AVX512_INSIDE_H */
