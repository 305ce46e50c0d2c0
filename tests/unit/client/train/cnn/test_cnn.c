#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/train/cnn/cnn.h"
#include "common/base/rand.h"
#include "common/model/cnn_model.h"
#include "tests/unit/client/train/cnn/reference.h"

enum {
    IMAGES = 64,
    SIZES = 5,
};

static const size_t sizes[SIZES] = {1, 7, 10, 33, IMAGES};
static const size_t tensor_at[FED_CNN_TENSORS + 1] = {0,       800,     832,     52032,  52096,
                                                      1657728, 1658240, 1663360, 1663370};

/* What all tests share: made once, constant after. */
struct bench {
    float *params;
    float *images;          /* (IMAGES, 784) */
    uint8_t labels[IMAGES]; /* (IMAGES,) */
    double *grads[SIZES];   /* mean gradient over the first sizes[i] images */
    double losses[SIZES];   /* mean loss, likewise */
    double logits[IMAGES][10];
};

static struct bench bench;

/* Strokes on a black ground, as in MNIST: much of an image is the same everywhere, and so are many
 * pooling windows, whose four sums then tie. */
static void draw(struct fed_rand *rand, float *image)
{
    memset(image, 0, FED_CNN_PIXELS * sizeof(float));
    for (int stroke = 0; stroke < 3; stroke++) {
        double row = 5 + 18 * fed_rand_unit(rand);
        double column = 5 + 18 * fed_rand_unit(rand);
        const double down = fed_rand_unit(rand) - 0.5;
        const double right = fed_rand_unit(rand) - 0.5;

        for (int i = 0; i < 24; i++) {
            row = fmin(fmax(row + down, 1), 26);
            column = fmin(fmax(column + right, 1), 26);
            const size_t at = (size_t)row * 28 + (size_t)column;
            image[at] = (float)(fed_rand_below(rand, 128) + 128) / 255.0F;
            image[at + 1] = (float)(fed_rand_below(rand, 255) + 1) / 255.0F;
        }
    }
}

static void add_reference(void)
{
    double *sum = calloc(FED_CNN_PARAMS, sizeof(*sum));
    double loss = 0;
    size_t size = 0;

    assert_non_null(sum);
    for (size_t i = 0; i < IMAGES; i++) {
        loss += reference_add(bench.params, bench.images + i * FED_CNN_PIXELS, bench.labels[i], sum,
                              bench.logits[i]);
        if (i + 1 == sizes[size]) {
            const double n = (double)(i + 1);

            bench.grads[size] = calloc(FED_CNN_PARAMS, sizeof(*sum));
            assert_non_null(bench.grads[size]);
            for (size_t k = 0; k < FED_CNN_PARAMS; k++) {
                bench.grads[size][k] = sum[k] / n;
            }
            bench.losses[size] = loss / n;
            size++;
        }
    }
    free(sum);
}

static int set_up_all(void **state)
{
    const uint64_t key = 5;
    struct fed_rand rand;

    (void)state;
    fed_rand_init(&rand, &key, 1);
    bench.params = calloc(FED_CNN_PARAMS, sizeof(float));
    bench.images = calloc((size_t)IMAGES * FED_CNN_PIXELS, sizeof(float));
    assert_non_null(bench.params);
    assert_non_null(bench.images);
    fed_cnn_init(11, bench.params);
    for (size_t i = 0; i < IMAGES; i++) {
        draw(&rand, bench.images + i * FED_CNN_PIXELS);
        bench.labels[i] = (uint8_t)fed_rand_below(&rand, 10);
    }
    add_reference();
    return 0;
}

static int tear_down_all(void **state)
{
    (void)state;
    for (size_t i = 0; i < SIZES; i++) {
        free(bench.grads[i]);
    }
    free(bench.params);
    free(bench.images);
    return 0;
}

/* -- one kernel ------------------------------------------------------------------------------- */

struct fixture {
    enum cnn_kernel kernel;
    struct cnn *cnn; /* trains, batches of at most IMAGES */
    float *after;    /* (FED_CNN_PARAMS,) */
    float *again;    /* same */
};

static int set_up(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    if (!cnn_kernel_is_available(f->kernel)) {
        return 0;
    }
    f->after = calloc(FED_CNN_PARAMS, sizeof(float));
    f->again = calloc(FED_CNN_PARAMS, sizeof(float));
    assert_non_null(f->after);
    assert_non_null(f->again);
    return cnn_new(f->kernel, IMAGES, true, &f->cnn, &err);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    f->cnn = cnn_free(f->cnn);
    free(f->after);
    free(f->again);
    f->after = NULL;
    f->again = NULL;
    return 0;
}

static void skip_if_lacking(const struct fixture *f)
{
    if (!cnn_kernel_is_available(f->kernel)) {
        print_message("SKIP: this processor, or this build, lacks the kernel '%s'\n",
                      cnn_kernel_name(f->kernel));
        skip();
    }
}

