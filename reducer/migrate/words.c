#include "reducer/migrate/words.h"

#define ITEM(key, member, argument, help)                                                   \
    {                                                                                       \
        key, FED_CONF_TEXT, "", 0, 0, offsetof(struct words, member), false, argument, help \
    }

static const struct fed_conf_item items[] = {
    ITEM("from", from.file, "FILE", "a reducer's settings: its store and blobs are copied"),
    ITEM("from_store", from.store, "URL", "instead of what those settings say"),
    ITEM("from_blob", from.blob, "URL", "instead of what those settings say"),
    ITEM("from_backup", from.backup, "DIR", "or a backup's folder"),
    ITEM("to", to.file, "FILE", "a reducer's settings: its store and blobs are the target"),
    ITEM("to_store", to.store, "URL", "instead of what those settings say"),
    ITEM("to_blob", to.blob, "URL", "instead of what those settings say"),
    ITEM("to_backup",
         to.backup,
         "DIR",
         "or a folder for a backup; what an earlier one has in it already is not copied again"),
    {"json", FED_CONF_BOOL, "false", 0, 0, offsetof(struct words, is_json), false, NULL,
     "what was copied, as one JSON object on standard output"},
};

const struct fed_conf_spec words_spec = {
    .program = "confed-migrate",
    .env_prefix = "FED_MIGRATE",
    .summary =
        "Copies a federation's metadata and blobs to other back ends; the reducer is stopped "
        "meanwhile.",
    .epilog = "Example: confed-migrate --from /etc/confed/old.yaml --to /etc/confed/reducer.yaml",
    .items = items,
    .n_items = sizeof(items) / sizeof(items[0]),
};
