/* The AVX2 kernel's layouts and vector helpers. Inside cnn_avx2*.c only.
 *
 * The plan is that of the AVX-512 kernel (cnn_avx512_inside.h) for 16 registers of 8 lanes:
 * channels still come in blocks of 16, two vectors; sums are held for fewer places at once; what
 * AVX-512 does with compressed vectors is done by masks and lists made in plain C.
 *
 *   image    28 x 28 in 36 rows of 40, two of zeros at the left and above
 *   map      pooled1: (half, 20, 20, 16), half = channel / 16; two places of zeros at the left and
 *            above, four at the right and below
 *   flat     pooled2: (place, channel), 49 x 64
 *   hidden   fc1's outputs of a batch: (chunk, image, 64), chunk = output / 64
 *   w1       (tap, channel)
 *   w2       (half, kernel row, out, kernel column, in)
 *   w2_wino  (out / 16, point, in, 16): w2 transformed, for the forward pass
 *   w3       (place, chunk, channel, 64): blocks of 16 KB
 */
#ifndef CLIENT_TRAIN_CNN_CNN_AVX2_INSIDE_H
#define CLIENT_TRAIN_CNN_CNN_AVX2_INSIDE_H

#include <immintrin.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/train/cnn/cnn.h"
#include "client/train/cnn/cnn_kernel.h"

enum {
    LANES = 8,  /* floats of a vector */
    BLOCK = 16, /* channels of a block */
    IMAGE_ROW = 40,
    IMAGE_SIZE = 36 * IMAGE_ROW,
    MAP_SIDE = 20,
    MAP_ROW = MAP_SIDE * BLOCK,
    MAP_HALF = MAP_SIDE * MAP_ROW,
    MAP_SIZE = 2 * MAP_HALF,
    WON1 = CNN_POOL1 * CNN_CH1, /* bytes of an image's places in conv1's windows */
    W2_OUT = 5 * BLOCK,         /* floats of one kernel row of one output, half of the inputs */
    W2_ROW = CNN_CH2 * W2_OUT,
    W2_HALF = 5 * W2_ROW,
    W2_SIZE = 2 * W2_HALF,
    POINTS = 64, /* of Winograd's F(4x4, 5x5): 8 x 8 */
    TILES = 16,  /* 4 x 4 tiles of 4 x 4 outputs cover 14 x 14 */
    /* Floats from one point to the next, and a little, so that points do not fall on the same sets
     * of the cache. */
    POINT_TILES = TILES * CNN_CH1 + 16,
    POINT_PRODUCTS = TILES * BLOCK + 16,
    POINT_WEIGHTS = CNN_CH1 * BLOCK + 16,
    CHUNK = 64, /* fc1's outputs that are summed at once: eight vectors */
    CHUNKS = CNN_HIDDEN / CHUNK,
    CHUNK_BLOCK = CNN_CH2 * CHUNK,      /* floats of w3 of one place and chunk */
    PLACE_BLOCK = CHUNKS * CHUNK_BLOCK, /* floats of w3 of one place */
    LIST2 = 50,                         /* entries of a list of conv2: 49, and one to write over */
    LIST1 = 197,                        /* of conv1: 196 and one */
    W1_GRAD = 5 * LANES,                /* kernel rows of 5, and three lanes of waste */
};

/* Winners under one output: gradient, and where its tap (0, 0) lies. */
struct avx2_winner {
    float grad;
    int32_t offset;
};

struct avx2 {
    /* parameters */
    alignas(64) float w1[CNN_TAPS * CNN_CH1];
    alignas(64) float b1[CNN_CH1];
    alignas(64) float w2[W2_SIZE];
    alignas(64) float w2_wino[4 * POINTS * POINT_WEIGHTS];
    alignas(64) float b2[CNN_CH2];
    alignas(64) float b3[CNN_HIDDEN];
    alignas(64) float w4[CNN_CLASSES * CNN_HIDDEN];
    alignas(64) float b4[BLOCK];

    /* gradients summed over a batch */
    alignas(64) float w1_grad[CNN_CH1 * W1_GRAD]; /* (channel, kernel row, 8) */
    alignas(64) float b1_grad[CNN_CH1];
    alignas(64) float w2_grad[W2_SIZE];
    alignas(64) float b2_grad[CNN_CH2];

    /* scratch of one image */
    alignas(64) float rows[MAP_SIDE * 4 * 8 * LANES];    /* tiles transformed along rows */
    alignas(64) float tiles[POINTS * POINT_TILES];       /* (point, tile, in) */
    alignas(64) float products[POINTS * POINT_PRODUCTS]; /* (point, tile, out of 16) */
    alignas(64) float map_grad[2 * CNN_POOL1 * BLOCK];   /* (half, place, 16) */
    alignas(64) float old_row[CNN_HIDDEN];               /* of w3, while it takes its update */
    float dots[CNN_BATCH_MAX];                /* of one row with the images it is active in */
    uint64_t winners[CNN_POOL1];              /* per place of conv2: the outputs that chose it */
    struct avx2_winner list2[CNN_CH2][LIST2]; /* offset: floats into one half of the map */
    struct avx2_winner list1[CNN_CH1][LIST1]; /* offset: floats into the image */
    size_t n_list2[CNN_CH2];
    size_t n_list1[CNN_CH1];

