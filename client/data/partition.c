#include "client/data/partition.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/cleanup.h"
#include "common/base/rand.h"

#define CLASSES_MAX    256U /* values of a label */
#define SHARDS_DEFAULT 2U
#define SHARDS_MAX     1000U

/* Keys of the draws, so that no two of them share their numbers. */
enum draw {
    DRAW_IID = 1,
    DRAW_SHARDS,
    DRAW_SHARES, /* Dirichlet: one key more, the class */
    DRAW_ORDER,  /* the same */
};

static inline void free_u32_p(uint32_t **p)
{
    free(*p);
}

static inline void free_double_p(double **p)
{
    free(*p);
}

/* -- what to do -------------------------------------------------------------------------------- */

static int parse_shards(const char *text, struct partition_spec *spec, struct fed_err *err)
{
    char *end = NULL;
    const unsigned long per_client = text[0] == '\0' ? SHARDS_DEFAULT : strtoul(text + 1, &end, 10);

    if (text[0] != '\0' && (text[1] < '0' || text[1] > '9' || *end != '\0' || per_client == 0 ||
                            per_client > SHARDS_MAX)) {
        return fed_err_set(err, FED_E_INVALID, "partition shards:N: N must be 1 to %u, not '%s'",
                           SHARDS_MAX, text + 1);
    }
    *spec = (struct partition_spec){.kind = PARTITION_SHARDS, .per_client = (uint32_t)per_client};
    return 0;
}

int partition_parse(const char *text, struct partition_spec *ret_spec, struct fed_err *err)
{
    static const char shards[] = "shards";
    static const char dirichlet[] = "dirichlet:";

    if (strcmp(text, "iid") == 0) {
        *ret_spec = (struct partition_spec){.kind = PARTITION_IID};
        return 0;
    }
    if (strncmp(text, shards, sizeof(shards) - 1) == 0 &&
        (text[sizeof(shards) - 1] == '\0' || text[sizeof(shards) - 1] == ':')) {
        return parse_shards(text + sizeof(shards) - 1, ret_spec, err);
    }
    if (strncmp(text, dirichlet, sizeof(dirichlet) - 1) == 0) {
        const char *number = text + sizeof(dirichlet) - 1;
        char *end = NULL;
        const double alpha = strtod(number, &end);
        if (end == number || *end != '\0' || !(alpha >= 0.001) || !(alpha <= 1e6)) {
            return fed_err_set(err, FED_E_INVALID,
                               "partition dirichlet:ALPHA: ALPHA must be 0.001 to 1000000, not "
                               "'%s'",
                               number);
        }
        *ret_spec = (struct partition_spec){.kind = PARTITION_DIRICHLET, .alpha = alpha};
        return 0;
    }
    return fed_err_set(err, FED_E_INVALID,
                       "no partition '%s': there are iid, shards[:N], dirichlet:ALPHA", text);
}

/* -- the splits -------------------------------------------------------------------------------- */

/* Where piece i of n begins, so that sizes differ by at most one. */
static size_t cut(size_t total, size_t i, size_t n)
{
    assert(n > 0);
    const size_t rest = total % n;

    return total / n * i + (i < rest ? i : rest);
}

static void
rand_for(struct fed_rand *rand, const struct partition *partition, enum draw draw, uint64_t i)
{
    const uint64_t key[] = {partition->seed, draw, i};

    fed_rand_init(rand, key, 3);
}

static void own_iid(const struct partition *partition, uint32_t *order, uint32_t *owners)
{
    struct fed_rand rand;

    for (size_t i = 0; i < partition->n_labels; i++) {
        order[i] = (uint32_t)i;
    }
    rand_for(&rand, partition, DRAW_IID, 0);
    fed_rand_shuffle(&rand, order, partition->n_labels);
    for (uint32_t part = 0; part < partition->n_parts; part++) {
        const size_t end = cut(partition->n_labels, part + 1U, partition->n_parts);
        for (size_t i = cut(partition->n_labels, part, partition->n_parts); i < end; i++) {
            owners[order[i]] = part;
        }
    }
}

/* Sort by label, keeping the order of the file within one (counting sort); class_ends[c] is one
 * past the last row of class c. */
static void sort_by_label(const struct partition *partition, uint32_t *order, size_t *class_ends)
{
    memset(class_ends, 0, CLASSES_MAX * sizeof(*class_ends));
    for (size_t i = 0; i < partition->n_labels; i++) {
        class_ends[partition->labels[i]]++;
    }
    size_t at = 0;
    for (size_t c = 0; c < CLASSES_MAX; c++) {
        const size_t n = class_ends[c];
        class_ends[c] = at;
        at += n;
    }
    for (size_t i = 0; i < partition->n_labels; i++) {
        order[class_ends[partition->labels[i]]++] = (uint32_t)i;
    }
}

