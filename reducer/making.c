#include "reducer/making.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/link/partial.h"
#include "common/model/exact.h"
#include "common/model/values.h"

#define RUN_BYTES ((size_t)FED_NPZ_RUN * 8) /* of the widest dtype */

/* What all makers share. */
struct making {
    struct fed_npz *base;
    const struct making_sums *sums;
    struct fed_npz_runs *runs;
    double *magnitudes;    /* (runs,) owned; each of whoever makes the run */
    atomic_size_t next;    /* the next run that nobody has taken */
    atomic_bool is_failed; /* somebody has: the others stop */
};

struct maker {
    struct making *making;
    uint8_t *bytes; /* of a run, owned */
    pthread_t thread;
    int rc;
    struct fed_err err;
};

static int damaged(size_t tensor, struct fed_err *err)
{
    return fed_err_set(err, FED_E_CORRUPT, "tensor %zu of the base is damaged", tensor);
}

static const struct fed_tensor *tensor_of(const struct making *making, size_t tensor)
{
    return &fed_npz_get_layout(making->base)->tensors[tensor];
}

/* The sums of `n` elements of the model from the first on. */
static void
add_sums(const struct making_sums *sums, uint64_t first, size_t n, int64_t ret_sums[FED_NPZ_BLOCK])
{
    memset(ret_sums, 0, n * sizeof(*ret_sums));
    for (size_t i = 0; i < sums->n_parts; i++) {
        fed_partial_sums_add(sums->parts[i], first, n, ret_sums);
    }
}

/* The new values of one tensor's elements from `index` on, out of the base's; returns max |value|.
 */
static double make_block(const struct making *making,
                         size_t i_tensor,
                         uint64_t index,
                         const double *values,
                         size_t n,
                         uint8_t *ret_bytes)
{
    const struct fed_tensor *tensor = tensor_of(making, i_tensor);
    int64_t sums[FED_NPZ_BLOCK];
    double block[FED_NPZ_BLOCK];

    assert(n <= FED_NPZ_BLOCK);
    add_sums(making->sums, tensor->offset + index, n, sums);
    fed_exact_finish(block, sums, values, n, (double)making->sums->examples,
                     making->sums->scale_bits[i_tensor]);
    fed_dtype_encode(tensor->dtype, block, n, ret_bytes);
    return fed_values_magnitude(block, n);
}

/* Only whoever makes the run. */
static void raise_magnitude(const struct making *making, size_t run, double magnitude)
{
    if (magnitude > making->magnitudes[run]) {
        making->magnitudes[run] = magnitude;
    }
}

/* -- plain tensors: any thread ------------------------------------------------------------------
 */

static int make_run(struct maker *maker, size_t i, struct fed_err *err)
{
    const struct making *making = maker->making;
    const struct fed_npz_run run = fed_npz_runs_get(making->runs, i);
    const struct fed_tensor *tensor = tensor_of(making, run.tensor);
    const uint8_t *from = fed_npz_get_bytes(making->base, run.tensor);
    const size_t size = fed_dtype_size(tensor->dtype);
    double values[FED_NPZ_BLOCK];

    if (from == NULL) {
        return 0; /* the calling thread's */
    }
    from += run.first * size;
    for (size_t at = 0; at < run.n; at += FED_NPZ_BLOCK) {
        const size_t n = run.n - at < FED_NPZ_BLOCK ? run.n - at : FED_NPZ_BLOCK;
        if (!fed_dtype_decode(tensor, from + at * size, n, values)) {
            return damaged(run.tensor, err);
        }
        raise_magnitude(
            making, i,
            make_block(making, run.tensor, run.first + at, values, n, maker->bytes + at * size));
    }
    return fed_npz_runs_put(making->runs, i, maker->bytes, err);
}

/* Runs, until there are no more. A thread's function; returns NULL. */
static void *make_runs(void *arg)
{
    struct maker *maker = arg;
    struct making *making = maker->making;
    const size_t n = fed_npz_runs_count(making->runs);
    size_t i = atomic_fetch_add(&making->next, 1);

    while (i < n && maker->rc == 0 && !atomic_load(&making->is_failed)) {
        maker->rc = make_run(maker, i, &maker->err);
        i = atomic_fetch_add(&making->next, 1);
    }
    if (maker->rc < 0) {
        atomic_store(&making->is_failed, true);
    }
    return NULL;
}

/* -- other tensors: read in order, by the calling thread ----------------------------------------
 */

struct odd {
    const struct making *making;
    size_t tensor;
    size_t run;     /* the next to be written, of this tensor */
    uint64_t first; /* the element of bytes[0] */
    uint8_t *bytes; /* of that run, or of the whole tensor */
    bool is_whole;
};

static int
take_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    struct odd *odd = arg;
    const struct making *making = odd->making;
    const size_t size = fed_dtype_size(tensor_of(making, odd->tensor)->dtype);
    const struct fed_npz_run run = fed_npz_runs_get(making->runs, odd->run);
    int rc;

    raise_magnitude(making, odd->run,
                    make_block(making, odd->tensor, index, values, n,
                               odd->bytes + (index - odd->first) * size));
    if (odd->is_whole || index + n < run.first + run.n) {
        return 0;
    }
    assert(index + n == run.first + run.n);
    rc = fed_npz_runs_put(making->runs, odd->run++, odd->bytes, err);
    odd->first += run.n;
    return rc;
}

