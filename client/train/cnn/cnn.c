#include "client/train/cnn/cnn.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "client/train/cnn/cnn_kernel.h"

struct cnn {
    const struct cnn_kernel_ops *ops;
    void *net; /* owned; made and freed by ops */
    size_t batch_max;
    bool is_training;
};

static const struct {
    const char *name;
    const struct cnn_kernel_ops *ops; /* NULL: not in this build */
} kernels[CNN_KERNEL_MAX] = {
    [CNN_KERNEL_PLAIN] = {"plain", &cnn_plain_ops},
#ifdef CONFED_CNN_X86
    [CNN_KERNEL_AVX2] = {"avx2", &cnn_avx2_ops},
    [CNN_KERNEL_AVX512] = {"avx512", &cnn_avx512_ops},
#else
    [CNN_KERNEL_AVX2] = {"avx2", NULL},
    [CNN_KERNEL_AVX512] = {"avx512", NULL},
#endif
};

const char *cnn_kernel_name(enum cnn_kernel kernel)
{
    assert(kernel < CNN_KERNEL_MAX);
    return kernels[kernel].name;
}

/* The compiler's test looks at the processor's flags and at XCR0: whether the system keeps the wide
 * registers over a task switch. */
static bool processor_has(enum cnn_kernel kernel)
{
#ifdef CONFED_CNN_X86
    if (kernel == CNN_KERNEL_AVX2) {
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");
    }
    if (kernel == CNN_KERNEL_AVX512) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt");
    }
#endif
    return kernel == CNN_KERNEL_PLAIN;
}

bool cnn_kernel_is_available(enum cnn_kernel kernel)
{
    assert(kernel < CNN_KERNEL_MAX);
    return kernels[kernel].ops != NULL && processor_has(kernel);
}

int cnn_kernel_choose(const char *name, enum cnn_kernel *ret_kernel, struct fed_err *err)
{
    const bool is_auto = strcmp(name, "auto") == 0;

    for (int i = CNN_KERNEL_MAX - 1; i >= 0; i--) {
        const enum cnn_kernel kernel = (enum cnn_kernel)i;

        if (!is_auto && strcmp(name, kernels[kernel].name) != 0) {
            continue;
        }
        if (cnn_kernel_is_available(kernel)) {
            *ret_kernel = kernel;
            return 0;
        }
        if (!is_auto) {
            return fed_err_set(err, FED_E_UNSUPPORTED, "this processor cannot run the kernel '%s'",
                               name);
        }
    }
    return fed_err_set(err, FED_E_INVALID, "no kernel '%s': there are auto, avx512, avx2 and plain",
                       name);
}

int cnn_new(enum cnn_kernel kernel,
            size_t batch_max,
            bool is_training,
            struct cnn **ret_cnn,
            struct fed_err *err)
{
    FED_CLEANUP(cnn_free_p) struct cnn *cnn = NULL;
    int rc;

    assert(cnn_kernel_is_available(kernel));
    assert(batch_max >= 1);
    assert(batch_max <= CNN_BATCH_MAX);
    cnn = calloc(1, sizeof(*cnn));
    if (cnn == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "network");
    }
    cnn->ops = kernels[kernel].ops;
    cnn->batch_max = batch_max;
    cnn->is_training = is_training;
    rc = cnn->ops->make(batch_max, is_training, &cnn->net, err);
    if (rc < 0) {
        return fed_err_wrap(err, rc, "network for batches of %zu", batch_max);
    }
    *ret_cnn = FED_TAKE(cnn);
    return 0;
}

struct cnn *cnn_free(struct cnn *cnn)
{
    if (cnn != NULL) {
        if (cnn->net != NULL) {
            cnn->ops->destroy(cnn->net);
        }
        free(cnn);
    }
    return NULL;
}

void cnn_set_params(struct cnn *cnn, const float *params)
{
    cnn->ops->set_params(cnn->net, params);
}

void cnn_get_params(const struct cnn *cnn, float *ret_params)
{
    cnn->ops->get_params(cnn->net, ret_params);
}

float cnn_step(struct cnn *cnn, const float *images, const uint8_t *labels, size_t n, float lr)
{
    assert(cnn->is_training);
    assert(n >= 1);
    assert(n <= cnn->batch_max);
    for (size_t i = 0; i < n; i++) {
        assert(labels[i] < CNN_CLASSES);
    }
    return cnn->ops->step(cnn->net, images, labels, n, lr);
}

void cnn_infer(struct cnn *cnn, const float *images, size_t n, float *ret_logits)
{
    assert(n <= cnn->batch_max);
    cnn->ops->infer(cnn->net, images, n, ret_logits);
}
