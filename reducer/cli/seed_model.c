#include "reducer/cli/seed_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/conf/conf.h"
#include "common/model/cnn_model.h"
#include "reducer/cli/row.h"

int seed_model_write(const char *path, uint64_t seed, struct fed_err *err)
{
    float *params = malloc(FED_CNN_PARAMS * sizeof(*params));
    int rc;

    if (params == NULL) {
        return fed_err_set(err, FED_E_NOMEM, "model");
    }
    fed_cnn_init(seed, params);
    rc = fed_cnn_write(path, params, err);
    free(params);
    return rc;
}

int seed_model_upload(const struct api *api,
                      const char *path,
                      const char *name,
                      json_t **ret_answer,
                      struct fed_err *err)
{
    const char *slash = strrchr(path, '/');
    const char *file = slash == NULL ? path : slash + 1;
    const struct api_text texts[] = {
        {"name", name[0] == '\0' ? file : name}, {"helper", "numpyhelper"}, {NULL, NULL}};
    json_t *answer = NULL;
    int rc = api_upload(api, "/api/v1/models/", path, texts, &answer, err);

    if (rc == 0 && row_text(answer, "model_id")[0] == '\0') {
        json_decref(answer);
        return fed_err_set(err, FED_E_INTERNAL,
                           "the reducer took the model and did not say its id: is it FEDn's?");
    }
    if (rc == 0) {
        *ret_answer = answer;
    }
    return rc;
}

int seed_model_make(const struct api *api,
                    uint64_t seed,
                    const char *name,
                    json_t **ret_answer,
                    struct fed_err *err)
{
    const char *base = fed_env_get("TMPDIR");
    char own_name[64];
    char folder[FED_PATH_SIZE];
    char path[FED_PATH_SIZE + 16];
    int rc = fed_path_format(folder, err, "%s/confed-model-XXXXXX",
                             base == NULL || base[0] == '\0' ? "/tmp" : base);

    if (rc < 0) {
        return rc;
    }
    if (mkdtemp(folder) == NULL) {
        return fed_file_error(err, "make folder", folder);
    }
    (void)snprintf(path, sizeof(path), "%s/cnn.npz", folder);
    (void)snprintf(own_name, sizeof(own_name), "cnn-%llu", (unsigned long long)seed);
    rc = seed_model_write(path, seed, err);
    if (rc == 0) {
        rc = seed_model_upload(api, path, name[0] == '\0' ? own_name : name, ret_answer, err);
    }
    if (fed_folder_remove(folder, NULL) < 0 && rc == 0) {
        (void)fprintf(stderr, "confed: could not remove %s\n", folder);
    }
    return rc;
}

int seed_model_resolve(const struct api *api,
                       const char *word,
                       uint64_t seed,
                       char ret_model_id[FED_ID_SIZE],
                       struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    int rc;

    if (strcmp(word, "cnn") == 0) {
        rc = seed_model_make(api, seed, "", &answer, err);
    } else if (access(word, F_OK) == 0) {
        rc = seed_model_upload(api, word, "", &answer, err);
    } else {
        rc = api_find(api, "models", "model_id", word, &answer, err);
    }
    if (rc == -FED_E_NOT_FOUND && strcmp(word, "latest") != 0) {
        return fed_err_set(err, FED_E_NOT_FOUND,
                           "'%.60s' is no file here and no model there: see `confed model list`",
                           word);
    }
    if (rc < 0) {
        return rc;
    }
    fed_id_copy(ret_model_id, row_text(answer, "model_id"));
    return 0;
}
