#include "combiner/aggregate/summing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/pages.h"
#include "common/model/exact.h"
#include "common/model/values.h"

#define SEVERAL_MIN (1U << 19) /* elements that are worth a second thread */

struct summing {
    const struct base *base;   /* borrowed */
    int32_t *scale_bits;       /* (n_tensors,) owned */
    struct summing_room *room; /* borrowed */
    int64_t *sums;             /* (n_elements + 1,) owned; NULL: none yet */
    bool is_empty;             /* all zero, whatever stands in `sums` */
    bool is_broken;
};

void summing_room_deinit(struct summing_room *room)
{
    (void)fed_pages_free(room->sums, room->n_sums, sizeof(*room->sums));
    *room = (struct summing_room){0};
}

int summing_new(const struct base *base,
                const struct fed_plan *plan,
                struct summing_room *room,
                struct summing **ret_summing,
                struct fed_err *err)
{
    FED_CLEANUP(summing_free_p) struct summing *summing = NULL;

    if (plan->n_tensors != base->layout.n_tensors) {
        return fed_err_set(err, FED_E_INVALID, "%zu scales for %zu tensors", plan->n_tensors,
                           base->layout.n_tensors);
    }
    summing = calloc(1, sizeof(*summing));
    if (summing != NULL) {
        summing->scale_bits = calloc(plan->n_tensors + 1, sizeof(*summing->scale_bits));
    }
    if (summing == NULL || summing->scale_bits == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "sum");
    }
    summing->base = base;
    summing->room = room;
    summing->is_empty = true;
    memcpy(summing->scale_bits, plan->scale_bits, plan->n_tensors * sizeof(*plan->scale_bits));
    *ret_summing = FED_TAKE(summing);
    return 0;
}

static size_t count_sums(const struct summing *summing)
{
    return (size_t)summing->base->layout.n_elements + 1;
}

static void leave_sums(struct summing *summing)
{
    struct summing_room *room = summing->room;

    summing_room_deinit(room);
    *room = (struct summing_room){summing->sums, count_sums(summing)};
    summing->sums = NULL;
    if (room->n_sums > SUMMING_KEPT_MAX / sizeof(*room->sums)) {
        summing_room_deinit(room);
    }
}

struct summing *summing_free(struct summing *summing)
{
    if (summing != NULL) {
        if (summing->sums != NULL) {
            leave_sums(summing);
        }
        free(summing->scale_bits);
        free(summing);
    }
    return NULL;
}

bool summing_is_broken(const struct summing *summing)
{
    return summing->is_broken;
}

const int64_t *summing_get_sums(const struct summing *summing)
{
    return summing->is_empty ? NULL : summing->sums;
}

/* -- folding -----------------------------------------------------------------------------------
 *
 * The first update is added to zeros that are written block by block, in front of it: what stood
 * there before is of no matter, so kept memory needs no clearing, and a first fold that fails has
 * nothing to be taken off.
 */

struct fold {
    struct summing *summing;
    size_t tensor;
    double examples;
    uint64_t n_calls;     /* of fold_values() in this direction */
    uint64_t n_calls_max; /* taking off: as many as were added */
    bool is_first;        /* nothing is in the sum yet */
    bool is_taking_off;
    bool is_checked; /* what is not finite has been looked for */
};

enum {
    FOLD_ENOUGH = 1000, /* all that was added has been taken off: no fault has this number */
};

static void clear_if_first(const struct fold *fold, int64_t *sums, size_t n)
{
    if (fold->is_first) {
        memset(sums, 0, n * sizeof(*sums));
    }
}

static int
fold_values(void *arg, uint64_t index, const double *values, size_t n, struct fed_err *err)
{
    struct fold *fold = arg;
    const struct summing *summing = fold->summing;
    const struct fed_tensor *tensor = &summing->base->layout.tensors[fold->tensor];
    int64_t *sums = summing->sums + tensor->offset + index;
    const int32_t scale_bits = summing->scale_bits[fold->tensor];
    double base[FED_NPZ_BLOCK];

    (void)err;
    if (fold->is_taking_off && fold->n_calls == fold->n_calls_max) {
        return FOLD_ENOUGH;
    }
    base_read(summing->base, fold->tensor, index, n, base);
    if (fold->is_taking_off) {
        fed_exact_subtract(sums, values, base, n, fold->examples, scale_bits);
    } else {
        clear_if_first(fold, sums, n);
        fed_exact_add(sums, values, base, n, fold->examples, scale_bits);
    }
    fold->n_calls++;
    return 0;
}

