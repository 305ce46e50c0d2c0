/* `confed migrate`, `backup`, `restore`: each is confed-migrate with other words, for the CLI
 * itself knows of no store. */
#include <string.h>

#include "reducer/cli/cmd.h"
#include "reducer/cli/program.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct migrate_options {
    struct cmd_common common;
    const char *from;
    const char *from_store;
    const char *from_blob;
    const char *to;
    const char *to_store;
    const char *to_blob;
};

#define ITEM(options, key, argument, help)                                                  \
    {                                                                                       \
#        key, FED_CONF_TEXT, "", 0, 0, offsetof(struct options, key), false, argument, help \
    }

static const struct fed_conf_item migrate_items[] = {
    ITEM(migrate_options, from, "FILE", "the settings of the reducer as it was"),
    ITEM(migrate_options, from_store, "URL", "metadata: sqlite:FILE, mongodb://..."),
    ITEM(migrate_options, from_blob, "URL", "models and packages: dir:DIR, s3://BUCKET"),
    ITEM(migrate_options, to, "FILE", "the settings of the reducer as it will be"),
    ITEM(migrate_options, to_store, "URL", "metadata"),
    ITEM(migrate_options, to_blob, "URL", "models and packages"),
};
const struct args_table cmd_migrate_options = {migrate_items, COUNT(migrate_items)};

struct backup_options {
    struct cmd_common common;
    const char *config;
    const char *store;
    const char *blob;
};

static const struct fed_conf_item backup_items[] = {
    ITEM(backup_options, config, "FILE", "the reducer's settings"),
    ITEM(backup_options, store, "URL", "instead of what they say: metadata"),
    ITEM(backup_options, blob, "URL", "instead of what they say: models and packages"),
};
const struct args_table cmd_backup_options = {backup_items, COUNT(backup_items)};

static void add(struct child_words *words, const char *flag, const char *value)
{
    if (value[0] != '\0') {
        child_words_add(words, "%s", flag);
        child_words_add(words, "%s", value);
    }
}

static int begin(struct child_words *words, const struct cmd_call *call, struct fed_err *err)
{
    const int rc = program_words(words, "confed-migrate", err);

    if (rc == 0 && call->is_json) {
        child_words_add(words, "--json");
    }
    return rc;
}

static int end(struct child_words *words, int rc, struct fed_err *err)
{
    rc = rc < 0 ? rc : program_become(words, err);
    child_words_deinit(words);
    return rc;
}

int cmd_migrate(const struct cmd_call *call, struct fed_err *err)
{
    const struct migrate_options *options = call->options;
    struct child_words words = {0};
    const int rc = begin(&words, call, err);

    add(&words, "--from", options->from);
    add(&words, "--from-store", options->from_store);
    add(&words, "--from-blob", options->from_blob);
    add(&words, "--to", options->to);
    add(&words, "--to-store", options->to_store);
    add(&words, "--to-blob", options->to_blob);
    return end(&words, rc, err);
}

/* A backup goes from the reducer to the folder, a restore the other way. */
static int copy_backup(const struct cmd_call *call, bool is_restore, struct fed_err *err)
{
    const struct backup_options *options = call->options;
    struct child_words words = {0};
    const int rc = begin(&words, call, err);

    add(&words, is_restore ? "--from-backup" : "--to-backup", cmd_word(call, 0, ""));
    add(&words, is_restore ? "--to" : "--from", options->config);
    add(&words, is_restore ? "--to-store" : "--from-store", options->store);
    add(&words, is_restore ? "--to-blob" : "--from-blob", options->blob);
    return end(&words, rc, err);
}

int cmd_backup(const struct cmd_call *call, struct fed_err *err)
{
    return copy_backup(call, false, err);
}

int cmd_restore(const struct cmd_call *call, struct fed_err *err)
{
    return copy_backup(call, true, err);
}
