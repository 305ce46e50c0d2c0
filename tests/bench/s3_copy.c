/* A file to the blob store and back: s3_copy URL IN OUT. Prints seconds up, seconds down, bytes of
 * memory at the most beyond those before; the settings are AWS_* and CONFED_TEST_S3_ENDPOINT. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/conf/conf.h"
#include "common/model/checksum.h"
#include "reducer/blob/blob.h"

#define KEY "throughput"

/* "VmRSS" or "VmHWM" of this process. */
static unsigned long long memory_of(const char *what)
{
    FILE *file = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kib = 0;

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, what, strlen(what)) == 0) {
            kib = strtoull(line + strlen(what) + 1, NULL, 10);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kib * 1024U;
}

static int run(struct blob_store *blobs, const char *in, const char *out, struct fed_err *err)
{
    uint8_t sha256[FED_SHA256_BYTES];
    uint64_t size = 0;
    uint64_t start_us;
    uint64_t up_us;
    unsigned long long before;
    int rc = fed_sha256_file(in, sha256, &size, err); /* known, as the reducer knows it */

    if (rc < 0) {
        return rc;
    }
    before = memory_of("VmRSS");
    start_us = fed_clock_mono_us();
    rc = blob_put_file(blobs, KEY, in, sha256, err);
    up_us = fed_clock_mono_us() - start_us;
    start_us = fed_clock_mono_us();
    rc = rc < 0 ? rc : blob_get_file(blobs, KEY, out, err);
    if (rc == 0) {
        (void)printf("%.6f %.6f %llu\n", (double)up_us / 1e6,
                     (double)(fed_clock_mono_us() - start_us) / 1e6, memory_of("VmHWM") - before);
    }
    return rc <= 0 ? rc : fed_err_set(err, FED_E_NOT_FOUND, "what was put is not there");
}

int main(int argc, char **argv)
{
    struct blob_options options = {.endpoint = fed_env_get("CONFED_TEST_S3_ENDPOINT")};
    struct blob_store *blobs = NULL;
    struct fed_err err = {0};
    int rc;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: s3_copy URL IN OUT\n");
        return 2;
    }
    blob_options_complete(&options);
    rc = blob_open_with(argv[1], &options, &blobs, &err);
    rc = rc < 0 ? rc : run(blobs, argv[2], argv[3], &err);
    (void)blob_close(blobs);
    if (rc < 0) {
        (void)fprintf(stderr, "s3_copy: %s\n", err.msg);
    }
    return rc < 0 ? 1 : 0;
}