    /* a batch; all owned */
    float *w3;        /* the largest parameter */
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

/* conv1, ReLU and pool of a padded image; `ret_won` is 0..3, or 4 for none; NULL when not
 * training. */
void avx2_conv1_forward(const struct avx2 *net,
                        const float *image,
                        float *ret_map,
                        uint8_t *ret_won);
/* Add to w1_grad and b1_grad. */
void avx2_conv1_backward(struct avx2 *net, const float *image, const uint8_t *won);

void avx2_conv2_transform_weights(struct avx2 *net); /* w2 → w2_wino */
/* conv2, ReLU and pool; `ret_won` as above. */
void avx2_conv2_forward(struct avx2 *net, const float *map, float *ret_flat, uint8_t *ret_won);
/* From the gradient of pooled2: lists and masks of winners, b2_grad. */
void avx2_conv2_list(struct avx2 *net, const float *flat_grad, const uint8_t *won);
/* Add to w2_grad what the lists give. */
void avx2_conv2_weights(struct avx2 *net, const float *map);
/* map_grad from the masks. */
void avx2_conv2_inputs(struct avx2 *net, const float *flat_grad);

void avx2_fc1_forward(struct avx2 *net, size_t n);
/* flat_grad, and w3 updated. */
void avx2_fc1_backward(struct avx2 *net, size_t n, float lr);
void avx2_fc2_forward(struct avx2 *net, size_t n);
/* hidden_grad, and w4, b4 and b3 updated. */
void avx2_fc2_backward(struct avx2 *net, size_t n, float lr);

/* -- vectors ---------------------------------------------------------------------------------- */

/* Stages are built from these: a call would cost more than the work. */
#define AVX2_INLINE static inline __attribute__((always_inline))

AVX2_INLINE __m256 load8(const float *p)
{
    return _mm256_load_ps(p);
}

AVX2_INLINE void store8(float *p, __m256 a)
{
    _mm256_store_ps(p, a);
}

AVX2_INLINE __m256 set8(float a)
{
    return _mm256_set1_ps(a);
}

AVX2_INLINE __m256 add8(__m256 a, __m256 b)
{
    return _mm256_add_ps(a, b);
}

AVX2_INLINE __m256 sub8(__m256 a, __m256 b)
{
    return _mm256_sub_ps(a, b);
}

AVX2_INLINE __m256 mul8(__m256 a, __m256 b)
{
    return _mm256_mul_ps(a, b);
}

/* a * b + c, rounded once */
AVX2_INLINE __m256 fma8(__m256 a, __m256 b, __m256 c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* c - a * b, rounded once */
AVX2_INLINE __m256 fnma8(__m256 a, __m256 b, __m256 c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

AVX2_INLINE __m256 zero8(void)
{
    return _mm256_setzero_ps();
}

/* All bits where a > 0 */
AVX2_INLINE __m256 positive8(__m256 a)
{
    return _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_GT_OQ);
}

AVX2_INLINE float sum8(__m256 a)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    x = _mm_add_ss(x, _mm_movehdup_ps(x));
    return _mm_cvtss_f32(x);
}

/* Take the lowest bit out of a mask that has one, and return its index. */
AVX2_INLINE size_t take_bit(uint64_t *mask)
{
    const size_t i = (size_t)__builtin_ctzll(*mask);

    *mask &= *mask - 1;
    return i;
}

/* A window's greatest sum (the first of equals), bias, ReLU; where it won goes to *ret_won as 0..3,
 * or 4 where the result is not positive; ret_won NULL: not wanted. */
AVX2_INLINE __m256 pool8(const __m256 sums[4], __m256 bias, __m256i *ret_won)
{
    const __m256 second = _mm256_cmp_ps(sums[1], sums[0], _CMP_GT_OQ);
    __m256 max = _mm256_max_ps(sums[0], sums[1]);
    __m256 won = _mm256_and_ps(second, _mm256_castsi256_ps(_mm256_set1_epi32(1)));

    if (ret_won == NULL) {
        max = _mm256_max_ps(max, _mm256_max_ps(sums[2], sums[3]));
        return _mm256_max_ps(add8(max, bias), zero8());
    }
    won = _mm256_blendv_ps(won, _mm256_castsi256_ps(_mm256_set1_epi32(2)),
                           _mm256_cmp_ps(sums[2], max, _CMP_GT_OQ));
    max = _mm256_max_ps(max, sums[2]);
    won = _mm256_blendv_ps(won, _mm256_castsi256_ps(_mm256_set1_epi32(3)),
                           _mm256_cmp_ps(sums[3], max, _CMP_GT_OQ));
    max = add8(_mm256_max_ps(max, sums[3]), bias);
    won = _mm256_blendv_ps(_mm256_castsi256_ps(_mm256_set1_epi32(4)), won, positive8(max));
    *ret_won = _mm256_castps_si256(won);
    return _mm256_max_ps(max, zero8());
}

/* Sixteen numbers 0..4 to bytes. */
AVX2_INLINE void store_won(uint8_t *p, __m256i low, __m256i high)
{
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xD8);

    _mm_storeu_si128((__m128i_u *)p, _mm_packus_epi16(_mm256_castsi256_si128(words),
                                                      _mm256_extracti128_si256(words, 1)));
}

/* A block of 16 channels: values, and where each won. */
AVX2_INLINE void
pool_block(__m256 low[4], __m256 high[4], const float *bias, float *ret_values, uint8_t *ret_won)
{
    __m256i won[2];

    if (ret_won == NULL) {
        store8(ret_values, pool8(low, load8(bias), NULL));
        store8(ret_values + LANES, pool8(high, load8(bias + LANES), NULL));
        return;
    }
    store8(ret_values, pool8(low, load8(bias), &won[0]));
    store8(ret_values + LANES, pool8(high, load8(bias + LANES), &won[1]));
    store_won(ret_won, won[0], won[1]);
}

#endif /* CLIENT_TRAIN_CNN_CNN_AVX2_INSIDE_H */
