/* Confed's kernels as a worker of the benchmark `train`.
 *
 *     train_own KERNEL DATA WEIGHTS
 *
 * DATA holds the plain IDX files, WEIGHTS the initial parameters (float32, tensor after tensor).
 * Exit status 3: this processor lacks the kernel. Commands on standard input, one answer line each:
 *     start BATCH 0 0          initial weights, everything warm → ready
 *     train BATCH FIRST N      on from where it is: N images from FIRST on → CPU seconds, mean loss
 *     infer BATCH FIRST N      → CPU seconds, mean logit
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/train/cnn/cnn.h"
#include "client/train/cnn/cnn_kernel.h"
#include "common/base/clock.h"

enum {
    IMAGES = 32000, /* read of the 60,000 */
};

struct worker {
    enum cnn_kernel kernel;
    float *weights; /* all owned */
    float *images;
    uint8_t *labels;
    float *logits;
    struct cnn *cnn;
};

static const float lr = 0.05F;

/* The bytes, owned by the caller; NULL when they cannot be read, and why on standard error. */
static void *load(const char *folder, const char *name, long skip, size_t size)
{
    char path[1024];
    void *data = malloc(size);
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (data == NULL || file == NULL || fseek(file, skip, SEEK_SET) != 0 ||
        fread(data, 1, size, file) != size) {
        (void)fprintf(stderr, "train_own: cannot read %s\n", path);
        free(data);
        data = NULL;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return data;
}

static bool prepare(struct worker *w, const char *folder, const char *weights)
{
    uint8_t *pixels = load(folder, "train-images-idx3-ubyte", 16, (size_t)IMAGES * CNN_PIXELS);

    w->labels = load(folder, "train-labels-idx1-ubyte", 8, IMAGES);
    w->weights = load(weights, "weights", 0, CNN_PARAMS * sizeof(float));
    w->images = malloc((size_t)IMAGES * CNN_PIXELS * sizeof(float));
    w->logits = malloc((size_t)CNN_BATCH_MAX * CNN_CLASSES * sizeof(float));
    if (pixels == NULL || w->labels == NULL || w->weights == NULL || w->images == NULL ||
        w->logits == NULL) {
        free(pixels);
        return false;
    }
    for (size_t i = 0; i < (size_t)IMAGES * CNN_PIXELS; i++) {
        w->images[i] = (float)pixels[i] / 255.0F;
    }
    free(pixels);
    return true;
}

static double train(struct worker *w, size_t batch, size_t first, size_t n)
{
    double loss = 0;

    for (size_t i = first; i + batch <= first + n; i += batch) {
        const float l = cnn_step(w->cnn, w->images + i * CNN_PIXELS, w->labels + i, batch, lr);

        loss += (double)l;
    }
    return loss / ((double)n / (double)batch);
}

static double infer(struct worker *w, size_t batch, size_t first, size_t n)
{
    double sum = 0;

    for (size_t i = first; i + batch <= first + n; i += batch) {
        cnn_infer(w->cnn, w->images + i * CNN_PIXELS, batch, w->logits);
        for (size_t k = 0; k < batch * CNN_CLASSES; k++) {
            sum += (double)w->logits[k];
        }
    }
    return sum / (double)n / CNN_CLASSES;
}

static bool start(struct worker *w, size_t batch)
{
    struct fed_err err;

    w->cnn = cnn_free(w->cnn);
    if (cnn_new(w->kernel, batch, true, &w->cnn, &err) < 0) {
        return false;
    }
    cnn_set_params(w->cnn, w->weights);
    (void)train(w, batch, 0, 3 * batch);
    cnn_set_params(w->cnn, w->weights);
    return true;
}

static void run(struct worker *w, const char *command, size_t batch, size_t first, size_t n)
{
    const uint64_t begin = fed_clock_cpu_us();
    const double mean =
        strncmp(command, "train ", 6) == 0 ? train(w, batch, first, n) : infer(w, batch, first, n);

    printf("%.6f %.6f\n", (double)(fed_clock_cpu_us() - begin) * 1e-6, mean);
}

/* Answer commands until there are no more. False where one cannot be carried out. */
static bool serve(struct worker *w)
{
    char line[128];

    printf("ready\n");
    (void)fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        char *rest = line + strcspn(line, " ");
        size_t numbers[3]; /* batch, first, n */

        for (size_t i = 0; i < 3; i++) {
            numbers[i] = strtoul(rest, &rest, 10);
        }
        if (strncmp(line, "start ", 6) != 0) {
            run(w, line, numbers[0], numbers[1], numbers[2]);
        } else if (start(w, numbers[0])) {
            printf("ready\n");
        } else {
            return false;
        }
        (void)fflush(stdout);
    }
    return true;
}

int main(int argc, char **argv)
{
    struct worker w = {0};
    struct fed_err err;
    bool is_done;

    if (argc != 4 || cnn_kernel_choose(argv[1], &w.kernel, &err) < 0) {
        return 3;
    }
    is_done = prepare(&w, argv[2], argv[3]) && serve(&w);
    cnn_free(w.cnn);
    free(w.weights);
    free(w.images);
    free(w.labels);
    free(w.logits);
    return is_done ? 0 : 1;
}
