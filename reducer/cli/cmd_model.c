/* `confed model …` and `confed package upload`: files that go up and come down. */
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/id.h"
#include "common/model/checksum.h"
#include "reducer/cli/cmd.h"
#include "reducer/cli/listing.h"
#include "reducer/cli/seed_model.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct new_options {
    struct cmd_common common;
    uint64_t seed;
    const char *output;
    const char *name;
    bool is_uploading;
};

static const struct fed_conf_item new_items[] = {
    {"seed", FED_CONF_U64, "1", 0, 0, offsetof(struct new_options, seed), false, "N",
     "the initial values are a function of this number alone"},
    {"output", FED_CONF_TEXT, "", 0, 0, offsetof(struct new_options, output), false, "FILE",
     "where to write it; without it KIND-SEED.npz in this folder, unless it is uploaded"},
    {"upload", FED_CONF_BOOL, "false", 0, 0, offsetof(struct new_options, is_uploading), false, "",
     "give it to the reducer as a seed model"},
    {"name", FED_CONF_TEXT, "", 0, 0, offsetof(struct new_options, name), false, "TEXT",
     "its name at the reducer; without it KIND-SEED"},
};
const struct args_table cmd_model_new_options = {new_items, COUNT(new_items)};

struct download_options {
    struct cmd_common common;
    const char *output;
};

static const struct fed_conf_item download_items[] = {
    {"output", FED_CONF_TEXT, "", 0, 0, offsetof(struct download_options, output), false, "FILE",
     "where to write it; without it ID.npz in this folder"},
};
const struct args_table cmd_model_download_options = {download_items, COUNT(download_items)};

struct upload_options {
    struct cmd_common common;
    const char *name;
    const char *description;
};

static const struct fed_conf_item model_upload_items[] = {
    {"name", FED_CONF_TEXT, "", 0, 0, offsetof(struct upload_options, name), false, "TEXT",
     "its name at the reducer; without it the file's name"},
};
const struct args_table cmd_model_upload_options = {model_upload_items, COUNT(model_upload_items)};

static const struct fed_conf_item package_upload_items[] = {
    {"name", FED_CONF_TEXT, "", 0, 0, offsetof(struct upload_options, name), false, "TEXT",
     "its name at the reducer; without it the file's name"},
    {"description", FED_CONF_TEXT, "", 0, 0, offsetof(struct upload_options, description), false,
     "TEXT", "a line for people"},
};
const struct args_table cmd_package_upload_options = {package_upload_items,
                                                      COUNT(package_upload_items)};

static const struct listing_field model_fields[] = {
    {"MODEL", "model_id", LISTING_ID, 0},      {"NAME", "name", LISTING_TEXT, 40},
    {"SESSION", "session_id", LISTING_ID, 0},  {"ROUND", "round_id", LISTING_NUMBER, 0},
    {"PARENT", "parent_model", LISTING_ID, 0}, {"SIZE", "size_bytes", LISTING_BYTES, 0},
    {"MADE", "committed_at", LISTING_TIME, 0}, {"PRUNED", "pruned_at", LISTING_TIME, 0},
};

static const struct listing_field model_details[] = {
    {"model", "model_id", LISTING_TEXT, 0},      {"name", "name", LISTING_TEXT, 0},
    {"session", "session_id", LISTING_TEXT, 0},  {"round", "round_id", LISTING_TEXT, 0},
    {"parent", "parent_model", LISTING_TEXT, 0}, {"tensors", "n_tensors", LISTING_TEXT, 0},
    {"elements", "n_elements", LISTING_TEXT, 0}, {"size", "size_bytes", LISTING_BYTES, 0},
    {"sha256", "sha256", LISTING_TEXT, 0},       {"made", "committed_at", LISTING_TIME, 0},
    {"pruned", "pruned_at", LISTING_TIME, 0},
};

/* -- making and giving ------------------------------------------------------------------------- */

/* What is known of a model file: printed for people or for scripts. */
static int report_file(const struct cmd_call *call, const char *path, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *json = NULL;
    uint8_t digest[FED_SHA256_BYTES];
    char hex[2 * FED_SHA256_BYTES + 1];
    uint64_t size = 0;
    const int rc = fed_sha256_file(path, digest, &size, err);

    if (rc < 0) {
        return rc;
    }
    fed_hex_format(digest, sizeof(digest), hex);
    if (!call->is_json) {
        (void)fprintf(call->out.file, "file    %s\nsha256  %s\n", path, hex);
        return FED_EXIT_OK;
    }
    json =
        json_pack("{s:s, s:s, s:I}", "file", path, "sha256", hex, "size_bytes", (json_int_t)size);
    return cmd_print_json(call, json, err);
}

static int report_answer(const struct cmd_call *call, const json_t *answer, struct fed_err *err)
{
    char text[ROW_TEXT_SIZE];

    if (call->is_json) {
        return cmd_print_json(call, answer, err);
    }
    (void)fprintf(call->out.file, "model   %s\n", row_format(answer, "model_id", text));
    (void)fprintf(call->out.file, "sha256  %s\n", row_format(answer, "sha256", text));
    return FED_EXIT_OK;
}

