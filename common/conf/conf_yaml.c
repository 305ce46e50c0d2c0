#include <stdio.h>
#include <string.h>

#include <yaml.h>

#include "common/base/file.h"
#include "common/conf/conf_inside.h"

#define KEY_SIZE 128

struct reader {
    yaml_document_t *document;
    const char *path;
    conf_key_fn fn;
    void *arg;
};

static const char *scalar_of(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                          : NULL;
}

/* `prefix` is NULL at the top, and the outer key one level down. */
/* NOLINTNEXTLINE(misc-no-recursion): one level, by `prefix` */
static int read_mapping(const struct reader *reader,
                        const yaml_node_t *map,
                        const char *prefix,
                        struct fed_err *err)
{
    const yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    int rc = 0;

    for (; pair < map->data.mapping.pairs.top && rc == 0; pair++) {
        const yaml_node_t *key = yaml_document_get_node(reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(reader->document, pair->value);
        char name[KEY_SIZE];
        char where[FED_PATH_SIZE + 32];
        int n;

        (void)snprintf(where, sizeof(where), "%s:%zu", reader->path,
                       key == NULL ? 0 : key->start_mark.line + 1);
        if (scalar_of(key) == NULL || scalar_of(key)[0] == '\0' || value == NULL) {
            return fed_err_set(err, FED_E_INVALID, "%s: a key is no plain text", where);
        }
        n = snprintf(name, sizeof(name), "%s%s%s", prefix == NULL ? "" : prefix,
                     prefix == NULL ? "" : "_", scalar_of(key));
        if (n < 0 || (size_t)n >= sizeof(name)) {
            return fed_err_set(err, FED_E_INVALID, "%s: the key is too long", where);
        }
        if (value->type == YAML_MAPPING_NODE && prefix == NULL) {
            rc = read_mapping(reader, value, name, err);
        } else if (scalar_of(value) != NULL) {
            rc = reader->fn(reader->arg, name, scalar_of(value), where, err);
        } else {
            rc = fed_err_set(err, FED_E_INVALID, "%s: %s wants one value, not a list", where, name);
        }
    }
    return rc;
}

int conf_yaml_load(const char *path, conf_key_fn fn, void *arg, struct fed_err *err)
{
    yaml_parser_t parser;
    yaml_document_t document;
    struct fed_buf buf;
    const yaml_node_t *root;
    int rc = fed_file_load(path, CONF_FILE_MAX, &buf, err);

    if (rc < 0) {
        return rc;
    }
    if (yaml_parser_initialize(&parser) == 0) {
        fed_buf_deinit(&buf);
        return fed_err_set(err, FED_E_NOMEM, "YAML");
    }
    yaml_parser_set_input_string(&parser, buf.data, buf.size);
    if (yaml_parser_load(&parser, &document) == 0) {
        rc = fed_err_set(err, FED_E_INVALID, "%s:%zu: %s", path, parser.problem_mark.line + 1,
                         parser.problem == NULL ? "no YAML" : parser.problem);
    } else {
        const struct reader reader = {&document, path, fn, arg};
        root = yaml_document_get_root_node(&document);
        if (root != NULL && root->type == YAML_MAPPING_NODE) {
            rc = read_mapping(&reader, root, NULL, err);
        } else if (root != NULL) {
            rc = fed_err_set(err, FED_E_INVALID, "%s: want lines of 'key: value'", path);
        }
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    fed_buf_deinit(&buf);
    return rc;
}