/* The same for float32 on both sides, where they lie. */
static int
fold_singles(void *arg, uint64_t index, const uint8_t *bytes, size_t n, struct fed_err *err)
{
    struct fold *fold = arg;
    const struct summing *summing = fold->summing;
    int64_t *sums = summing->sums + summing->base->layout.tensors[fold->tensor].offset + index;
    const int32_t scale_bits = summing->scale_bits[fold->tensor];
    const uint8_t *base = base_singles(summing->base, fold->tensor, index);

    (void)err;
    if (fold->is_taking_off && fold->n_calls == fold->n_calls_max) {
        return FOLD_ENOUGH;
    }
    if (!fold->is_checked && !fed_singles_are_finite(bytes, n)) {
        return FED_FAULT_NOT_FINITE;
    }
    if (fold->is_taking_off) {
        fed_exact_subtract_singles(sums, bytes, base, n, fold->examples, scale_bits);
    } else {
        clear_if_first(fold, sums, n);
        fed_exact_add_singles(sums, bytes, base, n, fold->examples, scale_bits);
    }
    fold->n_calls++;
    return 0;
}

static int fold_all(struct fold *fold, struct fed_npz *npz, struct fed_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < fold->summing->base->layout.n_tensors && rc == 0; i++) {
        fold->tensor = i;
        rc = fed_npz_has_singles(npz, i) && base_singles(fold->summing->base, i, 0) != NULL
                 ? fed_npz_read_singles(npz, i, fold_singles, fold, err)
                 : fed_npz_read(npz, i, fold_values, fold, err);
    }
    return rc;
}

/* -- several threads ---------------------------------------------------------------------------
 *
 * A large update whose values are used where they lie, and have been checked: nothing can fail, so
 * there is no order to keep.
 */

/* A share of the elements. */
struct share {
    const struct fold *fold;
    struct fed_npz *npz;
    uint64_t first;
    uint64_t end;
    pthread_t thread;
};

/* A thread's function; returns NULL. */
static void *fold_share(void *arg)
{
    const struct share *share = arg;
    const struct fed_layout *layout = &share->fold->summing->base->layout;
    struct fold fold = *share->fold;

    for (fold.tensor = 0; fold.tensor < layout->n_tensors; fold.tensor++) {
        const struct fed_tensor *tensor = &layout->tensors[fold.tensor];
        const uint8_t *bytes = fed_npz_get_bytes(share->npz, fold.tensor);
        const uint64_t end = tensor->offset + tensor->n_elements;
        uint64_t at = tensor->offset > share->first ? tensor->offset : share->first;
        for (; at < end && at < share->end; at += FED_NPZ_BLOCK) {
            const uint64_t index = at - tensor->offset;
            const uint64_t left = (end < share->end ? end : share->end) - at;
            (void)fold_singles(&fold, index, bytes + index * sizeof(float),
                               left < FED_NPZ_BLOCK ? (size_t)left : FED_NPZ_BLOCK, NULL);
        }
    }
    return NULL;
}

static bool is_for_several(const struct fold *fold, struct fed_npz *npz)
{
    const struct base *base = fold->summing->base;
    bool is = base->layout.n_elements >= SEVERAL_MIN && sysconf(_SC_NPROCESSORS_ONLN) > 1;

    for (size_t i = 0; is && i < base->layout.n_tensors; i++) {
        is = fed_npz_has_singles(npz, i) && fed_npz_get_bytes(npz, i) != NULL &&
             base_singles(base, i, 0) != NULL;
    }
    return is;
}

/* Two halves, one of them on a thread of its own; without one, both here. */
static void fold_halves(const struct fold *fold, struct fed_npz *npz)
{
    const uint64_t n = fold->summing->base->layout.n_elements;
    struct share other = {.fold = fold, .npz = npz, .first = n / 2, .end = n};
    struct share own = {.fold = fold, .npz = npz, .first = 0, .end = n / 2};
    const bool is_apart = pthread_create(&other.thread, NULL, fold_share, &other) == 0;

    (void)fold_share(&own);
    if (is_apart) {
        (void)pthread_join(other.thread, NULL);
    } else {
        (void)fold_share(&other);
    }
}

/* The blocks come in the same order and with the same values as they were added. */
static void take_off(struct fold *fold, struct fed_npz *npz)
{
    int rc = 0;

    fold->n_calls_max = fold->n_calls;
    fold->n_calls = 0;
    fold->is_taking_off = true;
    if (fold->n_calls_max > 0) {
        rc = fold_all(fold, npz, NULL);
    }
    /* A failure behind the last block taken off is the one that brought us here. */
    if (fold->n_calls != fold->n_calls_max || rc == 0) {
        fold->summing->is_broken = fold->n_calls_max > 0;
    }
}