static int own_shards(const struct partition *partition,
                      uint32_t *order,
                      uint32_t *owners,
                      struct fed_err *err)
{
    const size_t n_pieces = (size_t)partition->spec.per_client * partition->n_parts;
    FED_CLEANUP(free_u32_p) uint32_t *pieces = malloc(n_pieces * sizeof(*pieces));
    size_t class_ends[CLASSES_MAX];
    struct fed_rand rand;

    if (pieces == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu pieces", n_pieces);
    }
    for (size_t i = 0; i < n_pieces; i++) {
        pieces[i] = (uint32_t)i;
    }
    rand_for(&rand, partition, DRAW_SHARDS, 0);
    fed_rand_shuffle(&rand, pieces, n_pieces);
    sort_by_label(partition, order, class_ends);
    for (size_t i = 0; i < n_pieces; i++) {
        const size_t end = cut(partition->n_labels, pieces[i] + 1U, n_pieces);
        for (size_t j = cut(partition->n_labels, pieces[i], n_pieces); j < end; j++) {
            owners[order[j]] = (uint32_t)(i / partition->spec.per_client);
        }
    }
    return 0;
}

/* -- Dirichlet --------------------------------------------------------------------------------- */

static double draw_normal(struct fed_rand *rand)
{
    const double u = 1.0 - fed_rand_unit(rand); /* (0, 1] */
    const double v = fed_rand_unit(rand);

    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v); /* Box and Muller, 1958 */
}

/* The logarithm of a Gamma(alpha, 1) variate: for a small alpha the variate itself is 0 in a
 * double. Marsaglia and Tsang, ACM TOMS 26(3), 2000, section 2, and their note for alpha < 1. */
static double draw_log_gamma(struct fed_rand *rand, double alpha)
{
    const double boost = alpha < 1.0 ? log(1.0 - fed_rand_unit(rand)) / alpha : 0.0;
    const double d = (alpha < 1.0 ? alpha + 1.0 : alpha) - 1.0 / 3.0;
    const double c = 1.0 / sqrt(9.0 * d);

    for (;;) {
        const double x = draw_normal(rand);
        const double t = 1.0 + c * x;
        const double v = t * t * t;
        const double u = 1.0 - fed_rand_unit(rand);
        if (t > 0 && log(u) < 0.5 * x * x + d - d * v + d * log(v)) {
            return log(d * v) + boost;
        }
    }
}

/* Divide the rows of one class by drawn shares. */
static void divide_class(const struct partition *partition,
                         size_t label,
                         uint32_t *rows,
                         size_t n_rows,
                         double *shares,
                         uint32_t *owners)
{
    struct fed_rand rand;
    double max = -HUGE_VAL;
    double total = 0;
    double sum = 0;
    size_t at = 0;

    rand_for(&rand, partition, DRAW_SHARES, label);
    for (uint32_t part = 0; part < partition->n_parts; part++) {
        shares[part] = draw_log_gamma(&rand, partition->spec.alpha);
        max = shares[part] > max ? shares[part] : max;
    }
    for (uint32_t part = 0; part < partition->n_parts; part++) {
        shares[part] = exp(shares[part] - max);
        total += shares[part];
    }
    rand_for(&rand, partition, DRAW_ORDER, label);
    fed_rand_shuffle(&rand, rows, n_rows);
    for (uint32_t part = 0; part < partition->n_parts; part++) {
        sum += shares[part];
        const double end =
            part + 1U == partition->n_parts ? (double)n_rows : rint(sum / total * (double)n_rows);
        for (; at < n_rows && (double)at < end; at++) {
            owners[rows[at]] = part;
        }
    }
}

/* Parts by their number of examples, and the rows of each: what feed_empty() goes through. */
struct larder {
    uint32_t *first_rows; /* (n_parts,) a part's first row */
    uint32_t *next_rows;  /* (n_labels,) the part's next row */
    uint32_t *counts;     /* (n_parts,) */
    uint32_t *first_of;   /* (n_labels + 1,) a part with so many examples */
    uint32_t *next_of;    /* (n_parts,) the next part with as many */
};

#define NOBODY UINT32_MAX

static void larder_deinit(struct larder *larder)
{
    free(larder->first_rows);
    free(larder->next_rows);
    free(larder->counts);
    free(larder->first_of);
    free(larder->next_of);
}

static void put_part(struct larder *larder, uint32_t part)
{
    larder->next_of[part] = larder->first_of[larder->counts[part]];
    larder->first_of[larder->counts[part]] = part;
}

static int larder_init(struct larder *larder,
                       const struct partition *partition,
                       const uint32_t *owners,
                       struct fed_err *err)
{
    const size_t n_parts = partition->n_parts;
    const size_t n_labels = partition->n_labels;