/* Relative L2 distance of a step's change, divided by the rate, from the reference's gradient. */
static double distance(const float *after, const double *grad, size_t tensor, double lr)
{
    double error = 0;
    double norm = 0;

    for (size_t i = tensor_at[tensor]; i < tensor_at[tensor + 1]; i++) {
        const double have = ((double)bench.params[i] - (double)after[i]) / lr;

        error += (have - grad[i]) * (have - grad[i]);
        norm += grad[i] * grad[i];
    }
    return sqrt(error / norm);
}

static void check_gradients(const float *after, const char *kernel, size_t size, double lr)
{
    for (size_t k = 0; k < FED_CNN_TENSORS; k++) {
        const double error = distance(after, bench.grads[size], k, lr);

        if (!(error <= 1e-5)) {
            fail_msg("%s, batch %zu, tensor %zu: relative L2 error %.2e", kernel, sizes[size], k,
                     error);
        }
    }
}

/* One step at a rate so large that the parameters' own rounding does not count. */
static void test_gradients_agree_with_the_reference(void **state)
{
    const struct fixture *f = *state;
    const float lr = 1024;

    skip_if_lacking(f);
    for (size_t i = 0; i < SIZES; i++) {
        float loss;

        cnn_set_params(f->cnn, bench.params);
        loss = cnn_step(f->cnn, bench.images, bench.labels, sizes[i], lr);
        cnn_get_params(f->cnn, f->after);
        assert_true(fabs((double)loss - bench.losses[i]) < 2e-6 * bench.losses[i]);
        check_gradients(f->after, cnn_kernel_name(f->kernel), i, (double)lr);
    }
}

static void test_logits_agree_with_the_reference(void **state)
{
    const struct fixture *f = *state;
    FED_CLEANUP(cnn_free_p) struct cnn *forward = NULL;
    float logits[IMAGES * 10];
    struct fed_err err;

    skip_if_lacking(f);
    assert_int_equal(cnn_new(f->kernel, IMAGES, false, &forward, &err), 0);
    cnn_set_params(forward, bench.params);
    for (size_t i = 0; i < SIZES; i += 3) {
        memset(logits, 0xff, sizeof(logits)); /* NaN: every one must be written */
        cnn_infer(forward, bench.images, sizes[i], logits);
        for (size_t k = 0; k < sizes[i] * 10; k++) {
            assert_true(fabs((double)logits[k] - bench.logits[k / 10][k % 10]) < 1e-6);
        }
    }
    cnn_infer(forward, bench.images, 0, logits);
}

static void test_a_training_network_infers_the_same_bits(void **state)
{
    const struct fixture *f = *state;
    FED_CLEANUP(cnn_free_p) struct cnn *forward = NULL;
    float logits[IMAGES * 10];
    float others[IMAGES * 10];
    struct fed_err err;

    skip_if_lacking(f);
    assert_int_equal(cnn_new(f->kernel, 7, false, &forward, &err), 0);
    cnn_set_params(forward, bench.params);
    cnn_set_params(f->cnn, bench.params);
    cnn_infer(forward, bench.images, 7, logits);
    cnn_infer(f->cnn, bench.images, 7, others);
    assert_memory_equal(logits, others, 70 * sizeof(float));
}

/* Parameters in their own order, whatever the layout inside. */
static void test_parameters_come_back_as_they_went_in(void **state)
{
    const struct fixture *f = *state;

    skip_if_lacking(f);
    cnn_set_params(f->cnn, bench.params);
    cnn_get_params(f->cnn, f->after);
    assert_memory_equal(f->after, bench.params, FED_CNN_PARAMS * sizeof(float));
}

/* Steps of changing size, so that anything left over from a larger batch would show. */
static void run_steps(const struct fixture *f, float *ret_params)
{
    static const size_t steps[] = {10, 33, 3, 1, 10};

    cnn_set_params(f->cnn, bench.params);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        (void)cnn_step(f->cnn, bench.images, bench.labels, steps[i], 0.05F);
    }
    cnn_get_params(f->cnn, ret_params);
}

/* FNV-1a of the parameters after run_steps(): on one kernel every compiler and every processor
 * gives these bits. A change of a kernel's arithmetic changes its number, and must mean to. */
static void check_known_bits(const float *params, enum cnn_kernel kernel)
{
    static const uint64_t known[CNN_KERNEL_MAX] = {
        [CNN_KERNEL_PLAIN] = 0x4f0302796a011f5c,
        [CNN_KERNEL_AVX2] = 0x64558bb9b2b761d5,
        [CNN_KERNEL_AVX512] = 0xde2a556fa8de2350,
    };
    uint64_t hash = 0xcbf29ce484222325;

    for (size_t i = 0; i < FED_CNN_PARAMS; i++) {
        uint32_t bits;

        memcpy(&bits, &params[i], sizeof(bits));
        hash = (hash ^ bits) * 0x100000001b3;
    }
    if (hash != known[kernel]) {
        fail_msg("%s: 0x%016llx", cnn_kernel_name(kernel), (unsigned long long)hash);
    }
}

