/* One side of a copy: the back ends that a reducer's settings name, or a backup's folder. */
#ifndef REDUCER_MIGRATE_SIDE_H
#define REDUCER_MIGRATE_SIDE_H

#include "common/base/file.h"
#include "reducer/settings.h"

struct store;
struct blob_store;

/* What was said of a side; "" for what was not. */
struct side_words {
    const char *file; /* a reducer's settings */
    const char *store;
    const char *blob;
    const char *backup; /* a folder */
};

struct side {
    struct settings settings;
    struct fed_conf conf;
    char store_url[FED_PATH_SIZE]; /* of a backup, as the following */
    char blob_url[FED_PATH_SIZE];
    char backup[FED_PATH_SIZE]; /* "": none */
    bool is_fresh;              /* a backup that is being made: its metadata is a new file */
    struct store *store;
    struct blob_store *blobs;
};

/* Open it. Fails with FED_E_INVALID (it names no store, or no blobs; `flag` says in which words),
 * FED_E_NOT_FOUND (a source: no backup, file or folder there, or no documents; nothing is made in
 * its place), and as the back ends do. Close in every case. */
FED_NODISCARD int side_open(struct side *side,
                            const char *flag,
                            const struct side_words *words,
                            bool is_target,
                            struct fed_err *err);

/* A new backup's metadata takes the place of the old one's. The stores are closed by this. Fails
 * with FED_E_IO; the old backup is what it was when the new metadata was not written whole. */
FED_NODISCARD int side_finish(struct side *side, struct fed_err *err);

void side_close(struct side *side);

#endif /* REDUCER_MIGRATE_SIDE_H */