    larder->first_rows = malloc(n_parts * sizeof(uint32_t));
    larder->next_rows = malloc((n_labels + 1) * sizeof(uint32_t));
    larder->counts = calloc(n_parts, sizeof(uint32_t));
    larder->first_of = malloc((n_labels + 1) * sizeof(uint32_t));
    larder->next_of = malloc(n_parts * sizeof(uint32_t));
    if (larder->first_rows == NULL || larder->next_rows == NULL || larder->counts == NULL ||
        larder->first_of == NULL || larder->next_of == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%zu parts", n_parts);
    }
    memset(larder->first_rows, 0xff, n_parts * sizeof(uint32_t));
    memset(larder->first_of, 0xff, (n_labels + 1) * sizeof(uint32_t));
    for (size_t row = n_labels; row-- > 0;) { /* downwards: each list is ascending */
        larder->next_rows[row] = larder->first_rows[owners[row]];
        larder->first_rows[owners[row]] = (uint32_t)row;
        larder->counts[owners[row]]++;
    }
    for (size_t part = n_parts; part-- > 0;) {
        put_part(larder, (uint32_t)part);
    }
    return 0;
}

/* Give each empty part one example of the largest, its lowest row. */
static int feed_empty(const struct partition *partition, uint32_t *owners, struct fed_err *err)
{
    FED_CLEANUP(larder_deinit) struct larder larder = {0};
    size_t most = partition->n_labels;
    const int rc = larder_init(&larder, partition, owners, err);

    if (rc < 0) {
        return rc;
    }
    for (uint32_t hungry = larder.first_of[0]; hungry != NOBODY; hungry = larder.next_of[hungry]) {
        while (most > 1 && larder.first_of[most] == NOBODY) {
            most--;
        }
        if (most <= 1) {
            break; /* more parts than examples */
        }
        const uint32_t largest = larder.first_of[most];
        const uint32_t row = larder.first_rows[largest];
        larder.first_of[most] = larder.next_of[largest];
        larder.first_rows[largest] = larder.next_rows[row];
        larder.counts[largest]--;
        put_part(&larder, largest);
        owners[row] = hungry;
    }
    return 0;
}

static int own_dirichlet(const struct partition *partition,
                         uint32_t *order,
                         uint32_t *owners,
                         struct fed_err *err)
{
    FED_CLEANUP(free_double_p) double *shares = malloc(partition->n_parts * sizeof(*shares));
    size_t class_ends[CLASSES_MAX];
    size_t begin = 0;

    if (shares == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "%u parts", partition->n_parts);
    }
    sort_by_label(partition, order, class_ends);
    for (size_t c = 0; c < CLASSES_MAX; c++) {
        if (class_ends[c] > begin) {
            divide_class(partition, c, order + begin, class_ends[c] - begin, shares, owners);
        }
        begin = class_ends[c];
    }
    return 0;
}

int partition_owners(const struct partition *partition, uint32_t *ret_owners, struct fed_err *err)
{
    FED_CLEANUP(free_u32_p) uint32_t *order = NULL;
    int rc = 0;

    assert(partition->n_parts >= 1);
    assert(partition->n_parts <= PARTITION_PARTS_MAX);
    assert(partition->n_labels <= UINT32_MAX);
    order = malloc((partition->n_labels + 1) * sizeof(*order));
    if (order == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "order of %zu examples", partition->n_labels);
    }
    switch (partition->spec.kind) {
    case PARTITION_SHARDS:
        rc = own_shards(partition, order, ret_owners, err);
        break;
    case PARTITION_DIRICHLET:
        rc = own_dirichlet(partition, order, ret_owners, err);
        break;
    case PARTITION_IID:
    default:
        own_iid(partition, order, ret_owners);
    }
    return rc < 0 ? rc : feed_empty(partition, ret_owners, err);
}

int partition_rows(const struct partition *partition,
                   uint32_t i_part,
                   uint32_t **ret_rows,
                   size_t *ret_n_rows,
                   struct fed_err *err)
{
    FED_CLEANUP(free_u32_p) uint32_t *rows = calloc(partition->n_labels + 1, sizeof(*rows));
    size_t n_rows = 0;
    int rc;

    assert(i_part < partition->n_parts);
    if (rows == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "rows of %zu examples", partition->n_labels);
    }
    rc = partition_owners(partition, rows, err);
    if (rc < 0) {
        return rc;
    }
    for (size_t i = 0; i < partition->n_labels; i++) { /* in place: n_rows <= i */
        if (rows[i] == i_part) {
            rows[n_rows++] = (uint32_t)i;
        }
    }
    if (n_rows == 0) {
        return fed_err_set(err, FED_E_INVALID, "shard %u of %u is empty: %zu examples are too few",
                           i_part, partition->n_parts, partition->n_labels);
    }
    *ret_rows = FED_TAKE(rows);
    *ret_n_rows = n_rows;
    return 0;
}