static void test_training_gives_the_same_bits_again(void **state)
{
    struct fixture *f = *state;
    struct fed_err err;

    skip_if_lacking(f);
    run_steps(f, f->after);
    check_known_bits(f->after, f->kernel);
    run_steps(f, f->again);
    assert_memory_equal(f->after, f->again, FED_CNN_PARAMS * sizeof(float));
    f->cnn = cnn_free(f->cnn); /* and in another network */
    assert_int_equal(cnn_new(f->kernel, IMAGES + 5, true, &f->cnn, &err), 0);
    run_steps(f, f->again);
    assert_memory_equal(f->after, f->again, FED_CNN_PARAMS * sizeof(float));
    assert_memory_not_equal(f->after, bench.params, FED_CNN_PARAMS * sizeof(float));
}

static void test_a_step_after_a_step_learns(void **state)
{
    const struct fixture *f = *state;
    float first;
    float last = 0;

    skip_if_lacking(f);
    cnn_set_params(f->cnn, bench.params);
    first = cnn_step(f->cnn, bench.images, bench.labels, 4, 0.05F);
    for (int i = 0; i < 24; i++) {
        last = cnn_step(f->cnn, bench.images, bench.labels, 4, 0.05F);
    }
    assert_true(last < 0.9F * first);
}

/* Dead units everywhere: no place of a window won, no gradient but that of the last bias. */
static void test_a_dead_network_stays_as_it_is(void **state)
{
    const struct fixture *f = *state;

    skip_if_lacking(f);
    memcpy(f->again, bench.params, FED_CNN_PARAMS * sizeof(float));
    for (size_t i = tensor_at[1]; i < tensor_at[2]; i++) {
        f->again[i] = -100;
    }
    for (size_t i = tensor_at[3]; i < tensor_at[4]; i++) {
        f->again[i] = -100;
    }
    for (size_t i = tensor_at[5]; i < tensor_at[6]; i++) {
        f->again[i] = -100;
    }
    cnn_set_params(f->cnn, f->again);
    (void)cnn_step(f->cnn, bench.images, bench.labels, 10, 1);
    cnn_get_params(f->cnn, f->after);
    assert_memory_equal(f->after, f->again, tensor_at[7] * sizeof(float));
    assert_memory_not_equal(f->after + tensor_at[7], f->again + tensor_at[7], 10 * sizeof(float));
}

static void test_a_kernel_is_chosen_by_name(void **state)
{
    enum cnn_kernel kernel = CNN_KERNEL_MAX;
    struct fed_err err = {0};

    (void)state;
    assert_int_equal(cnn_kernel_choose("plain", &kernel, &err), 0);
    assert_int_equal(kernel, CNN_KERNEL_PLAIN);
    assert_int_equal(cnn_kernel_choose("auto", &kernel, &err), 0);
    assert_true(cnn_kernel_is_available(kernel));
    for (int i = (int)kernel + 1; i < CNN_KERNEL_MAX; i++) { /* auto took the fastest */
        assert_false(cnn_kernel_is_available((enum cnn_kernel)i));
        assert_int_equal(cnn_kernel_choose(cnn_kernel_name((enum cnn_kernel)i), &kernel, &err),
                         -FED_E_UNSUPPORTED);
    }
    assert_int_equal(cnn_kernel_choose("avx1024", &kernel, &err), -FED_E_INVALID);
    assert_non_null(strstr(err.msg, "avx512"));
}

int main(void)
{
    static struct fixture fixtures[CNN_KERNEL_MAX] = {
        {.kernel = CNN_KERNEL_PLAIN}, {.kernel = CNN_KERNEL_AVX2}, {.kernel = CNN_KERNEL_AVX512}};
#define TEST(name, kernel)                                                                        \
    {                                                                                             \
#        name " " #        kernel, test_##name, set_up, tear_down, &fixtures[CNN_KERNEL_##kernel] \
    }
#define TESTS(kernel)                                          \
    TEST(gradients_agree_with_the_reference, kernel),          \
        TEST(logits_agree_with_the_reference, kernel),         \
        TEST(a_training_network_infers_the_same_bits, kernel), \
        TEST(parameters_come_back_as_they_went_in, kernel),    \
        TEST(training_gives_the_same_bits_again, kernel),      \
        TEST(a_step_after_a_step_learns, kernel), TEST(a_dead_network_stays_as_it_is, kernel)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_kernel_is_chosen_by_name),
        TESTS(PLAIN),
        TESTS(AVX2),
        TESTS(AVX512),
    };

    return cmocka_run_group_tests(tests, set_up_all, tear_down_all);
}