static int make_sums(struct summing *summing, struct fed_err *err)
{
    struct summing_room *room = summing->room;

    if (summing->sums == NULL && room->n_sums == count_sums(summing)) {
        summing->sums = room->sums;
        *room = (struct summing_room){0};
    } else if (summing->sums == NULL) {
        summing_room_deinit(room); /* of another size: not both at once */
        summing->sums = fed_pages_new(count_sums(summing), sizeof(*summing->sums));
    }
    return summing->sums != NULL
               ? 0
               : fed_err_set(err, FED_E_NOMEM, "a sum of %llu values",
                             (unsigned long long)summing->base->layout.n_elements);
}

int summing_load(struct summing *summing,
                 const char *path,
                 const struct fed_partial *partial,
                 struct fed_err *err)
{
    int rc;

    if (partial->n_params != summing->base->layout.n_elements) {
        return fed_err_set(err, FED_E_INVALID, "%llu sums for %llu parameters",
                           (unsigned long long)partial->n_params,
                           (unsigned long long)summing->base->layout.n_elements);
    }
    rc = make_sums(summing, err);
    if (rc == 0) {
        memset(summing->sums, 0, count_sums(summing) * sizeof(*summing->sums));
        rc = fed_partial_add(path, partial, summing->sums, err);
        summing->is_empty = rc < 0;
    }
    return rc;
}

int summing_fold(struct summing *summing,
                 const struct summing_update *update,
                 const struct fed_npz_limits *limits,
                 struct fed_err *err)
{
    FED_CLEANUP(fed_npz_free_p) struct fed_npz *npz = NULL;
    struct fold fold = {
        .summing = summing,
        .examples = (double)update->examples,
        .is_first = summing->is_empty,
        .is_checked = update->is_checked,
    };
    struct fed_err why = {0};
    int rc;

    if (summing->is_broken) {
        return fed_err_set(err, FED_E_INTERNAL, "the sum is to be rebuilt first");
    }
    rc = make_sums(summing, err);
    if (rc < 0) {
        return rc;
    }
    rc = fed_npz_open(update->path, limits, &npz, &why);
    rc = rc != 0 ? rc : fed_npz_map(npz, &why);
    rc = rc != 0 ? rc : fed_layout_match(fed_npz_get_layout(npz), &summing->base->layout, &why);
    if (rc == 0) {
        if (update->is_checked) {
            fed_npz_trust(npz);
        }
        if (is_for_several(&fold, npz)) {
            fold_halves(&fold, npz);
        } else {
            rc = fold_all(&fold, npz, &why);
        }
        if (rc != 0 && !fold.is_first) {
            take_off(&fold, npz);
        }
        summing->is_empty = summing->is_empty && rc != 0;
    }
    if (rc > 0) {
        return fed_err_set(err, FED_E_CORRUPT, "%s is not what was checked: %s", update->path,
                           why.msg);
    }
    return rc < 0 ? fed_err_set(err, why.code, "%s: %s", update->path, why.msg) : 0;
}

/* -- the partial ------------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    return strcmp(((const struct fed_entry *)a)->client_id,
                  ((const struct fed_entry *)b)->client_id);
}

int summing_write(const struct summing *summing,
                  const struct summing_partial *what,
                  uint8_t ret_digest[FED_DIGEST_SIZE],
                  struct fed_err *err)
{
    const struct fed_plan *plan = what->plan;
    struct fed_partial partial = {
        .plan_seq = plan->plan_seq,
        .scale_bits = plan->scale_bits,
        .n_tensors = plan->n_tensors,
        .n_params = summing == NULL ? 0 : summing->base->layout.n_elements,
        .entries = what->entries,
        .n_entries = what->n_entries,
    };
    int rc;

    if (what->n_entries > 0 && (summing == NULL || summing->is_broken || summing->is_empty)) {
        return fed_err_set(err, FED_E_INTERNAL, "the sum of round %s is not there", plan->round_id);
    }
    memcpy(partial.round_id, plan->round_id, sizeof(partial.round_id));
    fed_id_copy(partial.combiner_id, what->combiner_id);
    memcpy(partial.base_sha256, plan->base_sha256, sizeof(partial.base_sha256));
    if (what->n_entries > 1) {
        qsort(what->entries, what->n_entries, sizeof(*what->entries), compare_entries);
    }
    for (size_t i = 0; i < what->n_entries; i++) {
        partial.sum_examples += what->entries[i].examples;
    }
    rc = fed_partial_write_with(what->path, &partial, summing == NULL ? NULL : summing->sums,
                                what->spare, what->hook, err);
    if (rc == 0) {
        memcpy(ret_digest, partial.digest, FED_DIGEST_SIZE);
    }
    return rc;
}