/* All runs of a tensor that is in memory. */
static int put_whole(struct odd *odd, struct fed_err *err)
{
    const struct making *making = odd->making;
    const struct fed_tensor *tensor = tensor_of(making, odd->tensor);
    const size_t size = fed_dtype_size(tensor->dtype);
    int rc = 0;

    for (uint64_t done = 0; done < tensor->n_elements && rc == 0; odd->run++) {
        rc = fed_npz_runs_put(making->runs, odd->run, odd->bytes + done * size, err);
        done += fed_npz_runs_get(making->runs, odd->run).n;
    }
    return rc;
}

static int make_odd(struct maker *maker, size_t i_tensor, size_t run, struct fed_err *err)
{
    const struct fed_tensor *tensor = tensor_of(maker->making, i_tensor);
    struct odd odd = {
        .making = maker->making,
        .tensor = i_tensor,
        .run = run,
        .bytes = maker->bytes,
        .is_whole = tensor->is_fortran && tensor->rank >= 2,
    };
    int rc;

    if (odd.is_whole) {
        odd.bytes = calloc(tensor->n_elements, fed_dtype_size(tensor->dtype));
        if (odd.bytes == NULL) {
            return fed_err_set(err, FED_E_NOMEM, "tensor %zu", i_tensor);
        }
    }
    rc = fed_npz_read(maker->making->base, i_tensor, take_values, &odd, err);
    if (rc == 0 && odd.is_whole) {
        rc = put_whole(&odd, err);
    }
    if (odd.is_whole) {
        free(odd.bytes);
    }
    return rc <= 0 ? rc : damaged(i_tensor, err);
}

static int make_odds(struct maker *maker, struct fed_err *err)
{
    const struct making *making = maker->making;
    const size_t n = fed_npz_runs_count(making->runs);
    size_t last = SIZE_MAX; /* tensor */
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i++) {
        const size_t tensor = fed_npz_runs_get(making->runs, i).tensor;
        if (tensor != last && fed_npz_get_bytes(making->base, tensor) == NULL) {
            rc = make_odd(maker, tensor, i, err);
        }
        last = tensor;
    }
    return rc;
}

/* -- all ----------------------------------------------------------------------------------------
 */

static size_t count_makers(const struct making *making)
{
    const long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
    size_t n = fed_npz_runs_count(making->runs);

    n = n < MAKING_THREADS_MAX ? n : MAKING_THREADS_MAX;
    n = n_cores < 1 || n <= (size_t)n_cores ? n : (size_t)n_cores;
    return n < 1 ? 1 : n;
}

/* The first maker is the calling thread. Without memory or a thread for one more there are fewer.
 */
static int make_all(struct making *making, struct fed_err *err)
{
    struct maker makers[MAKING_THREADS_MAX] = {{.making = making}};
    const size_t n_max = count_makers(making);
    size_t n = 0;
    int rc;

    while (n < n_max) {
        makers[n] = (struct maker){.making = making};
        makers[n].bytes = malloc(RUN_BYTES);
        if (makers[n].bytes == NULL ||
            (n > 0 && pthread_create(&makers[n].thread, NULL, make_runs, &makers[n]) != 0)) {
            free(makers[n].bytes);
            break;
        }
        n++;
    }
    if (n == 0) {
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    makers[0].rc = make_odds(&makers[0], &makers[0].err);
    (void)make_runs(&makers[0]);
    rc = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            (void)pthread_join(makers[i].thread, NULL);
        }
        if (rc == 0 && makers[i].rc < 0) {
            rc = fed_err_set(err, makers[i].err.code, "%s", makers[i].err.msg);
        }
        free(makers[i].bytes);
    }
    return rc;
}

/* The exponent that a reader will find in the file: rounding keeps the order of magnitudes. */
static int32_t exponent_of(const struct fed_tensor *tensor, double magnitude)
{
    const struct fed_tensor written = {.dtype = tensor->dtype};
    uint8_t bytes[8];
    double rounded = magnitude;

    if (!fed_dtype_is_float(tensor->dtype)) {
        return -1;
    }
    fed_dtype_encode(tensor->dtype, &magnitude, 1, bytes);
    if (!fed_dtype_decode(&written, bytes, 1, &rounded)) {
        rounded = magnitude;
    }
    return fed_exact_exponent(rounded);
}

static void set_exponents(const struct making *making, int32_t *ret_exponents)
{
    const size_t n_tensors = fed_npz_get_layout(making->base)->n_tensors;
    const size_t n_runs = fed_npz_runs_count(making->runs);
    size_t run = 0;

    for (size_t i = 0; i < n_tensors; i++) {
        double magnitude = 0;
        for (; run < n_runs && fed_npz_runs_get(making->runs, run).tensor == i; run++) {
            const double most = making->magnitudes[run];
            magnitude = most > magnitude ? most : magnitude;
        }
        ret_exponents[i] = exponent_of(tensor_of(making, i), magnitude);
    }
}

int making_write(struct fed_npz *base,
                 const struct making_sums *sums,
                 int fd,
                 int32_t *ret_exponents,
                 struct fed_err *err)
{
    FED_CLEANUP(fed_npz_runs_free_p) struct fed_npz_runs *runs = NULL;
    struct making making = {.base = base, .sums = sums};
    int rc = fed_npz_runs_new(fd, fed_npz_get_layout(base), &runs, err);

    if (rc < 0) {
        return rc;
    }
    making.runs = runs;
    making.magnitudes = calloc(fed_npz_runs_count(runs) + 1, sizeof(*making.magnitudes));
    if (making.magnitudes == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    rc = make_all(&making, err);
    rc = rc < 0 ? rc : fed_npz_runs_finish(runs, err);
    if (rc == 0) {
        set_exponents(&making, ret_exponents);
    }
    free(making.magnitudes);
    return rc;
}
