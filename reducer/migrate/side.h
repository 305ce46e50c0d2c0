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
    bool is_target;
    bool has_same_store; /* a target: its store is the source's, and borrowed */
    struct store *store;
    struct blob_store *blobs;
};

/* Read its settings; nothing is opened or made. Fails with FED_E_INVALID (it names no store, or no
 * blobs; `flag` says in which words). Close in every case. */
FED_NODISCARD int side_load(struct side *side,
                            const char *flag,
                            const struct side_words *words,
                            bool is_target,
                            struct fed_err *err);

/* Once both are loaded. Fails with FED_E_INVALID: they are the same. Where only the store is, the
 * blobs alone move: the target borrows the source's store. */
FED_NODISCARD int side_check_both(struct side *from, struct side *to, struct fed_err *err);

/* Fails with FED_E_NOT_FOUND (no backup, file or folder there, or no documents; nothing is made in
 * its place), and as the back ends do. */
FED_NODISCARD int side_open_source(struct side *side, struct fed_err *err);

/* `from` is open, and outlives this side. Fails as the back ends do. */
FED_NODISCARD int side_open_target(struct side *side, const struct side *from, struct fed_err *err);

/* A new backup's metadata takes the place of the old one's. The stores are closed by this. Fails
 * with FED_E_IO; the old backup is what it was when the new metadata was not written whole. */
FED_NODISCARD int side_finish(struct side *side, struct fed_err *err);

void side_close(struct side *side);

#endif /* REDUCER_MIGRATE_SIDE_H */
