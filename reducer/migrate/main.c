/* confed-migrate: a federation's metadata and blobs from one pair of back ends to another. Run by
 * `confed migrate`, `confed backup` and `confed restore`. The reducer is stopped meanwhile. */
#include <stdio.h>

#include "common/base/log.h"
#include "reducer/copying.h"
#include "reducer/migrate/side.h"
#include "reducer/migrate/words.h"

static void tell(void *arg, const char *line)
{
    (void)fprintf(arg, "%s\n", line);
}

static int copy(const struct side *from, const struct side *to, bool is_json, struct fed_err *err)
{
    const struct copying copying = {.from = from->store,
                                    .to = to->store,
                                    .from_blobs = from->blobs,
                                    .to_blobs = to->blobs,
                                    .tell = tell,
                                    .arg = stderr};
    json_t *report = NULL;
    const int rc = copying_run(&copying, &report, err);

    if (rc < 0) {
        return rc;
    }
    if (json_integer_value(json_object_get(report, "missing")) > 0) {
        (void)fprintf(stderr, "%lld models have no file at the source; their rows were copied\n",
                      (long long)json_integer_value(json_object_get(report, "missing")));
    }
    if (is_json) {
        (void)json_dumpf(report, stdout, JSON_COMPACT);
        (void)fputc('\n', stdout);
    }
    json_decref(report);
    return 0;
}

int main(int argc, char **argv)
{
    struct words words = {0};
    struct fed_conf conf = {0};
    struct fed_err err = {0};
    struct side from = {0};
    struct side to = {0};
    int rc = fed_conf_load(&words_spec, argc, argv, &words, &conf, &err);

    if (rc == FED_CONF_EXIT) {
        fed_conf_deinit(&conf);
        return FED_EXIT_OK;
    }
    fed_log_init(words_spec.program, FED_LOG_WARNING, false);
    rc = rc < 0 ? rc : side_load(&from, "from", &words.from, false, &err);
    rc = rc < 0 ? rc : side_load(&to, "to", &words.to, true, &err);
    rc = rc < 0 ? rc : side_check_both(&from, &to, &err);
    rc = rc < 0 ? rc : side_open_source(&from, &err);
    rc = rc < 0 ? rc : side_open_target(&to, &from, &err);
    rc = rc < 0 ? rc : copy(&from, &to, words.is_json, &err);
    rc = rc < 0 ? rc : side_finish(&to, &err);
    side_close(&to);
    side_close(&from);
    fed_conf_deinit(&conf);
    if (rc < 0) {
        (void)fprintf(stderr, "confed-migrate: %s\n", err.msg);
    }
    return rc == 0                    ? FED_EXIT_OK
           : rc == -FED_E_INVALID     ? FED_EXIT_USAGE
           : rc == -FED_E_UNAVAILABLE ? FED_EXIT_UNREACHABLE
                                      : FED_EXIT_FAILED;
}
