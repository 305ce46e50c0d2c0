/* The options of confed-migrate: one table. */
#ifndef REDUCER_MIGRATE_WORDS_H
#define REDUCER_MIGRATE_WORDS_H

#include "reducer/migrate/side.h"

struct words {
    struct side_words from;
    struct side_words to;
    bool is_json;
};

extern const struct fed_conf_spec words_spec;

#endif /* REDUCER_MIGRATE_WORDS_H */