int cmd_model_new(const struct cmd_call *call, struct fed_err *err)
{
    const struct new_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    const char *kind = cmd_word(call, 0, "");
    char path[FED_PATH_SIZE];
    int rc = 0;

    if (strcmp(kind, "cnn") != 0) {
        return fed_err_set(err, FED_E_INVALID, "there is no built-in model '%.40s': want cnn",
                           kind);
    }
    if (options->output[0] != '\0') {
        rc = fed_path_format(path, err, "%s", options->output);
    } else {
        rc = fed_path_format(path, err, "cnn-%llu.npz", (unsigned long long)options->seed);
    }
    if (rc == 0 && (options->output[0] != '\0' || !options->is_uploading)) {
        rc = seed_model_write(path, options->seed, err);
    }
    if (rc == 0 && options->is_uploading) {
        rc = seed_model_make(&call->api, options->seed, options->name, &answer, err);
    }
    if (rc < 0) {
        return rc;
    }
    return options->is_uploading ? report_answer(call, answer, err) : report_file(call, path, err);
}

int cmd_model_upload(const struct cmd_call *call, struct fed_err *err)
{
    const struct upload_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    const int rc =
        seed_model_upload(&call->api, cmd_word(call, 0, ""), options->name, &answer, err);

    return rc < 0 ? rc : report_answer(call, answer, err);
}

int cmd_package_upload(const struct cmd_call *call, struct fed_err *err)
{
    const struct upload_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *answer = NULL;
    const char *path = cmd_word(call, 0, "");
    const char *slash = strrchr(path, '/');
    const char *file = slash == NULL ? path : slash + 1;
    const struct api_text texts[] = {{"name", options->name[0] == '\0' ? file : options->name},
                                     {"description", options->description},
                                     {"helper", "numpyhelper"},
                                     {NULL, NULL}};
    char text[ROW_TEXT_SIZE];
    const int rc = api_upload(&call->api, "/api/v1/packages/", path, texts, &answer, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, answer, err);
    }
    (void)fprintf(call->out.file, "%s; it is the active one.\n",
                  row_format(answer, "message", text));
    return FED_EXIT_OK;
}

/* -- asking and taking ------------------------------------------------------------------------- */

int cmd_model_list(const struct cmd_call *call, struct fed_err *err)
{
    static const struct cmd_list list = {
        "models", model_fields, COUNT(model_fields),
        "There are no models yet: `confed model new cnn --upload` makes one."};

    return cmd_print_list(call, &list, err);
}

int cmd_model_show(const struct cmd_call *call, struct fed_err *err)
{
    FED_CLEANUP(api_json_free_p) json_t *model = NULL;
    const int rc =
        api_find(&call->api, "models", "model_id", cmd_word(call, 0, "latest"), &model, err);

    if (rc < 0) {
        return rc;
    }
    if (call->is_json) {
        return cmd_print_json(call, model, err);
    }
    listing_show(&call->out, model, model_details, COUNT(model_details));
    return FED_EXIT_OK;
}

/* The file must be what the model's row says. */
static int check_sha256(const char *path, const json_t *model, struct fed_err *err)
{
    uint8_t digest[FED_SHA256_BYTES];
    char hex[2 * FED_SHA256_BYTES + 1];
    uint64_t size = 0;
    const char *wanted = row_text(model, "sha256");
    const int rc = fed_sha256_file(path, digest, &size, err);

    if (rc < 0) {
        return rc;
    }
    fed_hex_format(digest, sizeof(digest), hex);
    if (wanted[0] != '\0' && strcmp(wanted, hex) != 0) {
        return fed_err_set(err, FED_E_CORRUPT,
                           "%.80s came damaged: its SHA-256 is not the model's; try again", path);
    }
    return 0;
}

int cmd_model_download(const struct cmd_call *call, struct fed_err *err)
{
    const struct download_options *options = call->options;
    FED_CLEANUP(api_json_free_p) json_t *model = NULL;
    char path[API_PATH_SIZE];
    char file[FED_PATH_SIZE];
    const char *id;
    int rc = api_find(&call->api, "models", "model_id", cmd_word(call, 0, "latest"), &model, err);

    if (rc < 0) {
        return rc;
    }
    id = row_text(model, "model_id");
    rc = api_path(path, err, "/api/v1/models/", id, "/download");
    if (rc == 0) {
        rc = options->output[0] != '\0' ? fed_path_format(file, err, "%s", options->output)
                                        : fed_path_format(file, err, "%s.npz", id);
    }
    if (rc == 0 && !fed_id_is_valid(id)) {
        rc = fed_err_set(err, FED_E_INTERNAL, "the reducer's model id is no id");
    }
    rc = rc < 0 ? rc : api_download(&call->api, path, file, err);
    rc = rc < 0 ? rc : check_sha256(file, model, err);
    return rc < 0 ? rc : report_file(call, file, err);
}
