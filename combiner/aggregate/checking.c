#include "combiner/aggregate/checking.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/model/exact.h"
#include "common/model/values.h"

enum fed_refusal checking_refusal(enum fed_model_fault fault)
{
    switch (fault) {
    case FED_FAULT_NONE:
        return FED_REFUSAL_NONE;
    case FED_FAULT_MALFORMED:
        return FED_REFUSAL_MALFORMED;
    case FED_FAULT_CHECKSUM:
        return FED_REFUSAL_CHECKSUM;
    case FED_FAULT_COUNT:
        return FED_REFUSAL_TENSOR_COUNT;
    case FED_FAULT_SHAPE:
        return FED_REFUSAL_TENSOR_SHAPE;
    case FED_FAULT_DTYPE:
        return FED_REFUSAL_TENSOR_DTYPE;
    case FED_FAULT_NOT_FINITE:
        return FED_REFUSAL_NOT_FINITE;
    case FED_FAULT_OUT_OF_RANGE:
        return FED_REFUSAL_OUT_OF_RANGE;
    case FED_FAULT_TOO_LARGE:
        return FED_REFUSAL_TOO_LARGE;
    }
    return FED_REFUSAL_MALFORMED;
}

struct measure {
    const struct base *base;
    size_t tensor;
    struct checking_distance *distance;
};

static int
measure_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    struct measure *measure = arg;
    double base[FED_NPZ_BLOCK];
    double most;

    (void)err;
    base_read(measure->base, measure->tensor, index, n, base);
    most = fed_values_distance(values, base, n);
    for (size_t i = 0; i < n && most > measure->distance->value; i++) {
        if (fabs(values[i] - base[i]) >= most) {
            *measure->distance = (struct checking_distance){most, index + i};
        }
    }
    return 0;
}

/* The same for float32 on both sides, where they lie. */
static int
measure_singles(void *arg, uint64_t index, const uint8_t *bytes, size_t n, struct fed_err *err)
{
    struct measure *measure = arg;
    const uint8_t *base = base_singles(measure->base, measure->tensor, index);
    const double most = fed_singles_distance(bytes, base, n);

    (void)err;
    if (!isfinite(most) && !fed_singles_are_finite(bytes, n)) {
        return FED_FAULT_NOT_FINITE;
    }
    for (size_t i = 0; i < n && most > measure->distance->value; i++) {
        if (fabs(fed_single_at(bytes + 4 * i) - fed_single_at(base + 4 * i)) >= most) {
            *measure->distance = (struct checking_distance){most, index + i};
        }
    }
    return 0;
}

static int measure_all(struct fed_npz *npz,
                       const struct base *base,
                       struct checking_distance *distances,
                       struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < base->layout.n_tensors && rc == 0; i++) {
        struct measure measure = {base, i, &distances[i]};
        rc = fed_npz_has_singles(npz, i) && base_singles(base, i, 0) != NULL
                 ? fed_npz_read_singles(npz, i, measure_singles, &measure, err)
                 : fed_npz_read(npz, i, measure_values, &measure, err);
    }
    return rc;
}

int checking_run(const char *path,
                 const struct base *base,
                 const struct fed_npz_limits *limits,
                 struct checking *ret_checking,
                 struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct checking checking = {.n_tensors = base->layout.n_tensors};
    struct fed_err why = {0};
    int rc;

    checking.distances = calloc(checking.n_tensors + 1, sizeof(*checking.distances));
    if (checking.distances == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "check");
    }
    rc = fed_npz_open(path, limits, &npz, &why);
    rc = rc != 0 ? rc : fed_npz_map(npz, &why);
    rc = rc != 0 ? rc : fed_layout_match(fed_npz_get_layout(npz), &base->layout, &why);
    rc = rc != 0 ? rc : measure_all(npz, base, checking.distances, &why);
    if (rc != 0) {
        free(checking.distances);
        checking.distances = NULL;
    }
    if (rc < 0) {
        return fed_err_set(err, why.code, "%s", why.msg);
    }
    checking.reason = checking_refusal((enum fed_model_fault)rc);
    if (rc > 0) {
        (void)snprintf(checking.detail, sizeof(checking.detail), "%.*s",
                       (int)sizeof(checking.detail) - 1, why.msg);
    }
    *ret_checking = checking;
    return 0;
}

void checking_deinit(struct checking *checking)
{
    free(checking->distances);
    *checking = (struct checking){0};
}

enum fed_refusal checking_judge(const struct checking *checking,
                                const struct fed_plan *plan,
                                uint64_t examples,
                                char ret_detail[FED_LINK_DETAIL_SIZE])
{
    const double zero = 0.0;

    if (checking->reason != FED_REFUSAL_NONE) {
        memcpy(ret_detail, checking->detail, FED_LINK_DETAIL_SIZE);
        return checking->reason;
    }
    if (checking->n_tensors != plan->n_tensors) {
        (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE, "%zu tensors, the plan has %zu scales",
                       checking->n_tensors, plan->n_tensors);
        return FED_REFUSAL_TENSOR_COUNT;
    }
    for (size_t i = 0; i < checking->n_tensors; i++) {
        const struct checking_distance *most = &checking->distances[i];
        if (fed_exact_check(&most->value, &zero, 1, (double)examples, plan->scale_bits[i],
                            plan->limit_bits) == 0) {
            (void)snprintf(ret_detail, FED_LINK_DETAIL_SIZE,
                           "%zu.npy: element %llu is %g from the base, with %llu examples", i,
                           (unsigned long long)most->index, most->value,
                           (unsigned long long)examples);
            return FED_REFUSAL_OUT_OF_RANGE;
        }
    }
    return FED_REFUSAL_NONE;
}
